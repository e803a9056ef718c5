"""What a training leaves behind."""

from benchmarks.training import read_curve

LOG = "epoch,step,train/l1,val/l1\n0,9,0.5,\n0,19,0.25,\n0,19,,0.75\n"


def write_log(folder, version, text):
    path = folder / "Method" / f"version_{version}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_later_attempts_count_where_both_logged_a_step(tmp_path):
    write_log(tmp_path, 0, LOG)
    write_log(tmp_path, 1, "epoch,step,train/l1\n0,19,0.125\n")
    assert read_curve(tmp_path) == {"step": [9, 19], "train/l1": [0.5, 0.125], "val/l1": [None, 0.75]}


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path):
    write_log(tmp_path, 0, LOG)
    whole = read_curve(tmp_path)
    for number, cut in enumerate(("0", "0,29,0.", "0,29,0.125,")):
        write_log(tmp_path / str(number), 0, LOG + cut)
        assert read_curve(tmp_path / str(number)) == whole
