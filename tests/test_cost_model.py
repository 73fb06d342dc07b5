"""The model of what users cost: its sums are right, and it starts from what was measured."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from benchmarks.cost_model import (
    USERS,
    Cost,
    Figure,
    Inputs,
    Traffic,
    inputs,
    recipient,
    sender,
    smtp_recipient,
    smtp_sender,
    table,
    write,
)
from benchmarks.figures import Found, Line, series

ROOT = Path(__file__).parents[1]
TRAFFIC = Traffic(
    sent=2, recipients=3, size=1000, fetched=0.5, kept=0.25, polls=10, opened=4,
    days_offered=5, days_kept=20,
)  # fmt: skip
ONE = Inputs(
    **{
        name: Figure(value, "made up")
        for name, value in {
            "delivering": 7.0, "receiving": 2.0, "fetching": 3.0, "polling": 0.5,
            "feed_page": 0.25, "written_once": 2.0, "written_each": 100.0, "notice_kept": 10.0,
            "notification": 50.0, "poll_sent": 1.0, "smtp_delivering": 4.0, "smtp_written": 1.5,
        }.items()
    }
)  # fmt: skip


def test_the_sums_are_those_made_by_hand():
    # Two messages to three each: six are told, three fetch, one and a half are kept.
    assert sender(TRAFFIC, ONE) == Cost(
        processor=6 * (7 - 2) + 3 * 3,
        written=2 * 1000 * 2 + 6 * 50,
        kept=2 * 1000 * 5,
        network=6 * 50 + 3 * 1000,
    )
    assert recipient(TRAFFIC, ONE) == Cost(
        processor=6 * 2 + 10 * 0.5 + 4 * 0.25,
        written=6 * 50 + 1.5 * 1000 * 2,
        kept=6 * 10 * 20 + 1.5 * 1000 * 20,
        network=10,
    )
    assert smtp_sender(TRAFFIC, ONE) == Cost(6 * 2, written=2 * 1000, network=6 * 1000)
    assert smtp_recipient(TRAFFIC, ONE) == Cost(
        6 * 2, written=6 * 1000 * 2.5, kept=6 * 1000 * (0.25 * 20 + 0.75 * 5)
    )


def test_twice_the_users_cost_twice_as_much_and_both_ends_are_the_whole():
    both = sender(TRAFFIC, ONE) + recipient(TRAFFIC, ONE)
    assert both.times(2) == both + both
    assert both.processor == 39 + 18


@pytest.mark.parametrize(
    ("cost", "machines"),
    [
        (Cost(), 1),
        (Cost(processor=86400 * 2 * 0.5), 4),  # half of two cores all day, four times at its peak
        (Cost(processor=86400 * 2 * 0.5 + 1), 5),
        (Cost(kept=12e12 + 1), 4),
    ],
)
def test_machines_are_counted_by_what_runs_out_first(cost: Cost, machines: int):
    assert cost.machines() == machines


def measured(directory: Path, *lines: Line) -> Path:
    file = directory / "measured.json"
    rows = [json.loads(Found(line.row, "a row", (line,)).to_json()) for line in lines]
    file.write_text(json.dumps(rows))
    return file


def test_what_was_measured_takes_the_place_of_what_is_assumed(tmp_path: Path):
    what = "4 KiB, one recipient each"
    file = measured(
        tmp_path,
        Line(1, what, "deliveries/s", series([1.0]), "two Postfix", series([1.0])),
        Line(1, f"{what}: processor time", "s for 1,000", series([9.0, 4.0, 5.0]), "two Postfix",
             series([6.0])),
        Line(2, "written to disk", "MiB", series([3.0]), "two Postfix", series([110.0])),
        Line(3, "SQLite, by origin", "notifications/s", series([400.0])),
    )  # fmt: skip
    found = inputs(file)
    assert found.delivering.value == pytest.approx(0.005), "the median, of one"
    assert found.smtp_delivering.value == pytest.approx(0.006)
    assert found.written_each.value == pytest.approx((1 << 20) / 100), "both ends, each recipient"
    assert found.smtp_written.value == pytest.approx(1.1)
    assert found.receiving.value == pytest.approx(2 / 400), "both cores, so many a second"
    assert not found.delivering.assumed
    assert found.fetching.assumed, "it was not measured"


def test_without_any_measurement_everything_has_a_value(tmp_path: Path):
    found = inputs(tmp_path / "none.json")
    assert all(getattr(found, row.name).value > 0 for row in fields(found))
    shown = table(Traffic(), found)
    assert all(f"| {users:,} | **XHMTP** |" in shown for users in USERS)


def test_the_command_prints_the_table_and_where_its_numbers_come_from():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cost_model", "--sent", "20"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "| 100,000,000 | **SMTP** |" in done.stdout
    assert "- `delivering`: " in done.stdout


def test_a_page_gets_the_table_between_its_markers_and_stays_as_it_was_around_them(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- model: begin -->\nold\n<!-- model: end -->\nafter\n")
    write(page, "| new |\n")
    write(page, "| newer |\n")
    told = "before\n<!-- model: begin -->\n\n| newer |\n\n<!-- model: end -->\nafter\n"
    assert page.read_text() == told
    page.write_text("nothing")
    with pytest.raises(ValueError, match="has no"):
        write(page, "| new |")
