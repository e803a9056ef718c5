from fractions import Fraction

import pytest
import torch
from made_up import made_up

from benchmarks.board.tables import build_board
from benchmarks.showcase import MAGNIFICATION, showcase
from zoo.errors import FileError, OptionError
from zoo.video import VideoWriter, read_frames

PROTOCOL = "synthetic-64-reconstruction"
GREYS = {
    "copy_source": 40,
    "dwnet--synthetic-64": 110,
    "first_order_motion_model--synthetic-64": 170,
    "everybody_dance_now--synthetic-64": 190,  # has no row
    "oracle": 210,
    "nearest_frame": 0,
    "dwnet--worse": 0,
}
SHOWN = [name for name, grey in GREYS.items() if grey]


@pytest.fixture
def videos(tmp_path):
    """Two clips of five frames by each, of one grey each; a third clip that one method doesn't have."""
    for name, grey in GREYS.items():
        for place, clip in enumerate(("a--a", "b--b", "c--c")):
            if (name, clip) != ("dwnet--synthetic-64", "c--c"):
                with VideoWriter(tmp_path / PROTOCOL / name / f"{clip}.mp4", Fraction(25)) as writer:
                    writer.write(torch.full((5, 3, 32, 32), grey + 15 * place, dtype=torch.uint8))
    return tmp_path


@pytest.fixture(scope="module")
def board():
    baselines = [made_up(name, kind="baseline") for name in ("oracle", "copy_source", "nearest_frame")]
    worse = made_up("dwnet", quality=2)
    worse["method"]["recipe"] = "worse"
    return build_board([*baselines, worse, made_up("dwnet", quality=0.5), made_up("first_order_motion_model")])


def test_columns_are_source_methods_in_order_and_truth(board, videos, tmp_path):
    frame = read_frames(showcase(board, videos, tmp_path / "out.mp4", clips=9), [4])[0].float()
    side, gap = 32 * MAGNIFICATION, 2
    assert frame.shape[2] == 5 * side + 4 * gap
    assert 2 * side < frame.shape[1] < 3 * side  # the clip that a method lacks is no row
    expected = [GREYS[name] for name in SHOWN]
    for row in range(2):
        line = frame[:, frame.shape[1] - side // 2 - (1 - row) * (side + gap)]
        found = [line[:, side // 2 + column * (side + gap)].mean() for column in range(5)]
        assert found == pytest.approx([grey + 15 * row for grey in expected], abs=3)


def test_one_row_at_least(board, videos, tmp_path):
    with pytest.raises(OptionError, match="clips is 0"):
        showcase(board, videos, tmp_path / "out.mp4", clips=0)


def test_without_videos_it_says_what_to_run(board, tmp_path):
    with pytest.raises(FileError, match=r"has no clip of a method.*benchmarks run synthetic-64-reconstruction"):
        showcase(board, tmp_path, tmp_path / "out.mp4")
