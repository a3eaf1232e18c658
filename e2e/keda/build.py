"""KEDA's operator and adapter, built from its Go module: nine minutes on two idle cores, once."""

from pathlib import Path

from e2e.cache import build_into, cache_folder
from e2e.cluster.go import go_command, go_environment
from e2e.cluster.progress import Say, step
from e2e.cluster.shell import run

MODULE = Path(__file__).parent / "module"
PACKAGE = "github.com/kedacore/keda/v2"
VERSION = "2.21.0"


def binaries(say: Say) -> Path:
    """The folder of ``operator`` and ``adapter``. Raises ClusterError with the compiler's words."""
    recipe = f"{PACKAGE} {VERSION}\n" + (MODULE / "go.sum").read_text()
    return build_into(cache_folder() / "keda", recipe, lambda target: _build(target, say))


def custom_resources() -> list[Path]:
    """KEDA's CustomResourceDefinitions, from the module that it was built from."""
    return sorted((cache_folder() / "gomod" / f"{PACKAGE}@v{VERSION}" / "config" / "crd" / "bases").glob("*.yaml"))


def _build(target: Path, say: Say) -> None:
    packages = [f"{PACKAGE}/cmd/{name}" for name in ("operator", "adapter")]
    flags = ["-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", f"{target}/"]
    with step(say, f"building KEDA {VERSION}", "9 minutes on 2 cores, once"):
        run([go_command(say), "-C", MODULE, "build", *flags, *packages], environment=go_environment())
