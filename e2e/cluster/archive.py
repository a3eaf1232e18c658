"""Container images as docker-archive files, written without any image builder."""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

EPOCH = "1970-01-01T00:00:00Z"  # the same content always gives the same image
CHUNK = 1 << 20
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # the kernel's name -> the image format's


def write_single_binary_image(archive: Path, name: str, program: Path) -> None:
    """An image that holds one static program at `/NAME-OF-FILE` and runs it."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(program, arcname=program.name, filter=_anonymous)
    _write(archive, name, layer, ["/" + program.name], [])


def write_root_filesystem_image(archive: Path, name: str, root: Path) -> None:
    """An image of a whole root file system, for example debootstrap's."""
    layer_file = archive.with_suffix(".layer")
    try:
        with tarfile.open(layer_file, "w") as tar:
            for entry in sorted(root.iterdir()):
                if entry.name not in ("proc", "sys", "dev"):
                    tar.add(entry, arcname=entry.name, filter=_no_devices)
        with layer_file.open("rb") as layer:
            _write(archive, name, layer, [], ["/bin/bash"])
    finally:
        layer_file.unlink(missing_ok=True)


def _write(archive: Path, name: str, layer: IO[bytes], entrypoint: Sequence[str], command: Sequence[str]) -> None:
    layer.seek(0)
    digest = hashlib.sha256()
    size = 0
    while chunk := layer.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
    layer.seek(0)
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    config = json.dumps(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": EPOCH,
            "config": {"Entrypoint": entrypoint or None, "Cmd": command or None, "Env": [path], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest.hexdigest()}"]},
            "history": [{"created": EPOCH, "created_by": "e2e.cluster"}],
        }
    ).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]
    beside = archive.with_suffix(".new")
    with tarfile.open(beside, "w") as tar:
        _add(tar, config_name, io.BytesIO(config), len(config))
        encoded = json.dumps(manifest).encode()
        _add(tar, "manifest.json", io.BytesIO(encoded), len(encoded))
        _add(tar, "layer.tar", layer, size)
    beside.replace(archive)


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    tar.addfile(info, content)


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    return info


def _no_devices(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if info.ischr() or info.isblk() else info
