"""Build secrets: this machine's index settings reach the build; where there are none, nothing is passed."""

import configparser
from pathlib import Path

import pytest

from e2e.cluster import build_secrets
from e2e.cluster.build_secrets import secret_options


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_secrets, "PIP_FILES", ())
    settings = [f"PIP_{name.upper().replace('-', '_')}" for name in build_secrets.PIP_SETTINGS]
    for variable in (*build_secrets.CA_VARIABLES, "PIP_CONFIG_FILE", *settings):
        monkeypatch.delenv(variable, raising=False)


def test_a_machine_without_settings_gives_no_secrets(tmp_path: Path) -> None:
    """The ordinary build is the one without options."""
    assert secret_options(tmp_path) == []


def test_a_bundle_that_does_not_exist_is_not_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale variable must not break the build."""
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "gone.pem"))
    assert secret_options(tmp_path) == []


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with pip itself; settings that are paths of this machine stay here."""
    file = tmp_path / "own.conf"
    file.write_text("[global]\ncert = /only/here.pem\nindex-url = https://file.invalid/simple\nretries = 9\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_INDEX_URL", "https://variable.invalid/simple")
    target = tmp_path / "out"
    target.mkdir()
    assert secret_options(target) == ["--secret", f"id=pip-conf,src={target / 'pip.conf'}"]
    passed = configparser.RawConfigParser()
    passed.read(target / "pip.conf")
    assert dict(passed["global"]) == {"index-url": "https://variable.invalid/simple", "retries": "9"}
