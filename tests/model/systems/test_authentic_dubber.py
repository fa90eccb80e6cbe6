import pytest
import torch

from redub.core.types import AudioSpec
from redub.model.batch import DubbingBatch, FeatureWidths, Prosody
from redub.model.systems.authentic_dubber import AuthenticDubber
from redub.model.systems.style_backbone import lips_on_mel_clock

PUBLISHED = {
    "prosody": False,
    "score_aware": False,
    "duration_reads_text": False,
    "lips_in_frames": False,
}
VARIANTS = [{}, {"graph": "none"}, {"retrieve": ()}, PUBLISHED]


def line_of(batch, row, video_frames, phonemes, reference_mel):
    """One line of a batch by itself, without its padding."""
    lengths = {
        "phonemes": phonemes,
        "phonemes_valid": phonemes,
        "frames_valid": 4 * video_frames,
        "lips": video_frames,
        "lips_valid": video_frames,
        "local_face": video_frames,
        "local_face_valid": video_frames,
        "reference_mel": reference_mel,
        "reference_valid": reference_mel,
        "durations": phonemes,
        "mel": 4 * video_frames,
    }

    def alone(name, value):
        if value is None or name == "clip_ids":
            return value
        if isinstance(value, Prosody):
            return Prosody(*(part[row : row + 1, : 4 * video_frames] for part in value))
        if isinstance(value, tuple):
            return tuple(part[row : row + 1] for part in value)
        cut = value[row : row + 1]
        return cut[:, : lengths[name]] if name in lengths else cut

    values = {name: alone(name, value) for name, value in batch._asdict().items()}
    return DubbingBatch(**{**values, "clip_ids": (batch.clip_ids[row],)})


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("recorded", [True, False])
def test_a_line_is_spoken_alone_as_in_a_batch(make_dubber, make_batch, variant, recorded):
    dubber, batch = make_dubber(**variant).eval(), make_batch()
    if not recorded:
        batch = batch.without_recording()
    together = dubber(batch)
    alone = dubber(line_of(batch, 1, video_frames=4, phonemes=5, reference_mel=33))
    torch.testing.assert_close(together.mel_post[1:, :16], alone.mel_post, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.log_durations[1:, :5], alone.log_durations)
    torch.testing.assert_close(together.emotion_logits[1:], alone.emotion_logits)
    torch.testing.assert_close(together.speaker[1:], alone.speaker)
    assert float(together.mel_post[1, 16:].detach().abs().max()) == 0.0


def noise_in_padding(batch):
    """The same batch with large numbers wherever a mask says there is nothing."""

    def noisy(values, valid):
        while valid.dim() < values.dim():
            valid = valid.unsqueeze(-1)
        return torch.where(valid, values, 30.0)

    return batch._replace(
        lips=noisy(batch.lips, batch.lips_valid),
        reference_mel=noisy(batch.reference_mel, batch.reference_valid),
        mel=noisy(batch.mel, batch.frames_valid),
        prosody=Prosody(
            noisy(batch.prosody.pitch, batch.frames_valid),
            batch.prosody.voiced,
            noisy(batch.prosody.energy, batch.frames_valid),
        ),
        phonemes=torch.where(batch.phonemes_valid, batch.phonemes, 3),
    )


@pytest.mark.parametrize("training", [True, False])
def test_what_padding_holds_changes_nothing(make_dubber, make_batch, training):
    batch = make_batch()
    outputs = []
    for candidate in (batch, noise_in_padding(batch)):
        dubber = make_dubber().train(training)
        torch.manual_seed(5)  # the same dropout
        outputs.append(dubber(candidate))
    clean, noisy = outputs
    valid = clean.frames_valid.unsqueeze(-1)
    torch.testing.assert_close(clean.mel_post * valid, noisy.mel_post * valid)
    torch.testing.assert_close(clean.log_durations, noisy.log_durations)
    torch.testing.assert_close(clean.emotion_logits, noisy.emotion_logits)
    torch.testing.assert_close(clean.speaker, noisy.speaker)


def test_no_gradient_reaches_padding_or_another_line(make_dubber, make_batch):
    dubber, batch = make_dubber(lips_in_frames=True).eval(), make_batch()
    lips = batch.lips.clone().requires_grad_()
    reference_mel = batch.reference_mel.clone().requires_grad_()
    output = dubber(batch._replace(lips=lips, reference_mel=reference_mel))
    real = output.frames_valid[1].unsqueeze(-1)
    (output.mel_post[1] * real).sum().backward()
    for gradient, valid in (
        (lips.grad, batch.lips_valid),
        (reference_mel.grad, batch.reference_valid),
    ):
        assert float(gradient[0].abs().max()) == 0.0
        assert float(gradient[1][~valid[1]].abs().max()) == 0.0
        assert float(gradient[1][valid[1]].abs().max()) > 1e-6


def test_the_length_comes_from_the_picture(make_dubber, make_batch):
    dubber, batch = make_dubber().eval(), make_batch().without_recording()
    output = dubber(batch)
    assert output.durations.sum(1).tolist() == [24, 16]
    assert output.mel_post.shape == (2, 24, 12)
    assert int(output.durations[batch.phonemes_valid].min()) >= 1


def test_a_recording_is_not_needed_and_not_seen_without_it(make_dubber, make_batch):
    dubber = make_dubber().eval()
    one, other = make_batch(seed=1), make_batch(seed=1)
    other = other._replace(mel=other.mel + 9, durations=other.durations.flip(1))
    first, second = dubber(one.without_recording()), dubber(other.without_recording())
    assert torch.equal(first.mel_post, second.mel_post)


def test_without_graphs_no_emotion_vector_is_read(make_dubber, make_batch):
    dubber, batch = make_dubber(graph="none").eval(), make_batch()
    changed = batch._replace(
        modalities=tuple(vector + 5 for vector in batch.modalities), hits_audio=batch.hits_audio + 5
    )
    assert torch.equal(dubber(batch).mel_post, dubber(changed).mel_post)
    assert dubber(batch).graphs == ()


def test_without_retrieval_no_hit_is_read_but_the_line_still_is(make_dubber, make_batch):
    dubber, batch = make_dubber(retrieve=()).eval(), make_batch()
    before = dubber(batch)
    other_hits = batch._replace(hits_audio=batch.hits_audio + 5, hits_score=batch.hits_score * 2)
    assert torch.equal(before.mel_post, dubber(other_hits).mel_post)
    assert [reading.nodes.size(1) for reading in before.graphs] == [3, 3, 3]
    scene, face, text = batch.modalities
    moved = dubber(batch._replace(modalities=(scene + 5, face, text)))
    assert float((moved.mel_post - before.mel_post).detach().abs().max()) > 1e-3


def test_every_retrieved_vector_reaches_the_voice(make_dubber, make_batch):
    dubber, batch = make_dubber().eval(), make_batch()
    # None is far behind the best, or it would hardly count.
    batch = batch._replace(hits_score=torch.full_like(batch.hits_score, 0.8))
    sound = batch.hits_audio.clone().requires_grad_()
    hits = tuple(vectors.clone().requires_grad_() for vectors in batch.hits)
    dubber(batch._replace(hits=hits, hits_audio=sound)).mel_post.square().sum().backward()
    for gradient in (sound.grad.flatten(0, 2), *(vectors.grad.flatten(0, 1) for vectors in hits)):
        sizes = gradient.abs().amax(-1)
        assert bool((sizes > 1e-3 * sizes.max()).all())
    readings = dubber(batch).graphs
    assert [reading.nodes.size(1) for reading in readings] == [3, 12, 21]
    for reading in readings:
        rows = reading.from_frames.sum(-1)
        torch.testing.assert_close(rows, torch.ones_like(rows))


def test_a_line_without_a_face_is_dubbed_beside_one_with(make_dubber, make_batch):
    dubber, batch = make_dubber().eval(), make_batch()
    hidden = batch._replace(
        lips_valid=batch.lips_valid & torch.tensor([[True], [False]]),
        modalities_valid=torch.tensor([[True] * 3, [True, False, True]]),
    )
    output, before = dubber(hidden), dubber(batch)
    assert output.lips_present.tolist() == [True, False]
    assert bool(torch.isfinite(output.mel_post).all())
    torch.testing.assert_close(output.mel_post[0], before.mel_post[0])
    other = dubber(hidden._replace(lips=batch.lips + torch.tensor([0.0, 7.0]).view(2, 1, 1)))
    torch.testing.assert_close(other.mel_post[1], output.mel_post[1])


def test_the_mouth_of_a_moment_reaches_the_frames_of_that_moment(make_dubber, make_batch):
    dubber, batch = make_dubber(), make_batch(video_frames=(3,), phonemes=(3,), reference_mel=(20,))
    lips = dubber.lip_encoder(batch.lips, batch.lips_valid)
    frames = lips_on_mel_clock(lips, batch)
    torch.testing.assert_close(frames, lips.states.repeat_interleave(4, dim=1))


def test_one_batch_can_be_learnt_by_heart(make_dubber, make_batch):
    torch.manual_seed(0)
    dubber, batch = make_dubber(), make_batch()
    optimizer = torch.optim.Adam(dubber.parameters(), lr=5e-3)
    valid, distances = batch.frames_valid.unsqueeze(-1), []
    for _ in range(80):
        output = dubber(batch)
        distance = ((output.mel_post - batch.mel) * valid).square().sum() / valid.sum() / 12
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
        distances.append(distance.detach().item())
    # The mels are noise of variance 1: only remembering them gets far below 1.
    assert distances[0] > 0.9
    assert distances[-1] < 0.3


def test_the_published_sizes_build_and_have_the_published_shape():
    widths = FeatureWidths(
        lips=512, speaker=256, scene=1024, face=1024, text=2048, audio=1024, sound=AudioSpec()
    )
    with torch.device("meta"):
        paper = AuthenticDubber(AuthenticDubber.PRESETS["paper"], widths)
    counts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in paper.named_children()
    }
    # Three graphs less their 3 (2^2 + 3^2 + 4^2) frozen one-hot entries; three aggregators.
    assert counts["graphs"] == 1_380_882 + 1_380_900 + 1_118_780 - 87
    assert counts["aggregation"] == 3 * 394_240
    # One block: attention 4 (256^2 + 256), convolution 256 * 1024 * 9 + 1024, 1024 * 256 + 256,
    # and two style norms of 2 * 256 * (256 + 1); 24 of them and the mel layer 256 * 80 + 80.
    block = 263_168 + 2_360_320 + 262_400 + 2 * 131_584
    assert counts["decoder"] == 24 * block + 20_560
    assert counts["join_knowledge"] == 2 * 256 * 256
    assert isinstance(paper.lip_encoder.fit, torch.nn.Identity)
    assert paper.prosody_predictor is None
