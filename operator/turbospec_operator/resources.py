"""What pods ask for and nodes have: quantities, as scheduler and quotas count them."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

Raw = Mapping[str, Any]
Amounts = dict[str, Decimal]


def amounts(raw: Mapping[str, object] | None) -> Amounts:
    """Quantities as numbers. Raises ValueError for what is none."""
    return {name: parse_quantity(text) for name, text in (raw or {}).items()}


def total(parts: Iterable[Amounts]) -> Amounts:
    """Their sum."""
    found: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            found[name] = found.get(name, Decimal(0)) + amount
    return found


def highest(parts: Iterable[Amounts]) -> Amounts:
    """The most of each resource."""
    found: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            found[name] = max(found.get(name, amount), amount)
    return found


def pod_amounts(spec: Raw, field: str = "requests") -> Amounts:
    """``requests`` or ``limits`` of a whole pod, by the scheduler's rule: all containers and sidecars together, or more
    where an init container, with the sidecars before it, asks for more; overhead beside. What has only a limit requests
    as much."""
    sidecars: list[Amounts] = []
    steps: list[Amounts] = []
    for each in spec.get("initContainers") or []:
        own = _container(each, field)
        if each.get("restartPolicy") == "Always":
            sidecars.append(own)
        else:
            steps.append(total([*sidecars, own]))
    main = total([*sidecars, *(_container(each, field) for each in spec.get("containers") or [])])
    whole = highest([main, *steps])
    whole_pod = (spec.get("resources") or {}).get(field)  # pod-level resources go before the sum of the containers'
    return total([whole | amounts(whole_pod), amounts(spec.get("overhead"))])


def _container(container: Raw, field: str) -> Amounts:
    resources = container.get("resources") or {}
    asked = resources.get(field) or {}
    return amounts({**(resources.get("limits") or {}), **asked} if field == "requests" else asked)


def lacking(need: Amounts, free: Amounts) -> str:
    """What of ``need`` is not in ``free``, for people: ``nvidia.com/gpu (1 needed, 0 free)``; empty where all is."""
    missing = [
        f"{name} ({_shown(amount)} needed, {_shown(max(free.get(name, Decimal(0)), Decimal(0)))} free)"
        for name, amount in sorted(need.items())
        if amount > 0 and amount > free.get(name, Decimal(0))
    ]
    return ", ".join(missing)


def _shown(amount: Decimal) -> str:
    """Whole numbers as they are, memory in MiB, CPUs with what they have behind the point."""
    if amount >= 1 << 24:
        return f"{int(amount) >> 20}Mi"
    return f"{amount.normalize():f}"
