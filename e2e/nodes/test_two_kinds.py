"""Two kinds of node are two profiles, and engines notice when they are given the wrong one. About half an hour."""

import asyncio
import json
import time
from statistics import median
from typing import Any

import aiohttp
import pytest

from e2e.cluster.paths import REPOSITORY
from e2e.demo import stack
from e2e.demo.engines import Engines, find_engines
from e2e.demo.kube import PROFILES, Kube, Manifest, condition, wait_for
from e2e.load.driver import LoadDriver
from e2e.manifests.serving import NAMESPACE, POLICY
from e2e.nodes.conftest import TwoKinds
from turbospec.fleet.drift import ALONE_STEPS
from turbospec.wire.engine_state import EngineState

pytestmark = pytest.mark.timeout(3600)

REPORT = REPOSITORY / "build" / "two-kinds.json"
PROFILING_SECONDS = 1200
DRIFT_SECONDS = 1200
"""One engine of a kind must differ for 600 s before its profile is called wrong; a slow one takes its time besides."""
FLAGGED_STEPS = 200
LEAST_SHARED_CELLS = 8
POLL_SECONDS = 0.05
ACCEPTANCE, CLIENTS = 0.6, 1


def profiles(kube: Kube) -> dict[str, Manifest]:
    """The profiles, by the node that they were measured on."""
    return {each["spec"]["provenance"]["node"]: each for each in kube.objects(PROFILES, NAMESPACE)}


def step_ratio(kube: Kube, kinds: TwoKinds) -> float:
    """Median step time of the slow node's profile over the fast one's, over the cells that both have."""
    found = profiles(kube)
    half, full = (found[kinds.nodes[kind]]["spec"]["cells"] for kind in ("half", "full"))
    ratios: list[float] = [
        slow["microseconds"] / fast["microseconds"] for slow in half for fast in full if _alike(slow, fast)
    ]
    assert len(ratios) >= LEAST_SHARED_CELLS
    return median(ratios)


def _alike(cell: Manifest, other: Manifest) -> bool:
    """Of one batch and K, at contexts whose mean differs only by where the requests stood when they were measured."""
    same = all(cell.get(name, 0) == other.get(name, 0) for name in ("batch", "draftTokens", "prefillTokens"))
    return same and abs(cell["contextTokens"] - other["contextTokens"]) <= 0.1 * cell["contextTokens"]


def accurate(kube: Kube) -> tuple[str, str]:
    """Status and reason of the condition ProfileAccurate."""
    found = condition(kube.policy(NAMESPACE, POLICY), "ProfileAccurate") or {}
    return found.get("status", ""), found.get("reason", "")


def note(**figures: Any) -> None:
    """Keep figures for the report."""
    known = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(known | figures, indent=1) + "\n")


async def test_two_kinds_have_two_keys_and_step_times_twice_as_long(kinds: TwoKinds) -> None:
    """One Job on each node, nothing done by hand; a profile of each, which its own engine runs with."""
    REPORT.unlink(missing_ok=True)
    kube = kinds.kube
    wait_for("both profiles", lambda: profiles(kube).keys() == set(kinds.nodes.values()), PROFILING_SECONDS, every=2)
    stack.await_controlled(kube, print)
    keys = {node: profile["spec"]["key"] for node, profile in profiles(kube).items()}
    assert len(set(keys.values())) == len(kinds.nodes)
    assert len(kube.profiling_jobs(NAMESPACE)) == len(kinds.nodes)
    running = {pod.spec.node_name: pod.metadata.name for pod in kube.pods(NAMESPACE, stack.LABELS)}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15), trust_env=False) as session:
        engines = Engines(find_engines(kube, NAMESPACE, stack.LABELS, kinds.place.address), session)
        reported = dict(zip(engines.targets, [state.profile_key for state in await engines.states()], strict=True))
    assert {node: reported[pod] for node, pod in running.items()} == keys
    ratio = step_ratio(kube, kinds)
    note(step_ratio=round(ratio, 2), keys=keys)
    assert 1.6 <= ratio <= 2.5


async def test_swapped_profiles_are_flagged_within_200_steps_and_mended(kinds: TwoKinds) -> None:
    """Engines say which way their step times are off; the operator names it, and measures again once it may."""
    kube = kinds.kube
    full, half = (profiles(kube)[kinds.nodes[kind]] for kind in ("full", "half"))
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15), trust_env=False) as session,
        LoadDriver() as load,
    ):
        engines = Engines(find_engines(kube, NAMESPACE, stack.LABELS, kinds.place.address), session)
        await load.start(engines.targets, f"dial:{ACCEPTANCE}", CLIENTS, "swap")
        await _until(lambda: _agreeing(engines), 120, "engines that agree with their own profiles")
        before = [state.applied.id for state in await engines.states() if state.applied]
        kube.apply(_with_measurements_of(full, half), _with_measurements_of(half, full))
        steps = await _steps_until_flagged(engines, before)
        note(steps_until_flagged=dict(zip(engines.targets, steps, strict=True)))
        assert max(steps) <= FLAGGED_STEPS
        began = time.monotonic()
        await _until(lambda: _compared(engines), 300, f"{ALONE_STEPS} compared steps")
        # What was compared stays compared, and the Jobs will have their nodes to themselves.
        await load.start(engines.targets, f"dial:{ACCEPTANCE}", 0, "silence")
        await _until(lambda: _is(kube, ("False", "ProfileDrifted")), DRIFT_SECONDS, "the condition ProfileDrifted")
        note(seconds_until_drifted=round(time.monotonic() - began))
        # As the condition's message says: ended Jobs bear the names of the new ones.
        kube.kubectl("delete", "jobs", "-n", NAMESPACE, "-l", "turbospec.io/profiling-key")
        swapped = {name: profile["spec"]["cells"] for name, profile in profiles(kube).items()}

        async def measured_anew() -> bool:
            found = profiles(kube)
            return all(profile["spec"]["cells"] != swapped[node] for node, profile in found.items())

        await _until(measured_anew, PROFILING_SECONDS, "both profiles to be measured again")
        ratio = step_ratio(kube, kinds)
        note(step_ratio_after_mending=round(ratio, 2))
        assert 1.6 <= ratio <= 2.5
        await load.start(engines.targets, f"dial:{ACCEPTANCE}", CLIENTS, "after")
        await _until(lambda: _is(kube, ("True", "StepTimesAgree")), 300, "step times to agree with the new profiles")
        assert load.last.failed == 0, load.last.error


def _with_measurements_of(profile: Manifest, other: Manifest) -> Manifest:
    """This profile, with what another kind has measured."""
    spec = profile["spec"] | {name: other["spec"][name] for name in ("cells", "fit")}
    metadata = {name: profile["metadata"][name] for name in ("name", "namespace")}
    return {"apiVersion": profile["apiVersion"], "kind": profile["kind"], "metadata": metadata, "spec": spec}


async def _steps_until_flagged(engines: Engines, before: list[str]) -> list[int]:
    """Steps of each engine from the swapped profile's coming into force until it says that a region is off."""
    began: dict[int, int] = {}
    found: dict[int, int] = {}
    deadline = time.monotonic() + 300
    while len(found) < len(engines.all):
        assert time.monotonic() < deadline, f"{found}: {await engines.states()}"
        for index, state in enumerate(await engines.states()):
            if state.applied is None or state.applied.id == before[index]:
                continue
            # Later documents with a newer prior do not begin anew.
            began.setdefault(index, state.applied.step)
            if _off(state):
                found.setdefault(index, state.counters.steps - began[index])
        await asyncio.sleep(POLL_SECONDS)
    return [found[index] for index in range(len(engines.all))]


def _off(state: EngineState) -> bool:
    return any(region.off for region in state.step_time_regions)


async def _compared(engines: Engines) -> bool:
    """Whether every engine has compared enough steps for the operator to believe one that stands alone."""
    states = await engines.states()
    return all(
        any(region.off and region.steps >= ALONE_STEPS for region in state.step_time_regions) for state in states
    )


async def _agreeing(engines: Engines) -> bool:
    states = await engines.states()
    return all(state.step_time_regions and not _off(state) for state in states)


async def _is(kube: Kube, wanted: tuple[str, str]) -> bool:
    return accurate(kube) == wanted


async def _until(check: Any, seconds: float, what: str) -> None:
    """Poll without holding up the load generator's reader."""
    deadline = time.monotonic() + seconds
    while not await check():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        await asyncio.sleep(1)
