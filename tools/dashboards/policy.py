"""Dashboard Policy: which K its engines run, why, and what users get of it."""

from tools.dashboards.fleet import ACCEPTED, DRAFT_TOKENS, DRAFTED, ENGINES, GAIN, GOODPUT, POLICY_NAME, WAITING
from tools.dashboards.model import Board, Form, Panel, Query, Section
from tools.dashboards.promql import NAMESPACE, OF_POLICY, POLICY, by_policy, of_engines, quantile, rate

PREDICTED = by_policy(of_engines("turbospec_engine_predicted_goodput_tokens_per_second"))
ESTIMATED = by_policy(of_engines("turbospec_engine_acceptance_rate"))
DOCUMENTS = by_policy(rate(of_engines("turbospec_engine_control_documents_total")))
RUNNING = by_policy(of_engines("vllm:num_requests_running"))

DECISION = Section(
    "K, and why",
    (
        Panel(
            "K in use",
            "Draft tokens per step that the policy's engines decided last: mean, and the engines with most and "
            "least. They differ where their batches do.",
            "none",
            tuple(
                Query(f"{how} by (namespace, policy) ({DRAFT_TOKENS})", f"{POLICY_NAME} {legend}")
                for how, legend in (("avg", "mean"), ("min", "least"), ("max", "most"))
            ),
        ),
        Panel(
            "Engines by K",
            "How many engines run each K.",
            "short",
            (Query(f'count_values ("draft_tokens", {DRAFT_TOKENS})', "K = {{draft_tokens}}"),),
            Form.STACKED,
        ),
        Panel(
            "Predicted goodput by K",
            "What each allowed K was predicted to deliver in the last steps, engines together. The highest line is "
            "what is run, unless the objective forbids it (kubectl turbospec explain).",
            "suffix: tokens/s",
            (Query(f"sum by (draft_tokens) ({PREDICTED})", "K = {{draft_tokens}}"),),
        ),
        Panel(
            "Predicted gain against off",
            "Predicted goodput of the K in use over that of K = 0, less 1: mean, and the engine with the least. Not "
            "the gain over engines that were started without a drafter.",
            "percentunit",
            (
                Query(f"avg by (namespace, policy) ({GAIN})", f"{POLICY_NAME} mean"),
                Query(f"min by (namespace, policy) ({GAIN})", f"{POLICY_NAME} least"),
            ),
        ),
        Panel(
            "Acceptance by position",
            "Share of the drafts verified at each position that were accepted there, all before them included. Falls "
            "with the position; where it falls fast, long drafts do not pay.",
            "percentunit",
            (Query(f"sum by (position) ({ACCEPTED}) / (sum by (position) ({DRAFTED}) > 0)", "position {{position}}"),),
        ),
        Panel(
            "Estimated acceptance by position",
            "What engines decide by: the chance that a draft is accepted where the one before it was, mean over "
            "engines. Also of positions that are not drafted at the moment.",
            "percentunit",
            (Query(f"avg by (position) ({ESTIMATED})", "position {{position}}"),),
        ),
    ),
)

USERS = Section(
    "What users get",
    (
        Panel(
            "Goodput",
            "Generated tokens per second, all engines together.",
            "suffix: tokens/s",
            (Query(f"sum by (namespace, policy) ({GOODPUT})", POLICY_NAME),),
        ),
        Panel(
            "Drafted and accepted tokens",
            "Draft tokens verified per second, and those of them accepted. What lies between is work for nothing.",
            "suffix: tokens/s",
            (Query(f"sum({DRAFTED})", "drafted"), Query(f"sum({ACCEPTED})", "accepted")),
        ),
        Panel(
            "Time per output token",
            "Of finished requests. spec.objective.timePerOutputToken is a ceiling on it.",
            "s",
            tuple(
                Query(quantile(share, "vllm:request_time_per_output_token_seconds", "namespace", "policy"), legend)
                for share, legend in ((0.5, f"{POLICY_NAME} median"), (0.9, f"{POLICY_NAME} 90th percentile"))
            ),
        ),
        Panel(
            "Time to first token",
            "Of requests that have begun to answer. It grows with what waits, and with K only where prefills share "
            "steps.",
            "s",
            tuple(
                Query(quantile(share, "vllm:time_to_first_token_seconds", "namespace", "policy"), legend)
                for share, legend in ((0.5, f"{POLICY_NAME} median"), (0.9, f"{POLICY_NAME} 90th percentile"))
            ),
        ),
        Panel(
            "Requests",
            "Requests running and waiting, all engines together. Fewer run when speculation works: they leave sooner.",
            "short",
            (Query(f"sum({RUNNING})", "running"), Query(f"sum({WAITING})", "waiting")),
        ),
    ),
)

STATE = Section(
    "State",
    (
        Panel(
            "Engines by state",
            "Controlled, or why not; docs/troubleshooting.md has a remedy for each.",
            "short",
            (Query(f"sum by (state) ({ENGINES})", "{{state}}"),),
            Form.STACKED,
        ),
        Panel(
            "Conditions",
            "The conditions of the policy's status over time. Some are only there while they have something to say; "
            "their messages are in kubectl describe specpol.",
            "none",
            (
                Query(
                    f"max by (namespace, policy, condition) (turbospec_policy_condition{{{OF_POLICY}}})",
                    f"{POLICY_NAME} {{{{condition}}}}",
                ),
            ),
            Form.STATES,
            16,
        ),
        Panel(
            "Profiles in use",
            "Engines by the profile that they decide by; none: they learn their step times themselves, or are not "
            "steered.",
            "short",
            (
                Query(
                    f'sum by (profile) (turbospec_policy_profile_engines{{{OF_POLICY}, profile!=""}})', "{{profile}}"
                ),
                Query(f'sum(turbospec_policy_profile_engines{{{OF_POLICY}, profile=""}})', "none"),
            ),
            Form.STACKED,
        ),
        Panel(
            "Control documents",
            "Documents that engines applied and refused, per second. A steady stream of applied ones is normal only in "
            "loop mode Table.",
            "ops",
            (Query(f"sum by (result) ({DOCUMENTS})", "{{result}}"),),
        ),
        Panel(
            "Load as the operator has it",
            "Requests running and waiting that the operator read from Prometheus, where prometheus.url is set.",
            "short",
            (
                Query(f"sum(turbospec_fleet_requests_running{{{OF_POLICY}}})", "running"),
                Query(f"sum(turbospec_fleet_requests_waiting{{{OF_POLICY}}})", "waiting"),
            ),
        ),
    ),
)

BOARD = Board(
    "policy",
    "TurboSpec / Policy",
    "Which K a policy's engines run, why, and what users get of it.",
    (NAMESPACE, POLICY),
    (DECISION, USERS, STATE),
)
