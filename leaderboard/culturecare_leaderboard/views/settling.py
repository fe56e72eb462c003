"""Settling an address: what it asks for, held against what the board has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culturecare import Record
from culturecare_harness.protocols import Protocol
from culturecare_leaderboard.address import ANY, Address

if TYPE_CHECKING:
    from culturecare_leaderboard.views.tables import Tables

__all__ = ["Settled", "settle"]


class Settled(Record):
    """An address that the board can answer.

    Attributes:
        address: The address; its protocol, culture, strategy and metric are there.
        protocol: What is shown.
        notices: A sentence about each thing that was asked for and is not there.
    """

    address: Address
    protocol: Protocol
    notices: tuple[str, ...]


def settle(tables: Tables, address: Address) -> Settled:
    """Puts what the board has in place of what it has not, and says so.

    Args:
        tables: Of a board with at least one protocol.
        address: As it was asked for.
    """
    notices = []
    first = tables.first_protocol
    protocol = tables.protocol(address.protocol) if address.protocol else first
    if protocol is None:
        notices.append(f"There is no protocol “{address.protocol}” on this board; this is {first.name}.")
        protocol = first
    changes: dict[str, str] = {"protocol": "" if protocol is first else protocol.name}
    for field, there, default in (
        ("culture", (ANY, *protocol.posts.cultures), ANY),
        ("strategy", (ANY, *protocol.strategies), ANY),
        ("metric", tuple(tables.metrics(protocol)), "overall"),
    ):
        wanted = getattr(address, field)
        if wanted not in there:
            names = ", ".join(name for name in there if name != ANY)
            notices.append(f"Protocol {protocol.name} has no {field} “{wanted}”; it has {names}.")
            changes[field] = default
    return Settled(address=address.model_copy(update=changes), protocol=protocol, notices=tuple(notices))
