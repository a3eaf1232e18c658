"""What a policy's status says of the worth of speculation: condition ``Worthwhile``, and a row per scale target."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from turbospec.fleet.capacity import LoadSignal
from turbospec.fleet.effects import ConditionValue, TargetSummary
from turbospec.fleet.load_memory import LoadKey
from turbospec.fleet.worth import UnknownWorth, Value, Variant

CONDITION = "Worthwhile"
SAVES, LOSES, UNCLEAR = "SavesReplicas", "PlainIsBetter", "WorthUnclear"

_REASONS = {Variant.PLAIN: LOSES, Variant.EITHER: UNCLEAR, Variant.SPECULATIVE: SAVES}
_STATUS = {SAVES: "True", LOSES: "False"}
REMEDIES = {
    LOSES: "Start these pods without speculation (spec.autoscaling.startupVariant Auto or Plain, or take "
    "--speculative-config out of their template), or allow K that pays in spec.speculation.draftTokens.",
    UnknownWorth.REFUSED: "Correct it, or delete the profile to have it measured anew.",
    UnknownWorth.ERROR_UNKNOWN: "Delete the profile to have it measured anew, where nothing else runs.",
    UnknownWorth.NOT_MEASURED: "A profiling Job measures it where time is left for it: delete the profile to have it "
    "measured anew, with more of TURBOSPEC_PROFILE_PLAIN_SECONDS.",
    UnknownWorth.PENDING: "It shows under load.",
    UNCLEAR: "Better profiles may tell; until then nothing is to be gained by a change.",
    SAVES: "",
}
"""By reason, the most urgent first: what waits for a person, then what passes by itself."""

_NAMED = 3
"""Scale targets that a message names."""


@dataclass(frozen=True, slots=True)
class TargetValue:
    """What speculation is worth to one scale target, and the target's load, where that is known."""

    key: LoadKey
    value: Value
    load: LoadSignal | None = None

    @property
    def reason(self) -> str:
        """The word of a condition."""
        if self.value.worth is None:
            return self.value.unknown or UnknownWorth.PENDING
        return _REASONS[self.value.worth.recommended]


def condition(values: Sequence[TargetValue]) -> ConditionValue | None:
    """Condition ``Worthwhile``: False only where even the most is a loss. None where no engine has a profile."""
    if not values:
        return None
    reason = min((each.reason for each in values), key=list(REMEDIES).index)
    shown = [each for each in values if each.reason == reason][:_NAMED]
    others = len(values) - len(shown)
    more = [f"({others} more in status.scaleTargets)"] if others else []
    message = " ".join([*(_sentence(each) for each in shown), *more, REMEDIES[reason]]).strip()
    return ConditionValue(CONDITION, _STATUS.get(reason, "Unknown"), reason, message)


def summary(each: TargetValue) -> TargetSummary:
    """The row of the status."""
    _, target, profile_key = each.key
    worth = each.value.worth
    if worth is None:
        return TargetSummary(target, profile_key, each.reason)
    return TargetSummary(target, profile_key, each.reason, worth.recommended, _percent(worth.low, worth.high))


def _sentence(each: TargetValue) -> str:
    _, target, _ = each.key
    worth = each.value.worth
    if worth is None:
        return f"{target}, profile {each.value.profile}: {each.value.why}."
    if worth.recommended is Variant.PLAIN:
        low, high = _percent(_fewer(worth.high), _fewer(worth.low))
        return f"{target}: without the drafter the same requests take {low}% to {high}% fewer replicas{_pods(each)}."
    low, high = _percent(worth.low, worth.high)
    return (
        f"{target}: speculation saves {low}% to {high}% of the replicas that the same engines take without a drafter."
    )


def _pods(each: TargetValue) -> str:
    """The same in pods, for the demand of now."""
    if each.load is None or each.value.worth is None:
        return ""
    pods = each.load.demand_tokens_per_second / each.load.pod_capacity_tokens_per_second
    low, high = pods * _fewer(each.value.worth.high), pods * _fewer(each.value.worth.low)
    return f" (now {low:.1f} to {high:.1f} of {pods:.1f} at full load)"


def _fewer(saved: float) -> float:
    """Share of the speculating fleet's replicas that a plain fleet does without, from the share of the plain fleet's
    that speculation saves (below 0)."""
    return -saved / (1.0 - saved)


def _percent(low: float, high: float) -> tuple[int, int]:
    """Whole percents, apart rather than together: they claim no more than is known."""
    return math.floor(100.0 * low), math.ceil(100.0 * high)
