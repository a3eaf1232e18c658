"""The operator process against a real API server: from a policy and pods to controlled engines, whatever happens."""

import base64

import pytest

from tests.operator import shop
from tests.operator.engine_stand_in import EngineStandIn
from tests.operator.operator_process import OperatorProcess, eventually
from tests.operator.samples import KEY, policy, profile_result
from tests.support.apiserver import ApiServer
from turbospec.fleet.effects import HarvestProfile
from turbospec_operator import manifests
from turbospec_operator.cluster import CONFIG_MAPS, EVENTS, JOBS, LEASES, POLICIES, PROFILES, SECRETS, Cluster, Raw
from turbospec_operator.job_views import Measured
from turbospec_operator.tokens import engine_token

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]


async def jobs(cluster: Cluster, namespace: str) -> list[Raw]:
    """The profiling Jobs."""
    return await shop.found(cluster, JOBS, namespace)


async def first_job(cluster: Cluster, namespace: str, operator: OperatorProcess) -> Raw:
    """The one Job, once it is there."""

    async def probe() -> Raw | None:
        there = await jobs(cluster, namespace)
        return there[0] if there else None

    return await eventually("a profiling Job", probe, operator)


async def ready(cluster: Cluster, namespace: str, operator: OperatorProcess) -> Raw:
    """The policy's status once it is Ready."""

    async def probe() -> Raw | None:
        status = await shop.policy_status(cluster, namespace)
        return status if shop.condition(status, "Ready").get("status") == "True" else None

    return await eventually("a Ready policy", probe, operator)


async def test_a_policy_leads_from_pods_to_a_profile_to_controlled_engines(
    cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """One Job, one profile, one document in force at every engine, and a status that says so."""
    async with EngineStandIn() as one, EngineStandIn() as two:
        await shop.add_engine(cluster, namespace, "chat-1", one)
        await shop.add_engine(cluster, namespace, "chat-2", two)
        operator_process.start()
        await cluster.create(POLICIES, namespace, policy(namespace))
        job = await first_job(cluster, namespace, operator_process)
        assert job["metadata"]["name"] == shop.JOB
        master_key = (await cluster.get(SECRETS, namespace, "turbospec-master-key"))["data"]["key"]
        assert len(base64.b64decode(master_key)) == 32
        one.token = engine_token(base64.b64decode(master_key), namespace, "nonce-of-chat-1")

        await shop.finish_job(cluster, namespace)
        status = await ready(cluster, namespace, operator_process)
        assert (status["pods"], status["controlled"]) == (2, 2)
        assert [each["metadata"]["name"] for each in await shop.profiles(cluster, namespace)] == [f"profile-{KEY}"]
        assert len(await jobs(cluster, namespace)) == 1
        for engine in (one, two):
            document = engine.documents[-1]
            assert document.latency is not None
            assert document.allowed_draft_tokens == [0, 1, 3, 5]
            assert document.epoch == 1
        (runtime,) = [
            each for each in await shop.found(cluster, CONFIG_MAPS, namespace)
            if each["metadata"]["name"].startswith("turbospec-runtime-")
        ]  # fmt: skip
        assert runtime["immutable"] is True


async def test_an_objective_reaches_the_engines_and_what_they_make_of_it_the_status(
    api_with_crds: ApiServer, cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """An edit of the ceilings is another document; no K that meets them is a condition, and the series of one."""
    async with EngineStandIn() as engine:
        engine.decision = {"draftTokens": 1, "reason": "Unattainable", "bounding": "Objective"}
        await shop.add_engine(cluster, namespace, "chat-1", engine)
        ceilings = {"timePerOutputToken": {"milliseconds": 50, "percentile": 95}}
        await cluster.create(POLICIES, namespace, policy(namespace, objective=ceilings))
        operator_process.start()

        async def said() -> Raw | None:
            status = await shop.policy_status(cluster, namespace)
            condition = shop.condition(status, "ObjectiveAttainable")
            return dict(condition) if condition.get("status") == "False" else None

        condition = await eventually("the objective in the conditions", said, operator_process)
        assert "1/1 engines find no K that meets 50 ms per output token (p95)" in condition["message"]
        first = engine.documents[-1]
        assert first.objective is not None
        assert first.objective.model_dump(by_alias=True, exclude_none=True) == ceilings
        _, metrics = operator_process.get("/metrics")
        assert 'condition="ObjectiveAttainable"' in metrics

        gone = '{"spec": {"objective": null}}'
        api_with_crds.kubectl("patch", "specpol", "chat", "-n", namespace, "--type=merge", "-p", gone)

        async def freed() -> bool:
            status = await shop.policy_status(cluster, namespace)
            return engine.documents[-1].objective is None and not shop.condition(status, "ObjectiveAttainable")

        await eventually("a document without ceilings", freed, operator_process)
        assert engine.documents[-1].id != first.id
        _, metrics = operator_process.get("/metrics")
        assert 'condition="ObjectiveAttainable"' not in metrics


async def test_a_profile_that_has_grown_old_is_measured_again_and_replaced(
    cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """The engine keeps the old model until the new one is there; what people wrote on the profile stays."""
    async with EngineStandIn() as engine:
        await shop.add_engine(cluster, namespace, "chat-1", engine)
        old = old_profile(namespace)
        await cluster.create(PROFILES, namespace, old)
        await cluster.create(POLICIES, namespace, policy(namespace, profiling={"maxAge": "30d"}))
        operator_process.start()
        await first_job(cluster, namespace, operator_process)

        async def told() -> bool:
            return (
                shop.condition(await shop.policy_status(cluster, namespace), "Profiled").get("reason") == "ProfileStale"
            )

        await eventually("the condition", told, operator_process)
        assert engine.documents[-1].latency is not None
        await shop.finish_job(cluster, namespace)

        async def fresh() -> Raw | None:
            (there,) = await shop.profiles(cluster, namespace)
            return there if there["spec"]["provenance"]["measuredAt"] != "2026-01-01T00:00:00Z" else None

        there = await eventually("a fresh profile", fresh, operator_process)
        assert there["metadata"]["annotations"] == {"owner": "me"}

        async def settled() -> bool:
            return (
                shop.condition(await shop.policy_status(cluster, namespace), "Profiled").get("reason") == "ProfileReady"
            )

        await eventually("the condition", settled, operator_process)
        assert len(await jobs(cluster, namespace)) == 1


def old_profile(namespace: str) -> Raw:
    """A profile of the stand-in's key, of months ago."""
    effect = HarvestProfile(namespace, "job", f"profile-{KEY}")
    made = manifests.profile(effect, Measured(profile_result(), None, None), 1767225600.0)
    made["metadata"]["annotations"] = {"owner": "me"}
    return made


async def test_an_operator_killed_after_the_job_was_created_repeats_nothing(
    cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """The Job is found again, its result is harvested, and the epoch has grown."""
    async with EngineStandIn() as engine:
        await shop.add_engine(cluster, namespace, "chat-1", engine)
        await cluster.create(POLICIES, namespace, policy(namespace))
        operator_process.start()
        job = await first_job(cluster, namespace, operator_process)
        operator_process.kill()  # before or after the status was written: both must do
        await shop.finish_job(cluster, namespace)

        operator_process.start()
        await ready(cluster, namespace, operator_process)
        assert [each["metadata"]["uid"] for each in await jobs(cluster, namespace)] == [job["metadata"]["uid"]]
        assert len(await shop.profiles(cluster, namespace)) == 1
        assert engine.documents[-1].epoch == 2
        lease = await cluster.get(LEASES, namespace, "turbospec-operator")
        assert lease["spec"]["leaseTransitions"] == 2


async def test_a_restart_in_the_steady_state_changes_nothing(
    cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """No Job, profile, event or status is written again, and engines get the document that they have."""
    async with EngineStandIn() as engine:
        await shop.add_engine(cluster, namespace, "chat-1", engine)
        await cluster.create(POLICIES, namespace, policy(namespace))
        operator_process.start()
        await first_job(cluster, namespace, operator_process)
        await shop.finish_job(cluster, namespace)
        await ready(cluster, namespace, operator_process)
        assert operator_process.terminate() == 0
        before = await cluster.get(POLICIES, namespace, "chat")
        events = len(await shop.found(cluster, EVENTS, namespace))
        ids = engine.distinct_ids

        operator_process.start()

        async def three_rounds() -> bool:
            return _rounds(operator_process) >= 3

        await eventually("three rounds", three_rounds, operator_process)
        after = await cluster.get(POLICIES, namespace, "chat")
        assert after["status"]["conditions"] == before["status"]["conditions"]
        assert engine.distinct_ids == ids
        assert len(await shop.found(cluster, EVENTS, namespace)) == events
        assert len(await jobs(cluster, namespace)) == 1
        assert len(await shop.profiles(cluster, namespace)) == 1


async def test_a_failed_job_is_reported_with_the_reason_that_its_pod_gave(
    cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """Serving goes on, nothing is pushed from it, and the status says what the run said."""
    async with EngineStandIn() as engine:
        await shop.add_engine(cluster, namespace, "chat-1", engine)
        await cluster.create(POLICIES, namespace, policy(namespace))
        operator_process.start()
        await first_job(cluster, namespace, operator_process)
        await shop.finish_job(cluster, namespace, "turbospec-profile-error: vLLM ran out of memory", exit_code=1)

        async def told() -> bool:
            status = await shop.policy_status(cluster, namespace)
            return "vLLM ran out of memory" in shop.condition(status, "Profiled").get("message", "")

        await eventually("the reason in the status", told, operator_process)
        assert await shop.profiles(cluster, namespace) == []


async def test_an_engine_that_refuses_or_vanishes_is_named_and_the_others_go_on(
    cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """One bad engine never holds up another."""
    async with EngineStandIn() as good, EngineStandIn() as refusing:
        refusing.refusal = (422, {"code": "UnsupportedVersion", "message": "this engine is older"})
        await shop.add_engine(cluster, namespace, "chat-1", good)
        await shop.add_engine(cluster, namespace, "chat-2", refusing)
        async with EngineStandIn() as vanished:
            await shop.add_engine(cluster, namespace, "chat-3", vanished)
        await cluster.create(POLICIES, namespace, policy(namespace, speculation={"draftTokens": [5]}))
        operator_process.start()

        async def told() -> dict[str, Raw] | None:
            rows = {each["pod"]: each for each in (await shop.policy_status(cluster, namespace)).get("engines", [])}
            settled = len(rows) == 3 and rows["chat-1"]["controlled"] and "older" in rows["chat-2"].get("message", "")
            return rows if settled else None

        rows = await eventually("a row for each engine", told, operator_process)
        assert not rows["chat-2"]["controlled"]
        assert not rows["chat-3"]["controlled"]
        assert "UnsupportedVersion" in rows["chat-2"]["message"]
        assert "cannot reach" in rows["chat-3"]["message"]


async def test_a_master_key_that_was_made_anew_is_taken_up(
    cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """Pods that the webhook injects with the new key are controlled without a restart of the operator."""
    async with EngineStandIn("not this one") as engine:
        await shop.add_engine(cluster, namespace, "chat-1", engine)
        await cluster.create(POLICIES, namespace, policy(namespace, speculation={"draftTokens": [5]}))
        operator_process.start()

        async def refused() -> bool:
            rows = (await shop.policy_status(cluster, namespace)).get("engines", [])
            return any("token" in row["message"] for row in rows)

        await eventually("the refused token in the status", refused, operator_process)
        secret = await cluster.get(SECRETS, namespace, "turbospec-master-key")
        key = bytes(range(32))
        await cluster.replace(SECRETS, namespace, {**secret, "data": {"key": base64.b64encode(key).decode()}})
        engine.token = engine_token(key, namespace, "nonce-of-chat-1")

        async def controlled() -> bool:
            return bool(engine.documents)

        await eventually("a document", controlled, operator_process)


async def test_probes_and_metrics_say_how_the_operator_is(
    cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """Ready after the first round against the API server; series for rounds and policies; exit 0 on SIGTERM."""
    async with EngineStandIn() as engine:
        await shop.add_engine(cluster, namespace, "chat-1", engine)
        await cluster.create(POLICIES, namespace, policy(namespace, speculation={"draftTokens": [5]}))
        operator_process.start()
        await ready(cluster, namespace, operator_process)
        assert operator_process.get("/healthz") == (200, "ok\n")
        assert operator_process.get("/readyz") == (200, "ok\n")
        _, metrics = operator_process.get("/metrics")
        assert f'turbospec_policy_engines{{namespace="{namespace}",policy="chat",state=' in metrics
        assert 'turbospec_operator_effects_total{kind="PushControl",result="done"}' in metrics
        assert operator_process.terminate() == 0


async def test_a_new_policy_is_acted_on_when_it_comes_and_not_only_at_the_next_round(
    cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """Watch events wake the loop: with 300 s between rounds nothing else could."""
    operator_process.environment["TURBOSPEC_INTERVAL_SECONDS"] = "300"
    operator_process.start()

    async def first_round() -> bool:
        return _rounds(operator_process) >= 1

    await eventually("the first round", first_round, operator_process)
    async with EngineStandIn() as engine:
        await shop.add_engine(cluster, namespace, "chat-1", engine)
        await cluster.create(POLICIES, namespace, policy(namespace, speculation={"draftTokens": [5]}))

        async def controlled() -> bool:
            return bool(engine.documents)

        await eventually("a document", controlled, operator_process)


def _rounds(operator: OperatorProcess) -> float:
    _, text = operator.get("/metrics")
    lines = [line for line in text.splitlines() if line.startswith('turbospec_operator_rounds_total{result="done"}')]
    return float(lines[0].split()[-1]) if lines else 0.0
