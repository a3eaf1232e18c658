"""From rows to verdicts: replica-hours against plain and against an oracle fleet, on paired seeds."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.control.lines import Part
from benchmarks.fleet.cases import LEFT_ALONE
from turbospec.simulation.fleet.files import MetricName

T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Student's t for a two-sided 95% interval, by degrees of freedom."""
Row = dict[str, Any]
RUNNING = MetricName.RUNNING_REQUESTS.value
OURS = ("turbospec", MetricName.EXPECTED_PODS.value)


def cases(rows: Sequence[Row], scenario: str) -> dict[tuple[str, str], list[Row]]:
    """Judged rows by arm and metric, in the order of their seeds."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in sorted((r for r in rows if r["scenario"] == scenario and not r["tuning"]), key=lambda r: int(r["seed"])):
        found.setdefault((row["case"], row["metric"]), []).append(row)
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half of its 95% interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.inf
    return mean, T_975[len(values) - 1] * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def hours(rows: Sequence[Row]) -> list[float]:
    """Replica-hours of each seed."""
    return [row["replicaSeconds"] / 3600.0 for row in rows]


def misses(rows: Sequence[Row]) -> float:
    """Mean share of requests over a ceiling."""
    return float(np.mean([row["misses"]["share"] for row in rows]))


def parts(rows: Sequence[Row], scenario: str) -> list[Part]:
    """The lines of one scenario; empty where an arm that they need has no target under 1% misses."""
    found = cases(rows, scenario)
    ours, oracle = found.get(OURS), found.get(("oracle", RUNNING))
    plains = {metric: judged for (arm, metric), judged in found.items() if arm == "plain"}
    if ours is None or oracle is None or not plains:
        return []
    metric = min(plains, key=lambda name: float(np.mean(hours(plains[name]))))
    plain = plains[metric]
    rivals = {key: judged for key, judged in found.items() if key[0] not in {"turbospec", "oracle", LEFT_ALONE}}
    best = min(rivals, key=lambda key: float(np.mean(hours(rivals[key]))))
    above, more = interval([a / b - 1.0 for a, b in zip(hours(ours), hours(rivals[best]), strict=True)])
    events, usual = (float(np.mean([row["scaleEvents"] for row in judged])) for judged in (ours, plain))
    swings = sum(row["draftTokenOscillations"] for row in ours)
    return [
        _saving(scenario, ours, plain, oracle, metric),
        Part(
            2,
            f"{scenario}: replica-hours <= 1.01 x the best arm's",
            f"{100 * above:+.1f}% ± {100 * more:.1f} against {best[0]} on {best[1]}",
            above <= 0.01,
        ),
        Part(
            3,
            f"{scenario}: scale events <= plain's + 10%",
            f"{events:.1f} against {usual:.1f}",
            events <= 1.1 * usual,
        ),
        Part(4, f"{scenario}: no K taken back within two minutes", f"{swings} in {len(ours)} days", swings == 0),
        Part(
            5,
            f"{scenario}: misses <= 1% on days that the target was not tuned on",
            f"{100 * misses(ours):.2f}% (plain {100 * misses(plain):.2f}%)",
            misses(ours) <= 0.01,
        ),
        *_left_alone(scenario, found),
    ]


def _left_alone(scenario: str, found: dict[tuple[str, str], list[Row]]) -> list[Part]:
    before, after = found.get(("plain", RUNNING)), found.get((LEFT_ALONE, RUNNING))
    if before is None or after is None:
        return []
    took, takes = float(np.mean(hours(before))), float(np.mean(hours(after)))
    return [
        Part(
            6,
            f"{scenario}: an HPA on running requests that is left alone: no more misses, no more replica-hours",
            f"{100 * misses(after):.2f}%, {takes:.2f} (plain {100 * misses(before):.2f}%, {took:.2f})",
            misses(after) <= misses(before) and takes <= took,
        )
    ]


def _saving(scenario: str, ours: list[Row], plain: list[Row], oracle: list[Row], metric: str) -> Part:
    asked = f"{scenario}: >= 80% of the oracle fleet's saving over plain (on {metric})"
    saved = np.array(hours(plain)) - np.array(hours(ours))
    possible = np.array(hours(plain)) - np.array(hours(oracle))
    ours_mean, half = interval(saved.tolist())
    text = f"{ours_mean:.2f} ± {half:.2f} of {possible.mean():.2f} replica-hours (plain: {np.mean(hours(plain)):.2f})"
    share, spread = interval((saved / possible).tolist())
    return Part(1, asked, f"{100 * share:.0f}% ± {100 * spread:.0f}: {text}", share >= 0.8)


def table(rows: Sequence[Row], scenario: str) -> list[str]:
    """Every arm and metric of a scenario, as rows of a table in Markdown."""
    lines = [
        "| arm | metric | target | replica-hours | misses | of them TPOT, TTFT | events | mean K | K taken back |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (arm, metric), judged in sorted(cases(rows, scenario).items(), key=lambda item: np.mean(hours(item[1]))):
        mean, half = interval(hours(judged))
        count = len(judged)
        lines.append(
            f"| {judged[0]['arm'] if arm == 'static:best' else arm} | {'-' if arm == 'oracle' else metric} "
            f"| {judged[0]['target']:.3g} | {mean:.2f} ± {half:.2f} | {100 * misses(judged):.2f}% "
            f"| {sum(r['misses']['timePerOutputToken'] for r in judged) / count:.0f}, "
            f"{sum(r['misses']['timeToFirstToken'] for r in judged) / count:.0f} "
            f"| {sum(r['scaleEvents'] for r in judged) / count:.1f} "
            f"| {sum(r['meanDraftTokens'] for r in judged) / count:.2f} "
            f"| {sum(r['draftTokenOscillations'] for r in judged)} |"
        )
    return lines
