"""Builds into the user's cache folder: each part stamped with its recipe, whole or not there at all."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

STAMP = ".turbospec-recipe"


def cache_folder() -> Path:
    """``$TURBOSPEC_CACHE``, else ``$XDG_CACHE_HOME/turbospec``, else ``~/.cache/turbospec``."""
    if own := os.environ.get("TURBOSPEC_CACHE"):
        return Path(own).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).resolve() / "turbospec"


def is_current(folder: Path, recipe: str) -> bool:
    """Whether ``folder`` was completed by exactly this recipe. An interrupted build has no stamp and is not current."""
    try:
        return (folder / STAMP).read_text() == recipe
    except FileNotFoundError:
        return False


def stamp(folder: Path, recipe: str) -> None:
    """Declare ``folder`` complete; the last act of a build."""
    (folder / STAMP).write_text(recipe)


def build_into(folder: Path, recipe: str, build: Callable[[Path], None]) -> Path:
    """Make ``folder`` by ``build`` unless it is current. It appears whole or not at all: built beside, then renamed."""
    if is_current(folder, recipe):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir()
        build(beside)
        stamp(beside, recipe)
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder
