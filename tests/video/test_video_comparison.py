from fractions import Fraction

import pytest
import torch

from zoo.video import VideoWriter, grid, probe, read_frames, write_comparison, write_image


@pytest.fixture
def clip(tmp_path):
    """Writes a clip of one grey, of so many frames."""

    def write(name, grey, frames):
        path = tmp_path / name
        with VideoWriter(path, Fraction(12)) as writer:
            writer.write(torch.full((frames, 3, 32, 32), grey, dtype=torch.uint8))
        return path

    return write


def test_rows_and_columns(clip, tmp_path):
    columns = {
        "first": [clip("a.mp4", 40, 5), clip("b.mp4", 80, 5)],
        "2nd": [clip("c.mp4", 120, 4), clip("d.mp4", 200, 6)],
    }
    out = write_comparison(columns, tmp_path / "out.mp4", magnification=2)
    assert (probe(out).frames, probe(out).fps) == (4, 12)
    frame = read_frames(out, [3])[0].float()
    assert frame.shape[2] == 2 * 64 + 2
    for row, greys in enumerate(((40, 120), (80, 200))):
        for column, grey in enumerate(greys):
            middle = frame[:, frame.shape[1] - 32 - (1 - row) * 66, 32 + column * 66]
            assert middle.tolist() == pytest.approx([grey] * 3, abs=3)


def test_a_picture_stands_still(clip, tmp_path):
    write_image(tmp_path / "still.png", torch.full((3, 32, 32), 90, dtype=torch.uint8))
    out = write_comparison({"": tmp_path / "still.png", "moving": clip("a.mp4", 200, 7)}, tmp_path / "out.mp4")
    frames = read_frames(out, [0, 6]).float()
    assert frames[:, :, -16, 16].flatten().tolist() == pytest.approx([90] * 6, abs=3)


def test_mistakes_are_explained(clip, tmp_path):
    write_image(tmp_path / "still.png", torch.zeros(3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match="only pictures"):
        write_comparison({"still": tmp_path / "still.png"}, tmp_path / "out.mp4")
    with pytest.raises(ValueError, match=r"as many clips, not \[2, 1\]"):
        write_comparison({"a": [clip("a.mp4", 0, 2)] * 2, "b": clip("b.mp4", 0, 2)}, tmp_path / "out.mp4")


def test_titles_are_broken_where_their_column_ends():
    def titled(title, width=192):
        column = torch.zeros(3, 10, width, dtype=torch.uint8)
        return grid([[column, column]], [title, ""])[:, :-10]

    short, long = titled("deep"), titled("pose attentive reassembling of somebody")
    assert long.shape[1] > 2 * short.shape[1]
    for picture in (short, long):
        assert (picture[:, :, :190] < 255).any()
        assert (picture[:, :, 190:] == 255).all()  # no ink at the column's end, nor in the next one
