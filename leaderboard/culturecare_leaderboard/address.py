"""Addresses: the query string of a page says all that it shows, so that every page can be linked to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import parse_qsl, urlencode

from culturecare import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ANY", "SIZES", "TABS", "Address", "Tab", "read_address"]

Tab = Literal["ranking", "cultures", "strategies", "model", "compare", "submit", "about"]

ANY = "all"
"""Stands for no choice: all cultures together, every strategy, judge, size and so on."""

TABS: dict[str, str] = {
    "ranking": "Ranking",
    "cultures": "Cultures",
    "strategies": "Strategies",
    "model": "Model",
    "compare": "Compare",
    "submit": "Submit",
    "about": "About",
}
SIZES: dict[str, tuple[float, float]] = {
    "up to 4B": (0, 4e9),
    "4B to 15B": (4e9, 15e9),
    "15B to 80B": (15e9, 80e9),
    "over 80B": (80e9, 1e99),
}
"""Bounds of the number of parameters, the upper one included."""

_CHOICES: dict[str, frozenset[str]] = {
    "tab": frozenset(get_args(Tab)),
    "size": frozenset({ANY, *SIZES, "not said"}),
    "weights": frozenset({ANY, "open", "closed", "not said"}),
    "verified": frozenset({ANY, "verified", "pending", "failed"}),
}
_LONGEST = 200


class Address(Record):
    """What is shown.

    Attributes:
        protocol: Name of a protocol; empty for the board's first.
        tab: The page.
        model: Id of a submission, or name of a model.
        compare: The other one, on the page that compares.
        culture: A culture, or `ANY` for the mean over cultures.
        strategy: A strategy, or `ANY`.
        judge: Name of a judge, or `ANY`.
        size: A key of `SIZES`, `not said` or `ANY`.
        weights: `open`, `closed`, `not said` or `ANY`.
        verified: `verified`, `pending`, `failed` or `ANY`.
        search: Words that the model's or the submitter's name holds.
        metric: A metric of the scores.
        sort: A column of the ranking, with `-` for the largest first.
        page: Page of a long table, from 1.
        item: Id of the instance whose replies are open.
    """

    protocol: str = ""
    tab: Tab = "ranking"
    model: str = ""
    compare: str = ""
    culture: str = ANY
    strategy: str = ANY
    judge: str = ANY
    size: str = ANY
    weights: str = ANY
    verified: str = ANY
    search: str = ""
    metric: str = "overall"
    sort: str = "-overall"
    page: int = 1
    item: str = ""

    @property
    def query(self) -> str:
        """The query string without `?`, in a fixed order and without what is as by default."""
        fields = type(self).model_fields
        return urlencode([(name, value) for name, value in self if value != fields[name].default])

    def href(self, **changes: str | int) -> str:
        """A link to this page with some fields changed; unless the page number is among them, it begins again at 1."""
        return "?" + self.model_copy(update={"page": 1, **changes}).query

    def kept(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """Name and value of those fields that are not as by default, for a form's hidden fields."""
        return [(name, str(getattr(self, name))) for name in names if getattr(self, name) != type(self).model_fields[name].default]


def read_address(query: str) -> tuple[Address, tuple[str, ...]]:
    """Reads a query string, which anyone may have written.

    Args:
        query: The query string, with or without `?`.

    Returns:
        The address, and a sentence about each value that could not be used and stands at its default.
    """
    try:
        pairs = dict(parse_qsl(query.removeprefix("?"), max_num_fields=64))
    except ValueError:  # Too many fields.
        return Address(), ("The link could not be read, so this is the start page.",)
    fields: dict[str, str | int] = {}
    notices = []
    for name in Address.model_fields:
        value = pairs.get(name, "").strip()
        if not value:
            continue
        if len(value) > _LONGEST or (name in _CHOICES and value not in _CHOICES[name]):
            notices.append(f"The link asks for {name} “{value[:40]}”, which is none; it was left out.")
        elif name == "page":
            fields[name] = int(value) if value.isascii() and value.isdigit() and 0 < len(value) < 7 and int(value) > 0 else 1
        else:
            fields[name] = value
    return Address.model_validate(fields), tuple(notices)
