"""What the fleet loop would say, at the end of a day, of starting these pods with the drafter or without."""

import math

from turbospec.fleet.worth import Worth, worth
from turbospec.simulation.fleet.arms import Arm, measured_of
from turbospec.simulation.fleet.engines import as_plain
from turbospec.simulation.fleet.files import FleetScenario
from turbospec.simulation.fleet.load_signal import LoadRatio
from turbospec.simulation.fleet.loops import objective_of

ERRORS = 2.0
"""Standard errors that a claim is held to: about 95%."""


def worth_of(scenario: FleetScenario, arm: Arm) -> Worth | None:
    """By profiles of both engines, and by the text and the lengths that the fleet has seen; None where the engine file
    does not say what the engine is without the drafter, or where one of them is not known."""
    spec, signal = scenario.spec.engine, arm.signal
    if spec.plain is None or signal is None or signal.lengths is None:
        return None
    other = as_plain(scenario)
    known, measured = measured_of(spec), measured_of(other)
    plain = LoadRatio(other, measured.model, (0,), objective_of(scenario.spec.objective), lambda: ())
    error = ERRORS * math.hypot(known.hold_out_error, measured.hold_out_error)
    return worth(signal.engine, plain.engine, signal.lengths, error)
