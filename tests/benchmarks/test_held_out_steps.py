"""The accuracy of a profile: errors against medians of repeats, and the noise of a repeat against the others."""

import json
import math
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.profiles.drafter import make_drafter
from benchmarks.profiles.held_out import POINTS, Step, compare, measure_repeats
from tests.profiling.test_evaluate import record
from turbospec.control.latency import FitCoefficients, LatencyModel, MeasuredCell
from turbospec.control.step import StepRecord
from turbospec.profiling.evaluate import TooFewSamplesError
from turbospec.profiling.grid import CellPlan, SweepLimits, plan_between, plan_sweep
from turbospec.profiling.measure import CellError

MODEL = LatencyModel(
    tuple(MeasuredCell(b, 200, k, 0, 0.010 + 0.001 * b * (1 + k), 10) for b in (1, 8) for k in (0, 3)),
    FitCoefficients(0.010, 0.001, 0.0, 0.0, 0.0, 0.0),
)


def repeats(factors: tuple[float, ...]) -> list[dict[tuple[int, int], Step]]:
    """One repeat for each factor on the model's own times, at batches that it has no cells for."""
    return [
        {(b, k): Step(factor * (0.010 + 0.001 * b * (1 + k)), 200) for b in (3, 5) for k in (0, 3)}
        for factor in factors
    ]


def test_error_is_against_the_median_of_the_repeats() -> None:
    """Engines 10% slower than predicted: every K is off by 1 - 1 / 1.1, their ratio is right, repeats differ by 2%."""
    found = compare(MODEL, repeats((1.1, 1.1 * 1.02, 1.1 / 1.02)))
    assert [one.draft_tokens for one in found] == [0, 3]
    for one in found:
        assert one.error == pytest.approx(1 - 1 / 1.1, abs=1e-3)
        assert one.worst == pytest.approx(one.error, abs=1e-3)
        assert one.ratio == pytest.approx(0.0, abs=1e-3)
        assert 0.009 < one.noise < 0.032


def test_a_point_that_lacks_a_repeat_is_left_out() -> None:
    """Nothing is compared with fewer repeats than the rest."""
    seen = repeats((1.0, 1.0, 1.0))
    del seen[1][5, 3]
    seen[0][5, 3] = Step(9.0, 200)
    assert compare(MODEL, seen)[1].worst == pytest.approx(0.0, abs=1e-6)


def test_no_held_out_point_is_on_the_grid() -> None:
    """Neither batch nor context of one is measured by the run: but for batch 1, whose context is not."""
    limits = SweepLimits(16, 4096, 1024, 20_000, (0, 1, 3, 5))
    grid = {(plan.batch, plan.prompt_tokens) for plan in (*plan_sweep(limits), *plan_between(limits))}
    assert {plan.batch for plan in POINTS} & {batch for batch, _ in grid} == {1}
    assert not {plan.prompt_tokens for plan in POINTS} & {prompt for _, prompt in grid}


def test_a_drafter_is_the_first_layers_of_its_model(tmp_path: Path) -> None:
    """Config and tensors agree; what belongs to no layer is kept."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"num_hidden_layers": 4, "vocab_size": 2}))
    names = [
        "model.embed_tokens.weight",
        *(f"model.layers.{layer}.mlp.weight" for layer in range(4)),
        "model.norm.weight",
    ]
    header = {name: {"dtype": "BF16", "shape": [1], "data_offsets": [2 * i, 2 * i + 2]} for i, name in enumerate(names)}
    text = json.dumps(header).encode()
    data = b"".join(bytes([i, i]) for i in range(len(names)))
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    out = make_drafter(model, tmp_path / "drafter", layers=2)
    assert json.loads((out / "config.json").read_text())["num_hidden_layers"] == 2
    raw = (out / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    kept = json.loads(raw[8 : 8 + length])
    values = {name: raw[8 + length + entry["data_offsets"][0]] for name, entry in kept.items()}
    assert values == {names[0]: 0, names[1]: 1, names[2]: 2, names[5]: 5}


class FailingMeter:
    """Measures each point every second time; the other times it fails."""

    def __init__(self, *, always: bool = False) -> None:
        self.calls = Counter[CellPlan]()
        self.always = always

    def measure(
        self, plan: CellPlan, draft_tokens: Sequence[int], rounds: int, *, slow: float, last: float
    ) -> list[StepRecord]:
        assert slow == last == math.inf
        self.calls[plan] += 1
        if self.always or self.calls[plan] % 2:
            raise CellError("too late")
        return [record(plan, k) for k in draft_tokens for _ in range(3 * rounds)]


def test_measurements_that_fail_are_said_and_made_up_for() -> None:
    """In twice as many turns at most: a busy machine gets its figures, with their noise; a hopeless one a reason."""
    said: list[str] = []
    found = measure_repeats(FailingMeter(), (0, 3), 3, 16, said.append)
    for plan in POINTS:
        assert sum((plan.batch, 3) in repeat for repeat in found) == 3
    assert "once more: too late" in said[0]
    hopeless = measure_repeats(FailingMeter(always=True), (0, 3), 3, 16, said.append)
    with pytest.raises(TooFewSamplesError, match="too busy"):
        compare(MODEL, hopeless)
