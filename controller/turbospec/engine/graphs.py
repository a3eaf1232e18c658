"""Which CUDA graphs an engine has captured, and so which draft lengths it can run without falling out of them."""

from collections.abc import Sequence
from typing import Any


def captures_graphs(vllm_config: Any) -> bool:
    """Whether this engine replays CUDA graphs: not on CPU, not with enforce_eager, not with cudagraph_mode NONE."""
    return _mode(vllm_config) != "NONE"


def captured_sizes(vllm_config: Any) -> tuple[int, ...]:
    """The batch sizes, in tokens, for which graphs were captured, ascending; empty where none were."""
    if not captures_graphs(vllm_config):
        return ()
    sizes = getattr(vllm_config.compilation_config, "cudagraph_capture_sizes", None) or ()
    return tuple(sorted(int(size) for size in sizes))


def start_up_schedule(vllm_config: Any) -> tuple[tuple[int, int, int], ...]:
    """``num_speculative_tokens_per_batch_size`` as (first batch, last batch, K); empty where the engine has none."""
    rows = getattr(vllm_config.speculative_config, "num_speculative_tokens_per_batch_size", None) or ()
    return tuple((int(row[0]), int(row[1]), int(row[2])) for row in rows)


def captured_draft_tokens(vllm_config: Any, runner: str) -> tuple[int, ...]:
    """The K this engine may run, ascending: all where no graphs are captured, else those that have graphs.

    A uniform decode step at K is K + 1 tokens wide. Graphs of that width exist for the K of the start-up table that
    some batch up to max_num_seqs reaches, as far as a captured size holds one such request (vLLM rounds each size up
    to a multiple of the width and drops what exceeds the largest). Without a table they exist for the maximum only;
    other widths then run in graphs that take any mix of requests, where the mode has them.
    """
    speculative = vllm_config.speculative_config
    maximum = int(getattr(speculative, "num_speculative_tokens", None) or 0)
    mode = _mode(vllm_config)
    schedule = start_up_schedule(vllm_config) if maximum else ()
    if mode == "NONE" or maximum == 0:
        return tuple(range(maximum + 1))
    if not schedule:
        return (maximum,) if mode == "FULL_DECODE_ONLY" else tuple(range(maximum + 1))
    max_num_seqs = int(getattr(vllm_config.scheduler_config, "max_num_seqs", None) or schedule[-1][1])
    reached = {min(maximum, k) for first, _, k in schedule if first <= max_num_seqs}
    sizes = captured_sizes(vllm_config)
    if runner == "v2" and sizes and "FULL" in mode:
        # Where no size holds any of them all steps are eager, and then no K is better than another.
        reached = {k for k in reached if k + 1 <= sizes[-1]} or reached
    return tuple(sorted(reached))


def eager_above(allowed: Sequence[int], sizes: Sequence[int], max_num_seqs: int) -> dict[int, int]:
    """By K the largest batch whose steps fit into the largest graph, where ``max_num_seqs`` requests do not; empty
    where there are no graphs."""
    largest = {k: max(sizes, default=0) // (k + 1) for k in allowed}
    return {k: batch for k, batch in largest.items() if batch < max_num_seqs} if sizes else {}


def _mode(vllm_config: Any) -> str:
    """``cudagraph_mode`` by name; ``NONE`` where no graphs are captured."""
    if getattr(vllm_config.model_config, "enforce_eager", False):
        return "NONE"
    mode = getattr(getattr(vllm_config, "compilation_config", None), "cudagraph_mode", None)
    return "NONE" if mode is None else str(getattr(mode, "name", mode)).upper()
