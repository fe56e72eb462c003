"""Protocols: what a run must have done for its scores to stand beside others'. Each is a YAML file here.

A protocol pins everything that can move a score: the posts, the prompts, the settings of generation, the judge. It is never changed once
results were made under it: a new prompt, dataset or judge is a new file, and a protocol whose judge is gone is retired; its results stay.
"""

from __future__ import annotations

import datetime as dt
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from culturecare import CultureCareError, Record, parse_record, read_yaml
from culturecare_harness.records import Hash, Judge, digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from culturecare_harness.dataset import Selection
    from culturecare_harness.generate import Generation
    from culturecare_harness.records import Dataset, Reply

__all__ = ["JuryPin", "Posts", "Protocol", "Rejudging", "followed", "plan", "protocols", "select_protocol", "settings_fit"]


class Posts(Record):
    """The posts of a protocol.

    Attributes:
        split: Split of the dataset.
        revision: Fingerprint of the split, from `culturecare.dataset_revision`.
        excerpt: Whether posts are known by their annotated phrases alone.
        per_culture: The first so many posts of each culture, null for all.
        cultures: Number of posts of each culture.
        instances: Fingerprint of the posts' cultures and ids, from `Posts.fingerprint`.
    """

    split: Literal["test", "sample", "train"]
    revision: Hash
    excerpt: bool
    per_culture: int | None = Field(default=None, ge=1)
    cultures: dict[str, int] = Field(min_length=1)
    instances: Hash

    @staticmethod
    def fingerprint(posts: Iterable[tuple[str, str]]) -> str:
        """Names a set of posts, each given as its culture and id."""
        return digest(sorted(set(posts)))


class JuryPin(Record):
    """A jury as a protocol fixes it; a judge of the tested model's family is left out of it."""

    name: str
    judges: tuple[Judge, ...] = Field(min_length=2)
    at_least: int | None = Field(default=None, ge=1)


class Rejudging(Record):
    """How a submission is verified.

    Attributes:
        share: Share of the replies that the protocol's judge grades again.
        at_least: But at least so many replies.
        tolerance: The mean of the submitted scores may differ from the judge's new ones by so many grades.
    """

    share: float = Field(gt=0, le=1)
    at_least: int = Field(ge=1)
    tolerance: float = Field(gt=0, le=4)


class Protocol(Record):
    """A protocol.

    Attributes:
        name: The file's name without its ending.
        title: Heading of its table.
        summary: One sentence for tables and help texts.
        measure: Whether its scores mean something; the demo's do not.
        status: `retired` where no further submission is taken.
        retired_because: Why, where it is retired.
        retired_on: The last day (UTC) of which submissions stay, where it is retired. When one was handed in is the submitter's own word.
        posts: What is replied to.
        strategies: Prompt hash of each strategy that may be submitted.
        required: Strategies that every submission has.
        generation: Settings of generation, as in `Generation`.
        judge: Who grades, unless a jury does.
        jury: Who grades, unless one judge does.
        formula: How the score that ranks is made, in words.
        coverage_floor: Least share of verdicts with a score, for each strategy.
        withheld_ceiling: Greatest share of replies whose text is left out for repeating a post that may not be shown.
        rejudging: How a submission is verified.
    """

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    title: str = Field(min_length=1)
    summary: str = Field(min_length=1)
    measure: bool = True
    status: Literal["current", "retired"]
    retired_because: str | None = None
    retired_on: dt.date | None = None
    posts: Posts
    strategies: dict[str, Hash] = Field(min_length=1)
    required: tuple[str, ...] = Field(min_length=1)
    generation: dict[str, float | int]
    judge: Judge | None = None
    jury: JuryPin | None = None
    formula: str = Field(min_length=1)
    coverage_floor: float = Field(default=0.98, ge=0, le=1)
    withheld_ceiling: float = Field(default=0.1, ge=0, le=1)
    rejudging: Rejudging

    @model_validator(mode="after")
    def _fits_together(self) -> Protocol:
        if (self.judge is None) == (self.jury is None):
            raise ValueError("a protocol names either a judge or a jury")
        if any((self.status == "retired") != (said is not None) for said in (self.retired_because, self.retired_on)):
            raise ValueError("retired_because and retired_on say why and when a protocol was retired, and stand in no other")
        if stray := [name for name in self.required if name not in self.strategies]:
            raise ValueError(f"required: {stray[0]!r} is not among the strategies")
        return self

    @property
    def judges(self) -> tuple[Judge, ...]:
        """Who grades: one judge, or those of the jury."""
        return self.jury.judges if self.jury is not None else (self.judge,) if self.judge is not None else ()

    @property
    def hash(self) -> str:
        """Fingerprint of all that can move a score or its acceptance; retiring a protocol or rewording its title leaves it as it is."""
        return digest(self.model_dump(mode="json", exclude={"title", "summary", "status", "retired_because", "retired_on"}))

    def selection(self, release: Path | None) -> Selection:
        """The protocol's choice of posts.

        Args:
            release: Folder of the released files, for a protocol on split `test`.

        Raises:
            CultureCareError: The released files are missing, or the dataset is not the one that the protocol is about.
        """
        import culturecare
        from culturecare_harness.dataset import Selection

        posts = self.posts
        folder = culturecare.release_dir(release) if posts.split == "test" else None
        if (revision := culturecare.dataset_revision(posts.split, folder)) != posts.revision:
            raise CultureCareError(
                f"protocol {self.name!r} is about revision {posts.revision} of split {posts.split!r}, but here is {revision}: "
                "use the files as they were published, without texts of your own"
            )
        return Selection(
            split=posts.split,
            release=folder,
            cultures=tuple(posts.cultures),
            text="excerpt" if posts.excerpt else "full",
            per_culture=posts.per_culture,
        )


@functools.cache
def protocols() -> Mapping[str, Protocol]:
    """The protocols that come with the package, by name: those that measure something and are current first.

    Raises:
        DataError: A protocol's file does not fit.
    """
    found = [
        parse_record(Protocol, {"name": path.stem, **read_yaml(path)}, where=str(path))
        for path in sorted(Path(__file__).parent.glob("*.yaml"))
    ]
    found.sort(key=lambda known: (not known.measure, known.status != "current", known.posts.split != "test"))
    return {known.name: known for known in found}


def select_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        CultureCareError: There is none.
    """
    if name not in protocols():
        raise CultureCareError(f"unknown protocol {name!r}: choose from {', '.join(protocols())}")
    return protocols()[name]


def followed(dataset: Dataset, replies: Sequence[Reply], strategies: Mapping[str, str], judges: Sequence[Judge]) -> str | None:
    """The protocol that a run followed, null where it followed none: told from what was done, not from what was asked for.

    Args:
        dataset: What the model was tested on.
        replies: What it replied.
        strategies: Prompt hash of each strategy.
        judges: Who graded.
    """
    fingerprint = Posts.fingerprint((reply.culture, reply.instance_id) for reply in replies)
    for known in protocols().values():
        posts = known.posts
        if (
            (posts.split, posts.revision, posts.excerpt, posts.instances) == (dataset.split, dataset.revision, dataset.excerpt, fingerprint)
            and all(known.strategies.get(name) == prompt for name, prompt in strategies.items())
            and set(known.required) <= set(strategies)
            and settings_fit(known, replies[0].generation)
            and (list(judges) == [known.judge] if known.judge is not None else len(judges) > 1 and set(judges) <= set(known.judges))
        ):
            return known.name
    return None


def plan(protocol: Protocol, strategies: Sequence[str] | None, release: Path | None) -> tuple[list[str], Selection, Generation]:
    """What a run must do to follow a protocol.

    Args:
        protocol: Which.
        strategies: Names of those that are wanted, null for all of the protocol.
        release: Folder of the released files, for a protocol on split `test`.

    Returns:
        Names of the strategies, the choice of posts, and the settings of generation.

    Raises:
        CultureCareError: The protocol is retired or has no such strategy, a strategy that it asks for is left out, the released files are
            missing, or the dataset or a prompt is no longer what the protocol pins.
    """
    from culturecare_harness.generate import Generation
    from culturecare_harness.strategies import strategies as all_strategies

    if protocol.status == "retired":
        raise CultureCareError(f"protocol {protocol.name!r} is retired: {protocol.retired_because}")
    names = [name.strip() for name in strategies] if strategies is not None else list(protocol.strategies)
    if unknown := [name for name in names if name not in protocol.strategies]:
        raise CultureCareError(f"protocol {protocol.name!r} has no strategy {unknown[0]!r}: choose from {', '.join(protocol.strategies)}")
    if missing := [name for name in protocol.required if name not in names]:
        raise CultureCareError(f"protocol {protocol.name!r} asks for the strategy {missing[0]!r} too")
    selection = protocol.selection(release)
    if changed := [name for name in names if all_strategies()[name].hash != protocol.strategies[name]]:
        raise CultureCareError(f"strategy {changed[0]!r} has another prompt in this version than protocol {protocol.name!r} pins")
    return names, selection, Generation.model_validate(protocol.generation)


def settings_fit(protocol: Protocol, generation: Mapping[str, Any]) -> bool:
    """Whether replies were generated as the protocol says. Of lm-eval's own samples, which name no seed, the rest is compared."""
    return all(generation.get(name) == value for name, value in protocol.generation.items() if name != "seed" or name in generation)
