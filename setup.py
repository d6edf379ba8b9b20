"""Name the compiled extensions; everything else about the package stands in pyproject.toml."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

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


class ReplaceWhole(build_ext):
    """Build in place such that whoever imports meanwhile finds the old extension or the new one."""

    def copy_extensions_to_source(self) -> None:
        """Write each beside its place, then rename; processes that run keep what they mapped."""
        for built, in_place in self.get_output_mapping().items():
            beside = Path(f"{in_place}.new")
            shutil.copy(built, beside)
            beside.replace(in_place)


modules = ["csrc/cffi_core.py:ffibuilder"]
if has_libext2fs():
    modules.append("csrc/ext/cffi_ext.py:ffibuilder")
else:
    sys.stderr.write("pyrep: building without pyrep.fs.ext: no libext2fs (Debian: libext2fs-dev)\n")

setup(
    cffi_modules=modules,
    cmdclass={"build_ext": ReplaceWhole},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
