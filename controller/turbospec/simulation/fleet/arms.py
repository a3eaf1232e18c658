"""What a fleet can be run as: without a drafter, at a fixed K, by the engine loop, the fleet loop or an oracle."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from turbospec.control.latency import LatencyModel
from turbospec.fleet.snapshot import PlainView
from turbospec.simulation.files import EngineFile, ScenarioError
from turbospec.simulation.fleet.arrivals import Day, draw
from turbospec.simulation.fleet.engines import BestK, Effort, Fixed, as_plain, effort
from turbospec.simulation.fleet.files import FleetScenario, FleetScenarioFile
from turbospec.simulation.fleet.load_signal import LoadRatio, of_loops, of_text
from turbospec.simulation.fleet.loops import LoopBrain, objective_of
from turbospec.simulation.fleet.operator import FleetOperator
from turbospec.simulation.fleet.replica import Brain
from turbospec.simulation.fleet.startup import Startup
from turbospec.simulation.measure import Measured, profile
from turbospec.simulation.text import Floats

NAMES = "plain, off, static:K, loop, turbospec, preserve, auto, auto-preserve, best-k, oracle"
AUTO = ("auto", "auto-preserve")
"""Arms whose new pods start with the drafter or without, as ``startupVariant: Auto`` decides."""
PLAN_SECONDS = 5.0
"""How finely an oracle fleet is planned."""
PLAN_WINDOW_SECONDS = 15.0
"""Work is taken as the mean over this: shorter bursts are what queues are for."""


@dataclass(frozen=True)
class Plan:
    """Replicas of an oracle fleet: the fewest that hold what is coming, known beforehand, start-up delay included."""

    work: Floats
    """Engine seconds that arrive per second, by PLAN_SECONDS from ``begins`` on."""
    begins: float
    delay: float

    def replicas(self, now: float, target: float) -> int:
        """So many replicas that none has more than ``target`` engine seconds of work a second, until a pod that is
        created now would be Ready: one that is needed again by then is not worth ending."""
        first = max(0, int((now - self.begins) / PLAN_SECONDS))
        coming = self.work[first : first + int(self.delay / PLAN_SECONDS) + 2]
        return int(np.ceil(coming.max() / target)) if len(coming) else 1


@dataclass
class Arm:
    """One arm of one seed. ``signal`` and ``operator`` belong to this run alone."""

    name: str
    spec: EngineFile
    day: Day
    brain: Callable[[int], Brain]
    """A new pod's, by its number."""
    signal: LoadRatio | None = None
    operator: FleetOperator | None = None
    plan: Plan | None = None
    startup: Startup | None = None
    brains: list[LoopBrain] = field(default_factory=list)
    """All engine loops of the run, those of pods that are gone too."""
    there: list[LoopBrain] = field(default_factory=list)
    """Those of the ready pods."""


def arm_named(name: str, scenario: FleetScenario, seed: int) -> Arm:
    """The arm of this name. ScenarioError for names and engines that cannot be used."""
    spec = scenario.spec.engine
    kind, _, argument = name.partition(":")
    if name == "plain":
        engine = as_plain(scenario)
        return _fixed(name, scenario, engine, drawn(_with(scenario, engine), seed), 0)
    day = drawn(scenario, seed)
    if name == "off":
        return _fixed(name, scenario, spec, day, 0)
    if kind == "static" and argument.isdecimal():
        if int(argument) not in spec.allowed:
            raise ScenarioError(f"arm {name}: the engine allows only K of {list(spec.allowed)}")
        return _fixed(name, scenario, spec, day, int(argument))
    if name in {"loop", "turbospec", "preserve", *AUTO}:
        return _looped(name, scenario, day, seed)
    if name == "oracle":
        return _oracle(scenario, seed)
    if name == "best-k":
        return _best_k(scenario, seed)
    raise ScenarioError(f"unknown arm {name!r}: use {NAMES}")


@cache
def _profile(engine: str) -> Measured:
    return profile(EngineFile.model_validate_json(engine), 0)


@lru_cache(maxsize=4)
def _day(scenario: str, path: Path, seed: int) -> Day:
    return draw(FleetScenario(FleetScenarioFile.model_validate_json(scenario), path), seed)


def drawn(scenario: FleetScenario, seed: int) -> Day:
    """The day of a seed; arms that follow each other share it."""
    return _day(scenario.spec.model_dump_json(by_alias=True, exclude_none=True), scenario.path, seed)


def measured_of(spec: EngineFile) -> Measured:
    """What the product's own grid and fit say of this engine, measured once in a process.

    A profile compares draft lengths; of an engine without a drafter only what it says of K = 0 is used.
    """
    if len(spec.allowed) == 1:
        spec = spec.model_copy(update={"allowed_draft_tokens": [0, 1]})
    return _profile(spec.model_dump_json(by_alias=True, exclude_none=True))


def latency_of(spec: EngineFile) -> LatencyModel:
    """The model of it."""
    return measured_of(spec).model


def plain_view(scenario: FleetScenario) -> PlainView:
    """What a Job would have measured of the engine without its drafter. ScenarioError as ``as_plain``."""
    plain = as_plain(scenario)
    measured = measured_of(plain)
    return PlainView(measured.model, plain.kv_cache_tokens, scenario.spec.startup.seconds, measured.hold_out_error)


def _with(scenario: FleetScenario, engine: EngineFile) -> FleetScenario:
    return replace(scenario, spec=scenario.spec.model_copy(update={"engine": engine}))


def _fixed(name: str, scenario: FleetScenario, spec: EngineFile, day: Day, k: int) -> Arm:
    seen = of_text(day.texts, 0)
    signal = LoadRatio(spec, latency_of(spec), (k,), objective_of(scenario.spec.objective), lambda: seen)
    return Arm(name, spec, day, lambda _: Fixed(k), signal)


def _looped(name: str, scenario: FleetScenario, day: Day, seed: int) -> Arm:
    spec, objective = scenario.spec.engine, objective_of(scenario.spec.objective)
    latency = latency_of(spec)

    def brain(number: int) -> LoopBrain:
        made = LoopBrain(spec, seed * 1000 + number, None, objective)
        arm.brains.append(made)
        return made

    arm = Arm(name, spec, day, brain)
    plain = plain_view(scenario) if name in AUTO else None
    arm.signal = LoadRatio(spec, latency, spec.allowed, objective, of_loops(lambda: arm.there), plain=plain)
    if name != "loop":
        keeps = name.endswith("preserve")
        arm.operator = FleetOperator(
            latency, spec.allowed, objective, preserve=keeps, plain=plain, kv_cache_tokens=spec.kv_cache_tokens
        )
    if name in AUTO:
        arm.startup = Startup(as_plain(scenario), day.begins)
    return arm


def _oracle(scenario: FleetScenario, seed: int) -> Arm:
    best = _best_engine(scenario, seed)
    brain = BestK(best.spec, best.day, part_ends(scenario, best.day))
    plan = _plan(scenario, best.day, best.effort.of(best.day.prompt, best.day.output))
    return Arm("oracle", best.spec, best.day, lambda _: brain, plan=plan)


def _best_k(scenario: FleetScenario, seed: int) -> Arm:
    """The oracle's engines, which nobody need learn anything for, under the autoscaler: it does not know arrivals."""
    best, objective = _best_engine(scenario, seed), objective_of(scenario.spec.objective)
    brain = BestK(best.spec, best.day, part_ends(scenario, best.day))
    estimates = of_text(best.day.texts, 0)
    signal = LoadRatio(best.spec, latency_of(best.spec), best.spec.allowed, objective, lambda: estimates)
    return Arm("best-k", best.spec, best.day, lambda _: brain, signal)


@dataclass(frozen=True)
class _Engine:
    """How pods are best started for a day, and what its requests take of them."""

    spec: EngineFile
    day: Day
    effort: Effort


def _best_engine(scenario: FleetScenario, seed: int) -> _Engine:
    """With the drafter or without, whichever needs less."""
    spec, day = scenario.spec.engine, drawn(scenario, seed)
    found = _Engine(spec, day, effort(spec, day, scenario.spec.objective))
    if spec.plain is None:
        return found
    plain = as_plain(scenario)
    other = drawn(_with(scenario, plain), seed)
    others = _Engine(plain, other, effort(plain, other, scenario.spec.objective))
    return min((found, others), key=lambda one: float(one.effort.of(one.day.prompt, one.day.output).sum()))


def part_ends(scenario: FleetScenario, day: Day) -> list[float]:
    """When each part of the load ends."""
    ends, now = [], 0.0
    for part in scenario.spec.load:
        now += part.seconds or day.end - now
        ends.append(now)
    return ends


def _plan(scenario: FleetScenario, day: Day, work: Floats) -> Plan:
    bins = int(np.ceil((day.end - day.begins) / PLAN_SECONDS)) + 1
    sums = np.bincount(((day.at - day.begins) / PLAN_SECONDS).astype(int), work, bins) / PLAN_SECONDS
    width = round(PLAN_WINDOW_SECONDS / PLAN_SECONDS)
    mean = np.convolve(sums, np.full(width, 1.0 / width), mode="same")
    return Plan(np.asarray(mean, dtype=np.float64), day.begins, scenario.spec.startup.seconds)
