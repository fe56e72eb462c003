"""The CultureCare dataset: annotation schema, label sets, culture registry, readers and builder.

Posts by people in distress and a peer's reply to each, annotated span by span for emotion and culture. Four sources share one
schema: the released annotations (quotes and a URL, no text), the same rows hydrated with their text, instances written for this
project (synthetic, with text), and a user's own posts. `load_instances` reads any of them; `CultureCare` is the `datasets` builder over
the same function for all but the last.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictFloat, StrictInt, ValidationError, model_validator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from datasets import Features

__version__ = "0.1.0"

R = TypeVar("R", bound=BaseModel)

SCHEMA_VERSION: Literal[1] = 1
"""Version of the `Instance` schema; raised whenever a field changes its name or meaning."""

Split = Literal["test", "sample", "train", "own"]
Intensity = Literal["light", "moderate", "high"]
SignalType = Literal["Concepts", "Knowledge", "Values", "Norms and Morals", "Language", "Artifacts", "Demographics"]
SupportStrategy = Literal[
    "Questions",
    "Restatement or Paraphrasing",
    "Reflection of Feelings",
    "Self-disclosure",
    "Affirmation and Reassurance",
    "Providing Suggestions",
    "Information",
    "Others",
]
Source = Literal["release", "hydrated", "sample", "own"]
Training = Literal["allowed", "forbidden"]

SPLITS: tuple[str, ...] = get_args(Split)
SYNTHETIC_SPLITS: tuple[str, ...] = ("sample", "train")
INTENSITIES: tuple[str, ...] = get_args(Intensity)
SIGNAL_TYPES: tuple[str, ...] = get_args(SignalType)
SUPPORT_STRATEGIES: tuple[str, ...] = get_args(SupportStrategy)

INTENSITY_DEFINITIONS: Mapping[str, str] = {
    "light": "distress is present but subtle",
    "moderate": "distress is clear, but not overwhelming",
    "high": "distress is intense or overwhelming",
}
SIGNAL_TYPE_DEFINITIONS: Mapping[str, str] = {
    "Concepts": "units of meaning that underlie objects, ideas or beliefs",
    "Knowledge": "what is learnt through education or practice",
    "Values": "beliefs about what is desirable, ranked by importance",
    "Norms and Morals": "rules that govern behaviour and moral reasoning",
    "Language": "slang, ways of speaking, dialect",
    "Artifacts": "things a culture makes, such as food, dress or books",
    "Demographics": "nationality, ethnicity or group membership",
}
SUPPORT_STRATEGY_DEFINITIONS: Mapping[str, str] = {
    "Questions": "asks about the problem, so that the person can say more",
    "Restatement or Paraphrasing": "says in other words what the person said",
    "Reflection of Feelings": "names and describes what the person feels",
    "Self-disclosure": "tells of an own, similar experience or feeling",
    "Affirmation and Reassurance": "affirms the person's strengths and reassures",
    "Providing Suggestions": "suggests what the person could do or change",
    "Information": "gives facts, resources or answers that help",
    "Others": "support of another kind, such as greetings or wishes",
}
EMPATHY_WORDINGS: Mapping[int, str] = {
    1: "not empathetic at all",
    2: "slightly empathetic",
    3: "moderately empathetic",
    4: "quite empathetic",
    5: "very empathetic",
}
DEMOGRAPHIC_FIELDS: tuple[str, ...] = (
    "settlement",
    "gender",
    "age",
    "born_in",
    "marital_status",
    "number_of_people_in_household",
    "education",
    "profession",
    "employment",
    "social_class",
    "religion",
)
RELEASE_VARIABLE = "CULTURECARE_RELEASE"
"""Environment variable that names the folder of the released JSON Lines files."""

_DETECTABLE = (
    *("ARABIC", "CHINESE", "ENGLISH", "FRENCH", "GERMAN", "HEBREW", "HINDI"),
    *("JAPANESE", "PERSIAN", "RUSSIAN", "SPANISH", "TURKISH", "URDU"),
)


class CultureCareError(Exception):
    """What a user can mend: the message says what is wrong, where, and what would be right. Commands exit with 2."""


class DataError(CultureCareError):
    """A data file or folder that is missing, malformed, or holds a label or field outside the schema."""


# --- Records ---------------------------------------------------------------------------------------------------------------------


class Record(BaseModel):
    """Base of every record in the project: unknown fields are refused, and what was read is not changed."""

    # Constants: a NaN is then refused by strict JSON, where pydantic would write it as null.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class Span(Record):
    """A stretch of text that an annotator marked.

    Attributes:
        phrase: The words as annotated, never empty.
        start: Offset of the first character in the text, counted in code points; null until the text is there.
        end: Offset behind the last character, so that `text[start:end] == phrase`; null together with `start`.
    """

    phrase: str = Field(min_length=1)
    start: int | None = Field(default=None, ge=0)
    end: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _offsets_fit_phrase(self) -> Span:
        if (self.start is None) != (self.end is None):
            raise ValueError("start and end are both numbers or both null")
        if self.start is not None and self.end is not None and self.end - self.start != len(self.phrase):
            raise ValueError(f"end - start is {self.end - self.start}, but the phrase has {len(self.phrase)} characters")
        return self


class DistressSpan(Span):
    """A message of emotional distress; `label` is its intensity, null where the annotator gave none."""

    label: Intensity | None


class SignalSpan(Span):
    """A cultural signal; `label` is its type, null where the annotator gave none."""

    label: SignalType | None


class SupportSpan(Span):
    """A piece of emotional support; `label` is its ESConv strategy, null where the annotator gave none."""

    label: SupportStrategy | None


class Demographics(Record):
    """What a post says of its author, normalised from the words that stand beside it.

    Attributes:
        gender: `female`, `male`, `other`, or null where the post does not say or the word is not known.
        age_min: Youngest age in years that the words allow, or null.
        age_max: Oldest age in years that the words allow; equal to `age_min` for an exact age.
        household_size: Number of people in the household, or null.
    """

    gender: Literal["female", "male", "other"] | None = None
    age_min: int | None = Field(default=None, ge=0, le=130)
    age_max: int | None = Field(default=None, ge=0, le=130)
    household_size: int | None = Field(default=None, ge=1)


class Post(Record):
    """The post of a person in distress; `text` is null where only annotated phrases are known."""

    text: str | None
    emotional_distress: tuple[DistressSpan, ...]
    cultural_signals: tuple[SignalSpan, ...]
    demographic_info: dict[str, str]
    demographics: Demographics


class Response(Record):
    """A peer's reply; `empathy_score` runs from 1 (not empathetic at all) to 5 (very empathetic), null where none was given."""

    text: str | None
    emotional_support: tuple[SupportSpan, ...]
    cultural_signals: tuple[SignalSpan, ...]
    empathy_score: int | None = Field(ge=1, le=5)


class Instance(Record):
    """One post with its reply and their annotations.

    Attributes:
        id: Unique in the dataset.
        culture: Key of the culture registry, such as `chinese`.
        language: ISO 639-1 code of the post's language, null where the detector knows none.
        source: `release` (phrases and URL), `hydrated` (the same with text), `sample` (written for this project) or `own` (a user's
            own posts, which are split `own`).
        synthetic: Whether the instance was written for this project and tells of no real person.
        training: Whether a model may be trained on it: `allowed` are the project-written `train` split, and what a user's file says so of.
        licence: Licence of the texts, where their file names one.
        url: Address of the post, null for synthetic instances.
        theme: Short theme of a synthetic instance, else null.
        annotator: The model that annotated the post (`culturecare annotate`), else null.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    id: str = Field(min_length=1)
    culture: str
    split: Split
    language: str | None
    source: Source
    synthetic: bool
    training: Training
    licence: str | None = None
    url: str | None
    theme: str | None
    annotator: str | None = None
    post: Post
    response: Response

    @property
    def excerpt(self) -> bool:
        """Whether the post is known by its annotated phrases alone."""
        return self.post.text is None

    @property
    def post_text(self) -> str:
        """The post's text, or, for an excerpt, its annotated phrases in the annotators' order, one a line, none twice."""
        if self.post.text is not None:
            return self.post.text
        return "\n".join(dict.fromkeys(span.phrase.strip() for span in (*self.post.emotional_distress, *self.post.cultural_signals)))

    @property
    def response_text(self) -> str:
        """The reply's text, or, where it is not known, its annotated phrases in order, one a line, none twice."""
        if self.response.text is not None:
            return self.response.text
        spans = (*self.response.emotional_support, *self.response.cultural_signals)
        return "\n".join(dict.fromkeys(span.phrase.strip() for span in spans))


class Culture(Record):
    """An entry of the culture registry.

    Attributes:
        key: Lower-case name, used as config name and on command lines.
        name: The label in the data files.
        demonym: Adjective for its people, as in "a Chinese user".
        languages: ISO 639-1 codes, main language first.
        released: Whether annotations by people exist for it; the others have project-written instances only.
        profile: What a supporter from outside may want to bear in mind.
    """

    key: str
    name: str
    demonym: str
    languages: tuple[str, ...] = Field(min_length=1)
    released: bool
    profile: str = Field(min_length=1)


# --- Culture registry ------------------------------------------------------------------------------------------------------------


def data_dir() -> Path:
    """The folder with the culture registry and the project-written instances, in a checkout or in an installed wheel.

    Raises:
        DataError: The installation is incomplete.
    """
    here = Path(__file__).resolve()
    for folder in (here.with_name("culturecare_data"), here.with_name("data")):
        if (folder / "cultures").is_dir():
            return folder
    raise DataError(f"{here.parent}: no data folder beside culturecare.py; install the package again")


@functools.cache
def cultures() -> Mapping[str, Culture]:
    """The culture registry by key, in alphabetical order; one YAML file a culture in `data/cultures`."""
    registry = {}
    for path in sorted((data_dir() / "cultures").glob("*.yaml")):
        registry[path.stem] = parse_record(Culture, {"key": path.stem, **read_yaml(path)}, where=str(path))
    return registry


def released_cultures() -> tuple[str, ...]:
    """Keys of the cultures that have released annotations."""
    return tuple(key for key, culture in cultures().items() if culture.released)


def select_cultures(names: str | Iterable[str] | None, split: Split) -> tuple[str, ...]:
    """Resolves a choice of cultures against the registry.

    Args:
        names: One key, several (also as one string with commas), or null or `all` for every culture of the split.
        split: `test` has the released cultures alone, the other splits may have all.

    Returns:
        Keys in registry order, each once.

    Raises:
        DataError: A culture is unknown, or has nothing in the split.
    """
    available = released_cultures() if split == "test" else tuple(cultures())
    if isinstance(names, str):
        names = names.split(",")
    wanted = {name.strip().lower() for name in (["all"] if names is None else names)} - {""}
    if unknown := sorted(wanted - {"all", *cultures()}):
        raise DataError(f"unknown culture {unknown[0]!r}: choose from {', '.join(cultures())}, or all")
    if "all" in wanted:
        return available
    if missing := sorted(wanted - set(available)):
        raise DataError(
            f"culture {missing[0]!r} has no released annotations, so it is not in split 'test': use split 'sample' or 'train', "
            f"or choose from {', '.join(available)}"
        )
    if not wanted:
        raise DataError(f"no culture was named: choose from {', '.join(available)}, or all")
    return tuple(key for key in available if key in wanted)


# --- Reading ---------------------------------------------------------------------------------------------------------------------


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads one YAML mapping.

    Raises:
        DataError: The file is missing, is no YAML, or holds something else than a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, but must be a mapping of fields to values")
    return content


def parse_record(model: type[R], fields: object, *, where: str) -> R:
    """Validates `fields` as `model` and says in one line what does not fit.

    Raises:
        DataError: With `where`, the first field at fault, what stood there and what would be right.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        field = ".".join(str(part) for part in first["loc"]) or "the record"
        more = f" (and {len(others)} more)" if others else ""
        if first["type"] == "extra_forbidden":
            known = ", ".join(model.model_fields)
            hint = f"is not a field of this record; known here: {known}" if len(first["loc"]) == 1 else "is not a field there"
            raise DataError(f"{where}: {field}: {hint}{more}") from error
        # What is wrong with a whole record is said by its message; the record itself would be too much to show.
        given = "" if first["type"] == "missing" or not first["loc"] else f", not {_shorten(first['input'])}"
        # Pydantic would name a class of this project.
        message = "must be an object" if first["type"] == "model_type" else first["msg"].removeprefix("Value error, ")
        raise DataError(f"{where}: {field}: {message[:1].lower()}{message[1:]}{given}{more}") from error


def _shorten(value: object, width: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= width else f"{text[:width]}…"


def read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yields (line number from 1, value) for every line that is not blank.

    Raises:
        DataError: The file is missing, is not UTF-8, or a line is no strict JSON.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, _parse_line(line, f"{path}:{number}")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _parse_line(line: bytes, where: str) -> Any:
    try:
        return json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: is not UTF-8 text ({error.reason} at byte {error.start} of the line)") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: is not valid JSON ({error})") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _empty_to_none(value: object) -> object:
    return None if value == "" else value


def _grade_of_wording(value: object) -> object:
    """Reads "3 moderately empathetic" as 3 and "" as null, and refuses a digit whose wording is another's."""
    if value is None or value == "":
        return None
    digit, _, wording = str(value).strip().partition(" ")
    wordings = [f"{grade} {text}" for grade, text in EMPATHY_WORDINGS.items()]
    if digit not in {"1", "2", "3", "4", "5"} or (wording and EMPATHY_WORDINGS[int(digit)] != wording):
        raise ValueError(f"must be empty or one of {', '.join(wordings)}")
    return int(digit)


class _RawDistress(Record):
    phrase: str = Field(min_length=1)
    intensity: Annotated[Intensity | None, BeforeValidator(_empty_to_none)]


class _RawSignal(Record):
    phrase: str = Field(min_length=1)
    # The release writes a missing type as the word None.
    type: Annotated[SignalType | None, BeforeValidator(lambda value: None if value in ("", "None") else value)]


class _RawSupport(Record):
    phrase: str = Field(min_length=1)
    strategy: Annotated[SupportStrategy | None, BeforeValidator(_empty_to_none)]


class _RawPost(Record):
    text: str = Field(min_length=1)
    url: str | None = None
    emotional_distress: tuple[_RawDistress, ...]
    cultural_signals: tuple[_RawSignal, ...]
    demographic_info: dict[str, str | StrictInt | StrictFloat | None]


class _RawResponse(Record):
    text: str | None = None
    emotional_support: tuple[_RawSupport, ...]
    cultural_signals: tuple[_RawSignal, ...]
    empathy_score: Annotated[int | None, BeforeValidator(_grade_of_wording)]


class _RawRow(Record):
    """A row as it stands in a file: the released format, with room for texts and for what marks a project-written row."""

    culture: str
    post_id: str = Field(min_length=1)
    synthetic: bool = False
    theme: str | None = None
    language: str | None = None
    annotator: Annotated[str | None, Field(min_length=1)] = None
    training: Training | None = None
    licence: Annotated[str | None, Field(min_length=1)] = None
    post: _RawPost
    response: _RawResponse

    @model_validator(mode="after")
    def _rights_are_named(self) -> _RawRow:
        if self.training == "allowed" and self.licence is None:
            raise ValueError("training is allowed, but no licence is named that allows it; name it in the field licence")
        return self


def load_instances(
    split: Split,
    names: str | Iterable[str] | None = None,
    release: str | os.PathLike[str] | None = None,
) -> list[Instance]:
    """Reads a split.

    Args:
        split: `test` (released annotations, with or without text), `sample` or `train` (both written for this project), or `own` (a
            file of a user's own posts).
        names: Cultures, as in `select_cultures`.
        release: Folder with `Arabic_data.jsonl` and its siblings, for split `test`; by default what `CULTURECARE_RELEASE` names. For
            split `own` the file, in the released format: any culture, every post with its text, replies where there are any.

    Returns:
        Instances in registry order of their cultures, and in file order within one. Nothing is dropped.

    Raises:
        DataError: A culture, folder, file, row or label is not what it must be.
    """
    keys = select_cultures(names, split)
    if split == "own":
        source = own_file(release)
        found = list(read_instances(source, split))
        instances = [instance for key in keys for instance in found if instance.culture == key]
    else:
        source = release_dir(release) if split == "test" else data_dir() / split
        instances = [instance for key in keys for instance in read_instances(_file_of(source, key, split), split, key)]
    ids = [instance.id for instance in instances]
    if len(set(ids)) < len(ids):
        duplicate = next(name for name in ids if ids.count(name) > 1)
        raise DataError(f"{source}: the id {duplicate!r} occurs {ids.count(duplicate)} times; every post_id must be unique in its culture")
    return instances


def _file_of(folder: Path, key: str, split: Split) -> Path:
    return folder / (f"{cultures()[key].name}_data.jsonl" if split == "test" else f"{key}.jsonl")


def release_dir(release: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the released files: the argument, else `CULTURECARE_RELEASE`.

    Raises:
        DataError: Neither is given, or the folder is not there.
    """
    given = os.fspath(release) if release else os.environ.get(RELEASE_VARIABLE)
    if not given:
        raise DataError(
            f"split 'test' needs the released annotations: name their folder with --release or {RELEASE_VARIABLE} "
            "(files as in github.com/UKPLab/eacl2026-culturecare), or use split 'sample'"
        )
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"{folder}: is not a folder; it must hold {', '.join(f'{cultures()[key].name}_data.jsonl' for key in released_cultures())}"
        )
    return folder


def own_file(path: str | os.PathLike[str] | None) -> Path:
    """The file of a user's own posts, for split `own`.

    Raises:
        DataError: None is given, or there is no such file.
    """
    if not path:
        raise DataError("split 'own' needs a file of posts in the released format: name it with --posts (culturecare annotate makes one)")
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"{file}: is not a file; it must hold posts in the released format, one a line")
    return file


def read_instances(path: Path, split: Split, key: str | None = None) -> Iterator[Instance]:
    """Yields the instances of one file in the released format.

    Args:
        path: JSON Lines file.
        split: Split that the instances belong to.
        key: Culture that every row must have, where given.

    Raises:
        DataError: A line does not fit the schema; the message names file, line and field.
    """
    by_name = {name.casefold(): culture.key for culture in cultures().values() for name in (culture.name, culture.key)}
    for number, fields in read_json_lines(path):
        where = f"{path}:{number}"
        row = parse_record(_RawRow, fields, where=where)
        if row.culture.casefold() not in by_name:
            known = ", ".join(culture.name for culture in cultures().values())
            raise DataError(f"{where}: culture: unknown culture {row.culture!r}; known are {known}")
        if key is not None and by_name[row.culture.casefold()] != key:
            raise DataError(f"{where}: culture: {row.culture!r} in the file of {cultures()[key].name!r}")
        if unknown := sorted(set(row.post.demographic_info) - set(DEMOGRAPHIC_FIELDS)):
            raise DataError(f"{where}: post.demographic_info.{unknown[0]}: is not one of {', '.join(DEMOGRAPHIC_FIELDS)}")
        if row.training == "allowed" and split in ("test", "sample"):
            raise DataError(f"{where}: training: is never allowed on split {split!r}, which is the benchmark")
        instance = _instance_of(row, by_name[row.culture.casefold()], split)
        if split == "own" and instance.excerpt:
            raise DataError(f"{where}: post.text: is an address, but split 'own' needs the text of every post")
        yield instance


def _instance_of(row: _RawRow, key: str, split: Split) -> Instance:
    is_url = re.fullmatch(r"https?://\S+", row.post.text.strip()) is not None
    text = None if is_url else row.post.text
    reply = row.response.text
    as_written = {field: _as_written(row.post.demographic_info.get(field)) for field in DEMOGRAPHIC_FIELDS}
    post = Post(
        text=text,
        emotional_distress=tuple(DistressSpan(label=s.intensity, **_located(s.phrase, text)) for s in row.post.emotional_distress),
        cultural_signals=tuple(SignalSpan(label=s.type, **_located(s.phrase, text)) for s in row.post.cultural_signals),
        demographic_info=as_written,
        demographics=normalise_demographics(as_written),
    )
    response = Response(
        text=reply,
        emotional_support=tuple(SupportSpan(label=s.strategy, **_located(s.phrase, reply)) for s in row.response.emotional_support),
        cultural_signals=tuple(SignalSpan(label=s.type, **_located(s.phrase, reply)) for s in row.response.cultural_signals),
        empathy_score=row.response.empathy_score,
    )
    instance = Instance(
        id=row.post_id if row.synthetic else f"{key}-{row.post_id}",
        culture=key,
        split=split,
        language=row.language,
        source="release" if is_url else "own" if split == "own" or row.training == "allowed" else "sample" if row.synthetic else "hydrated",
        synthetic=row.synthetic,
        training=row.training or ("allowed" if row.synthetic and split == "train" else "forbidden"),
        licence=row.licence,
        url=row.post.text.strip() if is_url else row.post.url,
        theme=row.theme,
        annotator=row.annotator,
        post=post,
        response=response,
    )
    return instance if row.language else instance.model_copy(update={"language": detect_language(instance.post_text)})


def _as_written(value: str | float | None) -> str:
    return "unknown" if value is None else str(value)


def _located(phrase: str, text: str | None) -> dict[str, Any]:
    start = -1 if text is None else text.find(phrase)
    return {"phrase": phrase, "start": start, "end": start + len(phrase)} if start >= 0 else {"phrase": phrase}


# --- Normalisation ---------------------------------------------------------------------------------------------------------------

_FEMALE = {"female", "f", "w", "woman", "girl", "weiblich", "frau", "أنثى", "女", "女性", "נקבה", "महिला"}
_MALE = {"male", "m", "man", "boy", "männlich", "mann", "ذكر", "男", "男性", "זכר", "पुरुष"}
_OTHER_GENDER = {"trans", "transgender", "non-binary", "nonbinary", "nb", "divers", "queer", "other"}
_DECADES = ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")
_PARTS = {"early": (0, 3), "anfang": (0, 3), "mid": (4, 6), "mitte": (4, 6), "late": (7, 9), "ende": (7, 9)}
_EXACT_AGE = re.compile(
    r"(?P<almost>(?:almost|nearly|fast) )?(?P<age>\d{1,3})(?: ?(?:years?(?: old)?|yo|y/o|jahre(?: alt)?|歳|岁|سنة|שנים|साल))?"
)
_PART_OF_DECADE = re.compile(
    rf"(?:in (?:my|his|her|their|the) )?(?P<parts>(?:(?:{'|'.join(_PARTS)})[ /-]+(?:to[ -]+)?)*)"
    rf"(?:(?P<number>[1-9]0)(?P<plural>'?s)?|(?P<word>{'|'.join(_DECADES)}))"
)


def normalise_demographics(as_written: Mapping[str, str]) -> Demographics:
    """Reads gender, age and household size from annotators' words; what cannot be read for certain is null.

    Of a decade, "early" means the years 0 to 3, "mid" 4 to 6 and "late" 7 to 9, in English and German.
    """
    gender = as_written.get("gender", "").strip().lower()
    household = re.fullmatch(r"\d{1,2}", as_written.get("number_of_people_in_household", "").strip())
    age_min, age_max = _age_range(as_written.get("age", ""))
    return Demographics(
        gender="female" if gender in _FEMALE else "male" if gender in _MALE else "other" if gender in _OTHER_GENDER else None,
        age_min=age_min,
        age_max=age_max,
        household_size=int(household[0]) or None if household else None,
    )


def _age_range(words: str) -> tuple[int, int] | tuple[None, None]:
    words = " ".join(words.lower().split())
    if words in {"teen", "teenager", "teenaged"}:
        return 13, 19
    if (match := _PART_OF_DECADE.fullmatch(words)) and (match["parts"] or match["plural"] or match["word"]):
        decade = int(match["number"]) if match["number"] else 20 + 10 * _DECADES.index(match["word"])
        parts = [_PARTS[part] for part in re.findall(r"[a-z]+", match["parts"]) if part in _PARTS] or [(0, 9)]
        return decade + min(low for low, _ in parts), decade + max(high for _, high in parts)
    if match := _EXACT_AGE.fullmatch(words):
        age = int(match["age"]) - bool(match["almost"])
        return (age, age) if 0 <= age <= 130 else (None, None)
    return None, None


@functools.cache
def _language_detector() -> Any:
    from lingua import Language, LanguageDetectorBuilder

    return LanguageDetectorBuilder.from_languages(*(getattr(Language, name) for name in _DETECTABLE)).build()


def detect_language(text: str) -> str | None:
    """ISO 639-1 code of the language of `text`, by lingua, among 13 of the cultures and their neighbours; null where it can't say."""
    language = _language_detector().detect_language_of(text)
    return None if language is None else str(language.iso_code_639_1.name).lower()


# --- The datasets builder --------------------------------------------------------------------------------------------------------


def dataset_revision(split: Split, release: str | os.PathLike[str] | None = None) -> str:
    """Fingerprint of the files that a split is read from: 16 hex digits of SHA-256 over names and contents.

    A file of own posts counts by its content alone, whatever it is called.

    Raises:
        DataError: A file of the split is missing.
    """
    digest = hashlib.sha256(f"culturecare/{SCHEMA_VERSION}/{split}".encode())
    if split == "own":
        digest.update(hashlib.sha256(own_file(release).read_bytes()).digest())
        return digest.hexdigest()[:16]
    folder = release_dir(release) if split == "test" else data_dir() / split
    for key in select_cultures(None, split):
        path = _file_of(folder, key, split)
        if split == "test" and not path.is_file():
            continue  # A folder with some of the released cultures has a revision of its own.
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        digest.update(path.name.encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def features() -> Features:
    """The `datasets` features of an instance; labels are ClassLabels, a missing label is null."""
    from datasets import ClassLabel, Features, List, Value

    def spans(labels: Sequence[str]) -> Any:
        return List({"phrase": Value("string"), "label": ClassLabel(names=list(labels)), "start": Value("int32"), "end": Value("int32")})

    text, number = Value("string"), Value("int32")
    return Features(
        {
            "schema_version": number,
            "id": text,
            "culture": ClassLabel(names=list(cultures())),
            "split": text,
            "language": text,
            "source": ClassLabel(names=list(get_args(Source))),
            "synthetic": Value("bool"),
            "training": ClassLabel(names=list(get_args(Training))),
            "licence": text,
            "url": text,
            "theme": text,
            "annotator": text,
            "post": {
                "text": text,
                "emotional_distress": spans(INTENSITIES),
                "cultural_signals": spans(SIGNAL_TYPES),
                "demographic_info": dict.fromkeys(DEMOGRAPHIC_FIELDS, text),
                "demographics": {"gender": text, "age_min": number, "age_max": number, "household_size": number},
            },
            "response": {
                "text": text,
                "emotional_support": spans(SUPPORT_STRATEGIES),
                "cultural_signals": spans(SIGNAL_TYPES),
                "empathy_score": number,
            },
        }
    )


def build(release: str | os.PathLike[str] | None = None, cache_dir: str | None = None) -> dict[str, Path]:
    """Prepares every config in the `datasets` cache, so that `load_dataset("culturecare", "chinese")` works anywhere, offline.

    Args:
        release: Folder of the released files; without one (and without `CULTURECARE_RELEASE`) there is no split `test`.
        cache_dir: Cache folder of `datasets`, by default its own.

    Returns:
        Folder in the cache for each config.

    Raises:
        DataError: What is read does not fit the schema.
    """
    builder_class = _builder_class()
    given = release or os.environ.get(RELEASE_VARIABLE)
    # Read before `datasets` does, which would bury what is wrong in errors of its own and leave half a config in the cache.
    for split in ("test", "sample", "train") if given else ("sample", "train"):
        load_instances(split, None, given if split == "test" else None)
    parts = [Path(__file__).read_text(encoding="utf-8"), dataset_revision("sample"), dataset_revision("train")]
    parts += [dataset_revision("test", given)] if given else []
    fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    folders = {}
    for config in ("all", *cultures()):
        builder = builder_class(config_name=config, dataset_name="culturecare", hash=fingerprint, cache_dir=cache_dir, release=given)
        builder.download_and_prepare()
        folder = Path(builder.cache_dir)
        os.utime(folder)  # `load_dataset` takes the newest folder, so that a return to an earlier release is honoured.
        folders[config] = folder
    return folders


@functools.cache
def _builder_class() -> Any:
    """Makes the builder class on first use: importing `datasets` takes longer than a command line may take to start."""
    import datasets

    version = datasets.Version(__version__)

    class CultureCare(datasets.GeneratorBasedBuilder):  # type: ignore[misc]
        """Builder with one config a culture and `all`; splits `test` (where released files are given), `sample` and `train`."""

        VERSION = version
        BUILDER_CONFIGS: ClassVar[list[Any]] = [datasets.BuilderConfig(name=name, version=version) for name in ("all", *cultures())]
        DEFAULT_CONFIG_NAME = "all"

        def __init__(self, *args: Any, release: str | os.PathLike[str] | None = None, **kwargs: Any) -> None:
            # Kept out of the config, whose arguments would change the name that `load_dataset` looks for in the cache.
            self.release = release or os.environ.get(RELEASE_VARIABLE)
            super().__init__(*args, **kwargs)

        def _info(self) -> datasets.DatasetInfo:
            return datasets.DatasetInfo(
                description="Posts by people in distress and peers' replies, annotated for emotion and culture.",
                features=features(),
            )

        def _split_generators(self, dl_manager: Any) -> list[Any]:  # noqa: ARG002 - the name that `datasets` passes.
            names = ["sample", "train"]
            if self.release and (self.config.name == "all" or cultures()[self.config.name].released):
                names.insert(0, "test")
            return [datasets.SplitGenerator(name=name, gen_kwargs={"split": name}) for name in names]

        def _generate_examples(self, split: Split) -> Iterator[tuple[str, dict[str, Any]]]:
            for instance in load_instances(split, self.config.name, self.release):
                yield instance.id, instance.model_dump()

    CultureCare.__module__, CultureCare.__qualname__ = __name__, "CultureCare"
    return CultureCare


def __getattr__(name: str) -> Any:
    if name == "CultureCare":
        return _builder_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
