from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import LRSchedulerTypeUnion
from torch import Tensor

from zoo.base import AnimationModule
from zoo.batch import Batch
from zoo.errors import OptionError


@dataclass(frozen=True)
class Phase:
    """One optimiser's turn in a training step.

    Attributes:
        name: How the phase is logged: ``train/<name>/<term>``.
        trains: Attribute names of the networks that it updates.
        clip: Largest gradient norm, or None.
        steps: Optimiser steps taken with the same gradient.
    """

    name: str
    trains: tuple[str, ...]
    clip: float | None = None
    steps: int = 1


class AdversarialTraining(AnimationModule):
    """The training loop of generator and discriminator, written once.

    ``training_forward`` runs once per batch; then each phase, in order, gets gradients for its own networks only.
    A method sets ``phases`` in its constructor, returns from ``configure_optimizers`` one optimiser per phase, in
    the same order, and names its weighted loss terms in ``losses``.
    """

    phases: tuple[Phase, ...]

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def losses(self, phase: str, batch: Batch, rendered: dict[str, Any]) -> dict[str, Tensor]:
        """Weighted, named loss terms of a phase; an empty dict skips the phase for this batch."""
        raise TypeError(f"{type(self).__name__} can't be trained: it defines no losses")

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Runs the forward pass once and lets every phase play."""
        rendered = self.training_forward(batch)
        for phase, optimizer in zip(self.phases, self._phase_optimizers(), strict=True):
            self.play(phase, optimizer, batch, rendered)

    def play(self, phase: Phase, optimizer: LightningOptimizer, batch: Batch, rendered: dict[str, Any]) -> None:
        """One phase: losses, gradients of its networks alone, clipping, optimiser steps, logs."""
        with self._only(phase.trains):
            terms = self.losses(phase.name, batch, rendered)
            if not terms:
                return
            total = torch.stack(list(terms.values())).sum()
            optimizer.zero_grad()
            self.manual_backward(total)
            if phase.clip is not None:
                self.clip_gradients(optimizer.optimizer, gradient_clip_val=phase.clip, gradient_clip_algorithm="norm")
            for _ in range(phase.steps):
                optimizer.step()
                self._count_no_further_step()
        size = batch["source"].shape[0]
        self.log(f"{phase.name}", total.detach(), prog_bar=True, logger=False, batch_size=size)
        self.log_dict({f"train/{phase.name}/{name}": term.detach() for name, term in terms.items()}, batch_size=size)

    def on_train_start(self) -> None:
        """Steps the schedulers up to the epoch that a checkpoint is resumed in; it may be from that epoch's eve.

        Raises:
            OptionError: Gradients are scaled, which neither clipping nor a second step with the same ones allows for.
        """
        scaled = self.trainer.precision == "16-mixed"
        if scaled and any(phase.steps > 1 or phase.clip is not None for phase in self.phases):
            raise OptionError(
                f"{type(self).__name__} can't be trained in 16-mixed, which scales gradients and unscales them at "
                "every optimiser step; set `trainer.precision: bf16-mixed` or 32-true"
            )
        self._step_schedulers()

    def on_train_epoch_start(self) -> None:
        """Steps the schedulers once per epoch, as every official code does."""
        self._step_schedulers()

    def _step_schedulers(self) -> None:
        for scheduler in self._schedulers():
            while scheduler.last_epoch < self.current_epoch:
                scheduler.step()  # type: ignore[call-arg]

    def _schedulers(self) -> list[LRSchedulerTypeUnion]:
        schedulers = self.lr_schedulers() or []
        return schedulers if isinstance(schedulers, list) else [schedulers]

    def _phase_optimizers(self) -> list[LightningOptimizer]:
        optimizers = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    def _count_no_further_step(self) -> None:
        """Lets only the first optimiser step of a batch advance ``trainer.global_step``.

        Lightning counts every step of every optimiser and re-arms these hooks before each batch; left alone,
        schedules, logs and checkpoints would run at twice the speed of the batches.
        """
        for optimizer in self._phase_optimizers():
            optimizer._on_before_step = _do_nothing
            optimizer._on_after_step = _do_nothing

    @contextmanager
    def _only(self, trains: tuple[str, ...]) -> Iterator[None]:
        """Turns gradients off for the networks of the other phases; frozen parameters stay frozen."""
        others = {name for phase in self.phases for name in phase.trains} - set(trains)
        paused = [p for name in others for p in self.get_submodule(name).parameters() if p.requires_grad]
        for parameter in paused:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in paused:
                parameter.requires_grad_(True)


def _do_nothing() -> None:
    pass
