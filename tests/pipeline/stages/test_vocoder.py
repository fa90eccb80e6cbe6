"""Train a vocoder on a project's cached sound, speak with it, and what that makes stale."""

import json
import shutil

import numpy as np
import pytest

from redub.core.durable import commit_json, file_digest
from redub.core.errors import ConfigError, IntegrityError, ModelRefusedError, UsageError
from redub.core.types import AudioSpec
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.stages.synthesize import synthesize
from redub.pipeline.stages.vocoder import PRESETS, split_off, train_project_vocoder, vocoder_plan
from redub.pipeline.store.project import open_project
from redub.pipeline.store.runs.evaluations import inputs_of
from redub.pipeline.store.runs.takes import read_samples
from redub.pipeline.store.runs.vocoders import open_vocoder, spoken_checkpoint, vocoder_key
from redub.pipeline.store.tables import Store
from redub.pipeline.store.verify import verify_store
from redub.pipeline.store.weights import add_weights
from redub.pipeline.work.executor import Scheduler
from redub.pipeline.work.speaking import make_vocoder
from redub.training import checkpoint
from redub.training.data.recordings import Recording
from tests.model import public_vocoders as public
from tests.pipeline.films import make_project

SYNC = Scheduler("sync", 1)
QUICK = (
    "generator.channels=16",
    "discriminators.width=1",
    "training.batch=2",
    "training.segment_samples=1600",
    "training.checkpoint_every=2",
    "training.validate_every=2",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Four training lines and a test film with mel and sound extracted; a run of two steps."""
    place = tmp_path_factory.mktemp("vocoder") / "p"
    root = make_project(place, sources=3, toml="[train]\nthreads = 1\n")
    (root / "footage" / "splits.csv").write_text("source,split\nscene_1.mp4,test\n")
    (root / "footage" / "cast.csv").write_text("name,rights,note\nANN,own,\nBOB,licensed,\n")
    project = open_project(root)
    ingest(project, scheduler=SYNC)
    extract(project, scheduler=SYNC, features=["mel", "waveform"])
    summary = train_project_vocoder(project, run="mine", settings=QUICK, max_steps=2)
    return project, summary


def with_table(project, text):
    path = project.root / "redub.toml"
    path.write_text(path.read_text() + f"\n[vocoder]\n{text}\n")
    return open_project(project.root)


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made[0].root, tmp_path / "p")
    return open_project(tmp_path / "p")


# -- training


def test_only_training_lines_are_read(made, monkeypatch):
    project, _ = made
    asked = {}
    read = Store.read

    def watched(self, name, clip_ids=None):
        asked.setdefault(name, set()).update(["everything"] if clip_ids is None else clip_ids)
        return read(self, name, clip_ids)

    monkeypatch.setattr(Store, "read", watched)
    train_project_vocoder(project, run="watched", settings=QUICK, max_steps=1)
    training = {c.clip_id for c in Store(project).clips() if c.split == "train"}
    assert asked == {"mel": training, "waveform": training}
    lines = json.loads((project.root / "vocoders" / "watched" / "lines.json").read_text())
    assert {*lines["train"], *lines["held_out"]} == training
    assert not {*lines["train"]} & {*lines["held_out"]}
    assert len(training) == 4


def test_no_media_is_opened(copied):
    shutil.rmtree(copied.footage_root)
    report = train_project_vocoder(copied, run="blind", settings=QUICK, max_steps=1).report
    assert (report.last_step, report.lines, report.held_out) == (1, 3, 1)


def test_a_run_goes_on_and_its_card_names_voices_rights_and_distances(made):
    project, first = made
    report = train_project_vocoder(project, run="mine", settings=QUICK, max_steps=4).report
    assert (first.report.last_step, report.first_step, report.last_step) == (2, 2, 4)
    folder = project.root / "vocoders" / "mine"
    card = (folder / "card.md").read_text()
    assert "| voices | ANN, BOB |" in card
    assert "licensed: 2, own: 2" in card
    assert f"| mel distance before training | {report.first_mel_l1:.4f} |" in card
    assert "synthetic" in card
    assert f"`{Store(project).keys.by_name['mel'].key}`" in card
    assert "channels = 16" in (folder / "config.toml").read_text()
    assert {"metrics.jsonl", "checkpoints", "lines.json"} <= {p.name for p in folder.iterdir()}


def test_other_settings_need_another_name_or_a_new_start(made):
    project, _ = made
    wider = (*QUICK, "generator.channels=32")
    with pytest.raises(ConfigError, match=r"generator\.channels 16 → 32"):
        train_project_vocoder(project, run="mine", settings=wider, max_steps=5)
    other = train_project_vocoder(project, run="wider", settings=wider, max_steps=1)
    assert other.report.parameters > made[1].report.parameters
    again = train_project_vocoder(project, run="wider", settings=QUICK, max_steps=1, resume=False)
    assert again.report.parameters == made[1].report.parameters


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        (["trainng.batch=2"], "did you mean 'training'"),
        (["training.bacth=2"], "did you mean 'batch'"),
        (["training=2"], "is a table of keys"),
        (["generator.audio=2"], r"\[audio\] table only"),
        (["generator.channels=17"], "halved"),
        (["generator.padding=upstream"], "samples of 50 frames"),
        (["training.segment_samples=1000"], "longer than one analysis window"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_read(settings, hint):
    with pytest.raises(ConfigError, match=hint):
        vocoder_plan(AudioSpec(), settings=settings)


def test_presets_are_the_published_one_and_one_for_a_laptop():
    paper, tiny = (vocoder_plan(AudioSpec(), preset=name) for name in ("paper", "tiny"))
    assert (paper.generator.channels, paper.training.batch) == (512, 16)
    assert (paper.training.segment_samples, paper.frames) == (8192, 51)
    assert paper.discriminators.periods == (2, 3, 5, 7, 11)
    assert tiny.generator.channels < 200
    with pytest.raises(UsageError, match="did you mean 'paper'"):
        vocoder_plan(AudioSpec(), preset="papr")
    assert set(PRESETS) == {"paper", "tiny"}
    odd_hop = AudioSpec(sample_rate_hz=22_050, hop_samples=300, win_samples=1024)
    for preset in PRESETS:
        assert vocoder_plan(odd_hop, preset=preset).generator.upsample_rates == (5, 5, 4, 3)


def test_a_twentieth_is_held_out_and_one_line_is_too_few():
    lines = [Recording(str(n), np.zeros((1, 80)), np.zeros(160, np.int16)) for n in range(100)]
    learned, held = split_off(lines)
    assert [line.clip_id for line in held] == ["0", "20", "40", "60", "80"]
    assert len(learned) == 95
    assert [len(part) for part in split_off(lines * 20)] == [2000 - 16, 16]
    assert [len(part) for part in split_off(lines[:2])] == [1, 1]
    with pytest.raises(ConfigError, match="one training line"):
        split_off(lines[:1])


def test_without_features_or_steps_nothing_begins(tmp_path):
    project = open_project(make_project(tmp_path / "p", sources=1))
    ingest(project, scheduler=SYNC)
    with pytest.raises(ConfigError, match="redub extract"):
        train_project_vocoder(project, run="mine", settings=QUICK, max_steps=2)
    with pytest.raises(UsageError, match="--max-steps is 0"):
        train_project_vocoder(project, run="mine", settings=QUICK, max_steps=0)
    with pytest.raises(ConfigError, match="cannot name a vocoder run"):
        train_project_vocoder(project, run="../mine", settings=QUICK, max_steps=2)
    assert not (project.root / "vocoders").exists()


# -- speaking with it


def test_a_trained_run_speaks_with_its_best_checkpoint(copied):
    project = with_table(copied, 'name = "hifi_gan"\nrun = "mine"')
    mel = next(iter(Store(project).read("mel").values()))
    spoken = make_vocoder(project).vocode(mel)
    assert len(spoken.samples) == 160 * len(mel)
    place = spoken_checkpoint(project, "mine")
    assert vocoder_key(project).startswith(f"hifi_gan run mine {place.name} ")
    losses = {p: checkpoint.read(p).validation_loss for p in checkpoint.steps_in(place.parent)}
    assert losses[place] == min(losses.values())


def test_a_damaged_checkpoint_of_a_vocoder_is_found_and_never_spoken_with(copied):
    assert verify_store(copied)[1] == []
    place = spoken_checkpoint(copied, "mine")
    weights = bytearray((place / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (place / "weights.safetensors").write_bytes(bytes(weights))
    [wrong] = verify_store(copied)[1]
    assert place.name in wrong
    with pytest.raises(IntegrityError, match=place.name):
        open_vocoder(with_table(copied, 'name = "hifi_gan"\nrun = "mine"'))


def test_the_key_of_a_run_changes_when_it_learns_more(copied):
    project = with_table(copied, 'name = "hifi_gan"\nrun = "grows"')
    train_project_vocoder(project, run="grows", settings=QUICK, max_steps=2)
    before = vocoder_key(project)
    assert vocoder_key(project) == before
    train_project_vocoder(
        project, run="grows", settings=(*QUICK, "training.seed=4"), max_steps=2, resume=False
    )
    assert vocoder_key(project) != before


def test_a_run_of_other_mels_is_refused_by_name(copied):
    path = copied.root / "redub.toml"
    path.write_text(path.read_text() + "\n[audio]\nfmax_hz = 7600.0\n")
    with pytest.raises(ModelRefusedError, match=r"audio\.fmax_hz is 7600 here and 8000 there"):
        open_vocoder(with_table(copied, 'name = "hifi_gan"\nrun = "mine"'))


def test_takes_belong_to_the_vocoder_that_spoke_them(copied):
    # A run's folder as synthesis leaves it, without a line: nothing is spoken here.
    place = copied.root / "runs" / "dubber" / "checkpoints" / "step_00000001"
    place.mkdir(parents=True)
    (place / "manifest.json").write_text("{}")
    folder = copied.root / "runs" / "dubber" / "samples" / "test"
    made_from = f"{place.name} {file_digest(place / 'manifest.json')}"
    index = {"checkpoint": made_from, "keys": {}, "lines": [], "vocoder": "griffin_lim"}
    commit_json(folder / "index.json", index)
    assert read_samples(copied, "dubber", "test") == {}
    measured = inputs_of(copied, ["dubber"], "test")
    assert measured == inputs_of(open_project(copied.root), ["dubber"], "test")
    other = with_table(copied, 'name = "hifi_gan"\nrun = "mine"')
    with pytest.raises(ConfigError, match="with the vocoder griffin_lim, the project's is hifi_"):
        read_samples(other, "dubber", "test")
    assert inputs_of(other, ["dubber"], "test") != measured
    commit_json(folder / "index.json", {**index, "vocoder": vocoder_key(other)})
    assert read_samples(other, "dubber", "test") == {}
    with pytest.raises(ConfigError, match="redub synthesize dubber"):
        read_samples(copied, "dubber", "test")


def test_another_vocoder_makes_takes_stale_and_griffin_lim_leaves_them_alone(walked, tmp_path):
    shutil.copytree(walked[0], tmp_path / "demo")
    project = open_project(tmp_path / "demo")
    folder = project.root / "runs" / "authentic" / "samples" / "test"
    index = json.loads((folder / "index.json").read_text())
    assert index["vocoder"] == "griffin_lim"
    assert synthesize(project, run="authentic").lines == 0  # nothing to do: as spoken
    before = read_samples(project, "authentic", "test")
    measured = inputs_of(project, [], "test")

    weights = public.write(tmp_path / "w", public.HIFI_GAN)
    add_weights(project.root, "hifi_gan", weights)
    other = with_table(project, 'name = "hifi_gan"')
    with pytest.raises(ConfigError, match="redub synthesize authentic") as caught:
        read_samples(other, "authentic", "test")
    assert caught.value.code == "E-STAGE-SYNTHESIZE"
    assert inputs_of(other, [], "test") != measured
    assert synthesize(other, run="authentic").lines == len(before)
    assert synthesize(other, run="authentic").lines == 0
    index = json.loads((folder / "index.json").read_text())
    assert index["vocoder"] == vocoder_key(other)
    after = read_samples(other, "authentic", "test")
    for clip_id, sample in before.items():
        assert np.array_equal(after[clip_id].mel, sample.mel)
        assert len(after[clip_id].waveform.samples) == len(sample.waveform.samples)
        assert not np.array_equal(after[clip_id].waveform.samples, sample.waveform.samples)

    add_weights(
        project.root,
        "hifi_gan",
        public.write(tmp_path / "w", public.HIFI_GAN, table=public.state(public.HIFI_GAN, seed=5)),
        replace=True,
    )
    with pytest.raises(ConfigError, match="redub synthesize authentic"):
        read_samples(other, "authentic", "test")
