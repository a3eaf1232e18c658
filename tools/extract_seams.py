"""Write down what TurboSpec relies on in one release of vLLM: `tools/seams/RELEASE.json`, one line per seam.

    pip download --no-deps vllm==0.33.0 -d wheels
    python tools/extract_seams.py wheels/vllm-0.33.0-*.whl     # or: the folder of an installed package vllm

Nothing is imported: the wheel's source is parsed. A line holds facts (what the code relies on, see `SEAMS`) and, for
functions, a hash of the source without comments and blank lines: where only the hash moves, read the function again,
then run this and commit the new line. `tests/engine/test_seams.py` names each seam that differs.
"""

import argparse
import ast
import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from turbospec.engine.source import (
    Function,
    SourceReader,
    find_class,
    find_function,
    find_method,
    folder_source,
    parse,
)
from turbospec.engine.speculators import RUNNERS, SPECULATORS, source_probe

SEAMS_FOLDER = Path(__file__).resolve().parent / "seams"

_SCHEDULER, _ASYNC = "v1/core/sched/scheduler.py", "v1/core/sched/async_scheduler.py"

# Functions that we extend, call or mirror: (file, class or None, function).
FUNCTIONS = (
    ("config/scheduler.py", "SchedulerConfig", "get_scheduler_cls"),
    (_SCHEDULER, "Scheduler", "_update_after_schedule"),
    (_SCHEDULER, "Scheduler", "get_grammar_bitmask"),
    (_SCHEDULER, "Scheduler", "update_from_output"),
    (_SCHEDULER, "Scheduler", "make_stats"),
    (_SCHEDULER, "Scheduler", "make_spec_decoding_stats"),
    (_SCHEDULER, "Scheduler", "update_draft_token_ids"),
    (_SCHEDULER, "Scheduler", "update_draft_token_ids_in_output"),
    (_SCHEDULER, "Scheduler", "get_request_counts"),
    (_SCHEDULER, "Scheduler", "shutdown"),
    (_ASYNC, "AsyncScheduler", "_update_after_schedule"),
    ("v1/engine/core.py", "EngineCore", "step"),
    ("v1/engine/core.py", "EngineCore", "post_step"),
    ("v1/engine/core.py", "EngineCore", "step_with_batch_queue"),
    ("v1/spec_decode/dynamic/utils.py", None, "build_dynamic_sd_schedule_lookup"),
    ("v1/spec_decode/metrics.py", "SpecDecodingStats", "observe_draft"),
    ("v1/worker/gpu_model_runner.py", "GPUModelRunner", "propose_draft_token_ids"),
    ("v1/worker/gpu/spec_decode/__init__.py", None, "init_speculator"),
    ("v1/worker/gpu/spec_decode/utils.py", "DraftTokensHandler", "set_draft_tokens"),
    ("v1/worker/gpu/spec_decode/utils.py", "DraftTokensHandler", "get_draft_tokens"),
    ("config/vllm.py", "VllmConfig", "use_v2_model_runner"),
    ("engine/arg_utils.py", "EngineArgs", "create_speculative_config"),
)

# Attributes that we read or write, by class: (file, class, names).
ATTRIBUTES = (
    (
        _SCHEDULER,
        "Scheduler",
        ("vllm_config", "scheduler_config", "cache_config", "max_num_running_reqs", "num_spec_tokens", "block_size",
         "dynamic_sd_lookup", "requests", "running", "waiting", "log_stats", "kv_cache_manager"),
    ),
    (
        "v1/core/sched/output.py",
        "SchedulerOutput",
        ("num_spec_tokens_to_schedule", "num_scheduled_tokens", "scheduled_spec_decode_tokens",
         "total_num_scheduled_tokens", "scheduled_new_reqs", "finished_req_ids", "num_invalid_spec_tokens",
         "skip_drafts"),
    ),
    ("v1/core/sched/output.py", "NewRequestData", ("req_id",)),
    ("v1/core/kv_cache_manager.py", "KVCacheManager", ("usage",)),
    ("v1/request.py", "Request", ("num_computed_tokens", "num_prompt_tokens", "num_output_tokens")),
    ("v1/outputs.py", "DraftTokenIds", ("req_ids", "draft_token_ids")),
    ("v1/outputs.py", "ModelRunnerOutput", ("sampled_token_ids", "req_id_to_index")),
    (
        "v1/spec_decode/metrics.py",
        "SpecDecodingStats",
        ("num_drafts", "num_draft_tokens", "num_accepted_tokens", "num_draft_tokens_per_pos",
         "num_accepted_tokens_per_pos"),
    ),
    (
        "config/speculative.py",
        "SpeculativeConfig",
        ("method", "num_speculative_tokens", "num_speculative_tokens_per_batch_size", "parallel_drafting",
         "enable_adaptive_verification", "draft_model_config", "prompt_lookup_min", "prompt_lookup_max",
         "use_gemma4_mtp", "use_step3p5_mtp", "use_multi_module_mtp"),
    ),
    (
        "config/vllm.py",
        "VllmConfig",
        ("model_config", "cache_config", "parallel_config", "scheduler_config", "speculative_config",
         "compilation_config", "attention_config", "lora_config", "kv_transfer_config"),
    ),
    ("config/scheduler.py", "SchedulerConfig", ("max_num_batched_tokens", "max_num_seqs", "async_scheduling")),
    (
        "config/parallel.py",
        "ParallelConfig",
        ("data_parallel_size", "data_parallel_rank", "pipeline_parallel_size", "tensor_parallel_size"),
    ),
    ("config/compilation.py", "CompilationConfig", ("cudagraph_mode", "cudagraph_capture_sizes")),
    ("config/model.py", "ModelConfig", ("hf_config", "dtype", "quantization", "enforce_eager", "max_model_len")),
    ("config/cache.py", "CacheConfig", ("cache_dtype", "num_gpu_blocks")),
    ("config/attention.py", "AttentionConfig", ("backend",)),
    ("config/lora.py", "LoRAConfig", ("max_lora_rank", "max_loras")),
    ("config/kv_transfer.py", "KVTransferConfig", ("kv_connector",)),
    ("platforms/interface.py", "Platform", ("is_cpu", "get_device_name", "get_device_total_memory")),
    # Proposed by the webhook and the engine's log; vLLM makes the flag from the field.
    ("engine/arg_utils.py", "EngineArgs", ("max_cudagraph_capture_size",)),
)  # fmt: skip


def seams_of(source: SourceReader) -> dict[str, dict[str, Any]]:
    """Every seam of one release, by name; ``{"found": false}`` where the release does not have it."""
    lines: dict[str, dict[str, Any]] = {}
    for path, owner, name in FUNCTIONS:
        lines[f"{owner}.{name}" if owner else name] = function_seam(source, path, owner, name)
    for path, owner, names in ATTRIBUTES:
        module = parse(source, path)
        members = members_of(find_class(module, owner)) if module is not None else {}
        for name in names:
            key = f"{owner}.{name}"
            lines[key] = {"found": name in members, **({"type": members[name]} if members.get(name) else {})}
    lines["Scheduler.schedule"] = schedule_seam(source)
    lines["AsyncScheduler placeholders"] = placeholder_seam(source)
    lines["SpeculativeConfig methods"] = methods_seam(source)
    lines["VllmConfig and the start-up table"] = table_seam(source)
    lines["plugins and platform"] = entry_seam(source)
    lines.update(speculator_seams(source))
    return dict(sorted(lines.items()))


def function_seam(source: SourceReader, path: str, owner: str | None, name: str) -> dict[str, Any]:
    """Signature and hash of a function."""
    module = parse(source, path)
    if owner is None:
        function = find_function(module.body, name) if module is not None else None
    else:
        found = find_method(source, path, owner, name)
        path, function = found if found is not None else (path, None)
    if function is None:
        return {"found": False}
    return {"found": True, "parameters": parameters_of(function), "hash": source_hash(source, path, function)}


def parameters_of(function: Function) -> list[str]:
    """Names in order, keyword-only ones after a ``*``."""
    arguments = function.args
    names = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
    if arguments.vararg is not None:
        names.append(f"*{arguments.vararg.arg}")
    elif arguments.kwonlyargs:
        names.append("*")
    names += [one.arg for one in arguments.kwonlyargs]
    return names + ([f"**{arguments.kwarg.arg}"] if arguments.kwarg is not None else [])


def source_hash(source: SourceReader, path: str, function: Function) -> str:
    """Of the function's lines without indentation, blank lines and comment lines: equal under every Python."""
    text = (source(path) or "").splitlines()[function.lineno - 1 : function.end_lineno]
    lines = [line.strip() for line in text]
    kept = "\n".join(line for line in lines if line and not line.startswith("#"))
    return hashlib.sha256(kept.encode()).hexdigest()[:16]


def members_of(owner: ast.ClassDef | None) -> dict[str, str]:
    """Fields, properties, methods and what ``self.`` is given, each with its annotation where it has one."""
    members: dict[str, str] = {}
    for node in owner.body if owner is not None else []:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            members[node.target.id] = compact(ast.unparse(node.annotation))
        elif isinstance(node, Function):
            members.setdefault(node.name, "")
            for name, annotation in assigned_to_self(node):
                members.setdefault(name, annotation)
    return members


def assigned_to_self(function: Function) -> Iterator[tuple[str, str]]:
    """Names that the function gives to its first parameter, also inside a tuple."""
    for node in ast.walk(function):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        annotation = compact(ast.unparse(node.annotation)) if isinstance(node, ast.AnnAssign) else ""
        for target in targets:
            for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id == "self":
                    yield one.attr, annotation


def compact(text: str) -> str:
    """An annotation in one form, whatever quotes the running Python prints."""
    return re.sub(r"['\"\s]", "", text)


def schedule_seam(source: SourceReader) -> dict[str, Any]:
    """Where K enters a step: into SchedulerOutput from the table, before the hook that we extend, and nowhere else."""
    found = find_method(source, _SCHEDULER, "Scheduler", "schedule")
    if found is None:
        return {"found": False}
    calls = [node for node in ast.walk(found[1]) if isinstance(node, ast.Call)]
    made = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "SchedulerOutput"]
    hooks = [
        call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "_update_after_schedule"
    ]
    read = [
        node
        for node in ast.walk(found[1])
        if isinstance(node, ast.Attribute) and node.attr == "num_spec_tokens_to_schedule"
    ]
    return {
        "found": True,
        "k_in_output": any(word.arg == "num_spec_tokens_to_schedule" for call in made for word in call.keywords),
        "hook_after_output": bool(made and hooks) and made[-1].lineno < hooks[-1].lineno,
        "k_read_between": len(read),
        "pads_without_table": "self.dynamic_sd_lookup is None" in ast.unparse(found[1]),
    }


def placeholder_seam(source: SourceReader) -> dict[str, Any]:
    """Whether an asynchronous scheduler makes as many placeholders as K says."""
    found = find_method(source, _ASYNC, "AsyncScheduler", "_update_after_schedule")
    if found is None:
        return {"found": False}
    text = ast.unparse(found[1])
    return {
        "found": True,
        "length_is_k": "[-1] * scheduler_output.num_spec_tokens_to_schedule" in text,
        "after_super": text.find("super()") < text.find("num_spec_tokens_to_schedule"),
    }


def methods_seam(source: SourceReader) -> dict[str, Any]:
    """The methods that vLLM takes, and its names for mtp."""
    module = parse(source, "config/speculative.py")
    literals = {
        node.targets[0].id: node.value
        for node in (module.body if module is not None else [])
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }

    def values(name: str) -> list[str]:
        found: list[str] = []
        for node in ast.walk(literals[name]) if name in literals else []:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.Name) and node.id in literals and node.id != "MTPModelTypes":
                found += values(node.id)
        return found

    methods = set(values("SpeculativeMethod"))
    return {"found": bool(methods), "methods": sorted(methods), "mtp": sorted(values("MTPModelTypes"))}


def table_seam(source: SourceReader) -> dict[str, Any]:
    """What vLLM itself does to num_speculative_tokens_per_batch_size and to graphs because of it."""
    text = source("config/vllm.py") or ""
    cleared = "num_speculative_tokens_per_batch_size = None" in text
    return {
        "found": bool(text),
        "v1_runs_piecewise": "Dynamic speculative decoding changes the target verification" in text,
        "dropped_with_data_parallelism": cleared and "supported with data" in text,
        "dropped_for_methods_on_v1": cleared and "_maybe_disable_dynamic_sd_for_v1" in text,
    }


def entry_seam(source: SourceReader) -> dict[str, Any]:
    """How vLLM finds us, and where we ask what it computes on."""
    plugins, platforms = source("plugins/__init__.py") or "", source("platforms/__init__.py") or ""
    return {
        "found": bool(plugins and platforms),
        "group": '"vllm.general_plugins"' in plugins,
        "current_platform": 'name == "current_platform"' in platforms,
    }


def speculator_seams(source: SourceReader) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each model runner whether it reads K, and for each speculator what its ``propose()`` does with it."""
    probe = source_probe(source)
    for runner, path in RUNNERS.items():
        text = source(path)
        reads = ".num_spec_tokens_to_schedule" in (text or "")
        yield f"{runner} model runner", {"found": text is not None, "reads_length": reads}
    for (variant, runner), places in SPECULATORS.items():
        facts = probe(variant, runner)
        line: dict[str, Any] = {"found": facts.found}
        for path, owner in places:
            found = find_method(source, path, owner, "propose")
            if found is not None:
                line |= {"class": owner, "asserts_length": facts.asserts_length, "reads_length": facts.reads_length}
                line["hash"] = source_hash(source, *found)
                break
        yield f"{runner} {variant}.propose", line


def release_text(release: str, seams: dict[str, dict[str, Any]]) -> str:
    """The file: JSON, one line per seam, so that a difference between releases reads as such."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(facts)}" for name, facts in seams.items())
    return f'{{"release": {json.dumps(release)}, "seams": {{\n{lines}\n}}}}\n'


def wheel_source(wheel: zipfile.ZipFile) -> SourceReader:
    """Reads the package inside a wheel."""

    def read(path: str) -> str | None:
        try:
            return wheel.read(f"vllm/{path}").decode()
        except KeyError:
            return None

    return read


def main() -> int:
    """Write the file of each wheel or package folder that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", type=Path, help="a wheel of vllm, or the folder of a package vllm")
    parser.add_argument("--release", help="the release; a wheel's name tells it")
    arguments = parser.parse_args()
    named = re.match(r"vllm(?:_cpu)?-([0-9][^-+]*)", arguments.place.name)
    release = arguments.release or (named.group(1) if named else None)
    if release is None:
        parser.error("--release is needed where the name does not tell it")
    if arguments.place.is_dir():
        seams = seams_of(folder_source(arguments.place))
    else:
        with zipfile.ZipFile(arguments.place) as wheel:
            seams = seams_of(wheel_source(wheel))
    SEAMS_FOLDER.mkdir(exist_ok=True)
    target = SEAMS_FOLDER / f"{release}.json"
    target.write_text(release_text(release, seams), encoding="utf-8")
    missing = [name for name, facts in seams.items() if not facts["found"]]
    print(f"{target}: {len(seams)} seams, not in this release: {', '.join(missing) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
