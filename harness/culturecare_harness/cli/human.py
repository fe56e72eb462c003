"""Commands under `human`."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from culturecare_harness.cli._app import human_app
from culturecare_harness.cli._options import Release, console, progress_bar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from culturecare_harness.human.packets import MadePacket


@human_app.command(
    "plan",
    epilog="Examples:\n\n  culturecare human plan --posts 30 --difference 0.3\n\n"
    "  culturecare human plan --posts 40 --replies 6 --raters 3 --cultures 4 --difference 0.25 --family 20 --out plan.json\n\n"
    "  culturecare human plan --posts 30 --difference 0.3 --from packets/pilot",
)
def human_plan(
    posts: Annotated[int, typer.Option("--posts", help="Posts a culture.")],
    difference: Annotated[float, typer.Option("--difference", help="True difference between two conditions to be found, in grades.")],
    cultures: Annotated[int, typer.Option("--cultures", help="Number of cultures.")] = 4,
    replies: Annotated[int, typer.Option("--replies", help="Replies a post, each by another condition.")] = 2,
    raters: Annotated[int, typer.Option("--raters", help="Raters of each reply.")] = 3,
    mean: Annotated[float, typer.Option("--mean", help="Mean grade of the lower condition.")] = 3.0,
    other_raters: Annotated[bool, typer.Option("--other-raters", help="Each reply to a post has other raters.")] = False,  # noqa: FBT002
    models: Annotated[
        int, typer.Option("--models", help="Models that the replies are of, each by the same strategies; one reply more is the peer's.")
    ] = 1,
    form: Annotated[
        str, typer.Option("--form", help="`annotator`, `psychologist`, or a YAML file: what replies are compared on.")
    ] = "annotator",
    family: Annotated[
        int | None, typer.Option("--family", help="Comparisons to correct for.", show_default="all that `human score` would make")
    ] = None,
    level: Annotated[float, typer.Option("--level", help="Chance of a false alarm in the whole family.")] = 0.05,
    power: Annotated[float, typer.Option("--power", help="Wanted chance of finding the difference.")] = 0.8,
    earlier: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PACKET",
            help="Folder of a rated packet, its key beside it: take the standard deviations from its ratings.",
            show_default=False,
        ),
    ] = None,
    sd_post: Annotated[float | None, typer.Option("--sd-post", help="Standard deviation of posts.", show_default="assumed")] = None,
    sd_reply: Annotated[float | None, typer.Option("--sd-reply", help="Of replies within a post.", show_default="assumed")] = None,
    sd_rater: Annotated[float | None, typer.Option("--sd-rater", help="Of raters.", show_default="assumed")] = None,
    sd_residual: Annotated[
        float | None, typer.Option("--sd-residual", help="Of one rater's grade of one reply.", show_default="assumed")
    ] = None,
    simulations: Annotated[int, typer.Option("--simulations", help="Simulated studies.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the simulation.")] = 1234,
    out: Annotated[Path | None, typer.Option("--out", help="File for the plan as JSON.", show_default=False)] = None,
) -> None:
    """Power of a study with people, its size, and how well agreement will be known."""
    from culturecare import parse_record
    from culturecare_harness.human.condition_scores import tested_metrics
    from culturecare_harness.human.forms import select_form
    from culturecare_harness.power import Design, plan_study, render_plan
    from culturecare_harness.records import check_place, write_json

    if out is not None:
        check_place(out)
    fields = {
        "posts": posts,
        "difference": difference,
        "cultures": cultures,
        "replies": replies,
        "raters": raters,
        "mean": mean,
        "same_raters": not other_raters,
        "models": models,
        "metrics": len(tested_metrics(select_form(form))),
        "family": family,
        "level": level,
        "power": power,
        "spread": _spread(earlier, {"post": sd_post, "reply": sd_reply, "rater": sd_rater, "residual": sd_residual}),
    }
    result = plan_study(parse_record(Design, fields, where="human plan"), simulations=simulations, seed=seed)
    if out is not None:
        write_json(out, result)
    console().print(render_plan(result), markup=False, highlight=False)


def _spread(earlier: Path | None, given: Mapping[str, float | None]) -> dict[str, Any]:
    """The standard deviations of a plan: an earlier study's, or those that are given and for the rest those that are assumed."""
    from culturecare import CultureCareError
    from culturecare_harness.power import ASSUMED

    numbers = {name: value for name, value in given.items() if value is not None}
    if earlier is not None:
        if numbers:
            raise CultureCareError(
                f"--from and --sd-{next(iter(numbers))}: the standard deviations come from the packet or from you; leave one of them out"
            )
        from culturecare_harness.human.earlier_study import spread_of_packet

        return spread_of_packet(earlier).model_dump()
    spread = ASSUMED.model_dump() | numbers
    if len(numbers) == len(given):
        spread["source"] = "given on the command line"
    elif numbers:
        spread["source"] = "partly given on the command line, the rest assumed"
    return spread


@human_app.command(
    "make",
    epilog="Examples:\n\n  culturecare human make runs/qwen runs/aya --raters 3 --out runs/packet\n\n"
    "  culturecare human make runs/qwen --form psychologist --cultures german --raters german=ann,ben,cho --out runs/packet "
    "--workbooks --label-studio",
)
def human_make(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs on the same posts.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option("--out", help="The packet's folder; key, access codes and raters' names are written beside it.", show_default=False),
    ],
    raters: Annotated[
        list[str],
        typer.Option(
            "--raters",
            help="CULTURE=NUMBER or CULTURE=NAME,NAME…, once for each culture, or a NUMBER for every culture. Raters are called by codes "
            "everywhere, such as german-1; whose code is whose stands beside the packet alone, for you to know whom to give which.",
            show_default=False,
        ),
    ],
    form: Annotated[str, typer.Option("--form", help="`annotator`, `psychologist`, or a YAML file.")] = "annotator",
    cultures: Annotated[
        str | None, typer.Option("--cultures", help="Cultures to take, with commas.", show_default="all of the runs")
    ] = None,
    languages: Annotated[
        list[str] | None,
        typer.Option(
            "--language", metavar="CULTURE=CODE", help="Ask a culture's raters in this language.", show_default="the culture's main one"
        ),
    ] = None,
    per_item: Annotated[
        int | None,
        typer.Option("--per-item", min=1, help="Replies shown together.", show_default="4, or as many as a post has where it has fewer"),
    ] = None,
    raters_per_item: Annotated[int, typer.Option("--raters-per-item", min=1, help="Raters of each item.")] = 3,
    items: Annotated[int | None, typer.Option("--items", min=1, help="Items of each culture.", show_default="one a post")] = None,
    peer: Annotated[bool, typer.Option("--peer/--no-peer", help="Mix in the peer's reply from the dataset.")] = True,  # noqa: FBT002
    checks: Annotated[int, typer.Option("--checks", min=0, help="Attention checks a rater, at most one for every two items.")] = 2,
    repeats: Annotated[int, typer.Option("--repeats", min=0, help="Items that each rater is given twice.")] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Seed of all that is left to chance.")] = 0,
    workbooks: Annotated[bool, typer.Option("--workbooks", help="Also write XLSX workbooks, to OUT-workbooks.")] = False,  # noqa: FBT002
    label_studio: Annotated[  # noqa: FBT002 - a flag.
        bool, typer.Option("--label-studio", help="Also write Label Studio configurations and tasks, to OUT-label-studio.")
    ] = False,
    release: Release = None,
) -> None:
    """Make a blinded packet for people to rate: replies of models and the peer mixed and balanced, their origin in a key file."""
    from culturecare_harness.human.forms import select_form
    from culturecare_harness.human.packets import make_packet, read_raters
    from culturecare_harness.overrides import read_overrides
    from culturecare_harness.runs import load_replies

    beside = _beside(out, workbooks=workbooks, label_studio=label_studio)
    asked_in = {culture: str(code) for culture, code in read_overrides(languages or (), "--language", "chinese=en").items()}
    with contextlib.ExitStack() as undo:
        with progress_bar() as progress:
            made = make_packet(
                [load_replies(run, release, progress) for run in runs],
                select_form(form),
                raters=read_raters(raters),
                out=out,
                per_item=per_item,
                raters_per_item=raters_per_item,
                items=items,
                choose=None if cultures is None else [name.strip() for name in cultures.split(",")],
                ask_in=asked_in,
                include_peer=peer,
                checks=checks,
                repeats=repeats,
                seed=seed,
            )
        undo.callback(_take_back, made, beside)
        _write_beside(made, beside)
        undo.pop_all()
    for note in made.key.header.notes:
        typer.echo(f"Note: {note}")
    for kind, folder in beside.items():
        typer.echo(f"{_KINDS[kind]}: {folder}")
    if beside:
        typer.echo("They show the words of consent and cannot ask for it: have raters agree before they begin.")
    typer.echo(f"Packet: {out} ({len(made.packet.assignments)} raters, {sum(made.packet.packet.items.values())} items)")
    typer.echo(f"Key: {made.key_file} and access codes: {made.tokens_file}; show neither to raters.")
    if made.names_file is not None:
        typer.echo(f"Names: {made.names_file} says whose code is whose, and nothing else does; keep it to yourself.")


_KINDS = {"workbooks": "Workbooks", "label-studio": "Label Studio"}
"""Folders of other programs' files beside a packet, by the ending of their name."""


def _beside(out: Path, *, workbooks: bool, label_studio: bool) -> dict[str, Path]:
    """Folders of the other programs' files; what stands in their way is said before anything is written."""
    from culturecare import CultureCareError
    from culturecare_harness.human.items import beside

    wanted = {"workbooks": workbooks, "label-studio": label_studio}
    folders = {kind: beside(out, f"-{kind}") for kind, is_wanted in wanted.items() if is_wanted}
    for folder in folders.values():
        if folder.exists():
            raise CultureCareError(f"{folder}: is there already, and may hold answers; choose another folder with --out")
    if workbooks:
        from culturecare_harness.human.xlsx import check_openpyxl

        check_openpyxl()
    return folders


def _write_beside(made: MadePacket, beside: Mapping[str, Path]) -> None:
    if folder := beside.get("workbooks"):
        from culturecare_harness.human.xlsx import write_workbooks

        write_workbooks(made.packet, folder)
    if folder := beside.get("label-studio"):
        from culturecare_harness.human.label_studio import write_projects

        write_projects(made.packet, folder)


def _take_back(made: MadePacket, beside: Mapping[str, Path]) -> None:
    """Deletes a packet that was just made and not given out, so that the same command can make it once what failed is mended."""
    for folder in (made.packet.folder, *beside.values()):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (made.key_file, made.tokens_file, made.names_file):
        if file is not None:
            file.unlink(missing_ok=True)


@human_app.command(
    "serve",
    epilog="Examples:\n\n  culturecare human serve packets/annotators\n\n  culturecare human serve packets/study --port 8080 --open\n\n"
    "  culturecare human serve packets/annotators --host 0.0.0.0",
)
def human_serve(
    packet: Annotated[Path, typer.Argument(help="Folder of a packet, as `human make` writes it.", show_default=False)],
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 7861,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for everyone in the network. Nothing is encrypted.")
    ] = "127.0.0.1",
    open_browser: Annotated[bool, typer.Option("--open", help="Open the organiser's page in the browser.")] = False,  # noqa: FBT002
) -> None:
    """Serve the form to raters: each has an address of their own, and every answer is on the disk as soon as it is given."""
    import importlib.util

    from culturecare import CultureCareError

    if importlib.util.find_spec("gradio") is None:
        raise CultureCareError("the form needs gradio: pip install 'culturecare[human]'")
    from culturecare_harness.human.web import serve

    with progress_bar() as progress:
        serve(packet, progress, host=host, port=port, open_browser=open_browser)


@human_app.command(
    "import",
    epilog="Examples:\n\n  culturecare human import runs/packet filled/german-1.xlsx\n\n"
    "  culturecare human import runs/packet project-1-at-2026-01-01.json --kind label-studio",
)
def human_import(
    packet: Annotated[Path, typer.Argument(help="Folder of the packet.", show_default=False)],
    files: Annotated[
        list[Path],
        typer.Argument(help="Filled workbooks, Label Studio exports (JSON), ratings (JSON Lines), or folders of them.", show_default=False),
    ],
    kind: Annotated[
        Literal["auto", "jsonl", "xlsx", "label-studio"], typer.Option("--kind", help="What the files are; `auto` goes by their ending.")
    ] = "auto",
) -> None:
    """Import answers into a packet. Every answer is checked; what is there gives way only to what was given later, never to a blank cell.

    A workbook's answers count as given when it was last saved. So importing a file twice changes nothing.
    """
    import datetime as dt

    from rich.table import Table

    from culturecare_harness.human.items import open_packet
    from culturecare_harness.human.ratings import add_ratings, completeness, import_ratings, read_ratings

    opened = open_packet(packet)
    now = dt.datetime.now(dt.UTC)
    # Read all before anything is written: a file that does not fit stops the import as a whole.
    read = [(file, import_ratings(opened, file, kind, at=now)) for file in files]
    for file, ratings in read:
        if not ratings:
            typer.echo(f"{file}: holds no answer yet, so that nothing is imported from it.")
            continue
        added = add_ratings(opened, ratings)
        typer.echo(f"{file}: {added.new} new, {added.replaced} replaced, {added.unchanged} unchanged, {added.passed_over} passed over.")
    table = Table("rater", "culture", "items finished", "answers", "without answer", header_style="bold")
    for found in completeness(opened, read_ratings(opened)):
        table.add_row(
            found.rater, found.culture, f"{found.finished}/{found.items}", f"{found.answered}/{found.required}", str(found.declined)
        )
    console().print(table)


@human_app.command(
    "score",
    epilog="Examples:\n\n  culturecare human score packets/study --run runs/my-model-… --run runs/other-…\n\n"
    "  culturecare human score packets/study --exclude-failed --failed-checks 0.5 --out study.scores.json",
)
def human_score(
    packet: Annotated[Path, typer.Argument(help="Folder of a packet; its key stands beside it.", show_default=False)],
    run: Annotated[
        list[Path] | None,
        typer.Option(
            "--run", help="Folder of a judged run, whose judges are held against the people; may be repeated.", show_default=False
        ),
    ] = None,
    exclude_failed: Annotated[  # noqa: FBT002 - a flag.
        bool, typer.Option("--exclude-failed", help="Leave out raters who failed. The result holds the tables both ways in any case.")
    ] = False,
    failed_checks: Annotated[
        float,
        typer.Option(
            "--failed-checks",
            min=0,
            max=1,
            help="A rater fails who fails more than this share of the attention checks.",
            show_default="a third",
        ),
    ] = 1 / 3,
    repeat_difference: Annotated[
        float | None,
        typer.Option(
            "--repeat-difference",
            min=0,
            help="A rater also fails whose two grades of a reply differ by more on average.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="The packet's key.", show_default="beside the packet")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The result's file.", show_default="PACKET.scores.json beside the packet")
    ] = None,
) -> None:
    """Score what people answered: agreement, raters, scores of each model and strategy, and which judge is like people."""
    import datetime as dt

    from culturecare_harness.human.analysis import score_packet
    from culturecare_harness.human.rater_quality import FailRule
    from culturecare_harness.human.summary import print_summary
    from culturecare_harness.human.tables import print_human_result

    rule = FailRule(failed_checks=failed_checks, repeat_difference=repeat_difference)
    now = dt.datetime.now(dt.UTC)
    result, written = score_packet(packet, run or (), at=now, out=out, key=key, exclude_failed=exclude_failed, rule=rule)
    print_human_result(result, console())
    print_summary(result, console())
    typer.echo(f"Result file: {written}")
