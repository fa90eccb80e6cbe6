"""Tiny tokenizers in the files and with the chat templates of the public checkpoints."""

from __future__ import annotations

import io
import json

import sentencepiece
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

TEXT = (
    "Describe the mood of this scene, its hue, lightness and saturation.",
    "Describe how the expression of the face changes during the video.",
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible.",
    "[INST] <<SYS>> <</SYS>> [/INST] system user assistant Time 0.0s: 1.5s,",
    "The scene is dark blue and cold; it feels sad, lonely and quiet. The face grows angry.",
)

OLD_MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)
"""Knows no system role."""

NEW_MISTRAL = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}"
    "{% set turns = messages[1:] %}{% else %}{% set turns = messages %}{% endif %}"
    "{{ bos_token }}{% for message in turns %}"
    "{% if message['role'] == 'user' %}{% if loop.first and system is defined %}"
    "{{ '[INST] ' + system + '\n\n' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% endif %}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)
"""Puts the system message in front of the first request."""

QWEN2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

QWEN2_WITH_MEDIA = (
    "{% for message in messages %}{{- '<|im_start|>' + message['role'] + '\n' -}}"
    "{% if message['content'] is string %}{{- message['content'] -}}{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'text' %}"
    "{{- content['text'] -}}{% elif content['type'] == 'video' %}{{- '<|video_pad|>' + '\n' -}}"
    "{% endif %}{% endfor %}{% endif %}{{- '<|im_end|>' -}}{{- '\n' -}}{% endfor %}"
    "{% if add_generation_prompt %}{{- '<|im_start|>assistant\n' -}}{% endif %}"
)


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def make_llama_tokenizer(folder, *, template=NEW_MISTRAL, with_json=True):
    """SentencePiece BPE with byte fallback: ``tokenizer.model`` and its ``tokenizer.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 4), model_writer=stream, model_type="bpe", vocab_size=400,
        byte_fallback=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2,
        normalization_rule_name="identity", remove_extra_whitespaces=False, num_threads=1,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(stream.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=stream.getvalue())
    if with_json:
        _json_of(pieces).save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>",
            "unk_token": "<unk>", "pad_token": None, "add_bos_token": True,
            "clean_up_tokenization_spaces": False, "chat_template": template, "legacy": True,
        },
    )  # fmt: skip
    write_json(
        folder / "special_tokens_map.json",
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    )
    return pieces.get_piece_size()


def _json_of(pieces):
    """The public LLaMA pipeline: one '▁' in front, spaces to '▁', no pre-tokenizer."""
    names = [pieces.id_to_piece(i) for i in range(pieces.get_piece_size())]
    vocabulary = {name: i for i, name in enumerate(names)}
    merges = []
    for name in names[3:]:
        if name.startswith("<0x"):
            continue
        halves = [(name[:cut], name[cut:]) for cut in range(1, len(name))]
        merges += [pair for pair in halves if pair[0] in vocabulary and pair[1] in vocabulary]
    merges.sort(key=lambda pair: vocabulary[pair[0] + pair[1]])
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(
        [AddedToken(name, normalized=False, special=True) for name in ("<unk>", "<s>", "</s>")]
    )
    return tokenizer


def make_qwen_tokenizer(folder, *, template=QWEN2, media=()):
    """Byte-level BPE with Qwen2's marks; ``media`` adds further special tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *media]
    tokenizer.add_special_tokens([AddedToken(m, normalized=False, special=True) for m in marks])
    tokenizer.save(str(folder / "tokenizer.json"))
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]
    write_json(folder / "vocab.json", vocabulary["vocab"])
    lines = [" ".join(pair) if isinstance(pair, list) else pair for pair in vocabulary["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>", "unk_token": None, "chat_template": template,
            "clean_up_tokenization_spaces": False,
        },
    )  # fmt: skip
    return tokenizer.get_vocab_size()
