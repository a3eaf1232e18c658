"""Looks at the cluster and at every engine, and makes one FleetSnapshot of it."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from turbospec.fleet.job_situation import forbidden_keys
from turbospec.fleet.snapshot import FleetSnapshot, JobObstacle, JobView, PodView, PolicyView, ProfileView
from turbospec.wire.speculation_policy import SpeculationPolicySpec
from turbospec_operator import engine_views, hardware_labels, job_views, names, views
from turbospec_operator.autoscalers import AutoscalerReader
from turbospec_operator.cluster import (
    CLUSTER_PROFILES,
    JOBS,
    NODES,
    PODS,
    POLICIES,
    PROFILES,
    ApiError,
    Cluster,
    DeniedError,
    Kind,
    NotFoundError,
    Raw,
)
from turbospec_operator.endpoints import endpoint_of, why_no_endpoint
from turbospec_operator.engines import EngineClient, EngineEndpoint, EngineError
from turbospec_operator.foreign_autoscalers import ForeignReader
from turbospec_operator.job_views import Measured
from turbospec_operator.served_cells import ServedCellsReader
from turbospec_operator.token_rates import TokenRates

RESYNC_SECONDS = 10.0
"""Policies and profiles are listed again after this long even where no watch event asked for it: kopf does not report
what was deleted while its watch was broken."""

NODE_SECONDS = 300.0
"""How often nodes are listed where engines have accelerators: labels of hardware change with reboots, and it is the
largest of our lists."""

CONSEQUENCES = {
    "speculationprofiles.turbospec.io": "profiles are not seen",
    "clusterspeculationprofiles.turbospec.io": "profiles of the cluster are not seen",
    "pods": "engines are not seen",
    "jobs.batch": "profiling Jobs are not seen",
}


@dataclass(frozen=True, slots=True)
class Observation:
    """A snapshot, and what carrying out its effects needs beside it. Keys are (namespace, name) or a pod's uid."""

    snapshot: FleetSnapshot
    endpoints: dict[str, EngineEndpoint]
    specs: dict[tuple[str, str], SpeculationPolicySpec]
    statuses: dict[tuple[str, str], Raw]
    results: dict[tuple[str, str], Measured]
    token_refused: bool
    profiles_known: bool
    profile_statuses: dict[tuple[str, str], Raw] = field(default_factory=dict)


@dataclass(slots=True)
class _Round:
    """What one round collects on the way."""

    denied: list[str] = field(default_factory=list)
    token_refused: bool = False


@dataclass(slots=True)
class _Cached:
    """Objects of a kind, as last listed."""

    items: list[Raw] = field(default_factory=list)
    listed_at: float = 0.0
    stale: bool = True
    known: bool = False


class Observer:
    """Takes snapshots. Unknown is never taken for empty: a list that fails raises ApiError, and nothing is decided.

    A missing permission is different, for it may stay: it is noted in the snapshot, and the round goes on with what may
    be seen; except for policies, without which there is nothing to decide.
    """

    def __init__(self, cluster: Cluster, engines: EngineClient, watch_namespace: str | None, engine_port: int) -> None:
        self._cluster = cluster
        self._engines = engines
        self._namespace = watch_namespace
        self._engine_port = engine_port
        self._autoscalers = AutoscalerReader(cluster, watch_namespace)
        self._foreign = ForeignReader(cluster, watch_namespace)
        self._policies = _Cached()
        self._profiles = _Cached()
        self._nodes: dict[str, Raw] = {}
        self._nodes_listed_at = float("-inf")
        self._cluster_profiles = _Cached()
        self._profile_views: tuple[list[Raw], list[Raw], tuple[ProfileView, ...]] = [], [], ()
        self._served = ServedCellsReader(engines)
        self._rates = TokenRates()
        self.api_proven_at: float | None = None

    def expire(self) -> None:
        """Policies or profiles have changed: list them anew in the next round."""
        self._policies.stale = self._profiles.stale = True

    async def observe(
        self,
        *,
        epoch: int,
        master_key: bytes,
        denied: Sequence[str] = (),
        refusals: Mapping[str, str] | None = None,
        obstacles: Sequence[JobObstacle] = (),
    ) -> Observation:
        """One snapshot.

        ``denied`` are missing permissions that carrying out the last effects came upon, ``refusals`` the engines' own
        reasons for not wanting the last document put to them, by pod uid, ``obstacles`` what kept Jobs from being
        created.
        """
        collected = _Round()
        policies = await self._cached(POLICIES, self._policies, collected)
        profiles = self._parsed(
            await self._cached(PROFILES, self._profiles, collected),
            await self._cached(CLUSTER_PROFILES, self._cluster_profiles, collected),
        )
        policy_views = tuple(views.policy_view(each) for each in policies)
        specs = {_key(raw): spec for raw in policies if not isinstance(spec := views.policy_spec(raw), str)}
        raw_jobs, job_pods = await self._jobs(collected)
        governed = {policy.namespace for policy in policy_views}
        autoscalers, unseen = await self._autoscalers.read(governed)
        foreign, unlisted = await self._foreign.read(governed)
        collected.denied.extend((*unseen, *unlisted))
        raw_pods = await self._pods(policy_views, collected)
        nodes = await self._nodes_of([*raw_pods, *(job_pods or ())])
        jobs, results = _job_views(raw_jobs, job_pods, nodes)
        endpoints = {
            pod["metadata"]["uid"]: endpoint
            for pod in raw_pods
            if (endpoint := endpoint_of(pod, master_key, self._engine_port)) is not None
        }
        pods = await asyncio.gather(*(self._ask(pod, endpoints, collected, nodes) for pod in raw_pods))
        self._rates.keep(pod.report.engine_id for pod in pods if pod.report is not None)
        cells = await self._served.read(pods, policy_views, endpoints, forbidden_keys(obstacles))
        snapshot = FleetSnapshot(
            now_seconds=time.time(),
            epoch=epoch,
            policies=policy_views,
            pods=tuple(
                replace(pod, refusal=(refusals or {}).get(pod.uid), cells=cells.get(pod.uid, ())) for pod in pods
            ),
            profiles=profiles,
            jobs=jobs,
            autoscalers=autoscalers,
            foreign_autoscalers=foreign,
            denied=tuple(dict.fromkeys([*collected.denied, *denied])),
            obstacles=tuple(obstacles),
        )
        statuses = {_key(raw): raw.get("status") or {} for raw in policies}
        return Observation(
            snapshot,
            endpoints,
            specs,
            statuses,
            results,
            collected.token_refused,
            profiles_known=self._profiles.known,
            profile_statuses={_key(raw): raw.get("status") or {} for raw in self._profiles.items},
        )

    def remember_status(self, namespace: str, name: str, patched: Raw) -> None:
        """Keep what the API server answered to our status patch, so that the next round compares with it."""
        items = self._policies.items
        self._policies.items = [patched if _key(each) == (namespace, name) else each for each in items]

    async def _cached(self, kind: Kind, cached: _Cached, collected: _Round) -> list[Raw]:
        if cached.stale or time.monotonic() - cached.listed_at >= RESYNC_SECONDS:
            # Cleared before asking, so that an event that comes meanwhile asks again.
            cached.stale, cached.listed_at = False, time.monotonic()
            try:
                where = None if kind is CLUSTER_PROFILES else self._namespace
                listed = await self._list(kind, where, None, collected)
            except ApiError:
                cached.stale = True
                raise
            cached.known = listed is not None
            cached.stale |= not cached.known
            cached.items = listed or []
        return cached.items

    def _parsed(self, profiles: list[Raw], shared: list[Raw]) -> tuple[ProfileView, ...]:
        """Their views, made once per list: hundreds of cells are checked in each."""
        if self._profile_views[0] is not profiles or self._profile_views[1] is not shared:
            made = tuple(views.profile_view(each) for each in (*profiles, *shared))
            self._profile_views = profiles, shared, made
        return self._profile_views[2]

    async def _list(self, kind: Kind, namespace: str | None, labels: str | None, collected: _Round) -> list[Raw] | None:
        """The objects, or None where we may not see them, which is noted."""
        try:
            items = await self._cluster.list(kind, namespace, labels)
        except DeniedError as error:
            if kind is POLICIES:
                raise
            if kind is CLUSTER_PROFILES and self._namespace is not None:
                return []  # who governs one namespace need not see beyond it
            collected.denied.append(f"list {error.resource} in {error.where}: {CONSEQUENCES[error.resource]}")
            return None
        except NotFoundError:
            if kind is not CLUSTER_PROFILES:
                raise
            return []  # Helm leaves definitions as they were when it upgrades: this one is newer than the others
        self.api_proven_at = time.monotonic()
        return items

    async def _jobs(self, collected: _Round) -> tuple[list[Raw], list[Raw] | None]:
        """Profiling Jobs and their pods; None for pods that we may not see."""
        jobs = await self._list(JOBS, self._namespace, names.LABEL_PROFILING_KEY, collected)
        if not jobs:
            return [], []
        # Pods after Jobs: a Job that is complete has its pod's end in the newer list.
        return jobs, await self._list(PODS, self._namespace, names.LABEL_PROFILING_KEY, collected)

    async def _nodes_of(self, pods: Sequence[Raw]) -> Mapping[str, Raw]:
        """Nodes by name, where some pod's hardware depends on their labels. Without the permission there are none: keys
        then say no more than the engines know."""
        names_needed = {pod["spec"].get("nodeName") for pod in pods if hardware_labels.needed(pod)} - {None}
        is_new = bool(self._nodes) and not names_needed <= self._nodes.keys()
        if names_needed and (is_new or time.monotonic() - self._nodes_listed_at > NODE_SECONDS):
            try:
                listed = await self._cluster.list(NODES, None)
            except DeniedError:
                listed = []
            self._nodes_listed_at = time.monotonic()
            self._nodes = {node["metadata"]["name"]: node for node in listed}
        return self._nodes

    async def _pods(self, policies: Sequence[PolicyView], collected: _Round) -> list[Raw]:
        """Every pod that some policy selects, once."""
        wanted = dict.fromkeys(
            (policy.namespace, ",".join(f"{label}={value}" for label, value in policy.match_labels))
            for policy in policies
            if policy.invalid is None
        )
        lists = await asyncio.gather(*(self._list(PODS, where, labels, collected) for where, labels in wanted))
        pods = {pod["metadata"]["uid"]: pod for found in lists for pod in found or []}
        return [pod for pod in pods.values() if views.is_serving(pod)]

    async def _ask(
        self, pod: Raw, endpoints: dict[str, EngineEndpoint], collected: _Round, nodes: Mapping[str, Raw]
    ) -> PodView:
        endpoint = endpoints.get(pod["metadata"]["uid"])
        view = views.pod_view(pod, None, None)
        if endpoint is None:
            return replace(view, unreachable=why_no_endpoint(pod) if view.injected else None)
        try:
            state = await self._engines.state(endpoint)
        except EngineError as error:
            collected.token_refused |= error.status == 401
            return replace(view, unreachable=str(error))
        report = engine_views.engine_report(state, pod, nodes.get(str(view.node)))
        return replace(view, report=replace(report, tokens_per_second=self._rates.of(state)))


def _job_views(
    jobs: Sequence[Raw], pods: Sequence[Raw] | None, nodes: Mapping[str, Raw]
) -> tuple[tuple[JobView, ...], dict[tuple[str, str], Measured]]:
    found: list[JobView] = []
    results: dict[tuple[str, str], Measured] = {}
    for job in jobs:
        own = None if pods is None else [pod for pod in pods if _owned(pod, job)]
        view, measured = job_views.job_view(job, own, nodes)
        found.append(view)
        if measured is not None:
            results[_key(job)] = measured
    return tuple(found), results


def _owned(pod: Raw, job: Raw) -> bool:
    """By uid: a Job that was deleted and made again has the name, and not the result, of the old one."""
    owners = pod["metadata"].get("ownerReferences") or []
    return any(owner.get("uid") == job["metadata"]["uid"] for owner in owners)


def _key(raw: Raw) -> tuple[str, str]:
    return raw["metadata"]["namespace"], raw["metadata"]["name"]
