"""Frame-level speech feature by an NPC network: one vector per mel frame.

M2CI-Dubber calls its local audio an emotion-aware speech model. That model (Liu and Ma 2024,
AI-S2-Lab/EMS) is an NPC or Mockingjay, trained with an emotion-guided choice of masked frames, and
**its checkpoint is not public**. Any NPC in s3prl's layout can be used here. The public checkpoints
(npc_360hr, npc_960hr) have the right shape and rate, but they are *not* emotion-aware.

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

CONFIG_KEYS = ("config", "Upstream_Config")  # in converted files, in files of s3prl's training
IGNORED_SIZES = ("dropout", "vq", "dim_bottleneck")  # of the training or of pre-training heads
MOST = 4096  # largest allowed size in a checkpoint's configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class NpcConfig:
    """Settings of ``[features.local_audio]`` with the backend ``npc``.

    Attributes:
        weights: entry of the weights ledger.
        output: ``masked``, the sum of the masked convolutions, the output of s3prl for downstream
            models; or ``unmasked``, the last block, which depends on the frame itself.
        width: ``hidden_size`` of the checkpoint; a checkpoint of another width is refused.
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
    """The prepared input of one clip."""

    speech: FloatArray  # (S,) at 16 kHz
    frames: int  # T


class NpcExtractor(ModelExtractor):
    """Compute (T, D) float32 from sound, ``T = audio.frame_count(S)``."""

    kind: ClassVar[str] = "npc"
    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"waveform"})
    Config: ClassVar[type] = NpcConfig
    batch: ClassVar[int] = 16

    @property
    def schema(self) -> FeatureSchema:
        """One row of the network's width per mel frame."""
        return FeatureSchema(kind="frames", width=self.config.width)

    def load(self) -> Any:
        """Load the network onto the device.

        Raises:
            ModelRefusedError: the file is not an NPC, is not trusted, or has another width.
        """
        import argparse

        from redub.features.models.npc.network import COUNTERS, HEADS, Npc

        name = only_file(self.weights, ".ckpt", ".pth", ".pt", ".safetensors")
        # s3prl's training stores its command line (a Namespace) in the file.
        values = self.weights.tensors(name, allowed=[argparse.Namespace])
        config = next((values[key] for key in CONFIG_KEYS if key in values), None)
        if config is None:
            config = self.weights.json("config.json")
        self.weights.refuse_code(config, name)
        front, sizes = read_config(config, self.weights)
        if sizes.hidden_size != self.config.width:
            raise self.weights.refused(
                f"rows are {sizes.hidden_size} wide; set features.local_audio.width to "
                f"{sizes.hidden_size}, or use weights of width {self.config.width}",
                code="E-MODEL-SHAPE",
            )
        state = tensor_table(values.get("model", values), self.weights, name)
        network = Npc(sizes, front)
        load_strictly(network, state, self.weights, extra=HEADS, lacking=COUNTERS)
        return network.shut().eval().to(self.runtime.torch_device())

    def prepare(self, media: ClipMedia) -> NpcInput:
        """Return the sound and the number of mel frames; raises as ``speech_of``."""
        audio = self.config.audio
        frames = audio.frame_count(len(waveform_of(media).samples))
        # At least two rows, because the standard deviation over the utterance needs two.
        return NpcInput(speech_of(media, audio, least=WINDOW + SHIFT), frames)

    def compute(self, inputs: Sequence[NpcInput]) -> list[Value]:
        """Compute the rows of each input in one padded batch."""
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
        """Samples of the sound, for sorting into batches."""
        return len(prepared.speech)

    def describe(self) -> dict[str, str]:
        """Add the front end settings to the description."""
        described = super().describe()
        front: FbankSpec = self.network.front
        described["input"] = (
            f"{front.channels} bands, {front.window_ms:g} ms every {front.shift_ms:g} ms"
        )
        described["emotion-aware"] = "only if its publisher says so; npc_360hr is not"
        return described


def read_config(config: Any, weights: WeightFolder) -> tuple[FbankSpec, NpcSizes]:
    """Read front end settings and sizes from the configuration of a checkpoint.

    Raises:
        ModelRefusedError: E-MODEL-FILE, it is incomplete, or needs something not implemented.
    """
    from redub.features.models.npc.fbank import FbankSpec
    from redub.features.models.npc.network import NpcSizes

    try:
        audio, paras = dict(config["data"]["audio"]), dict(config["model"]["paras"])
    except (KeyError, TypeError, ValueError) as error:
        raise weights.refused(
            "its configuration has no data.audio or no model.paras; it is not an NPC of s3prl",
            code="E-MODEL-FILE",
        ) from error
    try:
        kind, cmvn = audio.pop("feat_type", "fbank"), audio.pop("cmvn", True)
        audio.pop("decode_wav", None)  # only for the training
        spec = FbankSpec(
            channels=_whole(audio.pop("feat_dim", 80)),
            window_ms=float(audio.pop("frame_length", 25)),
            shift_ms=float(audio.pop("frame_shift", 10)),
            normalised=bool(cmvn),
        )
        if not 1 <= spec.shift_ms <= spec.window_ms <= 200:
            raise ValueError(f"windows of {spec.window_ms} ms every {spec.shift_ms} ms")
        sizes = _sizes(spec.channels, paras, NpcSizes)
    except (TypeError, ValueError) as error:
        raise weights.refused(
            f"its configuration does not fit: {error}", code="E-MODEL-FILE"
        ) from error
    odd = sizes.kernel_size % 2 == 1 and sizes.mask_size % 2 == 1
    if audio or kind != "fbank" or not odd or sizes.activate not in ("relu", "tanh"):
        raise weights.refused(
            f"it needs sound features or layers that are not implemented here ({kind}, "
            f"{sizes.activate}, {', '.join(map(str, audio)) or 'no other option'}; kernel "
            f"{sizes.kernel_size}, mask {sizes.mask_size})",
            code="E-MODEL-FILE",
        )
    return spec, sizes


def _sizes(channels: int, paras: Mapping[str, Any], kind: type[NpcSizes]) -> NpcSizes:
    """The sizes of the network, checked against the types of the fields.

    Raises:
        ValueError: an unknown name, or a value of another type.
    """
    types = {field.name: type(field.default) for field in dataclasses.fields(kind)}
    used = {key: value for key, value in paras.items() if key not in IGNORED_SIZES}
    for key, value in used.items():
        if key not in types or type(value) is not types[key]:
            raise ValueError(f"{key} = {value!r} is not known here")
        if types[key] is int:
            _whole(value)
    return kind(channels=channels, **used)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise ValueError(f"{value!r} is not a valid size")
    return value
