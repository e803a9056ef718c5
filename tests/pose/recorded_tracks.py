"""Recorded whole-body tracks."""

import torch

from zoo.pose import WHOLE_18, WHOLE_23, WHOLE_25

WHOLE_BODIES = {len(skeleton.body().joints): skeleton for skeleton in (WHOLE_18, WHOLE_23, WHOLE_25)}
PARTS = ("pose", "face", "hand_left", "hand_right")


def whole_track(tensors, prefix):
    """A recorded whole-body track and its skeleton."""
    parts = [tensors[f"{prefix}.{part}"] for part in PARTS]
    parts = [part.reshape(-1, part.shape[-1] // 3, 3) for part in parts]
    return torch.cat(parts, dim=1), WHOLE_BODIES[parts[0].shape[1]]
