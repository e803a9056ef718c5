"""``zoo fit | validate | test | predict``: stock LightningCLI with the zoo's methods, data and callbacks."""

import logging
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from zoo.adversarial import AdversarialTraining
from zoo.base import AnimationModule
from zoo.data import VideoDataModule
from zoo.errors import FileError, OptionError
from zoo.evaluator import Evaluator, PredictionWriter
from zoo.loading import no_such_method
from zoo.methods import by_class_name
from zoo.weights import WeightsError, save_weights
from zoo.weights.checkpoint import method_of

LoggerName = Literal["csv", "tensorboard", "wandb"]

LAST = "checkpoints/last*.ckpt"
"""A run's newest checkpoint, in its folder."""

_BESIDE_THE_POINT = (
    "LightningCLI's args parameter",  # we are its command line
    ".*LeafSpec.*is deprecated",  # between Lightning and torch
    "Using ModelCheckpoint with manual optimization",  # checkpoints hold what a finished step left, and resume exactly
    "The dirpath has changed",  # of a test, whose folder isn't the training's
)
"""Beginnings of warnings that whoever runs the command line can't do anything about."""


def run(arguments: Sequence[str]) -> None:
    """Runs one of Lightning's commands with the zoo's parts."""
    check_method(arguments)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)
    for message in _BESIDE_THE_POINT:
        warnings.filterwarnings("ignore", message=message)
    AnimationCLI(
        AnimationModule,
        VideoDataModule,
        subclass_mode_model=True,
        seed_everything_default=0,
        auto_configure_optimizers=False,  # methods bring their own
        trainer_defaults={"default_root_dir": "runs", "callbacks": [ProgressBar()]},
        args=list(arguments),
        parser_kwargs={"prog": "zoo"},
        save_config_kwargs={"overwrite": True},
    )


class AnimationCLI(LightningCLI):
    """LightningCLI that knows where runs go, which conditions a method needs, and what ``--ckpt_path last`` means."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the evaluator, checkpoints and the choice of logger."""
        parser.add_argument(
            "--logger", type=LoggerName, default="csv", help="where scalars and pictures go besides CSV"
        )
        parser.add_lightning_class_args(Evaluator, "evaluator")
        parser.add_lightning_class_args(ResumableCheckpoint, "checkpoint")
        parser.set_defaults(
            {"checkpoint.save_last": True, "checkpoint.every_n_train_steps": 500, "checkpoint.save_top_k": 0}
        )
        parser.add_lightning_class_args(PredictionWriter, "writer")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.link_arguments("model", "data.conditions", compute_fn=_conditions, apply_on="instantiate")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Checkpoints are read without unpickling objects, unless somebody wants that; the evaluator prints results."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.set_defaults({"weights_only": True})
        if subcommand in ("validate", "test"):
            parser.set_defaults({"verbose": False})
        if subcommand == "predict":
            parser.set_defaults({"return_predictions": False})  # they are written as they come, and not kept
        return parser

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Fills in what depends on the method: run folder, loggers, and the strategy that alternating phases need."""
        config = self._get(self.config_init, "trainer", default={})
        if config["logger"] is None:
            choice = self._get(self.config_init, "logger")
            kwargs["logger"] = make_loggers(choice, config["default_root_dir"], type(self.model).__name__)
        alternates = isinstance(self.model, AdversarialTraining)
        if alternates and config["strategy"] in ("auto", "ddp") and _several_devices(config):
            kwargs["strategy"] = "ddp_find_unused_parameters_true"
        return super().instantiate_trainer(**kwargs)

    def _instantiate_trainer(self, config: Any, callbacks: list[Callback]) -> Trainer:
        """Leaves out the callbacks whose business the trainer was asked not to do; Lightning refuses both together."""
        if config.get("enable_checkpointing") is False:
            callbacks = [callback for callback in callbacks if not isinstance(callback, ModelCheckpoint)]
        if config.get("enable_progress_bar") is False:
            self.trainer_defaults = self.trainer_defaults | {"callbacks": []}
        return super()._instantiate_trainer(config, callbacks)

    def _parse_ckpt_path(self) -> None:
        """Resolves ``last`` to the newest run of the chosen method, and takes over the checkpoint's own arguments.

        A checkpoint that wasn't written by this command line doesn't name its class; the configuration does then.
        """
        config = self.config[self.config.subcommand]
        if config.get("ckpt_path") == "last":
            runs = Path(config.trainer.default_root_dir) / class_name(config.model.class_path)
            config.ckpt_path = str(latest_checkpoint(runs))
            if self.config.subcommand == "fit":
                check_newest(runs, config.ckpt_path)
        if not config.get("ckpt_path") and self.config.subcommand != "fit":
            remedy = "add `--ckpt_path last`, or a checkpoint's path"
            raise OptionError(f"{self.config.subcommand} needs a trained method; {remedy}")
        if Path(config.get("ckpt_path") or "").suffix == ".safetensors":
            raise WeightsError(config.ckpt_path, "is for `zoo animate`", "give the run's checkpoints/last.ckpt")
        if config.get("ckpt_path") and (trained := method_of(config.ckpt_path)):
            if config.get("model"):
                check_same_method(config.ckpt_path, class_name(trained), class_name(config.model.class_path))
            super()._parse_ckpt_path()

    def before_instantiate_classes(self) -> None:
        """Says so where options of another method's recipe were dropped."""
        config = self.config[self.config.subcommand]
        if config.get("model") and config.get("config"):
            note_dropped_options([str(path) for path in config.config], class_name(config.model.class_path))

    def after_fit(self) -> None:
        """Writes the weights that `zoo animate` takes."""
        folder = self.trainer.log_dir  # a broadcast: every process has to ask
        if self.trainer.is_global_zero and folder is not None:
            path = save_weights(
                self.model,
                Path(folder) / "weights.safetensors",
                data=self.datamodule.name,
                fit=self.datamodule.fit,
                surfaces=self.datamodule.surfaces,
                steps=str(self.trainer.global_step),
                size="x".join(map(str, self.datamodule.size)),
                clips="x".join(map(str, self.datamodule.clip_size or ())),
            )
            print(f"weights for `zoo animate --weights`: {path}")


def check_method(arguments: Sequence[str]) -> None:
    """Imports the methods, so that `--model FirstOrderMotionModel` is found by its class name, and checks such a name.

    Raises:
        OptionError: No method has that name; offers the nearest.
    """
    known = by_class_name()
    given = [value for option, value in pairwise(arguments) if option == "--model"]
    given += [text.removeprefix("--model=") for text in arguments if text.startswith("--model=")]
    for name in given:
        if name.isidentifier() and name not in known:
            raise no_such_method(name, known)


def note_dropped_options(recipes: Sequence[str], chosen: str) -> None:
    """Says so where a recipe is of another of the zoo's methods than the chosen class, which knows other options.

    Args:
        recipes: Configuration files; what isn't one is passed over.
        chosen: Name of the class.
    """
    known = by_class_name()
    if chosen not in known:
        return  # a class from outside may well take what the recipe says
    for path in recipes:
        content = yaml.safe_load(Path(path).read_text("utf-8")) if Path(path).is_file() else None
        model = content.get("model") if isinstance(content, dict) else None
        named = class_name((model.get("class_path") if isinstance(model, dict) else model) or "")
        if named in known and not issubclass(known[chosen], known[named]):
            rank_zero_info(f"note: {path} is a recipe of {named}; its options that {chosen} doesn't know are dropped")


def class_name(path: str) -> str:
    """The last part of a dotted path."""
    return path.rpartition(".")[2]


class ProgressBar(RichProgressBar):
    """Lightning's, which counts epochs only where their number is limited: it says "Epoch 3/-2" where steps are."""

    def _get_train_description(self, current_epoch: int) -> str:
        description = super()._get_train_description(current_epoch)
        return description.replace("/-2", "") if self.trainer.max_epochs == -1 else description


class ResumableCheckpoint(ModelCheckpoint):
    """Lightning's checkpoints, with a ``last.ckpt`` also at the end of every epoch and at the last step of training.

    Behind a training batch, because from there Lightning resumes exactly, inside an epoch and at its end. Once training
    is over it counts an epoch that ``max_steps`` cut short as completed.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves behind the batch if it was the last of the epoch or of the training."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        last_step = trainer.should_stop or trainer.global_step == trainer.max_steps
        if (last_step or trainer.is_last_batch) and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))


def fastest_precision() -> Literal["bf16-mixed", "32-true"]:
    """Mixed precision where the processor or the graphics card computes in bfloat16, else single precision.

    On a processor without such instructions bfloat16 is emulated, and slower than float32.
    """
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"


def make_loggers(choice: LoggerName, root: str, name: str) -> list[Logger]:
    """The CSV logger, which owns the run's folder ``root/name/version_N``, and the chosen one beside it."""
    csv = CSVLogger(root, name=name, flush_logs_every_n_steps=1)  # what was logged survives a kill
    if choice == "tensorboard":
        return [csv, TensorBoardLogger(root, name=name, version=f"version_{csv.version}")]
    if choice == "wandb":
        Path(csv.log_dir).mkdir(parents=True, exist_ok=True)
        return [csv, WandbLogger(project="animation-zoo", name=f"{name}-{csv.version}", save_dir=csv.log_dir)]
    return [csv]


def check_same_method(checkpoint: str, trained: str, configured: str) -> None:
    """Complains about a checkpoint of one of the zoo's methods under the configuration of another.

    Raises:
        WeightsError: Neither class derives from the other.
    """
    known = by_class_name()
    if not {trained, configured} <= known.keys():
        return  # a class from outside may well derive from what is configured
    one, other = known[trained], known[configured]
    if not issubclass(one, other) and not issubclass(other, one):
        remedy = "give a checkpoint of that method, or the configuration that this one was trained by"
        raise WeightsError(checkpoint, f"is of {trained}, but {configured} is configured", remedy)


def check_newest(folder: Path, checkpoint: str) -> None:
    """Complains where the newest training below a method's run folder that began anew has left no checkpoint.

    Raises:
        FileError: To go on from another run's would not be what was asked.
    """
    for config in sorted(folder.glob("*/config.yaml"), key=lambda path: path.stat().st_mtime, reverse=True):
        if any(config.parent.glob(LAST)):
            return
        if _began_anew(config):
            raise FileError(
                config.parent,
                "is the newest run, but has no checkpoint to go on from",
                f"leave out --ckpt_path to begin again, or go on from an earlier run: --ckpt_path {checkpoint}",
            )


def _began_anew(config: Path) -> bool:
    """Whether a run's configuration is of `zoo fit` without a checkpoint; what can't be read isn't."""
    try:
        options = yaml.safe_load(config.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    if not isinstance(options, dict) or {"verbose", "return_predictions"} & options.keys():
        return False  # of a test or prediction: only these take such options
    return not options.get("ckpt_path")


def latest_checkpoint(folder: Path) -> Path:
    """The most recently written ``last.ckpt`` below a method's run folder.

    Raises:
        FileError: There is none.
    """
    found = sorted(folder.glob(f"*/{LAST}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileError(
            folder, "holds no run with a checkpoint", "run `zoo fit` first, or name a file with --ckpt_path"
        )
    return found[-1]


def _conditions(model: LightningModule) -> tuple[str, ...]:
    return model.training_conditions if isinstance(model, AnimationModule) else ()


def _several_devices(config: Any) -> bool:
    if config["num_nodes"] > 1:
        return True
    devices = config["devices"]
    if devices in ("auto", -1, "-1"):
        return config["accelerator"] in ("auto", "gpu", "cuda") and torch.cuda.device_count() > 1
    return int(devices) > 1 if isinstance(devices, int) or str(devices).isdigit() else len(devices) > 1


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()
