"""Weights: our own files, foreign checkpoints read safely, and the networks that metrics and losses need."""

from zoo.weights.checkpoint import TrainedOn, WeightsError, load_weights, read_foreign, save_weights, trained_on

__all__ = ["TrainedOn", "WeightsError", "load_weights", "read_foreign", "save_weights", "trained_on"]
