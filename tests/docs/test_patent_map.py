"""docs/patent-map.md has a row for everything the patent numbers, and each row resolves."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from docs.resolve import ROOT, trouble_with_symbol, trouble_with_test

REQUIRED = [
    *(f"Fig. {number}" for number in range(1, 7)),
    *("100a", "100b", "110a", "110b", "105a", "105b", "106b", "130", "140b", "150"),
    *(str(number) for number in (300, 310, 320, 330, 340, 350, 360)),
    *(str(number) for number in range(400, 480, 10)),
    *(str(number) for number in range(500, 570, 10)),
    *(str(number) for number in range(600, 680, 10)),
    *(f"Embodiment {number}" for number in range(1, 10)),
]
GOOD = (
    "| 450 | split | `pyrep.model.Row`, `rep_group_cut` "
    "| `tests/docs/test_patent_map.py::test_a_good_row_is_not_complained_about` |"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRow:
    """One row: a number of the patent, symbols, tests."""

    number: str
    symbols: tuple[str, ...]
    tests: tuple[str, ...]


def _rows(text: str) -> list[MapRow]:
    rows = []
    for line in text.splitlines():
        if not line.startswith("| ") or line.startswith(("| number |", "|---")):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        number, _what, symbols, tests = (*cells, "", "", "", "")[:4]
        rows.append(
            MapRow(
                number=number,
                symbols=tuple(re.findall(r"`([^`]+)`", symbols)),
                tests=tuple(re.findall(r"`([^`]+)`", tests)),
            )
        )
    return rows


def _trouble_with(row: MapRow) -> list[str]:
    found = [trouble_with_symbol(one) for one in row.symbols]
    found += [trouble_with_test(one) for one in row.tests]
    if not row.symbols:
        found.append("no symbol")
    if not row.tests:
        found.append("no test")
    return [f"{row.number}: {one}" for one in found if one]


def _missing(rows: list[MapRow]) -> list[str]:
    numbers = [row.number for row in rows]
    return [one for one in REQUIRED if numbers.count(one) != 1]


ROWS = _rows((ROOT / "docs/patent-map.md").read_text())


def test_every_number_of_the_patent_has_one_row() -> None:
    assert _missing(ROWS) == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.number)
def test_a_row_resolves(row: MapRow) -> None:
    assert _trouble_with(row) == []


def test_a_good_row_is_not_complained_about() -> None:
    (row,) = _rows(GOOD)

    assert _trouble_with(row) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("pyrep.model.Row", "pyrep.model.Nothing", "no Nothing"),
        ("pyrep.model.Row", "pyrep.model.Row.nothing", "no nothing"),
        ("pyrep.model.Row", "pyrep_nothing", "neither"),
        ("rep_group_cut", "rep_group_nothing", "no header declares it"),
        ("`pyrep.model.Row`, `rep_group_cut`", "Row", "no symbol"),
        ("::test_a_good_row_is_not_complained_about", "::test_nothing", "no such test"),
        ("::test_a_good_row_is_not_complained_about", "::MapRow::test_nothing", "no such test"),
        ("tests/docs/test_patent_map.py", "tests/docs/test_nothing.py", "no such file"),
        ("::test_a_good_row_is_not_complained_about", "", "not tests/…::name"),
        (
            "tests/docs/test_patent_map.py::test_a_good_row_is_not_complained_about",
            "tests/c/test_group.c::nothing",
            "no such test",
        ),
    ],
)
def test_a_broken_row_is_found(old: str, new: str, complaint: str) -> None:
    (row,) = _rows(GOOD.replace(old, new))

    trouble = _trouble_with(row)

    assert len(trouble) == 1
    assert complaint in trouble[0]


def test_a_row_without_a_test_is_found() -> None:
    (row,) = _rows(GOOD.rpartition("`tests")[0] + "none yet |")

    assert _trouble_with(row) == ["450: no test"]


def test_a_missing_and_a_doubled_row_are_found() -> None:
    without = [row for row in ROWS if row.number != "440"]

    assert _missing(without) == ["440"]
    assert _missing([*ROWS, without[0]]) == [without[0].number]
