"""Training an adapter: what is learnt, that it goes on where it was killed, what is written, and what is said where it cannot be."""

from __future__ import annotations

import gc
import importlib.util
import io
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import yaml
from rich.console import Console

from culturecare import CultureCareError, load_instances
from culturecare_harness.adaptation import training
from culturecare_harness.adaptation.card import CARD, render_card, with_scores
from culturecare_harness.adaptation.checkpoints import latest_checkpoint, work_folder
from culturecare_harness.adaptation.encoding import Encoder
from culturecare_harness.adaptation.examples import Example, Preference, Written, example_id
from culturecare_harness.adaptation.heldout import heldout_examples, reply_losses
from culturecare_harness.adaptation.record import (
    ADAPTATION,
    AdaptationRecord,
    BenchmarkScore,
    BenchmarkScores,
    read_adaptation,
    thin_losses,
)
from culturecare_harness.adaptation.settings import Settings, select_settings
from culturecare_harness.adaptation.sources import TrainingData, load_training_data
from culturecare_harness.adaptation.training import TrainedAdapter, train, train_per_culture
from culturecare_harness.dataset import Selection, interleave, select_instances
from culturecare_harness.generate import Generation, ModelChoice, generate_replies
from culturecare_harness.leaks import leaks
from culturecare_harness.packaged import PACKAGED
from culturecare_harness.progress import terminal_progress
from culturecare_harness.records import write_json, write_records
from culturecare_harness.strategies import render, select_strategies
from culturecare_harness.terminal import print_adaptation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

pytest.importorskip("trl", reason="needs the extra `adapt`")

CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
THINKING = CHAT.replace(
    "{{ message['content'] }}",
    "{% if message['role'] == 'assistant' and '</think>' not in message['content'] %}<think>\n\n</think>\n\n{% endif %}"
    "{{ message['content'] }}",
)
"""Like Qwen 3's: a reply without a thought of its own stands behind an empty one."""
NO_END = CHAT.replace("<|end|>", "")
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system message') }}{% endif %}" + CHAT
WITHOUT_CUDA = "needs a CUDA device"


@pytest.fixture(scope="module", autouse=True)
def _libraries_are_no_garbage() -> None:
    """accelerate collects garbage after each training, and would look through these every time."""
    import trl.trainer.dpo_trainer
    import trl.trainer.sft_trainer  # noqa: F401

    gc.freeze()


class Adapt(Protocol):
    """Trains the tiny model on the packaged examples, unless told otherwise, into a folder of the test."""

    def __call__(
        self,
        settings: Settings,
        *,
        out: str = ...,
        told: Told | None = ...,
        model: str | Path = ...,
        data: TrainingData = ...,
        heldout: Sequence[Example] | None = ...,
        track: bool = ...,
    ) -> TrainedAdapter: ...


class Told:
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.steps: list[tuple[int, int, float]] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def advance(self, finished: int, total: int) -> None:
        raise AssertionError(f"a training has steps, not verdicts: {finished} of {total}")

    def step(self, finished: int, total: int, loss: float) -> None:
        self.steps.append((finished, total, loss))


# --- A tiny model ----------------------------------------------------------------------------------------------------------------


def make_model(folder: Path, *, template: str | None = CHAT, bos: bool = False, layers: int = 2) -> Path:
    """A randomly initialised Llama with a tokeniser that was trained on the packaged texts."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<|end|>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    texts = [text for instance in load_instances("train") for text in (instance.post_text, instance.response.text or "")]
    tokenizer.train_from_iterator([*texts, *(select_strategies("standard")[0].system for _ in range(9))], trainer)
    marks = {f"{name}_token": mark for name, mark in (("bos", "<s>"), ("eos", "<|end|>"), ("pad", "<pad>"))}
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **marks)
    if bos:
        from tokenizers.processors import TemplateProcessing

        wrapped.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(wrapped),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


def with_template(model: Path, folder: Path, template: str | None) -> Path:
    """The same model, told otherwise how to write a chat."""
    shutil.copytree(model, folder)
    (folder / "chat_template.jinja").unlink()
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def with_context(model: Path, folder: Path, positions: int) -> Path:
    """A model of GPT-2's shape by the same tokeniser, which can read so many tokens and no more."""
    import torch
    import transformers

    tokenizer = tokenizer_of(model)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, n_positions=positions, bos_token_id=0, eos_token_id=1
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def tokenizer_of(folder: Path) -> Any:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(folder)


# --- Data and settings -----------------------------------------------------------------------------------------------------------


def short(example: Example) -> Example:
    """The same with less to read, so that a step takes no time."""
    system, user, reply = example.system[:90], example.user[-120:], example.reply[:80].strip()
    changes = {"system": system, "user": user, "reply": reply, "id": example_id(system, user, reply)}
    return Example.model_validate(example.model_dump() | changes)


@pytest.fixture(scope="session")
def data() -> TrainingData:
    whole = load_training_data("train")
    return whole.model_copy(update={"examples": tuple(map(short, whole.examples))})


@pytest.fixture(scope="session")
def whole_heldout() -> tuple[Example, ...]:
    """Two of each culture."""
    return tuple(interleave(heldout_examples(["standard"]))[:14])


@pytest.fixture(scope="session")
def heldout(whole_heldout: Sequence[Example]) -> tuple[Example, ...]:
    return tuple(map(short, whole_heldout))


def pairs_of(data: TrainingData) -> TrainingData:
    """Preference pairs: the good reply, and the same one backwards."""
    written = Written(model="somebody/model", strategy="standard", judge="smollm2", emotional=3.0, cultural=3.0)
    pairs = []
    for example in data.examples:
        fields = example.model_dump(exclude={"id", "reply", "written"})
        rejected = example.reply[::-1]
        pairs.append(
            Preference(
                id=example_id(example.system, example.user, example.reply, rejected),
                chosen=example.reply,
                rejected=rejected,
                chosen_by=written,
                rejected_by=written,
                **fields,
            )
        )
    return data.model_copy(update={"examples": (), "preferences": tuple(pairs)})


def quick(*changes: str, name: str = "lora") -> Settings:
    return select_settings(name, ["max_steps=4", "rank=4", "checkpoint_every=2", "learning_rate=1e-2", *changes])


def lengths_of(model: Path, examples: Sequence[Example]) -> list[int]:
    encoder = Encoder(tokenizer_of(model), "tiny", lambda _: None)
    return sorted(len(encoder.encode(example.system, example.user, example.reply)) for example in examples)


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "adapter_model.safetensors"))


def assert_equal_weights(one: Path, other: Path) -> None:
    import torch

    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], msg=lambda said, name=name: f"{name}: {said}")


def spy_on_trainers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The trainers that `train` makes from now on."""
    made: list[Any] = []
    make = training._make_trainer

    def remember(*arguments: Any, **keywords: Any) -> Any:
        made.append(make(*arguments, **keywords))
        return made[-1]

    monkeypatch.setattr(training, "_make_trainer", remember)
    return made


@pytest.fixture
def adapt(model: Path, data: TrainingData, heldout: Sequence[Example], tmp_path: Path) -> Adapt:
    usual_model, usual_data, usual_heldout = model, data, heldout

    def run(
        settings: Settings,
        *,
        out: str = "a",
        told: Told | None = None,
        model: str | Path = usual_model,
        data: TrainingData = usual_data,
        heldout: Sequence[Example] | None = usual_heldout,
        track: bool = False,
    ) -> TrainedAdapter:
        return train(str(model), data, settings, tmp_path / out, told or Told(), heldout=heldout, track=track)

    return run


# --- What is learnt --------------------------------------------------------------------------------------------------------------


def loss_bearing_texts(trainer: Any, tokenizer: Any) -> list[str]:
    """The texts of the tokens that bear a loss, run by run, as the trainer's collator gives them to the model."""
    batch = trainer.data_collator([trainer.train_dataset[place] for place in range(len(trainer.train_dataset))])
    if "labels" not in batch:  # Of pairs.
        batch["labels"] = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    texts = []
    for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        runs: list[list[int]] = [[]]
        for token, label in zip(ids, labels, strict=True):
            assert label in (-100, token)
            if label == -100:
                runs.append([])
            else:
                runs[-1].append(token)
        texts += [tokenizer.decode(run) for run in runs if run]
    return texts


@pytest.mark.parametrize("packing", ["false", "true"])
def test_the_loss_is_on_the_reply_and_its_end_alone(
    adapt: Adapt, model: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    made = spy_on_trainers(monkeypatch)
    adapt(quick(f"packing={packing}", "max_length=4096", "max_steps=1"))
    expected = [f"{example.reply}<|end|>" for example in data.examples]
    assert sorted(loss_bearing_texts(made[0], tokenizer_of(model))) == sorted(expected)


@pytest.mark.parametrize("method", ["lora", "dpo"])
@pytest.mark.parametrize(
    ("template", "gap"),
    [(CHAT, ""), (THINKING, ""), (NO_END, ""), (None, " ")],
    ids=["chat", "a thought before the reply", "no mark at the end", "no template"],
)
def test_replies_and_pairs_bear_the_same_loss_whatever_the_template(
    adapt: Adapt,
    model: Path,
    data: TrainingData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    template: str | None,
    gap: str,
    method: str,
) -> None:
    made = spy_on_trainers(monkeypatch)
    few = data.model_copy(update={"examples": data.examples[:3]})
    given = few if method == "lora" else pairs_of(few)
    adapt(quick("max_steps=1", name=method), model=with_template(model, tmp_path / "model", template), data=given)
    replies = [example.reply for example in few.examples]
    expected = replies if method == "lora" else [*replies, *(reply[::-1] for reply in replies)]
    assert sorted(loss_bearing_texts(made[0], tokenizer_of(model))) == sorted(f"{gap}{reply}<|end|>" for reply in expected)


def test_what_the_template_writes_before_a_reply_is_read_and_a_thought_of_ones_own_is_learnt(model: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(with_template(model, tmp_path / "model", THINKING))
    encoder = Encoder(tokenizer, "tiny", lambda _: None)
    plain = encoder.encode("Be kind.", "Hello.", "I hear you.")
    assert tokenizer.decode(plain.context) == (
        "<|system|>\nBe kind.<|end|>\n<|user|>\nHello.<|end|>\n<|assistant|>\n<think>\n\n</think>\n\n"
    )
    assert tokenizer.decode(plain.reply) == "I hear you.<|end|>"
    thought = "<think>\nThey are sad.\n</think>\n\nI hear you."
    assert tokenizer.decode(encoder.encode("Be kind.", "Hello.", thought).reply) == f"{thought}<|end|>"


def test_a_token_that_reaches_from_the_template_into_the_reply_is_the_replys(model: Path, tmp_path: Path) -> None:
    template = CHAT.replace("{{ message['content'] }}", "{{ '>> ' if message['role'] == 'assistant' }}{{ message['content'] }}")
    tokenizer = tokenizer_of(with_template(model, tmp_path / "model", template))
    tokens = Encoder(tokenizer, "tiny", lambda _: None).encode("", "Hello.", "I hear you.")
    assert (tokenizer.decode(tokens.lead), tokenizer.decode(tokens.reply)) == (">>", " I hear you.<|end|>")


@pytest.mark.parametrize(
    ("template", "bos"),
    [(CHAT, False), (THINKING, False), ("<s>" + CHAT, True), (NO_SYSTEM, False), (None, False), (None, True)],
    ids=[
        "chat",
        "a thought before the reply",
        "template writes the beginning",
        "no system message",
        "no template",
        "no template, tokeniser writes the beginning",
    ],
)
def test_a_reply_is_learnt_behind_the_tokens_that_lm_eval_gives_the_model(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    template: str | None,
    bos: bool,  # noqa: FBT001 - parametrised.
) -> None:
    from lm_eval.models.huggingface import HFLM

    folder = make_model(tmp_path / "model", template=template, bos=bos, layers=1)
    seen: list[list[int]] = []

    def look(_: Any, context: Any, attention_mask: Any, **__: Any) -> Any:
        seen.extend(ids[mask.bool()].tolist() for ids, mask in zip(context, attention_mask, strict=True))
        return context

    monkeypatch.setattr(HFLM, "_model_generate", look)
    selection, [strategy] = Selection(split="train", per_culture=1), select_strategies("standard")
    choice = ModelChoice(name=str(folder), batch_size=3)
    generate_replies(choice, [strategy], selection, Generation(max_gen_toks=8), tmp_path / "r.jsonl", lambda: None, lambda _: None)
    encoder = Encoder(tokenizer_of(folder), "tiny", lambda _: None)
    learnt = []
    for instance in select_instances(selection):
        prompt = render(strategy, instance)
        tokens = encoder.encode(prompt.system, prompt.user, "I hear you.")
        assert "I hear you." in tokenizer_of(folder).decode(tokens.reply)
        assert tokens.reply[-1] == 1, "the model learns to stop"
        learnt.append(tokens.prompt)
    assert sorted(learnt) == sorted(seen)


def test_a_template_that_writes_the_prompt_otherwise_behind_a_reply_is_refused(tmp_path: Path) -> None:
    hides = "{% for m in messages %}{{ m['content'] if loop.last else '…' }}{% endfor %}"
    encoder = Encoder(tokenizer_of(make_model(tmp_path, template=hides, layers=1)), "tiny", lambda _: None)
    with pytest.raises(CultureCareError, match="'tiny': its chat template writes a prompt otherwise once a reply follows"):
        encoder.encode("", "Hello.", "I hear you.")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('never') }}", r"cannot write a prompt and a reply \(never\); mend the template"),
        (CHAT.replace("message['content']", "message['content'] + 1"), r"cannot write a prompt and a reply \(can only concatenate str"),
        ("{% for m in messages if m['role'] != 'assistant' %}{{ m['content'] }}{% endfor %}", "leaves replies out"),
    ],
    ids=["raises", "breaks", "no replies"],
)
def test_a_faulty_template_is_said(adapt: Adapt, model: Path, tmp_path: Path, template: str, said: str) -> None:
    with pytest.raises(CultureCareError, match=rf"^model 'model': its chat template {said}"):
        adapt(quick(), model=with_template(model, tmp_path / "model", template))


def test_what_is_too_long_is_left_out_whole_counted_and_said(adapt: Adapt, model: Path, data: TrainingData) -> None:
    lengths = lengths_of(model, data.examples)
    told = Told()
    settings = quick(f"max_length={lengths[-3]}", "max_steps=1")
    record = adapt(settings, told=told).record
    said = f"Left out: 2 of {len(lengths)} records, longer than max_length ({lengths[-3]} tokens)."
    assert said in told.sentences
    assert said in record.notes
    assert record.data.left_out["longer than max_length"] == 2
    assert record.data.examples == len(lengths) - 2
    assert len(record.instance_ids) == len(lengths) - 2
    with pytest.raises(CultureCareError, match=r"not one of 13 records fits into max_length \(16 tokens\); set it higher"):
        adapt(quick("max_length=16"), out="b")


def test_what_is_longer_than_the_models_context_is_left_out_too(
    adapt: Adapt, model: Path, heldout: Sequence[Example], tmp_path: Path
) -> None:
    positions = lengths_of(model, heldout)[-3]
    short_model, told = with_context(model, tmp_path / "gpt", positions), Told()
    record = adapt(quick("max_steps=1", "batch_size=4"), model=short_model, told=told).record
    too_long = record.data.left_out["longer than the context of the model"]
    assert 0 < too_long == 13 - record.data.examples
    for sentence in (
        f"Left out: {too_long} of 13 records, longer than the context of the model ({positions} tokens).",
        f"Left out: 2 of 14 held-out replies, longer than the context of the model ({positions} tokens).",
    ):
        assert sentence in told.sentences
        assert sentence in record.notes
    assert len(record.heldout.instances) == 12


def test_where_nothing_fits_into_the_models_context_it_is_said(adapt: Adapt, model: Path, tmp_path: Path) -> None:
    with pytest.raises(CultureCareError, match=r"not one of 13 records fits into the context of the model \(20 tokens\); take a model"):
        adapt(quick(), model=with_context(model, tmp_path / "gpt", 20))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_examples_have_the_loss_that_they_have_alone(
    adapt: Adapt, data: TrainingData, monkeypatch: pytest.MonkeyPatch, attention: str
) -> None:
    import torch

    made = spy_on_trainers(monkeypatch)
    few = data.model_copy(update={"examples": data.examples[:4]})
    for packing in ("false", "true"):
        changes = (f"packing={packing}", f"attention={attention}", "max_length=4096", "max_steps=1", "dropout=0")
        adapt(quick(*changes), out=packing, data=few)
    losses = []
    for trainer in made:
        trainer.model.eval()
        with torch.no_grad(), trainer.model.disable_adapter():
            batch = trainer.data_collator([trainer.train_dataset[place] for place in range(len(trainer.train_dataset))])
            losses.append(float(trainer.model(**batch, fused_lm_head=True).loss))
    assert len(made[1].train_dataset) < len(made[0].train_dataset)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_packing_is_refused_where_attention_would_mix_examples(adapt: Adapt, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    forward = transformers.LlamaForCausalLM.forward

    def blind(self: Any, *arguments: Any, position_ids: Any = None, **keywords: Any) -> Any:  # noqa: ARG001
        return forward(self, *arguments, **keywords)

    monkeypatch.setattr(transformers.LlamaForCausalLM, "forward", blind)
    with pytest.raises(CultureCareError, match=r"packing: the attention of 'tiny' \(sdpa\) lets examples that share a row see each other"):
        adapt(quick("packing=true"))


@pytest.mark.slow
def test_preferences_are_learnt_against_the_model_without_its_adapter(adapt: Adapt, data: TrainingData) -> None:
    told = Told()
    settings = quick("max_steps=12", "gradient_accumulation=1", "batch_size=4", name="dpo")
    record = adapt(settings, data=pairs_of(data), told=told).record
    assert told.steps[0][2] == pytest.approx(math.log(2), abs=1e-6), "at first nothing is preferred to the reference"
    assert told.steps[-1][2] < math.log(2) - 0.05
    assert (record.training.settings.method, record.data.written_by) == ("dpo", ("somebody/model",))


def test_a_model_without_a_chat_template_learns_preferences_too(adapt: Adapt, data: TrainingData, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", template=None, bos=True, layers=1)
    adapt(quick("max_steps=1", name="dpo"), model=folder, data=pairs_of(data))


@pytest.mark.parametrize("name", ["lora", "dpo"])
def test_an_adapter_of_one_step_has_learnt_something(adapt: Adapt, data: TrainingData, name: str) -> None:
    given = data if name == "lora" else pairs_of(data)
    settings = select_settings(name, ["epochs=1", "gradient_accumulation=13", "rank=4"])
    assert settings.warmup > 0
    made = adapt(settings, data=given)
    assert made.record.steps == 1
    assert any(bool(part.any()) for layer, part in weights(made.folder).items() if "lora_B" in layer), "B begins at 0"


def test_warm_up_is_whole_steps_rounded_down(adapt: Adapt, monkeypatch: pytest.MonkeyPatch) -> None:
    made = spy_on_trainers(monkeypatch)
    settings = quick("epochs=1", "max_steps=null", "warmup=0.7", "scheduler=constant")  # Of 4 steps: 13 examples, 4 each.
    adapt(settings)
    rates = [entry["learning_rate"] for entry in made[0].state.log_history if "learning_rate" in entry]
    assert rates == pytest.approx([0, settings.learning_rate / 2, settings.learning_rate, settings.learning_rate])


def test_the_terminal_counts_one_step_as_one(adapt: Adapt, data: TrainingData, heldout: Sequence[Example]) -> None:
    one = data.model_copy(update={"examples": data.examples[:1]})
    record, screen = adapt(quick("max_steps=1"), data=one, heldout=heldout[:1]).record, io.StringIO()
    print_adaptation(record, Console(file=screen, width=200))
    assert "(rank 4, 1 step, " in screen.getvalue()
    assert "1 example of 1 post from train" in screen.getvalue()
    assert "Loss on 1 held-out reply, in nats a token" in screen.getvalue()


def test_every_step_is_told_with_its_loss(adapt: Adapt) -> None:
    told = Told()
    record = adapt(quick(), told=told).record
    assert [(step, total) for step, total, _ in told.steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [(point.step, point.loss) for point in record.losses] == [(step, loss) for step, _, loss in told.steps]


def test_the_terminal_shows_steps_loss_and_time_left() -> None:
    screen = io.StringIO()
    with terminal_progress(Console(file=screen, force_terminal=True, width=120)) as progress:
        progress.say("Training on 13 records.")
        progress.step(3, 12, 2.5)
    assert "Training on 13 records." in screen.getvalue()
    assert re.search(r"Steps \(loss 2\.500\).*3/12.*-?[\d:-]+", screen.getvalue())


@pytest.mark.slow
def test_training_prints_nothing_and_reports_to_nobody(
    adapt: Adapt, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub.utils import _telemetry

    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(_telemetry, "_start_telemetry_thread", lambda: pytest.fail("a report to trl's makers was about to be sent"))
    adapt(quick("packing=true"))
    assert capfd.readouterr() == ("", "")


# --- Held-out loss ---------------------------------------------------------------------------------------------------------------


def test_held_out_replies_are_the_good_ones_of_the_sample_in_all_cultures() -> None:
    examples = heldout_examples(["standard"])
    good = [instance for instance in load_instances("sample") if (instance.response.empathy_score or 0) >= 4]
    assert {example.instance_id for example in examples} == {instance.id for instance in good}
    assert len({example.culture for example in examples}) == 7
    assert {example.strategy for example in heldout_examples(["culture", "mine"])} == {"culture"}
    assert {example.strategy for example in heldout_examples(["mine"])} == {"standard"}


@pytest.mark.parametrize("template", [CHAT, THINKING], ids=["chat", "a thought before the reply"])
def test_a_replys_loss_is_that_of_the_plain_model(model: Path, heldout: Sequence[Example], tmp_path: Path, template: str) -> None:
    import torch
    import transformers

    plain = transformers.AutoModelForCausalLM.from_pretrained(model)
    encoder = Encoder(tokenizer_of(with_template(model, tmp_path / "model", template)), "tiny", lambda _: None)
    encoded = [encoder.encode(example.system, example.user, example.reply) for example in heldout]
    expected = []
    for tokens in encoded:
        ids = torch.tensor([tokens.context + tokens.reply])
        labels = ids.clone()
        labels[:, : len(tokens.context)] = -100
        with torch.no_grad():
            expected.append(float(plain(input_ids=ids, labels=labels).loss) * len(tokens.reply))
    assert reply_losses(plain, encoded, 2) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_the_loss_before_and_after_is_compared_instance_by_instance(adapt: Adapt, heldout: Sequence[Example]) -> None:
    loss = adapt(quick("max_steps=20")).record.heldout
    assert len(loss.instances) == loss.comparison.n == len(heldout)
    assert loss.adapted < loss.base
    assert loss.comparison.difference == pytest.approx(loss.adapted - loss.base)
    assert loss.comparison.low is not None
    assert loss.comparison.high is not None
    assert loss.comparison.low < loss.adapted - loss.base < loss.comparison.high < 0
    assert set(loss.per_culture) == {example.culture for example in heldout}


def test_what_is_held_out_is_not_trained_on(adapt: Adapt, data: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(CultureCareError, match="is among the held-out ones and cannot be trained on as well"):
        adapt(quick(), heldout=data.examples[:1])
    assert not list(tmp_path.iterdir())


# --- Killed and resumed ----------------------------------------------------------------------------------------------------------

KILLED = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from culturecare_harness.adaptation.examples import Example
    from culturecare_harness.adaptation.settings import Settings
    from culturecare_harness.adaptation.sources import TrainingData
    from culturecare_harness.adaptation.training import train
    from culturecare_harness.records import read_records

    model, given, out, when = sys.argv[1:]

    class Killer:
        def say(self, sentence):
            if sentence.startswith(when):
                os.kill(os.getpid(), signal.SIGKILL)
        def advance(self, finished, total): ...
        def step(self, finished, total, loss):
            if str(finished) == when:
                os.kill(os.getpid(), signal.SIGKILL)

    [data], [settings] = (read_records(Path(given) / f"{kind.__name__}.jsonl", kind) for kind in (TrainingData, Settings))
    train(model, data, settings, Path(out), Killer(), heldout=read_records(Path(given) / "Example.jsonl", Example))
    """
)


class Kill(Protocol):
    """Trains in a process of its own that kills itself, by SIGKILL, at a step or a sentence."""

    def __call__(
        self,
        when: str,
        settings: Settings,
        *,
        out: str = ...,
        model: str | Path = ...,
        data: TrainingData = ...,
        heldout: Sequence[Example] = ...,
    ) -> None: ...


@pytest.fixture
def kill(model: Path, data: TrainingData, heldout: Sequence[Example], tmp_path: Path) -> Kill:
    usual_model, usual_data, usual_heldout = model, data, heldout

    def run(
        when: str,
        settings: Settings,
        *,
        out: str = "a",
        model: str | Path = usual_model,
        data: TrainingData = usual_data,
        heldout: Sequence[Example] = usual_heldout,
    ) -> None:
        given = tmp_path / "given"
        for records in ([data], [settings], heldout):
            write_records(given / f"{type(records[0]).__name__}.jsonl", records)
        command = [sys.executable, "-c", KILLED, str(model), str(given), str(tmp_path / out), when]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        assert ended.returncode == -signal.SIGKILL, ended.stderr

    return run


DROPPING = ("dropout=0.3", "batch_size=2", "gradient_accumulation=1", "max_steps=10", "checkpoint_every=3")
"""Ten steps of thirteen examples, two at a time: the second epoch begins at step 8. Dropout needs the random numbers restored."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "step"), [("5", 3), ("9", 6), ("Loss on 14 held-out replies after", 10)], ids=["first epoch", "second epoch", "last step"]
)
def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_been(adapt: Adapt, kill: Kill, tmp_path: Path, when: str, step: int) -> None:
    settings = quick(*DROPPING)
    kill(when, settings, out="killed")
    assert not (tmp_path / "killed").exists()
    told = Told()
    resumed = adapt(settings, out="killed", told=told)
    whole = adapt(settings, out="whole")
    assert f"Going on from the checkpoint at step {step} of 10." in told.sentences
    assert not [sentence for sentence in told.sentences if "before training" in sentence], "the base's loss was kept"
    assert [taken for taken, _, _ in told.steps] == list(range(step + 1, 11))
    assert_equal_weights(resumed.folder, whole.folder)
    assert [point.loss for point in resumed.record.losses] == pytest.approx([point.loss for point in whole.record.losses], rel=1e-4)
    assert resumed.record.heldout.adapted == pytest.approx(whole.record.heldout.adapted, rel=1e-5)
    assert not work_folder(tmp_path / "killed").exists(), "checkpoints go once the adapter is there"


@pytest.mark.slow
def test_a_half_written_checkpoint_is_passed_over(adapt: Adapt, kill: Kill, tmp_path: Path) -> None:
    settings = quick(*DROPPING)
    kill("8", settings)
    work = work_folder(tmp_path / "a")
    newest = work / "checkpoint-6"
    shutil.copytree(newest, work / "checkpoint-7")
    (work / "checkpoint-7" / "complete.json").unlink()
    weights_file = newest / "adapter_model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:-100])  # As after a power cut.
    told = Told()
    adapt(settings, told=told)
    assert "Going on from the checkpoint at step 3 of 10." in told.sentences


@pytest.mark.slow
def test_where_no_checkpoint_is_whole_training_begins_anew(adapt: Adapt, tmp_path: Path) -> None:
    work = left_behind(tmp_path / "a", adapt(quick(), out="b").record, "checkpoint-4/optimizer.pt")
    assert latest_checkpoint(work) is None
    told = Told()
    adapt(quick(), told=told)
    assert told.steps[0][0] == 1


def left_behind(out: Path, of: AdaptationRecord, *files: str) -> Path:
    """The work folder that a killed process of that training might leave."""
    work = work_folder(out)
    write_json(work / "training.json", of.training)
    put(work, *files)
    return work


def put(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("mine", encoding="utf-8")


def test_an_adapter_that_is_there_is_not_trained_again(adapt: Adapt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = adapt(quick())
    monkeypatch.setattr(training, "load_base_model", lambda *_: pytest.fail("nothing is loaded"))
    again = adapt(quick("checkpoint_every=1"))
    assert (first.trained_now, again.trained_now) == (True, False)
    assert again.record == first.record
    assert not work_folder(tmp_path / "a").exists()


def test_what_a_process_left_that_was_killed_while_it_cleared_up_goes(adapt: Adapt, tmp_path: Path) -> None:
    made = adapt(quick("max_steps=1"))
    for files in (("checkpoint-1/optimizer.pt", "README.md", "adapter/README.md"), ()):
        work = left_behind(tmp_path / "a", made.record, ".lock", *files)
        assert not adapt(quick("max_steps=1")).trained_now
        assert not work.exists()
    put(work, ".lock")  # Killed behind the manifest, which goes last.
    adapt(quick("max_steps=1"))
    assert not work.exists()
    assert made.folder.exists()


def test_a_finished_adapter_takes_nothing_away_that_is_not_its_own(adapt: Adapt, tmp_path: Path) -> None:
    made = adapt(quick("max_steps=1"))
    work = work_folder(tmp_path / "a")
    put(work, "letters.jsonl", "checkpoint-500/model.bin")
    assert not adapt(quick("max_steps=1")).trained_now
    assert (work / "checkpoint-500" / "model.bin").exists()
    other = made.record.training.model_copy(update={"revision": "another"})
    left_behind(tmp_path / "a", made.record.model_copy(update={"training": other}))
    assert not adapt(quick("max_steps=1")).trained_now
    assert (work / "letters.jsonl").exists()


@pytest.mark.parametrize("file", ["letters.jsonl", "checkpoint-500/model.bin", "training.json"])
def test_a_folder_of_ones_own_is_no_work_folder(adapt: Adapt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    monkeypatch.setattr(training, "load_base_model", lambda *_: pytest.fail("nothing is loaded"))
    work = work_folder(tmp_path / "a")
    put(work, file)
    with pytest.raises(CultureCareError, match=rf"a\.training.*({file.partition('/')[0]}' and is no training's|is not valid JSON)"):
        adapt(quick())
    assert (work / file).read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("change", [{"licence": "all rights reserved"}, {"instance_id": "another"}, {"culture": "german"}], ids=str)
def test_an_adapter_is_that_of_other_data_where_its_record_would_tell_otherwise(
    adapt: Adapt, data: TrainingData, change: dict[str, str]
) -> None:
    adapt(quick("max_steps=1"))
    changed = tuple(example.model_copy(update=change) for example in data.examples)
    with pytest.raises(CultureCareError, match=r"holds another adapter \(its data differ\)"):
        adapt(quick("max_steps=1"), data=data.model_copy(update={"examples": changed}))


def test_an_adapter_that_is_no_longer_whole_is_not_said_to_be_there(adapt: Adapt) -> None:
    folder = adapt(quick("max_steps=1")).folder
    file = folder / "adapter_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(CultureCareError, match=r"a: the adapter that was made here is no longer whole \(adapter_model\.safetensors: "):
        adapt(quick("max_steps=1"))
    file.unlink()
    with pytest.raises(
        CultureCareError, match=r"no longer whole \(adapter_model\.safetensors is gone\); delete this folder to train it anew"
    ):
        adapt(quick("max_steps=1"))
    file.write_bytes(whole)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(CultureCareError, match=r"no longer whole \(adapter_config\.json is gone"):
        adapt(quick("max_steps=1"))


@pytest.mark.parametrize("done", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["an adapter", "an interrupted training"])
def test_a_folder_of_another_training_is_refused_and_said_why(
    adapt: Adapt,
    kill: Kill,
    model: Path,
    data: TrainingData,
    tmp_path: Path,
    done: bool,  # noqa: FBT001 - parametrised.
) -> None:
    if done:
        adapt(quick())
    else:
        kill("3", quick())  # Behind the first checkpoint.
    other = make_model(tmp_path / "other", layers=1)
    fewer = data.model_copy(update={"examples": data.examples[:4]})
    for (base, given, settings), fields in [
        ((model, data, quick("rank=8", "seed=2")), "rank, seed"),
        ((model, fewer, quick()), "data"),
        ((other, data, quick()), "model, model_identity"),
    ]:
        with pytest.raises(CultureCareError, match=rf"holds another (adapter|training) \(its {fields} differ\); choose another"):
            adapt(settings, model=base, data=given)


def test_a_call_that_failed_before_it_learnt_anything_is_in_nobodys_way(adapt: Adapt, tmp_path: Path) -> None:
    with pytest.raises(CultureCareError, match="nowhere"):
        adapt(quick(), model=tmp_path / "nowhere")
    assert adapt(quick("max_steps=1")).trained_now


def test_a_folder_with_something_else_is_left_alone(adapt: Adapt, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(CultureCareError, match="holds something that is no adapter of this command"):
        adapt(quick(), out=".")


def test_two_processes_do_not_train_in_one_folder(adapt: Adapt) -> None:
    class Second(Told):
        def step(self, finished: int, total: int, loss: float) -> None:
            super().step(finished, total, loss)
            with pytest.raises(CultureCareError, match="another process is at this training"):
                adapt(quick())

    told = Second()
    adapt(quick("max_steps=1"), out="b")
    adapt(quick(), told=told)
    assert told.steps


# --- What is written -------------------------------------------------------------------------------------------------------------


def front_matter(card: str) -> dict[str, Any]:
    _, front, _ = card.split("---\n", 2)
    return dict(yaml.safe_load(front))


def test_an_adapters_folder_holds_adapter_record_and_card(adapt: Adapt, data: TrainingData) -> None:
    made = adapt(quick())
    assert sorted(path.name for path in made.folder.iterdir()) == [CARD, ADAPTATION, "adapter_config.json", "adapter_model.safetensors"]
    record = read_adaptation(made.folder)
    assert record == made.record
    assert record.instance_ids == data.instance_ids
    assert record.data.examples == len(data.examples) == 13
    assert record.data.licences == {"CC-BY-4.0": 13}
    assert record.data.synthetic
    assert record.permission is None
    assert record.settings_hash == quick().hash
    assert {"trl", "peft", "torch", "transformers", "culturecare"} <= set(record.versions)


def test_no_path_of_this_machine_and_no_post_stands_in_an_adapters_folder(adapt: Adapt, data: TrainingData, tmp_path: Path) -> None:
    folder = adapt(quick("max_steps=1")).folder
    for name in (CARD, ADAPTATION, "adapter_config.json"):
        text = (folder / name).read_text(encoding="utf-8")
        assert leaks(text) is None, name
        assert str(tmp_path) not in text
        assert not [example.instance_id for example in data.examples if example.post[:60] in text or example.reply[:60] in text]
    assert json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"] == "tiny"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"licence": "https://wiki.clinic.local/licences/7"}, "licence 'https://wiki.clinic.local/licences/7': a private address"),
        ({"instance_id": "/letters/2024/1.txt"}, "record of instance '/letters/2024/1.txt': instance_id '/letters/2024/1.txt': a path"),
        ({"language": "/home/me/de"}, "language '/home/me/de': a path"),
        ({"culture": "/home/me/german"}, "culture '/home/me/german': a path"),
        ({"strategy": "~/mine/plain"}, "strategy '~/mine/plain': a path"),
        ({"written": "/models/of/mine"}, "written.model '/models/of/mine': a path"),
        ("Read from /home/me/posts.jsonl.", "the data's notes: a path"),
    ],
    ids=str,
)
def test_what_would_tell_of_this_machine_is_refused_before_anything_is_loaded(
    adapt: Adapt, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str] | str, said: str
) -> None:
    monkeypatch.setattr(training, "load_base_model", lambda *_: pytest.fail("nothing is loaded"))
    if isinstance(change, str):
        telling = data.model_copy(update={"notes": (change,)})
    else:
        if name := change.get("written"):
            by = Written(model=name, strategy="cga", judge="smollm2", emotional=3.0, cultural=3.0)
            changed = data.examples[4].model_copy(update={"written": by})
        else:
            changed = data.examples[4].model_copy(update=change)
        telling = data.model_copy(update={"examples": (*data.examples[:4], changed, *data.examples[5:])})
    with pytest.raises(CultureCareError, match=f"{re.escape(said)} stands in what the adapter's record would tell"):
        adapt(quick(), data=telling)
    assert not list(tmp_path.iterdir())


def test_the_card_is_what_the_hub_reads(adapt: Adapt, tmp_path: Path) -> None:
    record = adapt(quick("max_steps=1")).record
    card = (tmp_path / "a" / CARD).read_text(encoding="utf-8")
    front = front_matter(card)
    assert (front["library_name"], front["license"]) == ("peft", "cc-by-4.0")
    assert "base_model" not in front, "a folder is no model of the Hub"
    assert "no therapist" in card
    assert f"| learning_rate | {record.training.settings.learning_rate} |" in card
    assert f"{record.heldout.base:.3f}" in card
    of_hub = record.training.model_copy(update={"model": "org/base-7B"})
    assert front_matter(render_card(record.model_copy(update={"training": of_hub})))["base_model"] == "org/base-7B"
    of_wheel = record.training.model_copy(update={"model": PACKAGED})
    card = render_card(record.model_copy(update={"training": of_wheel}))
    assert front_matter(card)["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert f"culturecare eval --model {PACKAGED} --adapter DIR" in card


def test_a_licence_of_ones_own_is_told_as_other(adapt: Adapt) -> None:
    record = adapt(quick("max_steps=1")).record
    mixed = record.data.model_copy(update={"licences": {"CC-BY-4.0": 3, "by a | contract": 2}})
    card = render_card(record.model_copy(update={"data": mixed}))
    assert (front_matter(card)["license"], front_matter(card)["license_name"]) == ("other", "as-the-data-says")
    assert r"by a \| contract 2" in card


def test_scores_of_the_benchmark_find_their_place(adapt: Adapt, tmp_path: Path) -> None:
    folder = adapt(quick("max_steps=1")).folder
    assert "Not measured yet" in (folder / CARD).read_text(encoding="utf-8")
    row = BenchmarkScore(strategy="cga", metric="cultural", base=2.0, adapted=2.5, difference=0.5, low=0.25, high=0.75, n=56)
    scores = BenchmarkScores(split="sample", dataset_revision="0" * 16, judge="smollm2", notes=("No measure.",), scores=(row,))
    with_scores(folder, scores)
    card = (folder / CARD).read_text(encoding="utf-8")
    assert "| cga | cultural | 2.000 | 2.500 | +0.500 [+0.250, +0.750] | 56 |" in card
    assert "Not measured yet" not in card
    assert read_adaptation(folder).scores == scores
    with pytest.raises(CultureCareError, match=r"adaptation\.json: is not there; name the folder of an adapter"):
        with_scores(tmp_path, scores)


def test_a_long_curve_is_thinned_to_means() -> None:
    points = thin_losses([(step, float(step)) for step in range(1, 1001)])
    assert len(points) == 200
    assert (points[0].step, points[0].loss) == (5, 3.0)
    assert thin_losses([(1, 2.0)])[0].loss == 2.0


def test_each_culture_gets_an_adapter_of_its_own(model: Path, data: TrainingData, tmp_path: Path) -> None:
    two = data.model_copy(update={"examples": tuple(one for one in data.examples if one.culture in {"german", "jewish"})})
    told = Told()
    put(tmp_path / "all.per-culture", "mine.txt")
    made = train_per_culture(str(model), two, quick("max_steps=1"), tmp_path / "all", told)
    assert set(made) == {"german", "jewish"}
    for culture, adapter in made.items():
        assert adapter.folder == tmp_path / "all" / culture
        assert adapter.record.data.per_culture == {culture: 2}
        assert adapter.record.training.culture == culture
        assert len(adapter.record.heldout.per_culture) == 7
    assert sum("before training" in sentence for sentence in told.sentences) == 1, "the base's loss is measured once"
    assert {adapter.record.heldout.base for adapter in made.values()} == {made["german"].record.heldout.base}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "all.per-culture"]
    assert (tmp_path / "all.per-culture" / "mine.txt").exists()
    assert not any(
        adapter.trained_now for adapter in train_per_culture(str(model), two, quick("max_steps=1"), tmp_path / "all", told).values()
    )


# --- What cannot be --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere"])
def test_a_model_that_is_not_there_is_said(adapt: Adapt, name: str) -> None:
    with pytest.raises(CultureCareError, match="there is no such folder"):
        adapt(quick(), model=name)


def test_a_folder_that_is_no_model_is_said(adapt: Adapt, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CultureCareError, match=r"^model .* cannot be loaded: [^\n]+$"):
        adapt(quick(), model=tmp_path / "empty")


def cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def other_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"These are no weights.")


def other_layers(folder: Path) -> None:
    change_config(folder, hidden_size=64)


def more_layers(folder: Path) -> None:
    change_config(folder, num_hidden_layers=json.loads((folder / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"] + 1)


def unknown_function(folder: Path) -> None:
    change_config(folder, hidden_act="nonesuch")


def impossible_heads(folder: Path) -> None:
    change_config(folder, hidden_size=33)


def other_tokens(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")


@pytest.mark.parametrize(
    "damage", [cut_weights, other_weights, other_layers, more_layers, unknown_function, impossible_heads, other_tokens]
)
def test_a_model_whose_files_are_damaged_is_said(adapt: Adapt, model: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    shutil.copytree(model, tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(CultureCareError, match=r"^model .*model' cannot be loaded: [^\n]+$"):
        adapt(quick(), model=tmp_path / "model")


@pytest.mark.parametrize("target", ["q_projj", "lm_head"])
def test_a_layer_that_is_not_there_is_said_with_those_there_are(adapt: Adapt, target: str) -> None:
    with pytest.raises(CultureCareError, match=rf"has no linear layer '{target}' within; it has down_proj, gate_proj, k_proj"):
        adapt(quick(f"target_modules=[v_proj, {target}]"))


def test_an_adapter_goes_on_the_layers_that_are_named(adapt: Adapt) -> None:
    folder = adapt(quick("target_modules=[q_proj]", "max_steps=1")).folder
    assert all("q_proj" in name for name in weights(folder))


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("dpo", "examples", "settings 'dpo' train by dpo on preferences, but train holds examples: take the settings 'lora'"),
        ("lora", "pairs", "settings 'lora' train by sft on examples, but train holds preferences: take the settings 'dpo'"),
        ("lora", "nothing", "but train holds nothing"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_said(adapt: Adapt, data: TrainingData, name: str, kind: str, said: str) -> None:
    given = {"examples": data, "pairs": pairs_of(data), "nothing": data.model_copy(update={"examples": ()})}[kind]
    with pytest.raises(CultureCareError, match=said):
        adapt(quick(name=name), data=given)


@pytest.mark.parametrize("kind", ["CUDA", "CPU"])
def test_where_memory_runs_out_the_settings_to_lower_are_said(
    adapt: Adapt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    import torch
    import trl

    error = (
        torch.OutOfMemoryError("CUDA out of memory.")
        if kind == "CUDA"
        else RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
    )

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(trl.SFTTrainer, "training_step", fail)
    with pytest.raises(CultureCareError, match="memory ran out: lower batch_size and raise gradient_accumulation as much, set gradient_"):
        adapt(quick("batch_size=2"))
    assert not (tmp_path / "a").exists()


def test_a_loss_that_is_not_a_number_stops_training_and_no_adapter_is_written(
    adapt: Adapt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    import trl

    step = trl.SFTTrainer.training_step

    def spoiled(self: Any, *arguments: Any, **keywords: Any) -> Any:
        loss = step(self, *arguments, **keywords)
        return loss * torch.nan if self.state.global_step == 2 else loss

    monkeypatch.setattr(trl.SFTTrainer, "training_step", spoiled)
    with pytest.raises(CultureCareError, match="the loss at step 3 is not a number, and no adapter was written: lower learning_rate"):
        adapt(quick("checkpoint_every=1"))
    assert not (tmp_path / "a").exists()
    found = latest_checkpoint(work_folder(tmp_path / "a"))
    assert found is not None
    assert found[1].step == 2, "no checkpoint holds what came of it"


@pytest.mark.parametrize("module", ["trl", "peft"])
def test_a_missing_module_is_said_with_its_extra(adapt: Adapt, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    hide(monkeypatch, module)
    with pytest.raises(CultureCareError, match=rf"needs the module '{module}'.*pip install 'culturecare\[adapt\]'"):
        adapt(quick())


def hide(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == module else find(name, *rest))


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = "import culturecare_harness.adaptation.training, sys; print(sorted({'torch', 'transformers', 'trl', 'peft'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"


# --- Tracking --------------------------------------------------------------------------------------------------------------------

TRACKED = textwrap.dedent(
    """
    import socket, sys
    from pathlib import Path

    def refuse(*_, **__):
        raise AssertionError("tracking stays on this machine")
    socket.socket.connect = refuse

    from culturecare_harness.adaptation.heldout import heldout_examples
    from culturecare_harness.adaptation.settings import select_settings
    from culturecare_harness.adaptation.sources import load_training_data
    from culturecare_harness.adaptation.training import train

    class Silent:
        def say(self, sentence): ...
        def advance(self, finished, total): ...
        def step(self, finished, total, loss): ...

    model, out = sys.argv[1:]
    settings = select_settings("lora", ["max_steps=3", "rank=2"])
    train(model, load_training_data("train"), settings, Path(out), Silent(), track=True, heldout=heldout_examples(["standard"])[:2])
    """
)


@pytest.mark.slow
def test_tracking_writes_on_this_machine_alone(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio", reason="needs the extra `tracking`")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "tracked"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    command = [sys.executable, "-c", TRACKED, str(model), str(tmp_path / "a")]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    code = (
        "from trackio.sqlite_storage import SQLiteStorage as storage; [run] = storage.get_runs('culturecare');"
        "print(*(log['loss'] for log in storage.get_logs('culturecare', run) if 'loss' in log))"
    )
    read = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    losses = [point.loss for point in read_adaptation(tmp_path / "a").losses]
    assert [float(loss) for loss in read.stdout.split()] == pytest.approx(losses)


def test_tracking_elsewhere_is_refused(adapt: Adapt, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio", reason="needs the extra `tracking`")
    monkeypatch.setenv("TRACKIO_SPACE_ID", "me/space")
    with pytest.raises(CultureCareError, match="TRACKIO_SPACE_ID is set, but tracking stays on this machine"):
        adapt(quick(), track=True)


def test_a_missing_tracker_is_said_with_its_extra(adapt: Adapt, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "trackio")
    with pytest.raises(CultureCareError, match=r"needs the module 'trackio'.*pip install 'culturecare\[tracking\]'"):
        adapt(quick(), track=True)


# --- Devices ---------------------------------------------------------------------------------------------------------------------


def has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_cuda")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("quantisation=nf4", "quantisation 'nf4' needs a CUDA device, and there is none here: set quantisation=none"),
        ("precision=bf16", "precision 'bf16' needs a CUDA device, and there is none here: set precision=auto"),
    ],
)
def test_what_needs_a_cuda_device_is_refused_where_there_is_none(adapt: Adapt, change: str, said: str) -> None:
    with pytest.raises(CultureCareError, match=said):
        adapt(quick(change))


@pytest.mark.usefixtures("no_cuda")
def test_automatic_quantisation_becomes_plain_lora_and_is_said(adapt: Adapt) -> None:
    told = Told()
    record = adapt(quick("max_steps=1", name="qlora"), told=told).record
    assert "There is no CUDA device, so that the base model is not quantised: this is plain LoRA." in told.sentences
    assert (record.device.quantisation, record.device.precision) == ("none", "float32")
    assert any("plain LoRA" in note for note in record.notes)


def test_a_missing_quantiser_is_said_with_its_extra(adapt: Adapt, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    hide(monkeypatch, "bitsandbytes")
    with pytest.raises(CultureCareError, match=r"needs the module 'bitsandbytes'.*pip install 'culturecare\[qlora\]'"):
        adapt(quick(name="qlora"))


def test_several_gpus_are_refused(adapt: Adapt, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(CultureCareError, match="2 GPUs are visible, and training uses one: set CUDA_VISIBLE_DEVICES=0"):
        adapt(quick())


@pytest.mark.slow
def test_bf16_trains_on_a_gpu(adapt: Adapt) -> None:
    if not has_cuda():
        pytest.skip(f"bf16 {WITHOUT_CUDA}")
    settings = quick("max_steps=20", "gradient_checkpointing=true")
    record = adapt(settings).record
    assert (record.device.kind, record.device.precision) == ("cuda", "bf16")
    assert record.heldout.adapted < record.heldout.base


@pytest.mark.slow
def test_a_base_model_in_four_bits_trains_on_a_gpu(adapt: Adapt) -> None:
    if not has_cuda():
        pytest.skip(f"QLoRA {WITHOUT_CUDA}")
    pytest.importorskip("bitsandbytes", reason="needs the extra `qlora`")
    settings = select_settings("qlora", ["max_steps=6", "gradient_accumulation=2"])
    record = adapt(settings, model=PACKAGED, data=load_training_data("train"), heldout=None).record
    assert record.device.quantisation == "nf4"
    assert record.heldout.adapted < record.heldout.base


# --- The packaged model ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_packaged_model_learns_is_killed_goes_on_and_is_loaded_by_lm_eval(
    adapt: Adapt, kill: Kill, whole_heldout: Sequence[Example]
) -> None:
    from lm_eval.api.instance import Instance as Request
    from lm_eval.models.huggingface import HFLM

    from culturecare_harness.packaged import packaged_model

    settings = select_settings("lora", ["max_steps=3", "checkpoint_every=1", "learning_rate=5e-4"])
    whole = load_training_data("train")
    kill("3", settings, model=PACKAGED, data=whole, heldout=whole_heldout)
    told = Told()
    made = adapt(settings, model=PACKAGED, told=told, data=whole, heldout=whole_heldout)
    assert "Going on from the checkpoint at step 2 of 3." in told.sentences
    assert made.record.training.model == PACKAGED
    loss = made.record.heldout
    assert loss.adapted < loss.base
    assert loss.comparison.high is not None
    assert loss.comparison.high < 0, "lower by more than chance"
    # Loaded by lm-eval, it gives the reply the likelihood that the record has.
    example = whole_heldout[0]
    language_model = HFLM(pretrained=str(packaged_model()), peft=str(made.folder), device="cpu", batch_size=1)
    encoder = Encoder(language_model.tokenizer, PACKAGED, lambda _: None)
    prompt = encoder.prompt_text(example.system, example.user)
    [(likelihood, _)] = language_model.loglikelihood(
        [Request(request_type="loglikelihood", doc={}, arguments=(prompt, f"{example.reply}<|im_end|>"), idx=0)]
    )
    [expected] = [one.adapted * one.tokens for one in loss.instances if one.instance_id == example.instance_id]
    assert -likelihood == pytest.approx(expected, rel=1e-3)
