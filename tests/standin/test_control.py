"""The control port: the engine's own protocol, under which K of the simulated steps follows the documents."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from tests.simulation.builders import LINEAR, engine_file
from tests.standin.support import StandIns, stand_ins, table_document, until
from turbospec.wire.control_document import MAX_BODY_BYTES


async def decided(served: StandIns, number: int = 0) -> set[int]:
    """The K of steps that follow the newest one."""
    since = served.engine(number).runtime.next_seq
    await served.complete(number)
    return {step["decided_draft_tokens"] for step in await served.steps(number, since)}


@pytest.mark.parametrize("k", [0, 1, 3, 7])
async def test_k_of_a_document_is_the_k_of_the_steps(k: int) -> None:
    """Answer, steps, state and what vLLM's series count agree."""
    async with stand_ins() as served:
        await served.complete()
        answer = (await served.put(table_document(k))).json()
        assert (answer["id"], answer["changed"]) == (f"doc-{k}", True)
        assert answer["step"] == (await served.steps())[-1]["seq"] + 1
        before = await served.metrics()
        assert await decided(served) == {k}
        after, state = await served.metrics(), await served.state()
        widths = {step["verified_draft_tokens"] for step in await served.steps() if step["seq"] > answer["step"]}
    assert widths - {0} == {k} - {0}
    drafts, tokens = "vllm:spec_decode_num_drafts_total", "vllm:spec_decode_num_draft_tokens_total"
    assert after[tokens, ""] - before[tokens, ""] == k * (after[drafts, ""] - before[drafts, ""])
    assert state.applied is not None
    assert (state.applied.id, state.applied.mode) == (f"doc-{k}", "table")
    assert [row.draft_tokens for row in state.table] == [k]
    assert state.decision is not None
    assert state.decision.draft_tokens == k


BAD: list[tuple[Any, int, str]] = [
    (b"{", 400, "BadJson"),
    (b'{"epoch": NaN}', 400, "BadJson"),
    (b"[]", 422, "Invalid"),
    (table_document(3, epoch=-1), 422, "Invalid"),
    (table_document(3, version=99), 422, "UnknownVersion"),
    (table_document(2, epoch=5), 422, "NotAllowed"),
    (table_document(3, table=[{"fromBatch": 2, "toBatch": 9, "draftTokens": 3}]), 422, "Invalid"),
    (table_document(3, epoch=4), 409, "StaleEpoch"),
    (b"x" * (MAX_BODY_BYTES + 1), 413, "TooLarge"),
]


@pytest.mark.parametrize(("document", "status", "code"), BAD, ids=[f"{code}-{i}" for i, (_, _, code) in enumerate(BAD)])
async def test_a_bad_document_changes_nothing(document: Any, status: int, code: str) -> None:
    """It is refused as by a real engine, counted, and the last good one stays in force."""
    async with stand_ins() as served:
        assert (await served.put(table_document(1, epoch=5))).status == 200
        answer = await served.put(document)
        assert (answer.status, answer.json()["code"]) == (status, code)
        state = await served.state()
        assert state.applied is not None
        assert (state.applied.id, state.counters.control_documents_refused) == ("doc-1", 1)
        assert await decided(served) == {1}


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("wrong", 401)])
async def test_strangers_learn_nothing(token: str | None, status: int) -> None:
    """Neither state nor steps, and they put nothing; metrics and health are for everybody."""
    async with stand_ins() as served:
        document = json.dumps(table_document(0)).encode()
        for method, path, body in (
            ("GET", "/v1/state", None),
            ("GET", "/v1/steps", None),
            ("PUT", "/v1/control", document),
        ):
            assert (await served.ask(method, path, body=body, token=token)).status == status
        assert (await served.state()).applied is None
        assert (await served.ask("GET", "/healthz", token=token)).body == b"ok\n"
        text = (await served.ask("GET", "/metrics", token=token)).body.decode()
        assert "turbospec_engine_steered" in text


async def test_an_overlay_has_its_time_even_on_an_idle_engine() -> None:
    """Nobody looks at idle engines regularly: the document before it comes back by itself."""
    async with stand_ins() as served:
        await served.put(table_document(1))
        await served.put(table_document(7, ttlSeconds=0.2))
        applied = (await served.state()).applied
        assert applied is not None
        assert (applied.id, applied.overlay) == ("doc-7", True)

        async def over() -> bool:
            applied = (await served.state()).applied
            return applied is not None and applied.id == "doc-1"

        await until(over)
        assert await decided(served) == {1}


async def test_two_engines_are_two() -> None:
    """What one is told and serves leaves the other as it was."""
    async with stand_ins(count=3) as served:
        await served.put(table_document(0), 1)
        await asyncio.gather(*(served.complete(1) for _ in range(3)))
        states = [await served.state(number) for number in range(3)]
        assert [state.counters.generated_tokens for state in states] == [0, 120, 0]
        assert [state.applied is not None for state in states] == [False, True, False]
        assert len({state.engine.id for state in states}) == 3
        assert len({state.profile_key for state in states}) == 1
        generated = [(await served.metrics(number))["vllm:generation_tokens_total", ""] for number in range(3)]
        assert generated == [0, 120, 0]
        assert await decided(served, 1) == {0}


async def test_the_loop_learns_what_the_text_is_like() -> None:
    """Local mode: drafts pay where they are accepted, and acceptance of a request is what it asked for."""
    async with stand_ins(speed=200.0) as served:
        document = {"id": "local", "epoch": 1, "mode": "local", "allowedDraftTokens": [0, 1, 3, 7]}
        await served.put(document)
        chosen = []
        for acceptance in (1.0, 0.0):
            for _ in range(8):
                answer = await served.complete(max_tokens=600, vllm_xargs={"acceptance": acceptance})
                assert answer.status == 200
            chosen.append((await served.state()).decision)
    assert chosen[0] is not None
    assert chosen[1] is not None
    assert chosen[0].draft_tokens > chosen[1].draft_tokens


@pytest.mark.parametrize("runner", ["v1", "v2"])
async def test_an_interval_is_paired_with_the_k_it_was_spent_on(runner: str) -> None:
    """Drafting takes long here, so that the time of a step says how many drafts it made.

    V2: drafting K(n-1) comes before verifying it. V1: the interval ends with drafting K(n), so none is paired where K
    changes, and it holds the drafting of the step after.
    """
    spec = engine_file(stepTime={"linear": {**LINEAR, "secondsPerKvToken": 0, "draftSecondsPerPass": 0.01}})
    steps: list[dict[str, Any]] = []
    async with stand_ins(spec, runner=runner, speed=5.0) as served:
        task = asyncio.create_task(served.complete(max_tokens=20_000, vllm_xargs={"acceptance": 0.3}))
        for number, k in enumerate((7, 0, 3, 1) * 3):
            await served.put(table_document(k, id=f"swap-{number}"))

            async def three_more(known: int = len(steps)) -> bool:
                steps.extend(await served.steps(since=steps[-1]["seq"] + 1 if steps else 0))
                return len(steps) >= known + 3

            await until(three_more)
        task.cancel()
    decodes = [(a, b) for a, b in pairwise(steps) if a["decodes"]]
    assert {step["decided_draft_tokens"] for _, step in decodes} == {0, 1, 3, 7}
    assert all(step["seq"] == before["seq"] + 1 for before, step in decodes)
    for before, step in decodes:
        verified, decided_ = before["decided_draft_tokens"], step["decided_draft_tokens"]
        assert (step["verified_draft_tokens"], step["interval_draft_tokens"]) == (verified, verified)
        took = step["ended_seconds"] - before["ended_seconds"]
        drafted = round((took - LINEAR["secondsPerStep"] - LINEAR["overheadSeconds"]) / 0.01)
        if runner == "v2":
            assert drafted == verified
            assert step["interval_seconds"] == pytest.approx(took)
        else:
            assert drafted == decided_
            assert (step["interval_seconds"] is None) == (decided_ != verified)
