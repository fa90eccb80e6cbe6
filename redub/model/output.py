"""What a dubbing system gives back, by name.

Letters: B batch, P phonemes, T mel frames, V video frames, C mel channels, N graph nodes,
H attention heads.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from redub.model.batch import Prosody


class ProsodyEstimate(NamedTuple):
    """Predicted pitch and energy of every mel frame, on the scale of ``Prosody``.

    Of a system that predicts them phoneme by phoneme, T is P.
    """

    pitch: Tensor  # (B, T), meaningful where the frame is voiced
    voicing: Tensor  # (B, T) logit, above 0 = voiced
    energy: Tensor  # (B, T)

    def decided(self) -> Prosody:
        """The estimate as a decision: pitch only where a frame is held to be voiced."""
        voiced = self.voicing > 0
        return Prosody(self.pitch * voiced, voiced, self.energy)


class GraphReading(NamedTuple):
    """One emotion graph after its encoder, and how it was read.

    ``between_nodes``: the heads of the first attention layer, then the one of the second; row =
    the node that looks, column = the node looked at. ``from_frames`` is the cross-attention with
    which each mel frame reads the graph.
    """

    stage: str  # basic, indirect, direct; or single
    nodes: Tensor  # (B, N, D)
    valid: Tensor  # (B, N) bool
    between_nodes: Tensor  # (B, H + 1, N, N)
    from_frames: Tensor  # (B, T, N)


class UnitEstimate(NamedTuple):
    """Units of sound, predicted and, where a line was recorded, its own."""

    logits: Tensor  # (B, U, units)
    wanted: Tensor | None  # (B, U) int64
    valid: Tensor  # (B, U) bool, False where there is nothing to compare with


class DubbingOutput(NamedTuple):
    """Mel before and after the post-net, on the standardised scale, and everything losses need.

    What a system does not estimate is None, and its loss is 0.
    """

    mel: Tensor  # (B, T, C)
    mel_post: Tensor  # (B, T, C)
    frames_valid: Tensor  # (B, T) bool
    durations: Tensor  # (B, P) int64, what was used, or read off a line without a regulator
    log_durations: Tensor | None = None  # (B, P) predicted log(frames + 1)
    lip_attention: Tensor | None = None  # (B, P, V) of the head that is sharpest over the text
    lips_present: Tensor | None = None  # (B,) bool, False where a line has no face
    speaker: Tensor | None = None  # (B, speaker) voice estimated from the timbre mel
    emotion_logits: Tensor | None = None  # (B, emotions)
    prosody: ProsodyEstimate | None = None  # of every frame
    phoneme_prosody: ProsodyEstimate | None = None  # of every phoneme
    spoken: Prosody | None = None  # (B, T) the prosody that the decoder was given
    ctc: tuple[tuple[Tensor, Tensor], ...] = ()  # (B, L, phonemes) logits, 0 = blank; (B, L) bool
    units: UnitEstimate | None = None
    graphs: tuple[GraphReading, ...] = ()
