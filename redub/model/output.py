"""Output of a dubbing system.

Letters: B batch, P phonemes, T mel frames, V video frames, C mel channels, N graph nodes, U units,
H attention heads.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from redub.model.batch import Prosody


class ProsodyEstimate(NamedTuple):
    """Predicted pitch, voicing and energy of every mel frame, on the scale of ``Prosody``.

    T is P for a system that predicts them per phoneme.
    """

    pitch: Tensor  # (B, T), meaningful where the frame is voiced
    voicing: Tensor  # (B, T) logit, above 0 = voiced
    energy: Tensor  # (B, T)

    def decided(self) -> Prosody:
        """Decide on voicing (logit above 0); pitch is 0 where a frame is unvoiced."""
        voiced = self.voicing > 0
        return Prosody(self.pitch * voiced, voiced, self.energy)


class GraphReading(NamedTuple):
    """One encoded emotion graph and its attention weights.

    ``between_nodes``: the H heads of the first attention layer, then the single head of the second;
    row = query node, column = key node. ``from_frames``: cross-attention from mel frames to nodes.
    """

    stage: str  # basic, indirect, direct; or single
    nodes: Tensor  # (B, N, D)
    valid: Tensor  # (B, N) bool
    between_nodes: Tensor  # (B, H + 1, N, N)
    from_frames: Tensor  # (B, T, N)


class UnitEstimate(NamedTuple):
    """Predicted speech units and, for utterances with a recording, the units of the recording."""

    logits: Tensor  # (B, U, units)
    wanted: Tensor | None  # (B, U) int64, units of the recording
    valid: Tensor  # (B, U) bool, True where both can be compared


class DubbingOutput(NamedTuple):
    """Standardised mels before and after the post-net, and all values that the losses need.

    Values that a system does not estimate are None; their losses are 0.
    """

    mel: Tensor  # (B, T, C)
    mel_post: Tensor  # (B, T, C)
    frames_valid: Tensor  # (B, T) bool
    durations: Tensor  # (B, P) int64, as used, or derived from the lip attention
    log_durations: Tensor | None = None  # (B, P) predicted log(frames + 1)
    lip_attention: Tensor | None = None  # (B, P, V)
    lips_present: Tensor | None = None  # (B,) bool, False where an utterance has no face
    speaker: Tensor | None = None  # (B, speaker) speaker vector estimated from the reference mel
    emotion_logits: Tensor | None = None  # (B, emotions)
    prosody: ProsodyEstimate | None = None  # of every frame
    phoneme_prosody: ProsodyEstimate | None = None  # of every phoneme
    spoken: Prosody | None = None  # (B, T) the prosody that the decoder used
    ctc: tuple[tuple[Tensor, Tensor], ...] = ()  # (B, L, phonemes) logits, 0 = blank; (B, L) bool
    units: UnitEstimate | None = None
    graphs: tuple[GraphReading, ...] = ()
