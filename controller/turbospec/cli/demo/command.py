"""``turbospec demo``: what a person sees."""

import asyncio
import sys
from collections.abc import Callable

import click

from turbospec.cli.fleet.top import text
from turbospec.simulation.files import EngineFile

ROUND_SECONDS = 1.0
TURN_SECONDS = 15.0
"""Long enough to see K settle, and TOKENS/S, which is a mean over ten seconds, follow."""
ENGINE = {
    "maxNumSeqs": 128,
    "maxDraftTokens": 7,
    "allowedDraftTokens": [0, 1, 3, 7],
    "kvCacheTokens": 450_000,
    "maxNumBatchedTokens": 8192,
    # Llama-3.1-8B with an EAGLE drafter on an H100 (docs/simulator.md).
    "stepTime": {
        "linear": {
            "secondsPerKvToken": 3.92646e-8,
            "secondsPerBatchedToken": 2.10103e-5,
            "secondsPerStep": 5.88591e-3,
            "draftSecondsPerKvToken": 2.37768e-9,
            "draftSecondsPerToken": 8.414e-7,
            "draftSecondsPerPass": 2.13526e-3,
            "overheadSeconds": 1.20684e-3,
        }
    },
    "noise": {"relativeStandardDeviation": 0.03},
}
HARDWARE = "simulated H100"


@click.command()
@click.option("--engines", default=3, show_default=True, type=click.IntRange(1, 16), help="Engines of the fleet.")
@click.option("--seconds", type=click.FloatRange(min=1.0), help="End after so long. Default: when interrupted.")
def demo(*, engines: int, seconds: float | None) -> None:
    """Watch K follow load and text on a simulated fleet, here and now: no cluster, no GPU, nothing installed.

    Every engine is simulated step by step under the real engine loop, with the step times of an 8B model on an H100,
    and gets its documents from the real fleet loop. On a terminal the table is live, as that of `top`; elsewhere it is
    printed once for each load.
    """
    spec = EngineFile.model_validate(ENGINE)
    click.echo("measuring the simulated engine, as a profiling Job does (a few seconds)", err=True)
    try:
        asyncio.run(_run(spec, engines, seconds))
    except KeyboardInterrupt:
        click.echo("the simulated fleet has ended; nothing is left of it", err=True)


async def _run(spec: EngineFile, count: int, seconds: float | None) -> None:
    # Imported late: the simulator and the fleet loop take a second that `--help` need not wait for.
    from turbospec.cli.demo.fleet import DemoFleet
    from turbospec.cli.demo.load import Load
    from turbospec.simulation.measure import profile
    from turbospec.standin.many import stand_in_engines
    from turbospec.standin.options import StandInOptions

    measured = await asyncio.to_thread(profile, spec, 0)
    names = [f"chat-{number}" for number in range(1, count + 1)]
    engines = stand_in_engines(spec, StandInOptions(hardware=HARDWARE), names, ())
    fleet, load = DemoFleet(engines, measured.model), Load(engines)

    def picture(turn: int) -> str:
        sent = "\n".join(f"{name}: {load.phase(name, turn)}" for name in names)
        return f"{text(fleet.figures(), 'demo')}\n\nload, another one every {TURN_SECONDS:.0f} s:\n{sent}"

    try:
        await _follow(fleet.round, load.turn, picture, seconds)
    finally:
        await load.stop()
        for engine in engines.values():
            engine.pace.stop()


async def _follow(
    look: Callable[[], None], turn: Callable[[int], None], picture: Callable[[int], str], seconds: float | None
) -> None:
    """Rounds of the fleet loop, and what they show, until the time is over."""
    from rich.live import Live
    from rich.text import Text

    live = Live(screen=True, auto_refresh=False) if sys.stdout.isatty() else None
    if live is not None:
        live.start()
    shown, rounds, number = "", 0, -1
    try:
        while seconds is None or rounds * ROUND_SECONDS < seconds:
            if rounds * ROUND_SECONDS >= (number + 1) * TURN_SECONDS:
                if live is None and shown:
                    click.echo(shown + "\n")
                number += 1
                turn(number)
            await asyncio.sleep(ROUND_SECONDS)
            look()
            shown, rounds = picture(number), rounds + 1
            if live is not None:
                live.update(Text(shown), refresh=True)
    finally:
        if live is not None:
            live.stop()
        click.echo(shown)
