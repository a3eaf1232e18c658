"""The ``--speculative-config`` of a pod whose policy names a method: what vLLM starts with until a document arrives."""

import json
from collections.abc import Sequence
from typing import Any

from turbospec.wire.speculation_policy import SpeculationSpec

DEFAULT_MAX_NUM_SEQS = 256
"""vLLM's usual max_num_seqs. Too low is harmless: vLLM carries the last row on to larger batches."""


def speculative_config(speculation: SpeculationSpec, max_num_seqs: int | None, *, table: bool = True) -> str | None:
    """The flag's JSON value; None where there is nothing to start: no method, or no K above 0 (vLLM refuses those).

    ``table``: False for engines whose K must not change, those with data parallelism. vLLM drops their table from 0.26
    on; in 0.25 ranks of different K wait for each other for ever.
    """
    largest = max(speculation.draft_tokens)
    if speculation.method is None or largest == 0:
        return None
    config: dict[str, Any] = {"method": speculation.method, "num_speculative_tokens": largest}
    if speculation.model is not None:
        config["model"] = speculation.model
    if speculation.prompt_lookup_min is not None:
        config["prompt_lookup_min"] = speculation.prompt_lookup_min
    if speculation.prompt_lookup_max is not None:
        config["prompt_lookup_max"] = speculation.prompt_lookup_max
    if table:
        rows = startup_table(speculation.draft_tokens, max_num_seqs or DEFAULT_MAX_NUM_SEQS)
        config["num_speculative_tokens_per_batch_size"] = [list(row) for row in rows]
    return json.dumps(config, separators=(",", ":"))


def startup_table(draft_tokens: Sequence[int], max_num_seqs: int) -> list[tuple[int, int, int]]:
    """Rows (from batch, to batch, K) over batches 1 to ``max_num_seqs``, largest K at the smallest batches.

    On a GPU vLLM captures graphs for exactly the K that this table holds, so every allowed K gets a row; where there
    are fewer batches than K, the largest ones and the smallest one do. The bounds grow by equal factors, for want of
    knowledge: speculation pays at small batches, and the engine loop corrects the rest once it has a latency model.
    Rows start at 1 and leave no gap, as vLLM demands.
    """
    ladder = sorted(set(draft_tokens), reverse=True)
    if len(ladder) > max_num_seqs:
        ladder = [*ladder[: max_num_seqs - 1], ladder[-1]] if max_num_seqs > 1 else ladder[:1]
    rows: list[tuple[int, int, int]] = []
    start = 1
    for index, draft in enumerate(ladder, start=1):
        left = len(ladder) - index  # every K still to come needs a batch of its own
        end = min(max(start, round(max_num_seqs ** (index / len(ladder)))), max_num_seqs - left)
        rows.append((start, end, draft))
        start = end + 1
    return rows
