"""Image archives: what containerd is given is consistent, and the same content gives the same image."""

import hashlib
import json
import os
import tarfile
from pathlib import Path

from e2e.cluster.archive import write_root_filesystem_image, write_single_binary_image


def read(archive: Path) -> tuple[dict[str, object], dict[str, object], bytes]:
    with tarfile.open(archive) as tar:

        def content(name: str) -> bytes:
            member = tar.extractfile(name)
            assert member is not None
            return member.read()

        (manifest,) = json.loads(content("manifest.json"))
        return manifest, json.loads(content(manifest["Config"])), content(manifest["Layers"][0])


def test_the_config_names_the_layer_by_its_digest(tmp_path: Path) -> None:
    """containerd refuses a layer whose digest is not the one that the configuration promises."""
    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF")
    write_single_binary_image(tmp_path / "pause.tar", "localhost/pause:1", program)
    manifest, config, layer = read(tmp_path / "pause.tar")
    assert manifest["RepoTags"] == ["localhost/pause:1"]
    assert config["rootfs"] == {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
    assert config["config"]["Entrypoint"] == ["/pause"]  # type: ignore[index]


def test_same_program_gives_same_image(tmp_path: Path) -> None:
    """Time and owner of the file leave no trace, so an unchanged program is an unchanged image."""
    program = tmp_path / "pause"
    program.write_bytes(b"program")
    images = []
    for seconds in (1, 1_000_000_000):
        os.utime(program, (seconds, seconds))
        write_single_binary_image(tmp_path / "image.tar", "localhost/pause:1", program)
        images.append(read(tmp_path / "image.tar"))
    assert images[0] == images[1]


def test_kernel_folders_stay_out_of_a_root_file_system_image(tmp_path: Path) -> None:
    """/proc, /sys and /dev belong to the container's kernel; their host content must not travel."""
    root = tmp_path / "root"
    for folder in ("proc", "sys", "dev", "etc"):
        (root / folder).mkdir(parents=True)
        (root / folder / "file").write_text("x")
    write_root_filesystem_image(tmp_path / "base.tar", "localhost/base:1", root)
    *_, layer = read(tmp_path / "base.tar")
    (tmp_path / "layer.tar").write_bytes(layer)
    with tarfile.open(tmp_path / "layer.tar") as tar:
        assert sorted(tar.getnames()) == ["etc", "etc/file"]
    assert not (tmp_path / "base.layer").exists()
