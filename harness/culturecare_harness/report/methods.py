"""How the numbers were made, in words, and the command lines that make them again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from culturecare_harness.bundle import leaks
from culturecare_harness.counting import counted
from culturecare_harness.inert import plain
from culturecare_harness.judges import judges
from culturecare_harness.prices import listed_price
from culturecare_harness.report.figures import listed
from culturecare_harness.report.published import published
from culturecare_harness.report.testing import ALPHA
from culturecare_harness.significance import RESAMPLES

if TYPE_CHECKING:
    from culturecare_harness.prices import Price
    from culturecare_harness.records import Judge
    from culturecare_harness.report.evidence import Evidence, Graded, Run

__all__ = ["CITATIONS", "Methods", "describe_methods", "price_of"]

CITATIONS: tuple[str, ...] = (
    "Holm (1979): A Simple Sequentially Rejective Multiple Test Procedure. Scandinavian Journal of Statistics 6, pp. 65–70.",
    "Phipson and Smyth (2010): Permutation P-values Should Never Be Zero. Statistical Applications in Genetics and Molecular Biology 9.",
    "Satterthwaite (1946): An Approximate Distribution of Estimates of Variance Components. Biometrics Bulletin 2, pp. 110–114.",
    "Liu, Iter, Xu, Wang, Xu and Zhu (2023): G-Eval: NLG Evaluation using GPT-4 with Better Human Alignment. EMNLP, pp. 2511–2522.",
    "Zheng et al. (2023): Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena. NeurIPS.",
)
"""What the methods rest on, besides the paper."""


_POSTS = {"test": "--split test --release path/to/release", "own": "--posts path/to/posts.jsonl"}
"""How a command names the posts of a split whose files are a user's to name."""


@dataclass(frozen=True)
class Methods:
    """The methods paragraph.

    Attributes:
        paragraphs: Sentences on data, replies, judges, scores and tests.
        commands: Lines that repeat it.
        versions: Package and version.
    """

    paragraphs: tuple[tuple[str, str], ...]
    commands: str
    versions: str
    citations: tuple[str, ...]


def describe_methods(evidence: Evidence) -> Methods:
    """Says how the numbers were made."""
    dataset = evidence.graded[0].result.dataset
    protocols = list(dict.fromkeys(graded.result.protocol for graded in evidence.graded if graded.result.protocol))
    data = (
        f"{counted(evidence.instances, 'instance')} of {counted(len(evidence.cultures), 'culture')}, split {dataset.split}, "
        f"dataset revision {dataset.revision}; "
        + ("posts known by their annotated phrases alone (excerpts). " if dataset.excerpt else "posts with full text. ")
        + (f"Protocol followed: {listed(protocols)}." if protocols else "No protocol of the leaderboard was followed in full.")
    )
    scores = (
        "Each reply is graded from 1 to 5 on seven dimensions. Emotional is the mean of empathy and helpfulness, cultural that of "
        "sociopolitical influence, knowledge and cultural context, quality that of fluency and communication; overall (column All) is the "
        "mean of emotional and cultural. A culture's score is the mean over its replies, Avg the mean over the means of the run's "
        "cultures. What can't be read has no value and lowers the coverage; wherever a number does not rest on all replies, it says on how "
        "many. Published averages stand beside averages over the same cultures alone. Intervals are 95 % (Student's t over instances, with "
        "Satterthwaite's freedom)."
    )
    tests = (
        "Conditions are compared on the same instances. p is that of a sign-flip permutation test on the mean over cultures of the mean "
        f"difference (exact up to 13 instances, else {RESAMPLES:,} seeded flips, the observed one counted among them, and more where a "
        "large family asks for smaller p), after Holm's "
        f"correction for the family that is named; the level is {2 * ALPHA:g}, and {ALPHA:g} on one side."
        " The rules of the four answers stand with them."
    )
    paragraphs = (
        ("Data", data),
        *(("Replies", _replies(run, evidence)) for run in evidence.runs),
        *(("Judge", _judge(judge)) for judge in dict.fromkeys(judge for panel in evidence.panels for judge in panel.judges)),
        ("Scores", scores),
        ("Tests", tests),
    )
    versions: dict[str, set[str]] = {}
    for graded in evidence.graded:
        for package, version in graded.result.versions.items():
            versions.setdefault(package, set()).add(version)
    return Methods(
        paragraphs=paragraphs,
        commands="\n".join(_commands(evidence)),
        versions=", ".join(f"{package} {' and '.join(sorted(found))}" for package, found in sorted(versions.items())),
        citations=(f"{published().source}. {published().link}", *CITATIONS),
    )


def _replies(run: Run, evidence: Evidence) -> str:
    result = next(graded.result for graded in evidence.graded if graded.run is run)
    prompts = ", ".join(f"{name} {prompt}" for name, prompt in result.strategies.items())
    settings = ", ".join(f"{name} {value}" for name, value in sorted(result.generation.items()))
    return (
        f"{run.label}: {counted(len(run.there.replies), 'reply', 'replies')}, one a post and strategy, through lm-eval "
        f"(back end {result.model.backend}); "
        f"{settings or 'settings not known'}. Prompts by their hash: {prompts}."
    )


def _judge(judge: Judge) -> str:
    modes = {
        "logprob": "the expectation over the five grades in the next-token distribution",
        "sampled": "the mean of sampled answers",
        "argmax": "the single most likely answer",
    }
    return (
        f"{judge.name}: model {judge.model} (back end {judge.backend}), mode {judge.mode} ({modes[judge.mode]}), rubric {judge.rubric} "
        f"{judge.prompt_hash}, settings {judge.settings_hash}."
    )


def price_of(judge: Judge) -> Price | None:
    """What a judge's tokens cost, where a judge that comes along or a price list says it; null else."""
    if judge.backend != "openai":
        return None
    file = next((known for known in judges().values() if known.judge == judge), None)
    if file is not None and file.price is not None:
        return file.price
    return listed_price(judge.model, (file and file.base_url) or "https://api.openai.com/v1")


# --- Commands --------------------------------------------------------------------------------------------------------------------


def _commands(evidence: Evidence) -> list[str]:
    lines, names = [], []
    for place, run in enumerate(evidence.runs, 1):
        name = f"runs/{place}" if len(evidence.runs) > 1 else "runs/this"
        names.append(name)
        if run.manifest is not None:
            lines.append(_eval(run, name))
        else:
            lines.append(f"# {plain(run.label)}: lm_eval run --tasks culturecare_support --log_samples --output_path {name} …")
        lines += [_judging(graded, name) for graded in evidence.graded if graded.run is run]
    lines += [f"culturecare judge compare {' '.join(names)} --against peer --judge {_word(one.panel.name)}" for one in evidence.preferences]
    release = " --release path/to/release" if evidence.graded[0].result.dataset.split == "test" else ""
    lines.append(f"culturecare report {' '.join(names)}{release} --out report.html")
    return list(dict.fromkeys(lines))


def _eval(run: Run, name: str) -> str:
    manifest = run.manifest
    if manifest is None:
        return ""
    model, generation = manifest.model, manifest.generation
    arguments = dict(model.arguments)
    adapter = arguments.pop("peft", None)
    name_of_base = model.name.removesuffix(f"+{adapter}")
    words = [
        "culturecare eval",
        f"--model {_word('packaged:smollm2' if name_of_base == 'smollm2' else name_of_base)}",
        f"--backend {_word(model.backend)}",
    ]
    words += [] if adapter is None else [f"--adapter {_word(adapter)}"]
    words += [f"--model-arg {_word(f'{key}={value}')}" for key, value in sorted(arguments.items()) if leaks([key, value]) is None]
    words.append(f"--strategies {_word(','.join(manifest.strategies))}")
    words.append(_POSTS.get(manifest.split, f"--split {manifest.split}"))
    if manifest.held_out:
        words.append("--held-out")
    words.append(f"--cultures {_word(','.join(manifest.cultures))} --text {_word(manifest.text)}")
    if manifest.per_culture is not None:
        words.append(f"--limit {manifest.per_culture}")
    words.append(f"--temperature {generation.temperature:g} --max-gen-toks {generation.max_gen_toks} --seed {generation.seed}")
    words.append(f"--batch-size {manifest.batch_size} --judge none --out {name}")
    return " ".join(words)


def _judging(graded: Graded, name: str) -> str:
    result = graded.result
    release = " --release path/to/release" if result.dataset.split == "test" else ""
    who = f"--jury {_word(graded.panel.name.removeprefix('jury '))}" if graded.panel.is_jury else f"--judge {_word(graded.panel.name)}"
    return f"culturecare judge {name} {who}{release}"


def _word(text: str) -> str:
    return shlex.quote(plain(text))
