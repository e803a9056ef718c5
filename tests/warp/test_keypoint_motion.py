import pytest
import torch

from zoo.errors import OptionError
from zoo.warp.keypoint_motion import subject_size


def test_the_size_of_a_square_is_its_side():
    square = torch.tensor([[[0.0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5], [0.2, 0.3]]])
    torch.testing.assert_close(subject_size(torch.cat([square, 3 * square])), torch.tensor([0.5, 1.5]))


@pytest.mark.parametrize("points", [torch.rand(1, 2, 2), torch.linspace(0, 1, 5)[None, :, None].expand(-1, -1, 2)])
def test_keypoints_that_enclose_no_area_are_named(points):
    with pytest.raises(OptionError, match="enclose no area; leave out adapt_scale"):
        subject_size(points)
