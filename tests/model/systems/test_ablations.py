"""Each switch of Authentic-Dubber changes the path that it names, and no other."""

from dataclasses import replace

import pytest
import torch

from redub.core.errors import ConfigError
from redub.model.blocks.emotion_graph import relations
from redub.model.blocks.phoneme_encoder import PhonemeEncoder
from redub.model.layers.cross_modal import TextReadsTimbre
from redub.model.layers.fft_block import FFTSizes
from redub.model.layers.length_regulator import fill, fill_as_published
from redub.model.systems.authentic_dubber import AuthenticDubber
from redub.training.losses import emotion_loss
from tests.model.small_systems import SMALL, build, difference, that_matter

OWN, HITS, SOUND = (
    [f"{kind} {modality}" for modality in ("scene", "face", "text")]
    for kind in ("own", "hit", "sound")
)
STAGES = {"graphs.stages.basic", "graphs.stages.indirect", "graphs.stages.direct"}
LEVELS = {f"aggregation.levels.{n}" for n in range(3)}


def parts_of(system):
    """The parts whose parameters an ablation may take away or add."""
    names = set()
    for name, _ in system.named_parameters():
        if name.startswith(("graphs.", "aggregation.")):
            names.add(".".join(name.split(".")[: 2 if "level." in name or "sharp" in name else 3]))
        else:
            names.add(name.partition(".")[0])
    return names


def inputs_read_by(system, batch):
    """The emotion vectors that the mel depends on, by gradient."""
    own = [vector.clone().requires_grad_() for vector in batch.modalities]
    hits = [vectors.clone().requires_grad_() for vectors in batch.hits]
    sound = batch.hits_audio.clone().requires_grad_()
    asked = batch._replace(modalities=tuple(own), hits=tuple(hits), hits_audio=sound)
    system(asked).mel_post.square().sum().backward()
    found = {}
    for m in range(3):
        found[OWN[m]] = own[m].grad
        found[HITS[m]] = hits[m].grad
        found[SOUND[m]] = None if sound.grad is None else sound.grad[:, m]
    return that_matter(found)


ROWS = {
    "full": ({}, set(), set(), {*OWN, *HITS, *SOUND}),
    "4 no scene retrieval": (
        {"retrieve": ("face", "text")}, set(), set(), {*OWN, *HITS[1:], *SOUND[1:]},
    ),
    "5 no face retrieval": (
        {"retrieve": ("scene", "text")},
        set(), set(), {*OWN, HITS[0], HITS[2], SOUND[0], SOUND[2]},
    ),
    "6 no text retrieval": (
        {"retrieve": ("scene", "face")}, set(), set(), {*OWN, *HITS[:2], *SOUND[:2]},
    ),
    "7 no retrieval": ({"retrieve": ()}, {"graphs.sharpness"}, set(), {*OWN}),
    "8 no indirect graph": (
        {"indirect": False},
        {"graphs.stages.indirect", "aggregation.levels.2"}, set(), {*OWN, *SOUND},
    ),
    "9 no direct graph": (
        {"direct": False},
        {"graphs.stages.direct", "aggregation.levels.2"}, set(), {*OWN, *HITS},
    ),
    "10 no graph": (
        {"graph": "none"}, {*STAGES, *LEVELS, "graphs.sharpness", "join_knowledge"}, set(), set(),
    ),
    "11 no staged encoding": (
        {"graph": "single"},
        {*STAGES, "aggregation.levels.1", "aggregation.levels.2"},
        {"graphs.stages.single"}, {*OWN, *HITS, *SOUND},
    ),
    "12 no hierarchical aggregation": (
        {"aggregation": "flat"}, LEVELS, {"aggregation.level"}, {*OWN, *HITS, *SOUND},
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_a_row_takes_away_the_parts_it_names_and_the_inputs_they_read(row, widths, make_batch):
    changes, gone, added, read = ROWS[row]
    full = build(AuthenticDubber, widths)
    system = build(AuthenticDubber, widths, changes).eval()
    assert parts_of(full) - parts_of(system) == gone
    assert parts_of(system) - parts_of(full) == added
    assert inputs_read_by(system, make_batch()) == read


@pytest.mark.parametrize("row", ROWS)
def test_a_row_keeps_the_sizes_of_all_that_stays(row, widths):
    shapes = [
        {name: tuple(p.shape) for name, p in build(AuthenticDubber, widths, c).named_parameters()}
        for c in ({}, ROWS[row][0])
    ]
    kept = shapes[0].keys() & shapes[1].keys()
    differing = {name for name in kept if shapes[0][name] != shapes[1][name]}
    # Without the hits, the direct graph grows from the basic one: as wide, with the same codes.
    assert differing == set()


@pytest.mark.parametrize("hits", [0, 1, 3, 5])
def test_sounds_can_hang_on_their_hits(hits):
    codes = relations(hits, with_hits=True, with_sound=True, sound_on_hits=True)
    assert int((codes > 0).sum()) == 2 * (3 + 6 * hits)
    assert torch.equal(codes, codes.T)
    for k in range(3 * hits):
        edges = codes[3 + 3 * hits + k].nonzero().flatten().tolist()
        assert edges == [3 + k]
        assert int(codes[3 + k, 3 + 3 * hits + k]) == 3


def test_the_node_of_a_sound_changes_what_its_hit_reads(widths, make_batch):
    batch = make_batch()
    louder = batch.hits_audio.clone()
    louder[:, 0, 1] += 5  # the sound of the second scene hit
    moved = {}
    for tied in ("base", "hit"):
        system = build(AuthenticDubber, widths, {"sound_node": tied}).eval()
        before, after = (system(batch._replace(hits_audio=a)) for a in (batch.hits_audio, louder))
        nodes = (before.graphs[2].nodes - after.graphs[2].nodes).abs().amax(-1)[0]
        moved[tied] = {int(n) for n in (nodes > 1e-5).nonzero()}
    # No node sees itself, so what a sound says arrives two steps away: from its base node at all
    # that is tied to that, or from its hit at the scene node. It keeps its own by the residual, and
    # a node that read it may attend to others in the second step.
    assert {1, 2, 3, 4, 5, 12, 13, 14} <= moved["base"] <= {0, 1, 2, 3, 4, 5, 12, 13, 14}
    assert {0, 13} <= moved["hit"] <= {0, 4, 13}


@pytest.mark.parametrize("k", [0, 1, 3, 5])
def test_a_trained_system_takes_any_number_of_hits(widths, make_batch, k):
    for changes in ({}, {"graph": "single"}, {"aggregation": "flat"}, {"sound_node": "hit"}):
        system = build(AuthenticDubber, widths, changes).eval()
        output = system(make_batch(hits=k))
        assert bool(torch.isfinite(output.mel_post).all())
        nodes = {reading.stage: reading.nodes.size(1) for reading in output.graphs}
        wanted = {"single": 3 + 6 * k}
        if "graph" not in changes:
            wanted = {"basic": 3, "indirect": 3 + 3 * k, "direct": 3 + 6 * k}
        assert nodes == wanted


@pytest.mark.parametrize("graph", ["staged", "single"])
@pytest.mark.parametrize("aggregation", ["hierarchical", "flat"])
def test_the_order_of_the_hits_of_a_modality_changes_no_sound(
    widths, make_batch, graph, aggregation
):
    changes = {"graph": graph, "aggregation": aggregation}
    system, batch = build(AuthenticDubber, widths, changes).eval(), make_batch()
    order = torch.tensor([2, 0, 1])
    hits, sound, score = list(batch.hits), batch.hits_audio.clone(), batch.hits_score.clone()
    hits[1] = hits[1][:, order]
    sound[:, 1], score[:, 1] = sound[:, 1, order], score[:, 1, order]
    other = batch._replace(hits=tuple(hits), hits_audio=sound, hits_score=score)
    torch.testing.assert_close(system(batch).mel_post, system(other).mel_post, rtol=1e-4, atol=1e-5)


def test_hits_far_behind_the_best_do_no_harm_however_many(widths, make_batch):
    few, many = make_batch(hits=2), make_batch(hits=9)
    few = few._replace(hits_score=few.hits_score * 0.01 + 0.9)
    score = torch.full_like(many.hits_score, -0.5)
    score[:, :, :2] = few.hits_score
    hits = [vectors.clone() for vectors in many.hits]
    for own, best in zip(hits, few.hits, strict=True):
        own[:, :2] = best
    sound = many.hits_audio.clone()
    sound[:, :, :2] = few.hits_audio
    many = few._replace(
        hits=tuple(hits), hits_audio=sound, hits_score=score, hits_valid=many.hits_valid
    )
    for changes in ({}, {"graph": "single"}, {"aggregation": "flat"}):
        apart = {}
        for aware in (True, False):
            system = build(AuthenticDubber, widths, {**changes, "score_aware": aware}).eval()
            apart[aware] = difference(system(few).mel_post, system(many).mel_post)
        assert apart[True] < 0.1 * apart[False]


def test_training_leaves_out_a_share_of_the_hits_and_speaking_none(widths, make_batch):
    batch = make_batch(video_frames=(3,) * 40, phonemes=(3,) * 40, reference_mel=(16,) * 40)
    system = build(AuthenticDubber, widths, {"hit_dropout": 0.3})
    with torch.no_grad():
        trained = system(batch).graphs[2].valid
        again = system(batch).graphs[2].valid
        spoken = system.eval()(batch).graphs[2].valid
    assert bool(spoken.all())
    assert bool(trained[:, :3].all())  # the line itself stays
    assert torch.equal(trained[:, 3:12], trained[:, 12:])  # a hit goes with its sound
    assert float(trained[:, 3:].float().mean()) == pytest.approx(
        0.7, abs=0.13
    )  # 5 deviations of 360 draws
    assert not torch.equal(trained, again)


def test_shares_of_a_flat_reading_sum_to_one_over_all_graphs(widths, make_batch):
    system, batch = build(AuthenticDubber, widths, {"aggregation": "flat"}).eval(), make_batch()
    total = sum(reading.from_frames.sum(-1) for reading in system(batch).graphs)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ConfigError, match="indirect = true"):
        replace(SMALL[AuthenticDubber], sound_node="hit", indirect=False)
    with pytest.raises(ConfigError, match="twice"):
        replace(SMALL[AuthenticDubber], retrieve=("face", "face"))
    with pytest.raises(ConfigError, match="below 1"):
        replace(SMALL[AuthenticDubber], hit_dropout=1.0)


# -- legacy


def test_double_softmax_gives_the_loss_probabilities(widths, make_batch):
    batch = make_batch()
    plain, legacy = (
        build(AuthenticDubber, widths, {"legacy": names}).eval()(batch)
        for names in ((), ("double_softmax",))
    )
    assert torch.equal(plain.mel_post, legacy.mel_post)
    torch.testing.assert_close(legacy.emotion_logits, plain.emotion_logits.softmax(-1))
    # The best a doubled softmax can do over 8 classes: one probability of 1, then softmax again.
    best = torch.eye(8)[:2] * 1.0
    floor = float(emotion_loss(best, torch.arange(2)))
    assert floor == pytest.approx(1.274, abs=1e-3)


def test_the_causal_mask_hides_the_reference_ahead():
    torch.manual_seed(0)
    for causal, seen in ((True, [0, 1, 2, 3, 4]), (False, [0, 1, 2, 3, 4, 5, 6])):
        layer = TextReadsTimbre(
            8, 4, layers=1, heads=1, filter_width=8, input_dropout=0, dropout=0, causal=causal
        )
        reference = torch.randn(1, 9, 8, requires_grad=True)
        reference_valid = torch.arange(9)[None] < 7
        text_valid = torch.arange(6)[None] < 4
        out = layer(torch.randn(1, 6, 8), text_valid, reference, reference_valid)
        out[0, 1].square().sum().backward()  # phoneme 1 of 4, 7 frames: 1 + |7 - 4|
        found = that_matter(dict(enumerate(reference.grad[0])))
        assert sorted(found) == seen


def test_without_positions_the_order_of_words_is_lost():
    order = torch.tensor([3, 1, 0, 2])
    ids, valid = torch.tensor([[4, 7, 2, 9]]), torch.ones(1, 4, dtype=torch.bool)
    for positions in (True, False):
        torch.manual_seed(0)
        encoder = PhonemeEncoder(
            12,
            8,
            FFTSizes(layers=2, heads=2, filter_width=8, kernel=1, dropout=0.0),
            positions=positions,
        ).eval()
        apart = difference(encoder(ids, valid)[:, order], encoder(ids[:, order], valid))
        assert (apart < 1e-4) is not positions


def test_no_positions_reaches_encoder_aligner_and_decoder(widths):
    system = build(AuthenticDubber, widths, {"legacy": ("no_positions",)})
    parts = (system.phoneme_encoder, system.lip_aligner, system.decoder)
    assert [part.positions for part in parts] == [False] * 3
    right = build(AuthenticDubber, widths)
    assert all(p.positions for p in (right.phoneme_encoder, right.lip_aligner, right.decoder))


def test_published_rounding_rounds_each_and_the_last_takes_the_rest():
    wanted = torch.tensor([[2.5, 2.5, 5.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    valid = torch.tensor([[True, True, True, False], [True] * 4])
    durations = fill_as_published(wanted.log1p(), valid, torch.tensor([11, 6]))
    # 2.75, 2.75, 5.5 round to 3, 3, 6: one too many; 1.5 four times rounds to 2 each: two too many.
    assert durations.tolist() == [[3, 3, 5, 0], [2, 2, 2, 0]]
    right = fill(wanted.log1p(), valid, torch.tensor([11, 6]))
    assert right.sum(1).tolist() == [11, 6]
    assert int(right[valid].min()) == 1
