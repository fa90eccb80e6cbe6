"""The vocoder of a project: its key, and the opened network.

Reads ``[vocoder]`` of ``redub.toml`` and, as it says, an entry of ``models.lock`` or a run below
``vocoders/``. No code in these files is executed; every tensor must exist and have its shape.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from redub.core.config import digest_of, from_mapping, nearest
from redub.core.durable import file_digest
from redub.core.errors import ConfigError, IntegrityError, ModelRefusedError
from redub.core.types import AudioSpec
from redub.features.weights.checkpoint_parts import tensor_table
from redub.features.weights.folder import WeightFolder, load_strictly
from redub.model.vocoder.bigvgan import BigVgan, BigVganConfig
from redub.model.vocoder.hifi_gan import HifiGan, HifiGanConfig, published_like
from redub.model.vocoder.neural import NeuralVocoder
from redub.model.vocoder.public_settings import bigvgan_settings, check_audio, hifi_gan_settings
from redub.model.vocoder.registry import vocoder
from redub.model.vocoder.weight_norm import folded
from redub.pipeline.store.project import Project
from redub.pipeline.store.weights import checked_folder, read_ledger
from redub.training import checkpoint
from redub.training.run_files import VocoderRecord

CONFIG = "config.json"
NEURAL = ("hifi_gan", "bigvgan")
VOCODER_RUNS, CHECKPOINTS = "vocoders", "checkpoints"


def vocoder_key(project: Project) -> str:
    """What a take's sound depends on besides its mel: the vocoder's name and a digest of its files.

    Raises:
        ModelRefusedError: E-MODEL-UNLISTED, the weights are not recorded.
        ConfigError: the vocoder run does not exist.
    """
    settings = project.config.vocoder
    if settings.name not in NEURAL:
        return settings.name
    if settings.run:
        place = spoken_checkpoint(project, settings.run)
        manifest = file_digest(place / checkpoint.MANIFEST)[:12]
        return f"{settings.name} run {settings.run} {place.name} {manifest}"
    entry = settings.weights or settings.name
    files = read_ledger(project.root).folder(entry, settings.name).files
    return f"{settings.name} {entry} {digest_of(dict(files))}"


def open_vocoder(project: Project) -> Any:
    """The project's vocoder on the project's device; see ``model/vocoder/registry.py``.

    Raises:
        ModelRefusedError: the files are not recorded, have changed, do not fit, or were trained on
            other mels.
        ConfigError: the vocoder run does not exist.
    """
    settings, audio = project.config.vocoder, project.config.audio
    if settings.name not in NEURAL:
        kind = vocoder(settings.name)
        return kind(kind.Config(audio=audio))
    if settings.run:
        found: NeuralVocoder = load_run(project, settings.run)
    else:
        ledger = read_ledger(project.root)
        folder = checked_folder(ledger, settings.weights or settings.name, settings.name)
        found = load_weights(settings.name, folder, audio)
    compute = project.config.compute
    return found.on(compute.torch_device(), threads=compute.threads)


def load_weights(name: str, folder: WeightFolder, audio: AudioSpec) -> NeuralVocoder:
    """Load a vocoder from recorded files: the generator's checkpoint and ``config.json``.

    Args:
        name: ``hifi_gan`` or ``bigvgan``.
        audio: the project's mel settings.

    Raises:
        ModelRefusedError: the files are damaged, hold code, lack tensors or have unknown ones, or
            were trained on other mels.
    """
    state = generator_state(folder)
    made: NeuralVocoder
    if name == "bigvgan":
        made = BigVgan(_bigvgan_settings(folder))
    else:
        made = HifiGan(_hifi_gan_settings(folder, state))
    check_audio(made.audio, audio, f"{name} '{folder.name}'")
    load_strictly(made.generator, state, folder)
    return made


def generator_state(folder: WeightFolder) -> dict[str, Tensor]:
    """Read the generator's weights by name, with weight normalisation folded into them.

    Raises:
        ModelRefusedError: E-MODEL-FILE, E-MODEL-CODE, E-MODEL-KEYS.
    """
    files = [name for name in folder.files if Path(name).name != CONFIG]
    if len(files) != 1:
        raise folder.refused(
            f"needs exactly one checkpoint; listed: {', '.join(sorted(files)) or 'none'}",
            code="E-MODEL-FILE",
        )
    content: Mapping[str, Any] = folder.tensors(files[0])
    where = files[0]
    if "generator" in content:
        content, where = content["generator"], f"'generator' of {where}"
    table = tensor_table(content, folder, where)
    with _named(folder):
        return folded(table)


def _hifi_gan_settings(folder: WeightFolder, state: Mapping[str, Tensor]) -> HifiGanConfig:
    if folder.has(CONFIG):
        public = folder.json(CONFIG)
        with _named(folder):
            return hifi_gan_settings(public)
    known = published_like(state)
    if known is None:
        raise folder.refused(
            "its upsampling is not a published one and no config.json was recorded with it; put "
            "the config.json of its training into the same folder and add the weights again",
            code="E-MODEL-CONFIG",
        )
    return known


def _bigvgan_settings(folder: WeightFolder) -> BigVganConfig:
    if not folder.has(CONFIG):
        raise folder.refused(
            "no config.json was recorded with it, and checkpoints of other mels have the same "
            "tensors; put the publisher's config.json into the same folder and add the weights "
            "again",
            code="E-MODEL-CONFIG",
        )
    public = folder.json(CONFIG)
    with _named(folder):
        return bigvgan_settings(public)


@contextlib.contextmanager
def _named(folder: WeightFolder) -> Iterator[None]:
    """Add the entry's name and path to a ModelRefusedError of `redub.model`, which lacks them."""
    try:
        yield
    except ModelRefusedError as error:
        raise folder.refused(error.message, code=error.code) from error


# -- vocoders trained in this project


def vocoder_folder(project: Project, run: str) -> Path:
    """The folder of a vocoder run, which need not exist.

    Raises:
        ConfigError: the name is not a plain folder name.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}", run):
        raise ConfigError(f"'{run}' cannot name a vocoder run; use letters, digits, - and _")
    return project.root / VOCODER_RUNS / run


def spoken_checkpoint(project: Project, run: str) -> Path:
    """The checkpoint with the lowest mel distance on held-out utterances, else the newest.

    Raises:
        ConfigError: E-STAGE-VOCODER, no such run, or the run has no checkpoint yet.
    """
    root = vocoder_folder(project, run) / CHECKPOINTS
    place = checkpoint.best(root) if root.is_dir() else None
    if place is None:
        runs = project.root / VOCODER_RUNS
        known = [path.name for path in runs.iterdir() if path.is_dir()] if runs.is_dir() else []
        hint = f" ({nearest(run, known)})" if known and run not in known else ""
        raise ConfigError(
            f"vocoder run '{run}' has no checkpoint{hint}; run `redub vocoder train --run {run}`",
            code="E-STAGE-VOCODER",
        )
    return place


def load_run(project: Project, run: str) -> HifiGan:
    """Load the vocoder of a run from its best checkpoint.

    Raises:
        IntegrityError: a file is not what was written.
        ModelRefusedError: the run was trained on other mels, or by another version of redub.
    """
    place = spoken_checkpoint(project, run)
    snapshot = checkpoint.read(place)
    try:
        record = VocoderRecord.from_json(snapshot.record, place / checkpoint.RECORD)
        settings = from_mapping(HifiGanConfig, record.generator)
    except (ConfigError, IntegrityError) as error:
        raise ModelRefusedError(
            f"{place} does not fit this version of redub ({error})", code="E-MODEL-CONFIG"
        ) from error
    check_audio(settings.audio, project.config.audio, f"vocoder run '{run}'")
    made = HifiGan(settings)
    folder = WeightFolder(name=run, path=place, files={checkpoint.WEIGHTS: ""})
    load_strictly(made.generator, folded(snapshot.weights), folder)
    return made
