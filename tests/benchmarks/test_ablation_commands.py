import pytest

from benchmarks.__main__ import main

ONE_SOURCE = "first_order_motion_model/synthetic-64"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["turning", ONE_SOURCE], "FirstOrderMotionModel looks at one source, however many there are"),
        (["turning", "walking/synthetic-64"], "walking/synthetic-64"),
        (["faces", "nothing.safetensors"], "nothing.safetensors: "),
        (["denoising", "nothing.safetensors"], "nothing.safetensors: "),
    ],
)
def test_weights_of_no_use_get_one_line_and_no_result(arguments, complaint, tmp_path):
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--results", str(tmp_path)])
    line = str(end.value)
    assert line.startswith("benchmarks: ")
    assert complaint in line
    assert "\n" not in line
    assert not list(tmp_path.iterdir())
