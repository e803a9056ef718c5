"""Limb lengths, and their transfer to bodies of other proportions."""

from functools import lru_cache

import torch
from torch import Tensor

from zoo.errors import OptionError, PoseError
from zoo.pose.skeleton import Skeleton
from zoo.pose.smoothing import last_true

_STRETCHED = 0.9  # quantile of a limb's lengths: pointing at the camera, it looks shorter than it is
_TELLING = 0.5  # share of its own length that a limb must show, for its ratio to tell of the body, not of the view


def limb_lengths(track: Tensor, skeleton: Skeleton) -> Tensor:
    """How long each limb is in the picture when it is stretched out across it.

    Args:
        track: (T, K, 3) with x, y in pixels and confidence.
        skeleton: The format of the K joints.

    Returns:
        (L,) float64 pixels: the 0.9 quantile over time; NaN for limbs that are never seen.
    """
    starts, ends = track[:, [a for a, _ in skeleton.limbs]], track[:, [b for _, b in skeleton.limbs]]
    lengths = (starts - ends)[..., :2].double().norm(dim=-1)
    seen = (starts[..., 2] > 0) & (ends[..., 2] > 0)
    return torch.where(seen, lengths, torch.nan).nanquantile(_STRETCHED, dim=0)


def transfer_limbs(track: Tensor, skeleton: Skeleton, lengths: Tensor) -> Tensor:
    """The same motion by a body of other proportions.

    Every limb keeps its direction and is lengthened by the ratio of the two bodies' lengths, outwards from the neck;
    then the figure is moved so that its ankles (their mean) stay where they were. Where a joint is missing, what
    hangs on it moves with the joint before it. Points of face and hands move and grow with the nose and the wrists.
    Transfer to the track's own lengths changes nothing.

    Args:
        track: (T, K, 3) with x, y in pixels and confidence.
        skeleton: The format of the K joints.
        lengths: (L,) lengths of the other body's limbs, as `limb_lengths` measures them. NaN, or a limb that this
            track never shows, takes the median ratio of the others.

    Returns:
        (T, K, 3). Missing joints stay as they are.

    Raises:
        OptionError: ``lengths`` belongs to another skeleton.
        PoseError: No limb is known of both bodies.
    """
    if lengths.shape != (len(skeleton.limbs),):
        raise OptionError(f"{skeleton.name} has {len(skeleton.limbs)} limbs, but there are {len(lengths)} lengths")
    ratios = lengths.to(track.device).double() / limb_lengths(track, skeleton)
    ratios = torch.where(ratios.isfinite() & (ratios > 0), ratios, torch.nan)
    if ratios.isnan().all():
        raise PoseError(
            f"no limb that the other body shows is seen in any of {len(track)} frames", "leave out `--retarget`"
        )
    ratios = torch.where(ratios.isnan(), ratios.nanmedian(), ratios)
    points, seen = track[..., :2].double(), track[..., 2:] > 0
    moved = torch.zeros_like(points)  # by how much each joint is displaced
    ratio_at = {}
    for parent, joint, limb in _outwards(skeleton):
        stretched = (ratios[limb] - 1) * (points[:, joint] - points[:, parent])
        moved[:, joint] = moved[:, parent] + torch.where(seen[:, parent] & seen[:, joint], stretched, 0.0)
        ratio_at[joint] = ratios[limb]
    for part, root in (("face", "nose"), ("left_hand", "left_wrist"), ("right_hand", "right_wrist")):
        root_joint, place = skeleton.index(root), skeleton.part(part)
        stretched = (ratio_at.get(root_joint, 1.0) - 1) * (points[:, place] - points[:, root_joint, None])
        moved[:, place] = moved[:, root_joint, None] + torch.where(seen[:, root_joint, None], stretched, 0.0)
    points = points + moved - _ankle_shift(moved, seen, skeleton)
    return torch.cat([torch.where(seen, points.to(track.dtype), track[..., :2]), track[..., 2:]], dim=-1)


def retarget_limbs(track: Tensor, skeleton: Skeleton, body: Tensor) -> Tensor:
    """The same motion by the body of one picture, as :func:`transfer_limbs`.

    One picture doesn't tell a short limb from one that points at the camera. So the body is compared with the frame
    of the track in which the driver's limbs point most alike (cosine similarity of all limbs at once, which neither
    place nor size changes), where the view shortens both alike. Limbs that show less than half of their length there
    take the ratio of the same limb on the other side, or else the median. If the picture is itself a frame of the
    track, nothing changes.

    Args:
        track: (T, K, 3) with x, y in pixels and confidence.
        skeleton: The format of the K joints.
        body: (K, 3) the pose of the picture, pixels of a picture of the same size.

    Returns:
        (T, K, 3). Missing joints stay as they are.

    Raises:
        PoseError: No limb of the picture is seen in the track.
    """
    starts, ends = [a for a, _ in skeleton.limbs], [b for _, b in skeleton.limbs]
    poses = torch.cat([track, body[None].to(track)]).double()
    limbs = (poses[:, ends] - poses[:, starts])[..., :2]
    seen = (poses[:, ends, 2] > 0) & (poses[:, starts, 2] > 0)
    limbs = torch.where(seen[..., None], limbs, 0.0)
    driver, other = limbs[:-1], limbs[-1]
    norms = driver.flatten(1).norm(dim=1) * other.norm()
    alike = ((driver * other).flatten(1).sum(dim=1) / norms).nan_to_num(-1.0)
    frame = int(alike.argmax())
    shown, stretched = driver[frame].norm(dim=1), limb_lengths(track, skeleton)
    both = seen[frame] & seen[-1]
    telling = both & (shown >= _TELLING * stretched)
    ratios = torch.where(telling if telling.any() else both, other.norm(dim=1) / shown, torch.nan)
    ratios = torch.where(ratios.isnan(), ratios[_mirrored_limbs(skeleton)], ratios)  # bodies are symmetric
    return transfer_limbs(track, skeleton, ratios * stretched)


@lru_cache
def _mirrored_limbs(skeleton: Skeleton) -> list[int]:
    """For every limb the number of the one on the other side; its own where there is none."""
    numbers = {frozenset(ends): number for number, ends in enumerate(skeleton.limbs)}
    mirrored = [frozenset(skeleton.mirrored[joint] for joint in ends) for ends in skeleton.limbs]
    return [numbers.get(ends, number) for number, ends in enumerate(mirrored)]


@lru_cache
def _outwards(skeleton: Skeleton) -> tuple[tuple[int, int, int], ...]:
    """Parent, joint and limb of every joint that hangs on the neck (or the first limb), parents before children."""
    root = skeleton.joints.index("neck") if "neck" in skeleton.joints else skeleton.limbs[0][0]
    reached, order = [root], []
    for parent in reached:  # grows while it is walked through
        for limb, ends in enumerate(skeleton.limbs):
            joint = sum(ends) - parent
            if parent in ends and joint not in reached:
                reached.append(joint)
                order.append((parent, joint, limb))
    return tuple(order)


def _ankle_shift(moved: Tensor, seen: Tensor, skeleton: Skeleton) -> Tensor:
    """(T, 1, 2): how far the ankles moved; in frames without them, how far they did in the nearest one before."""
    ankles = [skeleton.index("left_ankle"), skeleton.index("right_ankle")]
    shift, known = moved[:, ankles].mean(dim=1, keepdim=True), seen[:, ankles].all(dim=1).squeeze(-1)
    return shift[last_true(known)] if known.any() else torch.zeros_like(shift)
