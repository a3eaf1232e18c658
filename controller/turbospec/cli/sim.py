"""``turbospec sim serve``: a process that stands in for vLLM pods."""

import asyncio
import resource
import signal
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

import click

from turbospec.simulation.files import EngineFile, ScenarioError, load
from turbospec.standin.drafter import SpeculativeConfigError, started_with
from turbospec.standin.options import DEFAULT_ACCEPTANCE, DEFAULT_OUTPUT_TOKENS, StandInOptions

FILES_BESIDE_CONNECTIONS = 64
CONNECTIONS_PER_ENGINE = 16
PORT = click.IntRange(0, 65535)


@click.group()
def sim() -> None:
    """Simulated engines that others can talk to."""


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> IPv4Address:
    try:
        return IPv4Address(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not an IPv4 address") from error


def _shares(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: expected numbers separated by commas") from error
    if not all(0 <= share <= 1 for share in shares):
        raise click.BadParameter(f"{value!r}: every acceptance must lie between 0 and 1")
    return shares


@sim.command()
@click.argument("engine", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--engines", default=1, show_default=True, type=click.IntRange(1, 1000), help="Engines in this process.")
@click.option(
    "--address", default="127.0.0.1", show_default=True, callback=_address, help="Of the first; the others follow it."
)
@click.option("--port", default=8000, show_default=True, type=PORT, help="Serving port of every engine.")
@click.option("--control-port", default=9476, show_default=True, type=PORT, help="Control port of every engine.")
@click.option(
    "--token-sha256",
    "tokens",
    multiple=True,
    envvar="TURBOSPEC_TOKEN_SHA256",
    help="SHA-256 of the control token, hexadecimal; repeat it for one each. Without: no engine can be controlled.",
)
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The same, by line.")
@click.option(
    "--start-up-seconds", default=0.0, show_default=True, type=click.FloatRange(min=0), help="503 until then."
)
@click.option("--runner", default="v2", show_default=True, type=click.Choice(["v1", "v2"]), help="vLLM's model runner.")
@click.option("--model", default="stand-in", show_default=True, help="Name of the served model.")
@click.option(
    "--method",
    default="eagle3",
    show_default=True,
    help="Speculative method, for the profile key. none: started without the drafter (field plain of ENGINE).",
)
@click.option(
    "--speculative-config",
    metavar="JSON",
    help="As vLLM takes it: its method and num_speculative_tokens go before --method and maxDraftTokens.",
)
@click.option("--hardware", default="simulated", show_default=True, help="For the profile key.")
@click.option(
    "--acceptance",
    default=str(DEFAULT_ACCEPTANCE),
    show_default=True,
    callback=_shares,
    help="Conditional, by draft position: 0.8,0.7,0.5. Requests may set their own.",
)
@click.option(
    "--output-tokens",
    default=DEFAULT_OUTPUT_TOKENS,
    show_default=True,
    type=click.IntRange(min=1),
    help="Length of answers to requests without a limit.",
)
@click.option("--speed", default=1.0, show_default=True, type=click.FloatRange(0.001, 1000), help="Simulated s per s.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
def serve(  # noqa: PLR0917 - click passes every parameter by name
    engine: Path,
    engines: int,
    address: IPv4Address,
    port: int,
    control_port: int,
    tokens: tuple[str, ...],
    token_file: Path | None,
    start_up_seconds: float,
    runner: str,
    model: str,
    method: str,
    speculative_config: str | None,
    hardware: str,
    acceptance: tuple[float, ...],
    output_tokens: int,
    speed: float,
    seed: int,
) -> None:
    """Stand in for vLLM: serve ENGINE (YAML) over HTTP, simulated step by step under the real engine loop.

    Engines of one process are told apart by their loopback addresses (127.x.y.z); ports are the same for all.
    """
    try:
        spec = load(engine, EngineFile)
    except ScenarioError as error:
        raise click.ClickException(str(error)) from error
    if speculative_config is not None:
        try:
            spec, method = started_with(spec, speculative_config)
        except SpeculativeConfigError as error:
            raise click.BadParameter(str(error), param_hint="--speculative-config") from error
    options = StandInOptions(
        model=model,
        runner=runner,
        method=method,
        hardware=hardware,
        speed=speed,
        start_up_seconds=start_up_seconds,
        acceptance=acceptance,
        output_tokens=output_tokens,
        seed=seed,
    )
    hashes = [*tokens, *(token_file.read_text(encoding="utf-8").split() if token_file is not None else ())]
    for number, one in enumerate(hashes, 1):
        if len(one) != 64 or not all(character in "0123456789abcdefABCDEF" for character in one):
            raise click.BadParameter(f"number {number} is not 64 hexadecimal digits", param_hint="--token-sha256")
    _allow_files(FILES_BESIDE_CONNECTIONS + CONNECTIONS_PER_ENGINE * engines)
    try:
        asyncio.run(_serve(spec, options, (address, engines), (port, control_port), hashes))
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error


async def _serve(
    spec: EngineFile,
    options: StandInOptions,
    where: tuple[IPv4Address, int],
    ports: tuple[int, int],
    hashes: Sequence[str],
) -> None:
    # aiohttp takes a quarter of a second to import: only who serves waits for it.
    from turbospec.standin.many import addresses_from, stand_in_engines
    from turbospec.standin.server import StandInServer

    addresses = addresses_from(*where)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with StandInServer(stand_in_engines(spec, options, addresses, hashes), *ports) as server:
        span = addresses[0] if len(addresses) == 1 else f"{addresses[0]} to {addresses[-1]}"
        click.echo(
            f"{len(addresses)} stand-in engines at {span}, port {server.port}, control port {server.control_port}"
        )
        await stopped.wait()


def _allow_files(wanted: int) -> None:
    """Raise the soft limit of open files as far as it goes; a lower one only bounds the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


if __name__ == "__main__":  # the operator's image lacks what the other commands need, and none of what this one does
    sim()
