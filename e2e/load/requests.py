"""Request bodies for vLLM's OpenAI server, by kind of text."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from e2e.load.texts import chat_prompt, code_prompt
from e2e.models.prompts import MAX_OUTPUT_TOKENS, dial_prompt

SERVED_MODEL = "demo"
STREAMED = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
"""Usage in every chunk: with speculation a chunk holds several tokens, and only the server knows how many."""
GREEDY = {"model": SERVED_MODEL, "temperature": 0}


@dataclass(frozen=True)
class Call:
    """One request: path on the server and JSON body."""

    path: str
    body: dict[str, Any]


OUTPUT_TOKENS = {"code": (80, 240), "chat": (80, 240), "dial": (30, MAX_OUTPUT_TOKENS)}
"""Answers are limited to a length drawn from this range: equal lengths would keep all clients in step for ever."""


def calls(style: str, seed: str) -> Iterator[Call]:
    """Endless requests of a style: ``code``, ``chat``, or ``dial:P`` for conditional acceptance P on a cycle model."""
    dice = random.Random(seed)  # noqa: S311 (reproducible load, nothing secret)
    kind, _, acceptance = style.partition(":")
    if kind not in OUTPUT_TOKENS:
        raise ValueError(f"style {style!r} is unknown: use code, chat or dial:P")
    # The first answer is the rest of one that began before: clients that all begin together would need no prefill for
    # a long while and then all at once, which favours whoever answers slowly.
    share = dice.uniform(0.1, 1.0)
    while True:
        common = {**GREEDY, **STREAMED, "max_tokens": max(1, int(share * dice.randint(*OUTPUT_TOKENS[kind])))}
        share = 1.0
        if kind == "code":
            yield Call("/v1/completions", {**common, "prompt": code_prompt(dice)})
        elif kind == "chat":
            messages = [{"role": "user", "content": chat_prompt(dice)}]
            yield Call("/v1/chat/completions", {**common, "messages": messages})
        else:
            prompt = dial_prompt(float(acceptance), dice.randrange(2**31))
            yield Call("/v1/completions", {**common, "prompt": prompt, "ignore_eos": True})
