import gc
import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional

from redub.core.errors import ConfigError, FeatureAbsent, ModelRefusedError
from redub.core.types import AudioSpec, VideoSpec
from redub.features.models import shared_networks
from redub.features.models.videollama2.checkpoint import NORMAL, TOWERS, VideoLlama2Plan, read_plan
from redub.features.models.videollama2.connector import ConvNorm, StcConnector
from redub.features.models.videollama2.extractor import (
    VideoLlama2FaceCaption,
    VideoLlama2FaceConfig,
    VideoLlama2SceneCaption,
    VideoLlama2SceneConfig,
)
from redub.features.models.videollama2.network import (
    KEY_MAPPING,
    MARK,
    SYSTEM,
    language_config,
    model_class,
)
from redub.features.picture.caption_frames import face_square, square_images, uniform_frames
from redub.features.registry import PROFILES, extractor_class, extractor_config
from redub.features.runtime import Runtime
from redub.features.weights.offline import quiet_transformers
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.store.weights import add_weights
from redub.pipeline.work.executor import Scheduler
from tests.features.drawn_faces import media_of
from tests.features.paper.chat_tokenizers import OLD_MISTRAL, write_json
from tests.features.paper.ledgers import CPU, Payload, folder_of
from tests.features.paper.videollama2_files import (
    FAMILIES,
    WIDTH,
    all_shapes,
    connector_shapes,
    make_videollama2,
    random_state,
    save_shards,
)
from tests.pipeline.films import make_project

transformers = quiet_transformers()
CLIP = np.random.default_rng(0).integers(0, 256, (30, 90, 160, 3), dtype=np.uint8)
TOKENS = {"7B": 845, "7B-16F": 1521, "2.1-7B-16F": 1352}  # 5·13·13, 9·13·13, 8·13·13


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("videollama2")
    return {family: make_videollama2(root / family, family=family) for family in FAMILIES}


def scene(folder, **settings):
    settings = {"dtype": "float32", "max_new_tokens": 6, **settings}
    weights = {"model": folder_of(folder, "videollama2")}
    return VideoLlama2SceneCaption(VideoLlama2SceneConfig(**settings), weights, CPU)


def face(folder, **settings):
    settings = {"dtype": "float32", "max_new_tokens": 6, **settings}
    weights = {"model": folder_of(folder, "videollama2")}
    return VideoLlama2FaceCaption(VideoLlama2FaceConfig(**settings), weights, CPU)


@pytest.fixture(scope="module")
def scenes(folders):
    return {family: scene(folder) for family, folder in folders.items()}


def tensors_of(folder):
    state = {}
    for shard in sorted(folder.glob("*.safetensors")):
        state |= load_file(shard)
    return state


def first_logits(extractor, clips):
    network = extractor.network
    with torch.inference_mode():
        prompts = network.prompts(extractor.config.prompt, clips)
        return network.model(inputs_embeds=prompts).logits[:, -1]


# -- images


@pytest.mark.parametrize(
    ("count", "wanted", "frames"),
    [
        (100, 8, [6, 19, 31, 43, 56, 68, 80, 93]),  # public code, run once
        (3, 8, [0, 0, 1, 1, 1, 1, 2, 2]),
        (1, 4, [0, 0, 0, 0]),
        (2, 2, [0, 1]),  # middles 0.25 and 0.75
        (9, 4, [1, 3, 5, 7]),
        (5, 4, [1, 2, 3, 4]),  # 0.5, 1.5, 2.5, 3.5: halves go up, also where round() would not
    ],
)
def test_frames_are_the_middles_of_equal_stretches(count, wanted, frames):
    assert uniform_frames(count, wanted) == frames


@pytest.mark.parametrize("shape", [(90, 160), (160, 90), (384, 216), (101, 101), (337, 500)])
@pytest.mark.parametrize("tower", ["clip", "siglip"])
def test_pictures_are_those_of_the_librarys_processor(shape, tower):
    frame = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    side = {"clip": 336, "siglip": 384}[tower]
    if tower == "clip":
        size, cut = {"shortest_edge": side}, {"height": side, "width": side}
        processor = transformers.CLIPImageProcessorPil(size=size, crop_size=cut)
    else:
        processor = transformers.SiglipImageProcessorPil(
            size={"height": side, "width": side}, resample=3
        )
        processor.image_mean = processor.image_std = [0.5, 0.5, 0.5]
    wanted = processor.preprocess([Image.fromarray(frame)], return_tensors="np")["pixel_values"][0]
    [mine] = square_images(
        [frame], side, aspect="crop" if tower == "clip" else "squash", bars=(0, 0, 0)
    )
    mean, spread = (np.array(values) for values in NORMAL[tower])
    normal = ((mine / 255 - mean) / spread).transpose(2, 0, 1)
    np.testing.assert_allclose(normal, wanted, atol=2e-6)


@pytest.mark.parametrize(("high", "wide"), [(90, 160), (160, 90)])
def test_padding_keeps_the_whole_picture_and_puts_bars_on_the_short_sides(high, wide):
    frame = np.full((high, wide, 3), (200, 10, 30), dtype=np.uint8)
    [padded] = square_images([frame], 160, aspect="pad", bars=(122, 116, 104))
    if high > wide:
        padded = padded.transpose(1, 0, 2)
    assert (padded[:35] == (122, 116, 104)).all()
    assert (padded[125:] == (122, 116, 104)).all()
    assert (padded[35:125] == (200, 10, 30)).all()


def test_cropping_loses_the_sides_and_squashing_nothing():
    frame = np.zeros((90, 160, 3), dtype=np.uint8)
    frame[:, :30] = 255  # left of the middle 90 columns, which begin at 35
    for aspect, white in (("crop", False), ("squash", True), ("pad", True)):
        [square] = square_images([frame], 64, aspect=aspect, bars=(0, 0, 0))
        assert (square.max() > 200) == white


def test_the_setting_pad_reaches_the_network(folders):
    frames = np.zeros((10, 90, 160, 3), dtype=np.uint8)
    crop, pad = scene(folders["7B"]), scene(folders["7B"], aspect="pad")
    assert crop.prepare(media_of(frames)).max() == 0
    assert (pad.prepare(media_of(frames))[:, 0] == (122, 116, 104)).all()  # 255·mean, rounded down


def test_the_prepared_pictures_are_few_and_small(scenes):
    for family, extractor in scenes.items():
        _, _, _, frames = FAMILIES[family]
        side = 384 if family.startswith("2.1") else 336
        prepared = extractor.prepare(media_of(CLIP))
        assert (prepared.shape, prepared.dtype) == ((frames, side, side, 3), np.uint8)


# -- faces


def test_the_face_square_holds_the_box_and_its_margin():
    frame = np.arange(100 * 200 * 3).reshape(100, 200, 3).astype(np.uint8)
    box = np.array([60, 30, 20, 24, 1], dtype=np.float32)  # centre (70, 42), longer side 24
    square = face_square(frame, box, margin=0.25)  # 24 · 1.5 = 36: 52..88 and 24..60
    np.testing.assert_array_equal(square, frame[24:60, 52:88])


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((-10, -10, 40, 40), (0, 40), (0, 40)),
        ((180, 80, 40, 40), (60, 100), (160, 200)),
        ((50, -100, 300, 300), (0, 100), (100, 200)),  # larger than the picture
    ],
)
def test_a_face_square_over_the_edge_moves_inwards(box, rows, columns):
    frame = np.random.default_rng(2).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    square = face_square(frame, np.array([*box, 1.0], np.float32), margin=0.0)
    np.testing.assert_array_equal(square, frame[slice(*rows), slice(*columns)])


def test_only_shots_with_the_face_are_shown(folders):
    # Ten dark frames with a face, ten bright ones where the box is only held (score 0).
    frames = np.concatenate([np.full((10, 60, 80, 3), 20), np.full((10, 60, 80, 3), 220)])
    track = np.tile(np.array([20, 10, 30, 30, 0], np.float32), (20, 1))
    track[[0, 5], 4] = 0.9
    shown = face(folders["7B"]).prepare(media_of(frames, face_track=track))
    assert shown.shape == (8, 336, 336, 3)
    assert set(np.unique(shown)) == {20}


def test_a_face_without_a_found_frame_and_a_clip_without_a_picture_have_no_caption(folders):
    track = np.tile(np.array([20, 10, 30, 30, 0], np.float32), (30, 1))
    with pytest.raises(FeatureAbsent, match="E-FEAT-NOFACE"):
        face(folders["7B"]).prepare(media_of(CLIP, face_track=track))
    with pytest.raises(FeatureAbsent, match="E-FEAT-NOFRAMES"):
        face(folders["7B"]).prepare(media_of(None, face_track=track))
    with pytest.raises(FeatureAbsent, match="E-FEAT-NOFRAMES"):
        scene(folders["7B"]).prepare(media_of(None))


# -- the network


@pytest.mark.parametrize("family", FAMILIES)
def test_the_connector_gives_the_published_number_of_tokens(scenes, family):
    extractor = scenes[family]
    tokens = extractor.network.visual_tokens(extractor.prepare(media_of(CLIP)))
    assert tokens.shape == (TOKENS[family], WIDTH)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_arrives_bit_by_bit(scenes, folders, family):
    loaded = scenes[family].network.model.state_dict()
    state = tensors_of(folders[family])
    assert len(state) == len(loaded)
    for name, value in state.items():
        mine = loaded[name.replace("vision_tower.vision_model.", "vision_tower.")]
        assert torch.equal(mine, value), name


def plain_stage(maps, state, stage):
    """RegNet blocks in plain calls, from the tensors' names alone."""

    def norm(x, name):
        mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
        scale, shift = (state[f"{name}.bn.{k}"].view(1, -1, 1, 1) for k in ("weight", "bias"))
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    for k in range(1, 5):
        at, into = f"model.mm_projector.{stage}.b{k}", maps
        maps = norm(functional.conv2d(maps, state[f"{at}.conv1.conv.weight"]), f"{at}.conv1")
        maps = maps * maps.sigmoid()
        kernel = state[f"{at}.conv2.conv.weight"]
        maps = norm(functional.conv2d(maps, kernel, padding=1, groups=len(kernel)), f"{at}.conv2")
        maps = maps * maps.sigmoid()
        gate = functional.conv2d(
            maps.mean((2, 3), keepdim=True),
            state[f"{at}.se.fc1.weight"],
            state[f"{at}.se.fc1.bias"],
        )
        gate = functional.conv2d(
            gate * gate.sigmoid(), state[f"{at}.se.fc2.weight"], state[f"{at}.se.fc2.bias"]
        )
        maps = maps * gate.sigmoid()
        maps = norm(functional.conv2d(maps, state[f"{at}.conv3.conv.weight"]), f"{at}.conv3")
        if f"{at}.downsample.conv.weight" in state:
            into = functional.conv2d(into, state[f"{at}.downsample.conv.weight"])
            into = norm(into, f"{at}.downsample")
        maps = maps + into
        maps = maps * maps.sigmoid()
    return maps


@pytest.mark.parametrize("padding", [1, 0])
def test_the_connector_follows_a_plain_computation(padding):
    state = random_state(connector_shapes(), seed=3)
    connector = StcConnector(16, WIDTH, padding=padding)
    names = {name.removeprefix("model.mm_projector."): value for name, value in state.items()}
    connector.load_state_dict(names)
    patches = torch.randn(2, 4, 6, 7, 16, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        found = connector(patches)
        for b in range(2):
            maps = torch.stack(
                [plain_stage(f.permute(2, 0, 1)[None], state, "s1")[0] for f in patches[b]]
            )
            volume = functional.conv3d(
                maps.transpose(0, 1)[None], state["model.mm_projector.sampler.0.weight"],
                state["model.mm_projector.sampler.0.bias"], stride=2, padding=padding,
            )[0]  # fmt: skip
            volume = volume * volume.sigmoid()
            maps = plain_stage(volume.transpose(0, 1), state, "s2")
            tokens = maps.permute(0, 2, 3, 1).reshape(-1, WIDTH)  # frame, row, column
            for k in (0, 2):
                part = f"model.mm_projector.readout.{k}"
                tokens = functional.linear(tokens, state[f"{part}.weight"], state[f"{part}.bias"])
                tokens = functional.gelu(tokens) if k == 0 else tokens
            torch.testing.assert_close(found[b], tokens, rtol=1e-4, atol=1e-4)


def test_the_norm_of_the_connector_has_a_floor_of_one_in_a_hundred_thousand():
    # Two channels at +a and -a have the variance a². With a² = 1e-5 and a floor of 1e-5 they
    # become a / sqrt(2e-5) = 0.7071; with timm's plain LayerNorm2d floor of 1e-6 it were 0.953.
    norm = ConvNorm(1, 2, 1, linear=True)
    with torch.no_grad():
        norm.conv.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        found = norm(torch.full((1, 1, 1, 1), 1e-5**0.5)).flatten()
    assert found.tolist() == pytest.approx([0.70711, -0.70711], abs=1e-4)


@pytest.mark.parametrize("family", ["7B", "2.1-7B-16F"])
def test_the_tower_is_given_what_the_librarys_processor_makes(scenes, family):
    extractor = scenes[family]
    frame = np.random.default_rng(7).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    side = extractor.plan.side
    if family == "7B":
        processor = transformers.CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        )
    else:
        processor = transformers.SiglipImageProcessorPil(
            size={"height": side, "width": side}, resample=3
        )
    pixels = processor.preprocess([Image.fromarray(frame)], return_tensors="pt")["pixel_values"]
    model = extractor.network.model.model
    with torch.inference_mode():
        patches = model.vision_tower(pixels).expand(extractor.plan.frames, -1, -1, -1)
        wanted = model.mm_projector(patches[None])[0]
    found = extractor.network.visual_tokens(extractor.prepare(media_of(frame[None])))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", ["7B", "2.1-7B-16F"])
def test_the_language_model_keeps_its_clock(scenes, family):
    config = scenes[family].network.model.config
    assert config.rope_parameters["rope_theta"] == 1e6
    assert config.sliding_window is None


def test_every_end_token_of_the_checkpoint_ends_a_caption(scenes, monkeypatch):
    extractor = scenes["7B"]
    network, clip = extractor.network, extractor.prepare(media_of(CLIP))
    [first] = first_logits(extractor, [clip]).argmax(dim=-1).tolist()
    monkeypatch.setattr(network.model.generation_config, "eos_token_id", [2, first])
    written = network.captions(extractor.config.prompt, [clip, clip], 5)
    assert written == [network.tokenizer.decode([first]).strip()] * 2  # one token, then nothing


@pytest.mark.parametrize("family", ["7B", "2.1-7B-16F"])
def test_the_tower_gives_the_last_but_one_hidden_states(scenes, family):
    tower = scenes[family].network.model.model.vision_tower
    side = scenes[family].plan.side
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        found = tower(images)
        states = tower.vision_tower(images, output_hidden_states=True).hidden_states[-2]
    if family == "7B":
        states = states[:, 1:]
    torch.testing.assert_close(found.flatten(1, 2), states, rtol=0, atol=1e-6)


def test_the_whole_prompt_is_text_pictures_text(scenes):
    extractor = scenes["7B"]
    network, clip = extractor.network, extractor.prepare(media_of(CLIP))
    [prompt] = network.prompts("What is this?", [clip])
    before, after = network.prompt("What is this?")
    table = network.model.get_input_embeddings().weight
    ids = [network.tokenizer(t, add_special_tokens=False)["input_ids"] for t in (before, after)]
    assert ids[0][0] == 1  # <s>, once
    assert ids[0].count(1) == 1
    torch.testing.assert_close(prompt[: len(ids[0])], table[ids[0]])
    torch.testing.assert_close(prompt[-len(ids[1]) :], table[ids[1]])
    assert len(prompt) == len(ids[0]) + 845 + len(ids[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_black_and_white_clips_begin_differently(scenes, family):
    extractor = scenes[family]
    side, frames = extractor.plan.side, extractor.plan.frames
    black = np.zeros((frames, side, side, 3), dtype=np.uint8)
    logits = first_logits(extractor, [black, np.full_like(black, 255)])
    assert float((logits[0] - logits[1]).abs().max()) > 0.1


@pytest.mark.parametrize("family", ["7B", "2.1-7B-16F"])
def test_a_caption_in_a_batch_is_the_caption_alone(scenes, family):
    extractor = scenes[family]
    rng = np.random.default_rng(6)
    media = [media_of(rng.integers(0, 256, (n, 60, 80, 3))) for n in (4, 25)]
    media.append(media_of(np.zeros((9, 60, 80, 3))))
    inputs = [extractor.prepare(m) for m in media]
    together = extractor.compute(inputs)
    assert together == [extractor.extract(m) for m in media]
    assert len(set(together)) > 1
    torch.testing.assert_close(
        first_logits(extractor, inputs)[1:2],
        first_logits(extractor, inputs[1:2]),
        atol=1e-4,
        rtol=0,
    )


def test_greedy_writing_is_the_argmax_of_each_step(scenes):
    extractor = scenes["7B"]
    network, clip = extractor.network, extractor.prepare(media_of(CLIP))
    prompt = network.prompts("What is this?", [clip])
    table, written = network.model.get_input_embeddings().weight, []
    with torch.inference_mode():
        for _ in range(6):
            words = torch.cat([prompt, table[torch.tensor([written], dtype=torch.long)]], dim=1)
            written.append(int(network.model(inputs_embeds=words).logits[0, -1].argmax()))
            if written[-1] == network.tokenizer.eos_token_id:
                break
    wanted = network.tokenizer.decode(written, skip_special_tokens=True).strip()
    assert network.captions("What is this?", [clip], 6) == [wanted]


def test_the_prompt_changes_the_caption(scenes, folders):
    logits = [
        first_logits(extractor, [extractor.prepare(media_of(CLIP))])
        for extractor in (scenes["7B"], scene(folders["7B"], prompt="What colour is it?"))
    ]
    assert float((logits[0] - logits[1]).abs().max()) > 0.01


def test_the_full_size_model_weighs_what_the_public_shards_weigh():
    """VideoLLaMA2-7B: 4.94 + 5.00 + 4.99 + 1.14 GB of bfloat16."""
    mistral = {
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    }  # fmt: skip
    plan = VideoLlama2Plan(
        language="mistral", language_config=mistral, tower="clip", padding=1, frames=8,
        tower_config=TOWERS["clip-vit-large-patch14-336"], tower_layers=23,
    )  # fmt: skip
    with torch.device("meta"):
        model = model_class("mistral")(language_config(plan, None), plan, None)
    assert 2 * sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(16.07, abs=0.01)


def test_the_public_towers_have_their_published_sizes():
    # openai/clip-vit-large-patch14-336's image side: 303.5 M; so400m-patch14-384's: 428 M.
    from redub.features.models.videollama2.network import tower_of

    for (name, config), kind, millions in zip(
        TOWERS.items(), ("clip", "siglip"), (303.5, 428.2), strict=True
    ):
        plan = VideoLlama2Plan(
            language="mistral", language_config={}, tower=kind, padding=1, frames=8,
            tower_config=config, tower_layers=1,
        )  # fmt: skip
        with torch.device("meta"):
            tower = tower_of(plan, None)
        count = sum(p.numel() for p in tower.parameters()) / 1e6
        assert count == pytest.approx(millions, abs=0.3), name


# -- prompt and tokenizer


def test_the_mistral_prompt_is_the_same_with_old_and_new_templates(folders, tmp_path, scenes):
    old = make_videollama2(tmp_path / "old", template=OLD_MISTRAL)
    wanted = f"<s>[INST] {SYSTEM}\n\n{MARK}\nWhat is this? [/INST]"
    for extractor in (scenes["7B"], scene(old)):
        assert MARK.join(extractor.network.prompt("What is this?")) == wanted
    assert "while being safe.  Your answers" in SYSTEM  # the public text has two spaces
    assert SYSTEM.startswith("<<SYS>>\nYou are a helpful, respectful and honest assistant.")
    assert SYSTEM.endswith("don't share false information.\n<</SYS>>")


def test_the_qwen_prompt_has_the_templates_own_system_message(scenes):
    before, after = scenes["2.1-7B-16F"].network.prompt("What is this?")
    assert before == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    )
    assert after == "\nWhat is this?<|im_end|>\n<|im_start|>assistant\n"


def test_text_after_a_space_is_tokenised_as_sentencepiece_does(scenes, folders):
    pieces = sentencepiece.SentencePieceProcessor(str(folders["7B"] / "tokenizer.model"))
    tokenizer = scenes["7B"].network.tokenizer
    for text in (" [INST] the scene", "\nDescribe the mood.", "The face grows angry"):
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == pieces.encode(text)


def test_without_tokenizer_json_the_sentencepiece_model_is_read(tmp_path, scenes):
    bare = make_videollama2(tmp_path / "bare", with_json=False)
    mine, other = scenes["7B"].network, scene(bare).network
    for text in mine.prompt("Describe the mood of this scene."):
        ids = other.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == mine.tokenizer(text, add_special_tokens=False)["input_ids"]


# -- one copy, settings, registry


def test_scene_and_face_share_one_network_and_let_it_go(folders):
    about_scene, about_face = scene(folders["7B-16F"]), face(folders["7B-16F"], margin=0.5)
    assert about_scene.network is about_face.network
    other = scene(folders["7B-16F"], dtype="bfloat16")
    assert other.network is not about_scene.network
    assert other.network.model.dtype == torch.bfloat16
    key = next(k for k, v in shared_networks._LIVE.items() if v is other.network)
    del other
    gc.collect()
    assert key not in shared_networks._LIVE


def test_bfloat16_writes_too(folders):
    assert scene(folders["7B"], dtype="bfloat16").extract(media_of(CLIP))


def test_an_empty_caption_is_none(folders):
    class Mute:
        def captions(self, prompt, inputs, most_tokens):
            return [""]

    extractor = scene(folders["7B"])
    extractor._network = Mute()
    with pytest.raises(FeatureAbsent, match="E-FEAT-NOCAPTION"):
        extractor.extract(media_of(CLIP))


@pytest.mark.parametrize(
    "settings",
    [
        {"prompt": "  "},
        {"prompt": "look at <video>"},
        {"prompt": "<|im_end|>"},
        {"max_new_tokens": 0},
        {"dtype": "float16"},
        {"aspect": "squash"},
    ],
)
def test_senseless_settings_are_refused(settings):
    with pytest.raises(ConfigError, match="E-CFG-VALUE"):
        VideoLlama2SceneConfig(**settings)


def test_a_margin_below_zero_is_refused():
    with pytest.raises(ConfigError, match="margin"):
        VideoLlama2FaceConfig(margin=-0.1)


@pytest.mark.parametrize("feature", ["scene_caption", "face_caption"])
def test_the_paper_profile_takes_this_captioner_and_its_settings(feature):
    assert PROFILES["paper"][feature] == "videollama2"
    kind = extractor_class(feature, "videollama2")
    config = extractor_config(
        feature,
        audio=AudioSpec(),
        video=VideoSpec(),
        overrides={"weights": "mine", "max_new_tokens": 40},
        backend="videollama2",
    )
    assert kind.weights_wanted(config) == {"model": ("mine", "videollama2")}
    assert kind.reads == (() if feature == "scene_caption" else ("face_track",))
    wanted = {
        "scene_caption": ("hue", "lightness", "saturation", "mood"),
        "face_caption": ("chang",),
    }
    assert all(word in config.prompt for word in wanted[feature])


def test_the_network_says_what_it_is(scenes):
    says = scenes["2.1-7B-16F"].describe()
    assert says["looks at"] == "16 frames of 384 × 384 through siglip"
    assert says["writes with"].startswith("qwen2")


# -- refusals


def changed(folder, tmp_path, **values):
    """The same checkpoint with other values in config.json; None takes a key out."""
    copy = shutil.copytree(folder, tmp_path / "changed")
    config = json.loads((folder / "config.json").read_text()) | values
    write_json(copy / "config.json", {k: v for k, v in config.items() if v is not None})
    return copy


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ({"model_type": "videollama2_mixtral"}, "E-MODEL-KIND", "8x7B"),
        ({"hidden_size": 8192}, "E-MODEL-KIND", "72B"),
        ({"model_type": "llava"}, "E-MODEL-KIND", "model_type is 'llava'"),
        ({"mm_projector_type": "spatial_conv"}, "E-MODEL-KIND", "spatial_conv"),
        ({"mm_projector_type": "mlp2x_gelu"}, "E-MODEL-KIND", "mlp2x_gelu"),
        ({"mm_vision_tower": "eva02"}, "E-MODEL-KIND", "CLIP or SigLIP"),
        ({"mm_vision_select_feature": "cls_patch"}, "E-MODEL-KIND", "cls_patch"),
        ({"mm_hidden_size": 20}, "E-MODEL-FILE", "mm_hidden_size is 20"),
        ({"num_frames": 64}, "E-MODEL-FILE", "up to 32"),
        ({"hidden_size": "wide"}, "E-MODEL-FILE", "whole number"),
        ({"num_attention_heads": "four"}, "E-MODEL-FILE", "config.json"),
        ({"quantization_config": {"bits": 4}}, "E-MODEL-KIND", "quantised"),
        ({"auto_map": {"AutoModel": "evil.Model"}}, "E-MODEL-CODE", "auto_map"),
        ({"vocab_size": 300}, "E-MODEL-SHAPE", "wanted (300"),
        ({"num_hidden_layers": 3}, "E-MODEL-KEYS", "model.layers.2"),
        ({"num_hidden_layers": 1}, "E-MODEL-KEYS", "model.layers.1"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_no_7b_model_is_refused(folders, tmp_path, values, code, words):
    folder = changed(folders["7B"], tmp_path, **values)
    with pytest.raises(ModelRefusedError, match=code) as refusal:
        assert scene(folder).network
    assert words in str(refusal.value)


def test_switches_of_the_library_in_config_json_have_no_say(folders, tmp_path):
    marker = tmp_path / "ran"
    folder = changed(
        folders["7B"], tmp_path, transformers_weights="other.bin", use_kernels=True,
        fusion_config={"x": True}, distributed_config={"tp_plan": "auto"}, extra_files=["x.py"],
    )  # fmt: skip
    (folder / "modeling_evil.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    assert scene(folder).extract(media_of(CLIP)) == scene(folders["7B"]).extract(media_of(CLIP))
    assert not marker.exists()


def test_a_base_checkpoint_and_a_bare_connector_are_refused(folders, tmp_path):
    base = make_videollama2(tmp_path / "VideoLLaMA2-7B-Base")
    with pytest.raises(ModelRefusedError, match="pre-training"):
        assert scene(base).network
    bare = make_videollama2(tmp_path / "bare")
    for shard in bare.glob("*.safetensors"):
        shard.unlink()
    (bare / "model.safetensors.index.json").unlink()
    save_file(random_state(connector_shapes(), seed=0), bare / "model.safetensors")
    with pytest.raises(ModelRefusedError, match="only the connector"):
        assert scene(bare).network


def spoil(folder, how):
    shard = sorted(folder.glob("*.safetensors"))[1]
    state = load_file(shard)
    name = sorted(state)[0]
    if how == "missing":
        del state[name]
    elif how == "extra":
        state["model.audio_tower.weight"] = torch.zeros(3)
    elif how == "shape":
        state[name] = torch.zeros(7, 3)
    elif how == "dropped head":
        state = {k: v for k, v in tensors_of(folder).items() if k != "lm_head.weight"}
        for old in folder.glob("*.safetensors"):
            old.unlink()
        save_shards(folder, state)
        return
    elif how == "cut off":
        shard.write_bytes(shard.read_bytes()[:-50])
        return
    elif how == "pointer":
        shard.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        return
    elif how == "garbage":
        shard.write_bytes(b"\x00" * 4000)
        return
    save_file(state, shard, metadata={"format": "pt"})
    if how == "missing" or how == "extra":
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        index["weight_map"].pop(name, None) if how == "missing" else index["weight_map"].update(
            {"model.audio_tower.weight": shard.name}
        )
        write_json(folder / "model.safetensors.index.json", index)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("missing", "E-MODEL-KEYS"), ("extra", "E-MODEL-KEYS"), ("shape", "E-MODEL-SHAPE"),
        ("dropped head", "E-MODEL-KEYS"), ("cut off", "E-MODEL-FILE"), ("pointer", "E-MODEL-LFS"),
        ("garbage", "E-MODEL-FILE"),
    ],
)  # fmt: skip
def test_other_or_damaged_tensors_are_refused(tmp_path, how, code):
    folder = make_videollama2(tmp_path / "model")
    spoil(folder, how)
    with pytest.raises(ModelRefusedError, match=code):
        assert scene(folder).network


def test_a_pickle_beside_the_shards_is_not_opened(folders, tmp_path):
    marker = tmp_path / "ran"
    folder = make_videollama2(tmp_path / "model")
    torch.save({"x": Payload(marker)}, folder / "pytorch_model.bin")
    for shard in folder.glob("*.safetensors*"):
        shard.unlink()
    with pytest.raises(ModelRefusedError, match="E-MODEL-FILE"):
        assert scene(folder).network
    assert not marker.exists()


@pytest.mark.parametrize(
    ("file", "value", "code"),
    [
        (
            "tokenizer_config.json",
            {"auto_map": {"AutoTokenizer": ["evil.T", None]}},
            "E-MODEL-CODE",
        ),
        ("generation_config.json", {"trust_remote_code": True}, "E-MODEL-CODE"),
        ("tokenizer_config.json", {"eos_token": "</s>"}, "E-MODEL-FILE"),  # no chat template
        ("tokenizer_config.json", {"chat_template": "{{ 1"}, "E-MODEL-FILE"),
        ("tokenizer_config.json", {"eos_token": "</s>", "chat_template": "hello"}, "E-MODEL-FILE"),
    ],
)
def test_tokenizer_and_generation_files_are_checked(tmp_path, file, value, code):
    folder = make_videollama2(tmp_path / "model")
    write_json(folder / file, value)
    with pytest.raises(ModelRefusedError, match=code):
        scene(folder).extract(media_of(CLIP))


def test_a_damaged_tokenizer_is_refused(tmp_path):
    folder = make_videollama2(tmp_path / "model")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelRefusedError, match="tokenizer cannot be read"):
        assert scene(folder).network


def test_an_unknown_tower_wants_its_configuration(folders, tmp_path):
    folder = changed(folders["7B"], tmp_path, mm_vision_tower="my/clip-vit-tiny")
    assert read_plan(folder_of(folder, "videollama2")).side == 336  # from vision_tower/config.json
    shutil.rmtree(folder / "vision_tower")
    with pytest.raises(ModelRefusedError, match="as vision_tower/config"):
        read_plan(folder_of(folder, "videollama2"))


def test_without_its_file_a_public_tower_has_its_public_sizes(folders, tmp_path):
    local = "/models/openai/clip-vit-large-patch14-336/"
    folder = changed(folders["7B"], tmp_path, mm_vision_tower=local, mm_hidden_size=1024)
    shutil.rmtree(folder / "vision_tower")
    plan = read_plan(folder_of(folder, "videollama2"))
    assert (plan.side, plan.tower_layers, plan.aspect) == (336, 23, "crop")


def test_only_listed_files_are_read(folders):
    listed = folder_of(folders["7B"], "videollama2")
    files = {name: digest for name, digest in listed.files.items() if "00003" not in name}
    weights = {"model": type(listed)(name="videollama2", path=listed.path, files=files)}
    extractor = VideoLlama2SceneCaption(VideoLlama2SceneConfig(dtype="float32"), weights, CPU)
    with pytest.raises(ModelRefusedError):
        assert extractor.network


def test_a_missing_gpu_is_a_sentence(folders):
    weights = {"model": folder_of(folders["7B"], "videollama2")}
    runtime = Runtime(device="cuda:7")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="E-CFG-DEVICE"):
        assert VideoLlama2SceneCaption(VideoLlama2SceneConfig(), weights, runtime).network


def test_the_checkpoint_names_are_those_of_the_key_mapping():
    [(pattern, flat)] = KEY_MAPPING.items()
    names = all_shapes("7B", 40)
    mapped = {re.sub(pattern, flat, name) for name in names}
    assert len(mapped) == len(names)
    assert "model.vision_tower.vision_tower.pre_layrnorm.weight" in mapped


@pytest.mark.slow
def test_nothing_touches_the_network(folders):
    code = f"""
    import socket
    def refuse(*args, **kwargs):
        raise AssertionError("the network was touched")
    socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
    import numpy as np
    from tests.features.drawn_faces import media_of
    from tests.features.paper.test_videollama2 import scene
    from pathlib import Path
    print(len(scene(Path({str(folders["7B"])!r})).extract(media_of(np.zeros((5, 60, 80, 3))))) > 0)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_project_gets_captions_and_nulls_from_one_network(folders, tmp_path):
    toml = "".join(
        f'[features.{name}]\nbackend = "videollama2"\ndtype = "float32"\nmax_new_tokens = 6\n'
        for name in ("scene_caption", "face_caption")
    )
    root = make_project(tmp_path / "p", sources=1, toml=toml)
    add_weights(root, "videollama2", folders["7B"])
    sync, features = Scheduler("sync", 1), ["scene_caption", "face_caption"]
    ingest(open_project(root), scheduler=sync)
    done = extract(open_project(root), scheduler=sync, features=features)
    store = Store(open_project(root))
    assert (done.clips, done.quarantined) == (2, 0)
    assert len(store.read("scene_caption")) == 2
    assert all(store.read("scene_caption").values())
    reasons = store.live_features("face_caption")["why_not"]  # the drawn films show no face
    assert ["E-FEAT-NOFACE" in why for why in reasons] == [True, True]
    document = store.keys.by_name["scene_caption"].document
    assert document["settings"]["fields"]["prompt"] == VideoLlama2SceneConfig().prompt
    assert "non-commercial" in document["terms"][0]
