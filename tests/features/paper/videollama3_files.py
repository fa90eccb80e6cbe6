"""A VideoLLaMA 3 checkpoint at toy widths, saved by the library's own class."""

from __future__ import annotations

import torch
from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration

from tests.features.paper.chat_tokenizers import QWEN2_WITH_MEDIA, make_qwen_tokenizer, write_json

MEDIA = ("<|image_pad|>", "<|video_pad|>")
PREPROCESSOR = {
    "do_resize": True, "do_rescale": True, "do_normalize": True, "do_sample_frames": False,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "max_frames": 180,
    "max_pixels": 12845056, "merge_size": 2, "min_pixels": 12544, "patch_size": 14, "resample": 3,
    "temporal_patch_size": 1, "use_token_compression": True,
    "video_processor_type": "VideoLlama3VideoProcessor",
}  # fmt: skip


def make_videollama3(folder, *, seed=0):
    """config, one safetensors file, generation config, preprocessor, tokenizer, jinja template."""
    folder.mkdir(parents=True, exist_ok=True)
    words = make_qwen_tokenizer(folder, template=None, media=MEDIA)
    (folder / "chat_template.jinja").write_text(QWEN2_WITH_MEDIA)
    config = VideoLlama3Config(
        text_config={
            "model_type": "qwen2", "vocab_size": words, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "bos_token_id": None, "eos_token_id": words - 3, "rope_theta": 1e6,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2, "patch_size": 14,
        },
        image_token_id=words - 2,
        video_token_id=words - 1,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = VideoLlama3ForConditionalGeneration(config)
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if not name.endswith(("norm.weight", "norm1.weight", "norm2.weight")):
                value.copy_(0.3 * torch.randn(value.shape, generator=numbers))
    model.save_pretrained(folder)
    write_json(folder / "video_preprocessor_config.json", PREPROCESSOR)
    return folder
