"""What the report takes from people's ratings: a `human score` result as JSON, of which it reads the fields below and no others.

It is the interface between the two stages: `human score` may say more, and what it says more is passed over here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from culturecare import DataError, parse_record
from culturecare_harness.against_people import JudgeQuality
from culturecare_harness.agreement import Coefficient
from culturecare_harness.human.analysis import scores_path
from culturecare_harness.human.condition_scores import ConditionScore, WinRate, metric_names
from culturecare_harness.human.forms import Question
from culturecare_harness.human.judge_choice import JudgeChoice
from culturecare_harness.report.reading import read_json

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["AnswerShare", "JudgeAgainstPeople", "PeopleScores", "read_people"]


class _Part(BaseModel):
    """A part of a longer record."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class AnswerShare(_Part):
    """How often people gave one answer to a question of the form.

    Attributes:
        question: Key of the question.
        value: Which answer.
        about: Whose replies: the models' or the peers'.
        share: In [0, 1]: mean over the cultures of the mean over items; null where there is none.
        low: Lower end of its 95 % interval, over items.
        high: Upper end of the interval.
        items: Number of items with an answer.
    """

    question: str
    value: int | str
    about: Literal["models", "peers"]
    share: float | None = Field(ge=0, le=1)
    low: float | None = Field(ge=0, le=1)
    high: float | None = Field(ge=0, le=1)
    items: int = Field(ge=0)


class JudgeAgainstPeople(_Part):
    """How well one judge agrees with the people.

    Attributes:
        judge: Name of the judge, or of the jury.
        metrics: One for each metric that both graded.
    """

    judge: str
    metrics: tuple[JudgeQuality, ...]


class PeopleScores(_Part):
    """The scores of one packet.

    Attributes:
        packet: Id of the packet.
        form: Name of the form: `annotator`, `psychologist` or another.
        questions: What was asked; empty where the result does not say it.
        raters: Number of raters whose ratings count.
        items: Number of items with a rating.
        split: Split of the posts, null where it is not said.
        dataset_revision: Fingerprint of the split.
        excerpt: Whether the raters saw posts as their annotated phrases alone.
        agreement: Of the raters among themselves, for each question the coefficients that fit it.
        judges: Agreement of each judge with the people.
        shares: Shares of the answers, where a question has answers in words or on a scale.
        scores: Mean grades of each condition: a model's strategy, or the peer.
        wins: How often each condition was preferred to the peer.
        choices: Which judge to use, for each culture and over all.
        notes: Sentences that must be read with the numbers.
    """

    packet: str
    form: str
    questions: tuple[Question, ...] = ()
    raters: int = Field(ge=0)
    items: int = Field(ge=0)
    split: str | None = None
    dataset_revision: str | None = None
    excerpt: bool | None = None
    agreement: tuple[Coefficient, ...] = ()
    judges: tuple[JudgeAgainstPeople, ...] = ()
    shares: tuple[AnswerShare, ...] = ()
    scores: tuple[ConditionScore, ...] = ()
    wins: tuple[WinRate, ...] = ()
    choices: tuple[JudgeChoice, ...] = ()
    notes: tuple[str, ...] = ()

    def name_of(self, metric: str) -> str:
        """What a metric is called in the form: a question, an answer to one, or a rubric's summary; its key where the form is not known."""
        return metric_names(self.questions).get(metric, metric)

    def share_of(self, question: str, value: int | str, about: str = "models") -> AnswerShare | None:
        """The share of one answer; null where the packet has none."""
        wanted = (question, str(value), about)
        return next((share for share in self.shares if (share.question, str(share.value), share.about) == wanted), None)


def read_people(path: Path) -> PeopleScores:
    """Reads a `human score` result.

    Args:
        path: The result, or the packet's folder, beside which `human score` puts it.

    Raises:
        DataError: The file is not there, is no JSON, or lacks a field.
    """
    what = "a result of `culturecare human score`"
    if path.is_dir():
        beside = scores_path(path)
        if not beside.is_file():
            raise DataError(f"{path}: is a folder; name {what}, such as the {beside.name} that `culturecare human score {path}` writes")
        path = beside
    return parse_record(PeopleScores, read_json(path, what), where=str(path))
