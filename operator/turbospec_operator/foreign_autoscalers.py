"""Autoscalers that are no HorizontalPodAutoscaler, by their own resources: looked for only where they are installed."""

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from turbospec.fleet.autoscalers import ForeignAutoscaler
from turbospec_operator.cluster import ApiError, Cluster, DeniedError, Kind

Raw = Mapping[str, Any]

LIST_SECONDS = 30.0
"""Who scales what changes when people change it."""

ABSENT_SECONDS = 300.0
"""A system that is not installed is looked for again after this."""

KNATIVE_CLASS = "autoscaling.knative.dev/class"
KNATIVE_METRIC = "autoscaling.knative.dev/metric"
KNATIVE_HPA = "hpa.autoscaling.knative.dev"
"""Pods of this class have a HorizontalPodAutoscaler, which is seen as such."""


def variant_autoscaling(raw: Raw) -> ForeignAutoscaler:
    """llm-d's VariantAutoscaling. Older ones name no target: theirs is the Deployment of the same name."""
    meta, spec = raw["metadata"], raw.get("spec") or {}
    reference = spec.get("scaleTargetRef") or {}
    target = f"{str(reference.get('kind') or 'Deployment').lower()}/{reference.get('name') or meta['name']}"
    return ForeignAutoscaler(meta["namespace"], meta["name"], "WVA", target)


def pod_autoscaler(raw: Raw) -> ForeignAutoscaler | None:
    """Knative's PodAutoscaler, which goes by concurrency unless told otherwise; None where an HPA does its work."""
    meta = raw["metadata"]
    annotations = meta.get("annotations") or {}
    if annotations.get(KNATIVE_CLASS) == KNATIVE_HPA:
        return None
    reference = (raw.get("spec") or {}).get("scaleTargetRef") or {}
    target = f"{str(reference.get('kind') or 'Deployment').lower()}/{reference.get('name') or meta['name']}"
    said = str(annotations.get(KNATIVE_METRIC) or "concurrency")
    metric = "requests_per_second (rps)" if said == "rps" else said
    return ForeignAutoscaler(meta["namespace"], meta["name"], "Knative", target, metric)


@dataclass(frozen=True, slots=True)
class _System:
    """Where a system's resources are served, and what they say."""

    group_version: str
    kind: str
    view: Callable[[Raw], ForeignAutoscaler | None]


SYSTEMS = (
    _System("llmd.ai/v1alpha1", "VariantAutoscaling", variant_autoscaling),
    _System("autoscaling.internal.knative.dev/v1alpha1", "PodAutoscaler", pod_autoscaler),
)


class ForeignReader:
    """Lists their resources; what may not be read, or does not answer, holds nothing up."""

    def __init__(self, cluster: Cluster, namespace: str | None) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._served: dict[str, tuple[float, Kind | None]] = {}
        self._views: tuple[ForeignAutoscaler, ...] = ()
        self._denied: tuple[str, ...] = ()
        self._read_at = float("-inf")

    async def read(self, namespaces: Collection[str]) -> tuple[tuple[ForeignAutoscaler, ...], tuple[str, ...]]:
        """Those in these namespaces, at most ``LIST_SECONDS`` old, and the permissions that were missing.

        Where the API server does not answer, they are those that were last seen.
        """
        now = time.monotonic()
        if namespaces and now - self._read_at >= LIST_SECONDS:
            self._read_at = now
            with suppress(ApiError):  # the round's own lists say that the API server does not answer
                await self._read(now)
        return tuple(view for view in self._views if view.namespace in namespaces), self._denied

    async def _read(self, now: float) -> None:
        found: list[ForeignAutoscaler] = []
        denied: list[str] = []
        for system in SYSTEMS:
            kind = await self._kind(system, now)
            if kind is None:
                continue
            try:
                listed = await self._cluster.list(kind, self._namespace)
            except DeniedError as error:
                denied.append(f"list {error.resource} in {error.where}: that it scales pods is not seen")
                continue
            found += [view for raw in listed if (view := system.view(raw)) is not None]
        self._views, self._denied = tuple(found), tuple(denied)

    async def _kind(self, system: _System, now: float) -> Kind | None:
        """As the API server serves it; asked without any permission but to discover, which everybody has."""
        known = self._served.get(system.kind)
        if known is not None and (known[1] is not None or now - known[0] < ABSENT_SECONDS):
            return known[1]
        try:
            kind = await self._cluster.kind_named(system.group_version, system.kind)
        except DeniedError:
            kind = None
        self._served[system.kind] = now, kind
        return kind
