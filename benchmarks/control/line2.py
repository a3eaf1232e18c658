"""Line 2: phases of load and text that change at random."""

import random
from typing import Any

from benchmarks.control.arms import Judged, arm, judged, phase, scheduled, true_goodput
from benchmarks.control.engines import ALL, LADDER, NAMES, PROMPTS, engine, model
from benchmarks.control.lines import Part, Task, geometric_mean, worst_rows
from turbospec.control.draft_length import Reason
from turbospec.simulation.files import EngineFile, PhaseSpec

TYPICAL = ([0.3], [0.6], [0.8], [0.68, 0.39, 0.20, 0.10, 0.06, 0.03, 0.02])
"""Texts for which an expert might write a schedule; the fifth is the mean of the scenario's own."""


def tasks(*, quick: bool) -> list[Task]:
    """Scenarios in turn over the engines, short and long phases, both sets of K; and the two of texts that change."""
    scenarios = []
    for number in range(7 if quick else 14):
        name, allowed = NAMES[number % len(NAMES)], (LADDER, ALL)[(number // 2) % 2]
        shortest = 60.0 if number % 3 == 2 else 20.0
        scenarios.append(Task(2, scenario, (name, allowed, number, shortest, 4 if quick else 8)))
    names, asleep = (("h100", "ngram"), 90.0) if quick else (NAMES, 600.0)
    found = [Task(2, awakening, (name, allowed, asleep)) for name in names for allowed in (LADDER, ALL)]
    calm = [
        Task(2, hopeless, (name, 600.0 if quick else 3600.0)) for name in ("h100",) + (() if quick else ("graphs",))
    ]
    return scenarios + found + calm


def random_phases(name: str, number: int, shortest: float, count: int) -> list[PhaseSpec]:
    """Phases of ``shortest`` to 120 s; clients 1 to 256 and acceptance anything from poor to excellent."""
    rng = random.Random(f"line2 {number}")  # noqa: S311 - a seeded scenario, no secret
    phases = []
    for _ in range(count):
        first, fall = rng.choice([0.1, 0.3, 0.5, 0.7, 0.85, 0.95]), rng.choice([1.0, 1.0, 0.9, 0.7])
        acceptance = [first * fall**position for position in range(7)]
        clients = round(2 ** rng.uniform(0, 8))
        phases.append(phase(name, round(rng.uniform(shortest, 120.0)), clients, acceptance, acceptanceSpread=0.05))
    return phases


def scenario(name: str, allowed: tuple[int, ...], number: int, shortest: float, count: int) -> list[dict[str, Any]]:
    """One scenario under all arms."""
    spec, phases = engine(name, allowed), random_phases(name, number, shortest, count)
    seed = 100 + number
    watched = judged(spec, phases, seed, model(name, allowed))
    ours, oracle = watched.run.goodput, arm(name, spec, phases, seed, "oracle").goodput
    fixed = {f"static:{k}": arm(name, spec, phases, seed, f"static:{k}").goodput for k in _worth_trying(spec, phases)}
    fixed["acceptance-ema"] = arm(name, spec, phases, seed, "acceptance-ema").goodput
    tables = schedules(name, spec, phases)
    fixed["schedule"] = max(scheduled(spec, phases, seed, table).goodput for table in tables)
    rival = max(fixed, key=lambda key: fixed[key])
    return [
        {
            "kind": "scenario", "engine": name, "allowed": "all" if allowed == ALL else "ladder", "number": number,
            "shortest": shortest, "oracle": ours / oracle, "rival": ours / fixed[rival], "bestRival": rival,
            "margin": oracle / fixed[rival], **_anatomy(watched, phases),
        }
    ]  # fmt: skip


def schedules(name: str, spec: EngineFile, phases: list[PhaseSpec]) -> list[list[int]]:
    """Tables that an expert would write with the true step times: one for each typical text, one for the mean."""
    mean = [sum(p.acceptance[min(j, len(p.acceptance) - 1)] for p in phases) / len(phases) for j in range(7)]
    context = PROMPTS.get(name, 256) + 128.0
    tables = []
    for acceptance in (*TYPICAL, mean):
        text = phase(name, 1, 1, acceptance)
        best = [
            max(spec.allowed, key=lambda k, b=batch: true_goodput(spec, text, b, context, k))  # type: ignore[misc]
            for batch in range(1, spec.max_num_seqs + 1)
        ]
        tables.append([best[0], *best])
    return [list(table) for table in dict.fromkeys(map(tuple, tables))]


def _worth_trying(spec: EngineFile, phases: list[PhaseSpec]) -> list[int]:
    """With all K allowed the ladder's and two between them: neighbours of these differ little."""
    return [k for k in spec.allowed if k in {0, 1, 2, 3, 5, 7}] if phases else []


def _anatomy(watched: Judged, phases: list[PhaseSpec]) -> dict[str, Any]:
    """Where goodput was lost, as shares of all time: while a change was not seen, in probes, and for the rest."""
    starts, now = [], 0.0
    for spec in phases:
        starts.append(now)
        now += spec.seconds or 0.0
    delays = [watched.delay(start, end) for start, end in zip(starts, [*starts[1:], now], strict=True)]
    total = sum(m.seconds for m in watched.moments if m.ended <= now)
    losses = {"detection": 0.0, "probing": 0.0, "held": 0.0, "model": 0.0}
    index = 0
    for moment in watched.moments:
        if moment.ended > now:
            break
        while index + 1 < len(starts) and moment.ended >= starts[index + 1]:
            index += 1
        loss = moment.seconds * moment.regret
        if moment.reason is Reason.PROBE:
            losses["probing"] += loss
        elif moment.ended < starts[index] + delays[index]:
            losses["detection"] += loss
        elif moment.reason is Reason.HYSTERESIS:
            losses["held"] += loss
        else:
            losses["model"] += loss
    after = sorted(delays[1:])
    return {
        **{f"lost{key.capitalize()}": round(value / total, 4) for key, value in losses.items()},
        "delayMedian": round(after[len(after) // 2], 2) if after else 0.0,
        "delayMost": round(after[-1], 2) if after else 0.0,
    }


def awakening(name: str, allowed: tuple[int, ...], asleep: float) -> list[dict[str, Any]]:
    """A long time with text that is not predictable, then text that is: how long until K follows."""
    spec = engine(name, allowed)
    phases = [phase(name, asleep, 4, [0.05]), phase(name, 60, 4, [0.8])]
    watched = judged(spec, phases, 7, model(name, allowed))
    return [
        {
            "kind": "awakening", "engine": name, "allowed": "all" if allowed == ALL else "ladder",
            "lostBefore": watched.lost(30, asleep), "delay": watched.delay(asleep, asleep + 60),
        }
    ]  # fmt: skip


def hopeless(name: str, seconds: float) -> list[dict[str, Any]]:
    """Text that never predicts anything: what looking for better costs against K = 0."""
    spec = engine(name, LADDER)
    phases = [phase(name, seconds, 8, [0.05])]
    ours = arm(name, spec, phases, 8, "turbospec").goodput
    off = arm(name, spec, phases, 8, "off").goodput
    return [{"kind": "hopeless", "engine": name, "ratio": ours / off}]


def parts(rows: list[dict[str, Any]]) -> list[Part]:
    """The line's targets."""
    scenarios = [row for row in rows if row["kind"] == "scenario"]
    long = [row for row in scenarios if row["shortest"] >= 60]
    names = ("engine", "allowed", "number", "lostDetection", "lostProbing", "lostHeld", "lostModel")
    oracle, rival = [row["oracle"] for row in scenarios], [row["rival"] for row in scenarios]
    open_ones = [row for row in scenarios if row["margin"] >= 1.05]
    awake = [row for row in rows if row["kind"] == "awakening"]
    calm = [row["ratio"] for row in rows if row["kind"] == "hopeless"]
    delays = sorted(row["delayMedian"] for row in scenarios)
    found = [
        Part(
            2,
            "against the oracle >= 0.98 mean, >= 0.96 each",
            f"mean {geometric_mean(oracle):.3f}, worst {min(oracle):.3f} of {len(oracle)}",
            geometric_mean(oracle) >= 0.98 and min(oracle) >= 0.96,
            worst_rows(scenarios, "oracle", names),
        ),
        Part(
            2,
            ">= 0.98 each where phases last 60 s or more",
            f"worst {min(row['oracle'] for row in long):.3f} of {len(long)}",
            all(row["oracle"] >= 0.98 for row in long),
            worst_rows(long, "oracle", names),
        ),
        Part(
            2,
            ">= 0.985 x best of fixed K, acceptance-ema, schedule",
            f"worst {min(rival):.3f}, mean {geometric_mean(rival):.3f}",
            min(rival) >= 0.985,
            worst_rows(scenarios, "rival", ("engine", "allowed", "number", "bestRival")),
        ),
        Part(
            2,
            "followed after a change (reported)",
            f"median {delays[len(delays) // 2]:.1f} s, longest {max(row['delayMost'] for row in scenarios):.1f} s",
            True,
        ),
        Part(
            2,
            "0.05 -> 0.8 while at K = 0 is found",
            f"within {max(row['delay'] for row in awake):.1f} s",
            all(row["delay"] < 30 for row in awake),
            [f"{row['engine']}, {row['allowed']}: {row['delay']:.1f} s" for row in awake],
        ),
        Part(2, "constant 0.05 for an hour costs <= 1%", f"worst {min(calm):.4f} x off", min(calm) >= 0.99),
    ]
    if open_ones:
        worst = min(row["rival"] for row in open_ones)
        missed = sum(row["rival"] < 1.03 for row in open_ones)
        text = f"worst {worst:.3f}, {missed} of {len(open_ones)} below"
        gains = worst_rows(open_ones, "rival", ("engine", "allowed", "number", "bestRival", "margin"))
        found.insert(
            3, Part(2, ">= 1.03 x the best of them where the oracle is 1.05 x above", text, missed == 0, gains)
        )
    return found
