"""VideoLLaMA 2: vision tower and language model of transformers, with the connector between them.

Source: VideoLLaMA 2 (arXiv:2406.07476) and its public repository, for the order of the parts, the
names of the tensors, the system message and the prompt.
Letters: B clips, N frames per clip, S side of a frame, H and W patch rows and columns,
L positions of a prompt, D width of the language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from redub.core.types import ByteArray
from redub.features.models.caption_writer import (
    CaptionWriter,
    library_config,
    read_tokenizer,
    render,
    strict_model,
    tensor_names,
    write,
)
from redub.features.models.videollama2.checkpoint import (
    NORMAL,
    Language,
    TowerKind,
    VideoLlama2Plan,
)
from redub.features.models.videollama2.connector import StcConnector
from redub.features.weights.folder import WeightFolder
from redub.features.weights.offline import quiet_transformers

MARK = "<video>"
KEY_MAPPING = {r"vision_tower\.vision_tower\.vision_model\.": "vision_tower.vision_tower."}
"""Old → current tensor names: transformers changed the structure of its vision towers."""

SYSTEM = (
    "<<SYS>>\nYou are a helpful, respectful and honest assistant. Always answer as helpfully as "
    "possible, while being safe.  Your answers should not include any harmful, unethical, racist, "
    "sexist, toxic, dangerous, or illegal content. Please ensure that your responses are socially "
    "unbiased and positive in nature.\nIf a question does not make any sense, or is not factually "
    "coherent, explain why instead of answering something not correct. If you don't know the "
    "answer to a question, please don't share false information.\n<</SYS>>"
)
"""LLaMA 2's public system prompt; the variants with Mistral were tuned with it."""


class VisionTower(nn.Module):
    """CLIP or SigLIP up to the layer whose states are the input of the connector.

    The later layers are loaded, because the checkpoint contains them, but they never run.
    """

    def __init__(self, tower: nn.Module, kind: TowerKind, layers: int) -> None:
        super().__init__()
        self.vision_tower: Any = tower
        self.kind = kind
        self.layers = layers

    def forward(self, images: Tensor) -> Tensor:
        """Compute patch states: (N, 3, S, S) normalised frames → (N, H, W, C)."""
        states = self.vision_tower.embeddings(images)
        if self.kind == "clip":
            states = self.vision_tower.pre_layrnorm(states)  # the spelling of transformers
        for layer in self.vision_tower.encoder.layers[: self.layers]:
            states = layer(states, None)
        if self.kind == "clip":
            states = states[:, 1:]  # without the class token
        side = round(states.size(1) ** 0.5)
        patches: Tensor = states.unflatten(1, (side, side))
        return patches


def tower_of(plan: VideoLlama2Plan, weights: WeightFolder) -> VisionTower:
    """Build the vision tower of a plan, with uninitialised weights."""
    transformers = quiet_transformers()
    names = {
        "clip": ("CLIPVisionConfig", "CLIPVisionModel"),
        "siglip": ("SiglipVisionConfig", "SiglipVisionModel"),
    }[plan.tower]
    config = library_config(weights, getattr(transformers, names[0]), plan.tower_config)
    config._attn_implementation = "sdpa"
    tower = getattr(transformers, names[1])(config)
    return VisionTower(tower, plan.tower, plan.tower_layers)


@cache
def model_class(language: Language) -> Any:
    """Make the class of the language model with vision; ``from_pretrained`` needs a class."""
    transformers = quiet_transformers()
    base = {
        "mistral": transformers.MistralForCausalLM,
        "qwen2": transformers.Qwen2ForCausalLM,
    }[language]

    class SeeingLanguageModel(base):  # type: ignore[misc,valid-type]
        """The language model with vision tower and connector."""

        def __init__(self, config: Any, plan: VideoLlama2Plan, origin: WeightFolder) -> None:
            super().__init__(config)
            self.model.vision_tower = tower_of(plan, origin)
            self.model.mm_projector = StcConnector(
                plan.tower_config["hidden_size"], config.hidden_size, padding=plan.padding
            )

    return SeeingLanguageModel


def language_config(plan: VideoLlama2Plan, weights: WeightFolder) -> Any:
    """Make the configuration of the language model.

    Raises:
        ModelRefusedError: E-MODEL-FILE, the library refuses a value.
    """
    transformers = quiet_transformers()
    kind = {"mistral": transformers.MistralConfig, "qwen2": transformers.Qwen2Config}
    return library_config(weights, kind[plan.language], plan.language_config)


class VideoLlama2(CaptionWriter[VideoLlama2Plan]):
    """A loaded caption model: it writes sentences from frames and an instruction."""

    def prompt(self, instruction: str) -> tuple[str, str]:
        """Return the prompt's text before and after the frames.

        Raises:
            ModelRefusedError: E-MODEL-FILE, the chat template of the checkpoint cannot be used.
        """
        return render(lambda: self._chat(f"{MARK}\n{instruction}"), self.weights, MARK)

    def _chat(self, request: str) -> str:
        import jinja2

        user = {"role": "user", "content": request}
        if self.plan.language == "qwen2":
            return self._templated([user])  # the template adds its own system message
        try:
            return self._templated([{"role": "system", "content": SYSTEM}, user])
        except jinja2.TemplateError:  # templates before August 2024 have no system role
            return self._templated([{**user, "content": f"{SYSTEM}\n\n{request}"}])

    def _templated(self, messages: list[dict[str, str]]) -> str:
        text: str = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return text

    @torch.inference_mode()
    def visual_tokens(self, images: ByteArray) -> Tensor:
        """Compute the (L, D) tokens of one clip from its (N, S, S, 3) uint8 frames."""
        frames = torch.from_numpy(np.ascontiguousarray(images))
        if self.device.type == "cuda":
            frames = frames.pin_memory().to(self.device, non_blocking=True)
        mean, spread = (
            torch.tensor(values, device=self.device).view(3, 1, 1)
            for values in NORMAL[self.plan.tower]
        )
        scaled = frames.permute(0, 3, 1, 2).float() / 255  # (N, 3, S, S)
        dtype = self.model.dtype
        patches = self.model.model.vision_tower(((scaled - mean) / spread).to(dtype))
        tokens: Tensor = self.model.model.mm_projector(patches.unsqueeze(0))
        return tokens[0]

    @torch.inference_mode()
    def prompts(self, instruction: str, clips: Sequence[ByteArray]) -> Tensor:
        """Compute (B, L, D) embeddings of the whole prompts; all have one length, without padding.

        The frames of a clip form a batch for the tower and the connector, so clips are processed
        one by one. This needs little memory and gives the same numbers in any batch.
        """
        before, after = (self._embedded(text) for text in self.prompt(instruction))
        return torch.stack([torch.cat([before, self.visual_tokens(c), after]) for c in clips])

    def _embedded(self, text: str) -> Tensor:
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        table = self.model.get_input_embeddings()
        embedded: Tensor = table(torch.tensor(ids, dtype=torch.long, device=self.device))
        return embedded

    def captions(self, instruction: str, clips: Sequence[ByteArray], most_tokens: int) -> list[str]:
        """Write one text per clip by greedy decoding.

        Args:
            clips: (N, S, S, 3) uint8 RGB each; the plan sets N and S.
            most_tokens: largest number of new tokens.
        """
        prompts = self.prompts(instruction, clips)
        valid = torch.ones(prompts.shape[:2], dtype=torch.bool, device=prompts.device)
        return write(self.model, self.tokenizer, prompts, valid, most_tokens)


def load_videollama2(
    weights: WeightFolder, plan: VideoLlama2Plan, *, dtype: str, device: Any
) -> VideoLlama2:
    """Load the whole checkpoint.

    Raises:
        ModelRefusedError: E-MODEL-KIND, the files have only the connector; else as
            :func:`~redub.features.models.caption_writer.strict_model` and ``read_tokenizer``.
    """
    names = tensor_names(weights)
    if names and all("mm_projector" in name for name in names):
        raise weights.refused(
            "has only the connector (mm_projector); use the whole fine-tuned checkpoint, "
            "without '-Base'",
            code="E-MODEL-KIND",
        )
    tokenizer = read_tokenizer(weights, "LlamaTokenizer", "tokenizer.model")
    model = strict_model(
        weights,
        model_class(plan.language),
        language_config(plan, weights),
        dtype=dtype,
        device=device,
        key_mapping=KEY_MAPPING,
        plan=plan,
        origin=weights,
    )
    return VideoLlama2(model, tokenizer, plan, weights)
