"""The report on an adapter: the model with it beside the model without it, on the same posts."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from culturecare_harness.adaptation.compare import benchmark_scores
from culturecare_harness.report import make_report
from culturecare_harness.report.adapted import adapted_pairs
from culturecare_harness.report.evidence import read_evidence
from tests.published_runs import RELEASED, flat_means, make_release, make_run

if TYPE_CHECKING:
    from pathlib import Path

    from culturecare_harness.report.adapted import Adapted
    from culturecare_harness.significance import Comparison


class Silent:
    """A progress that nobody reads."""

    def say(self, sentence: str) -> None:
        """Takes it."""

    def advance(self, finished: int, total: int) -> None:
        """Takes it."""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up release of 20 posts a culture."""
    return make_release(tmp_path_factory.mktemp("release"), dict.fromkeys(RELEASED, 20))


@pytest.fixture(scope="module")
def base(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model without an adapter: `cga` is the best on culture."""
    return make_run(tmp_path_factory.mktemp("base") / "run", release, "lab/model", flat_means(cga=(4.0, 3.9)))


@pytest.fixture(scope="module")
def adapted(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with an adapter: `standard` is now as good as `cga`, and nothing else has changed."""
    means = flat_means(standard=(4.0, 3.9), cga=(4.0, 3.9))
    return make_run(tmp_path_factory.mktemp("adapted") / "run", release, "lab/model", means, adapter="listener", spread=(0.45, 0.4))


def pair_of(runs: list[Path], release: Path) -> Adapted:
    evidence = read_evidence(runs, release, Silent())
    [pair] = adapted_pairs(evidence, evidence.panels[0])
    return pair


def of(compared: tuple[Comparison, ...], metric: str, strategy: str) -> Comparison:
    return next(one for one in compared if one.metric == metric and one.a == f"adapted, {strategy}")


def test_an_adapter_is_compared_with_its_base_strategy_by_strategy(base: Path, adapted: Path, release: Path) -> None:
    pair = pair_of([base, adapted], release)
    assert pair.base.run.label == "lab/model"
    assert pair.adapted.run.label == "lab/model+listener"
    assert [(one.a, one.b) for one in pair.same if one.metric == "overall"] == [
        (f"adapted, {name}", f"base, {name}") for name in ("standard", "culture", "guided", "annotation", "cga")
    ]


@pytest.mark.parametrize(
    "changed",
    [{"strategies": {"standard": "0" * 16}}, {"model_identity": "0" * 16}, {"generation": {"temperature": 0.0}}],
    ids=["a prompt", "another folder of the same name", "the temperature"],
)
def test_what_was_asked_otherwise_is_no_base(base: Path, adapted: Path, release: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    other = shutil.copytree(base, tmp_path / "other")
    manifest = json.loads((other / "run.json").read_text(encoding="utf-8"))
    for field, value in changed.items():
        manifest[field] = {**manifest[field], **value} if isinstance(value, dict) else value
    (other / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
    evidence = read_evidence([other, adapted], release, Silent())
    assert list(adapted_pairs(evidence, evidence.panels[0])) == []


def test_the_cards_means_are_of_the_posts_that_both_have(base: Path, adapted: Path, release: Path, tmp_path: Path) -> None:
    gappy = shutil.copytree(adapted, tmp_path / "gappy")
    [verdicts] = gappy.glob("*.verdicts.jsonl")
    rows = [json.loads(line) for line in verdicts.read_text(encoding="utf-8").splitlines()]
    high = {row["reply_id"] for row in rows if row["dimension"] == "empathy" and (row["score"] or 0) > 4.2}
    for row in rows:
        if row["reply_id"] in high:
            row |= {"score": None, "reason": "the answer holds no grade: made up", "digit_mass": None, "prompt_tokens": None}
    verdicts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pair = pair_of([base, gappy], release)
    shown = benchmark_scores(pair)
    assert any(0 < score.n < 80 for score in shown.scores)
    for score in shown.scores:
        assert score.base is not None
        assert score.adapted is not None
        assert score.difference == pytest.approx(score.adapted - score.base, abs=1e-9)


def test_what_the_adapter_gained_is_found_and_nothing_else_is(base: Path, adapted: Path, release: Path) -> None:
    pair = pair_of([adapted, base], release)  # In whatever order the runs are named.
    gained = of(pair.same, "cultural", "standard")
    assert gained.difference == pytest.approx(0.6, abs=0.01)
    assert gained.p_adjusted is not None
    assert gained.p_adjusted < 0.01
    for name in ("culture", "guided", "annotation", "cga"):
        unchanged = of(pair.same, "cultural", name)
        assert unchanged.p_adjusted is not None
        assert unchanged.p_adjusted > 0.05


def test_the_adapter_without_annotations_is_compared_with_the_base_with_them(base: Path, adapted: Path, release: Path) -> None:
    across = of(pair_of([base, adapted], release).across, "cultural", "standard")
    assert across.b == "base, cga"
    assert across.difference == pytest.approx(0.0, abs=0.01)


def test_all_comparisons_of_an_adapter_are_one_family(base: Path, adapted: Path, release: Path) -> None:
    pair = pair_of([base, adapted], release)
    least = min((one for one in (*pair.same, *pair.across) if one.p is not None), key=lambda one: one.p or 0)
    assert least.p_adjusted == pytest.approx((least.p or 0) * len((*pair.same, *pair.across)))


def test_without_its_base_an_adapter_is_compared_with_nothing(adapted: Path, release: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", release, "lab/other", flat_means())
    evidence = read_evidence([adapted, other], release, Silent())
    assert list(adapted_pairs(evidence, evidence.panels[0])) == []


def test_a_run_of_the_base_that_was_made_otherwise_is_not_its_base(base: Path, adapted: Path, release: Path, tmp_path: Path) -> None:
    other = shutil.copytree(base, tmp_path / "greedy")
    manifest = json.loads((other / "run.json").read_text(encoding="utf-8"))
    manifest["generation"]["temperature"] = 0.0
    (other / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
    evidence = read_evidence([other, base, adapted], release, Silent())
    [pair] = adapted_pairs(evidence, evidence.panels[0])
    assert pair.base.run.there.folder == base
    alone = read_evidence([other, adapted], release, Silent())
    assert list(adapted_pairs(alone, alone.panels[0])) == []


def test_the_page_and_its_markdown_tell_what_the_adapter_changed(base: Path, adapted: Path, release: Path, tmp_path: Path) -> None:
    for path in make_report([base, adapted], tmp_path / "report.html", Silent(), release=release):
        text = path.read_text(encoding="utf-8")
        assert "What each adapter changes" in text
        assert "adapted, standard less base, cga" in text
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "higher than the base" in html
    assert "standard (base: cga)" in html


def test_a_report_without_an_adapter_has_no_such_section(base: Path, release: Path, tmp_path: Path) -> None:
    for path in make_report([base], tmp_path / "report.html", Silent(), release=release):
        assert "What each adapter changes" not in path.read_text(encoding="utf-8")
