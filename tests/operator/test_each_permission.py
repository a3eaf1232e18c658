"""Each permission of the chart is needed: without it the code that it is for says so, by name, on a real API server.

Every case runs the product's own calls as a user who has all that the chart grants to an account (a test of the chart
holds that against this table) but for one verb on one resource.
"""

import asyncio
import datetime as dt
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from e2e.audit import Permission
from tests.operator.foreign_kinds import served
from tests.operator.operator_process import OperatorProcess
from tests.operator.samples import KEY, engine_pod, engine_state, policy, profile_result
from tests.operator.test_autoscalers import deployment, hpa
from tests.support.apiserver import ApiServer
from turbospec.control.latency import MeasuredCell, build_latency_model
from turbospec.fleet.effects import (
    ConditionValue,
    CreateProfilingJob,
    Effect,
    EmitEvent,
    EnsureRuntime,
    HarvestProfile,
    SetPolicyStatus,
    SetProfileStatus,
    WriteServedProfile,
)
from turbospec.fleet.snapshot import FleetSnapshot
from turbospec.wire.engine_state import EngineState
from turbospec_operator import certificates, engine_views, manifests
from turbospec_operator.admission import Admission
from turbospec_operator.apply import Applier
from turbospec_operator.autoscaler_views import LABEL_SCALED_OBJECT
from turbospec_operator.autoscalers import AutoscalerReader
from turbospec_operator.certificates import WEBHOOK_CONFIGURATIONS
from turbospec_operator.cluster import (
    CONFIG_MAPS,
    JOBS,
    LEASES,
    PODS,
    POLICIES,
    PROFILES,
    RESOURCE_QUOTAS,
    ApiError,
    Cluster,
    Kind,
    Raw,
)
from turbospec_operator.elector import Elector
from turbospec_operator.engines import EngineClient
from turbospec_operator.foreign_autoscalers import ForeignReader
from turbospec_operator.identity import load_master_key
from turbospec_operator.injection import Runtime
from turbospec_operator.job_views import Measured
from turbospec_operator.metrics import Metrics
from turbospec_operator.observe import Observer
from turbospec_operator.profiling_jobs import Installation
from turbospec_operator.runtime_bundle import build_runtime_zip

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]

OPERATOR, WEBHOOK = "turbospec-operator", "turbospec-webhook"
CONFIGURATION = "turbospec-webhook"
HOSTS = ("turbospec-webhook.turbospec-system.svc",)
WAIT_SECONDS = 40.0
ONE_JOB = {"count/jobs.batch": "1"}
MASTER_KEY = b"k" * 32


@dataclass(frozen=True, slots=True)
class World:
    """A namespace with an engine's pod, a policy and a profile. ``user`` is who asks."""

    api: ApiServer
    admin: Cluster
    user: Cluster
    tenant: str

    async def put(self, kind: Kind, name: str, **fields: Any) -> None:
        """Create an object in the tenant's namespace."""
        metadata = {"name": name, "namespace": self.tenant, **fields.pop("metadata", {})}
        body = {"apiVersion": kind.group_version, "kind": kind.kind, "metadata": metadata, **fields}
        await self.admin.create(kind, self.tenant, body)


Ask = Callable[[World], Awaitable[str]]
"""The product's own calls; "" where they went well, else what they said."""


async def look(world: World) -> str:
    """A round's observation; the permissions that it misses are for conditions to say."""
    return await _looked(world, world.tenant)


async def look_everywhere(world: World) -> str:
    """An operator of all namespaces also sees the profiles that administrators share."""
    return await _looked(world, None)


async def _looked(world: World, namespace: str | None) -> str:
    async with EngineClient() as engines:
        found = await _said(Observer(world.user, engines, namespace, 1).observe(epoch=1, master_key=MASTER_KEY))
    return found if isinstance(found, str) else "; ".join(found.snapshot.denied)


async def look_for_autoscalers(world: World) -> str:
    """Those of the tenant, what they scale, and what KEDA's triggers read."""
    scaler = hpa(world.tenant, "some_metric")
    scaler["metadata"]["labels"] = {LABEL_SCALED_OBJECT: "chat"}
    world.api.post(f"/apis/apps/v1/namespaces/{world.tenant}/deployments", deployment(world.tenant))
    world.api.post(f"/apis/autoscaling/v2/namespaces/{world.tenant}/horizontalpodautoscalers", scaler)
    _, denied = await AutoscalerReader(world.user, world.tenant).read({world.tenant})
    return "; ".join(denied)


async def look_for_other_autoscalers(world: World) -> str:
    """Those that are no HPA, where their kinds are served."""
    _, denied = await ForeignReader(world.user, world.tenant).read({world.tenant})
    return "; ".join(denied)


def carry_out(*made: Callable[[FleetSnapshot], Effect]) -> Ask:
    """These effects, one after the other, in the snapshot of somebody who sees everything."""

    async def ask(world: World) -> str:
        async with EngineClient() as engines:
            seen = await Observer(world.admin, engines, world.tenant, 1).observe(epoch=1, master_key=MASTER_KEY)
            report = engine_views.engine_report(EngineState.model_validate(engine_state()))
            pods = tuple(replace(pod, report=report) for pod in seen.snapshot.pods)
            seen = replace(seen, snapshot=replace(seen.snapshot, pods=pods))
            observer = Observer(world.user, engines, world.tenant, 1)
            installation = Installation(f"turbospec-system:{OPERATOR}", False, None)
            applier = Applier(world.user, engines, observer, Metrics(), installation)
            outcomes = [(await applier.apply([each(seen.snapshot)], seen))[0] for each in made]
        return "; ".join(outcome.error for outcome in outcomes if outcome.error)

    return ask


def a_job(seen: FleetSnapshot) -> CreateProfilingJob:
    """For the tenant's engine, on its node."""
    (chat,) = seen.policies
    name = f"turbospec-profile-{KEY}"
    return CreateProfilingJob(
        chat.namespace, name, KEY, "chat-1", chat.name, chat.uid, (0, 1), 1, nodes=("node-1",)
    )  # fmt: skip


def a_profile(seen: FleetSnapshot) -> WriteServedProfile:
    """As engines measured it while serving."""
    cells = [
        MeasuredCell(batch, context, k, 0, 0.005 + 1e-4 * batch * (k + 1), 10)
        for batch in (1, 4)
        for context in (100, 1000)
        for k in (0, 1)
    ]
    namespace = seen.policies[0].namespace
    return WriteServedProfile(namespace, f"serving-{KEY}", KEY, "chat-1", build_latency_model(cells), "all")


def a_policy_status(seen: FleetSnapshot) -> SetPolicyStatus:
    """Any."""
    (chat,) = seen.policies
    said = (ConditionValue("Ready", "False", "Pending", "m"),)
    return SetPolicyStatus(chat.namespace, chat.name, chat.uid, 1, said, 1, 0, None, None, ())


def a_profile_status(seen: FleetSnapshot) -> SetProfileStatus:
    """Any."""
    mine = next(view for view in seen.profiles if view.namespace is not None)
    said = (ConditionValue("InUse", "True", "InUse", "m"),)
    return SetProfileStatus(str(mine.namespace), mine.name, mine.uid, 1, said)


def an_event(seen: FleetSnapshot) -> EmitEvent:
    """Any."""
    (chat,) = seen.policies
    return EmitEvent(chat.namespace, chat.name, chat.uid, "Normal", "Pending", "m")


def a_runtime(seen: FleetSnapshot) -> EnsureRuntime:
    """What the tenant's pods mount."""
    return EnsureRuntime(seen.policies[0].namespace)


async def place_a_job(world: World) -> str:
    """Without a look at nodes the Job is made all the same, and says that nobody looked."""
    said = await carry_out(a_job)(world)
    if said:
        return said
    (job,) = await world.admin.list(JOBS, world.tenant)
    return "; ".join(value for value in (job["metadata"].get("annotations") or {}).values() if "list " in value)


async def mind_quotas(world: World) -> str:
    """Without a look at quotas a Job would stand there without a pod."""
    await world.put(RESOURCE_QUOTAS, "small", spec={"hard": ONE_JOB})
    full = {"status": {"hard": ONE_JOB, "used": ONE_JOB}}
    await world.admin.patch_status(RESOURCE_QUOTAS, world.tenant, "small", full)
    said = await carry_out(a_job)(world)
    return "" if "ResourceQuota small has not enough" in said else f"list resourcequotas was of no avail: {said}"


async def take_a_new_lease(world: World) -> str:
    """Nobody has led yet."""
    elector = Elector(world.user, world.tenant, "each", 15.0)
    await elector._look()
    return elector.not_ready() or ""


async def take_a_free_lease(world: World) -> str:
    """Another has led and left."""
    await world.put(LEASES, "turbospec-operator", spec={"holderIdentity": "", "leaseTransitions": 3})
    return await take_a_new_lease(world)


async def make_the_key(world: World) -> str:
    """The master key, by whoever comes first."""
    found = await _said(load_master_key(world.user, world.tenant))
    return found if isinstance(found, str) else ""


async def serve_certificates(world: World) -> str:
    """Made, renewed where they have run out, and published."""
    now = dt.datetime.now(dt.UTC)
    bundle = b""
    for at in (now - 2 * certificates.VALIDITY, now):
        store = await _said(certificates.ensure_store(world.user, world.tenant, HOSTS, at, published=False))
        if isinstance(store, str):
            return store
        bundle = store.bundle
    said = await _said(certificates.publish_bundle(world.user, CONFIGURATION, bundle))
    return said if isinstance(said, str) else ""


async def admit(world: World) -> str:
    """The first pod of a namespace: its policy is looked for, and the runtime put there."""
    container = {"name": "v", "command": ["vllm", "serve", "m"]}
    pod = {"metadata": {"labels": {"turbospec.io/inject": "true"}}, "spec": {"containers": [container]}}
    request = {"kind": {"kind": "Pod"}, "operation": "CREATE", "namespace": world.tenant, "object": pod}
    said = await _said(Admission(world.user, build_runtime_zip()).decide(request, Runtime("0" * 12, MASTER_KEY)))
    if isinstance(said, str):
        return said
    maps = await world.admin.list(CONFIG_MAPS, world.tenant)
    return "" if maps else "create configmaps failed: the pod goes without the runtime"


async def _said(asked: Awaitable[Any]) -> Any:
    """The result, or what the API server said against it."""
    try:
        return await asked
    except ApiError as error:
        return str(error)


PROFILES_NAME, POLICIES_NAME = "speculationprofiles.turbospec.io", "speculationpolicies.turbospec.io"
LEASES_NAME, CONFIGURATIONS_NAME = "leases.coordination.k8s.io", WEBHOOK_CONFIGURATIONS.rbac_name
KEY_SECRET, TLS_SECRET = "turbospec-master-key", "turbospec-webhook-tls"

CASES: Mapping[Permission, Ask] = {
    Permission(OPERATOR, "list", POLICIES_NAME): look,
    Permission(OPERATOR, "list", PROFILES_NAME): look,
    Permission(OPERATOR, "list", "pods"): look,
    Permission(OPERATOR, "list", "jobs.batch"): look,
    Permission(OPERATOR, "list", "clusterspeculationprofiles.turbospec.io"): look_everywhere,
    Permission(OPERATOR, "list", "horizontalpodautoscalers.autoscaling"): look_for_autoscalers,
    Permission(OPERATOR, "get", "*.*/scale"): look_for_autoscalers,
    Permission(OPERATOR, "get", "scaledobjects.keda.sh"): look_for_autoscalers,
    Permission(OPERATOR, "list", "variantautoscalings.llmd.ai"): look_for_other_autoscalers,
    Permission(OPERATOR, "list", "podautoscalers.autoscaling.internal.knative.dev"): look_for_other_autoscalers,
    Permission(OPERATOR, "patch", f"{POLICIES_NAME}/status"): carry_out(a_policy_status),
    Permission(OPERATOR, "patch", f"{PROFILES_NAME}/status"): carry_out(a_profile_status),
    Permission(OPERATOR, "create", PROFILES_NAME): carry_out(a_profile),
    Permission(OPERATOR, "get", PROFILES_NAME): carry_out(a_profile, a_profile),
    Permission(OPERATOR, "update", PROFILES_NAME): carry_out(a_profile, a_profile),
    Permission(OPERATOR, "create", "configmaps"): carry_out(a_runtime),
    Permission(OPERATOR, "create", "events.events.k8s.io"): carry_out(an_event),
    Permission(OPERATOR, "get", "pods"): carry_out(a_job),
    Permission(OPERATOR, "create", "jobs.batch"): carry_out(a_job),
    Permission(OPERATOR, "list", "nodes"): place_a_job,
    Permission(OPERATOR, "list", "resourcequotas"): mind_quotas,
    Permission(OPERATOR, "get", "secrets", KEY_SECRET): make_the_key,
    Permission(OPERATOR, "create", "secrets"): make_the_key,
    Permission(OPERATOR, "create", LEASES_NAME): take_a_new_lease,
    Permission(OPERATOR, "get", LEASES_NAME, "turbospec-operator"): take_a_free_lease,
    Permission(OPERATOR, "update", LEASES_NAME, "turbospec-operator"): take_a_free_lease,
    Permission(WEBHOOK, "list", POLICIES_NAME): admit,
    Permission(WEBHOOK, "create", "configmaps"): admit,
    Permission(WEBHOOK, "get", "secrets", KEY_SECRET): make_the_key,
    Permission(WEBHOOK, "create", "secrets"): make_the_key,
    Permission(WEBHOOK, "get", "secrets", TLS_SECRET): serve_certificates,
    Permission(WEBHOOK, "update", "secrets", TLS_SECRET): serve_certificates,
    Permission(WEBHOOK, "get", CONFIGURATIONS_NAME, CONFIGURATION): serve_certificates,
    Permission(WEBHOOK, "update", CONFIGURATIONS_NAME, CONFIGURATION): serve_certificates,
}
DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
WATCHED: Mapping[Permission, str] = {
    Permission(OPERATOR, "watch", POLICIES_NAME): "watching stopped",
    Permission(OPERATOR, "watch", PROFILES_NAME): "watching stopped",
    Permission(OPERATOR, "list", DEFINITIONS): "Not enough permissions to watch for resources",
    Permission(OPERATOR, "watch", DEFINITIONS): "Not enough permissions to watch for resources",
}
"""What only kopf needs, and the words for its want in the log of the process."""

ALL = frozenset((*CASES, *WATCHED))
USERS: dict[Permission | None, str] = {each: f"each-{number}" for number, each in enumerate(sorted(ALL))}
USERS[None] = "each-none"


@pytest.fixture(scope="module")
def users(api_with_crds: ApiServer) -> Mapping[Permission | None, Path]:
    """A kubeconfig for every permission, of a user who has all of its account but this one; None: one who has all."""
    api = api_with_crds
    group = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    for missing, name in USERS.items():
        rules = [_rule(each) for each in sorted(ALL - {missing}) if missing is None or each.account == missing.account]
        api.post(
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            {**group, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        )
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        binding = {"kind": "ClusterRoleBinding", "metadata": {"name": name}, "roleRef": role, "subjects": [subject]}
        api.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {**group, **binding})
    deadline = time.monotonic() + WAIT_SECONDS
    while not _may_list_policies(api, USERS[None]):  # the last one made
        assert time.monotonic() < deadline, "the API server does not see the roles"
        time.sleep(0.05)
    return {missing: api.kubeconfig_for(name) for missing, name in USERS.items()}


def _may_list_policies(api: ApiServer, user: str) -> bool:
    attributes = {"verb": "list", "group": "turbospec.io", "resource": "speculationpolicies", "namespace": "default"}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    spec = {"user": user, "resourceAttributes": attributes}
    answer = api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", {**review, "spec": spec})
    return bool(answer["status"]["allowed"])


def _rule(permission: Permission) -> Raw:
    whole, slash, subresource = permission.resource.partition("/")
    plural, _, group = whole.partition(".")
    names = {"resourceNames": [permission.name]} if permission.name else {}
    return {"apiGroups": [group], "resources": [plural + slash + subresource], "verbs": [permission.verb], **names}


@pytest.fixture(scope="module")
def configuration(api_with_crds: ApiServer) -> None:
    """The webhook's own, which publishes its authority there; it is called for nothing."""
    api = api_with_crds
    webhook = {
        "name": "pods.turbospec.io",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "NoneOnDryRun",
        "failurePolicy": "Ignore",
        "clientConfig": {"service": {"name": "none", "namespace": "default", "path": "/mutate"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "no-such-namespace"}},
    }
    kind = WEBHOOK_CONFIGURATIONS
    body = {"apiVersion": kind.group_version, "kind": kind.kind, "metadata": {"name": CONFIGURATION}}
    api.apply({**body, "webhooks": [webhook]})


@pytest.fixture(scope="module")
def other_autoscalers(api_with_crds: ApiServer) -> Iterator[None]:
    """Kinds that are installed in few clusters; where they are not, nobody asks for them."""
    with served(api_with_crds):
        yield


@asynccontextmanager
async def world_of(api: ApiServer, kubeconfig: Path) -> AsyncIterator[World]:
    """A tenant of its own for one case."""
    tenant = f"each-{secrets.token_hex(4)}"
    api.create_namespace(tenant)
    async with await Cluster.connect(api.kubeconfig) as admin, await Cluster.connect(kubeconfig) as user:
        await admin.create(PODS, tenant, engine_pod(tenant, "chat-1"))
        await admin.create(POLICIES, tenant, policy(tenant))
        harvested = HarvestProfile(tenant, "turbospec-profile-x", f"profile-{KEY}")
        measured = Measured(profile_result(), "node-1", "vllm:1")
        await admin.create(PROFILES, tenant, manifests.profile(harvested, measured, time.time()))
        yield World(api, admin, user, tenant)


@pytest.mark.usefixtures("configuration", "other_autoscalers")
@pytest.mark.parametrize("permission", sorted(CASES), ids=str)
async def test_what_needs_a_permission_names_it_where_it_is_missing(
    api_with_crds: ApiServer, users: Mapping[Permission | None, Path], permission: Permission
) -> None:
    """Verb and resource, in a condition, an event's place, a log line or an error."""
    async with world_of(api_with_crds, users[permission]) as world:
        said = await CASES[permission](world)
    resource = "deployments.apps/scale" if permission.resource == "*.*/scale" else permission.resource
    assert f"{permission.verb} {resource.removesuffix('/status')}" in said


@pytest.mark.usefixtures("configuration", "other_autoscalers", "nothing_elsewhere")
async def test_with_all_of_them_nothing_is_said(
    api_with_crds: ApiServer, users: Mapping[Permission | None, Path]
) -> None:
    """The same calls."""
    for ask in dict.fromkeys(CASES.values()):
        async with world_of(api_with_crds, users[None]) as world:
            assert await ask(world) == ""


@pytest.mark.usefixtures("nothing_elsewhere")
async def test_the_watch_says_what_it_may_not(
    api_with_crds: ApiServer, users: Mapping[Permission | None, Path], tmp_path: Path
) -> None:
    """kopf asks by itself, so whole operators are started, at once, each without another permission."""
    api_with_crds.kubectl("delete", "speculationprofiles", "--all", "--all-namespaces", "--wait=false")
    started: dict[Permission, OperatorProcess] = {}
    try:
        for number, permission in enumerate(WATCHED):
            namespace = f"each-{secrets.token_hex(4)}"
            api_with_crds.create_namespace(namespace)
            environment = {
                "KUBECONFIG": str(users[permission]),
                "PATH": "/usr/bin:/bin",
                "USER": "turbospec",
                "TURBOSPEC_NAMESPACE": namespace,
                "TURBOSPEC_INTERVAL_SECONDS": "300",  # rounds are not what is looked at
                # Definitions are for operators of all namespaces only, and what kopf says of them for those who debug.
                **({"TURBOSPEC_LOG_LEVEL": "DEBUG"} if DEFINITIONS in permission.resource else {}),
                **({} if DEFINITIONS in permission.resource else {"TURBOSPEC_WATCH_NAMESPACE": namespace}),
            }
            started[permission] = OperatorProcess(environment, tmp_path / f"operator-{number}.log")
            started[permission].start()
        deadline = time.monotonic() + WAIT_SECONDS
        for permission, process in started.items():
            while WATCHED[permission] not in process.log():
                assert time.monotonic() < deadline, f"{permission}: {process.log()[-3000:]}"
                await asyncio.sleep(0.1)
    finally:
        for process in started.values():
            process.kill()
