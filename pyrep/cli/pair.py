"""`pyrep pair`: mirrors and their copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click
from rich.console import Console

from pyrep.api import Json
from pyrep.cli.following import follow, perform, say_begun, waiting
from pyrep.cli.hints import in_commands
from pyrep.cli.names import text_of_name
from pyrep.cli.quantities import FiniteRange, age, format_duration, size
from pyrep.cli.session import Session, command
from pyrep.cli.tables import Column, print_facts, print_table
from pyrep.errors import (
    BusyError,
    InvalidArgumentError,
    PairDiffersError,
    PathLostError,
    PyrepError,
    RefusedError,
    TimedOutError,
)
from pyrep.model import format_bytes

__all__ = ["PAIR_COLUMNS", "pair", "pair_row"]

PAIR_COLUMNS: tuple[Column, ...] = (
    ("pair", "pair_id"),
    ("PVOL", "pvol"),
    ("SVOL", "svol"),
    ("type", "copy_type"),
    ("status", "status"),
    ("cause", "cause"),
    ("direction", "direction"),
    ("pending", "pending_bytes"),
    ("unsettled", "unsettled_bytes"),
    ("behind", "behind"),
    ("consistent", "target_consistent"),
    ("group", "group_id"),
    ("ack", "ack"),
)
_PAIR = click.argument("pair_id", metavar="PAIR")
_RESTS = ("stopped", "paused")
_STOPPED = "by command; pyrep pair resync goes on"
_NOT_CONVERGING = "does not converge: hosts write as fast as the path takes it"
_STATUSES = ("SIMPLEX", "COPY", "DUPLEX", "SPLIT")
_SYNC_ERRORS: dict[str, type[PyrepError]] = {
    "timed out": TimedOutError,
    "changed": RefusedError,
    "broken": PathLostError,
}
_FORCES = ("inconsistent_source", "inconsistent_left")


def pair_row(told: Json) -> dict[str, Any]:
    """Return a pair for a table; what is as usual is left out."""
    reverse = str(told.get("direction", "")).lower() == "reverse"
    return {
        **told,
        "cause": next((one for one in _RESTS if told.get(one)), told.get("cause")),
        "direction": "reverse" if reverse else None,
        "target_consistent": None if told.get("target_consistent") else False,
        "pending_bytes": told.get("pending_bytes") or None,
        "unsettled_bytes": told.get("unsettled_bytes") or None,
        "behind": _behind(told),
    }


def _behind(told: Json) -> str | None:
    """Return how far the secondary is behind; and that it won't catch up."""
    lag = told.get("lag") or {}
    said = []
    if lag.get("records"):
        said.append(f"{format_bytes(lag['queued_bytes'])}, {format_duration(lag['received_s'])}")
    if told.get("converges") is False:
        said.append("does not converge")
    return "; ".join(said) or None


@click.group()
def pair() -> None:
    """Mirror volumes: create, split, resync and dissolve pairs."""


@command(pair, "create", example="pair create 105a 100b:105b --group database --wait")
@click.argument("pvol")
@click.argument("svol")
@click.option("--group", help="Consistency group of a remote pair.  [default: one of its own]")
@click.option(
    "--ack",
    type=click.Choice(["received", "durable", "queued"]),
    help="When a host's write is acknowledged, of a remote pair.  [default: received]",
)
@click.option(
    "--congestion",
    type=click.Choice(["block", "pull-ahead"]),
    help="What a write does that finds the queue full, of a remote pair.  [default: block]",
)
@click.option(
    "--fence-level",
    type=click.Choice(["never", "data"]),
    help="Whether writes fail while the remote mirror can't be reached.  [default: never]",
)
@click.option(
    "--protect",
    type=click.Choice(["require", "try", "off"]),
    help="What copies do first with a target's local mirrors, see pair protect.  "
    "[default: require]",
)
@click.option("--chunk-size", "chunk_bytes", type=size, help="Of one pending bit.  [default: 8K]")
@click.option("--wait", is_flag=True, help="Wait until it is DUPLEX, too.")
@waiting
def create(
    session: Session,
    *,
    pvol: str,
    svol: str,
    group: str | None,
    ack: str | None,
    congestion: str | None,
    fence_level: str | None,
    protect: str | None,
    chunk_bytes: int | None,
    wait: bool,
    no_wait: bool,
) -> None:
    """Mirror a volume to another; the initial copy begins.

    PVOL is a volume of this system, SVOL one of the same size whose content is overwritten: of this
    system for a local pair, as SYSTEM:VOLUME for a remote one.
    """
    if wait and no_wait:
        raise InvalidArgumentError(
            "--wait and --no-wait contradict each other", hint="give one of them"
        )
    system_id, colon, volume_id = svol.rpartition(":")
    if colon and not (system_id and volume_id):
        missing = "volume" if system_id else "system"
        raise InvalidArgumentError(
            f"cannot mirror {pvol} to {svol}: it names no {missing}",
            hint="SYSTEM:VOLUME, or VOLUME alone for one of this system",
        )
    job = session.client.create_pair(
        pvol,
        volume_id,
        system_id=system_id if colon else None,
        group=group,
        ack=ack,
        congestion=congestion,
        fence_level=fence_level,
        protect=protect,
        chunk_bytes=chunk_bytes,
    )
    if no_wait:
        say_begun(session, job)
        return
    told = follow(session, job)
    if wait:
        told = session.client.wait_for_pair(told["pair_id"]) | {"pair_id": told["pair_id"]}
    _say_pair(session, told)


def _say_pair(session: Session, told: Json) -> None:
    cause = f" ({told['cause']})" if told.get("cause") else ""
    session.say(told, f"pair {told.get('pair_id')}: {told.get('status')}{cause}")


@command(pair, "list", example="pair list --system /srv/pyrep/100a")
def list_pairs(session: Session) -> None:
    """List the pairs that this system has a side of."""
    found = session.client.pairs()
    rows = [pair_row(one) for one in found]
    session.show(
        found, lambda console: print_table(console, PAIR_COLUMNS, rows, nothing="no pairs")
    )


@command(pair, "show", example="pair show 100a.1")
@_PAIR
def show(session: Session, *, pair_id: str) -> None:
    """Show a pair: status, cause, what is pending, which way it copies.

    A pair that has pulled ahead (left a full queue) often doesn't keep up, though each copy ends:
    how often since the system was opened, and when last.
    """
    told = session.client.pair(pair_id)
    shown = {**told, "stopped": _STOPPED} if told.get("stopped") else told
    if told.get("converges") is False:
        shown = {**shown, "converges": _NOT_CONVERGING}
    session.show(told, lambda console: print_facts(console, shown))


@command(pair, "split", example="pair split 100b.1 --label friday")
@click.argument("pair_ids", metavar="PAIR...", nargs=-1, required=True)
@click.option("--label", default="", help="Of the generation that local pairs become.")
@waiting
def split(session: Session, *, pair_ids: Sequence[str], label: str, no_wait: bool) -> None:
    """Split pairs, several at one point. Local ones in DUPLEX become a generation.

    What is queued for a remote one arrives first. Of a pair that is SPLIT already nothing changes.
    """
    client = session.client
    if len(pair_ids) == 1:
        job = client.split_pair(pair_ids[0], label=label)
    else:
        job = client.split_pairs(pair_ids, label=label)
    if no_wait:
        say_begun(session, job)
        return
    told = follow(session, job)
    generation = told.get("generation") or {}
    made = f": generation {generation['generation_id']}" if generation else ""
    session.say(told, f"pair {', '.join(pair_ids)} is SPLIT{made}")


def _bounds(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--workers", type=click.IntRange(1), help="Threads that copy."),
        click.option(
            "--floor", "floor_bytes_s", type=size, help="At least this, however hosts write: 10M."
        ),
        click.option("--rate", "ceiling_bytes_s", type=size, help="Bytes a second at most: 100M."),
    ):
        function = option(function)
    return function


@command(pair, "resync", example="pair resync 100a.1 --rate 200M")
@_PAIR
@click.option(
    "--direction",
    type=click.Choice(["forward", "reverse"]),
    help="Reverse copies from the SVOL to the PVOL.  [default: forward, or as --discard says]",
)
@click.option(
    "--discard",
    metavar="SYSTEM",
    help="Give up what this system's side of a remote pair holds: of a split brain, an old copy "
    "that was put back, or unrelated data.",
)
@click.option(
    "--dry-run", is_flag=True, help="Tell what would be copied, and which way; do nothing."
)
@click.option("--force", type=click.Choice(_FORCES), help="Copy although the source is half-way.")
@click.option(
    "--compare",
    type=click.Choice(["auto", "never", "xxh3", "sha256"]),
    help="Whether a copy to another system compares digests first, and sends only what differs. "
    "Auto does after a crash and of an old copy.  [default: as configured, auto]",
)
@_bounds
@waiting
def resync(
    session: Session,
    *,
    pair_id: str,
    direction: str | None,
    discard: str | None,
    dry_run: bool,
    no_wait: bool,
    **options: Any,
) -> None:
    """Copy what is pending on either side, and mirror again.

    Forward ends in DUPLEX, and a local SVOL's generation is given up. Reverse copies back: a local
    pair ends in SPLIT, a remote one in DUPLEX. An interrupted copy goes on where it was. Where only
    the SVOL of a remote pair was written to since both were equal, name the direction: forward
    gives that up.
    """
    client = session.client
    if dry_run:
        told = client.estimate_resync(pair_id, direction=direction, discard=discard)
        shown = {**told, "hint": in_commands(told.get("hint") or "") or None}
        session.show(told, lambda console: print_facts(console, shown))
        return
    job = client.resync_pair(pair_id, direction=direction, discard=discard, **options)

    def render(console: Console, _: Any) -> None:
        now = client.pair(pair_id)
        console.print(f"pair {pair_id}: {now.get('status')}", markup=False)

    perform(session, job, render, no_wait=no_wait)


@command(pair, "verify", example="pair verify 100a.1 --percentage 10")
@_PAIR
@click.option(
    "--percentage",
    type=FiniteRange(0, 100, min_open=True),
    help="Share that is compared, drawn.  [default: 100]",
)
@click.option("--seed", type=int, help="Of the draw: the same one compares the same share.")
@click.option(
    "--digest",
    type=click.Choice(["xxh3", "sha256"]),
    help="What is compared.  [default: xxh3]",
)
@click.option(
    "--rate", "ceiling_bytes_s", type=size, help="Bytes a second read at most, at each side: 100M."
)
@click.option("--repair", is_flag=True, help="Copy what differs from the PVOL again.")
@waiting
def verify(session: Session, *, pair_id: str, repair: bool, no_wait: bool, **options: Any) -> None:
    """Compare both volumes of a pair while hosts write.

    Of a pair in DUPLEX everything has to be equal, of one that is SPLIT what is pending on neither
    side. It tells where they differ, and in which files of an ext file system, and ends with exit
    status 35. Restless is what hosts wrote to whenever it was looked at: nothing is said of it, the
    verdict is "equal as far as judged", and the exit status 6, unless 35. A repair of a pair that
    is SPLIT only makes pending what differs.
    """
    client = session.client
    job = client.verify_pair(pair_id, repair=repair or None, **options)
    if no_wait:
        say_begun(session, job)
        return
    result = follow(session, job)
    told = {"job": job.job_id, "result": result}

    def render(console: Console) -> None:
        print_facts(console, _named(result))
        for kind in ("differing", "restless"):
            more = result[f"{kind}_count"] - len(result[kind])
            if more:
                console.print(f"and {more} more {kind} places", markup=False)

    session.show(told, render)
    if not result["is_equal"] and result["repair"] is None:
        raise PairDiffersError(
            f"the volumes of pair {pair_id} differ in {result['differing_count']} places",
            hint=f"pyrep pair verify {pair_id} --repair copies them from the PVOL again",
        )
    if not result["is_judged"]:
        raise BusyError(
            f"not all of pair {pair_id} could be judged: hosts kept writing to "
            f"{result['restless_count']} places",
            hint="verify it again when hosts write less there",
        )


def _named(result: Json) -> Json:
    """Return a verification for people: what no terminal should get in names is escaped.

    The verdict says what the flags say, but not by halves.
    """
    told = {key: value for key, value in result.items() if key not in ("is_equal", "is_judged")}
    files = result["files"]
    return told if files is None else {**told, "files": _shown(files)}


def _shown(files: Json) -> Json:
    """Return names of files for people."""
    kinds = ("files", "directories")
    return {
        **files,
        **{kind: [{"path": text_of_name(one)} for one in files[kind]] for kind in kinds},
    }


@command(pair, "pending", example="pair pending 100a.1 --files")
@_PAIR
@click.option("--files", is_flag=True, help="Whose bytes they are, in an ext file system.")
@click.option("--partition", type=int, help="The one that holds the files.")
def pending(session: Session, *, pair_id: str, files: bool, partition: int | None) -> None:
    """List what is pending on this side of a pair: ranges of bytes, or files.

    What was sent and isn't known to be durable there (unsettled) isn't among them. Files are an
    estimate: the volume is looked at while it may be written. With --json, a range a line.
    """
    client = session.client
    if files:
        told = client.pending_files(pair_id, partition=partition)
        session.show(told, lambda console: print_facts(console, _shown(told)))
        return
    if partition is not None:
        raise InvalidArgumentError(
            "--partition says where files are: with --files",
            hint="give --files too, or leave it out",
        )
    count = total_bytes = 0
    for offset, length in client.pending_extents(pair_id):
        count, total_bytes = count + 1, total_bytes + length
        session.say({"offset": offset, "length": length}, f"{offset} +{length}")
    if not session.as_json:
        what = f"{format_bytes(total_bytes)} in {count} ranges" if count else "nothing is pending"
        session.say(None, what)


@command(pair, "protect", example="pair protect 100a.1 try")
@_PAIR
@click.argument("protect", type=click.Choice(["require", "try", "off"]))
def protect(session: Session, *, pair_id: str, protect: str) -> None:
    """Say what a copy into a volume does first with its DUPLEX local mirrors.

    Require splits them as a generation, and doesn't begin if that fails; try begins all the same;
    off lets them follow. Of a remote pair it is said at the primary.
    """
    told = session.client.set_protect(pair_id, protect)
    session.say(told, f"pair {pair_id}: protect is {protect}")


@command(pair, "pause", example="pair pause 100a.1")
@_PAIR
def pause(session: Session, *, pair_id: str) -> None:
    """Let a pair's copy rest; hosts go on."""
    session.client.pause_pair(pair_id)
    session.say({"pair_id": pair_id, "paused": True}, f"the copy of pair {pair_id} rests")


@command(pair, "resume", example="pair resume 100a.1")
@_PAIR
def resume(session: Session, *, pair_id: str) -> None:
    """Go on with a copy that rests."""
    session.client.resume_pair(pair_id)
    session.say({"pair_id": pair_id, "paused": False}, f"the copy of pair {pair_id} goes on")


@command(pair, "dissolve", example="pair dissolve 100b.2")
@_PAIR
@click.option("--force", type=click.Choice(_FORCES), help="Although a volume is left half-way.")
@click.option("--without-peer", is_flag=True, help="This side alone: the other system is gone.")
@waiting
def dissolve(
    session: Session, *, pair_id: str, force: str | None, without_peer: bool, no_wait: bool
) -> None:
    """End a pair; both volumes keep what they hold and are SIMPLEX.

    What is queued for a remote one arrives first.
    """
    job = session.client.dissolve_pair(pair_id, force=force, without_peer=without_peer or None)
    if no_wait:
        say_begun(session, job)
        return
    told = follow(session, job)
    session.say(told, f"pair {pair_id} is dissolved")


@command(pair, "sync", example="pair sync 100a.1 --timeout 30")
@click.argument("pair_ids", metavar="[PAIR...]", nargs=-1)
@click.option("--group", help="All pairs of this consistency group, beside those named.")
@click.option(
    "--until",
    type=click.Choice(["received", "durable"]),
    default="durable",
    show_default=True,
    help="Where it has to be: there, or there on stable storage.",
)
@click.option("--timeout", "timeout_s", type=age, help="Longest wait: 90, 10m, 2h.")
def sync(
    session: Session,
    *,
    pair_ids: Sequence[str],
    group: str | None,
    until: str,
    timeout_s: float | None,
) -> None:
    """Wait until all that was written before this command is at the secondary.

    Per pair it says done, timed out, changed (somebody split or turned the pair) or broken (the
    path or a volume failed), and ends with the worst one's exit status: 0, 21, 5, 20.
    """
    if not pair_ids and not group:
        raise click.UsageError("name pairs, or a --group")
    job = session.client.sync_pairs(*pair_ids, group=group, until=until, timeout_s=timeout_s)
    result = follow(session, job)
    rows = [{"pair_id": one, "outcome": how} for one, how in result["pairs"].items()]
    session.show(
        result,
        lambda console: print_table(
            console,
            (("pair", "pair_id"), ("what was written", "outcome")),
            rows,
            nothing="no pairs",
        ),
    )
    bad = [one["pair_id"] for one in rows if one["outcome"] == result["outcome"]]
    error = _SYNC_ERRORS.get(result["outcome"])
    if error is not None:
        raise error(
            f"not everything written is at the secondary of {', '.join(bad)}: {result['outcome']}",
            hint="pyrep pair show says more",
        )


@command(pair, "wait", example="pair wait 100a.1 --for DUPLEX --timeout 10m")
@_PAIR
@click.option(
    "--for",
    "statuses",
    multiple=True,
    type=click.Choice(_STATUSES, case_sensitive=False),
    help="Any of these.  [default: DUPLEX]",
)
@click.option("--timeout", "timeout_s", type=age, help="Longest wait: 90, 10m, 2h.")
def wait(
    session: Session, *, pair_id: str, statuses: Sequence[str], timeout_s: float | None
) -> None:
    """Wait for a status; fail at once when it can't come by itself any more."""
    told = session.client.wait_for_pair(pair_id, *statuses, timeout_s=timeout_s)
    _say_pair(session, {"pair_id": pair_id, **told})
