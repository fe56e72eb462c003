"""The paper's four claims: what each means as a test, when data can't carry an answer, and the answer.

A claim is answered for each model under each judge (a finding), and from the findings as a whole. The rules are fixed here, before any
data is seen, and every report prints them.

Tests are paired by instance (`testing.tested`) and one-sided. A claim's tests under one judge, over all models, are one family for Holm's
correction, once against no difference and once against the smallest difference of interest:

- a test is *passed* where the difference is above 0 with an adjusted p below `ALPHA`;
- it is *failed* where the difference is below the smallest of interest with an adjusted p below `ALPHA`, whatever the first test says: what
  is surely too small to matter supports nothing;
- else it is *open*.

A finding is supported where all its tests are passed, not supported where one is failed, else undecided.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from culturecare import SYNTHETIC_SPLITS
from culturecare import cultures as registry
from culturecare_harness.counting import counted
from culturecare_harness.judges import NO_MEASURE
from culturecare_harness.jury import model_families
from culturecare_harness.pairs import PEER
from culturecare_harness.protocols import protocols
from culturecare_harness.report.figures import grade, listed, p_value, percent, signed, signed_interval
from culturecare_harness.report.people import NEARLY_ALL
from culturecare_harness.report.published import published
from culturecare_harness.report.testing import ALPHA, Pair, Test, tested
from culturecare_harness.strategies import strategies as known_strategies

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from culturecare import Instance
    from culturecare_harness.check import CheckReport
    from culturecare_harness.records import Judge
    from culturecare_harness.report.evidence import Evidence, Graded, Panel, Preferences
    from culturecare_harness.report.people import JudgeAgainstPeople, PeopleScores
    from culturecare_harness.report.testing import Outcome

__all__ = [
    "COVERAGE_FLOOR",
    "FEWEST_A_CULTURE",
    "FEWEST_ITEMS",
    "FEWEST_RATERS",
    "MOST_UNSUITABLE",
    "SMALLEST",
    "SMALLEST_RATE",
    "Answer",
    "Finding",
    "Status",
    "answer_claims",
]

Status = Literal["supported", "not supported", "undecided"]

SMALLEST = 0.1
"""Smallest difference of interest in grades: what the paper's strategies differ by is mostly more."""

SMALLEST_RATE = 0.05
"""Smallest difference of interest of a win rate from one half."""

FEWEST_A_CULTURE = 10
"""Fewest instances of each culture that a claim is answered from."""

COVERAGE_FLOOR = 0.98
"""Least share of the posts whose reply has a score, where no protocol says another."""

MOST_UNSUITABLE = 0.25
"""Share of items that psychologists may find not suitable for training before the material as a whole does not serve it."""

FEWEST_RATERS = 2
"""Fewest psychologists: with one, nobody can tell the material's worth from a person's taste."""

FEWEST_ITEMS = 30
"""Fewest items that psychologists must have rated."""

_ROLE_PLAY, _FULL, _BASELINE = "culture", "cga", "standard"
_MANY_FLIPS = 0.2
_GRADES_APART, _RATES_APART = (-4.0, 4.0), (-0.5, 0.5)
_TRAINING_USE = "training_use"
_NOT_SHOWN = "are not shown to follow people's"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        number: Its number.
        text: What is claimed.
        rule: What is tested, and what follows from it; commands stand between backticks, as in Markdown.
        missing: What to do where the data for it are missing, likewise.
    """

    number: int
    text: str
    rule: str
    missing: str


@dataclass(frozen=True)
class Finding:
    """What one model's replies say of a claim under one judge.

    Attributes:
        model: Label of the run.
        judge: Name of judge or jury, or the packet of people's ratings.
        cultures: Keys of the cultures whose posts it rests on.
        tests: What was tested; shown even where nothing may be concluded from it.
        refusals: Why nothing may be concluded; empty where something may.
        caveats: What to bear in mind.
        status: The finding.
        is_lacking: Whether a run or a comparison that the claim needs was not made.
    """

    model: str
    judge: str
    cultures: tuple[str, ...]
    tests: tuple[Test, ...]
    refusals: tuple[str, ...]
    caveats: tuple[str, ...] = ()
    status: Status = "undecided"
    is_lacking: bool = False


@dataclass(frozen=True)
class Answer:
    """The answer to a claim.

    Attributes:
        status: The answer.
        because: Why, in a sentence or two.
        to_do: What would let it be answered, where it is undecided for want of data; else null.
        caveats: What to bear in mind with all findings.
    """

    claim: Claim
    status: Status
    because: str
    findings: tuple[Finding, ...]
    to_do: str | None
    caveats: tuple[str, ...] = ()


_GENERAL = (
    f"A difference counts at an adjusted p below {ALPHA:g}. Over several models the claim is supported where it is for each, not supported "
    "where one refutes it, else undecided; judges that contradict each other leave a model undecided. A judge to whom all replies are "
    "equal decides nothing."
)
CLAIMS: tuple[Claim, ...] = (
    Claim(
        1,
        "Adapted replies beat the anonymous peers' replies.",
        "A judge that saw both replies to a post in both orders (`culturecare judge compare --against peer`) prefers the model's: for each "
        "adapted strategy that was compared (any but standard), the win rate less one half, ties and flips counting half. "
        "Supported: all above 0. "
        f"Not supported: one surely below {SMALLEST_RATE:g}, even if above 0.",
        "Compare replies with peers' on posts and replies with full text: `culturecare judge compare RUN --against peer --judge JUDGE`",
    ),
    Claim(
        2,
        "Cultural role-play alone is not enough.",
        "If role-play were enough, adding principles and annotations to it would gain nothing: cga less culture on the cultural score. "
        f"Supported: above 0. Not supported: surely below {SMALLEST:g}, even if above 0.",
        "Run and judge both strategies: `culturecare eval --strategies culture,cga …`",
    ),
    Claim(
        3,
        "cga is best on the cultural dimensions.",
        "cga less each other strategy on the cultural score. Supported: all above 0. Not supported: one surely below "
        f"{SMALLEST:g}, even if above 0.",
        "Run and judge all five strategies: `culturecare eval --strategies all …`",
    ),
    Claim(
        4,
        "The material serves clinical training.",
        "Clinical psychologists say of each reply whether it would serve as an example in training. Supported: the 95 % interval of the "
        f"share that is not suitable ends below {percent(MOST_UNSUITABLE)}. Not supported: it begins above it. It takes "
        f"{FEWEST_RATERS} raters and {FEWEST_ITEMS} items at least, all of replies that this report is about, and raters who agree more "
        "than by chance: their alpha is 1, or its 95 % interval lies above 0 (a kappa's where there is no alpha). Where "
        f"{percent(NEARLY_ALL)} of the answers or more are the same, alpha and kappa are about 0 however well raters agree, and Gwet's "
        "coefficient tells instead.",
        "Have psychologists rate: `culturecare human make RUN --form psychologist`, then serve, import, score; name the result with "
        "`--human`",
    ),
)


def answer_claims(evidence: Evidence) -> tuple[Answer, ...]:
    """Answers the four claims."""
    peers, role_play, best, training = CLAIMS
    return (
        _answer(peers, _against_peers(evidence)),
        _answer(role_play, _graded_findings(evidence, (_ROLE_PLAY,))),
        _answer(best, _graded_findings(evidence, (_BASELINE, _ROLE_PLAY, "guided", "annotation"))),
        _answer(training, _training(evidence)),
    )


def _status(tests: Sequence[Test], refusals: Sequence[str]) -> Status:
    if refusals or not tests:
        return "undecided"
    if any(test.outcome == "failed" for test in tests):
        return "not supported"
    return "supported" if all(test.outcome == "passed" for test in tests) else "undecided"


# --- Claims 2 and 3: grades ------------------------------------------------------------------------------------------------------


def _graded_findings(evidence: Evidence, others: Sequence[str]) -> list[Finding]:
    findings = []
    for panel in evidence.panels:
        family: list[Pair] = []
        places: list[tuple[Graded, list[int], list[str]]] = []
        for graded in evidence.by(panel):
            cultural = graded.values["cultural"]
            missing = [name for name in (_FULL, *others) if name not in cultural]
            mine = []
            for other in others if _FULL in cultural else ():
                if other in cultural:
                    mine.append(len(family))
                    names = (_FULL, other)
                    family.append(Pair(names, "cultural", cultural[_FULL], cultural[other], graded.cultures, _GRADES_APART))
            places.append((graded, mine, missing))
        tests = tested(family, SMALLEST)
        held = _held_against_people(panel, evidence, "cultural")
        for graded, mine, missing in places:
            pairs, own = [family[number] for number in mine], tuple(tests[number] for number in mine)
            refusals = [f"the run has no replies by {listed(missing)}"] if missing else []
            refusals += [*_unfit_judge(panel, evidence.checks), *held.refusals, *_without_variance(panel, pairs)]
            refusals += _unfit(graded, strategies=(_FULL, *others))
            refusals += [f"{test.what}: {test.reason}" for test in own if test.reason]
            caveats = (*_by_culture(pairs), *_kin(graded.run.label, panel), *held.caveats)
            status, where = _status(own, refusals), _cultures_of(pairs)
            findings.append(Finding(graded.run.label, panel.name, where, own, tuple(refusals), caveats, status, bool(missing)))
    return findings


def _cultures_of(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Cultures that all of the pairs have values in."""
    return tuple(key for key in registry() if pairs and all(key in pair.samples for pair in pairs))


def _unfit(graded: Graded, strategies: Iterable[str]) -> list[str]:
    """Why a run's grades can't carry a claim, whoever gave them."""
    result = graded.result
    reasons = _unfit_posts(result.dataset.split, excerpt=result.dataset.excerpt)
    reasons += _unfit_instances(graded.run.there.instances, strategies)
    protocol = protocols().get(result.protocol or "")
    floor = COVERAGE_FLOOR if protocol is None else protocol.coverage_floor
    for strategy in strategies:
        values = graded.values["cultural"].get(strategy)
        # Posts that the strategy has no reply to count as well: the others were replied to.
        if values and (share := sum(values.get(instance) is not None for instance in graded.cultures) / len(graded.cultures)) < floor:
            reasons.append(
                f"only {percent(share, 1)} of the posts have a reply by {strategy} with a cultural score, but {percent(floor)} must"
            )
    return reasons + _too_few(graded.cultures)


def _without_variance(panel: Panel, pairs: Sequence[Pair]) -> list[str]:
    """Where a judge gave all replies one grade, as at the end of the scale: no difference could show."""
    names: dict[str, None] = {}
    same = 0.0
    for pair in pairs:
        values = [value for side in (pair.a, pair.b) for value in side.values() if value is not None]
        if values and max(values) - min(values) < 1e-9:
            names |= dict.fromkeys(pair.names)
            same = values[0]
    if not names:
        return []
    return [f"the judge {panel.name} gave every reply by {listed(list(names))} the same {pairs[0].metric} score ({grade(same)})"]


def _unfit_judge(panel: Panel, checks: Iterable[CheckReport], *, prefers: bool = False) -> list[str]:
    if not panel.measure:
        return [f"the judge {panel.name} measures nothing: it {NO_MEASURE}"]
    check = next((check for check in checks if _is(check.judge, panel, prefers=prefers)), None)
    return [
        f"the judge {panel.name} does not tell good replies from dismissive ones: it preferred the good one on {contest.wins} of "
        f"{counted(contest.n, 'post')}"
        for contest in (() if check is None else check.contests)
        if contest.against == "dismissive" and contest.low is not None and contest.low <= 0.5
    ]


def _is(judge: Judge, panel: Panel, *, prefers: bool) -> bool:
    """Whether a panel is the judge that gave some grades; one that prefers replies asks by another rubric, and all else is the same."""
    if panel.is_jury:
        return False
    own = panel.judges[0]
    asked = {"rubric": own.rubric, "prompt_hash": own.prompt_hash} if prefers else {}
    return judge.model_copy(update=asked) == own


class _Held(NamedTuple):
    """What people's ratings say of a judge."""

    refusals: list[str]
    caveats: list[str]


def _held_against_people(panel: Panel, evidence: Evidence, metric: str, *, prefers: bool = False) -> _Held:
    """What people's ratings of the replies reported on say of a judge; ratings of other replies are named, and do not count."""
    reported = _conditions(evidence)
    held = [(people, judge) for people in evidence.people for judge in people.judges if _is_held(judge, panel, prefers=prefers)]
    here = [judge.follows(metric) for people, judge in held if people.rated(reported)]
    told = [follows for follows in here if follows is not None]
    if told:
        refusals = [
            f"the {metric} scores of {panel.name} {_NOT_SHOWN} (Spearman's interval {one.interval})" for one in told if not one.shown
        ]
        of_grades = f"The grades of the judge {panel.name} were held against people's, its preferences between two replies were not."
        return _Held(refusals, [of_grades] if prefers else [])
    if here:
        return _Held([], [f"People's ratings are too few to tell whether the {metric} scores of {panel.name} follow theirs."])
    if not held:
        return _Held([], [f"Nobody has held the judge {panel.name} against people here (--human): it stands for itself."])
    others = dict.fromkeys(name for people, _ in held for name in people.unreported(reported))
    there = [judge.follows(metric) for _, judge in held]
    also = f", and its {metric} scores {_NOT_SHOWN} there" if any(one is not None and not one.shown for one in there) else ""
    return _Held([], [f"The judge {panel.name} was held against people on replies by {listed(list(others))} alone{also}."])


def _is_held(judge: JudgeAgainstPeople, panel: Panel, *, prefers: bool) -> bool:
    if judge.identity is None:  # A jury, which its name tells.
        return panel.is_jury and judge.judge == panel.name
    return _is(judge.identity, panel, prefers=prefers)


def _conditions(evidence: Evidence) -> dict[str, str]:
    """Of each condition that is reported on, as packets of replies name it, the run's label."""
    return {f"{reply.model}:{reply.strategy}": run.label for run in evidence.runs for reply in run.there.replies}


def _unfit_posts(split: str, *, excerpt: bool) -> list[str]:
    if split in SYNTHETIC_SPLITS:
        return [f"the posts and peers' replies of split {split} are synthetic: no person in distress, and no peer, wrote them"]
    if excerpt:
        return ["the posts were known by their annotated phrases alone (excerpts), so that neither model nor judge read what people wrote"]
    return []


def _unfit_instances(instances: Sequence[Instance], strategies: Iterable[str]) -> list[str]:
    """Why a user's own posts can't carry a claim; those of other splits are known by their split."""
    own = [instance for instance in instances if instance.split == "own"]
    reasons = []
    if synthetic := sum(instance.synthetic for instance in own):
        reasons.append(f"{synthetic} of {len(own)} posts are synthetic: no person in distress wrote them")
    shown = [name for name in strategies if name in known_strategies() and known_strategies()[name].shows_annotations]
    if shown and (annotated := sum(instance.annotator is not None for instance in own)):
        reasons.append(f"a model, not people, annotated {annotated} of {len(own)} posts, and {', '.join(shown)} shows the annotations")
    return reasons


def _too_few(cultures: Mapping[str, str]) -> list[str]:
    counts: dict[str, int] = defaultdict(int)
    for culture in cultures.values():
        counts[culture] += 1
    few = [f"{_culture(culture)} {count}" for culture, count in counts.items() if count < FEWEST_A_CULTURE]
    return [f"there are too few instances: {listed(few)}, but each culture needs {FEWEST_A_CULTURE}"] if few else []


def _by_culture(pairs: Sequence[Pair]) -> list[str]:
    """Where the order is another in single cultures: described, not tested."""
    found = []
    for pair in pairs:
        lower = [_culture(culture) for culture, sample in pair.samples.items() if math.fsum(sample) <= 0]
        if lower:
            found.append(f"{pair.names[1]} (in {listed(lower)})")
    return [f"By the means of single cultures, which are not tested, {_FULL} is not above {listed(found)}."] if found else []


def _kin(model: str, panel: Panel) -> list[str]:
    kin = [judge.name for judge in panel.judges if model_families(judge.model) & model_families(model)]
    return [f"The judge {name} is of the model's family; judges favour what is written as they write." for name in kin]


# --- Claim 1: preferences --------------------------------------------------------------------------------------------------------


def _against_peers(evidence: Evidence) -> list[Finding]:
    findings = []
    for one in evidence.preferences:
        values = _values_against_peer(one, evidence)
        if not values:
            continue
        cultures = {verdict.instance_id: verdict.culture for verdict in one.verdicts}
        half: dict[str, float | None] = dict.fromkeys(cultures, 0.5)
        adapted = [place for place in values if place[1] != _BASELINE]
        family = [
            Pair((f"win rate of {strategy}", "one half"), "win rate", values[label, strategy], half, cultures, _RATES_APART, is_rate=True)
            for label, strategy in adapted
        ]
        tests = dict(zip(adapted, zip(family, tested(family, SMALLEST_RATE), strict=True), strict=True))
        held = _held_against_people(one.panel, evidence, "overall", prefers=True)
        for label in dict.fromkeys(label for label, _ in values):
            own = {strategy: tests[label, strategy] for of, strategy in adapted if of == label}
            refusals = [] if own else [f"{_BASELINE} alone was compared, and no adapted strategy"]
            refusals += [*_unfit_judge(one.panel, evidence.checks, prefers=True), *held.refusals]
            refusals += _unfit_posts(one.result.dataset.split, excerpt=one.result.dataset.excerpt)
            refusals += _unfit_instances([post for post in _posts_of({label}, evidence) if post.id in cultures], own)
            refusals += _unfit_comparison(one.panel, list(own.values()))
            caveats = (*_flips(one), *_kin(label, one.panel), *held.caveats)
            outcomes, where = tuple(test for _, test in own.values()), _cultures_of([pair for pair, _ in own.values()])
            status = _status(outcomes, refusals)
            findings.append(Finding(label, one.panel.name, where, outcomes, tuple(refusals), caveats, status, not own))
    compared = {finding.model for finding in findings}
    without = "its replies were not compared with the peers'"
    if findings:
        findings += [
            Finding(run.label, "nobody", (), (), (without,), is_lacking=True) for run in evidence.runs if run.label not in compared
        ]
    return findings


def _posts_of(labels: Collection[str], evidence: Evidence) -> list[Instance]:
    """The posts that some runs replied to, each once."""
    return list({post.id: post for run in evidence.runs if run.label in labels for post in run.there.instances}.values())


def _unfit_comparison(panel: Panel, tests: Sequence[tuple[Pair, Test]]) -> list[str]:
    """Why a comparison with the peers can't carry the claim, whatever the judge and the posts."""
    reasons = []
    for pair, test in tests:
        known = [value for value in pair.a.values() if value is not None]
        if (share := len(known) / len(pair.a)) < COVERAGE_FLOOR:
            reasons.append(f"only {percent(share, 1)} of the pairs have a preference ({pair.names[0]}), but {percent(COVERAGE_FLOOR)} must")
        if set(known) == {0.5}:
            reasons.append(
                f"the judge {panel.name} found no reply of any pair better, or another one once places were exchanged ({pair.names[0]})"
            )
        reasons += _too_few({instance: pair.cultures[instance] for instance in pair.a})
        if test.reason:
            reasons.append(f"{test.what}: {test.reason}")
    return list(dict.fromkeys(reasons))


def _values_against_peer(one: Preferences, evidence: Evidence) -> dict[tuple[str, str], dict[str, float | None]]:
    """Of each run and strategy that was compared with the peers, what its reply won on each instance."""
    origin = {reply.id: (run.label, reply.strategy) for run in evidence.runs for reply in run.there.replies}
    values: dict[tuple[str, str], dict[str, float | None]] = defaultdict(dict)
    for verdict in one.verdicts:
        if verdict.second == PEER and verdict.first_reply is not None:
            values[origin[verdict.first_reply]][verdict.instance_id] = verdict.value
        elif verdict.first == PEER and verdict.second_reply is not None:
            values[origin[verdict.second_reply]][verdict.instance_id] = None if verdict.value is None else 1 - verdict.value
    return values


def _flips(one: Preferences) -> list[str]:
    known = [verdict.flip for verdict in one.verdicts if verdict.flip is not None]
    share = sum(known) / len(known) if known else 0.0
    return (
        [f"The judge {one.panel.name} named another winner in {share:.0%} of the pairs when their places were exchanged."]
        if share > _MANY_FLIPS
        else []
    )


# --- Claim 4: psychologists ------------------------------------------------------------------------------------------------------


def _training(evidence: Evidence) -> list[Finding]:
    findings = []
    reported = _conditions(evidence)
    for people in evidence.people:
        share = people.share_of(_TRAINING_USE, "not_suitable")
        if share is None:
            continue
        rated = people.rated(reported)
        whose = {reported[condition] for condition in rated}
        labels = [run.label for run in evidence.runs if run.label in whose]
        unrated = [run.label for run in evidence.runs if run.label not in whose]
        refusals = _unfit_ratings(people, evidence, rated, labels)
        if share.items < FEWEST_ITEMS:
            refusals.append(f"{counted(share.items, 'item was', 'items were')} rated, but {FEWEST_ITEMS} must be")
        if share.share is None or share.low is None or share.high is None:
            refusals.append("the share of replies that are not suitable has no interval")
        refusals += people.without_agreement(_TRAINING_USE)
        outcome: Outcome = "open"
        if share.high is not None and share.low is not None:
            outcome = "passed" if share.high < MOST_UNSUITABLE else "failed" if share.low > MOST_UNSUITABLE else "open"
        test = Test(
            what="share that is not suitable",
            value=share.share,
            low=share.low,
            high=share.high,
            n=share.items,
            reason=None if share.share is not None else "nobody answered",
            outcome=outcome,
        )
        findings.append(
            Finding(
                model=f"replies of {listed(labels) if unrated and labels else 'all models' if labels else 'other models'}",
                judge=f"{counted(people.raters, 'rater')} ({people.form})",
                cultures=people.cultures,
                tests=(test,),
                refusals=tuple(refusals),
                caveats=(f"The psychologists rated no reply of {listed(unrated)}.",) if unrated and labels else (),
                status=_status([test], refusals),
            )
        )
    return findings


def _unfit_ratings(people: PeopleScores, evidence: Evidence, rated: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Why a packet's ratings can't carry the claim: whose replies, to which posts, by how many."""
    reasons = []
    if others := people.unreported(rated):
        mixed = f"{listed(others)} too, which this report is not about, and the share is of all replies together"
        reasons.append(
            f"packet {people.packet} rates replies by {mixed if rated else f'{listed(others)} alone, which this report is not about'}"
        )
    known = {reply.id for run in evidence.runs for reply in run.there.replies}
    if not others and (strange := sum(reply not in known for reply in people.replies)):
        reasons.append(
            f"{strange} of the {counted(len(people.replies), 'reply', 'replies')} that packet {people.packet} rates are of other runs of "
            "these models"
        )
    reply = evidence.runs[0].there.replies[0]
    reasons += _unfit_posts(people.split or reply.split, excerpt=reply.excerpt if people.excerpt is None else people.excerpt)
    reasons += _unfit_instances(_posts_of(labels, evidence), dict.fromkeys(condition.rpartition(":")[2] for condition in rated))
    if people.raters < FEWEST_RATERS:
        reasons.append(f"{counted(people.raters, 'psychologist')} rated, but {FEWEST_RATERS} must")
    return reasons


# --- Answers ---------------------------------------------------------------------------------------------------------------------


def _answer(claim: Claim, findings: Sequence[Finding]) -> Answer:
    claim = replace(claim, rule=claim.rule if claim.number == 4 else f"{claim.rule} {_GENERAL}")
    if not findings:
        what = {1: "No reply was compared with a peer's.", 4: "No psychologist has rated."}[claim.number]
        return Answer(claim, "undecided", what, (), claim.missing)
    tested_ones = [one for one in findings if one.tests]
    caveats = dict.fromkeys(caveat for one in tested_ones for caveat in one.caveats)
    shared = tuple(caveat for caveat in caveats if all(caveat in one.caveats for one in tested_ones))
    findings = [replace(one, caveats=tuple(caveat for caveat in one.caveats if caveat not in shared)) for one in findings]
    to_do = claim.missing if any(finding.is_lacking for finding in findings) else None
    if all(finding.refusals for finding in findings):
        reasons = dict.fromkeys(reason for finding in findings for reason in finding.refusals)
        because = f"The data can't carry a conclusion: {'; '.join(reasons)}."
        return Answer(claim, "undecided", because, tuple(findings), to_do, shared)
    by_model: dict[str, list[Finding]] = defaultdict(list)
    # A judge that can say nothing has no vote, unless no other judged the model.
    for finding in findings:
        by_model[finding.model].append(finding)
    statuses = {model: _of_model(own) for model, own in by_model.items()}
    kinds = set(statuses.values())
    status: Status = "not supported" if "not supported" in kinds else "supported" if kinds == {"supported"} else "undecided"
    because = _because(claim, status, statuses, by_model)
    return Answer(claim, status, because, tuple(findings), to_do if status == "undecided" else None, shared)


def _of_model(findings: Sequence[Finding]) -> Status:
    kinds = {finding.status for finding in findings if not finding.refusals}
    return next(iter(kinds)) if len(kinds) == 1 else "undecided"


def _because(claim: Claim, status: Status, statuses: Mapping[str, Status], by_model: Mapping[str, Sequence[Finding]]) -> str:
    voting = [(finding, test) for own in by_model.values() for finding in own if not finding.refusals for test in finding.tests]
    if claim.number == 4:
        shares = listed(
            [
                f"{percent(test.value)} [{percent(test.low)}, {percent(test.high)}] ({finding.judge}{_in(finding.cultures)})"
                for finding, test in voting
            ]
        )
        return f"Found not suitable: {shares}; the mark is {percent(MOST_UNSUITABLE)}."
    parts = []
    for kind, words in (("supported", "It holds for"), ("not supported", "It does not hold for"), ("undecided", "It is open for")):
        models = [model for model, found in statuses.items() if found == kind]
        if models:
            parts.append(f"{words} {_with_cultures(models, by_model)}{_why_open(models, by_model) if kind == 'undecided' else ''}.")
    telling: Outcome = "failed" if status == "not supported" else "passed" if status == "supported" else "open"
    # Only models that the answer rests on: a test by one of two judges that contradict each other decided nothing.
    chosen = [pair for pair in voting if pair[1].outcome == telling and statuses[pair[0].model] == status] or voting
    finding, test = min(chosen, key=lambda pair: pair[1].value or 0.0)
    found = f"{signed(test.value)} {signed_interval(test.low, test.high)}".strip()
    p = test.p_below if status == "not supported" else test.p_above
    parts.append(
        f"The least difference is {found} ({test.what}; {finding.model}, judged by {finding.judge}; adjusted p {p_value(p)}"
        f"{f' that it is below {_smallest(claim)}' if status == 'not supported' else ''})."
    )
    if status == "undecided" and test.detectable is not None:
        parts.append(f"A true difference of {test.detectable:.2f} would have been found four times of five.")
    return " ".join(parts)


def _with_cultures(models: Sequence[str], by_model: Mapping[str, Sequence[Finding]]) -> str:
    """Models as a sentence lists them, with the cultures that an answer rests on where the paper has more."""
    resting = {model: [finding.cultures for finding in by_model[model] if not finding.refusals] for model in models}
    where = {model: _in(max(cultures, key=len)) if cultures else "" for model, cultures in resting.items()}
    if len(set(where.values())) == 1:
        return listed(models) + where[models[0]]
    return listed([f"{model} ({where[model].strip()})" if where[model] else model for model in models])


def _in(cultures: Sequence[str]) -> str:
    """In which cultures, where the paper has more."""
    if set(published().cultures) <= set(cultures):
        return ""
    names = [_culture(key) for key in registry() if key in cultures]
    return f" in {names[0]} alone" if len(names) == 1 else f" in {listed(names)}"


def _smallest(claim: Claim) -> str:
    return f"{SMALLEST_RATE if claim.number == 1 else SMALLEST:g}"


def _why_open(models: Sequence[str], by_model: Mapping[str, Sequence[Finding]]) -> str:
    without = [model for model in models if all(finding.refusals for finding in by_model[model])]
    split = [model for model in models if len({finding.status for finding in by_model[model] if not finding.refusals}) > 1]
    reasons = []
    if split:
        reasons.append(f"the judges do not agree on {listed(split)}")
    if without:
        reasons.append(f"{listed(without)} can't be concluded from")
    return f" ({'; '.join(reasons)})" if reasons else ""


def _culture(key: str) -> str:
    return registry()[key].name if key in registry() else key
