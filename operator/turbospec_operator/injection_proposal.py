"""What injection proposes to a pod's owner and does not set: CUDA graphs for every step of the start-up ladder.

Graphs take GPU memory and time at start-up, which only the owner of the pod can weigh (docs/decisions/0031).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from turbospec.control.capture import size_that_captures
from turbospec_operator.hardware_labels import GPU_RESOURCES
from turbospec_operator.injection_command import arguments, max_num_batched_tokens, max_num_seqs

Raw = Mapping[str, Any]

ANNOTATION_PROPOSED = "turbospec.io/proposed-arguments"

USUAL_CAPTURE_SIZE = 512
"""vLLM's own limit of a graph's tokens, in all releases from 0.25 to 0.33 (``VllmConfig._set_cudagraph_sizes``). On
datacentre Blackwell it is 1,024, which no pod shows: there a proposal up to that is what vLLM does by itself."""

_CHOSEN_GRAPHS = re.compile(
    r"(?<![\w-])(--(max[-_])?cudagraph[-_]capture|--enforce[-_]eager|--compilation[-_]config|--optimization[-_]level"
    r"|-cc(?![\w-])|-O)"
)


def proposed_arguments(container: Raw, draft_tokens: Sequence[int]) -> str | None:
    """The arguments with which no decode step of this ladder runs without a graph, and why, in one line.

    None where nothing is lacking, where the owner has said something of graphs, where the container gets no GPU, and
    where ``--max-num-seqs`` is not written: vLLM's default depends on the GPU.
    """
    batches = max_num_seqs(container)
    if batches is None or not _has_gpu(container) or _graphs_are_chosen(container):
        return None
    size = size_that_captures(batches, max(draft_tokens), max_num_batched_tokens(container))
    if size <= USUAL_CAPTURE_SIZE:
        return None
    eager = [
        f"K = {k} above {USUAL_CAPTURE_SIZE // (k + 1)}"
        for k in sorted(set(draft_tokens), reverse=True)
        if batches * (k + 1) > USUAL_CAPTURE_SIZE
    ]
    return (
        f"--max-cudagraph-capture-size={size}: by vLLM's limit of {USUAL_CAPTURE_SIZE} tokens (1024 on datacentre "
        f"Blackwell) steps lack a CUDA graph at {', '.join(eager)} requests; it costs GPU memory and start-up time"
    )


def _has_gpu(container: Raw) -> bool:
    """Whether the container is given a GPU that vLLM captures graphs on, by an extended resource."""
    resources = container.get("resources") or {}
    amounts = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
    return any(name.startswith(GPU_RESOURCES) and str(amount) != "0" for name, amount in amounts.items())


def _graphs_are_chosen(container: Raw) -> bool:
    """Whether arguments, or variables that may become some, say which graphs to capture or that none shall be."""
    variables = [str(variable.get("value") or "") for variable in container.get("env") or ()]
    return any(_CHOSEN_GRAPHS.search(text) for text in (*arguments(container), *variables))
