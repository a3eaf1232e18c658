"""What injection mounts into the engine: the runtime, and a place for its state that outlives a container."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from turbospec_operator import names
from turbospec_operator.injection_environment import STATE_PATH, Operation, RefusedError, value_of
from turbospec_operator.runtime_bundle import MOUNT_PATH, config_map_name

Raw = Mapping[str, Any]

VOLUME = "turbospec-runtime"
STATE_VOLUME = "turbospec-state"
STATE_SIZE = "4Mi"
"""Of two files, 64 and 256 KiB at most, each written beside the old one."""


def volumes(pod: Raw, container: Raw, path: str, runtime_hash: str) -> Iterator[Operation]:
    """Operations on the pod's volumes and the mounts of the container at ``path``.

    Raises RefusedError where something of the user's is in the way.
    """
    present: Sequence[Raw] = pod["spec"].get("volumes") or []
    mounts: Sequence[Raw] = container.get("volumeMounts") or []
    if not present:
        yield {"op": "add", "path": "/spec/volumes", "value": []}
    if not mounts:
        yield {"op": "add", "path": f"{path}/volumeMounts", "value": []}
    # Optional: a pod without its ConfigMap starts as plain vLLM instead of not at all.
    config_map = {"name": config_map_name(runtime_hash), "optional": True}
    yield from _volume(present, {"name": VOLUME, "configMap": config_map})
    yield from _mount(path, mounts, {"name": VOLUME, "mountPath": MOUNT_PATH, "readOnly": True})
    if value_of(container.get("env") or [], names.ENV_STATE_DIR) in {None, STATE_PATH}:
        yield from _volume(present, {"name": STATE_VOLUME, "emptyDir": {"sizeLimit": STATE_SIZE}})
        yield from _mount(path, mounts, {"name": STATE_VOLUME, "mountPath": STATE_PATH})


def _volume(volumes: Sequence[Raw], wanted: Raw) -> Iterator[Operation]:
    for index, volume in enumerate(volumes):
        if volume.get("name") != wanted["name"]:
            continue
        if not _is_ours(volume):
            raise RefusedError(f"the pod has a volume {wanted['name']} of its own: rename it")
        if "configMap" in wanted and _config_map(volume) != _config_map(wanted):
            yield {"op": "replace", "path": f"/spec/volumes/{index}", "value": wanted}
        return
    yield {"op": "add", "path": "/spec/volumes/-", "value": wanted}


def _is_ours(volume: Raw) -> bool:
    """As an earlier call would have left it, for this release of the runtime or another."""
    if volume["name"] == STATE_VOLUME:
        return volume.get("emptyDir") is not None
    return _config_map(volume).startswith(config_map_name(""))


def _config_map(volume: Raw) -> str:
    return str((volume.get("configMap") or {}).get("name"))


def _mount(path: str, mounts: Sequence[Raw], wanted: Raw) -> Iterator[Operation]:
    for mount in mounts:
        if mount.get("mountPath") != wanted["mountPath"]:
            continue
        if mount.get("name") != wanted["name"]:
            raise RefusedError(f"the container mounts {mount.get('name')} at {wanted['mountPath']}: mount it elsewhere")
        return
    yield {"op": "add", "path": f"{path}/volumeMounts/-", "value": wanted}
