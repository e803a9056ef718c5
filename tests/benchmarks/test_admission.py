"""A program from elsewhere: clips out, videos scored, its row in the table."""

import json
from fractions import Fraction

import pytest
import tiny_protocol
import torch

from benchmarks.admission import admit
from benchmarks.export import export
from benchmarks.jobs import Settings, find_jobs
from benchmarks.leaderboard import read_boards
from benchmarks.protocol import Suite, read_protocol
from benchmarks.run import attempt
from benchmarks.schema import read_result
from zoo.baselines import Oracle
from zoo.errors import FileError, OptionError
from zoo.score import score
from zoo.video import VideoWriter, read_frames


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The tiny protocol's baselines, its clips as pictures, and a program's videos of them with their score."""
    folder = tmp_path_factory.mktemp("admission")
    path = tiny_protocol.write(folder, metrics=["l1", "moving_l1", "subject_l1", "psnr"])
    settings = Settings(folder / "results", folder / "work", device="cpu", machine="here")
    jobs, _ = find_jobs(Suite((read_protocol(path),)), ["copy_source", "oracle"])
    for job in jobs:
        assert not attempt(job, settings)
    for name in export(read_protocol(path), folder / "clips"):
        driving = folder / "clips" / "driving" / name
        with VideoWriter(folder / "theirs" / f"{name}.mp4", Fraction(25)) as writer:
            writer.write(read_frames(driving, range(len(list(driving.iterdir())))))
    scored(folder, folder / "theirs", folder / "score.json")
    return folder


def scored(folder, theirs, output, **options):
    clips = folder / "clips"
    options = {"metrics": ("l1", "moving_l1", "psnr"), "sets": ()} | options
    return score(theirs, clips / "target", clips / "source", output=output, **options)


def admitted(whole, file="score.json", name="Their Program"):
    hashes = {"tiny": read_protocol(whole / "tiny.yaml").hash}
    return admit(whole / file, name, "tiny", whole / "results", hashes)


def test_their_row_stands_beside_ours_with_the_same_figures(whole):
    path = admitted(whole)
    assert path.parent == whole / "results" / "tiny"
    (board,), _ = read_boards(whole / "results", {"tiny": read_protocol(whole / "tiny.yaml").hash})
    rows = {entry.title: entry for entry in board.entries}
    theirs, oracle = rows["Their Program"], rows[Oracle.title]
    assert theirs.kind == "external"
    assert (theirs.measured, theirs.expected) == (4, 4)
    assert board.best["l1"] == "Their Program"  # the only ranked row
    # The same codec with the same options, once in memory and once through files: the same pictures.
    assert theirs.cells["l1"].value == pytest.approx(oracle.cells["l1"].value, rel=1e-6)
    assert rows["Copy source"].cells["l1"].difference.clips == 4  # paired by the protocol's names of clips
    assert theirs.cells["subject_l1"].value is None
    assert read_result(path)["evaluation"]["skipped"] == {"subject_l1": "`zoo score` wasn't asked for it"}
    path.unlink()


def other_clips(content):
    content["per_clip"][0]["copy_source/l1"] += 0.1


def one_missing(content):
    del content["per_clip"][0]


def other_length(content):
    content["per_clip"][0]["frames"] += 1


def without_l1(content):
    del content["per_clip"][0]["copy_source/l1"]


def without_names(content):
    content["per_clip"] = [{}]


def without_machine(content):
    content["machine"] = {}


def set_by_hand(content):
    content["sets"] = {"fvd": {"value": 3.0}}


def words_for_numbers(content):
    content["per_clip"][0]["copy_source/l1"] = "small"


def no_score(content):
    del content["per_clip"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_clips, r"spoilt.json: clip '\S+' is 0.\d+ from its source in l1, but the protocol's is 0.\d+; score ag"),
        (one_missing, r"spoilt.json: has no clip '\S+--\S+' or '\S+'; score every clip of the protocol"),
        (other_length, r"spoilt.json: clip '\S+' has 7 frames, but the protocol's has 6; "),
        (without_l1, r"spoilt.json: has no l1; run `zoo score` with l1"),
        (without_names, r"spoilt.json: has no clip '\S+--\S+' or '\S+'; score every clip of the protocol"),
        (without_machine, r"spoilt.json: has no machine.device; give a file that `zoo score` wrote"),
        (set_by_hand, r"spoilt.json: sets.fvd.low: Field required; give a file that `zoo score` wrote"),
        (words_for_numbers, r"spoilt.json: clip '\S+': copy_source/l1 is 'small', no number; give a file that `zoo"),
        (no_score, r"spoilt.json: has no per_clip; give a file that `zoo score` wrote"),
    ],
)
def test_scores_of_other_clips_are_refused(whole, spoil, message):
    content = json.loads((whole / "score.json").read_text())
    spoil(content)
    (whole / "spoilt.json").write_text(json.dumps(content))
    before = sorted((whole / "results" / "tiny").iterdir())
    with pytest.raises(FileError, match=message):
        admitted(whole, "spoilt.json")
    assert sorted((whole / "results" / "tiny").iterdir()) == before


def test_what_admission_needs(whole, tmp_path):
    with pytest.raises(OptionError, match="there is no protocol 'nothing'; there are "):
        admit(whole / "score.json", "Theirs", "nothing", whole / "results")
    with pytest.raises(OptionError, match="needs letters or digits"):
        admitted(whole, name="–")
    with pytest.raises(FileError, match="--methods copy_source"):
        admit(whole / "score.json", "Theirs", "tiny", tmp_path, {"tiny": "0"})
    with pytest.raises(FileError, match="can't be read"):
        admitted(whole, "nowhere.json")


def test_clips_are_not_written_among_other_files(whole):
    with pytest.raises(FileError, match="is not an empty folder; name a new one"):
        export(read_protocol(whole / "tiny.yaml"), whole / "clips")


def test_clips_that_would_replace_one_another_are_not_written(tmp_path):
    for name in ("train/ada", "test/a/b_c", "test/a_b/c"):
        with VideoWriter(tmp_path / "clips" / f"{name}.mp4", Fraction(25)) as writer:
            writer.write(torch.randint(0, 255, (8, 3, 32, 32), dtype=torch.uint8))
    protocol = read_protocol(tiny_protocol.write(tmp_path, data={"path": "clips"}, provides=[], metrics=["l1"]))
    with pytest.raises(FileError, match=r"test/a_b/c\.mp4: .* would be called .*, as test/a/b_c\.mp4 .*; rename one"):
        export(protocol, tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


def test_clips_whose_true_frames_nobody_knows_can_not_be_scored(tmp_path):
    for name in ("train/ada", "test/bob", "test/eve"):
        with VideoWriter(tmp_path / "clips" / f"{name}.mp4", Fraction(25)) as writer:
            writer.write(torch.randint(0, 255, (8, 3, 32, 32), dtype=torch.uint8))
    data = {"path": "clips", "pairs": "cross_identity"}
    protocol = read_protocol(tiny_protocol.write(tmp_path, data=data, provides=[], metrics=["l1"]))
    with pytest.raises(FileError, match="nobody knows the true frames of tiny"):
        export(protocol, tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()
    jobs, _ = find_jobs(Suite((protocol,)), ["copy_source"])
    assert not attempt(jobs[0], Settings(tmp_path / "results", tmp_path, tmp_path, "cpu", "here"))
    (tmp_path / "score.json").write_text("{}")
    with pytest.raises(FileError, match="knows no true frames"):
        admit(tmp_path / "score.json", "Theirs", "tiny", tmp_path / "results", {"tiny": protocol.hash})
