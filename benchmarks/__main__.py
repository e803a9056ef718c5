"""`python -m benchmarks`: run protocols, list them, render the leaderboard."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from benchmarks.jobs import Precision
from benchmarks.metadata import RESULTS
from benchmarks.protocol import PROTOCOLS, SUITES, find_suite, names, read_protocol
from zoo.errors import ZooError

EPILOGUE = """\
first steps:
  python -m benchmarks list                                    what there is to run
  python -m benchmarks run synthetic-64-reconstruction         baselines and every method that has the recipe
  python -m benchmarks run synthetic-64 --methods oracle copy_source first_order_motion_model --seeds 0 1 2
  python -m benchmarks run real-64 --data CLIPS                real clips: the folder of actions/, fashion/, taichi/
  python -m benchmarks render                                  LEADERBOARD.md and leaderboard.html from the results

A run that was killed is started again with the same command: finished results stay, a half-finished training goes on
from its checkpoint. What each protocol means, and how to read the numbers: benchmarks/README.md. What single parts cost
in time and memory: python -m benchmarks.timings.NAME, of the files in benchmarks/timings.
"""

RUN_EPILOGUE = """\
your own method: --methods my_recipe.yaml, a recipe whose `model.class_path` is any importable AnimationModule
given weights:   --methods NAME --weights NAME=FILE
SLURM:           sbatch --array=1-8 --wrap 'python -m benchmarks run SUITE --only $SLURM_ARRAY_TASK_ID/8'
Ray:             python -m benchmarks run SUITE --ray ADDRESS     (`--ray local` starts Ray on this machine)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command; mistakes that the user can mend end it with one line instead of a traceback."""
    options = parser().parse_args(arguments)
    try:
        options.command(options)
    except ZooError as error:
        sys.exit(f"benchmarks: {error}")


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures methods under fixed protocols and compares them.",
        epilog=EPILOGUE,
        formatter_class=raw,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="train where needed, measure, write one JSON per run",
        description="Trains where no weights are given, measures quality, speed and memory: one JSON per run.",
        epilog=RUN_EPILOGUE,
        formatter_class=raw,
    )
    run.add_argument("suite", metavar="PROTOCOL", help="a protocol or suite by name, or a .yaml file of one")
    run.add_argument("--methods", nargs="+", metavar="NAME", help="methods, baselines or recipe files; default: all")
    run.add_argument("--seeds", nargs="+", type=int, metavar="N", help="of training; default: the suite's, or 0")
    run.add_argument("--steps", type=int, help="of training, instead of the protocol's; changes its hash")
    run.add_argument(
        "--precision",
        choices=get_args(Precision),
        help="of training, instead of the recipes'; bf16-mixed is faster where the processor knows bfloat16; a result "
        "in another precision is replaced",
    )
    run.add_argument("--weights", nargs="+", default=[], metavar="NAME=FILE", help="weights of methods not to train")
    run.add_argument("--data", type=Path, help="the folder of the folders of real clips; default: ZOO_DATA")
    run.add_argument("--output", type=Path, default=RESULTS, help="folder of results (default: benchmarks/results)")
    run.add_argument("--work", type=Path, default=Path("runs/benchmarks"), help="folder of trainings and videos")
    run.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    run.add_argument("--machine", help="part of the results' names; default: the processor or graphics card")
    run.add_argument("--only", metavar="I/N", help="the I-th of N parts of the runs, for job arrays")
    run.add_argument("--ray", metavar="ADDRESS", help="run on this Ray cluster")
    run.set_defaults(command=_run)

    listing = commands.add_parser("list", help="protocols with their hashes, and suites")
    listing.set_defaults(command=_list)

    render = commands.add_parser("render", help="write LEADERBOARD.md and leaderboard.html from results")
    render.add_argument("--results", type=Path, default=RESULTS, help="folder of results (default: benchmarks/results)")
    render.add_argument("--output", type=Path, default=Path(), help="folder to write to (default: here)")
    render.add_argument("--videos", type=Path, help="folder of videos to show, as `run` leaves it in --work")
    render.add_argument("--megabytes", type=float, default=4, help="of the page; clips that don't fit stay out")
    render.add_argument("--real-clips", action="store_true", help="show videos of real clips too: not to be passed on")
    render.add_argument("--wandb", action="store_true", help="log tables and videos to a wandb run as well")
    render.set_defaults(command=_render)

    showcase = commands.add_parser("showcase", help="one moving picture: source, every method's result, truth")
    showcase.add_argument("protocol", help="whose clips")
    showcase.add_argument("output", type=Path, help="a .gif, .mp4 or .webm")
    showcase.add_argument("--clips", type=int, default=2, help="rows (default: 2)")
    showcase.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of results (default: benchmarks/results)"
    )
    showcase.add_argument("--videos", type=Path, default=Path("runs/benchmarks/videos"), help="as `run` leaves them")
    showcase.set_defaults(command=_showcase)

    export = commands.add_parser("export", help="write a protocol's clips as pictures, for other programs to animate")
    export.add_argument("protocol", help="whose clips")
    export.add_argument("output", type=Path, help="a new folder: source/, driving/ and target/ will be in it")
    export.add_argument("--data", type=Path, help="the folder of the folders of real clips; default: ZOO_DATA")
    export.set_defaults(command=_export)

    admit = commands.add_parser("admit", help="put what `zoo score` measured of another program into a table")
    admit.add_argument("score", type=Path, help="the file that `zoo score` wrote")
    admit.add_argument("--protocol", required=True, help="into whose table")
    admit.add_argument("--name", required=True, help="what the table calls the program")
    admit.add_argument("--results", type=Path, default=RESULTS, help="folder of results (default: benchmarks/results)")
    admit.set_defaults(command=_admit)

    publish = commands.add_parser("publish", help="make a synthetic result's weights part of the zoo: METHOD/RECIPE")
    publish.add_argument("result", type=Path, help="its JSON")
    publish.add_argument("--work", type=Path, default=Path("runs/benchmarks"), help="the folder of trainings of `run`")
    publish.set_defaults(command=_publish)

    illustrate = commands.add_parser("illustrate", help="pictures of a method's page, made with its published weights")
    illustrate.add_argument("result", type=Path, help="a JSON of the method under a synthetic protocol")
    illustrate.set_defaults(command=_illustrate)

    sweep = commands.add_parser(
        "sweep", help="measure given weights as the sources become more, the poses noisier, the driver smaller"
    )
    sweep.add_argument("axis", choices=["sources", "own_sources", "pose_noise", "driver_size"], help="what changes")
    sweep.add_argument("weights", help="METHOD/TAG of weights that come with the zoo, or a weights file")
    sweep.add_argument("--denoiser", type=Path, help="weights of a SkeletonDenoiser: measures denoised poses, too")
    sweep.add_argument("--results", type=Path, default=RESULTS, help="folder of results (default: benchmarks/results)")
    sweep.set_defaults(command=_sweep)

    for name, of, what, command in (
        ("turning", "METHOD/TAG or a file of a method", "which frames more sources are good for", _turning),
        ("faces", "a file of that stage", "what Everybody Dance Now's face stage is worth", _faces),
        (
            "denoising",
            "a file of such a denoiser",
            "how much of the noise on poses a skeleton denoiser removes",
            _denoising,
        ),
    ):
        ablation = commands.add_parser(name, help=what)
        ablation.add_argument("weights", help=of)
        ablation.add_argument(
            "--results", type=Path, default=RESULTS, help="folder of results (default: benchmarks/results)"
        )
        ablation.set_defaults(command=command)
    return parser


def _run(options: argparse.Namespace) -> None:
    from benchmarks.run import run  # imports torch, which `--help` and `list` can do without

    run(options)


def _list(options: argparse.Namespace) -> None:
    for name in names(PROTOCOLS):
        protocol = read_protocol(PROTOCOLS / f"{name}.yaml")
        print(f"{name:<30} {protocol.hash}  {protocol.content['title']}")
    print(f"suites: {', '.join(names(SUITES))}")


def _render(options: argparse.Namespace) -> None:
    from benchmarks.leaderboard import films_to_show, render

    limit = int(options.megabytes * 1e6)
    boards = render(options.results, options.output, options.videos, limit=limit, real_clips=options.real_clips)
    if options.wandb:
        from benchmarks import tracking

        tracking.log(boards, films_to_show(boards, options.videos, options.real_clips))


def _showcase(options: argparse.Namespace) -> None:
    from benchmarks.leaderboard import read_boards
    from benchmarks.showcase import showcase

    boards = {board.name: board for board in read_boards(options.results)[0]}
    if options.protocol not in boards:
        raise ZooError(f"there are no results of {options.protocol!r}; there are of {', '.join(boards) or 'none'}")
    print(showcase(boards[options.protocol], options.videos, options.output, options.clips))


def _export(options: argparse.Namespace) -> None:
    from benchmarks.export import export

    protocols = find_suite(options.protocol).protocols
    if len(protocols) > 1:
        raise ZooError(f"{options.protocol} is a suite; name one of {', '.join(each.name for each in protocols)}")
    print(f"{len(export(protocols[0], options.output, options.data))} clips: {options.output}")


def _admit(options: argparse.Namespace) -> None:
    from benchmarks.admission import admit

    print(admit(options.score, options.name, options.protocol, options.results))


def _illustrate(options: argparse.Namespace) -> None:
    from benchmarks.illustrate import illustrate
    from benchmarks.schema import read_result

    print(*illustrate(read_result(options.result)), sep="\n")


def _sweep(options: argparse.Namespace) -> None:
    from benchmarks.ablations.sweep import AXES, sweep, write

    print(*write(sweep(AXES[options.axis], options.weights, options.denoiser), options.results), sep="\n")


def _turning(options: argparse.Namespace) -> None:
    from benchmarks.ablations.turning import turning

    print(*turning(options.weights, options.results), sep="\n")


def _faces(options: argparse.Namespace) -> None:
    from benchmarks.ablations.faces import faces

    print(*faces(Path(options.weights), options.results), sep="\n")


def _denoising(options: argparse.Namespace) -> None:
    from benchmarks.ablations.denoising import denoising

    print(*denoising(Path(options.weights), options.results), sep="\n")


def _publish(options: argparse.Namespace) -> None:
    from benchmarks.publish import publish

    print(publish(options.result, options.work))


if __name__ == "__main__":
    main()
