"""wav2vec 2.0 trained on IEMOCAP emotions, in the layouts of speechbrain and of superb.

Source: wav2vec 2.0 (arXiv:2006.11477), tensor names of transformers; SUPERB (arXiv:2105.01051); the
recipe behind speechbrain/emotion-recognition-wav2vec2-IEMOCAP.
Letters: S samples, T frames (50 Hz), D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from redub.core.types import FloatArray
from redub.features.models.model_page import built, configured, current_names, tensors_of
from redub.features.models.wav2vec2_iemocap.checkpoint import (
    SPEECHBRAIN_WIDTH,
    labels_of,
    layout_of,
)
from redub.features.sound.speech_input import RATE_HZ
from redub.features.weights.checkpoint_parts import tensor_table
from redub.features.weights.folder import WeightFolder, load_strictly, without_prefix
from redub.features.weights.offline import quiet_transformers

STRIDES = (5, 2, 2, 2, 2, 2, 2)  # 320 samples per frame; no tensor shows these sizes
HEAD_WIDTH = 64
MASK = r"(wav2vec2\.)?masked_spec_embed"
"""Name of the embedding of masked frames, used only in training; a model may lack it."""
LAYER_TAIL = "feed_forward.intermediate_dense.weight"


class SpeechEmotionNetwork(nn.Module, ABC):
    """Compute the vector of one utterance from its samples."""

    @torch.inference_mode()
    def vector(self, speech: FloatArray) -> FloatArray:
        """Compute (D,) float32 from (S,) samples at 16 kHz, S at least 400."""
        samples = torch.from_numpy(self.normalised(speech))
        device = next(self.parameters()).device
        if device.type == "cuda":
            samples = samples.pin_memory()
        states_TD = self.states(samples.to(device, non_blocking=True)[None])[0]
        vector: FloatArray = states_TD.mean(dim=0).float().cpu().numpy()
        return vector

    @abstractmethod
    def normalised(self, speech: FloatArray) -> FloatArray:
        """Normalise (S,) samples as in the training of the encoder."""

    @abstractmethod
    def states(self, samples_BS: Tensor) -> Tensor:
        """Compute (B, T, D) states; their mean over time is the vector."""


class SpeechbrainNetwork(SpeechEmotionNetwork):
    """The last layer, normalised over time and width together.

    ``classifier`` (labels, D) has no bias; its input is the vector.
    """

    def __init__(self, wav2vec2: nn.Module, labels: int) -> None:
        super().__init__()
        self.wav2vec2 = wav2vec2
        self.classifier = nn.Linear(SPEECHBRAIN_WIDTH, labels, bias=False)

    def normalised(self, speech: FloatArray) -> FloatArray:
        """Normalise (S,) samples to mean 0 and variance 1."""
        return _standardised(speech, 1e-5)

    def states(self, samples_BS: Tensor) -> Tensor:
        """Compute the normalised last layer, (B, T, D)."""
        last_BTD = self.wav2vec2(samples_BS).last_hidden_state
        return functional.layer_norm(last_BTD, last_BTD.shape[1:])


class SuperbNetwork(SpeechEmotionNetwork):
    """The projected sum of all layers with learnt weights.

    Without ``use_weighted_layer_sum`` it is the projected last layer, as in transformers.
    """

    def __init__(self, model: Any, *, standardise: bool) -> None:
        super().__init__()
        self.model = model
        self.standardise = standardise

    def normalised(self, speech: FloatArray) -> FloatArray:
        """Normalise (S,) samples if the folder's preprocessor does."""
        return _standardised(speech, 1e-7) if self.standardise else speech.astype(np.float32)

    def states(self, samples_BS: Tensor) -> Tensor:
        """Compute the projected sum of the layers, (B, T, D)."""
        model = self.model
        if model.config.use_weighted_layer_sum:
            layers = model.wav2vec2(samples_BS, output_hidden_states=True).hidden_states
            shares = model.layer_weights.softmax(dim=-1)
            # No stack of all layers, because it takes 120 MB more for a minute of sound.
            states_BTD = sum(share * layer for share, layer in zip(shares, layers, strict=True))
        else:
            states_BTD = model.wav2vec2(samples_BS).last_hidden_state
        projected: Tensor = model.projector(states_BTD)
        return projected


def _standardised(speech: FloatArray, epsilon: float) -> FloatArray:
    """Normalise to zero mean and unit variance over the whole utterance."""
    scaled = (speech - speech.mean()) / np.sqrt(speech.var() + np.float32(epsilon))
    return np.asarray(scaled, dtype=np.float32)


def load_network(weights: WeightFolder, device: torch.device) -> SpeechEmotionNetwork:
    """Load the network of either layout strictly.

    Raises:
        ModelRefusedError: the files are not this model, or are not trusted.
    """
    load = {"speechbrain": _speechbrain, "superb": _superb}[layout_of(weights)]
    return load(weights).to(device).eval()


def _superb(weights: WeightFolder) -> SpeechEmotionNetwork:
    transformers = quiet_transformers()
    standardise = True
    if weights.has("preprocessor_config.json"):
        front = weights.json("preprocessor_config.json")
        standardise = bool(front.get("do_normalize", True))
        if front.get("sampling_rate", RATE_HZ) != RATE_HZ:
            raise weights.refused(
                f"preprocessor_config.json wants {front['sampling_rate']} Hz, not {RATE_HZ}",
                code="E-MODEL-FILE",
            )
    config = configured(transformers.Wav2Vec2Config, weights, num_labels=len(labels_of(weights)))
    model = built(transformers.Wav2Vec2ForSequenceClassification, config, weights)
    load_strictly(model, current_names(tensors_of(weights)), weights, lacking=(MASK,))
    return SuperbNetwork(model, standardise=standardise)


def _speechbrain(weights: WeightFolder) -> SpeechEmotionNetwork:
    table = tensor_table(weights.tensors("wav2vec2.ckpt"), weights, "wav2vec2.ckpt")
    state = current_names(without_prefix(table, "model."))
    encoder = built(quiet_transformers().Wav2Vec2Model, _sizes(state, weights), weights)
    load_strictly(encoder, state, weights, lacking=(MASK,))
    head = tensor_table(weights.tensors("model.ckpt"), weights, "model.ckpt")
    rows = head["0.w.weight"].shape[0] if head.get("0.w.weight", torch.zeros(())).ndim else 0
    labels = labels_of(weights)
    if labels and rows and rows != len(labels):
        raise weights.refused(
            f"model.ckpt has {rows} rows, label_encoder.txt {len(labels)} labels",
            code="E-MODEL-SHAPE",
        )
    network = SpeechbrainNetwork(encoder, rows or len(labels))
    load_strictly(network.classifier, _renamed(head, "0.w.weight", "weight"), weights)
    return network


def _renamed(state: Mapping[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    return {new if name == old else name: value for name, value in state.items()}


def _sizes(state: Mapping[str, Tensor], weights: WeightFolder) -> Any:
    """The configuration of wav2vec2-base by the tensor sizes; the layout has no config file.

    Raises:
        ModelRefusedError: E-MODEL-KEYS, tensors that every wav2vec 2.0 has are missing;
            E-MODEL-SHAPE, it is not 768 wide.
    """
    convolutions = [f"feature_extractor.conv_layers.{i}.conv.weight" for i in range(len(STRIDES))]
    position = "encoder.pos_conv_embed.conv.parametrizations.weight.original1"
    inner = f"encoder.layers.0.{LAYER_TAIL}"
    ranks = {**dict.fromkeys([*convolutions, position], 3), inner: 2}
    missing = [n for n, rank in ranks.items() if n not in state or state[n].ndim != rank]
    if missing:
        raise weights.refused(
            f"wav2vec2.ckpt has no {missing[0]}; this is another model, or a part of it",
            code="E-MODEL-KEYS",
        )
    hidden, width = state[inner].shape
    if width != SPEECHBRAIN_WIDTH:
        raise weights.refused(
            f"wav2vec2.ckpt is {width} wide, wanted {SPEECHBRAIN_WIDTH} (wav2vec2-base)",
            code="E-MODEL-SHAPE",
        )
    return quiet_transformers().Wav2Vec2Config(
        hidden_size=width,
        num_attention_heads=width // HEAD_WIDTH,
        intermediate_size=hidden,
        num_hidden_layers=sum(name.endswith(LAYER_TAIL) for name in state),
        conv_dim=tuple(state[name].shape[0] for name in convolutions),
        conv_kernel=tuple(state[name].shape[-1] for name in convolutions),
        conv_stride=STRIDES,
        num_conv_pos_embeddings=state[position].shape[-1],
        num_conv_pos_embedding_groups=width // state[position].shape[1],
        attn_implementation="sdpa",
    )
