"""Documents name only what exists: links, headings, files, symbols, tests, commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.resolve import (
    ROOT,
    trouble_with_path,
    trouble_with_symbol,
    trouble_with_test,
    trouble_with_words,
)

DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks/README.md"]
)
PATH = re.compile(r"(?:csrc|pyrep|tests|docs|scripts|benchmarks)/[\w./*-]*")
SYMBOL = re.compile(r"rep_[a-z]\w*|pyrep(?:\.\w+)+")
WORDS = re.compile(r"(?:[A-Z][a-z]+)+(?:\.[a-z_]+)?|(?!test_)[a-z]+(?:_[a-z]+)+")
MADE_HERE = ("benchmarks/results/",)
FILE_OF_C = re.compile(r"(?:rep|bitmap)_\w+\.[ch]|parts\.h")


def _without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def _anchors(path: Path) -> set[str]:
    """Return the headings of a document as they are linked to."""
    heads = re.findall(r"^#+ (.+)$", _without_blocks(path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def _trouble_with_link(document: Path, target: str) -> str:
    where, _, anchor = target.partition("#")
    path = (document.parent / where).resolve() if where else document
    if not path.exists():
        return f"{target}: not there"
    if anchor and anchor not in _anchors(path):
        return f"{target}: no such heading"
    return ""


def _trouble_with_code(code: str) -> str:
    """Resolve what stands in backticks, if it is a name of the repository's."""
    if code.startswith("tests/") and "::" in code:
        return trouble_with_test(code)
    if PATH.fullmatch(code) and not code.startswith(MADE_HERE):
        return trouble_with_path(code)
    if FILE_OF_C.fullmatch(code):
        return trouble_with_path(f"csrc/{code}")
    if SYMBOL.fullmatch(code) and not code.endswith((".db", ".egg")):
        noun = any((ROOT / "csrc").glob(f"**/{code}.[ch]"))
        is_type = re.search(rf"\b{code}\b", _headers()) is not None
        return "" if noun or is_type else trouble_with_symbol(code)
    if code.startswith("make "):
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return "" if code.split()[1] in targets else f"{code}: no such target"
    return trouble_with_words(code) if WORDS.fullmatch(code) else ""


def _headers() -> str:
    return "\n".join(path.read_text() for path in (ROOT / "csrc").glob("**/*.h"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    text = _without_blocks((ROOT / name).read_text())
    targets = re.findall(r"\]\(([^)\s]+)\)", text)

    local = [one for one in targets if "://" not in one]

    assert [bad for one in local if (bad := _trouble_with_link(ROOT / name, one))] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_stands_in_backticks_exists(name: str) -> None:
    codes = re.findall(r"`([^`\n]+)`", _without_blocks((ROOT / name).read_text()))

    assert [bad for one in codes if (bad := _trouble_with_code(one))] == []


@pytest.mark.parametrize(
    "code",
    [
        "csrc/rep_nothing.h",
        "pyrep/nothing/*.py",
        "rep_nothing_new",
        "rep_nothing.c",
        "pyrep.engine.StorageSystem.nothing",
        "tests/unit/test_errors.py::test_nothing",
        "make nothing",
        "SystemState.never_there",
        "never_there_either",
    ],
)
def test_a_name_of_nothing_is_found(code: str) -> None:
    assert _trouble_with_code(code)


@pytest.mark.parametrize("target", ["nothing.md", "#no-such-heading", "docs/glossary.md#nothing"])
def test_a_link_to_nothing_is_found(target: str) -> None:
    assert _trouble_with_link(ROOT / "README.md", target)
