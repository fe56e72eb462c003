"""How fast the local judge is: the tree against plain forward passes and against generated answers, in one process.

Usage: python benchmarks/judge_local.py [--items 6] [--judge smollm2]

Three ways to judge the same replies (the sample's peers') with the same model and prompts:

- `generate`, the baseline: the structure of the paper's published code, three `generate` calls a reply, each over the prompts of one group
  of dimensions as a batch, 40 new tokens each, the first digit of each read;
- `forward`: one forward pass over the whole prompt of each dimension, its next-token distribution read;
- `tree`: what the package does: one pass a reply over the tokens that its prompts do not share.

Prints replies a second, their ratios, and the largest difference between the distributions of `tree` and `forward`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import platform
import sys
import time
from typing import TYPE_CHECKING, Any

import torch

from culturecare import load_instances
from culturecare_harness.backends import Request, open_backend
from culturecare_harness.dataset import interleave
from culturecare_harness.judges import select_judge
from culturecare_harness.rubrics import select_rubric

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from culturecare_harness.backends import Answer
    from culturecare_harness.rubrics import JudgePrompts

_NEW_TOKENS = 40
_GROUPS = ("emotional", "cultural", "quality")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=6, help="replies to judge by each way")
    parser.add_argument("--judge", default="smollm2", help="a judge with the hf back end, in mode logprob")
    arguments = parser.parse_args()

    judge = select_judge(arguments.judge)
    rubric = select_rubric(judge.rubric)
    backend: Any = open_backend(judge)
    instances = interleave(load_instances("sample"))[: arguments.items]
    prompts = [rubric.prompts(instance.post_text, instance.response_text) for instance in instances]
    groups = [[place for place, dimension in enumerate(rubric.dimensions) if dimension.group == group] for group in _GROUPS]
    ways: dict[str, Callable[[], list[Any]]] = {
        "generate": functools.partial(_generate, backend, prompts, groups),
        "forward": functools.partial(_forward, backend, prompts),
        "tree": functools.partial(_tree, backend, prompts),
    }
    with torch.inference_mode():
        _tree(backend, prompts)  # Warms up.
        results, rates = {}, {}
        for name, way in ways.items():
            start = time.perf_counter()
            results[name] = way()
            rates[name] = len(prompts) / (time.perf_counter() - start)
    model = backend._model  # noqa: SLF001
    sys.stdout.write(
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {platform.machine()}, {torch.get_num_threads()} threads, {model.dtype}, {judge.model}\n"
    )
    for name, rate in rates.items():
        ratios = ", ".join(f"{rate / rates[other]:.1f} x {other}" for other in ("generate", "forward") if other != name)
        sys.stdout.write(f"{name:10} {rate:7.3f} replies/s  ({ratios})\n")
    pairs = zip(results["forward"], results["tree"], strict=True)
    difference = max(abs(one - other) for plain, branched in pairs for one, other in zip(plain, branched, strict=True))
    sys.stdout.write(f"largest difference of a probability between tree and forward: {difference:.1e}\n")


def _generate(backend: Any, prompts: Sequence[JudgePrompts], groups: Sequence[Sequence[int]]) -> list[str | None]:
    """The first digit of what is generated to each prompt, one call a group of dimensions."""
    model, tokenizer = backend._model, backend._tokenizer  # noqa: SLF001 - the same weights for all ways.
    digits = []
    for item in prompts:
        whole = backend._token_ids(item)  # noqa: SLF001
        for group in groups:
            width = max(len(whole[place]) for place in group)
            padding = [width - len(whole[place]) for place in group]
            rows = [[tokenizer.eos_token_id] * pad + whole[place] for pad, place in zip(padding, group, strict=True)]
            output = model.generate(
                torch.tensor(rows, device=model.device),
                attention_mask=torch.tensor([[0] * pad + [1] * (width - pad) for pad in padding], device=model.device),
                do_sample=False,
                min_new_tokens=_NEW_TOKENS,
                max_new_tokens=_NEW_TOKENS,
                pad_token_id=tokenizer.eos_token_id,
            )
            texts = tokenizer.batch_decode(output[:, width:])
            digits += [next((character for character in text if character in "12345"), None) for text in texts]
    return digits


def _forward(backend: Any, prompts: Sequence[JudgePrompts]) -> list[list[float]]:
    """Probabilities of the grades by one pass over each whole prompt."""
    grades = []
    for item in prompts:
        for ids in backend._token_ids(item):  # noqa: SLF001
            logits = backend._model(torch.tensor([ids], device=backend._model.device), logits_to_keep=1).logits[0, -1]  # noqa: SLF001
            probabilities = logits.float().softmax(-1)
            grades.append([float(probabilities[of_grade].sum()) for of_grade in backend._grade_ids])  # noqa: SLF001
    return grades


def _tree(backend: Any, prompts: Sequence[JudgePrompts]) -> list[tuple[float, ...]]:
    """Probabilities of the grades as the package computes them."""
    grades: list[tuple[float, ...]] = []

    def keep(_position: int, _number: int, answer: Answer) -> None:
        grades.append(answer.grades or ())

    size = len(prompts[0].questions)
    backend.answer([Request(prompts=item, samples=((0,),) * size, keys=("",) * size) for item in prompts], keep)
    return grades


if __name__ == "__main__":
    main()
