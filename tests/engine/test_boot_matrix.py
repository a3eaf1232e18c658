"""Whatever way an engine is started, it serves: K is steered, or a reason says why not, and nothing ever asserts."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.committed_seams import FOLDER, RELEASES, committed_probe, seams
from tests.engine.configs import CUDAGraphMode, vllm_config
from tests.engine.fakes import FakeScheduler, Output, model_output
from turbospec.control.engine_loop import LoopSettings
from turbospec.engine import scheduler as scheduler_module
from turbospec.engine.runtime import EngineRuntime
from turbospec.engine.scheduler import mixed_with
from turbospec.engine.speculators import SpeculatorProbe, variant_of
from turbospec.engine.startup import engine_facts
from turbospec.engine.trimming import draft_trimmer

MAXIMUM = 7
LADDER = [[1, 2, 7], [3, 4, 3], [5, 6, 1], [7, 8, 0]]
METHODS = sorted({method for release in RELEASES for method in seams(release)["SpeculativeConfig methods"]["methods"]})
DOCUMENT = (FOLDER.parents[1] / "docs" / "engine.md").read_text()

WAYS: dict[str, dict[str, Any]] = {
    "as asked": {},
    "DP2": {"data_parallel_size": 2},
    "PP2": {"pipeline_parallel_size": 2},
    "no table": {"table": None},
    "structured output": {"grammar": 2},
    "LoRA": {"lora_config": SimpleNamespace(max_lora_rank=16, max_loras=4)},
    "P/D": {"kv_transfer_config": SimpleNamespace(kv_connector="NixlConnector", kv_role="kv_consumer")},
    "adaptive verification": {"enable_adaptive_verification": True},
    "parallel drafting": {"parallel_drafting": True},
    "eager": {"enforce_eager": True},
    "decode graphs only": {"table": None, "cudagraph_mode": "FULL_DECODE_ONLY"},
}


class BootedScheduler(FakeScheduler):
    """What vLLM makes of a configuration: its own look-up from the table, which it drops with data parallelism."""

    def __init__(self, config: Any) -> None:
        super().__init__(MAXIMUM, 8, asynchronous=config.scheduler_config.async_scheduling)
        self.vllm_config = config
        self.cache_config = SimpleNamespace(num_gpu_blocks=1000)
        self.block_size = 16
        table = config.speculative_config.num_speculative_tokens_per_batch_size
        self.dynamic_sd_lookup = None
        if table and config.parallel_config.data_parallel_size == 1:
            self.dynamic_sd_lookup = [0] + [k for first, last, k in table for _ in range(first, last + 1)]


def boot(
    monkeypatch: pytest.MonkeyPatch, config: Any, release: str, on_cpu: bool, committed: SpeculatorProbe
) -> tuple[Any, EngineRuntime]:
    """A scheduler with everything that ``attach`` makes but the control server, on the facts of a release."""
    platform = SimpleNamespace(
        is_cpu=lambda: on_cpu, get_device_name=lambda _: "H100", get_device_total_memory=lambda _: 80 << 30
    )
    monkeypatch.setattr(scheduler_module, "draft_trimmer", lambda scheduler: draft_trimmer(scheduler, committed))
    monkeypatch.setattr(scheduler_module, "attach", lambda _: None)
    scheduler: Any = mixed_with(BootedScheduler)(config)
    facts = engine_facts(scheduler, platform=platform, vllm_version=release, probe=committed)
    runtime = EngineRuntime(scheduler, facts)
    scheduler._turbospec = SimpleNamespace(runtime=runtime)
    return scheduler, runtime


def worker(output: Output, config: Any, release: str) -> int:
    """How many drafts the release's worker makes of a step; asserts what the release's proposer asserts."""
    runner = "v2" if config.use_v2_model_runner else "v1"
    facts = committed_probe(release)(variant_of(config.speculative_config, runner), runner)
    if facts.asserts_length:
        assert output.num_spec_tokens_to_schedule == MAXIMUM
    return output.num_spec_tokens_to_schedule if facts.worker_reads_length else MAXIMUM


@pytest.mark.parametrize("release", [RELEASES[0], "0.31.0", "0.32.0", RELEASES[-1]])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
def test_an_engine_is_steered_or_says_why_not(
    monkeypatch: pytest.MonkeyPatch, method: str, way: str, release: str
) -> None:
    """On both model runners, on CPU and GPU, with both kinds of scheduling; some steps are run at every K."""
    changes = dict(WAYS[way])
    grammar = changes.pop("grammar", None)
    for runner, on_cpu, asynchronous in [
        ("v1", True, False), ("v1", False, False), ("v1", False, True), ("v2", False, False), ("v2", False, True)
    ]:  # fmt: skip
        if asynchronous and runner == "v1" and method in ("ngram", "suffix", "medusa", "custom_class"):
            continue  # vLLM does not start them so
        config = vllm_config(**{
            "method": method, "num_speculative_tokens": MAXIMUM, "table": LADDER, "max_num_seqs": 8,
            "use_v2_model_runner": runner == "v2", "async_scheduling": asynchronous,
            "cudagraph_mode": None if on_cpu else CUDAGraphMode.FULL_AND_PIECEWISE.name, **changes,
        })  # fmt: skip
        scheduler, runtime = boot(monkeypatch, config, release, on_cpu, committed_probe(release))
        reason = runtime.unsupported()
        assert (runtime.facts.steering is None) == (reason is not None)
        if reason is not None:
            assert re.search(rf"`{reason.code}`", DOCUMENT), f"{reason.code} is not in docs/engine.md"
            continue
        assert way not in ("DP2", "PP2", "P/D", "adaptive verification", "parallel drafting")
        if scheduler.dynamic_sd_lookup is None:  # as attach does
            scheduler.dynamic_sd_lookup = list(runtime.facts.startup_table)
        serve_at_every_k(scheduler, runtime, config, release, grammar)


def serve_at_every_k(scheduler: Any, runtime: EngineRuntime, config: Any, release: str, grammar: int | None) -> None:
    """Each allowed K is what is verified from the next step on, for requests without a grammar."""
    scheduler.add("a")
    scheduler.add("b")
    if grammar is not None:
        scheduler.grammars["b"] = grammar
    for k in runtime.facts.limits.allowed_draft_tokens:
        runtime.configure(LoopSettings(mode="table", allowed=(k,), table=(k,) * 9))
        for settled in (False, True):
            output = scheduler.schedule()
            made = worker(output, config, release)
            widths = {name: len(row) for name, row in output.scheduled_spec_decode_tokens.items()}
            if settled:
                assert widths.get("a", 0) == k
                asynchronous = config.scheduler_config.async_scheduling
                assert widths.get("b", 0) == (k if grammar is None or asynchronous else min(k, grammar))
            scheduler.update_from_output(output, model_output(output))
            if not config.scheduler_config.async_scheduling:
                rows = [[7] * made for _ in scheduler.running]
                names = [request.request_id for request in scheduler.running]
                scheduler.update_draft_token_ids(SimpleNamespace(req_ids=names, draft_token_ids=rows))
    assert runtime.unsupported() is None


def test_the_matrix_steers_what_the_table_steers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix above would be content with refusals alone."""
    steered = set()
    for method in METHODS:
        for v2 in (False, True):
            config = vllm_config(
                method=method, num_speculative_tokens=MAXIMUM, table=LADDER, max_num_seqs=8, use_v2_model_runner=v2,
                async_scheduling=v2, cudagraph_mode="FULL_AND_PIECEWISE",
            )  # fmt: skip
            _, runtime = boot(monkeypatch, config, "0.32.0", False, committed_probe("0.32.0"))
            if runtime.unsupported() is None:
                steered.add((method, "v2" if v2 else "v1"))
    both = {"ngram", "draft_model", "eagle", "eagle3"}
    assert steered >= {(method, runner) for method in both for runner in ("v1", "v2")}
    assert steered >= {("suffix", "v1"), ("medusa", "v1"), ("ngram_gpu", "v2")}
    assert steered.isdisjoint({("suffix", "v2"), ("dflash", "v2"), ("custom_class", "v1"), ("ngram_gpu", "v1")})


@pytest.mark.parametrize("max_num_seqs", [8, 4])
def test_k_never_leaves_the_widths_that_a_gpu_engine_captured(
    monkeypatch: pytest.MonkeyPatch, max_num_seqs: int
) -> None:
    """Those of the ladder that a batch reaches; a loop that asks for another is not followed."""
    config = vllm_config(
        method="eagle3", num_speculative_tokens=MAXIMUM, table=LADDER, max_num_seqs=max_num_seqs,
        use_v2_model_runner=True, async_scheduling=True, cudagraph_mode="FULL_AND_PIECEWISE",
        capture_sizes=[1, 2, 8, 64],
    )  # fmt: skip
    scheduler, runtime = boot(monkeypatch, config, "0.32.0", False, committed_probe("0.32.0"))
    captured = {8: {0, 1, 3, 7}, 4: {3, 7}}[max_num_seqs]
    assert set(runtime.facts.limits.allowed_draft_tokens) == captured
    scheduler.add("a")
    scheduler.schedule()
    for asked in range(MAXIMUM + 2):
        monkeypatch.setattr(runtime, "loop", SimpleNamespace(draft_tokens=lambda _, k=asked: k))
        output = scheduler.schedule()
        assert output.num_spec_tokens_to_schedule == (asked if asked in captured else MAXIMUM)
        assert len(scheduler.requests["a"].draft) in captured


@pytest.mark.parametrize(("speculative", "code"), [(True, "ReleaseTooOld"), (False, "NoSpeculation")])
def test_a_release_before_dynamic_lengths_says_so(speculative: bool, code: str) -> None:
    """Its scheduler has no table to fall back to, whatever its speculators do."""
    scheduler = BootedScheduler(vllm_config(table=LADDER))
    scheduler.vllm_config = vllm_config(speculative=speculative)
    del scheduler.dynamic_sd_lookup
    platform = SimpleNamespace(is_cpu=lambda: True)
    facts = engine_facts(scheduler, platform=platform, vllm_version="0.24.0", probe=committed_probe(RELEASES[0]))
    assert facts.unsupported is not None
    assert facts.unsupported.code == code


def test_a_release_before_dynamic_lengths_serves_and_is_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its steps do not tell K; on model runner V2 its speculators look as if they had to be trimmed."""
    probe = committed_probe(RELEASES[0])
    config = vllm_config(method="eagle3", table=None, use_v2_model_runner=True, max_num_seqs=8)
    monkeypatch.setattr(scheduler_module, "draft_trimmer", lambda scheduler: draft_trimmer(scheduler, probe))
    monkeypatch.setattr(scheduler_module, "attach", lambda _: None)
    scheduler: Any = mixed_with(BootedScheduler)(config)
    assert scheduler._turbospec_trimmer is not None
    scheduler.add("a")
    output = scheduler.schedule()
    del scheduler.dynamic_sd_lookup, output.num_spec_tokens_to_schedule
    platform = SimpleNamespace(is_cpu=lambda: True)
    runtime = EngineRuntime(scheduler, engine_facts(scheduler, platform=platform, vllm_version="0.24.0", probe=probe))
    scheduler._turbospec = SimpleNamespace(runtime=runtime)
    scheduler._update_after_schedule(output)
    assert not hasattr(output, "num_spec_tokens_to_schedule")
    scheduler.update_from_output(output, model_output(output))
    runtime.settle()
    reason, newest = runtime.unsupported(), runtime.ring.newest()
    assert reason is not None
    assert reason.code == "ReleaseTooOld"
    assert newest is not None
    assert newest.decided_draft_tokens == MAXIMUM
