"""Prices: what a judge's tokens cost, and what was spent. Each provider is a YAML file here; adding one is adding a file."""

from __future__ import annotations

import datetime as dt
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from culturecare import Record, parse_record, read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ListedPrice", "Price", "PriceList", "Spending", "listed_price", "price_lists"]

_MILLION = 1_000_000


class Price(Record):
    """What a model's tokens cost, in US dollars for a million.

    Attributes:
        input: Tokens of the prompt.
        output: Tokens of the answer, thoughts included.
        cached: Tokens of the prompt that the server had in its cache; null where they cost as much as the others.
        batch_share: Share of the price that is asked for in a batch, in (0, 1].
    """

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)
    batch_share: float = Field(default=1.0, gt=0, le=1)

    def cost(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0, *, batch: bool = False) -> float:
        """US dollars for so many tokens; `cached_tokens` are among `input_tokens`."""
        cached = self.input if self.cached is None else self.cached
        full = (input_tokens - cached_tokens) * self.input + cached_tokens * cached + output_tokens * self.output
        return full * (self.batch_share if batch else 1) / _MILLION


class ListedPrice(Record):
    """A model's price in a list, and the day from which it held."""

    input: float = Field(ge=0)
    cached: float = Field(ge=0)
    output: float = Field(ge=0)
    date: dt.date


class PriceList(Record):
    """A provider's prices.

    Attributes:
        base_url: Address of the provider's API: the names below are of models there, and of no other server's.
        source: Where the provider says its prices.
        batch_share: Share of the price that is asked for in a batch.
        models: Price of each model, by the name that a call asks for. A dated name is a model of its own.
    """

    base_url: str
    source: str
    batch_share: float = Field(gt=0, le=1)
    models: dict[str, ListedPrice]


@functools.cache
def price_lists() -> Mapping[str, PriceList]:
    """The price lists by provider.

    Raises:
        DataError: A list does not fit.
    """
    return {path.stem: parse_record(PriceList, read_yaml(path), where=str(path)) for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def listed_price(model: str, base_url: str) -> Price | None:
    """Price of `model` at the server `base_url`; null where no list has it."""
    for provider in price_lists().values():
        if provider.base_url.rstrip("/") == base_url.rstrip("/") and model in provider.models:
            listed = provider.models[model]
            return Price(input=listed.input, output=listed.output, cached=listed.cached, batch_share=provider.batch_share)
    return None


class Spending:
    """What a judge's calls have cost since it was opened, and what those under way may still cost.

    Attributes:
        price: What tokens cost; null where it is not known.
        limit: US dollars that must not be passed; null for any.
        calls: Calls that were answered.
        input_tokens: Tokens of the prompts that were answered.
        cached_tokens: Those of them that the server had in its cache.
        output_tokens: Tokens of the answers.
        cost: US dollars, as far as the price is known. Calls that were given up, or whose tokens the server did not say, count with the
            most that they may have cost.
    """

    def __init__(self, price: Price | None = None, limit: float | None = None, *, batch: bool = False) -> None:
        self.price, self.limit = price, limit
        self.calls = self.input_tokens = self.cached_tokens = self.output_tokens = 0
        self.cost = 0.0
        self._batch, self._reserved = batch, 0.0

    def most(self, input_tokens: int, output_tokens: int) -> float:
        """US dollars that so many tokens cost where nothing is cached; 0 where the price is not known."""
        return self.price.cost(input_tokens, output_tokens, batch=self._batch) if self.price else 0.0

    def affords(self, cost: float) -> bool:
        """Whether a call that may cost so much keeps within the limit, even if all that are under way cost the most they may."""
        return self.limit is None or self.cost + self._reserved + cost <= self.limit

    def reserve(self, cost: float) -> None:
        """Takes note of a call that begins and may cost so much."""
        self._reserved += cost

    def release(self, cost: float) -> None:
        """Takes note of a call that was refused and cost nothing."""
        self._reserved -= cost

    def give_up(self, cost: float) -> None:
        """Takes note of a call without an answer, which the provider may charge for all the same."""
        self._reserved -= cost
        self.cost += cost

    def settle(self, cost: float, input_tokens: int | None, output_tokens: int | None, cached_tokens: int = 0) -> None:
        """Takes note of an answer, and of what it did cost in place of what it might have cost."""
        self._reserved -= cost
        self.calls += 1
        self.input_tokens += input_tokens or 0
        self.output_tokens += output_tokens or 0
        self.cached_tokens += cached_tokens
        if self.price is None:
            return
        if input_tokens is None or output_tokens is None:
            self.cost += cost
        else:
            self.cost += self.price.cost(input_tokens, output_tokens, cached_tokens, batch=self._batch)

    def __str__(self) -> str:
        """One sentence for the terminal."""
        cached = f" ({self.cached_tokens:,} from the cache)" if self.cached_tokens else ""
        cost = "" if self.price is None else f", ${self.cost:.4f}" if self.cost < 1 else f", ${self.cost:,.2f}"
        return f"{self.calls:,} calls, {self.input_tokens:,} tokens in{cached}, {self.output_tokens:,} out{cost}."
