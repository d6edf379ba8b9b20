"""The configuration of a daemon: a TOML file, checked whole before anything is opened."""

from __future__ import annotations

import grp
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pyrep.daemon.certificates import check_own
from pyrep.daemon.findings import Findings, table_of
from pyrep.daemon.settings import (
    PLAIN_WORDS,
    ApiSettings,
    EngineSettings,
    HostSettings,
    LogSettings,
    PathSettings,
    PeerSettings,
    TimingSettings,
    TlsSettings,
)
from pyrep.daemon.tomllines import Lines
from pyrep.engine import Options
from pyrep.engine.directory import system_id_in
from pyrep.errors import InvalidArgumentError, NotFoundError
from pyrep.host import CommandHostAgent
from pyrep.interconnect import PathTiming, Plain, Security, Tls
from pyrep.interconnect.address import Address
from pyrep.model import CopyRate, SystemId, VolumeId, check_id
from pyrep.seams import HostAgent

__all__ = ["CONFIG_NAME", "Config", "read_config"]

CONFIG_NAME = "pyrep.toml"
"""Of the file in the system's directory."""

T = TypeVar("T", bound=msgspec.Struct)

_TABLES = ("path", "peers", "targets", "api", "engine", "hosts", "log")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a daemon works by.

    Attributes:
        file: what it was read from; None: there was none.
        tables: the file's content, to tell what has changed when it is read again.
        listen: host:port where other systems dial this one.
        dial: whom this one dials, and where.
        security: how paths are protected; None: there are none, or somebody else says it.
        denied: ids of systems that aren't let in, however paths are protected.
        timing: of all paths.
        socket: of the API; None: in the system's directory.
        group: the group id that may use the socket.
        options: of the engine.
        log: what is logged, and how.
    """

    file: Path | None
    tables: dict[str, Any]
    listen: str | None
    dial: dict[str, str]
    security: Security | None
    denied: frozenset[str]
    timing: PathTiming
    socket: Path | None
    group: int | None
    options: Options
    log: LogSettings


def read_config(directory: Path, file: Path | None = None, *, is_protected: bool = False) -> Config:
    """Return the configuration of the system in a directory.

    Args:
        directory: the system's.
        file: the file; None: pyrep.toml in the directory, and the defaults if there is none.
        is_protected: somebody else says how paths are protected; the file needn't.

    Raises:
        InvalidArgumentError: it can't be used; every error is told, with its line.
        NotFoundError: the file that was named isn't there.
    """
    path = file or directory / CONFIG_NAME
    own = system_id_in(directory)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if file is not None:
            raise NotFoundError(
                f"there is no configuration {file}",
                hint="name the file that is there; without --config the defaults hold",
            ) from error
        return _Reader(directory, {}, Findings(path, Lines("")), is_protected, own).config(None)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(
            f"cannot read the configuration {path}: {error}",
            hint="it has to be a file in UTF-8 that this user may read",
        ) from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = found[1] if found else len(text.splitlines())
        raise InvalidArgumentError(
            f"{path}:{line}: this isn't TOML: {error}",
            hint="key = value, with text in quotes, below [table]",
        ) from error
    findings = Findings(path, Lines(text))
    return _Reader(path.absolute().parent, tables, findings, is_protected, own).config(path)


class _Reader:
    """Makes a configuration of tables, and notes what is wrong with them."""

    def __init__(
        self,
        base: Path,
        tables: dict[str, Any],
        findings: Findings,
        is_protected: bool,  # noqa: FBT001
        own: SystemId | None,
    ) -> None:
        self._own = own
        self._is_protected = is_protected
        self._base = base
        self._tables = tables
        self._findings = findings

    def config(self, file: Path | None) -> Config:
        """Return the configuration. InvalidArgumentError: all that is wrong."""
        for name, value in self._tables.items():
            if name not in _TABLES:
                self._findings.unknown((name,), _TABLES)
            elif not isinstance(value, dict):
                self._findings.add((name,), f"a table is expected: [{name}]")
        paths = dict(table_of(self._tables.get("path")))
        tls = self._optional(paths.pop("tls", None), TlsSettings, ("path", "tls"))
        timing = self._optional(paths.pop("timing", {}), TimingSettings, ("path", "timing"))
        plain = paths.get("plain")
        if plain is not None and plain != PLAIN_WORDS:
            self._findings.add(
                ("path", "plain"), f'to have nothing protected, say it: plain = "{PLAIN_WORDS}"'
            )
            del paths["plain"]
        path = self._optional(paths, PathSettings, ("path",)) or PathSettings()
        dial = self._peers()
        listen = path.listen
        if listen is not None:
            with self._findings.at("path", "listen"):
                listen = str(Address.parse(listen))
        security = self._security(tls, is_plain=path.plain is not None)
        self._check_protected(listen, dial)
        api = self._table("api", ApiSettings)
        config = Config(
            file=file,
            tables=self._tables,
            listen=listen,
            dial=dial,
            security=security,
            denied=frozenset(tls.denied if tls else ()),
            timing=PathTiming(**msgspec.to_builtins(timing)) if timing else PathTiming(),
            socket=self._base / api.socket if api.socket else None,
            group=self._group(api.group),
            options=self._options(),
            log=self._table("log", LogSettings),
        )
        self._findings.raise_if_any()
        return config

    def _table(self, name: str, kind: type[T]) -> T:
        found = self._optional(table_of(self._tables.get(name)), kind, (name,))
        return kind() if found is None else found

    def _optional(self, value: object, kind: type[T], path: tuple[str, ...]) -> T | None:
        return None if value is None else self._findings.take(value, kind, path)

    def _peers(self) -> dict[str, str]:
        dial = {}
        for system_id, value in table_of(self._tables.get("peers")).items():
            with self._findings.at("peers", system_id):
                check_id("system", system_id)
            if system_id == self._own:
                self._findings.add(
                    ("peers", system_id), "this is the system itself, which can't dial itself"
                )
            peer = self._optional(value, PeerSettings, ("peers", system_id))
            with self._findings.at("peers", system_id, "address"):
                dial[system_id] = str(Address.parse(peer.address)) if peer else ""
        return dial

    def _security(self, tls: TlsSettings | None, *, is_plain: bool) -> Security | None:
        if tls is not None and is_plain:
            self._findings.add(("path", "plain"), "there is [path.tls] too; take one of them away")
        if tls is not None:
            with self._findings.at("path", "tls"):
                denied = [check_id("system", one) for one in tls.denied]
                if self._is_protected:
                    return None
                made = Tls(
                    certificate=self._base / tls.certificate,
                    key=self._base / tls.key,
                    authority=self._base / tls.authority,
                    denied=denied,
                )
                if self._own is not None:
                    with self._findings.at("path", "tls", "certificate"):
                        check_own(made.certificate, self._own)
                return made
        return Plain() if is_plain and not self._is_protected else None

    def _check_protected(self, listen: str | None, dial: dict[str, str]) -> None:
        if self._is_protected:
            return
        paths = table_of(self._tables.get("path"))
        if (listen is not None or dial) and "tls" not in paths and "plain" not in paths:
            self._findings.add(
                ("path", "listen") if listen is not None else ("peers",),
                f"nothing says how paths are protected: [path.tls], with files of pyrep pki, or "
                f'[path] plain = "{PLAIN_WORDS}"',
            )

    def _targets(self) -> dict[SystemId, list[VolumeId]] | None:
        """Return onto which volumes each system may create pairs; None: nothing is said."""
        if "targets" not in self._tables:
            return None
        targets = {}
        for system_id, value in table_of(self._tables["targets"]).items():
            if not isinstance(value, list):
                self._findings.add(("targets", system_id), "a list of volume ids is expected")
                continue
            with self._findings.at("targets", system_id):
                known = [VolumeId(check_id("volume", one)) for one in value]
                targets[SystemId(check_id("system", system_id))] = known
        return targets

    def _group(self, group: str | int | None) -> int | None:
        if isinstance(group, str):
            try:
                return grp.getgrnam(group).gr_gid
            except KeyError:
                self._findings.add(("api", "group"), f"there is no group {group!r} on this machine")
                return None
        return group

    def _options(self) -> Options:
        engine = msgspec.structs.asdict(self._table("engine", EngineSettings))
        given: dict[str, Any] = {
            name: value for name, value in engine.items() if value is not msgspec.UNSET
        }
        agents: dict[VolumeId, HostAgent] = {}
        for volume_id, value in table_of(self._tables.get("hosts")).items():
            with self._findings.at("hosts", volume_id):
                check_id("volume", volume_id)
            host = self._optional(value, HostSettings, ("hosts", volume_id))
            with self._findings.at("hosts", volume_id):
                if host is not None:
                    agents[VolumeId(volume_id)] = CommandHostAgent(**msgspec.to_builtins(host))
        ceiling, floor = given.pop("copy_ceiling_bytes_s"), given.pop("copy_floor_bytes_s")
        for name, value in given.items():  # each told at its own line
            with self._findings.at("engine", name):
                Options(**{name: value})
        given["targets"] = self._targets()
        options = Options()
        if self._findings.any:
            return options
        with self._findings.at("engine"):
            rate = CopyRate(ceiling_bytes_s=ceiling, floor_bytes_s=floor)
            options = Options(copy_rate=rate, host_agents=agents, **given)
        return options  # noqa: RET504 (the defaults, when something is wrong)
