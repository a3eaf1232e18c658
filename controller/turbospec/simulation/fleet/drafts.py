"""What an engine counts of its drafts in some steps, drawn from the shares that they are accepted with."""

import math
import random
from collections.abc import Sequence

FEW_TRIALS = 16
"""Up to so many are drawn one by one: of one draft a rounded normal distribution makes another text (the rest of a
draft of three would be accepted 0.27 instead of 0.58 times)."""


def draw_counts(
    source: random.Random, trials: int, draft_tokens: int, reach: Sequence[float], longer: Sequence[float]
) -> tuple[list[int], list[int]]:
    """Drafted and accepted by position, ``len(reach)`` each, of ``trials`` drafts of up to ``draft_tokens``.

    ``longer[j]`` is the share of drafts that go on to position j, ``reach[j]`` of those accepted beyond it. Each
    position is drawn from what the one before it left, so that means are the shares however few drafts there are.
    """
    drafted, accepted = [0] * len(reach), [0] * len(reach)
    # Of all drafts: what is accepted so far, and what is only drafted.
    alive, lost = trials, 0
    before_drafted = before_accepted = 1.0
    for j in range(draft_tokens):
        if longer[j] <= 0.0:
            break
        going_on = longer[j] / before_drafted
        alive = binomial(source, alive, going_on)
        drafted[j] = alive + binomial(source, lost, going_on)
        accepted[j] = binomial(source, alive, reach[j] / before_accepted / going_on) if before_accepted > 0.0 else 0
        alive, lost = accepted[j], drafted[j] - accepted[j]
        before_drafted, before_accepted = longer[j], reach[j]
    return drafted, accepted


def binomial(source: random.Random, trials: int, chance: float) -> int:
    """How many of ``trials`` happen: exactly binomial where there are few, else a rounded normal distribution."""
    if chance >= 1.0 or trials <= 0:
        return max(trials, 0)
    if chance <= 0.0:
        return 0
    if trials <= FEW_TRIALS:
        return sum([source.random() < chance for _ in range(trials)])
    mean = trials * chance
    return max(0, min(trials, round(mean + math.sqrt(mean * (1.0 - chance)) * source.gauss(0.0, 1.0))))
