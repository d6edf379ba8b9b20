"""Name the compiled extensions; everything else about the package stands in pyproject.toml."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

from setuptools import setup

PROBE = "#include <ext2fs/ext2fs.h>\nint main(void) { initialize_ext2_error_table(); }\n"


def has_libext2fs() -> bool:
    """Say whether the compiler finds libext2fs, by linking a program with it."""
    flags = shlex.split(f"{os.environ.get('CPPFLAGS', '')} {os.environ.get('LDFLAGS', '')}")
    command = [*shlex.split(os.environ.get("CC", "cc")), *flags, "-x", "c", "-", "-o", os.devnull]
    try:
        probe = subprocess.run(
            [*command, "-lext2fs", "-lcom_err"],
            input=PROBE,
            text=True,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return False  # no compiler: building the core names that, better than this probe could
    return probe.returncode == 0


modules = ["csrc/cffi_core.py:ffibuilder"]
if has_libext2fs():
    modules.append("csrc/ext/cffi_ext.py:ffibuilder")
else:
    sys.stderr.write("pyrep: building without pyrep.fs.ext: no libext2fs (Debian: libext2fs-dev)\n")

setup(cffi_modules=modules, options={"bdist_wheel": {"py_limited_api": "cp311"}})
