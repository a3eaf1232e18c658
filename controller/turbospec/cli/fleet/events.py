"""Kubernetes events as findings: warnings of the last hour about what is ours. Pure."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from turbospec.cli.fleet.checks import NOTICE, Finding
from turbospec.wire.crd import POLICY

Raw = dict[str, Any]

RECENT = dt.timedelta(hours=1)
"""API servers keep events for an hour by default; where they keep them longer, older ones are history."""

OURS = "turbospec-"
"""How everything that we make is named: Jobs and their pods, our Deployments and theirs."""

NO_NEWS = frozenset({"Unhealthy"})
"""vLLM takes minutes to start, in which its probes fail; where that does not pass, BackOff follows."""

_REMEDIES: Mapping[str, str] = {
    "FailedScheduling": "make room, or change node selectors, tolerations and requests",
    "FailedMount": "see that the volume's ConfigMap, Secret or claim is there",
    "FailedCreate": "quotas and admission policies of namespace {namespace}: the message names it",
    "BackOff": "kubectl logs {name} -n {namespace} --all-containers --previous",
}
_REMEDY = "kubectl describe {kind} {name} -n {namespace}"


def warnings(events: Sequence[Raw], pods: Set[str], said: Set[str], now: dt.datetime) -> Iterator[Finding]:
    """One finding for each object and reason, with the latest message.

    About policies, what is ours, and these ``pods``; ``said`` are reasons of policies that conditions say already.
    Notices, for an event tells what was, not what is.
    """
    latest: dict[tuple[str, str, str, str], tuple[dt.datetime, Raw]] = {}
    counts: dict[tuple[str, str, str, str], int] = {}
    for event in events:
        about, at = event.get("involvedObject") or {}, moment(event)
        if event.get("type") != "Warning" or at is None or now - at > RECENT or not _ours(about, pods):
            continue
        key = (about.get("namespace", ""), about.get("kind", ""), about.get("name", ""), str(event.get("reason")))
        if key[3] in NO_NEWS or (key[1] == POLICY.kind and key[3] in said):
            continue
        counts[key] = counts.get(key, 0) + _count(event)
        if key not in latest or latest[key][0] < at:
            latest[key] = at, event
    for key in sorted(latest):
        namespace, kind, name, reason = key
        times = f" ({counts[key]} times)" if counts[key] > 1 else ""
        message = " ".join(str(latest[key][1].get("message") or "").split())
        remedy = _REMEDIES.get(reason, _REMEDY).format(kind=kind.lower(), name=name, namespace=namespace)
        yield Finding(NOTICE, f"{namespace}/{kind.lower()}/{name}", f"{reason}{times}: {message}", remedy)


def _ours(about: Raw, pods: Set[str]) -> bool:
    kind, name = about.get("kind"), str(about.get("name"))
    return kind == POLICY.kind or name.startswith(OURS) or (kind == "Pod" and name in pods)


def moment(event: Raw) -> dt.datetime | None:
    """When it was seen last; None where it does not say."""
    series = event.get("series") or {}
    for text in (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime")):
        if text:
            return dt.datetime.fromisoformat(str(text))
    return None


def _count(event: Raw) -> int:
    return int((event.get("series") or {}).get("count") or event.get("count") or 1)
