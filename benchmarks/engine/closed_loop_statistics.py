"""Ratios of goodput with their bounds, from the windows of the closed-loop benchmark. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from benchmarks.engine.closed_loop_schedule import ARMS, LOOP

STUDENT_T = (
    *(3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372),
    *(1.363, 1.356, 1.350, 1.345, 1.341, 1.337, 1.333, 1.330, 1.328, 1.325),
    *(1.323, 1.321, 1.319, 1.318, 1.316, 1.315, 1.314, 1.313, 1.311, 1.310),
)
"""90% quantiles of Student's t for 1 to 30 degrees of freedom; the last one serves beyond, on the safe side."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Goodput of one window, in tokens per second."""

    point: str
    arm: str
    round: int
    goodput: float


@dataclass(frozen=True, slots=True)
class Raw:
    """What the clients of one window received, and the prompts that were read for it."""

    point: str
    arm: str
    round: int
    tokens: int
    prompt_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The engine loop against the best fixed K. ``lower`` is the one-sided 90% bound; None with a single round."""

    goodput: Mapping[str, float]
    best: str
    ratio: float
    lower: float | None


def prefill_seconds(windows: Sequence[Raw]) -> float:
    """Seconds that a prompt token costs: the common slope of seconds over prompt tokens, both per delivered token,
    within the windows of each point and arm, each weighted by the inverse square of its group's mean."""
    up = down = 0.0
    for group in _groups(windows):
        times = [window.seconds / window.tokens for window in group]
        prompts = [window.prompt_tokens / window.tokens for window in group]
        middle_time, middle_prompts = fmean(times), fmean(prompts)
        for seconds, read in zip(times, prompts, strict=True):
            up += (read - middle_prompts) * (seconds - middle_time) / middle_time**2
            down += ((read - middle_prompts) / middle_time) ** 2
    return max(0.0, up / down) if down else 0.0


def adjusted(windows: Sequence[Raw]) -> list[Measured]:
    """Goodput with as many prompt tokens per delivered token in each window of a point as in all of them together.

    In a window of seconds a few prompts more or fewer are read than the answers in it need, by chance, and each takes
    as long as dozens of tokens. In the long run the number follows from the texts alone, whatever K is, so the
    covariance adjustment takes noise out and favours no arm. Raises ValueError for a window without a token.
    """
    if any(window.tokens <= 0 or window.seconds <= 0 for window in windows):
        raise ValueError("a window without a single token cannot be compared: see the raw log and the servers' logs")
    price = prefill_seconds(windows)
    usual = {
        point: sum(w.prompt_tokens for w in windows if w.point == point)
        / sum(w.tokens for w in windows if w.point == point)
        for point in {window.point for window in windows}
    }
    found = []
    for window in windows:
        surplus = window.prompt_tokens / window.tokens - usual[window.point]
        # A tenth is beyond any chance: a slope estimated from few windows must not turn a time negative.
        seconds = max(0.1 * window.seconds, window.seconds - price * surplus * window.tokens)
        found.append(Measured(window.point, window.arm, window.round, window.tokens / seconds))
    return found


def plain(windows: Sequence[Raw]) -> list[Measured]:
    """Goodput as it was counted."""
    return [Measured(w.point, w.arm, w.round, w.tokens / w.seconds) for w in windows]


def _groups(windows: Sequence[Raw]) -> Iterable[list[Raw]]:
    found: dict[tuple[str, str], list[Raw]] = {}
    for window in windows:
        found.setdefault((window.point, window.arm), []).append(window)
    return found.values()


def ratio_bound(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, float | None]:
    """Geometric mean of the paired ratios and its lower one-sided 90% bound, by Student's t over their logarithms.

    Raises ValueError where the pairs do not match or a value is not positive: an arm that delivered nothing failed.
    """
    if not numerators or len(numerators) != len(denominators):
        raise ValueError(f"{len(numerators)} and {len(denominators)} values cannot be paired")
    if min(*numerators, *denominators) <= 0:
        raise ValueError("a window without a single token cannot be compared: see the raw log and the servers' logs")
    logs = [math.log(one / other) for one, other in zip(numerators, denominators, strict=True)]
    middle = fmean(logs)
    if len(logs) < 2:
        return math.exp(middle), None
    quantile = STUDENT_T[min(len(logs) - 1, len(STUDENT_T)) - 1]
    return math.exp(middle), math.exp(middle - quantile * stdev(logs) / math.sqrt(len(logs)))


def compare_point(rows: Sequence[Measured]) -> Comparison:
    """All windows of one point. The best fixed K is the arm with the highest mean: chosen by the same windows, it is
    rather too good than too bad, so the ratio errs against the engine loop."""
    return _compare(_by_arm_and_round(rows))


def compare_mix(rows: Sequence[Measured]) -> Comparison:
    """Equal wall time at every point: goodput of an arm in a round is its mean over the points."""
    found = _by_arm_and_round(rows)
    points = {row.point for row in rows}
    for arm, rounds in found.items():
        for number, values in rounds.items():
            if len(values) != len(points):
                raise ValueError(f"{arm}, round {number}: {len(values)} of {len(points)} points were measured")
    return _compare(found)


def _by_arm_and_round(rows: Sequence[Measured]) -> dict[str, dict[int, list[float]]]:
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        found.setdefault(row.arm, {}).setdefault(row.round, []).append(row.goodput)
    return found


def _compare(found: Mapping[str, Mapping[int, Sequence[float]]]) -> Comparison:
    means = {arm: {number: fmean(values) for number, values in rounds.items()} for arm, rounds in found.items()}
    missing = [arm.name for arm in ARMS if arm.name not in means or means[arm.name].keys() != means[LOOP.name].keys()]
    if missing:
        raise ValueError(f"not every round was measured of {', '.join(missing)}: nothing can be compared")
    goodput = {arm.name: fmean(means[arm.name].values()) for arm in ARMS}
    best = max((arm.name for arm in ARMS if arm.fixed), key=goodput.__getitem__)
    rounds = sorted(means[best])
    ratio, lower = ratio_bound([means[LOOP.name][n] for n in rounds], [means[best][n] for n in rounds])
    return Comparison(goodput, best, ratio, lower)
