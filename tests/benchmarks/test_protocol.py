"""Protocols: a hash over all that changes a number, and errors that name file and field."""

import copy

import pytest
import tiny_protocol
import yaml

from benchmarks.protocol import PROTOCOLS, ProtocolError, find_suite, hashes, names, read_protocol
from zoo.data import VideoDataModule
from zoo.errors import ZooError


def leaves(content, place=()):
    for key, value in content.items():
        if isinstance(value, dict):
            yield from leaves(value, (*place, key))
        else:
            yield (*place, key), value


CHANGED = {str: lambda v: v + "x", int: lambda v: v + 1, float: lambda v: v + 1, list: lambda v: [*v, "iuv"]}
LEAVES = dict(leaves(tiny_protocol.CONTENT))


@pytest.mark.parametrize("place", [place for place in LEAVES if place != ("title",)], ids="-".join)
def test_hash_changes_with_everything(tmp_path, place):
    before = read_protocol(tiny_protocol.write(tmp_path)).hash
    content = copy.deepcopy(tiny_protocol.CONTENT)
    parent = content
    for key in place[:-1]:
        parent = parent[key]
    value = parent[place[-1]]
    parent[place[-1]] = "list.csv" if value is None else CHANGED[type(value)](value)
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(content))
    assert read_protocol(changed).hash != before


def test_hash_stays_with_title_and_order(tmp_path):
    first = read_protocol(tiny_protocol.write(tmp_path))
    content = dict(reversed(tiny_protocol.CONTENT.items())) | {"title": "Another"}
    content["data"] = dict(reversed(content["data"].items()))
    other = tmp_path / "other.yaml"
    other.write_text("# a comment\n" + yaml.safe_dump(content, sort_keys=False))
    assert read_protocol(other).hash == first.hash
    assert len(first.hash) == 12


def test_hash_covers_the_lists_of_clips(tmp_path):
    clips = tmp_path / "clips.csv"
    clips.write_text("video,split\n1.mp4,test\n")
    path = tiny_protocol.write(tmp_path, data={"path": "people", "split": "clips.csv"})
    before = read_protocol(path).hash
    clips.write_text("video,split\n1.mp4,train\n")
    assert read_protocol(path).hash != before


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"seed": "zero"}, "seed: Input should be a valid integer"),
        ({"data": {"workers": 2}}, "data can't state workers"),
        ({"data": {"synthetic": {"frames": 3}}}, "data.synthetic leaves out clips_per_identity"),
        ({"extra": 1}, "extra: Extra inputs"),
    ],
)
def test_mistakes_name_file_and_field(tmp_path, changes, complaint):
    path = tiny_protocol.write(tmp_path, **changes)
    with pytest.raises(ProtocolError, match=complaint) as error:
        read_protocol(path)
    assert str(path) in str(error.value)


def test_hidden_defaults_are_refused(tmp_path):
    path = tiny_protocol.write(tmp_path)
    content = yaml.safe_load(path.read_text())
    del content["data"]["evaluation_stride"]
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ProtocolError, match="leaves out evaluation_stride"):
        read_protocol(path)


def test_missing_clips_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.delenv("ZOO_DATA", raising=False)
    protocol = read_protocol(PROTOCOLS / "actions-64-reconstruction.yaml")
    with pytest.raises(ProtocolError, match=r"ZOO_DATA is not set; get them as benchmarks/README.md says"):
        protocol.data_options(None)
    with pytest.raises(ProtocolError, match="has no folder actions"):
        protocol.data_options(tmp_path)
    (tmp_path / "actions").mkdir()
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    assert protocol.data_options(None)["path"] == str(tmp_path / "actions")


def test_suites_name_existing_protocols():
    assert [protocol.name for protocol in find_suite("synthetic-64").protocols] == [
        "synthetic-64-reconstruction",
        "synthetic-64-cross-identity",
        "synthetic-64-later-motion",
    ]
    assert len(find_suite("real-64").protocols) == 6
    with pytest.raises(ZooError, match="there is no protocol or suite 'nothing'"):
        find_suite("nothing")


def test_hashes_of_all_protocols_differ():
    assert len(set(hashes().values())) == len(names(PROTOCOLS))


@pytest.mark.shared
@pytest.mark.parametrize("name", names(PROTOCOLS))
def test_every_protocol_has_clips_to_train_and_test_on(name, shared):
    protocol = read_protocol(PROTOCOLS / f"{name}.yaml")
    data = VideoDataModule(**protocol.data_options(shared / "data"), strict=True, workers=0, batch_size=4)
    pairs = data.test_pairs()
    train = {(clip.name.partition("[")[0], clip.start + index) for clip in data.source.clips("train")
             for index in range(clip.frames)}  # fmt: skip
    tested = {(clip.name.partition("[")[0], clip.start + index) for _, _, clip in pairs for index in range(clip.frames)}
    assert len(pairs) >= 2
    assert len(train) > 200
    assert not train & tested
    if "later-motion" in name:
        assert {place for place, _ in tested} <= {place for place, _ in train}
        assert len({clip.identity for clip in data.source.clips("train")}) == 1
