"""Which profile fits an engine: the one with its key, in its namespace or else of the cluster."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from turbospec.control.latency import LatencyModel
from turbospec.fleet.snapshot import PlainView, ProfileView

ProfileKey = tuple[str, str]
"""Namespace and profile key."""

SERVED_DOUBT = 0.1
"""Relative standard deviation by which the costs of a grown profile may be off beyond those of a measured one: K and
batches that traffic has hardly visited are extrapolated. Engines then look at them again (within their budget)."""

_NAME_PREFIX = "profile-"
_SERVED_PREFIX = "serving-"


@dataclass(frozen=True, slots=True)
class FittingProfile:
    """The profile for one key. ``latency`` is None where it was refused; ``digest`` names the model's content.

    ``name`` is what ``kubectl get speculationprofile`` takes, or ``clusterspeculationprofile/NAME`` for the cluster's.
    ``stands_in``: it has another key (``turbospec.fleet.reuse``), and its model's ``doubt`` holds for ``plain`` too.
    ``hold_out_error``, ``plain`` and ``plain_invalid`` are those of ``ProfileView``.
    """

    name: str
    latency: LatencyModel | None
    digest: str
    invalid: str | None
    coverage: str | None = None
    measured_seconds: float | None = None
    served: bool = False
    stands_in: bool = False
    hold_out_error: float | None = None
    plain: PlainView | None = None
    plain_invalid: str | None = None


def profile_name(key: str) -> str:
    """The name of the profile that the operator harvests for this key."""
    return f"{_NAME_PREFIX}{key}"


def served_profile_name(key: str) -> str:
    """The name of the profile that grows for this key while engines serve: never that of a measured one."""
    return f"{_SERVED_PREFIX}{key}"


def fitting_profiles(
    profiles: Iterable[ProfileView], places: Iterable[ProfileKey]
) -> Mapping[ProfileKey, FittingProfile]:
    """The profile of every place that has one. Of several, valid ones come first, then those that were measured and not
    grown while serving, then those of the namespace itself, then the operator's own name.

    A profile whose name the operator gave for another key than it holds is that key's profile, edited to nonsense. A
    cluster's profile that was refused is as good as none: only an administrator could correct it, and a namespace can
    still measure its own.
    """
    best: dict[tuple[str | None, str], ProfileView] = {}
    for view in profiles:
        for claim in _claims(view):
            known = best.get((claim.namespace, claim.key))
            if known is None or _preference(claim) < _preference(known):
                best[claim.namespace, claim.key] = claim
    found: dict[ProfileKey, FittingProfile] = {}
    for namespace, key in places:
        own, shared = best.get((namespace, key)), best.get((None, key))
        if shared is not None and shared.latency is not None and (own is None or own.latency is None or own.served):
            own = shared
        if own is not None:
            found[namespace, key] = fitting(own)
    return found


def _claims(view: ProfileView) -> tuple[ProfileView, ...]:
    named_for = view.name.removeprefix(_NAME_PREFIX)
    if view.namespace is None or named_for in (view.name, view.key):
        return (view,)
    why = f"spec.key is {view.key!r}, its name says {named_for!r}"
    return (view, replace(view, key=named_for, latency=None, invalid=why))


def _preference(view: ProfileView) -> tuple[bool, bool, bool, str]:
    return (view.latency is None, view.served, view.name != profile_name(view.key), view.name)


def reference(view: ProfileView) -> str:
    """How statuses name a profile: as kubectl takes it."""
    return view.name if view.namespace is not None else f"clusterspeculationprofile/{view.name}"


def fitting(view: ProfileView) -> FittingProfile:
    """The profile as engines get it."""
    if view.latency is None:
        return FittingProfile(view.name, None, "", view.invalid or "its content was refused")
    return FittingProfile(
        reference(view),
        view.latency,
        view.latency.digest,
        None,
        view.coverage,
        view.measured_seconds,
        view.served,
        hold_out_error=view.hold_out_error,
        plain=view.plain,
        plain_invalid=view.plain_invalid,
    )
