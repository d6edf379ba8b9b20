"""How long a path waits for what."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from pyrep.errors import InvalidArgumentError

__all__ = ["PathTiming"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathTiming:
    """Times of a path, in seconds.

    Attributes:
        connect_s: to reach the other system and shake hands.
        ping_s: silence after which it is asked whether it is there.
        ping_timeout_s: how long it may take to answer; then the path is lost.
        retry_first_s, retry_most_s: pauses between attempts to connect: the first, and the longest
            that they grow to.
    """

    connect_s: float = 10.0
    ping_s: float = 10.0
    ping_timeout_s: float = 6.0
    retry_first_s: float = 0.2
    retry_most_s: float = 15.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            asked: object = getattr(self, name)
            if not isinstance(asked, (int, float)) or not 0 < asked < 1e6:
                raise InvalidArgumentError(
                    f"the path's {name} can't be {asked!r}", hint="a number of seconds above 0"
                )

    def pauses_s(self, chance: random.Random) -> Iterator[float]:
        """Yield the pauses between attempts: each up to twice the one before, half of it chance.

        Without the chance two systems that lost each other would dial in step for ever.
        """
        pause_s = self.retry_first_s
        while True:
            yield pause_s * (0.5 + chance.random() / 2)
            pause_s = min(pause_s * 2, self.retry_most_s)
