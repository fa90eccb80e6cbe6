"""Read the configuration and the network of an emotion2vec folder, without running its content.

``config.yaml`` is data here. funasr would pass one of its texts to ``eval``, import a file that it
names, and look up environment variables. All three are refused or rewritten before funasr reads it.
"""

from __future__ import annotations

import ast
import re
from typing import Any, NamedTuple

from redub.core.extras import optional
from redub.features.weights.checkpoint_parts import tensor_table
from redub.features.weights.folder import WeightFolder, load_strictly, without_prefix

LAYER_SPEC = re.compile(r"[\d\s,()\[\]+*]{1,400}")
FLOAT_WITHOUT_POINT = re.compile(r"[-+]?\d+[eE][-+]?\d+")
PRETRAINING = (r"modality_encoders\.AUDIO\.decoder\..*",)
"""Names of the pre-training decoder's tensors: base models may have them, plus models do not."""
STATE_KEYS = ("state_dict", "model_state_dict", "model")  # in the order that funasr uses
AVERAGED_COPY = "_ema"  # key of the pre-training teacher's table, which is among the tensors

MISFITS = (TypeError, ValueError, AttributeError, LookupError, AssertionError, RuntimeError)
"""Errors of funasr's constructor if a setting is missing or does not fit the other settings."""

LIMITS = {"embed_dim": (8, 4096), "depth": (1, 64), "num_heads": (1, 64)}
AUDIO_LIMITS = {
    "prenet_depth": (0, 64), "num_extra_tokens": (0, 256), "num_alibi_heads": (1, 64),
    "conv_pos_depth": (1, 16), "conv_pos_width": (3, 512), "conv_pos_groups": (1, 256),
}  # fmt: skip
"""Ranges of the sizes that decide how much memory a configuration needs."""


class Emotion2vecSettings(NamedTuple):
    """The checked content of ``config.yaml`` and ``tokens.txt``; it contains no code."""

    model_conf: dict[str, Any]
    width: int
    hop: int  # samples between frames
    window: int  # samples per frame of the front end
    normalise: bool  # normalise the waveform of the utterance to mean 0 and standard deviation 1
    labels: tuple[str, ...]  # by row of the classifier; empty without tokens.txt


def read_settings(weights: WeightFolder) -> Emotion2vecSettings:
    """Read ``config.yaml`` and ``tokens.txt``.

    Raises:
        ModelRefusedError: E-MODEL-CODE, the configuration would import or evaluate something;
            E-MODEL-FILE, it is not a configuration of emotion2vec.
    """
    values = _yaml(weights, "config.yaml")
    if values.get("model") != "Emotion2vec":
        raise weights.refused(
            f"config.yaml is of the model {values.get('model')!r}, wanted Emotion2vec",
            code="E-MODEL-FILE",
        )
    conf = values.get("model_conf")
    audio = (conf.get("modalities") or {}).get("audio") if isinstance(conf, dict) else None
    if not isinstance(conf, dict) or not isinstance(audio, dict):
        raise weights.refused("config.yaml has no model_conf.modalities.audio", code="E-MODEL-FILE")
    layers = conv_layers(audio.get("feature_encoder_spec"), weights)
    # funasr evaluates this text as code, so it is written again here, from whole numbers only.
    audio["feature_encoder_spec"] = repr(layers)
    for table, limits in ((conf, LIMITS), (audio, AUDIO_LIMITS)):
        for key, (low, high) in limits.items():
            _whole(weights, key, table.get(key), low, high)
    if conf["embed_dim"] % conf["num_heads"]:
        raise weights.refused(
            f"{conf['num_heads']} heads do not share {conf['embed_dim']} channels evenly",
            code="E-MODEL-FILE",
        )
    hop, window = 1, 1
    for _, kernel, stride in layers:
        window += (kernel - 1) * hop
        hop *= stride
    lines = weights.text("tokens.txt").rstrip().splitlines() if weights.has("tokens.txt") else []
    labels = tuple(line.strip().split("/")[-1] for line in lines)  # "生气/angry" → "angry"
    return Emotion2vecSettings(
        model_conf=conf,
        width=conf["embed_dim"],
        hop=hop,
        window=window,
        normalise=bool(conf.get("normalize")),
        labels=labels,
    )


def unused(label: str) -> bool:
    """Return whether a label marks a classifier row without meaning: ``unuse_0`` and so on."""
    return label.startswith("unuse")


def conv_layers(spec: Any, weights: WeightFolder) -> list[tuple[int, int, int]]:
    """Parse (channels, kernel, stride) of each layer of the front end, without evaluation.

    The text is a Python expression of lists of triples, joined by ``+`` and repeated by ``*``:
    ``[(512, 10, 5)] + [(512, 3, 2)] * 4``.

    Raises:
        ModelRefusedError: E-MODEL-CODE, it is any other expression.
    """
    if not isinstance(spec, str) or not LAYER_SPEC.fullmatch(spec):
        raise weights.refused(
            f"feature_encoder_spec is {str(spec)[:80]!r}, wanted lists of three whole numbers; "
            "funasr would evaluate it as code",
            code="E-MODEL-CODE",
        )
    try:
        layers = _layers(ast.parse(spec.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise weights.refused(
            f"feature_encoder_spec is {spec[:80]!r}, wanted lists of three whole numbers",
            code="E-MODEL-CODE",
        ) from error
    return layers


def _layers(node: ast.expr) -> list[tuple[int, int, int]]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        layers = _layers(node.left) + _layers(node.right)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        layers = _layers(node.left) * _number(node.right, most=16)
    elif isinstance(node, ast.List):
        layers = [_triple(entry) for entry in node.elts]
    else:
        raise ValueError("neither a list nor lists joined")
    if not 1 <= len(layers) <= 32:
        raise ValueError(f"{len(layers)} layers")
    return layers


def _triple(node: ast.expr) -> tuple[int, int, int]:
    if not isinstance(node, ast.Tuple | ast.List) or len(node.elts) != 3:
        raise ValueError("a layer is three numbers")
    channels, kernel, stride = (_number(entry, most=4096) for entry in node.elts)
    return channels, kernel, stride


def _number(node: ast.expr, *, most: int) -> int:
    if not isinstance(node, ast.Constant) or type(node.value) is not int:
        raise ValueError("not a whole number")
    if not 1 <= node.value <= most:
        raise ValueError(f"{node.value} is out of range")
    return node.value


def _whole(weights: WeightFolder, key: str, value: Any, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise weights.refused(
            f"config.yaml has {key} {value!r}, wanted {low} to {high}", code="E-MODEL-FILE"
        )


def _yaml(weights: WeightFolder, name: str) -> dict[str, Any]:
    yaml = optional("yaml", extra="paper", purpose="settings of emotion2vec")
    text = weights.text(name)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            # Nine lines of nested references can expand to a table of 10⁹ entries.
            raise weights.refused(
                f"{name} refers to its own parts; write them out", code="E-MODEL-FILE"
            )
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        wants_code = isinstance(error, yaml.constructor.ConstructorError)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise weights.refused(
            f"{name} is not plain YAML ({reason})",
            code="E-MODEL-CODE" if wants_code else "E-MODEL-FILE",
        ) from error
    if not isinstance(values, dict):
        raise weights.refused(f"{name} is not a table", code="E-MODEL-FILE")
    weights.refuse_code(values, name)
    return {key: _plain(value, weights, name) for key, value in values.items()}


def _plain(value: Any, weights: WeightFolder, name: str) -> Any:
    """A copy with texts like ``1e-05`` as numbers, as in funasr; refuses environment variables."""
    if isinstance(value, dict):
        return {key: _plain(entry, weights, name) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry, weights, name) for entry in value]
    if isinstance(value, str):
        if "${" in value:
            raise weights.refused(
                f"{name} holds {value[:40]!r}, which would be looked up in the environment",
                code="E-MODEL-CODE",
            )
        # YAML 1.1 needs a point in a float; the public files have none.
        return float(value) if FLOAT_WITHOUT_POINT.fullmatch(value) else value
    return value


# -- the network


def load_network(weights: WeightFolder, settings: Emotion2vecSettings) -> Any:
    """Load the network on the CPU.

    Raises:
        ModelRefusedError: a file is damaged, holds code, or belongs to another model; or there is
            a classifier without labels.
    """
    from redub.features.models.emotion2vec.network import network_on_meta

    name = weights.one_of("model.pt", "model.safetensors")
    values: Any = weights.tensors(name)
    for key in STATE_KEYS:
        values = values[key] if isinstance(values, dict) and key in values else values
    if isinstance(values, dict):
        values = {key: entry for key, entry in values.items() if _last(key) != AVERAGED_COPY}
    state = without_prefix(tensor_table(values, weights, name), "d2v_model.")
    classifies = any(key.startswith("proj.") for key in state)
    if classifies and not settings.labels:
        raise weights.refused(
            "has a classifier and wants the file tokens.txt with its labels", code="E-MODEL-FILE"
        )
    try:
        network = network_on_meta(
            settings.model_conf, classes=len(settings.labels) if classifies else 0
        )
    except MISFITS as error:
        raise weights.refused(
            f"config.yaml does not describe an emotion2vec ({type(error).__name__}: {error})",
            code="E-MODEL-FILE",
        ) from error
    load_strictly(network, state, weights, extra=PRETRAINING)
    return network.requires_grad_(False)


def _last(key: Any) -> str:
    return str(key).split(".")[-1]
