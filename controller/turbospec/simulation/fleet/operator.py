"""The fleet loop over simulated engines: the product's own ``decide``, its documents put in force."""

from collections.abc import Mapping, Sequence

from turbospec.control.acceptance import Prior
from turbospec.control.engine_loop import LoopSettings
from turbospec.control.latency import LatencyModel
from turbospec.control.objective import Objective
from turbospec.fleet.autoscalers import AutoscalerView, ScaleMetric
from turbospec.fleet.decide import decide
from turbospec.fleet.effects import PushControl
from turbospec.fleet.memory import FleetMemory
from turbospec.fleet.preserve import PreserveMemory
from turbospec.fleet.snapshot import (
    EngineLoopMode,
    EngineReport,
    FleetSnapshot,
    Mode,
    PlainView,
    PodView,
    PolicyView,
    PositionCounts,
    ProfileSource,
    ProfileView,
)
from turbospec.simulation.fleet.files import MetricName
from turbospec.simulation.fleet.hpa import Bounds, Reading
from turbospec.simulation.fleet.loops import LoopBrain
from turbospec.simulation.fleet.pods import Phase, Pod
from turbospec.simulation.fleet.replica import Replica

_LABELS = (("app", "simulated"),)
_KEY = "simulated"
_NAMESPACE = "default"


_NAMES = {
    MetricName.RUNNING_REQUESTS: "vllm:num_requests_running",
    MetricName.INTER_TOKEN_LATENCY: "vllm:inter_token_latency_seconds",
    MetricName.KV_CACHE_USAGE: "vllm:kv_cache_usage_perc",
}


def autoscaler_view(metric: MetricName, readings: Sequence[Reading], replicas: int, bounds: Bounds) -> AutoscalerView:
    """The HPA as its status has it after a sync: the means over the pods that it has a value of."""
    seen = []
    for reading in readings:
        values = reading.by_pod.values()
        current = sum(values) / len(values) if values else reading.value
        seen.append(ScaleMetric("Pods", _NAMES.get(metric, metric.value), reading.form.value, reading.target, current))
    selector = ",".join(f"{label}={value}" for label, value in _LABELS)
    return AutoscalerView(
        _NAMESPACE,
        "simulated",
        "deployment/simulated",
        selector,
        bounds.min_replicas,
        bounds.max_replicas,
        replicas,
        replicas,
        tuple(seen),
    )


class FleetOperator:
    """Observes engines from the moment their control servers answer (while the pod warms up), and steers them."""

    def __init__(
        self,
        latency: LatencyModel | None,
        allowed: tuple[int, ...],
        objective: Objective,
        *,
        preserve: bool = False,
        plain: PlainView | None = None,
        kv_cache_tokens: int = 0,
    ) -> None:
        """``preserve``: with ``spec.autoscaling.preserve``, for which it is shown the autoscaler. ``plain``: what the
        profile says of the engine without its drafter."""
        self.preserve = preserve
        self._policy = PolicyView(
            namespace=_NAMESPACE,
            name="simulated",
            uid="policy",
            generation=1,
            created_seconds=0.0,
            match_labels=_LABELS,
            mode=Mode.ENFORCE,
            loop=EngineLoopMode.LOCAL,
            draft_tokens=allowed,
            profile_source=ProfileSource.EXISTING,
            objective=objective,
            preserve=preserve,
        )
        measured = ProfileView(_NAMESPACE, f"profile-{_KEY}", _KEY, latency, plain=plain)
        self._profiles = (measured,) if latency else ()
        self._memory = FleetMemory()
        self._applied: dict[str, str] = {}
        self._kv_cache_tokens = kv_cache_tokens
        self.pushes = 0
        """Documents put to engines."""

    @property
    def preserved(self) -> PreserveMemory | None:
        """What is known of the autoscaler that is kept quiet."""
        return next(iter(self._memory.preserved.values()), None)

    def round(
        self,
        now: float,
        pods: Mapping[Pod, LoopBrain],
        replicas: Mapping[int, Replica],
        autoscalers: tuple[AutoscalerView, ...] = (),
    ) -> None:
        """One round: ``pods`` are those that are there, with their brains; ``replicas`` the engines by slot."""
        views = tuple(self._view(now, pod, brain, replicas.get(pod.slot)) for pod, brain in pods.items())
        snapshot = FleetSnapshot(now, 1, (self._policy,), views, self._profiles, autoscalers=autoscalers)
        effects, self._memory = decide(snapshot, self._memory)
        brains = {pod.name: brain for pod, brain in pods.items()}
        for effect in effects:
            if isinstance(effect, PushControl) and effect.table is None:
                prior = tuple(Prior(entry.acceptance, entry.samples) for entry in effect.prior)
                settings = LoopSettings(
                    "local", effect.allowed_draft_tokens, None, effect.latency, prior, effect.objective
                )
                brains[effect.engine.pod].configure(settings)
                self._applied[effect.engine.pod] = effect.document_id
                self.pushes += 1

    def _view(self, now: float, pod: Pod, brain: LoopBrain, replica: Replica | None) -> PodView:
        phase = pod.phase(now)
        answers = phase in {Phase.WARMING, Phase.READY}
        return PodView(
            namespace=_NAMESPACE,
            name=pod.name,
            uid=pod.name,
            node=f"node-{pod.slot}",
            labels=_LABELS,
            owner="deployment/simulated",
            ready=phase is Phase.READY,
            terminating=phase is Phase.TERMINATING,
            injected=True,
            report=self._report(pod, brain, replica) if answers else None,
        )

    def _report(self, pod: Pod, brain: LoopBrain, replica: Replica | None) -> EngineReport:
        estimates = brain.estimates()
        applied = self._applied.get(pod.name)
        return EngineReport(
            engine_id=pod.name,
            profile_key=_KEY,
            max_num_seqs=brain.limits.max_num_seqs,
            kv_cache_tokens=self._kv_cache_tokens,
            engine_draft_tokens=brain.limits.engine_allowed,
            applied_id=applied,
            applied_epoch=None if applied is None else 1,
            draft_tokens=brain.draft_tokens,
            running=0 if replica is None else replica.running + len(replica.prefilling),
            waiting=0 if replica is None else len(replica.waiting),
            kv_tokens=0 if replica is None else int(replica.kv_tokens),
            decodes=brain.decodes,
            drafts=brain.drafts,
            counts=PositionCounts(tuple(brain.drafted), tuple(brain.accepted)),
            acceptance=tuple(entry.acceptance for entry in estimates),
            acceptance_samples=tuple(entry.samples for entry in estimates),
            draft_yield=tuple(entry.draft_yield for entry in estimates),
        )
