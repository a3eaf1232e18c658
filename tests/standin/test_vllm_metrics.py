"""The serving port's metrics: vLLM's names, and values that agree with what was served."""

import asyncio

import pytest

from tests.simulation.builders import engine_file
from tests.standin.support import stand_ins, table_document, until
from turbospec.standin.histogram import Histogram, token_counts

SERIES = {
    "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:num_requests_waiting_by_reason",
    "vllm:kv_cache_usage_perc", "vllm:num_preemptions_total", "vllm:prompt_tokens_total", "vllm:request_success_total",
    "vllm:generation_tokens_total", "vllm:spec_decode_num_drafts_total", "vllm:spec_decode_num_draft_tokens_total",
    "vllm:spec_decode_num_accepted_tokens_total", "vllm:spec_decode_num_accepted_tokens_per_pos_total",
}  # fmt: skip
HISTOGRAMS = {
    "vllm:time_to_first_token_seconds", "vllm:inter_token_latency_seconds", "vllm:e2e_request_latency_seconds",
    "vllm:request_time_per_output_token_seconds", "vllm:request_queue_time_seconds",
    "vllm:request_prefill_time_seconds", "vllm:request_decode_time_seconds", "vllm:request_inference_time_seconds",
    "vllm:iteration_tokens_total",
    "vllm:request_prompt_tokens", "vllm:request_generation_tokens", "vllm:request_num_preemptions",
    "vllm:request_params_n", "vllm:request_params_max_tokens",
}  # fmt: skip


async def test_the_series_are_named_as_vllm_names_them() -> None:
    """Also before the first request."""
    async with stand_ins() as served:
        names = {name for name, _ in await served.metrics()}
        bounds = {label for name, label in await served.metrics() if name == "vllm:inter_token_latency_seconds_bucket"}
    parts = {f"{name}_{part}" for name in HISTOGRAMS for part in ("bucket", "count", "sum")}
    assert names == SERIES | parts
    assert bounds >= {"0.01", "0.025", "80.0", "+Inf"}


async def test_counters_agree_with_the_answers() -> None:
    """Tokens by usage, drafts by the engine's own counters, times by what the steps took."""
    async with stand_ins() as served:
        await served.put(table_document(3))
        answers = await asyncio.gather(
            *(
                served.complete(prompt=[1] * prompt, max_tokens=tokens)
                for prompt, tokens in ((10, 20), (70, 5), (300, 60))
            )
        )
        metrics, state, steps = await served.metrics(), await served.state(), await served.steps()
    used = [answer.json()["usage"] for answer in answers]
    generated = sum(usage["completion_tokens"] for usage in used)
    assert metrics["vllm:prompt_tokens_total", ""] == sum(usage["prompt_tokens"] for usage in used) == 380
    assert metrics["vllm:generation_tokens_total", ""] == generated == state.counters.generated_tokens == 85
    assert metrics["vllm:request_success_total", "length"] == 3
    assert metrics["vllm:time_to_first_token_seconds_count", ""] == 3
    assert metrics["vllm:e2e_request_latency_seconds_count", ""] == 3
    assert metrics["vllm:request_generation_tokens_sum", ""] == 85
    counters, prefix = state.counters, "vllm:spec_decode_num"
    assert metrics[f"{prefix}_drafts_total", ""] == counters.drafts > 0
    assert metrics[f"{prefix}_draft_tokens_total", ""] == counters.draft_tokens
    assert metrics[f"{prefix}_accepted_tokens_total", ""] == counters.accepted_tokens
    by_position = [metrics[f"{prefix}_accepted_tokens_per_pos_total", str(position)] for position in range(7)]
    assert by_position == counters.accepted_per_position
    # One latency for each request and step in which it decoded, none of its first token.
    assert metrics["vllm:inter_token_latency_seconds_count", ""] == sum(step["decodes"] for step in steps)
    assert metrics["vllm:request_decode_time_seconds_sum", ""] == pytest.approx(
        metrics["vllm:inter_token_latency_seconds_sum", ""]
    )
    assert metrics["vllm:num_requests_running", ""] == 0
    assert metrics["vllm:kv_cache_usage_perc", ""] == 0


async def test_what_is_running_and_waiting_shows() -> None:
    """Four places, six requests."""
    async with stand_ins(engine_file(maxNumSeqs=4), speed=1.0) as served:
        tasks = [asyncio.create_task(served.complete(max_tokens=2000)) for _ in range(6)]

        async def loaded() -> bool:
            metrics = await served.metrics()
            return metrics["vllm:num_requests_running", ""] == 4 and metrics["vllm:num_requests_waiting", ""] == 2

        await until(loaded)
        assert (await served.metrics())["vllm:kv_cache_usage_perc", ""] > 4 * 50 / 50_000
        load = (await served.state()).load
        assert (load.running, load.waiting) == (4, 2)
        for task in tasks:
            task.cancel()


async def test_latencies_are_whole_where_requests_are_preempted() -> None:
    """A request that lost its KV cache gets its next token late: its gaps still add up to its decode time."""
    async with stand_ins(engine_file(kvCacheTokens=1000)) as served:
        await served.put(table_document(0))
        await asyncio.gather(*(served.complete(prompt=[1] * 100, max_tokens=400) for _ in range(4)))
        metrics = await served.metrics()
    assert metrics["vllm:num_preemptions_total", ""] > 0
    assert metrics["vllm:request_num_preemptions_sum", ""] == metrics["vllm:num_preemptions_total", ""]
    assert metrics["vllm:generation_tokens_total", ""] == 1600
    assert metrics["vllm:prompt_tokens_total", ""] == 400
    assert metrics["vllm:inter_token_latency_seconds_count", ""] == 1596
    assert metrics["vllm:inter_token_latency_seconds_sum", ""] == pytest.approx(
        metrics["vllm:request_decode_time_seconds_sum", ""]
    )


def test_bounds_of_a_bucket_belong_to_it() -> None:
    """``le`` means less or equal; counts add up."""
    histogram = Histogram((1, 2))
    for value, times in ((0.5, 1), (1, 2), (1.5, 3), (2.1, 4)):
        histogram.observe(value, times)
    assert histogram.buckets() == [("1.0", 3.0), ("2.0", 6.0), ("+Inf", 10.0)]
    assert histogram.total == pytest.approx(0.5 + 2 + 4.5 + 8.4)


def test_token_bounds_are_vllms() -> None:
    """1-2-5 up to the longest context."""
    assert token_counts(300) == (1, 2, 5, 10, 20, 50, 100, 200)
    assert token_counts(1000)[-1] == 1000
