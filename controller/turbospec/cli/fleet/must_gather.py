"""``turbospec must-gather``: everything that a person far away needs to help, and nothing that is secret."""

import dataclasses
import datetime as dt
import io
import json
import sys
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import click

import turbospec
from turbospec.cli.errors import CommandError
from turbospec.cli.fleet import diagnose as diagnosis
from turbospec.cli.fleet.api import Api, Raw, policies_path
from turbospec.cli.fleet.output import show
from turbospec.cli.fleet.redaction import redacted, redacted_text
from turbospec.cli.options import EVERYWHERE, Place, output_option, place_options
from turbospec.wire.crd import CLUSTER_PROFILE, GROUP, PROFILE, VERSION
from turbospec_operator import names
from turbospec_operator.settings import DEFAULT_NAMESPACE

Answer = TypeVar("Answer")

LOG_LINES = 5000
LOG_BYTES = 4 << 20
ARCHIVES = (".tar.gz", ".tgz")
PART_OF = "app.kubernetes.io/part-of=turbospec"
CORE, APPS = "/api/v1", "/apis/apps/v1"
HOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@click.command("must-gather")
@EVERYWHERE
@click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(path_type=Path),
    help="A .tar.gz, or a new folder. Default: turbospec-must-gather-TIME.tar.gz here.",
)
@place_options
@output_option("table", "json", "yaml")
def must_gather(*, everywhere: bool, path: Path | None, place: Place, output: str) -> None:
    """Gather policies, profiles, Jobs, events, pods, the operator's logs and configuration into one file.

    No Secret is asked for, and the logs of serving pods, which may hold what users wrote, are not read. Tokens,
    passwords and the values of variables that do not say how an engine runs are replaced by REDACTED. index.json says
    what could not be read, and why.
    """
    now = dt.datetime.now(dt.UTC)
    target = path or Path(f"turbospec-must-gather-{now:%Y%m%dT%H%M%SZ}.tar.gz")
    if target.exists():
        raise CommandError(f"{target} is there already: choose another --file")
    gathered = Gathered(place.api, tell=sys.stderr.isatty())
    gather(gathered, None if everywhere else place.namespace)
    index = {
        "turbospec": turbospec.__version__,
        "gatheredAt": now.isoformat(timespec="seconds"),
        "namespace": None if everywhere else place.namespace,
        "files": sorted(gathered.files),
        "notRead": gathered.missing,
    }
    gathered.put("index.json", index)
    _write(target, gathered.files)
    show(output, {"file": str(target), **index}, _text(target, gathered))


class Gathered:
    """Files by their paths, and what could not be read, each with the reason."""

    def __init__(self, api: Api, *, tell: bool = False) -> None:
        self.api = api
        self.files: dict[str, bytes] = {}
        self.missing: list[dict[str, str]] = []
        self._tell = tell

    def put(self, name: str, document: object) -> None:
        """A file of JSON."""
        self.files[name] = json.dumps(redacted(document), indent=1).encode()

    def items(self, name: str, path: str, kept: Callable[[Raw], Raw] = dict, **query: str) -> list[Raw]:
        """Put what is ``kept`` of each object listed there into a file; returns them, none where they cannot be
        listed."""
        found = self.asked(path, lambda: self.api.list(path, **query))
        if found is not None:
            self.put(name, [kept(each) for each in found])
        return found or []

    def log(self, name: str, path: str, **query: str) -> None:
        """Put the end of a log into a file."""
        limits = {"tailLines": str(LOG_LINES), "limitBytes": str(LOG_BYTES), "timestamps": "true"}
        text = self.asked(path, lambda: self.api.text(path, **limits, **query))
        if text is not None:
            self.files[name] = redacted_text(text).encode()

    def asked(self, what: str, ask: Callable[[], Answer]) -> Answer | None:
        """The answer, or None, with the reason noted."""
        if self._tell:
            click.echo(f"reading {what}", err=True)
        try:
            return ask()
        except CommandError as error:
            self.missing.append({"what": what, "why": error.message})
            return None


def gather(into: Gathered, namespace: str | None) -> None:
    """Everything: of the cluster, of TurboSpec's own namespaces, of this one or of all. Raises CommandError where the
    API server does not answer at all."""
    into.put("cluster/version.json", into.api.get("/version"))
    into.items("cluster/customresourcedefinitions.json", CRDS, _definition, labelSelector=PART_OF)
    into.items("cluster/mutatingwebhookconfigurations.json", HOOKS, labelSelector=diagnosis.OURS)
    into.items("cluster/clusterspeculationprofiles.json", f"/apis/{GROUP}/{VERSION}/{CLUSTER_PROFILE.plural}")
    into.items("cluster/nodes.json", f"{CORE}/nodes", _node)
    deployments = into.items("cluster/deployments.json", f"{APPS}/deployments", labelSelector=diagnosis.OURS)
    for home in sorted({each["metadata"]["namespace"] for each in deployments} or {DEFAULT_NAMESPACE}):
        _system(into, home)
    governed = into.items("policies.json", policies_path(namespace))
    places = {str(each["metadata"]["namespace"]) for each in governed} | ({namespace} if namespace else set())
    for where in sorted(places):
        _namespace(into, where, [each for each in governed if each["metadata"]["namespace"] == where])
    findings = into.asked("diagnose", lambda: diagnosis.findings(into.api, namespace))
    if findings is not None:
        into.put("diagnose.json", [dataclasses.asdict(each) for each in findings])


def _system(into: Gathered, namespace: str) -> None:
    """A namespace in which TurboSpec itself runs."""
    folder, core = f"system/{namespace}", f"{CORE}/namespaces/{quote(namespace)}"
    into.items(f"{folder}/events.json", f"{core}/events")
    into.items(f"{folder}/leases.json", f"/apis/coordination.k8s.io/v1/namespaces/{quote(namespace)}/leases")
    _logs(into, folder, into.items(f"{folder}/pods.json", f"{core}/pods", labelSelector=diagnosis.OURS))


def _namespace(into: Gathered, namespace: str, governed: Iterable[Raw]) -> None:
    """A namespace with policies: profiles, Jobs, events, autoscalers, and the pods that policies select."""
    folder, where = f"namespaces/{namespace}", f"namespaces/{quote(namespace)}"
    into.items(f"{folder}/events.json", f"{CORE}/{where}/events")
    into.items(f"{folder}/speculationprofiles.json", f"/apis/{GROUP}/{VERSION}/{where}/{PROFILE.plural}")
    into.items(f"{folder}/horizontalpodautoscalers.json", f"/apis/autoscaling/v2/{where}/horizontalpodautoscalers")
    profiling = names.LABEL_PROFILING_KEY
    into.items(f"{folder}/jobs.json", f"/apis/batch/v1/{where}/jobs", labelSelector=profiling)
    _logs(into, folder, into.items(f"{folder}/profiling-pods.json", f"{CORE}/{where}/pods", labelSelector=profiling))
    for policy in governed:
        labels = (((policy.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}).items()
        selector = ",".join(f"{label}={value}" for label, value in labels)
        file = f"{folder}/pods-of-{policy['metadata']['name']}.json"
        into.items(file, f"{CORE}/{where}/pods", labelSelector=selector)


def _logs(into: Gathered, folder: str, pods: Iterable[Raw]) -> None:
    """Logs of our own pods, also of containers that have ended."""
    for pod in pods:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        path = f"{CORE}/namespaces/{quote(namespace)}/pods/{quote(name)}/log"
        for status in (pod.get("status") or {}).get("containerStatuses") or ():
            container = str(status["name"])
            into.log(f"{folder}/logs/{name}.{container}.log", path, container=container)
            if status.get("restartCount"):
                into.log(f"{folder}/logs/{name}.{container}.previous.log", path, container=container, previous="true")


def _definition(raw: Raw) -> Raw:
    """A definition without its schema, which this command's version says."""
    versions = [each["name"] for each in raw["spec"]["versions"]]
    return {"metadata": raw["metadata"], "versions": versions, "status": raw.get("status")}


def _node(raw: Raw) -> Raw:
    """What hardware a node has, and whether it is well."""
    status = raw.get("status") or {}
    kept = {name: status.get(name) for name in ("capacity", "allocatable", "nodeInfo", "conditions")}
    return {
        "name": raw["metadata"]["name"],
        "labels": raw["metadata"].get("labels"),
        "taints": (raw.get("spec") or {}).get("taints"),
        **kept,
    }


def _write(target: Path, files: dict[str, bytes]) -> None:
    """An archive, or a folder. Raises CommandError where it cannot be written."""
    try:
        if target.name.endswith(ARCHIVES):
            stem = target.name.removesuffix(".tgz").removesuffix(".tar.gz")
            with tarfile.open(target, "x:gz") as archive:
                for name, content in sorted(files.items()):
                    entry = tarfile.TarInfo(f"{stem}/{name}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
            return
        for name, content in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content)
    except OSError as error:
        raise CommandError(f"{target}: cannot be written: {error.strerror}; choose another --file") from error


def _text(target: Path, gathered: Gathered) -> str:
    lines = [f"{target}: {len(gathered.files)} files. Look through it before you hand it on."]
    if gathered.missing:
        lines.append(f"{len(gathered.missing)} thing(s) could not be read:")
        lines += [f"  {each['why']}" for each in gathered.missing]
    return "\n".join(lines)
