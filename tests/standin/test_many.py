"""Many engines behind two sockets, and the command that starts them."""

import http.client
import socket
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from tests.simulation.builders import engine_file
from tests.standin.support import HASH, stand_ins
from turbospec.cli.main import main
from turbospec.standin.many import addresses_from, stand_in_engines
from turbospec.standin.options import StandInOptions
from turbospec.standin.server import StandInServer

ENGINE = """
maxNumSeqs: 8
maxDraftTokens: 3
kvCacheTokens: 10000
stepTime: {linear: {secondsPerKvToken: 0, secondsPerBatchedToken: 2e-5, secondsPerStep: 2e-3}}
"""


async def test_shared_sockets_belong_to_the_loopback_device() -> None:
    """What is bound to all addresses must not be reachable from the network."""
    async with stand_ins(count=2) as served:
        for one in served.server._sockets:
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"


async def test_an_address_of_the_network_is_not_served() -> None:
    """Even from this machine, where such a connection comes through the loopback device."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: only the route is looked up
        except OSError:
            pytest.skip("this machine has no address but loopback")
        own = probe.getsockname()[0]
    async with stand_ins(count=2) as served:
        try:
            async with served.session.get(f"http://{own}:{served.server.port}/health") as response:
                assert response.status == 421
        except aiohttp.ClientConnectionError:
            pass  # not even heard


async def test_several_engines_must_be_on_loopback() -> None:
    """One may be anywhere."""
    engines = stand_in_engines(engine_file(), StandInOptions(), ["10.0.0.1", "10.0.0.2"], [HASH])
    with pytest.raises(ValueError, match=r"10\.0\.0\.1 is not a loopback address"):
        StandInServer(engines, 0, 0)


@pytest.mark.parametrize(
    ("addresses", "tokens", "said"),
    [
        (["127.0.0.1"] * 2, [], "different"),
        (["127.0.0.1", "127.0.0.2", "127.0.0.3"], [HASH] * 2, "2 token hashes for 3 engines"),
        ([], [], "expected 1 to 1000"),
    ],
)
async def test_engines_that_cannot_be_told_apart_are_refused(
    addresses: list[str], tokens: list[str], said: str
) -> None:
    """Before anything listens."""
    with pytest.raises(ValueError, match=said):
        stand_in_engines(engine_file(), StandInOptions(), addresses, tokens)


def test_addresses_go_on_over_the_end_of_an_octet() -> None:
    """A thousand follow each other."""
    assert addresses_from(IPv4Address("127.1.0.254"), 3) == ["127.1.0.254", "127.1.0.255", "127.1.1.0"]


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """It says where, answers there, and ends with status 0."""
    file = tmp_path / "engine.yaml"
    file.write_text(ENGINE)
    command = [sys.executable, "-m", "turbospec.cli.main", "sim", "serve", str(file), "--engines", "2"]
    command += ["--address", "127.88.0.1", "--port", "0", "--control-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("2 stand-in engines at 127.88.0.1 to 127.88.0.2, port ")
        port = int(line.split("port ")[1].split(",")[0])
        connection = http.client.HTTPConnection("127.88.0.2", port, timeout=30)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        connection.close()
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--address", "localhost"], "not an IPv4 address"),
        (["--acceptance", "0.5,2"], "between 0 and 1"),
        (["--token-sha256", "abc"], "64 hexadecimal digits"),
        (["--engines", "2", "--address", "10.0.0.1"], "not a loopback address"),
        (["--engines", "1001"], "1001"),
    ],
)
def test_a_command_that_cannot_be_carried_out_says_why(tmp_path: Path, arguments: list[str], said: str) -> None:
    """And serves nothing."""
    file = tmp_path / "engine.yaml"
    file.write_text(ENGINE)
    result = CliRunner().invoke(main, ["sim", "serve", str(file), *arguments])
    assert result.exit_code != 0
    assert said in result.output
