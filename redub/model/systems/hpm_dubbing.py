"""HPMDubbing: timing from the lips, prosody from the face, emotion from the scene.

Source: HPMDubbing (Cong et al., CVPR 2023) as its released code runs. Lip states attend to the
phonemes, and each video frame is upsampled to four mel frames. There is no duration predictor; two
CTC losses keep the alignment in order. Valence and arousal of the face influence pitch and energy.

Differences from the released code: padded video frames are masked (the released mask is on the
wrong axis and has no effect; ``legacy``), voicing is predicted, utterances without lips or face get
a learned state, and the mel can have any length, not only four frames per video frame.

Letters: B batch, P phonemes, V video frames, T mel frames, C mel channels, D model width,
S speaker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from redub.core.errors import ConfigError
from redub.model.batch import DubbingBatch, FeatureWidths, Prosody
from redub.model.blocks.decoder import PostNet
from redub.model.blocks.duration_predictor import VariancePredictor
from redub.model.blocks.harmonics import HIGHEST_OCTAVE, LOWEST_OCTAVE
from redub.model.blocks.lip_encoder import LipEncoder, LipStates
from redub.model.blocks.phoneme_encoder import PhonemeEncoder
from redub.model.blocks.prosody import LOUDEST, QUIETEST
from redub.model.control import controlled_prosody
from redub.model.layers.absent import fill_missing
from redub.model.layers.additive_attention import AdditiveAttention
from redub.model.layers.attention import MultiHeadAttention
from redub.model.layers.binned_value import BinnedValue
from redub.model.layers.fft_block import FFTSizes
from redub.model.layers.monotonic import attended_durations
from redub.model.layers.positions import count_up, on_the_video
from redub.model.layers.upsample import (
    MEL_FRAMES_PER_VIDEO_FRAME,
    Upsample,
    as_long_as_the_video,
    on_mel_clock,
)
from redub.model.output import DubbingOutput, ProsodyEstimate
from redub.model.sizes import check_sizes

HPMLegacy = Literal["query_mask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HPMDubbingConfig:
    """Settings; the default sizes are published for Chem.

    :func:`paper_for_v2c` gives those published for V2C-Animation.

    scene: use the scene module, which needs the feature ``global_scene`` (published: V2C only).
    clocked: add positional encodings to video frames and phonemes before the attention; the
        position of a phoneme assumes equal durations (not published; it makes the order of the
        alignment easier to learn).
    voicing: predict which frames are voiced (the published system does not).
    legacy: ``query_mask`` repeats a defect of the released code: the face attention also reads
        padded video frames.
    """

    width: int = 256
    filter_width: int = 1024
    kernel: int = 9
    dropout: float = 0.2
    text_layers: int = 6
    text_heads: int = 8
    lip_width: int = 512
    lip_layers: int = 6
    lip_heads: int = 4
    aligner_heads: int = 8
    clocked: bool = False
    attention_dropout: float = 0.1
    variance_kernel: int = 3
    variance_dropout: float = 0.5
    bins: int = 256
    voicing: bool = True
    scene: bool = False
    scene_heads: int = 4
    decoder_layers: int = 8
    decoder_heads: int = 8
    postnet_layers: int = 5
    postnet_channels: int = 512
    postnet_kernel: int = 5
    postnet_dropout: float = 0.5
    legacy: tuple[HPMLegacy, ...] = ()

    def __post_init__(self) -> None:
        check_sizes(self)
        for name in ("text_heads", "aligner_heads", "scene_heads", "decoder_heads"):
            if self.width % getattr(self, name) or self.width % 2:
                raise ConfigError(f"width {self.width} is not even and divisible by {name}")
        if self.lip_width % self.lip_heads or self.lip_width % 2:
            raise ConfigError("lip_width is not even and divisible by lip_heads")
        for name in ("kernel", "variance_kernel", "postnet_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; an odd number keeps lengths")
        if self.bins < 2 or self.postnet_layers < 2:
            raise ConfigError("bins and postnet_layers must be at least 2")


TINY_HPM = HPMDubbingConfig(
    width=96,
    filter_width=192,
    kernel=3,
    dropout=0.0,
    text_layers=2,
    text_heads=2,
    lip_width=64,
    lip_layers=1,
    lip_heads=2,
    aligner_heads=2,
    clocked=True,
    attention_dropout=0.05,
    variance_kernel=5,
    variance_dropout=0.1,
    bins=64,
    scene_heads=2,
    decoder_layers=3,
    decoder_heads=2,
    postnet_layers=3,
    postnet_channels=64,
    postnet_dropout=0.1,
)
"""Small sizes that train in minutes on two CPU cores."""


def paper_for_v2c() -> HPMDubbingConfig:
    """Return the settings published for V2C-Animation."""
    return HPMDubbingConfig(
        text_layers=5, text_heads=2, lip_layers=4, decoder_layers=7, decoder_heads=2, scene=True
    )


class LipsReadText(NamedTuple):
    """Result of the attention from video frames to phonemes."""

    states: Tensor  # (B, T, D)
    weights: Tensor  # (B, V, P), mean over heads
    ctc_logits: Tensor  # (B, V, phonemes), class 0 is the blank
    lips: LipStates


class DurationAligner(nn.Module):
    """Attention from lip states to phoneme states, then upsampling to four mel frames each."""

    def __init__(self, config: HPMDubbingConfig, widths: FeatureWidths) -> None:
        super().__init__()
        width = config.width
        self.text = PhonemeEncoder(
            widths.phonemes,
            width,
            FFTSizes.of(config, config.text_layers, config.text_heads),
            mixed=False,
        )
        self.lips = LipEncoder(
            widths.lips,
            config.lip_width,
            width,
            FFTSizes.of(config, config.lip_layers, config.lip_heads),
            normed=False,
        )
        # The published attention from phonemes to the speaker vector has a single key, so that it
        # equals these two linear layers.
        self.clocked = config.clocked
        self.voice_value, self.voice_output = nn.Linear(width, width), nn.Linear(width, width)
        self.attention = MultiHeadAttention(
            width, config.aligner_heads, dropout=config.attention_dropout
        )
        self.mix = nn.Linear(width, width, bias=False)
        self.to_ctc = nn.Linear(width, widths.phonemes)
        self.upsample = Upsample(width)

    def encoded(self, batch: DubbingBatch, voice: Tensor) -> Tensor:
        """Encode the phonemes and add the speaker vector ``voice`` (B, D): (B, P, D).

        Padded phonemes are 0.
        """
        text = self.text(batch.phonemes, batch.phonemes_valid)
        speaker = self.voice_output(self.voice_value(voice)).unsqueeze(1)
        voiced: Tensor = (text + speaker) * batch.phonemes_valid.unsqueeze(-1)
        return voiced

    def forward(self, text: Tensor, batch: DubbingBatch) -> LipsReadText:
        """Align phoneme states (B, P, D) with the lips."""
        lips = as_long_as_the_video(self.lips(batch.lips, batch.lips_valid), batch.mel_frames)
        states, valid = lips.states, lips.valid
        if self.clocked:
            states = states + count_up(states)
            text = text + on_the_video(text, batch.phonemes_valid, valid)
        read = self.attention.with_weights(states, text, batch.phonemes_valid)
        aligned = self.mix(read.context) * valid.unsqueeze(-1)
        made = MEL_FRAMES_PER_VIDEO_FRAME * valid.sum(1)
        frames = on_mel_clock(
            self.upsample(aligned, valid), made, batch.mel_frames, batch.frames_valid
        )
        weights = read.weights.mean(1) * valid.unsqueeze(-1)
        return LipsReadText(frames, weights, self.to_ctc(aligned), lips)


class AffectiveProsody(nn.Module):
    """Predicts pitch from the valence of the face, and energy from its arousal."""

    def __init__(self, config: HPMDubbingConfig, widths: FeatureWidths) -> None:
        super().__init__()
        width = config.width
        self.every_key = "query_mask" in config.legacy
        self.no_face = nn.Parameter(torch.zeros(widths.local_face))
        self.valence, self.arousal = (
            nn.Sequential(
                nn.Linear(widths.local_face, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
            )
            for _ in range(2)
        )
        self.to_query = nn.Linear(width, width)
        self.from_valence, self.from_arousal = AdditiveAttention(width), AdditiveAttention(width)
        predictors = [
            VariancePredictor(width, kernel=config.variance_kernel, dropout=config.variance_dropout)
            for _ in range(3 if config.voicing else 2)
        ]
        self.pitch, self.energy = predictors[:2]
        self.voicing = predictors[2] if config.voicing else None
        self.unvoiced = nn.Parameter(torch.zeros(width)) if config.voicing else None
        self.pitch_embedding = BinnedValue(
            width, config.bins, LOWEST_OCTAVE, HIGHEST_OCTAVE, kept=True
        )
        self.energy_embedding = BinnedValue(width, config.bins, QUIETEST, LOUDEST, kept=True)
        self.mix = nn.Linear(2 * width, width, bias=False)

    def forward(
        self, states: Tensor, batch: DubbingBatch, controlled: Tensor
    ) -> tuple[Tensor, ProsodyEstimate, Prosody]:
        """Predict prosody and add it to the states (B, T, D).

        Args:
            controlled: (B, T) bool, the frames that ``batch.control`` changes.

        Returns:
            States with prosody (B, T, D), the prediction, and the prosody that was added: that of
            the batch in training, else the prediction as changed by ``batch.control``.
        """
        valid = batch.frames_valid
        face, face_valid = fill_missing(batch.local_face, batch.local_face_valid, self.no_face)
        readable = torch.ones_like(face_valid) if self.every_key else face_valid
        query = self.to_query(states)
        from_valence = self.from_valence(query, self.valence(face), readable)
        pitch = self.pitch(from_valence, valid)
        energy = self.energy(self.from_arousal(query, self.arousal(face), readable), valid)
        voicing = torch.ones_like(pitch)
        if self.voicing is not None:
            voicing = self.voicing(from_valence, valid)
        estimate = ProsodyEstimate(pitch, voicing, energy)
        spoken = batch.prosody
        if spoken is None:
            spoken = controlled_prosody(
                estimate.decided(), batch.control, valid=controlled, sounding=controlled
            )
        of_pitch = self.pitch_embedding(spoken.pitch)
        if self.unvoiced is not None:
            of_pitch = torch.where(spoken.voiced.unsqueeze(-1), of_pitch, self.unvoiced)
        of_energy = self.energy_embedding(spoken.energy)
        with_prosody = self.mix(torch.cat((states + of_pitch, states + of_energy), dim=-1))
        return with_prosody, estimate, spoken


class SceneBooster(nn.Module):
    """Computes one emotion state per utterance, by attention from the scene to the speech states.

    The published module repeats the same query for every video frame; here it is computed once.
    """

    def __init__(self, config: HPMDubbingConfig, widths: FeatureWidths) -> None:
        super().__init__()
        width = config.width
        self.scene = nn.Sequential(
            nn.Linear(widths.scene, width // 2), nn.ReLU(), nn.Linear(width // 2, width), nn.ReLU()
        )
        self.attention = MultiHeadAttention(
            width, config.scene_heads, dropout=config.attention_dropout
        )
        self.to_emotion = nn.Linear(width, widths.emotions)
        self.join_voice = nn.Linear(2 * width, width, bias=False)

    def forward(
        self, states: Tensor, valid: Tensor, scene: Tensor, voice: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return an emotion state for all frames (B, 1, D) and emotion logits (B, emotions).

        Args:
            states: (B, T, D). valid: (B, T) bool.
            scene: (B, scene). voice: (B, D).
        """
        emotion_state = self.attention(self.scene(scene).unsqueeze(1), states, valid)  # (B, 1, D)
        joined = self.join_voice(torch.cat((emotion_state, voice.unsqueeze(1)), dim=-1))
        return joined, self.to_emotion(emotion_state.squeeze(1))


class HPMDubbing(nn.Module):
    """Duration aligner, prosody predictor, optional scene module, mel decoder."""

    Config: ClassVar[type[HPMDubbingConfig]] = HPMDubbingConfig
    PRESETS: ClassVar[Mapping[str, HPMDubbingConfig]] = {
        "tiny": TINY_HPM,
        "paper": HPMDubbingConfig(),
    }
    CONTROLS_RATE: ClassVar[bool] = False  # the lips determine the timing

    config: HPMDubbingConfig

    def __init__(self, config: HPMDubbingConfig, widths: FeatureWidths) -> None:
        super().__init__()
        self.config, self.widths = config, widths
        width = config.width
        # The published system expects a speaker vector of the model width.
        self.fit_voice = (
            nn.Identity() if widths.speaker == width else nn.Linear(widths.speaker, width)
        )
        self.aligner = DurationAligner(config, widths)
        self.join_voice = nn.Linear(2 * width, width, bias=False)
        self.prosody = AffectiveProsody(config, widths)
        self.booster = SceneBooster(config, widths) if config.scene else None
        self.fuse = nn.Linear(3 * width, width, bias=False)
        decoder = FFTSizes.of(config, config.decoder_layers, config.decoder_heads)
        self.decoder = decoder.blocks(width)
        self.to_ctc = nn.Linear(width, widths.phonemes)
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
        """Synthesise a batch; shapes as in ``AuthenticDubber.forward``."""
        voice = self.fit_voice(batch.speaker)
        text = self.aligner.encoded(batch, voice)
        aligned = self.aligner(text, batch)
        return self.spoken(self.in_context(aligned.states, text, batch), aligned, batch, voice)

    def in_context(self, states: Tensor, text: Tensor, batch: DubbingBatch) -> Tensor:
        """Hook for systems with context; returns the aligned states (B, T, D) unchanged here."""
        return states

    def spoken(
        self,
        states: Tensor,
        aligned: LipsReadText,
        batch: DubbingBatch,
        voice: Tensor,
        *,
        hint: Tensor | None = None,
        controlled: Tensor | None = None,
    ) -> DubbingOutput:
        """Predict prosody and decode aligned states (B, T, D) to the mel.

        Args:
            aligned: result of the aligner.
            voice: (B, D) speaker vector.
            hint: (B, T, D), added to the decoder's input.
            controlled: (B, T) bool, the frames that ``batch.control`` changes; None means all.
        """
        valid = batch.frames_valid
        real = valid.unsqueeze(-1)
        with_prosody, estimate, spoken = self.prosody(
            self._with_voice(states, voice), batch, valid if controlled is None else controlled
        )
        emotion_state, emotion_logits = self._with_voice(with_prosody, voice), None
        if self.booster is not None:
            emotion_state, emotion_logits = self.booster(
                emotion_state, valid, batch.modalities[0], voice
            )
            emotion_state = emotion_state.expand_as(with_prosody)
        fused = self.fuse(torch.cat((states, with_prosody, emotion_state), dim=-1)) + states
        if hint is not None:
            fused = fused + hint
        fused = (fused + count_up(fused)) * real
        for block in self.decoder:
            fused = block(fused, valid)
        mel = self.to_mel(fused) * real
        of_frames = self.to_ctc(fused)
        durations = batch.durations
        if durations is None:
            durations = attended_durations(aligned.weights, aligned.lips.valid.sum(1), batch)
        return DubbingOutput(
            mel=mel,
            mel_post=mel + self.postnet(mel, valid),
            frames_valid=valid,
            durations=durations,
            lip_attention=aligned.weights.transpose(1, 2),
            lips_present=aligned.lips.present,
            emotion_logits=emotion_logits,
            prosody=estimate,
            # Without voicing, the pitch has the scale of the checkpoint, not that of ``Prosody``.
            spoken=spoken if self.config.voicing else None,
            ctc=((aligned.ctc_logits, aligned.lips.valid), (of_frames, valid)),
        )

    def _with_voice(self, states: Tensor, voice: Tensor) -> Tensor:
        """Add the speaker vector (B, D); the same layer is used twice, as published."""
        repeated = voice.unsqueeze(1).expand_as(states)
        joined: Tensor = self.join_voice(torch.cat((states, repeated), dim=-1)) + states
        return joined
