"""What TurboSpec would have done for a policy that only asks for advice, as the policy's status says it."""

from dataclasses import dataclass
from enum import StrEnum

from turbospec.fleet.effects import ConditionValue

CONDITION = "Advised"


class AdviceReason(StrEnum):
    """The verdict of advice, in the words of a condition's reason."""

    GAIN = "GainExpected"
    NO_GAIN = "NoGainExpected"
    LOSS = "LossExpected"
    UNCLEAR = "GainUnclear"
    UNKNOWN = "GainUnknown"


@dataclass(frozen=True, slots=True)
class AdviceView:
    """Advice on the engines of one policy.

    ``summary`` is an interval (``+7% to +20%``) or ``unknown: needs ...``, ``message`` the whole of it.
    """

    namespace: str
    policy: str
    reason: AdviceReason
    summary: str
    message: str


def advised(advice: AdviceView) -> ConditionValue:
    """The condition, of which every new reason makes an event: True where there is an interval."""
    status = "Unknown" if advice.reason is AdviceReason.UNKNOWN else "True"
    return ConditionValue(CONDITION, status, advice.reason.value, advice.message)
