"""The measurement: rounds of windows, arms switched through the policy, everything read from clients and engines."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from e2e.cluster.errors import ClusterError
from e2e.demo.engines import Engines
from e2e.demo.kube import Kube
from e2e.demo.phases import FIXED, TURBOSPEC, Arm, Window, begins_anew, seconds, settle_seconds
from e2e.demo.report import TimelinePoint, WindowResult
from e2e.demo.samples import Step, StepSummary, summarise
from e2e.load.driver import LoadDriver
from e2e.manifests.serving import NAMESPACE, POLICY

OBEY_SECONDS = 60.0
"""How long engines may take to run an arm's document; two rounds of the operator are usual."""
SAMPLE_SECONDS = 1.0
WARM_UP_SECONDS = 90.0


@dataclass(frozen=True)
class Moment:
    """What the live table shows: the window, the last second's steps, and how far the run is."""

    window: Window
    settling: bool
    steps: StepSummary
    tokens_per_second: float | None
    remaining_seconds: float


Show = Callable[[Moment], None]


@dataclass
class Measurement:
    """All windows of a run, one after the other. Results and the tour's timeline grow as it goes."""

    kube: Kube
    engines: Engines
    load: LoadDriver
    window_seconds: float
    haste: float
    show: Show
    results: list[WindowResult] = field(default_factory=list)
    timeline: list[TimelinePoint] = field(default_factory=list)
    _arm: Arm | None = None
    _began: float = 0.0

    async def run(self, windows: list[Window]) -> None:
        """Run the schedule, then leave K to TurboSpec. Raises ClusterError where engines do not follow the policy."""
        self._began = time.monotonic()
        previous: Window | None = None
        for index, window in enumerate(windows):
            if begins_anew(previous, window):
                seed = f"{'tour' if window.round is None else window.round}-{window.phase.name}"
                await self.load.start(self.engines.targets, window.phase.style, window.phase.clients, seed)
            began = time.monotonic()
            await self._switch(window.arm)
            rest = seconds(windows[index:], self.window_seconds, self.haste) - self.window_seconds
            await self._measure(window, began + settle_seconds(previous, window, self.haste), rest)
            previous = window
        await self._switch(TURBOSPEC)

    async def warm_up(self, style: str) -> None:
        """Every server has drafted: its first drafts compile the drafter, for seconds that nobody's window should hold.

        Raises ClusterError where one drafts nothing.
        """
        await self._switch(FIXED)
        await self.load.start(self.engines.targets, style, 1, "warm-up")
        cold = {engine.pod for engine in self.engines.all}
        deadline = time.monotonic() + WARM_UP_SECONDS
        while cold:
            if time.monotonic() > deadline:
                raise ClusterError(f"no drafts from {', '.join(sorted(cold))} within {WARM_UP_SECONDS:.0f} s")
            await asyncio.sleep(SAMPLE_SECONDS)
            await self.engines.new_steps()
            cold -= {engine.pod for engine in self.engines.all if summarise(engine.latest).acceptance_rate is not None}

    async def _switch(self, arm: Arm) -> None:
        """Patch the policy and wait until every engine obeys, all under load."""
        if arm == self._arm:
            return
        spec = {"speculation": {"draftTokens": list(arm.draft_tokens)}}
        generation = await asyncio.to_thread(self.kube.patch_policy, NAMESPACE, POLICY, spec)
        if not await self.engines.wait_for_generation(generation, OBEY_SECONDS):
            raise ClusterError(
                f"the engines did not take draftTokens {list(arm.draft_tokens)} within {OBEY_SECONDS:.0f} s: "
                f"see `kubectl describe speculationpolicy {POLICY} -n {NAMESPACE}`"
            )
        self._arm = arm

    async def _measure(self, window: Window, settled: float, rest: float) -> None:
        """One window, counted from ``settled`` on the monotonic clock, or from now where engines obeyed later."""
        counted_from = max(settled, time.monotonic() + SAMPLE_SECONDS)
        ends = counted_from + self.window_seconds
        counted: list[Step] = []
        while (now := time.monotonic()) < ends:
            boundary = counted_from if now < counted_from else ends
            await asyncio.sleep(min(SAMPLE_SECONDS, boundary - now))
            fresh: list[Step] = list(await self.engines.new_steps())
            seen = time.monotonic()
            settling = now < counted_from
            if not settling:
                counted.extend(fresh)
            steps = summarise(fresh)
            rate = self.load.tokens_per_second(seen - 2.0, seen)
            self.show(Moment(window, settling, steps, rate, max(0.0, ends - seen) + rest))
            self._note(window, seen, steps, rate)
        if window.round is not None:
            self._finish(window, window.round, counted_from, ends, counted)

    def _finish(self, window: Window, number: int, begin: float, end: float, counted: list[Step]) -> None:
        goodput = self.load.tokens_per_second(begin, end)
        if goodput is None:
            raise ClusterError("the load generator stopped reporting; its last error: " + str(self.load.last.error))
        steps = summarise(counted)
        self.results.append(
            WindowResult(
                round=number,
                arm=window.arm.name,
                phase=window.phase.name,
                goodput=goodput,
                mean_draft_tokens=steps.mean_draft_tokens,
                acceptance_rate=steps.acceptance_rate,
                mean_batch=steps.mean_batch,
            )
        )

    def _note(self, window: Window, seen: float, steps: StepSummary, rate: float | None) -> None:
        if window.round is not None:
            return
        self.timeline.append(
            TimelinePoint(
                seconds=seen - self._began,
                phase=window.phase.name,
                draft_tokens=steps.mean_draft_tokens,
                batch=steps.mean_batch,
                acceptance_rate=steps.acceptance_rate,
                tokens_per_second=rate,
            )
        )
