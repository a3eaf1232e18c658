"""Dashboard Autoscaling: the load that does not depend on K, and what becomes of the replicas."""

from tools.dashboards.model import Board, Form, Panel, Query, Section
from tools.dashboards.promql import IN_NAMESPACE, NAMESPACE, OF_POLICY, POLICY, SCALE_TARGET

OF_TARGET = f'{IN_NAMESPACE}, scale_target=~"$scale_target"'
TARGET = "namespace, scale_target"
TARGET_NAME = "{{namespace}}/{{scale_target}}"
DEMAND = f"sum by ({TARGET}) (turbospec_demand_tokens_per_second{{{OF_TARGET}}})"
CAPACITY = f"turbospec_pod_capacity_tokens_per_second{{{OF_TARGET}}}"
NEEDED = f"sum by ({TARGET}) (turbospec_demand_tokens_per_second{{{OF_TARGET}}} / {CAPACITY})"


def replicas(kind: str) -> str:
    """Replicas of the chosen targets."""
    return f'max by ({TARGET}) (turbospec_scale_target_replicas{{{OF_TARGET}, kind="{kind}"}})'


LOAD = Section(
    "Load",
    (
        Panel(
            "Offered load ratio",
            "Offered over attainable work, whatever K is in force: the number to scale on (target 0.8). At 1 the "
            "pods can do no more. Absent where it is not known; panel Unknown load says why.",
            "none",
            (Query(f"max by ({TARGET}) (turbospec_offered_load_ratio{{{OF_TARGET}}})", TARGET_NAME),),
        ),
        Panel(
            "Its three parts",
            "Prefill, decode and KV cache; the largest is the ratio. It says which resource runs out first.",
            "none",
            (
                Query(
                    f"max by ({TARGET}, phase) (turbospec_offered_load_ratio_part{{{OF_TARGET}}})",
                    f"{TARGET_NAME} {{{{phase}}}}",
                ),
            ),
        ),
        Panel(
            "Unknown load",
            "Scale targets without a load signal, by reason (docs/autoscaling.md). An autoscaler on the ratio then "
            "holds.",
            "none",
            (
                Query(
                    f"max by ({TARGET}, reason) (turbospec_offered_load_unknown{{{OF_TARGET}}})",
                    f"{TARGET_NAME} {{{{reason}}}}",
                ),
            ),
            Form.EVENTS,
        ),
        Panel(
            "Demand",
            "Output tokens per second that are asked for: arrivals times lengths, and what waits, drained in a minute.",
            "suffix: tokens/s",
            (Query(DEMAND, TARGET_NAME),),
        ),
        Panel(
            "What one pod can do",
            "Output tokens per second of one pod at its best allowed K under the objective. It falls with acceptance "
            "and with longer contexts.",
            "suffix: tokens/s",
            (Query(f"min by ({TARGET}, profile_key) ({CAPACITY})", f"{TARGET_NAME} {{{{profile_key}}}}"),),
        ),
        Panel(
            "Demand in pods",
            "Demand over what one pod can do: at 80% load a quarter more than this is needed.",
            "short",
            (Query(NEEDED, TARGET_NAME),),
        ),
    ),
)

REPLICAS = Section(
    "Replicas",
    (
        Panel(
            "Replicas",
            "What the autoscaler counts, and what it wants.",
            "short",
            tuple(Query(replicas(kind), f"{TARGET_NAME} {kind}") for kind in ("current", "desired")),
        ),
        Panel(
            "Its limits",
            "minReplicas and maxReplicas. Desired replicas at the upper one and a ratio above 1: the limit is too low.",
            "short",
            tuple(Query(replicas(kind), f"{TARGET_NAME} {kind}") for kind in ("min", "max")),
        ),
        Panel(
            "Replicas saved",
            "Pods that the demand of now would take more without the drafter, at least and at most, at full load. "
            "Below 0 plain pods would be fewer; around 0 it is not known. Absent where the profile does not say what "
            "the engine is without its drafter (condition Worthwhile).",
            "short",
            (
                Query(
                    f"sum by ({TARGET}, bound) (turbospec_replicas_saved{{{OF_TARGET}}})",
                    f"{TARGET_NAME} {{{{bound}}}}",
                ),
            ),
        ),
        Panel(
            "Scaling state",
            "What is happening to the replicas, and why that is believed. No profiling begins while pods come or go.",
            "none",
            (
                Query(
                    f"max by ({TARGET}, state, reason) (turbospec_scale_event{{{OF_TARGET}}})",
                    f"{TARGET_NAME} {{{{state}}}} {{{{reason}}}}",
                ),
            ),
            Form.EVENTS,
            24,
        ),
        Panel(
            "What the autoscaler reads",
            "Condition ScalingCompatible: False where speculation moves the metric that replicas follow; its message "
            "has the replacement.",
            "none",
            (
                Query(
                    f"max by (namespace, policy) "
                    f'(turbospec_policy_condition{{{OF_POLICY}, condition="ScalingCompatible"}})',
                    "{{namespace}}/{{policy}}",
                ),
            ),
            Form.STATES,
            24,
        ),
    ),
)

BOARD = Board(
    "autoscaling",
    "TurboSpec / Autoscaling",
    "The load that does not depend on K, its three parts, and what becomes of the replicas.",
    (NAMESPACE, POLICY, SCALE_TARGET),
    (LOAD, REPLICAS),
)
