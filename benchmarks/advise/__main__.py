"""``python -m benchmarks.advise``: how often the truth lies in the interval that ``turbospec advise`` gives."""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.advise.fleets import FLEETS, PLAIN_FLEETS, Judged, fleet, judge
from benchmarks.control.report import ROOT
from benchmarks.document import write_between
from turbospec.advise.advice import Verdict

RESULTS = ROOT / "build" / "bench-advise"
INSIDE = 45
Line = tuple[str, str, bool]
"""Asked, measured, met."""


def main(arguments: Sequence[str]) -> int:
    """Exit status 0 once all is measured: a missed target is a result, and the table says so."""
    parser = argparse.ArgumentParser(prog="benchmarks.advise", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten fleets and two without speculation")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--document", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    counts = (10, 2) if options.quick else (FLEETS, PLAIN_FLEETS)
    with ProcessPoolExecutor(max_workers=options.jobs) as pool:
        asked = [*map(fleet, range(counts[0])), *map(partial(fleet, plain=True), range(counts[1]))]
        console = Console(stderr=True)
        found = list(
            track(pool.map(judge, asked), "fleets", len(asked), console=console, disable=not console.is_terminal)
        )
    judged, plain = found[: counts[0]], found[counts[0] :]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "fleets.json").write_text(json.dumps([row(each) for each in found], indent=1), encoding="utf-8")
    seconds = time.monotonic() - started
    lines = verdict(judged, plain)
    _show(lines, judged)
    if options.document:
        rows = [f"| {asked} | {measured} | {'yes' if met else '**no**'} |" for asked, measured, met in lines]
        head = [f"From a run of {seconds / 60:.0f} minutes.", "", "| asked | measured | met |", "| --- | --- | --- |"]
        write_between("advise results", [*head, *rows])
    print(f"\n{seconds:.0f} s; all fleets in {RESULTS / 'fleets.json'}")
    return 0


def verdict(judged: Sequence[Judged], plain: Sequence[Judged]) -> list[Line]:
    """What is asked of advice, and what it reached."""
    inside = sum(each.inside for each in judged)
    given = [each.advice.gain for each in judged if each.advice.gain is not None]
    claimed = [each for each in (*judged, *plain) if each.advice.verdict is Verdict.GAIN]
    losses = sum(each.truth < 0 for each in claimed)
    paying = [each for each in plain if each.said_to_pay]
    gaining = sum(each.truth > 0.01 for each in judged)
    width = statistics.median(gain.high - gain.low for gain in given) if given else float("nan")
    return [
        (
            f"the truth lies in the interval in >= {INSIDE} of {FLEETS} fleets",
            f"{inside} of {len(judged)}; half of the intervals narrower than {100 * width:.0f} points",
            inside >= INSIDE * len(judged) / FLEETS,
        ),
        (
            "never a gain claimed where the truth is a loss",
            f"{losses} of {len(claimed)} gains claimed; {gaining} fleets really gain 1%",
            losses == 0,
        ),
        (
            "without a drafter: unknown, with the acceptance it would take",
            f"{sum(each.advice.gain is None for each in plain)} of {len(plain)} unknown; of {len(paying)} whose text "
            f"is said to pay, {sum(each.truth > 0 for each in paying)} really gain",
            all(each.advice.gain is None for each in plain) and all(each.truth > 0 for each in paying),
        ),
    ]


def row(each: Judged) -> dict[str, object]:
    """One fleet for the file."""
    gain, observed = each.advice.gain, each.advice.observed
    return {
        "number": each.fleet.number,
        "engine": each.fleet.name,
        "allowed": each.fleet.allowed,
        "controller": each.fleet.controller.rpartition("/")[2],
        "verdict": each.advice.verdict,
        "low": gain and gain.low,
        "high": gain and gain.high,
        "truth": each.truth,
        "inside": each.inside,
        "fitRatio": each.advice.fit_ratio,
        "shares": each.advice.shares,
        "breakEven": each.advice.break_even,
        "drift": [d.model_dump() for d in each.fleet.spec.drift],
        "loads": [[p.clients or -(p.poisson_per_second or 0) for p in w.phases] for w in each.fleet.workloads],
        "acceptance": [p.acceptance[:3] for p in each.fleet.workloads[0].phases],
        "observed": observed and [observed.batch, observed.draft_tokens, observed.acceptance],
    }


def _show(lines: Sequence[Line], judged: Sequence[Judged]) -> None:
    table = Table(title="advise: measured against target")
    for heading in ("asked", "measured", "met"):
        table.add_column(heading)
    for asked, measured, met in lines:
        table.add_row(asked, measured, "yes" if met else "NO")
    console = Console()
    console.print(table)
    for each in judged:
        if not each.inside:
            gain = each.advice.gain
            said = "no interval" if gain is None else f"{gain.low:+.3f} to {gain.high:+.3f}"
            console.print(
                f"   {each.fleet.number} {each.fleet.name} {each.fleet.controller}: {said}, is {each.truth:+.3f}"
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
