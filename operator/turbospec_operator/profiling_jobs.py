"""Creates profiling Jobs: copies the serving pod, finds a node with room, minds quotas, and says what is in the way."""

import logging
import random
from dataclasses import dataclass

from turbospec.fleet.effects import CreateProfilingJob
from turbospec.wire.profiling_job import ProfilingJobSpec
from turbospec.wire.speculation_policy import SpeculationPolicySpec
from turbospec_operator import placement, quotas
from turbospec_operator.cluster import (
    JOBS,
    NODES,
    PODS,
    RESOURCE_QUOTAS,
    ApiError,
    Cluster,
    DeniedError,
    ExistsError,
    Raw,
)
from turbospec_operator.job_manifest import JobOptions, ManifestError, placed, profiling_job

log = logging.getLogger(__name__)

MAX_NODES = 50
"""Nodes looked at in one try, each with a request for its pods; others have their chance in the next one."""

NAMED_NODES = 3


class ObstacleError(Exception):
    """The Job cannot be created now; the message is a sentence with what to do, for the policy's condition.

    ``forbidden``: for want of a permission.
    """

    def __init__(self, message: str, *, forbidden: bool = False) -> None:
        self.forbidden = forbidden
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Installation:
    """What the operator knows of its own installation."""

    service_account: str
    """``namespace:name``, as kubectl takes it."""
    namespaced: bool
    """Whether it governs one namespace only, and has Roles instead of ClusterRoles."""
    priority_class: str | None


class JobCreator:
    """Creates Jobs for the fleet loop."""

    def __init__(self, cluster: Cluster, installation: Installation) -> None:
        self._cluster = cluster
        self._installation = installation

    async def create(self, effect: CreateProfilingJob, spec: SpeculationPolicySpec) -> None:
        """Create the Job; that it is there already is success.

        Raises ObstacleError for what a person, time or another node may remove, ApiError where the API server does not
        answer.
        """
        pod = await self._cluster.get(PODS, effect.namespace, effect.template_pod)
        options = JobOptions(
            spec.engine.port,
            spec.engine.container,
            spec.profiling.job or ProfilingJobSpec(),
            self._installation.priority_class,
        )
        try:
            job = profiling_job(effect, pod, options)
            await self._check_quotas(effect, job)
            job = await self._placed(effect, pod, job)
        except (ManifestError, ValueError) as error:
            raise ObstacleError(f"No Job can be made: {error}.") from error
        try:
            await self._cluster.create(JOBS, effect.namespace, job)
        except ExistsError:
            return
        except DeniedError as error:
            raise ObstacleError(self._remedy(effect, error), forbidden=True) from error
        except ApiError as error:
            if error.status is None or error.status >= 500:
                raise
            raise ObstacleError(f"The API server refused Job {effect.name}: {error}.") from error
        log.info("created profiling Job %s/%s from pod %s", effect.namespace, effect.name, effect.template_pod)

    async def _check_quotas(self, effect: CreateProfilingJob, job: Raw) -> None:
        """Where quotas cannot be read, the API server still holds them: the Job then waits for its pod."""
        try:
            found = await self._cluster.list(RESOURCE_QUOTAS, effect.namespace)
        except DeniedError as error:
            log.debug("%s", error)
            return
        problem = quotas.exceeded(found, job["spec"]["template"]["spec"])
        if problem:
            raise ObstacleError(
                f"Job {effect.name} is not created: {problem}. Raise the quota, or lower spec.profiling.job.resources."
            )

    async def _placed(self, effect: CreateProfilingJob, pod: Raw, job: Raw) -> Raw:
        """The Job with the place that its pod may go to."""
        own: str = pod["spec"]["nodeName"]
        try:
            nodes = await self._cluster.list(NODES, None)
            if not effect.may_provision:
                node = await self._with_room(effect, nodes, job)
                return placed(job, {"affinity": placement.named(node)}, node)
        except DeniedError as error:
            # The serving pod's own node is of the right hardware in any case; whether it has room, the Job will show.
            missing = f"{error.verb} {error.resource} in {error.where}"
            log.info("Job %s/%s is made without a look at nodes: may not %s", effect.namespace, effect.name, missing)
            return placed(job, {"affinity": placement.named(own)}, own, unchecked=missing)
        found = [node for node in nodes if node["metadata"]["name"] == own]
        return placed(job, placement.like(found[0] if found else None, pod), None)

    async def _with_room(self, effect: CreateProfilingJob, nodes: list[Raw], job: Raw) -> str:
        """The first node of the right hardware that has room for the Job's pod."""
        spec = job["spec"]["template"]["spec"]
        reasons: list[str] = []
        serving, others = placement.candidates(nodes, effect.nodes)
        for node in (*serving, *random.sample(others, min(len(others), MAX_NODES))):
            name = node["metadata"]["name"]
            problem = "measures for another Job" if name in effect.busy_nodes else placement.closed(node, spec)
            if not problem:
                bound = await self._cluster.list(PODS, None, fields=f"spec.nodeName={name}")
                problem = placement.full(node, bound, spec)
            if not problem:
                return str(name)
            reasons.append(f"{name} {problem}")
        count = len(serving) + len(others)
        more = f", and {count - NAMED_NODES} more" if count > NAMED_NODES else ""
        raise ObstacleError(
            f"No node of this hardware has room for Job {effect.name}: {'; '.join(reasons[:NAMED_NODES])}{more}. "
            "Free one, lower spec.profiling.job.resources, set spec.profiling.source to Serving to do without, "
            "or spec.profiling.capacity to MayProvision to let a new one come up for it."
        )

    def _remedy(self, effect: CreateProfilingJob, error: DeniedError) -> str:
        role = "role" if self._installation.namespaced else "clusterrole"
        return (
            f"The operator may not {error.verb} {error.resource} in {error.where}. To have the hardware measured by a "
            f"Job: kubectl create rolebinding turbospec-profiling -n {effect.namespace} --{role}=turbospec-profiling "
            f"--serviceaccount={self._installation.service_account} (or add the namespace to the chart's "
            "jobs.namespaces)."
        )
