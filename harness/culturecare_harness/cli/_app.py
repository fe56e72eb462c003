"""The command line's tree; the modules beside this one hang their commands into it."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["adapt_app", "app", "data_app", "human_app", "judge_app"]

app = typer.Typer(
    help="Benchmark language models on culturally sensitive emotional support.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _RunByDefault(TyperGroup):
    """`culturecare judge PATH` is `culturecare judge run PATH`, and so for each group with a command `run`."""

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
human_app = typer.Typer(help="Have people rate replies: plan, make a packet, serve it, import answers, score.", no_args_is_help=True)
app.add_typer(human_app, name="human")
adapt_app = typer.Typer(
    help="Adapt a model: make training data, train an adapter, see whether it helped. `adapt --model …` is `adapt run --model …`.",
    no_args_is_help=True,
    cls=_RunByDefault,
)
app.add_typer(adapt_app, name="adapt")
