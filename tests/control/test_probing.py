"""Probes are due when ignorance has cost as much as they do, and are paid for."""

from turbospec.control.information import Option
from turbospec.control.probing import BUDGET, BURST_SAMPLES, SAVINGS_SECONDS, TIMING_STEPS, Burst, Prober


def ask(
    prober: Prober,
    *,
    gain: float = 0.1,
    cost: float = 0.001,
    batch: int = 1,
    seconds: float = 1.0,
    timing: bool = False,
) -> Burst | None:
    option = Option(1, gain, cost, timing)
    return prober.consider([option], batch=batch, seconds=seconds, tokens_per_second=100.0)


def test_a_probe_waits_until_ignorance_has_cost_as_much() -> None:
    """Eight steps of 10 ms against an expected gain of 1%: due after eight seconds."""
    prober = Prober()
    waited = 0
    while ask(prober, gain=0.01, cost=0.01) is None:
        waited += 1
        assert waited < 20
    assert waited in {7, 8}


def test_nothing_to_gain_is_never_looked_at() -> None:
    """However cheap."""
    prober = Prober()
    for _ in range(1000):
        prober.earn(1.0, 100)
        assert ask(prober, gain=0.0, cost=0.0) is None


def test_a_burst_is_not_repeated_at_once() -> None:
    """Its evidence must have arrived first."""
    prober = Prober()
    assert ask(prober, cost=0.0) is not None
    prober.earn(0.1, 10)
    assert ask(prober, cost=0.0) is None
    prober.earn(1.0, 200)
    assert ask(prober, cost=0.0) is not None


def test_a_burst_is_sized_in_drafts_not_steps() -> None:
    """Eight steps at batch 1, one at batch 8 and more; more where step times are what is asked for."""
    for batch, timing, steps in (
        (1, False, BURST_SAMPLES),
        (4, False, 2),
        (8, False, 1),
        (200, False, 1),
        (200, True, TIMING_STEPS),
    ):
        burst = ask(Prober(), batch=batch, cost=0.0, timing=timing)
        assert burst is not None
        taken = 0
        while burst.take(batch):
            taken += 1
        assert taken == steps


def test_a_burst_ends_when_the_batch_has_outgrown_its_price() -> None:
    """Drafting for 64 requests is not what was paid for with 2."""
    burst = ask(Prober(), batch=2)
    assert burst is not None
    assert burst.take(2)
    assert not burst.take(64)


def test_an_hour_of_probing_stays_within_the_budget() -> None:
    """Whatever a burst costs, the sum is at most 1% of the time plus what was saved up at the start."""
    for cost in (1e-5, 0.001, 0.01, 0.1):
        prober = Prober()
        for _ in range(3600):
            prober.earn(1.0, 50)
            burst = ask(prober, gain=0.5, cost=cost)
            while burst is not None and burst.take(1):
                prober.charge(cost)
        report = prober.report()
        assert report.elapsed_seconds == 3600.0
        assert report.spent_seconds <= BUDGET * report.elapsed_seconds + max(SAVINGS_SECONDS, BURST_SAMPLES * cost)
        assert (
            report.lost_tokens == 100.0 * report.spent_seconds
            or abs(report.lost_tokens - 100 * report.spent_seconds) < 1e-6
        )
        assert report.bursts > 0


def test_the_best_bargain_is_taken_first() -> None:
    """Of two K that are due the one that brings more for its price."""
    prober = Prober()
    found = [Option(1, 0.1, 0.001), Option(3, 0.1, 0.005)]
    burst = prober.consider(found, batch=8, seconds=1.0, tokens_per_second=1.0)
    assert burst is not None
    assert burst.draft_tokens == 1
