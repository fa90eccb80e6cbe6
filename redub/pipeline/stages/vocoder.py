"""Outside the seven stages: train a HiFi-GAN vocoder on the project's recorded utterances.

Reads the cached ``mel`` and ``waveform`` of the training split; opens no media and reads no other
split. Writes ``vocoders/<name>/``: ``config.toml``, ``metrics.jsonl``, ``checkpoints/``,
``lines.json``, ``card.md``. ``[vocoder] name = "hifi_gan", run = "<name>"`` selects it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from redub.core.config import from_mapping, merged, nearest
from redub.core.durable import commit_json
from redub.core.errors import ConfigError, ModelRefusedError, UsageError
from redub.core.records import Json
from redub.core.stopping import deferred
from redub.core.threads import torch_threads
from redub.core.types import AudioSpec
from redub.model.vocoder.discriminators import DiscriminatorConfig
from redub.model.vocoder.hifi_gan import HifiGanConfig
from redub.pipeline.store.project import Project, parsed_settings
from redub.pipeline.store.runs.run_settings import write_config
from redub.pipeline.store.runs.vocoders import vocoder_folder
from redub.pipeline.store.tables import Store
from redub.pipeline.store.writing import writing
from redub.pipeline.work.run_card import describe_vocoder
from redub.pipeline.work.training_events import raise_stopped
from redub.training.data.recordings import Recording
from redub.training.vocoder_job import (
    VOCODER_READS,
    VocoderCallbacks,
    VocoderPlan,
    VocoderReport,
    VocoderStep,
    VocoderTrainingConfig,
)
from redub.training.vocoder_trainer import train_vocoder

MOST_HELD_OUT = 16
LINES = "lines.json"

PRESETS: dict[str, dict[str, Json]] = {
    "tiny": {
        "generator": {
            "channels": 128,
            "resblock": "2",
            "kernels": [3, 7],
            "dilations": [[1, 3], [1, 3]],
        },
        # Scale discriminators use grouped convolutions, which are the slowest part on a CPU.
        "discriminators": {"periods": [2, 3, 5], "scales": 0, "width": 4},
        "training": {
            "batch": 8,
            "segment_samples": 4096,
            "learning_rate": 1e-3,
            "validate_every": 100,
            "checkpoint_every": 100,
        },
    },
    "paper": {},
}
"""Differences from the published generator, discriminators and training (preset ``paper``)."""

MAX_STEPS = {"tiny": 1_000, "paper": 500_000}


@dataclasses.dataclass(frozen=True, slots=True)
class VocoderSummary:
    """What training did; ``left_out``: training utterances without a mel or a waveform."""

    run: Path
    report: VocoderReport
    left_out: int

    def lines(self) -> list[str]:
        """The summary in sentences."""
        r = self.report
        speed = (r.last_step - r.first_step) / max(r.seconds, 1e-9)
        said = [
            f"{self.run.name}: {r.parameters / 1e6:.2f} M parameters, {r.lines} lines, steps "
            f"{r.first_step}–{r.last_step} in {r.seconds:.0f} s ({speed:.2f} steps/s)",
            f"mel distance of {r.held_out} held-out lines: {r.first_mel_l1:.3f} before "
            f"the first step, {r.last_mel_l1:.3f} now; best: {r.best_checkpoint.name}",
        ]
        if self.left_out:
            said.append(f"{self.left_out} training lines have no mel or no sound")
        return said


def vocoder_plan(
    audio: AudioSpec, *, preset: str = "tiny", settings: Sequence[str] = ()
) -> VocoderPlan:
    """The generator, discriminators and training of a preset, for the project's mels.

    Args:
        settings: ``key=value`` with dotted keys below generator, discriminators and training.

    Raises:
        UsageError: an unknown preset, or a setting without ``=``.
        ConfigError: an unknown key (with the nearest known one), or a value out of range.
    """
    if preset not in PRESETS:
        raise UsageError(f"unknown preset '{preset}'; {nearest(preset, PRESETS)}")
    values = merged(PRESETS[preset], parsed_settings(settings))
    parts = ("generator", "discriminators", "training")
    if unknown := sorted(values.keys() - set(parts)):
        raise ConfigError(f"unknown key '{unknown[0]}'; {nearest(unknown[0], parts)}")
    generator, discriminators, training = (_table(name, values.get(name, {})) for name in parts)
    if "audio" in generator:
        raise ConfigError("'generator.audio' is set in the [audio] table only", code="E-CFG-KEY")
    generator["audio"] = dataclasses.asdict(audio)
    try:
        return VocoderPlan(
            generator=from_mapping(HifiGanConfig, generator, where="generator"),
            discriminators=from_mapping(
                DiscriminatorConfig, discriminators, where="discriminators"
            ),
            training=from_mapping(VocoderTrainingConfig, training, where="training"),
        )
    except ModelRefusedError as error:  # no checkpoint is involved: a setting is wrong
        raise ConfigError(error.message, code="E-CFG-VALUE") from error


def _table(name: str, value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise ConfigError(f"'{name}' is a table of keys, as in training.seed=3", code="E-CFG-TYPE")
    return dict(value)


def train_project_vocoder(
    project: Project,
    *,
    run: str,
    preset: str = "tiny",
    settings: Sequence[str] = (),
    max_steps: int | None = None,
    resume: bool = True,
    progress: Callable[..., None] = lambda done, total, note="": None,
) -> VocoderSummary:
    """Train a vocoder, or continue it; the caller holds the project lock.

    Args:
        settings: see :func:`vocoder_plan`.
        max_steps: None for the preset's number.
        progress: given the step, the number of steps, and words about mel distance and speed.

    Raises:
        ConfigError: no features yet, fewer than two lines, or the run was made with other settings.
        Stopped: SIGINT or SIGTERM arrived; a checkpoint of the current step was saved.
    """
    folder = vocoder_folder(project, run)
    plan = vocoder_plan(project.config.audio, preset=preset, settings=settings)
    steps = MAX_STEPS[preset] if max_steps is None else max_steps
    if steps < 1:
        raise UsageError(f"--max-steps is {steps}; wanted at least 1")
    store = Store(project)
    recordings, missing = training_recordings(store)
    learned, held_out = split_off(recordings)
    clips = {clip.clip_id: clip for clip in store.clips()}
    device = str(project.config.compute.torch_device())
    speed = _Speed(plan.training.batch)

    def began(step: int) -> None:
        """Show the first step, and write the run's settings and clips."""
        progress(step, steps)
        _note(folder, plan, learned, held_out)

    with torch_threads(project.config.train.threads), deferred() as signalled:
        report = train_vocoder(
            learned,
            held_out,
            plan,
            folder,
            keys={name: store.keys.by_name[name].key for name in VOCODER_READS},
            max_steps=steps,
            resume=resume,
            device=device,
            callbacks=VocoderCallbacks(
                progress=lambda step: progress(step.step, steps, speed.after(step)),
                stop=lambda: bool(signalled()),
                began=began,
            ),
        )
        if not report.stopped:
            describe_vocoder(
                store, folder, plan, report, [clips[line.clip_id] for line in recordings]
            )
        raise_stopped(signalled(), report)
    return VocoderSummary(folder, report, missing)


def training_recordings(store: Store) -> tuple[list[Recording], int]:
    """Recordings of the training split in clip order, and how many clips have none.

    The waveforms stay 16-bit: an hour at 16 kHz with its mels takes about 230 MB.

    Raises:
        ConfigError: E-STAGE-EXTRACT, no training clip has a mel and a waveform yet.
    """
    ids = [clip.clip_id for clip in store.clips() if clip.split == "train"]
    mels, sounds = (store.read(name, ids) for name in VOCODER_READS)
    found = [
        Recording(clip_id, np.asarray(mels[clip_id]), np.asarray(sounds[clip_id]).reshape(-1))
        for clip_id in ids
        if clip_id in mels and clip_id in sounds
    ]
    if not found:
        raise ConfigError(
            f"none of {len(ids)} training lines has a mel and sound; run `redub extract`",
            code="E-STAGE-EXTRACT",
        )
    return found, len(ids) - len(found)


def split_off(recordings: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
    """Split recordings into those to train on and, evenly spread, those to measure on.

    A twentieth is held out: at least 1, at most 16. All come from the training split, so the
    vocoder sees no utterance that dubbing runs are evaluated on.

    Raises:
        ConfigError: E-STAGE-LINES, there are fewer than two recordings.
    """
    if len(recordings) < 2:
        raise ConfigError(
            "one training line has a mel and sound; a vocoder needs a second one to be measured on",
            code="E-STAGE-LINES",
        )
    count = min(MOST_HELD_OUT, max(1, len(recordings) // 20))
    held = {place * len(recordings) // count for place in range(count)}
    learned = [line for place, line in enumerate(recordings) if place not in held]
    return learned, [line for place, line in enumerate(recordings) if place in held]


class _Speed:
    """The note of the progress bar: mel distance, and training pieces per second."""

    def __init__(self, batch: int) -> None:
        self.batch, self.began, self.steps = batch, time.monotonic(), 0

    def after(self, step: VocoderStep) -> str:
        """The note after one more step."""
        self.steps += 1
        rate = self.steps * self.batch / max(time.monotonic() - self.began, 1e-9)
        return f"mel {step.mel_l1:.3f}, {rate:.0f} pieces/s"


def _note(
    folder: Path, plan: VocoderPlan, learned: Sequence[Recording], held_out: Sequence[Recording]
) -> None:
    """Write a run's settings and its clips, before the first step."""
    write_config(folder, plan)
    lines = {"train": learned, "held_out": held_out}
    commit_json(folder / LINES, {k: [x.clip_id for x in own] for k, own in lines.items()})


def run_vocoder_train(
    project: Project,
    *,
    run: str,
    preset: str,
    settings: Sequence[str],
    max_steps: int | None,
    resume: bool,
    progress: Callable[..., None],
) -> VocoderSummary:
    """Train a vocoder under the project lock; see :func:`train_project_vocoder`."""
    with writing(project, "vocoder train", run):
        return train_project_vocoder(
            project,
            run=run,
            preset=preset,
            settings=settings,
            max_steps=max_steps,
            resume=resume,
            progress=progress,
        )
