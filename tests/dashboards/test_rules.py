"""Our own rules for dashboards, on the files that are committed: a panel that breaks one misleads or shows nothing."""

import re
from collections.abc import Iterator

import pytest

from e2e.vllm.install import installation
from tests.dashboards.committed import BOARDS, RATE_INTERVAL, VARIABLE, label_values, panels, targets, variables
from tests.dashboards.exported import exported
from tests.dashboards.promql import selectors
from tests.dashboards.stand_in_fleet import Endpoints, stand_in_fleet
from tests.standin.support import until
from tools.dashboards.grafana import as_json
from tools.generate_dashboards import BOARDS as GENERATED
from tools.generate_dashboards import DOCUMENT, FOLDER, document
from turbospec_operator.prometheus_load import PrometheusLoad

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COUNTER = re.compile(r".*(_total|_bucket|_count|_sum)$")
SUFFIX = re.compile(r"_(total|bucket|count|sum)$")
"""What prometheus_client adds to the names that programs give."""
RATES = {"rate", "increase"}
ONE_POD = [{"metric": {"namespace": "shop", "pod": "chat-0"}, "value": [0, "1"]}]
"""What Prometheus answers to the operator that asks it for load."""
FILTERS = ("namespace", "policy", "pod", "scale_target")


def test_committed_files_are_what_the_generator_writes() -> None:
    """A change of tools/dashboards without `make dashboards` is caught here, and so is a change by hand."""
    assert set(BOARDS) == {board.name for board in GENERATED}
    for board in GENERATED:
        assert (FOLDER / f"{board.name}.json").read_text() == as_json(board), f"{board.name}: run make dashboards"
    assert DOCUMENT.read_text() == document(), "run make dashboards"


@pytest.mark.parametrize("board", BOARDS)
def test_each_panel_says_what_it_shows(board: str) -> None:
    """A title of its own, a description, a unit, a name for every series, and the data source that was chosen."""
    found = list(panels(board))
    titles = [panel["title"] for panel in found]
    assert len(set(titles)) == len(titles)
    assert len({panel["id"] for panel in BOARDS[board]["panels"]}) == len(BOARDS[board]["panels"])
    for panel in found:
        where = panel["title"]
        assert len(panel["description"]) > 20, where
        assert panel["description"].endswith("."), where
        assert panel["fieldConfig"]["defaults"]["unit"], where
        assert panel["datasource"] == SOURCE, where
        assert panel["targets"], where
        assert all(target["legendFormat"] for target in panel["targets"]), where
        if panel["type"] in ("timeseries", "state-timeline"):
            assert panel["options"]["legend"]["showLegend"] is True, where


@pytest.mark.parametrize("board", BOARDS)
def test_panels_lie_beside_each_other(board: str) -> None:
    """Within 24 columns, and none on another."""
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[board]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {(place["x"] + column, place["y"] + row) for column in range(place["w"]) for row in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("board", BOARDS)
def test_each_board_can_be_told_from_others_and_filtered(board: str) -> None:
    """A fixed uid, so that links last; read only, for it is written anew; variables for all that its queries name."""
    raw = BOARDS[board]
    assert raw["uid"] == f"turbospec-{board}"
    assert raw["editable"] is False
    source, *_ = raw["templating"]["list"]
    assert (source["type"], source["name"]) == ("datasource", "datasource")
    queries = [target.expr for target in targets() if target.board == board]
    queries += [variable["query"] for variable in variables(board).values()]
    named = {name for query in queries for name in VARIABLE.findall(query)} - {"__rate_interval"}
    assert named <= variables(board).keys()
    assert all(variable["datasource"] == SOURCE for variable in variables(board).values())
    assert all(variable["includeAll"] and variable["allValue"] == ".*" for variable in variables(board).values())


def _queries() -> Iterator[tuple[str, str, set[str]]]:
    """Where, the expression, and the filters that its board has: of panels and of variables."""
    for target in targets():
        yield str(target), target.expr, set(FILTERS) & variables(target.board).keys()
    for board in BOARDS:
        filters: set[str] = set()
        for name, variable in variables(board).items():
            selector, _ = label_values(variable["query"])
            yield f"{board}: ${name}", selector, set(filters)
            filters.add(name)


def test_counters_are_shown_as_rates_over_grafanas_interval() -> None:
    """A fixed window shows nothing where scrapes are further apart, and a counter itself says nothing."""
    for where, expr, _ in _queries():
        for each in selectors(expr):
            assert ("[" in expr) <= ("[$__rate_interval]" in expr), where
            if COUNTER.fullmatch(each.name):
                assert each.rated is not None, f"{where}: {each.name} is a counter"
                assert each.rated[0] in RATES, where
                assert each.rated[1] == RATE_INTERVAL, where
            else:
                assert each.rated is None, f"{where}: {each.name} is no counter"


async def test_series_are_exported_and_filtered_by_the_labels_that_they_have() -> None:
    """By operator, engines and vLLM's stand-in, as they serve them. A panel that ignored a filter would show other
    people's fleets as if they were those that were chosen."""
    async with stand_in_fleet(speed=50.0, fleet_speed=100.0) as endpoints:
        await PrometheusLoad(lambda _: ONE_POD, 0.0, endpoints.fleet.metrics).read(endpoints.fleet.snapshot)
        await until(lambda: _has_said_everything(endpoints))
        known = await exported(endpoints)
    wrong: list[str] = []
    for where, expr, filters in _queries():
        for each in selectors(expr):
            labels = known.get(each.name)
            if labels is None:
                wrong.append(f"{where}: nobody exports {each.name}")
                continue
            wrong += [f"{where}: {each.name} has no label {name}" for name, _ in each.matchers if name not in labels]
            wrong += [
                f"{where}: {each.name} is not filtered by {name}"
                for name in sorted(filters & labels)
                if not each.filters(name, name)
            ]
    assert wrong == []


async def _has_said_everything(endpoints: Endpoints) -> bool:
    """The load of a scale target is what takes longest to be known."""
    text = endpoints.fleet.metrics.text().decode()
    return "turbospec_offered_load_ratio_part{" in text


def test_a_rule_finds_what_it_is_for() -> None:
    """Taken apart: names, matchers and ranges, and nothing else."""
    expr = 'sum by (a) (rate(x_total{namespace=~"$namespace", b="c"}[$__rate_interval])) / count_values("k", y)'
    first, second = selectors(expr)
    assert (first.name, first.rated) == ("x_total", ("rate", RATE_INTERVAL))
    assert first.filters("namespace", "namespace")
    assert not first.filters("b", "b")
    assert (second.name, second.matchers, second.rated) == ("y", (), None)


def test_the_list_of_panels_is_not_empty() -> None:
    """What is read from files can be empty without anybody noticing."""
    assert len(BOARDS) == 5
    assert min(sum(1 for _ in panels(board)) for board in BOARDS) >= 10


@pytest.mark.vllm
def test_series_of_vllm_are_vllms() -> None:
    """The stand-in says what vLLM exports; here vLLM's own source says it."""
    site = next(installation().venv.glob("lib/python*/site-packages"))
    source = "".join(
        (site / "vllm" / "v1" / part).read_text(encoding="utf-8")
        for part in ("metrics/loggers.py", "spec_decode/metrics.py")
    )
    used = {each.name for _, expr, _ in _queries() for each in selectors(expr) if each.name.startswith("vllm:")}
    assert used
    assert [name for name in sorted(used) if f'"{SUFFIX.sub("", name)}"' not in source] == []
