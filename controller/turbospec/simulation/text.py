"""What the simulated text is like: how many draft tokens would be accepted at each place of each request."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from turbospec.simulation.files import PhaseSpec

PLACES = 1 << 18
"""Places in the pool of drawn text. Requests are windows of it, so admitting one costs no draws; its mean acceptance
is within about 0.001 of the true one, the same for every arm."""
LEVELS = 16
"""Requests of different predictability (acceptanceSpread) come in this many kinds, equally likely."""
MIX = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1

Bytes = NDArray[np.int8]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Text:
    """One kind of text. Index K of ``tokens`` and ``drafted`` holds what a request gets from a step at K on average."""

    start: int
    tokens: Floats
    drafted: Floats


class TextBank:
    """All texts of a run. ``accepted[place]`` draft tokens would be accepted there, ``drafted[place]`` be proposed.

    Both are a property of the place: whichever K an arm uses when it gets there, it meets the same text. So arms
    with the same seed are paired, request by request and token by token.
    """

    def __init__(self, seed: int, max_draft_tokens: int, longest: int) -> None:
        rng = np.random.default_rng((seed, 1))
        self._seed = seed
        self._positions = max_draft_tokens
        self._longest = longest
        # Windows may run over the end: the pool goes on with its beginning.
        self._luck = np.resize(rng.random(PLACES), PLACES + longest + 1)
        self._found = np.resize(rng.random(PLACES), PLACES + longest + 1)
        self._texts: dict[tuple[int, int], Text] = {}
        self.accepted: Bytes = np.zeros(0, dtype=np.int8)
        self.drafted: Bytes = np.zeros(0, dtype=np.int8)
        self.always_drafts = True
        """Whether every position of every text gets a draft token."""

    def text(self, phase: int, spec: PhaseSpec, request: int) -> Text:
        """The text of a phase's request, by its number: its predictability is drawn from (seed, number)."""
        return self.level(phase, spec, scramble(self._seed, request, 2) % LEVELS if spec.acceptance_spread else 0)

    def level(self, phase: int, spec: PhaseSpec, level: int) -> Text:
        """The text of a phase's requests of one predictability, 0..LEVELS - 1 from the least to the most."""
        found = self._texts.get((phase, level))
        if found is None:
            found = self._texts[phase, level] = self._write(spec, level)
        return found

    def place(self, text: Text, request: int) -> int:
        """Where the request's text begins, drawn from (seed, number)."""
        return text.start + scramble(self._seed, request, 3) % PLACES

    def _write(self, spec: PhaseSpec, level: int) -> Text:
        start = len(self.accepted)
        shift = spec.acceptance_spread * NormalDist().inv_cdf((level + 0.5) / LEVELS)
        acceptance = np.array(extended(spec.acceptance, self._positions), dtype=np.float64) + shift
        reach = np.cumprod(np.clip(acceptance, 0.0, 1.0), dtype=np.float64)
        found = np.array(extended(spec.draft_yield, self._positions))
        # A uniform draw below reach[j] means accepted beyond position j.
        self.accepted = np.concatenate([self.accepted, _counts(self._luck, reach)])
        self.drafted = np.concatenate([self.drafted, _counts(self._found, found)])
        self.always_drafts = self.always_drafts and bool(found[-1] >= 1.0)
        tokens = 1.0 + np.concatenate([[0.0], np.cumsum(reach * found)])
        return Text(start, tokens, np.concatenate([[0.0], np.cumsum(found)]))


def extended(values: Sequence[float], length: int) -> list[float]:
    """The first ``length`` values; a shorter list goes on with its last one."""
    return [values[min(i, len(values) - 1)] for i in range(length)]


def scramble(seed: int, number: int, purpose: int) -> int:
    """64 well-mixed bits from three integers (splitmix64 of Steele, Lea and Flood 2014)."""
    z = (seed * 0x632BE59BD9B4E019 + number * 8 + purpose) & MASK
    for _ in range(2):
        z = (z + MIX) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        z ^= z >> 31
    return z


def uniform(seed: int, number: int, purpose: int) -> float:
    """A number in [0, 1) that belongs to (seed, number, purpose)."""
    return scramble(seed, number, purpose) / math.ldexp(1.0, 64)


def _counts(draws: Floats, thresholds: Floats) -> Bytes:
    """How many of the falling thresholds lie above each draw."""
    return (len(thresholds) - np.searchsorted(thresholds[::-1], draws, side="right")).astype(np.int8)
