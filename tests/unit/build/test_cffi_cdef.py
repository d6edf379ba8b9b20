from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from cffi import FFI


def load_build_script(name: str) -> ModuleType:
    """Import a build script from csrc/, which is no package."""
    path = Path(__file__).parents[3] / "csrc" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cffi_cdef = load_build_script("cffi_cdef")


@pytest.fixture
def header(tmp_path: Path) -> Path:
    return tmp_path / "rep_x.h"


def test_only_the_marked_regions_are_declared(header: Path) -> None:
    header.write_text(
        "#include <stdint.h>\n"
        "/* cdef:begin */\ntypedef struct rep_x rep_x;\n/* cdef:end */\n"
        "struct rep_x { int inside; };\n"
        "/* cdef:begin */\nint rep_x_count(const rep_x *x);\n/* cdef:end */\n"
    )
    builder = FFI()
    cffi_cdef.declare(builder, header)
    assert builder.typeof("rep_x").kind == "struct"
    assert "inside" not in cffi_cdef.read_regions(header)
    assert "rep_x_count" in cffi_cdef.read_regions(header)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("int rep_x_count(void);", "no region"),
        ("/* cdef:begin */ int rep_x_count(void);", "needs one"),
        ("/* cdef:begin */ /* cdef:begin */ int rep_x_count(void); /* cdef:end */", "needs one"),
        ("/* cdef:begin */ int rep_x_count(rep_y *y); /* cdef:end */", "cffi can't read"),
    ],
)
def test_a_header_that_cannot_be_read_is_named(header: Path, text: str, complaint: str) -> None:
    header.write_text(text)
    with pytest.raises(SystemExit, match=rf"rep_x\.h.*{complaint}"):
        cffi_cdef.declare(FFI(), header)


def test_a_header_stands_after_those_it_includes(tmp_path: Path) -> None:
    (tmp_path / "rep_a.h").write_text('#include "rep_c.h"\n')
    (tmp_path / "rep_b.h").write_text('#include <stdint.h>\n#include "rep_a.h"\n')
    (tmp_path / "rep_c.h").write_text("")
    assert cffi_cdef.ordered_headers(tmp_path) == ["rep_c.h", "rep_a.h", "rep_b.h"]


def test_an_include_of_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "rep_a.h").write_text('#include "rep_gone.h"\n')
    missing = cffi_cdef.ordered_headers(tmp_path)[0]
    with pytest.raises(SystemExit, match=r"rep_gone\.h: no such header"):
        cffi_cdef.read_regions(tmp_path / missing)


def test_headers_that_include_each_other_are_named(tmp_path: Path) -> None:
    (tmp_path / "rep_a.h").write_text('#include "rep_b.h"\n')
    (tmp_path / "rep_b.h").write_text('#include "rep_a.h"\n')
    with pytest.raises(SystemExit, match=r"rep_a\.h"):
        cffi_cdef.ordered_headers(tmp_path)
