"""The composition of a step is exact where it is cheap and near where it is not."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.engine.fakes import Output
from turbospec.engine.composition import EXACT_CONTEXT_BATCH, CompositionReader
from turbospec.engine.records import StepRing

KIND = st.sampled_from(["decode", "decode", "decode", "chunk", "new", "new and cached"])
REQUEST = st.tuples(st.integers(2, 500), st.integers(0, 5), st.integers(1, 2000), KIND)


@given(st.lists(REQUEST, min_size=1, max_size=EXACT_CONTEXT_BATCH))
def test_decodes_prefill_and_context_are_exact_for_small_batches(drawn: list[tuple[int, int, int, str]]) -> None:
    """Against a plain count over the requests, for any mixture of new prompts, prefill chunks and decodes."""
    scheduled, drafts, requests = {}, {}, {}
    new = []
    decodes = prefill = context = draft_tokens = 0
    for index, (chunk, drafted, computed, kind) in enumerate(drawn):
        name = str(index)
        requests[name] = SimpleNamespace(num_computed_tokens=computed)
        context += computed
        if kind.startswith("new"):
            new.append(SimpleNamespace(req_id=name))
        if kind in {"chunk", "new"}:
            scheduled[name] = chunk
            prefill += chunk
        elif kind == "new and cached":
            scheduled[name] = 1
            decodes += 1
        else:
            scheduled[name] = 1 + drafted
            decodes += 1
            draft_tokens += drafted
            if drafted:
                drafts[name] = [-1] * drafted
    output = Output(scheduled, drafts, sum(scheduled.values()), 0, new)
    reader = CompositionReader()
    composition = reader.read(output, waiting=3)
    assert (composition.decodes, composition.prefill_tokens) == (decodes, prefill)
    assert (reader.verified_draft_tokens, composition.waiting) == (draft_tokens, 3)
    advance(output, requests)
    assert reader.context(output, requests) == context
    assert reader.read(output, waiting=3).kv_tokens == context


def advance(output: Output, requests: dict[str, Any]) -> None:
    """What vLLM does when it has scheduled a step."""
    for name, count in output.num_scheduled_tokens.items():
        requests[name].num_computed_tokens += count


def decoding(batch: int, computed: int) -> tuple[Output, dict[str, Any]]:
    names = [str(index) for index in range(batch)]
    requests = {name: SimpleNamespace(num_computed_tokens=computed) for name in names}
    return Output(dict.fromkeys(names, 1), {}, batch, 0), requests


def test_the_context_of_large_batches_is_never_far_off() -> None:
    """256 requests growing by 4 tokens a step: within 8 steps of the truth; a changed batch is counted anew at once."""
    reader = CompositionReader()
    for turn in range(100):
        output, requests = decoding(256, 500 + 4 * turn)
        advance(output, requests)
        found = reader.context(output, requests)
        assert 0 <= 256 * (500 + 4 * turn) - found <= 256 * 4 * 8
    output, requests = decoding(128, 50)
    advance(output, requests)
    assert reader.context(output, requests) == 128 * 50


def test_a_request_that_ended_before_it_was_counted_is_no_accident() -> None:
    """With structured outputs vLLM may ask late: the context of before is then the best there is."""
    reader = CompositionReader()
    output, requests = decoding(10, 100)
    advance(output, requests)
    assert reader.context(output, requests) == 1000
    del requests["3"]
    assert reader.context(output, requests) == 1000


@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 70), st.integers(0, 20))
def test_a_ring_gives_the_newest_records_from_any_number_on(size: int, count: int, since: int, limit: int) -> None:
    """Ascending, from ``since``, at most ``limit``, for any fill; gaps between the numbers do not confuse it."""
    ring = StepRing(size)
    numbers = [3 * index for index in range(count)]
    for number in numbers:
        ring.append(SimpleNamespace(seq=number))  # type: ignore[arg-type]
    kept = numbers[-size:] if size <= count else numbers
    assert [record.seq for record in ring.since(since, limit)] == [n for n in kept if n >= since][:limit]
    assert [record.seq for record in ring.last(limit)] == (kept[-limit:] if limit else [])
