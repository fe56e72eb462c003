"""Planning a study with people: how many posts and raters it takes to see a difference, and how well agreement will be known.

The model of a grade is mean + post + reply + rater + residual (+ the difference, for one of the two conditions compared), each of them
normal and independent, rounded to a grade and cut off at the ends of the scale. The two conditions reply to the same posts, so that the
post drops out of their comparison; and the rater too, where the same raters grade both.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from culturecare import CultureCareError, Record
from culturecare_harness.agreement import FEWEST_CLUSTERS, agreement_coefficients
from culturecare_harness.records import SCHEMA_VERSION
from culturecare_harness.significance import detectable, power_of_t
from culturecare_harness.stats import LEVEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from culturecare_harness.against_people import PersonGrade

__all__ = [
    "ASSUMED",
    "MOST_POSTS",
    "Design",
    "ExpectedAgreement",
    "Plan",
    "Spread",
    "analytic_power",
    "comparisons_of",
    "plan_study",
    "render_plan",
    "spread_of",
]

MOST_POSTS = 2000
"""Most posts a culture that a plan looks at."""

_SEED = 1234
_GRADES = (1, 2, 3, 4, 5)
_AGREEMENT_STUDIES = 40
_ROUNDING = 1 / 12
"""Variance that rounding to whole grades adds (Sheppard, 1898)."""


# --- Records ---------------------------------------------------------------------------------------------------------------------


class Spread(Record):
    """Standard deviations of what makes up a grade, in grades.

    Attributes:
        post: Of the posts: some get better replies than others from everyone.
        reply: Of a reply about its post's and its condition's mean.
        rater: Of the raters: some grade more strictly than others.
        residual: Of one rater's grade of one reply about all this.
        source: Where the numbers come from.
    """

    post: float = Field(ge=0, le=4)
    reply: float = Field(ge=0, le=4)
    rater: float = Field(ge=0, le=4)
    residual: float = Field(ge=0, le=4)
    source: str


ASSUMED = Spread(post=0.5, reply=0.6, rater=0.4, residual=0.7, source="assumed, not measured")
"""Where no earlier study tells better: a grade varies by 1.1 in all, and two raters' grades correlate by half (0.48)."""


class Design(Record):
    """A study that is planned.

    Attributes:
        cultures: Number of cultures; scores are means over them.
        posts: Posts a culture.
        replies: Replies a post, each by another condition.
        raters: Raters of each reply.
        difference: True difference between two conditions that the study is to find, in grades.
        mean: Mean grade of the lower condition.
        same_raters: Whether the same raters grade both replies of a comparison.
        models: Models that the replies are of, each by the same strategies; a reply beyond them is the peer's.
        metrics: Number of metrics that conditions are compared on: the annotator's form has four, a rubric's summaries.
        family: Number of comparisons that Holm's method corrects for; by default those that `human score` makes of such a study: on each
            metric the pairs of conditions that share the model or the strategy, and each condition with the peer.
        level: Chance of a false alarm in the whole family.
        power: Wanted chance of finding the difference.
        spread: What grades vary by.
    """

    cultures: int = Field(default=4, ge=1, le=100)
    posts: int = Field(ge=2, le=MOST_POSTS)
    replies: int = Field(default=2, ge=2, le=100)
    raters: int = Field(default=3, ge=1, le=100)
    difference: float = Field(gt=0, le=4)
    mean: float = Field(default=3.0, ge=1, le=5)
    same_raters: bool = True
    models: int = Field(default=1, ge=1, le=100)
    metrics: int = Field(default=4, ge=1, le=100)
    family: int = Field(ge=1, le=100_000)
    level: float = Field(default=1 - LEVEL, gt=0, lt=0.5)
    power: float = Field(default=0.8, gt=0.5, lt=1)
    spread: Spread = ASSUMED

    @model_validator(mode="before")
    @classmethod
    def _family_by_default(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("family") is None:
            numbers = [fields.get(name, cls.model_fields[name].default) for name in ("replies", "models", "metrics")]
            return fields | {"family": comparisons_of(*numbers) if all(isinstance(number, int) for number in numbers) else 1}
        return fields

    @model_validator(mode="after")
    def _fits_the_models(self) -> Design:
        if self.replies < self.models or self.replies % self.models > 1:
            raise ValueError(
                f"{self.replies} replies are not those of {self.models} models by the same strategies, with or without one more by the peer"
            )
        return self

    @model_validator(mode="after")
    def _fits_the_scale(self) -> Design:
        if self.mean + self.difference > 5:
            raise ValueError(f"a mean of {self.mean:g} and a difference of {self.difference:g} leave the scale, which ends at 5")
        if not self.spread.reply and not self.spread.residual:
            raise ValueError("spread: reply and residual are both 0, so that nothing varies and one post tells all")
        return self


def comparisons_of(replies: int, models: int = 1, metrics: int = 4) -> int:
    """Number of comparisons that `human score` makes of a study, at least 1.

    Args:
        replies: Replies a post, each by another condition.
        models: Models that they are of, each by the same strategies; one reply beyond them is the peer's.
        metrics: Number of metrics that conditions are compared on.
    """
    strategies, peer = divmod(replies, max(models, 1))
    if models <= 1:
        return max(1, math.comb(max(replies, 0), 2) * metrics)
    return max(1, (models * math.comb(strategies, 2) + strategies * math.comb(models, 2) + peer * models * strategies) * metrics)


class ExpectedAgreement(Record):
    """How well a coefficient of agreement will be known, in one culture.

    Attributes:
        name: Which coefficient.
        value: Its mean over simulated studies; null where no study had one.
        width: Mean width of its 95 % interval; null where too few instances or raters give none.
        studies: Number of simulated studies that had an interval.
    """

    name: Literal["alpha_ordinal", "weighted_kappa", "ac2"]
    value: float | None
    width: float | None
    studies: int


class Plan(Record):
    """What a planned study could find.

    Attributes:
        simulations: Number of simulated studies.
        seed: Of the random numbers.
        power: Share of simulated studies that find the difference at `level` over `family`, the first and strictest step of Holm's method.
        power_error: Monte Carlo standard error of `power`.
        power_analytic: The same from the noncentral t distribution, which knows no ends of the scale.
        difference_seen: Difference of the graded means, which the ends of the scale make smaller than the true one.
        detectable: Smallest true difference that would be found with the wanted power, from the noncentral t distribution.
        posts_needed: Fewest posts a culture that give the wanted power by simulation, to within 1 %; null where that takes more than
            `MOST_POSTS`.
        agreement: What coefficients of agreement would be known to.
        notes: Sentences that must be read with the numbers.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    design: Design
    simulations: int
    seed: int
    power: float = Field(ge=0, le=1)
    power_error: float = Field(ge=0)
    power_analytic: float = Field(ge=0, le=1)
    difference_seen: float
    detectable: float
    posts_needed: int | None
    agreement: tuple[ExpectedAgreement, ...]
    notes: tuple[str, ...]


# --- Power -----------------------------------------------------------------------------------------------------------------------


def plan_study(design: Design, *, simulations: int = 2000, seed: int = _SEED) -> Plan:
    """Simulates a planned study many times over, and says what it could find.

    Args:
        design: The study.
        simulations: Number of simulated studies; at 2,000 a power of 0.8 has a Monte Carlo standard error of 0.009.
        seed: Of the random numbers.

    Raises:
        CultureCareError: There are fewer than 100 simulations.
    """
    if simulations < 100:
        raise CultureCareError(f"simulations: {simulations}, but power from fewer than 100 is known to no better than 0.05")
    power, seen = _simulated_power(design, design.posts, simulations, seed)
    error, freedom = _analytic_error(design, design.posts)
    needed = _posts_needed(design, simulations, seed)
    return Plan(
        design=design,
        simulations=simulations,
        seed=seed,
        power=power,
        power_error=math.sqrt(power * (1 - power) / simulations),
        power_analytic=analytic_power(design),
        difference_seen=seen,
        detectable=detectable(error, freedom, power=design.power, family=design.family, level=design.level),
        posts_needed=needed,
        agreement=_expected_agreement(design, seed),
        notes=tuple(_notes(design, seen, needed)),
    )


def _analytic_error(design: Design, posts: int) -> tuple[float, float]:
    """Standard error of the difference and its degrees of freedom, by the model without the ends of the scale."""
    spread = design.spread
    of_grade = spread.residual**2 + _ROUNDING + (0.0 if design.same_raters else spread.rater**2)
    variance = 2 * (spread.reply**2 + of_grade / design.raters)
    return math.sqrt(variance / (posts * design.cultures)), design.cultures * (posts - 1)


def analytic_power(design: Design, posts: int | None = None) -> float:
    """Power of the paired t test from the noncentral t distribution (`significance.power_of_t`).

    The standard error is the square root of 2 (reply² + (residual² + 1/12) / raters) / (posts × cultures), the twelfth being what rounding
    to whole grades adds; and rater² beside residual² where the two replies have different raters.

    Args:
        design: The study.
        posts: Posts a culture in place of the design's.
    """
    error, freedom = _analytic_error(design, posts or design.posts)
    return power_of_t(design.difference, error, freedom, family=design.family, level=design.level)


def _simulated_power(design: Design, posts: int, simulations: int, seed: int) -> tuple[float, float]:
    """Share of simulated studies whose Student t interval leaves out 0 on the right side, and the mean difference that they saw."""
    import numpy as np
    from scipy.special import stdtrit

    generator = np.random.default_rng(seed)
    found, seen, done = 0, 0.0, 0
    # So many studies at a time that memory stays small.
    chunk = max(1, 2_000_000 // (design.cultures * posts * 2 * design.raters))
    while done < simulations:
        size = min(chunk, simulations - done)
        differences = _differences(design, posts, size, generator)
        variances = differences.var(axis=2, ddof=1) / posts / design.cultures**2
        total = variances.sum(axis=1)
        means = differences.mean(axis=(1, 2))
        safe = np.where(total > 0, total, 1.0)
        freedom = np.where(total > 0, safe**2 / np.maximum((variances**2).sum(axis=1) / (posts - 1), 1e-300), posts - 1)
        critical = stdtrit(freedom, 1 - design.level / design.family / 2)
        found += int((means > critical * np.sqrt(total)).sum())
        seen += float(means.sum())
        done += size
    return found / simulations, seen / simulations


def _differences(design: Design, posts: int, size: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Simulated differences of the two conditions' mean grades: studies by cultures by posts."""
    spread, shape = design.spread, (size, design.cultures, posts)
    post = spread.post * generator.normal(size=shape)
    raters = spread.rater * generator.normal(size=(size, design.cultures, 1, design.raters))
    means = []
    for condition in (design.mean, design.mean + design.difference):
        if not design.same_raters:
            raters = spread.rater * generator.normal(size=(*shape, design.raters))
        reply = spread.reply * generator.normal(size=shape)
        noise = spread.residual * generator.normal(size=(*shape, design.raters))
        means.append(_graded((condition + post + reply)[..., None] + raters + noise).mean(axis=-1))
    difference: NDArray[np.float64] = means[1] - means[0]
    return difference


def _graded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    graded: NDArray[np.float64] = np.clip(np.round(values), _GRADES[0], _GRADES[-1])
    return graded


def _posts_needed(design: Design, simulations: int, seed: int) -> int | None:
    """By steps away from the formula's answer, then by halving; random numbers start from one seed, so that sizes differ alone."""

    def enough(posts: int) -> bool:
        return _simulated_power(design, posts, simulations, seed)[0] >= design.power

    near = _halve(1, MOST_POSTS, lambda posts: analytic_power(design, posts) >= design.power)
    lower, upper, step = near, near, max(1, near // 20)
    while not enough(upper):
        if upper == MOST_POSTS:
            return None
        lower, upper, step = upper, min(upper + step, MOST_POSTS), 2 * step
    while lower == upper > 2:
        lower, step = max(1, lower - step), 2 * step
        if lower > 1 and enough(lower):
            upper = lower
    # A single post has no spread, so that two are the fewest; sizes closer than 1 % differ by chance alone.
    return 2 if upper == 2 else _halve(lower, upper, enough, upper // 100)


def _halve(lower: int, upper: int, enough: Callable[[int], bool], tolerance: int = 1) -> int:
    """Smallest number above `lower` that is enough, to within the tolerance, if `upper` is."""
    while upper - lower > max(1, tolerance):
        middle = (lower + upper) // 2
        lower, upper = (lower, middle) if enough(middle) else (middle, upper)
    return upper


def _expected_agreement(design: Design, seed: int) -> tuple[ExpectedAgreement, ...]:
    """Agreement in one culture, where all its raters grade all replies; conditions lie evenly over the difference."""
    import numpy as np

    generator = np.random.default_rng(seed)
    # Beyond so many posts a study takes long to simulate, and a width falls with the square root of their number.
    posts = min(design.posts, 60)
    spread, shape = design.spread, (posts, design.replies)
    conditions = design.mean + np.linspace(0, design.difference, design.replies)
    found: dict[str, list[tuple[float | None, float | None]]] = defaultdict(list)
    clusters = [str(post) for post in range(posts) for _ in range(design.replies)]
    for _ in range(_AGREEMENT_STUDIES):
        truth = conditions + spread.post * generator.normal(size=(posts, 1)) + spread.reply * generator.normal(size=shape)
        raters = spread.rater * generator.normal(size=(design.raters, 1))
        noise = spread.residual * generator.normal(size=(design.raters, truth.size))
        ratings = _graded(truth.ravel() + raters + noise).tolist()
        for coefficient in agreement_coefficients("", ratings, clusters, _GRADES):
            has_interval = coefficient.low is not None and coefficient.high is not None
            width = (coefficient.high or 0.0) - (coefficient.low or 0.0) if has_interval else None
            found[coefficient.name].append((coefficient.value, width))
    shrink = math.sqrt(posts / design.posts)
    expected = []
    names: tuple[Literal["alpha_ordinal", "weighted_kappa", "ac2"], ...] = ("alpha_ordinal", "weighted_kappa", "ac2")
    for name in names:
        values = [value for value, _ in found[name] if value is not None]
        widths = [width for _, width in found[name] if width is not None]
        expected.append(
            ExpectedAgreement(
                name=name,
                value=math.fsum(values) / len(values) if values else None,
                width=shrink * math.fsum(widths) / len(widths) if widths else None,
                studies=len(widths),
            )
        )
    return tuple(expected)


def _notes(design: Design, seen: float, needed: int | None) -> list[str]:
    notes = []
    if "assumed" in design.spread.source:
        notes.append(
            "What grades vary by is assumed, wholly or in part: take it from an earlier study, by --from or by --sd-post and its kin."
        )
    if seen < 0.9 * design.difference:
        notes.append(
            f"The ends of the scale make a true difference of {design.difference:g} look like {seen:.2f}; the formula does not know that."
        )
    if needed is None:
        notes.append(f"More than {MOST_POSTS} posts a culture would be needed.")
    if design.raters < 2:
        notes.append("One rater a reply tells nothing of agreement.")
    elif design.posts < FEWEST_CLUSTERS:
        notes.append(f"Fewer than {FEWEST_CLUSTERS} posts a culture give agreement no interval.")
    return notes


# --- Spread of an earlier study --------------------------------------------------------------------------------------------------


def spread_of(grades: Sequence[PersonGrade], conditions: dict[str, str] | None = None) -> Spread:
    """What grades of an earlier study vary by: unbiased estimates from products and squares of differences, with missing values.

    Of two raters who graded the same two replies to one post, the difference of the differences has the variance 4 residual²; the product
    of the differences has the mean 2 reply²; of two raters of one reply, half the squared difference has the mean rater² + residual²; and
    of grades by different raters of different replies to one post, the product about the culture's mean has the mean post². Taking out the
    mean of n posts or replies takes 1 / n of their variance with it, which is put back. What comes out below 0, as it may by chance, is 0.

    Args:
        grades: All grades by people.
        conditions: Condition of each reply, whose means are taken out first; by default all replies are of one.

    Raises:
        CultureCareError: No two raters graded the same two replies to a post, each condition has one post in its culture, or a person
            graded a reply twice.
    """
    of_reply = conditions or {}
    items, sizes = _centred(grades, of_reply)
    moments = [_moments(by_rater, of_reply, sizes[culture]) for (culture, _), by_rater in items.items()]
    total = [math.fsum(moment[place] for moment in moments) for place in range(8)]
    if not total[1]:
        raise CultureCareError("spread of an earlier study: no two raters graded the same two replies to a post, so it can't be told")
    if not total[3]:
        raise CultureCareError("spread of an earlier study: no condition has two posts of one culture, so it can't be told")
    residual = total[0] / total[1] / 4
    reply = max(0.0, total[2] / total[3] / 2)
    rater = max(0.0, total[4] / total[5] / 2 - residual)
    post = max(0.0, total[6] / total[7]) if total[7] else 0.0
    return Spread(
        post=math.sqrt(post),
        reply=math.sqrt(reply),
        rater=math.sqrt(rater),
        residual=math.sqrt(residual),
        source=f"estimated from {len(grades)} grades",
    )


def _centred(
    grades: Sequence[PersonGrade], conditions: Mapping[str, str]
) -> tuple[dict[tuple[str, str], dict[str, dict[str, float]]], dict[str, dict[str, tuple[int, int]]]]:
    """Grades less the mean of their condition in their culture, by culture and post, rater and reply; and what these means are made of.

    Returns:
        The grades; and of each culture's conditions the number of posts and of replies.
    """
    sums: dict[tuple[str, str], list[float]] = defaultdict(list)
    posts: dict[tuple[str, str], set[str]] = defaultdict(set)
    replies: dict[tuple[str, str], set[str]] = defaultdict(set)
    for grade in grades:
        key = (grade.culture, conditions.get(grade.reply, ""))
        sums[key].append(grade.value)
        posts[key].add(grade.item)
        replies[key].add(grade.reply)
    means = {key: math.fsum(values) / len(values) for key, values in sums.items()}
    centred: dict[tuple[str, str], dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for grade in grades:
        of_rater = centred[grade.culture, grade.item][grade.rater]
        if grade.reply in of_rater:
            raise CultureCareError(f"rater {grade.rater!r} graded reply {grade.reply!r} twice; keep one of the grades")
        of_rater[grade.reply] = grade.value - means[grade.culture, conditions.get(grade.reply, "")]
    sizes: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for culture, condition in sums:
        sizes[culture][condition] = (len(posts[culture, condition]), len(replies[culture, condition]))
    return centred, sizes


def _moments(
    by_rater: dict[str, dict[str, float]], conditions: Mapping[str, str], sizes: Mapping[str, tuple[int, int]]
) -> tuple[float, ...]:
    """Of one post: sum and number of each of the four products that `spread_of` names.

    Args:
        by_rater: Grades less their condition's mean, by rater and reply.
        conditions: Condition of each reply, where there are several.
        sizes: Of how many posts and of how many replies each condition's mean was made.
    """
    import numpy as np

    replies = sorted({reply for given in by_rater.values() for reply in given})
    table = np.array([[given.get(reply, np.nan) for reply in replies] for given in by_rater.values()])
    first, second = np.triu_indices(len(replies), 1)
    condition = np.array([conditions.get(reply, "") for reply in replies])
    counts = np.array([sizes[of] for of in condition], dtype=float)
    # With one post a mean leaves nothing of it: such products are left out.
    back = np.divide(counts, counts - 1, out=np.full(counts.shape, np.nan), where=counts > 1)
    of_posts, of_replies = np.sqrt(back[first] * back[second]).T
    # What two replies of one condition have in common, the mean among it, falls out of their difference.
    of_replies = np.where(condition[first] == condition[second], 1.0, of_replies)
    sums = [0.0] * 8

    def add(place: int, values: NDArray[np.float64]) -> None:
        present = values[~np.isnan(values)]
        sums[place] += float(present.sum())
        sums[place + 1] += len(present)

    for place, one in enumerate(table):
        for other in table[place + 1 :]:
            of_one, of_other = one[first] - one[second], other[first] - other[second]
            add(0, (of_one - of_other) ** 2)
            add(2, of_one * of_other * of_replies)
            add(4, (one - other) ** 2)
            add(6, np.concatenate([one[first] * other[second] * of_posts, one[second] * other[first] * of_posts]))
    return tuple(sums)


# --- Showing it ------------------------------------------------------------------------------------------------------------------


def render_plan(plan: Plan) -> str:
    """The plan as lines of text."""
    design, spread = plan.design, plan.design.spread
    grades = design.cultures * design.posts * design.replies * design.raters
    comparisons = "1 comparison" if design.family == 1 else f"{design.family} comparisons"
    size = f"{design.cultures} cultures × {design.posts} posts × {design.replies} replies × {design.raters} raters"
    by = f"{spread.post:.2f} (posts), {spread.reply:.2f} (replies), {spread.rater:.2f} (raters) and {spread.residual:.2f} (the rest)"
    lines = [
        f"{size}: {grades} grades on each question.",
        f"Difference to find: {design.difference:g} grades from a mean of {design.mean:g}, by {comparisons} at level {design.level:g}.",
        f"Grades vary by {by}: {spread.source}.",
        "",
        f"Power: {plan.power:.3f} ± {plan.power_error:.3f} ({plan.simulations} simulated studies; formula {plan.power_analytic:.3f}).",
        f"Smallest difference found with power {design.power:g}: {plan.detectable:.2f} grades.",
        f"Posts a culture for power {design.power:g}: {f'over {MOST_POSTS}' if plan.posts_needed is None else plan.posts_needed}.",
    ]
    labels = {"alpha_ordinal": "Krippendorff's α (ordinal)", "weighted_kappa": "weighted κ (quadratic)", "ac2": "Gwet's AC2 (quadratic)"}
    for row in plan.agreement:
        value = "none" if row.value is None else f"{row.value:.2f}"
        width = "no interval" if row.width is None else f"95 % interval {row.width:.2f} wide"
        lines.append(f"{labels[row.name]} in a culture: {value}, {width}.")
    return "\n".join([*lines, *(f"Note: {note}" for note in plan.notes)])
