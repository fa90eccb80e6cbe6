"""DSU-AVO: predicts discrete speech units from text and lips, then a mel from the units.

Source: DSU-AVO (Lu et al., arXiv:2306.17005) as its released code runs. Video frames attend to
phonemes, and each video frame becomes two units: ids of 100 clusters of a frame-level audio
feature. The clusters are fitted on the training utterances (:mod:`redub.training.units`). The
published system converts HuBERT units to a waveform by a dedicated HiFi-GAN. Here a small network
predicts the mel from units and speaker vector, so that all systems use the same vocoder.

Letters: B batch, P phonemes, V video frames, U units, T mel frames, C mel channels, D model width,
A audio feature frames, W width of the audio feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redub.core.errors import ConfigError
from redub.model.batch import DubbingBatch, FeatureWidths
from redub.model.blocks.decoder import PostNet
from redub.model.blocks.lip_encoder import LipEncoder
from redub.model.blocks.phoneme_encoder import PhonemeEncoder
from redub.model.layers.attention import MultiHeadAttention
from redub.model.layers.dropout import Dropout
from redub.model.layers.fft_block import FFTSizes
from redub.model.layers.monotonic import attended_durations
from redub.model.layers.positions import count_up
from redub.model.layers.upsample import as_long_as_the_video, on_mel_clock
from redub.model.output import DubbingOutput, UnitEstimate
from redub.model.sizes import check_sizes

UNITS_PER_VIDEO_FRAME = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DSUAVOConfig:
    """Settings; the default sizes are the published ones.

    ``voice_layers`` and ``voice_heads``: of the network that predicts the mel from units.
    """

    width: int = 256
    filter_width: int = 1024
    kernel: int = 9
    dropout: float = 0.2
    text_layers: int = 4
    text_heads: int = 2
    lip_layers: int = 2
    lip_heads: int = 2
    lip_dropout: float = 0.5
    unit_layers: int = 1
    unit_heads: int = 2
    units: int = 100
    unit_width: int = 128
    voice_layers: int = 4
    voice_heads: int = 2
    postnet_layers: int = 5
    postnet_channels: int = 512
    postnet_kernel: int = 5
    postnet_dropout: float = 0.5

    def __post_init__(self) -> None:
        check_sizes(self)
        for name in ("text_heads", "lip_heads", "unit_heads", "voice_heads"):
            if self.width % getattr(self, name) or self.width % 2:
                raise ConfigError(f"width {self.width} is not even and divisible by {name}")
        for name in ("kernel", "postnet_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; an odd number keeps lengths")
        if self.units < 2 or self.postnet_layers < 2:
            raise ConfigError("units and postnet_layers must be at least 2")


class UnitVoice(nn.Module):
    """Predicts a mel from units and a speaker vector."""

    def __init__(self, config: DSUAVOConfig, widths: FeatureWidths) -> None:
        super().__init__()
        width = config.width
        self.table = nn.Embedding(config.units, config.unit_width)
        self.join = nn.Linear(config.unit_width + widths.speaker, width)
        self.blocks = FFTSizes.of(config, config.voice_layers, config.voice_heads).blocks(width)
        self.to_mel = nn.Linear(width, widths.mel)
        self.postnet = PostNet(
            widths.mel,
            config.postnet_channels,
            None,
            layers=config.postnet_layers,
            kernel=config.postnet_kernel,
            dropout=config.postnet_dropout,
        )

    def forward(
        self, units: Tensor, counts: Tensor, speaker: Tensor, batch: DubbingBatch
    ) -> tuple[Tensor, Tensor]:
        """Return two mels (B, T, C), before and after the post-net.

        Args:
            units: (B, U) ids.
            counts: (B,) number of units per utterance; they are spread evenly over its mel frames.
            speaker: (B, speaker).
        """
        valid = batch.frames_valid
        embedded = self.table(units)  # (B, U, unit width)
        voice = speaker.unsqueeze(1).expand(-1, embedded.size(1), -1)
        states = self.join(torch.cat((embedded, voice), dim=-1))  # (B, U, D)
        states = on_mel_clock(states, counts, batch.mel_frames, valid)
        states = states + count_up(states)
        for block in self.blocks:
            states = block(states, valid)
        mel = self.to_mel(states) * valid.unsqueeze(-1)
        return mel, mel + self.postnet(mel, valid)


class DSUAVO(nn.Module):
    """Predicts units from text and lips, and a mel from units."""

    Config: ClassVar[type[DSUAVOConfig]] = DSUAVOConfig
    PRESETS: ClassVar[dict[str, DSUAVOConfig]] = {
        "tiny": DSUAVOConfig(
            width=96,
            filter_width=192,
            kernel=3,
            dropout=0.0,
            text_layers=2,
            lip_layers=1,
            lip_dropout=0.1,
            unit_width=48,
            voice_layers=3,
            postnet_layers=3,
            postnet_channels=64,
            postnet_dropout=0.1,
        ),
        "paper": DSUAVOConfig(),
    }
    CONTROLS_RATE: ClassVar[bool] = False
    PREDICTS_PROSODY: ClassVar[bool] = False

    centroids: Tensor

    def __init__(self, config: DSUAVOConfig, widths: FeatureWidths) -> None:
        super().__init__()
        self.config, self.widths = config, widths
        width = config.width
        self.text = PhonemeEncoder(
            widths.phonemes,
            width,
            FFTSizes.of(config, config.text_layers, config.text_heads),
            mixed=False,
        )
        self.lips = LipEncoder(
            widths.lips,
            width,
            width,
            FFTSizes.of(config, config.lip_layers, config.lip_heads),
            normed=False,
        )
        self.attention = MultiHeadAttention(width, 1)
        self.lip_drop = Dropout(config.lip_dropout)
        self.unit_blocks = FFTSizes.of(config, config.unit_layers, config.unit_heads).blocks(width)
        self.to_unit = nn.Linear(width, config.units)
        self.register_buffer(
            "centroids", torch.randn(config.units, widths.local_audio)
        )  # (units, W), fitted before the first step
        self.voice = UnitVoice(config, widths)

    def forward(self, batch: DubbingBatch) -> DubbingOutput:
        """Synthesise a batch, as
        :meth:`redub.model.systems.authentic_dubber.AuthenticDubber.forward`.

        The mel of an utterance is predicted from the units of its recording (training) or, without
        a recording, from the predicted units.
        """
        text = self.text(batch.phonemes, batch.phonemes_valid)
        lips = as_long_as_the_video(self.lips(batch.lips, batch.lips_valid), batch.mel_frames)
        read = self.attention.with_weights(lips.states, text, batch.phonemes_valid)
        states = read.context + self.lip_drop(lips.states)
        states = states.repeat_interleave(UNITS_PER_VIDEO_FRAME, dim=1)
        valid = lips.valid.repeat_interleave(UNITS_PER_VIDEO_FRAME, dim=1)  # (B, U)
        states = (states + count_up(states)) * valid.unsqueeze(-1)
        for block in self.unit_blocks:
            states = block(states, valid)
        logits = self.to_unit(states)
        units, wanted, comparable = logits.argmax(-1), None, valid
        if batch.sound is not None and batch.sound_valid is not None:
            known = batch.sound_valid.any(1, keepdim=True)  # (B, 1)
            wanted = self.units_of(batch.sound, batch.sound_valid, valid)
            units = torch.where(known, wanted, units)
            comparable = valid & known
        mel, mel_post = self.voice(units, valid.sum(1), batch.speaker, batch)
        weights = read.weights[:, 0] * lips.valid.unsqueeze(-1)  # (B, V, P)
        durations = batch.durations
        if durations is None:
            durations = attended_durations(weights, lips.valid.sum(1), batch)
        return DubbingOutput(
            mel=mel,
            mel_post=mel_post,
            frames_valid=batch.frames_valid,
            durations=durations,
            lip_attention=weights.transpose(1, 2)[..., : batch.lips.size(1)],
            lips_present=lips.present,
            units=UnitEstimate(logits, wanted, comparable),
        )

    def units_of(self, sound: Tensor, sound_valid: Tensor, valid: Tensor) -> Tensor:
        """Assign to each unit the cluster nearest to its segment of the audio feature, (B, U).

        Args:
            sound: (B, A, W) frame-level audio feature. sound_valid: (B, A) bool.
            valid: (B, U) bool, units that are real.
        """
        stretches = sound_on_units(sound, sound_valid, valid)
        far = torch.cdist(stretches, self.centroids.unsqueeze(0).to(stretches))
        return far.argmin(-1)


def sound_on_units(sound: Tensor, sound_valid: Tensor, valid: Tensor) -> Tensor:
    """Average the audio feature (B, A, W) over the segment of each unit, (B, U, W).

    The valid rows are divided evenly between the valid units, whatever the frame rate of the
    feature is. A segment contains at least the row in which it starts.
    """
    rows, units = sound_valid.sum(1, keepdim=True), valid.sum(1, keepdim=True).clamp(min=1)
    clock = torch.arange(valid.size(1), device=valid.device)
    start = torch.minimum(clock * rows // units, (rows - 1).clamp(min=0))
    end = torch.maximum(torch.minimum((clock + 1) * rows // units, rows), start + 1)
    sums = F.pad((sound * sound_valid.unsqueeze(-1)).double().cumsum(1), (0, 0, 1, 0))
    last = sums.size(1) - 1

    def at(place: Tensor) -> Tensor:
        """Select the cumulative sums before the rows ``place`` (B, U)."""
        place = place.clamp(max=last)
        return sums.gather(1, place.unsqueeze(-1).expand(-1, -1, sums.size(-1)))

    return ((at(end) - at(start)) / (end - start).unsqueeze(-1)).float()
