"""Reading what `lm_eval --log_samples` wrote, for a second pass of judging."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from culturecare import DataError, read_json_lines
from culturecare_harness.lm_eval_hooks import reply_of_doc

if TYPE_CHECKING:
    from pathlib import Path

    from culturecare_harness.records import Reply

__all__ = ["find_samples", "read_samples"]

_NAME = re.compile(r"samples_(culturecare_support_\w+?)_(\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl")


def find_samples(path: Path) -> list[Path]:
    """The samples files of support tasks at `path`: the file itself, or the newest of each task anywhere in the folder.

    Raises:
        DataError: There is none.
    """
    if path.is_file():
        return [path]
    newest: dict[str, tuple[str, Path]] = {}
    for found in path.rglob("samples_culturecare_support_*.jsonl"):
        if match := _NAME.fullmatch(found.name):
            newest[match[1]] = max(newest.get(match[1], ("", found)), (match[2], found))
    if not newest:
        raise DataError(
            f"{path}: holds neither a run (run.json) nor samples of support tasks; make them with "
            "lm_eval --tasks culturecare_support --log_samples --output_path FOLDER"
        )
    return [found for _, found in sorted(newest.values(), key=lambda pair: pair[1].name)]


def read_samples(path: Path) -> tuple[list[Reply], dict[str, str]]:
    """Reads one samples file: each line holds the document, post included, and the model's reply.

    Returns:
        The replies, and the post of each instance as the model saw it.

    Raises:
        DataError: A line is no sample of a support task.
    """
    replies: list[Reply] = []
    posts: dict[str, str] = {}
    for number, sample in read_json_lines(path):
        try:
            doc, text = sample["doc"], sample["resps"][0][0] or ""
            replies.append(reply_of_doc(doc, text, _generation(sample)))
            posts[doc["instance_id"]] = doc["post"]
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(f"{path}:{number}: is no sample of a support task of this version ({type(error).__name__}: {error})") from error
    return replies, posts


def _generation(sample: dict[str, Any]) -> dict[str, Any]:
    arguments = sample.get("arguments", {})
    settings = arguments.get("gen_args_0", {}).get("arg_1", {}) if isinstance(arguments, dict) else {}
    return dict(settings) if isinstance(settings, dict) else {}
