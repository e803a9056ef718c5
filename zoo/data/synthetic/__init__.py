"""Articulated people, generated: the default dataset, with exact pose, surface map, mask and cross-identity truth."""

from zoo.data.synthetic.export import export
from zoo.data.synthetic.motion import HELD_OUT_STYLES, STYLES
from zoo.data.synthetic.people import SyntheticOptions, SyntheticPeople, render_clip

__all__ = ["HELD_OUT_STYLES", "STYLES", "SyntheticOptions", "SyntheticPeople", "export", "render_clip"]
