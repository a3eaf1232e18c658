"""The runtime zip is all a vLLM pod needs, and nothing else."""

import base64
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from turbospec_operator.runtime_bundle import build_runtime_zip, config_map_manifest, config_map_name, runtime_hash


@pytest.fixture(scope="module")
def runtime() -> bytes:
    """The zip of the sources under test."""
    return build_runtime_zip()


def test_equal_sources_give_equal_bytes(runtime: bytes) -> None:
    """Operator and webhook replicas build the same zip, so they name the same ConfigMap."""
    assert build_runtime_zip() == runtime


def test_only_what_a_pod_needs_is_inside(runtime: bytes) -> None:
    """The fleet's brain, the operator and tests stay out; every file is a module, the marker or metadata."""
    names = zipfile.ZipFile(BytesIO(runtime)).namelist()
    tops = {name.split("/")[1] for name in names if name.startswith("turbospec/")}
    assert tops == {"__init__.py", "py.typed", "control", "wire", "engine", "profiling"}
    assert all(name.startswith(("turbospec/", "turbospec-")) for name in names)
    assert all(name.endswith((".py", "py.typed", "METADATA", "entry_points.txt")) for name in names)


def test_config_map_is_immutable_named_by_content_and_fits(runtime: bytes) -> None:
    """The name is the content's hash; the object stays far below the 1 MiB that etcd takes."""
    manifest = config_map_manifest("team-a", runtime)
    assert manifest["metadata"]["name"] == config_map_name(runtime_hash(runtime))
    assert manifest["metadata"]["namespace"] == "team-a"
    assert manifest["immutable"] is True
    assert base64.b64decode(manifest["binaryData"]["turbospec.zip"]) == runtime
    assert len(manifest["binaryData"]["turbospec.zip"]) < 512 * 1024


def test_python_with_only_the_zip_finds_and_loads_the_plugin(runtime: bytes, tmp_path: Path) -> None:
    """vLLM's loader does exactly this: look the group up, load the entry point. Ours must come out of the zip."""
    path = tmp_path / "turbospec.zip"
    path.write_bytes(runtime)
    # The installed (editable) package is on this interpreter's own path: drop every path entry that leads to it.
    program = """
import sys
zip_path = sys.argv[1]
sys.path[:] = [zip_path] + [p for p in sys.path if "controller" not in p and "operator" not in p]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
from importlib.metadata import entry_points
points = [p for p in entry_points(group="vllm.general_plugins") if p.name == "turbospec"]
function = points[0].load()
import turbospec
assert turbospec.__file__.startswith(zip_path), turbospec.__file__
assert function.__module__ == "turbospec.engine.plugin", function
import turbospec.wire.control_document, turbospec.profiling
print("loaded", len(points))
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("loaded")
