"""The runtime in real vLLM on CPU, with a model whose greedy text is known and whose acceptance is set per request."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from statistics import fmean
from typing import Any

import pytest

from e2e.models.prompts import dial_continuation, dial_prompt
from tests.engine.vllm_server import MAX_DRAFT_TOKENS, VllmServer, serve
from turbospec.control.step import StepRecord

FOLLOW_SECONDS = 10.0

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """One server for all tests of this file; its first request compiles the drafter."""
    with serve(tmp_path_factory.mktemp("vllm")) as server:
        server.complete(dial_prompt(0.9, 0), 8)
        yield server


def table(name: str, k: int) -> dict[str, Any]:
    row = {"fromBatch": 1, "toBatch": 16, "draftTokens": k}
    return {"id": name, "epoch": 1, "mode": "table", "allowedDraftTokens": [k], "table": [row]}


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


def test_swaps_under_load_take_effect_at_the_promised_step(vllm: VllmServer) -> None:
    """Every record agrees with the answers to the PUTs, widths follow a step later, and no answer is wrong."""
    promised: list[tuple[int, int]] = []
    with ThreadPoolExecutor(max_workers=1) as pool:
        load = pool.submit(generate, vllm, 0.8, range(100, 112))
        while not load.done():
            k = (5, 0, 3, 1)[len(promised) % 4]
            promised.append((vllm.put(table(f"swap-{len(promised)}", k)), k))
        load.result()
    records = vllm.steps(promised[0][0])
    assert len(records) > 20
    assert len({k for _, k in promised}) == 4
    for record in records:
        # A step may decide with a document whose answer was still on its way, never with one before the last answered.
        first = max(i for i, (step, _) in enumerate(promised) if step <= record.seq)
        candidates = {
            k for i, (step, k) in enumerate(promised) if i == first or (i == first + 1 and step >= record.seq)
        }
        assert record.decided_draft_tokens in candidates
        assert record.verified_draft_tokens <= record.asked_draft_tokens * record.decodes
        if record.decided_draft_tokens != record.asked_draft_tokens:
            assert record.interval_seconds is None


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
