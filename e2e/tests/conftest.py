"""One local cluster with TurboSpec and two real vLLM servers of the dial model, for all tests that ask for them."""

from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from e2e.cluster.progress import Progress
from e2e.demo import stack
from e2e.demo.engines import Engines, find_engines
from e2e.demo.kube import SYSTEM_NAMESPACE, Kube
from e2e.demo.place import Place, local_place
from e2e.load.driver import LoadDriver
from e2e.manifests.serving import NAMESPACE, Serving, policy
from e2e.models.store import ensure_model
from e2e.tests.watching import Fleet, Watch, timed, took_seconds
from e2e.vllm.install import VllmInstallation, install

PROFILE_SECONDS = 100
EVENTS = 15
"""Latest events that a failure shows."""
DRAFT_TOKENS = [0, 1, 3, 5]


@dataclass(frozen=True)
class Installed:
    """A cluster with TurboSpec in it, and our image."""

    place: Place
    kube: Kube
    image: str


@pytest.fixture(scope="session")
def installed() -> Iterator[Installed]:
    """Nothing serves yet. Taken down at the end, whatever happened."""
    say = Progress()
    place = local_place(say)
    place.provider.prepare()
    with timed("cluster up"):
        place.up()
    try:
        with timed("our image in it"):
            image = place.provider.operator_image()
        inside = place.enter()
        with timed("TurboSpec installed"):
            stack.install_turbospec(inside, say, image, prometheus_url=None)
        yield Installed(place, inside, image)
    finally:
        place.down()


@pytest.fixture(scope="session")
def vllm_and_model() -> tuple[VllmInstallation, Path]:
    """Comes before the cluster: nothing can be downloaded from its network."""
    say = Progress()
    vllm = install(say)
    return vllm, ensure_model("dial", say, vllm)


@pytest.fixture(scope="session")
def place_and_kube(vllm_and_model: tuple[VllmInstallation, Path], installed: Installed) -> tuple[Place, Kube]:
    """The cluster, once every vLLM server is profiled and controlled."""
    say, place, kube = Progress(), installed.place, installed.kube
    vllm, model = vllm_and_model
    with timed("base image in it"), place.outside():
        base = place.provider.serving_image(model)
    with timed("vLLM servers Ready"):
        serving = Serving(vllm, model, base, profile_seconds=PROFILE_SECONDS)
        stack.serve(kube, say, serving, policy(DRAFT_TOKENS, prompt_lookup_min=1))
    with timed("profile measured"):
        stack.await_profile(kube, say)
    with timed("engines controlled"):
        stack.await_controlled(kube, say)
    return place, kube


@pytest.fixture(scope="session")
def kube(place_and_kube: tuple[Place, Kube]) -> Kube:
    """The cluster's API."""
    return place_and_kube[1]


@pytest_asyncio.fixture
async def engines(place_and_kube: tuple[Place, Kube]) -> AsyncIterator[Engines]:
    """The serving engines."""
    place, kube = place_and_kube
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15), trust_env=False) as session:
        yield Engines(find_engines(kube, NAMESPACE, stack.LABELS, place.address), session)


@pytest_asyncio.fixture
async def fleet(engines: Engines) -> AsyncIterator[Fleet]:
    """Engines under watch and a load generator; at the end nothing may have failed."""
    async with LoadDriver() as load:
        fleet = Fleet(Watch(engines), load)
        await fleet.watch.look()
        yield fleet
        await fleet.send(0.5, 0)
    assert load.last.failed == 0, load.last.error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failure how the cluster stood at that moment: afterwards it is gone."""
    report = yield
    installed = getattr(item, "funcargs", {}).get("installed")
    if report.failed and report.when == "call" and installed:
        report.sections.append(("cluster", _how_it_stands(installed.kube)))
    return report


def _how_it_stands(kube: Kube) -> str:
    try:
        pods = kube.kubectl("get", "pods", "-A", "-o", "wide")
        policies = kube.kubectl("get", "specpol,specprof,jobs", "-A")
        logs = [kube.log(SYSTEM_NAMESPACE, pod.metadata.name) for pod in kube.pods(SYSTEM_NAMESPACE, "")]
        events = kube.kubectl("get", "events", "-A", "--sort-by=.lastTimestamp").splitlines()[-EVENTS:]
    except Exception as error:  # noqa: BLE001 (a report about a failure must not hide it)
        return f"could not be read: {error}"
    return "\n".join([pods, policies, *logs, *events])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long the preparation took, part by part, and K to follow, change by change."""
    for what, seconds in took_seconds:
        terminalreporter.write_line(f"{what}: {seconds:.1f} s")
