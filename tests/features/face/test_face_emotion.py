import numpy as np
import pytest

from redub.core.errors import FeatureAbsent
from redub.core.types import VideoSpec
from redub.features.face.caption import FaceCaptionConfig, FaceCaptionExtractor
from redub.features.face.emotion import DIMENSIONS, FaceEmotionConfig, FaceEmotionExtractor
from redub.features.face.track import FaceTrackConfig, FaceTrackExtractor
from redub.features.mouth.crop import MouthCropConfig, MouthCropExtractor
from redub.features.text.emotion_lexicon import emotion_scores
from tests.features.drawn_faces import media_of, talking

TRACK = FaceTrackExtractor(FaceTrackConfig())
MOUTHS = MouthCropExtractor(MouthCropConfig())
CAPTIONS = FaceCaptionExtractor(FaceCaptionConfig(video=VideoSpec()))
EXTRACTOR = FaceEmotionExtractor(FaceEmotionConfig(video=VideoSpec()))

EXPRESSIONS = {
    "happy": {"smile": 1.0},
    "sad": {"smile": -0.9, "frown": -1.0},
    "angry": {"smile": -0.7, "frown": 1.0, "brow_lift": -0.3},
    "surprised": {"brow_lift": 1.0},
}
ACTORS = (
    {"skin": (224, 180, 150)},
    {"skin": (150, 105, 80), "radius": 0.26},
    {"skin": (245, 210, 185), "background": (40, 60, 50), "centre": (0.45, 0.52)},
)


def media(seed, **settings):
    rng = np.random.default_rng(seed)
    openings = np.clip(
        0.35 + 0.3 * np.sin(np.arange(12) * 0.8 + seed) + rng.normal(0, 0.05, 12), 0, 1
    )
    frames = talking(openings, **settings)
    track = TRACK.extract(media_of(frames))
    mouths = MOUTHS.extract(media_of(frames, face_track=track))
    known = {"face_track": track, "mouth_crop": mouths}
    known["face_caption"] = CAPTIONS.extract(media_of(frames, **known))
    return media_of(frames, **known)


def vector(seed, **settings):
    return EXTRACTOR.extract(media(seed, **settings))


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_width_type_and_names_agree():
    values = vector(0)
    assert values.shape == (EXTRACTOR.schema.width,) == (len(DIMENSIONS),)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert np.linalg.norm(values) > 0.5
    assert len(set(DIMENSIONS)) == len(DIMENSIONS)


def test_a_face_finds_its_expression_on_other_actors():
    gallery = {
        (name, i): vector(i, **look, **actor)
        for name, look in EXPRESSIONS.items()
        for i, actor in enumerate(ACTORS)
    }
    right = 0
    for (name, i), query in gallery.items():
        others = {key: v for key, v in gallery.items() if key[1] != i}
        right += max(others, key=lambda key, q=query, o=others: cosine(q, o[key]))[0] == name
    assert right >= 11  # of 12; chance is 3


def test_the_words_entries_are_the_captions_scores_centred():
    clip = media(0)
    expected = emotion_scores(clip.features["face_caption"]) - 1 / 8
    np.testing.assert_allclose(EXTRACTOR.extract(clip)[:8], expected, atol=1e-6)


def test_weights_scale_their_own_part():
    clip = media(0)
    plain = EXTRACTOR.extract(clip)
    weighted = FaceEmotionExtractor(
        FaceEmotionConfig(video=VideoSpec(), word_weight=2.0, edge_weight=6.0)
    ).extract(clip)
    ratio = weighted[np.abs(plain) > 1e-3] / plain[np.abs(plain) > 1e-3]
    kinds = np.where(np.arange(len(plain)) < 8, 2.0, 1.0)
    kinds[len(plain) - 96 :] = 3.0
    np.testing.assert_allclose(ratio, kinds[np.abs(plain) > 1e-3], rtol=1e-4)


def test_a_mirrored_face_feels_the_same():
    clip = media(1, smile=0.8)
    mirrored = np.ascontiguousarray(clip.frames[:, :, ::-1])
    track = TRACK.extract(media_of(mirrored))
    mouths = MOUTHS.extract(media_of(mirrored, face_track=track))
    known = {
        "face_track": track,
        "mouth_crop": mouths,
        "face_caption": clip.features["face_caption"],
    }
    assert cosine(EXTRACTOR.extract(media_of(mirrored, **known)), EXTRACTOR.extract(clip)) > 0.9


def test_one_frame_is_enough():
    clip = media(0)
    first = {k: v if isinstance(v, str) else v[:1] for k, v in clip.features.items()}
    values = EXTRACTOR.extract(media_of(clip.frames[:1], **first))
    assert np.isfinite(values).all()
    assert np.linalg.norm(values) > 0.5


def test_a_clip_without_picture_has_no_vector():
    with pytest.raises(FeatureAbsent):
        EXTRACTOR.extract(media_of(None))
