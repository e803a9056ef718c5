"""The form of an average body: lengths and widths that generated people and bodies drawn around skeletons share.

Lengths and radii are relative to the body's height where nothing else is said. The U of the surface parts runs along
these profiles: down the trunk, down the head from crown to collar, down the limbs, and from heel to toe.
"""

Profile = tuple[tuple[list[float], list[float]], tuple[list[float], list[float]]]
"""Half width (from side to side) and half depth (from back to front), each as knots along U and values there."""

HIP_HEIGHT = 0.515
"""Of the hip joints over the floor."""
KNEE_HEIGHT = 0.552
"""Of the knees, relative to the hip joints' height."""
ANKLE_HEIGHT = 0.047
SHOULDER_HEIGHT = 0.800
"""As heights of the trunk are counted: 0.515 is the hips, 0.86 the throat."""
SHOULDER_X = 0.103
"""From the body's middle to a shoulder joint."""
HIP_X = 0.051
"""From the body's middle to a hip joint."""
UPPER_ARM, FOREARM, HAND = 0.176, 0.150, 0.098
HEEL, TOE = -0.045, 0.112
"""Behind and before the ankle."""
HEAD_SHARE, HEAD_METRES = 0.075, 0.098
"""A head, from chin to crown, is as high as this share of the body's height, and so many metres."""
AVERAGE_HEIGHT = 1.72
"""Metres."""

NECK_END = 1.42
"""Where the head's chart ends (U = 1), below the collar, in head heights from the crown."""

# Half width, half depth to the front and to the back of the average trunk, by height of the trunk.
TRUNK_AT = [0.462, 0.475, 0.495, 0.525, 0.565, 0.61, 0.65, 0.70, 0.745, 0.775, 0.797, 0.815, 0.83, 0.842, 0.858]
TRUNK_HALF_WIDTH = [
    0.016, 0.045, 0.076, 0.094, 0.090, 0.080, 0.079, 0.085,
    0.093, 0.100, 0.106, 0.106, 0.090, 0.062, 0.034,
]  # fmt: skip
TRUNK_FRONT = [
    0.014, 0.034, 0.050, 0.060, 0.060, 0.057, 0.057, 0.062,
    0.066, 0.063, 0.055, 0.046, 0.038, 0.033, 0.030,
]  # fmt: skip
TRUNK_BACK = [
    0.016, 0.046, 0.068, 0.074, 0.062, 0.052, 0.053, 0.060,
    0.066, 0.065, 0.060, 0.052, 0.044, 0.037, 0.032,
]  # fmt: skip

# Half width, depth to the front and to the back of a head and neck, relative to the head's height (chin to crown);
# positions count from the crown (0) over the chin (1) to the base of the neck.
HEAD_AT = [0.0, 0.02, 0.07, 0.15, 0.27, 0.40, 0.52, 0.64, 0.76, 0.87, 0.95, 1.0, 1.05, 1.13, 1.25, 1.6]
HEAD_HALF_WIDTH = [
    0.01, 0.10, 0.19, 0.255, 0.305, 0.325, 0.322, 0.310,
    0.288, 0.252, 0.218, 0.196, 0.187, 0.187, 0.197, 0.24,
]  # fmt: skip
HEAD_FRONT = [0.01, 0.12, 0.22, 0.31, 0.385, 0.42, 0.42, 0.425, 0.43, 0.425, 0.40, 0.34, 0.20, 0.155, 0.15, 0.16]
HEAD_BACK = [0.01, 0.13, 0.23, 0.32, 0.40, 0.43, 0.42, 0.38, 0.33, 0.285, 0.265, 0.255, 0.25, 0.25, 0.26, 0.29]
EAR_AT, EAR_X, EAR_Z = 0.55, 0.325, -0.02
"""Of an ear in head heights: down from the crown, from the middle, and before the head's axis."""
NOSE_Z = 0.52
"""How far the tip of the nose lies before the head's axis, in head heights."""

_UPPER_ARM = ([0, 0.15, 0.4, 0.7, 1], [0.0315, 0.0325, 0.0285, 0.0255, 0.0235])
_FOREARM = ([0, 0.2, 0.5, 0.8, 1], [0.0233, 0.0255, 0.0225, 0.0175, 0.0155])

LIMBS: dict[str, Profile] = {
    "upper_arm": (_UPPER_ARM, _UPPER_ARM),
    "forearm": (_FOREARM, _FOREARM),
    "hand": (
        ([0, 0.3, 0.6, 1], [0.014, 0.0135, 0.011, 0.007]),
        ([0, 0.2, 0.5, 0.8, 1], [0.0155, 0.021, 0.0245, 0.020, 0.012]),
    ),
    "thigh": (
        ([0, 0.15, 0.45, 0.75, 0.92, 1], [0.049, 0.0500, 0.0440, 0.0355, 0.0325, 0.0315]),
        ([0, 0.15, 0.45, 0.75, 0.92, 1], [0.054, 0.0535, 0.0475, 0.0390, 0.0355, 0.0335]),
    ),
    "shin": (
        ([0, 0.1, 0.3, 0.6, 0.85, 1], [0.0313, 0.0305, 0.0320, 0.0250, 0.0195, 0.0195]),
        ([0, 0.1, 0.3, 0.6, 0.85, 1], [0.0333, 0.0320, 0.0335, 0.0265, 0.0215, 0.0215]),
    ),
}
"""Limbs, by name; bare, without what people wear over them."""
