"""Generating: from instances to replies, by any model that lm-eval can run."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import culturecare
from culturecare import CultureCareError, Record
from culturecare_harness.dataset import Selection, interleave, select_instances
from culturecare_harness.packaged import resolve_model
from culturecare_harness.records import Model, Reply, append_records, digest, read_records
from culturecare_harness.strategies import Strategy, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from culturecare import Instance

__all__ = [
    "CHUNK",
    "Generation",
    "ModelChoice",
    "ask",
    "check_length",
    "generate_replies",
    "open_model",
    "takes_system_message",
    "tasks_dir",
]

CHUNK = 16
"""Replies made and kept together. Each chunk starts from the run's seed, so that a resumed run equals one that was never interrupted."""

_TASK = "culturecare_support_"
_SECRET = re.compile(
    r"(^|_)(api_?key|secret|password|auth\w*|headers?|credentials?|(hf|access|bearer)_token)$|^(key|token)$", re.IGNORECASE
)


_ADAPTER_ARGUMENTS = {"hf": "peft", "vllm": "lora_local_path"}
"""The argument by which each of lm-eval's classes takes an adapter."""


class ModelChoice(Record):
    """The model under test, as lm-eval is to load it.

    Attributes:
        name: Hub name, folder, `packaged:smollm2`, or a server's name for it.
        backend: lm-eval's name of the model class, such as `hf`, `vllm` or `local-chat-completions`.
        arguments: Further arguments of that class.
        batch_size: Prompts at once.
        device: Where it runs; null for a GPU where there is one (`hf`), or the class's choice.
    """

    name: str
    backend: str = "hf"
    arguments: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies defaults.
    batch_size: int = 8
    device: str | None = None

    @property
    def adapter(self) -> str | None:
        """Folder or Hub name of the adapter that is loaded upon the model, null for none."""
        return next((str(self.arguments[key]) for key in _ADAPTER_ARGUMENTS.values() if self.arguments.get(key)), None)

    @property
    def base(self) -> ModelChoice:
        """The model without its adapter."""
        arguments = {key: value for key, value in self.arguments.items() if key not in _ADAPTER_ARGUMENTS.values()}
        return self.model_copy(update={"arguments": arguments})

    def with_adapter(self, adapter: str) -> ModelChoice:
        """The model with an adapter upon it.

        Raises:
            CultureCareError: The class cannot load one.
        """
        if self.backend not in _ADAPTER_ARGUMENTS:
            able = " or ".join(_ADAPTER_ARGUMENTS)
            raise CultureCareError(f"--adapter: back end {self.backend!r} loads none: have its server load it, or use back end {able}")
        return self.model_copy(update={"arguments": {**self.arguments, _ADAPTER_ARGUMENTS[self.backend]: adapter}})

    @property
    def shown_name(self) -> str:
        """The name without the path of a folder, on this machine or on the server's; behind a `+`, that of the adapter."""
        base = _shown(self.name).removeprefix("packaged:")
        return base if self.adapter is None else f"{base}+{_shown(self.adapter)}"

    @property
    def model(self) -> Model:
        """What results say of it: no key, and no path of this machine."""
        public = {key: value for key, value in self._open_arguments.items() if not Path(str(value)).is_absolute()}
        public |= {key: _shown(str(self.arguments[key])) for key in _ADAPTER_ARGUMENTS.values() if self.arguments.get(key)}
        return Model(name=self.shown_name, backend=self.backend, arguments=public)

    @property
    def identity(self) -> str:
        """Hash of all that makes the model what it is, paths included: two folders of one name are two models.

        An adapter is known by its weights too, since training writes it into the same folder again.
        """
        arguments = {key: _absolute(value) for key, value in self._open_arguments.items()}
        parts: list[Any] = [_absolute(self.name), self.backend, arguments]
        if self.adapter is not None:
            parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path(self.adapter).expanduser().glob("adapter_*"))]
        return digest(parts)

    @property
    def _open_arguments(self) -> dict[str, Any]:
        return {key: value for key, value in self.arguments.items() if not _SECRET.search(key)}


def _shown(name: str) -> str:
    """A folder by its last name, anything else as it is."""
    is_path = name.startswith(("/", "~", ".")) or Path(name).is_dir()
    return Path(name).expanduser().resolve().name if is_path else name


def _absolute(value: Any) -> Any:
    """A folder of this machine by its whole path, anything else as it is."""
    return str(Path(value).expanduser().resolve()) if isinstance(value, str) and Path(value).expanduser().exists() else value


class Generation(Record):
    """Generation settings; the defaults are the paper's.

    Attributes:
        temperature: 0 for the most likely reply.
        max_gen_toks: Longest reply in tokens.
        seed: Seed of the sampling.
    """

    temperature: float = 0.7
    max_gen_toks: int = 1000
    seed: int = 1234

    @property
    def keywords(self) -> dict[str, Any]:
        """As lm-eval takes them."""
        return {"temperature": self.temperature, "do_sample": self.temperature > 0, "max_gen_toks": self.max_gen_toks, "until": []}


def tasks_dir() -> Path:
    """Folder of the task files: `tasks` in a checkout, `lm_eval/tasks/culturecare` where the wheel is installed.

    Raises:
        CultureCareError: Neither is there.
    """
    checkout = Path(culturecare.__file__).resolve().parent / "tasks"
    if (checkout / "culturecare.yaml").is_file():
        return checkout
    import lm_eval

    installed = Path(lm_eval.__file__).parent / "tasks" / "culturecare"
    if not installed.is_dir():
        raise CultureCareError(f"{installed}: the task files are missing; install the package again")
    return installed


def generate_replies(
    choice: ModelChoice,
    strategies: Sequence[Strategy],
    selection: Selection,
    generation: Generation,
    path: Path,
    begin: Callable[[], None],
    say: Callable[[str], None],
) -> list[Reply]:
    """Makes one reply for each strategy and instance, and keeps them in a file as they come.

    Args:
        choice: The model under test.
        strategies: How it is asked.
        selection: About which instances.
        generation: With which settings.
        path: JSON Lines file of replies; those that it holds already are not made again.
        begin: Called once, before the first reply is written.
        say: Told in a sentence what goes on.

    Returns:
        All replies, strategy after strategy, the cultures in turn.

    Raises:
        CultureCareError: The model cannot be loaded or called, or would not see the whole prompt.
    """
    instances = interleave(select_instances(selection))
    kept = (
        {(reply.strategy, reply.instance_id): reply for reply in read_records(path, Reply, tolerate_torn_end=True)} if path.exists() else {}
    )
    chunks = [
        (strategy, range(start, min(start + CHUNK, len(instances))))
        for strategy in strategies
        for start in range(0, len(instances), CHUNK)
        if any((strategy.name, instance.id) not in kept for instance in instances[start : start + CHUNK])
    ]
    if chunks:
        with open_model(choice, generation.seed, say) as language_model:
            system_role = _check_prompts(choice, language_model, strategies, instances, generation, say)
            tasks = _load_tasks(choice, {strategy.name for strategy, _ in chunks}, selection, generation, system_role=system_role)
            for strategy, indices in chunks:
                say(f"Generating replies {indices.start + 1} to {indices.stop} of {len(instances)} by strategy {strategy.name}.")
                made = _generate_chunk(choice, language_model, tasks[strategy.name], indices, generation)
                new = [reply for reply in made if (reply.strategy, reply.instance_id) not in kept]
                if not path.exists():
                    begin()
                append_records(path, new)
                kept |= {(reply.strategy, reply.instance_id): reply for reply in new}
    return [kept[strategy.name, instance.id] for strategy in strategies for instance in instances]


@contextlib.contextmanager
def open_model(choice: ModelChoice, seed: int, say: Callable[[str], None]) -> Iterator[Any]:
    """Yields lm-eval's model, loaded; what goes wrong in loading it, or in calling it meanwhile, is said in one sentence.

    Args:
        choice: The model.
        seed: Seed of the sampling, for a model that samples in another process.
        say: Told in a sentence what goes on.

    Raises:
        CultureCareError: The model cannot be loaded or called.
    """
    say(f"Loading the model {choice.shown_name}.")
    with _quiet_lm_eval(), _errors_named(choice):
        # What lm-eval and transformers raise for arguments that do not fit; later it would be a fault of this package.
        with _errors_named(choice, ValueError, TypeError, AssertionError):
            language_model = _load(choice, seed)
        yield language_model


def ask(
    choice: ModelChoice, language_model: Any, prompts: Iterable[tuple[str, str]], keywords: dict[str, Any], seed: int, *, system_role: bool
) -> list[str]:
    """Asks a model outside any task: as a chat, or, where it has no chat template, with both messages as one text.

    Args:
        choice: Which model it is.
        language_model: The same, from `open_model`.
        prompts: System and user messages.
        keywords: Generation settings, as lm-eval takes them.
        seed: Seed of the sampling.
        system_role: Whether there may be a system message, from `takes_system_message`.

    Returns:
        One answer a prompt, empty where an API gave no content.
    """
    from lm_eval.api.instance import Instance as Request
    from lm_eval.utils import set_torch_seed

    requests = []
    for index, (system, user) in enumerate(prompts):
        text: Any = f"{system}\n\n{user}"
        if _is_chat(choice, language_model):
            messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
            text = language_model.apply_chat_template(messages if system_role else [{"role": "user", "content": text}])
        requests.append(Request(request_type="generate_until", doc={}, arguments=(text, dict(keywords)), idx=index))
    set_torch_seed(seed)
    return [answer or "" for answer in language_model.generate_until(requests)]


def _load(choice: ModelChoice, seed: int) -> Any:
    from lm_eval.api.registry import get_model

    if choice.backend == "hf" and choice.name.startswith((".", "/", "~")) and not Path(choice.name).expanduser().is_dir():
        raise CultureCareError(
            f"model {choice.name!r}: there is no such folder; name one that transformers can load, or a model of the Hub"
        )
    try:
        model_class = get_model(choice.backend)
    except (KeyError, ValueError) as error:
        raise CultureCareError(
            f"unknown backend {choice.backend!r}: use a model name of lm-eval, such as hf, vllm or local-chat-completions"
        ) from error
    device = choice.device
    if device is None and choice.backend == "hf":  # lm-eval would take a GPU whether or not there is one.
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    key = "model" if "completions" in choice.backend else "pretrained"
    # A server and vLLM take the seed from here; the seed of this process does not reach them.
    own_seed = {"seed": seed} if "completions" in choice.backend or choice.backend == "vllm" else {}
    arguments = {key: resolve_model(choice.name), **own_seed, **choice.arguments}
    return model_class.create_from_arg_obj(arguments, {"batch_size": choice.batch_size, "device": device})


def _is_chat(choice: ModelChoice, language_model: Any) -> bool:
    if "completions" in choice.backend:
        return "chat" in choice.backend
    return bool(getattr(getattr(language_model, "tokenizer", None), "chat_template", None))


def _check_prompts(
    choice: ModelChoice,
    language_model: Any,
    strategies: Sequence[Strategy],
    instances: Sequence[Instance],
    generation: Generation,
    say: Callable[[str], None],
) -> bool:
    """Sees to it that the model will see each prompt whole.

    Where a chat template knows no system message, lm-eval leaves the message out, and where a prompt is too long, lm-eval cuts off its
    beginning; both would change what a strategy says.

    Returns:
        Whether the chat template takes a system message.
    """
    system_role = takes_system_message(choice, language_model, say)
    for strategy in strategies:
        for instance in instances:
            prompt = render(strategy, instance)
            what = f"the prompt of strategy {strategy.name!r} for {instance.id!r}"
            check_length(choice, language_model, (prompt.system, prompt.user), generation, what)
    return system_role


def _tokenizer(choice: ModelChoice, language_model: Any) -> Any:
    """The tokenizer of a model that runs here; null for a server, which sees to its own."""
    return None if "completions" in choice.backend else getattr(language_model, "tokenizer", None)


def check_length(choice: ModelChoice, language_model: Any, prompt: tuple[str, str], generation: Generation, what: str) -> None:
    """Sees to it that a prompt fits into the model's context beside its answer, where the model runs here.

    Raises:
        CultureCareError: It does not; the message says `what` the prompt is.
    """
    if _tokenizer(choice, language_model) is None:
        return
    room = int(language_model.max_length) - generation.max_gen_toks
    length = len(language_model.tok_encode("\n\n".join(prompt)))
    if length + 64 > room:  # 64 for what the chat template adds.
        raise CultureCareError(
            f"model {choice.shown_name!r}: {what} has {length} tokens, but beside a reply of {generation.max_gen_toks} there is room for "
            f"{room - 64}: ask for shorter replies (--max-gen-toks), or use a model with a longer context"
        )


def takes_system_message(choice: ModelChoice, language_model: Any, say: Callable[[str], None]) -> bool:
    """Whether the model's chat template takes a system message; where it does not, it is said what becomes of it."""
    import jinja2

    tokenizer = _tokenizer(choice, language_model)
    if tokenizer is None or not _is_chat(choice, language_model):
        return True
    probe = "3f6c1d"
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "system", "content": probe}, {"role": "user", "content": "Hello."}],
            tokenize=False,
            add_generation_prompt=True,
        )
    except jinja2.TemplateError:
        text = ""
    if probe not in text:
        say("The model's chat template takes no system message; what it would say opens the user message.")
        return False
    return True


def _load_tasks(
    choice: ModelChoice, names: Iterable[str], selection: Selection, generation: Generation, *, system_role: bool
) -> dict[str, Any]:
    """The lm-eval tasks of the strategies, without a judge: what is generated is kept before it is judged."""
    from lm_eval.tasks import TaskManager

    metadata = {**selection.model_dump(mode="json"), "model": choice.shown_name, "system_role": system_role}
    manager = TaskManager(include_path=str(tasks_dir()), include_defaults=False, metadata=metadata)
    tasks = {}
    for name in names:
        [task] = manager.load([f"{_TASK}{name}"])["tasks"].values()
        task.set_config(key="generation_kwargs", value=generation.keywords, update=True)
        task.set_fewshot_seed(seed=generation.seed)
        tasks[name] = task
    return tasks


def _generate_chunk(choice: ModelChoice, language_model: Any, task: Any, indices: range, generation: Generation) -> Iterator[Reply]:
    # `evaluate`, not `simple_evaluate`, which would look for a git repository and list the machine's packages at every chunk.
    from lm_eval.evaluator import evaluate
    from lm_eval.utils import set_torch_seed

    from culturecare_harness.lm_eval_hooks import reply_of_doc

    set_torch_seed(generation.seed)
    name = task.config.task
    results = evaluate(
        lm=language_model,
        task_dict={"tasks": {name: task}, "groups": {}},
        samples={name: list(indices)},
        apply_chat_template=_is_chat(choice, language_model),
        fewshot_as_multiturn=True,
        bootstrap_iters=0,
    )
    settings = generation.model_dump()
    for sample in results["samples"][name]:
        yield reply_of_doc(sample["doc"], sample["resps"][0][0] or "", settings)


@contextlib.contextmanager
def _quiet_lm_eval() -> Iterator[None]:
    """Keeps lm-eval's and transformers' remarks off the screen, but for errors; progress bars stay."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "transformers", "httpx", "culturecare_harness.lm_eval_hooks")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _errors_named(choice: ModelChoice, *further: type[Exception]) -> Iterator[None]:
    """Turns what goes wrong in loading or calling a model into one sentence; what was generated by then stands in the file."""
    import aiohttp
    import requests

    told: tuple[type[Exception], ...] = (OSError, RuntimeError, aiohttp.ClientError, requests.RequestException, *further)
    try:
        yield
    except ModuleNotFoundError as error:
        extra = "api" if "completions" in choice.backend else "hf"
        install = f"'culturecare[{extra}]'" if extra == "api" or choice.backend == "hf" else f"'lm_eval[{choice.backend}]'"
        needed = f" (it lacks {error.name!r})" if error.name else ""
        raise CultureCareError(f"backend {choice.backend!r} is not installed{needed}: pip install {install}") from error
    except told as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CultureCareError(f"model {choice.shown_name!r} on backend {choice.backend!r}: {reason}") from error
