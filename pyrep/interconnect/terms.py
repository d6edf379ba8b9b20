"""What two systems agree on before anything else: a version of the protocol, and features.

Each handshake carries an offer: the versions from the oldest to the newest that a system speaks,
the names of the features that it has, and of those that it can't do without. Both sides compute the
same terms from the two offers, so that nothing more needs to be said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pyrep.errors import WireError
from pyrep.interconnect.garbled import shown
from pyrep.interconnect.messages import PROTOCOL_OLDEST, PROTOCOL_VERSION, Hello

__all__ = ["FEATURES", "NEEDS", "OFFER", "Offer", "Terms", "agree"]

_NAMED = 20
"""Longest list of features that a refusal repeats."""

FEATURES: frozenset[str] = frozenset()
"""What this version has beyond its version of the protocol; docs/formats.md says what each is."""

NEEDS: Mapping[type[msgspec.Struct], str] = {}
"""Commands that only a system with this feature knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a system can do.

    Attributes:
        oldest, newest: versions of the protocol that it speaks, and all between.
        features: names of what it has beyond.
        required: features that the other system must have.
    """

    oldest: int = PROTOCOL_OLDEST
    newest: int = PROTOCOL_VERSION
    features: frozenset[str] = FEATURES
    required: frozenset[str] = frozenset()

    @classmethod
    def of(cls, hello: Hello) -> Offer:
        """Return what a handshake offers."""
        return cls(
            oldest=hello.version_min,
            newest=hello.version_max,
            features=frozenset(hello.features),
            required=frozenset(hello.required),
        )

    def words(self) -> dict[str, Any]:
        """Return the fields of a handshake that say this."""
        return {
            "version_min": self.oldest,
            "version_max": self.newest,
            "features": sorted(self.features),
            "required": sorted(self.required),
        }


OFFER = Offer()
"""What this version of pyrep offers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for one connection: the same at both ends.

    Attributes:
        version: the highest that both speak.
        features: what both have.
    """

    version: int = PROTOCOL_VERSION
    features: frozenset[str] = field(default_factory=lambda: FEATURES)

    def check(self, message: msgspec.Struct, whom: str) -> None:
        """Check that a command is among what was agreed on.

        Args:
            message: the command.
            whom: the other system, for the message.

        Raises:
            WireError: it needs a feature that one of the two doesn't have.
        """
        needed = NEEDS.get(type(message))
        if needed is not None and needed not in self.features:
            tag = message.__struct_config__.tag
            raise WireError(
                f"command {tag} needs feature {needed!r}, which wasn't agreed on with {whom}",
                hint="update the older of the two systems",
            )


def agree(here: str, own: Offer, there: str, theirs: Offer) -> Terms:
    """Return the terms of a connection between two systems.

    It is symmetric but for the words of the refusal. A feature that nobody here knows is left out.

    Args:
        here, own: this system's id and offer.
        there, theirs: the other one's.

    Raises:
        WireError: there is no common version, or one lacks what the other can't do without.
    """
    version = min(own.newest, theirs.newest)
    if version < max(own.oldest, theirs.oldest):
        raise WireError(
            f"system {there} speaks {_versions(theirs)} of the protocol, system {here} "
            f"{_versions(own)}: they have none in common",
            hint="update the older of the two systems",
        )
    _check_has(here, own.features, there, theirs.required)
    _check_has(there, theirs.features, here, own.required)
    return Terms(version=version, features=own.features & theirs.features)


def _check_has(one: str, has: Iterable[str], other: str, required: frozenset[str]) -> None:
    missing = sorted(required - frozenset(has))
    if missing:
        names = ", ".join(shown(name) for name in missing[:_NAMED])
        raise WireError(
            f"system {other} requires what system {one} doesn't have: {names}",
            hint=f"update system {one}",
        )


def _versions(offer: Offer) -> str:
    if offer.oldest == offer.newest:
        return f"version {offer.oldest}"
    return f"versions {offer.oldest} to {offer.newest}"
