"""Training an adapter: LoRA by peft, on replies by trl's SFT trainer or on pairs by its DPO trainer, resumed where it was killed.

What is trained on, examples and pairs alike, is tokenised by `encoding`, so that a model learns behind just the tokens that lm-eval gives
it at use, and its loss is that of the reply's tokens alone.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.util
import math
import os
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

from culturecare import CultureCareError, Record, parse_record
from culturecare_harness.adaptation import checkpoints
from culturecare_harness.adaptation.base_model import (
    Device,
    check_target_modules,
    checkpoints_gradients,
    choose_device,
    context_length,
    load_base_model,
    memory_errors_named,
    quiet,
    require_modules,
    shown_model,
)
from culturecare_harness.adaptation.card import write_card
from culturecare_harness.adaptation.encoding import Encoder, ReplyTokens, common_start
from culturecare_harness.adaptation.examples import Example, Preference
from culturecare_harness.adaptation.heldout import HeldOutLoss, compare_losses, heldout_examples, reply_losses
from culturecare_harness.adaptation.leakage import post_hash
from culturecare_harness.adaptation.record import (
    ADAPTATION,
    AdaptationRecord,
    DataRecord,
    TrainingIdentity,
    data_record,
    read_adaptation,
    refuse_leaks,
    thin_losses,
    told_of,
    training_versions,
)
from culturecare_harness.counting import counted
from culturecare_harness.generate import ModelChoice
from culturecare_harness.records import Hash, digest, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from culturecare_harness.adaptation.settings import Settings
    from culturecare_harness.adaptation.sources import TrainingData
    from culturecare_harness.progress import TrainingProgress

__all__ = ["TrainedAdapter", "train", "train_per_culture"]

_BASE_LOSSES = "heldout_base.json"
_ADAPTER = "adapter"
_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"  # As peft names them.


@dataclasses.dataclass(frozen=True, slots=True)
class TrainedAdapter:
    """An adapter that is done.

    Attributes:
        folder: Its folder, as peft and lm-eval load it.
        record: How it was made.
        trained_now: Whether this call trained it; false where it was there already.
    """

    folder: Path
    record: AdaptationRecord
    trained_now: bool


@dataclasses.dataclass(frozen=True, slots=True)
class _Job:
    """What a training needs to know that does not change on its way."""

    model: str
    revision: str | None
    settings: Settings
    device: Device
    data: TrainingData
    heldout: Sequence[Example]
    identity: TrainingIdentity
    progress: TrainingProgress
    track: bool
    base_losses: dict[str, list[float]]


class _Limit(NamedTuple):
    """The most tokens that a prompt and its reply may have, what sets it, and how it is raised."""

    tokens: float
    name: str
    remedy: str

    @property
    def exceeded(self) -> str:
        """Why a record is left out."""
        return f"longer than {self.name}"

    def left_out(self, number: int, total: int, records: str) -> tuple[str, ...]:
        """A sentence that says how many are left out, where any is."""
        return (f"Left out: {number} of {total} {records}, {self.exceeded} ({self.tokens} tokens).",) if number else ()


class _Fitting(NamedTuple):
    """What of the data fits, its tokens (one sequence an example, two a pair), and a description of it."""

    used: list[Example | Preference]
    encoded: list[tuple[ReplyTokens, ...]]
    described: DataRecord
    limit: _Limit
    notes: tuple[str, ...]


def train(
    model: str,
    data: TrainingData,
    settings: Settings,
    out: Path,
    progress: TrainingProgress,
    *,
    track: bool = False,
    revision: str | None = None,
    heldout: Sequence[Example] | None = None,
    culture: str | None = None,
    base_losses: dict[str, list[float]] | None = None,
) -> TrainedAdapter:
    """Trains an adapter, or goes on with a training that was interrupted.

    Args:
        model: Base model: Hub name, folder, or `packaged:smollm2`.
        data: Examples (method `sft`) or preferences (`dpo`), through the gate and the leak check.
        settings: How to train.
        out: The adapter's folder, made once it is done; until then `OUT.training` beside it holds the checkpoints.
        progress: Told how it gets on.
        track: Whether losses go to trackio on this machine, too.
        revision: Revision of the base model on the Hub, null for the newest.
        heldout: Replies on which the loss is measured before and after; null for the good ones of split `sample`.
        culture: The one culture that the data are of, null for any.
        base_losses: What base models lost on held-out replies in earlier trainings, by what it is of; this one's is put there, too.

    Returns:
        The adapter; one that is there already is not trained again.

    Raises:
        CultureCareError: Something that is needed is not there, the folder holds something else, or training failed.
    """
    require_modules()
    if track:
        _require_tracking()
    out = out.expanduser().resolve()
    heldout = heldout_examples(_strategies(data)) if heldout is None else heldout
    _check_data(data, settings, heldout)
    device = choose_device(settings, progress.say)
    identity = _identity(model, revision, settings, device, data, heldout, culture)
    refuse_leaks(told_of(identity, data, heldout))
    job = _Job(model, revision, settings, device, data, heldout, identity, progress, track, {} if base_losses is None else base_losses)
    found = _finished(out, identity)
    if not found:
        with checkpoints.claimed(out, identity) as work:
            found = _finished(out, identity) or _train_and_publish(job, work, out)  # Another process may have ended it meanwhile.
    checkpoints.clear(out, identity)
    return found


def _train_and_publish(job: _Job, work: Path, out: Path) -> TrainedAdapter:
    with quiet(), memory_errors_named(job.settings):
        record = _train(job, work)
    checkpoints.publish(work / _ADAPTER, out)
    return TrainedAdapter(out, record, trained_now=True)


def train_per_culture(
    model: str,
    data: TrainingData,
    settings: Settings,
    out: Path,
    progress: TrainingProgress,
    *,
    track: bool = False,
    revision: str | None = None,
) -> dict[str, TrainedAdapter]:
    """Trains one adapter a culture, each in `OUT/<culture>` and each resumed by itself.

    Held-out loss is measured on all cultures, so that it shows, too, what an adapter does to those that it is not for.

    Args:
        model: As for `train`.
        data: As for `train`.
        settings: As for `train`.
        out: Folder of the adapters' folders.
        progress: As for `train`.
        track: As for `train`.
        revision: As for `train`.

    Returns:
        The adapters by culture.

    Raises:
        CultureCareError: As for `train`.
    """
    out = out.expanduser().resolve()
    if (out / ADAPTATION).is_file():
        raise CultureCareError(f"{out}: is an adapter already; choose another folder with --out for one adapter a culture")
    heldout = heldout_examples(_strategies(data))
    adapters: dict[str, TrainedAdapter] = {}
    base_losses: dict[str, list[float]] = {}
    for culture in dict.fromkeys(record.culture for record in (*data.examples, *data.preferences)):
        progress.say(f"The adapter for culture {culture}:")
        part = data.model_copy(
            update={
                "examples": tuple(example for example in data.examples if example.culture == culture),
                "preferences": tuple(pair for pair in data.preferences if pair.culture == culture),
            }
        )
        adapters[culture] = train(
            model,
            part,
            settings,
            out / culture,
            progress,
            track=track,
            revision=revision,
            heldout=heldout,
            culture=culture,
            base_losses=base_losses,
        )
    return adapters


# --- What can be known before anything is loaded ---------------------------------------------------------------------------------


def _require_tracking() -> None:
    if importlib.util.find_spec("trackio") is None:
        raise CultureCareError("tracking needs the module 'trackio', which is not installed: pip install 'culturecare[tracking]'")
    for variable in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        if os.environ.get(variable):
            raise CultureCareError(f"{variable} is set, but tracking stays on this machine: unset it")


def _strategies(data: TrainingData) -> set[str]:
    return {record.strategy for record in (*data.examples, *data.preferences)}


def _check_data(data: TrainingData, settings: Settings, heldout: Sequence[Example]) -> None:
    given, wanted = (data.examples, "examples") if settings.method == "sft" else (data.preferences, "preferences")
    if not given:
        others = "preferences: take the settings 'dpo'" if data.preferences else "examples: take the settings 'lora'"
        there = others if data.preferences or data.examples else "nothing"
        raise CultureCareError(f"settings {settings.name!r} train by {settings.method} on {wanted}, but {data.name} holds {there}")
    if not heldout:
        raise CultureCareError("there is no held-out reply to measure the loss on")
    if shared := {record.instance_id for record in given} & {example.instance_id for example in heldout}:
        raise CultureCareError(f"instance {min(shared)!r} is among the held-out ones and cannot be trained on as well")


def _identity(
    model: str,
    revision: str | None,
    settings: Settings,
    device: Device,
    data: TrainingData,
    heldout: Iterable[Example],
    culture: str | None,
) -> TrainingIdentity:
    return TrainingIdentity(
        model=shown_model(model),
        model_identity=ModelChoice(name=model).identity,
        revision=revision,
        settings=settings,
        precision=device.precision,
        quantisation=device.quantisation,
        data=digest([record.model_dump(mode="json") for record in (*data.examples, *data.preferences)]),
        heldout=digest([example.id for example in heldout]),
        permission=data.permission.sha256 if data.permission else None,
        culture=culture,
    )


def _finished(out: Path, identity: TrainingIdentity) -> TrainedAdapter | None:
    """The adapter, where it is there already and of this training."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / ADAPTATION).is_file():
        raise CultureCareError(f"{out}: holds something that is no adapter of this command; choose another folder with --out")
    record = read_adaptation(out)
    if fields := checkpoints.differing(record.training, identity):
        raise CultureCareError(f"{out}: holds another adapter (its {', '.join(fields)} differ); choose another folder with --out")
    _check_weights(out)
    return TrainedAdapter(out, record, trained_now=False)


def _check_weights(out: Path) -> None:
    """Refuses an adapter that lost its weights, or a part of them, since it was made."""
    missing = [name for name in (_CONFIG, _WEIGHTS) if not (out / name).is_file()]
    if fault := f"{missing[0]} is gone" if missing else _fault(out / _WEIGHTS):
        raise CultureCareError(
            f"{out}: the adapter that was made here is no longer whole ({fault}); delete this folder to train it anew, or choose another "
            "with --out"
        )


def _fault(weights: Path) -> str | None:
    import safetensors

    try:
        with safetensors.safe_open(weights, framework="pt"):  # Holds the file's size against what it says that it holds.
            return None
    except (OSError, safetensors.SafetensorError) as error:
        return f"{weights.name}: {error}"


# --- One training ----------------------------------------------------------------------------------------------------------------


def _train(job: _Job, work: Path) -> AdaptationRecord:
    """Trains and leaves the finished adapter in `work / "adapter"`."""
    from culturecare_harness.adaptation.callbacks import Tracker, Watch

    job.progress.say(f"Loading the model {job.identity.model}.")
    model, tokenizer = load_base_model(job.model, job.revision, job.settings, job.device)
    check_target_modules(model, job.model, job.settings)
    parameters = model.num_parameters()
    gradient_checkpointing = checkpoints_gradients(job.settings, job.device, model)
    encoder = Encoder(tokenizer, job.identity.model, job.progress.say)
    fitting = _encode(job, encoder, min(_limit_of_settings(job.settings), _limit_of_model(model)))
    found = checkpoints.latest_checkpoint(work)
    trainer = _make_trainer(job, work, model, tokenizer, fitting, gradient_checkpointing=gradient_checkpointing)
    watch = Watch(job.progress, before=found[1].seconds if found else 0.0)
    trainer.add_callback(watch)
    if job.track:
        name = f"{work.name.removesuffix('.training')}-{digest(job.identity.model_dump(mode='json'))[:6]}"
        trainer.add_callback(Tracker(job.settings, run=name))
    measure = _HeldOut(job, encoder, trainer.model, tokenizer.pad_token_id)
    base = measure.base(work / _BASE_LOSSES)
    losses = _run(job, trainer, found)
    adapted = measure.losses("after")
    record = AdaptationRecord(
        created=dt.datetime.now(dt.UTC).replace(microsecond=0),
        training=job.identity,
        settings_hash=job.settings.hash,
        device=job.device,
        gradient_checkpointing=gradient_checkpointing,
        parameters=parameters,
        trainable_parameters=sum(part.numel() for part in trainer.model.parameters() if part.requires_grad),
        steps=losses[-1][0],
        seconds=round(watch.seconds, 1),
        data=fitting.described,
        instance_ids=tuple(sorted({record.instance_id for record in fitting.used})),
        post_hashes=tuple(sorted({post_hash(record.post) for record in fitting.used})),
        permission=job.data.permission,
        losses=thin_losses(losses),
        heldout=measure.compared(base, adapted),
        notes=(*fitting.notes, *measure.notes),
        versions=training_versions(),
    )
    _write(trainer.model, record, work / _ADAPTER)
    return record


def _limit_of_settings(settings: Settings) -> _Limit:
    return _Limit(settings.max_length, "max_length", "set it higher")


def _limit_of_model(model: Any) -> _Limit:
    return _Limit(context_length(model) or math.inf, "the context of the model", "take a model with a longer one")


def _encode(job: _Job, encoder: Encoder, limit: _Limit) -> _Fitting:
    records: tuple[Example | Preference, ...] = (*job.data.examples, *job.data.preferences)
    used, encoded = [], []
    for record in records:
        replies = (record.reply,) if isinstance(record, Example) else (record.chosen, record.rejected)
        sequences = tuple(encoder.encode(record.system, record.user, reply) for reply in replies)
        if max(map(len, sequences)) <= limit.tokens:
            used.append(record)
            encoded.append(sequences)
    if not used:
        raise CultureCareError(
            f"{job.data.name}: not one of {counted(len(records), 'record')} fits into {limit.name} ({limit.tokens} tokens); {limit.remedy}"
        )
    left_out = limit.left_out(len(records) - len(used), len(records), "records")
    for sentence in left_out:
        job.progress.say(sentence)
    described = data_record(job.data, used, {limit.exceeded: len(records) - len(used)})
    return _Fitting(used, encoded, described, limit, (*_notes(job, described), *left_out))


def _notes(job: _Job, described: DataRecord) -> list[str]:
    notes = []
    if described.synthetic:
        notes.append("Trained on synthetic posts alone, which tell of no real person: this shows that training works, not that it helps.")
    if job.settings.quantisation == "auto" and job.device.quantisation == "none":
        notes.append("There was no CUDA device, so that the base model was not quantised: plain LoRA.")
    return notes


def _write(model: Any, record: AdaptationRecord, folder: Path) -> None:
    """Writes the adapter's folder; a half-written one of a killed process is written anew.

    Raises:
        CultureCareError: A weight is not a number, or something of this machine would stand in a file.
    """
    import torch

    if not all(bool(torch.isfinite(part).all()) for part in model.parameters() if part.requires_grad):
        raise CultureCareError("a weight of the adapter is not a number, so that none is written: lower learning_rate")
    shutil.rmtree(folder, ignore_errors=True)
    # peft puts down where the base was loaded from, which may be a folder of this machine; who loads the adapter names the base anyway.
    model.peft_config["default"].base_model_name_or_path = record.training.model
    # peft would ask the Hub whether the base's vocabulary grew; here it never does.
    model.save_pretrained(folder, save_embedding_layers=False)
    write_json(folder / ADAPTATION, record)
    write_card(folder, record)
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors lets nobody else read what it writes.
        if path.suffix == ".json":
            refuse_leaks([(path.name, checkpoints.read_json(path))])


# --- The trainer -----------------------------------------------------------------------------------------------------------------


def _make_trainer(job: _Job, work: Path, model: Any, tokenizer: Any, fitting: _Fitting, *, gradient_checkpointing: bool) -> Any:
    """The trainer of trl for the method, with a fresh adapter on the model."""
    import datasets
    import peft
    import trl
    from transformers import PrinterCallback

    from culturecare_harness.adaptation.callbacks import Tokenised, WholeWarmup

    settings = job.settings
    lora = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules if settings.target_modules == "all-linear" else list(settings.target_modules),
    )
    arguments = _arguments(job, work, gradient_checkpointing=gradient_checkpointing)
    bases: tuple[Any, ...]
    if settings.method == "sft":
        if settings.packing:
            _refuse_mixing(model, tokenizer.pad_token_id, job)
        rows = [_reply_row(tokens) for (tokens,) in fitting.encoded]
        config = trl.SFTConfig(**arguments, packing=settings.packing, max_length=fitting.limit.tokens if settings.packing else None)
        bases = (WholeWarmup, trl.SFTTrainer)
    else:
        rows = [_preference_row(*pair) for pair in fitting.encoded]
        config = trl.DPOConfig(**arguments, beta=settings.beta, max_length=None)
        bases = (WholeWarmup, Tokenised, trl.DPOTrainer)
    trainer = type("Trainer", bases, {"warmup": settings.warmup})(
        model=model, args=config, train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer, peft_config=lora
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(job: _Job, work: Path, *, gradient_checkpointing: bool) -> dict[str, Any]:
    settings = job.settings
    scheduler = "constant_with_warmup" if settings.scheduler == "constant" else settings.scheduler
    return {
        "output_dir": str(work),
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": scheduler,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "seed": settings.seed,
        "data_seed": settings.seed,
        "bf16": job.device.precision == "bf16",
        "use_cpu": job.device.kind == "cpu",
        "gradient_checkpointing": gradient_checkpointing,
        # Every step, so that a loss that is not a number is seen before a checkpoint holds what came of it.
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": settings.checkpoint_every,
        # Two, since the newest counts only once it is marked.
        "save_total_limit": 2,
        "dataloader_pin_memory": job.device.kind == "cuda",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _reply_row(tokens: ReplyTokens) -> dict[str, list[int]]:
    """A reply as trl's SFT trainer takes it where it is tokenised already."""
    return {"input_ids": tokens.context + tokens.reply, "labels": [-100] * len(tokens.context) + tokens.reply}


def _preference_row(chosen: ReplyTokens, rejected: ReplyTokens) -> dict[str, list[int]]:
    """A pair as trl's DPO trainer has it once it is tokenised: what stands before the replies is the same for both, and bears no loss."""
    prompt = common_start(chosen.context, rejected.context)
    of_replies = {
        name: (tokens.context + tokens.reply)[len(prompt) :] for name, tokens in (("chosen_ids", chosen), ("rejected_ids", rejected))
    }
    return {"prompt_ids": prompt, **of_replies}


def _refuse_mixing(model: Any, pad: int, job: _Job) -> None:
    """Sees to it that examples which share a row do not see each other, by trying it on the model.

    Two short sequences are read together as the trainer would give them, alone, and joined to one. Where reading them together comes
    nearer to reading them joined than alone, the model's attention does not keep them apart.

    Raises:
        CultureCareError: It does not.
    """
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    ids = torch.arange(24) % model.config.get_text_config().vocab_size
    parts = [ids[:13].tolist(), ids[11:].flip(0).tolist()]
    collator = DataCollatorForLanguageModeling(pad_token_id=pad, padding_free=True)
    packed = collator([{"input_ids": sum(parts, []), "seq_lengths": [len(part) for part in parts]}])  # noqa: RUF017 - two lists.
    packed.pop("labels")
    packed = {name: value.to(model.device) if hasattr(value, "to") else value for name, value in packed.items()}
    model.eval()
    with torch.no_grad():
        joined = model(input_ids=packed["input_ids"], use_cache=False).logits[0, -len(parts[1]) :].float()
        alone = model(input_ids=torch.tensor([parts[1]], device=model.device), use_cache=False).logits[0].float()
        together = model(**packed, use_cache=False).logits[0, -len(parts[1]) :].float()
    model.train()
    if float((together - alone).norm()) > 0.1 * float((joined - alone).norm()):
        attention = model.config._attn_implementation  # noqa: SLF001 - transformers shows it nowhere else.
        raise CultureCareError(
            f"packing: the attention of {job.identity.model!r} ({attention}) lets examples that share a row see each other; set "
            "packing=false, or attention=flash_attention_2 where it is installed"
        )


def _run(job: _Job, trainer: Any, found: tuple[Path, checkpoints.Marker] | None) -> list[tuple[int, float]]:
    """Trains to the end, from the checkpoint where there is one.

    Returns:
        The loss of each step.
    """
    import peft
    import safetensors.torch
    from transformers import TrainerState

    if found:
        path, marker = found
        state = TrainerState.load_from_json(str(path / "trainer_state.json"))
        job.progress.say(f"Going on from the checkpoint at step {marker.step} of {state.max_steps}.")
        if marker.step >= state.max_steps:  # It was killed behind the last step; the trainer would take one more.
            weights = safetensors.torch.load_file(path / "adapter_model.safetensors", device=str(trainer.model.device))
            peft.set_peft_model_state_dict(trainer.model, weights)
            return _losses(state)
    else:
        job.progress.say(
            f"Training on {counted(len(trainer.train_dataset), 'row' if job.settings.packing else 'record')} ({job.device.name})."
        )
    trainer.train(resume_from_checkpoint=str(found[0]) if found else None)
    return _losses(trainer.state)


def _losses(state: Any) -> list[tuple[int, float]]:
    return [(int(entry["step"]), float(entry["loss"])) for entry in state.log_history if "loss" in entry]


class _HeldOut:
    """The held-out loss before and after; what was computed before is kept on file, so that a training that goes on has it."""

    def __init__(self, job: _Job, encoder: Encoder, model: Any, pad: int) -> None:
        self._job, self._model, self._pad = job, model, pad
        encoded = [encoder.encode(example.system, example.user, example.reply) for example in job.heldout]
        limit = _limit_of_model(model)
        fitting = [place for place, tokens in enumerate(encoded) if len(tokens) <= limit.tokens]
        if not fitting:
            raise CultureCareError(f"model {job.identity.model!r}: no held-out reply fits into its context of {limit.tokens} tokens")
        self.notes = limit.left_out(len(encoded) - len(fitting), len(encoded), "held-out replies")
        """Sentences that must be read with the losses."""
        for sentence in self.notes:
            job.progress.say(sentence)
        self._examples = [job.heldout[place] for place in fitting]
        self._encoded = [encoded[place] for place in fitting]

    def losses(self, when: str) -> list[float]:
        """Summed loss of each held-out reply by the model as it is."""
        self._job.progress.say(f"Loss on {counted(len(self._encoded), 'held-out reply', 'held-out replies')} {when} training.")
        return reply_losses(self._model, self._encoded, self._pad)

    def base(self, path: Path) -> list[float]:
        """The same without the adapter; that of an earlier training, or read from the file, where it is there."""
        identity, known = self._job.identity, self._job.base_losses
        of = digest([identity.model_identity, identity.revision, identity.precision, identity.quantisation, identity.heldout])
        if of not in known:
            known[of] = self._kept(path, of) or self._measured()
        write_json(path, _BaseLosses(of=of, losses=known[of]))
        return known[of]

    def _kept(self, path: Path, of: str) -> list[float] | None:
        kept = parse_record(_BaseLosses, checkpoints.read_json(path), where=str(path)) if path.is_file() else None
        return kept.losses if kept and kept.of == of else None

    def _measured(self) -> list[float]:
        with self._model.disable_adapter():
            return self.losses("before")

    def compared(self, base: Sequence[float], adapted: Sequence[float]) -> HeldOutLoss:
        """Both, instance by instance."""
        return compare_losses(self._examples, self._encoded, base, adapted)


class _BaseLosses(Record):
    """The base's losses, and the hash of what they are of."""

    of: Hash
    losses: list[float]
