"""Local judge: a transformers model in this process.

All prompts about one reply share their beginning, and all prompts of a judge share the instructions. The shared tokens are computed
once and kept as key-value caches, on which the short questions are answered as branches. What is shared is found by comparing token
ids, so that a branch holds just the tokens that the whole prompt would have.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from culturecare import CultureCareError
from culturecare_harness.backends import Answer
from culturecare_harness.rubrics import select_rubric

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from culturecare_harness.backends import Request
    from culturecare_harness.judges import JudgeFile
    from culturecare_harness.rubrics import JudgePrompts

__all__ = ["HuggingFaceBackend"]

_SEED = 1234


class HuggingFaceBackend:
    """A transformers model that answers judge prompts."""

    def __init__(self, judge: JudgeFile) -> None:
        """Loads model and tokeniser.

        Raises:
            CultureCareError: The model cannot be loaded, or its tokens cannot tell the five grades apart.
        """
        import torch
        import transformers

        from culturecare_harness.packaged import resolve_model

        path = resolve_model(judge.model)
        device = judge.device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(path, revision=judge.revision)
            self._model = transformers.AutoModelForCausalLM.from_pretrained(path, revision=judge.revision, dtype=judge.dtype)
            self._model.to(device).eval()
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CultureCareError(f"judge {judge.name!r}: the model {judge.model!r} cannot be loaded on {device}: {reason}") from error
        self._judge = judge
        self._torch = torch
        self._grade_ids = self._find_grade_ids()
        self._instructions = self._compute_instructions()

    def _find_grade_ids(self) -> list[list[int]]:
        """For each grade the ids of all tokens that spell its digit, with or without a space before it."""
        ids: list[list[int]] = [[] for _ in range(5)]
        for token, index in self._tokenizer.get_vocab().items():
            digit = token.lstrip("Ġ▁ ")
            if digit in {"1", "2", "3", "4", "5"}:
                ids[int(digit) - 1].append(index)
        if not all(ids):
            raise CultureCareError(f"judge {self._judge.name!r}: the tokeniser of {self._judge.model!r} has no token for each digit 1 to 5")
        return ids

    def _compute_instructions(self) -> tuple[list[int], Any]:
        """Token ids and cache of what all prompts of this judge begin with, found on two prompts that share nothing else."""
        rubric = select_rubric(self._judge.rubric)
        first, second = (self._token_ids(rubric.prompts(text, text))[0] for text in ("a", "b"))
        shared = _common_prefix([first, second])
        with self._torch.inference_mode():
            cache = self._model(self._tensor([shared]), use_cache=True, logits_to_keep=1).past_key_values
        return shared, cache

    def answer(self, requests: Sequence[Request], done: Callable[[int, int, Answer], None]) -> None:
        """Answers `batch_size` requests of similar length at a time, the longest first. See `Backend.answer`.

        With a batch size of 1 an answer does not depend on the other requests; else they move it by rounding alone.
        """
        limit = getattr(self._model.config, "max_position_embeddings", None)
        prompts = [self._token_ids(request.prompts) for request in requests]
        lengths = [max(map(len, of_request)) for of_request in prompts]
        order = (
            sorted(range(len(requests)), key=lambda position: -lengths[position]) if self._judge.batch_size > 1 else range(len(requests))
        )
        fitting = []
        for position in order:
            if limit and lengths[position] >= limit:
                failure = f"the prompt has {lengths[position]} tokens, but the judge reads {limit}"
                for number, prompt in enumerate(prompts[position]):
                    done(position, number, Answer(failure=failure, prompt_tokens=len(prompt)))
            else:
                fitting.append(position)
        with self._torch.inference_mode():
            for start in range(0, len(fitting), self._judge.batch_size):
                batch = fitting[start : start + self._judge.batch_size]
                if self._judge.mode == "logprob":
                    answers = self._read_grades([prompts[position] for position in batch])
                else:
                    answers = [self._write_answers(prompts[position], requests[position]) for position in batch]
                for position, of_request in zip(batch, answers, strict=True):
                    for number, answer in enumerate(of_request):
                        done(position, number, answer)

    def _read_grades(self, batch: list[list[list[int]]]) -> list[list[Answer]]:
        """Next-token probabilities of the grades for all prompts of a batch, in one pass over the tokens that they don't share.

        Each request's prompts form a tree: the instructions, known from before; what they share beyond them; and a branch each. All
        tokens of a tree lie in one row, where each sees those on its own path alone and has the position that it would have in its
        prompt. Padding stands on the right, where no token sees it.
        """
        torch = self._torch
        known, cache = self._instructions
        if any(prompt[: len(known)] != known for prompts in batch for prompt in prompts):
            known, cache = [], None  # A template that moves what comes first: the whole prompts are computed.
        trees = [_Tree(prompts, len(known)) for prompts in batch]
        width = max(len(tree.row) for tree in trees)
        paths = torch.tensor([tree.path + [0] * (width - len(tree.row)) for tree in trees])
        on_path = (paths[:, None, :] == 0) | (paths[:, None, :] == paths[:, :, None])
        visible = on_path & torch.ones(width, width, dtype=torch.bool).tril()
        visible = torch.cat([torch.ones(len(trees), width, len(known), dtype=torch.bool), visible], dim=2)
        device, dtype = self._model.device, self._model.dtype
        mask = torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, torch.finfo(dtype).min)
        shared = cache
        if cache is not None and len(trees) > 1:
            shared = copy.deepcopy(cache)
            shared.batch_repeat_interleave(len(trees))
        read = sorted({end for tree in trees for end in tree.ends})
        logits = self._model(
            self._tensor([tree.row + [0] * (width - len(tree.row)) for tree in trees]),
            attention_mask=mask[:, None].to(device),
            position_ids=self._tensor([tree.positions + [0] * (width - len(tree.row)) for tree in trees]),
            past_key_values=shared,
            use_cache=True,
            logits_to_keep=torch.tensor(read, device=device),
        ).logits
        if cache is not None and shared is cache:
            cache.crop(-width)
        answers = []
        for of_tree, tree, prompts in zip(logits, trees, batch, strict=True):
            rows = of_tree[[read.index(end) for end in tree.ends]].float().softmax(-1)
            grades = [tuple(float(row[ids].sum()) for ids in self._grade_ids) for row in rows]
            answers.append(
                [
                    Answer(grades=of_prompt, prompt_tokens=len(prompt), completion_tokens=0)
                    for of_prompt, prompt in zip(grades, prompts, strict=True)
                ]
            )
        return answers

    def _write_answers(self, prompts: list[list[int]], request: Request) -> list[Answer]:
        return [self._generate(prompt, samples) for prompt, samples in zip(prompts, request.samples, strict=True)]

    def _generate(self, prompt: list[int], samples: Sequence[int]) -> Answer:
        settings: dict[str, Any] = {"do_sample": False}
        if self._judge.mode == "sampled":
            settings = {"do_sample": True, "temperature": self._judge.temperature, "top_k": 0, "top_p": 1.0}
        inputs = self._tensor([prompt])
        known, cache = self._instructions
        if prompt[: len(known)] != known:
            known, cache = [], None
        # The prompt is computed once, for all samples; its last token is left to `generate`.
        cache = self._model(
            self._tensor([prompt[len(known) : -1]]), past_key_values=copy.deepcopy(cache), use_cache=True, logits_to_keep=1
        ).past_key_values
        texts, tokens = [], 0
        for sample in samples:
            # Seeded by the sample's number, so that an answer depends neither on what was asked before nor on how many are drawn.
            self._torch.manual_seed(_SEED + sample)
            [output] = self._model.generate(
                inputs,
                attention_mask=self._torch.ones_like(inputs),
                past_key_values=copy.deepcopy(cache),
                max_new_tokens=self._judge.max_tokens,
                pad_token_id=self._tokenizer.eos_token_id,
                **settings,
            )[:, len(prompt) :]
            texts.append(self._tokenizer.decode(output, skip_special_tokens=True))
            tokens += len(output)
        return Answer(texts=tuple(texts), prompt_tokens=len(prompt), completion_tokens=tokens)

    def _token_ids(self, item: JudgePrompts) -> list[list[int]]:
        """Token ids of the whole prompt of each question, the answer's prefix included."""
        judge, tokenizer = self._judge, self._tokenizer
        texts = []
        for question in item.questions:
            user = self._plain(f"{item.item}\n\n{question}")
            if judge.chat:
                messages = [{"role": "system", "content": item.system}, {"role": "user", "content": user}]
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            else:
                text = f"{item.system}\n\n{user}\n\n"
            texts.append(text + judge.answer_prefix)
        # A chat template writes the special tokens itself.
        ids: list[list[int]] = tokenizer(texts, add_special_tokens=not judge.chat)["input_ids"]
        return ids

    def _plain(self, text: str) -> str:
        """Parts by a space what this tokeniser would read as one of its own marks, wherever a post or reply spells one."""
        for mark in self._tokenizer.get_added_vocab():
            if len(mark) > 2 and mark in text:
                text = text.replace(mark, f"{mark[0]} {mark[1:]}")
        return text

    def _tensor(self, ids: list[list[int]]) -> Any:
        return self._torch.tensor(ids, device=self._model.device)


def _common_prefix(sequences: Sequence[list[int]]) -> list[int]:
    """The longest beginning that all sequences share."""
    shortest = min(sequences, key=len)
    length = next((place for place, token in enumerate(shortest) if any(ids[place] != token for ids in sequences)), len(shortest))
    return shortest[:length]


class _Tree:
    """Prompts that share their beginning, laid out in one row.

    Attributes:
        row: Tokens beyond the known ones: those that all prompts share, then each prompt's own.
        path: For each token 0 on the shared trunk, else the number of its branch from 1.
        positions: For each token its place in its prompt.
        ends: For each prompt the place of its last token in the row.
    """

    def __init__(self, prompts: Sequence[list[int]], known: int) -> None:
        trunk = len(_common_prefix(prompts)[: min(map(len, prompts)) - 1])  # A branch holds at least one token.
        self.row = prompts[0][known:trunk]
        self.path = [0] * len(self.row)
        self.positions = list(range(known, trunk))
        self.ends: list[int] = []
        for number, prompt in enumerate(prompts, 1):
            self.row += prompt[trunk:]
            self.path += [number] * (len(prompt) - trunk)
            self.positions += range(trunk, len(prompt))
            self.ends.append(len(self.row) - 1)
