"""Checkpoints in the layout of HPMDubbing's released code: strict, and the same numbers."""

from dataclasses import replace

import pytest
import torch

from redub.core.errors import ModelRefusedError
from redub.core.types import AudioSpec
from redub.model.batch import FeatureWidths
from redub.model.systems.hpm_dubbing import HPMDubbing, HPMDubbingConfig, paper_for_v2c
from redub.model.systems.public_hpm import NEVER, check_complete, hpm_from_public, widths_of_public
from tests.model.published_hpm import PublishedHPM

SCENE = 7


def made(*, scene, seed=0):
    """A published model of random weights, and its checkpoint's table."""
    torch.manual_seed(seed)
    model = PublishedHPM(scene=SCENE if scene else 0)
    for value in model.parameters():
        if value.dim() == 1 and value.requires_grad:
            torch.nn.init.normal_(value, std=0.3)
    for name, value in model.named_buffers():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif name.endswith("running_mean"):
            value.normal_()
    table = {}
    for name, value in model.state_dict().items():  # the names of weight norm were others then
        name = name.replace("parametrizations.weight.original0", "weight_g")
        name = name.replace("parametrizations.weight.original1", "weight_v")
        table[f"module.{name}"] = value.clone()
    return model.eval(), table


def loaded(table, *, scene):
    config, weights = hpm_from_public(table)
    found = widths_of_public(weights)
    widths = FeatureWidths(
        sound=AudioSpec(mel_channels=12), scene=SCENE if scene else 1, face=1, text=1, audio=1,
        **found,
    )  # fmt: skip
    model = HPMDubbing(config, widths)
    check_complete(model, weights)
    return model.eval()


@pytest.mark.parametrize("scene", [False, True])
def test_a_published_checkpoint_says_what_the_published_model_says(scene, make_batch):
    published, table = made(scene=scene)
    ours = loaded(table, scene=scene)
    batch = make_batch(video_frames=(6, 6), phonemes=(7, 5)).without_recording()
    torch.manual_seed(3)
    lips, face, speaker = torch.randn(2, 6, 16), torch.randn(2, 6, 6), torch.randn(2, 32)
    scenes = torch.randn(2, SCENE)
    words = torch.randint(2, 88, batch.phonemes.shape) * batch.phonemes_valid
    wanted = published(
        (words - 1).clamp(min=0), ~batch.phonemes_valid, lips, ~batch.lips_valid, face, speaker,
        scenes if scene else None,
    )  # fmt: skip
    found = ours(
        batch._replace(
            phonemes=words, lips=lips, local_face=face, speaker=speaker,
            local_face_valid=torch.ones(2, 6, dtype=torch.bool),
            modalities=(scenes, *batch.modalities[1:]),
        )
    )  # fmt: skip
    mel, mel_post, pitch, energy, by_pictures, by_frames, emotion = wanted
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(found.prosody.pitch, pitch, **close)
    torch.testing.assert_close(found.prosody.energy, energy, **close)
    torch.testing.assert_close(found.mel, mel, **close)
    torch.testing.assert_close(found.mel_post, mel_post, **close)
    for (logits, _), theirs in zip(found.ctc, (by_pictures, by_frames), strict=True):
        torch.testing.assert_close(logits[..., 0], theirs[..., 0], **close)  # the blank
        torch.testing.assert_close(logits[..., 2:], theirs[..., 1:], **close)
        assert set(logits[..., 1].flatten().tolist()) == {NEVER}
    if scene:
        torch.testing.assert_close(found.emotion_logits, emotion, **close)


def test_the_sizes_are_read_off_and_the_heads_are_the_published_ones():
    chem, _ = hpm_from_public(made(scene=False)[1])
    v2c, _ = hpm_from_public(made(scene=True)[1])
    assert (chem.width, chem.lip_width, chem.filter_width, chem.kernel) == (32, 16, 24, 3)
    assert (chem.text_layers, chem.lip_layers, chem.decoder_layers) == (2, 2, 2)
    assert (chem.text_heads, chem.decoder_heads, chem.scene) == (8, 8, False)
    assert (v2c.text_heads, v2c.decoder_heads, v2c.scene) == (2, 2, True)
    assert chem.voicing is False


def put(table, name, value):
    table[f"module.{name}"] = value


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("module.APA.W.weight"), r"no tensor 'APA\.W\.weight'"),
        (lambda t: t.update({"module.more": torch.zeros(1)}), r"not HPMDubbing's: more"),
        (lambda t: t["module.mel_linear.weight"].fill_(float("nan")), "NaN"),
        (lambda t: t["module.decoder.position_enc"].mul_(2), "table of positions"),
        (lambda t: t.update({"module.APA.bo": torch.zeros(5)}), "size mismatch"),
        (lambda t: t.clear(), "no tensor"),
        (lambda t: put(t, "MDA.encoder.layer_stack.0.pos_ffn.w_1.weight", torch.zeros(4)), "shape"),
        (lambda t: put(t, "MDA.lip_encoder.fc_out.weight", torch.zeros(4)), "shape"),
        (lambda t: put(t, "APA.pitch_embedding.weight", torch.tensor(1.0)), "shape"),
        (lambda t: put(t, "MDA.attn.in_proj_weight", torch.zeros(2, 32)), "shape"),
        (lambda t: put(t, "MDA.attn.in_proj_weight", torch.tensor(1.0)), "shape"),
        (lambda t: put(t, "MDA.encoder.src_word_emb.weight", torch.tensor(1.0)), "shape"),
        (lambda t: put(t, "postnet.convolutions.0.0.conv.weight", torch.zeros(8, 12, 4)), "odd"),
        (lambda t: put(t, "decoder.position_enc", torch.tensor(1.0)), "table of positions"),
        (lambda t: put(t, "decoder.position_enc", torch.zeros(1, 0, 2)), "table of positions"),
        (
            lambda t: put(t, "decoder.position_enc", t["module.MDA.lip_encoder.position_enc"]),
            "table of positions",
        ),
        (lambda t: t.update({"mel_linear.weight": torch.zeros(12, 32)}), "with and without"),
        (lambda t: put(t, "APA.bo", torch.zeros(32, dtype=torch.complex64)), "plain floats"),
        (lambda t: put(t, "APA.bo", torch.zeros(32, dtype=torch.bool)), "plain floats"),
        (lambda t: put(t, "APA.bo", torch.zeros(32).to_sparse()), "plain floats"),
        (lambda t: put(t, "APA.bo", torch.zeros(32, device="meta")), "no values"),
        (lambda t: t["module.postnet.convolutions.0.1.running_var"].neg_(), "negative"),
        (lambda t: put(t, "APA.pitch_bins", t["module.APA.pitch_bins"].flip(0)), "ascend"),
    ],
)
def test_what_does_not_fit_is_refused(change, said):
    table = made(scene=False)[1]
    change(table)
    with pytest.raises(ModelRefusedError, match=said) as raised:
        loaded(table, scene=False)
    assert raised.value.code == "E-MODEL-KEYS"


def test_published_sizes_have_the_published_parameters():
    wide = FeatureWidths(
        sound=AudioSpec(), lips=512, speaker=256, scene=256, face=1, text=1, audio=1, local_face=256
    )
    with torch.device("meta"):
        chem = HPMDubbing(replace(HPMDubbingConfig(), voicing=False), wide)
        v2c = HPMDubbing(replace(paper_for_v2c(), voicing=False), wide)
    # Theirs counts tables of positions, a table of words for the lips, and of an attention with one
    # thing to look at, queries and keys; without a scene a layer that nothing asks.
    more = 1001 * (256 + 512 + 256) + 88 * 512 + 2 * (256 * 256 + 256)
    for model, published, idle in ((chem, 86.93e6, 512 * 256), (v2c, 68.89e6, 0)):
        found = sum(value.numel() for value in model.parameters())
        assert abs(found + more + idle - published) < 1e4, found
