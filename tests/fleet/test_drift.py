"""Step times against the profile: one engine that differs is an outlier, most of them are drift."""

from dataclasses import dataclass, field, replace

import pytest

from tests.fleet.builders import (
    KEY,
    LADDER,
    NOW,
    conditions,
    job,
    jobs,
    latency_model,
    pod,
    policy,
    profile,
    report,
    snapshot,
    status,
)
from turbospec.control.region_fit import RegionFit
from turbospec.fleet.decide import decide
from turbospec.fleet.documents import local_base
from turbospec.fleet.drift import ALONE_SECONDS, ALONE_STEPS, SETTLED_SECONDS
from turbospec.fleet.effects import ConditionValue, Effect, EmitEvent, HarvestProfile, SetPolicyStatus
from turbospec.fleet.memory import FleetMemory
from turbospec.fleet.profiles import fitting_profiles
from turbospec.fleet.snapshot import FleetSnapshot, JobPhase, ProfileSource, ProfileView

ROUND_SECONDS = 2.0
PROFILE = profile()


def digest(view: ProfileView) -> str:
    return fitting_profiles([view], [("team", KEY)])["team", KEY].digest


BASE = local_base(policy(), LADDER, digest(PROFILE))


def region(batch: int, ratio: float, steps: int = 1000) -> RegionFit:
    return RegionFit(batch, ratio, steps, off=not 0.75 <= ratio <= 4 / 3)


def fleet(*engines: list[RegionFit], **changes: object) -> FleetSnapshot:
    """Engines that run the profile's document, each with what it measured."""
    pods = tuple(
        pod(f"chat-{n}", report=report(engine_id=f"engine-{n}", applied_id=BASE, regions=tuple(regions)))
        for n, regions in enumerate(engines)
    )
    return replace(snapshot(pods=pods, profiles=(PROFILE,)), **changes)  # type: ignore[arg-type]


@dataclass
class Operator:
    """Rounds over a fleet that stays as it is."""

    memory: FleetMemory = field(default_factory=FleetMemory)
    now: float = NOW
    effects: list[Effect] = field(default_factory=list)
    last: dict[str, ConditionValue] = field(default_factory=dict)

    def watch(self, observed: FleetSnapshot, seconds: float) -> ConditionValue:
        for _ in range(int(seconds / ROUND_SECONDS) + 1):
            effects, self.memory = decide(replace(observed, now_seconds=self.now), self.memory)
            self.now += ROUND_SECONDS
            self.effects += effects
            if any(isinstance(one, SetPolicyStatus) for one in effects):
                self.last = conditions(effects)
        return self.last["ProfileAccurate"]

    def pod_events(self) -> list[EmitEvent]:
        return [one for one in self.effects if isinstance(one, EmitEvent) and one.regarding is not None]


GOOD, SLOW, FAST = [region(4, 1.05)], [region(4, 2.0)], [region(4, 0.5)]


@pytest.mark.parametrize(
    ("engines", "seconds", "reason", "outliers"),
    [
        ([GOOD], SETTLED_SECONDS, "StepTimesAgree", 0),
        ([GOOD, GOOD, SLOW], SETTLED_SECONDS, "StepTimesAgree", 1),
        ([GOOD, SLOW], SETTLED_SECONDS, "StepTimesAgree", 1),
        ([SLOW, SLOW], SETTLED_SECONDS, "ProfileDrifted", 0),
        ([FAST, FAST, FAST], SETTLED_SECONDS, "ProfileDrifted", 0),
        ([SLOW, SLOW, GOOD], SETTLED_SECONDS, "ProfileDrifted", 0),
        ([SLOW, FAST], SETTLED_SECONDS, "StepTimesAgree", 2),
        ([SLOW, SLOW], SETTLED_SECONDS / 2, "StepTimesInDoubt", 0),
        ([SLOW], SETTLED_SECONDS, "StepTimesInDoubt", 0),
        ([SLOW], ALONE_SECONDS, "ProfileDrifted", 0),
        ([[region(4, 2.0, ALONE_STEPS - 1)]], 2 * ALONE_SECONDS, "StepTimesAgree", 0),
    ],
    ids=str,
)
def test_most_engines_are_drift_and_one_is_an_outlier(
    engines: list[list[RegionFit]], seconds: float, reason: str, outliers: int
) -> None:
    """A single engine has to be off for long: nobody else can tell whether it is the profile or the machine."""
    operator = Operator()
    assert operator.watch(fleet(*engines), seconds).reason == reason
    assert len(operator.pod_events()) == outliers


def test_drift_in_one_region_is_drift_whatever_others_run_elsewhere() -> None:
    """Engines that never had such batches are no witnesses for them."""
    busy = [region(4, 1.0), region(64, 1.9)]
    operator = Operator()
    found = operator.watch(fleet(busy, busy, GOOD, GOOD, GOOD), SETTLED_SECONDS)
    assert found.reason == "ProfileDrifted"
    assert "1.90 x predicted at batches 64-127" in found.message
    assert "batches 4-7" not in found.message


def test_an_outlier_says_nothing_of_regions_where_it_is_alone() -> None:
    """It is slow everywhere: its peers prove it where they can."""
    slow = [region(4, 2.0), region(64, 2.0)]
    operator = Operator()
    assert operator.watch(fleet(slow, GOOD, GOOD), 2 * ALONE_SECONDS).reason == "StepTimesAgree"


def test_drift_says_what_was_measured_and_what_to_do() -> None:
    """By where profiles come from."""
    observed = fleet(SLOW, SLOW)
    told = Operator().watch(observed, SETTLED_SECONDS)
    assert told.status == "False"
    assert "2.00 x predicted at batches 4-7" in told.message
    assert f"kubectl delete job -n team -l turbospec.io/profiling-key={KEY}" in told.message
    existing = replace(observed, policies=(policy(profile_source=ProfileSource.EXISTING),))
    assert "set spec.profiling.source to Job" in Operator().watch(existing, SETTLED_SECONDS).message


def test_an_outlier_gets_one_event_on_its_pod_and_a_reason_in_its_row() -> None:
    """However often it is seen; and again when it comes back after it was well."""
    observed = fleet(GOOD, SLOW, GOOD)
    operator = Operator()
    operator.watch(observed, 10 * SETTLED_SECONDS)
    (event,) = operator.pod_events()
    assert event.regarding is not None
    assert (event.regarding.pod, event.reason, event.type) == ("chat-1", "OutlierStepTimes", "Warning")
    assert "2.00 x predicted at batches 4-7" in event.message
    assert "node-1" in event.message
    written = [one for one in operator.effects if isinstance(one, SetPolicyStatus)][-1]
    reasons = {row.pod: (row.reason, row.controlled) for row in status([written]).engines}
    assert reasons == {
        "chat-0": ("Controlled", True),
        "chat-1": ("OutlierStepTimes", True),
        "chat-2": ("Controlled", True),
    }
    operator.watch(fleet(GOOD, GOOD, GOOD), SETTLED_SECONDS)
    operator.watch(observed, SETTLED_SECONDS)
    assert len(operator.pod_events()) == 2


def test_engines_under_another_model_are_no_witnesses() -> None:
    """What they measured is about the profile before."""
    observed = fleet(SLOW, SLOW)
    changed = replace(observed, profiles=(profile(latency=latency_model(2.0)),))
    operator = Operator()
    with pytest.raises(KeyError):
        operator.watch(changed, SETTLED_SECONDS)


def test_a_hiccup_of_all_is_forgotten() -> None:
    """The time counts without a break."""
    operator = Operator()
    for _ in range(5):
        assert operator.watch(fleet(SLOW, SLOW), SETTLED_SECONDS / 2).reason == "StepTimesInDoubt"
        assert operator.watch(fleet(GOOD, GOOD), ROUND_SECONDS).reason == "StepTimesAgree"


def test_drift_is_measured_again_while_the_old_profile_stays_in_use() -> None:
    """One Job; its result replaces the profile, and engines that run it start to compare anew."""
    observed = fleet(SLOW, SLOW, profiles=(replace(PROFILE, measured_seconds=NOW - 9000),))
    operator = Operator()
    operator.watch(observed, 2 * SETTLED_SECONDS)
    (asked,) = {effect.name for effect in jobs(operator.effects)}
    assert operator.last["Profiled"].status == "True"
    assert operator.last["Profiled"].reason == "ProfileStale"
    assert "no longer those of profile" in operator.last["Profiled"].message
    done = job(name=asked, phase=JobPhase.SUCCEEDED, harvestable=True, finished_seconds=operator.now)
    operator.watch(replace(observed, jobs=(done,)), ROUND_SECONDS)
    (harvest,) = [one for one in operator.effects if isinstance(one, HarvestProfile)]
    assert (harvest.profile, harvest.replaces) == (PROFILE.name, True)
    renewed = profile(latency=latency_model(2.0), measured_seconds=operator.now)
    base = local_base(policy(), LADDER, digest(renewed))
    pods = tuple(
        replace(one, report=replace(one.report, applied_id=base, regions=(region(4, 1.0),)))  # type: ignore[type-var]
        for one in observed.pods
    )
    healed = replace(observed, pods=pods, profiles=(renewed,), jobs=(done,))
    assert operator.watch(healed, SETTLED_SECONDS).reason == "StepTimesAgree"
    assert operator.last["Profiled"].reason == "ProfileReady"


@pytest.mark.parametrize(("source", "asked"), [(ProfileSource.JOB, 1), (ProfileSource.EXISTING, 0)])
def test_only_source_job_measures(source: ProfileSource, asked: int) -> None:
    """Whoever brought the profile has to bring another one."""
    observed = fleet(SLOW, SLOW, policies=(policy(profile_source=source),))
    operator = Operator()
    operator.watch(observed, SETTLED_SECONDS)
    assert len(jobs(operator.effects)) == asked


def test_drift_alone_measures_nothing_while_it_is_in_doubt_or_an_outlier() -> None:
    """A Job costs an accelerator for minutes."""
    for observed in (fleet(SLOW), fleet(SLOW, GOOD)):
        operator = Operator()
        operator.watch(observed, 2 * SETTLED_SECONDS)
        assert not jobs(operator.effects)
