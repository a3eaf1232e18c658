"""The fleet loop survives what goes wrong in a round, says it once, and its health tells the truth."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, cast

import pytest

from tests.operator.samples import engine_pod
from tests.operator.test_views import stored
from turbospec.fleet.capacity import LoadSignal
from turbospec.fleet.effects import CreateProfilingJob, Effect, EngineAddress, EnsureRuntime, PushControl
from turbospec.fleet.load_memory import LoadMemory
from turbospec.fleet.memory import FleetMemory
from turbospec.fleet.scale_events import ScaleEvent, ScaleState
from turbospec.fleet.snapshot import FleetSnapshot, JobObstacle
from turbospec_operator import fleet_loop, views
from turbospec_operator.apply import Applier, Outcome
from turbospec_operator.cluster import PODS, ApiError, Cluster
from turbospec_operator.fleet_loop import FleetLoop
from turbospec_operator.metrics import Metrics
from turbospec_operator.observe import Observation, Observer

PUSH = PushControl(EngineAddress("shop", "chat-1", "uid-1"), "d-1", "shop", "chat", 1, None, (0, 1), None, (), "")
RUNTIME = EnsureRuntime("shop")


class FakeObserver:
    """Gives the same snapshot again, or fails; remembers what it was told."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.told: list[dict[str, Any]] = []
        self.wanted = 0
        self.enough = asyncio.Event()
        self.api_proven_at: float | None = None

    def expire(self) -> None:
        """Nothing is cached here."""

    async def observe(self, **told: Any) -> Observation:
        """The snapshot of one pod."""
        self.told.append(told)
        if len(self.told) >= self.wanted:
            self.enough.set()
        if self.error is not None:
            raise self.error
        self.api_proven_at = asyncio.get_running_loop().time()
        pod = views.pod_view(stored(engine_pod("shop", "chat-1")), None, None)
        return Observation(FleetSnapshot(0.0, told["epoch"], pods=(pod,)), {}, {}, {}, {}, False, True)


class FakeApplier:
    """Answers every effect with the outcome set for it."""

    def __init__(self) -> None:
        self.outcomes: dict[Effect, Outcome] = {}

    async def apply(self, effects: Sequence[Effect], _observation: Observation) -> tuple[Outcome, ...]:
        """The outcomes, in order."""
        return tuple(self.outcomes.get(effect, Outcome()) for effect in effects)


class Rounds:
    """A loop without a cluster, one round at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *effects: Effect) -> None:
        self.observer, self.applier, self.metrics = FakeObserver(), FakeApplier(), Metrics()
        self.forgotten: list[list[Effect]] = []
        self.defect: Exception | None = None
        monkeypatch.setattr(fleet_loop, "decide", lambda _snapshot, memory: self._decide(effects, memory))
        monkeypatch.setattr(fleet_loop, "forget", self._forget)
        monkeypatch.setattr(fleet_loop, "load_master_key", self._key)
        self.loop = FleetLoop(
            cast(Cluster, None),
            cast(Observer, self.observer),
            cast(Applier, self.applier),
            self.metrics,
            namespace="turbospec-system",
            epoch=7,
            interval_seconds=0.001,
        )

    async def run(self, count: int = 1) -> None:
        """This many rounds."""
        self.observer.wanted, self.observer.enough = len(self.observer.told) + count, asyncio.Event()
        task = asyncio.create_task(self.loop.run())
        await self.observer.enough.wait()  # nothing in a round waits here, so the last one has ended by now
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def _decide(self, effects: Sequence[Effect], memory: FleetMemory) -> tuple[Sequence[Effect], FleetMemory]:
        if self.defect is not None:
            raise self.defect
        return effects, memory

    def _forget(self, memory: FleetMemory, failed: Any) -> FleetMemory:
        self.forgotten.append(list(failed))
        return memory

    async def _key(self, _cluster: Cluster, _namespace: str) -> bytes:
        return bytes(32)


def problem(rounds: Rounds) -> str | None:
    """Why the loop is not ready."""
    return rounds.loop.health().not_ready


async def test_the_loop_is_ready_after_its_first_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before: nobody has proved access to the API server yet."""
    rounds = Rounds(monkeypatch)
    assert problem(rounds) is not None
    await rounds.run()
    assert problem(rounds) is None
    assert rounds.loop.health().not_live is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ApiError("list", PODS, "shop", 500, "etcd is slow"), "cannot list pods in shop: etcd is slow"),
        (RuntimeError("a defect"), "round failed: RuntimeError: a defect"),
    ],
)
async def test_a_failing_round_is_said_once_and_the_next_one_is_tried(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it is: the loop goes on, not ready, and says when it works again."""
    rounds = Rounds(monkeypatch)
    rounds.observer.error = error
    with caplog.at_level(logging.INFO):
        await rounds.run(3)
        assert problem(rounds) == said
        assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [said]
        rounds.observer.error = None
        await rounds.run(2)
    assert problem(rounds) is None
    assert caplog.records[-1].message == "rounds are completed again"


async def test_a_defect_in_deciding_does_not_end_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deciding is pure, and still somebody's code."""
    rounds = Rounds(monkeypatch)
    rounds.defect = ZeroDivisionError("0/0")
    await rounds.run(2)
    assert "ZeroDivisionError" in str(problem(rounds))
    assert 'turbospec_operator_rounds_total{result="error"}' in rounds.metrics.text().decode()


async def test_what_did_not_reach_its_target_is_decided_again_and_a_refusal_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An engine that read a document and did not want it gets it no sooner for that."""
    rounds = Rounds(monkeypatch, PUSH, RUNTIME)
    rounds.applier.outcomes = {PUSH: Outcome("refused", refusal="BadTable: rows"), RUNTIME: Outcome("no answer")}
    await rounds.run()
    assert rounds.forgotten[0] == [RUNTIME]
    rounds.applier.outcomes = {PUSH: Outcome("no answer")}
    await rounds.run()
    assert rounds.forgotten[-1] == [PUSH]


async def test_refusals_and_missing_permissions_are_in_the_next_snapshot_until_they_are_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What applying comes upon is something to decide on."""
    rounds = Rounds(monkeypatch, PUSH, RUNTIME)
    uid = stored(engine_pod("shop", "chat-1"))["metadata"]["uid"]
    rounds.applier.outcomes = {
        PUSH: Outcome("refused", refusal="BadTable: rows"),
        RUNTIME: Outcome("denied", denied="create configmaps in shop: pods start without the runtime"),
    }
    await rounds.run(2)
    assert rounds.observer.told[1]["refusals"] == {uid: "BadTable: rows"}
    assert rounds.observer.told[1]["denied"] == ["create configmaps in shop: pods start without the runtime"]
    rounds.applier.outcomes = {}
    await rounds.run(2)
    assert rounds.observer.told[-1]["refusals"] == {}
    assert rounds.observer.told[-1]["denied"] == []


async def test_a_forbidden_job_is_kept_in_mind_for_longer_than_one_without_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Profiles grow meanwhile, and another namespace's Job may hold up the next try; success ends it at once."""
    effect = CreateProfilingJob("shop", "job", "00", "chat-1", "chat", "uid", (0, 1), 1)
    rounds = Rounds(monkeypatch, effect)
    monkeypatch.setattr(fleet_loop, "OBSTACLE_SECONDS", -1.0)
    for outcome, expected in (
        (Outcome("no", obstacle="no"), []),
        (Outcome("no", obstacle="no", forbidden=True), [JobObstacle("shop", "job", "00", "no", forbidden=True)]),
        (Outcome(), []),
    ):
        rounds.applier.outcomes = {effect: outcome}
        await rounds.run(2)
        assert rounds.observer.told[-1]["obstacles"] == expected


async def test_a_loop_whose_rounds_stop_ending_is_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubelet restarts it then."""
    rounds = Rounds(monkeypatch)
    await rounds.run()
    monkeypatch.setattr(fleet_loop, "LIVE_SECONDS", -10.0)
    assert "last round ended" in str(rounds.loop.health().not_live)


async def test_the_load_signal_goes_where_no_round_succeeds_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """An autoscaler that finds no value holds its replicas; one of an hour ago it would act on."""
    rounds = Rounds(monkeypatch)
    signal = LoadSignal(0.2, 0.7, 0.5, 700.0, pod_capacity_tokens_per_second=500.0, expected_tokens_per_second=800.0)
    known = FleetMemory(loads={("shop", "deployment/chat", "key"): LoadMemory(0.0, signal=signal)})
    monkeypatch.setattr(fleet_loop, "decide", lambda _snapshot, _memory: ((), known))
    await rounds.run()
    rounds.observer.error = ApiError("list", PODS, "shop", 500, "etcd is slow")
    await rounds.run()
    assert b"turbospec_offered_load_ratio{" in rounds.metrics.text()
    monkeypatch.setattr(fleet_loop, "LOAD_SECONDS", -1.0)
    await rounds.run()
    assert b"turbospec_offered_load_ratio{" not in rounds.metrics.text()


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (None, True),
        (ScaleEvent(ScaleState.STEADY, "MetricAtTarget", "chat has 2 replicas and wants 2."), True),
        (ScaleEvent(ScaleState.UP_UNDER_WAY, "PodsStarting", "1 pods start beside 2."), True),
        (ScaleEvent(ScaleState.UP_UNDER_WAY, "NodesAwaited", "2 pods start beside 2."), False),
    ],
    ids=["first seen", "another state", "another reason", "only other words"],
)
def test_what_replicas_do_is_logged_with_its_evidence_when_it_changes(before: ScaleEvent | None, said: bool) -> None:
    """Rounds come every two seconds."""
    place = ("shop", "deployment/chat")
    now = ScaleEvent(ScaleState.UP_UNDER_WAY, "NodesAwaited", "1 pods start beside 2.")
    found = list(fleet_loop.scaling_news({} if before is None else {place: before}, {place: now}))
    line = "replicas of deployment/chat in shop: UpUnderWay (NodesAwaited): 1 pods start beside 2."
    assert found == ([line] if said else [])
