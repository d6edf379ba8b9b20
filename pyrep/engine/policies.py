"""What a system's owner wants to become of generations: policies, set and asked for."""

from __future__ import annotations

from pyrep.engine.arguments import one_of
from pyrep.engine.state import SystemState
from pyrep.errors import InvalidArgumentError
from pyrep.meta import PolicyRecord
from pyrep.model import NextSvol, RetentionPolicy, VolumeId

__all__ = ["effective_policy", "set_policy"]


def set_policy(
    state: SystemState,
    volume: str | None,
    *,
    next_svol: NextSvol | None,
    retention: RetentionPolicy | None,
) -> None:
    """Set what is given for a volume, or for all without a policy of their own; durable on return.

    Raises:
        NotFoundError: there is no such volume.
        InvalidArgumentError: that isn't a policy.
    """
    if next_svol is not None:
        next_svol = one_of(NextSvol, next_svol)
    kept: object = retention
    if kept is not None and not isinstance(kept, RetentionPolicy):
        raise InvalidArgumentError(f"{retention!r} isn't a RetentionPolicy")
    with state.control:
        checked = None
        if volume is not None:
            checked = state.volume(VolumeId(volume)).record.volume_id
        now = state.policies.get(checked)
        new = PolicyRecord(
            next_svol=next_svol or now.next_svol, retention=retention or now.retention
        )
        state.policies.set(checked, new)


def effective_policy(state: SystemState, volume: str) -> PolicyRecord:
    """Return what holds for a volume: its own policies, where unset the system's."""
    state.volume(VolumeId(volume))
    return state.policies.effective(VolumeId(volume))
