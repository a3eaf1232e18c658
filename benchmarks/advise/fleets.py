"""Fifty fleets that speculate as somebody once configured them, ten that do not, and what TurboSpec really gains."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import yaml

from benchmarks.advise.scraped import RecordedPrometheus, serve, speed
from benchmarks.control.engines import ALL, LADDER, NAMES, PROMPTS, YIELD, engine, measured
from benchmarks.control.report import ROOT
from turbospec.advise import queries
from turbospec.advise.advice import Advice, Profiled, advise_group
from turbospec.advise.queries import Span
from turbospec.simulation.files import EngineFile, WorkloadFile
from turbospec.simulation.run import ProfileSource
from turbospec.wire.latency import from_model, to_model

FLEETS = 50
PLAIN_FLEETS = 10
SEED = 20260
PHASES = 4
PHASE_SECONDS = 40.0
STEP = 10
SCRAPE_SECONDS = 1.0
WARM_UP = float(STEP)
PLAIN = {"speedup": 1.18, "kvCacheTokens": 500000}
"""Of an H100, as measured; engines that say nothing of theirs get it."""


@dataclass(frozen=True)
class Fleet:
    """Pods of one engine, each with its own load of the same text. ``controller`` is what ran."""

    number: int
    name: str
    allowed: tuple[int, ...]
    spec: EngineFile
    workloads: tuple[WorkloadFile, ...]
    controller: str


@dataclass(frozen=True)
class Judged:
    """What was said of a fleet, and what is so."""

    fleet: Fleet
    advice: Advice
    truth: float
    """Relative gain of the real engine loop over what ran."""

    @property
    def inside(self) -> bool:
        """Whether the truth lies in the interval; False where there is none."""
        gain = self.advice.gain
        return gain is not None and gain.low <= self.truth <= gain.high

    @property
    def said_to_pay(self) -> bool:
        """Whether the text that ran has an acceptance that some K was said to pay from."""
        acceptance = self.fleet.workloads[0].phases[0].acceptance[0]
        return any(needed is not None and needed <= acceptance for needed in (self.advice.break_even or {}).values())


def fleet(number: int, *, plain: bool = False) -> Fleet:
    """Drawn from its number alone."""
    rng = np.random.default_rng((SEED, number, plain))
    # Break-even acceptances are of drafters that always draft, and of one text.
    names = [name for name in NAMES if not (plain and name in YIELD)]
    name = names[number % len(names)]
    allowed = LADDER if rng.random() < 0.7 else ALL
    changes: dict[str, object] = {}
    if plain:
        changes["plain"] = PLAIN
    if rng.random() < 0.5:
        # Not quite the engine that was profiled: another clock, another drafter's share.
        factors = {f: float(rng.uniform(0.95, 1.05)) for f in ("factor", "perTokenFactor", "draftFactor")}
        changes["drift"] = [{"at": 0, **factors}]
    spec = engine(name, allowed, **changes)
    phases = [_phase(rng, name) for _ in range(PHASES)]
    if plain:
        text = {"acceptance": phases[0]["acceptance"][:1], "acceptanceSpread": 0.0}
        phases = [{**phase, **text} for phase in phases]
    workloads = tuple(WorkloadFile.model_validate({"phases": [_scaled(p, rng) for p in phases]}) for _ in range(2))
    return Fleet(number, name, allowed, spec, workloads, "plain" if plain else _controller(rng, number, allowed))


def judge(found: Fleet) -> Judged:
    """Scrape what ran, ask for advice, and run TurboSpec on the same requests."""
    model, hold_out = _profile(found.name, found.allowed)
    source = ProfileSource(measured=False, model=model)
    prometheus = RecordedPrometheus()
    # Spans end at whole steps; the first step ends at the origin plus one step.
    ran, ours = [], []
    for pod, workload in enumerate(found.workloads):
        labels = {"namespace": "fleet", "pod": f"pod-{pod}", "model_name": "model"}
        seed = 100 * found.number + pod
        ran.append(
            serve(
                found.spec, workload, found.controller, seed=seed, warm_up=WARM_UP, into=prometheus, labels=labels,
                interval=SCRAPE_SECONDS,
            )
        )  # fmt: skip
        ours.append(serve(found.spec, workload, "turbospec", seed=seed, warm_up=WARM_UP, profile=source))
    span = Span(2 * STEP, round(PHASES * PHASE_SECONDS), STEP)
    (group,) = queries.groups(prometheus, "", span)
    # A profile that came through a file knows no graph sizes.
    profiled = Profiled(to_model(from_model(model)), hold_out, padded=found.spec.graph is not None)
    return Judged(found, advise_group(group, profiled, found.allowed), speed(ours) / speed(ran) - 1.0)


@cache
def _profile(name: str, allowed: tuple[int, ...]) -> tuple[Any, float]:
    found = measured(name, allowed)
    return found.model, round(found.hold_out_error, 3)


def _phase(rng: np.random.Generator, name: str) -> dict[str, Any]:
    first = float(rng.uniform(0.25, 0.92))
    falls = float(rng.choice([1.0, 0.9, 0.7]))
    prompt = PROMPTS.get(name, int(rng.integers(64, 800)))
    phase: dict[str, Any] = {
        "seconds": PHASE_SECONDS,
        "clients": round(float(2.0 ** rng.uniform(0.0, 6.5))),
        "promptTokens": prompt,
        "outputTokens": int(rng.integers(100, 400)),
        "lengthSpread": 0.5,
        "acceptance": [first * falls**j for j in range(7)],
        "acceptanceSpread": float(rng.choice([0.0, 0.1])),
    }
    if name in YIELD:
        phase["draftYield"] = YIELD[name]
    return phase


def _scaled(phase: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A pod's own load: clients that wait for their answers, or as many requests a second as would keep them busy."""
    clients = max(1, round(phase["clients"] * float(rng.uniform(0.7, 1.3))))
    if rng.random() < 0.6:
        return {**phase, "clients": clients}
    rest = {key: value for key, value in phase.items() if key != "clients"}
    # At 15 ms a token; slow engines saturate, as they do.
    return {**rest, "poissonPerSecond": min(clients, 24) / (0.015 * phase["outputTokens"])}


def _controller(rng: np.random.Generator, number: int, allowed: Sequence[int]) -> str:
    drafting = [k for k in allowed if k > 0]
    if rng.random() < 0.7:
        return f"static:{rng.choice(drafting)}"
    low, high = sorted(rng.choice(allowed, size=2, replace=False).tolist())
    end = int(rng.choice([4, 8, 16, 32]))
    path = ROOT / "build" / "bench-advise" / f"schedule-{number}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump([[1, end, high], [end + 1, 256, low]]), encoding="utf-8")
    return f"schedule:{path}"
