"""Puts the report together: what is read and tested becomes what stands on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from culturecare import cultures
from culturecare_harness.counting import counted
from culturecare_harness.report.adapted import adapted_sections
from culturecare_harness.report.claims import answer_claims
from culturecare_harness.report.figures import listed
from culturecare_harness.report.items import best_and_worst, items_note
from culturecare_harness.report.methods import describe_methods
from culturecare_harness.report.page import Judgement, Report
from culturecare_harness.report.published import published
from culturecare_harness.report.quality import cost_table, judge_tables
from culturecare_harness.report.ratings import people_tables, without_names
from culturecare_harness.report.scores import published_table, section
from culturecare_harness.rubrics import select_rubric

if TYPE_CHECKING:
    from culturecare_harness.report.evidence import Evidence

__all__ = ["build_report"]


def build_report(evidence: Evidence) -> Report:
    """Puts the report together: every test is made here."""
    panels = evidence.panels
    first = evidence.graded[0]
    dataset = first.result.dataset
    names = tuple(cultures()[key].name for key in evidence.cultures)
    labels = [run.label for run in evidence.runs]
    posts = (
        counted(evidence.instances, "excerpt of a post", "excerpts of posts") if dataset.excerpt else counted(evidence.instances, "post")
    )
    created = [graded.result.created for graded in evidence.graded] + [one.result.created for one in evidence.preferences]
    return Report(
        title=f"CultureCare report: {listed(labels)}" if len(labels) < 4 else f"CultureCare report: {len(labels)} models",
        date=f"{max(created):%Y-%m-%d}",
        summary=(
            ("Models", listed(labels)),
            ("Judged by", listed([panel.name for panel in panels])),
            ("Dataset", f"{posts} of split {dataset.split}, revision {dataset.revision}"),
            ("Cultures", listed(names)),
            ("Newest result", f"{max(created):%Y-%m-%d %H:%M} UTC"),
        ),
        notes=tuple(dict.fromkeys(note for graded in evidence.graded for note in graded.result.notes)),
        people_notes=tuple(dict.fromkeys(without_names(people, note) for people in evidence.people for note in people.notes)),
        answers=answer_claims(evidence),
        culture_names=names,
        dimensions=tuple(dimension.name for dimension in select_rubric(panels[0].judges[0].rubric).dimensions),
        judgements=tuple(
            Judgement(panel.name, f"judge-{place}", tuple(section(graded, evidence.cultures) for graded in evidence.by(panel)))
            for place, panel in enumerate(panels, 1)
        ),
        adapted=tuple(adapted_sections(evidence)),
        published=published_table(),
        published_notes=published().differs,
        items=tuple(found for graded in evidence.by(panels[0]) for found in best_and_worst(graded)),
        items_note=items_note(panels[0], dataset.split),
        quality=tuple(judge_tables(evidence)),
        people=tuple(people_tables(evidence)),
        costs=cost_table(evidence),
        methods=describe_methods(evidence),
    )
