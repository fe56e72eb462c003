"""Planning: power by simulation and by formula, the study's size, expected agreement, and the spread of an earlier study."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import ValidationError

from culturecare import CultureCareError
from culturecare_harness.against_people import PersonGrade
from culturecare_harness.human.analysis import score_ratings
from culturecare_harness.human.earlier_study import spread_of_packet
from culturecare_harness.human.forms import select_form
from culturecare_harness.human.items import read_key
from culturecare_harness.human.packets import make_packet
from culturecare_harness.human.ratings import append_ratings
from culturecare_harness.power import ASSUMED, Design, Spread, analytic_power, comparisons_of, plan_study, render_plan, spread_of
from culturecare_harness.significance import permutation_p, power_of_t
from tests.raters import NOON, answers, make_run, small_packet

if TYPE_CHECKING:
    from pathlib import Path

    from culturecare_harness.human.packets import MadePacket

FINE = Spread(post=0.3, reply=0.4, rater=0.3, residual=0.4, source="a test")


def design(**changes: Any) -> Design:
    fields = {"cultures": 2, "posts": 20, "replies": 2, "raters": 3, "difference": 0.3, "spread": FINE, "family": 1}
    return Design.model_validate(fields | changes)


# --- Power -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("posts", "raters", "same"), [(20, 3, True), (10, 2, False), (40, 1, True)])
def test_in_the_middle_of_the_scale_simulation_and_formula_agree(posts: int, raters: int, same: bool) -> None:  # noqa: FBT001 - a case.
    plan = plan_study(design(posts=posts, raters=raters, same_raters=same, mean=2.85))
    assert plan.power == pytest.approx(plan.power_analytic, abs=0.02 + 3 * plan.power_error)
    assert plan.power_error == pytest.approx(math.sqrt(plan.power * (1 - plan.power) / 2000))
    assert plan.difference_seen == pytest.approx(0.3, abs=0.02)


def test_the_formula_is_the_paired_t_test() -> None:
    # One culture, one rater: each difference has the variance 2 (reply² + residual² + 1/12).
    error = math.sqrt(2 * (0.4**2 + 0.4**2 + 1 / 12) / 20)
    assert analytic_power(design(cultures=1, raters=1)) == pytest.approx(power_of_t(0.3, error, 19))


def test_more_posts_raters_or_difference_give_more_power_and_a_larger_family_less() -> None:
    base = analytic_power(design())
    for better in ({"posts": 40}, {"raters": 9}, {"difference": 0.5}, {"cultures": 4}):
        assert analytic_power(design(**better)) > base
    for worse in ({"family": 10}, {"same_raters": False}, {"spread": ASSUMED}):
        assert analytic_power(design(**worse)) < base


def test_near_the_end_of_the_scale_a_difference_looks_smaller_and_simulation_says_so() -> None:
    plan = plan_study(design(mean=4.7))
    assert plan.difference_seen < 0.25
    assert plan.power < plan.power_analytic
    assert any("ends of the scale" in note for note in plan.notes)


@pytest.mark.slow
def test_without_a_difference_power_is_the_level_on_its_side() -> None:
    plan = plan_study(design(difference=1e-6, posts=30, spread=ASSUMED))
    assert plan.power == pytest.approx(0.025, abs=0.011)


def test_the_study_of_the_needed_size_has_the_wanted_power_and_a_smaller_one_not() -> None:
    needed = plan_study(design()).posts_needed
    assert needed is not None
    assert plan_study(design(posts=needed)).power >= 0.8
    assert plan_study(design(posts=needed - 1)).power < 0.8
    assert plan_study(design(power=0.95)).posts_needed > needed  # type: ignore[operator]


def test_a_difference_that_no_study_could_find_is_said_so() -> None:
    plan = plan_study(design(difference=0.001), simulations=100)
    assert plan.posts_needed is None
    assert any("More than 2000 posts" in note for note in plan.notes)


def test_the_detectable_difference_has_the_wanted_power() -> None:
    plan = plan_study(design(family=5), simulations=100)
    assert analytic_power(design(family=5, difference=plan.detectable)) == pytest.approx(0.8, abs=1e-3)


def test_equal_plans_are_equal_and_another_seed_changes_chance_alone() -> None:
    first, again, other = plan_study(design()), plan_study(design()), plan_study(design(), seed=7)
    assert first == again
    assert other.power == pytest.approx(first.power, abs=5 * first.power_error)


@pytest.mark.slow
def test_the_permutation_test_has_the_power_of_the_plan() -> None:
    plan = plan_study(design(posts=10))
    generator = np.random.default_rng(12)
    found = 0
    for _ in range(600):
        grades = 3 + 0.4 * generator.normal(size=(2, 2, 10)) + np.array([0, 0.3])[:, None, None]
        rater = 0.3 * generator.normal(size=(2, 1, 3))
        rated = np.clip(np.round(grades[..., None] + rater + 0.4 * generator.normal(size=(2, 2, 10, 3))), 1, 5).mean(axis=-1)
        found += permutation_p((rated[1] - rated[0]).tolist()) < 0.05
    assert found / 600 == pytest.approx(plan.power, abs=0.02 + 2 * 0.02)


# --- Agreement -------------------------------------------------------------------------------------------------------------------


def test_more_posts_make_agreement_known_better_and_less_noise_makes_it_higher() -> None:
    few, many = plan_study(design(posts=20), simulations=100), plan_study(design(posts=200), simulations=100)
    clear = plan_study(design(spread=FINE.model_copy(update={"residual": 0.1, "rater": 0.0})), simulations=100)
    for before, after, better in zip(few.agreement, many.agreement, clear.agreement, strict=True):
        assert before.width is not None
        assert after.width == pytest.approx(before.width / math.sqrt(10), rel=0.2)
        assert (better.value or 0) > (before.value or 0)


def test_one_rater_or_few_posts_tell_nothing_of_agreement() -> None:
    alone, few = plan_study(design(raters=1), simulations=100), plan_study(design(posts=8), simulations=100)
    assert all(row.value is None and row.width is None and row.studies == 0 for row in alone.agreement)
    assert any("One rater" in note for note in alone.notes)
    assert all(row.value is not None and row.width is None for row in few.agreement)
    assert any("Fewer than 10 posts" in note for note in few.notes)


# --- What a plan is made from ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replies", "models", "family"),
    [
        (2, 1, 4),  # One pair, on four metrics.
        (6, 1, 4 * 15),
        (6, 2, 4 * (2 * 3 + 3)),  # Two models by three strategies.
        (16, 3, 4 * (3 * 10 + 5 * 3 + 15)),  # Three models by five strategies, and the peer.
        (5, 5, 4 * 10),
    ],
)
def test_a_family_is_what_human_score_compares_unless_said(replies: int, models: int, family: int) -> None:
    assert design(replies=replies, models=models, family=None).family == comparisons_of(replies, models) == family
    assert design(replies=replies, models=models, metrics=8, family=None).family == 2 * family
    assert design(replies=replies, models=models, family=15).family == 15


@pytest.mark.parametrize("models", [("lab/one",), ("lab/one", "lab/two")])
def test_a_plan_corrects_for_as_many_comparisons_as_human_score_makes(tmp_path: Path, models: tuple[str, ...]) -> None:
    strategies = ("standard", "culture", "cga")
    runs = [make_run(model, strategies, ("german",)) for model in models]
    replies = len(models) * len(strategies) + 1
    made = make_packet(
        runs,
        select_form("annotator"),
        raters={"german": 2},
        out=tmp_path / "packet",
        per_item=replies,
        raters_per_item=2,
        checks=0,
        repeats=0,
    )
    rated = [rating for rater in made.packet.assignments for rating in answers(made.packet, rater)]
    found = score_ratings(made.packet, read_key(made.packet), rated, at=NOON).comparisons
    assert len(found) == design(replies=replies, models=len(models), family=None).family


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"posts": 1}, "posts"),
        ({"raters": 0}, "raters"),
        ({"replies": 6, "models": 4}, "6 replies are not those of 4 models"),
        ({"replies": 2, "models": 3}, "2 replies are not those of 3 models"),
        ({"replies": "six", "family": None}, "replies"),
        ({"replies": 1}, "replies"),
        ({"difference": 0}, "difference"),
        ({"difference": 2, "mean": 4}, "leave the scale, which ends at 5"),
        ({"level": 0.6}, "level"),
        ({"power": 1}, "power"),
        ({"posts": 100_000}, "posts"),
        ({"spread": {"post": 0, "reply": 0, "rater": 0, "residual": 0, "source": "x"}}, "nothing varies"),
        ({"spread": {"post": -1, "reply": 0, "rater": 0, "residual": 1, "source": "x"}}, "post"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        design(**changes)


def test_too_few_simulations_are_refused() -> None:
    with pytest.raises(CultureCareError, match="simulations: 10"):
        plan_study(design(), simulations=10)


def test_the_text_says_what_was_found_and_what_was_assumed() -> None:
    plan = plan_study(design(spread=ASSUMED, replies=3, family=2), simulations=200)
    text = render_plan(plan)
    assert "2 cultures × 20 posts × 3 replies × 3 raters: 360 grades" in text
    assert f"Power: {plan.power:.3f} ± {plan.power_error:.3f} (200 simulated studies; formula {plan.power_analytic:.3f})." in text
    assert f"Posts a culture for power 0.8: {plan.posts_needed}." in text
    assert "2 comparisons at level 0.05" in text
    assert "Gwet's AC2" in text
    assert "assumed, not measured" in text
    assert "assumed" not in render_plan(plan_study(design(), simulations=100))


# --- Spread of an earlier study --------------------------------------------------------------------------------------------------


def earlier_study(truth: Spread, seed: int, *, posts: int, share: float = 1.0) -> tuple[list[PersonGrade], dict[str, str]]:
    """Ratings with this spread, of which a share is there; two conditions of which one is better by 1."""
    generator = np.random.default_rng(seed)
    severity = truth.rater * generator.normal(size=60)
    grades, conditions = [], {}
    for post in range(posts):
        level = 3 + truth.post * generator.normal()
        raters = generator.choice(60, 4, replace=False)
        for reply in range(4):
            name = f"{post}-{reply}"
            conditions[name] = "cga" if reply % 2 else "standard"
            quality = level + reply % 2 + truth.reply * generator.normal()
            grades += [
                PersonGrade("german", str(post), name, str(rater), float(quality + severity[rater] + truth.residual * generator.normal()))
                for rater in raters
                if generator.random() < share
            ]
    return grades, conditions


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_an_earlier_study_gives_back_the_spread_it_was_made_with(share: float) -> None:
    truth = Spread(post=0.5, reply=0.6, rater=0.4, residual=0.7, source="truth")
    found = spread_of(*earlier_study(truth, 1, posts=300, share=share))
    for name in ("post", "reply", "residual"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), abs=0.06), name
    assert found.rater == pytest.approx(0.4, abs=0.1)
    assert found.source.startswith("estimated from ")


def test_few_posts_give_back_the_spread_on_average() -> None:
    truth = Spread(post=0.5, reply=0.6, rater=0.0, residual=0.3, source="truth")
    found = [spread_of(*earlier_study(truth, seed, posts=4)) for seed in range(300)]
    for name in ("post", "reply", "residual"):
        assert np.mean([getattr(one, name) ** 2 for one in found]) == pytest.approx(getattr(truth, name) ** 2, rel=0.12), name


def test_means_of_conditions_are_no_spread_of_replies() -> None:
    truth = Spread(post=0.2, reply=0.3, rater=0.2, residual=0.3, source="truth")
    grades, conditions = earlier_study(truth, 2, posts=200)
    assert spread_of(grades, conditions).reply == pytest.approx(0.3, abs=0.05)
    assert spread_of(grades).reply > 0.5


def test_a_study_whose_raters_share_no_two_replies_is_refused() -> None:
    with pytest.raises(CultureCareError, match="no two raters graded the same two replies"):
        spread_of([PersonGrade("german", "p", "a", "x", 3.0), PersonGrade("german", "p", "b", "y", 4.0)])
    grades = [PersonGrade("german", "p", reply, rater, 3.0) for reply in "ab" for rater in "xy"]
    with pytest.raises(CultureCareError, match="no condition has two posts of one culture"):
        spread_of(grades, {"a": "standard", "b": "cga"})
    with pytest.raises(CultureCareError, match="graded reply 'a' twice"):
        spread_of([PersonGrade("german", "p", "a", "x", 3.0), PersonGrade("german", "p", "a", "x", 4.0)])


# --- Spread of an earlier packet -------------------------------------------------------------------------------------------------


def rate_all(made: MadePacket, truth: Spread, seed: int) -> None:
    """Every rater grades every reply on each scale, with this spread on each; replies of one strategy are better by 1."""
    generator = np.random.default_rng(seed)
    origin = {(entry.item, entry.label): entry for entry in read_key(made.packet).entries}
    drawn: dict[tuple[str, ...], float] = {}

    def part(size: float, *of: str) -> float:
        return size * drawn.setdefault(of, float(generator.normal()))

    for rater in made.packet.assignments:

        def answer(question: Any, item: Any, label: str | None, rater: str = rater) -> Any:
            if question.kind != "scale":
                return item.labels if question.kind == "ranking" else None
            entry = origin[item.id, label or ""]
            post, reply = (question.key, entry.instance_id), (question.key, entry.instance_id, str(entry.condition))
            value = 2.5 + str(entry.condition).endswith("cga") + part(truth.post, "post", *post) + part(truth.reply, "reply", *reply)
            value += part(truth.rater, "rater", question.key, rater) + truth.residual * float(generator.normal())
            return int(np.clip(round(value), 1, 5))

        append_ratings(made.packet, answers(made.packet, rater, answer=answer))


def earlier_packet(folder: Path, form: str = "annotator", *, per_culture: int | None = None, **settings: Any) -> MadePacket:
    run = make_run(cultures=["german", "american", "japanese"], per_culture=per_culture)
    return small_packet(folder / "packet", form, runs=[run], include_peer=False, per_item=2, **settings)


def test_an_earlier_packet_gives_back_the_spread_it_was_rated_with(tmp_path: Path) -> None:
    truth = Spread(post=0.4, reply=0.4, rater=0.3, residual=0.5, source="truth")
    made = earlier_packet(tmp_path, repeats=1)
    rate_all(made, truth, 0)
    found = spread_of_packet(made.packet.folder)
    for name in ("post", "reply", "rater"):
        # The ends of the scale take a little of it.
        assert getattr(found, name) == pytest.approx(getattr(truth, name), abs=0.1), name
    # Whole grades vary by a twelfth more.
    assert found.residual == pytest.approx(math.sqrt(0.5**2 + 1 / 12), abs=0.05)
    # Three raters, 24 posts, two replies, seven scales; neither checks nor repeats.
    assert found.source == f"estimated from {3 * 24 * 2 * 7} grades of packet {made.packet.packet.id}"


def test_a_packet_that_tells_too_little_for_a_plan_is_refused(tmp_path: Path) -> None:
    made = earlier_packet(tmp_path / "few", per_culture=3, repeats=0)
    with pytest.raises(CultureCareError, match="nobody has graded a reply yet"):
        spread_of_packet(made.packet.folder)
    rate_all(made, FINE, 1)
    with pytest.raises(CultureCareError, match=r"too few ratings: two raters graded the same two replies on 9 posts, but .* 10 or more"):
        spread_of_packet(made.packet.folder)
    alone = earlier_packet(tmp_path / "alone")
    append_ratings(alone.packet, answers(alone.packet, "german-1"))
    with pytest.raises(CultureCareError, match="too few ratings: two raters graded the same two replies on 0 posts"):
        spread_of_packet(alone.packet.folder)


def test_a_form_without_the_plans_scale_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "{version: 1, title: Mine, summary: One., introduction: Read., questions: [{key: warm, kind: scale, about: reply, required: true,"
        " name: Warmth, question: Say how warm it is., values: {1: 'no', 2: 'yes'}}]}",
        encoding="utf-8",
    )
    made = earlier_packet(tmp_path, str(path), ask_in=dict.fromkeys(("german", "japanese"), "en"))
    with pytest.raises(CultureCareError, match="form 'mine' has no scale from 1 to 5 about replies, which a plan is made for"):
        spread_of_packet(made.packet.folder)
