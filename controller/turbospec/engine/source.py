"""What vLLM's source says, read without importing it: speculators pull in kernels that this process may lack."""

import ast
import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path

SourceReader = Callable[[str], str | None]
"""The text of one file of the package vllm, by its path inside it; None where there is no such file."""

Function = ast.FunctionDef | ast.AsyncFunctionDef

_MAX_BASES = 8
"""Deeper than any speculator's inheritance; ends a cycle of imports."""


def folder_source(root: Path) -> SourceReader:
    """Reads the package that lies at ``root``."""

    def read(path: str) -> str | None:
        try:
            return (root / path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    return read


@cache
def installed_source() -> SourceReader:
    """Reads the installed vLLM; a reader that finds nothing where there is none or its source was stripped."""
    try:
        spec = importlib.util.find_spec("vllm")
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        return lambda _: None
    return folder_source(Path(spec.origin).parent)


def parse(source: SourceReader, path: str) -> ast.Module | None:
    """The file as a tree; None where it is missing or in a Python this one cannot read."""
    text = source(path)
    if text is None:
        return None
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def find_class(module: ast.Module, name: str) -> ast.ClassDef | None:
    """A class of the module's top level."""
    return next((node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name), None)


def find_function(body: list[ast.stmt], name: str) -> Function | None:
    """A function among the statements of a module or class."""
    return next((node for node in body if isinstance(node, Function) and node.name == name), None)


def find_method(
    source: SourceReader, path: str, class_name: str, method: str, depth: int = 0
) -> tuple[str, Function] | None:
    """The method as the class has or inherits it, and the path of the file that holds it; bases of vLLM only."""
    module = parse(source, path)
    found = find_class(module, class_name) if module is not None else None
    if module is None or found is None or depth > _MAX_BASES:
        return None
    own = find_function(found.body, method)
    if own is not None:
        return path, own
    for base in found.bases:
        home = _home_of(module, path, base.id) if isinstance(base, ast.Name) else None
        inherited = find_method(source, *home, method, depth + 1) if home is not None else None
        if inherited is not None:
            return inherited
    return None


def _home_of(module: ast.Module, path: str, name: str) -> tuple[str, str] | None:
    """The file and the name of a class that a module knows by ``name``: its own, or imported from vLLM."""
    if find_class(module, name) is not None:
        return path, name
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vllm."):
            original = next((one.name for one in node.names if (one.asname or one.name) == name), None)
            if original is not None:
                return f"{(node.module or '').removeprefix('vllm.').replace('.', '/')}.py", original
    return None


def asserts_equal(function: Function, name: str) -> bool:
    """Whether the function asserts that its parameter equals something: any other value ends the process."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare):
            sides = [node.test.left, *node.test.comparators]
            if isinstance(node.test.ops[0], ast.Eq) and any(isinstance(s, ast.Name) and s.id == name for s in sides):
                return True
    return False


def reads_name(function: Function, name: str) -> bool:
    """Whether the function uses its parameter for anything but an assertion."""
    asserted = {id(node) for test in ast.walk(function) if isinstance(test, ast.Assert) for node in ast.walk(test)}
    return any(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load) and id(node) not in asserted
        for node in ast.walk(function)
    )
