"""What the fleet loop would say, at the end of a day, of starting these pods with the drafter or without."""

from turbospec.fleet.worth import Worth, worth
from turbospec.simulation.fleet.arms import Arm, measured_of, plain_view
from turbospec.simulation.fleet.engines import as_plain
from turbospec.simulation.fleet.files import FleetScenario


def worth_of(scenario: FleetScenario, arm: Arm) -> Worth | None:
    """By profiles of both engines, and by the text and the lengths that the fleet has seen; None where the engine file
    does not say what the engine is without the drafter, or where one of them is not known."""
    spec, signal = scenario.spec.engine, arm.signal
    if spec.plain is None or signal is None or signal.lengths is None:
        return None
    errors = (measured_of(spec).hold_out_error, measured_of(as_plain(scenario)).hold_out_error)
    return worth(signal.engine, plain_view(scenario), signal.lengths, errors)
