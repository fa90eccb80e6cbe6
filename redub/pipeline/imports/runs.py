"""Import a published dubbing checkpoint as a run of this project.

Reads an entry of ``models.lock`` whose kind is a system. Nothing in the file is executed; every
tensor must be present and have the right shape. Writes ``runs/<name>/`` with one checkpoint, of
step 0, and a card that names the file and its terms.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from redub.core.config import settings_of
from redub.core.durable import commit_bytes
from redub.core.errors import ConfigError
from redub.core.types import AudioSpec
from redub.features.weights.folder import WeightFolder
from redub.model.systems.hpm_dubbing import HPMDubbing
from redub.pipeline.store.lock import project_lock
from redub.pipeline.store.packs.lines import features_read
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import run_folder
from redub.pipeline.store.tables import Store
from redub.pipeline.work.published_runs import HPM, MELS, hpm_of
from redub.training import checkpoint
from redub.training.presets import training_preset
from redub.training.run_files import CHECKPOINTS, RunRecord


def _check_mel(model: HPMDubbing, here: AudioSpec, folder: WeightFolder) -> None:
    corpus, there = MELS[model.config.scene]
    differing = [
        f"audio.{name} is {value:g} here and {getattr(there, name):g} there"
        for name, value in asdict(here).items()
        if name != "mel_channels" and value != getattr(there, name)
    ]
    if differing:
        raise folder.refused(
            f"the checkpoint published for {corpus} speaks another mel: {'; '.join(differing)}; "
            "set [audio], or use --own-mel if it was trained on this project's mels",
            code="E-MODEL-AUDIO",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRun:
    """A run that was made from the recorded weights ``entry``; ``parameters`` counts numbers."""

    run: str
    entry: str
    parameters: int

    def __str__(self) -> str:
        return f"{self.run}: {self.parameters / 1e6:.2f} M parameters of '{self.entry}'"


def import_run(project: Project, entry: str, run: str, *, own_mel: bool = False) -> ImportedRun:
    """Make a run of a recorded checkpoint.

    Args:
        own_mel: the checkpoint was trained with this project's mel settings, not with the
            published ones. No file of that layout states its mel settings.

    Raises:
        ConfigError: a run of that name exists.
        ModelRefusedError: see :func:`redub.pipeline.work.published_runs.hpm_of`; E-MODEL-AUDIO,
            the project's mel settings differ from those of the published checkpoint.
    """
    folder = run_folder(project, run)
    if folder.exists():
        raise ConfigError(f"run '{run}' exists already; choose another name")
    weights, model = hpm_of(project, entry)
    if not own_mel:
        _check_mel(model, project.config.audio, weights)
    by_name = Store(project).keys.by_name
    keys = {name: by_name[name].key for name in features_read(project.config, HPM)}
    training = replace(training_preset(HPM, "paper"), seed=project.config.train.seed)
    record = RunRecord(
        system=HPM,
        model=settings_of(model.config)["fields"],
        training=settings_of(training)["fields"],
        widths=settings_of(model.widths)["fields"],
        keys=keys,
        scaler={},  # its inputs are not standardised
        trained_parameters=tuple(name for name, _ in model.named_parameters()),
        started_from=f"{entry} ({weights.licence})",
        code_version="imported",
    )
    snapshot = checkpoint.Snapshot(
        step=0, weights=model.state_dict(), state={}, record=record.to_json()
    )
    parameters = sum(value.numel() for value in model.parameters())
    card = [
        f"# {run}",
        "",
        f"HPMDubbing ({'V2C-Animation' if model.config.scene else 'Chem'} heads), {parameters:,} "
        f"parameters, taken from '{entry}'; nothing was trained here.",
        "",
        f"- licence: {weights.licence}",
        f"- terms: {weights.terms or 'not stated'}",
        *(f"- {name}: sha256 {digest}" for name, digest in sorted(weights.files.items())),
        "",
    ]
    with project_lock(project.root):
        checkpoint.write(folder / CHECKPOINTS, snapshot, keep=1)
        commit_bytes(folder / "card.md", "\n".join(card).encode())
    return ImportedRun(run=run, entry=entry, parameters=parameters)
