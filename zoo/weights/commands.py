"""The sub-commands of ``zoo weights``."""

from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from zoo.folders import cache_folder
from zoo.weights.networks import install, status
from zoo.weights.reference import reference_weights


def list_weights() -> None:
    """Shows the methods' weights that come with the zoo, and which networks of metrics and losses are here."""
    console = Console()
    console.print(_methods())
    console.print(_networks())


def _methods() -> Table:
    table = Table("name", title="methods: `zoo animate --weights NAME`", show_lines=True)
    table.columns[0].no_wrap = True  # it is there to be copied
    table.add_column("trained on, scores, licence, file", overflow="fold")
    for row in reference_weights():
        training = f"{row.data}, {row.size}, {row.steps} steps"
        file = f"{row.licence}, {row.megabytes:.1f} MB, SHA-256 {row.sha256[:12]}"
        table.add_row(row.name, f"{training}\n{row.scores}\n{file}")
    return table


def _networks() -> Table:
    title = f"networks of metrics and losses, in {cache_folder() / 'networks'}"
    table = Table("network", "here", "MB", "licence", "file, or how to get it", title=title)
    for row in status():
        size = f"{row.megabytes:.0f}" if row.present else ""
        table.add_row(
            row.name, "yes" if row.present else "no", size, row.licence, row.file.name if row.present else row.command
        )
    return table


COMMANDS: dict[str, Callable[..., object]] = {"install": install, "list": list_weights}
