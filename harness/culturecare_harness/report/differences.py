"""Paired differences as a forest plot and as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from culturecare import cultures as registry
from culturecare_harness.counting import counted
from culturecare_harness.report.charts import Forest, forest
from culturecare_harness.report.figures import cultures_listed, of_all, p_value, percent, signed, signed_interval
from culturecare_harness.report.page import Table
from culturecare_harness.significance import paired_differences
from culturecare_harness.stats import LEVEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from culturecare_harness.significance import Comparison

__all__ = ["GROUPS", "Basis", "basis", "difference_forest", "difference_table"]

GROUPS = ("emotional", "cultural", "quality", "overall")
"""The scores that are compared."""


@dataclass(frozen=True)
class Basis:
    """What a comparison rests on.

    Attributes:
        instances: Number of instances that both conditions replied to.
        asked: Cultures of these instances, in registry order.
        cultures: Those in which both conditions have a value on some instance, over which the difference is a mean.
        is_partial: Whether some instance has no value under one of the conditions.
    """

    instances: int
    asked: tuple[str, ...]
    cultures: tuple[str, ...]
    is_partial: bool


def basis(a: Mapping[str, float | None], b: Mapping[str, float | None], cultures: Mapping[str, str]) -> Basis:
    """What a comparison of two conditions rests on.

    Args:
        a: Value of each instance under the first condition, null where there is none.
        b: The same under the second.
        cultures: Culture of each instance.
    """
    shared = [instance for instance in a if instance in b]
    samples = paired_differences(a, b, cultures)
    asked = {cultures[instance] for instance in shared}
    return Basis(
        instances=len(shared),
        asked=tuple(key for key in registry() if key in asked),
        cultures=tuple(key for key in registry() if key in samples),
        is_partial=sum(map(len, samples.values())) < len(shared),
    )


def difference_forest(
    compared: Sequence[Comparison],
    bases: Sequence[Basis],
    reference: str,
    label: Callable[[Comparison], str] = lambda one: one.a,
) -> Forest:
    """Draws differences, a group a score.

    Args:
        compared: The comparisons.
        bases: What each rests on.
        reference: What all are compared with, for the axis.
        label: Names a comparison's row.
    """
    groups = []
    for metric in GROUPS:
        rows = [
            (
                label(one),
                one.difference,
                one.low,
                one.high,
                "not tested" if one.p is None else f"{signed(one.difference)} {signed_interval(one.low, one.high)}",
                "" if one.p is None else f"p {p_value(one.p_adjusted)}",
                _reading(one),
                rests_on.is_partial,
            )
            for one, rests_on in zip(compared, bases, strict=True)
            if one.metric == metric
        ]
        groups.append((metric.capitalize(), rows))
    return forest(groups, reference)


def difference_table(
    compared: Sequence[Comparison],
    bases: Sequence[Basis],
    *,
    caption: str,
    names: tuple[str, Callable[[Comparison], str]],
    higher_on: str,
) -> Table:
    """Lists differences with their tests.

    Args:
        compared: The comparisons, one family for Holm's correction.
        bases: What each rests on.
        caption: What is less what.
        names: Heading of the column that names a comparison, and its name.
        higher_on: What the share in the column of that name says.
    """
    heading, name = names
    asked = {key for rests_on in bases for key in rests_on.asked}
    every = tuple(key for key in registry() if key in asked)
    over = "the cultures named in each row" if any(rests_on.cultures != every for rests_on in bases) else cultures_listed(every)
    named = over != cultures_listed(every)
    return Table(
        caption=f"{caption}, in grades, mean over {over}; p by a paired permutation test, two-sided, after Holm's correction for "
        f"{counted(sum(one.p is not None for one in compared), 'comparison')}",
        head=(
            "Score",
            heading,
            "Difference",
            "95 % interval",
            "p",
            "Effect (d)",
            "Higher on",
            "Instances",
            "Reading",
            *(("Mean over",) if named else ()),
        ),
        rows=tuple(
            (
                one.metric.capitalize(),
                name(one),
                signed(one.difference),
                signed_interval(one.low, one.high) or "–",
                p_value(one.p_adjusted),
                signed(one.effect),
                percent(one.superiority),
                of_all(one.n, rests_on.instances),
                _reading(one) if one.reason is None else one.reason,
                *((cultures_listed(rests_on.cultures),) if named else ()),
            )
            for one, rests_on in zip(compared, bases, strict=True)
        ),
        note="Effect: the difference over the standard deviation of the instances' differences (Cohen's d for pairs, with Hedges' "
        f"correction). {higher_on} Instances: those on which both have a value.",
        numbers=frozenset(range(2, 8)),
    )


def _reading(comparison: Comparison) -> str:
    if comparison.p_adjusted is None or comparison.difference is None:
        return "not tested"
    if comparison.p_adjusted >= 1 - LEVEL:
        return "within chance"
    return "higher" if comparison.difference > 0 else "lower"
