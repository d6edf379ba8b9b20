"""What documents name: Python symbols, C functions, tests, paths. Each is resolved or refused.

Every function returns what is wrong, or "".
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
from pathlib import Path

__all__ = [
    "ROOT",
    "trouble_with_path",
    "trouble_with_symbol",
    "trouble_with_test",
    "trouble_with_words",
]

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def _c_functions() -> frozenset[str]:
    """Return the functions that the headers declare."""
    names: set[str] = set()
    for header in ROOT.glob("csrc/**/*.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
        names.update(re.findall(r"\b(rep_\w+)\(", text))
    return frozenset(names)


def _python_symbol(dotted: str) -> str:
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            if name in getattr(found, "__dataclass_fields__", {}):
                return ""
            if not hasattr(found, name):
                return f"{dotted}: no {name}"
            found = getattr(found, name)
        return ""
    return f"{dotted}: no such module"


def trouble_with_symbol(name: str) -> str:
    """Resolve `pyrep.module.Class.method` by importing it, `rep_function` in the headers."""
    if name.startswith("rep_"):
        return "" if name in _c_functions() else f"{name}: no header declares it"
    if name == "pyrep" or name.startswith("pyrep."):
        return _python_symbol(name)
    return f"{name}: neither pyrep.… nor rep_…"


def _python_test(path: Path, names: list[str]) -> bool:
    body: list[ast.stmt] = ast.parse(path.read_text()).body
    for name in names:
        kinds = (ast.FunctionDef, ast.ClassDef)
        found = [one for one in body if isinstance(one, kinds) and one.name == name]
        if not found:
            return False
        body = found[0].body
    return True


def _c_test(path: Path, name: str) -> bool:
    """Whether the program has the test and runs it."""
    text = path.read_text()
    return f"static void {name}(void)" in text and f"RUN({name});" in text


def trouble_with_test(reference: str) -> str:
    """Find `tests/….py::name`, `::Class::method` or `tests/c/….c::name` by reading the file."""
    where, *names = reference.split("::")
    path = ROOT / where
    if not where.startswith("tests/") or not names:
        return f"{reference}: not tests/…::name"
    if not path.is_file():
        return f"{reference}: no such file"
    found = _c_test(path, names[0]) if path.suffix == ".c" else _python_test(path, names)
    return "" if found else f"{reference}: no such test"


def trouble_with_path(name: str) -> str:
    """Find a path of the repository; a pattern must match something."""
    if any(letter in name for letter in "*?"):
        return "" if any(ROOT.glob(name)) else f"{name}: matches nothing"
    return "" if (ROOT / name).exists() else f"{name}: not there"


@functools.cache
def _words_of_the_code() -> frozenset[str]:
    patterns = ("pyrep/**/*.py", "benchmarks/*.py", "csrc/**/*.[ch]", "pyproject.toml")
    sources = [path for pattern in patterns for path in ROOT.glob(pattern)]
    return frozenset(re.findall(r"\w+", "\n".join(path.read_text() for path in sources)))


def trouble_with_words(name: str) -> str:
    """Find a class, method or variable named without its module: its words are in the code."""
    unknown = [word for word in name.split(".") if word not in _words_of_the_code()]
    return f"{name}: no {unknown[0]} in the code" if unknown else ""
