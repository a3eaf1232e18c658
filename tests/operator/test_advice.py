"""Advice in the words of a policy's status: an interval, or what it takes to know it, and by which engines."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.advise.builders import group, model, window
from tests.fleet.builders import KEY, pod, policy, profile, report
from turbospec.advise.series import EngineSeries, Group
from turbospec.fleet.advised import AdviceReason
from turbospec.fleet.snapshot import PodView, ProfileView
from turbospec_operator.advice import advice_on, own_groups

OURS = profile(latency=model(), hold_out_error=0.005)
POLICY = policy()
CUTTING = [window(k=7, batch=48.0, acceptance=(0.3,) * 7)]
"""Long drafts of text that is hard to guess, many at a time: shorter ones are better."""
BEST = [window(k=3, batch=8.0, acceptance=(0.6, 0.5, 0.4, 0.3, 0.2, 0.2, 0.2))]
ENGINE = pod("chat-0")
PLAIN = pod("chat-0", report=report(unsupported_code="NoSpeculation", engine_draft_tokens=(0,)))
STOCK = pod("chat-0", report=None, injected=False)
REFUSED = pod("chat-0", report=report(unsupported_code="DataParallel", unsupported_message="ranks must agree on K"))


@pytest.mark.parametrize(
    ("groups", "pods", "profiles", "reason", "summary", "words"),
    [
        ([group(*CUTTING)], [ENGINE], [OURS], AdviceReason.GAIN, "%", ["tokens per second", "of the time", "By X."]),
        ([group(*BEST)], [ENGINE], [OURS], None, "%", ["right for 90% of fleets"]),
        ([group(*CUTTING)], [ENGINE], [], AdviceReason.UNKNOWN, "unknown: needs a profile", ["Profiled"]),
        ([group(*CUTTING)], [STOCK], [OURS], AdviceReason.UNKNOWN, "unknown: needs a profile", ["turbospec.io/inject"]),
        ([group(window(k=None))], [PLAIN], [OURS], AdviceReason.UNKNOWN, "unknown: needs a drafter", ["acceptance of"]),
        (
            [group(window(k=None))],
            [STOCK],
            [],
            AdviceReason.UNKNOWN,
            "unknown: needs a drafter and a profile",
            ["--speculative-config", "docs/injection.md"],
        ),
        ([], [ENGINE], [OURS], AdviceReason.UNKNOWN, "unknown: needs metrics", ["prometheus.url", "ten minutes"]),
        ([group(missing=("vllm:x",))], [ENGINE], [OURS], AdviceReason.UNKNOWN, "unknown: needs metrics", ["vllm:x"]),
        ([group(window(busy=1e-4))], [ENGINE], [OURS], AdviceReason.UNKNOWN, "unknown: needs traffic", ["traffic"]),
        (
            [group(*CUTTING)],
            [REFUSED],
            [OURS],
            AdviceReason.UNKNOWN,
            "unknown: needs engines that can be steered",
            ["DataParallel: ranks must agree on K"],
        ),
        (
            [Group("chat", "llama", (EngineSeries("chat-0", tuple(CUTTING)), EngineSeries("chat-1", ())))],
            [ENGINE, pod("chat-1", report=report(profile_key="f" * 16))],
            [OURS],
            AdviceReason.UNKNOWN,
            "unknown: needs a profile",
            ["several kinds of hardware"],
        ),
        ([group(window(k=3, factor=1.6))], [ENGINE], [OURS], AdviceReason.UNKNOWN, "needs a profile", ["1.60x"]),
    ],
    ids=[
        "gain", "best", "no profile", "not injected", "plain", "stock", "no metrics", "metrics missing", "idle",
        "refused", "two kinds", "misfit",
    ],
)  # fmt: skip
def test_advice_says_what_is_known_and_what_is_missing(
    *,
    groups: Sequence[Group],
    pods: Sequence[PodView],
    profiles: Sequence[ProfileView],
    reason: AdviceReason | None,
    summary: str,
    words: Sequence[str],
) -> None:
    """A gain is claimed only from a profile of these very engines and a drafter's own counts."""
    found = advice_on(POLICY, pods, groups, profiles, "By X.")
    assert reason in (None, found.reason), found
    assert reason is not None or found.reason not in (AdviceReason.GAIN, AdviceReason.UNKNOWN)
    assert summary in found.summary
    for each in words:
        assert each in found.message


def test_of_several_models_the_most_doubtful_speaks() -> None:
    """One that gains does not hide one of which nothing is known."""
    other = Group("chat", "qwen", (EngineSeries("chat-1", (window(k=None),)),))
    pods = [ENGINE, pod("chat-1", report=report(engine_id="e", profile_key=KEY, unsupported_code="NoSpeculation"))]
    found = advice_on(POLICY, pods, [group(*CUTTING), other], [OURS], "By X.")
    assert found.reason is AdviceReason.UNKNOWN
    assert "llama: +" in found.message
    assert "qwen: unknown: needs a drafter" in found.message


def test_the_policys_draft_tokens_bound_what_would_have_been() -> None:
    """A policy that pins the K that ran gains nothing over it."""
    pinned = replace(POLICY, draft_tokens=(7,))
    assert advice_on(POLICY, [ENGINE], [group(*CUTTING)], [OURS], "").reason is AdviceReason.GAIN
    assert advice_on(pinned, [ENGINE], [group(*CUTTING)], [OURS], "").reason is AdviceReason.NO_GAIN


def test_groups_are_those_of_the_policys_pods_with_earlier_ones_and_without_others() -> None:
    """A week is longer than pods live; what another policy governs now is not this one's."""
    names = ("chat-0/1", "gone-0", "code-0")
    mixed = Group("team", "llama", tuple(EngineSeries(name, ()) for name in names))
    foreign = Group("team", "qwen", (EngineSeries("else-0", ()),))
    (found,) = own_groups([mixed, foreign], {"chat-0"}, {"code-0"})
    assert [engine.name for engine in found.engines] == ["chat-0/1", "gone-0"]
