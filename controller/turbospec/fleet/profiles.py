"""Which profile fits an engine: the one in its namespace with its key."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from turbospec.control.latency import LatencyModel
from turbospec.fleet.snapshot import ProfileView

ProfileKey = tuple[str, str]
"""Namespace and profile key."""

_NAME_PREFIX = "profile-"


@dataclass(frozen=True, slots=True)
class FittingProfile:
    """The profile for one key. ``latency`` is None where it was refused; ``digest`` names the model's content."""

    name: str
    latency: LatencyModel | None
    digest: str
    invalid: str | None
    coverage: str | None = None


def profile_name(key: str) -> str:
    """The name of the profile that the operator harvests for this key."""
    return f"{_NAME_PREFIX}{key}"


def fitting_profiles(profiles: Iterable[ProfileView]) -> Mapping[ProfileKey, FittingProfile]:
    """The profile of every (namespace, key). Of several, valid ones come first, then the operator's own name.

    A profile whose name the operator gave for another key than it holds is that key's profile, edited to nonsense.
    """
    best: dict[ProfileKey, ProfileView] = {}
    for view in profiles:
        for claim in _claims(view):
            known = best.get((claim.namespace, claim.key))
            if known is None or _preference(claim) < _preference(known):
                best[claim.namespace, claim.key] = claim
    return {place: _fitting(view) for place, view in best.items()}


def _claims(view: ProfileView) -> tuple[ProfileView, ...]:
    named_for = view.name.removeprefix(_NAME_PREFIX)
    if named_for in (view.name, view.key):
        return (view,)
    why = f"spec.key is {view.key!r}, its name says {named_for!r}"
    return (view, replace(view, key=named_for, latency=None, invalid=why))


def _preference(view: ProfileView) -> tuple[bool, bool, str]:
    return (view.latency is None, view.name != profile_name(view.key), view.name)


def _fitting(view: ProfileView) -> FittingProfile:
    if view.latency is None:
        return FittingProfile(view.name, None, "", view.invalid or "its content was refused")
    return FittingProfile(view.name, view.latency, _model_digest(view.latency), None, view.coverage)


def _model_digest(latency: LatencyModel) -> str:
    content = [[asdict(cell) for cell in latency.cells], asdict(latency.fit)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
