"""Our reading of vLLM against vLLM itself, imported in its own environment; no server is started."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from e2e.vllm.install import installation
from tests.engine.configs import vllm_config
from turbospec.control.capture import size_that_captures
from turbospec.engine.graphs import captured_draft_tokens
from turbospec_operator.injection_startup import startup_table

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(420)]

ROOT = Path(__file__).resolve().parents[2]

TABLES = [
    ([[1, 16, 3], [17, 64, 1], [65, 256, 0]], 256),
    ([[1, 16, 3], [17, 64, 1], [65, 256, 0]], 32),
    ([[1, 4, 9], [20, 30, 2]], 64),
    ([[1, 2, 5], [3, 4, 4], [5, 6, 1], [7, 8, 0]], 6),
]

LADDERS = [
    (startup_table([0, 1, 3, 7], 256), 256, None),
    (startup_table(list(range(8)), 256), 256, None),
    (startup_table([0, 1, 3, 7], 256), 256, size_that_captures(256, 7)),
]
"""Start-up table, max_num_seqs, and what the owner of the pod says of the largest graph."""


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process with vLLM and our runtime in it says."""
    folder = tmp_path_factory.mktemp("real-scheduler")
    # vLLM takes suffix only where this package is found; it is imported by the worker, of which there is none.
    (folder / "arctic_inference").mkdir()
    (folder / "arctic_inference" / "__init__.py").touch()
    model = Path(os.environ.get("TURBOSPEC_TINY_MODEL") or Path.home() / ".cache/turbospec/models/tiny")
    done = subprocess.run(
        [
            str(installation().python),
            str(ROOT / "tests/engine/real_scheduler.py"),
            str(model),
            json.dumps(TABLES),
            json.dumps(LADDERS),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'controller'}:{folder}",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_PLUGINS": "",
            "TURBOSPEC_CONTROL_HOST": "127.0.0.1",
            "TURBOSPEC_CONTROL_PORT": "0",
            "TURBOSPEC_STATE_DIR": str(folder),
        },
    )
    assert done.returncode == 0, done.stderr[-4000:]
    content: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return content


def test_vllms_schedulers_take_the_mixin(answer: dict[str, Any]) -> None:
    """Both have every seam."""
    assert answer["mixed"] == [
        ["TurboSpecScheduler", "TurboSpecMixin", "Scheduler"],
        ["TurboSpecAsyncScheduler", "TurboSpecMixin", "AsyncScheduler"],
    ]


@pytest.mark.parametrize("case", ["ngram", "suffix trimmed", "suffix with a table", "asynchronous"])
def test_vllms_scheduler_verifies_k_drafts(answer: dict[str, Any], case: str) -> None:
    """Of both requests, from the step after the one that decided K; a trimmed worker is always asked for 5."""
    trimmed = case.startswith("suffix")
    assert answer[case] == {
        "widths": {str(k): [[k, k], 5 if trimmed else k] for k in (3, 0, 5, 1)},
        "failed": None,
    }


@pytest.mark.parametrize(
    ("way", "code"),
    [
        ("plain", "NoSpeculation"),
        ("ngram", None),
        ("ngram, table", None),
        ("ngram, DP2", "DataParallel"),
        ("ngram, PP2", "PipelineParallel"),
        ("ngram, P/D", "DisaggregatedServing"),
        ("ngram, LoRA", None),
        ("ngram_gpu", "FixedLengthMethod"),
        ("suffix", None),
        ("suffix, table", None),
        ("suffix, DP2", "DataParallel"),
        ("suffix, PP2", "PipelineParallel"),
        ("draft_model", None),
        ("draft_model, DP2", "DataParallel"),
        ("draft_model, PP2", "PipelineParallel"),
        ("eagle, table", None),
        ("eagle, table, DP2", "DataParallel"),
        ("custom_class", "UnknownMethod"),
    ],
)
def test_vllms_own_configurations_are_steered_or_say_why_not(
    answer: dict[str, Any], way: str, code: str | None
) -> None:
    """Resolved as `vllm serve` does it, on the CPU."""
    assert answer["boot"][way] == code


def test_the_installed_source_is_read_in_the_engines_process(answer: dict[str, Any]) -> None:
    """Found without importing a proposer: suffix needs a package that is not installed."""
    assert answer["suffix"] == [True, True, True]


@pytest.mark.parametrize("index", range(len(TABLES)))
def test_the_captured_k_are_those_of_vllms_dense_table(answer: dict[str, Any], index: int) -> None:
    """Model runner V2 captures the widths of the dense table from batch 1 on."""
    table, max_num_seqs = TABLES[index]
    config = vllm_config(table=table, max_num_seqs=max_num_seqs, cudagraph_mode="FULL_AND_PIECEWISE")
    assert set(captured_draft_tokens(config, "v2")) == set(answer["dense"][index][1:])


@pytest.mark.parametrize("scheduler", ["Scheduler", "AsyncScheduler"])
def test_an_engine_without_statistics_learns_the_same(answer: dict[str, Any], scheduler: str) -> None:
    """--disable-log-stats: of the same steps our own counts are vLLM's."""
    with_statistics, without = answer["counted"][scheduler]
    assert with_statistics == without
    failed, generated, drafts, draft_tokens, drafted, accepted = with_statistics
    assert failed is None
    assert (generated > drafts > 0, draft_tokens) == (True, sum(drafted))
    assert drafted == sorted(drafted, reverse=True)
    assert all(0 <= a <= d for a, d in zip(accepted, drafted, strict=True))
    assert sum(accepted) > 0


def test_the_ladder_has_full_graphs_wherever_vllm_captures_any(answer: dict[str, Any]) -> None:
    """By vLLM's own sizes and its own choice of graphs: up to the largest captured size every batch at every K of the
    webhook's table has one. With all K up to 7 in the table there are gaps, and more than twice the graphs."""
    ladder, every, _ = answer["graphs"]
    assert ladder["widths"] == [1, 2, 4, 8]
    assert ladder["captured"] == [0, 1, 3, 7]
    assert ladder["largest"] == 512
    for k in (0, 1, 3, 7):
        assert ladder["without"][str(k)] == [batch for batch in range(1, 257) if batch * (k + 1) > 512]
    assert every["captured"] == list(range(8))
    assert any(batch * (int(k) + 1) <= 512 for k, batches in every["without"].items() for batch in batches)
    assert every["graphs"] > 2 * ladder["graphs"]


def test_with_the_proposed_size_no_batch_lacks_a_full_graph(answer: dict[str, Any]) -> None:
    """What the webhook proposes is what vLLM makes of it: 2,048 tokens hold 256 requests at K = 7."""
    proposed = answer["graphs"][2]
    assert proposed["largest"] == 2048
    assert proposed["without"] == {"0": [], "1": [], "3": [], "7": []}
