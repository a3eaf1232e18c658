"""What engines of a scenario are worth, from the truth: without a drafter, at each K, and to an oracle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from turbospec.simulation.files import EngineFile, ScenarioError
from turbospec.simulation.fleet.arrivals import Day, Ints, Texts
from turbospec.simulation.fleet.files import CeilingsSpec, FleetScenario
from turbospec.simulation.fleet.replica import Done, Load
from turbospec.simulation.ground_truth import long_run_goodput
from turbospec.simulation.step_time import StepTime, Work
from turbospec.simulation.text import LEVELS, Floats

CONTEXT_STEP = 64
"""Contexts this close have the same best K."""


def as_plain(scenario: FleetScenario) -> EngineFile:
    """The scenario's engine, started without the drafter. ScenarioError where the file does not say what that is."""
    spec = scenario.spec.engine
    if spec.plain is None:
        raise ScenarioError(f"{scenario.path}: engine: arm plain needs the field plain (speedup, kvCacheTokens)")
    data, speedup = spec.model_dump(by_alias=True, exclude_none=True), spec.plain.speedup
    times = data["stepTime"]
    if "linear" in times:
        times["linear"] = {name: value / speedup for name, value in times["linear"].items()}
    else:
        times["table"]["milliseconds"] = [[v / speedup for v in row] for row in times["table"]["milliseconds"]]
        if spec.prefill_tokens_per_second is not None:
            data["prefillTokensPerSecond"] = spec.prefill_tokens_per_second * speedup
    del data["plain"]
    data["allowedDraftTokens"] = [0]
    data["kvCacheTokens"] = spec.plain.kv_cache_tokens or spec.kv_cache_tokens
    return EngineFile.model_validate(data)


class Fixed:
    """The same K always."""

    learns = False

    def __init__(self, k: int) -> None:
        self._k = (k,)

    def decide(self, load: Load) -> Sequence[int]:  # noqa: ARG002 - the point of it
        """Always the same."""
        return self._k

    def learn(self, done: Done) -> None:
        """Nothing is learnt."""


class BestK:
    """The allowed K of highest goodput in the long run, from true step times and the text that comes at the moment."""

    learns = False

    def __init__(self, spec: EngineFile, day: Day, part_ends: Sequence[float]) -> None:
        self._spec = spec
        self._step_time = StepTime(spec)
        self._texts = [mean_text(day.texts, part) for part in range(len(part_ends))]
        self._ends = part_ends
        self._prompt, self._output = float(day.prompt.mean()), float(day.output.mean())
        self._known: dict[tuple[int, int, int, int], tuple[int]] = {}

    def decide(self, load: Load) -> Sequence[int]:
        """The best one."""
        n = max(load.decodes, 1)
        part = next((i for i, end in enumerate(self._ends) if load.now < end), len(self._ends) - 1)
        drifts = sum(entry.at <= load.now for entry in self._spec.drift)
        place = (n, load.kv_tokens // (CONTEXT_STEP * n), part, drifts)
        found = self._known.get(place)
        if found is None:
            self._step_time.drift = self._spec.drift[drifts - 1] if drifts else None
            tokens, drafted = self._texts[part]
            found = self._known[place] = (self._best(n, float(load.kv_tokens), tokens, drafted),)
        return found

    def learn(self, done: Done) -> None:
        """All is known."""

    def _best(self, n: int, kv: float, tokens: Sequence[float], drafted: Sequence[float]) -> int:
        def goodput(k: int) -> float:
            return long_run_goodput(
                self._step_time,
                Work(n, k, n * drafted[k], k if drafted[k] else 0, kv, 0),
                tokens,
                prompt_tokens=self._prompt,
                output_tokens=self._output,
                most_tokens=self._spec.max_num_batched_tokens,
            )

        return max(self._spec.allowed, key=goodput)


def mean_text(texts: Texts, part: int) -> tuple[list[float], list[float]]:
    """Tokens and draft tokens per step by K, of the text of one part of the day."""
    rows = slice(part * LEVELS, (part + 1) * LEVELS)
    return texts.tokens[rows].mean(axis=0).tolist(), texts.drafted[rows].mean(axis=0).tolist()


@dataclass(frozen=True, slots=True)
class Effort:
    """Engine seconds that a request takes at the largest batch that the ceilings allow."""

    per_prompt_token: float
    per_output_token: float

    def of(self, prompt: Ints, output: Ints) -> Floats:
        """Of each request."""
        return np.asarray(self.per_prompt_token * prompt + self.per_output_token * output, dtype=np.float64)


def effort(spec: EngineFile, day: Day, ceilings: CeilingsSpec) -> Effort:
    """The least that this engine needs, at its best allowed K, for text as at the beginning of the day."""
    step_time = StepTime(spec)
    tokens, drafted = mean_text(day.texts, 0)
    context = float(day.prompt.mean() + day.output.mean() / 2.0)
    ceiling = ceilings.time_per_output_token
    most = float("inf") if ceiling is None else ceiling.milliseconds / 1e3
    best: Effort | None = None
    for k in spec.allowed:
        for n in range(1, spec.max_num_seqs + 1):
            if n * context > spec.kv_cache_tokens:
                break
            work = Work(n, k, n * drafted[k], k if drafted[k] else 0, n * context, 0)
            seconds = step_time.seconds(work)
            prompt = step_time.seconds(Work(n, k, work.drafted, work.passes, work.kv_tokens, 1000)) - seconds
            # While requests of this batch are decoded as many prompts come as end.
            arriving = n * tokens[k] / float(day.output.mean())
            shared = seconds + arriving * float(day.prompt.mean()) * prompt / 1000.0
            if n > 1 and shared / tokens[k] > most:
                break
            found = Effort(prompt / 1000.0, seconds / (n * tokens[k]))
            if best is None or found.per_output_token < best.per_output_token:
                best = found
    if best is None:
        raise ScenarioError("engine: kvCacheTokens does not hold one request of the load")
    return best
