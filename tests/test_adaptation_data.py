"""What a model may be trained on: the gate, the leak check, duplicates, and the way from files to examples."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import culturecare
from culturecare import CultureCareError, Instance, load_instances
from culturecare_harness.adaptation.examples import Example, Preference, Written, example_id
from culturecare_harness.adaptation.leakage import (
    LEAK,
    Benchmark,
    deduplicate,
    find_leaks,
    overlap,
    passages,
    released_instances,
    sample_benchmark,
    trained_on,
)
from culturecare_harness.adaptation.permission import Candidate, candidate_of, read_permission
from culturecare_harness.adaptation.sources import load_training_data
from culturecare_harness.dataset import is_held_out
from culturecare_harness.strategies import strategies

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POST = (
    "Since the move I count trains at night. My flat mate asks nothing, my aunt calls on Fridays and hangs up when I go quiet, and the "
    "letter from the office lies unopened under the bread. I would like somebody to say that a year can be lost and still be mine."
)
REPLY = (
    "A year that hurts is still yours, and the trains will be there tomorrow whether you count them or not. Could your aunt sit beside you "
    "while you open that letter? Two people read slower, and sometimes that is the whole point of it."
)
UNLIKE = (
    "The choir rehearses in a cold hall and nobody has told them that the organ is sold. I sing alto and lie awake over it, every night."
)


def row(number: int, post: str = POST, reply: str | None = REPLY, **fields: Any) -> dict[str, Any]:
    """A made-up row of the released format; hydrated unless told otherwise."""
    return {
        "culture": "German",
        "post_id": f"made{number}",
        "language": "en",
        "post": {"text": post, "emotional_distress": [], "cultural_signals": [], "demographic_info": {}},
        "response": {"text": reply, "emotional_support": [], "cultural_signals": [], "empathy_score": "5"},
        **fields,
    }


def own(**fields: Any) -> dict[str, Any]:
    return {"culture": "german", "post": POST, "reply": REPLY, "licence": "CC0-1.0", "training": "allowed", **fields}


def example(reply: str = REPLY, **fields: Any) -> Example:
    given = {"system": "Reply.", "user": fields.get("post", POST), **fields}
    return Example.model_validate(
        {
            "id": example_id(given["system"], given["user"], reply),
            "instance_id": "own-1",
            "culture": "german",
            "language": "en",
            "synthetic": True,
            "training": "allowed",
            "licence": "CC0-1.0",
            "strategy": "standard",
            "prompt_hash": strategies()["standard"].hash,
            "post": POST,
            "reply": reply,
            "written": None,
            **given,
        }
    )


def preference(chosen: str = REPLY, rejected: str = UNLIKE) -> Preference:
    by = Written(model="m", strategy="cga", judge="j", emotional=4, cultural=4)
    fields = example().model_dump(exclude={"reply", "written", "id"})
    name = example_id(fields["system"], fields["user"], chosen, rejected)
    return Preference(**fields, id=name, chosen=chosen, rejected=rejected, chosen_by=by, rejected_by=by)


def write(path: Path, *rows: dict[str, Any] | Example | Preference) -> str:
    lines = [json.dumps(each if isinstance(each, dict) else each.model_dump(mode="json"), ensure_ascii=False) for each in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def prose(number: int, words: int = 60) -> str:
    """Words that no other number has."""
    return " ".join(f"w{number}x{place}" for place in range(words))


@pytest.fixture
def arrangement(tmp_path: Path) -> Path:
    path = tmp_path / "arrangement.txt"
    path.write_text("They may train on it.", encoding="utf-8")
    return path


@pytest.fixture
def whole_release(tmp_path: Path) -> Path:
    """A folder with released files of every culture: of German the posts made0 to made199, known by their addresses alone."""
    folder = tmp_path / "whole"
    folder.mkdir()
    for name in ("Arabic", "Chinese", "Jewish"):
        write(folder / f"{name}_data.jsonl", row(1, f"https://www.reddit.com/r/{name}/comments/made1/", None, culture=name))
    german = [row(number, f"https://www.reddit.com/r/made/comments/made{number}/", None) for number in range(200)]
    write(folder / "German_data.jsonl", *german)
    return folder


@pytest.fixture
def made_release(tmp_path: Path) -> Path:
    """A folder with one released file of made-up excerpts, as the real ones are."""
    folder = tmp_path / "release"
    folder.mkdir()
    phrases = ["I count trains at night", "my aunt calls on Fridays and hangs up when I go quiet", "a year can be lost and still be mine"]
    excerpt = row(1, "https://www.reddit.com/r/made/comments/made1/", None)
    excerpt["post"]["emotional_distress"] = [{"phrase": phrase, "intensity": "high"} for phrase in phrases]
    write(folder / "German_data.jsonl", excerpt, row(2, "https://www.reddit.com/r/made/comments/made2/", None))
    return folder


class TestPermission:
    def test_says_which_arrangement_it_was_and_not_where_it_lies(self, arrangement: Path) -> None:
        permission = read_permission(arrangement)
        assert permission.file == "arrangement.txt"
        assert permission.sha256 == hashlib.sha256(arrangement.read_bytes()).hexdigest()

    @pytest.mark.parametrize(("content", "said"), [(None, "is not there"), (" \n", "is empty")])
    def test_is_a_file_with_something_in_it(self, content: str | None, said: str, tmp_path: Path) -> None:
        path = tmp_path / "arrangement.txt"
        if content is not None:
            path.write_text(content, encoding="utf-8")
        with pytest.raises(CultureCareError, match=said):
            read_permission(path)

    def test_is_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(CultureCareError, match="is not a regular file"):
            read_permission(tmp_path)

    def test_one_that_was_not_needed_is_not_in_the_card(self, arrangement: Path) -> None:
        assert load_training_data("train", permission=arrangement).permission is None


class TestGate:
    def test_hydrated_rows_are_refused_with_the_reason_and_what_would_allow_it(self, tmp_path: Path) -> None:
        data = write(tmp_path / "hydrated.jsonl", row(1), row(2, UNLIKE))
        with pytest.raises(CultureCareError) as refused:
            load_training_data(data)
        said = str(refused.value)
        assert said.startswith(f"{data}: german-made1: no model may be trained on this")
        for part in (
            "training: forbidden",
            "2 of 2 records",
            "Reddit's terms",
            "research alone",
            "--training-permission FILE",
            "--data train",
        ):
            assert part in said
        assert "\n" not in said

    def test_the_released_files_are_refused(self, release: Path) -> None:
        for path in sorted(release.glob("*_data.jsonl")):
            with pytest.raises(CultureCareError, match="training: forbidden"):
                load_training_data(str(path))

    def test_the_folder_of_the_released_files_is_refused_for_the_same_reason(self, release: Path) -> None:
        with pytest.raises(CultureCareError, match=r"_data\.jsonl: .*training: forbidden.*462 of 462 records.*--training-permission FILE"):
            load_training_data(str(release))

    @pytest.mark.parametrize("permitted", [False, True])
    def test_a_folder_is_no_file(self, permitted: bool, tmp_path: Path, arrangement: Path, made_release: Path) -> None:  # noqa: FBT001
        if permitted:
            with pytest.raises(CultureCareError, match=r"release: is a folder; name one of its files, such as .*/German_data\.jsonl$"):
                load_training_data(str(made_release), permission=arrangement)
        else:
            (tmp_path / "mine").mkdir()
            with pytest.raises(CultureCareError, match=r"mine: is a folder; name a JSON Lines file$"):
                load_training_data(str(tmp_path / "mine"))

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"training": "forbidden"}, "training: forbidden"),
            ({"id": "german-made1"}, "id is that of a released post"),
            ({"id": "made1"}, "id is that of a released post"),
            ({"url": "https://old.reddit.com/r/made/comments/abc/"}, "address at Reddit"),
            ({"url": "https://redd.it/abc"}, "address at Reddit"),
            ({"id": "www.reddit.com/r/made/comments/abc"}, "address at Reddit"),
            ({"post": " https://example.org/a-post "}, "address stands in its post's place"),
        ],
    )
    def test_a_released_post_does_not_slip_through_by_another_label(
        self, fields: dict[str, str], reason: str, tmp_path: Path, made_release: Path
    ) -> None:
        data = write(tmp_path / "own.jsonl", own(post=UNLIKE, reply="Sing on."), own(**{"post": prose(1), **fields}))
        with pytest.raises(CultureCareError, match=reason) as refused:
            load_training_data(data, release=made_release)
        assert f"{data}:2: no model may be trained on this" in str(refused.value)

    @pytest.mark.parametrize("address", ["https://notreddit.com/1", "https://reddit.com.example.org/1", "https://example.org/reddit"])
    def test_an_address_elsewhere_is_no_reason(self, address: str, tmp_path: Path) -> None:
        assert load_training_data(write(tmp_path / "own.jsonl", own(url=address))).examples

    def test_a_released_row_called_synthetic_is_known_by_its_address(self, tmp_path: Path) -> None:
        relabelled = row(1, synthetic=True, training="allowed", licence="CC0-1.0")
        relabelled["post"]["url"] = "https://www.reddit.com/r/made/comments/made1/"
        with pytest.raises(CultureCareError, match="address at Reddit"):
            load_training_data(write(tmp_path / "data.jsonl", relabelled))

    def test_examples_made_of_forbidden_posts_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CultureCareError, match="training: forbidden"):
            load_training_data(write(tmp_path / "examples.jsonl", example(training="forbidden", synthetic=False)))

    def test_choosing_other_cultures_does_not_pass_it(self, tmp_path: Path) -> None:
        data = write(tmp_path / "data.jsonl", row(1), row(2, UNLIKE, culture="Japanese", synthetic=True, post_id="mine"))
        with pytest.raises(CultureCareError, match="training: forbidden"):
            load_training_data(data, cultures=["japanese"])

    def test_excerpts_have_nothing_to_learn_even_by_permission(self, tmp_path: Path, arrangement: Path, whole_release: Path) -> None:
        rows = [row(number, f"https://www.reddit.com/r/made/comments/made{number}/", None) for number in range(8)]
        with pytest.raises(CultureCareError, match="the text of its post is not there, so that there is nothing to learn"):
            load_training_data(write(tmp_path / "excerpts.jsonl", *rows), permission=arrangement, release=whole_release)

    def test_a_reply_known_by_its_phrases_is_nothing_to_learn(self, tmp_path: Path, arrangement: Path, whole_release: Path) -> None:
        rows = [row(number, prose(number), None) for number in range(8)]
        with pytest.raises(CultureCareError, match="the text of its reply is not there"):
            load_training_data(write(tmp_path / "hydrated.jsonl", *rows), permission=arrangement, release=whole_release)

    def test_a_row_that_forbids_it_is_forbidden_though_it_calls_itself_synthetic(self, tmp_path: Path) -> None:
        data = write(tmp_path / "data.jsonl", row(1, synthetic=True, training="forbidden"))
        with pytest.raises(CultureCareError, match="training: forbidden"):
            load_training_data(data)

    def test_a_row_that_calls_itself_synthetic_and_names_no_licence_is_forbidden(self, tmp_path: Path) -> None:
        with pytest.raises(CultureCareError, match="training: forbidden"):
            load_training_data(write(tmp_path / "data.jsonl", row(1, synthetic=True)))

    def test_a_row_whose_owner_allows_it_and_names_the_licence_is_learnt(self, tmp_path: Path) -> None:
        data = load_training_data(write(tmp_path / "data.jsonl", row(1, training="allowed", licence="CC0-1.0")))
        assert (len(data.examples), data.licences) == (1, ("CC0-1.0",))

    def test_a_benchmarks_post_cannot_hide_among_the_annotations(self, tmp_path: Path) -> None:
        hidden = row(1, training="allowed", licence="CC0-1.0")
        hidden["post"]["emotional_distress"] = [{"phrase": load_instances("sample")[0].post.text, "intensity": "high"}]
        with pytest.raises(CultureCareError, match=r"the benchmark's, which no model is trained on \(split 'sample'\)"):
            load_training_data(write(tmp_path / "data.jsonl", hidden), strategies=["cga"])

    def test_a_benchmarks_post_cannot_be_spread_over_many_records(self, tmp_path: Path) -> None:
        words = (load_instances("sample", "american")[0].post.text or "").split()
        slices = [" ".join(words[start : start + 30]) for start in range(0, len(words), 26)]
        pairs = [
            own(id=f"p{number}", post=f"{prose(number, 260)} {piece} {prose(50 + number, 260)}", reply=prose(100 + number, 20))
            for number, piece in enumerate(slices)
        ]
        with pytest.raises(CultureCareError, match=r"the benchmark's, which no model is trained on \(split 'sample'\)"):
            load_training_data(write(tmp_path / "own.jsonl", *pairs))


class TestPermittedData:
    def test_half_of_the_instances_are_held_out_and_the_rest_are_named(
        self, tmp_path: Path, arrangement: Path, whole_release: Path
    ) -> None:
        rows = [row(number, prose(number), prose(1000 + number)) for number in range(40)]
        data = load_training_data(write(tmp_path / "hydrated.jsonl", *rows), permission=arrangement, release=whole_release)
        ids = [f"german-made{number}" for number in range(40)]
        assert data.instance_ids == tuple(sorted(name for name in ids if not is_held_out(name)))
        assert data.left_out == {"held out for the benchmark": 40 - len(data.examples)}
        assert data.permission == read_permission(arrangement)
        assert data.licences == ("research only, by permission",)
        assert any("By permission" in note and f"{len(data.examples)} instances" in note for note in data.notes)

    def test_a_copy_of_a_held_out_post_is_held_out_too(self, tmp_path: Path, arrangement: Path, whole_release: Path) -> None:
        kept = next(number for number in range(100) if is_held_out(f"german-made{number}"))
        free, other = [number for number in range(100) if not is_held_out(f"german-made{number}")][:2]
        rows = [row(kept, prose(1)), row(free, f"Posted again, with more to it. {prose(1)}"), row(other, prose(2), prose(3))]
        data = load_training_data(write(tmp_path / "hydrated.jsonl", *rows), permission=arrangement, release=whole_release)
        assert data.instance_ids == (f"german-made{other}",)
        assert data.left_out == {"held out for the benchmark": 2}

    def test_what_is_not_of_the_benchmark_is_kept_whole_where_that_can_be_told(
        self, tmp_path: Path, arrangement: Path, whole_release: Path
    ) -> None:
        rows = [row(number, prose(number), prose(1000 + number)) for number in range(210, 230)]
        data = load_training_data(write(tmp_path / "hydrated.jsonl", *rows), permission=arrangement, release=whole_release)
        assert len(data.examples) == 20

    def test_a_released_post_under_another_id_is_a_leak(
        self, tmp_path: Path, arrangement: Path, made_release: Path, whole_release: Path
    ) -> None:
        for name in ("Arabic", "Chinese", "Jewish"):
            shutil.copy(whole_release / f"{name}_data.jsonl", made_release)
        data = write(tmp_path / "data.jsonl", row(77))
        with pytest.raises(CultureCareError, match="holds 100% of a text of 'german-made1'"):
            load_training_data(data, permission=arrangement, release=made_release)

    def test_it_takes_all_released_files_to_tell_which_half_a_post_is_of(
        self, tmp_path: Path, arrangement: Path, made_release: Path
    ) -> None:
        data = write(tmp_path / "hydrated.jsonl", row(7))
        with pytest.raises(CultureCareError, match="needs the released files of arabic, chinese, german, jewish too"):
            load_training_data(data, permission=arrangement)
        with pytest.raises(CultureCareError, match="needs the released files of arabic, chinese, jewish too"):
            load_training_data(data, permission=arrangement, release=made_release)

    def test_the_choice_hangs_on_the_id_alone(self) -> None:
        assert [is_held_out(name) for name in ("german-made1", "german-made2", "german-made3", "german-made4")] == [True, False] * 2
        assert 400 < sum(is_held_out(f"german-{number}") for number in range(1000)) < 600

    def test_posts_without_a_reply_are_left_out(self, tmp_path: Path, arrangement: Path, whole_release: Path) -> None:
        silent = [row(number, prose(number), None) for number in range(20)]
        for each in silent:
            each["response"]["empathy_score"] = ""
        free = next(number for number in range(100, 200) if not is_held_out(f"german-made{number}"))
        data = load_training_data(
            write(tmp_path / "h.jsonl", *silent, row(free, prose(999))), permission=arrangement, release=whole_release
        )
        assert len(data.examples) == 1
        assert data.left_out["without a reply"] == sum(not is_held_out(f"german-made{number}") for number in range(20))


# --- The leak check --------------------------------------------------------------------------------------------------------------

_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")


def every_tenth_changed(text: str) -> str:
    """The text with every tenth word another, or every tenth character where words aren't spaced."""
    if len(_UNSPACED.findall(text)) > len(text) / 3:
        return "".join("変" if place % 10 == 0 else character for place, character in enumerate(text))
    return " ".join("changed" if place % 10 == 0 else word for place, word in enumerate(text.split()))


DISGUISES: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "every tenth word changed": every_tenth_changed,
    "words around it": lambda text: f"{prose(1, 2000)} {text} {prose(2, 2000)}",
    "a third of it": lambda text: text[: len(text) // 3],
    "upper case": str.upper,
    "other punctuation": lambda text: "".join("…" if unicodedata.category(each)[0] == "P" else each for each in text),
    "no marks": lambda text: "".join(each for each in unicodedata.normalize("NFD", text) if unicodedata.category(each) != "Mn"),
    "invisible characters": "\u200b".join,
    "one line": lambda text: " ".join(text.split()),
}


def asked(text: str, *others: str, instance_id: str = "own-1") -> Candidate:
    return Candidate(where="data.jsonl:1", instance_id=instance_id, training="allowed", url=None, post=text, others=others)


class TestLeakCheck:
    @pytest.mark.parametrize("disguise", DISGUISES)
    def test_finds_every_benchmark_post_and_reply_in_disguise(self, disguise: str, sample: list[Instance]) -> None:
        assert {"ar", "de", "en", "he", "hi", "ja", "zh"} <= {instance.language for instance in sample}
        for instance in sample:
            for text in (instance.post.text, instance.response.text):
                assert text is not None
                [leak] = find_leaks([asked(DISGUISES[disguise](text))], sample_benchmark())
                assert leak.instance_id == instance.id

    def test_raises_no_false_alarm_between_the_synthetic_splits(self, sample: list[Instance]) -> None:
        train = [candidate_of(instance, "train") for instance in load_instances("train")]
        assert len(train) + len(sample) == 84
        assert find_leaks(train, sample_benchmark()) == []

    def test_raises_no_false_alarm_against_the_released_excerpts(self, release: Path) -> None:
        data = load_training_data("train", strategies=["all"], min_empathy=1, release=release)
        assert len(data.examples) == 28 * 5
        assert not any("could not be checked" in note for note in data.notes)

    def test_benchmark_texts_lie_well_apart_from_the_training_splits(self, sample: list[Instance]) -> None:
        texts = {instance.id: passages(instance.post_text) for instance in (*sample, *load_instances("train"))}
        assert max(overlap(one, other) for a, one in texts.items() for b, other in texts.items() if a < b) < LEAK / 4

    def test_reads_the_released_cultures_that_are_at_hand(self, made_release: Path) -> None:
        instances = released_instances(made_release)
        assert instances is not None
        assert [instance.id for instance in instances] == ["german-made1", "german-made2"]

    @pytest.mark.parametrize("fields", [{"post": POST}, {"reply": POST}])
    def test_own_pairs_that_hold_a_released_post_are_refused(self, fields: dict[str, str], tmp_path: Path, made_release: Path) -> None:
        data = write(tmp_path / "own.jsonl", own(post=prose(1), reply=prose(2)), own(**{"post": prose(3), "reply": prose(4), **fields}))
        with pytest.raises(CultureCareError, match=r"1 of 2 records.*split 'test'.*own\.jsonl:2 holds 100% of a text of 'german-made1'"):
            load_training_data(data, release=made_release)

    def test_the_sample_is_refused_with_and_without_a_permission(self, arrangement: Path) -> None:
        data = str(culturecare.data_dir() / "sample" / "german.jsonl")
        for permission in (None, arrangement):
            with pytest.raises(CultureCareError, match=r"8 of 8 records.*'synthetic-german-01'.*and 3 more.*no permission allows this"):
                load_training_data(data, permission=permission)

    def test_a_prompt_that_holds_a_benchmark_post_is_found_whatever_is_called_its_post(
        self, sample: list[Instance], tmp_path: Path
    ) -> None:
        hidden = example(post="A harmless post.", user=f"The post:\n\n{sample[0].post_text}\n\nYour reply:")
        with pytest.raises(CultureCareError, match=sample[0].id):
            load_training_data(write(tmp_path / "examples.jsonl", hidden))

    def test_a_preferred_reply_that_is_the_benchmarks_is_found(self, sample: list[Instance], tmp_path: Path) -> None:
        with pytest.raises(CultureCareError, match=sample[0].id):
            load_training_data(write(tmp_path / "pairs.jsonl", preference(chosen=sample[0].response_text)))

    def test_it_is_said_when_split_test_could_not_be_checked(self, made_release: Path) -> None:
        [note, *_] = load_training_data("train").notes
        assert note.startswith("Split 'test' could not be checked")
        [note, *_] = load_training_data("train", release=made_release).notes
        assert note.startswith("Split 'test' of arabic, chinese, jewish could not be checked")

    def test_a_folder_without_released_files_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CultureCareError, match="holds none of"):
            load_training_data("train", release=tmp_path)

    def test_finds_every_released_text_where_it_is_a_whole_one(self, release: Path) -> None:
        instances = released_instances(release) or ()
        benchmark = Benchmark(instances)
        texts = [text for each in instances for text in (each.post_text, each.response_text) if text.strip()]
        assert len(texts) == 863
        assert [benchmark.copied_in(text.replace("\n", " ").upper()) for text in texts].count(None) == 0

    @pytest.mark.parametrize("text", ["Keep the lamp on. Sing.", "keep the\u200b LAMP on!\n\nsing", "ＫＥＥＰ the lamp on — síng"])
    @pytest.mark.parametrize("field", ["post", "reply"])
    def test_a_text_too_short_for_passages_is_found_by_its_words(self, field: str, text: str, tmp_path: Path, made_release: Path) -> None:
        self.write_short_reply(made_release, "Keep the lamp on", "Sing")
        data = write(tmp_path / "own.jsonl", own(**{"post": UNLIKE, "reply": prose(1), field: text}))
        with pytest.raises(CultureCareError, match=r"own\.jsonl:1 holds 100% of a text of 'german-made9'"):
            load_training_data(data, release=made_release)

    def test_spaces_hide_no_short_text_of_a_script_without_them(self, tmp_path: Path, made_release: Path) -> None:
        self.write_short_reply(made_release, "慢慢来，别怕")
        data = write(tmp_path / "own.jsonl", own(post=UNLIKE, reply="慢 慢 来 别 怕。"))
        with pytest.raises(CultureCareError, match="'german-made9'"):
            load_training_data(data, release=made_release)

    @pytest.mark.parametrize("text", ["Keep the lamp on, sing, and write to us.", "Keep the lamp on", "🕯️", "…", "!"])
    def test_a_short_text_is_no_copy_for_a_part_of_it(self, text: str, tmp_path: Path, made_release: Path) -> None:
        self.write_short_reply(made_release, "Keep the lamp on", "Sing")
        assert load_training_data(write(tmp_path / "own.jsonl", own(post=UNLIKE, reply=text)), release=made_release).examples

    @staticmethod
    def write_short_reply(folder: Path, *phrases: str) -> None:
        """Puts a post whose reply is known by these phrases among the released ones."""
        short = row(9, "https://www.reddit.com/r/made/comments/made9/", None)
        short["response"]["emotional_support"] = [{"phrase": phrase, "strategy": "Affirmation and Reassurance"} for phrase in phrases]
        path = folder / "German_data.jsonl"
        path.write_text(f"{path.read_text(encoding='utf-8')}{json.dumps(short)}\n", encoding="utf-8")

    @given(st.text(), st.text())
    def test_overlap_is_symmetric_and_a_share(self, one: str, other: str) -> None:
        first, second = passages(one), passages(other)
        assert overlap(first, second) == overlap(second, first)
        assert 0 <= overlap(first, second) <= 1

    @given(st.text(min_size=1), st.text(min_size=1))
    def test_no_words_around_a_copy_hide_it(self, before: str, after: str) -> None:
        post = load_instances("sample", ["german"])[0].post_text
        assert find_leaks([asked(f"{before} {post} {after}")], sample_benchmark())

    @given(st.lists(st.from_regex(r"[bcdfghjkl]{4,9}", fullmatch=True), max_size=200))
    def test_other_words_are_never_a_copy(self, words: list[str]) -> None:
        assert find_leaks([asked(" ".join(words))], sample_benchmark()) == []


class TestTrainedOn:
    def test_reads_the_ids_from_the_adapters_record(self, tmp_path: Path) -> None:
        (tmp_path / "adaptation.json").write_text('{"instance_ids": ["b", "a"], "post_hashes": ["c"], "model": "m"}', encoding="utf-8")
        assert trained_on(tmp_path) == {"a", "b", "c"}

    @pytest.mark.parametrize(
        "content", [None, "{", "[]", "{}", '{"instance_ids": "a"}', '{"instance_ids": ["a"]}', '{"instance_ids": [1], "post_hashes": []}']
    )
    def test_is_never_empty_for_want_of_a_record(self, content: str | None, tmp_path: Path) -> None:
        if content is not None:
            (tmp_path / "adaptation.json").write_text(content, encoding="utf-8")
        with pytest.raises(CultureCareError, match=r"adaptation\.json"):
            trained_on(tmp_path)


class TestDuplicates:
    def test_the_first_of_equal_examples_is_kept(self) -> None:
        kept, gone = deduplicate([example(), example(instance_id="own-2"), example(UNLIKE)])
        assert [each.instance_id for each in kept] == ["own-1", "own-1"]
        assert gone == {"exact duplicates": 1}

    @pytest.mark.parametrize("again", [f"{REPLY} Take care.", every_tenth_changed(REPLY), REPLY.upper(), REPLY[: 2 * len(REPLY) // 3]])
    def test_nearly_the_same_reply_to_a_prompt_goes(self, again: str) -> None:
        assert deduplicate([example(), example(again)]) == ((example(),), {"near-duplicates": 1})

    def test_replies_too_short_for_passages_are_held_against_each_other_by_their_words(self) -> None:
        kept, gone = deduplicate([example("I hear you."), example("I hear you!"), example("I see you.")])
        assert ([each.reply for each in kept], gone) == (["I hear you.", "I see you."], {"near-duplicates": 1})

    def test_one_reply_under_two_prompts_is_no_duplicate(self) -> None:
        assert len(deduplicate([example(), example(system="Reply as a German.")])[0]) == 2

    def test_preferences_are_the_same_where_both_replies_are(self) -> None:
        kept, gone = deduplicate([preference(), preference(chosen=f"{REPLY} Take care."), preference(rejected=prose(1))])
        assert (len(kept), gone) == (2, {"near-duplicates": 1})

    def test_they_are_counted_and_told(self, tmp_path: Path) -> None:
        data = load_training_data(write(tmp_path / "own.jsonl", own(), own(), own(reply=f"{REPLY} Take care.")))
        assert len(data.examples) == 1
        assert data.left_out == {"exact duplicates": 1, "near-duplicates": 1}
        assert "Left out: 1 exact duplicates, 1 near-duplicates." in data.notes


# --- Sources ---------------------------------------------------------------------------------------------------------------------


class TestPackagedSplit:
    def test_is_prompted_by_the_baseline_and_free(self) -> None:
        data = load_training_data("train")
        assert (data.name, data.revision) == ("train", culturecare.dataset_revision("train"))
        assert {each.strategy for each in data.examples} == {"standard"}
        assert data.licences == ("CC-BY-4.0",)
        assert all(each.training == "allowed" and each.synthetic and each.written is None for each in data.examples)
        assert all(each.post in each.user for each in data.examples)

    def test_uneven_replies_are_left_out_and_counted(self) -> None:
        train = load_instances("train")
        good = sum((instance.response.empathy_score or 0) >= 4 for instance in train)
        data = load_training_data("train")
        assert 0 < good < len(train)
        assert (len(data.examples), data.left_out) == (good, {"with an empathy score below 4": len(train) - good})
        assert len(load_training_data("train", min_empathy=1).examples) == len(train)

    def test_can_be_asked_by_several_strategies_and_of_some_cultures(self) -> None:
        data = load_training_data("train", strategies=["standard", "cga"], cultures=["german", "indian"], min_empathy=1)
        assert {each.culture for each in data.examples} == {"german", "indian"}
        assert len(data.examples) == 2 * len(data.instance_ids) == 16

    def test_nothing_that_fits_is_an_error(self) -> None:
        with pytest.raises(CultureCareError, match=r"nothing is left to train on \(28 with an empathy score below 6\)"):
            load_training_data("train", min_empathy=6)


class TestFiles:
    def test_own_pairs_are_prompted_like_posts(self, tmp_path: Path) -> None:
        data = load_training_data(write(tmp_path / "own.jsonl", own()), strategies=["culture"])
        [made] = data.examples
        assert (made.reply, made.licence, made.strategy, made.language, made.synthetic) == (REPLY, "CC0-1.0", "culture", "en", False)
        assert "German" in made.system
        assert POST in made.user
        assert data.name == "own.jsonl"

    def test_pairs_of_one_post_are_one_instance(self, tmp_path: Path) -> None:
        data = load_training_data(write(tmp_path / "own.jsonl", own(), own(reply=UNLIKE), own(post=UNLIKE, id="mine")))
        assert [len(data.examples), len(data.instance_ids), "mine" in data.instance_ids] == [3, 2, True]

    @pytest.mark.parametrize("strategy", ["annotation", "cga", "all"])
    def test_own_pairs_are_not_asked_by_what_needs_annotation(self, strategy: str, tmp_path: Path) -> None:
        with pytest.raises(CultureCareError, match=r"nobody annotated.*choose from standard, culture, guided"):
            load_training_data(write(tmp_path / "own.jsonl", own()), strategies=[strategy])

    def test_two_strategies_need_annotation(self) -> None:
        assert {name for name, strategy in strategies().items() if strategy.shows_annotations} == {"annotation", "cga"}

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"culture": "martian"}, "culture: unknown culture 'martian'; known are american"),
            ({"training": "yes"}, "training: input should be 'allowed' or 'forbidden', not 'yes'"),
            ({"licence": " "}, "licence: "),
            ({"reply": "\n"}, "reply: "),
            ({"score": 4}, "score: is not a field of this record"),
        ],
    )
    def test_an_own_pair_that_does_not_fit_is_named(self, fields: dict[str, Any], said: str, tmp_path: Path) -> None:
        data = write(tmp_path / "own.jsonl", own(), own(**fields))
        with pytest.raises(CultureCareError, match=re.escape(f"{data}:2: {said}")):
            load_training_data(data)

    def test_examples_and_preferences_come_back_as_they_were_written(self, tmp_path: Path) -> None:
        made = load_training_data("train", strategies=["standard", "cga"])
        assert load_training_data(write(tmp_path / "examples.jsonl", *made.examples)).examples == made.examples
        data = load_training_data(write(tmp_path / "preferences.jsonl", preference()))
        assert (data.preferences, data.examples) == ((preference(),), ())

    @pytest.mark.parametrize("record", [example(), preference()])
    def test_what_has_its_prompts_takes_no_strategy(self, record: Example | Preference, tmp_path: Path) -> None:
        with pytest.raises(CultureCareError, match="whose prompts are made already"):
            load_training_data(write(tmp_path / "made.jsonl", record), strategies=["standard"])

    def test_prompts_of_another_version_are_told(self, tmp_path: Path) -> None:
        data = load_training_data(write(tmp_path / "examples.jsonl", example(prompt_hash="0" * 16)))
        assert any("another version of standard" in note for note in data.notes)

    def test_an_example_that_was_changed_is_refused(self, tmp_path: Path) -> None:
        changed = example().model_dump(mode="json") | {"reply": UNLIKE}
        with pytest.raises(CultureCareError, match=r"examples\.jsonl:1: .*it was changed after it was made"):
            load_training_data(write(tmp_path / "examples.jsonl", changed))

    @pytest.mark.parametrize("second", [example(), preference(), row(1, synthetic=True)])
    def test_kinds_are_not_mixed(self, second: dict[str, Any] | Example | Preference, tmp_path: Path) -> None:
        data = write(tmp_path / "mixed.jsonl", own(), second)
        with pytest.raises(CultureCareError, match=r"mixed\.jsonl:2: is one of .*, but the first row is one of own pairs"):
            load_training_data(data)

    @pytest.mark.parametrize("line", ["[]", '"post"', "{}", '{"text": "a"}', '{"prompt": "a", "completion": "b"}'])
    def test_a_row_of_no_kind_is_refused_with_the_kinds_there_are(self, line: str, tmp_path: Path) -> None:
        path = tmp_path / "data.jsonl"
        path.write_text(line, encoding="utf-8")
        with pytest.raises(
            CultureCareError, match=r"data\.jsonl:1: is no training record.*own pair \(culture, post, reply, licence, training\)"
        ):
            load_training_data(str(path))

    def test_an_empty_or_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CultureCareError, match="cannot be read"):
            load_training_data(str(tmp_path / "data.jsonl"))
        with pytest.raises(CultureCareError, match="holds no record"):
            load_training_data(write(tmp_path / "data.jsonl"))
