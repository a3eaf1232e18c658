"""Runs one workload on one engine under one controller."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from turbospec.control.acceptance import Prior
from turbospec.control.latency import LatencyModel
from turbospec.simulation.controllers import AcceptanceEma, Controller, Oracle, Schedule, Static, TurboSpec
from turbospec.simulation.engine import SimulatedEngine
from turbospec.simulation.files import EngineFile, ScenarioError, WorkloadFile, read_yaml
from turbospec.simulation.measure import profile
from turbospec.simulation.results import Run, Series, Stretch
from turbospec.simulation.workload import Request, Workload

PROGRESS_STEPS = 2000
"""Steps between two calls of the progress callback."""
NAMES = "turbospec, off, plain, static:K, oracle, acceptance-ema, schedule:FILE"

Progress = Callable[[float], None]
"""Called with the share of the run that is done."""


@dataclass(frozen=True)
class ProfileSource:
    """Where the latency model of ``turbospec`` comes from: measured first, given, or none."""

    measured: bool = True
    model: LatencyModel | None = None
    prior: tuple[Prior, ...] = ()


@dataclass(frozen=True)
class Scenario:
    """What all arms share."""

    engine: EngineFile
    workload: WorkloadFile
    path: Path = Path("workload")
    """The workload's file; traces lie relative to it."""
    seed: int = 0
    profile: ProfileSource = field(default_factory=ProfileSource)
    keep_series: bool = False


def run(scenario: Scenario, name: str, progress: Progress | None = None) -> Run:
    """One arm by its name. ScenarioError for names and files that cannot be used."""
    spec = scenario.engine
    if name == "plain" and spec.plain is None:
        raise ScenarioError("controller plain: the engine file has no field plain (speedup, kvCacheTokens)")
    workload = Workload(scenario.workload, scenario.path, scenario.seed, spec.max_draft_tokens)
    engine = SimulatedEngine(spec, workload.bank, scenario.seed, plain=name == "plain")
    controller, extra = controller_named(name, scenario, engine)
    result = Simulation(engine, workload, controller, Series() if scenario.keep_series else None, progress).run()
    result.controller = name
    result.extra = {**extra, **_report(controller, result.seconds)}
    return result


def controller_named(name: str, scenario: Scenario, engine: SimulatedEngine) -> tuple[Controller, dict[str, Any]]:
    """The controller of this name, and what making it cost."""
    spec = scenario.engine
    kind, _, argument = name.partition(":")
    if name == "turbospec":
        return _turbospec(scenario)
    controller: Controller | None = None
    if name in ("off", "plain"):
        controller = Static(0)
    elif name == "oracle":
        controller = Oracle(engine)
    elif name == "acceptance-ema":
        controller = AcceptanceEma(spec.allowed)
    elif kind == "static" and argument.isdecimal():
        if int(argument) not in spec.allowed:
            raise ScenarioError(f"controller {name}: the engine allows only K of {list(spec.allowed)}")
        controller = Static(int(argument))
    elif kind == "schedule" and argument:
        controller = _schedule(Path(argument), spec)
    if controller is None:
        raise ScenarioError(f"unknown controller {name!r}: use {NAMES}")
    return controller, {}


def _turbospec(scenario: Scenario) -> tuple[TurboSpec, dict[str, Any]]:
    spec, source = scenario.engine, scenario.profile
    if not source.measured or len(spec.allowed) == 1:
        # Of a single K there is nothing to know.
        return TurboSpec(spec, source.model, source.prior), {}
    measured = profile(spec, scenario.seed)
    extra = {"profileSeconds": measured.seconds, "profileHoldOutError": measured.hold_out_error}
    return TurboSpec(spec, measured.model, source.prior), extra


def _schedule(path: Path, spec: EngineFile) -> Schedule:
    rows = read_yaml(path)
    if not isinstance(rows, list) or not rows:
        raise ScenarioError(f"{path}: expected a list of rows [from batch, to batch, K]")
    for number, row in enumerate(rows):
        if not (isinstance(row, list) and len(row) == 3 and all(type(value) is int for value in row)):
            raise ScenarioError(f"{path}: [{number}]: expected [from batch, to batch, K], found {row!r}")
        if row[2] not in spec.allowed:
            raise ScenarioError(f"{path}: [{number}]: K {row[2]} is not among the allowed {list(spec.allowed)}")
    try:
        return Schedule([(row[0], row[1], row[2]) for row in rows])
    except ValueError as error:
        raise ScenarioError(f"{path}: {error}") from error


def _report(controller: Controller, seconds: float) -> dict[str, Any]:
    if not isinstance(controller, TurboSpec):
        return {}
    probes = controller.loop.probe_report()
    return {
        "tables": controller.tables,
        "rebuilds": controller.loop.rebuilds,
        "probes": {
            "bursts": probes.bursts,
            "spentSeconds": probes.spent_seconds,
            "share": probes.spent_seconds / seconds if seconds else 0.0,
        },
    }


@dataclass
class Simulation:
    """The loop over steps and arrivals. After the workload's end no request arrives, and those there are finished."""

    engine: SimulatedEngine
    workload: Workload
    controller: Controller
    series: Series | None = None
    progress: Progress | None = None
    watch: Callable[[], None] | None = None
    """Called after every step."""
    _done: list[Request] = field(default_factory=list, init=False)
    _stretches: list[Stretch] = field(default_factory=list, init=False)

    def run(self) -> Run:
        """Serve the whole workload."""
        engine, workload, controller = self.engine, self.workload, self.controller
        event = workload.next_event()
        while True:
            now = engine.now
            if now >= event:
                self._arrive(now)
                event = workload.next_event()
            if not engine.busy:
                if event > workload.end:
                    break
                engine.idle_until(event)
                continue
            record = engine.step(controller.choose, record=controller.learns)
            if record is not None:
                controller.observe(record)
            self._account()
            if engine.finished:
                self._answer()
            if self.watch is not None:
                self.watch()
            if self.progress is not None and engine.seq % PROGRESS_STEPS == 0:
                self.progress(min(1.0, engine.now / workload.end))
        return self._result()

    def _arrive(self, now: float) -> None:
        phase = self.workload.phase
        requests = self.workload.advance(now)
        if self.workload.phase != phase:
            if self._stretches:
                self._stretches[-1].ended = now
            self._stretches.append(Stretch(now))
        for request in requests:
            self._submit(request)

    def _submit(self, request: Request) -> None:
        try:
            self.engine.submit(request)
        except ValueError as error:
            raise ScenarioError(f"{self.workload.path}: phases[{self.workload.phase}]: {error}") from error

    def _answer(self) -> None:
        now = self.engine.now
        for request in self.engine.finished:
            self._done.append(request)
            following = self.workload.answered(request.client, now)
            if following is not None:
                self._submit(following)

    def _account(self) -> None:
        stretch, engine = self._stretches[-1], self.engine
        stretch.steps += 1
        stretch.draft_tokens += engine.decided
        stretch.output_tokens += engine.last_generated
        series = self.series
        if series is not None:
            series.ended.append(engine.now)
            series.draft_tokens.append(engine.decided)
            series.decodes.append(len(engine.batch))
            series.generated.append(engine.last_generated)
            series.drafted.append(engine.last_drafted)
            series.accepted.append(engine.last_accepted)

    def _result(self) -> Run:
        # The last stretch began when the workload had ended: its requests are finished in it, nothing else counts.
        stretches = self._stretches[:-1]
        steps = sum(s.steps for s in stretches)
        return Run(
            controller="",
            seconds=stretches[-1].ended if stretches else 0.0,
            output_tokens=sum(s.output_tokens for s in stretches),
            stretches=stretches,
            requests=self._done,
            mean_draft_tokens=sum(s.draft_tokens for s in stretches) / max(steps, 1),
            table_changes=self.controller.changes,
            preemptions=self.engine.preemptions,
            steps=steps,
            series=self.series,
        )
