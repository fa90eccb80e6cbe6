"""Reactions: the line itself, a COMET-like model's answer, a file made elsewhere."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from redub.core.errors import ConfigError, FeatureAbsent, ModelRefusedError
from redub.features.registry import (
    EXTRACTORS,
    FEATURE_BACKENDS,
    PROFILES,
    extractor_class,
    make_extractor,
)
from redub.features.text.reaction import ReactionConfig, ReactionExtractor
from redub.features.weights.offline import quiet_transformers
from redub.pipeline.imports.reactions import import_reactions
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.keys import _KEYS
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.store.weights import add_weights, read_ledger
from redub.pipeline.work.executor import Scheduler
from redub.pipeline.work.extraction import _EXTRACTORS
from tests.features.paper.comet_files import make_comet, make_comet_t5
from tests.features.paper.ledgers import CPU, Payload, folder_of
from tests.features.paper.roberta_emotion_files import CORPUS, LABELS, WIDTH, make_roberta_emotion
from tests.features.voices import AUDIO, media_of
from tests.pipeline.films import make_project, tree_digest

SYNC = Scheduler("sync", 1)
LINES = ["Where are you going?", "No.", "I am so sorry, I never meant to hurt you.", CORPUS[3]]


def backend_of(backend, folder, kind, role="model", **settings):
    return make_extractor(
        "reaction",
        audio=AUDIO,
        video=None,
        overrides=settings,
        backend=backend,
        folders={role: folder_of(folder, kind)},
        runtime=CPU,
    )


# -- the builtin


def test_without_a_model_the_reaction_is_the_line():
    extractor = ReactionExtractor(ReactionConfig())
    assert extractor.extract(media_of(text="  Go home! ")) == "Go home!"
    with pytest.raises(FeatureAbsent) as caught:
        extractor.extract(media_of(text=" "))
    assert caught.value.code == "E-TEXT-NONE"


def test_the_builtin_text_emotion_does_not_read_it_and_the_networks_does():
    assert extractor_class("text_emotion").reads == ()
    assert extractor_class("text_emotion", "roberta").reads == ("reaction",)
    names = list(EXTRACTORS)
    assert names.index("reaction") == names.index("face_caption") + 1
    assert "reaction" not in PROFILES["paper"]  # the user says where reactions come from
    assert set(FEATURE_BACKENDS["reaction"]) == {"comet", "import"}


# -- a model


def oracle(path, prompt, *, beams, most):
    """The same prompt through transformers' own loader, tokenizer and search."""
    transformers = quiet_transformers()
    model, report = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        path, local_files_only=True, output_loading_info=True
    )
    assert not report["missing_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
    settings = transformers.GenerationConfig(
        do_sample=False,
        num_beams=beams,
        max_new_tokens=most,
        min_length=0,
        no_repeat_ngram_size=0,
        early_stopping=False,
        pad_token_id=model.config.pad_token_id,
        eos_token_id=model.config.eos_token_id,
        decoder_start_token_id=model.config.decoder_start_token_id,
        forced_eos_token_id=getattr(model.config, "forced_eos_token_id", None),
    )
    ids = tokenizer(prompt, return_tensors="pt")
    with torch.no_grad():
        answer = model.generate(**ids, generation_config=settings)
    return tokenizer.decode(answer[0], skip_special_tokens=True).strip()


@pytest.mark.parametrize(("make", "seed"), [(make_comet, 2), (make_comet_t5, 0)])
@pytest.mark.parametrize("beams", [1, 3])
def test_answers_are_those_of_transformers(tmp_path, make, seed, beams):
    path = make(tmp_path / "w", seed=seed)
    extractor = backend_of("comet", path, "comet", beams=beams, max_new_tokens=9)
    written = []
    for line in LINES:
        truth = oracle(path, f"{line} xReact [GEN]", beams=beams, most=9)
        if truth:
            assert extractor.extract(media_of(text=line)) == truth
            written.append(truth)
        else:
            with pytest.raises(FeatureAbsent) as caught:
                extractor.extract(media_of(text=line))
            assert caught.value.code == "E-FEAT-NOREACTION"
    assert len(set(written)) >= 3  # not one answer to everything


def test_a_tokenizer_file_or_its_parts_give_the_same_tokens(tmp_path):
    parts = backend_of("comet", make_comet(tmp_path / "parts"), "comet")
    whole = backend_of("comet", make_comet(tmp_path / "whole", fast=True), "comet")
    for line in LINES:
        ids = parts.prepare(media_of(text=line))
        assert ids == whole.prepare(media_of(text=line))
        assert (ids[0], ids[-1]) == (0, 2)  # <s> and </s>


def test_a_batch_answers_as_each_prompt_alone_and_again_the_same(tmp_path):
    extractor = backend_of("comet", make_comet(tmp_path / "w", seed=2), "comet", beams=2)
    inputs = [extractor.prepare(media_of(text=line)) for line in LINES]
    alone = [extractor.compute([item])[0] for item in inputs]
    assert extractor.compute_all(inputs) == alone
    assert extractor.compute(inputs) == extractor.compute(inputs) == alone


def test_the_template_is_the_prompt_and_braces_in_a_line_are_text(tmp_path):
    path = make_comet(tmp_path / "w")
    plain = backend_of("comet", path, "comet")
    other = backend_of("comet", path, "comet", prompt="How does one feel? {text}")
    writer = plain.network
    line = "I {feel} {0} {text}"
    assert plain.prepare(media_of(text=line)) == writer.ids(f"{line} xReact [GEN]")
    braces = backend_of("comet", path, "comet", prompt='{"say": "{text}"}')
    assert braces.prepare(media_of(text="No.")) == writer.ids('{"say": "No."}')
    assert other.prepare(media_of(text="No.")) == writer.ids("How does one feel? No.")
    assert plain.prepare(media_of(text="No.")) != other.prepare(media_of(text="No."))


@pytest.mark.parametrize(
    "settings",
    [{"prompt": "xReact"}, {"prompt": "{text} {text}"}, {"beams": 0}, {"max_new_tokens": 0}],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, settings):
    with pytest.raises(ConfigError):
        backend_of("comet", tmp_path, "comet", **settings)


def test_a_line_beyond_the_models_positions_has_no_reaction(tmp_path):
    extractor = backend_of("comet", make_comet(tmp_path / "w"), "comet")
    with pytest.raises(FeatureAbsent) as caught:
        extractor.prepare(media_of(text=" ".join(CORPUS)))
    assert caught.value.code == "E-TEXT-LONG"
    with pytest.raises(FeatureAbsent) as caught:
        extractor.prepare(media_of(text=" "))
    assert caught.value.code == "E-TEXT-NONE"


def test_a_first_token_that_old_files_force_is_forced(tmp_path):
    extractor = backend_of(
        "comet", make_comet(tmp_path / "w", force_bos_token_to_be_generated=True), "comet"
    )
    assert extractor.network.special["forced_bos_token_id"] == 0
    assert (
        "forced_bos_token_id"
        not in backend_of("comet", make_comet(tmp_path / "v"), "comet").network.special
    )


def test_an_output_layer_of_its_own_stays_its_own(tmp_path):
    path = make_comet_t5(tmp_path / "w", untied=True)
    network = backend_of("comet", path, "comet").network.module
    stored = load_file(path / "model.safetensors")
    torch.testing.assert_close(network.lm_head.weight.data, stored["lm_head.weight"])
    torch.testing.assert_close(network.encoder.embed_tokens.weight.data, stored["shared.weight"])


def refusal(code, path, text=LINES[0]):
    with pytest.raises(ModelRefusedError) as caught:
        backend_of("comet", path, "comet").extract(media_of(text=text))
    assert caught.value.code == code
    return str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "code"),
    [
        ({"shared.weight": None}, "E-MODEL-KEYS"),
        ({"decoder.final_layer_norm.weight": None}, "E-MODEL-KEYS"),
        ({"encoder.more.weight": torch.zeros(2)}, "E-MODEL-KEYS"),
        ({"decoder.final_layer_norm.weight": torch.zeros(3)}, "E-MODEL-SHAPE"),
    ],
)
def test_another_models_tensors_are_refused(tmp_path, tensors, code):
    path = make_comet_t5(tmp_path / "w")
    state = {**load_file(path / "model.safetensors"), **tensors}
    save_file({k: v for k, v in state.items() if v is not None}, path / "model.safetensors")
    refusal(code, path)


@pytest.mark.parametrize(
    ("file", "values", "code"),
    [
        ("config.json", {"model_type": "gpt2"}, "E-MODEL-FILE"),
        ("config.json", {"auto_map": {"AutoModel": "x.Y"}}, "E-MODEL-CODE"),
        ("config.json", {"decoder_start_token_id": None}, "E-MODEL-FILE"),
        ("config.json", {"vocab_size": 100}, "E-MODEL-SHAPE"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["x.Y", None]}}, "E-MODEL-CODE"),
    ],
)
def test_folders_of_something_else_are_refused(tmp_path, file, values, code):
    path = make_comet(tmp_path / "w")
    known = json.loads((path / file).read_text())
    (path / file).write_text(json.dumps({**known, **values}))
    refusal(code, path)


def test_damage_pointers_and_code_are_refused(tmp_path):
    path, marker = make_comet(tmp_path / "w"), tmp_path / "ran"
    content = (path / "pytorch_model.bin").read_bytes()
    (path / "pytorch_model.bin").write_bytes(content[: len(content) // 2])
    refusal("E-MODEL-FILE", path)
    (path / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    refusal("E-MODEL-LFS", path)
    torch.save({"model": Payload(marker)}, path / "pytorch_model.bin")
    refusal("E-MODEL-CODE", path)
    assert not marker.exists()
    fine = make_comet_t5(tmp_path / "t5")
    (fine / "spiece.model").write_bytes(b"no sentences")
    refusal("E-MODEL-FILE", fine)


# -- a file


def test_an_imported_reaction_is_the_clips_own_or_absent_with_a_reason(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "mine.jsonl").write_text('{"clip_id": "film/0001", "reaction": "glad"}\n')
    extractor = backend_of("import", tmp_path / "w", "reactions", role="file")
    assert extractor.extract(media_of(text="No.")) == "glad"
    (tmp_path / "w" / "mine.jsonl").write_text('{"clip_id": "film/9", "reaction": "glad"}\n')
    extractor = backend_of("import", tmp_path / "w", "reactions", role="file")
    with pytest.raises(FeatureAbsent) as caught:
        extractor.extract(media_of(text="No."))
    assert caught.value.code == "E-FEAT-NOREACTION"
    for wrong in ("glad", "\n"):
        (tmp_path / "w" / "mine.jsonl").write_text(wrong)
        extractor = backend_of("import", tmp_path / "w", "reactions", role="file")
        with pytest.raises(ModelRefusedError, match="redub reactions import FILE"):
            extractor.extract(media_of(text="No."))


def test_of_several_files_of_reactions_none_is_passed_over_in_silence(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"clip_id": "x", "reaction": "glad"}\n')
    (tmp_path / "b.jsonl").write_text('{"clip_id": "film/0001", "reaction": "sad"}\n')
    extractor = backend_of("import", tmp_path, "reactions", role="file")
    with pytest.raises(ModelRefusedError, match=r"holds 2 files \(a\.jsonl, b\.jsonl\)"):
        extractor.extract(media_of(text="No."))


# -- in a project


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    """Four clips with words, and RoBERTa in the ledger."""
    base = tmp_path_factory.mktemp("reactions")
    toml = "".join(
        f'[features.{name}]\nbackend = "roberta"\n'
        for name in ("text_emotion", "global_text", "text_emotion_probs")
    )
    root = make_project(base / "p", sources=2, toml=toml)
    add_weights(root, "roberta_emotion", make_roberta_emotion(base / "w"))
    ingest(open_project(root), scheduler=SYNC)
    return root


@pytest.fixture
def root(ingested, tmp_path):
    for table in (_KEYS, _EXTRACTORS):
        table.clear()
    shutil.copytree(ingested, tmp_path / "p")
    yield tmp_path / "p"
    for table in (_KEYS, _EXTRACTORS):
        table.clear()


def by_import(root):
    text = (root / "redub.toml").read_text()
    (root / "redub.toml").write_text(text + '[features.reaction]\nbackend = "import"\n')


def write_lines(file, reactions):
    rows = [json.dumps({"clip_id": key, "reaction": text}) for key, text in reactions.items()]
    file.write_text("\n".join(rows))
    return file


def test_without_reactions_both_halves_of_the_text_vector_are_the_line(root):
    names = ["text_emotion", "global_text", "text_emotion_probs"]
    done = extract(open_project(root), scheduler=SYNC, features=names)
    assert (done.clips, done.quarantined) == (4, 0)
    store = Store(open_project(root))
    lines = {clip.clip_id: clip.text for clip in store.clips()}
    assert store.read("reaction") == lines
    vectors, texts = store.read("text_emotion"), store.read("global_text")
    for clip_id, vector in vectors.items():
        np.testing.assert_array_equal(vector[:WIDTH], vector[WIDTH:])
        np.testing.assert_array_equal(vector[:WIDTH], texts[clip_id])
    assert {v.shape for v in store.read("text_emotion_probs").values()} == {(len(LABELS),)}


def test_imported_reactions_are_the_second_half(root, tmp_path):
    clips = Store(open_project(root)).clips()
    reactions = {clip.clip_id: CORPUS[i] for i, clip in enumerate(clips[:3])}
    found = import_reactions(root, write_lines(tmp_path / "r.jsonl", {**reactions, "else": "x"}))
    assert (found.rows, found.strange, found.texts) == (4, ("else",), {"reaction": 4})
    assert (found.clips, found.without) == (4, 1)
    assert read_ledger(root).entries["reactions"] == found.entry
    by_import(root)
    extract(open_project(root), scheduler=SYNC, features=["text_emotion", "global_text"])
    store = Store(open_project(root))
    assert store.read("reaction") == reactions
    vectors, texts = store.read("text_emotion"), store.read("global_text")
    assert set(vectors) == set(reactions)
    [roberta] = {id(e.reader): e for e in _EXTRACTORS.values() if hasattr(e, "reader")}.values()
    for clip_id, vector in vectors.items():
        [ids] = roberta.prepare(media_of(text=reactions[clip_id], features={"reaction": "x"}))[:1]
        np.testing.assert_allclose(vector[WIDTH:], roberta.reader.read([ids])[0].cls, atol=2e-6)
        np.testing.assert_allclose(vector[:WIDTH], texts[clip_id], atol=2e-6)
    why = store.live_features("text_emotion").filter(~_valid())["why_not"].to_list()
    assert len(why) == 1
    assert "reaction: E-FEAT-NOREACTION" in why[0]


def _valid():
    import polars as pl

    return pl.col("valid")


def test_the_order_of_a_file_changes_no_key_and_another_reaction_does(root, tmp_path):
    ids = [clip.clip_id for clip in Store(open_project(root)).clips()]
    reactions = {clip_id: f"text {i}" for i, clip_id in enumerate(ids)}
    first = import_reactions(root, write_lines(tmp_path / "a", reactions)).entry
    backwards = dict(reversed(reactions.items()))
    assert import_reactions(root, write_lines(tmp_path / "b", backwards)).entry == first
    by_import(root)
    before = Store(open_project(root)).keys.by_name
    reactions[ids[0]] = "other"
    assert import_reactions(root, write_lines(tmp_path / "c", reactions)).entry != first
    after = Store(open_project(root)).keys.by_name
    changed = {name for name in before if before[name].key != after[name].key}
    assert changed == {"reaction", "text_emotion"}


def test_a_file_with_a_mistake_changes_nothing(root, tmp_path):
    known = Store(open_project(root)).clips()[0].clip_id
    import_reactions(root, write_lines(tmp_path / "good", {known: "glad"}))
    before = tree_digest(root)
    (tmp_path / "latin").write_bytes(b'{"clip_id": "a", "reaction": "\xe9"}')
    bad = write_lines(tmp_path / "bad", {known: " "})
    strange = write_lines(tmp_path / "strange", {"no_clip": "glad"})
    for file in (bad, strange, tmp_path / "latin", tmp_path / "missing", tmp_path):
        with pytest.raises(ConfigError) as caught:
            import_reactions(root, file)
        assert caught.value.code == "E-CFG-TABLE"
    assert tree_digest(root) == before
    assert (root / "imports" / "reactions.jsonl").read_text().count("\n") == 1
