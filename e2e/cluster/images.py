"""Images without a registry or a Docker engine: a Debian base by debootstrap, ours by buildah from the Dockerfile."""

import hashlib
import shutil
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from e2e.cluster import packages
from e2e.cluster.archive import write_root_filesystem_image
from e2e.cluster.build_secrets import secret_options
from e2e.cluster.paths import REPOSITORY, cache_root
from e2e.cluster.progress import Say, step
from e2e.cluster.shell import find, run

BASE_IMAGE = "localhost/turbospec-base:1"
OPERATOR_IMAGE = "localhost/turbospec:demo"
KEPT_STAGES = ("dependencies", "sbom")
"""Of the Dockerfile: they download, and change only with what is locked."""
DEBIAN_SUITE = "bookworm"
# Python for our image; the libraries are what real vLLM links to and minbase lacks, for pods that mount it by host path
BASE_PACKAGES = (
    "ca-certificates", "python3", "python3-pip", "python3-venv",
    "libgomp1", "libnuma1", "libsqlite3-0", "libssl3", "libtcmalloc-minimal4",
)  # fmt: skip
BASE_LAYOUT = 1  # raise when the way the base is made changes
HASH_CHARACTERS = 12
_MAKING_BASE, _BUILDING = threading.Lock(), threading.Lock()
DOCKERFILE_SOURCES = (
    "Dockerfile", ".dockerignore", "e2e/images/pip.sh", "requirements/operator.txt", "requirements/build.txt",
    "requirements/sbom.txt", "pyproject.toml", "README.md", "LICENSE", "controller", "operator",
)  # fmt: skip


def image_folder() -> Path:
    """Where image archives are cached."""
    folder = cache_root() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def base_image(say: Say) -> Path:
    """Archive of the Debian base image, made once per list of packages. Needs root and the Debian archive."""
    archive = image_folder() / f"base-{_base_key()}.tar"
    with _MAKING_BASE:
        if not archive.exists():
            _make_base(archive, say)
    return archive


def operator_image(say: Say) -> Path:
    """Archive of our image, built when any of its sources changed. Needs root.

    A second thread that asks for it meanwhile waits for the first one's; so it is with the base image.
    """
    archive = image_folder() / f"operator-{_sources_key()}.tar"
    with _BUILDING:
        if not archive.exists():
            base = base_image(say)
            packages.install(packages.TO_BUILD_IMAGES, say)
            with step(say, "building the operator's image", "20 s after a change of code, 2 minutes the first time"):
                _build(base, archive)
            _remove_older(archive, "operator-*.tar")
    return archive


def _make_base(archive: Path, say: Say) -> None:
    packages.install(packages.TO_BUILD_IMAGES, say)
    with step(say, "making the Debian base image", "1 minute"), tempfile.TemporaryDirectory(dir=cache_root()) as folder:
        # mktemp's 0700 would become the mode of the image's root folder
        root = Path(folder) / "root"
        root.mkdir(mode=0o755)
        include = ",".join(BASE_PACKAGES)
        run([find("debootstrap") or "debootstrap", "--variant=minbase", f"--include={include}", DEBIAN_SUITE, root])
        for unneeded in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
            shutil.rmtree(root / unneeded, ignore_errors=True)
        write_root_filesystem_image(archive, BASE_IMAGE, root)
    _remove_older(archive, "base-*.tar")


def _build(base: Path, archive: Path) -> None:
    storage = cache_root() / "buildah"
    # storage of our own leaves the machine's images alone; mounts of our own take buildah's mounts away with them
    buildah = [
        "unshare", "--mount", "buildah",
        "--root", str(storage / "root"), "--runroot", str(storage / "run"), "--storage-driver", "overlay",
    ]  # fmt: skip
    loaded = f"localhost/turbospec-base:{_base_key()}"
    if not _has_image(buildah, loaded):
        run([*buildah, "pull", "--quiet", f"docker-archive:{base}"])
        run([*buildah, "tag", BASE_IMAGE, loaded])
    with tempfile.TemporaryDirectory() as folder:
        options = [
            "--quiet", "--layers", "--isolation", "chroot", "--network", "host",
            "--build-arg", f"BASE_IMAGE={loaded}", *secret_options(Path(folder)),
        ]  # fmt: skip
        # a name for the stages of the downloads keeps them when nameless images are removed below
        for stage in KEPT_STAGES:
            name = f"localhost/turbospec-{stage}:demo"
            run([*buildah, "build", *options, "--target", stage, "--tag", name, REPOSITORY])
        run([*buildah, "build", *options, "--tag", OPERATOR_IMAGE, REPOSITORY])
    beside = archive.with_suffix(".new")
    beside.unlink(missing_ok=True)
    run([*buildah, "push", "--quiet", OPERATOR_IMAGE, f"docker-archive:{beside}:{OPERATOR_IMAGE}"])
    beside.replace(archive)
    run([*buildah, "rmi", "--prune"])  # of earlier builds


def _has_image(buildah: list[str], name: str) -> bool:
    return bool(run([*buildah, "images", "--quiet", "--filter", f"reference={name}"]).strip())


def _base_key() -> str:
    return _digest([f"{BASE_LAYOUT} {DEBIAN_SUITE} {' '.join(BASE_PACKAGES)}".encode()])


def _sources_key() -> str:
    def parts() -> Iterable[bytes]:
        yield _base_key().encode()
        for source in DOCKERFILE_SOURCES:
            path = REPOSITORY / source
            files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
            for file in files:
                if "__pycache__" not in file.parts:
                    yield str(file.relative_to(REPOSITORY)).encode()
                    yield file.read_bytes()

    return _digest(parts())


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.hexdigest()[:HASH_CHARACTERS]


def _remove_older(archive: Path, pattern: str) -> None:
    for other in archive.parent.glob(pattern):
        if other != archive:
            other.unlink()
