"""The leaderboard: what it says of results, and the page in a real browser."""

import json
import re
import shutil
import statistics
import subprocess
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import wandb
import yaml
from made_up import HASH, made_up, write

from benchmarks.__main__ import main
from benchmarks.ablations.sections import ablations, with_ablations
from benchmarks.board.page import find_films, page, scatter, table, training_curves
from benchmarks.board.places import pages_below
from benchmarks.board.published import PUBLISHED, read_published
from benchmarks.board.tables import build_board
from benchmarks.leaderboard import (
    MARKDOWN,
    PAGE,
    coverage,
    markdown,
    read_boards,
    render,
    with_overviews,
    with_published,
)
from benchmarks.metadata import RESULTS
from benchmarks.protocol import generated, hashes
from benchmarks.schema import ResultError, validate
from benchmarks.statistics import compare, mean_interval
from zoo.errors import FileError, OptionError
from zoo.loading import list_methods
from zoo.video import VideoWriter

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = "synthetic-64-reconstruction"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def usual():
    """Two methods that can't be told apart, one that is worse, one that failed on a clip, baselines."""
    return [
        made_up("oracle", kind="baseline", quality=0.05, speed=None),
        made_up("copy_source", kind="baseline", quality=2.0, speed=4000.0),
        *(made_up("first_order_motion_model", seed=seed, quality=1 + 0.01 * seed) for seed in range(3)),
        *(made_up("dwnet", seed=seed, quality=1.02 - 0.01 * seed, speed=12.0) for seed in range(3)),
        made_up("deep_spatial_transformation", quality=1.3, speed=20.0),
        made_up("everybody_dance_now", quality=0.5, errors=2, speed=3.0),
    ]


@pytest.fixture(scope="module")
def board():
    return build_board(usual())


def entry(board, method):
    return next(entry for entry in board.entries if entry.method == method)


def column(board, key):
    return next(column for column in board.columns if column.key == key)


# --- what a table says


def test_made_up_results_are_as_the_harness_writes_them():
    for result in usual():
        validate(result)


def test_seeds_are_one_row_of_their_mean_and_deviation(board):
    runs = [result for result in usual() if result["method"]["name"] == "first_order_motion_model"]
    totals = [run["evaluation"]["totals"]["l1"] for run in runs]
    cell = entry(board, "first_order_motion_model").cells["l1"]
    assert cell.value == pytest.approx(statistics.fmean(totals))
    assert cell.spread == pytest.approx(statistics.stdev(totals))
    assert cell.low < cell.value < cell.high
    assert [run.cells["l1"].value for run in entry(board, "first_order_motion_model").runs] == totals


def test_a_single_seed_keeps_the_interval_of_its_result(board):
    result = next(result for result in usual() if result["method"]["name"] == "deep_spatial_transformation")
    cell = entry(board, "deep_spatial_transformation").cells["psnr"]
    assert [cell.low, cell.high] == result["evaluation"]["intervals"]["psnr"]
    assert cell.spread is None


def test_the_best_is_a_complete_method_and_no_baseline(board):
    for key, direction in (("l1", min), ("psnr", max)):
        ranked = [e for e in board.entries if e.method in ("first_order_motion_model", "dwnet")]
        best = direction(ranked, key=lambda e: e.cells[key].value)
        marked = [e.method for e in board.entries if e.cells[key].is_best]
        assert marked == [best.method]
        assert board.best[key] == best.title


def test_a_method_alone_is_not_called_the_best_but_baselines_are_compared_with_it():
    results = [made_up("dwnet"), made_up("copy_source", kind="baseline", quality=2.0)]
    alone = build_board(results)
    assert not any(cell.is_best for row in alone.entries for cell in row.cells.values())
    assert entry(alone, "copy_source").cells["l1"].is_real
    two = build_board([*results, made_up("other", quality=1.5)])
    assert entry(two, "dwnet").cells["l1"].is_best


def test_differences_are_those_of_the_paired_comparison(board):
    (best,) = [e for e in board.entries if e.cells["l1"].is_best]
    other = entry(board, "deep_spatial_transformation")
    by_clip = []
    for rows in (other, best):
        values = [[row["l1"] for row in result["evaluation"]["per_clip"]] for result in rows.results]
        by_clip.append([statistics.fmean(seeds) for seeds in zip(*values, strict=True)])
    expected = compare(*by_clip)
    assert other.cells["l1"].difference.difference == pytest.approx(expected.difference)
    assert other.cells["l1"].is_real
    assert not other.cells["l1"].is_tied
    (tied,) = [e for e in board.entries if e.cells["l1"].is_tied]
    assert {tied.method, best.method} == {"first_order_motion_model", "dwnet"}
    assert not tied.cells["l1"].is_real


def test_a_method_that_failed_on_a_clip_is_not_ranked(board):
    failed = entry(board, "everybody_dance_now")  # though its figures are the best
    assert (failed.measured, failed.expected) == (14, 16)
    assert board.entries[-1] is failed
    assert not any(cell.is_best or cell.is_tied for cell in failed.cells.values())
    assert "| 14 of 16, not ranked |" in markdown([board])
    assert "failed on person-15: ValueError: NaN" in markdown([board])
    assert "<b>person-15</b>: ValueError: NaN" in page([board])


def test_the_order_is_from_best_to_worst_with_the_baselines_as_bounds(board):
    assert board.ordered_by == "lpips_alex"
    methods = [entry.method for entry in board.entries]
    assert methods[0] == "oracle"
    assert methods[-3:] == ["deep_spatial_transformation", "copy_source", "everybody_dance_now"]


def test_few_clips_make_the_set_distance_a_diagnostic(board):
    assert column(board, "fvd").unranked_because == "diagnostic, not ranked"
    assert not any(entry.cells["fvd"].is_best for entry in board.entries)
    assert "n = 64" in entry(board, "dwnet").cells["fvd"].note
    assert entry(board, "deep_spatial_transformation").cells["fvd_infinity"].value == pytest.approx(0.8 * 900 * 1.3)
    many = build_board([made_up("dwnet", fvd_clips=256), made_up("other", fvd_clips=256, quality=2)])
    assert entry(many, "dwnet").cells["fvd"].is_best
    uneven = build_board([made_up("dwnet", fvd_clips=256), made_up("other", fvd_clips=300)])
    assert column(uneven, "fvd").unranked_because == "n differs, not ranked"


def test_nobody_is_best_in_what_a_still_picture_would_be_best_in():
    results = [made_up("dwnet"), made_up("other", quality=2)]
    names = ("flicker", "jitter_mediapipe", "warping_error_farneback_along_own_flow", "warping_error_farneback")
    for name in names:
        for result in results:
            evaluation = result["evaluation"]
            evaluation["totals"][name] = evaluation["totals"]["l1"]
            evaluation["intervals"][name] = evaluation["intervals"]["l1"]
            for row in evaluation["per_clip"]:
                row[name] = row["l1"]
    still = build_board(results)
    assert [name for name in names if entry(still, "dwnet").cells[name].is_best] == ["warping_error_farneback"]
    assert "a still picture would be best, not ranked" in table(still)


def with_totals(result, key):
    """The result with the means and intervals that its rows now have."""
    values = [row[key] for row in result["evaluation"]["per_clip"] if row[key] is not None]
    result["evaluation"]["totals"][key] = statistics.fmean(values)
    result["evaluation"]["intervals"][key] = mean_interval(values, 0)
    return result


def test_a_figure_without_clips_that_others_have_is_not_ranked():
    """Such as the distance of keypoints, of a method in whose worst clip nobody finds any."""
    results = [made_up("dwnet"), made_up("other", quality=1.2), made_up("worst", quality=1.5)]
    results.append(made_up("oracle", kind="baseline", quality=0.1))
    for row in results[0]["evaluation"]["per_clip"][-3:]:
        row["l1"] = None
    partial = build_board([with_totals(results[0], "l1"), *results[1:]])
    cell = entry(partial, "dwnet").cells["l1"]
    assert cell.note == "n = 13 of 16, not ranked"
    assert cell.is_partial
    assert not cell.is_best
    assert not cell.is_tied
    assert entry(partial, "other").cells["l1"].is_best
    assert entry(partial, "dwnet").cells["psnr"].is_best  # of which all clips are there
    assert "(n = 13 of 16, not ranked)" in markdown([partial])
    for result in results[1:]:
        for row in result["evaluation"]["per_clip"][-3:]:
            row["l1"] = None  # a clip that has a value for nobody, as one without motion
    same = build_board([with_totals(result, "l1") for result in results])
    assert entry(same, "dwnet").cells["l1"].is_best


def test_seeds_are_averaged_on_the_clips_that_all_of_them_have():
    seeds = [made_up("dwnet", seed=seed) for seed in range(2)]
    seeds[1]["evaluation"]["per_clip"][4]["l1"] = None  # the hardest clip
    cell = build_board([seeds[0], with_totals(seeds[1], "l1")]).entries[0].cells["l1"]
    common = [
        [row["l1"] for number, row in enumerate(result["evaluation"]["per_clip"]) if number != 4] for result in seeds
    ]
    means = [statistics.fmean(values) for values in common]
    assert cell.value == pytest.approx(statistics.fmean(means))
    assert cell.spread == pytest.approx(statistics.stdev(means))
    assert cell.low < cell.value < cell.high


@pytest.mark.parametrize(("last", "is_real"), [(1.1, True), (0.9, False)])
def test_a_difference_that_another_seed_turns_round_is_not_real(last, is_real):
    """Whatever the clips say of the means over seeds."""
    qualities = {"dwnet": (0.98, 1.0, 1.02), "other": (1.2, 1.2, last)}
    board = build_board(
        [
            made_up(method, seed=seed, quality=quality)
            for method, values in qualities.items()
            for seed, quality in enumerate(values)
        ]
    )
    cell = entry(board, "other").cells["l1"]
    assert cell.difference.p_value < 0.01
    assert cell.is_real == is_real
    assert cell.is_tied != is_real
    assert ("seeds overlap" in page([board])) != is_real


def test_a_distance_is_not_shown_below_zero():
    result = made_up("oracle", kind="baseline")
    result["evaluation"]["sets"]["fvd"] |= {"value": -1e-9, "low": -12.0}
    cell = build_board([result]).entries[0].cells["fvd"]
    assert (cell.value, cell.low) == (0, 0)
    l1 = column(build_board([result]), "l1")
    assert l1.number(-1e-9) == l1.number(0)


def test_the_interval_of_a_distance_between_sets_stays_with_several_seeds(board):
    row = entry(board, "dwnet")
    assert len(row.runs) == 3
    ends = [statistics.fmean(getattr(run.cells["fvd"], end) for run in row.runs) for end in ("low", "high")]
    assert [row.cells["fvd"].low, row.cells["fvd"].high] == pytest.approx(ends)


def test_speed_of_processors_and_of_different_machines_is_not_ranked(board):
    reason = "processors of one name differ, not ranked"
    assert column(board, "frames_per_second").unranked_because == reason
    assert not entry(board, "first_order_motion_model").cells["frames_per_second"].is_best
    assert column(board, "peak_memory_megabytes").unranked_because == "of the whole process, not ranked"
    card = made_up("dwnet")
    card["machine"]["device"] = "NVIDIA H200"
    assert all(column(build_board([card]), cost).is_ranked for cost in ("frames_per_second", "peak_memory_megabytes"))
    two = build_board([made_up("dwnet"), made_up("other", processor="Another", speed=90.0)])
    assert column(two, "frames_per_second").unranked_because == "machines differ, not ranked"
    assert column(two, "parameters").is_ranked


def test_rows_say_on_how_many_threads_they_were_computed():
    one = made_up("dwnet")
    one["machine"]["threads"] = 1
    words = {entry.method: entry.made_by for entry in build_board([one, made_up("other")]).entries}
    assert words["dwnet"].endswith("Processor, 2 cores · 1 thread")
    assert words["other"].endswith("Processor, 2 cores")
    seeds = [made_up("dwnet", seed=seed) for seed in (0, 1)]
    seeds[1]["machine"]["threads"] = 1
    (row,) = build_board(seeds).entries
    assert row.made_by.endswith("Processor, 2 cores · 1 or 2 threads")


def test_runs_on_two_machines_are_two_rows():
    board = build_board([made_up("dwnet", seed=0), made_up("dwnet", seed=1, processor="Another")])
    assert [len(entry.runs) for entry in board.entries] == [1, 1]


def test_metrics_that_were_skipped_are_missing_figures_with_their_reason():
    without = made_up("dwnet")
    for part in ("totals", "intervals"):
        del without["evaluation"][part]["lpips_alex"]
    without["evaluation"]["skipped"] = {"lpips_alex": "run `zoo weights install lpips`"}
    board = build_board([without, made_up("other")])
    assert entry(board, "dwnet").cells["lpips_alex"].value is None
    assert "lpips_alex was skipped: run `zoo weights install lpips`" in markdown([board])
    assert "run `zoo weights install lpips`" in page([board])


def test_a_row_says_what_its_training_cost(board):
    assert "1000 steps, 7.0 minutes a seed" in entry(board, "dwnet").made_by  # 6, 7 and 8 minutes
    assert "1000 steps, 6 minutes" in entry(board, "deep_spatial_transformation").made_by


def test_charts_show_methods_that_have_speed_and_training(board):
    drawn = scatter(board)
    for method in ("First Order Motion Model", "Dwnet", "Everybody Dance Now"):
        assert f">{method}</text>" in drawn
    assert drawn.count("<circle") == 4
    assert drawn.count('class="bound"') == 2  # baselines
    assert scatter(build_board([made_up("dwnet", speed=None)])) is None
    without_truth = made_up("dwnet")
    evaluation = without_truth["evaluation"]
    for part in (evaluation["totals"], evaluation["intervals"]):
        for name in list(part):
            part["akd_mediapipe_on_driving" if name == "l1" else f"{name}_other"] = part.pop(name)
    assert "AKD mediapipe on driving" in scatter(build_board([without_truth]))
    curves = training_curves(board)
    assert next(iter(curves)) == "Validation"
    (validation,) = curves["Validation"]  # val/l1: the baseline beside it never changes
    assert validation.count('class="line"') == 8  # a line per seed
    assert "Losses of Dwnet" in curves


# --- files


@pytest.fixture
def results(tmp_path):
    for result in usual():
        write(tmp_path / "results", result)
    return tmp_path / "results"


def test_results_under_another_hash_are_refused_with_a_line(results, tmp_path, capsys):
    write(results, made_up("dwnet", seed=9, hash="feedfeedfeed"))
    write(results, made_up("dwnet", protocol="forgotten"))
    (board,) = render(results, tmp_path, hashes={PROTOCOL: HASH})
    assert len(entry(board, "dwnet").runs) == 3
    line = f"{PROTOCOL}/dwnet--synthetic-64-seed9--processor.json: measured under hash feedfeedfeed, the protocol now"
    printed = capsys.readouterr().out
    assert f"left out: {line}" in printed
    assert "left out: forgotten/: no protocol has this name" in printed
    assert line in (tmp_path / MARKDOWN).read_text()
    assert line in (tmp_path / PAGE).read_text()
    assert f"`{HASH}`" in (tmp_path / MARKDOWN).read_text()


def test_rows_that_saw_other_pictures_are_named():
    results = [made_up("oracle", kind="baseline"), made_up("dwnet"), made_up("other"), made_up("few_shot")]
    assert not build_board(results).other_pictures
    results[1]["dataset"]["fingerprint"] = "0" * 64
    results[3]["dataset"]["fingerprint"] = "1" * 64
    results[3]["data"] = {"source_frames": 4}  # whose pictures are others by right
    board = build_board(results)
    (line,) = board.other_pictures
    assert line.startswith(f"Dwnet, seed 0, Processor, 2 cores: saw other pictures (fingerprint {'0' * 12}) than")
    assert line in markdown([board])
    assert line in page([board])


def test_seeds_that_were_trained_by_different_recipes_are_named():
    results = [made_up("dwnet", seed=seed) for seed in (0, 1, 2)]
    for seed, result in enumerate(results[1:], 1):  # the first of all lack it
        result["training"]["config"] = {"model": {"width": 8}, "seed_everything": seed}
        result["date"] = f"2026-01-0{seed}T00:00:00+00:00"
    assert not build_board(results).other_recipes
    results[1]["training"]["config"]["model"]["width"] = 4
    board = build_board(results)
    (line,) = board.other_recipes
    assert line == "Dwnet: seed 1 was trained with another configuration than seed 2; run it again"
    assert line in markdown([board])
    assert line in page([board])


def test_a_broken_result_is_an_error_that_names_it(results):
    path = next((results / PROTOCOL).glob("dwnet*"))
    path.write_text(path.read_text().replace('"measured"', '"counted"'))
    with pytest.raises(ResultError, match=path.name):
        read_boards(results, {PROTOCOL: HASH})


def test_tables_of_most_methods_come_first():
    boards, _ = read_boards(RESULTS)
    rows = [len(board.entries) for board in boards]
    assert rows == sorted(rows, reverse=True)
    assert rows[0] > rows[-1]


def test_what_was_measured_is_counted_in_trained_seeds(board):
    results = [made_up("dwnet", seed=0), made_up("dwnet", seed=1, processor="Another")]  # two rows of one recipe
    results += [made_up("copy_source", kind="baseline") | {"training": None}]
    results += [made_up("theirs", kind="external") | {"training": None}]
    other = replace(build_board(results), name="other")
    rows = [line.strip("| ").split(" | ") for line in coverage([board, other]).splitlines() if line.startswith("|")]
    counted = dict(zip(rows[0], zip(*rows[2:], strict=True), strict=True))
    assert counted["protocol"] == (f"`{PROTOCOL}`", "`other`")
    assert counted[entry(board, "dwnet").title] == ("3", "2")
    assert counted[entry(board, "deep_spatial_transformation").title] == ("1", "–")
    assert "Theirs" not in counted
    assert coverage([board, other]) in markdown([board, other])


def test_the_committed_tables_are_what_the_committed_results_say():
    boards, _ = read_boards(RESULTS)
    remedy = "run `python -m benchmarks render`"
    assert (ROOT / MARKDOWN).read_text("utf-8") == markdown(boards, ablations(RESULTS)), remedy
    assert len(pages_below(ROOT)) == 6  # README and the pages of five methods
    for path in pages_below(ROOT):
        text = path.read_text("utf-8")
        filled = with_published(with_ablations(with_overviews(text, boards), RESULTS), read_published())
        assert filled == text, f"{path}: {remedy}"
    shown = (ROOT / PAGE).read_text("utf-8")
    assert len(shown.encode()) < 4_000_000
    for board in boards:
        assert table(board) in shown, f"{board.name}: {remedy}"
        panel = shown.partition(f'role="tabpanel" id="{board.name}"')[2].partition('role="tabpanel"')[0]
        assert board.name in generated() or "<video" not in panel, "real clips may not be redistributed"


def test_markdown_is_safe_from_what_errors_say():
    result = made_up("dwnet", errors=1)
    result["evaluation"]["errors"] = {"person-15": "a | b\nc <script>"}
    result["method"]["title"] = "A|B"
    text = markdown([build_board([result])])
    assert "a \\| b c" in text
    tables = [block.split("\n") for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    for rows in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows if row}) == 1
    assert "<script>" not in page([build_board([result])]).replace("<script>\n", "", 1)


# --- published figures


def test_published_figures_stand_beside_their_method_only(board):
    published = read_published()
    shown = build_board([made_up("dwnet")], published)
    assert {row.method for _, row in shown.published} == {"dwnet"}
    text = markdown([shown])
    for row in (row for row in published if row.method == "dwnet"):
        assert row.figures_in_words in text
        assert row.differs in text
    assert '<tbody class="published">' in table(shown)


def test_every_published_method_exists_and_says_where_its_figures_stand():
    for row in read_published():
        assert row.method in list_methods()
        assert row.figures
        assert all((row.source, row.table, row.data, row.resolution, row.differs))


@pytest.mark.shared
def test_published_figures_stand_in_the_specifications_without_a_mark_of_doubt(shared):
    for row in read_published():
        specification = (shared / "methods" / f"{row.method}.md").read_text()
        for value in row.figures.values():
            lines = [line for line in specification.splitlines() if re.search(rf"(?<![\d.]){value:g}0*(?!\d)", line)]
            assert lines, f"{row.method}: {value}"
            assert any("(u)" not in line and "[recollection]" not in line for line in lines), f"{row.method}: {value}"


def test_an_incomplete_published_entry_is_refused(tmp_path):
    entries = yaml.safe_load(PUBLISHED.read_text())
    del entries[1]["table"]
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(entries))
    with pytest.raises(FileError, match=r"published.yaml: entry 1.table: .*required"):
        read_published(path)


# --- videos and tracking


@pytest.fixture
def videos(tmp_path):
    """Three clips by two methods, a grey level that changes in each frame."""
    draw = torch.Generator().manual_seed(0)
    for method in ("oracle", "dwnet--synthetic-64"):
        for number in range(3):
            path = tmp_path / "videos" / PROTOCOL / method / f"person-{number:02d}--person-{number:02d}.mp4"
            with VideoWriter(path, Fraction(25)) as writer:
                writer.write(torch.randint(0, 255, (25, 3, 32, 32), dtype=torch.uint8, generator=draw))
    return tmp_path / "videos"


def test_videos_are_in_the_page_side_by_side_and_within_its_limit(board, videos):
    films = find_films([board], videos)
    whole = page([board], films)
    assert whole.count("<video ") == 6
    assert re.findall(r"<figcaption>(.*?)</figcaption>", whole)[:2] == ["Oracle", "Dwnet"]
    assert "src=" not in re.sub(r'src="data:video/mp4;base64,[A-Za-z0-9+/=]+"', "", whole)
    smaller = page([board], films, limit=len(whole.encode()) - 1000)
    assert smaller.count("<video ") == 4  # a clip is shown by every method, or not at all
    assert "1 more clips are left out" in smaller
    assert len(smaller.encode()) < len(whole.encode()) - 1000


def test_videos_of_real_clips_are_shown_only_where_they_are_asked_for(videos, tmp_path):
    real = "actions-64-reconstruction"
    (videos / PROTOCOL).rename(videos / real)
    write(tmp_path / "results", made_up("dwnet", protocol=real))
    arguments = ["render", "--output", str(tmp_path), "--results", str(tmp_path / "results"), "--videos", str(videos)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.protocol.hashes", lambda: {real: HASH})
        main(arguments)
        assert "<video" not in (tmp_path / PAGE).read_text()
        main([*arguments, "--real-clips"])
        assert (tmp_path / PAGE).read_text().count("<video ") == 6
        with pytest.raises(SystemExit, match="videos/nowhere: is no folder"):
            main([*arguments[:-1], str(videos / "nowhere")])


def test_nothing_is_fetched_from_elsewhere(board):
    text = re.sub(r"https?://www\.w3\.org/\S*", "", page([board]))
    assert not re.search(r"(src|href)=|url\(|@import|https?://", text)


@pytest.mark.slow
def test_tables_and_videos_are_logged_to_wandb(videos, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    wandb.teardown()  # it reads the environment once a process, perhaps in an earlier test
    results = tmp_path / "results"
    for result in usual():
        result["protocol"]["hash"] = hashes()[PROTOCOL]
        write(results, result)
    folders = {"--results": results, "--videos": videos, "--output": tmp_path}
    main(["render", "--wandb", *(str(word) for pair in folders.items() for word in pair)])
    boards, _ = read_boards(results)
    (stored,) = tmp_path.glob(f"wandb/offline-run-*/files/media/table/{PROTOCOL}/*.table.json")
    logged = json.loads(stored.read_text())
    rows = [dict(zip(logged["columns"], row, strict=True)) for row in logged["data"]]
    for row, shown in zip(rows, boards[0].entries, strict=True):
        assert row["method"] == shown.title
        assert row["lpips_alex"] == pytest.approx(shown.cells["lpips_alex"].value)
        assert row["lpips_alex low"] == pytest.approx(shown.cells["lpips_alex"].low)
        assert row["lpips_alex spread"] == pytest.approx(shown.cells["lpips_alex"].spread)
        assert row["measured"] == shown.measured
    assert len(list(tmp_path.glob(f"wandb/offline-run-*/files/media/videos/{PROTOCOL}/*.mp4"))) == 6


def test_the_command_writes_both_files(tmp_path, capsys):
    main(["render", "--results", str(RESULTS), "--output", str(tmp_path)])
    assert (tmp_path / MARKDOWN).read_text().startswith("# Leaderboard")
    assert "</html>" in (tmp_path / PAGE).read_text()


def test_a_folder_without_results_replaces_nothing(tmp_path):
    (tmp_path / MARKDOWN).write_text("what was there")
    for folder, complaint in (("mistyped", "is no folder"), ("empty", "holds no result")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(SystemExit, match=f"{folder}: {complaint}"):
            main(["render", "--results", str(tmp_path / folder), "--output", str(tmp_path)])
    assert (tmp_path / MARKDOWN).read_text() == "what was there"


@pytest.mark.parametrize("name", ["turning-somebody--here", "faces--here", "sources-somebody--here"])
def test_an_ablation_that_is_none_is_named(tmp_path, name):
    (tmp_path / f"{name}.json").write_text("{}")
    with pytest.raises(FileError, match=rf"{name}\.json: is no result of .*Field required.*; make it again"):
        ablations(tmp_path)


# --- in a browser

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")


def browse(path, tmp_path, address="", milliseconds=0):
    """The document as the browser has it once scripts have run."""
    options = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
        f"--user-data-dir={tmp_path / 'browser'}",
        *([f"--virtual-time-budget={milliseconds}"] if milliseconds else []),
    ]
    command = [CHROMIUM, *options, "--dump-dom", path.as_uri() + address]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


class _Rows(HTMLParser):
    """Titles of the rows of one table in their order, and what its headings say about sorting."""

    def __init__(self, protocol):
        super().__init__()
        self.protocol, self.inside = protocol, False
        self.titles, self.sorted_by, self.shown = [], {}, {}

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "table":
            self.inside = attributes.get("data-protocol") == self.protocol
        if attributes.get("role") == "tabpanel":
            self.shown[attributes["id"]] = "hidden" not in attributes
        if self.inside and tag == "th" and "data-key" in attributes:
            self.sorted_by[attributes["data-key"]] = attributes["aria-sort"]
        if self.inside and tag == "th" and attributes.get("scope") == "row" and "data-value" in attributes:
            self.titles.append(attributes["data-value"])


def rows(document, protocol=PROTOCOL):
    parser = _Rows(protocol)
    parser.feed(document)
    return parser


@needs_browser
@pytest.mark.slow
def test_the_browser_sorts_by_the_column_of_the_address(board, tmp_path):
    path = tmp_path / PAGE
    path.write_text(page([board]), "utf-8")
    for order, reverse in (("ascending", False), ("descending", True)):
        found = rows(browse(path, tmp_path, f"#protocol={PROTOCOL}&sort=frames_per_second&order={order}"))
        with_speed = [e for e in board.entries if e.is_complete and e.cells["frames_per_second"].value]
        expected = sorted(with_speed, key=lambda e: e.cells["frames_per_second"].value, reverse=reverse)
        assert found.titles[: len(expected)] == [e.title for e in expected]
        assert set(found.titles[len(expected) :]) == {"Oracle", "Everybody Dance Now"}  # no figure; not ranked
        assert {key: value for key, value in found.sorted_by.items() if value != "none"} == {"frames_per_second": order}


PRESS = """<script>
document.querySelector('[data-protocol="other"][role="tab"]').click();
const heading = document.querySelector('table[data-protocol="other"] th[data-key="psnr"] button');
heading.click();
document.body.dataset.first = heading.closest("th").getAttribute("aria-sort");
heading.click();
const tab = document.querySelector('[role="tab"][aria-selected="true"]');
const seeds = document.querySelector('table[data-protocol="other"] .seeds');
seeds.click();
document.body.dataset.seeds = seeds.closest("tbody").querySelectorAll(".seed:not([hidden])").length;
document.body.dataset.address = location.hash;
tab.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
document.body.dataset.focused = document.activeElement.id;
</script></body>"""


@needs_browser
@pytest.mark.slow
def test_the_browser_follows_clicks_and_keys(board, tmp_path):
    other = build_board([made_up(r["method"]["name"], protocol="other", seed=r["seed"]) for r in usual()[2:]])
    path = tmp_path / PAGE
    path.write_text(page([board, other]).replace("</body>", PRESS), "utf-8")
    document = browse(path, tmp_path)
    found = rows(document, "other")
    assert 'data-first="descending"' in document  # the best first: more decibels are better
    assert found.sorted_by["psnr"] == "ascending"
    assert 'data-seeds="3"' in document
    assert 'data-address="#protocol=other&amp;sort=psnr&amp;order=ascending"' in document
    assert f'data-focused="tab-{PROTOCOL}"' in document
    assert found.shown == {PROTOCOL: True, "other": False}


WATCH = """<script>
const film = document.querySelector(".film");
const films = [...film.querySelectorAll("video")];
film.dispatchEvent(new PointerEvent("pointerenter", {pointerType: "mouse"}));
setTimeout(() => {
  document.body.dataset.times = films.map((video) => video.currentTime).join(" ");
  document.body.dataset.errors = films.filter((video) => video.error).length;
  film.dispatchEvent(new PointerEvent("pointerleave", {pointerType: "mouse"}));
  document.body.dataset.paused = films.every((video) => video.paused);
}, 1500);
</script></body>"""


@needs_browser
@pytest.mark.slow
def test_the_browser_plays_the_videos(board, videos, tmp_path):
    path = tmp_path / PAGE
    path.write_text(page([board], find_films([board], videos)).replace("</body>", WATCH), "utf-8")
    document = browse(path, tmp_path, milliseconds=4000)
    times = re.search(r'data-times="([^"]*)"', document)[1].split()
    assert len(times) == 2
    assert all(float(time) > 0 for time in times)
    assert 'data-errors="0"' in document
    assert 'data-paused="true"' in document


def test_pages_tell_recipes_of_a_method_apart():
    other = made_up("dwnet", quality=2)
    other["method"]["recipe"] = "synthetic-64-skeleton"
    board = build_board([made_up("dwnet"), other, made_up("first_order_motion_model")])
    shown = with_overviews(f"<!-- leaderboard: {board.name} -->\n<!-- end -->", [board])
    names = {line.split("|")[1].strip() for line in shown.splitlines() if line.startswith("|")} - {"method", "---"}
    assert names == {"Dwnet, synthetic-64", "Dwnet, synthetic-64-skeleton", "First Order Motion Model"}
    assert {f"Losses of {name}" for name in names} <= training_curves(board).keys()
    assert "from Dwnet, synthetic-64</span>" in table(board) + page([board])
    here, there = made_up("dwnet", processor="A"), made_up("dwnet", processor="B")
    assert len({entry.name for entry in build_board([here, there]).entries}) == 2


def test_pages_say_where_clips_are_missing():
    partial = made_up("first_order_motion_model")
    del partial["evaluation"]["per_clip"][0]["lpips_alex"]
    board = build_board([made_up("dwnet"), partial])
    shown = with_overviews(f"<!-- leaderboard: {board.name} -->\n<!-- end -->", [board])
    assert shown.count("(n = 15 of 16, not ranked)") == 1


def test_pages_show_what_is_published_of_their_method():
    text = "<!-- published: dwnet -->\n<!-- end -->"
    reported = read_published()
    shown = with_published(text, reported)
    for row in reported:
        assert (row.figures_in_words in shown) == (row.method == "dwnet")
    with pytest.raises(OptionError, match="of nobody, but there are none"):
        with_published(text.replace("dwnet", "nobody"), reported)


def test_pages_show_chosen_rows_with_their_budget(tmp_path):
    board = build_board([made_up("dwnet"), made_up("first_order_motion_model"), made_up("oracle", kind="baseline")])
    text = f"# Page\n<!-- leaderboard: {board.name} dwnet oracle -->\nold figures\n<!-- end -->\nbelow"
    shown = with_overviews(text, [board])
    assert with_overviews(shown, [board]) == shown
    head, *rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert "LPIPS" in head
    ours, oracle = sorted(rows[1:])
    assert ours.startswith("| Dwnet, ")
    assert "steps" in ours
    assert oracle.startswith("| Oracle (baseline) |")
    assert shown.endswith("<!-- end -->\nbelow")
    assert "old figures" not in shown
    with pytest.raises(OptionError, match="shows results of nowhere"):
        with_overviews(text.replace(board.name, "nowhere"), [board])
