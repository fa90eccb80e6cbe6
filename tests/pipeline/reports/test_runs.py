"""What a run leaves behind: samples of its training, and the commands that look after runs."""

import dataclasses
import hashlib
import json
import os
import pty
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from redub.cli import app
from redub.core.errors import IntegrityError, LockedError, StorageError, UsageError
from redub.pipeline.reports import run_comparison, runs
from redub.pipeline.reports.training_strip import training_strip
from redub.pipeline.store.lock import project_lock
from redub.pipeline.store.project import open_project
from redub.pipeline.store.runs import folders
from redub.pipeline.store.runs.folders import sampled_steps, step_folder
from redub.pipeline.store.runs.run_settings import toml_text
from redub.pipeline.store.settings import VocoderConfig
from redub.pipeline.work import training_samples as progress
from redub.pipeline.work.training_samples import (
    distances,
    f0_rmse_cents,
    read_sample,
    sample_writer,
)
from redub.training import checkpoint
from redub.training.presets import TRAINING_PRESETS
from redub.training.run_files import METRICS
from redub.training.synthesis import SpokenLine, load_dubber
from tests.json_schema import checked
from tests.training.made import QUICK, SMALL, SOUND, make_line, make_lines, train
from tests.typed import redub

STEP = {"validate_every": 1, "checkpoint_every": 2}


class MadePack:
    """The only thing of a pack that samples need: its lines by split."""

    def __init__(self, **splits):
        self.splits = splits

    def lines(self, split, context=False, triples=False):
        return self.splits.get(split, [])


def writer(folder, *, count=2, **splits):
    config = SimpleNamespace(audio=SOUND, vocoder=VocoderConfig())
    project = SimpleNamespace(config=config)
    return sample_writer(project, MadePack(**splits), folder, count=count)


def trained_in(folder, show=None):
    lines = make_lines()
    config = dataclasses.replace(QUICK, **STEP)
    options = {"model_config": SMALL, "audio": SOUND, "max_steps": 2, "show": show}
    return train(lines[:6], lines[6:], config, folder, keys={"mel": "abc"}, **options)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    """A run of two steps that left samples of its first and third validation line."""
    folder = tmp_path_factory.mktemp("project") / "runs" / "small"
    lines = make_lines()
    report = trained_in(folder, writer(folder, train=lines[:6], validation=lines[6:]))
    return folder, report


@pytest.fixture(scope="module")
def dubber(sampled):
    return load_dubber(sampled[1].checkpoint)


# -- samples during training


def test_every_validation_leaves_a_picture_and_a_sound_of_the_same_lines(sampled):
    folder, _ = sampled
    assert sampled_steps(folder) == [1, 2]
    for step in (1, 2):
        place = step_folder(folder, step)
        index = json.loads((place / "index.json").read_text())
        assert (index["step"], index["split"]) == (step, "validation")
        assert [row["clip_id"] for row in index["clips"]] == ["clip6", "clip8"]
        wanted = {"index.json"}
        for row, line in zip(index["clips"], (make_lines()[n] for n in (6, 8)), strict=True):
            for kind, digest in row["files"].items():
                path = place / f"{row['name']}.{kind}"
                wanted.add(path.name)
                assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
            samples, rate = soundfile.read(place / f"{row['name']}.wav")
            assert (len(samples), rate) == (line.mel_frames * SOUND.hop_samples, 16_000)
            assert cv2.imread(str(place / f"{row['name']}.png")).shape == (900, 840, 3)
            assert row["mel_l1"] > 0
        assert {path.name for path in place.iterdir()} == wanted


def test_samples_change_nothing_of_the_training_and_are_the_same_bytes_again(sampled, tmp_path):
    folder, _ = sampled
    trained_in(tmp_path / "unseen")
    assert (tmp_path / "unseen" / METRICS).read_bytes() == (folder / METRICS).read_bytes()
    lines = make_lines()
    trained_in(tmp_path / "again", writer(tmp_path / "again", validation=lines[6:]))
    for path in step_folder(folder, 2).iterdir():
        again = step_folder(tmp_path / "again", 2) / path.name
        assert again.read_bytes() == path.read_bytes(), path.name


def test_lines_are_spread_over_validation_and_come_from_training_where_there_is_none(
    dubber, tmp_path
):
    lines = make_lines()

    def chosen(name, count, **splits):
        writer(tmp_path / name, count=count, **splits)(1, dubber)
        index = json.loads((step_folder(tmp_path / name, 1) / "index.json").read_text())
        return index["split"], [row["clip_id"] for row in index["clips"]]

    assert chosen("three", 3, validation=lines) == ("validation", ["clip0", "clip3", "clip6"])
    assert chosen("few", 3, validation=lines[:1]) == ("validation", ["clip0"])
    assert chosen("none", 2, train=lines[:4]) == ("train", ["clip0", "clip2"])


def spoken_like(line, **changes):
    values = {
        "clip_id": line.clip_id,
        "mel": line.mel,
        "durations": line.durations,
        "f0_hz": line.f0_hz,
        "lip_attention": None,
        "emotion": np.ones(8, np.float32) / 8,
        "graphs": (),
    }
    return SpokenLine(**{**values, **changes})


def test_distances_are_known_in_closed_form():
    line = make_line(0, phoneme_count=4)  # 16 frames of 10 ms, 4 per phoneme
    assert distances(line, spoken_like(line), SOUND) == (0.0, 0.0, 0.0)
    moved = line.durations + np.array([2, -2, 0, 0])  # (2 + 2) frames over 4 phonemes
    found = distances(
        line, spoken_like(line, mel=line.mel - 0.5, f0_hz=line.f0_hz * 2, durations=moved), SOUND
    )
    assert found.mel_l1 == pytest.approx(0.5, abs=1e-6)
    assert found.f0_rmse_cents == pytest.approx(1200.0)  # an octave everywhere
    assert found.duration_error_ms == pytest.approx(10.0)
    assert distances(line, spoken_like(line, f0_hz=None), SOUND).f0_rmse_cents is None


def test_pitch_is_compared_where_both_are_voiced_only():
    recorded = np.array([100, 0, 100, 200], np.float32)
    spoken = np.array([200, 300, 0, 200], np.float32)  # 1200 and 0 cents: root of half a square
    assert f0_rmse_cents(recorded, spoken) == pytest.approx(1200 / np.sqrt(2))
    assert f0_rmse_cents(recorded, np.zeros(4, np.float32)) is None


def nameless(line):
    return dataclasses.replace(line, phonemes=np.full(len(line.phonemes), 0))


def test_a_sample_that_fails_is_a_warning_and_training_goes_on(tmp_path, caplog):
    folder = tmp_path / "run"
    report = trained_in(folder, writer(folder, validation=[nameless(make_line(0))]))
    assert report.last_step == 2
    assert not list((folder / "progress").glob("*"))
    assert [r.getMessage() for r in caplog.records if "No samples" in r.getMessage()] == [
        f"No samples of step {step}: E-CFG-PHONEME: phoneme id 0; wanted 1 to 87" for step in (1, 2)
    ]


def test_a_mel_that_is_not_finite_is_a_warning_and_the_older_samples_stay(
    dubber, tmp_path, caplog, monkeypatch
):
    write = writer(tmp_path, validation=make_lines())
    write(1, dubber)
    before = (step_folder(tmp_path, 1) / "index.json").read_bytes()
    nowhere = spoken_like(make_line(0), mel=np.full((16, 12), np.nan, np.float32))
    monkeypatch.setattr(progress, "synthesise", lambda dubber, lines: [nowhere] * len(lines))
    write(1, dubber)
    assert "the mel of clip0 is not finite" in caplog.text
    assert (step_folder(tmp_path, 1) / "index.json").read_bytes() == before


def test_a_disk_that_refuses_ends_the_training(dubber, tmp_path):
    (tmp_path / "progress").write_text("a file where a folder belongs")
    with pytest.raises(StorageError):
        writer(tmp_path, validation=make_lines())(1, dubber)


def test_samples_of_a_step_that_comes_again_replace_the_old_ones(dubber, tmp_path):
    writer(tmp_path, validation=make_lines())(1, dubber)
    writer(tmp_path, count=1, validation=make_lines()[4:])(1, dubber)
    names = sorted(path.name for path in step_folder(tmp_path, 1).iterdir())
    assert names == ["index.json", "line_00.png", "line_00.wav"]
    assert read_sample(tmp_path, 1).clip_id == "clip4"


@pytest.fixture
def copied(sampled, tmp_path):
    """The samples of the run, to be damaged."""
    target = tmp_path / "runs" / "small"
    for path in (sampled[0] / "progress").rglob("*.*"):
        copy = target / path.relative_to(sampled[0])
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return target


def test_a_sample_is_read_back_as_it_was_written(copied):
    sample = read_sample(copied, 2, 1)
    assert (sample.step, sample.clip_id, sample.split) == (2, "clip8", "validation")
    assert sample.picture == (step_folder(copied, 2) / "line_01.png").read_bytes()
    assert len(sample.waveform.samples) == make_lines()[8].mel_frames * SOUND.hop_samples
    assert sample.distances.mel_l1 > 0


DAMAGE = {
    "a picture that is gone": ("line_00.png", None),
    "a sound that changed": ("line_00.wav", b"RIFF"),
    "a picture of another step": ("line_00.png", b"\x89PNG\r\n"),
    "a list that is gone": ("index.json", None),
    "a list that is no JSON": ("index.json", b"{"),
    "a list without lines": ("index.json", b'{"step": 1, "split": "validation", "clips": []}'),
    "a list of something else": ("index.json", b"[1, 2]"),
    "a line that is none": ("index.json", b'{"step": 1, "split": "v", "clips": ["x"]}'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_samples_are_a_sentence_on_the_page_beside_the_whole_ones(copied, damage):
    name, content = DAMAGE[damage]
    path = step_folder(copied, 1) / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(IntegrityError):
        read_sample(copied, 1)
    strip = strip_of(copied)
    assert [bool(sample.problem) for sample in strip.samples] == [True, False]
    assert strip.samples[0].problem.startswith("Not shown: small/progress/step_00000001/")
    assert strip.samples[1].picture
    assert strip.clip_id == "clip6"


def strip_of(folder):
    """The strip that a report shows of a run, in a project without clips."""
    config = SimpleNamespace(audio=SOUND, vocoder=VocoderConfig())
    store = SimpleNamespace(clips=list, read=lambda name, ids: {})
    project = SimpleNamespace(root=folder.parent.parent, config=config)
    return training_strip(project, store, folder.name)


def test_a_strip_shows_first_spread_and_last_steps(copied):
    for step in (*range(3, 13), 30):
        step_folder(copied, 2).rename(step_folder(copied, step))
        again = step_folder(copied, 2)
        again.mkdir()
        for path in step_folder(copied, step).iterdir():
            (again / path.name).write_bytes(path.read_bytes())
    (copied / "progress" / ".tmp-step_00000099").mkdir()  # what a kill leaves
    assert len(sampled_steps(copied)) == 13
    assert [sample.step for sample in strip_of(copied).samples] == [1, 5, 9, 30]


def test_a_run_without_samples_has_no_strip(tmp_path):
    (tmp_path / "runs" / "bare").mkdir(parents=True)
    assert strip_of(tmp_path / "runs" / "bare") is None


# -- runs ls, show, compare, rm


@pytest.fixture
def project(tmp_path):
    (tmp_path / "redub.toml").write_text('name = "small"\n')
    return open_project(tmp_path)


MODEL = dataclasses.asdict(runs.system("authentic_dubber").PRESETS["tiny"])
TRAINING = dataclasses.asdict(TRAINING_PRESETS["tiny"])


def rows_of(steps, *, every=5, shift=0.0):
    rows = []
    for step in range(1, steps + 1):
        rows.append({"step": step, "epoch": 0, "loss": 10.0 / step, "mel": 1.0 / step})
        if step % every == 0:
            best = abs(step - 2 * every) / 10 + 1 + shift  # lowest at the second validation
            rows.append({"step": step, "validation_loss": best, "validation_mel": best / 2})
    return rows


def make_run(project, name, *, steps=15, shift=0.0, config=True, keys=(), **settings):
    """A run as training leaves one, by hand: metrics, settings, two checkpoints."""
    folder = project.root / "runs" / name
    folder.mkdir(parents=True)
    rows = rows_of(steps, shift=shift)
    (folder / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = {"name": "authentic_dubber", **MODEL}
    training = TRAINING | settings
    if config:
        (folder / "config.toml").write_text(toml_text({"model": model, "training": training}))
        (folder / "card.md").write_text("# a card\n")
    for step, loss in ((10, 1.0 + shift), (15, 1.5 + shift)):
        snapshot = checkpoint.Snapshot(
            step=step,
            weights={
                "a.weight": torch.zeros(3, 4),
                "a.bias": torch.zeros(3),
                "fixed": torch.ones(9),
            },
            state={},
            record={
                "system": "authentic_dubber",
                "model": MODEL,
                "training": json.loads(json.dumps(training)),
                "keys": {"mel": "m1", "retrieval": "r1", **dict(keys)},
                "trained_parameters": ["a.weight", "a.bias"],
            },
            validation_loss=loss,
        )
        checkpoint.write(folder / "checkpoints", snapshot, keep=2)
    return folder


def with_keys(monkeypatch, **keys):
    """A project whose present keys are these."""
    by_name = {name: SimpleNamespace(key=key) for name, key in keys.items()}
    store = SimpleNamespace(keys=SimpleNamespace(by_name=by_name))
    monkeypatch.setattr(runs, "Store", lambda project: store)
    monkeypatch.setattr(runs, "open_index", lambda project: None)
    monkeypatch.setattr(runs, "pack_keys", lambda store, index: keys)


def test_a_run_is_shown_with_its_losses_checkpoints_and_keys(project, monkeypatch):
    with_keys(monkeypatch, mel="m1", retrieval="r2", new="n")
    folder = make_run(project, "whole")
    facts = runs.show_run(project, "whole")
    assert (facts.model, facts.preset, facts.steps) == ("authentic_dubber", "tiny", 15)
    assert facts.trained_parameters == 3 * 4 + 3
    assert facts.loss == runs.Course(first=(1, 10.0), best=(15, 10 / 15), last=(15, 10 / 15))
    assert facts.validation_loss == runs.Course(first=(5, 1.5), best=(10, 1.0), last=(15, 1.5))
    assert [(c.step, c.is_newest, c.is_best, c.fault) for c in facts.checkpoints] == [
        (15, True, False, ""),
        (10, False, True, ""),
    ]
    on_disk = sum(p.stat().st_size for p in (folder / "checkpoints" / "step_00000015").iterdir())
    assert facts.checkpoints[0].size_bytes == on_disk
    assert facts.changed == {"retrieval": "r2"}
    assert facts.card == folder / "card.md"
    assert facts.faults == ()
    assert "changed since: retrieval r1 → r2" in "\n".join(facts.lines())


def test_settings_beside_the_preset_are_named(project, monkeypatch):
    with_keys(monkeypatch, mel="m1", retrieval="r1")
    make_run(project, "own", keys={"overfit": "4"}, accumulate=3, keep_last=9, seed=5)
    facts = runs.show_run(project, "own")
    assert facts.preset == "tiny with training.accumulate = 3, training.keep_last = 9"
    assert facts.changed == {}
    assert "3 keys; all are the project's present ones" in "\n".join(facts.lines())


def test_damage_is_a_sentence_and_the_rest_is_shown(project):
    folder = make_run(project, "hurt")
    metrics = (folder / METRICS).read_text().splitlines(keepends=True)
    (folder / METRICS).write_text("".join([*metrics[:4], "{}\n", *metrics[5:]]))
    (folder / "config.toml").write_bytes(b"[model\n\xff")
    newest = folder / "checkpoints" / "step_00000015"
    (newest / "weights.safetensors").write_bytes(b"short")
    (folder / "samples" / "test").mkdir(parents=True)
    (folder / "samples" / "test" / "index.json").write_text('{"lines": 3}')
    facts = runs.show_run(project, "hurt")
    assert facts.loss.last == (4, 2.5)
    assert facts.model == "authentic_dubber"  # from the checkpoint
    assert [bool(c.fault) for c in facts.checkpoints] == [True, False]
    assert "weights.safetensors" in facts.checkpoints[0].fault
    assert facts.trained_parameters == 15  # of the older, whole one
    assert facts.unchecked == ("retrieval",)  # a project without an index
    said = "\n".join(facts.faults)
    for part in ("damaged at line 5", "config.toml is damaged", "retrieval", "samples/test"):
        assert part in said
    assert folders.list_runs(project) == [folders.RunLine("hurt", "authentic_dubber", 4, "–")]


def test_a_row_that_a_kill_cut_off_is_no_damage(project):
    folder = make_run(project, "killed", config=False)
    with (folder / METRICS).open("a") as file:
        file.write('{"step": 16, "lo')
    found = folders.metrics_in(folder)
    assert (found.rows[-1]["step"], found.fault) == (15, "")
    assert folders.read_metrics(folder) == found.rows


def test_a_run_that_left_nothing_readable_is_shown_as_such(project):
    folder = project.root / "runs" / "stub"
    folder.mkdir(parents=True)
    (folder / METRICS).touch()
    facts = runs.show_run(project, "stub")
    assert (facts.model, facts.steps, facts.checkpoints) == ("not known", 0, ())
    assert facts.loss == runs.Course(first=None, best=None, last=None)
    assert "no step was finished yet" in facts.faults[0]


def test_runs_are_compared_where_they_differ_and_at_equal_steps(project):
    make_run(project, "long", steps=15)
    make_run(project, "short", steps=12, shift=0.25, accumulate=2)
    found = run_comparison.compare_runs(project, ["long", "short"])
    assert found.settings == {"training.accumulate": (1, 2)}
    assert found.step == 10  # validated at 5, 10, 15 and at 5, 10
    assert found.losses == {"validation_loss": (1.0, 1.25), "validation_mel": (0.5, 0.625)}
    assert found.best == ((10, 1.0), (10, 1.25))
    assert found.last == ((15, 1.5), (10, 1.25))


def test_a_term_that_a_run_never_had_is_not_compared_as_0(project):
    for name, ctc in (("reads", 2.0), ("cannot", 0.0)):
        folder = make_run(project, name)
        rows = [json.loads(row) for row in (folder / METRICS).read_text().splitlines()]
        for row in rows:
            terms = {"ctc": ctc * (row["step"] != 15), "units": 0.0}
            row |= {f"validation_{name}": value for name, value in terms.items()}
        (folder / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = run_comparison.compare_runs(project, ["reads", "cannot"])
    assert found.losses["validation_ctc"] == (0.0, None)  # 0 at this step, and never there
    assert "validation_units" not in found.losses
    assert found.losses["validation_loss"] == (1.5, 1.5)


def test_runs_without_a_common_validation_are_compared_at_their_last_common_step(project):
    make_run(project, "long", steps=15)
    make_run(project, "young", steps=3)
    found = run_comparison.compare_runs(project, ["long", "young"])
    assert found.step == 3
    assert found.losses == {"loss": (10 / 3, 10 / 3), "mel": (1 / 3, 1 / 3)}
    make_run(project, "unborn", steps=0)
    nothing = run_comparison.compare_runs(project, ["long", "unborn"])
    assert (nothing.step, nothing.losses) == (None, {})


def test_one_run_cannot_be_compared(project):
    make_run(project, "alone")
    with pytest.raises(UsageError, match="two or more"):
        run_comparison.compare_runs(project, ["alone", "alone"])


@pytest.mark.parametrize("command", ["show", "rm", "compare"])
def test_an_unknown_run_is_answered_with_the_nearest_one(project, command):
    make_run(project, "authentic")
    result = CliRunner().invoke(app, ["runs", command, "autentic", "-C", str(project.root)])
    assert isinstance(result.exception, UsageError)
    assert result.exception.exit_code == 2
    assert "did you mean 'authentic'?" in str(result.exception)


def test_show_and_compare_answer_in_json(project):
    make_run(project, "one")
    make_run(project, "two", accumulate=2)
    for words, schema in ((["show", "one"], "show"), (["compare", "one", "two"], "compare")):
        result = CliRunner().invoke(app, ["runs", *words, "--json", "-C", str(project.root)])
        assert result.exit_code == 0
        assert checked(result.stdout)["schema"] == f"redub.runs.{schema}/1"


def test_a_run_is_removed_only_when_it_is_said(project):
    folder, other = make_run(project, "old"), make_run(project, "other")
    words = ["runs", "rm", "old", "-C", str(project.root)]
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, UsageError)  # no terminal for the question
    assert folder.is_dir()
    assert CliRunner().invoke(app, [*words, "--yes"]).exit_code == 0
    assert [path.name for path in (project.root / "runs").iterdir()] == [other.name]


@pytest.mark.parametrize(("answer", "code", "stays"), [("n", 1, True), ("y", 0, False)])
def test_at_a_terminal_one_is_asked(project, answer, code, stays):
    folder = make_run(project, "old")
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        done = redub("runs", "rm", "old", "-C", project.root, stdin=os.ttyname(theirs))
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, folder.is_dir()) == (code, stays)
    assert "remove run 'old' (2 checkpoints" in done.stderr


def test_nothing_but_runs_can_be_removed(project, tmp_path_factory):
    make_run(project, "real")
    outside = tmp_path_factory.mktemp("outside")
    (outside / METRICS).write_text("{}\n")
    (project.root / "runs" / "link").symlink_to(outside)
    (project.root / "runs" / "notes").mkdir()
    for name in ("notes", "..", "../runs", ".", "", "real/checkpoints"):
        with pytest.raises(UsageError):
            folders.removal_of(project, name)
    with pytest.raises(StorageError, match="is a link to"):
        folders.removal_of(project, "link")
    assert (outside / METRICS).is_file()


def test_a_link_inside_a_run_is_removed_and_what_it_points_to_stays(project, tmp_path_factory):
    folder = make_run(project, "real")
    outside = tmp_path_factory.mktemp("outside")
    (outside / "keep").touch()
    (folder / "samples").symlink_to(outside)
    folders.remove_run(project, folders.removal_of(project, "real"))
    assert not folder.exists()
    assert (outside / "keep").exists()


def test_a_run_of_a_project_that_is_written_to_stays(project):
    folder = make_run(project, "busy")
    removal = folders.removal_of(project, "busy")
    with project_lock(project.root), pytest.raises(LockedError):
        folders.remove_run(project, removal)
    assert folder.is_dir()
