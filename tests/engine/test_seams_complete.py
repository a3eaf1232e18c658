"""Whatever of vLLM the runtime reads is written down as a seam: a release that moves it fails a test of its name."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import turbospec.engine
from tests.engine.committed_seams import RELEASES, seams

FOLDER = Path(turbospec.engine.__file__).parent
HTTP = {"control_requests", "control_server"}
"""Modules that see requests and models of ours, none of vLLM's."""

OWNERS = {
    "_scheduler": ("Scheduler",),
    "attention_config": ("AttentionConfig",),
    "cache": ("CacheConfig",),
    "cache_config": ("CacheConfig",),
    "compilation_config": ("CompilationConfig",),
    "config": ("VllmConfig",),
    "draft_model": ("ModelConfig",),
    "drafts": ("DraftTokenIds",),
    "kv_cache_manager": ("KVCacheManager",),
    "lora_config": ("LoRAConfig",),
    "model": ("ModelConfig",),
    "model_config": ("ModelConfig",),
    "model_output": ("ModelRunnerOutput",),
    "new": ("NewRequestData",),
    "output": ("SchedulerOutput",),
    "parallel": ("ParallelConfig",),
    "parallel_config": ("ParallelConfig",),
    "platform": ("Platform",),
    "request": ("NewRequestData", "Request"),
    "scheduler": ("Scheduler", "SchedulerConfig"),
    "scheduler_config": ("SchedulerConfig",),
    "scheduler_output": ("SchedulerOutput",),
    "speculative": ("SpeculativeConfig",),
    "speculative_config": ("SpeculativeConfig",),
    "stats": ("SpecDecodingStats",),
    "transfer": ("KVTransferConfig",),
    "vllm_config": ("VllmConfig",),
}
"""Of which of vLLM's classes an object is, by the name that the runtime gives it."""

PLAIN = {*dir(dict), *dir(list), *dir(str)}
"""Methods of what is no class of vLLM's: drafts by request are a dictionary."""


def name_of(node: ast.expr) -> str | None:
    """What an expression is called: the variable, the attribute, or the attribute that ``getattr`` asks for."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return asked_for(node)[1] if isinstance(node, ast.Call) else None


def asked_for(call: ast.Call) -> tuple[str | None, str | None]:
    """Object and attribute of a ``getattr`` whose attribute is written out."""
    if isinstance(call.func, ast.Name) and call.func.id == "getattr" and isinstance(call.args[1], ast.Constant):
        return name_of(call.args[0]), str(call.args[1].value)
    return None, None


def reads(path: Path) -> Iterator[tuple[str, str]]:
    """(object, attribute) of everything that a module reads from or writes into an object of vLLM's."""
    for node in ast.walk(ast.parse(path.read_text())):
        owner, attribute = None, None
        if isinstance(node, ast.Attribute):
            owner, attribute = name_of(node.value), node.attr
        elif isinstance(node, ast.Call):
            owner, attribute = asked_for(node)
        if owner in OWNERS and attribute is not None and attribute not in PLAIN:
            yield owner, attribute


@pytest.mark.parametrize(
    "path", [path for path in sorted(FOLDER.glob("*.py")) if path.stem not in HTTP], ids=lambda path: path.stem
)
def test_what_a_module_reads_of_vllm_is_a_seam(path: Path) -> None:
    """Under one of the classes that the object's name stands for."""
    known = seams(RELEASES[-1])
    unknown = {
        f"{owner}.{attribute}"
        for owner, attribute in reads(path)
        if not any(f"{one}.{attribute}" in known for one in OWNERS[owner])
    }
    assert not unknown


def test_reads_are_seen_in_every_form(tmp_path: Path) -> None:
    """Attributes, attributes of attributes, getattr and getattr of getattr; not what belongs to somebody else."""
    module = tmp_path / "a.py"
    module.write_text(
        "output.a\nself._scheduler.b.c\nself._scheduler.requests.d\n"
        "getattr(getattr(vllm_config, 'attention_config', None), 'backend', None)\ndrafts.values()\nother.e\n"
    )
    assert sorted(reads(module)) == [
        ("_scheduler", "b"),
        ("_scheduler", "requests"),
        ("attention_config", "backend"),
        ("output", "a"),
        ("vllm_config", "attention_config"),
    ]
