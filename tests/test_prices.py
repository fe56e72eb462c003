"""Prices: what tokens cost, which lists there are, and what a limit lets through."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culturecare import CultureCareError
from culturecare_harness.backends.openai import OpenAIBackend
from culturecare_harness.judges import JudgeFile, judges
from culturecare_harness.prices import Price, Spending, listed_price, price_lists
from tests.servers import openai_judge

if TYPE_CHECKING:
    from pathlib import Path

OPENAI = "https://api.openai.com/v1"


@pytest.mark.parametrize("provider", price_lists())
def test_every_list_says_where_its_prices_are_from_and_since_when(provider: str) -> None:
    prices = price_lists()[provider]
    assert prices.base_url.startswith("https://")
    assert prices.source.startswith("https://")
    assert prices.models
    for model, price in prices.models.items():
        assert 0 < price.cached <= price.input < price.output, model
        assert dt.date(2024, 1, 1) < price.date <= dt.datetime.now(tz=dt.UTC).date(), model


def test_every_packaged_judge_at_a_provider_has_a_price() -> None:
    at_openai = [judge for judge in judges().values() if judge.backend == "openai" and judge.base_url is None]
    assert [judge.name for judge in at_openai if listed_price(judge.model, OPENAI) is None] == []


def test_a_price_is_of_a_model_at_its_provider_and_of_no_other_of_that_name() -> None:
    assert listed_price("gpt-4o-mini", f"{OPENAI}/") == Price(input=0.15, cached=0.075, output=0.6, batch_share=0.5)
    assert listed_price("gpt-4o-mini", "http://localhost:8000/v1") is None
    assert listed_price("gpt-4o-2024-05-13", OPENAI) is None


def test_cached_tokens_and_batches_cost_less() -> None:
    price = Price(input=2, cached=0.5, output=8, batch_share=0.5)
    assert price.cost(1_000_000, 100_000) == pytest.approx(2.8)
    assert price.cost(1_000_000, 100_000, 400_000) == pytest.approx(2.2)
    assert price.cost(1_000_000, 100_000, 400_000, batch=True) == pytest.approx(1.1)
    assert Price(input=2, output=8).cost(1_000_000, 0, 400_000, batch=True) == pytest.approx(2)


def test_what_is_spent_is_what_answers_cost_and_the_most_of_those_that_are_not_known() -> None:
    spending = Spending(Price(input=1, output=10))
    most = spending.most(1_000_000, 100_000)
    assert most == pytest.approx(2)
    for _ in range(4):
        spending.reserve(most)
    spending.settle(most, 500_000, 1_000)
    assert spending.cost == pytest.approx(0.51)
    spending.settle(most, None, None)
    assert spending.cost == pytest.approx(2.51)
    spending.give_up(most)
    assert spending.cost == pytest.approx(4.51)
    spending.release(most)
    assert spending.cost == pytest.approx(4.51)
    assert str(spending) == "2 calls, 500,000 tokens in, 1,000 out, $4.51."


def test_without_a_price_tokens_are_counted_alone() -> None:
    spending = Spending()
    spending.settle(spending.most(9, 9), 1200, 1, 1000)
    assert str(spending) == "1 calls, 1,200 tokens in (1,000 from the cache), 1 out."


@given(st.lists(st.tuples(st.integers(1, 10_000), st.floats(0, 1), st.sampled_from(["settle", "give_up", "release"])), max_size=60))
def test_the_limit_is_never_passed_by_calls_that_were_let_through(calls: list[tuple[int, float, str]]) -> None:
    spending = Spending(Price(input=100, output=100), limit=1.0)
    under_way = []
    for tokens, share, end in calls:
        most = spending.most(tokens, 10)
        if spending.affords(most):
            spending.reserve(most)
            under_way.append((most, int(tokens * share), end))
        if len(under_way) > 5:
            most, used, how = under_way.pop(0)
            spending.settle(most, used, 10) if how == "settle" else getattr(spending, how)(most)
    for most, _, _ in under_way:
        spending.give_up(most)
    assert spending.cost <= 1 + 1e-9


def test_a_limit_without_a_price_is_refused_before_any_call(tmp_path: Path) -> None:
    judge = openai_judge(tmp_path, "http://localhost:1/v1", max_cost=1)
    with pytest.raises(
        CultureCareError, match=r"max_cost, but the price of model 'scripted' at http://localhost:1/v1 is not known; .*price: "
    ):
        OpenAIBackend(judge)


def test_the_address_that_the_environment_names_is_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = JudgeFile(name="j", summary="", backend="openai", model="o3-mini", mode="sampled", max_cost=1, api_key_env=None)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert OpenAIBackend(judge).spending.price == listed_price("o3-mini", OPENAI)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    with pytest.raises(CultureCareError, match="is not known"):
        OpenAIBackend(judge)
