"""A local encoder-decoder model (BART, T5, …) that answers prompts without random sampling.

Letters: B prompts, L tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from redub.features.models.model_page import built, configured, tensors_of
from redub.features.models.text_tokens import tokenizer_of
from redub.features.weights.folder import WeightFolder, load_strictly
from redub.features.weights.offline import quiet_transformers

OLD_TENSORS = (
    r"model\.(encoder|decoder)\.version",  # a format number in BART files converted from fairseq
    # An unused table of the cross attention in T5 files from before transformers 4.
    r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
)

NO_LIMIT = 1 << 30  # T5 has relative positions, so no text is too long

SPECIAL_IDS = (
    "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_bos_token_id",
    "forced_eos_token_id",
)  # fmt: skip
"""The decoding settings that are read from the folder; redub sets lengths and beams itself."""


TokenIds = int | list[int]


class ReactionWriter:
    """A loaded model with its tokenizer and special token ids.

    Attributes:
        positions: longest input in tokens.
    """

    def __init__(
        self, module: Any, tokenizer: Any, special: Mapping[str, TokenIds], device: torch.device
    ) -> None:
        self.module = module
        self.tokenizer = tokenizer
        self.special = special
        self.device = device
        self.positions = int(getattr(module.config, "max_position_embeddings", None) or NO_LIMIT)

    def parameters(self) -> Iterator[Tensor]:
        """Iterate over the parameters of the model."""
        parameters: Iterator[Tensor] = self.module.parameters()
        return parameters

    def ids(self, prompt: str) -> tuple[int, ...]:
        """Tokenize a prompt, with the special tokens that the tokenizer adds."""
        return tuple(self.tokenizer.encode(prompt).ids)

    @torch.inference_mode()
    def write(
        self, prompts: Sequence[tuple[int, ...]], *, beams: int, max_new_tokens: int
    ) -> list[str]:
        """Decode the answer to each prompt by greedy or beam search; stripped, may be empty."""
        longest = max(map(len, prompts))
        pad = self.special["pad_token_id"]
        ids_BL = torch.tensor([ids + (pad,) * (longest - len(ids)) for ids in prompts])
        valid_BL = torch.tensor([[int(i < len(ids)) for i in range(longest)] for ids in prompts])
        config = quiet_transformers().GenerationConfig(
            **self.special,
            do_sample=False,
            num_beams=beams,
            max_new_tokens=max_new_tokens,
            use_cache=True,
        )
        answers = self.module.generate(
            input_ids=self._to_device(ids_BL),
            attention_mask=self._to_device(valid_BL),
            generation_config=config,
        )
        return [
            self.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in answers.tolist()
        ]

    def _to_device(self, tensor: Tensor) -> Tensor:
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)


def load_writer(weights: WeightFolder, device: torch.device) -> ReactionWriter:
    """Load the model of a folder strictly.

    Raises:
        ModelRefusedError: not an encoder-decoder, tensors of another model, or files that would
            run code.
    """
    transformers = quiet_transformers()
    values = weights.json("config.json")
    family = str(values.get("model_type"))
    known = {kind.model_type: kind for kind in transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING}
    if family not in known:
        raise weights.refused(
            f"config.json says model_type '{family}', wanted an encoder-decoder such as bart or t5",
            code="E-MODEL-FILE",
        )
    config = configured(known[family], weights, is_encoder_decoder=True)
    network_class = transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING[known[family]]
    state = tensors_of(weights)
    module = built(network_class, config, weights)
    for name, source in module.all_tied_weights_keys.items():
        if name not in state and source in state:
            state[name] = state[source]  # a tied tensor that is not in the file
    load_strictly(module, state, weights, extra=OLD_TENSORS)
    special = special_ids(weights, values, config)
    tokenizer = _tokenizer(weights)
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise weights.refused(
            f"the tokenizer has {tokenizer.get_vocab_size()} tokens, the network "
            f"{config.vocab_size} embeddings; they belong to different models",
            code="E-MODEL-FILE",
        )
    return ReactionWriter(module.to(device), tokenizer, special, device)


def special_ids(
    weights: WeightFolder, values: Mapping[str, Any], config: Any
) -> Mapping[str, TokenIds]:
    """Return the ids of special tokens, from ``generation_config.json``, else from the config.

    Raises:
        ModelRefusedError: E-MODEL-FILE, the start, end or padding token is missing.
    """
    own = weights.json("generation_config.json") if weights.has("generation_config.json") else {}
    found: dict[str, TokenIds] = {}
    for name in SPECIAL_IDS:
        value = own.get(name, values.get(name, getattr(config, name, None)))
        if value is not None:
            found[name] = value
    if values.get("force_bos_token_to_be_generated") and "bos_token_id" in found:
        found.setdefault("forced_bos_token_id", found["bos_token_id"])  # the old form, from 2020
    for name in ("pad_token_id", "eos_token_id", "decoder_start_token_id"):
        if name not in found:
            raise weights.refused(f"config.json has no {name}", code="E-MODEL-FILE")
    return found


def _tokenizer(weights: WeightFolder) -> Any:
    """The folder's ``tokenizers.Tokenizer``, which adds the special tokens of the family."""
    if weights.has("tokenizer.json"):
        return tokenizer_of(weights)
    if weights.has("tokenizer_config.json"):
        weights.json("tokenizer_config.json")  # raises if it contains code
    try:
        with weights.view() as folder:
            found = quiet_transformers().AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        tokenizer = found.backend_tokenizer
    except (OSError, ValueError, RuntimeError, AttributeError, KeyError, TypeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise weights.refused(
            f"its tokenizer cannot be read ({reason}); add the tokenizer.json that transformers "
            "writes to the folder",
            code="E-MODEL-FILE",
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
