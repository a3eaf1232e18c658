"""``spec.autoscaling.preserve`` over a whole fleet: which K each scale target's engines may use in this round."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from turbospec.control.acceptance import PositionEstimate
from turbospec.fleet.load import fleet_estimates
from turbospec.fleet.load_memory import LoadKey
from turbospec.fleet.memory import FleetMemory
from turbospec.fleet.preserve import PreserveMemory, bounded, moved, observe
from turbospec.fleet.preserve_worth import replicas_saved
from turbospec.fleet.profiles import FittingProfile, ProfileKey
from turbospec.fleet.profiling import Candidate
from turbospec.fleet.readings import EngineCurves, engine_curves
from turbospec.fleet.scale_metrics import Preserved
from turbospec.fleet.scaling import ScaleTarget, targets_by_pod
from turbospec.fleet.snapshot import Mode

Place = tuple[str, str]
"""Namespace and scale target."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Ready engines of one scale target and profile key, of one policy that wants their metric's replicas kept."""

    members: Sequence[Candidate]
    target: ScaleTarget
    profile: FittingProfile | None


def keep_replicas(
    candidates: Iterable[Candidate],
    targets: Mapping[Place, ScaleTarget],
    profiles: Mapping[ProfileKey, FittingProfile],
    memory: FleetMemory,
    now_seconds: float,
) -> dict[LoadKey, PreserveMemory]:
    """What may be used, for every key whose policy asks for it and whose autoscaler reads what can be predicted."""
    target_of = targets_by_pod(targets)
    grouped: dict[LoadKey, list[Candidate]] = {}
    for candidate in candidates:
        policy, pod = candidate.policy, candidate.pod
        if policy.preserve and policy.mode is Mode.ENFORCE and pod.ready and not pod.terminating:
            grouped.setdefault((pod.namespace, target_of[pod.uid], candidate.key), []).append(candidate)
    found = {}
    for key, members in sorted(grouped.items(), key=lambda entry: entry[0]):
        target = targets[key[:2]]
        if len(target.autoscalers) == 1 and moved(target.autoscalers[0]):
            group = _Group(members, target, profiles.get(members[0].place))
            found[key] = _decide(group, key, memory, now_seconds)
    return found


def narrowed(
    candidates: Mapping[str, Candidate], target_of: Mapping[str, str], kept: Mapping[LoadKey, PreserveMemory]
) -> Mapping[str, Candidate]:
    """The candidates with the K that they may use now; pods that start beside ready ones have the same bounds."""
    found = {}
    for uid, candidate in candidates.items():
        known = kept.get((candidate.pod.namespace, target_of[uid], candidate.key))
        if candidate.policy.preserve and known is not None and known.allowed is not None:
            few = tuple(k for k in candidate.allowed if k in known.allowed) or candidate.allowed[:1]
            candidate = replace(candidate, allowed=few)  # noqa: PLW2901 the same one, with fewer K
        found[uid] = candidate
    return found


def preserved(kept: Mapping[LoadKey, PreserveMemory], places: Iterable[Place]) -> Mapping[Place, Preserved]:
    """How that stands for these scale targets, for their policy's condition."""
    found = {}
    for place in places:
        entries = [entry for key, entry in sorted(kept.items()) if key[:2] == place]
        lacking = next((entry.why for entry in entries if entry.allowed is None), None)
        if not entries:
            found[place] = Preserved(False, "autoscaling.preserve knows no bound for it.")
        elif lacking is not None:
            found[place] = Preserved(False, f"autoscaling.preserve waits for {lacking}.")
        else:
            allowed = sorted({k for entry in entries for k in entry.allowed or ()})
            found[place] = Preserved(True, f"K may be {', '.join(map(str, allowed))} at this load")
    return found


def _decide(group: _Group, key: LoadKey, memory: FleetMemory, now: float) -> PreserveMemory:
    known = memory.preserved.get(key)
    reports = [member.report for member in group.members]
    estimates = fleet_estimates(reports) or _remembered(memory, group.members[0].policy.uid, key[2])
    if group.profile is None or group.profile.latency is None:
        return PreserveMemory(now, why="a profile")
    if not estimates:
        return PreserveMemory(now, why="the acceptance of the text")
    draft_tokens = sorted({k for member in group.members for k in member.allowed})
    running = sum(report.running for report in reports)
    context = sum(report.kv_tokens for report in reports) / running if running else 0.0
    curves = engine_curves(
        group.profile.latency,
        estimates,
        draft_tokens,
        max_num_seqs=max(report.max_num_seqs for report in reports),
        context_tokens=context,
        graph_sizes=reports[0].graph_sizes,
    )
    hpa, seen = group.target.autoscalers[0], observe(known, curves, reports, now)
    return replace(bounded(seen, curves, hpa, draft_tokens), saved=_saved(group, seen, curves, draft_tokens))


def _saved(group: _Group, seen: PreserveMemory, curves: EngineCurves, draft_tokens: Sequence[int]) -> float | None:
    """By what the profile says of the engine without its drafter; None where it says nothing."""
    plain = None if group.profile is None else group.profile.plain
    reports = [member.report for member in group.members]
    held = min(report.kv_cache_tokens for report in reports)
    if plain is None or not held or not plain.kv_cache_tokens:
        return None
    without = engine_curves(
        plain.latency,
        (),
        (0,),
        max_num_seqs=max(report.max_num_seqs for report in reports),
        context_tokens=curves.context_tokens,
        graph_sizes=reports[0].graph_sizes,
    )
    share = held / plain.kv_cache_tokens
    return replicas_saved(seen, curves, without, group.target.autoscalers[0], draft_tokens=draft_tokens, kv_share=share)


def _remembered(memory: FleetMemory, policy_uid: str, key: str) -> tuple[PositionEstimate, ...]:
    pool = memory.pools.get((policy_uid, key))
    positions = pool.positions if pool is not None else ()
    return tuple(PositionEstimate(entry.acceptance, None, entry.samples) for entry in positions)
