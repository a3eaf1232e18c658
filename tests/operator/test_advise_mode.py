"""Mode Advise on a real API server: what it says, and what it leaves alone."""

import time

import pytest

from benchmarks.advise.scraped import RecordedPrometheus
from tests.cli.recorded_prometheus import prometheus_server
from tests.operator import shop
from tests.operator.engine_stand_in import EngineStandIn
from tests.operator.operator_process import OperatorProcess, eventually
from tests.operator.samples import KEY, MICROSECONDS_PER_STEP, MICROSECONDS_PER_TOKEN, policy, profile_result
from tests.support.apiserver import ApiServer
from turbospec.advise import queries
from turbospec.fleet.effects import HarvestProfile
from turbospec_operator import manifests
from turbospec_operator.cluster import EVENTS, JOBS, POLICIES, PROFILES, Cluster, Raw
from turbospec_operator.job_views import Measured

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]

BATCH, K, ACCEPTANCE = 8, 5, 0.1
"""Long drafts that nobody accepts."""


def an_hour(namespace: str) -> RecordedPrometheus:
    """Pod chat-1 of that load until now, scraped once a minute, with the step times of the profile."""
    labels = {"namespace": namespace, "pod": "chat-1", "model_name": "llama", "engine": "0"}
    step = 1e-6 * (MICROSECONDS_PER_STEP + MICROSECONDS_PER_TOKEN * BATCH * (K + 1))
    rates = {
        "vllm:iteration_tokens_total_count": 1.0,
        "vllm:inter_token_latency_seconds_count": BATCH,
        "vllm:inter_token_latency_seconds_sum": BATCH * step,
        queries.GENERATION: BATCH * (1.0 + sum(ACCEPTANCE**j for j in range(1, K + 1))),
        "vllm:prompt_tokens_total": 0.02,
        "vllm:request_prompt_tokens_count": 0.0002,
        "vllm:request_prompt_tokens_sum": 0.02,
        "vllm:request_generation_tokens_sum": BATCH * 1.1,
        queries.DRAFTS: BATCH,
        queries.DRAFT_TOKENS: BATCH * K,
    }
    found, now = RecordedPrometheus(), time.time()
    for at in range(int(now) - 3600, int(now), 60):
        steps = (at - now + 7200.0) / step
        for metric, rate in rates.items():
            found.add(at, metric, labels, rate * steps)
        for j in range(K):
            accepted = BATCH * ACCEPTANCE ** (j + 1) * steps
            found.add(at, queries.PER_POSITION, {**labels, "position": str(j)}, accepted)
        found.add(at, queries.RUNNING, labels, BATCH)
    return found


async def test_advice_says_what_control_would_gain_and_leaves_everything_as_it_is(
    api_with_crds: ApiServer, cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """Condition, column and one event; no document and no Job; a restarted operator says it no second time."""
    harvested = HarvestProfile(namespace, "turbospec-profile-x", f"profile-{KEY}")
    made = manifests.profile(harvested, Measured(profile_result(), "node-1", "vllm:1"), time.time())
    await cluster.create(PROFILES, namespace, made)
    with prometheus_server(an_hour(namespace)) as prometheus:
        operator_process.environment["PROMETHEUS_URL"] = prometheus.url
        async with EngineStandIn() as engine:
            await shop.add_engine(cluster, namespace, "chat-1", engine)
            await cluster.create(POLICIES, namespace, policy(namespace, mode="Advise"))
            operator_process.start()

            async def advised() -> Raw | None:
                status = await shop.policy_status(cluster, namespace)
                return status if shop.condition(status, "Advised").get("status") == "True" else None

            status = await eventually("advice", advised, operator_process)
            condition = shop.condition(status, "Advised")
            assert condition["reason"] == "GainExpected", condition
            assert "By Prometheus, over 7 days." in condition["message"]
            assert "%" in status["advice"]
            assert status["advice"] in api_with_crds.kubectl("get", "specpol", "chat", "-n", namespace)
            operator_process.kill()
            operator_process.start()

            async def again() -> bool:
                return "leads, epoch 2" in operator_process.log()

            await eventually("another operator", again, operator_process)

            async def ready() -> bool:
                return operator_process.get("/readyz")[0] == 200

            await eventually("its rounds", ready, operator_process)
            said = [each for each in await shop.found(cluster, EVENTS, namespace) if each["reason"] == "GainExpected"]
            assert len(said) == 1
            assert engine.documents == []
            assert await shop.found(cluster, JOBS, namespace) == []
