"""How fast a copy may go, and how slow hosts may make it."""

from __future__ import annotations

from dataclasses import dataclass

from pyrep.errors import InvalidArgumentError
from pyrep.model.digest import Compare
from pyrep.model.units import MIB

__all__ = ["COPY_WORKERS_MAX", "CopyPace", "CopyRate", "check_copy_workers"]

COPY_WORKERS_MAX = 64
"""Threads of one copy at most."""

_FLOOR_BYTES_S = 16 * MIB
_MOST_BYTES_S = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRate:
    """Bounds of a copy's rate. Bytes that are written as data count; holes and zeros don't.

    Attributes:
        ceiling_bytes_s: the copy never goes faster, on the average; None: as fast as it can.
        floor_bytes_s: while hosts write to the volumes concerned the copy rests in between, but not
            so long that it falls below this: it always ends. None: 16 MiB/s, or the ceiling if that
            is lower. With a floor above what the storage can do, the copy never rests.

    Raises:
        InvalidArgumentError: a bound below 1, or that isn't a whole number of 63 bits, or a floor
            above the ceiling.
    """

    ceiling_bytes_s: int | None = None
    floor_bytes_s: int | None = None

    def __post_init__(self) -> None:
        for name in ("ceiling_bytes_s", "floor_bytes_s"):
            value: object = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, int) or value > _MOST_BYTES_S:
                raise InvalidArgumentError(
                    f"a copy can't have {name}={value!r}",
                    hint=f"a whole number up to {_MOST_BYTES_S}; none is no bound",
                )
            if value < 1:
                raise InvalidArgumentError(
                    f"a copy can't have {name}={value}",
                    hint="at least 1; to stop a copy for a while, pause it: pair.pause_copy()",
                )
        if (
            self.ceiling_bytes_s
            and self.floor_bytes_s
            and self.floor_bytes_s > self.ceiling_bytes_s
        ):
            raise InvalidArgumentError(
                f"a copy can't have floor_bytes_s={self.floor_bytes_s} above "
                f"ceiling_bytes_s={self.ceiling_bytes_s}",
                hint="lower the floor, or leave it out",
            )

    @property
    def least_bytes_s(self) -> int:
        """The floor in effect."""
        if self.floor_bytes_s is not None:
            return self.floor_bytes_s
        return min(_FLOOR_BYTES_S, self.ceiling_bytes_s or _FLOOR_BYTES_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPace:
    """What somebody asked for who began a copy; None: as the system's options say.

    Attributes:
        rate: bounds of its rate.
        workers: threads that copy.
        compare: whether it compares digests first.
        rests: whether it is paused from the beginning.
    """

    rate: CopyRate | None = None
    workers: int | None = None
    compare: Compare | None = None
    rests: bool = False


def check_copy_workers(workers: int) -> int:
    """Return `workers` if a copy may have so many threads. Raises InvalidArgumentError."""
    asked: object = workers
    if not isinstance(asked, int) or not 1 <= asked <= COPY_WORKERS_MAX:
        raise InvalidArgumentError(
            f"a copy can't have {workers!r} workers", hint=f"from 1 to {COPY_WORKERS_MAX}"
        )
    return workers
