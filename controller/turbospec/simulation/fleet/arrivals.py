"""All requests of a day, drawn before it begins: every arm of a seed meets the same ones."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from turbospec.simulation.files import PhaseSpec
from turbospec.simulation.fleet.files import FleetScenario, LoadSpec, ScenarioError
from turbospec.simulation.text import LEVELS, Floats, TextBank
from turbospec.simulation.workload import read_trace

Ints = NDArray[np.int64]

COPY_SECONDS = 30.0
"""Copies of a trace's request are moved by up to this much: bursts of minutes stay, not two equal arrivals at once."""


@dataclass(frozen=True)
class Texts:
    """The kinds of text of a day, one row each; columns are K = 0, 1, ... and, where said, draft positions."""

    tokens: Floats
    """Tokens that a request gets from a step at K, on average."""
    deviation: Floats
    """Their standard deviation between steps."""
    beyond: Floats
    """Accepted tokens that are lost beyond a request's end: E[x(x-1)] / 2E[x] of tokens x per step."""
    drafted: Floats
    """Draft tokens verified at K."""
    reach: Floats
    """By position j: the share of drafts accepted beyond j."""
    longer: Floats
    """By position j: the share of requests whose draft goes on to j."""


@dataclass(frozen=True)
class Day:
    """Requests in the order of their arrival, and when the day ends. Times in seconds; the warm-up is before 0."""

    at: Floats
    prompt: Ints
    output: Ints
    kind: Ints
    """Row of ``texts``."""
    texts: Texts
    end: float
    begins: float


def draw(scenario: FleetScenario, seed: int) -> Day:
    """The day of a seed. ScenarioError for traces that cannot be used and requests that no engine could hold."""
    spec = scenario.spec
    at, prompt, output, kind = [], [], [], []
    starts, begins = 0.0, -spec.warm_up_seconds
    for number, part in enumerate(spec.load):
        rng = np.random.default_rng((seed, 11, number))
        times, prompts, outputs, seconds = _part(scenario, number, part, rng)
        if number == 0 and begins < 0.0:
            early = _poisson(np.full(2, np.count_nonzero(times < -begins) / -begins), -begins, rng)
            chosen = rng.integers(0, max(len(times), 1), len(early)) if len(times) else np.zeros(0, dtype=np.int64)
            times = np.concatenate([early[: len(chosen)] + begins, times])
            prompts, outputs = np.concatenate([prompts[chosen], prompts]), np.concatenate([outputs[chosen], outputs])
        level = rng.integers(0, LEVELS, len(times)) if part.acceptance_spread else np.zeros(len(times), dtype=np.int64)
        at.append(times + starts)
        prompt.append(prompts)
        output.append(outputs)
        kind.append(level + number * LEVELS)
        starts += seconds
    lengths = np.concatenate(prompt) + np.concatenate(output) + 1 + spec.engine.max_draft_tokens
    smallest = min(spec.engine.kv_cache_tokens, (spec.engine.plain and spec.engine.plain.kv_cache_tokens) or 1 << 60)
    if len(lengths) and lengths.max() > smallest:
        raise ScenarioError(
            f"{scenario.path}: load: a request of {lengths.max()} tokens, its drafts included, exceeds "
            f"engine.kvCacheTokens {smallest}"
        )
    return Day(
        np.concatenate(at),
        np.concatenate(prompt),
        np.concatenate(output),
        np.concatenate(kind),
        texts(scenario, seed),
        starts,
        begins,
    )


def texts(scenario: FleetScenario, seed: int) -> Texts:
    """What the one-engine simulator's pool of text gives on average."""
    parts = tuple(part.text.model_dump_json(by_alias=True, exclude_none=True) for part in scenario.spec.load)
    return _texts(parts, scenario.spec.engine.max_draft_tokens, seed)


@lru_cache(maxsize=64)
def _texts(parts: tuple[str, ...], most: int, seed: int) -> Texts:
    """Most of the work of drawing a day, and small: worked out once in a process for all engines and loads."""
    bank = TextBank(seed, most, 1)
    rows: list[list[Floats]] = []
    for number, part in enumerate(map(PhaseSpec.model_validate_json, parts)):
        for level in range(LEVELS):
            start = bank.level(number, part, level if part.acceptance_spread else 0).start
            accepted, drafted = bank.accepted[start:], bank.drafted[start:]
            rows.append(_moments(accepted.astype(np.float64), drafted.astype(np.float64), most))
            if not part.acceptance_spread:
                rows += [rows[-1]] * (LEVELS - 1)
                break
    return Texts(*(np.array(column) for column in zip(*rows, strict=True)))


def _moments(accepted: Floats, drafted: Floats, most: int) -> list[Floats]:
    gained = np.minimum(accepted, drafted)
    by_k = [1.0 + np.minimum(gained, k) for k in range(most + 1)]
    mean = np.array([x.mean() for x in by_k])
    return [
        mean,
        np.array([x.std() for x in by_k]),
        np.array([(x * (x - 1.0)).mean() / (2.0 * x.mean()) for x in by_k]),
        np.array([np.minimum(drafted, k).mean() for k in range(most + 1)]),
        np.array([(gained > j).mean() for j in range(most)]),
        np.array([(drafted > j).mean() for j in range(most)]),
    ]


def _part(
    scenario: FleetScenario, number: int, part: LoadSpec, rng: np.random.Generator
) -> tuple[Floats, Ints, Ints, float]:
    """Times within the part, prompts, outputs, and the part's seconds."""
    if part.trace is not None:
        name = f"{scenario.path}: load[{number}].trace"
        rows = read_trace(scenario.path.parent / part.trace, name, part.speed or 1.0)
        seconds = part.seconds or rows[-1].at + 1.0
        copies = part.copies or 1
        moved = np.repeat([row.at for row in rows], copies)
        moved = np.abs(moved + (rng.uniform(-COPY_SECONDS, COPY_SECONDS, len(moved)) if copies > 1 else 0.0))
        order = np.argsort(moved, kind="stable")
        order = order[moved[order] < seconds]
        lengths = np.repeat([[row.prompt_tokens, row.output_tokens] for row in rows], copies, axis=0)[order]
        return moved[order], lengths[:, 0].astype(np.int64), lengths[:, 1].astype(np.int64), seconds
    seconds = part.seconds or 0.0
    times = _poisson(np.array(part.requests_per_second), seconds, rng)
    lengths = np.array([[part.prompt_tokens or 1], [part.output_tokens or 1]])
    spread = 1.0 + part.length_spread * rng.uniform(-1.0, 1.0, (2, len(times)))
    prompts, outputs = np.maximum(1, np.rint(lengths * spread)).astype(np.int64)
    return times, prompts, outputs, seconds


def _poisson(rates: Floats, seconds: float, rng: np.random.Generator) -> Floats:
    """Poisson arrivals whose rate follows straight lines between evenly spaced ``rates``: thinned from the highest."""
    most = float(rates.max())
    if most <= 0.0:
        return np.zeros(0)
    times = np.sort(rng.uniform(0.0, seconds, rng.poisson(most * seconds)))
    wanted = np.interp(times, np.linspace(0.0, seconds, len(rates)), rates) if len(rates) > 1 else most
    return np.asarray(times[rng.random(len(times)) * most < wanted], dtype=np.float64)
