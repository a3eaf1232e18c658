"""Charts as SVG: gaps stay gaps, numbers are there without colours, and every picture has words and a table."""

import re
import xml.etree.ElementTree as ET

import pytest

from tests.web.fleet import Fleet
from turbospec.cli.web.cell_map import TINTS, Cell, cell_map, tint
from turbospec.cli.web.engines import MOST_MAPPED, k_map
from turbospec.cli.web.line_chart import MOST_ROWS, Line, line_chart
from turbospec.cli.web.markup import node, written

Values = list[tuple[float, int | None]]


def paths(chart: ET.Element) -> list[str]:
    """The lines drawn, legend left out."""
    return [each.get("d", "") for each in chart.findall("./div/svg/path")]


def words(chart: ET.Element) -> str:
    return chart.findtext("./div/svg/desc") or ""


def body(chart: ET.Element) -> list[list[str]]:
    """The table's cells."""
    return [["".join(cell.itertext()) for cell in row] for row in chart.iterfind(".//tbody/tr")]


def drawn(steps: bool, values: Values) -> list[str]:
    """Commands of each line, numbers left out."""
    chart = line_chart("c", "K over time", "", [Line("K", values, steps=steps)])
    return [re.sub(r"[-\d. ]+", "", path) for path in paths(chart)]


@pytest.mark.parametrize(
    ("values", "joined", "stepped"),
    [
        ([(0.0, 1), (5.0, 3), (10.0, 3)], ["MhLL"], ["MhHVHV"]),
        ([(0.0, 1), (5.0, None), (10.0, 3)], ["Mh", "Mh"], ["Mh", "Mh"]),
        ([(0.0, None), (5.0, 0), (10.0, 0), (15.0, None)], ["MhL"], ["MhHV"]),
        ([(0.0, 0)], ["Mh"], ["Mh"]),
        ([(0.0, None)], [], []),
    ],
)
def test_what_is_not_known_is_a_gap_and_not_zero(values: Values, joined: list[str], stepped: list[str]) -> None:
    """A value that stands alone is a dot; K goes in steps, for it holds until the next one."""
    assert drawn(False, values) == joined
    assert drawn(True, values) == stepped


def test_the_axis_holds_every_value_and_begins_at_zero() -> None:
    """With few ticks, whole numbers all of them, whatever is drawn."""
    for most in (0, 1, 2, 3, 5, 7, 8, 23, 64, 999, 1000, 1001, 123_456):
        chart = line_chart("c", "t", "tokens/s", [Line("a", [(0.0, 0), (60.0, most)])])
        ticks = [each.text for each in chart.iterfind("./div/svg/text") if each.get("text-anchor") == "end"]
        numbers = [int((each or "").replace(",", "")) for each in ticks if each != "now"]
        assert numbers[0] == 0
        assert numbers[-1] >= most
        assert 2 <= len(numbers) <= 7
        (path,) = paths(chart)
        assert all(0.0 <= float(number) <= 720.0 for number in re.findall(r"[\d.]+", path))


def test_a_line_chart_is_told_in_words_and_as_a_table() -> None:
    """The newest first; lines that cross are told apart by dashes and names."""
    one: Values = [(at * 5.0, at) for at in range(200)]
    other: Values = [(at * 5.0, None if at == 199 else 1000) for at in range(200)]
    chart = line_chart("c", "Rates", "tokens/s", [Line("Measured", one), Line("Predicted", other, dashed=True)])
    assert words(chart) == (
        "Measured: 199 tokens/s now, 0 to 199 in the last 17 minutes. "
        "Predicted: not known now, 1,000 to 1,000 in the last 17 minutes"
    )
    rows = body(chart)
    assert rows[:2] == [["0", "199", "-"], ["5", "198", "1000"]]
    assert len(rows) == MOST_ROWS
    assert [each.get("class") for each in chart.iterfind("./div/svg/path")] == ["line line0", "line line1 dashed"]
    assert ["".join(each.itertext()).strip() for each in chart.iterfind("./ul/li")] == ["Measured", "Predicted"]


def test_a_map_says_its_numbers_and_frames_the_best() -> None:
    """In the picture, under the pointer, and in the table."""
    cells = [Cell("0.91", -2), Cell("1.20", 4, framed=True), Cell("-", None)]
    chart = cell_map("m", "Gain", "what it says", ("batch", "K"), columns=["1", "2", "64"], rows=[("3", cells)])
    assert words(chart) == "what it says"
    assert [each.get("class") for each in chart.iterfind("./div/svg/rect")] == [
        "cell less2",
        "cell more4 best",
        "cell unknown",
    ]
    assert [each.text for each in chart.iterfind("./div/svg/rect/title")][1] == "batch 2, K 3: 1.20"
    assert [each.text for each in chart.iterfind("./div/svg/text[@class='value']")] == ["0.91", "1.20", "-"]
    assert body(chart) == [["3", "0.91", "1.20 (best)", "-"]]


def test_the_scale_of_colours_ends_where_the_style_sheet_does() -> None:
    """Its middle is no gain and no loss."""
    assert [tint(share) for share in (-9.0, -1.0, -0.1, 0.0, 0.1, 0.5, 1.0, 9.0)] == [
        -TINTS, -TINTS, 0, 0, 0, 2, TINTS, TINTS,
    ]  # fmt: skip


def test_engines_over_time_are_one_row_each() -> None:
    """The newest at the right; one not heard of has gaps; of very many the first are drawn, and that is said."""
    fleet = Fleet()
    looker = fleet.looker(20)
    fleet.lost = {"chat-6b9f-1"}
    looker.again()
    chart = k_map(looker.latest)
    rows = body(chart)
    assert [row[0] for row in rows] == ["chat-6b9f-0", "chat-6b9f-1", "chat-6b9f-2", "code-0"]
    assert rows[1][-1] == "-"
    assert rows[0][-1] == str(looker.latest.engines[0]["draftTokens"])
    assert len({value for row in rows for value in row[1:]}) > 2
    many = [{**looker.latest.engines[0], "pod": f"{'very-' * 12}{number}"} for number in range(MOST_MAPPED + 3)]
    looker.latest.engines[:] = many  # type: ignore[index]
    chart = k_map(looker.latest)
    assert len(body(chart)) == MOST_MAPPED
    assert "3 more are in the table only" in "".join(chart.itertext())
    assert max(len(row[0]) for row in body(chart)) <= 24


def test_texts_stand_in_their_order_and_cannot_be_markup() -> None:
    """Between elements, and in attributes."""
    page = written(node("p", "a", node("b", "<i>"), "c", None, 0, node("br"), "d", title='"<'))
    assert page.splitlines()[1] == '<p title="&quot;<">a<b>&lt;i&gt;</b>c0<br>d</p>'
