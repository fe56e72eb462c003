"""Judging on Ray: the same verdicts as in one process, in bounded memory and calls, kept and resumed."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from culturecare import CultureCareError, DataError
from culturecare_harness.backends import Answer
from culturecare_harness.engines.ray import _blocks, _pool, _shares, judge_with_ray, read_verdicts
from culturecare_harness.judge import JudgeItem, judge_replies
from culturecare_harness.judges import JudgeFile, select_judge
from culturecare_harness.records import digest, write_records
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.store import open_store
from tests.servers import ChatServer, answers_on_file, chat, free_address, openai_judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from culturecare_harness.backends import Request
    from culturecare_harness.records import Verdict

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'culturecare[ray]'")

SIZE = len(select_rubric("culturecare").dimensions)


class GradeOfReply:
    """A back end without a model: it takes the grade from the reply's first character, and has no answer to a reply that begins with !."""

    def __init__(self, _: JudgeFile) -> None:
        pass

    def answer(self, requests: Sequence[Request], done: Callable[[int, int, Answer], None]) -> None:
        for position, request in enumerate(requests):
            grade = request.prompts.item.partition("reply: ")[2][:1]
            for number in range(len(request.keys)):
                done(position, number, Answer(failure="no answer") if grade == "!" else Answer(texts=(grade,), prompt_tokens=number))


def out_of_use(_: JudgeFile) -> GradeOfReply:
    """Opens no back end: nothing may be asked."""
    raise CultureCareError("no server answers at http://localhost:9/v1")


JUDGE = JudgeFile(name="test", summary="", backend="openai", model="none", mode="argmax", concurrency=5)
LOCAL = JudgeFile(name="local", summary="", backend="hf", model="none", mode="logprob")


def items(number: int, grades: str = "12345") -> list[JudgeItem]:
    return [
        JudgeItem(reply_id=digest(place), post=f"post {place}", reply=f"reply: {grade}, {place}")
        for place, grade in zip(range(number), itertools.cycle(grades))
    ]


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """One Ray for the tests that need no cluster of their own."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # An actor could not import a test's module.
    yield
    ray.shutdown()


# --- What needs no cluster -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cpus", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("concurrency", [1, 2, 5, 16, 17, 64])
def test_actors_together_never_make_more_calls_than_one_process_would(concurrency: int, cpus: int) -> None:
    judge = JUDGE.model_copy(update={"concurrency": concurrency, "max_cost": 1.0})
    size, change = _shares(judge, None, cpus, 1000)
    assert 1 <= size <= cpus
    assert concurrency - size < size * change["concurrency"] <= concurrency
    assert size * change["max_cost"] <= 1.0 + 1e-12


def test_as_many_actors_as_asked_for_share_the_calls() -> None:
    assert _shares(JUDGE, 2, 64, 1000) == (2, {"concurrency": 2})
    assert _shares(JUDGE, 9, 64, 1000) == (5, {"concurrency": 1})


def test_there_are_no_more_actors_than_blocks() -> None:
    assert _shares(JUDGE, None, 64, 1) == (1, {"concurrency": 5})
    assert _pool(LOCAL, [64], 8, None, 3)[1] == 3


def test_a_local_model_has_an_actor_for_each_gpu_whatever_the_number_of_its_own() -> None:
    judge = LOCAL.model_copy(update={"device": "cuda:1"})
    assert _pool(judge, [32, 32], 8, None, 1000) == (LOCAL, 8, {"num_gpus": 1})
    assert _pool(judge, [32, 32], 8, 3, 1000) == (LOCAL, 3, {"num_gpus": 1})


@pytest.mark.parametrize(("gpus", "device"), [(0, None), (8, "cpu")])
def test_a_local_model_without_gpus_has_an_actor_for_each_machine_or_so_many_as_asked_for(gpus: int, device: str | None) -> None:
    judge = LOCAL.model_copy(update={"device": device})
    assert _pool(judge, [32, 32], gpus, None, 1000) == (judge, 2, {"num_cpus": 32})
    assert _pool(judge, [32, 32], gpus, 4, 1000) == (judge, 4, {"num_cpus": 16})


def test_an_actor_never_needs_more_than_the_smallest_machine_has_for_it() -> None:
    assert _pool(LOCAL, [4, 12], 0, None, 1000) == (LOCAL, 2, {"num_cpus": 4})
    assert _pool(LOCAL, [8, 8], 0, 3, 1000) == (LOCAL, 3, {"num_cpus": 4})
    assert _pool(LOCAL, [2], 0, 4, 1000) == (LOCAL, 4, {"num_cpus": 0.5})
    with pytest.raises(CultureCareError, match="no machine of the Ray cluster has a processor"):
        _pool(LOCAL, [], 0, None, 1000)


def test_items_are_read_a_block_at_a_time() -> None:
    read = []
    source = (read.append(item) or item for item in items(10))  # type: ignore[func-returns-value]
    next(_blocks(source, JUDGE, 3))
    assert len(read) == 3


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CultureCareError, match=r"pip install 'culturecare\[ray\]'"):
        judge_with_ray(items(1), JUDGE, tmp_path / "out")


def test_a_ray_client_is_refused_with_what_works(tmp_path: Path) -> None:
    with pytest.raises(CultureCareError, match=r"ray://head:10001: .* on a machine of the cluster, with the address auto"):
        judge_with_ray(items(1), JUDGE, tmp_path / "out", address="ray://head:10001")


@needs_ray
def test_an_address_where_no_cluster_answers_is_named_at_once(tmp_path: Path) -> None:
    address = free_address().removeprefix("http://").removesuffix("/v1")
    with pytest.raises(CultureCareError, match=rf"no Ray cluster answers at {address} .* `ray start --head`"):
        judge_with_ray(items(1), JUDGE, tmp_path / "out", address=address)


def test_the_batch_api_has_no_use_for_actors(tmp_path: Path) -> None:
    with pytest.raises(CultureCareError, match="use the embedded engine"):
        judge_with_ray(items(1), JUDGE.model_copy(update={"transport": "batch"}), tmp_path / "out")


def test_a_folder_that_holds_no_finished_run_is_not_read_as_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no finished run"):
        list(read_verdicts(tmp_path))


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(CultureCareError, match="out: is a file"):
        judge_with_ray(items(1), JUDGE, tmp_path / "out")


# --- On a Ray of this machine ----------------------------------------------------------------------------------------------------


@needs_ray
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
class TestOnThisMachine:
    def test_the_verdicts_are_those_of_the_embedded_engine_in_the_same_order(self, tmp_path: Path) -> None:
        advances: list[int] = []
        given = [*items(50, "12345!x"), JudgeItem(reply_id=digest("silent"), post="post", reply=" ")]
        number = judge_with_ray(iter(given), JUDGE, tmp_path / "out", block=3, backend=GradeOfReply, advance=advances.append)
        verdicts = list(read_verdicts(tmp_path / "out"))
        assert verdicts == judge_replies(given, JUDGE, backend=GradeOfReply)
        assert number == sum(advances) == len(verdicts) == 51 * SIZE

    def test_a_ray_that_was_running_is_left_running(self, tmp_path: Path) -> None:
        import ray

        judge_with_ray(items(1), JUDGE, tmp_path / "out", backend=GradeOfReply)
        assert ray.is_initialized()

    def test_items_may_stand_in_a_file(self, tmp_path: Path) -> None:
        write_records(tmp_path / "items.jsonl", items(4))
        judge_with_ray(tmp_path / "items.jsonl", JUDGE, tmp_path / "out", backend=GradeOfReply)
        assert list(read_verdicts(tmp_path / "out")) == judge_replies(items(4), JUDGE, backend=GradeOfReply)

    def test_the_columns_are_those_of_a_verdict_with_one_type_each_whatever_they_hold(self, tmp_path: Path) -> None:
        judge_with_ray(items(1, "!"), JUDGE, tmp_path / "failed", backend=GradeOfReply)
        judge_with_ray(items(1, "3"), JUDGE, tmp_path / "graded", backend=GradeOfReply)
        failed, graded = (pq.read_schema(tmp_path / name / "part-00000000.parquet") for name in ("failed", "graded"))
        assert failed.equals(graded)
        assert failed.names == list(read_verdict(tmp_path / "failed").model_dump())

    def test_no_post_and_no_reply_stands_in_the_files(self, tmp_path: Path) -> None:
        given = [JudgeItem(reply_id=digest(1), post="Nachts um halb vier", reply="reply: 3 Das klingt schwer")]
        judge_with_ray(given, JUDGE, tmp_path / "out", store=tmp_path / "store.sqlite3", backend=GradeOfReply)
        for file in tmp_path.rglob("*"):
            if file.is_file():
                assert "Nachts" not in file.read_bytes().decode("latin-1")
                assert "klingt" not in file.read_bytes().decode("latin-1")

    def test_finished_blocks_are_not_judged_again(self, tmp_path: Path) -> None:
        judge_with_ray(items(6), JUDGE, tmp_path / "out", block=2, backend=GradeOfReply)
        again = judge_with_ray(items(6), JUDGE, tmp_path / "out", block=2, backend=out_of_use)
        assert again == 6 * SIZE

    def test_the_store_answers_for_a_block_that_has_no_file(self, tmp_path: Path) -> None:
        store = tmp_path / "store.sqlite3"
        with open_store(store) as kept:
            first = judge_replies(items(6), JUDGE, store=kept, backend=GradeOfReply)
        judge_with_ray(items(6), JUDGE, tmp_path / "out", store=store, block=2, backend=out_of_use)
        assert list(read_verdicts(tmp_path / "out")) == first

    def test_a_judge_that_cannot_go_on_says_why_in_its_own_words_and_the_run_goes_on_later(self, tmp_path: Path) -> None:
        with pytest.raises(CultureCareError, match=r"^no server answers at http://localhost:9/v1$"):
            judge_with_ray(items(20), JUDGE, tmp_path / "out", block=2, backend=out_of_use)
        with pytest.raises(DataError, match="holds no finished run"):
            list(read_verdicts(tmp_path / "out"))
        judge_with_ray(items(20), JUDGE, tmp_path / "out", block=2, backend=GradeOfReply)
        assert list(read_verdicts(tmp_path / "out")) == judge_replies(items(20), JUDGE, backend=GradeOfReply)

    def test_failed_verdicts_are_asked_for_again_on_request_alone(self, tmp_path: Path) -> None:
        out, store = tmp_path / "out", tmp_path / "store.sqlite3"
        judge_with_ray(items(4, "3!"), JUDGE, out, store=store, block=1, backend=GradeOfReply)
        judge_with_ray(items(4, "3!"), JUDGE, out, store=store, block=1, backend=out_of_use)
        with pytest.raises(CultureCareError, match="no server"):
            judge_with_ray(items(4, "3!"), JUDGE, out, store=store, block=1, backend=out_of_use, retry_failed=True)

    @pytest.mark.parametrize(
        ("given", "judge", "problem"),
        [
            (items(5), JUDGE, "part-00000002.parquet: holds verdicts on other replies or by another judge"),
            (items(4), JUDGE, "part-00000002.parquet: holds verdicts on replies that were not given"),
            (items(6), JUDGE.model_copy(update={"model": "other"}), "part-00000000.parquet: holds verdicts on other replies or by another"),
        ],
    )
    def test_a_folder_of_other_verdicts_is_refused(self, tmp_path: Path, given: list[JudgeItem], judge: JudgeFile, problem: str) -> None:
        judge_with_ray(items(6), JUDGE, tmp_path / "out", block=2, backend=GradeOfReply)
        with pytest.raises(CultureCareError, match=problem):
            judge_with_ray(given, judge, tmp_path / "out", block=2, backend=GradeOfReply)

    def test_a_server_never_sees_more_calls_at_once_than_the_judge_may_make(self, tmp_path: Path) -> None:
        judge = openai_judge(tmp_path, "http://unused/v1", concurrency=5)
        with counting_server() as (server, most):
            judge = judge.model_copy(update={"base_url": server.url})
            judge_with_ray(items(40), judge, tmp_path / "out", block=4)
            assert 2 <= max(most) <= 4  # Two actors share five calls: two each.
        assert {verdict.score for verdict in read_verdicts(tmp_path / "out")} == {4}

    def test_the_real_small_model_grades_as_it_does_in_one_process(self, tmp_path: Path) -> None:
        judge = select_judge("smollm2")
        given = [
            JudgeItem(reply_id=digest(place), post="My parents want me to marry before I finish my degree.", reply=reply)
            for place, reply in enumerate(("That sounds heavy. Who can you speak to?", "Get over it.", ""))
        ]
        judge_with_ray(given, judge, tmp_path / "out", block=1)
        distributed, embedded = list(read_verdicts(tmp_path / "out")), judge_replies(given, judge)
        assert len(distributed) == len(embedded) == 3 * SIZE
        for one, other in zip(distributed, embedded, strict=True):
            assert (one.reply_id, one.dimension, one.judge, one.reason) == (other.reply_id, other.dimension, other.judge, other.reason)
            # The number of threads moves the last digits of a sum.
            assert one.score == pytest.approx(other.score, abs=1e-4)


def read_verdict(out: Path) -> Verdict:
    return next(read_verdicts(out))


@contextlib.contextmanager
def counting_server() -> Iterator[tuple[ChatServer, list[int]]]:
    """A server, and how many calls it was answering at each one's start; a call is held until another comes, or for a moment."""
    lock, under_way, most = threading.Condition(), [0], [0]

    def answer(_: dict[str, Any]) -> Any:
        with lock:
            under_way[0] += 1
            most.append(under_way[0])
            lock.notify_all()
            lock.wait(0.02)
            under_way[0] -= 1
        return chat("4")

    with ChatServer(answer) as server:
        yield server, most


# --- On clusters, and killed -----------------------------------------------------------------------------------------------------


@needs_ray
@pytest.mark.slow
def test_an_actor_on_another_machine_keeps_every_answer_in_the_callers_store(tmp_path: Path) -> None:
    script = f"""
import os
from pathlib import Path
from ray.cluster_utils import Cluster
from culturecare_harness.engines.ray import judge_with_ray
from tests.test_ray import JUDGE, GradeOfReply, items

cluster = Cluster(initialize_head=True, head_node_args={{"num_cpus": 0, "include_dashboard": False}})
cluster.add_node(num_cpus=2)  # All processors are on a machine that the caller isn't on.
folder = Path({str(tmp_path)!r})
store = folder / "store.sqlite3"
judge_with_ray(items(20, "12!"), JUDGE, folder / "out", address=cluster.address, store=store, block=2, backend=GradeOfReply)
cluster.shutdown()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    expected = judge_replies(items(20, "12!"), JUDGE, backend=GradeOfReply)
    assert list(read_verdicts(tmp_path / "out")) == expected
    assert answers_on_file(tmp_path / "store.sqlite3") == sum(verdict.score is not None for verdict in expected)


@needs_ray
@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    killed, reached = 60, threading.Event()

    def answer(_: dict[str, Any]) -> Any:
        if len(server.requests) >= killed:
            reached.set()
        return chat("4")

    with ChatServer(answer) as server:
        openai_judge(tmp_path, server.url, concurrency=4)
        script = f"""
from pathlib import Path
from culturecare_harness.engines.ray import judge_with_ray
from culturecare_harness.judges import select_judge
from tests.test_ray import items

folder = Path({str(tmp_path)!r})
judge_with_ray(items(30), select_judge(str(folder / "local.yaml")), folder / "out", store=folder / "store.sqlite3", block=2)
"""
        process = subprocess.Popen([sys.executable, "-c", script])
        assert reached.wait(120)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with pytest.raises(DataError, match="holds no finished run"):
            list(read_verdicts(tmp_path / "out"))
        subprocess.run([sys.executable, "-c", script], check=True)
        calls = len(server.requests)
    verdicts = list(read_verdicts(tmp_path / "out"))
    assert [verdict.reply_id for verdict in verdicts[::SIZE]] == [item.reply_id for item in items(30)]
    assert {verdict.score for verdict in verdicts} == {4}
    assert 30 * SIZE <= calls <= 30 * SIZE + 4  # What was under way may be asked again, and nothing else.
