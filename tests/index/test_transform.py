import io

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from redub.core.errors import ConfigError, IntegrityError
from redub.core.registry import load
from redub.index.transform import (
    TRANSFORMS,
    Chain,
    Halves,
    fit_chain,
    fit_for_search,
    fitted_digest,
    said_of,
)
from redub.index.transform_steps import CLIP_AT, DiscriminantAxes, SpeakerZScore, Whiten

RNG = np.random.default_rng(7)
PEOPLE = ["ann", "bob", "cy"] * 30
LABELS = ["angry"] * 30 + ["happy"] * 30 + ["sad"] * 30
OFFSETS = {"ann": 5.0, "bob": -3.0, "cy": 40.0}


def corpus() -> np.ndarray:
    """Emotion lives in two weak dimensions, the speaker in large offsets on all of them."""
    emotion = {"angry": (3.0, 0.0), "happy": (0.0, 3.0), "sad": (-3.0, -3.0)}
    rows = RNG.normal(0.0, 1.0, (90, 12))
    rows[:, :2] += [emotion[label] for label in LABELS]
    rows[:, 2:] *= 4.0
    return rows + np.array([OFFSETS[who] for who in PEOPLE])[:, None]


VECTORS = corpus()


def precision(vectors: np.ndarray, rows: slice = slice(None)) -> float:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = unit @ unit.T
    who, emotion = np.array(PEOPLE), np.array(LABELS)
    likeness[who[:, None] == who] = -np.inf
    nearest = np.argsort(-likeness, axis=1)[:, :3]
    return float((emotion[nearest] == emotion[:, None]).mean(axis=1)[rows].mean())


def test_zscore_of_a_speaker_in_closed_form():
    # ann says 0 and 4, bob 10 and 14: means 2 and 12, variance 4 within each. The means vary by 25,
    # 4 / 2 by chance: 23. Trust is 2·23 / (2·23 + 4) = 0.92, so ann's mean is drawn from 2
    # to 0.92·2 + 0.08·7 = 2.4; all clips together have mean 7 and variance 29.
    fitted = SpeakerZScore.fit(
        np.array([[0.0], [4.0], [10.0], [14.0]]), ["ann", "ann", "bob", "bob"]
    )
    assert fitted.apply(np.array([[4.0]]), ["ann"])[0, 0] == pytest.approx((4.0 - 2.4) / 2.0)
    assert fitted.apply(np.array([[14.0]]), ["new"])[0, 0] == pytest.approx(7 / np.sqrt(29))


def test_a_speaker_of_one_clip_borrows_the_spread_of_others():
    fitted = SpeakerZScore.fit(np.append(VECTORS, [VECTORS[0] + 9.0], axis=0), [*PEOPLE, "dora"])
    scores = fitted.apply(VECTORS[:1] + 12.0, ["dora"])
    assert np.isfinite(scores).all()
    assert 0.5 < np.abs(scores).mean() < CLIP_AT


def test_zscore_takes_the_speaker_out():
    scores = SpeakerZScore.fit(VECTORS, PEOPLE).apply(VECTORS, PEOPLE)
    means = [scores[np.array(PEOPLE) == who].mean() for who in OFFSETS]
    assert np.ptp(means) < 0.4  # it was 43 before
    assert precision(scores) > precision(VECTORS) + 0.1


def test_an_outlier_is_cut_off():
    fitted = SpeakerZScore.fit(VECTORS, PEOPLE)
    assert fitted.apply(np.full((1, 12), 1e9), ["ann"]).max() == CLIP_AT


def test_a_dimension_that_never_varies_comes_out_zero():
    still = np.concatenate([VECTORS, np.full((90, 1), 3.0), np.zeros((90, 1))], axis=1)
    scores = SpeakerZScore.fit(still, PEOPLE).apply(still, PEOPLE)
    assert not scores[:, 12:].any()
    for name in ("whiten", "lda"):
        moved = fit_chain((name,), still, PEOPLE, LABELS).apply(still, PEOPLE)
        assert np.isfinite(moved).all()


def test_full_whitening_makes_the_covariance_the_identity():
    white = Whiten.fit(VECTORS, PEOPLE, width=12, shrinkage=0.0).apply(VECTORS, PEOPLE)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(12), atol=1e-4)


def test_shrunk_whitening_leaves_the_variance_that_its_formula_says():
    # v becomes v / (v + 3 · mean v): strong axes come near 1, weak ones stay weak.
    white = Whiten.fit(VECTORS, PEOPLE, width=12, shrinkage=3.0).apply(VECTORS, PEOPLE)
    before = np.linalg.eigvalsh(np.cov(VECTORS.T, bias=True))[::-1]
    wanted = before / (before + 3.0 * before.mean())
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.diag(wanted), atol=1e-4)


def test_whitening_keeps_the_strongest_axes_in_order():
    spread = RNG.normal(0, 1, (200, 4)) * [1.0, 10.0, 0.1, 5.0]
    matrix = Whiten.fit(spread, ["x"] * 200, width=2, shrinkage=0.0).matrix
    assert np.abs(matrix).argmax(axis=0).tolist() == [1, 3]
    assert (matrix[np.abs(matrix).argmax(axis=0), [0, 1]] > 0).all()  # the sign is fixed


def test_lda_spans_the_axes_of_scikit_learn():
    mine = DiscriminantAxes.fit(VECTORS, PEOPLE, LABELS, shrinkage=1e-9).apply(VECTORS, PEOPLE)
    theirs = LinearDiscriminantAnalysis(solver="eigen").fit_transform(VECTORS, LABELS)
    for axis in range(2):
        assert abs(np.corrcoef(mine[:, axis], theirs[:, axis])[0, 1]) > 0.9999


def test_lda_fitted_on_others_helps_the_speaker_it_never_saw():
    held_out = np.array(PEOPLE) == "cy"
    hidden = ["" if out else label for out, label in zip(held_out, LABELS, strict=True)]
    chain = fit_chain(("speaker_zscore", "lda"), VECTORS, PEOPLE, hidden)
    plain = fit_chain(("speaker_zscore",), VECTORS, PEOPLE).apply(VECTORS, PEOPLE)
    found = precision(chain.apply(VECTORS, PEOPLE), held_out)
    assert found > 0.85
    assert found > precision(plain, held_out) + 0.1


def test_hidden_labels_are_never_looked_at():
    half = [label if k % 2 else "" for k, label in enumerate(LABELS)]
    kept = np.array([bool(label) for label in half])
    seen = [label for label in half if label]
    names = [who for who, keep in zip(PEOPLE, kept, strict=True) if keep]
    with_hidden = DiscriminantAxes.fit(VECTORS, PEOPLE, half)
    alone = DiscriminantAxes.fit(VECTORS[kept], names, seen)
    np.testing.assert_allclose(with_hidden.matrix, alone.matrix)


def test_labels_do_not_reach_the_other_transforms():
    for name in ("identity", "speaker_zscore", "whiten"):
        with_labels = fit_chain((name,), VECTORS, PEOPLE, LABELS).apply(VECTORS, PEOPLE)
        assert np.array_equal(
            with_labels, fit_chain((name,), VECTORS, PEOPLE).apply(VECTORS, PEOPLE)
        )


@pytest.mark.parametrize(
    "names", [(), ("identity",), ("speaker_zscore", "whiten"), ("speaker_zscore", "lda")]
)
def test_a_chain_survives_storage_without_pickle(names):
    chain = fit_chain(names, VECTORS, PEOPLE, LABELS, settings={"whiten": {"width": 5}})
    file = io.BytesIO()
    np.savez(file, **chain.to_arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        again = Chain.from_arrays(dict(stored))
    people = ["stranger", *PEOPLE[1:]]
    assert np.array_equal(again.apply(VECTORS, people), chain.apply(VECTORS, people))
    assert [step.name for step in again.steps] == [step.name for step in chain.steps]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_row_alone_is_the_row_among_others(name):
    chain = fit_chain((name,), VECTORS, PEOPLE, LABELS)
    together = chain.apply(VECTORS, PEOPLE)
    assert together.dtype == np.float32
    for row in (0, 41, 89):
        alone = chain.apply(VECTORS[row : row + 1], PEOPLE[row : row + 1])
        assert np.array_equal(alone[0], together[row])


def test_every_name_is_the_name_of_its_class():
    for name in TRANSFORMS:
        assert load(TRANSFORMS, name, kind="transform").name == name


@pytest.mark.parametrize(
    ("names", "labels", "code"),
    [
        (("lda",), (), "E-INDEX-LABELS"),
        (("lda",), ("sad",) * 90, "E-INDEX-LABELS"),
        (("whitten",), (), "E-CFG-NAME"),
    ],
)
def test_a_chain_that_cannot_be_fitted_says_why(names, labels, code):
    with pytest.raises(ConfigError) as refusal:
        fit_chain(names, VECTORS, PEOPLE, labels)
    assert refusal.value.code == code


def test_vectors_of_another_width_or_with_nan_are_refused():
    chain = fit_chain(("speaker_zscore",), VECTORS, PEOPLE)
    with pytest.raises(ConfigError, match="width 3, fitted for 12"):
        chain.apply(np.zeros((1, 3)), ["ann"])
    with pytest.raises(ConfigError, match="not finite"):
        chain.apply(np.full((1, 12), np.nan), ["ann"])
    with pytest.raises(ConfigError, match="one row each"):
        chain.apply(np.zeros((2, 12)), ["ann"])


def test_a_stored_chain_with_a_missing_array_is_refused():
    stored = fit_chain(("whiten",), VECTORS, PEOPLE).to_arrays()
    del stored["0.matrix"]
    with pytest.raises(IntegrityError, match="lacks 'matrix'"):
        Chain.from_arrays(stored)


# -- halves


@pytest.mark.parametrize("name", ["identity", "speaker_zscore", "whiten", "lda"])
def test_each_half_is_what_it_would_be_alone(name):
    whole = fit_for_search(name, VECTORS, PEOPLE, LABELS, halves=True).apply(VECTORS, PEOPLE)
    for place, half in enumerate(np.split(VECTORS, 2, axis=1)):
        alone = fit_chain((name,), half, PEOPLE, LABELS).apply(half, PEOPLE)
        np.testing.assert_allclose(np.split(whole, 2, axis=1)[place], alone, atol=1e-6)


def test_the_narrower_half_is_filled_with_zeros():
    flat = VECTORS.copy()
    flat[:, 7:] = 0.0
    flat[:, 6] += 1000.0  # one dimension that varies, never zero
    moved = Halves.fit(flat, PEOPLE, names=("whiten",)).apply(flat, PEOPLE)
    assert moved.shape == (90, 12)
    assert moved[:, 6].any()
    assert not moved[:, 7:].any()


def test_a_half_that_says_nothing_is_not_fitted_on_and_stays_zero():
    silent = VECTORS.copy()
    silent[::3, 6:] = 0.0
    fitted = Halves.fit(silent, PEOPLE, LABELS, names=("whiten",))
    moved = fitted.apply(silent, PEOPLE)
    assert not moved[::3, 6:].any()
    said = np.arange(90) % 3 > 0
    people = [who for who, is_said in zip(PEOPLE, said, strict=True) if is_said]
    alone = Whiten.fit(VECTORS[said, 6:], people).apply(VECTORS[said, 6:], people)
    np.testing.assert_allclose(moved[said, 6:], alone, atol=1e-6)
    silent[:, 6:] = 0.0
    assert not Halves.fit(silent, PEOPLE, names=("whiten",)).apply(silent, PEOPLE)[:, 6:].any()


def test_halves_of_an_odd_width_are_refused():
    with pytest.raises(ConfigError, match="odd"):
        Halves.fit(VECTORS[:, :11], PEOPLE)


def test_halves_survive_storage_and_say_what_they_are():
    chain = fit_for_search("speaker_zscore", VECTORS, PEOPLE, halves=True)
    again = Chain.from_arrays(chain.to_arrays())
    assert np.array_equal(again.apply(VECTORS, PEOPLE), chain.apply(VECTORS, PEOPLE))
    assert said_of(again) == "speaker_zscore of each half"
    assert said_of(fit_chain(("speaker_zscore", "whiten"), VECTORS, PEOPLE)) == (
        "speaker_zscore, whiten"
    )


def test_a_digest_is_of_what_was_fitted():
    one, same, moved = (
        fit_chain(("whiten",), vectors, PEOPLE) for vectors in (VECTORS, VECTORS, VECTORS + 1e-9)
    )
    assert fitted_digest(one) == fitted_digest(same)
    assert fitted_digest(one) == fitted_digest(Chain.from_arrays(one.to_arrays()))
    assert fitted_digest(one) != fitted_digest(moved)
    assert fitted_digest(one) != fitted_digest(fit_chain(("identity",), VECTORS, PEOPLE))
