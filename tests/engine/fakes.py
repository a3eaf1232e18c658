"""Stand-ins for the parts of vLLM that the runtime touches, with its order of calls and its lag."""

from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from turbospec.engine.methods import DraftCost, DraftLength, Steering
from turbospec.engine.runtime import EngineFacts
from turbospec.wire.engine_state import EngineInfo, EngineLimits, Unsupported
from turbospec.wire.identity import ProfileIdentity


@dataclass
class Request:
    """What the scheduler keeps of one request."""

    request_id: str
    prompt_tokens: int
    num_computed_tokens: int = 0
    draft: list[int] = field(default_factory=list)
    generated: int = 0

    @property
    def prefilling(self) -> bool:
        return self.num_computed_tokens < self.prompt_tokens

    @property
    def num_prompt_tokens(self) -> int:
        return self.prompt_tokens

    @property
    def num_output_tokens(self) -> int:
        return self.generated


@dataclass
class Output:
    """vLLM's SchedulerOutput, as far as it is read."""

    num_scheduled_tokens: dict[str, int]
    scheduled_spec_decode_tokens: dict[str, list[int]]
    total_num_scheduled_tokens: int
    num_spec_tokens_to_schedule: int
    scheduled_new_reqs: list[Any] = field(default_factory=list)
    num_invalid_spec_tokens: dict[str, int] | None = None
    finished_req_ids: set[str] = field(default_factory=set)
    skip_drafts: bool = False


class Stats:
    """vLLM's SpecDecodingStats."""

    def __init__(self, positions: int) -> None:
        self.num_drafts = 0
        self.num_draft_tokens = 0
        self.num_accepted_tokens = 0
        self.num_draft_tokens_per_pos = [0] * positions
        self.num_accepted_tokens_per_pos = [0] * positions

    def observe(self, drafted: int, accepted: int) -> None:
        self.num_drafts += 1
        self.num_draft_tokens += drafted
        self.num_accepted_tokens += accepted
        for j in range(drafted):
            self.num_draft_tokens_per_pos[j] += 1
        for j in range(accepted):
            self.num_accepted_tokens_per_pos[j] += 1


class FakeScheduler:
    """Schedules every request on every step; drafts are ``num_spec_tokens_to_schedule`` long, as vLLM's
    drafters make them.

    Synchronous: drafts arrive after the step (``give_drafts``). Asynchronous: placeholders are made when it is
    scheduled.
    """

    def __init__(
        self, max_draft_tokens: int = 5, max_num_seqs: int = 8, *, asynchronous: bool = False, log_stats: bool = True
    ) -> None:
        self.num_spec_tokens = max_draft_tokens
        self.max_num_running_reqs = max_num_seqs
        self.asynchronous = asynchronous
        self.log_stats = log_stats
        self.dynamic_sd_lookup: list[int] | None = [0] + [max_draft_tokens] * max_num_seqs
        self.requests: dict[str, Request] = {}
        self.running: list[Request] = []
        self.waiting: deque[Request] = deque()
        self.kv_cache_manager = SimpleNamespace(usage=0.25)
        self.grammars: dict[str, int] = {}
        """How many drafts of a request with structured output its grammar lets pass."""
        self.shut_down = False
        self.finished_req_ids: set[str] = set()
        self.skip_drafts = False
        """Of the steps to come: as vLLM 0.33 where no request of a step can use drafts."""

    def add(self, name: str, prompt_tokens: int = 100) -> None:
        request = Request(name, prompt_tokens)
        self.requests[name] = request
        self.waiting.append(request)

    def finish(self, name: str) -> None:
        request = self.requests.pop(name)
        (self.running if request in self.running else self.waiting).remove(request)
        self.finished_req_ids.add(name)

    def schedule(self) -> Output:
        new = list(self.waiting)
        self.waiting.clear()
        self.running.extend(new)
        scheduled, drafts = {}, {}
        for request in self.running:
            left = request.prompt_tokens - request.num_computed_tokens
            scheduled[request.request_id] = left if left > 0 else 1 + len(request.draft)
            if left <= 0 and request.draft:
                drafts[request.request_id] = request.draft
            request.draft = []
        lookup = self.dynamic_sd_lookup
        k = lookup[len(scheduled)] if lookup is not None and scheduled else self.num_spec_tokens
        new_data = [SimpleNamespace(req_id=request.request_id) for request in new]
        output = Output(scheduled, drafts, sum(scheduled.values()), k, new_data, None, self.finished_req_ids)
        output.skip_drafts = self.skip_drafts
        self.finished_req_ids = set()
        self._update_after_schedule(output)
        return output

    def _update_after_schedule(self, output: Output) -> None:
        for name, count in output.num_scheduled_tokens.items():
            request = self.requests[name]
            request.num_computed_tokens += count
            if self.asynchronous and not output.skip_drafts:
                request.draft = [-1] * output.num_spec_tokens_to_schedule

    def update_from_output(self, output: Output, model_output: Any) -> Any:
        stats = None
        for name, drafts in output.scheduled_spec_decode_tokens.items():
            if name not in self.requests:
                continue
            generated = len(model_output.sampled_token_ids[model_output.req_id_to_index[name]])
            self.requests[name].generated += generated
            self.requests[name].num_computed_tokens -= len(drafts) - (generated - 1)
            if self.log_stats:
                stats = stats or Stats(self.num_spec_tokens)
                stats.observe(len(drafts), generated - 1)
        return self.make_stats(stats)

    def give_drafts(self, output: Output, lengths: dict[str, int] | None = None) -> None:
        """What EngineCore.post_step does on a synchronous engine: the worker makes as many drafts as it is told."""
        names = [name for name in output.num_scheduled_tokens if name in self.requests]
        asked = output.num_spec_tokens_to_schedule
        rows = [[7] * min(asked, (lengths or {}).get(name, asked)) for name in names]
        self.update_draft_token_ids(SimpleNamespace(req_ids=names, draft_token_ids=rows))

    def update_draft_token_ids(self, draft_token_ids: Any) -> None:
        for name, row in zip(draft_token_ids.req_ids, draft_token_ids.draft_token_ids, strict=True):
            grammar = self.grammars.get(name)
            self.requests[name].draft = row if grammar is None else row[:grammar]

    def get_grammar_bitmask(self, output: Output) -> None:
        """No structured outputs here."""

    def make_stats(self, spec_decoding_stats: Any = None, *_: Any, **__: Any) -> Any:
        return spec_decoding_stats if self.log_stats else None

    def get_request_counts(self) -> tuple[int, int]:
        return len(self.running), len(self.waiting)

    def shutdown(self) -> None:
        self.shut_down = True


def model_output(output: Output, accepted: int = 0) -> Any:
    """Every decode accepts ``accepted`` of its drafts, as far as it has them, and gets one token more."""
    names = list(output.num_scheduled_tokens)
    drafts = output.scheduled_spec_decode_tokens
    return SimpleNamespace(
        sampled_token_ids=[[1] * (1 + min(accepted, len(drafts.get(name, ())))) for name in names],
        req_id_to_index={name: index for index, name in enumerate(names)},
    )


def identity() -> ProfileIdentity:
    """Some identity."""
    return ProfileIdentity(
        hardware="cpu / Test / 2 CPUs",
        target="llama-0",
        drafter="ngram",
        method="ngram",
        engine_arguments={"dtype": "float32"},
        engine_version="0.32.0",
    )


def engine_facts(
    *,
    max_draft_tokens: int = 5,
    allowed: tuple[int, ...] = (0, 1, 2, 3, 4, 5),
    max_num_seqs: int = 8,
    drafts_after_completion: bool = False,
    unsupported: Unsupported | None = None,
) -> EngineFacts:
    """A CPU engine with ngram speculation."""
    return EngineFacts(
        info=EngineInfo(id="engine-1", vllm_version="0.32.0", runtime_version="0.1.0"),
        identity=identity(),
        limits=EngineLimits(
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=2048,
            max_model_len=1024,
            max_draft_tokens=max_draft_tokens,
            allowed_draft_tokens=list(allowed),
            kv_cache_tokens=10_000,
        ),
        unsupported=unsupported,
        startup_table=(0, *[max_draft_tokens] * max_num_seqs),
        drafts_after_completion=drafts_after_completion,
        steering=Steering(DraftCost.NONE, DraftLength.NATIVE) if unsupported is None else None,
    )
