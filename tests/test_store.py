"""The verdict store: what was answered once stays answered, for every process, and no text stands in the file."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culturecare import CultureCareError
from culturecare_harness.backends import Answer
from culturecare_harness.judge import JudgeItem, judge_replies
from culturecare_harness.judges import JudgeFile
from culturecare_harness.records import digest
from culturecare_harness.store import VerdictStore, default_store_path, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.synchronize import Barrier

    from culturecare_harness.backends import Request

GOOD = Answer(texts=("4",), prompt_tokens=7, completion_tokens=1)
OTHER = Answer(texts=("2",))
FAILED = Answer(failure="server error 500 after 4 retries")
JUDGE = JudgeFile(name="test", summary="", backend="openai", model="none", mode="argmax")

PROBABILITIES = st.floats(min_value=0, max_value=1)
COUNTS = st.none() | st.integers(min_value=0, max_value=2**40)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ANSWERS = st.one_of(
    st.builds(Answer, grades=st.tuples(*[PROBABILITIES] * 5), prompt_tokens=COUNTS, completion_tokens=COUNTS),
    st.builds(Answer, texts=st.lists(TEXTS, min_size=1, max_size=3).map(tuple), prompt_tokens=COUNTS, completion_tokens=COUNTS),
    st.builds(Answer, failure=TEXTS),
)


class Fours:
    """A back end that answers everything with a 4."""

    def answer(self, requests: Sequence[Request], done: Callable[[int, int, Answer], None]) -> None:
        for position, request in enumerate(requests):
            for number in range(len(request.keys)):
                done(position, number, GOOD)


def no_backend(_: JudgeFile) -> Fours:
    pytest.fail("a model was opened")


def files_of(store: Path) -> list[Path]:
    """The store's file and those that SQLite keeps beside it."""
    return sorted(store.parent.glob(f"{store.name}*"))


# --- What is kept ----------------------------------------------------------------------------------------------------------------


@given(answers=st.dictionaries(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), ANSWERS))
def test_every_answer_comes_back_as_it_was(answers: dict[tuple[str, int], Answer]) -> None:
    store = VerdictStore(None)
    for (key, sample), answer in answers.items():
        store.add(key, sample, answer)
    assert store.find(["a", "b", "c"]) == answers
    store.close()


def test_answers_outlive_the_process_that_added_them(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.sqlite3") as store:
        store.add("key", 0, GOOD)
        store.add("key", 1, FAILED)
    with open_store(tmp_path / "store.sqlite3") as store:
        assert store.find(["key", "unknown"]) == {("key", 0): GOOD, ("key", 1): FAILED}


def test_an_answer_is_seen_by_others_as_soon_as_it_was_added(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.sqlite3") as writer, open_store(tmp_path / "store.sqlite3") as reader:
        writer.add("key", 0, GOOD)
        assert reader.find(["key"]) == {("key", 0): GOOD}


def test_more_keys_are_found_than_fit_into_one_query() -> None:
    store = VerdictStore(None)
    keys = [str(number) for number in range(2500)]
    for key in keys:
        store.add(key, 0, GOOD)
    assert store.find(keys) == {(key, 0): GOOD for key in keys}
    assert store.find([]) == {}


# --- Which answer stands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("added", "stands"),
    [
        ([GOOD, OTHER], GOOD),
        ([FAILED, GOOD], GOOD),
        ([GOOD, FAILED], GOOD),
        ([FAILED, GOOD, FAILED, OTHER], GOOD),
        ([FAILED, Answer(failure="a later one")], Answer(failure="a later one")),
    ],
)
def test_the_first_answer_stands_and_a_failure_stands_in_for_it_alone(added: list[Answer], stands: Answer) -> None:
    store = VerdictStore(None)
    for answer in added:
        store.add("key", 0, answer)
    assert store.find(["key"]) == {("key", 0): stands}


def test_what_is_forgotten_is_gone_with_its_failures_and_nothing_else_is() -> None:
    store = VerdictStore(None)
    for key in ("one", "two", "three"):
        store.add(key, 0, FAILED)
        store.add(key, 0, GOOD)
        store.add(key, 1, FAILED)
    store.forget(["one", "three", "unknown"])
    assert store.find(["one", "two", "three"]) == {("two", 0): GOOD, ("two", 1): FAILED}
    store.add("one", 0, OTHER)
    assert store.find(["one"]) == {("one", 0): OTHER}


# --- Several processes -----------------------------------------------------------------------------------------------------------

PROCESSES, KEYS = 4, 150


def add_many(path: Path, process: int, barrier: Barrier) -> None:
    """Adds answers of its own, and its own answer to questions that all processes answer."""
    with open_store(path) as store:
        barrier.wait()
        for number in range(KEYS):
            store.add(f"own {process} {number}", 0, GOOD)
            store.add(f"shared {number}", 0, FAILED if (number + process) % 2 else Answer(texts=(str(process),)))


@pytest.mark.slow
def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(PROCESSES)
    # Each opens the file anew, so that they also race to make it.
    processes = [spawn.Process(target=add_many, args=(path, number, barrier)) for number in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    with open_store(path) as store:
        own = [f"own {process} {number}" for process in range(PROCESSES) for number in range(KEYS)]
        assert store.find(own) == {(key, 0): GOOD for key in own}
        shared = store.find([f"shared {number}" for number in range(KEYS)])
    assert len(shared) == KEYS
    # Half the processes failed on each question; no failure stands where another process had an answer.
    assert all(answer.failure is None for answer in shared.values())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# --- Files that are none ---------------------------------------------------------------------------------------------------------


def use(path: Path) -> None:
    """Does with a store all that judging does."""
    with open_store(path) as store:
        store.find([str(number) for number in range(500)])
        store.add("key", 0, GOOD)
        store.forget(["key"])


def text_file(folder: Path) -> Path:
    path = folder / "notes.txt"
    path.write_text("These are my notes, and they are longer than the header of a database file is. " * 20)
    return path


def other_database(folder: Path) -> Path:
    path = folder / "other.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE answers (question TEXT)")
    return path


def below_a_file(folder: Path) -> Path:
    return text_file(folder) / "store.sqlite3"


def torn(folder: Path) -> Path:
    path = folder / "torn.sqlite3"
    with open_store(path) as store:
        for number in range(500):
            store.add(str(number), 0, GOOD)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


@pytest.mark.parametrize("make", [text_file, other_database, below_a_file, torn, lambda folder: folder], ids=lambda make: make.__name__)
def test_what_is_no_store_is_named_in_one_line_with_what_to_do(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(CultureCareError) as caught:
        use(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: the verdict store cannot be ")
    assert message.endswith("name another file with --store")
    assert "\n" not in message


def test_what_is_no_store_is_left_as_it_is(tmp_path: Path) -> None:
    path = text_file(tmp_path)
    before = path.read_bytes()
    with pytest.raises(CultureCareError):
        VerdictStore(path)
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CultureCareError, match=r"store\.sqlite3: the verdict store cannot be opened .* --store"):
        VerdictStore(tmp_path / "store.sqlite3")


def test_a_place_that_nobody_can_write_is_named() -> None:
    with pytest.raises(CultureCareError, match=r"^/proc/store\.sqlite3: the verdict store cannot be opened .* --store$"):
        VerdictStore(Path("/proc/store.sqlite3"))


def test_a_row_that_is_no_answer_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    VerdictStore(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("""INSERT INTO answers VALUES ('key', 0, '{"grade": 4}')""")
    with pytest.raises(CultureCareError, match=r"store\.sqlite3: the verdict store cannot be used .* --store"), open_store(path) as store:
        store.find(["key"])


# --- Where it lies, and what stands in it ----------------------------------------------------------------------------------------


def test_the_store_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CULTURECARE_STORE", str(tmp_path / "deep" / "mine.sqlite3"))
    with open_store() as store:
        store.add("key", 0, GOOD)
    assert (tmp_path / "deep" / "mine.sqlite3").is_file()
    monkeypatch.delenv("CULTURECARE_STORE")
    monkeypatch.setenv("CULTURECARE_CACHE", str(tmp_path / "cache"))
    assert default_store_path() == tmp_path / "cache" / "verdicts.sqlite3"


def test_no_post_and_no_reply_stands_in_the_file(tmp_path: Path) -> None:
    post, reply = "Ich schlafe seit Wochen nicht", "Das klingt furchtbar schwer"
    path = tmp_path / "store.sqlite3"
    with open_store(path) as store:
        judge_replies([JudgeItem(reply_id=digest(1), post=post, reply=reply)], JUDGE, store=store, backend=lambda _: Fours())
        # While the store is open, the newest answers stand in the log beside it.
        contents = [file.read_bytes() for file in files_of(path)]
    contents += [file.read_bytes() for file in files_of(path)]
    assert any(b'"texts"' in content for content in contents)
    for word in {*post.split(), *reply.split(), JUDGE.model}:
        for encoding in ("utf-8", "utf-16-le"):
            assert not any(word.encode(encoding) in content for content in contents if len(word) > 3)


# --- How fast it answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_run_over_the_whole_test_split_is_answered_within_a_second(tmp_path: Path) -> None:
    items = [JudgeItem(reply_id=digest(place), post=f"Post {place}. " * 40, reply=f"Reply {place}. " * 30) for place in range(462)]
    with open_store(tmp_path / "store.sqlite3") as store:
        first = judge_replies(items, JUDGE, store=store, backend=lambda _: Fours())
    seconds = []
    for _ in range(3):  # The best of three: a busy machine is no slow store.
        with open_store(tmp_path / "store.sqlite3") as store:
            start = time.perf_counter()
            assert judge_replies(items, JUDGE, store=store, backend=no_backend) == first
            seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1
