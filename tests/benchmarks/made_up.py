"""Results as the harness writes them, with made-up numbers."""

import random
from pathlib import Path

from benchmarks.statistics import mean_interval
from zoo.report import write_json

HASH = "0123456789ab"
METRICS = {"l1": 0.02, "moving_l1": 0.06, "psnr": 27.0, "ssim": 0.8, "lpips_alex": 0.09}


def made_up(
    method: str,
    *,
    protocol: str = "synthetic-64-reconstruction",
    kind: str = "method",
    seed: int | None = 0,
    quality: float = 1.0,
    noise: float = 0.05,
    clips: int = 16,
    errors: int = 0,
    fvd_clips: int = 64,
    speed: float | None = 30.0,
    processor: str = "Processor",
    hash: str = HASH,
) -> dict:
    """A valid result. ``quality`` multiplies errors: below 1 is better. Clips are equally hard for every method."""
    draw = random.Random(f"{method} {seed}")
    rows = []
    for number in range(clips):
        hardness = 1 + 0.5 * (number % 5)
        row = {"clip": f"person-{number:02d}", "source": f"person-{number:02d}", "source_frame": 0, "frames": 32}
        if number >= clips - errors:
            row["error"] = "ValueError: NaN"
        else:
            factor = quality * hardness * (1 + noise * draw.uniform(-1, 1))
            row |= {
                name: base * (2 - factor / 4 if name in ("psnr", "ssim") else factor) for name, base in METRICS.items()
            }
        rows.append(row)
    good = [row for row in rows if "error" not in row]
    values = {name: [row[name] for row in good] for name in METRICS}
    steps = list(range(0, 1001, 125))
    fvd = 900.0 * quality
    return {
        "schema": 1,
        "protocol": {"name": protocol, "hash": hash, "title": protocol.replace("-", " ").capitalize()},
        "method": {
            "name": method,
            "title": method.replace("_", " ").title(),
            "kind": kind,
            "recipe": "synthetic-64" if kind == "method" else None,
            "class": f"zoo.{method}" if kind != "external" else None,
        },
        "seed": seed if kind == "method" else None,
        "training": {
            "steps": 1000,
            "seconds": 360.0 + 60 * (seed or 0),
            "budget": f"1000 steps, {6 + (seed or 0)} minutes",
            "curve": {
                "step": steps,
                "val/l1": [quality * 0.02 * (1 + 8 / (1 + number)) for number in range(len(steps))],
                "val/copy_source/l1": [0.04] * len(steps),
                "train/generator/perceptual": [quality * 90 / (1 + number) for number in range(len(steps) - 1)]
                + [None],
            },
        }
        if kind == "method"
        else None,
        "evaluation": {
            "expected": clips,
            "measured": len(good),
            "errors": {row["clip"]: row["error"] for row in rows if "error" in row},
            "totals": {name: sum(column) / len(column) for name, column in values.items()},
            "intervals": {name: mean_interval(column, 0) for name, column in values.items()},
            "per_clip": rows,
            "sets": {
                "fvd": {
                    "value": fvd,
                    "low": fvd * 0.9,
                    "high": fvd * 1.1,
                    "infinity": fvd * 0.8,
                    "clips": fvd_clips,
                    "diagnostic": fvd_clips < 256,
                    "convention": "fvd_i3d_half_pixel_16f",
                }
            },
            "skipped": {},
        },
        "speed": {
            "frames_per_second": speed,
            "encode_seconds": 0.01,
            "peak_memory_megabytes": 410.5,
            "parameters": 12_345_678,
            "size": [64, 64],
        }
        if speed
        else None,
        "arguments": {},
        "data": {},
        "weights": {"sha256": f"{method} {seed}", "file": None} if kind == "method" else None,
        "dataset": {"fingerprint": "f" * 64},
        "versions": {"zoo": "0.1.0"},
        "machine": {"platform": "Linux", "cpus": 2, "threads": 2, "device": "cpu", "processor": processor},
        "commit": None,
        "date": "2026-01-01T00:00:00+00:00",
    }


def write(folder: Path, result: dict) -> Path:
    """Writes a result where the harness would."""
    seed = "baseline" if result["seed"] is None else f"synthetic-64-seed{result['seed']}"
    machine = result["machine"]["processor"].lower()
    path = folder / result["protocol"]["name"] / f"{result['method']['name']}--{seed}--{machine}.json"
    write_json(path, result)
    return path
