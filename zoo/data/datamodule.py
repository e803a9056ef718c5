from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader

from zoo.batch import Batch, Condition, check_batch
from zoo.data.augment import Augmentation, augment, draw_parameters, to_floats
from zoo.data.cache import ByteCache
from zoo.data.clips import EvaluationClips, FittedClips, Sample, Timeline, TrainingClips, collate
from zoo.data.drawn import DrawnSurfaces
from zoo.data.errors import DataError
from zoo.data.fitting import Policy
from zoo.data.folder import FolderSource
from zoo.data.later import LaterMotion
from zoo.data.lists import read_pair_list
from zoo.data.loading import EvaluationSampler, ResumableLoader, TrainingSampler
from zoo.data.source import Clip, ClipSource, Split
from zoo.data.synthetic import SyntheticOptions, SyntheticPeople
from zoo.errors import OptionError
from zoo.pose import Skeleton

Pair = tuple[Clip, int, Clip]
_LEAST = {
    **dict.fromkeys(("source_frames", "driving_frames", "stride", "batch_size", "repeats"), 1),
    **dict.fromkeys(("evaluation_frames", "evaluation_stride"), 1),
    **dict.fromkeys(("other_frames", "pose_window", "workers", "epoch_samples", "cache_megabytes"), 0),
}
"""The least that whole numbers among the options may be."""
CROSS_IDENTITY = "cross_identity"
KNOWN_SUBJECT = "known_subject"


@runtime_checkable
class _DrivenByPoses(Protocol):
    """A method, as far as the data asks which formats of poses it can use."""

    @property
    def pose_formats(self) -> tuple[Skeleton, ...]: ...


class VideoDataModule(LightningDataModule):
    """Clips, from a folder or generated, as batches.

    A training sample is one clip's source frames, drawn at random, and a run of its driving frames. A validation or
    test sample is one clip: its first frame is the source, and its frames from the start on are driving. What a sample
    holds follows from ``seed`` and its running number alone, not from workers or processes, and training goes on
    inside an epoch exactly where a checkpoint was written.

    Args:
        path: Folder of videos, gifs, frame folders or strips, with `train/`, `val/` and `test/` sub-folders, an
            `index.csv`, or neither. None generates people.
        synthetic: Options of the generated people.
        conditions: Which of `pose`, `iuv` and `mask` samples carry; set from what the method declares.
        size: Height and width of the pictures; one number for squares.
        fit: How frames of another aspect are brought to that size: `crop` the largest centred part, `pad` with black,
            or `stretch`. Resizing is antialiased.
        source_frames: Source frames of a training sample.
        sources_apart: Whether the source frames of a training sample are never among its driving frames.
        driving_frames: Driving frames of a training sample.
        other_frames: Frames of another person's clip in a training sample, for methods that train across identities.
        stride: Frames from one driving frame to the next in training.
        fps: Frame rate that clips are resampled to, by the nearest frame; None leaves them as they are.
        pose_window: Poses before and after each driving frame that samples carry as `pose_window`.
        surfaces: Where surface maps come from: what is stored, or else they are drawn around the poses (`skeleton`).
        batch_size: Training samples per batch and process.
        workers: Processes that read, for training and for evaluation each; 0 reads in the main process.
        repeats: The least number of times that an epoch goes through the training clips.
        epoch_samples: The least number of samples of an epoch, of all processes together: it goes through the clips as
            often as both ask for, so that rates which fall by epochs don't fall too early where there are few.
        by_identity: An epoch goes through people instead, of whom a clip is drawn each time.
        augmentation: How training samples are varied.
        split: Csv list of clips with the columns `video`, `identity`, `split`, and optionally `start` and `end`.
        test_fraction: Share of the people that a random split tests on.
        later_motion: Share of each training clip, at its end, that is left out of training and tested on, in pieces of
            `evaluation_frames`, instead of other people.
        pairs: What is tested and predicted instead of reconstruction: a csv list with the columns `source`, `driving`
            and optionally `frame`; `cross_identity`: each test clip drives another test person; `known_subject`: each
            test clip drives the first frame among the training clips of the same person and recording.
        evaluation_frames: Driving frames of an evaluation sample, at most; None takes all.
        evaluation_stride: Frames from one driving frame to the next in evaluation.
        cache_megabytes: Memory for frames that were decoded, all training workers together.
        seed: Decides every draw of training; who is tested, and on what, doesn't depend on it.
        strict: Whether a clip that can't be used is an error; else it is left out and listed in the summary.
    """

    def __init__(
        self,
        path: str | None = None,
        synthetic: SyntheticOptions | None = None,
        conditions: tuple[Condition, ...] = (),
        size: int | tuple[int, int] = 64,
        fit: Policy = "crop",
        source_frames: int = 1,
        sources_apart: bool = False,
        driving_frames: int = 1,
        other_frames: int = 0,
        stride: int = 1,
        fps: float | None = None,
        pose_window: int = 0,
        surfaces: Literal["stored", "skeleton"] = "stored",
        batch_size: int = 8,
        workers: int = 2,
        repeats: int = 1,
        epoch_samples: int = 0,
        by_identity: bool = False,
        augmentation: Augmentation | None = None,
        split: str | None = None,
        test_fraction: float = 0.2,
        later_motion: float | None = None,
        pairs: str | None = None,
        evaluation_frames: int | None = 32,
        evaluation_stride: int = 1,
        cache_megabytes: int = 512,
        seed: int = 0,
        strict: bool = False,
    ) -> None:
        _check_numbers(dict(locals()))
        super().__init__()
        self.save_hyperparameters(logger=False)  # for checkpoints and results: what a number was measured on
        if pose_window and "pose" not in conditions:
            raise OptionError("`pose_window` needs poses: the method has to declare the condition 'pose'")
        if later_motion is not None and not 0 < later_motion < 1:
            raise OptionError(f"`later_motion` is {later_motion:g}; a share of each clip is between 0 and 1")
        self.path = path
        self.name = "synthetic" if path is None else Path(path).absolute().name  # as results and weights call the data
        self.synthetic: SyntheticOptions = synthetic or {}
        self.conditions = tuple(conditions)
        self.size = (size, size) if isinstance(size, int) else (size[0], size[1])
        self.fit = fit
        self.source_frames = source_frames
        self.sources_apart = sources_apart
        self.driving_frames = driving_frames
        self.other_frames = other_frames
        self.stride = stride
        self.fps = fps
        self.pose_window = pose_window
        self.surfaces = surfaces
        self.batch_size = batch_size
        self.workers = workers
        self.repeats = repeats
        self.epoch_samples = epoch_samples
        self.by_identity = by_identity
        self.augmentation: Augmentation = augmentation or {}
        self.split = split
        self.test_fraction = test_fraction
        self.later_motion = later_motion
        self.pairs = pairs
        self.evaluation_frames = evaluation_frames
        self.evaluation_stride = evaluation_stride
        self.seed = seed
        self.strict = strict
        self._cache = ByteCache((cache_megabytes << 20) // max(1, workers))
        self._opened: ClipSource | None = None
        self._checked: set[bool] = set()  # whether the first training batch (True) or evaluation batch was looked at

    @property
    def source(self) -> ClipSource:
        """Where the clips come from, opened at first use."""
        if self._opened is None:
            self._opened = self._open()
            if self.later_motion is not None:
                pieces = self.evaluation_frames and self.evaluation_frames * self.evaluation_stride
                self._opened = LaterMotion(self._opened, self.later_motion, pieces)
        return self._opened

    @property
    def clip_size(self) -> tuple[int, int] | None:
        """Height and width of the training clips before they are fitted; None where they differ in aspect."""
        sizes = [(clip.height, clip.width) for clip in self.source.clips("train")]
        return sizes[0] if len({Fraction(*size) for size in sizes}) == 1 else None

    def state_dict(self) -> dict[str, Any]:
        """What checkpoints say of the data beside its options."""
        return {"clips": self.clip_size}

    def prepare_data(self) -> None:
        """Looks at every file once, in one process only."""
        self._opened = self.source

    def setup(self, stage: str) -> None:
        """Prints what there is before training.

        Raises:
            DataError: The poses are of another format than the method is driven by.
        """
        method = self.trainer.lightning_module if self.trainer is not None else None
        if "pose" in self.conditions and isinstance(method, _DrivenByPoses):
            self._check_skeleton(method, method.pose_formats)
        if stage == "fit":
            rank_zero_info(self.summary())

    def summary(self) -> str:
        """What will be trained and tested on, what was dropped and why; several lines."""
        lines = [self.source.summary()]
        lines += [f"  not trained on: {reason}" for reason in self._too_short()[1]]
        if self.pairs is None:
            still = [clip for clip in self.source.clips("test") if not self._moves(clip)]
            lines += [f"  not tested on: {clip.name}: a single picture; name it as source in `pairs`" for clip in still]
        return "\n".join(lines)

    def training_frames(self, most: int) -> Sample:
        """Frames spread evenly over the training clips, with their conditions, for what is looked up instead of learnt.

        Args:
            most: How many at most: what they take is in memory at once.

        Returns:
            ``driving`` (N, 3, H, W) uint8 and the declared conditions beside it: ``driving_pose`` (N, K, 3) as in
            `zoo.batch.Batch`, ``driving_iuv`` and ``driving_mask`` still in bytes.
        """
        clips = self._training_clips()
        places = [(clip, index) for clip in clips for index in range(clip.frames)]
        chosen = np.unique(np.linspace(0, len(places) - 1, most).round().astype(int))
        fitted = self._fitted(ByteCache(0))
        wanted: dict[Clip, list[int]] = {}
        for place in chosen:
            wanted.setdefault(places[place][0], []).append(places[place][1])
        parts = [fitted.frames("driving", clip, indices) for clip, indices in wanted.items()]
        tensors = [name for name, value in parts[0].items() if isinstance(value, Tensor)]
        return {name: torch.cat([part[name] for part in parts]) for name in tensors}

    def train_dataloader(self) -> ResumableLoader:
        """Batches of training samples, without an end that is smaller than a batch."""
        dataset = TrainingClips(
            self._training_clips(),
            self._fitted(self._cache),
            self.source_frames,
            self.driving_frames,
            self.stride,
            self.fps,
            self.repeats,
            self.by_identity,
            self.seed,
            self.strict,
            self.sources_apart,
            self.other_frames,
            epoch_samples=self.epoch_samples,
        )
        replicas, rank = self._process()
        sampler = TrainingSampler(dataset, self.seed, replicas, rank)
        if len(sampler) < self.batch_size:
            raise DataError(
                self._place(),
                f"an epoch of {len(sampler)} samples is less than one batch of {self.batch_size}",
                f"set `data.epoch_samples` to {self.batch_size * replicas} or more (recipes: about 1000), or lower "
                "`data.batch_size`",
            )
        return ResumableLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=self._pinned(),
            drop_last=True,
            persistent_workers=self.workers > 0,
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """Reconstruction of the validation clips, one a batch."""
        return self._evaluation_loader(self._reconstructions("val"))

    def test_dataloader(self) -> DataLoader[Sample]:
        """The pairs where they are given, else reconstruction of the test clips, one a batch."""
        pairs = self.test_pairs()
        if not pairs:
            raise DataError(self._place(), "has nothing to test on", "put clips into test/, or correct the split list")
        return self._evaluation_loader(pairs)

    def predict_dataloader(self) -> DataLoader[Sample]:
        """The same as for testing."""
        return self.test_dataloader()

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Draws the variation of a training batch, while its sample numbers are still at hand."""
        if self._training() and self.augmentation:
            numbers = batch["index"].tolist()
            batch["variation"] = draw_parameters(self.augmentation, self.seed, numbers, self.size)
            if self.other_frames:
                batch["other_variation"] = draw_parameters(self.augmentation, self.seed, numbers, self.size, other=True)
        return batch

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Turns bytes into the ranges of `zoo.batch.Batch`, and varies a training batch, on the device."""
        variation, other_variation = batch.pop("variation", None), batch.pop("other_variation", None)
        batch = to_floats(batch)
        if variation is not None:
            other = {key: batch.pop(key) for key in list(batch) if key.startswith("other")}
            batch = augment(batch, variation, self.source.skeleton)
            if other:
                batch |= augment(other, other_variation, self.source.skeleton)
        if self._training() not in self._checked:
            check_batch(cast(Batch, batch), self.conditions)
            self._checked.add(self._training())
        if self.trainer is not None:  # half or double precision throughout, where the trainer was asked for it
            batch = self.trainer.precision_plugin.convert_input(batch)
        return batch

    # --- what is trained and tested on

    def _open(self) -> ClipSource:
        source: ClipSource
        if self.path is None:
            source = SyntheticPeople(**(SyntheticOptions(size=self.size) | self.synthetic))
        else:
            source = self._open_folder(Path(self.path))
        return DrawnSurfaces(source) if self.surfaces == "skeleton" else source

    def _open_folder(self, folder: Path) -> FolderSource:
        drawn_from: dict[Condition, Condition] = {"iuv": "pose"} if self.surfaces == "skeleton" else {}
        return FolderSource(
            folder,
            split_list=self.split,
            required=tuple(dict.fromkeys(drawn_from.get(name, name) for name in self.conditions)),
            test_fraction=self.test_fraction,
            strict=self.strict,
            cache=self._cache,
            threads=max(1, self.workers),
        )

    def _check_skeleton(self, method: LightningModule, formats: tuple[Skeleton, ...]) -> None:
        stored = self.source.skeleton
        if not formats or stored in formats:
            return
        wanted = formats[0]
        remedies = []
        if "skeleton" in method.hparams:
            remedies.append(f"set `model.init_args.skeleton` to {stored.name}")
        if self.path is not None:
            command = f"zoo prepare {self.path} --pose --skeleton {wanted.name}"
            remedies.append(f"remove the NAME_pose.npz and make them anew: `{command}`")
        raise DataError(
            self._place(),
            f"has poses of {stored.name}, but {type(method).__name__} is driven by {wanted.name}",
            ", or ".join(remedies),
        )

    def _fitted(self, cache: ByteCache) -> FittedClips:
        return FittedClips(self.source, self.conditions, self.size, self.fit, self.pose_window, cache)

    def _too_short(self) -> tuple[list[Clip], list[str]]:
        """The training clips that are long enough, and a line for each that is not."""
        moments = np.arange(self.driving_frames) * self.stride
        needed = max(2, int(moments[-1]) + 1 + self.sources_apart)
        clips, reasons = [], []
        for clip in self.source.clips("train"):
            timeline = Timeline(clip, self.fps)
            frames = timeline.frames
            if self.sources_apart and timeline.most_shown(moments) >= clip.frames:
                frames = min(frames, needed - 1)  # played slower, it has no frame left that isn't among those shown
            if frames >= needed:
                clips.append(clip)
            else:
                remedy = (
                    "lower `driving_frames` or `stride`" if frames > 1 else "only clips that move can be trained on"
                )
                reasons.append(f"{clip.name}: a training sample needs {needed} frames, it has {frames}; {remedy}")
        return clips, reasons

    def _training_clips(self) -> list[Clip]:
        clips, reasons = self._too_short()
        if not clips or (reasons and self.strict):
            raise DataError(
                self._place(),
                f"{len(reasons)} training clips are too short" if reasons else "has no training clips",
                reasons[0] if reasons else "put clips into train/, or correct the split list",
            )
        if self.other_frames and len({clip.identity for clip in clips}) < 2:
            raise DataError(
                self._place(),
                "shows one person in training, so that there are no `other_frames`",
                "add clips of another, or set `data.other_frames` to 0 and train without them",
            )
        return clips

    def _reconstructions(self, split: Split) -> list[Pair]:
        return [(clip, 0, clip) for clip in self.source.clips(split) if self._moves(clip)]

    def _moves(self, clip: Clip) -> bool:
        return Timeline(clip, self.fps).frames > 1

    def test_pairs(self) -> list[Pair]:
        """What is tested and predicted: source clip, its frame, driving clip."""
        if self.pairs is None:
            return self._reconstructions("test")
        if self.pairs == CROSS_IDENTITY:
            return cross_identity_pairs(self.source.clips("test"))
        if self.pairs == KNOWN_SUBJECT:
            return self._known_subject_pairs()
        return self._listed_pairs(self.pairs)

    def _known_subject_pairs(self) -> list[Pair]:
        """Each test clip once as driving, with the first frame among the training clips of the same scene."""
        earliest: dict[tuple[str, str], Clip] = {}
        for clip in sorted(self.source.clips("train"), key=lambda clip: clip.start):
            earliest.setdefault(clip.scene, clip)
        driving = self.source.clips("test")
        unknown = [clip.name for clip in driving if clip.scene not in earliest]
        if unknown:
            raise DataError(
                self._place(),
                f"has test clips of people or recordings that aren't trained on, such as {unknown[0]}",
                f"set `later_motion`, or list parts of each recording to train on: `pairs: {KNOWN_SUBJECT}` needs them",
            )
        return [(earliest[clip.scene], 0, clip) for clip in driving]

    def _listed_pairs(self, name: str) -> list[Pair]:
        source = self.source
        inside = Path(self.path or "") / name
        path = inside if inside.is_file() else Path(name)
        if not path.is_file():
            raise OptionError(
                f"data.pairs is {name!r}, where there is no list of pairs; give its path, `{CROSS_IDENTITY}` or "
                f"`{KNOWN_SUBJECT}`"
            )
        pairs: list[Pair] = []
        absent: list[str] = []
        for row in read_pair_list(path):
            found = [source.find(row.source), source.find(row.driving)]
            absent += [text for text, clip in zip((row.source, row.driving), found, strict=True) if clip is None]
            who, how = found
            if who is None or how is None:
                continue
            if row.frame >= who.frames:
                raise DataError(
                    path, f"asks for frame {row.frame} of {who.name}, which has {who.frames}", "correct `frame`"
                )
            pairs.append((who, row.frame, how))
        if absent:
            shown = ", ".join(list(dict.fromkeys(absent))[:3])
            raise DataError(
                path, f"names {len(absent)} clips that can't be used: {shown}", "add them or remove the rows"
            )
        return pairs

    # --- loaders

    def _evaluation_loader(self, pairs: Sequence[Pair]) -> DataLoader[Sample]:
        fitted = self._fitted(ByteCache(0))  # each frame is read once
        dataset = EvaluationClips(
            pairs, fitted, self.source_frames, self.fps, self.evaluation_frames, self.evaluation_stride
        )
        return DataLoader(
            dataset,
            batch_size=1,  # clips differ in length
            sampler=EvaluationSampler(dataset, *self._process()),
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=self._pinned(),
        )

    def _training(self) -> bool:
        return self.trainer is not None and self.trainer.training

    def _process(self) -> tuple[int, int]:
        return (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)

    def _pinned(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _place(self) -> Path:
        return Path("synthetic people" if self.path is None else self.path)


def cross_identity_pairs(clips: Sequence[Clip]) -> list[Pair]:
    """Each clip once as driving, with the first frame of someone else's clip, drawn at random but always the same."""
    draw = np.random.default_rng(0)
    pairs = []
    for driving in clips:
        others = [clip for clip in clips if clip.identity != driving.identity]
        if others:
            pairs.append((others[draw.integers(len(others))], 0, driving))
    return pairs


def _check_numbers(options: Mapping[str, Any]) -> None:
    for name, least in _LEAST.items():
        if options[name] is not None and options[name] < least:
            raise OptionError(f"`{name}` is {options[name]}; it is {least} or more")
    sides = options["size"] if isinstance(options["size"], tuple | list) else [options["size"]]
    if not sides or min(sides) < 1:
        raise OptionError(f"`size` is {options['size']}; pictures have one pixel or more")
    if options["fps"] is not None and not options["fps"] > 0:
        raise OptionError(f"`fps` is {options['fps']:g}; leave it out, or give frames per second")
    if not 0 <= options["test_fraction"] <= 1:
        raise OptionError(f"`test_fraction` is {options['test_fraction']:g}; a share of the people is between 0 and 1")
