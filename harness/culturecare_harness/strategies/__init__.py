"""Strategies: how a model is asked for a reply. Each is a YAML file here; adding one is adding a file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2.meta
import jinja2.sandbox
from pydantic import Field

import culturecare
from culturecare import CultureCareError, Record, cultures, parse_record, read_yaml
from culturecare_harness.records import Prompt, digest
from culturecare_harness.templates import fill

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from culturecare import Instance

__all__ = ["Strategy", "render", "select_strategies", "strategies"]

_FULL_HEADING = "The post:"
_EXCERPT_HEADING = "The post is known in part only. These passages of it, one a line, were kept:"


class Strategy(Record):
    """A way to ask for a reply.

    Attributes:
        name: The file's name without its ending.
        version: Raised by hand when the wording changes; the hash changes by itself.
        summary: One line for tables and help texts.
        system: Jinja template of the system message.
        user: Jinja template of the user message.
        principles: Wordings of the principles that the templates may list.
    """

    name: str
    version: int = Field(ge=1)
    summary: str
    system: str
    user: str
    principles: tuple[str, ...] = ()

    @property
    def shows_annotations(self) -> bool:
        """Whether its prompts list what annotators marked in the post."""
        parsed = jinja2.sandbox.SandboxedEnvironment().parse(self.system + self.user)
        return not jinja2.meta.find_undeclared_variables(parsed).isdisjoint({"distress", "signals"})

    @property
    def hash(self) -> str:
        """Hash of everything that shapes the wording of this strategy's prompts."""
        templates = self.system + self.user
        parts: list[object] = [self.version, self.system, self.user, self.principles, _FULL_HEADING, _EXCERPT_HEADING]
        if "demonym" in templates:
            parts.append({key: culture.demonym for key, culture in cultures().items()})
        if "intensities" in templates or "signal_types" in templates:
            parts += [dict(culturecare.INTENSITY_DEFINITIONS), dict(culturecare.SIGNAL_TYPE_DEFINITIONS)]
        return digest(parts)


@functools.cache
def strategies() -> Mapping[str, Strategy]:
    """All strategies by name, the baseline first.

    Raises:
        DataError: A strategy's file does not fit.
    """
    folder = Path(__file__).parent
    wordings = read_yaml(folder / "principles" / "ccci_r.yaml")
    found = {}
    for path in sorted(folder.glob("*.yaml"), key=lambda path: (path.stem != "standard", path.stem == "cga", path.stem)):
        fields = read_yaml(path)
        keys = fields.pop("principles", [])
        if unknown := [key for key in keys if key not in wordings]:
            raise CultureCareError(f"{path}: principles: {unknown[0]!r} is unknown; known are {', '.join(wordings)}")
        found[path.stem] = parse_record(
            Strategy, {"name": path.stem, "principles": [wordings[key] for key in keys], **fields}, where=str(path)
        )
    return found


def select_strategies(names: str | Iterable[str]) -> tuple[Strategy, ...]:
    """Resolves names (also one string with commas, or `all`) to strategies, in the order given.

    Raises:
        CultureCareError: A name is unknown, or none is given.
    """
    if isinstance(names, str):
        names = names.split(",")
    wanted = [name.strip() for name in names if name.strip()]
    known = strategies()
    if unknown := [name for name in wanted if name not in known and name != "all"]:
        raise CultureCareError(f"unknown strategy {unknown[0]!r}: choose from {', '.join(known)}, or all")
    if not wanted:
        raise CultureCareError(f"no strategy was named: choose from {', '.join(known)}, or all")
    return tuple(known[name] for name in (known if "all" in wanted else dict.fromkeys(wanted)))


def render(strategy: Strategy, instance: Instance) -> Prompt:
    """Makes the prompt that asks for a reply to `instance`.

    A post without text stands in the prompt as its annotated phrases in order, and the prompt says `excerpt`.
    """
    demonym = cultures()[instance.culture].demonym
    names = {
        "demonym": demonym,
        "a_demonym": f"{'an' if demonym[0] in 'AEIOU' else 'a'} {demonym}",
        "post_heading": _EXCERPT_HEADING if instance.excerpt else _FULL_HEADING,
        "post": instance.post_text,
        "principles": strategy.principles,
        "intensities": culturecare.INTENSITY_DEFINITIONS,
        "signal_types": culturecare.SIGNAL_TYPE_DEFINITIONS,
        "distress": instance.post.emotional_distress,
        "signals": instance.post.cultural_signals,
    }
    return Prompt(
        instance_id=instance.id,
        culture=instance.culture,
        language=instance.language,
        strategy=strategy.name,
        prompt_hash=strategy.hash,
        excerpt=instance.excerpt,
        system=fill(strategy.system, **names),
        user=fill(strategy.user, **names),
    )
