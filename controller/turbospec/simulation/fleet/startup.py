"""``startupVariant: Auto`` in a simulated fleet: the product's own decider says which pods start plain."""

from collections.abc import Iterable
from dataclasses import replace

from turbospec.fleet.startup_variant import StartedPod, VariantMemory, begin, observe
from turbospec.fleet.worth import Worth
from turbospec.simulation.files import EngineFile
from turbospec.simulation.fleet.pods import Phase, Pod

ROUND_SECONDS = 60.0
"""How often it is decided; in production every 2 s. What it waits for takes ten minutes and more."""


class Startup:
    """One scale target's variant, from a fleet on that all pods start with the drafter."""

    def __init__(self, plain: EngineFile, begins: float) -> None:
        """``plain``: the engine without its drafter."""
        self.plain = plain
        self.memory: VariantMemory = begin(begins, plain=False)
        self._scouted: float | None = None

    def go_on_from(self, before: "Startup") -> None:
        """With what was in force, and known of pods' lives, at the end of the day before; all pods are new since."""
        known = before.memory
        self.memory = replace(
            begin(self.memory.seconds, plain=known.plain),
            lives=known.lives,
            mean_life_seconds=known.mean_life_seconds,
            known_loss=known.known_loss,
        )

    def round(self, now: float, worth: Worth | None, pods: Iterable[Pod]) -> None:
        """What starting with the drafter is worth now, and the pods that are there."""
        there = [StartedPod(pod.name, pod.created, pod.plain, pod.phase(now) is Phase.READY) for pod in pods]
        self.memory = observe(self.memory, worth, there, now)

    def starts_plain(self) -> bool:
        """Of the pod that is created now. A scout is asked for once."""
        asked = self.memory.scout_seconds
        if asked is not None and asked != self._scouted:
            self._scouted = asked
            return False
        return self.memory.plain
