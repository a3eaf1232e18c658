"""What engines measure while they serve, and the profile that grows from it."""

import random
from collections.abc import Iterable
from dataclasses import replace

from tests.fleet.builders import KEY, LADDER, step_seconds
from turbospec.control.served_cells import ServedCell
from turbospec.fleet.effects import Effect, WriteServedProfile
from turbospec.fleet.profiles import served_profile_name

NAME = served_profile_name(KEY)


def cell(batch: float, k: int, context: float = 500.0, **changes: object) -> ServedCell:
    values = {
        "batch": batch,
        "context_tokens": context,
        "draft_tokens": k,
        "drafted_per_request": float(k),
        "seconds": step_seconds(round(batch), k) * (1 + context / 1e5),
        "samples": 60,
        "eager": False,
    }
    return ServedCell(**(values | changes))  # type: ignore[arg-type]


def cells(
    batches: Iterable[int] = (1, 2, 4, 8, 16, 32), factor: float = 1.0, noise: float = 0.0
) -> tuple[ServedCell, ...]:
    rng = random.Random(1)  # noqa: S311  # seeded, no secret
    found = [cell(batch, k) for batch in batches for k in LADDER]
    return tuple(replace(one, seconds=one.seconds * factor * rng.gauss(1.0, noise)) for one in found)


def written(effects: Iterable[Effect]) -> list[WriteServedProfile]:
    return [effect for effect in effects if isinstance(effect, WriteServedProfile)]
