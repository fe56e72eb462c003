"""The web form in a real browser, on a server that is killed for real."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from culturecare_harness.human.forms import select_language
from culturecare_harness.human.items import asked, read_tokens
from culturecare_harness.human.ratings import completeness, latest, ratings_path, read_ratings
from culturecare_harness.human.web.consents import give_consent
from culturecare_harness.human.web.words import select_words
from tests.browser import chromium, contrast_failures, watch
from tests.raters import NOON, answers, make_run, small_packet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

    from culturecare_harness.human.items import Item, OpenPacket
    from culturecare_harness.human.ratings import Rating
    from tests.browser import Watched

pytest.importorskip("fastapi", reason="needs the extra `human`")
pytestmark = pytest.mark.slow

RATER = "german-1"
CULTURES = ("german", "arabic", "jewish", "chinese")
_SERVE = """
import sys
from pathlib import Path
from culturecare_harness.human.web import serve

class Aloud:
    def say(self, sentence):
        print(sentence, flush=True)

    def advance(self, finished, total):
        pass

serve(Path(sys.argv[1]), Aloud(), port=int(sys.argv[2]))
"""


class Server:
    """`culturecare human serve`, in a process of its own that can be killed and started again at the same address."""

    def __init__(self, packet: OpenPacket) -> None:
        self.packet = packet
        self.tokens = read_tokens(packet.folder)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
        self.process: subprocess.Popen[str] | None = None
        self.organiser = ""

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def address(self, rater: str = RATER, path: str = "") -> str:
        return f"{self.base}/r/{self.tokens[rater]}{path and '/'}{path}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(self.packet.folder), str(self.port)], stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("Organiser's page"):
                self.organiser = line.split()[-1]
            if line.startswith("Form for"):
                break
        else:
            raise AssertionError("the form was not served")
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert time.monotonic() < deadline

    def kill(self) -> None:
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@contextlib.contextmanager
def serving(packet: OpenPacket) -> Iterator[Server]:
    server = Server(packet)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(
        small_packet(tmp_path / "packet", runs=[make_run(cultures=CULTURES), make_run("lab/Speaker-8B", cultures=CULTURES)]).packet
    ) as s:
        yield s


@pytest.fixture
def window(browser: Browser) -> Iterator[tuple[Page, Watched]]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(15_000)
    page, seen = watch(context)
    yield page, seen
    context.close()


def focused(page: Page) -> dict[str, str]:
    found: dict[str, str] = page.evaluate(
        "() => { const it = document.activeElement; return {tag: it.tagName, id: it.id, name: it.name ?? '', type: it.type ?? '',"
        " text: it.textContent.trim(), cell: it.closest('[data-cell]')?.dataset.cell ?? '',"
        " outline: getComputedStyle(it.closest('label') ?? it).outlineWidth}; }"
    )
    return found


def tab_to(page: Page, what: str, value: str) -> dict[str, str]:
    for _ in range(80):
        page.keyboard.press("Tab")
        if (found := focused(page))[what] == value:
            return found
    raise AssertionError(f"the key Tab never comes to {what} {value!r}")


def answer_by_keyboard(page: Page, item: Item, wanted: list[Rating], packet: OpenPacket, cells: int | None = None) -> None:
    """Answers the first so many questions of an item, coming from one to the next by the key Tab."""
    given = {(rating.question, rating.label): rating.value for rating in wanted if rating.item == item.id}
    for question, label in asked(packet.packet.form, item)[:cells]:
        value = given[question.key, label]
        if isinstance(value, tuple):
            for one in item.labels:
                tab_to(page, "name", f".ranking.{one}")
                page.keyboard.press(str(value.index(one) + 1))
        else:
            found = tab_to(page, "cell", f"{label or ''}.{question.key}")
            assert found["outline"] == "3px", "the focus can be seen"
            if isinstance(value, int):
                page.keyboard.press(str(value))
            else:
                page.keyboard.type(str(value))


def saved(page: Page) -> None:
    page.locator(".saved:not(:empty)").wait_for()


def counted(packet: OpenPacket, rater: str = RATER) -> dict[Any, Any]:
    return {rating.cell[1:]: rating.value for rating in latest(read_ratings(packet, rater)).ratings}


def place(page: Page) -> str:
    return page.url.partition("?")[0].rpartition("/")[2]


def radio(page: Page, cell: str, value: int) -> Locator:
    return page.locator(f'[data-cell="{cell}"] input[value="{value}"]')


# --- Working through it ----------------------------------------------------------------------------------------------------------


def test_a_rater_completes_a_packet_by_keyboard_alone_and_nothing_is_lost(server: Server, window: tuple[Page, Watched]) -> None:
    page, seen = window
    packet, wanted = server.packet, answers(server.packet, RATER)
    page.goto(server.address())
    assert focused(page)["tag"] == "H1"
    tab_to(page, "name", "consent")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.wait_for_url("**/de/1")
    for number, name in enumerate(packet.assignment(RATER).items, 1):
        item = packet.items[name]
        assert place(page) == str(number)
        assert focused(page)["id"] == "post"
        if number == 2:
            answer_by_keyboard(page, item, wanted, packet, cells=4)
            saved(page)
            page.reload()
            assert page.locator(":checked").count() == 4, "a reload loses nothing"
        if number == 3:
            answer_by_keyboard(page, item, wanted, packet, cells=3)
            saved(page)
            server.kill()
            tab_to(page, "cell", "A.knowledge")
            page.keyboard.press("5")
            page.locator(".late", has_text=select_language("de").interface.saved.lower()).wait_for()
            page.keyboard.press("Enter")
            assert place(page) == "3", "nobody goes on while something is not saved"
            server.start()
            page.locator(".late").wait_for(state="hidden")
            saved(page)
            assert counted(packet)[item.id, "A", "knowledge"] == 5, "what could not be sent is sent by itself"
            page.goto(server.address())
            page.wait_for_url("**/de/3")
            assert page.locator(":checked").count() == 4
        answer_by_keyboard(page, item, wanted, packet)
        page.keyboard.press("Control+Enter")
        page.wait_for_url(f"**/de/{number + 1}" if number < 12 else "**/de/end")
    assert page.get_by_role("heading", level=1).inner_text() == select_language("de").interface.finished_title
    assert counted(packet) == {rating.cell[1:]: rating.value for rating in wanted}
    assert next(found for found in completeness(packet, read_ratings(packet)) if found.rater == RATER).complete
    assert seen.hosts == {f"127.0.0.1:{server.port}"}
    assert seen.alerts == []
    assert not [text for text in seen.complaints if "ERR_CONNECTION_REFUSED" not in text]


def test_what_is_missing_takes_the_focus_and_leads_to_the_questions(server: Server, window: tuple[Page, Watched]) -> None:
    page, _ = window
    give_consent(server.packet, RATER, "de", NOON)
    page.goto(server.address())
    tab_to(page, "cell", "A.empathy")
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    page.locator(".summary").wait_for()
    assert "summary" in page.evaluate("document.activeElement.className")
    assert "A.empathy" not in page.locator(".missing").evaluate_all("all => all.map(one => one.dataset.cell)")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert focused(page)["cell"] == "A.helpfulness"
    page.keyboard.press("2")
    saved(page)
    assert "missing" not in (page.locator('[data-cell="A.helpfulness"]').get_attribute("class") or "")
    page.keyboard.press("Shift+Tab")
    assert focused(page)["cell"] == "A.empathy"


def test_arrows_choose_and_digits_count_in_questions_alone(server: Server, window: tuple[Page, Watched]) -> None:
    page, _ = window
    give_consent(server.packet, RATER, "de", NOON)
    page.goto(server.address())
    page.keyboard.press("4")
    assert page.locator(":checked").count() == 0
    tab_to(page, "cell", "A.empathy")
    page.keyboard.press("2")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("9")
    page.keyboard.press("Control+1")
    assert radio(page, "A.empathy", 3).is_checked()
    tab_to(page, "name", ".comment")
    page.keyboard.type("1, 2, 3")
    page.keyboard.press("Enter")
    page.keyboard.type("4")
    saved(page)
    page.wait_for_function("() => !localStorage.length")
    item = server.packet.assignment(RATER).items[0]
    assert counted(server.packet) == {(item, "A", "empathy"): 3, (item, None, "comment"): "1, 2, 3\n4"}


def test_replies_are_ranked_by_giving_places_each_once(server: Server, window: tuple[Page, Watched]) -> None:
    page, _ = window
    give_consent(server.packet, RATER, "de", NOON)
    page.goto(server.address())
    order = page.locator(".order")

    def give(label: str, to: int) -> None:
        page.locator(f'[name=".ranking.{label}"][value="{to}"]').check()

    give("B", 1)
    assert counted(server.packet) == {}, "an order that is not whole is no answer yet"
    page.reload()
    assert page.locator('[name=".ranking.B"][value="1"]').is_checked(), "but it is kept"
    give("C", 2)
    assert order.inner_text() == "1 Antwort B · 2 Antwort C · 3 Antwort A"
    give("A", 1)
    assert order.inner_text() == "1 Antwort A · 2 Antwort C · 3 Antwort B"
    saved(page)
    item = server.packet.assignment(RATER).items[0]
    assert counted(server.packet) == {(item, None, "ranking"): ("A", "C", "B")}


# --- Losing nothing --------------------------------------------------------------------------------------------------------------


def test_what_was_typed_while_the_server_was_dead_survives_a_closed_window(server: Server, browser: Browser) -> None:
    give_consent(server.packet, RATER, "de", NOON)
    context = browser.new_context()
    page, _ = watch(context)
    page.goto(server.address())
    server.kill()
    radio(page, "B.empathy", 4).check()
    page.locator("[name='.comment']").fill("Nicht verlieren")
    page.locator("[name=reason]").fill("Weil")
    page.locator(".late").wait_for()
    page.close()
    server.start()
    again = context.new_page()
    again.goto(server.address())
    assert again.locator("[name='.comment']").input_value() == "Nicht verlieren"
    assert again.locator("[name=reason]").input_value() == "Weil"
    saved(again)
    again.wait_for_function("() => Object.keys(JSON.parse(Object.values(localStorage)[0] ?? '{}')).every(name => name === 'reason')")
    item = server.packet.assignment(RATER).items[0]
    assert counted(server.packet) == {(item, "B", "empathy"): 4, (item, None, "comment"): "Nicht verlieren"}
    context.close()


def test_an_answer_as_long_as_may_be_is_saved(server: Server, window: tuple[Page, Watched]) -> None:
    page, _ = window
    give_consent(server.packet, RATER, "de", NOON)
    page.goto(server.address())
    page.locator("[name='.comment']").fill("क" * 12_000)
    saved(page)
    page.wait_for_function("() => !localStorage.length")
    assert list(counted(server.packet).values()) == ["क" * 10_000]


@pytest.mark.parametrize("broken", ["setItem", "getItem"])
def test_answers_are_saved_where_the_browser_keeps_nothing_for_pages(server: Server, browser: Browser, broken: str) -> None:
    give_consent(server.packet, RATER, "de", NOON)
    context = browser.new_context()
    context.add_init_script(f"Storage.prototype.{broken} = () => {{ throw new DOMException('no', 'QuotaExceededError'); }};")
    page = context.new_page()
    page.goto(server.address())
    radio(page, "A.empathy", 4).check()
    saved(page)
    server.kill()
    radio(page, "B.empathy", 2).check()
    page.locator(".late").wait_for()
    server.start()
    page.locator(".late").wait_for(state="hidden")
    assert list(counted(server.packet).values()) == [4, 2]
    context.close()


def test_what_a_full_disk_does_not_take_stays_on_the_page_until_it_does(server: Server, window: tuple[Page, Watched]) -> None:
    page, _ = window
    give_consent(server.packet, RATER, "de", NOON)
    page.goto(server.address())
    radio(page, "A.empathy", 4).check()
    saved(page)
    assert server.process is not None
    unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    path = ratings_path(server.packet, RATER)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (path.stat().st_size + 40, unlimited[1]))
    page.locator("[name='.comment']").fill("Nicht verlieren")
    page.locator(".late", has_text=select_words("de").not_stored).wait_for()
    page.keyboard.press("Control+Enter")
    assert place(page) == "1"
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
    page.locator(".late").wait_for(state="hidden")
    assert page.locator("[name='.comment']").input_value() == "Nicht verlieren"
    item = server.packet.assignment(RATER).items[0]
    assert counted(server.packet) == {(item, "A", "empathy"): 4, (item, None, "comment"): "Nicht verlieren"}


def test_a_reason_survives_a_server_that_dies_as_the_post_is_left_out(server: Server, window: tuple[Page, Watched]) -> None:
    page, _ = window
    give_consent(server.packet, RATER, "de", NOON)
    page.goto(server.address())
    page.locator("[name=reason]").fill("Zu nah")
    server.kill()
    page.locator("button[name=leave_out]").click()
    page.wait_for_url("chrome-error://**")
    server.start()
    page.goto(server.address())
    assert page.locator("[name=reason]").input_value() == "Zu nah"
    page.locator("button[name=leave_out]").click()
    page.wait_for_url("**/de/2")
    assert page.evaluate("localStorage.length") == 0, "what the server has is not kept"
    assert page.locator("[name=reason]").input_value() == ""


@pytest.mark.parametrize("button", ["go_on", "leave_out"])
def test_the_second_half_of_a_double_click_does_nothing_to_the_next_post(server: Server, window: tuple[Page, Watched], button: str) -> None:
    page, _ = window
    give_consent(server.packet, RATER, "de", NOON)
    page.goto(server.address())
    page.locator("[name=reason]").fill("Zu nah")
    box = page.locator(f"button[name={button}]").bounding_box()
    assert box is not None
    there = (box["x"] + 5, box["y"] + 5)
    page.mouse.click(*there)
    page.wait_for_url("**/de/2")
    box = page.locator(f"button[name={button}]").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 5, box["y"] + 5)
    tab_to(page, "cell", "A.empathy")
    assert page.url.endswith("/de/2")
    page.keyboard.press("3")
    saved(page)
    second = server.packet.assignment(RATER).items[1]
    assert {cell: value for cell, value in counted(server.packet).items() if cell[0] == second} == {(second, "A", "empathy"): 3}


def test_two_tabs_do_no_harm(server: Server, browser: Browser) -> None:
    give_consent(server.packet, RATER, "de", NOON)
    context = browser.new_context()
    first, second = context.new_page(), context.new_page()
    for page in (first, second):
        page.goto(server.address())
    radio(first, "A.empathy", 1).check()
    saved(first)
    radio(second, "A.empathy", 5).check()
    radio(second, "A.fluency", 5).check()
    saved(second)
    radio(first, "A.knowledge", 2).check()
    saved(first)
    first.locator("button[name=go_on]").click()
    first.locator(".summary").wait_for()
    item = server.packet.assignment(RATER).items[0]
    assert counted(server.packet) == {(item, "A", "empathy"): 5, (item, "A", "fluency"): 5, (item, "A", "knowledge"): 2}
    assert radio(first, "A.empathy", 5).is_checked(), "the page shows what counts"
    context.close()


def test_several_raters_at_once_in_their_languages(server: Server, browser: Browser) -> None:
    raters = ("german-1", "arabic-1", "jewish-2", "chinese-3")
    contexts = [browser.new_context() for _ in raters]
    pages = [context.new_page() for context in contexts]
    for rater, page in zip(raters, pages, strict=True):
        page.goto(server.address(rater))
        page.locator("[value=yes]").check()
        page.locator("button.first").click()
    for value in (1, 3, 5):
        for page in pages:
            radio(page, "A.empathy", value).check(no_wait_after=True)
    for rater, page in zip(raters, pages, strict=True):
        page.wait_for_function("() => !localStorage.length")
        lines = [json.loads(line) for line in ratings_path(server.packet, rater).read_text(encoding="utf-8").splitlines()]
        assert [line["value"] for line in lines][-1] == 5
        assert {line["rater"] for line in lines} == {rater}
    for context in contexts:
        context.close()


def test_it_works_without_scripts(server: Server, browser: Browser) -> None:
    packet, wanted = server.packet, answers(server.packet, RATER)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server.address())
    page.locator("[value=yes]").check()
    page.locator("button.first").click()
    item = packet.items[packet.assignment(RATER).items[0]]
    for rating in (rating for rating in wanted if rating.item == item.id):
        if isinstance(rating.value, tuple):
            for to, label in enumerate(rating.value, 1):
                page.locator(f'[name=".ranking.{label}"][value="{to}"]').check()
        elif isinstance(rating.value, int):
            radio(page, f"{rating.label or ''}.{rating.question}", rating.value).check()
        else:
            page.locator(f'[name=".{rating.question}"]').fill(str(rating.value))
    page.locator("#q-A-empathy input").first.press("Enter")
    page.wait_for_url("**/de/2")
    assert counted(packet) == {rating.cell[1:]: rating.value for rating in wanted if rating.item == item.id}
    page.locator("button[name=leave_out]").click()
    page.wait_for_url("**/de/3")
    context.close()


def test_the_organiser_sees_answers_come_in(server: Server, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page, seen = watch(context)
    page.goto(server.organiser)
    row = page.locator(".virtual-row", has_text=RATER)
    row.get_by_text("not begun").wait_for()
    rater = context.new_page()
    rater.goto(server.address())
    rater.locator("[value=yes]").check()
    rater.locator("button.first").click()
    rater.locator("button[name=leave_out]").click()
    rater.wait_for_url("**/de/2")
    row.get_by_text("at work").wait_for()
    assert server.address() in row.inner_text()
    assert seen.hosts <= {f"127.0.0.1:{server.port}", "data", "blob"}
    assert seen.complaints == []
    context.close()


@pytest.mark.parametrize("width", [1440, 1100, 800, 390])
def test_no_heading_of_the_organisers_table_breaks_within_a_word(server: Server, browser: Browser, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    page, _ = watch(context)
    page.goto(server.organiser)
    page.locator(".virtual-row", has_text=RATER).wait_for()
    broken = page.evaluate(
        "() => [...document.querySelectorAll('th .header.text')].filter(heading => {"
        " const range = document.createRange(); range.selectNodeContents(heading);"
        " return heading.getClientRects()[0].width < 1 || new Set([...range.getClientRects()].map(box => box.top)).size"
        " > heading.textContent.trim().split(' ').length; }).map(heading => heading.textContent)"
    )
    assert page.locator("th .header.text").count() >= 9
    assert broken == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


# --- Looking at it ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("packets")
    runs = [make_run(cultures=CULTURES, text=lambda name, strategy: f"<b>{name}</b> \u202e {strategy} " + "Lange Antwort. " * 120)]
    with serving(small_packet(folder / "psychologist", "psychologist", runs=runs).packet) as server:
        for rater in server.packet.assignments:
            give_consent(server.packet, rater, "en", NOON)
        yield server


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_every_page_reads_and_fits(looked_at: Server, browser: Browser, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page, seen = watch(context)
    for rater, code in (("german-1", "de"), ("arabic-1", "ar"), ("jewish-1", "he"), ("chinese-1", "en")):
        for path in (
            "/",
            f"/r/{looked_at.tokens[rater]}/{code}/1",
            f"/r/{looked_at.tokens[rater]}/{code}/2?open=1",
            f"/r/{looked_at.tokens[rater]}/{code}/pause",
        ):
            page.goto(looked_at.base + path)
            for summary in page.locator("summary").all():
                summary.click()
                assert contrast_failures(page) == [], path
                assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            if code in path:
                assert page.evaluate("document.documentElement.dir") == select_language(code).direction
            levels = [int(name[1]) for name in page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => h.tagName)")]
            assert levels.count(1) == 1, path
            assert max((lower - upper for upper, lower in itertools.pairwise(sorted(levels))), default=0) <= 1, path
            unnamed = page.evaluate(
                "[...document.querySelectorAll('select, textarea, input:not([type=hidden]), button')]"
                ".filter(field => !(field.labels?.[0]?.textContent.trim() || field.textContent.trim())).map(field => field.outerHTML)"
            )
            assert unnamed == [], path
            ungrouped = page.evaluate(
                "[...document.querySelectorAll('input[type=radio]')]"
                ".filter(field => !field.closest('fieldset')?.querySelector('legend')?.textContent.trim()).map(field => field.outerHTML)"
            )
            assert ungrouped == [], path
            # A name on what has no role is read by no screen reader.
            misnamed = page.evaluate(
                "[...document.querySelectorAll('div, p, span, blockquote')]"
                ".filter(one => one.matches('[aria-label], [aria-labelledby]') && !one.hasAttribute('role')).map(one => one.className)"
            )
            assert misnamed == [], path
            landmarks = page.evaluate(
                "[...document.querySelectorAll('section[aria-labelledby], [role=region]')].map(one => one.getAttribute('aria-labelledby'))"
            )
            assert len(set(landmarks)) == len(landmarks), path
            small = page.evaluate(
                "[...document.querySelectorAll('label:has(input[type=radio]), button, .button, .places a')]"
                ".filter(one => one.getBoundingClientRect().height < 24).map(one => one.outerHTML)"
            )
            assert small == [], path
            twice = page.evaluate(
                "(ids => ids.filter((id, at) => ids.indexOf(id) !== at))([...document.querySelectorAll('[id]')].map(one => one.id))"
            )
            assert twice == [], path
    assert seen.complaints == []
    assert seen.alerts == []
    assert seen.hosts == {f"127.0.0.1:{looked_at.port}"}
    context.close()


def test_what_has_the_focus_is_not_under_the_bars(looked_at: Server, window: tuple[Page, Watched]) -> None:
    page, _ = window
    page.goto(f"{looked_at.base}/r/{looked_at.tokens[RATER]}/de/1")
    hidden = []
    for _ in range(40):
        page.keyboard.press("Tab")
        hidden += page.evaluate(
            "() => { const it = document.activeElement; if (!it.closest('fieldset, .text')) return [];"
            " const box = it.getBoundingClientRect();"
            " const top = document.querySelector('.bar').getBoundingClientRect().bottom;"
            " const bottom = document.querySelector('.foot').getBoundingClientRect().top;"
            " return box.top < top || box.bottom > bottom ? [it.id] : []; }"
        )
    assert hidden == []


def test_choices_have_keys_and_a_long_reply_scrolls_by_keyboard(looked_at: Server, window: tuple[Page, Watched]) -> None:
    page, _ = window
    page.goto(f"{looked_at.base}/r/{looked_at.tokens[RATER]}/en/1")
    tab_to(page, "cell", "A.overly_positive")
    page.keyboard.press("2")
    assert page.locator("#q-A-overly_positive-somewhat").is_checked()
    assert page.locator(".reply [data-scroll][tabindex='0'][role=group]").count() > 0
    assert page.locator(".reply .unseen").first.inner_text() == "U+202E"


def test_support_and_instructions_open_and_close_by_keyboard(looked_at: Server, window: tuple[Page, Watched]) -> None:
    page, _ = window
    page.goto(f"{looked_at.base}/r/{looked_at.tokens['jewish-1']}/he/1")
    hebrew = select_language("he")
    summary = page.get_by_text(hebrew.interface.support_title)
    summary.focus()
    page.keyboard.press("Enter")
    assert page.get_by_text(hebrew.contacts[0].name).is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_text(hebrew.contacts[0].name).is_visible()
    assert page.locator(".bar").bounding_box()["y"] == 0  # type: ignore[index]
