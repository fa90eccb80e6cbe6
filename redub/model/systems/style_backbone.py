"""Backbone of StyleDubber and Authentic-Dubber: encoders, lip aligner, durations, prosody, decoder.

Source: StyleDubber (arXiv:2402.12636), as its released code runs. Defects of that code are
corrected here; the setting ``legacy`` brings them back by name.

Letters: B batch, P phonemes, T mel frames, V video frames, R reference mel frames, D model width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, nn

from redub.core.errors import ConfigError
from redub.model.batch import DubbingBatch, FeatureWidths
from redub.model.blocks.decoder import MelDecoder, PostNet
from redub.model.blocks.duration_predictor import DurationPredictor
from redub.model.blocks.harmonics import HarmonicTemplate
from redub.model.blocks.lip_aligner import AlignedLips, LipAligner
from redub.model.blocks.lip_encoder import LipEncoder, LipStates
from redub.model.blocks.mel_base import MelBase
from redub.model.blocks.phoneme_encoder import PhonemeEncoder
from redub.model.blocks.prosody import ProsodyEmbedding, ProsodyPredictor
from redub.model.blocks.timbre_encoder import TimbreEncoder, VoiceSummary
from redub.model.control import controlled_durations, controlled_prosody
from redub.model.layers.fft_block import FFTSizes
from redub.model.layers.length_regulator import fill, fill_as_published, stretch
from redub.model.layers.upsample import on_mel_clock
from redub.model.output import DubbingOutput, GraphReading
from redub.model.sizes import check_sizes

Legacy = Literal["ground_truth_length", "double_softmax", "causal_mask", "no_positions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleBackboneConfig:
    """Settings of the backbone; the default sizes are those of the published systems.

    prosody: predict pitch and energy and use them in the decoder, the pitch also as a harmonic
        template (not in the published systems; controlling pitch and energy needs it).
    duration_reads_text: the duration predictor reads the phoneme states in addition to the aligned
        lips (published: lips only).
    mel_base: the decoder adds to a mel that is computed in closed form before training, the mean of
        a phoneme's beginning, middle and end in this voice (:mod:`redub.model.blocks.mel_base`; not
        published).
    lips_in_frames: add the lip state of each moment to the speech states (published: lips are used
        for durations only).
    legacy: defects of the released code to repeat. ``ground_truth_length``: phonemes, pauses and
        length are those of the recording, and durations are rounded one by one.
        ``double_softmax``: the emotion classifier returns probabilities, and the loss applies the
        softmax again. ``causal_mask``: phonemes do not attend to later reference frames.
        ``no_positions``: phoneme encoder, aligner and decoder have no positional encoding. (The
        missing prosody is ``prosody = false``, the default.)
    """

    width: int = 256
    filter_width: int = 1024
    kernel: int = 9
    dropout: float = 0.2
    phoneme_layers: int = 12
    phoneme_heads: int = 8
    timbre_heads: int = 2
    timbre_kernel: int = 5
    timbre_dropout: float = 0.1
    voice_channels: tuple[int, ...] = (128, 256, 512, 512)
    cross_width: int = 128
    cross_layers: int = 16
    cross_heads: int = 8
    cross_filter_width: int = 512
    cross_input_dropout: float = 0.25
    cross_dropout: float = 0.1
    lip_width: int = 512
    lip_layers: int = 4
    lip_heads: int = 2
    aligner_heads: int = 8
    duration_kernel: int = 1
    duration_dropout: float = 0.5
    duration_reads_text: bool = False
    lips_in_frames: bool = False
    mel_base: bool = False
    prosody: bool = False
    prosody_layers: int = 2
    prosody_kernel: int = 3
    prosody_dropout: float = 0.5
    decoder_layers: int = 24
    decoder_heads: int = 4
    postnet_layers: int = 5
    postnet_channels: int = 256
    postnet_kernel: int = 5
    postnet_dropout: float = 0.5
    legacy: tuple[Legacy, ...] = ()

    def __post_init__(self) -> None:
        check_sizes(self)
        for name in ("phoneme_heads", "timbre_heads", "aligner_heads", "decoder_heads"):
            if self.width % getattr(self, name) or self.width % 2:
                raise ConfigError(f"width {self.width} is not even and divisible by {name}")
        for width, heads in (("cross_width", "cross_heads"), ("lip_width", "lip_heads")):
            if getattr(self, width) % getattr(self, heads) or getattr(self, width) % 2:
                raise ConfigError(f"{width} is not even and divisible by {heads}")
        for name in ("kernel", "timbre_kernel", "duration_kernel", "prosody_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; an odd number keeps lengths")
        if self.postnet_kernel % 2 == 0 or self.postnet_layers < 2:
            raise ConfigError("the post-net needs an odd kernel and at least 2 layers")
        if len(self.voice_channels) != 4:
            raise ConfigError("voice_channels needs 4 widths: the voice summary has 4 halvings")

    @property
    def positions(self) -> bool:
        """Whether phoneme encoder, aligner and decoder use positional encodings."""
        return "no_positions" not in self.legacy

    @property
    def causal(self) -> bool:
        """Whether phonemes cannot attend to later reference frames."""
        return "causal_mask" in self.legacy


TINY_BACKBONE = StyleBackboneConfig(
    width=96,
    filter_width=192,
    kernel=3,
    dropout=0.0,
    phoneme_layers=2,
    phoneme_heads=2,
    timbre_kernel=3,
    timbre_dropout=0.0,
    voice_channels=(32, 48, 64, 64),
    cross_width=64,
    cross_layers=1,
    cross_heads=2,
    cross_filter_width=128,
    cross_input_dropout=0.05,
    cross_dropout=0.05,
    lip_width=64,
    lip_layers=1,
    lip_heads=2,
    aligner_heads=2,
    duration_kernel=3,
    duration_dropout=0.1,
    duration_reads_text=True,
    mel_base=True,
    prosody=True,
    prosody_kernel=5,
    prosody_dropout=0.1,
    decoder_layers=3,
    decoder_heads=2,
    postnet_layers=3,
    postnet_channels=64,
    postnet_dropout=0.1,
)
"""Small sizes that train in minutes on two CPU cores."""


class Reading(NamedTuple):
    """Encoded inputs of a batch, before style and emotion are added."""

    text: Tensor  # (B, P, D)
    timbre: Tensor  # (B, R, D)
    lips: LipStates
    aligned: AlignedLips
    log_durations: Tensor  # (B, P)
    durations: Tensor  # (B, P) int64


class StyleBackbone(nn.Module):
    """Encoders, lip aligner, durations, prosody and decoder; subclasses add style and emotion."""

    config: StyleBackboneConfig

    def __init__(self, config: StyleBackboneConfig, widths: FeatureWidths) -> None:
        super().__init__()
        self.config, self.widths = config, widths
        width = config.width
        self.phoneme_encoder = PhonemeEncoder(
            widths.phonemes,
            width,
            FFTSizes.of(config, config.phoneme_layers, config.phoneme_heads),
            positions=config.positions,
        )
        self.timbre_encoder = TimbreEncoder(
            widths.mel,
            width,
            heads=config.timbre_heads,
            kernel=config.timbre_kernel,
            dropout=config.timbre_dropout,
        )
        self.voice_summary = VoiceSummary(
            width, config.voice_channels, widths.speaker, dropout=config.dropout
        )
        self.lip_encoder = LipEncoder(
            widths.lips,
            config.lip_width,
            width,
            FFTSizes.of(config, config.lip_layers, config.lip_heads),
        )
        self.lip_aligner = LipAligner(
            width, heads=config.aligner_heads, dropout=config.dropout, positions=config.positions
        )
        self.duration_predictor = DurationPredictor(
            width, kernel=config.duration_kernel, dropout=config.duration_dropout
        )
        self.lips_to_frames = nn.Linear(width, width) if config.lips_in_frames else None
        self._make_prosody()
        self.decoder = MelDecoder(
            width,
            widths.mel,
            widths.speaker,
            FFTSizes.of(config, config.decoder_layers, config.decoder_heads),
            harmonics=config.prosody,
            positions=config.positions,
        )
        self.mel_base = MelBase(widths) if config.mel_base else None
        if self.mel_base is not None:
            self.decoder.start_quietly()
        self.postnet = PostNet(
            widths.mel,
            config.postnet_channels,
            widths.speaker,
            layers=config.postnet_layers,
            kernel=config.postnet_kernel,
            dropout=config.postnet_dropout,
        )

    def _make_prosody(self) -> None:
        """Make the predictor and embedding of pitch and energy if ``config.prosody`` is set."""
        self.prosody_predictor: ProsodyPredictor | None = None
        if self.config.prosody:
            self.prosody_predictor = ProsodyPredictor(
                self.config.width,
                self.widths.speaker,
                layers=self.config.prosody_layers,
                kernel=self.config.prosody_kernel,
                dropout=self.config.prosody_dropout,
            )
            self.harmonic_template = HarmonicTemplate(self.widths.sound)
            self.prosody_embedding = ProsodyEmbedding(
                self.config.width, self.widths.mel, kernel=self.config.prosody_kernel
            )

    def read(self, batch: DubbingBatch) -> Reading:
        """Encode phonemes, reference mel and lips, and determine the phoneme durations.

        In training the durations are those of the batch. In synthesis (``batch.durations`` is None)
        the predicted durations are scaled to ``mel_frames``, with the rate of ``batch.control``.
        """
        text = self.phoneme_encoder(batch.phonemes, batch.phonemes_valid)
        timbre = self.timbre_encoder(batch.reference_mel, batch.reference_valid)
        lips = self.lip_encoder(batch.lips, batch.lips_valid)
        aligned = self.lip_aligner(text, batch.phonemes_valid, lips)
        seen = aligned.states + text if self.config.duration_reads_text else aligned.states
        log_durations = self.duration_predictor(seen, batch.phonemes_valid)
        durations = batch.durations
        if durations is None:
            published = "ground_truth_length" in self.config.legacy
            filled = (fill_as_published if published else fill)(
                log_durations, batch.phonemes_valid, batch.mel_frames
            )
            durations = controlled_durations(filled, batch)
        return Reading(text, timbre, lips, aligned, log_durations, durations)

    def speech(self, styled_text: Tensor, reading: Reading, batch: DubbingBatch) -> Tensor:
        """Expand styled phoneme states (B, P, D) to mel frames, (B, T, D), by their durations."""
        speech = stretch(styled_text, reading.durations, batch.frames_valid.size(1))
        if self.lips_to_frames is not None:
            speech = speech + self.lips_to_frames(lips_on_mel_clock(reading.lips, batch))
        return speech

    def spoken(
        self,
        states: Tensor,
        reading: Reading,
        batch: DubbingBatch,
        *,
        emotion_logits: Tensor,
        graphs: tuple[GraphReading, ...] = (),
    ) -> DubbingOutput:
        """Decode speech states (B, T, D) to a mel.

        In training pitch and energy are those of the batch. In synthesis (``batch.prosody`` is
        None) they are predicted and changed by ``batch.control``.
        """
        estimate, prosody, harmonics = None, None, None
        if self.prosody_predictor is not None:
            estimate = self.prosody_predictor(states, batch.frames_valid, batch.speaker)
            prosody = batch.prosody
            if prosody is None:
                prosody = controlled_prosody(
                    estimate.decided(),
                    batch.control,
                    valid=batch.frames_valid,
                    sounding=self._sounding(reading, batch),
                )
            harmonics = self.harmonic_template(prosody.pitch, prosody.voiced)
            states = states + self.prosody_embedding(prosody, harmonics, batch.frames_valid)
        mel = self.decoder(states, batch.frames_valid, batch.speaker, harmonics)
        if self.mel_base is not None:
            frames = batch.frames_valid.size(1)
            mel = mel + self.mel_base(
                batch.phonemes, reading.durations, batch.speaker, frames, prosody, harmonics
            )
        if "double_softmax" in self.config.legacy:
            emotion_logits = emotion_logits.softmax(-1)
        return DubbingOutput(
            mel=mel,
            mel_post=mel + self.postnet(mel, batch.frames_valid, batch.speaker),
            frames_valid=batch.frames_valid,
            log_durations=reading.log_durations,
            durations=reading.durations,
            lip_attention=reading.aligned.attention,
            lips_present=reading.lips.present,
            speaker=self.voice_summary(reading.timbre, batch.reference_valid),
            emotion_logits=emotion_logits,
            prosody=estimate,
            spoken=prosody,
            graphs=graphs,
        )

    def _sounding(self, reading: Reading, batch: DubbingBatch) -> Tensor:
        """Return (B, T) bool, False in pauses; without control, ``frames_valid`` (not used)."""
        if batch.control is None:
            return batch.frames_valid
        words = (batch.phonemes != batch.control.silence).unsqueeze(-1).float()
        return stretch(words, reading.durations, batch.frames_valid.size(1))[..., 0] > 0


def mean_over_time(states: Tensor, valid: Tensor) -> Tensor:
    """Average the valid states of (B, L, D) to (B, D); 0 where no state is valid."""
    real = valid.unsqueeze(-1)
    return (states * real).sum(1) / real.sum(1).clamp(min=1)


def lips_on_mel_clock(lips: LipStates, batch: DubbingBatch) -> Tensor:
    """Select for each mel frame the lip state of the video frame at that time, (B, T, D)."""
    return on_mel_clock(lips.states, lips.valid.sum(1), batch.mel_frames, batch.frames_valid)
