"""The kinds of external files: their file names, and the licence terms of their publishers.

``redub weights add KIND PATH`` records exactly these files. The licences are quoted from the pages
of the publishers. redub contains none of these files and grants no right to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from redub.features.weights.packages import PACKAGES, files_here

_TOKENIZER = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
    "chat_template.jinja", "chat_template.json",
)  # fmt: skip
_SHARDS = ("*.safetensors", "*.safetensors.index.json")
_TENSORS = ("pytorch_model.bin", *_SHARDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightKind:
    """One kind of external files.

    Attributes:
        title: name for the user.
        wanted: groups of glob patterns; at least one file of every group must exist.
        optional: patterns of files that are recorded if they exist.
        single: only one file may match ``wanted``, because its name is not fixed and two files
            could not be distinguished.
        beside: names of files that are recorded too, if the user names a single file and they are
            in the same folder.
        licence, terms, source: licence, further conditions and address of the publisher.
    """

    title: str
    wanted: tuple[tuple[str, ...], ...]
    optional: tuple[str, ...] = ()
    single: bool = False
    beside: tuple[str, ...] = ()
    licence: str = "not stated"
    terms: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class WeightKinds:
    """What can be recorded in the weights ledger, by name."""

    kinds: Mapping[str, WeightKind]


KINDS: dict[str, WeightKind] = {
    "videollama2": WeightKind(
        title="VideoLLaMA 2 captioner (7B, 7B-16F, 2.1-7B-16F)",
        wanted=(("config.json",), ("*.safetensors",), ("tokenizer.json", "tokenizer.model")),
        optional=(*_SHARDS, *_TOKENIZER, "generation_config.json", "vision_tower/config.json"),
        licence="Apache-2.0 (files); use restricted by the README",
        terms="non-commercial use only: terms of Mistral, LLaMA and of OpenAI's data",
        source="huggingface.co/DAMO-NLP-SG/VideoLLaMA2-7B",
    ),
    "videollama3": WeightKind(
        title="VideoLLaMA 3 captioner (layout of transformers)",
        wanted=(("config.json",), ("*.safetensors",), ("tokenizer.json", "vocab.json")),
        optional=(
            *_SHARDS, *_TOKENIZER, "generation_config.json", "preprocessor_config.json",
            "processor_config.json", "video_preprocessor_config.json",
        ),
        licence="Apache-2.0",
        source="huggingface.co/lkhl/VideoLLaMA3-2B-Image-HF or -7B-Image-HF",
    ),
    "roberta_emotion": WeightKind(
        title="RoBERTa text emotion",
        wanted=(("config.json",), _TENSORS, ("tokenizer.json", "vocab.json")),
        optional=(*_SHARDS, *_TOKENIZER),
        licence="not stated on the model page",
        terms="derived from roberta-large (MIT) and mixed corpora",
        source="huggingface.co/j-hartmann/emotion-english-roberta-large",
    ),
    "comet": WeightKind(
        title="COMET-style reaction generator (any local seq2seq model)",
        wanted=(
            ("config.json",), _TENSORS, ("tokenizer.json", "vocab.json", "spiece.model"),
        ),
        optional=(*_SHARDS, *_TOKENIZER, "generation_config.json"),
        source="a COMET-ATOMIC-2020 BART or T5 folder",
    ),
    "emotion2vec": WeightKind(
        title="emotion2vec (base, plus_seed, plus_base, plus_large)",
        wanted=(("config.yaml",), ("model.pt", "model.safetensors")),
        optional=("tokens.txt", "configuration.json"),
        licence="FunASR model licence",
        terms="attribution required; see the model page",
        source="huggingface.co/emotion2vec/emotion2vec_plus_large",
    ),
    "mae_dfer": WeightKind(
        title="MAE-DFER fine-tuned on DFEW",
        wanted=(("*.pth", "*.pt", "*.safetensors"),),
        single=True,
        licence="MIT (code)",
        terms="DFEW is licensed for academic use",
        source="github.com/sunlicai/MAE-DFER",
    ),
    "emonet": WeightKind(
        title="EmoNet (EmoFAN)",
        wanted=(("*.pth", "*.pt", "*.safetensors"),),
        single=True,
        licence="CC-BY-NC-ND-4.0",
        terms="non-commercial, no derivatives",
        source="github.com/face-analysis/emonet",
    ),
    "wav2vec2_iemocap": WeightKind(
        title="wav2vec 2.0 on IEMOCAP (speechbrain or superb layout)",
        wanted=(("wav2vec2.ckpt", "pytorch_model.bin", "model.safetensors"),),
        optional=(
            "config.json", "preprocessor_config.json", "model.ckpt", "label_encoder.txt",
            "hyperparams.yaml",
        ),
        licence="Apache-2.0",
        terms="IEMOCAP is licensed for academic use",
        source="huggingface.co/speechbrain/emotion-recognition-wav2vec2-IEMOCAP",
    ),
    "npc": WeightKind(
        title="NPC frame-level speech features (s3prl layout)",
        wanted=(("*.ckpt", "*.pth", "*.pt", "*.safetensors"),),
        single=True,
        optional=("config.json",),
        licence="MIT (code)",
        terms="npc_360hr and npc_960hr are trained on LibriSpeech and are not emotion-aware",
        source="github.com/s3prl/s3prl (npc_360hr), or your own training",
    ),
    "ge2e": WeightKind(
        title="GE2E speaker encoder (Resemblyzer layout)",
        wanted=(("*.pt", "*.pth", "*.safetensors"),),
        single=True,
        licence="Apache-2.0",
        source="github.com/resemble-ai/Resemblyzer (pretrained.pt)",
    ),
    "lrw_lips": WeightKind(
        title="LRW lip reader, ResNet-18 front end",
        wanted=(("*.pth", "*.pth.tar", "*.pt", "*.safetensors"),),
        single=True,
        optional=("*.json",),
        licence="non-commercial (repository's own licence)",
        terms="LRW is licensed by the BBC for academic use",
        source="github.com/mpc001/Lipreading_using_Temporal_Convolutional_Networks",
    ),
    "yunet": WeightKind(
        title="YuNet face detector",
        wanted=(("*.onnx",),),
        single=True,
        licence="MIT",
        source="github.com/opencv/opencv_zoo (face_detection_yunet)",
    ),
    "hifi_gan": WeightKind(
        title="HiFi-GAN vocoder (V1, V2, V3; the dubbing repositories' 16 and 22 kHz)",
        wanted=(("g_*", "generator*", "*.pt", "*.pth", "*.ckpt", "*.safetensors"),),
        single=True,
        optional=("config.json",),
        beside=("config.json",),
        licence="MIT (code); of the weights what their publisher states",
        terms="vocoders imitate the voices they were trained on; ask what those were",
        source="github.com/jik876/hifi-gan, github.com/GalaxyCong/HPMDubbing_Vocoder",
    ),
    "bigvgan": WeightKind(
        title="BigVGAN v2 vocoder (generator)",
        wanted=(("bigvgan_generator*.pt", "g_*", "*.safetensors"),),
        single=True,
        optional=("config.json",),
        beside=("config.json",),
        licence="MIT",
        terms="vocoders imitate the voices they were trained on; ask what those were",
        source="huggingface.co/nvidia/bigvgan_v2_22khz_80band_fmax8k_256x",
    ),
    "hpm_dubbing": WeightKind(
        title="HPMDubbing, the released dubber (Chem or V2C-Animation)",
        wanted=(("*.pth.tar", "*.pth", "*.pt", "*.ckpt", "*.safetensors"),),
        single=True,
        licence="not stated",
        terms="dubbers imitate the voices they were trained on; ask what those were",
        source="github.com/GalaxyCong/HPMDubbing",
    ),
    "ctc": WeightKind(
        title="wav2vec 2.0 with a CTC head, for forced alignment",
        wanted=(("config.json",), _TENSORS, ("vocab.json",)),
        optional=(*_SHARDS, *_TOKENIZER, "preprocessor_config.json"),
        source="any local Wav2Vec2ForCTC folder",
    ),
    "lexicon": WeightKind(
        title="pronunciation lexicon, LibriSpeech or CMU format",
        wanted=(("*.txt", "*.dict", "*.lexicon"),),
    ),
    "g2p": WeightKind(
        title="g2p-en, phones of unknown English words",
        wanted=(("checkpoint20.npz",),),
        licence="Apache-2.0",
        source="PyPI g2p-en 2.1.0",
    ),
    "textgrids": WeightKind(
        title="phone alignments by the Montreal Forced Aligner, one TextGrid per clip",
        wanted=(("*.TextGrid", "**/*.TextGrid"),),
    ),
    "lip_arrays": WeightKind(
        title="imported lip features, one NumPy array (frames, width) per clip",
        wanted=(("*.npy", "**/*.npy"),),
    ),
    "captions": WeightKind(
        title="imported captions, JSON lines",
        wanted=(("*.jsonl",),),
    ),
    "reactions": WeightKind(
        title="imported reaction texts, JSON lines",
        wanted=(("*.jsonl",),),
    ),
    "face_boxes": WeightKind(
        title="face boxes drawn by the user, CSV",
        wanted=(("*.csv",),),
    ),
}  # fmt: skip


def _of_package(name: str) -> WeightKind:
    package = PACKAGES[name]
    return WeightKind(
        title=package.title,
        wanted=tuple((own,) for own in files_here(name)),
        licence=package.licence,
        terms=package.terms,
        source=f"{package.source} {package.version} (`redub weights get {name}`)",
    )


KINDS |= {name: _of_package(name) for name in PACKAGES if name not in KINDS}
