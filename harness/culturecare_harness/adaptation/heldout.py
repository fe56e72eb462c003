"""Held-out loss: how likely a model finds good replies that it was never trained on, before and after.

The loss is the mean negative log-likelihood of a reply's tokens, in nats, under the prompt that the model was trained on.
"""

from __future__ import annotations

import inspect
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import Field

from culturecare import Record
from culturecare_harness.adaptation.sources import PROJECT_LICENCE, example_of
from culturecare_harness.dataset import Selection, select_instances
from culturecare_harness.significance import Comparison, compare_paired
from culturecare_harness.strategies import select_strategies, strategies

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from culturecare_harness.adaptation.encoding import ReplyTokens
    from culturecare_harness.adaptation.examples import Example

__all__ = ["HeldOutInstance", "HeldOutLoss", "compare_losses", "heldout_examples", "reply_losses"]

_BATCH_TOKENS = 2048
"""Tokens of a batch, padding included: enough to keep a CPU busy, and little beside a model's weights."""


class HeldOutInstance(Record):
    """The loss on one instance's reply.

    Attributes:
        instance_id: The instance.
        culture: Its culture.
        tokens: Tokens of the reply, under all strategies together.
        base: Mean loss a token without the adapter.
        adapted: The same with it.
    """

    instance_id: str
    culture: str
    tokens: int = Field(ge=1)
    base: float
    adapted: float


class HeldOutLoss(Record):
    """Loss on held-out replies before and after; cultures weigh the same.

    Attributes:
        strategies: Strategies of the prompts.
        base: Mean over the cultures of the instances' mean loss a token, without the adapter.
        adapted: The same with it.
        comparison: Paired difference, adapted less base, with its interval.
        per_culture: The two means of each culture.
        instances: The loss on each instance.
    """

    strategies: tuple[str, ...]
    base: float
    adapted: float
    comparison: Comparison
    per_culture: dict[str, tuple[float, float]]
    instances: tuple[HeldOutInstance, ...]


def heldout_examples(asked: Iterable[str], *, min_empathy: int = 4) -> tuple[Example, ...]:
    """The good replies of split `sample` under the strategies that a model is trained on.

    Args:
        asked: Names of the strategies of its training data; where none of them is known here, `standard` takes their place.
        min_empathy: Least empathy score of a reply.
    """
    known = strategies()
    chosen = select_strategies([name for name in known if name in set(asked)] or ["standard"])
    good = [
        instance
        for instance in select_instances(Selection(split="sample"))
        if instance.response.text and (instance.response.empathy_score or 0) >= min_empathy
    ]
    return tuple(example_of(strategy, instance, instance.response.text or "", PROJECT_LICENCE) for strategy in chosen for instance in good)


def reply_losses(model: Any, encoded: Sequence[ReplyTokens], pad: int) -> list[float]:
    """Summed loss of each reply's tokens, in nats.

    Sequences of similar length share a batch, padded on the left, so that all replies end it and the logits of the prompts need not be
    computed.

    Args:
        model: A causal language model of transformers, with or without an adapter.
        encoded: Prompts and replies.
        pad: Token id to pad with.
    """
    import torch

    parameters = inspect.signature(_innermost(model).forward).parameters
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    losses = [0.0] * len(encoded)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            # A model that takes no positions would count the padding.
            for batch in _batches(encoded, order, alone="position_ids" not in parameters):
                part = [encoded[index] for index in batch]
                for index, loss in zip(batch, _batch_losses(model, part, pad, trims="logits_to_keep" in parameters), strict=True):
                    losses[index] = loss
    finally:
        model.train(was_training)
    return losses


def _innermost(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _batches(encoded: Sequence[ReplyTokens], order: Sequence[int], *, alone: bool) -> Iterable[list[int]]:
    batch: list[int] = []
    for index in order:  # The shortest first, so that the newest is the longest.
        if batch and (alone or (len(batch) + 1) * len(encoded[index]) > _BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _batch_losses(model: Any, part: Sequence[ReplyTokens], pad: int, *, trims: bool) -> list[float]:
    import torch

    device = next(model.parameters()).device
    width, reply = max(map(len, part)), max(len(tokens.reply) for tokens in part)
    rows = [[pad] * (width - len(tokens)) + tokens.context + tokens.reply for tokens in part]
    masks = [[0] * (width - len(tokens)) + [1] * len(tokens) for tokens in part]
    ids, mask = torch.tensor(rows, device=device), torch.tensor(masks, device=device)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    if len(part) > 1:
        inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    if trims:
        inputs["logits_to_keep"] = reply + 1
    logits = model(**inputs).logits[:, :-1]
    lengths = [len(tokens.reply) for tokens in part]
    return [
        float(torch.nn.functional.cross_entropy(row[-length:].float(), row_ids[-length:], reduction="sum"))
        for row, row_ids, length in zip(logits, ids, lengths, strict=True)
    ]


def compare_losses(
    examples: Sequence[Example], encoded: Sequence[ReplyTokens], base: Sequence[float], adapted: Sequence[float]
) -> HeldOutLoss:
    """Compares the losses of two models on the same replies, instance by instance.

    Args:
        examples: The held-out replies, at least one.
        encoded: Their tokens.
        base: Summed loss of each without the adapter.
        adapted: The same with it.

    Raises:
        CultureCareError: A loss is not a number.
    """
    cultures = {example.instance_id: example.culture for example in examples}
    totals = {name: [0.0, 0.0, 0.0] for name in cultures}
    for example, sequence, *losses in zip(examples, encoded, base, adapted, strict=True):
        for place, value in enumerate((len(sequence.reply), *losses)):
            totals[example.instance_id][place] += value
    instances = tuple(
        HeldOutInstance(instance_id=name, culture=cultures[name], tokens=int(tokens), base=before / tokens, adapted=after / tokens)
        for name, (tokens, before, after) in totals.items()
    )
    by_culture = [[one for one in instances if one.culture == culture] for culture in dict.fromkeys(cultures.values())]
    per_culture = {part[0].culture: (fmean(one.base for one in part), fmean(one.adapted for one in part)) for part in by_culture}
    return HeldOutLoss(
        strategies=tuple(dict.fromkeys(example.strategy for example in examples)),
        base=fmean(before for before, _ in per_culture.values()),
        adapted=fmean(after for _, after in per_culture.values()),
        comparison=compare_paired(
            {one.instance_id: one.adapted for one in instances},
            {one.instance_id: one.base for one in instances},
            cultures,
            names=("adapted", "base"),
            metric="held-out loss",
        ),
        per_culture=per_culture,
        instances=instances,
    )
