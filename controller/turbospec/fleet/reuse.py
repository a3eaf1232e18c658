"""Which profile stands in where none has an engine's key: the nearest one of the same hardware, models and method.

An image roll-out makes every key new at once, and a Job takes minutes: until the engine's own profile is there, one of
almost the same engine is better than none. It is never taken for the engine's own: the condition says so, the engine
believes it less, and the key is measured as it would have been.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from turbospec.control.latency import LatencyModel
from turbospec.fleet.profile_standing import ProfileReason, ProfileStanding
from turbospec.fleet.profiles import FittingProfile, ProfileKey, fitting
from turbospec.fleet.profiling import Candidate
from turbospec.fleet.snapshot import EngineIdentity, ProfileView

PATCH_RELEASE = 0.05
MINOR_RELEASE = 0.10
"""For each minor release between: kernels and schedulers change with them. A guess that no measurement stands behind;
a model guessed without any profile has 0.7 (``control.bias.GUESSED``)."""
MOST_MINOR_RELEASES = 3

ARGUMENTS = {
    "max_num_batched_tokens": 0.03,  # decides how prefill is cut, not what a step of decodes takes
    "prompt_lookup": 0.03,  # host time of looking up n-grams: microseconds
    "cudagraph_sizes": 0.10,  # which batches are padded, and up to what
}
"""What another value of an engine argument is taken to move step times by. Arguments that are not here (parallelism,
dtype, attention backend, graph mode, maximum K...) make another engine: nothing is reused across them."""

UNRECORDED = 0.10
"""The same for an argument that only one of the two states: another version of our runtime wrote its identity."""

_RELEASE = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")
_REPLACED = frozenset({ProfileReason.MISSING, ProfileReason.IN_PROGRESS, ProfileReason.PENDING, ProfileReason.GROWING})


class Difference(NamedTuple):
    """One thing in which an engine differs from the one that was measured, and its price."""

    text: str
    doubt: float
    """Relative standard deviation that it adds to every cost of the model."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """A profile of another key, its model's ``doubt`` set, and why that much."""

    profile: FittingProfile
    differences: tuple[Difference, ...]
    doubt: float

    @property
    def message(self) -> str:
        """One sentence: which profile, what differs, the penalty."""
        said = ", ".join(difference.text for difference in self.differences)
        return f"profile {self.profile.name} stands in, taken as {self.doubt:.0%} less certain ({said})."


def differences(engine: EngineIdentity, measured: EngineIdentity) -> tuple[Difference, ...] | None:
    """What differs, each with its penalty; None where nothing measured there may be used here."""
    fixed = ("hardware", "target", "drafter", "method")
    if any(getattr(engine, name) != getattr(measured, name) for name in fixed) or "/ unknown /" in engine.hardware:
        return None
    found: list[Difference] = []
    if engine.engine_version != measured.engine_version:
        doubt = _release_doubt(engine.engine_version, measured.engine_version)
        if doubt is None:
            return None
        found.append(Difference(f"vLLM {engine.engine_version}, measured on {measured.engine_version}", doubt))
    ours, theirs = dict(engine.engine_arguments), dict(measured.engine_arguments)
    for name in sorted(ours.keys() | theirs.keys()):
        here, there = ours.get(name), theirs.get(name)
        if here == there:
            continue
        price = UNRECORDED if here is None or there is None else ARGUMENTS.get(name)
        if price is None:
            return None
        found.append(Difference(f"{name} {here or 'not stated'}, measured with {there or 'none stated'}", price))
    return tuple(found)


def with_stand_ins(
    views: Iterable[ProfileView],
    candidates: Iterable[Candidate],
    profiles: Mapping[ProfileKey, FittingProfile],
    standings: Mapping[tuple[str, str], ProfileStanding],
) -> tuple[Mapping[ProfileKey, FittingProfile], Mapping[tuple[str, str], ProfileStanding]]:
    """``profiles`` and ``standings`` (by policy uid and key), completed by stand-ins where a place has no profile.

    A profile that was refused is not replaced: engines have the last good model, which is nearer. Where profiling has
    failed that stays the reason, for it waits for a person.
    """
    views, candidates = tuple(views), tuple(candidates)
    found = _stand_ins(views, candidates, profiles)
    refused = {view.key: view for view in views if view.namespace is None and view.latency is None}
    qualified = dict(standings)
    for candidate in candidates:
        at = (candidate.policy.uid, candidate.key)
        qualified[at] = _qualified(standings[at], found.get(candidate.place), refused.get(candidate.key))
    return {**profiles, **{place: stand_in.profile for place, stand_in in found.items()}}, qualified


def _qualified(standing: ProfileStanding, stand_in: StandIn | None, refused: ProfileView | None) -> ProfileStanding:
    if refused is not None and standing.reason in _REPLACED:
        why = f" ClusterSpeculationProfile {refused.name} has the key, but was refused: {refused.invalid}."
        standing = replace(standing, message=standing.message + why)
    if stand_in is None or standing.reason is ProfileReason.NOT_NEEDED:
        return standing
    if standing.reason in _REPLACED:
        message = f"{stand_in.message} {standing.message[:1].upper()}{standing.message[1:]}"
        return ProfileStanding(ProfileReason.PROVISIONAL, message, stand_in.profile.name)
    return replace(standing, message=f"{standing.message} Meanwhile {stand_in.message}", profile=stand_in.profile.name)


def _stand_ins(
    views: tuple[ProfileView, ...],
    candidates: tuple[Candidate, ...],
    profiles: Mapping[ProfileKey, FittingProfile],
) -> Mapping[ProfileKey, StandIn]:
    found: dict[ProfileKey, StandIn] = {}
    for candidate in candidates:
        place, identity = candidate.place, candidate.report.identity
        if place not in profiles and place not in found and identity is not None and len(candidate.allowed) > 1:
            nearest = _nearest(identity, [view for view in views if view.namespace in (None, place[0])])
            if nearest is not None:
                found[place] = nearest
    return found


def _nearest(engine: EngineIdentity, views: Iterable[ProfileView]) -> StandIn | None:
    """The one with the smallest penalty; of equal ones the namespace's own, then by name."""
    best: tuple[tuple[float, bool, str], ProfileView, tuple[Difference, ...], LatencyModel] | None = None
    for view in views:
        between = None if view.identity is None else differences(engine, view.identity)
        if between is None or view.latency is None:
            continue
        rank = (math.hypot(*(difference.doubt for difference in between)), view.namespace is None, view.name)
        if best is None or rank < best[0]:
            best = (rank, view, between, view.latency)
    if best is None:
        return None
    (doubt, *_), view, between, latency = best
    profile = replace(fitting(replace(view, latency=_doubted(latency, doubt))), stands_in=True)
    return StandIn(profile, between, doubt)


def _release_doubt(ours: str, theirs: str) -> float | None:
    here, there = _RELEASE.match(ours), _RELEASE.match(theirs)
    if here is None or there is None or here[1] != there[1]:
        return None
    releases = abs(int(here[2]) - int(there[2]))
    if releases > MOST_MINOR_RELEASES:
        return None
    return releases * MINOR_RELEASE if releases else PATCH_RELEASE


@lru_cache(maxsize=64)
def _doubted(model: LatencyModel, doubt: float) -> LatencyModel:
    """One object for every round: models keep what they have worked out."""
    return replace(model, doubt=doubt)
