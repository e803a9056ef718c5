import numpy as np
import pytest
import torch

from zoo.data import DataError
from zoo.data.cache import ByteCache
from zoo.data.sidecar import SideCar
from zoo.pose import FACE_68

FRAMES, HEIGHT, WIDTH = 5, 12, 16


def poses() -> np.ndarray:
    keypoints = np.random.default_rng(0).uniform(3, 12, (FRAMES, 18, 3)).astype(np.float32)
    keypoints[..., 2] = 0.9
    return keypoints


def surfaces() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 25, (FRAMES, 3, HEIGHT, WIDTH)).astype(np.uint8)


def sidecar(path, condition) -> SideCar:
    return SideCar(path, condition, FRAMES, HEIGHT, WIDTH)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_reads_the_frames_asked_for(tmp_path, save, order):
    path = tmp_path / "clip_iuv.npz"
    save(path, other=np.arange(3), iuv=np.asarray(surfaces(), order=order))
    car, cache = sidecar(path, "iuv"), ByteCache(1 << 20)
    car.check()
    for _ in range(2):
        assert car.read([3, 0, 3], cache).equal(torch.from_numpy(surfaces()[[3, 0, 3]]))
    assert cache.held == (surfaces().nbytes if save is np.savez_compressed else 0)  # the other stays on the disk


def test_masks_with_and_without_a_channel(tmp_path):
    mask = (surfaces()[:, :1] > 12).astype(np.uint8)
    for name, stored in (("a", mask), ("b", mask[:, 0] * 255)):
        np.savez(tmp_path / name, mask=stored)
        car = sidecar(tmp_path / f"{name}.npz", "mask")
        car.check()
        assert car.read(range(FRAMES), ByteCache(0)).equal(torch.from_numpy(mask * 255))


def test_what_is_not_finite_is_missing(tmp_path):
    keypoints = poses()
    keypoints[1, 4] = np.nan
    keypoints[2, 5, 0] = np.inf
    keypoints[3, 6, 2] = 0
    keypoints[4, 7, 2] = np.nan
    np.savez(tmp_path / "clip_pose.npz", keypoints=keypoints)
    car = sidecar(tmp_path / "clip_pose.npz", "pose")
    car.check()
    read = car.read(range(FRAMES), ByteCache(0))
    for frame, joint in ((1, 4), (2, 5), (3, 6), (4, 7)):
        assert read[frame, joint].tolist() == [0, 0, 0]
        keypoints[frame, joint] = 0
    assert read.equal(torch.from_numpy(keypoints))


def test_68_joints_without_a_name_are_a_face(tmp_path):
    landmarks = np.tile(poses(), (1, 4, 1))[:, :68]
    np.savez(tmp_path / "clip_pose.npz", keypoints=landmarks)
    car = sidecar(tmp_path / "clip_pose.npz", "pose")
    car.check()
    assert car.skeleton() is FACE_68
    assert car.read(range(FRAMES), ByteCache(0)).equal(torch.from_numpy(landmarks))


def test_double_precision_is_taken(tmp_path):
    np.savez(tmp_path / "clip_pose.npz", keypoints=poses().astype(np.float64))
    car = sidecar(tmp_path / "clip_pose.npz", "pose")
    car.check()
    assert car.read([0], ByteCache(0)).dtype == torch.float32


@pytest.mark.parametrize(
    ("condition", "array", "said"),
    [
        ("pose", {"keypoints": poses()[:3]}, "has 3 frames, but the video has 5"),
        ("pose", {"keypoints": np.tile(poses(), (2, 1, 1))}, "has 10 frames, but the video has 5"),
        ("pose", {"keypoints": poses()[..., :2]}, r"\(5, 18, 2\), expected \(5, 18, 3\)"),
        ("pose", {"keypoints": np.tile(poses(), (1, 2, 1))[:, :25]}, r"\(5, 25, 3\), expected \(5, 18, 3\)"),
        ("pose", {"keypoints": poses() / np.float32(256)}, "not pixels"),
        ("pose", {"keypoints": np.array([{"x": 1}], dtype=object)}, "has type object"),
        ("pose", {"joints": poses()}, "holds 'joints'; expected 'keypoints'"),
        ("pose", {"keypoints": poses(), "skeleton": np.array("octopus_8")}, "unknown skeleton 'octopus_8'"),
        ("iuv", {"iuv": surfaces()[:, :, ::2, ::2]}, r"\(5, 3, 6, 8\), expected \(5, 3, 12, 16\)"),
        ("iuv", {"iuv": surfaces().astype(np.float32)}, "has type float32"),
        ("mask", {"mask": surfaces()}, "expected"),
    ],
)
def test_wrong_side_cars_are_found_before_training(tmp_path, condition, array, said):
    path = tmp_path / f"clip_{condition}.npz"
    np.savez_compressed(path, **array)
    with pytest.raises(DataError, match=said) as caught:
        sidecar(path, condition).check()
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 broken"])
def test_broken_files(tmp_path, content):
    path = tmp_path / "clip_pose.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not an npz file"):
        sidecar(path, "pose").check()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_cut_off_and_overwritten_files(tmp_path, save):
    path = tmp_path / "clip_pose.npz"
    save(path, keypoints=poses())
    whole = path.read_bytes()
    path.write_bytes(whole[:60] + b"\xff" * 40 + whole[100:])
    with pytest.raises(DataError, match="is damaged"):
        sidecar(path, "pose").check()


def test_part_labels_beyond_the_chart(tmp_path):
    array = surfaces()
    array[2, 0, 0, 0] = 30
    np.savez(tmp_path / "clip_iuv.npz", iuv=array)
    car = sidecar(tmp_path / "clip_iuv.npz", "iuv")
    assert car.read([0, 1], ByteCache(0)).shape[0] == 2
    with pytest.raises(DataError, match="part label 30, but 24 is the largest"):
        car.read([2], ByteCache(0))
