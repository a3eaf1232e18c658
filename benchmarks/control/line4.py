"""Line 4: engines that drift off their profile, wrong priors, and no profile at all."""

import math
from statistics import mode
from typing import Any

from benchmarks.control.arms import judged, phase, true_goodput
from benchmarks.control.engines import ALL, LADDER, NAMES, PROMPTS, TEXTS, engine, model
from benchmarks.control.lines import Part, Task
from turbospec.control.acceptance import Prior
from turbospec.simulation.files import EngineFile

DRIFT_AT = 90.0
KINDS: tuple[dict[str, object], ...] = (
    {"perTokenFactor": 2.0},
    {"draftFactor": 1.5},
    {"graphsLost": True},
)
LEAST_LOSS = 0.04
"""A drift is a case where staying with the K that was best before costs more than this."""

Case = tuple[str, int, str, dict[str, object]]
"""Engine, clients, text, drift."""


def moving_drifts(allowed: tuple[int, ...]) -> list[Case]:
    """For each engine and kind of drift, the clients and text where staying costs most; none where that is little."""
    cases = []
    for name in NAMES:
        before = engine(name, allowed)
        for kind in KINDS:
            if "graphsLost" in kind and before.graph is None:
                continue
            after = engine(name, allowed, drift=[{"at": 0, **kind}])
            loss, clients, text = max(
                (_loss_of_staying(name, before, after, n, TEXTS[text]), n, text)
                for n in (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
                for text in TEXTS
            )
            if loss > LEAST_LOSS:
                cases.append((name, clients, text, kind))
    return cases


def _loss_of_staying(name: str, before: EngineFile, after: EngineFile, clients: int, text: list[float]) -> float:
    like, context = phase(name, 1, clients, text), PROMPTS.get(name, 256) + 128.0
    was = {k: true_goodput(before, like, clients, context, k) for k in before.allowed}
    now = {k: true_goodput(after, like, clients, context, k) for k in before.allowed}
    return 1.0 - now[max(was, key=was.__getitem__)] / max(now.values())


def tasks(*, quick: bool) -> list[Task]:
    """Drifts, wrong priors and cold starts."""
    seeds = range(1) if quick else range(3)
    sets = (LADDER,) if quick else (LADDER, ALL)
    starts = [("h100", 4), ("h100", 48), ("graphs", 16), ("fixture", 8), ("small-gpu", 4)]
    drifts = [(one, allowed) for allowed in sets for one in moving_drifts(allowed)]
    found = [
        Task(4, drift, (one, allowed, seed)) for one, allowed in (drifts[::2] if quick else drifts) for seed in seeds
    ]
    found += [Task(4, wrong_prior, (*one, allowed, seed)) for one in starts for allowed in sets for seed in seeds]
    found += [
        Task(4, cold_start, (*one, text, allowed, seed))
        for one in starts
        for text in ("low", "mid", "high")
        for allowed in sets
        for seed in seeds
    ]
    return found


def drift(case: Case, allowed: tuple[int, ...], seed: int) -> list[dict[str, Any]]:
    """Steps from the drift until no more than 3% is lost."""
    name, clients, text, change = case
    spec = engine(name, allowed, drift=[{"at": DRIFT_AT, **change}])
    watched = judged(spec, [phase(name, DRIFT_AT + 60, clients, TEXTS[text])], seed, model(name, allowed))
    before = [m.best for m in watched.moments if 60 < m.ended < DRIFT_AT]
    after = [m.best for m in watched.moments if DRIFT_AT < m.ended < DRIFT_AT + 60]
    words = " ".join(f"{key} {value}" for key, value in change.items())
    return [
        {
            "kind": "drift",
            "case": f"{name}, {clients} clients, {text}, {words}, {_set(allowed)}",
            "steps": watched.recovered(DRIFT_AT, 0.03),
            "bestBefore": mode(before),
            "bestAfter": mode(after),
        }
    ]


def wrong_prior(name: str, clients: int, allowed: tuple[int, ...], seed: int) -> list[dict[str, Any]]:
    """A new engine that was told 0.9 where 0.3 is true."""
    prior = tuple(Prior(0.9, 10_000.0) for _ in range(7))
    watched = judged(engine(name, allowed), [phase(name, 60, clients, [0.3])], seed, model(name, allowed), prior)
    case = f"{name}, {clients} clients, {_set(allowed)}"
    return [{"kind": "prior", "case": case, "steps": watched.recovered(0.0, 0.03)}]


def cold_start(name: str, clients: int, text: str, allowed: tuple[int, ...], seed: int) -> list[dict[str, Any]]:
    """A new engine without a profile."""
    watched = judged(engine(name, allowed), [phase(name, 90, clients, TEXTS[text])], seed, None)
    case = f"{name}, {clients} clients, {text}, {_set(allowed)}"
    return [{"kind": "cold", "case": case, "steps": watched.recovered(0.0, 0.05)}]


def parts(rows: list[dict[str, Any]]) -> list[Part]:
    """The line's targets."""
    found = []
    for kind, asked, limit in (
        ("drift", "after a drift back within 3% in < 300 steps", 300),
        ("prior", "after a wrong prior within 3% in < 300 steps", 300),
        ("cold", "cold start within 5% in < 2,000 steps", 2000),
    ):
        cases = sorted((row for row in rows if row["kind"] == kind), key=lambda row: -row["steps"])
        missed = sum(row["steps"] >= limit for row in cases)
        worst = [f"{row['case']}: {_count(row['steps'])}{_moved(row)}" for row in cases[:6]]
        measured = f"longest {_count(cases[0]['steps'])}, {missed} of {len(cases)} missed"
        found.append(Part(4, asked, measured, missed == 0, worst))
    return found


def _moved(row: dict[str, Any]) -> str:
    return f" (best K {row['bestBefore']} -> {row['bestAfter']})" if "bestBefore" in row else ""


def _count(steps: float) -> str:
    return "never" if math.isinf(steps) else f"{steps:.0f} steps"


def _set(allowed: tuple[int, ...]) -> str:
    return "all" if allowed == ALL else "ladder"
