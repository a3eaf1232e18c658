"""Two engines whose steps take equally long have one identity; whatever changes the step time changes it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.configs import HfConfig, vllm_config
from turbospec.engine.hardware import cpu_model, describe_cpu, usable_cpus
from turbospec.engine.identity import bound_cpus, engine_identity
from turbospec.wire.identity import ProfileIdentity

CPU = SimpleNamespace(is_cpu=lambda: True)


def gpu(name: str = "NVIDIA H100 80GB HBM3", memory: int = 85_520_809_984) -> Any:
    """vLLM's platform object on a GPU machine."""
    return SimpleNamespace(
        is_cpu=lambda: False, get_device_name=lambda _: name, get_device_total_memory=lambda _: memory
    )


def identify(
    platform: Any = CPU, *, cpus: float = 2, environ: dict[str, str] | None = None, runner: str = "v1", **changes: Any
) -> ProfileIdentity:
    return engine_identity(
        vllm_config(**changes),
        runner=runner,
        vllm_version="0.32.0",
        platform=platform,
        cpus=cpus,
        environ=environ if environ is not None else {},
    )


@pytest.mark.parametrize(
    "same",
    [
        {"hf_config": HfConfig(_name_or_path="/mnt/other", transformers_version="4.9", rope={"factor": 2})},
        {"environ": {"HOSTNAME": "elsewhere"}},
    ],
)
def test_where_the_model_lies_does_not_matter(same: dict[str, Any]) -> None:
    """Many platforms serve every model from the same mount, and the same model from many."""
    assert identify(**same).key() == identify().key()


@pytest.mark.parametrize(
    "change",
    [
        {"hf_config": HfConfig(hidden_size=577)},
        {"hf_config": HfConfig(rope={"factor": 4})},
        {"method": "eagle", "draft_hf_config": HfConfig(hidden_size=1)},
        {"cpus": 1.5},
        {"environ": {"OMP_NUM_THREADS": "1"}},
        {"environ": {"VLLM_CPU_OMP_THREADS_BIND": "0-0"}},
        {"environ": {"VLLM_ATTENTION_BACKEND": "FLASHINFER"}},
        {"dtype": "torch.float32"},
        {"tensor_parallel_size": 2},
        {"max_num_batched_tokens": 256},
        {"kv_cache_dtype": "fp8"},
        {"num_speculative_tokens": 3},
        {"prompt_lookup_max": 3},
        {"lora_config": SimpleNamespace(max_lora_rank=16, max_loras=1)},
        {"cudagraph_mode": "FULL"},
        {"cudagraph_mode": "FULL", "capture_sizes": [1, 2, 4]},
        {"cudagraph_mode": "FULL", "table": [[1, 8, 3]]},
        {"runner": "v2"},
        {"platform": gpu()},
    ],
)
def test_whatever_changes_the_step_time_changes_the_key(change: dict[str, Any]) -> None:
    """And no two of these changes give the same key."""
    assert identify(**change).key() != identify().key()


def test_graphs_that_are_not_captured_do_not_matter() -> None:
    """enforce_eager makes sizes and tables meaningless."""
    eager: dict[str, Any] = {"enforce_eager": True, "cudagraph_mode": "FULL"}
    assert identify(**eager, capture_sizes=[1, 2], table=[[1, 8, 3]]).key() == identify(enforce_eager=True).key()


def test_a_gpu_is_its_name_memory_and_count() -> None:
    """Memory in GiB: drivers differ by some megabytes."""
    assert identify(gpu(), tensor_parallel_size=2).hardware == "gpu / NVIDIA H100 80GB HBM3 / 80 GiB / 2"
    assert identify(gpu(memory=85_899_345_920)).hardware == identify(gpu()).hardware
    assert identify(gpu(name="NVIDIA H200")).key() != identify(gpu()).key()


def test_an_ngram_drafter_is_its_method_and_a_model_drafter_its_configuration() -> None:
    """vLLM names the target as ngram's draft model."""
    assert identify().drafter == "ngram"
    assert identify(method="eagle", draft_hf_config=HfConfig(model_type="llama_eagle")).drafter.startswith(
        "llama_eagle-"
    )
    assert identify(speculative=False).drafter == "none"


def test_the_identity_is_the_same_through_json() -> None:
    """The profiling Job reports it as text; its key must not change on the way."""
    assert ProfileIdentity.model_validate_json(identify().model_dump_json(by_alias=True)).key() == identify().key()


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 4),
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, 4),
        ({"sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5),
        ({"sys/fs/cgroup/cpu.max": "800000 100000"}, 4),
        ({"sys/fs/cgroup/cpu.max": "nonsense"}, 4),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 2),
        (
            {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            0.5,
        ),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "0"}, 4),
    ],
)
def test_usable_cpus_are_bounded_by_the_cgroup(tmp_path: Path, files: dict[str, str], cpus: float) -> None:
    """Version 1 and version 2 files, limits and none."""
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    assert usable_cpus(tmp_path, affinity=lambda: 4) == cpus


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 7B13\n", "AMD EPYC 7B13"),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n", "0x41 0xd40"),
        ("nothing here\n", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_processor_is_named_as_the_kernel_names_it(tmp_path: Path, cpuinfo: str | None, name: str) -> None:
    """Arm kernels give numbers instead of a name."""
    if cpuinfo is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    assert cpu_model(tmp_path) == name
    assert describe_cpu(1.5, tmp_path) == f"cpu / {name} / 1.5 CPUs"


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (None, "auto"),
        ("auto", "auto"),
        ("nobind", "nobind"),
        ("0-3", "4"),
        ("4-7", "4"),
        ("0-1,5", "3"),
        ("0-1|2-3", "4"),
    ],
)
def test_bound_cpus_count_and_are_not_named(setting: str | None, text: str) -> None:
    """Two servers on different cores of one machine are equal."""
    assert bound_cpus(setting) == text
