"""Commands under `judge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from culturecare_harness.cli._app import judge_app
from culturecare_harness.cli._options import (
    EngineName,
    JudgeName,
    JudgeSettings,
    MaxCost,
    RayAddress,
    Release,
    RetryFailed,
    Store,
    console,
    judge_of,
    progress_bar,
    show,
)


@judge_app.command(
    "run",
    epilog="Examples:\n\n  culturecare judge runs/smollm2-… --judge o3-mini\n\n  culturecare judge runs/smollm2-… --jury paper\n\n"
    "  lm_eval run … --tasks culturecare_support --log_samples --output_path out; culturecare judge out --judge smollm2",
)
def judge_run(
    path: Annotated[Path, typer.Argument(help="Folder of a run, or a file or folder of lm_eval's --log_samples.", show_default=False)],
    judge: Annotated[str | None, typer.Option("--judge", help="Name of a judge, or a judge's YAML file.", show_default=False)] = None,
    judge_set: JudgeSettings = None,
    jury: Annotated[
        str | None, typer.Option("--jury", help="Name of a jury, or a jury's YAML file, in place of a judge.", show_default=False)
    ] = None,
    store: Store = None,
    retry_failed: RetryFailed = False,  # noqa: FBT002 - a flag.
    max_cost: MaxCost = None,
    engine: EngineName = "embedded",
    ray_address: RayAddress = None,
    release: Release = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for verdicts and result.", show_default="where the replies are")] = None,
) -> None:
    """Judge replies that are there already: of a run, or saved by `lm_eval --log_samples`."""
    from culturecare import CultureCareError
    from culturecare_harness.runs import JudgeOptions, judge_and_score, load_replies
    from culturecare_harness.terminal import print_jury_result

    if (judge is None) == (jury is None) or judge == "none":
        raise CultureCareError("name a judge with --judge, or a jury with --jury; `culturecare judges` lists them")
    options = JudgeOptions(store=store, retry_failed=retry_failed, engine=engine, ray_address=ray_address)
    with progress_bar() as progress:
        if jury is not None:
            from culturecare_harness.jury import jury_and_score, select_jury

            chosen_jury = select_jury(jury)
            there = load_replies(path, release, progress)
            of_jury, written = jury_and_score(
                there.replies, there.posts, chosen_jury, there.model, out or there.folder, progress, options, there.notes
            )
        else:
            chosen = judge_of(str(judge), judge_set, max_cost)
            there = load_replies(path, release, progress)
            result, written = judge_and_score(
                there.replies, there.posts, chosen, there.model, out or there.folder, progress, options, there.notes
            )
    if jury is not None:
        print_jury_result(of_jury, console())
        typer.echo(f"Result file: {written}")
    else:
        show(result, written)


@judge_app.command(
    "compare",
    epilog="Examples:\n\n  culturecare judge compare runs/my-model-… --against peer --judge o3-mini\n\n"
    "  culturecare judge compare runs/my-model-… runs/other-… --against all --judge llama-3.1-70b",
)
def judge_compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of one or more runs on the same posts.", show_default=False)],
    judge: JudgeName,
    judge_set: JudgeSettings = None,
    against: Annotated[
        Literal["peer", "strategy", "model", "all"],
        typer.Option("--against", help="peers' replies, the baseline strategy, the other run's model, or everything with everything."),
    ] = "peer",
    baseline: Annotated[str, typer.Option("--baseline", help="The baseline strategy, with --against strategy.")] = "standard",
    store: Store = None,
    retry_failed: RetryFailed = False,  # noqa: FBT002 - a flag.
    max_cost: MaxCost = None,
    release: Release = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for verdicts and result.", show_default="the first run's")] = None,
) -> None:
    """Which of two replies a judge prefers, asked in both orders: win rates, flips, ties, and a ranking."""
    from culturecare import CultureCareError
    from culturecare_harness.pairs import against_model, against_peer, against_strategy, compare_and_score, round_robin
    from culturecare_harness.runs import JudgeOptions, load_replies
    from culturecare_harness.terminal import print_pairs_result

    chosen = judge_of(judge, judge_set, max_cost)
    if chosen is None:
        raise CultureCareError("--judge: name a judge; `culturecare judges` lists them")
    if against == "model" and len(runs) != 2:
        raise CultureCareError(f"--against model compares two runs, but {len(runs)} are named")
    with progress_bar() as progress:
        sets = [load_replies(path, release, progress) for path in runs]
        if without := next((path for path, there in zip(runs, sets, strict=True) if not there.instances), None):
            raise CultureCareError(f"{without}: is no folder of a run of `culturecare eval`, which a comparison needs")
        instances = list({instance.id: instance for there in sets for instance in there.instances}.values())
        replies = [reply for there in sets for reply in there.replies]
        if against == "peer":
            pairing = against_peer(replies, instances)
        elif against == "strategy":
            pairing = against_strategy(replies, instances, baseline)
        elif against == "model":
            pairing = against_model(sets[0].replies, sets[1].replies, instances)
        else:
            pairing = round_robin(replies, instances)
        notes = list(dict.fromkeys(note for there in sets for note in there.notes))
        options = JudgeOptions(store=store, retry_failed=retry_failed)
        result, written = compare_and_score(pairing, chosen, out or sets[0].folder, progress, options, notes=notes)
    print_pairs_result(result, console())
    typer.echo(f"Result file: {written}")


@judge_app.command("check", epilog="Example:\n\n  culturecare judge check smollm2 --items 1 --pairs 4 --attacks fence,request")
def judge_check(
    judge: Annotated[str, typer.Argument(help="Name of a judge, or a judge's YAML file.", show_default=False)],
    judge_set: JudgeSettings = None,
    items: Annotated[int, typer.Option("--items", min=1, help="Posts on which attacks, repetition, length and language are tried.")] = 4,
    pairs: Annotated[
        int | None,
        typer.Option("--pairs", min=1, help="Posts on which a good reply stands against worse ones.", show_default="the whole sample"),
    ] = None,
    attacks: Annotated[str, typer.Option("--attacks", help="Names of attacks or of their families with commas, or all.")] = "all",
    store: Store = None,
    retry_failed: RetryFailed = False,  # noqa: FBT002 - a flag.
    max_cost: MaxCost = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the report as JSON to this file.", show_default=False)] = None,
) -> None:
    """How far a judge can be trusted: what attacks in a reply do, whether it tells good from bad, and whether it agrees with itself."""
    from culturecare import CultureCareError
    from culturecare_harness.check import check_judge, print_check
    from culturecare_harness.records import write_json
    from culturecare_harness.store import open_store

    chosen = judge_of(judge, judge_set, max_cost)
    if chosen is None:
        raise CultureCareError("name a judge to check; `culturecare judges` lists them")
    with progress_bar() as progress, open_store(store) as opened:
        report = check_judge(chosen, opened, progress, items=items, pairs=pairs, attacks=attacks, retry_failed=retry_failed)
    if out is not None:
        write_json(out, report)
    print_check(report, console())
