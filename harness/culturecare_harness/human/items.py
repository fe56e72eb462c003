"""Packets, their items and their keys, as records and as files.

A packet is a folder that raters may see: what was asked for (`packet.json`), posts with their replies (`items.jsonl`), and who rates what
in which order (`assignments.jsonl`). Nothing in it tells a reply's origin or a rater's name: raters are called by codes, such as
`german-1`. The key, the raters' access codes and their names, where the organiser gave some, stand beside the folder, never inside it.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field, StrictInt, StrictStr

from culturecare import CultureCareError, DataError, Record, parse_record, read_json_lines
from culturecare_harness.human.blocks import Balance
from culturecare_harness.human.forms import Form
from culturecare_harness.records import Hash, digest, read_records, whole_file, write_json, write_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from culturecare_harness.human.forms import Interface, Question

__all__ = [
    "LABELS",
    "RATINGS",
    "Assignment",
    "Item",
    "ItemReply",
    "Key",
    "KeyEntry",
    "KeyHeader",
    "Label",
    "OpenPacket",
    "Packet",
    "Post",
    "RaterName",
    "asked",
    "beside",
    "called",
    "instructions",
    "key_path",
    "names_path",
    "open_packet",
    "packet_id",
    "read_key",
    "read_names",
    "read_tokens",
    "shown_post",
    "shown_reply",
    "tokens_path",
    "write_packet",
]

SCHEMA_VERSION: Literal[1] = 1

LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
PACKET, ITEMS, ASSIGNMENTS, RATINGS = "packet.json", "items.jsonl", "assignments.jsonl", "ratings"

RaterName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Label = Annotated[str, Field(pattern=r"^[A-Z]$")]


# --- Records ---------------------------------------------------------------------------------------------------------------------


class Post(Record):
    """A post as raters see it; an excerpt is its annotated phrases alone, one a line."""

    text: str
    excerpt: bool


class ItemReply(Record):
    """A reply as raters see it; its text may be empty, as a model's reply may be."""

    label: Label
    text: str


class Item(Record):
    """A post with its replies.

    Attributes:
        id: Names the item in ratings, and tells nothing else.
        language: ISO 639-1 code of the post's language, null where it is not known.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    id: str
    culture: str
    language: str | None
    post: Post
    replies: tuple[ItemReply, ...] = Field(min_length=1)

    @property
    def labels(self) -> tuple[str, ...]:
        """The replies' labels in their order."""
        return tuple(reply.label for reply in self.replies)


class Assignment(Record):
    """What a rater rates, in which order, and in which language they are asked."""

    schema_version: Literal[1] = SCHEMA_VERSION
    rater: RaterName
    culture: str
    language: str
    items: tuple[str, ...]


class Packet(Record):
    """What a packet was made of and for, as far as raters may know.

    Attributes:
        id: Follows from all that is in the packet and in its key.
        form: The form in English.
        wordings: The form in each language that raters are asked in, by ISO 639-1 code.
        languages: ISO 639-1 code of the language that each culture's raters are asked in.
        excerpt: Whether posts are known by their annotated phrases alone.
        per_item: Replies of an item.
        raters_per_item: Raters of an item.
        checks: Attention checks a rater.
        repeats: Items that each rater is given a second time.
        items: Items of each culture, checks and repeats not counted.
        key: Hash of the key, by which it is known to belong to the packet.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    id: Hash
    form: Form
    wordings: dict[str, Form]
    languages: dict[str, str]
    excerpt: bool
    seed: int
    per_item: int
    raters_per_item: int
    checks: int
    repeats: int
    items: dict[str, int]
    key: Hash


class KeyEntry(Record):
    """Where a reply of an item came from.

    Attributes:
        kind: `reply` of a model, `peer`'s reply, attention `check`, or `repeat` of an item's reply that the rater has seen before.
        condition: `model:strategy`, or `peer`; null for a check.
        repeats: Item that this one repeats.
        repeats_label: Label of the same reply there.
        question: What a check is about.
        expected: The answer that a check asks for.
        reveals: Words in the text that tell its origin, such as the model's name.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    item: str
    label: Label
    kind: Literal["reply", "peer", "check", "repeat"]
    culture: str
    instance_id: str
    condition: str | None
    model: str | None
    strategy: str | None
    reply_id: Hash | None
    repeats: str | None = None
    repeats_label: Label | None = None
    question: str | None = None
    expected: StrictInt | StrictStr | None = None
    reveals: tuple[str, ...] = ()


class KeyHeader(Record):
    """First line of a key: what holds for the packet as a whole.

    Attributes:
        dataset_revision: Fingerprint of the split that the posts are of.
        conditions: What is compared.
        balance: How balanced each culture's items are, and `all` of them together.
        revealing_replies: Number of replies whose text tells their origin. They are rated all the same.
        revealing_items: Items that hold such a reply.
        notes: Sentences that must be read with the ratings.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    split: str
    dataset_revision: Hash
    conditions: tuple[str, ...]
    balance: dict[str, Balance]
    revealing_replies: int
    revealing_items: tuple[str, ...]
    notes: tuple[str, ...]


class Key(Record):
    """A packet's key."""

    header: KeyHeader
    entries: tuple[KeyEntry, ...]

    @property
    def hash(self) -> str:
        """Names the key in its packet."""
        return digest(self.model_dump(mode="json"))


class OpenPacket(NamedTuple):
    """A packet that was read from its folder.

    Attributes:
        items: By id.
        assignments: By rater.
    """

    folder: Path
    packet: Packet
    items: Mapping[str, Item]
    assignments: Mapping[str, Assignment]

    def form_of(self, rater: str) -> Form:
        """The form in a rater's language."""
        return self.packet.wordings[self.assignment(rater).language]

    def assignment(self, rater: str) -> Assignment:
        """What a rater rates.

        Raises:
            CultureCareError: The packet has no such rater.
        """
        if rater not in self.assignments:
            raise CultureCareError(f"{self.folder}: has no rater {rater!r}; its raters are {', '.join(self.assignments)}")
        return self.assignments[rater]


# --- Reading ---------------------------------------------------------------------------------------------------------------------


def packet_id(packet: Packet, items: Iterable[Item], assignments: Iterable[Assignment]) -> str:
    """Names a packet by all that is in it, and by its key."""
    return digest(
        [
            packet.model_dump(mode="json", exclude={"id"}),
            [item.model_dump(mode="json") for item in items],
            [assignment.model_dump(mode="json") for assignment in assignments],
        ]
    )


def beside(folder: Path, ending: str) -> Path:
    """What stands beside a folder under the folder's name and an ending.

    Raises:
        CultureCareError: Nothing can stand beside it.
    """
    named = folder.resolve() if folder.name in {"", ".."} else folder
    if not named.name:
        raise CultureCareError(f"{folder}: nothing can stand beside this folder, as a packet's key must; choose another one")
    return named.with_name(named.name + ending)


def key_path(folder: Path) -> Path:
    """The key of the packet in `folder`, beside it."""
    return beside(folder, ".key.jsonl")


def tokens_path(folder: Path) -> Path:
    """The access codes of the raters of the packet in `folder`, beside it."""
    return beside(folder, ".tokens.json")


def names_path(folder: Path) -> Path:
    """The names of the raters of the packet in `folder`, beside it; they are kept nowhere else."""
    return beside(folder, ".names.json")


def open_packet(folder: Path) -> OpenPacket:
    """Reads a packet.

    Raises:
        DataError: The folder holds none, or its files do not fit together.
    """
    path = folder / PACKET
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); is this the folder of a packet?") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON ({error})") from error
    packet = parse_record(Packet, fields, where=str(path))
    items = {item.id: item for item in read_records(folder / ITEMS, Item)}
    assignments = {assignment.rater: assignment for assignment in read_records(folder / ASSIGNMENTS, Assignment)}
    for assignment in assignments.values():
        if stray := [name for name in assignment.items if name not in items]:
            raise DataError(f"{folder / ASSIGNMENTS}: rater {assignment.rater!r} rates item {stray[0]!r}, which is not in {ITEMS}")
        if assignment.language not in packet.wordings:
            raise DataError(f"{path}: wordings: has no form in {assignment.language!r}, in which rater {assignment.rater!r} is asked")
    if packet_id(packet, items.values(), assignments.values()) != packet.id:
        raise DataError(f"{folder}: the packet was changed after it was made (its id {packet.id} no longer fits); make it again")
    return OpenPacket(folder, packet, items, assignments)


def read_key(packet: OpenPacket, path: Path | None = None) -> Key:
    """Reads the key of a packet.

    Args:
        packet: The packet.
        path: The key's file, by default beside the packet's folder.

    Raises:
        DataError: The key is not there, or belongs to another packet.
    """
    path = path or key_path(packet.folder)
    if not path.exists():
        raise DataError(f"{path}: is not there; the key is made with the packet and stands beside its folder")
    lines = list(read_json_lines(path))
    if not lines:
        raise DataError(f"{path}: is empty, but must hold a packet's key")
    header = parse_record(KeyHeader, lines[0][1], where=f"{path}:{lines[0][0]}")
    entries = tuple(parse_record(KeyEntry, fields, where=f"{path}:{number}") for number, fields in lines[1:])
    key = Key(header=header, entries=entries)
    if key.hash != packet.packet.key:
        raise DataError(f"{path}: is not the key of packet {packet.folder} (it was changed, or belongs to another packet)")
    return key


def read_tokens(folder: Path) -> dict[str, str]:
    """Reads the raters' access codes, by rater.

    Raises:
        DataError: They are not there, or are no mapping of raters to codes.
    """
    path = tokens_path(folder)
    if not path.exists():
        raise DataError(f"{path}: is not there; access codes are made with the packet")
    return _by_rater(path, "access codes")


def read_names(folder: Path) -> dict[str, str]:
    """Reads the raters' names, by rater; empty where the packet was made without, or the file was deleted.

    Raises:
        DataError: The file is no mapping of raters to names.
    """
    path = names_path(folder)
    return _by_rater(path, "names") if path.exists() else {}


def called(rater: str, names: Mapping[str, str]) -> str:
    """A rater as the organiser sees them: the code, and the name behind it where there is one."""
    return f"{rater} ({names[rater]})" if rater in names else rater


def _by_rater(path: Path, what: str) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(one, str) and one for one in found.values()):
        raise DataError(f"{path}: must be a mapping of raters to {what}")
    return found


def asked(form: Form, item: Item) -> list[tuple[Question, str | None]]:
    """What is asked about an item: questions with the label of the reply that each is about, null for the item as a whole.

    A ranking is asked only where there are two replies or more to rank.
    """
    of_replies = [(question, label) for label in item.labels for question in form.of_replies]
    of_item = [(question, None) for question in form.of_items if question.kind != "ranking" or len(item.replies) > 1]
    return [*of_replies, *of_item]


def instructions(packet: OpenPacket, rater: str, interface: Interface) -> tuple[str, ...]:
    """Paragraphs on what a rater does; of attention checks and of posts that come up again only where the rater has them.

    A post comes up again where an item is repeated, where it has several items, and where a check stands under it.

    Args:
        packet: The packet.
        rater: Who is told.
        interface: The words in the language of the page or sheet.

    Raises:
        CultureCareError: The packet has no such rater.
    """
    posts = [packet.items[name].post.text for name in packet.assignment(rater).items]
    told = [*interface.how_it_works]
    if packet.packet.checks:
        told.append(interface.about_checks)
    if len(set(posts)) < len(posts):
        told.append(interface.about_repeats)
    return tuple(told)


def shown_reply(reply: ItemReply, interface: Interface) -> str:
    """The text that stands for a reply: its own, or that it is empty."""
    return reply.text.strip() or interface.empty_reply


def shown_post(post: Post, interface: Interface) -> str:
    """A post's text, with a note before it where it is an excerpt."""
    return f"{interface.excerpt}\n\n{post.text.strip()}" if post.excerpt else post.text.strip()


# --- Writing ---------------------------------------------------------------------------------------------------------------------


def write_packet(packet: OpenPacket, key: Key, names: Mapping[str, str] | None = None) -> None:
    """Writes a packet and, beside it, its key and new access codes. The folder appears last, when all that belongs to it is there.

    Args:
        packet: The packet.
        key: Its key.
        names: The raters' names, by rater, of those who have one.

    Raises:
        DataError: Nothing can be written there.
    """
    out = packet.folder
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror})") from error
    try:
        write_json(temporary / PACKET, packet.packet)
        write_records(temporary / ITEMS, list(packet.items.values()))
        write_records(temporary / ASSIGNMENTS, list(packet.assignments.values()))
        (temporary / RATINGS).mkdir()
        write_records(key_path(out), [key.header, *key.entries])
        # Without letters and digits that are easily taken for one another: codes are read out and typed.
        alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
        tokens = {rater: "-".join("".join(secrets.choice(alphabet) for _ in range(4)) for _ in range(4)) for rater in packet.assignments}
        for path, of_raters in ((tokens_path(out), tokens), (names_path(out), names)):
            if of_raters:
                with whole_file(path) as temporary_file:
                    temporary_file.write_text(json.dumps(of_raters, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
                path.chmod(0o600)
        key_path(out).chmod(0o600)
        temporary.chmod(0o755)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if not out.exists():
            for path in (key_path(out), tokens_path(out), names_path(out)):
                path.unlink(missing_ok=True)
