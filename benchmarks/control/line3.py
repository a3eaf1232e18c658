"""Line 3: one hour of real conversations (Azure, November 2023) at several speeds."""

import math
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from benchmarks.control.arms import arm
from benchmarks.control.engines import CHAT, LADDER, engine
from benchmarks.control.lines import Part, Task
from turbospec.simulation.files import PhaseSpec

TRACE = Path(__file__).resolve().parents[2].parent / "shared" / "traces" / "azure-conv-2023.csv"
SPEEDS = (1, 2, 5, 10, 20)
SEEDS = 5
STUDENT = 2.776
"""97.5% quantile of Student's t with four degrees of freedom."""
ARMS = ("turbospec", "off", "static:1", "static:3", "static:7", "plain")


def tasks(*, quick: bool) -> list[Task]:
    """Each speed and seed; none where the trace is not there."""
    if not TRACE.exists():
        return []
    speeds, seconds = ((1, 5, 20), 40.0) if quick else (SPEEDS, 300.0)
    return [Task(3, replay, (speed, seed, seconds)) for speed in speeds for seed in range(SEEDS)]


def replay(speed: int, seed: int, seconds: float) -> list[dict[str, Any]]:
    """All arms on the same requests; those that came in are followed to their end."""
    spec = engine("h100", LADDER)
    phases = [
        PhaseSpec.model_validate(
            {"trace": str(TRACE), "speed": speed, "seconds": min(seconds, 3600 / speed), "acceptance": CHAT}
        )
    ]
    row: dict[str, Any] = {"speed": speed, "seed": seed}
    for name in ARMS:
        latencies = arm("h100", spec, phases, seed, name).latencies()
        row[name] = [fmean(latencies), float(np.percentile(latencies, 99))]
    return [row]


def parts(rows: list[dict[str, Any]]) -> list[Part]:
    """The line's targets."""
    if not rows:
        return [Part(3, "conversations of Azure", "the trace is not there", False)]
    means, tails, plain = [], [], []
    for speed in sorted({row["speed"] for row in rows}):
        seeds = [row for row in rows if row["speed"] == speed]
        mean = {name: fmean(row[name][0] for row in seeds) for name in ARMS}
        fixed = min((name for name in ARMS if name not in ("turbospec", "plain")), key=lambda name: mean[name])
        ratio = mean["turbospec"] / mean[fixed]
        means.append((ratio, f"{speed}x: {ratio:.3f} x {fixed} ({mean['turbospec']:.2f} s)"))
        differences = [row["turbospec"][1] - row["off"][1] for row in seeds]
        error = STUDENT * stdev(differences) / math.sqrt(len(differences))
        excess = fmean(differences) - error
        off = fmean(row["off"][1] for row in seeds)
        tails.append((excess, f"{speed}x: p99 {fmean(differences):+.3f} s of {off:.2f} s (± {error:.3f})"))
        better = "plain is better" if mean["plain"] < mean["turbospec"] else "keep the drafter"
        plain.append(f"{speed}x: {mean['plain']:.2f} s, {better}")
    worst = max(ratio for ratio, _ in means)
    return [
        Part(
            3,
            "mean latency <= 1.01 x best fixed at every speed",
            f"worst {worst:.3f}",
            worst <= 1.01,
            [text for _, text in means],
        ),
        Part(
            3,
            "p99 not above off's beyond its confidence interval",
            "; ".join(text for _, text in tails),
            all(excess <= 0 for excess, _ in tails),
        ),
        Part(3, "plain beside it (reported)", "; ".join(plain), True),
    ]
