"""`culturecare human`: what a user reads on the way from a run to its scores."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from culturecare import RELEASE_VARIABLE
from culturecare_harness import cli
from culturecare_harness.dataset import Selection
from culturecare_harness.generate import Generation, ModelChoice
from culturecare_harness.human.items import open_packet, read_key
from culturecare_harness.human.ratings import LEFT_BLANK, LEFT_OUT, add_ratings, append_ratings, latest, read_ratings
from culturecare_harness.judges import select_judge
from culturecare_harness.power import ASSUMED
from culturecare_harness.records import Verdict, write_json, write_records
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.runs import MANIFEST, manifest_of
from tests.raters import NOON, answers, make_run, small_packet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from culturecare_harness.human.forms import Question
    from culturecare_harness.human.items import Item, OpenPacket
    from culturecare_harness.human.ratings import Rating
    from culturecare_harness.records import Reply

STRATEGIES = ("standard", "cga")


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `culturecare human` with some arguments in an empty folder; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(RELEASE_VARIABLE, raising=False)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["culturecare", "human", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def write_run(
    folder: Path,
    cultures: tuple[str, ...] = ("german", "american"),
    per_culture: int | None = None,
    text: Callable[[str, str], str] | None = None,
) -> Path:
    """A finished run on disk, as `culturecare eval` leaves it."""
    made = make_run("lab/Listener-7B", STRATEGIES, cultures, per_culture=per_culture, text=text)
    selection = Selection(split="sample", cultures=cultures, per_culture=per_culture)
    write_json(folder / MANIFEST, manifest_of(ModelChoice(name="lab/Listener-7B"), STRATEGIES, selection, Generation()))
    write_records(folder / "replies.jsonl", list(made.replies))
    return folder


def judge(folder: Path, score: Callable[[Reply], float]) -> None:
    """Adds the verdicts of a judge to a run."""
    who = select_judge("llama-3.1-70b").judge
    verdicts = [
        Verdict(reply_id=reply.id, judge=who, dimension=dimension.key, score=score(reply), reason=None)
        for reply in make_run("lab/Listener-7B", STRATEGIES, ("german", "american")).replies
        for dimension in select_rubric("culturecare").dimensions
    ]
    write_records(folder / "judged.verdicts.jsonl", verdicts)


def rate_well(packet: OpenPacket, *, careless: str = "") -> None:
    """Everybody prefers `cga`, and answers the attention checks as they say, but for one."""
    origin = {(entry.item, entry.label): entry for entry in read_key(packet).entries}
    for rater in packet.assignments:

        def answer(question: Any, item: Any, label: str | None, rater: str = rater) -> Any:
            if question.kind == "ranking":
                return item.labels
            if label is None:
                return None
            entry = origin[item.id, label]
            if entry.kind == "check" and entry.question == question.key:
                return 1 + int(entry.expected or 0) % 5 if rater == careless else entry.expected
            return 4 if str(entry.condition).endswith("cga") else 2 + len(rater + question.key + item.id) % 2

        append_ratings(packet, answers(packet, rater, answer=answer))


# --- make ------------------------------------------------------------------------------------------------------------------------


def test_a_packet_of_few_conditions_needs_no_setting(called: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", per_culture=2)
    code, out, err = called("make", run, "--raters", 3, "--repeats", 0, "--out", "packet", "--workbooks", "--label-studio")
    assert (code, err.strip()) == (0, "")
    assert out.splitlines() == [
        "Workbooks: packet-workbooks",
        "Label Studio: packet-label-studio",
        "They show the words of consent and cannot ask for it: have raters agree before they begin.",
        "Packet: packet (6 raters, 4 items)",
        "Key: packet.key.jsonl and access codes: packet.tokens.json; show neither to raters.",
    ]
    assert open_packet(tmp_path / "packet").packet.per_item == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--raters", 3, "--per-item", 4),
            "per_item is 4, but an item has at most 3 replies here, one by each condition; lower --per-item",
        ),
        (("--raters", 3, "--cultures", ""), "cultures: a name is empty; choose from american, german, or leave --cultures out for all"),
        (("--raters", 3, "--cultures", "german,"), "cultures: a name is empty"),
        (("--raters", 3, "--checks", 50), "checks is 50, but a rater of culture 'american' has 8 items and takes at most 4 checks"),
        (("--raters", 100_000), "culture 'american' has 100000 raters, but at most 500 are taken"),
        (("--raters", "german=a,a"), "rater 'a' is named twice"),
        (("--raters", "9" * 5_000), "raters '99999"),
        (("--raters", 3, "--out", "."), ".: is there already, and packets are never overwritten"),
        (("--raters", 3, "--out", ""), ".: is there already, and packets are never overwritten"),
        (("--raters", 3, "--out", "/"), "/: nothing can stand beside this folder"),
        (("--raters", 3, "--out", "run/../.."), "run/../..: is there already"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line_and_nothing_is_written(
    called: Callable[..., tuple[int, str, str]], tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    run = write_run(tmp_path / "run")
    place = () if "--out" in arguments else ("--out", "packet")
    code, out, err = called("make", run, *arguments, *place, "--workbooks")
    assert (code, out) == (2, "")
    assert err.strip().startswith(f"error: {message}")
    assert len(err.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_raters_are_called_by_codes_in_all_that_is_written_but_the_file_of_their_names(
    called: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", ("german",))
    names = ("Annegret", "Benno", "Chrysanthi")
    code, out, _ = called("make", run, "--raters", f"german={','.join(names)}", "--out", "packet", "--workbooks", "--label-studio")
    assert code == 0
    assert out.splitlines()[-1] == "Names: packet.names.json says whose code is whose, and nothing else does; keep it to yourself."
    rate_well(open_packet(tmp_path / "packet"), careless="german-2")
    code, out, _ = called("score", "packet")
    assert code == 0
    assert "german-2 failed 2 of 2 attention checks" in out
    assert sorted(path.name for path in (tmp_path / "packet-workbooks").iterdir()) == [f"german-{number}.xlsx" for number in (1, 2, 3)]
    for name in names:
        assert name not in out
        holders = [path.name for path in tmp_path.rglob("*") if path.is_file() and name.encode() in path.read_bytes()]
        assert holders == ["packet.names.json"]


def test_a_packet_whose_workbooks_cannot_be_written_is_not_made_and_can_be_made_without_them(
    called: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", ("german",), per_culture=2, text=lambda name, strategy: f"{name} {strategy} " + "long " * 10_000)
    command = ("make", run, "--raters", 3, "--repeats", 0, "--out", "packet", "--label-studio")
    code, out, err = called(*command, "--workbooks")
    assert (code, out) == (2, "")
    assert "does not fit into a cell, which holds 32767" in err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    code, out, _ = called(*command)
    assert code == 0
    assert "Label Studio: packet-label-studio" in out


# --- import ----------------------------------------------------------------------------------------------------------------------


def test_files_without_an_answer_are_refused_or_said_to_hold_none(called: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", per_culture=2)
    called("make", run, "--raters", 3, "--repeats", 0, "--out", "packet", "--workbooks", "--label-studio")
    (tmp_path / "empty.jsonl").write_text("", encoding="utf-8")
    (tmp_path / "empty.json").write_text("[]", encoding="utf-8")
    for file, message in (
        ("empty.jsonl", "empty.jsonl: is empty, but must hold a rating a line"),
        ("empty.json", "empty.json: holds no task; export the project again in the format JSON"),
        ("packet-label-studio/german-1.tasks.json", "task 1: has no annotations; export in the format JSON"),
    ):
        code, out, err = called("import", "packet", file)
        assert (code, out) == (2, "")
        assert message in err
    # A workbook that nobody has begun is no mistake: a folder of them is imported again and again.
    code, out, _ = called("import", "packet", "packet-workbooks/german-1.xlsx")
    assert code == 0
    assert out.startswith("packet-workbooks/german-1.xlsx: holds no answer yet, so that nothing is imported from it.\n")
    assert read_ratings(open_packet(tmp_path / "packet")) == []


def given_to(packet: OpenPacket, rater: str, path: Path, at: dt.datetime, *, half: bool = False) -> list[Rating]:
    """A file with all that a rater was asked; of what was filled in half, only the first answer to each reply is there."""
    first = packet.packet.form.questions[0].key

    def answer(question: Question, item: Item, _: str | None) -> int | tuple[str, ...] | None:
        if half and question.key != first:
            return None
        return item.labels if question.kind == "ranking" else 3 if question.values else None

    ratings = answers(packet, rater, answer=answer, at=at)
    write_records(path, ratings)
    return ratings


@pytest.mark.parametrize("half_later", [True, False])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_file_filled_in_half_takes_nothing_back_in_whatever_order(
    called: Callable[..., tuple[int, str, str]], tmp_path: Path, *, half_later: bool, at_once: bool
) -> None:
    packet = small_packet(tmp_path / "packet", runs=[make_run(cultures=["german"])]).packet
    times = (NOON, NOON + dt.timedelta(hours=1))
    whole = given_to(packet, "german-1", tmp_path / "filled" / "whole.jsonl", times[not half_later])
    half = given_to(packet, "german-1", tmp_path / "filled" / "copy.jsonl", times[half_later], half=True)
    blank = sum(rating.value is None for rating in half)
    assert 0 < blank < len(whole) == len(half)
    files = ["filled"] if at_once else ["filled/copy.jsonl", "filled/whole.jsonl"]
    code, out, _ = called("import", "packet", *files)
    assert code == 0
    assert all(rating.value is not None for rating in latest(read_ratings(packet)).ratings)
    counted = f"{len(whole)}/{len(whole)}"
    assert f"│ {counted} " in out
    if at_once:
        lost = f"0 replaced, {len(whole) - blank} unchanged, {blank} passed over."
        gained = f"{blank} replaced, {len(whole) - blank} unchanged, 0 passed over."
        assert out.startswith(f"filled: {len(whole)} new, {lost if half_later else gained}\n")
    code, out, _ = called("import", "packet", *files)
    assert "0 new, 0 replaced" in out
    assert not any(figure in out for figure in ("1 new", "1 replaced"))


def test_a_correction_is_not_undone_by_importing_an_older_file_again(called: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    packet = small_packet(tmp_path / "packet", runs=[make_run(cultures=["german"])]).packet
    first = given_to(packet, "german-1", tmp_path / "given.jsonl", NOON)[0]
    correction = first.model_copy(update={"value": 5, "at": NOON + dt.timedelta(minutes=1)})
    write_records(tmp_path / "correction.jsonl", [correction])
    for files, said in ((("given.jsonl", "correction.jsonl"), "0 new, 1 replaced"), (("given.jsonl",), "0 new, 0 replaced")):
        code, out, _ = called("import", "packet", *files)
        assert code == 0
        assert said in out
        assert {rating.cell: rating for rating in latest(read_ratings(packet)).ratings}[first.cell].value == 5


def test_an_answer_replaces_only_what_was_given_before_it(tmp_path: Path) -> None:
    packet = small_packet(tmp_path / "packet", runs=[make_run(cultures=["german"])]).packet
    one = answers(packet, "german-1")[0].model_copy(update={"value": 3})
    other = one.model_copy(update={"value": 4})
    assert add_ratings(packet, [one, other]) == (1, 1, 0, 0)  # Of one file, the last line counts, as in a packet's own.
    assert add_ratings(packet, [one]) == (0, 0, 0, 1)
    assert [rating.value for rating in latest(read_ratings(packet)).ratings] == [4]


def test_a_reason_is_an_answer_that_no_blank_cell_takes_back(tmp_path: Path) -> None:
    packet = small_packet(tmp_path / "packet", runs=[make_run(cultures=["german"])]).packet
    one = answers(packet, "german-1")[0].model_copy(update={"value": 3})
    declined = one.model_copy(update={"value": None, "reason": LEFT_OUT})
    blank = one.model_copy(update={"value": None, "reason": LEFT_BLANK, "at": NOON + dt.timedelta(hours=1)})
    assert add_ratings(packet, [blank, declined]) == (1, 0, 0, 1)
    kept = latest(read_ratings(packet))
    assert kept.ratings == [declined]
    assert latest([declined, blank]) == latest([blank, declined]) == kept
    assert kept.superseded == {}
    assert latest([one, declined.model_copy(update={"at": blank.at}), blank]).superseded == {"german-1": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": "comment", "label": None, "value": "half \ud83d"}, "given.jsonl:1: value: holds half of a character"),
        ({"value": None, "reason": "half \ud83d"}, "given.jsonl:1: reason: holds half of a character"),
        ({"at": "9999-12-31T23:59:59.999999Z"}, "given.jsonl:1: at: must lie in the years 2000 to 2999"),
        ({"at": "2999-01-01T00:00:00Z"}, "given.jsonl: rater 'german-1' answers item"),
    ],
)
def test_an_answer_that_cannot_be_kept_is_told(
    called: Callable[..., tuple[int, str, str]], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    packet = small_packet(tmp_path / "packet", runs=[make_run(cultures=["german"])]).packet
    fields = answers(packet, "german-1")[0].model_dump(mode="json") | changes
    (tmp_path / "given.jsonl").write_text(json.dumps(fields) + "\n", encoding="utf-8")
    code, out, err = called("import", "packet", "given.jsonl")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert len(err.strip().splitlines()) == 1
    assert read_ratings(packet) == []


# --- score -----------------------------------------------------------------------------------------------------------------------


def test_scores_end_with_what_to_take_along(called: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    judge(run, lambda reply: 4.0 if reply.strategy == "cga" else 2.0)
    called("make", run, "--raters", 3, "--no-peer", "--out", "packet")
    rate_well(open_packet(tmp_path / "packet"))
    code, out, err = called("score", "packet", "--run", run)
    assert (code, err.strip()) == (0, "")
    _, _, short = out.partition("In short\n")
    lines = short.splitlines()
    assert lines[0].endswith("ratings (2 cultures); 6 of 6 raters count, with 16 items.")
    assert lines[1] == "Raters excluded: none; nobody failed."
    assert lines[2].strip() == "Which judge to use"
    rows = {cells[1].strip(): cells[2].strip() for line in lines if len(cells := line.split("│")) == 4}
    # Eight posts of a culture are too few to tell, and those of both are not.
    assert rows == {"American": "undecided", "German": "undecided", "all (mean)": "llama-3.1-70b"}
    assert lines[-1].startswith("Result file: ")


@pytest.mark.parametrize("form", ["annotator", "psychologist"])
def test_questions_have_their_names_on_the_terminal(called: Callable[..., tuple[int, str, str]], tmp_path: Path, form: str) -> None:
    run = write_run(tmp_path / "run", ("german",))
    called("make", run, "--form", form, "--raters", 3, "--out", "packet")
    packet = open_packet(tmp_path / "packet")
    for rater in packet.assignments:
        append_ratings(packet, answers(packet, rater))
    code, out, _ = called("score", "packet")
    assert code == 0
    for question in packet.packet.form.questions:
        assert f" {question.key} " not in out.replace("│", " ") or question.key == question.name
        assert f"{question.key}=" not in out
    assert {"annotator": "Sociopolitical influence", "psychologist": "Overly positive"}[form] in out


def test_the_summary_says_who_was_left_out_and_that_no_judge_was_named(called: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ("german",))
    called("make", run, "--raters", 3, "--out", "packet")
    rate_well(open_packet(tmp_path / "packet"), careless="german-2")
    failed = "(german-2 failed 2 of 2 attention checks)"
    for arguments, count, excluded in (
        ((), 3, f"Raters excluded: none, though 1 failed {failed}; --exclude-failed leaves them out."),
        (("--exclude-failed",), 2, f"Raters excluded: 1 {failed}."),
    ):
        code, out, _ = called("score", "packet", *arguments)
        assert code == 0
        _, _, short = out.partition("In short\n")
        counted, said, judges, _ = short.splitlines()
        assert counted.endswith(f"ratings (German); {count} of 3 raters count, with 8 items.")
        assert said == excluded
        assert judges == "Which judge to use: none was held against these people; name judged runs with --run."


# --- plan ------------------------------------------------------------------------------------------------------------------------

PLAN = ("plan", "--posts", 20, "--difference", 0.3, "--simulations", 100)


def test_a_plan_takes_the_spread_of_an_earlier_packet(called: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    packet = small_packet(tmp_path / "packet", runs=[make_run()]).packet
    for rater in packet.assignments:
        append_ratings(packet, answers(packet, rater))
    code, out, err = called(*PLAN, "--from", "packet", "--out", "plan.json")
    assert (code, err) == (0, "")
    # Three raters, sixteen posts, three replies, seven scales.
    assert f"estimated from {3 * 16 * 3 * 7} grades of packet {packet.packet.id}." in out
    assert "assumed" not in out
    spread = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))["design"]["spread"]
    assert spread["residual"] != ASSUMED.residual


def test_a_plan_without_an_earlier_packet_assumes_what_is_not_given(called: Callable[..., tuple[int, str, str]]) -> None:
    for arguments, source in (
        ((), "assumed, not measured."),
        (("--sd-rater", 0.2), "partly given on the command line, the rest assumed."),
        (("--sd-post", 0.1, "--sd-reply", 0.2, "--sd-rater", 0.2, "--sd-residual", 0.3), "given on the command line."),
    ):
        code, out, _ = called(*PLAN, *arguments)
        assert code == 0
        assert f": {source}\n" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "."), "--out '.': is a folder; name a file"),
        (("--seed", -1), "Invalid value for '--seed': Input should be greater than or equal to 0"),
    ],
)
def test_a_plan_that_cannot_be_made_is_told_in_one_line(
    called: Callable[..., tuple[int, str, str]], tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    code, out, err = called(*PLAN, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_cannot_take_a_packet_says_why(called: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    small_packet(tmp_path / "packet", runs=[make_run()])
    for arguments, message in (
        (("--from", "packet"), "packet: nobody has graded a reply yet; import ratings"),
        (("--from", "packet", "--sd-rater", 1), "--from and --sd-rater: the standard deviations come from the packet or from you"),
        (("--from", "nowhere"), "nowhere/packet.json: cannot be read (No such file or directory); is this the folder of a packet?"),
    ):
        code, out, err = called(*PLAN, *arguments)
        assert (code, out) == (2, "")
        assert err.startswith(f"error: {message}")
