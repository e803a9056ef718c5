"""Weights: our own files, foreign checkpoints read safely, and the networks that metrics and losses need."""

from zoo.weights.checkpoint import (
    WeightsError,
    load_weights,
    read_foreign,
    save_weights,
    trained_size,
    trained_stretched,
)

__all__ = ["WeightsError", "load_weights", "read_foreign", "save_weights", "trained_size", "trained_stretched"]
