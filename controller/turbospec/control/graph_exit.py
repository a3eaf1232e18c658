"""What it costs when prefill pushes a step out of the captured graphs, against what the latency model says."""

import math

from turbospec.control.latency_fit import Floats

TOKENS_SPREAD = 0.3
"""How far prefill tokens may be off their price: a fit of decode steps knows them from a few waves of prompts."""
PROFILED_SPREAD = 0.2
"""How far the cost of leaving the graphs may be off at first: eager cells are few, and hold no prefill."""
JUMP_SPREAD = 0.6
"""The same after a sudden change of step times. Graphs may be what was lost: then nothing is left of it."""
STEP_NOISE = 0.05
"""Relative standard deviation of a step with prefill: its own 3%, and what the decodes in it are mispriced by."""
KEEP = 0.99
"""Weight that a step keeps when another one is seen: a hundred steps know a cost of 40% of a step to 2% of itself."""
MOST_FACTOR = 3.0
"""Beyond this the profile is wrong (``region_fit`` says so), and the correction does not follow."""
HICCUP = 2.5
"""Steps longer than this many times what is expected were held up by something else."""


class GraphExit:
    """A factor on what leaving the graphs adds to a step: 1 as predicted, 0 where it costs nothing any more.

    Decode steps cannot tell: once graphs are lost they all are dearer alike, as with another clock, and only that steps
    which prefill pushes out of the graphs are *not* dearer than before shows the difference. Least squares over steps
    with prefill, of which older ones count less: added time = p * prefill's own time + factor * cost of leaving, both
    with a prior (p, which takes up what prefill is mispriced by, is of no other use).
    """

    def __init__(self) -> None:
        self._known = 1.0
        self._spread = PROFILED_SPREAD
        # Normal equations: sums of own * own, own * leaving, leaving * leaving, own * added, leaving * added.
        self._sums = (0.0,) * 5
        self.factor = 1.0
        """Measured over predicted cost of leaving the graphs, within 0..MOST_FACTOR."""
        self.spread = PROFILED_SPREAD
        """Its standard deviation."""

    def observe(self, own: Floats, leaving: Floats, added: Floats) -> None:
        """Steps with prefill, all relative to the same step without it: what prefill's tokens and leaving the graphs
        were predicted to add, and what was added."""
        expected = 1.0 + own + self.factor * leaving
        for x, y, z, most in zip(own.tolist(), leaving.tolist(), added.tolist(), expected.tolist(), strict=True):
            if 1.0 + z > HICCUP * most:
                continue
            new = (x * x, x * y, y * y, x * z, y * z)
            a, b, c, d, e = (KEEP * old + value for old, value in zip(self._sums, new, strict=True))
            self._sums = (a, b, c, d, e)
        self._solve()

    def loosen(self) -> None:
        """Step times have changed suddenly: what was known before is only where to begin."""
        self._known, self._spread, self._sums = self.factor, JUMP_SPREAD, (0.0,) * 5
        self.spread = JUMP_SPREAD

    def _solve(self) -> None:
        noise = STEP_NOISE**2
        tokens, exits = noise / TOKENS_SPREAD**2, noise / self._spread**2
        own, both, leaving, own_added, leaving_added = self._sums
        own, own_added = own + tokens, own_added + tokens
        leaving, leaving_added = leaving + exits, leaving_added + exits * self._known
        determinant = own * leaving - both * both
        self.factor = min(max((own * leaving_added - both * own_added) / determinant, 0.0), MOST_FACTOR)
        self.spread = math.sqrt(noise * own / determinant)
