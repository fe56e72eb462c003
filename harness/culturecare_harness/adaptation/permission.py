"""The gate: what may be trained on, and the written arrangement without which released and hydrated posts may not.

The released annotations tell of posts on Reddit. They are for research alone, and Reddit's terms ask for a separate arrangement before a
model is trained on what stands there. Each record says of itself whether it is free (`training`); the gate also knows released posts that
say so wrongly, by what cannot be meant otherwise: their id, their address, or an address in the post's place.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import TYPE_CHECKING, Annotated

from pydantic import StringConstraints

from culturecare import CultureCareError, Record

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence
    from pathlib import Path

    from culturecare import Instance, Training

__all__ = ["Candidate", "Permission", "candidate_of", "pass_gate", "read_permission"]

_REDDIT = re.compile(r"(?<![\w.-])(?:[\w-]+\.)*(?:reddit\.com|redd\.it)(?![\w-]|\.\w)", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)


class Permission(Record):
    """A written arrangement that allows training on what is otherwise forbidden.

    Attributes:
        file: Name of the file, without its folder.
        sha256: SHA-256 of its content, so that it can be told later which arrangement it was.
    """

    file: str
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """What a model would learn from, as the gate and the leak check look at it.

    Attributes:
        where: File and line, or file and id.
        instance_id: Instance that the post belongs to.
        training: What the record says of itself.
        url: Address that the record gives for its post.
        post: The post; an address where that stands in its place.
        others: Further texts: prompts and replies.
    """

    where: str
    instance_id: str
    training: Training
    url: str | None
    post: str
    others: tuple[str, ...] = ()


def candidate_of(instance: Instance, where: str) -> Candidate:
    """An instance as a candidate: its reply included where it is known, and what its annotations say beyond post and reply.

    A prompt may show phrases that stand in no text.
    """
    post = instance.post.text if instance.post.text is not None else instance.url or instance.post_text
    return Candidate(
        where=f"{where}: {instance.id}",
        instance_id=instance.id,
        training=instance.training,
        url=instance.url,
        post=post,
        others=tuple(text for text in (instance.response.text, *_beyond(instance)) if text),
    )


def _beyond(instance: Instance) -> tuple[str, ...]:
    post, response = instance.post, instance.response
    of_post = (*post.emotional_distress, *post.cultural_signals) if post.text is not None else ()
    of_reply = (*response.emotional_support, *response.cultural_signals) if response.text is not None else ()
    return tuple(span.phrase for span in (*of_post, *of_reply) if span.start is None)


def read_permission(path: Path) -> Permission:
    """Reads a written arrangement: any regular file with something in it; what it says is for people to judge.

    Raises:
        CultureCareError: The file is not there, is no regular file, cannot be read, or is empty.
    """
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "is not there"
        raise CultureCareError(f"--training-permission {path}: {what}; name the file with the written arrangement")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CultureCareError(f"--training-permission {path}: cannot be read ({error.strerror})") from error
    if not content.strip():
        raise CultureCareError(f"--training-permission {path}: is empty; it must hold the written arrangement")
    return Permission(file=path.name, sha256=hashlib.sha256(content).hexdigest())


def pass_gate(candidates: Sequence[Candidate], released: Container[str], permission: Permission | None) -> tuple[Candidate, ...]:
    """Refuses all candidates if one of them is forbidden, unless there is a permission.

    Args:
        candidates: What a model would learn from.
        released: Ids of the released posts, with and without their culture; empty where the released files are not at hand.
        permission: The written arrangement, null for none.

    Returns:
        Those that the permission was needed for; none without one.

    Raises:
        CultureCareError: Something is forbidden and there is no permission.
    """
    forbidden = list(_forbidden(candidates, released))
    if forbidden and permission is None:
        first, reason = forbidden[0]
        more = f" ({len(forbidden)} of {len(candidates)} records are forbidden)" if len(forbidden) > 1 else ""
        raise CultureCareError(
            f"{first.where}: no model may be trained on this, since {reason}{more}. Posts from Reddit and their annotations are for "
            "research alone, and Reddit's terms ask for a separate arrangement before a model is trained on them. A written arrangement, "
            "named with --training-permission FILE, would allow it; the project-written split is free (--data train)"
        )
    return tuple(candidate for candidate, _ in forbidden)


def _forbidden(candidates: Iterable[Candidate], released: Container[str]) -> Iterable[tuple[Candidate, str]]:
    for candidate in candidates:
        if reason := _why_forbidden(candidate, released):
            yield candidate, reason


def _why_forbidden(candidate: Candidate, released: Container[str]) -> str | None:
    if candidate.training == "forbidden":
        return "its record says 'training: forbidden', or names no licence that allows it"
    if candidate.instance_id in released:
        return "its id is that of a released post, though its record says 'training: allowed'"
    if _REDDIT.search(candidate.instance_id) or (candidate.url and _REDDIT.search(candidate.url)):
        return "it names an address at Reddit, though its record says 'training: allowed'"
    if _ADDRESS.fullmatch(candidate.post.strip()):
        return "an address stands in its post's place, as in the released files, though its record says 'training: allowed'"
    return None
