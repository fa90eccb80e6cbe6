"""Load published HPMDubbing checkpoints, recorded in ``models.lock``, for a project's features.

Loading is strict: every tensor must be known, and every parameter of the model must get one.
"""

from __future__ import annotations

from redub.core.errors import ModelRefusedError
from redub.core.types import AudioSpec
from redub.features.weights.checkpoint_parts import only_file, tensor_table
from redub.features.weights.folder import WeightFolder
from redub.model.batch import FeatureWidths
from redub.model.systems.hpm_dubbing import HPMDubbing
from redub.model.systems.public_hpm import check_complete, hpm_from_public, widths_of_public
from redub.pipeline.store.index.builds import features_of
from redub.pipeline.store.packs.lines import features_read
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import Store
from redub.pipeline.store.weights import checked_folder, read_ledger

HPM = "hpm_dubbing"
SUFFIXES = (".pth.tar", ".pth", ".pt", ".ckpt", ".safetensors")

WIDE = {"lips": "lips", "local_face": "local_face", "speaker": "speaker", "scene": "global_scene"}
"""Name of an input width to its feature, for messages."""

MELS = {  # key: whether the checkpoint has a scene module
    False: ("Chem", AudioSpec(sample_rate_hz=16_000, hop_samples=160, win_samples=640)),
    True: ("V2C-Animation", AudioSpec(sample_rate_hz=22_050, hop_samples=220, win_samples=880)),
}
"""Corpus and mel settings of the published checkpoints (other mel settings are the defaults)."""


def load_hpm(folder: WeightFolder, widths: FeatureWidths) -> HPMDubbing:
    """Load a recorded HPMDubbing for features of these widths.

    Raises:
        ModelRefusedError: the file is damaged, holds code, lacks tensors or has unknown ones, or
            was trained on features of other widths (the message names them).
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
                    "choose the backend of its training (`redub config`, [features])",
                    code="E-MODEL-WIDTH",
                )
        model = HPMDubbing(config, widths)
        check_complete(model, weights)
        return model
    except ModelRefusedError as error:
        raise folder.refused(error.message, code=error.code) from error


def hpm_of(project: Project, entry: str) -> tuple[WeightFolder, HPMDubbing]:
    """Open a recorded HPMDubbing for this project's features.

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
        local_face=width["local_face"],
        speaker=width["speaker"],
        scene=width.get(features["scene"], 1),
        face=width.get(features["face"], 1),
        text=width.get(features["text"], 1),
        audio=1,
    )
    return weights, load_hpm(weights, widths)
