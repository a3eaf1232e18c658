"""Whether the latency model fits, by region of batches."""

import random

import pytest

from turbospec.control.region_fit import RegionFit, RegionMonitor


def feed(monitor: RegionMonitor, factor: float, blocks: int, *, batch: int = 32, noise: float = 0.03) -> None:
    rng = random.Random(f"{factor} {batch}")  # noqa: S311  # seeded, no secret
    for _ in range(blocks):
        monitor.observe(batch, [factor * rng.gauss(1.0, noise) for _ in range(12)])


def region(monitor: RegionMonitor, batch: int = 32) -> RegionFit:
    (found,) = [one for one in monitor.regions() if one.batch == batch]
    return found


@pytest.mark.parametrize(
    ("factor", "off"), [(1.0, False), (1.2, False), (0.8, False), (1.5, True), (2.0, True), (0.5, True), (0.7, True)]
)
def test_a_region_is_off_beyond_a_third_to_either_side(factor: float, off: bool) -> None:
    """Two blocks tell, and the ratio is said."""
    monitor = RegionMonitor()
    feed(monitor, factor, 2)
    assert monitor.off is off
    found = region(monitor)
    assert (found.steps, found.off) == (24, off)
    assert found.ratio == pytest.approx(factor, rel=0.02)


def test_one_block_is_a_hiccup_and_leaves_a_doubt() -> None:
    """The next one tells."""
    monitor = RegionMonitor()
    feed(monitor, 1.0, 20)
    feed(monitor, 3.0, 1)
    assert (monitor.off, monitor.doubtful) == (False, True)
    feed(monitor, 1.0, 1)
    assert (monitor.off, monitor.doubtful) == (False, False)


def test_blocks_off_to_both_sides_prove_nothing() -> None:
    """A machine that stutters is no other machine."""
    monitor = RegionMonitor()
    for _ in range(20):
        feed(monitor, 3.0, 1)
        feed(monitor, 0.4, 1)
        assert not monitor.off


def test_few_steps_are_no_block() -> None:
    """Two steps that were held up would otherwise be one."""
    monitor = RegionMonitor()
    for _ in range(20):
        monitor.observe(8, [5.0, 5.0])
    assert monitor.regions() == ()
    assert not monitor.off


def test_regions_are_octaves_and_apart() -> None:
    """Where the engine runs now decides what it says of itself; the others are still reported."""
    monitor = RegionMonitor()
    feed(monitor, 1.0, 3, batch=1)
    feed(monitor, 2.0, 3, batch=63)
    assert [(one.batch, one.off) for one in monitor.regions()] == [(1, False), (32, True)]
    assert monitor.off
    feed(monitor, 1.0, 1, batch=1)
    assert not monitor.off


def test_it_is_on_again_at_once_where_two_blocks_agree() -> None:
    """And what was measured before leaves no trace in the ratio."""
    monitor = RegionMonitor()
    feed(monitor, 2.0, 10)
    feed(monitor, 1.0, 2)
    assert not monitor.off
    assert region(monitor).ratio == pytest.approx(1.0, rel=0.02)


def test_outliers_are_no_drift() -> None:
    """A tenth of the steps five times as long."""
    rng = random.Random(3)  # noqa: S311  # seeded, no secret
    monitor = RegionMonitor()
    for _ in range(2000):
        monitor.observe(32, [rng.gauss(1.0, 0.03) * (5.0 if rng.random() < 0.1 else 1.0) for _ in range(12)])
        assert not monitor.off
