"""Windows for advice out of what engines under our runtime count themselves, where no Prometheus has their series."""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from turbospec.advise.series import EngineSeries, Window
from turbospec.fleet.snapshot import EngineReport, PodView

NO_SPECULATION = "NoSpeculation"
"""The one reason for which an engine cannot be steered that a person can lift: it was started without a drafter."""
WINDOW_SECONDS = 600.0
KEPT_SECONDS = 7 * 86_400.0
MOST_ENGINES = 256
"""Engines that are watched at a time: a week of one takes 0.4 MB."""
LONGEST_GAP_SECONDS = 60.0
"""Between two looks at an engine: beyond it nobody knows how many requests ran, and the window is given up."""


@dataclass(slots=True)
class _Engine:
    """An engine since ``begun``, and its windows until then; ``decoding`` and ``squares`` are integrals over time."""

    begun: EngineReport
    begun_seconds: float
    seen_seconds: float
    decoding: float = 0.0
    squares: float = 0.0
    windows: deque[Window] = field(default_factory=lambda: deque(maxlen=int(KEPT_SECONDS / WINDOW_SECONDS)))

    def begin(self, report: EngineReport, now: float) -> None:
        self.begun, self.begun_seconds, self.seen_seconds = report, now, now
        self.decoding = self.squares = 0.0


class ReportedWindows:
    """Every engine's windows while its pod is there. An operator that restarts begins anew."""

    def __init__(self) -> None:
        self._engines: dict[str, _Engine] = {}

    def see(self, pods: Iterable[PodView], now: float) -> None:
        """What the engines of these pods say now; others are forgotten.

        Those that do not count requests tell nothing: what prefill and lengths were is not known.
        """
        there = {pod.uid: pod.report for pod in sorted(pods, key=lambda pod: pod.uid)[:MOST_ENGINES]}
        self._engines = {uid: engine for uid, engine in self._engines.items() if uid in there}
        for uid, report in there.items():
            steerable = report is not None and report.unsupported_code in (None, NO_SPECULATION)
            if report is not None and report.requests is not None and steerable:
                self._look(uid, report, now)

    def series(self, pods: Iterable[PodView]) -> tuple[EngineSeries, ...]:
        """Of those of these pods that have a whole window."""
        found = ((pod.name, self._engines.get(pod.uid)) for pod in pods)
        return tuple(
            EngineSeries(name, tuple(engine.windows)) for name, engine in found if engine is not None and engine.windows
        )

    def _look(self, uid: str, report: EngineReport, now: float) -> None:
        engine = self._engines.get(uid)
        if engine is None:
            self._engines[uid] = _Engine(report, now, now)
            return
        passed = now - engine.seen_seconds
        restarted = report.engine_id != engine.begun.engine_id or report.steps < engine.begun.steps
        if restarted or not 0.0 <= passed <= LONGEST_GAP_SECONDS:
            engine.begin(report, now)
            return
        decoding = min(report.decodes, report.running)  # decodes are those of the last step with work
        engine.decoding += decoding * passed
        engine.squares += decoding**2 * passed
        engine.seen_seconds = now
        if now - engine.begun_seconds >= WINDOW_SECONDS:
            window = _window(engine, report, now)
            if window is not None:
                engine.windows.append(window)
            engine.begin(report, now)


def _window(engine: _Engine, report: EngineReport, now: float) -> Window | None:
    """Every step of a request delivers one token and the accepted ones, but for the last of its prefill: that token,
    the first, comes after no other."""
    before, seconds = engine.begun, now - engine.begun_seconds
    if before.requests is None or report.requests is None:
        return None
    asked, was = report.requests, before.requests
    accepted = _since(report.counts.accepted, before.counts.accepted)
    finished, admitted = asked.finished - was.finished, asked.admitted - was.admitted
    generated = report.generated_tokens - before.generated_tokens
    mean = engine.decoding / seconds
    speculates = report.unsupported_code is None
    return Window(
        # Windows that end together are one moment: engines are looked at in one round, but begin apart.
        ended_seconds=math.floor(now / WINDOW_SECONDS) * WINDOW_SECONDS,
        seconds=seconds,
        running=mean,
        running_deviation=math.sqrt(max(0.0, engine.squares / seconds - mean**2)),
        generation_tokens=float(generated),
        prompt_tokens=float(asked.prefill_tokens - was.prefill_tokens),
        steps=float(report.steps - before.steps),
        request_steps=float(max(0, generated - sum(accepted) - admitted)),
        latency_seconds=engine.decoding,
        finished=float(finished),
        # Prompts are counted as requests begin, outputs as they end: over a window the means are the same.
        finished_prompt_tokens=finished * (asked.prompt_tokens - was.prompt_tokens) / max(1, admitted),
        finished_generation_tokens=float(asked.output_tokens - was.output_tokens),
        drafts=float(report.drafts - before.drafts) if speculates else None,
        draft_tokens=float(sum(_since(report.counts.drafted, before.counts.drafted))),
        accepted=tuple(float(each) for each in accepted) if speculates else (),
    )


def _since(now: Sequence[int], before: Sequence[int]) -> list[int]:
    return [a - b for a, b in zip(now, before, strict=False)]
