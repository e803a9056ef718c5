import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from lightning import LightningModule
from torch import Tensor, nn

from zoo.batch import Batch, Condition
from zoo.errors import OptionError
from zoo.pose import Skeleton
from zoo.weights.checkpoint import load_weights, naming_file, read_foreign, read_networks

State = Any
"""What a method remembers of the source, and of its own output, between chunks: its own dataclass."""

CHUNK = 8
"""Driving frames that are rendered at once: memory follows this number, never the clip's length."""


@dataclass(frozen=True)
class MotionOptions:
    """How the driving motion is applied to the source. A method raises for what it doesn't know.

    Attributes:
        motion: ``absolute``: the driving geometry as it is (reconstruction). ``relative``: the change since the
            initial driving frame, added to the source's own geometry.
        adapt_scale: Multiply relative motion by the size of the source over the size of the driving subject.
        best_frame: Take as initial driving frame the one that resembles the source most, instead of the first.
        retarget: Fit the driving poses to the body that is shown before they are drawn.
        denoise: Clean the driving poses, the whole track at once, before they are drawn.
    """

    motion: Literal["absolute", "relative"] = "absolute"
    adapt_scale: bool = False
    best_frame: bool = False
    retarget: bool = False
    denoise: bool = False


class AnimationModule(LightningModule):
    """What every method shares: the inference contract, safe weights, and steps that only predict.

    A method implements ``training_step`` (or derives from :class:`zoo.adversarial.AdversarialTraining`),
    ``encode`` and ``render``; metrics, pictures and files are the business of callbacks.
    """

    conditions: ClassVar[tuple[Condition, ...]] = ()
    """Which of pose, iuv and mask the method needs to animate."""

    motion_options: ClassVar[frozenset[str]] = frozenset()
    """Names of the motion options beyond ``absolute`` that the method knows."""

    takes_several_sources: ClassVar[bool] = False
    """Whether the method looks at all S source frames; others look at the first."""

    needs_source: ClassVar[bool] = True
    """Whether anything of the source is looked at; where not, who is shown is in the weights."""

    skeleton: Skeleton | None = None
    """The format of the poses that the method is driven by; None takes them as they are stored."""

    inference_networks: ClassVar[tuple[str, ...]]
    """Attribute names of the networks that animation needs; only these enter published weights."""

    official_files: ClassVar[tuple[str, ...]] = ()
    """Networks that the official code saves to files of their own, as ``latest_net_G.pth``; empty where one has all."""

    @property
    def training_conditions(self) -> tuple[Condition, ...]:
        """Which of them the command line has loaded: what animation needs, and what the losses compare with besides."""
        return self.conditions

    @property
    def pose_formats(self) -> tuple[Skeleton, ...]:
        """Formats of poses that training can use as they are stored; empty where it can use any."""
        return () if self.skeleton is None else (self.skeleton,)

    @property
    def size_multiple(self) -> int:
        """Height and width of all pictures must be multiples of this."""
        return 1

    def training_forward(self, batch: Batch) -> dict[str, Any]:
        """Computes what the losses read; free in form, one per method."""
        raise TypeError(f"{type(self).__name__} can't be trained: it defines no training_forward")

    def encode(self, source: Batch, options: MotionOptions) -> State:
        """Computes everything that depends on the source alone, once per animation.

        Args:
            source: The ``source*`` keys of a batch, with ``source`` (B, S, 3, H, W).
            options: How motion will be applied.
        """
        raise TypeError(f"{type(self).__name__} can't animate: it defines no encode")

    def render(self, state: State, driving: Batch) -> tuple[Tensor, State]:
        """Renders one chunk of driving frames.

        Args:
            state: From ``encode``, ``adapt`` or the chunk before.
            driving: The ``driving*`` keys of a batch, with ``driving`` (B, t, 3, H, W).

        Returns:
            Frames (B, t, 3, H, W) in [0, 1], and the state for the next chunk.
        """
        raise TypeError(f"{type(self).__name__} can't animate: it defines no render")

    def uses_track(self, options: MotionOptions) -> bool:
        """Whether ``adapt`` must see the whole driving track before frames stream."""
        return False

    def track(self, driving: Batch) -> dict[str, Tensor]:
        """Summarises a chunk of driving frames in kilobytes: name -> (B, t, ...) poses or keypoints."""
        raise TypeError(f"{type(self).__name__} has no driving track")

    def adapt(self, state: State, track: dict[str, Tensor]) -> State:
        """Takes one look at the whole track (name -> (B, T, ...)) before frames stream."""
        raise TypeError(f"{type(self).__name__} has no driving track")

    def explain(self, state: State, driving: Batch) -> dict[str, Tensor]:
        """What the method saw and did in a chunk: name -> (B, t, 3, H, W) in [0, 1]. By default what drove it.

        Args:
            state: As ``render`` returned it for this chunk.
            driving: The chunk.
        """
        return {"driving": driving["driving"]}

    @torch.no_grad()
    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """:meth:`explain` for the first clip's last driving frame: name -> (3, H, W)."""
        first = Batch(**{key: value[:1] for key, value in batch.items() if isinstance(value, Tensor)})  # type: ignore[typeddict-item]
        *_, last = split_driving(first, 1)
        _, state = self.render(self.encode(select(first, "source"), MotionOptions()), last)
        return {name: views[0, 0] for name, views in self.explain(state, last).items()}

    def stream(
        self, source: Batch, driving: Callable[[], Iterable[Batch]], options: MotionOptions | None = None
    ) -> Iterator[Tensor]:
        """Animates chunk by chunk; memory doesn't grow with the clip.

        Args:
            source: The ``source*`` keys of a batch.
            driving: Starts a pass over the driving clip: batches with ``driving*`` keys. It is called twice where an
                option needs the whole track first.
            options: How motion is applied; ``absolute`` by default.

        Yields:
            Frames (B, t, 3, H, W) in [0, 1], one chunk after another.

        Raises:
            OptionError: An option that the method doesn't know, or a picture size that it can't take.
        """
        for frames, _, _ in self._rendered(source, driving, options):
            yield frames

    def stream_explained(
        self, source: Batch, driving: Callable[[], Iterable[Batch]], options: MotionOptions | None = None
    ) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """As :meth:`stream`, with the chunk's :meth:`explain` beside its frames."""
        for frames, state, chunk in self._rendered(source, driving, options):
            with torch.no_grad():
                views = self.explain(state, chunk)
            yield frames, views

    @torch.no_grad()
    def _rendered(
        self, source: Batch, driving: Callable[[], Iterable[Batch]], options: MotionOptions | None
    ) -> Iterator[tuple[Tensor, State, Batch]]:
        options = options or MotionOptions()
        self.check_options(options)
        self._check_size(source["source"])
        state = self.encode(source, options)
        if self.uses_track(options):
            chunks = [self.track(chunk) for chunk in driving()]
            state = self.adapt(state, {name: torch.cat([c[name] for c in chunks], 1) for name in chunks[0]})
        for chunk in driving():
            frames, state = self.render(state, chunk)
            yield frames, state, chunk

    def animate(self, batch: Batch, options: MotionOptions | None = None, chunk: int = CHUNK) -> Tensor:
        """Animates a whole batch.

        Args:
            batch: ``source`` (B, S, 3, H, W), ``driving`` (B, T, 3, H, W) and the declared conditions.
            options: How motion is applied; ``absolute`` by default.
            chunk: Driving frames rendered at once; the result doesn't depend on it.

        Returns:
            Frames (B, T, 3, H, W) in [0, 1].
        """
        source = select(batch, "source")
        return torch.cat(list(self.stream(source, lambda: split_driving(batch, chunk), options)), dim=1)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Predicts (B, T, 3, H, W); the evaluator measures."""
        return self.animate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Predicts (B, T, 3, H, W); the evaluator measures."""
        return self.animate(batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Predicts (B, T, 3, H, W); the prediction writer stores."""
        return self.animate(batch)

    def configure_model(self) -> None:
        """Under mixed precision lays convolutions out with channels last, which is faster everywhere.

        In float32 the layout stays: another one sums in another order, and single steps would no longer equal the
        official code's.
        """
        if not str(self.trainer.precision).endswith("mixed"):
            return
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):  # not those over time as well
                layer.to(memory_format=torch.channels_last)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seeds the step's random numbers from (seed, step, rank), so that a resumed run draws the same ones.

        Raises:
            OptionError: The method can't take pictures of this size.
        """
        self._check_size(batch["source"])
        run_seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        generator = torch.Generator().manual_seed(run_seed)
        base = int(torch.randint(2**62, (), generator=generator))
        torch.manual_seed((base + 1_000_003 * self.trainer.global_step + self.trainer.global_rank) % 2**63)

    def inference_state(self) -> dict[str, Tensor]:
        """Tensors of the inference networks, named as in ``state_dict``."""
        prefixes = tuple(f"{name}." for name in self.inference_networks)
        return {name: tensor for name, tensor in self.state_dict().items() if name.startswith(prefixes)}

    def count_inference_parameters(self) -> int:
        """Number of values in the parameters of the inference networks; buffers don't count."""
        networks = (getattr(self, name) for name in self.inference_networks)
        return sum(count_parameters(network) for network in networks if network is not None)

    def check_options(self, options: MotionOptions) -> None:
        """Refuses motion options before anything of a clip is looked at.

        Raises:
            OptionError: The method doesn't know one, and which ones it does; or two don't go together.
        """
        known = self.motion_options
        wanted = {name for name in ("adapt_scale", "best_frame", "retarget", "denoise") if vars(options)[name]}
        if options.motion != "absolute":
            wanted.add(options.motion)
        if unknown := wanted - known:
            offer = f"it knows {_flags(known)}" if known else "it takes over the driver's poses as they are"
            raise OptionError(f"{type(self).__name__} doesn't know {_flags(unknown)}; {offer}")
        if options.motion == "absolute" and (options.adapt_scale or options.best_frame):
            raise OptionError("--adapt-scale and --best-frame change relative motion only; leave --motion absolute out")

    def attach_denoiser(self, path: str | Path) -> None:
        """Takes over a trained skeleton denoiser, for the motion option ``denoise``; see the methods that know one."""
        raise OptionError(f"{type(self).__name__} knows no skeleton denoiser; leave out `--denoiser`")

    def load_official(self, checkpoint: dict[str, Any]) -> None:
        """Loads a checkpoint in the official code's layout; raises ValueError where it doesn't fit."""
        raise TypeError(f"{type(self).__name__} knows no official checkpoints")

    @classmethod
    def from_official(cls, path: str | Path, **arguments: Any) -> Self:
        """Builds the method and loads a checkpoint file of the official code.

        Args:
            path: The official file (read without running any code in it) or a safetensors file of the same keys. Where
                the code saves each network by itself, the generator's; the others are looked for beside it.
            **arguments: Constructor arguments; the defaults are the published configuration.

        Returns:
            The method in eval mode.
        """
        module = cls(**arguments)
        with naming_file(path):
            files = cls.official_files
            module.load_official(read_networks(path, files) if files else read_foreign(path))
        return module.eval()

    @classmethod
    def from_weights(cls, path: str | Path) -> Self:
        """Loads a weights file of this method (safetensors with metadata, or a Lightning checkpoint) in eval mode."""
        return load_weights(path, cls)

    def _check_size(self, pictures: Tensor) -> None:
        height, width = pictures.shape[-2:]
        multiple = self.size_multiple
        if height % multiple or width % multiple:
            raise OptionError(
                f"{type(self).__name__} needs heights and widths that are multiples of {multiple}, not "
                f"{height} x {width}; set `data.size` (or `zoo animate --size`) accordingly"
            )


def _flags(options: Iterable[str]) -> str:
    """Names of motion options as they are written on the command line."""
    flags = (f"--{name.replace('_', '-')}" if name != "relative" else "--motion relative" for name in sorted(options))
    return ", ".join(flags)


def select(batch: Batch, role: Literal["source", "driving"]) -> Batch:
    """The tensors of a batch that belong to the source or to the driving clip."""
    keys = [key for key, value in batch.items() if key.startswith(role) and isinstance(value, Tensor)]
    if role == "driving" and "pose_window" in batch:
        keys.append("pose_window")
    return Batch(**{key: batch[key] for key in keys})  # type: ignore[literal-required, typeddict-item]


def split_driving(batch: Batch, chunk: int) -> Iterator[Batch]:
    """Cuts the driving tensors of a batch, each (B, T, ...), into chunks of at most ``chunk`` frames."""
    driving = select(batch, "driving")
    for start in range(0, batch["driving"].shape[1], chunk):
        yield Batch(**{key: value[:, start : start + chunk] for key, value in driving.items()})  # type: ignore[typeddict-item, index]


def count_parameters(network: nn.Module) -> int:
    """Number of values in the network's parameters; buffers don't count."""
    return sum(parameter.numel() for parameter in network.parameters())
