"""Loading the optional extension, with the first file system that is opened."""

from __future__ import annotations

import importlib
import struct
import threading
from typing import Any

from pyrep.errors import MissingLibraryError

__all__ = ["ENTRY_FORMAT", "STAT_FORMAT", "Native", "library"]

# cffi's objects have no static type.
Native = Any

# As rep_ext_stat and rep_ext_entry in csrc/ext/rep_ext.h; their sizes are compared when loading.
STAT_FORMAT = "=QQqqqq16I"
ENTRY_FORMAT = f"{STAT_FORMAT}QIIII"


def _load() -> tuple[Native, Native]:
    try:
        module = importlib.import_module("pyrep._ext_native")
    except ImportError as error:
        raise MissingLibraryError(
            f"files inside ext2, ext3 and ext4 can't be reached: {error}",
            hint="install libext2fs (Debian: libext2fs-dev) and install pyrep again",
        ) from error
    module.lib.rep_ext_start()
    if module.ffi.sizeof("rep_ext_entry") != struct.calcsize(ENTRY_FORMAT):
        raise MissingLibraryError(
            "pyrep._ext_native was built from another version of pyrep",
            hint="install pyrep again, whole",
        )
    return module.ffi, module.lib


_native: tuple[Native, Native] | None = None
_loading = threading.Lock()


def library() -> tuple[Native, Native]:
    """Return the extension's ffi and lib; `import pyrep` works without them.

    Raises:
        MissingLibraryError: pyrep was built without libext2fs, or it isn't installed.
    """
    global _native  # noqa: PLW0603 - loaded once per process, under the lock
    with _loading:
        if _native is None:
            _native = _load()
        return _native
