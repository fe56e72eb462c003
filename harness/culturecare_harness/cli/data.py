"""Commands under `data`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from culturecare_harness.cli._app import data_app
from culturecare_harness.cli._options import Release, console, progress_bar

if TYPE_CHECKING:
    from culturecare import Split


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
        print_counts(counts, console())


@data_app.command(
    "validate",
    epilog="Examples:\n\n  culturecare data validate my_posts.jsonl\n\n"
    "  culturecare data validate hydrated/Chinese_data.jsonl --split test",
)
def data_validate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="JSON Lines files in the released format; without any, all that the dataset has.", show_default=False),
    ] = None,
    split: Annotated[
        Literal["own", "test", "sample", "train"] | None,
        typer.Option(
            "--split",
            help="What the files are to be: own posts, or those of a split. Own posts need their text, those of split test need not.",
            show_default="test where no post has its text, else own",
        ),
    ] = None,
    release: Release = None,
) -> None:
    """Check files against the schema; the first line that does not fit is named, and an id that occurs twice."""
    import culturecare
    from culturecare_harness.counts import available_splits

    if files:
        for file in files:
            read_as = split or _split_of(file)
            number = _checked(file, read_as)
            typer.echo(f"{file}: {number} instances, all valid as split {read_as}.")
        return
    if split is not None:
        raise culturecare.CultureCareError(f"--split {split}: goes with files; without files, all splits that there are are checked")
    for there in available_splits(str(release) if release else None):
        number = len(culturecare.load_instances(there, None, release if there == "test" else None))
        typer.echo(f"Split {there}: {number} instances, all valid.")


def _split_of(file: Path) -> Split:
    import culturecare

    # Split `train` has the rows of every other: what its posts are like shows before what their own split asks of them.
    return "own" if any(not instance.excerpt for instance in culturecare.read_instances(file, "train")) else "test"


def _checked(file: Path, split: Split) -> int:
    """How many instances a file holds, all of which fit."""
    import culturecare

    ids = Counter(instance.id for instance in culturecare.read_instances(file, split))
    if not ids:
        raise culturecare.DataError(f"{file}: holds no instance")
    [(name, times)] = ids.most_common(1)
    if times > 1:
        raise culturecare.DataError(f"{file}: the id {name!r} occurs {times} times; every post_id must be unique in its culture")
    return ids.total()


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

    with progress_bar() as progress:
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
