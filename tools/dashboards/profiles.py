"""Dashboard Profiles: how old, how good, and whether engines still find what they say."""

from tools.dashboards.model import Board, Form, Panel, Query, Section
from tools.dashboards.promql import INFO, NAMESPACE, OF_POLICY, OF_PROFILES, POLICY, by_policy, of_engines, rate

AGE = f"time() - turbospec_profile_measured_timestamp_seconds{{{OF_PROFILES}}}"
IN_USE = f'turbospec_policy_profile_engines{{{OF_POLICY}, profile!=""}}'
MEASURED = of_engines("turbospec_engine_step_seconds", 'kind="measured"')
PREDICTED = of_engines("turbospec_engine_step_seconds", 'kind="predicted"')
RATIO = f"{MEASURED} / ignoring (kind) {PREDICTED}"
BY_KEY = (
    f"({RATIO}) * on (namespace, pod) group_left (profile_key) "
    f"max by (namespace, pod, profile_key) ({INFO}{{{OF_POLICY}}})"
)

NOW = Section(
    "Now",
    (
        Panel(
            "Profiles in use",
            "Profiles by which at least one engine decides.",
            "short",
            (Query(f"count(count by (profile) ({IN_USE})) or vector(0)", "in use"),),
            Form.NUMBER,
            6,
        ),
        Panel(
            "Engines without a profile",
            "They learn their step times while serving, or are not steered; condition Profiled of their policy says "
            "what is done about it.",
            "short",
            (Query(f'sum(turbospec_policy_profile_engines{{{OF_POLICY}, profile=""}}) or vector(0)', "without"),),
            Form.NUMBER,
            6,
        ),
        Panel(
            "Oldest profile in use",
            "Age. With spec.profiling.maxAge a profile that is older is measured again.",
            "s",
            (Query(f"max(({AGE}) and on (profile) {IN_USE})", "oldest"),),
            Form.NUMBER,
            6,
        ),
        Panel(
            "Refused profiles",
            "Profiles whose content cannot be used; condition ProfileInvalid says which and why.",
            "short",
            (Query(f"count(turbospec_profile_usable{{{OF_PROFILES}}} == 0) or vector(0)", "refused"),),
            Form.NUMBER,
            6,
        ),
    ),
)

FRESHNESS = Section(
    "What there is",
    (
        Panel(
            "Age of profiles",
            "Time since each was measured. Hardware does not age in days, but drivers, clocks and neighbours change.",
            "s",
            (Query(AGE, "{{namespace}} {{profile}}"),),
        ),
        Panel(
            "Error on cells not seen",
            "Median relative error of each profile's fit on cells that it was not fitted to. Profiling Jobs go on "
            "until choices of K are sure, or their time is up.",
            "percentunit",
            (Query(f"turbospec_profile_hold_out_error_ratio{{{OF_PROFILES}}}", "{{namespace}} {{profile}}"),),
        ),
        Panel(
            "Engines by profile",
            "Who decides by what. A name that begins with serving- was grown while engines served.",
            "short",
            (Query(f"sum by (policy, profile) ({IN_USE})", "{{policy}} {{profile}}"),),
            Form.STACKED,
        ),
    ),
)

TRUTH = Section(
    "What engines find",
    (
        Panel(
            "Measured over predicted step time",
            "By profile key, mean over the engines that have it, before the engine's own corrections. One engine apart "
            "from its peers: its node. All of them away from 1: the profile.",
            "none",
            (
                Query(f"avg by (profile_key) ({BY_KEY})", "{{profile_key}} mean"),
                Query(f"max by (profile_key) ({BY_KEY})", "{{profile_key}} most"),
                Query(f"min by (profile_key) ({BY_KEY})", "{{profile_key}} least"),
            ),
        ),
        Panel(
            "Prediction error by policy",
            "How far measured step times are from predicted ones, mean over engines. Beyond a third for minutes is "
            "drift (condition ProfileAccurate).",
            "percentunit",
            (Query(f"avg by (namespace, policy) ({by_policy(f'abs({RATIO} - 1)')})", "{{namespace}}/{{policy}}"),),
        ),
        Panel(
            "Corrections by engine",
            "What each engine multiplies its predictions by, within 0.5 to 2.",
            "none",
            (Query(by_policy(of_engines("turbospec_engine_latency_bias")), "{{namespace}}/{{pod}}"),),
        ),
        Panel(
            "Conditions of profiles",
            "Profiled: there is one that fits, or it is on its way. ProfileAccurate: engines find what it says.",
            "none",
            (
                Query(
                    f"max by (namespace, policy, condition) "
                    f'(turbospec_policy_condition{{{OF_POLICY}, condition=~"Profiled|ProfileAccurate"}})',
                    "{{namespace}}/{{policy}} {{condition}}",
                ),
            ),
            Form.STATES,
            16,
        ),
        Panel(
            "Profiling",
            "Jobs created, results harvested and profiles written from serving, by result.",
            "ops",
            (
                Query(
                    "sum by (kind, result) ("
                    + rate(
                        'turbospec_operator_effects_total{kind=~"CreateProfilingJob|HarvestProfile|WriteServedProfile"}'
                    )
                    + ")",
                    "{{kind}} {{result}}",
                ),
            ),
        ),
    ),
)

BOARD = Board(
    "profiles",
    "TurboSpec / Profiles",
    "How old profiles are, how good, and whether engines still find what they say.",
    (NAMESPACE, POLICY),
    (NOW, FRESHNESS, TRUTH),
)
