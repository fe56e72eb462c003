"""Ranking: rates of a comparison, and Bradley-Terry strengths."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import binomtest

from culturecare import CultureCareError
from culturecare_harness.agreement import FEWEST_IN_STRATUM
from culturecare_harness.judges import JudgeFile
from culturecare_harness.pairs import PairVerdict, Preference
from culturecare_harness.ranking import PRIOR, Match, PairSummary, Ranking, rank, rank_matches, summarise_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from culturecare_harness.pairs import Winner

JUDGE = JudgeFile(name="test", summary="", backend="hf", model="none", mode="argmax").judge


def preference(winner: Winner | None) -> Preference:
    return Preference(score=3 if winner else None, winner=winner, reason=None if winner else "no answer")


def verdict(
    forward: Winner | None, backward: Winner | None, *, instance: str = "1", culture: str = "german", names: tuple[str, str] = ("x", "y")
) -> PairVerdict:
    value = flip = tie = None
    if forward and backward:
        value = sum({"first": 1, "tie": 0.5, "second": 0}[winner] for winner in (forward, backward)) / 2
        flip, tie = {forward, backward} == {"first", "second"}, forward == backward == "tie"
    return PairVerdict(
        instance_id=f"{culture}-{instance}",
        culture=culture,
        first=names[0],
        second=names[1],
        first_reply=None,
        second_reply=None,
        judge=JUDGE,
        forward=preference(forward),
        backward=preference(backward),
        value=value,
        flip=flip,
        tie=tie,
    )


def wins_and_losses(wins: int, losses: int, culture: str = "german") -> list[PairVerdict]:
    won = [verdict("first", "first", instance=f"w{number}", culture=culture) for number in range(wins)]
    return won + [verdict("second", "second", instance=f"l{number}", culture=culture) for number in range(losses)]


def summary_of(verdicts: Sequence[PairVerdict], culture: str = "all") -> PairSummary:
    [found] = [summary for summary in summarise_pairs(verdicts) if summary.culture == culture]
    return found


# --- Rates -----------------------------------------------------------------------------------------------------------------------


def test_ties_and_flips_count_half() -> None:
    summary = summary_of(
        [
            verdict("first", "first", instance="1"),
            verdict("tie", "tie", instance="2"),
            verdict("first", "second", instance="3"),
            verdict("first", "tie", instance="4"),
        ]
    )
    assert summary.win_rate.mean == pytest.approx((1 + 0.5 + 0.5 + 0.75) / 4)
    assert summary.tie_rate.mean == 0.25
    assert summary.flip_rate.mean == 0.25


@pytest.mark.parametrize(("wins", "losses"), [(9, 1), (0, 7), (50, 50)])
def test_the_interval_of_wins_and_losses_is_wilsons(wins: int, losses: int) -> None:
    rate = summary_of(wins_and_losses(wins, losses)).win_rate
    wilson = binomtest(wins, wins + losses).proportion_ci(method="wilson")
    assert rate.low == pytest.approx(wilson.low)
    assert rate.high == pytest.approx(wilson.high)


def test_two_wins_of_two_are_no_certainty() -> None:
    rate = summary_of(wins_and_losses(2, 0)).win_rate
    assert rate.mean == 1
    assert rate.high == 1
    assert rate.low == pytest.approx(0.342, abs=1e-3)


@pytest.mark.parametrize("truth", [0.5, 0.8, 0.95])
def test_the_interval_holds_the_true_rate_nineteen_times_of_twenty(truth: float) -> None:
    generator = np.random.default_rng(7)
    hits = 0
    for _ in range(300):
        wins = int(generator.binomial(25, truth))
        rate = summary_of(wins_and_losses(wins, 25 - wins)).win_rate
        hits += rate.low is not None and rate.high is not None and rate.low <= truth <= rate.high
    assert hits / 300 > 0.91


def test_several_pairs_of_one_instance_are_one_trial() -> None:
    once = summary_of(wins_and_losses(6, 4))
    five_times = summary_of(wins_and_losses(6, 4) * 5)
    assert five_times.win_rate == once.win_rate
    assert (five_times.pairs, five_times.instances) == (50, 10)


def test_a_culture_with_more_posts_weighs_no_more() -> None:
    verdicts = wins_and_losses(30, 0, "german") + wins_and_losses(0, 2, "arabic")
    assert summary_of(verdicts).win_rate.mean == 0.5
    assert summary_of(verdicts, "german").win_rate.mean == 1
    assert [summary.culture for summary in summarise_pairs(verdicts)] == ["arabic", "german", "all"]


def test_what_has_no_value_lowers_the_coverage_and_no_rate() -> None:
    summary = summary_of([*wins_and_losses(3, 0), verdict("first", None, instance="4")])
    assert summary.win_rate.mean == 1
    assert (summary.coverage, summary.pairs, summary.instances) == (0.75, 4, 3)


def test_a_culture_without_values_leaves_its_mean_and_the_whole_null() -> None:
    verdicts = [*wins_and_losses(3, 0), verdict(None, None, culture="arabic")]
    assert summary_of(verdicts, "arabic").win_rate.mean is None
    assert summary_of(verdicts).win_rate.mean is None
    assert summary_of(verdicts).coverage == 0.75


def test_a_judge_that_always_takes_the_reply_shown_first_has_bias_one() -> None:
    verdicts = [verdict("first", "second", instance=str(number)) for number in range(20)]
    summary = summary_of(verdicts)
    assert (summary.position_bias.mean, summary.flip_rate.mean, summary.win_rate.mean) == (1, 1, 0.5)
    last = summary_of([verdict("second", "first", instance=str(number)) for number in range(20)])
    assert last.position_bias.mean == -1
    assert last.position_bias.high is not None
    assert last.position_bias.high < -0.6


def test_a_better_reply_is_no_position_bias() -> None:
    assert summary_of(wins_and_losses(20, 0)).position_bias.mean == 0


def test_verdicts_of_two_judges_are_not_mixed() -> None:
    other = verdict("tie", "tie").model_copy(update={"judge": JUDGE.model_copy(update={"name": "other"})})
    for sum_up in (summarise_pairs, rank):
        with pytest.raises(CultureCareError, match=r"several judges are mixed \(other, test\)"):
            sum_up([verdict("tie", "tie"), other])


# --- Bradley-Terry ---------------------------------------------------------------------------------------------------------------


def tournament(strengths: dict[str, float], instances: int, seed: int = 0) -> list[PairVerdict]:
    """Every two contestants compared on every post, by a judge that follows the model."""
    generator = np.random.default_rng(seed)
    verdicts = []
    for number, (one, other) in itertools.product(range(instances), itertools.combinations(strengths, 2)):
        chance = 1 / (1 + math.exp(strengths[other] - strengths[one]))
        orders: list[Winner] = ["first" if generator.random() < chance else "second" for _ in range(2)]
        verdicts.append(verdict(orders[0], orders[1], instance=str(number), names=(one, other)))
    return verdicts


def test_known_strengths_and_their_order_are_recovered() -> None:
    truth = {"c": -0.5, "a": 1.0, "d": -1.0, "b": 0.5}
    ranking = rank(tournament(truth, 300))
    assert [strength.contestant for strength in ranking.strengths] == ["a", "b", "c", "d"]
    for strength in ranking.strengths:
        assert strength.strength == pytest.approx(truth[strength.contestant], abs=0.2)
        assert strength.low is not None
        assert strength.high is not None
        assert strength.low < strength.strength < strength.high
    assert sum(strength.strength for strength in ranking.strengths) == pytest.approx(0, abs=1e-9)
    assert ranking.instances == 300


def test_intervals_hold_the_true_strength() -> None:
    truth = {"a": 0.8, "b": 0.0, "c": -0.8}
    found = [strength for seed in range(8) for strength in rank(tournament(truth, 60, seed)).strengths]
    hits = sum(s.low is not None and s.high is not None and s.low <= truth[s.contestant] <= s.high for s in found)
    assert hits >= 20  # Of 24.


def test_of_two_contestants_the_difference_is_the_log_odds() -> None:
    ranking = rank(wins_and_losses(30, 10), prior=1e-9)
    strongest, weakest = ranking.strengths
    assert strongest.strength - weakest.strength == pytest.approx(math.log(3), abs=1e-4)


def test_who_won_always_has_a_finite_strength_and_no_interval() -> None:
    ranking = rank(wins_and_losses(12, 0))
    assert ranking.strengths[0].contestant == "x"
    # With a quarter of a tie added, 12.125 wins to an eighth of a one.
    assert ranking.strengths[0].strength - ranking.strengths[1].strength == pytest.approx(math.log(97), abs=1e-4)
    assert ranking.prior == PRIOR == 0.25
    assert {(one.low, one.high) for one in ranking.strengths} == {(None, None)}
    assert "y never won over the others or tied with them" in str(ranking.interval_reason)


def test_contestants_that_lost_always_to_the_others_leave_all_without_intervals() -> None:
    def won(one: str, other: str, value: float, post: int) -> Match:
        return Match("german", str(post), one, other, value)

    matches = [
        match
        for post in range(20)
        for match in (won("a", "b", post % 2, post), won("c", "d", post % 3 / 2, post), won("a", "c", 1, post), won("b", "d", 1, post))
    ]
    ranking = rank_matches(matches)
    assert "c, d never won over the others" in str(ranking.interval_reason)
    assert {one.low for one in ranking.strengths} == {None}
    assert rank_matches([*matches, won("c", "b", 0.5, 3), won("c", "b", 1, 4)]).interval_reason is None


def test_posts_that_all_came_out_alike_have_no_interval() -> None:
    ranking = rank_matches([Match("german", str(post), "a", "b", 0.75) for post in range(12)])
    assert ranking.strengths[0].low is None
    assert "leaving out an instance changes nothing" in str(ranking.interval_reason)


@pytest.mark.parametrize("few", [1, FEWEST_IN_STRATUM - 1])
def test_a_culture_with_few_posts_leaves_strengths_without_intervals(few: int) -> None:
    verdicts = wins_and_losses(14, 14, "german") + wins_and_losses(few, 0, "arabic")
    ranking = rank(verdicts)
    assert {one.low for one in ranking.strengths} == {None}
    assert str(ranking.interval_reason).startswith(f"culture 'arabic': intervals need {FEWEST_IN_STRATUM} instances")


def test_the_interval_of_two_is_students_of_the_log_odds() -> None:
    from scipy.stats import t

    values = np.random.default_rng(4).choice([0.0, 0.25, 0.5, 0.75, 1.0], 30)
    first = rank_matches([Match("german", str(post), "a", "b", value) for post, value in enumerate(values)], prior=1e-9).strengths[0]
    # Half the log-odds, by the delta method; the jackknife adds terms of the order of 1 / n.
    share = values.mean()
    half = t.ppf(0.975, 29) * values.std(ddof=1) / math.sqrt(30) / share / (1 - share) / 2
    assert first.low is not None
    assert first.high is not None
    assert (first.low + first.high) / 2 == pytest.approx(first.strength)
    assert (first.high - first.low) / 2 == pytest.approx(half, rel=0.05)


def test_cultures_weigh_the_same_in_a_ranking() -> None:
    verdicts = wins_and_losses(30, 0, "german") + wins_and_losses(0, 2, "arabic")
    assert [strength.strength for strength in rank(verdicts).strengths] == pytest.approx([0, 0], abs=1e-6)


def test_a_few_instances_have_strengths_but_no_intervals() -> None:
    ranking = rank(wins_and_losses(3, 2))
    assert {strength.low for strength in ranking.strengths} == {None}
    assert "intervals need 10 instances, and there are 5" in str(ranking.interval_reason)


def preferred(generator: np.random.Generator, truth: list[float], posts: dict[str, int]) -> list[Match]:
    """Of three people each their orders of all contestants, whose replies differ from post to post."""
    matches = []
    for culture, number in posts.items():
        for post in range(number):
            means = np.array(truth) + 0.5 * generator.normal(size=len(truth))
            liked = means + generator.gumbel(size=(3, len(truth)))
            for one, other in itertools.combinations(range(len(truth)), 2):
                share = float((liked[:, one] > liked[:, other]).mean())
                matches.append(Match(culture, f"{culture}-{post}", str(one), str(other), share))
    return matches


@pytest.mark.slow
@pytest.mark.parametrize("posts", [{"german": 12}, {"german": 12, "arabic": 12}, {"german": 28}], ids=["12", "12 and 12", "28"])
@pytest.mark.parametrize("truth", [[0.5, 0.2, -0.2, -0.5], [2.8, 1.0, -1.0, -2.8]], ids=["close", "far apart"])
def test_intervals_hold_strengths_as_often_as_they_say(truth: list[float], posts: dict[str, int]) -> None:
    studies = 300
    generator = np.random.default_rng(5)
    long_run = {one.contestant: one.strength for one in rank_matches(preferred(generator, truth, {"german": 3000})).strengths}
    hits, made = dict.fromkeys(long_run, 0), 0
    for _ in range(studies):
        ranking = rank_matches(preferred(generator, truth, posts))
        if ranking.interval_reason is not None:
            continue
        made += 1
        for one in ranking.strengths:
            hits[one.contestant] += (one.low or 0) <= long_run[one.contestant] <= (one.high or 0)
    assert made >= 0.98 * studies
    for found in hits.values():
        assert 0.94 - 2 * 0.0126 <= found / made <= 0.99


def test_contestants_that_never_met_are_ranked_through_others_or_not_at_all() -> None:
    def won(one: str, other: str) -> list[PairVerdict]:
        return [verdict("first", "first", instance=str(number), names=(one, other)) for number in range(3)]

    chain = rank(won("a", "b") + won("b", "c"))
    assert [strength.contestant for strength in chain.strengths] == ["a", "b", "c"]
    with pytest.raises(CultureCareError, match="'a' and 'c' cannot be ranked"):
        rank(won("a", "b") + won("c", "d"))


def test_nothing_to_rank_is_said() -> None:
    with pytest.raises(CultureCareError, match="no pair has a value"):
        rank([verdict(None, None)])
    with pytest.raises(CultureCareError, match="must be above 0"):
        rank(wins_and_losses(3, 2), prior=0)


def test_a_ranking_is_the_same_each_time() -> None:
    verdicts = tournament({"a": 0.5, "b": -0.5}, 30)
    first: Ranking = rank(verdicts)
    assert rank(verdicts) == first
    assert rank(list(reversed(verdicts))).strengths[0].strength == pytest.approx(first.strengths[0].strength)


def test_preferences_of_several_people_are_ranked_by_the_share_who_preferred() -> None:
    by_share = [Match("german", str(post), "a", "b", 0.75) for post in range(20)]
    by_votes = [Match("german", str(post), "a", "b", float(vote < 3)) for post in range(20) for vote in range(4)]
    found = rank_matches(by_share).strengths[0]
    assert found.contestant == "a"
    assert found.strength == pytest.approx(rank_matches(by_votes, prior=4 * PRIOR).strengths[0].strength)


def test_without_a_match_nothing_is_ranked() -> None:
    with pytest.raises(CultureCareError, match="nothing to rank"):
        rank_matches([])
