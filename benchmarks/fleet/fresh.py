"""A pod's first seconds: the requests that a load balancer gave it, replayed with and without what waited for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.control.lines import Part
from benchmarks.fleet.cases import scenario
from benchmarks.fleet.intervals import interval
from turbospec.control.engine_loop import EngineLoop, LoopLimits, LoopSettings
from turbospec.control.step import StepComposition, StepRecord
from turbospec.simulation.controllers import Controller, Oracle, startup_table
from turbospec.simulation.engine import SimulatedEngine
from turbospec.simulation.fleet.arms import arm_named
from turbospec.simulation.fleet.files import FleetScenario, MetricName
from turbospec.simulation.fleet.loops import LoopBrain, objective_of
from turbospec.simulation.fleet.pods import Phase, Pod
from turbospec.simulation.fleet.run import FleetSimulation, Scaling
from turbospec.simulation.text import LEVELS, TextBank
from turbospec.simulation.workload import Request

SCENARIOS = ("diurnal", "flash-crowd", "slow-ramp")
SEEDS = tuple(range(200, 220))
SECONDS = 30.0
CALM_SECONDS = 300.0
"""Before the crowd: the first pods have learnt what there is to learn, and the rest of the part is more of the same."""
TARGET = 0.8


@dataclass
class Newcomer(FleetSimulation):
    """Notes what the first pod that the autoscaler asks for is given in its first seconds, and what waited for it."""

    requests: list[tuple[float, int]] = field(default_factory=list, init=False)
    """When, and which."""
    settings: LoopSettings | None = field(default=None, init=False)
    limits: LoopLimits | None = field(default=None, init=False)

    @property
    def newcomer(self) -> Pod | None:
        """The pod, once it is there."""
        return next((pod for pod in self.pods if pod.created >= 0.0), None)

    def meet(self) -> None:
        """Until its first seconds are over. ValueError where the day has no such pod."""
        while self.newcomer is None or self.now < self.newcomer.ready_at + SECONDS:
            if not self.advance():
                raise ValueError(f"{self.scenario.path.stem}, seed {self.seed}: no pod was added")

    def _arrive(self, until: float, *, open_: bool) -> None:
        pod = self.newcomer
        replica = None if pod is None or pod.phase(self.now) is not Phase.READY else self.serving.replicas[pod.slot]
        if pod is None or replica is None:
            super()._arrive(until, open_=open_)
            return
        brain = self._brains[pod]
        if self.settings is None and isinstance(brain, LoopBrain):
            self.settings, self.limits = brain.settings, brain.limits
        before = set(replica.waiting)
        super()._arrive(until, open_=open_)
        given = [request for request in replica.waiting if request not in before]
        self.requests += [(max(self.now, float(self.arm.day.at[request])), request) for request in given]


class Looped:
    """The engine loop, asked and told step by step."""

    learns = True
    changes = 0

    def __init__(self, loop: EngineLoop) -> None:
        self._loop = loop

    def choose(self, composition: StepComposition) -> int:
        """What it decides."""
        return self._loop.draft_tokens(composition)

    def observe(self, record: StepRecord) -> None:
        """What it learns."""
        self._loop.observe(record)


def measure(name: str, seed: int) -> list[dict[str, Any]]:
    """Tokens within the first 30 s of one new pod: by an oracle, with what waited for it, and without."""
    given = _shortened(scenario(name))
    fleet = Newcomer(given, arm_named("turbospec", given, seed), Scaling(MetricName.EXPECTED_PODS, TARGET), seed)
    fleet.meet()
    spec, settings, limits = given.spec.engine, fleet.settings, fleet.limits
    if settings is None or limits is None:
        raise ValueError(f"{name}, seed {seed}: the new pod has no engine loop")
    cold = LoopSettings("local", spec.allowed, None, None, (), objective_of(given.spec.objective))

    def looped(those: LoopSettings) -> Controller:
        loop = EngineLoop(limits, startup_table(spec.allowed, spec.max_num_seqs))
        loop.configure(those)
        return Looped(loop)

    row = {
        "scenario": name,
        "seed": seed,
        "requests": len(fleet.requests),
        "waited": settings.latency is not None and bool(settings.prior),
        "oracle": _tokens(fleet, Oracle),
        "waiting": _tokens(fleet, lambda _: looped(settings)),
        "none": _tokens(fleet, lambda _: looped(cold)),
    }
    return [row]


def _shortened(given: FleetScenario) -> FleetScenario:
    """With a short calm where the load has parts: nothing happens in the rest of it."""
    spec = given.spec
    if len(spec.load) == 1:
        return given
    calm = spec.load[0].model_copy(update={"seconds": CALM_SECONDS})
    return FleetScenario(spec.model_copy(update={"load": [calm, *spec.load[1:]]}), given.path)


def _tokens(fleet: Newcomer, made: Callable[[SimulatedEngine], Controller]) -> int:
    """Delivered within the first seconds, every step taken by itself."""
    given, day, spec = fleet.scenario, fleet.arm.day, fleet.scenario.spec.engine
    bank = TextBank(fleet.seed, spec.max_draft_tokens, int(day.output.max()))
    engine = SimulatedEngine(spec, bank, fleet.seed)
    controller = made(engine)
    begins = fleet.newcomer.ready_at if fleet.newcomer is not None else 0.0
    coming = []
    for at, i in fleet.requests:
        part, level = divmod(int(day.kind[i]), LEVELS)
        text = bank.level(part, given.spec.load[part].text, level)
        coming.append(Request(i, at - begins, int(day.prompt[i]), int(day.output[i]), text, bank.place(text, i)))
    tokens, coming = 0, coming[::-1]
    while engine.now < SECONDS:
        while coming and coming[-1].arrived <= engine.now:
            engine.submit(coming.pop())
        if engine.busy:
            record = engine.step(controller.choose, record=controller.learns)
            if record is not None:
                controller.observe(record)
            tokens += engine.last_generated
        elif coming:
            engine.idle_until(coming[-1].arrived)
        else:
            break
    return tokens


def parts(rows: Sequence[dict[str, Any]]) -> list[Part]:
    """One for each scenario that was measured."""
    found = []
    for name in SCENARIOS:
        those = [row for row in rows if row["scenario"] == name]
        if not those:
            continue
        of_oracle = [row["waiting"] / row["oracle"] for row in those]
        (share, half), (gain, more) = interval(of_oracle), interval([r["waiting"] / r["none"] - 1.0 for r in those])
        requests = np.mean([row["requests"] for row in those])
        measured = (
            f"{share:.3f} ± {half:.3f} ({len(those)} seeds, lowest {min(of_oracle):.3f}, {requests:.0f} requests); "
            f"{100 * gain:+.1f}% ± {100 * more:.1f} over none"
        )
        asked = f"{name}: goodput of a new pod's first 30 s >= 0.97 x the oracle's"
        found.append(Part(7, asked, measured, share >= 0.97))
    return found
