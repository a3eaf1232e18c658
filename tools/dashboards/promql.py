"""Selectors, rates and the join that brings the policy to the series of its engines."""

from tools.dashboards.model import Variable

IN_NAMESPACE = 'namespace=~"$namespace"'
OF_POLICY = f'{IN_NAMESPACE}, policy=~"$policy"'
OF_POD = f'{IN_NAMESPACE}, pod=~"$pod"'
OF_PROFILES = 'namespace=~"$namespace|"'
"""Profiles of the cluster have no namespace and are everybody's."""

INFO = "turbospec_engine_info"

NAMESPACE = Variable("namespace", "Namespace", "turbospec_policy_condition", "namespace")
POLICY = Variable("policy", "Policy", f"turbospec_policy_condition{{{IN_NAMESPACE}}}", "policy")
POD = Variable("pod", "Pod", f"{INFO}{{{OF_POLICY}}}", "pod")
SCALE_TARGET = Variable("scale_target", "Scale target", f"turbospec_scale_event{{{IN_NAMESPACE}}}", "scale_target")


def rate(selector: str) -> str:
    """Per second, over what Grafana finds right for the scrape interval and the width of the panel."""
    return f"rate({selector}[$__rate_interval])"


def of_engines(metric: str, matchers: str = "") -> str:
    """A selector of the chosen namespaces' engines."""
    return f"{metric}{{{', '.join(filter(None, (IN_NAMESPACE, matchers)))}}}"


def by_policy(expr: str) -> str:
    """The series of engines (labels namespace and pod) with the policy whose document is in force there.

    ``max by`` leaves one series per pod, also where two jobs scrape it.
    """
    policy = f"max by (namespace, pod, policy) ({INFO}{{{OF_POLICY}}})"
    return f"({expr}) * on (namespace, pod) group_left (policy) {policy}"


def quantile(share: float, histogram: str, *labels: str) -> str:
    """Of a histogram of engines, by policy."""
    grouped = ", ".join(("le", *labels))
    return f"histogram_quantile({share}, sum by ({grouped}) ({by_policy(rate(of_engines(histogram + '_bucket')))}))"
