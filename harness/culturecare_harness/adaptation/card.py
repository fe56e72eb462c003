"""The model card of an adapter: `README.md` in its folder, with the front matter that the Hub reads."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from culturecare import CultureCareError
from culturecare_harness.adaptation.record import ADAPTATION, AdaptationRecord, BenchmarkScores, read_adaptation
from culturecare_harness.inert import markdown, plain
from culturecare_harness.leaks import leaks
from culturecare_harness.packaged import PACKAGED
from culturecare_harness.records import whole_file, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CARD", "render_card", "with_scores", "write_card"]

CARD = "README.md"
_PACKAGED_ON_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""What the packaged model was converted from."""

_KEPT_FIELDS = ("accelerate", "peft", "torch", "transformers", "trl", "culturecare")


def write_card(folder: Path, record: AdaptationRecord) -> None:
    """Writes the card into an adapter's folder in one step.

    Raises:
        CultureCareError: It would tell of a path, a key or an address of this machine, or cannot be written.
    """
    text = render_card(record)
    if found := leaks(text):
        raise CultureCareError(f"{folder / CARD}: {found} would stand in it; name model and data without it")
    with whole_file(folder / CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")


def with_scores(folder: Path, scores: BenchmarkScores) -> AdaptationRecord:
    """Puts the benchmark's scores before and after into an adapter's record and card, in the place of earlier ones.

    Args:
        folder: The adapter's folder.
        scores: As `culturecare adapt compare` made them.

    Returns:
        The record as it now stands in the folder.

    Raises:
        CultureCareError: The folder holds no adapter of `culturecare adapt`, or cannot be written.
    """
    record = read_adaptation(folder).model_copy(update={"scores": scores})
    write_card(folder, record)
    write_json(folder / ADAPTATION, record)
    return record


def render_card(record: AdaptationRecord) -> str:
    """The card as Markdown, front matter included."""
    from huggingface_hub import ModelCardData

    method, base = record.training.settings.method, _hub_name(record.training.model)
    licence = "cc-by-4.0" if set(record.data.licences) == {"CC-BY-4.0"} else "other"
    front = ModelCardData(
        base_model=base,
        library_name="peft",
        pipeline_tag="text-generation",
        language=list(record.data.languages) or None,
        license=licence,
        license_name="as-the-data-says" if licence == "other" else None,
        tags=["lora", "trl", method, "culturecare", *([f"base_model:adapter:{base}"] if base else [])],
    )
    title = f"{record.training.model} adapted to {record.training.culture or 'CultureCare'}"
    comparison = record.heldout.comparison
    difference = _signed(record.heldout.adapted - record.heldout.base)
    body = _template().render(
        record=record,
        title=markdown(title),
        settings={name: _written(value) for name, value in record.training.settings.model_dump(mode="json").items() if name != "summary"},
        difference=_interval(comparison.difference, comparison.low, comparison.high) if comparison.reason is None else difference,
        versions=", ".join(f"{name} {record.versions[name]}" for name in _KEPT_FIELDS if name in record.versions),
        left_out=", ".join(f"{number} {reason}" for reason, number in record.data.left_out.items()),
        loadable=plain(base or record.training.model),
        revision=plain(record.training.revision or ""),
    )
    return f"---\n{front.to_yaml()}\n---\n\n{body.strip()}\n"


def _hub_name(model: str) -> str | None:
    """The base model's name on the Hub, null for a folder."""
    if model == PACKAGED:
        return _PACKAGED_ON_HUB
    return model if model.count("/") == 1 else None


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701 - Markdown; foreign text goes through `md` or `code`.
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"md": markdown, "code": lambda text: f"`{plain(text).replace('`', '')}`"}
    environment.globals |= {"counted": _counted, "counts": _counts, "number": _number, "signed": _signed, "interval": _interval}
    return environment.get_template("card.md.jinja")


def _counted(number: int, one: str, several: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items())


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _interval(difference: float | None, low: float | None, high: float | None) -> str:
    if difference is None or low is None or high is None:
        return "–" if difference is None else _signed(difference)
    return f"{_signed(difference)} [{_signed(low)}, {_signed(high)}]"


def _written(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
