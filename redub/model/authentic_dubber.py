"""Authentic-Dubber: speech in a given voice, as long as the picture, with retrieved emotion.

Source: Authentic-Dubber (arXiv:2511.14249) on the backbone its released code runs, StyleDubber
(arXiv:2402.12636). Where the two differ from what is right, this file does what is right: the
length comes from the video, attention hides padding and not the future, encoder and decoder know
positions, and the emotion classifier gives logits.
Letters: B batch, P phonemes, T mel frames, V video frames, D model width, K references.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from redub.core.errors import ConfigError
from redub.model.aggregation import HierarchicalAggregation
from redub.model.batch import DubbingBatch, FeatureWidths
from redub.model.cross_modal import TextReadsTimbre
from redub.model.decoder import MelDecoder, PostNet
from redub.model.duration_predictor import DurationPredictor
from redub.model.emotion_graph import EmotionGraphs, Retrieved
from redub.model.harmonics import HarmonicPicture
from redub.model.length_regulator import fill, stretch
from redub.model.lip_aligner import AlignedLips, LipAligner
from redub.model.lip_encoder import LipEncoder, LipStates
from redub.model.output import DubbingOutput, GraphReading
from redub.model.phoneme_encoder import PhonemeEncoder
from redub.model.prosody import ProsodyEmbedding, ProsodyPredictor
from redub.model.timbre_encoder import TimbreEncoder, VoiceSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticDubberConfig:
    """Sizes and parts; the defaults are the sizes of the published system.

    graph: ``staged`` reads emotion from the three graphs; ``none`` decodes from text, lips and
        timbre alone. retrieval: False leaves the graphs without hits.
    score_aware: hits listen to how similar they are, so that more of them do no harm.
    prosody: predict pitch and energy and give them to the decoder, the pitch also as the comb of
        its harmonics (not in the published system).
    duration_reads_text: durations see the phoneme itself beside the lips (published: lips only).
    lips_in_frames: the mouth of each moment enters the speech states (published: durations only).
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
    graph: Literal["staged", "none"] = "staged"
    graph_heads: int = 2
    graph_dropout: float = 0.2
    retrieval: bool = True
    score_aware: bool = False
    aggregator_dropout: float = 0.1
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

    def __post_init__(self) -> None:
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
            raise ConfigError("the post-net wants an odd kernel and at least 2 layers")
        if len(self.voice_channels) != 4:
            raise ConfigError("voice_channels wants 4 widths: the voice summary halves four times")


TINY = AuthenticDubberConfig(
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
    graph_dropout=0.1,
    score_aware=True,
    prosody=True,
    prosody_kernel=5,
    prosody_dropout=0.1,
    decoder_layers=3,
    decoder_heads=2,
    postnet_layers=3,
    postnet_channels=64,
    postnet_dropout=0.1,
)


class AuthenticDubber(nn.Module):
    """Text, lips, timbre and three emotion graphs in; a mel as long as the picture out."""

    Config: ClassVar[type[AuthenticDubberConfig]] = AuthenticDubberConfig
    PRESETS: ClassVar[dict[str, AuthenticDubberConfig]] = {
        "tiny": TINY,
        "paper": AuthenticDubberConfig(),
    }

    def __init__(self, config: AuthenticDubberConfig, widths: FeatureWidths) -> None:
        super().__init__()
        self.config, self.widths = config, widths
        width = config.width
        self.phoneme_encoder = PhonemeEncoder(
            widths.phonemes,
            width,
            layers=config.phoneme_layers,
            heads=config.phoneme_heads,
            filter_width=config.filter_width,
            kernel=config.kernel,
            dropout=config.dropout,
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
        self.text_reads_timbre = TextReadsTimbre(
            width,
            config.cross_width,
            layers=config.cross_layers,
            heads=config.cross_heads,
            filter_width=config.cross_filter_width,
            input_dropout=config.cross_input_dropout,
            dropout=config.cross_dropout,
        )
        self.lip_encoder = LipEncoder(
            widths.lips,
            config.lip_width,
            width,
            layers=config.lip_layers,
            heads=config.lip_heads,
            filter_width=config.filter_width,
            kernel=config.kernel,
            dropout=config.dropout,
        )
        self.lip_aligner = LipAligner(width, heads=config.aligner_heads, dropout=config.dropout)
        self.duration_predictor = DurationPredictor(
            width, kernel=config.duration_kernel, dropout=config.duration_dropout
        )
        self.lips_to_frames = nn.Linear(width, width) if config.lips_in_frames else None
        self.graphs: EmotionGraphs | None = None
        if config.graph == "staged":
            self.graphs = EmotionGraphs(
                widths,
                width,
                heads=config.graph_heads,
                dropout=config.graph_dropout,
                score_aware=config.score_aware and config.retrieval,
            )
            self.aggregation = HierarchicalAggregation(width, config.aggregator_dropout)
            self.join_knowledge = nn.Linear(2 * width, width, bias=False)
        self.emotion_classifier = nn.Linear(width, widths.emotions)
        self.prosody_predictor: ProsodyPredictor | None = None
        if config.prosody:
            self.prosody_predictor = ProsodyPredictor(
                width,
                widths.speaker,
                layers=config.prosody_layers,
                kernel=config.prosody_kernel,
                dropout=config.prosody_dropout,
            )
            self.harmonic_picture = HarmonicPicture(widths.sound)
            self.prosody_embedding = ProsodyEmbedding(
                width, widths.mel, kernel=config.prosody_kernel
            )
        self.decoder = MelDecoder(
            width,
            widths.mel,
            widths.speaker,
            layers=config.decoder_layers,
            heads=config.decoder_heads,
            filter_width=config.filter_width,
            kernel=config.kernel,
            dropout=config.dropout,
            harmonics=config.prosody,
        )
        self.postnet = PostNet(
            widths.mel,
            config.postnet_channels,
            widths.speaker,
            layers=config.postnet_layers,
            kernel=config.postnet_kernel,
            dropout=config.postnet_dropout,
        )

    def forward(self, batch: DubbingBatch) -> DubbingOutput:
        """Speak a batch.

        A batch with durations and prosody is decoded along them (training); one without is
        decoded along the predicted ones (synthesis). Either way line b has ``mel_frames[b]``
        frames. Mels are standardised; padded frames are 0.
        """
        text = self.phoneme_encoder(batch.phonemes, batch.phonemes_valid)  # (B, P, D)
        timbre = self.timbre_encoder(batch.timbre, batch.timbre_valid)  # (B, R, D)
        voiced_text = self.text_reads_timbre(
            text, batch.phonemes_valid, timbre, batch.timbre_valid
        )  # (B, P, D)
        lips = self.lip_encoder(batch.lips, batch.lips_valid)
        aligned = self.lip_aligner(text, batch.phonemes_valid, lips)
        log_durations = self._log_durations(text, aligned, batch)
        durations = batch.durations
        if durations is None:
            durations = fill(log_durations, batch.phonemes_valid, batch.mel_frames)

        frames = batch.frames_valid.size(1)
        speech = stretch(voiced_text, durations, frames)  # (B, T, D)
        if self.lips_to_frames is not None:
            speech = speech + self.lips_to_frames(self._lips_on_mel_clock(lips, batch))
        felt, readings = self._with_emotion(speech, batch)
        decoder_input = speech
        if self.graphs is not None:
            decoder_input = self.join_knowledge(torch.cat((speech, felt), dim=-1))

        estimate, harmonics = None, None
        if self.prosody_predictor is not None:
            estimate = self.prosody_predictor(decoder_input, batch.frames_valid, batch.speaker)
            prosody = estimate.decided() if batch.prosody is None else batch.prosody
            harmonics = self.harmonic_picture(prosody.pitch, prosody.voiced)
            embedded = self.prosody_embedding(prosody, harmonics, batch.frames_valid)
            decoder_input = decoder_input + embedded
        mel = self.decoder(decoder_input, batch.frames_valid, batch.speaker, harmonics)
        return DubbingOutput(
            mel=mel,
            mel_post=mel + self.postnet(mel, batch.frames_valid, batch.speaker),
            frames_valid=batch.frames_valid,
            log_durations=log_durations,
            durations=durations,
            lip_attention=aligned.attention,
            lips_present=lips.present,
            speaker=self.voice_summary(timbre, batch.timbre_valid),
            emotion_logits=self.emotion_classifier(_mean_over_time(felt, batch.frames_valid)),
            prosody=estimate,
            graphs=readings,
        )

    def _log_durations(self, text: Tensor, aligned: AlignedLips, batch: DubbingBatch) -> Tensor:
        seen = aligned.states + text if self.config.duration_reads_text else aligned.states
        predicted: Tensor = self.duration_predictor(seen, batch.phonemes_valid)
        return predicted

    def _lips_on_mel_clock(self, lips: LipStates, batch: DubbingBatch) -> Tensor:
        """(B, T, D): for each mel frame, the lip state of the picture shown at that moment."""
        pictures = lips.valid.sum(1, keepdim=True)  # (B, 1)
        clock = torch.arange(batch.frames_valid.size(1), device=pictures.device)
        shown = clock * pictures // batch.mel_frames.unsqueeze(1)  # (B, T)
        shown = torch.minimum(shown, pictures - 1)
        states = lips.states.gather(1, shown.unsqueeze(-1).expand(-1, -1, lips.states.size(-1)))
        return states * batch.frames_valid.unsqueeze(-1)

    def _with_emotion(
        self, speech: Tensor, batch: DubbingBatch
    ) -> tuple[Tensor, tuple[GraphReading, ...]]:
        """Speech states that have read the three graphs; unchanged where there are none."""
        if self.graphs is None:
            return speech, ()
        found = Retrieved(batch.hits, batch.hits_audio, batch.hits_score, batch.hits_valid)
        if not self.config.retrieval:
            found = _no_hits(found)
        graphs = self.graphs(batch.modalities, batch.modalities_valid, found)
        knowledge = self.aggregation(speech, graphs)
        return knowledge.states, knowledge.readings


def _no_hits(found: Retrieved) -> Retrieved:
    scene, face, text = (vectors[:, :0] for vectors in found.vectors)
    return Retrieved(
        (scene, face, text), found.sound[:, :, :0], found.score[:, :, :0], found.valid[:, :, :0]
    )


def _mean_over_time(states: Tensor, valid: Tensor) -> Tensor:
    real = valid.unsqueeze(-1)
    return (states * real).sum(1) / real.sum(1).clamp(min=1)
