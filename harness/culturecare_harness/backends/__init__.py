"""Back ends: where a judge's model runs. Both answer the same question, so that nothing above them knows which one it is."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from culturecare import CultureCareError, Record
from culturecare_harness.rubrics import JudgePrompts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.prices import Spending

__all__ = ["Answer", "Backend", "Metered", "Request", "check_backend", "open_backend"]


class Answer(Record):
    """What came back for one question, before it is read as a grade.

    Attributes:
        grades: Next-token probabilities of the grades 1 to 5, as they came and not normalised (`logprob`).
        texts: Answers word for word (`sampled`, `argmax`).
        failure: Why there is neither.
        prompt_tokens: Tokens of the prompt, null where unknown.
        completion_tokens: Tokens of the answers, null where unknown.
    """

    grades: tuple[float, ...] | None = None
    texts: tuple[str, ...] | None = None
    failure: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Request(Record):
    """What is to be asked about one reply.

    Attributes:
        prompts: The prompts; of the rubric's questions those that are to be asked.
        samples: For each question the numbers of the answers to draw; the single number 0 in modes `logprob` and `argmax`.
        keys: For each question its key in the store.
    """

    prompts: JudgePrompts
    samples: tuple[tuple[int, ...], ...]
    keys: tuple[str, ...]


class Backend(Protocol):
    """A judge's model, ready to answer."""

    def answer(self, requests: Sequence[Request], done: Callable[[int, int, Answer], None]) -> None:
        """Answers every question of every request.

        Args:
            requests: What to ask.
            done: Called once for each question as soon as it is answered, in any order, with the position of its request, its own in the
                request, and the answer, which has a text for each sample or none at all.

        Raises:
            CultureCareError: No further question can be answered (no key, no such model, no server, no log-probabilities).
        """


@runtime_checkable
class Metered(Protocol):
    """A back end whose answers cost money.

    Attributes:
        spending: What they cost so far.
    """

    spending: Spending


def check_backend(judge: JudgeFile) -> None:
    """Finds out what is missing for a judge without loading a model or calling a server.

    Raises:
        CultureCareError: The extra that the back end needs is not installed, or there is no key.
    """
    with _missing_modules_named(judge):
        if judge.backend == "openai":
            open_backend(judge)
        elif missing := next((name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None), None):
            raise ModuleNotFoundError(name=missing)


def open_backend(judge: JudgeFile, say: Callable[[str], None] | None = None) -> Backend:
    """Loads the judge's model, or makes ready to call its server.

    Args:
        judge: The judge.
        say: Told in a sentence what takes long, such as a batch that a server works on.

    Raises:
        CultureCareError: The extra that the back end needs is not installed, or the model or key is not there.
    """
    with _missing_modules_named(judge):
        if judge.backend == "hf":
            from culturecare_harness.backends.hf import HuggingFaceBackend

            return HuggingFaceBackend(judge)
        from culturecare_harness.backends.openai import OpenAIBackend

        return OpenAIBackend(judge, say=say)


@contextlib.contextmanager
def _missing_modules_named(judge: JudgeFile) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        extra = {"hf": "hf", "openai": "api"}[judge.backend]
        raise CultureCareError(
            f"judge {judge.name!r} needs the module {error.name!r}, which is not installed: pip install 'culturecare[{extra}]'"
        ) from error
