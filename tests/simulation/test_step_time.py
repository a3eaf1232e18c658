"""The truth about step times: tables, linear costs, graphs, drafting that always costs the maximum, drift."""

import pytest

from tests.simulation.builders import LINEAR, engine_file
from turbospec.simulation.files import DriftSpec, EngineFile
from turbospec.simulation.step_time import StepTime, Work

TABLE = {"batch": [1, 16, 64], "draftTokens": [0, 1, 3], "milliseconds": [[7, 8, 10], [9, 11, 16], [15, 20, 40]]}


def seconds(
    spec: EngineFile, batch: int, k: int, *, kv: int = 0, prefill: int = 0, drift: DriftSpec | None = None
) -> float:
    step_time = StepTime(spec)
    step_time.drift = drift
    return step_time.seconds(Work(batch, k, batch * k, k, kv, prefill))


def table(**changes: object) -> EngineFile:
    return engine_file(stepTime={"table": TABLE}, maxNumSeqs=256, maxNumBatchedTokens=8192, **changes)


@pytest.mark.parametrize(
    ("batch", "k", "milliseconds"),
    [
        (1, 0, 7), (16, 1, 11), (64, 3, 40),  # at the cells
        (16, 2, 13.5), (40, 0, 12), (40, 1, 15.5),  # between them
        (112, 0, 21), (64, 5, 60), (112, 5, 99),  # beyond them, with the border's slope
    ],
)  # fmt: skip
def test_a_table_is_bilinear_within_and_outside_its_grid(batch: int, k: int, milliseconds: float) -> None:
    """Exact at cells, linear between and beyond."""
    assert seconds(table(), batch, k) == pytest.approx(milliseconds / 1e3)


def test_a_table_takes_prefill_from_its_rate() -> None:
    """``prefillTokensPerSecond`` adds to the step."""
    spec = table(prefillTokensPerSecond=10_000)
    assert seconds(spec, 16, 1, prefill=500) == pytest.approx(0.011 + 0.05)


def test_linear_costs_add_up() -> None:
    """Target, draft passes and overhead, as ENGINE.yaml describes them."""
    assert seconds(engine_file(), 10, 3, kv=5000, prefill=200) == pytest.approx(
        6e-3 + 1e-3 + 4e-8 * 5000 + 2e-5 * (200 + 40) + 3 * 1e-3 + 1e-6 * 30
    )


def test_graphs_pad_up_and_end() -> None:
    """Within the sizes a step costs what its graph costs; above the last it is eager and unpadded."""
    spec = engine_file(graph={"paddedTo": [8, 32], "eagerFactor": 1.5})
    assert seconds(spec, 9, 0) == seconds(spec, 32, 0)
    assert seconds(spec, 8, 0) == seconds(engine_file(), 8, 0)
    assert seconds(spec, 33, 0) == pytest.approx(1.5 * seconds(engine_file(), 33, 0))
    assert seconds(spec, 4, 0, drift=DriftSpec(at=0, graphs_lost=True)) == pytest.approx(
        1.5 * seconds(engine_file(), 4, 0)
    )


def test_some_drafters_always_cost_the_maximum() -> None:
    """K = 1 and K = 7 differ by verification only; K = 0 does not draft."""
    spec = engine_file(draftAlways=True)
    assert seconds(spec, 4, 7) - seconds(spec, 4, 1) == pytest.approx(2e-5 * 24)
    assert seconds(spec, 4, 0) == seconds(engine_file(), 4, 0)
    assert StepTime(spec).seconds(Work(0, 3, 0, 0, 0, 100)) > 0


@pytest.mark.parametrize("spec", [engine_file(), table()], ids=["linear", "table"])
def test_drift_scales_its_own_part_only(spec: EngineFile) -> None:
    """A factor of 1 everywhere changes nothing; each factor lengthens what it is about."""
    same = DriftSpec(at=0)
    assert seconds(spec, 16, 3, drift=same) == pytest.approx(seconds(spec, 16, 3))
    assert seconds(spec, 16, 3, drift=DriftSpec(at=0, factor=1.25)) == pytest.approx(1.25 * seconds(spec, 16, 3))
    dearer = DriftSpec(at=0, draft_factor=2.0)
    assert seconds(spec, 16, 0, drift=dearer) == pytest.approx(seconds(spec, 16, 0))
    assert seconds(spec, 16, 3, drift=dearer) > seconds(spec, 16, 3)
    tokens = DriftSpec(at=0, per_token_factor=2.0)
    grown = seconds(spec, 16, 3, drift=tokens) - seconds(spec, 16, 3)
    assert grown > seconds(spec, 16, 0, drift=tokens) - seconds(spec, 16, 0) > 0


def test_fewer_drafts_cost_less() -> None:
    """A lookup drafter that finds half of the drafts pays for half of the tokens."""
    whole = StepTime(engine_file()).seconds(Work(10, 3, 30.0, 3, 0, 0))
    half = StepTime(engine_file()).seconds(Work(10, 3, 15.0, 3, 0, 0))
    assert whole - half == pytest.approx(15 * (LINEAR["secondsPerBatchedToken"] + LINEAR["draftSecondsPerToken"]))
