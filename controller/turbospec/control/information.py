"""What it would be worth to know another draft length better."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from turbospec.control.acceptance import AcceptanceEstimator, PositionEstimate
from turbospec.control.bias import LatencyBias
from turbospec.control.goodput import expected_tokens, shifted
from turbospec.control.plan import Plan

TEXT_SECONDS = 60.0
"""How long a text or a load lasts, as far as looking again is concerned: minutes between changes are usual, and a wrong
guess by a factor of four only doubles what looking costs."""
DEPTH_SECONDS = 600.0
"""The same for texts that change at depth only, while the first positions stay as they were: rare."""
HOPES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Acceptances that a new text may have, all alike: nothing is known of it."""
UNKNOWN_GAIN = 0.5
"""Gain hoped for from drafts while nothing at all is known of acceptance: published speed-ups are 1.3 to 3."""


@dataclass(frozen=True, slots=True)
class Option:
    """Another K at the batch in use.

    ``gain``: expected gain in goodput from knowing whether it is better, as a share of the present one, already
    weighted with the chance that it is. ``cost_seconds``: predicted loss of one step at it. ``uncertain_seconds``:
    what is not known is its step time, so a step or two say little.
    """

    draft_tokens: int
    gain: float
    cost_seconds: float
    uncertain_seconds: bool = False


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is believed of every allowed K at the batch in use; ``current`` is the index of the K in force."""

    allowed: tuple[int, ...]
    current: int
    seconds: Sequence[float]
    spreads: Sequence[float]
    """Standard deviation of log(step time / step time at the current K)."""
    estimates: tuple[PositionEstimate, ...]
    unseen_seconds: float | None
    """Age of the newest evidence of acceptance at the first position; None: there never was any."""
    unseen_deep_seconds: float | None = None
    """The same at the first position beyond the current K."""


def outlook(plan: Plan, batch: int, bias: LatencyBias, estimator: AcceptanceEstimator) -> Outlook | None:
    """What is believed now, at this batch; None for a plan without predictions."""
    if plan.components is None:
        return None
    column = plan.components[:, :, batch - 1 : batch]
    current = plan.allowed.index(plan.table.at(batch))
    seconds = bias.correct(column)[:, 0]
    if plan.lengthened is not None:
        # What is gained by another K counts over all steps, as in the table: those with prefill may leave the graphs.
        seconds = seconds * plan.lengthened[:, batch - 1]
    k = plan.allowed[current]

    def age(position: int) -> float | None:
        stale = estimator.staleness(position)
        return None if stale is None else stale * float(seconds[current])

    return Outlook(
        plan.allowed,
        current,
        seconds.tolist(),
        bias.spreads(column[:, :, 0])[current].tolist(),
        estimator.estimate(),
        age(0),
        age(k) if k < estimator.max_draft_tokens else 0.0,
    )


def options(view: Outlook) -> list[Option]:
    """What could be gained by trying each other K, and what that costs; the order is that of the allowed K.

    With log(goodput / present goodput) normal of mean m and standard deviation s, knowing it is worth
    E[max(0, .)] = s * phi(m / s) + m * Phi(m / s). Where drafts are not seen at all (K = 0) the text may have changed
    since: with the chance 1 - exp(-age / TEXT_SECONDS) any acceptance is as likely as any other. The smallest larger K
    finds that out at the lowest price.
    """
    known, now = view.allowed, view.current
    tokens = [expected_tokens(view.estimates, k) for k in known]
    higher = shifted(view.estimates, 1.0)
    moved = [expected_tokens(higher, k) for k in known]
    ours = tokens[now] or 1.0
    found = []
    for i, k in enumerate(known):
        if i == now:
            continue
        theirs = tokens[i] or 1.0
        cost = max(0.0, view.seconds[i] - theirs / ours * view.seconds[now])
        gain, timing = 0.0, 0.0
        if tokens[i] is not None and tokens[now] is not None:
            mean = math.log(theirs / view.seconds[i] * view.seconds[now] / ours)
            texts = math.log((moved[i] or 1.0) / theirs) - math.log((moved[now] or 1.0) / ours)
            timing = expected_gain(mean, view.spreads[i])
            gain = expected_gain(mean, math.hypot(view.spreads[i], texts))
        if i == now + 1:
            gain += _new_text(view) if known[now] == 0 or tokens[i] is None else _new_depth(view)
        found.append(Option(k, gain, cost, timing > 0.5 * gain))
    return found


def expected_gain(mean: float, deviation: float) -> float:
    """E[max(0, x)] of a normal x."""
    if deviation <= 1e-9:
        return max(0.0, mean)
    z = mean / deviation
    if z < -6.0:
        return 0.0
    return deviation * math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi) + mean * 0.5 * math.erfc(-z / math.sqrt(2.0))


def _new_depth(view: Outlook) -> float:
    """Expected gain if positions beyond the current K now accept like the last one within it, times the chance."""
    now = view.allowed[view.current]
    last = view.estimates[now - 1]
    hoped = (*view.estimates[:now], *(last for _ in view.estimates[now:]))
    age = view.unseen_deep_seconds
    chance = 1.0 if age is None else 1.0 - math.exp(-age / DEPTH_SECONDS)
    ours = (expected_tokens(hoped, now) or 1.0) / view.seconds[view.current]
    theirs = [
        (expected_tokens(hoped, k) or 1.0) / seconds
        for k, seconds in zip(view.allowed[view.current + 1 :], view.seconds[view.current + 1 :], strict=True)
    ]
    return chance * min(max(0.0, max(theirs) / ours - 1.0), UNKNOWN_GAIN)


def _new_text(view: Outlook) -> float:
    """Expected gain if the text is new by now, times the chance that it is."""
    chance = 1.0
    if view.unseen_seconds is not None:
        chance = 1.0 - math.exp(-view.unseen_seconds / TEXT_SECONDS)
    base = view.seconds[view.current]
    total = 0.0
    for hope in HOPES:
        best = 0.0
        for k, seconds in zip(view.allowed, view.seconds, strict=True):
            # Drafts all accepted alike: the paper's geometric sum.
            tokens = (1.0 - hope ** (k + 1)) / (1.0 - hope)
            best = max(best, tokens / seconds)
        total += max(0.0, best * base - 1.0)
    return chance * min(total / len(HOPES), UNKNOWN_GAIN)
