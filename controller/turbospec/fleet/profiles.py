"""Which profile fits an engine: the one in its namespace with its key."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from turbospec.control.latency import LatencyModel
from turbospec.fleet.snapshot import ProfileView

ProfileKey = tuple[str, str]
"""Namespace and profile key."""


@dataclass(frozen=True, slots=True)
class FittingProfile:
    """The profile for one key. ``latency`` is None where it was refused; ``digest`` names the model's content."""

    name: str
    latency: LatencyModel | None
    digest: str
    invalid: str | None


def profile_name(key: str) -> str:
    """The name of the profile that the operator harvests for this key."""
    return f"profile-{key}"


def fitting_profiles(profiles: Iterable[ProfileView]) -> Mapping[ProfileKey, FittingProfile]:
    """The profile of every (namespace, key). Of several, a valid one wins over an invalid one, then the operator's own name."""
    best: dict[ProfileKey, ProfileView] = {}
    for view in profiles:
        known = best.get((view.namespace, view.key))
        if known is None or _preference(view) < _preference(known):
            best[view.namespace, view.key] = view
    return {place: _fitting(view) for place, view in best.items()}


def _preference(view: ProfileView) -> tuple[bool, bool, str]:
    return (view.latency is None, view.name != profile_name(view.key), view.name)


def _fitting(view: ProfileView) -> FittingProfile:
    if view.latency is None:
        return FittingProfile(view.name, None, "", view.invalid or "its content was refused")
    return FittingProfile(view.name, view.latency, _model_digest(view.latency), None)


def _model_digest(latency: LatencyModel) -> str:
    content = [[asdict(cell) for cell in latency.cells], asdict(latency.fit)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
