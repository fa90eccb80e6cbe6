"""The settings file and the card of a training run.

Writes ``runs/<run>/config.toml`` and ``runs/<run>/card.md``.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from redub.core.durable import commit_bytes
from redub.pipeline.store.index.builds import features_of
from redub.pipeline.store.runs.run_settings import write_run_settings
from redub.pipeline.store.tables import Store
from redub.training.data.pack import Pack
from redub.training.job import TrainReport
from redub.training.presets import TrainingConfig


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
