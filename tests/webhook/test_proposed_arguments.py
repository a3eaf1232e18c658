"""Injection proposes larger CUDA graphs where the pod itself shows that steps will have none, and sets nothing."""

from typing import Any

import pytest

from tests.webhook.test_injection import NONCE, RUNTIME, engine, patched, pod, policy
from turbospec_operator.admission import MAX_WARNING, answer
from turbospec_operator.injection import inject
from turbospec_operator.injection_proposal import ANNOTATION_PROPOSED, proposed_arguments

Raw = dict[str, Any]
LADDER = [0, 1, 3, 7]
GPU: Raw = {"limits": {"nvidia.com/gpu": "1", "memory": "64Gi"}}


def served(*arguments: str, **fields: Any) -> Raw:
    """A container with a GPU whose batches may be large."""
    return engine(args=["--max-num-seqs", "256", *arguments], resources=GPU) | fields


@pytest.mark.parametrize(
    ("container", "ladder", "size", "eager"),
    [
        (served(), LADDER, 2048, "K = 7 above 64, K = 3 above 128 requests"),
        (served(), [0, 5], 1536, "K = 5 above 85 requests"),
        (served("--max-num-seqs=100"), [0, 5], 608, "K = 5 above 85 requests"),
        (served("--max-num-seqs=65"), LADDER, 528, "K = 7 above 64 requests"),
        (served("--max_num_seqs", "1024"), LADDER, 8192, "K = 0 above 512 requests"),
        (served("--max-num-batched-tokens", "1000"), LADDER, 1000, "K = 7 above 64"),
        (served("--max-num-batched-tokens=8k"), LADDER, 2048, "K = 7 above 64"),
        (served(command=["sh", "-c"], args=["vllm serve m --max-num-seqs 128"]), LADDER, 1024, "K = 7 above 64"),
        (served(resources={"limits": {"amd.com/gpu": 8}}), LADDER, 2048, "K = 7 above 64"),
        (served(resources={"requests": {"nvidia.com/mig-3g.20gb": "1"}}), LADDER, 2048, "K = 7 above 64"),
    ],
)
def test_the_proposal_holds_the_largest_step(container: Raw, ladder: list[int], size: int, eager: str) -> None:
    """max_num_seqs requests at the largest K, in vLLM's stride of 16, and never more than a step may hold."""
    text = proposed_arguments(container, ladder)
    assert text is not None
    assert text.startswith(f"--max-cudagraph-capture-size={size}: ")
    assert eager in text


@pytest.mark.parametrize(
    "container",
    [
        engine(resources=GPU),
        served("--max-num-seqs", "$(SEQS)", args=["--max-num-seqs", "$(SEQS)"]),
        served("--max-num-seqs", "64"),
        served("--max-num-batched-tokens", "512"),
        served(resources={}),
        served(resources={"limits": {"cpu": "8", "hugepages-2Mi": "1Gi"}}),
        served(resources={"limits": {"nvidia.com/gpu": "0"}}),
        served(resources={"limits": {"google.com/tpu": "4"}}),
        served("--enforce-eager"),
        served("--max-cudagraph-capture-size", "512"),
        served("--max_cudagraph_capture_size=512"),
        served("--cudagraph-capture-sizes", "1", "2", "4"),
        served("--compilation-config", "{}"),
        served("--compilation-config.cudagraph_mode=NONE"),
        served("-cc", "{}"),
        served("-O0"),
        served(env=[{"name": "VLLM_ARGS", "value": "--enforce-eager"}]),
    ],
    ids=[
        "max-num-seqs unknown",
        "max-num-seqs from a variable",
        "all graphs fit",
        "no step is larger",
        "CPU",
        "CPU with limits",
        "no GPU of those it could have",
        "no CUDA graphs there",
        "eager",
        "largest size set",
        "with underscores",
        "sizes set",
        "compilation set",
        "dotted",
        "short",
        "optimisation level",
        "said in a variable",
    ],
)
def test_nothing_is_proposed_where_nothing_lacks_or_too_little_is_known(container: Raw) -> None:
    """An unknown is never guessed, and what the owner has said stands."""
    assert proposed_arguments(container, LADDER) is None


def test_a_cudagraph_flag_that_chooses_nothing_is_no_choice() -> None:
    """--cudagraph-metrics only reports."""
    assert proposed_arguments(served("--cudagraph-metrics"), LADDER) is not None


def test_the_pod_says_what_is_proposed_and_starts_without_it() -> None:
    """In an annotation and a warning; the command gets the start-up table and nothing of graphs."""
    raw = pod(served())
    outcome = inject(raw, "team-a", policy(method="eagle3", model="d", draftTokens=LADDER), RUNTIME, NONCE)
    result = patched(raw, outcome)
    assert outcome.proposed == result["metadata"]["annotations"][ANNOTATION_PROPOSED]
    assert "cudagraph" not in str(result["spec"])
    warning = answer("1", outcome)["response"]["warnings"][0]
    assert outcome.proposed in warning
    assert len(warning) <= MAX_WARNING


@pytest.mark.parametrize(
    "container",
    [served("--speculative-config", "{}"), served("--config", "/c.yaml"), served("--data-parallel-size", "2")],
    ids=["own speculation", "configuration file", "data parallelism"],
)
def test_without_our_table_nothing_is_proposed(container: Raw) -> None:
    """The proposal is for the widths of the start-up table that injection adds."""
    raw = pod(container)
    outcome = inject(raw, "team-a", policy(method="ngram", draftTokens=LADDER), RUNTIME, NONCE)
    assert outcome.proposed is None
    assert ANNOTATION_PROPOSED not in patched(raw, outcome)["metadata"]["annotations"]
