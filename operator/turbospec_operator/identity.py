"""The master key of all engine tokens."""

import base64
import binascii

from turbospec_operator import names
from turbospec_operator.cluster import SECRETS, Cluster, ExistsError, NotFoundError, Raw
from turbospec_operator.tokens import new_master_key


class IdentityError(Exception):
    """The master key cannot be used; the message is one line."""


async def load_master_key(cluster: Cluster, namespace: str) -> bytes:
    """The master key; made once, by whoever comes first. Raises ApiError or IdentityError."""
    try:
        secret = await cluster.get(SECRETS, namespace, names.MASTER_KEY_SECRET)
    except NotFoundError:
        body = {
            "apiVersion": SECRETS.group_version,
            "kind": SECRETS.kind,
            "metadata": {"name": names.MASTER_KEY_SECRET, "namespace": namespace},
            "type": "Opaque",
            "data": {names.MASTER_KEY_FIELD: base64.b64encode(new_master_key()).decode()},
        }
        try:
            secret = await cluster.create(SECRETS, namespace, body)
        except ExistsError:
            secret = await cluster.get(SECRETS, namespace, names.MASTER_KEY_SECRET)
    return master_key(secret)


def master_key(secret: Raw) -> bytes:
    """The key in the Secret; raises IdentityError for one that cannot be used."""
    try:
        key = base64.b64decode((secret.get("data") or {})[names.MASTER_KEY_FIELD], validate=True)
    except (KeyError, binascii.Error) as error:
        raise IdentityError(f"Secret {names.MASTER_KEY_SECRET} has no usable data.{names.MASTER_KEY_FIELD}") from error
    if len(key) < 16:
        raise IdentityError(
            f"Secret {names.MASTER_KEY_SECRET} holds {len(key)} bytes, needs 16 or more; delete it to get a new one, "
            "then restart the vLLM pods"
        )
    return key
