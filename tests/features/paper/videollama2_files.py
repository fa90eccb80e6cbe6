"""VideoLLaMA 2 checkpoints in the public layout, at toy widths but with real picture sizes.

The names of the tensors are written down here, not taken from the modules under test.
"""

from __future__ import annotations

import json

import torch
from safetensors.torch import save_file

from tests.features.paper.chat_tokenizers import (
    NEW_MISTRAL,
    make_llama_tokenizer,
    make_qwen_tokenizer,
    write_json,
)

WIDTH, INNER, LAYERS, HEADS, KEY_HEADS = 32, 48, 2, 4, 2
EYES, EYES_INNER, EYES_LAYERS, EYES_HEADS = 16, 24, 3, 2

FAMILIES = {
    "7B": ("mistral", "clip", "stc_connector", 8),
    "7B-16F": ("mistral", "clip", "stc_connector", 16),
    "2.1-7B-16F": ("qwen2", "siglip", "stc_connector_v35", 16),
}
PUBLIC_TOWERS = {
    "clip": "openai/clip-vit-large-patch14-336",
    "siglip": "google/siglip-so400m-patch14-384",
}
SIDES = {"clip": 336, "siglip": 384}


def language_shapes(language, vocabulary):
    head = WIDTH // HEADS
    shapes = {"model.embed_tokens.weight": (vocabulary, WIDTH)}
    for n in range(LAYERS):
        at = f"model.layers.{n}."
        for name, rows in (("q", WIDTH), ("k", KEY_HEADS * head), ("v", KEY_HEADS * head)):
            shapes[f"{at}self_attn.{name}_proj.weight"] = (rows, WIDTH)
            if language == "qwen2":
                shapes[f"{at}self_attn.{name}_proj.bias"] = (rows,)
        shapes[f"{at}self_attn.o_proj.weight"] = (WIDTH, WIDTH)
        shapes[f"{at}mlp.gate_proj.weight"] = (INNER, WIDTH)
        shapes[f"{at}mlp.up_proj.weight"] = (INNER, WIDTH)
        shapes[f"{at}mlp.down_proj.weight"] = (WIDTH, INNER)
        shapes[f"{at}input_layernorm.weight"] = (WIDTH,)
        shapes[f"{at}post_attention_layernorm.weight"] = (WIDTH,)
    return {**shapes, "model.norm.weight": (WIDTH,), "lm_head.weight": (vocabulary, WIDTH)}


def tower_shapes(kind):
    def pair(name, *shape):
        return {f"{at}{name}.weight": shape, f"{at}{name}.bias": (shape[0],)}

    at = "model.vision_tower.vision_tower.vision_model."
    patches = (SIDES[kind] // 14) ** 2
    shapes = {f"{at}embeddings.patch_embedding.weight": (EYES, 3, 14, 14)}
    if kind == "clip":
        shapes[f"{at}embeddings.class_embedding"] = (EYES,)
        shapes[f"{at}embeddings.position_embedding.weight"] = (patches + 1, EYES)
        shapes |= pair("pre_layrnorm", EYES)
    else:
        shapes[f"{at}embeddings.patch_embedding.bias"] = (EYES,)
        shapes[f"{at}embeddings.position_embedding.weight"] = (patches, EYES)
    for n in range(EYES_LAYERS):
        here = f"encoder.layers.{n}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= pair(f"{here}self_attn.{name}", EYES, EYES)
        shapes |= pair(f"{here}layer_norm1", EYES) | pair(f"{here}layer_norm2", EYES)
        shapes |= pair(f"{here}mlp.fc1", EYES_INNER, EYES) | pair(
            f"{here}mlp.fc2", EYES, EYES_INNER
        )
    shapes |= pair("post_layernorm", EYES)
    if kind == "siglip":
        shapes[f"{at}head.probe"] = (1, 1, EYES)
        shapes[f"{at}head.attention.in_proj_weight"] = (3 * EYES, EYES)
        shapes[f"{at}head.attention.in_proj_bias"] = (3 * EYES,)
        shapes |= pair("head.attention.out_proj", EYES, EYES) | pair("head.layernorm", EYES)
        shapes |= pair("head.mlp.fc1", EYES_INNER, EYES) | pair("head.mlp.fc2", EYES, EYES_INNER)
    return shapes


def connector_shapes(inputs=EYES, width=WIDTH, prefix="model.mm_projector."):
    shapes = {}
    for stage in ("s1", "s2"):
        for k in range(1, 5):
            enters = inputs if (stage, k) == ("s1", 1) else width
            at, squeezed = f"{prefix}{stage}.b{k}.", round(enters / 4)
            shapes[f"{at}conv1.conv.weight"] = (width, enters, 1, 1)
            shapes[f"{at}conv2.conv.weight"] = (width, 1, 3, 3)
            shapes[f"{at}conv3.conv.weight"] = (width, width, 1, 1)
            norms = ["conv1", "conv2", "conv3"]
            if enters != width:
                shapes[f"{at}downsample.conv.weight"] = (width, enters, 1, 1)
                norms.append("downsample")
            for norm in norms:
                shapes[f"{at}{norm}.bn.weight"] = shapes[f"{at}{norm}.bn.bias"] = (width,)
            shapes[f"{at}se.fc1.weight"] = (squeezed, width, 1, 1)
            shapes[f"{at}se.fc1.bias"] = (squeezed,)
            shapes[f"{at}se.fc2.weight"] = (width, squeezed, 1, 1)
            shapes[f"{at}se.fc2.bias"] = (width,)
    shapes[f"{prefix}sampler.0.weight"] = (width, width, 2, 2, 2)
    shapes[f"{prefix}sampler.0.bias"] = (width,)
    for k in (0, 2):
        shapes[f"{prefix}readout.{k}.weight"] = (width, width)
        shapes[f"{prefix}readout.{k}.bias"] = (width,)
    return shapes


def random_state(shapes, *, seed):
    """Wide enough that pictures change the words: with the usual small spread they hardly do."""
    numbers = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=numbers)
        norm = name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "bn.weight"))
        spread = 0.3 if "mm_projector" in name else 0.2
        state[name] = (1 + 0.1 * values) if norm or "layrnorm.weight" in name else spread * values
    return state


def save_shards(folder, state, *, shards=4):
    """``model-0000k-of-0000n.safetensors`` and their index."""
    names = list(state)
    where, total = {}, 0
    for k in range(shards):
        file = f"model-{k + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: state[name].contiguous() for name in names[k::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
        total += sum(value.numel() * value.element_size() for value in part.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def config_of(family, vocabulary):
    language, tower, connector, frames = FAMILIES[family]
    names = {"mistral": "Videollama2MistralForCausalLM", "qwen2": "Videollama2Qwen2ForCausalLM"}
    return {
        "_name_or_path": "base", "architectures": [names[language]],
        "attention_dropout": 0.0, "hidden_act": "silu", "hidden_size": WIDTH,
        "bos_token_id": 1, "eos_token_id": 2, "freeze_mm_mlp_adapter": False,
        "image_aspect_ratio": "pad", "initializer_range": 0.02, "intermediate_size": INNER,
        "max_position_embeddings": 32768, "mm_hidden_size": EYES, "mm_projector_lr": None,
        "mm_projector_type": connector, "mm_use_x_start_end": True,
        "mm_vision_select_feature": "patch", "mm_vision_select_layer": -2,
        "mm_vision_tower": PUBLIC_TOWERS[tower], "model_type": f"videollama2_{language}",
        "num_attention_heads": HEADS, "num_frames": frames, "num_hidden_layers": LAYERS,
        "num_key_value_heads": KEY_HEADS, "rms_norm_eps": 1e-5, "rope_theta": 1000000.0,
        "sliding_window": None, "tie_word_embeddings": False, "tokenizer_padding_side": "right",
        "torch_dtype": "bfloat16", "transformers_version": "4.40.0", "tune_mm_mlp_adapter": False,
        "use_cache": True, "use_mm_proj": True, "vocab_size": vocabulary,
    }  # fmt: skip


def tower_config(tower):
    return {
        "hidden_size": EYES, "intermediate_size": EYES_INNER, "num_hidden_layers": EYES_LAYERS,
        "num_attention_heads": EYES_HEADS, "image_size": SIDES[tower], "patch_size": 14,
        "hidden_act": "quick_gelu" if tower == "clip" else "gelu_pytorch_tanh",
    }  # fmt: skip


def all_shapes(family, vocabulary):
    language, tower, _, _ = FAMILIES[family]
    return language_shapes(language, vocabulary) | tower_shapes(tower) | connector_shapes()


def make_videollama2(folder, *, seed=0, family="7B", template=None, with_json=True):
    """One of the three public folders: shards, index, configurations, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    language, tower, _, _ = FAMILIES[family]
    if language == "mistral":
        words = make_llama_tokenizer(folder, template=template or NEW_MISTRAL, with_json=with_json)
    else:
        words = make_qwen_tokenizer(folder)
    write_json(folder / "config.json", config_of(family, words))
    write_json(folder / "vision_tower" / "config.json", tower_config(tower))
    generation = {"_from_model_config": True, "bos_token_id": 1, "transformers_version": "4.40.0"}
    if language == "qwen2":
        generation |= {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8}
        generation |= {"repetition_penalty": 1.05}
    write_json(folder / "generation_config.json", generation)
    save_shards(folder, random_state(all_shapes(family, words), seed=seed))
    return folder
