"""Dashboard Engine: one engine's decisions, and what they rest on."""

from tools.dashboards.model import Board, Form, Panel, Query, Section
from tools.dashboards.promql import INFO, NAMESPACE, OF_POD, OF_POLICY, POD, POLICY, rate


def of_pod(metric: str, matchers: str = "") -> str:
    """A selector of the chosen pods."""
    return f"{metric}{{{', '.join(filter(None, (OF_POD, matchers)))}}}"


def per_second(metric: str) -> str:
    """The rate of a counter of the chosen pods."""
    return rate(of_pod(metric))


GENERATED = per_second("turbospec_engine_generated_tokens_total")
STEPS = per_second("turbospec_engine_steps_total")
DRAFTED = per_second("turbospec_engine_drafted_tokens_total")
ACCEPTED = per_second("turbospec_engine_accepted_tokens_total")

IDENTITY = Section(
    "Which engine",
    (
        Panel(
            "Identity",
            "Versions, method, the key that its profile must have, and the policy whose document is in force.",
            "none",
            (Query(f'{INFO}{{{OF_POLICY}, pod=~"$pod"}}', "{{pod}}"),),
            Form.TABLE,
            16,
        ),
        Panel(
            "Steered",
            "1 while TurboSpec chooses K here; at 0 the name says why it does not.",
            "none",
            (Query(f"max by (pod, reason) ({of_pod('turbospec_engine_steered')})", "{{pod}} {{reason}}"),),
        ),
    ),
)

DECISIONS = Section(
    "Decisions",
    (
        Panel(
            "K",
            "Draft tokens decided for the last step before each scrape.",
            "none",
            (Query(of_pod("turbospec_engine_draft_tokens"), "{{pod}}"),),
        ),
        Panel(
            "Predicted goodput by K",
            "What each allowed K was predicted to deliver at the last step's batch and context.",
            "suffix: tokens/s",
            (Query(of_pod("turbospec_engine_predicted_goodput_tokens_per_second"), "{{pod}} K = {{draft_tokens}}"),),
        ),
        Panel(
            "Predicted gain against off",
            "Predicted goodput of the K in use over that of K = 0, less 1. Short dips are looks at another K.",
            "percentunit",
            (Query(of_pod("turbospec_engine_predicted_gain_ratio"), "{{pod}}"),),
        ),
        Panel(
            "Goodput",
            "Generated tokens per second over time, and of the last steps alone, pauses left out.",
            "suffix: tokens/s",
            (
                Query(f"sum by (pod) ({GENERATED})", "{{pod}}"),
                Query(of_pod("turbospec_engine_goodput_tokens_per_second"), "{{pod}} last steps"),
            ),
        ),
        Panel(
            "Rebuilt tables",
            "Times per second that the engine loop made its table of K anew; about every twenty steps.",
            "ops",
            (Query(per_second("turbospec_engine_table_rebuilds_total"), "{{pod}}"),),
        ),
        Panel(
            "Control documents",
            "Documents applied and refused, per second.",
            "ops",
            (
                Query(
                    f"sum by (pod, result) ({per_second('turbospec_engine_control_documents_total')})",
                    "{{pod}} {{result}}",
                ),
            ),
        ),
    ),
)

EVIDENCE = Section(
    "What they rest on",
    (
        Panel(
            "Estimated acceptance by position",
            "The chance that a draft is accepted where the one before it was, as the engine loop has it.",
            "percentunit",
            (Query(of_pod("turbospec_engine_acceptance_rate"), "{{pod}} position {{position}}"),),
        ),
        Panel(
            "Accepted per draft",
            "Share of the drafts verified at each position that were accepted there, as counted.",
            "percentunit",
            (
                Query(
                    f"sum by (pod, position) ({ACCEPTED}) / (sum by (pod, position) ({DRAFTED}) > 0)",
                    "{{pod}} position {{position}}",
                ),
            ),
        ),
        Panel(
            "Step time, measured and predicted",
            "Means over the same recent steps. predicted is by the profile alone, without the engine's corrections; "
            "it is missing where there is no profile.",
            "s",
            (Query(of_pod("turbospec_engine_step_seconds"), "{{pod}} {{kind}}"),),
        ),
        Panel(
            "Correction of the profile",
            "Measured over predicted step time, smoothed, within 0.5 to 2: what the engine multiplies its "
            "predictions by. Far from 1 for long, the profile is another machine's (runbook "
            "TurboSpecEngineOffProfile).",
            "none",
            (Query(of_pod("turbospec_engine_latency_bias"), "{{pod}}"),),
        ),
        Panel(
            "Steps per second",
            "Completed engine steps.",
            "ops",
            (Query(STEPS, "{{pod}}"),),
        ),
        Panel(
            "Tokens per step",
            "Generated tokens per step: the batch, and what speculation adds to it.",
            "none",
            (Query(f"sum by (pod) ({GENERATED}) / (sum by (pod) ({STEPS}) > 0)", "{{pod}}"),),
        ),
    ),
)

LOAD = Section(
    "Load, as vLLM has it",
    (
        Panel(
            "Requests",
            "Requests running and waiting in this engine.",
            "short",
            (
                Query(of_pod("vllm:num_requests_running"), "{{pod}} running"),
                Query(of_pod("vllm:num_requests_waiting"), "{{pod}} waiting"),
            ),
            width=6,
        ),
        Panel(
            "KV cache in use",
            "Share of the KV cache. Near 1 requests are preempted and done again: then no K helps.",
            "percentunit",
            (Query(of_pod("vllm:kv_cache_usage_perc"), "{{pod}}"),),
            width=6,
        ),
        Panel(
            "Preemptions",
            "Requests per second that lost their place in the KV cache.",
            "ops",
            (Query(per_second("vllm:num_preemptions_total"), "{{pod}}"),),
            width=6,
        ),
        Panel(
            "Time between steps, as users see it",
            "Inter-token latency, which has one sample per step and request and not per token: it rises with K while "
            "users wait less.",
            "s",
            (
                Query(
                    f"histogram_quantile(0.9, sum by (le, pod) "
                    f"({per_second('vllm:inter_token_latency_seconds_bucket')}))",
                    "{{pod}} 90th percentile",
                ),
            ),
            width=6,
        ),
    ),
)

BOARD = Board(
    "engine",
    "TurboSpec / Engine",
    "One engine's decisions, what they rest on, and its load. Choose one pod, or few.",
    (NAMESPACE, POLICY, POD),
    (IDENTITY, DECISIONS, EVIDENCE, LOAD),
)
