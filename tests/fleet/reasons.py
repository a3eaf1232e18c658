"""Every reason that TurboSpec gives anywhere, read from the code: of conditions, of rows of engines, and of events."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

from turbospec import fleet
from turbospec.fleet import worthwhile
from turbospec.fleet.advised import AdviceReason
from turbospec.fleet.profile_standing import ProfileReason
from turbospec.fleet.queried import DemandReason

PLACES = {"ConditionValue": 2, "EngineStanding": 2, "DriftStanding": 1, "EmitEvent": 4, "_not_controlled": 0}
"""Which argument of what is made is a reason."""


def reasons() -> set[str]:
    """Words that stand where a reason does, by themselves, either way of a condition, or under a name of the module."""
    modules = (
        importlib.import_module(f"{fleet.__name__}.{each.name}") for each in pkgutil.iter_modules(fleet.__path__)
    )
    found = {reason for module in modules for reason in _of(module)}
    named = {reason.value for reason in (*ProfileReason, *AdviceReason, *DemandReason)}
    return found | named | set(worthwhile.REMEDIES)


def _of(module: ModuleType) -> Iterator[str]:
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PLACES:
            place = PLACES[node.func.id]
            if len(node.args) > place:
                yield from _words(node.args[place], module)


def _words(node: ast.expr, module: ModuleType) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(word)):
            yield word
        case ast.IfExp(body=body, orelse=orelse):
            yield from _words(body, module)
            yield from _words(orelse, module)
        case ast.Name(id=name) if name.isupper():
            yield str(getattr(module, name))
