"""The leaderboard in a real browser."""

from __future__ import annotations

import csv
import functools
import io
import itertools
import re
from typing import TYPE_CHECKING

import pytest

import culturecare_leaderboard.source as source_module
from culturecare_harness.board import open_board, put
from culturecare_harness.bundle import PublicReply, pack, write_bundle
from culturecare_harness.judges import select_judge
from culturecare_harness.protocols import select_protocol
from culturecare_harness.records import Model, reply_id
from culturecare_harness.scoring import build_result
from culturecare_leaderboard.source import Source
from tests.browser import chromium, contrast_failures, served, watch
from tests.bundles import WHEN, jury_of, jury_protocol, make_board, make_bundle, make_jury_bundle, make_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from culturecare_harness.bundle import Bundle
    from tests.browser import Watched

pytestmark = pytest.mark.slow

TEXTS = {
    "arabic": "الله يعينك، ما تشعر به مفهوم تماماً.\n\nأنا معك.",
    "jewish": "זה נשמע כבד מאוד, ואת לא לבד.",
    "chinese": "听起来你一直一个人扛着这些，真的很辛苦。",
    "japanese": "ひとりで抱えてきたんですね。",
    "german": "<script>alert(1)</script><img src=http://elsewhere.example/x.png onerror=alert(2)> ![x](http://elsewhere.example/y.png) "
    "${alert(3)} {{alert 4}} \u202egnorw\u202c <a href='javascript:alert(5)'>a</a>",
}


class Silent:
    def say(self, sentence: str) -> None:
        pass

    def advance(self, finished: int, total: int) -> None:
        pass


def spoken(model: str, quality: float) -> Bundle:
    """A bundle whose replies are in many scripts, or try to get out of the page."""
    run, judged = make_run(model, strategies=("standard", "culture", "cga"), quality=quality)
    replies, ids = [], {}
    for reply in run:
        text = f"{TEXTS.get(reply.culture, '')}\n\n{reply.text} {reply.instance_id}, {reply.strategy}, {model}".strip()
        ids[reply.id] = reply_id(reply.instance_id, reply.strategy, model, text)
        replies.append(reply.model_copy(update={"id": ids[reply.id], "text": text, "language": None}))
    verdicts = [verdict.model_copy(update={"reply_id": ids[verdict.reply_id]}) for verdict in judged]
    protocol = select_protocol("demo")
    result = build_result(replies, verdicts, select_judge(protocol.judges[0].name), Model(name=model, backend="hf", arguments={}))
    submission = {
        "protocol": protocol.name,
        "protocol_hash": protocol.hash,
        "model": model,
        "submitter": model.split("/", maxsplit=1)[0],
        "submitted": WHEN,
    }
    return pack(submission, result, [PublicReply(**reply.model_dump()) for reply in replies], verdicts)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CULTURECARE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boards") / "board"
    make_board(folder, 40)
    put(folder, spoken("aurora/listener", 3.2))
    put(folder, spoken("meridian/companion", 2.9))
    return folder


@pytest.fixture(scope="module")
def address(folder: Path, cache: None) -> Iterator[str]:  # noqa: ARG001
    source = Source(str(folder), Silent(), seconds=0.5)
    source.read()
    source.watch()
    with served(source) as address:
        yield address


@pytest.fixture
def window(browser: Browser) -> Iterator[tuple[Page, Watched]]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(15_000)
    page, seen = watch(context)
    yield page, seen
    context.close()


def there(page: Page, query: str) -> None:
    """Waits until the page shows what the query asks for."""
    page.wait_for_function(
        "query => document.querySelector('.cc[data-query]')?.dataset.query === query && !document.querySelector('[aria-busy]')", arg=query
    )


def rows(page: Page) -> list[str]:
    return page.locator("#ranking tr.row th a").all_inner_texts()


# --- Using it --------------------------------------------------------------------------------------------------------------------


def test_the_ranking_is_searched_filtered_and_sorted_and_the_address_follows(address: str, window: tuple[Page, Watched]) -> None:
    page, _ = window
    page.goto(address)
    page.get_by_role("heading", name="Ranking", exact=True).wait_for()
    assert len(rows(page)) == 50
    page.get_by_label("Search model or submitter").type("listener-1", delay=20)
    there(page, "search=listener-1")
    assert {"listener-1" in name for name in rows(page)} == {True}
    page.get_by_label("Strategy").select_option("cga")
    there(page, "strategy=cga&search=listener-1")
    page.locator("#ranking thead").get_by_role("link", name="Cultural").click()
    there(page, "strategy=cga&search=listener-1&sort=-cultural")
    page.locator("#ranking thead").get_by_role("link", name="Model").click()
    there(page, "strategy=cga&search=listener-1&sort=model")
    assert rows(page) == sorted(rows(page), key=str.casefold)
    assert page.url == f"{address}?strategy=cga&search=listener-1&sort=model"
    page.get_by_role("link", name="Clear all").click()
    there(page, "")
    assert page.get_by_label("Search model or submitter").input_value() == ""
    assert page.get_by_label("Strategy").input_value() == "all"


def test_back_and_forward_go_where_a_reader_was(address: str, window: tuple[Page, Watched]) -> None:
    page, _ = window
    page.goto(address)
    there(page, "")
    page.get_by_label("Weights").select_option("open")
    there(page, "weights=open")
    page.get_by_role("link", name="Cultures").click()
    there(page, "tab=cultures")
    assert page.evaluate("document.activeElement.tagName") == "H2", "the focus follows to the new page"
    page.go_back()
    there(page, "weights=open")
    assert page.get_by_label("Weights").input_value() == "open"
    page.go_back()
    there(page, "")
    assert page.get_by_label("Weights").input_value() == "all"
    page.go_forward()
    there(page, "weights=open")


def test_a_link_opens_what_it_was_copied_from(address: str, window: tuple[Page, Watched]) -> None:
    page, _ = window
    page.goto(f"{address}?protocol=demo&tab=model&model=aurora/listener&culture=jewish&strategy=cga")
    page.get_by_role("heading", name="aurora/listener", level=2).wait_for()
    assert page.title() == "aurora/listener · CultureCare leaderboard"
    page.get_by_role("button", name="Show the replies").click()
    reply = page.locator(".reply").first
    assert TEXTS["jewish"] in reply.inner_text()
    assert reply.locator("p").first.evaluate("p => getComputedStyle(p).direction") == "rtl"


def test_replies_wait_for_the_reader_once_a_visit(address: str, window: tuple[Page, Watched]) -> None:
    page, _ = window
    page.goto(f"{address}?tab=model&model=aurora/listener")
    page.get_by_role("heading", name="Before you read on").wait_for()
    assert page.locator(".reply, blockquote").count() == 0
    page.get_by_role("button", name="Show the replies").click()
    page.locator(".reply").first.wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Replies and verdicts", "the focus is where the reader goes on"
    assert page.locator("blockquote").count() == 5, "posts of the sample are synthetic and shown"
    page.goto(f"{address}?tab=model&model=meridian/companion")
    page.locator(".reply").first.wait_for()
    assert page.get_by_role("heading", name="Before you read on").count() == 0


def test_two_models_are_compared_item_by_item(address: str, window: tuple[Page, Watched]) -> None:
    page, _ = window
    page.goto(f"{address}?tab=model&model=aurora/listener")
    page.get_by_role("link", name="Compare with another model").click()
    page.get_by_role("searchbox", name="Find a model").fill("meridian")
    page.locator(".choices").get_by_role("link", name="meridian/companion").click()
    page.get_by_role("heading", name="Item by item").wait_for()
    assert "42 replies" in page.locator(".lede").inner_text()
    page.get_by_role("button", name="Show the replies").click()
    page.get_by_role("link", name="Read both").first.click()
    page.locator(".both .reply").nth(1).wait_for()
    assert page.locator(".both .verdicts").count() == 2


def test_the_page_works_by_keyboard_alone(address: str, window: tuple[Page, Watched]) -> None:
    page, _ = window
    page.goto(address)
    there(page, "")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    assert page.url == address
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").startswith("Cultural"):
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px", "the focus can be seen"
    page.keyboard.press("Enter")
    there(page, "sort=-cultural")
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Cultural")


def test_exports_are_files(address: str, window: tuple[Page, Watched]) -> None:
    page, _ = window
    page.goto(f"{address}?search=aurora&strategy=cga")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "culturecare-demo-ranking.csv"
    [row] = csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig")))
    assert (row["model"], row["strategy"]) == ("aurora/listener", "cga")
    assert page.request.get(f"{address}export/gains.json?search=aurora").json()["rows"]
    assert page.request.get(f"{address}export/secrets.csv").status == 404


def test_bundles_are_checked_and_each_gets_its_reason(address: str, folder: Path, tmp_path: Path, window: tuple[Page, Watched]) -> None:
    page, seen = window
    before = sorted(folder.rglob("*"))
    good, hostile = tmp_path / "good.zip", tmp_path / "hostile.zip"
    write_bundle(good, make_bundle("new/model"))
    hostile.write_bytes(b"<script>alert(1)</script>")
    page.goto(f"{address}?tab=submit")
    verdict = page.locator("#check [role=status]")
    for path, words in ((hostile, "Refused"), (good, "This bundle would be taken")):
        page.locator("#check input[type=file]").set_input_files(path)
        page.get_by_text(path.name.removesuffix(".zip")).first.wait_for()
        page.get_by_role("button", name="Check the bundle").click()
        verdict.get_by_text(words).wait_for()
    assert sorted(folder.rglob("*")) == before, "the page never writes to the board"
    assert seen.alerts == []


def test_what_is_put_on_the_board_is_shown(address: str, folder: Path, window: tuple[Page, Watched]) -> None:
    page, _ = window
    put(folder, make_bundle("late/comer", quality=2.0, submitter="late"))
    page.goto(f"{address}?search=late")
    for _ in range(100):
        if page.locator("#ranking tr.row").count():
            break
        page.wait_for_timeout(100)
        page.get_by_role("button", name="Apply").click()
    assert rows(page) == ["late/comer"] * 2


# --- What it must not do ---------------------------------------------------------------------------------------------------------


def test_nothing_is_asked_of_any_other_host_and_nothing_foreign_runs(address: str, window: tuple[Page, Watched]) -> None:
    page, seen = window
    page.goto(f"{address}?tab=model&model=aurora/listener&culture=german")
    page.get_by_role("button", name="Show the replies").click()
    shown = page.locator(".reply").first
    shown.wait_for()
    assert "<script>alert(1)</script>" in shown.inner_text()
    assert "U+202E" in shown.inner_text()
    assert page.locator(".reply :is(script, img, a, iframe)").count() == 0
    for tab in ("Ranking", "Cultures", "Strategies", "Compare", "Submit", "About"):
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=tab).click()
        page.get_by_role("heading", level=2, name=tab).wait_for()
    page.locator("#check, h2").first.wait_for()
    page.wait_for_load_state("networkidle")
    own = re.sub(r"^http://|/$", "", address)
    assert seen.hosts <= {own, "data", "blob"}
    assert seen.alerts == []
    assert seen.complaints == []


def test_the_policy_keeps_the_browser_from_other_hosts(address: str, window: tuple[Page, Watched]) -> None:
    page, _ = window
    answer = page.goto(address)
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http://" not in policy
    assert "*" not in policy
    there(page, "")
    blocked = page.evaluate(
        "() => new Promise(done => {"
        " document.addEventListener('securitypolicyviolation', event => done(event.effectiveDirective), {once: true});"
        " const image = new Image(); image.src = 'http://elsewhere.example/x.png'; })"
    )
    assert blocked == "img-src"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_every_page_reads_and_fits(address: str, browser: Browser, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page, _ = watch(context)
    pages = ("", "tab=cultures", "tab=strategies", "tab=model", "tab=model&model=aurora/listener", "tab=submit", "tab=about")
    for query in (*pages, "tab=compare&model=aurora/listener&compare=meridian/companion", "tab=model&model=none"):
        page.goto(f"{address}?{query}")
        page.wait_for_selector(".cc[data-query]")
        if "aurora" in query:
            accept = page.locator("[data-accept]")
            if accept.count():
                accept.click()
                accept.wait_for(state="detached")
        assert contrast_failures(page) == [], query
        assert page.evaluate("document.documentElement.scrollWidth") <= width, query
        levels = [int(name[1]) for name in page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => h.tagName)")]
        assert levels[:2] == [1, 2], query
        assert max((lower - upper for upper, lower in itertools.pairwise(levels)), default=0) <= 1, query
        unnamed = page.evaluate(
            "[...document.querySelectorAll('select, input:not([type=hidden]):not([type=file]), button')]"
            ".filter(field => !(field.labels?.length || field.ariaLabel || field.textContent.trim())).map(field => field.outerHTML)"
        )
        assert unnamed == [], query
    context.close()


def test_a_heat_map_on_a_telephone_breaks_no_culture_and_wastes_no_line(address: str, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 900})
    page, _ = watch(context)
    page.goto(f"{address}?tab=cultures")
    page.wait_for_selector(".heatmap")
    # The first map has cultures down its side, the second models, whose names may take two lines.
    heights = page.locator(".heatmap").first.locator("tbody th").evaluate_all("heads => heads.map(head => head.offsetHeight)")
    assert max(heights) < 45
    assert page.locator(".heatmap").nth(1).locator("tbody th").evaluate_all("heads => Math.max(...heads.map(h => h.offsetHeight))") < 75
    # Above the words of a head there is its padding and nothing else.
    empty = (
        "heads => heads.filter(head => { const words = document.createRange(); words.selectNodeContents(head);"
        " return words.getBoundingClientRect().height < head.offsetHeight - 20; }).map(head => head.textContent)"
    )
    for number in (0, 1):
        assert page.locator(".heatmap").nth(number).locator("thead th:not(:first-child)").evaluate_all(empty) == []
    context.close()


def test_a_jurys_grades_can_be_read_on_a_telephone(browser: Browser, tmp_path: Path, cache: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    jury = jury_of("meta-llama/Llama-3.1-70B-Instruct", "openai/o3-mini", "Qwen/Qwen2.5-72B-Instruct", at_least=2)
    protocol = jury_protocol(jury)
    put(tmp_path, make_jury_bundle(jury, missing=9))
    put(tmp_path, make_jury_bundle(jury, "example/other", submitter="other"))
    monkeypatch.setattr(source_module, "open_board", functools.partial(open_board, known={protocol.name: protocol}))
    source = Source(str(tmp_path), Silent())
    source.read()
    with served(source) as address:
        for width in (1400, 390):
            context = browser.new_context(viewport={"width": width, "height": 900})
            page, seen = watch(context)
            page.goto(f"{address}?tab=model&model=example/listener")
            page.get_by_role("button", name="Show the replies").click()
            verdicts = page.locator(".verdicts").first
            verdicts.wait_for()
            assert verdicts.get_by_role("columnheader").all_inner_texts() == ["Dimension", "Jury", "a", "b", "c"]
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert contrast_failures(page) == []
            page.goto(f"{address}?tab=compare&model=example/listener&compare=example/other")
            page.get_by_role("link", name="Read both").first.click()
            page.locator(".both .verdicts").first.wait_for()
            assert page.locator(".opened :is(blockquote, .reply)").evaluate_all("all => Math.max(...all.map(e => e.offsetWidth))") < width
            for tab in ("Ranking", "Cultures", "Strategies", "Submit", "About"):
                page.get_by_role("navigation", name="Pages").get_by_role("link", name=tab).click()
                page.get_by_role("heading", level=2, name=tab).wait_for()
            assert seen.complaints == []
            context.close()


# --- Speed -----------------------------------------------------------------------------------------------------------------------


def test_two_thousand_submissions_are_visible_within_a_second_and_a_half(
    browser: Browser,
    tmp_path_factory: pytest.TempPathFactory,
    cache: None,  # noqa: ARG001
) -> None:
    folder = tmp_path_factory.mktemp("large")
    make_board(folder, 2000)
    source = Source(str(folder), Silent())
    source.read()
    with served(source) as address:
        seen = []
        for _ in range(5):
            context = browser.new_context(viewport={"width": 1400, "height": 900})
            page = context.new_page()
            page.goto(address, wait_until="commit")
            page.locator("#ranking tr.row").first.wait_for()
            # From the start of the navigation to the first picture with a row in it.
            seen.append(page.evaluate("() => new Promise(done => requestAnimationFrame(() => done(performance.now())))"))
            assert "4,000 of 4,000 rows" in page.locator(".above").inner_text()
            context.close()
        assert sorted(seen)[2] < 1500, seen
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        page = context.new_page()
        page.goto(address)
        there(page, "")
        page.locator("#ranking thead").get_by_role("link", name="Quality").click()
        there(page, "sort=-quality")
        page.get_by_label("Parameters").select_option("4B to 15B")
        there(page, "size=4B+to+15B&sort=-quality")
        page.get_by_label("Search model or submitter").fill("listener-1999")
        there(page, "size=4B+to+15B&search=listener-1999&sort=-quality")
        page.get_by_role("link", name="Clear all").click()
        there(page, "")
        page.locator("#ranking tr.row th a").first.click()
        page.get_by_role("link", name="Compare with another model").click()
        page.locator(".choices a").first.click()
        page.get_by_role("heading", name="Item by item").wait_for()
        context.close()
