"""Convert checkpoints of the released HPMDubbing code to :mod:`redub.model.systems.hpm_dubbing`.

Source: names, shapes and phoneme table of the released code (CVPR 2023). The names in its
checkpoints start with ``module.``, from parallel training; the released code cannot load such
names. Every tensor is either converted, known to have no effect, or refused.

Differences by design: in the released code the phoneme "AA" shares id 0 with padding and the CTC
blank; here it has a separate row. Pitch and energy of these checkpoints are z-scores of Hz and of
the spectrum's norm; a loaded system predicts and embeds values on that scale.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from redub.core.errors import ConfigError, ModelRefusedError
from redub.model.layers.positions import sinusoids
from redub.model.systems.hpm_dubbing import HPMDubbing, HPMDubbingConfig, paper_for_v2c

PREFIX = "module."
NEVER = -1e4  # logit of a class that the checkpoint does not have
BLOCK = {
    "slf_attn.w_qs": "attention.to_query",
    "slf_attn.w_ks": "attention.to_key",
    "slf_attn.w_vs": "attention.to_value",
    "slf_attn.fc": "attention.to_output",
    "slf_attn.layer_norm": "norms.0",
    "pos_ffn.w_1": "widen",
    "pos_ffn.w_2": "narrow",
    "pos_ffn.layer_norm": "norms.1",
}
PREDICTOR = {
    "conv_layer.conv1d_1.conv": "convolutions.0",
    "conv_layer.conv1d_2.conv": "convolutions.1",
    "conv_layer.layer_norm_1": "norms.0",
    "conv_layer.layer_norm_2": "norms.1",
    "linear_layer": "to_value",
}
PLACES = {
    "MDA.encoder.layer_stack": "aligner.text.blocks",
    "MDA.lip_encoder.layer_stack": "aligner.lips.blocks",
    "decoder.layer_stack": "decoder",
}
LAYERS = {
    "MDA.lip_encoder.fc_out": "aligner.lips.to_width",
    "MDA.attn.out_proj": "aligner.attention.to_output",
    "MDA.attn_text_spk.out_proj": "aligner.voice_output",
    "MDA.proj_con": "aligner.mix",
    "APA.emo_fc_2_val.0": "prosody.valence.0",
    "APA.emo_fc_2_val.2": "prosody.valence.2",
    "APA.emo_fc_2_aro.0": "prosody.arousal.0",
    "APA.emo_fc_2_aro.2": "prosody.arousal.2",
    "APA.W": "prosody.to_query",
    "APA.Uo": "prosody.from_valence.to_key",
    "APA.Um": "prosody.from_arousal.to_key",
    "APA.wo": "prosody.from_valence.to_score",
    "APA.wm": "prosody.from_arousal.to_score",
    "APA.pitch_embedding": "prosody.pitch_embedding.table",
    "APA.energy_embedding": "prosody.energy_embedding.table",
    "APA.proj_con": "prosody.mix",
    "STB.emo_fc_2_sence.0": "booster.scene.0",
    "STB.emo_fc_2_sence.2": "booster.scene.2",
    "STB.Emo_attention.out_proj": "booster.attention.to_output",
    "STB.emo_classifier.layers.0": "booster.to_emotion",
    "pro_output_emo": "booster.join_voice",
    "pro_output_os": "join_voice",
    "proj_fusion": "fuse",
    "mel_linear": "to_mel",
}
WHOLE = {
    "APA.bo": "prosody.from_valence.bias",
    "APA.bm": "prosody.from_arousal.bias",
    "APA.pitch_bins": "prosody.pitch_embedding.edges",
    "APA.energy_bins": "prosody.energy_embedding.edges",
}
JOINED = {  # queries, keys and values in one tensor
    "MDA.attn": ("aligner.attention.to_query", "aligner.attention.to_key",
                 "aligner.attention.to_value"),
    "MDA.attn_text_spk": (None, None, "aligner.voice_value"),
    "STB.Emo_attention": ("booster.attention.to_query", "booster.attention.to_key",
                          "booster.attention.to_value"),
}  # fmt: skip
CLASSES = {
    "MDA.CTC_classifier_MDA.classifier": "aligner.to_ctc",
    "CTC_classifier_mel.classifier": "to_ctc",
}
POSITIONS = ("MDA.encoder", "MDA.lip_encoder", "decoder")
NO_EFFECT = ("MDA.lip_encoder.src_word_emb.weight", "speaker_emb.weight", "emotion_emb.weight")
"""Tensors that the released forward pass does not use."""


def hpm_from_public(table: Mapping[str, Tensor]) -> tuple[HPMDubbingConfig, dict[str, Tensor]]:
    """Convert a state dict of the released code; returns the settings and the converted tensors.

    Sizes are read from the tensor shapes. The numbers of heads are not visible in shapes; they are
    those published for V2C-Animation if there is a scene module, otherwise those for Chem.

    Raises:
        ModelRefusedError: E-MODEL-KEYS, a tensor is missing, unknown or has a wrong shape or value.
    """
    public = {name.removeprefix(PREFIX): value for name, value in table.items()}
    if len(public) < len(table):
        raise _refused(f"it has tensors both with and without '{PREFIX}'")
    for name, value in public.items():
        counts = name.endswith("num_batches_tracked")
        if not counts and (value.layout != torch.strided or not value.is_floating_point()):
            raise _refused(f"'{name}' holds {value.dtype}, {value.layout}; wanted plain floats")
        if value.is_meta:
            raise _refused(f"'{name}' has no values")
    try:
        config = _config(public)
        return config, _translated(public, config)
    except KeyError as error:
        raise _refused(f"it has no tensor {error}") from error
    except (ConfigError, IndexError, RuntimeError, ValueError) as error:
        raise _refused(f"a tensor has a shape that HPMDubbing does not have ({error})") from error


def widths_of_public(weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Read the feature widths of a converted system from its tensors."""
    return {
        "lips": int(weights["aligner.lips.to_width.weight"].size(1)),
        "local_face": int(weights["prosody.valence.0.weight"].size(1)),
        "speaker": int(weights["join_voice.weight"].size(0)),
        "phonemes": int(weights["aligner.text.embedding.weight"].size(0)),
    }


def check_complete(model: HPMDubbing, weights: Mapping[str, Tensor]) -> None:
    """Load converted weights into a model, strictly.

    Raises:
        ModelRefusedError: E-MODEL-KEYS, names or shapes do not match.
    """
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise _refused(str(error).replace("\n\t", " ")) from error


def _config(public: Mapping[str, Tensor]) -> HPMDubbingConfig:
    widen = public["MDA.encoder.layer_stack.0.pos_ffn.w_1.weight"]  # (F, D, K)
    with_scene = any(name.startswith("STB.") for name in public)
    convolution = public["postnet.convolutions.0.0.conv.weight"]
    published = paper_for_v2c() if with_scene else HPMDubbingConfig()
    return replace(
        published,
        width=widen.size(1),
        filter_width=widen.size(0),
        kernel=widen.size(2),
        text_layers=_count(public, "MDA.encoder.layer_stack"),
        lip_width=public["MDA.lip_encoder.fc_out.weight"].size(1),
        lip_layers=_count(public, "MDA.lip_encoder.layer_stack"),
        decoder_layers=_count(public, "decoder.layer_stack"),
        bins=public["APA.pitch_embedding.weight"].size(0),
        variance_kernel=public["APA.pitch_predictor.conv_layer.conv1d_1.conv.weight"].size(2),
        postnet_layers=_count(public, "postnet.convolutions"),
        postnet_channels=convolution.size(0),
        postnet_kernel=convolution.size(2),
        voicing=False,
        legacy=("query_mask",),
    )


def _count(public: Mapping[str, Tensor], place: str) -> int:
    layer = re.compile(rf"{re.escape(place)}\.(\d+)\.")
    found = {int(match[1]) for name in public if (match := layer.match(name))}
    if found != set(range(len(found))) or not found:
        raise _refused(f"the layers of {place} are {sorted(found)}")
    return len(found)


def _translated(public: Mapping[str, Tensor], config: HPMDubbingConfig) -> dict[str, Tensor]:
    """Convert all tensors; every tensor that is not converted must be known to have no effect."""
    translation = _Translation(public, config)
    translation.blocks()
    translation.layers()
    translation.attention()
    translation.classes()
    translation.upsampling()
    translation.postnet()
    translation.embedding()
    for place, width in zip(POSITIONS, (config.width, config.lip_width, config.width), strict=True):
        _check_positions(translation.take(f"{place}.position_enc"), place, width)
    for name in NO_EFFECT:
        translation.left.pop(name, None)
    _check_translation(translation.made, translation.left)
    return {name: value.contiguous() for name, value in translation.made.items()}


class _Translation:
    """``made``: converted tensors by their new name. ``left``: tensors not yet converted."""

    def __init__(self, public: Mapping[str, Tensor], config: HPMDubbingConfig) -> None:
        self.public, self.config = public, config
        self.made: dict[str, Tensor] = {}
        self.left = dict(public)

    def take(self, name: str) -> Tensor:
        """Remove a tensor from ``left`` and return it as float32."""
        return self.left.pop(name).float()

    def blocks(self) -> None:
        """FFT blocks, and the predictors of pitch and energy."""
        for place, ours in PLACES.items():
            for layer in range(_count(self.public, place)):
                for theirs, own in BLOCK.items():
                    for part in ("weight", "bias"):
                        value = self.take(f"{place}.{layer}.{theirs}.{part}")
                        self.made[f"{ours}.{layer}.{own}.{part}"] = _flat(value, own)
        for kind in ("pitch", "energy"):
            for theirs, own in PREDICTOR.items():
                for part in ("weight", "bias"):
                    value = self.take(f"APA.{kind}_predictor.{theirs}.{part}")
                    self.made[f"prosody.{kind}.{own}.{part}"] = value

    def layers(self) -> None:
        """Single layers and single tensors."""
        for theirs, own in LAYERS.items():
            if own.startswith("booster.") and not self.config.scene:
                self.left.pop(f"{theirs}.weight", None)  # stored, not used without a scene module
                continue
            self.made[f"{own}.weight"] = _flat(self.take(f"{theirs}.weight"), own)
            if f"{theirs}.bias" in self.left:
                self.made[f"{own}.bias"] = self.take(f"{theirs}.bias")
        for theirs, own in WHOLE.items():
            self.made[own] = self.take(theirs)

    def attention(self) -> None:
        """Attentions whose queries, keys and values are one tensor."""
        for theirs, places in JOINED.items():
            if theirs.startswith("STB.") and not self.config.scene:
                continue
            weight = self.take(f"{theirs}.in_proj_weight")
            bias = self.take(f"{theirs}.in_proj_bias")
            for target, rows, offsets in zip(places, weight.chunk(3), bias.chunk(3), strict=True):
                if target is not None:  # attention to a single key needs no queries and keys
                    self.made[f"{target}.weight"] = rows
                    self.made[f"{target}.bias"] = offsets

    def classes(self) -> None:
        """CTC classifiers, with a separate class for "AA"."""
        for theirs, own in CLASSES.items():
            self.made[f"{own}.weight"] = _with_aa(self.take(f"{theirs}.weight"), 0.0)
            self.made[f"{own}.bias"] = _with_aa(self.take(f"{theirs}.bias"), NEVER)

    def upsampling(self) -> None:
        """Transposed convolutions with weight normalisation."""
        for stage in range(2):
            place, own = f"MDA.ups.{stage}", f"aligner.upsample.doubling.{stage}"
            self.made[f"{own}.parametrizations.weight.original0"] = self.take(f"{place}.weight_g")
            self.made[f"{own}.parametrizations.weight.original1"] = self.take(f"{place}.weight_v")
            self.made[f"{own}.bias"] = self.take(f"{place}.bias")

    def postnet(self) -> None:
        """Convolutions and batch norms of the post-net."""
        for layer in range(self.config.postnet_layers):
            place = f"postnet.convolutions.{layer}"
            for part in ("weight", "bias"):
                self.made[f"{place}.{part}"] = self.take(f"{place}.0.conv.{part}")
            for part in ("weight", "bias", "running_mean", "running_var"):
                self.made[f"postnet.norms.{layer}.{part}"] = self.take(f"{place}.1.{part}")
            self.left.pop(f"{place}.1.num_batches_tracked", None)

    def embedding(self) -> None:
        """Phonemes, with padding row 0; learned states that the released code does not have."""
        phonemes = self.take("MDA.encoder.src_word_emb.weight")  # the last row is never used
        shifted = torch.cat((torch.zeros_like(phonemes[:1]), phonemes[:-1]))
        self.made["aligner.text.embedding.weight"] = shifted
        self.made["aligner.lips.no_lips"] = phonemes.new_zeros(self.config.width)
        face_width = self.made["prosody.valence.0.weight"].size(1)
        self.made["prosody.no_face"] = phonemes.new_zeros(face_width)


def _check_translation(made: Mapping[str, Tensor], left: Mapping[str, Tensor]) -> None:
    """Refuse unknown tensors and impossible values.

    Raises:
        ModelRefusedError: a tensor is unknown, or a value is impossible or not finite.
    """
    if left:
        raise _refused(f"it has tensors that are not HPMDubbing's: {', '.join(sorted(left)[:3])}")
    for own in ("prosody.pitch_embedding.edges", "prosody.energy_embedding.edges"):
        if bool((made[own].diff() < 0).any()):
            raise _refused(f"'{own}' does not ascend")
    if any(bool((v < 0).any()) for name, v in made.items() if name.endswith("running_var")):
        raise _refused("a running variance is negative")
    if bad := [name for name, value in made.items() if not bool(torch.isfinite(value).all())]:
        raise _refused(f"'{bad[0]}' holds NaN or infinite values")


def _flat(value: Tensor, own: str) -> Tensor:
    """Convert the weight of a convolution with kernel 1 to that of a linear layer."""
    return value.squeeze(-1) if value.dim() == 3 and own != "widen" else value


def _with_aa(value: Tensor, fill: float) -> Tensor:
    """Insert a separate class for "AA", which shares id 0 with the blank in the checkpoint."""
    own = torch.full_like(value[:1], fill)
    return torch.cat((value[:1], own, value[1:]))


def _check_positions(table: Tensor, place: str, width: int) -> None:
    """Check that the stored positional encodings (1, rows, width) equal the computed ones.

    Raises:
        ModelRefusedError: E-MODEL-KEYS, they differ.
    """
    rows = table.numel() // width
    computed = sinusoids(torch.arange(rows), width)
    if (
        table.shape != (1, rows, width)
        or not rows
        or not torch.allclose(table[0], computed, atol=1e-3)
    ):
        raise _refused(f"{place}.position_enc is not the published table of positions")


def _refused(why: str) -> ModelRefusedError:
    return ModelRefusedError(f"this is no checkpoint of HPMDubbing: {why}", code="E-MODEL-KEYS")
