"""Motions: joint angles over time, drawn from a seed, within what joints can do.

Angles are anatomical (see ``Motion``) and written in degrees here. Every style is a function of a generator and the
times of the frames; its parameters (speed, reach, direction, phase) come from the generator.
"""

from collections.abc import Callable

import numpy as np

from zoo.data.synthetic.body import BONE, BONES, Array, Motion

FLEXION, ABDUCTION, TWIST = range(3)

# Degrees, lowest and highest (flexion, abduction, twist); what isn't listed moves within the trunk's few degrees.
_LIMITS = {
    "pelvis": ((-15, 30), (-12, 12), (-20, 20)),
    "spine": ((-15, 40), (-15, 15), (-20, 20)),
    "chest": ((-15, 25), (-12, 12), (-20, 20)),
    "neck": ((-25, 25), (-15, 15), (-25, 25)),
    "head": ((-25, 25), (-15, 15), (-45, 45)),
    "clavicle": ((0, 0), (-5, 25), (0, 0)),
    "upper_arm": ((-55, 150), (-12, 155), (-80, 95)),
    "forearm": ((2, 140), (-35, 35), (-80, 80)),
    "hand": ((-50, 50), (-25, 25), (0, 0)),
    "thigh": ((-30, 110), (-20, 50), (-30, 45)),
    "shin": ((2, 135), (0, 0), (0, 0)),
    "foot": ((-45, 35), (-15, 15), (-15, 25)),
}

_CROSSING = (0.8, 1.1)
"""Leg lengths by which somebody crosses the picture at most: on longer paths people would have to be shown smaller."""


class Score:
    """The angles of a motion while it is being written: ``score.add("left_thigh", FLEXION, degrees)``."""

    def __init__(self, generator: np.random.Generator, times: Array) -> None:
        self.generator = generator
        self.times = times
        self.degrees = np.zeros((len(times), len(BONES), 3))
        self.heading = np.zeros(len(times))
        self.travel = np.zeros((len(times), 2))
        self.lift = np.zeros(len(times))

    def add(self, bone: str, axis: int, degrees: Array | float) -> None:
        """Bends a bone further, by a curve (T,) or all the time."""
        self.degrees[:, BONE[bone], axis] += degrees

    def both(self, limb: str, axis: int, degrees: Array | float) -> None:
        """The same for the left and the right limb."""
        for side in ("left", "right"):
            self.add(f"{side}_{limb}", axis, degrees)

    def uniform(self, low: float, high: float) -> float:
        """A random number for the whole motion."""
        return float(self.generator.uniform(low, high))

    def drift(self, size: float, slowest: float = 0.15, fastest: float = 0.7) -> Array:
        """A smooth random curve (T,) of about that size; the band is in hertz."""
        frequencies = self.generator.uniform(slowest, fastest, 3)
        phases = self.generator.uniform(0, 2 * np.pi, 3)
        return size / 2 * np.sin(2 * np.pi * np.outer(self.times, frequencies) + phases).sum(axis=1)

    def cycle(self, slowest: float, fastest: float) -> Array:
        """The angle (T,) of a regular cycle with random speed, in hertz, and phase."""
        return 2 * np.pi * (self.uniform(slowest, fastest) * self.times + self.uniform(0, 1))

    def face(self, widest: float) -> None:
        """Turns the whole motion by up to that many degrees away from the camera."""
        self.heading += np.radians(self.uniform(-widest, widest))

    def cross(self, speed: float) -> None:
        """Takes the body forward and across the picture, at that speed (leg lengths a second) at most."""
        seconds = self.times[-1] - self.times[0]
        distance = min(speed * seconds, self.uniform(*_CROSSING))
        direction = np.radians(self.uniform(55, 125)) * (1.0 if self.generator.random() < 0.5 else -1.0)
        progress = (self.times - self.times[0]) / seconds - 0.5
        self.heading += direction
        self.travel += distance * np.outer(progress, [np.sin(direction), np.cos(direction)])

    def sway(self, width: float) -> Array:
        """A smooth random path (T,) to and fro that never leaves that width."""
        return width / 2 * np.sin(self.drift(2.2, 0.15, 0.45))

    def stroll(self, width: float) -> None:
        """Takes the body to and fro across the picture, within that many leg lengths, with small steps."""
        path = self.sway(width)
        speed = np.abs(np.gradient(path, self.times))
        stepping = np.minimum(2 * speed, 1)
        cycle = np.cumsum(2 * np.pi * (0.6 + speed)) * (self.times[1] - self.times[0])
        for side, phase in (("left", cycle), ("right", cycle + np.pi)):
            step = stepping * np.maximum(np.sin(phase), 0) ** 1.5
            self.add(f"{side}_thigh", FLEXION, 16 * step)
            self.add(f"{side}_shin", FLEXION, 32 * step)
        self.travel[:, 0] += path

    def flat_feet(self) -> None:
        """Keeps the soles level by the ankles, on top of what the feet do already."""
        pelvis = self.degrees[:, BONE["pelvis"], FLEXION]
        for side in ("left", "right"):
            thigh = self.degrees[:, BONE[f"{side}_thigh"]]
            knee = self.degrees[:, BONE[f"{side}_shin"], FLEXION]
            self.add(f"{side}_foot", FLEXION, knee - thigh[:, FLEXION] + pelvis)
            self.add(f"{side}_foot", ABDUCTION, -thigh[:, ABDUCTION])

    def finish(self) -> Motion:
        """Adds what shoulders and breath do by themselves, and holds every joint to its limits."""
        for side in ("left", "right"):
            arm = self.degrees[:, BONE[f"{side}_upper_arm"]]
            raised = np.maximum(arm[:, ABDUCTION], 0.7 * arm[:, FLEXION])
            self.add(f"{side}_clavicle", ABDUCTION, 0.2 * np.maximum(raised - 40, 0) * 0.8)
            arm[:, ABDUCTION] -= 0.16 * np.maximum(arm[:, ABDUCTION] - 40, 0)
        for bone in ("spine", "chest", "neck", "head"):
            self.add(bone, FLEXION, self.drift(1.5))
            self.add(bone, TWIST, self.drift(2.0))
        for side in ("left", "right"):
            self.add(f"{side}_upper_arm", FLEXION, self.drift(2.0))
            self.add(f"{side}_forearm", FLEXION, self.drift(3.0))
            self.add(f"{side}_hand", FLEXION, self.drift(5.0))
        for bone, index in BONE.items():
            limits = np.array(_LIMITS[bone if bone in _LIMITS else bone.partition("_")[2]], dtype=float)
            self.degrees[:, index] = np.clip(self.degrees[:, index], limits[:, 0], limits[:, 1])
        return Motion(np.radians(self.degrees), self.heading, self.travel, self.lift)


def _stand(score: Score, stance: float = 4.0) -> None:
    """Arms and legs of somebody who stands at ease."""
    score.both("upper_arm", ABDUCTION, score.uniform(7, 12))
    score.both("upper_arm", TWIST, score.uniform(-15, 5))
    score.both("forearm", FLEXION, score.uniform(10, 22))
    score.both("hand", FLEXION, 6)
    score.both("thigh", ABDUCTION, stance)
    score.both("thigh", TWIST, score.uniform(2, 10))
    score.both("shin", FLEXION, 4)
    score.both("thigh", FLEXION, 2)


def _bump(cycle: Array, centre: float, width: float) -> Array:
    """A smooth periodic bump of height 1 at ``centre`` (a share of the cycle)."""
    return np.exp((np.cos(cycle - 2 * np.pi * centre) - 1) / width**2)


def _ease(share: Array) -> Array:
    """0 to 1 with zero speed at both ends, for shares in [0, 1] (clipped)."""
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)


def _gait(score: Score, cycle: Array, swing: float, knee: float, arms: float, elbow: float) -> None:
    """Legs and arms of walking; the left heel strikes at cycle 0."""
    for side, phase in (("left", cycle), ("right", cycle + np.pi)):
        score.add(f"{side}_thigh", FLEXION, 0.28 * swing + swing * np.cos(phase) + 0.15 * swing * np.cos(2 * phase))
        score.add(f"{side}_shin", FLEXION, 4 + 12 * _bump(phase, 0.13, 0.5) + knee * _bump(phase, 0.73, 0.72))
        score.add(
            f"{side}_foot", FLEXION,
            6 * _bump(phase, 0.0, 0.5) + 8 * _bump(phase, 0.42, 0.6) - 20 * _bump(phase, 0.62, 0.45),
        )  # fmt: skip
        score.add(f"{side}_upper_arm", FLEXION, 3 - arms * np.cos(phase))
        score.add(f"{side}_forearm", FLEXION, elbow - 0.35 * arms * np.cos(phase - 0.4))
    score.add("pelvis", TWIST, -5 * np.cos(cycle))
    score.add("chest", TWIST, 9 * np.cos(cycle))
    score.add("pelvis", ABDUCTION, 3 * np.sin(cycle))
    score.add("spine", ABDUCTION, -3 * np.sin(cycle))


def _walk(score: Score) -> None:
    cycle = score.cycle(0.8, 1.05)
    swing = score.uniform(19, 26)
    score.both("upper_arm", ABDUCTION, score.uniform(6, 11))
    score.both("thigh", ABDUCTION, 1.5)
    score.add("spine", FLEXION, score.uniform(0, 6))
    _gait(score, cycle, swing, score.uniform(50, 58), score.uniform(14, 28), score.uniform(15, 28))
    speed = 2 * np.sin(np.radians(swing)) * np.gradient(cycle, score.times) / np.pi
    if score.generator.random() < 0.5:
        score.cross(float(speed[0]))
        return
    radius = score.uniform(0.26, 0.36)  # leg lengths: round a small circle, so that all sides are seen
    side = 1.0 if score.generator.random() < 0.5 else -1.0
    score.heading += np.cumsum(speed) * (score.times[1] - score.times[0]) / radius * side + score.uniform(0, 2 * np.pi)
    score.travel += radius * side * np.stack([-np.cos(score.heading), np.sin(score.heading)], axis=1)


def _run(score: Score) -> None:
    cycle = score.cycle(1.25, 1.55)
    swing = score.uniform(32, 42)
    for side, phase in (("left", cycle), ("right", cycle + np.pi)):
        score.add(f"{side}_thigh", FLEXION, 14 + swing * np.cos(phase + 0.5))
        score.add(f"{side}_shin", FLEXION, 14 + 18 * _bump(phase, 0.12, 0.5) + 82 * _bump(phase, 0.66, 0.85))
        score.add(f"{side}_foot", FLEXION, 12 * _bump(phase, 0.2, 0.6) - 28 * _bump(phase, 0.5, 0.7))
        score.add(f"{side}_upper_arm", FLEXION, -8 - score.uniform(30, 36) * np.cos(phase))
        score.add(f"{side}_forearm", FLEXION, 88 - 14 * np.cos(phase))
    score.both("upper_arm", ABDUCTION, score.uniform(10, 16))
    score.both("upper_arm", TWIST, -22)
    score.add("spine", FLEXION, score.uniform(6, 11))
    score.add("neck", FLEXION, -5)
    score.add("pelvis", TWIST, -7 * np.cos(cycle))
    score.add("chest", TWIST, 14 * np.cos(cycle))
    score.lift += 0.022 * (0.5 + 0.5 * np.cos(2 * cycle - 2 * np.pi * 0.85))
    if score.generator.random() < 0.75:
        score.cross(2.5)
    else:
        score.face(180)  # on the spot, as on a treadmill, in any direction


def _jump(score: Score) -> None:
    number, share = np.divmod(score.times / score.uniform(1.0, 1.3) + score.uniform(0, 1), 1.0)
    cycle = 2 * np.pi * share
    depth = score.uniform(34, 46)
    crouch = _bump(cycle, 0.27, 0.55) + 0.6 * _bump(cycle, 0.75, 0.5)
    flight = np.clip((share - 0.42) / 0.24, 0, 1)
    arms = score.uniform(45, 72)
    _stand(score, score.uniform(4, 9))
    score.both("thigh", FLEXION, 1.15 * depth * crouch)
    score.both("shin", FLEXION, 1.9 * depth * crouch)
    score.add("spine", FLEXION, 0.5 * depth * crouch)
    score.both("upper_arm", FLEXION, arms * _bump(cycle, 0.52, 0.7) - 40 * _bump(cycle, 0.22, 0.5))
    score.both("forearm", FLEXION, 30 * _bump(cycle, 0.52, 0.8))
    score.flat_feet()
    width = score.uniform(0.3, 0.5) * (1.0 if score.generator.random() < 0.5 else -1.0)
    leap = _ease(flight)
    score.travel[:, 0] += width * (np.where(number % 2, 1 - leap, leap) - 0.5)  # to one side, and back
    score.both("foot", FLEXION, -32 * _bump(cycle, 0.54, 0.42))
    score.lift += score.uniform(0.045, 0.07) * 4 * flight * (1 - flight)
    score.face(60)


def _jumping_jack(score: Score) -> None:
    cycle = score.cycle(0.85, 1.1)
    opened = 0.5 - 0.5 * np.cos(cycle)
    score.both("upper_arm", ABDUCTION, 10 + score.uniform(95, 118) * opened)
    score.both("upper_arm", TWIST, 75 * opened)
    score.both("forearm", FLEXION, 12 + score.uniform(10, 30) * opened)
    score.both("thigh", ABDUCTION, 3 + score.uniform(15, 21) * opened)
    knees = 12 * (0.5 + 0.5 * np.cos(2 * cycle))
    score.both("thigh", FLEXION, knees)
    score.both("shin", FLEXION, 2 * knees)
    score.flat_feet()
    score.both("foot", FLEXION, -18 * np.sin(cycle) ** 2)
    score.lift += score.uniform(0.014, 0.026) * np.sin(cycle) ** 2
    score.travel[:, 0] += score.sway(0.4)
    score.face(40)


def _squat(score: Score) -> None:
    cycle = score.cycle(0.45, 0.65)
    down = (0.5 - 0.5 * np.cos(cycle)) * score.uniform(44, 54)
    _stand(score, score.uniform(7, 13))
    score.both("thigh", FLEXION, 1.25 * down)
    score.both("thigh", TWIST, 0.3 * down)
    score.both("thigh", ABDUCTION, 0.15 * down)
    score.both("shin", FLEXION, 1.95 * down)
    score.add("pelvis", FLEXION, 0.4 * down)
    score.add("spine", FLEXION, 0.3 * down)
    score.add("neck", FLEXION, -0.35 * down)
    score.both("upper_arm", FLEXION, score.uniform(1.2, 1.8) * down)
    score.stroll(0.8)
    score.flat_feet()
    score.face(75)


def _wave(score: Score) -> None:
    _stand(score)
    arms = ["left", "right"] if score.generator.random() < 0.3 else [str(score.generator.choice(["left", "right"]))]
    for side in arms:
        cycle = score.cycle(1.2, 1.9)
        score.add(f"{side}_upper_arm", ABDUCTION, score.uniform(40, 68) + score.drift(6))
        score.add(f"{side}_upper_arm", TWIST, 90)
        score.add(f"{side}_upper_arm", FLEXION, score.uniform(0, 25))
        score.add(f"{side}_forearm", FLEXION, score.uniform(62, 92) + score.uniform(16, 26) * np.sin(cycle))
        score.add(f"{side}_hand", ABDUCTION, 14 * np.sin(cycle - 0.6))
    if len(arms) == 1:
        score.add("spine", ABDUCTION, (5 if arms == ["left"] else -5) + score.drift(3))
    score.add("pelvis", ABDUCTION, score.drift(4))
    score.add("head", TWIST, score.drift(14))
    score.stroll(0.6)
    score.flat_feet()
    score.face(50)


def _turn_around(score: Score) -> None:
    _stand(score)
    seconds = score.times[-1] - score.times[0]
    turns = score.uniform(0.75, 1.15) * (1.0 if score.generator.random() < 0.5 else -1.0)
    progress = (score.times - score.times[0]) / seconds
    score.heading += score.uniform(-0.6, 0.6) + 2 * np.pi * turns * _ease(progress * 1.1 - 0.05)
    stepping = _ease(8 * progress) * _ease(8 * (1 - progress))
    cycle = score.cycle(1.2, 1.7)
    for side, phase in (("left", cycle), ("right", cycle + np.pi)):
        step = stepping * np.maximum(np.sin(phase), 0) ** 1.5
        score.add(f"{side}_thigh", FLEXION, 24 * step)
        score.add(f"{side}_shin", FLEXION, 48 * step)
        score.add(f"{side}_upper_arm", FLEXION, -8 * np.sin(phase) * stepping)
    score.both("upper_arm", ABDUCTION, score.uniform(0, 45))
    score.add("head", TWIST, 18 * np.sign(turns) * stepping)
    score.travel[:, 0] += score.sway(0.8)
    score.flat_feet()


# Arm poses between which a dancer moves: upper arm flexion, abduction, twist, and elbow.
_DANCE_ARMS = np.array([
    (0, 15, 0, 30), (20, 25, -30, 100), (0, 85, 80, 85), (0, 90, 0, 15), (75, 10, 10, 20), (95, 15, 0, 60),
    (-25, 20, 0, 25), (15, 45, -50, 95), (85, 35, 40, 75), (0, 95, 80, 110), (60, 40, -40, 70), (35, 10, 30, 110),
], dtype=float)  # fmt: skip


def _dance(score: Score) -> None:
    beat = score.uniform(0.42, 0.62)
    position = score.times / beat + score.uniform(0, 1)
    beats = int(position[-1]) + 3
    moment = _ease((position % 1.0) * 1.15)
    step = position.astype(int)

    def between_beats(poses: Array) -> Array:
        """Poses (beats, ...), one per beat, reached with an ease: (T, ...)."""
        share = moment.reshape(-1, *[1] * (poses.ndim - 1))
        return poses[step] * (1 - share) + poses[step + 1] * share

    mirrored = score.generator.random() < 0.5
    choices = score.generator.integers(len(_DANCE_ARMS), size=(beats, 2))
    if mirrored:
        choices[:, 1] = choices[:, 0]
    wobble = score.generator.normal(0, 7, (beats, 2, 4))
    for number, side in enumerate(("left", "right")):
        flexion, abduction, twist, elbow = between_beats(_DANCE_ARMS[choices[:, number]] + wobble[:, number]).T
        score.add(f"{side}_upper_arm", FLEXION, flexion)
        score.add(f"{side}_upper_arm", ABDUCTION, abduction)
        score.add(f"{side}_upper_arm", TWIST, twist)
        score.add(f"{side}_forearm", FLEXION, elbow)
    sway = between_beats(score.generator.uniform(0.4, 1, beats) * np.where(np.arange(beats) % 2, 1, -1))
    bounce = 8 + score.uniform(6, 14) * (0.5 - 0.5 * np.cos(2 * np.pi * position))
    score.both("thigh", FLEXION, bounce)
    score.both("shin", FLEXION, 2 * bounce)
    score.both("thigh", TWIST, 10)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        free = np.maximum(sway * sign, 0)  # this leg carries no weight
        score.add(f"{side}_thigh", ABDUCTION, 7 + 9 * free)
        score.add(f"{side}_thigh", FLEXION, 10 * free)
        score.add(f"{side}_shin", FLEXION, 22 * free)
    score.flat_feet()
    score.add("pelvis", ABDUCTION, 7 * sway)
    score.add("spine", ABDUCTION, -11 * sway)
    score.add("chest", TWIST, between_beats(score.generator.uniform(-12, 12, beats)))
    score.add("neck", ABDUCTION, 6 * sway)
    score.add("head", TWIST, between_beats(score.generator.uniform(-22, 22, beats)))
    score.heading += np.radians(between_beats(score.generator.uniform(-35, 35, beats)))
    score.travel[:, 0] += 0.06 * sway + score.sway(0.6)
    score.face(30)


def _march(score: Score) -> None:
    cycle = score.cycle(0.85, 1.1)
    height = score.uniform(58, 80)
    for side, phase in (("left", cycle), ("right", cycle + np.pi)):
        raised = np.maximum(np.sin(phase), 0) ** 1.3
        score.add(f"{side}_thigh", FLEXION, height * raised)
        score.add(f"{side}_shin", FLEXION, 4 + 1.1 * height * raised)
        score.add(f"{side}_upper_arm", FLEXION, 5 - 48 * np.sin(phase))
        score.add(f"{side}_forearm", FLEXION, 14)
    score.both("upper_arm", ABDUCTION, 9)
    score.both("thigh", ABDUCTION, 2)
    score.add("chest", TWIST, 6 * np.sin(cycle))
    score.flat_feet()
    score.cross(1.2)


def _side_step(score: Score) -> None:
    cycle = score.cycle(0.45, 0.6)
    _stand(score, 5)
    width = score.uniform(0.25, 0.35)
    score.travel[:, 0] += width * np.sin(cycle)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        leads = sign * np.cos(cycle)  # 1 while the body moves to this side
        score.add(f"{side}_thigh", ABDUCTION, 12 * (0.5 - 0.5 * np.cos(2 * cycle)) + 7 * leads)
        step = np.maximum(sign * np.sin(cycle + 0.7 * sign), 0) ** 2
        score.add(f"{side}_thigh", FLEXION, 14 * step)
        score.add(f"{side}_shin", FLEXION, 28 * step)
    score.both("upper_arm", ABDUCTION, 12 + score.uniform(35, 60) * (0.5 - 0.5 * np.cos(2 * cycle)))
    score.both("forearm", FLEXION, 12)
    score.add("spine", ABDUCTION, 6 * np.sin(cycle))
    score.flat_feet()
    score.face(30)


_PERFORM: dict[str, Callable[[Score], None]] = {
    "walk": _walk, "run": _run, "jump": _jump, "jumping_jack": _jumping_jack, "squat": _squat, "wave": _wave,
    "turn_around": _turn_around, "dance": _dance, "march": _march, "side_step": _side_step,
}  # fmt: skip

STYLES = tuple(_PERFORM)
HELD_OUT_STYLES = ("march", "side_step")
"""Styles that only the test split performs."""
TRAINING_STYLES = tuple(style for style in STYLES if style not in HELD_OUT_STYLES)


def random_motion(style: str, generator: np.random.Generator, frames: int, fps: float) -> Motion:
    """One performance of a style.

    Args:
        style: One of ``STYLES``.
        generator: Where speed, reach, direction and phase come from.
        frames: How many frames, T.
        fps: Frames per second.

    Returns:
        The motion, T frames.
    """
    score = Score(generator, np.arange(max(frames, 2)) / fps)
    _PERFORM[style](score)
    motion = score.finish()
    return Motion(motion.angles[:frames], motion.heading[:frames], motion.travel[:frames], motion.lift[:frames])
