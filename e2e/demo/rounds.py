"""The measurement: rounds of windows, arms switched through the policy, everything read from clients and engines."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from e2e.cluster.errors import ClusterError
from e2e.demo.engines import Engines
from e2e.demo.kube import Kube
from e2e.demo.phases import FIXED, TURBOSPEC, Arm, Window, seconds
from e2e.demo.report import TimelinePoint, WindowResult
from e2e.demo.samples import Step, StepSummary, summarise
from e2e.load.driver import LoadDriver
from e2e.manifests.serving import NAMESPACE, POLICY

SWITCH_SECONDS = 60.0
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
    """All windows of a run, one after the other. Results and the turbospec arm's timeline grow as it goes."""

    kube: Kube
    engines: Engines
    load: LoadDriver
    window_seconds: float
    haste: float
    show: Show
    results: list[WindowResult] = field(default_factory=list)
    timeline: list[TimelinePoint] = field(default_factory=list)
    _arm: Arm | None = None
    _pass_began: float = 0.0

    async def run(self, windows: list[Window]) -> None:
        """Run the schedule, then leave K to TurboSpec. Raises ClusterError where engines do not follow the policy."""
        previous: Window | None = None
        for index, window in enumerate(windows):
            if self._arm != window.arm:
                await self._switch(window.arm)
            if previous is None or (previous.round, previous.arm) != (window.round, window.arm):
                self._pass_began = time.monotonic()
            await self._measure(window, seconds(windows[index + 1 :], self.window_seconds, self.haste))
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
        """Patch the policy and wait until every engine obeys. No load meanwhile: every arm begins alike."""
        await self.load.start(self.engines.targets, "code", 0, "switch")
        spec = {"speculation": {"draftTokens": list(arm.draft_tokens)}}
        generation = await asyncio.to_thread(self.kube.patch_policy, NAMESPACE, POLICY, spec)
        if not await self.engines.wait_for_generation(generation, SWITCH_SECONDS):
            raise ClusterError(
                f"the engines did not take draftTokens {list(arm.draft_tokens)} within {SWITCH_SECONDS:.0f} s: "
                f"see `kubectl describe speculationpolicy {POLICY} -n {NAMESPACE}`"
            )
        self._arm = arm

    async def _measure(self, window: Window, after: float) -> None:
        """One window: the same prompts for every arm of a round, and the same time to settle before it counts."""
        phase = window.phase
        await self.load.start(self.engines.targets, phase.style, phase.clients, f"{window.round}-{phase.name}")
        began = time.monotonic()
        counted_from = began + phase.settle_seconds / self.haste
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
            self.show(Moment(window, settling, steps, rate, max(0.0, ends - seen) + after))
            self._note(window, seen, steps, rate)
        await self._finish(window, counted_from, ends, counted)

    async def _finish(self, window: Window, begin: float, end: float, counted: list[Step]) -> None:
        goodput = self.load.tokens_per_second(begin, end)
        if goodput is None:
            raise ClusterError("the load generator stopped reporting; its last error: " + str(self.load.last.error))
        steps = summarise(counted)
        self.results.append(
            WindowResult(
                round=window.round,
                arm=window.arm.name,
                phase=window.phase.name,
                goodput=goodput,
                mean_draft_tokens=steps.mean_draft_tokens,
                acceptance_rate=steps.acceptance_rate,
                mean_batch=steps.mean_batch,
            )
        )

    def _note(self, window: Window, seen: float, steps: StepSummary, rate: float | None) -> None:
        if window.arm != TURBOSPEC:
            return
        self.timeline.append(
            TimelinePoint(
                round=window.round,
                seconds=seen - self._pass_began,
                phase=window.phase.name,
                draft_tokens=steps.mean_draft_tokens,
                batch=steps.mean_batch,
                acceptance_rate=steps.acceptance_rate,
                tokens_per_second=rate,
            )
        )
