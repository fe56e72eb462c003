"""Publishing the dataset: what is written, what never is, and that `load_dataset` reads it back from the Hub."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest
import yaml
from huggingface_hub import DatasetCard, HfApi

from culturecare import CultureCareError, Instance, cultures, features, released_cultures
from culturecare_harness.publish import POLICY, SCORED, eval_task_id, publish_dataset
from culturecare_harness.rubrics import rubrics
from tests.hub import Hub, card_errors, eval_yaml_errors, serve_hub

if TYPE_CHECKING:
    from collections.abc import Iterator

REPO = "org/culturecare"
CONFIGS = ["all", *cultures(), "inspect"]


def silent(_: str) -> None:
    """Takes what is said."""


def written(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()
    }


def released_row(number: int, culture: str, text: str) -> dict[str, Any]:
    """A row in the released format whose words are this test's own."""
    return {
        "culture": culture,
        "post_id": str(number),
        "post": {
            "text": text,
            "emotional_distress": [{"phrase": "an invented phrase", "intensity": "high"}],
            "cultural_signals": [{"phrase": "another invented phrase", "type": "Norms and Morals"}],
            "demographic_info": {"age": "30"},
        },
        "response": {
            "emotional_support": [{"phrase": "an invented answer", "strategy": ""}],
            "cultural_signals": [],
            "empathy_score": "3",
        },
    }


def write_release(folder: Path, text: str = "https://example.org/1") -> Path:
    folder.mkdir()
    for key in released_cultures():
        name = cultures()[key].name
        rows = [released_row(1, name, text), released_row(2, name, "https://example.org/2")]
        (folder / f"{name}_data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture
def invented_release(tmp_path: Path) -> Path:
    return write_release(tmp_path / "release")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is published by default."""
    folder = tmp_path_factory.mktemp("published")
    publish_dataset(REPO, out=folder, dry_run=True, say=silent)
    return folder


@pytest.fixture(scope="module")
def published_with_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is published with an invented release."""
    release = write_release(tmp_path_factory.mktemp("invented") / "release")
    folder = tmp_path_factory.mktemp("published-with-release")
    publish_dataset(REPO, release, include_release=True, out=folder, dry_run=True, say=silent)
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in Hub that keeps Parquet in LFS, as the real one does."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with serve_hub((".parquet",)) as server:
        yield server


@pytest.fixture
def owner(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.add_user("mira", orgs=("org",)))


# --- What is written -------------------------------------------------------------------------------------------------------------


def test_the_synthetic_splits_of_every_culture_are_written(published: Path) -> None:
    parquet = {name for name in written(published) if name.endswith(".parquet")}
    assert parquet == {f"data/{key}/{split}.parquet" for key in cultures() for split in ("sample", "train")} | {"inspect/sample.parquet"}
    assert set(written(published)) - parquet == {"README.md", "eval.yaml", "LICENSE"}


def test_the_licence_speaks_of_the_splits_that_are_there(published: Path, invented_release: Path, tmp_path: Path) -> None:
    without = (published / "LICENSE").read_text(encoding="utf-8")
    assert "CC BY 4.0" in without
    assert "Split test" not in without
    publish_dataset(REPO, invented_release, include_release=True, out=tmp_path / "with", dry_run=True, say=silent)
    both = (tmp_path / "with" / "LICENSE").read_text(encoding="utf-8")
    assert both.startswith("Split test")
    assert "No model may be trained on them" in both
    assert both.endswith(without)


def test_a_name_that_is_no_repository_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(CultureCareError, match="expected ORG/NAME"):
        publish_dataset("bad name/..", out=tmp_path / "out", dry_run=True, say=silent)
    assert not (tmp_path / "out").exists()


def test_writing_again_gives_the_same_bytes(published: Path, tmp_path: Path) -> None:
    publish_dataset(REPO, out=tmp_path / "again", dry_run=True, say=silent)
    assert written(tmp_path / "again") == written(published)
    publish_dataset(REPO, out=tmp_path / "again", dry_run=True, say=silent)
    assert written(tmp_path / "again") == written(published)


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(published: Path, tmp_path: Path) -> None:
    code = "import sys, pathlib; from culturecare_harness.publish import publish_dataset as p; p(*sys.argv[1:2], "
    code += "out=pathlib.Path(sys.argv[2]), dry_run=True, say=print)"
    variables = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, REPO, str(tmp_path / "other")], env=variables, check=True, capture_output=True)
    assert written(tmp_path / "other") == written(published)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(CultureCareError, match=r"holds thesis\.txt, which is no part of the dataset"):
        publish_dataset(REPO, out=tmp_path, dry_run=True, say=silent)
    assert written(tmp_path).keys() == {"thesis.txt"}


def test_a_file_in_the_folders_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(CultureCareError, match="out: is a file, but --out must name a folder"):
        publish_dataset(REPO, out=tmp_path / "out", dry_run=True, say=silent)
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


def test_a_dry_run_needs_a_folder() -> None:
    with pytest.raises(CultureCareError, match="name the folder with --out"):
        publish_dataset(REPO, dry_run=True, say=silent)


def test_what_was_written_with_the_release_goes_when_it_is_written_without(invented_release: Path, tmp_path: Path, published: Path) -> None:
    publish_dataset(REPO, invented_release, include_release=True, out=tmp_path / "out", dry_run=True, say=silent)
    assert "data/chinese/test.parquet" in written(tmp_path / "out")
    publish_dataset(REPO, invented_release, out=tmp_path / "out", dry_run=True, say=silent)
    assert written(tmp_path / "out") == written(published)


# --- What may be published -------------------------------------------------------------------------------------------------------


def test_the_release_is_included_on_request_alone_and_with_its_policy(invented_release: Path, tmp_path: Path) -> None:
    said: list[str] = []
    publish_dataset(REPO, invented_release, out=tmp_path / "without", dry_run=True, say=said.append)
    assert not [name for name in written(tmp_path / "without") if "test" in name]
    assert POLICY not in said
    assert any("--include-release" in sentence for sentence in said)
    publish_dataset(REPO, invented_release, include_release=True, out=tmp_path / "with", dry_run=True, say=said.append)
    assert {f"data/{key}/test.parquet" for key in released_cultures()} <= set(written(tmp_path / "with"))
    assert POLICY in said


def test_without_the_release_its_words_are_nowhere(invented_release: Path, tmp_path: Path) -> None:
    publish_dataset(REPO, invented_release, out=tmp_path / "out", dry_run=True, say=silent)
    for path in (tmp_path / "out").rglob("*.*"):
        assert b"invented" not in path.read_bytes()


def test_the_release_is_needed_to_include_it(tmp_path: Path) -> None:
    with pytest.raises(CultureCareError, match="needs the released annotations"):
        publish_dataset(REPO, include_release=True, out=tmp_path / "out", dry_run=True, say=silent)


@pytest.mark.parametrize("where", ["post", "response"])
def test_hydrated_text_is_never_published(tmp_path: Path, where: str) -> None:
    release = write_release(tmp_path / "release", "The text of a post." if where == "post" else "https://example.org/1")
    if where == "response":
        path = release / "German_data.jsonl"
        row = released_row(1, "German", "https://example.org/1")
        row["response"]["text"] = "The text of a reply."
        path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(CultureCareError, match=r"rows hold the text of a post or reply, such as \w+-1; Reddit's terms") as caught:
        publish_dataset(REPO, release, include_release=True, out=tmp_path / "out", dry_run=True, say=silent)
    assert "The text of" not in str(caught.value)
    assert not (tmp_path / "out").exists()


# --- The card --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["published", "published_with_release"])
def test_the_card_s_front_matter_is_valid(name: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(name)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert card_errors(text) == []
    card = DatasetCard.load(folder / "README.md")
    data = card.data.to_dict()
    assert [config["config_name"] for config in data["configs"]] == CONFIGS == [info["config_name"] for info in data["dataset_info"]]
    assert [config["config_name"] for config in data["configs"] if config.get("default")] == ["all"]
    for config in data["configs"]:
        for files in config["data_files"]:
            assert all((folder / path).is_file() for path in files["path"])
    assert "&id" not in text.split("---")[1]


def test_the_synthetic_dataset_is_open_and_the_released_one_asks_first(published: Path, published_with_release: Path) -> None:
    plain, released = (DatasetCard.load(folder / "README.md").data.to_dict() for folder in (published, published_with_release))
    assert plain["license"] == "cc-by-4.0"
    assert not [field for field in plain if field.startswith("extra_gated")]
    assert (released["license"], bool(released["license_name"])) == ("other", True)
    assert released["extra_gated_fields"]["I will not train a model on split test"] == "checkbox"


def test_declared_languages_and_counts_are_those_of_the_data(published: Path, sample: list[Instance]) -> None:
    data = DatasetCard.load(published / "README.md").data.to_dict()
    assert data["language"] == sorted({str(instance.language) for instance in sample})
    [info] = [info for info in data["dataset_info"] if info["config_name"] == "all"]
    assert {split["name"]: split["num_examples"] for split in info["splits"]} == {"sample": 56, "train": 28}


@pytest.mark.parametrize(
    ("name", "there", "not_there"),
    [
        ("published", "Split `test` is not in this dataset", "All three splits are in this dataset"),
        ("published_with_release", "All three splits are in this dataset", "Split `test` is not in this dataset"),
    ],
)
def test_the_published_text_is_true_of_what_is_published(name: str, there: str, not_there: str, request: pytest.FixtureRequest) -> None:
    text = DatasetCard.load(request.getfixturevalue(name) / "README.md").text
    assert there in text
    assert not_there not in text
    assert f'load_dataset("{REPO}", "chinese", split="sample")' in text
    assert 'load_dataset("culturecare"' not in text
    assert "<!--" not in text
    assert "-->" not in text
    assert "ORG/culturecare" not in text
    for heading in ("Content warning", "## Schema", "## Uses", "**Not for**", "## Licences", "## Citation", "**What is not released.**"):
        assert heading in text


def test_the_card_in_the_repository_is_true_there() -> None:
    text = (Path(__file__).parent.parent / "dataset_card.md").read_text(encoding="utf-8")
    assert card_errors(text) == []
    seen = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    assert "ORG/" not in seen
    assert 'load_dataset("culturecare", "chinese")' in seen


# --- eval.yaml -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "splits"), [("published", ["sample"]), ("published_with_release", ["test", "sample"])])
def test_eval_yaml_is_valid_and_grades_by_the_rubric(name: str, splits: list[str], request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(name)
    text = (folder / "eval.yaml").read_text(encoding="utf-8")
    assert eval_yaml_errors(text) == []
    assert f"inspect eval hf/{REPO}/sample_overall" in text
    tasks = yaml.safe_load(text)["tasks"]
    assert [task["id"] for task in tasks] == [f"{split}_{metric}" for split in splits for metric in SCORED]
    assert {task["split"] for task in tasks} == set(splits)
    dimensions = {dimension.name: dimension for dimension in rubrics()["culturecare"].dimensions}
    for task in tasks:
        names = []
        for scorer in task["scorers"]:
            prompt = scorer["args"]["template"].format(post="A post.", answer="A reply with {braces}.")
            [dimension] = [known for known in dimensions.values() if f"Now grade {known.name}." in prompt]
            assert all(f"{grade} = {anchor}" in prompt for grade, anchor in dimension.anchors.items())
            assert "A post." in prompt
            assert "A reply with {braces}." in prompt
            matched = re.search(scorer["args"]["grade_pattern"], "GRADE: 1 would be harsh.\nGRADE: 4")
            assert matched is not None
            assert matched[1] == "4"
            names.append(dimension.group)
        assert set(names) == set(SCORED[task["id"].partition("_")[2]])


def test_a_score_has_one_name_in_eval_yaml() -> None:
    assert eval_task_id("sample", "overall") == "sample_overall"
    with pytest.raises(CultureCareError, match=r"'fluency' is no score of eval\.yaml: choose from overall"):
        eval_task_id("sample", "fluency")


# --- On the Hub ------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_publishing_twice_makes_one_commit(hub: Hub, owner: HfApi, published: Path) -> None:
    first = publish_dataset(REPO, say=silent, api=owner)
    assert (first.changed, first.url) == (True, f"{hub.url}/datasets/{REPO}")
    assert {
        name: hashlib.sha256(content).hexdigest() for name, content in hub.files("datasets", REPO).items() if name[0] != "."
    } == written(published)
    assert not publish_dataset(REPO, say=silent, api=owner).changed
    assert [commit.message for commit in hub.repo("datasets", REPO).history()] == ["CultureCare 0.1.0: sample, train", "initial commit"]


@pytest.mark.slow
def test_a_pull_request_is_opened_once_and_its_merge_is_the_publication(hub: Hub, owner: HfApi, published: Path) -> None:
    hub.add_repo("datasets", REPO)
    stranger = HfApi(endpoint=hub.url, token=hub.add_user("otto"))
    first = publish_dataset(REPO, pull_request=True, say=silent, api=stranger)
    again = publish_dataset(REPO, pull_request=True, say=silent, api=stranger)
    assert (first.pull_request, first.changed, again.url, again.changed) == (True, True, first.url, False)
    hub.merge("datasets", REPO, 1)
    assert set(written(published)) <= set(hub.files("datasets", REPO))
    assert not publish_dataset(REPO, say=silent, api=owner).changed


def test_parquet_files_of_an_earlier_publication_are_deleted(hub: Hub, owner: HfApi) -> None:
    hub.add_repo("datasets", REPO, {"data/klingon/sample.parquet": b"old", "notes.md": b"by hand"})
    publish_dataset(REPO, say=silent, api=owner)
    files = hub.files("datasets", REPO)
    assert "data/klingon/sample.parquet" not in files
    assert files["notes.md"] == b"by hand"


def test_the_release_is_only_published_behind_access_requests(hub: Hub, owner: HfApi, invented_release: Path) -> None:
    publish_dataset(REPO, invented_release, include_release=True, say=silent, api=owner)
    assert hub.repo("datasets", REPO).gated


def test_who_may_not_write_is_told(hub: Hub) -> None:
    hub.add_repo("datasets", REPO)
    stranger = HfApi(endpoint=hub.url, token=hub.add_user("otto"))
    with pytest.raises(CultureCareError, match=r"publishing to dataset org/culturecare: the token may not .*or open a pull request"):
        publish_dataset(REPO, say=silent, api=stranger)


# --- Reading it back -------------------------------------------------------------------------------------------------------------

READ = """
import json, sys
from datasets import load_dataset

path, with_streaming = sys.argv[1], sys.argv[2] == "streaming"
seen = {}
for config in sys.argv[3].split(","):
    whole = load_dataset(path, config)
    seen[config] = {split: [row for row in rows] for split, rows in whole.items()}
    if with_streaming:
        streamed = load_dataset(path, config, streaming=True)
        assert {split: list(rows) for split, rows in streamed.items()} == seen[config], config
        assert {split: rows.features for split, rows in streamed.items()} == {split: rows.features for split, rows in whole.items()}
    if config not in ("inspect",):
        from culturecare import features
        assert all(rows.features == features() for rows in whole.values()), config
assert set(load_dataset(path)) == {"sample", "train"}
print(json.dumps(seen))
"""


def read_back(path: str, configs: list[str], variables: dict[str, str], *, streaming: bool) -> dict[str, dict[str, list[dict[str, Any]]]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    ran = subprocess.run(
        [sys.executable, "-c", READ, path, "streaming" if streaming else "whole", ",".join(configs)],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    seen: dict[str, dict[str, list[dict[str, Any]]]] = json.loads(ran.stdout)
    return seen


def as_records(rows: list[dict[str, Any]]) -> list[Instance]:
    """Instances from rows whose labels are numbers, by the names that the features give them."""

    def named(value: Any, feature: Any) -> Any:
        if isinstance(feature, dict):
            return {name: named(value[name], inner) for name, inner in feature.items()}
        if hasattr(feature, "int2str"):
            return None if value is None else feature.int2str(value)
        if hasattr(feature, "feature"):
            return [named(item, feature.feature) for item in value]
        return value

    return [Instance.model_validate(named(row, dict(features()))) for row in rows]


@pytest.mark.slow
def test_load_dataset_reads_every_config_and_split_of_the_folder(published: Path, tmp_path: Path, sample: list[Instance]) -> None:
    seen = read_back(str(published), CONFIGS, {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}, streaming=False)
    assert as_records(seen["all"]["sample"]) == sample
    for key in cultures():
        assert as_records(seen[key]["sample"]) == [instance for instance in sample if instance.culture == key]
        assert len(seen[key]["train"]) == 4
    assert [row["id"] for row in seen["inspect"]["sample"]] == [instance.id for instance in sample]


@pytest.mark.slow
def test_load_dataset_reads_and_streams_what_is_on_the_hub(hub: Hub, owner: HfApi, tmp_path: Path, sample: list[Instance]) -> None:
    publish_dataset(REPO, say=silent, api=owner)
    seen = read_back(REPO, ["chinese", "inspect"], hub.environment(tmp_path / "home"), streaming=True)
    assert as_records(seen["chinese"]["sample"]) == [instance for instance in sample if instance.culture == "chinese"]
    assert len(seen["inspect"]["sample"]) == len(sample)
    assert any("/resolve/" in request and request.endswith("data/chinese/sample.parquet") for request in hub.requests)


@pytest.mark.slow
def test_the_released_annotations_survive_publication(release: Path, tmp_path: Path) -> None:
    import culturecare

    publish_dataset(REPO, release, include_release=True, out=tmp_path / "out", dry_run=True, say=silent)
    from datasets import load_dataset

    rows = load_dataset(str(tmp_path / "out"), "all", split="test", cache_dir=str(tmp_path / "cache"))
    expected = culturecare.load_instances("test", None, release)
    # Compared by digest: a failure must not print what may not be shown.
    digests = [[hashlib.sha256(i.model_dump_json().encode()).hexdigest() for i in found] for found in (as_records(list(rows)), expected)]
    assert digests[0] == digests[1]
    text = "\n".join(path.read_text(encoding="utf-8") for name in ("README.md", "eval.yaml") for path in [tmp_path / "out" / name])
    assert not [i.id for i in expected for span in i.post.emotional_distress if len(span.phrase) > 25 and span.phrase in text]
