"""Latency profiles in files: what ``--profile`` takes."""

from collections.abc import Mapping
from pathlib import Path

from turbospec.control.latency import InvalidProfileError, LatencyModel
from turbospec.simulation.files import ScenarioError, parse, read_yaml
from turbospec.wire.latency import LatencyDocument, to_model


def load_profile(path: Path) -> LatencyModel:
    """The model of a file with ``cells`` and ``fit``: a SpeculationProfile, its ``spec``, or just the two.

    ScenarioError, with file and field, where the file or the model in it cannot be used.
    """
    data = read_yaml(path)
    name = str(path)
    if isinstance(data, Mapping) and isinstance(data.get("spec"), Mapping):
        data, name = data["spec"], f"{path}: spec"
    if isinstance(data, Mapping):
        missing = [field for field in ("cells", "fit") if field not in data]
        if missing:
            raise ScenarioError(f"{name}: {', '.join(missing)} missing: a profile holds cells and fit")
        data = {field: data[field] for field in ("cells", "fit")}
    try:
        return to_model(parse(data, LatencyDocument, name))
    except InvalidProfileError as error:
        raise ScenarioError(f"{name}: {error}") from error
