"""Objects that the operator's tests are about, as small as they can be and still be real."""

from typing import Any

from turbospec.fleet.effects import CreateProfilingJob
from turbospec.wire.identity import ProfileIdentity
from turbospec.wire.latency import LatencyCell, LatencyFit
from turbospec.wire.profile_result import ProfileResult

IDENTITY = ProfileIdentity(
    hardware="cpu Testium 9000 x2",
    target="target-config",
    drafter="",
    method="ngram",
    engine_arguments={"dtype": "bfloat16"},
    engine_version="0.32.0",
)
KEY = IDENTITY.key()
JOB_EFFECT = CreateProfilingJob(
    namespace="shop",
    name="turbospec-profile-0011223344556677",
    key="0011223344556677",
    template_pod="chat-1",
    policy="chat",
    policy_uid="uid-1",
    draft_tokens=(0, 1, 3, 5),
    attempt=2,
)

MICROSECONDS_PER_STEP, MICROSECONDS_PER_TOKEN = 5000, 20


def profile_result(identity: ProfileIdentity = IDENTITY) -> ProfileResult:
    """A plausible profile: fixed cost per step and a cost per batched token."""
    cells = [
        LatencyCell(
            batch=batch,
            context_tokens=256,
            draft_tokens=k,
            microseconds=MICROSECONDS_PER_STEP + MICROSECONDS_PER_TOKEN * batch * (k + 1),
            samples=10,
        )
        for batch in (1, 4, 16)
        for k in (0, 1, 3, 5)
    ]
    fit = LatencyFit(
        per_step=MICROSECONDS_PER_STEP * 10**6,
        per_batched_token=MICROSECONDS_PER_TOKEN * 10**6,
        per_kv_token=0,
        per_drafting_step=0,
        per_draft_pass=0,
        per_draft_token=0,
    )
    return ProfileResult(
        identity=identity,
        cells=cells,
        fit=fit,
        hold_out_error_permille=20,
        kv_cache_tokens=100_000,
        duration_seconds=90,
        runtime_version="0.1.0",
    )


def policy(namespace: str, name: str = "chat", **spec: Any) -> dict[str, Any]:
    """A SpeculationPolicy for pods with label app=<name>."""
    return {
        "apiVersion": "turbospec.io/v1alpha1",
        "kind": "SpeculationPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "speculation": {"method": "ngram", "draftTokens": [0, 1, 3, 5]},
            **spec,
        },
    }


def engine_pod(namespace: str, name: str, *, app: str = "chat", port: int = 9476) -> dict[str, Any]:
    """A vLLM pod as the webhook leaves it and the scheduler has bound it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app": app, "turbospec.io/inject": "true"},
            "annotations": {
                "turbospec.io/injected": "0123456789ab",
                "turbospec.io/token-nonce": f"nonce-of-{name}",
                "turbospec.io/container": "vllm",
            },
        },
        "spec": {
            "nodeName": "node-1",
            "containers": [
                {
                    "name": "vllm",
                    "image": "vllm/vllm-openai:v0.32.0",
                    "args": ["--model", "/models/m"],
                    "env": [
                        {"name": "PYTHONPATH", "value": "/opt/turbospec/turbospec.zip"},
                        {"name": "TURBOSPEC_CONTROL_PORT", "value": str(port)},
                        {"name": "TURBOSPEC_TOKEN_SHA256", "value": "0" * 64},
                    ],
                    "volumeMounts": [{"name": "turbospec", "mountPath": "/opt/turbospec", "readOnly": True}],
                }
            ],
            "volumes": [
                {"name": "turbospec", "configMap": {"name": "turbospec-runtime-0123456789ab", "optional": True}}
            ],
        },
    }


def engine_state(**load: Any) -> dict[str, Any]:
    """GET /v1/state of an engine that serves one request with its start-up table."""
    return {
        "controlVersions": [1],
        "engine": {"id": "engine-1", "vllmVersion": "0.32.0", "runtimeVersion": "0.1.0"},
        "identity": IDENTITY.model_dump(by_alias=True),
        "profileKey": KEY,
        "limits": {
            "maxNumSeqs": 16,
            "maxNumBatchedTokens": 2048,
            "maxModelLen": 2048,
            "maxDraftTokens": 5,
            "allowedDraftTokens": [0, 1, 3, 5],
            "kvCacheTokens": 100_000,
        },
        "table": [
            {"fromBatch": 1, "toBatch": 4, "draftTokens": 5},
            {"fromBatch": 5, "toBatch": 16, "draftTokens": 1},
        ],
        "load": {"running": 1, "waiting": 0, "decodes": 1, "kvTokens": 300, "kvCacheUsage": 0.01, **load},
        "acceptance": [{"acceptance": 0.8, "draftYield": 1.0, "samples": 200.0}],
        "counters": {
            "steps": 100,
            "drafts": 90,
            "draftTokens": 450,
            "acceptedTokens": 300,
            "generatedTokens": 400,
            "draftedPerPosition": [90, 90, 90, 90, 90],
            "acceptedPerPosition": [80, 70, 60, 50, 40],
            "controlDocumentsApplied": 0,
            "controlDocumentsRefused": 0,
            "tableRebuilds": 0,
        },
        "uptimeSeconds": 60.0,
    }


def cells_answer() -> dict[str, Any]:
    """GET /v1/cells of an engine that has served five batches at two K."""
    fields = ["batch", "context_tokens", "draft_tokens", "drafted_per_request", "seconds", "samples", "eager"]
    rows = [
        [batch, 300, k, k, 0.005 + 0.0001 * batch * (k + 1), 60, False] for batch in (1, 2, 4, 8, 16) for k in (0, 3)
    ]
    return {"fields": fields, "rows": rows}
