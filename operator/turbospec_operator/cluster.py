"""The only way to the Kubernetes API: raw objects in and out, one kind of error, a time limit on every request.

Raw dictionaries, not the client's typed models: a round trip through those drops fields that they do not know.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from kubernetes.aio.dynamic import DynamicClient

Raw = dict[str, Any]

REQUEST_SECONDS = 10.0
"""The client's own default is 300 s; a fleet loop that decides every 2 s must not hang on one request."""

PAGE_OBJECTS = 500
"""kubectl's chunk size: bounds what one answer can hold."""

MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object: where it is served."""

    group_version: str
    plural: str
    kind: str

    @property
    def rbac_name(self) -> str:
        """The name as RBAC errors spell it: ``pods``, ``jobs.batch``."""
        group, _, version = self.group_version.rpartition("/")
        return f"{self.plural}.{group}" if version and group else self.plural

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The address on the API server."""
        root = "/apis/" if "/" in self.group_version else "/api/"
        parts = [*(("namespaces", quote(namespace)) if namespace else ()), self.plural]
        parts += [quote(part) for part in (name, subresource) if part]
        return f"{root}{self.group_version}/{'/'.join(parts)}"


POLICIES = Kind("turbospec.io/v1alpha1", "speculationpolicies", "SpeculationPolicy")
PROFILES = Kind("turbospec.io/v1alpha1", "speculationprofiles", "SpeculationProfile")
CLUSTER_PROFILES = Kind("turbospec.io/v1alpha1", "clusterspeculationprofiles", "ClusterSpeculationProfile")
PODS = Kind("v1", "pods", "Pod")
CONFIG_MAPS = Kind("v1", "configmaps", "ConfigMap")
SECRETS = Kind("v1", "secrets", "Secret")
JOBS = Kind("batch/v1", "jobs", "Job")
LEASES = Kind("coordination.k8s.io/v1", "leases", "Lease")
NODES = Kind("v1", "nodes", "Node")
RESOURCE_QUOTAS = Kind("v1", "resourcequotas", "ResourceQuota")
EVENTS = Kind("events.k8s.io/v1", "events", "Event")


class NoClusterError(ConfigException):  # type: ignore[misc]  # the client's types are not seen
    """Nothing says where the API server is; the message is one line."""


class ApiError(Exception):
    """A request failed; the message is one line. ``status`` is None where the API server did not answer."""

    def __init__(self, verb: str, kind: Kind, namespace: str | None, status: int | None, message: str) -> None:
        self.verb = verb
        self.resource = kind.rbac_name
        self.where = namespace or "all namespaces"
        self.status = status
        super().__init__(f"cannot {verb} {self.resource} in {self.where}: {' '.join(message.split())}")


class DeniedError(ApiError):
    """The operator lacks a permission."""


class NotFoundError(ApiError):
    """There is no such object, or no such kind."""


class NotLeaderError(ApiError):
    """Nothing was sent: another operator may lead by now."""


class ExistsError(ApiError):
    """An object of this name is there already, or was changed since it was read (both are HTTP 409)."""


class Cluster:
    """Connection to the API server; use as ``async with await Cluster.connect() as cluster``."""

    def __init__(self, client: ApiClient, seconds_left: Callable[[], float] | None = None) -> None:
        self._client = client
        self._seconds_left = seconds_left
        # Only its plain requests are used: they need no discovery, hence no permission to discover.
        self._api = DynamicClient(client)

    @classmethod
    async def connect(cls, kubeconfig: Path | None = None) -> Self:
        """Configured by the file given, else by the pod's service account, else as kubectl is (kopf's own order).

        Raises NoClusterError where that does not say where the API server is.
        """
        configuration = Configuration()
        location = f"kubeconfig {kubeconfig or os.environ.get('KUBECONFIG') or '~/.kube/config'}"
        try:
            if kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
                location = "service account"
                load_incluster_config(client_configuration=configuration)
            else:
                await load_kube_config(
                    config_file=location.removeprefix("kubeconfig "), client_configuration=configuration
                )
        except ConfigException as error:
            raise NoClusterError(f"no API server to talk to: {location}: {error}") from error
        # Proxies of the environment are for registries; kopf ignores them too, and both must reach the same server.
        configuration.client_session_kwargs = {"trust_env": False}
        return cls(ApiClient(configuration))

    def fenced(self, seconds_left: Callable[[], float]) -> "Cluster":
        """The same connection for a leader: its writes end with its lease, of which ``seconds_left`` are left.

        The check comes right before a write is sent: a process that was stopped for a minute writes nothing when it
        goes on. Such writes raise NotLeaderError.
        """
        return Cluster(self._client, seconds_left)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def list(
        self, kind: Kind, namespace: str | None, labels: str | None = None, fields: str | None = None
    ) -> list[Raw]:
        """All objects of a kind, in one namespace or in all, optionally those that a selector matches."""
        items: list[Raw] = []
        token: str | None = None
        while True:
            page = await self._request(
                "list",
                kind,
                namespace,
                label_selector=labels,
                field_selector=fields,
                limit=PAGE_OBJECTS,
                _continue=token,
            )
            items += page.get("items") or []
            token = page.get("metadata", {}).get("continue") or None
            if token is None:
                return items

    async def get(self, kind: Kind, namespace: str, name: str) -> Raw:
        """One object; raises NotFoundError."""
        return await self._request("get", kind, namespace, name=name)

    async def create(self, kind: Kind, namespace: str, body: Raw) -> Raw:
        """Create an object; raises ExistsError."""
        return await self._request("create", kind, namespace, body=body)

    async def replace(self, kind: Kind, namespace: str, body: Raw) -> Raw:
        """Replace an object; raises ExistsError where it has changed since it was read."""
        return await self._request("update", kind, namespace, name=body["metadata"]["name"], body=body)

    async def patch_status(self, kind: Kind, namespace: str, name: str, body: Raw) -> Raw:
        """Merge into the status subresource: null removes a field, lists are replaced."""
        return await self._request(
            "patch", kind, namespace, name=name, subresource="status", body=body, content_type=MERGE_PATCH
        )

    async def _request(
        self,
        verb: str,
        kind: Kind,
        namespace: str | None,
        *,
        name: str | None = None,
        subresource: str | None = None,
        **parameters: Any,
    ) -> Raw:
        method = {"list": "get", "get": "get", "create": "post", "update": "put", "patch": "patch"}[verb]
        limit = REQUEST_SECONDS
        if self._seconds_left is not None and method != "get":
            limit = min(limit, self._seconds_left())
            if limit <= 0.0:
                raise NotLeaderError(verb, kind, namespace, None, "this operator no longer leads")
        try:
            answer: Raw = await self._api.request(
                method,
                kind.path(namespace, name, subresource),
                serializer=lambda _client, data: data,
                _request_timeout=aiohttp.ClientTimeout(total=limit),
                **parameters,
            )
        except ApiException as error:
            raise _api_error(verb, kind, namespace, error) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(verb, kind, namespace, None, f"no answer: {type(error).__name__} {error}") from error
        return answer


def _api_error(verb: str, kind: Kind, namespace: str | None, error: ApiException) -> ApiError:
    known: Mapping[int, type[ApiError]] = {403: DeniedError, 404: NotFoundError, 409: ExistsError}
    message = _message(error)
    # Admission (quotas, policy engines) answers 403 too, and no permission helps against it.
    refused = error.status == 403 and f"cannot {verb} resource" not in message
    return (ApiError if refused else known.get(error.status, ApiError))(verb, kind, namespace, error.status, message)


def _message(error: ApiException) -> str:
    """The server's own sentence, which names user, verb and resource where a permission is missing."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"HTTP {error.status} {error.reason}"
