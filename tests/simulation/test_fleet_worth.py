"""What is said of a simulated fleet's drafter: through the operator's own function, from profiles of both engines."""

import pytest

from tests.simulation.fleet_builders import scenario
from turbospec.control.latency import build_plain_model, hold_out_error
from turbospec.fleet.snapshot import PlainView
from turbospec.fleet.worth import Variant, worth
from turbospec.simulation.fleet.advice import worth_of
from turbospec.simulation.fleet.arms import arm_named, measured_of
from turbospec.simulation.fleet.engines import as_plain
from turbospec.simulation.fleet.files import MetricName
from turbospec.simulation.fleet.run import FleetSimulation, Scaling

SECONDS = 60.0


@pytest.mark.parametrize(
    ("speedup", "acceptance", "wanted"),
    [(1.05, [0.8, 0.75, 0.7], Variant.SPECULATIVE), (1.4, [0.3, 0.2, 0.1], Variant.PLAIN)],
    ids=["easy text", "a costly drafter"],
)
def test_a_day_says_which_pods_to_start(speedup: float, acceptance: list[float], wanted: Variant) -> None:
    """And a profile as Jobs write it, of which only cells of K = 0 are without the drafter, says the same."""
    load = {"seconds": SECONDS, "requestsPerSecond": 10, "promptTokens": 200, "outputTokens": 150}
    given = scenario(
        {"plain": {"speedup": speedup, "kvCacheTokens": 110_000}}, load=[{**load, "acceptance": acceptance}]
    )
    arm = arm_named("turbospec", given, 1)
    simulation = FleetSimulation(given, arm, Scaling(MetricName.EXPECTED_PODS, 0.8), 1)
    found = simulation.run().worth
    assert found is not None
    assert found.recommended is wanted
    assert arm.signal is not None
    assert arm.signal.lengths is not None
    known, other = measured_of(given.spec.engine), as_plain(given)
    cells = [cell for cell in measured_of(other).model.cells if not cell.draft_tokens]
    error = hold_out_error([cell.sample() for cell in cells])
    by_job = PlainView(build_plain_model(cells, known.model.fit), other.kv_cache_tokens, 20.0, error)
    again = worth(arm.signal.engine, by_job, arm.signal.lengths, (known.hold_out_error, error))
    assert again is not None
    assert again.recommended is wanted
    assert (again.low, again.high) == pytest.approx((found.low, found.high), abs=0.1)
    assert worth_of(scenario(), arm) is None
