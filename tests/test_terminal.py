"""The commands' tables on terminals of several widths: no figure and no heading is cut."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from culturecare_harness.agreement import Agreement
from culturecare_harness.ranking import PairSummary, Ranking, Rate, Strength
from culturecare_harness.records import Score
from culturecare_harness.significance import Comparison
from culturecare_harness.terminal import (
    print_adaptation,
    print_adapted,
    print_jury_result,
    print_pairs_result,
    print_result,
    print_verification,
)
from culturecare_harness.verification import Discrepancy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

WIDTHS = (60, 80, 100, 120, 160)
CULTURES = ("american", "arabic", "chinese", "german")
STRATEGIES = ("standard", "a-strategy-of-ours-with-a-long-name")
GRADES = ("emotional", "cultural", "quality", "overall")
DATASET = SimpleNamespace(instances=1729, excerpt=False, split="test", revision="v1", cultures=CULTURES)
MODEL = SimpleNamespace(name="a-laboratory/Listener-7B-instruct")
JUDGE = SimpleNamespace(name="judge", model="a/model", mode="logprob", rubric="culturecare", prompt_hash="0" * 8)
END: Any = {"coverage": 0.5, "reasons": {}, "notes": ()}


def scores(shift: float = 0) -> tuple[Score, ...]:
    """Means that all differ, each with an interval."""
    made: list[Score] = []
    for metric in (*GRADES, "same_language", "reply_characters"):
        for strategy in STRATEGIES:
            for culture in (*CULTURES, "all"):
                mean = 1 + shift + len(made) / 50
                mean = {"same_language": 0.97, "reply_characters": 1234 + mean}.get(metric, mean)
                ends = {"low": mean - 0.25, "high": mean + 0.25}
                made.append(Score(strategy=strategy, culture=culture, metric=metric, mean=mean, **ends, n=1729, coverage=0.98))
    return tuple(made)


def grades(of: Iterable[Score]) -> list[str]:
    return [f"{one.mean:.2f} [{one.low:.2f}, {one.high:.2f}]" for one in of if one.metric in GRADES]


SCORES = scores()
JURORS = {"a-judge-with-a-long-name-70b": scores(0.2), "another": scores(0.4)}
RESULT = SimpleNamespace(model=MODEL, dataset=DATASET, judge=JUDGE, scores=SCORES, strategies=STRATEGIES, **END)
UNJUDGED = SimpleNamespace(**{**vars(RESULT), "judge": None, "coverage": None})
JURY = SimpleNamespace(
    model=MODEL,
    dataset=DATASET,
    jury=SimpleNamespace(name="ours"),
    scores=SCORES,
    strategies=STRATEGIES,
    judges=JURORS,
    judge_coverage=dict.fromkeys(JURORS, 0.91),
    agreement=(
        Agreement(metric="sensitivity_to_the_culture", alpha=0.61, low=0.52, high=0.7, raters=2, units=9, reason=None),
        Agreement(metric="empathy", alpha=None, low=None, high=None, raters=2, units=0, reason="no reply has grades by two of the judges"),
    ),
    **END,
)
PAIRS = SimpleNamespace(
    judge=JUDGE,
    summaries=(
        PairSummary(
            first="a-laboratory/Listener-7B-instruct/standard",
            second="another-laboratory/Speaker-70B/cga",
            culture="all",
            win_rate=Rate(mean=0.61, low=0.52, high=0.7),
            flip_rate=Rate(mean=0.21, low=0.12, high=0.3),
            tie_rate=Rate(mean=0.11, low=0.02, high=0.2),
            position_bias=Rate(mean=-0.31, low=-0.42, high=-0.2),
            pairs=1729,
            instances=1729,
            coverage=0.93,
        ),
    ),
    ranking=Ranking(
        strengths=(Strength(contestant="a-laboratory/Listener-7B-instruct/standard", strength=-1.25, low=-1.5, high=-1),),
        prior=1,
        instances=9,
    ),
    **END,
)
DIFFERENCE = Comparison(
    a="Listener-7B+adapter (standard)",
    b="Listener-7B (standard)",
    metric="sensitivity",
    n=1729,
    difference=-1.25,
    low=-1.5,
    high=-1,
    p=0.01,
    p_adjusted=0.012,
    effect=None,
    superiority=None,
    reason=None,
)
NOTHING: Any = {"difference": None, "low": None, "high": None, "p": None, "p_adjusted": None}
MISSING = DIFFERENCE.model_copy(update={**NOTHING, "reason": "fewer than two posts have a grade on both sides"})
ADAPTED = SimpleNamespace(
    adapted=SimpleNamespace(result=RESULT, panel=SimpleNamespace(name="judge")),
    same=(DIFFERENCE, MISSING),
    across=(),
)
ADAPTATION = SimpleNamespace(
    data=SimpleNamespace(examples=4, instances=4, source="train"),
    heldout=SimpleNamespace(
        instances=["a", "b"],
        base=1.5,
        adapted=1.25,
        per_culture={"german": (1.75, 1.125)},
        comparison=SimpleNamespace(low=-0.375, high=-0.125),
    ),
    training=SimpleNamespace(model="m", settings=SimpleNamespace(method="sft", name="demo", rank=4)),
    losses=[SimpleNamespace(loss=1.0)],
    steps=1,
    seconds=1.0,
    device=SimpleNamespace(name="cpu"),
    notes=(),
)
VERIFICATION = SimpleNamespace(
    bundle="0" * 8,
    protocol="v1",
    status="verified",
    reasons=(),
    flags=(),
    seed=1,
    seed_given=False,
    share=0.25,
    rejudged=SimpleNamespace(
        discrepancies=(Discrepancy(strategy=STRATEGIES[1], replies=1729, verdicts=8645, difference=0.0625, low=-0.125, high=0.25),),
        absolute=0.1,
        correlation=0.9,
        apart=0.0,
        missing_now=0,
        missing_submitted=0,
        missing_both=0,
        judgeable=40,
        replies=10,
    ),
)

HEADINGS = ("strategy", "culture", "replies", *GRADES, "coverage", "same language", "characters")
SHOWN: dict[str, tuple[Callable[[Any, Console], None], object, list[str], tuple[str, ...]]] = {
    "result": (print_result, RESULT, [*grades(SCORES), "1729", "0.98", "97 %", "1236"], HEADINGS),
    "unjudged": (print_result, UNJUDGED, ["1729", "97 %", "1236"], ("replies", "same language", "characters")),
    "jury": (
        print_jury_result,
        JURY,
        [
            *grades(SCORES),
            *(figure for juror in JURORS.values() for figure in grades(one for one in juror if one.culture == "all")),
            "0.91",
            "0.61 [0.52, 0.70]",
        ],
        (*HEADINGS, "judge", "dimension", "Krippendorff's α", "why not"),
    ),
    "pairs": (
        print_pairs_result,
        PAIRS,
        ["0.61 [0.52, 0.70]", "0.21 [0.12, 0.30]", "0.11 [0.02, 0.20]", "-0.31 [-0.42, -0.20]", "0.93", "-1.25 [-1.50, -1.00]"],
        ("first", "second", "win rate of the first", "flips", "ties", "position bias", "coverage", "contestant", "strength (log-odds)"),
    ),
    "adapted": (
        print_adapted,
        ADAPTED,
        ["-1.25", "[-1.50, -1.00]", "0.012", "1729"],
        ("comparison", "score", "difference", "95 % interval", "p", "posts", "why not"),
    ),
    "adaptation": (
        print_adaptation,
        ADAPTATION,
        ["1.750", "1.125", "-0.625", "-0.250 [-0.375, -0.125]"],
        ("culture", "base", "adapted", "difference"),
    ),
    "verification": (
        print_verification,
        VERIFICATION,
        ["1729", "8645", "+0.062 [-0.125, +0.250]"],
        ("strategy", "replies", "verdicts", "submitted less new, in grades"),
    ),
}


def shown(kind: str, width: int) -> str:
    print_, what, _, _ = SHOWN[kind]
    return printed(print_, what, width)


def printed(print_: Callable[[Any, Console], None], what: object, width: int = 200) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    print_(what, console)
    return console.export_text()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", SHOWN)
def test_figures_and_headings_are_shown_whole_at_every_width(kind: str, width: int) -> None:
    text = shown(kind, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    _, _, figures, headings = SHOWN[kind]
    rows = [line for line in text.splitlines() if line.startswith("│")]
    for figure in figures:
        assert any(re.search(rf"│ +{re.escape(figure)} +│", row) for row in rows), figure
    said = " ".join(line.replace("┃", " ") for line in text.splitlines() if line.startswith("┃")).split()
    assert {word for heading in headings for word in heading.split()} <= set(said)


def test_each_part_of_a_table_says_which_rows_its_figures_belong_to() -> None:
    parts = re.split(r"^Mean grades.*$", shown("result", 80), flags=re.MULTILINE)[1:]
    assert len(parts) > 1
    for part in parts:
        assert all(name in part for name in ("strategy", "culture", "American", "German", "all (mean)"))


def test_where_all_fits_there_is_one_table_of_each_kind() -> None:
    assert all("(continued)" not in shown(kind, 200) for kind in SHOWN)


def test_why_a_figure_is_missing_stands_beside_it() -> None:
    assert "no reply has grades by two of the judges" in shown("jury", 120)
    assert "fewer than two posts have a grade on both sides" in shown("adapted", 200)


def test_a_difference_that_rounds_to_zero_has_no_minus() -> None:
    small = DIFFERENCE.model_copy(update={"difference": -0.001, "low": -0.004, "high": -0.0001})
    said = printed(print_adapted, SimpleNamespace(adapted=ADAPTED.adapted, same=(small,), across=()))
    assert "+0.00" in said
    assert "-0.00" not in said


def test_a_loss_that_stays_has_no_minus() -> None:
    changed = {"base": 1.0001, "adapted": 1.0, "per_culture": {"german": (1.0001, 1.0)}}
    interval = SimpleNamespace(low=-0.0004, high=-0.0001)
    heldout = SimpleNamespace(**vars(ADAPTATION.heldout) | changed | {"comparison": interval})
    said = printed(print_adaptation, SimpleNamespace(**vars(ADAPTATION) | {"heldout": heldout}))
    assert said.count("+0.000") == 4
    assert "-0.000" not in said
