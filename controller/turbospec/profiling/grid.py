"""Which cells a profiling run measures, and in which order. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from turbospec.profiling.spread import farthest_first

SHORTEST_CONTEXT = 128
ODD_TOKENS = 8
"""Added to every prompt: vLLM caches whole blocks of a prefix and computes the last token anyway, so a prompt of
exactly some blocks would lose its last one (128 tokens on CPU) each time it is sent."""
LONGEST_CONTEXT = 8192
"""Prompts beyond this cost more prefill time than a five-minute run has; the fit carries on from there."""
CONTEXT_RATIO = 8
CONTEXT_WEIGHT = 1 / 3
"""Of doublings of context beside those of batch, where cells are spread: step times depart from the fit over the batch,
with graph sizes and kernels, three times as fast (the ratio of ``surface.REACH``), and long prompts take time."""
MOST_PREFILL_STEPS = 40
"""Full prefill steps that a wave may take before it decodes: on a GPU enough for the KV cache of large batches, which
the fit would extrapolate six times over. What takes too long on the engine at hand, the sweep leaves out itself."""
OUTPUT_TOKENS = 192
"""Enough decoding for a round over all K in one wave, little enough that the context hardly grows."""
UNMATCHED_TOKENS = 28
"""Tokens of a prompt that do not come back in the output (its mark, twice its tail, room for a draft): after the others
lookup drafters run out of text."""
SHORTEST_REQUEST = 64
"""Prompt and output tokens below which a wave of requests ends before a block of steps can be measured."""
USABLE_KV_SHARE = 0.95
"""The rest keeps vLLM from preempting: it reserves slots for drafts and one block for itself."""
DEFAULT_KV_BLOCK_TOKENS = 16
"""vLLM's own default on GPU, for engines that do not report theirs."""
MOST_DRAFT_LENGTHS = 6
"""K values measured in a cell; with more, each would get too few steps, and the fit interpolates between them."""
FEWEST_DRAFT_LENGTHS = 3
"""Two points of K would say nothing of what lies between them."""


@dataclass(frozen=True, slots=True)
class SweepLimits:
    """What the engine allows, as it reports it. ``graph_sizes`` are captured batch sizes in tokens, where known."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    kv_cache_tokens: int
    allowed_draft_tokens: tuple[int, ...]
    graph_sizes: tuple[int, ...] = ()
    kv_block_tokens: int = DEFAULT_KV_BLOCK_TOKENS


@dataclass(frozen=True, slots=True)
class CellPlan:
    """One cell: ``batch`` requests with this prompt, decoding at most ``output_tokens`` each, every K interleaved."""

    batch: int
    prompt_tokens: int
    output_tokens: int


def draft_lengths(allowed: Sequence[int], wanted: Sequence[int] = ()) -> tuple[int, ...]:
    """The K to measure, of those ``allowed`` by the engine.

    All ``wanted`` ones, the smallest and the largest; at least three where there are as many, for a profile is shared
    by policies that want others. Without wanted ones all that are allowed, up to six spread over the range.
    """
    ks = sorted(set(allowed))
    spread = [ks[index] for index in farthest_first([(k,) for k in ks])]
    chosen = {*spread[:2], *(k for k in wanted if k in ks)}
    fewest = FEWEST_DRAFT_LENGTHS if wanted else MOST_DRAFT_LENGTHS
    for k in spread:
        if len(chosen) < fewest:
            chosen.add(k)
    return tuple(sorted(chosen))


def plan_sweep(limits: SweepLimits) -> tuple[CellPlan, ...]:
    """All cells, coarse first: stopping after any number of them leaves a profile that covers the range evenly.

    Empty where the KV cache does not hold even one short request.
    """
    cells = [
        CellPlan(batch, prompt, output) for batch in _batches(limits) for prompt, output in _contexts(limits, batch)
    ]
    order = farthest_first([(cell.batch, cell.prompt_tokens) for cell in cells], (1.0, CONTEXT_WEIGHT))
    return tuple(cells[index] for index in order)


def plan_between(limits: SweepLimits) -> tuple[CellPlan, ...]:
    """Further cells, of the shortest context, for where those of ``plan_sweep`` leave doubt.

    Between two powers of two, and the last batch that the largest captured graph holds, for each K.
    """
    planned = set(_batches(limits))
    batches = {3 * 2**power for power in range(limits.max_num_seqs.bit_length())}
    if limits.graph_sizes:
        batches |= {max(limits.graph_sizes) // (k + 1) for k in draft_lengths(limits.allowed_draft_tokens)}
    wanted = sorted(batch for batch in batches - planned if 1 <= batch <= limits.max_num_seqs)
    return tuple(CellPlan(batch, *context) for batch in wanted for context in _contexts(limits, batch)[:1])


def _batches(limits: SweepLimits) -> list[int]:
    """Powers of two, the maximum, and the first batch beyond the largest captured graph for each K."""
    batches = {limits.max_num_seqs} | {2**power for power in range(limits.max_num_seqs.bit_length())}
    if limits.graph_sizes:
        batches |= {max(limits.graph_sizes) // (k + 1) + 1 for k in draft_lengths(limits.allowed_draft_tokens)}
    return sorted(batch for batch in batches if 1 <= batch <= limits.max_num_seqs)


def _room(limits: SweepLimits, batch: int) -> int:
    """Tokens that one of ``batch`` equal requests may grow to without preemption or the model's end in sight."""
    blocks = int(limits.kv_cache_tokens * USABLE_KV_SHARE) // limits.kv_block_tokens
    shared = blocks // batch * limits.kv_block_tokens
    return min(shared, limits.max_model_len - 1) - max(limits.allowed_draft_tokens)


def _contexts(limits: SweepLimits, batch: int) -> list[tuple[int, int]]:
    """(prompt, output) tokens of the contexts that fit; one shorter than all of them where memory holds none."""
    room = _room(limits, batch)
    if room < SHORTEST_REQUEST:
        return []
    longest = min(LONGEST_CONTEXT, limits.max_model_len // 2)
    contexts = [SHORTEST_CONTEXT]
    while contexts[-1] * CONTEXT_RATIO <= longest:
        contexts.append(contexts[-1] * CONTEXT_RATIO)
    if contexts[-1] * 2 <= longest:
        contexts.append(longest)
    wanted = [context + ODD_TOKENS for context in contexts]
    # Half of the usual output is enough for a cell that would not fit otherwise.
    fitting = [prompt for prompt in wanted if prompt + min(OUTPUT_TOKENS, prompt) // 2 <= room]
    affordable = MOST_PREFILL_STEPS * limits.max_num_batched_tokens
    fitting = fitting[:1] + [prompt for prompt in fitting[1:] if batch * prompt <= affordable]
    return [
        (prompt, min(OUTPUT_TOKENS, prompt - UNMATCHED_TOKENS, room - prompt))
        for prompt in fitting or [room // 2 + UNMATCHED_TOKENS // 2]
    ]
