"""Which engines can be steered, and with which K: a table of vLLM configurations and the reason for each refusal."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.configs import vllm_config
from turbospec.engine.methods import (
    STEERABLE,
    allowed_draft_tokens,
    captured_sizes,
    model_runner,
    unsupported_reason,
)

TABLE = [[1, 16, 3], [17, 64, 1], [65, 256, 0]]


@pytest.mark.parametrize(("method", "runner"), sorted(STEERABLE))
@pytest.mark.parametrize("on_cpu", [True, False])
def test_known_pairs_of_method_and_runner_are_steered(method: str, runner: str, on_cpu: bool) -> None:
    """On CPU as they are, on a GPU with a start-up table."""
    assert unsupported_reason(vllm_config(method=method, table=TABLE), runner, on_cpu=on_cpu) is None


@pytest.mark.parametrize(
    ("changes", "runner", "on_cpu", "code"),
    [
        ({"speculative": False}, "v1", True, "NoSpeculation"),
        ({"num_speculative_tokens": None}, "v1", True, "NoSpeculation"),
        ({"data_parallel_size": 2}, "v2", False, "DataParallel"),
        ({"pipeline_parallel_size": 2}, "v2", False, "PipelineParallel"),
        ({"parallel_drafting": True}, "v1", False, "ParallelDrafting"),
        ({"enable_adaptive_verification": True, "method": "dspark"}, "v2", False, "AdaptiveVerification"),
        ({"kv_transfer_config": SimpleNamespace(kv_connector="NixlConnector")}, "v2", False, "DisaggregatedServing"),
        ({"method": "suffix"}, "v1", True, "FixedLengthMethod"),
        ({"method": "medusa"}, "v1", False, "FixedLengthMethod"),
        ({"method": "ngram_gpu"}, "v1", False, "FixedLengthMethod"),
        ({"method": "dflash"}, "v2", False, "UnknownMethod"),
        ({"method": "something_new"}, "v1", True, "UnknownMethod"),
        ({"method": "custom_class"}, "v1", True, "UnknownMethod"),
        ({"method": "eagle3", "table": None}, "v2", False, "NoStartupTable"),
        ({"method": "ngram", "table": None}, "v1", False, "NoStartupTable"),
        ({"method": "ngram", "table": None}, "v1", True, None),
        ({"kv_transfer_config": SimpleNamespace(kv_connector=None)}, "v2", False, None),
    ],
)
def test_what_cannot_be_steered_is_refused_with_its_reason(
    changes: dict[str, Any], runner: str, on_cpu: bool, code: str | None
) -> None:
    """Each with a code for machines and a sentence for people."""
    reason = unsupported_reason(vllm_config(**{"table": TABLE, **changes}), runner, on_cpu=on_cpu)
    assert (reason.code if reason else None) == code
    if reason:
        assert len(reason.message) > 40


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"table": TABLE, "cudagraph_mode": "FULL_AND_PIECEWISE"}, (0, 1, 3)),
        ({"table": [[1, 8, 9]], "cudagraph_mode": "PIECEWISE"}, (5,)),
        ({"table": TABLE, "cudagraph_mode": "NONE"}, (0, 1, 2, 3, 4, 5)),
        ({"table": TABLE, "cudagraph_mode": "FULL", "enforce_eager": True}, (0, 1, 2, 3, 4, 5)),
        ({"table": None, "cudagraph_mode": None}, (0, 1, 2, 3, 4, 5)),
    ],
)
def test_allowed_k_are_those_with_graphs_or_all_where_there_are_none(
    changes: dict[str, Any], allowed: tuple[int, ...]
) -> None:
    """A K above the maximum in a table is cut to the maximum, as vLLM does."""
    assert allowed_draft_tokens(vllm_config(**changes)) == allowed


def test_captured_sizes_are_those_of_the_graphs() -> None:
    """None where steps run eagerly, whatever the configuration still lists."""
    assert captured_sizes(vllm_config(cudagraph_mode="FULL", capture_sizes=[8, 1, 2])) == (1, 2, 8)
    assert captured_sizes(vllm_config(cudagraph_mode="NONE", capture_sizes=[8, 1, 2])) == ()


@pytest.mark.parametrize(("attributes", "runner"), [({}, "v1"), ({"v2": False}, "v1"), ({"v2": True}, "v2")])
def test_the_model_runner_is_asked_of_vllm(attributes: dict[str, bool], runner: str) -> None:
    """Releases that do not know the property have V1 only."""
    config = SimpleNamespace(**{"use_v2_model_runner": attributes["v2"]} if attributes else {})
    assert model_runner(config) == runner
