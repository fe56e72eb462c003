"""The report in a real browser: it asks for nothing, and reads in light and dark, on narrow screens and on paper."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from culturecare_harness.report import make_report
from tests.browser import chromium, contrast_failures, watch
from tests.published_runs import RELEASED, flat_means, make_comparison, make_release, make_run, published_means
from tests.test_report import HOSTILE, Silent, people, sample_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report shaped like the paper's table, and one of a trial on synthetic posts whose replies are hostile."""
    folder = tmp_path_factory.mktemp("reports")
    release = make_release(folder / "release", dict.fromkeys(RELEASED, 20))
    aya = make_run(folder / "aya", release, "CohereLabs/aya-expanse-8b", published_means("Aya-Expanse-8B"), spread=(0.4, 0.3))
    other = make_run(folder / "other", release, "lab/" + "long-name-" * 12, flat_means(), missing=0.02)
    make_comparison(aya, release, {"standard": 0.6, "cga": 0.9})
    rated = people(folder / "score.json", unsuitable=(0.12, 0.06, 0.2))
    paper, _ = make_report([aya, other], folder / "paper.html", Silent(), release=release, people=[rated])
    trial, _ = make_report([sample_run(folder / "run", text=f"{HOSTILE}\n\n{'unbroken' * 80}")], folder / "trial.html", Silent())
    return {"paper": paper, "trial": trial}


def opened(browser: Browser, path: Path, *, width: int, scheme: str) -> tuple[Page, list[str], list[str]]:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page, seen = watch(context)
    page.goto(path.as_uri())
    assert seen.hosts == {"file"}
    return page, seen.complaints, seen.alerts


@pytest.mark.parametrize("name", ["paper", "trial"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_asks_for_nothing_and_can_be_read(browser: Browser, reports: dict[str, Path], name: str, scheme: str, width: int) -> None:
    page, complaints, alerts = opened(browser, reports[name], width=width, scheme=scheme)
    assert (complaints, alerts) == ([], [])
    assert contrast_failures(page) == []
    # Tables and charts scroll in themselves; the page never scrolls sideways.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelectorAll('script, img, iframe, link').length") == 0
    beyond = page.evaluate(
        """() => [...document.querySelectorAll('svg text')].filter(text => {
             const box = text.getBBox(), view = text.ownerSVGElement.viewBox.baseVal;
             return box.x < view.x - 1 || box.x + box.width > view.x + view.width + 1 || box.y + box.height > view.y + view.height + 1;
           }).map(text => text.textContent)"""
    )
    assert beyond == []
    page.context.close()


def test_texts_of_a_chart_do_not_run_over_each_other(browser: Browser, reports: dict[str, Path]) -> None:
    page, _, _ = opened(browser, reports["paper"], width=1280, scheme="light")
    overlaps = page.evaluate(
        """() => [...document.querySelectorAll('svg')].flatMap(svg => {
             const texts = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
             const touch = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4;
             return texts.flatMap(([first, a], place) =>
               texts.slice(place + 1).filter(([, b]) => touch(a, b)).map(([second]) => first + ' / ' + second));
           })"""
    )
    assert overlaps == []
    page.context.close()


def test_tables_behind_charts_open_and_marked_cells_say_what_they_rest_on(browser: Browser, reports: dict[str, Path]) -> None:
    page, _, _ = opened(browser, reports["paper"], width=390, scheme="light")
    for summary in page.locator("details summary").all():
        summary.click()
    tables = page.locator("#heat details table")
    assert tables.count() == 2
    assert all(table.is_visible() for table in tables.all())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    marked = page.locator("#heat td", has_text="*").all()
    assert marked
    assert all(re.fullmatch(r"\d\.\d\d \[.+\], \d+ of \d+ replies", str(cell.get_attribute("title"))) for cell in marked)
    assert page.locator("#scores .basis", has_text=re.compile(r"n \d+.* of 20")).count() > 0
    page.context.close()


def test_the_sections_are_reached_by_keyboard(browser: Browser, reports: dict[str, Path]) -> None:
    page, _, _ = opened(browser, reports["paper"], width=1280, scheme="light")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answers"
    page.keyboard.press("Enter")
    assert page.url.endswith("#answers")
    for link in page.locator("nav a").all():
        target = str(link.get_attribute("href"))
        assert page.locator(target).count() == 1
    page.context.close()


def test_paper_is_white_and_shows_tables_whole_and_links(browser: Browser, reports: dict[str, Path]) -> None:
    page, _, _ = opened(browser, reports["paper"], width=703, scheme="dark")  # A4 less its margins.
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert contrast_failures(page) == []
    cut = page.evaluate(
        """() => [...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth + 1)
             .map(box => box.textContent.trim().slice(0, 60))"""
    )
    assert cut == []
    after = page.evaluate("getComputedStyle(document.querySelector('a[href^=http]'), '::after').content")
    assert "arxiv.org" in json.loads(after.replace('" "', ""))
    pdf = page.pdf(prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF")
    assert 5 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 40
    page.context.close()
