"""Guards: why a copy may not start or a pair may not be changed, as a reason or nothing.

The cascade guard is by the remote pair of an SPVOL (architecture section 3); the others keep a
generation in use, a volume left half-way and a copy that runs from being run over.
"""

from __future__ import annotations

from pyrep.model.pair import CopyType, PairStatus
from pyrep.model.situation import Decision, Situation, refused

__all__ = [
    "RESYNC_FORWARD_CALL",
    "RESYNC_REVERSE_CALL",
    "copy_back_refusal",
    "copy_forward_refusal",
    "pin_refusal",
    "pvol_half_way_refusal",
    "sibling_reverse_refusal",
    "svol_half_way_refusal",
]

RESYNC_FORWARD_CALL = "pair.resync(direction=Direction.FORWARD)"
RESYNC_REVERSE_CALL = "pair.resync(direction=Direction.REVERSE)"


def copy_forward_refusal(now: Situation) -> Decision | None:
    """Refuse a copy from PVOL to SVOL that a cascade, a sibling or the source rules out."""
    remote = now.remote if now.copy_type is CopyType.LOCAL else None
    if remote is not None and remote.is_filling:
        return refused(
            "the remote pair is copying into its PVOL, which is inconsistent until then",
            "wait until the remote pair is DUPLEX",
        )
    refusal = sibling_reverse_refusal(now)
    if refusal is None and now.copy_type is CopyType.REMOTE:
        # A local SVOL is followed by nothing that could be copying out of it.
        refusal = _sibling_copying_refusal(now)
    if refusal is None and remote is not None and not remote.spvol_consistent and not now.forced:
        return refused(
            "its PVOL is inconsistent: a forward copy of the remote pair was broken off",
            f"resync the remote pair: {RESYNC_FORWARD_CALL}",
        )
    return refusal or _source_refusal(now, consistent=now.source_consistent)


def copy_back_refusal(now: Situation) -> Decision | None:
    """Refuse a copy back into a PVOL that a remote pair or a copy that runs depends on."""
    remote = now.target_remote
    if remote is None and now.copy_type is CopyType.LOCAL:
        remote = now.remote
    if remote is not None and remote.status is PairStatus.DUPLEX:
        return refused(
            "its PVOL is in a remote pair that is DUPLEX",
            "split the remote pair first: pair.split()",
        )
    if remote is not None and remote.status is PairStatus.COPY:
        return refused(
            f"its PVOL is in a remote pair that is copying ({remote.direction})",
            "wait until the remote pair is DUPLEX, then split it: pair.split()",
        )
    return (
        sibling_reverse_refusal(now)
        or _sibling_copying_refusal(now)
        or _source_refusal(now, consistent=now.reverse_source_consistent)
    )


def sibling_reverse_refusal(now: Situation) -> Decision | None:
    """Refuse what a reverse copy into a shared volume rules out."""
    if not now.sibling_reverse:
        return None
    return refused(
        "another pair is copying back into a volume that they share",
        "wait until that copy has ended",
    )


def pvol_half_way_refusal(now: Situation) -> Decision | None:
    """Refuse to copy from, or to leave behind, a PVOL that a reverse copy left half-way."""
    if now.pvol_consistent or now.forced:
        return None
    return refused(
        "its PVOL is inconsistent: a reverse copy was broken off, only reverse resumes",
        RESYNC_REVERSE_CALL,
    )


def svol_half_way_refusal(now: Situation) -> Decision | None:
    """Refuse to copy from an SVOL that a forward copy left half-way."""
    if now.svol_consistent or now.forced:
        return None
    return refused(
        "its SVOL is inconsistent: a forward copy was broken off, only forward resumes",
        RESYNC_FORWARD_CALL,
    )


def pin_refusal(now: Situation) -> Decision | None:
    """Refuse to give up a generation that is in use (INV-4)."""
    if not now.svol_pins:
        return None
    return refused(
        f"the generation in its SVOL is in use by {', '.join(now.svol_pins)}",
        "wait until they have ended",
    )


def _sibling_copying_refusal(now: Situation) -> Decision | None:
    if not now.sibling_copying:
        return None
    return refused(
        "another pair is copying out of the volume that would be copied into",
        "wait until that copy has ended, or stop it: pair.split() of that pair",
    )


def _source_refusal(now: Situation, *, consistent: bool) -> Decision | None:
    if consistent or now.forced:
        return None
    return refused(
        "the data it would copy is inconsistent",
        "resync the pair whose copy into that volume was broken off: pair.resync(direction=...)",
    )
