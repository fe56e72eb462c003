"""Commands under `adapt`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from culturecare_harness.cli._app import adapt_app
from culturecare_harness.cli._options import (
    JudgeName,
    JudgeSettings,
    MaxCost,
    Release,
    RetryFailed,
    Store,
    choice_of,
    console,
    judge_of,
    progress_bar,
)

if TYPE_CHECKING:
    from culturecare_harness.adaptation.training import TrainedAdapter

Model = Annotated[str, typer.Option("--model", help="Model to adapt: Hub name, folder, or packaged:smollm2.")]
Permission = Annotated[
    Path | None,
    typer.Option(
        "--training-permission",
        metavar="FILE",
        help="Written arrangement that allows training on released or hydrated data; its SHA-256 goes into the card.",
        show_default=False,
    ),
]
Backend = Annotated[str | None, typer.Option("--backend", help="lm-eval's name of the model class.", show_default="hf")]
BaseUrl = Annotated[
    str | None, typer.Option("--base-url", help="Address of an OpenAI-compatible server that runs the model, ending in /v1.")
]
ModelArgument = Annotated[
    list[str] | None,
    typer.Option("--model-arg", metavar="NAME=VALUE", help="Argument of lm-eval's model class, such as dtype=bfloat16; may be repeated."),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Prompts at once, or calls at once with --base-url.")]
Device = Annotated[str | None, typer.Option("--device", help="Such as cuda:0 or cpu.", show_default="a GPU where there is one")]
MaxTokens = Annotated[int, typer.Option("--max-gen-toks", min=1, help="Longest reply in tokens.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the sampling.")]
Cultures = Annotated[str, typer.Option("--cultures", help="Names with commas, or all.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many posts of each culture.", show_default=False)]


@adapt_app.command(
    "run",
    epilog="Examples:\n\n  culturecare adapt --model packaged:smollm2 --data train --out runs/adapter\n\n"
    "  culturecare adapt --model Qwen/Qwen2.5-7B-Instruct --data distilled.jsonl --settings qlora --per-culture --out adapters\n\n"
    "  culturecare adapt --model my-model --data pairs.jsonl --settings dpo --set learning_rate=1e-5 --out runs/preferring\n\n"
    "Then: culturecare eval --model packaged:smollm2 --adapter runs/adapter",
)
def adapt_run(
    model: Model,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="train: the synthetic split; or a JSON Lines file: of `adapt distil`, of `adapt pairs`, of instances in the released "
            "format, or of own pairs {culture, post, reply, licence, training: allowed}.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the adapter; the same call goes on where it stopped.")],
    settings: Annotated[
        str,
        typer.Option(
            "--settings", help="Name of settings (see `culturecare adapt settings`), or a YAML file.", show_default="lora, or dpo for pairs"
        ),
    ] = "",
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change one of the settings, such as epochs=5; may be repeated."),
    ] = None,
    strategies: Annotated[
        str | None,
        typer.Option("--strategies", help="Under whose prompts instances are learnt: names with commas, or all.", show_default="standard"),
    ] = None,
    cultures: Cultures = "all",
    min_empathy: Annotated[
        int, typer.Option("--min-empathy", min=1, max=5, help="Least empathy score of a person's reply to be learnt from.")
    ] = 4,
    per_culture: Annotated[bool, typer.Option("--per-culture", help="One adapter a culture, each in a folder of its own.")] = False,  # noqa: FBT002
    permission: Permission = None,
    release: Release = None,
    revision: Annotated[str | None, typer.Option("--revision", help="The model's revision on the Hub.", show_default="the newest")] = None,
    track: Annotated[bool, typer.Option("--track", help="Write losses into trackio's dashboard on this machine, too.")] = False,  # noqa: FBT002
) -> None:
    """Train an adapter (LoRA, QLoRA or DPO), and print the loss on held-out replies before and after. `adapt --model …` is `adapt run`.

    Released and hydrated annotations are refused, and so is whatever the benchmark asks about. A killed training goes on where it stopped.
    """
    from culturecare_harness.adaptation.settings import select_settings
    from culturecare_harness.adaptation.sources import load_training_data
    from culturecare_harness.adaptation.training import train, train_per_culture

    given = load_training_data(
        data,
        strategies=None if strategies is None else strategies.split(","),
        cultures=cultures.split(","),
        min_empathy=min_empathy,
        permission=permission,
        release=release,
    )
    chosen = select_settings(settings or ("dpo" if given.preferences else "lora"), change or ())
    with progress_bar() as progress:
        for note in given.notes:
            progress.say(note)
        if per_culture:
            trained = list(train_per_culture(model, given, chosen, out, progress, track=track, revision=revision).values())
        else:
            trained = [train(model, given, chosen, out, progress, track=track, revision=revision)]
    for adapter in trained:
        _show(adapter)


def _show(adapter: TrainedAdapter) -> None:
    from culturecare_harness.terminal import print_adaptation

    print_adaptation(adapter.record, console())
    typer.echo(f"Adapter: {adapter.folder}" + ("" if adapter.trained_now else " (was there already)"))


@adapt_app.command(
    "distil",
    epilog="Examples:\n\n  culturecare adapt distil --model packaged:smollm2 --judge smollm2 --max-gen-toks 96 --min-emotional 1 "
    "--min-cultural 1 --keep-cut --out runs/distilled.jsonl\n\n"
    "  culturecare adapt distil --model Qwen/Qwen2.5-7B-Instruct --judge llama-3.1-70b --posts my-posts.annotated.jsonl --candidates 4 "
    "--out distilled.jsonl",
)
def adapt_distil(
    model: Annotated[str, typer.Option("--model", help="Model that replies, with all its context: as for `culturecare eval`.")],
    out: Annotated[
        Path, typer.Option("--out", help="JSON Lines file of examples, with a page for people beside it; only such are written over.")
    ],
    judge: JudgeName,
    posts: Annotated[
        str, typer.Option("--posts", help="train: the synthetic split; or a file in the released format, as `culturecare annotate` makes.")
    ] = "train",
    judge_set: JudgeSettings = None,
    teacher: Annotated[str, typer.Option("--teacher-strategy", help="Strategy that the model is asked by.")] = "cga",
    strategy: Annotated[str, typer.Option("--strategy", help="Strategy under whose prompt the replies are written.")] = "standard",
    candidates: Annotated[int, typer.Option("--candidates", min=1, help="Replies to each post, each by a seed of its own.")] = 1,
    per_post: Annotated[int, typer.Option("--per-post", min=1, help="Most examples of one post, the best first.")] = 1,
    min_emotional: Annotated[
        float, typer.Option("--min-emotional", min=1, max=5, help="Least mean of the judge's emotional dimensions.")
    ] = 4.0,
    min_cultural: Annotated[float, typer.Option("--min-cultural", min=1, max=5, help="Least mean of the cultural dimensions.")] = 3.5,
    keep_cut: Annotated[  # noqa: FBT002 - a flag.
        bool,
        typer.Option(
            "--keep-cut",
            help="Keep replies that were cut at the longest length, to try it out with a model that hardly ever ends by itself.",
        ),
    ] = False,
    cultures: Cultures = "all",
    limit: Limit = None,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="Of the replies; 0 for the most likely one.")] = 0.7,
    max_gen_toks: MaxTokens = 1000,
    seed: Seed = 1234,
    backend: Backend = None,
    base_url: BaseUrl = None,
    model_arg: ModelArgument = None,
    batch_size: BatchSize = 8,
    device: Device = None,
    store: Store = None,
    retry_failed: RetryFailed = False,  # noqa: FBT002 - a flag.
    max_cost: MaxCost = None,
    permission: Permission = None,
    release: Release = None,
) -> None:
    """Have a model reply with annotations and culture before it, and keep what a judge grades high, to be learnt without them.

    This is context distillation: the model learns to reply by the plain prompt as it replies by `cga`. A killed call goes on where it
    stopped.
    """
    from culturecare_harness.adaptation.distillation import Asked, distil
    from culturecare_harness.dataset import Selection
    from culturecare_harness.generate import Generation
    from culturecare_harness.runs import JudgeOptions
    from culturecare_harness.terminal import print_made

    choice = choice_of(model, backend, base_url, model_arg, batch_size, device)
    selection = Selection(
        split="train" if posts == "train" else "own",
        release=None if posts == "train" else Path(posts),
        cultures=tuple(cultures.split(",")),
        per_culture=limit,
    )
    asked = Asked(
        teacher=teacher,
        student=strategy,
        candidates=candidates,
        per_post=per_post,
        min_emotional=min_emotional,
        min_cultural=min_cultural,
        keep_cut=keep_cut,
    )
    with progress_bar() as progress:
        made = distil(
            choice,
            judge_of(judge, judge_set, max_cost),
            selection,
            out,
            progress,
            asked=asked,
            generation=Generation(temperature=temperature, max_gen_toks=max_gen_toks, seed=seed),
            options=JudgeOptions(store=store, retry_failed=retry_failed),
            permission=permission,
            release=release,
        )
    print_made(
        f"{made.kept} examples from {made.replies} replies to {made.posts} posts; mean emotional grade {made.emotional:.2f}, "
        f"cultural {made.cultural:.2f}",
        made,
        console(),
    )
    typer.echo(f"Examples: {out}\nTo read: {out.with_suffix('.md')}")


@adapt_app.command(
    "pairs",
    epilog="Example:\n\n  culturecare eval --model my-model --split train --strategies all --out runs/train-replies\n\n"
    "  culturecare adapt pairs runs/train-replies --out pairs.jsonl",
)
def adapt_pairs(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, such as those of `culturecare eval --split train`.")],
    out: Annotated[
        Path, typer.Option("--out", help="JSON Lines file of pairs, with a page for people beside it; only such are written over.")
    ],
    judge: Annotated[
        str | None,
        typer.Option("--judge", help="Whose grades count; what it has not judged is judged now.", show_default="the runs' one judge"),
    ] = None,
    judge_set: JudgeSettings = None,
    strategy: Annotated[str, typer.Option("--strategy", help="Strategy under whose prompt the replies are written.")] = "standard",
    min_difference: Annotated[
        float, typer.Option("--min-difference", min=0.01, max=4, help="Least difference between the two overall grades.")
    ] = 0.5,
    per_instance: Annotated[int, typer.Option("--per-instance", min=1, help="Most pairs of one post.")] = 1,
    store: Store = None,
    retry_failed: RetryFailed = False,  # noqa: FBT002 - a flag.
    max_cost: MaxCost = None,
    permission: Permission = None,
    release: Release = None,
) -> None:
    """Make preference pairs of the replies in finished runs, best against worst of each post, for `adapt run --settings dpo`."""
    from culturecare_harness.adaptation.preferences import Pairing, pairs
    from culturecare_harness.runs import JudgeOptions
    from culturecare_harness.terminal import print_made

    with progress_bar() as progress:
        made = pairs(
            runs,
            None if judge is None else judge_of(judge, judge_set, max_cost),
            out,
            progress,
            pairing=Pairing(strategy=strategy, min_difference=min_difference, per_instance=per_instance),
            options=JudgeOptions(store=store, retry_failed=retry_failed),
            permission=permission,
            release=release,
        )
    print_made(
        f"{made.kept} pairs from {made.replies} replies to {made.posts} posts; mean difference {made.difference:.2f}, mean length "
        f"{made.chosen_characters:.0f} characters preferred, {made.rejected_characters:.0f} not",
        made,
        console(),
    )
    typer.echo(f"Pairs: {out}\nTo read: {out.with_suffix('.md')}")


@adapt_app.command(
    "compare",
    epilog="Examples:\n\n  culturecare adapt compare --model packaged:smollm2 --adapter runs/adapter --limit 2 --max-gen-toks 64\n\n"
    "  culturecare adapt compare --model Qwen/Qwen2.5-7B-Instruct --adapter me/qwen-cga --judge llama-3.1-70b "
    "--judge-set base_url=http://localhost:8000/v1 --release path/to/release --out runs/compared",
)
def adapt_compare(
    model: Annotated[str, typer.Option("--model", help="The model without the adapter: Hub name, folder, or packaged:smollm2.")],
    adapter: Annotated[str, typer.Option("--adapter", help="Folder or Hub name of the adapter.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of both runs and the report; the same call goes on.")] = Path("runs/compared"),
    judge: JudgeName = "smollm2",
    judge_set: JudgeSettings = None,
    strategies: Annotated[str, typer.Option("--strategies", help="Names with commas, or all.")] = "all",
    cultures: Cultures = "all",
    release: Release = None,
    held_out: Annotated[  # noqa: FBT002 - a flag.
        bool, typer.Option("--held-out", help="Of split test, the half alone that is never trained on, not even by permission.")
    ] = False,
    limit: Limit = None,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="Of the replies; 0 for the most likely one.")] = 0.7,
    max_gen_toks: MaxTokens = 1000,
    seed: Seed = 1234,
    model_arg: ModelArgument = None,
    batch_size: BatchSize = 8,
    device: Device = None,
    store: Store = None,
    retry_failed: RetryFailed = False,  # noqa: FBT002 - a flag.
    max_cost: MaxCost = None,
) -> None:
    """See whether an adapter helped: the model with it and without it on the same posts, by all strategies, paired, with a report.

    Posts are the synthetic sample, or the released annotations with --release. The scores go into the adapter's card.
    """
    from culturecare import RELEASE_VARIABLE, CultureCareError, release_dir
    from culturecare_harness.adaptation.compare import compare_adapter
    from culturecare_harness.dataset import Selection
    from culturecare_harness.generate import Generation
    from culturecare_harness.runs import JudgeOptions
    from culturecare_harness.strategies import select_strategies
    from culturecare_harness.terminal import print_adapted

    chosen = judge_of(judge, judge_set, max_cost)
    released = release or os.environ.get(RELEASE_VARIABLE)
    if chosen is None:
        raise CultureCareError("--judge none: nothing could be compared; name a judge (`culturecare judges` lists them)")
    with progress_bar() as progress:
        outcome = compare_adapter(
            choice_of(model, "hf", None, model_arg, batch_size, device),
            str(choice_of(model, "hf", None, model_arg, batch_size, device, adapter).adapter),
            [strategy.name for strategy in select_strategies(strategies)],
            Selection(
                split="test" if released else "sample",
                release=release_dir(release) if released else None,
                cultures=tuple(cultures.split(",")),
                per_culture=limit,
                held_out=held_out,
            ),
            Generation(temperature=temperature, max_gen_toks=max_gen_toks, seed=seed),
            chosen,
            out,
            progress,
            JudgeOptions(store=store, retry_failed=retry_failed),
        )
    print_adapted(outcome.adapted, console())
    typer.echo(f"Report: {outcome.report}")


@adapt_app.command("settings", epilog="Example:\n\n  culturecare adapt settings lora > mine.yaml")
def adapt_settings(
    name: Annotated[str | None, typer.Argument(help="Print the file of these settings, to be changed.", show_default=False)] = None,
) -> None:
    """List the settings of training that come along, or print one's file."""
    from culturecare_harness.adaptation.settings import profile_text, profiles

    if name is not None:
        typer.echo(profile_text(name), nl=False)
        return
    for known in profiles().values():
        typer.echo(f"{known.name}: {known.summary}")
