"""What a model is trained on: a prompt with the reply to be learnt, or with two replies of which one is preferred.

Files of these are JSON Lines that a person can read: the prompt stands in them as the model will see it, before its chat template.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import Field, StringConstraints, model_validator

from culturecare import Record, Training
from culturecare_harness.records import Hash, digest

__all__ = ["Example", "Preference", "Written", "example_id"]

E = TypeVar("E", bound="_Asked")

_Text = Annotated[str, StringConstraints(pattern=r"\S")]

SCHEMA_VERSION: Literal[1] = 1
"""Version of the records below; raised whenever a field changes its name or meaning."""


class Written(Record):
    """Who wrote a reply that a model is to learn from, where it was a model.

    Attributes:
        model: Name of the model.
        strategy: Strategy that it was asked by.
        judge: Name of the judge that graded the reply.
        emotional: Mean of the judge's emotional dimensions, in [1, 5].
        cultural: Mean of the judge's cultural dimensions, in [1, 5].
    """

    model: str
    strategy: str
    judge: str
    emotional: float = Field(ge=1, le=5)
    cultural: float = Field(ge=1, le=5)


class _Asked(Record):
    """What examples and preferences share: a prompt, and the post behind it.

    Attributes:
        id: `example_id` of what the model sees and learns.
        instance_id: Instance that the post belongs to; examples are split by it.
        synthetic: Whether the post was written for a dataset and tells of no real person.
        training: Whether a model may be trained on it without a written arrangement.
        licence: Licence of post and reply, as its owner names it.
        strategy: Strategy that made the prompt.
        post: The post alone, for the leak check.
        system: System message; empty for none.
        user: User message.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    id: Hash
    instance_id: str = Field(min_length=1)
    culture: str
    language: str | None
    synthetic: bool
    training: Training
    licence: str = Field(min_length=1)
    strategy: str
    prompt_hash: Hash
    post: str = Field(min_length=1)
    system: str
    user: str = Field(min_length=1)


class Example(_Asked):
    """A prompt and the reply to be learnt.

    Attributes:
        reply: The reply.
        written: The model that wrote it; null for a person's.
    """

    reply: _Text
    written: Written | None

    @model_validator(mode="after")
    def _id_fits(self) -> Example:
        return _checked(self, self.reply)


class Preference(_Asked):
    """A prompt and two replies, of which the first is preferred.

    Attributes:
        chosen: The reply that a judge graded higher.
        rejected: The other one.
        chosen_by: The model that wrote the chosen reply, with its grades.
        rejected_by: The model that wrote the other.
    """

    chosen: _Text
    rejected: _Text
    chosen_by: Written
    rejected_by: Written

    @model_validator(mode="after")
    def _replies_differ_and_id_fits(self) -> Preference:
        if self.chosen.strip() == self.rejected.strip():
            raise ValueError("chosen and rejected are the same words, so that there is nothing to prefer")
        return _checked(self, self.chosen, self.rejected)


def example_id(system: str, user: str, *replies: str) -> str:
    """Identifies an example by what the model sees and learns, so that the same one is known wherever it comes from."""
    return digest([system, user, *replies])


def _checked(example: E, *replies: str) -> E:
    expected = example_id(example.system, example.user, *replies)
    if example.id != expected:
        raise ValueError(f"id {example.id} does not belong to this example, whose id is {expected}: it was changed after it was made")
    return example
