"""The image of every pod's sandbox container."""

from pathlib import Path

from e2e.cluster.archive import write_single_binary_image
from e2e.cluster.config import PAUSE_IMAGE
from e2e.cluster.paths import binary, cache_root


def pause_image() -> Path:
    """Archive of the sandbox image, written when it is not there or older than its program."""
    archive = cache_root() / "images" / "pause.tar"
    program = binary("pause")
    if not archive.exists() or archive.stat().st_mtime < program.stat().st_mtime:
        archive.parent.mkdir(parents=True, exist_ok=True)
        write_single_binary_image(archive, PAUSE_IMAGE, program)
    return archive
