"""Context distillation and preference pairs, end to end: a scripted server is the model and the judge, and once the small model is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import culturecare
from culturecare import CultureCareError, parse_record
from culturecare_harness.adaptation.distillation import Asked, Distilled, _cut_teller, distil
from culturecare_harness.adaptation.examples import Example, Preference, Written, example_id
from culturecare_harness.adaptation.preferences import Paired, Pairing, pairs
from culturecare_harness.adaptation.preview import SHOWN, write_preview
from culturecare_harness.adaptation.sources import load_training_data
from culturecare_harness.dataset import Selection, select_instances
from culturecare_harness.generate import Generation, ModelChoice
from culturecare_harness.judges import select_judge
from culturecare_harness.packaged import PACKAGED
from culturecare_harness.records import Reply, read_records, write_records
from culturecare_harness.runs import POSTS as COPY
from culturecare_harness.runs import REPLIES, JudgeOptions, evaluate
from culturecare_harness.strategies import render, strategies
from tests.servers import Answer, ChatServer, chat, openai_judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from culturecare_harness.judges import JudgeFile

POSTS = Selection(split="train", cultures=("american",))
BENCHMARK = Selection(split="sample", cultures=("american",), per_culture=1)
SEED = Generation().seed

GOOD = "I read this twice. You carried it alone for long, and it makes sense that tonight it is too much. Who could you call tomorrow?"
PLAIN = "That sounds hard, and I hope that it gets better for you soon. Try to rest a little when you can, it usually helps."
RUDE = "Honestly everybody has problems like this one, so you should stop complaining and simply get on with your life already."
GERMAN = "Das klingt wirklich schwer, und ich verstehe gut, dass dich das nachts nicht schlafen lässt. Mit wem könntest du darüber reden?"
GRADES = {GOOD: "5", PLAIN: "3", RUDE: "1", GERMAN: "5"}


class Progress:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def advance(self, finished: int, total: int) -> None:
        """The bar is not looked at."""


def own_posts(path: Path, *, order: tuple[int, ...] = (0, 1, 2, 3), **fields: Any) -> Path:
    """The posts of `POSTS` as a user's own, which may be trained on; `order` says which post has the first id, the second, and so on."""
    lines = (culturecare.data_dir() / "train" / "american.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    given = {"training": "allowed", "licence": "CC0-1.0", **fields}
    own = [{**rows[place], "post_id": f"mine{number}", **given} for number, place in enumerate(order)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in own), encoding="utf-8")
    return path


class World:
    """A server that is the model and the judge.

    Attributes:
        reply: What the model replies, from the post's number, the seed and the strategy.
        grade: What the judge says of a reply on a dimension.
    """

    def __init__(self, folder: Path) -> None:
        self._asked: dict[str, tuple[int, str]] = {}
        for selection in (POSTS, BENCHMARK):
            for number, instance in enumerate(select_instances(selection)):
                for name, strategy in strategies().items():
                    prompt = render(strategy, instance)
                    self._asked[f"{prompt.system}\n{prompt.user}"] = (number, name)
        self.reply: Callable[[int, int, str], str] = lambda *_: GOOD
        self.grade: Callable[[str, str], str] = lambda reply, _: GRADES[reply]
        self.server = ChatServer(self._answer)
        self.judge = openai_judge(folder, self.server.url)

    @property
    def model(self) -> ModelChoice:
        arguments = {"base_url": f"{self.server.url}/chat/completions", "num_concurrent": 1, "max_retries": 1}
        return ModelChoice(name="m", backend="local-chat-completions", arguments=arguments, batch_size=1)

    def _answer(self, request: dict[str, Any]) -> Answer:
        prompt = "\n".join(message["content"] for message in request["messages"])
        if request["model"] == "m":
            number, strategy = self._asked[prompt]
            return chat(self.reply(number, request["seed"], strategy))
        reply = next(reply for reply in GRADES if reply in prompt)
        return chat(self.grade(reply, prompt.rsplit("Now grade ", 1)[1].split(",")[0]))

    def distil(self, out: Path, *, progress: Progress | None = None, selection: Selection = POSTS, **asked: Any) -> Distilled:
        return distil(self.model, self.judge, selection, out, progress or Progress(), asked=Asked(**asked))

    def run(self, folder: Path, *names: str, selection: Selection = POSTS, judge: JudgeFile | None = None) -> Path:
        """A finished run, judged where a judge is given."""
        evaluate(self.model, names, selection, Generation(), judge, folder, Progress(), JudgeOptions())
        return folder


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.server.close()


class TestDistillation:
    def test_writes_what_the_teacher_said_under_the_students_prompt(self, world: World, tmp_path: Path) -> None:
        out = tmp_path / "distilled.jsonl"
        distilled = world.distil(out)
        instances = {instance.id: instance for instance in select_instances(POSTS)}
        written = read_records(out, Example)
        assert [each.instance_id for each in written] == list(instances)
        for each in written:
            prompt = render(strategies()["standard"], instances[each.instance_id])
            assert (each.system, each.user, each.reply, each.strategy) == (prompt.system, prompt.user, GOOD, "standard")
            assert each.written is not None
            assert (each.written.model, each.written.strategy, each.written.judge) == ("m", "cga", "local")
            assert (each.written.emotional, each.written.cultural) == (5, 5)
            assert (each.licence, each.training, each.synthetic) == ("CC-BY-4.0", "allowed", True)
        asked = [
            "Marked as distress:" in request["messages"][-1]["content"] for request in world.server.requests if request["model"] == "m"
        ]
        assert asked == [True] * 4
        assert (distilled.posts, distilled.replies, distilled.kept, distilled.left_out) == (4, 4, 4, {})

    def test_its_file_is_training_data(self, world: World, tmp_path: Path) -> None:
        out = tmp_path / "distilled.jsonl"
        world.distil(out)
        assert load_training_data(str(out)).examples == tuple(read_records(out, Example))

    def test_what_is_left_out_is_counted_by_its_reason(self, world: World, tmp_path: Path) -> None:
        world.reply = lambda number, *_: [GOOD, PLAIN, GERMAN, ""][number]
        distilled = world.distil(tmp_path / "distilled.jsonl")
        assert (distilled.kept, distilled.left_out) == (
            1,
            {"emotional below 4": 1, "not in the post's language, or in one that cannot be told": 1, "empty": 1},
        )

    def test_both_means_must_reach_their_threshold(self, world: World, tmp_path: Path) -> None:
        world.reply = lambda number, *_: [GOOD, PLAIN, GOOD, PLAIN][number]
        cultural = {"Sociopolitical influence", "Knowledge", "Cultural context"}
        world.grade = lambda reply, dimension: "5" if (reply == GOOD) == (dimension in cultural) else "3"
        with pytest.raises(CultureCareError, match=r"2 emotional below 4, 2 cultural below 3\.5"):
            world.distil(tmp_path / "distilled.jsonl")

    def test_a_reply_without_a_grade_on_every_dimension_is_left_out(self, world: World, tmp_path: Path) -> None:
        world.reply = lambda number, *_: GOOD if number else PLAIN
        world.grade = lambda reply, dimension: "I can't say." if reply == PLAIN and dimension == "Fluency" else "5"
        assert world.distil(tmp_path / "distilled.jsonl").left_out == {"without a grade on every dimension": 1}

    def test_the_best_of_several_candidates_is_kept_each_by_a_seed_of_its_own(self, world: World, tmp_path: Path) -> None:
        world.reply = lambda number, seed, _: [PLAIN, GOOD, RUDE][(number + seed - SEED) % 3]
        distilled = world.distil(tmp_path / "distilled.jsonl", candidates=3, min_emotional=2, min_cultural=2)
        written = read_records(tmp_path / "distilled.jsonl", Example)
        assert [each.reply for each in written] == [GOOD] * 4
        assert distilled.left_out == {"emotional below 2": 4, "not the best of its post": 4}
        assert distilled.kept + sum(distilled.left_out.values()) == distilled.replies == 12
        assert {request["seed"] for request in world.server.requests if request["model"] == "m"} == {SEED, SEED + 1, SEED + 2}

    def test_several_of_a_post_are_kept_where_that_is_asked_but_none_twice(self, world: World, tmp_path: Path) -> None:
        world.reply = lambda _, seed, __: [GOOD, PLAIN, f"{GOOD} Take care."][seed - SEED]
        distilled = world.distil(tmp_path / "distilled.jsonl", candidates=3, per_post=3, min_emotional=2, min_cultural=2)
        assert (distilled.kept, distilled.left_out) == (8, {"near-duplicates": 4})

    def test_a_second_call_asks_nobody_anything_and_ends_the_same(self, world: World, tmp_path: Path) -> None:
        out = tmp_path / "distilled.jsonl"
        first = world.distil(out)
        content, asked = out.read_bytes(), len(world.server.requests)
        out.unlink()
        assert world.distil(out) == first
        assert (out.read_bytes(), len(world.server.requests)) == (content, asked)

    def test_more_candidates_use_those_that_are_there(self, world: World, tmp_path: Path) -> None:
        out = tmp_path / "distilled.jsonl"
        world.distil(out)
        asked = len(world.server.requests)
        world.distil(out, candidates=2)
        assert [request["seed"] for request in world.server.requests[asked:] if request["model"] == "m"] == [SEED + 1] * 4

    def test_where_nothing_passes_it_says_what_would(self, world: World, tmp_path: Path) -> None:
        world.reply = lambda number, *_: [PLAIN, PLAIN, RUDE, RUDE][number]
        with pytest.raises(CultureCareError) as refused:
            world.distil(tmp_path / "distilled.jsonl")
        said = str(refused.value)
        assert "4 emotional below 4" in said
        assert "Emotional is 3.00 at best and 2.00 in the median, cultural 3.00 and 2.00" in said
        assert "--min-emotional 3.00 --min-cultural 3.00 would keep half" in said
        assert not (tmp_path / "distilled.jsonl").exists()
        asked = len(world.server.requests)
        assert world.distil(tmp_path / "distilled.jsonl", min_emotional=3, min_cultural=3).kept == 2
        assert len(world.server.requests) == asked

    def test_where_no_reply_can_be_used_it_says_why(self, world: World, tmp_path: Path) -> None:
        world.reply = lambda *_: ""
        with pytest.raises(CultureCareError, match=r"no reply can be learnt from \(4 empty\)"):
            world.distil(tmp_path / "distilled.jsonl")

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"judge": None}, "needs a judge"),
            ({"asked": Asked(candidates=2), "generation": Generation(temperature=0)}, "would all be the same"),
            ({"asked": Asked(student="nonesuch")}, "unknown strategy 'nonesuch'"),
            ({"asked": Asked(student="all")}, "--strategy all: one strategy is meant, but this names 5"),
            ({"asked": Asked(teacher="all")}, "--teacher-strategy all: one strategy is meant, but this names 5"),
            ({"asked": Asked(teacher="nonesuch")}, "unknown strategy 'nonesuch'"),
            ({"out": "distilled.json"}, "must be a file that ends in .jsonl"),
            ({"out": "local.yaml/distilled.jsonl"}, "cannot be written"),
            ({"selection": BENCHMARK}, "the benchmark's, which no model is trained on"),
        ],
    )
    def test_what_cannot_be_is_said_before_anything_is_generated(
        self, fields: dict[str, Any], said: str, world: World, tmp_path: Path
    ) -> None:
        given = {"judge": world.judge, "selection": POSTS, "out": "distilled.jsonl", **fields}
        out = tmp_path / given.pop("out")
        with pytest.raises(CultureCareError, match=said):
            distil(world.model, given.pop("judge"), given.pop("selection"), out, Progress(), **given)
        assert world.server.requests == []
        assert not out.with_suffix(".run").exists()

    def test_released_posts_are_refused_before_anything_is_generated(self, world: World, tmp_path: Path, release: Path) -> None:
        with pytest.raises(CultureCareError, match="training: forbidden"):
            world.distil(tmp_path / "distilled.jsonl", selection=Selection(split="test", release=release))
        assert world.server.requests == []

    def test_a_page_for_people_stands_beside_it(self, world: World, tmp_path: Path) -> None:
        world.reply = lambda number, *_: GOOD if number else PLAIN
        world.distil(tmp_path / "distilled.jsonl")
        page = (tmp_path / "distilled.md").read_text(encoding="utf-8")
        first = read_records(tmp_path / "distilled.jsonl", Example)[0]
        assert page.startswith("# Examples distilled from m\n")
        assert "- examples: 3 of 4 replies to 4 posts" in page
        assert "- left out: 1 emotional below 4" in page
        assert f"Reply, by m asked by cga: emotional 5.00, cultural 5.00\n\n> {GOOD}" in page
        assert f"> {first.post.splitlines()[0]}" in page
        assert "Split 'test' could not be checked" in page

    def test_posts_are_those_that_passed_the_gate_whatever_becomes_of_their_file(self, world: World, tmp_path: Path) -> None:
        posts = own_posts(tmp_path / "posts.jsonl")
        selection = Selection(split="own", release=posts)
        before = {instance.id: instance.post_text for instance in select_instances(selection)}
        of_post = dict(zip(before.values(), [GOOD, PLAIN, GOOD, PLAIN], strict=True))

        def reply(number: int, *_: Any) -> str:
            own_posts(posts, order=(1, 0, 3, 2), training="forbidden")
            return [GOOD, PLAIN, GOOD, PLAIN][number]

        world.reply = reply
        out = tmp_path / "distilled.jsonl"
        distilled = world.distil(out, selection=selection, candidates=2, min_emotional=1, min_cultural=1)
        written = read_records(out, Example)
        assert [(each.instance_id, each.post, each.reply) for each in written] == [(name, of, of_post[of]) for name, of in before.items()]
        assert (distilled.replies, distilled.kept, distilled.left_out) == (8, 4, {"exact duplicates": 4})

    def test_replies_to_other_posts_are_not_gone_on_with(self, world: World, tmp_path: Path) -> None:
        selection = Selection(split="own", release=own_posts(tmp_path / "posts.jsonl"))
        world.distil(tmp_path / "distilled.jsonl", selection=selection)
        own_posts(tmp_path / "posts.jsonl", order=(1, 0, 3, 2))
        asked = len(world.server.requests)
        with pytest.raises(CultureCareError, match=rf"distilled\.run/{COPY}: holds other posts than .*posts\.jsonl: name another --out"):
            world.distil(tmp_path / "distilled.jsonl", selection=selection, candidates=2)
        assert len(world.server.requests) == asked

    def test_replies_that_were_made_of_another_revision_are_refused(self, world: World, tmp_path: Path) -> None:
        world.distil(tmp_path / "distilled.jsonl")
        replies = tmp_path / "distilled.run" / f"seed-{SEED}" / REPLIES
        write_records(replies, [each.model_copy(update={"dataset_revision": "0" * 16}) for each in read_records(replies, Reply)])
        with pytest.raises(CultureCareError, match=r"was made from revision 0{16} of the posts"):
            world.distil(tmp_path / "distilled.jsonl")

    def test_a_folder_of_released_files_is_refused_for_what_is_in_it(self, world: World, tmp_path: Path) -> None:
        folder = tmp_path / "released"
        folder.mkdir()
        own_posts(folder / "German_data.jsonl", training="forbidden")
        with pytest.raises(CultureCareError, match=r"German_data\.jsonl: mine0: no model may be trained on this"):
            world.distil(tmp_path / "distilled.jsonl", selection=Selection(split="own", release=folder))


class TestPlace:
    """What may be written over: what an earlier call made, as it made it, and nothing else."""

    @pytest.mark.parametrize("name", ["posts.jsonl", "link.jsonl"])
    def test_the_posts_are_never_written_over(self, name: str, world: World, tmp_path: Path) -> None:
        posts = own_posts(tmp_path / "posts.jsonl")
        (tmp_path / "link.jsonl").symlink_to(posts)
        content = posts.read_bytes()
        with pytest.raises(CultureCareError, match=rf"--out .*{name}: is there already, and no file of examples"):
            world.distil(tmp_path / name, selection=Selection(split="own", release=posts))
        assert (posts.read_bytes(), world.server.requests) == (content, [])
        assert (tmp_path / "link.jsonl").is_symlink()

    @pytest.mark.parametrize("content", ["my notes", "# Examples distilled from m\n", ""])
    def test_a_page_that_somebody_else_wrote_stays(self, content: str, world: World, tmp_path: Path) -> None:
        page = tmp_path / "distilled.md"
        page.write_text(content, encoding="utf-8")
        with pytest.raises(CultureCareError, match=r"--out .*distilled\.jsonl: .*distilled\.md is there already"):
            world.distil(tmp_path / "distilled.jsonl")
        assert (page.read_text(encoding="utf-8"), world.server.requests) == (content, [])

    def test_a_page_that_somebody_wrote_on_stays(self, world: World, tmp_path: Path) -> None:
        world.distil(tmp_path / "distilled.jsonl")
        page = tmp_path / "distilled.md"
        page.write_text(page.read_text(encoding="utf-8").replace("Post:", "Post, which I like:"), encoding="utf-8")
        with pytest.raises(CultureCareError, match=r"distilled\.md is there already"):
            world.distil(tmp_path / "distilled.jsonl")
        assert "which I like" in page.read_text(encoding="utf-8")

    def test_a_page_that_is_a_folder_is_said_before_anything_is_generated(self, world: World, tmp_path: Path) -> None:
        (tmp_path / "distilled.md").mkdir()
        with pytest.raises(CultureCareError, match=r"distilled\.md is there already"):
            world.distil(tmp_path / "distilled.jsonl")
        assert world.server.requests == []

    def test_what_an_earlier_call_made_is_made_again(self, world: World, tmp_path: Path) -> None:
        out = tmp_path / "distilled.jsonl"
        out.touch()
        world.reply = lambda number, *_: GOOD if number else PLAIN
        assert world.distil(out).kept == 3
        assert world.distil(out, min_emotional=3, min_cultural=3).kept == 4
        assert len(read_records(out, Example)) == 4
        assert "4 of 4 replies" in out.with_suffix(".md").read_text(encoding="utf-8")

    def test_what_comes_there_meanwhile_stays(self, world: World, tmp_path: Path) -> None:
        out = tmp_path / "distilled.jsonl"

        def reply(*_: Any) -> str:
            out.write_text('{"mine": 1}\n', encoding="utf-8")
            return GOOD

        world.reply = reply
        with pytest.raises(CultureCareError, match="is there already"):
            world.distil(out)
        assert out.read_text(encoding="utf-8") == '{"mine": 1}\n'
        assert not out.with_suffix(".md").exists()

    def test_pairs_are_written_over_neither_examples_nor_a_run(self, world: World, tmp_path: Path) -> None:
        run = world.run(tmp_path / "run", "standard", judge=world.judge)
        world.distil(tmp_path / "distilled.jsonl")
        for out in (tmp_path / "distilled.jsonl", run / REPLIES):
            content = out.read_bytes()
            with pytest.raises(CultureCareError, match="is there already, and no file of preferences"):
                pairs([run], None, out, Progress())
            assert out.read_bytes() == content


class TestCutReplies:
    @pytest.fixture
    def told_by(self, tmp_path: Path) -> Callable[[str], bool]:
        """What tells of a model in a folder, whose tokenizer has a token a word, with replies of at most 20 tokens."""
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))  # noqa: S106 - no password.
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path / "model")
        is_cut = _cut_teller(ModelChoice(name=str(tmp_path / "model")), Generation(max_gen_toks=20))
        assert is_cut is not None
        return is_cut

    @pytest.mark.parametrize(("words", "cut"), [(20, True), (18, True), (12, False), (0, False)])
    def test_are_as_long_as_replies_may_be_or_nearly(self, words: int, cut: bool, told_by: Callable[[str], bool]) -> None:  # noqa: FBT001
        assert told_by("word " * words) is cut

    def test_a_folder_without_a_tokenizer_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(CultureCareError, match="its tokenizer cannot be loaded"):
            _cut_teller(ModelChoice(name=str(tmp_path)), Generation())

    def test_where_it_cannot_be_told_that_is_said(self, world: World, tmp_path: Path) -> None:
        notes = world.distil(tmp_path / "distilled.jsonl").notes
        assert "Whether a reply was cut at the longest length cannot be told on backend 'local-chat-completions'." in notes


class TestPage:
    def test_shows_the_first_and_says_how_many_there_are(self, tmp_path: Path) -> None:
        examples = load_training_data("train", min_empathy=1).examples
        write_preview(tmp_path / "page.md", "All", {}, examples, [])
        page = (tmp_path / "page.md").read_text(encoding="utf-8")
        assert f"The first {SHOWN} of 28:" in page
        assert page.count("\n## ") == SHOWN
        assert "Reply, by a person:" in page

    def test_tags_in_a_post_stay_text(self, tmp_path: Path) -> None:
        [first, *_] = load_training_data("train").examples
        write_preview(tmp_path / "page.md", "One", {}, [first.model_copy(update={"post": "<script>alert(1)</script>\n\nA & B"})], [])
        assert "> &lt;script>alert(1)&lt;/script>\n>\n> A &amp; B" in (tmp_path / "page.md").read_text(encoding="utf-8")


class TestPreferences:
    @staticmethod
    def pair(folders: list[Path], out: Path, judge: JudgeFile | None = None, **pairing: Any) -> Paired:
        return pairs(folders, judge, out, Progress(), pairing=Pairing(**pairing))

    def test_the_best_of_all_replies_is_held_against_the_worst(self, world: World, tmp_path: Path) -> None:
        world.reply = lambda _, __, strategy: GOOD if strategy == "cga" else PLAIN
        one = world.run(tmp_path / "one", "standard", "cga", judge=world.judge)
        world.reply = lambda *_: RUDE
        two = world.run(tmp_path / "two", "culture", judge=world.judge)
        paired = self.pair([one, two], tmp_path / "pairs.jsonl")
        made = read_records(tmp_path / "pairs.jsonl", Preference)
        instances = {instance.id: instance for instance in select_instances(POSTS)}
        assert [each.instance_id for each in made] == list(instances)
        for each in made:
            prompt = render(strategies()["standard"], instances[each.instance_id])
            assert (each.system, each.user, each.chosen, each.rejected) == (prompt.system, prompt.user, GOOD, RUDE)
            assert (each.chosen_by.strategy, each.rejected_by.strategy) == ("cga", "culture")
            assert (each.chosen_by.emotional, each.rejected_by.cultural) == (5, 1)
        assert (paired.posts, paired.replies, paired.kept, paired.difference) == (4, 12, 4, 4)
        assert (paired.chosen_characters, paired.rejected_characters) == (len(GOOD), len(RUDE))

    def test_its_file_is_training_data_and_readable(self, world: World, tmp_path: Path) -> None:
        world.reply = lambda _, __, strategy: GOOD if strategy == "cga" else PLAIN
        self.pair([world.run(tmp_path / "run", "standard", "cga", judge=world.judge)], tmp_path / "pairs.jsonl")
        data = load_training_data(str(tmp_path / "pairs.jsonl"))
        assert data.preferences == tuple(read_records(tmp_path / "pairs.jsonl", Preference))
        page = (tmp_path / "pairs.md").read_text(encoding="utf-8")
        assert f"Preferred reply, by m asked by cga: emotional 5.00, cultural 5.00\n\n> {GOOD}" in page
        assert f"The other reply, by m asked by standard: emotional 3.00, cultural 3.00\n\n> {PLAIN}" in page

    def test_replies_that_nobody_judged_are_judged_now_and_others_are_not_again(self, world: World, tmp_path: Path) -> None:
        world.reply = lambda _, __, strategy: GOOD if strategy == "cga" else PLAIN
        run = world.run(tmp_path / "run", "standard", "cga")
        assert self.pair([run], tmp_path / "pairs.jsonl", world.judge).kept == 4
        asked = len(world.server.requests)
        assert self.pair([run], tmp_path / "again.jsonl", world.judge).kept == 4
        assert self.pair([run], tmp_path / "again.jsonl").kept == 4
        assert len(world.server.requests) == asked

    def test_more_pairs_of_a_post_go_from_the_outside_in(self, world: World, tmp_path: Path) -> None:
        replies = {"standard": RUDE, "culture": f"{RUDE} Really.", "guided": PLAIN, "cga": GOOD}
        world.reply = lambda _, __, strategy: replies[strategy]
        run = world.run(tmp_path / "run", *replies, judge=world.judge)
        assert self.pair([run], tmp_path / "one.jsonl").kept == 4
        self.pair([run], tmp_path / "two.jsonl", per_instance=2)
        of_first = read_records(tmp_path / "two.jsonl", Preference)[:2]
        assert [(each.chosen, each.rejected) for each in of_first] == [(GOOD, f"{RUDE} Really."), (PLAIN, RUDE)]

    def test_small_differences_make_no_pair(self, world: World, tmp_path: Path) -> None:
        world.reply = lambda _, __, strategy: GOOD if strategy == "cga" else PLAIN
        run = world.run(tmp_path / "run", "standard", "cga", judge=world.judge)
        with pytest.raises(
            CultureCareError, match=r"are 2\.5 apart .*largest difference is 2\.00 and the median 2\.00; lower --min-difference"
        ):
            self.pair([run], tmp_path / "pairs.jsonl", min_difference=2.5)
        assert not (tmp_path / "pairs.jsonl").exists()

    def test_one_reply_a_post_makes_no_pair(self, world: World, tmp_path: Path) -> None:
        run = world.run(tmp_path / "run", "standard", judge=world.judge)
        with pytest.raises(CultureCareError, match="no post has two graded replies"):
            self.pair([run], tmp_path / "pairs.jsonl")

    def test_a_reply_in_another_language_is_never_the_preferred_one(self, world: World, tmp_path: Path) -> None:
        world.reply = lambda _, __, strategy: {"cga": GERMAN, "guided": PLAIN, "standard": RUDE}[strategy]
        run = world.run(tmp_path / "run", "standard", "guided", "cga", judge=world.judge)
        self.pair([run], tmp_path / "pairs.jsonl")
        assert {(each.chosen, each.rejected) for each in read_records(tmp_path / "pairs.jsonl", Preference)} == {(PLAIN, RUDE)}

    @pytest.mark.parametrize("fault", ["empty", "without a grade on every dimension"])
    def test_replies_that_cannot_be_compared_are_left_out_and_counted(self, fault: str, world: World, tmp_path: Path) -> None:
        third = "" if fault == "empty" else RUDE
        world.reply = lambda _, __, strategy: {"cga": GOOD, "guided": PLAIN, "standard": third}[strategy]
        world.grade = lambda reply, dimension: "no" if reply == RUDE and dimension == "Fluency" else GRADES[reply]
        run = world.run(tmp_path / "run", "standard", "guided", "cga", judge=world.judge)
        assert self.pair([run], tmp_path / "pairs.jsonl").left_out == {fault: 4}
        assert {each.rejected for each in read_records(tmp_path / "pairs.jsonl", Preference)} == {PLAIN}

    def test_runs_on_the_benchmark_are_refused(self, world: World, tmp_path: Path) -> None:
        run = world.run(tmp_path / "run", "standard", "cga", selection=BENCHMARK)
        with pytest.raises(CultureCareError, match="run on split 'sample', the benchmark's"):
            self.pair([run], tmp_path / "pairs.jsonl", world.judge)

    @pytest.mark.parametrize("turned", [False, True])
    def test_two_runs_on_different_posts_of_one_id_are_refused(self, turned: bool, world: World, tmp_path: Path) -> None:  # noqa: FBT001
        one = world.run(tmp_path / "one", "standard", selection=Selection(split="own", release=own_posts(tmp_path / "a.jsonl")))
        other = own_posts(tmp_path / "b.jsonl", order=(1, 0, 3, 2), training="forbidden")
        two = world.run(tmp_path / "two", "cga", selection=Selection(split="own", release=other))
        runs = [two, one] if turned else [one, two]
        asked = len(world.server.requests)
        with pytest.raises(
            CultureCareError, match=rf"{runs[0]} and {runs[1]}: 'mine0' is not the same in both \(its .*training.*post.* differ\)"
        ):
            self.pair(runs, tmp_path / "pairs.jsonl", world.judge)
        assert len(world.server.requests) == asked

    def test_the_posts_of_every_run_pass_the_gate(self, world: World, tmp_path: Path) -> None:
        selections = [
            POSTS,
            Selection(split="own", release=own_posts(tmp_path / "a.jsonl")),
            Selection(split="own", release=own_posts(tmp_path / "b.jsonl", training="forbidden"), per_culture=2),
        ]
        runs = [world.run(tmp_path / f"run{number}", "standard", selection=each) for number, each in enumerate(selections)]
        with pytest.raises(CultureCareError, match=r"run2: mine0: no model may be trained on this"):
            self.pair([runs[0], runs[2]], tmp_path / "pairs.jsonl", world.judge)

    def test_runs_on_the_same_own_posts_are_paired(self, world: World, tmp_path: Path) -> None:
        one = world.run(tmp_path / "one", "cga", selection=Selection(split="own", release=own_posts(tmp_path / "a.jsonl")))
        world.reply = lambda *_: RUDE
        two = world.run(tmp_path / "two", "standard", selection=Selection(split="own", release=own_posts(tmp_path / "b.jsonl")))
        assert self.pair([one, two], tmp_path / "pairs.jsonl", world.judge).kept == 4

    def test_it_must_be_clear_whose_grades_count(self, world: World, tmp_path: Path) -> None:
        world.reply = lambda _, __, strategy: GOOD if strategy == "cga" else PLAIN
        run = world.run(tmp_path / "run", "standard", "cga")
        with pytest.raises(CultureCareError, match="was not judged; name a judge"):
            self.pair([run], tmp_path / "pairs.jsonl")
        brief = openai_judge(tmp_path, world.server.url, max_tokens=7)
        for judge in (world.judge, brief):
            assert self.pair([run], tmp_path / "pairs.jsonl", judge).kept == 4
        with pytest.raises(CultureCareError, match=r"was judged by several \(local [0-9a-f]{6}, local [0-9a-f]{6}\); name a judge"):
            self.pair([run], tmp_path / "pairs.jsonl")
        assert self.pair([run], tmp_path / "pairs.jsonl", brief).kept == 4

    @pytest.mark.parametrize("content", [None, "{", '{"model": 1}'])
    def test_a_folder_of_no_run_is_refused(self, content: str | None, tmp_path: Path) -> None:
        if content is not None:
            (tmp_path / "run.json").write_text(content, encoding="utf-8")
        with pytest.raises(CultureCareError, match=r"run\.json"):
            self.pair([tmp_path], tmp_path / "pairs.jsonl")

    def test_a_reply_is_not_held_against_its_own_words(self, world: World, tmp_path: Path) -> None:
        # A judge that is not sure of itself grades the same words differently.
        world.reply, world.grade = lambda *_: PLAIN, lambda *_: "5"
        one = world.run(tmp_path / "one", "standard", judge=world.judge)
        world.reply, world.grade = lambda *_: f"{PLAIN}\n", lambda *_: "1"
        two = world.run(tmp_path / "two", "cga", judge=world.judge)
        with pytest.raises(CultureCareError, match=r"4 pairs of the same words"):
            self.pair([one, two], tmp_path / "pairs.jsonl")

    def test_one_strategy_makes_the_prompts(self, tmp_path: Path) -> None:
        with pytest.raises(CultureCareError, match="--strategy all: one strategy is meant, but this names 5: choose from standard"):
            self.pair([tmp_path], tmp_path / "pairs.jsonl", strategy="all")

    def test_a_place_where_no_file_can_be_written_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "afile").write_text("", encoding="utf-8")
        with pytest.raises(CultureCareError, match=r"--out .*afile/pairs\.jsonl: cannot be written \(Not a directory\)"):
            self.pair([tmp_path], tmp_path / "afile" / "pairs.jsonl")

    def test_none_at_all_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CultureCareError, match="no run was named"):
            self.pair([], tmp_path / "pairs.jsonl")


class TestRecords:
    @pytest.mark.parametrize("reply", ["", " \n\t", "\u3000"])
    def test_a_reply_says_something(self, reply: str) -> None:
        fields = load_training_data("train").examples[0].model_dump()
        fields |= {"reply": reply, "id": example_id(fields["system"], fields["user"], reply)}
        with pytest.raises(CultureCareError, match="here: reply: "):
            parse_record(Example, fields, where="here")

    @pytest.mark.parametrize(
        ("chosen", "rejected", "said"),
        [
            (" ", PLAIN, "here: chosen: "),
            (GOOD, "\n", "here: rejected: "),
            (GOOD, GOOD, "here: the record: chosen and rejected are the same words"),
            (GOOD, f" {GOOD}\n", "here: the record: chosen and rejected are the same words"),
        ],
    )
    def test_a_preference_is_between_two_replies(self, chosen: str, rejected: str, said: str) -> None:
        fields = load_training_data("train").examples[0].model_dump(exclude={"reply", "written"})
        by = Written(model="m", strategy="cga", judge="j", emotional=4, cultural=4)
        fields |= {"chosen": chosen, "rejected": rejected, "chosen_by": by, "rejected_by": by}
        fields["id"] = example_id(fields["system"], fields["user"], chosen, rejected)
        with pytest.raises(CultureCareError, match=said):
            parse_record(Preference, fields, where="here")


@pytest.mark.slow
def test_the_small_model_is_distilled_end_to_end(tmp_path: Path) -> None:
    selection = Selection(split="train", cultures=("american", "german"), per_culture=1)
    out = tmp_path / "distilled.jsonl"
    distilled = distil(
        ModelChoice(name=PACKAGED, batch_size=2, device="cpu"),
        select_judge("smollm2"),
        selection,
        out,
        Progress(),
        asked=Asked(min_emotional=1, min_cultural=1, keep_cut=True),
        generation=Generation(max_gen_toks=48),
    )
    posts = {instance.id: instance for instance in select_instances(selection)}
    written = read_records(out, Example)
    assert distilled.kept == len(written) > 0
    assert distilled.kept + sum(distilled.left_out.values()) == 2
    for each in written:
        assert each.post == posts[each.instance_id].post_text
        assert each.written is not None
        assert 1 <= each.written.cultural <= 5
    assert any("exercises the plumbing alone" in note for note in distilled.notes)
    assert load_training_data(str(out)).examples == tuple(written)
    assert "## 1. synthetic-american-09 (standard)" in out.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_the_small_model_did_not_end_is_not_learnt(tmp_path: Path) -> None:
    model, out = ModelChoice(name=PACKAGED, batch_size=1, device="cpu"), tmp_path / "distilled.jsonl"
    selection = Selection(split="train", cultures=("american",), per_culture=1)
    with pytest.raises(
        CultureCareError, match=r"\(1 cut at the longest length\); give longer replies room with --max-gen-toks.*--keep-cut"
    ):
        distil(model, select_judge("smollm2"), selection, out, Progress(), generation=Generation(max_gen_toks=24))
