from __future__ import annotations

from pathlib import Path

import pytest

from pyrep.daemon import Rereading, read_config
from pyrep.engine import ChangedBacking
from pyrep.errors import InvalidArgumentError, NotFoundError
from pyrep.interconnect import Plain, Tls
from pyrep.interconnect.pki import issue_certificate, make_authority

PLAIN = 'plain = "not encrypted, not authenticated"\n'


def config_of(directory: Path, text: str) -> Path:
    path = directory / "pyrep.toml"
    path.write_text(text)
    return path


def wrong(directory: Path, text: str) -> list[str]:
    """Return what is said of a configuration: a line for each error, without the file's name."""
    path = config_of(directory, text)
    with pytest.raises(InvalidArgumentError) as caught:
        read_config(directory)
    assert caught.value.hint
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


def test_without_a_file_all_is_default(tmp_path: Path) -> None:
    config = read_config(tmp_path)
    assert config.file is None
    assert config.security is None
    assert config.options.queue_bytes == 64 << 20


def test_a_file_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"other\.toml"):
        read_config(tmp_path, tmp_path / "other.toml")


def test_every_table_is_taken_over(tmp_path: Path) -> None:
    make_authority(tmp_path)
    issue_certificate(tmp_path, "100a")
    config_of(
        tmp_path,
        """
        [path]
        listen = "127.0.0.1:7001"
        [path.tls]
        certificate = "100a.pem"
        key = "100a.key"
        authority = "authority.pem"
        denied = ["100x"]
        [path.timing]
        ping_s = 3
        [peers.100b]
        address = "[::1]:7002"
        [targets]
        100b = ["105a", "106a"]
        100c = []
        [api]
        socket = "run/api.sock"
        group = 0
        [engine]
        changed_backing = "all_pending"
        queue_bytes = 8388608
        copy_ceiling_bytes_s = 1000000
        [hosts.105a]
        stop = ["systemctl", "stop", "{volume}"]
        [log]
        level = "info"
        format = "json"
        """,
    )
    config = read_config(tmp_path)
    assert config.listen == "127.0.0.1:7001"
    assert config.dial == {"100b": "[::1]:7002"}
    assert isinstance(config.security, Tls)
    assert config.security.denied == {"100x"}
    assert config.timing.ping_s == 3
    assert config.socket == tmp_path / "run/api.sock"
    assert config.group == 0
    assert config.options.changed_backing is ChangedBacking.ALL_PENDING
    assert config.options.queue_bytes == 8 << 20
    assert config.options.copy_rate.ceiling_bytes_s == 1_000_000
    assert list(config.options.host_agents) == ["105a"]
    assert config.options.targets == {"100b": ["105a", "106a"], "100c": []}
    assert config.log.format == "json"


def test_plain_tcp_has_to_be_asked_for_in_words(tmp_path: Path) -> None:
    config_of(tmp_path, f'[path]\nlisten = "127.0.0.1:0"\n{PLAIN}')
    assert isinstance(read_config(tmp_path).security, Plain)
    (said,) = wrong(tmp_path, '[path]\nlisten = "127.0.0.1:0"\n')
    assert said.startswith("2: [path] listen: nothing says how paths are protected")
    (said,) = wrong(tmp_path, '[path]\nplain = "yes"\n')
    assert said == "2: [path] plain: to have nothing protected, say it: " + PLAIN.strip()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[path\n", "1: this isn't TOML"),
        ("[log]\nlevel = 'loud'\n", "2: [log] level: invalid enum value 'loud'; one of debug"),
        ("[engine]\n\nqueue_bytes = 5\n", "3: [engine] queue_bytes: expected `int` >= 4194304"),
        ("[engine]\nhold_max_ms = 'x'\n", "2: [engine] hold_max_ms: expected `float`"),
        ("[engine]\nbad_bitmap = 'x'\n", "2: [engine] bad_bitmap: invalid enum value 'x'; one of"),
        ("[api]\ngroup = 'no-such-group'\n", "2: [api] group: there is no group"),
        ("[api]\nsokket = 'x'\n", "2: [api] sokket: nobody knows this key; is socket meant?"),
        ("\n[logs]\n", "2: [logs]: nobody knows this key; is log meant?"),
        (f"[path]\n{PLAIN}[peers.100b]\n", "3: [peers.100b] address: it is missing"),
        (f"[path]\n{PLAIN}[peers.100b]\naddress = 'x'\n", "4: [peers.100b] address: 'x' isn't"),
        (f"[path]\n{PLAIN}listen = 'x'\n", "3: [path] listen: 'x' isn't an address"),
        ("path = 5\n", "1: [path]: a table is expected"),
        ("[targets]\n\n100b = '105a'\n", "3: [targets] 100b: a list of volume ids is expected"),
        ("[targets]\n100b = ['a/b']\n", "2: [targets] 100b: "),
        ("[targets]\n100b = [5]\n", "2: [targets] 100b: "),
        ("[targets]\n'/' = []\n", "2: [targets] /: "),
        ("targets = 5\n", "1: [targets]: a table is expected"),
        ("[hosts.105a]\nstop = 'x'\n", "2: [hosts.105a] stop: expected `array"),
        ("[hosts.105a]\nstop = []\n", "1: [hosts] 105a: "),
        ("[engine]\n\nack_timeout_s = inf\n", "3: [engine] ack_timeout_s: expected `float`"),
        ("[engine]\nack_timeout_s = 0\n", "2: [engine] ack_timeout_s: expected `float`"),
        ("[engine]\ncopy_wait_s = 1e300\n", "2: [engine] copy_wait_s: expected `float`"),
        ("[engine]\nhold_max_ms = inf\n", "2: [engine] hold_max_ms: expected `float`"),
        ("[engine]\nconverge_window_s = nan\n", "2: [engine] converge_window_s: "),
        ("[engine]\nqueue_bytes = 9000000000000000000\n", "2: [engine] queue_bytes: expected"),
        ("[engine]\ncopy_workers = 65\n", "2: [engine] copy_workers: expected `int` <= 64"),
        ("[engine]\n\nregion_bytes = 3000000\n", "3: [engine] region_bytes: the option"),
        ("[api]\ngroup = 99999999999\n", "2: [api] group: expected `int` <"),
        ("[api]\ngroup = -1\n", "2: [api] group: expected `int` >= 0"),
        (
            "[engine]\ncopy_ceiling_bytes_s = 1\ncopy_floor_bytes_s = 2\n",
            "1: [engine]: ",
        ),
        (
            "[path.tls]\ncertificate = 'x.pem'\nkey = 'x.key'\nauthority = 'nowhere.pem'\n",
            "1: [path] tls: cannot use ",
        ),
    ],
)
def test_an_error_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    found = wrong(tmp_path, text)
    assert any(one.startswith(said) for one in found), found


def test_all_errors_are_told_at_once_in_their_order(tmp_path: Path) -> None:
    found = wrong(tmp_path, "[log]\nlevel = 'x'\n[api]\nfoo = 1\n[foo]\n[path]\nplain = 'x'\n")
    assert [one.split(":")[0] for one in found] == ["2", "4", "5", "7"]


def test_a_file_read_again_changes_who_is_denied_and_nothing_when_it_is_bad(
    tmp_path: Path,
) -> None:
    make_authority(tmp_path)
    issue_certificate(tmp_path, "100a")
    tls = "[path.tls]\ncertificate='100a.pem'\nkey='100a.key'\nauthority='authority.pem'\n"
    config_of(tmp_path, tls)
    config = read_config(tmp_path)
    again = Rereading(tmp_path, config, config.security)
    config_of(tmp_path, tls + "denied = ['100x']\n")
    again()
    assert isinstance(config.security, Tls)
    assert config.security.denied == {"100x"}
    config_of(tmp_path, tls + "denied = 5\n")
    with pytest.raises(InvalidArgumentError):
        again()
    assert config.security.denied == {"100x"}


def test_who_protects_the_paths_by_options_still_takes_the_denied_systems_from_the_file(
    tmp_path: Path,
) -> None:
    make_authority(tmp_path)
    issue_certificate(tmp_path, "100a")
    given = Tls(
        certificate=tmp_path / "100a.pem",
        key=tmp_path / "100a.key",
        authority=tmp_path / "authority.pem",
    )
    text = "[path.tls]\ncertificate='no'\nkey='no'\nauthority='no'\ndenied="
    config_of(tmp_path, text + "['100x']\n")
    config = read_config(tmp_path, is_protected=True)  # its own files aren't read
    assert config.security is None
    assert config.denied == {"100x"}
    again = Rereading(tmp_path, config, given)
    config_of(tmp_path, text + "['100y']\n")
    again()
    assert given.denied == {"100y"}


def test_a_file_that_only_listens_needs_no_protection_of_its_own_beside_options(
    tmp_path: Path,
) -> None:
    config_of(tmp_path, "[path]\nlisten = '127.0.0.1:7001'\n")
    with pytest.raises(InvalidArgumentError, match="how paths are protected"):
        read_config(tmp_path)
    assert read_config(tmp_path, is_protected=True).listen == "127.0.0.1:7001"
