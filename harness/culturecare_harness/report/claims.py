"""The paper's four claims: what each means as a test, when data can't carry an answer, and the answer.

A claim is answered for each model under each judge (a finding), and from the findings as a whole. The rules are fixed here, before any
data is seen, and every report prints them.

Tests are paired by instance (`significance.compare_paired`) and one-sided. A claim's tests under one judge, over all models, are one family
for Holm's correction, once against no difference and once against the smallest difference of interest:

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
from typing import TYPE_CHECKING, Literal

from culturecare import SYNTHETIC_SPLITS
from culturecare import cultures as registry
from culturecare_harness.counting import counted
from culturecare_harness.judges import NO_MEASURE
from culturecare_harness.jury import model_families
from culturecare_harness.pairs import PEER
from culturecare_harness.protocols import protocols
from culturecare_harness.report.figures import interval, listed, p_value, percent, signed, signed_interval
from culturecare_harness.report.testing import ALPHA, Pair, Test, tested
from culturecare_harness.strategies import strategies as known_strategies

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from culturecare import Instance
    from culturecare_harness.check import CheckReport
    from culturecare_harness.report.evidence import Evidence, Graded, Panel, Preferences
    from culturecare_harness.report.people import PeopleScores
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
"""Least share of replies with a score, where no protocol says another."""

MOST_UNSUITABLE = 0.25
"""Share of items that psychologists may find not suitable for training before the material as a whole does not serve it."""

FEWEST_RATERS = 2
"""Fewest psychologists: with one, nobody can tell the material's worth from a person's taste."""

FEWEST_ITEMS = 30
"""Fewest items that psychologists must have rated."""

_ROLE_PLAY, _FULL, _BASELINE = "culture", "cga", "standard"
_MANY_FLIPS = 0.2


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
        tests: What was tested; shown even where nothing may be concluded from it.
        refusals: Why nothing may be concluded; empty where something may.
        caveats: What to bear in mind.
        status: The finding.
        is_lacking: Whether a run or a comparison that the claim needs was not made.
    """

    model: str
    judge: str
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
    "where one refutes it, else undecided; judges that contradict each other leave a model undecided."
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
        f"{FEWEST_RATERS} raters and {FEWEST_ITEMS} items at least, and agreement between the raters that is above chance.",
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
        _answer(training, _training(evidence.people)),
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
                    family.append(Pair((_FULL, other), "cultural", cultural[_FULL], cultural[other], graded.cultures))
            places.append((graded, mine, missing))
        tests = tested(family, SMALLEST)
        for graded, mine, missing in places:
            own = tuple(tests[number] for number in mine)
            refusals = []
            if missing:
                refusals.append(f"the run has no replies by {listed(missing)}")
            refusals += _unfit(graded, evidence, strategies=(_FULL, *others))
            refusals += [f"{test.what}: {test.reason}" for test in own if test.reason]
            caveats = (*_by_culture([family[number] for number in mine]), *_kin(graded.run.label, panel), *_unmeasured(panel, evidence))
            findings.append(Finding(graded.run.label, panel.name, own, tuple(refusals), caveats, _status(own, refusals), bool(missing)))
    return findings


def _unfit(graded: Graded, evidence: Evidence, strategies: Iterable[str]) -> list[str]:
    """Why a run's grades can't carry a claim."""
    result, reasons = graded.result, _unfit_judge(graded.panel, evidence, "cultural")
    reasons += _unfit_posts(result.dataset.split, excerpt=result.dataset.excerpt)
    reasons += _unfit_instances(graded.run.there.instances, strategies)
    protocol = protocols().get(result.protocol or "")
    floor = COVERAGE_FLOOR if protocol is None else protocol.coverage_floor
    for strategy in strategies:
        values = graded.values["cultural"].get(strategy)
        if values and (share := sum(value is not None for value in values.values()) / len(values)) < floor:
            reasons.append(f"only {percent(share, 1)} of the replies by {strategy} have a cultural score, but {percent(floor)} must")
    reasons += _too_few(graded.cultures)
    return reasons


def _unfit_judge(panel: Panel, evidence: Evidence, metric: str) -> list[str]:
    if not panel.measure:
        return [f"the judge {panel.name} measures nothing: it {NO_MEASURE}"]
    reasons = []
    if (check := _check_of(panel, evidence.checks)) is not None:
        reasons += [
            f"the judge {panel.name} does not tell good replies from dismissive ones: it preferred the good one on {contest.wins} of "
            f"{counted(contest.n, 'post')}"
            for contest in check.contests
            if contest.against == "dismissive" and contest.low is not None and contest.low <= 0.5
        ]
    for people in evidence.people:
        for quality in (one for judge in people.judges if judge.judge == panel.name for one in judge.metrics if one.metric == metric):
            if quality.spearman.high is not None and quality.spearman.low is not None and quality.spearman.low <= 0:
                low, high = quality.spearman.low, quality.spearman.high
                reasons.append(
                    f"the {metric} scores of {panel.name} are not shown to follow people's (Spearman's interval {interval(low, high)})"
                )
    return reasons


def _check_of(panel: Panel, checks: Iterable[CheckReport]) -> CheckReport | None:
    if panel.is_jury:
        return None
    return next((check for check in checks if check.judge == panel.judges[0]), None)


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


def _unmeasured(panel: Panel, evidence: Evidence) -> list[str]:
    if any(judge.judge == panel.name for people in evidence.people for judge in people.judges):
        return []
    return [f"Nobody has held the judge {panel.name} against people here (--human): it stands for itself."]


# --- Claim 1: preferences --------------------------------------------------------------------------------------------------------


def _against_peers(evidence: Evidence) -> list[Finding]:
    findings = []
    for one in evidence.preferences:
        values = _values_against_peer(one, evidence)
        if not values:
            continue
        cultures = {verdict.instance_id: verdict.culture for verdict in one.verdicts}
        adapted = [place for place in values if place[1] != _BASELINE]
        family = [
            Pair((f"win rate of {strategy}", "one half"), "win rate", values[label, strategy], dict.fromkeys(cultures, 0.5), cultures)
            for label, strategy in adapted
        ]
        tests = dict(zip(adapted, zip(family, tested(family, SMALLEST_RATE), strict=True), strict=True))
        for label in dict.fromkeys(label for label, _ in values):
            own = [tests[place] for place in adapted if place[0] == label]
            refusals = _unfit_comparison(one, evidence, own)
            caveats = (*_flips(one), *_kin(label, one.panel), *_unmeasured(one.panel, evidence))
            outcomes = tuple(test for _, test in own)
            findings.append(Finding(label, one.panel.name, outcomes, tuple(refusals), caveats, _status(outcomes, refusals), not own))
    compared = {finding.model for finding in findings}
    without = "its replies were not compared with the peers'"
    if findings:
        findings += [Finding(run.label, "nobody", (), (without,), is_lacking=True) for run in evidence.runs if run.label not in compared]
    return findings


def _unfit_comparison(one: Preferences, evidence: Evidence, tests: Sequence[tuple[Pair, Test]]) -> list[str]:
    """Why a comparison with the peers can't carry the claim."""
    reasons = [] if tests else [f"{_BASELINE} alone was compared, and no adapted strategy"]
    reasons += _unfit_judge(one.panel, evidence, "overall")
    reasons += _unfit_posts(one.result.dataset.split, excerpt=one.result.dataset.excerpt)
    for pair, test in tests:
        share = sum(value is not None for value in pair.a.values()) / len(pair.a)
        if share < COVERAGE_FLOOR:
            reasons.append(f"only {percent(share, 1)} of the pairs have a preference ({pair.names[0]}), but {percent(COVERAGE_FLOOR)} must")
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


def _training(packets: Iterable[PeopleScores]) -> list[Finding]:
    findings = []
    for people in packets:
        share = people.share_of("training_use", "not_suitable")
        if share is None:
            continue
        refusals = [] if people.split is None else _unfit_posts(people.split, excerpt=bool(people.excerpt))
        if people.raters < FEWEST_RATERS:
            refusals.append(f"{counted(people.raters, 'psychologist')} rated, but {FEWEST_RATERS} must")
        if share.items < FEWEST_ITEMS:
            refusals.append(f"{counted(share.items, 'item was', 'items were')} rated, but {FEWEST_ITEMS} must be")
        if share.share is None or share.low is None or share.high is None:
            refusals.append("the share of replies that are not suitable has no interval")
        known = [one for one in people.agreement if one.metric == "training_use" and one.value is not None]
        if not known:
            refusals.append("the psychologists' agreement on it is not known")
        # Where nearly all answers are equal, alpha and kappa fall to 0 however well raters agree: the best coefficient decides.
        elif all(one.low is None or one.low <= 0 for one in known):
            refusals.append("the psychologists do not agree on it more than by chance")
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
        status = _status([test], refusals)
        findings.append(
            Finding("replies of all models", f"{counted(people.raters, 'rater')} ({people.form})", (test,), tuple(refusals), (), status)
        )
    return findings


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
    counted = [(finding, test) for own in by_model.values() for finding in own if not finding.refusals for test in finding.tests]
    if claim.number == 4:
        shares = listed(
            [f"{percent(test.value)} [{percent(test.low)}, {percent(test.high)}] ({finding.judge})" for finding, test in counted]
        )
        return f"Found not suitable: {shares}; the mark is {percent(MOST_UNSUITABLE)}."
    parts = []
    for kind, words in (("supported", "It holds for"), ("not supported", "It does not hold for"), ("undecided", "It is open for")):
        models = [model for model, found in statuses.items() if found == kind]
        if models:
            parts.append(f"{words} {listed(models)}{_why_open(models, by_model) if kind == 'undecided' else ''}.")
    telling: Outcome = "failed" if status == "not supported" else "passed" if status == "supported" else "open"
    # Only models that the answer rests on: a test by one of two judges that contradict each other decided nothing.
    chosen = [pair for pair in counted if pair[1].outcome == telling and statuses[pair[0].model] == status] or counted
    finding, test = min(chosen, key=lambda pair: pair[1].value or 0.0)
    p = test.p_below if status == "not supported" else test.p_above
    parts.append(
        f"The least difference is {signed(test.value)} {signed_interval(test.low, test.high)} ({test.what}; {finding.model}, judged by "
        f"{finding.judge}; adjusted p {p_value(p)}{f' that it is below {_smallest(claim)}' if status == 'not supported' else ''})."
    )
    if status == "undecided" and test.detectable is not None:
        parts.append(f"A true difference of {test.detectable:.2f} would have been found four times of five.")
    return " ".join(parts)


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
