"""The user's cluster, by the user's kubeconfig: raw objects in and out, errors in one line with a remedy."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from turbospec.cli.errors import CommandError
from turbospec.wire.crd import CLUSTER_PROFILE, GROUP, PROFILE, VERSION

Raw = dict[str, Any]

REQUEST_SECONDS = 10.0
JOB_LABEL = "turbospec.io/profiling-key"
LOG_LINES = 200


def connected_client(kubeconfig: str | None, context: str | None) -> tuple[Any, str]:
    """The client's ApiClient for a context, and the context's namespace. Raises CommandError where there is none.

    Configured as kubectl is: the file given, else KUBECONFIG, else ~/.kube/config.
    """
    from kubernetes import config
    from kubernetes.config import ConfigException

    location = kubeconfig or os.environ.get("KUBECONFIG") or None
    try:
        contexts, active = config.list_kube_config_contexts(location)
        client = config.new_client_from_config(location, context, persist_config=False)
    except (ConfigException, OSError) as error:
        where = location or "~/.kube/config"
        raise CommandError(
            f"no cluster to talk to: kubeconfig {where}: {_line(str(error))}. Set KUBECONFIG, --kubeconfig or --context"
        ) from error
    chosen = next((each for each in contexts if each["name"] == context), active)
    return client, (chosen.get("context") or {}).get("namespace") or "default"


class Kube:
    """One context of a kubeconfig. Every method raises CommandError where the API server does not do as asked."""

    def __init__(self, client: Any) -> None:
        # Imported late: the client takes a third of a second, which who works with files does not wait for.
        from kubernetes import client as kubernetes

        self._custom = kubernetes.CustomObjectsApi(client)
        self._batch = kubernetes.BatchV1Api(client)
        self._core = kubernetes.CoreV1Api(client)

    def profiles(self, namespace: str | None) -> list[Raw]:
        """SpeculationProfiles of a namespace, or of all."""
        if namespace is None:
            return self._items(
                lambda **options: self._custom.list_cluster_custom_object(GROUP, VERSION, PROFILE.plural, **options),
                f"list {PROFILE.name} in all namespaces",
            )
        return self._items(
            lambda **options: self._custom.list_namespaced_custom_object(
                GROUP, VERSION, namespace, PROFILE.plural, **options
            ),
            f"list {PROFILE.name} in namespace {namespace}",
        )

    def cluster_profiles(self) -> list[Raw]:
        """ClusterSpeculationProfiles."""
        return self._items(
            lambda **options: self._custom.list_cluster_custom_object(
                GROUP, VERSION, CLUSTER_PROFILE.plural, **options
            ),
            f"list {CLUSTER_PROFILE.name}",
        )

    def profile(self, name: str, namespace: str | None) -> Raw:
        """One profile of a namespace, or (None) of the cluster."""
        if namespace is None:
            act = f"get {CLUSTER_PROFILE.kind} {name}"
            return self._call(
                lambda **options: self._custom.get_cluster_custom_object(
                    GROUP, VERSION, CLUSTER_PROFILE.plural, name, **options
                ),
                act,
            )
        return self._call(
            lambda **options: self._custom.get_namespaced_custom_object(
                GROUP, VERSION, namespace, PROFILE.plural, name, **options
            ),
            f"get {PROFILE.kind} {name} in namespace {namespace}",
        )

    def write(self, manifest: Raw, *, replace: bool, dry_run: bool) -> str:
        """Create a profile, in its namespace or the cluster; ``replace``: put its spec in place of one that is there.

        Returns what was done: ``created``, ``replaced`` or ``unchanged``.
        """
        name, namespace = manifest["metadata"]["name"], manifest["metadata"].get("namespace")
        options = {"dry_run": "All"} if dry_run else {}
        create: Callable[..., Any]
        update: Callable[..., Any]
        if namespace is None:
            place: tuple[str, ...] = (GROUP, VERSION, CLUSTER_PROFILE.plural)
            create, update = self._custom.create_cluster_custom_object, self._custom.replace_cluster_custom_object
        else:
            place = (GROUP, VERSION, namespace, PROFILE.plural)
            create, update = self._custom.create_namespaced_custom_object, self._custom.replace_namespaced_custom_object
        where = f"{manifest['kind']} {name}" + ("" if namespace is None else f" in namespace {namespace}")
        if not replace:
            self._call(lambda **more: create(*place, manifest, **options, **more), f"create {where}")
            return "created"
        try:
            there = self.profile(name, namespace)
        except MissingError:
            return self.write(manifest, replace=False, dry_run=dry_run)
        if there.get("spec") == manifest["spec"]:
            return "unchanged"
        # What others wrote beside the spec stays.
        body = {**there, "spec": manifest["spec"]}
        self._call(lambda **more: update(*place, name, body, **options, **more), f"replace {where}")
        return "replaced"

    def profiling_jobs(self, namespace: str | None) -> list[Raw]:
        """Profiling Jobs of a namespace, or of all."""
        return self._labelled(self._batch, "job", namespace)

    def profiling_pods(self, namespace: str | None) -> list[Raw]:
        """Their pods."""
        return self._labelled(self._core, "pod", namespace)

    def log(self, namespace: str, pod: str) -> str:
        """The end of a pod's log."""
        answer = self._raw(
            lambda **options: self._core.read_namespaced_pod_log(pod, namespace, tail_lines=LOG_LINES, **options),
            f"read the log of pod {pod} in namespace {namespace}",
        )
        return answer.decode("utf-8", "replace")

    def _labelled(self, api: Any, what: str, namespace: str | None) -> list[Raw]:
        act = f"list {what}s in {'all namespaces' if namespace is None else f'namespace {namespace}'}"
        if namespace is None:
            function = getattr(api, f"list_{what}_for_all_namespaces")
            return self._items(lambda **options: function(label_selector=JOB_LABEL, **options), act)
        function = getattr(api, f"list_namespaced_{what}")
        return self._items(lambda **options: function(namespace, label_selector=JOB_LABEL, **options), act)

    def _items(self, call: Callable[..., Any], act: str) -> list[Raw]:
        found: list[Raw] = self._call(call, act).get("items") or []
        return found

    def _call(self, call: Callable[..., Any], act: str) -> Raw:
        parsed: Raw = json.loads(self._raw(call, act))
        return parsed

    def _raw(self, call: Callable[..., Any], act: str) -> bytes:
        """The answer as it came: typed models would drop fields that they do not know."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            body: bytes = call(_preload_content=False, _request_timeout=REQUEST_SECONDS).data
        except ApiException as error:
            raise _refused(error.status, _sentence(error.body, error.reason), act) from error
        except HTTPError as error:
            raise CommandError(
                f"cannot {act}: the API server does not answer ({type(error).__name__}). "
                "Check --context and the network"
            ) from error
        return body


class MissingError(CommandError):
    """There is no such object."""


def _refused(status: int, said: str, act: str) -> CommandError:
    if status == 404 and "page not found" in said:
        remedy = "TurboSpec's resources are not installed: kubectl apply --server-side -f crds/"
        return CommandError(f"cannot {act}: {remedy}")
    if status == 404:
        return MissingError(f"cannot {act}: there is none. See: kubectl turbospec profile list -A")
    remedies: Mapping[int, str] = {
        401: "Log in again, or choose another --context",
        403: "Ask the cluster's administrator for that permission",
        409: "It is there already; put it in its place with --replace",
    }
    remedy = remedies.get(status, "")
    return CommandError(f"cannot {act}: {said}{f'. {remedy}' if remedy else ''}")


def _sentence(body: Any, reason: Any) -> str:
    """The server's own words, in one line."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    try:
        return _line(str(json.loads(text)["message"])).rstrip(".")
    except (ValueError, KeyError, TypeError):
        return _line(text) or str(reason)


def _line(text: str) -> str:
    return " ".join(text.split())
