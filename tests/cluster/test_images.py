"""Images that several threads ask for: built once, and an image that is there is waited for by nobody."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from e2e.cluster import images, packages
from e2e.cluster.progress import Say

WAIT_SECONDS = 30.0


def quiet(_line: str) -> None:
    """Say nothing."""


def test_the_base_image_is_to_be_had_while_ours_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a cluster can take it in meanwhile, and whoever asks for ours later gets the one that is under way."""
    made: list[str] = []
    begun, go_on = Event(), Event()

    def make_base(archive: Path, _say: Say) -> None:
        made.append("base")
        archive.touch()

    def build(_base: Path, archive: Path) -> None:
        made.append("ours")
        begun.set()
        assert go_on.wait(WAIT_SECONDS)
        archive.touch()

    monkeypatch.setattr(images, "image_folder", lambda: tmp_path)
    monkeypatch.setattr(images, "_make_base", make_base)
    monkeypatch.setattr(images, "_build", build)
    monkeypatch.setattr(packages, "install", lambda *_: None)
    with ThreadPoolExecutor(max_workers=2) as pool:
        try:
            first = pool.submit(images.operator_image, quiet)
            assert begun.wait(WAIT_SECONDS)
            second = pool.submit(images.operator_image, quiet)
            assert images.base_image(quiet).exists()
        finally:
            go_on.set()
        assert first.result(WAIT_SECONDS) == second.result(WAIT_SECONDS)
    assert made == ["base", "ours"]
