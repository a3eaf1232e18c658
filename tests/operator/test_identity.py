"""The master key is made once, whoever comes first."""

import asyncio
import base64

import pytest

from turbospec_operator.cluster import Cluster, NotFoundError
from turbospec_operator.identity import IdentityError, load_master_key, master_key

apiserver = pytest.mark.apiserver


@apiserver
async def test_starts_at_the_same_moment_get_the_same_key(cluster: Cluster, namespace: str) -> None:
    """Else one of them would lock the other's pods out."""
    keys = await asyncio.gather(*(load_master_key(cluster, namespace) for _ in range(4)))
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32


@apiserver
async def test_a_missing_namespace_is_an_error_that_names_it(cluster: Cluster) -> None:
    """Not something to wait for in silence."""
    with pytest.raises(NotFoundError, match="op-nowhere"):
        await load_master_key(cluster, "op-nowhere")


@pytest.mark.parametrize(
    "data",
    [None, {}, {"other": "eA=="}, {"key": "not base64!"}, {"key": base64.b64encode(b"short").decode()}],
)
def test_an_unusable_key_is_refused(data: dict[str, str] | None) -> None:
    """An empty key would make every token guessable."""
    with pytest.raises(IdentityError, match="turbospec-master-key"):
        master_key({"data": data})
