"""The environment variables of the engine runtime, read once. All start with ``TURBOSPEC_``."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_CONTROL_PORT = 9476
DEFAULT_KILL_FILE = "/tmp/turbospec-off"  # noqa: S108 - only its presence counts, and that only turns us off

# A child of vLLM's logger, so that our lines appear with vLLM's own handlers and format.
logger = logging.getLogger("vllm.turbospec.engine")


@dataclass(frozen=True, slots=True)
class EngineEnvironment:
    """What the pod's environment asks of the runtime; every field has a default that serves.

    ``plain``: this is the second start of a profiling run, which does without speculation.
    """

    disabled: bool
    profile: bool
    plain: bool
    token_sha256: str | None
    control_host: str
    control_port: int
    state_dir: Path
    kill_file: Path


def read_environment(environ: Mapping[str, str]) -> EngineEnvironment:
    """Never raises: a value that cannot be used is named in one log line and its default is taken."""
    return EngineEnvironment(
        disabled=environ.get("TURBOSPEC_DISABLE", "") == "1",
        profile=environ.get("TURBOSPEC_PROFILE", "") == "1",
        plain="TURBOSPEC_PROFILE_PLAIN" in environ,
        token_sha256=_token_hash(environ.get("TURBOSPEC_TOKEN_SHA256")),
        # All addresses by default: the operator reaches the pod by its IP, and every /v1 path needs the token.
        control_host=environ.get("TURBOSPEC_CONTROL_HOST") or "0.0.0.0",  # noqa: S104 - see above
        control_port=_port(environ.get("TURBOSPEC_CONTROL_PORT")),
        state_dir=Path(environ.get("TURBOSPEC_STATE_DIR") or tempfile.gettempdir()),
        kill_file=Path(environ.get("TURBOSPEC_KILL_FILE") or DEFAULT_KILL_FILE),
    )


def _token_hash(text: str | None) -> str | None:
    if not text:
        return None
    text = text.strip().lower()
    if len(text) == 64 and all(character in "0123456789abcdef" for character in text):
        return text
    logger.warning("TURBOSPEC_TOKEN_SHA256 is not 64 hexadecimal digits: every /v1 request will be refused")
    return None


def _port(text: str | None) -> int:
    if not text:
        return DEFAULT_CONTROL_PORT
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    logger.warning("TURBOSPEC_CONTROL_PORT is %r, expected 0 to 65535: using %d", text, DEFAULT_CONTROL_PORT)
    return DEFAULT_CONTROL_PORT
