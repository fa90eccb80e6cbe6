"""HPMDubbing as its released code computes it, with its names, written plainly as an oracle.

Letters: B batch, P phonemes, V video_frames, T mel frames, D width.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from redub.model.layers.positions import sinusoids


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.w_qs, self.w_ks, self.w_vs = (nn.Linear(width, width) for _ in range(3))
        self.fc, self.layer_norm = nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, x, padding):
        lines, length, width = x.shape
        q, k, v = (
            f(x).view(lines, length, self.heads, -1).transpose(1, 2)
            for f in (self.w_qs, self.w_ks, self.w_vs)
        )
        scores = q @ k.transpose(2, 3) / (width // self.heads) ** 0.5
        weights = scores.masked_fill(padding[:, None, None], -torch.inf).softmax(-1)
        read = (weights @ v).transpose(1, 2).reshape(lines, length, width)
        return self.layer_norm(self.fc(read) + x)


class Filter(nn.Module):
    def __init__(self, width, wide, kernel):
        super().__init__()
        self.w_1 = nn.Conv1d(width, wide, kernel, padding=kernel // 2)
        self.w_2 = nn.Conv1d(wide, width, 1)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x):
        return self.layer_norm(self.w_2(F.relu(self.w_1(x.transpose(1, 2)))).transpose(1, 2) + x)


class Block(nn.Module):
    def __init__(self, width, heads, wide, kernel):
        super().__init__()
        self.slf_attn, self.pos_ffn = Attention(width, heads), Filter(width, wide, kernel)

    def forward(self, x, padding):
        x = self.slf_attn(x, padding).masked_fill(padding.unsqueeze(-1), 0)
        return self.pos_ffn(x).masked_fill(padding.unsqueeze(-1), 0)


class Stack(nn.Module):
    def __init__(self, width, heads, layers, wide, kernel, words=None, out=None):
        super().__init__()
        if words:
            self.src_word_emb = nn.Embedding(88, width, padding_idx=0)
        table = sinusoids(torch.arange(61), width).unsqueeze(0)
        self.position_enc = nn.Parameter(table, requires_grad=False)
        self.layer_stack = nn.ModuleList(Block(width, heads, wide, kernel) for _ in range(layers))
        if out:
            self.fc_out = nn.Linear(width, out)

    def forward(self, x, padding):
        x = x + self.position_enc[:, : x.size(1)]
        for block in self.layer_stack:
            x = block(x, padding)
        return self.fc_out(x) if hasattr(self, "fc_out") else x


class Classifier(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.classifier = nn.Linear(width, 87)


class Aligner(nn.Module):
    def __init__(self, width, lip_width, heads, layers, lip_heads, wide, kernel):
        super().__init__()
        self.encoder = Stack(width, heads, layers, wide, kernel, words=True)
        self.lip_encoder = Stack(lip_width, lip_heads, layers, wide, kernel, words=True, out=width)
        self.attn, self.attn_text_spk = (nn.MultiheadAttention(width, 8) for _ in range(2))
        self.ups = nn.ModuleList(
            weight_norm(nn.ConvTranspose1d(width, width, 4, 2, padding=1)) for _ in range(2)
        )
        self.proj_con = nn.Conv1d(width, width, 1, bias=False)
        self.CTC_classifier_MDA = Classifier(width)

    def forward(self, lips, lip_padding, words, padding, speaker):
        lips = self.lip_encoder(lips, lip_padding)
        text = self.encoder(self.encoder.src_word_emb(words), padding)
        voice = speaker.unsqueeze(0).expand(text.size(1), -1, -1)
        text = text + self.attn_text_spk(text.transpose(0, 1), voice, voice)[0].transpose(0, 1)
        held = text.transpose(0, 1)
        read, _ = self.attn(lips.transpose(0, 1), held, held, key_padding_mask=padding)
        x = self.proj_con(read.permute(1, 2, 0))
        said = self.CTC_classifier_MDA.classifier(x.transpose(1, 2))
        for up in self.ups:
            x = up(F.leaky_relu(x, 0.1))
        return x.transpose(1, 2), said


class Conv(nn.Module):
    def __init__(self, before, after, kernel):
        super().__init__()
        self.conv = nn.Conv1d(before, after, kernel, padding=kernel // 2)


class Predictor(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv_layer = nn.ModuleDict(
            {
                "conv1d_1": Conv(width, width, 3), "layer_norm_1": nn.LayerNorm(width),
                "conv1d_2": Conv(width, width, 3), "layer_norm_2": nn.LayerNorm(width),
            }
        )  # fmt: skip
        self.linear_layer = nn.Linear(width, 1)

    def forward(self, x):
        for n in "12":
            x = self.conv_layer[f"conv1d_{n}"].conv(x.transpose(1, 2)).transpose(1, 2)
            x = self.conv_layer[f"layer_norm_{n}"](F.relu(x))
        return self.linear_layer(x).squeeze(-1)


class Adaptor(nn.Module):
    def __init__(self, width, face, bins):
        super().__init__()
        self.proj_con = nn.Conv1d(2 * width, width, 1, bias=False)
        self.emo_fc_2_val, self.emo_fc_2_aro = (
            nn.Sequential(nn.Linear(face, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
            for _ in range(2)
        )
        self.W, self.Uo, self.Um = (nn.Linear(width, width) for _ in range(3))
        self.bo, self.bm = (nn.Parameter(torch.randn(width)) for _ in range(2))
        self.wo, self.wm = nn.Linear(width, 1), nn.Linear(width, 1)
        self.pitch_predictor, self.energy_predictor = Predictor(width), Predictor(width)
        for kind in ("pitch", "energy"):
            edges = nn.Parameter(torch.linspace(-2, 3, bins - 1), requires_grad=False)
            setattr(self, f"{kind}_bins", edges)
            setattr(self, f"{kind}_embedding", nn.Embedding(bins, width))

    def read(self, x, face, to_key, bias, to_weight):
        pairs = self.W(x).unsqueeze(2) + to_key(face).unsqueeze(1) + bias
        return (to_weight(pairs.tanh()).softmax(2) * pairs).sum(2)

    def forward(self, x, face):
        read = self.read(x, self.emo_fc_2_val(face), self.Uo, self.bo, self.wo)
        pitch = self.pitch_predictor(read)
        read = self.read(x, self.emo_fc_2_aro(face), self.Um, self.bm, self.wm)
        energy = self.energy_predictor(read)
        with_pitch = x + self.pitch_embedding(torch.bucketize(pitch, self.pitch_bins))
        with_energy = x + self.energy_embedding(torch.bucketize(energy, self.energy_bins))
        both = torch.cat((with_pitch, with_energy), -1).transpose(1, 2)
        return self.proj_con(both).transpose(1, 2), pitch, energy


class Scene(nn.Module):
    def __init__(self, width, scene):
        super().__init__()
        self.emo_fc_2_sence = nn.Sequential(
            nn.Linear(scene, width // 2), nn.ReLU(), nn.Linear(width // 2, width), nn.ReLU()
        )
        self.Emo_attention = nn.MultiheadAttention(width, 4)
        self.emo_classifier = nn.Module()
        self.emo_classifier.layers = nn.ModuleList([nn.Linear(width, 8)])

    def forward(self, x, padding, scene, video_frames):
        asked = self.emo_fc_2_sence(scene).unsqueeze(0).expand(int(video_frames.max()), -1, -1)
        held = x.transpose(0, 1)
        read = self.Emo_attention(asked, held, held, key_padding_mask=padding)[0].transpose(0, 1)
        real = torch.arange(read.size(1)) < video_frames.unsqueeze(1)
        mean = (read * real.unsqueeze(-1)).sum(1) / video_frames.unsqueeze(1)
        return mean, self.emo_classifier.layers[0](mean)


class Refiner(nn.Module):
    def __init__(self, mel, channels):
        super().__init__()
        ends = [mel, channels, channels, mel]
        self.convolutions = nn.ModuleList(
            nn.Sequential(Conv(before, after, 5), nn.BatchNorm1d(after))
            for before, after in pairwise(ends)
        )

    def forward(self, x):
        x = x.transpose(1, 2)
        for number, (layer, norm) in enumerate(self.convolutions):
            x = norm(layer.conv(x))
            x = x.tanh() if number < 2 else x
        return x.transpose(1, 2)


class PublishedHPM(nn.Module):
    """``scene``: the V2C variant, whose heads are others."""

    def __init__(self, width=32, lip_width=16, face=6, scene=0, mel=12, wide=24, kernel=3):
        super().__init__()
        heads = 2 if scene else 8
        self.MDA = Aligner(width, lip_width, heads, 2, 4, wide, kernel)
        self.APA = Adaptor(width, face, bins=9)
        if scene:
            self.STB = Scene(width, scene)
        self.decoder = Stack(width, heads, 2, wide, kernel)
        self.mel_linear = nn.Linear(width, mel)
        self.postnet = Refiner(mel, 10)
        self.proj_fusion = nn.Conv1d(3 * width, width, 1, bias=False)
        self.pro_output_os = nn.Conv1d(2 * width, width, 1, bias=False)
        self.pro_output_emo = nn.Conv1d(2 * width, width, 1, bias=False)
        self.speaker_emb = nn.Embedding(3, width)
        self.emotion_emb = nn.Embedding(9, width)
        self.CTC_classifier_mel = Classifier(width)

    def forward(self, words, padding, lips, lip_padding, face, speaker, scene=None):
        """Mel before and after the post-net, pitch, energy, and what both clocks say."""
        text, by_pictures = self.MDA(lips, lip_padding, words, padding, speaker)
        mel_padding = lip_padding.repeat_interleave(4, dim=1)

        def join(layer, one, other):
            other = other.unsqueeze(1).expand(-1, one.size(1), -1)
            return layer(torch.cat((one, other), -1).transpose(1, 2)).transpose(1, 2)

        x = join(self.pro_output_os, text, speaker) + text
        prosody, pitch, energy = self.APA(x, face)
        mood = join(self.pro_output_os, prosody, speaker) + prosody
        emotion = None
        if scene is not None:
            video_frames = (~lip_padding).sum(1)
            mean, emotion = self.STB(mood, mel_padding, scene, video_frames)
            mood = mean.unsqueeze(1).expand_as(text)
            mood = join(self.pro_output_emo, mood, speaker)
        fused = torch.cat((text, prosody, mood), -1).transpose(1, 2)
        fused = self.proj_fusion(fused).transpose(1, 2) + text
        fused = self.decoder(fused, mel_padding)
        said = self.CTC_classifier_mel.classifier(fused)
        mel = self.mel_linear(fused)
        return mel, mel + self.postnet(mel), pitch, energy, by_pictures, said, emotion
