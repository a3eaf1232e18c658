"""How a new pod of a policy starts: with the drafter or plain, as the policy says or as the fleet loop has decided.

The decision is read from the policy's status: it stays in force while the operator is down.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from turbospec.fleet.effects import VariantRow
from turbospec.fleet.scaling import belongs
from turbospec.fleet.snapshot import PodView, PolicyView, StartupVariant
from turbospec.fleet.variants import PLAIN, REFUSED, SPECULATIVE

__all__ = ["AS_EVER", "PLAIN", "REFUSED", "SPECULATIVE", "Startup", "startup_of"]


@dataclass(frozen=True, slots=True)
class Startup:
    """``variant`` is what ``spec.autoscaling.startupVariant`` says; ``plain`` what it comes to for this pod, and
    ``why``. ``scout`` names the leave for one more pod with the drafter, where there is one."""

    variant: StartupVariant = StartupVariant.SPECULATIVE
    plain: bool = False
    why: str = ""
    scout: tuple[str, str, float] | None = None

    @property
    def chosen(self) -> bool:
        """Whether it is for the policy to choose."""
        return self.variant is not StartupVariant.SPECULATIVE


AS_EVER = Startup()
"""With the drafter that the policy names."""


def startup_of(policy: PolicyView, pod: PodView) -> Startup:
    """How this pod shall start; with the drafter where nothing is known of its scale target."""
    variant = policy.startup_variant
    if variant is StartupVariant.PLAIN:
        return Startup(variant, plain=True, why="spec.autoscaling.startupVariant is Plain")
    row = _row(policy.variants, pod) if variant is StartupVariant.AUTO else None
    if row is None:
        return Startup(variant, why="nothing is known of its scale target yet")
    scout = None if row.scout_seconds is None else (policy.uid, row.target, row.scout_seconds)
    how = "plain" if row.plain else "the drafter"
    return Startup(variant, row.plain, f"startupVariant Auto has chosen {how} for {row.target}", scout)


def _row(rows: Sequence[VariantRow], pod: PodView) -> VariantRow | None:
    """The row of the pod's scale target, by the rule of the fleet loop: a selector goes before an owner."""
    mine = [row for row in rows if belongs(pod, row.target, row.selector)]
    return min(mine, key=lambda row: (row.selector is None, row.target), default=None)
