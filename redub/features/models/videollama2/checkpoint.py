"""Read and check the configuration files of a VideoLLaMA 2 folder, without loading a network.

Source: the public repositories DAMO-NLP-SG/VideoLLaMA2-7B, -7B-16F and VideoLLaMA2.1-7B-16F. Their
``config.json`` has only the public name of the vision tower. So the sizes of the two public towers
are in a table here; a file ``vision_tower/config.json`` in the folder overrides them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from redub.features.weights.folder import WeightFolder

Language = Literal["mistral", "qwen2"]
TowerKind = Literal["clip", "siglip"]

FAMILIES: dict[str, Language] = {
    "videollama2": "mistral",
    "videollama2_mistral": "mistral",
    "videollama2_qwen2": "qwen2",
}
"""``model_type`` → language model; the first name is an old name of the second."""

CONNECTORS = {"stc_connector": 1, "stc_connector_v35": 0}
"""``mm_projector_type`` → padding of the connector's 3-D convolution."""

TOWERS: dict[str, dict[str, int | float | str]] = {
    "clip-vit-large-patch14-336": {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
        "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    },
    "siglip-so400m-patch14-384": {
        "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
        "num_attention_heads": 16, "image_size": 384, "patch_size": 14,
        "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
    },
}  # fmt: skip
"""Sizes of openai/clip-vit-large-patch14-336 and google/siglip-so400m-patch14-384."""

NORMAL: dict[TowerKind, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "siglip": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and standard deviation of red, green, blue in [0, 1] in the training of each tower."""

LANGUAGE_FIELDS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps",
    "rope_theta", "rope_scaling", "rope_parameters", "sliding_window", "use_sliding_window",
    "max_window_layers", "layer_types", "attention_dropout", "initializer_range",
    "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip
"""Fields that are read from ``config.json``: sizes and numbers, but no switches of the library."""

TOWER_FIELDS = tuple(TOWERS["clip-vit-large-patch14-336"])

LARGEST_WIDTH = 4096  # of the 7B families; the 72B model has 8192
MOST_FRAMES = 32  # limit of the public code
USUAL_FRAMES = 8  # default if config.json has no value


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLlama2Plan:
    """The parts of one checkpoint and their sizes.

    Attributes:
        tower_layers: number of layers of the vision tower that run.
        padding: padding of the connector's 3-D convolution.
        frames: frames per clip.
    """

    language: Language
    language_config: Mapping[str, Any]
    tower: TowerKind
    tower_config: Mapping[str, Any]
    tower_layers: int
    padding: int
    frames: int

    @property
    def side(self) -> int:
        """Side of the tower's square input, in pixels."""
        return int(self.tower_config["image_size"])

    @property
    def aspect(self) -> Literal["crop", "squash"]:
        """How the public code makes frames square."""
        return "crop" if self.tower == "clip" else "squash"

    @property
    def bars(self) -> tuple[int, ...]:
        """Colour of added bars: the mean colour of the tower, rounded down, 0–255."""
        return tuple(int(255 * value) for value in NORMAL[self.tower][0])


def read_plan(weights: WeightFolder) -> VideoLlama2Plan:
    """Read ``config.json``, and ``vision_tower/config.json`` if it is listed.

    Raises:
        ModelRefusedError: E-MODEL-KIND, another model, or a variant that redub does not support;
            E-MODEL-FILE, a value is missing or invalid; E-MODEL-CODE.
    """
    config = weights.json("config.json")
    language = _language(weights, config)
    padding = _padding(weights, config)
    tower, tower_config = _tower(weights, config)
    layers = _whole(weights, tower_config, "num_hidden_layers")
    select = _whole(weights, config, "mm_vision_select_layer", default=-2, least=-layers)
    if select > -1 or config.get("mm_vision_select_feature", "patch") != "patch":
        raise weights.refused(
            f"config.json selects layer {select} and "
            f"'{config.get('mm_vision_select_feature')}' of the vision tower; redub supports "
            "only 'patch' and layers counted from the end",
            code="E-MODEL-KIND",
        )
    if _whole(weights, config, "mm_hidden_size") != tower_config["hidden_size"]:
        raise weights.refused(
            f"mm_hidden_size is {config['mm_hidden_size']}, the vision tower gives "
            f"{tower_config['hidden_size']}",
            code="E-MODEL-FILE",
        )
    frames = _whole(weights, config, "num_frames", default=USUAL_FRAMES)
    if frames > MOST_FRAMES:
        raise weights.refused(
            f"num_frames is {frames}; the model takes up to {MOST_FRAMES}", code="E-MODEL-FILE"
        )
    return VideoLlama2Plan(
        language=language,
        language_config={key: config[key] for key in LANGUAGE_FIELDS if key in config},
        tower=tower,
        tower_config=tower_config,
        tower_layers=layers + 1 + select,
        padding=padding,
        frames=frames,
    )


def _language(weights: WeightFolder, config: Mapping[str, Any]) -> Language:
    name = str(config.get("model_type", ""))
    if name == "videollama2_mixtral":
        raise weights.refused(
            "this is VideoLLaMA2-8x7B; redub supports the 7B models", code="E-MODEL-KIND"
        )
    if name not in FAMILIES:
        raise weights.refused(
            f"model_type is '{name}', wanted one of {', '.join(FAMILIES)}", code="E-MODEL-KIND"
        )
    width = _whole(weights, config, "hidden_size")
    if width > LARGEST_WIDTH:
        raise weights.refused(
            f"hidden_size is {width}, as in VideoLLaMA2-72B; redub supports the 7B models",
            code="E-MODEL-KIND",
        )
    if weights.path.name.lower().endswith("-base"):
        raise weights.refused(
            "a '-Base' checkpoint is from the pre-training and does not follow instructions; "
            "use the checkpoint without '-Base'",
            code="E-MODEL-KIND",
        )
    if config.get("quantization_config"):
        raise weights.refused(
            "the weights are quantised; use the unquantised weights", code="E-MODEL-KIND"
        )
    return FAMILIES[name]


def _padding(weights: WeightFolder, config: Mapping[str, Any]) -> int:
    name = str(config.get("mm_projector_type", ""))
    if name == "spatial_conv":
        raise weights.refused(
            "mm_projector_type is 'spatial_conv', which does not work in the public code, either",
            code="E-MODEL-KIND",
        )
    if name not in CONNECTORS:
        raise weights.refused(
            f"mm_projector_type is '{name}', wanted one of {', '.join(CONNECTORS)}",
            code="E-MODEL-KIND",
        )
    return CONNECTORS[name]


def _tower(
    weights: WeightFolder, config: Mapping[str, Any]
) -> tuple[TowerKind, Mapping[str, int | float | str]]:
    name = str(config.get("mm_vision_tower", "")).rstrip("/").rpartition("/")[2].lower()
    if "siglip" in name:
        kind: TowerKind = "siglip"
    elif "clip" in name:
        kind = "clip"
    else:
        raise weights.refused(
            f"mm_vision_tower is '{name}', wanted a CLIP or SigLIP tower", code="E-MODEL-KIND"
        )
    if weights.has("vision_tower/config.json"):
        file = weights.json("vision_tower/config.json")
        own = file.get("vision_config", file)  # the file of a whole CLIP or SigLIP model
    elif name in TOWERS:
        own = TOWERS[name]
    else:
        raise weights.refused(
            f"the sizes of the vision tower '{name}' are unknown; put its config.json into "
            "the folder as vision_tower/config.json and record the weights again",
            code="E-MODEL-FILE",
        )
    tower = {key: own[key] for key in TOWER_FIELDS if key in own}
    for key in TOWER_FIELDS:
        if key not in ("hidden_act", "layer_norm_eps"):
            tower[key] = _whole(weights, tower, key)
    return kind, tower


def _whole(
    weights: WeightFolder,
    config: Mapping[str, Any],
    name: str,
    *,
    default: int | None = None,
    least: int = 1,
) -> int:
    value = config.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise weights.refused(
            f"'{name}' of the configuration is {value!r}; wanted a whole number, at least {least}",
            code="E-MODEL-FILE",
        )
    return value
