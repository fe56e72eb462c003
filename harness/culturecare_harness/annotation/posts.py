"""A user's own posts: the small record that they come as, and the rows of the released format that they become."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator, model_validator

from culturecare import DataError, Record, Training, cultures, parse_record, read_json_lines
from culturecare_harness.records import whole_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from culturecare import Instance
    from culturecare_harness.annotation.answers import Reading
    from culturecare_harness.strategies import Strategy

__all__ = ["OwnPost", "annotator_note", "read_posts", "released_row", "rows_bytes", "write_rows"]


class OwnPost(Record):
    """A post that nobody annotated.

    Attributes:
        id: Unique among the posts of its culture.
        culture: Key of the author's culture.
        text: The post.
        language: ISO 639-1 code, two lower-case letters; null to have it detected.
        training: Whether its owner allows training on it; not unless that is said, with the licence.
        licence: Licence of the text, as its owner names it.
    """

    id: str = Field(min_length=1)
    culture: str
    text: str = Field(min_length=1)
    language: str | None = None
    training: Training = "forbidden"
    licence: str | None = Field(default=None, min_length=1)

    @field_validator("language")
    @classmethod
    def _is_a_code(cls, language: str | None) -> str | None:
        if language is not None and re.fullmatch("[a-z]{2}", language) is None:
            raise ValueError("must be an ISO 639-1 code of two lower-case letters, such as de, or be left out to have it detected")
        return language

    @model_validator(mode="after")
    def _rights_are_named(self) -> OwnPost:
        if self.training == "allowed" and self.licence is None:
            raise ValueError("training is allowed, but no licence is named that allows it; name it in the field licence")
        return self


def read_posts(path: Path, culture: str | None = None) -> list[OwnPost]:
    """Reads posts from a JSON Lines file of `OwnPost`s, or from a folder of text files, one a post.

    Args:
        path: File or folder. A text file's name without its ending is the post's id.
        culture: Culture of the posts that do not say theirs; text files say none.

    Raises:
        DataError: There is no post, or one has no id, no text, no known culture, or another's id; the message says where. Or `culture`
            is not known, whether a post needs it or not.
    """
    if culture is not None and culture.strip().lower() not in cultures():
        raise DataError(f"--culture: unknown culture {culture!r}; choose from {', '.join(cultures())}")
    if path.is_dir():
        posts = [_parsed({"id": file.stem, "text": _read_text(file)}, culture, str(file)) for file in sorted(path.glob("*.txt"))]
    else:
        posts = [_parsed(fields, culture, f"{path}:{number}") for number, fields in read_json_lines(path)]
    if not posts:
        raise DataError(f"{path}: holds no post; it must be a JSON Lines file of id, culture and text, or a folder of .txt files")
    [((key, name), times)] = Counter((post.culture, post.id) for post in posts).most_common(1)
    if times > 1:
        raise DataError(f"{path}: the id {name!r} occurs {times} times in culture {key!r}; every id must be unique in its culture")
    return posts


def _parsed(fields: object, culture: str | None, where: str) -> OwnPost:
    if isinstance(fields, dict):
        fields = {**fields, "culture": fields.get("culture") or culture}
        if fields["culture"] is None:
            raise DataError(f"{where}: culture: is not said; add it to the post, or name that of all posts with --culture")
    post = parse_record(OwnPost, fields, where=where)
    key = post.culture.strip().lower()
    if key not in cultures():
        raise DataError(f"{where}: culture: unknown culture {post.culture!r}; choose from {', '.join(cultures())}")
    if not post.text.strip() or re.fullmatch(r"https?://\S+", post.text.strip()):
        raise DataError(f"{where}: text: must be the text of the post, not an address or nothing")
    return post.model_copy(update={"culture": key})


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")  # A byte order mark, as editors on Windows write it, is no part of the post.
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not UTF-8 text ({error.reason} at byte {error.start})") from error


def released_row(post: OwnPost, reading: Reading, annotator: str) -> dict[str, Any]:
    """A row of the released format: what a person can correct, and everything that reads the dataset reads."""
    return {
        "culture": cultures()[post.culture].name,
        "post_id": post.id,
        **({"language": post.language} if post.language else {}),
        "annotator": annotator,
        **({"training": post.training} if post.training == "allowed" else {}),
        **({"licence": post.licence} if post.licence else {}),
        "post": {
            "text": post.text,
            "emotional_distress": [{"phrase": span.phrase, "intensity": span.label} for span in reading.emotional_distress],
            "cultural_signals": [{"phrase": span.phrase, "type": span.label} for span in reading.cultural_signals],
            "demographic_info": {},
        },
        "response": {"text": None, "emotional_support": [], "cultural_signals": [], "empathy_score": None},
    }


def rows_bytes(rows: Iterable[dict[str, Any]]) -> bytes:
    """Rows as JSON Lines."""
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes rows in one step.

    Raises:
        DataError: Nothing can be written there.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(rows_bytes(rows))


def annotator_note(instances: Sequence[Instance], strategies: Iterable[Strategy]) -> str | None:
    """What a result must say where annotations in its prompts came from a model; null where none did."""
    shown = [strategy.name for strategy in strategies if strategy.shows_annotations]
    annotators = Counter(instance.annotator for instance in instances if instance.annotator is not None)
    if not shown or not annotators:
        return None
    return (
        f"The annotations in the prompts of {', '.join(shown)} came from a model, not from people, in {annotators.total()} of "
        f"{len(instances)} posts: {', '.join(sorted(annotators))}."
    )
