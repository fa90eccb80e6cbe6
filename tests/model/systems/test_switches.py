"""Switches and steps that the other tests do not cover: each changes the output."""

from dataclasses import replace

import pytest
import torch

from redub.core.errors import ConfigError
from redub.model.batch import Control, Prosody
from redub.model.blocks.aggregation import HierarchicalAggregation
from redub.model.blocks.context import ContextConfig
from redub.model.blocks.emotion_graph import EncodedGraph
from redub.model.control import controlled_prosody
from redub.model.layers.dropout import Dropout
from redub.model.layers.length_regulator import fill, fill_as_published
from redub.model.systems.authentic_dubber import AuthenticDubber
from redub.model.systems.dsu_avo import DSUAVO
from redub.model.systems.fastspeech2 import FastSpeech2
from redub.model.systems.hpm_dubbing import HPMDubbing
from redub.model.systems.style_dubber import StyleDubber
from tests.model.small_systems import SMALL, build, difference


def test_a_wider_range_moves_around_its_own_mean():
    pitch = torch.tensor([[0.5, 1.0, 1.5, 9.0, 0.0]])
    voiced = torch.tensor([[True, True, True, False, False]])
    control = Control(*(torch.tensor([x]) for x in (0.0, 2.0, 0.0, 1.0)), silence=1)
    ones = torch.ones_like(voiced)
    found = controlled_prosody(
        Prosody(pitch, voiced, pitch), control, valid=ones, sounding=ones
    ).pitch
    torch.testing.assert_close(found, torch.tensor([[0.0, 1.0, 2.0, 9.0, 0.0]]))


@pytest.mark.parametrize("kind", [AuthenticDubber, StyleDubber])
def test_the_causal_mask_hides_the_end_of_the_reference(kind, widths, make_batch):
    batch = make_batch(phonemes=(7, 7), reference_mel=(40, 40))
    other = batch._replace(reference_mel=batch.reference_mel.clone())
    other.reference_mel[:, 34:] += 5.0  # phoneme p sees frames up to p + 33

    def first_phoneme(legacy):
        torch.manual_seed(0)
        system = kind(replace(SMALL[kind], legacy=legacy), widths).eval()
        seen = []
        for one in (batch, other):
            reading = system.read(one)
            # What the encoder spreads over its frames is not the mask's to hide.
            reference_mel = reading.timbre if one is batch else seen[0][1]
            changed = reference_mel.clone()
            changed[:, 34:] += 5.0 * (one is other)
            if kind is AuthenticDubber:
                said = system.text_reads_timbre(
                    reading.text, one.phonemes_valid, changed, one.reference_valid
                )
            else:
                face = system.face_encoder.steps(one.local_face, one.local_face_valid)
                said = system.text_reads_style(
                    reading.text, one.phonemes_valid, (changed, one.reference_valid), face
                )
            seen.append((said, reference_mel))
        moved = (seen[0][0] - seen[1][0]).abs().amax((0, 2))
        return moved.detach()

    assert float(first_phoneme(())[0]) > 1e-5
    masked = first_phoneme(("causal_mask",))
    if kind is AuthenticDubber:  # StyleDubber's phonemes look at each other afterwards
        assert float(masked[0]) == 0.0
        assert float(masked[3]) > 1e-6
    else:
        assert float((masked - first_phoneme(())).abs().max()) > 1e-5


def test_the_published_length_is_how_a_system_with_that_defect_rounds(widths, make_batch):
    batch = make_batch(video_frames=(9, 7), phonemes=(7, 5)).without_recording()
    plain = build(AuthenticDubber, widths).eval()
    legacy = build(AuthenticDubber, widths, {"legacy": ("ground_truth_length",)}).eval()
    spoken = []
    for system, way in ((plain, fill), (legacy, fill_as_published)):
        torch.nn.init.zeros_(system.duration_predictor.to_value.weight)  # all last equally long
        said = system(batch)
        wanted = way(said.log_durations, batch.phonemes_valid, batch.mel_frames)
        assert torch.equal(said.durations, wanted)
        spoken.append(said.durations[1, :5].tolist())
    assert spoken == [[6, 6, 6, 5, 5], [6, 6, 6, 6, 4]]


def test_without_positions_the_decoder_does_not_know_where_a_frame_is(widths, make_batch):
    batch = make_batch(video_frames=(6, 6), phonemes=(7, 7), reference_mel=(40, 40))
    for legacy, equal in ((("no_positions",), True), ((), False)):
        system = build(AuthenticDubber, widths, {"legacy": legacy}).eval()
        states = torch.randn(1, 1, 16).expand(2, 24, 16)
        mel = system.decoder(states, batch.frames_valid, batch.speaker, None)
        # Far from both ends all frames see the same.
        assert (difference(mel[:, 11], mel[:, 12]) < 1e-4) is equal
        lips = system.lip_encoder(batch.lips, batch.lips_valid)
        same = lips._replace(states=lips.states[:, :1].expand_as(lips.states))
        text = torch.randn(1, 1, 16).expand(2, 7, 16)
        weights = system.lip_aligner(text, batch.phonemes_valid, same).attention
        assert (difference(weights, weights.mean(-1, keepdim=True)) < 1e-4) is equal


def test_graphs_are_read_from_the_basic_one_to_the_direct_one():
    torch.manual_seed(0)
    levels = HierarchicalAggregation(8, 3, 0.0).eval()
    names = ("basic", "indirect", "direct")
    graphs = {}
    for name, count in zip(names, (3, 6, 9), strict=True):
        ones = torch.ones(1, count, dtype=torch.bool)
        graphs[name] = EncodedGraph(
            torch.randn(1, count, 8), ones, torch.zeros(1, 3, count, count), torch.zeros(1, count)
        )
    states = torch.randn(1, 5, 8)
    knowledge = levels(states, graphs)
    wanted = states
    for level, name in zip(levels.levels, names, strict=True):
        graph = graphs[name]
        wanted, weights = level(wanted, graph.nodes, graph.valid, graph.bias)
        reading = next(one for one in knowledge.readings if one.stage == name)
        torch.testing.assert_close(reading.from_frames, weights)
    torch.testing.assert_close(knowledge.states, wanted)
    assert [one.stage for one in knowledge.readings] == list(names)


def test_an_unvoiced_phoneme_sounds_the_same_whatever_its_pitch(widths):
    system = build(FastSpeech2, widths).eval()
    torch.nn.init.normal_(system.unvoiced)
    pitch, energy = torch.tensor([[0.3, 1.2]]), torch.zeros(1, 2)
    silent = torch.zeros(1, 2, dtype=torch.bool)
    unvoiced = system._embedded(Prosody(pitch, silent, energy))
    assert difference(unvoiced[:, 0], unvoiced[:, 1]) == 0.0
    voiced = system._embedded(Prosody(pitch, ~silent, energy))
    assert difference(voiced[:, 0], voiced[:, 1]) > 1e-4
    assert difference(voiced[:, 0], unvoiced[:, 0]) > 1e-4


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        (AuthenticDubber, {"dropout": 1.5}, "dropout is 1.5"),
        (AuthenticDubber, {"graph_dropout": -1.0}, "graph_dropout is -1"),
        (AuthenticDubber, {"phoneme_heads": 0}, "phoneme_heads is 0"),
        (AuthenticDubber, {"graph_heads": 0}, "graph_heads is 0"),
        (AuthenticDubber, {"width": 0}, "width is 0"),
        (AuthenticDubber, {"voice_channels": (8, 8, 8, 0)}, "voice_channels"),
        (StyleDubber, {"face_channels": ()}, "face_channels"),
        (StyleDubber, {"cross_width": 10}, "half of width"),
        (FastSpeech2, {"decoder_layers": 0}, "decoder_layers is 0"),
        (HPMDubbing, {"lip_heads": 0}, "lip_heads is 0"),
        (DSUAVO, {"units": 0}, "units is 0"),
    ],
)
def test_sizes_that_no_network_has_are_named(kind, changes, said):
    with pytest.raises(ConfigError, match=said) as raised:
        replace(kind.PRESETS["tiny"], **changes)
    assert raised.value.code == "E-CFG-VALUE"
    with pytest.raises(ConfigError, match="heads is 0"):
        ContextConfig(heads=0)


def test_dropping_everything_is_no_dropout():
    for share in (-0.1, 1.0, 1.5):
        with pytest.raises(ConfigError, match="dropout"):
            Dropout(share)
