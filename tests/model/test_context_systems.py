"""HPMDubbing's line, M2CI-Dubber's context and DSU-AVO: lengths, padding, switches, learning."""

from dataclasses import replace

import pytest
import torch

from redub.model.batch import Context, DubbingBatch, Prosody
from redub.model.context import ContextConfig
from redub.model.dsu_avo import DSUAVO
from redub.model.hpm_dubbing import HPMDubbing
from redub.model.m2ci_dubber import M2CIDubber
from redub.model.mc_dubber import MCDubber
from redub.model.redub_dubber import RedubDubber
from redub.training.losses import LossWeights, losses_of
from tests.model.systems import SMALL_SIZES, difference, learnt_by_heart
from tests.model.test_authentic_dubber import line_of, noise_in_padding

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
    (MCDubber, {"neighbour_mels": False}),
    (M2CIDubber, {}),
    *((M2CIDubber, {"context": replace(CONTEXT, **changes)}) for changes in ROWS.values()),
    (M2CIDubber, {"context": replace(CONTEXT, current_intra=False)}),
    (RedubDubber, {}),
    (DSUAVO, {}),
]
NAMES = ["HPM", "HPM scene", "MC", "MC no mels", "M2CI", *ROWS, "no intra", "redub", "DSU"]
WEIGHTS = LossWeights(ctc=0.01, mel_squared=1.0, prosody_distance=1.0, units=1.0)


def build(kind, widths, changes=None):
    torch.manual_seed(0)
    return kind(replace(SMALL[kind], **(changes or {})), widths)


def with_sound(batch, seed=7):
    """The batch with the sound of its own lines, as a system of units learns it."""
    generator = torch.Generator().manual_seed(seed)
    sound = torch.randn(*batch.frames_valid.shape, 6, generator=generator)
    valid = batch.frames_valid
    return batch._replace(sound=sound * valid.unsqueeze(-1), sound_valid=valid)


def context_alone(context, row):
    """One line's neighbour without the padding that others need."""
    least = {"expression": 4, "sound": 16}

    def cut(name, value):
        own = value[row : row + 1]
        mask = getattr(context, f"{name.removesuffix('_valid')}_valid", None)
        if name in ("present", "whole_valid") or mask is None:
            return own
        real = max(int(mask[row].sum()), least.get(name.removesuffix("_valid"), 1))
        return own[:, :real]

    values = {}
    for name, value in context._asdict().items():
        if name == "whole":
            values[name] = tuple(vector[row : row + 1] for vector in value)
        elif name == "prosody":
            frames = max(int(context.mel_valid[row].sum()), 1)
            values[name] = Prosody(*(part[row : row + 1, :frames] for part in value))
        else:
            values[name] = cut(name, value)
    return Context(**values)


def alone(batch, row, pictures, phonemes, timbre):
    line = line_of(
        batch._replace(previous=None, following=None, sound=None, sound_valid=None),
        row, pictures=pictures, phonemes=phonemes, timbre=timbre,
    )  # fmt: skip
    if batch.sound is not None:
        frames = 4 * pictures
        line = line._replace(
            sound=batch.sound[row : row + 1, :frames],
            sound_valid=batch.sound_valid[row : row + 1, :frames],
        )
    return line._replace(
        previous=context_alone(batch.previous, row), following=context_alone(batch.following, row)
    )


def noisy(batch):
    """Large numbers wherever a mask says there is nothing, in the neighbours, too."""

    def filled(values, valid):
        while valid.dim() < values.dim():
            valid = valid.unsqueeze(-1)
        return torch.where(valid, values, torch.tensor(30).to(values))

    def beside(context):
        names = ("lips", "expression", "sound", "mel")
        values = {
            name: filled(getattr(context, name), getattr(context, f"{name}_valid"))
            for name in names
        }
        whole = tuple(
            filled(vector, context.whole_valid[:, place])
            for place, vector in enumerate(context.whole)
        )
        pitch, voiced, energy = context.prosody
        prosody = Prosody(
            filled(pitch, context.mel_valid), voiced, filled(energy, context.mel_valid)
        )
        words = torch.where(context.phonemes_valid, context.phonemes, 3)
        return context._replace(**values, whole=whole, prosody=prosody, phonemes=words)

    made = noise_in_padding(batch)._replace(
        previous=beside(batch.previous),
        following=beside(batch.following),
        expression=filled(batch.expression, batch.expression_valid),
    )
    if batch.sound is not None:
        made = made._replace(sound=filled(batch.sound, batch.sound_valid))
    return made


@pytest.fixture(params=VARIANTS, ids=NAMES)
def system(request, widths):
    return build(request.param[0], widths, request.param[1])


@pytest.fixture
def batch(make_batch):
    """Two lines, of which the second has nobody before it."""
    return with_sound(make_batch(before=(7, 0), after=(3, 5)))


@pytest.mark.parametrize("recorded", [True, False])
def test_a_line_is_spoken_alone_as_in_a_batch(system, batch, recorded):
    system = system.eval()
    if not recorded:
        batch = batch.without_recording()
    together = system(batch)
    single = system(alone(batch, 1, pictures=4, phonemes=5, timbre=33))
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
    ("pictures", "phonemes"), [((1,), (1,)), ((1, 7), (3, 1)), ((9, 2, 5), (12, 11, 1))]
)
def test_four_frames_of_each_picture_whatever_the_words(system, make_batch, pictures, phonemes):
    batch = make_batch(
        pictures=pictures, phonemes=phonemes, timbre=(40,) * len(pictures),
        before=(0,) * len(pictures), after=(1,) * len(pictures),
    ).without_recording()  # fmt: skip
    output = system.eval()(batch)
    assert output.mel_post.shape == (len(pictures), 4 * max(pictures), 12)
    assert bool(torch.isfinite(output.mel_post).all())
    assert output.durations.sum(1).tolist() == [4 * count for count in pictures]
    for row, count in enumerate(phonemes):
        if 4 * pictures[row] >= count:
            assert int(output.durations[row, :count].min()) >= 1
        assert int(output.durations[row, count:].sum()) == 0


def test_a_line_without_lips_face_and_neighbours_is_spoken(system, batch):
    hidden = batch._replace(
        lips_valid=torch.zeros_like(batch.lips_valid),
        expression_valid=torch.zeros_like(batch.expression_valid),
    ).without_recording()
    output = system.eval()(hidden)
    assert output.mel_post.shape == (2, 24, 12)
    assert bool(torch.isfinite(output.mel_post).all())


@pytest.mark.parametrize("kind", list(SMALL))
def test_four_lines_are_learnt_by_heart(kind, widths, make_batch):
    batch = make_batch(
        pictures=(6, 4, 5, 3), phonemes=(7, 5, 6, 4), timbre=(40, 33, 36, 20),
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
    """A neighbour with other values of what is named."""
    made = {}
    for name, by in values.items():
        value = getattr(context, name)
        made[name] = tuple(v + by for v in value) if isinstance(value, tuple) else value + by
    return context._replace(**made)


@pytest.mark.parametrize(
    ("row", "reads"),
    [
        (None, {"face", "face whole", "sound", "audio whole", "words", "text whole", "following"}),
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
    system = build(M2CIDubber, widths, {"context": context}).eval()
    batch = make_batch(before=(7, 6), after=(5, 4)).without_recording()

    def whole(place):
        return tuple(vector + 2.0 * (place == n) for n, vector in enumerate(batch.previous.whole))

    asked = {
        "face": changed(batch.previous, expression=2.0),
        "sound": changed(batch.previous, sound=2.0),
        "words": batch.previous._replace(
            phonemes=(batch.previous.phonemes % 18 + 1) * batch.previous.phonemes_valid
        ),
        "face whole": batch.previous._replace(whole=whole(0)),
        "text whole": batch.previous._replace(whole=whole(1)),
        "audio whole": batch.previous._replace(whole=whole(2)),
    }
    found = {name for name, other in asked.items() if moved(system, batch, previous=other) > 1e-7}
    other = changed(batch.following, expression=2.0, sound=2.0, whole=2.0)
    if moved(system, batch, following=other) > 1e-7:
        found.add("following")
    assert found == reads


@pytest.mark.parametrize(
    ("row", "gone", "new"),
    [
        ("without global", ("encoder.whole", "encoder.no_whole"), ()),
        ("without local", ("encoder.frames", "encoder.no_steps"), ()),
        ("without IMA", (), ("encoder.aggregators.face.join",)),
        ("without IMF", ("encoder.graph",), ("encoder.join",)),
        ("without CAA", ("read",), ("add",)),
        ("no interaction in IMA", (), ("encoder.nobody",)),
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
        found[name] = difference(*seen) > 1e-7
    assert found == {
        "no interaction in IMA": True, "no interaction in IMF": True, "no interaction": False
    }  # fmt: skip


def test_nobody_before_a_line_is_not_a_neighbour_of_zeros(widths, make_batch):
    batch = make_batch(before=(7, 6)).without_recording()
    for kind in (M2CIDubber, RedubDubber):
        system = build(kind, widths).eval()
        nobody = make_batch(before=(0, 0)).without_recording().previous
        zeros = batch.previous._replace(
            expression=torch.zeros_like(batch.previous.expression),
            sound=torch.zeros_like(batch.previous.sound),
            whole=tuple(map(torch.zeros_like, batch.previous.whole)),
        )
        assert difference(
            system(batch._replace(previous=nobody)).mel_post,
            system(batch._replace(previous=zeros)).mel_post,
        ) > 1e-6  # fmt: skip


def test_mcdubber_reads_recorded_neighbours_and_not_its_own_recording(widths, make_batch):
    system, batch = build(MCDubber, widths).eval(), make_batch(before=(3, 2), after=(2, 4))
    unspoken = batch.without_recording()
    other = batch.previous._replace(mel=batch.previous.mel + 1.0)
    assert moved(system, unspoken, previous=other) > 1e-5
    deaf = build(MCDubber, widths, {"neighbour_mels": False}).eval()
    assert moved(deaf, unspoken, previous=other) == 0.0
    assert moved(system, batch, mel=batch.mel + 1.0) == 0.0


def test_mcdubber_without_neighbours_is_hpmdubbing(widths, make_batch):
    batch = make_batch(before=(0, 0), after=(0, 0)).without_recording()
    middle = build(MCDubber, widths, {"neighbour_mels": False}).eval()
    plain = build(HPMDubbing, widths).eval()
    plain.load_state_dict(middle.state_dict())
    torch.testing.assert_close(middle(batch).mel_post, plain(batch).mel_post)


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
    assert difference(system(loud).mel_post, said.mel_post) > 1e-5


def test_batches_move_and_forget_with_their_context(make_batch):
    batch = with_sound(make_batch())
    assert {"previous", "following", "sound"} <= set(DubbingBatch._field_defaults)
    moved_batch = batch.to("cpu")
    assert isinstance(moved_batch.previous, Context)
    assert batch.without_recording().sound is None
