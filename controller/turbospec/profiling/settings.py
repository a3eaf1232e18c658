"""What the container's environment says of a profiling run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from turbospec.profiling import variables


class ProfilingError(Exception):
    """There can be no profile; the message is the reason that the operator shows."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``draft_tokens``: K to measure, empty for all. ``began``: when vLLM was started, by the monotonic clock.

    ``plain_seconds``: how long after the engine's start a second one, without speculation, must be over.
    """

    serving_port: int
    control_port: int
    token: str
    api_key: str | None
    start_seconds: float
    sweep_seconds: float
    plain_seconds: float
    draft_tokens: tuple[int, ...]
    began: float | None


def read_settings(environ: Mapping[str, str]) -> Settings:
    """ProfilingError, naming the variable, for a value that cannot be used."""
    token = environ.get(variables.TOKEN)
    if not token:
        raise ProfilingError("TURBOSPEC_TOKEN is not set: the runner is started by the engine plugin, not by hand")
    return Settings(
        serving_port=int(_number(environ, variables.PORT, 8000, 1, 65535)),
        control_port=int(_number(environ, "TURBOSPEC_CONTROL_PORT", 9476, 1, 65535)),
        token=token,
        api_key=environ.get(variables.API_KEY) or None,
        start_seconds=_number(environ, variables.START_SECONDS, 1800, 1, 86400),
        sweep_seconds=_number(environ, variables.SECONDS, 240, 1, 86400),
        plain_seconds=_number(environ, variables.PLAIN_SECONDS, variables.DEFAULT_PLAIN_SECONDS, 0, 86400),
        draft_tokens=_draft_tokens(environ.get(variables.DRAFT_TOKENS, "")),
        began=_number(environ, variables.BEGAN, 0, -math.inf, math.inf) or None,
    )


def _draft_tokens(text: str) -> tuple[int, ...]:
    """K that the cluster's policies use, separated by commas; none named means all."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ProfilingError(
            f"{variables.DRAFT_TOKENS} is {text[:40]!r}, expected numbers separated by commas"
        ) from error


def _number(environ: Mapping[str, str], name: str, default: float, lowest: float, highest: float) -> float:
    text = environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not lowest <= value <= highest:
        raise ProfilingError(f"{name} is {text[:40]!r}, expected a number from {lowest:g} to {highest:g}")
    return value
