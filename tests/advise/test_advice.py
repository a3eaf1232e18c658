"""What is said of a group: an interval where it can be known, else what it takes to know it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.advise.builders import ACCEPTANCE, OUTPUT, PROMPT, SECONDS, group, model, seconds, window
from turbospec.advise.advice import CLAIM, Need, Profiled, Verdict, advise_group
from turbospec.advise.replay import OUTPUT_SHARE
from turbospec.advise.series import EngineSeries, Group, Window
from turbospec.control.acceptance import PositionEstimate
from turbospec.control.goodput import predict

MODEL = model()
PROFILED = Profiled(MODEL, 0.005)
LADDER = (0, 1, 3, 7)


@pytest.mark.parametrize(
    ("windows", "profiled", "needs"),
    [
        ([window(k=3)], None, [Need.PROFILE]),
        ([window(k=None)], PROFILED, [Need.DRAFTER]),
        ([window(k=0, positions=3)], PROFILED, [Need.DRAFTER]),
        ([window(k=None)], None, [Need.DRAFTER, Need.PROFILE]),
        ([window(k=3, busy=1e-4)], PROFILED, [Need.TRAFFIC]),
        ([], PROFILED, [Need.TRAFFIC]),
        ([window(k=3, factor=1.5)], PROFILED, [Need.PROFILE]),
        ([window(k=3, factor=0.6)], PROFILED, [Need.PROFILE]),
        ([window(k=7)], Profiled(model((0, 1, 3)), 0.005), [Need.PROFILE]),
        ([window(k=None, factor=0.3)], PROFILED, [Need.DRAFTER, Need.PROFILE]),
    ],
    ids=[
        "no profile",
        "plain",
        "never drafts",
        "neither",
        "idle",
        "nothing",
        "slower",
        "faster",
        "longer drafts",
        "plain, not its own",
    ],
)
def test_what_cannot_be_known_is_named_and_no_gain_claimed(
    windows: Sequence[Window], profiled: Profiled | None, needs: list[Need]
) -> None:
    """One entry for each thing that is missing."""
    found = advise_group(group(*windows), profiled, LADDER)
    assert found.verdict is Verdict.UNKNOWN
    assert found.gain is None
    assert [need.need for need in found.needs] == needs


def test_a_k_that_cannot_keep_up_with_what_came_is_a_loss() -> None:
    """Where only long drafts are allowed, for many requests whose text they do not suit, a queue would have grown."""
    found = advise_group(group(window(k=1, batch=48.0, acceptance=(0.3,) * 7)), PROFILED, (7,))
    assert found.verdict is Verdict.LOSS
    assert found.gain is not None
    assert found.gain.low == -1.0


def test_missing_metrics_are_named() -> None:
    """By their names in Prometheus."""
    found = advise_group(group(missing=("vllm:inter_token_latency_seconds_sum",)), PROFILED)
    assert [need.need for need in found.needs] == [Need.METRICS]
    assert "vllm:inter_token_latency_seconds_sum" in found.needs[0].message


@pytest.mark.parametrize(
    ("batch", "ran", "verdict", "best"),
    [(60.0, 7, Verdict.GAIN, 1), (1.0, 1, Verdict.UNCLEAR, 3), (8.0, 3, Verdict.NO_GAIN, 3)],
    ids=["drafts where they cost", "might draft more", "the best already"],
)
def test_the_interval_holds_what_the_best_k_gains(batch: float, ran: int, verdict: Verdict, best: int) -> None:
    """K beyond the drafts that ran widen it upwards only: their acceptance is not known."""
    found = advise_group(group(window(batch, ran)), PROFILED, LADDER)
    text = [PositionEstimate(a, None, 0.0) for a in ACCEPTANCE]
    context = PROMPT + OUTPUT_SHARE * OUTPUT
    rates = {
        p.draft_tokens: p.tokens_per_second or 0.0
        for p in predict(MODEL, text, LADDER, decodes=int(batch), kv_tokens=batch * context)
    }
    assert max(rates, key=rates.__getitem__) == best
    assert found.gain is not None
    assert found.gain.low <= rates[best] / rates[ran] - 1.0 <= found.gain.high
    assert found.verdict is verdict
    assert (found.gain.low >= CLAIM) is (verdict is Verdict.GAIN)


def test_pods_without_a_drafter_are_compared_with_what_they_measured() -> None:
    """One pod has a drafter and finds that nothing is accepted; the others are faster without one."""
    drafting = EngineSeries("canary", (window(40.0, 1, acceptance=(0.05,)),))
    plain = tuple(EngineSeries(f"chat-{n}", (window(40.0, None, factor=0.8),)) for n in range(9))
    found = advise_group(Group("chat", "llama", (drafting, *plain)), PROFILED, (0, 1))
    assert found.gain is not None
    assert found.gain.high < -0.1
    assert found.verdict is Verdict.LOSS


def test_the_best_k_of_a_known_text_is_no_gain() -> None:
    """All positions known, nothing to be had."""
    found = advise_group(group(window(8.0, 7, acceptance=(0.2,) * 7)), PROFILED, (7,))
    assert found.verdict is Verdict.NO_GAIN
    assert list(found.shares or ()) == [7]


@pytest.mark.parametrize(
    "worse",
    [replace(PROFILED, error=0.03), replace(PROFILED, error=None), replace(PROFILED, padded=True)],
    ids=["larger error", "no error stated", "unknown graph sizes"],
)
def test_a_less_certain_profile_widens_the_interval(worse: Profiled) -> None:
    """To both sides."""
    windows = [window(batch, 7, at=n * SECONDS) for n, batch in enumerate((20.0, 40.0))]
    sure, unsure = (advise_group(group(*windows), profiled, LADDER).gain for profiled in (PROFILED, worse))
    assert sure is not None
    assert unsure is not None
    assert unsure.low < sure.low
    assert sure.high < unsure.high


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("batch", [1.0, 16.0])
def test_break_even_is_where_drafts_would_have_been_as_fast_as_what_ran(k: int, batch: float) -> None:
    """Against what was measured of the plain engine, which is faster than one with a drafter at K = 0."""
    plain = 0.85
    found = advise_group(group(window(batch, None, factor=plain)), Profiled(MODEL, 0.0), (0, k))
    assert found.break_even is not None
    acceptance = found.break_even[k]
    assert acceptance is not None
    # The profile's own error (2% at least) is taken against speculation, and the loop's cost (2%).
    needed = 1.04 * seconds(batch, k) / (plain * seconds(batch, 0))
    assert sum(acceptance**j for j in range(k + 1)) == pytest.approx(needed, rel=0.03)


def test_no_acceptance_pays_where_drafts_cost_more_than_they_can_give() -> None:
    """A plain engine at a large batch."""
    found = advise_group(group(window(64.0, None, factor=0.6)), PROFILED, (0, 1))
    assert found.break_even == {1: None}
