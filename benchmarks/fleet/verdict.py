"""From rows to verdicts: replica-hours against plain and against an oracle fleet, on paired seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.control.lines import Part
from benchmarks.fleet.cases import left_alone
from benchmarks.fleet.intervals import interval
from turbospec.fleet.worth import Variant
from turbospec.simulation.fleet.files import MetricName
from turbospec.simulation.fleet.tuning import MOST_MISSES

Row = dict[str, Any]
RUNNING = MetricName.RUNNING_REQUESTS.value
WANTED = MetricName.WANTED_PODS.value
OURS = ("turbospec", WANTED)
BEST_K = ("best-k", WANTED)
"""The oracle's engines under the autoscaler. What an oracle fleet saves beyond it, it saves by knowing arrivals."""
LEFT_ALONE, PRESERVED, AUTO, AUTO_PRESERVED = map(left_alone, ("turbospec", "preserve", "auto", "auto-preserve"))
NO_RIVALS = {"turbospec", "oracle", BEST_K[0], LEFT_ALONE, PRESERVED, AUTO, AUTO_PRESERVED}
WITH_AUTO = "with startupVariant: Auto"
Cells = Mapping[tuple[str, str], list[Row]]


def cells(rows: Sequence[Row], scenario: str) -> dict[tuple[str, str], list[Row]]:
    """Judged rows by arm and metric, in the order of their seeds."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in sorted((r for r in rows if r["scenario"] == scenario and not r["tuning"]), key=lambda r: int(r["seed"])):
        found.setdefault((row["case"], row["metric"]), []).append(row)
    return found


def hours(rows: Sequence[Row]) -> list[float]:
    """Replica-hours of each seed."""
    return [row["replicaSeconds"] / 3600.0 for row in rows]


def misses(rows: Sequence[Row]) -> float:
    """Mean share of requests over a ceiling."""
    return float(np.mean([row["misses"]["share"] for row in rows]))


def holding(found: Cells) -> Cells:
    """Those that miss no more than 1% on the judged days too: fewer pods at more misses are no rival. All, where none
    does."""
    return {key: judged for key, judged in found.items() if misses(judged) <= MOST_MISSES} or found


def parts(rows: Sequence[Row], scenario: str) -> list[Part]:
    """The lines of one scenario; none before there are TurboSpec, an oracle fleet and a plain one."""
    found = cells(rows, scenario)
    plains = {metric: judged for (arm, metric), judged in found.items() if arm == "plain"}
    if OURS not in found or ("oracle", RUNNING) not in found or not plains:
        return []
    oracle = found["oracle", RUNNING]
    held = holding({("plain", metric): judged for metric, judged in plains.items()})
    metric = min(held, key=lambda key: float(np.mean(hours(held[key]))))[1]
    if all(row["meanDraftTokens"] == 0 for row in oracle):
        return [*_plain_is_best(scenario, found), *_left_alone(scenario, found)]
    ours, plain = found[OURS], plains[metric]
    return [
        _saving(scenario, found, metric),
        *_above(scenario, found, OURS),
        _events(scenario, ours, plain),
        _oscillations(scenario, ours),
        _held(scenario, ours, plain),
        *_left_alone(scenario, found),
    ]


def _plain_is_best(scenario: str, found: Cells) -> list[Part]:
    """An oracle runs it without the drafter: what is said counts, and what comes of pods that are started so."""
    ours, followed = found[OURS], ("plain", WANTED)
    said = [row["recommended"] for row in ours]
    low, high = (float(np.mean([row["replicasSaved"][end] for row in ours])) for end in (0, 1))
    first = Part(
        1,
        f"{scenario}: plain is recommended, and no saving claimed",
        f"{said.count(Variant.PLAIN)} of {len(said)} days: plain; replicas saved by speculating: "
        f"{100 * low:+.0f}% to {100 * high:+.0f}%",
        set(said) == {Variant.PLAIN.value},
    )
    if followed not in found:
        return [first, _oscillations(scenario, ours)]
    pods = found[followed]
    return [first, *_above(scenario, found, followed), _oscillations(scenario, ours), _held(scenario, pods, pods)]


def _above(scenario: str, found: Cells, who: tuple[str, str]) -> list[Part]:
    """Not before a fixed K has run: plain fleets alone are no rivals."""
    rivals = {key: judged for key, judged in found.items() if key[0] not in NO_RIVALS}
    if not any(arm.startswith("static") for arm, _ in rivals):
        return []
    rivals = dict(holding(rivals))
    best = min(rivals, key=lambda key: float(np.mean(hours(rivals[key]))))
    pairs = zip(hours(found[who]), hours(rivals[best]), strict=False)
    above, more = interval([mine / other - 1.0 for mine, other in pairs])
    name = "TurboSpec" if who == OURS else "plain, as recommended, on our series:"
    arm = rivals[best][0]["arm"]
    asked = f"{scenario}: {name} takes <= 1.01 x the best arm's replica-hours"
    text = f"{100 * above:+.1f}% ± {100 * more:.1f} against {arm} on {best[1]} ({len(rivals)} arms and metrics)"
    return [Part(2, asked, text, above <= 0.01)]


def _events(scenario: str, ours: Sequence[Row], plain: Sequence[Row]) -> Part:
    events, usual = (float(np.mean([row["scaleEvents"] for row in judged])) for judged in (ours, plain))
    asked = f"{scenario}: scale events <= plain's + 10%"
    return Part(3, asked, f"{events:.1f} against {usual:.1f}", events <= 1.1 * usual)


def _oscillations(scenario: str, ours: Sequence[Row]) -> Part:
    swings = sum(row["draftTokenOscillations"] for row in ours)
    asked = f"{scenario}: no K taken back within two minutes"
    return Part(4, asked, f"{swings} in {len(ours)} days", swings == 0)


def _held(scenario: str, ours: Sequence[Row], plain: Sequence[Row]) -> Part:
    text = f"{100 * misses(ours):.2f}%" + ("" if ours is plain else f" (plain {100 * misses(plain):.2f}%)")
    asked = f"{scenario}: misses <= 1% on days that the target was not tuned on"
    return Part(5, asked, text, misses(ours) <= 0.01)


def _left_alone(scenario: str, found: Cells) -> list[Part]:
    """As it is, and where pods may be started without the drafter."""
    return [
        *_on_running(scenario, found, LEFT_ALONE, "that is left alone"),
        *_on_running(scenario, found, AUTO, f"that is left alone, {WITH_AUTO}"),
        *_preserved(scenario, found, PRESERVED, "with preserve"),
        *_preserved(scenario, found, AUTO_PRESERVED, f"with preserve, {WITH_AUTO}"),
    ]


def _preserved(scenario: str, found: Cells, who: str, words: str) -> list[Part]:
    """An HPA on a metric that speculation distorts, left alone, with ``autoscaling.preserve``."""
    parts = []
    for metric in sorted({metric for arm, metric in found if arm == who}):
        pairs = zip(hours(found[who, metric]), hours(found["plain", metric]), strict=False)
        above, more = interval([now / was - 1.0 for now, was in pairs])
        asked = f"{scenario}: an HPA on {metric} that is left alone, {words}: replica-hours <= before + 1%"
        missed = f"misses {100 * misses(found[who, metric]):.2f}%, {100 * misses(found['plain', metric]):.2f}% before"
        parts.append(Part(6, asked, f"{100 * above:+.1f}% ± {100 * more:.1f}; {missed}", above <= 0.01))
    return parts


def _on_running(scenario: str, found: Cells, who: str, words: str) -> list[Part]:
    before, after = found.get(("plain", RUNNING)), found.get((who, RUNNING))
    if before is None or after is None:
        return []
    took, takes = float(np.mean(hours(before))), float(np.mean(hours(after)))
    return [
        Part(
            6,
            f"{scenario}: an HPA on running requests {words}: no more misses, no more replica-hours",
            f"{100 * misses(after):.2f}%, {takes:.2f} (plain {100 * misses(before):.2f}%, {took:.2f})",
            misses(after) <= misses(before) and takes <= took,
        )
    ]


def _saving(scenario: str, found: Cells, metric: str) -> Part:
    """Over the plain fleet on this metric."""
    ours, plain, oracle, best_k = (found.get(key, []) for key in (OURS, ("plain", metric), ("oracle", RUNNING), BEST_K))
    asked = f"{scenario}: >= 80% of the oracle fleet's saving over plain (on {metric})"
    both = list(zip(hours(plain), hours(ours), hours(oracle), strict=False))
    saved, half = interval([was - now for was, now, _ in both])
    share, spread = _share(ours, plain, oracle)
    possible, used = float(np.mean([was - least for was, _, least in both])), float(np.mean(hours(plain)))
    text = f"{saved:.2f} ± {half:.2f} of {possible:.2f} replica-hours (plain: {used:.2f})"
    low, high = (float(np.mean([row["replicasSaved"][end] for row in ours])) for end in (0, 1))
    claimed = f"; claimed {100 * low:+.0f}% to {100 * high:+.0f}%, really {100 * saved / used:+.0f}%"
    if len(best_k) == len(ours):
        part, more = _share(ours, plain, best_k)
        claimed += f"; of what the oracle's engines save under the same autoscaler {100 * part:.0f}% ± {100 * more:.0f}"
    return Part(1, asked, f"{100 * share:.0f}% ± {100 * spread:.0f}: {text}{claimed}", share >= 0.8)


def _share(ours: list[Row], plain: list[Row], best: list[Row]) -> tuple[float, float]:
    """What we save of what the best does, over the mean of the days, and half of its interval.

    A ratio of means, with the interval by leaving out each day in turn (jackknife): on single days the best may save
    next to nothing.
    """
    days = list(zip(hours(plain), hours(ours), hours(best), strict=False))

    def share(of: list[tuple[float, float, float]]) -> float:
        return sum(was - now for was, now, _ in of) / sum(was - least for was, _, least in of)

    whole, count = share(days), len(days)
    pseudo = [count * whole - (count - 1) * share(days[:i] + days[i + 1 :]) for i in range(count)]
    return whole, interval(pseudo)[1] if count > 1 else float("inf")


def table(rows: Sequence[Row], scenario: str) -> list[str]:
    """Every arm and metric of a scenario, as rows of a table in Markdown."""
    lines = [
        "| arm | metric | target | days | replica-hours | misses | TPOT, TTFT | events | mean K | K taken back |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (arm, metric), judged in sorted(cells(rows, scenario).items(), key=lambda item: np.mean(hours(item[1]))):
        mean, half = interval(hours(judged))
        count = len(judged)
        lines.append(
            f"| {judged[0]['arm'] if arm == 'static:best' else arm} | {'-' if arm == 'oracle' else metric} "
            f"| {judged[0]['target']:.3g} | {count} | {mean:.2f} ± {half:.2f} | {100 * misses(judged):.2f}% "
            f"| {sum(r['misses']['timePerOutputToken'] for r in judged) / count:.0f}, "
            f"{sum(r['misses']['timeToFirstToken'] for r in judged) / count:.0f} "
            f"| {sum(r['scaleEvents'] for r in judged) / count:.1f} "
            f"| {sum(r['meanDraftTokens'] for r in judged) / count:.2f} "
            f"| {sum(r['draftTokenOscillations'] for r in judged)} |"
        )
    return lines
