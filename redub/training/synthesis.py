"""Synthesis: load a trained system and let it speak utterances.

Letters: P phonemes, T mel frames, V video frames, N graph nodes, H heads, C mel channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from redub.core.config import from_mapping
from redub.core.errors import ConfigError, IntegrityError, ModelRefusedError, UsageError
from redub.core.phonemes import id_of
from redub.core.types import FloatArray
from redub.model.batch import Control, FeatureWidths
from redub.model.output import DubbingOutput, GraphReading
from redub.model.registry import system, system_spec
from redub.training import checkpoint
from redub.training.data.batching import BatchingConfig, collate, plain_batches
from redub.training.data.lines import FeatureScaler, Utterance, f0_of
from redub.training.run_files import RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedDubber:
    """A system in evaluation mode, with everything that defines its inputs."""

    model: nn.Module
    scaler: FeatureScaler
    widths: FeatureWidths
    system: str
    step: int
    batching: BatchingConfig
    keys: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceControl:
    """Controls of one utterance; the defaults change nothing.

    pitch: octaves up. pitch_range: factor on the deviation of pitch from its mean. energy: decibels
    up. rate: factor on the speaking rate; the utterance still fills its video slot.

    Raises:
        UsageError: a value is out of range.
    """

    pitch: float = 0.0
    pitch_range: float = 1.0
    energy: float = 0.0
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not (abs(self.pitch) <= MOST_OCTAVES and abs(self.energy) <= MOST_DB):
            raise UsageError(
                f"pitch {self.pitch:+g} octaves, energy {self.energy:+g} dB: wanted at most "
                f"{MOST_OCTAVES:g} octaves (12 semitones each) and {MOST_DB:g} dB, up or down"
            )
        if not (0 <= self.pitch_range <= MOST_RANGE and 1 / MOST_RATE <= self.rate <= MOST_RATE):
            raise UsageError(
                f"range {self.pitch_range:g}, rate {self.rate:g}: wanted a range from 0 to "
                f"{MOST_RANGE:g} and a rate from {1 / MOST_RATE:g} to {MOST_RATE:g}"
            )

    def __bool__(self) -> bool:
        return self != PLAIN

    @property
    def of_prosody(self) -> bool:
        """Whether pitch, range or energy change, which needs a system that predicts prosody."""
        return (self.pitch, self.pitch_range, self.energy) != (0.0, 1.0, 0.0)


SPEECH = math.log(10) * 30 / 20  # in nepers; frames 30 dB below the loudest are no speech
MOST_OCTAVES, MOST_RANGE, MOST_DB, MOST_RATE = 1.5, 4.0, 24.0, 4.0
PLAIN = VoiceControl()


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphView:
    """One emotion graph of one utterance; N counts all nodes, ``valid`` is True for real ones."""

    stage: str
    valid: NDArray[np.bool_]  # (N,)
    between_nodes: FloatArray  # (H + 1, N, N)
    from_frames: FloatArray  # (T, N)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenLine:
    """The output of a system for one utterance.

    mel: (T, C) natural log, T = ``mel_frames`` of the utterance. durations: (P,) frames per
    phoneme. f0_hz: (T,) 0 = unvoiced, None from a system that predicts no prosody. lip_attention:
    (P, V), None without lips or from a system that does not read them. emotion: (emotions,)
    probabilities, None from a system without an emotion classifier. graphs: empty for a system
    without graphs.
    """

    clip_id: str
    mel: FloatArray
    durations: NDArray[np.int64]
    f0_hz: FloatArray | None
    lip_attention: FloatArray | None
    emotion: FloatArray | None
    graphs: tuple[GraphView, ...]


def load_dubber(directory: Path, *, device: str = "cpu") -> TrainedDubber:
    """Load one checkpoint for synthesis.

    Raises:
        IntegrityError: a file is gone or changed.
        ModelRefusedError: the weights do not fit the recorded settings.
    """
    snapshot = checkpoint.read(directory)
    try:
        record = RunRecord.from_json(snapshot.record, directory / checkpoint.RECORD)
        kind = system(record.system)
        widths = from_mapping(FeatureWidths, record.widths)
        model = kind(from_mapping(kind.Config, record.model), widths)
        model.load_state_dict(snapshot.weights)
        batching = _batching(record)
    except (ConfigError, IntegrityError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise ModelRefusedError(
            f"{directory} was trained by another version of redub, whose "
            f"{snapshot.record.get('system')} has other parts; train it again ({why[:200]})"
        ) from error
    model.to(device).eval()
    return TrainedDubber(
        model=model,
        scaler=FeatureScaler.from_json(record.scaler),
        widths=widths,
        system=record.system,
        step=snapshot.step,
        batching=batching,
        keys=dict(record.keys),
    )


def _batching(record: RunRecord) -> BatchingConfig:
    values = record.training.get("batching")
    if not isinstance(values, dict):
        raise ConfigError("its record has no settings of batching")
    return from_mapping(BatchingConfig, values)


def synthesise(
    dubber: TrainedDubber,
    lines: Sequence[Utterance],
    controls: Sequence[VoiceControl] | None = None,
) -> list[SpokenLine]:
    """Speak utterances; their recordings are not read.

    Args:
        controls: one per utterance; none by default.

    Returns:
        One result per utterance, in their order.

    Raises:
        UsageError: a control of pitch, range or energy for a system that predicts no prosody, or of
            the rate for a system that predicts no durations.
    """
    wanted = [PLAIN] * len(lines) if controls is None else list(controls)
    if any(one.of_prosody for one in wanted) and not predicts_prosody(dubber.model):
        raise UsageError(
            f"this {dubber.system} predicts no pitch and energy, so they cannot be controlled; "
            "train a run that does (`--set model.prosody=true` where it has that setting)",
            code="E-MODEL-PROSODY",
        )
    if any(one.rate != 1 for one in wanted) and not getattr(dubber.model, "CONTROLS_RATE", True):
        raise UsageError(
            f"a {dubber.system} times its words by the lips, so its rate cannot be controlled",
            code="E-MODEL-RATE",
        )
    spoken: dict[int, SpokenLine] = {}
    device = next(dubber.model.parameters()).device
    for numbers in plain_batches([line.mel_frames for line in lines], dubber.batching):
        chosen = [lines[number] for number in numbers]
        batch = collate(
            chosen,
            dubber.scaler,
            dubber.widths,
            reference_frames=dubber.batching.reference_frames,
            context=system_spec(dubber.system).context,
        )
        batch = batch.without_recording()
        if any(wanted[number] for number in numbers):
            batch = batch._replace(control=_control([wanted[n] for n in numbers], dubber.scaler))
        with torch.inference_mode():
            output = dubber.model(batch.to(device))
            as_before = None
            if batch.control is not None and bool(batch.control.energy.any()):
                plain = batch.control._replace(energy=torch.zeros_like(batch.control.energy))
                as_before = dubber.model(batch._replace(control=plain).to(device))
        for row, number in enumerate(numbers):
            take = _spoken(output, row, lines[number], dubber.scaler)
            if as_before is not None and wanted[number].energy:
                before = _spoken(as_before, row, lines[number], dubber.scaler)
                take = _as_loud(take, before.mel, wanted[number].energy)
            spoken[number] = take
    return [spoken[number] for number in range(len(lines))]


def reads_emotion(dubber: TrainedDubber) -> bool:
    """Whether a trained system reads the emotion vectors of an utterance."""
    part = system_spec(dubber.system).emotion_part
    return bool(part) and getattr(dubber.model, part) is not None


def predicts_prosody(model: nn.Module) -> bool:
    """Whether a system predicts pitch and energy, on the scale of its features."""
    settings = (getattr(model.config, name, True) for name in ("prosody", "voicing"))
    return bool(getattr(model, "PREDICTS_PROSODY", True) and all(settings))


def _as_loud(spoken: SpokenLine, before: FloatArray, decibels: float) -> SpokenLine:
    """Apply a gain so that the mel reaches the requested energy change.

    A decoder follows the energy control only in part.

    Args:
        before: (T, C) mel of the same utterance without the energy control.
    """
    speech = level_of(before) > level_of(before).max() - SPEECH
    moved = float((level_of(spoken.mel) - level_of(before))[speech].mean())
    missing = decibels * math.log(10) / 20 - moved
    return replace(spoken, mel=(spoken.mel + np.float32(missing)).astype(np.float32))


def level_of(mel: FloatArray) -> FloatArray:
    """(T,) natural log of the amplitude of log-mel frames (T, C)."""
    level: FloatArray = np.log(np.square(np.exp(mel.astype(np.float64))).sum(-1)) / 2
    return level


def _control(wanted: Sequence[VoiceControl], scaler: FeatureScaler) -> Control:
    """Convert controls to the scales of the system's pitch and energy."""
    scale = scaler.scales.get("log_energy")
    per_db = math.log(10) / 20 / (1.0 if scale is None else float(scale.deviation[0]))
    return Control(
        pitch=torch.tensor([one.pitch for one in wanted]),
        pitch_range=torch.tensor([one.pitch_range for one in wanted]),
        energy=torch.tensor([one.energy * per_db for one in wanted]),
        rate=torch.tensor([one.rate for one in wanted]),
        silence=id_of("sil"),
    )


def _spoken(output: DubbingOutput, row: int, line: Utterance, scaler: FeatureScaler) -> SpokenLine:
    frames, phonemes = line.mel_frames, len(line.phonemes)
    lip_attention = None
    if line.lips is not None and output.lip_attention is not None:
        lip_attention = _array(output.lip_attention[row, :phonemes, : len(line.lips)])
    f0_hz = None
    if output.spoken is not None:
        pitch, voiced, _ = output.spoken
        f0_hz = f0_of(_array(pitch[row, :frames]), _array(voiced[row, :frames]))
    emotion = None
    if output.emotion_logits is not None:
        emotion = _array(output.emotion_logits[row].softmax(-1))
    return SpokenLine(
        clip_id=line.clip_id,
        mel=scaler.undo("mel", _array(output.mel_post[row, :frames])),
        durations=_array(output.durations[row, :phonemes]),
        f0_hz=f0_hz,
        lip_attention=lip_attention,
        emotion=emotion,
        graphs=tuple(_view(graph, row, frames) for graph in output.graphs),
    )


def _view(graph: GraphReading, row: int, frames: int) -> GraphView:
    return GraphView(
        stage=graph.stage,
        valid=_array(graph.valid[row]),
        between_nodes=_array(graph.between_nodes[row]),
        from_frames=_array(graph.from_frames[row, :frames]),
    )


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return tensor.cpu().numpy()
