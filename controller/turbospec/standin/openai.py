"""The OpenAI requests that a stand-in understands, and the answers as vLLM spells them.

No tokenizer: four bytes of UTF-8 are a token, token i of an answer reads `` i`` and has the id i.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
"""What a chat template adds around each message."""
MAX_CHOICES = 128
COMPLETION_MAX_TOKENS = 16
"""vLLM's default for completions that set no max_tokens."""

TokenId = Annotated[int, Field(ge=0)]
NOT_SIMULATED = ("logprobs", "top_logprobs", "prompt_logprobs", "echo", "use_beam_search", "tools", "prompt_embeds")


class BadRequestError(Exception):
    """The request cannot be served; the message goes to the client with ``status``."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status

    def body(self) -> dict[str, Any]:
        """As vLLM spells errors."""
        kind = {404: "NotFoundError", 400: "BadRequestError"}.get(self.status, "ServiceUnavailableError")
        return {"error": {"message": str(self), "type": kind, "param": None, "code": self.status}}


class StreamOptions(BaseModel):
    """As OpenAI's, and vLLM's ``continuous_usage_stats``: usage in every chunk."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class Knobs(BaseModel):
    """``vllm_xargs``: what the text of this answer is like. Real vLLM takes the field and ignores what is in it.

    ``acceptance``: conditional acceptance of every draft position; ``output_tokens``: where the text ends by itself.
    """

    acceptance: Annotated[float, Field(ge=0, le=1)] | None = None
    output_tokens: Annotated[int, Field(ge=1)] | None = None


class GenerateRequest(BaseModel):
    """What completions and chat completions share. Sampling parameters are taken and change nothing: the text is
    simulated."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    ignore_eos: bool = False
    return_token_ids: bool | None = None
    vllm_xargs: Knobs | None = None

    @property
    def knobs(self) -> Knobs:
        """Those given, or none."""
        return self.vllm_xargs or Knobs()


class CompletionRequest(GenerateRequest):
    """POST /v1/completions."""

    prompt: str | list[TokenId] | list[str] | list[list[TokenId]]

    def prompts(self) -> list[int]:
        """Tokens of each prompt."""
        return [count_tokens(prompt) for prompt in self._prompts()]

    def prompt_token_ids(self) -> list[list[int]]:
        """The prompts' ids, made up where they came as text."""
        return [list(range(count_tokens(p))) if isinstance(p, str) else p for p in self._prompts()]

    def limit(self) -> int | None:
        """Tokens allowed for an answer."""
        return self.max_tokens or COMPLETION_MAX_TOKENS

    def _prompts(self) -> list[str | list[int]]:
        if isinstance(self.prompt, str):
            return [self.prompt]
        # A list of texts or of lists is many prompts, a list of ids is one.
        many = [one for one in self.prompt if not isinstance(one, int)]
        return many or [[one for one in self.prompt if isinstance(one, int)]]


class ChatMessage(BaseModel):
    """One message; its content may come in parts, of which the text counts."""

    role: str
    content: str | list[dict[str, Any]] | None = None

    def tokens(self) -> int:
        """How many tokens it is taken for."""
        parts = self.content if isinstance(self.content, list) else [{"text": self.content or ""}]
        return TOKENS_PER_MESSAGE + sum(count_tokens(str(part.get("text", ""))) for part in parts)


class ChatCompletionRequest(GenerateRequest):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None

    def prompts(self) -> list[int]:
        """Tokens of the only prompt."""
        return [sum(message.tokens() for message in self.messages)]

    def prompt_token_ids(self) -> list[list[int]]:
        """Made-up ids."""
        return [list(range(count)) for count in self.prompts()]

    def limit(self) -> int | None:
        """Tokens allowed for an answer; None: as many as fit."""
        return self.max_completion_tokens or self.max_tokens


def parse_request(body: bytes, *, chat: bool) -> CompletionRequest | ChatCompletionRequest:
    """Raises BadRequestError; the message names the first field that is wrong."""
    try:
        content = json.loads(body)
        request = (ChatCompletionRequest if chat else CompletionRequest).model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise BadRequestError(f"{where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON: {error}") from error
    asked = [name for name in NOT_SIMULATED if (request.model_extra or {}).get(name)]
    if asked:
        raise BadRequestError(f"a stand-in's answers have no {', '.join(asked)}: leave it out")
    if request.stream_options is not None and not request.stream:
        raise BadRequestError("stream_options: only allowed with stream")
    return request


def count_tokens(prompt: str | Sequence[int]) -> int:
    """A text's bytes by four, rounded up; ids as they are."""
    if isinstance(prompt, str):
        return -(-len(prompt.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)
    return len(prompt)


def output_text(first: int, end: int) -> str:
    """Tokens ``first`` to ``end`` (excluded) of any answer."""
    return "".join(f" {token}" for token in range(first, end))


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """vLLM's UsageInfo."""
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
    }
