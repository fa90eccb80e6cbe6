import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from redub.core.errors import FeatureAbsent, ModelRefusedError
from redub.features.models.lrw_lips.extractor import LrwLipConfig, LrwLipExtractor, read_lips
from redub.features.models.lrw_lips.network import LipResNet, normalised
from redub.features.runtime import Runtime
from redub.pipeline.store.weights import add_weights
from tests.features.drawn_faces import media_of
from tests.features.paper.ledgers import CPU, folder_of
from tests.features.paper.lrw_lips_files import NAME, make_lrw_lips, tensor_shapes
from tests.features.paper.made_tensors import random_state
from tests.features.paper.spoilt_files import FAULTS, assert_refused

MODEL_FILE = "lrw_resnet18_mstcn.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_lrw_lips(tmp_path_factory.mktemp("lrw"))


@pytest.fixture(scope="module")
def lips(made):
    return build(folder_of(made, "lrw_lips"))


def build(folder, *, runtime=CPU, **settings):
    return LrwLipExtractor(LrwLipConfig(**settings), {"model": folder}, runtime)


def mouths(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 9216), dtype=np.uint8)


def clip(crops):
    return media_of(None, mouth_crop=crops)


# -- the network


@pytest.mark.parametrize(("activation", "slopes"), [("prelu", True), ("swish", False)])
def test_the_front_end_has_the_published_tensors(activation, slopes):
    with torch.device("meta"):
        network = LipResNet(activation)
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert own == dict(tensor_shapes(slopes))
    # A layer of width b after a: 9ab + 3 · 9b² + ab weights, five norms of 2b, four slopes per b.
    steps = ((64, 128), (128, 256), (256, 512))
    count = 4 * 9 * 64**2 + 4 * 2 * 64 + sum(10 * a * b + 27 * b**2 + 10 * b for a, b in steps)
    count += 64 * 5 * 7 * 7 + 2 * 64  # the 3-D stem
    if slopes:
        count += 64 + 4 * 64 + sum(4 * b for _, b in steps)
    assert sum(p.numel() for p in network.parameters()) == count


def written_out(s, x, act):
    """The front end once more, as plain functions of its tensors: (1, V, 88, 88) → (V, 512)."""

    def bn(name, x):
        parts = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(s[f"{name}.{part}"] for part in parts))

    stem = F.conv3d(x[None], s["frontend3D.0.weight"], stride=(1, 2, 2), padding=(2, 3, 3))
    stem = act("frontend3D.2", bn("frontend3D.1", stem))
    x = F.max_pool2d(stem[0].transpose(0, 1), 3, stride=2, padding=1)  # pooled frame by frame
    for i in (1, 2, 3, 4):
        for j in (0, 1):
            name = f"trunk.layer{i}.{j}"
            stride = 2 if i > 1 and j == 0 else 1
            y = F.conv2d(x, s[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = act(f"{name}.relu1", bn(f"{name}.bn1", y))
            y = bn(f"{name}.bn2", F.conv2d(y, s[f"{name}.conv2.weight"], padding=1))
            if stride == 2:
                x = F.conv2d(x, s[f"{name}.downsample.0.weight"], stride=2)
                x = bn(f"{name}.downsample.1", x)
            x = act(f"{name}.relu2", y + x)
    return x.mean(dim=(2, 3))


@pytest.mark.parametrize("activation", ["prelu", "relu", "swish"])
def test_a_pass_is_what_the_formulas_give_written_out(activation):
    s = random_state(tensor_shapes(activation == "prelu"))
    network = LipResNet(activation).eval()
    network.load_state_dict(s)

    def act(name, x):
        if activation == "prelu":
            slope = s[f"{name}.weight"].view(1, -1, *[1] * (x.ndim - 2))
            return torch.where(x > 0, x, slope * x)
        return x * torch.sigmoid(x) if activation == "swish" else x.clamp(min=0)

    x = torch.randn(1, 3, 88, 88, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network(x)[0], written_out(s, x, act), rtol=1e-3, atol=1e-3)


def test_the_middle_of_the_crop_is_normalised():
    grey = torch.arange(96 * 96, dtype=torch.float32).view(1, 96, 96) / 9216
    seen = normalised(grey)
    assert seen.shape == (1, 88, 88)
    # (x - 0.421) / 0.165, from row and column 4 on: (96 - 88) / 2.
    for row, column in ((0, 0), (0, 87), (87, 87), (40, 13)):
        value = ((row + 4) * 96 + column + 4) / 9216
        assert float(seen[0, row, column]) == pytest.approx((value - 0.421) / 0.165, abs=1e-5)


# -- the extractor


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_clip_gives_a_row_per_frame(lips, count):
    rows = lips.extract(clip(mouths(count)))
    assert rows.shape == (count, lips.schema.width) == (count, 512)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 7])
def test_the_cuts_between_parts_do_not_show(made, lips, batch):
    crops = mouths(7)
    whole = lips.extract(clip(crops))
    runtime = Runtime(device="cpu", batch=batch)
    parts = read_lips(lips.network, crops.reshape(-1, 96, 96), batch)
    np.testing.assert_allclose(parts, whole, rtol=1e-3, atol=1e-3)
    if batch == 3:
        again = build(folder_of(made, "lrw_lips"), runtime=runtime).extract(clip(crops))
        np.testing.assert_array_equal(again, parts)


def test_a_frame_is_seen_by_its_two_neighbours_on_each_side(lips):
    crops = mouths(9)
    touched = crops.copy()
    touched[4] = 255 - touched[4]
    change = np.abs(lips.extract(clip(touched)) - lips.extract(clip(crops))).max(axis=1)
    assert (change > 1e-3).tolist() == [2 <= k <= 6 for k in range(9)]


def test_the_edge_of_the_crop_is_not_seen(lips):
    crops = mouths(2)
    touched = crops.reshape(2, 96, 96).copy()
    touched[:, :4] = touched[:, -4:] = 0
    touched[:, :, :4] = touched[:, :, -4:] = 0
    same = lips.extract(clip(touched.reshape(2, -1)))
    np.testing.assert_array_equal(same, lips.extract(clip(crops)))


def test_several_clips_are_several_clips(lips):
    first, second = mouths(3), mouths(2, seed=1)
    together = lips.compute([lips.prepare(clip(crops)) for crops in (first, second)])
    np.testing.assert_array_equal(together[0], lips.extract(clip(first)))
    np.testing.assert_array_equal(together[1], lips.extract(clip(second)))
    assert np.abs(together[0][0] - together[1][0]).max() > 1e-2


def test_no_frame_is_no_value(lips):
    with pytest.raises(FeatureAbsent) as caught:
        lips.extract(clip(mouths(0)))
    assert caught.value.code == "E-FEAT-NOFACE"


# -- the activation


def test_slopes_in_the_file_mean_prelu(tmp_path):
    folder = folder_of(make_lrw_lips(tmp_path, slopes=True, relu_type=None), "lrw_lips")
    assert build(folder).describe()["activation"] == "PReLU"


def test_the_model_file_tells_relu_from_swish(made, lips, tmp_path):
    assert lips.describe()["activation"] == "Swish"
    relu = build(folder_of(make_lrw_lips(tmp_path, relu_type="relu"), "lrw_lips"))
    assert relu.describe()["activation"] == "ReLU"
    assert np.abs(relu.extract(clip(mouths(1))) - lips.extract(clip(mouths(1)))).max() > 1e-2


def test_where_nothing_tells_it_the_user_is_asked(tmp_path):
    folder = folder_of(make_lrw_lips(tmp_path, relu_type=None), "lrw_lips")
    with pytest.raises(ModelRefusedError, match=r"features\.lips\.activation"):
        build(folder).load()
    assert build(folder, activation="swish").describe()["activation"] == "Swish"
    with pytest.raises(ModelRefusedError) as caught:  # slopes are wanted and not there
        build(folder, activation="prelu").load()
    assert caught.value.code == "E-MODEL-KEYS"


def test_slopes_are_not_dropped_in_silence(tmp_path):
    folder = folder_of(make_lrw_lips(tmp_path, slopes=True, relu_type=None), "lrw_lips")
    with pytest.raises(ModelRefusedError) as caught:
        build(folder, activation="relu").load()
    assert caught.value.code == "E-MODEL-KEYS"


# -- loading


@pytest.mark.parametrize(("fault", "code"), FAULTS)
def test_a_spoilt_file_is_refused(fault, code, made, tmp_path):
    assert_refused(fault, code, made, NAME, "model_state_dict", "lrw_lips", build, tmp_path)


def test_a_model_file_that_asks_for_code_is_refused(tmp_path):
    make_lrw_lips(tmp_path)
    content = {"relu_type": "swish", "auto_map": {"AutoModel": "evil.Model"}}
    (tmp_path / MODEL_FILE).write_text(json.dumps(content))
    with pytest.raises(ModelRefusedError) as caught:
        build(folder_of(tmp_path, "lrw_lips")).load()
    assert caught.value.code == "E-MODEL-CODE"


def test_the_ledger_records_the_weights_and_the_model_file(made, tmp_path):
    entry = add_weights(tmp_path, "lrw_lips", made)
    assert sorted(entry.files) == [MODEL_FILE, NAME]
    assert "non-commercial" in entry.licence
