"""What is learnt of a text from counts per draft position."""

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.control.stepwise import feed
from turbospec.control.acceptance import AcceptanceEstimator, Prior


@dataclass(frozen=True)
class Counts:
    """One step's drafts."""

    asked_draft_tokens: int
    drafting_requests: int
    drafted_per_position: tuple[int, ...]
    accepted_per_position: tuple[int, ...]


NOTHING = Counts(0, 0, (0, 0, 0, 0), (0, 0, 0, 0))


def drafts(
    rng: random.Random, requests: int, k: int, acceptance: list[float], draft_yield: list[float] | None = None
) -> Counts:
    """A step of ``requests`` requests, each drafting and accepting by chance; conditional rates, four positions."""
    drafted, accepted = [0] * 4, [0] * 4
    for _ in range(requests):
        alive = True
        for j in range(k):
            if draft_yield is not None and rng.random() >= draft_yield[j]:
                break
            drafted[j] += 1
            alive = alive and rng.random() < acceptance[j]
            accepted[j] += alive
    return Counts(k, requests, tuple(drafted), tuple(accepted))


def learn(estimator: AcceptanceEstimator, steps: int, requests: int, k: int, acceptance: list[float]) -> None:
    rng = random.Random(steps + requests)  # noqa: S311  # seeded, no secret
    feed(estimator, (drafts(rng, requests, k, acceptance) for _ in range(steps)))


def acceptance_of(estimator: AcceptanceEstimator) -> list[float]:
    values = [estimate.acceptance for estimate in estimator.estimate()]
    assert None not in values
    return [value for value in values if value is not None]


def test_nothing_observed_is_unknown_and_steps_without_drafts_stay_unknown() -> None:
    """Zero drafts is unknown, neither 0 nor 1."""
    estimator = AcceptanceEstimator(4)
    feed(estimator, [NOTHING] * 100)
    assert all(e.acceptance is None and e.draft_yield is None and e.samples == 0 for e in estimator.estimate())


def test_acceptance_is_conditional_by_position() -> None:
    """Each position's own rate is found, given that those before were accepted."""
    truth = [0.9, 0.6, 0.8, 0.3]
    estimator = AcceptanceEstimator(4)
    learn(estimator, 400, 16, 4, truth)
    assert acceptance_of(estimator) == pytest.approx(truth, abs=0.06)


def test_samples_count_not_steps() -> None:
    """One step of 200 requests outweighs ten steps of one request."""
    estimator = AcceptanceEstimator(4)
    # In one block, so that no change of text is suspected between them.
    estimator.learn([Counts(1, 1, (1, 0, 0, 0), (0, 0, 0, 0))] * 9 + [Counts(1, 50, (50, 0, 0, 0), (50, 0, 0, 0))])
    assert acceptance_of(estimator)[0] == pytest.approx(50 / 59, abs=0.01)


def test_yield_is_apart_from_acceptance() -> None:
    """Drafts that are not found lower the yield of their position, not the acceptance of it or of deeper ones."""
    rng = random.Random(5)  # noqa: S311  # seeded, no secret
    estimator = AcceptanceEstimator(4)
    feed(estimator, (drafts(rng, 16, 4, [0.8] * 4, [0.5, 0.9, 0.9, 0.9]) for _ in range(400)))
    estimates = estimator.estimate()
    assert acceptance_of(estimator) == pytest.approx([0.8] * 4, abs=0.08)
    yields = [e.draft_yield for e in estimates]
    assert yields == pytest.approx([0.5, 0.45, 0.405, 0.3645], abs=0.05)


def test_yield_counts_only_requests_asked_for_a_draft_that_long() -> None:
    """Steps at K = 1 say nothing of the yield of position 1."""
    rng = random.Random(6)  # noqa: S311  # seeded, no secret
    estimator = AcceptanceEstimator(4)
    feed(estimator, (drafts(rng, 8, 1 if step % 2 else 3, [0.7] * 4) for step in range(200)))
    assert [e.draft_yield for e in estimator.estimate()] == [1.0, 1.0, 1.0, 1.0]


def test_positions_not_drafted_are_inferred_from_shallower_ones_not_zero() -> None:
    """After K = 1 only, deeper positions share the first one's acceptance and have no samples."""
    estimator = AcceptanceEstimator(4)
    learn(estimator, 100, 8, 1, [0.7] * 4)
    estimates = estimator.estimate()
    assert acceptance_of(estimator)[1:] == pytest.approx([acceptance_of(estimator)[0]] * 3, abs=0.01)
    assert [e.samples for e in estimates[1:]] == [0.0, 0.0, 0.0]


def test_a_change_seen_at_the_first_position_moves_deep_ones_with_it() -> None:
    """Deep positions keep their learnt distance from the first one when only that is observed."""
    estimator = AcceptanceEstimator(4)
    learn(estimator, 400, 16, 4, [0.8, 0.5, 0.5, 0.5])
    learn(estimator, 60, 16, 1, [0.3, 0.0, 0.0, 0.0])
    first, second, *_ = acceptance_of(estimator)
    assert first == pytest.approx(0.3, abs=0.06)
    assert 0.02 < second < first


@pytest.mark.parametrize(("requests", "steps"), [(1, 60), (4, 40), (16, 25), (64, 12)])
@pytest.mark.parametrize(("before", "after"), [(0.9, 0.2), (0.05, 0.9), (0.8, 0.3)])
def test_a_change_of_text_is_seen_within_steps(requests: int, steps: int, before: float, after: float) -> None:
    """60 steps at batch 1 are 1.8 s at 30 ms; larger batches see it sooner."""
    estimator = AcceptanceEstimator(4)
    learn(estimator, 600, requests, 1, [before] * 4)
    learn(estimator, steps, requests, 1, [after] * 4)
    assert acceptance_of(estimator)[0] == pytest.approx(after, abs=0.2)
    assert estimator.changes >= 1


def test_a_steady_text_is_hardly_ever_taken_for_a_change() -> None:
    """20,000 steps of one text: at most a few false alarms."""
    alarms = 0
    for p in (0.05, 0.5, 0.95):
        estimator = AcceptanceEstimator(4)
        learn(estimator, 20_000, 1, 3, [p] * 4)
        alarms += estimator.changes
        assert acceptance_of(estimator)[0] == pytest.approx(p, abs=0.08)
    assert alarms <= 6


def test_one_probe_burst_shows_a_return_of_acceptance() -> None:
    """After long K = 0, eight drafts suffice to tell 0.9 from 0.05."""
    estimator = AcceptanceEstimator(4)
    learn(estimator, 200, 8, 1, [0.05] * 4)
    feed(estimator, [*[NOTHING] * 500, Counts(1, 8, (8, 0, 0, 0), (7, 0, 0, 0))])
    assert acceptance_of(estimator)[0] > 0.6


def test_a_change_of_yield_is_seen_too() -> None:
    """A drafter that starts finding drafts is believed at once."""
    rng = random.Random(9)  # noqa: S311  # seeded, no secret
    estimator = AcceptanceEstimator(4)
    feed(estimator, (drafts(rng, 4, 3, [0.9] * 4, [0.02, 1, 1, 1]) for _ in range(300)))
    feed(estimator, (drafts(rng, 4, 3, [0.9] * 4, [0.9, 1, 1, 1]) for _ in range(20)))
    first = estimator.estimate()[0]
    assert first.draft_yield == pytest.approx(0.9, abs=0.15)


def test_misses_of_one_step_are_one_event() -> None:
    """Sixteen requests that have just finished prefill find no draft at once: neither yield nor acceptance are lost."""
    estimator = AcceptanceEstimator(4)
    learn(estimator, 300, 8, 3, [0.8] * 4)
    before = estimator.estimate()
    estimator.learn([Counts(3, 16, (0, 0, 0, 0), (0, 0, 0, 0))])
    after = estimator.estimate()
    assert estimator.changes == 0
    assert after[0].draft_yield is not None
    assert after[0].draft_yield > 0.9
    assert [e.acceptance for e in after] == pytest.approx([e.acceptance for e in before], abs=1e-3)


def test_a_drafter_that_stops_finding_drafts_leaves_acceptance_known() -> None:
    """The yield is learnt anew; what is drafted is accepted as before."""
    estimator = AcceptanceEstimator(4)
    learn(estimator, 300, 8, 3, [0.8] * 4)
    feed(estimator, [Counts(3, 8, (0, 0, 0, 0), (0, 0, 0, 0))] * 40)
    first = estimator.estimate()[0]
    assert estimator.changes == 1
    assert first.draft_yield is not None
    assert first.draft_yield < 0.05
    assert first.acceptance == pytest.approx(0.8, abs=0.04)
    assert first.samples > 1000


def test_a_prior_carries_a_new_engine_and_is_outweighed() -> None:
    """A prior is the estimate at first; a wrong one is gone after a second of drafts, however sure it was."""
    estimator = AcceptanceEstimator(4)
    estimator.set_prior([Prior(0.9, 1e6), Prior(0.8, 1e6)])
    assert acceptance_of(estimator)[:2] == pytest.approx([0.9, 0.8], abs=0.03)
    assert estimator.estimate()[0].samples == 0.0
    learn(estimator, 30, 1, 3, [0.3] * 4)
    assert acceptance_of(estimator)[0] < 0.5
    learn(estimator, 300, 1, 3, [0.3] * 4)
    assert acceptance_of(estimator)[0] == pytest.approx(0.3, abs=0.1)


def test_a_prior_does_not_touch_own_evidence() -> None:
    """Repeated priors change nothing on an engine that has observed for itself."""
    estimator = AcceptanceEstimator(4)
    learn(estimator, 200, 8, 4, [0.6] * 4)
    before = estimator.estimate()
    estimator.set_prior([Prior(0.05, 1e6)] * 4)
    assert estimator.estimate() == before


@pytest.mark.parametrize(
    "entry", [Prior(1.1, 5), Prior(-0.1, 5), Prior(float("nan"), 5), Prior(0.5, -1), Prior(0.5, float("nan"))]
)
def test_an_impossible_prior_is_refused_and_changes_nothing(entry: Prior) -> None:
    """Refusals are whole: the valid entries are not taken over either."""
    estimator = AcceptanceEstimator(4)
    with pytest.raises(ValueError, match="prior of position 1"):
        estimator.set_prior([Prior(0.9, 10), entry])
    assert estimator.estimate()[0].acceptance is None


@pytest.mark.parametrize(
    "record",
    [
        Counts(2, 4, (4, 4, 0, 0), (5, 0, 0, 0)),
        Counts(2, 4, (2, 4, 0, 0), (1, 1, 0, 0)),
        Counts(2, 4, (4, 4, 0, 0), (1, 3, 0, 0)),
        Counts(2, 4, (-4, -4, 0, 0), (-5, -5, 0, 0)),
        Counts(4, 4, (4, 4), (1, 1)),
        Counts(2, 4, (float("nan"), 4, 0, 0), (1, 1, 0, 0)),  # type: ignore[arg-type]
        Counts(2, 4, (float("inf"), 4, 0, 0), (1, 1, 0, 0)),  # type: ignore[arg-type]
    ],
)
def test_contradictory_counts_are_ignored_and_counted(record: Counts) -> None:
    """accepted > drafted, counts that rise with depth, NaN: nothing is learnt."""
    estimator = AcceptanceEstimator(4)
    estimator.learn([record])
    assert estimator.ignored == 1
    assert estimator.estimate()[0].acceptance is None


def test_staleness_counts_steps_since_a_position_was_seen() -> None:
    """None where it never was."""
    estimator = AcceptanceEstimator(4)
    assert estimator.staleness(0) is None
    estimator.learn([Counts(1, 2, (2, 0, 0, 0), (1, 0, 0, 0))])
    estimator.learn([NOTHING] * 7)
    assert estimator.staleness(0) == 7
    assert estimator.staleness(1) is None


plausible_counts = st.builds(
    lambda k, requests, cuts, kept: Counts(
        k,
        requests,
        tuple((sorted((min(c, requests) for c in cuts), reverse=True)[j] if j < k else 0) for j in range(4)),
        tuple(
            min(
                sorted((min(c, requests) for c in cuts), reverse=True)[j],
                sorted((min(c, requests) for c in kept), reverse=True)[j],
            )
            if j < k
            else 0
            for j in range(4)
        ),
    ),
    st.integers(0, 4),
    st.integers(1, 6),
    st.lists(st.integers(0, 300), min_size=4, max_size=4),
    st.lists(st.integers(0, 300), min_size=4, max_size=4),
)


@given(st.lists(plausible_counts, max_size=60))
def test_estimates_stay_within_bounds(records: list[Counts]) -> None:
    """Whatever is observed: rates in [0, 1], yields that do not rise with depth, samples not negative."""
    estimator = AcceptanceEstimator(4)
    feed(estimator, records)
    assert estimator.ignored == 0
    last_yield = 1.0
    for estimate in estimator.estimate():
        assert estimate.acceptance is None or 0.0 <= estimate.acceptance <= 1.0
        assert estimate.samples >= 0.0
        if estimate.draft_yield is not None:
            assert 0.0 <= estimate.draft_yield <= last_yield
            last_yield = estimate.draft_yield


@given(st.permutations(range(9)), st.lists(plausible_counts, min_size=9, max_size=9))
def test_the_order_within_a_block_does_not_matter(order: list[int], records: list[Counts]) -> None:
    """Pooled sums: any order of the steps that are learnt together gives the same estimate."""
    forward, shuffled = AcceptanceEstimator(4), AcceptanceEstimator(4)
    forward.learn(records)
    shuffled.learn([records[i] for i in order])
    for one, other in zip(forward.estimate(), shuffled.estimate(), strict=True):
        assert one.acceptance == pytest.approx(other.acceptance)
        assert one.draft_yield == pytest.approx(other.draft_yield)
        assert one.samples == pytest.approx(other.samples)


def test_an_engine_that_never_drafts_has_no_estimator() -> None:
    """max_draft_tokens below 1 is refused."""
    with pytest.raises(ValueError, match="never drafts"):
        AcceptanceEstimator(0)
