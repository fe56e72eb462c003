"""What an adapter changed: a model with it and without it on the same instances, strategy by strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from culturecare_harness.report.differences import GROUPS, basis, difference_forest, difference_table
from culturecare_harness.report.page import AdaptedSection
from culturecare_harness.significance import compare_paired, with_holm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from culturecare_harness.report.evidence import Evidence, Graded, Panel, Run
    from culturecare_harness.runs import Manifest
    from culturecare_harness.significance import Comparison

__all__ = ["ADAPTED", "Adapted", "adapted_pairs", "adapted_sections", "base_of"]

ADAPTED, _BASE = "adapted", "base"
_PLAIN, _ANNOTATED = "standard", "cga"


@dataclass(frozen=True)
class Adapted:
    """A model as one panel graded it without and with an adapter.

    Attributes:
        same: Adapted less base under the same strategy, for each of `GROUPS`.
        across: Adapted under the baseline strategy less base under `cga`: whether the adapter does without annotations what the strategy
            does with them. Empty where the runs lack either.
    """

    base: Graded
    adapted: Graded
    same: tuple[Comparison, ...]
    across: tuple[Comparison, ...]


def base_of(run: Run, runs: Sequence[Run]) -> Run | None:
    """The run of the model that a run's adapter was loaded upon, null where the run has no adapter, or its base is not among the runs.

    All else must be the same in both runs, the prompts of the strategies that they share among it, or the difference would not be the
    adapter's.
    """
    if run.manifest is None or run.manifest.base_identity is None:
        return None
    adapted = run.manifest
    return next((other for other in runs if other.manifest is not None and _is_without_adapter(other.manifest, adapted)), None)


def _is_without_adapter(base: Manifest, adapted: Manifest) -> bool:
    free: dict[str, object] = {"model": base.model, "model_identity": "", "base_identity": None, "strategies": {}, "notes": ()}
    return (
        base.model_identity == adapted.base_identity
        and base.model_copy(update=free) == adapted.model_copy(update=free)
        and all(base.strategies[name] == adapted.strategies[name] for name in base.strategies.keys() & adapted.strategies.keys())
    )


def adapted_pairs(evidence: Evidence, panel: Panel) -> Iterator[Adapted]:
    """Yields each adapted model that a panel graded beside its base; all comparisons of a pair are one family for Holm's correction."""
    graded = evidence.by(panel)
    for adapted in graded:
        run = base_of(adapted.run, evidence.runs)
        base = next((one for one in graded if one.run is run), None)
        if base is not None:
            yield _compared(base, adapted)


def _compared(base: Graded, adapted: Graded) -> Adapted:
    shared = [name for name in base.run.strategies if name in adapted.run.strategies]
    pairs = [(name, name) for name in shared]
    if _PLAIN in adapted.run.strategies and _ANNOTATED in base.run.strategies:
        pairs.append((_PLAIN, _ANNOTATED))
    where = {**base.cultures, **adapted.cultures}
    compared = with_holm(
        [
            compare_paired(
                adapted.values[metric][first],
                base.values[metric][second],
                where,
                names=(f"{ADAPTED}, {first}", f"{_BASE}, {second}"),
                metric=metric,
            )
            for first, second in pairs
            for metric in GROUPS
        ]
    )
    cut = len(shared) * len(GROUPS)
    return Adapted(base, adapted, tuple(compared[:cut]), tuple(compared[cut:]))


def adapted_sections(evidence: Evidence) -> Iterator[AdaptedSection]:
    """Yields what each judge or jury says of each adapter, for the page."""
    for place, panel in enumerate(evidence.panels, 1):
        for number, pair in enumerate(adapted_pairs(evidence, panel), 1):
            compared = (*pair.same, *pair.across)
            where = {**pair.base.cultures, **pair.adapted.cultures}
            bases = [
                basis(pair.adapted.values[one.metric][_strategy(one.a)], pair.base.values[one.metric][_strategy(one.b)], where)
                for one in compared
            ]
            yield AdaptedSection(
                adapted=pair.adapted.run.label,
                base=pair.base.run.label,
                judge=panel.name,
                anchor=f"adapted-{place}-{number}",
                forest=difference_forest(compared, bases, "the base", _label),
                differences=difference_table(
                    compared,
                    bases,
                    caption="With the adapter less without it",
                    names=("Compared", lambda one: f"{one.a} less {one.b}"),
                    higher_on="Higher on: share of the instances on which the adapted model is higher, ties counting half.",
                ),
            )


def _label(compared: Comparison) -> str:
    with_adapter, without = _strategy(compared.a), _strategy(compared.b)
    return with_adapter if with_adapter == without else f"{with_adapter} (base: {without})"


def _strategy(name: str) -> str:
    return name.partition(", ")[2]
