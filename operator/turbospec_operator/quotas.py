"""Whether a ResourceQuota leaves room for a profiling Job: without it the Job would stand there without a pod. Pure."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from turbospec_operator.resources import Amounts, amounts, lacking, pod_amounts

Raw = Mapping[str, Any]


def exceeded(quotas: Iterable[Raw], spec: Raw) -> str:
    """The first quota that a Job with one pod of this spec would exceed, and in what; "" where none is."""
    needs = _needs(spec)
    for quota in quotas:
        if not _applies(quota.get("spec") or {}, spec):
            continue
        status = quota.get("status") or {}
        hard, used = amounts(status.get("hard")), amounts(status.get("used"))
        free = {name: amount - used.get(name, Decimal(0)) for name, amount in hard.items()}
        missing = lacking({name: amount for name, amount in needs.items() if name in hard}, free)
        if missing:
            return f"ResourceQuota {quota['metadata']['name']} has not enough {missing}"
    return ""


def _needs(spec: Raw) -> Amounts:
    """By the names that quotas give to what a pod and its Job use."""
    requests, limits = pod_amounts(spec, "requests"), pod_amounts(spec, "limits")
    plain = {name: amount for name, amount in requests.items() if name in ("cpu", "memory", "ephemeral-storage")}
    asked = {f"requests.{name}": amount for name, amount in requests.items()}
    bounded = {f"limits.{name}": amount for name, amount in limits.items()}
    one = dict.fromkeys(("pods", "count/pods", "count/jobs.batch"), Decimal(1))
    return {**plain, **asked, **bounded, **one}


def _applies(quota: Raw, spec: Raw) -> bool:
    """By its scopes. A Job's deadline is not its pods': they are not Terminating ones."""
    expressions = [{"scopeName": name, "operator": "Exists"} for name in quota.get("scopes") or []]
    expressions += (quota.get("scopeSelector") or {}).get("matchExpressions") or []
    return all(_in_scope(each, spec) for each in expressions)


def _in_scope(expression: Raw, spec: Raw) -> bool:
    asked = {name for field in ("requests", "limits") for name in pod_amounts(spec, field)}
    best_effort = not asked & {"cpu", "memory"}
    match expression["scopeName"]:
        case "Terminating" | "CrossNamespacePodAffinity":
            return False
        case "BestEffort":
            return best_effort
        case "NotBestEffort":
            return not best_effort
        case "PriorityClass":
            return _priority(expression, spec.get("priorityClassName"))
    return True


def _priority(expression: Raw, name: str | None) -> bool:
    values = expression.get("values") or []
    match expression.get("operator"):
        case "In":
            return name in values
        case "NotIn":
            return name not in values
        case "DoesNotExist":
            return name is None
    return name is not None
