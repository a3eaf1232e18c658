"""What it would be worth to know another draft length better."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.goodput import expected_tokens, shifted

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


def options(outlook: Outlook) -> list[Option]:
    """What could be gained by trying each other K, and what that costs; the order is that of the allowed K.

    With log(goodput / present goodput) normal of mean m and standard deviation s, knowing it is worth
    E[max(0, .)] = s * phi(m / s) + m * Phi(m / s). Where drafts are not seen at all (K = 0) the text may have changed
    since: with the chance 1 - exp(-age / TEXT_SECONDS) any acceptance is as likely as any other. The smallest larger K
    finds that out at the lowest price.
    """
    known, now = outlook.allowed, outlook.current
    tokens = [expected_tokens(outlook.estimates, k) for k in known]
    higher = shifted(outlook.estimates, 1.0)
    moved = [expected_tokens(higher, k) for k in known]
    ours = tokens[now] or 1.0
    found = []
    for i, k in enumerate(known):
        if i == now:
            continue
        theirs = tokens[i] or 1.0
        cost = max(0.0, outlook.seconds[i] - theirs / ours * outlook.seconds[now])
        gain, timing = 0.0, 0.0
        if tokens[i] is not None and tokens[now] is not None:
            mean = math.log(theirs / outlook.seconds[i] * outlook.seconds[now] / ours)
            texts = math.log((moved[i] or 1.0) / theirs) - math.log((moved[now] or 1.0) / ours)
            timing = expected_gain(mean, outlook.spreads[i])
            gain = expected_gain(mean, math.hypot(outlook.spreads[i], texts))
        if i == now + 1:
            gain += _new_text(outlook) if known[now] == 0 or tokens[i] is None else _new_depth(outlook)
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


def _new_depth(outlook: Outlook) -> float:
    """Expected gain if positions beyond the current K now accept like the last one within it, times the chance."""
    now = outlook.allowed[outlook.current]
    last = outlook.estimates[now - 1]
    hoped = (*outlook.estimates[:now], *(last for _ in outlook.estimates[now:]))
    age = outlook.unseen_deep_seconds
    chance = 1.0 if age is None else 1.0 - math.exp(-age / DEPTH_SECONDS)
    ours = (expected_tokens(hoped, now) or 1.0) / outlook.seconds[outlook.current]
    theirs = [
        (expected_tokens(hoped, k) or 1.0) / seconds
        for k, seconds in zip(
            outlook.allowed[outlook.current + 1 :], outlook.seconds[outlook.current + 1 :], strict=True
        )
    ]
    return chance * min(max(0.0, max(theirs) / ours - 1.0), UNKNOWN_GAIN)


def _new_text(outlook: Outlook) -> float:
    """Expected gain if the text is new by now, times the chance that it is."""
    chance = 1.0
    if outlook.unseen_seconds is not None:
        chance = 1.0 - math.exp(-outlook.unseen_seconds / TEXT_SECONDS)
    base = outlook.seconds[outlook.current]
    total = 0.0
    for hope in HOPES:
        best = 0.0
        for k, seconds in zip(outlook.allowed, outlook.seconds, strict=True):
            # Drafts all accepted alike: the paper's geometric sum.
            tokens = (1.0 - hope ** (k + 1)) / (1.0 - hope)
            best = max(best, tokens / seconds)
        total += max(0.0, best * base - 1.0)
    return chance * min(total / len(HOPES), UNKNOWN_GAIN)
