"""Surface maps in pictures, and DensePose's model, in place of which a small script stands that returns known maps."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo.conditions import (
    decode_surface,
    encode_surface,
    find_encoding,
    iter_surface_pictures,
    load_surface_estimator,
    paint_parts,
    recognise_parts,
)
from zoo.errors import OptionError
from zoo.pose import part_palette
from zoo.video import VideoError, read_image, write_image

ENCODINGS = ["vui", "iuv", "vui_spread", "iuv_spread"]


def maps(frames=3, height=12, width=10):
    draw = torch.Generator().manual_seed(0)
    part = torch.randint(-8, 25, (frames, 1, height, width), generator=draw).clamp(min=0)
    return torch.cat([part, torch.randint(256, (frames, 2, height, width), generator=draw) * (part > 0)], 1).byte()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_round_trip_and_are_found(encoding):
    pictures = encode_surface(maps(), encoding)
    assert torch.equal(decode_surface(pictures, encoding), maps())
    assert find_encoding(pictures) == encoding
    assert torch.equal(decode_surface(pictures, find_encoding(pictures)), maps())


def test_channels_of_each_encoding():
    point = torch.tensor([24, 10, 200], dtype=torch.uint8).view(1, 3, 1, 1)  # I, U, V
    expected = {"vui": [200, 10, 24], "iuv": [24, 10, 200], "vui_spread": [200, 10, 255], "iuv_spread": [255, 10, 200]}
    for encoding, channels in expected.items():
        assert encode_surface(point, encoding).flatten().tolist() == channels


def test_maps_without_anybody_fit_every_encoding():
    nobody = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    assert torch.equal(decode_surface(nobody, find_encoding(nobody)), nobody)


def test_parts_beyond_the_last_are_named():
    pictures = encode_surface(maps(), "iuv")
    pictures[1, 0, 2, 2] = 25
    with pytest.raises(OptionError, match="would have part 25, 24 is the last"):
        decode_surface(pictures, "iuv")
    with pytest.raises(OptionError, match="isn't one of 25 values"):
        decode_surface(pictures, "iuv_spread")
    pictures[1, 2, 2, 2] = 25
    with pytest.raises(OptionError, match="fit none of the encodings vui, iuv"):
        find_encoding(pictures)


def test_palette_round_trips_and_mistaken_colours_are_refused():
    assert len(part_palette().unique(dim=0)) == 25
    parts = maps()[:, 0]
    pictures = paint_parts(parts)
    assert pictures.shape == (3, 3, 12, 10)
    assert torch.equal(recognise_parts(pictures), parts)
    pictures[0, :, 0, 0] = torch.tensor([1, 2, 3])
    with pytest.raises(OptionError, match="a colour that no part has"):
        recognise_parts(pictures)


def read_all(*arguments):
    return torch.stack(list(iter_surface_pictures(*arguments)))


class TestPictures:
    @pytest.fixture
    def folder(self, tmp_path):
        """Written like the official samples: numbers without zeros in front, so that 10 sorts before 2 as text."""
        for number, picture in enumerate(encode_surface(maps(11), "vui")):
            write_image(tmp_path / f"frame{number}_IUV.png", picture)
        return tmp_path

    def test_are_read_in_order(self, folder):
        assert torch.equal(read_all(folder, 11, (12, 10)), maps(11))
        assert torch.equal(read_all(folder, 11, (12, 10), "vui"), maps(11))

    def test_of_another_length_or_size_are_refused(self, folder):
        with pytest.raises(VideoError, match="has 11 surface maps, but the video has 12 frames"):
            read_all(folder, 12, (12, 10))
        with pytest.raises(VideoError, match="holds maps of 10x12, but the video has 20x24"):
            read_all(folder, 11, (24, 20))

    def test_in_another_encoding_are_refused(self, folder):
        with pytest.raises(VideoError, match="would have part"):
            read_all(folder, 11, (12, 10), "iuv")
        picture = read_image(folder / "frame3_IUV.png")
        picture[2] += 40
        write_image(folder / "frame3_IUV.png", picture)
        with pytest.raises(VideoError, match="fit none of the encodings"):
            read_all(folder, 11, (12, 10))

    @pytest.mark.shared
    def test_of_densepose_itself(self, shared):
        """The official samples against the same maps, packed as an array in the order I, U, V."""
        packed = np.load(shared / "data" / "fashion" / "1_iuv.npz")["iuv"]
        folder = next((shared / "data" / "fashion_frames" / "1").glob("dp_*"))
        ours = read_all(folder, len(list(folder.iterdir())), (256, 256))
        numbers = [*range(12), *range(98, 102)]
        assert torch.equal(ours, torch.from_numpy(packed[numbers]))


class Blobs(nn.Module):
    """Everything blue is somebody, one left and one right of the middle, everything green one more.

    Part 3 is above, 4 below, in a full box.
    """

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        assert picture.dtype == torch.uint8
        middle = picture.shape[2] // 2
        boxes: list[Tensor] = []
        for channel, start, end in ((0, 0, middle), (0, middle, picture.shape[2]), (1, 0, picture.shape[2])):
            bright = picture[channel, :, start:end] > 100  # blue comes first
            if bool(bright.any()):
                place = bright.nonzero()
                low, high = place.amin(0), place.amax(0) + 1
                boxes.append(torch.stack([low[1] + start, low[0], high[1] + start, high[0]]))
        count = len(boxes)
        coarse = torch.zeros(count, 2, 8, 8)
        coarse[:, 1] = 1
        fine, u, v = torch.zeros(count, 25, 8, 8), torch.zeros(count, 25, 8, 8), torch.zeros(count, 25, 8, 8)
        fine[:, 3, :4], fine[:, 4, 4:] = 1, 1
        u[:, 3], u[:, 4], v[:] = 0.2, 0.6, 1.4
        stacked = torch.stack(boxes).float() if count > 0 else torch.zeros(0, 4)
        return stacked, coarse, fine, u, v


class TestDensePoseScript:
    @pytest.fixture(scope="class")
    def model(self, tmp_path_factory):
        path = tmp_path_factory.mktemp("model") / "densepose.torchscript"
        torch.jit.script(Blobs()).save(str(path))
        return str(path)

    def frame(self, *boxes, channel=2):
        picture = torch.zeros(3, 40, 60, dtype=torch.uint8)
        for left, top, right, bottom in boxes:
            picture[channel, top:bottom, left:right] = 255
        return picture

    def test_maps_are_put_where_the_box_is(self, model):
        surface = load_surface_estimator(model)(self.frame((4, 10, 14, 30)))
        expected = torch.zeros(3, 40, 60, dtype=torch.uint8)
        expected[0, 10:20, 4:14], expected[0, 20:30, 4:14] = 3, 4
        expected[1, 10:20, 4:14], expected[1, 20:30, 4:14] = 51, 153
        expected[2, 10:30, 4:14] = 255  # beyond the chart's end it stays there
        assert torch.equal(surface, expected)

    def test_the_model_sees_blue_first(self, model):
        estimator = load_surface_estimator(model)
        assert not estimator(self.frame((4, 10, 14, 30), channel=0)).any()

    def test_the_largest_is_followed(self, model):
        estimator = load_surface_estimator(model)
        first = estimator(self.frame((4, 10, 14, 30), (40, 5, 58, 35)))
        assert not first[:, :, :30].any()
        later = estimator(self.frame((2, 2, 28, 38), (40, 5, 48, 20)))  # smaller now, but the same
        assert not later[:, :, :30].any()
        assert later[0].any()

    def test_who_lies_inside_the_followed_box_is_not_taken_for_the_followed_one(self, model):
        estimator = load_surface_estimator(model)
        estimator(self.frame((4, 2, 24, 38)))
        child = self.frame((10, 20, 14, 30), channel=1)
        surface = estimator(self.frame((7, 2, 27, 38)) + child)  # three pixels on
        assert torch.equal(surface, load_surface_estimator(model)(self.frame((7, 2, 27, 38))))

    def test_nobody(self, model):
        assert not load_surface_estimator(model)(self.frame()).any()

    def test_other_files_and_names_are_explained(self, tmp_path):
        (tmp_path / "other.pt").write_bytes(b"no model")
        with pytest.raises(OptionError, match=r"other\.pt: is no model in TorchScript"):
            load_surface_estimator(str(tmp_path / "other.pt"))
        with pytest.raises(OptionError, match="there are no surfaces 'skelton'; choose `skeleton`"):
            load_surface_estimator("skelton")
        with pytest.raises(OptionError, match="can't be made"):
            load_surface_estimator("zoo.conditions:Nobody")

    def test_a_model_with_other_outputs_is_explained(self, tmp_path):
        torch.jit.script(nn.Identity()).save(str(tmp_path / "identity.pt"))
        with pytest.raises(OptionError, match="doesn't work as a DensePose model"):
            load_surface_estimator(str(tmp_path / "identity.pt"))(self.frame())
