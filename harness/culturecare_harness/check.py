"""Checking a judge: how easily it is fooled, whether it tells good replies from bad ones, and whether it says the same twice.

All is measured on project-written posts and replies. A score here tells of the judge, never of a model under test.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import math
import random
import statistics
from collections import Counter
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from culturecare import CultureCareError, Record, dataset_revision, load_instances
from culturecare_harness.asking import read_grade
from culturecare_harness.attacks import material, select_attacks
from culturecare_harness.backends import open_backend
from culturecare_harness.dataset import interleave
from culturecare_harness.judge import JudgeItem, judge_replies
from culturecare_harness.judges import NO_MEASURE
from culturecare_harness.records import Hash, Judge, digest
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.scoring import metric_names, reply_metrics
from culturecare_harness.stats import LEVEL, mean_of_means_interval
from culturecare_harness.store import VerdictStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from culturecare import Instance
    from culturecare_harness.attacks import Attack
    from culturecare_harness.backends import Backend
    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.progress import Progress
    from culturecare_harness.records import Verdict

__all__ = [
    "AttackOutcome",
    "CheckReport",
    "Contest",
    "Effect",
    "LanguageOutcome",
    "Repetition",
    "Spread",
    "check_judge",
    "print_check",
]

RAISED = 0.5
"""An attack that raises the overall score by this much has succeeded: half a grade, more than most models differ by."""

_SUMMARIES = ("overall", "emotional", "cultural", "quality")
_DOUBLINGS = 3
_SAMPLES = 5  # Answers a question that a spread is taken from, at least.
_WORST = 5  # Attacks that are shown one by one.
_SAME = 1e-6  # Scores that differ by less are the same; floating-point sums may differ in the last digits.
_UNSPACED = ("ja", "zh")  # Languages written without spaces: characters are shuffled in place of words.

Probe = tuple[str, str]
"""A post's id and the text of a reply to it."""


class Effect(Record):
    """A mean over posts.

    Attributes:
        mean: Null where no post has a value.
        low: Lower end of the 95 % interval (Student t, posts being what varies); null with fewer than two posts.
        high: Upper end of the interval.
        n: Number of posts that have a value.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int = Field(ge=0)


class AttackOutcome(Record):
    """What an attack did to the grades of a bad reply.

    Attributes:
        tries: What the attack tries, in words.
        inflation: For each metric (`overall`, the groups, the dimensions) the score of the attacked reply minus that of the plain one.
        lost: Number of posts on which the plain reply has an overall score and the attacked one has none: the attack silenced the judge.
    """

    name: str
    family: str
    tries: str
    inflation: dict[str, Effect]
    lost: int = Field(ge=0)


class Contest(Record):
    """How often a good reply's overall score is above a worse one's. A tie is no win.

    Attributes:
        against: `dismissive`: the bad reply in the post's language. `shuffled`: the good reply with its words in random order.
        n: Number of posts on which both replies have a score.
        share: Wins over `n`; null where `n` is 0.
        low: Lower end of the share's 95 % interval (Wilson, 1927).
        high: Upper end of the interval.
        margin: Score of the good reply minus that of the other.
    """

    against: Literal["dismissive", "shuffled"]
    n: int = Field(ge=0)
    wins: int = Field(ge=0)
    ties: int = Field(ge=0)
    share: float | None = Field(ge=0, le=1)
    low: float | None = Field(ge=0, le=1)
    high: float | None = Field(ge=0, le=1)
    margin: Effect


class Repetition(Record):
    """Whether the same questions got the same grades twice.

    Attributes:
        n: Number of questions.
        same: Number of questions whose two scores are equal, or both missing.
        largest: Largest difference between two scores; null where no question has two.
    """

    n: int = Field(ge=0)
    same: int = Field(ge=0)
    largest: float | None = Field(ge=0, le=4)


class Spread(Record):
    """How far sampled answers to one question lie apart.

    Attributes:
        n: Number of questions with at least two grades.
        answers: Answers drawn for each.
        deviation: Standard deviation of a single answer, pooled over the questions; null where `n` is 0.
        error: Standard error of a verdict, which is the mean of as many answers as the judge draws.
    """

    n: int = Field(ge=0)
    answers: int = Field(ge=2)
    deviation: float | None = Field(ge=0)
    error: float | None = Field(ge=0)


class LanguageOutcome(Record):
    """What it does to the grades that a bad reply says the same in another language than the post's, which is English.

    Attributes:
        language: ISO 639-1 code of the reply.
        difference: For each metric the score of that reply minus that of the English one.
    """

    language: str
    difference: dict[str, Effect]


class CheckReport(Record):
    """What is known of a judge.

    Attributes:
        measure: Whether the judge's grades are meant to mean something.
        dataset_revision: Fingerprint of the split `sample`, from which the posts and the good replies are.
        attacks_hash: Hash of the attacks that were tried and of the bad replies: reports with equal hashes tried the same.
        posts: Ids of the posts on which attacks, length and language were tried.
        verdicts: Number of verdicts, repetitions left out.
        coverage: Share of them that have a score.
        reasons: Count of each reason for a missing score.
        digit_mass: Mean share of the probability that the five grades held (mode `logprob`), else null.
        plain: Scores of the plain bad reply, by metric.
        attacks: One outcome an attack, in the order of the files.
        inflation: Inflation of the overall score over all attacks. A post's value is its mean over the attacks.
        raised: Share of the attacks whose mean inflation of the overall score is at least `RAISED`; null where none has a value.
        contests: Good replies against worse ones.
        repeated: The same questions asked twice in the same order; null in mode `sampled`.
        reordered: The same questions asked in two orders of the replies; null in mode `sampled`, where chance would show as order.
        spread: Null but in mode `sampled`.
        length: For each metric the change of a bad reply's score with each doubling of its length by neutral sentences.
        languages: Outcome of each other language.
        notes: Sentences that must be read with the numbers.
    """

    schema_version: Literal[1] = 1
    created: dt.datetime
    judge: Judge
    measure: bool
    dataset_revision: Hash
    attacks_hash: Hash
    posts: tuple[str, ...]
    verdicts: int = Field(ge=1)
    coverage: float = Field(ge=0, le=1)
    reasons: dict[str, int]
    digit_mass: float | None
    plain: dict[str, Effect]
    attacks: tuple[AttackOutcome, ...]
    inflation: Effect
    raised: float | None = Field(ge=0, le=1)
    contests: tuple[Contest, ...]
    repeated: Repetition | None
    reordered: Repetition | None
    spread: Spread | None
    length: dict[str, Effect]
    languages: tuple[LanguageOutcome, ...]
    notes: tuple[str, ...]


def check_judge(
    judge: JudgeFile,
    store: VerdictStore,
    progress: Progress,
    *,
    items: int = 4,
    pairs: int | None = None,
    attacks: str | Iterable[str] = "all",
    backend: Callable[[JudgeFile], Backend] = open_backend,
    retry_failed: bool = False,
) -> CheckReport:
    """Measures a judge on project-written posts.

    Args:
        judge: The judge.
        store: Where answers are looked up and kept, so that a second check asks nothing but the repetitions, which must be new.
        progress: Told how it gets on.
        items: Number of posts, all of them English, on which attacks, repetition, length and language are tried.
        pairs: Number of posts on which a good reply stands against worse ones; null for the whole sample.
        attacks: Names of attacks or of their families.
        backend: Opens the judge's model.
        retry_failed: Whether verdicts that the store has without a score are asked for again.

    Raises:
        CultureCareError: There are fewer posts than asked for, an attack is unknown, or the judge cannot go on; what was answered by then
            is kept.
    """
    sample = interleave(load_instances("sample"))
    posts = _first([instance for instance in sample if instance.language == "en"], items, "items")
    against = sample if pairs is None else _first(sample, pairs, "pairs")
    plan = _Plan(judge, posts, against, select_attacks(attacks))

    @functools.cache
    def opened() -> Backend:
        return backend(judge)

    ask = _Asking(judge, progress, lambda _: opened(), plan)
    verdicts = ask(plan.probes, store, retry_failed=retry_failed)
    repeated = reordered = spread = None
    if judge.mode == "sampled":
        answers = max(judge.samples, _SAMPLES)
        spread = _spread(ask(plan.repeated, store, samples=answers), answers, judge.samples)
    else:
        again = ask(plan.repeated, VerdictStore(None))
        repeated = _repetition(verdicts, again)
        reordered = _repetition(again, ask(dict(reversed(plan.repeated.items())), VerdictStore(None)))
    return _report(judge, plan, verdicts, repeated=repeated, reordered=reordered, spread=spread)


def _first(instances: list[Instance], number: int, option: str) -> list[Instance]:
    if not 1 <= number <= len(instances):
        raise CultureCareError(f"{option} {number}: must be from 1 to {len(instances)}, the number of posts that the sample has for it")
    return instances[:number]


# --- What is asked ---------------------------------------------------------------------------------------------------------------


class _Plan:
    """All replies that are to be judged. One that several measures need is judged once."""

    def __init__(self, judge: JudgeFile, posts: Sequence[Instance], against: Sequence[Instance], attacks: Sequence[Attack]) -> None:
        rubric = select_rubric(judge.rubric)
        self.posts, self.against, self.attacks = posts, against, attacks
        self.probes: dict[Probe, JudgeItem] = {}
        bad, languages = material().dismissive["en"], material().dismissive
        self.plain = {post.id: self._add(post, bad) for post in posts}
        self.attacked = {
            (attack.name, post.id): self._add(post, attack.apply(post.post_text, bad, rubric)) for attack in attacks for post in posts
        }
        self.padded = {post.id: [self._add(post, text) for text in _padded(bad, material().neutral)] for post in posts}
        self.translated = {(key, post.id): self._add(post, text) for key, text in languages.items() if key != "en" for post in posts}
        self.good = {post.id: self._add(post, post.response_text) for post in against}
        self.worse = {
            "dismissive": {post.id: self._add(post, languages.get(post.language or "en", bad)) for post in against},
            "shuffled": {post.id: self._add(post, _shuffled(post)) for post in against},
        }
        replies = [probe for post in posts for probe in (self.plain[post.id], self._add(post, post.response_text))]
        self.repeated = {probe: self.probes[probe] for probe in replies}

    def _add(self, post: Instance, reply: str) -> Probe:
        probe = (post.id, reply)
        self.probes[probe] = JudgeItem(reply_id=digest(probe), post=post.post_text, reply=reply)
        return probe


def _padded(reply: str, neutral: Sequence[str]) -> list[str]:
    """The reply, and the reply with neutral sentences behind it, until it has twice, four times and eight times its length."""
    texts = [reply]
    sentences = itertools.cycle(neutral)
    for doubling in range(1, _DOUBLINGS + 1):
        text = texts[-1]
        while len(text) < len(reply) * 2**doubling:
            text = f"{text} {next(sentences)}"
        texts.append(text)
    return texts


def _shuffled(post: Instance) -> str:
    unspaced = post.language in _UNSPACED
    units = list(post.response_text) if unspaced else post.response_text.split()
    random.Random(post.id).shuffle(units)  # noqa: S311 - an order, no secret.
    return ("" if unspaced else " ").join(units)


class _Asking:
    """Asks the judge, and counts over several rounds how far the whole check has come."""

    def __init__(self, judge: JudgeFile, progress: Progress, backend: Callable[[JudgeFile], Backend], plan: _Plan) -> None:
        self._judge, self._progress, self._backend = judge, progress, backend
        self._size = len(select_rubric(judge.rubric).dimensions)
        rounds = 1 if judge.mode == "sampled" else 2
        self._finished, self._total = 0, (len(plan.probes) + rounds * len(plan.repeated)) * self._size
        progress.say(f"Checking {judge.name} ({judge.mode}): {len(plan.attacks)} attacks, {self._total} verdicts.")

    def __call__(
        self, probes: Mapping[Probe, JudgeItem], store: VerdictStore, *, samples: int | None = None, retry_failed: bool = False
    ) -> dict[Probe, list[Verdict]]:
        """The verdicts on each probe, one a dimension."""
        judge = self._judge if samples is None else self._judge.model_copy(update={"samples": samples})
        verdicts = judge_replies(
            probes.values(), judge, store=store, backend=self._backend, advance=self._advance, retry_failed=retry_failed
        )
        starts = range(0, len(verdicts), self._size)
        return {probe: verdicts[start : start + self._size] for probe, start in zip(probes, starts, strict=True)}

    def _advance(self, number: int) -> None:
        self._finished += number
        self._progress.advance(self._finished, self._total)


# --- What it comes to ------------------------------------------------------------------------------------------------------------


def _report(
    judge: JudgeFile,
    plan: _Plan,
    verdicts: Mapping[Probe, Sequence[Verdict]],
    *,
    repeated: Repetition | None,
    reordered: Repetition | None,
    spread: Spread | None,
) -> CheckReport:
    metrics = [metric for metric in metric_names(judge.rubric) if metric not in metric_names(None)]
    # Without text: the metrics that describe it are not wanted here.
    scores = {probe: reply_metrics("", None, of_probe) for probe, of_probe in verdicts.items()}
    ids = [post.id for post in plan.posts]

    def differences(probes: Mapping[str, Probe], metric: str) -> list[float | None]:
        return [_minus(scores[probes[post]][metric], scores[plan.plain[post]][metric]) for post in ids]

    outcomes, of_attacks = [], []
    for attack in plan.attacks:
        probes = {post: plan.attacked[attack.name, post] for post in ids}
        of_attacks.append(differences(probes, "overall"))
        lost = sum(scores[plan.plain[post]]["overall"] is not None and scores[probes[post]]["overall"] is None for post in ids)
        inflation = {metric: _effect(differences(probes, metric)) for metric in metrics}
        outcomes.append(AttackOutcome(name=attack.name, family=attack.family, tries=attack.tries, inflation=inflation, lost=lost))
    means = [mean for outcome in outcomes if (mean := outcome.inflation["overall"].mean) is not None]
    plain = {metric: _effect([scores[plan.plain[post]][metric] for post in ids]) for metric in metrics}
    given = [verdict for of_probe in verdicts.values() for verdict in of_probe]
    masses = [verdict.digit_mass for verdict in given if verdict.digit_mass is not None]
    return CheckReport(
        created=dt.datetime.now(dt.UTC).replace(microsecond=0),
        judge=judge.judge,
        measure=judge.measure,
        dataset_revision=dataset_revision("sample"),
        attacks_hash=digest([[attack.model_dump() for attack in plan.attacks], material().model_dump()]),
        posts=tuple(ids),
        verdicts=len(given),
        coverage=sum(verdict.score is not None for verdict in given) / len(given),
        # A reason may quote an answer after its colon: the count keeps the kind alone.
        reasons=dict(Counter(verdict.reason.partition(":")[0] for verdict in given if verdict.reason is not None)),
        digit_mass=statistics.fmean(masses) if masses else None,
        plain=plain,
        attacks=tuple(outcomes),
        inflation=_effect([_mean(of_post) for of_post in zip(*of_attacks, strict=True)]),
        raised=sum(mean >= RAISED for mean in means) / len(means) if means else None,
        contests=tuple(_contest(kind, plan, scores) for kind in ("dismissive", "shuffled")),
        repeated=repeated,
        reordered=reordered,
        spread=spread,
        length={
            metric: _effect([_slope([(len(probe[1]), scores[probe][metric]) for probe in plan.padded[post]]) for post in ids])
            for metric in metrics
        },
        languages=tuple(
            LanguageOutcome(
                language=language,
                difference={
                    metric: _effect(differences({post: plan.translated[language, post] for post in ids}, metric)) for metric in metrics
                },
            )
            for language in material().dismissive
            if language != "en"
        ),
        notes=tuple(_notes(judge, plan, plain["overall"])),
    )


def _notes(judge: JudgeFile, plan: _Plan, plain: Effect) -> list[str]:
    notes = []
    if not judge.measure:
        notes.append(f"The judge {judge.name!r} {NO_MEASURE}: its grades are no measure, and neither is this check of them.")
    if plain.mean is not None and plain.mean + RAISED > 5:
        notes.append(f"The plain bad reply scores {plain.mean:.2f} already, so that no attack has room to raise it by {RAISED:g}.")
    if len(plan.posts) == 1:
        notes.append("A single post tells nothing of the spread over posts: its means have no interval.")
    if judge.mode == "sampled":
        notes.append("Repetition and order were not tested: in mode 'sampled' they cannot be told from chance.")
    notes.append("Each dimension is asked in a prompt of its own, so that the order of the dimensions cannot change a grade.")
    notes.append("Posts and replies were written for this project; the judge is checked on them alone.")
    return notes


def _minus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if present else None


def _effect(values: Iterable[float | None]) -> Effect:
    present = [value for value in values if value is not None]
    low, high = mean_of_means_interval([present]) or (None, None)
    return Effect(mean=_mean(present), low=low, high=high, n=len(present))


def _slope(points: Sequence[tuple[int, float | None]]) -> float | None:
    """Least-squares slope of the score on the binary logarithm of the length; null where a score is missing."""
    scores = [score for _, score in points if score is not None]
    if len(scores) < len(points):
        return None
    return statistics.linear_regression([math.log2(length) for length, _ in points], scores).slope


def _contest(against: Literal["dismissive", "shuffled"], plan: _Plan, scores: Mapping[Probe, Mapping[str, float | None]]) -> Contest:
    from scipy.stats import binomtest

    both = [_minus(scores[plan.good[post.id]]["overall"], scores[plan.worse[against][post.id]]["overall"]) for post in plan.against]
    margins = [margin for margin in both if margin is not None]
    ties = sum(abs(margin) < _SAME for margin in margins)
    wins = sum(margin >= _SAME for margin in margins)
    interval = binomtest(wins, len(margins)).proportion_ci(LEVEL, method="wilson") if margins else None
    return Contest(
        against=against,
        n=len(margins),
        wins=wins,
        ties=ties,
        share=wins / len(margins) if margins else None,
        # Rounding may carry an end past 0 or 1.
        low=None if interval is None else max(0.0, float(interval.low)),
        high=None if interval is None else min(1.0, float(interval.high)),
        margin=_effect(margins),
    )


def _repetition(first: Mapping[Probe, Sequence[Verdict]], second: Mapping[Probe, Sequence[Verdict]]) -> Repetition:
    """Compares the verdicts on what stands in `second`."""
    scores = [(one.score, other.score) for probe, verdicts in second.items() for one, other in zip(first[probe], verdicts, strict=True)]
    differences = [abs(difference) for pair in scores if (difference := _minus(*pair)) is not None]
    return Repetition(
        n=len(scores),
        same=sum(difference < _SAME for difference in differences) + scores.count((None, None)),
        largest=max(differences, default=None),
    )


def _spread(verdicts: Mapping[Probe, Sequence[Verdict]], answers: int, samples: int) -> Spread:
    """Pools the variances within questions; an answer that could not be read leaves its question fewer grades."""
    read = [
        [grade for answer in verdict.answers or () if (grade := read_grade(answer)[0]) is not None]
        for verdict in itertools.chain.from_iterable(verdicts.values())
    ]
    several = [grades for grades in read if len(grades) > 1]
    freedom = sum(len(grades) - 1 for grades in several)
    squares = sum(statistics.variance(grades) * (len(grades) - 1) for grades in several)
    deviation = math.sqrt(squares / freedom) if several else None
    error = None if deviation is None else deviation / math.sqrt(samples)
    return Spread(n=len(several), answers=answers, deviation=deviation, error=error)


# --- Showing it ------------------------------------------------------------------------------------------------------------------


def print_check(report: CheckReport, console: Console) -> None:
    """Prints a check: a table with one row a family of attacks, and a line for each other measure."""
    judge = report.judge
    title = f"\nCheck of judge {judge.name} ({judge.model}, {judge.mode}, rubric {judge.rubric} {judge.prompt_hash})"
    console.print(title, highlight=False, markup=False, style="bold")
    if not report.measure:
        console.print(f"NOT A MEASURE: this judge {NO_MEASURE} (measure: false).", highlight=False, style="bold red")
    console.print(_family_table(report))
    for line in itertools.chain(_attack_lines(report), _contest_lines(report), _repetition_lines(report), _other_lines(report)):
        # What a judge answered may look like markup.
        console.print(line, highlight=False, markup=False)
    for note in report.notes:
        console.print(f"Note: {note}", highlight=False, markup=False)


def _family_table(report: CheckReport) -> Table:
    from rich.table import Table

    table = Table(header_style="bold")
    for name in ("family", "attacks", "mean inflation", "worst attack", "its inflation"):
        table.add_column(name, justify="left" if name in ("family", "worst attack") else "right")
    for family in dict.fromkeys(outcome.family for outcome in report.attacks):
        outcomes = [outcome for outcome in report.attacks if outcome.family == family]
        ranked = _ranked(outcomes)
        mean = _mean(outcome.inflation["overall"].mean for outcome in outcomes)
        worst = (ranked[0].name, _signed(ranked[0].inflation["overall"])) if ranked else ("–", "–")
        table.add_row(family, str(len(outcomes)), "–" if mean is None else f"{mean:+.2f}", *worst)
    return table


def _attack_lines(report: CheckReport) -> Iterator[str]:
    raised = "" if report.raised is None else f" {100 * report.raised:.0f} % of the attacks raise it by {RAISED:g} or more."
    yield (
        f"Inflation of the overall score over {len(report.attacks)} attacks: {_signed(report.inflation)}; "
        f"the plain bad reply scores {_shown(report.plain['overall'])}.{raised}"
    )
    ranked = [outcome for outcome in _ranked(report.attacks) if (outcome.inflation["overall"].mean or 0) >= _SAME]
    for place, outcome in enumerate(ranked[:_WORST], 1):
        yield f"Worst attack {place}: {_described(outcome)}."
    if lost := [outcome.name for outcome in report.attacks if outcome.lost]:
        yield f"Attacks that left the judge without a score: {', '.join(lost)}."


def _contest_lines(report: CheckReport) -> Iterator[str]:
    for contest in report.contests:
        other = {"dismissive": "a dismissive one", "shuffled": "itself with its words shuffled"}[contest.against]
        interval = "" if contest.low is None or contest.high is None else f" [{contest.low:.2f}, {contest.high:.2f}]"
        share = "–" if contest.share is None else f"{contest.share:.2f}{interval}"
        yield (
            f"A good reply beats {other}: {contest.wins} of {contest.n} times ({contest.ties} ties), share {share}, "
            f"margin {_signed(contest.margin)}."
        )


def _repetition_lines(report: CheckReport) -> Iterator[str]:
    repetitions = (("Asked twice", report.repeated), ("Asked in another order of the replies", report.reordered))
    for what, repetition in repetitions:
        if repetition is not None:
            largest = "" if repetition.largest is None else f", largest difference {repetition.largest:.3g}"
            yield f"{what}: {repetition.same} of {repetition.n} grades the same{largest}."
    if (spread := report.spread) is not None:
        yield (
            f"Spread of sampled answers: no question has two that can be read, of {spread.answers} drawn."
            if spread.deviation is None
            else f"Spread of sampled answers: standard deviation {spread.deviation:.2f} within a question ({spread.n} questions, "
            f"{spread.answers} answers each), standard error of a verdict {spread.error:.2f}."
        )


def _other_lines(report: CheckReport) -> Iterator[str]:
    effects = {"Length: each doubling by neutral sentences changes a bad reply's": report.length}
    for outcome in report.languages:
        effects[f"Language: to an English post, saying the same in {outcome.language} changes a bad reply's"] = outcome.difference
    for what, effect in effects.items():
        yield f"{what} overall score by {_signed(effect['overall'])}, its quality by {_signed(effect['quality'])}."
    missing = ", ".join(f"{reason} ({count})" for reason, count in report.reasons.items())
    yield (
        f"Coverage {report.coverage:.3f} of {report.verdicts} verdicts."
        + (f" Without a score: {missing}." if missing else "")
        + ("" if report.digit_mass is None else f" The five grades held {report.digit_mass:.2f} of the probability.")
    )


def _ranked(outcomes: Iterable[AttackOutcome]) -> list[AttackOutcome]:
    """Attacks whose inflation is known, the worst first."""
    known = [(mean, outcome) for outcome in outcomes if (mean := outcome.inflation["overall"].mean) is not None]
    return [outcome for _, outcome in sorted(known, key=lambda pair: -pair[0])]


def _described(outcome: AttackOutcome) -> str:
    dimensions = {
        metric: effect.mean for metric, effect in outcome.inflation.items() if metric not in _SUMMARIES and effect.mean is not None
    }
    most = max(dimensions, key=lambda metric: dimensions[metric])
    return f"{outcome.name} ({outcome.tries}) {_signed(outcome.inflation['overall'])}, most in {most} ({dimensions[most]:+.2f})"


def _shown(effect: Effect) -> str:
    return "–" if effect.mean is None else f"{effect.mean:.2f}{_interval(effect, '.2f')}"


def _signed(effect: Effect) -> str:
    return "–" if effect.mean is None else f"{effect.mean:+.2f}{_interval(effect, '+.2f')}"


def _interval(effect: Effect, form: str) -> str:
    return "" if effect.low is None or effect.high is None else f" [{effect.low:{form}}, {effect.high:{form}}]"
