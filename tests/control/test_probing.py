"""Probes are paid for."""

from turbospec.control.probing import BUDGET, BURST_SAMPLES, SAVINGS_SECONDS, Burst, Prober


def plan(prober: Prober, stale: int | None = 100, cost: float = 0.001, batch: int = 1, gap: int = 60) -> Burst | None:
    return prober.plan(draft_tokens=1, batch=batch, stale_steps=stale, gap_steps=gap, cost_seconds=cost)


def test_fresh_evidence_is_not_probed() -> None:
    """Nothing is due before the gap is over."""
    assert plan(Prober(), stale=59) is None
    assert plan(Prober(), stale=60) is not None


def test_the_unknown_is_looked_at_at_once_and_then_not_before_the_gap() -> None:
    """A burst that found no drafts is not repeated every rebuild."""
    prober = Prober()
    assert plan(prober, stale=None, cost=10.0) is not None
    for _ in range(59):
        prober.earn(0.02)
        assert plan(prober, stale=None) is None
    prober.earn(0.02)
    assert plan(prober, stale=None) is not None


def test_a_burst_is_sized_in_drafts_not_steps() -> None:
    """Eight steps at batch 1, one at batch 8 and more."""
    for batch, steps in ((1, BURST_SAMPLES), (4, 2), (8, 1), (200, 1)):
        burst = plan(Prober(), batch=batch, cost=0.0)
        assert burst is not None
        taken = 0
        while burst.take(batch):
            taken += 1
        assert taken == steps


def test_a_burst_ends_when_the_batch_has_outgrown_its_price() -> None:
    """Drafting for 64 requests is not what was paid for with 2."""
    burst = plan(Prober(), batch=2)
    assert burst is not None
    assert burst.take(2)
    assert not burst.take(64)


def test_an_hour_of_probing_stays_within_the_budget() -> None:
    """Whatever a burst costs, the sum is at most 1% of the time plus what was saved up at the start."""
    for cost in (1e-5, 0.001, 0.01, 0.1):
        prober = Prober()
        stale = 0
        for step in range(3600 * 50):
            prober.earn(0.02)
            stale += 1
            if step % 20 == 0:
                burst = plan(prober, stale=stale, cost=cost)
                while burst is not None and burst.take(1):
                    prober.charge(cost)
                    stale = 0
        report = prober.report()
        assert report.elapsed_seconds > 3599
        assert report.spent_seconds <= BUDGET * report.elapsed_seconds + SAVINGS_SECONDS
        assert report.bursts > 0


def test_time_that_is_not_known_earns_nothing() -> None:
    """Intervals that held a wait are counted as steps, not as time."""
    prober = Prober()
    prober.earn(None)
    assert prober.report().elapsed_seconds == 0.0
