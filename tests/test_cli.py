"""The command line: quick to start, one line for what a user can mend, and runs that go on where they stopped."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from culturecare import RELEASE_VARIABLE, cultures, data_dir
from culturecare_harness import cli
from culturecare_harness.dataset import Selection
from culturecare_harness.generate import Generation, ModelChoice
from culturecare_harness.records import Reply, Result, Verdict, read_records, write_json
from culturecare_harness.runs import MANIFEST, manifest_of
from tests.servers import ChatServer, answers_on_file, chat, error, free_address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HEAVY = ("torch", "transformers", "datasets", "lm_eval", "scipy", "sklearn", "evaluate", "openai", "lingua")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every command runs in an empty folder and keeps its verdicts in a store of its own; no setting of the user's is seen."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", RELEASE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CULTURECARE_STORE", str(tmp_path / "store.sqlite3"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return here


def called(arguments: Sequence[object], monkeypatch: pytest.MonkeyPatch) -> int:
    """Exit code of the command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["culturecare", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


# --- Start-up ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["eval", "--help"], ["judge", "--help"], ["data", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom culturecare_harness.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert "Usage:" in run.stdout
    assert run.stdout.splitlines()[-1] == "heavy: []"


def test_the_installed_command_starts() -> None:
    command = Path(sys.executable).with_name("culturecare")
    run = subprocess.run([command, "data", "stats", "--json"], capture_output=True, text=True, check=True)
    assert set(json.loads(run.stdout)) == {"sample", "train"}


# --- Looking at the data -----------------------------------------------------------------------------------------------------------


def test_counts_are_strict_json_for_every_culture(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(["data", "stats", "--json"], monkeypatch) == 0
    counts: dict[str, dict[str, Any]] = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    for split in ("sample", "train"):
        assert set(counts[split]) == {*cultures(), "all"}
        assert counts[split]["all"]["posts"] == sum(counts[split][key]["posts"] for key in cultures())


def test_counts_of_the_released_files(release: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(["data", "stats", "--json", "--release", release], monkeypatch) == 0
    assert set(json.loads(capsys.readouterr().out)["test"]) == {"arabic", "chinese", "german", "jewish", "all"}


def test_all_that_the_dataset_has_is_valid(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(["data", "validate"], monkeypatch) == 0
    assert capsys.readouterr().out.count("all valid") == 2


def test_a_file_of_the_user_s_is_checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(["data", "validate", data_dir() / "sample" / "german.jsonl"], monkeypatch) == 0
    assert "instances, all valid" in capsys.readouterr().out


@pytest.mark.parametrize(("command", "shown"), [("judges", "smollm2"), ("strategies", "cga")])
def test_what_can_be_named_is_listed(command: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called([command], monkeypatch) == 0
    assert shown in capsys.readouterr().out


# --- What a user can mend ----------------------------------------------------------------------------------------------------------

ROW: dict[str, Any] = {
    "culture": "Chinese",
    "post_id": "1",
    "post": {
        "text": "I am so tired.",
        "emotional_distress": [{"phrase": "so tired", "intensity": "high"}],
        "cultural_signals": [],
        "demographic_info": {},
    },
    "response": {"text": None, "emotional_support": [], "cultural_signals": [], "empathy_score": ""},
}


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def written(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def misspelt(path: Path) -> Path:
    post = {**ROW["post"], "emotional_distress": [{"phrase": "so tired", "intensity": "hihg"}]}
    return lines(path, ROW, {**ROW, "post": post})


def release_with(path: Path, *texts: str) -> Path:
    rows = [{**ROW, "post_id": str(number), "post": {**ROW["post"], "text": text}} for number, text in enumerate(texts)]
    lines(folder(path) / "Chinese_data.jsonl", *rows)
    return path


def samples(path: Path, number: int = 1) -> Path:
    """Samples as `lm_eval --log_samples` writes them, in a folder of their own."""
    from culturecare_harness.lm_eval_hooks import support_docs

    docs = support_docs(strategy="standard", split="sample", cultures="american", per_culture=number)["test"]
    rows = [{"doc": doc, "resps": [["I hear you."]], "arguments": {}} for doc in docs]
    lines(folder(path) / "samples_culturecare_support_standard_2026-01-01T00-00-00.000000.jsonl", *rows)
    return path


def another_run(path: Path) -> Path:
    selection = Selection(split="sample", cultures=("american",), per_culture=1)
    write_json(path / MANIFEST, manifest_of(ModelChoice(name="another"), ["standard"], selection, Generation()))
    return path


def judge_yaml(path: Path, **fields: object) -> Path:
    """A judge behind an address where nobody listens."""
    settings = {"summary": "s", "backend": "openai", "model": "m", "mode": "argmax", "base_url": free_address(), "retries": 0}
    return written(path, json.dumps({**settings, "api_key_env": None, **fields}))


EVAL = ["eval", "--model", "packaged:smollm2", "--cultures", "american", "--limit", 1]
BY = ["--judge", "smollm2"]
SERVED = ["eval", "--model", "m", "--cultures", "american", "--limit", 1, "--strategies", "standard", "--model-arg", "max_retries=1"]

# What is given, what the message says of where and what, and what would be right.
BAD: dict[str, tuple[Callable[[Path], Sequence[object]], str, str]] = {
    "malformed row": (
        lambda given: ["data", "validate", written(given / "x.jsonl", json.dumps(ROW) + '\n{"culture": ')],
        "x.jsonl:2: is not valid JSON",
        "",
    ),
    "unknown label": (
        lambda given: ["data", "validate", misspelt(given / "x.jsonl")],
        "x.jsonl:2: post.emotional_distress",
        "'light'",
    ),
    "unknown culture in a row": (
        lambda given: ["data", "validate", lines(given / "x.jsonl", {**ROW, "culture": "Klingon"})],
        "x.jsonl:1: culture: unknown culture 'Klingon'",
        "Chinese",
    ),
    "unknown field": (lambda given: ["data", "validate", lines(given / "x.jsonl", {**ROW, "note": 1})], "x.jsonl:1: note", "post_id"),
    "not a number": (lambda given: ["data", "validate", written(given / "x.jsonl", '{"culture": NaN}')], "x.jsonl:1", "NaN"),
    "empty file": (lambda given: ["data", "validate", written(given / "x.jsonl", "")], "x.jsonl: holds no instance", ""),
    "not UTF-8": (lambda given: ["data", "validate", written(given / "x.jsonl", b"\xff\xfe")], "is not UTF-8", ""),
    "folder for a file": (lambda given: ["data", "validate", folder(given / "x.jsonl")], "x.jsonl: cannot be read", ""),
    "missing file": (lambda given: ["data", "validate", given / "x.jsonl"], "x.jsonl: cannot be read", ""),
    "missing release": (lambda given: ["data", "stats", "--release", given / "no"], "no: is not a folder", "Chinese_data.jsonl"),
    "empty release": (lambda given: ["data", "stats", "--release", folder(given / "no")], "_data.jsonl", "cannot be read"),
    "build of an empty release": (lambda given: ["data", "build", "--release", folder(given / "no")], "_data.jsonl", "cannot be read"),
    "no release": (lambda _: [*EVAL, "--split", "test"], "split 'test' needs the released annotations", "--release"),
    "texts and excerpts": (
        lambda given: [*EVAL, "--cultures", "chinese", "--release", release_with(given / "mixed", "So tired.", "https://example.org/1")],
        "split 'test' has 1 posts with text and 1",
        "text 'full'",
    ),
    "no excerpts": (lambda _: [*EVAL, "--text", "excerpt"], "split 'sample' has no post with text 'excerpt'", ""),
    "unknown culture": (lambda _: [*EVAL, "--cultures", "klingon"], "unknown culture 'klingon'", "german"),
    "unreleased culture": (
        lambda given: [*EVAL, "--cultures", "indian", "--release", release_with(given / "some", "So tired.")],
        "culture 'indian' has no released annotations",
        "sample",
    ),
    "no culture": (lambda _: [*EVAL, "--cultures", ","], "no culture was named", "german"),
    "unknown strategy": (lambda _: [*EVAL, "--strategies", "standard,nonesuch"], "unknown strategy 'nonesuch'", "cga"),
    "no strategy": (lambda _: [*EVAL, "--strategies", ""], "no strategy was named", "cga"),
    "unknown packaged model": (lambda _: ["eval", "--model", "packaged:gpt", *EVAL[3:]], "unknown packaged model", "packaged:smollm2"),
    "missing model": (lambda given: ["eval", "--model", given / "no-model", *EVAL[3:]], "no-model", "there is no such folder"),
    "address that is none": (lambda _: [*SERVED, "--base-url", "localhost:8000"], "--base-url 'localhost:8000'", "http://"),
    "unknown backend": (lambda _: [*EVAL, "--backend", "nonesuch"], "unknown backend 'nonesuch'", "local-chat-completions"),
    "model argument without a value": (lambda _: [*EVAL, "--model-arg", "dtype"], "--model-arg 'dtype'", "name=value"),
    "model argument that is no YAML": (lambda _: [*EVAL, "--model-arg", "dtype=["], "--model-arg 'dtype=['", ""),
    "model's server not there": (lambda _: [*SERVED, "--base-url", free_address()], "model 'm' on backend 'local-chat-completions'", ""),
    "unknown judge": (lambda _: [*EVAL, "--judge", "nonesuch"], "unknown judge 'nonesuch'", "smollm2"),
    "missing judge file": (lambda given: [*EVAL, "--judge", given / "no.yaml"], "no.yaml", "smollm2"),
    "judge file with a wrong field": (
        lambda given: [*EVAL, "--judge", judge_yaml(given / "j.yaml", temprature=1)],
        "j.yaml: temprature: is not a field",
        "temperature",
    ),
    "judge file without a model": (lambda given: [*EVAL, "--judge", judge_yaml(given / "j.yaml", model="")], "j.yaml: model", ""),
    "judge file that is no YAML": (
        lambda given: [*EVAL, "--judge", written(given / "j.yaml", "model: [")],
        "j.yaml: is not valid YAML",
        "",
    ),
    "judge file that is a list": (lambda given: [*EVAL, "--judge", written(given / "j.yaml", "- 1")], "j.yaml: holds a list", "mapping"),
    "judge with an unknown rubric": (
        lambda given: [*EVAL, "--judge", judge_yaml(given / "j.yaml", rubric="no")],
        "unknown rubric 'no'",
        "culturecare",
    ),
    "judge setting without a value": (lambda _: [*EVAL, "--judge-set", "mode"], "judge setting 'mode'", "name=value"),
    "judge setting that is no YAML": (lambda _: [*EVAL, "--judge-set", "mode=["], "judge setting 'mode=['", ""),
    "judge setting out of range": (lambda _: [*EVAL, "--judge-set", "mode=guess"], "mode", "'argmax'"),
    "judge without its key, before the model is loaded": (lambda _: [*EVAL, "--judge", "o3-mini"], "needs an API key", "OPENAI_API_KEY"),
    "run folder of another run": (lambda given: [*EVAL, "--out", another_run(given / "run")], "run: holds another run", "--out"),
    "run folder that is a file": (lambda given: [*EVAL, "--out", written(given / "run", "")], "run: is a file", "--out"),
    "no judge to judge with": (
        lambda given: ["judge", samples(given / "s"), "--judge", "none"],
        "name a judge",
        "culturecare judges",
    ),
    "nothing to judge": (lambda given: ["judge", given / "no", *BY], "no: is not there", "--log_samples"),
    "samples folder with nothing in it": (
        lambda given: ["judge", folder(given / "no"), *BY],
        "no: holds neither",
        "--log_samples",
    ),
    "empty samples file": (lambda given: ["judge", written(given / "s.jsonl", ""), *BY], "s.jsonl: holds no reply", ""),
    "samples of another task": (
        lambda given: ["judge", lines(given / "s.jsonl", {"doc": {"q": 1}, "resps": [["x"]]}), *BY],
        "s.jsonl:1: is no sample",
        "",
    ),
    "samples that are a list": (
        lambda given: ["judge", written(given / "s.jsonl", "[1]"), *BY],
        "s.jsonl:1: is no sample",
        "",
    ),
    "broken run": (
        lambda given: ["judge", written(given / "run" / MANIFEST, "{").parent, *BY],
        "run.json: is not valid JSON",
        "",
    ),
    "run of another version": (
        lambda given: ["judge", written(given / "run" / MANIFEST, "{}").parent, *BY],
        "run.json: model",
        "",
    ),
    "unfinished run": (lambda given: ["judge", another_run(given / "run"), *BY], "replies.jsonl", ""),
    "no key": (lambda given: ["judge", samples(given / "s"), "--judge", "o3-mini"], "needs an API key", "OPENAI_API_KEY"),
    "store that is a folder": (
        lambda given: ["judge", samples(given / "s"), "--judge", judge_yaml(given / "j.yaml"), "--store", folder(given / "store")],
        "store: the verdict store cannot be opened",
        "--store",
    ),
    "store that is no store": (
        lambda given: ["judge", samples(given / "s"), "--judge", judge_yaml(given / "j.yaml"), "--store", written(given / "x", "text")],
        "x: the verdict store cannot be opened",
        "--store",
    ),
    "judge's server not there": (
        lambda given: ["judge", samples(given / "s"), "--judge", judge_yaml(given / "j.yaml")],
        "no server answers at http://127.0.0.1",
        "base_url",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(
    case: str, tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = folder(tmp_path / "given")
    make, where, right = BAD[case]
    arguments = make(given)
    before = {path: path.read_bytes() for path in given.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert called(arguments, monkeypatch) == 2
    *earlier, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: ")
    assert where in last
    assert right in last
    assert not any("error" in line.lower() or "Traceback" in line for line in earlier)
    assert {path: path.read_bytes() for path in given.rglob("*") if path.is_file()} == before
    assert list(alone.rglob("*")) == []


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ([*EVAL, "--limit", "0"], "--limit"),
        ([*EVAL, "--limit", "two"], "--limit"),
        ([*EVAL, "--temperature", "-1"], "--temperature"),
        ([*EVAL, "--split", "dev"], "--split"),
        ([*EVAL, "--speed", "1"], "--speed"),
        (["eval"], "--model"),
        (["judge", "runs"], "--judge"),
        (["assess"], "assess"),
    ],
    ids=lambda value: " ".join(map(str, value[-2:])) if isinstance(value, list) else None,
)
def test_an_option_that_does_not_fit_is_said_in_one_line(
    arguments: list[object], where: str, alone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(arguments, monkeypatch) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert where in line
    assert list(alone.rglob("*")) == []


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_model_s_server_that_refuses_is_said_in_one_line(
    status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ChatServer([error(status, "scripted")]) as server:
        assert called([*SERVED, "--base-url", server.url], monkeypatch) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: model 'm' on backend 'local-chat-completions'")
    assert str(status) in last


def test_the_installed_command_ends_without_a_traceback(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("culturecare")
    run = subprocess.run([command, "data", "validate", tmp_path / "no.jsonl"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    [line] = run.stderr.splitlines()
    assert line.startswith("error: ")


# --- Against a scripted server -----------------------------------------------------------------------------------------------------


def test_a_model_behind_a_server_is_benchmarked_and_the_same_call_asks_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = judge_yaml(tmp_path / "j.yaml")
    with ChatServer([chat("4")]) as server:
        arguments = [
            *SERVED,
            "--base-url",
            server.url,
            "--judge",
            judge,
            "--judge-set",
            f"base_url={server.url}",
            "--out",
            tmp_path / "run",
        ]
        assert called(arguments, monkeypatch) == 0
        assert len(server.requests) == 1 + 7
        assert called(arguments, monkeypatch) == 0
        assert len(server.requests) == 1 + 7
    assert result_of(tmp_path / "run").coverage == 1


def test_saved_samples_are_judged_into_a_folder_that_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer([chat("4")]) as server:
        judge = judge_yaml(tmp_path / "j.yaml", base_url=server.url)
        assert called(["judge", samples(tmp_path / "s", 2), "--judge", judge, "--out", tmp_path / "new"], monkeypatch) == 0
    assert result_of(tmp_path / "new").coverage == 1


def test_a_results_folder_that_is_a_file_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ChatServer([chat("4")]) as server:
        judge = judge_yaml(tmp_path / "j.yaml", base_url=server.url)
        assert called(["judge", samples(tmp_path / "s"), "--judge", judge, "--out", written(tmp_path / "file", "")], monkeypatch) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {tmp_path / 'file'}")


def test_no_key_stands_in_what_a_run_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-secret")
    with ChatServer([chat("4")]) as server:
        judge = judge_yaml(tmp_path / "j.yaml", base_url=server.url, api_key_env="OPENAI_API_KEY")
        arguments = [*SERVED, "--base-url", server.url, "--judge", judge, "--out", tmp_path / "run", "--model-arg", "auth_token=a-secret"]
        assert called(arguments, monkeypatch) == 0
    assert "Bearer a-secret" in server.authorizations
    assert not any(b"a-secret" in path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())


# --- With the real small model -----------------------------------------------------------------------------------------------------

RUN = ["eval", "--model", "packaged:smollm2", "--cultures", "american,german", "--limit", "1", "--max-gen-toks", "8"]
RUN += ["--strategies", "standard,cga", "--device", "cpu", *BY]


def result_of(run: Path) -> Result:
    """The run's result, which must be strict JSON."""
    [path] = run.glob("*.result.json")
    return Result.model_validate(json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail))


def verdicts_of(run: Path) -> list[Verdict]:
    [path] = run.glob("*.verdicts.jsonl")
    return read_records(path, Verdict)


def start(run: Path, store: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "CULTURECARE_STORE": str(store)}
    command = [str(Path(sys.executable).with_name("culturecare")), *RUN, "--out", str(run)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def test_a_missing_engine_is_said_before_anything_is_generated(
    alone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else find(name, *rest))
    arguments = ["eval", "--model", "packaged:smollm2", "--judge", "smollm2", "--engine", "ray", "--limit", 1, "--out", "run"]
    assert called(arguments, monkeypatch) == 2
    assert "the Ray engine needs Ray Data, which is not installed" in capsys.readouterr().err
    assert not (alone / "run").exists()


def test_an_interrupted_command_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("culturecare_harness.judges.judges", interrupted)
    assert called(["judges"], monkeypatch) == 130
    assert capsys.readouterr().err == "Stopped. The same command goes on from here.\n"


@pytest.mark.parametrize("split", ["test", "sample"])
def test_the_benchmark_is_refused_as_training_data_by_its_name(
    split: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(["adapt", "--model", "m", "--data", split, "--out", "adapter"], monkeypatch) == 2
    assert f"split '{split}' is the benchmark's, and no model is trained on it; take --data train" in capsys.readouterr().err


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished run and its store."""
    place = tmp_path_factory.mktemp("undisturbed")
    process = start(place / "run", place / "store.sqlite3")
    _, said = process.communicate()
    assert process.returncode == 0, said.decode()
    return place / "run", place / "store.sqlite3"


@pytest.mark.slow
def test_a_real_model_is_benchmarked(undisturbed: tuple[Path, Path]) -> None:
    run, _ = undisturbed
    result = result_of(run)
    assert set(result.strategies) == {"standard", "cga"}
    assert result.dataset.cultures == ("american", "german")
    assert result.judge is not None
    assert result.judge.name == "smollm2"
    assert any("no measure" in note for note in result.notes)
    replies = read_records(run / "replies.jsonl", Reply)
    assert [(reply.strategy, reply.culture) for reply in replies] == [(s, c) for s in ("standard", "cga") for c in ("american", "german")]
    verdicts = verdicts_of(run)
    assert [verdict.reply_id for verdict in verdicts] == [reply.id for reply in replies for _ in range(7)]
    assert result.coverage == sum(verdict.score is not None for verdict in verdicts) / len(verdicts)


@pytest.mark.slow
def test_without_a_device_a_run_takes_whatever_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*EVAL, "--strategies", "standard", "--max-gen-toks", "1", "--judge", "none", "--out", tmp_path / "run"]
    assert called(arguments, monkeypatch) == 0
    assert len(read_records(tmp_path / "run" / "replies.jsonl", Reply)) == 1


@pytest.mark.slow
def test_a_finished_run_makes_nothing_anew(undisturbed: tuple[Path, Path]) -> None:
    run, store = undisturbed
    before = (run / "replies.jsonl").read_bytes(), (run / "replies.jsonl").stat().st_mtime_ns, verdicts_of(run), answers_on_file(store)
    process = start(run, store)
    _, said = process.communicate()
    assert process.returncode == 0
    assert b"Loading" not in said
    after = (run / "replies.jsonl").read_bytes(), (run / "replies.jsonl").stat().st_mtime_ns, verdicts_of(run), answers_on_file(store)
    assert after == before


@pytest.mark.slow
def test_a_run_killed_while_it_judges_ends_like_one_that_was_not(undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "store.sqlite3"
    process = start(run, store)
    while answers_on_file(store) == 0:
        assert process.poll() is None, "the run ended before it kept a verdict"
        time.sleep(0.005)  # Between two looks at the file, not a guess at how long anything takes.
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = answers_on_file(store)
    assert not list(run.glob("*.result.json"))
    replies = (run / "replies.jsonl").read_bytes()
    again = start(run, store)
    _, said = again.communicate()
    assert again.returncode == 0, said.decode()
    assert (run / "replies.jsonl").read_bytes() == replies
    assert 0 < kept < answers_on_file(store)
    resumed, whole = verdicts_of(run), verdicts_of(undisturbed[0])
    assert [(one.reply_id, one.dimension, one.reason) for one in resumed] == [(one.reply_id, one.dimension, one.reason) for one in whole]
    # Killed within a reply, the judge is asked its other questions in a pass of their own, whose sums are rounded otherwise.
    assert [one.score for one in resumed] == pytest.approx([one.score for one in whole], abs=1e-4)
