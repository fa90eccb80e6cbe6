import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from redub.core.errors import ConfigError, FeatureAbsent, ModelRefusedError
from redub.core.types import VideoSpec
from redub.features.models.videollama3.checkpoint import read_plan
from redub.features.models.videollama3.extractor import (
    VideoLlama3FaceCaption,
    VideoLlama3FaceConfig,
    VideoLlama3SceneCaption,
    VideoLlama3SceneConfig,
)
from redub.features.models.videollama3.frames import TimedImages
from redub.features.models.videollama3.network import MARK, kept_tokens, patches_of
from redub.features.registry import FEATURE_BACKENDS
from redub.features.weights.offline import quiet_transformers
from tests.features.drawn_faces import media_of
from tests.features.paper.chat_tokenizers import QWEN2, write_json
from tests.features.paper.ledgers import CPU, folder_of
from tests.features.paper.videollama3_files import make_videollama3

transformers = quiet_transformers()
NOISE = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_videollama3(tmp_path_factory.mktemp("videollama3") / "model")


def scene(folder, **settings):
    settings = {"dtype": "float32", "max_new_tokens": 6, "frames": 4, **settings}
    config = VideoLlama3SceneConfig(video=VideoSpec(), **settings)
    return VideoLlama3SceneCaption(config, {"model": folder_of(folder, "videollama3")}, CPU)


@pytest.fixture(scope="module")
def extractor(folder):
    return scene(folder)


def noise(count, high=90, wide=160):
    return media_of(NOISE.integers(0, 256, (count, high, wide, 3)))


@pytest.mark.parametrize("images", [1, 16, 180])
@pytest.mark.parametrize("shape", [(90, 160), (216, 384), (60, 60), (1080, 1920), (30, 700)])
def test_picture_sizes_are_those_of_the_librarys_rule(extractor, shape, images):
    from transformers.models.video_llama_3.image_processing_pil_video_llama_3 import smart_resize

    wanted = smart_resize(*shape, 28, min_pixels=12544, max_pixels=12845056 // images)
    assert extractor.plan.image_size(*shape, images) == wanted


def test_patches_are_ordered_as_the_librarys():
    image = NOISE.normal(size=(3, 56, 84)).astype(np.float32)
    processor = transformers.VideoLlama3ImageProcessorPil()
    rows, high, wide = processor.patchify(image, patch_size=14, merge_size=2, temporal_patch_size=1)
    mine = patches_of(torch.from_numpy(image)[None], 14, 2)
    assert mine.shape == (1, high * wide // 4, 4, 3 * 14 * 14)
    np.testing.assert_array_equal(mine[0].flatten(0, 1).numpy(), rows)


def test_tokens_that_repeat_the_picture_before_are_left_out():
    patches = torch.zeros(4, 3, 4, 6)
    patches[1, 2] = 0.0004  # times 255: a change of 0.102
    patches[2, 2] = 0.0004 + 0.00039  # a change of 0.0995
    patches[3] = patches[2]
    assert kept_tokens(patches).tolist() == [
        [True, True, True],  # the first picture whole
        [False, False, True],
        [True, False, False],  # nothing new: one token stays
        [True, False, False],
    ]


def test_pictures_carry_their_times(extractor):
    prepared = extractor.prepare(noise(50))
    # Middles of four stretches of 49/4 frames: 6.125, 18.375, 30.625, 42.875.
    assert prepared.seconds == pytest.approx([6 / 25, 18 / 25, 31 / 25, 43 / 25])
    assert prepared.images.shape == (4, 84, 168, 3)
    before, after = extractor.network.prompt("What is this?")
    assert before == "<|im_start|>user\n"
    assert after == "\nWhat is this?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("still", [False, True])
def test_the_prompt_gives_the_logits_of_the_librarys_own_forward_pass(extractor, still):
    network = extractor.network
    media = noise(50)
    if still:
        media = media_of(np.repeat(media.frames[:1], 50, axis=0))
    clip = extractor.prepare(media)
    frames = torch.from_numpy(clip.images).permute(0, 3, 1, 2).float() / 255
    patches = patches_of((frames - 0.5) / 0.5, 14, 2)
    kept = kept_tokens(patches)
    parts = [
        f"Time {second:.1f}s:" + MARK * int(count)
        for second, count in zip(clip.seconds, kept.sum(1), strict=True)
    ]
    text = f"<|im_start|>user\n{','.join(parts)}\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    with torch.inference_mode():
        wanted = network.model(
            input_ids=torch.tensor([network.tokenizer(text)["input_ids"]]),
            pixel_values_videos=patches.flatten(0, 2),
            video_grid_thw=torch.tensor([[4, 6, 12]]),
            video_merge_sizes=torch.tensor([2]),
            video_compression_mask=kept.flatten(),
        ).logits
        prompt = network.prompt_embeddings("Why?", clip)
        found = network.model(inputs_embeds=prompt[None]).logits
    assert kept.sum() == (18 + 3 if still else 72)  # 3 x 6 tokens a picture
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_a_caption_in_a_padded_batch_is_the_caption_alone(extractor):
    media = [noise(20), noise(3, 120, 90), noise(50, 216, 384), media_of(np.zeros((9, 90, 160, 3)))]
    inputs = [extractor.prepare(m) for m in media]
    network = extractor.network
    lengths = {len(network.prompt_embeddings("Why?", clip)) for clip in inputs}
    assert len(lengths) == 4
    together = extractor.compute(inputs)
    assert together == [extractor.extract(m) for m in media]
    assert len(set(together)) > 1


def test_black_and_white_clips_begin_differently(extractor):
    network, black = extractor.network, np.zeros((4, 84, 168, 3), dtype=np.uint8)
    clips = [TimedImages(p, (0.0, 0.1, 0.2, 0.3)) for p in (black, np.full_like(black, 255))]
    with torch.inference_mode():
        first, second = (
            network.model(inputs_embeds=network.prompt_embeddings("Why?", c)[None]).logits[0, -1]
            for c in clips
        )
    assert float((first - second).abs().max()) > 0.1


def test_every_tensor_arrives_bit_by_bit(extractor, folder):
    loaded = extractor.network.model.state_dict()
    state = load_file(folder / "model.safetensors")
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_a_face_is_shown_in_squares_and_without_one_there_is_no_caption(folder):
    config = VideoLlama3FaceConfig(video=VideoSpec(), dtype="float32", frames=3)
    extractor = VideoLlama3FaceCaption(config, {"model": folder_of(folder, "videollama3")}, CPU)
    track = np.tile(np.array([40, 20, 30, 30, 1], np.float32), (10, 1))
    clip = noise(10)
    prepared = extractor.prepare(media_of(clip.frames, face_track=track))
    assert prepared.images.shape == (3, 336, 336, 3)
    assert prepared.seconds == pytest.approx([2 / 25, 5 / 25, 8 / 25])  # 1.5, 4.5, 7.5 go up
    track[:, 4] = 0
    with pytest.raises(FeatureAbsent, match="E-FEAT-NOFACE"):
        extractor.prepare(media_of(clip.frames, face_track=track))
    with pytest.raises(FeatureAbsent, match="E-FEAT-NOFRAMES"):
        extractor.prepare(media_of(None, face_track=track))


def test_older_templates_that_ask_for_the_token_by_name_work(tmp_path, extractor):
    other = make_videollama3(tmp_path / "old")
    template = (other / "chat_template.jinja").read_text()
    assert template.count(f"'{MARK}'") == 1
    (other / "chat_template.jinja").write_text(template.replace(f"'{MARK}'", "video_token"))
    assert scene(other).network.prompt("Why?") == extractor.network.prompt("Why?")


@pytest.mark.parametrize("frames", [0, 181])
def test_a_senseless_number_of_pictures_is_refused(frames):
    with pytest.raises(ConfigError, match="frames"):
        VideoLlama3SceneConfig(video=VideoSpec(), frames=frames)


def test_both_features_can_be_made_by_it():
    for feature in ("scene_caption", "face_caption"):
        assert FEATURE_BACKENDS[feature]["videollama3"].startswith(
            "redub.features.models.videollama3.extractor:"
        )


# -- refusals


def edit(folder, file, **values):
    path = folder / file
    write_json(path, json.loads(path.read_text()) | values)


@pytest.mark.parametrize(
    ("file", "values", "code"),
    [
        ("config.json", {"auto_map": {"AutoModel": "modeling.M"}}, "E-MODEL-CODE"),
        ("config.json", {"model_type": "videollama3_qwen2"}, "E-MODEL-KIND"),
        ("config.json", {"text_config": {"model_type": "llama"}}, "E-MODEL-KIND"),
        ("config.json", {"vision_config": None}, "E-MODEL-KIND"),
        ("config.json", {"video_token_id": None}, "E-MODEL-FILE"),
        ("config.json", {"video_token_id": 5}, "E-MODEL-FILE"),
        ("video_preprocessor_config.json", {"temporal_patch_size": 2}, "E-MODEL-KIND"),
        ("video_preprocessor_config.json", {"patch_size": "14"}, "E-MODEL-FILE"),
        ("tokenizer_config.json", {"eos_token": None}, "E-MODEL-FILE"),
    ],
)
def test_other_configurations_are_refused(tmp_path, file, values, code):
    folder = make_videollama3(tmp_path / "model")
    edit(folder, file, **values)
    with pytest.raises(ModelRefusedError, match=code):
        assert scene(folder).network


def test_a_template_without_pictures_is_refused(tmp_path):
    folder = make_videollama3(tmp_path / "model")
    (folder / "chat_template.jinja").write_text(QWEN2)  # glues the list of contents to text
    with pytest.raises(ModelRefusedError, match="chat template"):
        scene(folder).extract(noise(5))


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("missing", "E-MODEL-KEYS"),
        ("extra", "E-MODEL-KEYS"),
        ("shape", "E-MODEL-SHAPE"),
        ("cut off", "E-MODEL-FILE"),
    ],
)
def test_other_or_damaged_tensors_are_refused(tmp_path, how, code):
    folder = make_videollama3(tmp_path / "model")
    path = folder / "model.safetensors"
    state = load_file(path)
    if how == "missing":
        del state["model.projector.readout.0.bias"]
    elif how == "extra":
        state["model.vision_model.head.weight"] = torch.zeros(2)
    elif how == "shape":
        state["model.projector.readout.0.bias"] = torch.zeros(5)
    save_file(state, path, metadata={"format": "pt"})
    if how == "cut off":
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModelRefusedError, match=code):
        assert scene(folder).network


def test_without_a_preprocessor_file_the_librarys_values_hold(tmp_path):
    folder = make_videollama3(tmp_path / "model")
    (folder / "video_preprocessor_config.json").unlink()
    plan = read_plan(folder_of(folder, "videollama3"))
    # The class's: size = {"shortest_edge": 128 * 28 * 28, "longest_edge": 28 * 28 * 768}.
    assert (plan.least_pixels, plan.most_pixels) == (100352, 602112)
    assert (plan.patch, plan.merge, plan.thins, plan.mean) == (14, 2, True, (0.5, 0.5, 0.5))


def test_limits_may_be_given_as_edges(tmp_path):
    folder = make_videollama3(tmp_path / "model")
    path = folder / "video_preprocessor_config.json"
    values = json.loads(path.read_text())
    del values["min_pixels"], values["max_pixels"]
    write_json(path, {**values, "size": {"shortest_edge": 3136, "longest_edge": 200704}})
    plan = read_plan(folder_of(folder, "videollama3"))
    assert (plan.least_pixels, plan.most_pixels) == (3136, 200704)


@pytest.mark.slow
def test_nothing_touches_the_network(folder):
    code = f"""
    import socket
    def refuse(*args, **kwargs):
        raise AssertionError("the network was touched")
    socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
    from pathlib import Path
    from tests.features.paper.test_videollama3 import noise, scene
    print(len(scene(Path({str(folder)!r})).extract(noise(5))) > 0)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("True\n", "")
