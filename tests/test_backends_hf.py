"""The local judge, with the real small model: the tree equals plain passes, and the restored tokeniser equals llama.cpp's."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from culturecare import CultureCareError, cultures
from culturecare_harness.backends import open_backend
from culturecare_harness.judge import JudgeItem, judge_replies
from culturecare_harness.judges import select_judge
from culturecare_harness.packaged import packaged_model
from culturecare_harness.records import digest
from culturecare_harness.rubrics import select_rubric
from tests.servers import llama_server

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from culturecare import Instance
    from culturecare_harness.backends.hf import HuggingFaceBackend
    from culturecare_harness.records import Verdict

pytestmark = pytest.mark.slow
RUBRIC = select_rubric("culturecare")


def open_hf(*settings: str) -> HuggingFaceBackend:
    return open_backend(select_judge("smollm2", ["device=cpu", *settings]))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def backend() -> HuggingFaceBackend:
    return open_hf()


def judged(backend: HuggingFaceBackend, items: list[JudgeItem], *settings: str) -> list[Verdict]:
    return judge_replies(items, select_judge("smollm2", ["device=cpu", *settings]), backend=lambda _: backend)


def of_cultures(sample: list[Instance], *keys: str) -> list[Instance]:
    """The instance with the shortest post of each culture."""
    return [min((i for i in sample if i.culture == key), key=lambda i: len(i.post_text + i.response_text)) for key in keys]


def item_of(instance: Instance) -> JudgeItem:
    return JudgeItem(reply_id=digest(instance.id), post=instance.post_text, reply=instance.response_text)


def whole_prompts(instance: Instance, *, chat: bool = True) -> list[str]:
    """The text of each prompt about an instance's reply, as the model is to read it."""
    prompts = RUBRIC.prompts(instance.post_text, instance.response_text)
    users = [f"{prompts.item}\n\n{question}" for question in prompts.questions]
    if not chat:
        return [f"{prompts.system}\n\n{user}\n\nGrade: " for user in users]
    head = f"<|im_start|>system\n{prompts.system}<|im_end|>\n<|im_start|>user\n"
    return [f"{head}{user}<|im_end|>\n<|im_start|>assistant\nGrade: " for user in users]


def plain_grades(texts: Iterable[str]) -> list[list[float]]:
    """Next-token probabilities of the grades by one full forward pass a prompt, with nothing shared or cached."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(packaged_model())
    model = transformers.AutoModelForCausalLM.from_pretrained(packaged_model(), dtype="float32").eval()
    spelled = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    ids = [[token for token, text in enumerate(spelled) if text.strip() == str(grade)] for grade in range(1, 6)]
    grades = []
    with torch.inference_mode():
        for text in texts:
            tokens = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
            probabilities = model(tokens, use_cache=False, logits_to_keep=1).logits[0, -1].softmax(-1)
            grades.append([float(probabilities[of_grade].sum()) for of_grade in ids])
    return grades


def assert_same_grades(verdicts: list[Verdict], plain: list[list[float]]) -> None:
    for verdict, grades in zip(verdicts, plain, strict=True):
        assert verdict.digit_mass == pytest.approx(sum(grades), abs=1e-4)
        assert verdict.distribution == pytest.approx([grade / sum(grades) for grade in grades], abs=1e-4)


def test_the_tree_gives_the_distributions_of_plain_full_passes(backend: HuggingFaceBackend, sample: list[Instance]) -> None:
    chosen = of_cultures(sample, "american", "german", "chinese")
    verdicts = judged(backend, [item_of(instance) for instance in chosen])
    some = [text for instance in chosen for text in whole_prompts(instance)][::3]  # Each dimension once.
    assert {verdict.dimension for verdict in verdicts[::3]} == {dimension.key for dimension in RUBRIC.dimensions}
    assert_same_grades(verdicts[::3], plain_grades(some))


def test_batches_of_several_replies_give_the_same_distributions(backend: HuggingFaceBackend, sample: list[Instance]) -> None:
    items = [item_of(instance) for instance in of_cultures(sample, "american", "chinese", "german")]
    alone = judged(backend, items)
    together = judged(open_hf("batch_size=2"), items)
    assert [verdict.dimension for verdict in together] == [verdict.dimension for verdict in alone]
    for one, other in zip(alone, together, strict=True):
        assert other.distribution == pytest.approx(one.distribution, abs=1e-4)


def test_the_tree_gives_the_distributions_of_plain_full_passes_without_a_chat_template(sample: list[Instance]) -> None:
    [chosen] = of_cultures(sample, "american")
    verdicts = judged(open_hf("chat=false"), [item_of(chosen)], "chat=false")
    assert_same_grades(verdicts[::3], plain_grades(whole_prompts(chosen, chat=False)[::3]))


def test_an_item_s_verdicts_do_not_depend_on_the_other_items(backend: HuggingFaceBackend, sample: list[Instance]) -> None:
    first, second = (item_of(instance) for instance in of_cultures(sample, "american", "german"))
    together = judged(backend, [first, second])
    assert judged(backend, [second]) == together[7:]


def test_the_restored_tokeniser_splits_numbers_into_digits(backend: HuggingFaceBackend) -> None:
    tokenizer = backend._tokenizer
    assert tokenizer.tokenize("12") == ["1", "2"]
    assert tokenizer.tokenize("in 2024") == ["in", "Ġ", "2", "0", "2", "4"]


def test_the_restored_tokeniser_agrees_with_llama_cpp(backend: HuggingFaceBackend, sample: list[Instance]) -> None:
    by_culture = {key: [instance for instance in sample if instance.culture == key][:3] for key in cultures()}
    texts = [text for instances in by_culture.values() for i in instances for text in (i.post_text, i.response_text)]
    prompts = [text for instance in of_cultures(sample, *cultures()) for text in whole_prompts(instance)]
    ours = backend._tokenizer([*texts, *prompts], add_special_tokens=False)["input_ids"]
    with llama_server() as address:
        theirs = [llama_tokens(address, text) for text in (*texts, *prompts)]
    assert ours == theirs


def llama_tokens(address: str, text: str) -> list[int]:
    body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
    request = urllib.request.Request(f"{address}/tokenize", body, {"Content-Type": "application/json"})  # noqa: S310 - of this machine.
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        tokens: list[int] = json.load(answer)["tokens"]
    return tokens


def test_the_prompts_that_are_asked_are_the_chat_template_s(backend: HuggingFaceBackend, sample: list[Instance]) -> None:
    [chosen] = of_cultures(sample, "japanese")
    asked = backend._token_ids(RUBRIC.prompts(chosen.post_text, chosen.response_text))
    assert backend._tokenizer.batch_decode(asked) == whole_prompts(chosen)


@pytest.mark.parametrize(
    ("settings", "answers"),
    [(["mode=argmax", "max_tokens=2"], 1), (["mode=sampled", "samples=2", "max_tokens=2"], 2)],
    ids=["argmax", "sampled"],
)
def test_generated_answers_are_kept_word_for_word_and_read_as_grades(settings: list[str], answers: int) -> None:
    item = JudgeItem(reply_id=digest("short"), post="I feel alone since I moved.", reply="That sounds hard. I am with you.")
    verdicts = judged(open_hf(*settings), [item], *settings)
    assert [verdict.dimension for verdict in verdicts] == [dimension.key for dimension in RUBRIC.dimensions]
    for verdict in verdicts:
        assert verdict.answers is not None
        assert len(verdict.answers) == answers
        assert verdict.completion_tokens is not None
        assert verdict.completion_tokens <= 2 * answers
        assert (verdict.score is None) == (verdict.reason is not None)
    assert any(verdict.score is not None for verdict in verdicts)


def test_a_prompt_beyond_the_model_s_context_is_null_with_a_reason(backend: HuggingFaceBackend, sample: list[Instance]) -> None:
    [short] = of_cultures(sample, "american")
    long = JudgeItem(reply_id=digest("long"), post="sorrow " * 8192, reply="I hear you.")
    verdicts = judged(backend, [long, item_of(short)])
    for verdict in verdicts[:7]:
        assert verdict.score is None
        assert verdict.reason is not None
        assert verdict.reason.endswith("tokens, but the judge reads 8192")
        assert verdict.prompt_tokens is not None
        assert verdict.prompt_tokens > 8192
    assert all(verdict.score is not None for verdict in verdicts[7:])


def test_a_folder_without_a_model_is_said(tmp_path: Path) -> None:
    judge: dict[str, Any] = {"model": str(tmp_path), "device": "cpu"}
    settings = [f"{key}={value}" for key, value in judge.items()]
    with pytest.raises(CultureCareError, match=r"judge 'smollm2': the model .* cannot be loaded on cpu") as caught:
        open_backend(select_judge("smollm2", settings))
    assert str(tmp_path) in str(caught.value)


def test_a_device_that_is_not_there_is_said() -> None:
    with pytest.raises(CultureCareError, match="cannot be loaded on nonesuch"):
        open_backend(select_judge("smollm2", ["device=nonesuch"]))
