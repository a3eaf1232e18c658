"""One local cluster with TurboSpec and two real vLLM servers of the dial model, for all tests here."""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
import pytest_asyncio

from e2e.cluster.progress import Progress
from e2e.demo import stack
from e2e.demo.engines import Engines, find_engines
from e2e.demo.kube import Kube
from e2e.demo.place import Place, local_place
from e2e.load.driver import LoadDriver
from e2e.manifests.serving import NAMESPACE, Serving, policy
from e2e.models.store import ensure_model
from e2e.tests.watching import Fleet, Watch
from e2e.vllm.install import install

PROFILE_SECONDS = 100
DRAFT_TOKENS = [0, 1, 3, 5]


@pytest.fixture(scope="session")
def place_and_kube() -> Iterator[tuple[Place, Kube]]:
    """A cluster in which every engine is profiled and controlled. Taken down at the end, whatever happened."""
    say = Progress()
    vllm = install(say)
    model = ensure_model("dial", say, vllm)
    place = local_place(say)
    place.provider.prepare()
    place.up()
    try:
        image, base = place.provider.operator_image(), place.provider.serving_image(model)
        inside = place.enter()
        stack.install_turbospec(inside, say, image, prometheus_url=None)
        serving = Serving(vllm, model, base, profile_seconds=PROFILE_SECONDS)
        stack.serve(inside, say, serving, policy(DRAFT_TOKENS, prompt_lookup_min=1))
        stack.await_profile(inside, say)
        stack.await_controlled(inside, say)
        yield place, inside
    finally:
        place.down()


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
