"""What goes wrong between the judge and its server: for every fault the verdict, the exit code of `culturecare judge` and what it says.

All on a real HTTP server. No grade may come of a fault, and none may be lost that was answered before it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from culturecare_harness import cli
from culturecare_harness.lm_eval_hooks import support_docs
from culturecare_harness.records import Result, Verdict, read_records
from culturecare_harness.rubrics import select_rubric
from tests.servers import Answer, ChatServer, answers_on_file, chat, die, error, free_address, garbage, raw, reset, stall, tokens

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DIMENSIONS = len(select_rubric("culturecare").dimensions)
FOUR = tokens({"4": 0.8, "5": 0.1})


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault and what becomes of it.

    Attributes:
        script: What the server does, call by call; its last answer is given from then on.
        retries: Calls that the judge may make again.
        mode: The judge's mode.
        score: Of each verdict, or null.
        reason: Why it is null, with the command ending well all the same.
        stops: What the command says when it ends with code 2: no further question could be answered.
        kept: Answers in the store at the end; of the questions of two replies.
    """

    script: Sequence[Answer]
    retries: int = 0
    mode: str = "argmax"
    score: float | None = None
    reason: str | None = None
    stops: str | None = None
    kept: int = 0


ALL = 2 * DIMENSIONS
FOURS = [chat("4")] * 9

FAULTS: dict[str, Fault] = {
    # What passes is asked again; the verdict knows nothing of it.
    "429 that passes": Fault([error(429), chat("4")], retries=1, score=4, kept=ALL),
    "429 with Retry-After": Fault([error(429, Retry_After="0.05"), chat("4")], retries=1, score=4, kept=ALL),
    "429 with retry-after-ms": Fault([error(429, retry_after_ms="50"), chat("4")], retries=1, score=4, kept=ALL),
    "500 that passes": Fault([error(500), chat("4")], retries=1, score=4, kept=ALL),
    "502 that passes": Fault([error(502), chat("4")], retries=1, score=4, kept=ALL),
    "reset that passes": Fault([reset(), chat("4")], retries=1, score=4, kept=ALL),
    "stall that passes": Fault([stall(), chat("4")], retries=1, score=4, kept=ALL),
    # What does not pass for one question says nothing of the next: null with a reason, and the run ends well.
    "429": Fault([error(429, Retry_After="0.01")], retries=1, reason="server error 429 after 1 retries"),
    "500": Fault([error(500)], reason="server error 500 after 0 retries"),
    "502": Fault([error(502)], reason="server error 502 after 0 retries"),
    "stall": Fault([stall()], reason="no answer within 0.3 s"),
    "malformed JSON": Fault([raw('{"choices": [}')], reason="the server's answer is not JSON"),
    "truncated JSON": Fault([raw('{"choices": [{"message": {"con')], reason="the server's answer is not JSON"),
    "another form": Fault([raw('{"result": 4}')], reason="the server's answer is not what the API describes"),
    "prompt too long": Fault([error(400, "The maximum context length is 8192.")], reason="the prompt is too long for the judge"),
    "filtered prompt": Fault([error(400, code="content_filter")], reason="the server's content filter stopped the prompt"),
    "filtered answer": Fault([chat("", finish_reason="content_filter")], reason="the server's content filter stopped the answer", kept=0),
    "refusal": Fault([chat(None, refusal="I can't.")], reason="the judge refused: I can't."),
    # An answer without a grade is an answer: it is kept, and no other is asked for in its place.
    "empty content": Fault([chat("")], reason="the judge's answer is empty", kept=ALL),
    "no content": Fault([chat(None)], reason="the judge's answer is empty", kept=ALL),
    "'10'": Fault([chat("10")], reason="the judge's answer is no whole number from 1 to 5: '10'", kept=ALL),
    "'4.5'": Fault([chat("4.5")], reason="the judge's answer is no whole number from 1 to 5: '4.5'", kept=ALL),
    "'four'": Fault([chat("four")], reason="the judge's answer holds no number: 'four'", kept=ALL),
    "two grades": Fault([chat("4 or 5")], reason="the judge's answer holds several numbers: '4 or 5'", kept=ALL),
    "no grade among the tokens": Fault(
        [tokens({"The": 0.9})], mode="logprob", reason="the five grades hold 0.000 of the probability, less than 0.01", kept=ALL
    ),
    "'٤'": Fault([chat("٤")], score=4, kept=ALL),
    # What no further question can mend stops the run; what was answered is kept.
    "log-probabilities left out": Fault(
        [*[FOUR] * 9, chat("4")], mode="logprob", stops="was asked for log-probabilities and gave none", kept=9
    ),
    "wrong model name": Fault([error(404, "The model does not exist.")], retries=4, stops="status 404: The model does not exist."),
    "wrong key": Fault([error(401, "Incorrect API key.")], retries=4, stops="status 401: Incorrect API key."),
    "forbidden": Fault([error(403, "Not allowed.")], retries=4, stops="status 403: Not allowed."),
    "key revoked half-way": Fault([*FOURS, error(401, "Revoked.")], retries=4, stops="status 401: Revoked.", kept=9),
    "quota used up": Fault(
        [*FOURS, error(429, "No credit.", code="insufficient_quota")], retries=4, stops="status 429: No credit.", kept=9
    ),
    "an hour's wait": Fault([*FOURS, error(429, Retry_After="3600")], retries=4, stops="asks to be left alone for 3600 s", kept=9),
    "server dying half-way": Fault([*FOURS, die()], retries=4, stops="no server answers at ADDRESS", kept=9),
    "reset": Fault([reset()], retries=1, stops="no server answers at ADDRESS"),
    "body cut off": Fault([*FOURS, raw('{"choices": [', content_length=1000)], retries=1, stops="no server answers at ADDRESS", kept=9),
    "no HTTP": Fault([garbage()], stops="no server answers at ADDRESS"),
}


def command(folder: Path, monkeypatch: pytest.MonkeyPatch, url: str, fault: Fault) -> int:
    """Exit code of `culturecare judge` on two replies of samples that lm-eval saved."""
    docs = support_docs(strategy="standard", split="sample", cultures="american", per_culture=2)["test"]
    rows = [{"doc": doc, "resps": [["I hear you."]], "arguments": {}} for doc in docs]
    samples = folder / "samples" / "samples_culturecare_support_standard_2026-01-01T00-00-00.000000.jsonl"
    samples.parent.mkdir()
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = {
        "summary": "A judge for tests.",
        "backend": "openai",
        "model": "scripted",
        "mode": fault.mode,
        "base_url": url,
        "api_key_env": None,
        "concurrency": 1,
        "timeout": 0.3 if any(answer.fault == "stall" for answer in fault.script) else 30,
        "retries": fault.retries,
    }
    judge = folder / "judge.yaml"
    judge.write_text(yaml.safe_dump(settings), encoding="utf-8")
    arguments = ["judge", samples.parent, "--judge", judge, "--out", folder / "out", "--store", folder / "store.sqlite3"]
    monkeypatch.setattr(sys, "argv", ["culturecare", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_as_the_table_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = FAULTS[name]
    with ChatServer(fault.script) as server:
        code = command(tmp_path, monkeypatch, server.url, fault)
    said = capsys.readouterr().err.replace(server.url, "ADDRESS").splitlines()
    assert answers_on_file(tmp_path / "store.sqlite3") == fault.kept
    if fault.stops is not None:
        assert code == 2
        assert said[-1].startswith("error: judge 'judge': ")
        assert fault.stops in said[-1]
        assert not list((tmp_path / "out").glob("*.json*"))
        return
    assert code == 0
    [verdicts_file], [result_file] = (tmp_path / "out").glob("*.verdicts.jsonl"), (tmp_path / "out").glob("*.result.json")
    verdicts = read_records(verdicts_file, Verdict)
    assert [(verdict.score, verdict.reason) for verdict in verdicts] == [(fault.score, fault.reason)] * ALL
    result = Result.model_validate_json(result_file.read_bytes())
    assert result.coverage == (0 if fault.score is None else 1)
    assert sum(result.reasons.values()) == (0 if fault.reason is None else ALL)


def test_a_server_that_is_not_there_stops_the_command_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = free_address()
    assert command(tmp_path, monkeypatch, address, Fault([], retries=50)) == 2  # Fifty retries would take half an hour.
    assert f"no server answers at {address}" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("passing", [error(429, Retry_After="0.01"), error(500), reset(), stall()], ids=["429", "500", "reset", "stall"])
def test_a_call_that_is_made_again_doubles_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passing: Answer) -> None:
    fault = Fault([chat("3"), passing, chat("4")], retries=1)
    with ChatServer(fault.script) as server:
        assert command(tmp_path, monkeypatch, server.url, dataclasses.replace(fault, script=[passing])) == 0
    assert len(server.requests) == ALL + 1
    [verdicts_file] = (tmp_path / "out").glob("*.verdicts.jsonl")
    verdicts = read_records(verdicts_file, Verdict)
    assert [verdict.score for verdict in verdicts] == [3] + [4] * (ALL - 1)
    assert len({(verdict.reply_id, verdict.dimension) for verdict in verdicts}) == ALL
