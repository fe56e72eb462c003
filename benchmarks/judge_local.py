"""How fast the local judge is: the tree against plain forward passes and against generated answers, in one process.

Usage: python benchmarks/judge_local.py [--items 6] [--judge smollm2]

Three ways to judge the same replies (the sample's peers') with the same model and prompts:

- `generate`, the baseline: the structure of the paper's published code, three `generate` calls a reply (one a group of dimensions) of 40
  new tokens each, the first digit read;
- `forward`: one forward pass over the whole prompt of each dimension, its next-token distribution read;
- `tree`: what the package does: one pass a reply over the tokens that its prompts do not share.

Prints replies a second, their ratios, and the largest difference between the distributions of `tree` and `forward`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import platform
import sys
import time
from typing import TYPE_CHECKING, Any

from culturecare import load_instances
from culturecare_harness.backends import Request, open_backend
from culturecare_harness.dataset import interleave
from culturecare_harness.judges import select_judge
from culturecare_harness.rubrics import select_rubric

if TYPE_CHECKING:
    from collections.abc import Callable

    from culturecare_harness.backends import Answer

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
    torch, model, tokenizer = backend._torch, backend._model, backend._tokenizer  # noqa: SLF001 - the same weights for all ways.
    instances = interleave(load_instances("sample"))[: arguments.items]
    prompts = [rubric.prompts(instance.post_text, instance.response_text) for instance in instances]
    names = {group: ", ".join(d.name for d in rubric.dimensions if d.group == group) for group in _GROUPS}
    group_questions = tuple(f"Now grade {names[group]}, each from 1 to 5:" for group in _GROUPS)
    grouped = [item.model_copy(update={"questions": group_questions}) for item in prompts]

    def generate() -> None:
        for item in grouped:
            for ids in backend._token_ids(item):  # noqa: SLF001
                inputs = torch.tensor([ids], device=model.device)
                output = model.generate(
                    inputs,
                    attention_mask=torch.ones_like(inputs),
                    do_sample=False,
                    min_new_tokens=_NEW_TOKENS,
                    max_new_tokens=_NEW_TOKENS,
                    pad_token_id=tokenizer.eos_token_id,
                )
                text = tokenizer.decode(output[0, len(ids) :])
                next((character for character in text if character in "12345"), None)

    plain: list[list[float]] = []

    def forward() -> None:
        for item in prompts:
            for ids in backend._token_ids(item):  # noqa: SLF001
                logits = model(torch.tensor([ids], device=model.device), logits_to_keep=1).logits[0, -1]
                probabilities = logits.float().softmax(-1)
                plain.append([float(probabilities[of_grade].sum()) for of_grade in backend._grade_ids])  # noqa: SLF001

    branched: list[tuple[float, ...]] = []

    def tree() -> None:
        def keep(_position: int, _number: int, answer: Answer) -> None:
            branched.append(answer.grades or ())

        size = len(rubric.dimensions)
        backend.answer([Request(prompts=item, samples=((0,),) * size, keys=("",) * size) for item in prompts], keep)

    with torch.inference_mode():
        tree()  # Warms up.
        branched.clear()
        rates = {way.__name__: _rate(way, len(prompts)) for way in (generate, forward, tree)}
    threads = torch.get_num_threads()
    sys.stdout.write(f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {platform.machine()}, {threads} threads, {model.dtype}, {judge.model}\n")
    for name, rate in rates.items():
        ratios = ", ".join(f"{rate / rates[other]:.1f} x {other}" for other in ("generate", "forward") if other != name)
        sys.stdout.write(f"{name:10} {rate:7.3f} replies/s  ({ratios})\n")
    difference = max(abs(one - other) for row, pair in zip(plain, branched, strict=True) for one, other in zip(row, pair, strict=True))
    sys.stdout.write(f"largest difference of a probability between tree and forward: {difference:.1e}\n")


def _rate(way: Callable[[], None], items: int) -> float:
    start = time.perf_counter()
    way()
    return items / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
