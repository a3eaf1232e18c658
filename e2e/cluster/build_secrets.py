"""What a build inside an image needs of this machine's settings to reach package indexes, given as build secrets."""

import configparser
import os
from pathlib import Path

CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
PIP_FILES = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")  # later ones win, as with pip itself
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")


def secret_options(folder: Path) -> list[str]:
    """`--secret` options for docker and buildah; files they name are written to `folder`, which must outlive the build.

    Only what this machine sets is passed on: a machine without settings of its own gives no secrets.
    """
    options = []
    if bundle := _ca_bundle():
        options += ["--secret", f"id=ca-bundle,src={bundle}"]
    if settings := _pip_settings():
        config = configparser.RawConfigParser()
        config["global"] = settings
        file = folder / "pip.conf"
        with file.open("w") as target:
            config.write(target)
        options += ["--secret", f"id=pip-conf,src={file}"]
    return options


def _ca_bundle() -> str | None:
    named = (os.environ.get(variable) for variable in CA_VARIABLES)
    return next((path for path in named if path and Path(path).is_file()), None)


def _pip_settings() -> dict[str, str]:
    settings: dict[str, str] = {}
    files = [*PIP_FILES, os.environ.get("PIP_CONFIG_FILE") or os.devnull]
    for file in files:
        parser = configparser.RawConfigParser()
        parser.read(Path(file).expanduser())
        if parser.has_section("global"):
            settings.update({k: v for k, v in parser["global"].items() if k in PIP_SETTINGS})
    for setting in PIP_SETTINGS:
        if value := os.environ.get(f"PIP_{setting.upper().replace('-', '_')}"):
            settings[setting] = value
    return settings
