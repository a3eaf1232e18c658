"""Looks at the cluster, one after the other, and what the last one found."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from turbospec.cli.errors import CommandError
from turbospec.cli.fleet import policies, top
from turbospec.cli.fleet.api import Api
from turbospec.cli.kube import Kube
from turbospec.cli.profile.files import Profile, profile_of
from turbospec.cli.web.history import History, Moment

INTERVAL_SECONDS = top.INTERVAL_SECONDS
PROFILE_LOOKS = 12
"""Profiles are looked at with every so manieth look: they change by the day, and are a hundred times as large."""

Raw = dict[str, Any]
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class KnownProfile:
    """A profile of a namespace, or (None) of the cluster; ``fault`` says why it cannot be used."""

    namespace: str | None
    name: str
    profile: Profile | None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Profiles:
    """Those that the user may see; ``faults`` says what could not be asked."""

    known: tuple[KnownProfile, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """What is known now. Never changed: readers on other threads keep the one that they took."""

    at: float
    """Seconds since 1970, of the last look that succeeded."""
    where: str | None
    """Namespace that is looked at; None: all."""
    policies: Sequence[Raw]
    """As ``status -o json`` has them."""
    engines: Sequence[Raw]
    """As ``top -o json`` has them, with what explains them beside."""
    profiles: Profiles
    moments: tuple[Moment, ...] = ()
    error: str | None = None
    """Why the last look failed, where it did."""


class Looker:
    """Asks the cluster; ``latest`` is what it is known to be."""

    def __init__(self, api: Api, kube: Kube, where: str | None, clock: Clock = time.time) -> None:
        """The first look. Raises CommandError where that fails: there would be nothing to show."""
        self._api, self._kube, self._where, self._clock = api, kube, where, clock
        self._history = History()
        self._looks = 0
        self.latest = self._look(Profiles())

    def again(self) -> None:
        """One look more; where it fails the last good figures stay, and the error is told."""
        try:
            self.latest = self._look(self.latest.profiles)
        except CommandError as error:
            self.latest = replace(self.latest, error=error.message)

    def until(self, stopped: threading.Event, interval: float = INTERVAL_SECONDS) -> None:
        """Look again and again, for a thread of its own."""
        while not stopped.wait(interval):
            self.again()

    def _look(self, profiles: Profiles) -> Look:
        found = policies.found(self._api, self._where)
        rows = [engine_row(policy, engine) for policy in found for engine in policies.engines(policy)]
        if self._looks % PROFILE_LOOKS == 0:
            profiles = known_profiles(self._kube, self._where)
        self._looks += 1
        now = self._clock()
        self._history.add(now, rows)
        return Look(now, self._where, [summary(each) for each in found], rows, profiles, self._history.moments)


def engine_row(policy: Raw, engine: Raw) -> Raw:
    """What ``top`` says of an engine, and what explains it."""
    decision = engine.get("decision") or {}
    rates = top.predicted(decision)
    return top.figures(policy, engine) | {
        "node": engine.get("node"),
        "profile": engine.get("profile"),
        "reason": engine.get("reason"),
        "message": engine.get("message"),
        "predictedTokensPerSecond": top.of_decided(rates, decision),
        "decision": {"reason": decision.get("reason"), "bounding": decision.get("bounding")},
        "predictions": [{"draftTokens": k, "tokensPerSecond": rates[k]} for k in sorted(rates)],
        "schedule": [
            {field: each[field] for field in ("fromBatch", "toBatch", "draftTokens")}
            for each in engine.get("schedule") or ()
        ],
    }


def summary(policy: Raw) -> Raw:
    """What ``status`` says of a policy; its engines stand by themselves."""
    return {name: value for name, value in policies.summary(policy).items() if name != "engines"}


def known_profiles(kube: Kube, where: str | None) -> Profiles:
    """Profiles of a namespace or of all, and of the cluster; what may not be seen is a fault and not an error."""
    known: list[KnownProfile] = []
    faults: list[str] = []
    questions: tuple[Callable[[], Sequence[Raw]], ...] = (lambda: kube.profiles(where), kube.cluster_profiles)
    for ask in questions:
        try:
            known += [_known(raw) for raw in ask()]
        except CommandError as error:
            faults.append(error.message)
    return Profiles(tuple(sorted(known, key=lambda each: (each.namespace or "", each.name))), tuple(faults))


def _known(raw: Raw) -> KnownProfile:
    namespace, name = raw["metadata"].get("namespace"), raw["metadata"]["name"]
    try:
        return KnownProfile(namespace, name, profile_of(raw, name))
    except CommandError as error:
        return KnownProfile(namespace, name, None, error.message.removeprefix(f"{name}: "))
