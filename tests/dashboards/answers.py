"""Whether a Prometheus has an answer to the dashboards' queries."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from tests.dashboards.committed import Target, series_name, substituted
from tests.dashboards.prometheus import Prometheus

PAUSE_SECONDS = 0.25


async def problems(server: Prometheus, wanted: Sequence[Target], patience_seconds: float) -> list[str]:
    """What is still wrong when patience ends; asked again only for that, because rates need some scrapes."""
    wrong: dict[Target, str] = dict.fromkeys(wanted, "not asked")
    deadline = asyncio.get_running_loop().time() + patience_seconds
    while wrong and asyncio.get_running_loop().time() < deadline:
        asked = tuple(wrong)
        answers = await asyncio.gather(*(server.query(substituted(target.expr)) for target in asked))
        found = ((target, _problem(target, series)) for target, series in zip(asked, answers, strict=True))
        wrong = {target: problem for target, problem in found if problem is not None}
        if wrong:
            await asyncio.sleep(PAUSE_SECONDS)
    return [f"{target}: {problem}" for target, problem in wrong.items()]


def _problem(target: Target, series: Sequence[dict[str, Any]]) -> str | None:
    if not any(math.isfinite(float(each["value"][1])) for each in series):
        return "no data"
    names = [series_name(target.legend, each["metric"]) for each in series]
    if not all(name.strip(" /") for name in names) or len(set(names)) < len(names):
        return f"series without a name of their own: {sorted(names)}"
    return None
