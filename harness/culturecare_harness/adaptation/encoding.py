"""How a prompt and a reply become tokens: up to the reply just those that lm-eval gives the model at use."""

from __future__ import annotations

import contextlib
import itertools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from culturecare import CultureCareError
from culturecare_harness.generate import ModelChoice, takes_system_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Encoder", "ReplyTokens", "common_start"]

_PROBE_USER, _PROBE_REPLY = "Hello.", "3f6c1d"


class ReplyTokens(NamedTuple):
    """Token ids of a prompt and of the reply behind it.

    Attributes:
        prompt: The prompt, as lm-eval gives it.
        lead: What the chat template writes of itself before any reply, such as an empty thought; it is read, and bears no loss.
        reply: The reply, the mark that ends it included.
    """

    prompt: list[int]
    lead: list[int]
    reply: list[int]

    @property
    def context(self) -> list[int]:
        """All that the reply stands behind."""
        return self.prompt + self.lead

    def __len__(self) -> int:
        return len(self.prompt) + len(self.lead) + len(self.reply)


class Encoder:
    """Turns prompts and replies into one model's tokens.

    With a chat template, prompt and reply are a chat; a system message that the template does not take opens the user message. Without
    one, the prompt is the plain text that lm-eval makes of the two messages, and the tokeniser's end of text ends the reply.
    """

    def __init__(self, tokenizer: Any, model: str, say: Callable[[str], None]) -> None:
        """Looks at the chat template.

        Args:
            tokenizer: The model's tokeniser.
            model: The model's name, for messages.
            say: Told in a sentence where a system message is not taken.

        Raises:
            CultureCareError: The tokeniser has no end of text, so that a model could never learn to stop, or the chat template fails.
        """
        if tokenizer.eos_token_id is None:
            raise CultureCareError(f"model {model!r}: its tokeniser has no end-of-text token, so that no reply could be ended")
        self._tokenizer = tokenizer
        self._model = model
        self._is_chat = bool(tokenizer.chat_template)
        with self._template_errors_named():
            # The rule of `culturecare eval`, which asks lm-eval's model for its tokeniser.
            self._system_role = takes_system_message(ModelChoice(name=model), SimpleNamespace(tokenizer=tokenizer), say)
        self._lead = self._find_lead() if self._is_chat else ""

    def prompt_text(self, system: str, user: str) -> str:
        """The prompt as the text that lm-eval tokenises.

        Raises:
            CultureCareError: The chat template fails.
        """
        if not self._is_chat:
            return system + user  # lm-eval puts nothing between description and document.
        return self._rendered(self._messages(system, user), add_generation_prompt=True)

    def encode(self, system: str, user: str, reply: str) -> ReplyTokens:
        """Tokens of a prompt and its reply.

        Raises:
            CultureCareError: The chat template fails, leaves replies out, or writes a prompt otherwise once a reply follows, so that the
                model would be trained on another prompt than it sees at use.
        """
        prompt = self.prompt_text(system, user)
        answer = self._answer(prompt, system, user, reply)
        prompt_ids = self._tokens(prompt, prompt)
        answer_ids = self._tokens_behind(prompt, prompt_ids, answer)
        lead = self._lead if answer.startswith(self._lead) else ""
        # The tokens that are the lead's alone: one that reaches into the reply is the reply's.
        lead_ids = common_start(self._tokens_behind(prompt, prompt_ids, lead), answer_ids) if lead else []
        reply_ids = answer_ids[len(lead_ids) :]
        if reply_ids[-1] not in self._tokenizer.all_special_ids:
            reply_ids = [*reply_ids, self._tokenizer.eos_token_id]
        return ReplyTokens(prompt_ids, lead_ids, reply_ids)

    def _tokens(self, text: str, prompt: str) -> list[int]:
        # As lm-eval: where the template wrote the beginning of text, the tokeniser must not write it again.
        bos = self._tokenizer.bos_token
        special = {"add_special_tokens": False} if bos and prompt.startswith(bos) else {}
        return list(self._tokenizer(text, **special)["input_ids"])

    def _tokens_behind(self, prompt: str, prompt_ids: list[int], text: str) -> list[int]:
        ids = self._tokens(prompt + text, prompt)
        if ids[: len(prompt_ids)] == prompt_ids:
            return ids[len(prompt_ids) :]
        # A token would reach over the border; at use there is none, since the prompt is tokenised alone.
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _answer(self, prompt: str, system: str, user: str, reply: str) -> str:
        """What stands behind the prompt, up to the mark that ends the reply."""
        if not self._is_chat:
            return ("" if prompt[-1:].isspace() else " ") + reply
        # Line ends behind that mark belong to the next message.
        whole = self._rendered([*self._messages(system, user), {"role": "assistant", "content": reply}]).rstrip()
        if not whole.startswith(prompt):
            raise CultureCareError(
                f"model {self._model!r}: its chat template writes a prompt otherwise once a reply follows, so that training would show it "
                "another prompt than it sees at use; use a model whose template leaves the prompt as it is"
            )
        if whole == prompt:
            raise CultureCareError(f"model {self._model!r}: its chat template leaves replies out, so that there is nothing to learn")
        return whole[len(prompt) :]

    def _find_lead(self) -> str:
        """What the template writes of itself between a prompt and a reply."""
        prompt = self.prompt_text("", _PROBE_USER)
        whole = self._rendered([{"role": "user", "content": _PROBE_USER}, {"role": "assistant", "content": _PROBE_REPLY}])
        start = whole.find(_PROBE_REPLY, len(prompt))
        return whole[len(prompt) : start] if whole.startswith(prompt) and start >= 0 else ""

    def _messages(self, system: str, user: str) -> list[dict[str, str]]:
        """The prompt as a chat, as the template takes it."""
        if system and not self._system_role:
            return [{"role": "user", "content": f"{system}\n\n{user}"}]
        return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": user}]

    def _rendered(self, chat: list[dict[str, str]], *, add_generation_prompt: bool = False) -> str:
        with self._template_errors_named():
            return str(self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=add_generation_prompt))

    @contextlib.contextmanager
    def _template_errors_named(self) -> Iterator[None]:
        import jinja2

        try:
            yield
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CultureCareError(
                f"model {self._model!r}: its chat template cannot write a prompt and a reply ({reason}); mend the template of its "
                "tokeniser, or use another model"
            ) from error


def common_start(first: list[int], second: list[int]) -> list[int]:
    """The token ids with which both sequences begin."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    return [token for token, _ in same]
