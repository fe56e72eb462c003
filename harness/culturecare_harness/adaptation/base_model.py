"""The base model of a training: on which device, in which number format, and what is said where it cannot be had."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import pickle
import platform
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from culturecare import CultureCareError, Record
from culturecare_harness.packaged import resolve_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from culturecare_harness.adaptation.settings import Settings

__all__ = [
    "Device",
    "check_target_modules",
    "checkpoints_gradients",
    "choose_device",
    "context_length",
    "load_base_model",
    "memory_errors_named",
    "quiet",
    "require_modules",
    "shown_model",
]

_LARGE = 1_000_000_000
"""Parameters from which activations, not weights, fill a GPU first at these batch sizes."""

_OF_FAULTY_FILES = (RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What transformers and torch raise, besides errors that say what is wrong, where a model's files are cut or do not fit together."""


class Device(Record):
    """Where a model is trained, and in which number format.

    Attributes:
        kind: `cuda` or `cpu`.
        name: The card's name, or the processor's architecture and number of cores.
        precision: Of the base model's weights, where they are not quantised, and of what is computed.
        quantisation: `nf4` where the base model's weights are held in 4 bits.
    """

    kind: Literal["cuda", "cpu"]
    name: str
    precision: Literal["bf16", "float32"]
    quantisation: Literal["none", "nf4"]


def shown_model(name: str) -> str:
    """A model's name for records and cards: a folder by its last name, anything else as it is."""
    is_path = name.startswith(("/", "~", ".")) or Path(name).is_dir()
    return Path(name).expanduser().resolve().name if is_path else name


def require_modules() -> None:
    """Sees to it that what training needs is installed.

    Raises:
        CultureCareError: A module is missing; with the extra that brings it.
    """
    for module in ("torch", "transformers", "peft", "trl"):
        if importlib.util.find_spec(module) is None:
            raise CultureCareError(f"training needs the module {module!r}, which is not installed: pip install 'culturecare[adapt]'")


def choose_device(settings: Settings, say: Callable[[str], None]) -> Device:
    """The device and number format that the settings ask for, or `auto` finds.

    Raises:
        CultureCareError: What is asked for is not there: a CUDA device or bitsandbytes for `nf4`, or bf16. Or several GPUs are visible.
    """
    import torch

    if not torch.cuda.is_available():
        if settings.quantisation == "nf4":
            raise CultureCareError(
                "quantisation 'nf4' needs a CUDA device, and there is none here: set quantisation=none for plain LoRA, or train "
                "where there is one"
            )
        if settings.quantisation == "auto":
            say("There is no CUDA device, so that the base model is not quantised: this is plain LoRA.")
        if settings.precision == "bf16":
            raise CultureCareError("precision 'bf16' needs a CUDA device, and there is none here: set precision=auto")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return Device(kind="cpu", name=f"{platform.machine()}, {cores} cores", precision="float32", quantisation="none")
    if torch.cuda.device_count() > 1:
        raise CultureCareError(
            f"{torch.cuda.device_count()} GPUs are visible, and training uses one: set CUDA_VISIBLE_DEVICES=0 before the command"
        )
    if settings.quantisation != "none" and importlib.util.find_spec("bitsandbytes") is None:
        raise CultureCareError(
            "quantisation 'nf4' needs the module 'bitsandbytes', which is not installed: pip install 'culturecare[qlora]', or set "
            "quantisation=none"
        )
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if settings.precision == "bf16" and not has_bf16:
        raise CultureCareError(f"precision 'bf16' is more than {torch.cuda.get_device_name()} can: set precision=auto")
    return Device(
        kind="cuda",
        name=torch.cuda.get_device_name(),
        precision="bf16" if has_bf16 and settings.precision != "float32" else "float32",
        quantisation="none" if settings.quantisation == "none" else "nf4",
    )


def load_base_model(name: str, revision: str | None, settings: Settings, device: Device) -> tuple[Any, Any]:
    """Loads model and tokeniser.

    Args:
        name: Hub name, folder, or `packaged:smollm2`.
        revision: Revision on the Hub, null for the newest.
        settings: Of the training.
        device: Where it runs.

    Raises:
        CultureCareError: They cannot be loaded.
    """
    import torch
    import transformers
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise CultureCareError(f"model {name!r}: there is no such folder; name one that transformers can load, or a model of the Hub")
    path = str(Path(name).expanduser()) if name.startswith("~") else resolve_model(name)
    dtype = torch.bfloat16 if device.precision == "bf16" else torch.float32
    further: dict[str, Any] = {"revision": revision} if revision else {}
    if settings.attention != "auto":
        further["attn_implementation"] = settings.attention
    if device.quantisation == "nf4":
        further["device_map"] = {"": 0}
        further["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, revision=revision or "main")
        model, told = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype, output_loading_info=True, **further)
    except (OSError, ValueError, ImportError, StrictDataclassError) as error:
        raise CultureCareError(f"model {name!r} cannot be loaded: {_reason(error)}") from error
    except (SafetensorError, pickle.UnpicklingError, *_OF_FAULTY_FILES) as error:
        if _is_of_memory(error):
            raise
        raise CultureCareError(
            f"model {name!r} cannot be loaded: its files are damaged or do not fit together ({type(error).__name__}: {_reason(error)}); "
            "get them anew"
        ) from error
    if missing := sorted(told["missing_keys"]):  # transformers draws them at random, and says so in a warning alone.
        raise CultureCareError(
            f"model {name!r} cannot be loaded: its files lack {len(missing)} of the weights that its configuration asks for, such as "
            f"{missing[0]}; get them anew"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.to(device.kind) if device.quantisation == "none" else model, tokenizer


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def context_length(model: Any) -> int | None:
    """The most tokens that a model reads at once, null where its configuration names no such limit."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or None


def checkpoints_gradients(settings: Settings, device: Device, model: Any) -> bool:
    """Whether activations are computed twice to save memory."""
    if settings.gradient_checkpointing != "auto":
        return settings.gradient_checkpointing
    return device.kind == "cuda" and model.num_parameters() >= _LARGE


def check_target_modules(model: Any, name: str, settings: Settings) -> None:
    """Sees to it that every layer that the settings name is one that an adapter can be put on.

    Raises:
        CultureCareError: A name fits no linear layer, or only the output layer; with those there are.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    if settings.target_modules == "all-linear":
        return
    output = model.get_output_embeddings()
    layers = [path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear | Conv1D) and module is not output]
    for target in settings.target_modules:
        if not any(path == target or path.endswith(f".{target}") for path in layers):
            known = ", ".join(sorted({path.rpartition(".")[2] for path in layers}))
            raise CultureCareError(
                f"target_modules: {shown_model(name)!r} has no linear layer {target!r} within; it has {known} (or take 'all-linear')"
            )


@contextlib.contextmanager
def memory_errors_named(settings: Settings) -> Iterator[None]:
    """Says in one sentence which settings to lower where memory runs out; what was kept by then stays.

    Raises:
        CultureCareError: Memory ran out.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_of_memory(error):
            raise
        batch = "" if settings.batch_size == 1 else "lower batch_size and raise gradient_accumulation as much, "
        raise CultureCareError(
            f"memory ran out: {batch}set gradient_checkpointing=true, lower max_length ({settings.max_length}) or rank "
            f"({settings.rank}), or take the settings 'qlora' on a CUDA device"
        ) from error


def _is_of_memory(error: Exception) -> bool:
    import torch

    # torch has no class of its own for the memory of a CPU.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the libraries' remarks and bars off the screen, but for errors, and lets none of them report to its makers."""
    import datasets
    import transformers
    from huggingface_hub import constants

    loggers = [logging.getLogger(name) for name in ("accelerate", "datasets", "peft", "trl", "httpx")]
    levels = [logger.level for logger in loggers]
    verbosity, telemetry = transformers.logging.get_verbosity(), constants.HF_HUB_DISABLE_TELEMETRY
    bars = datasets.are_progress_bars_disabled(), transformers.logging.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    constants.HF_HUB_DISABLE_TELEMETRY = True  # trl tells its makers of every trainer, by a call that asks for this alone.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # trl is not yet by the newest names of transformers' arguments.
            warnings.filterwarnings("ignore", "fan_in_fan_out")  # peft tells of a layer of GPT-2 that it takes it rightly.
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        transformers.logging.set_verbosity(verbosity)
        constants.HF_HUB_DISABLE_TELEMETRY = telemetry
        if not bars[0]:
            datasets.enable_progress_bars()
        if bars[1]:
            transformers.logging.enable_progress_bar()
