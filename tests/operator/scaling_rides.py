"""What happens to fleets under an autoscaler: load that jumps and falls, and series that go away."""

import asyncio
import math
from collections.abc import Sequence

from e2e.autoscaling.external_metrics import SHARE
from tests.operator.scaled_fleets import DOWN_SECONDS, SYNC_SECONDS, Fleet, World
from turbospec.simulation.fleet.hpa import Form, ObservedPod, Reading, proposal

RATIO = "keda-ratio.yaml"
WHOLE = "keda-whole-pods.yaml"
SIZES = (1, 11, 30)
TARGET = 0.8


def wanted(example: str, replicas: int, load: float) -> int:
    """What the fleet simulator's autoscaler asks for."""
    if example == RATIO:
        reading = Reading(Form.VALUE, TARGET, load / replicas)
    elif example == WHOLE:
        reading = Reading(Form.AVERAGE_VALUE, 1.0, math.ceil(load / SHARE))
    else:
        reading = Reading(Form.AVERAGE_VALUE, TARGET, load)
    found = proposal(reading, replicas, [ObservedPod(str(number)) for number in range(replicas)])
    assert found is not None
    return max(1, found)


async def settles(fleet: Fleet, example: str, share: float) -> None:
    """After a change of load to this share of the present one."""
    assert fleet.load is not None
    fleet.load *= share
    await fleet.rests_at(wanted(example, fleet.replicas[-1], fleet.load))


async def ride(world: World, example: str, replicas: int) -> list[int]:
    """The replicas asked for at rest, when load nearly doubles from one second to the next, and when most of it goes.

    Pods take six syncs to be Ready, and what the autoscaler reads is two syncs old at most, as with a Prometheus that
    scrapes twice a minute.
    """
    start, scrape = 6 * SYNC_SECONDS, 2 * SYNC_SECONDS
    async with world.fleet(example, replicas, start_seconds=start, scrape_seconds=scrape) as fleet:
        await fleet.syncs(4)
        await settles(fleet, example, 1.9)
        await settles(fleet, example, 0.4)
        assert fleet.condition("ScalingActive") == "True"
        return fleet.replicas


async def rides(world: World, examples: Sequence[str]) -> list[list[int]]:
    """The ride under each example's autoscaler, at 1, 11 and 30 replicas, side by side."""
    cases = [(example, replicas) for example in examples for replicas in SIZES]
    return await asyncio.gather(*(ride(world, *case) for case in cases))


async def blind_for_a_while(world: World, example: str) -> None:
    """Three pods whose load is not known while it falls: they stay three, until it is known again."""
    async with world.fleet(example, 3) as fleet:
        await fleet.syncs(2)
        fleet.load = None
        await fleet.syncs(2 * round(DOWN_SECONDS / SYNC_SECONDS))
        assert (fleet.replicas, fleet.condition("ScalingActive")) == ([3], "False")
        fleet.load = 0.8
        await fleet.rests_at(1)
        assert fleet.condition("ScalingActive") == "True"
