"""Dashboard Fleet: is it well, what does it do, and is the operator at work."""

from tools.dashboards.model import Board, Form, Panel, Query, Section
from tools.dashboards.promql import IN_NAMESPACE, NAMESPACE, OF_POLICY, POLICY, by_policy, of_engines, rate

GOODPUT = by_policy(rate(of_engines("turbospec_engine_generated_tokens_total")))
DRAFTED = by_policy(rate(of_engines("turbospec_engine_drafted_tokens_total")))
ACCEPTED = by_policy(rate(of_engines("turbospec_engine_accepted_tokens_total")))
GAIN = by_policy(of_engines("turbospec_engine_predicted_gain_ratio"))
DRAFT_TOKENS = by_policy(of_engines("turbospec_engine_draft_tokens"))
WAITING = by_policy(of_engines("vllm:num_requests_waiting"))

ENGINES = f"turbospec_policy_engines{{{OF_POLICY}}}"
READY = f'turbospec_policy_condition{{{OF_POLICY}, condition="Ready"}}'
CONTROLLED = f'turbospec_policy_engines{{{OF_POLICY}, state="Controlled"}}'
POLICY_NAME = "{{namespace}}/{{policy}}"

NOW = Section(
    "Now",
    (
        Panel(
            "Policies that are Ready",
            "Share of policies with condition Ready. The others say in their conditions why, and what to do.",
            "percentunit",
            (Query(f"avg({READY} == bool 1)", "Ready"),),
            Form.NUMBER,
            4,
        ),
        Panel(
            "Engines under control",
            "Share of the policies' engines whose K follows TurboSpec. Panel Engines by state says what the others "
            "are.",
            "percentunit",
            (Query(f"(sum({CONTROLLED}) or vector(0)) / sum({ENGINES})", "controlled"),),
            Form.NUMBER,
            4,
        ),
        Panel(
            "Goodput",
            "Tokens per second that the engines generate, all together.",
            "suffix: tokens/s",
            (Query(f"sum({GOODPUT})", "goodput"),),
            Form.NUMBER,
            4,
        ),
        Panel(
            "Predicted gain against off",
            "Predicted goodput of the K in use over that of the same engines at K = 0, less 1; mean over engines. "
            "An engine that was started without a drafter is faster than one at K = 0: this is not the gain over that.",
            "percentunit",
            (Query(f"avg({GAIN})", "gain"),),
            Form.NUMBER,
            4,
        ),
        Panel(
            "K in use",
            "Draft tokens per step that engines decided last, mean over engines.",
            "none",
            (Query(f"avg({DRAFT_TOKENS})", "K"),),
            Form.NUMBER,
            4,
        ),
        Panel(
            "Drafts accepted",
            "Share of the drafted tokens that were accepted.",
            "percentunit",
            (Query(f"sum({ACCEPTED}) / sum({DRAFTED})", "accepted"),),
            Form.NUMBER,
            4,
        ),
    ),
)

POLICIES = Section(
    "Policies",
    (
        Panel(
            "K by policy",
            "Draft tokens per step, mean over each policy's engines. It moves with load and with how predictable texts "
            "are; dashboard Policy says why.",
            "none",
            (Query(f"avg by (namespace, policy) ({DRAFT_TOKENS})", POLICY_NAME),),
        ),
        Panel(
            "Acceptance by policy",
            "Share of the drafted tokens that were accepted. No line: nothing is drafted, and nothing is known.",
            "percentunit",
            (
                Query(
                    f"sum by (namespace, policy) ({ACCEPTED}) / (sum by (namespace, policy) ({DRAFTED}) > 0)",
                    POLICY_NAME,
                ),
            ),
        ),
        Panel(
            "Goodput by policy",
            "Generated tokens per second, all engines of a policy together.",
            "suffix: tokens/s",
            (Query(f"sum by (namespace, policy) ({GOODPUT})", POLICY_NAME),),
        ),
        Panel(
            "Predicted gain against off by policy",
            "Predicted goodput of the K in use over that of K = 0, less 1; mean over engines. At 0 speculation is off, "
            "or does not pay; below it engines look again at another K, or an objective forbids the best one.",
            "percentunit",
            (Query(f"avg by (namespace, policy) ({GAIN})", POLICY_NAME),),
        ),
        Panel(
            "Offered load ratio",
            "Offered over attainable work of each scale target, whatever K is in force: at 1 its pods can do no more. "
            "Dashboard Autoscaling shows what it is made of.",
            "none",
            (
                Query(
                    f"max by (namespace, scale_target) (turbospec_offered_load_ratio{{{IN_NAMESPACE}}})",
                    "{{namespace}}/{{scale_target}}",
                ),
            ),
        ),
        Panel(
            "Requests waiting by policy",
            "Requests that no engine has begun. They wait for pods, not for another K.",
            "short",
            (Query(f"sum by (namespace, policy) ({WAITING})", POLICY_NAME),),
        ),
    ),
)

STATES = Section(
    "Engines and conditions",
    (
        Panel(
            "Engines by state",
            "Controlled, or why not, as in the rows of the policies' statuses. docs/troubleshooting.md has a remedy "
            "for each. NotListed: beyond the 64 rows of a status.",
            "short",
            (Query(f"sum by (state) ({ENGINES})", "{{state}}"),),
            Form.STACKED,
        ),
        Panel(
            "Engines that refuse to be steered, by reason",
            "Engines whose own runtime says that K cannot be chosen there (docs/engine.md): they run their start-up "
            "table.",
            "short",
            (
                Query(
                    f"count by (namespace, reason) ({of_engines('turbospec_engine_steered')} == 0)",
                    "{{namespace}} {{reason}}",
                ),
            ),
            Form.STACKED,
        ),
        Panel(
            "Conditions that are not True",
            "Policies whose condition is False or Unknown, by condition.",
            "short",
            (
                Query(
                    f"count by (condition) (turbospec_policy_condition{{{OF_POLICY}}} < 1)",
                    "{{condition}}",
                ),
            ),
            Form.STACKED,
        ),
    ),
)

OPERATOR = Section(
    "Operator",
    (
        Panel(
            "Rounds",
            "Rounds of the fleet loop per second. skipped: the API server did not answer; error: a defect, see its "
            "log. Engines go on without.",
            "ops",
            (Query(f"sum by (result) ({rate('turbospec_operator_rounds_total')})", "{{result}}"),),
        ),
        Panel(
            "Duration of a round",
            "Engines that do not answer are given 1.5 s; a round that takes longer than its interval delays the next.",
            "s",
            tuple(
                Query(
                    f"histogram_quantile({share}, sum by (le) ({rate('turbospec_operator_round_seconds_bucket')}))",
                    legend,
                )
                for share, legend in ((0.5, "median"), (0.99, "99th percentile"))
            ),
        ),
        Panel(
            "Effects",
            "What the operator carries out per second: documents to engines, statuses, Jobs, profiles, events. "
            "failed ones are decided again in the next round; the log names object and reason.",
            "ops",
            (Query(f"sum by (kind, result) ({rate('turbospec_operator_effects_total')})", "{{kind}} {{result}}"),),
        ),
        Panel(
            "Leaders and missing permissions",
            "One operator leads. Permissions that it lacks are named by condition Permitted of the policies.",
            "short",
            (
                Query("sum(turbospec_operator_leader)", "leaders"),
                Query("max(turbospec_operator_denied_permissions)", "missing permissions"),
            ),
        ),
        Panel(
            "Reads of Prometheus",
            "Reads of the fleet's load per second, where prometheus.url is set. Failed ones cost nothing but that "
            "load.",
            "ops",
            (Query(f"sum by (result) ({rate('turbospec_operator_prometheus_reads_total')})", "{{result}}"),),
        ),
        Panel(
            "Versions",
            "Operators by version, and engines by the version of their runtime: pods keep the one they were created "
            "with.",
            "short",
            (
                Query("count by (version) (turbospec_operator_build_info)", "operator {{version}}"),
                Query(
                    f"count by (runtime_version) (turbospec_engine_info{{{OF_POLICY}}})", "engines {{runtime_version}}"
                ),
            ),
        ),
    ),
)

BOARD = Board(
    "fleet",
    "TurboSpec / Fleet",
    "Is the fleet well, what does speculation bring, and is the operator at work.",
    (NAMESPACE, POLICY),
    (NOW, POLICIES, STATES, OPERATOR),
)
