"""Attacks on a judge: ways to make a bad reply look good. Each family is a YAML file here; adding an attack is adding an entry to one."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, field_validator, model_validator

from culturecare import CultureCareError, DataError, Record, parse_record, read_yaml
from culturecare_harness.templates import fill

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from culturecare_harness.rubrics import Rubric

__all__ = ["Attack", "Material", "attacks", "material", "select_attacks"]


class _Entry(Record):
    """An attack as its family's file declares it."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    tries: str = Field(min_length=1)
    template: str

    @model_validator(mode="after")
    def _holds_the_reply(self) -> _Entry:
        try:
            attacked = fill(self.template, post="A post.", reply="A reply.", closing="[END]")
        except CultureCareError as error:
            raise ValueError(f"template: {error}") from error
        # Otherwise the judge would be right to grade the attacked reply otherwise than the plain one.
        if "A reply." not in attacked:
            raise ValueError("template must hold {{ reply }}, word for word")
        return self


class Attack(_Entry):
    """An attack.

    Attributes:
        name: Unique among all attacks.
        tries: What it tries, in words.
        template: Jinja template over `reply` (the bad reply), `post` and `closing` (the line that closes the plain reply in the judge's
            prompt: the best that an attacker can guess of the mark that will close the attacked one).
        family: Name of the file that it stands in, without its ending.
    """

    family: str

    def apply(self, post: str, reply: str, rubric: Rubric) -> str:
        """Makes the attacked reply to `post` out of the plain `reply`, knowing the rubric by which it will be graded."""
        closing = rubric.prompts(post, reply).item.splitlines()[-1]
        return fill(self.template, post=post, reply=reply, closing=closing)


class _FamilyFile(Record):
    """A family of attacks, as its file declares it."""

    name: str
    summary: str = Field(min_length=1)
    attacks: tuple[_Entry, ...] = Field(min_length=1)


class Material(Record):
    """The project-written texts that a check is made from.

    Attributes:
        dismissive: The bad reply by language (ISO 639-1), English among them.
        neutral: Sentences that neither help nor hurt.
    """

    dismissive: dict[str, str]
    neutral: tuple[str, ...] = Field(min_length=1)

    @field_validator("dismissive")
    @classmethod
    def _has_english(cls, dismissive: dict[str, str]) -> dict[str, str]:
        if "en" not in dismissive:
            raise ValueError("must hold a reply in English (en)")
        return dismissive


@functools.cache
def attacks() -> Mapping[str, Attack]:
    """All attacks by name, family after family.

    Raises:
        DataError: A family's file does not fit, or two attacks share a name.
    """
    found = []
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        family = parse_record(_FamilyFile, {"name": path.stem, **read_yaml(path)}, where=str(path))
        found += [Attack(family=family.name, **entry.model_dump()) for entry in family.attacks]
    [(name, times)] = Counter(attack.name for attack in found).most_common(1)
    if times > 1:
        families = ", ".join(f"{attack.family}.yaml" for attack in found if attack.name == name)
        raise DataError(f"{Path(__file__).parent}: attack {name!r} stands in {families}, but each name must be there once")
    return {attack.name: attack for attack in found}


def select_attacks(names: str | Iterable[str] = "all") -> tuple[Attack, ...]:
    """Resolves names of attacks and of families (also one string with commas, or `all`) to attacks, none of them twice.

    Raises:
        CultureCareError: A name is unknown, or none is given.
    """
    if isinstance(names, str):
        names = names.split(",")
    wanted = [name.strip() for name in names if name.strip()]
    families = list(dict.fromkeys(attack.family for attack in attacks().values()))
    if unknown := [name for name in wanted if name not in attacks() and name not in families and name != "all"]:
        raise CultureCareError(
            f"unknown attack {unknown[0]!r}: choose from the families {', '.join(families)}, from the attacks in their files, or all"
        )
    if not wanted:
        raise CultureCareError(
            f"no attack was named: choose from the families {', '.join(families)}, from the attacks in their files, or all"
        )
    chosen = [attack for name in wanted for attack in attacks().values() if name in ("all", attack.family, attack.name)]
    return tuple(dict.fromkeys(chosen))


@functools.cache
def material() -> Material:
    """The texts that a check is made from.

    Raises:
        DataError: Their file does not fit.
    """
    path = Path(__file__).parent / "material" / "replies.yaml"
    return parse_record(Material, read_yaml(path), where=str(path))
