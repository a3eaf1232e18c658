"""The runtime in real vLLM on CPU, with a model whose greedy text is known and whose acceptance is set per request."""

import json
import math
import socket
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice, pairwise
from statistics import fmean
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from e2e.models.prompts import FIRST_BYTE_TOKEN, dial_continuation, dial_prompt
from tests.engine.live import STALL_SECONDS
from tests.engine.vllm_server import MAX_DRAFT_TOKENS, TOKEN, VllmServer, serve, table
from tests.standin.support import stand_ins
from turbospec.control.step import StepRecord

FOLLOW_SECONDS = 10.0
SWAPS = 1000

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """One server for all tests of this file; its first request compiles the drafter."""
    with serve(tmp_path_factory.mktemp("vllm")) as server:
        server.complete(dial_prompt(0.9, 0), 8)
        yield server


def generate(vllm: VllmServer, acceptance: float, seeds: Iterable[int], tokens: int = 60) -> None:
    """Requests side by side; every answer must be the only right one, whatever K did meanwhile."""

    def one(seed: int) -> None:
        prompt = dial_prompt(acceptance, seed)
        assert vllm.complete(prompt, tokens) == dial_continuation(prompt, tokens)

    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(one, seeds))


def test_the_runtime_is_in_the_engine_and_knows_it(vllm: VllmServer) -> None:
    """Loaded from the zip; nothing is refused, and before any document the start-up table is in force."""
    state = vllm.state()
    assert state.unsupported is None
    assert state.limits.allowed_draft_tokens == list(range(MAX_DRAFT_TOKENS + 1))
    assert state.limits.max_num_seqs == 16
    assert state.limits.kv_cache_tokens > 10_000
    assert state.identity.method == "ngram"
    assert state.identity.hardware.startswith("cpu / ")
    assert state.identity.engine_arguments["dtype"] == "float32"
    assert [(row.from_batch, row.to_batch, row.draft_tokens) for row in state.table] == [(1, 16, MAX_DRAFT_TOKENS)]
    assert state.counters.steps > 0


def shapes(text: str) -> dict[str, tuple[str, set[tuple[str, frozenset[str]]], set[str]]]:
    """Of vLLM's families: type, series with the names of their labels, and bounds of histograms of seconds (those of
    tokens follow the longest context)."""
    found = {}
    for family in text_string_to_metric_families(text):
        series = {(sample.name, frozenset(sample.labels)) for sample in family.samples}
        timed = family.name.endswith("_seconds")
        bounds = {sample.labels["le"] for sample in family.samples if timed and "le" in sample.labels}
        if family.name.startswith("vllm:"):
            found[family.name] = (family.type, series, bounds)
    return found


async def test_the_series_of_the_stand_in_are_those_of_this_vllm(vllm: VllmServer) -> None:
    """By name, type, labels and bounds: what reads the one reads the other. vLLM has more of them."""
    async with stand_ins() as served:
        imitated = shapes((await served.get("/metrics")).body.decode())
    real = shapes(vllm.metrics())
    assert "vllm:spec_decode_num_drafts" in imitated
    assert {name: shape for name, shape in imitated.items() if real.get(name) != shape} == {}


@pytest.mark.parametrize("k", [0, 1, 3, 5])
def test_k_put_by_a_document_is_the_width_that_vllm_verifies(vllm: VllmServer, k: int) -> None:
    """By vLLM's own counters; and the text is what it would be without speculation."""
    vllm.put(table(f"width-{k}", k))
    before_drafts, before_tokens = vllm.spec_decode_totals()
    generate(vllm, 0.9, range(10 * k, 10 * k + 4))
    after_drafts, after_tokens = vllm.spec_decode_totals()
    drafts, tokens = after_drafts - before_drafts, after_tokens - before_tokens
    if k == 0:
        assert drafts == tokens == 0
    else:
        assert drafts > 0
        # The dial's drafter always finds a match: nearly every draft is full, and none is longer.
        assert 0.9 * k <= tokens / drafts <= k


def test_1000_swaps_under_load_are_decided_at_once_and_run_a_step_later(vllm: VllmServer) -> None:
    """By vLLM's own ``scheduled_spec_decode_tokens`` and the draft passes of its worker: every step that was
    scheduled between the answer to a document and the next document decided with it. No request fails or is wrong."""
    first = len(vllm.witnessed())
    puts: list[tuple[float, float, int, int]] = []  # sent, answered, step, K
    with ThreadPoolExecutor(max_workers=1) as pool:
        stop = threading.Event()
        load = pool.submit(serve_until, vllm, stop, range(1000, 100_000))
        try:
            while len(puts) < SWAPS:
                k = (5, 0, 3, 1)[(len(puts) + len(puts) // 5) % 4]
                sent = time.monotonic()
                step = vllm.put(table(f"swap-{len(puts)}", k))
                puts.append((sent, time.monotonic(), step, k))
                if len(puts) % 3:  # two of three are in force for a step at least, as an operator's are; one is not
                    vllm.wait_for_step(time.monotonic())
        finally:
            stop.set()
        assert load.result() > 50
    witnessed = vllm.witnessed()[first:]
    scheduled = [line[1:] for line in witnessed if line[0] == "schedule"]
    decided = 0
    for (_, answered, _, k), (following, _, _, _) in pairwise(puts):
        for began, used, _, ended in scheduled:
            # A step that takes long to schedule may already decide with the document that comes meanwhile.
            if answered < began and ended < following:
                assert used == k
                decided += 1
    assert decided >= SWAPS // 3 * 2 - 1
    assert {k for _, k, _, _ in scheduled} == {0, 1, 3, 5}
    for (_, k, _, _), (_, _, widths, _) in pairwise(scheduled):
        assert all(width <= k for width in widths)
    assert any(line[0] == "draft" for line in witnessed)
    # A draft pass follows the step whose K it was given; a step at K = 0 may go without.
    newest: int | None = None
    for line in witnessed:
        if line[0] == "schedule":
            newest = line[2]
        else:
            assert line[2] == newest
    assert_records_agree(vllm.steps(puts[0][2]), [(step, k) for _, _, step, k in puts])


def serve_until(vllm: VllmServer, stop: threading.Event, seeds: Iterable[int]) -> int:
    """Right answers until told to stop."""
    answered = 0
    numbers = iter(seeds)
    while not stop.is_set():
        generate(vllm, 0.8, islice(numbers, 8))
        answered += 8
    return answered


def assert_records_agree(records: list[StepRecord], promised: list[tuple[int, int]]) -> None:
    """What the runtime says of these steps agrees with the answers to the PUTs."""
    steps = [step for step, _ in promised]
    for record in records:
        # A step may decide with a document whose answer was still on its way, never with one before the last answered.
        first = max(bisect_right(steps, record.seq) - 1, 0)
        candidates = {promised[first][1]} | {k for step, k in promised[first + 1 : first + 2] if step >= record.seq}
        assert record.decided_draft_tokens in candidates
        assert record.verified_draft_tokens <= record.asked_draft_tokens * record.decodes
        if record.decided_draft_tokens != record.asked_draft_tokens:
            assert record.interval_seconds is None


PRINTABLE = range(32, 64)
"""First bytes after which an answer of 60 tokens stays within what ``GRAMMAR`` allows."""
GRAMMAR = {"structured_outputs": {"regex": "[ -~]+"}}


def test_structured_outputs_are_the_same_at_every_k(vllm: VllmServer) -> None:
    """The grammar refuses some of the drafts (bytes that are no ASCII) and none of the right answer."""
    prompts = [prompt for seed in range(400) if (prompt := dial_prompt(0.6, seed))[-1] - FIRST_BYTE_TOKEN in PRINTABLE]

    def one(prompt: list[int]) -> None:
        assert vllm.complete(prompt, 60, **GRAMMAR) == dial_continuation(prompt, 60)

    first = len(vllm.witnessed())
    for k in (5, 0, 3, 1):
        vllm.put(table(f"grammar-{k}", k))
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(one, prompts[:6]))
    assert vllm.state().unsupported is None
    scheduled = [line[1:] for line in vllm.witnessed()[first:] if line[0] == "schedule"]
    widths = {k: {width for _, used, drafted, _ in scheduled if used == k for width in drafted} for k in (1, 3, 5)}
    assert widths[5] >= {1, 2, 3, 4, 5}
    assert widths[3] >= {1, 2, 3}


BAD_INPUT = [
    (b"{", TOKEN, 400, "BadJson"),
    (b"[" * 60_000, TOKEN, 400, "BadJson"),
    (b"x" * 10_000_000, TOKEN, 413, "TooLarge"),
    (json.dumps(table("bad", 6)).encode(), TOKEN, 422, "NotAllowed"),
    (json.dumps({**table("bad", 1), "table": []}).encode(), TOKEN, 422, "Invalid"),
    (json.dumps({**table("bad", 1), "epoch": "2"}).encode(), TOKEN, 422, "Invalid"),
    (json.dumps({**table("bad", 1), "ttlSeconds": math.nan}).encode(), TOKEN, 400, "BadJson"),
    (json.dumps({**table("bad", 1), "version": 9}).encode(), TOKEN, 422, "UnknownVersion"),
    (json.dumps({**table("bad", 1), "epoch": 0}).encode(), TOKEN, 409, "StaleEpoch"),
    (json.dumps(table("bad", 1)).encode(), "wrong", 401, "Unauthorized"),
    (json.dumps(table("bad", 1)).encode(), "", 401, "Unauthorized"),
]


def test_bad_input_of_every_kind_harms_no_request(vllm: VllmServer) -> None:
    """Each is refused with its cause, from 200 clients at once as well, beside clients that send a byte and wait;
    meanwhile steps go on, and every answer is right."""
    vllm.put(table("good", 3))
    waiting = [socket.create_connection(("127.0.0.1", vllm.control_port)) for _ in range(8)]
    began, stop = time.monotonic(), threading.Event()
    with ThreadPoolExecutor(max_workers=1) as pool:
        load = pool.submit(serve_until, vllm, stop, range(5000, 100_000))
        try:
            for client in waiting:
                client.sendall(b"P")
            for body, token, status, code in BAD_INPUT:
                assert vllm.refused(body, token) == (status, code)
            with ThreadPoolExecutor(max_workers=200) as clients:
                bad = [BAD_INPUT[number % len(BAD_INPUT)] for number in range(200) if number % len(BAD_INPUT) != 2]
                answers = list(clients.map(lambda row: vllm.refused(row[0], row[1]), bad))
            assert answers == [(status, code) for _, _, status, code in bad]
            ended = time.monotonic()
        finally:
            stop.set()
            for client in waiting:
                client.close()
        assert load.result() > 0
    state = vllm.state()
    assert state.unsupported is None
    assert state.applied is not None
    assert state.applied.id == "good"
    steps = [line for line in vllm.witnessed() if line[0] == "schedule" and began < line[1] < ended]
    assert len(steps) > 10
    assert {k for _, _, k, _, _ in steps} == {3}
    assert max(after[1] - before[1] for before, after in pairwise(steps)) < STALL_SECONDS


def test_k_follows_acceptance_by_the_engine_loop_alone(vllm: VllmServer) -> None:
    """With one latency model and no further word from anyone: long drafts for predictable text, short ones for
    the rest."""
    vllm.put(local_document())
    seeds = count(200)
    assert settles(vllm, 0.95, seeds, lambda k: k >= 3), "K high for predictable text"
    assert settles(vllm, 0.02, seeds, lambda k: k <= 1.5), "K low for surprising text"
    assert settles(vllm, 0.95, seeds, lambda k: k >= 2.5), "K high again"


def settles(vllm: VllmServer, acceptance: float, seeds: Iterator[int], holds: Callable[[float], bool]) -> bool:
    """Whether ``holds`` comes true of the mean K under a load that lasts until it does, for so many seconds at most."""
    began = time.monotonic()
    while time.monotonic() - began < FOLLOW_SECONDS:
        if holds(decided(vllm, acceptance, islice(seeds, 6))):
            return True
    return False


def decided(vllm: VllmServer, acceptance: float, seeds: Iterable[int]) -> float:
    """Mean K of the second half of the decode steps of a load."""
    since = vllm.state().counters.steps
    generate(vllm, acceptance, seeds, tokens=80)
    decodes: list[StepRecord] = [record for record in vllm.steps(since) if record.decodes and not record.prefill_tokens]
    return fmean(record.decided_draft_tokens for record in decodes[len(decodes) // 2 :])


def local_document() -> dict[str, Any]:
    """An engine on which five drafts double the step."""
    cells = [
        {"batch": batch, "contextTokens": 300, "draftTokens": k, "microseconds": 10_000 + 2_000 * k, "samples": 20}
        for batch in (1, 2, 4, 8)
        for k in (0, 1, 3, 5)
    ]
    fit = {
        "perStep": 10_000_000_000,
        "perBatchedToken": 0,
        "perKvToken": 0,
        "perDraftingStep": 0,
        "perDraftPass": 2_000_000_000,
        "perDraftToken": 0,
    }
    latency = {"cells": cells, "fit": fit}
    return {"id": "local", "epoch": 1, "mode": "local", "allowedDraftTokens": [0, 1, 3, 5], "latency": latency}
