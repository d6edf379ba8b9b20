"""What the rules of the machine draw from."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from machine.world import PLACES, PVOLS, SIZE_BYTES, SPVOLS, Shape, place
from pyrep.model import (
    AckPoint,
    Congestion,
    FenceLevel,
)
from pyrep.testing import (
    HostWrite,
    PowerLoss,
)

__all__ = ["losses", "picks", "places", "shapes", "system_ids", "volumes", "writes", "written"]

volumes = st.sampled_from([*PVOLS, *SPVOLS])
system_ids = st.sampled_from(["100a", "100b"])


class Written(HostWrite):
    """A write that is printed by what makes it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{len(self.data)} bytes at {self.offset}, {self.data[:4].hex()}…"


def written(number: int, length: int, seed: int) -> Written:
    """Return a write of random bytes, or of zeros, at one of the places."""
    return Written(
        offset=place(number, length),
        data=random.Random(seed).randbytes(length) if seed else bytes(length),
    )


places = st.integers(0, PLACES - 1)
writes = st.builds(
    written,
    number=places,
    length=st.sampled_from([1, 512, 4096, 5000, 65536, 140_000]),
    seed=st.integers(0, 9),
) | st.builds(
    written,
    number=st.just(PLACES - 1),
    length=st.sampled_from([1, 904, 5000]),
    seed=st.integers(0, 9),
)
picks = st.integers(0, 23)
losses = st.builds(
    PowerLoss, seed=st.integers(0, 99), keep_one_in=st.integers(0, 3), tear=st.booleans()
)
shapes = st.builds(
    Shape,
    size_bytes=st.just(SIZE_BYTES),
    remote_chunk_bytes=st.sampled_from([4096, 8192, 65536]),
    local_chunk_bytes=st.sampled_from([4096, 16384]),
    ack=st.sampled_from(AckPoint),
    second_ack=st.sampled_from([None, *AckPoint]),
    congestion=st.sampled_from(Congestion),
    fence_level=st.sampled_from(FenceLevel),
    hot_regions=st.integers(4, 6),
    volatile=st.booleans(),
)
