from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from redub.core.errors import ConfigError, FeatureAbsent, ModelRefusedError
from redub.core.types import AudioSpec, VideoSpec
from redub.features.face.landmarks import LandmarkConfig as BuiltinConfig
from redub.features.face.landmarks import LandmarkExtractor
from redub.features.models.emonet.extractor import (
    AFFECT,
    LABELS,
    EmoNetConfig,
    EmoNetExtractor,
    EmoNetLandmarkExtractor,
    LandmarkConfig,
    on_frame,
)
from redub.features.models.emonet.network import Block, EmoNet, Sight, Wiring, misfit, peaks
from redub.features.registry import extractor_config, make_extractor
from redub.features.runtime import Runtime
from tests.features.drawn_faces import media_of, talking
from tests.features.paper.emonet_files import NAME, make_emonet, tensor_shapes
from tests.features.paper.ledgers import CPU, folder_of
from tests.features.paper.made_tensors import random_state
from tests.features.paper.spoilt_files import FAULTS, assert_refused

BOX = [50, 60, 80, 90, 1]
TINY = {"width": 16, "vector": 16}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_emonet(tmp_path_factory.mktemp("emonet"), **TINY)


@pytest.fixture(scope="module")
def vectors(made):
    return build(folder_of(made, "emonet"))


@pytest.fixture(scope="module")
def landmarks(made):
    return EmoNetLandmarkExtractor(LandmarkConfig(), {"model": folder_of(made, "emonet")}, CPU)


def build(folder, *, runtime=CPU, **settings):
    return EmoNetExtractor(EmoNetConfig(**{"width": 16, **settings}), {"model": folder}, runtime)


def clip(count, seed=0):
    frames = talking(0.4 + 0.3 * np.sin(np.arange(count) + seed), size=160, smile=seed / 4)
    return media_of(frames, face_track=np.tile(np.array(BOX, np.float32), (count, 1)))


def images(count, seed=0):
    return torch.rand(count, 3, 256, 256, generator=torch.Generator().manual_seed(seed))


# -- the network


def test_the_full_size_has_the_published_counts():
    with torch.device("meta"):
        network = EmoNet()
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert own == dict(tensor_shapes())
    assert len(own) == 682
    # Without the 2-D batch normalisations 132 are left: the count given for the authors'
    # network when they are something without tensors.
    normed = [name for name, m in network.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert sum(not any(name.startswith(f"{n}.") for n in normed) for name in own) == 132
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == 13.96


def test_the_eight_classes_stand_in_the_published_order():
    assert LABELS == (
        "neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt"
    )  # fmt: skip


def written_out(s, x, *, pool, tap, mask):
    """The network once more, as plain functions of its tensors."""

    def bn(name, x):
        numbers = (
            s[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, *numbers)

    def block(name, x):
        a = F.conv2d(F.relu(bn(f"{name}.bn1", x)), s[f"{name}.conv1.weight"], padding=1)
        b = F.conv2d(F.relu(bn(f"{name}.bn2", a)), s[f"{name}.conv2.weight"], padding=1)
        c = F.conv2d(F.relu(bn(f"{name}.bn3", b)), s[f"{name}.conv3.weight"], padding=1)
        if f"{name}.downsample.2.weight" in s:
            x = F.conv2d(F.relu(bn(f"{name}.downsample.0", x)), s[f"{name}.downsample.2.weight"])
        return torch.cat([a, b, c], 1) + x

    def conv(name, x, **how):
        return F.conv2d(x, s[f"{name}.weight"], s[f"{name}.bias"], **how)

    def hourglass(name, x):
        beside = []
        for level in (4, 3, 2, 1):
            beside.append(block(f"{name}.b1_{level}", x))
            x = block(f"{name}.b2_{level}", pool(x, 2))
        x = block(f"{name}.b2_plus_1", x)
        for level in (1, 2, 3, 4):
            x = block(f"{name}.b3_{level}", x)
            x = beside.pop() + x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return x

    x = F.relu(bn("bn1", conv("conv1", x, stride=2, padding=3)))
    x = block("conv4", block("conv3", pool(block("conv2", x), 2)))
    own = F.relu(bn("bn_end0", conv("conv_last0", block("top_m_0", hourglass("m0", x)))))
    passed = conv("bl0", own)
    second = x + passed + conv("al0", conv("l0", own))
    own1 = F.relu(bn("bn_end1", conv("conv_last1", block("top_m_1", hourglass("m1", second)))))
    heat = conv("l1", own1)
    weight = heat.sum(1, keepdim=True)
    seen = torch.cat([own if tap == "own" else passed, own1], 1) * weight
    seen = torch.cat([x * weight if mask == "all" else x, seen], 1)
    maps = conv("conv1x1_input_emo_2", seen)
    for i in (0, 2, 4, 6):
        maps = F.max_pool2d(block(f"emo_net_2.{i}", maps), 2)
    vector = F.avg_pool2d(maps, 4).flatten(1)
    inner = F.linear(vector, s["emo_fc_2.0.weight"], s["emo_fc_2.0.bias"])
    inner = F.relu(bn("emo_fc_2.1", inner))
    return vector, F.linear(inner, s["emo_fc_2.3.weight"], s["emo_fc_2.3.bias"]), heat


@pytest.mark.parametrize("wiring", [Wiring(), Wiring("average", "own", "all")])
def test_a_pass_is_what_the_formulas_give_written_out(wiring):
    state = random_state(tensor_shapes(**TINY))
    network = EmoNet(**TINY, wiring=wiring).eval()
    network.load_state_dict(state)
    x = images(1)
    pool = F.max_pool2d if wiring.pooling == "max" else F.avg_pool2d
    with torch.inference_mode():
        seen = network(x)
        vector, answers, heat = written_out(state, x, pool=pool, tap=wiring.tap, mask=wiring.mask)
    torch.testing.assert_close(seen.heat, heat, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen.vector, vector, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(seen.logits, answers[:, :8], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(seen.affect, answers[:, 8:], rtol=1e-3, atol=1e-3)


def test_every_wiring_gives_its_own_vector():
    state = random_state(tensor_shapes(**TINY))
    found = []
    for wiring in all_wirings():
        network = EmoNet(**TINY, wiring=wiring).eval()
        network.load_state_dict(state)
        with torch.inference_mode():
            found.append(network(images(1)).vector[0])
    for i, j in product(range(8), repeat=2):
        assert (i == j) == bool(torch.allclose(found[i], found[j], rtol=1e-3))


def all_wirings():
    return [
        Wiring(*parts)
        for parts in product(("max", "average"), ("passed", "own"), ("hourglasses", "all"))
    ]


@pytest.mark.parametrize("planted", [all_wirings()[i] for i in (0, 6)])
def test_the_statistics_in_a_file_tell_how_it_was_wired(planted):
    state = random_state(tensor_shapes(**TINY))
    trained = EmoNet(**TINY, wiring=planted)
    trained.load_state_dict(state)
    for layer in trained.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0  # the next pass's statistics are kept
    with torch.no_grad():
        trained.train()(images(2, seed=1))
    off = {}
    for wiring in all_wirings():
        network = EmoNet(**TINY, wiring=wiring).eval()
        network.load_state_dict(trained.state_dict())
        off[wiring] = misfit(network, images(2, seed=2))
    assert min(off, key=off.get) == planted
    here = off[planted]
    assert all(x.alignment > 1.1 * here.alignment for w, x in off.items() if w[0] != planted[0])
    rivals = [x for w, x in off.items() if w[0] == planted[0] and w != planted]
    assert all(x.alignment == here.alignment and x.head > 1.1 * here.head for x in rivals)


def test_a_block_gives_half_a_quarter_and_a_quarter_of_its_channels():
    block = Block(8, 16).eval()
    with torch.no_grad():
        for part in block.parameters():
            part.zero_()
        block.bn1.weight.fill_(1.0)
        block.conv1.weight[:, :, 1, 1] = 1.0  # sums its 8 channels
        out = block(torch.ones(1, 8, 4, 4))
    filled = [True] * 8 + [False] * 8
    assert (out[0].amax(dim=(1, 2)) > 0).tolist() == filled


# -- landmarks


def test_a_peak_is_the_middle_of_its_cell():
    heat = torch.zeros(1, 68, 64, 64)
    for i in range(68):
        heat[0, i, (3 * i) % 64, (7 * i + 1) % 64] = 1.0
    found = peaks(heat)[0] * 256  # pixels of the picture: 4 · (step + 0.5)
    for i in range(68):
        assert found[i].tolist() == [4 * ((7 * i + 1) % 64 + 0.5), 4 * ((3 * i) % 64 + 0.5)]


def test_points_go_back_through_the_square():
    # A square of 96 at (42, 57): its corner, middle and far corner.
    points = np.array([[[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]], np.float32)
    found = on_frame(points, np.array([[42.0, 57.0, 96.0]], np.float32))
    assert found.tolist() == [[[42, 57], [90, 105], [138, 153]]]


class BrightestPixel(torch.nn.Module):
    """Stands for the network: every landmark is where the picture is brightest."""

    def __init__(self):
        super().__init__()
        self.here = torch.nn.Parameter(torch.zeros(()))

    def forward(self, seen):
        heat = F.avg_pool2d(seen.mean(dim=1, keepdim=True), 4).expand(-1, 68, -1, -1)
        return Sight(
            torch.zeros(len(seen), 256), torch.zeros(len(seen), 8), torch.zeros(len(seen), 2), heat
        )


@pytest.mark.parametrize("box", [[50, 60, 80, 90], [20, 20, 40, 40], [-10, 100, 90, 70.5]])
def test_a_bright_dot_in_the_frame_is_found_where_it_is(made, box):
    extractor = EmoNetLandmarkExtractor(LandmarkConfig(), {"model": folder_of(made, "emonet")}, CPU)
    extractor._network = BrightestPixel()
    x, y, w, h = box
    side = 1.2 * max(w, h)
    frames = np.zeros((4, 180, 160, 3), np.uint8)
    dots = [
        (x + w / 2 + dx * side, y + h / 2 + dy * side) for dx, dy in product((-0.2, 0.3), repeat=2)
    ]
    for frame, (dot_x, dot_y) in zip(frames, dots, strict=True):
        frame[int(dot_y) - 1 : int(dot_y) + 2, int(dot_x) - 1 : int(dot_x) + 2] = 255
    track = np.tile(np.array([*box, 1], np.float32), (4, 1))
    rows = extractor.extract(media_of(frames, face_track=track))
    assert rows.shape == (4, 136)
    assert rows.dtype == np.float32
    for row, (dot_x, dot_y) in zip(rows.reshape(4, 68, 2), dots, strict=True):
        centre = np.array([int(dot_x) + 0.5, int(dot_y) + 0.5])
        assert np.abs(row - centre).max() < side / 64 + 1


def test_the_builtin_profile_has_none_and_says_so():
    extractor = LandmarkExtractor(BuiltinConfig())
    with pytest.raises(FeatureAbsent, match="no landmark network") as caught:
        extractor.extract(clip(2))
    assert caught.value.code == "E-FEAT-NOLANDMARKS"
    assert (extractor.schema.kind, extractor.schema.width) == ("frames", 136)
    assert extractor.media == frozenset()


# -- the extractors


def test_a_clip_gives_a_row_per_frame(vectors, landmarks):
    media = clip(3)
    rows, points = vectors.extract(media), landmarks.extract(media)
    assert (rows.shape, points.shape) == ((3, 16), (3, 136))
    assert rows.dtype == points.dtype == np.float32
    assert np.isfinite(rows).all()
    assert vectors.schema.width == 16
    assert build(vectors.weights, width=256).schema.width == 256
    assert landmarks.schema == LandmarkExtractor(BuiltinConfig()).schema
    assert np.abs(rows[0] - rows[1]).max() > 1e-3  # the mouth moves


def test_both_features_share_one_pass_over_a_clip(vectors, landmarks):
    media, seen = clip(2), []
    assert vectors.network is landmarks.network
    handle = vectors.network.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    landmarks.extract(media)
    vectors.extract(media)
    assert seen == [2]
    vectors.extract(clip(1))
    assert seen == [2, 1]
    handle.remove()


def test_parts_of_a_clip_give_what_the_whole_gives(made, vectors):
    media = clip(5)
    whole = vectors.extract(media)
    inputs = [vectors.prepare(clip(5)), vectors.prepare(clip(2, seed=3))]
    together = vectors.compute(inputs)
    np.testing.assert_array_equal(together[0], whole)
    parts = build(folder_of(made, "emonet"), runtime=Runtime(device="cpu", batch=2))
    np.testing.assert_allclose(parts.extract(clip(5)), whole, rtol=1e-3, atol=1e-3)


def test_affect_is_valence_arousal_and_eight_shares(made, vectors):
    extractor = build(folder_of(made, "emonet"), output="vector_affect")
    media = clip(2)
    rows = extractor.extract(media)
    assert rows.shape == (2, 26)
    assert extractor.schema.width == 16 + len(AFFECT) == 26
    np.testing.assert_array_equal(rows[:, :16], vectors.extract(media))
    np.testing.assert_allclose(rows[:, 18:].sum(axis=1), 1.0, rtol=1e-5)
    assert (rows[:, 18:] >= 0).all()
    picture = extractor.prepare(media).faces.crops[:1].transpose(0, 3, 1, 2) / np.float32(255)
    with torch.inference_mode():
        seen = extractor.network(torch.from_numpy(picture))
    np.testing.assert_allclose(rows[0, 16:18], seen.affect[0], rtol=1e-3, atol=1e-4)
    assert rows[0, 18:].argmax() == int(seen.logits[0].argmax())


def test_a_clip_without_pictures_has_no_value(vectors, landmarks):
    for extractor in (vectors, landmarks):
        with pytest.raises(FeatureAbsent) as caught:
            extractor.extract(media_of(None, face_track=np.zeros((3, 5), np.float32)))
        assert caught.value.code == "E-FEAT-NOFACE"


def test_it_describes_itself(vectors):
    said = vectors.describe()
    assert said["classes"].startswith("neutral, happy, sad")
    assert said["wiring"] == "pooling max, tap passed, mask hourglasses"


def test_settings_reach_the_network_through_the_registry(made):
    folders = {"model": folder_of(made, "emonet")}
    specs = {"audio": AudioSpec(), "video": VideoSpec(), "backend": "emonet"}
    chosen = {"pooling": "average", "tap": "own", "mask": "all", "margin": 0.0, "width": 16}
    made_by_name = make_extractor(
        "local_face", **specs, overrides=chosen, folders=folders, runtime=CPU
    )
    assert made_by_name.network.wiring == Wiring("average", "own", "all")
    points = make_extractor(
        "landmarks", **specs, overrides={"pooling": "average"}, folders=folders, runtime=CPU
    )
    assert points.network.wiring == Wiring(pooling="average")
    for feature, wrong in (
        ("local_face", {"margin": -1.0}),
        ("local_face", {"output": "all"}),
        ("local_face", {"width": 6}),
        ("local_face", {"pooling": "mean"}),
        ("landmarks", {"margin": 9.0}),
        ("landmarks", {"tap": "own"}),
    ):
        with pytest.raises(ConfigError, match=f"features.{feature}.{next(iter(wrong))}"):
            extractor_config(feature, **specs, overrides=wrong)


# -- loading


@pytest.mark.parametrize(("fault", "code"), FAULTS)
def test_a_spoilt_file_is_refused(fault, code, made, tmp_path):
    assert_refused(fault, code, made, NAME, None, "emonet", build, tmp_path)


def test_counters_may_be_missing_and_nothing_else(tmp_path, vectors):
    folder = folder_of(make_emonet(tmp_path, counters=False, **TINY), "emonet")
    media = clip(1)
    np.testing.assert_array_equal(build(folder).extract(media), vectors.extract(media))


def test_five_classes_load_and_have_no_affect(tmp_path):
    folder = folder_of(make_emonet(tmp_path, classes=5, **TINY), "emonet")
    assert build(folder).describe()["classes"] == "5 of another list"
    with pytest.raises(ModelRefusedError, match="5 classes"):
        build(folder, output="vector_affect").load()


def test_two_checkpoints_in_one_entry_are_refused(tmp_path):
    make_emonet(tmp_path, **TINY)
    folder = folder_of(make_emonet(tmp_path, classes=5, **TINY), "emonet")
    with pytest.raises(ModelRefusedError, match="exactly one"):
        build(folder).load()


def test_another_width_is_refused_by_shape(made):
    with pytest.raises(ModelRefusedError, match="width is 256") as caught:
        build(folder_of(made, "emonet"), width=256).load()
    assert caught.value.code == "E-MODEL-SHAPE"
