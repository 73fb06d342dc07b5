"""docs/performance.md's table is written from what was measured, and nothing else of it changes."""

import builtins
from pathlib import Path
from typing import Any

import pytest

from benchmarks.figures import Found, Goal, Line, number, series
from benchmarks.interleaved import interleaved
from benchmarks.performance_page import BEGIN, END, write
from benchmarks.table import as_text

PROSE = f"# Performance\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n"


def found(row: int, *ours: float, goal: Goal | None = None) -> Found:
    line = Line(row, "speed", "a second", series(ours), "peer", series([100.0]), goal, how="how it")
    return Found(row, "Speed", (line,))


@pytest.fixture
def place(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "performance.md").write_text(PROSE)
    (tmp_path / "plots").mkdir()
    return {
        "page": tmp_path / "performance.md",
        "kept": tmp_path / "measured.json",
        "plots": tmp_path / "plots",
    }


@pytest.fixture
def without_matplotlib(monkeypatch):
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "benchmarks.plots":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_the_table_is_between_its_markers_and_the_prose_stays(place, without_matplotlib):
    write([found(1, 40.0, 50.0, 60.0, goal=Goal(0.5))], **place)
    text = place["page"].read_text()
    assert text.startswith(f"# Performance\n\nBefore.\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nAfter.\n")
    assert "old" not in text
    row = "| 1 | speed | a second | 50.0 (40.0 to 60.0) | peer: 100 | 0.50 | at least 0.50 | yes |"
    assert row in text
    assert "`how it`" in text


def test_a_row_that_is_not_measured_anew_stays_as_it_was(place, without_matplotlib):
    write([found(1, 50.0), found(2, 70.0)], **place)
    write([found(1, 99.0)], **place)
    text = place["page"].read_text()
    assert "| 1 | speed | a second | 99.0 |" in text
    assert "| 2 | speed | a second | 70.0 |" in text


def test_without_matplotlib_there_are_no_plots_and_that_is_said(place, without_matplotlib):
    said = write([found(1, 50.0)], **place)
    assert any("no plots: matplotlib" in line for line in said)
    assert list(place["plots"].iterdir()) == []
    assert "![" not in place["page"].read_text()


def test_with_matplotlib_each_row_has_its_plot(place):
    pytest.importorskip("matplotlib", reason="the extra `bench` is not installed")
    write([found(1, 50.0), Found(2, "Not here", missing=("apt-get install it",))], **place)
    assert [file.name for file in place["plots"].iterdir()] == ["performance-1.svg"]
    text = place["page"].read_text()
    assert "![Row 1: Speed](_static/performance-1.svg)" in text
    assert "Row 2 (Not here): not measured: apt-get install it" in text


def test_a_page_without_markers_is_refused_and_left_alone(place, without_matplotlib):
    place["page"].write_text("prose\n")
    with pytest.raises(ValueError, match="measured: begin"):
        write([found(1, 50.0)], **place)
    assert place["page"].read_text() == "prose\n"


def test_goals_are_met_at_their_bound_and_missed_beyond():
    assert found(1, 50.0, goal=Goal(0.5)).lines[0].is_met
    assert not found(1, 49.9, goal=Goal(0.5)).lines[0].is_met
    assert found(1, 120.0, goal=Goal(1.2, at_least=False)).lines[0].is_met
    assert not found(1, 121.0, goal=Goal(1.2, at_least=False)).lines[0].is_met
    assert found(1, 20.0, goal=Goal(25.0, at_least=False, absolute=True)).lines[0].is_met
    assert not found(1, 30.0, goal=Goal(25.0, at_least=False, absolute=True)).lines[0].is_met
    assert found(1, 20.0).lines[0].is_met is None


def test_what_was_found_comes_back_from_its_text():
    for one in (found(1, 1.0, 2.0, goal=Goal(0.5)), Found(2, "none", missing=("why",))):
        assert Found.from_json(one.to_json()) == one


def test_sides_take_turns_and_none_is_always_first():
    order: list[str] = []
    sides = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    assert interleaved(sides, 2) == {"a": [None, None], "b": [None, None]}
    assert "".join(order) == "baabba"


def test_the_terminal_says_what_is_met_and_what_is_missing():
    text = as_text([found(1, 40.0, goal=Goal(0.5)), Found(2, "none", missing=("why",))])
    assert "ours 40.0; peer 100; ratio 0.40; goal at least 0.50: MISSED" in text
    assert "not measured: why" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.0123, "0.012"),
        (0.98, "0.98"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
    ],
)
def test_numbers_have_three_digits_that_count(value: float, shown: str):
    assert number(value) == shown
