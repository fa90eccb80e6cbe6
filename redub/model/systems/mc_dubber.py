"""MCDubber: synthesise an utterance together with its adjacent utterances.

Source: MCDubber (Zhao et al., arXiv:2408.11593), which has no public code; decisions on what the
paper leaves open are in ``docs/models/mc_dubber.md``. The previous utterance, the utterance and the
next one are concatenated in time and processed by the backbone of
:mod:`redub.model.systems.hpm_dubbing`. The recorded mels of the adjacent utterances are inputs of
the decoder. Then the part of the utterance is cut out.

Letters: B batch, P phonemes, V video frames, T mel frames, C mel channels, D model width.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from redub.model.batch import Context, DubbingBatch, FeatureWidths, Prosody
from redub.model.layers.monotonic import attended_durations
from redub.model.layers.splice import cut_out, spliced
from redub.model.layers.upsample import MEL_FRAMES_PER_VIDEO_FRAME
from redub.model.output import DubbingOutput, ProsodyEstimate
from redub.model.systems.hpm_dubbing import TINY_HPM, HPMDubbing, HPMDubbingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class MCDubberConfig(HPMDubbingConfig):
    """Settings of the backbone.

    adjacent_mels: give the mels of the adjacent utterances to the decoder.
    """

    adjacent_mels: bool = True


class Wide(NamedTuple):
    """Three concatenated utterances, and the position of the middle one."""

    batch: DubbingBatch
    known: Tensor  # (B, T) bool, frames of the adjacent utterances
    first_phoneme: Tensor  # (B,)
    first_video_frame: Tensor  # (B,)
    first_frame: Tensor  # (B,)


class MCDubber(HPMDubbing):
    """HPMDubbing over an utterance and its adjacent utterances."""

    Config: ClassVar[type[MCDubberConfig]] = MCDubberConfig
    PRESETS: ClassVar[dict[str, MCDubberConfig]] = {
        "tiny": MCDubberConfig(**asdict(TINY_HPM)),
        "paper": MCDubberConfig(),
    }
    config: MCDubberConfig

    def __init__(self, config: MCDubberConfig, widths: FeatureWidths) -> None:
        super().__init__(config, widths)
        self.from_mel = nn.Linear(widths.mel, config.width) if config.adjacent_mels else None
        self.to_be_spoken = (
            nn.Parameter(torch.zeros(config.width)) if config.adjacent_mels else None
        )

    def forward(self, batch: DubbingBatch) -> DubbingOutput:
        """Synthesise the middle utterance, as :meth:`HPMDubbing.forward`."""
        wide = widened(batch)
        voice = self.fit_voice(batch.speaker)
        aligned = self.aligner(self.aligner.encoded(wide.batch, voice), wide.batch)
        hint = None
        if self.from_mel is not None:
            assert wide.batch.mel is not None
            assert self.to_be_spoken is not None
            known = wide.known.unsqueeze(-1)
            hint = torch.where(known, self.from_mel(wide.batch.mel), self.to_be_spoken)
        own = wide.batch.frames_valid & ~wide.known
        output = self.spoken(aligned.states, aligned, wide.batch, voice, hint=hint, controlled=own)
        return self._middle(output, wide, batch)

    def _middle(self, output: DubbingOutput, wide: Wide, batch: DubbingBatch) -> DubbingOutput:
        """Cut the middle utterance out of the output for all three."""
        frames, words = batch.frames_valid, batch.phonemes_valid
        assert output.lip_attention is not None
        assert output.prosody is not None
        video_frames = torch.arange(max(1, int(_video_frames(batch).max())), device=frames.device)
        seen = video_frames < _video_frames(batch).unsqueeze(1)  # (B, V)

        def of_frames(values: Tensor) -> Tensor:
            """Cut out the mel frames of the middle utterance."""
            return cut_out(values, wide.first_frame, frames)

        by_words = cut_out(output.lip_attention, wide.first_phoneme, words)  # (B, P, wide V)
        attention = cut_out(by_words.transpose(1, 2), wide.first_video_frame, seen).transpose(1, 2)
        (of_video, _), (of_mel, _) = output.ctc
        durations = batch.durations
        if durations is None:
            durations = attended_durations(attention.transpose(1, 2), _video_frames(batch), batch)
        return output._replace(
            mel=of_frames(output.mel),
            mel_post=of_frames(output.mel_post),
            frames_valid=frames,
            durations=durations,
            lip_attention=attention[..., : batch.lips.size(1)],
            lips_present=batch.lips_valid.any(1),
            prosody=ProsodyEstimate._make(of_frames(value) for value in output.prosody),
            spoken=None
            if output.spoken is None
            else Prosody._make(of_frames(value) for value in output.spoken),
            ctc=(
                (cut_out(of_video, wide.first_video_frame, seen), seen),
                (of_frames(of_mel), frames),
            ),
        )


def widened(batch: DubbingBatch) -> Wide:
    """Concatenate every utterance with its previous and next utterance.

    An adjacent utterance is used only if it has phonemes, a mel and lips, and the utterance itself
    has lips, too. Without these, phonemes and frames could not be aligned.
    """
    assert batch.previous is not None
    assert batch.following is not None
    own_lips = batch.lips_valid.any(1)
    sides = [_taking_part(side, own_lips) for side in (batch.previous, batch.following)]
    (before, b), (after, a) = zip((batch.previous, batch.following), sides, strict=True)
    none = batch.frames_valid.new_zeros(())

    def three(own: Tensor, own_valid: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Concatenate a feature of the three utterances; returns values and mask."""
        parts = [(getattr(before, name), getattr(before, f"{name}_valid") & b)]
        parts += [(own, own_valid)]
        parts += [(getattr(after, name), getattr(after, f"{name}_valid") & a)]
        return spliced(parts)

    def of_frames(own: Tensor, values: tuple[Tensor, Tensor]) -> Tensor:
        """Concatenate values per mel frame of the three utterances."""
        masks = (before.mel_valid & b, batch.frames_valid, after.mel_valid & a)
        return spliced(list(zip((values[0], own, values[1]), masks, strict=True)))[0]

    phonemes, phonemes_valid = three(batch.phonemes, batch.phonemes_valid, "phonemes")
    lips, lips_valid = three(batch.lips, batch.lips_valid, "lips")
    local_face, local_face_valid = three(batch.local_face, batch.local_face_valid, "local_face")
    silent = torch.zeros(*batch.frames_valid.shape, batch.reference_mel.size(2), device=none.device)
    mel, frames_valid = three(silent, batch.frames_valid, "mel")
    known = of_frames(none.expand_as(batch.frames_valid), (before.mel_valid, after.mel_valid))
    prosody = None
    if batch.prosody is not None:
        recorded = zip(batch.prosody, before.prosody, after.prosody, strict=True)
        prosody = Prosody._make(of_frames(own, (one, other)) for own, one, other in recorded)
    first_frame = (before.mel_valid & b).sum(1)
    wide = batch._replace(
        phonemes=phonemes,
        phonemes_valid=phonemes_valid,
        mel_frames=frames_valid.sum(1),
        frames_valid=frames_valid,
        lips=lips,
        lips_valid=lips_valid,
        local_face=local_face,
        local_face_valid=local_face_valid,
        durations=torch.zeros_like(phonemes),  # not used for the concatenated utterances
        mel=mel,
        prosody=prosody,
    )
    return Wide(
        wide,
        known.bool(),
        (before.phonemes_valid & b).sum(1),
        (before.lips_valid & b).sum(1),
        first_frame,
    )


def _taking_part(side: Context, own_lips: Tensor) -> Tensor:
    """Return (B, 1) bool, True where an adjacent utterance is used."""
    masks = (side.phonemes_valid, side.mel_valid, side.lips_valid)
    whole = torch.stack([mask.any(1) for mask in masks]).all(0)
    return (whole & own_lips).unsqueeze(1)


def _video_frames(batch: DubbingBatch) -> Tensor:
    """Count the video frames of each utterance, (B,); without lips, derive it from mel frames."""
    shown = batch.lips_valid.sum(1)
    return torch.where(shown > 0, shown, -(-batch.mel_frames // MEL_FRAMES_PER_VIDEO_FRAME))
