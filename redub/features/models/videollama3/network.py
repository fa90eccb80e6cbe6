"""VideoLLaMA 3 of transformers, with input processing that does not need torchvision.

Source: the ``video_llama_3`` classes of transformers: order of the patches, rule for dropped
tokens, time stamps in the prompt. Frames are scaled by Pillow here and by torchvision there.
Letters: B clips, N frames per clip, H and W frame height and width, K kept tokens, L positions
of a prompt, D width of the language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from redub.features.models.caption_writer import (
    CaptionWriter,
    library_config,
    read_tokenizer,
    render,
    strict_model,
    tensor_names,
    write,
)
from redub.features.models.videollama3.checkpoint import VideoLlama3Plan
from redub.features.models.videollama3.frames import TimedImages
from redub.features.weights.folder import WeightFolder
from redub.features.weights.offline import quiet_transformers

MARK = "<|video_pad|>"
SAME = 0.1  # largest mean difference (normalised colours times 255) of a repeated token


def patches_of(images: Tensor, patch: int, merge: int) -> Tensor:
    """Cut frames into patches, grouped by token.

    Args:
        images: (N, 3, H, W), sides divisible by ``patch · merge``.

    Returns:
        (N, tokens, merge², 3 · patch²), tokens row by row.
    """
    count, colours, height, width = images.shape
    high, wide = height // (patch * merge), width // (patch * merge)
    cut = images.reshape(count, colours, high, merge, patch, wide, merge, patch)
    ordered = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)  # frame, token, patch in it, colour, pixels
    return ordered.reshape(count, high * wide, merge * merge, colours * patch * patch)


def kept_tokens(patches: Tensor) -> Tensor:
    """Select the tokens that differ from the previous frame; every frame keeps at least one.

    Args:
        patches: (N, tokens, merge², values) from :func:`patches_of`, normalised.

    Returns:
        (N, tokens) bool; all True for the first frame.
    """
    change = patches.diff(dim=0).abs().flatten(2).mean(dim=-1) * 255
    kept = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
    kept[1:] = change > SAME
    kept[:, 0] |= ~kept.any(dim=1)
    return kept


class VideoLlama3(CaptionWriter[VideoLlama3Plan]):
    """A loaded caption model: it writes sentences from frames with times and an instruction."""

    def prompt(self, instruction: str) -> tuple[str, str]:
        """Return the prompt's text before and after the frames.

        Raises:
            ModelRefusedError: E-MODEL-FILE, the chat template of the checkpoint cannot be used.
        """
        return render(lambda: self._chat(instruction), self.weights, MARK)

    def _chat(self, instruction: str) -> str:
        content = [{"type": "video"}, {"type": "text", "text": instruction}]
        text: str = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=False,
            add_generation_prompt=True,
            video_token=MARK,  # older templates need this variable
        )
        return text

    @torch.inference_mode()
    def prompt_embeddings(self, instruction: str, clip: TimedImages) -> Tensor:
        """Compute (L, D) embeddings of the whole prompt of one clip."""
        tokens, counts = self._visual_tokens(clip)
        stamped = ",".join(
            f"Time {second:.1f}s:{MARK * count}"
            for second, count in zip(clip.seconds, counts, strict=True)
        )
        before, after = self.prompt(instruction)
        text = f"{before}{stamped}{after}"
        ids = torch.tensor(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        ids = ids.to(self.device)
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        embedded[ids == self.plan.video_token] = tokens
        return embedded

    def _visual_tokens(self, clip: TimedImages) -> tuple[Tensor, list[int]]:
        """(K, D) tokens of a clip, and the number of tokens of each frame."""
        plan, device = self.plan, self.device
        frames = torch.from_numpy(clip.images)
        if device.type == "cuda":
            frames = frames.pin_memory().to(device, non_blocking=True)
        mean, spread = (
            torch.tensor(values, device=device).view(3, 1, 1) for values in (plan.mean, plan.spread)
        )
        scaled = (frames.permute(0, 3, 1, 2).float() / 255 - mean) / spread
        patches = patches_of(scaled, plan.patch, plan.merge)
        if plan.thins and len(patches) > 1:
            kept = kept_tokens(patches)
        else:
            kept = torch.ones(patches.shape[:2], dtype=torch.bool, device=device)
        height, width = clip.images.shape[1:3]
        grid = [[len(patches), height // plan.patch, width // plan.patch]]
        found = self.model.get_video_features(
            pixel_values_videos=patches.flatten(0, 2),
            video_grid_thw=torch.tensor(grid, device=device),
            video_merge_sizes=torch.tensor([plan.merge], device=device),
        )
        tokens = torch.cat(tuple(found.pooler_output))  # (N · tokens, D)
        return tokens[kept.flatten()], kept.sum(dim=1).tolist()

    def captions(
        self, instruction: str, clips: Sequence[TimedImages], most_tokens: int
    ) -> list[str]:
        """Write one text per clip by greedy decoding; shorter prompts are padded on the left."""
        prompts = [self.prompt_embeddings(instruction, clip) for clip in clips]
        longest = max(len(prompt) for prompt in prompts)
        stacked = torch.stack(
            [functional.pad(prompt, (0, 0, longest - len(prompt), 0)) for prompt in prompts]
        )
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=stacked.device)
        valid = torch.arange(longest, device=stacked.device) >= longest - lengths[:, None]
        return write(self.model, self.tokenizer, stacked, valid, most_tokens)


def load_videollama3(
    weights: WeightFolder, plan: VideoLlama3Plan, *, dtype: str, device: Any
) -> VideoLlama3:
    """Load the whole checkpoint.

    Raises:
        ModelRefusedError: as :func:`~redub.features.models.caption_writer.strict_model` and
            ``read_tokenizer``; or the tokenizer does not have the model's video token.
    """
    transformers = quiet_transformers()
    tensor_names(weights)
    tokenizer = read_tokenizer(weights, "Qwen2Tokenizer", "vocab.json", "merges.txt")
    if tokenizer.convert_tokens_to_ids(MARK) != plan.video_token:
        raise weights.refused(
            f"its tokenizer does not have {MARK} at {plan.video_token}, as config.json says",
            code="E-MODEL-FILE",
        )
    model = strict_model(
        weights,
        transformers.VideoLlama3ForConditionalGeneration,
        library_config(weights, transformers.VideoLlama3Config, plan.network),
        dtype=dtype,
        device=device,
    )
    return VideoLlama3(model, tokenizer, plan, weights)
