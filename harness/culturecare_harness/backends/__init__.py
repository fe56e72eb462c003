"""Back ends: where a judge's model runs. Both answer the same question, so that nothing above them knows which one it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from culturecare import CultureCareError, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.rubrics import JudgePrompts

__all__ = ["Answer", "Backend", "open_backend"]


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


class Backend(Protocol):
    """A judge's model, ready to answer."""

    def answer(self, items: Sequence[JudgePrompts], done: Callable[[int, list[Answer]], None]) -> None:
        """Answers every question of every item.

        Args:
            items: Prompts about one reply each.
            done: Called once for each item, in any order, with its position and one answer a question.

        Raises:
            CultureCareError: No further question can be answered (no key, no such model, no server, no log-probabilities).
        """


def open_backend(judge: JudgeFile) -> Backend:
    """Loads the judge's model, or makes ready to call its server.

    Raises:
        CultureCareError: The extra that the back end needs is not installed, or the model or key is not there.
    """
    try:
        if judge.backend == "hf":
            from culturecare_harness.backends.hf import HuggingFaceBackend

            return HuggingFaceBackend(judge)
        from culturecare_harness.backends.openai import OpenAIBackend

        return OpenAIBackend(judge)
    except ModuleNotFoundError as error:
        extra = {"hf": "hf", "openai": "api"}[judge.backend]
        raise CultureCareError(
            f"judge {judge.name!r} needs the module {error.name!r}, which is not installed: pip install 'culturecare[{extra}]'"
        ) from error
