"""Checkpoints in the public layouts, at random weights, and the config.json that lies beside them.

The names and shapes are spelled out from the published files, not asked of the code under test.
"""

import json

import numpy as np
import torch

HIFI_GAN = {
    "resblock": "1",
    "upsample_rates": [8, 5, 2, 2],
    "upsample_kernel_sizes": [16, 10, 4, 4],
    "upsample_initial_channel": 32,
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "segment_size": 8000,
    "learning_rate": 0.0002,
    "num_mels": 80,
    "n_fft": 1024,
    "hop_size": 160,
    "win_size": 640,
    "sampling_rate": 16000,
    "fmin": 0,
    "fmax": 8000,
    "fmax_for_loss": None,
}

BIGVGAN = {
    **HIFI_GAN,
    "upsample_rates": [4, 4, 2, 2, 2, 2],
    "upsample_kernel_sizes": [8, 8, 4, 4, 4, 4],
    "upsample_initial_channel": 64,
    "use_tanh_at_final": False,
    "use_bias_at_final": False,
    "activation": "snakebeta",
    "snake_logscale": True,
    "hop_size": 256,
    "win_size": 1024,
    "sampling_rate": 22050,
}


def convolutions(public, *, bigvgan=False):
    """Stem to (weight's shape, length of its bias or 0) of every convolution."""
    width, kernels = public["upsample_initial_channel"], public["resblock_kernel_sizes"]
    found = {"conv_pre": ((width, public["num_mels"], 7), width)}
    for stage, size in enumerate(public["upsample_kernel_sizes"]):
        name = f"ups.{stage}.0" if bigvgan else f"ups.{stage}"
        found[name] = ((width, width // 2, size), width // 2)
        width //= 2
        for number, (kernel, dilations) in enumerate(
            zip(kernels, public["resblock_dilation_sizes"], strict=True)
        ):
            block = f"resblocks.{stage * len(kernels) + number}"
            lists = ("convs1", "convs2") if public["resblock"] == "1" else ("convs",)
            for table in lists:
                for place in range(len(dilations)):
                    found[f"{block}.{table}.{place}"] = ((width, width, kernel), width)
    bias = 0 if bigvgan and not public["use_bias_at_final"] else 1
    found["conv_post"] = ((1, width, 7), bias)
    return found


def activations(public):
    """Prefix to channels of every snake of a BigVGAN."""
    width, found = public["upsample_initial_channel"], {}
    count = len(public["resblock_kernel_sizes"])
    for stage in range(len(public["upsample_rates"])):
        width //= 2
        for number, dilations in enumerate(public["resblock_dilation_sizes"]):
            for place in range(2 * len(dilations)):
                block = f"resblocks.{stage * count + number}"
                found[f"{block}.activations.{place}"] = width
    return {**found, "activation_post": width}


def state(public, *, spelling="old", seed=0, bigvgan=False):
    """The ``generator`` table of a checkpoint; the same numbers in every spelling.

    Args:
        spelling: ``old`` (weight_g, weight_v), ``new`` (original0, original1) or ``plain``.
    """
    random = np.random.default_rng(seed)

    def normal(*shape):
        return random.normal(0, 1, shape).astype(np.float32)

    table = {}
    for stem, (shape, bias) in convolutions(public, bigvgan=bigvgan).items():
        direction = normal(*shape)
        size = np.abs(normal(shape[0], 1, 1)) * 0.5
        if bias:
            table[f"{stem}.bias"] = 0.1 * normal(bias)
        if spelling == "old":
            table[f"{stem}.weight_g"], table[f"{stem}.weight_v"] = size, direction
        elif spelling == "new":
            prefix = f"{stem}.parametrizations.weight"
            table[f"{prefix}.original0"], table[f"{prefix}.original1"] = size, direction
        else:
            length = np.sqrt((direction.astype(np.float64) ** 2).sum((1, 2), keepdims=True))
            table[f"{stem}.weight"] = (size * direction / length).astype(np.float32)
    if bigvgan:
        for prefix, width in activations(public).items():
            table[f"{prefix}.act.alpha"], table[f"{prefix}.act.beta"] = normal(width), normal(width)
            for place in ("upsample.filter", "downsample.lowpass.filter"):
                table[f"{prefix}.{place}"] = kaiser_filter()
    return {name: torch.tensor(value) for name, value in table.items()}


def kaiser_filter():
    """(1, 1, 12): 12 taps of a sinc at a quarter of the rate under a Kaiser window, written out.

    Transition half-width 0.3 of the rate; Kaiser's formulas for its attenuation and shape.
    """
    attenuation = 2.285 * 5 * np.pi * (4 * 0.3) + 7.95  # 51.0
    beta = 0.1102 * (attenuation - 8.7)
    times = np.arange(12) - 5.5
    taps = np.kaiser(12, beta) * np.sinc(0.5 * times)
    return (taps / taps.sum()).astype(np.float32)[None, None]


def write(folder, public, *, name="g_02500000", table=None, spelling="old", bigvgan=False):
    """A folder as a publisher leaves it; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if table is None:
        table = state(public, spelling=spelling, bigvgan=bigvgan)
    torch.save({"generator": table}, folder / name)
    if public is not None:
        (folder / "config.json").write_text(json.dumps(public))
    return folder
