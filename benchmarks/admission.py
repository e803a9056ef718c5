"""Rows of programs that aren't part of the zoo: what ``zoo score`` measured, held against a protocol's clips."""

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from benchmarks import protocol
from benchmarks.schema import ClipRow, Result, SetValue, read_result, validate
from benchmarks.statistics import mean_interval
from zoo.data.walk import without_suffix
from zoo.errors import FileError, OptionError
from zoo.measurement import clip_name
from zoo.report import write_json

TOLERANCE = 0.02
"""How far the L1 distance from source to target may be off, in [0, 1]: a video codec's loss, not other clips."""

_REFERENCE = "copy_source"

_WORDS = ("clip", "source", "error")
"""What of a clip's row isn't a number."""

_SETS = TypeAdapter(dict[str, SetValue])


def admit(score: Path, name: str, protocol_name: str, results: Path, hashes: Mapping[str, str] | None = None) -> Path:
    """Writes what ``zoo score`` measured as a result of a protocol, so that it enters its table.

    The clips must be the protocol's: all of them, called as :func:`benchmarks.export.export` calls them (or as the clip
    itself where it is its own source), as long as they are there, and as far from their sources as the protocol's
    copy-source baseline is.

    Args:
        score: The file that ``zoo score`` wrote.
        name: What the table calls the program.
        protocol_name: Which table.
        results: The folder of results, in which the protocol's copy-source baseline has to be.
        hashes: Protocol -> its hash now; by default of ``benchmarks/protocols``.

    Returns:
        The new result's path.

    Raises:
        FileError: The score can't be read, or isn't of the protocol's clips; names the clip.
        OptionError: There is no such protocol, or the name has no letters.
    """
    hashes = protocol.hashes() if hashes is None else hashes
    if protocol_name not in hashes:
        raise OptionError(f"there is no protocol {protocol_name!r}; there are {', '.join(sorted(hashes))}")
    slug = "_".join(re.findall(r"[a-z0-9]+", name.lower()))
    if not slug:
        raise OptionError(f"--name {name!r} needs letters or digits")
    reference = _reference(results / protocol_name, hashes[protocol_name])
    scored = _read(score)
    rows = _matched(score, scored["per_clip"], reference)
    result = _result(name, slug, scored, rows, reference)
    path = results / protocol_name / f"{slug}--external--{scored['machine']['device'].replace(' ', '-').lower()}.json"
    validate(result, path)
    write_json(path, result)
    return path


def _reference(folder: Path, expected_hash: str) -> Result:
    """The copy-source baseline of the protocol: which clips there are, and how far they are from their sources."""
    for path in sorted(folder.glob(f"{_REFERENCE}--*.json")):
        result = read_result(path)
        evaluation = result["evaluation"]
        if result["protocol"]["hash"] == expected_hash and evaluation["measured"] == evaluation["expected"]:
            if evaluation["totals"].get("l1") is None:
                problem = "knows no true frames, so that no folder of targets can be compared with"
                raise FileError(folder, problem, "choose a protocol with truth")
            return result
    remedy = f"run `python -m benchmarks run {folder.name} --methods {_REFERENCE}`, which says which clips there are"
    raise FileError(folder, f"has no complete result of {_REFERENCE}", remedy)


def _read(path: Path) -> dict[str, Any]:
    try:
        scored = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(path, f"can't be read ({error})", "give a file that `zoo score` wrote") from error
    if not isinstance(scored, dict):
        raise FileError(path, "holds no score", "give a file that `zoo score` wrote")
    needed = {"per_clip": list, "sets": dict, "skipped": dict, "versions": dict, "machine": dict}
    missing = sorted(name for name, kind in needed.items() if not isinstance(scored.get(name), kind))
    if missing or not isinstance(scored["machine"].get("device"), str):
        problem = f"has no {', '.join(missing) or 'machine.device'}"
        raise FileError(path, problem, "give a file that `zoo score` wrote")
    try:
        _SETS.validate_python(scored["sets"])
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"sets.{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise FileError(path, problem, "give a file that `zoo score` wrote") from None
    for row in scored["per_clip"]:
        if wrong := _words_for_numbers(row):
            problem = f"clip {row.get('clip')!r}: {wrong} is {row[wrong]!r}, no number"
            raise FileError(path, problem, "give a file that `zoo score` wrote")
    return scored


def _words_for_numbers(row: Any) -> str | None:
    """The first key of a clip's row whose value should be a number and is none."""
    values = row.items() if isinstance(row, dict) else ()
    return next((key for key, value in values if key not in _WORDS and not isinstance(value, int | float | None)), None)


def _matched(score: Path, scored: Sequence[Mapping[str, Any]], reference: Result) -> list[dict[str, Any]]:
    """The scored rows, each under the protocol's own names of clip and source."""
    by_name = {row["clip"]: row for row in scored if isinstance(row, Mapping) and isinstance(row.get("clip"), str)}
    rows = []
    for known in reference["evaluation"]["per_clip"]:
        names = _names(known)
        row = next((by_name[name] for name in names if name in by_name), None)
        if row is None:
            raise FileError(score, f"has no clip {' or '.join(map(repr, names))}", "score every clip of the protocol")
        _check(score, row, known)
        rows.append({**row, **{key: known[key] for key in ("clip", "source", "source_frame")}})
    return rows


def _names(row: ClipRow) -> list[str]:
    """How the files of a clip may be called, without their ending."""
    names = [clip_name(dict(row))]
    if row["source"] == row["clip"] and not row["source_frame"]:
        names.append(without_suffix(Path(row["clip"])).as_posix())
    return names


def _check(score: Path, row: Mapping[str, Any], known: ClipRow) -> None:
    if row.get("frames") != known["frames"]:
        problem = f"clip {row['clip']!r} has {row.get('frames')} frames, but the protocol's has {known['frames']}"
        raise FileError(score, problem, "write one frame for each frame of the protocol's clip")
    found, expected = row.get(f"{_REFERENCE}/l1"), cast(Mapping[str, Any], known)["l1"]
    if found is None:
        raise FileError(score, "has no l1", "run `zoo score` with l1 among its `--metrics`")
    if abs(found - expected) > TOLERANCE:
        problem = f"clip {row['clip']!r} is {found:.3f} from its source in l1, but the protocol's is {expected:.3f}"
        raise FileError(score, problem, "score against the protocol's own clips, with its sources as `--source`")


def _result(
    title: str, slug: str, scored: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], reference: Result
) -> Result:
    evaluation = reference["evaluation"]
    values = {name: [row[name] for row in rows if row.get(name) is not None] for name in evaluation["totals"]}
    names = [name for name in values if values[name]]
    kept = [*("clip", "source", "source_frame", "frames"), *names]
    skipped = {name: "`zoo score` wasn't asked for it" for name in values if name not in names}
    return {
        "schema": 1,
        "protocol": reference["protocol"],
        "method": {"name": slug, "title": title, "kind": "external", "recipe": None, "class": None},
        "seed": None,
        "training": None,
        "evaluation": {
            "expected": len(rows),
            "measured": len(rows),
            "errors": {},
            "totals": {name: statistics.fmean(values[name]) for name in names},
            "intervals": {name: mean_interval(values[name], seed=0) for name in names},
            "per_clip": [cast(ClipRow, {key: row.get(key) for key in kept}) for row in rows],
            "sets": _comparable_sets(scored["sets"], evaluation["sets"]),
            "skipped": skipped,
        },
        "speed": None,
        "arguments": None,
        "data": None,
        "weights": None,
        "dataset": reference["dataset"],
        "versions": scored["versions"],
        "machine": scored["machine"],
        "commit": None,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _comparable_sets(scored: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics on sets that were taken in the protocol's own convention, on as many clips."""
    return {
        name: value
        for name, value in scored.items()
        if name in known and all(value.get(key) == known[name].get(key) for key in ("convention", "clips"))
    }
