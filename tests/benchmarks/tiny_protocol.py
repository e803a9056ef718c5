"""A protocol that runs in seconds, for tests."""

from pathlib import Path

import yaml

CONTENT = {
    "title": "Tiny: reconstruction",
    "data": {
        "path": None,
        "synthetic": {
            "train_identities": 2,
            "val_identities": 1,
            "test_identities": 2,
            "clips_per_identity": 2,
            "frames": 16,
            "fps": 25.0,
            "seed": 0,
        },
        "size": 32,
        "fit": "crop",
        "fps": None,
        "split": None,
        "pairs": None,
        "evaluation_frames": 6,
        "evaluation_stride": 1,
    },
    "provides": ["pose", "iuv", "mask"],
    "metrics": ["l1", "moving_l1", "subject_l1"],
    "sets": [],
    "training": {"recipe": "tiny", "steps": 20},
    "seed": 0,
}


def write(folder: Path, name: str = "tiny", **changes: object) -> Path:
    """Writes the protocol; ``data`` is merged, everything else replaced."""
    content = CONTENT | changes
    content["data"] = CONTENT["data"] | changes.get("data", {})
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
