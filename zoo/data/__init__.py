"""Clips, from folders or generated, sampled into batches."""

from zoo.data.augment import Augmentation
from zoo.data.datamodule import VideoDataModule
from zoo.data.errors import DataError
from zoo.data.folder import FolderSource
from zoo.data.source import Clip, ClipSource, Split

__all__ = ["Augmentation", "Clip", "ClipSource", "DataError", "FolderSource", "Split", "VideoDataModule"]
