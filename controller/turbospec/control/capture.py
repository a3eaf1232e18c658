"""How large a CUDA graph the largest decode step of an engine takes."""

STRIDE = 16
"""From 256 tokens up vLLM captures every 16th size, and cuts a largest size that lies between two of them."""


def size_that_captures(max_num_seqs: int, draft_tokens: int, max_num_batched_tokens: int | None = None) -> int:
    """The ``max_cudagraph_capture_size``, in tokens, that holds ``max_num_seqs`` requests with this K each.

    No step is larger than ``max_num_batched_tokens``, and vLLM captures none that is; None where it is not known.
    """
    size = -(-max_num_seqs * (draft_tokens + 1) // STRIDE) * STRIDE
    return size if max_num_batched_tokens is None else min(size, max_num_batched_tokens)
