"""`redub train` as it is typed: settings, samples, other runs' weights, processes, signals."""

import json
import os
import shlex
import shutil
import signal
import sys
import time
import types
from dataclasses import replace

import pytest

from redub.core.errors import ConfigError, MissingExtraError, ModelRefusedError, UsageError
from redub.pipeline.reports.status import project_status
from redub.pipeline.stages.train import RunRequest, estimate_run, train_run
from redub.pipeline.store.packs.build import build_pack
from redub.pipeline.store.project import open_project, with_training
from redub.pipeline.store.runs.folders import export_run, run_folder, trained_on
from redub.pipeline.store.runs.requests import TrainRequest, unfinished_run
from redub.pipeline.work.training_events import Speed
from redub.training import checkpoint
from redub.training.data.pack import Pack
from redub.training.step import StepReport
from tests.typed import Typed, redub

QUICK = ("training.validate_every=2", "training.checkpoint_every=2", "samples=1")


@pytest.fixture(scope="module")
def root(walked, tmp_path_factory):
    """The walked project without its runs."""
    place = tmp_path_factory.mktemp("train") / "demo"
    shutil.copytree(walked[0], place, ignore=shutil.ignore_patterns("runs"))
    return place


@pytest.fixture(scope="module")
def project(root):
    return with_training(open_project(root), settings=QUICK)


@pytest.fixture(scope="module")
def trained(project):
    """A run of four steps that others start from."""
    return train_run(project, RunRequest(run="first", max_steps=4))


def rows(folder):
    return [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]


def typed(root, *words):
    settings = (part for setting in QUICK for part in ("--set", setting))
    return Typed("train", *words, "-C", root, *settings)


def test_samples_are_spoken_at_every_validation_and_the_run_goes_on_from_any_checkpoint(
    project, trained
):
    folder = run_folder(project, "first")
    assert [path.name for path in sorted((folder / "progress").iterdir())] == [
        "step_00000002",
        "step_00000004",
    ]
    assert {path.suffix for path in (folder / "progress" / "step_00000002").iterdir()} == {
        ".png",
        ".wav",
        ".json",
    }
    whole = rows(folder)
    earlier = checkpoint.directory_of(folder / "checkpoints", 2)
    report = train_run(project, RunRequest(run="first", max_steps=4, resume=earlier)).report
    assert (report.first_step, report.last_step) == (2, 4)
    assert rows(folder) == whole  # steps 3 and 4 came out as before
    assert "| started from | random weights |" in (folder / "card.md").read_text()


def test_weights_of_a_run_start_another(project, trained, tmp_path):
    file = tmp_path / "first.safetensors"
    assert "first step_0000000" in str(export_run(project, "first", file))
    with pytest.raises(UsageError, match="exists already"):
        export_run(project, "first", file)
    summary = train_run(project, RunRequest(run="second", max_steps=1, start_from=file))
    card = (summary.run / "card.md").read_text()
    assert "| started from | first.safetensors (first step_0000000" in card
    wider = with_training(project, settings=["model.width=48"])
    with pytest.raises(ModelRefusedError, match=r"model\.width"):
        train_run(wider, RunRequest(run="third", max_steps=1, start_from=file))


def test_learning_by_heart_takes_the_first_lines_only(project):
    summary = train_run(project, RunRequest(run="byheart", max_steps=2, overfit=3))
    assert summary.report.lines == 3
    assert len(trained_on(project, "byheart")) == 3
    with pytest.raises(ConfigError, match=r"keys\.overfit 3 → None"):
        train_run(project, RunRequest(run="byheart", max_steps=3))
    with pytest.raises(UsageError, match="--overfit is 0"):
        train_run(project, RunRequest(run="byheart", max_steps=3, overfit=0))


def test_an_estimate_makes_no_run_and_adds_up(project):
    runs = sorted((project.root / "runs").iterdir()) if (project.root / "runs").is_dir() else []
    small = estimate_run(project, max_steps=100)
    assert (sorted((project.root / "runs").iterdir()) if runs else []) == runs
    assert small.run_s == pytest.approx(100 * small.step_s)
    assert small.epoch_s == pytest.approx(small.steps_per_epoch * small.step_s)
    lines, frames = small.largest_batch
    budget = 2400  # of the tiny preset
    assert lines >= 1
    assert lines * frames <= budget or lines == 1
    # Weights, gradients, two moments and the average are 5 times 4 bytes a parameter.
    assert small.training_mib >= 20 * small.parameters / 2**20
    half = with_training(project, settings=["training.batching.frames_per_batch=1200"])
    assert estimate_run(half, max_steps=100).kept_mib < 0.8 * small.kept_mib
    assert f"{small.parameters / 1e6:.2f} M parameters" in small.text()[0]


def test_settings_come_from_file_preset_and_command_line_in_this_order(project, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('preset = "paper"\nmax_steps = 7\n[training.batching]\nlines_per_batch = 3\n')
    chosen = with_training(
        project, preset="tiny", file=file, settings=["max_steps=9", "training.precision=bfloat16"]
    ).config.train
    assert (chosen.preset, chosen.max_steps) == ("tiny", 9)
    assert chosen.training["batching"] == {"lines_per_batch": 3}
    assert chosen.training["precision"] == "bfloat16"
    assert chosen.training["validate_every"] == 2  # of the project itself


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (["max_step=3"], "did you mean 'max_steps'"),
        (["max_steps=many"], "max_steps"),
        (["training=3"], "wants a table"),
        (["max_steps"], "wanted key=value"),
    ],
)
def test_settings_that_make_no_sense_are_named(project, settings, named):
    with pytest.raises((ConfigError, UsageError), match=named):
        with_training(project, settings=settings)


def test_unknown_keys_of_the_training_are_named_before_anything_is_read(project):
    wrong = with_training(project, settings=["training.validate_evry=3"])
    with pytest.raises(ConfigError, match="did you mean 'validate_every'"):
        train_run(wrong, RunRequest(run="wrong", max_steps=1))
    assert not run_folder(project, "wrong").exists()


@pytest.mark.parametrize("text", ["max_steps = ", "\x00"])
def test_a_file_that_is_no_toml_is_named(project, tmp_path, text):
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"run\.toml: .* line 1,"):
        with_training(project, file=file)


def test_speed_is_counted_over_the_last_steps():
    speed = Speed()
    step = StepReport(1, 2.5, {}, 1.0, 0.1, 100, 8)
    assert speed.after(step) == "loss 2.500"
    time.sleep(0.01)
    loss, lines = speed.after(step._replace(loss=1.25)).split(", ")
    assert loss == "loss 1.250"
    assert 0 < int(lines.removesuffix(" lines/s")) <= 800


def test_tensorboard_gets_every_row_or_its_extra_is_named(project, monkeypatch):
    wanted = replace(
        project,
        config=replace(project.config, train=replace(project.config.train, tensorboard=True)),
    )
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"redub\[tensorboard\]"):
        train_run(wanted, RunRequest(run="board", max_steps=2))
    written = []

    class Writer:
        def __init__(self, folder):
            self.folder = folder

        def __enter__(self):
            return self

        def __exit__(self, *_):
            written.append("closed")

        def add_scalar(self, name, value, step):
            written.append((name, step))

    stub = types.SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "tensorboard", stub)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stub)
    train_run(wanted, RunRequest(run="board", max_steps=2))
    assert ("train/loss", 1) in written
    assert ("train/mel", 2) in written
    assert ("validation/loss", 2) in written
    assert written[-1] == "closed"


def test_two_processes_without_a_batch_for_each_are_refused(root):
    refused = typed(root, "--run", "pair", "--devices", "2").done()
    assert refused.returncode == 4
    assert "--set training.accumulate=2" in refused.stderr


@pytest.mark.slow
def test_two_processes_train_one_run(root):
    one = ("--run", "pair", "--set", "training.accumulate=2")
    done = typed(root, *one, "--max-steps", "2", "--devices", "2").done()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("next: redub synthesize pair") == 1  # only the first one talks
    again = typed(root, *one, "--max-steps", "3").done()
    assert again.returncode == 0, again.stderr  # alone it goes on
    assert [row["step"] for row in rows(root / "runs" / "pair") if "loss" in row] == [1, 2, 3]


PAIR = ("--devices", "2", "--set", "training.accumulate=2")


@pytest.mark.parametrize(
    ("signum", "code", "more"),
    [
        (signal.SIGTERM, 143, ()),
        (signal.SIGINT, 130, ()),
        pytest.param(signal.SIGINT, 130, PAIR, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_leaves_a_checkpoint_and_says_where_and_how_to_go_on(
    root, signum, code, more
):
    name = f"ended{code + len(more)}"
    words = ("fastspeech2", "--run", name, "--resume", "none", *more)
    running = typed(root, *words, "--max-steps", "50000")
    ended_after_a_step(running, root / "runs" / name, signum)
    done = running.done()
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    newest = checkpoint.newest(root / "runs" / name / "checkpoints")
    steps = [row["step"] for row in rows(root / "runs" / name) if "loss" in row]
    assert newest.step == steps[-1] >= 1
    place = checkpoint.directory_of(root / "runs" / name / "checkpoints", newest.step)
    assert f"in train: step {newest.step} is saved in {place}" in done.stderr
    [go_on] = [line for line in done.stderr.splitlines() if line.startswith("go on with: ")]
    again = shlex.split(go_on.removeprefix("go on with: "))
    # As it was typed, but for what would start the run over.
    kept = [word for word in running.words if word not in ("--resume", "none")]
    assert again == ["redub", *kept]
    assert "--resume" in running.words
    # The commands that look at a project continue the same training.
    shown = redub("runs", "show", name, "-C", root).stderr
    assert f"  steps       {newest.step} of 50000\n" in shown
    status = redub("status", "-C", root).stderr
    assert f"{name} (step {newest.step} of 50000)" in status
    words = shlex.split(shown.splitlines()[-1].removeprefix("next: "))
    options = {tuple(words[i : i + 2]) for i, word in enumerate(words) if word.startswith("-")}
    typed_ones = {tuple(kept[i : i + 2]) for i, word in enumerate(kept) if word.startswith("-")}
    assert words[:3] == ["redub", "train", "fastspeech2"]
    assert options == typed_ones - {("--devices", "2")}


def test_a_walk_that_is_interrupted_while_it_trains_saves_and_goes_on_with_the_same_words(root):
    running = Typed("run", "--from", "train", "--run", "walking", "-C", root)
    ended_after_a_step(running, root / "runs" / "walking", signal.SIGINT)
    done = running.done()
    assert done.returncode == 130, done.stderr
    newest = checkpoint.newest(root / "runs" / "walking" / "checkpoints")
    assert f"in train: step {newest.step} is saved in" in done.stderr
    assert f"go on with: {shlex.join(['redub', *running.words])}\n" in done.stderr
    assert not (root / "runs" / "walking" / "samples").exists()  # it did not walk on


def test_the_next_command_of_a_stopped_run_trains_it_to_its_last_step(root, project):
    place = root.parent / "stopped"
    shutil.copytree(root, place, ignore=shutil.ignore_patterns("runs"))
    chosen = replace(project, root=place)
    train_run(chosen, RunRequest(run="mine", model="fastspeech2", overfit=3, max_steps=2))
    assert unfinished_run(chosen, "mine") is None
    assert project_status(open_project(place)).next_words == ["synthesize", "mine"]
    request = TrainRequest.read(place / "runs" / "mine" / "request.json")
    replace(request, max_steps=3).write(place / "runs" / "mine" / "request.json")  # as a kill does
    status = project_status(open_project(place))
    assert [(run.run, run.step, run.max_steps) for run in status.unfinished] == [("mine", 2, 3)]
    done = redub(*status.next_words, "-C", place)
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in rows(place / "runs" / "mine") if "loss" in row] == [1, 2, 3]
    assert project_status(open_project(place)).next_words == ["synthesize", "mine"]
    (place / "runs" / "mine" / "request.json").write_text("{")
    shown = redub("runs", "show", "mine", "-C", place)
    assert (shown.returncode, "request.json" in shown.stderr) == (0, True)


def ended_after_a_step(running, folder, signum):
    metrics = folder / "metrics.jsonl"
    while not (running.ended(0.1) or (metrics.is_file() and metrics.stat().st_size)):
        pass
    os.kill(running.pid, signum)


def test_every_training_says_on_how_many_utterances_and_warns_of_too_few(root):
    # 24 clips: 16 in the training split, and a batch of the tiny preset holds 12.
    said = [
        typed(root, "fastspeech2", "--run", "few", "--max-steps", "1", *more).done().stderr
        for more in ((), (), ("--run", "much", "--set", "training.batching.lines_per_batch=40"))
    ]
    packed = [redub("pack", "-C", root).stderr for _ in range(2)]
    assert "is up to date" in packed[1]
    counts = {
        line.rpartition("trains on")[2]
        for text in (*said, *packed)
        for line in text.splitlines()
        if "trains on " in line
    }
    lines = len(Pack.open(root / "packs", build_pack(open_project(root)).pack).lines("train"))
    assert len(counts) == 1
    assert counts.pop().startswith(f" {lines} of 16 utterances")
    assert ["warning" in text for text in said] == [lines < 12, lines < 12, True]
    assert f"warning: {lines} utterances are too few for preset tiny" in said[2]
    assert "needs at least 40" in said[2]
    assert said[0].endswith(f"next: redub synthesize few -C {root}\n")


def test_an_estimate_ends_with_the_training_that_it_estimated(root):
    done = typed(root, "--run", "mine", "m2ci_dubber", "--estimate").done()
    assert done.returncode == 0, done.stderr
    following = shlex.split(done.stderr.splitlines()[-1].removeprefix("next: "))
    assert following[:5] == ["redub", "train", "--run", "mine", "m2ci_dubber"]
    assert "--estimate" not in following
    assert following[-2:] == ["--set", QUICK[-1]]
