"""Methods and weights by name."""

import difflib
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from zoo import methods
from zoo.base import AnimationModule
from zoo.errors import OptionError, ZooError
from zoo.methods import discover
from zoo.weights.checkpoint import WeightsError, load_weights, method_of
from zoo.weights.reference import find_reference_weights


def list_methods() -> list[str]:
    """Names of the methods that come with the zoo, as in ``zoo/methods``."""
    return sorted(discover())


def load(weights: str | Path, method: str | None = None) -> AnimationModule:
    """A method with its weights, ready to animate: in eval mode, on the CPU.

    No code in the file runs, and no class is imported because the file says so: the name that it gives only chooses
    among the zoo's own methods.

    Args:
        weights: A weights file (safetensors) or Lightning checkpoint of the zoo, or ``METHOD/TAG`` for weights that
            come with the zoo.
        method: The method that the weights belong to; needed where the file doesn't say it or the method isn't one of
            the zoo's: a name of :func:`list_methods`, a class name, or ``my_package.MyMethod``, which is imported.

    Raises:
        ZooError: There are no such weights, the file can't be used, or the method is unknown.
    """
    path = find_weights(weights)
    return load_weights(path, _class_of(path) if method is None else find_method(method))


def find_weights(weights: str | Path) -> Path:
    """The file of weights: the path itself, or that of weights that come with the zoo.

    Raises:
        ZooError: There is neither a file nor are there shipped weights of that name; lists those that exist.
    """
    if Path(weights).is_file():
        return Path(weights)
    shipped = find_reference_weights()
    if str(weights) in shipped:
        return shipped[str(weights)]
    raise ZooError(
        f"there are no weights {str(weights)!r}: give a file, such as runs/weights.safetensors, or the name of weights "
        f"that come with the zoo, METHOD/TAG (there are: {', '.join(shipped) or 'none'})"
    )


def find_method(name: str) -> type[AnimationModule]:
    """The class of a method by its folder's name, its class name, or the dotted path of a class from anywhere.

    Raises:
        ZooError: There is no such method, or the path names something else.
    """
    known = discover()
    for folder, method in known.items():
        if name in (folder, method.__name__):
            return method
    module, _, class_name = name.rpartition(".")
    if not module:
        raise no_such_method(name, {*known, *methods.by_class_name()})
    try:
        found = vars(import_module(module)).get(class_name)
    except ModuleNotFoundError as error:
        raise ZooError(f"the method {name!r} can't be imported ({error}); install its package") from error
    if not (isinstance(found, type) and issubclass(found, AnimationModule)):
        raise ZooError(f"{name!r} is no method: {module} has no class {class_name} derived from AnimationModule")
    return found


def no_such_method(name: str, known: Iterable[str]) -> OptionError:
    """The error about a name that no method has; offers the nearest of those known, or all."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
    return OptionError(f"there is no method {name!r}; {hint} (a class of your own: package.ClassName)")


def _class_of(path: Path) -> type[AnimationModule]:
    """The class that a file names, if it is one of the zoo's own."""
    named = method_of(path)
    for method in discover().values():
        if named.startswith(f"{methods.__name__}.") and named.rpartition(".")[2] == method.__name__:
            return method
    raise WeightsError(
        path,
        f"belongs to {named!r}, which is no method of the zoo" if named else "doesn't say which method it belongs to",
        "name the method yourself with `--method` (`method=` in Python), if you trust it",
    )
