"""What a workload asks of one system; named and sent to its process where that is another one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from crash.blocks import CHUNK, stamp
from pyrep import (
    Cancel,
    Direction,
    Pair,
    PairStatus,
    Progress,
    RetentionPolicy,
    StorageSystem,
    abandon,
    backup,
    list_workflows,
    restore,
    resume,
)
from pyrep.errors import WorkflowError
from pyrep.interconnect import PathTiming
from pyrep.interconnect.channel import Plain
from pyrep.model import AckPoint, Compare, NextSvol, Protect, SplitCause, VolumeId, WorkflowState
from pyrep.testing import wait_quiet, wait_until

LONG_S = 60.0
THEIRS = "theirs"
"""Where the files of attached volumes are, below a system's directory."""
_TIMING = PathTiming(retry_first_s=0.02, retry_most_s=0.1)


def pair_to(system: StorageSystem, svol: str) -> Pair:
    """Return the pair whose SVOL this is, as a system that holds a side of it has it."""
    for one in system.pairs():
        for row in one.rows:
            if (row.mirror_volume_id if row.is_primary else row.volume_id) == svol:
                return one
    raise LookupError(f"{system.system_id} has no pair to {svol}")


# --- paths ---------------------------------------------------------------------------------------


def listen(system: StorageSystem, port: int) -> None:
    system.listen(f"127.0.0.1:{port}", security=Plain(), timing=_TIMING)


def dial(system: StorageSystem, peer: str, port: int) -> None:
    system.dial(peer, f"127.0.0.1:{port}", security=Plain(), timing=_TIMING)


def wait_for_path(system: StorageSystem) -> None:
    wait_until(lambda: all(one.is_up for one in system.paths()), timeout_s=LONG_S)


def wait_for_resumes(system: StorageSystem) -> None:
    """Wait until what goes on by itself over a path that has come up has begun."""
    wait_until(lambda: not any(_waits_for_path(one) for one in system.pairs()), timeout_s=LONG_S)


def _waits_for_path(pair: Pair) -> bool:
    row = pair.row
    return row.is_remote and (row.status, row.cause) == (PairStatus.SPLIT, SplitCause.PATH_LOST)


def be_quiet(system: StorageSystem) -> None:
    wait_quiet(system)


# --- hosts ---------------------------------------------------------------------------------------


def write(system: StorageSystem, volume: str, number: int, offset: int) -> None:
    system.volume(volume).pwrite(stamp(number), offset)


def put(system: StorageSystem, volume: str, data: bytes, offset: int) -> None:
    system.volume(volume).pwrite(data, offset)


def flush(system: StorageSystem, volume: str) -> None:
    system.volume(volume).flush()


# --- volumes -------------------------------------------------------------------------------------


def create_volume(system: StorageSystem, volume: str, size: int) -> None:
    system.create_volume(volume, size)


def attach_volume(system: StorageSystem, volume: str, size: int) -> None:
    """Attach a file of somebody else's, which is there durably."""
    theirs = system.state.directory / THEIRS
    theirs.mkdir(exist_ok=True)
    path = theirs / f"{volume}.img"
    with path.open("wb") as file:
        file.truncate(size)
        os.fsync(file.fileno())
    for directory in (theirs, theirs.parent):
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(handle)
        os.close(handle)
    system.attach_volume(volume, path)


def delete_volume(system: StorageSystem, volume: str) -> None:
    system.delete_volume(volume)


# --- pairs ---------------------------------------------------------------------------------------


def create_remote(
    system: StorageSystem, pvol: str, svol: str, group: str | None, ack: AckPoint
) -> None:
    pair = system.create_remote_pair(pvol, "100b", svol, chunk_bytes=CHUNK, group=group, ack=ack)
    pair.wait(timeout_s=LONG_S)


def create_local(system: StorageSystem, pvol: str, svol: str) -> None:
    system.create_local_pair(pvol, svol, chunk_bytes=CHUNK).wait(timeout_s=LONG_S)


def split(system: StorageSystem, *svols: str) -> None:
    system.split_pairs([pair_to(system, one).pair_id for one in svols])


def resync(
    system: StorageSystem,
    svol: str,
    direction: Direction = Direction.FORWARD,
    discard: str | None = None,
    compare: Compare | None = None,
) -> int:
    """Resync a pair to the end; return the bytes that it sent."""
    more = {} if compare is None else {"compare": compare}
    job = pair_to(system, svol).resync(direction=direction, discard=discard, **more)  # type: ignore[arg-type]
    if job is None:
        return 0
    job.wait(LONG_S)
    return job.sent_bytes


def protect_pair(system: StorageSystem, svol: str, protect: Protect) -> None:
    pair_to(system, svol).set_protect(protect)


def verify(system: StorageSystem, svol: str) -> int:
    """Verify a pair, and repair it; return how many places differed."""
    pair = pair_to(system, svol)
    found = pair.verify()
    job = pair.repair(found)
    if job is not None:
        job.wait(LONG_S)
    return found.differing_count


def damage(system: StorageSystem, volume: str, number: int, offset: int) -> None:
    """Change a volume behind pyrep's back; durable at once."""
    io = system.state.volume(VolumeId(volume)).io
    io.pwrite(stamp(number), offset)
    io.flush()


def dissolve(system: StorageSystem, svol: str) -> None:
    pair_to(system, svol).dissolve()


def wait_duplex(system: StorageSystem, svol: str) -> None:
    pair_to(system, svol).wait(timeout_s=LONG_S)


# --- generations ---------------------------------------------------------------------------------


def back_up(system: StorageSystem, volumes: list[str], label: str, reuse_last: bool) -> str:
    report = backup(system, volumes, label=label, reuse_last=reuse_last)
    return report.generation.generation_id


def keep_next(system: StorageSystem, volume: str, keep_last: int) -> None:
    """Set policies: what is kept, and that the next SVOL is brought to DUPLEX ahead."""
    policy = RetentionPolicy(keep_last=keep_last)
    system.set_policy(volume, next_svol=NextSvol.ALWAYS, retention=policy)


def wait_for_next(system: StorageSystem, volume: str) -> None:
    """Wait until one of a volume's mirrors is ready for the next backup."""
    mirrors = system.state.local_svol_mirrors(VolumeId(volume))
    wait_until(lambda: any(one.row.status is PairStatus.DUPLEX for one in mirrors))
    be_quiet(system)


def retain(system: StorageSystem, volume: str) -> None:
    system.apply_retention(volume)


def catalogue(system: StorageSystem, generation: str) -> None:
    """Change what the catalogue says of a generation, in every way there is."""
    system.protect_generation(generation)
    kept = system.kept(generation)
    kept.annotate({"by": "hand"})
    kept.pin("somebody")
    kept.unpin("somebody")
    kept.rename("renamed")
    system.unprotect_generation(generation)


def restore_volume(system: StorageSystem, generation: str, volume: str) -> None:
    restore(system, generation, volume, whole=True)


def restore_files(system: StorageSystem, generation: str, volume: str, *paths: str) -> int:
    """Return the figure by which it was done."""
    return restore(system, generation, volume, paths).figure


# --- workflows that stop -------------------------------------------------------------------------


@contextlib.contextmanager
def _stopping_at(step: int) -> Iterator[tuple[Callable[[Progress], None], Cancel]]:
    """Give what has a workflow stopped as it begins a step, before that does anything."""
    cancel = Cancel()

    def at(progress: Progress) -> None:
        if progress.step == step:
            cancel.cancel()

    with contextlib.suppress(WorkflowError):
        yield at, cancel
        raise AssertionError(f"it didn't stop at step {step}")


def stop_backup(system: StorageSystem, step: int, volumes: list[str], label: str) -> None:
    with _stopping_at(step) as (progress, cancel):
        backup(system, volumes, label=label, progress=progress, cancel=cancel)


def stop_restore(
    system: StorageSystem, step: int, generation: str, volume: str, *paths: str
) -> None:
    """Have a restore stopped, of files or of the whole volume."""
    with _stopping_at(step) as (progress, cancel):
        whole = not paths
        restore(system, generation, volume, paths, whole=whole, progress=progress, cancel=cancel)


def _stopped(system: StorageSystem) -> str:
    found = [one for one in list_workflows(system) if one.state is WorkflowState.STOPPED]
    (record,) = [one for one in found if not one.request.get("led_elsewhere")]
    return record.workflow_id


def resume_stopped(system: StorageSystem) -> None:
    resume(system, _stopped(system))


def abandon_stopped(system: StorageSystem) -> None:
    abandon(system, _stopped(system))
