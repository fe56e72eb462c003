"""Label Studio: a packet as projects to be annotated there, and the answers read back from its JSON export.

Each rater gets a project of their own: the labelling configuration of their language, and their items as tasks in their order. That nobody
opens another's project is left to the server; the Community edition shows every project to all its users. Tags and formats are those of
labelstud.io/tags and labelstud.io/guide/task_format, tried out with Label Studio 1.23.2; replies stand in a `Repeater`, since items differ
in their number.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict

from culturecare import CultureCareError, DataError, parse_record
from culturecare_harness.human.forms import select_language
from culturecare_harness.human.items import asked, shown_post, shown_reply
from culturecare_harness.human.ratings import LEFT_BLANK, LEFT_OUT, rate, shortened
from culturecare_harness.records import whole_file

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from pathlib import Path

    from culturecare_harness.human.forms import Form, Interface, Language, Question
    from culturecare_harness.human.items import Item, OpenPacket
    from culturecare_harness.human.ratings import Rating

__all__ = ["labelling_config", "read_export", "tasks_of", "write_projects"]

_INDEX = "{{idx}}"
_RANKED = "ranked"
"""Column of a Ranker into which a rater moves the replies."""
_UNRANKED = "_"
"""Column that Label Studio adds, in which they stand at first."""
_UNREACHABLE_KEY = "ctrl+alt+shift+f19"
_ROOT_CLASS, _TEXT_CLASS = "culturecare", "culturecare-text"
# Posts, replies and comments may be in another script than the form: each paragraph runs as its own first letters do. Label Studio sets
# each line as an inline block, whose letters the paragraph around it does not see. Its hints name the keys of choices; these have none.
_CSS = (
    f".{_TEXT_CLASS} div, .{_TEXT_CLASS} p, .{_ROOT_CLASS} textarea {{ unicode-bidi: plaintext; text-align: start; }} "
    f".{_TEXT_CLASS} span {{ display: inline; padding: 0; }} "
    f".{_TEXT_CLASS} p {{ white-space: pre-line; }} "
    f".{_ROOT_CLASS} .lsf-hint {{ display: none; }}"
)


# --- Writing ---------------------------------------------------------------------------------------------------------------------


def write_projects(packet: OpenPacket, folder: Path) -> list[Path]:
    """Writes what it takes to set up a project for each rater.

    Args:
        packet: The packet.
        folder: Where to; made where it is not there. Each language gets `config.<language>.xml`, each rater `<rater>.tasks.json`.

    Returns:
        The files.

    Raises:
        CultureCareError: A file is there already.
    """
    files: dict[Path, str] = {}
    for code in sorted({assignment.language for assignment in packet.assignments.values()}):
        files[folder / f"config.{code}.xml"] = labelling_config(packet.packet.wordings[code])
    for rater in packet.assignments:
        tasks = json.dumps(tasks_of(packet, rater), ensure_ascii=False, indent=1, allow_nan=False)
        files[folder / f"{rater}.tasks.json"] = tasks + "\n"
    if there := next((path for path in files if path.exists()), None):
        raise CultureCareError(f"{there}: is there already, and is not overwritten; choose another folder")
    for path, text in files.items():
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return list(files)


def labelling_config(form: Form) -> str:
    """The labelling configuration that asks a form, in the form's language."""
    language = select_language(form.language)
    words = language.interface
    root = ET.Element("View", {"style": f"direction: {language.direction}", "className": _ROOT_CLASS})
    ET.SubElement(root, "Style").text = _CSS
    _tell(root, language)
    ET.SubElement(root, "Header", {"value": form.introduction, "size": "5"})
    ET.SubElement(root, "Header", {"value": words.post})
    _show(root, "post", "$post")
    repeater = ET.SubElement(root, "Repeater", {"on": "$replies", "indexFlag": _INDEX})
    ET.SubElement(repeater, "Header", {"value": f"$replies[{_INDEX}].title"})
    _show(repeater, f"text_{_INDEX}", f"$replies[{_INDEX}].text")
    for question in form.of_replies:
        _ask(repeater, question, _name(question, _INDEX), f"text_{_INDEX}", words)
    for question in form.of_items:
        _ask(root, question, _name(question, None), "post", words)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _tell(root: ET.Element, language: Language) -> None:
    """Puts the content warning, the words of consent and where to find support above each post.

    Label Studio cannot ask anything before the first task: whoever runs the project has raters agree to these words before they begin.
    """
    words = language.interface
    support = (*words.support, *(f"{contact.name}: {contact.reach}" for contact in language.contacts))
    folded = ET.SubElement(root, "Collapse", {"accordion": "false"})
    for title, paragraphs, is_open in (
        (words.warning_title, words.warning, "true"),
        (words.consent_title, words.consent, "false"),
        (words.support_title, support, "false"),
    ):
        panel = ET.SubElement(folded, "Panel", {"value": title, "open": is_open})
        for paragraph in paragraphs:
            ET.SubElement(panel, "Header", {"value": paragraph, "size": "5", "style": "font-size: 14px; font-weight: normal"})


def _show(parent: ET.Element, name: str, value: str) -> None:
    ET.SubElement(ET.SubElement(parent, "View", {"className": _TEXT_CLASS}), "Text", {"name": name, "value": value, "valueType": "text"})


def _ask(parent: ET.Element, question: Question, name: str, about: str, words: Interface) -> None:
    ET.SubElement(parent, "Header", {"value": f"{question.name}: {question.question}", "size": "5"})
    required = {"required": "true", "requiredMessage": f"{question.name}: {words.choose}"} if question.required else {}
    if question.kind == "ranking":
        # A Ranker cannot be required, and without a Bucket its answer is the order of the list where nobody moved anything.
        ET.SubElement(parent, "List", {"name": "replies", "value": "$ranked", "title": words.choose})
        ranker = ET.SubElement(ET.SubElement(parent, "View", {"className": _TEXT_CLASS}), "Ranker", {"name": name, "toName": "replies"})
        ET.SubElement(ranker, "Bucket", {"name": _RANKED, "title": f"{question.name}: {words.best} ↓ {words.worst}"})
    elif question.kind == "text":
        field = {"name": name, "toName": about, "rows": "3", "maxSubmissions": "1", "editable": "true"}
        ET.SubElement(parent, "TextArea", field | required)
    else:
        choices = ET.SubElement(parent, "Choices", {"name": name, "toName": about, "choice": "single-radio"} | required)
        for value in question.values:
            wording = f"{value.value} = {value.wording}" if question.kind == "scale" else value.wording
            # A choice without a key is given one by Label Studio: 4 would answer the first question, whichever the rater has come to.
            ET.SubElement(choices, "Choice", {"value": wording, "alias": str(value.value), "hotkey": _UNREACHABLE_KEY})


def _name(question: Question, index: int | str | None) -> str:
    """Name of the control of a question, about the reply of that index or about the item."""
    return f"item_{question.key}" if index is None else f"reply_{index}_{question.key}"


def tasks_of(packet: OpenPacket, rater: str) -> list[dict[str, Any]]:
    """A rater's items as tasks to import, in their order.

    Raises:
        CultureCareError: The packet has no such rater.
    """
    words = select_language(packet.assignment(rater).language).interface
    tasks = []
    for place, name in enumerate(packet.assignment(rater).items, 1):
        item = packet.items[name]
        replies = [
            {"label": reply.label, "title": words.reply.format(label=reply.label), "text": shown_reply(reply, words)}
            for reply in item.replies
        ]
        data = {
            "packet": packet.packet.id,
            "rater": rater,
            "item": name,
            "place": place,
            "post": shown_post(item.post, words),
            "replies": replies,
            # A List shows title and body; some versions refuse items without a text on import.
            "ranked": [{"id": reply["label"], "title": reply["title"], "body": reply["text"], "text": reply["title"]} for reply in replies],
        }
        tasks.append({"data": data})
    return tasks


# --- Reading ---------------------------------------------------------------------------------------------------------------------


def _is_object(given: Any) -> Any:
    if not isinstance(given, dict):
        raise ValueError("must be an object")  # noqa: TRY004 - pydantic reports these alone.
    return given


def _is_list(given: Any) -> Any:
    if not isinstance(given, list):
        raise ValueError("must be a list")  # noqa: TRY004
    return given


def _user_of(given: Any) -> Any:
    """The id of who annotated, which some exports give alone and others with name and address."""
    user = given["id"] if isinstance(given, dict) and "id" in given else given
    if user is not None and (not isinstance(user, int | str) or isinstance(user, bool)):
        raise ValueError("must be a user's id, or an object with one")
    return None if user is None else str(user)


# A model's own message for what is none would name the class, which says nothing to whoever exported the file.
_Object = Annotated[dict[str, Any], BeforeValidator(_is_object)]


class _Loose(BaseModel):
    """Part of an export, of which only what is needed is read: each version of Label Studio adds fields of its own."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Result(_Loose):
    from_name: str
    type: str
    value: _Object


class _Annotation(_Loose):
    result: Annotated[tuple[_Object, ...], BeforeValidator(_is_list)]
    completed_by: Annotated[str | None, BeforeValidator(_user_of)] = None
    was_cancelled: bool = False
    created_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None

    @property
    def at(self) -> dt.datetime | None:
        return self.updated_at or self.created_at


class _Data(_Loose):
    packet: str
    rater: str
    item: str


class _Task(_Loose):
    data: Annotated[_Data, BeforeValidator(_is_object)]
    annotations: Annotated[tuple[Annotated[_Annotation, BeforeValidator(_is_object)], ...], BeforeValidator(_is_list)]


def read_export(packet: OpenPacket, path: Path) -> list[Rating]:
    """Reads the answers out of Label Studio's export in the format JSON (not JSON-MIN, which leaves out what was skipped).

    A task that was skipped has ratings without a value, for the reason `LEFT_OUT`; so have required questions without an answer, for the
    reason `LEFT_BLANK`. Tasks that nobody annotated, predictions and drafts count for nothing.

    Args:
        packet: The packet that the projects were made from.
        path: The file.

    Raises:
        CultureCareError: The file is no such export or holds no task, several users annotated one rater's tasks, or an answer does not fit.
    """
    users: dict[str, str] = {}
    ratings: list[Rating] = []
    for number, fields in enumerate(_load_tasks(path), 1):
        where = f"{path}: task {number}"
        task = _task(packet, fields, where)
        rater = task.data.rater
        for annotation in task.annotations:
            user = annotation.completed_by
            if user is not None and users.setdefault(rater, user) != user:
                raise DataError(
                    f"{where}: the tasks of rater {rater!r} were annotated by users {users[rater]} and {user}; "
                    "each rater has a project of their own, in which nobody else annotates"
                )
            ratings += _ratings_of(packet, task.data, annotation, where)
    return ratings


def _load_tasks(path: Path) -> list[Any]:
    try:
        # Of bytes, so that a byte order mark before the text does no harm.
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON ({error}); export from Label Studio in the format JSON, not as CSV or TSV") from error
    if not isinstance(content, list):
        raise DataError(f"{path}: must be a list of tasks, as Label Studio exports in the format JSON")
    if not content:
        raise DataError(f"{path}: holds no task; export the project again in the format JSON, once its tasks are annotated")
    return content


def _task(packet: OpenPacket, fields: Any, where: str) -> _Task:
    """A task of the export, which must be one of the packet's."""
    if not isinstance(fields, dict):
        raise DataError(f"{where}: must be an object with data and annotations, as Label Studio exports, not {shortened(fields)}")
    if "annotations" not in fields:
        raise DataError(f"{where}: has no annotations; export in the format JSON (JSON-MIN leaves out which tasks were skipped)")
    task = parse_record(_Task, fields, where=where)
    if task.data.packet != packet.packet.id:
        raise DataError(f"{where}: is of packet {task.data.packet!r}, not of {packet.packet.id!r} in {packet.folder}")
    if task.data.rater not in packet.assignments:
        raise DataError(f"{where}: the packet has no rater {task.data.rater!r}; its raters are {', '.join(packet.assignments)}")
    if task.data.item not in packet.assignment(task.data.rater).items:
        raise DataError(f"{where}: item {task.data.item!r} was not given to rater {task.data.rater!r}")
    return task


def _ratings_of(packet: OpenPacket, data: _Data, annotation: _Annotation, where: str) -> list[Rating]:
    item = packet.items[data.item]
    if annotation.at is None:
        raise DataError(f"{where}: an annotation says neither created_at nor updated_at; export it from Label Studio in the format JSON")
    questions = asked(packet.packet.form, item)
    given = {} if annotation.was_cancelled else _given(annotation, item, packet.packet.form, where)
    ratings = []
    for question, label in questions:
        value = given.get((question.key, label))
        if value is None and not question.required:
            continue
        reason = LEFT_OUT if annotation.was_cancelled else LEFT_BLANK
        ratings.append(rate(packet, data.rater, data.item, label, question.key, value, at=annotation.at, reason=reason, where=where))
    return ratings


def _given(annotation: _Annotation, item: Item, form: Form, where: str) -> dict[tuple[str, str | None], int | str | list[str]]:
    controls: dict[str, tuple[Question, str | None]] = {
        _name(question, index): (question, label) for index, label in enumerate(item.labels) for question in form.of_replies
    }
    controls |= {_name(question, None): (question, None) for question in form.of_items}
    given: dict[tuple[str, str | None], int | str | list[str]] = {}
    for fields in annotation.result:
        result = parse_record(_Result, fields, where=f"{where}: result")
        if result.from_name not in controls:
            raise DataError(f"{where}: result: {result.from_name!r} is no question about item {item.id!r}; was the configuration changed?")
        question, label = controls[result.from_name]
        if question.kind == "ranking" and len(item.replies) < 2:
            continue  # The only reply of an item, moved about.
        value = _value(result, question, f"{where}: {result.from_name}")
        if value is not None:
            given[question.key, label] = value
    return given


def _value(result: _Result, question: Question, where: str) -> int | str | list[str] | None:
    found = result.value.get("text" if result.type == "textarea" else result.type)
    if result.type == "textarea" and question.kind == "text":
        texts = [found] if isinstance(found, str) else found
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{where}: a text area's value must be a list of texts, not {shortened(found)}")
        return "\n".join(texts).strip() or None
    if result.type == "ranker" and question.kind == "ranking":
        return _order(found, where)
    if result.type == "rating" and question.kind == "scale":
        return _choice(found, question, where)
    if result.type == "choices" and question.kind in {"scale", "choice"}:
        if not isinstance(found, list) or len(found) != 1:
            raise DataError(f"{where}: must be one choice, not {shortened(found)}")
        return _choice(found[0], question, where)
    raise DataError(f"{where}: a {question.kind} is not answered by {result.type!r}; was the configuration changed?")


def _choice(found: object, question: Question, where: str) -> int | str:
    keys: Mapping[str, int | str] = {str(value.value): value.value for value in question.values}
    if str(found) not in keys:
        raise DataError(f"{where}: {shortened(found)} is not one of {', '.join(keys)}")
    return keys[str(found)]


def _order(found: Any, where: str) -> list[str] | None:
    """The replies from best to worst; null where none was put in order. Where only some were, `rate` refuses them."""
    if not isinstance(found, dict) or not set(found) <= {_RANKED, _UNRANKED}:
        raise DataError(
            f"{where}: must be an order of the replies in the column {_RANKED!r} of the configuration that was written with the tasks, not "
            f"{shortened(found)}; elsewhere an order that nobody made looks like one that somebody did"
        )
    order = found.get(_RANKED, [])
    if not isinstance(order, list) or not all(isinstance(label, str) for label in order):
        raise DataError(f"{where}: the column {_RANKED!r} must be a list of the replies' labels, not {shortened(order)}")
    return order or None
