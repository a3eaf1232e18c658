"""Who this operator is: its epoch, which grows with every start, and the master key of all engine tokens."""

import base64
import binascii
import datetime as dt
import socket

from turbospec_operator import names
from turbospec_operator.cluster import LEASES, SECRETS, Cluster, ExistsError, NotFoundError, Raw
from turbospec_operator.tokens import new_master_key

ATTEMPTS = 10
"""Lost races in a row after which somebody writes faster than we can: say so instead of trying for ever."""


class IdentityError(Exception):
    """The operator cannot establish who it is; the message is one line."""


async def take_epoch(cluster: Cluster, namespace: str) -> int:
    """Raise the Lease's transition count by one and return it: no two starts get the same number.

    Engines refuse documents of a lower epoch, so an older operator that is still running cannot undo a newer one's.
    Raises ApiError (DeniedError names the verb and resource) or IdentityError.
    """
    for _ in range(ATTEMPTS):
        try:
            lease = await cluster.get(LEASES, namespace, names.LEASE)
        except NotFoundError:
            epoch = 1
            write = cluster.create(LEASES, namespace, _lease(namespace, epoch, None))
        else:
            epoch = int((lease.get("spec") or {}).get("leaseTransitions") or 0) + 1
            write = cluster.replace(LEASES, namespace, _lease(namespace, epoch, lease))
        try:
            await write
        except ExistsError:
            continue  # another start was faster; its number is taken
        return epoch
    raise IdentityError(
        f"cannot update leases.coordination.k8s.io {namespace}/{names.LEASE}: lost {ATTEMPTS} races in a row"
    )


def _lease(namespace: str, epoch: int, old: Raw | None) -> Raw:
    now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    metadata = old["metadata"] if old else {"name": names.LEASE, "namespace": namespace}
    spec = {"holderIdentity": socket.gethostname(), "leaseTransitions": epoch, "acquireTime": now, "renewTime": now}
    return {"apiVersion": LEASES.group_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}


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
