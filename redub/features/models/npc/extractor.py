"""Frame-level speech feature of an NPC network: one vector per 10 ms, on the mel clock.

M2CI-Dubber's local audio is called an emotion-aware speech model; that model (Liu and Ma 2024,
AI-S2-Lab/EMS) is an NPC or Mockingjay trained with an emotion-guided choice of masked frames, and
**no such checkpoint is public**. Any NPC in s3prl's layout loads here. The public ones (npc_360hr,
npc_960hr) have the right shape and rate and are *not* emotion-aware.

Letters: S samples, R fbank rows, T mel frames, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from redub.core.errors import ConfigError
from redub.core.types import AudioSpec, ClipMedia, FloatArray, Value
from redub.features.base import FeatureSchema, Media
from redub.features.models.model_extractor import ModelExtractor
from redub.features.sound.samples import waveform_of
from redub.features.sound.speech_input import SHIFT, WINDOW, on_mel_clock, speech_of
from redub.features.weights.checkpoint_parts import only_file, tensor_table
from redub.features.weights.folder import WeightFolder, load_strictly

if TYPE_CHECKING:
    from redub.features.models.npc.fbank import FbankSpec
    from redub.features.models.npc.network import NpcSizes

CONFIG_KEYS = ("config", "Upstream_Config")  # converted files, files of s3prl's own training
IGNORED_SIZES = ("dropout", "vq", "dim_bottleneck")  # of the training, or of heads
MOST = 4096  # of any size in a checkpoint's configuration: more is no NPC


@dataclass(frozen=True, slots=True, kw_only=True)
class NpcConfig:
    """Settings of ``[features.local_audio]`` when made by ``npc``.

    output: ``masked``, the sum of the masked convolutions, which s3prl gives to downstream models;
        or ``unmasked``, the last block, which has seen the frame itself.
    width: what the checkpoint's ``hidden_size`` is; another one is refused when it is loaded.
    """

    audio: AudioSpec
    weights: str = "npc"
    output: Literal["masked", "unmasked"] = "masked"
    width: int = 512

    def __post_init__(self) -> None:
        if not 1 <= self.width <= MOST:
            raise ConfigError(
                f"features.local_audio.width is {self.width}; wanted 1 to {MOST}",
                code="E-CFG-VALUE",
            )


class NpcInput(NamedTuple):
    speech: FloatArray  # (S,) at 16 kHz
    frames: int  # T


class NpcExtractor(ModelExtractor):
    """Sound in, (T, D) float32 out, ``T = audio.frame_count(S)``."""

    kind: ClassVar[str] = "npc"
    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    Config: ClassVar[type] = NpcConfig
    batch: ClassVar[int] = 16

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="frames", width=self.config.width)

    def load(self) -> Any:
        import argparse

        from redub.features.models.npc.network import COUNTERS, HEADS, Npc

        name = only_file(self.weights, ".ckpt", ".pth", ".pt", ".safetensors")
        # s3prl's training puts its command line into the file.
        values = self.weights.tensors(name, allowed=[argparse.Namespace])
        config = next((values[key] for key in CONFIG_KEYS if key in values), None)
        if config is None:
            config = self.weights.json("config.json")
        self.weights.refuse_code(config, name)
        front, sizes = read_config(config, self.weights)
        if sizes.hidden_size != self.config.width:
            raise self.weights.refused(
                f"rows are {sizes.hidden_size} wide; set features.local_audio.width to that, or "
                f"take weights of width {self.config.width}",
                code="E-MODEL-SHAPE",
            )
        state = tensor_table(values.get("model", values), self.weights, name)
        network = Npc(sizes, front)
        load_strictly(network, state, self.weights, extra=HEADS, lacking=COUNTERS)
        return network.shut().eval().to(self.runtime.torch_device())

    def prepare(self, media: ClipMedia) -> NpcInput:
        audio = self.config.audio
        frames = audio.frame_count(len(waveform_of(media).samples))
        # Two rows at least, because the spread over the utterance needs two.
        return NpcInput(speech_of(media, audio, least=WINDOW + SHIFT), frames)

    def compute(self, inputs: Sequence[NpcInput]) -> list[Value]:
        import torch

        from redub.features.models.npc.fbank import fbank

        network, device = self.network, self.runtime.torch_device()
        front: FbankSpec = network.front
        mels = [fbank(given.speech, front) for given in inputs]
        longest = max(map(len, mels))
        batch = np.zeros((len(mels), longest, front.channels), np.float32)
        for row, mel in zip(batch, mels, strict=True):
            row[: len(mel)] = mel
        counts = torch.tensor([len(mel) for mel in mels])
        valid = torch.arange(longest) < counts[:, None]  # (B, R)
        mel_BRC = torch.from_numpy(batch)
        if device.type == "cuda":
            mel_BRC, valid = mel_BRC.pin_memory(), valid.pin_memory()
        with torch.inference_mode():
            rows = network(
                mel_BRC.to(device, non_blocking=True), valid.to(device, non_blocking=True)
            )
        chosen = (rows.masked if self.config.output == "masked" else rows.unmasked).cpu().numpy()
        return [
            on_mel_clock(
                chosen[i, : len(mel)],
                given.frames,
                self.config.audio,
                shift=front.shift,
                window=front.window,
            )
            for i, (given, mel) in enumerate(zip(inputs, mels, strict=True))
        ]

    def size(self, prepared: NpcInput) -> float:
        return len(prepared.speech)

    def describe(self) -> dict[str, str]:
        described = super().describe()
        front: FbankSpec = self.network.front
        described["hears"] = (
            f"{front.channels} bands, {front.window_ms:g} ms every {front.shift_ms:g} ms"
        )
        described["emotion-aware"] = "only if whoever trained it says so; npc_360hr is not"
        return described


def read_config(config: Any, weights: WeightFolder) -> tuple[FbankSpec, NpcSizes]:
    """Front end and sizes from a checkpoint's configuration.

    Raises:
        ModelRefusedError: E-MODEL-FILE, it is not there, or asks for what is not implemented.
    """
    from redub.features.models.npc.fbank import FbankSpec
    from redub.features.models.npc.network import NpcSizes

    try:
        audio, paras = dict(config["data"]["audio"]), dict(config["model"]["paras"])
    except (KeyError, TypeError, ValueError) as error:
        raise weights.refused(
            "its configuration has no data.audio or no model.paras; this is no NPC of s3prl",
            code="E-MODEL-FILE",
        ) from error
    try:
        kind, cmvn = audio.pop("feat_type", "fbank"), audio.pop("cmvn", True)
        audio.pop("decode_wav", None)  # how its training opened files
        spec = FbankSpec(
            channels=_whole(audio.pop("feat_dim", 80)),
            window_ms=float(audio.pop("frame_length", 25)),
            shift_ms=float(audio.pop("frame_shift", 10)),
            normalised=bool(cmvn),
        )
        if not 1 <= spec.shift_ms <= spec.window_ms <= 200:
            raise ValueError(f"windows of {spec.window_ms} ms every {spec.shift_ms} ms")
        sizes = NpcSizes(channels=spec.channels, **_known(paras, NpcSizes))
    except (TypeError, ValueError) as error:
        raise weights.refused(
            f"its configuration does not fit: {error}", code="E-MODEL-FILE"
        ) from error
    odd = sizes.kernel_size % 2 == 1 and sizes.mask_size % 2 == 1
    if audio or kind != "fbank" or not odd or sizes.activate not in ("relu", "tanh"):
        raise weights.refused(
            f"it wants sound features or layers that are not known here ({kind}, "
            f"{sizes.activate}, {', '.join(map(str, audio)) or 'no other option'}; kernel "
            f"{sizes.kernel_size}, mask {sizes.mask_size})",
            code="E-MODEL-FILE",
        )
    return spec, sizes


def _known(paras: Mapping[str, Any], kind: type[NpcSizes]) -> dict[str, Any]:
    """The sizes by name, each of its field's type.

    Raises:
        ValueError: an unknown one, or one of another type.
    """
    types = {field.name: type(field.default) for field in dataclasses.fields(kind)}
    checked: dict[str, Any] = {}
    for key, value in paras.items():
        if key in IGNORED_SIZES:
            continue
        if key not in types or type(value) is not types[key]:
            raise ValueError(f"{key} = {value!r} is not known here")
        checked[key] = _whole(value) if types[key] is int else value
    return checked


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise ValueError(f"{value!r} is no size")
    return value
