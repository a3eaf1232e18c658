"""What counters of drafts tell: acceptance, yield and the K that ran."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.advise.builders import ACCEPTANCE, SECONDS, window
from turbospec.advise.drafting import LEAST_DRAFTS, drafting


@pytest.mark.parametrize("k", [1, 3, 7])
def test_a_fixed_draft_length_tells_the_acceptance_of_its_positions(k: int) -> None:
    """And of no deeper one."""
    found = drafting([window(k=k)])
    assert found is not None
    assert [e.acceptance for e in found.overall] == pytest.approx(list(ACCEPTANCE[:k]))
    assert all(e.draft_yield is None for e in found.overall)
    assert not found.lookup
    assert found.moments[0].ran == (float(k),)


def test_a_table_tells_acceptance_by_the_windows_of_one_length() -> None:
    """A window in which K changed would bias it: only its mean K is used. One without drafts ran K = 0."""
    long, short, none = (window(k=k, at=n * SECONDS, positions=3) for n, k in ((1, 3), (2, 1), (3, 0)))
    mixed = replace(
        long,
        ended_seconds=4 * SECONDS,
        draft_tokens=2.0 * long.request_steps,
        accepted=tuple(share / 2 for share in long.accepted),
    )
    found = drafting([long, short, none, mixed])
    assert found is not None
    assert [e.acceptance for e in found.overall] == pytest.approx(list(ACCEPTANCE[:3]))
    assert [moment.ran for moment in found.moments] == [(3.0,), (1.0,), (0.0,), (2.0,)]


def test_drafts_that_are_not_always_found_tell_yield_and_acceptance() -> None:
    """As of a drafter that looks text up: 60% of the requests, each position finding 90% of the one before."""
    full = window(k=3)
    requests, reach = full.request_steps, 1.0
    found_at = [0.6 * 0.9**j for j in range(3)]
    accepted = []
    for j in range(3):
        reach *= ACCEPTANCE[j]
        accepted.append(requests * found_at[j] * reach)
    looked_up = replace(
        full, drafts=0.6 * requests, draft_tokens=requests * sum(found_at), accepted=tuple(accepted)
    )  # fmt: skip
    found = drafting([looked_up])
    assert found is not None
    assert found.lookup
    assert found.moments[0].ran == (3.0,)
    assert [e.draft_yield for e in found.overall] == pytest.approx(found_at, rel=1e-3)
    assert [e.acceptance for e in found.overall] == pytest.approx(list(ACCEPTANCE[:3]), rel=1e-3)


def test_moments_have_their_own_text_as_far_as_they_have_drafts() -> None:
    """Thousands of drafts outweigh the whole time's mean; a moment without any has that mean, with a wide spread."""
    code, chat = (window(k=1, acceptance=(a,), at=n * SECONDS) for n, a in ((1, 0.9), (2, 0.5)))
    idle = window(k=0, at=3 * SECONDS, positions=1)
    found = drafting([code, chat, idle])
    assert found is not None
    first, second, third = (moment.estimates[0] for moment in found.moments)
    assert first.acceptance == pytest.approx(0.9, abs=0.005)
    assert second.acceptance == pytest.approx(0.5, abs=0.005)
    assert third.acceptance == pytest.approx(found.overall[0].acceptance)
    assert third.spread > 10 * first.spread


def test_a_moment_of_short_drafts_knows_nothing_of_deeper_positions() -> None:
    """Those of another time were of other text."""
    found = drafting([window(k=3, acceptance=(0.5,) * 3), window(k=1, acceptance=(0.9,), at=2 * SECONDS, positions=3)])
    assert found is not None
    assert [len(moment.estimates) for moment in found.moments] == [3, 1]
    assert len(found.overall) == 3


@pytest.mark.parametrize("windows", [[], [window(k=None)], [window(k=0, positions=3)]], ids=["none", "plain", "off"])
def test_without_drafts_nothing_is_told(windows: list[object]) -> None:
    """Not even zero."""
    assert drafting(windows) is None  # type: ignore[arg-type]


def test_a_handful_of_drafts_tells_nothing() -> None:
    """Their acceptance would be luck."""
    full = window(k=1)
    few = (LEAST_DRAFTS - 1) / full.request_steps
    counted = replace(full, drafts=few * full.request_steps, draft_tokens=few * full.draft_tokens)
    assert drafting([counted]) is None


counts = st.floats(0.0, 1e9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(counts, counts, st.lists(counts, min_size=3, max_size=3)), min_size=1, max_size=4))
def test_whatever_was_counted_estimates_are_shares(rows: list[tuple[float, float, list[float]]]) -> None:
    """Resets and extrapolation leave counts that contradict each other."""
    windows = [
        replace(window(k=3, at=n * SECONDS), drafts=drafts, draft_tokens=tokens, accepted=tuple(accepted))
        for n, (drafts, tokens, accepted) in enumerate(rows)
    ]
    found = drafting(windows)
    for moment in found.moments if found is not None else ():
        for estimate in moment.estimates:
            assert estimate.acceptance is not None
            assert 0.0 <= estimate.acceptance <= 1.0
            assert estimate.draft_yield is None or 0.0 <= estimate.draft_yield <= 1.0
        assert all(0.0 <= ran <= 3.0 for ran in moment.ran)
