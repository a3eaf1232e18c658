"""Completions and chat completions, whole and streamed, as vLLM answers them."""

import time
from typing import Any

import aiohttp
import pytest

from tests.simulation.builders import engine_file
from tests.standin.support import stand_ins, until
from turbospec.standin.openai import output_text

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi there"}]}]
CHAT_TOKENS = 4 + 3 + 4 + 2
USAGE = {"prompt_tokens": 50, "total_tokens": 90, "completion_tokens": 40}


async def test_a_completion_has_all_its_tokens_and_says_so() -> None:
    """Text, ids, finish reason and usage agree."""
    async with stand_ins() as served:
        answer = (await served.complete(model="stand-in", return_token_ids=True)).json()
    choice = answer["choices"][0]
    assert answer["object"] == "text_completion"
    assert answer["usage"] == USAGE
    assert (choice["text"], choice["finish_reason"]) == (output_text(0, 40), "length")
    assert (choice["token_ids"], choice["prompt_token_ids"]) == (list(range(40)), [1] * 50)


async def test_a_chat_completion_has_a_message() -> None:
    """Without a limit it ends by itself."""
    async with stand_ins(output_tokens=30) as served:
        answer = (await served.post("/v1/chat/completions", {"messages": CHAT})).json()
    choice = answer["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": output_text(0, 30)}
    assert choice["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": CHAT_TOKENS, "total_tokens": CHAT_TOKENS + 30, "completion_tokens": 30}


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("n", [1, 3])
async def test_a_stream_is_the_answer_in_pieces(chat: bool, n: int) -> None:
    """Every choice comes whole and in order, its last chunk has the reason, the last chunk of all the usage."""
    path = "/v1/chat/completions" if chat else "/v1/completions"
    what: dict[str, Any] = {"messages": CHAT} if chat else {"prompt": "x" * 201}
    prompt_tokens = CHAT_TOKENS if chat else 51
    async with stand_ins() as served:
        chunks = await served.stream(
            path, {**what, "max_tokens": 40, "n": n, "stream_options": {"include_usage": True}}
        )
    texts, reasons = [""] * n, [list[str | None]() for _ in range(n)]
    for chunk in chunks[:-1]:
        assert "usage" not in chunk
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["delta"]["content"] if chat else choice["text"]
        reasons[choice["index"]].append(choice["finish_reason"])
    assert texts == [output_text(0, 40)] * n
    assert all(one[-1] == "length" and set(one[:-1]) == {None} for one in reasons)
    total = 40 * n
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {
        "prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens + total, "completion_tokens": total,
    }  # fmt: skip
    assert len({chunk["id"] for chunk in chunks}) == 1


async def test_usage_may_come_with_every_chunk() -> None:
    """Counted as the tokens arrive: what a load generator reads."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    async with stand_ins() as served:
        chunks = await served.stream(
            "/v1/completions", {"prompt": [1] * 50, "max_tokens": 40, "stream_options": options}
        )
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert (counts[0], chunks[-1]["usage"]) == (1, USAGE)


@pytest.mark.parametrize(
    ("fields", "tokens", "reason"),
    [
        ({"max_tokens": 9}, 9, "length"),
        ({"max_tokens": 9, "vllm_xargs": {"output_tokens": 4}}, 4, "stop"),
        ({"max_tokens": 9, "vllm_xargs": {"output_tokens": 9}}, 9, "stop"),
        ({"max_tokens": 9, "vllm_xargs": {"output_tokens": 10}}, 9, "length"),
        ({"max_tokens": 9, "vllm_xargs": {"output_tokens": 4}, "ignore_eos": True}, 9, "length"),
        ({"max_tokens": None}, 16, "length"),
    ],
)
async def test_an_answer_ends_where_the_text_or_the_client_says(
    fields: dict[str, Any], tokens: int, reason: str
) -> None:
    """Whichever comes first; a completion without a limit has vLLM's 16 tokens."""
    async with stand_ins() as served:
        answer = (await served.complete(**fields)).json()
    assert (answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"]) == (tokens, reason)


async def test_several_prompts_are_several_choices() -> None:
    """As in vLLM: n choices of the first prompt, then of the second."""
    async with stand_ins() as served:
        answer = (await served.complete(prompt=["abcd", "abcdefgh"], n=2, return_token_ids=True)).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert [len(choice["prompt_token_ids"]) for choice in answer["choices"]] == [1, 1, 2, 2]
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 163, "completion_tokens": 160}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"[]", 400, "body"),
        ({"max_tokens": 4}, 400, "prompt"),
        ({"prompt": 7}, 400, "prompt"),
        ({"prompt": ["a", 1]}, 400, "prompt"),
        ({"prompt": [-1]}, 400, "prompt"),
        ({"prompt": "x", "max_tokens": 0}, 400, "max_tokens"),
        ({"prompt": "x", "n": 0}, 400, "n:"),
        ({"prompt": "x", "vllm_xargs": {"acceptance": 1.5}}, 400, "vllm_xargs.acceptance"),
        ({"prompt": "x", "logprobs": 1}, 400, "logprobs"),
        ({"prompt": "x", "stream_options": {"include_usage": True}}, 400, "stream_options"),
        ({"prompt": "x", "model": "other"}, 404, "other"),
        ({"prompt": "x", "max_tokens": 40_000}, 400, "32768"),
        ({"prompt": [1] * 32_768}, 400, "32768"),
    ],
)
async def test_what_cannot_be_served_is_refused_with_its_reason(body: Any, status: int, said: str) -> None:
    """And the next request is served."""
    async with stand_ins() as served:
        answer = await served.post("/v1/completions", body)
        assert (answer.status, answer.json()["error"]["code"]) == (status, status)
        assert said in answer.json()["error"]["message"]
        assert (await served.complete()).status == 200


async def test_a_request_that_can_never_fit_takes_its_siblings_with_it() -> None:
    """Whole or not at all: what was begun for the same HTTP request is taken back."""
    async with stand_ins(engine_file(kvCacheTokens=200)) as served:
        answer = await served.complete(prompt=[[1] * 50, [1] * 300])
        assert answer.status == 400
        assert "kvCacheTokens" in answer.json()["error"]["message"]
        assert not served.engine().simulated.busy
        assert (await served.complete()).status == 200


async def test_models_health_and_what_is_not_there() -> None:
    """What probes and clients look at first."""
    async with stand_ins(model="mine") as served:
        card = (await served.get("/v1/models")).json()["data"][0]
        assert (card["id"], card["max_model_len"]) == ("mine", 32768)
        assert (await served.get("/health")).status == 200
        assert "stand-in" in (await served.get("/version")).json()["version"]
        assert (await served.get("/v1/embeddings")).status == 404


async def test_a_client_that_hangs_up_frees_its_place() -> None:
    """As vLLM aborts: KV cache free, counted as aborted, others unharmed."""
    async with stand_ins(speed=1.0) as served:
        body = {"prompt": [1] * 50, "max_tokens": 20_000, "stream": True}
        async with served.session.post(served.url("/v1/completions"), json=body) as response:
            await response.content.readline()
            assert served.engine().simulated.kv_tokens > 50
            response.close()

        async def idle() -> bool:
            return not served.engine().simulated.busy

        await until(idle)
        assert served.engine().simulated.kv_tokens == 0
        assert (await served.metrics())["vllm:request_success_total", "abort"] == 1
        assert (await served.complete()).status == 200


async def test_it_is_not_ready_before_its_time() -> None:
    """503 on both ports, then 200: start-up takes simulated seconds."""
    async with stand_ins(start_up_seconds=3600.0) as served:
        assert (await served.get("/health")).status == 503
        assert (await served.complete()).status == 503
        assert (await served.ask("GET", "/v1/state")).status == 503
    began = time.monotonic()
    async with stand_ins(start_up_seconds=1.0, speed=2.0) as served:

        async def healthy() -> bool:
            return (await served.get("/health")).status == 200

        await until(healthy)
        assert time.monotonic() - began >= 0.5
        assert (await served.complete()).status == 200
        assert (await served.state()).counters.steps > 0


async def test_nobody_else_is_served_where_engines_share_a_socket() -> None:
    """An address of 127/8 that no engine has gets no engine's answer."""
    async with stand_ins(count=2) as served:
        for port in (served.server.port, served.server.control_port):
            with pytest.raises(aiohttp.ClientResponseError) as refused:
                async with served.session.get(f"http://127.0.0.1:{port}/health", raise_for_status=True):
                    pass
            assert refused.value.status == 421
