"""Which pods are injected alike: what the crash-loop breaker counts failures of, and what it stops."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from turbospec.wire.speculation_policy import SpeculationPolicySpec
from turbospec_operator import names

Raw = Mapping[str, Any]

_FIELDS = ("image", "command", "args", "env", "envFrom", "resources", "workingDir")
"""What decides how an engine starts. Volume mounts stay out: every pod's token has a mount of its own name."""


def template_digest(
    pod: Raw, container: Raw, policy: SpeculationPolicySpec, runtime_hash: str, *, plain: bool = False
) -> str:
    """16 hexadecimal digits, equal for pods that start the same way with the same runtime under the same policy.

    Another image, argument, variable, method or release of TurboSpec gives another digest: what a person changes is
    tried again; so is starting ``plain`` where the drafter failed. A pod that carries a digest keeps it, unless it is a
    copy from another release: when the webhook is called again for a pod, others may have changed it meanwhile.
    """
    annotations = pod["metadata"].get("annotations") or {}
    known = annotations.get(names.ANNOTATION_TEMPLATE)
    if known and annotations.get(names.ANNOTATION_INJECTED, runtime_hash) == runtime_hash:
        return str(known)
    start = {field: container.get(field) for field in _FIELDS if container.get(field)}
    speculation = policy.speculation.model_dump(mode="json", exclude_none=True)
    text = json.dumps(
        [start, speculation, runtime_hash, *(["plain"] if plain else [])], sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
