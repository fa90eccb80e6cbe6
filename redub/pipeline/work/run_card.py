"""The cards of training runs and of vocoder runs.

Writes ``card.md`` into the run's folder, for a training run also ``config.toml``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redub.core.durable import commit_bytes
from redub.core.types import Clip
from redub.pipeline.store.index.builds import features_of
from redub.pipeline.store.packs.voices import voice_name
from redub.pipeline.store.runs.run_settings import write_run_settings
from redub.pipeline.store.tables import Store
from redub.training.data.pack import Pack
from redub.training.job import TrainReport
from redub.training.presets import TrainingConfig
from redub.training.vocoder_job import VOCODER_READS, VocoderPlan, VocoderReport


def describe_run(
    store: Store,
    pack: Pack,
    folder: Path,
    name: str,
    model_config: Any,
    config: TrainingConfig,
    report: TrainReport,
) -> None:
    """Write ``config.toml`` and the card: model, data, rights, voices, features, licences.

    Args:
        folder: the run's.
        name: the system's name in ``model/registry.py``.
    """
    write_run_settings(folder, name, model_config, config)
    clips = store.clips()
    rights = Counter(clip.rights or "not stated" for clip in clips)
    splits = Counter(clip.split for clip in clips)
    voices = sorted({line.speaker for line in pack.lines("train")})
    card = [
        f"# {folder.name}",
        "",
        f"A {name} with {report.trained_parameters:,} trained parameters, trained by redub for "
        f"{report.last_step} steps on {report.lines} lines.",
        "",
        "| | |",
        "| --- | --- |",
        f"| project | {store.project.config.name} |",
        f"| clips by split | {', '.join(f'{k} {v}' for k, v in sorted(splits.items()))} |",
        f"| rights of the footage | {', '.join(f'{k}: {v}' for k, v in sorted(rights.items()))} |",
        f"| voices | {', '.join(voices)} |",
        f"| pack | {pack.record.pack} |",
        f"| started from | {report.started_from or 'random weights'} |",
        f"| validation loss | {report.validation_loss} |",
        "",
        "## Features",
        "",
        "| feature | key | made by | licence |",
        "| --- | --- | --- | --- |",
    ]
    for feature in sorted(pack.record.features.keys() | {features_of(store)["audio"]}):
        key = store.keys.by_name[feature]
        made_by = f"{key.document.backend} {key.document.settings.config}"
        card.append(f"| {feature} | `{key.key}` | {made_by} | {key.document.licence} |")
    card += [
        "",
        "Speech made with this run imitates the voices above; use it only as their owners allow, "
        "and mark it as synthetic.",
        "",
    ]
    commit_bytes(folder / "card.md", "\n".join(card).encode())


def describe_vocoder(
    store: Store,
    folder: Path,
    plan: VocoderPlan,
    report: VocoderReport,
    clips: Sequence[Clip],
) -> None:
    """Write the run's card: data, voices, rights, features, figures."""
    project, audio = store.project, plan.generator.audio
    rights = Counter(clip.rights or "not stated" for clip in clips)
    seconds = sum(clip.video_frames for clip in clips) / project.config.video.fps
    voices = sorted({voice_name(clip) for clip in clips})
    card = [
        f"# {folder.name}",
        "",
        f"A HiFi-GAN with {report.parameters:,} parameters, trained by redub for "
        f"{report.last_step} steps on {report.lines} lines of the training split.",
        "",
        "| | |",
        "| --- | --- |",
        f"| project | {project.config.name} |",
        f"| recordings | {len(clips)} lines, {seconds / 60:.1f} min |",
        f"| rights of the footage | {', '.join(f'{k}: {v}' for k, v in sorted(rights.items()))} |",
        f"| voices | {', '.join(voices)} |",
        f"| mels | {audio.mel_channels} channels, {audio.fmin_hz:g}–{audio.fmax_hz:g} Hz, "
        f"{audio.sample_rate_hz} Hz, hop {audio.hop_samples}, window {audio.win_samples}, fft "
        f"{audio.n_fft} |",
        f"| held-out lines | {report.held_out}, not trained on |",
        f"| mel distance before training | {report.first_mel_l1:.4f} |",
        f"| mel distance after step {report.last_step} | {report.last_mel_l1:.4f} |",
        f"| checkpoint in use | {report.best_checkpoint.name} |",
        "",
        "The mel distance is the mean absolute difference of natural-log mels, recorded against "
        "vocoded.",
        "",
        "## Features",
        "",
        "| feature | key | licence |",
        "| --- | --- | --- |",
    ]
    for feature in VOCODER_READS:
        key = store.keys.by_name[feature]
        card.append(f"| {feature} | `{key.key}` | {key.document.licence} |")
    card += [
        "",
        "A vocoder carries traits of the voices above into all speech that it makes; use it only "
        "as their owners allow, and mark its speech as synthetic.",
        "",
    ]
    commit_bytes(folder / "card.md", "\n".join(card).encode())
