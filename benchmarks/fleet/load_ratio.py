"""Is the load ratio the same whatever K runs, and does it follow what really changes? Two pods that nobody scales."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.control.lines import Part
from benchmarks.fleet.cases import scenario
from turbospec.control.engine_loop import LoopSettings
from turbospec.fleet.capacity import Capability, attainable
from turbospec.fleet.demand import Lengths
from turbospec.simulation.fleet.arms import Arm, arm_named, drawn, latency_of
from turbospec.simulation.fleet.arrivals import texts
from turbospec.simulation.fleet.engines import effort
from turbospec.simulation.fleet.files import FleetScenario, LoadSpec, MetricName
from turbospec.simulation.fleet.load_signal import of_text
from turbospec.simulation.fleet.loops import LoopBrain, objective_of
from turbospec.simulation.fleet.replica import Load
from turbospec.simulation.fleet.run import FleetSimulation, Scaling

SCENARIOS = ("diurnal", "flash-crowd", "slow-ramp")
"""One for each engine."""
RATIOS = (0.3, 0.5, 0.7, 0.9)
PODS = 2
SECONDS = 600.0
LONGER_SECONDS = 1500.0
"""After a change: lengths are means over 7 minutes."""
WINDOW_SECONDS = 300.0
"""At the end of a part: what the signal says by then."""
CHANGES: dict[str, tuple[float, dict[str, float]]] = {
    "arrivals x 2": (0.4, {"rate": 2.0}),
    "acceptance x 0.5": (0.4, {"acceptance": 0.5}),
    "prompts x 4": (0.15, {"prompt": 4.0}),
}
"""What is changed in the midst of the day, by which factor, and the ratio before."""
BOUNDED = "bounds to K = 0"


class Forced(LoopBrain):
    """An engine loop that learns in the warm-up, and is then held at one K by a table."""

    forced: int | None = None
    _held = False

    def decide(self, load: Load) -> Sequence[int]:
        """As the loop does until the day begins."""
        if self.forced is not None and not self._held and load.now >= 0.0:
            self._held = True
            old, table = self.settings, (self.forced,) * (self.limits.max_num_seqs + 1)
            self.configure(LoopSettings("table", old.allowed, table, old.latency, old.prior, old.objective))
        return super().decide(load)


def neutral(name: str, ratio: float) -> list[dict[str, Any]]:
    """Ten minutes of the same arrivals with K left alone and forced to each value: what the signal says on average."""
    given = _scenario(name, [_part(name, ratio)])
    rows = []
    for k in (None, *given.spec.engine.allowed):
        now, expected = _signal(_forced(given, k), given)
        rows.append({
            "scenario": name,
            "ratio": ratio,
            "draftTokens": k,
            "now": float(np.mean([value for at, value in now if at >= 0.0])),
            "expected": float(np.mean([value for at, value in expected if at >= 0.0])),
            "keepsUp": k is None or ratio * _attainable(name) < _attainable(name, (k,), ceilings=False),
        })  # fmt: skip
    return rows


def alive(name: str, change: str) -> list[dict[str, Any]]:
    """By which factor the signal moves, and by which the work that an oracle knows of: both against the same minutes of
    a day without the change, whose arrivals are those of the other but for what was changed."""
    if change == BOUNDED:
        return [_bounded(name)]
    ratio, factors = CHANGES[change]
    before = _part(name, ratio)
    seen, work = [], []
    for part in (_part(name, ratio, LONGER_SECONDS), _part(name, ratio, LONGER_SECONDS, **factors)):
        given = _scenario(name, [before, part])
        day, begin = drawn(given, 0), SECONDS + LONGER_SECONDS - WINDOW_SECONDS
        now, _ = _signal(arm_named("loop", given, 0), given)
        seen.append(float(np.mean([value for at, value in now if at >= begin])))
        there, own = day.at >= begin, _scenario(name, [part])
        of_each = effort(own.spec.engine, drawn(own, 0), own.spec.objective).of(day.prompt[there], day.output[there])
        work.append(float(of_each.sum()))
    return [{"scenario": name, "change": change, "signal": seen[1] / seen[0], "oracle": work[1] / work[0]}]


def _bounded(name: str) -> dict[str, Any]:
    """Pods that may only run K = 0: the ratio itself, and what an oracle says that such pods are loaded."""
    given = _scenario(name, [_part(name, 0.4)])
    spec, objective, begin = given.spec.engine, given.spec.objective, SECONDS - WINDOW_SECONDS
    now, _ = _signal(arm_named("off", given, 0), given)
    day, bounded = drawn(given, 0), spec.model_copy(update={"allowed_draft_tokens": [0]})
    there = day.at >= begin
    work = effort(bounded, day, objective).of(day.prompt[there], day.output[there])
    signal = float(np.mean([value for at, value in now if at >= begin]))
    return {"scenario": name, "change": BOUNDED, "signal": signal, "oracle": float(work.sum()) / WINDOW_SECONDS / PODS}


def _part(
    name: str,
    ratio: float,
    seconds: float = SECONDS,
    *,
    rate: float = 1.0,
    acceptance: float = 1.0,
    prompt: float = 1.0,
) -> LoadSpec:
    """Steady arrivals of the scenario's first text; the factors change them after the rate has been chosen."""
    first = scenario(name).spec.load[0]
    return first.model_copy(
        update={
            "seconds": seconds,
            "requests_per_second": [PODS * ratio * rate * _attainable(name)],
            "prompt_tokens": round(prompt * (first.prompt_tokens or 1)),
            "acceptance": [acceptance * value for value in first.acceptance],
        }
    )


def _scenario(name: str, load: list[LoadSpec]) -> FleetScenario:
    given = scenario(name)
    scaler = given.spec.autoscaler.model_copy(
        update={"min_replicas": PODS, "max_replicas": PODS, "initial_replicas": PODS}
    )
    return FleetScenario(given.spec.model_copy(update={"autoscaler": scaler, "load": load}), given.path)


def _attainable(name: str, draft_tokens: tuple[int, ...] | None = None, *, ceilings: bool = True) -> float:
    """Requests per second of one pod, of the scenario's first text."""
    given = scenario(name)
    spec, part = given.spec.engine, given.spec.load[0]
    prompt, output = float(part.prompt_tokens or 1), float(part.output_tokens or 1)
    objective = objective_of(given.spec.objective)
    engine = Capability(
        latency=latency_of(spec),
        estimates=of_text(texts(given, 0), 0),
        draft_tokens=draft_tokens or spec.allowed,
        max_num_seqs=spec.max_num_seqs,
        max_num_batched_tokens=spec.max_num_batched_tokens,
        kv_cache_tokens=spec.kv_cache_tokens,
        objective=objective if ceilings else type(objective)(),
    )
    found = attainable(engine, Lengths(prompt, prompt, output))
    if found is None:
        raise ValueError(f"{name}: the text's acceptance does not say what a pod can do")
    return found.requests_per_second


def _forced(given: FleetScenario, k: int | None) -> Arm:
    arm = arm_named("loop", given, 0)
    objective, latency = objective_of(given.spec.objective), latency_of(given.spec.engine)

    def brain(number: int) -> Forced:
        made = Forced(given.spec.engine, number, latency, objective)
        made.forced = k
        arm.brains.append(made)
        return made

    arm.brain = brain
    return arm


def _signal(arm: Arm, given: FleetScenario) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The ratio of now and the expected one, each 15 s."""
    fleet = FleetSimulation(given, arm, Scaling(MetricName.OFFERED_LOAD_RATIO, 1.0), keep_moments=True)
    moments = fleet.run().moments
    now = [(one.at, one.load_ratio) for one in moments if one.load_ratio is not None]
    expected = [(one.at, one.expected_pods / PODS) for one in moments if one.expected_pods is not None]
    return now, expected


def parts(rows: Sequence[dict[str, Any]]) -> list[Part]:
    """Drift and changes, for each engine."""
    found = []
    for name in SCENARIOS:
        those = [row for row in rows if row["scenario"] == name]
        found += [*_drift(name, [row for row in those if "draftTokens" in row]), *_moves(name, those)]
    return found


def _drift(name: str, rows: Sequence[dict[str, Any]]) -> list[Part]:
    if not rows:
        return []
    free = {row["ratio"]: row for row in rows if row["draftTokens"] is None}
    forced = [row for row in rows if row["draftTokens"] is not None]
    worst = {
        series: max(abs(r[series] / free[r["ratio"]][series] - 1.0) for r in forced if r["keepsUp"])
        for series in ("now", "expected")
    }
    behind = [f"K={row['draftTokens']} at {row['ratio']}: {row['now']:.2f}" for row in forced if not row["keepsUp"]]
    text = f"{100 * worst['now']:.1f}% (expected ratio {100 * worst['expected']:.1f}%) at {', '.join(map(str, free))}"
    left = f"; a queue grows, and counts, where an engine cannot keep up: {', '.join(behind)}" if behind else ""
    asked = f"{name}: K forced to each value for 10 minutes moves the ratio by <= 3%"
    return [Part(8, asked, text + left, max(worst.values()) <= 0.03)]


def _moves(name: str, rows: Sequence[dict[str, Any]]) -> list[Part]:
    found = []
    for row in rows:
        if "change" not in row:
            continue
        close = 0.05 if row["change"] == "arrivals x 2" else 0.1
        how, sign = ("makes the ratio", "") if row["change"] == BOUNDED else ("moves the ratio as", "x ")
        found.append(
            Part(
                9,
                f"{name}: {row['change']} {how} the oracle's, ± {close:.0%}",
                f"{sign}{row['signal']:.2f} (oracle {sign}{row['oracle']:.2f})",
                abs(row["signal"] / row["oracle"] - 1.0) <= close,
            )
        )
    return found
