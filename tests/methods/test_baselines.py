"""The baselines follow the methods' contract, and bound what methods can score."""

import pytest
import torch

from zoo.baselines import BASELINES, CopySource, NearestFrame, Oracle
from zoo.baselines.nearest_frame import MISSING, pose_distance
from zoo.baselines.oracle import coded
from zoo.batch import Batch
from zoo.data import VideoDataModule
from zoo.errors import OptionError
from zoo.loading import list_methods

PEOPLE = {"train_identities": 2, "val_identities": 1, "test_identities": 2, "clips_per_identity": 2, "frames": 12}


def data(**options):
    return VideoDataModule(
        synthetic=PEOPLE, size=48, conditions=("pose",), workers=0, evaluation_frames=6, batch_size=1, **options
    )


def batches(module):
    return [module.on_after_batch_transfer(batch, 0) for batch in module.test_dataloader()]


@pytest.fixture(params=sorted(BASELINES))
def baseline(request):
    module = BASELINES[request.param]().eval()
    module.prepare(data())
    return module


def test_contract(baseline):
    batch = batches(data())[0]
    before = baseline.animate(batch)
    assert before.shape == batch["driving"].shape
    assert before.dtype == torch.float32
    assert 0 <= before.min() <= before.max() <= 1
    assert torch.equal(before, baseline.animate(batch))
    single = Batch(source=batch["source"])
    single |= {key: batch[key][:, :1] for key in ("driving", "driving_pose")}
    assert baseline.animate(single).shape == batch["driving"][:, :1].shape


def test_chunks_do_not_matter_where_frames_are_not_coded_together():
    nearest = NearestFrame().eval()
    nearest.prepare(data())
    batch = batches(data())[0]
    for module in (nearest, CopySource()):
        assert torch.equal(module.animate(batch, chunk=1), module.animate(batch, chunk=6))


def test_baselines_are_no_methods_to_train():
    assert not set(BASELINES) & set(list_methods())


def test_copy_source_shows_the_source():
    batch = batches(data())[0]
    assert torch.equal(CopySource().animate(batch), batch["source"].expand_as(batch["driving"]))


def test_nearest_frame_finds_a_frame_that_it_has_seen():
    module = data(later_motion=0.5)
    nearest = NearestFrame().eval()
    nearest.prepare(module)
    clip = module.source.clips("train")[1]
    frames, poses = module.training_frames(1000)["driving"], module.training_frames(1000)["driving_pose"]
    driving = Batch(driving=frames[None].float() / 255, driving_pose=poses[None])
    shown, _ = nearest.render(None, driving)
    distances = pose_distance(poses[:, None], poses[None])
    assert (distances.diagonal() == 0).all()
    assert torch.equal(shown, driving["driving"])
    assert clip.frames == 6


def test_nearest_frame_keeps_so_many_frames_and_needs_them():
    nearest = NearestFrame(most_frames=5)
    nearest.prepare(data())
    assert nearest.pictures_kept.shape == (5, 3, 48, 48)
    assert nearest.pictures_kept.dtype == torch.uint8
    with pytest.raises(OptionError, match=r"call `prepare\(data\)` first"):
        NearestFrame().animate(batches(data())[0])


def test_pose_distance_by_hand():
    first = torch.tensor([[0.0, 0.0, 1.0], [0.5, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    second = torch.tensor([[0.3, 0.4, 0.5], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    assert pose_distance(first, second).item() == pytest.approx((0.5 + 2 * MISSING) / 3)
    assert pose_distance(first * 0, second * 0).item() == 0


def test_oracle_returns_the_coded_truth_even_of_transfers_and_odd_sizes():
    module = data(pairs="cross_identity")
    batch = batches(module)[0]
    shown = Oracle().test_step(batch, 0)
    assert shown.shape == batch["target"].shape
    assert (shown - batch["target"]).abs().mean() < 0.02
    assert (shown - batch["target"]).abs().mean() < 0.3 * (batch["driving"] - batch["target"]).abs().mean()
    odd = Batch(source=batch["source"][..., :47, :45], driving=batch["driving"][..., :47, :45])
    assert Oracle().animate(odd).shape == odd["driving"].shape


def test_the_codec_gives_the_same_frames_every_time():
    clips = [batch["driving"][0] for batch in batches(data())]
    first = [coded(clip) for clip in clips]
    for _ in range(25):
        scattered = [torch.rand(torch.randint(1, 5000, ())) for _ in range(20)]  # other memory than before
        assert all(torch.equal(coded(clip), before) for clip, before in zip(clips, first, strict=True))
        del scattered


def test_later_motion_is_the_rest_of_the_same_clips():
    module = data(later_motion=0.5)
    train, test = module.source.clips("train"), module.source.clips("test")
    assert [clip.frames for clip in train] == [6] * 4
    assert [clip.frames for clip in test] == [6] * 4
    plain = data().source
    whole = plain.clips("train")[2]
    assert test[2].identity == train[2].identity == whole.identity
    assert torch.equal(module.source.frames(train[2], [1, 5]), plain.frames(whole, [1, 5]))
    assert torch.equal(module.source.frames(test[2], [0, 5]), plain.frames(whole, [6, 11]))
    assert torch.equal(module.source.condition(test[2], "pose", [2]), plain.condition(whole, "pose", [8]))
    for batch, clip in zip(batches(data(later_motion=0.5, pairs="known_subject")), plain.clips("train"), strict=True):
        assert torch.equal(batch["source"][0], plain.frames(clip, [0]) / 255)
        assert torch.equal(batch["target"][0], plain.frames(clip, range(6, 12)) / 255)
        assert torch.equal(batch["target_pose"], batch["driving_pose"])
    pieces = VideoDataModule(synthetic=PEOPLE, size=48, workers=0, evaluation_frames=2, later_motion=0.5)
    assert [clip.name.rpartition("[")[2] for clip in pieces.source.clips("test")[:3]] == ["6:8]", "8:10]", "10:12]"]
    with pytest.raises(OptionError, match="between 0 and 1"):
        data(later_motion=1.0)
