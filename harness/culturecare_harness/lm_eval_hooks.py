"""What the task files in `tasks/` call: documents, the judge as a filter, and metrics. No logic of their own stands here.

lm-eval hands its `--metadata` to `support_docs`, `understanding_docs` and `annotation_docs`. The keys:

- `split`: `test` (released annotations), `sample`, `train` or `own`; by default `own` where `posts` is given, `test` where `release` or
  `CULTURECARE_RELEASE` is, else `sample`.
- `posts`: file of own posts in the released format, for split `own`.
- `cultures`: one, several with commas or as a list, or `all`.
- `release`: folder of the released files.
- `text`: `full`, `excerpt`, or `auto`, which takes whichever the split has and refuses a mixture.
- `per_culture`: at most so many instances of each culture.
- `judge`: name or file of a judge, for the support tasks; without one, replies are generated and described, not judged.
- `judge_settings`: list of `field=value` that change the judge's file.
- `system_role`: false for a model whose chat template knows no system message; what it would say then opens the user message.
"""

from __future__ import annotations

import difflib
import functools
import json
import logging
import os
import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lm_eval.api.filter import Filter

import culturecare
from culturecare import RELEASE_VARIABLE, CultureCareError
from culturecare_harness.annotation import prompts as annotation_prompts
from culturecare_harness.annotation.answers import read_answer
from culturecare_harness.annotation.locating import locate
from culturecare_harness.annotation.scoring import Credit, Stretch, compare, label_macro_f1, micro_f1, share
from culturecare_harness.backends import open_backend
from culturecare_harness.dataset import Selection, interleave, select_instances
from culturecare_harness.judge import JudgeItem, judge_replies
from culturecare_harness.judges import select_judge
from culturecare_harness.records import Reply, Verdict, reply_id
from culturecare_harness.scoring import reply_metrics
from culturecare_harness.store import open_store
from culturecare_harness.strategies import render, select_strategies
from culturecare_harness.understanding import TASKS, questions, read_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import datasets

    from culturecare import DistressSpan, Instance, SignalSpan
    from culturecare_harness.backends import Backend
    from culturecare_harness.judges import JudgeFile

__all__ = [
    "JudgeFilter",
    "annotation_docs",
    "annotation_metrics",
    "choice_metrics",
    "label_metrics",
    "macro_f1",
    "micro_f1",
    "pooled_label_f1",
    "reply_of_doc",
    "share",
    "support_docs",
    "support_metrics",
    "understanding_docs",
]

_METADATA = (*Selection.model_fields, "posts", "judge", "judge_settings", "system_role")
_log = logging.getLogger(__name__)


def support_docs(*, strategy: str, **metadata: Any) -> dict[str, datasets.Dataset]:
    """Documents of a support task: one prompt an instance, cultures in turn, so that a limit takes from all of them.

    Args:
        strategy: Name of the strategy, from the task's file.
        **metadata: lm-eval's metadata; what is not listed above belongs to the model and is passed over.

    Raises:
        CultureCareError: A value does not fit, or full texts and excerpts are mixed.
    """
    selection = _selection(metadata)
    instances = interleave(select_instances(selection))
    [chosen] = select_strategies(strategy)
    judge = _judge_column(metadata)
    revision = culturecare.dataset_revision(selection.split, selection.release)
    docs = []
    for instance in instances:
        prompt = render(chosen, instance)
        system, user = prompt.system, prompt.user
        if metadata.get("system_role", True) is False:
            system, user = "", f"{system}\n\n{user}"
        docs.append(
            {
                **prompt.model_dump(exclude={"schema_version", "system", "user"}),
                "system": system,
                "user": user,
                "post": instance.post_text,
                "split": selection.split,
                "dataset_revision": revision,
                "model": _model_name(metadata),
                "judge": judge,
            }
        )
    return _dataset(docs)


def understanding_docs(*, label: str, **metadata: Any) -> dict[str, datasets.Dataset]:
    """Documents of an understanding task: one question an annotated span (or post), cultures in turn.

    Args:
        label: One of `intensity`, `signal`, `strategy`, `culture`, from the task's file.
        **metadata: As for `support_docs`.

    Raises:
        CultureCareError: As for `support_docs`, or the labels came from a model.
    """
    selection = _selection(metadata)
    # A post's culture is said by its owner; every other label is an annotator's.
    instances = select_instances(selection) if label == "culture" else _annotated_by_people(selection)
    asked = questions(TASKS[label], instances, selection.split)
    random.Random(0).shuffle(asked)  # noqa: S311 - an order, not a secret. A limit then takes from many posts.
    return _dataset([question.model_dump() for question in interleave(asked)])


def annotation_docs(**metadata: Any) -> dict[str, datasets.Dataset]:
    """Documents of the annotation task: one post with the spans that its annotators marked, cultures in turn.

    An annotated phrase that does not stand in its post has no boundaries to be found; it is left out, and how many are is logged.

    Args:
        **metadata: As for `support_docs`.

    Raises:
        CultureCareError: As for `support_docs`, or posts are known by their annotated phrases alone or were annotated by a model.
    """
    selection = _selection(metadata)
    instances = interleave(_annotated_by_people(selection))
    if instances[0].excerpt:
        raise CultureCareError(
            f"culturecare_annotate: the posts of split {selection.split!r} are known by their annotated phrases alone, and an excerpt is "
            "its own annotation: give files with the posts' texts, or choose split 'sample'"
        )
    revision = culturecare.dataset_revision(selection.split, selection.release)
    docs, total = [], 0
    for instance in instances:
        system, user = annotation_prompts.render(instance.culture, instance.post_text)
        if metadata.get("system_role", True) is False:
            system, user = "", f"{system}\n\n{user}"
        post = instance.post
        total += len(post.emotional_distress) + len(post.cultural_signals)
        docs.append(
            {
                **instance.model_dump(include={"culture", "language"}),
                "instance_id": instance.id,
                "prompt_hash": annotation_prompts.pack().hash,
                "system": system,
                "user": user,
                "post": instance.post_text,
                "emotional_distress": _stretches(post.emotional_distress, instance.post_text),
                "cultural_signals": _stretches(post.cultural_signals, instance.post_text),
                "split": selection.split,
                "dataset_revision": revision,
                "model": _model_name(metadata),
            }
        )
    if missing := total - sum(len(doc["emotional_distress"]) + len(doc["cultural_signals"]) for doc in docs):
        _log.warning("%d of %d annotated phrases do not stand in their posts and are left out.", missing, total)
    return _dataset(docs)


def _annotated_by_people(selection: Selection) -> tuple[Instance, ...]:
    """The chosen instances, to score a model by; what a model marked and nobody corrected is no gold.

    Raises:
        CultureCareError: A model annotated some of them.
    """
    instances = select_instances(selection)
    annotators = Counter(instance.annotator for instance in instances if instance.annotator is not None)
    if annotators:
        where = f"split {selection.split!r}" if selection.release is None else str(selection.release)
        raise CultureCareError(
            f"{where}: {annotators.total()} of {len(instances)} posts were annotated by a model ({', '.join(sorted(annotators))}), and "
            "models are scored by people's annotations alone: correct the file and take the field annotator out, or give one that people "
            "annotated"
        )
    return instances


def _stretches(spans: Sequence[DistressSpan | SignalSpan], text: str) -> list[dict[str, Any]]:
    found = [(locate(span.phrase, text), span.label) for span in spans]
    return [{"start": stretch[0], "end": stretch[1], "label": label} for stretch, label in found if stretch is not None]


def _selection(metadata: Mapping[str, Any]) -> Selection:
    for key in metadata:
        if key not in _METADATA and (close := difflib.get_close_matches(key, _METADATA, n=1, cutoff=0.8)):
            raise CultureCareError(f"--metadata: unknown key {key!r}; did you mean {close[0]!r}?")
    posts = metadata.get("posts")
    release = metadata.get("release") or os.environ.get(RELEASE_VARIABLE)
    split = metadata.get("split") or ("own" if posts else "test" if release else "sample")
    if posts and split != "own":
        raise CultureCareError(f"--metadata: split {split!r} does not go with the key 'posts', which names posts of your own")
    if split == "own":  # `culturecare eval` hands on a `Selection`, where the file stands under `release`.
        release = posts or metadata.get("release")
        if not release:
            raise CultureCareError("--metadata: split 'own' needs a file of posts in the released format: name it with the key 'posts'")
    fields = {key: metadata[key] for key in Selection.model_fields if metadata.get(key) is not None}
    return culturecare.parse_record(Selection, {**fields, "split": split, "release": release}, where="--metadata")


def _judge_column(metadata: Mapping[str, Any]) -> str | None:
    name = metadata.get("judge")
    if name is None:
        _log.warning("No judge was named (--metadata '{\"judge\": …}'): replies are generated and described, not judged.")
        return None
    settings = metadata.get("judge_settings") or []
    select_judge(str(name), settings)  # A judge that does not fit is said before the model runs, not after.
    return json.dumps({"name": str(name), "settings": list(settings)})


def _model_name(metadata: Mapping[str, Any]) -> str:
    name = str(metadata.get("pretrained") or metadata.get("model") or metadata.get("model_name") or "unnamed")
    return Path(name).name if Path(name).is_dir() else name


def _dataset(docs: Sequence[Mapping[str, Any]]) -> dict[str, datasets.Dataset]:
    import datasets

    if not docs:
        raise CultureCareError("no document is left for this task: the chosen cultures have no such label")
    return {"test": datasets.Dataset.from_list(list(docs))}


# --- The judge as a filter ---------------------------------------------------------------------------------------------------------


class JudgeFilter(Filter):  # type: ignore[misc]
    """Judges all replies of a task at once; a reply comes out as `{"reply": …, "verdicts": […] or null}`."""

    def apply(self, resps: Sequence[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Returns one dictionary a document, in order.

        Raises:
            CultureCareError: A document has several replies (`repeats`), or the judge cannot go on.
        """
        if any(len(of_doc) != 1 for of_doc in resps):
            raise CultureCareError("repeats: the support tasks take one reply a post")
        replies = [of_doc[0] or "" for of_doc in resps]  # An API that gave no content gives null.
        if docs[0]["judge"] is None:
            return [{"reply": reply, "verdicts": None} for reply in replies]
        judge = _judge_of(docs[0]["judge"])
        records = [reply_of_doc(doc, reply) for doc, reply in zip(docs, replies, strict=True)]
        items = [JudgeItem(reply_id=record.id, post=doc["post"], reply=record.text) for doc, record in zip(docs, records, strict=True)]
        with open_store() as store:
            verdicts = judge_replies(items, judge, store=store, backend=lambda _: _opened(docs[0]["judge"]))
        size = len(verdicts) // len(items)
        return [
            {
                "reply": reply,
                "verdicts": [verdict.model_dump(mode="json") for verdict in verdicts[index * size : (index + 1) * size]],
            }
            for index, reply in enumerate(replies)
        ]


def _judge_of(column: str) -> JudgeFile:
    chosen = json.loads(column)
    return select_judge(chosen["name"], chosen["settings"])


@functools.lru_cache(maxsize=1)
def _opened(column: str) -> Backend:
    """The model of the judge that a document names, kept between the tasks of one run."""
    return open_backend(_judge_of(column))


def reply_of_doc(doc: Mapping[str, Any], text: str, generation: Mapping[str, Any] | None = None) -> Reply:
    """The reply record for the text that a model wrote to a support document; half a character, as some APIs give, becomes U+FFFD."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return Reply(
        id=reply_id(doc["instance_id"], doc["strategy"], doc["model"], text),
        text=text,
        generation=dict(generation or {}),
        **{
            field: doc[field]
            for field in (
                "instance_id",
                "culture",
                "language",
                "split",
                "dataset_revision",
                "strategy",
                "prompt_hash",
                "excerpt",
                "model",
            )
        },
    )


# --- Metrics -----------------------------------------------------------------------------------------------------------------------


def support_metrics(doc: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Metrics of one reply. What has no value is left out, for lm-eval to average over the others; `coverage` tells how much that was."""
    [outcome] = results
    verdicts = None if outcome["verdicts"] is None else [Verdict.model_validate(fields) for fields in outcome["verdicts"]]
    metrics = reply_metrics(outcome["reply"], doc["language"], verdicts)
    return {name: value for name, value in metrics.items() if value is not None}


def choice_metrics(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """Metrics of one multiple choice: the choice of the highest likelihood counts."""
    chosen = int(np.argmax([likelihood for likelihood, _ in results]))
    return {"acc": float(chosen == doc["gold"]), "macro_f1": (doc["gold"], chosen)}


def label_metrics(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """Metrics of one generated label. An answer that names no label, or several, is wrong; `answered` tells how many named one."""
    chosen = read_label(results[0], doc["choices"])
    return {
        "acc": float(chosen == doc["gold"]),
        "macro_f1": (doc["gold"], -1 if chosen is None else chosen),
        "answered": float(chosen is not None),
    }


def annotation_metrics(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """Metrics of one annotation. An answer that is none misses every span; `answered` tells how many are one.

    What has no value is left out: `located` without a phrase, and label F1 without a pair of spans that overlap.
    """
    reading = read_answer(results[0] or "", doc["post"])
    metrics: dict[str, Any] = {"answered": float(reading.reason is None)}
    if reading.phrases:
        metrics["located"] = (reading.located, reading.phrases)
    kinds = {}
    for name, field, spans in (
        ("distress", "emotional_distress", reading.emotional_distress),
        ("signals", "cultural_signals", reading.cultural_signals),
    ):
        annotated = [Stretch(span["start"], span["end"], span["label"]) for span in doc[field]]
        marked = [Stretch(span.start, span.end, span.label) for span in spans if span.start is not None and span.end is not None]
        kinds[name] = compare(annotated, marked)
    for scheme in ("exact", "strict", "partial"):
        credits_ = {name: getattr(fit, scheme) for name, fit in kinds.items()}
        metrics |= {f"{name}_{scheme}_f1": credit for name, credit in credits_.items()}
        metrics[f"{scheme}_f1"] = Credit(*map(sum, zip(*credits_.values(), strict=True)))
    return metrics | {f"{name}_label_f1": fit.labels for name, fit in kinds.items() if fit.labels}


def pooled_label_f1(of_docs: Iterable[Iterable[tuple[str, str | None]]]) -> float:
    """`label_macro_f1` over the pairs of all documents together."""
    return label_macro_f1(pair for pairs in of_docs for pair in pairs)


def macro_f1(pairs: Iterable[tuple[int, int]]) -> float:
    """Mean over the labels that occur of each label's F1, from (true, predicted) pairs."""
    from sklearn.metrics import f1_score

    true, predicted = zip(*pairs, strict=True)
    return float(f1_score(true, predicted, labels=sorted(set(true)), average="macro", zero_division=0))
