"""HPMDubbing's line, M2CI-Dubber's context and DSU-AVO: lengths, padding, switches, learning."""

from dataclasses import replace

import pytest
import torch

from redub.core.errors import ConfigError
from redub.model.batch import Context, Control, DubbingBatch, Prosody
from redub.model.blocks.context import ContextConfig
from redub.model.systems.dsu_avo import DSUAVO
from redub.model.systems.hpm_dubbing import HPMDubbing
from redub.model.systems.m2ci_dubber import M2CIDubber
from redub.model.systems.mc_dubber import MCDubber, widened
from redub.model.systems.redub_dubber import RedubDubber
from redub.training.losses import LossWeights, losses_of
from tests.model.small_systems import (
    SMALL_SIZES,
    by_heart,
    difference,
    has_no_effect,
    idle_parameters,
    learnt_by_heart,
)
from tests.model.systems.test_authentic_dubber import line_of, noise_in_padding

SIZES = {
    "width": 16, "filter_width": 24, "lip_width": 8, "decoder_layers": 2, "postnet_channels": 8,
    "bins": 16, "attention_dropout": 0.0,
}  # fmt: skip
CONTEXT = ContextConfig(text_layers=1, heads=2, filter_width=24, kernel=3, channels=8, dropout=0.0)
SMALL = {
    HPMDubbing: replace(HPMDubbing.PRESETS["tiny"], **SIZES),
    MCDubber: replace(MCDubber.PRESETS["tiny"], **SIZES),
    M2CIDubber: replace(M2CIDubber.PRESETS["tiny"], **SIZES, context=CONTEXT),
    RedubDubber: replace(RedubDubber.PRESETS["tiny"], **SMALL_SIZES, context=CONTEXT),
    DSUAVO: replace(
        DSUAVO.PRESETS["tiny"],
        width=16, filter_width=24, unit_width=8, units=12, postnet_channels=8,
    ),
}  # fmt: skip
ROWS = {
    "without global": {"scales": ("local",)},
    "without local": {"scales": ("global",)},
    "without IMA": {"aggregation": False},
    "without IMF": {"fusion": False},
    "without CAA": {"adaptor": False},
    "no interaction in IMA": {"interaction": ("fusion",)},
    "no interaction in IMF": {"interaction": ("aggregation",)},
    "no interaction": {"interaction": ()},
    "without video": {"modalities": ("text", "audio")},
    "without text": {"modalities": ("face", "audio")},
    "without audio": {"modalities": ("face", "text")},
    "without previous": {"sides": ("following",)},
    "without following": {"sides": ("previous",)},
}
VARIANTS = [
    (HPMDubbing, {}),
    (HPMDubbing, {"scene": True, "voicing": False}),
    (MCDubber, {}),
    (MCDubber, {"adjacent_mels": False}),
    (M2CIDubber, {}),
    *((M2CIDubber, {"context": replace(CONTEXT, **changes)}) for changes in ROWS.values()),
    (M2CIDubber, {"context": replace(CONTEXT, current_intra=False)}),
    (RedubDubber, {}),
    (DSUAVO, {}),
]
NAMES = ["HPM", "HPM scene", "MC", "MC no mels", "M2CI", *ROWS, "no intra", "redub", "DSU"]
WEIGHTS = LossWeights(ctc=0.01, mel_squared=1.0, prosody_distance=1.0, units=1.0)


def build(kind, widths, changes=None, seed=0):
    torch.manual_seed(seed)
    return kind(replace(SMALL[kind], **(changes or {})), widths)


def with_sound(batch, seed=7):
    """The batch with the sound of its own lines, as a system of units learns it."""
    generator = torch.Generator().manual_seed(seed)
    sound = torch.randn(*batch.frames_valid.shape, 6, generator=generator)
    valid = batch.frames_valid
    return batch._replace(sound=sound * valid.unsqueeze(-1), sound_valid=valid)


def context_alone(context, row):
    """The line adjacent to one line, without the padding that others need."""
    least = {"local_face": 4, "sound": 16}

    def cut(name, value):
        own = value[row : row + 1]
        mask = getattr(context, f"{name.removesuffix('_valid')}_valid", None)
        if name == "global_valid" or mask is None:
            return own
        real = max(int(mask[row].sum()), least.get(name.removesuffix("_valid"), 1))
        return own[:, :real]

    values = {}
    for name, value in context._asdict().items():
        if name == "global_features":
            values[name] = tuple(vector[row : row + 1] for vector in value)
        elif name == "prosody":
            frames = max(int(context.mel_valid[row].sum()), 1)
            values[name] = Prosody(*(part[row : row + 1, :frames] for part in value))
        else:
            values[name] = cut(name, value)
    return Context(**values)


def alone(batch, row, video_frames, phonemes, reference_mel):
    line = line_of(
        batch._replace(previous=None, following=None, sound=None, sound_valid=None),
        row, video_frames=video_frames, phonemes=phonemes, reference_mel=reference_mel,
    )  # fmt: skip
    if batch.sound is not None:
        frames = 4 * video_frames
        line = line._replace(
            sound=batch.sound[row : row + 1, :frames],
            sound_valid=batch.sound_valid[row : row + 1, :frames],
        )
    return line._replace(
        previous=context_alone(batch.previous, row), following=context_alone(batch.following, row)
    )


def noisy(batch):
    """Large numbers wherever a mask says there is nothing, in the adjacent lines, too."""

    def filled(values, valid):
        while valid.dim() < values.dim():
            valid = valid.unsqueeze(-1)
        return torch.where(valid, values, torch.tensor(30).to(values))

    def beside(context):
        names = ("lips", "local_face", "sound", "mel")
        values = {
            name: filled(getattr(context, name), getattr(context, f"{name}_valid"))
            for name in names
        }
        whole = tuple(
            filled(vector, context.global_valid[:, place])
            for place, vector in enumerate(context.global_features)
        )
        pitch, voiced, energy = context.prosody
        prosody = Prosody(
            filled(pitch, context.mel_valid), voiced, filled(energy, context.mel_valid)
        )
        words = torch.where(context.phonemes_valid, context.phonemes, 3)
        return context._replace(**values, global_features=whole, prosody=prosody, phonemes=words)

    made = noise_in_padding(batch)._replace(
        previous=beside(batch.previous),
        following=beside(batch.following),
        local_face=filled(batch.local_face, batch.local_face_valid),
    )
    if batch.sound is not None:
        made = made._replace(sound=filled(batch.sound, batch.sound_valid))
    return made


@pytest.fixture(params=VARIANTS, ids=NAMES)
def system(request, widths):
    return build(request.param[0], widths, request.param[1])


@pytest.fixture
def batch(make_batch):
    """Two lines, the second without a line before it."""
    return with_sound(make_batch(before=(7, 0), after=(3, 5)))


@pytest.mark.parametrize("recorded", [True, False])
def test_a_line_is_spoken_alone_as_in_a_batch(system, batch, recorded):
    system = system.eval()
    if not recorded:
        batch = batch.without_recording()
    together = system(batch)
    single = system(alone(batch, 1, video_frames=4, phonemes=5, reference_mel=33))
    torch.testing.assert_close(together.mel_post[1:, :16], single.mel_post, rtol=1e-4, atol=1e-5)
    assert torch.equal(together.durations[1:, :5], single.durations)
    assert together.durations.sum(1).tolist() == [24, 16]
    assert float(together.mel_post[1, 16:].detach().abs().max()) == 0.0
    torch.testing.assert_close(
        together.lip_attention[1:, :5, :4], single.lip_attention, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("training", [True, False])
def test_what_padding_holds_changes_no_value_and_no_gradient(system, batch, training):
    seen = []
    system.train(training)
    for candidate in (batch, noisy(batch)):
        torch.manual_seed(5)  # the same dropout
        output = system(candidate)
        system.zero_grad()
        losses_of(output, candidate, WEIGHTS).total(WEIGHTS).backward()
        gradients = [p.grad.clone() for p in system.parameters() if p.grad is not None]
        seen.append((output.mel_post, *gradients))
    for clean, other in zip(*seen, strict=True):
        torch.testing.assert_close(clean, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("video_frames", "phonemes"), [((1,), (1,)), ((1, 7), (3, 1)), ((9, 2, 5), (12, 11, 1))]
)
def test_four_frames_of_each_picture_whatever_the_words(system, make_batch, video_frames, phonemes):
    batch = make_batch(
        video_frames=video_frames, phonemes=phonemes, reference_mel=(40,) * len(video_frames),
        before=(0,) * len(video_frames), after=(1,) * len(video_frames),
    ).without_recording()  # fmt: skip
    output = system.eval()(batch)
    assert output.mel_post.shape == (len(video_frames), 4 * max(video_frames), 12)
    assert bool(torch.isfinite(output.mel_post).all())
    assert output.durations.sum(1).tolist() == [4 * count for count in video_frames]
    for row, count in enumerate(phonemes):
        if 4 * video_frames[row] >= count:
            assert int(output.durations[row, :count].min()) >= 1
        assert int(output.durations[row, count:].sum()) == 0


def test_a_line_without_lips_face_and_adjacent_lines_is_spoken(system, batch):
    hidden = batch._replace(
        lips_valid=torch.zeros_like(batch.lips_valid),
        local_face_valid=torch.zeros_like(batch.local_face_valid),
    ).without_recording()
    output = system.eval()(hidden)
    assert output.mel_post.shape == (2, 24, 12)
    assert bool(torch.isfinite(output.mel_post).all())


@pytest.mark.parametrize("kind", by_heart(SMALL, fast=(HPMDubbing, DSUAVO)))
def test_four_lines_are_learnt_by_heart(kind, widths, make_batch):
    batch = make_batch(
        video_frames=(6, 4, 5, 3), phonemes=(7, 5, 6, 4), reference_mel=(40, 33, 36, 20),
        before=(3, 0, 2, 2), after=(2, 3, 0, 2),
    )  # fmt: skip
    clock, channel = torch.arange(24.0)[None, :, None], torch.arange(12.0)[None, None, :]
    mel = torch.sin(0.35 * clock + channel + torch.arange(4.0)[:, None, None])
    batch = with_sound(batch._replace(mel=mel * batch.frames_valid.unsqueeze(-1)))
    distances = learnt_by_heart(build(kind, widths), batch, WEIGHTS)
    assert distances[0] > 0.5
    assert distances[-1] < 0.1


# -- the fourteen rows


def moved(system, batch, **changes):
    before, after = system(batch).mel_post, system(batch._replace(**changes)).mel_post
    return difference(before, after)


def changed(context, **values):
    """An adjacent line with other values of what is named."""
    made = {}
    for name, by in values.items():
        value = getattr(context, name)
        made[name] = tuple(v + by for v in value) if isinstance(value, tuple) else value + by
    return context._replace(**made)


EVERYTHING = {"face", "face whole", "sound", "audio whole", "words", "text whole", "following"}


@pytest.mark.parametrize(
    ("row", "reads"),
    [
        (None, EVERYTHING),
        *((row, EVERYTHING) for row in list(ROWS)[2:8]),
        ("without global", {"face", "sound", "words", "following"}),
        ("without local", {"face whole", "audio whole", "text whole", "following"}),
        ("without video", {"sound", "audio whole", "words", "text whole", "following"}),
        ("without text", {"face", "face whole", "sound", "audio whole", "following"}),
        ("without audio", {"face", "face whole", "words", "text whole", "following"}),
        ("without previous", {"following"}),
        (
            "without following",
            {"face", "face whole", "sound", "audio whole", "words", "text whole"},
        ),
    ],
)
def test_a_switch_takes_away_what_it_names_and_nothing_else(widths, make_batch, row, reads):
    context = replace(CONTEXT, **ROWS[row]) if row else CONTEXT
    batch = make_batch(before=(7, 6), after=(5, 4)).without_recording()

    def whole(place):
        return tuple(
            vector + 2.0 * (place == n) for n, vector in enumerate(batch.previous.global_features)
        )

    asked = {
        "face": batch.previous._replace(local_face=batch.previous.local_face * -3),
        "sound": batch.previous._replace(sound=batch.previous.sound * -3),
        "words": batch.previous._replace(
            phonemes=(batch.previous.phonemes % 18 + 1) * batch.previous.phonemes_valid
        ),
        "face whole": batch.previous._replace(global_features=whole(0)),
        "text whole": batch.previous._replace(global_features=whole(1)),
        "audio whole": batch.previous._replace(global_features=whole(2)),
    }
    asked = {name: {"previous": other} for name, other in asked.items()}
    other = changed(batch.following, local_face=2.0, sound=2.0, global_features=2.0)
    asked["following"] = {"following": other}
    moves = dict.fromkeys(asked, 0.0)
    for seed in (0, 1):  # what is read may move little by chance; what is not read moves nothing
        system = build(M2CIDubber, widths, {"context": context}, seed).eval()
        with torch.no_grad():
            for name, change in asked.items():
                moves[name] = max(moves[name], moved(system, batch, **change))
    assert {name for name, by in moves.items() if by > 0.0} == reads
    assert min(moves[name] for name in reads) > 1e-5


@pytest.mark.parametrize(
    ("row", "gone", "new"),
    [
        ("without global", ("encoder.global_features", "encoder.no_global"), ()),
        ("without local", ("encoder.frames", "encoder.no_steps"), ()),
        ("without IMA", (), ("encoder.aggregators.face.join",)),
        ("without IMF", ("encoder.graph",), ("encoder.join",)),
        ("without CAA", ("read", "gate"), ("add",)),
        ("no interaction in IMA", (), ("encoder.null_query",)),
        ("without video", ("encoder.frames.face", "encoder.aggregators.face"), ()),
        ("without text", ("encoder.no_steps.text", "encoder.aggregators.text"), ()),
        ("without audio", ("encoder.frames.audio", "encoder.aggregators.audio"), ()),
        ("without previous", ("gate",), ()),
        ("without following", ("gate",), ()),
    ],
)
def test_a_switch_has_the_parameters_of_what_is_left(widths, row, gone, new):
    full = dict(build(M2CIDubber, widths).named_parameters())
    less = dict(
        build(M2CIDubber, widths, {"context": replace(CONTEXT, **ROWS[row])}).named_parameters()
    )

    def under(names, part):
        return [name for name in names if name.startswith(f"context.{part}")]

    for part in gone:
        assert under(full, part)
        assert not under(less, part)
    for part in new:
        assert not under(full, part)
        assert under(less, part)
    backbone = {name for name in full if not name.startswith("context.")}
    assert {name for name in less if not name.startswith("context.")} == backbone


@pytest.mark.parametrize("row", [None, *ROWS])
def test_every_parameter_of_a_row_is_learnt(widths, make_batch, row):
    context = replace(CONTEXT, **ROWS[row]) if row else CONTEXT
    batch = make_batch(before=(9, 0), after=(0, 9))

    def losses_at(seed):
        system = build(M2CIDubber, widths, {"context": context}, seed)
        return system, losses_of(system(batch), batch, WEIGHTS).total(WEIGHTS)

    names = [name for name, _ in build(M2CIDubber, widths, {"context": context}).named_parameters()]
    names = [name for name in names if name.startswith("context.")]
    idle = {name for name in idle_parameters(losses_at) if name.startswith("context.")}
    assert idle == {name for name in names if has_no_effect(name)}


def test_a_row_names_nothing_twice():
    for name, values in (
        ("sides", ("previous",)),
        ("modalities", ("face",)),
        ("scales", ("local",)),
    ):
        with pytest.raises(ConfigError, match=rf"context\.{name} names a value twice"):
            replace(CONTEXT, **{name: values * 2})
    with pytest.raises(ConfigError, match="twice"):
        replace(CONTEXT, interaction=("fusion", "fusion"))


def test_aggregation_is_that_of_section_ii_b(widths, make_batch):
    batch = make_batch(before=(7, 6)).without_recording()
    adaptor = build(M2CIDubber, widths).eval().context
    encoder, valid = adaptor.encoder, batch.phonemes_valid
    ima = encoder.aggregators["audio"]
    frames = encoder.frames["audio"]
    halved, steps_valid = frames.halved(batch.previous.sound, batch.previous.sound_valid)
    steps = frames.block(frames.to_width(halved.tanh()), steps_valid)
    whole = encoder.global_features["audio"](batch.previous.global_features[2])
    current = adaptor.text(batch.phonemes, valid) * valid.unsqueeze(-1)
    beside = whole.unsqueeze(1).expand_as(current)
    states = ima.fuse_global(torch.cat((current, beside), -1))
    states = ima.norm_self(states + ima.self_attention(states, states, valid))
    states = ima.norm_cross(states + ima.cross_attention(states, steps, steps_valid))
    states = ima.block(states, valid)
    wanted = ima.fuse_output(torch.cat((states, beside), -1)) * valid.unsqueeze(-1)
    found = ima(current, valid, encoder._features_of("audio", batch.previous, None))
    torch.testing.assert_close(found, wanted)


def test_adaption_is_that_of_section_ii_d(widths, make_batch):
    batch = make_batch(before=(7, 6), after=(2, 3)).without_recording()
    adaptor = build(M2CIDubber, widths).eval().context
    valid = batch.phonemes_valid
    current = adaptor.text(batch.phonemes, valid)
    before, after = (
        adaptor.encoder(current, valid, side, adaptor.text(side.phonemes, side.phonemes_valid))
        for side in (batch.previous, batch.following)
    )
    states = torch.randn(2, 24, SIZES["width"], generator=torch.Generator().manual_seed(4))
    share = adaptor.gate(torch.cat((before, after), -1)).sigmoid()
    read = adaptor.read(states, share * before + (1 - share) * after, valid)
    torch.testing.assert_close(adaptor(states, batch), states + read)


def test_interaction_is_where_the_current_words_are_met(widths, make_batch):
    batch = make_batch(before=(7, 6), after=(5, 4)).without_recording()
    other = batch._replace(phonemes=(batch.phonemes % 18 + 1) * batch.phonemes_valid)
    found = {}
    for name in ("no interaction in IMA", "no interaction in IMF", "no interaction"):
        system = build(M2CIDubber, widths, {"context": replace(CONTEXT, **ROWS[name])}).eval()
        encoder, seen = system.context.encoder, []
        for one in (batch, other):
            valid = one.phonemes_valid
            current = system.context.text(one.phonemes, valid)
            text = system.context.text(one.previous.phonemes, one.previous.phonemes_valid)
            seen.append(encoder(current, valid, one.previous, text))
        found[name] = difference(*seen) > 1e-3
    assert found == {
        "no interaction in IMA": True, "no interaction in IMF": True, "no interaction": False
    }  # fmt: skip


def test_no_line_before_is_not_a_line_of_zeros(widths, make_batch):
    batch = make_batch(before=(7, 6)).without_recording()
    for kind in (M2CIDubber, RedubDubber):
        system = build(kind, widths).eval()
        nothing = make_batch(before=(0, 0)).without_recording().previous
        zeros = batch.previous._replace(
            local_face=torch.zeros_like(batch.previous.local_face),
            sound=torch.zeros_like(batch.previous.sound),
            global_features=tuple(map(torch.zeros_like, batch.previous.global_features)),
        )
        assert difference(
            system(batch._replace(previous=nothing)).mel_post,
            system(batch._replace(previous=zeros)).mel_post,
        ) > 1e-3  # fmt: skip


def test_mcdubber_reads_recorded_adjacent_lines_and_not_its_own_recording(widths, make_batch):
    system, batch = build(MCDubber, widths).eval(), make_batch(before=(3, 2), after=(2, 4))
    unspoken = batch.without_recording()
    other = batch.previous._replace(mel=batch.previous.mel + 1.0)
    assert moved(system, unspoken, previous=other) > 1e-3
    deaf = build(MCDubber, widths, {"adjacent_mels": False}).eval()
    assert moved(deaf, unspoken, previous=other) == 0.0
    assert moved(system, batch, mel=batch.mel + 1.0) == 0.0


def test_mcdubber_without_adjacent_lines_is_hpmdubbing(widths, make_batch):
    batch = make_batch(before=(0, 0), after=(0, 0)).without_recording()
    middle = build(MCDubber, widths, {"adjacent_mels": False}).eval()
    plain = build(HPMDubbing, widths).eval()
    plain.load_state_dict(middle.state_dict())
    torch.testing.assert_close(middle(batch).mel_post, plain(batch).mel_post)


def test_mcdubber_joins_before_line_and_after_and_knows_the_frames_of_both(make_batch):
    batch = make_batch(before=(3, 0), after=(2, 4))
    wide = widened(batch)
    for row in range(2):
        parts = [batch.previous, batch, batch.following]
        words = torch.cat([part.phonemes[row][part.phonemes_valid[row]] for part in parts])
        assert torch.equal(wide.batch.phonemes[row, : len(words)], words)
        assert int(wide.batch.phonemes_valid[row].sum()) == len(words)
        lips = torch.cat([part.lips[row][part.lips_valid[row]] for part in parts])
        assert torch.equal(wide.batch.lips[row, : len(lips)], lips)
    assert wide.first_video_frame.tolist() == [3, 0]
    assert wide.first_frame.tolist() == [12, 0]
    assert wide.first_phoneme.tolist() == batch.previous.phonemes_valid.sum(1).tolist()
    own = [24, 16]
    for row, (first, count) in enumerate(zip(wide.first_frame.tolist(), own, strict=True)):
        known = wide.known[row, : int(wide.batch.mel_frames[row])]
        assert not known[first : first + count].any()
        assert known[:first].all()
        assert known[first + count :].all()
        mel = wide.batch.mel[row]
        assert torch.equal(mel[:first], batch.previous.mel[row, :first])
        assert not mel[first : first + count].any()


def test_mcdubber_cuts_out_its_own_part_of_everything(widths, make_batch):
    batch = make_batch(before=(3, 1), after=(2, 4))
    system, wide = build(MCDubber, widths).eval(), widened(batch)
    said = system.spoken(
        system.aligner(system.aligner.encoded(wide.batch, torch.zeros(2, 16)), wide.batch).states,
        system.aligner(system.aligner.encoded(wide.batch, torch.zeros(2, 16)), wide.batch),
        wide.batch,
        torch.zeros(2, 16),
    )
    clock = torch.arange(said.mel.size(1)).float()

    def ramp(values):
        shape = (1, -1) if values.dim() == 2 else (1, -1, 1)
        return clock[: values.size(1)].view(shape).expand_as(values)

    looked = said.lip_attention  # (B, words, V): tell the places of both
    places = 100 * torch.arange(looked.size(1)).view(1, -1, 1) + torch.arange(looked.size(2))
    (video_frames, video_valid), (frames, frames_valid) = said.ctc
    planted = said._replace(
        mel=ramp(said.mel),
        mel_post=ramp(said.mel_post),
        lip_attention=places.expand_as(looked).float(),
        prosody=said.prosody._make(ramp(value) for value in said.prosody),
        spoken=Prosody(ramp(said.spoken.pitch), said.spoken.voiced, ramp(said.spoken.energy)),
        ctc=((ramp(video_frames), video_valid), (ramp(frames), frames_valid)),
    )
    cut = system._middle(planted, wide, batch)
    for row, (first, count) in enumerate(((12, 24), (4, 16))):
        own = clock[first : first + count]
        for values in (cut.mel[..., 0], cut.mel_post[..., 0], *cut.prosody, cut.spoken.pitch,
                       cut.spoken.energy, cut.ctc[1][0][..., 0]):  # fmt: skip
            assert torch.equal(values[row, :count], own)
        video_frames = first // 4
        by_pictures = cut.ctc[0][0][row, : count // 4, 0]
        assert torch.equal(by_pictures, clock[video_frames : video_frames + count // 4])
        word = int(wide.first_phoneme[row])
        assert cut.lip_attention[row, 0, 0] == 100 * word + video_frames


def test_mcdubber_learns_what_stands_for_the_frames_that_are_to_be_spoken(widths, make_batch):
    system, batch = build(MCDubber, widths), make_batch(before=(3, 2), after=(2, 4))
    losses_of(system(batch), batch, WEIGHTS).total(WEIGHTS).backward()
    assert float(system.to_be_spoken.grad.abs().sum()) > 0
    assert float(system.from_mel.weight.grad.abs().sum()) > 0


def test_mcdubber_asked_for_no_range_keeps_the_mean_of_its_own_line(widths, make_batch):
    system = build(MCDubber, widths).eval()
    torch.nn.init.constant_(system.prosody.voicing.to_value.bias, 9.0)  # all is voiced
    batch = make_batch(before=(6, 6), after=(6, 6)).without_recording()
    one = torch.ones(2)
    still = Control(pitch=0 * one, pitch_range=0 * one, energy=0 * one, rate=one, silence=87)
    plain, flat = system(batch), system(batch._replace(control=still))
    for row in range(2):
        voiced = plain.spoken.voiced[row] & plain.frames_valid[row]
        assert voiced.any()
        mean = plain.spoken.pitch[row][voiced].mean()
        torch.testing.assert_close(flat.spoken.pitch[row][voiced], mean.expand(int(voiced.sum())))


def test_the_published_mask_looks_at_pictures_behind_the_end(widths, batch):
    batch = batch.without_recording()
    single = alone(batch, 1, video_frames=4, phonemes=5, reference_mel=33)
    for legacy, looks in ((("query_mask",), True), ((), False)):
        system = build(HPMDubbing, widths, {"legacy": legacy}).eval()
        # Zeros, which a longer line beside it brings.
        beside, by_itself = (system(lines).prosody.pitch for lines in (batch, single))
        assert (difference(beside[1, :16], by_itself[0]) > 1e-4) is looks


def test_units_of_a_line_without_sound_are_its_own_and_not_compared(widths, make_batch):
    system, batch = build(DSUAVO, widths).eval(), with_sound(make_batch())
    known = batch.sound_valid & torch.tensor([[True], [False]])
    said = system(batch._replace(sound_valid=known))
    assert said.units.valid.any(1).tolist() == [True, False]
    whole = system(batch)
    torch.testing.assert_close(said.mel_post[0], whole.mel_post[0])
    torch.testing.assert_close(said.mel_post[1], system(batch.without_recording()).mel_post[1])
    assert torch.equal(said.units.wanted[0], whole.units.wanted[0])


def test_units_are_the_nearest_clusters_and_learnt_from_them(widths, make_batch):
    system, batch = build(DSUAVO, widths).eval(), with_sound(make_batch())
    said = system(batch)
    wanted = said.units.wanted
    assert wanted.shape == (2, 12)
    stretch = batch.sound[0, 2 * 5 : 2 * 5 + 2].mean(0)  # two frames per unit
    far = (system.centroids - stretch).norm(dim=1)
    assert int(wanted[0, 5]) == int(far.argmin())
    unspoken = system(batch.without_recording())
    assert unspoken.units.wanted is None
    loud = batch._replace(sound=batch.sound * 5)
    assert torch.equal(
        system(loud.without_recording()).mel_post, unspoken.mel_post
    )  # its own sound is not looked at
    assert difference(system(loud).mel_post, said.mel_post) > 1e-3


def test_batches_move_and_forget_with_their_context(make_batch):
    batch = with_sound(make_batch())
    assert {"previous", "following", "sound"} <= set(DubbingBatch._field_defaults)
    moved_batch = batch.to("cpu")
    assert isinstance(moved_batch.previous, Context)
    assert batch.without_recording().sound is None
