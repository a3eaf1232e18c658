"""The demo's result: report.json. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from e2e.demo.phases import FIXED, OFF, TURBOSPEC, Phase

PROMISE = 0.9
"""Goodput of each phase is at least this times the better of off and fixed."""


@dataclass(frozen=True)
class WindowResult:
    """One measured window. Goodput is what clients received, in tokens per second over all engines."""

    round: int
    arm: str
    phase: str
    goodput: float
    mean_draft_tokens: float | None
    acceptance_rate: float | None
    mean_batch: float | None


@dataclass(frozen=True)
class TimelinePoint:
    """One moment of TurboSpec's tour through all phases; seconds since it began."""

    seconds: float
    phase: str
    draft_tokens: float | None
    batch: float | None
    acceptance_rate: float | None
    tokens_per_second: float | None


@dataclass(frozen=True)
class DemoResult:
    """Everything the demo measured."""

    model: str
    machine: str
    engines: int
    phases: tuple[Phase, ...]
    windows: Sequence[WindowResult]
    timeline: Sequence[TimelinePoint]
    failed_requests: int
    profiling_jobs: int
    profile_reused: bool
    window_seconds: float
    seconds: float


def phase_report(phase: Phase, windows: Sequence[WindowResult]) -> dict[str, Any]:
    """Medians over the rounds, and the rounds themselves under ``rounds``."""
    turbospec, off, fixed = (_of(windows, phase.name, arm.name) for arm in (TURBOSPEC, OFF, FIXED))
    goodput, off_goodput, fixed_goodput = (_median(w.goodput for w in arm) for arm in (turbospec, off, fixed))
    return {
        "name": phase.name,
        "clients": phase.clients,
        "settleSeconds": phase.settle_seconds,
        "meanDraftTokens": _round(_median(w.mean_draft_tokens for w in turbospec)),
        "acceptanceRate": _round(_median(w.acceptance_rate for w in turbospec)),
        "goodputTokensPerSecond": _round(goodput),
        "offGoodputTokensPerSecond": _round(off_goodput),
        "fixedGoodputTokensPerSecond": _round(fixed_goodput),
        "ratioToBetter": _round(_ratio(goodput, off_goodput, fixed_goodput)),
        "meanBatch": _round(_median(w.mean_batch for w in turbospec)),
        "rounds": {
            arm.name: [_round(w.goodput) for w in _of(windows, phase.name, arm.name)] for arm in (TURBOSPEC, OFF, FIXED)
        },
    }


def build_report(result: DemoResult) -> dict[str, Any]:
    """The JSON document. ``clients`` counts clients per engine."""
    return {
        "model": result.model,
        "machine": result.machine,
        "engines": result.engines,
        "phases": [phase_report(phase, result.windows) for phase in result.phases],
        "failedRequests": result.failed_requests,
        "profilingJobs": result.profiling_jobs,
        "profileReused": result.profile_reused,
        "seconds": round(result.seconds, 1),
        "windowSeconds": result.window_seconds,
        "windows": [asdict(window) for window in result.windows],
        "timeline": [asdict(point) for point in result.timeline],
    }


def broken_promises(report: dict[str, Any]) -> list[str]:
    """What the report fails to show, in words; empty when all is as promised."""
    problems = []
    for phase in report["phases"]:
        ratio = phase["ratioToBetter"]
        if ratio is None:
            problems.append(f"{phase['name']}: not every arm was measured")
        elif ratio < PROMISE:
            problems.append(f"{phase['name']}: {ratio:.2f} of the better of off and fixed, below {PROMISE}")
    if report["failedRequests"]:
        problems.append(f"{report['failedRequests']} requests failed")
    if report["profilingJobs"] != (0 if report["profileReused"] else 1):
        problems.append(f"{report['profilingJobs']} profiling Jobs")
    return problems


def _of(windows: Sequence[WindowResult], phase: str, arm: str) -> list[WindowResult]:
    return [window for window in windows if window.phase == phase and window.arm == arm]


def _median(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return float(median(known)) if known else None


def _ratio(goodput: float | None, *others: float | None) -> float | None:
    known = [other for other in others if other is not None]
    if goodput is None or len(known) < len(others) or max(known) <= 0:
        return None
    return goodput / max(known)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
