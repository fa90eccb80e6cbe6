import subprocess
import sys

import numpy as np
import pytest
import torch

from redub.core.errors import ConfigError, FeatureAbsent, ModelRefusedError
from redub.features.models.mae_dfer.extractor import (
    LABELS,
    MaeDferConfig,
    MaeDferExtractor,
    window_frames,
)
from redub.features.models.mae_dfer.network import LgiFormer, by_region, sinusoids
from tests.features.drawn_faces import media_of, talking
from tests.features.paper.ledgers import CPU, folder_of
from tests.features.paper.made_tensors import random_state
from tests.features.paper.mae_dfer_files import NAME, make_mae_dfer, tensor_shapes
from tests.features.paper.spoilt_files import FAULTS, assert_refused

BOX = [50, 60, 80, 90, 1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_mae_dfer(tmp_path_factory.mktemp("mae_dfer"), width=64, depth=2)


@pytest.fixture(scope="module")
def extractor(made):
    return build(folder_of(made, "mae_dfer"))


def build(folder, **settings):
    return MaeDferExtractor(MaeDferConfig(**{"width": 64, **settings}), {"model": folder}, CPU)


def clip(count, seed=0):
    frames = talking(0.4 + 0.3 * np.sin(np.arange(count) + seed), size=160, smile=seed / 4)
    return media_of(frames, face_track=np.tile(np.array(BOX, np.float32), (count, 1)))


def noise(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- the network


def test_the_full_size_has_the_published_tensors_and_84_9_million_parameters():
    with torch.device("meta"):
        network = LgiFormer()
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert own == dict(tensor_shapes())
    # Per block 3 · (4 · 512² + 3 · 512) attention, 10 · 512 norms, 8 · 512² + 5 · 512 feed-forward;
    # beside them 512 · (1536 + 1) patches, 8 · 512 messengers, 2 · 512 norm, 7 · 513 head.
    block = 3 * (4 * 512**2 + 3 * 512) + 10 * 512 + 8 * 512**2 + 5 * 512
    count = 16 * block + 512 * 1537 + 8 * 512 + 2 * 512 + 7 * 513
    assert sum(p.numel() for p in network.parameters()) == count
    assert round(count / 1e6, 1) == 84.9


def test_800_tokens_fall_into_8_regions_of_100_by_their_place():
    places = torch.arange(800).view(1, 800, 1)
    regions = by_region(places)[0, :, :, 0]
    assert regions.shape == (8, 100)
    for number in range(800):
        pair, row, column = number // 100, number // 10 % 10, number % 10
        region = pair // 2 * 2 + row // 5  # 4 x 2 x 1 regions
        token = pair % 2 * 50 + row % 5 * 10 + column  # of 2 x 5 x 10
        assert regions[region, token] == number


@pytest.mark.parametrize("region", [0, 3, 7])
def test_the_first_attention_stays_within_its_region(region):
    block = LgiFormer(width=64, depth=1).blocks[0]
    tokens = noise(0, 1, 8, 101, 64)
    touched = tokens.clone()
    touched[0, region, 17] += noise(1, 64)
    with torch.inference_mode():
        within = block.within_regions(touched) - block.within_regions(tokens)
        beyond = block(touched) - block(tokens)
    moved = within.abs().amax(dim=(0, 2, 3)) > 1e-6
    assert moved.tolist() == [r == region for r in range(8)]
    assert (beyond.abs().amax(dim=(0, 3)) > 1e-6).all()  # the whole block reaches every token


def test_a_picture_touches_the_regions_of_its_time_and_place_first():
    network = LgiFormer(width=64, depth=1)
    images = torch.zeros(1, 3, 16, 160, 160)
    touched = images.clone()
    touched[:, :, 9, 100:, :] = 1.0  # images 8 to 11 are regions 4 and 5, rows from 80 the second
    with torch.inference_mode():
        change = network.regions(touched) - network.regions(images)
    moved = change.abs().amax(dim=(0, 2, 3)) > 1e-6
    assert moved.tolist() == [r == 5 for r in range(8)]


def test_positions_are_the_sines_and_cosines_of_the_transformer():
    table = sinusoids(800, 64).double().numpy()
    for place, i in ((0, 0), (0, 1), (7, 0), (7, 1), (799, 30), (799, 31), (123, 63)):
        angle = place / 10000 ** (2 * (i // 2) / 64)
        assert table[place, i] == pytest.approx(np.cos(angle) if i % 2 else np.sin(angle), abs=1e-5)


def norm(state, name, x):
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return centred / scale * state[f"{name}.weight"] + state[f"{name}.bias"]


def attend(state, name, asking, answering):
    """One query at a time, one head at a time."""
    q = asking @ state[f"{name}.q.weight"].T + state[f"{name}.q_bias"]
    k, v = np.split(answering @ state[f"{name}.kv.weight"].T, 2, axis=-1)
    v = v + state[f"{name}.v_bias"]
    mixed = np.empty_like(q)
    for head in range(q.shape[1] // 64):
        at = slice(64 * head, 64 * head + 64)
        for i, row in enumerate(q[:, at]):
            score = np.exp(k[:, at] @ row / 8)
            mixed[i, at] = (score / score.sum()) @ v[:, at]
    return mixed @ state[f"{name}.proj.weight"].T + state[f"{name}.proj.bias"]


def test_a_pass_is_what_the_formulas_give_written_out():
    state = random_state(tensor_shapes(128, 1))
    network = LgiFormer(width=128, depth=1).eval()
    network.load_state_dict(state)
    images = noise(1, 1, 3, 16, 160, 160)
    s = {name: value.double().numpy() for name, value in state.items()}
    x = images[0].double().numpy()
    tokens = np.empty((8, 101, 128))
    tokens[:, 0] = s["lg_region_tokens"]
    positions = sinusoids(800, 128).double().numpy()
    for number in range(800):
        t, r, c = number // 100, number // 10 % 10, number % 10
        cube = x[:, 2 * t : 2 * t + 2, 16 * r : 16 * r + 16, 16 * c : 16 * c + 16]
        value = (s["patch_embed.proj.weight"] * cube).sum(axis=(1, 2, 3, 4))
        place = 1 + t % 2 * 50 + r % 5 * 10 + c
        tokens[t // 2 * 2 + r // 5, place] = value + s["patch_embed.proj.bias"] + positions[number]
    b = "blocks.0."
    for region in tokens:
        normed = norm(s, b + "first_attn_norm0", region)
        region += attend(s, b + "first_attn", normed, normed)
    normed = norm(s, b + "second_attn_norm0", tokens[:, 0])
    tokens[:, 0] += attend(s, b + "second_attn", normed, normed)
    keys = norm(s, b + "third_attn_norm1", tokens[:, 0])
    for region in tokens:
        normed = norm(s, b + "third_attn_norm0", region[1:])
        region[1:] += attend(s, b + "third_attn", normed, keys)
    normed = norm(s, b + "norm2", tokens)
    inner = torch.from_numpy(normed @ s[b + "mlp.fc1.weight"].T + s[b + "mlp.fc1.bias"])
    inner = torch.nn.functional.gelu(inner).numpy()
    tokens += inner @ s[b + "mlp.fc2.weight"].T + s[b + "mlp.fc2.bias"]
    vector = norm(s, "fc_norm", tokens[:, 0].mean(axis=0))
    with torch.inference_mode():
        seen = network(images)
    np.testing.assert_allclose(seen.vector[0].numpy(), vector, atol=2e-4)
    logits = vector @ s["head.weight"].T + s["head.bias"]
    np.testing.assert_allclose(seen.logits[0].numpy(), logits, atol=2e-4)


# -- sampling


def test_windows_are_every_fourth_frame_from_the_start_and_from_the_end():
    assert window_frames(1) == [[0] * 16]
    assert window_frames(10) == [[0, 4] + [8] * 14]
    assert window_frames(64) == [list(range(0, 64, 4))]
    assert window_frames(65) == [list(range(0, 64, 4)), list(range(4, 65, 4))]
    assert window_frames(130) == [list(range(0, 64, 4)), list(range(68, 130, 4))]


# -- the extractor


@pytest.mark.parametrize("count", [1, 5, 70])
def test_a_clip_gives_one_finite_vector_of_the_schema(extractor, count):
    value = extractor.extract(clip(count))
    assert value.shape == (extractor.schema.width,) == (64,)
    assert value.dtype == np.float32
    assert np.isfinite(value).all()


def test_the_published_width_is_the_schema_without_loading(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    empty = MaeDferExtractor(MaeDferConfig(), {"model": folder_of(folder, "mae_dfer")}, CPU)
    assert empty.schema.width == 512


def test_a_long_clip_is_the_mean_of_its_two_windows(extractor):
    media = clip(90)
    windows = extractor.prepare(media)
    assert windows.shape == (2, 16, 160, 160, 3)
    alone = [extractor.compute([windows[i : i + 1]])[0] for i in (0, 1)]
    np.testing.assert_allclose(extractor.extract(media), np.mean(alone, axis=0), atol=1e-5)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3


def test_a_batch_gives_what_each_clip_gives_alone(extractor):
    clips = [clip(8, 0), clip(70, 1), clip(30, 2)]
    inputs = [extractor.prepare(media) for media in clips]
    together = extractor.compute_all(inputs)
    for media, value in zip(clips, together, strict=True):
        np.testing.assert_allclose(value, extractor.extract(media), atol=1e-5)
    assert np.abs(together[0] - together[2]).max() > 1e-3


def test_pictures_are_imagenet_normalised(extractor):
    images = np.random.default_rng(0).integers(0, 256, (1, 16, 160, 160, 3), dtype=np.uint8)
    red, green, blue = np.moveaxis(images.astype(np.float64) / 255, -1, 0)  # (1, 16, 160, 160)
    channels = [(red - 0.485) / 0.229, (green - 0.456) / 0.224, (blue - 0.406) / 0.225]
    with torch.inference_mode():
        wanted = extractor.network(torch.from_numpy(np.stack(channels, axis=1)).float()).vector[0]
    np.testing.assert_allclose(extractor.compute([images])[0], wanted.numpy(), atol=1e-4)


def test_what_is_outside_the_square_is_not_seen(extractor):
    # The box is 80 x 90 at (50, 60): its centre (90, 105), the side 90 · 1.2 = 108, so the square
    # reaches from (36, 51) to (144, 159).
    media = clip(4)
    painted = media.frames.copy()
    painted[:, :50] = 0
    painted[:, :, :35] = 0
    same = media_of(painted, face_track=media.features["face_track"])
    np.testing.assert_array_equal(extractor.extract(same), extractor.extract(media))
    painted[:, 60:100, 60:100] = 0
    assert np.abs(extractor.extract(same) - extractor.extract(media)).max() > 1e-3


def test_a_clip_without_pictures_has_no_value(extractor):
    with pytest.raises(FeatureAbsent) as caught:
        extractor.extract(media_of(None, face_track=np.zeros((3, 5), np.float32)))
    assert caught.value.code == "E-FEAT-NOFACE"


def test_it_describes_itself(extractor):
    said = extractor.describe()
    assert said["classes"] == "happy, sad, neutral, angry, surprise, disgust, fear"
    assert said["gives"] == "vector × 64"
    assert len(LABELS) == 7


@pytest.mark.parametrize("settings", [{"margin": -0.1}, {"margin": 3.0}, {"width": 100}])
def test_bad_settings_are_refused_by_name(settings):
    with pytest.raises(ConfigError, match=f"global_face.{next(iter(settings))}"):
        MaeDferConfig(**settings)


# -- loading


@pytest.mark.parametrize(("fault", "code"), FAULTS)
def test_a_spoilt_file_is_refused(fault, code, made, tmp_path):
    assert_refused(fault, code, made, NAME, "model", "mae_dfer", build, tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"attn_type": "joint"},
        {"lg_classify_token_type": "org"},
        {"lg_region_size": [2, 2, 10]},
        {"lg_region_size": 3},
    ],
)
def test_the_same_tensors_trained_otherwise_are_refused(settings, tmp_path):
    folder = folder_of(make_mae_dfer(tmp_path, width=64, **settings), "mae_dfer")
    with pytest.raises(ModelRefusedError, match=next(iter(settings))):
        build(folder).load()


def test_another_width_is_refused_by_shape(made):
    with pytest.raises(ModelRefusedError) as caught:
        build(folder_of(made, "mae_dfer"), width=128).load()
    assert caught.value.code == "E-MODEL-SHAPE"


def test_a_bare_safetensors_file_loads_too(made, extractor, tmp_path):
    from safetensors.torch import save_file

    state = torch.load(made / NAME, weights_only=False)["model"]
    save_file(state, tmp_path / "fold1.safetensors")
    media = clip(6)
    bare = build(folder_of(tmp_path, "mae_dfer"))
    np.testing.assert_array_equal(bare.extract(media), extractor.extract(media))


OFFLINE = """
import socket, sys
def refuse(*a, **k): raise OSError("a network call")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from pathlib import Path
from redub.features.models.emonet.extractor import EmoNetConfig, EmoNetExtractor
from redub.features.models.lrw_lips.extractor import LrwLipConfig, LrwLipExtractor
from redub.features.models.mae_dfer.extractor import MaeDferConfig, MaeDferExtractor
from tests.features.paper.emonet_files import make_emonet
from tests.features.paper.ledgers import CPU, folder_of
from tests.features.paper.lrw_lips_files import make_lrw_lips
from tests.features.paper.mae_dfer_files import make_mae_dfer
root = Path(sys.argv[1])
for kind, config, make, extractor in (
    ("mae_dfer", MaeDferConfig(), make_mae_dfer, MaeDferExtractor),
    ("emonet", EmoNetConfig(), make_emonet, EmoNetExtractor),
    ("lrw_lips", LrwLipConfig(), make_lrw_lips, LrwLipExtractor),
):
    folder = folder_of(make(root / kind), kind)
    print(extractor(config, {"model": folder}, CPU).describe()["gives"])
"""


@pytest.mark.slow
def test_the_three_face_networks_load_without_a_network(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OFFLINE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n")[:3] == ["vector × 512", "frames × 256", "frames × 512"]
