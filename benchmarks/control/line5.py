"""Line 5: what the product's profiling grid knows of steps that it has not measured."""

import random
from typing import Any

from benchmarks.control.engines import ALL, LADDER, NAMES, PROMPTS, engine, measured
from benchmarks.control.lines import Part, Task
from turbospec.simulation.step_time import StepTime, Work

POINTS = 300


def tasks(*, quick: bool) -> list[Task]:
    """Every engine with both sets of K; one set in the quick mode."""
    return [Task(5, grid, (name, allowed)) for name in NAMES for allowed in ((LADDER,) if quick else (LADDER, ALL))]


def grid(name: str, allowed: tuple[int, ...]) -> list[dict[str, Any]]:
    """Errors of T(K) / T(0), and goodput lost by the model's choice, at random batches, contexts and acceptances."""
    spec, profile = engine(name, allowed), measured(name, allowed)
    truth, rng = StepTime(spec), random.Random(f"line5 {name}")  # noqa: S311 - a seeded sample, no secret
    errors, regrets = [], []
    for _ in range(POINTS):
        batch, context = round(2 ** rng.uniform(0, 8)), round(64 * 2 ** rng.uniform(0, 6))
        context = min(max(context, PROMPTS.get(name, 0) // 4), spec.kv_cache_tokens // batch)
        acceptance = rng.uniform(0.05, 0.95)
        predicted = {
            k: profile.model.step_seconds(decodes=batch, draft_tokens=k, kv_tokens=batch * context) for k in allowed
        }
        true = {k: truth.seconds(Work(batch, k, batch * k, k, batch * context, 0)) for k in allowed}
        errors += [abs(predicted[k] / predicted[0] / (true[k] / true[0]) - 1.0) for k in allowed if k]
        goodput = {k: sum(acceptance**j for j in range(k + 1)) / true[k] for k in allowed}
        chosen = max(allowed, key=lambda k: goodput[k] * true[k] / predicted[k])
        regrets.append(1.0 - goodput[chosen] / max(goodput.values()))
    errors.sort()
    return [
        {
            "engine": name, "allowed": "all" if allowed == ALL else "ladder", "seconds": profile.seconds,
            "median": errors[len(errors) // 2], "p95": errors[int(0.95 * len(errors))], "most": errors[-1],
            "regret": sum(regrets) / len(regrets), "worstRegret": max(regrets),
        }
    ]  # fmt: skip


def parts(rows: list[dict[str, Any]]) -> list[Part]:
    """The line's targets."""
    ranked = sorted(rows, key=lambda row: -row["p95"])
    worst = [
        f"{row['engine']}, {row['allowed']}: median {row['median']:.2%}, p95 {row['p95']:.2%}, most {row['most']:.2%}; "
        f"regret mean {row['regret']:.2%}, most {row['worstRegret']:.2%}; {row['seconds']:.0f} s"
        for row in ranked
    ]
    seconds, most = max(row["seconds"] for row in rows), max(row["p95"] for row in rows)
    regret, above = max(row["regret"] for row in rows), sum(row["p95"] > 0.02 for row in rows)
    return [
        Part(5, "grid under 60 simulated seconds", f"longest {seconds:.0f} s", seconds <= 60.5),
        Part(
            5,
            "T(K) / T(0) within 2% on held-out steps (95% of them)",
            f"p95 {most:.2%} on the worst engine, {above} of {len(rows)} above",
            most <= 0.02,
            worst,
        ),
        Part(5, "decision regret <= 0.5% (mean, each engine)", f"worst {regret:.2%}", regret <= 0.005),
    ]
