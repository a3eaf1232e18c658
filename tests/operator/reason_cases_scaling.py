"""The same for reasons about autoscalers, and about what a Prometheus says of the load."""

from collections.abc import Mapping

import requests
from prometheus_api_client import PrometheusApiClientException

from tests.operator.reason_fleet import CASES, Case, Fleet, gives
from tests.operator.samples import engine_pod
from tests.operator.test_autoscalers import deployment, hpa
from turbospec_operator.cluster import HPAS, PODS
from turbospec_operator.prometheus_demand import PrometheusDemand
from turbospec_operator.prometheus_history import PrometheusHistory


@gives("DistortedMetric", "SpeculationNeutral", "MetricNotRecognised", "SeveralAutoscalers", "AutoscalerUnrecognised")
async def autoscalers(fleet: Fleet) -> None:
    where = fleet.namespace
    metrics: Mapping[str, tuple[str, ...]] = {
        "distorted": ("vllm_num_requests_running",),
        "neutral": ("turbospec_offered_load_ratio",),
        "unknown": ("mystery",),
        "several": ("turbospec_offered_load_ratio", "mystery"),
        "foreign": (),
    }
    for name, scaled_on in metrics.items():
        pod = engine_pod(where, f"{name}-1", app=name)
        if not scaled_on:
            pod["metadata"]["labels"]["serving.knative.dev/revision"] = name
        await fleet.admin.create(PODS, where, pod)
        await fleet.policy(name)
        scaled = deployment(where)
        scaled["metadata"]["name"], labels = name, {"app": name}
        scaled["spec"] |= {"selector": {"matchLabels": labels}}
        scaled["spec"]["template"] = {**scaled["spec"]["template"], "metadata": {"labels": labels}}
        fleet.api.post(f"/apis/apps/v1/namespaces/{where}/deployments", scaled)
        for number, metric in enumerate(scaled_on):
            scaler = hpa(where, metric, name=name)
            scaler["metadata"]["name"] = f"{name}-{number}"
            fleet.api.post(f"/apis/autoscaling/v2/namespaces/{where}/horizontalpodautoscalers", scaler)
    await fleet.rounds(1)


RATE = [{"metric": {}, "value": [0.0, "7.5"]}]


def _asked(reason: str, answer: object, rounds: int = 2) -> None:
    """A case with a demandQuery that is answered so."""

    def query(_: str) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def done(fleet: Fleet) -> None:
        fleet.demand = PrometheusDemand(query)
        await fleet.policy(autoscaling={"demandQuery": "sum(rate(gateway_requests_total[1m]))"})
        await fleet.rounds(rounds, seconds=1.0)

    CASES[f"demand_{reason}"] = Case(frozenset({reason}), done)


_asked("QueryPending", RATE, rounds=1)
_asked("QueryAnswered", RATE)
_asked("NoSeries", [])
_asked("SeveralSeries", [*RATE, *RATE])
_asked("NotARate", [{"metric": {}, "value": [0.0, "NaN"]}])
_asked("QueryRefused", PrometheusApiClientException("HTTP Status Code 400 (parse error)"))
_asked("PrometheusSlow", requests.Timeout("no answer"))
_asked("PrometheusUnreachable", requests.ConnectionError("refused"))


@gives("PrometheusNotConfigured")
async def a_query_and_no_prometheus(fleet: Fleet) -> None:
    await fleet.policy(autoscaling={"demandQuery": "up"})
    await fleet.rounds(2)


@gives("AnswerTooOld")
async def an_answer_that_nobody_renews(fleet: Fleet) -> None:
    fleet.demand = PrometheusDemand(lambda _: RATE)
    await fleet.policy(autoscaling={"demandQuery": "up"})
    await fleet.rounds(1)
    await fleet.rounds(1, seconds=120.0)


@gives("HistoryPending", "HistoryTooShort")
async def a_young_history(fleet: Fleet) -> None:
    fleet.history = PrometheusHistory(lambda *_: [])
    await fleet.engine()
    await fleet.policy(autoscaling={"horizon": "5m"})
    await fleet.rounds(2)


@gives("HistoryUsed")
async def a_history(fleet: Fleet) -> None:
    labels = {"namespace": fleet.namespace, "scale_target_kind": "pod", "scale_target": "chat-1"}
    yesterday = fleet.clock.now - 86_400.0
    values = [[yesterday + 60.0 * minute, "8"] for minute in range(-30, 60)]
    fleet.history = PrometheusHistory(lambda *_: [{"metric": labels, "values": values}])
    await fleet.engine()
    await fleet.policy(autoscaling={"horizon": "5m"})
    await fleet.rounds(2)


@gives("Preserved")
async def an_autoscaler_that_nobody_can_change(fleet: Fleet) -> None:
    where = fleet.namespace
    fleet.api.post(f"/apis/apps/v1/namespaces/{where}/deployments", deployment(where))
    metric = "vllm_inter_token_latency_seconds"
    await fleet.admin.create(HPAS, where, hpa(where, metric))
    read = {"type": "External", "external": {"metric": {"name": metric}, "current": {"averageValue": "2"}}}
    status = {"currentReplicas": 1, "desiredReplicas": 1, "currentMetrics": [read], "conditions": []}
    await fleet.admin.patch_status(HPAS, where, "chat", {"status": status})
    await fleet.profile()
    await fleet.engine()
    await fleet.policy(autoscaling={"preserve": True})
    await fleet.rounds(3)
