"""Advice on the engines of a policy in mode Advise: pure, from windows to the words of its status.

The estimate is that of ``turbospec advise`` (docs/advise.md); here the operator knows which engines are meant, and
their profile by its key.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

from turbospec.advise.advice import Advice, Need, Needed, Profiled, Verdict, advise_group, profiled_lengths
from turbospec.advise.interval import COVERAGE
from turbospec.advise.series import Group
from turbospec.fleet.advised import AdviceReason, AdviceView
from turbospec.fleet.profiles import fitting_profiles, reference
from turbospec.fleet.snapshot import PodView, PolicyView, ProfileView
from turbospec_operator.reported_windows import NO_SPECULATION

REASONS: Mapping[Verdict, AdviceReason] = {
    Verdict.LOSS: AdviceReason.LOSS,
    Verdict.UNCLEAR: AdviceReason.UNCLEAR,
    Verdict.UNKNOWN: AdviceReason.UNKNOWN,
    Verdict.NO_GAIN: AdviceReason.NO_GAIN,
    Verdict.GAIN: AdviceReason.GAIN,
}
"""In this order where a policy's models differ: what speaks against control goes first."""

NEEDS: Mapping[Need, str] = {
    Need.METRICS: "metrics",
    Need.TRAFFIC: "traffic",
    Need.DRAFTER: "a drafter",
    Need.PROFILE: "a profile",
}
NOT_INJECTED = (
    "a profile: nothing tells how long steps take at another K. Which profile is theirs only engines under TurboSpec's "
    'runtime say: label the pod template turbospec.io/inject: "true" and restart it (docs/injection.md)'
)
NOT_MEASURED = (
    "a profile: nothing tells how long steps take at another K; condition Profiled says what becomes of it "
    "(docs/profiles.md)"
)
SEVERAL_KINDS = "engines of one kind: their pods run on several kinds of hardware or arguments, one policy for each"


def own_groups(groups: Iterable[Group], own: Container[str], others: Container[str]) -> tuple[Group, ...]:
    """The groups that serve with pods of a policy (``own``, by name), without engines that belong to ``others``.

    Engines of pods that are gone stay: a week is longer than pods live.
    """
    found: list[Group] = []
    for group in groups:
        engines = tuple(engine for engine in group.engines if pod_of(engine.name) not in others)
        if any(pod_of(engine.name) in own for engine in engines):
            found.append(Group(group.namespace, group.model, engines))
    return tuple(found)


def pod_of(engine: str) -> str:
    """The pod in an engine's name."""
    return engine.partition("/")[0]


def advice_on(
    policy: PolicyView, pods: Sequence[PodView], groups: Sequence[Group], profiles: Sequence[ProfileView], source: str
) -> AdviceView:
    """What the policy's status says. ``pods`` are those it governs, ``groups`` what is known of their engines and of
    earlier ones; ``source`` ends the message: where that is from, and over how long."""
    refused = _refused(pods)
    if refused is not None:
        return unknown(
            policy, f"engines that can be steered, and these cannot: {refused}", "engines that can be steered"
        )
    if not groups:
        return unknown(
            policy,
            "metrics: no series of these pods (vLLM's /metrics, with labels namespace and pod) are in the operator's "
            "Prometheus (prometheus.url), and no engine under TurboSpec's runtime has counted for ten minutes",
            "metrics",
        )
    found = [_advised(policy, group, _of_group(group, pods), profiles) for group in groups]
    order = list(REASONS)
    worst = min(found, key=lambda each: order.index(each.verdict))
    said = " ".join(f"{each.group.model or 'these engines'}: {_sentence(each)}" for each in found)
    return AdviceView(policy.namespace, policy.name, REASONS[worst.verdict], _summary(worst), f"{said} {source}")


def unknown(policy: PolicyView, needs: str, summary: str) -> AdviceView:
    """Advice that waits for something."""
    said = f"unknown: needs {summary}"
    return AdviceView(policy.namespace, policy.name, AdviceReason.UNKNOWN, said, f"unknown: needs {needs}.")


def _refused(pods: Sequence[PodView]) -> str | None:
    """Why none of the engines that answer could be steered, whatever their advice; None where one could."""
    reports = [pod.report for pod in pods if pod.report is not None]
    if not reports or any(report.unsupported_code in (None, NO_SPECULATION) for report in reports):
        return None
    return f"{reports[0].unsupported_code}: {reports[0].unsupported_message}"


def _of_group(group: Group, pods: Sequence[PodView]) -> Sequence[PodView]:
    names = {pod_of(engine.name) for engine in group.engines}
    return [pod for pod in pods if pod.name in names]


def _advised(policy: PolicyView, group: Group, pods: Sequence[PodView], profiles: Sequence[ProfileView]) -> Advice:
    keys = {pod.report.profile_key for pod in pods if pod.report is not None}
    if len(keys) > 1:
        return _needing(Advice(group, Verdict.UNKNOWN), SEVERAL_KINDS)
    profiled = next((_profiled(policy.namespace, key, pods, profiles) for key in keys), None)
    if profiled is None:
        return _needing(advise_group(group, None), NOT_MEASURED if keys else NOT_INJECTED)
    measured = profiled_lengths(profiled.model)
    allowed = [k for k in policy.draft_tokens if k <= max(measured, default=0)]
    return advise_group(group, profiled, allowed or None)


def _profiled(namespace: str, key: str, pods: Sequence[PodView], profiles: Sequence[ProfileView]) -> Profiled | None:
    """The profile that engines of this key would be controlled by."""
    place = (namespace, key)
    fitting = fitting_profiles(profiles, [place]).get(place)
    if fitting is None or fitting.latency is None:
        return None
    errors = [view.hold_out_error for view in profiles if reference(view) == fitting.name]
    identities = [pod.report.identity for pod in pods if pod.report is not None and pod.report.identity is not None]
    graphs = {dict(one.engine_arguments).get("cudagraph_mode", "none").lower() for one in identities}
    return Profiled(fitting.latency, errors[0] if errors else None, padded=not graphs <= {"none", ""})


def _needing(advice: Advice, profile: str) -> Advice:
    """The same, with what a cluster can do for a profile in place of what a laptop can."""
    others = tuple(each for each in advice.needs if each.need is not Need.PROFILE)
    if any(each.need in (Need.METRICS, Need.TRAFFIC) for each in others):
        return advice
    return replace(advice, needs=(*others, Needed(Need.PROFILE, profile)))


def _summary(advice: Advice) -> str:
    if advice.gain is not None:
        return f"{advice.gain.low:+.0%} to {advice.gain.high:+.0%}"
    return f"unknown: needs {' and '.join(NEEDS[each.need] for each in advice.needs)}"


def _sentence(advice: Advice) -> str:
    if advice.gain is None:
        return "unknown: needs " + "; ".join(each.message for each in advice.needs) + "." + _break_even(advice)
    interval = f"{advice.gain.low:+.1%} to {advice.gain.high:+.1%} tokens per second of running requests"
    shares = sorted((advice.shares or {}).items())
    ran = ", ".join(f"K={k} {share:.0%}" for k, share in shares if share >= 0.01)
    never = " It would never have drafted: better off without a drafter." if set(advice.shares or ()) == {0} else ""
    return f"{interval} (right for {COVERAGE:.0%} of fleets), had K been {ran} of the time.{never}"


def _break_even(advice: Advice) -> str:
    paying = {k: acceptance for k, acceptance in (advice.break_even or {}).items() if acceptance is not None}
    if not paying:
        return ""
    k = min(paying, key=lambda each: paying[each])
    return f" K={k} would have paid from an acceptance of {paying[k]:.0%} on."
