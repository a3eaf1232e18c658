"""Our reading of vLLM against vLLM itself, imported in its own environment; no server is started."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from e2e.vllm.install import installation
from tests.engine.configs import vllm_config
from turbospec.engine.graphs import captured_draft_tokens

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(420)]

CONTROLLER = Path(__file__).resolve().parents[2] / "controller"

TABLES = [
    ([[1, 16, 3], [17, 64, 1], [65, 256, 0]], 256),
    ([[1, 16, 3], [17, 64, 1], [65, 256, 0]], 32),
    ([[1, 4, 9], [20, 30, 2]], 64),
    ([[1, 2, 5], [3, 4, 4], [5, 6, 1], [7, 8, 0]], 6),
]

PROGRAM = """
import json, sys
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.outputs import DraftTokenIds
from vllm.v1.spec_decode.dynamic.utils import build_dynamic_sd_schedule_lookup
from turbospec.engine.scheduler import TurboSpecMixin, mixed_with
from turbospec.engine.methods import installed_probe
from turbospec.engine.trimming import DraftTrimmer
from types import SimpleNamespace
trimmer = DraftTrimmer(5)
trimmer.scheduled(SimpleNamespace(num_spec_tokens_to_schedule=2))
drafts = DraftTokenIds(["a", "b"], [[1, 2, 3], [4]])
facts = installed_probe()("suffix", "v1")
print(json.dumps({
    "mixed": [[one.__name__ for one in mixed_with(base).__mro__[:3]] for base in (Scheduler, AsyncScheduler)],
    "cut": trimmer.cut(drafts).draft_token_ids,
    "uncut": drafts.draft_token_ids,
    "suffix": [facts.readable, facts.found, facts.asserts_length],
    "dense": [build_dynamic_sd_schedule_lookup(table, size, 5) for table, size in json.loads(sys.argv[1])],
}))
"""


@pytest.fixture(scope="module")
def answer() -> dict[str, Any]:
    """What one process with vLLM and our runtime in it says."""
    done = subprocess.run(
        [str(installation().python), "-c", PROGRAM, json.dumps(TABLES)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(CONTROLLER)},
    )
    content: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return content


def test_vllms_schedulers_take_the_mixin(answer: dict[str, Any]) -> None:
    """Both have every seam."""
    assert answer["mixed"] == [
        ["TurboSpecScheduler", "TurboSpecMixin", "Scheduler"],
        ["TurboSpecAsyncScheduler", "TurboSpecMixin", "AsyncScheduler"],
    ]


def test_vllms_own_drafts_can_be_cut(answer: dict[str, Any]) -> None:
    """And are left alone."""
    assert answer["cut"] == [[1, 2], [4]]
    assert answer["uncut"] == [[1, 2, 3], [4]]


def test_the_installed_source_is_read_in_the_engines_process(answer: dict[str, Any]) -> None:
    """Found without importing a proposer: suffix needs a package that is not installed."""
    assert answer["suffix"] == [True, True, True]


@pytest.mark.parametrize("index", range(len(TABLES)))
def test_the_captured_k_are_those_of_vllms_dense_table(answer: dict[str, Any], index: int) -> None:
    """Model runner V2 captures the widths of the dense table from batch 1 on."""
    table, max_num_seqs = TABLES[index]
    config = vllm_config(table=table, max_num_seqs=max_num_seqs, cudagraph_mode="FULL_AND_PIECEWISE")
    assert set(captured_draft_tokens(config, "v2")) == set(answer["dense"][index][1:])
