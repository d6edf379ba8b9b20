"""`pyrep serve`: one storage system as a process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec

from pyrep.cli.quantities import size
from pyrep.cli.session import pairs_of, print_json
from pyrep.daemon import Rereading, Serving, read_config, set_up_log
from pyrep.daemon import serve as serve_system
from pyrep.engine import Options
from pyrep.errors import InvalidArgumentError
from pyrep.interconnect import Plain, Security, Tls

__all__ = ["serve"]

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(
    epilog="Example: pyrep serve /srv/pyrep/100a --certificate 100a.pem --key 100a.key "
    "--authority authority.pem --dial 100b=backup.example:4150"
)
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--config",
    type=_FILE,
    help="The configuration.  [default: pyrep.toml in DIRECTORY, if it is there]",
)
@click.option("--check", is_flag=True, help="Check the configuration, and serve nothing.")
@click.option("--listen", metavar="HOST:PORT", help="Let other systems dial this one here.")
@click.option(
    "--dial",
    metavar="SYSTEM=HOST:PORT",
    multiple=True,
    help="Keep a path to this system; may be given several times.",
)
@click.option("--certificate", type=_FILE, help="This system's, from `pyrep pki issue`.")
@click.option("--key", type=_FILE, help="The certificate's key.")
@click.option("--authority", type=_FILE, help="Whose certificates other systems must have.")
@click.option(
    "--insecure-plain-tcp",
    is_flag=True,
    help="No TLS: for a network that nobody else is in.",
)
@click.option("--socket", "socket_path", type=_FILE, help="Of the API.  [default: in DIRECTORY]")
@click.option(
    "--hot-regions",
    type=click.IntRange(16, 65535),
    help="Of each volume, that are copied at most after a crash beside what was pending.",
)
@click.option("--region-size", "region_bytes", type=size, help="Of such a region: 1M to 64M.")
@click.option("--verbose", is_flag=True, help="Log more, on standard error.")
@click.option("--json", "as_json", is_flag=True, help="Say what is served in JSON, one line.")
def serve(
    *,
    directory: Path,
    config: Path | None,
    check: bool,
    listen: str | None,
    dial: Sequence[str],
    certificate: Path | None,
    key: Path | None,
    authority: Path | None,
    socket_path: Path | None,
    insecure_plain_tcp: bool,
    hot_regions: int | None,
    region_bytes: int | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Serve the storage system in DIRECTORY until SIGTERM or Ctrl-C; then close it cleanly.

    One line on standard output says when it is ready. Paths to other systems are mutual TLS 1.3.
    What is given here goes before the configuration (docs/serve.md). SIGHUP reads certificates, the
    list of denied systems and the log's settings anew.
    """
    security = _security(certificate, key, authority, is_plain=insecure_plain_tcp)
    found = read_config(directory, config, is_protected=security is not None)
    if check:
        click.echo(f"{found.file or 'no configuration, so the defaults'}: can be used")
        return
    set_up_log(msgspec.structs.replace(found.log, level="info") if verbose else found.log)
    peers = {name: where or "" for name, where in pairs_of(dial, what="--dial").items()}
    security = security or found.security
    if isinstance(security, Tls):
        security.denied = found.denied
    if security is None and (listen or peers):
        raise InvalidArgumentError(
            "a path to another system needs certificates",
            hint="--certificate, --key and --authority, made by pyrep pki",
        )

    def ready(facts: dict[str, object]) -> None:
        if as_json:
            print_json(facts)
            return
        at = f", listens at {facts['address']}" if facts["address"] else ""
        click.echo(f"system {facts['system_id']} is served at {facts['socket']}{at}")
        sys.stdout.flush()

    serving = Serving(
        directory=directory,
        socket_path=socket_path or found.socket,
        listen=listen or found.listen,
        dial={**found.dial, **peers},
        security=security,
        timing=found.timing,
        group=found.group,
        options=_options(found.options, hot_regions=hot_regions, region_bytes=region_bytes),
        reload=Rereading(directory, found, security),
    )
    serve_system(serving, ready=ready)


def _options(options: Options, **asked: int | None) -> Options:
    """Return the configuration's options with those of the command line."""
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    return replace(options, **given)


def _security(
    certificate: Path | None, key: Path | None, authority: Path | None, *, is_plain: bool
) -> Security | None:
    if is_plain:
        if certificate or key or authority:
            raise InvalidArgumentError(
                "plain TCP takes no certificates",
                hint="leave out --insecure-plain-tcp, or the certificates",
            )
        return Plain()
    if certificate is None and key is None and authority is None:
        return None
    if certificate is None or key is None or authority is None:
        raise InvalidArgumentError(
            "certificate, key and authority belong together: name all three",
            hint="--certificate, --key and --authority, made by pyrep pki",
        )
    return Tls(certificate=certificate, key=key, authority=authority)
