"""Which engines can be steered, and with which K: tables of vLLM configurations, and the reason for each refusal."""

import importlib.util
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.engine.committed_seams import FOLDER, RELEASES, committed_probe, seams
from tests.engine.configs import vllm_config
from turbospec.engine.graphs import captured_draft_tokens, captured_sizes, eager_above
from turbospec.engine.methods import Steering, judge, model_runner, unsupported_reason
from turbospec.engine.speculators import SpeculatorFacts, variant_of

TABLE = [[1, 16, 3], [17, 64, 1], [65, 256, 0]]
UP_TO_31 = {release for release in RELEASES if int(release.split(".")[1]) <= 31}


def outcome(variant: str, runner: str, release: str, *, asynchronous: bool) -> str:
    judged = judge(variant, runner, committed_probe(release)(variant, runner), asynchronous=asynchronous)
    return f"{judged.length}, {judged.draft_cost}" if isinstance(judged, Steering) else judged.code


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("variant", "runner", "asynchronous", "expected"),
    [
        ("ngram", "v1", False, ("native, none", "native, none")),
        ("draft_model", "v1", True, ("native, scales with K", "native, scales with K")),
        ("eagle", "v1", True, ("native, scales with K", "native, scales with K")),
        ("eagle3", "v1", False, ("native, scales with K", "native, scales with K")),
        ("mtp", "v1", True, ("native, scales with K", "native, scales with K")),
        ("mtp/gemma4", "v1", True, ("native, scales with K", "native, scales with K")),
        ("mtp/step3p5", "v1", False, ("trimmed, fixed", "trimmed, fixed")),
        ("mtp/step3p5", "v1", True, ("FixedLengthMethod", "FixedLengthMethod")),
        ("suffix", "v1", False, ("trimmed, none", "trimmed, none")),
        ("ngram_gpu", "v1", True, ("FixedLengthMethod", "FixedLengthMethod")),
        ("ngram_gpu", "v1", False, ("FixedLengthMethod", "FixedLengthMethod")),
        ("eagle", "v2", True, ("trimmed, fixed", "native, scales with K")),
        ("eagle3", "v2", False, ("trimmed, fixed", "native, scales with K")),
        ("mtp", "v2", True, ("trimmed, fixed", "native, scales with K")),
        ("mtp/gemma4", "v2", True, ("trimmed, fixed", "native, scales with K")),
        ("ngram", "v2", True, ("NoSpeculator", "native, fixed")),
        ("ngram_gpu", "v2", True, ("NoSpeculator", "native, fixed")),
        ("suffix", "v2", True, ("NoSpeculator", "NoSpeculator")),
        ("mlp_speculator", "v1", True, ("UnknownMethod", "UnknownMethod")),
        ("custom_class", "v1", False, ("UnknownMethod", "UnknownMethod")),
        ("dflash", "v2", True, ("ParallelDrafting", "ParallelDrafting")),
        ("dspark", "v2", True, ("ParallelDrafting", "ParallelDrafting")),
        ("extract_hidden_states", "v1", True, ("FixedLengthMethod", "FixedLengthMethod")),
    ],
)
def test_each_release_supports_what_the_table_says(
    variant: str, runner: str, asynchronous: bool, expected: tuple[str, str], release: str
) -> None:
    """Up to 0.31, whose model runner V2 does not read K, and from 0.32 on."""
    old, new = expected
    assert outcome(variant, runner, release, asynchronous=asynchronous) == (old if release in UP_TO_31 else new)


def test_medusa_is_trimmed_as_long_as_vllm_has_it() -> None:
    """0.33 has taken it out."""
    outcomes = [outcome("medusa", "v1", release, asynchronous=False) for release in RELEASES]
    assert outcomes == ["trimmed, fixed"] * 8 + ["NoSpeculator"] * (len(RELEASES) - 8)


def test_draft_models_came_to_model_runner_v2_with_0_31() -> None:
    """First trimmed, then cut by the runner; drafting always costs the maximum."""
    outcomes = [outcome("draft_model", "v2", release, asynchronous=True) for release in RELEASES]
    assert outcomes[:8] == ["NoSpeculator"] * 6 + ["trimmed, fixed", "native, fixed"]


@pytest.mark.parametrize("release", RELEASES)
def test_every_method_of_every_release_is_judged(release: str) -> None:
    """Also those that nobody has read: a code, never an exception."""
    for method in seams(release)["SpeculativeConfig methods"]["methods"]:
        for runner in ("v1", "v2"):
            assert outcome(method, runner, release, asynchronous=False)


def test_a_speculator_that_stops_following_k_is_refused() -> None:
    """Should a release no longer hand K to its proposer, or the proposer no longer use it."""
    for change in ({"worker_reads_length": False}, {"reads_length": False}):
        facts = SpeculatorFacts(**{
            "readable": True, "found": True, "worker_reads_length": True,
            "asserts_length": False, "reads_length": True, **change,
        })  # fmt: skip
        judged = judge("eagle", "v1", facts, asynchronous=True)
        assert not isinstance(judged, Steering)
        assert judged.code == "LengthIgnored"


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
        ({"kv_transfer_config": SimpleNamespace(kv_connector=None)}, "v2", False, None),
        ({"method": "deepseek_mtp"}, "v2", False, None),
        ({"method": "eagle3", "table": None}, "v2", False, "NoStartupTable"),
        ({"method": "ngram", "table": None}, "v1", False, "NoStartupTable"),
        ({"method": "ngram", "table": None}, "v1", True, None),
        ({"method": "suffix", "table": None, "cudagraph_mode": "FULL_AND_PIECEWISE"}, "v1", False, None),
        ({"method": "suffix", "table": None, "cudagraph_mode": "PIECEWISE"}, "v1", False, None),
        ({"method": "suffix", "table": None, "cudagraph_mode": "FULL_DECODE_ONLY"}, "v1", False, "OneLengthCaptured"),
        ({"method": "suffix", "table": None, "enforce_eager": True}, "v1", False, None),
        ({"lora_config": SimpleNamespace(max_lora_rank=16, max_loras=4)}, "v2", False, None),
    ],
)
def test_what_cannot_be_steered_is_refused_with_its_reason(
    changes: dict[str, Any], runner: str, on_cpu: bool, code: str | None
) -> None:
    """Each with a code for machines and a sentence for people."""
    config = vllm_config(**{"table": TABLE, **changes})
    reason = unsupported_reason(config, runner, on_cpu=on_cpu, probe=committed_probe("0.32.0"))
    assert (reason.code if reason else None) == code
    if reason:
        assert len(reason.message) > 40


def test_a_vllm_without_source_is_not_steered() -> None:
    """Images stripped to compiled files: how a speculator takes K is then a guess. Here there is no vLLM at all."""
    reason = unsupported_reason(vllm_config(), "v1", on_cpu=True)
    assert reason is not None
    assert reason.code == "SourceUnreadable"


@pytest.mark.parametrize(
    ("method", "speculator", "runner", "variant"),
    [
        ("eagle3", None, "v2", "eagle3"),
        ("mtp", None, "v1", "mtp"),
        ("qwen3_next_mtp", None, "v2", "mtp"),
        ("mtp", "gemma4", "v1", "mtp/gemma4"),
        ("mtp", "step3p5", "v1", "mtp/step3p5"),
        ("mtp", "step3p5", "v2", "mtp"),
        ("mtp", "multi_module", "v2", "mtp/multi_module"),
        ("mtp", "multi_module", "v1", "mtp"),
        ("ngram", "multi_module", "v2", "ngram"),
    ],
)
def test_vllms_own_choice_of_speculator_is_followed(
    method: str, speculator: str | None, runner: str, variant: str
) -> None:
    """By its own predicates, in its own order."""
    assert variant_of(vllm_config(method=method, speculator=speculator).speculative_config, runner) == variant


def test_a_release_without_a_predicate_has_no_such_speculator() -> None:
    """0.25 knows nothing of several modules."""
    assert variant_of(SimpleNamespace(method="mtp"), "v2") == "mtp"


@pytest.mark.parametrize("release", RELEASES)
def test_all_names_of_mtp_are_one_method(release: str) -> None:
    """As vLLM spells them."""
    for name in seams(release)["SpeculativeConfig methods"]["mtp"]:
        assert variant_of(SimpleNamespace(method=name), "v2") == "mtp"


@pytest.mark.parametrize(
    ("changes", "runner", "allowed"),
    [
        ({"table": TABLE, "cudagraph_mode": "FULL_AND_PIECEWISE"}, "v2", (0, 1, 3)),
        ({"table": [[1, 8, 9]], "cudagraph_mode": "PIECEWISE"}, "v1", (5,)),
        ({"table": TABLE, "cudagraph_mode": "NONE"}, "v2", (0, 1, 2, 3, 4, 5)),
        ({"table": TABLE, "cudagraph_mode": "FULL", "enforce_eager": True}, "v2", (0, 1, 2, 3, 4, 5)),
        ({"table": None, "cudagraph_mode": None}, "v1", (0, 1, 2, 3, 4, 5)),
        # No batch of 32 requests reaches the third row, so vLLM captures nothing for it.
        ({"table": TABLE, "cudagraph_mode": "FULL_AND_PIECEWISE", "max_num_seqs": 32}, "v2", (1, 3)),
        # One request at K = 3 is 4 tokens: more than the largest graph.
        ({"table": TABLE, "cudagraph_mode": "FULL_AND_PIECEWISE", "capture_sizes": [1, 2]}, "v2", (0, 1)),
        ({"table": TABLE, "cudagraph_mode": "PIECEWISE", "capture_sizes": [1, 2]}, "v1", (0, 1, 3)),
        ({"table": [[1, 256, 3]], "cudagraph_mode": "FULL_AND_PIECEWISE", "capture_sizes": [2]}, "v2", (3,)),
        # Without a table: graphs of the full width, and others that take any mix of requests.
        ({"table": None, "cudagraph_mode": "FULL_AND_PIECEWISE"}, "v1", (0, 1, 2, 3, 4, 5)),
        ({"table": None, "cudagraph_mode": "FULL_DECODE_ONLY"}, "v1", (5,)),
    ],
)
def test_k_stays_among_those_whose_graphs_were_captured(
    changes: dict[str, Any], runner: str, allowed: tuple[int, ...]
) -> None:
    """A K above the maximum in a table is cut to the maximum, as vLLM does."""
    assert captured_draft_tokens(vllm_config(**changes), runner) == allowed


def test_captured_sizes_are_those_of_the_graphs() -> None:
    """None where steps run eagerly, whatever the configuration still lists."""
    assert captured_sizes(vllm_config(cudagraph_mode="FULL", capture_sizes=[8, 1, 2])) == (1, 2, 8)
    assert captured_sizes(vllm_config(cudagraph_mode="NONE", capture_sizes=[8, 1, 2])) == ()


@pytest.mark.parametrize(
    ("sizes", "max_num_seqs", "eager"),
    [((1, 2, 8, 512), 256, {3: 128, 7: 64}), ((512,), 64, {}), ((), 256, {}), ((1,), 4, {0: 1, 3: 0, 7: 0})],
)
def test_steps_larger_than_the_largest_graph_are_known(
    sizes: tuple[int, ...], max_num_seqs: int, eager: dict[int, int]
) -> None:
    """At 512 tokens, vLLM's usual limit, K = 7 has graphs up to 64 requests; engines without graphs lack none."""
    assert eager_above((0, 3, 7), sizes, max_num_seqs) == eager


@pytest.mark.parametrize(("attributes", "runner"), [({}, "v1"), ({"v2": False}, "v1"), ({"v2": True}, "v2")])
def test_the_model_runner_is_asked_of_vllm(attributes: dict[str, bool], runner: str) -> None:
    """Releases that do not know the property have V1 only."""
    config = SimpleNamespace(**{"use_v2_model_runner": attributes["v2"]} if attributes else {})
    assert model_runner(config) == runner


def load_generator() -> ModuleType:
    """tools/generate_methods_table.py; tools are scripts, not a package."""
    path = FOLDER.parent / "generate_methods_table.py"
    spec = importlib.util.spec_from_file_location("generate_methods_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_documents_table_is_what_the_code_does() -> None:
    """Where not: run tools/generate_methods_table.py."""
    generator = load_generator()
    text = generator.DOCUMENT.read_text()
    assert generator.document(text) == text
