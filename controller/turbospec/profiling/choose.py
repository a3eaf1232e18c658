"""Which cell to measure next: what makes choices of K, and T(K) / T(0), surer for the time it takes. Pure."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from turbospec.control.latency_fit import Floats
from turbospec.profiling.accuracy import ACCEPTANCES
from turbospec.profiling.grid import CellPlan
from turbospec.profiling.surface import MEDIAN_LOSS, Surface

RATIO_WEIGHT = 0.2
"""What a doubt of 1% about T(K) / T(0) counts for beside goodput that is likely lost: half of what it costs where two K
tie (0.4 of the doubt), so that cells far from every decision are not left out for ever."""


def most_worth(
    surface: Surface, costs: Mapping[CellPlan, float], draft_tokens: Sequence[int], samples: Sequence[int]
) -> CellPlan | None:
    """Of the plans in ``costs`` (seconds) the one with the largest gain for its cost; None where there are none.

    Cost counts by its square root: per second, cheap cells would be measured again and again before dear ones once.

    ``samples`` are the steps of each K that measuring a plan (again) would add.
    """

    def gain(plan: CellPlan) -> float:
        context = plan.prompt_tokens + plan.output_tokens / 2
        seconds, doubt = surface.predict(plan.batch, context, draft_tokens)
        noise = np.diag(MEDIAN_LOSS * surface.noise**2 / np.array(samples))
        left = doubt - doubt @ np.linalg.solve(doubt + noise, doubt)
        return (_stake(seconds, doubt, draft_tokens) - _stake(seconds, left, draft_tokens)) / math.sqrt(costs[plan])

    return max(costs, key=gain, default=None)


def _stake(seconds: Floats, doubt: Floats, draft_tokens: Sequence[int]) -> float:
    """Goodput likely lost by choosing with this doubt (covariance of relative errors), and the doubt of T(K) / T(0).

    Where the best K leads by a share x of goodput and the doubt of that is s, the loss expected from the other is
    s * (phi(x / s) - x / s * Phi(-x / s)) (expected opportunity loss of two normal variables).
    """
    own = np.diag(doubt)
    apart = np.sqrt(np.maximum(own[:, None] + own[None, :] - 2.0 * doubt, 1e-12))
    lost = 0.0
    for acceptance in ACCEPTANCES:
        goodput = np.array([sum(acceptance**j for j in range(k + 1)) for k in draft_tokens]) / seconds
        best = int(goodput.argmax())
        lead = np.log(goodput[best] / goodput) / apart[best]
        losses = [s * _loss(float(x)) for i, (s, x) in enumerate(zip(apart[best], lead, strict=True)) if i != best]
        lost += max(losses, default=0.0) / len(ACCEPTANCES)
    zero = min(range(len(draft_tokens)), key=draft_tokens.__getitem__)
    return lost + RATIO_WEIGHT * float(apart[zero].mean())


def _loss(lead: float) -> float:
    density = math.exp(-0.5 * lead * lead) / math.sqrt(2.0 * math.pi)
    return density - lead * 0.5 * math.erfc(lead / math.sqrt(2.0))
