"""The same for reasons about what speculation is worth to a fleet."""

from typing import Any

from tests.operator import shop
from tests.operator.reason_fleet import CASES, Case, Fleet, gives
from tests.operator.samples import MICROSECONDS_PER_STEP, MICROSECONDS_PER_TOKEN

ROUNDS = 8
"""Of 11 s: worked out anew every minute, once lengths are known."""
ACCEPTANCE = [{"acceptance": 0.8, "draftYield": 1.0, "samples": 200.0}] * 5


def plain(speedup: float, **changes: Any) -> dict[str, Any]:
    """The sample engine without its drafter, faster by so much."""
    cells = [
        {
            "batch": batch,
            "contextTokens": 256,
            "microseconds": round((MICROSECONDS_PER_STEP + MICROSECONDS_PER_TOKEN * batch) / speedup),
            "samples": 9,
        }
        for batch in (1, 2, 4, 8, 16)
    ]
    return {"cells": cells, "kvCacheTokens": 120_000, "startSeconds": 20, **changes}


async def serves(fleet: Fleet, rounds: int = ROUNDS) -> None:
    """A policy and an engine whose requests begin and end; four of five drafts are accepted."""
    engine = await fleet.engine()
    await fleet.policy()
    for number in range(1, rounds + 1):
        counts = {"arrived": 20 * number, "admitted": 20 * number, "finished": 20 * number}
        tokens = {"promptTokens": 4000 * number, "prefillTokens": 4000 * number, "outputTokens": 6000 * number}
        engine.more = {"requests": counts | tokens, "acceptance": ACCEPTANCE}
        await fleet.rounds(1)


def _worth(reason: str, recommended: str, speedup: float) -> None:
    async def done(fleet: Fleet) -> None:
        await fleet.profile(plain=plain(speedup), holdOutErrorPermille=20)
        await serves(fleet)
        (row,) = (await shop.policy_status(fleet.admin, fleet.namespace))["scaleTargets"]
        assert (row["target"], row["reason"], row["recommended"]) == ("pod/chat-1", reason, recommended)
        assert row["replicasSavedPercentAtLeast"] < row["replicasSavedPercentAtMost"]

    CASES[f"worth_{reason}"] = Case(frozenset({reason, "WorthPending"}), done)


_worth("SavesReplicas", "Speculative", 1.0)
_worth("WorthUnclear", "Either", 2.75)
_worth("PlainIsBetter", "Plain", 4.0)


@gives("PlainNotMeasured")
async def a_profile_without_the_plain_engine(fleet: Fleet) -> None:
    await fleet.profile()
    await serves(fleet, 2)


@gives("PlainRefused")
async def a_plain_engine_without_a_cache(fleet: Fleet) -> None:
    await fleet.profile(plain=plain(1.0, kvCacheTokens=0))
    await serves(fleet, 2)


@gives("ErrorUnknown")
async def a_profile_that_does_not_say_how_good_it_is(fleet: Fleet) -> None:
    await fleet.profile(plain=plain(1.0), holdOutErrorPermille=None)
    await serves(fleet, 2)
