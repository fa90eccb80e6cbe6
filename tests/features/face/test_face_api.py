"""face-api's real networks against plain numpy, and their file format by hand."""

import itertools
import json

import numpy as np
import pytest

from redub.core.errors import ConfigError, FeatureAbsent, ModelRefusedError
from redub.features.models.face_api.extractor import (
    KIND,
    LABELS,
    MODEL,
    ExpressionConfig,
    ExpressionFrames,
    ExpressionFramesConfig,
    ExpressionOfClip,
    summary,
)
from redub.features.models.face_api.landmarks import MODEL as LANDMARK_MODEL
from redub.features.models.face_api.landmarks import FaceApiLandmarkConfig, FaceApiLandmarks
from redub.features.models.face_api.manifest import read_tensors
from tests.features.drawn_faces import draw_face, media_of, talking
from tests.features.paper.ledgers import CPU, folder_of
from tests.packaged import packaged

MANIFEST, BINARY = f"{MODEL}-weights_manifest.json", f"{MODEL}.bin"
PIXELS = 192
BOX = np.array([38, 45, 115, 115, 1], np.float32)  # around the face of `talking`


@pytest.fixture(scope="module")
def weights():
    return packaged(KIND)


def frames_extractor(folder, **settings):
    return ExpressionFrames(ExpressionFramesConfig(**settings), {"model": folder}, CPU)


def clip_extractor(folder, **settings):
    return ExpressionOfClip(ExpressionConfig(**settings), {"model": folder}, CPU)


def media(frames):
    return media_of(frames, face_track=np.tile(BOX, (len(frames), 1)))


# -- the network in numpy: TensorFlow's definition of a convolution, written out


def convolved(x, filters, stride):
    """(H, W, C) with (3, 3, C, D): "same" padding, of which a stride of 2 puts all at the end."""
    before = 1 if stride == 1 else 0
    padded = np.pad(x, ((before, 1), (before, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    return np.einsum("hwcij,ijcd->hwd", windows[::stride, ::stride], filters, optimize=True)


def separable(x, own, block, stride):
    depth = own[f"{block}/depthwise_filter"][..., 0]  # (3, 3, C): one filter for each channel
    spread = depth[..., None] * np.eye(depth.shape[2])
    mixed = convolved(x, spread, stride) @ own[f"{block}/pointwise_filter"][0, 0]
    return mixed + own[f"{block}/bias"]


def outputs_by_numpy(image, own):
    """The 256 numbers and the last layer's of one (112, 112, 3) image."""
    x = (image.astype(np.float64) - (122.782, 117.001, 104.298)) / 255
    for i in range(4):
        if i == 0:
            first = convolved(x, own["dense0/conv0/filters"], 2) + own["dense0/conv0/bias"]
        else:
            first = separable(x, own, f"dense{i}/conv0", 2)
        one = np.maximum(first, 0)
        two = separable(one, own, f"dense{i}/conv1", 1)
        three = separable(np.maximum(one + two, 0), own, f"dense{i}/conv2", 1)
        four = separable(np.maximum(one + two + three, 0), own, f"dense{i}/conv3", 1)
        x = np.maximum(one + two + three + four, 0)
    assert x.shape == (7, 7, 256)
    vector = x.mean(axis=(0, 1))
    return vector, vector @ own["fc/weights"] + own["fc/bias"]


def test_the_network_computes_what_plain_numpy_computes(weights):
    picture = draw_face(size=112, radius=0.4)  # a box of the whole picture is not scaled
    clip = media_of(picture[None], face_track=np.array([[0, 0, 112, 112, 1]], np.float32))
    (row,) = frames_extractor(weights, output="vector_expressions").extract(clip)
    own = {name: v.astype(np.float64) for name, v in read_tensors(weights, MODEL).items()}
    vector, logits = outputs_by_numpy(picture, own)
    assert row[:256] == pytest.approx(vector, abs=1e-4)
    assert row[256:] == pytest.approx(np.exp(logits) / np.exp(logits).sum(), abs=1e-4)


def test_the_binary_is_read_to_its_last_byte(weights):
    tensors = read_tensors(weights, MODEL)
    # By hand: 3·3·3·32 + 32 in the first layer; then 9·C + C·D + D for each separable one.
    widths = [32] * 4 + [64] * 4 + [128] * 4 + [256] * 4
    layers = sum(9 * c + c * d + d for c, d in itertools.pairwise(widths))
    assert sum(v.size for v in tensors.values()) == 27 * 32 + 32 + layers + 256 * 7 + 7


# -- the features


def test_rows_and_vectors_have_the_schemas_shape_and_type(weights):
    clip = media(talking([0.1, 0.5, 0.9], size=PIXELS))
    for extractor, shape in (
        (frames_extractor(weights), (3, 256)),
        (frames_extractor(weights, output="vector_expressions"), (3, 263)),
        (clip_extractor(weights), (14,)),
    ):
        value = extractor.extract(clip)
        assert value.shape == shape
        assert value.dtype == extractor.schema.dtype
        assert extractor.schema.width == shape[-1]
        assert np.isfinite(value).all()


def test_probabilities_of_every_frame_add_up_to_one(weights):
    rows = frames_extractor(weights, output="vector_expressions").extract(
        media(talking([0.0, 0.4, 1.0], smile=[-1.0, 0.0, 1.0], size=PIXELS))
    )
    assert rows[:, 256:].sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert (rows[:, 256:] >= 0).all()
    np.testing.assert_array_equal(
        rows[:, :256],
        frames_extractor(weights).extract(
            media(talking([0.0, 0.4, 1.0], smile=[-1.0, 0.0, 1.0], size=PIXELS))
        ),
    )


def test_a_frame_does_not_depend_on_the_others(weights):
    frames = talking([0.1 * k for k in range(20)], size=PIXELS)  # more than one batch
    extractor = frames_extractor(weights)
    together = extractor.extract(media(frames))
    alone = np.concatenate([extractor.extract(media(frames[k : k + 1])) for k in range(20)])
    assert together == pytest.approx(alone, abs=1e-4)


def test_a_still_face_has_no_spread_and_an_even_answer_is_zero():
    even = summary(np.full((5, 7), 1 / 7, np.float32))
    assert even == pytest.approx(np.zeros(14), abs=1e-6)
    turned = np.eye(7, dtype=np.float32)[[0, 1]]  # neutral, then happy
    found = summary(turned)
    assert found[:3] == pytest.approx([0.5 - 1 / 7, 0.5 - 1 / 7, -1 / 7])
    assert found[7:] == pytest.approx([0.5, 0.5, 0, 0, 0, 0, 0])


def test_the_vector_of_a_clip_is_the_summary_of_its_frames(weights):
    clip = media(talking([0.0, 0.5, 1.0], size=PIXELS))
    rows = frames_extractor(weights, output="vector_expressions").extract(clip)
    mean, spread = rows[:, 256:].mean(axis=0) - 1 / 7, rows[:, 256:].std(axis=0)
    assert clip_extractor(weights).extract(clip) == pytest.approx([*mean, *spread], abs=1e-6)


def test_a_clip_without_frames_has_no_value(weights):
    with pytest.raises(FeatureAbsent) as caught:
        clip_extractor(weights).extract(media_of(None, face_track=BOX[None]))
    assert caught.value.code == "E-FEAT-NOFACE"


@pytest.mark.parametrize("margin", [-0.1, 2.1])
@pytest.mark.parametrize(
    "config", [ExpressionConfig, ExpressionFramesConfig, FaceApiLandmarkConfig]
)
def test_margins_out_of_range_are_refused(config, margin):
    with pytest.raises(ConfigError, match="margin"):
        config(margin=margin)


def test_the_network_names_its_classes(weights):
    said = clip_extractor(weights).describe()
    assert said["classes"] == ", ".join(LABELS)
    assert said["parameters"] == "0.32 M"


# -- the landmarks


def landmarks(folder, frames, box=BOX, **settings):
    extractor = FaceApiLandmarks(FaceApiLandmarkConfig(**settings), {"model": folder}, CPU)
    track = np.tile(np.asarray(box, np.float32), (len(frames), 1))
    rows = extractor.extract(media_of(frames, face_track=track))
    assert rows.shape == (len(frames), extractor.schema.width)
    assert rows.dtype == extractor.schema.dtype
    return rows.reshape(len(frames), 68, 2)


def test_landmarks_are_what_plain_numpy_computes_in_pixels_of_the_frame(weights):
    picture = draw_face(size=112, radius=0.4)
    own = {n: v.astype(np.float64) for n, v in read_tensors(weights, LANDMARK_MODEL).items()}
    _, fractions = outputs_by_numpy(picture, own)
    frame = np.zeros((200, 200, 3), np.uint8)
    frame[30:142, 50:162] = picture
    (found,) = landmarks(weights, frame[None], box=[50, 30, 112, 112, 1], margin=0.0)
    assert found == pytest.approx(112 * fractions.reshape(68, 2) + (50, 30), abs=0.05)


def test_landmarks_of_a_drawn_face_lie_in_the_places_of_its_parts(weights):
    (found,) = landmarks(weights, talking([0.3], size=PIXELS))
    parts = {"brows": slice(17, 27), "eyes": slice(36, 48), "nose": slice(31, 36),
             "mouth": slice(48, 68), "chin": slice(8, 9)}  # fmt: skip
    heights = [found[part, 1].mean() for part in parts.values()]
    assert heights == sorted(heights)
    right_eye, left_eye = found[36:42, 0].mean(), found[42:48, 0].mean()
    assert right_eye < found[30, 0] < left_eye  # the person's right is on the left
    assert (np.diff(found[:17, 0]) > 0).all()  # the jaw, from one ear to the other


def test_landmarks_move_with_the_picture(weights):
    frame = talking([0.3], size=PIXELS)
    (before,) = landmarks(weights, frame)
    moved = np.roll(frame, (6, 10), axis=(1, 2))
    (after,) = landmarks(weights, moved, box=BOX + np.array([10, 6, 0, 0, 0], np.float32))
    assert after - before == pytest.approx(np.tile([10.0, 6.0], (68, 1)), abs=0.2)


def test_a_landmark_of_one_frame_does_not_depend_on_the_others(weights):
    frames = talking([0.1 * k for k in range(18)], size=PIXELS)  # more than one batch
    together = landmarks(weights, frames)
    alone = np.concatenate([landmarks(weights, frames[k : k + 1]) for k in range(18)])
    assert together == pytest.approx(alone, abs=0.01)


# -- the files


def made(folder, entries, data):
    groups = [{"paths": [BINARY], "weights": entries}]
    (folder / MANIFEST).write_text(json.dumps(groups))
    (folder / BINARY).write_bytes(data)
    return folder_of(folder, KIND)


PACKED = {
    "name": "a",
    "shape": [2, 2],
    "dtype": "float32",
    "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0},
}
PLAIN = {"name": "b", "shape": [2], "dtype": "float32"}
DATA = bytes([0, 1, 2, 255]) + np.array([1.5, -2.0], "<f4").tobytes()


def test_packed_bytes_are_scaled_and_plain_numbers_are_not(tmp_path):
    tensors = read_tensors(made(tmp_path, [PACKED, PLAIN], DATA), MODEL)
    assert tensors["a"].tolist() == [[-1.0, -0.5], [0.0, 126.5]]
    assert tensors["b"].tolist() == [1.5, -2.0]
    assert {v.dtype for v in tensors.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("entries", "data"),
    [
        ([PACKED, PLAIN], DATA[:-1]),
        ([PACKED, PLAIN], DATA + b"\0"),
        ([PACKED], DATA),
        ([PACKED, PLAIN], b""),
        ([{**PLAIN, "dtype": "int32"}, PACKED], DATA),
        ([{**PACKED, "quantization": {"dtype": "uint16", "scale": 1, "min": 0}}], DATA[:4]),
        ([{**PACKED, "quantization": {"dtype": "uint8"}}], DATA[:4]),
        ([{**PACKED, "shape": [-1, 4]}], DATA[:4]),
        ([{**PACKED, "shape": "2"}], DATA[:4]),
        ([{**PACKED, "shape": [10**30]}], DATA[:4]),
        ([{"name": "c"}], DATA),
        ([7], DATA),
        ([{**PLAIN, "name": "n"}, PACKED], np.array([np.nan, 1], "<f4").tobytes() + DATA[:4]),
    ],
)
def test_files_that_do_not_fit_together_are_refused(tmp_path, entries, data):
    with pytest.raises(ModelRefusedError, match="weights get face_api") as caught:
        read_tensors(made(tmp_path, entries, data), MODEL)
    assert caught.value.code == "E-MODEL-FILE"


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "{}", "null", '[{"weights": null}]'])
def test_a_manifest_of_another_form_is_refused(tmp_path, text):
    folder = made(tmp_path, [PACKED, PLAIN], DATA)
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ModelRefusedError) as caught:
        read_tensors(folder, MODEL)
    assert caught.value.code == "E-MODEL-FILE"


def test_another_network_is_refused(weights, tmp_path):
    for own, other in ((MANIFEST, MANIFEST), (BINARY, BINARY)):
        source = other.replace("face_expression_model", "face_landmark_68_model")
        (tmp_path / own).write_bytes(weights.file(source).read_bytes())
    with pytest.raises(ModelRefusedError, match="face_api") as caught:
        frames_extractor(folder_of(tmp_path, KIND)).extract(media(talking([0.1])))
    assert caught.value.code == "E-MODEL-SHAPE"  # the last layer gives 136 numbers, not 7
