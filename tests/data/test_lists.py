import pytest

from zoo.data import DataError
from zoo.data.lists import ListedClip, ListedPair, read_pair_list, read_split_list


def written(tmp_path, text: str):
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode())
    return path


def test_split_list(tmp_path):
    path = written(
        tmp_path,
        "\ufeffid, Video ,frames,person,split,start,end\r\n"
        "a,videos/a.mp4,60,7,train,,\r\n"
        "b,,60,7,test,,\r\n"  # no video: skipped
        "\r\n"
        "c,videos/c.mp4,60,,Validation,10,50\r\n",
    )
    assert read_split_list(path) == [
        ListedClip("videos/a.mp4", "7", "train", 0, None),
        ListedClip("videos/c.mp4", None, "val", 10, 50),
    ]


@pytest.mark.parametrize("column", ["video", "name", "id"])
def test_names_of_the_column(tmp_path, column):
    assert read_split_list(written(tmp_path, f"{column}\n1\n2\n"))[1] == ListedClip("2", None, None, 0, None)


def test_pair_list(tmp_path):
    path = written(tmp_path, "\ufeffdistance,source, driving,frame\r\n0,a b.mp4,ü.mp4,3\r\n0.5,1,2,\r\n")
    assert read_pair_list(path) == [ListedPair("a b.mp4", "ü.mp4", 3), ListedPair("1", "2", 0)]


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (read_split_list, "", "is empty"),
        (read_split_list, "video,split\n", "lists no clips"),
        (read_split_list, "a,b\nx,y\n", "no column 'video', only 'a', 'b'"),
        (read_split_list, "video,split\nx,teach\n", "line 2 has split 'teach'"),
        (read_split_list, "video,start\nx,-3\n", "line 2 has start '-3'"),
        (read_pair_list, "", "is empty"),
        (read_pair_list, "distance,source,driving,frame\n", "lists no pairs"),
        (read_pair_list, "a,b\nx,y\n", "no column 'source'"),
        (read_pair_list, "source,driving\nx,\n", "line 2 leaves"),
        (read_pair_list, "source,driving,frame\nx,y,last\n", "line 2 has frame 'last'"),
    ],
)
def test_wrong_lists_say_what_is_wrong(tmp_path, read, text, said):
    path = written(tmp_path, text)
    with pytest.raises(DataError, match=said) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_lists_that_are_no_text(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(b"video\n\xff\xfe\x00\n")
    with pytest.raises(DataError, match="not a csv in UTF-8"):
        read_split_list(path)
    with pytest.raises(DataError, match="No such file"):
        read_pair_list(tmp_path / "absent.csv")
