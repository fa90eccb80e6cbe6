"""Read a folder as published on a model page: settings from ``config.json``, tensors in files.

Only the settings that describe the network are used. Other settings of a ``config.json`` are
ignored: the name of an attention or quantisation method makes the library import other packages or
download kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from redub.core.extras import optional
from redub.features.weights.checkpoint_parts import tensor_table
from redub.features.weights.folder import WeightFolder
from redub.features.weights.offline import quiet_transformers

SHARED_SETTINGS = (
    "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "is_encoder_decoder",
    "tie_word_embeddings",
)  # fmt: skip
"""Settings that some configuration classes accept without declaring them."""

TENSOR_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


def configured(config_class: Any, weights: WeightFolder, **fixed: Any) -> Any:
    """Make a transformers configuration from the folder, with the attention of torch.

    Args:
        fixed: settings that override those of the file.

    Raises:
        ModelRefusedError: E-MODEL-FILE, another model type or an invalid setting.
    """
    hub = optional("huggingface_hub.errors", extra="paper", purpose="networks of transformers")
    values = weights.json("config.json")
    if values.get("model_type") != config_class.model_type:
        raise weights.refused(
            f"config.json says model_type {values.get('model_type')!r}, wanted "
            f"'{config_class.model_type}'",
            code="E-MODEL-FILE",
        )
    known = {*config_class.__annotations__, *SHARED_SETTINGS}
    own = {key: value for key, value in values.items() if key in known}
    try:
        return config_class(**{**own, **fixed}, attn_implementation="sdpa")
    except (hub.StrictDataclassError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise weights.refused(f"config.json: {reason}", code="E-MODEL-FILE") from error


def built(network_class: Any, config: Any, weights: WeightFolder) -> Any:
    """Build the network in float32 and eval mode, with uninitialised, unshared tensors.

    Raises:
        ModelRefusedError: E-MODEL-FILE, no network can be built from the settings.
    """
    quiet_transformers()
    from transformers.initialization import no_init_weights, no_tie_weights

    try:
        # Random initialisation would take longer than loading. If a file has a value for each of
        # two tied names, tied tensors would get the value that is loaded last.
        with no_init_weights(), no_tie_weights():
            network = network_class(config)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise weights.refused(
            f"no network can be built from config.json ({reason[:200]})", code="E-MODEL-FILE"
        ) from error
    return network.eval()


def tensors_of(weights: WeightFolder) -> dict[str, Tensor]:
    """Load all tensors of the folder: ``.safetensors``, its shards, or ``pytorch_model.bin``.

    Raises:
        ModelRefusedError: as :meth:`WeightFolder.tensors`, or a value is not a tensor.
    """
    name = weights.one_of(*TENSOR_FILES)
    if not name.endswith(".index.json"):
        return tensor_table(weights.tensors(name), weights, name)
    table = weights.json(name).get("weight_map")
    if not isinstance(table, Mapping) or not table:
        raise weights.refused(f"{name} is not an index of shards", code="E-MODEL-FILE")
    state: dict[str, Tensor] = {}
    for shard in sorted(set(map(str, table.values()))):
        state |= tensor_table(weights.tensors(shard), weights, shard)
    return state


def current_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weight-normalised tensors to the names of torch since 2.1."""
    renamed = {}
    for name, value in state.items():
        base, _, last = name.rpartition(".")
        new = {"weight_g": "original0", "weight_v": "original1"}.get(last)
        renamed[f"{base}.parametrizations.weight.{new}" if new else name] = value
    return renamed
