"""Prompts for the cycle model that fix the n-gram drafter's acceptance, request by request."""

import itertools
import random

FIRST_BYTE_TOKEN = 4
"""Token of byte 0: four special tokens come before."""

PROMPT_TOKENS = 96
"""Short: a CPU takes seconds to prefill sixteen of them, and K is to be seen following the load, not prefill."""

MAX_OUTPUT_TOKENS = 90
"""Beyond the bytes of the prompt the drafter finds nothing to look up."""


def dial_prompt(acceptance: float, seed: int) -> list[int]:
    """96 token ids: consecutive bytes in shuffled runs that go on with probability ``acceptance``; then the first.

    The model continues with b + 1. The drafter looks the last tokens up in the prompt and proposes what followed there,
    which is b + 1 where the run went on: the conditional acceptance of every draft position is about ``acceptance`` for
    greedy outputs of at most ``MAX_OUTPUT_TOKENS`` tokens and ``prompt_lookup_min`` 1.
    """
    if not 0 <= acceptance <= 1:
        raise ValueError(f"acceptance is {acceptance}, must be between 0 and 1")
    dice = random.Random(seed)  # noqa: S311 (reproducible prompts, nothing secret)
    start = dice.randrange(256)
    runs = [[start]]
    for offset in range(1, PROMPT_TOKENS - 1):
        byte = (start + offset) % 256
        if dice.random() < acceptance:
            runs[-1].append(byte)
        else:
            runs.append([byte])
    dice.shuffle(runs)
    # From the first byte the answer goes through all the others.
    return [FIRST_BYTE_TOKEN + byte for byte in (*itertools.chain(*runs), start)]


def dial_continuation(prompt: list[int], tokens: int) -> list[int]:
    """The only right greedy answer: after byte b comes b + 1."""
    last = prompt[-1] - FIRST_BYTE_TOKEN
    return [FIRST_BYTE_TOKEN + (last + step) % 256 for step in range(1, tokens + 1)]
