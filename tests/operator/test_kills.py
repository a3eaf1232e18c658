"""An operator that is killed at any moment, or fights another one for the Lease: no Job and no pod is made twice."""

import asyncio
import json
import math
import os
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.operator import shop
from tests.operator.api_proxy import Proxy, Write
from tests.operator.engine_stand_in import EngineStandIn
from tests.operator.forked_operator import ForkedOperator
from tests.operator.samples import IDENTITY, policy, profile_result
from tests.support.apiserver import ApiServer
from turbospec.profiling.codec import encode
from turbospec.wire.identity import ProfileIdentity
from turbospec_operator import names
from turbospec_operator.cluster import JOBS, LEASES, PODS, POLICIES, ApiError, Cluster

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(1200)]

RANDOM_KILLS = int(os.environ.get("TURBOSPEC_TEST_KILLS", "20"))
"""100 take some minutes: ``TURBOSPEC_TEST_KILLS=100 pytest tests/operator/test_kills.py -k random``."""

KILLS_OF_A_LIFE = 10

KINDS = 2
LEASE_SECONDS = 3.0
"""Short for a fight, and long enough for a machine that is busy with other tests."""

WAIT_SECONDS = 90.0


class Shop:
    """A namespace with engines of several kinds, a policy, what plays the Job controller, and operators."""

    def __init__(self, api: ApiServer, cluster: Cluster, folder: Path) -> None:
        self.api, self.cluster = api, cluster
        self.namespace = f"kill-{secrets.token_hex(4)}"
        self.folder = folder / self.namespace
        self.writes: list[Write] = []
        self.operators: list[ForkedOperator] = []
        self.identities = [IDENTITY.model_copy(update={"hardware": f"cpu Testium {n}"}) for n in range(KINDS)]

    async def open(self, stack: AsyncExitStack) -> None:
        """Engines, their pods and a policy."""
        self.folder.mkdir()
        self.api.create_namespace(self.namespace)
        for number, identity in enumerate(self.identities):
            engine = await stack.enter_async_context(EngineStandIn(identity=identity))
            await shop.add_engine(self.cluster, self.namespace, f"chat-{number}", engine)
        await self.cluster.create(POLICIES, self.namespace, policy(self.namespace))
        controller = asyncio.create_task(self._end_jobs())
        stack.callback(controller.cancel)

    async def operator(self, stack: AsyncExitStack, name: str) -> Proxy:
        """Another operator, not started yet, behind a proxy of its own."""
        proxy = await stack.enter_async_context(Proxy(self.api, name, self.writes))
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("TURBOSPEC_", "KUBERNETES_"))},
            "KUBECONFIG": str(proxy.kubeconfig(self.folder)),
            "TURBOSPEC_NAMESPACE": self.namespace,
            "TURBOSPEC_WATCH_NAMESPACE": self.namespace,
            "TURBOSPEC_INTERVAL_SECONDS": "0.2",
            "TURBOSPEC_LEASE_SECONDS": str(LEASE_SECONDS),
            "TURBOSPEC_IDENTITY": name,
        }
        operator = ForkedOperator(environment, self.folder / f"{name}.log")
        self.operators.append(operator)
        stack.callback(operator.kill)
        return proxy

    async def _end_jobs(self) -> None:
        """The Job controller and the kubelet: one pod for each Job, which leaves its profile."""
        while True:
            for job in await self.cluster.list(JOBS, self.namespace):
                name, key = job["metadata"]["name"], job["metadata"]["labels"][names.LABEL_PROFILING_KEY]
                if not (job.get("status") or {}).get("conditions"):
                    measured = encode(profile_result(self._identity(key)))
                    await shop.finish_job(self.cluster, self.namespace, measured, name=name)
            await asyncio.sleep(0.1)

    def _identity(self, key: str) -> ProfileIdentity:
        return next(each for each in self.identities if each.key() == key)

    async def settled(self) -> bool:
        """Whether every engine is controlled with a profile of its kind."""
        status = await shop.policy_status(self.cluster, self.namespace)
        return shop.condition(status, "Ready").get("status") == "True"

    async def until_settled(self) -> None:
        """Raises AssertionError with the operators' logs where that takes too long."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not await self.settled():
            assert time.monotonic() < deadline, "\n".join([self.namespace, *(each.log() for each in self.operators)])
            self.keep_running()
            await asyncio.sleep(0.05)

    def keep_running(self) -> None:
        """The kubelet: whoever has ended is started again."""
        for operator in self.operators:
            if not operator.running:
                operator.start()

    async def check(self) -> None:
        """Each kind has one Job, one pod of it and one profile; nothing was created and created again."""
        created = Counter((each.what, each.name) for each in self.writes if each.stored)
        twice = {
            what for what, count in created.items() if count > 1 and what[0].startswith("create ") and what[1] != ""
        }
        assert twice == set()
        jobs = await self.cluster.list(JOBS, self.namespace)
        wanted = {f"turbospec-profile-{identity.key()}" for identity in self.identities}
        assert sorted(job["metadata"]["name"] for job in jobs) == sorted(wanted)
        pods = await self.cluster.list(PODS, self.namespace, names.LABEL_PROFILING_KEY)
        assert sorted(pod["metadata"]["name"] for pod in pods) == sorted(f"{name}-x1" for name in wanted)
        assert len(await shop.profiles(self.cluster, self.namespace)) == KINDS


@asynccontextmanager
async def opened(api: ApiServer, cluster: Cluster, folder: Path) -> AsyncIterator[tuple[Shop, AsyncExitStack]]:
    """A shop, closed in the end."""
    async with AsyncExitStack() as stack:
        made = Shop(api, cluster, folder)
        await made.open(stack)
        yield made, stack


def is_act(write: Write) -> bool:
    """Whether a write is one of an operator's acts: the renewals of a Lease come by the clock, without end."""
    return write.stored and write.what != "update leases"


async def test_killed_after_each_of_its_writes_it_repeats_nothing(
    api_with_crds: ApiServer, cluster: Cluster, tmp_path: Path
) -> None:
    """First counted in an undisturbed life; then one life for each, whose operator never hears of that write."""
    async with opened(api_with_crds, cluster, tmp_path) as (undisturbed, stack):
        await undisturbed.operator(stack, "operator-0")
        await undisturbed.until_settled()
        await undisturbed.check()
        acts = Counter(write.what for write in undisturbed.writes if is_act(write))
    kinds = {"create leases", "create secrets", "create configmaps", "create jobs", "create speculationprofiles"}
    assert set(acts) >= kinds | {"create events", "patch speculationpolicies/status"}
    slots = asyncio.Semaphore(3)
    done: list[str] = []

    async def life(what: str, number: int) -> None:
        async with slots, opened(api_with_crds, cluster, tmp_path) as (made, stack):
            proxy = await made.operator(stack, "operator-0")
            (operator,) = made.operators
            killed = asyncio.Event()

            def so_far() -> int:
                return sum(is_act(each) and each.what == what for each in made.writes)

            def kill(write: Write) -> None:
                if not killed.is_set() and write.what == what and so_far() == number:
                    operator.kill()
                    killed.set()
                    done.append(what)

            proxy.after = kill
            deadline = time.monotonic() + WAIT_SECONDS
            while not killed.is_set():
                # A life whose rounds fell together may have one write less than the first one.
                if await made.settled() and so_far() < number:
                    break
                assert time.monotonic() < deadline, operator.log()
                made.keep_running()
                await asyncio.sleep(0.02)
            await made.until_settled()
            await made.check()

    # Named by what it writes and not by its place among all writes: two rounds of lives need not write in one order.
    await asyncio.gather(*(life(what, number) for what, count in acts.items() for number in range(1, count + 1)))
    assert set(done) >= kinds


async def test_killed_at_random_while_two_fight_for_the_lease_nothing_is_made_twice(
    api_with_crds: ApiServer, cluster: Cluster, tmp_path: Path
) -> None:
    """Killed, told to end, or stopped for longer than the Lease and let go on: as nodes and networks do."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 shown where the test fails
    slots = asyncio.Semaphore(3)

    async def life(number: int) -> None:
        chance = random.Random(seed + number)  # noqa: S311 nothing here is secret
        async with slots, opened(api_with_crds, cluster, tmp_path) as (made, stack):
            for name in ("operator-0", "operator-1"):
                await made.operator(stack, name)
            made.keep_running()
            for _ in range(KILLS_OF_A_LIFE):
                await asyncio.sleep(chance.uniform(0.0, 1.2))
                await disturb(chance.choice(made.operators), chance)
                made.keep_running()
            await made.until_settled()
            await made.check()

    await asyncio.gather(*(life(number) for number in range(math.ceil(RANDOM_KILLS / KILLS_OF_A_LIFE))))


async def disturb(operator: ForkedOperator, chance: random.Random) -> None:
    """SIGKILL in half of the cases."""
    what = chance.choice(["kill", "kill", "end", "stop"])
    if what == "kill":
        operator.kill()
    elif what == "end":
        operator.signal(signal.SIGTERM)
        await asyncio.to_thread(operator.exit_status)
    else:
        operator.signal(signal.SIGSTOP)
        await asyncio.sleep(chance.uniform(0.5, 2.0) * LEASE_SECONDS)
        operator.signal(signal.SIGCONT)


async def test_a_leader_that_was_asleep_writes_nothing_once_another_leads(
    api_with_crds: ApiServer, cluster: Cluster, tmp_path: Path
) -> None:
    """It ends with status 1, so that the kubelet starts it as a standby; engines follow the later term."""
    async with opened(api_with_crds, cluster, tmp_path) as (made, stack):
        for name in ("operator-0", "operator-1"):
            await made.operator(stack, name)
        first = made.operators[0]
        first.start()
        await holder(made, "operator-0")
        await made.until_settled()
        with stopped(first):
            await holder(made, "operator-1")
            spec = {"spec": {"speculation": {"draftTokens": [5]}}}
            made.api.kubectl("patch", "specpol", "chat", "-n", made.namespace, "--type=merge", "-p", json.dumps(spec))
            await acted(made, "operator-1")
            mark = len(made.writes)
        assert await asyncio.to_thread(first.exit_status) == 1
        assert [each for each in made.writes[mark:] if each.operator == "operator-0" and each.stored] == []
        assert "no longer the leader" in first.log()
        lease = await cluster.get(LEASES, made.namespace, names.LEASE)
        assert lease["spec"]["leaseTransitions"] == 2


async def test_a_leader_that_is_told_to_end_hands_over_at_once(
    api_with_crds: ApiServer, cluster: Cluster, tmp_path: Path
) -> None:
    """The Lease is given back; nobody waits for it to run out."""
    async with opened(api_with_crds, cluster, tmp_path) as (made, stack):
        for name in ("operator-0", "operator-1"):
            await made.operator(stack, name)
            made.operators[-1].environment["TURBOSPEC_LEASE_SECONDS"] = "300"
        first, second = made.operators
        first.start()
        await holder(made, "operator-0")
        first.signal(signal.SIGTERM)
        assert await asyncio.to_thread(first.exit_status) == 0
        second.start()
        await holder(made, "operator-1")


@contextmanager
def stopped(operator: ForkedOperator) -> Iterator[None]:
    """Not running meanwhile, and not knowing of it."""
    operator.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        operator.signal(signal.SIGCONT)


async def holder(made: Shop, name: str) -> None:
    """Wait until this operator holds the Lease."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            lease = await made.cluster.get(LEASES, made.namespace, names.LEASE)
            if lease["spec"]["holderIdentity"] == name:
                return
        except ApiError:
            pass
        assert time.monotonic() < deadline, "\n".join(each.log() for each in made.operators)
        await asyncio.sleep(0.05)


async def acted(made: Shop, name: str) -> None:
    """Wait until this operator has written something other than the Lease."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not any(each.operator == name and is_act(each) for each in made.writes):
        assert time.monotonic() < deadline, "\n".join(each.log() for each in made.operators)
        await asyncio.sleep(0.05)
