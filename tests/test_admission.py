"""Admission: what may stand on a board, and every reason why something may not. The corpus in `hostile` has the cheats one by one."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

import pytest

from culturecare_harness.admission import judged_by_kin, notes, refusals, untimely
from culturecare_harness.bundle import WITHHELD, PublicReply, contents, pack, read_bundle
from culturecare_harness.jury import JuryResult, JuryVerdict
from culturecare_harness.protocols import Posts, Protocol, select_protocol
from culturecare_harness.records import Result, Verdict, reply_id
from tests import hostile
from tests.bundles import jury_of, jury_protocol, make_bundle, make_jury_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from culturecare_harness.board import Entry
    from culturecare_harness.bundle import Bundle

DEMO = select_protocol("demo")
HONEST = make_bundle(strategies=("standard",))
BENCH = jury_of("lab-a/judge-1", "lab-b/judge-2", "Qwen/Qwen2.5-72B-Instruct", at_least=2)
JURY = jury_protocol(BENCH)


def read_again(tmp_path: Path, files: dict[str, bytes]) -> Bundle:
    return read_bundle(hostile.as_zip(tmp_path, files))


def closed(protocol: Protocol = DEMO) -> Protocol:
    """The demo's protocol as if its posts might not be shown, by another name."""
    posts = protocol.posts.model_copy(update={"split": "test"})
    return protocol.model_copy(update={"name": "closed", "posts": posts, "withheld_ceiling": 0.1})


def standing(bundle: Bundle) -> Entry:
    from culturecare_harness.board import _entry, folder_of

    return _entry(bundle, folder_of(bundle), DEMO)


# --- What is taken ---------------------------------------------------------------------------------------------------------------


def test_an_honest_bundle_is_taken() -> None:
    assert refusals(HONEST) == []
    assert refusals(make_bundle("example/other"), [standing(HONEST)]) == []


def test_an_interval_without_width_is_none_as_results_once_had_it(tmp_path: Path) -> None:
    changed = []

    def as_once(result: dict[str, Any]) -> None:
        for score in result["scores"]:
            if score["mean"] is not None and score["low"] is None:
                score |= {"low": score["mean"], "high": score["mean"]}
                changed.append(score)

    assert list(refusals(read_again(tmp_path, hostile.edited(result=as_once, base=contents(make_bundle(quality=9.0)))))) == []
    assert changed


def test_every_reason_is_said_at_once(tmp_path: Path) -> None:
    def spoil(replies: list[dict[str, Any]]) -> None:
        for reply in replies:
            reply |= {"prompt_hash": "0" * 16, "dataset_revision": "1" * 16}

    files = hostile.edited(
        replies=spoil, result=lambda result: result.update(judge=None), submission=hostile.put_in(submitted="2026-01-01T00:00:00")
    )
    reasons = refusals(read_again(tmp_path, files))
    for word in ("revision 1111111111111111", "was prompted by 0000000000000000", "no judge", "a time with its zone"):
        assert any(word in reason for reason in reasons)


def test_samples_of_lm_eval_name_their_settings_in_its_own_words(tmp_path: Path) -> None:
    def in_its_words(record: dict[str, Any]) -> None:
        record["generation"] = {"temperature": 0.7, "max_gen_toks": 96, "do_sample": True, "until": []}

    def all_in_its_words(replies: list[dict[str, Any]]) -> None:
        for reply in replies:
            in_its_words(reply)

    files = hostile.edited(replies=all_in_its_words, result=in_its_words)
    assert refusals(read_again(tmp_path, files)) == []


# --- The protocol ----------------------------------------------------------------------------------------------------------------


def test_a_retired_protocol_takes_nothing_new_and_keeps_what_it_has() -> None:
    retired = {"demo": DEMO.model_copy(update={"status": "retired", "retired_because": "its judge is gone"})}
    assert retired["demo"].hash == DEMO.hash
    assert refusals(HONEST, known=retired) == ["protocol 'demo' is retired: its judge is gone"]
    assert refusals(HONEST, known=retired, standing=True) == []


def test_what_claims_to_be_of_a_time_after_its_protocol_was_retired_is_refused() -> None:
    def reasons(last: dt.date) -> list[str]:
        retired = {"status": "retired", "retired_because": "its judge is gone", "retired_on": last}
        return refusals(HONEST, known={"demo": DEMO.model_copy(update=retired)}, standing=True)

    assert reasons(dt.date(2026, 1, 1)) == []
    assert reasons(dt.date(2025, 12, 31)) == [
        "it was submitted on 2026-01-01, by its own word, but protocol 'demo' takes nothing since 2025-12-31: its judge is gone"
    ]


def test_the_day_of_retiring_is_one_of_universal_time() -> None:
    retired = DEMO.model_copy(update={"status": "retired", "retired_because": "x", "retired_on": dt.date(2026, 1, 1)})
    east, west = dt.timezone(dt.timedelta(hours=10)), dt.timezone(dt.timedelta(hours=-10))
    assert untimely(dt.datetime(2026, 1, 2, 9, tzinfo=east), retired) is None
    assert untimely(dt.datetime(2026, 1, 1, 20, tzinfo=west), retired) is not None


def test_a_protocol_that_asks_for_several_strategies_gets_them() -> None:
    strict = DEMO.model_copy(update={"required": ("standard", "cga")})
    bundle = make_bundle(strategies=("standard",), protocol_hash=strict.hash)
    assert refusals(bundle, known={"demo": strict}) == ["strategy 'cga' is missing, which protocol 'demo' asks for"]


def test_coverage_is_held_to_the_floor_strategy_by_strategy(tmp_path: Path) -> None:
    both = contents(make_bundle(strategies=("standard", "cga")))
    two_of_98 = {"score": None, "reason": "the call failed", "distribution": None, "digit_mass": None}
    files = hostile.edited(verdicts=lambda verdicts: [verdict.update(two_of_98) for verdict in verdicts[-2:]], base=both)
    reasons = refusals(read_again(tmp_path, files))
    assert any(reason.startswith("strategy 'cga': only 0.980 of its verdicts have a score") for reason in reasons)
    assert not any(reason.startswith("strategy 'standard'") for reason in reasons)


# --- Withheld replies ------------------------------------------------------------------------------------------------------------


def withholding(number: int, **fields: Any) -> tuple[Bundle, dict[str, Protocol]]:
    """A bundle under a protocol whose posts may not be shown, of whose replies so many are withheld."""
    protocol = closed()
    hidden = {"text": None, "withheld": WITHHELD, **fields}
    replies = [
        PublicReply.model_validate({**reply.model_dump(), "split": "test", **(hidden if place < number else {})})
        for place, reply in enumerate(HONEST.replies)
    ]
    assert isinstance(HONEST.result, Result)
    result = HONEST.result.model_copy(
        update={"dataset": HONEST.result.dataset.model_copy(update={"split": "test"}), "protocol": protocol.name}
    )
    about = HONEST.submission.model_dump(exclude={"files"}) | {"protocol": protocol.name, "protocol_hash": protocol.hash}
    return pack(about, result, replies, HONEST.verdicts), {protocol.name: protocol}


def test_some_replies_may_be_withheld_where_posts_may_not_be_shown() -> None:
    bundle, known = withholding(1)
    assert refusals(bundle, known=known) == []


def test_a_withheld_replys_grade_stands_beside_those_of_the_others() -> None:
    bundle, known = withholding(1)
    [note] = [note for note in notes(bundle, known["closed"]) if "withheld" in note]
    assert note.startswith("1 of 14 replies are withheld, since they repeat the post; nobody can judge them again. Their mean grade is ")


def test_more_than_the_protocols_share_is_too_many() -> None:
    bundle, known = withholding(2)
    [reason] = refusals(bundle, known=known)
    assert reason.startswith("2 of 14 replies are withheld, more than the share of 0.1")


# --- Who hands it in -------------------------------------------------------------------------------------------------------------


def test_the_same_bundle_is_taken_once_whatever_its_time() -> None:
    later = pack(
        HONEST.submission.model_dump(exclude={"files"}) | {"submitted": dt.datetime(2026, 3, 1, tzinfo=dt.UTC)},
        HONEST.result,
        HONEST.replies,
        HONEST.verdicts,
    )
    for again in (HONEST, later):
        [reason] = refusals(again, [standing(HONEST)])
        assert reason == "it is on the board already, handed in by somebody on 2026-01-01"


@pytest.mark.parametrize("model", ["example/listener", "Example/LISTENER"])
def test_another_persons_model_is_theirs(model: str) -> None:
    [reason] = refusals(make_bundle(model, seed=1, submitter="thief"), [standing(HONEST)])
    assert reason == "model 'example/listener' is on the board by somebody; only they can hand in another run of it"


def test_its_owner_can_hand_in_another_run() -> None:
    assert refusals(make_bundle("example/listener", seed=1), [standing(HONEST)]) == []


def replayed(change: Callable[[int, str], str] = lambda _, text: text, **submission: Any) -> Bundle:
    """The honest bundle's replies under another model's name, with ids made again, and perhaps with changes."""
    renamed = {}
    replies = []
    for place, reply in enumerate(HONEST.replies):
        text = change(place, reply.text or "")
        name = reply_id(reply.instance_id, reply.strategy, "thief/model", text)
        renamed[reply.id] = name
        replies.append(reply.model_copy(update={"id": name, "model": "thief/model", "text": text}))
    verdicts = [verdict.model_copy(update={"reply_id": renamed[verdict.reply_id]}) for verdict in HONEST.verdicts]
    result = HONEST.result.model_copy(update={"model": HONEST.result.model.model_copy(update={"name": "thief/model"})})
    scores = tuple(score for score in result.scores if score.metric != "reply_characters")
    about = HONEST.submission.model_dump(exclude={"files"}) | {"model": "thief/model", "submitter": "thief"} | submission
    return pack(about, result.model_copy(update={"scores": scores}), replies, verdicts)


def test_anothers_replies_under_another_name_are_known_again() -> None:
    assert refusals(replayed()) == []
    [reason] = refusals(replayed(), [standing(HONEST)])
    assert reason == "its replies are word for word those of 'example/listener', handed in by somebody"


def edited(text: str, place: int) -> str:
    words = text.split()
    return " ".join([*words[:place], "really", *words[place:]])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: f"{text} word",
        lambda text: f"Well, {text}",
        lambda text: f" {text.upper()}!",
        lambda text: edited(text, 15),
        lambda text: " ".join(text.split()[:-3]),
        lambda text: f"{text} " + " ".join(f"own{number}" for number in range(60)),
        "\u200b".join,
    ],
    ids=[
        "a word appended",
        "a word before",
        "in capitals",
        "a word in the middle",
        "three less",
        "own words behind",
        "unseen characters",
    ],
)
def test_anothers_replies_with_a_small_change_each_are_known_again(change: Callable[[str], str]) -> None:
    [reason] = refusals(replayed(lambda _, text: change(text)), [standing(HONEST)])
    assert re.fullmatch(r"about \d+% of its passages are those of 'example/listener', handed in by somebody", reason)


def test_a_few_equal_replies_are_chance() -> None:
    assert refusals(replayed(lambda place, text: text if place < 4 else " ".join(reversed(text.split()))), [standing(HONEST)]) == []


def test_one_strategy_of_anothers_is_known_again() -> None:
    [reason] = refusals(replayed(), [standing(make_bundle())])
    assert reason == "about 100% of its passages are those of 'example/listener', handed in by somebody"


# --- How long replies are --------------------------------------------------------------------------------------------------------


def test_a_reply_of_more_than_its_tokens_can_be_is_refused() -> None:
    # The demo asks for at most 96 tokens.
    [reason] = refusals(replayed(lambda place, text: text + " word" * (6000 if place == 0 else 0)))
    assert re.match(r"reply [0-9a-f]{16} has 30\d\d\d bytes, .* at most 96 tokens, which are never more than 3072 bytes", reason)


@pytest.mark.parametrize(
    "text",
    ["word " * 96, "अन्तर्राष्ट्रीय " * 60, "心配しないでください。" * 30, "-" * 6144, "\n" * 10_000],
    ids=["English", "long words of three bytes a letter", "Japanese", "dashes", "lines"],
)
def test_what_96_tokens_can_be_is_taken(text: str) -> None:
    assert refusals(replayed(lambda place, own: f"{own[:20]} {text}" if place == 0 else own)) == []


# --- Juries ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged_by_jury() -> Bundle:
    return make_jury_bundle(BENCH, missing=1)


def spoiled(bundle: Bundle, verdict: Callable[[JuryVerdict], JuryVerdict] = lambda verdict: verdict, **fields: Any) -> list[str]:
    """Reasons against the bundle with its verdicts changed, or fields of its result."""
    assert isinstance(bundle.result, JuryResult)
    verdicts = [verdict(given) for given in bundle.verdicts if isinstance(given, JuryVerdict)]
    about = bundle.submission.model_dump(exclude={"files"})
    changed = pack(about, bundle.result.model_copy(update=fields), bundle.replies, verdicts)
    return refusals(changed, known={JURY.name: JURY})


def test_a_jurys_bundle_is_taken_and_comes_back_as_it_was(judged_by_jury: Bundle, tmp_path: Path) -> None:
    assert refusals(judged_by_jury, known={JURY.name: JURY}) == []
    assert read_again(tmp_path, contents(judged_by_jury)) == judged_by_jury


def test_a_stranger_on_the_bench_is_refused(judged_by_jury: Bundle) -> None:
    reasons = spoiled(judged_by_jury, lambda verdict: verdict.model_copy(update={"jurors": verdict.jurors | {"friend": 5.0}}))
    assert any("does not follow from what the judge answered" in reason for reason in reasons)


def test_a_juror_less_is_refused(judged_by_jury: Bundle) -> None:
    def without_b(verdict: JuryVerdict) -> JuryVerdict:
        jurors = {name: score for name, score in verdict.jurors.items() if name != "b"}
        present = [score for score in jurors.values() if score is not None]
        return verdict.model_copy(update={"jurors": jurors, "score": sum(present) / len(present)})

    assert any("does not follow from what the judge answered" in reason for reason in spoiled(judged_by_jury, without_b))


def test_a_missing_mean_of_enough_scores_is_refused(judged_by_jury: Bundle) -> None:
    # So the worst verdicts could be left out.
    reasons = spoiled(judged_by_jury, lambda verdict: verdict.model_copy(update={"score": None, "reason": "too few"}))
    assert any("does not follow from what the judge answered" in reason for reason in reasons)


def test_the_jurors_own_scores_follow_from_their_verdicts(judged_by_jury: Bundle) -> None:
    assert isinstance(judged_by_jury.result, JuryResult)
    of_judges = judged_by_jury.result.judges
    [first, *rest] = of_judges["a"]
    raised = of_judges | {"a": (first.model_copy(update={"mean": 5.0}), *rest)}
    [reason] = spoiled(judged_by_jury, judges=raised)
    assert "is given as 5.0, but its verdicts give" in reason
    assert spoiled(judged_by_jury, judges={"a": of_judges["a"]}) == ["result.json: its judges' scores are not those of its jury's judges"]
    [reason] = spoiled(judged_by_jury, judge_coverage=judged_by_jury.result.judge_coverage | {"a": 1.0})
    assert reason.startswith("result.json: the coverage of judge 'a' is given as 1.0")


def test_a_judge_of_the_models_family_must_be_left_out(judged_by_jury: Bundle) -> None:
    # `make_jury_bundle` seats the jury over the run's name; handed in under another, its kin would have judged.
    kin = make_jury_bundle(BENCH, "Qwen/Qwen3-8B")
    assert refusals(kin, known={JURY.name: JURY}) == []
    assert any("Judge 'c' was left out" in note for note in notes(kin, JURY))
    about = judged_by_jury.submission.model_dump(exclude={"files"}) | {"model": "Qwen/Qwen3-8B"}
    disguised = pack(about, judged_by_jury.result, judged_by_jury.replies, judged_by_jury.verdicts)
    [reason] = refusals(disguised, known={JURY.name: JURY})
    assert "is not that of protocol 'demo-jury': 'bench' (a, b)" in reason


def test_a_jury_for_a_judge_and_a_judge_for_a_jury_are_refused(judged_by_jury: Bundle) -> None:
    with_judge = DEMO.model_copy(update={"name": JURY.name})
    about = judged_by_jury.submission.model_dump(exclude={"files"}) | {"protocol_hash": with_judge.hash}
    bundle = pack(about, judged_by_jury.result, judged_by_jury.replies, judged_by_jury.verdicts)
    assert any("a jury judged, but protocol" in reason for reason in refusals(bundle, known={JURY.name: with_judge}))
    by_judge = make_bundle(strategies=("standard",), protocol_hash=JURY.model_copy(update={"name": "demo"}).hash)
    reasons = refusals(by_judge, known={"demo": JURY.model_copy(update={"name": "demo"})})
    assert any("one judge judged, but protocol 'demo' has the jury 'bench'" in reason for reason in reasons)


# --- Modes of judging ------------------------------------------------------------------------------------------------------------


def by_samples(answers: tuple[str, ...], shares: tuple[float, ...], score: float | None, *, mode: str = "sampled") -> list[str]:
    """Reasons against a bundle with one verdict like this, under the demo's protocol with a judge that answers in words."""
    assert DEMO.judge is not None
    judge = DEMO.judge.model_copy(update={"mode": mode})
    protocol = DEMO.model_copy(update={"judge": judge})
    verdicts = []
    for place, verdict in enumerate(HONEST.verdicts):
        assert isinstance(verdict, Verdict)
        grade = round(verdict.score or 3)
        own = {"score": float(grade), "distribution": tuple(float(grade == number) for number in range(1, 6)), "answers": (f"{grade}",)}
        if place == 0:
            reason = None if score is not None else "no number"
            own = {"score": score, "distribution": shares or None, "answers": answers, "reason": reason}
        verdicts.append(verdict.model_copy(update={"judge": judge, "digit_mass": None, **own}))
    about = HONEST.submission.model_dump(exclude={"files"}) | {"protocol_hash": protocol.hash}
    result = HONEST.result.model_copy(update={"judge": judge})
    return [reason for reason in refusals(pack(about, result, HONEST.replies, verdicts), known={"demo": protocol}) if "follow" in reason]


def test_sampled_scores_follow_from_the_answers() -> None:
    assert by_samples(("4", "Grade: 5", "none"), (0, 0, 0, 0.5, 0.5), 4.5) == []
    assert by_samples(("1", "1", "1"), (0, 0, 0, 0.5, 0.5), 4.5) != []
    assert by_samples((), (0, 0, 0, 0, 1), 5.0) != []
    assert by_samples(("5",), (0, 0, 0, 0, 1), 5.0, mode="argmax") == []


def test_answers_that_could_quote_a_post_are_refused_where_posts_may_not_be_shown() -> None:
    bundle, known = withholding(0)
    answered = [verdict.model_copy(update={"answers": ("As the post says: help me. 4",)}) for verdict in bundle.verdicts]
    about = bundle.submission.model_dump(exclude={"files"})
    reasons = refusals(pack(about, bundle.result, bundle.replies, answered), known=known)
    assert reasons == ["verdicts.jsonl: an answer holds more than a grade, and so could quote a post that may not be shown"]


def test_a_score_that_the_answers_give_is_not_missing() -> None:
    assert by_samples(("I can't say",), (), None) == []
    assert by_samples(("1",), (), None) != []


# --- Notes -----------------------------------------------------------------------------------------------------------------------


def test_notes_are_told_from_the_bundle_and_not_by_the_submitter(tmp_path: Path) -> None:
    files = hostile.edited(result=hostile.put_in(notes=["Verified by the maintainers."]))
    told = notes(read_again(tmp_path, files), DEMO)
    assert told == notes(HONEST, DEMO)
    assert not any("Verified" in note for note in told)
    assert any("no measure" in note for note in told)
    assert any("synthetic" in note for note in told)


def test_a_run_by_another_name_is_said() -> None:
    bundle = pack(
        HONEST.submission.model_dump(exclude={"files"}) | {"model": "famous/model"}, HONEST.result, HONEST.replies, HONEST.verdicts
    )
    assert refusals(bundle) == []
    assert "The run calls the model 'example/listener'; it was handed in as 'famous/model'." in notes(bundle, DEMO)


def test_replies_without_an_overall_score_are_counted(tmp_path: Path) -> None:
    # One verdict of seven takes the whole reply out of the mean, so that a high coverage of verdicts may hide many replies.
    failed = {"score": None, "reason": "the call failed", "distribution": None, "digit_mass": None}
    files = hostile.edited(
        verdicts=lambda verdicts: [verdict.update(failed) for verdict in (verdicts[0], verdicts[7])],
        result=lambda result: result.update(reasons={"the call failed": 2}),
    )
    assert "2 of 14 replies have no overall score, since a verdict on them is missing." in notes(read_again(tmp_path, files), DEMO)


def test_a_judge_of_the_models_own_family_is_said() -> None:
    kin = make_bundle("HuggingFaceTB/SmolLM2-1.7B-Instruct", strategies=("standard",))
    assert judged_by_kin(kin)
    assert any("own family" in note for note in notes(kin, DEMO))
    assert not judged_by_kin(HONEST)


def test_posts_are_named_by_what_they_are_in_any_order() -> None:
    posts = [(reply.culture, reply.instance_id) for reply in HONEST.replies]
    assert Posts.fingerprint(posts) == Posts.fingerprint([*reversed(posts), *posts]) == DEMO.posts.instances
    assert Posts.fingerprint(posts[1:]) != DEMO.posts.instances
