"""Somebody else's dubber as a run: a recorded public checkpoint that speaks with this project.

Reads an entry of ``models.lock`` whose kind is a system; nothing in it is executed, every tensor
must be there and fit. Writes ``runs/<name>/`` with one checkpoint, of step 0, and a card that names
the file and its terms.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from redub.core.config import settings_of
from redub.core.errors import ConfigError, ModelRefusedError
from redub.core.types import AudioSpec
from redub.features.checkpoint_parts import only_file, tensor_table
from redub.features.weights import WeightFolder
from redub.model.batch import FeatureWidths
from redub.model.hpm_dubbing import HPMDubbing
from redub.model.public_hpm import check_complete, hpm_from_public, widths_of_public
from redub.pipeline.files import commit_bytes
from redub.pipeline.index import features_of
from redub.pipeline.lines import features_read
from redub.pipeline.lock import project_lock
from redub.pipeline.project import Project
from redub.pipeline.store import Store
from redub.pipeline.train import run_folder
from redub.pipeline.weights import checked_folder, read_ledger
from redub.training import checkpoint
from redub.training.trainer import CHECKPOINTS, training_preset

HPM = "hpm_dubbing"
SUFFIXES = (".pth.tar", ".pth", ".pt", ".ckpt", ".safetensors")
WIDE = {"lips": "lips", "expression": "local_face", "speaker": "speaker", "scene": "global_scene"}
"""Width of a system to the feature that it is of."""


MELS = {  # by whether there is a scene module
    False: ("Chem", AudioSpec(sample_rate_hz=16_000, hop_samples=160, win_samples=640)),
    True: ("V2C-Animation", AudioSpec(sample_rate_hz=22_050, hop_samples=220, win_samples=880)),
}
"""The published checkpoints' mels (their other settings are the defaults)."""


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
            "set [audio], or say --own-mel if it was trained on this project's",
            code="E-MODEL-AUDIO",
        )


def load_hpm(folder: WeightFolder, widths: FeatureWidths) -> HPMDubbing:
    """A recorded HPMDubbing for features of these widths.

    Raises:
        ModelRefusedError: the file is damaged, holds code, lacks tensors, has others, or reads
            features of other widths (the message names them).
    """
    content = folder.tensors(only_file(folder, *SUFFIXES))
    table = tensor_table(content.get("model", content), folder, "'model'")
    try:
        config, weights = hpm_from_public(table)
        wanted = widths_of_public(weights)
        if config.scene:
            wanted["scene"] = int(weights["booster.scene.0.weight"].size(1))
        wanted["mel"] = int(weights["to_mel.weight"].size(0))
        for name, width in wanted.items():
            if (here := getattr(widths, name)) != width:
                feature = WIDE.get(name, name)
                raise ModelRefusedError(
                    f"it was trained on a {feature} {width} wide, this project's is {here} wide; "
                    "choose the maker that it was trained with (`redub config`, [features])",
                    code="E-MODEL-WIDTH",
                )
        model = HPMDubbing(config, widths)
        check_complete(model, weights)
        return model
    except ModelRefusedError as error:
        raise folder.refused(error.message, code=error.code) from error


def hpm_of(project: Project, entry: str) -> tuple[WeightFolder, HPMDubbing]:
    """A recorded HPMDubbing for this project's features.

    Raises:
        ModelRefusedError: see :func:`load_hpm`.
    """
    weights = checked_folder(read_ledger(project.root), entry, HPM)
    store = Store(project)
    features = features_of(store)
    reads = features_read(project.config, HPM)
    width = {name: store.keys.by_name[name].schema.width for name in (*reads, "global_scene")}
    widths = FeatureWidths(
        sound=project.config.audio,
        lips=width["lips"],
        expression=width["local_face"],
        speaker=width["speaker"],
        scene=width.get(features["scene"], 1),
        face=width.get(features["face"], 1),
        text=width.get(features["text"], 1),
        audio=1,
    )
    return weights, load_hpm(weights, widths)


def import_run(project: Project, entry: str, run: str, *, own_mel: bool = False) -> str:
    """Make a run of a recorded checkpoint; returns a sentence about it.

    Args:
        own_mel: the checkpoint was trained on this project's mel, whatever was published. No file
            of that layout tells its mel.

    Raises:
        ConfigError: there is a run of that name.
        ModelRefusedError: see :func:`load_hpm`; E-MODEL-AUDIO, this project's mel is not that of
            the published checkpoint of this layout.
    """
    folder = run_folder(project, run)
    if folder.exists():
        raise ConfigError(f"there is a run '{run}' already; choose another name")
    weights, model = hpm_of(project, entry)
    if not own_mel:
        _check_mel(model, project.config.audio, weights)
    by_name = Store(project).keys.by_name
    keys = {name: by_name[name].key for name in features_read(project.config, HPM)}
    training = replace(training_preset(HPM, "paper"), seed=project.config.train.seed)
    fields: dict[str, Any] = {
        "system": HPM,
        "model": settings_of(model.config)["fields"],
        "training": settings_of(training)["fields"],
        "widths": settings_of(model.widths)["fields"],
        "keys": keys,
        "scaler": {},  # its inputs are not standardised
        "trained_parameters": [name for name, _ in model.named_parameters()],
        "started_from": f"{entry} ({weights.licence})",
        "code_version": "imported",
    }
    snapshot = checkpoint.Snapshot(step=0, weights=model.state_dict(), state={}, record=fields)
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
    return f"{run}: {parameters / 1e6:.2f} M parameters of '{entry}', ready to speak"
