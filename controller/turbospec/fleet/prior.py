"""The acceptance prior of a control document: pooled acceptance in coarse steps.

A prior is quantised and travels inside the document id (one character per position). So small noise never changes a
document, and an operator that restarts reads back from the applied id what it has told each engine.
"""

import string

from turbospec.fleet.effects import PriorPosition
from turbospec.fleet.memory import PooledPosition
from turbospec.fleet.snapshot import EngineReport

MATURE_SAMPLES = 200.0
"""From here on an engine's own evidence outweighs any prior, so that it gets no new one."""

PRIOR_TOLERANCE = 0.1
"""A prior is replaced only when the pool has moved by more than this at some position."""

_ACCEPTANCE_BINS = 16
_SAMPLE_LEVELS = (8.0, 16.0, 32.0, 64.0)
_ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
_MAX_POSITIONS = 32


def is_mature(report: EngineReport) -> bool:
    """Whether the engine's own evidence needs no prior any more."""
    return bool(report.acceptance_samples) and report.acceptance_samples[0] >= MATURE_SAMPLES


def prior_code(positions: tuple[PooledPosition, ...], previous: str) -> str:
    """The code of the prior to give, which is ``previous`` where that is still near enough to the pool."""
    usable = _usable(positions)
    if not usable:
        return previous
    before = decode_prior(previous)
    if len(before) >= len(usable) and all(
        abs(old.acceptance - new.acceptance) <= PRIOR_TOLERANCE for old, new in zip(before, usable, strict=False)
    ):
        return previous
    return "".join(_letter(entry) for entry in usable)


def decode_prior(code: str) -> tuple[PriorPosition, ...]:
    """The prior behind a code: bin centres. A code that is none of ours means no prior."""
    positions: list[PriorPosition] = []
    for letter in code:
        index = _ALPHABET.find(letter)
        if index < 0:
            return ()
        level, acceptance_bin = divmod(index, _ACCEPTANCE_BINS)
        positions.append(PriorPosition((acceptance_bin + 0.5) / _ACCEPTANCE_BINS, _SAMPLE_LEVELS[level]))
    return tuple(positions)


def _usable(positions: tuple[PooledPosition, ...]) -> tuple[PooledPosition, ...]:
    """The leading positions with samples enough for the lowest level: a prior has no gaps."""
    usable: list[PooledPosition] = []
    for entry in positions[:_MAX_POSITIONS]:
        if entry.samples < _SAMPLE_LEVELS[0]:
            break
        usable.append(entry)
    return tuple(usable)


def _letter(entry: PooledPosition) -> str:
    level = sum(entry.samples >= threshold for threshold in _SAMPLE_LEVELS) - 1
    acceptance_bin = min(int(entry.acceptance * _ACCEPTANCE_BINS), _ACCEPTANCE_BINS - 1)
    return _ALPHABET[level * _ACCEPTANCE_BINS + acceptance_bin]
