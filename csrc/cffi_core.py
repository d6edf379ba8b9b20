"""Build script of `pyrep._core_native`: the C core behind one limited-API extension."""

from __future__ import annotations

import sys
from pathlib import Path

from cffi import FFI

# setuptools runs this file without its directory on the path.
CSRC = Path(__file__).resolve().parent
sys.path.insert(0, str(CSRC))
from cffi_cdef import (  # noqa: E402 - needs the path above
    compile_flags,
    declare,
    link_flags,
    ordered_headers,
)

CALLED = """
extern "Python" {
    int pyrep_io_pread(rep_io *, void *, uint64_t, uint64_t);
    int pyrep_io_pwrite(rep_io *, const void *, uint64_t, uint64_t);
    int pyrep_io_flush(rep_io *);
    int pyrep_io_zero(rep_io *, uint64_t, uint64_t);
    void pyrep_io_free(rep_io *);
}
"""
"""What C calls in Python: a vtable for storage that Python serves (`pyrep._core.CalledIo`). Nothing
of the engine's is on it."""


def make_builder() -> FFI:
    """Return the builder over all headers and sources.

    Raises:
        SystemExit: a header is missing, marks no region, or cffi can't read its region.
    """
    headers = ordered_headers(CSRC)
    builder = FFI()
    for name in headers:
        declare(builder, CSRC / name)
    builder.cdef(CALLED)
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
