"""The Hub's client against a real server, and the stand-in Hub itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, EvalResultEntry, HfApi, eval_result_entries_to_yaml
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from culturecare import CultureCareError
from culturecare_harness.hub import HubAddress, open_pull_request, parse_hub_uri, publish_folder, snapshot, whoami
from tests.hub import Hub, serve_hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATASET = "org/things"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty stand-in Hub; what is downloaded lands in a cache of the test's own, and no token of the user's is seen."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "no-tokens"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serve_hub() as server:
        yield server


@pytest.fixture
def owner(hub: Hub) -> HfApi:
    """The client of a member of `org`."""
    return HfApi(endpoint=hub.url, token=hub.add_user("mira", orgs=("org",)))


@pytest.fixture
def stranger(hub: Hub) -> HfApi:
    """The client of somebody else."""
    return HfApi(endpoint=hub.url, token=hub.add_user("otto"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "things"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "a.jsonl").write_text('{"a": 1}\n', encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Things\n", encoding="utf-8")
    (folder / ".hidden").write_text("not for others", encoding="utf-8")
    return folder


# --- Addresses -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("hf://datasets/org/things", HubAddress("dataset", "org/things")),
        ("hf://datasets/org/things@refs/pr/3", HubAddress("dataset", "org/things", "refs/pr/3")),
        ("hf://spaces/org/board@main", HubAddress("space", "org/board", "main")),
        ("hf://models/org/model", HubAddress("model", "org/model")),
    ],
)
def test_an_address_names_a_repository_and_a_revision(uri: str, expected: HubAddress) -> None:
    assert parse_hub_uri(uri) == expected


@pytest.mark.parametrize(
    "uri", ["datasets/org/things", "hf://datasets/things", "hf://datasets/org/things/data/a.jsonl", "hf://buckets/org/b", "", "hf://"]
)
def test_what_is_no_address_of_a_repository_is_refused_with_the_form_expected(uri: str) -> None:
    with pytest.raises(CultureCareError, match=r"expected hf://datasets/ORG/NAME"):
        parse_hub_uri(uri)


@pytest.mark.parametrize("name", ["things", "org/things/more", "org/th ings", "../things", "org/things@main", ""])
def test_a_repository_name_that_cannot_be_is_refused_before_any_request(hub: Hub, owner: HfApi, folder: Path, name: str) -> None:
    with pytest.raises(CultureCareError, match="is no name of a repository on the Hub: expected ORG/NAME"):
        publish_folder(folder, name, "dataset", message="x", api=owner)
    assert hub.requests == []


# --- Publishing ------------------------------------------------------------------------------------------------------------------


def test_a_folder_becomes_a_repository_in_one_commit(hub: Hub, owner: HfApi, folder: Path) -> None:
    published = publish_folder(folder, DATASET, "dataset", message="First", description="Why", api=owner)
    assert (published.url, published.pull_request, published.changed) == (f"{hub.url}/datasets/{DATASET}", False, True)
    assert set(hub.files("datasets", DATASET)) == {".gitattributes", "README.md", "data/a.jsonl"}
    newest = hub.repo("datasets", DATASET).history()[0]
    assert (newest.message, newest.description, newest.author, newest.oid) == ("First", "Why", "mira", published.revision)


def test_publishing_twice_makes_no_second_commit(hub: Hub, owner: HfApi, folder: Path) -> None:
    first = publish_folder(folder, DATASET, "dataset", message="First", api=owner)
    again = publish_folder(folder, DATASET, "dataset", message="Again", api=owner)
    assert (again.changed, again.revision) == (False, first.revision)
    assert len(hub.repo("datasets", DATASET).history()) == 2


def test_files_under_lfs_are_uploaded_and_recognised_again(owner: HfApi, hub: Hub, folder: Path) -> None:
    hub.lfs_suffixes = (".jsonl",)
    assert publish_folder(folder, DATASET, "dataset", message="First", api=owner).changed
    assert hub.files("datasets", DATASET)["data/a.jsonl"] == b'{"a": 1}\n'
    assert hub.repo("datasets", DATASET).history()[0].files["data/a.jsonl"].lfs
    assert not publish_folder(folder, DATASET, "dataset", message="Again", api=owner).changed


def test_stale_files_that_match_are_deleted_and_others_stay(hub: Hub, owner: HfApi, folder: Path) -> None:
    hub.add_repo("datasets", DATASET, {"data/old.jsonl": b"{}", "notes.txt": b"by hand", "data/deep/older.jsonl": b"{}"})
    publish_folder(folder, DATASET, "dataset", message="New", delete_patterns=["data/*.jsonl"], api=owner)
    assert set(hub.files("datasets", DATASET)) == {".gitattributes", "README.md", "data/a.jsonl", "notes.txt"}


def test_a_private_repository_is_made_and_a_public_one_never_taken_for_it(hub: Hub, owner: HfApi, folder: Path) -> None:
    publish_folder(folder, "org/secret", "dataset", message="First", private=True, api=owner)
    assert hub.repo("datasets", "org/secret").private
    hub.add_repo("datasets", DATASET)
    with pytest.raises(CultureCareError, match="exists and is public: make it private in its settings first"):
        publish_folder(folder, DATASET, "dataset", message="First", private=True, api=owner)


def test_access_requests_are_on_before_what_needs_them_is_there(hub: Hub, owner: HfApi, stranger: HfApi, folder: Path) -> None:
    hub.add_repo("datasets", DATASET)
    with pytest.raises(CultureCareError, match="its owner must turn on access requests"):
        publish_folder(folder, DATASET, "dataset", message="First", gated=True, pull_request=True, api=stranger)
    publish_folder(folder, DATASET, "dataset", message="First", gated=True, api=owner)
    assert hub.repo("datasets", DATASET).gated
    settings, commit = (next(i for i, r in enumerate(hub.requests) if r.endswith(end)) for end in ("/settings", "/commit/main"))
    assert settings < commit


# --- Pull requests ---------------------------------------------------------------------------------------------------------------


def test_a_stranger_opens_a_pull_request_and_an_owner_merges_it(hub: Hub, stranger: HfApi) -> None:
    hub.add_repo("models", "org/model", {"config.json": b"{}"})
    opened = open_pull_request("org/model", "model", {".eval_results/x.yaml": b"[]\n"}, message="Add results", api=stranger)
    assert (opened.url, opened.pull_request, opened.changed) == (f"{hub.url}/org/model/discussions/1", True, True)
    assert ".eval_results/x.yaml" not in hub.files("models", "org/model")
    assert ".eval_results/x.yaml" in hub.files("models", "org/model", "refs/pr/1")
    hub.merge("models", "org/model", 1)
    assert hub.files("models", "org/model")[".eval_results/x.yaml"] == b"[]\n"


def test_the_same_pull_request_is_not_opened_twice(hub: Hub, stranger: HfApi, folder: Path) -> None:
    hub.add_repo("datasets", DATASET)
    first = publish_folder(folder, DATASET, "dataset", message="Things", pull_request=True, api=stranger)
    again = publish_folder(folder, DATASET, "dataset", message="Things", pull_request=True, api=stranger)
    assert (again.url, again.pull_request, again.changed) == (first.url, True, False)
    hub.merge("datasets", DATASET, 1)
    merged = publish_folder(folder, DATASET, "dataset", message="Things", pull_request=True, api=stranger)
    assert (merged.pull_request, merged.changed) == (False, False)
    assert len(hub.repo("datasets", DATASET).discussions) == 1


def test_a_changed_pull_request_is_a_new_one(hub: Hub, stranger: HfApi) -> None:
    hub.add_repo("datasets", DATASET)
    urls = [open_pull_request(DATASET, "dataset", {"a.txt": text}, message="Add", api=stranger).url for text in (b"1", b"2")]
    assert len(set(urls)) == 2


def test_there_is_no_pull_request_on_what_does_not_exist(owner: HfApi, folder: Path) -> None:
    with pytest.raises(CultureCareError, match=r"dataset org/things is not on http.*publish it once by a commit"):
        publish_folder(folder, DATASET, "dataset", message="First", pull_request=True, api=owner)


# --- Snapshots -------------------------------------------------------------------------------------------------------------------


def test_a_snapshot_holds_the_files_that_match_at_the_revision_asked_for(hub: Hub, stranger: HfApi, tmp_path: Path) -> None:
    hub.add_repo("datasets", DATASET, {"board/a.json": b"1", "board/deep/b.json": b"2", "model.bin": b"large"})
    open_pull_request(DATASET, "dataset", {"board/a.json": b"3"}, message="Change", api=stranger)
    main = snapshot(f"hf://datasets/{DATASET}", ["board/*"], api=stranger)
    assert {path.name: path.read_bytes() for path in main.rglob("*.*")} == {"a.json": b"1", "b.json": b"2"}
    changed = snapshot(f"hf://datasets/{DATASET}@refs/pr/1", ["board/a.json"], folder=tmp_path / "pr", api=stranger)
    assert (changed / "board" / "a.json").read_bytes() == b"3"


def test_a_snapshot_in_a_folder_follows_the_repository_and_leaves_the_user_s_files(hub: Hub, owner: HfApi, tmp_path: Path) -> None:
    repo = hub.add_repo("datasets", DATASET, {"board/a.json": b"1", "board/b.json": b"2"})
    place = snapshot(f"hf://datasets/{DATASET}", ["board/*"], folder=tmp_path / "board", api=owner)
    (place / "board" / "mine.txt").write_text("kept", encoding="utf-8")
    owner.create_commit(DATASET, [CommitOperationDelete("board/b.json")], commit_message="Less", repo_type="dataset")
    assert len(repo.history()) == 2
    snapshot(f"hf://datasets/{DATASET}", ["board/*"], folder=place, api=owner)
    assert sorted(path.name for path in (place / "board").iterdir()) == ["a.json", "mine.txt"]
    assert not any(path.is_symlink() for path in place.rglob("*"))


def test_an_older_snapshot_is_never_taken_for_the_newest(hub: Hub, owner: HfApi) -> None:
    hub.add_repo("datasets", DATASET, {"board/a.json": b"1"})
    snapshot(f"hf://datasets/{DATASET}", ["board/*"], api=owner)
    hub.fail("GET /api/datasets", status=500)
    with pytest.raises(CultureCareError, match=r"downloading dataset org/things: http.* has a fault of its own \(500\): try again later"):
        snapshot(f"hf://datasets/{DATASET}", ["board/*"], api=owner)


def test_a_gated_repository_says_where_to_accept_its_terms(hub: Hub, stranger: HfApi) -> None:
    hub.add_repo("datasets", DATASET, {"board/a.json": b"1"}, gated=True)
    with pytest.raises(CultureCareError, match=rf"accept its terms first: do so on {hub.url}/datasets/{DATASET}"):
        snapshot(f"hf://datasets/{DATASET}", ["board/*"], api=stranger)


# --- What can go wrong -----------------------------------------------------------------------------------------------------------


def test_a_token_has_a_name(owner: HfApi) -> None:
    assert whoami(owner) == "mira"


def test_without_a_token_nothing_is_asked(hub: Hub, folder: Path) -> None:
    nobody = HfApi(endpoint=hub.url)
    for call in (lambda: whoami(nobody), lambda: publish_folder(folder, DATASET, "dataset", message="x", api=nobody)):
        with pytest.raises(CultureCareError, match=r"there is no token for http.*: run `hf auth login` or set HF_TOKEN"):
            call()
    assert hub.requests == []


def test_a_wrong_token_is_told_and_never_shown(hub: Hub, folder: Path) -> None:
    intruder = HfApi(endpoint=hub.url, token="hf_thisIsNoTokenOfAnybody")  # noqa: S106
    with pytest.raises(CultureCareError, match="does not accept the token: make a new one") as caught:
        publish_folder(folder, DATASET, "dataset", message="x", api=intruder)
    assert "thisIsNoToken" not in str(caught.value)


def test_a_token_in_the_hub_s_own_words_is_blotted_out(hub: Hub, owner: HfApi, folder: Path) -> None:
    hub.fail("POST /api/repos/create", status=422, headers={"X-Error-Message": f"what is {owner.token}?"})
    with pytest.raises(CultureCareError, match=r"refused it \(422: .*hf_…") as caught:
        publish_folder(folder, DATASET, "dataset", message="x", api=owner)
    assert str(owner.token) not in str(caught.value)


@pytest.mark.parametrize("kind", ["namespace", "repository", "read-only token"])
def test_who_may_not_write_is_told_what_would_do(hub: Hub, owner: HfApi, stranger: HfApi, folder: Path, kind: str) -> None:
    if kind != "namespace":
        hub.add_repo("datasets", DATASET)
    api = HfApi(endpoint=hub.url, token=hub.add_user("mira", orgs=("org",), writes=False)) if kind == "read-only token" else stranger
    assert api.token != owner.token
    with pytest.raises(CultureCareError, match=r"publishing to dataset org/things: the token may not .*or open a pull request") as caught:
        publish_folder(folder, DATASET, "dataset", message="x", api=api)
    assert "\n" not in str(caught.value)


def test_what_is_private_to_others_is_not_told_from_what_is_not_there(hub: Hub, stranger: HfApi) -> None:
    hub.add_repo("datasets", DATASET, private=True)
    for name in (DATASET, "org/nothing"):
        with pytest.raises(CultureCareError, match=rf"dataset {name} is not on http.*, or is private: check the name"):
            open_pull_request(name, "dataset", {"a": b"1"}, message="Add", api=stranger)


def test_a_revision_that_is_not_there_is_named(hub: Hub, owner: HfApi) -> None:
    hub.add_repo("datasets", DATASET)
    with pytest.raises(CultureCareError, match="there is no such revision of dataset org/things at refs/pr/9"):
        snapshot(f"hf://datasets/{DATASET}@refs/pr/9", ["*"], api=owner)


@pytest.mark.parametrize(
    ("pattern", "status", "headers", "words"),
    [
        ("GET /api/datasets", 429, {"RateLimit": '"api";r=0;t=55'}, "too many requests: wait 55 seconds and run the command again"),
        ("GET /api/datasets", 429, {"Retry-After": "7"}, "too many requests: wait 7 seconds"),
        ("GET /api/datasets", 429, {}, "too many requests: wait a few minutes"),
        ("GET /api/datasets", 503, {}, r"has a fault of its own \(503\): try again later"),
        ("GET /api/datasets", None, {}, "cannot be reached .*check the connection and HF_ENDPOINT"),
        ("POST /api/repos/create", None, {}, "cannot be reached .*check the connection and HF_ENDPOINT"),
        ("POST /api/datasets/org/things/commit", 412, {}, "somebody else committed at the same time: run the command again"),
        ("POST /api/datasets/org/things/commit", 409, {"X-Error-Message": "locked"}, r"conflicts with what is there \(locked\)"),
    ],
)
def test_each_fault_is_one_sentence_with_what_to_do(
    hub: Hub, owner: HfApi, folder: Path, pattern: str, status: int | None, headers: dict[str, str], words: str
) -> None:
    hub.fail(pattern, status=status, headers=headers)
    with pytest.raises(CultureCareError, match=f"publishing to dataset org/things: .*{words}") as caught:
        publish_folder(folder, DATASET, "dataset", message="x", api=owner)
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(".")


def test_a_commit_between_looking_and_committing_is_noticed(hub: Hub, owner: HfApi, folder: Path) -> None:
    repo = hub.add_repo("datasets", DATASET)
    hub.before("POST .*/preupload/", lambda: repo.add("main", dict(repo.history()[0].files), "in between", "org"))
    with pytest.raises(CultureCareError, match="somebody else committed at the same time"):
        publish_folder(folder, DATASET, "dataset", message="x", api=owner)
    assert [commit.message for commit in repo.history()] == ["in between", "initial commit"]


def test_where_nothing_listens_the_endpoint_is_named(folder: Path, hub: Hub) -> None:
    hub.close()
    with pytest.raises(CultureCareError, match=rf"{hub.url} cannot be reached"):
        publish_folder(folder, DATASET, "dataset", message="x", api=HfApi(endpoint=hub.url, token="hf_any"))  # noqa: S106


def test_a_card_that_the_hub_refuses_is_told(owner: HfApi, folder: Path) -> None:
    (folder / "README.md").write_text("---\nlanguage: [Deutsch]\n---\n# Things\n", encoding="utf-8")
    with pytest.raises(CultureCareError, match=r"Invalid metadata in README\.md.*must hold ISO 639 codes, not 'Deutsch'"):
        publish_folder(folder, DATASET, "dataset", message="x", api=owner)


def test_an_empty_folder_is_refused(tmp_path: Path, owner: HfApi) -> None:
    with pytest.raises(CultureCareError, match="holds no file to publish"):
        publish_folder(tmp_path, DATASET, "dataset", message="x", api=owner)


def test_endpoint_and_token_come_from_the_library_s_own_settings(hub: Hub, tmp_path: Path) -> None:
    variables = {**os.environ, **hub.environment(tmp_path, hub.add_user("mira"))}
    code = "from culturecare_harness.hub import whoami; print(whoami())"
    ran = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert ran.stdout == "mira\n"


def test_offline_mode_is_named(hub: Hub, tmp_path: Path) -> None:
    variables = {**os.environ, **hub.environment(tmp_path, hub.add_user("mira")), "HF_HUB_OFFLINE": "1"}
    code = "from culturecare_harness.hub import snapshot; snapshot('hf://datasets/org/things', ['*'])"
    ran = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
    assert "CultureCareError: downloading dataset org/things: HF_HUB_OFFLINE is set, which forbids it; unset it" in ran.stderr


# --- The stand-in itself ---------------------------------------------------------------------------------------------------------


def test_the_stand_in_lists_trees_as_the_hub_does(hub: Hub, owner: HfApi) -> None:
    hub.add_repo("datasets", DATASET, {"a/b/c.txt": b"1", "a/d.txt": b"2", "e.txt": b"3"})
    top = {entry.path for entry in owner.list_repo_tree(DATASET, repo_type="dataset", expand=True)}
    below = {entry.path for entry in owner.list_repo_tree(DATASET, "a", repo_type="dataset", recursive=True)}
    assert (top, below) == ({".gitattributes", "a", "e.txt"}, {"a/b", "a/b/c.txt", "a/d.txt"})
    assert [entry.path for entry in owner.get_paths_info(DATASET, ["a", "e.txt", "none"], repo_type="dataset")] == ["a", "e.txt"]


def test_the_stand_in_knows_a_pull_request_s_life(hub: Hub, owner: HfApi, stranger: HfApi) -> None:
    hub.add_repo("datasets", DATASET, {"a.txt": b"1"})
    draft = stranger.create_pull_request(DATASET, "Change a", repo_type="dataset")
    assert (draft.status, draft.git_reference) == ("draft", "refs/pr/1")
    add = [CommitOperationAdd("a.txt", b"2")]
    stranger.create_commit(DATASET, add, commit_message="a", repo_type="dataset", revision="refs/pr/1")
    assert stranger.change_discussion_status(DATASET, 1, "open", repo_type="dataset").new_status == "open"
    with pytest.raises(HfHubHTTPError, match="only those who may write"):
        stranger.merge_pull_request(DATASET, 1, repo_type="dataset")
    owner.merge_pull_request(DATASET, 1, repo_type="dataset")
    details = owner.get_discussion_details(DATASET, 1, repo_type="dataset")
    assert (details.status, details.merge_commit_oid) == ("merged", hub.repo("datasets", DATASET).refs["main"])
    assert hub.files("datasets", DATASET)["a.txt"] == b"2"


def test_the_stand_in_refuses_a_conflict(hub: Hub, owner: HfApi, stranger: HfApi) -> None:
    hub.add_repo("datasets", DATASET, {"a.txt": b"1"})
    for content in (b"2", b"3"):
        open_pull_request(DATASET, "dataset", {"a.txt": content}, message=f"Make it {content.decode()}", api=stranger)
    owner.merge_pull_request(DATASET, 1, repo_type="dataset")
    assert owner.get_discussion_details(DATASET, 2, repo_type="dataset").conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match=r"conflicts in a\.txt"):
        owner.merge_pull_request(DATASET, 2, repo_type="dataset")


def test_the_stand_in_answers_ranges(hub: Hub) -> None:
    hub.add_repo("datasets", DATASET, {"a.txt": b"0123456789"})
    for asked, status, body in (("bytes=2-4", 206, b"234"), ("bytes=-3", 206, b"789"), ("bytes=8-", 206, b"89"), ("bytes=10-", 416, b"")):
        response = hub.respond("GET", f"/datasets/{DATASET}/resolve/main/a.txt", {"Range": asked}, b"")
        assert response is not None
        assert (response.status, response.body) == (status, body)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("evaluation_framework: lm-eval", "evaluation_framework 'lm-eval' is not one of"),
        ("evaluation_framework: inspect-ai", r"tasks\[0\].field_spec is missing"),
    ],
)
def test_the_stand_in_validates_eval_yaml_at_push_time(hub: Hub, owner: HfApi, change: str, words: str) -> None:
    hub.add_repo("datasets", DATASET)
    content = f"name: x\ndescription: x\n{change}\ntasks:\n- id: x\n"
    with pytest.raises(BadRequestError, match=words):
        owner.create_commit(DATASET, [CommitOperationAdd("eval.yaml", content.encode())], commit_message="x", repo_type="dataset")


def test_the_stand_in_ranks_what_model_repositories_say(hub: Hub, stranger: HfApi) -> None:
    task = b"name: x\ndescription: x\nevaluation_framework: mteb\ntasks:\n- id: overall\n"
    hub.add_repo("datasets", DATASET, {"eval.yaml": task})
    for name, value in (("org/good", 4.5), ("org/better", 4.75)):
        hub.add_repo("models", name)
        entries = eval_result_entries_to_yaml([EvalResultEntry(dataset_id=DATASET, task_id="overall", value=value, notes="judge x")])
        files = {".eval_results/things.yaml": json.dumps(entries).encode()}
        open_pull_request(name, "model", files, message="Add results", api=stranger)
    hub.merge("models", "org/better", 1)
    ranked = stranger.get_dataset_leaderboard(DATASET)
    assert [(entry.rank, entry.model_id, entry.value, entry.pull_request) for entry in ranked] == [
        (1, "org/better", 4.75, None),
        (2, "org/good", 4.5, 1),
    ]
