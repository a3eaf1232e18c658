"""The serving port of a stand-in: what vLLM's API server answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from turbospec.engine.control_requests import PROMETHEUS_TEXT
from turbospec.standin.answers import Answer, ChatAnswer
from turbospec.standin.engine import StandInEngine
from turbospec.standin.generation import Generation
from turbospec.standin.openai import BadRequestError, ChatCompletionRequest, CompletionRequest, parse_request


async def serve(engine: StandInEngine, request: web.BaseRequest) -> web.StreamResponse:
    """The answer to any request on the serving port."""
    answer = PATHS.get((request.method, request.path))
    if answer is None:
        return web.json_response({"detail": "Not Found"}, status=HTTPStatus.NOT_FOUND)
    try:
        return await answer(engine, request)
    except BadRequestError as error:
        return web.json_response(error.body(), status=error.status)


async def _health(_engine: StandInEngine, _request: web.BaseRequest) -> web.StreamResponse:
    return web.Response()


async def _version(engine: StandInEngine, _request: web.BaseRequest) -> web.StreamResponse:
    return web.json_response({"version": engine.runtime.facts.info.vllm_version})


async def _metrics(engine: StandInEngine, _request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=engine.vllm_metrics(), headers={"Content-Type": PROMETHEUS_TEXT})


async def _models(engine: StandInEngine, _request: web.BaseRequest) -> web.StreamResponse:
    name = engine.options.model
    card = {
        "id": name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "vllm",
        "root": name,
        "parent": None,
        "max_model_len": engine.runtime.facts.limits.max_model_len,
    }
    return web.json_response({"object": "list", "data": [card]})


async def _completions(engine: StandInEngine, request: web.BaseRequest) -> web.StreamResponse:
    return await _generate(engine, request, chat=False)


async def _chat_completions(engine: StandInEngine, request: web.BaseRequest) -> web.StreamResponse:
    return await _generate(engine, request, chat=True)


PATHS: dict[tuple[str, str], Callable[[StandInEngine, web.BaseRequest], Awaitable[web.StreamResponse]]] = {
    ("GET", "/health"): _health,
    ("GET", "/ping"): _health,
    ("GET", "/version"): _version,
    ("GET", "/metrics"): _metrics,
    ("GET", "/v1/models"): _models,
    ("POST", "/v1/completions"): _completions,
    ("POST", "/v1/chat/completions"): _chat_completions,
}


async def _generate(engine: StandInEngine, request: web.BaseRequest, *, chat: bool) -> web.StreamResponse:
    asked = parse_request(await request.read(), chat=chat)
    model = engine.options.model
    if asked.model is not None and asked.model != model:
        raise BadRequestError(f"The model `{asked.model}` does not exist.", HTTPStatus.NOT_FOUND)
    changed, generations = asyncio.Event(), list[Generation]()
    try:
        for prompt_tokens in asked.prompts():
            ending = _ending(engine, asked, prompt_tokens)
            for _ in range(asked.n or 1):
                generations.append(_begin(engine, asked, prompt_tokens, ending, changed))
        answer = (ChatAnswer if chat else Answer)(asked, model, generations)
        if asked.stream:
            return await _stream(request, answer, changed)
        while not all(one.finished for one in generations):
            await _next(changed)
        return web.json_response(answer.whole())
    finally:
        for one in generations:
            engine.cancel(one)


@dataclass(frozen=True, slots=True)
class _Ending:
    """How many tokens an answer will have, and why it ends there."""

    tokens: int
    reason: str


def _ending(engine: StandInEngine, asked: CompletionRequest | ChatCompletionRequest, prompt_tokens: int) -> _Ending:
    longest = engine.runtime.facts.limits.max_model_len
    room, limit = longest - prompt_tokens, asked.limit()
    if room < 1 or (limit or 1) > room:
        raise BadRequestError(
            f"This model's maximum context length is {longest} tokens. However, you requested {limit or 1} output "
            f"tokens and your prompt contains {prompt_tokens} input tokens."
        )
    ends = asked.knobs.output_tokens or (engine.options.output_tokens if limit is None else None)
    most = limit or room
    if ends is None or asked.ignore_eos or ends > most:
        return _Ending(most, "length")
    return _Ending(ends, "stop")


def _begin(
    engine: StandInEngine,
    asked: CompletionRequest | ChatCompletionRequest,
    prompt_tokens: int,
    ending: _Ending,
    changed: asyncio.Event,
) -> Generation:
    acceptance = asked.knobs.acceptance
    generation = Generation(
        # An empty prompt still has its beginning-of-sequence token.
        engine.request(max(1, prompt_tokens), ending.tokens, None if acceptance is None else (acceptance,)),
        changed,
        streamed=bool(asked.stream),
        reason=ending.reason,
        max_tokens=asked.limit(),
    )
    try:
        engine.submit(generation)
    except ValueError as error:
        raise BadRequestError(str(error)) from error
    engine.counters.request_n.observe(asked.n or 1)
    return generation


async def _stream(request: web.BaseRequest, answer: Answer, changed: asyncio.Event) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    opening = answer.opening()
    if opening:
        await response.write(opening)
    while True:
        done = all(one.finished for one in answer.generations)
        chunks = answer.chunks()
        if chunks:
            await response.write(chunks)
        if done:
            break
        await _next(changed)
    await response.write(answer.closing())
    await response.write_eof()
    return response


async def _next(changed: asyncio.Event) -> None:
    """Wait for more tokens."""
    await changed.wait()
    changed.clear()
