"""The main job on real parts: a real cluster, real vLLM, our chart. Judged by the engines' own step records.

The dial model's text is known in advance and its acceptance is set by the prompt, so K has a right answer.
"""

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest
import requests
import yaml

from e2e import audit
from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import Progress
from e2e.demo import stack
from e2e.demo.engines import Engines
from e2e.demo.kube import POLICIES, PROFILES, SYSTEM_NAMESPACE, Kube, condition, is_ready, wait_for
from e2e.demo.page import WebPage
from e2e.demo.phases import FIXED, OFF
from e2e.demo.place import Place
from e2e.load.requests import SERVED_MODEL
from e2e.manifests.serving import NAMESPACE, POLICY, policy
from e2e.models.prompts import dial_continuation, dial_prompt
from e2e.tests.conftest import DRAFT_TOKENS
from e2e.tests.watching import Fleet, is_high, is_low, timed

# the first test also waits for the cluster and the profile
pytestmark = [pytest.mark.timeout(1500)]

FOLLOW_SECONDS = 10.0
TABLE_FOLLOW_SECONDS = 30.0
PREDICTABLE, MIXED, UNPREDICTABLE = 0.9, 0.4, 0.1
FEW, SEVERAL, MANY = 1, 8, 12
ANSWER_TOKENS = 120


def jobs(kube: Kube) -> list[Any]:
    return kube.profiling_jobs(NAMESPACE)


def operator_pods(kube: Kube) -> list[Any]:
    pods = kube.pods(SYSTEM_NAMESPACE, "")
    return [pod for pod in pods if pod.metadata.name.startswith("turbospec-operator-")]


async def answers(engines: Engines, prompts: list[list[int]]) -> list[list[int]]:
    """Greedy answers of the engines in turn, as token ids."""
    body = {"model": SERVED_MODEL, "temperature": 0, "max_tokens": ANSWER_TOKENS, "ignore_eos": True}
    urls = list(engines.targets.values())
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120), trust_env=False) as session:

        async def ask(number: int) -> list[int]:
            url = urls[number % len(urls)] + "/v1/completions"
            asked = {**body, "prompt": prompts[number], "return_token_ids": True}
            async with session.post(url, json=asked) as response:
                response.raise_for_status()
                tokens: list[int] = (await response.json())["choices"][0]["token_ids"]
                return tokens

        return await asyncio.gather(*(ask(number) for number in range(len(prompts))))


async def test_exactly_one_profiling_job_measured_for_both_engines(kube: Kube, engines: Engines) -> None:
    """Two pods of one kind on one kind of hardware need one profile, and both run with it."""
    [job] = jobs(kube)
    assert job.status.succeeded == 1
    [profile] = kube.objects(PROFILES, NAMESPACE)
    states = await engines.states()
    assert {state.profile_key for state in states} == {profile["spec"]["key"]}
    assert all(state.applied and state.applied.mode == "local" for state in states)
    assert len(states) == 2


async def test_k_follows_predictability_and_load_within_ten_seconds(fleet: Fleet) -> None:
    """High for predictable text at low load; falls with acceptance; falls past the crossover; comes back each time.

    The ten seconds count from the moment at which the clients change, prefill of their prompts included.
    """
    for acceptance, clients, holds, what in (
        (PREDICTABLE, FEW, is_high, "K high for predictable text at low load"),
        (UNPREDICTABLE, SEVERAL, is_low, "K falls when acceptance falls"),
        (PREDICTABLE, FEW, is_high, "K comes back"),
        (MIXED, FEW, is_high, "K high for mixed text at low load"),
        (MIXED, MANY, is_low, "K falls when load passes the crossover"),
        (PREDICTABLE, FEW, is_high, "K comes back after the load"),
    ):
        await fleet.follows(acceptance, clients, holds, FOLLOW_SECONDS, what)


async def test_greedy_answers_are_those_of_an_engine_without_speculation(kube: Kube, engines: Engines) -> None:
    """At every K: the dial model's only right answer, token by token, under concurrent requests."""
    prompts = [dial_prompt(acceptance, seed) for seed in range(4) for acceptance in (0.1, 0.5, 0.9)]
    right = [dial_continuation(prompt, ANSWER_TOKENS) for prompt in prompts]
    try:
        for draft_tokens in (list(OFF.draft_tokens), list(FIXED.draft_tokens)):
            generation = kube.patch_policy(NAMESPACE, POLICY, {"speculation": {"draftTokens": draft_tokens}})
            assert await engines.wait_for_generation(generation, 60)
            assert await answers(engines, prompts) == right, f"draftTokens {draft_tokens}"
    finally:
        generation = kube.patch_policy(NAMESPACE, POLICY, {"speculation": {"draftTokens": DRAFT_TOKENS}})
    assert await engines.wait_for_generation(generation, 60)
    assert await answers(engines, prompts) == right, f"draftTokens {DRAFT_TOKENS}"


async def test_a_killed_operator_changes_nothing_for_serving_and_takes_up_again(kube: Kube, fleet: Fleet) -> None:
    """Engines go on deciding; the next operator takes a higher epoch, pushes again and measures nothing again."""
    await fleet.follows(PREDICTABLE, SEVERAL, is_high, FOLLOW_SECONDS, "K high before the operator is killed")
    before = await fleet.watch.engines.states()
    for pod in operator_pods(kube):
        kube.core.delete_namespaced_pod(pod.metadata.name, SYSTEM_NAMESPACE, grace_period_seconds=0)
    running = await fleet.watch.for_seconds(3)
    assert all(each.generated_tokens > 0 for each in running.values())

    async def taken_up() -> bool:
        states = await fleet.watch.engines.states()
        return all(
            now.applied and then.applied and now.applied.epoch > then.applied.epoch
            for now, then in zip(states, before, strict=True)
        )

    deadline = time.monotonic() + 90
    while not await taken_up():
        assert time.monotonic() < deadline, "no document of the new operator"
        await asyncio.sleep(0.25)
    assert [state.engine.id for state in await fleet.watch.engines.states()] == [state.engine.id for state in before]
    assert len(jobs(kube)) == 1
    assert fleet.load.last.failed == 0


async def test_with_the_operator_gone_the_engines_still_follow(kube: Kube, fleet: Fleet) -> None:
    """The engine loop needs nobody."""
    kube.kubectl("scale", "deployment/turbospec-operator", "-n", SYSTEM_NAMESPACE, "--replicas=0")
    try:
        wait_for("the operator to be gone", lambda: not operator_pods(kube), 60)
        await fleet.follows(PREDICTABLE, FEW, is_high, FOLLOW_SECONDS, "K high without an operator")
        await fleet.follows(UNPREDICTABLE, SEVERAL, is_low, FOLLOW_SECONDS, "K falls without an operator")
    finally:
        kube.kubectl("scale", "deployment/turbospec-operator", "-n", SYSTEM_NAMESPACE, "--replicas=1")
        wait_for("the operator to be back", lambda: any(map(is_ready, operator_pods(kube))), 90)


async def test_with_the_engine_loop_off_the_operators_pushes_alone_follow(kube: Kube, fleet: Fleet) -> None:
    """Table mode: engines run exactly what they are told, and are told within 30 seconds."""
    generation = kube.patch_policy(NAMESPACE, POLICY, {"engine": {"loop": "Table"}})
    assert await fleet.watch.engines.wait_for_generation(generation, 60), await fleet.watch.describe()
    try:
        assert {state.applied.mode for state in await fleet.watch.engines.states() if state.applied} == {"table"}
        for acceptance, holds, what in (
            (PREDICTABLE, is_high, "table K rises with acceptance"),
            (UNPREDICTABLE, is_low, "table K falls with acceptance"),
            (PREDICTABLE, is_high, "table K comes back with acceptance"),
        ):
            await fleet.follows(acceptance, SEVERAL, holds, TABLE_FOLLOW_SECONDS, what)
    finally:
        generation = kube.patch_policy(NAMESPACE, POLICY, {"engine": {"loop": "Local"}})
        assert await fleet.watch.engines.wait_for_generation(generation, 60)


@pytest.mark.parametrize(
    ("speculation", "words"),
    [
        ({"draftTokens": [3, 1]}, "draftTokens"),
        ({"draftTokens": []}, "draftTokens"),
        ({"draftTokens": [0, 99]}, "draftTokens"),
    ],
)
def test_an_invalid_policy_is_refused_by_field_name(kube: Kube, speculation: dict[str, Any], words: str) -> None:
    """The API server itself says which field is wrong; nothing is stored."""
    broken = policy(DRAFT_TOKENS, prompt_lookup_min=1, name="broken")
    broken["spec"]["speculation"] |= speculation
    with pytest.raises(ClusterError, match=words):
        kube.apply(broken)
    assert "broken" not in json.dumps([each["metadata"]["name"] for each in kube.objects(POLICIES, NAMESPACE)])


def test_a_policy_that_selects_nothing_says_so(kube: Kube) -> None:
    """With the labels it looked for and what to do, and without disturbing the policy that governs."""
    lost = policy(DRAFT_TOKENS, prompt_lookup_min=1, name="lost")
    lost["spec"]["selector"] = {"matchLabels": {"app": "nowhere"}}
    kube.apply(lost)
    try:

        def says_so() -> bool:
            controlled = condition(kube.policy(NAMESPACE, "lost"), "Controlled")
            return bool(
                controlled and controlled["reason"] == "NoPodsMatched" and "app=nowhere" in controlled["message"]
            )

        wait_for("the condition NoPodsMatched", says_so, 30)
        ready = condition(kube.policy(NAMESPACE, POLICY), "Ready")
        assert ready
        assert ready["status"] == "True"
    finally:
        kube.kubectl("delete", "specpol", "lost", "-n", NAMESPACE)


def test_the_web_page_shows_the_engines_that_there_are(place_and_kube: tuple[Place, Kube]) -> None:
    """As ``turbospec dashboard`` serves it to a browser of this machine."""
    place, kube = place_and_kube
    with WebPage(place, NAMESPACE, Progress()) as page:
        assert page.url
        with place.outside():
            seen = requests.get(f"{page.url}api/snapshot", timeout=30).json()
    pods = {pod.metadata.name for pod in kube.pods(NAMESPACE, stack.LABELS)}
    assert {each["pod"] for each in seen["engines"]} == pods
    assert all(each["draftTokens"] is not None for each in seen["engines"])
    assert [each["fault"] for each in seen["profiles"]] == [None]


def test_every_permission_is_used_and_none_is_missing(place_and_kube: tuple[Place, Kube]) -> None:
    """By the API server's audit log of all that went before; uninstalling forbids things to what still ends."""
    place, kube = place_and_kube
    manifest = kube.helm("get", "manifest", stack.RELEASE, "--namespace", SYSTEM_NAMESPACE)
    with place.audit_log.open() as log:
        asked = set(audit.requests(log))
    assert audit.refused(asked) == []
    unused = audit.unused(audit.granted(yaml.safe_load_all(manifest)), asked)
    assert sorted(map(str, unused - set(audit.UNUSED_IN_E2E))) == []


async def test_uninstalling_leaves_the_engines_serving(kube: Kube, fleet: Fleet) -> None:
    """TurboSpec goes, requests are answered, and the engines go on deciding by themselves."""
    await fleet.follows(PREDICTABLE, FEW, is_high, FOLLOW_SECONDS, "K high before the uninstallation")
    before = await fleet.watch.engines.states()
    kube.helm("uninstall", stack.RELEASE, "--namespace", SYSTEM_NAMESPACE, "--wait", "--timeout", "90s")
    wait_for("the operator to be gone", lambda: not kube.pods(SYSTEM_NAMESPACE, ""), 60)
    await fleet.settles(is_high, FOLLOW_SECONDS, "K high after the uninstallation")
    await fleet.follows(UNPREDICTABLE, SEVERAL, is_low, FOLLOW_SECONDS, "K falls after the uninstallation")
    after = await fleet.watch.engines.states()
    assert [state.engine.id for state in after] == [state.engine.id for state in before]
    assert all(is_ready(pod) for pod in kube.pods(NAMESPACE, stack.LABELS))
    prompt = dial_prompt(PREDICTABLE, 7)
    assert await answers(fleet.watch.engines, [prompt]) == [dial_continuation(prompt, ANSWER_TOKENS)]


def test_what_remains_is_deleted_without_an_operator(kube: Kube) -> None:
    """The last test here: nothing has a finalizer of ours, neither policies and profiles nor pods that serve."""
    with timed("policies and profiles deleted without an operator"):
        kube.kubectl("delete", "specpol,specprof", "--all", "-n", NAMESPACE, "--timeout=60s")
    with timed("namespace with serving pods deleted"):
        kube.kubectl("delete", "namespace", NAMESPACE, "--timeout=180s")
    assert "turbospec.io" in kube.kubectl("get", "crds", "-o", "name")
