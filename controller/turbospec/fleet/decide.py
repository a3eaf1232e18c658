"""One round of the fleet loop: from what was observed to what is to be done."""

from collections.abc import Iterable, Mapping

from turbospec.fleet.effects import CreateProfilingJob, Effect, EnsureRuntime, HarvestProfile
from turbospec.fleet.load import forget_load
from turbospec.fleet.memory import FleetMemory, request_key
from turbospec.fleet.policy_round import decide_policy
from turbospec.fleet.profile_status import ProfileUse, profile_statuses
from turbospec.fleet.snapshot import FleetSnapshot
from turbospec.fleet.survey import Survey, survey
from turbospec.fleet.value import forget_value

__all__ = ["FleetMemory", "decide"]

RUNTIME_SECONDS = 30.0
"""How often the runtime ConfigMap is ensured: pods that start without it serve without TurboSpec."""

REQUEST_MEMORY_SECONDS = 7200.0
"""How long requests are remembered: longer than any pause between attempts, short enough to stay small."""


def decide(snapshot: FleetSnapshot, memory: FleetMemory) -> tuple[tuple[Effect, ...], FleetMemory]:
    """Decide one round. Pure and total: equal arguments give equal answers, whatever the order of the snapshot's items.

    Effects are idempotent. They come in the order in which they are best carried out: runtimes, Jobs and harvests,
    documents, then statuses and events.
    """
    fleet = survey(snapshot, memory)
    rounds = {policy.uid: decide_policy(policy, fleet, memory) for policy in fleet.policies}
    requests = (*_runtimes(fleet, memory), *fleet.requests)
    pushes = [push for each in rounds.values() for push in each.pushes]
    reports = [report for each in rounds.values() for report in each.reports]
    loads = {key: load for each in rounds.values() for key, load in each.loads.items()}
    values = {key: value for each in rounds.values() for key, value in each.values.items()}
    use = ProfileUse(tuple(fleet.candidates.values()), fleet.profiles, fleet.agreement.drifted, fleet.now_seconds)
    statuses, profile_memory = profile_statuses(snapshot.profiles, use, memory.profile_statuses)
    unseen = {key: load for key, load in memory.loads.items() if key not in loads}
    remembered = FleetMemory(
        engines={uid: engine for each in rounds.values() for uid, engine in each.engines.items()},
        pools={place: pool for each in rounds.values() for place, pool in each.pools.items()},
        policies={uid: each.written for uid, each in rounds.items()},
        requested=_requested(memory, requests, fleet.now_seconds),
        loads=loads | forget_load(unseen, fleet.now_seconds),
        drift=fleet.agreement.memory,
        served=fleet.served,
        jobs=fleet.jobs,
        failed_starts={uid: each.failed_starts for uid, each in rounds.items()},
        scale_events=fleet.scale_events,
        profile_statuses=profile_memory,
        preserved=fleet.preserved,
        variants={place: entry for each in rounds.values() for place, entry in each.variants.items()},
        values=forget_value(memory.values, fleet.now_seconds) | values,
    )
    return (*requests, *fleet.grown, *pushes, *statuses, *reports, *fleet.agreement.events), remembered


def _runtimes(fleet: Survey, memory: FleetMemory) -> list[EnsureRuntime]:
    """The runtime in every namespace with a policy, even an invalid one: its pods may start before it is corrected."""
    wanted = [EnsureRuntime(namespace) for namespace in sorted({policy.namespace for policy in fleet.policies})]
    asked = {effect: memory.requested.get(request_key(effect), float("-inf")) for effect in wanted}
    return [effect for effect in wanted if fleet.now_seconds - asked[effect] >= RUNTIME_SECONDS]


def _requested(
    memory: FleetMemory, requests: Iterable[CreateProfilingJob | HarvestProfile | EnsureRuntime], now: float
) -> Mapping[tuple[str, str, str], float]:
    kept = {key: seconds for key, seconds in memory.requested.items() if now - seconds < REQUEST_MEMORY_SECONDS}
    return kept | {request_key(effect): now for effect in requests}
