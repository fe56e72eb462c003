"""The terminal: what the commands made, as tables and sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from culturecare import cultures
from culturecare_harness.counting import counted
from culturecare_harness.wide_tables import WideTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

    from culturecare_harness.adaptation.making import Made
    from culturecare_harness.adaptation.record import AdaptationRecord
    from culturecare_harness.annotation.stage import Summary
    from culturecare_harness.jury import JuryResult
    from culturecare_harness.pairs import PairsResult
    from culturecare_harness.ranking import Rate
    from culturecare_harness.records import Result, Score
    from culturecare_harness.report.adapted import Adapted
    from culturecare_harness.verification import Rejudged, Verification

__all__ = [
    "print_adaptation",
    "print_adapted",
    "print_annotation",
    "print_jury_result",
    "print_made",
    "print_pairs_result",
    "print_result",
    "print_verification",
]

_SUMMARIES = ("emotional", "cultural", "quality", "overall")


def print_result(result: Result, console: Console) -> None:
    """Prints a result as a table: one row a strategy and culture, means with their 95 % intervals, and what must be read with them."""
    dataset, judge = result.dataset, result.judge
    console.print(
        f"\n[bold]{result.model.name}[/bold] on {dataset.instances} {'excerpts' if dataset.excerpt else 'posts'} of split {dataset.split} "
        f"(revision {dataset.revision}), "
        + (f"judged by {judge.name} ({judge.model}, {judge.mode}, rubric {judge.rubric} {judge.prompt_hash})" if judge else "not judged"),
        highlight=False,
    )
    _score_table(result.scores, result.strategies, dataset.cultures, judged=judge is not None).print(console)
    if result.coverage is not None:
        _print_coverage(result.coverage, result.reasons, console)
    _print_notes(result.notes, console)


def print_jury_result(result: JuryResult, console: Console) -> None:
    """Prints a jury's result: the jury's means, each judge's own, and how well the judges agree."""
    dataset = result.dataset
    console.print(
        f"\n[bold]{result.model.name}[/bold] on {dataset.instances} {'excerpts' if dataset.excerpt else 'posts'} of split {dataset.split} "
        f"(revision {dataset.revision}), judged by the jury {result.jury.name}",
        highlight=False,
    )
    _score_table(result.scores, result.strategies, dataset.cultures, judged=True).print(console)
    judges = WideTable("Each judge, over all cultures", ("judge", "strategy"), (*_SUMMARIES, "coverage"))
    for name, scores in result.judges.items():
        of_all = {(score.strategy, score.metric): score for score in scores if score.culture == "all"}
        for strategy in result.strategies:
            means = [_mean(of_all[strategy, metric]) for metric in _SUMMARIES]
            judges.add(name, strategy, *means, f"{result.judge_coverage[name]:.2f}")
    judges.print(console)
    reasons = ("why not",) if any(row.alpha is None for row in result.agreement) else ()
    agreement = WideTable("Agreement of the judges", ("dimension",), ("Krippendorff's α",), reasons)
    for row in result.agreement:
        interval = "" if row.low is None or row.high is None else f" [{row.low:.2f}, {row.high:.2f}]"
        alpha = "–" if row.alpha is None else f"{row.alpha:.2f}{interval}"
        agreement.add(row.metric, alpha, *((row.reason or "",) if reasons else ()))
    agreement.print(console)
    _print_coverage(result.coverage, result.reasons, console)
    _print_notes(result.notes, console)


def print_pairs_result(result: PairsResult, console: Console) -> None:
    """Prints comparisons: win, flip and tie rates over all cultures, and the ranking."""
    console.print(f"\nPreferences of the judge {result.judge.name} ({result.judge.model}, {result.judge.mode}), each pair in both orders")
    figures = ("pairs", "win rate of the first", "flips", "ties", "position bias", "coverage")
    table = WideTable("Comparisons, over all cultures", ("first", "second"), figures)
    for row in result.summaries:
        if row.culture == "all":
            rates = (_rate(rate) for rate in (row.win_rate, row.flip_rate, row.tie_rate, row.position_bias))
            table.add(row.first, row.second, str(row.pairs), *rates, f"{row.coverage:.2f}")
    table.print(console)
    if result.ranking is not None:
        ranking = WideTable("Bradley-Terry ranking", ("contestant",), ("strength (log-odds)",))
        for strength in result.ranking.strengths:
            interval = "" if strength.low is None or strength.high is None else f" [{strength.low:.2f}, {strength.high:.2f}]"
            ranking.add(strength.contestant, f"{strength.strength:.2f}{interval}")
        if result.ranking.interval_reason is not None:
            ranking.caption = f"No intervals: {result.ranking.interval_reason}"
        ranking.print(console)
    _print_coverage(result.coverage, result.reasons, console)
    _print_notes(result.notes, console)


def _rate(rate: Rate) -> str:
    if rate.mean is None or rate.low is None or rate.high is None:
        return "–"
    return f"{rate.mean:.2f} [{rate.low:.2f}, {rate.high:.2f}]"


def _score_table(all_scores: Sequence[Score], strategies: Iterable[str], keys: Sequence[str], *, judged: bool) -> WideTable:
    grades = (*_SUMMARIES, "coverage") if judged else ()
    figures = ("replies", *grades, "same language", "characters")
    table = WideTable("Mean grades" if judged else "Replies", ("strategy", "culture"), figures, align="right")
    scores = {(score.strategy, score.culture, score.metric): score for score in all_scores}
    for strategy in strategies:
        for culture in (*keys, "all"):
            language = scores[strategy, culture, "same_language"]
            characters = scores[strategy, culture, "reply_characters"]
            cells = [_mean(scores[strategy, culture, metric]) for metric in _SUMMARIES] if judged else []
            if judged:
                cells.append(f"{scores[strategy, culture, 'overall'].coverage:.2f}")
            table.add(
                strategy,
                "all (mean)" if culture == "all" else cultures()[culture].name,
                str(characters.n),
                *cells,
                "–" if language.mean is None else f"{100 * language.mean:.0f} %",
                "–" if characters.mean is None else f"{characters.mean:.0f}",
                style="bold" if culture == "all" else "",
            )
        table.end_section()
    return table


def _print_coverage(coverage: float, reasons: Mapping[str, int], console: Console) -> None:
    missing = ", ".join(f"{reason} ({count})" for reason, count in reasons.items())
    console.print(f"Coverage {coverage:.3f} of all verdicts." + (f" Without a score: {missing}." if missing else ""), highlight=False)


def _print_notes(notes: Iterable[str], console: Console) -> None:
    for note in notes:
        console.print(f"Note: {note}", highlight=False)


def _mean(score: Score) -> str:
    if score.mean is None:
        return "–"
    if score.low is None or score.high is None:
        return f"{score.mean:.2f}"
    return f"{score.mean:.2f} [{score.low:.2f}, {score.high:.2f}]"


_STATUS_STYLES = {"verified": "bold green", "failed": "bold red", "undecided": "bold yellow"}


def print_verification(verification: Verification, console: Console) -> None:
    """Prints a verification: what it found, the figures behind it, how the draw was made, and what a person should look at."""
    style = _STATUS_STYLES[verification.status]
    console.print(
        f"\nSubmission {verification.bundle} under protocol {verification.protocol}: [{style}]{verification.status}[/{style}]",
        highlight=False,
    )
    for reason in verification.reasons:
        console.print(f"- {reason}", highlight=False, markup=False)
    if verification.rejudged is not None:
        _print_rejudged(verification.rejudged, console)
    chosen = ", a seed of the verifier's choice" if verification.seed_given else ""
    console.print(f"Drawn with --seed {verification.seed}{chosen}, --share {verification.share:g}.", highlight=False)
    for flag in verification.flags:
        console.print(f"Look at: {flag}", highlight=False, markup=False)


def _print_rejudged(rejudged: Rejudged, console: Console) -> None:
    from culturecare_harness.verification import APART, detection_probability

    table = WideTable("Judged again", ("strategy",), ("replies", "verdicts", "submitted less new, in grades"))
    for row in rejudged.discrepancies:
        interval = "" if row.low is None or row.high is None else f" [{row.low:+z.3f}, {row.high:+z.3f}]"
        difference = "–" if row.difference is None else f"{row.difference:+z.3f}{interval}"
        table.add(row.strategy, str(row.replies), str(row.verdicts), difference)
    table.print(console)
    figures = {
        "mean absolute difference": rejudged.absolute,
        "correlation": rejudged.correlation,
        f"share more than {APART} grades apart": rejudged.apart,
    }
    shown = ", ".join(f"{name} {value:.3f}" for name, value in figures.items() if value is not None)
    missing = (rejudged.missing_now, rejudged.missing_submitted, rejudged.missing_both)
    console.print(f"{shown[:1].upper()}{shown[1:]}." if shown else "No verdict has a score on both sides.", highlight=False)
    console.print("Without a score: {} now, {} when handed in, {} both.".format(*missing), highlight=False)
    doctored = math.ceil(rejudged.judgeable / 20)
    chance = detection_probability(rejudged.judgeable, doctored, rejudged.replies)
    console.print(
        f"A draw of {rejudged.replies} of {rejudged.judgeable} replies meets one of {doctored} doctored ones (5 %) with probability "
        f"{chance:.3f}.",
        highlight=False,
    )


def print_adaptation(record: AdaptationRecord, console: Console) -> None:
    """Prints what an adapter was trained on, and the loss on held-out replies before and after."""
    data, heldout, settings, losses = record.data, record.heldout, record.training.settings, record.losses
    records = counted(data.examples, "pair" if settings.method == "dpo" else "example")
    console.print(
        f"\n[bold]{record.training.model}[/bold] adapted by {settings.name} (rank {settings.rank}, {counted(record.steps, 'step')}, "
        f"{record.seconds:.0f} s on {record.device.name}): {records} of {counted(data.instances, 'post')} from {data.source}; "
        f"training loss {losses[0].loss:.3f} at first, {losses[-1].loss:.3f} at the end",
        highlight=False,
    )
    title = f"Loss on {counted(len(heldout.instances), 'held-out reply', 'held-out replies')}, in nats a token"
    table = WideTable(title, ("culture",), ("base", "adapted", "difference"))
    for culture, (base, adapted) in heldout.per_culture.items():
        table.add(culture, f"{base:.3f}", f"{adapted:.3f}", f"{adapted - base:+z.3f}")
    compared = heldout.comparison
    ends = "" if compared.low is None or compared.high is None else f" [{compared.low:+z.3f}, {compared.high:+z.3f}]"
    table.add("all", f"{heldout.base:.3f}", f"{heldout.adapted:.3f}", f"{heldout.adapted - heldout.base:+z.3f}{ends}")
    table.print(console)
    _print_notes(record.notes, console)


def print_made(summary: str, made: Made, console: Console) -> None:
    """Prints what training data were made, what was left out, and what must be read with them."""
    from culturecare_harness.adaptation.making import counted_reasons

    console.print(f"\n{summary}.", highlight=False, markup=False)
    if made.left_out:
        console.print(f"Left out: {counted_reasons(made.left_out)}.", highlight=False, markup=False)
    _print_notes(made.notes, console)


def print_adapted(adapted: Adapted, console: Console) -> None:
    """Prints a model's scores without and with an adapter, and their paired differences."""
    result = adapted.adapted.result
    console.print(
        f"\n[bold]{result.model.name}[/bold] less its base on split {result.dataset.split}, judged by {adapted.adapted.panel.name}; "
        "differences are paired, with 95 % intervals; p after Holm's correction",
        highlight=False,
    )
    rows = (*adapted.same, *adapted.across)
    reasons = ("why not",) if any(compared.difference is None or compared.p_adjusted is None for compared in rows) else ()
    table = WideTable("Differences", ("comparison", "score"), ("difference", "95 % interval", "p", "posts"), reasons)
    for compared in rows:
        reason = ""
        if compared.difference is None or compared.p_adjusted is None:
            figures, reason = ["–", "", ""], compared.reason or ""
        else:
            p = "<0.001" if compared.p_adjusted < 0.001 else f"{compared.p_adjusted:.3f}"
            interval = "–" if compared.low is None or compared.high is None else f"[{compared.low:+z.2f}, {compared.high:+z.2f}]"
            figures = [f"{compared.difference:+z.2f}", interval, p]
        table.add(f"{compared.a} less {compared.b}", compared.metric, *figures, str(compared.n), *((reason,) if reasons else ()))
    table.print(console)
    _print_notes(result.notes, console)


def print_annotation(summary: Summary, console: Console) -> None:
    """Prints how many posts were annotated, and what was dropped."""
    console.print(
        f"\n{summary.answered} of {summary.posts} posts annotated, with {summary.spans} spans; {summary.located} of "
        f"{summary.phrases} phrases stand in their posts; {summary.with_schema} answers were asked for with the JSON schema.",
        highlight=False,
    )
    if summary.dropped:
        console.print(f"Dropped: {', '.join(f'{number} {reason}' for reason, number in summary.dropped.items())}.", highlight=False)
    for name, reason in summary.unanswered.items():
        console.print(f"No annotation of {name}: {reason}.", highlight=False, markup=False)
