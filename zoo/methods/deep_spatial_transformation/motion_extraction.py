"""The motion extraction network: clean skeletons out of a detector's noisy ones."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.methods.deep_spatial_transformation.structure import HUMAN36M_17
from zoo.pose import BODY_18, COCO_17, Skeleton, convert_pose

WINDOW = 24
"""Frames that are cleaned at once; the norms reach over the window, so that this number is part of the method."""

Layout = Literal["body_18", "human36m_17"]

_DESCRIPTOR_HIDDEN = 128
_HALF_PIXEL = 1 / 256
"""Official: coordinates are 2 v / 256 - 1 with v in pixels, half a pixel less than the batch's at 256 pixels."""


class ClipNorm(nn.Module):
    """Layer norm over channels *and* time of a clip, with a scale and shift per channel; (B, C, T) -> (B, C, T)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises each clip by its own statistics."""
        return F.layer_norm(x, x.shape[1:]) * self.weight + self.bias


class AdaptiveClipNorm(nn.Module):
    """The same, with scale and shift computed from the clip's descriptor."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Linear(channels, _DESCRIPTOR_HIDDEN), nn.ReLU())
        self.mlp_gamma = nn.Linear(_DESCRIPTOR_HIDDEN, channels)
        self.mlp_beta = nn.Linear(_DESCRIPTOR_HIDDEN, channels)

    def forward(self, x: Tensor, descriptor: Tensor) -> Tensor:
        """(B, C, T) and (B, C) -> (B, C, T)."""
        hidden = self.mlp_shared(descriptor)
        gamma, beta = self.mlp_gamma(hidden), self.mlp_beta(hidden)
        return F.layer_norm(x, x.shape[1:]) * (1 + gamma[..., None]) + beta[..., None]


class MotionExtraction(nn.Module):
    """Temporal convolutions without padding, modulated by a descriptor of the whole clip (official ``KPInput``).

    Results depend on the clip's length, over which the norms and the descriptor reach.

    Args:
        joints: K.
        channels: Width.
        layers: The receptive field is 3^layers frames.
        dropout: Share of features dropped in training.
    """

    def __init__(self, joints: int = 17, channels: int = 256, layers: int = 4, dropout: float = 0.15) -> None:
        super().__init__()
        self.receptive_field = 3**layers
        self.expand_conv = nn.Conv1d(2 * joints, channels, 3, bias=False)
        self.expand_ln = ClipNorm(channels)
        self.layers_conv = nn.ModuleList()
        self.layers_ln = nn.ModuleList()
        for i in range(1, layers):
            self.layers_conv.append(nn.Conv1d(channels, channels, 3, dilation=3**i, bias=False))
            self.layers_conv.append(nn.Conv1d(channels, channels, 1, bias=False))
            self.layers_ln.extend([AdaptiveClipNorm(channels), AdaptiveClipNorm(channels)])
        self.feature_conv_1 = nn.Conv1d(2 * joints, channels, 3, stride=2, bias=False)
        self.feature_conv_2 = nn.Conv1d(channels, channels, 3, stride=2, bias=False)
        self.feature_conv_3 = nn.Conv1d(channels, channels, 3, stride=2, bias=False)
        self.shrink = nn.Conv1d(channels, 2 * joints, 1)
        self.activation = nn.LeakyReLU(0.1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, track: Tensor) -> Tensor:
        """Cleans a clip.

        Args:
            track: (B, 2 K, T): all y, then all x.

        Returns:
            (B, 2 K, T - receptive_field + 1), the frames in the middle.
        """
        descriptor = track
        for convolution in (self.feature_conv_1, self.feature_conv_2, self.feature_conv_3):
            descriptor = self.activation(convolution(descriptor))
        descriptor = descriptor.mean(-1)  # B, C
        x = self._finish(self.expand_ln(self.expand_conv(track)))
        for i in range(0, len(self.layers_conv), 2):
            dilated, pointwise = self.layers_conv[i], self.layers_conv[i + 1]
            reach = 3 ** (i // 2 + 1)
            middle = x[..., reach:-reach]
            x = self._finish(self.layers_ln[i](dilated(x), descriptor))
            x = middle + self._finish(self.layers_ln[i + 1](pointwise(x), descriptor))
        return self.shrink(x)

    def _finish(self, x: Tensor) -> Tensor:
        return self.dropout(self.activation(x))


class TrackCleaner(nn.Module):
    """Motion extraction for whole tracks of poses.

    Args:
        layout: ``body_18``: BODY_18 in and out, with each window's person moved to the centre and to one size.
            ``human36m_17``: COCO-17 in, Human3.6M-17 out, as published.
        channels: Width of the network.
        layers: Its receptive field is 3^layers frames.
        dropout: Share of features dropped in training.
    """

    def __init__(self, layout: Layout, channels: int = 256, layers: int = 4, dropout: float = 0.15) -> None:
        super().__init__()
        self.skeleton: Skeleton = BODY_18 if layout == "body_18" else HUMAN36M_17
        self.network = MotionExtraction(len(self.skeleton.joints), channels, layers, dropout)
        self.context = self.network.receptive_field // 2  # frames on each side of a window that the network looks at

    def forward(self, track: Tensor) -> Tensor:
        """Cleans whole tracks in windows; the last window is shifted to end with the track.

        Frames before the first and after the last repeat it. Missing joints are restored. A track without a single
        joint stays empty.

        Args:
            track: (B, T, 18, 3) poses of BODY_18, any T.

        Returns:
            (B, T, K, 3) poses of ``skeleton``; joints have confidence 1, or 0 (in all three) outside the picture.
        """
        frames = track.shape[1]
        starts = torch.arange(0, frames, WINDOW, device=track.device).clamp(max=max(0, frames - WINDOW))
        around = torch.arange(-self.context, WINDOW + self.context, device=track.device)
        windows = track[:, (starts[:, None] + around).clamp(0, frames - 1)]  # B, N, window and surroundings, 18, 3
        cleaned = self.positions(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])  # B, N, WINDOW, K, 2
        positions = cleaned.new_zeros(len(track), max(frames, WINDOW), *cleaned.shape[-2:])
        for number, start in enumerate(starts.tolist()):
            positions[:, start : start + WINDOW] = cleaned[:, number]
        positions = positions[:, :frames]
        somebody = (track[..., 2] > 0).flatten(1).any(1).view(-1, 1, 1, 1)
        present = somebody & (positions.abs() <= 1).all(-1, keepdim=True)
        return torch.cat([positions, torch.ones_like(positions[..., :1])], -1) * present

    def positions(self, windows: Tensor) -> Tensor:
        """Clean positions of the frames in the middle of windows.

        Args:
            windows: (N, T, 18, 3) poses of BODY_18.

        Returns:
            (N, T - 2 context, K, 2): x, y in [-1, 1] as in the batch.
        """
        if self.skeleton is HUMAN36M_17:
            return self._extracted(_published_coordinates(windows)) + _HALF_PIXEL
        centre, size = _centre_and_size(windows)
        return self._extracted((windows[..., :2] - centre) / size * (windows[..., 2:] > 0)) * size + centre

    def _extracted(self, coordinates: Tensor) -> Tensor:
        """What the network makes of coordinates (N, T, K, 2): (N, T - 2 context, K, 2)."""
        x, y = coordinates.unbind(-1)
        y, x = self.network(torch.cat([y, x], -1).transpose(1, 2)).unflatten(1, (2, -1)).unbind(1)  # N, K, T each
        return torch.stack([x, y], -1).transpose(1, 2)


def _centre_and_size(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Where each window's person is and how large, over all joints and frames.

    The network's norms, which reach over the window, forget both, and it is slow to tell them from its descriptor. The
    published one needn't: it was trained on people of one size, in the middle.

    Args:
        windows: (N, T, 18, 3).

    Returns:
        (N, 1, 1, 2) and (N, 1, 1, 1), in the batch's units.
    """
    present = (windows[..., 2:] > 0).to(windows.dtype)
    count = present.sum((1, 2), keepdim=True).clamp(min=1)
    centre = (windows[..., :2] * present).sum((1, 2), keepdim=True) / count
    spread = ((windows[..., :2] - centre).square() * present).sum((1, 2, 3), keepdim=True) / (2 * count)
    return centre, spread.sqrt().clamp(min=1e-3)


def _published_coordinates(pose: Tensor) -> Tensor:
    """Poses (N, T, 18, 3) of BODY_18 as the published network wants them: COCO-17, (N, T, 17, 2).

    Official: a missing joint is at -1, the picture's corner; a frame without any joint is all 0, its centre.
    """
    pose = convert_pose(pose, BODY_18, COCO_17)
    present = pose[..., 2:] > 0
    somebody = present.any(-2, keepdim=True)
    missing = torch.where(somebody, -torch.ones_like(pose[..., :2]), torch.zeros_like(pose[..., :2]))
    return torch.where(present, pose[..., :2] - _HALF_PIXEL, missing)
