"""Raw objects and logs without what nobody else may know. Pure; in doubt a value goes, and its name stays."""

import re
from collections.abc import Sequence
from typing import Any

REDACTED = "REDACTED"

_WORDS = r"(?:token(?!s|iz)|secret|passw(?:or)?d|credential|api[-_.]?key|access[-_.]?key|private[-_.]?key|nonce|auth\b)"
_SECRET_NAME = re.compile(_WORDS, re.IGNORECASE)
_NAME = rf"[\w.-]{{0,64}}{_WORDS}[\w.-]{{0,64}}"

_OPEN_VARIABLES = re.compile(
    r"(VLLM_|TURBOSPEC_|CUDA_|NVIDIA_|NCCL_|UCX_|TORCH|OMP_|MKL_|HF_HUB_OFFLINE|TRANSFORMERS_|PYTHON|LD_|PATH$|HOME$|POD_|NODE_)"
)
"""Variables whose values say how an engine runs. Of all others only the name is kept."""

_DROPPED = frozenset({"managedFields", "kubectl.kubernetes.io/last-applied-configuration"})
"""Copies of what is there already, in which nothing has a name to go by."""

_PATTERNS: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REDACTED),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {REDACTED}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), REDACTED),
    (re.compile(r"\b(hf_|sk-|gh[pousr]_|glpat-|xox[abp]-)[A-Za-z0-9_-]{12,}"), REDACTED),
    (re.compile(r"\bAKIA[0-9A-Z]{16}\b"), REDACTED),
    (re.compile(r"://[^/\s:@]+:[^/\s@]+@"), f"://{REDACTED}@"),
    (
        re.compile(rf"(?i)((?:--|\b){_NAME}[\"']?\s*[=:]\s*|--{_NAME}\s+)(\"[^\"]*\"|'[^']*'|[^\s,;}}]+)"),
        rf"\g<1>{REDACTED}",
    ),
)
"""Secrets by their looks, and by the name in front of them: flags, assignments, headers."""


def redacted_text(text: str) -> str:
    """A log, a script, a message."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redacted(node: Any) -> Any:
    """An object as the API server gave it."""
    if isinstance(node, dict):
        return {key: _field(key, value) for key, value in node.items() if key not in _DROPPED}
    if isinstance(node, list):
        return [redacted(each) for each in node]
    return redacted_text(node) if isinstance(node, str) else node


def _field(key: str, value: Any) -> Any:
    if key == "env" and isinstance(value, list):
        return [_variable(each) for each in value]
    if key in ("command", "args") and isinstance(value, list):
        return _arguments(value)
    if key == "annotations" and isinstance(value, dict):
        kept = {name: text for name, text in value.items() if name not in _DROPPED}
        return {name: REDACTED if _SECRET_NAME.search(name) else redacted(text) for name, text in kept.items()}
    return redacted(value)


def _variable(variable: Any) -> Any:
    """An environment variable: whole where it says how the engine runs, else its name."""
    if not isinstance(variable, dict) or "value" not in variable:
        return redacted(variable)
    name = str(variable.get("name"))
    if _OPEN_VARIABLES.match(name) and not _SECRET_NAME.search(name):
        return redacted(variable)
    return {**variable, "value": REDACTED}


def _arguments(words: Sequence[Any]) -> list[Any]:
    """Arguments; the one behind a flag that names a secret is one."""
    found: list[Any] = []
    hidden = False
    for word in words:
        found.append(REDACTED if hidden else redacted(word))
        text = str(word)
        hidden = text.startswith("-") and "=" not in text and " " not in text and bool(_SECRET_NAME.search(text))
    return found
