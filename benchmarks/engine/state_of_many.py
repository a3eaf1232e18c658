"""What `GET /v1/state` of 1,000 stand-in engines costs the one process that they live in, asked once a second each.

    python -m benchmarks.engine.state_of_many [--engines 1000] [--seconds 20] [--result FILE.json]

Everything stays on loopback. The server is a process of its own (`turbospec sim serve`), so its processor time is its
own too; the asking happens here. The target: under one core, with connections kept open and with a new connection for
every request (an operator's pool is far smaller than its fleet), idle and while some engines serve.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from statistics import quantiles
from typing import Any

import aiohttp

ENGINE = """
maxNumSeqs: 256
maxDraftTokens: 7
allowedDraftTokens: [0, 1, 3, 7]
kvCacheTokens: 450000
stepTime:
  linear: {secondsPerKvToken: 3.9e-8, secondsPerBatchedToken: 2.1e-5, secondsPerStep: 5.9e-3, overheadSeconds: 1.2e-3,
           draftSecondsPerKvToken: 2.4e-9, draftSecondsPerToken: 8.4e-7, draftSecondsPerPass: 2.1e-3}
"""
"""An 8B model on one H100, roughly (docs/simulator.md)."""

FIRST = IPv4Address("127.42.0.1")
START_SECONDS = 120.0
SETTLE_SECONDS = 3.0
MOST_SECONDS = 300.0
BUSY_ENGINES = 20
CLIENTS = 4


@dataclass
class Measured:
    """One situation. ``cores``: processor time of the server by wall time; ``other_cores``: that of everything but the
    server and this process, which tells how far latencies can be believed. Latencies in milliseconds."""

    situation: str
    engines: int
    seconds: float
    answers: int
    failed: int
    cores: float
    other_cores: float
    p50: float
    p99: float
    resident_mib: float


@dataclass
class Asking:
    """What came of the requests."""

    latencies: list[float] = field(default_factory=list)
    failed: int = 0


def main(arguments: Sequence[str] = ()) -> int:
    """0 where every situation stays under one core, and every request was answered and at the rate asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks.engine.state_of_many", description=__doc__)
    parser.add_argument("--engines", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of four situations")
    parser.add_argument("--result", type=Path, help="where to put the rows as JSON")
    options = parser.parse_args(arguments)
    if not 1 <= options.engines <= 1000 or not 1 <= options.seconds <= MOST_SECONDS:
        parser.error(f"1 to 1000 engines, 1 to {MOST_SECONDS:.0f} seconds")
    rows = asyncio.run(measure(options.engines, options.seconds))
    print(f"{'situation':40} answers/s failed cores others  p50 ms  p99 ms RSS MiB")
    for row in rows:
        rate = f"{row.answers / row.seconds:9.0f} {row.failed:6} {row.cores:5.2f} {row.other_cores:6.2f}"
        print(f"{row.situation:40} {rate} {row.p50:7.1f} {row.p99:7.1f} {row.resident_mib:7.0f}")
    met = all(row.cores < 1.0 and not row.failed and row.answers > 0.9 * row.engines * row.seconds for row in rows)
    print(f"target {'met' if met else 'missed'}: state of {options.engines} engines once a second, under one core")
    if options.result is not None:
        options.result.parent.mkdir(parents=True, exist_ok=True)
        options.result.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0 if met else 1


async def measure(engines: int, seconds: float) -> list[Measured]:
    """All situations, one after the other, on one server."""
    token = secrets.token_hex(16)
    rows = []
    with serving(engines, token) as (process, port, control_port):
        addresses = [str(FIRST + index) for index in range(engines)]
        await answering(f"http://{addresses[0]}:{port}/health", process)
        for busy in (False, True):
            async with load(addresses[:BUSY_ENGINES] if busy else (), port):
                for keep in (True, False):
                    name = f"{'20 engines x 4 clients' if busy else 'idle'}, {'kept' if keep else 'new'} connections"
                    await asyncio.sleep(SETTLE_SECONDS)
                    urls = [f"http://{address}:{control_port}/v1/state" for address in addresses]
                    rows.append(await situation(name, process.pid, urls, token, seconds, keep=keep))
    return rows


async def situation(name: str, pid: int, urls: list[str], token: str, seconds: float, *, keep: bool) -> Measured:
    """Ask every address once a second, evenly spread, for so many seconds."""
    asking = Asking()
    # One client session keeps at most so many connections as there are engines; nothing is retried.
    connector = aiohttp.TCPConnector(limit=0, force_close=not keep)
    headers = {"Authorization": f"Bearer {token}"}
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout, trust_env=False) as session:
        await ask_for(session, urls, 2.0, Asking())  # connections are made, code is warm
        machine, own = machine_seconds(), time.process_time()
        before, begin = processor_seconds(pid), time.monotonic()
        await ask_for(session, urls, seconds, asking)
        took, spent = time.monotonic() - begin, processor_seconds(pid) - before
        others = machine_seconds() - machine - spent - (time.process_time() - own)
    cuts = quantiles(asking.latencies, n=100) if len(asking.latencies) > 1 else [float("nan")] * 99
    return Measured(
        situation=name,
        engines=len(urls),
        seconds=took,
        answers=len(asking.latencies),
        failed=asking.failed,
        cores=spent / took,
        other_cores=max(0.0, others) / took,
        p50=cuts[49] * 1e3,
        p99=cuts[98] * 1e3,
        resident_mib=resident_mib(pid),
    )


async def ask_for(session: aiohttp.ClientSession, urls: list[str], seconds: float, asking: Asking) -> None:
    """One request a second to each, each at its own time within the second; late ones are sent at once."""
    begin = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds) * len(urls)):
            wait = begin + number / len(urls) - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            group.create_task(ask(session, urls[number % len(urls)], asking))


async def ask(session: aiohttp.ClientSession, url: str, asking: Asking) -> None:
    """One state; anything but a whole one is a failure."""
    begin = time.monotonic()
    try:
        async with session.get(url) as response:
            body = await response.read()
            whole = response.status == 200 and body.endswith(b"}")
    except (aiohttp.ClientError, TimeoutError, OSError):
        whole = False
    if whole:
        asking.latencies.append(time.monotonic() - begin)
    else:
        asking.failed += 1


@contextlib.asynccontextmanager
async def load(addresses: Sequence[str], port: int) -> Any:
    """Clients at these engines, each sending its next request when the last one is answered."""
    timeout = aiohttp.ClientTimeout(total=120)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        tasks = [asyncio.create_task(client(session, address, port)) for address in addresses for _ in range(CLIENTS)]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def client(session: aiohttp.ClientSession, address: str, port: int) -> None:
    """Until cancelled."""
    body = {"prompt": [1] * 200, "max_tokens": 200}
    while True:
        async with session.post(f"http://{address}:{port}/v1/completions", json=body) as response:
            response.raise_for_status()
            await response.read()


@contextlib.contextmanager
def serving(engines: int, token: str) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """The server process and its two ports; ended, by force if need be, whatever happens."""
    port, control_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "engine.yaml"
        file.write_text(ENGINE, encoding="utf-8")
        command = [sys.executable, "-m", "turbospec.cli.main", "sim", "serve", str(file)]
        command += ["--engines", str(engines), "--address", str(FIRST)]
        command += ["--port", str(port), "--control-port", str(control_port)]
        environment = {**os.environ, "TURBOSPEC_TOKEN_SHA256": hashlib.sha256(token.encode()).hexdigest()}
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        try:
            yield process, port, control_port
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def answering(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until it is served. RuntimeError where the server ends or is not there in time."""
    deadline = time.monotonic() + START_SECONDS
    async with aiohttp.ClientSession(trust_env=False) as session:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.2)
    raise RuntimeError(f"the server does not answer at {url} (exit status {process.poll()})")


def free_port() -> int:
    """A port that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_seconds() -> float:
    """Time that all processors of this machine have worked so far."""
    user, nice, system, _idle, _iowait, *interrupts = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + sum(interrupts[:2])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
