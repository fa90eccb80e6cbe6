"""Shared code of the captioning networks: strict loading, the tokenizer, greedy decoding."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from redub.core.errors import ConfigError
from redub.core.extras import optional
from redub.features.weights.folder import WeightFolder
from redub.features.weights.offline import quiet_transformers

Plan = TypeVar("Plan")
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


class CaptionWriter(Generic[Plan]):
    """A loaded caption model: vision-language model, tokenizer, prompt plan and weight folder."""

    def __init__(self, model: Any, tokenizer: Any, plan: Plan, weights: WeightFolder) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.plan = plan
        self.weights = weights

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.parameters()).device

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters of the model."""
        parameters: Iterator[nn.Parameter] = self.model.parameters()
        return parameters


def strict_model(
    weights: WeightFolder, model_class: Any, config: Any, *, dtype: str, device: Any, **named: Any
) -> Any:
    """Run ``model_class.from_pretrained`` over the listed files; every tensor must be used.

    Args:
        config: a configuration object of the library.
        dtype: type of the computation, ``float32`` or ``bfloat16``.
        named: further arguments, such as ``key_mapping``.

    Returns:
        The model in eval mode, on ``device``.

    Raises:
        ModelRefusedError: E-MODEL-KEYS, E-MODEL-SHAPE, E-MODEL-FILE.
        ConfigError: E-CFG-DEVICE, the weights do not fit into the memory of the device.
    """
    weights.one_of(SINGLE, INDEX)
    refuse_odd_types(weights)
    if weights.has("generation_config.json"):
        weights.json("generation_config.json")  # raises if it contains code
    with weights.view() as folder:
        try:
            model, report = model_class.from_pretrained(
                folder,
                config=config,
                dtype=getattr(torch, dtype),
                device_map={"": device},
                attn_implementation="sdpa",
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are reported with their names, refused below
                **named,
            )
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"the weights '{weights.name}' do not fit into the memory of {device}; set "
                "[compute] device to another GPU or to cpu",
                code="E-CFG-DEVICE",
            ) from error
        except (SafetensorError, OSError) as error:
            raise weights.refused(
                f"its tensors cannot be read ({_first_line(error)}); copy the files again",
                code="E-MODEL-FILE",
            ) from error
    _refuse_unaccounted(weights, report)
    for name, value in model.named_parameters():
        if not torch.isfinite(value).all():
            raise weights.refused(
                f"{name} holds values that are not numbers; the file is damaged, copy it again",
                code="E-MODEL-FILE",
            )
    return model.eval()


def _refuse_unaccounted(weights: WeightFolder, report: Mapping[str, Any]) -> None:
    missing, unknown = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    if missing or unknown or report["error_msgs"]:
        raise weights.refused(
            f"{len(missing)} tensors are missing{_some(missing)} and {len(unknown)} are unknown"
            f"{_some(unknown)}; this is another model, or a part of it",
            code="E-MODEL-KEYS",
        )
    for name, found, wanted in sorted(report["mismatched_keys"]):
        raise weights.refused(
            f"{name} is {tuple(found)}, wanted {tuple(wanted)}", code="E-MODEL-SHAPE"
        )


def library_config(weights: WeightFolder, config_class: Any, fields: Mapping[str, Any]) -> Any:
    """Make a configuration object of the library.

    Raises:
        ModelRefusedError: E-MODEL-FILE, the library refuses a value.
    """
    hub = optional("huggingface_hub.errors", extra="paper", purpose="captions by a network")
    try:
        return config_class.from_dict(dict(fields))
    except (hub.StrictDataclassError, TypeError, ValueError, KeyError) as error:
        raise weights.refused(f"config.json: {_first_line(error)}", code="E-MODEL-FILE") from error


def refuse_odd_types(weights: WeightFolder) -> None:
    """Check the tensor types in the file headers, because the library would cast any type.

    Raises:
        ModelRefusedError: E-MODEL-DTYPE, a tensor is quantised; E-MODEL-FILE, a damaged file.
    """
    for file, shard in _shards(weights):
        for name in shard.keys():  # noqa: SIM118 (an open file, not a mapping)
            kind = shard.get_slice(name).get_dtype()
            is_table = kind in ("I32", "I64") and name.endswith("position_ids")
            if kind not in ("F64", "F32", "F16", "BF16") and not is_table:
                raise weights.refused(
                    f"{name} in {file} is {kind}, wanted floating point. Quantised weights cannot "
                    "be used without their scales; use the unquantised weights",
                    code="E-MODEL-DTYPE",
                )


def tensor_names(weights: WeightFolder) -> set[str]:
    """Read the names of all tensors from the headers of the listed shards.

    Raises:
        ModelRefusedError: E-MODEL-FILE, a shard is damaged or cut off.
    """
    return {name for _, shard in _shards(weights) for name in shard.keys()}  # noqa: SIM118


def _shards(weights: WeightFolder) -> Iterator[tuple[str, Any]]:
    """Open every listed tensor file; raises ModelRefusedError (E-MODEL-FILE) if one is damaged."""
    for file in weights.files:
        if file.endswith(".safetensors"):
            path = weights.file(file)
            try:
                with safe_open(path, framework="pt") as shard:
                    yield file, shard
            except (SafetensorError, OSError) as error:
                raise weights.refused(
                    f"{file} is damaged or cut off ({_first_line(error)}); copy it again",
                    code="E-MODEL-FILE",
                ) from error


def read_tokenizer(weights: WeightFolder, fallback: str, *files: str) -> Any:
    """Load the tokenizer, with the text pipeline of ``tokenizer.json`` if that file exists.

    The library's model-specific tokenizer classes build a different pipeline, which loses a token
    if a text starts with a space. So the generic class is used.

    Args:
        fallback: class that reads ``files`` if there is no ``tokenizer.json``.

    Raises:
        ModelRefusedError: E-MODEL-FILE, files are missing or damaged, or no end token or chat
            template is stated; E-MODEL-CODE.
        MissingExtraError: the extra 'paper' is not installed.
    """
    transformers = quiet_transformers()
    for name in ("tokenizer_config.json", "special_tokens_map.json", "chat_template.json"):
        if weights.has(name):
            weights.json(name)  # raises if it contains code
    kind = "PreTrainedTokenizerFast"
    if not weights.has("tokenizer.json"):
        kind = fallback
        if "tokenizer.model" in files:  # transformers imports both
            optional("sentencepiece", extra="paper", purpose="reading tokenizer.model")
            optional("google.protobuf", extra="paper", purpose="reading tokenizer.model")
        for name in files:
            weights.file(name)
    with weights.view() as folder:
        tokenizer = _tokenizer(weights, getattr(transformers, kind), folder)
    if tokenizer.eos_token_id is None or not tokenizer.chat_template:
        raise weights.refused(
            "its tokenizer_config.json states no eos_token or no chat_template; take the files of "
            "the instruction-tuned checkpoint",
            code="E-MODEL-FILE",
        )
    return tokenizer


def _tokenizer(weights: WeightFolder, kind: Any, folder: Path) -> Any:
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the Rust tokenizer raises plain Exception
        raise weights.refused(
            f"its tokenizer cannot be read ({_first_line(error)}); copy the files again",
            code="E-MODEL-FILE",
        ) from error


@torch.inference_mode()
def write(
    model: Any, tokenizer: Any, prompts: Tensor, valid: Tensor, most_tokens: int
) -> list[str]:
    """Continue each prompt by greedy decoding until the end token.

    Args:
        prompts: (B, L, D) embeddings; shorter prompts are padded on the left.
        valid: (B, L) bool, True where a position is real.
        most_tokens: largest number of new tokens.

    Returns:
        B texts, stripped and without special tokens.
    """
    own = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}
    with warnings.catch_warnings():
        # Some checkpoints set a repetition penalty. With embeddings as input it counts only new
        # tokens, as in the public code.
        warnings.filterwarnings("ignore", message=".*repetition_penalty.*")
        written = model.generate(
            inputs_embeds=prompts,
            attention_mask=valid.long(),
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            max_new_tokens=most_tokens,
            eos_token_id=sorted(ends),
            pad_token_id=tokenizer.eos_token_id,
        )  # (B, tokens written)
    texts: list[str] = tokenizer.batch_decode(written, skip_special_tokens=True)
    return [text.strip() for text in texts]


def render(chat: Callable[[], str], weights: WeightFolder, mark: str) -> tuple[str, str]:
    """Render a chat template, and split the text at the mark of the images.

    Returns:
        The text before and after the mark.

    Raises:
        ModelRefusedError: E-MODEL-FILE, the template is invalid or drops the mark.
    """
    import jinja2

    try:
        text = chat()
    except (jinja2.TemplateError, TypeError) as error:
        raise weights.refused(
            f"its chat template cannot be used ({_first_line(error)})", code="E-MODEL-FILE"
        ) from error
    before, found, after = text.partition(mark)
    if not found or mark in after:
        raise weights.refused(
            f"its chat template does not keep {mark} of the prompt exactly once",
            code="E-MODEL-FILE",
        )
    return before, after


def _first_line(error: BaseException) -> str:
    return ((str(error).strip() or type(error).__name__).splitlines()[0])[:200]


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f" ({shown}{', …' if len(names) > 3 else ''})" if names else ""
