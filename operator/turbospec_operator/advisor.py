"""Works out advice for policies in mode Advise, beside the fleet loop: hours apart, from Prometheus or the engines."""

import asyncio
import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import requests
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from urllib3.util.retry import Retry

from turbospec.advise.queries import Series, Source, Span, collected, groups
from turbospec.advise.series import Group
from turbospec.fleet.advised import CONDITION, AdviceReason, AdviceView
from turbospec.fleet.matching import govern
from turbospec.fleet.profiles import fitting_profiles
from turbospec.fleet.snapshot import FleetSnapshot, Mode, PodView, PolicyView
from turbospec_operator.advice import advice_on, own_groups, unknown
from turbospec_operator.reported_windows import WINDOW_SECONDS, ReportedWindows

log = logging.getLogger(__name__)

SCRAPED_SECONDS = 6 * 3600.0
"""How long advice from Prometheus stands: it is about a week, and takes seventy queries."""
REPORTED_SECONDS = 3600.0
"""How long advice from the engines' own counts stands."""
RETRY_SECONDS = 600.0
"""How long advice stands that had nothing to go by, or is of another policy or profile than there is now."""
SINCE_SECONDS, STEP_SECONDS = 7 * 86_400, 300
REQUEST_SECONDS = 30

Raw = Mapping[str, Any]


class PrometheusRanges:
    """Range queries to the operator's Prometheus, one at a time."""

    def __init__(self, url: str) -> None:
        self._client = PrometheusConnect(url=url, timeout=REQUEST_SECONDS, retry=Retry(total=0))

    def ranges(self, query: str, span: Span, done: Callable[[], None]) -> list[Series]:
        """Series over a span, in pieces. Raises what the client raises, KeyError, TypeError or ValueError."""

        def asked(piece: Span) -> Sequence[Mapping[str, Any]]:
            done()
            start, end = (dt.datetime.fromtimestamp(at, dt.UTC) for at in (piece.start, piece.end))
            answer: Sequence[Mapping[str, Any]] = self._client.custom_query_range(query, start, end, str(piece.step))
            return answer

        return collected(asked(piece) for piece in span.chunks())


@dataclass(frozen=True, slots=True)
class _Case:
    """A policy that wants advice, and what is seen of it now."""

    policy: PolicyView
    pods: tuple[PodView, ...]
    others: frozenset[str]
    question: tuple[object, ...]
    """Other answers are to be expected where it changes: the policy, or whether its engines have a profile."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """``stands_seconds`` are counted from ``at`` on. ``grounds``: it had windows to go by."""

    question: tuple[object, ...]
    at: float
    view: AdviceView
    stands_seconds: float
    grounds: bool


class Advisor:
    """Keeps one answer for every policy in mode Advise.

    What a policy's status says stands until there is one; and for as long as advice stands, also against one that had
    nothing to go by: engines' counts begin anew with every operator.
    """

    def __init__(self, source: Source | None) -> None:
        self._source = source
        self._windows = ReportedWindows()
        self._answers: dict[str, _Answer] = {}
        self._working: asyncio.Task[None] | None = None
        self._said: str | None = None
        self._started = time.monotonic()
        self._ending = threading.Event()

    def stop(self) -> None:
        """Ask Prometheus nothing more: what runs in a thread keeps the process from ending."""
        self._ending.set()

    def advised(self, snapshot: FleetSnapshot, statuses: Mapping[tuple[str, str], Raw]) -> FleetSnapshot:
        """The snapshot with all the advice there is. ``statuses`` are those of the policies as they are written."""
        found: list[AdviceView] = []
        for policy in snapshot.policies:
            if policy.mode is Mode.ADVISE and policy.invalid is None:
                view = self._view_of(policy, statuses.get((policy.namespace, policy.name), {}))
                found += [] if view is None else [view]
        return replace(snapshot, advice=tuple(found))

    def _view_of(self, policy: PolicyView, status: Raw) -> AdviceView | None:
        answer, said = self._answers.get(policy.uid), written(policy, status)
        young = time.monotonic() - self._started < SCRAPED_SECONDS
        if answer is None or (said is not None and young and not answer.grounds):
            return said
        return answer.view

    def look(self, snapshot: FleetSnapshot) -> None:
        """Take note of what engines say, and begin to work where advice is due; returns at once."""
        cases = _cases(snapshot)
        self._answers = {uid: answer for uid, answer in self._answers.items() if uid in {c.policy.uid for c in cases}}
        self._windows.see((pod for case in cases for pod in case.pods), snapshot.now_seconds)
        if self._working is not None and not self._working.done():
            return
        due = [case for case in cases if self._due(case)]
        if due:
            self._working = asyncio.create_task(self._work(due, snapshot))

    async def settled(self) -> None:
        """Wait until what was begun is done."""
        if self._working is not None:
            await self._working

    def _due(self, case: _Case) -> bool:
        answer = self._answers.get(case.policy.uid)
        if answer is None:
            return True
        stands = answer.stands_seconds if answer.question == case.question else RETRY_SECONDS
        return time.monotonic() - answer.at >= stands

    async def _work(self, due: Sequence[_Case], snapshot: FleetSnapshot) -> None:
        """One after the other; whatever goes wrong with one is said, and tried again later."""
        for case in due:
            problem: str | None = None
            try:
                answer = await asyncio.to_thread(self._answer, case, self._reported(case), snapshot)
            except (requests.RequestException, PrometheusApiClientException) as error:
                problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            except Exception as error:  # noqa: BLE001 a defect here must neither end the loop nor be met every round
                problem = f"{type(error).__name__}: {error}"
            if problem is not None:
                view = unknown(case.policy, f"a Prometheus that answers (prometheus.url): {problem}", "Prometheus")
                answer = _Answer(case.question, time.monotonic(), view, RETRY_SECONDS, grounds=False)
            if self._ending.is_set():
                return
            self._answers[case.policy.uid] = answer
            self._say(problem)

    def _answer(self, case: _Case, reported: Sequence[Group], snapshot: FleetSnapshot) -> _Answer:
        found: Sequence[Group] = self._scraped(case, snapshot.now_seconds)
        stands = SCRAPED_SECONDS
        source = f"By Prometheus, over {SINCE_SECONDS // 86_400} days."
        if not any(group.busy for group in found) and reported:
            found, stands = reported, REPORTED_SECONDS
            windows = max(len(engine.windows) for group in reported for engine in group.engines)
            source = f"By the engines' own counts, over {windows * WINDOW_SECONDS / 3600.0:.1f} hours."
        view = advice_on(case.policy, case.pods, found, snapshot.profiles, source)
        grounds = any(group.busy for group in found)
        return _Answer(case.question, time.monotonic(), view, stands if grounds else RETRY_SECONDS, grounds)

    def _scraped(self, case: _Case, now: float) -> tuple[Group, ...]:
        if self._source is None:
            return ()
        selector = f'namespace="{case.policy.namespace}"'
        found = groups(self._source, selector, Span.until(now, SINCE_SECONDS, STEP_SECONDS), self._go_on)
        return own_groups(found, {pod.name for pod in case.pods}, case.others)

    def _reported(self, case: _Case) -> tuple[Group, ...]:
        """One group for every kind of engine."""
        kinds: dict[str, list[PodView]] = {}
        for pod in case.pods:
            if pod.report is not None:
                kinds.setdefault(pod.report.profile_key, []).append(pod)
        made = ((_hardware(pods), self._windows.series(pods)) for _, pods in sorted(kinds.items()))
        return tuple(Group(case.policy.namespace, name, series) for name, series in made if series)

    def _go_on(self) -> None:
        if self._ending.is_set():
            raise InterruptedError("the operator ends")

    def _say(self, problem: str | None) -> None:
        if problem != self._said:
            self._said = problem
            if problem is not None:
                log.warning("advice is not worked out: %s", problem)


def written(policy: PolicyView, status: Raw) -> AdviceView | None:
    """The advice in a policy's status, where an earlier operator put one there."""
    conditions = status.get("conditions") or []
    said = next((each for each in conditions if each.get("type") == CONDITION), None)
    if said is None or said.get("reason") not in set(AdviceReason):
        return None
    summary = str(status.get("advice", ""))
    reason = AdviceReason(said["reason"])
    return AdviceView(policy.namespace, policy.name, reason, summary, str(said.get("message", "")))


def _cases(snapshot: FleetSnapshot) -> list[_Case]:
    governed = govern(snapshot.policies, snapshot.pods).pods
    found: list[_Case] = []
    for policy in snapshot.policies:
        pods = governed.get(policy.uid, ())
        if policy.mode is not Mode.ADVISE or not pods:
            continue
        others = frozenset(pod.name for uid, theirs in governed.items() if uid != policy.uid for pod in theirs)
        keys = {(policy.namespace, pod.report.profile_key) for pod in pods if pod.report is not None}
        known = frozenset(fitting_profiles(snapshot.profiles, keys))
        found.append(_Case(policy, pods, others, (policy.generation, frozenset(keys), known)))
    return found


def _hardware(pods: Sequence[PodView]) -> str:
    identities = [pod.report.identity for pod in pods if pod.report is not None and pod.report.identity is not None]
    return identities[0].hardware if identities else ""
