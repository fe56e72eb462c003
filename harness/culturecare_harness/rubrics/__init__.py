"""Rubrics: what a judge grades, and how it is asked. Each pack is a YAML file here; adding one is adding a file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from culturecare import CultureCareError, Record, parse_record, read_yaml
from culturecare_harness.records import digest
from culturecare_harness.templates import fence_mark, fill, part_template_marks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Dimension", "JudgePrompts", "Rubric", "rubrics", "select_rubric"]


class Dimension(Record):
    """One dimension of a rubric, with a description of each of the five grades."""

    key: str = Field(pattern=r"^[a-z][a-z_]*$")
    name: str
    group: Literal["emotional", "cultural", "quality"]
    question: str
    anchors: dict[int, str]

    @field_validator("anchors")
    @classmethod
    def _five_anchors(cls, anchors: dict[int, str]) -> dict[int, str]:
        if list(anchors) != [1, 2, 3, 4, 5]:
            raise ValueError(f"must describe the grades 1, 2, 3, 4 and 5 in this order, not {', '.join(map(str, anchors))}")
        return anchors


class JudgePrompts(Record):
    """The prompts about one reply: they share all but their last part, so that what they share is computed once.

    Attributes:
        system: Instructions and all dimensions; the same for every reply.
        item: Post and reply between marks; the same for every dimension.
        questions: One short question a dimension, in the rubric's order.
    """

    system: str
    item: str
    questions: tuple[str, ...]


class Rubric(Record):
    """A rubric pack.

    Attributes:
        name: The file's name without its ending.
        instructions: Jinja template over `dimensions`.
        item: Jinja template over `post`, `reply` and `mark`.
        question: Jinja template over `dimension`; it stands last, so that all before it can be cached.
    """

    name: str
    version: int = Field(ge=1)
    instructions: str
    item: str
    question: str
    dimensions: tuple[Dimension, ...] = Field(min_length=1)

    @property
    def hash(self) -> str:
        """Hash of the whole pack."""
        return digest(self.model_dump(mode="json"))

    def prompts(self, post: str, reply: str) -> JudgePrompts:
        """Renders the prompts about one reply; see `prompter`."""
        return self.prompter()(post, reply)

    def prompter(self) -> Callable[[str, str], JudgePrompts]:
        """Renders what all prompts share, and returns what renders the prompts about one post and reply.

        The mark that fences post and reply is derived from the hash of both: prompts stay reproducible and cacheable, and no text
        can hold the mark that closes it. What a chat template would take for one of its own marks, such as `<|im_end|>`, is parted by a
        space, since back ends and servers read such marks in a message as the end of it.
        """
        system = fill(self.instructions, dimensions=self.dimensions)
        questions = tuple(fill(self.question, dimension=dimension) for dimension in self.dimensions)

        def prompts(post: str, reply: str) -> JudgePrompts:
            post, reply = part_template_marks(post), part_template_marks(reply)
            item = fill(self.item, post=post.strip(), reply=reply.strip(), mark=fence_mark(post, reply))
            return JudgePrompts(system=system, item=item, questions=questions)

        return prompts


@functools.cache
def rubrics() -> Mapping[str, Rubric]:
    """All rubric packs by name.

    Raises:
        DataError: A pack's file does not fit.
    """
    paths = sorted(Path(__file__).parent.glob("*.yaml"))
    return {path.stem: parse_record(Rubric, {"name": path.stem, **read_yaml(path)}, where=str(path)) for path in paths}


def select_rubric(name: str) -> Rubric:
    """The rubric pack of that name.

    Raises:
        CultureCareError: There is none.
    """
    if name not in rubrics():
        raise CultureCareError(f"unknown rubric {name!r}: choose from {', '.join(rubrics())}")
    return rubrics()[name]
