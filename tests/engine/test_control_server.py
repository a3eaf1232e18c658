"""The real HTTP server: bad input is answered with its cause, changes nothing, and others are served meanwhile."""

import json
import math
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.fakes import engine_facts
from tests.engine.live import GOOD, Engine, Serving, start, wait_for
from tests.engine.support import MixedScheduler
from turbospec.engine.refusals import STATUS_OF_CODE
from turbospec.wire.engine_state import ServedCells, StepsPage, Unsupported


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    started = start(tmp_path)
    yield started
    started.scheduler.shutdown()


def test_a_document_steers_the_next_step_and_shows_in_the_state(engine: Engine) -> None:
    """Answer, decided K, state, steps and metrics agree."""
    engine.scheduler.add("a")
    engine.step()
    status, answer = engine.put(GOOD)
    assert (status, answer) == (200, {"id": "doc-1", "step": 1, "changed": True})
    assert engine.step() == 2
    state = engine.state()
    assert state.applied is not None
    assert (state.applied.id, state.applied.epoch, state.applied.mode, state.applied.step) == ("doc-1", 3, "table", 1)
    assert [(row.from_batch, row.to_batch, row.draft_tokens) for row in state.table] == [(1, 4, 2), (5, 8, 0)]
    assert state.profile_key == state.identity.key()
    assert state.counters.steps == 2
    assert state.decision is not None
    assert (state.decision.reason, state.decision.bounding) == ("Table", None)
    assert state.probing is not None
    assert state.probing.bursts == 0
    assert not state.off_profile
    assert state.step_time_regions == []
    cells = ServedCells.model_validate_json(engine.ask("GET", "/v1/cells")[1])
    assert cells.fields == [
        "batch",
        "context_tokens",
        "draft_tokens",
        "drafted_per_request",
        "seconds",
        "samples",
        "eager",
    ]
    page = StepsPage.model_validate_json(engine.ask("GET", "/v1/steps?since=1")[1])
    row = dict(zip(page.fields, page.rows[0], strict=True))
    assert (len(page.rows), row["seq"], row["decided_draft_tokens"], row["verified_draft_tokens"]) == (1, 1, 2, 5)
    assert page.next == 2
    status, text = engine.ask("GET", "/metrics", token=None)
    assert status == 200
    assert b"turbospec_engine_draft_tokens 2.0" in text
    assert b'turbospec_engine_drafted_tokens_total{position="4"} 1.0' in text
    assert b'turbospec_engine_accepted_tokens_total{position="0"} 1.0' in text
    assert b'turbospec_engine_control_documents_total{result="applied"} 1.0' in text


def changed(**fields: Any) -> dict[str, Any]:
    return {**GOOD, "id": "bad", **fields}


def rows(*ranges: tuple[Any, Any, Any]) -> list[dict[str, Any]]:
    return [{"fromBatch": first, "toBatch": last, "draftTokens": k} for first, last, k in ranges]


@pytest.mark.parametrize(
    ("body", "status", "code", "word"),
    [
        (b"{", 400, "BadJson", "not JSON"),
        (b"", 400, "BadJson", "not JSON"),
        (b"\xff\xfe", 400, "BadJson", "not JSON"),
        (b"[" * 30000, 400, "BadJson", "not JSON"),
        (json.dumps(GOOD).encode()[:-40], 400, "BadJson", "not JSON"),
        (b'{"epoch": ' + b"9" * 60000 + b"}", 400, "BadJson", "not JSON"),
        (b"[]", 422, "Invalid", "expected an object"),
        (b"null", 422, "Invalid", "expected an object"),
        (json.dumps(changed(ttlSeconds=math.nan)).encode(), 400, "BadJson", "NaN"),
        (json.dumps(changed(ttlSeconds=math.inf)).encode(), 400, "BadJson", "Infinity"),
        (json.dumps(changed(acceptancePrior=[{"acceptance": math.nan, "samples": 1}])).encode(), 400, "BadJson", "NaN"),
        (b'{"ttlSeconds": 1e999, ' + json.dumps(changed()).encode()[1:], 422, "Invalid", "ttlSeconds"),
        (changed(acceptancePrior=[{"acceptance": 1.5, "samples": 1}]), 422, "Invalid", "acceptancePrior.0.acceptance"),
        (changed(epoch=-1), 422, "Invalid", "epoch"),
        (changed(epoch="soon"), 422, "Invalid", "epoch"),
        (changed(epoch=1.5), 422, "Invalid", "epoch"),
        (changed(epoch=None), 422, "Invalid", "epoch"),
        (changed(mode="auto"), 422, "Invalid", "mode"),
        (changed(mode=7), 422, "Invalid", "mode"),
        (changed(id="../../etc"), 422, "Invalid", "id"),
        (changed(id=5), 422, "Invalid", "id"),
        (changed(id="x" * 65), 422, "Invalid", "id"),
        (changed(version=2), 422, "UnknownVersion", "version 1"),
        (changed(version=10**9), 422, "UnknownVersion", "version 1"),
        (changed(version=0), 422, "Invalid", "version"),
        (changed(version="new"), 422, "Invalid", "version"),
        (changed(extra=1), 422, "Invalid", "extra"),
        (changed(ttlSeconds=0), 422, "Invalid", "ttlSeconds"),
        (changed(ttlSeconds="soon"), 422, "Invalid", "ttlSeconds"),
        (changed(latency=[]), 422, "Invalid", "latency"),
        (changed(latency={"cells": []}), 422, "Invalid", "latency"),
        (changed(policy="chat"), 422, "Invalid", "policy"),
        (changed(allowedDraftTokens=[0, 2, 6]), 422, "NotAllowed", "[6]"),
        (changed(allowedDraftTokens=[2, 0]), 422, "Invalid", "sorted"),
        (changed(allowedDraftTokens=[0, 0, 2]), 422, "Invalid", "repeats"),
        (changed(allowedDraftTokens=[-1, 0, 2]), 422, "Invalid", "allowedDraftTokens.0"),
        (changed(allowedDraftTokens="0,2"), 422, "Invalid", "allowedDraftTokens"),
        (changed(allowedDraftTokens=[]), 422, "Invalid", "allowedDraftTokens"),
        (changed(table={}), 422, "Invalid", "table"),
        (changed(table=[[1, 8, 2]]), 422, "Invalid", "table.0"),
        (changed(table=rows((2, 8, 2))), 422, "Invalid", "no gaps"),
        (changed(table=rows((1, 2, 2), (4, 8, 0))), 422, "Invalid", "starts at batch 4, expected 3"),
        (changed(table=rows((1, 4, 2), (3, 8, 0))), 422, "Invalid", "starts at batch 3, expected 5"),
        (changed(table=rows((5, 8, 0), (1, 4, 2))), 422, "Invalid", "starts at batch 5, expected 1"),
        (changed(table=rows((1, 4, 2), (5, 4, 0))), 422, "Invalid", "before its start"),
        (changed(table=rows((-4, 8, 2))), 422, "Invalid", "table.0.fromBatch"),
        (changed(table=rows((1, -8, 2))), 422, "Invalid", "table.0.toBatch"),
        (changed(table=rows((1, 8, -1))), 422, "Invalid", "table.0.draftTokens"),
        (changed(table=rows((1, 8, 1))), 422, "Invalid", "not in allowedDraftTokens"),
        (changed(table=rows((1, "all", 2))), 422, "Invalid", "table.0.toBatch"),
        (changed(table=[]), 422, "Invalid", "at least one"),
        (changed(table=None), 422, "Invalid", "at least one"),
        (changed(mode="local"), 422, "Invalid", "table"),
        (changed(epoch=2), 409, "StaleEpoch", "epoch 2"),
        ({**GOOD, "epoch": 2}, 409, "StaleEpoch", "epoch 2"),
    ],
)
def test_a_bad_document_is_answered_with_its_cause_and_changes_nothing(
    engine: Engine, body: Any, status: int, code: str, word: str
) -> None:
    """The last good document stays in force, the refusal is counted, and serving goes on meanwhile."""
    assert engine.put(GOOD)[0] == 200
    before = engine.state()
    with Serving(engine):
        got, answer = engine.put(body)
    assert (got, answer["code"]) == (status, code)
    assert word in answer["message"]
    after = engine.state()
    assert (after.applied, after.table) == (before.applied, before.table)
    assert after.counters.control_documents_refused == before.counters.control_documents_refused + 1
    assert engine.step() == 2


def test_every_code_of_a_refusal_is_documented() -> None:
    """With its status, in docs/engine.md."""
    rows = (Path(__file__).resolve().parents[2] / "docs" / "engine.md").read_text().splitlines()
    for code, status in STATUS_OF_CODE.items():
        assert [row for row in rows if f"`{code}`" in row and str(int(status)) in row], code


def test_a_replayed_document_is_a_heartbeat(engine: Engine) -> None:
    """Sent twice is sent once."""
    assert engine.put(GOOD)[1]["changed"]
    assert not engine.put(GOOD)[1]["changed"]
    assert engine.state().counters.control_documents_applied == 1


def test_a_body_without_a_length_is_refused(engine: Engine) -> None:
    """Chunked bodies have no bound that could be checked first."""
    with socket.create_connection(("127.0.0.1", engine.port), timeout=5) as client:
        client.sendall(
            b"PUT /v1/control HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Authorization: Bearer right\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        )
        assert b" 411 " in client.recv(4096)


@pytest.mark.parametrize("token", [None, "", "wrong", "right ", "rightright", "ünïcode"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/state"), ("GET", "/v1/steps"), ("PUT", "/v1/control")])
def test_every_v1_path_needs_the_token(engine: Engine, method: str, path: str, token: str | None) -> None:
    """Missing, empty, wrong or nearly right."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}".encode().decode("latin-1")}
    status, text = engine.ask(method, path, b"{}" if method == "PUT" else None, token=None, **headers)
    if token == "right ":  # surrounding blanks are no part of a header's value
        assert status != 401
        return
    assert (status, json.loads(text)["code"]) == (401, "Unauthorized")


def test_basic_authorization_is_not_a_token(engine: Engine) -> None:
    """Only the Bearer scheme is."""
    assert engine.ask("GET", "/v1/state", token=None, Authorization="Basic right")[0] == 401


@pytest.mark.parametrize("token_hash", [None])
def test_an_engine_without_a_token_hash_refuses_v1_and_still_has_metrics(
    tmp_path: Path, token_hash: str | None
) -> None:
    """A pod that was not injected must not be steerable by whoever reaches it."""
    engine = start(tmp_path, token_sha256=token_hash)
    try:
        status, text = engine.ask("GET", "/v1/state")
        assert (status, json.loads(text)["code"]) == (403, "NoToken")
        assert engine.put(GOOD)[0] == 403
        assert engine.ask("GET", "/metrics", token=None)[0] == 200
        assert engine.ask("GET", "/healthz", token=None) == (200, b"ok\n")
    finally:
        engine.scheduler.shutdown()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("PUT", "/v1/state", 404),
        ("GET", "/v1/steps?since=-1", 422),
        ("GET", "/v1/steps?limit=x", 422),
    ],
)
def test_what_does_not_exist_or_is_no_number_is_said_so(engine: Engine, method: str, path: str, status: int) -> None:
    """With a refusal like any other."""
    got, text = engine.ask(method, path, b"{}" if method == "PUT" else None)
    assert got == status
    assert json.loads(text)["message"]


def test_a_taken_port_gives_way_to_a_free_one(engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two engines in one pod both serve; the log says where."""
    second = start(tmp_path, control_port=engine.port)
    try:
        assert second.port != engine.port
        assert any(str(second.port) in message and str(engine.port) in message for message in caplog.messages)
        assert second.state().applied is None
    finally:
        second.scheduler.shutdown()


def test_a_restarted_engine_resumes_its_document(tmp_path: Path) -> None:
    """And decides its first step with it."""
    first = start(tmp_path)
    first.put(GOOD)
    first.scheduler.shutdown()
    second = start(tmp_path)
    try:
        state = second.state()
        assert state.applied is not None
        assert state.applied.id == "doc-1"
        second.scheduler.add("a")
        assert second.step() == 2
        assert second.put({**GOOD, "id": "doc-0", "epoch": 1})[0] == 200
    finally:
        second.scheduler.shutdown()


def test_the_kill_file_stops_steering_within_seconds(engine: Engine, tmp_path: Path) -> None:
    """The start-up table decides, documents are refused with the reason, and removing the file ends it."""
    engine.put(GOOD)
    engine.scheduler.add("a")
    assert engine.step() == 2
    (tmp_path / "off").touch()
    wait_for(lambda: engine.state().unsupported is not None)
    assert engine.step() == 5
    assert engine.put({**GOOD, "id": "doc-2"})[1]["code"] == "Unsupported"
    (tmp_path / "off").unlink()
    wait_for(lambda: engine.state().unsupported is None)
    assert engine.step() == 2


def test_the_state_says_how_k_takes_effect(engine: Engine) -> None:
    """An n-gram drafter's drafts cost nothing to make, so a shorter K saves their verification only."""
    steering = engine.state().steering
    assert steering is not None
    assert (steering.draft_length, steering.draft_cost) == ("native", "none")


@pytest.mark.parametrize(("sizes", "said"), [([1, 8], 1), ([48], 0), ([], 0)])
def test_an_engine_says_once_which_steps_have_no_graph(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sizes: list[int], said: int
) -> None:
    """And which setting captures them; nobody but its owner knows whether there is memory for it."""
    caplog.set_level("INFO")
    facts = engine_facts()
    start(
        tmp_path, facts=replace(facts, limits=facts.limits.model_copy(update={"graph_sizes": sizes}))
    ).scheduler.shutdown()
    lines = [message for message in caplog.messages if "cudagraph" in message]
    assert len(lines) == said
    assert all("K = 5 above 1 requests" in line and "--max-cudagraph-capture-size=48" in line for line in lines)


def test_an_unsupported_engine_says_why_and_serves_its_state(tmp_path: Path) -> None:
    """The operator shows the reason instead of guessing."""
    facts = engine_facts(unsupported=Unsupported(code="PipelineParallel", message="not measured"))
    engine = start(tmp_path, facts=facts)
    try:
        assert engine.state().unsupported == facts.unsupported
        assert engine.state().steering is None
        assert engine.put(GOOD) == (409, {"code": "Unsupported", "message": "PipelineParallel: not measured"})
        assert b'turbospec_engine_steered{reason="PipelineParallel"} 0.0' in engine.ask("GET", "/metrics")[1]
    finally:
        engine.scheduler.shutdown()


def test_a_static_engine_gets_a_table_so_that_vllm_does_not_pad(tmp_path: Path) -> None:
    """vLLM takes a missing lookup as: K never changes. An engine that is not steered keeps it missing."""
    for unsupported, expected in ((None, [0] + [5] * 8), (Unsupported(code="X", message="x"), None)):
        scheduler: Any = MixedScheduler()
        scheduler.dynamic_sd_lookup = None
        engine = start(tmp_path, scheduler, engine_facts(unsupported=unsupported))
        engine.scheduler.shutdown()
        assert scheduler.dynamic_sd_lookup == expected


def test_pages_are_bounded_and_follow_each_other(engine: Engine) -> None:
    """256 rows a page, whatever is asked; ``next`` leads through all of them."""
    engine.scheduler.add("a")
    for _ in range(600):
        engine.step()
    since = 0
    seen: list[Any] = []
    for _ in range(4):
        page = StepsPage.model_validate_json(engine.ask("GET", f"/v1/steps?since={since}&limit=100000")[1])
        assert len(page.rows) <= 256
        seen.extend(row[page.fields.index("seq")] for row in page.rows)
        since = page.next
    assert seen == list(range(600))
    assert since == 600


def test_shutting_down_frees_the_port(tmp_path: Path) -> None:
    """An engine that is restarted in the same process gets it again."""
    engine = start(tmp_path)
    engine.scheduler.shutdown()
    assert engine.scheduler.shut_down
    again = start(tmp_path, control_port=engine.port)
    again.scheduler.shutdown()
    assert again.port == engine.port
