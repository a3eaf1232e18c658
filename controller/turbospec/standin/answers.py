"""Answers in vLLM's spelling, whole and in chunks, for completions and for chat completions."""

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

from turbospec.standin.generation import Generation
from turbospec.standin.openai import ChatCompletionRequest, CompletionRequest, output_text, usage

DONE = b"data: [DONE]\n\n"


class Answer:
    """The answer to one completion request; ``generations`` holds n choices of each prompt."""

    kind, chunk_kind, prefix = "text_completion", "text_completion", "cmpl"

    def __init__(
        self, request: CompletionRequest | ChatCompletionRequest, model: str, generations: Sequence[Generation]
    ) -> None:
        self.generations = generations
        self._request = request
        self._prompt_ids = request.prompt_token_ids() if request.return_token_ids else None
        self._prompt_tokens = request.prompts()
        self._base = {"id": f"{self.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        options = request.stream_options
        self._include_usage = options is not None and options.include_usage
        self._continuous_usage = self._include_usage and options is not None and options.continuous_usage_stats
        self._sent = [0] * len(generations)

    def whole(self) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        choices = [self._choice(index, one.tokens, one.reason) for index, one in enumerate(self.generations)]
        for index, choice in enumerate(choices):
            choice.update(self._ids(index, 0, self.generations[index].tokens))
        return {**self._base, "object": self.kind, "choices": choices, "usage": self._usage()}

    def opening(self) -> bytes:
        """What a stream begins with."""
        return b""

    def chunks(self) -> bytes:
        """What has arrived since the last call: one chunk for each choice with new tokens, as vLLM sends one a step."""
        lines = []
        for index, one in enumerate(self.generations):
            first, end = self._sent[index], one.tokens
            if end > first:
                reason = one.reason if one.finished else None
                delta = {**self._delta(index, first, end, reason), **self._ids(index, first, end)}
                counted = usage(self._prompt_of(index), end) if self._continuous_usage else None
                lines.append(self._line([delta], counted))
                self._sent[index] = end
        return b"".join(lines)

    def closing(self) -> bytes:
        """What a stream ends with."""
        return (self._line([], self._usage()) if self._include_usage else b"") + DONE

    def _choice(self, index: int, tokens: int, reason: str) -> dict[str, Any]:
        text = output_text(0, tokens)
        return {"index": index, "text": text, "logprobs": None, "finish_reason": reason, "stop_reason": None}

    def _delta(self, index: int, first: int, end: int, reason: str | None) -> dict[str, Any]:
        text = output_text(first, end)
        return {"index": index, "text": text, "logprobs": None, "finish_reason": reason, "stop_reason": None}

    def _ids(self, index: int, first: int, end: int) -> dict[str, Any]:
        if self._prompt_ids is None:
            return {}
        ids: dict[str, Any] = {"token_ids": list(range(first, end))}
        if first == 0:
            ids["prompt_token_ids"] = self._prompt_ids[index // (self._request.n or 1)]
        return ids

    def _prompt_of(self, index: int) -> int:
        return self._prompt_tokens[index // (self._request.n or 1)]

    def _usage(self) -> dict[str, int]:
        return usage(sum(self._prompt_tokens), sum(one.tokens for one in self.generations))

    def _line(self, choices: list[dict[str, Any]], counted: dict[str, int] | None) -> bytes:
        chunk = {**self._base, "object": self.chunk_kind, "choices": choices}
        if counted is not None:
            chunk["usage"] = counted
        return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


class ChatAnswer(Answer):
    """The answer to one chat completion request."""

    kind, chunk_kind, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def opening(self) -> bytes:
        """Who speaks, in a chunk for each choice."""
        speaker = {"role": "assistant", "content": ""}
        heads = [
            {"index": index, "delta": speaker, "logprobs": None, "finish_reason": None}
            for index in range(len(self.generations))
        ]
        counted = usage(self._prompt_of(0), 0) if self._continuous_usage else None
        return b"".join(self._line([head], counted) for head in heads)

    def _choice(self, index: int, tokens: int, reason: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": output_text(0, tokens)}
        return {"index": index, "message": message, "logprobs": None, "finish_reason": reason, "stop_reason": None}

    def _delta(self, index: int, first: int, end: int, reason: str | None) -> dict[str, Any]:
        delta = {"content": output_text(first, end)}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason, "stop_reason": None}
