"""What injection does to the engine's environment variables, and why it refuses some."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from turbospec_operator import names
from turbospec_operator.runtime_bundle import MOUNT_PATH, ZIP_NAME

Raw = Mapping[str, Any]
Operation = dict[str, Any]

STATE_PATH = "/var/run/turbospec"
"""Where an engine keeps its control document and what it has learnt: a container that restarts has lost its own files,
the pod's volume stays."""
PLUGIN = "turbospec"
ZIP_PATH = f"{MOUNT_PATH}/{ZIP_NAME}"

ANNOTATION_IMAGE_PYTHONPATH = "turbospec.io/image-pythonpath"
"""Set by users whose image has a PYTHONPATH of its own, which no pod shows and which ours would hide."""


class RefusedError(Exception):
    """This pod cannot be injected; the message is one line for its annotation. ``template`` is noted too."""

    def __init__(self, message: str, template: str | None = None) -> None:
        super().__init__(message)
        self.template = template


def environment(pod: Raw, container: Raw, path: str, control_port: int, token_hash: str) -> Iterator[Operation]:
    """Operations on the variables of the container at ``path``. Raises RefusedError where one cannot be extended."""
    variables: Sequence[Raw] = container.get("env") or []
    wanted = {
        "PYTHONPATH": _python_path(pod, container),
        names.ENV_TOKEN_SHA256: token_hash,
        # A port that the user chose stays: the operator reads it from the pod.
        names.ENV_CONTROL_PORT: value_of(variables, names.ENV_CONTROL_PORT) or str(control_port),
        names.ENV_STATE_DIR: value_of(variables, names.ENV_STATE_DIR) or STATE_PATH,
    }
    plugins = value_of(variables, "VLLM_PLUGINS")
    if plugins is not None and PLUGIN not in plugins.split(","):
        wanted["VLLM_PLUGINS"] = f"{plugins},{PLUGIN}" if plugins else PLUGIN
    if not variables:
        yield {"op": "add", "path": f"{path}/env", "value": []}
    for name, value in wanted.items():
        position = _position(variables, name)
        if position is None:
            yield {"op": "add", "path": f"{path}/env/-", "value": {"name": name, "value": value}}
        elif variables[position].get("value") != value:
            yield {"op": "replace", "path": f"{path}/env/{position}", "value": {"name": name, "value": value}}


def _python_path(pod: Raw, container: Raw) -> str:
    """Ours comes last: nothing of the user's is shadowed."""
    existing = value_of(container.get("env") or [], "PYTHONPATH")
    if existing is None:
        existing = (pod["metadata"].get("annotations") or {}).get(ANNOTATION_IMAGE_PYTHONPATH)
    if existing is None and container.get("envFrom"):
        # env hides envFrom, but may refer to it. Where envFrom holds no PYTHONPATH this stays as it is written: a
        # folder that does not exist, which Python skips.
        existing = "$(PYTHONPATH)"
    if not existing:
        return ZIP_PATH
    return existing if ZIP_PATH in existing.split(":") else f"{existing}:{ZIP_PATH}"


def value_of(variables: Sequence[Raw], name: str) -> str | None:
    """The value of a variable, None where it is not set; refuses one whose value is not in the pod."""
    position = _position(variables, name)
    if position is None:
        return None
    if variables[position].get("valueFrom"):
        raise RefusedError(f"the container takes {name} from valueFrom, nothing can be appended to it: set its value")
    return str(variables[position].get("value") or "")


def _position(variables: Sequence[Raw], name: str) -> int | None:
    """Where a variable is set; the last one counts, as for the kubelet."""
    return max((index for index, variable in enumerate(variables) if variable.get("name") == name), default=None)
