"""Making packets: replies of models and peers blinded, mixed, and shared out to raters so that every comparison is as fair as it can be."""

from __future__ import annotations

import functools
import itertools
import random
import re
import secrets
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from culturecare import CultureCareError, cultures
from culturecare_harness.human.blocks import balanced_blocks, balanced_places, measure_balance
from culturecare_harness.human.forms import form_in, languages, main_language, select_language
from culturecare_harness.human.items import (
    LABELS,
    Assignment,
    Item,
    ItemReply,
    Key,
    KeyEntry,
    KeyHeader,
    OpenPacket,
    Packet,
    Post,
    key_path,
    names_path,
    packet_id,
    tokens_path,
    write_packet,
)
from culturecare_harness.human.ratings import shortened
from culturecare_harness.jury import model_families
from culturecare_harness.pairs import PEER
from culturecare_harness.records import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from culturecare_harness.human.blocks import Balance
    from culturecare_harness.human.forms import Form
    from culturecare_harness.records import Instance, Reply
    from culturecare_harness.runs import ReplySet

__all__ = ["MadePacket", "make_packet", "read_raters"]

EVERY = "all"
"""In place of a culture where raters are named: every culture that is not named."""

USUAL_PER_ITEM = 4
"""Replies of an item unless told otherwise, where there are so many conditions."""

MOST_RATERS = 500
"""Most raters of a culture: each is a person who is given an access code by hand, and the pairs to be balanced grow with the square."""

_CHECKS_ANYWAY = 2
"""Attention checks that a rater may have with however few items."""


_MOST_DIGITS = 9
"""Most digits of a number of raters that is read at all."""

_LONGEST_NAME = 100


class MadePacket(NamedTuple):
    """A packet that was just made, with what stands beside it; without names of raters there is no file of them."""

    packet: OpenPacket
    key: Key
    key_file: Path
    tokens_file: Path
    names_file: Path | None


# --- Making ----------------------------------------------------------------------------------------------------------------------


class _Source(NamedTuple):
    """A reply before it is blinded."""

    instance_id: str
    condition: str
    model: str | None
    strategy: str | None
    reply_id: str | None
    text: str


class _Material(NamedTuple):
    """What a packet is made of.

    Attributes:
        sources: By post and condition.
        posts: Ids of the posts of each culture.
        texts: Each post's text.
        languages: Each post's language.
    """

    sources: Mapping[tuple[str, str], _Source]
    conditions: tuple[str, ...]
    posts: Mapping[str, list[str]]
    texts: Mapping[str, str]
    languages: Mapping[str, str | None]
    excerpt: bool
    split: str
    revision: str
    notes: tuple[str, ...]


class _Design(NamedTuple):
    """What is asked of whom.

    Attributes:
        wordings: The form in each language that raters are asked in, and in English.
        asked_in: Language of each culture's raters.
        raters: Codes of each culture's raters.
        items: Number of items of each culture, checks and repeats not counted.
        per_item: Replies of an item.
        checks: Attention checks a rater.
        repeats: Items that each rater is given a second time.
    """

    wordings: Mapping[str, Form]
    asked_in: Mapping[str, str]
    raters: Mapping[str, list[str]]
    items: Mapping[str, int]
    per_item: int
    raters_per_item: int
    checks: int
    repeats: int


class _Draft(NamedTuple):
    """An item before it has an id, with the condition of each label."""

    instance_id: str
    conditions: tuple[str, ...]


class _Made(NamedTuple):
    """An item with the lines of the key that belong to it."""

    item: Item
    entries: tuple[KeyEntry, ...]


def read_raters(given: Iterable[str]) -> dict[str, int | list[str]]:
    """Reads who rates, as a command line says it.

    Args:
        given: `german=3` (so many raters of a culture), `german=ann,ben` (their names), or `3` (so many for every culture not named).

    Raises:
        CultureCareError: It is none of these, or a culture is named twice.
    """
    raters: dict[str, int | list[str]] = {}
    for text in given:
        culture, equals, who = text.rpartition("=")
        culture, who = culture.strip().lower() or EVERY, who.strip()
        names = [name.strip() for name in who.split(",") if name.strip()]
        is_no_name = any(not name[0].isalnum() for name in names)
        shown = shortened(text)
        if not names or is_no_name or (bool(equals) and culture == EVERY) or (culture == EVERY and not who.isdecimal()):
            raise CultureCareError(f"raters {shown}: must be CULTURE=NUMBER, CULTURE=NAME,NAME…, or a NUMBER for every culture")
        if culture in raters:
            raise CultureCareError(f"raters {shown}: {'every culture' if culture == EVERY else culture} is given twice")
        if who.isdecimal() and len(who) > _MOST_DIGITS:
            raise CultureCareError(f"raters {shown}: at most {MOST_RATERS} raters of a culture are taken; name fewer")
        raters[culture] = int(who) if who.isdecimal() else names
    return raters


def make_packet(
    runs: Sequence[ReplySet],
    form: Form,
    *,
    raters: Mapping[str, int | Sequence[str]],
    out: Path,
    per_item: int | None = None,
    raters_per_item: int = 3,
    items: int | None = None,
    choose: Iterable[str] | None = None,
    ask_in: Mapping[str, str] | None = None,
    include_peer: bool = True,
    checks: int = 2,
    repeats: int = 2,
    seed: int = 0,
) -> MadePacket:
    """Makes a packet for people to rate.

    With equal arguments the packet and its key are equal to the byte; access codes are secrets and are new each time.

    A peer's reply to a post that is known by excerpts alone is known by excerpts too: it would be told from a model's at a glance, and the
    peer read the whole post. So the peer takes part only where posts and replies have their text.

    Args:
        runs: Replies to the same posts, from `load_replies`, of one or more models.
        form: What is asked, in English.
        raters: For each culture (or `all` that are not named), how many raters there are or what they are called, as from `read_raters`.
            Raters are called by a code everywhere, such as `german-1`; names are dealt out to the codes at random, and stand in a file
            beside the packet alone, by which the organiser knows whom to give which access code.
        out: The packet's folder, which must not be there. The key and the access codes are written beside it.
        per_item: Replies of an item, by default `USUAL_PER_ITEM`, or all where there are fewer conditions; where there are more, each item
            has some of them, in a balanced incomplete block design.
        raters_per_item: How many raters of the post's culture rate each item.
        items: Items of each culture, by default one a post.
        choose: Cultures to take, by default all of the runs.
        ask_in: Language of the form by culture, where it is not the culture's main language.
        include_peer: Whether the peer's reply takes part.
        checks: Attention checks a rater, at most one for every two items: an item whose only reply says what to answer on one question.
        repeats: How many items each rater is given a second time, with their replies in another order.
        seed: Seed of all that is left to chance.

    Raises:
        CultureCareError: What was asked for cannot be made; nothing is written then.
    """
    _refuse_what_is_there(out)
    _refuse_too_few(per_item=per_item, raters_per_item=raters_per_item, checks=checks, repeats=repeats)
    material = _gather(runs, choose, include_peer=include_peer)
    size = _replies_per_item(material.conditions, per_item)
    numbers = _item_numbers(material, size, items)
    asked_in = _languages(material.posts, ask_in or {})
    codes, names = _call_raters(raters, numbers, raters_per_item)
    design = _Design(
        wordings={code: form_in(form, code) for code in sorted({form.language, *asked_in.values()})},
        asked_in=asked_in,
        raters=codes,
        items=numbers,
        per_item=size,
        raters_per_item=raters_per_item,
        checks=checks,
        repeats=repeats,
    )
    _refuse_too_many_checks(design)
    # What raters can read does not give this seed away: without the runs, nobody can work out again which label is which condition.
    chance = random.Random(digest([seed, form.hash, [list(source[:5]) for source in material.sources.values()]]))  # noqa: S311 - no secret.
    made, assignments, balance = _make_items(design, material, chance)
    key = _key(made, material, balance)
    opened = _opened(out, design, form, material, made, assignments, seed=seed, key=key.hash)
    write_packet(opened, key, names)
    return MadePacket(opened, key, key_path(out), tokens_path(out), names_path(out) if names else None)


def _make_items(design: _Design, material: _Material, chance: random.Random) -> tuple[list[_Made], list[Assignment], dict[str, Balance]]:
    """The items in the order of their ids, who is given which, and how balanced they are."""
    made: list[_Made] = []
    assignments: list[Assignment] = []
    blocks = _blocks(material, design, chance)
    balance = {culture: measure_balance(of_culture, len(material.conditions)) for culture, of_culture in blocks.items()}
    balance["all"] = measure_balance([block for of_culture in blocks.values() for block in of_culture], len(material.conditions))
    namer = _Namer(chance)
    for culture, of_culture in blocks.items():
        items, given = _make_items_of(culture, of_culture, design, material, namer, chance)
        made += items
        assignments += given
    made.sort(key=lambda entry: entry.item.id)
    return made, assignments, balance


def _make_items_of(
    culture: str, blocks: Sequence[tuple[int, ...]], design: _Design, material: _Material, namer: _Namer, chance: random.Random
) -> tuple[list[_Made], list[Assignment]]:
    """One culture's items, checks and repeats included, and who is given which."""
    posts, language = material.posts[culture], design.asked_in[culture]
    drafts = [_Draft(post, tuple(material.conditions[condition] for condition in block)) for post, block in _spread(blocks, posts, chance)]
    items = [_blind(draft, material, culture, namer) for draft in drafts]
    # In English too, since a rater may switch to it.
    forms = [design.wordings[code] for code in dict.fromkeys((language, "en")) if code in design.wordings]
    checks = [_check(material, posts, culture, forms, namer, chance) for _ in range(design.checks)]
    loads = _share_out(items, design.raters[culture], design.raters_per_item, chance)
    made, assignments = [*items, *checks], []
    for rater, load in loads.items():
        order, again = _order(load, checks, design.repeats, rater, namer, chance)
        made += again
        assignments.append(Assignment(rater=rater, culture=culture, language=language, items=tuple(entry.item.id for entry in order)))
    return made, assignments


def _opened(
    out: Path,
    design: _Design,
    form: Form,
    material: _Material,
    made: Sequence[_Made],
    assignments: Sequence[Assignment],
    *,
    seed: int,
    key: str,
) -> OpenPacket:
    """The packet as it is read back from its folder."""
    items = {entry.item.id: entry.item for entry in made}
    packet = Packet(
        id="0" * 16,
        form=form,
        wordings=dict(design.wordings),
        languages=dict(design.asked_in),
        excerpt=material.excerpt,
        seed=seed,
        per_item=design.per_item,
        raters_per_item=design.raters_per_item,
        checks=design.checks,
        repeats=design.repeats,
        items=dict(design.items),
        key=key,
    )
    packet = packet.model_copy(update={"id": packet_id(packet, items.values(), assignments)})
    return OpenPacket(out, packet, items, {assignment.rater: assignment for assignment in assignments})


# --- Refusals and defaults -------------------------------------------------------------------------------------------------------


def _refuse_what_is_there(out: Path) -> None:
    for path in (out, key_path(out), tokens_path(out), names_path(out)):
        if path.exists():
            raise CultureCareError(f"{path}: is there already, and packets are never overwritten; choose another folder with --out")


def _refuse_too_few(*, per_item: int | None, raters_per_item: int, checks: int, repeats: int) -> None:
    at_least = {"per_item": (per_item, 1), "raters_per_item": (raters_per_item, 1), "checks": (checks, 0), "repeats": (repeats, 0)}
    for name, (number, least) in at_least.items():
        if number is not None and number < least:
            raise CultureCareError(f"{name} is {number}, but must be {least} or more")


def _replies_per_item(conditions: Sequence[str], wanted: int | None) -> int:
    if wanted is None:
        return min(USUAL_PER_ITEM, len(conditions))
    most = min(len(conditions), len(LABELS))
    if wanted > most:
        why = "one for each letter" if most < len(conditions) else "one by each condition"
        raise CultureCareError(f"per_item is {wanted}, but an item has at most {most} replies here, {why}; lower --per-item to {most}")
    return wanted


def _item_numbers(material: _Material, per_item: int, wanted: int | None) -> dict[str, int]:
    number = len(material.conditions)
    numbers = {culture: len(posts) if wanted is None else wanted for culture, posts in material.posts.items()}
    for culture, of_culture in numbers.items():
        posts = len(material.posts[culture])
        most = posts * -(-number // per_item)
        if not 1 <= of_culture <= most:
            raise CultureCareError(
                f"culture {culture!r} has {posts} posts with {number} replies each, which make 1 to {most} items of {per_item}, "
                f"not {of_culture}"
            )
    return numbers


def _languages(present: Iterable[str], ask_in: Mapping[str, str]) -> dict[str, str]:
    asked_in = {culture: ask_in.get(culture, main_language(culture)) for culture in present}
    if unknown := sorted(set(ask_in) - set(asked_in)):
        raise CultureCareError(f"a language is named for culture {unknown[0]!r}, but the packet has posts of {', '.join(asked_in)} alone")
    return asked_in


def _refuse_too_many_checks(design: _Design) -> None:
    for culture, items in design.items.items():
        load = items * design.raters_per_item // len(design.raters[culture])
        most = max(_CHECKS_ANYWAY, load // 2)
        if design.checks > most:
            raise CultureCareError(
                f"checks is {design.checks}, but a rater of culture {culture!r} has {load} items and takes at most {most} checks, "
                f"one for every two items ({_CHECKS_ANYWAY} in any case); lower --checks"
            )


# --- Material --------------------------------------------------------------------------------------------------------------------


def _gather(runs: Sequence[ReplySet], choose: Iterable[str] | None, *, include_peer: bool) -> _Material:
    replies = [reply for run in runs for reply in run.replies]
    if not replies:
        raise CultureCareError("there is no reply to rate; name the folder of a finished run")
    if len({reply.excerpt for reply in replies}) > 1:
        raise CultureCareError("replies to full posts and replies to excerpts are mixed; they are never compared with each other")
    if len({(reply.split, reply.dataset_revision) for reply in replies}) > 1:
        raise CultureCareError("the runs are on several splits or revisions of the dataset; people compare replies to the same posts")
    chosen = _chosen_cultures(replies, choose)
    replies = [reply for reply in replies if reply.culture in chosen]
    texts = _texts(runs, replies)
    sources = _sources(replies)
    _check_same_posts(sources)
    instances = {instance.id: instance for run in runs for instance in run.instances}
    posts: dict[str, list[str]] = {culture: [] for culture in chosen}
    for reply in replies:
        if reply.instance_id not in posts[reply.culture]:
            posts[reply.culture].append(reply.instance_id)
    notes = []
    if include_peer:
        without = _add_peer(sources, posts, instances, excerpt=replies[0].excerpt)
        if without:
            notes.append(f"Posts that were left out, since their peer's reply is not known in full: {without}.")
    if empty := sum(not source.text.strip() for source in sources.values()):
        notes.append(f"Replies without text, which are shown as empty: {empty}.")
    return _Material(
        sources=sources,
        conditions=tuple(dict.fromkeys(condition for _, condition in sources)),
        posts=posts,
        texts=texts,
        languages={reply.instance_id: reply.language for reply in replies},
        excerpt=replies[0].excerpt,
        split=replies[0].split,
        revision=replies[0].dataset_revision,
        notes=tuple(notes),
    )


def _chosen_cultures(replies: Sequence[Reply], choose: Iterable[str] | None) -> list[str]:
    found = {reply.culture for reply in replies}
    wanted = set(choose) if choose is not None else found
    if not wanted or "" in wanted:
        raise CultureCareError(f"cultures: a name is empty; choose from {', '.join(sorted(found))}, or leave --cultures out for all")
    if unknown := sorted(wanted - set(cultures())):
        raise CultureCareError(f"unknown culture {unknown[0]!r}: choose from {', '.join(cultures())}")
    if missing := sorted(wanted - found):
        raise CultureCareError(f"the runs have no reply to a post of culture {missing[0]!r}; theirs are {', '.join(sorted(found))}")
    return [culture for culture in cultures() if culture in wanted]


def _texts(runs: Sequence[ReplySet], replies: Sequence[Reply]) -> dict[str, str]:
    wanted = {reply.instance_id for reply in replies}
    texts: dict[str, str] = {}
    for run in runs:
        for name, text in run.posts.items():
            if name in wanted and texts.setdefault(name, text) != text:
                raise CultureCareError(
                    f"post {name!r} reads otherwise in {run.folder} than in another run; people compare replies to the same posts"
                )
    return texts


def _sources(replies: Sequence[Reply]) -> dict[tuple[str, str], _Source]:
    sources: dict[tuple[str, str], _Source] = {}
    for reply in replies:
        condition = f"{reply.model}:{reply.strategy}"
        if (reply.instance_id, condition) in sources:
            raise CultureCareError(f"post {reply.instance_id!r} has two replies by {condition!r}; name each run once")
        sources[reply.instance_id, condition] = _Source(reply.instance_id, condition, reply.model, reply.strategy, reply.id, reply.text)
    return sources


def _check_same_posts(sources: Mapping[tuple[str, str], _Source]) -> None:
    by_condition: dict[str, set[str]] = defaultdict(set)
    for name, condition in sources:
        by_condition[condition].add(name)
    every = set().union(*by_condition.values())
    for condition, names in by_condition.items():
        if missing := sorted(every - names):
            raise CultureCareError(
                f"{condition!r} has no reply to {len(missing)} of {len(every)} posts, such as {missing[0]!r}; "
                "people compare replies to the same posts: name runs on the same posts, or choose cultures that all have"
            )


def _add_peer(
    sources: dict[tuple[str, str], _Source], posts: dict[str, list[str]], instances: Mapping[str, Instance], *, excerpt: bool
) -> int:
    """Adds the peer's replies, and takes out the posts that have none. Returns how many these were."""
    if excerpt:
        raise CultureCareError(
            "posts and peers' replies are known by excerpts alone: raters would tell a peer's fragments from a model's reply at once; "
            "leave the peer out with --no-peer"
        )
    if missing := [name for names in posts.values() for name in names if name not in instances]:
        raise CultureCareError(
            f"the peer's reply to post {missing[0]!r} is not known, since lm-eval's samples hold the posts alone; "
            "leave the peer out with --no-peer"
        )
    without = 0
    for culture, names in posts.items():
        kept = []
        for name in names:
            if instances[name].response.text is None:
                without += 1
                for key in [key for key in sources if key[0] == name]:
                    del sources[key]
            else:
                kept.append(name)
                sources[name, PEER] = _Source(name, PEER, None, None, None, instances[name].response_text)
        if not kept:
            raise CultureCareError(f"no post of culture {culture!r} has a peer's reply with its text; leave the peer out with --no-peer")
        posts[culture] = kept
    return without


def _call_raters(
    raters: Mapping[str, int | Sequence[str]], items: Mapping[str, int], raters_per_item: int
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Codes of each culture's raters, of whom each has something to do; and the names, by code, of those who have one."""
    given = [name for who in raters.values() if not isinstance(who, int) for name in who]
    _check_names(given)
    if stray := sorted(set(raters) - {EVERY, *items}):
        raise CultureCareError(f"raters are named for culture {stray[0]!r}, but the packet has posts of {', '.join(items)} alone")
    codes: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for culture, of_culture in items.items():
        who = raters.get(culture, raters.get(EVERY))
        if who is None:
            raise CultureCareError(
                f"culture {culture!r} has no raters; name them with --raters {culture}=3, or choose cultures with --cultures"
            )
        number = who if isinstance(who, int) else len(who)
        _check_number(culture, number, of_culture, raters_per_item)
        codes[culture] = [f"{culture}-{place}" for place in range(1, number + 1)]
        if not isinstance(who, int):
            # By a chance that no seed tells: in the order of their names, a list of those who took part would tell whose code is whose.
            names |= zip(codes[culture], secrets.SystemRandom().sample(who, number), strict=True)
    return codes, names


def _check_number(culture: str, raters: int, items: int, raters_per_item: int) -> None:
    if raters < raters_per_item:
        raise CultureCareError(
            f"culture {culture!r} has {raters} raters, but each item takes {raters_per_item}; name more raters, or lower --raters-per-item"
        )
    if raters > MOST_RATERS:
        raise CultureCareError(
            f"culture {culture!r} has {raters} raters, but at most {MOST_RATERS} are taken, since sharing items out evenly over every two "
            "of them takes ever longer; name fewer"
        )
    most = items * raters_per_item
    if raters > most:
        raise CultureCareError(
            f"culture {culture!r} has {raters} raters, but its {items} items with {raters_per_item} raters each are work for {most}; "
            "name fewer raters, or raise --items or --raters-per-item"
        )


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise CultureCareError(f"rater {shortened(name)}: a name has 1 to {_LONGEST_NAME} characters, all of which can be printed")
    counts = Counter(name.casefold() for name in names)
    if twice := [name for name in names if counts[name.casefold()] > 1]:
        raise CultureCareError(f"rater {twice[-1]!r} is named twice; a rater rates posts of one culture, under one name")


# --- Design ----------------------------------------------------------------------------------------------------------------------


def _blocks(material: _Material, design: _Design, chance: random.Random) -> dict[str, list[tuple[int, ...]]]:
    """Which conditions stand together, and in which places: balanced in each culture, and over all where that leaves a choice."""
    blocks: list[tuple[int, ...]] = []
    for number in design.items.values():
        blocks += balanced_blocks(len(material.conditions), design.per_item, number, chance, blocks)
    rest = iter(balanced_places(blocks, chance))
    return {culture: list(itertools.islice(rest, number)) for culture, number in design.items.items()}


def _spread(blocks: Sequence[tuple[int, ...]], posts: Sequence[str], chance: random.Random) -> list[tuple[str, tuple[int, ...]]]:
    """Gives each post equally many blocks, or one more; the blocks of a post have as few replies in common as can be."""
    order = list(posts)
    chance.shuffle(order)
    each, more = divmod(len(blocks), len(order))
    room = {post: each + (place < more) for place, post in enumerate(order)}
    used: dict[str, set[int]] = {post: set() for post in order}
    spread = []
    for block in blocks:
        open_posts = [post for post in order if room[post]]
        post = min(open_posts, key=lambda post: (len(used[post] & set(block)), -room[post], chance.random()))
        room[post] -= 1
        used[post] |= set(block)
        spread.append((post, block))
    return spread


def _share_out(made: Sequence[_Made], raters: Sequence[str], raters_per_item: int, chance: random.Random) -> dict[str, list[_Made]]:
    """Gives each item its raters: loads are equal, or differ by one, and every two raters share as equally many items as can be.

    Of some ways of giving sets of raters to items, that one is taken by which raters see the conditions most equally often.
    """
    sets = balanced_blocks(len(raters), raters_per_item, len(made), chance)
    conditions = [[entry.condition for entry in item.entries] for item in made]
    best: list[tuple[int, ...]] = []
    best_cost = -1
    for _ in range(50):
        chance.shuffle(sets)
        seen = Counter(
            (rater, condition) for of_item, shown in zip(sets, conditions, strict=True) for rater in of_item for condition in shown
        )
        cost = sum(count * count for count in seen.values())
        if best_cost < 0 or cost < best_cost:
            best, best_cost = list(sets), cost
    loads: dict[str, list[_Made]] = {rater: [] for rater in raters}
    for item, of_item in zip(made, best, strict=True):
        for number in of_item:
            loads[raters[number]].append(item)
    return loads


def _order(
    load: Sequence[_Made], check_items: Sequence[_Made], repeats: int, rater: str, namer: _Namer, chance: random.Random
) -> tuple[list[_Made], list[_Made]]:
    """The order of a rater's items, with checks and repeats among them, and the repeats that were made for it.

    Repeats stand in the second half and their originals in the first, so that at least one item is between them; no two repeats are
    neighbours, and no check is the first item.
    """
    total = len(load) + len(check_items) + repeats
    half = total // 2
    # Of w places, n that are not neighbours are chosen by choosing n of w - n + 1 and widening the gaps by one each.
    window = total - half - 1
    room = window - repeats + 1
    firsts = max(0, half - len(check_items))
    if repeats and (room < repeats or firsts < repeats):
        raise CultureCareError(
            f"rater {rater!r} has {len(load)} items, among which {repeats} repeats do not fit; "
            "give each rater more items, or lower --repeats"
        )
    repeat_places = [half + 1 + place + gap for gap, place in enumerate(sorted(chance.sample(range(room), repeats)))] if repeats else []
    free = [place for place in range(1, total) if place not in repeat_places]
    if len(free) < len(check_items):
        raise CultureCareError(f"rater {rater!r} has {len(load)} items, too few for {len(check_items)} checks; lower --checks")
    check_places = sorted(chance.sample(free, len(check_items)))
    order: list[_Made | None] = [None] * total
    shuffled_checks = list(check_items)
    chance.shuffle(shuffled_checks)
    for place, check in zip(check_places, shuffled_checks, strict=True):
        order[place] = check
    rest = [place for place in range(total) if place not in {*repeat_places, *check_places}]
    for place, item in zip(rest, _apart(load, chance), strict=True):
        order[place] = item
    originals = chance.sample([order[place] for place in rest if place < half], repeats)
    again = [_repeat(original, namer, chance) for original in originals if original is not None]
    for place, repeat in zip(repeat_places, again, strict=True):
        order[place] = repeat
    return [entry for entry in order if entry is not None], again


def _apart(load: Sequence[_Made], chance: random.Random) -> list[_Made]:
    """The items in random order, the best of some in which items on the same post are not neighbours."""
    best: list[_Made] = []
    least = len(load) + 1
    for _ in range(50):
        order = list(load)
        chance.shuffle(order)
        neighbours = sum(one.entries[0].instance_id == other.entries[0].instance_id for one, other in itertools.pairwise(order))
        if neighbours < least:
            best, least = order, neighbours
        if not least:
            break
    return best


# --- Items -----------------------------------------------------------------------------------------------------------------------


class _Namer:
    """Gives items names that tell nothing, none twice."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._given: set[str] = set()

    def __call__(self) -> str:
        while (name := f"{self._chance.getrandbits(40):010x}") in self._given:
            pass
        self._given.add(name)
        return name


def _blind(draft: _Draft, material: _Material, culture: str, namer: _Namer) -> _Made:
    name = namer()
    sources = [material.sources[draft.instance_id, condition] for condition in draft.conditions]
    replies = tuple(ItemReply(label=label, text=source.text.strip()) for label, source in zip(LABELS, sources, strict=False))
    entries = tuple(
        KeyEntry(
            item=name,
            label=label,
            kind="peer" if source.condition == PEER else "reply",
            culture=culture,
            instance_id=source.instance_id,
            condition=source.condition,
            model=source.model,
            strategy=source.strategy,
            reply_id=source.reply_id,
            reveals=_reveals(source.text, material.conditions),
        )
        for label, source in zip(LABELS, sources, strict=False)
    )
    return _Made(_item(name, draft.instance_id, culture, material, replies), entries)


def _item(name: str, post: str, culture: str, material: _Material, replies: tuple[ItemReply, ...]) -> Item:
    return Item(
        id=name,
        culture=culture,
        language=material.languages[post],
        post=Post(text=material.texts[post], excerpt=material.excerpt),
        replies=replies,
    )


def _check(material: _Material, posts: Sequence[str], culture: str, forms: Sequence[Form], namer: _Namer, chance: random.Random) -> _Made:
    """An item whose only reply says openly, in each of the forms' languages, that it is a check, and what to answer on one question."""
    form = forms[0]
    questions = [question for question in form.of_replies if question.values and question.required]
    if not questions:
        raise CultureCareError(
            f"form {form.name!r} has no required scale or choice about replies that an attention check could ask for; set --checks 0"
        )
    post = chance.choice(list(posts))
    question, name = chance.choice(questions), namer()
    value = chance.choice(question.values)
    reply = ItemReply(label=LABELS[0], text="\n\n".join(_asked_for(one, question.key, value.value) for one in forms))
    entry = KeyEntry(
        item=name,
        label=LABELS[0],
        kind="check",
        culture=culture,
        instance_id=post,
        condition=None,
        model=None,
        strategy=None,
        reply_id=None,
        question=question.key,
        expected=value.value,
    )
    return _Made(_item(name, post, culture, material, (reply,)), (entry,))


def _asked_for(form: Form, key: str, value: int | str) -> str:
    """The words of a check: question and answer are found as the form words them, whatever the post's language."""
    question = form.question(key)
    wording = question.wording(value)
    answer = f"{value} ({wording})" if question.kind == "scale" else wording
    return select_language(form.language).interface.check.format(question=question.name, answer=answer)


def _repeat(original: _Made, namer: _Namer, chance: random.Random) -> _Made:
    """The same item under another name, its replies shifted so that none keeps its label."""
    name = namer()
    number = len(original.entries)
    shift = chance.randrange(1, number) if number > 1 else 0
    places = [(place + shift) % number for place in range(number)]
    replies = tuple(ItemReply(label=LABELS[to], text=original.item.replies[place].text) for to, place in enumerate(places))
    entries = tuple(
        original.entries[place].model_copy(
            update={"item": name, "label": LABELS[to], "kind": "repeat", "repeats": original.item.id, "repeats_label": LABELS[place]}
        )
        for to, place in enumerate(places)
    )
    return _Made(original.item.model_copy(update={"id": name, "replies": replies}), entries)


# --- Key -------------------------------------------------------------------------------------------------------------------------


def _reveals(text: str, conditions: Iterable[str]) -> tuple[str, ...]:
    """Words by which a reply tells its origin: names of the packet's models and their families, and phrases by which machines own up."""
    plain = " ".join(text.casefold().split())
    return tuple(word for word, pattern in _patterns(tuple(conditions)).items() if pattern.search(plain))


@functools.lru_cache(maxsize=8)
def _patterns(conditions: tuple[str, ...]) -> Mapping[str, re.Pattern[str]]:
    words: dict[str, None] = {}
    for condition in conditions:
        if condition == PEER:
            continue
        model = condition.rpartition(":")[0].removeprefix("packaged:")
        stem = re.match(r"[^\W\d_]{2,}\d*|[^\W\d_]\d+", model.rstrip("/").rpartition("/")[2])
        words |= dict.fromkeys(word.casefold() for word in ([stem[0], stem[0].rstrip("0123456789")] if stem else []) if len(word) > 1)
        words |= dict.fromkeys(sorted(model_families(model)))
    words |= dict.fromkeys(phrase.casefold() for language in languages().values() for phrase in language.gives_away)
    # A word ends where Latin letters end: those of Chinese or Japanese stand side by side with it.
    return {word: re.compile(rf"(?<![a-z]){re.escape(word)}(?![a-z])") for word in words}


def _key(made: Sequence[_Made], material: _Material, balance: Mapping[str, Balance]) -> Key:
    entries = tuple(entry for item in made for entry in item.entries)
    revealing = [entry for entry in entries if entry.reveals]
    items = tuple(dict.fromkeys(entry.item for entry in revealing))
    replies = len({(entry.instance_id, entry.condition) for entry in revealing})
    notes = list(material.notes)
    if replies:
        notes.append(f"Replies whose text tells that a model wrote them, or which: {replies}; see revealing_items.")
    header = KeyHeader(
        split=material.split,
        dataset_revision=material.revision,
        conditions=material.conditions,
        balance=dict(balance),
        revealing_replies=replies,
        revealing_items=items,
        notes=tuple(notes),
    )
    return Key(header=header, entries=entries)
