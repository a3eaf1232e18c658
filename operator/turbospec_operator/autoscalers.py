"""Looks for autoscalers and at what they scale: read permissions only, and none of them is indispensable."""

import asyncio
import time
from collections.abc import Collection

from turbospec.fleet.autoscalers import AutoscalerView
from turbospec_operator.autoscaler_views import LABEL_SCALED_OBJECT, autoscaler_view, scale_reference
from turbospec_operator.cluster import HPAS, SCALED_OBJECTS, ApiError, Cluster, DeniedError, Kind, Raw

LIST_SECONDS = 10.0
"""The controller looks every 15 s: what it says is then at most as old as what it knows."""

DETAIL_SECONDS = 30.0
"""Selectors and queries change when people change them."""

_Place = tuple[str, str]
"""Namespace and name of an autoscaler."""


class AutoscalerReader:
    """Reads HorizontalPodAutoscalers v2 with the selectors of their targets, and the ScaledObjects behind them.

    What may not be read, or does not answer, is left out and noted: control of the engines does not hang on it.
    """

    def __init__(self, cluster: Cluster, namespace: str | None) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._views: tuple[AutoscalerView, ...] = ()
        self._denied: tuple[str, ...] = ()
        self._read_at: float | None = None
        self._kinds: dict[tuple[str, str], Kind] = {}
        self._details: dict[_Place, tuple[float, str | None, Raw | None]] = {}

    async def read(self, namespaces: Collection[str]) -> tuple[tuple[AutoscalerView, ...], tuple[str, ...]]:
        """The autoscalers in these namespaces, at most ``LIST_SECONDS`` old, and the permissions that were missing.

        Where the API server does not answer, they are those that were last seen.
        """
        now = time.monotonic()
        if namespaces and (self._read_at is None or now - self._read_at >= LIST_SECONDS):
            self._read_at = now
            try:
                await self._read(namespaces)
            except DeniedError as error:
                self._views = ()
                self._denied = (f"list {error.resource} in {error.where}: autoscalers are not seen",)
            except ApiError:
                pass  # the round's own lists say that the API server does not answer
        return tuple(view for view in self._views if view.namespace in namespaces), self._denied

    async def _read(self, namespaces: Collection[str]) -> None:
        listed = await self._cluster.list(HPAS, self._namespace)
        wanted = {_place(raw): raw for raw in listed if raw["metadata"]["namespace"] in namespaces}
        self._details = {place: detail for place, detail in self._details.items() if place in wanted}
        denied: set[str] = set()
        self._views = tuple(await asyncio.gather(*(self._view(raw, denied) for raw in wanted.values())))
        self._denied = tuple(sorted(denied))

    async def _view(self, raw: Raw, denied: set[str]) -> AutoscalerView:
        place, now = _place(raw), time.monotonic()
        known = self._details.get(place)
        if known is not None and now - known[0] < DETAIL_SECONDS:
            return autoscaler_view(raw, known[1], known[2])
        missing: set[str] = set()
        selector, scaled_object = await self._selector(raw, missing), await self._scaled_object(raw, missing)
        if missing:
            denied |= missing  # and asked again next time, for it is said only while it is missing
        else:
            self._details[place] = now, selector, scaled_object
        return autoscaler_view(raw, selector, scaled_object)

    async def _selector(self, raw: Raw, denied: set[str]) -> str | None:
        """That of the target's scale subresource, which every kind that can be scaled has; None where there is none."""
        version, kind, name = scale_reference(raw)
        namespace = raw["metadata"]["namespace"]
        try:
            served = self._kinds.get((version, kind)) or await self._cluster.kind_named(version, kind)
            if served is None:
                return None
            self._kinds[version, kind] = served
            scale = await self._cluster.get_scale(served, namespace, name)
        except DeniedError as error:
            denied.add(
                f"get {error.resource}/scale in {error.where}: pods are linked to autoscalers by their owners only"
            )
            return None
        except ApiError:
            return None
        selector = (scale.get("status") or {}).get("selector")
        return str(selector) if selector else None

    async def _scaled_object(self, raw: Raw, denied: set[str]) -> Raw | None:
        name = (raw["metadata"].get("labels") or {}).get(LABEL_SCALED_OBJECT)
        if name is None:
            return None
        try:
            return await self._cluster.get(SCALED_OBJECTS, raw["metadata"]["namespace"], name)
        except DeniedError as error:
            denied.add(f"get {error.resource} in {error.where}: what KEDA's triggers read is not seen")
            return None
        except ApiError:
            return None


def _place(raw: Raw) -> _Place:
    return raw["metadata"]["namespace"], raw["metadata"]["name"]
