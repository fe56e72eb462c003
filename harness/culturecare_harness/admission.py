"""Admission: whether a bundle may stand on a board, and if not, every reason why.

Nothing that a bundle says of itself is believed that can be computed: its scores follow from its verdicts, its verdicts from the judge's
answers in them, and what it must hold from the protocol. Whether the judge really gave these answers is for `verify` to find out.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from culturecare_harness.asking import read_grade
from culturecare_harness.bundle import LONGEST_REASON, WITHHELD, leaks, printable
from culturecare_harness.judge import EMPTY_REPLY
from culturecare_harness.judges import NO_MEASURE
from culturecare_harness.jury import JuryResult, JuryVerdict, model_families
from culturecare_harness.protocols import Posts, protocols, settings_fit
from culturecare_harness.records import Verdict
from culturecare_harness.rubrics import select_rubric
from culturecare_harness.scoring import graded_metrics, metric_names, score_rows
from culturecare_harness.sketch import containment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from culturecare_harness.board import Entry
    from culturecare_harness.bundle import Bundle
    from culturecare_harness.jury import Jury
    from culturecare_harness.protocols import Protocol
    from culturecare_harness.records import Score

__all__ = [
    "COPIED",
    "Items",
    "graded_scores",
    "is_bare_grade",
    "item_metrics",
    "judged_by_kin",
    "lasting_refusals",
    "notes",
    "refusals",
    "untimely",
]

Items = dict[tuple[str, str], dict[str, dict[str, float | None]]]
"""For each strategy and culture, the graded metrics of each instance."""

_MOST_SHOWN = 3
_TOLERANCE = 1e-6
_DESCRIPTIVE = {"same_language", "reply_characters"}
COPIED = 0.5
"""From this share of common passages on (`sketch.containment`), one bundle is a copy of the other."""

_BYTES_PER_TOKEN = 32
"""More than a model's reply holds on average, runs of one character apart: a token of English is about four bytes, and a whole word of ten
letters at three bytes each, as Devanagari has them, is thirty."""

_FIRST = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
_FURTHER_SETTINGS = {"do_sample", "until"}
"""What lm-eval's own samples say of generation beside what a protocol fixes."""


def refusals(
    bundle: Bundle, board: Iterable[Entry] = (), *, known: Mapping[str, Protocol] | None = None, standing: bool = False
) -> list[str]:
    """Every reason why a bundle can't be taken; none where it can.

    Args:
        bundle: What was handed in.
        board: What is there already.
        known: Protocols by name, by default those of the package.
        standing: Whether it stands on a board already, where results under a retired protocol stay.

    Returns:
        Each reason a line that can be printed, though strangers' words may stand in it.
    """
    chosen = protocols() if known is None else known
    protocol = chosen.get(bundle.submission.protocol)
    reasons = []
    if protocol is not None and protocol.hash == bundle.submission.protocol_hash:
        if protocol.status == "retired" and not standing:
            reasons.append(f"protocol {protocol.name!r} is retired: {protocol.retired_because}")
        elif (late := untimely(bundle.submission.submitted, protocol)) is not None:
            reasons.append(late)
        reasons += _wrong_identity(bundle, board)
    return [printable(reason) for reason in [*reasons, *lasting_refusals(bundle, known=chosen)]]


def untimely(submitted: dt.datetime, protocol: Protocol) -> str | None:
    """Why a submission can't be of that time, null where it can. What this says changes with the clock, and when a protocol is retired.

    The time is the submitter's own word: whoever backdates a submission to a retired protocol is found by those who merge it alone.
    """
    if submitted.tzinfo is None or not _FIRST <= submitted <= dt.datetime.now(dt.UTC) + dt.timedelta(hours=1):
        return f"submitted: must be a time with its zone, not in the future and not before {_FIRST:%Y}"
    if protocol.retired_on is not None and submitted.astimezone(dt.UTC).date() > protocol.retired_on:
        return (
            f"it was submitted on {submitted:%Y-%m-%d}, by its own word, but protocol {protocol.name!r} takes nothing since "
            f"{protocol.retired_on:%Y-%m-%d}: {protocol.retired_because}"
        )
    return None


def lasting_refusals(bundle: Bundle, *, known: Mapping[str, Protocol]) -> list[str]:
    """Those reasons of `refusals` that neither the time nor what else is on a board changes, and that may therefore be remembered.

    Args:
        bundle: What was handed in.
        known: Protocols by name.
    """
    return [printable(reason) for reason in _lasting_refusals(bundle, known)]


def _lasting_refusals(bundle: Bundle, known: Mapping[str, Protocol]) -> list[str]:
    protocol = known.get(bundle.submission.protocol)
    if protocol is None:
        return [f"protocol {bundle.submission.protocol!r} is unknown here: known are {', '.join(known)}"]
    if protocol.hash != bundle.submission.protocol_hash:
        named = f"{protocol.name!r} ({bundle.submission.protocol_hash}, here {protocol.hash})"
        return [f"the bundle was made under another text of protocol {named}: make it again with this version of culturecare"]
    reasons = [*_wrong_dataset(bundle, protocol)]
    reasons += _wrong_posts(bundle, protocol)
    reasons += _wrong_prompts(bundle, protocol)
    reasons += _wrong_replies(bundle, protocol)
    reasons += _wrong_judge(bundle, protocol)
    reasons += _private(bundle, protocol)
    # Scores are computed only from what is whole.
    return reasons or _wrong_verdicts(bundle) or [*_wrong_scores(bundle, protocol), *_wrong_accounts(bundle)]


# --- What was replied to ---------------------------------------------------------------------------------------------------------


def _wrong_dataset(bundle: Bundle, protocol: Protocol) -> Iterator[str]:
    posts, dataset = protocol.posts, bundle.result.dataset
    kinds = {reply.excerpt for reply in bundle.replies} | {dataset.excerpt}
    if len(kinds) > 1:
        yield "replies to full posts and replies to excerpts are mixed; they never share a score"
    elif kinds != {posts.excerpt}:
        given, wanted = ("full posts", "excerpts") if posts.excerpt else ("excerpts", "full posts")
        yield f"the replies are to {given}, but protocol {protocol.name!r} is about {wanted}"
    made_from = {(reply.split, reply.dataset_revision) for reply in bundle.replies} | {(dataset.split, dataset.revision)}
    if wrong := sorted(made_from - {(posts.split, posts.revision)}):
        split, revision = wrong[0]
        yield (
            f"the replies are to revision {revision} of split {split!r}, but protocol {protocol.name!r} is about revision {posts.revision} "
            f"of split {posts.split!r}"
        )


def _wrong_posts(bundle: Bundle, protocol: Protocol) -> Iterator[str]:
    posts = protocol.posts
    cultures: dict[str, set[str]] = defaultdict(set)
    for reply in bundle.replies:
        cultures[reply.culture].add(reply.instance_id)
    if missing := [key for key in posts.cultures if key not in cultures]:
        yield f"cultures are missing: {', '.join(missing)}; protocol {protocol.name!r} needs {', '.join(posts.cultures)}"
    if stray := sorted(set(cultures) - set(posts.cultures)):
        yield f"protocol {protocol.name!r} has no culture {stray[0]!r}"
    for key, number in posts.cultures.items():
        if key in cultures and len(cultures[key]) != number:
            yield f"culture {key!r} has replies to {len(cultures[key])} posts, but protocol {protocol.name!r} has {number}"
    if Posts.fingerprint((reply.culture, reply.instance_id) for reply in bundle.replies) != posts.instances:
        yield f"the posts are not those of protocol {protocol.name!r}"
    languages: dict[str, str | None] = {}
    for reply in bundle.replies:
        if languages.setdefault(reply.instance_id, reply.language) != reply.language:
            yield f"post {reply.instance_id!r} is said to be in two languages"
            return


# --- How it was made -------------------------------------------------------------------------------------------------------------


def _wrong_prompts(bundle: Bundle, protocol: Protocol) -> Iterator[str]:
    prompts: dict[str, set[str]] = defaultdict(set)
    for reply in bundle.replies:
        prompts[reply.strategy].add(reply.prompt_hash)
    for name, hashes in prompts.items():
        if name not in protocol.strategies:
            yield f"protocol {protocol.name!r} has no strategy {name!r}: it has {', '.join(protocol.strategies)}"
        elif hashes != {protocol.strategies[name]}:
            yield (
                f"strategy {name!r} was prompted by {', '.join(sorted(hashes))}, but protocol {protocol.name!r} has the prompt "
                f"{protocol.strategies[name]}"
            )
    if missing := [name for name in protocol.required if name not in prompts]:
        yield f"strategy {missing[0]!r} is missing, which protocol {protocol.name!r} asks for"
    if {name: {prompt} for name, prompt in bundle.result.strategies.items()} != dict(prompts):
        yield "result.json names other strategies or prompts than the replies"
    settings = [(f"reply {reply.id} was", reply.generation) for reply in bundle.replies]
    for what, given in [*settings, ("result.json says that replies were", bundle.result.generation)]:
        if not _generated_as_asked(protocol, given):
            wanted = ", ".join(f"{name} {value:g}" for name, value in protocol.generation.items())
            shown = ", ".join(f"{name} {value!r}"[:60] for name, value in list(given.items())[:8]) or "settings that are not said"
            yield f"{what} generated with {shown}, but protocol {protocol.name!r} asks for {wanted} and nothing else"
            return


def _generated_as_asked(protocol: Protocol, given: Mapping[str, Any]) -> bool:
    """Whether replies were generated as the protocol says, by no further setting that moves them, such as beams or the best of several."""
    return (
        settings_fit(protocol, given)
        and set(given) <= {*protocol.generation, *_FURTHER_SETTINGS}
        and given.get("do_sample") in (None, protocol.generation.get("temperature", 1) > 0)
        and given.get("until") in (None, [])
    )


def _wrong_replies(bundle: Bundle, protocol: Protocol) -> Iterator[str]:
    if len(models := {reply.model for reply in bundle.replies} | {bundle.result.model.name}) > 1:
        yield f"the bundle holds replies of several models: {', '.join(map(repr, sorted(models)[:_MOST_SHOWN]))}"
    elif odd_name := next((name for name in models if not (name.isascii() and name.isprintable() and name == name.strip())), None):
        yield f"the run's model is called {odd_name!r}, but a name is of printable ASCII, so that none can pass for another"
    ids = Counter(reply.id for reply in bundle.replies)
    if shared := next((name for name, number in ids.items() if number > 1), None):
        # Of a withheld text the id can't be checked: it could be that of a better reply, whose verdicts would count twice.
        yield f"{ids[shared]} replies have the id {shared}"
    counts = Counter((reply.strategy, reply.instance_id) for reply in bundle.replies)
    if twice := [pair for pair, number in counts.items() if number > 1]:
        yield f"post {twice[0][1]!r} has {counts[twice[0]]} replies by strategy {twice[0][0]!r}; one is wanted"
    posts = {reply.instance_id for reply in bundle.replies}
    for name in dict.fromkeys(reply.strategy for reply in bundle.replies):
        if lacking := sorted(posts - {reply.instance_id for reply in bundle.replies if reply.strategy == name}):
            yield f"strategy {name!r} has no reply to {len(lacking)} of {len(posts)} posts, {lacking[0]!r} for one"
    yield from _too_long(bundle, protocol)
    withheld = sum(reply.text is None for reply in bundle.replies)
    if withheld and not _may_withhold(protocol):
        yield f"{withheld} replies are withheld, but every post of protocol {protocol.name!r} may be shown: there is nothing to withhold"
    if odd := next((reply for reply in bundle.replies if reply.withheld not in (None, WITHHELD)), None):
        yield f"reply {odd.id} is withheld for another reason than that {WITHHELD}"
    if withheld > protocol.withheld_ceiling * len(bundle.replies):
        yield (
            f"{withheld} of {len(bundle.replies)} replies are withheld, more than the share of {protocol.withheld_ceiling:g} that protocol "
            f"{protocol.name!r} allows: the model repeats posts where it should reply"
        )


def _too_long(bundle: Bundle, protocol: Protocol) -> Iterator[str]:
    tokens = protocol.generation.get("max_gen_toks")
    if tokens is None:
        return
    most = int(tokens * _BYTES_PER_TOKEN)
    for reply in bundle.replies:
        # Few are looked at closely, and a model that gets stuck in dashes, of which 64 may be one token, is no cheat.
        if len(text := reply.text or "") > most // 4 and (size := len(re.sub(r"(.)\1+", r"\1", text, flags=re.DOTALL).encode())) > most:
            yield (
                f"reply {reply.id} has {size} bytes, runs of one character apart, but protocol {protocol.name!r} asks for at most "
                f"{tokens:g} tokens, which are never more than {most} bytes"
            )
            return


def _may_withhold(protocol: Protocol) -> bool:
    """Whether there are posts that may not be shown; else a text that is left out hides from `verify` what was written."""
    return protocol.posts.split == "test"


# --- Who judged ------------------------------------------------------------------------------------------------------------------


def _wrong_judge(bundle: Bundle, protocol: Protocol) -> Iterator[str]:
    if isinstance(bundle.result, JuryResult):
        jury = bundle.result.jury
        if protocol.jury is None:
            yield f"a jury judged, but protocol {protocol.name!r} has the judge {protocol.judges[0].name!r}"
            return
        names = f"{bundle.submission.model} {bundle.result.model.name}"
        expected = {judge for judge in protocol.judges if not model_families(judge.model) & model_families(names)}
        same_jury = (jury.name, jury.at_least) == (protocol.jury.name, protocol.jury.at_least)
        if not expected:
            yield f"protocol {protocol.name!r} has no judge of another family than {names}"
        if not same_jury or set(jury.judges) != expected or len(jury.judges) != len(expected):
            yield (
                f"jury {jury.name!r} ({', '.join(judge.name for judge in jury.judges[:9])}) is not that of protocol {protocol.name!r}: "
                f"{protocol.jury.name!r} ({', '.join(sorted(judge.name for judge in expected))})"
            )
        if any(not isinstance(verdict, JuryVerdict) or verdict.jury != jury.hash for verdict in bundle.verdicts):
            yield "verdicts.jsonl holds verdicts of another jury than result.json"
        return
    judge = bundle.result.judge
    if protocol.jury is not None:
        yield f"one judge judged, but protocol {protocol.name!r} has the jury {protocol.jury.name!r}"
    elif judge != protocol.judge:
        named = "no judge" if judge is None else f"judge {judge.name!r} ({judge.model}, {judge.mode}, prompts {judge.prompt_hash})"
        wanted = protocol.judges[0]
        yield (
            f"{named} is not in protocol {protocol.name!r}, which has {wanted.name!r} ({wanted.model}, {wanted.mode}, prompts "
            f"{wanted.prompt_hash}, settings {wanted.settings_hash})"
        )
    if any(isinstance(verdict, JuryVerdict) or verdict.judge != judge for verdict in bundle.verdicts):
        yield "verdicts.jsonl holds verdicts of another judge than result.json"


def judged_by_kin(bundle: Bundle) -> bool:
    """Whether the one judge is of the tested model's family, as judges favour what is written as they write."""
    judge = None if isinstance(bundle.result, JuryResult) else bundle.result.judge
    names = f"{bundle.submission.model} {bundle.result.model.name}"
    return judge is not None and bool(model_families(judge.model) & model_families(names))


# --- Who hands it in -------------------------------------------------------------------------------------------------------------


def _private(bundle: Bundle, protocol: Protocol) -> Iterator[str]:
    parts: dict[str, Any] = {
        "submission.json": bundle.submission.model_dump(mode="json"),
        "result.json": bundle.result.model_dump(mode="json"),
        "replies.jsonl": [[reply.generation, reply.withheld] for reply in bundle.replies],
        "verdicts.jsonl": [[verdict.reason, getattr(verdict, "answers", None)] for verdict in bundle.verdicts],
    }
    for name, value in parts.items():
        if (found := leaks(value)) is not None:
            yield f"{name}: holds {found}, which must not leave the machine"
    reasons = [verdict.reason for verdict in bundle.verdicts if verdict.reason is not None]
    if any(":" in reason or len(reason) > LONGEST_REASON for reason in reasons):
        yield (
            f"verdicts.jsonl: a reason has more than {LONGEST_REASON} characters, or quotes after its colon; `culturecare submit` leaves "
            "that out"
        )
    answers = {answer for verdict in bundle.verdicts if isinstance(verdict, Verdict) for answer in verdict.answers or ()}
    if _may_withhold(protocol) and any(answer and not is_bare_grade(answer) for answer in answers):
        yield "verdicts.jsonl: an answer holds more than a grade, and so could quote a post that may not be shown"


def _wrong_identity(bundle: Bundle, board: Iterable[Entry]) -> Iterator[str]:
    made = bundle.submission
    there = [entry for entry in board if entry.protocol == made.protocol]
    sketch = bundle.sketch if there else ()
    for entry in there:
        if entry.id == bundle.id:
            yield f"it is on the board already, handed in by {entry.submitter} on {entry.submitted:%Y-%m-%d}"
            return
        same_model, same_submitter = entry.model.casefold() == made.model.casefold(), entry.submitter == made.submitter
        if same_model and not same_submitter:
            yield f"model {entry.model!r} is on the board by {entry.submitter}; only they can hand in another run of it"
            return
        if entry.texts_hash == bundle.texts_hash and not (same_model and same_submitter):
            yield f"its replies are word for word those of {entry.model!r}, handed in by {entry.submitter}"
            return
        if not (same_model and same_submitter) and (share := containment(entry.sketch, sketch)) >= COPIED:
            yield f"about {share:.0%} of its passages are those of {entry.model!r}, handed in by {entry.submitter}"
            return


# --- Whether the numbers follow --------------------------------------------------------------------------------------------------


def _wrong_verdicts(bundle: Bundle) -> list[str]:
    dimensions = [dimension.key for dimension in select_rubric(bundle.rubric).dimensions]
    ids = {reply.id for reply in bundle.replies}
    counts = Counter((verdict.reply_id, verdict.dimension) for verdict in bundle.verdicts)
    reasons = []
    if stray := next((pair for pair in counts if pair[0] not in ids or pair[1] not in dimensions), None):
        reasons.append(f"a verdict is on reply {stray[0]} and dimension {stray[1]!r}, which the bundle or the rubric has not")
    if twice := next((pair for pair, number in counts.items() if number > 1), None):
        reasons.append(f"reply {twice[0]} has {counts[twice]} verdicts on {twice[1]!r}; one is wanted")
    missing = [(reply, dimension) for reply in sorted(ids) for dimension in dimensions if (reply, dimension) not in counts]
    if missing:
        reasons.append(f"{len(missing)} verdicts are missing, that on reply {missing[0][0]} and {missing[0][1]!r} for one")
    jury = bundle.result.jury if isinstance(bundle.result, JuryResult) else None
    wrong = [verdict for verdict in bundle.verdicts if not _score_follows(verdict, jury)]
    if wrong:
        first = wrong[0]
        reasons.append(
            f"{len(wrong)} verdicts have a score that does not follow from what the judge answered, that on reply {first.reply_id} and "
            f"{first.dimension!r} for one: it was changed after judging"
        )
    # A withheld text is not empty.
    empty = {reply.id: reply.text is not None and not reply.text.strip() for reply in bundle.replies}
    if graded := len({verdict.reply_id for verdict in bundle.verdicts if empty.get(verdict.reply_id) and verdict.score is not None}):
        reasons.append(f"{graded} replies are empty, which no judge is asked about, but have scores")
    if excused := len(
        {verdict.reply_id for verdict in bundle.verdicts if verdict.reason == EMPTY_REPLY and not empty.get(verdict.reply_id)}
    ):
        reasons.append(f"{excused} replies are said to be empty, so that they have no score, but are not")
    return reasons


def _score_follows(verdict: Verdict | JuryVerdict, jury: Jury | None) -> bool:
    if isinstance(verdict, JuryVerdict):
        return jury is not None and _mean_follows(verdict, jury)
    by_tokens = verdict.judge.mode == "logprob"
    grades = _grades(verdict)
    if verdict.score is None or verdict.distribution is None:
        return verdict.score is None and verdict.distribution is None and not grades and not (by_tokens and verdict.answers is not None)
    shares = verdict.distribution
    if any(not 0 <= share <= 1 + _TOLERANCE for share in shares) or abs(math.fsum(shares) - 1) > _TOLERANCE:
        return False
    if abs(math.fsum(grade * share for grade, share in enumerate(shares, 1)) - verdict.score) > _TOLERANCE:
        return False
    if by_tokens:  # There the judge writes no answers.
        return verdict.digit_mass is not None and verdict.digit_mass > 0 and verdict.answers is None
    return bool(grades) and all(abs(grades.count(grade) / len(grades) - shares[grade - 1]) < _TOLERANCE for grade in range(1, 6))


def _mean_follows(verdict: JuryVerdict, jury: Jury) -> bool:
    scores = [score for score in verdict.jurors.values() if score is not None]
    if set(verdict.jurors) != {judge.name for judge in jury.judges}:
        return False
    if len(scores) < (jury.at_least or len(verdict.jurors)):
        return verdict.score is None
    return verdict.score is not None and abs(math.fsum(scores) / len(scores) - verdict.score) < _TOLERANCE


def _grades(verdict: Verdict) -> list[int]:
    return [grade for answer in verdict.answers or () for grade, _ in [read_grade(answer)] if grade is not None]


def item_metrics(bundle: Bundle) -> Items:
    """The graded metrics of every reply, computed from its verdicts."""
    return _items(bundle, {(verdict.reply_id, verdict.dimension): verdict.score for verdict in bundle.verdicts})


def _items(bundle: Bundle, scores: Mapping[tuple[str, str], float | None]) -> Items:
    rubric = bundle.rubric
    grades: dict[str, dict[str, float | None]] = defaultdict(dict)
    for (reply_id, dimension), score in scores.items():
        grades[reply_id][dimension] = score
    items: Items = defaultdict(dict)
    for reply in bundle.replies:
        items[reply.strategy, reply.culture][reply.instance_id] = graded_metrics(grades[reply.id], rubric)
    return dict(items)


def graded_scores(items: Items, rubric: str, cultures: Sequence[str]) -> list[Score]:
    """The scores that follow from graded replies.

    Args:
        items: From `item_metrics`.
        rubric: Name of the rubric.
        cultures: Keys of the cultures, in the order of the result.
    """
    strategies = dict.fromkeys(strategy for strategy, _ in items)
    return [
        score
        for strategy in strategies
        for metric in metric_names(rubric)
        if metric not in _DESCRIPTIVE
        for score in score_rows(strategy, metric, {key: list(items[strategy, key].values()) for key in cultures})
    ]


def _wrong_scores(bundle: Bundle, protocol: Protocol) -> Iterator[str]:
    result = bundle.result
    cultures = list(dict.fromkeys(key for key in protocol.posts.cultures))
    items = item_metrics(bundle)
    for strategy in dict.fromkeys(strategy for strategy, _ in items):
        coverages = [metrics["coverage"] or 0.0 for key in cultures for metrics in items[strategy, key].values()]
        if (coverage := math.fsum(coverages) / len(coverages)) < protocol.coverage_floor:
            yield (
                f"strategy {strategy!r}: only {coverage:.3f} of its verdicts have a score, and protocol {protocol.name!r} asks for "
                f"{protocol.coverage_floor:g}: judge again with --retry-failed"
            )
    if tuple(result.dataset.cultures) != tuple(cultures) or result.dataset.instances != sum(protocol.posts.cultures.values()):
        yield "result.json: dataset does not say the cultures and the number of posts that the replies have"
        return
    yield from _other_scores(result.scores, graded_scores(items, bundle.rubric, cultures), "its scores", "the verdicts")
    yield from _wrong_descriptions(bundle, cultures)
    total = sum(verdict.score is not None for verdict in bundle.verdicts) / len(bundle.verdicts)
    if result.coverage is None or abs(total - result.coverage) > _TOLERANCE:
        yield f"result.json: its coverage is given as {result.coverage}, but the verdicts give {total}"
    if isinstance(result, JuryResult):
        yield from _wrong_juror_scores(bundle, result, cultures)


def _other_scores(given: Iterable[Score], expected: Sequence[Score], what: str, source: str) -> Iterator[str]:
    """Says how given scores differ from those that follow, at the first that does."""
    graded = [score for score in given if score.metric not in _DESCRIPTIVE]
    by_key = {(score.strategy, score.culture, score.metric): score for score in graded}
    if len(graded) != len(expected) or set(by_key) != {(score.strategy, score.culture, score.metric) for score in expected}:
        yield f"result.json: {what} are not one for each strategy, culture and metric"
        return
    for score in expected:
        found = by_key[score.strategy, score.culture, score.metric]
        if not _equal(score, found):
            named = f"the {score.metric} score of {score.culture} by {score.strategy}"
            yield f"result.json: {named} is given as {found.mean}, but {source} give {score.mean}: it was changed after judging"
            return


def _wrong_juror_scores(bundle: Bundle, result: JuryResult, cultures: Sequence[str]) -> Iterator[str]:
    names = {judge.name for judge in result.jury.judges}
    if set(result.judges) != names or set(result.judge_coverage) != names:
        yield "result.json: its judges' scores are not those of its jury's judges"
        return
    verdicts = [verdict for verdict in bundle.verdicts if isinstance(verdict, JuryVerdict)]
    for name in sorted(names):
        of_juror = _items(bundle, {(verdict.reply_id, verdict.dimension): verdict.jurors[name] for verdict in verdicts})
        expected = graded_scores(of_juror, bundle.rubric, cultures)
        yield from _other_scores(result.judges[name], expected, f"the scores of judge {name!r}", "its verdicts")
        total = sum(verdict.jurors[name] is not None for verdict in verdicts) / len(verdicts)
        if abs(total - result.judge_coverage[name]) > _TOLERANCE:
            yield f"result.json: the coverage of judge {name!r} is given as {result.judge_coverage[name]}, but its verdicts give {total}"


def _wrong_descriptions(bundle: Bundle, cultures: Sequence[str]) -> Iterator[str]:
    """Compares the lengths of replies; which language they are in would take long to tell, and ranks nothing."""
    described = [score for score in bundle.result.scores if score.metric in _DESCRIPTIVE]
    strategies = dict.fromkeys(reply.strategy for reply in bundle.replies)
    keys = {(strategy, culture, metric) for strategy in strategies for culture in (*cultures, "all") for metric in _DESCRIPTIVE}
    by_key = {(score.strategy, score.culture, score.metric): score for score in described}
    if len(by_key) != len(described) or not set(by_key) <= keys:
        yield "result.json: its scores are not one for each strategy, culture and metric"
        return
    if any(reply.text is None for reply in bundle.replies):
        return
    lengths: Any = defaultdict(lambda: defaultdict(list))
    for reply in bundle.replies:
        lengths[reply.strategy][reply.culture].append({"reply_characters": float(len((reply.text or "").strip()))})
    for strategy in strategies:
        for score in score_rows(strategy, "reply_characters", {key: lengths[strategy][key] for key in cultures}):
            found = by_key.get((strategy, score.culture, score.metric))
            if found is not None and not _equal(score, found):
                named = f"the mean length of replies of {score.culture} by {strategy}"
                yield f"result.json: {named} is given as {found.mean}, but it is {score.mean}: it was changed after judging"
                return


def _wrong_accounts(bundle: Bundle) -> Iterator[str]:
    """Compares what else the result says with what it is about."""
    result, made = bundle.result, bundle.submission
    if result.protocol not in (None, made.protocol):
        yield f"result.json says that protocol {result.protocol!r} was followed, but submission.json that {made.protocol!r} was"
    counts = Counter(verdict.reason.partition(":")[0] for verdict in bundle.verdicts if verdict.reason is not None)
    if dict(counts) != result.reasons:
        yield "result.json: its reasons for missing scores are not those of the verdicts"


def _equal(one: Score, other: Score) -> bool:
    def near(first: float | None, second: float | None) -> bool:
        return (first is None) == (second is None) and (first is None or second is None or abs(first - second) < _TOLERANCE)

    return (
        one.n == other.n
        and near(one.coverage, other.coverage)
        and near(one.mean, other.mean)
        and all(near(*ends) for ends in zip(_interval(one), _interval(other), strict=True))
    )


def _interval(score: Score) -> tuple[float | None, float | None]:
    """Its interval; one without a width is none, as results had it before values that do not vary had no interval."""
    without_width = score.low is not None and score.high is not None and score.high - score.low < _TOLERANCE
    return (None, None) if without_width else (score.low, score.high)


def is_bare_grade(answer: str) -> bool:
    """Whether a judge's answer is a grade and nothing else that could quote a post."""
    return re.fullmatch(r"\W*(?:[Gg]rade\W*|[Ss]core\W*|[Rr]ating\W*)?[1-5](?:\s*/\s*5)?\W*", answer) is not None


# --- What must be read with the numbers ------------------------------------------------------------------------------------------


def notes(bundle: Bundle, protocol: Protocol) -> tuple[str, ...]:
    """Sentences that must be read with a bundle's numbers, told from what it holds: those in its result are the submitter's word."""
    made = bundle.submission
    sentences = []
    if not protocol.measure:
        sentences.append(f"Protocol {protocol.name!r} {NO_MEASURE}: its grades are no measure of a reply's quality.")
    if protocol.posts.excerpt:
        sentences.append("Posts were known by their annotated phrases alone (excerpts).")
    if protocol.posts.split != "test":
        sentences.append(f"Split {protocol.posts.split!r} is synthetic: written for this project, by no person in distress.")
    if bundle.result.model.name.casefold() != made.model.casefold():
        sentences.append(f"The run calls the model {bundle.result.model.name!r}; it was handed in as {made.model!r}.")
    if judged_by_kin(bundle):
        sentences.append("The judge is of the model's own family, which it may favour.")
    if isinstance(bundle.result, JuryResult):
        seated = {judge.name for judge in bundle.result.jury.judges}
        sentences += [f"Judge {judge.name!r} was left out, as kin of the model." for judge in protocol.judges if judge.name not in seated]
    total = len(bundle.replies)
    if empty := sum(reply.text is not None and not reply.text.strip() for reply in bundle.replies):
        sentences.append(f"{empty} of {total} replies are empty and were not judged.")
    lacking = {verdict.reply_id for verdict in bundle.verdicts if verdict.score is None and verdict.reason != EMPTY_REPLY}
    if lacking:
        sentences.append(f"{len(lacking)} of {total} replies have no overall score, since a verdict on them is missing.")
    return (*sentences, *_note_on_withheld(bundle))


def _note_on_withheld(bundle: Bundle) -> Iterator[str]:
    withheld = {reply.id for reply in bundle.replies if reply.text is None}
    if not withheld:
        return
    scores: dict[bool, list[float]] = {True: [], False: []}
    for verdict in bundle.verdicts:
        if verdict.score is not None:
            scores[verdict.reply_id in withheld].append(verdict.score)
    means = [f"{math.fsum(values) / len(values):.2f}" if values else "none" for values in (scores[True], scores[False])]
    yield (
        f"{len(withheld)} of {len(bundle.replies)} replies are withheld, since they repeat the post; nobody can judge them again. Their "
        f"mean grade is {means[0]}, that of the others {means[1]}."
    )
