"""`zoo score`: videos of any program, measured as our own methods are."""

import json
import os
from fractions import Fraction

import pytest
import torch

from zoo.cli import main
from zoo.errors import FileError, OptionError, ZooError
from zoo.metrics import build
from zoo.score import find_pairs, score
from zoo.video import VideoWriter, write_image

FAST = {"metrics": ("l1", "moving_l1", "psnr"), "sets": ()}


def frames(seed, count=9, side=32, noise=0.0):
    """A bright bar that moves over a random background, uint8 (count, 3, side, side)."""
    draw = torch.Generator().manual_seed(seed)
    background = torch.rand(3, side, side, generator=draw) * 100 + 50
    clip = background.repeat(count, 1, 1, 1)
    for number in range(count):
        clip[number, :, 8:20, 2 * number : 2 * number + 6] = 230
    return (clip + noise * torch.randn(clip.shape, generator=draw)).clamp(0, 255).to(torch.uint8)


def write_video(path, clip, fps=25):
    with VideoWriter(path, Fraction(fps)) as writer:
        writer.write(clip)


def write_pictures(folder, clip):
    for number, frame in enumerate(clip):
        write_image(folder / f"{number:04d}.png", frame)


@pytest.fixture
def folders(tmp_path):
    """Two clips of which the predictions are noisy copies; frame folders, so that no codec changes a pixel."""
    for number in range(2):
        write_pictures(tmp_path / "target" / f"clip{number}", frames(number))
        write_pictures(tmp_path / "prediction" / f"clip{number}", frames(number, noise=20))
    return tmp_path


class Bar:
    """Finds the bar: where a frame is brightest on average, as one keypoint."""

    name = "bar"

    def __call__(self, clip):
        bright = (clip.mean(1) > 0.8).float()
        total = bright.sum((1, 2)).clamp(min=1)
        side = clip.shape[-1]
        x = (bright.sum(1) * torch.arange(side)).sum(1) / total
        y = (bright.sum(2) * torch.arange(side)).sum(1) / total
        return torch.stack([(2 * x + 1) / side - 1, (2 * y + 1) / side - 1, bright.amax((1, 2))], dim=1)[:, None]


class Brightness:
    """Tells clips apart by how bright they are."""

    name = "brightness"

    def __call__(self, clip):
        return clip.mean((1, 2, 3))[:, None]


def test_keypoints_and_identity_are_looked_for_in_both(tmp_path):
    """A prediction that lags a frame behind: the bar is two pixels off in x, none in y."""
    target = frames(0)
    write_pictures(tmp_path / "target" / "a", target)
    write_pictures(tmp_path / "prediction" / "a", target[[0, *range(8)]])
    result = score(
        tmp_path / "prediction",
        tmp_path / "target",
        metrics=("akd", "mkr", "aed"),
        sets=(),
        keypoints=f"{__name__}.Bar",
        identity=f"{__name__}.Brightness",
        output=tmp_path / "score.json",
    )
    row = result["per_clip"][0]
    assert row["akd_bar_on_both"] == pytest.approx(8 / 9, abs=1e-4)  # |dx|, |dy| averaged; the first frame is right
    assert row["copy_source/akd_bar_on_both"] == pytest.approx(sum(range(9)) / 9, abs=1e-4)
    assert row["mkr_bar_on_both"] == 0
    brightness = target.double().mean((1, 2, 3)) / 255
    expected = (brightness[[0, *range(8)]] - brightness[0]).abs().mean().item()
    assert row["aed_l2_brightness_to_source"] == pytest.approx(expected, abs=1e-6)


def test_estimators_that_lead_nowhere(folders):
    with pytest.raises(OptionError, match=r"'nobody\.Finds' can't be imported"):
        score(folders / "prediction", folders / "target", metrics=("akd",), keypoints="nobody.Finds")
    score(folders / "prediction", folders / "target", output=folders / "s.json", keypoints="nobody.Finds", **FAST)


def test_values_are_those_of_the_metrics(folders):
    result = score(folders / "prediction", folders / "target", output=folders / "score.json", **FAST)
    for number, row in enumerate(result["per_clip"]):
        prediction, target = frames(number, noise=20), frames(number)
        expected = (prediction.double() - target.double()).abs().mean() / 255
        assert row["clip"] == f"clip{number}"
        assert row["l1"] == pytest.approx(expected.item(), rel=1e-6)
        copied = (target[:1].double() - target.double()).abs().mean() / 255
        assert row["copy_source/l1"] == pytest.approx(copied.item(), rel=1e-6)
        (metrics, _) = build(["moving_l1"])
        metrics["moving_l1"].update(prediction[None], target[None], target[:1])
        assert row["moving_l1"] == pytest.approx(metrics["moving_l1"].compute().item(), rel=1e-9)
    assert result["totals"]["l1"] == pytest.approx(sum(row["l1"] for row in result["per_clip"]) / 2)
    assert json.loads((folders / "score.json").read_text())["totals"] == result["totals"]


def test_lists_may_be_written_as_words_and_names_in_any_encoding(folders):
    for side in ("prediction", "target"):
        (folders / side / "clip0").rename(os.fsdecode(os.fsencode(folders / side) + b"/caf\xe9"))
    command = ["--prediction", str(folders / "prediction"), "--target", str(folders / "target"), "--sets", "[]"]
    main(["score", *command, "--metrics", "l1", "psnr", "--output", str(folders / "score.json")])
    found = json.loads((folders / "score.json").read_text("utf-8"))
    assert {"l1", "psnr"} < found["totals"].keys()
    assert b"caf\xe9" in [os.fsencode(row["clip"]) for row in found["per_clip"]]


def test_the_source_decides_what_moves_and_is_the_baseline(folders):
    for number in range(2):
        write_image(folders / "source" / f"clip{number}.png", frames(number)[-1])
    result = score(folders / "prediction", folders / "target", folders / "source", output=folders / "s.json", **FAST)
    target = frames(0)
    copied = (target[-1:].double() - target.double()).abs().mean() / 255
    assert result["per_clip"][0]["copy_source/l1"] == pytest.approx(copied.item(), rel=1e-6)
    assert result["source"] == "source"


def test_a_source_as_large_as_its_target_is_no_strip(tmp_path):
    wide = torch.cat([frames(0), frames(1)], dim=-1)
    for folder in ("target", "prediction"):
        write_pictures(tmp_path / folder / "a", wide)
    (tmp_path / "source").mkdir()
    write_image(tmp_path / "source" / "a.png", wide[4])
    (pair,) = find_pairs(tmp_path / "prediction", tmp_path / "target", tmp_path / "source")
    assert (pair.source.frames, pair.source.height, pair.source.width) == (1, 32, 64)
    assert (pair.target.frames, pair.target.width) == (9, 64)


def test_videos_of_any_format_are_paired_by_name(tmp_path):
    write_video(tmp_path / "target" / "ada" / "1.mp4", frames(0))
    write_video(tmp_path / "prediction" / "ada" / "1.webm", frames(0))
    write_pictures(tmp_path / "target" / "v1.0", frames(1))  # the dot begins no ending
    write_pictures(tmp_path / "prediction" / "v1.0", frames(1))
    names = [pair.name for pair in find_pairs(tmp_path / "prediction", tmp_path / "target")]
    assert names == ["ada/1", "v1.0"]


@pytest.mark.slow
def test_the_command_prints_the_table_and_the_distance_between_the_sets(folders, capsys):
    output = folders / "out" / "score.json"
    options = ["--prediction", str(folders / "prediction"), "--target", str(folders / "target")]
    main(["score", *options, "--output", str(output), "--metrics", "[l1,subject_l1]", "--name", "Their program"])
    printed = capsys.readouterr().out
    assert "Their program" in printed
    assert "subject_l1 was skipped: it needs the mask" in printed
    result = json.loads(output.read_text())
    assert result["sets"]["fvd"]["clips"] == 2
    assert result["sets"]["fvd"]["diagnostic"]
    assert result["sets"]["fvd"]["infinity"] is None  # of two clips nothing can be extrapolated
    assert f"fvd ↓ {result['sets']['fvd']['value']:.2f} (2 items on each side; diagnostic" in printed
    main(["score", "--prediction", str(folders / "target"), *options[2:], "--output", str(output), "--metrics", "[l1]"])
    same = json.loads(output.read_text())
    assert same["totals"]["l1"] == 0
    assert same["sets"]["fvd"]["value"] == pytest.approx(0, abs=1e-6)


def test_a_metric_without_its_network_is_skipped_with_the_command(folders, monkeypatch, capsys):
    monkeypatch.setenv("ZOO_CACHE", str(folders / "empty"))
    result = score(folders / "prediction", folders / "target", metrics=("l1", "lpips_alex"), output=folders / "s.json")
    assert set(result["totals"]) == {"l1", "copy_source/l1"}
    assert "zoo weights install" in result["skipped"]["lpips_alex"]
    assert "zoo weights install" in result["skipped"]["fvd"]
    with pytest.raises(OptionError, match=r"nothing can be measured.*zoo weights install"):
        score(folders / "prediction", folders / "target", metrics=("lpips_alex",), sets=(), output=folders / "s.json")


def other_length(folders):
    write_pictures(folders / "target" / "clip1", frames(1, count=10))


def other_size(folders):
    for number in range(9):
        write_image(folders / "target" / "clip1" / f"{number:04d}.png", frames(1, side=40)[number])


def other_rate(folders):
    write_video(folders / "prediction" / "clip2.mp4", frames(2))
    write_video(folders / "target" / "clip2.mp4", frames(2), fps=30)


def one_more(folders):
    write_pictures(folders / "prediction" / "clip7", frames(7))


def one_less(folders):
    write_pictures(folders / "target" / "clip7", frames(7))


def two_of_a_name(folders):
    write_video(folders / "prediction" / "clip1.mp4", frames(1))


def damaged(folders):
    (folders / "prediction" / "clip1" / "0003.png").write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_length, r"prediction/clip1: has 9 frames, but \S*target/clip1 has 10; write one frame for each"),
        (other_size, r"prediction/clip1: is 32 x 32, but \S*target/clip1 is 40 x 40; write predictions at the size"),
        (other_rate, r"prediction/clip2.mp4: has 25 frames per second, but \S*target/clip2.mp4 has 30; "),
        (one_more, r"prediction: 3 clips, and 2 in \S*target: no target for 'clip7'; each prediction needs a target"),
        (one_less, r"prediction: 2 clips, and 3 in \S*target: no prediction for 'clip7'; "),
        (two_of_a_name, r"has the same name as clip1; keep one clip per name"),
        (damaged, r"prediction/clip1/0003.png: "),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(folders, spoil, message):
    spoil(folders)
    with pytest.raises(FileError, match=message) as mistake:
        score(folders / "prediction", folders / "target", output=folders / "score.json", **FAST)
    assert "\n" not in str(mistake.value)
    assert not (folders / "score.json").exists()


def test_sources_must_be_there_and_fit(folders):
    write_image(folders / "source" / "clip0.png", frames(0)[0])
    with pytest.raises(FileError, match="source: has no source for 'clip1'; add it"):
        score(folders / "prediction", folders / "target", folders / "source", **FAST)
    write_image(folders / "source" / "clip1.png", frames(1, side=40)[0])
    with pytest.raises(FileError, match=r"source/clip1.png: is 40 x 40, but \S*target/clip1 is 32 x 32"):
        score(folders / "prediction", folders / "target", folders / "source", **FAST)


def test_clips_shorter_than_a_network_takes_are_refused_before_anything_is_measured(tmp_path):
    for folder in ("prediction", "target"):
        write_pictures(tmp_path / folder / "clip", frames(0, count=8))
    folders = tmp_path / "prediction", tmp_path / "target"
    with pytest.raises(FileError, match="prediction/clip: has 8 frames, but fvd needs at least 9; give longer clips"):
        score(*folders, metrics=("l1",), output=tmp_path / "score.json")
    name = "fvd_stylegan_v_128f_subsample8f"
    with pytest.raises(FileError, match=f"prediction/clip: has 8 frames, but {name} needs at least 65"):
        score(*folders, metrics=("l1",), sets=(name,), output=tmp_path / "score.json")
    for folder in ("prediction", "target"):
        write_image(tmp_path / folder / "still.png", frames(0)[0])
    with pytest.raises(FileError, match=r"prediction/still.png: has 1 frames, but flicker needs at least 2"):
        score(*folders, metrics=("flicker",), sets=(), output=tmp_path / "score.json")


def test_frames_smaller_than_a_network_takes_name_the_clip(tmp_path):
    for folder in ("prediction", "target"):
        write_pictures(tmp_path / folder / "clip", frames(0, side=24))
    with pytest.raises(FileError, match="prediction/clip: lpips_alex needs frames of at least 31 x 31"):
        score(
            tmp_path / "prediction", tmp_path / "target", metrics=("lpips_alex",), sets=(), output=tmp_path / "s.json"
        )
    assert not (tmp_path / "s.json").exists()


def test_folders_and_options_that_cannot_be_used(folders):
    (folders / "empty").mkdir()
    with pytest.raises(FileError, match="does not exist; give a folder of videos"):
        score(folders / "nowhere", folders / "target")
    with pytest.raises(FileError, match="is no folder"):
        score(folders / "target" / "clip0" / "0000.png", folders / "target")
    with pytest.raises(FileError, match="has no clips in it"):
        score(folders / "empty", folders / "target")
    with pytest.raises(OptionError, match="no metric is called 'vmaf'"):
        score(folders / "prediction", folders / "target", metrics=("vmaf",))
    with pytest.raises(OptionError, match="is a folder; give `--output` the name of a file"):
        score(folders / "prediction", folders / "target", output=folders)
    (folders / "file").write_text("")
    with pytest.raises(FileError, match=r"score\.json: can't be written in .*file; choose another `--output`"):
        score(folders / "nowhere", folders / "target", output=folders / "file" / "score.json")
    with pytest.raises(ZooError, match="the device 'abacus' can't be used"):
        score(folders / "prediction", folders / "target", device="abacus", **FAST)
