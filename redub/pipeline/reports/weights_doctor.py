"""`redub doctor --weights`: load every recorded network and run it on one synthetic clip.

Only the real files show whether their keys, types and labels are right. Each entry is hashed,
loaded strictly and run, so that faults appear before a long extraction.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from redub.core.errors import ClipError, FeatureAbsent, RedubError
from redub.core.types import Clip, ClipMedia, Value, Waveform
from redub.features.face import boxes as face_boxes
from redub.features.face import yunet
from redub.features.face.track import FaceTrackConfig
from redub.features.models.model_extractor import ModelExtractor
from redub.features.registry import (
    EXTRACTORS,
    FEATURE_BACKENDS,
    extractor_config,
    make_extractor,
    weights_wanted,
)
from redub.features.sound.mel import log_mel
from redub.model.registry import SYSTEMS
from redub.model.vocoder.registry import VOCODERS
from redub.pipeline.store.project import Project
from redub.pipeline.store.weights import Ledger, checked_folder, read_ledger

FRAMES, SIDE = 50, 256  # two seconds
WORDS = "we should go home now"
CAPTION = "The scene is dark and cold: mostly deep blue. It feels calm."


@dataclass(slots=True)
class WeightsLine:
    """One feature that one ledger entry can compute.

    ``says``: facts about the network. ``value``: its output on the clip. ``problem``: empty where
    everything worked.
    """

    entry: str
    feature: str
    backend: str
    says: dict[str, str] = field(default_factory=dict)
    value: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class WeightsExamination:
    """One line for each feature that each recorded entry can compute."""

    weights: list[WeightsLine]


def examine_weights(project: Project) -> list[WeightsLine]:
    """Load and run every entry of the ledger, for every feature that it can compute.

    Raises:
        ConfigError: E-CFG-DEVICE, the project's device does not exist on this machine.
    """
    project.config.compute.torch_device()
    ledger = read_ledger(project.root)
    media = made_clip(project)
    known = _builtin_values(project, media)
    lines = []
    for name in ledger.entries:
        users = _users_of(project, ledger, name)
        lines += [_examined(project, ledger, name, *user, media, known) for user in users]
        if not users:
            kind = ledger.entries[name].kind
            if kind in VOCODERS:
                lines.append(_vocoded(project, ledger, name, known))
            elif kind in SYSTEMS:
                lines.append(_dubber(project, name, kind))
            else:
                lines.append(_no_backend(ledger, name, media))
    return lines


def made_clip(project: Project) -> ClipMedia:
    """Two seconds of synthetic media: moving colours, a vowel-like buzz, and a few words."""
    config = project.config
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    frames = np.stack(
        [np.stack([(x + 5 * k) % 256, (y + 3 * k) % 256, (x + y) % 256], -1) for k in range(FRAMES)]
    ).astype(np.uint8)
    rate = config.audio.sample_rate_hz
    t = np.arange(config.audio.sample_count(FRAMES, config.video)) / rate
    phase = 2 * np.pi * np.cumsum(130 * (1 + 0.1 * np.sin(2 * np.pi * 1.5 * t))) / rate
    buzz = sum(np.sin(k * phase) / k for k in range(1, 25))
    loud = 0.1 * buzz * (0.3 + 0.7 * np.clip(np.sin(2 * np.pi * 4 * t), 0, 1))
    clip = Clip(
        clip_id="doctor/0",
        source="doctor.mp4",
        source_digest="",
        start_frame=0,
        end_frame=FRAMES,
        film="doctor",
        scene="doctor",
        position=0,
        speaker="doctor",
        text=WORDS,
    )
    return ClipMedia(clip=clip, frames=frames, waveform=Waveform(loud.astype(np.float32), rate))


def _builtin_values(project: Project, media: ClipMedia) -> dict[str, Value]:
    """Values of the builtin extractors for the clip, with a planted face track and captions."""
    known: dict[str, Value] = {
        "scene_caption": CAPTION,
        "face_caption": "The mouth opens wide; its corners are raised. It looks happy.",
        "face_track": np.tile(np.array([64, 64, 128, 128, 1], np.float32), (FRAMES, 1)),
    }
    for name in EXTRACTORS:
        if name in known:
            continue
        extractor = make_extractor(name, audio=project.config.audio, video=project.config.video)
        reads = {read: known[read] for read in extractor.reads if read in known}
        try:
            known[name] = extractor.extract(
                ClipMedia(
                    clip=media.clip, frames=media.frames, waveform=media.waveform, features=reads
                )
            )
        except (ClipError, KeyError):
            continue  # the buzz cannot be aligned with words; no network reads that
    return known


def _users_of(project: Project, ledger: Ledger, name: str) -> list[tuple[str, str]]:
    """(feature, backend) of everything that needs this entry and no other."""
    kind = ledger.entries[name].kind
    specs = {"audio": project.config.audio, "video": project.config.video}
    users = []
    for feature in EXTRACTORS:
        for backend in FEATURE_BACKENDS.get(feature, {}):
            defaults = extractor_config(feature, **specs, backend=backend)  # type: ignore[arg-type]
            wanted = weights_wanted(feature, defaults, backend).values()
            if [of for _, of in wanted] == [kind]:
                users.append((feature, backend))
    return users


def _vocoded(project: Project, ledger: Ledger, name: str, known: dict[str, Value]) -> WeightsLine:
    """Vocode the clip's mel; reports the distance between that mel and the mel of the output."""
    from redub.pipeline.store.runs.vocoders import load_weights  # torch: only where one is recorded

    kind, config = ledger.entries[name].kind, project.config
    line = WeightsLine(name, "vocoder", kind)
    try:
        vocoder = load_weights(kind, checked_folder(ledger, name, kind), config.audio)
        parameters = sum(value.numel() for value in vocoder.generator.parameters())
        line.says = {"parameters": f"{parameters:,}"}
        compute, mel = config.compute, np.asarray(known["mel"])
        spoken = vocoder.on(compute.torch_device(), threads=compute.threads).vocode(mel)
        distance = float(np.abs(log_mel(spoken, config.audio) - mel).mean())
        line.value = f"{spoken.duration_s:.1f} s of sound, mel distance {distance:.2f}"
    except RedubError as error:
        line.says, line.problem = {}, str(error)
    return line


def _dubber(project: Project, name: str, kind: str) -> WeightsLine:
    """A published dubbing checkpoint, loaded strictly for this project's features."""
    from redub.pipeline.work.published_runs import hpm_of  # torch: only where one is recorded

    line = WeightsLine(name, "dubber", kind)
    try:
        _, model = hpm_of(project, name)
        parameters = sum(value.numel() for value in model.parameters())
        line.says = {"parameters": f"{parameters:,}"}
        line.value = f"`redub runs import {name} --run NAME` makes a run of it"
    except RedubError as error:
        line.problem = str(error)
    return line


def _no_backend(ledger: Ledger, name: str, media: ClipMedia) -> WeightsLine:
    """An entry that no feature is computed from alone: YuNet is run, face boxes are read."""
    kind = ledger.entries[name].kind
    line = WeightsLine(name, "–", kind, {"files": "as recorded"})
    try:
        folder = checked_folder(ledger, name, kind)
        if kind == yunet.KIND and media.frames is not None:
            defaults = FaceTrackConfig()
            detector = yunet.YuNetDetector(
                folder, min_face=defaults.min_face, threshold=defaults.yunet_score
            )
            line.feature = "face_track"
            line.value = f"{len(detector.faces(media.frames[0]))} faces in a synthetic frame"
        if kind == face_boxes.KIND:
            boxes = face_boxes.UserBoxes(folder)
            line.feature = "face_track"
            line.value = f"boxes of {len(boxes.by_clip)} clips"
    except RedubError as error:
        line.says, line.problem = {}, str(error)
    return line


def _examined(
    project: Project,
    ledger: Ledger,
    name: str,
    feature: str,
    backend: str,
    media: ClipMedia,
    known: dict[str, Value],
) -> WeightsLine:
    line = WeightsLine(name, feature, backend)
    overrides = {**project.config.features.get(feature, {}), "weights": name}
    specs = {"audio": project.config.audio, "video": project.config.video}
    try:
        config = extractor_config(feature, **specs, overrides=overrides, backend=backend)  # type: ignore[arg-type]
        wanted = weights_wanted(feature, config, backend)
        folders = {role: checked_folder(ledger, *entry) for role, entry in wanted.items()}
        extractor = make_extractor(
            feature,
            **specs,  # type: ignore[arg-type]
            overrides=overrides,
            backend=backend,
            folders=folders,
            runtime=project.config.compute,
        )
        if isinstance(extractor, ModelExtractor):
            line.says = extractor.describe()
        reads = {read: known[read] for read in extractor.reads if read in known}
        value = extractor.extract(
            ClipMedia(clip=media.clip, frames=media.frames, waveform=media.waveform, features=reads)
        )
        line.value = _shown(value)
        if not isinstance(value, str) and not np.isfinite(value).all():
            line.problem = "its values are not finite: the file is damaged or of another model"
    except FeatureAbsent as error:
        line.value = f"null: {error}"
    except RedubError as error:
        line.problem = str(error)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        # A damaged file may raise anything in its library; the other entries are still examined.
        line.problem = f"{type(e).__name__}: {e}"
    return line


def _shown(value: Value) -> str:
    if isinstance(value, str):
        return value
    size = " × ".join(map(str, value.shape))
    return f"{size}, mean {value.mean():.3g}, spread {value.std():.3g}"
