"""Judging beyond one process: on a Ray cluster, or on all processors and GPUs of this machine, through Ray Data.

Items are read lazily and travel in blocks, some for each actor at a time, so that memory does not grow with their number. Each actor
judges its blocks by `judge_stream`, as the embedded engine does. All actors share the caller's verdict store: those on its machine open
the file, and those on other machines reach it through an actor beside it, so every answer is on file as soon as it is there. The verdicts
on a block are written as one Parquet file; a run that was killed goes on with the blocks that have none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import logging
import math
import os
import socket
import warnings
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from culturecare import CultureCareError, DataError, parse_record, read_json_lines
from culturecare_harness.backends import open_backend
from culturecare_harness.engines import check_engine
from culturecare_harness.judge import EMPTY_REPLY, JudgeItem, judge_stream
from culturecare_harness.records import Verdict
from culturecare_harness.store import VerdictStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from culturecare_harness.backends import Answer, Backend
    from culturecare_harness.judges import JudgeFile

__all__ = ["judge_with_ray", "read_verdicts"]

_METADATA = b"culturecare"
_COMPLETE = "_SUCCESS"  # As Hadoop and Spark mark a folder of files that is whole.
_LIMITS = ("concurrency", "requests_per_minute", "tokens_per_minute")
_WAITING = 2  # Blocks under way for each actor beside the one that it works on; none waits for the driver.

_JUDGE = pa.struct([(field, pa.string()) for field in ("name", "backend", "model", "mode", "rubric", "prompt_hash", "settings_hash")])
_SCHEMA = pa.schema(
    [
        ("schema_version", pa.int64()),
        ("reply_id", pa.string()),
        ("judge", _JUDGE),
        ("dimension", pa.string()),
        ("score", pa.float64()),
        ("reason", pa.string()),
        ("distribution", pa.list_(pa.float64())),
        ("digit_mass", pa.float64()),
        ("answers", pa.list_(pa.string())),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
    ]
)
_ITEM = pa.struct([(field, pa.string()) for field in JudgeItem.model_fields])
_BLOCK = pa.schema([("number", pa.int64()), ("metadata", pa.string()), ("items", pa.list_(_ITEM))])
_ANSWER = pa.schema([("number", pa.int64()), ("content", pa.binary()), ("error", pa.string())])


def judge_with_ray(
    items: Path | Iterable[JudgeItem],
    judge: JudgeFile,
    out: Path,
    *,
    address: str | None = None,
    store: Path | None = None,
    actors: int | None = None,
    block: int = 128,
    backend: Callable[[JudgeFile], Backend] = open_backend,
    advance: Callable[[int], None] | None = None,
    retry_failed: bool = False,
) -> int:
    """Has every reply graded on every dimension by the actors of a Ray cluster.

    A local model (`backend: hf`) is loaded by one actor for each GPU of the cluster, or by `actors` actors that share the processors.
    Behind an API the actors share the judge's `concurrency`, its calls and tokens a minute and its `max_cost`: together they never pass
    them. The package must be installed on every machine of the cluster, and the judge's key, where it wants one, must be in each one's
    environment.

    Args:
        items: What to judge, or a JSON Lines file of `JudgeItem` records; read once, a block at a time.
        judge: Who judges, and in which mode.
        out: Folder for the verdicts, `part-*.parquet`, made where it is not there. `read_verdicts` reads them.
        address: Address of a cluster of which this machine is part (`host:port`, or `auto`); by default Ray is started here, and ended
            again. A Ray that this process has started already is used and left running.
        store: The verdict store's file; by default nothing is kept but the finished blocks.
        actors: How many actors judge; by default one a GPU, one a machine for a local model without GPUs, or one a processor behind an API.
        block: Replies in a block, and in a file. A run that goes on must have the same.
        backend: Opens the judge's model, once in each actor.
        advance: Told how many verdicts were finished since it was told last.
        retry_failed: Whether verdicts without a score are asked for again.

    Returns:
        The number of verdicts in the folder.

    Raises:
        CultureCareError: Ray is not installed, no cluster answers, the judge cannot go on, or the folder holds other verdicts. What was
            answered by then is kept.
    """
    if block < 1 or (actors is not None and actors < 1):
        raise CultureCareError(f"the Ray engine needs at least 1 actor and 1 reply a block, not {actors} and {block}")
    if judge.transport == "batch":
        raise CultureCareError(f"judge {judge.name!r}: transport 'batch' hands all questions over at once; use the embedded engine for it")
    verdicts = 0

    def finish(rows: int) -> None:
        nonlocal verdicts
        verdicts += rows
        if advance is not None:
            advance(rows)

    blocks = _unfinished(_blocks(_read_items(items), judge, block), out, finish, retry_failed=retry_failed)
    first = next(blocks, None)
    if first is None:  # Ray takes seconds to start; nothing is left that would need it.
        _write_beside(out / _COMPLETE, b"")
        return verdicts
    (out / _COMPLETE).unlink(missing_ok=True)
    with _cluster(address) as ray:
        judging = _Judging(
            judge=judge,
            expected=judge.judge.model_dump_json(),
            backend=backend,
            store=store.absolute() if store is not None else None,
            retry_failed=retry_failed,
            home=ray.get_runtime_context().get_node_id(),
        )
        for number, content in _judged(ray, itertools.chain([first], blocks), judging, actors):
            _write_beside(out / _part_name(number), content)
            finish(pq.read_metadata(io.BytesIO(content)).num_rows)
    _write_beside(out / _COMPLETE, b"")
    return verdicts


def read_verdicts(out: Path) -> Iterator[Verdict]:
    """The verdicts in a folder of `judge_with_ray`, in the order of its items and in the rubric's order; read a file at a time.

    Raises:
        DataError: The folder holds no finished run, lacks a block, or a file is not what `judge_with_ray` writes.
    """
    if not (out / _COMPLETE).exists():
        raise DataError(f"{out}: holds no finished run of the Ray engine; judge the replies with it, which goes on where it stopped")
    for number, part in enumerate(sorted(out.glob("part-*.parquet"))):
        if part.name != _part_name(number):
            raise DataError(f"{out}: {_part_name(number)} is missing; judge the replies again, which makes what is missing alone")
        try:
            rows = pq.read_table(part).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{part}: cannot be read ({_one_line(error)})") from error
        for row in rows:
            yield parse_record(Verdict, row, where=str(part))


# --- Blocks, and the files of those that are finished ----------------------------------------------------------------------------


def _read_items(items: Path | Iterable[JudgeItem]) -> Iterator[JudgeItem]:
    if isinstance(items, os.PathLike):
        for number, fields in read_json_lines(items):
            yield parse_record(JudgeItem, fields, where=f"{items}:{number}")
    else:
        yield from items


def _blocks(items: Iterator[JudgeItem], judge: JudgeFile, size: int) -> Iterator[dict[str, Any]]:
    """Blocks as the actors take them, each with what its file must say of it."""
    judged_by = judge.judge.model_dump()
    for number in itertools.count():
        rows = [item.model_dump() for item in itertools.islice(items, size)]
        if not rows:
            return
        content = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        yield {"number": number, "metadata": json.dumps({"items": content, "judge": judged_by}, sort_keys=True), "items": rows}


def _unfinished(
    blocks: Iterator[dict[str, Any]], out: Path, finish: Callable[[int], None], *, retry_failed: bool
) -> Iterator[dict[str, Any]]:
    """The blocks that have no file; those that have one are told to `finish`.

    Raises:
        CultureCareError: A file belongs to other items or another judge.
    """
    if out.exists() and not out.is_dir():
        raise CultureCareError(f"{out}: is a file, but the verdicts of the Ray engine need a folder")
    number = -1
    for block in blocks:
        number = block["number"]
        part = out / _part_name(number)
        rows = _finished_rows(part, block["metadata"], retry_failed=retry_failed) if part.exists() else None
        if rows is None:
            yield block
        else:
            finish(rows)
    # Names sort like numbers.
    if beyond := sorted(part.name for part in out.glob("part-*.parquet") if part.name > _part_name(number)):
        raise CultureCareError(f"{out / beyond[0]}: holds verdicts on replies that were not given; choose another folder")


def _finished_rows(part: Path, metadata: str, *, retry_failed: bool) -> int | None:
    """How many verdicts the file of a block holds; null where some of them are to be asked for again."""
    try:
        table = pq.read_table(part, columns=["score", "reason"])
    except (pa.ArrowException, OSError) as error:
        raise CultureCareError(f"{part}: is no file of verdicts ({_one_line(error)}); take it away or choose another folder") from error
    if (table.schema.metadata or {}).get(_METADATA) != metadata.encode():
        raise CultureCareError(f"{part}: holds verdicts on other replies or by another judge; choose another folder")
    failed = {row["reason"] for row in table.to_pylist() if row["score"] is None} - {EMPTY_REPLY}
    return None if failed and retry_failed else table.num_rows


def _part_name(number: int) -> str:
    return f"part-{number:08d}.parquet"


def _write_beside(path: Path, content: bytes) -> None:
    """Writes a file in one step: it is there whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        beside.unlink(missing_ok=True)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


# --- The cluster -----------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Connects to a cluster, or starts Ray on this machine and ends it again; yields the module `ray`."""
    if address is not None and address.startswith("ray://"):
        # As of 2.60, its executor needs a driver that is itself part of the cluster.
        raise CultureCareError(
            f"{address}: Ray Data does not run through a Ray client; call culturecare on a machine of the cluster, with the address auto"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    check_engine("ray")
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # What goes wrong is raised, and would be told twice.
    running = ray.is_initialized()
    if not running:
        try:
            _knock(address)
            # By default ray.init would join whatever cluster it finds on this machine.
            options = {"include_dashboard": False} if address is None else {}
            ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **options)
        except (OSError, RuntimeError, ValueError) as error:
            raise CultureCareError(
                f"no Ray cluster answers at {address or 'this machine'} ({_one_line(error)}); "
                "start one with `ray start --head`, and set RAY_AUTH_MODE=token where it wants a token"
            ) from error
    try:
        yield ray
    finally:
        if not running:
            ray.shutdown()


def _knock(address: str | None) -> None:
    """Finds out at once whether anything listens at `host:port`; Ray would try for minutes.

    Raises:
        OSError: Nothing does.
    """
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _judged(ray: Any, blocks: Iterator[dict[str, Any]], judging: _Judging, actors: int | None) -> Iterator[tuple[int, bytes]]:
    """Has blocks judged by a pool of actors; yields the file of each as it is finished, in any order."""
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    processors = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    first = list(itertools.islice(blocks, max(sum(processors), gpus, actors or 1)))  # A block each, or no more actors than blocks.
    blocks = itertools.chain(first, blocks)
    judge, size, resources = _pool(judging.judge, processors, gpus, actors, len(first))
    judging = dataclasses.replace(judging, judge=judge)
    if judging.store is not None and len(nodes) > 1:
        beside = NodeAffinitySchedulingStrategy(judging.home, soft=False)
        keeper = ray.remote(_Keeper).options(num_cpus=0, scheduling_strategy=beside).remote(judging.store)
        judging = dataclasses.replace(judging, keeper=keeper)
    queue = Queue(actor_options={"num_cpus": 0})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # To copy the context reads each of its fields, old ones too.
        context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # A row is a block of items already; by default Ray Data would gather 128 MiB of them first.
    with ray.data.DataContext.current(context), warnings.catch_warnings():
        # By default an actor that dies is started again without end, and a model that does not fit would never be said to. Ray 2.60 to 2.63
        # take the limits in this way alone, and warn of it.
        warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)
        dataset = ray.data.read_datasource(_source(queue), override_num_blocks=1, num_cpus=0).map_batches(
            _Actor,
            fn_constructor_args=(judging,),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=size),
            max_restarts=2,
            max_task_retries=2,
            **resources,
        )

    def send(number: int) -> int:
        sent = 0
        for block in itertools.islice(blocks, number):
            queue.put(block)
            sent += 1
        if sent < number:
            queue.put(None)
        return sent

    under_way = send(size * (1 + _WAITING))
    try:
        for rows in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for row in rows.to_pylist():
                if row["error"] is not None:
                    raise CultureCareError(row["error"])
                yield row["number"], row["content"]
                under_way += send(1) - 1
    except ray.exceptions.RayActorError as error:
        reason = _one_line(error)
        raise CultureCareError(f"an actor of the Ray cluster died three times, and what it answered is kept: {reason}") from error
    finally:
        queue.shutdown(force=True)
    if under_way:
        raise CultureCareError(f"the Ray cluster lost {under_way} blocks; the same call goes on with them")


def _pool(judge: JudgeFile, processors: Sequence[int], gpus: int, actors: int | None, blocks: int) -> tuple[JudgeFile, int, dict[str, Any]]:
    """The judge as each actor is to run it, how many actors there are, at most one a block, and what each needs of the cluster.

    Args:
        judge: The judge as it was chosen.
        processors: Number of processors of each machine.
        gpus: Number of GPUs of all machines.
        actors: How many actors the caller wants.
        blocks: How many blocks there are, as far as is known.

    Raises:
        CultureCareError: No machine has a processor.
    """
    if not processors:
        raise CultureCareError("no machine of the Ray cluster has a processor to judge with")
    cpus = sum(processors)
    if judge.backend == "openai":
        size, change = _shares(judge, actors, cpus, blocks)
        return judge.model_copy(update=change), size, {"num_cpus": min(1.0, cpus / size)}
    if gpus and (judge.device is None or judge.device.startswith("cuda")):
        # Ray shows each actor the GPU that is its own, whatever the number of that.
        return judge.model_copy(update={"device": None}), min(actors or gpus, gpus, blocks), {"num_gpus": 1}
    size = min(actors or len(processors), blocks)
    # An actor that asks for more than its machine has would never start.
    each = min(processors) / math.ceil(size / len(processors))
    return judge, size, {"num_cpus": math.floor(each) or each}


def _shares(judge: JudgeFile, actors: int | None, cpus: int, blocks: int) -> tuple[int, dict[str, Any]]:
    """How many actors call the server, and each one's share of what the judge may do: together they never do more."""
    limits = {field: limit for field in _LIMITS if (limit := getattr(judge, field)) is not None}
    most = min(actors or cpus, blocks, *limits.values())
    # At most one a processor, so many that the fewest calls are left over.
    size = most if actors else max(range(most, most // 2, -1), key=lambda size: size * (judge.concurrency // size))
    change = {field: limit // size for field, limit in limits.items()}
    return size, change if judge.max_cost is None else {**change, "max_cost": judge.max_cost / size}


def _source(queue: Any) -> Any:
    """A Ray Data source of the blocks that the driver puts into `queue`, up to the first None."""
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    def read() -> Iterator[pa.Table]:
        while (block := queue.get()) is not None:
            yield pa.Table.from_pylist([block], schema=_BLOCK)

    class Blocks(Datasource):  # type: ignore[misc]
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, *_: object, **__: object) -> list[Any]:
            return [ReadTask(read, BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None))]

    return Blocks()


@dataclasses.dataclass(frozen=True)
class _Judging:
    """What an actor is told.

    Attributes:
        expected: What the verdicts must say of their judge, as JSON.
        home: Id of the machine on which the store's file lies.
        keeper: The actor that holds the store for other machines, where there are any.
    """

    judge: JudgeFile
    expected: str
    backend: Callable[[JudgeFile], Backend]
    store: Path | None
    retry_failed: bool
    home: str
    keeper: Any = None


class _Actor:
    """Judges blocks; its model is opened once, with the first question that the store does not answer."""

    def __init__(self, judging: _Judging) -> None:
        self._judging = judging

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Judges the block in each row. What stops the judge goes back as a row: raised here, it would come out as an error of Ray's."""
        answers = []
        for block in rows.to_pylist():
            try:
                content, error = self._file(block), None
            except CultureCareError as stopped:
                content, error = None, str(stopped)
            answers.append({"number": block["number"], "content": content, "error": error})
        return pa.Table.from_pylist(answers, schema=_ANSWER)

    def _file(self, block: Mapping[str, Any]) -> bytes:
        judging = self._judging
        if judging.judge.judge.model_dump_json() != judging.expected:
            raise CultureCareError("the machines of the Ray cluster have different versions of culturecare; install the same one on all")
        stream = judge_stream(
            [JudgeItem(**item) for item in block["items"]],
            judging.judge,
            store=self._store,
            backend=lambda _: self._backend,
            retry_failed=judging.retry_failed,
        )
        rows = [verdict.model_dump() for of_item in stream for verdict in of_item]
        table = pa.Table.from_pylist(rows, schema=_SCHEMA.with_metadata({_METADATA: block["metadata"].encode()}))
        file = io.BytesIO()
        pq.write_table(table, file)
        return file.getvalue()

    @functools.cached_property
    def _backend(self) -> Backend:
        return self._judging.backend(self._judging.judge)

    @functools.cached_property
    def _store(self) -> VerdictStore:
        import ray

        judging = self._judging
        if judging.keeper is not None and ray.get_runtime_context().get_node_id() != judging.home:
            return _DistantStore(judging.keeper)
        return VerdictStore(judging.store)


class _Keeper:
    """Opens the verdict store on the machine where its file lies, for the actors on others. What is wrong goes back as a text."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @functools.cached_property
    def _store(self) -> VerdictStore:
        return VerdictStore(self._path)

    def call(self, method: str, *arguments: Any) -> tuple[Any, str | None]:
        try:
            return getattr(self._store, method)(*arguments), None
        except CultureCareError as error:
            return None, str(error)


class _DistantStore(VerdictStore):
    """The verdict store of another machine; an answer is on file there when `add` returns, as everywhere."""

    def __init__(self, keeper: Any) -> None:
        super().__init__(None)
        self._keeper = keeper

    def find(self, keys: Sequence[str]) -> dict[tuple[str, int], Answer]:
        found: dict[tuple[str, int], Answer] = self._call("find", keys)
        return found

    def add(self, key: str, sample: int, answer: Answer) -> None:
        self._call("add", key, sample, answer)

    def forget(self, keys: Iterable[str]) -> None:
        self._call("forget", list(keys))

    def _call(self, method: str, *arguments: Any) -> Any:
        import ray

        value, error = ray.get(self._keeper.call.remote(method, *arguments))
        if error is not None:
            raise CultureCareError(error)
        return value
