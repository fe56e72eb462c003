"""Paired differences as a forest plot and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culturecare_harness.counting import counted
from culturecare_harness.report.charts import Forest, forest
from culturecare_harness.report.figures import p_value, percent, signed, signed_interval
from culturecare_harness.report.page import Table
from culturecare_harness.stats import LEVEL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from culturecare_harness.significance import Comparison

__all__ = ["GROUPS", "difference_forest", "difference_table"]

GROUPS = ("emotional", "cultural", "quality", "overall")
"""The scores that are compared."""


def difference_forest(compared: Sequence[Comparison], reference: str, label: Callable[[Comparison], str] = lambda one: one.a) -> Forest:
    """Draws differences, a group a score.

    Args:
        compared: The comparisons.
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
            )
            for one in compared
            if one.metric == metric
        ]
        groups.append((metric.capitalize(), rows))
    return forest(groups, reference)


def difference_table(
    compared: Sequence[Comparison], *, caption: str, names: tuple[str, Callable[[Comparison], str]], higher_on: str
) -> Table:
    """Lists differences with their tests.

    Args:
        compared: The comparisons, one family for Holm's correction.
        caption: What is less what.
        names: Heading of the column that names a comparison, and its name.
        higher_on: What the share in the column of that name says.
    """
    heading, name = names
    return Table(
        caption=f"{caption}, in grades, over the cultures; p by a paired permutation test, two-sided, after Holm's correction for "
        f"{counted(sum(one.p is not None for one in compared), 'comparison')}",
        head=("Score", heading, "Difference", "95 % interval", "p", "Effect (d)", "Higher on", "Instances", "Reading"),
        rows=tuple(
            (
                one.metric.capitalize(),
                name(one),
                signed(one.difference),
                signed_interval(one.low, one.high) or "–",
                p_value(one.p_adjusted),
                signed(one.effect),
                percent(one.superiority),
                str(one.n),
                _reading(one) if one.reason is None else one.reason,
            )
            for one in compared
        ),
        note="Effect: the difference over the standard deviation of the instances' differences (Cohen's d for pairs, with Hedges' "
        f"correction). {higher_on}",
        numbers=frozenset(range(2, 8)),
    )


def _reading(comparison: Comparison) -> str:
    if comparison.p_adjusted is None or comparison.difference is None:
        return "not tested"
    if comparison.p_adjusted >= 1 - LEVEL:
        return "within chance"
    return "higher" if comparison.difference > 0 else "lower"
