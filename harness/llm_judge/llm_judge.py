"""CultureCare's judge as an `evaluate` metric: a thin face of `culturecare_harness.judge`."""

import datasets
import evaluate

from culturecare_harness.judge import JudgeItem, judge_replies
from culturecare_harness.judges import select_judge
from culturecare_harness.records import reply_id
from culturecare_harness.scoring import summarise
from culturecare_harness.store import open_store

_DESCRIPTION = """
Grades replies to posts by people in distress on seven dimensions of emotional support, cultural sensitivity and quality, each from
1 to 5, by a language model as judge. A verdict that cannot be read is null with a reason, lowers the coverage, and never counts as
a bad grade.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: Replies, one string each.
    references: The posts that they answer, in the same order.
    judge: Name of a judge that comes with culturecare (see `culturecare judges`), or path of a judge's YAML file.
    judge_settings: List of "field=value" that change the judge's file, such as ["mode=argmax"].
Returns:
    scores: For each dimension and for emotional, cultural, quality and overall: mean, 95 % interval (low, high), n and coverage.
    coverage: Share of all verdicts that have a score.
    verdicts: For each reply a list of verdicts, one a dimension: score, reason, distribution and more.
    judge: What graded: name, model, mode and hashes of prompts and settings.
Example:
    >>> metric = evaluate.load("harness/llm_judge")
    >>> metric.compute(predictions=[reply], references=[post], judge="smollm2")
"""

_CITATION = """
@inproceedings{liu-etal-2026-tailored,
  title = {Tailored Emotional {LLM}-Supporter: Enhancing Cultural Sensitivity},
  author = {Liu and Arnaout and Kova{\\v{c}}i{\\'c} and Atzil-Slonim and Gurevych},
  booktitle = {Proceedings of EACL 2026},
  pages = {535--574},
  year = {2026},
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class LLMJudge(evaluate.Metric):
    """The metric; see its description."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")}),
        )

    def _compute(self, predictions: list, references: list, judge: str, judge_settings: tuple = ()) -> dict:
        chosen = select_judge(judge, judge_settings)
        items = [
            JudgeItem(reply_id=reply_id(f"item-{position}", "", "", text), post=post, reply=text)
            for position, (text, post) in enumerate(zip(predictions, references, strict=True))
        ]
        with open_store() as store:
            verdicts = judge_replies(items, chosen, store=store)
        size = len(verdicts) // len(items)
        by_reply = [verdicts[start : start + size] for start in range(0, len(verdicts), size)]
        return {
            "scores": summarise(by_reply),
            "coverage": sum(verdict.score is not None for verdict in verdicts) / len(verdicts),
            "verdicts": [[verdict.model_dump(mode="json") for verdict in of_reply] for of_reply in by_reply],
            "judge": chosen.judge.model_dump(mode="json"),
        }
