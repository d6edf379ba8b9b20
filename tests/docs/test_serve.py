from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from pyrep.daemon import read_config, settings
from pyrep.engine import Options
from pyrep.interconnect.pki import issue_certificate, make_authority

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
UNIT = (Path(__file__).parents[2] / "packaging" / "pyrep@.service").read_text()


def example() -> str:
    """Return the example configuration of the page."""
    found = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def test_the_example_can_be_used_as_it_stands(tmp_path: Path) -> None:
    make_authority(tmp_path)
    issue_certificate(tmp_path, "100b")
    # A group of every machine in place of the site's own.
    (tmp_path / "pyrep.toml").write_text(example().replace('"backup" ', '"root" '))
    config = read_config(tmp_path)
    assert config.listen == "0.0.0.0:7001"
    assert set(config.options.targets or ()) == {"100a"}
    assert set(config.options.host_agents) == {"105a"}
    # "What isn't given is its default": what is shown is that, 12 s for a write's mirror among it.
    assert replace(config.options, targets=None, host_agents={}) == Options()
    assert Options().ack_timeout_s == 12


@pytest.mark.parametrize(
    "kind",
    [
        settings.PathSettings,
        settings.TlsSettings,
        settings.TimingSettings,
        settings.PeerSettings,
        settings.ApiSettings,
        settings.EngineSettings,
        settings.HostSettings,
        settings.LogSettings,
    ],
)
def test_the_page_names_every_key(kind: type[msgspec.Struct]) -> None:
    missing = [name for name in kind.__struct_fields__ if not re.search(rf"\b{name}\b", PAGE)]
    assert missing == []


def test_what_the_example_shows_as_defaults_are_the_defaults() -> None:
    tables = tomllib.loads(example())
    timing = msgspec.to_builtins(settings.TimingSettings())
    assert tables["path"]["timing"] == timing


def test_the_unit_serves_with_readiness_and_reload() -> None:
    assert "Type=notify" in UNIT
    assert "ExecStart=/usr/bin/env pyrep serve /var/lib/pyrep/%i\n" in UNIT
    assert "ExecReload=/bin/kill -HUP $MAINPID" in UNIT
