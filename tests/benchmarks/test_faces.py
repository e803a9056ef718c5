import pytest
import torch

from benchmarks.ablations import faces
from zoo.errors import OptionError
from zoo.methods.everybody_dance_now import EverybodyDanceNow

SIZES = {
    "skeleton": "body_18",
    "canvas": None,
    "generator_width": 4,
    "generator_downsamplings": 2,
    "generator_blocks": 1,
    "enhancer_blocks": 1,
    "discriminator_width": 4,
    "face_size": 32,
    "face_width": 4,
    "face_downsamplings": 2,
    "face_blocks": 1,
    "face_discriminator_width": 4,
    "perceptual": "alexnet",
}


@pytest.fixture(scope="module")
def face_stage():
    torch.manual_seed(0)
    return EverybodyDanceNow(stage="face", **SIZES).eval()


def test_faces_are_measured_with_the_generator_and_as_the_stage_before_paints_them(face_stage):
    data = faces.open_data((64, 64))
    found = faces.measure(face_stage, data)
    before = EverybodyDanceNow(stage="local", **SIZES)
    before.load_state_dict({k: v for k, v in face_stage.state_dict().items() if k in before.state_dict()})
    assert found["clips"] == 12
    clip = next(iter(faces.batches(data)))
    boxes = face_stage.faces(clip["driving_pose"][0], (64, 64))
    for way, method in (("with", face_stage), ("without", before.eval())):
        with torch.inference_mode():
            frames = method.animate(clip)[0]
        differences = [
            (frame[:, top:bottom, left:right] - true[:, top:bottom, left:right]).abs().mean()
            for frame, true, (top, bottom, left, right) in zip(frames, clip["driving"][0], boxes.tolist(), strict=True)
        ]
        assert found["metrics"]["l1"][way]["per_clip"][0] == pytest.approx(torch.stack(differences).mean().item())
    first, second = (found["metrics"]["l1"][way]["per_clip"] for way in ("with", "without"))
    difference = sum(first) / 12 - sum(second) / 12
    assert found["metrics"]["l1"]["with_minus_without"]["difference"] == pytest.approx(difference)
    assert difference != 0


def test_a_face_generator_that_adds_nothing_changes_nothing(face_stage):
    silent = EverybodyDanceNow(stage="face", **SIZES).eval()
    silent.load_state_dict(face_stage.state_dict())
    *_, last = (layer for layer in silent.face_generator.modules() if isinstance(layer, torch.nn.Conv2d))
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    for metric in faces.measure(silent, faces.open_data((64, 64)))["metrics"].values():
        assert metric["with"]["per_clip"] == metric["without"]["per_clip"]


def test_weights_of_an_earlier_stage_are_refused():
    with pytest.raises(OptionError, match="train the face stage"):
        faces.measure(EverybodyDanceNow(stage="local", **SIZES), faces.open_data((64, 64)))
