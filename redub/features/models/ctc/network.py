"""wav2vec 2.0 with a CTC head from a local folder: log-probabilities per frame.

Source: Wav2Vec2ForCTC of transformers (arXiv:2006.11477); the blank is the pad token.
Letters: S samples at 16 kHz, F frames of the network, V entries of the vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from redub.core.extras import optional
from redub.core.types import FloatArray
from redub.features.weights.checkpoint_parts import tensor_table
from redub.features.weights.folder import WeightFolder, load_strictly
from redub.features.weights.offline import quiet_transformers

INDEX = "model.safetensors.index.json"
MASK = "wav2vec2.masked_spec_embed"  # used only in training; some checkpoints do not have it
_SETTINGS_NOT_OURS = frozenset(
    {"dtype", "transformers_version", "architectures", "_name_or_path", "return_dict"}
    | {"output_hidden_states", "output_attentions", "problem_type", "id2label", "label2id"}
)
_OLD_NAMES = {"weight_g": "parametrizations.weight.original0"} | {
    "weight_v": "parametrizations.weight.original1"
}


class CtcNetwork:
    """The loaded network; it processes one utterance at a time.

    The group norm of the base models averages over a whole row including padding, so a padded
    batch would give other values than single clips.
    """

    def __init__(self, model: Any, *, normalise: bool, device: torch.device) -> None:
        self.model = model
        self.normalise = normalise
        self.device = device

    def parameters(self) -> Iterator[Tensor]:
        """Iterate over the parameters of the model."""
        parameters: Iterator[Tensor] = self.model.parameters()
        return parameters

    @torch.inference_mode()
    def log_probabilities(self, speech: FloatArray) -> NDArray[np.float64]:
        """Compute (F, V) natural log-probabilities of (S,) samples at 16 kHz."""
        samples = torch.from_numpy(np.ascontiguousarray(speech, dtype=np.float32))
        if self.normalise:
            # As in transformers' feature extractor; 1e-7 avoids a division by 0 for silence.
            samples = (samples - samples.mean()) / torch.sqrt(samples.var(unbiased=False) + 1e-7)
        if self.device.type == "cuda":
            samples = samples.pin_memory()
        batch = samples[None].to(self.device, non_blocking=True)
        logits = self.model(batch).logits[0].double()
        scores: NDArray[np.float64] = logits.log_softmax(dim=-1).cpu().numpy()
        return scores


def load_network(weights: WeightFolder, *, device: Any) -> CtcNetwork:
    """Build the network and load its weights.

    Raises:
        ModelRefusedError: another model, a missing or unknown tensor, settings that do not fit.
    """
    transformers = quiet_transformers()
    # After the offline switches are set.
    hub = optional("huggingface_hub.errors", extra="paper", purpose="alignment by CTC")
    misfits = (
        hub.StrictDataclassError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        AttributeError,
    )
    defaults = transformers.Wav2Vec2Config().to_dict()
    given = weights.json("config.json")
    settings = {k: v for k, v in given.items() if k in defaults and k not in _SETTINGS_NOT_OURS}
    try:
        config = transformers.Wav2Vec2Config(**settings)
        config._attn_implementation = "sdpa"  # a configuration must not choose a kernel
        model = transformers.Wav2Vec2ForCTC(config)
    except misfits as error:
        raise weights.refused(
            f"no network can be built from config.json: {error}", code="E-MODEL-CONFIG"
        ) from error
    state = {_today(name): tensor for name, tensor in _tensors(weights).items()}
    load_strictly(model, state, weights, lacking=(MASK.replace(".", r"\."),))
    model.requires_grad_(False)
    normalise = True
    if weights.has("preprocessor_config.json"):
        normalise = bool(weights.json("preprocessor_config.json").get("do_normalize", True))
    return CtcNetwork(model.eval().to(device), normalise=normalise, device=device)


def _today(name: str) -> str:
    """The current torch name of a weight-normalised tensor."""
    stem, _, last = name.rpartition(".")
    return f"{stem}.{_OLD_NAMES[last]}" if last in _OLD_NAMES else name


def _tensors(weights: WeightFolder) -> dict[str, Tensor]:
    if weights.has(INDEX):
        shards = json.loads(weights.text(INDEX)).get("weight_map", {})
        files = sorted(set(shards.values()))
    else:
        files = [weights.one_of("model.safetensors", "pytorch_model.bin")]
    state: dict[str, Tensor] = {}
    for file in files:
        state |= tensor_table(weights.tensors(file), weights, file)
    return state
