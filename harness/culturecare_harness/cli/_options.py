"""What several commands share: options, and how they show what goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.console import Console

    from culturecare_harness.generate import ModelChoice
    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.progress import Progress, TrainingProgress
    from culturecare_harness.records import Result

__all__ = [
    "EngineName",
    "JudgeName",
    "JudgeSettings",
    "MaxCost",
    "RayAddress",
    "Release",
    "RetryFailed",
    "Store",
    "choice_of",
    "console",
    "judge_of",
    "prepare_packaged_model",
    "progress_bar",
    "show",
]

Release = Annotated[
    Path | None,
    typer.Option(
        "--release",
        help="Folder with the released annotations (Arabic_data.jsonl …); by default $CULTURECARE_RELEASE.",
        show_default=False,
    ),
]
JudgeName = Annotated[str, typer.Option("--judge", help="Name of a judge (see `culturecare judges`), a judge's YAML file, or none.")]
JudgeSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--judge-set",
        metavar="FIELD=VALUE",
        help="Change one field of the judge's file, such as mode=argmax; may be repeated.",
        show_default=False,
    ),
]
Store = Annotated[
    Path | None,
    typer.Option(
        "--store", help="File that keeps every judge's answers, so that none is paid for twice.", show_default="in the cache folder"
    ),
]
EngineName = Annotated[
    Literal["embedded", "ray"], typer.Option("--engine", help="Where judging runs: in this process, or on a Ray cluster.")
]
RayAddress = Annotated[
    str | None,
    typer.Option("--ray-address", help="Address of a running cluster, with --engine ray.", show_default="Ray is started on this machine"),
]
MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost", help="Stop before the judge has cost so many US dollars.", show_default=False),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Ask again for verdicts that the store has without a score.")]


def choice_of(
    model: str,
    backend: str | None,
    base_url: str | None,
    model_arg: list[str] | None,
    batch_size: int,
    device: str | None,
    adapter: str | None = None,
) -> ModelChoice:
    from culturecare import CultureCareError
    from culturecare_harness.generate import ModelChoice
    from culturecare_harness.overrides import read_overrides

    arguments = read_overrides(model_arg or (), "--model-arg", "dtype=bfloat16")
    if base_url is not None:
        if not base_url.startswith(("http://", "https://")):
            raise CultureCareError(f"--base-url {base_url!r}: must be an address such as http://localhost:8000/v1")
        backend = backend or "local-chat-completions"
        path = "chat/completions" if "chat" in backend else "completions"
        arguments = {"base_url": f"{base_url.rstrip('/')}/{path}", "num_concurrent": batch_size, **arguments}
    choice = ModelChoice(name=model, backend=backend or "hf", arguments=arguments, batch_size=1 if base_url else batch_size, device=device)
    if adapter is not None:
        choice = choice.with_adapter(adapter)
        place = Path(adapter).expanduser()
        is_path = adapter.startswith((".", "/", "~")) or place.exists() or (place.parent != Path() and place.parent.is_dir())
        if is_path and not place.is_dir():
            raise CultureCareError(f"--adapter {adapter}: is no folder; name one that `culturecare adapt` made, or one of the Hub")
    return choice


def judge_of(name: str, settings: list[str] | None, max_cost: float | None = None) -> JudgeFile | None:
    if name == "none":
        return None
    from culturecare_harness.judges import select_judge

    overrides = [*(settings or [])]
    if max_cost is not None:
        overrides.append(f"max_cost={max_cost}")
    return select_judge(name, overrides)


def prepare_packaged_model(progress: Progress) -> Path:
    from culturecare_harness.packaged import packaged_model as prepare

    progress.say("Preparing SmolLM2-135M-Instruct; the first time it is converted, which takes about half a minute.")
    return prepare()


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    # Without a terminal, rich would wrap at 80 columns and break a table's rows.
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=160)


def progress_bar() -> AbstractContextManager[TrainingProgress]:
    from culturecare_harness.progress import terminal_progress

    return terminal_progress(console(stderr=True))


def show(result: Result, path: Path) -> None:
    from culturecare_harness.terminal import print_result

    print_result(result, console())
    from culturecare_harness.runs import REPLIES

    if (replies := path.with_name(REPLIES)).is_file():  # Beside the result, unless samples of lm-eval were judged.
        typer.echo(f"Replies: {replies}")
    typer.echo(f"Result file: {path}")
