"""FastSpeech 2: text-to-speech baseline without video and without reference mel.

Source: FastSpeech 2 (arXiv:2006.04558) with the sizes of its widely used public code (pitch and
energy per phoneme, 256 bins each). A speaker vector is added to the phoneme states; that code adds
a speaker embedding at the same place. Here the utterance has the length of the video, so that
systems can be compared; in the published system the predicted durations determine the length.

Letters: B batch, P phonemes, T mel frames, C mel channels, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from redub.core.errors import ConfigError
from redub.model.batch import DubbingBatch, FeatureWidths, Prosody
from redub.model.blocks.decoder import PostNet
from redub.model.blocks.duration_predictor import DurationPredictor, VariancePredictor
from redub.model.blocks.harmonics import HIGHEST_OCTAVE, LOWEST_OCTAVE
from redub.model.blocks.prosody import LOUDEST, QUIETEST, on_phonemes
from redub.model.control import controlled_durations, controlled_prosody
from redub.model.layers.binned_value import BinnedValue
from redub.model.layers.fft_block import FFTSizes
from redub.model.layers.length_regulator import fill, stretch
from redub.model.layers.positions import count_up
from redub.model.output import DubbingOutput, ProsodyEstimate
from redub.model.sizes import check_sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class FastSpeech2Config:
    """Settings; the default sizes are those of the public code."""

    width: int = 256
    filter_width: int = 1024
    kernel: int = 9
    dropout: float = 0.2
    encoder_layers: int = 4
    encoder_heads: int = 2
    decoder_layers: int = 6
    decoder_heads: int = 2
    variance_kernel: int = 3
    variance_dropout: float = 0.5
    bins: int = 256
    postnet_layers: int = 5
    postnet_channels: int = 512
    postnet_kernel: int = 5
    postnet_dropout: float = 0.5

    def __post_init__(self) -> None:
        check_sizes(self)
        for name in ("encoder_heads", "decoder_heads"):
            if self.width % getattr(self, name) or self.width % 2:
                raise ConfigError(f"width {self.width} is not even and divisible by {name}")
        for name in ("kernel", "variance_kernel", "postnet_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; an odd number keeps lengths")
        if self.bins < 2 or self.postnet_layers < 2:
            raise ConfigError("bins and postnet_layers must be at least 2")


class FastSpeech2(nn.Module):
    """Phoneme encoder, variance adaptor, mel decoder."""

    Config: ClassVar[type[FastSpeech2Config]] = FastSpeech2Config
    PRESETS: ClassVar[dict[str, FastSpeech2Config]] = {
        "tiny": FastSpeech2Config(
            width=96,
            filter_width=192,
            kernel=3,
            dropout=0.0,
            encoder_layers=2,
            decoder_layers=3,
            variance_kernel=5,
            variance_dropout=0.1,
            bins=64,
            postnet_layers=3,
            postnet_channels=64,
            postnet_dropout=0.1,
        ),
        "paper": FastSpeech2Config(),
    }

    def __init__(self, config: FastSpeech2Config, widths: FeatureWidths) -> None:
        super().__init__()
        self.config, self.widths = config, widths
        width = config.width
        self.embedding = nn.Embedding(widths.phonemes, width, padding_idx=0)
        self.encoder = FFTSizes.of(config, config.encoder_layers, config.encoder_heads).blocks(
            width
        )
        self.voice = nn.Linear(widths.speaker, width)
        kernel, dropout = config.variance_kernel, config.variance_dropout
        self.duration = DurationPredictor(width, kernel=kernel, dropout=dropout)
        self.pitch, self.energy, self.voicing = (
            VariancePredictor(width, kernel=kernel, dropout=dropout) for _ in range(3)
        )
        self.pitch_embedding = BinnedValue(width, config.bins, LOWEST_OCTAVE, HIGHEST_OCTAVE)
        self.energy_embedding = BinnedValue(width, config.bins, QUIETEST, LOUDEST)
        self.unvoiced = nn.Parameter(torch.zeros(width))
        self.decoder = FFTSizes.of(config, config.decoder_layers, config.decoder_heads).blocks(
            width
        )
        self.to_mel = nn.Linear(width, widths.mel)
        self.postnet = PostNet(
            widths.mel,
            config.postnet_channels,
            None,
            layers=config.postnet_layers,
            kernel=config.postnet_kernel,
            dropout=config.postnet_dropout,
        )

    def forward(self, batch: DubbingBatch) -> DubbingOutput:
        """Synthesise a batch, as
        :meth:`redub.model.systems.authentic_dubber.AuthenticDubber.forward`.

        A phoneme is voiced if at least one of its frames is; its pitch is the mean over its voiced
        frames.
        """
        valid = batch.phonemes_valid
        text = self._encoded(self.embedding(batch.phonemes), self.encoder, valid)
        text = text + self.voice(batch.speaker).unsqueeze(1)  # (B, P, D)
        log_durations = self.duration(text, valid)
        durations = batch.durations
        if durations is None:
            filled = fill(log_durations, valid, batch.mel_frames)
            durations = controlled_durations(filled, batch)
        estimate = ProsodyEstimate(
            self.pitch(text, valid), self.voicing(text, valid), self.energy(text, valid)
        )
        if batch.prosody is None:
            silence = -1 if batch.control is None else batch.control.silence
            spoken = controlled_prosody(
                estimate.decided(),
                batch.control,
                valid=valid,
                sounding=batch.phonemes != silence,
            )
        else:
            spoken = on_phonemes(batch.prosody, durations)
        text = text + self._embedded(spoken)
        frames = batch.frames_valid
        states = stretch(text * valid.unsqueeze(-1), durations, frames.size(1))  # (B, T, D)
        states = self._encoded(states, self.decoder, frames)
        mel = self.to_mel(states) * frames.unsqueeze(-1)
        return DubbingOutput(
            mel=mel,
            mel_post=mel + self.postnet(mel, frames),
            frames_valid=frames,
            log_durations=log_durations,
            durations=durations,
            phoneme_prosody=estimate,
            spoken=_on_frames(spoken, durations, frames.size(1)),
        )

    @staticmethod
    def _encoded(states: Tensor, blocks: nn.ModuleList, valid: Tensor) -> Tensor:
        states = states + count_up(states)
        for block in blocks:
            states = block(states, valid)
        return states

    def _embedded(self, prosody: Prosody) -> Tensor:
        """Embed pitch and energy per phoneme, (B, P, D)."""
        pitch = self.pitch_embedding(prosody.pitch)
        pitch = torch.where(prosody.voiced.unsqueeze(-1), pitch, self.unvoiced)
        added: Tensor = pitch + self.energy_embedding(prosody.energy)
        return added


def _on_frames(prosody: Prosody, durations: Tensor, frames: int) -> Prosody:
    """Expand prosody per phoneme (B, P) to mel frames (B, T)."""
    signals = torch.stack((prosody.pitch, prosody.voiced.float(), prosody.energy), dim=-1)
    pitch, voiced, energy = stretch(signals, durations, frames).unbind(-1)
    return Prosody(pitch, voiced > 0, energy)
