"""The Hub's own evaluation results: `.eval_results/*.yaml` in a model's repository, shown on its page and on the dataset's leaderboard.

One file a strategy, since the Hub keeps each way of evaluating in a file of its own (huggingface.co/docs/hub/eval-results). The library
checks next to nothing of an entry, so that everything in it comes from a bundle that was admitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from culturecare import CultureCareError
from culturecare_harness.protocols import select_protocol
from culturecare_harness.publish import SCORED, eval_task_id

if TYPE_CHECKING:
    from pathlib import Path

    from culturecare_harness.bundle import Bundle
    from culturecare_harness.records import Score

__all__ = ["eval_results", "propose_eval_results", "write_eval_results"]

FOLDER = ".eval_results"


def eval_results(bundle: Bundle, dataset_id: str, source_url: str | None = None) -> dict[str, bytes]:
    """The files for a model's repository.

    Args:
        bundle: What was admitted.
        dataset_id: Dataset repository with CultureCare's `eval.yaml`, such as `ORG/culturecare`.
        source_url: Page where the submission can be read.

    Returns:
        Content of each file, by its path in the repository.

    Raises:
        CultureCareError: The protocol measures nothing, or the model has no repository to its name.
    """
    from huggingface_hub import EvalResultEntry
    from huggingface_hub import eval_result_entries_to_yaml as to_yaml

    made = bundle.submission
    protocol = select_protocol(made.protocol)
    if not protocol.measure:
        raise CultureCareError(f"--eval-results: protocol {protocol.name!r} measures nothing, so its scores don't go onto a model's page")
    if made.model.count("/") != 1:
        raise CultureCareError(f"--eval-results: model {made.model!r} names no repository; say which with --model-name OWNER/NAME")
    if dataset_id.count("/") != 1:
        raise CultureCareError(f"--eval-results {dataset_id!r}: must be the dataset's repository, such as ORG/culturecare")
    judges = ", ".join(f"{judge.name} ({judge.mode})" for judge in protocol.judges)
    files = {}
    for strategy in bundle.result.strategies:
        of_all = {score.metric: score for score in bundle.result.scores if (score.strategy, score.culture) == (strategy, "all")}
        entries = [
            EvalResultEntry(
                dataset_id=dataset_id,
                task_id=eval_task_id(protocol.posts.split, metric),
                value=round(mean, 4),
                date=made.submitted.date().isoformat(),
                source_url=source_url,
                source_name=None if source_url is None else "CultureCare submission",
                notes=f"strategy {strategy}; protocol {protocol.name}; judge {judges}; {_interval(of_all[metric])}; submission {bundle.id}",
            )
            for metric in SCORED
            if (mean := of_all[metric].mean) is not None
        ]
        name = "culturecare.yaml" if strategy == "standard" else f"culturecare_{strategy}.yaml"
        files[f"{FOLDER}/{name}"] = yaml.safe_dump(to_yaml(entries), sort_keys=False, allow_unicode=True, width=140).encode()
    return files


def _interval(score: Score) -> str:
    return "no interval" if score.low is None or score.high is None else f"95 % interval {score.low:.3f} to {score.high:.3f}"


def write_eval_results(folder: Path, files: dict[str, bytes]) -> None:
    """Writes the files into a folder, such as the model repository's checkout."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def propose_eval_results(bundle: Bundle, files: dict[str, bytes]) -> str:
    """Opens a pull request with the files on the model's repository.

    Returns:
        Its page.

    Raises:
        CultureCareError: There is no such repository, or the Hub refuses.
    """
    from culturecare_harness.hub import open_pull_request

    made = bundle.submission
    opened = open_pull_request(
        made.model,
        "model",
        files,
        message=f"Add CultureCare results ({made.protocol})",
        description=f"Scores of submission `{bundle.id}` under protocol `{made.protocol}`, one file a strategy.",
    )
    return opened.url
