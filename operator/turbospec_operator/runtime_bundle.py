"""The runtime that vLLM pods load: a zip of our pure-Python packages, in an immutable ConfigMap named by its hash.

Entry points in a zipped ``.dist-info`` are found by ``importlib.metadata`` like any others, so vLLM's plugin loader
needs nothing but the zip on ``PYTHONPATH``.
"""

import base64
import hashlib
import importlib.metadata
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import turbospec

PACKAGES = ("control", "wire", "engine", "profiling")
"""What a vLLM pod needs; the fleet's brain stays with the operator."""

PLUGIN_GROUP = "vllm.general_plugins"
ZIP_NAME = "turbospec.zip"
MOUNT_PATH = "/opt/turbospec"
MANAGED_BY = {"app.kubernetes.io/managed-by": "turbospec", "app.kubernetes.io/component": "runtime"}

_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can hold; any fixed one keeps equal sources equal bytes."""


def build_runtime_zip() -> bytes:
    """The zip of the installed package; equal sources give equal bytes.

    Raises FileNotFoundError when a package of PACKAGES has no modules: a broken installation must not reach engines.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in sorted([*_modules(), *_dist_info()]):
            entry = zipfile.ZipInfo(name, _TIMESTAMP)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, wherever it was built
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def runtime_hash(data: bytes) -> str:
    """12 hexadecimal digits that name this runtime."""
    return hashlib.sha256(data).hexdigest()[:12]


def config_map_name(runtime: str) -> str:
    """The name of the ConfigMap that carries the runtime with this hash."""
    return f"turbospec-runtime-{runtime}"


def config_map_manifest(namespace: str, data: bytes) -> dict[str, Any]:
    """The immutable ConfigMap for a namespace. AlreadyExists on its creation is success: the name is the content."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config_map_name(runtime_hash(data)), "namespace": namespace, "labels": dict(MANAGED_BY)},
        "immutable": True,
        "binaryData": {ZIP_NAME: base64.b64encode(data).decode()},
    }


def _modules() -> Iterator[tuple[str, bytes]]:
    root = Path(turbospec.__file__).parent
    for name in ("__init__.py", "py.typed"):
        yield f"turbospec/{name}", (root / name).read_bytes()
    for package in PACKAGES:
        sources = [path for path in (root / package).rglob("*.py") if "__pycache__" not in path.parts]
        if not sources:
            raise FileNotFoundError(f"no modules in {root / package}: the turbospec installation is incomplete")
        for path in sources:
            yield f"turbospec/{path.relative_to(root).as_posix()}", path.read_bytes()


def _dist_info() -> Iterator[tuple[str, bytes]]:
    folder = f"turbospec-{turbospec.__version__}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: turbospec\nVersion: {turbospec.__version__}\n"
    points = importlib.metadata.distribution("turbospec").entry_points.select(group=PLUGIN_GROUP)
    if not points:
        raise FileNotFoundError(f"the installed turbospec has no {PLUGIN_GROUP} entry point: install it again")
    lines = "".join(f"{point.name} = {point.value}\n" for point in sorted(points, key=lambda point: point.name))
    yield f"{folder}/METADATA", metadata.encode()
    yield f"{folder}/entry_points.txt", f"[{PLUGIN_GROUP}]\n{lines}".encode()
