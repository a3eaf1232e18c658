"""Line 1: under steady load no fixed K is better by more than 2%; in an hour without change next to nothing happens."""

from typing import Any

from benchmarks.control.arms import arm, phase, true_goodput
from benchmarks.control.engines import ALL, CLIENTS, LADDER, NAMES, PROMPTS, TEXTS, engine
from benchmarks.control.lines import Part, Task, geometric_mean, worst_rows

RIVALS = 3
"""Fixed K that are simulated, those best by the true step times; the others are further behind than noise reaches."""
HOUR_POINTS = (("h100", LADDER, 16, "mid"), ("graphs", ALL, 40, "decaying"), ("fixture", ALL, 4, "high"))


def tasks(*, quick: bool) -> list[Task]:
    """Every (engine, clients, text), with both sets of K; fewer clients and one set in the quick mode."""
    clients = (1, 8, 64, 256) if quick else CLIENTS
    length = (6.0, 16.0) if quick else (15.0, 40.0)
    points = []
    for index, name in enumerate(NAMES):
        for allowed in (LADDER, ALL):
            if quick and (allowed == LADDER) != (index % 2 == 0):
                continue
            points += [Task(1, point, (name, allowed, n, text, length)) for n in clients for text in TEXTS]
    hours = [
        Task(1, hour, (name, allowed, n, text, 900.0 if quick else 3600.0))
        for name, allowed, n, text in (HOUR_POINTS[:1] if quick else HOUR_POINTS)
    ]
    return hours + points


def best_fixed(name: str, allowed: tuple[int, ...], clients: int, text: list[float]) -> list[int]:
    """The fixed K worth simulating."""
    rates = _goodputs(name, allowed, clients, text)
    return sorted(allowed, key=lambda k: -rates[k])[:RIVALS]


def _best_goodput(name: str, allowed: tuple[int, ...], clients: int, text: list[float]) -> float:
    return max(_goodputs(name, allowed, clients, text).values())


def _goodputs(name: str, allowed: tuple[int, ...], clients: int, text: list[float]) -> dict[int, float]:
    spec, like = engine(name, allowed), phase(name, 1, clients, text)
    context = PROMPTS.get(name, 256) + 128.0
    return {k: true_goodput(spec, like, min(clients, spec.max_num_seqs), context, k) for k in allowed}


def point(
    name: str, allowed: tuple[int, ...], clients: int, text: str, length: tuple[float, float]
) -> list[dict[str, Any]]:
    """One steady point: goodput after the warm-up, of turbospec over the best fixed K.

    Where requests take long, so do warm-up and measurement: 1.5 and 4 generations of them at least.
    """
    spec, acceptance = engine(name, allowed), TEXTS[text]
    generation = 256 * clients / _best_goodput(name, allowed, clients, acceptance)
    warm, seconds = max(length[0], 1.5 * generation), max(length[1], 4.0 * generation)
    phases = [phase(name, warm, clients, acceptance), phase(name, seconds, clients, acceptance)]
    ours = arm(name, spec, phases, 1, "turbospec").stretches[1]
    rates = {
        k: arm(name, spec, phases, 1, f"static:{k}").stretches[1].goodput
        for k in best_fixed(name, allowed, clients, acceptance)
    }
    best = max(rates, key=lambda k: rates[k])
    return [
        {
            "kind": "point", "engine": name, "allowed": _name(allowed), "clients": clients, "text": text,
            "ratio": ours.goodput / rates[best], "bestK": best, "meanK": round(ours.draft_tokens / ours.steps, 2),
        }
    ]  # fmt: skip


def hour(name: str, allowed: tuple[int, ...], clients: int, text: str, seconds: float) -> list[dict[str, Any]]:
    """A long time without any change."""
    spec, acceptance = engine(name, allowed), TEXTS[text]
    phases = [phase(name, 30.0, clients, acceptance), phase(name, seconds, clients, acceptance)]
    ours = arm(name, spec, phases, 2, "turbospec")
    best = max(
        arm(name, spec, phases, 2, f"static:{k}").stretches[1].goodput
        for k in best_fixed(name, allowed, clients, acceptance)
    )
    return [
        {
            "kind": "hour", "engine": name, "allowed": _name(allowed), "clients": clients, "text": text,
            "ratio": ours.stretches[1].goodput / best, "changes": ours.table_changes, "tables": ours.extra["tables"],
        }
    ]  # fmt: skip


def parts(rows: list[dict[str, Any]]) -> list[Part]:
    """The line's targets."""
    points = [row for row in rows if row["kind"] == "point"]
    hours = [row for row in rows if row["kind"] == "hour"]
    ratios = [row["ratio"] for row in points]
    below = sum(ratio < 0.98 for ratio in ratios)
    names = ("engine", "allowed", "clients", "text", "bestK", "meanK")
    changes, kept = max(row["changes"] for row in hours), min(row["ratio"] for row in hours)
    return [
        Part(
            1,
            "steady: each >= 0.98 x best fixed K",
            f"worst {min(ratios):.3f}, mean {geometric_mean(ratios):.3f}, {below} of {len(points)} below",
            below == 0,
            worst_rows(points, "ratio", names, 8),
        ),
        Part(
            1,
            "no change for an hour: <= 2 table changes, >= 0.99",
            f"at most {changes} changes, worst {kept:.3f}",
            changes <= 2 and kept >= 0.99,
            worst_rows(hours, "ratio", ("engine", "allowed", "clients", "text", "changes", "tables")),
        ),
    ]


def _name(allowed: tuple[int, ...]) -> str:
    return "all" if allowed == ALL else "ladder"
