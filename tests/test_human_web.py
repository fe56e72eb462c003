"""The web form, through its addresses."""

from __future__ import annotations

import contextlib
import datetime as dt
import hmac
import json
import os
import random
import re
import resource
import socket
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

from culturecare import CultureCareError
from culturecare_harness.human.forms import languages, select_language
from culturecare_harness.human.items import asked, names_path, open_packet, read_tokens, tokens_path
from culturecare_harness.human.ratings import (
    LEFT_OUT,
    TAKEN_BACK,
    add_ratings,
    append_ratings,
    completeness,
    latest,
    rate,
    ratings_path,
    read_ratings,
)
from culturecare_harness.human.web.consents import consent_path, give_consent, read_consent, words_of_consent
from culturecare_harness.human.web.fields import MOST_BYTES, cell_name, place_name
from culturecare_harness.human.web.words import select_words, words
from tests.raters import NOON, answers, draw, make_run, small_packet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from starlette.testclient import TestClient

    from culturecare_harness.human.items import Item, OpenPacket
    from culturecare_harness.human.ratings import Rating

pytest.importorskip("fastapi", reason="needs the extra `human`")

RATER = "german-1"
HOUR = dt.timedelta(hours=1)


class Clock:
    """A clock that goes on by a second whenever it is read, unless it is set."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> dt.datetime:
        self.time += dt.timedelta(seconds=1)
        return self.time


class Desk:
    """A served packet, and a browser without scripts to use it with."""

    def __init__(self, packet: OpenPacket) -> None:
        self.packet = packet
        self.tokens = read_tokens(packet.folder)
        self.clock = Clock()
        self.said: list[str] = []
        self.start()

    def start(self) -> None:
        from starlette.testclient import TestClient

        from culturecare_harness.human.web import create_app

        self.app = create_app(open_packet(self.packet.folder), self.tokens, now=self.clock, say=self.said.append)
        self.client: TestClient = TestClient(self.app)

    def address(self, rater: str = RATER, path: str = "", language: str = "de") -> str:
        return f"/r/{self.tokens[rater]}/{language}{path and '/'}{path}"

    def get(self, path: str = "", **settings: Any) -> Any:
        return self.client.get(self.address(path=path, **settings))

    def post(self, path: str, fields: Mapping[str, str], **settings: Any) -> Any:
        return self.client.post(self.address(path=path, **settings), data=dict(fields))

    def agree(self, rater: str = RATER) -> None:
        give_consent(self.packet, rater, "de", NOON)

    def item(self, place: int, rater: str = RATER) -> Item:
        return self.packet.items[self.packet.assignment(rater).items[place]]

    def ratings(self, rater: str = RATER) -> list[Rating]:
        return read_ratings(self.packet, rater)

    def counted(self, rater: str = RATER) -> dict[tuple[str, str | None, str], Any]:
        return {rating.cell[1:]: rating.value for rating in latest(self.ratings(rater)).ratings}


def fields_of(item: Item, ratings: list[Rating]) -> dict[str, str]:
    """The form's fields that say these ratings."""
    fields: dict[str, str] = {}
    for rating in ratings:
        if rating.item != item.id or rating.value is None:
            continue
        if isinstance(rating.value, tuple):
            fields |= {place_name(rating.question, label): str(place) for place, label in enumerate(rating.value, 1)}
        else:
            fields[cell_name(rating.question, rating.label)] = str(rating.value)
    return fields


@contextlib.contextmanager
def full_after(size: int) -> Iterator[None]:
    """No file grows beyond that size, as on a disk that is full: the system refuses the rest of what is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def place_of(response: Any) -> str:
    return str(response.url).rpartition("/")[2]


def shown(response: Any) -> str:
    return unescape(response.text)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OpenPacket]:
    folder = tmp_path_factory.mktemp("packets")
    return {form: small_packet(folder / form, form).packet for form in ("annotator", "psychologist")}


@pytest.fixture
def copy(made: dict[str, OpenPacket], tmp_path: Path) -> Callable[[str], OpenPacket]:
    import shutil

    def of(form: str) -> OpenPacket:
        folder = made[form].folder
        shutil.copytree(folder, tmp_path / form)
        shutil.copy(tokens_path(folder), tokens_path(tmp_path / form))
        return open_packet(tmp_path / form)

    return of


@pytest.fixture
def desk(copy: Callable[[str], OpenPacket]) -> Desk:
    return Desk(copy("annotator"))


# --- Who comes in ---


def test_a_code_in_the_address_or_typed_leads_to_its_raters_pages(desk: Desk) -> None:
    token = desk.tokens[RATER]
    for answer in (
        desk.client.get(f"/r/{token}"),
        desk.client.get(f"/?token={token}"),
        desk.client.post("/", data={"token": f" {token.upper()} "}),
        desk.client.post("/", data={"token": token.replace("-", "")}),
        desk.client.get(f"/r/{token.upper()}"),
    ):
        assert answer.status_code == 200
        assert str(answer.url).endswith(f"/r/{token}/de")
        assert select_language("de").interface.consent_title in shown(answer)


def test_a_wrong_or_missing_code_is_refused_kindly_and_shows_nothing(desk: Desk) -> None:
    texts = [item.post.text.split("\n")[0][:40] for item in desk.packet.items.values()]
    german = select_language("de").interface
    asked_for = desk.client.get("/", headers={"accept-language": "de-AT,de;q=0.9"})
    assert asked_for.status_code == 200
    assert german.code in shown(asked_for)
    wrong = "aaaa-bbbb-cccc-dddd"
    for answer in (
        desk.client.post("/", data={"token": wrong}, headers={"accept-language": "de"}),
        *(
            desk.client.get(f"/r/{wrong}{path}", headers={"accept-language": "xx, de;q=0.5"})
            for path in ("", "/de", "/de/1", "/de/pause", "/de/end")
        ),
        desk.client.post(f"/r/{wrong}/de", data={"consent": "yes"}, headers={"accept-language": "de"}),
    ):
        assert answer.status_code == 403
        assert german.code_wrong in shown(answer)
        assert not any(text in shown(answer) for text in texts)
    assert desk.client.post(f"/r/{wrong}/de/1/answer", data={}).status_code == 403
    assert desk.client.get(f"/r/{desk.tokens[RATER][:-1]}").status_code == 403
    assert desk.client.post("/", data={"token": ""}).status_code == 400


def test_codes_are_compared_with_every_raters_in_constant_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for code in (*desk.tokens.values(), "wrong"):
        compared.clear()
        desk.client.get(f"/r/{code}", follow_redirects=False)
        assert len(compared) == len(desk.tokens)


def test_raters_without_codes_or_with_equal_ones_are_not_served(desk: Desk) -> None:
    from culturecare_harness.human.web import create_app

    with pytest.raises(CultureCareError, match="rater 'american-1' has no access code"):
        create_app(desk.packet, {})
    with pytest.raises(CultureCareError, match="two raters have the same access code"):
        create_app(desk.packet, dict.fromkeys(desk.packet.assignments, "same"))


# --- Consent ---


def test_without_consent_nothing_is_shown_or_stored(desk: Desk) -> None:
    for path in ("1", "12", "end"):
        answer = desk.get(path)
        assert str(answer.url).endswith(desk.address())
        assert select_language("de").interface.agree in shown(answer)
        assert desk.item(0).post.text[:30] not in shown(answer)
    fields = fields_of(desk.item(0), answers(desk.packet, RATER))
    assert desk.post("1", {**fields, "go_on": "1"}).status_code == 200
    assert desk.post("1/answer", {"A.empathy": "3"}).status_code == 403
    declined = desk.post("", {"consent": "no"})
    assert select_language("de").interface.declined in shown(declined)
    assert select_language("de").interface.choose in shown(desk.post("", {}))
    assert desk.ratings() == []
    assert not consent_path(desk.packet, RATER).exists()


def test_consent_is_recorded_with_its_time_language_and_words(desk: Desk) -> None:
    answer = desk.post("", {"consent": "yes"}, language="en")
    assert place_of(answer) == "1"
    consent = read_consent(desk.packet, RATER)
    assert consent is not None
    assert (consent.rater, consent.language, consent.words) == (RATER, "en", words_of_consent("en"))
    assert NOON < consent.at < NOON + HOUR
    assert read_consent(desk.packet, "german-2") is None
    desk.post("", {"consent": "no"})
    assert read_consent(desk.packet, RATER) == consent
    assert desk.said == ["german-1: agreed to take part (English)"]


def test_the_warning_and_support_stand_before_the_consent(desk: Desk) -> None:
    page, german = shown(desk.get()), select_language("de")
    places = [page.index(text) for text in (german.interface.warning[0], german.interface.consent[0], german.interface.agree)]
    assert places == sorted(places)


def test_raters_are_told_that_answers_are_saved_by_themselves(desk: Desk) -> None:
    saving = select_words("de").saving
    assert saving in shown(desk.get())
    desk.agree()
    assert saving in shown(desk.get("1"))


@pytest.mark.parametrize("checks", [0, 2])
def test_raters_are_told_of_checks_where_there_are_some(tmp_path: Path, checks: int) -> None:
    desk = Desk(small_packet(tmp_path / "p", runs=[make_run(cultures=["german"])], checks=checks).packet)
    about = select_language("de").interface.about_checks
    before = shown(desk.get())
    desk.agree()
    assert [about in page for page in (before, shown(desk.get("1")))] == [checks > 0] * 2


def test_support_is_on_every_page(desk: Desk) -> None:
    german = select_language("de")
    pages = [desk.client.get("/", headers={"accept-language": "de"}), desk.get(), desk.post("", {"consent": "no"})]
    desk.agree()
    pages += [desk.get("1"), desk.get("pause")]
    append_ratings(desk.packet, answers(desk.packet, RATER))
    pages.append(desk.get("end"))
    for page in pages:
        for contact in german.contacts:
            assert contact.name in shown(page)
            assert contact.reach in shown(page)


# --- Answers ---


def test_an_answer_is_on_the_disk_as_soon_as_it_is_given(desk: Desk) -> None:
    desk.agree()
    item = desk.item(0)
    for field, value, cell, stored in (
        ("A.empathy", "4", (item.id, "A", "empathy"), 4),
        ("A.empathy", "2", (item.id, "A", "empathy"), 2),
        (".comment", " zwei\r\nZeilen ", (item.id, None, "comment"), "zwei\nZeilen"),
    ):
        answer = desk.post("1/answer", {field: value, "age": "12"})
        assert answer.json() == {"written": 1, "passed_over": 0}
        assert desk.counted()[cell] == stored
    places = {place_name("ranking", label): str(place) for place, label in enumerate(reversed(item.labels), 1)}
    assert desk.post("1/answer", places).json()["written"] == 1
    assert desk.counted()[item.id, None, "ranking"] == tuple(reversed(item.labels))
    assert desk.post("1/answer", {"A.empathy": "2"}).json()["written"] == 0
    assert len(desk.ratings()) == 4
    desk.post("1/answer", {".comment": ""})
    assert desk.ratings()[-1].reason == TAKEN_BACK


@pytest.mark.parametrize(
    "fields",
    [{"A.empathy": "6"}, {"A.empathy": "x"}, {".ranking.A": "9"}, {".comment": "x" * 10_001}, {"A.empathy": "3", "age": "-1"}],
)
def test_what_is_no_answer_is_refused_and_not_stored(desk: Desk, fields: dict[str, str]) -> None:
    desk.agree()
    answer = desk.post("1/answer", fields)
    assert answer.status_code == 400
    assert desk.ratings() == []
    assert select_words("de").problem in shown(answer)
    assert len(desk.said) == 1


@pytest.mark.parametrize("form", ["annotator", "psychologist"])
def test_a_rater_completes_a_packet_with_plain_forms(copy: Callable[[str], OpenPacket], form: str) -> None:
    desk = Desk(copy(form))
    wanted = answers(desk.packet, RATER)
    page = desk.post("", {"consent": "yes"})
    for place in range(12):
        assert place_of(page) == str(place + 1)
        page = desk.post(str(place + 1), {**fields_of(desk.item(place), wanted), "seen": "0", "reason": "", "go_on": "1"})
    assert place_of(page) == "end"
    assert select_language("de").interface.finished in shown(page)
    assert desk.counted() == {rating.cell[1:]: rating.value for rating in wanted}
    assert next(found for found in completeness(desk.packet, desk.ratings()) if found.rater == RATER).complete
    assert desk.said[-1] == "german-1: 12 of 12, finished"
    assert place_of(desk.get()) == "end"


def test_what_is_missing_is_told_with_links_to_it(desk: Desk) -> None:
    desk.agree()
    item = desk.item(0)
    wanted = fields_of(item, answers(desk.packet, RATER))
    del wanted["A.empathy"], wanted[".ranking.A"]
    page = desk.post("1", {**wanted, "reason": "", "go_on": "1"})
    assert select_language("de").interface.missing.format(questions=2) in shown(page)
    for target in ("q-A-empathy-1", f"q-item-ranking-{'A'}-"):
        assert f'href="#{target}' in page.text
    assert page.text.count('aria-invalid="true"') == 1 + len(item.labels)
    kept = wanted[".ranking.B"]
    assert f'id="q-item-ranking-B-{kept}" name=".ranking.B" value="{kept}" data-key="{kept}" checked' in page.text, "what was given stays"
    again = desk.client.get(str(page.url))
    assert select_language("de").interface.missing.format(questions=2) in shown(again), "the page can be loaded again"


def test_what_is_left_blank_with_a_reason_is_kept_with_it(desk: Desk) -> None:
    desk.agree()
    item = desk.item(0)
    wanted = fields_of(item, answers(desk.packet, RATER))
    del wanted["A.empathy"]
    assert place_of(desk.post("1", {**wanted, "reason": "kenne ich nicht", "go_on": "1"})) == "2"
    rating = next(rating for rating in desk.ratings() if rating.question == "empathy" and rating.label == "A")
    assert (rating.value, rating.reason) == (None, "kenne ich nicht")
    assert 'value="kenne ich nicht"' in desk.get("1").text


@pytest.mark.parametrize(("reason", "kept"), [("", LEFT_OUT), ("zu nah", "zu nah")])
def test_an_item_can_be_left_out_and_rated_later_after_all(desk: Desk, reason: str, kept: str) -> None:
    desk.agree()
    item = desk.item(0)
    required = [(question, label) for question, label in asked(desk.packet.packet.form, item) if question.required]
    desk.post("1/answer", {"A.empathy": "1"})
    assert place_of(desk.post("1", {"leave_out": "1", "reason": reason})) == "2"
    given = latest(desk.ratings()).ratings
    assert len(given) == len(required)
    assert {(rating.value, rating.reason) for rating in given} == {(None, kept)}
    assert select_words("de").left_out in shown(desk.get("1"))
    assert place_of(desk.post("1", {"go_on": "1"})) == "2", "it stays left out"
    assert "open=1" in str(desk.post("1", {"A.empathy": "3", "go_on": "1"}).url), "once it is rated in part, the rest is asked for"
    wanted = answers(desk.packet, RATER, seed=4)
    assert place_of(desk.post("1", {**fields_of(item, wanted), "go_on": "1"})) == "2"
    assert desk.counted() == {rating.cell[1:]: rating.value for rating in wanted if rating.item == item.id}


def test_going_back_shows_what_was_answered_and_changes_it(desk: Desk) -> None:
    desk.agree()
    item, wanted = desk.item(0), answers(desk.packet, RATER)
    desk.post("1", {**fields_of(item, wanted), "go_on": "1"})
    assert f'href="{desk.address(path="1")}"' in desk.get("2").text
    page = desk.get("1").text
    for name, value in fields_of(item, wanted).items():
        assert re.search(rf'name="{re.escape(name)}" value="{value}"[^>]* checked', page) or value in unescape(page), name
    before = len(desk.ratings())
    seen = re.search(r'name="seen" value="(\d+)"', page)
    assert seen is not None
    changed = {**fields_of(item, wanted), "A.empathy": "5", "B.empathy": "1", "seen": seen[1]}
    desk.post("1", {**changed, "go_on": "1"})
    assert desk.counted()[item.id, "A", "empathy"] == 5
    assert len(desk.ratings()) <= before + 2, "what was not changed is not written again"


# --- What must not be lost ---


def test_a_new_server_goes_on_where_the_old_one_was_killed(desk: Desk) -> None:
    desk.agree()
    wanted = answers(desk.packet, RATER)
    for place in range(3):
        desk.post(str(place + 1), {**fields_of(desk.item(place), wanted), "go_on": "1"})
    desk.post("4/answer", {"A.fluency": "2"})
    path = ratings_path(desk.packet, RATER)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines(keepends=True)[-1][:40])  # A line that was being written.
    desk.start()
    page = desk.get()
    assert place_of(page) == "4"
    assert re.search(r'name="A.fluency" value="2"[^>]* checked', page.text)
    desk.post("4/answer", {"A.fluency": "3"})
    assert path.read_bytes().startswith(whole)
    assert desk.counted()[desk.item(3).id, "A", "fluency"] == 3


def test_of_two_tabs_the_later_answer_counts_and_an_old_page_undoes_nothing(desk: Desk) -> None:
    desk.agree()
    item, wanted = desk.item(0), answers(desk.packet, RATER)
    desk.post("1", {**fields_of(item, wanted), "A.empathy": "3", "A.fluency": "3", "go_on": "1"})
    seen = str(len(desk.ratings()))
    old_page = {**fields_of(item, wanted), "A.empathy": "3", "A.fluency": "3", "seen": seen}
    desk.post("1/answer", {"A.empathy": "5"})
    desk.post("1", {**old_page, "A.fluency": "1", "go_on": "1"})
    assert desk.counted()[item.id, "A", "empathy"] == 5, "the old page showed 3, but nobody chose it there again"
    assert desk.counted()[item.id, "A", "fluency"] == 1, "this was chosen there"
    desk.post("1/answer", {"A.empathy": "2"})
    desk.clock.time -= HOUR
    desk.post("1/answer", {"A.empathy": "4"})
    assert desk.counted()[item.id, "A", "empathy"] == 4, "also where the clock was set back"


def test_an_answer_that_arrives_late_does_not_overrule_a_newer_one(desk: Desk) -> None:
    desk.agree()
    item = desk.item(0)
    desk.post("1/answer", {"A.empathy": "5"})
    desk.clock.time += HOUR
    two_hours = str(2 * 3600 * 1000)
    assert desk.post("1/answer", {"A.empathy": "1", "age": two_hours}).json() == {"written": 0, "passed_over": 1}
    assert desk.post("1/answer", {"B.empathy": "1", "age": two_hours}).json() == {"written": 1, "passed_over": 0}
    assert desk.counted() == {(item.id, "A", "empathy"): 5, (item.id, "B", "empathy"): 1}


def test_a_text_that_was_emptied_stays_so_where_the_answers_are_imported_elsewhere(desk: Desk, tmp_path: Path) -> None:
    desk.agree()
    for text in ("I know who wrote this", ""):
        desk.post("1/answer", {".comment": text})
    other = small_packet(tmp_path / "annotator-again").packet
    assert add_ratings(other, desk.ratings()) == (1, 1, 0, 0)
    assert add_ratings(other, desk.ratings()) == (0, 0, 1, 1)
    assert [rating.value for rating in latest(read_ratings(other)).ratings] == [None]
    assert shown(desk.get("1")).count(TAKEN_BACK) == 0


def test_an_answer_that_arrives_late_counts_where_a_file_left_the_cell_blank(desk: Desk) -> None:
    desk.agree()
    item = desk.item(0)
    append_ratings(desk.packet, [rate(desk.packet, RATER, item.id, "A", "empathy", None, at=desk.clock.time)])
    late = {"A.empathy": "4", "age": str(60 * 60 * 1000)}
    assert desk.post("1/answer", late).json() == {"written": 1, "passed_over": 0}
    assert desk.counted()[item.id, "A", "empathy"] == 4


@pytest.mark.parametrize("seen", ["9" * 5_000, "9" * 300, "-1", "٣", "x"])
def test_a_page_that_knows_of_impossibly_many_answers_is_read_as_one_that_knows_none(desk: Desk, seen: str) -> None:
    desk.agree()
    item = desk.item(0)
    assert desk.post("1", {"seen": seen, "A.empathy": "3"}).status_code == 200
    assert desk.counted()[item.id, "A", "empathy"] == 3


@pytest.mark.parametrize("button", ["go_on", "leave_out"])
def test_a_reason_longer_than_a_text_is_refused_and_nothing_is_stored(desk: Desk, button: str) -> None:
    desk.agree()
    assert desk.post("1", {"reason": "x" * 20_000, button: "1"}).status_code == 400
    assert desk.ratings() == []


def test_answers_of_a_time_that_cannot_be_counted_on_from_are_refused_before_anybody_rates(desk: Desk) -> None:
    item = desk.item(0)
    fields = rate(desk.packet, RATER, item.id, None, "comment", "ok", at=NOON).model_dump(mode="json")
    for at in ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00"):
        ratings_path(desk.packet, RATER).write_text(json.dumps(fields | {"at": at}) + "\n", encoding="utf-8")
        with pytest.raises(CultureCareError, match=r"german-1.jsonl:1: at: must lie in the years 2000 to 2999"):
            desk.start()


def test_what_is_imported_meanwhile_is_seen(desk: Desk) -> None:
    desk.agree()
    desk.post("1/answer", {"A.empathy": "5"})
    append_ratings(desk.packet, [rate(desk.packet, RATER, desk.item(0).id, "B", "empathy", 2, at=NOON)])
    assert re.search(r'name="B.empathy" value="2"[^>]* checked', desk.get("1").text)


@pytest.mark.slow
def test_many_raters_and_tabs_at_once_lose_nothing(desk: Desk) -> None:
    chance = random.Random(1)  # noqa: S311 - no secret.
    work = []
    for rater in desk.packet.assignments:
        give_consent(desk.packet, rater, "en", NOON)
        for place in (0, 1):
            item = desk.item(place, rater)
            for question, label in asked(desk.packet.packet.form, item):
                if question.kind != "ranking":
                    work.append((rater, place, cell_name(question.key, label), str(draw(question, item, chance))))
    chance.shuffle(work)

    def send(job: tuple[str, int, str, str]) -> int:
        rater, place, name, value = job
        status: int = desk.post(f"{place + 1}/answer", {name: value}, rater=rater).status_code
        return status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, work)) == {200}
    for rater in desk.packet.assignments:
        lines = [json.loads(line) for line in ratings_path(desk.packet, rater).read_text(encoding="utf-8").splitlines()]
        mine = [job for job in work if job[0] == rater]
        assert len(lines) == len(mine)
        stored = {(line["item"], cell_name(line["question"], line["label"]), str(line["value"])) for line in lines}
        assert stored == {(desk.item(place, rater).id, name, value) for _, place, name, value in mine}


# --- A disk that takes nothing ---


def test_an_answer_that_the_disk_does_not_take_is_told_and_can_be_given_again(desk: Desk) -> None:
    desk.agree()
    desk.post("1/answer", {"A.empathy": "4"})
    path = ratings_path(desk.packet, RATER)
    with full_after(path.stat().st_size + 40):
        answer = desk.post("1/answer", {"B.empathy": "2"})
        assert answer.status_code == 507
        assert desk.get("1").status_code == 200, "the page is still there, with what was saved"
        assert desk.counted() == {(desk.item(0).id, "A", "empathy"): 4}
    assert desk.said == [f"german-1: what was sent could not be kept in {desk.packet.folder} (File too large)"]
    assert desk.post("1/answer", {"B.empathy": "2"}).json()["written"] == 1
    assert desk.counted() == {(desk.item(0).id, "A", "empathy"): 4, (desk.item(0).id, "B", "empathy"): 2}
    assert all(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


def test_a_page_whose_answers_the_disk_does_not_take_comes_back_with_all_of_them(desk: Desk) -> None:
    desk.agree()
    item, wanted = desk.item(0), answers(desk.packet, RATER)
    fields = fields_of(item, wanted) | {".comment": "<b>Nicht</b> verlieren"}
    del fields["A.fluency"]
    desk.post("1/answer", {"A.empathy": fields["A.empathy"], "B.empathy": "1"})
    with full_after(ratings_path(desk.packet, RATER).stat().st_size + 500):
        page = desk.post("1", {**fields, "B.empathy": "5", "reason": "weiß nicht", "seen": "0", "go_on": "1"})
        assert page.status_code == 507
        again = desk.post("1", {"leave_out": "1", "reason": "zu nah"})
        assert again.status_code == 507
        assert 'name="reason" maxlength="1000" dir="auto" value="zu nah"' in again.text
    assert select_words("de").not_stored in shown(page)
    assert "&lt;b&gt;Nicht&lt;/b&gt; verlieren</textarea>" in page.text
    assert 'name="reason" maxlength="1000" dir="auto" value="weiß nicht"' in page.text
    checked = dict(re.findall(r'name="([^"]+)" value="(\d+)"[^>]* checked', page.text))
    assert checked == {name: value for name, value in fields.items() if name != ".comment"} | {"B.empathy": "5"}
    seen = re.search(r'name="seen" value="(\d+)"', page.text)
    assert seen is not None
    sent_again = {**checked, ".comment": "<b>Nicht</b> verlieren", "reason": "weiß nicht", "seen": seen[1], "go_on": "1"}
    assert place_of(desk.post("1", sent_again)) == "2"
    counted = {(label, question): value for (_, label, question), value in desk.counted().items()}
    assert counted["B", "empathy"] == 5
    assert counted[None, "comment"] == "<b>Nicht</b> verlieren"
    assert counted["A", "fluency"] is None
    assert len(counted) == len(asked(desk.packet.packet.form, item))


def test_an_old_page_that_could_not_be_kept_shows_what_was_said_since(desk: Desk) -> None:
    desk.agree()
    desk.post("1/answer", {"A.empathy": "3"})
    desk.post("1/answer", {"A.empathy": "5"})
    with full_after(ratings_path(desk.packet, RATER).stat().st_size):
        page = desk.post("1", {"A.empathy": "3", "A.fluency": "1", "seen": "1", "go_on": "1"})
    checked = dict(re.findall(r'name="([^"]+)" value="(\d+)"[^>]* checked', page.text))
    assert checked == {"A.empathy": "5", "A.fluency": "1"}


def test_a_consent_that_the_disk_does_not_take_can_be_given_again(desk: Desk) -> None:
    with full_after(40):
        assert desk.post("", {"consent": "yes"}).status_code == 507
    assert read_consent(desk.packet, RATER) is None
    assert place_of(desk.post("", {"consent": "yes"})) == "1"
    assert read_consent(desk.packet, RATER) is not None
    assert [path.name for path in consent_path(desk.packet, RATER).parent.iterdir()] == [f"{RATER}.jsonl"]


def test_a_file_that_cannot_be_written_to_is_told_to_rater_and_organiser(desk: Desk) -> None:
    from culturecare_harness.human.web import serve

    desk.agree()
    desk.post("1/answer", {"A.empathy": "4"})
    path = ratings_path(desk.packet, RATER)
    path.chmod(0o444)
    if os.access(path, os.W_OK):
        pytest.skip("root may write to every file")
    assert desk.post("1/answer", {"A.empathy": "1"}).status_code == 507
    assert desk.post("1", {"A.empathy": "1", "seen": "1", "go_on": "1"}).status_code == 507
    assert "(Permission denied)" in desk.said[-1]
    with pytest.raises(CultureCareError, match=r"german-1.jsonl: cannot be written to"):
        serve(desk.packet.folder, Told(), port=0)
    path.chmod(0o644)
    assert desk.post("1/answer", {"A.empathy": "1"}).json()["written"] == 1


# --- What raters see ---


def test_an_address_that_leads_nowhere_asks_for_the_code(desk: Desk) -> None:
    for path in ("/nowhere", f"/{desk.tokens[RATER]}", f"/r/{desk.tokens[RATER]}/de/1/x/y"):
        answer = desk.client.get(path, headers={"accept-language": "de"})
        assert answer.status_code == 404
        assert select_language("de").interface.code in shown(answer)
    assert desk.client.get(f"/r/{desk.tokens[RATER]}/").status_code == 200


def test_raters_see_their_own_items_alone(desk: Desk) -> None:
    everything = {item.id: [item.post.text, *(reply.text for reply in item.replies)] for item in desk.packet.items.values()}
    for rater in ("german-1", "american-2"):
        desk.agree(rater)
        mine = set(desk.packet.assignment(rater).items)
        own = {text for name in mine for text in everything[name]}
        others = {text for name, texts in everything.items() if name not in mine for text in texts} - own
        pages = " ".join(shown(desk.get(str(place + 1), rater=rater, language="en")) for place in range(len(mine)))
        visible = " ".join(re.sub(r"<[^>]+>", " ", pages).split())
        assert not [text for text in others if " ".join(text.split()) in visible]
        assert not [name for name in everything if name in pages], "not even by their names"
    for number in ("0", "13", "-1", "x", "1" * 30, "١"):
        assert place_of(desk.get(number)) == "1"


def test_nothing_on_a_page_tells_where_a_reply_comes_from(desk: Desk) -> None:
    desk.agree()
    pages = " ".join(desk.get(str(place + 1)).text for place in range(12))
    for word in ("Listener", "Speaker", "standard", "cga", "peer", "repeat", "german-"):
        assert word not in re.sub(r"<(script|link)[^>]*>", "", pages), word


def test_foreign_text_is_shown_as_it_is_and_does_nothing(tmp_path: Path) -> None:
    hostile = (
        "<script>alert(1)</script> <img src=http://elsewhere.example/x onerror=alert(2)> \u202egnorw {{ 7*7 }} {label} \x00 & 'q' \"q\""
    )
    texts = iter(range(10**6))
    run = make_run(cultures=["german"], text=lambda *_: f"{hostile} {next(texts)}\n\nשלום")
    desk = Desk(small_packet(tmp_path / "p", runs=[run], per_item=2, include_peer=False).packet)
    desk.agree()
    desk.post("1/answer", {".comment": "</textarea><script>alert(3)</script>"})
    page = desk.get("1")
    assert "<script>alert" not in page.text
    assert "<img" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert '<span class="unseen" title="right-to-left override">U+202E</span>' in page.text
    assert "U+0000" in page.text
    assert "{{ 7*7 }} {label}" in page.text
    assert '<p dir="auto">שלום</p>' in page.text
    assert "&lt;/textarea&gt;" in page.text


def test_the_browser_is_kept_from_other_hosts_and_from_keeping_pages(desk: Desk) -> None:
    desk.agree()
    for answer in (desk.client.get("/"), desk.get("1"), desk.get("pause"), desk.client.get("/nowhere"), desk.get("1", rater="german-2")):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        loaded = re.findall(r'(?:src|href|action)="([^"]+)"', re.sub(r'<a [^>]*rel="noreferrer[^>]*>', "", answer.text))
        assert all(address.startswith(("/", "#")) for address in loaded)
        assert not re.search(r" (on\w+|style)=", answer.text), "nothing that the policy would block"
        assert "set-cookie" not in answer.headers
    addresses = set(re.findall(r'"(/static/[^"]+)"', desk.get("1").text))
    assert {address.rpartition("/")[2] for address in addresses} == {"form.css", "form.js", "icon.svg"}
    for address in addresses:
        assert "immutable" in desk.client.get(address).headers["cache-control"]
        assert desk.client.get(address.replace("/static/", "/static/old")).headers["cache-control"] == "no-store"
    assert desk.client.get("/static/0/../app.py").status_code == 404


def test_a_form_that_is_too_long_or_none_is_refused(desk: Desk) -> None:
    desk.agree()
    address = desk.address(path="1/answer")
    assert desk.client.post(address, content=b"x" * (MOST_BYTES + 1)).status_code == 413
    assert desk.client.post(address, content="ä".encode()).status_code == 400
    assert desk.client.post(address, content=b"a=1&" * 5000).status_code == 400


def test_a_file_that_was_spoilt_is_told_and_nothing_is_added_to_it(desk: Desk) -> None:
    desk.agree()
    path = ratings_path(desk.packet, RATER)
    path.write_text('{"not": "a rating"}\n', encoding="utf-8")
    answer = desk.post("1/answer", {"A.empathy": "4"})
    assert answer.status_code == 500
    assert desk.get("1").status_code == 500
    assert path.read_text(encoding="utf-8") == '{"not": "a rating"}\n'
    assert "german-1.jsonl:1" in desk.said[0]
    with pytest.raises(CultureCareError, match=r"german-1.jsonl:1"):
        desk.start()
    path.unlink()
    consent = consent_path(desk.packet, RATER)
    consent.write_text(consent.read_text(encoding="utf-8").replace(RATER, "german-2"), encoding="utf-8")
    with pytest.raises(CultureCareError, match=r"is a consent of rater 'german-2' .*, not of 'german-1'"):
        desk.start()


# --- Languages ---


def test_every_language_of_the_interface_has_the_forms_words() -> None:
    assert list(words()) == ["en", *(code for code in languages() if code != "en")]
    with pytest.raises(CultureCareError, match="has no words in language 'fr'"):
        select_words("fr")


@pytest.mark.parametrize("form", ["annotator", "psychologist"])
@pytest.mark.parametrize("code", sorted(languages()))
def test_the_form_speaks_the_packets_language_and_english(tmp_path: Path, form: str, code: str) -> None:
    desk = Desk(small_packet(tmp_path / "p", form, runs=[make_run(cultures=["german"])], ask_in={"german": code}).packet)
    language = select_language(code)
    assert str(desk.client.get(f"/r/{desk.tokens[RATER]}").url).endswith(f"/{code}")
    desk.agree()
    for chosen in {code, "en"}:
        spoken, wording = select_language(chosen), desk.packet.packet.wordings[chosen]
        page = desk.get("1", language=chosen)
        assert f'<html lang="{chosen}" dir="{spoken.direction}">' in page.text
        for text in (wording.questions[0].question, spoken.interface.next, select_words(chosen).pause, spoken.interface.leave_out):
            assert text in shown(page)
    page = desk.get("1", language=code)
    assert f'href="{desk.address(language="en", path="1")}" lang="en"' in page.text or code == "en"
    other = "ja" if code != "ja" else "de"
    assert f'<html lang="{code}" dir="{language.direction}">' in desk.get("1", language=other).text, (
        "what is not offered is the rater's own"
    )


# --- On the terminal ---


class Told:
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def advance(self, finished: int, total: int) -> None:
        pass


@pytest.fixture
def unserved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `serve` come back at once."""
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda *_, **__: None)


@pytest.mark.slow
@pytest.mark.usefixtures("unserved")
def test_the_organiser_is_told_addresses_and_progress(desk: Desk) -> None:
    from culturecare_harness.human.web import serve

    desk.agree("german-2")
    append_ratings(desk.packet, answers(desk.packet, "german-2"))
    desk.agree()
    told = Told()
    serve(desk.packet.folder, told, port=0)
    lines = {line.split()[1]: line for line in told.sentences if "/r/" in line}
    assert lines.keys() == desk.packet.assignments.keys()
    assert f"/r/{desk.tokens[RATER]}  german-1    de  0 of 12" in lines[RATER]
    assert lines["german-2"].endswith("finished")
    assert lines["american-1"].endswith("12 items, not begun")
    assert all(line.strip().startswith("http://127.0.0.1:") for line in lines.values())
    assert not any("not encrypted" in line for line in told.sentences)
    assert sum("Organiser's page, not for raters: http://127.0.0.1:" in line for line in told.sentences) == 1


def test_the_organisers_page_is_where_nobody_else_looks(desk: Desk) -> None:
    from starlette.testclient import TestClient

    from culturecare_harness.human.web import create_app

    client = TestClient(create_app(desk.packet, desk.tokens, organiser="/organiser/secret"))
    page = client.get("/organiser/secret/")
    assert page.status_code == 200
    assert "unsafe-inline" in page.headers["content-security-policy"], "gradio needs it"
    assert "http" not in page.headers["content-security-policy"]
    for elsewhere in ("/organiser/", "/organiser/guess/", "/config", "/gradio_api/info", "/organiser/secre"):
        answer = client.get(elsewhere)
        assert answer.status_code == 404
        assert "unsafe" not in answer.headers["content-security-policy"]
    assert desk.client.get("/organiser/secret/").status_code == 404


def test_the_organiser_sees_how_far_each_rater_has_come(desk: Desk) -> None:
    from culturecare_harness.human.web.journal import Journal
    from culturecare_harness.human.web.organiser import standings

    desk.agree()
    append_ratings(desk.packet, answers(desk.packet, "german-2"))
    desk.post("1/answer", {"A.empathy": "4"})
    desk.post("2", {"leave_out": "1"})
    journals = {rater: Journal(desk.packet, rater, desk.clock) for rater in desk.packet.assignments}
    found = {standing.rater: standing for standing in standings(desk.packet, desk.tokens, journals)}
    assert [found[rater].state for rater in ("american-1", RATER, "german-2")] == ["not begun", "at work", "finished"]
    assert (found[RATER].finished, found[RATER].items, found[RATER].path) == (1, 12, f"/r/{desk.tokens[RATER]}")
    assert found[RATER].declined > 0
    assert found[RATER].last == desk.clock.time
    assert found["american-1"].last is None


@pytest.mark.usefixtures("unserved")
def test_the_organiser_alone_sees_the_names_behind_the_codes(desk: Desk) -> None:
    from starlette.testclient import TestClient

    from culturecare_harness.human.items import called
    from culturecare_harness.human.web import create_app, serve

    names = {RATER: "Zoë Müller"}
    names_path(desk.packet.folder).write_text(json.dumps(names), encoding="utf-8")
    told = Told()
    serve(desk.packet.folder, told, port=0)
    assert [line.partition("/r/")[2].split("  ")[1] for line in told.sentences if "Zoë" in line] == ["german-1 (Zoë Müller)"] * 2
    assert called("german-2", names) == "german-2"
    desk.agree()
    client = TestClient(create_app(desk.packet, desk.tokens, organiser="/organiser/secret", names=names))
    for path in ("", "1", "end"):
        assert "Zoë" not in shown(client.get(desk.address(path=path)))


@pytest.mark.usefixtures("unserved")
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - what is tested.
def test_the_organiser_is_warned_where_others_can_listen(desk: Desk, host: str) -> None:
    from culturecare_harness.human.web import serve

    if host == "::" and not socket.has_ipv6:
        pytest.skip("needs IPv6")
    told = Told()
    serve(desk.packet.folder, told, host=host, port=0)
    assert any("Warning: what is sent is not encrypted" in line for line in told.sentences)
    assert f"http://{socket.gethostname()}:" in told.sentences[0]


@pytest.mark.usefixtures("unserved")
def test_what_cannot_be_served_is_told(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    from culturecare_harness.human.web import serve

    with pytest.raises(CultureCareError, match="is this the folder of a packet"):
        serve(tmp_path / "nothing", Told(), port=0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CultureCareError, match=rf"127.0.0.1:{port}: can't be listened on .*; choose --host or --port"):
            serve(desk.packet.folder, Told(), port=port)

    def again(*_: Any, **__: Any) -> None:
        with pytest.raises(CultureCareError, match="is being served already"):
            serve(desk.packet.folder, Told(), port=0)

    monkeypatch.setattr(uvicorn.Server, "run", again)
    serve(desk.packet.folder, Told(), port=0)
    tokens_path(desk.packet.folder).unlink()
    with pytest.raises(CultureCareError, match="access codes are made with the packet"):
        serve(desk.packet.folder, Told(), port=0)
