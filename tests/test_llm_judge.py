"""The `evaluate` metric, with the real small model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from culturecare_harness.judge import EMPTY_REPLY
from culturecare_harness.judges import select_judge
from culturecare_harness.rubrics import select_rubric

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
DIMENSIONS = [dimension.key for dimension in select_rubric("culturecare").dimensions]
POST = "I feel alone since I moved."


@pytest.fixture(scope="module", autouse=True)
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is taken from verdicts that were given before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CULTURECARE_STORE", str(tmp_path_factory.mktemp("store") / "store.sqlite3"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def metric() -> Any:
    import evaluate

    return evaluate.load(str(Path(__file__).resolve().parents[1] / "harness" / "llm_judge"))


@pytest.fixture(scope="module")
def result(metric: Any) -> Any:
    return metric.compute(predictions=["That sounds hard. I am with you.", ""], references=[POST, POST], judge="smollm2")


def test_each_reply_has_a_verdict_on_each_dimension(result: Any) -> None:
    assert [[verdict["dimension"] for verdict in of_reply] for of_reply in result["verdicts"]] == [DIMENSIONS] * 2
    assert result["judge"] == select_judge("smollm2").judge.model_dump(mode="json")


def test_an_empty_prediction_is_null_with_a_reason_and_lowers_the_coverage(result: Any) -> None:
    graded, empty = result["verdicts"]
    assert {(verdict["score"], verdict["reason"]) for verdict in empty} == {(None, EMPTY_REPLY)}
    assert all(1 <= verdict["score"] <= 5 for verdict in graded)
    assert result["coverage"] == 0.5


def test_the_mean_is_over_the_replies_that_have_a_score(result: Any) -> None:
    assert set(result["scores"]) == {*DIMENSIONS, "emotional", "cultural", "quality", "overall"}
    for verdict in result["verdicts"][0]:
        score = result["scores"][verdict["dimension"]]
        assert score["mean"] == pytest.approx(verdict["score"])
        assert (score["n"], score["coverage"]) == (1, 0.5)


def test_the_groups_are_means_of_their_dimensions(result: Any) -> None:
    scores = {name: score["mean"] for name, score in result["scores"].items()}
    assert scores["emotional"] == pytest.approx((scores["empathy"] + scores["helpfulness"]) / 2)
    assert scores["overall"] == pytest.approx((scores["emotional"] + scores["cultural"]) / 2)


def test_empty_predictions_alone_need_no_model(metric: Any) -> None:
    result = metric.compute(predictions=[""], references=[POST], judge="smollm2", judge_settings=["model=packaged:none"])
    assert result["coverage"] == 0
    assert {score["mean"] for score in result["scores"].values()} == {None}
