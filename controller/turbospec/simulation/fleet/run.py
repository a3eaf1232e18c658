"""One day of one arm: arrivals, a load balancer, pods that come and go, and the autoscaler."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from turbospec.fleet.autoscalers import AutoscalerView
from turbospec.fleet.demand import RequestCounts
from turbospec.fleet.preserve_worth import under_preserve
from turbospec.simulation.fleet import startup
from turbospec.simulation.fleet.advice import worth_of
from turbospec.simulation.fleet.arms import PLAN_SECONDS, Arm
from turbospec.simulation.fleet.balancer import Balancer
from turbospec.simulation.fleet.engines import Fixed
from turbospec.simulation.fleet.files import FleetScenario, MetricName
from turbospec.simulation.fleet.hpa import SYNC_SECONDS, Autoscaler, Form, ObservedPod, Reading
from turbospec.simulation.fleet.loops import LoopBrain
from turbospec.simulation.fleet.metrics import Telemetry, backlog
from turbospec.simulation.fleet.operator import autoscaler_view
from turbospec.simulation.fleet.pods import Phase, Pod, victims
from turbospec.simulation.fleet.replica import Brain
from turbospec.simulation.fleet.results import FleetRun, Moment, Requests
from turbospec.simulation.fleet.serving import MACRO_SECONDS, Serving

OBSERVE_SECONDS = 5.0
"""How often arrivals are counted for the load signal; in production every 2 s."""
ROUND_SECONDS = 10.0
"""How often the fleet loop decides; in production every 2 s. New pods warm up for longer than that."""
LONGEST_DRAIN = 1800.0
"""After the day its last requests are followed for so long; what is not done then is a miss."""
SPARE_SLOTS = 2
"""Times the most replicas: pods that end hold their slots beside those that take their place."""

LOOK_TICKS = 200
"""Between two looks at how far the day is, and whether it is worth its end."""

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Scaling:
    """What the autoscaler reads, and its target. An oracle fleet has only a target: work per replica."""

    metric: MetricName
    target: float


@dataclass
class FleetSimulation:
    """A fleet; ``run`` goes through the day."""

    scenario: FleetScenario
    arm: Arm
    scaling: Scaling
    seed: int = 0
    progress: Progress | None = None
    keep_moments: bool = False
    most_misses: float | None = None
    """Share of the day's requests: the day ends where so many have missed."""
    pods: list[Pod] = field(default_factory=list, init=False)
    """Those that are there, in the order of their creation."""
    created: list[Pod] = field(default_factory=list, init=False)
    """Those that are gone too."""
    gateway: deque[int] = field(default_factory=deque, init=False)
    """Requests that no ready pod could take."""
    serving: Serving = field(init=False)
    _ready: list[Pod] = field(default_factory=list, init=False)
    """In this macro step."""
    _brains: dict[Pod, Brain] = field(default_factory=dict, init=False)
    _tick: int = field(default=0, init=False)
    _replicas: int = field(default=0, init=False)
    _moments: list[Moment] = field(default_factory=list, init=False)
    _events: int = field(default=0, init=False)
    _arrived: int = field(default=0, init=False)
    _counted: RequestCounts = field(default_factory=lambda: RequestCounts(0, 0, 0, 0, 0, 0), init=False)
    _finished: int = field(default=0, init=False)
    _output: int = field(default=0, init=False)
    _k_seconds: float = field(default=0.0, init=False)
    _pod_seconds: float = field(default=0.0, init=False)
    _readings: Sequence[Reading] = field(default=(), init=False)

    def __post_init__(self) -> None:
        spec = self.scenario.spec
        slots = SPARE_SLOTS * spec.autoscaler.max_replicas + SPARE_SLOTS
        self._free = list(range(slots))[::-1]
        self.serving = Serving(self.arm.spec, self.arm.day, self.seed, slots=slots)
        self._autoscaler = Autoscaler(spec.autoscaler.bounds)
        self._balancer = Balancer(spec.load_balancer)
        self._telemetry = Telemetry(self.arm.signal)
        self._of_day = int(np.count_nonzero(self.arm.day.at >= 0.0))
        # By request: tokens of all prompts before it.
        self._prompts = np.concatenate([[0], self.arm.day.prompt.cumsum()])
        self._arrivals = self.arm.day.at.tolist()
        self._ticks = round((self.arm.day.end - self.arm.day.begins) / MACRO_SECONDS)
        self._scale_to(spec.autoscaler.initial_replicas, self.arm.day.begins - spec.startup.seconds)
        self._events = 0

    def run(self) -> FleetRun:
        """The whole day, and its last requests to their end."""
        while self.advance():
            if self._tick % LOOK_TICKS == 0:
                if self._hopeless():
                    break
                if self.progress is not None:
                    self.progress(min(1.0, self._tick / self._ticks))
        return FleetRun.of(
            self.scenario,
            self.arm,
            seed=self.seed,
            metric=self.scaling.metric,
            target=self.scaling.target,
            serving=self.serving,
            pods=self.created,
            scale_events=self._events,
            mean_draft_tokens=self._k_seconds / max(self._pod_seconds, 1e-9),
            moments=self._moments,
            stopped=self._hopeless(),
            worth=worth_of(self.scenario, self.arm) if self.arm.operator is not None else None,
        )

    def advance(self) -> bool:
        """One macro step; False, and nothing is done, where the day and its last requests have ended."""
        drained = self._ticks + round(LONGEST_DRAIN / MACRO_SECONDS)
        open_ = self._tick < self._ticks
        if not open_ and not (self.requests_there and self._tick < drained):
            return False
        now = self.now
        self._live(now)
        if open_:
            self._control(self._tick, now)
        self._ready = [pod for pod in self.pods if pod.phase(now) is Phase.READY]
        self._arrive(now + MACRO_SECONDS, open_=open_)
        self._serve(now)
        self._tick += 1
        return True

    @property
    def now(self) -> float:
        """When the coming macro step begins."""
        return self.arm.day.begins + self._tick * MACRO_SECONDS

    def _hopeless(self) -> bool:
        if self.most_misses is None:
            return False
        found = Requests.of(self.scenario.spec.objective, self.arm.day, self.serving, self._arrived)
        return int((found.slow | found.late).sum()) > self.most_misses * self._of_day

    @property
    def requests_there(self) -> int:
        """Waiting and in work, wherever."""
        return len(self.gateway) + sum(replica.requests_there for replica in self.serving.replicas.values())

    @property
    def arrived(self) -> int:
        """Requests that have come so far."""
        return self._arrived

    def _control(self, tick: int, now: float) -> None:
        def due(seconds: float) -> bool:
            return tick % round(seconds / MACRO_SECONDS) == 0

        if due(OBSERVE_SECONDS):
            self._observe()
        if due(ROUND_SECONDS) and self.arm.operator is not None:
            steered = {pod: brain for pod in self.pods if isinstance(brain := self._brains.get(pod), LoopBrain)}
            self.arm.operator.round(now, steered, self.serving.replicas, self._autoscalers())
        if self.arm.startup is not None and due(startup.ROUND_SECONDS):
            kept = None if self.arm.operator is None else self.arm.operator.preserved
            self.arm.startup.round(now, under_preserve(worth_of(self.scenario, self.arm), kept), self.pods)
        if self.arm.plan is not None:
            if due(PLAN_SECONDS):
                bounds = self.scenario.spec.autoscaler.bounds
                wanted = self.arm.plan.replicas(now, self.scaling.target)
                self._scale_to(min(max(wanted, bounds.min_replicas), bounds.max_replicas), now)
        elif due(SYNC_SECONDS) and tick:
            self._sync(now)
        if self.keep_moments and due(SYNC_SECONDS):
            self._note(now)

    def _sync(self, now: float) -> None:
        observed = [self._observed(pod, now) for pod in self.pods]
        scaling = self.scaling
        mean = self._output / self._finished if self._finished else 0.0
        readings = self._telemetry.read(
            scaling.metric,
            scaling.target,
            lambda: backlog(self.arm.day, self.gateway, self.serving, mean),
            float(self.arm.spec.max_num_batched_tokens),
        )
        self._readings = readings
        self._scale_to(self._autoscaler.decide(now, self._replicas, observed, readings), now)

    def _autoscalers(self) -> tuple[AutoscalerView, ...]:
        """What the operator is shown of the autoscaler, where it is to keep that quiet."""
        if self.arm.operator is None or not self.arm.operator.preserve:
            return ()
        bounds, unread = self.scenario.spec.autoscaler.bounds, Reading(Form.VALUE, self.scaling.target)
        return (autoscaler_view(self.scaling.metric, self._readings or (unread,), self._replicas, bounds),)

    def _observed(self, pod: Pod, now: float) -> ObservedPod:
        phase = pod.phase(now)
        return ObservedPod(pod.name, phase is Phase.PENDING, phase is Phase.READY, phase is Phase.TERMINATING)

    def _scale_to(self, replicas: int, now: float) -> None:
        if replicas == self._replicas:
            return
        if now >= 0.0:
            self._events += 1
        starting = self.arm.startup
        for _ in range(replicas - self._replicas):
            plain = starting is not None and starting.starts_plain()
            pod = Pod(len(self.created), self._free.pop(), now, self.scenario.spec.startup, plain=plain)
            self.created.append(pod)
            self.pods.append(pod)
        for pod in victims(self.pods, max(0, self._replicas - replicas), now):
            pod.terminated = now
        self._replicas = replicas

    def _live(self, now: float) -> None:
        """Pods that warm up get their engine loops, ready ones their engines; those that have ended go."""
        arm, grace = self.arm, self.scenario.spec.termination_grace_seconds
        for pod in list(self.pods):
            phase = pod.phase(now)
            replica = self.serving.replicas.get(pod.slot)
            if phase is Phase.TERMINATING and pod.terminated is not None:
                if replica is None or not replica.requests_there or now - pod.terminated >= grace:
                    if replica is not None:
                        self.gateway.extendleft(reversed(self.serving.stop(pod.slot)))
                    pod.gone = now
                    self.pods.remove(pod)
                    self._brains.pop(pod, None)
                    self._free.append(pod.slot)
                continue
            if phase in {Phase.WARMING, Phase.READY} and pod not in self._brains:
                self._brains[pod] = Fixed(0) if pod.plain else arm.brain(pod.number)
            if phase is Phase.READY and replica is None:
                plain = arm.startup.plain if arm.startup is not None and pod.plain else None
                self.serving.start(pod.slot, self._brains[pod], now, plain)
        if arm.brains:
            arm.there[:] = [
                brain
                for pod, brain in self._brains.items()
                if isinstance(brain, LoopBrain) and pod.phase(now) is Phase.READY
            ]

    def _arrive(self, until: float, *, open_: bool) -> None:
        if open_:
            following = bisect_left(self._arrivals, until, self._arrived)
            self.gateway.extend(range(self._arrived, following))
            self._arrived = following
        if self._ready and self.gateway:
            self._balancer.spread(self.gateway, [self.serving.replicas[pod.slot] for pod in self._ready])

    def _serve(self, now: float) -> None:
        ended = self.serving.tick(now, now + MACRO_SECONDS)
        self._finished += len(ended)
        self._output += int(self.arm.day.output[ended].sum()) if ended else 0
        ready = {pod.name: self.serving.replicas[pod.slot] for pod in self._ready}
        self._telemetry.tick(ready)
        if now >= 0.0:
            for replica in ready.values():
                if replica.running:
                    self._k_seconds += sum(replica.draft_tokens) / len(replica.draft_tokens)
                    self._pod_seconds += 1.0

    def _observe(self) -> None:
        """What all engines have counted, for the load signal."""
        signal = self.arm.signal
        if signal is None:
            return
        ready = self._ready_now()
        waiting = sum(len(replica.waiting) for replica in self.serving.replicas.values()) + len(self.gateway)
        begun = self._arrived - waiting
        prompts = int(self._prompts[begun])
        now = RequestCounts(self._arrived, begun, prompts, prompts, self._finished, self._output)
        before, self._counted = self._counted, now
        happened = RequestCounts(
            now.arrived - before.arrived,
            max(0, now.admitted - before.admitted),
            max(0, now.prompt_tokens - before.prompt_tokens),
            max(0, now.prefill_tokens - before.prefill_tokens),
            now.finished - before.finished,
            now.output_tokens - before.output_tokens,
        )
        starts = self.scenario.spec.startup.seconds
        plain = sum(pod.plain for pod in ready)
        signal.observe(
            happened, OBSERVE_SECONDS, waiting=float(waiting), ready=len(ready), start_seconds=starts, plain=plain
        )

    def _ready_now(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.terminated is None and pod.slot in self.serving.replicas]

    def _note(self, now: float) -> None:
        ready = [self.serving.replicas[pod.slot] for pod in self.pods if pod.phase(now) is Phase.READY]
        busy = [replica for replica in ready if replica.running]
        ks = [sum(replica.draft_tokens) / len(replica.draft_tokens) for replica in busy]
        there = [replica.requests_there for replica in ready]
        self._moments.append(
            Moment(
                now,
                self._replicas,
                len(ready),
                sum(ks) / len(ks) if ks else None,
                sum(there) / len(there) if there else None,
                self.arm.signal.value() if self.arm.signal is not None else None,
                self.arm.signal.expected_pods() if self.arm.signal is not None else None,
            )
        )
