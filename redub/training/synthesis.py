"""A trained system and the lines it speaks.

Letters: P phonemes, T mel frames, V video frames, N graph nodes, H heads, C mel channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from redub.core.config import from_mapping
from redub.core.errors import ConfigError, ModelRefusedError
from redub.core.types import FloatArray
from redub.model.batch import FeatureWidths
from redub.model.output import DubbingOutput, GraphReading
from redub.model.registry import system
from redub.training import checkpoint
from redub.training.batching import BatchingConfig, collate, plain_batches
from redub.training.lines import DubbingLine, FeatureScaler, f0_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedDubber:
    """A system in evaluation mode, with everything that says what its inputs mean."""

    model: nn.Module
    scaler: FeatureScaler
    widths: FeatureWidths
    system: str
    step: int
    batching: BatchingConfig
    keys: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphView:
    """One emotion graph of one line; N counts real and absent nodes alike (``valid`` tells)."""

    valid: NDArray[np.bool_]  # (N,)
    between_nodes: FloatArray  # (H + 1, N, N)
    from_frames: FloatArray  # (T, N)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenLine:
    """What a system made of one line.

    mel: (T, C) natural log, T = ``mel_frames`` of the line. durations: (P,) frames per phoneme.
    f0_hz: (T,) 0 = unvoiced, None from a system that predicts no prosody. lip_attention: (P, V),
    None for a line without lips. emotion: (emotions,) probabilities. graphs: basic, indirect,
    direct; empty for a system without graphs.
    """

    clip_id: str
    mel: FloatArray
    durations: NDArray[np.int64]
    f0_hz: FloatArray | None
    lip_attention: FloatArray | None
    emotion: FloatArray
    graphs: tuple[GraphView, ...]


def load_dubber(directory: Path, *, device: str = "cpu") -> TrainedDubber:
    """Load one checkpoint for synthesis.

    Raises:
        IntegrityError: a file is not what was written.
        ModelRefusedError: the weights do not fit the settings recorded beside them.
    """
    snapshot = checkpoint.read(directory)
    record = snapshot.record
    try:
        kind = system(record["system"])
        widths = from_mapping(FeatureWidths, record["widths"])
        model = kind(from_mapping(kind.Config, record["model"]), widths)
        model.load_state_dict(snapshot.weights)
        batching = from_mapping(BatchingConfig, record["training"]["batching"])
    except (ConfigError, KeyError, RuntimeError) as error:
        raise ModelRefusedError(
            f"{directory} does not fit this version of redub ({error}); it was written by "
            f"redub {record.get('code_version', 'unknown')}"
        ) from error
    model.to(device).eval()
    return TrainedDubber(
        model=model,
        scaler=FeatureScaler.from_json(record["scaler"]),
        widths=widths,
        system=record["system"],
        step=snapshot.step,
        batching=batching,
        keys=dict(record["keys"]),
    )


def synthesise(dubber: TrainedDubber, lines: Sequence[DubbingLine]) -> list[SpokenLine]:
    """Speak lines, in their order; whatever was recorded for them is not looked at."""
    spoken: dict[int, SpokenLine] = {}
    device = next(dubber.model.parameters()).device
    for numbers in plain_batches([line.mel_frames for line in lines], dubber.batching):
        chosen = [lines[number] for number in numbers]
        batch = collate(
            chosen, dubber.scaler, dubber.widths, timbre_frames=dubber.batching.timbre_frames
        )
        with torch.inference_mode():
            output = dubber.model(batch.without_recording().to(device))
        for row, number in enumerate(numbers):
            spoken[number] = _spoken(output, row, lines[number], dubber.scaler)
    return [spoken[number] for number in range(len(lines))]


def _spoken(
    output: DubbingOutput, row: int, line: DubbingLine, scaler: FeatureScaler
) -> SpokenLine:
    frames, phonemes = line.mel_frames, len(line.phonemes)
    lip_attention = None
    if line.lips is not None:
        lip_attention = _array(output.lip_attention[row, :phonemes, : len(line.lips)])
    f0_hz = None
    if output.prosody is not None:
        prosody = output.prosody.decided()
        f0_hz = f0_of(_array(prosody.pitch[row, :frames]), _array(prosody.voiced[row, :frames]))
    return SpokenLine(
        clip_id=line.clip_id,
        mel=scaler.undo("mel", _array(output.mel_post[row, :frames])),
        durations=_array(output.durations[row, :phonemes]),
        f0_hz=f0_hz,
        lip_attention=lip_attention,
        emotion=_array(output.emotion_logits[row].softmax(-1)),
        graphs=tuple(_view(graph, row, frames) for graph in output.graphs),
    )


def _view(graph: GraphReading, row: int, frames: int) -> GraphView:
    return GraphView(
        valid=_array(graph.valid[row]),
        between_nodes=_array(graph.between_nodes[row]),
        from_frames=_array(graph.from_frames[row, :frames]),
    )


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return tensor.cpu().numpy()
