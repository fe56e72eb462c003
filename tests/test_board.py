"""Boards: submissions stand whole or not at all, are read again only where they changed, and nothing in the folder takes the board down."""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime as dt
import os
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from culturecare import CultureCareError
from culturecare_harness import board as board_module
from culturecare_harness.admission import refusals
from culturecare_harness.board import folder_of, open_board, put, verification_path
from culturecare_harness.bundle import FILES, REPLIES, RESULT, SUBMISSION, BundleError, Submission, _id_of, contents, pack, read_bundle
from culturecare_harness.protocols import protocols, select_protocol
from culturecare_harness.records import reply_id, write_json
from culturecare_harness.scoring import metric_names
from tests import hostile
from tests.bundles import WHEN, make_board, make_bundle, make_verification

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from culturecare_harness.board import Board
    from culturecare_harness.bundle import Bundle

HONEST = make_bundle(strategies=("standard",))
OTHER = make_bundle("example/other", strategies=("standard",), quality=4.0)
LATER, EARLIER = WHEN + dt.timedelta(days=1), WHEN - dt.timedelta(days=90)


class Silent:
    """A `Progress` that says nothing."""

    def say(self, sentence: str) -> None: ...

    def advance(self, finished: int, total: int) -> None: ...


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A board with one submission."""
    put(tmp_path / "board", HONEST)
    return tmp_path / "board"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the board's reader was asked to read."""
    asked: list[str] = []

    def read(path: Path) -> Bundle:
        asked.append(path.name)
        return read_bundle(path)

    monkeypatch.setattr(board_module, "read_bundle", read)
    return asked


def opened(folder: Path, **options: Any) -> Board:
    return open_board(str(folder), Silent(), cache=folder.parent / "cache", **options)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_fields(bundle: Bundle, **fields: Any) -> Bundle:
    return pack(bundle.submission.model_dump(exclude={"files"}) | fields, bundle.result, bundle.replies, bundle.verdicts)


def cached(folder: Path) -> Path:
    [file] = (folder.parent / "cache").glob("*.parquet")
    return file


# --- Putting ---------------------------------------------------------------------------------------------------------------------


def test_what_was_put_stands_where_it_belongs_byte_for_byte(tmp_path: Path) -> None:
    place = put(tmp_path, HONEST)
    assert place == tmp_path / f"submissions/demo/example--listener/{HONEST.id}"
    assert {path.name: path.read_bytes() for path in place.iterdir()} == contents(HONEST)
    assert read_bundle(place) == HONEST
    assert opened(tmp_path).bundle(HONEST.id) == HONEST


def test_a_bundle_that_another_program_wrote_can_be_put_too(tmp_path: Path) -> None:
    files = hostile.sealed(contents(HONEST) | {RESULT: contents(HONEST)[RESULT].replace(b"  ", b"\t")})
    bundle = read_bundle(hostile.as_zip(tmp_path, files))
    put(tmp_path / "board", bundle)
    assert [entry.id for entry in opened(tmp_path / "board").entries] == [bundle.id]


def test_what_is_there_is_not_overwritten(folder: Path) -> None:
    before = files_of(folder)
    with pytest.raises(CultureCareError, match="is on the board already"):
        put(folder, HONEST)
    with pytest.raises(CultureCareError, match="is on the board already"):
        put(folder, with_fields(HONEST, submitted=WHEN + dt.timedelta(days=1)))
    assert files_of(folder) == before


def test_nothing_is_left_of_a_put_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path as AnyPath

    def full(path: Path, content: bytes) -> int:
        if path.name == REPLIES:
            raise OSError(28, "No space left on device")
        return len(content)

    monkeypatch.setattr(AnyPath, "write_bytes", full)
    with pytest.raises(CultureCareError, match="cannot be written"):
        put(tmp_path, HONEST)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() or HONEST.id in path.name or path.name.startswith(".")]


def test_of_many_puts_at_once_one_is_done(tmp_path: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(put, tmp_path, HONEST) for _ in range(16)]
    errors = [future.exception() for future in futures]
    assert errors.count(None) == 1
    assert all(error is None or "is on the board already" in str(error) for error in errors)
    assert files_of(tmp_path) == {f"{folder_of(HONEST)}/{name}": content for name, content in contents(HONEST).items()}


def test_different_submissions_can_be_put_at_once(tmp_path: Path) -> None:
    bundles = [make_bundle("example/listener", strategies=("standard",), seed=seed) for seed in range(6)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda bundle: put(tmp_path, bundle), bundles))
    [entry] = opened(tmp_path).entries
    assert (entry.id, entry.older) == (bundles[-1].id, 5)


def test_nothing_is_put_through_a_link_out_of_the_board(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "board/submissions").mkdir(parents=True)
    (tmp_path / "board/submissions/demo").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CultureCareError, match="leads out of the board's folder by a link"):
        put(tmp_path / "board", HONEST)
    assert not [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()]


def test_a_put_that_is_under_way_is_not_seen(folder: Path) -> None:
    shutil.copytree(folder / folder_of(HONEST), folder / "submissions/demo/example--listener/.incoming-x")
    board = opened(folder)
    assert (len(board.entries), board.refused) == (1, {})


# --- What a board shows ----------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(CultureCareError, match="is not a folder"):
        opened(tmp_path / "nowhere")


def test_an_empty_board_is_a_board(tmp_path: Path) -> None:
    board = opened(tmp_path)
    assert (board.entries, board.refused, len(board.cells), len(board.gains)) == ((), {}, 0, 0)
    assert "mean" in board.cells.columns
    assert board.protocols == tuple(protocols().values())


def test_the_newest_of_a_model_is_shown_and_the_older_are_counted(tmp_path: Path) -> None:
    runs = [make_bundle("example/listener", strategies=("standard",), seed=seed) for seed in (2, 0, 1)]
    for run in runs:
        put(tmp_path, run)
    board = opened(tmp_path)
    [entry] = board.entries
    assert (entry.id, entry.older) == (runs[0].id, 2)
    assert {entry.id for entry in board.all_entries} == {run.id for run in runs}
    older = board.entry(runs[1].id)
    assert older is not None
    assert (older.id, older.older) == (runs[1].id, 0)
    assert board.entry("0" * 16) is None


def test_numbers_are_those_of_the_result_and_differences_are_paired(tmp_path: Path) -> None:
    bundle = make_bundle("example/listener")
    put(tmp_path, bundle)
    board = opened(tmp_path)
    given = {(score.strategy, score.culture, score.metric): score for score in bundle.result.scores}
    assert len(board.cells) == 2 * 8 * len(set(metric_names("culturecare")) - {"same_language", "reply_characters"})
    for row in board.cells.itertuples():
        score = given[row.strategy, row.culture, row.metric]
        assert (row.mean, row.low, row.high, row.n) == pytest.approx((score.mean, score.low, score.high, score.n))
    [gain] = board.gains[(board.gains["culture"] == "all") & (board.gains["metric"] == "overall")].itertuples()
    means = board.cells[(board.cells["culture"] == "all") & (board.cells["metric"] == "overall")].set_index("strategy")["mean"]
    assert gain.strategy == "cga"
    assert gain.mean == pytest.approx(means["cga"] - means["standard"])
    assert gain.low <= gain.mean <= gain.high
    assert gain.n == 14


def test_a_submission_that_was_changed_after_it_was_read_is_not_handed_out(folder: Path) -> None:
    board = opened(folder)
    place = folder / folder_of(HONEST)
    shutil.rmtree(place)
    shutil.copytree(put(folder.parent / "other", OTHER), place)
    with pytest.raises(BundleError, match="was changed after it was read"):
        board.bundle(HONEST.id)
    with pytest.raises(CultureCareError, match="no submission '0000000000000000'"):
        board.bundle("0" * 16)


def test_results_under_a_retired_protocol_stay(folder: Path) -> None:
    retired = {"demo": select_protocol("demo").model_copy(update={"status": "retired", "retired_because": "its judge is gone"})}
    assert [entry.id for entry in opened(folder, known=retired).entries] == [HONEST.id]


def test_what_was_handed_in_after_its_protocol_was_retired_goes_though_it_was_read_before(folder: Path, reads: list[str]) -> None:
    put(folder, late := with_fields(OTHER, submitted=LATER))
    assert len(opened(folder).entries) == 2
    retired = {"status": "retired", "retired_because": "its judge is gone", "retired_on": WHEN.date()}
    board = opened(folder, known=dict(protocols()) | {"demo": select_protocol("demo").model_copy(update=retired)})
    assert [entry.id for entry in board.entries] == [HONEST.id]
    assert "it was submitted on 2026-01-02, by its own word, but protocol 'demo' takes nothing since" in board.refused[folder_of(late)]
    assert len(reads) == 2


def test_a_time_in_the_future_is_refused_until_it_comes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, late := with_fields(OTHER, submitted=dt.datetime.now(dt.UTC) + dt.timedelta(hours=5)))
    board = opened(folder)
    assert [entry.id for entry in board.entries] == [HONEST.id]
    assert "not in the future" in board.refused[folder_of(late)]

    class InFiveHours(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
            return dt.datetime.now(tz) + dt.timedelta(hours=5)

    monkeypatch.setattr("culturecare_harness.admission.dt", SimpleNamespace(datetime=InFiveHours, timedelta=dt.timedelta, UTC=dt.UTC))
    assert {entry.id for entry in opened(folder).entries} == {HONEST.id, OTHER.id}


def test_results_under_a_protocol_that_is_unknown_here_are_said(folder: Path) -> None:
    board = opened(folder, known={"v1": select_protocol("v1")})
    assert board.entries == ()
    assert "protocol 'demo' is unknown here" in board.refused[folder_of(HONEST)]


# --- The corpus, put into the folder by hand --------------------------------------------------------------------------------------


def reason_against(path: Path) -> str | None:
    """The first reason against a bundle, null where there is none."""
    try:
        return next(iter(refusals(read_bundle(path), standing=True)), None)
    except BundleError as error:
        return str(error)


def place_by_hand(folder: Path, made: Path, number: int) -> str:
    """Moves a hostile bundle to where it would belong; a ZIP file into a folder of its own."""
    name = f"submissions/demo/example--listener/{number:016x}"
    if not made.is_dir():
        (folder / name).mkdir(parents=True)
        made.rename(folder / name / made.name)
        return name
    with contextlib.suppress(OSError, ValueError):
        submission = Submission.model_validate_json((made / SUBMISSION).read_bytes())
        own = f"submissions/demo/{submission.model.replace('/', '--')}/{_id_of(submission)}"
        name = name if (folder / own).exists() else own
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    made.rename(folder / name)
    return name


@pytest.mark.slow
def test_no_hostile_bundle_takes_a_board_down_and_each_is_listed_with_its_reason(folder: Path, tmp_path: Path) -> None:
    before = files_of(folder)
    expected: dict[str, tuple[str, str]] = {}
    for number, case in enumerate(case for case in hostile.CASES if not case.name.endswith(" (ZIP)")):
        scratch = tmp_path / "scratch" / f"{number}"
        scratch.mkdir(parents=True)
        made = case.make(scratch)
        if not os.path.lexists(made):
            continue
        # A ZIP file is not unpacked: it does not belong there at all.
        reason = reason_against(made) if made.is_dir() else "'bundle"
        name = place_by_hand(folder, made, number)
        if reason is not None:
            expected[name] = (case.name, reason)
    for _ in range(2):  # From the files, and from the cache.
        board = opened(folder)
        assert HONEST.id in {entry.id for entry in board.all_entries}
        for name, (case_name, reason) in expected.items():
            assert board.refused.get(name, "").startswith((reason, "it stands in the wrong folder")), (case_name, name)
        assert all(text.isprintable() for item in board.refused.items() for text in item)
    assert len(expected) >= 60
    assert files_of(folder).items() >= before.items()
    assert not (tmp_path / "evil.json").exists()


def test_names_that_are_no_submissions_are_said_and_never_read(folder: Path, reads: list[str]) -> None:
    above = folder / "submissions"
    for name in (b"\xff\xfe", b"<script>", b"up\\..\\evil", b"a\nb", b"CAPITALS"):
        os.mkdir(os.fsencode(above) + b"/" + name)  # noqa: PTH102 - a name that is no text.
    (above / "demo/example--listener/not-an-id").mkdir()
    (above / "linked").symlink_to("/etc")
    (above / "demo/README.md").write_text("Not a folder.", encoding="utf-8")
    board = opened(folder)
    assert len(board.refused) == 7
    assert board.refused["submissions/linked"] == "is a link; a submission is a folder of its own"
    assert "submissions/a\\u000ab" in board.refused
    assert reads == [HONEST.id]


def test_a_submission_in_anothers_place_is_refused(folder: Path) -> None:
    place = folder / "submissions/demo/famous--model" / HONEST.id
    shutil.copytree(folder / folder_of(HONEST), place)
    board = opened(folder)
    assert [entry.model for entry in board.entries] == ["example/listener"]
    assert board.refused[f"submissions/demo/famous--model/{HONEST.id}"].startswith("it stands in the wrong folder")


# --- Impostors -------------------------------------------------------------------------------------------------------------------


def replay(bundle: Bundle, model: str, change: Callable[[str], str] = lambda text: text, **fields: Any) -> Bundle:
    """The same replies and grades by another name, with everything made again that follows from it."""
    names, replies = {}, []
    for reply in bundle.replies:
        text = change(reply.text or "")
        names[reply.id] = reply_id(reply.instance_id, reply.strategy, model, text)
        replies.append(reply.model_copy(update={"id": names[reply.id], "model": model, "text": text}))
    verdicts = [verdict.model_copy(update={"reply_id": names[verdict.reply_id]}) for verdict in bundle.verdicts]
    result = bundle.result.model_copy(
        update={
            "model": bundle.result.model.model_copy(update={"name": model}),
            "scores": tuple(score for score in bundle.result.scores if score.metric != "reply_characters"),
        }
    )
    about = bundle.submission.model_dump(exclude={"files"}) | {"model": model} | fields
    return pack(about, result, replies, verdicts)


def verified(folder: Path, submission: Bundle, /, **fields: Any) -> None:
    """Puts a record of verification beside a submission."""
    write_json(folder / verification_path("demo", submission.id), make_verification(submission, **fields))


@pytest.mark.parametrize("model", ["example/listener", "EXAMPLE/Listener"])
@pytest.mark.parametrize("claimed", [EARLIER, LATER])
def test_an_impostor_by_hand_is_refused_whatever_time_it_claims(folder: Path, model: str, claimed: dt.datetime) -> None:
    opened(folder)
    thief = make_bundle(model, strategies=("standard",), seed=3, submitter="thief", quality=4.9, submitted=claimed)
    put(folder, thief)
    for _ in range(2):
        board = opened(folder)
        assert [(entry.model, entry.submitter) for entry in board.entries] == [("example/listener", "somebody")]
        assert "is on the board by somebody; only they can hand in another run of it" in board.refused[folder_of(thief)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (str, "its replies are word for word those of 'example/listener', handed in by somebody"),
        (str.upper, "about 100% of its passages are those of 'example/listener', handed in by somebody"),
        (lambda text: f"{text} word", "% of its passages are those of 'example/listener', handed in by somebody"),
    ],
    ids=["word for word", "in capitals", "a word appended"],
)
@pytest.mark.parametrize("claimed", [EARLIER, LATER])
def test_a_replay_by_hand_is_refused_whatever_time_it_claims(
    folder: Path, change: Callable[[str], str], reason: str, claimed: dt.datetime
) -> None:
    opened(folder)
    thief = replay(HONEST, "thief/model", change, submitter="thief", submitted=claimed)
    put(folder, thief)
    board = opened(folder)
    assert [entry.model for entry in board.entries] == ["example/listener"]
    assert reason in board.refused[folder_of(thief)]


@pytest.mark.parametrize("claimed", [EARLIER, LATER])
def test_where_nobody_knows_who_was_first_neither_is_shown_and_each_says_why(folder: Path, claimed: dt.datetime) -> None:
    thief = replay(HONEST, "thief/model", submitter="thief", submitted=claimed)
    put(folder, thief)
    for _ in range(2):
        board = opened(folder)
        assert board.entries == ()
        assert set(board.refused) == {folder_of(HONEST), folder_of(thief)}
        assert board.refused[folder_of(HONEST)].startswith(
            f"it has the same replies as {folder_of(thief)} by thief, and neither was verified"
        )
        assert board.refused[folder_of(thief)].startswith(f"it has the same replies as {folder_of(HONEST)} by somebody, and neither")
    verified(folder, HONEST)
    board = opened(folder)
    assert [entry.model for entry in board.entries] == ["example/listener"]
    assert list(board.refused) == [folder_of(thief)]


def test_a_third_copy_does_not_win_by_the_quarrel_of_two(folder: Path) -> None:
    thieves = [replay(HONEST, f"thief/model-{number}", submitter=f"thief-{number}") for number in range(2)]
    for thief in thieves:
        put(folder, thief)
    assert opened(folder).entries == ()
    put(folder, replay(HONEST, "thief/late", submitter="late", submitted=EARLIER))
    assert opened(folder).entries == ()


def test_of_ones_own_two_names_for_the_same_replies_the_earlier_is_shown(folder: Path) -> None:
    put(folder, again := replay(HONEST, "example/listener-2", submitted=LATER))
    board = opened(folder)
    assert [entry.model for entry in board.entries] == ["example/listener"]
    assert list(board.refused) == [folder_of(again)]


def test_who_was_verified_comes_before_whoever_claims_to_be_first(folder: Path) -> None:
    impostor = make_bundle("example/listener", strategies=("standard",), seed=3, submitter="thief", submitted=EARLIER)
    copy = replay(HONEST, "thief/model", submitter="thief", submitted=EARLIER)
    for bundle in (impostor, copy):
        put(folder, bundle)
    verified(folder, HONEST)
    board = opened(folder)
    assert [(entry.id, entry.submitter) for entry in board.entries] == [(HONEST.id, "somebody")]
    assert set(board.refused) == {folder_of(impostor), folder_of(copy)}


def test_who_was_verified_comes_before_whoever_was_known_first(folder: Path) -> None:
    copy = replay(HONEST, "thief/model", submitter="thief")
    put(folder.parent / "other", copy)
    opened(folder.parent / "other")
    put(folder.parent / "other", HONEST)
    verified(folder.parent / "other", HONEST)
    assert [entry.id for entry in opened(folder.parent / "other").entries] == [HONEST.id]


def test_of_two_that_are_verified_the_first_to_be_verified_stays(folder: Path) -> None:
    put(folder, copy := replay(HONEST, "thief/model", submitter="thief", submitted=EARLIER))
    verified(folder, HONEST, created=WHEN)
    verified(folder, copy, created=LATER)
    assert [entry.id for entry in opened(folder).entries] == [HONEST.id]


def test_numbers_of_the_refused_are_nowhere(folder: Path) -> None:
    opened(folder)
    put(folder, make_bundle("example/listener", strategies=("standard",), seed=3, submitter="thief"))
    board = opened(folder)
    assert set(board.cells["id"]) == {HONEST.id}


# --- Verifications ---------------------------------------------------------------------------------------------------------------


def test_a_verification_stands_with_its_submission(folder: Path) -> None:
    put(folder, OTHER)
    verified(folder, HONEST)
    board = opened(folder)
    found = {entry.id: entry.verification for entry in board.entries}
    assert found[OTHER.id] is None
    verification = found[HONEST.id]
    assert verification is not None
    assert verification.status == "verified"


def test_a_verification_that_comes_later_is_seen_without_reading_again(folder: Path, reads: list[str]) -> None:
    opened(folder)
    verified(folder, HONEST)
    [entry] = opened(folder).entries
    assert entry.verification is not None
    assert reads == [HONEST.id]


def test_a_record_that_contradicts_itself_is_not_believed_and_is_said(folder: Path) -> None:
    verified(folder, HONEST, rejudged=None, judges=(), reasons=("trust me",))
    board = opened(folder)
    assert [entry.verification for entry in board.entries] == [None]
    assert board.refused == {
        verification_path("demo", HONEST.id): (
            "is not believed: it says 'verified', but nothing was judged again; make it again with `culturecare verify`"
        )
    }


def broken_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


BROKEN: dict[str, Callable[[Path], object]] = {
    "no JSON": lambda path: path.write_bytes(b"verified!"),
    "empty": lambda path: path.write_bytes(b""),
    "another record": lambda path: path.write_bytes(b'{"status": "verified"}'),
    "nested deeply": lambda path: path.write_bytes(b"[" * 200_000),
    "no UTF-8": lambda path: path.write_bytes(b"\xff\xfe"),
    "5 MB": lambda path: path.write_bytes(b" " * 5 * 1024**2),
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "an endless device": broken_link,
}


@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_verification_leaves_the_submission_unverified_and_is_said(folder: Path, make: Callable[[Path], object]) -> None:
    path = folder / verification_path("demo", HONEST.id)
    path.parent.mkdir(parents=True)
    make(path)
    board = opened(folder)
    assert [entry.verification for entry in board.entries] == [None]
    assert "make it again with `culturecare verify`" in board.refused[verification_path("demo", HONEST.id)]


@pytest.mark.parametrize("fields", [{"bundle": "0" * 16}, {"protocol": "v1"}])
def test_anothers_verification_counts_for_nobody(folder: Path, fields: dict[str, str]) -> None:
    verified(folder, HONEST, **fields)
    board = opened(folder)
    assert [entry.verification for entry in board.entries] == [None]
    assert "is the verification of" in board.refused[verification_path("demo", HONEST.id)]


# --- The cache -------------------------------------------------------------------------------------------------------------------


def as_seen(board: Board) -> tuple[Any, ...]:
    return board.entries, board.refused, board.cells.to_dict("records"), board.gains.to_dict("records")


def test_a_second_look_reads_nothing_again_and_sees_the_same(folder: Path, reads: list[str]) -> None:
    make_board(folder, 3)
    (folder / "submissions/demo/example--listener/0000000000000000").mkdir()
    first = opened(folder)
    assert len(reads) == 5
    assert as_seen(opened(folder)) == as_seen(first)
    assert len(reads) == 5


def test_only_what_is_new_is_read(folder: Path, reads: list[str]) -> None:
    opened(folder)
    put(folder, OTHER)
    board = opened(folder)
    assert reads == [HONEST.id, OTHER.id]
    assert {entry.id for entry in board.entries} == set(board.cells["id"]) == {HONEST.id, OTHER.id}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_changed_is_noticed_though_size_and_time_are_as_they_were(folder: Path, name: str) -> None:
    opened(folder)
    path = folder / folder_of(HONEST) / name
    status = path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:-3] + b"x" + content[-2:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    board = opened(folder)
    assert board.entries == ()
    assert len(board.cells) == 0
    assert list(board.refused) == [folder_of(HONEST)]


def test_what_was_removed_goes(folder: Path) -> None:
    put(folder, OTHER)
    opened(folder)
    shutil.rmtree(folder / folder_of(HONEST))
    for _ in range(2):
        board = opened(folder)
        assert [entry.id for entry in board.entries] == [OTHER.id]
        assert set(board.cells["id"]) == {OTHER.id}


def test_a_submission_that_was_mended_is_shown(folder: Path) -> None:
    path = folder / folder_of(HONEST) / REPLIES
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    assert opened(folder).entries == ()
    path.write_bytes(good)
    board = opened(folder)
    assert [entry.id for entry in board.entries] == [HONEST.id]
    assert board.refused == {}


def foreign_parquet(path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"a": [1]}).to_parquet(path)


def of_other_columns(path: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["mean"]), path)


SPOILED: dict[str, Callable[[Path], object]] = {
    "removed": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "torn": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(b"PAR1 no PAR1"),
    "foreign": foreign_parquet,
    "of other columns": of_other_columns,
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_a_cache_that_is_spoiled_is_made_again(folder: Path, reads: list[str], spoil: Callable[[Path], object]) -> None:
    first = opened(folder)
    spoil(cached(folder))
    assert as_seen(opened(folder)) == as_seen(first)
    assert as_seen(opened(folder)) == as_seen(first)
    assert reads == [HONEST.id, HONEST.id]


def test_a_cache_that_cannot_be_kept_is_no_obstacle(folder: Path, reads: list[str]) -> None:
    (folder.parent / "cache").write_text("A file.", encoding="utf-8")
    assert [entry.id for entry in opened(folder).entries] == [HONEST.id]
    assert len(opened(folder).cells) > 0
    assert len(reads) == 2


def test_boards_and_protocols_have_caches_of_their_own(folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "other", OTHER)
    cache = tmp_path / "cache"
    changed = select_protocol("demo").model_copy(update={"coverage_floor": 0.5})
    assert [entry.id for entry in open_board(str(folder), Silent(), cache=cache).entries] == [HONEST.id]
    assert [entry.id for entry in open_board(str(tmp_path / "other"), Silent(), cache=cache).entries] == [OTHER.id]
    assert open_board(str(folder), Silent(), cache=cache, known={"demo": changed}).entries == ()


def test_several_readers_at_once_leave_a_whole_cache(folder: Path, reads: list[str]) -> None:
    make_board(folder, 4)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        boards = list(pool.map(lambda _: opened(folder), range(8)))
    reads.clear()
    assert as_seen(opened(folder)) == as_seen(boards[0])
    assert reads == []
    assert {entry.id for entry in boards[0].entries} == set(boards[0].cells["id"])
