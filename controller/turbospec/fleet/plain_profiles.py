"""What is known of engines that were started without a drafter: what profiles of the same engine with one say of it.

Such an engine has a profile key of its own, for which nobody measures anything: there is no K to choose. But how much
it can do is part of its fleet's load.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from turbospec.fleet.profiles import FittingProfile, ProfileKey, reference
from turbospec.fleet.reuse import differences
from turbospec.fleet.snapshot import EngineIdentity, PodView, ProfileView
from turbospec.fleet.variants import is_plain

MOVED_BY_SPECULATION = frozenset(
    {"async_scheduling", "cudagraph_mode", "cudagraph_sizes", "max_draft_tokens", "model_runner", "prompt_lookup"}
)
"""Engine arguments that vLLM itself sets differently where there is a drafter."""


def with_plain_engines(
    views: Iterable[ProfileView], pods: Iterable[PodView], profiles: Mapping[ProfileKey, FittingProfile]
) -> Mapping[ProfileKey, FittingProfile]:
    """``profiles``, and for the plain engines among these pods what the nearest profile has measured without a drafter:
    the one of the same hardware and model with the fewest differences that matter (``reuse``)."""
    found = dict(profiles)
    views = [view for view in views if view.plain is not None and view.identity is not None]
    for pod in pods:
        report = pod.report
        if report is None or report.identity is None or not is_plain(report):
            continue
        place = (pod.namespace, report.profile_key)
        if place not in found:
            nearest = _nearest(report.identity, [view for view in views if view.namespace in (None, pod.namespace)])
            if nearest is not None:
                found[place] = nearest
    return found


def _nearest(engine: EngineIdentity, views: Iterable[ProfileView]) -> FittingProfile | None:
    """Of equal ones the namespace's own, then by name."""
    best: tuple[tuple[float, bool, str], FittingProfile] | None = None
    for view in views:
        if view.identity is None or view.plain is None:
            continue
        between = differences(_beside(engine, view.identity), view.identity)
        if between is None:
            continue
        rank = (sum(difference.doubt for difference in between), view.namespace is None, view.name)
        if best is None or rank < best[0]:
            latency = view.plain.latency
            best = rank, FittingProfile(reference(view), latency, latency.digest, None, stands_in=True)
    return None if best is None else best[1]


def _beside(engine: EngineIdentity, measured: EngineIdentity) -> EngineIdentity:
    """The engine as if it had the drafter of the other one."""
    own = {name: value for name, value in engine.engine_arguments if name not in MOVED_BY_SPECULATION}
    others = {name: value for name, value in measured.engine_arguments if name in MOVED_BY_SPECULATION}
    arguments = tuple(sorted({**own, **others}.items()))
    return replace(engine, drafter=measured.drafter, method=measured.method, engine_arguments=arguments)
