"""What cells say beyond the fit: noise is taken out, signal is kept, doubt grows with distance."""

import math
from dataclasses import replace

import numpy as np
import pytest

from turbospec.control.latency import LatencyModel, MeasuredCell, fit_latency
from turbospec.profiling.accuracy import held_out
from turbospec.profiling.choose import most_worth
from turbospec.profiling.grid import CellPlan
from turbospec.profiling.surface import MEDIAN_LOSS, Surface, build_surface

KS = (0, 1, 3, 7)
BATCHES = (1, 2, 4, 8, 16, 32, 64)


def seconds(batch: int, context: int, k: int, bent: float = 0.0) -> float:
    """Step times of the fit's own form, and a bend over the batch that it does not have."""
    straight = 6e-3 + 2e-5 * batch * (1 + k) + 4e-8 * batch * context + 2e-3 * k
    return straight * (1.0 + bent * math.sin(math.log2(batch)))


def measured(*, noise: float = 0.0, bent: float = 0.0, samples: int = 10, seed: int = 1) -> list[MeasuredCell]:
    """Every batch at two contexts, with the noise of a median of so many samples."""
    rng = np.random.default_rng(seed)
    spread = noise * (MEDIAN_LOSS / samples) ** 0.5
    return [
        MeasuredCell(b, c, k, 0, seconds(b, c, k, bent) * float(1.0 + spread * rng.standard_normal()), samples)
        for b in BATCHES for c in (160, 1060) for k in KS
    ]  # fmt: skip


def surface(cells: list[MeasuredCell], noise: float) -> Surface:
    """The surface over their own fit."""
    fit = fit_latency([cell.sample() for cell in cells])
    return build_surface(cells, LatencyModel(tuple(cells), fit).refined(()), noise)


def error(cells: list[MeasuredCell], bent: float) -> float:
    """Root mean square of relative errors against the truth."""
    off = [cell.seconds / seconds(cell.batch, cell.context_tokens, cell.draft_tokens, bent) - 1.0 for cell in cells]
    return float(np.sqrt(np.mean(np.square(off))))


@pytest.mark.parametrize(("bent", "share"), [(0.0, 0.5), (0.05, 0.85)])
def test_noise_is_taken_out(bent: float, share: float) -> None:
    """More than half of it where the fit holds, still some where it does not."""
    cells = measured(noise=0.03, bent=bent)
    assert error(surface(cells, 0.03).smoothed(), bent) < share * error(cells, bent)


def test_what_the_fit_misses_is_kept() -> None:
    """Exact cells stay where they are, however far from the fit."""
    cells = measured(bent=0.05)
    assert error(surface(cells, 0.002).smoothed(), 0.05) < 0.002


def test_a_leap_between_two_k_is_not_smoothed_away() -> None:
    """K = 3 runs in a graph of its own and takes 20% less than its neighbours say, at every batch."""
    leap = [replace(c, seconds=c.seconds * (0.8 if c.draft_tokens == 3 else 1.0)) for c in measured(noise=0.03)]
    found = [cell for cell in surface(leap, 0.03).smoothed() if cell.draft_tokens == 3]
    off = [cell.seconds / (0.8 * seconds(cell.batch, cell.context_tokens, 3)) - 1.0 for cell in found]
    assert float(np.sqrt(np.mean(np.square(off)))) < 0.01


def test_doubt_grows_with_distance_and_falls_with_samples() -> None:
    """Small at a cell, larger between cells, larger still beyond them; noise of steps adds to it."""
    found = surface(measured(noise=0.03, bent=0.05), 0.03)
    at, between, beyond = (float(found.predict(b, 160, (0,))[1][0, 0]) for b in (8, 11, 512))
    assert at < between < beyond
    sure = surface(measured(noise=0.03, bent=0.05, samples=100), 0.03)
    assert float(sure.predict(8, 160, (0,))[1][0, 0]) < at


def test_held_out_points_tell_a_good_profile_from_a_bad_one() -> None:
    """Where the fit holds and steps are quiet the target is reached; a bend between the cells keeps it away."""
    good = measured(noise=0.01, samples=20)
    bad = measured(noise=0.01, samples=20, bent=0.2)
    fits = [fit_latency([cell.sample() for cell in cells]) for cells in (good, bad)]
    accurate, inaccurate = held_out(surface(good, 0.01), fits[0]), held_out(surface(bad, 0.01), fits[1])
    assert accurate is not None
    assert accurate.reached
    assert inaccurate is not None
    assert inaccurate.ratio_error > 0.02
    assert held_out(surface(good[:8], 0.01), fits[0]) is None


def test_the_next_cell_is_where_most_is_learnt_per_second() -> None:
    """A batch in a gap before one beside cells, at equal cost; a cell that takes a hundred times as long comes last."""
    cells = [cell for cell in measured(noise=0.03, bent=0.05) if cell.batch not in {8, 16}]
    found = surface(cells, 0.03)
    gap, beside = CellPlan(12, 136, 100), CellPlan(2, 136, 100)
    assert most_worth(found, {gap: 1.0, beside: 1.0}, KS, [10] * 4) == gap
    assert most_worth(found, {gap: 100.0, beside: 1.0}, KS, [10] * 4) == beside
    assert most_worth(found, {}, KS, [10] * 4) is None


def test_one_cell_is_enough_for_a_surface() -> None:
    """Nothing to smooth then, and no error."""
    cell = replace(measured()[0], samples=3)
    fit = fit_latency([c.sample() for c in measured()])
    found = build_surface([cell], LatencyModel((cell,), fit).refined(()), 0.03)
    assert found.smoothed()[0].seconds == pytest.approx(cell.seconds, rel=0.05)
