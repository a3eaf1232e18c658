"""What speculation is worth to every (scale target, profile key), by what its ready pods may run now and its text."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from turbospec.fleet import demand
from turbospec.fleet.capacity import Capability
from turbospec.fleet.demand import Lengths
from turbospec.fleet.load import KEPT_SECONDS, LoadSituation, capability, engines_by_key, text_of
from turbospec.fleet.load_memory import LoadKey, LoadMemory
from turbospec.fleet.profiles import FittingProfile
from turbospec.fleet.snapshot import PlainView
from turbospec.fleet.worth import ERRORS, UnknownWorth, Value, Worth, worth

EVERY_SECONDS = 60.0
"""How often it is worked out anew: the text and the lengths that it rests on are means over minutes, and it takes 10 ms
for each key."""


def observe_value(
    situation: LoadSituation, loads: Mapping[LoadKey, LoadMemory], memory: Mapping[LoadKey, Value]
) -> dict[LoadKey, Value]:
    """Every key of this policy whose pods answer and have a profile; ``loads`` are those of this round.

    While pods, answers or requests lack, what was known stays in force, ``KEPT_SECONDS`` at most.
    """
    silent = {(pod.namespace, situation.targets[pod.uid]) for pod in situation.pods if pod.report is None}
    kept = forget_value(memory, situation.now_seconds)
    found = {key: value for key, value in kept.items() if key[:2] in silent}
    for key in engines_by_key(situation):
        profile = situation.profiles.get((key[0], key[2]))
        if profile is not None and profile.latency is not None:
            known = memory.get(key)
            age = math.inf if known is None or known.worth is None else abs(situation.now_seconds - known.seconds)
            if known is None or age >= EVERY_SECONDS or known.profile != profile.name:
                fresh = _value(situation, key, profile, loads.get(key))
                lasts = fresh.unknown is UnknownWorth.PENDING and age < KEPT_SECONDS
                known = known if lasts and known is not None and known.profile == profile.name else fresh
            found[key] = known
    return found


def forget_value(memory: Mapping[LoadKey, Value], now_seconds: float) -> dict[LoadKey, Value]:
    """What to remember of keys that nothing was observed of: pods that come back serve the same text."""
    return {key: value for key, value in memory.items() if abs(now_seconds - value.seconds) < KEPT_SECONDS}


class _Unknown(NamedTuple):
    reason: UnknownWorth
    why: str


class _Comparison(NamedTuple):
    """The engine without its drafter, and the relative standard errors of what it is compared by."""

    plain: PlainView
    errors: tuple[float, ...]


def _value(situation: LoadSituation, key: LoadKey, profile: FittingProfile, load: LoadMemory | None) -> Value:
    comparison = _comparison(profile)
    lengths = None if load is None else demand.lengths(load.demand)
    if isinstance(comparison, _Unknown):
        found: Worth | _Unknown = comparison
    elif lengths is None:
        found = _Unknown(UnknownWorth.PENDING, "too few requests have come and ended")
    else:
        found = _claim(situation, key, profile, comparison, lengths)
    if isinstance(found, _Unknown):
        return Value(situation.now_seconds, profile.name, None, found.reason, found.why)
    return Value(situation.now_seconds, profile.name, found)


def _comparison(profile: FittingProfile) -> _Comparison | _Unknown:
    plain = profile.plain
    if plain is None and profile.plain_invalid is not None:
        return _Unknown(UnknownWorth.REFUSED, profile.plain_invalid)
    if plain is None or profile.latency is None:
        return _Unknown(UnknownWorth.NOT_MEASURED, "it says nothing of the engine without its drafter")
    if profile.hold_out_error is None:
        why = "it does not say how far its step times may be off (spec.holdOutErrorPermille)"
    elif plain.hold_out_error is None:
        why = "too few cells of the engine without its drafter to tell how far they may be off"
    else:
        errors = (profile.hold_out_error, plain.hold_out_error, profile.latency.doubt)
        if ERRORS * math.hypot(*errors) < 1.0:
            return _Comparison(plain, errors)
        why = "its step times may be off by as much as they are"
    return _Unknown(UnknownWorth.ERROR_UNKNOWN, why)


def _claim(
    situation: LoadSituation, key: LoadKey, profile: FittingProfile, comparison: _Comparison, lengths: Lengths
) -> Worth | _Unknown:
    """Of all kinds of pods that are Ready together: what holds for each of them."""
    members = engines_by_key(situation)[key]
    ready = [report for pod, report in members if pod.ready]
    text, bounds = text_of(situation, key, ready), situation.bounds.get(key)
    able = [capability(situation.policy, report, profile, text, bounds) for report in ready]
    kinds = _kinds(each for each in able if each is not None)
    if not kinds:
        return _Unknown(UnknownWorth.PENDING, "no pod is Ready and says which K it runs")
    claims = [worth(engine, comparison.plain, lengths, comparison.errors) for engine in kinds]
    known = [claim for claim in claims if claim is not None]
    if len(known) < len(claims):
        return _Unknown(UnknownWorth.PENDING, "no engine has drafted yet")
    return Worth(min(claim.low for claim in known), max(claim.high for claim in known))


def _kinds(engines: Iterable[Capability]) -> list[Capability]:
    """One of each kind, that with the least KV cache: memory differs by some blocks between pods of one template."""
    found: dict[object, Capability] = {}
    for engine in engines:
        limits = (engine.max_num_seqs, engine.max_num_batched_tokens, engine.graph_sizes)
        kind = (engine.draft_tokens, engine.table, limits)
        known = found.get(kind)
        if known is None or engine.kv_cache_tokens < known.kv_cache_tokens:
            found[kind] = engine
    return list(found.values())
