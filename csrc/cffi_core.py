"""Build script of `pyrep._core_native`: the C core behind one limited-API extension."""

from __future__ import annotations

import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from cffi import FFI

# setuptools runs this file without its directory on the path.
CSRC = Path(__file__).resolve().parent
sys.path.insert(0, str(CSRC))
from cffi_cdef import compile_flags, declare, link_flags  # noqa: E402 - needs the path above


def ordered_headers() -> list[str]:
    """Return the contract headers, each after those it includes: cffi reads them as one text.

    Raises:
        SystemExit: two headers include each other.
    """
    include = re.compile(r'^#include "(rep_\w+\.h)"', re.MULTILINE)
    includes = {
        header.name: include.findall(header.read_text(encoding="utf-8"))
        for header in sorted(CSRC.glob("rep_*.h"))
    }
    try:
        return list(TopologicalSorter(includes).static_order())
    except CycleError as error:
        raise SystemExit(f"headers include each other: {' -> '.join(error.args[1])}") from error


def make_builder() -> FFI:
    """Return the builder over all headers and sources.

    Raises:
        SystemExit: a header is missing, marks no region, or cffi can't read its region.
    """
    headers = ordered_headers()
    builder = FFI()
    for name in headers:
        declare(builder, CSRC / name)
    builder.set_source(
        "pyrep._core_native",
        "\n".join(f'#include "{name}"' for name in headers),
        sources=sorted(f"csrc/{path.name}" for path in CSRC.glob("*.c")),
        depends=sorted(f"csrc/{path.name}" for path in CSRC.glob("*.h")),
        include_dirs=["csrc"],
        define_macros=[("Py_LIMITED_API", "0x030b0000")],
        extra_compile_args=compile_flags(),
        extra_link_args=link_flags(),
        py_limited_api=True,
    )
    return builder


ffibuilder = make_builder()
