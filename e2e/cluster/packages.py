"""Programs that the local cluster takes from the operating system."""

from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.config import cni_folder
from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import Say
from e2e.cluster.shell import as_root, find, run


@dataclass(frozen=True, slots=True)
class Requirement:
    """A program (or a file, by its full path), and the Debian package that brings it."""

    program: str
    package: str


TO_RUN = (
    Requirement("containerd", "containerd"),
    Requirement("runc", "runc"),
    Requirement("bridge", "containernetworking-plugins"),
    Requirement("nft", "nftables"),
    Requirement("conntrack", "conntrack"),
    Requirement("socat", "socat"),
    Requirement("ip", "iproute2"),
    Requirement("sysctl", "procps"),
    Requirement("nsenter", "util-linux"),
    Requirement("mount", "mount"),
)
TO_BUILD_IMAGES = (
    Requirement("buildah", "buildah"),
    Requirement("debootstrap", "debootstrap"),
    Requirement("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
)


def missing(requirements: tuple[Requirement, ...]) -> list[Requirement]:
    """Those that this machine lacks."""
    return [each for each in requirements if not _present(each)]


def require(requirements: tuple[Requirement, ...]) -> None:
    """Check without installing.

    Raises:
        ClusterError: some are missing; the message says how to get them.
    """
    if lacking := missing(requirements):
        programs = ", ".join(each.program for each in lacking)
        raise ClusterError(f"missing on this machine: {programs}. Install with: {' '.join(_command(lacking))}")


def install(requirements: tuple[Requirement, ...], say: Say) -> None:
    """Install what is missing by apt-get, announced first; asks for root by sudo where we are not root.

    Raises:
        ClusterError: there is no apt-get here, or it failed.
    """
    lacking = missing(requirements)
    if not lacking:
        return
    if find("apt-get") is None:
        programs = ", ".join(each.program for each in lacking)
        raise ClusterError(f"this machine has no apt-get; install these by its own means, then try again: {programs}")
    command = _command(lacking)
    say(f"installing Debian packages: {' '.join(command)}")
    if not any(Path("/var/lib/apt/lists").glob("*_Packages*")):
        run(as_root(["apt-get", "update", "-qq"]))
    try:
        run(command)
    except ClusterError:
        # Lists that are older than the mirror name packages that it no longer has.
        say("that failed; once more with new package lists")
        run(as_root(["apt-get", "update", "-qq"]))
        run(command)
    require(requirements)


def _present(requirement: Requirement) -> bool:
    if requirement.program == "bridge":
        return cni_folder() is not None
    return find(requirement.program) is not None or Path(requirement.program).is_file()


def _command(lacking: list[Requirement]) -> list[str]:
    packages = sorted({each.package for each in lacking})
    return as_root(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq",
                    "--no-install-recommends", *packages])  # fmt: skip
