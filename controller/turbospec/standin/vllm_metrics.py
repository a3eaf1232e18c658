"""GET /metrics of a stand-in: the series that vLLM exports, under vLLM's names.

Names, labels, help texts and boundaries follow v1/metrics/loggers.py and v1/spec_decode/metrics.py of vLLM 0.32.0.
Times are simulated seconds. Left out is what a stand-in does not have: prefix cache, LoRA, sleep, KV transfer.
"""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from turbospec.control.step import StepRecord
from turbospec.simulation.engine import SimulatedEngine
from turbospec.simulation.workload import Request
from turbospec.standin import histogram
from turbospec.standin.histogram import Histogram

LABELS = ["model_name", "engine"]
FINISH_REASONS = ("stop", "length", "abort", "error", "repetition")

HELP_OF_SECONDS = {
    "time_to_first_token": "Histogram of time to first token in seconds.",
    "inter_token_latency": "Histogram of inter-token latency in seconds.",
    "request_time_per_output_token": "Histogram of time_per_output_token_seconds per request.",
    "e2e_request_latency": "Histogram of e2e request latency in seconds.",
    "request_queue_time": "Histogram of time spent in WAITING phase for request.",
    "request_inference_time": "Histogram of time spent in RUNNING phase for request.",
    "request_prefill_time": "Histogram of time spent in PREFILL phase for request.",
    "request_decode_time": "Histogram of time spent in DECODE phase for request.",
}


class VllmCounters:
    """What vLLM's front-end would have counted. The engine's own sums are read where they are."""

    def __init__(self, max_model_len: int, max_draft_tokens: int) -> None:
        tokens = histogram.token_counts(max_model_len)
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.drafts = 0
        self.draft_tokens = 0
        self.accepted_per_position = [0] * max_draft_tokens
        self.finished = dict.fromkeys(FINISH_REASONS, 0)
        self.seconds = {
            "time_to_first_token": Histogram(histogram.FIRST_TOKEN_SECONDS),
            "inter_token_latency": Histogram(histogram.TOKEN_SECONDS),
            "request_time_per_output_token": Histogram(histogram.TOKEN_SECONDS),
            "e2e_request_latency": Histogram(histogram.REQUEST_SECONDS),
            "request_queue_time": Histogram(histogram.REQUEST_SECONDS),
            "request_inference_time": Histogram(histogram.REQUEST_SECONDS),
            "request_prefill_time": Histogram(histogram.REQUEST_SECONDS),
            "request_decode_time": Histogram(histogram.REQUEST_SECONDS),
        }
        self.iteration_tokens = Histogram(histogram.ITERATION_TOKENS)
        self.request_prompt_tokens = Histogram(tokens)
        self.request_generation_tokens = Histogram(tokens)
        self.request_preemptions = Histogram(histogram.PREEMPTIONS)
        self.request_n = Histogram(histogram.CHOICES)
        self.request_max_tokens = Histogram(tokens)

    def step(self, engine: SimulatedEngine, record: StepRecord) -> None:
        """A step whose tokens have arrived. One inter-token latency for each request that decoded, as in vLLM."""
        now, prompts = engine.now, 0
        if record.decodes:
            self.seconds["inter_token_latency"].observe(engine.last_seconds, record.decodes)
        for request in engine.prefilled:
            if request.first_token == now:
                prompts += request.prompt_tokens
                self.seconds["time_to_first_token"].observe(now - request.arrived)
            elif request.preempted is not None:
                self.seconds["inter_token_latency"].observe(now - request.preempted)
        self.prompt_tokens += prompts
        self.generation_tokens += record.generated_tokens
        if record.generated_tokens:
            self.iteration_tokens.observe(prompts + record.generated_tokens)
        if record.verified_draft_tokens:
            self.drafts += record.drafted_per_position[0]
            self.draft_tokens += record.verified_draft_tokens
            sums = zip(self.accepted_per_position, record.accepted_per_position, strict=True)
            self.accepted_per_position = [before + accepted for before, accepted in sums]

    def ended(self, request: Request, reason: str, max_tokens: int | None) -> None:
        """A request has all its tokens."""
        first, last, admitted = request.first_token, request.finished, request.admitted
        if first is None or last is None or admitted is None:
            raise ValueError(f"request {request.number} has ended before it began")
        tokens, seconds = request.output_tokens, self.seconds
        self.finished[reason] += 1
        seconds["e2e_request_latency"].observe(last - request.arrived)
        seconds["request_queue_time"].observe(admitted - request.arrived)
        seconds["request_prefill_time"].observe(first - admitted)
        seconds["request_decode_time"].observe(last - first)
        seconds["request_inference_time"].observe(last - admitted)
        seconds["request_time_per_output_token"].observe((last - first) / (tokens - 1) if tokens > 1 else 0.0)
        self.request_prompt_tokens.observe(request.prompt_tokens)
        self.request_generation_tokens.observe(tokens)
        self.request_preemptions.observe(request.preemptions)
        if max_tokens is not None:
            self.request_max_tokens.observe(max_tokens)


class VllmCollector(Collector):
    """Reads the counters of one engine on every scrape."""

    def __init__(self, engine: SimulatedEngine, counters: VllmCounters, model: str) -> None:
        self._engine = engine
        self._counters = counters
        self._labels = [model, "0"]

    def collect(self) -> Iterator[Metric]:
        """All series of this engine."""
        yield from self._gauges()
        yield from self._counts()
        if self._counters.accepted_per_position:  # vLLM has these only where there is a drafter
            yield from self._drafts()
        yield from self._histograms()

    def _gauges(self) -> Iterator[Metric]:
        engine, waiting = self._engine, float(len(self._engine.waiting))
        running = float(len(engine.batch) + len(engine.prefilling))
        yield self._gauge("num_requests_running", "Number of requests in model execution batches.", running)
        yield self._gauge("num_requests_waiting", "Number of requests waiting to be processed.", waiting)
        reasons = GaugeMetricFamily(
            "vllm:num_requests_waiting_by_reason", "Number of waiting requests by reason.", labels=[*LABELS, "reason"]
        )
        reasons.add_metric([*self._labels, "capacity"], waiting)
        reasons.add_metric([*self._labels, "deferred"], 0.0)
        yield reasons
        usage = engine.kv_tokens / engine.capacity
        yield self._gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", usage)

    def _counts(self) -> Iterator[Metric]:
        counters = self._counters
        preemptions = self._engine.preemptions
        yield self._counter("num_preemptions", "Cumulative number of preemption from the engine.", preemptions)
        yield self._counter("prompt_tokens", "Number of prefill tokens processed.", counters.prompt_tokens)
        yield self._counter("generation_tokens", "Number of generation tokens processed.", counters.generation_tokens)
        finished = CounterMetricFamily(
            "vllm:request_success", "Count of successfully processed requests.", labels=[*LABELS, "finished_reason"]
        )
        for reason, count in counters.finished.items():
            finished.add_metric([*self._labels, reason], count)
        yield finished

    def _drafts(self) -> Iterator[Metric]:
        counters = self._counters
        accepted = sum(counters.accepted_per_position)
        yield self._counter("spec_decode_num_drafts", "Number of spec decoding drafts.", counters.drafts)
        yield self._counter("spec_decode_num_draft_tokens", "Number of draft tokens.", counters.draft_tokens)
        yield self._counter("spec_decode_num_accepted_tokens", "Number of accepted tokens.", accepted)
        positions = CounterMetricFamily(
            "vllm:spec_decode_num_accepted_tokens_per_pos",
            "Accepted tokens per draft position.",
            labels=[*LABELS, "position"],
        )
        for position, count in enumerate(counters.accepted_per_position):
            positions.add_metric([*self._labels, str(position)], count)
        yield positions

    def _histograms(self) -> Iterator[Metric]:
        counters = self._counters
        for name, values in counters.seconds.items():
            yield self._histogram(f"{name}_seconds", HELP_OF_SECONDS[name], values)
        yield self._histogram(
            "iteration_tokens_total", "Histogram of number of tokens per engine_step.", counters.iteration_tokens
        )
        yield self._histogram(
            "request_prompt_tokens", "Number of prefill tokens processed.", counters.request_prompt_tokens
        )
        yield self._histogram(
            "request_generation_tokens", "Number of generation tokens processed.", counters.request_generation_tokens
        )
        yield self._histogram(
            "request_num_preemptions",
            "Histogram of the number of times a request was preempted.",
            counters.request_preemptions,
        )
        yield self._histogram("request_params_n", "Histogram of the n request parameter.", counters.request_n)
        yield self._histogram(
            "request_params_max_tokens", "Histogram of the max_tokens request parameter.", counters.request_max_tokens
        )

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"vllm:{name}", text, labels=LABELS)
        family.add_metric(self._labels, value)
        return family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(f"vllm:{name}", text, labels=LABELS)
        family.add_metric(self._labels, value)
        return family

    def _histogram(self, name: str, text: str, values: Histogram) -> Metric:
        family = HistogramMetricFamily(f"vllm:{name}", text, labels=LABELS)
        family.add_metric(self._labels, values.buckets(), values.total)
        return family
