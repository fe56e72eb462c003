"""From a run to a board: what is handed in, what is left out, and what is refused."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from culturecare import CultureCareError
from culturecare_harness.board import open_board, put
from culturecare_harness.bundle import pack, read_bundle, write_bundle
from culturecare_harness.eval_results import eval_results
from culturecare_harness.generate import Generation
from culturecare_harness.judges import select_judge
from culturecare_harness.protocols import select_protocol
from culturecare_harness.quoting import repeats
from culturecare_harness.records import Model, Reply, Verdict, write_json, write_records
from culturecare_harness.runs import MANIFEST, REPLIES, Manifest
from culturecare_harness.scoring import build_result
from culturecare_harness.submit import About, RefusedError, bundle_of_run, read_parameters, submit
from tests.bundles import make_bundle, make_run, posts
from tests.hub import serve_hub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hub import Hub

CLI = str(Path(sys.executable).with_name("culturecare"))
ME = About(submitter="me")


class Silent:
    """A `Progress` that says nothing."""

    def say(self, sentence: str) -> None: ...

    def advance(self, finished: int, total: int) -> None: ...


def write_run(
    folder: Path,
    *,
    model: str = "listener",
    protocol: str = "demo",
    judge: str | None = None,
    arguments: dict[str, Any] | None = None,
    replies: list[Reply] | None = None,
    verdicts: list[Verdict] | None = None,
) -> Path:
    """A run's folder, as `culturecare eval --protocol demo` leaves it."""
    made_replies, made_verdicts = make_run(model, protocol=protocol)
    kept_replies, kept_verdicts = replies or made_replies, verdicts or made_verdicts
    chosen = select_protocol(protocol)
    named = Model(name=model, backend="hf", arguments=arguments or {})
    manifest = Manifest(
        model=named,
        model_identity="0" * 16,
        batch_size=8,
        split=chosen.posts.split,
        dataset_revision=chosen.posts.revision,
        cultures=tuple(chosen.posts.cultures),
        text="full",
        per_culture=chosen.posts.per_culture,
        strategies={name: chosen.strategies[name] for name in ("standard", "cga")},
        generation=Generation.model_validate(chosen.generation),
    )
    write_json(folder / MANIFEST, manifest)
    write_records(folder / REPLIES, kept_replies)
    judged_by = select_judge(judge or chosen.judges[0].name)
    write_records(folder / "judge.verdicts.jsonl", kept_verdicts)
    silent = [reply.model_copy(update={"language": None}) for reply in kept_replies]
    write_json(folder / "judge.result.json", build_result(silent, kept_verdicts, judged_by, named))
    return folder


# --- Onto a board here -----------------------------------------------------------------------------------------------------------


def test_a_run_stands_on_the_board_once_it_is_submitted(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    submitted = submit(run, str(tmp_path / "board"), ME, Silent())
    board = open_board(str(tmp_path / "board"), Silent())
    [entry] = board.entries
    assert (entry.id, entry.model, entry.submitter, entry.protocol) == (submitted.bundle, "listener", "me", "demo")
    assert entry.verification is None
    assert not board.refused
    assert any("follows protocol demo" in sentence for sentence in submitted.sentences)


def test_a_bundle_can_travel_as_one_file(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    submit(run, None, ME, Silent(), bundle_file=tmp_path / "listener.zip")
    submit(tmp_path / "listener.zip", str(tmp_path / "board"), ME, Silent())
    assert len(open_board(str(tmp_path / "board"), Silent()).entries) == 1


def test_what_a_bundle_says_is_not_changed_in_passing(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b.zip", make_bundle("lab/listener"))
    submit(tmp_path / "b.zip", str(tmp_path / "same"), About(submitter="somebody", model="lab/listener"), Silent())
    with pytest.raises(CultureCareError, match="says otherwise of model, parameters"):
        submit(tmp_path / "b.zip", str(tmp_path / "board"), About(model="other/thing", parameters=7), Silent())
    assert not (tmp_path / "board").exists()


def test_a_dry_run_hands_nothing_in(tmp_path: Path) -> None:
    submitted = submit(write_run(tmp_path / "run"), str(tmp_path / "board"), ME, Silent(), dry_run=True)
    assert submitted.place is None
    assert not (tmp_path / "board").exists()


def test_the_same_submission_is_refused_the_second_time(tmp_path: Path) -> None:
    run, board = write_run(tmp_path / "run"), str(tmp_path / "board")
    submit(run, board, ME, Silent())
    with pytest.raises(RefusedError, match="on the board already"):
        submit(run, board, ME, Silent())
    assert len(open_board(board, Silent()).entries) == 1


def test_a_models_name_belongs_to_who_handed_it_in_first(tmp_path: Path) -> None:
    board = str(tmp_path / "board")
    submit(write_run(tmp_path / "run"), board, ME, Silent())
    replies, verdicts = make_run("listener", seed=1)
    other = write_run(tmp_path / "other", replies=replies, verdicts=verdicts)
    with pytest.raises(RefusedError, match="only they can hand in another run of it"):
        submit(other, board, About(submitter="somebody-else"), Silent())
    submit(other, board, ME, Silent())
    [entry] = open_board(board, Silent()).entries
    assert entry.older == 1


def test_metadata_is_the_submitters_word(tmp_path: Path) -> None:
    about = About(
        submitter="me", model="me/listener-7b", parameters=7_600_000_000, weights="open", licence="MIT", link="https://example.org/x"
    )
    submit(write_run(tmp_path / "run"), str(tmp_path / "board"), about, Silent())
    [entry] = open_board(str(tmp_path / "board"), Silent()).entries
    assert (entry.model, entry.parameters, entry.weights, entry.licence) == ("me/listener-7b", 7_600_000_000, "open", "MIT")


@pytest.mark.parametrize("link", ["http://example.org", "javascript:alert(1)", "https://example.org/<script>"])
def test_a_link_that_is_no_plain_https_address_is_refused(tmp_path: Path, link: str) -> None:
    with pytest.raises(CultureCareError, match="link"):
        submit(write_run(tmp_path / "run"), str(tmp_path / "board"), About(submitter="me", link=link), Silent())
    assert not (tmp_path / "board").exists()


# --- What is left out ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_url", "http://jane:pw@build7.corp.internal/v1/chat/completions"),
        ("peft", "adapters/jane/mine"),
        ("tokenizer", "../private/tokeniser"),
        ("model_kwargs", {"cache": "/gpfs/me"}),
        ("delta", "\\\\server\\share"),
    ],
)
def test_addresses_and_folders_of_the_submitter_are_left_out(tmp_path: Path, name: str, value: object) -> None:
    run = write_run(tmp_path / "run", arguments={"dtype": "float32", "peft": "org/adapter", name: value})
    submit(run, None, ME, Silent(), bundle_file=tmp_path / "b.zip")
    kept = read_bundle(tmp_path / "b.zip").result.model.arguments
    assert kept == {key: word for key, word in {"dtype": "float32", "peft": "org/adapter"}.items() if key != name}


def test_paths_of_this_machine_and_keys_are_left_out_and_said_so(tmp_path: Path) -> None:
    arguments = {"dtype": "float32", "peft": "~/adapters/mine", "header": "sk-" + "a" * 24}
    run = write_run(tmp_path / "run", arguments=arguments)
    submitted = submit(run, None, ME, Silent(), bundle_file=tmp_path / "b.zip")
    bundle = read_bundle(tmp_path / "b.zip")
    assert bundle.result.model.arguments == {"dtype": "float32"}
    assert sum("Left out" in sentence for sentence in submitted.sentences) == 2
    assert not any(word in sentence for word in arguments.values() for sentence in submitted.sentences)


def test_a_reply_that_repeats_a_post_which_may_not_be_shown_is_withheld(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The posts of the demo are synthetic; the released ones must not stand in a test. The split alone decides what may be shown.
    replies, _ = make_run("listener")
    first = posts("demo")[0].post_text
    echo = Reply.model_validate({**replies[0].model_dump(), "text": first, "id": reply_id_of(replies[0], first)})
    _, verdicts = make_run("listener")
    moved = [verdict.model_copy(update={"reply_id": echo.id}) if verdict.reply_id == replies[0].id else verdict for verdict in verdicts]
    run = write_run(tmp_path / "run", replies=[echo, *replies[1:]], verdicts=moved)
    shown, _ = bundle_of_run(run, ME, Silent())
    assert shown.replies[0].text == first
    protocol = select_protocol("demo")
    closed = protocol.model_copy(update={"posts": protocol.posts.model_copy(update={"split": "test"})})
    monkeypatch.setattr("culturecare_harness.submit.select_protocol", lambda _: closed)
    withheld, _ = bundle_of_run(run, ME, Silent())
    assert [reply.text is None for reply in withheld.replies] == [True] + [False] * (len(replies) - 1)
    assert withheld.replies[0].id == echo.id


def reply_id_of(reply: Reply, text: str) -> str:
    from culturecare_harness.records import reply_id

    return reply_id(reply.instance_id, reply.strategy, reply.model, text)


@pytest.mark.parametrize(
    ("text", "post", "expected"),
    [
        ("You said: Nobody in my family ever asks how I am!", "nobody in my family ever asks how I am", True),
        ("Nobody in my family asks.", "nobody in my family ever asks how I am", False),
        ("我觉得没有人真正理解我的感受和压力", "没有人真正理解我的感受和压力。", True),
        ("没有人理解你", "没有人真正理解我的感受和压力", False),
        ("", "anything at all that is long enough here", False),
    ],
)
def test_six_words_or_twelve_characters_in_a_row_are_a_repetition(text: str, post: str, *, expected: bool) -> None:
    assert repeats(text, post) is expected


def test_what_a_judge_said_beside_its_grade_is_left_out_where_posts_may_not_be_shown() -> None:
    from culturecare_harness.submit import _scrubbed

    _, verdicts = make_run("listener")
    spoken = verdicts[0].model_copy(update={"answers": ("Score: 4", "The person says that all is lost, so 2.")})
    assert getattr(_scrubbed(spoken, may_show=False), "answers") == ("Score: 4", "2")  # noqa: B009 - of one of two record types.
    failed = verdicts[0].model_copy(
        update={"score": None, "distribution": None, "reason": "the judge's answer holds no number: 'all is lost'"}
    )
    assert _scrubbed(failed, may_show=True).reason == "the judge's answer holds no number"


# --- What is refused -------------------------------------------------------------------------------------------------------------


def test_every_reason_is_given_at_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with pytest.raises(RefusedError) as caught:
        submit(run, str(tmp_path / "board"), ME, Silent(), protocol="sample-v1")
    assert len(caught.value.reasons) >= 3
    assert any("judge" in reason for reason in caught.value.reasons)
    assert any("max_gen_toks" in reason for reason in caught.value.reasons)
    assert not (tmp_path / "board").exists()


def test_a_run_that_follows_no_protocol_is_told_which_there_are(tmp_path: Path) -> None:
    replies, verdicts = make_run("listener")
    hotter = [reply.model_copy(update={"generation": {**reply.generation, "temperature": 1.3}}) for reply in replies]
    run = write_run(tmp_path / "run", replies=hotter, verdicts=verdicts)
    with pytest.raises(CultureCareError, match=r"follows no protocol.*v1.*sample-v1.*demo"):
        submit(run, str(tmp_path / "board"), ME, Silent())
    with pytest.raises(RefusedError, match=r"temperature 1\.3"):
        submit(run, str(tmp_path / "board"), ME, Silent(), protocol="demo")


def test_a_run_that_was_not_judged_is_told_how(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "judge.result.json").unlink()
    with pytest.raises(CultureCareError, match=r"culturecare judge .* --judge NAME"):
        submit(run, str(tmp_path / "board"), ME, Silent())


@pytest.mark.parametrize(
    ("words", "number"), [("135M", 135_000_000), ("7.6B", 7_600_000_000), ("1t", 10**12), ("7600000000", 7_600_000_000)]
)
def test_parameters_are_read_as_people_write_them(words: str, number: float) -> None:
    assert read_parameters(words) == number


@pytest.mark.parametrize("words", ["many", "7,6B", "-1", "7.6 billion"])
def test_other_words_for_parameters_are_refused(words: str) -> None:
    with pytest.raises(CultureCareError, match=r"7\.6B"):
        read_parameters(words)


# --- Through the Hub -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def served() -> Iterator[Hub]:
    with serve_hub() as hub:
        yield hub


def culturecare(*arguments: str | Path, cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    command = [CLI, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env={**kept, **environment}, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_pull_request_is_opened_merged_and_seen_on_the_board(served: Hub, tmp_path: Path) -> None:
    token = served.add_user("me")
    served.add_repo("datasets", "org/results", {"README.md": b"---\nlicense: cc-by-4.0\n---\n"})
    environment = served.environment(tmp_path / "home", token) | {"CULTURECARE_CACHE": str(tmp_path / "cache")}
    run = write_run(tmp_path / "run")
    ran = culturecare("submit", run, "--to", "hf://datasets/org/results", cwd=tmp_path, environment=environment)
    assert ran.returncode == 0, ran.stderr
    assert "datasets/org/results/discussions/1" in ran.stdout
    assert not any("submissions/" in name for name in served.files("datasets", "org/results"))
    served.merge("datasets", "org/results", 1)
    script = (
        "from culturecare_harness.board import open_board\n"
        "class Silent:\n"
        "    def say(self, sentence): pass\n"
        "    def advance(self, finished, total): pass\n"
        "board = open_board('hf://datasets/org/results', Silent())\n"
        "print([(entry.model, entry.submitter) for entry in board.entries], board.refused)\n"
        "print(len(board.bundle(board.entries[0].id).replies))\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    seen = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={**kept, **environment}, capture_output=True, text=True, check=False
    )
    assert seen.stdout.split("\n")[:2] == ["[('listener', 'me')] {}", "28"], seen.stderr


@pytest.mark.slow
def test_a_pull_request_is_verified_before_it_is_merged(served: Hub, tmp_path: Path) -> None:
    served.add_repo("datasets", "org/results", {"README.md": b"---\nlicense: cc-by-4.0\n---\n"})
    environment = served.environment(tmp_path / "home", served.add_user("org")) | {"CULTURECARE_CACHE": str(tmp_path / "cache")}
    write_bundle(tmp_path / "b.zip", doctored := make_bundle("lab/listener"))
    ran = culturecare("submit", "b.zip", "--to", "hf://datasets/org/results", cwd=tmp_path, environment=environment)
    assert ran.returncode == 0, ran.stderr
    # Nobody gave these verdicts; the packaged judge finds that out. Its converted model is taken from the user's cache.
    environment["CULTURECARE_CACHE"] = os.environ.get("CULTURECARE_CACHE", str(Path.home() / ".cache" / "culturecare"))
    address = "hf://datasets/org/results@refs/pr/1"
    ran = culturecare("verify", address, "--share", "0.1", "--seed", "1", cwd=tmp_path, environment=environment)
    assert ran.returncode == 1, ran.stderr
    assert f"Submission {doctored.id} under protocol demo: failed" in ran.stdout
    assert "datasets/org/results/discussions/2" in ran.stdout
    served.merge("datasets", "org/results", 1)
    served.merge("datasets", "org/results", 2)
    assert f"verifications/demo/{doctored.id}.json" in served.files("datasets", "org/results")


@pytest.mark.slow
def test_the_same_model_of_another_submitter_is_refused_before_a_pull_request(served: Hub, tmp_path: Path) -> None:
    served.add_repo("datasets", "org/results", {"README.md": b"---\nlicense: cc-by-4.0\n---\n"})
    environment = served.environment(tmp_path / "home", served.add_user("me")) | {"CULTURECARE_CACHE": str(tmp_path / "cache")}
    for name, seed, submitter in [("one.zip", 0, "me"), ("two.zip", 1, "somebody-else")]:
        write_bundle(tmp_path / name, make_bundle("lab/listener", seed=seed, submitter=submitter))
    assert culturecare("submit", "one.zip", "--to", "hf://datasets/org/results", cwd=tmp_path, environment=environment).returncode == 0
    served.merge("datasets", "org/results", 1)
    ran = culturecare("submit", "two.zip", "--to", "hf://datasets/org/results", cwd=tmp_path, environment=environment)
    assert ran.returncode == 2
    assert "model 'lab/listener' is on the board by me" in ran.stderr
    assert len(served.repo("datasets", "org/results").discussions) == 1


@pytest.mark.parametrize("to", ["hf://org/results", "hf://datasets/org/results@refs/pr/1", "hf://spaces/org/results"])
def test_what_is_no_board_on_the_hub_is_said_before_anything_is_read(tmp_path: Path, to: str) -> None:
    with pytest.raises(CultureCareError, match="hf://datasets/"):
        submit(tmp_path / "no-run", to, ME, Silent())


@pytest.mark.slow
def test_without_a_board_or_a_login_the_error_says_what_to_do(served: Hub, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    anonymous = served.environment(tmp_path / "home")
    ran = culturecare("submit", run, "--to", "hf://datasets/org/results", cwd=tmp_path, environment=anonymous)
    assert ran.returncode == 2
    assert "--submitter" in ran.stderr
    assert "hf auth login" in ran.stderr
    known = served.environment(tmp_path / "home", served.add_user("me"))
    ran = culturecare("submit", run, "--to", "hf://datasets/org/results", cwd=tmp_path, environment=known)
    assert ran.returncode == 2
    assert "org/results" in ran.stderr
    assert "Traceback" not in ran.stderr


# --- The Hub's own evaluation results --------------------------------------------------------------------------------------------


def test_eval_results_hold_one_file_a_strategy_with_how_each_was_made() -> None:
    bundle = make_bundle("lab/listener", protocol="sample-v1", quality=4.0)
    files = eval_results(bundle, "org/culturecare", "https://example.org/board")
    assert sorted(files) == [".eval_results/culturecare.yaml", ".eval_results/culturecare_cga.yaml"]
    entries = yaml.safe_load(files[".eval_results/culturecare_cga.yaml"])
    by_task = {entry["dataset"]["task_id"]: entry for entry in entries}
    assert set(by_task) == {f"sample_{metric}" for metric in ("overall", "emotional", "cultural", "quality")}
    overall = by_task["sample_overall"]
    [score] = [score for score in bundle.result.scores if (score.strategy, score.culture, score.metric) == ("cga", "all", "overall")]
    assert overall["value"] == pytest.approx(score.mean, abs=1e-4)
    assert overall["dataset"]["id"] == "org/culturecare"
    assert all(
        word in overall["notes"] for word in ("strategy cga", "protocol sample-v1", "llama-3.1-70b (logprob)", "95 % interval", bundle.id)
    )


def test_a_protocol_that_measures_nothing_puts_no_scores_on_a_models_page() -> None:
    with pytest.raises(CultureCareError, match="measures nothing"):
        eval_results(make_bundle("lab/listener"), "org/culturecare")
    with pytest.raises(CultureCareError, match="names no repository"):
        eval_results(make_bundle("listener", protocol="sample-v1"), "org/culturecare")


def test_eval_results_are_never_written_into_a_bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = put(tmp_path / "board", make_bundle("lab/listener", protocol="sample-v1"))
    monkeypatch.chdir(tmp_path)
    submit(folder, None, About(), Silent(), eval_results="org/culturecare", dry_run=True)
    assert (tmp_path / ".eval_results" / "culturecare.yaml").is_file()
    assert read_bundle(folder).submission.model == "lab/listener"


@pytest.mark.slow
def test_a_failed_second_pull_request_names_the_first(served: Hub, tmp_path: Path) -> None:
    served.add_repo("datasets", "org/results", {"README.md": b"---\nlicense: cc-by-4.0\n---\n"})
    environment = served.environment(tmp_path / "home", served.add_user("me"))
    bundle = make_bundle("lab/listener", protocol="sample-v1")
    write_bundle(tmp_path / "b.zip", bundle)
    command = ("submit", "b.zip", "--to", "hf://datasets/org/results", "--eval-results", "org/culturecare")
    ran = culturecare(*command, cwd=tmp_path, environment=environment)
    assert ran.returncode == 2
    assert "the submission itself was handed in: " in ran.stderr
    assert "datasets/org/results/discussions/1" in ran.stderr
    [entry, *_] = yaml.safe_load((tmp_path / ".eval_results" / "culturecare.yaml").read_text(encoding="utf-8"))
    assert entry["source"]["url"] == f"{served.url}/datasets/org/results"
    # Made again, the bundle says another time of submission; it is the same one, and has a pull request already.
    later = bundle.submission.model_dump(exclude={"files"}) | {"submitted": dt.datetime(2026, 3, 1, tzinfo=dt.UTC)}
    write_bundle(tmp_path / "again.zip", pack(later, bundle.result, bundle.replies, bundle.verdicts))
    again = culturecare("submit", "again.zip", "--to", "hf://datasets/org/results", cwd=tmp_path, environment=environment)
    assert "datasets/org/results/discussions/1" in again.stdout
    assert len(served.repo("datasets", "org/results").discussions) == 1


@pytest.mark.slow
def test_eval_results_are_proposed_to_the_models_repository(served: Hub, tmp_path: Path) -> None:
    token = served.add_user("me")
    served.add_repo("models", "lab/listener", {"README.md": b"---\nlicense: mit\n---\n"})
    write_bundle(tmp_path / "b.zip", make_bundle("lab/listener", protocol="sample-v1", quality=4.0))
    environment = served.environment(tmp_path / "home", token)
    ran = culturecare("submit", "b.zip", "--eval-results", "org/culturecare", cwd=tmp_path, environment=environment)
    assert ran.returncode == 0, ran.stderr
    assert "Pull request on the model: " in ran.stdout
    [discussion] = served.repo("models", "lab/listener").discussions
    proposed = served.files("models", "lab/listener", discussion.ref)
    assert proposed[".eval_results/culturecare.yaml"] == (tmp_path / ".eval_results" / "culturecare.yaml").read_bytes()


# --- Running by a protocol -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_eval_refuses_what_the_protocol_says_already(tmp_path: Path) -> None:
    for option, value in [("--judge", "o3-mini"), ("--temperature", "0.1"), ("--limit", "3"), ("--split", "train")]:
        ran = culturecare("eval", "--model", "m", "--protocol", "demo", option, value, cwd=tmp_path, environment={})
        assert ran.returncode == 2
        assert f"{option}: protocol 'demo' says that already" in ran.stderr


def test_protocols_are_listed(tmp_path: Path) -> None:
    ran = culturecare("protocols", cwd=tmp_path, environment={})
    assert ran.returncode == 0
    for name in ("v1", "sample-v1", "demo"):
        assert f" {name} " in ran.stdout


def test_a_result_says_which_protocol_was_followed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert json.loads((run / "judge.result.json").read_text(encoding="utf-8"))["protocol"] == "demo"
