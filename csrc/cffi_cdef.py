"""Read the cffi declarations out of the real headers, so that no second copy of them exists.

A header marks the part that Python may call with `/* cdef:begin */` and `/* cdef:end */`. cffi has
no preprocessor: a marked region holds declarations, typedefs, enums and constants, nothing else.
"""

from __future__ import annotations

import os
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from cffi import FFI, CDefError

BEGIN = "/* cdef:begin */"
END = "/* cdef:end */"

INCLUDE = re.compile(r'^#include "(rep_\w+\.h)"', re.MULTILINE)

WITHOUT_CDEF = {"rep_api.h"}
"""Headers of macros alone: nothing that Python could call."""

LANGUAGE_FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-pthread"]


def read_regions(header: Path) -> str:
    """Return the marked regions of `header`, joined.

    Raises:
        SystemExit: there is no such header, it marks no region, or a mark has no counterpart.
    """
    try:
        parts = header.read_text(encoding="utf-8").split(BEGIN)[1:]
    except FileNotFoundError as error:
        raise SystemExit(f"{header}: no such header") from error
    if not parts:
        raise SystemExit(f"{header}: no region between '{BEGIN}' and '{END}'")
    if any(part.count(END) != 1 for part in parts):
        raise SystemExit(f"{header}: every '{BEGIN}' needs one '{END}' after it")
    return "\n".join(part.partition(END)[0] for part in parts)


def declare(builder: FFI, header: Path) -> None:
    """Give cffi the regions of `header`.

    Raises:
        SystemExit: as `read_regions`, or cffi can't read a region.
    """
    try:
        builder.cdef(read_regions(header))
    except CDefError as error:
        raise SystemExit(f"{header}: cffi can't read the marked region: {error}") from error


def ordered_headers(directory: Path) -> list[str]:
    """Return the names of the contract headers, each after those it includes.

    cffi reads them as one text, and a type must stand before its use.

    Raises:
        SystemExit: headers include each other.
    """
    includes = {
        header.name: INCLUDE.findall(header.read_text(encoding="utf-8"))
        for header in sorted(directory.glob("rep_*.h"))
    }
    try:
        ordered = TopologicalSorter(includes).static_order()
        return [name for name in ordered if name not in WITHOUT_CDEF]
    except CycleError as error:
        raise SystemExit(f"headers include each other: {' -> '.join(error.args[1])}") from error


def sanitizer_flags() -> list[str]:
    """Return what PYREP_SANITIZE, a value for -fsanitize=, asks for; `make check` sets it."""
    sanitizers = os.environ.get("PYREP_SANITIZE")
    return [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer", "-g"] if sanitizers else []


def compile_flags() -> list[str]:
    """Return the compiler's flags for an extension."""
    return ["-O2", *LANGUAGE_FLAGS, *sanitizer_flags()]


def link_flags() -> list[str]:
    """Return the linker's flags for an extension."""
    return ["-pthread", "-ldl", *sanitizer_flags()]
