"""What a draft length is worth in the long run, from the simulated engine's own step times."""

import math
from collections.abc import Sequence

from turbospec.simulation.step_time import StepTime, Work

SPREAD = 3.0
"""Standard deviations of the number of prompts in a step that are looked at."""


def long_run_goodput(
    step_time: StepTime,
    work: Work,
    tokens: Sequence[float],
    *,
    prompt_tokens: float,
    output_tokens: float,
    most_tokens: int,
) -> float:
    """Tokens per second while ``work`` (a step without prefill) goes on and every request that ends is replaced.

    ``tokens[k]`` is what a request gets from a step at K = k on average, up to the K of ``work``. Three things beside
    the step itself count: accepted tokens beyond a request's end are lost; its successor takes a step for its prompt
    and first token; and these prompts, Poisson in number, share steps with the decodes, so that steps which prefill
    pushes over a graph size or the last graph count as often as they occur.
    """
    mean = tokens[work.asked]
    # P(accepted > j) is what position j adds; the mean overshoot of a renewal process is E[X(X-1)] / 2E[X].
    beyond = sum((j + 1) * (tokens[j + 1] - tokens[j]) for j in range(work.asked)) / mean
    steps = max(1.0, (output_tokens - 1.0 + beyond) / mean)
    arriving = work.decodes / steps
    seconds = _mean_seconds(step_time, work, arriving, prompt_tokens, most_tokens - work.decodes - work.drafted)
    return work.decodes * output_tokens / (steps + 1.0) / seconds


def _mean_seconds(step_time: StepTime, work: Work, arriving: float, prompt_tokens: float, room: float) -> float:
    """Of a step with a Poisson number of prompts, ``arriving`` on average; what exceeds ``room`` waits."""
    reach = SPREAD * math.sqrt(arriving) + 1.0
    first, last = max(0, math.floor(arriving - reach)), math.ceil(arriving + reach)
    weight = math.exp(first * math.log(arriving) - arriving - math.lgamma(first + 1))
    seconds = total = 0.0
    for prompts in range(first, last + 1):
        prefill = round(min(prompts * prompt_tokens, room))
        step = Work(work.decodes, work.asked, work.drafted, work.passes, work.kv_tokens, prefill)
        seconds += weight * step_time.seconds(step)
        total += weight
        weight *= arriving / (prompts + 1)
    return seconds / total
