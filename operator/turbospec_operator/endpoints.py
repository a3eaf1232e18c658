"""Where a pod's engine listens, as the pod itself says."""

from collections.abc import Mapping
from typing import Any

from turbospec_operator import names
from turbospec_operator.engines import EngineEndpoint
from turbospec_operator.tokens import engine_token

Raw = Mapping[str, Any]


def endpoint_of(pod: Raw, master_key: bytes, default_port: int) -> EngineEndpoint | None:
    """Where an injected pod's engine listens; None while it has no address or was not injected."""
    annotations = pod["metadata"].get("annotations") or {}
    status = pod.get("status") or {}
    nonce = annotations.get(names.ANNOTATION_NONCE)
    if names.ANNOTATION_INJECTED not in annotations or not nonce:
        return None
    if status.get("phase") != "Running" or not status.get("podIP"):
        return None
    token = engine_token(master_key, pod["metadata"]["namespace"], nonce)
    return EngineEndpoint(status["podIP"], _control_port(pod, default_port), token)


def _control_port(pod: Raw, default: int) -> int:
    wanted = (pod["metadata"].get("annotations") or {}).get(names.ANNOTATION_CONTAINER)
    for container in (pod.get("spec") or {}).get("containers") or []:
        if wanted is not None and container.get("name") != wanted:
            continue
        for variable in container.get("env") or []:
            text = str(variable.get("value", ""))
            if variable.get("name") == names.ENV_CONTROL_PORT and text.isascii() and text.isdigit():
                return int(text)
    return default


def why_no_endpoint(pod: Raw) -> str:
    """What keeps an injected pod from having one."""
    status = pod.get("status") or {}
    if names.ANNOTATION_NONCE not in (pod["metadata"].get("annotations") or {}):
        return f"pod has no annotation {names.ANNOTATION_NONCE}; restart it"
    if status.get("phase") != "Running":
        return f"pod is {status.get('phase') or 'Pending'}"
    return "pod has no address yet"
