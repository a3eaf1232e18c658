"""What a SpeculationProfile says of itself: who uses it, and whether it still holds."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from turbospec.fleet import aging
from turbospec.fleet.conditions import limited
from turbospec.fleet.effects import ConditionValue, SetProfileStatus
from turbospec.fleet.memory import ProfileStatuses
from turbospec.fleet.profiles import FittingProfile, ProfileKey, fitting
from turbospec.fleet.profiling import Candidate
from turbospec.fleet.snapshot import ProfileView

WRITE_PAUSE_SECONDS = 30.0
"""How long a write may take to show before it is made again."""
NAMED_POLICIES = 3


@dataclass(frozen=True, slots=True)
class ProfileUse:
    """What profiles are judged by: the engines that could use one, and which one each place has been given."""

    candidates: tuple[Candidate, ...]
    profiles: Mapping[ProfileKey, FittingProfile]
    drifted: Container[ProfileKey]
    now_seconds: float


def profile_statuses(
    views: Iterable[ProfileView], use: ProfileUse, written: ProfileStatuses
) -> tuple[tuple[SetProfileStatus, ...], ProfileStatuses]:
    """The statuses to write, and all that were (``written``, as remembered).

    Of the namespaces' profiles only: those of the cluster belong to administrators. Where the object says it already,
    nothing is written.
    """
    effects: list[SetProfileStatus] = []
    known: dict[str, tuple[tuple[ConditionValue, ...], float]] = {}
    for view in sorted(views, key=lambda view: (view.namespace or "", view.name)):
        if view.namespace is None or not view.uid:
            continue
        wanted = tuple(replace(each, message=limited(each.message)) for each in (_in_use(view, use), _fresh(view, use)))
        if wanted == view.reported:
            continue
        last = written.get(view.uid)
        if last is not None and last[0] == wanted and use.now_seconds - last[1] < WRITE_PAUSE_SECONDS:
            known[view.uid] = last
            continue
        known[view.uid] = wanted, use.now_seconds
        effects.append(SetProfileStatus(view.namespace, view.name, view.uid, view.generation, wanted))
    return tuple(effects), known


def _in_use(view: ProfileView, use: ProfileUse) -> ConditionValue:
    if view.latency is None:
        why = f"it was refused: {view.invalid}. Engines keep the last good model. Correct it or delete it."
        return ConditionValue("InUse", "False", "Refused", why)
    here = [one for one in use.candidates if one.pod.namespace == view.namespace]
    given = [one for one in here if (profile := use.profiles.get(one.place)) is not None and profile.name == view.name]
    own = [one for one in given if one.key == view.key]
    if own:
        return ConditionValue("InUse", "True", "InUse", f"it is the profile of engines of {_policies(own)}.")
    if given:
        message = f"it stands in, until their own is measured, for engines of {_policies(given)}."
        return ConditionValue("InUse", "True", "StandsIn", message)
    others = {use.profiles[one.place].name for one in here if one.key == view.key and one.place in use.profiles}
    if others:
        message = (
            f"{', '.join(sorted(others))} has its key too and goes first: measured profiles go before grown ones, the "
            "namespace's before the cluster's, the operator's name before others. Delete the one not wanted."
        )
        return ConditionValue("InUse", "False", "Superseded", message)
    return ConditionValue("InUse", "False", "NoEngines", "no engine that a policy of this namespace governs needs it.")


def _fresh(view: ProfileView, use: ProfileUse) -> ConditionValue:
    if view.latency is None:
        return ConditionValue("Fresh", "Unknown", "Refused", "it cannot be used.")
    place = (view.namespace or "", view.key)
    chosen = use.profiles.get(place)
    if place in use.drifted and chosen is not None and chosen.name == view.name:
        message = "engines measure other step times: condition ProfileAccurate of their policy has the figures."
        return ConditionValue("Fresh", "False", "Drifted", message)
    if view.served:
        return ConditionValue("Fresh", "True", "Grown", "it was grown while serving, and goes on growing.")
    profile = fitting(view)
    old = [
        one.policy
        for one in use.candidates
        if one.place == place and aging.outlived(profile, one.policy, use.now_seconds)
    ]
    if old:
        limits = ", ".join(sorted({policy.name for policy in old}))
        return ConditionValue("Fresh", "False", "Stale", f"it is older than spec.profiling.maxAge of policy {limits}.")
    return ConditionValue("Fresh", "True", "Fresh", "nothing speaks against it.")


def _policies(engines: Sequence[Candidate]) -> str:
    names = sorted({one.policy.name for one in engines})
    more = f" and {len(names) - NAMED_POLICIES} more" if len(names) > NAMED_POLICIES else ""
    return f"{'policy' if len(names) == 1 else 'policies'} {', '.join(names[:NAMED_POLICIES])}{more}"
