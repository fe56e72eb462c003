"""Commands around a leaderboard: `submit`, `verify`, `leaderboard`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from culturecare_harness.cli._app import app
from culturecare_harness.cli._options import JudgeSettings, Release, console, progress_bar

if TYPE_CHECKING:
    from culturecare_harness.verification import Verification

_RECORDS = Path("runs", "verifications")
"""Where verifications of a board on the Hub are written."""


@app.command(
    epilog="Examples:\n\n  culturecare submit runs/demo --to runs/board --submitter me\n\n"
    "  culturecare submit runs/my-model-… --to hf://datasets/ORG/culturecare-results --model-name me/my-model --parameters 7.6B\n\n"
    "  culturecare submit runs/my-model-… --bundle my-model.zip --submitter me"
)
def submit(
    run: Annotated[
        Path, typer.Argument(help="Folder of a finished run, or of lm_eval's samples once judged, or a bundle.", show_default=False)
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to", help="Folder of a board here, or hf://datasets/OWNER/NAME, on which a pull request is opened.", show_default=False
        ),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Also, or only, write the bundle to this ZIP file.", show_default=False)
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="Name of the protocol.", show_default="the one that the run followed")
    ] = None,
    submitter: Annotated[
        str | None, typer.Option("--submitter", help="Who hands it in.", show_default="the account that is logged in to the Hub")
    ] = None,
    model_name: Annotated[
        str | None, typer.Option("--model-name", help="The model's public name, OWNER/NAME.", show_default="its name in the run")
    ] = None,
    parameters: Annotated[
        str | None, typer.Option("--parameters", help="Number of the model's parameters, such as 135M or 7.6B.", show_default=False)
    ] = None,
    weights: Annotated[
        Literal["open", "closed"] | None, typer.Option("--weights", help="Whether anyone can have the weights.", show_default=False)
    ] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="The model's licence, such as Apache-2.0.", show_default=False)] = None,
    link: Annotated[str | None, typer.Option("--link", help="https address where to read about the model.", show_default=False)] = None,
    eval_results: Annotated[
        str | None,
        typer.Option(
            "--eval-results",
            metavar="ORG/culturecare",
            help="Write .eval_results/culturecare*.yaml for this dataset and open a pull request with them on the model's repository.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, and write --bundle and .eval_results, but hand nothing in.")] = False,  # noqa: FBT002
    release: Release = None,
) -> None:
    """Hand in a run to a leaderboard: it is checked against the protocol, and what must not leave this machine is taken out."""
    from culturecare import CultureCareError
    from culturecare_harness.submit import About, read_parameters
    from culturecare_harness.submit import submit as hand_in

    if to is None and bundle is None and eval_results is None:
        raise CultureCareError("name a board with --to, a file with --bundle, or a dataset with --eval-results")
    about = About(
        submitter=submitter,
        model=model_name,
        parameters=read_parameters(parameters) if parameters else None,
        weights=weights,
        licence=licence,
        link=link,
    )
    with progress_bar() as progress:
        submitted = hand_in(
            run, to, about, progress, protocol=protocol, release=release, bundle_file=bundle, eval_results=eval_results, dry_run=dry_run
        )
    for sentence in submitted.sentences:
        typer.echo(sentence)


@app.command(
    epilog="Examples:\n\n  culturecare verify my-model.zip\n\n"
    "  culturecare verify board --release path/to/release --judge-set base_url=http://localhost:8000/v1\n\n"
    "  culturecare verify hf://datasets/ORG/culturecare-results@refs/pr/12 --release path/to/release\n\n"
    "  culturecare verify board/submissions/demo/owner--model/0123456789abcdef --share 1 --seed 42 --out check.json"
)
def verify(
    bundle: Annotated[
        str,
        typer.Argument(
            help="A bundle's ZIP file, a submission's folder, or a board (a folder, or hf://datasets/OWNER/NAME, with @refs/pr/N for a "
            "pull request): all that is unverified or undecided there.",
            show_default=False,
        ),
    ],
    release: Release = None,
    judge_set: JudgeSettings = None,
    share: Annotated[
        float | None,
        typer.Option("--share", min=0.001, max=1, help="Share of the replies that is judged again.", show_default="as the protocol says"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Of the draw; one from a verification repeats its draw.", show_default="drawn now"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="File of the verification, or folder of a board's.",
            show_default="on the board, beside the ZIP file, or runs/verifications for a board on the Hub",
        ),
    ] = None,
) -> None:
    """Verify submissions: recompute the scores, have a random share judged again by the protocol's judge, flag suspicious replies.

    Ends with exit code 1 where a submission is not verified or is refused. For a board on the Hub, a pull request with the records is
    opened; its token is asked for first.
    """
    from culturecare_harness.board import fetch
    from culturecare_harness.hub import whoami
    from culturecare_harness.records import write_json
    from culturecare_harness.terminal import print_verification
    from culturecare_harness.verify import propose, targets
    from culturecare_harness.verify import verify as verify_bundle

    on_hub = bundle.startswith("hf://")
    # Before anything is judged and paid for.
    verifier = whoami() if on_hub else None
    records: list[Verification] = []
    try:
        with progress_bar() as progress:
            # Never into the copy of a board on the Hub: there a record stands that was merged.
            path, place = (fetch(bundle, progress), out or _RECORDS) if on_hub else (Path(bundle), out)
            found, refused = targets(path, place, progress, is_board=on_hub)
            for target in found:
                record = verify_bundle(
                    target.read(),
                    progress=progress,
                    release=release,
                    judge_settings=judge_set or (),
                    share=share,
                    seed=seed,
                    verifier=verifier,
                )
                write_json(target.place, record)
                records.append(record)
                print_verification(record, console())
                typer.echo(f"Verification file: {target.place}")
    finally:
        if on_hub and records:
            typer.echo(f"Pull request: {propose(bundle, records)}")
    for name, reason in refused.items():
        typer.echo(f"Refused: {name}: {reason}")
    if not records and not refused:
        typer.echo(f"{bundle}: nothing to verify: every submission was verified or failed already.")
    if refused or any(record.status != "verified" for record in records):
        raise typer.Exit(1)


@app.command(
    epilog="Examples:\n\n  culturecare leaderboard --results runs/board\n\n"
    "  culturecare leaderboard --results hf://datasets/ORG/culturecare-results --port 8080"
)
def leaderboard(
    results: Annotated[str, typer.Option("--results", help="Folder of a board, or hf://datasets/OWNER/NAME.", show_default=False)],
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for everyone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 7860,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,  # noqa: FBT002 - a flag.
) -> None:
    """Show a board in the browser; nothing is written to it, and it follows what is put there."""
    import importlib.util

    from culturecare import CultureCareError

    if importlib.util.find_spec("gradio") is None:
        raise CultureCareError("the leaderboard needs gradio: pip install 'culturecare[leaderboard]'")
    from culturecare_leaderboard import launch

    with progress_bar() as progress:
        launch(results, progress, host=host, port=port, open_browser=open_browser)
