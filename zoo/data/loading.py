from collections.abc import Iterator
from typing import Any, TypedDict

import numpy as np
from torch.utils.data import DataLoader, Dataset, DistributedSampler


class TrainingSampler(DistributedSampler[int]):
    """The running numbers of one process's training samples, in an order that (seed, epoch) alone decide.

    Epoch e has the numbers ``e * len(dataset) ... (e + 1) * len(dataset) - 1``, shuffled; process r of R takes every
    R-th of them, starting with the r-th. A remainder that would give some processes one more is left out.

    Args:
        dataset: Something whose length is an epoch and whose items are asked for by running number.
        seed: Decides the order.
        num_replicas: How many processes train together.
        rank: Which of them this is.
    """

    def __init__(self, dataset: Dataset[Any], seed: int, num_replicas: int = 1, rank: int = 0) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle=True, seed=seed, drop_last=True)
        self.first = 0  # how many of this process's numbers the next iteration leaves out, because they were used

    def __iter__(self) -> Iterator[int]:
        length = len(self.dataset)  # type: ignore[arg-type]
        order = np.random.default_rng((self.seed, self.epoch)).permutation(length)[: self.total_size]
        numbers = self.epoch * length + order[self.rank :: self.num_replicas]
        return iter(numbers[self.first :].tolist())


class EvaluationSampler(DistributedSampler[int]):
    """One process's share of the evaluation items, the same length for every process.

    Numbers from ``len(dataset)`` on are copies that only fill up the shares: the data set wraps them around and marks
    them as not valid, so that each item counts once.

    Args:
        dataset: Something with a length.
        num_replicas: How many processes evaluate together.
        rank: Which of them this is.
    """

    def __init__(self, dataset: Dataset[Any], num_replicas: int = 1, rank: int = 0) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle=False)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, self.total_size, self.num_replicas))


class LoaderState(TypedDict):
    """Where training stands: the epoch, and how many of its batches were handed out."""

    epoch: int
    batches: int


class ResumableLoader(DataLoader[Any]):
    """A training loader that goes on inside an epoch exactly where a checkpoint was written.

    Lightning stores the state of a loader that has ``state_dict`` and ``load_state_dict``. Batches count when they are
    handed to the trainer, not when a worker prepares them.
    """

    _state: LoaderState = LoaderState(epoch=0, batches=0)

    def state_dict(self) -> LoaderState:
        """The epoch and the number of its batches that were handed out."""
        return self._state

    def load_state_dict(self, state_dict: LoaderState) -> None:
        """Goes on after the batches that were handed out when ``state_dict`` was taken."""
        self._state = state_dict

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # A generator, so that nothing happens before the first batch is asked for: Lightning makes the iterator first
        # and tells the sampler its epoch afterwards.
        sampler = self.sampler
        if not isinstance(sampler, TrainingSampler):  # `overfit_batches` brings its own: the same batches every epoch
            yield from super().__iter__()
            return
        # A state of another epoch is one that was completed (or ended by `limit_train_batches`).
        done = self._state["batches"] if self._state["epoch"] == sampler.epoch else 0
        sampler.first = done * (self.batch_size or 1)
        for batches, batch in enumerate(super().__iter__(), start=done + 1):
            self._state = LoaderState(epoch=sampler.epoch, batches=batches)
            yield batch
