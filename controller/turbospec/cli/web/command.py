"""``turbospec dashboard``: the fleet as a web page on the user's own machine."""

import asyncio
import os
import signal
import sys
import threading
from contextlib import suppress

import click

from turbospec.cli.errors import CommandError
from turbospec.cli.options import EVERYWHERE, Place, place_options
from turbospec.cli.web.looking import Looker

PORT = 8475


@click.command()
@EVERYWHERE
@click.option(
    "--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="On 127.0.0.1; 0: a free one."
)
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open it, where this runs on a terminal.")
@place_options
def dashboard(*, everywhere: bool, port: int, browser: bool, place: Place) -> None:
    """Policies, engines and profiles as a web page, on this machine only.

    It shows what ``status``, ``top`` and ``profile`` show, with K and goodput over the time that it has been running,
    and changes nothing. Ctrl-C ends it. It needs the rights that ``top`` needs, and ``list`` on profiles for their
    heat maps.
    """
    looker = Looker(place.api, place.kube, None if everywhere else place.namespace)
    asyncio.run(_serve(looker, port, open_it=browser and sys.stdout.isatty()))


async def _serve(looker: Looker, port: int, *, open_it: bool) -> None:
    """Until SIGINT or SIGTERM. CommandError where the port cannot be had, or the looks end before."""
    # aiohttp takes a quarter of a second to import: only who serves waits for it.
    from turbospec.cli.web.server import listening, serving

    try:
        sock = listening(port)
    except OSError as error:
        raise CommandError(
            f"cannot serve on port {port} of 127.0.0.1: {os.strerror(error.errno or 0)}; "
            "choose another --port, or --port 0 for a free one"
        ) from error
    loop, ended, asked_to = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def stop() -> None:
        asked_to.set()
        ended.set()

    def look() -> None:
        try:
            looker.until(asked_to)
        finally:
            with suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(ended.set)

    # Not asyncio's own threads: their end is waited for, and an answer of the API server may take its time.
    looking = threading.Thread(target=look, daemon=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    async with serving(lambda: looker.latest, sock) as url:
        click.echo(f"The dashboard is at {url}/ until Ctrl-C.")
        if open_it:
            click.launch(f"{url}/")
        looking.start()
        await ended.wait()
    if not asked_to.is_set():
        looking.join()  # until it has told what it died of
        raise CommandError("looking at the cluster ended with the error above, which is a defect: please report it")
