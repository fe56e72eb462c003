"""Submitting: from a run to a bundle, and from there onto a board: a folder here, or a pull request on a dataset repository of the Hub."""

from __future__ import annotations

import datetime as dt
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from culturecare import CultureCareError, DataError, Record, parse_record
from culturecare_harness.admission import is_bare_grade, refusals
from culturecare_harness.board import folder_of, open_board, put
from culturecare_harness.bundle import (
    LONGEST_REASON,
    SUBMISSION,
    WITHHELD,
    Bundle,
    PublicReply,
    contents,
    leaks,
    pack,
    read_bundle,
    read_submission,
    write_bundle,
)
from culturecare_harness.eval_results import eval_results as eval_results_of
from culturecare_harness.eval_results import propose_eval_results, write_eval_results
from culturecare_harness.jury import JuryResult, JuryVerdict
from culturecare_harness.protocols import followed, protocols, select_protocol
from culturecare_harness.quoting import repeats
from culturecare_harness.records import Result, Verdict, read_records
from culturecare_harness.runs import load_replies

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from culturecare_harness.progress import Progress
    from culturecare_harness.protocols import Protocol
    from culturecare_harness.records import Reply

__all__ = ["About", "RefusedError", "Submitted", "bundle_of_run", "read_parameters", "submit"]


class RefusedError(CultureCareError):
    """A bundle that a board can't take.

    Attributes:
        reasons: Each one a sentence.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        listed = "".join(f"\n  - {reason}" for reason in reasons)
        super().__init__(f"the submission can't be taken:{listed}")


class About(Record):
    """What a submitter says of model and self; the fields are those of `Submission`.

    Attributes:
        submitter: Null for the account that is logged in to the Hub.
        model: The model's public name; null for the name in the run.
    """

    submitter: str | None = None
    model: str | None = None
    parameters: int | None = None
    weights: Literal["open", "closed"] | None = None
    licence: str | None = None
    link: str | None = None


class Submitted(Record):
    """What became of a submission.

    Attributes:
        bundle: Its id.
        protocol: Name of its protocol.
        sentences: What was done, for people to read.
        place: Folder on a board here, page of the pull request, or null where it was not handed in.
    """

    bundle: str
    protocol: str
    sentences: tuple[str, ...]
    place: str | None


def submit(
    run: Path,
    to: str | None,
    about: About,
    progress: Progress,
    *,
    protocol: str | None = None,
    release: Path | None = None,
    bundle_file: Path | None = None,
    eval_results: str | None = None,
    dry_run: bool = False,
) -> Submitted:
    """Makes a bundle of a run, admits it, and hands it in.

    Args:
        run: Folder of a run or of lm-eval's samples, judged by the protocol's judge; or a bundle's ZIP file or folder.
        to: A board's folder, `hf://datasets/OWNER/NAME`, or null to make the bundle alone.
        about: What the submitter says.
        progress: Told what goes on.
        protocol: Name of the protocol; by default the one that the run followed.
        release: Folder of the released files, for a protocol on split `test`.
        bundle_file: Also write the bundle as a ZIP file.
        eval_results: Dataset repository for which `.eval_results` are written beside the run and proposed to the model's repository.
        dry_run: Whether to stop before anything is handed in.

    Returns:
        What became of it.

    Raises:
        RefusedError: The bundle can't be taken; nothing was written.
        CultureCareError: The run is not there or not finished, or nothing can be written there.
    """
    scrubbed: tuple[str, ...] = ()
    is_bundle = run.is_file() or (run / SUBMISSION).is_file()
    if to is not None and to.startswith("hf://"):
        _board_on_the_hub(to)
    if is_bundle:
        bundle = read_bundle(run)
        _check_against_bundle(run, bundle, about, protocol)
    else:
        bundle, scrubbed = bundle_of_run(run, about, progress, protocol=protocol, release=release)
    made = bundle.submission
    is_here = to is not None and not to.startswith("hf://")
    there = open_board(to, progress).all_entries if to is not None and is_here and Path(to).exists() else ()
    reasons = refusals(bundle, there)
    if to is not None and not is_here:
        reasons += _already_on_the_hub(to, bundle)
    if reasons:
        raise RefusedError(reasons)
    results = {} if eval_results is None else eval_results_of(bundle, eval_results, _page_of(to))
    sentences = [f"Submission {bundle.id} of {made.model} follows protocol {made.protocol}."]
    sentences += [f"Left out: {what}." for what in scrubbed]
    if withheld := sum(reply.text is None for reply in bundle.replies):
        sentences.append(f"{withheld} of {len(bundle.replies)} replies are handed in without their text: each repeats its post.")
    if bundle_file is not None:
        write_bundle(bundle_file, bundle)
        sentences.append(f"Bundle: {bundle_file}")
    if results:
        # A bundle's folder holds its four files and nothing else, or no board takes it.
        folder = Path() if is_bundle else run
        write_eval_results(folder, results)
        sentences += [f"Evaluation results: {folder / name}" for name in results]
    place = None
    if dry_run:
        sentences.append("Nothing was handed in.")
    else:
        place = _hand_in(to, bundle, results, sentences)
    return Submitted(bundle=bundle.id, protocol=made.protocol, sentences=tuple(sentences), place=place)


def _page_of(to: str | None) -> str | None:
    """Where the submission will be read, null for a board on this machine."""
    from culturecare_harness.hub import page_of

    return page_of(to) if to is not None and to.startswith("hf://") else None


def _check_against_bundle(run: Path, bundle: Bundle, about: About, protocol: str | None) -> None:
    wanted = {**about.model_dump(exclude_none=True), **({} if protocol is None else {"protocol": protocol})}
    if other := [name for name, value in wanted.items() if value != getattr(bundle.submission, name)]:
        raise CultureCareError(f"{run}: this bundle says otherwise of {', '.join(other)}; make it anew from the run")


def _hand_in(to: str | None, bundle: Bundle, results: dict[str, bytes], sentences: list[str]) -> str | None:
    place = None
    if to is not None:
        is_here = not to.startswith("hf://")
        place = str(put(Path(to), bundle)) if is_here else _pull_request(to, bundle)
        sentences.append(f"{'On the board' if is_here else 'Pull request'}: {place}")
    if results:
        try:
            sentences.append(f"Pull request on the model: {propose_eval_results(bundle, results)}")
        except CultureCareError as error:
            raise CultureCareError(f"{error}; the submission itself was handed in: {place}" if place else str(error)) from error
    return place


def _already_on_the_hub(to: str, bundle: Bundle) -> Iterator[str]:
    """Reasons that a look at the model's own submissions gives, without fetching the whole board; the board itself looks at the rest."""
    from culturecare_harness.hub import snapshot

    submissions = Path(folder_of(bundle)).parent.as_posix()
    with tempfile.TemporaryDirectory() as temporary:
        folder = snapshot(to, [f"{submissions}/*/{SUBMISSION}"], folder=Path(temporary))
        for path in sorted(folder.glob(f"{submissions}/*/{SUBMISSION}")):
            there = read_submission(path)
            if path.parent.name == bundle.id:
                yield f"it is on the board already, handed in by {there.submitter} on {there.submitted:%Y-%m-%d}"
            elif there.submitter != bundle.submission.submitter:
                yield f"model {there.model!r} is on the board by {there.submitter}; only they can hand in another run of it"


def _pull_request(to: str, bundle: Bundle) -> str:
    from culturecare_harness.hub import open_pull_request

    made = bundle.submission
    opened = open_pull_request(
        _board_on_the_hub(to),
        "dataset",
        {f"{folder_of(bundle)}/{name}": content for name, content in contents(bundle).items()},
        message=f"Submit {made.model} under protocol {made.protocol}",
        description=f"Submission `{bundle.id}` by {made.submitter}. Check it with `culturecare verify` before merging.",
        known_by=f"{folder_of(bundle)}/{SUBMISSION}",  # A bundle that is made again says another time of submission, and is the same one.
    )
    return opened.url


def _board_on_the_hub(to: str) -> str:
    from culturecare_harness.hub import parse_hub_uri

    address = parse_hub_uri(to)
    if address.repo_type != "dataset" or address.revision is not None:
        raise CultureCareError(f"--to {to!r}: a board is a dataset repository: hf://datasets/OWNER/NAME")
    return address.repo_id


# --- From a run to a bundle ------------------------------------------------------------------------------------------------------


def bundle_of_run(
    run: Path, about: About, progress: Progress, *, protocol: str | None = None, release: Path | None = None
) -> tuple[Bundle, tuple[str, ...]]:
    """Makes a bundle of a run, without what must not leave the machine.

    Args:
        run: Folder of a run or of lm-eval's samples.
        about: What the submitter says.
        progress: Told what is read.
        protocol: Name of the protocol; by default the one that the run followed.
        release: Folder of the released files, for a run on split `test`.

    Returns:
        The bundle, which may still be refused, and what was left out.

    Raises:
        CultureCareError: The run was not judged, or followed no protocol.
    """
    replies = load_replies(run, release, progress)
    chosen, path, result = _chosen_result(replies.folder, replies.replies, protocol)
    # A jury's verdicts name the jury, a judge's the judge.
    verdict_model: type[JuryVerdict | Verdict] = JuryVerdict if isinstance(result, JuryResult) else Verdict
    verdicts = read_records(path.with_name(path.name.removesuffix(".result.json") + ".verdicts.jsonl"), verdict_model)
    may_show = chosen.posts.split != "test"
    public = [_public(reply, None if may_show else replies.posts[reply.instance_id]) for reply in replies.replies]
    scrubbed: list[str] = []
    fields: dict[str, Any] = {
        **about.model_dump(),
        "submitter": about.submitter or _account(),
        "model": about.model or result.model.name,
        "protocol": chosen.name,
        "protocol_hash": chosen.hash,
        "submitted": dt.datetime.now(dt.UTC).replace(microsecond=0),
    }
    clean = result.model_copy(update={"protocol": chosen.name, "model": _scrubbed_model(result, scrubbed)})
    bundle = pack(fields, clean, public, [_scrubbed(verdict, may_show=may_show) for verdict in verdicts])
    return bundle, tuple(scrubbed)


def _account() -> str:
    from culturecare_harness.hub import whoami

    try:
        return whoami()
    except CultureCareError as error:
        raise CultureCareError(f"--submitter: say who hands it in, or log in to the Hub ({error})") from error


def _chosen_result(folder: Path, replies: Sequence[Reply], wanted: str | None) -> tuple[Protocol, Path, Result | JuryResult]:
    found = [(path, _read_result(path)) for path in sorted(folder.glob("*.result.json"))]
    judged = [(path, result) for path, result in found if _judges(result)]
    if not judged:
        raise CultureCareError(f"{folder}: holds no judged result; judge the replies with `culturecare judge {folder} --judge NAME` first")
    fitting = []
    for path, result in judged:
        name = followed(result.dataset, replies, result.strategies, _judges(result))
        if name is not None and wanted in (None, name):
            fitting.append((select_protocol(name), path, result))
    if wanted is not None and not fitting:
        # The refusals of what is there say best why it does not fit.
        return select_protocol(wanted), *judged[-1]
    if not fitting:
        known = "; ".join(f"{protocol.name}: {protocol.summary}" for protocol in protocols().values())
        raise CultureCareError(
            f"{folder}: the run follows no protocol. Run `culturecare eval --protocol NAME`, or name one with --protocol to be told what "
            f"differs. Protocols: {known}"
        )
    if len(names := sorted({protocol.name for protocol, _, _ in fitting})) > 1:
        raise CultureCareError(f"{folder}: its results follow several protocols; choose one with --protocol: {', '.join(names)}")
    return max(fitting, key=lambda candidate: candidate[2].created)


def _read_result(path: Path) -> Result | JuryResult:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is no result file ({error})") from error
    if isinstance(fields, dict) and "jury" in fields:
        return parse_record(JuryResult, fields, where=str(path))
    return parse_record(Result, fields, where=str(path))


def _judges(result: Result | JuryResult) -> tuple[Any, ...]:
    if isinstance(result, JuryResult):
        return result.jury.judges
    return () if result.judge is None else (result.judge,)


# --- What may not leave the machine ----------------------------------------------------------------------------------------------


def _public(reply: Reply, post: str | None) -> PublicReply:
    fields = reply.model_dump()
    if post is not None and repeats(reply.text, post):
        fields |= {"text": None, "withheld": WITHHELD}
    return parse_record(PublicReply, fields, where=f"reply {reply.id} to {reply.instance_id!r}")


def _scrubbed(verdict: Verdict | JuryVerdict, *, may_show: bool) -> Verdict | JuryVerdict:
    """Without what could quote a post: the words after a reason's colon, and answers that are more than a grade."""
    changes: dict[str, Any] = {}
    if verdict.reason is not None:
        changes["reason"] = verdict.reason.partition(":")[0][:LONGEST_REASON]
    if isinstance(verdict, Verdict) and verdict.answers is not None and not (may_show and leaks(list(verdict.answers)) is None):
        changes["answers"] = tuple(answer if is_bare_grade(answer) else _grade_of(answer) for answer in verdict.answers)
    return verdict.model_copy(update=changes)


def _grade_of(answer: str) -> str:
    from culturecare_harness.asking import read_grade

    grade, _ = read_grade(answer)
    return "" if grade is None else str(grade)


def _scrubbed_model(result: Result | JuryResult, scrubbed: list[str]) -> Any:
    kept = {}
    for name, value in result.model.arguments.items():
        if (found := _private_argument(value) or leaks({name: value})) is None:
            kept[name] = value
        else:
            scrubbed.append(f"model argument {name!r}: holds {found}")
    return result.model.model_copy(update={"arguments": kept})


def _private_argument(value: Any) -> str | None:
    """What a model's argument may give away beyond `leaks`, null where it is a plain word or number: any folder, server or structure."""
    if not isinstance(value, str):
        return None if value is None or isinstance(value, int | float) else "more than one value"
    if "://" in value:
        return "an address"
    # `owner/name` is how the Hub calls an adapter or a tokeniser.
    is_path = value.startswith((".", "/", "~")) or "\\" in value or value.count("/") > 1 or Path(value).exists()
    return "a path" if is_path else None


def read_parameters(words: str) -> int:
    """Reads a number of parameters, such as `135M`, `7.6B` or `7600000000`.

    Raises:
        CultureCareError: It is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMBT]?)", words.strip(), flags=re.IGNORECASE)
    if match is None:
        raise CultureCareError(f"--parameters {words!r}: must be a number such as 135M, 7.6B or 7600000000")
    return round(float(match[1]) * 10.0 ** (3 * " KMBT".index(match[2].upper() or " ")))
