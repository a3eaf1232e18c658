"""Leader election against the API server: takes, renews and gives back our Lease. The rules are in ``election``."""

import asyncio
import contextlib
import datetime as dt
import logging
import math
import time
from typing import Any

from turbospec_operator import names
from turbospec_operator.cluster import LEASES, ApiError, Cluster, DeniedError, ExistsError, NotFoundError, Raw
from turbospec_operator.election import Claim, Election, LeaseRecord, released

log = logging.getLogger(__name__)

STALE_SECONDS = 30.0
"""Readiness of a standby outlives a short loss of the API server, in which it could not lead either."""


class Elector:
    """One operator's part in the election: ``lead`` until it has won, then ``hold`` until it has lost."""

    def __init__(self, cluster: Cluster, namespace: str, identity: str, lease_seconds: float) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._election = Election(identity, lease_seconds)
        self._version: str | None = None
        self._proven_at: float | None = None
        self._problem: str | None = "the Lease has not been read yet"

    async def lead(self) -> int:
        """Wait until this operator leads; returns the term, which is the epoch of its control documents."""
        said: str | None = None
        while self._election.term is None:
            await self._look()
            state = self._problem or f"{self._election.holder or 'nobody'} leads"
            if self._election.term is None and state != said:
                said = state
                log.log(logging.WARNING if self._problem else logging.INFO, "standby: %s", state)
            if self._election.term is None:
                await asyncio.sleep(self._election.retry_seconds)
        log.info("%s leads, epoch %d", self._election.identity, self._election.term)
        return self._election.term

    async def hold(self) -> None:
        """Renew until that no longer succeeds; returns before anybody else may take the Lease."""
        while self.seconds_left() > 0.0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.seconds_left()):
                    await asyncio.sleep(self._election.retry_seconds)
                    await self._look()
        log.error("no longer the leader: %s", self._problem or f"{self._election.holder or 'nobody'} holds the Lease")

    def seconds_left(self) -> float:
        """For how long this operator may still write as the leader; 0 for a standby."""
        return self._election.seconds_left(_now())

    async def release(self) -> None:
        """Give the Lease back, if it is ours, so that another operator leads at once. Raises nothing."""
        if self.seconds_left() <= 0.0:
            return
        try:
            lease = await self._cluster.get(LEASES, self._namespace, names.LEASE)
            if _version(lease) == self._version:
                await self._cluster.replace(LEASES, self._namespace, self._body(released(_record(lease)), lease))
                log.info("gave the Lease back")
        except ApiError as error:
            log.warning("the Lease runs out by itself: %s", error)

    def not_ready(self) -> str | None:
        """Why this standby could not take over, or None."""
        if self._proven_at is None or _now() - self._proven_at > STALE_SECONDS:
            return self._problem or "the API server has not answered for a while"
        return None

    async def _look(self) -> None:
        """Read the Lease, and write it where that is ours to do."""
        try:
            lease = await self._read()
            claim = self._election.consider(None if lease is None else _record(lease), _now())
            if claim is not None:
                await self._write(claim, lease)
            self._problem, self._proven_at = None, _now()
        except ExistsError:
            self._problem, self._proven_at = None, _now()  # another was faster; the next look sees whom
        except DeniedError as error:
            self._problem, self._proven_at = str(error), None  # that does not pass: it could never take over
        except ApiError as error:
            self._problem = str(error)

    async def _read(self) -> Raw | None:
        try:
            return await self._cluster.get(LEASES, self._namespace, names.LEASE)
        except NotFoundError:
            return None

    async def _write(self, claim: Claim, lease: Raw | None) -> None:
        identity, seconds = self._election.identity, self._election.lease_seconds
        body = self._body(LeaseRecord(identity, claim.term, _timestamp(), seconds), lease, new=claim.new)
        sent_at = _now()
        if lease is None:
            written = await self._cluster.create(LEASES, self._namespace, body)
        else:
            written = await self._cluster.replace(LEASES, self._namespace, body)
        self._version = _version(written)
        self._election.won(claim, sent_at)

    def _body(self, record: LeaseRecord, lease: Raw | None, *, new: bool = False) -> Raw:
        """The Lease to write; its resourceVersion, where it has one, makes the API server refuse a lost race."""
        old: dict[str, Any] = (lease or {}).get("spec") or {}
        return {
            "apiVersion": LEASES.group_version,
            "kind": LEASES.kind,
            "metadata": lease["metadata"] if lease else {"name": names.LEASE, "namespace": self._namespace},
            "spec": {
                "holderIdentity": record.holder,
                "leaseTransitions": record.term,
                "leaseDurationSeconds": math.ceil(record.seconds or 1),
                "acquireTime": record.renewed if new else old.get("acquireTime", record.renewed),
                "renewTime": record.renewed,
            },
        }


def _record(lease: Raw) -> LeaseRecord:
    spec = lease.get("spec") or {}
    seconds = spec.get("leaseDurationSeconds")
    return LeaseRecord(
        holder=str(spec.get("holderIdentity") or ""),
        term=int(spec.get("leaseTransitions") or 0),
        renewed=str(spec.get("renewTime") or ""),
        seconds=None if seconds is None else float(seconds),
    )


def _version(lease: Raw) -> str | None:
    version: str | None = lease["metadata"].get("resourceVersion")
    return version


def _timestamp() -> str:
    """RFC 3339 with microseconds, as Leases hold it; for people only."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _now() -> float:
    """Seconds that also pass while the machine is suspended, which time.monotonic() does not promise."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
