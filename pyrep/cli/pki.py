"""`pyrep pki`: an authority, and certificates of systems."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

__all__ = ["pki"]

_JSON = click.option("--json", "as_json", is_flag=True, help="Answer in JSON, a line each.")
_DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.group()
def pki() -> None:
    """Make the certificates by which systems know each other.

    One authority issues them all. Its directory belongs on neither site: a system needs its own
    certificate and key, and the authority's certificate.
    """


@pki.command(epilog="Example: pyrep pki init /srv/pki")
@click.argument("directory", type=_DIRECTORY)
@click.option("--name", default="pyrep", show_default=True, help="What people see in it.")
@click.option("--days", default=3650, show_default=True, help="How long it is valid.")
@_JSON
def init(directory: Path, name: str, days: int, *, as_json: bool) -> None:
    """Make an authority in DIRECTORY: authority.pem and authority.key."""
    from pyrep.interconnect.pki import make_authority  # noqa: PLC0415 (a large library)

    made = make_authority(directory, name=name, days=days)
    _say(
        {"certificate": str(made.certificate), "key": str(made.key)},
        f"made {made.certificate}, for every system, and {made.key}, for nobody else",
        as_json=as_json,
    )


def _say(told: dict[str, str], text: str, *, as_json: bool) -> None:
    click.echo(json.dumps(told) if as_json else text)


@pki.command(epilog="Example: pyrep pki issue /srv/pki 100a")
@click.argument("directory", type=_DIRECTORY)
@click.argument("system_id")
@click.option("--days", default=825, show_default=True, help="How long it is valid.")
@click.option("--out", type=_DIRECTORY, help="Where the files go.  [default: DIRECTORY]")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@_JSON
def issue(
    directory: Path, system_id: str, days: int, out: Path | None, *, force: bool, as_json: bool
) -> None:
    """Issue the certificate of SYSTEM_ID by the authority in DIRECTORY."""
    from pyrep.interconnect.pki import issue_certificate  # noqa: PLC0415 (a large library)

    made = issue_certificate(directory, system_id, days=days, directory=out, replace=force)
    _say(
        {"system_id": system_id, "certificate": str(made.certificate), "key": str(made.key)},
        f"made {made.certificate} and {made.key}",
        as_json=as_json,
    )


@pki.command(epilog="Example: pyrep pki show /srv/pki/100a.pem")
@click.argument("certificate", type=click.Path(path_type=Path, dir_okay=False))
@_JSON
def show(certificate: Path, *, as_json: bool) -> None:
    """Tell whose CERTIFICATE it is, and until when it is valid."""
    from pyrep.interconnect.pki import read_certificate  # noqa: PLC0415 (a large library)

    facts = read_certificate(certificate)
    if as_json:
        told = {
            "system_id": facts.system_id,
            "subject": facts.subject,
            "is_authority": facts.is_authority,
            "not_before": facts.not_before.isoformat(),
            "not_after": facts.not_after.isoformat(),
            "sha256": facts.sha256,
        }
        click.echo(json.dumps(told))
        return
    whose = f"system {facts.system_id}" if facts.system_id else facts.subject
    kind = "an authority" if facts.is_authority else "no authority"
    days = (facts.not_after - datetime.now(UTC)).days
    left = f"{days} days left" if days >= 0 else "no longer valid"
    click.echo(f"of {whose}, {kind}")
    click.echo(f"valid from {facts.not_before:%Y-%m-%d} to {facts.not_after:%Y-%m-%d}: {left}")
    click.echo(f"SHA-256 {facts.sha256}")
