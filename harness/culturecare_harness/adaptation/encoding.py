"""How a prompt and a reply become tokens: up to the reply just those that lm-eval gives the model at use."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from culturecare import CultureCareError
from culturecare_harness.generate import ModelChoice, takes_system_message

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Encoder", "ReplyTokens"]


class ReplyTokens(NamedTuple):
    """Token ids of a prompt and of the reply behind it, the mark that ends the reply included."""

    prompt: list[int]
    reply: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.reply)


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
            CultureCareError: The tokeniser has no end of text, so that a model could never learn to stop.
        """
        if tokenizer.eos_token_id is None:
            raise CultureCareError(f"model {model!r}: its tokeniser has no end-of-text token, so that no reply could be ended")
        self._tokenizer = tokenizer
        self._model = model
        self.is_chat = bool(tokenizer.chat_template)
        # The rule of `culturecare eval`, which asks lm-eval's model for its tokeniser.
        self._system_role = takes_system_message(ModelChoice(name=model), SimpleNamespace(tokenizer=tokenizer), say)

    def messages(self, system: str, user: str) -> list[dict[str, str]]:
        """The prompt as a chat, as the template takes it."""
        if system and not self._system_role:
            return [{"role": "user", "content": f"{system}\n\n{user}"}]
        return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": user}]

    def prompt_text(self, system: str, user: str) -> str:
        """The prompt as the text that lm-eval tokenises."""
        if not self.is_chat:
            return system + user  # lm-eval puts nothing between description and document.
        return str(self._tokenizer.apply_chat_template(self.messages(system, user), tokenize=False, add_generation_prompt=True))

    def encode(self, system: str, user: str, reply: str) -> ReplyTokens:
        """Tokens of a prompt and its reply.

        Raises:
            CultureCareError: The chat template writes a prompt otherwise once a reply follows, so that the model would be trained on
                another prompt than it sees at use.
        """
        prompt = self.prompt_text(system, user)
        whole = self._with_reply(prompt, system, user, reply)
        # As lm-eval: where the template wrote the beginning of text, the tokeniser must not write it again.
        bos = self._tokenizer.bos_token
        special = {"add_special_tokens": False} if bos and prompt.startswith(bos) else {}
        prompt_ids = self._tokenizer(prompt, **special)["input_ids"]
        ids = self._tokenizer(whole, **special)["input_ids"]
        if ids[: len(prompt_ids)] == prompt_ids:
            reply_ids = ids[len(prompt_ids) :]
        else:  # A token would reach over the border; at use there is none, since the prompt is tokenised alone.
            reply_ids = self._tokenizer(whole[len(prompt) :], add_special_tokens=False)["input_ids"]
        if reply_ids[-1] not in self._tokenizer.all_special_ids:
            reply_ids = [*reply_ids, self._tokenizer.eos_token_id]
        return ReplyTokens(list(prompt_ids), list(reply_ids))

    def _with_reply(self, prompt: str, system: str, user: str, reply: str) -> str:
        if not self.is_chat:
            return prompt + ("" if prompt[-1:].isspace() else " ") + reply
        chat = [*self.messages(system, user), {"role": "assistant", "content": reply}]
        # Line ends behind the mark that ends the reply belong to the next message.
        whole = str(self._tokenizer.apply_chat_template(chat, tokenize=False)).rstrip()
        if not whole.startswith(prompt):
            raise CultureCareError(
                f"model {self._model!r}: its chat template writes a prompt otherwise once a reply follows, so that training would show it "
                "another prompt than it sees at use; use a model whose template leaves the prompt as it is"
            )
        return whole
