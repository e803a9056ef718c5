import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec

import pytest
import torch

from zoo.conditions import ESTIMATORS, estimate_track, load_estimator, missing_rates
from zoo.conditions.rtmlib import RtmlibWholeBody, from_openpose_134
from zoo.errors import OptionError
from zoo.pose import BODY_18, BODY_25, WHOLE_25


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("openpose", "there is no pose estimator 'openpose'; choose mediapipe, rtmlib or package.module:Class"),
        ("no_such_package:Estimator", "can't be made: No module named 'no_such_package'"),
        ("zoo.pose:NoSuchClass", "can't be made: .*no attribute 'NoSuchClass'"),
        ("collections:OrderedDict", "is no pose estimator: it needs a `skeleton`"),
    ],
)
def test_mistaken_names_are_explained(name, problem):
    with pytest.raises(OptionError, match=problem):
        load_estimator(name)


def test_rtmlibs_points_find_their_names():
    points = torch.arange(134.0)[None, :, None].repeat(1, 1, 2)
    scores = torch.full((1, 134), 2.0)
    scores[0, 7] = 0.1
    people = from_openpose_134(points, scores)
    assert people.shape == (1, 137, 3)
    place = {joint: people[0, WHOLE_25.index(joint)].tolist() for joint in WHOLE_25.joints}
    assert place["neck"] == [1, 1, 1]
    assert place["left_wrist"] == [0, 0, 0]  # not sure enough
    assert place["mid_hip"] == [9.5, 9.5, 1]
    assert place["left_big_toe"] == [18, 18, 1]
    assert place["right_heel"] == [23, 23, 1]
    assert place["right_jaw_0"] == [24, 24, 1]
    assert place["right_inner_lower_lip_1"] == [91, 91, 1]
    assert place["left_pupil"] == [0, 0, 0]
    assert place["left_hand_root"] == [92, 92, 1]
    assert place["right_little_4"] == [133, 133, 1]


class TwoPeople:
    """A large person who stands at the number that the picture shows, and a small one at -1000."""

    skeleton = BODY_18

    def __call__(self, frame):
        shape = torch.stack([torch.linspace(0, side, 18) for side in (60, 80)], dim=1)  # its diagonal: 100 pixels
        places = torch.tensor([float(frame[0, 0, 0]), -1000.0]).view(2, 1, 1)
        points = torch.tensor([1.0, 0.5]).view(2, 1, 1) * shape + places
        return torch.cat([points, torch.ones(2, 18, 1)], dim=-1)


def test_a_person_in_frames_taken_far_apart_may_have_walked_on():
    frames = torch.tensor([0, 60], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    found = [estimate_track(frames, TwoPeople(), BODY_18, numbers)[1].any() for numbers in (None, [0, 50])]
    assert found == [False, True]  # 85 pixels away


class TestAuto:
    @pytest.fixture(autouse=True)
    def mediapipe(self, monkeypatch):
        """Stands in for MediaPipe, whose networks needn't be on this machine."""
        monkeypatch.setitem(ESTIMATORS, "mediapipe", f"{__name__}:TwoPeople")

    def install_rtmlib(self, monkeypatch, model):
        package = module_from_spec(ModuleSpec("rtmlib", None))
        package.Wholebody = model
        monkeypatch.setitem(sys.modules, "rtmlib", package)

    def test_is_rtmlib_where_its_models_can_be_had(self, monkeypatch):
        self.install_rtmlib(monkeypatch, lambda **options: None)
        assert isinstance(load_estimator("auto"), RtmlibWholeBody)

    def test_is_mediapipe_where_the_models_of_rtmlib_cannot_be_had_and_says_why(self, monkeypatch, capsys):
        def offline(**options):
            raise ConnectionError("no route to host")

        self.install_rtmlib(monkeypatch, offline)
        assert isinstance(load_estimator("auto"), TwoPeople)
        printed = capsys.readouterr().out
        assert "rtmlib's models can't be had (no route to host)" in printed
        assert printed.endswith("going on with mediapipe\n")

    def test_is_mediapipe_without_a_word_where_there_is_no_rtmlib(self, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "rtmlib", None)
        assert isinstance(load_estimator("auto"), TwoPeople)
        assert not capsys.readouterr().out


def test_missing_rates_leave_frames_without_anybody_out():
    track = torch.zeros(4, 18, 3)
    track[:3, 0] = track[:1, 1] = 1
    rates = missing_rates(track, BODY_18)
    assert rates["nose"] == 0
    assert rates["neck"] == pytest.approx(2 / 3)
    assert set(missing_rates(torch.zeros(2, 25, 3), BODY_25).values()) == {1.0}
