"""The ``config.json`` that public vocoders come with, read as settings; and whose mels they speak.

Its keys are those of HiFi-GAN's and BigVGAN's public training code. Keys about training are not
looked at. One key is redub's own: ``upsample_padding`` (auto, upstream, output_padding).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from redub.core.config import from_mapping
from redub.core.errors import ConfigError, ModelRefusedError
from redub.core.types import AudioSpec
from redub.model.vocoder.bigvgan import BigVganConfig
from redub.model.vocoder.hifi_gan import HifiGanConfig

Settings = TypeVar("Settings", HifiGanConfig, BigVganConfig)

AUDIO_KEYS = {
    "sample_rate_hz": "sampling_rate",
    "n_fft": "n_fft",
    "hop_samples": "hop_size",
    "win_samples": "win_size",
    "mel_channels": "num_mels",
    "fmin_hz": "fmin",
    "fmax_hz": "fmax",
}
"""Our name of each audio setting, and the public one."""

GENERATOR_KEYS = {
    "upsample_rates": "upsample_rates",
    "upsample_kernels": "upsample_kernel_sizes",
    "channels": "upsample_initial_channel",
    "kernels": "resblock_kernel_sizes",
    "dilations": "resblock_dilation_sizes",
}
MOST_SAMPLES_A_SECOND = 384_000


def hifi_gan_settings(public: Mapping[str, Any]) -> HifiGanConfig:
    """Settings of a HiFi-GAN generator.

    Raises:
        ModelRefusedError: E-MODEL-CONFIG, a key is missing or has a value that no generator has;
            E-MODEL-LENGTH, T frames would not become T hops.
    """
    values = {**_generator(public), "resblock": str(public.get("resblock", "1"))}
    return _built(HifiGanConfig, {**values, **_padding(public)}, public)


def bigvgan_settings(public: Mapping[str, Any]) -> BigVganConfig:
    """Settings of a BigVGAN generator; a file without version 2's switches is of version 1.

    Raises:
        ModelRefusedError: as :func:`hifi_gan_settings`; another activation than snakebeta or other
            residual blocks than "1".
    """
    for key, wanted in (("activation", "snakebeta"), ("resblock", "1")):
        if str(public.get(key, wanted)) != wanted:
            raise ModelRefusedError(
                f"config.json: {key} is {public[key]!r}; redub speaks '{wanted}' only",
                code="E-MODEL-CONFIG",
            )
    switches = {
        "tanh_at_end": public.get("use_tanh_at_final", True),
        "bias_at_end": public.get("use_bias_at_final", True),
        "log_scale": public.get("snake_logscale", True),
    }
    values = {**_generator(public), **switches, **_padding(public)}
    return _built(BigVganConfig, values, public)


def _generator(public: Mapping[str, Any]) -> dict[str, Any]:
    return {own: _wanted(public, key) for own, key in GENERATOR_KEYS.items()}


def _padding(public: Mapping[str, Any]) -> dict[str, Any]:
    return {"padding": public.get("upsample_padding", "auto")}


def _wanted(public: Mapping[str, Any], key: str) -> Any:
    if key not in public:
        raise ModelRefusedError(
            f"config.json has no '{key}'; wanted the one that the vocoder was trained with",
            code="E-MODEL-CONFIG",
        )
    return public[key]


def _built(kind: type[Settings], values: Mapping[str, Any], public: Mapping[str, Any]) -> Settings:
    try:
        return from_mapping(kind, {**values, "audio": asdict(audio_of(public))})
    except ConfigError as error:
        raise ModelRefusedError(f"config.json: {error.message}", code="E-MODEL-CONFIG") from error


def audio_of(public: Mapping[str, Any]) -> AudioSpec:
    """The mels that a vocoder was trained on.

    Raises:
        ModelRefusedError: E-MODEL-CONFIG.
    """
    values = {own: _wanted(public, key) for own, key in AUDIO_KEYS.items()}
    try:
        if values["fmax_hz"] is None:  # the public spelling of "up to half the rate"
            values["fmax_hz"] = float(values["sample_rate_hz"]) / 2
        audio = from_mapping(AudioSpec, values)
    except (ConfigError, TypeError, ValueError) as error:
        raise ModelRefusedError(f"config.json: {error}", code="E-MODEL-CONFIG") from error
    if not 0 < audio.sample_rate_hz <= MOST_SAMPLES_A_SECOND or not 0 < audio.mel_channels <= 1024:
        raise ModelRefusedError(
            f"config.json: {audio.sample_rate_hz} samples a second and {audio.mel_channels} mel "
            "channels are no sound",
            code="E-MODEL-CONFIG",
        )
    return audio


def check_audio(trained: AudioSpec, project: AudioSpec, who: str) -> None:
    """Refuse a vocoder that was trained on other mels than the project's.

    Raises:
        ModelRefusedError: E-MODEL-AUDIO, naming every setting that differs.
    """
    differing = [
        f"audio.{own} is {getattr(project, own):g} here and {getattr(trained, own):g} there ({key})"
        for own, key in AUDIO_KEYS.items()
        if getattr(trained, own) != getattr(project, own)
    ]
    if differing:
        raise ModelRefusedError(
            f"{who} speaks other mels than this project's: {'; '.join(differing)}. Take a vocoder "
            "trained on these mels, or set [audio] to its and extract again",
            code="E-MODEL-AUDIO",
        )
