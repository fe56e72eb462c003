"""Annotating: from posts to rows in the released format, by any model that lm-eval can run, resumed where it stopped."""

from __future__ import annotations

import functools
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from culturecare import CultureCareError, DataError, Record, parse_record
from culturecare_harness.annotation.answers import Reading, read_answer
from culturecare_harness.annotation.posts import OwnPost, released_row, rows_bytes, write_rows
from culturecare_harness.annotation.prompts import pack, render, response_format
from culturecare_harness.generate import CHUNK, Generation, ModelChoice, ask, check_length, open_model, takes_system_message
from culturecare_harness.records import Hash, Model, append_records, check_place, digest, read_records, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["GENERATION", "Answer", "Manifest", "Summary", "annotate"]

GENERATION = Generation(temperature=0, max_gen_toks=1500)
"""Generation settings unless others are asked for: the most likely answer, with room for some thirty spans."""

_REFUSED = {400, 415, 422, 501}
"""Statuses by which servers say that they do not know a part of a request."""


class Manifest(Record):
    """What all answers of a file depend on.

    Attributes:
        posts: Hash of the posts.
        prompt_hash: Hash of the prompt pack.
    """

    model: Model
    model_identity: Hash
    batch_size: int
    posts: Hash
    prompt_hash: Hash
    generation: Generation


class Answer(Record):
    """What the model answered about one post, word for word.

    Attributes:
        with_schema: Whether the server was given the JSON schema that answers must fit.
    """

    culture: str
    post_id: str
    answer: str
    with_schema: bool


class Summary(Record):
    """What became of the posts.

    Attributes:
        answered: How many answers are annotations.
        unanswered: Why the others are none, by the post's culture and id; these posts are not in the file.
        spans: Number of spans in the file.
        phrases: Number of phrases that the answers give.
        located: How many of them stand in their posts.
        dropped: How many entries were not kept, by reason (`Reading`).
        with_schema: How many answers were asked for with the JSON schema.
    """

    posts: int
    answered: int
    unanswered: dict[str, str]
    spans: int
    phrases: int
    located: int
    dropped: dict[str, int]
    with_schema: int


class _Files(NamedTuple):
    rows: Path
    answers: Path
    manifest: Path


def annotate(choice: ModelChoice, posts: Sequence[OwnPost], generation: Generation, out: Path, say: Callable[[str], None]) -> Summary:
    """Has a model annotate posts, and writes them as rows of the released format.

    Two files beside `out` keep what the rows are made from: the manifest (`.run.json`) and the answers (`.answers.jsonl`), which are
    appended as they come. The same call goes on from there. `out` itself is written at the end, and never over a file that was changed.

    Args:
        choice: The model.
        posts: What to annotate.
        generation: Generation settings.
        out: The file to be made.
        say: Told in a sentence what goes on.

    Returns:
        Counts of what was found and of what was dropped.

    Raises:
        CultureCareError: The model cannot be loaded or called, no answer is an annotation, or `out` cannot be
            written, is of another call or was changed.
    """
    check_place(out)
    files = _Files(out, out.with_name(f"{out.name}.answers.jsonl"), out.with_name(f"{out.name}.run.json"))
    manifest = Manifest(
        model=choice.model,
        model_identity=choice.identity,
        batch_size=choice.batch_size,
        posts=digest([post.model_dump() for post in posts]),
        prompt_hash=pack().hash,
        generation=generation,
    )
    begin = _claim(files, manifest)
    answers = _answers(choice, posts, generation, files.answers, begin, say)
    readings = [read_answer(answer.answer, post.text) for post, answer in zip(posts, answers, strict=True)]
    summary = _summary(posts, answers, readings)
    if not summary.answered:
        reasons = ", ".join(f"{reason} {times}" for reason, times in Counter(summary.unanswered.values()).items())
        raise CultureCareError(
            f"model {choice.shown_name!r}: none of {len(posts)} answers is an annotation ({reasons}); {files.answers} holds them: use a "
            "model that follows the prompt, a server that takes a JSON schema, or longer answers (--max-gen-toks)"
        )
    rows = [released_row(post, reading, choice.shown_name) for post, reading in zip(posts, readings, strict=True) if reading.reason is None]
    if not out.exists():
        write_rows(out, rows)
    elif out.read_bytes() != rows_bytes(rows):
        raise CultureCareError(f"{out}: was changed since it was made, and is not written again; name another file with --out")
    return summary


def _claim(files: _Files, manifest: Manifest) -> Callable[[], None]:
    """What writes the manifest before the first answer; files of another call are refused."""
    if not files.manifest.exists():
        if there := next((path for path in (files.rows, files.answers) if path.exists()), None):
            raise CultureCareError(f"{there}: is there already, but not {files.manifest.name}; name another file with --out")
        return lambda: write_json(files.manifest, manifest)
    there_ = parse_record(Manifest, _read_json(files.manifest), where=str(files.manifest))
    if there_ != manifest:
        differing = [field for field in Manifest.model_fields if getattr(there_, field) != getattr(manifest, field)]
        raise CultureCareError(f"{files.rows}: is of another call (its {', '.join(differing)} differ); name another file with --out")
    return lambda: None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: is not valid JSON ({error})") from error


def _answers(
    choice: ModelChoice, posts: Sequence[OwnPost], generation: Generation, path: Path, begin: Callable[[], None], say: Callable[[str], None]
) -> list[Answer]:
    """One answer a post, those that the file holds included."""
    there = read_records(path, Answer, tolerate_torn_end=True) if path.exists() else []
    kept = {(answer.culture, answer.post_id): answer for answer in there}
    # Chunks as a call that was never interrupted has them: a chunk that is not whole is asked again as a whole.
    chunks = [
        range(start, min(start + CHUNK, len(posts)))
        for start in range(0, len(posts), CHUNK)
        if any((post.culture, post.id) not in kept for post in posts[start : start + CHUNK])
    ]
    if chunks:
        with open_model(choice, generation.seed, say) as language_model:
            system_role = takes_system_message(choice, language_model, say)
            prompts = [render(post.culture, post.text) for post in posts]
            for post, prompt in zip(posts, prompts, strict=True):
                check_length(choice, language_model, prompt, generation, f"the request for post {post.id!r}")
            asker = _Asker(choice, language_model, generation, say, system_role=system_role)
            begin()
            for chunk in chunks:
                say(f"Annotating posts {chunk.start + 1} to {chunk.stop} of {len(posts)}.")
                texts = asker.ask([prompts[index] for index in chunk])
                new = [
                    Answer(culture=post.culture, post_id=post.id, answer=_whole_characters(text), with_schema=asker.with_schema)
                    for post, text in zip((posts[index] for index in chunk), texts, strict=True)
                    if (post.culture, post.id) not in kept
                ]
                append_records(path, new)
                kept |= {(answer.culture, answer.post_id): answer for answer in new}
    return [kept[post.culture, post.id] for post in posts]


def _whole_characters(text: str) -> str:
    """Half a character, as some APIs give, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Asker:
    """Asks a model, with the JSON schema for as long as its server takes one."""

    def __init__(
        self, choice: ModelChoice, language_model: Any, generation: Generation, say: Callable[[str], None], *, system_role: bool
    ) -> None:
        self._ask = functools.partial(ask, choice, language_model, seed=generation.seed, system_role=system_role)
        self._keywords = generation.keywords
        self._say = say
        self.with_schema = "chat-completions" in choice.backend
        if not self.with_schema:
            say(f"Back end {choice.backend} takes no JSON schema; the prompt alone asks for JSON.")

    def ask(self, prompts: Sequence[tuple[str, str]]) -> list[str]:
        import aiohttp
        import requests

        if not self.with_schema:
            return self._ask(prompts, self._keywords)
        try:
            return self._ask(prompts, {**self._keywords, "response_format": response_format()})
        except (requests.HTTPError, aiohttp.ClientResponseError) as error:
            status = error.status if isinstance(error, aiohttp.ClientResponseError) else getattr(error.response, "status_code", None)
            if status not in _REFUSED:
                raise
            # Whether it was the schema that the server refused shows without it: an error of another kind comes again.
            answers = self._ask(prompts, self._keywords)
            self.with_schema = False
            self._say(f"The server refuses a JSON schema (status {status}); from here on the prompt alone asks for JSON.")
            return answers


def _summary(posts: Sequence[OwnPost], answers: Sequence[Answer], readings: Sequence[Reading]) -> Summary:
    dropped: Counter[str] = Counter()
    for reading in readings:
        dropped.update(reading.dropped)
    unanswered = {
        f"{post.culture}-{post.id}": reading.reason for post, reading in zip(posts, readings, strict=True) if reading.reason is not None
    }
    return Summary(
        posts=len(posts),
        answered=len(posts) - len(unanswered),
        unanswered=dict(unanswered),
        spans=sum(len(reading.emotional_distress) + len(reading.cultural_signals) for reading in readings),
        phrases=sum(reading.phrases for reading in readings),
        located=sum(reading.located for reading in readings),
        dropped=dict(dropped),
        with_schema=sum(answer.with_schema for answer in answers),
    )
