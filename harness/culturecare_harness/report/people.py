"""What the report takes from people's ratings: a `human score` result as JSON, of which it reads the fields below and no others.

It is the interface between the two stages: `human score` may say more, and what it says more is passed over here.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from culturecare import DataError, parse_record
from culturecare_harness.against_people import JudgeQuality
from culturecare_harness.agreement import FEWEST_CLUSTERS, Coefficient
from culturecare_harness.human.analysis import scores_path
from culturecare_harness.human.condition_scores import ConditionScore, WinRate, metric_names
from culturecare_harness.human.forms import Question
from culturecare_harness.human.judge_choice import JudgeChoice
from culturecare_harness.pairs import PEER
from culturecare_harness.records import Judge
from culturecare_harness.report.figures import interval, with_interval
from culturecare_harness.report.reading import read_json

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from culturecare_harness.agreement import CoefficientName

__all__ = ["NEARLY_ALL", "AnswerShare", "Follows", "JudgeAgainstPeople", "PeopleScores", "Rater", "read_people"]

NEARLY_ALL = 0.9
"""Share of equal answers from which raters' agreement may be read from Gwet's coefficients."""

_CORRECTED_FOR_CHANCE: tuple[CoefficientName, ...] = ("alpha_ordinal", "weighted_kappa", "alpha_nominal", "kappa")
_WHERE_NEARLY_ALL_ARE_EQUAL: tuple[CoefficientName, ...] = ("ac2", "ac1")


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


class Follows(NamedTuple):
    """What people's grades tell of a judge's.

    Attributes:
        shown: Whether the judge's are shown to follow people's: the interval of Spearman's correlation lies above 0.
        interval: That interval.
    """

    shown: bool
    interval: str


class JudgeAgainstPeople(_Part):
    """How well one judge agrees with the people.

    Attributes:
        judge: Name of the judge, or of the jury, to be shown; two judges may share it.
        identity: Which judge, and how it judged; null for a jury, which its name tells.
        metrics: One for each metric that both graded.
    """

    judge: str
    identity: Judge | None
    metrics: tuple[JudgeQuality, ...]

    def follows(self, metric: str) -> Follows | None:
        """Whether the judge's scores on a metric follow people's; null where the ratings don't tell."""
        found = next((one.spearman for one in self.metrics if one.metric == metric), None)
        if found is None or (found.low is None and not _is_perfect(found)):
            return None
        return Follows(_is_above_chance(found), interval(found.low, found.high))


class Rater(_Part):
    """A rater, of whom the report takes the name alone, so that it can leave it out.

    Attributes:
        rater: The name that the organiser gave.
    """

    rater: str


class PeopleScores(_Part):
    """The scores of one packet.

    Attributes:
        packet: Id of the packet.
        form: Name of the form: `annotator`, `psychologist` or another.
        questions: What was asked; empty where the result does not say it.
        conditions: Whose replies were rated: `model:strategy` or `peer`.
        cultures: Cultures with a rating that counts.
        replies: Ids of the models' replies that were rated; empty where the result does not say them.
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
        rater_quality: The raters, in the packet's order.
    """

    packet: str
    form: str
    questions: tuple[Question, ...] = ()
    conditions: tuple[str, ...]
    cultures: tuple[str, ...]
    replies: tuple[str, ...] = ()
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
    rater_quality: tuple[Rater, ...] = ()

    def name_of(self, metric: str) -> str:
        """What a metric is called in the form: a question, an answer to one, or a rubric's summary; its key where the form is not known."""
        return metric_names(self.questions).get(metric, metric)

    def share_of(self, question: str, value: int | str, about: str = "models") -> AnswerShare | None:
        """The share of one answer; null where the packet has none."""
        wanted = (question, str(value), about)
        return next((share for share in self.shares if (share.question, str(share.value), share.about) == wanted), None)

    def rated(self, conditions: Collection[str]) -> list[str]:
        """Those of the conditions whose replies people rated."""
        return [condition for condition in self.conditions if condition in conditions]

    def unreported(self, conditions: Collection[str]) -> list[str]:
        """Who wrote the rated replies of other conditions: models, and `model:strategy` where the model is among the conditions."""
        models = {_model(condition) for condition in conditions}
        others = [condition for condition in self.conditions if condition not in {*conditions, PEER}]
        return list(dict.fromkeys(condition if _model(condition) in models else _model(condition) for condition in others))

    def without_agreement(self, question: str) -> list[str]:
        """Why raters are not shown to agree on a question more than by chance; empty where they are.

        An alpha tells, or a kappa where there is none. Where nearly all answers are equal, both fall to 0 however well raters agree, or are
        not defined, and Gwet's coefficients tell. Elsewhere these do not: they are above 0 also for raters who answer independently of
        what they rate, unless all answers are equally frequent.
        """
        own = {one.name: one for one in self.agreement if one.metric == question}
        deciding = _first_known(own, _CORRECTED_FOR_CHANCE)
        if deciding is not None and _is_above_chance(deciding):
            return []
        unanimous = _first_known(own, _WHERE_NEARLY_ALL_ARE_EQUAL)
        if unanimous is not None and _is_above_chance(unanimous) and self._most_equal(question) >= NEARLY_ALL:
            return []
        if deciding is not None:
            found = f"{deciding.name.replace('_', ' ')} {with_interval(deciding.value, deciding.low, deciding.high)}"
            return [f"the raters are not shown to agree on it more than by chance ({found})"]
        why = next((one.reason for name, one in own.items() if name in _CORRECTED_FOR_CHANCE and one.reason), None)
        return ["the raters' agreement on it is not known" + (f" ({why})" if why else "")]

    def _most_equal(self, question: str) -> float:
        """Share of the answer that was given most often, of models' or of peers' replies, whichever is less."""
        by_answer: dict[int | str, list[float]] = defaultdict(list)
        for one in self.shares:
            if one.question == question and one.share is not None:
                by_answer[one.value].append(one.share)
        return max((min(shares) for shares in by_answer.values()), default=0.0)


def _model(condition: str) -> str:
    return condition.rpartition(":")[0]


def _first_known(own: Mapping[CoefficientName, Coefficient], names: Iterable[CoefficientName]) -> Coefficient | None:
    found = (own[name] for name in names if name in own)
    return next((one for one in found if one.low is not None or _is_perfect(one)), None)


def _is_perfect(one: Coefficient) -> bool:
    """Whether a coefficient is 1 on enough posts; it has no interval then."""
    return one.value is not None and one.value >= 1 - 1e-9 and one.clusters >= FEWEST_CLUSTERS


def _is_above_chance(one: Coefficient) -> bool:
    return _is_perfect(one) or (one.low is not None and one.low > 0)


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
