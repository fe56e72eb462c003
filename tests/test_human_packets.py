"""What raters are given: blinded, balanced, seeded."""

from __future__ import annotations

import itertools
import json
import random
import stat
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culturecare import CultureCareError, DataError
from culturecare_harness.human.blocks import balanced_blocks, balanced_places, known_design, measure_balance
from culturecare_harness.human.forms import languages, select_form, select_language
from culturecare_harness.human.items import (
    asked,
    instructions,
    key_path,
    names_path,
    open_packet,
    read_key,
    read_names,
    read_tokens,
    shown_post,
    shown_reply,
    tokens_path,
)
from culturecare_harness.human.packets import MadePacket, make_packet, read_raters
from tests.raters import make_run, small_packet

if TYPE_CHECKING:
    from culturecare_harness.human.items import KeyEntry


def chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - no secret.


# --- Block designs ---


@pytest.mark.parametrize(
    ("conditions", "size", "blocks", "together"),
    [
        (7, 3, 7, 1),  # The Fano plane.
        (13, 4, 13, 1),
        (11, 5, 11, 2),
        (31, 6, 31, 1),  # The projective plane of order 5.
        (9, 3, 12, 1),  # Affine planes.
        (16, 4, 20, 1),
        (6, 2, 15, 1),  # All pairs.
        (7, 3, 21, 3),  # Three times over.
        (6, 3, 10, 2),  # By search: no construction here makes it.
    ],
)
def test_where_a_balanced_design_exists_it_is_made(conditions: int, size: int, blocks: int, together: int) -> None:
    made = balanced_blocks(conditions, size, blocks, chance(0))
    balance = measure_balance(made, conditions)
    assert balance.balanced
    assert balance.together == (together, together)
    assert balance.occurrences == (blocks * size // conditions,) * 2


def test_known_designs_are_told_from_what_must_be_searched() -> None:
    assert known_design(7, 3, 7) is not None
    assert known_design(6, 3, 10) is None
    assert len(known_design(16, 4, 50) or []) == 20


@given(st.data())
def test_conditions_occur_equally_often_and_stand_in_every_place_equally_often(data: st.DataObject) -> None:
    conditions = data.draw(st.integers(1, 12))
    size = data.draw(st.integers(1, min(conditions, 6)))
    blocks = data.draw(st.integers(1, 24))
    drawn = chance(data.draw(st.integers(0, 99)))
    made = balanced_blocks(conditions, size, blocks, drawn)
    placed = balanced_places(made, drawn)
    balance = measure_balance(placed, conditions)
    assert [set(block) for block in placed] == [set(block) for block in made]
    assert all(len(set(block)) == size for block in made)
    assert balance.occurrences[1] - balance.occurrences[0] <= 1
    assert balance.places[1] - balance.places[0] <= 1


@pytest.mark.parametrize(("conditions", "size", "blocks"), [(16, 4, 30), (16, 4, 141), (12, 3, 150), (6, 3, 119), (10, 2, 137), (9, 4, 45)])
def test_where_none_exists_pairs_meet_almost_equally_often(conditions: int, size: int, blocks: int) -> None:
    least, most = measure_balance(balanced_blocks(conditions, size, blocks, chance(3)), conditions).together
    assert most - least <= 1


def test_blocks_even_out_what_earlier_blocks_left_uneven() -> None:
    earlier = balanced_blocks(16, 4, 8, chance(1))
    alone = balanced_blocks(16, 4, 8, chance(2))
    after = balanced_blocks(16, 4, 8, chance(2), earlier)

    def meetings(blocks: list[tuple[int, ...]]) -> int:
        return sum(count**2 for count in Counter(pair for block in blocks for pair in itertools.combinations(sorted(block), 2)).values())

    assert meetings(earlier + after) < meetings(earlier + alone)


def test_a_block_larger_than_what_there_is_is_refused() -> None:
    with pytest.raises(CultureCareError, match="a block of 4 cannot be made of 3 conditions; its size must be from 1 to 3"):
        balanced_blocks(3, 4, 2, chance(0))


# --- The packet ---


@pytest.fixture
def made(tmp_path: Path) -> MadePacket:
    return small_packet(tmp_path / "packet")


def entries_of(made: MadePacket) -> dict[str, list[KeyEntry]]:
    by_item = defaultdict(list)
    for entry in made.key.entries:
        by_item[entry.item].append(entry)
    return by_item


def test_nothing_in_the_packet_tells_where_a_reply_came_from(made: MadePacket) -> None:
    folder = made.packet.folder
    text = "".join(path.read_text(encoding="utf-8") for path in folder.iterdir() if path.is_file())
    for word in ("lab/", "Listener", "Speaker", "standard", "cga", "peer", "synthetic-", "repeat_of", "expected"):
        # The replies of these runs say nothing of their origin either.
        assert word not in text, word
    for token in read_tokens(folder).values():
        assert token not in text


def test_the_key_tells_it_for_every_reply(made: MadePacket) -> None:
    replies = {reply.id: reply for run in (make_run(), make_run("lab/Speaker-8B")) for reply in run.replies}
    peers = {instance.id: instance.response_text for instance in make_run().instances}
    for item, entries in entries_of(made).items():
        shown = {reply.label: reply.text for reply in made.packet.items[item].replies}
        assert sorted(shown) == sorted(entry.label for entry in entries)
        for entry in entries:
            if entry.condition == "peer":
                assert shown[entry.label] == peers[entry.instance_id].strip()
            elif entry.kind != "check":
                reply = replies[entry.reply_id or ""]
                assert shown[entry.label] == reply.text
                assert entry.condition == f"{reply.model}:{reply.strategy}" == f"{entry.model}:{entry.strategy}"
                assert entry.instance_id == reply.instance_id


def test_each_item_goes_to_so_many_raters_of_its_culture(tmp_path: Path) -> None:
    made = small_packet(tmp_path / "packet", raters={"german": 5, "american": ["ann", "ben", "cho"]}, raters_per_item=3, repeats=1)
    seen = Counter(item for assignment in made.packet.assignments.values() for item in assignment.items)
    for item, entries in entries_of(made).items():
        if entries[0].kind in {"reply", "peer"}:
            assert seen[item] == 3
        assert {assignment.culture for assignment in made.packet.assignments.values() if item in assignment.items} == {
            made.packet.items[item].culture
        }
    american, german = ([f"{culture}-{number}" for number in range(1, most + 1)] for culture, most in (("american", 3), ("german", 5)))
    assert list(made.packet.assignments) == [*american, *german]


def test_loads_are_equal(tmp_path: Path) -> None:
    made = small_packet(tmp_path / "packet", raters={"german": 5, "american": 3}, raters_per_item=2, repeats=1)
    kinds = entries_of(made)
    loads: dict[str, list[int]] = defaultdict(list)
    for assignment in made.packet.assignments.values():
        loads[assignment.culture].append(sum(kinds[item][0].kind in {"reply", "peer"} for item in assignment.items))
        assert len(set(assignment.items)) == len(assignment.items)
    assert sorted(loads["german"]) == [3, 3, 3, 3, 4]
    assert sorted(loads["american"]) == [5, 5, 6]


def test_conditions_are_balanced_over_items_and_labels(tmp_path: Path) -> None:
    made = small_packet(tmp_path / "packet", items=10, raters=dict.fromkeys(("german", "american"), 4))
    assert made.key.header.conditions == (
        "lab/Listener-7B:standard",
        "lab/Listener-7B:cga",
        "lab/Speaker-8B:standard",
        "lab/Speaker-8B:cga",
        "peer",
    )
    for culture in ("german", "american", "all"):
        balance = made.key.header.balance[culture]
        assert balance.balanced  # All ten blocks of three among five conditions.
    counted = Counter((entry.condition, entry.label) for entry in made.key.entries if entry.kind in {"reply", "peer"})
    assert set(Counter(condition for condition, _ in counted).values()) == {3}
    assert max(counted.values()) - min(counted.values()) <= 1
    assert made.key.header.balance["all"].blocks == 20


def test_the_items_of_a_post_share_as_few_replies_as_can_be(tmp_path: Path) -> None:
    # Two items of three replies on each post of five: they share one at least.
    made = small_packet(tmp_path / "packet", items=16, raters=dict.fromkeys(("german", "american"), 4))
    by_post: dict[str, list[set[str | None]]] = defaultdict(list)
    for entries in entries_of(made).values():
        if entries[0].kind in {"reply", "peer"}:
            by_post[entries[0].instance_id].append({entry.condition for entry in entries})
    assert {len(blocks) for blocks in by_post.values()} == {2}
    assert sum(one != other for one, other in by_post.values()) == len(by_post)


@pytest.mark.parametrize(("per_item", "conditions", "size"), [(5, 5, 5), (None, 5, 4), (None, 3, 3)])
def test_an_item_has_so_many_replies_as_asked_for_or_four_or_all(tmp_path: Path, per_item: int | None, conditions: int, size: int) -> None:
    runs = [make_run(), make_run("lab/Speaker-8B")][: conditions // 2]
    made = small_packet(tmp_path / "packet", runs=runs, per_item=per_item)
    assert len(made.key.header.conditions) == conditions
    assert made.packet.packet.per_item == size
    assert {len(item.replies) for item in made.packet.items.values()} == {1, size}  # One reply: the checks.


# --- Checks and repeats ---


def test_a_check_says_openly_what_to_answer(made: MadePacket) -> None:
    checks = [entry for entry in made.key.entries if entry.kind == "check"]
    assert len(checks) == 4  # Two for each culture, the same for all its raters.
    for check in checks:
        form = made.packet.packet.wordings[made.packet.packet.languages[check.culture]]
        question = form.question(check.question or "")
        text = made.packet.items[check.item].replies[0].text
        assert question.name in text
        assert question.wording(check.expected or 0) in text
        assert check.condition is check.model is check.reply_id is None


@pytest.mark.parametrize("code", sorted(languages()))
def test_a_check_is_in_the_language_that_raters_are_asked_in_and_in_english(tmp_path: Path, code: str) -> None:
    made = small_packet(tmp_path / "packet", ask_in={"american": code})
    check = next(entry for entry in made.key.entries if entry.kind == "check" and entry.culture == "american")
    item = made.packet.items[check.item]
    assert item.language == "en"  # The post's.

    def said(language: str) -> str:
        question = made.packet.packet.wordings[language].question(check.question or "")
        answer = f"{check.expected} ({question.wording(check.expected or 0)})"
        return select_language(language).interface.check.format(question=question.name, answer=answer)

    assert item.replies[0].text == "\n\n".join(said(language) for language in dict.fromkeys((code, "en")))


def test_so_many_checks_as_suit_the_items_are_taken_and_more_refused(tmp_path: Path) -> None:
    assert small_packet(tmp_path / "packet", checks=4).packet.packet.checks == 4
    with pytest.raises(CultureCareError, match=r"checks is 5, but a rater of culture 'american' has 8 items and takes at most 4 checks"):
        small_packet(tmp_path / "more", checks=5)
    few = [make_run(per_culture=1), make_run("lab/Speaker-8B", per_culture=1)]
    assert small_packet(tmp_path / "few", runs=few, checks=2, repeats=0).packet.packet.checks == 2
    with pytest.raises(CultureCareError, match=r"has 1 items and takes at most 2 checks, one for every two items \(2 in any case\)"):
        small_packet(tmp_path / "more", runs=few, checks=3, repeats=0)


@given(seed=st.integers(0, 40))
def test_repeats_come_later_in_another_order_and_never_side_by_side(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    made = small_packet(tmp_path_factory.mktemp("made") / "packet", seed=seed, runs=[make_run(cultures=["german"])], per_item=3)
    kinds = entries_of(made)
    for assignment in made.packet.assignments.values():
        order = [kinds[item] for item in assignment.items]
        assert order[0][0].kind != "check"
        assert Counter(entries[0].kind == "repeat" for entries in order) == {False: 10, True: 2}
        assert sum(entries[0].kind == "check" for entries in order) == 2
        for place, entries in enumerate(order):
            if entries[0].kind != "repeat":
                continue
            original = assignment.items.index(entries[0].repeats or "")
            assert place - original >= 2
            assert place + 1 == len(order) or order[place + 1][0].kind != "repeat"
            there = {entry.label: entry for entry in order[original]}
            for entry in entries:
                assert entry.label != entry.repeats_label
                assert there[entry.repeats_label or ""].reply_id == entry.reply_id
                assert there[entry.repeats_label or ""].condition == entry.condition


def test_checks_and_repeats_can_be_left_out(tmp_path: Path) -> None:
    made = small_packet(tmp_path / "packet", checks=0, repeats=0)
    assert {entry.kind for entry in made.key.entries} == {"reply", "peer"}


# --- Seed and files ---


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in [*folder.iterdir(), key_path(folder)] if path.is_file()}


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    # The key is named after its folder, which therefore has the same name.
    one, same, other = (small_packet(tmp_path / name / "packet", seed=seed).packet.folder for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert contents(one) == contents(same)
    assert contents(one) != contents(other)


def test_access_codes_are_secrets_and_differ_each_time(tmp_path: Path) -> None:
    one, same = (small_packet(tmp_path / name / "packet", seed=1).packet.folder for name in ("a", "b"))
    codes = [*read_tokens(one).values(), *read_tokens(same).values()]
    assert len(set(codes)) == 12
    assert set(read_tokens(one)) == set(open_packet(one).assignments)
    for path in (key_path(one), tokens_path(one)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_written_is_what_was_made(made: MadePacket) -> None:
    packet = open_packet(made.packet.folder)
    assert packet == made.packet
    assert read_key(packet) == made.key
    assert (made.key_file, made.tokens_file) == (key_path(packet.folder), tokens_path(packet.folder))
    assert sorted(path.name for path in packet.folder.parent.iterdir()) == ["packet", "packet.key.jsonl", "packet.tokens.json"]


def test_a_packet_that_was_changed_is_noticed(made: MadePacket) -> None:
    path = made.packet.folder / "items.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("hear", "see", 1), encoding="utf-8")
    with pytest.raises(DataError, match="the packet was changed after it was made"):
        open_packet(made.packet.folder)


def test_the_key_of_another_packet_is_refused(made: MadePacket, tmp_path: Path) -> None:
    other = small_packet(tmp_path / "other", seed=1)
    with pytest.raises(DataError, match="is not the key of packet"):
        read_key(made.packet, other.key_file)
    made.key_file.unlink()
    with pytest.raises(DataError, match="is not there; the key is made with the packet"):
        read_key(made.packet)


def test_a_folder_that_is_no_packet_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is this the folder of a packet"):
        open_packet(tmp_path)
    (tmp_path / "packet.json").write_text(json.dumps({"id": 1}), encoding="utf-8")
    with pytest.raises(DataError, match=r"packet.json: id: "):
        open_packet(tmp_path)


# --- What is shown and asked ---


def test_a_ranking_is_asked_only_where_there_is_something_to_rank(made: MadePacket) -> None:
    form = select_form("annotator")
    sizes = {
        len(item.replies): [question.key for question, label in asked(form, item) if label is None] for item in made.packet.items.values()
    }
    assert sizes == {1: ["comment"], 3: ["ranking", "comment"]}


def test_an_empty_reply_is_shown_as_empty(tmp_path: Path) -> None:
    silent = make_run("lab/Silent-1B", ("standard",), text=lambda *_: " ")
    made = small_packet(tmp_path / "packet", runs=[silent, make_run()], per_item=4)
    words = select_language("en").interface
    shown = [shown_reply(reply, words) for item in made.packet.items.values() for reply in item.replies]
    assert shown.count("(This reply is empty.)") >= 16
    assert "Replies without text, which are shown as empty: 16." in made.key.header.notes


def test_an_excerpt_is_said_to_be_one(made: MadePacket) -> None:
    post = next(iter(made.packet.items.values())).post
    words = select_language("de").interface
    assert shown_post(post, words) == post.text.strip()
    assert shown_post(post.model_copy(update={"excerpt": True}), words).startswith("Von diesem Beitrag sind nur Auszüge bekannt")


@pytest.mark.parametrize("code", sorted(languages()))
@pytest.mark.parametrize(
    ("settings", "checks", "repeats"),
    [
        ({"checks": 0, "repeats": 0}, False, False),
        ({"checks": 2, "repeats": 2}, True, True),
        ({"checks": 0, "repeats": 1}, False, True),
        ({"checks": 0, "repeats": 0, "items": 16}, False, True),  # Two items on each post.
    ],
)
def test_raters_are_told_of_checks_and_of_posts_that_come_up_again_where_they_have_them(
    tmp_path: Path, code: str, settings: dict[str, Any], *, checks: bool, repeats: bool
) -> None:
    packet = small_packet(tmp_path / "packet", ask_in={"german": code}, **settings).packet
    words = select_language(code).interface
    told = [*words.how_it_works, *([words.about_checks] if checks else []), *([words.about_repeats] if repeats else [])]
    assert instructions(packet, "german-1", words) == tuple(told)


def test_without_repeats_a_post_comes_up_again_only_where_a_check_stands_under_it(tmp_path: Path) -> None:
    # Three raters of each item of six, so that a rater has every second post, and a check may stand under another.
    packet = small_packet(tmp_path / "packet", checks=1, repeats=0, raters=dict.fromkeys(("german", "american"), 6)).packet
    words = select_language("en").interface
    told = {rater: words.about_repeats in instructions(packet, rater, words) for rater in packet.assignments}
    for rater, assignment in packet.assignments.items():
        posts = [packet.items[name].post.text for name in assignment.items]
        assert told[rater] == (len(set(posts)) < len(posts))
    assert set(told.values()) == {True, False}


# --- Replies that give themselves away ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("As Listener, an AI, I can only say: rest.", {"listener"}),
        ("As an AI, I have no family. Rest.", {"as an ai"}),
        ("我是Listener，很高兴。", {"listener"}),
        ("作为AI，我理解你。", {"作为ai"}),
        ("Als KI habe ich keine Familie.", {"als ki"}),
        ("AIとして、お答えします。", {"aiとして"}),
        ("Als Kind war ich auch so, und a good listeners' club helped.", set()),
    ],
)
def test_a_reply_that_tells_its_origin_is_flagged_in_the_key_and_kept(tmp_path: Path, text: str, words: set[str]) -> None:
    telling = make_run("lab/Listener-7B", ("standard",), ["german"], text=lambda name, _: f"{text} {name[-2:]}")
    made = small_packet(tmp_path / "packet", runs=[telling], per_item=2)
    header = made.key.header
    flagged = [entry for entry in made.key.entries if entry.reveals]
    assert {word for entry in flagged for word in entry.reveals} == words
    assert header.revealing_replies == (8 if words else 0)
    assert set(header.revealing_items) == {entry.item for entry in flagged}
    assert any(text in reply.text for item in made.packet.items.values() for reply in item.replies)
    assert bool(header.notes) == bool(words)


def test_another_name_that_a_model_goes_by_is_flagged_too(tmp_path: Path) -> None:
    telling = make_run("Qwen/QwQ-32B", ("standard",), ["german"], text=lambda name, _: f"Qwen here, about {name}.")
    made = small_packet(tmp_path / "packet", runs=[telling], per_item=2)
    assert {word for entry in made.key.entries for word in entry.reveals} == {"qwen"}


# --- Raters ---


def test_raters_are_read_as_a_command_line_names_them() -> None:
    assert read_raters(["german=3", "Chinese=mei, lan", "2"]) == {"german": 3, "chinese": ["mei", "lan"], "all": 2}


@pytest.mark.parametrize(
    "given", [["german="], ["=3"], ["ann,ben"], ["german=3", "german=4"], ["3", "4"], [""], ["all=3"], ["german=-3"], ["german=../c"]]
)
def test_raters_that_cannot_be_read_are_refused(given: list[str]) -> None:
    with pytest.raises(CultureCareError, match=r"must be CULTURE=NUMBER|is given twice"):
        read_raters(given)


@pytest.mark.parametrize("given", ["9" * 5_000, f"german={'9' * 5_000}"])
def test_a_number_of_raters_that_nobody_counts_is_refused(given: str) -> None:
    with pytest.raises(CultureCareError, match="at most 500 raters of a culture are taken") as refused:
        read_raters([given])
    assert len(str(refused.value)) < 200


def test_one_number_may_stand_for_every_culture_that_is_not_named(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"raters": read_raters(["3", "german=a,b,c,d"]), "out": tmp_path / "packet"}
    packet = make_packet([make_run()], select_form("annotator"), **settings).packet
    codes = {"american": 3, "german": 4}
    assert list(packet.assignments) == [f"{culture}-{number}" for culture, most in codes.items() for number in range(1, most + 1)]
    assert sorted(read_names(tmp_path / "packet").values()) == ["a", "b", "c", "d"]


def test_names_of_raters_stand_in_one_file_beside_the_packet_and_nowhere_else(tmp_path: Path) -> None:
    names = ["Zoë Müller", "李 娜", "benedetta@example.org"]
    made = small_packet(tmp_path / "packet", raters={"german": names, "american": 3})
    assert made.names_file == names_path(made.packet.folder)
    assert stat.S_IMODE(made.names_file.stat().st_mode) == 0o600
    kept = read_names(made.packet.folder)
    assert list(kept) == ["german-1", "german-2", "german-3"]
    assert sorted(kept.values()) == sorted(names)
    for path in tmp_path.rglob("*"):
        if path.is_file() and path != made.names_file:
            text = path.read_text(encoding="utf-8")
            assert not [name for name in names if name in text or json.dumps(name) in text], path
    made.names_file.unlink()
    assert read_names(open_packet(made.packet.folder).folder) == {}


def test_the_order_of_the_names_does_not_tell_the_codes(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(12)]
    for seed in range(2):
        small_packet(tmp_path / str(seed), raters={"german": names, "american": 3}, checks=0, repeats=0)
    # Of twelve, two draws are alike once in 479 million times.
    assert read_names(tmp_path / "0") != read_names(tmp_path / "1")


def test_a_file_of_names_that_is_none_is_told(made: MadePacket) -> None:
    for content in ('{"german-1": 3}', "[" * 100_000, "["):
        names_path(made.packet.folder).write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=r"packet.names.json: (must be a mapping of raters to names|is not valid JSON)"):
            read_names(made.packet.folder)


def test_a_folder_without_a_name_of_its_own_is_known_by_where_it_is(made: MadePacket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.packet.folder)
    assert read_key(open_packet(Path())) == made.key
    (made.packet.folder / "ratings").mkdir(exist_ok=True)
    monkeypatch.chdir(made.packet.folder / "ratings")
    assert read_tokens(Path("..")) == read_tokens(made.packet.folder)
    with pytest.raises(CultureCareError, match="/: nothing can stand beside this folder"):
        key_path(Path("/"))


# --- Refusals ---


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"raters": {"german": 2, "american": 3}}, "culture 'german' has 2 raters, but each item takes 3"),
        ({"raters": {"german": 3}}, "culture 'american' has no raters; name them with --raters american=3"),
        (
            {"raters": {"german": 3, "american": 3, "chinese": 3}},
            "raters are named for culture 'chinese', but the packet has posts of american, german",
        ),
        ({"raters": {"german": ["a", "b", "c"], "american": ["d", "e", "A"]}}, "rater 'A' is named twice"),
        ({"raters": {"german": ["a", "a"]}}, "rater 'a' is named twice"),  # Said before what else is wrong.
        ({"raters": {"german": ["a", "b", "\ud83d"], "american": 3}}, r"rater '\\ud83d': a name has 1 to 100 characters"),
        ({"raters": {"german": ["a", "b", "c" * 101], "american": 3}}, "a name has 1 to 100 characters, all of which can be printed"),
        ({"raters": {"german": 25, "american": 3}}, "has 25 raters, but its 8 items with 3 raters each are work for 24; name fewer"),
        ({"raters": {"german": 3, "american": 100_000}}, "has 100000 raters, but at most 500 are taken"),
        ({"raters": {"german": 3, "american": 10**30}}, "but at most 500 are taken"),
        ({"choose": [""]}, "a name is empty; choose from american, german, or leave --cultures out for all"),
        ({"choose": []}, "a name is empty; choose from american, german"),
        ({"per_item": 6}, "per_item is 6, but an item has at most 5 replies here, one by each condition; lower --per-item to 5"),
        ({"raters": {"german": ["a", "b", "c\nd"], "american": 3}}, r"rater 'c\\nd': a name has 1 to 100 characters"),
        ({"choose": ["german", "french"]}, "unknown culture 'french'"),
        ({"choose": ["german", "chinese"]}, "the runs have no reply to a post of culture 'chinese'; theirs are american, german"),
        ({"ask_in": {"german": "xx"}}, "the interface has no language 'xx'"),
        ({"items": 17}, "culture 'american' has 8 posts with 5 replies each, which make 1 to 16 items of 3, not 17"),
        ({"items": 0}, "not 0"),
        ({"per_item": 0}, "per_item is 0, but must be 1 or more"),
        ({"checks": -1}, "checks is -1, but must be 0 or more"),
        ({"repeats": 5}, "rater 'american-1' has 8 items, among which 5 repeats do not fit"),
        ({"runs": []}, "there is no reply to rate"),
    ],
)
def test_what_cannot_be_made_is_refused_and_nothing_is_written(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CultureCareError, match=message):
        small_packet(tmp_path / "packet", **settings)
    assert list(tmp_path.iterdir()) == []


def test_runs_on_different_posts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CultureCareError, match="'lab/Speaker-8B:standard' has no reply to 8 of 16 posts, such as 'synthetic-american-"):
        small_packet(tmp_path / "packet", runs=[make_run(), make_run("lab/Speaker-8B", cultures=["german"])])


def test_runs_on_different_posts_are_taken_where_the_chosen_culture_has_all(tmp_path: Path) -> None:
    runs = [make_run(), make_run("lab/Speaker-8B", cultures=["german"])]
    made = small_packet(tmp_path / "packet", runs=runs, choose=["german"], raters={"german": 3})
    assert set(made.packet.packet.items) == {"german"}


def test_the_same_run_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CultureCareError, match="has two replies by 'lab/Listener-7B:standard'; name each run once"):
        small_packet(tmp_path / "packet", runs=[make_run(), make_run()])


def test_excerpts_and_full_posts_are_never_mixed(tmp_path: Path) -> None:
    run, other = make_run(), make_run("lab/Speaker-8B")
    short = other.model_copy(update={"replies": tuple(reply.model_copy(update={"excerpt": True}) for reply in other.replies)})
    with pytest.raises(CultureCareError, match="replies to full posts and replies to excerpts are mixed"):
        small_packet(tmp_path / "packet", runs=[run, short])


def test_a_peer_known_by_excerpts_alone_does_not_take_part(tmp_path: Path) -> None:
    run = make_run()
    short = run.model_copy(update={"replies": tuple(reply.model_copy(update={"excerpt": True}) for reply in run.replies)})
    with pytest.raises(CultureCareError, match="leave the peer out with --no-peer"):
        small_packet(tmp_path / "packet", runs=[short])
    made = small_packet(tmp_path / "packet", runs=[short], per_item=2, include_peer=False)
    assert made.packet.packet.excerpt
    assert all(item.post.excerpt for item in made.packet.items.values())
    assert "peer" not in made.key.header.conditions


def test_a_post_without_its_peers_text_is_left_out_and_counted(tmp_path: Path) -> None:
    run = make_run(cultures=["german"])
    first = run.instances[0].model_copy(update={"response": run.instances[0].response.model_copy(update={"text": None})})
    made = small_packet(tmp_path / "packet", runs=[run.model_copy(update={"instances": (first, *run.instances[1:])})])
    assert made.packet.packet.items == {"german": 7}
    assert first.id not in {entry.instance_id for entry in made.key.entries}
    assert made.key.header.notes == ("Posts that were left out, since their peer's reply is not known in full: 1.",)


def test_samples_of_lm_eval_know_no_peer(tmp_path: Path) -> None:
    with pytest.raises(CultureCareError, match="lm-eval's samples hold the posts alone; leave the peer out with --no-peer"):
        small_packet(tmp_path / "packet", runs=[make_run().model_copy(update={"instances": ()})])


def test_posts_that_read_otherwise_in_another_run_are_refused(tmp_path: Path) -> None:
    run = make_run("lab/Speaker-8B")
    changed = run.model_copy(update={"posts": {name: f"{text}!" for name, text in run.posts.items()}})
    with pytest.raises(CultureCareError, match="reads otherwise in lab/Speaker-8B than in another run"):
        small_packet(tmp_path / "packet", runs=[make_run(), changed])


@pytest.mark.parametrize("there", ["packet", "packet.key.jsonl", "packet.tokens.json", "packet.names.json"])
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).mkdir()
    with pytest.raises(CultureCareError, match="is there already, and packets are never overwritten"):
        small_packet(tmp_path / "packet")


def test_a_form_without_scales_or_choices_has_no_checks(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "{version: 1, title: Mine, summary: One., introduction: Read.,"
        " questions: [{key: say, kind: text, about: reply, required: true, name: Say, question: Say what.}]}",
        encoding="utf-8",
    )
    runs = [make_run(cultures=["american"])]
    with pytest.raises(
        CultureCareError, match="no required scale or choice about replies that an attention check could ask for; set --checks 0"
    ):
        small_packet(tmp_path / "packet", str(path), runs=runs)
    assert small_packet(tmp_path / "packet", str(path), runs=runs, checks=0).packet.packet.form.name == "mine"
