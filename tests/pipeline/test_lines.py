"""What utterances can be used for, compared with what the pack and synthesis are made of."""

import json
import shutil

import pytest

from redub.core.errors import ConfigError
from redub.pipeline.reports.lines import USES, line_uses
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.index.builds import library_clips
from redub.pipeline.store.packs.build import build_pack, open_pack
from redub.pipeline.store.packs.lines import UtteranceBuilder
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler
from tests.json_schema import checked
from tests.pipeline.films import make_project
from tests.typed import redub

SYNC = Scheduler("sync", 1)


@pytest.fixture
def root(walked, tmp_path):
    root = tmp_path / "demo"
    shutil.copytree(walked[0], root)
    return root


def change_words(root, number):
    """Other words than those that are spoken, in the first cues of the first subtitle file."""
    path = min((root / "footage").rglob("*.srt"))
    cues = path.read_text().strip().split("\n\n")
    for place in range(number):
        lines = cues[place].splitlines()
        name = lines[2].partition(":")[0]
        words = "Seven purple elephants whistle beside a frozen river while nobody is listening."
        cues[place] = "\n".join([*lines[:2], f"{name}: {words}"])
    path.write_text("\n\n".join(cues) + "\n")


def test_the_counts_are_those_of_the_pack_the_library_and_synthesis(root):
    store = Store(open_project(root))
    uses = line_uses(store, with_lines=True)

    pack = open_pack(store, build_pack(store))
    left_out = pack.record.left_out
    assert uses.uses["train"].of - uses.uses["train"].usable == len(left_out.get("train", {}))
    assert uses.uses["train"].usable == len(pack.lines("train"))
    others = {
        i: why for split, out in left_out.items() if split != "train" for i, why in out.items()
    }
    assert {
        line.clip_id: line.why_not["measure"] for line in uses.lines if "measure" in line.why_not
    } == others
    assert {
        line.clip_id: line.why_not["train"] for line in uses.lines if "train" in line.why_not
    } == left_out.get("train", {})
    assert uses.uses["retrieve"].usable == len(library_clips(store)[0])
    builder = UtteranceBuilder(store)
    spoken = [builder.scripted(split) for split in ("train", "validation", "test")]
    assert uses.uses["speak"].usable == sum(len(report.lines) for report in spoken)
    refused = {i: why for report in spoken for i, why in report.left_out.items()}
    assert {
        line.clip_id: line.why_not["speak"] for line in uses.lines if "speak" in line.why_not
    } == refused


def test_lines_whose_words_are_not_said_are_counted_after_extract_and_listed(root):
    change_words(root, 2)
    assert redub("ingest", "-C", root, "--scheduler", "sync").returncode == 0

    done = redub("extract", "-C", root, "--scheduler", "sync")

    assert done.returncode == 0, done.stderr
    counted = next(line for line in done.stderr.splitlines() if "utterances can be:" in line)
    found = line_uses(open_project(root), with_lines=True)
    assert counted == found.sentence()
    wrong = [line for line in found.lines if line.text.startswith("Seven purple")]
    assert len(wrong) == 2
    assert all({"train", "measure"} & set(line.why_not) for line in wrong)
    assert all("durations" in next(iter(line.why_not.values())) for line in wrong)
    assert "`redub lines" in done.stderr

    listed = redub("lines", "--why", "-C", root)
    assert listed.returncode == 0
    for line in wrong:
        assert any(
            line.clip_id in row and "no durations" in row for row in listed.stderr.splitlines()
        )
    document = checked(redub("lines", "--why", "--json", "-C", root).stdout)
    assert [line["clip_id"] for line in document["lines"]] == [line.clip_id for line in found.lines]


def test_a_project_that_cannot_train_is_led_to_the_reasons(tmp_path):
    """One utterance of each voice: `status` does not send its user to a training that fails."""
    root = make_project(tmp_path / "new", sources=2, lines=1)
    for words in ("ingest", "extract"):
        assert redub(words, "-C", root, "--scheduler", "sync").returncode == 0
    assert redub("index", "build", "-C", root).returncode == 0
    done = redub("retrieve", "-C", root)
    assert line_uses(open_project(root)).uses["train"].usable == 0
    said = redub("status", "-C", root).stderr.splitlines()[-1]
    assert said.startswith("next: redub lines --why")
    assert "not trained on" in done.stderr


def test_before_extract_every_reason_is_that_it_is_not_extracted(tmp_path):
    root = make_project(tmp_path / "new", sources=1)
    project = open_project(root)
    with pytest.raises(ConfigError, match="redub ingest"):
        line_uses(project)
    summary = ingest(project, scheduler=SYNC)

    found = line_uses(project, with_lines=True)

    assert found.utterances == summary.clips == summary.with_words
    assert all(count.usable == 0 for count in found.uses.values())
    for line in found.lines:
        assert set(line.why_not) <= set(USES)
        assert all("not extracted yet" in why for why in line.why_not.values())
    assert json.loads(redub("lines", "--json", "-C", root).stdout)["lines"] == []
