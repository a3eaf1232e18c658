"""By how much another K must promise more than the one in use before it is taken: what is not known of the two."""

import math
from collections.abc import Sequence

import numpy as np

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.goodput import expected_tokens, shifted
from turbospec.control.latency_fit import Floats

LEAST_MARGIN = 0.005
"""Another K must promise this much more, however certain: below, step noise of an hour decides, not the engine."""
MOST_MARGIN = 0.03
"""However uncertain, more than this is not left lying: staying can cost no more. A K that was left must promise as much
to be taken back, for what spoke against it was noise or it was not: two equal ones would change places for ever."""
SETTLED_SAMPLES = 1000.0
"""Known drafts from which on this holds for a shorter K. Fewer soon become more: what speaks for it is in the drafts of
the present one. And right after a change of text is known what looked most like one: a second later a batch of a few
requests often looks as before."""
MARGIN_SIGMAS = 2.0
"""Standard errors of the difference between two K by which the better one must lead."""
TIMING_SIGMAS = 1.0
"""The same for their step times: who waits for two has to look at the other K many times."""


def margins_of(
    estimates: tuple[PositionEstimate, ...], allowed: tuple[int, ...], tokens: Sequence[float], timing: Floats
) -> Floats:
    """By how much one K (row) must lead another (column): twice the standard error of their difference, bounded.

    ``timing`` is what is not known of their step times against each other.
    """
    higher = shifted(estimates, 1.0)
    moved = np.log(np.array([expected_tokens(higher, k) or 1.0 for k in allowed]) / np.array(tokens))
    needed = np.hypot(MARGIN_SIGMAS * (moved[:, None] - moved[None, :]), TIMING_SIGMAS * timing)
    most = np.full(needed.shape, MOST_MARGIN)
    most[np.triu_indices(len(allowed), 1)] *= math.sqrt(max(1.0, SETTLED_SAMPLES / max(estimates[0].samples, 1.0)))
    return np.asarray(np.clip(needed, LEAST_MARGIN, most), dtype=np.float64)
