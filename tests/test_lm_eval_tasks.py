"""The lm-eval tasks: what each task and group holds, what a document says, and that judging in the run equals judging afterwards."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lm_eval.tasks import TaskManager

from culturecare import RELEASE_VARIABLE, CultureCareError, cultures
from culturecare_harness.annotation.prompts import render as render_annotation
from culturecare_harness.cli import app
from culturecare_harness.lm_eval_hooks import (
    JudgeFilter,
    annotation_docs,
    annotation_metrics,
    choice_metrics,
    label_metrics,
    macro_f1,
    support_docs,
    support_metrics,
    understanding_docs,
)
from culturecare_harness.packaged import packaged_model
from culturecare_harness.records import Result, Verdict, read_records
from culturecare_harness.strategies import render, strategies
from tests.servers import ChatServer, chat, error, llama_server, openai_judge

if TYPE_CHECKING:
    from culturecare import Instance

TASKS = Path(__file__).resolve().parents[1] / "tasks"
SUPPORT = [f"culturecare_support_{name}" for name in strategies()]
LABELS = ("intensity", "signal", "strategy", "culture")
CHOICE = [f"culturecare_{label}_mc" for label in LABELS]
GENERATED = [f"culturecare_{label}_gen" for label in LABELS]
ANNOTATE = "culturecare_annotate"
GROUPS = {
    "culturecare_support": SUPPORT,
    "culturecare_understanding_mc": CHOICE,
    "culturecare_understanding_gen": GENERATED,
    "culturecare_understanding": CHOICE + GENERATED,
    "culturecare": SUPPORT + CHOICE + GENERATED,
    "culturecare_chat": SUPPORT + GENERATED,
}


@pytest.fixture(autouse=True)
def no_release_of_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RELEASE_VARIABLE, raising=False)


def load(*names: str, **metadata: object) -> dict[str, Any]:
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata)
    tasks: dict[str, Any] = manager.load(list(names))["tasks"]
    return tasks


def docs_of(task: Any) -> list[dict[str, Any]]:
    return list(task.test_docs())


# --- Tasks and groups --------------------------------------------------------------------------------------------------------------


def test_the_task_files_are_the_tasks_and_groups_and_no_others() -> None:
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    assert set(manager.all_tasks) == {*GROUPS, *SUPPORT, *CHOICE, *GENERATED, ANNOTATE}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_holds_its_tasks(group: str) -> None:
    assert set(load(group, split="sample", per_culture=1)) == set(GROUPS[group])


@pytest.mark.parametrize("name", [*SUPPORT, *CHOICE, *GENERATED, ANNOTATE])
def test_every_task_loads_and_its_documents_take_turns_over_the_cultures(name: str) -> None:
    [task] = load(name, split="sample", per_culture=2).values()
    docs = docs_of(task)
    every = list(cultures())
    assert sorted(doc["culture"] for doc in docs[: len(every)]) == every
    assert task.config.num_fewshot == 0
    assert task.config.metadata["version"] == 1


def test_a_strategy_without_a_task_file_does_not_exist() -> None:
    assert {path.stem for path in (TASKS / "support").glob("culturecare_support_*.yaml")} == set(SUPPORT)


# --- Support -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", strategies())
def test_a_support_document_is_asked_as_system_and_user_message(name: str, sample: list[Instance]) -> None:
    [task] = load(f"culturecare_support_{name}", split="sample", cultures="japanese", per_culture=1).values()
    task.build_all_requests(
        limit=1, apply_chat_template=True, fewshot_as_multiturn=True, chat_template=lambda messages, **_: json.dumps(messages)
    )
    instance = next(instance for instance in sample if instance.culture == "japanese")
    prompt = render(strategies()[name], instance)
    assert json.loads(task.instances[0].args[0]) == [
        {"role": "system", "content": prompt.system},
        {"role": "user", "content": prompt.user},
    ]


def test_the_generation_settings_are_the_paper_s() -> None:
    [task] = load("culturecare_support_standard", split="sample", per_culture=1).values()
    assert task.config.generation_kwargs == {"temperature": 0.7, "do_sample": True, "max_gen_toks": 1000, "until": []}


def test_without_a_system_role_the_user_message_says_it_all() -> None:
    selection: dict[str, Any] = {"split": "sample", "cultures": "german", "per_culture": 1}
    [doc] = support_docs(strategy="cga", **selection)["test"]
    [merged] = support_docs(strategy="cga", system_role=False, **selection)["test"]
    assert (merged["system"], merged["user"]) == ("", f"{doc['system']}\n\n{doc['user']}")


def test_metadata_chooses_what_is_asked() -> None:
    docs = support_docs(strategy="standard", split="train", cultures=["german", "indian"], per_culture=2)["test"]
    assert [doc["culture"] for doc in docs] == ["german", "indian"] * 2
    assert {doc["split"] for doc in docs} == {"train"}


def release_of(folder: Path, *texts: str) -> str:
    """A folder of released files with one Chinese row a text."""
    rows = [
        {
            "culture": "Chinese",
            "post_id": str(number),
            "post": {
                "text": text,
                "emotional_distress": [{"phrase": "so tired", "intensity": "high"}],
                "cultural_signals": [],
                "demographic_info": {},
            },
            "response": {"text": None, "emotional_support": [], "cultural_signals": [], "empathy_score": ""},
        }
        for number, text in enumerate(texts)
    ]
    (folder / "Chinese_data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(folder)


def test_own_posts_are_asked_about_from_their_file(tmp_path: Path) -> None:
    release_of(tmp_path, "I am so tired of it.")
    posts = str(tmp_path / "Chinese_data.jsonl")
    [doc] = support_docs(strategy="cga", posts=posts)["test"]
    assert (doc["instance_id"], doc["split"]) == ("chinese-0", "own")
    with pytest.raises(CultureCareError, match=r"--metadata: split 'own' needs a file of posts.*name it with the key 'posts'"):
        support_docs(strategy="cga", split="own")
    with pytest.raises(CultureCareError, match="split 'sample' does not go with the key 'posts'"):
        support_docs(strategy="cga", split="sample", posts=posts)


def test_posts_with_text_and_excerpts_are_never_mixed(tmp_path: Path) -> None:
    release = release_of(tmp_path, "I am so tired of it.", "https://example.org/a-post")
    with pytest.raises(CultureCareError, match="never share a score"):
        support_docs(strategy="standard", release=release, cultures="chinese")
    for text, excerpt in (("full", False), ("excerpt", True)):
        [doc] = support_docs(strategy="standard", release=release, cultures="chinese", text=text)["test"]
        assert (doc["split"], doc["excerpt"]) == ("test", excerpt)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"cultrues": "german"}, "unknown key 'cultrues'; did you mean 'cultures'?"),
        ({"judge_setings": []}, "unknown key 'judge_setings'; did you mean 'judge_settings'?"),
        ({"per_cultures": 1}, "unknown key 'per_cultures'; did you mean 'per_culture'?"),
        ({"cultures": "klingon"}, "unknown culture 'klingon'"),
        ({"split": "dev"}, "--metadata: split: "),
        ({"per_culture": 0}, "--metadata: per_culture: "),
        ({"judge": "nonesuch"}, "unknown judge 'nonesuch'"),
        ({"judge": "smollm2", "judge_settings": ["mode=guess"]}, "mode: "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_metadata_that_does_not_fit_is_refused_before_any_model_runs(metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(CultureCareError) as caught:
        support_docs(strategy="standard", **metadata)
    assert message in str(caught.value)


def test_arguments_of_the_model_among_the_metadata_are_passed_over() -> None:
    docs = support_docs(strategy="standard", per_culture=1, pretrained="gpt2", dtype="float32", device="cpu", revision="main")["test"]
    assert {doc["model"] for doc in docs} == {"gpt2"}


# --- The judge in the run ----------------------------------------------------------------------------------------------------------


def two_docs(**metadata: object) -> list[dict[str, Any]]:
    return list(support_docs(strategy="standard", split="sample", cultures="german,indian", per_culture=1, **metadata)["test"])


def test_without_a_judge_replies_are_described_alone() -> None:
    docs = two_docs()
    outcomes = JudgeFilter().apply([["That sounds hard."], [None]], docs)  # type: ignore[list-item]
    assert outcomes == [{"reply": "That sounds hard.", "verdicts": None}, {"reply": "", "verdicts": None}]
    assert support_metrics(docs[0], [outcomes[0]]) == {"same_language": 1.0, "reply_characters": 17.0}
    assert support_metrics(docs[1], [outcomes[1]]) == {"reply_characters": 0.0}


def test_several_replies_to_one_post_are_refused() -> None:
    with pytest.raises(CultureCareError, match="repeats"):
        JudgeFilter().apply([["one", "two"], ["three"]], two_docs())


def test_a_judge_gives_each_reply_its_verdicts_and_missing_ones_no_metric(tmp_path: Path) -> None:
    with ChatServer([chat("4"), error(500), chat("4")]) as server:
        openai_judge(tmp_path, server.url)
        docs = two_docs(judge=str(tmp_path / "local.yaml"))
        first, empty = JudgeFilter().apply([["Das klingt schwer."], [""]], docs)
    metrics = support_metrics(docs[0], [first])
    assert "helpfulness" not in metrics
    assert "emotional" not in metrics
    assert "overall" not in metrics
    assert (metrics["empathy"], metrics["cultural"], metrics["quality"]) == (4, 4, 4)
    assert metrics["coverage"] == pytest.approx(6 / 7)
    assert support_metrics(docs[1], [empty]) == {"coverage": 0.0, "reply_characters": 0.0}


# --- Understanding -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", LABELS)
def test_the_right_choice_of_a_question_is_the_annotated_label(label: str, sample: list[Instance]) -> None:
    annotated: list[tuple[str, str, str | None]] = []
    for i in sample:
        if label == "culture":
            annotated.append((i.id, "", cultures()[i.culture].name))
        elif label == "intensity":
            annotated += [(i.id, span.phrase, span.label) for span in i.post.emotional_distress]
        elif label == "signal":
            annotated += [(i.id, span.phrase, span.label) for span in (*i.post.cultural_signals, *i.response.cultural_signals)]
        else:
            annotated += [(i.id, span.phrase, span.label) for span in i.response.emotional_support]
    docs = understanding_docs(label=label, split="sample")["test"]
    asked = [(doc["instance_id"], doc["phrase"], doc["choices"][doc["gold"]]) for doc in docs]
    assert sorted(asked) == sorted((name, phrase, one) for name, phrase, one in annotated if one is not None)


def test_the_likeliest_choice_counts() -> None:
    doc = {"gold": 1}
    assert choice_metrics(doc, [(-3.0, False), (-1.0, False), (-2.0, False)]) == {"acc": 1.0, "macro_f1": (1, 1)}
    assert choice_metrics(doc, [(-1.0, True), (-3.0, False), (-2.0, False)]) == {"acc": 0.0, "macro_f1": (1, 0)}


@pytest.mark.parametrize(
    ("answer", "metrics"),
    [
        ("moderate", {"acc": 1.0, "macro_f1": (1, 1), "answered": 1.0}),
        ("It is Moderate.\nBecause of light and high.", {"acc": 1.0, "macro_f1": (1, 1), "answered": 1.0}),
        ("high", {"acc": 0.0, "macro_f1": (1, 2), "answered": 1.0}),
        ("light or moderate", {"acc": 0.0, "macro_f1": (1, -1), "answered": 0.0}),
        ("highly", {"acc": 0.0, "macro_f1": (1, -1), "answered": 0.0}),
        ("", {"acc": 0.0, "macro_f1": (1, -1), "answered": 0.0}),
    ],
)
def test_a_generated_label_counts_where_it_is_the_only_one_named(answer: str, metrics: dict[str, Any]) -> None:
    assert label_metrics({"gold": 1, "choices": ["light", "moderate", "high"]}, [answer]) == metrics


def test_macro_f1_is_the_mean_over_the_labels_that_occur() -> None:
    pairs = [(0, 0), (0, 1), (1, 1), (2, -1)]
    # Label 0: precision 1, recall 1/2; label 1: precision 1/2, recall 1; label 2: never found. -1 is no label.
    assert macro_f1(pairs) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert macro_f1([(3, 3)]) == 1


def test_macro_f1_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    pairs = [(0, 0), (1, 0), (2, 2), (2, 1), (1, 1), (0, 2), (2, 2)]
    true, predicted = zip(*pairs, strict=True)
    assert macro_f1(pairs) == pytest.approx(f1_score(true, predicted, average="macro"))


# --- Annotation --------------------------------------------------------------------------------------------------------------------


def test_an_annotation_is_asked_for_as_by_culturecare_annotate(sample: list[Instance]) -> None:
    [task] = load(ANNOTATE, split="sample", cultures="japanese", per_culture=1).values()
    task.build_all_requests(
        limit=1, apply_chat_template=True, fewshot_as_multiturn=True, chat_template=lambda messages, **_: json.dumps(messages)
    )
    instance = next(instance for instance in sample if instance.culture == "japanese")
    system, user = render_annotation("japanese", instance.post_text)
    assert json.loads(task.instances[0].args[0]) == [{"role": "system", "content": system}, {"role": "user", "content": user}]


def test_annotations_are_asked_for_posts_with_text_alone(tmp_path: Path) -> None:
    release = release_of(tmp_path, "https://example.org/a-post")
    with pytest.raises(
        CultureCareError, match="culturecare_annotate: the posts of split 'test' are known by their annotated phrases alone"
    ):
        annotation_docs(release=release, cultures="chinese")


def test_labels_that_a_model_gave_are_no_gold(tmp_path: Path) -> None:
    release_of(tmp_path, "I am so tired of it.", "And so tired of that.")
    file = tmp_path / "Chinese_data.jsonl"
    by_person, by_model = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
    lines = [json.dumps(by_person), json.dumps({**by_model, "annotator": "a-small-model"})]
    file.write_text("\n".join(lines), encoding="utf-8")
    refused = r"1 of 2 posts were annotated by a model \(a-small-model\).*correct .* the field annotator"
    with pytest.raises(CultureCareError, match=refused):
        annotation_docs(posts=str(file))
    for label in ("intensity", "signal", "strategy"):
        with pytest.raises(CultureCareError, match=refused):
            understanding_docs(label=label, posts=str(file))
    assert len(understanding_docs(label="culture", posts=str(file))["test"]) == 2, "the owner of the posts says their culture"
    assert len(support_docs(strategy="cga", posts=str(file))["test"]) == 2, "prompts may show what a model marked"
    file.with_name("corrected.jsonl").write_text("\n".join([json.dumps(by_person), json.dumps(by_model)]), encoding="utf-8")
    assert len(annotation_docs(posts=str(file.with_name("corrected.jsonl")))["test"]) == 2


def test_an_annotated_phrase_that_is_not_in_its_post_is_left_out_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    release = release_of(tmp_path, "I am SO tired of it.", "Nothing of the kind.")
    first, second = annotation_docs(release=release, cultures="chinese")["test"]
    assert first["emotional_distress"] == [{"start": 5, "end": 13, "label": "high"}]
    assert second["emotional_distress"] == []
    assert "1 of 2 annotated phrases do not stand in their posts" in caplog.text


def written_annotation(doc: dict[str, Any]) -> str:
    """The annotators' own spans as a model would write them."""
    spans = {
        kind: [{"phrase": doc["post"][span["start"] : span["end"]], label: span["label"]} for span in doc[kind]]
        for kind, label in (("emotional_distress", "intensity"), ("cultural_signals", "type"))
    }
    return json.dumps(spans, ensure_ascii=False)


def aggregated(of_docs: list[dict[str, Any]]) -> dict[str, float]:
    """The metrics as lm-eval aggregates them by the task's file."""
    [task] = load(ANNOTATE, split="sample", per_culture=1).values()
    names = {name for metrics in of_docs for name in metrics}
    return {name: task.aggregation()[name]([metrics[name] for metrics in of_docs if name in metrics]) for name in names}


def test_the_annotators_own_spans_score_one_on_every_metric() -> None:
    docs = annotation_docs(split="sample")["test"]
    [task] = load(ANNOTATE, split="sample", per_culture=1).values()
    scores = aggregated([annotation_metrics(doc, [written_annotation(doc)]) for doc in docs])
    assert scores == pytest.approx(dict.fromkeys(task.aggregation(), 1.0))


def test_an_answer_that_is_no_annotation_misses_every_span() -> None:
    first, second = annotation_docs(split="sample", cultures="german", per_culture=2)["test"]
    scores = aggregated([annotation_metrics(first, [written_annotation(first)]), annotation_metrics(second, ["I am sorry."])])
    sizes = [len(doc["emotional_distress"]) + len(doc["cultural_signals"]) for doc in (first, second)]
    assert scores["answered"] == 0.5
    assert scores["exact_f1"] == scores["partial_f1"] == pytest.approx(2 * sizes[0] / (2 * sizes[0] + sizes[1]))
    assert scores["located"] == 1
    assert set(annotation_metrics(second, ["I am sorry."])).isdisjoint({"located", "distress_label_f1", "signals_label_f1"})


def test_the_two_kinds_are_scored_apart_and_together() -> None:
    doc = {
        "post": "I am so tired of it, before the feast.",
        "emotional_distress": [{"start": 5, "end": 13, "label": "high"}],
        "cultural_signals": [{"start": 21, "end": 37, "label": "Values"}],
    }
    said = {
        "emotional_distress": [{"phrase": "so tired of it", "intensity": "light"}, {"phrase": "so weary", "intensity": "high"}],
        "cultural_signals": [{"phrase": "before the feast", "type": "Concepts"}],
    }
    scores = aggregated([annotation_metrics(doc, [json.dumps(said)])])
    assert scores == pytest.approx(
        {
            "answered": 1,
            "located": 2 / 3,
            "distress_exact_f1": 0,
            "distress_strict_f1": 0,
            "distress_partial_f1": 0.5,
            "distress_label_f1": 0,
            "signals_exact_f1": 1,
            "signals_strict_f1": 0,
            "signals_partial_f1": 1,
            "signals_label_f1": 0,
            "exact_f1": 0.5,
            "strict_f1": 0,
            "partial_f1": 0.75,
        }
    )


# --- With a real model -------------------------------------------------------------------------------------------------------------


def lm_eval(out: Path, tasks: str, model: str, model_args: str, metadata: dict[str, Any], limit: int, max_gen_toks: int) -> dict[str, Any]:
    """Runs lm-eval's own command line and returns its results file."""
    command = [sys.executable, "-m", "lm_eval", "run", "--model", model, "--model_args", model_args, "--tasks", tasks]
    command += ["--include_path", str(TASKS), "--metadata", json.dumps(metadata), "--limit", str(limit), "--apply_chat_template"]
    command += ["--gen_kwargs", f"max_gen_toks={max_gen_toks}", "--log_samples", "--output_path", str(out)]
    environment = {**os.environ, "CULTURECARE_STORE": str(out / "store.sqlite3"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]
    [path] = out.rglob("results_*.json")
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["results"]
    return results


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Folder and results of one lm-eval run with the judge in it."""
    out = tmp_path_factory.mktemp("lm_eval")
    tasks = "culturecare_support_standard,culturecare_understanding"
    metadata = {"split": "sample", "cultures": "american,german", "per_culture": 1, "judge": "smollm2"}
    return out, lm_eval(out, tasks, "hf", f"pretrained={packaged_model()},dtype=float32", metadata, limit=2, max_gen_toks=16)


@pytest.mark.slow
def test_judging_in_the_run_equals_judging_what_it_saved(saved: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, results = saved
    with pytest.raises(SystemExit) as ended:
        app(["judge", str(folder), "--judge", "smollm2", "--out", str(tmp_path / "afterwards")])
    assert not ended.value.code
    [samples] = folder.rglob("samples_culturecare_support_standard_*.jsonl")
    lines = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    outcomes = [ast.literal_eval(line["filtered_resps"][0]) for line in lines]  # lm-eval writes a dictionary as Python would.
    in_run = [Verdict.model_validate(verdict) for outcome in outcomes for verdict in outcome["verdicts"]]
    [verdicts_path] = (tmp_path / "afterwards").glob("*.verdicts.jsonl")
    assert read_records(verdicts_path, Verdict) == in_run
    [result_path] = (tmp_path / "afterwards").glob("*.result.json")
    result = Result.model_validate_json(result_path.read_text(encoding="utf-8"))
    of_run = results["culturecare_support_standard"]
    afterwards = {score.metric: score.mean for score in result.scores if score.culture == "all" and score.mean is not None}
    assert {metric: of_run[f"{metric},judge"] for metric in afterwards} == pytest.approx(afterwards, abs=1e-12)
    assert of_run["coverage,judge"] == result.coverage


@pytest.mark.slow
@pytest.mark.parametrize("task", [*CHOICE, *GENERATED])
def test_understanding_tasks_run(saved: tuple[Path, dict[str, Any]], task: str) -> None:
    of_task = saved[1][task]
    for metric in ("acc", "macro_f1", *(["answered"] if task in GENERATED else [])):
        assert 0 <= of_task[f"{metric},none"] <= 1


@pytest.mark.slow
def test_groups_show_the_mean_of_their_tasks(saved: tuple[Path, dict[str, Any]]) -> None:
    results = saved[1]
    of_tasks = [results[task]["acc,none"] for task in CHOICE]
    assert results["culturecare_understanding_mc"]["acc,none"] == pytest.approx(sum(of_tasks) / len(of_tasks))


@pytest.mark.slow
def test_the_annotation_task_runs_and_is_honest_about_a_model_that_cannot(tmp_path: Path) -> None:
    metadata = {"split": "sample", "cultures": "american", "per_culture": 2}
    results = lm_eval(tmp_path, ANNOTATE, "hf", f"pretrained={packaged_model()},dtype=float32", metadata, limit=2, max_gen_toks=32)
    scores = {name.removesuffix(",none"): value for name, value in results[ANNOTATE].items() if name.endswith(",none")}
    assert {"exact_f1", "strict_f1", "partial_f1", "answered"} <= set(scores)
    assert scores["answered"] == scores["partial_f1"] == 0


@pytest.mark.slow
def test_support_and_generated_understanding_run_against_a_chat_server(tmp_path: Path) -> None:
    with llama_server() as address:
        model_args = f"model=smollm2,base_url={address}/v1/chat/completions,num_concurrent=1,max_retries=1"
        metadata = {"split": "sample", "cultures": "american", "per_culture": 1}
        results = lm_eval(tmp_path, "culturecare_chat", "local-chat-completions", model_args, metadata, limit=1, max_gen_toks=4)
    assert {*SUPPORT, *GENERATED} <= set(results)
    for task in SUPPORT:
        assert results[task]["reply_characters,judge"] > 0
    [samples] = tmp_path.rglob("samples_culturecare_support_cga_*.jsonl")
    assert json.loads(samples.read_text(encoding="utf-8"))["doc"]["model"] == "smollm2"
