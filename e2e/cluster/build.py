"""Building Kubernetes, etcd, helm and what judges the chart from pinned Go modules into the cache, once."""

import fcntl
import hashlib
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.go import go_command, go_environment
from e2e.cluster.paths import binary_folder
from e2e.cluster.progress import Say, step
from e2e.cluster.shell import find, run

MODULE = Path(__file__).parent / "kubernetes"
KUBERNETES_VERSION = "1.34.4"
LINK_FLAGS = "-s -w"
REPORT_SECONDS = 15.0
ERROR_TAIL_LINES = 20

# etcd comes out of the same module graph, so it is the version that this Kubernetes is tested with
PACKAGES = {
    **{
        name: f"k8s.io/kubernetes/cmd/{name}"
        for name in (
            "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl",
        )
    },
    "etcd": "go.etcd.io/etcd/server/v3",
    "pause": "./pause",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tool:
    """A program built from its own module, unless the machine has one that is new enough.

    Where that module replaces others, which ``go install`` refuses, ``wrapper`` is a module of ours that does the same.
    """

    module: str
    version: str
    minimum_major: int
    version_arguments: tuple[str, ...]
    expected: str
    wrapper: Path | None = None


TOOLS = {
    "helm": Tool("helm.sh/helm/v4/cmd/helm", "4.3.1", 3, ("version", "--short"), "2 to 4 minutes on 2 cores, once"),
    "helm-unittest": Tool(
        "github.com/helm-unittest/helm-unittest/cmd/helm-unittest", "1.1.2", 1, ("--version",),
        "1 minute on 2 cores, once", Path(__file__).parent / "helm-unittest",
    ),
    "kind": Tool("sigs.k8s.io/kind", "0.33.0", 0, ("version",), "20 s, once"),
    "kubeconform": Tool("github.com/yannh/kubeconform/cmd/kubeconform", "0.8.0", 0, ("-v",), "10 s, once"),
}  # fmt: skip
FOR_LOCAL = (*PACKAGES, "helm")
FOR_TESTS = (*FOR_LOCAL, "helm-unittest", "kubeconform")
ALL = (*PACKAGES, *TOOLS)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Says beside a binary from what it was built."""

    name: str

    @property
    def file(self) -> Path:
        return binary_folder() / f".{self.name}.recipe"

    def is_current(self) -> bool:
        """Whether the binary is there and was built from what we would build it from now."""
        return (binary_folder() / self.name).exists() and self.file.exists() and self.file.read_text() == self.recipe()

    def write(self) -> None:
        self.file.write_text(self.recipe())

    def recipe(self) -> str:
        """Everything that, changed, means building anew."""
        if tool := TOOLS.get(self.name):
            wrapped = f" {_digest(_pinned(tool.wrapper))}" if tool.wrapper else ""
            return f"{tool.module} {tool.version}{wrapped}\n"
        sources = MODULE.glob("pause/*.go") if self.name == "pause" else _pinned(MODULE)
        return f"kubernetes {KUBERNETES_VERSION} {_digest(sources, ' '.join(_link_flags()))}\n"


def build(names: Sequence[str], say: Say) -> None:
    """Build those of `names` that are missing or outdated.

    Raises:
        ClusterError: a name is unknown, or a build failed; the message ends with the compiler's.
    """
    if unknown := [name for name in names if name not in ALL]:
        raise ClusterError(f"cannot build {', '.join(unknown)}; known are: {', '.join(ALL)}")
    if all(Stamp(name).is_current() for name in names):
        return
    binary_folder().mkdir(parents=True, exist_ok=True)
    with (binary_folder() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two builds at once would do the same work twice and mix their outputs
        _build_missing([name for name in names if not Stamp(name).is_current()], say)


def _build_missing(missing: list[str], say: Say) -> None:
    kubernetes = [name for name in missing if name in PACKAGES]
    if kubernetes:
        with step(say, f"building {', '.join(kubernetes)} {KUBERNETES_VERSION}", "8 minutes on 2 cores, once"):
            _build_kubernetes(kubernetes, say)
    for name in missing:
        if (tool := TOOLS.get(name)) and not _use_system_tool(name, tool):
            with step(say, f"building {name} {tool.version}", tool.expected):
                _build_tool(name, tool, say)


def _build_kubernetes(names: list[str], say: Say) -> None:
    go = str(go_command(say))
    packages = [PACKAGES[name] for name in names]
    say("fetching modules")
    listed = _run_go([go, "list", "-mod=readonly", "-deps", *packages])
    # one build for all: the packages they share are compiled once
    target = binary_folder() / ".building"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    flags = ["-mod=readonly", "-trimpath", "-v", "-ldflags", " ".join(_link_flags())]
    _compile([go, "build", *flags, "-o", f"{target}/", *packages], len(listed), say)
    for name in names:
        built = target / ("server" if name == "etcd" else name)  # go names a binary after its package
        built.replace(binary_folder() / name)
        Stamp(name).write()
    target.rmdir()


def _build_tool(name: str, tool: Tool, say: Say) -> None:
    go = str(go_command(say))
    flags = ["-trimpath", "-v", "-ldflags", LINK_FLAGS]
    target = binary_folder() / name
    target.unlink(missing_ok=True)  # or a link to the machine's would be written through
    if tool.wrapper:
        command = [go, "build", "-mod=readonly", *flags, "-o", str(target), tool.module]
        _compile(command, None, say, module=tool.wrapper)
    else:
        command = [go, "install", *flags, f"{tool.module}@v{tool.version}"]
        _compile(command, None, say, {"GOBIN": str(binary_folder())})
    Stamp(name).write()


def _use_system_tool(name: str, tool: Tool) -> bool:
    """Link to the machine's own where it is new enough."""
    system = find(name)
    if system is None:
        return False
    try:
        said = run([system, *tool.version_arguments])
    except ClusterError:  # something else of that name
        return False
    version = re.search(r"v(\d+)\.", said)
    if version is None or int(version[1]) < tool.minimum_major:
        return False
    link = binary_folder() / name
    link.unlink(missing_ok=True)
    link.symlink_to(system)
    Stamp(name).write()
    return True


def _compile(
    command: list[str],
    packages: int | None,
    say: Say,
    settings: dict[str, str] | None = None,
    module: Path | None = None,
) -> None:
    """Run the compiler, counting the packages that it names (-v) as it finishes them.

    Args:
        packages: how many there are in all, if that is known; cached ones are never named.
        module: where it runs; that of Kubernetes if not given.
    """
    environment = {**go_environment(), **(settings or {})}
    with subprocess.Popen(
        command, cwd=module or MODULE, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as compiler:
        assert compiler.stderr is not None
        said = list(_report(compiler.stderr, packages, say))
    if compiler.returncode != 0:
        raise ClusterError(f"`{' '.join(command[:2])}` failed:\n" + "\n".join(said[-ERROR_TAIL_LINES:]))


def _report(lines: Iterator[str], packages: int | None, say: Say) -> Iterator[str]:
    start = last = time.monotonic()
    for count, line in enumerate(lines, 1):
        now = time.monotonic()
        if now - last >= REPORT_SECONDS:
            last = now
            rate = (now - start) / count
            rest = "" if packages is None else f" of {packages}, about {(packages - count) * rate:.0f} s left"
            say(f"compiled {count} packages{rest}")
        yield line.rstrip()


def _run_go(command: list[str]) -> list[str]:
    done = subprocess.run(command, cwd=MODULE, env=go_environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"`{' '.join(command[:2])}` failed: {done.stderr.strip()}")
    return done.stdout.splitlines()


def _pinned(module: Path) -> tuple[Path, Path]:
    """The files that say from what a module of ours is built."""
    return module / "go.mod", module / "go.sum"


def _digest(sources: Iterable[Path], first: str = "") -> str:
    digest = hashlib.sha256(first.encode())
    for source in sorted(sources):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _link_flags() -> list[str]:
    """Kubernetes takes its version from the linker; without it the server says v0.0.0 and clients refuse it."""
    major, minor, _ = KUBERNETES_VERSION.split(".")
    values = {
        "gitVersion": f"v{KUBERNETES_VERSION}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "go-module-proxy",
        "buildDate": "1970-01-01T00:00:00Z",
    }
    targets = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    flags = [f"-X {target}.{name}={value}" for target in targets for name, value in values.items()]
    return [LINK_FLAGS, *flags]
