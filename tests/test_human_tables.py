"""A packet's scores on terminals of several widths: figures are shown whole, whatever becomes of the words around them."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from culturecare_harness.human.analysis import score_ratings
from culturecare_harness.human.judge_choice import JudgeScores
from culturecare_harness.human.ratings import latest
from culturecare_harness.human.summary import print_summary
from culturecare_harness.human.tables import print_human_result
from culturecare_harness.records import digest
from culturecare_harness.rubrics import select_rubric
from tests.raters import NOON, answers, make_run, small_packet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from culturecare_harness.human.analysis import HumanResult

WIDTHS = (60, 80, 100, 120, 160, 240)


@pytest.fixture(scope="module", params=["annotator", "psychologist"])
def result(request: Any, tmp_path_factory: pytest.TempPathFactory) -> HumanResult:
    """Scores by raters who answer at random, all but one question that tells `cga` from the rest."""
    runs = [make_run("a-laboratory/Listener-7B-instruct", ("standard", "cga"), ("german", "american"))]
    made = small_packet(tmp_path_factory.mktemp("packet") / "packet", request.param, runs=runs)
    origin = {(entry.item, entry.label): str(entry.condition) for entry in made.key.entries}
    ratings = []
    for rater in made.packet.assignments:
        for rating in answers(made.packet, rater):
            is_scale = isinstance(rating.value, int) and rating.label is not None
            best = is_scale and origin[rating.item, rating.label or ""].endswith("cga") and digest([*map(str, rating.cell)], 1) > "1"
            ratings.append(rating.model_copy(update={"value": 5}) if best else rating)
    judged = []
    if request.param == "annotator":
        rubric = select_rubric("culturecare")
        replies = {entry.reply_id or "": entry.condition for entry in made.key.entries if entry.reply_id}
        scores: Any = {
            reply: {dimension.key: 1.0 + int(digest([reply, dimension.key], 1), 16) % 5 for dimension in rubric.dimensions}
            for reply in replies
        }
        judged = [JudgeScores("a-judge-with-a-long-name-70b", rubric.name, None, True, scores)]  # noqa: FBT003
    return score_ratings(made.packet, made.key, latest(ratings).ratings, judged, at=NOON)


def shown(result: HumanResult, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    print_human_result(result, console)
    print_summary(result, console)
    return console.export_text()


def around(value: float | None, low: float | None, high: float | None, form: str) -> str:
    if value is None:
        return "–"
    return form.format(value) if low is None or high is None else f"{form.format(value)} [{form.format(low)}, {form.format(high)}]"


def figures(result: HumanResult) -> Iterable[str]:
    """The figures with their intervals that the tables hold."""
    for one in result.rater_quality:
        yield around(one.severity, one.severity_low, one.severity_high, "{:+.2f}")
    for contrast in result.contrasts:
        for rate in (contrast.models, contrast.peers):
            yield around(rate.mean, rate.low, rate.high, "{:.0%}")
        compared = contrast.comparison
        yield around(compared.difference, compared.low, compared.high, "{:+.2f}")
    for win in result.wins:
        yield around(win.rate.mean, win.rate.low, win.rate.high, "{:.0%}")
    for comparison in result.comparisons:
        if comparison.p_adjusted is not None and comparison.p_adjusted < 0.05:
            yield around(comparison.difference, comparison.low, comparison.high, "{:+.2f}")
    for judge in result.judges:
        for of_culture in (judge.metrics, *judge.cultures.values()):
            quality = next(one for one in of_culture if one.metric == "overall")
            ceiling = quality.ceilings["pairwise_accuracy"]
            for coefficient, form in (
                (quality.pairwise_accuracy, "{:.0%}"),
                (ceiling.people, "{:.0%}"),
                (ceiling.difference, "{:+.2f}"),
                (quality.alpha, "{:.2f}"),
                (quality.mean_difference, "{:+.2f}"),
            ):
                yield around(coefficient.value, coefficient.low, coefficient.high, form)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_is_shown_whole_at_every_width(result: HumanResult, width: int) -> None:
    text = shown(result, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    wanted = list(figures(result))
    assert sum("[" in figure for figure in wanted) > 30
    for figure in wanted:
        assert re.search(rf"[│ ]{re.escape(figure)} +[│o]", text), figure


@pytest.mark.parametrize("width", WIDTHS)
def test_wordings_are_broken_into_lines_and_not_cut(result: HumanResult, width: int) -> None:
    rows = [line for line in shown(result, width).splitlines() if line.startswith("│")]
    letters = "".join("".join(rows).split()).replace("│", "")
    for question in result.questions:
        if question.values and any(contrast.question == question.key for contrast in result.contrasts):
            assert all(word in letters for word in question.name.split() if len(word) <= 10)


def test_the_models_share_and_the_peers_share_stand_in_one_table_at_eighty_columns(result: HumanResult) -> None:
    lines = shown(result, 80).splitlines()
    heading = lines[lines.index(next(line for line in lines if line.startswith("Models' replies against peers'"))) + 2]
    assert [cell.strip() for cell in heading.split("┃")[1:-1]] == ["question", "answer", "models", "peers"]


def test_where_all_fits_there_is_one_table_of_each_kind(result: HumanResult) -> None:
    assert "(continued)" not in shown(result, 240)


def test_a_judges_reason_is_read_beside_its_figures(result: HumanResult) -> None:
    # No judge graded what psychologists are asked.
    assert ("why not" in shown(result, 80)) is bool(result.judges)
