"""The command `annotate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from culturecare_harness.cli._app import app
from culturecare_harness.cli._options import choice_of, console, progress_bar


@app.command(
    epilog="Examples:\n\n  culturecare annotate posts.jsonl --model my-model --base-url http://localhost:8080/v1 --out annotated.jsonl\n\n"
    "  culturecare annotate letters/ --culture german --model Qwen/Qwen2.5-7B-Instruct --out annotated.jsonl\n\n"
    "Then: culturecare eval --model my-model --base-url http://localhost:8080/v1 --posts annotated.jsonl --strategies standard,cga"
)
def annotate(
    posts: Annotated[
        Path,
        typer.Argument(help="JSON Lines file of {id, culture, text, language?}, or a folder of .txt files.", show_default=False),
    ],
    model: Annotated[
        str, typer.Option("--model", help="Hub name, folder, packaged:smollm2, or the server's name for a model behind --base-url.")
    ],
    out: Annotated[Path, typer.Option("--out", help="File of annotated posts, in the released format; the same call goes on.")],
    culture: Annotated[
        str | None, typer.Option("--culture", help="Culture of the posts that don't say theirs, such as german.", show_default=False)
    ] = None,
    backend: Annotated[str | None, typer.Option("--backend", help="lm-eval's name of the model class.", show_default="hf")] = None,
    base_url: Annotated[
        str | None,
        typer.Option("--base-url", help="Address of an OpenAI-compatible server that runs the model, ending in /v1.", show_default=False),
    ] = None,
    adapter: Annotated[
        str | None, typer.Option("--adapter", help="Folder or Hub name of an adapter to load upon the model.", show_default=False)
    ] = None,
    model_arg: Annotated[
        list[str] | None,
        typer.Option("--model-arg", metavar="NAME=VALUE", help="Argument of lm-eval's model class; may be repeated.", show_default=False),
    ] = None,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="Of the answers; 0 for the most likely one.")] = 0.0,
    max_gen_toks: Annotated[int, typer.Option("--max-gen-toks", min=1, help="Longest answer in tokens.")] = 1500,
    seed: Annotated[int, typer.Option("--seed", help="Of the sampling.")] = 1234,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Posts at once.")] = 8,
    device: Annotated[str | None, typer.Option("--device", help="Such as cuda:0 or cpu.", show_default="a GPU where there is one")] = None,
) -> None:
    """Have a model mark distress and cultural signals in posts that nobody annotated, so that every strategy can be used on them.

    Phrases must stand in the post, and labels in the schema; what doesn't is dropped and counted. The file is in the released format, so
    that a person can correct it. How good a model is at this tells `lm_eval --tasks culturecare_annotate`.
    """
    from culturecare_harness.annotation.posts import read_posts
    from culturecare_harness.annotation.stage import annotate as annotate_posts
    from culturecare_harness.generate import Generation
    from culturecare_harness.terminal import print_annotation

    own = read_posts(posts, culture)
    choice = choice_of(model, backend, base_url, model_arg, batch_size, device, adapter)
    generation = Generation(temperature=temperature, max_gen_toks=max_gen_toks, seed=seed)
    with progress_bar() as progress:
        summary = annotate_posts(choice, own, generation, out, progress.say)
    print_annotation(summary, console())
    typer.echo(f"Annotated posts: {out}")
