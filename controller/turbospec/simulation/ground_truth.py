"""What a draft length is worth in the long run, from the simulated engine's own step times."""

import math

from turbospec.simulation.step_time import StepTime, Work

SPREAD = 3.0
"""Standard deviations of the number of prompts in a step that are looked at."""


def long_run_goodput(
    step_time: StepTime, work: Work, tokens: float, *, prompt_tokens: float, output_tokens: float, most_tokens: int
) -> float:
    """Tokens per second while ``work`` (a step without prefill) goes on and every request that ends is replaced.

    ``tokens`` are what the requests get from a step on average. One in ``output_tokens`` of them ends a request, whose
    successor brings ``prompt_tokens`` into some step: Poisson numbers of prompts share steps with the decodes. So steps
    that prefill pushes over a graph size or the last graph are counted as often as they occur.
    """
    arriving = tokens / max(output_tokens, 1.0)
    reach = SPREAD * math.sqrt(arriving) + 1.0
    first, last = max(0, math.floor(arriving - reach)), math.ceil(arriving + reach)
    weight = math.exp(first * math.log(arriving) - arriving - math.lgamma(first + 1)) if arriving > 0 else 1.0
    room = most_tokens - work.decodes - work.drafted
    seconds = total = 0.0
    for prompts in range(first, last + 1):
        prefill = round(min(prompts * prompt_tokens, room))
        seconds += weight * step_time.seconds(
            Work(work.decodes, work.asked, work.drafted, work.passes, work.kv_tokens, prefill)
        )
        total += weight
        weight *= arriving / (prompts + 1)
    return tokens * total / seconds
