"""Build script of `pyrep._ext_native`: ext2/3/4 through libext2fs, the optional extension."""

from __future__ import annotations

import sys
from pathlib import Path

from cffi import FFI

# setuptools runs this file without its directory on the path.
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from cffi_cdef import compile_flags, declare, link_flags  # noqa: E402 - needs the path above


def make_builder() -> FFI:
    """Return the builder over `rep_ext.h` and the sources beside it.

    Raises:
        SystemExit: the header marks no region.
    """
    builder = FFI()
    # Of rep_io.h only the names: its functions are in the core, and a pointer comes from there.
    builder.cdef("typedef struct rep_io rep_io;")
    builder.cdef("typedef struct rep_extent { uint64_t offset; uint64_t length; } rep_extent;")
    declare(builder, HERE / "rep_ext.h")
    builder.set_source(
        "pyrep._ext_native",
        '#include "rep_ext.h"',
        sources=sorted(f"csrc/ext/{path.name}" for path in HERE.glob("*.c")),
        depends=["csrc/rep_io.h", *sorted(f"csrc/ext/{path.name}" for path in HERE.glob("*.h"))],
        include_dirs=["csrc", "csrc/ext"],
        define_macros=[("Py_LIMITED_API", "0x030b0000")],
        extra_compile_args=compile_flags(),
        extra_link_args=link_flags(),
        libraries=["ext2fs", "com_err"],
        py_limited_api=True,
    )
    return builder


ffibuilder = make_builder()
