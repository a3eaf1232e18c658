"""Every reason shows on a real API server: in a condition, or in an event where it passes.

The rounds are the operator's own, in this process; only their clock is the test's.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from tests.conftest import CRDS
from tests.operator.reason_cases import CASES
from tests.operator.reason_fleet import Fleet
from tests.operator.recorded_windows import Clock
from tests.operator.samples import policy
from tests.support.apiserver import ApiServer
from turbospec.wire.crd import POLICY
from turbospec_operator import observe, served_cells
from turbospec_operator.cluster import EVENTS, POLICIES, PROFILES, ApiError, Cluster, Raw

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]

WAIT_SECONDS = 40.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of rounds; it begins now, for objects have real ages."""
    clock = Clock(time.time())
    for module in (observe, served_cells):
        monkeypatch.setattr(module, "time", clock)
    return clock


async def given(cluster: Cluster, namespace: str) -> set[str]:
    """The reasons of all conditions and events there."""
    objects = [*await cluster.list(POLICIES, namespace), *await cluster.list(PROFILES, namespace)]
    conditions = (each for raw in objects for each in (raw.get("status") or {}).get("conditions") or [])
    return {each["reason"] for each in (*conditions, *await cluster.list(EVENTS, namespace))}


@pytest.mark.parametrize("name", CASES)
async def test_a_reason_shows_where_it_holds(
    api_with_crds: ApiServer, cluster: Cluster, namespace: str, clock: Clock, name: str
) -> None:
    """After the operator's own rounds over real objects."""
    async with AsyncExitStack() as stack:
        await CASES[name].done(Fleet(api_with_crds, cluster, namespace, clock, stack))
    assert CASES[name].reasons - await given(cluster, namespace) == set()


async def _created(cluster: Cluster, namespace: str, manifest: Raw) -> bool:
    try:
        await cluster.create(POLICIES, namespace, manifest)
    except ApiError:
        return False
    return True


@pytest.fixture
def newer_definition(api_with_crds: ApiServer) -> Iterator[None]:
    """The definition knows a mode that the operator does not."""
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/mode/enum/-"
    patch = json.dumps([{"op": "add", "path": path, "value": "Canary"}])
    api_with_crds.kubectl("patch", "crd", POLICY.name, "--type=json", "-p", patch)
    yield
    api_with_crds.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))


@pytest.mark.usefixtures("newer_definition")
async def test_a_spec_of_a_newer_definition_is_refused_in_words(
    api_with_crds: ApiServer, cluster: Cluster, namespace: str, clock: Clock
) -> None:
    """Definitions may be ahead of the operator: a value that it does not know governs nothing."""
    deadline = time.monotonic() + WAIT_SECONDS  # the API server takes a moment to follow its definitions
    while not await _created(cluster, namespace, policy(namespace, mode="Canary")):
        assert time.monotonic() < deadline, "the definition is not followed"
        await asyncio.sleep(0.1)
    async with AsyncExitStack() as stack:
        await Fleet(api_with_crds, cluster, namespace, clock, stack).rounds(1)
    assert "InvalidSpec" in await given(cluster, namespace)
    api_with_crds.kubectl("delete", "specpol", "chat", "-n", namespace, "--wait=false")
