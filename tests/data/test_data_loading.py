from itertools import chain

import pytest
from torch.utils.data import Dataset

from zoo.data.loading import EvaluationSampler, ResumableLoader, TrainingSampler


class Numbers(Dataset):
    """Its items are the numbers that it is asked for."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> int:
        return number


def loader(workers: int = 0, length: int = 22, batch_size: int = 4) -> ResumableLoader:
    data = Numbers(length)
    return ResumableLoader(
        data, batch_size=batch_size, sampler=TrainingSampler(data, seed=3), num_workers=workers, drop_last=True,
        persistent_workers=workers > 0,
    )  # fmt: skip


def epoch(data: ResumableLoader, number: int) -> list[list[int]]:
    """In Lightning's order: first the iterator, then the sampler's epoch."""
    batches = iter(data)
    data.sampler.set_epoch(number)
    return [batch.tolist() for batch in batches]


def test_an_epoch_has_each_of_its_numbers_once():
    sampler = TrainingSampler(Numbers(10), seed=0)
    orders = []
    for number in range(3):
        sampler.set_epoch(number)
        orders.append([value - 10 * number for value in sampler])
        assert sorted(orders[-1]) == list(range(10))
    assert orders[0] != orders[1] != orders[2]
    assert list(TrainingSampler(Numbers(10), seed=1)) != orders[0]


@pytest.mark.parametrize("length", [9, 10, 11])
def test_training_shards_share_no_number(length):
    shards = [list(TrainingSampler(Numbers(length), seed=0, num_replicas=3, rank=rank)) for rank in range(3)]
    assert {len(shard) for shard in shards} == {3}
    assert len(set(chain(*shards))) == 9


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9])
def test_evaluation_shards_cover_each_number_once(length):
    shards = [list(EvaluationSampler(Numbers(length), num_replicas=3, rank=rank)) for rank in range(3)]
    assert len({len(shard) for shard in shards}) == 1
    numbers = list(chain(*shards))
    assert sorted(number for number in numbers if number < length) == list(range(length))
    assert len(set(numbers)) == len(numbers)
    assert len(numbers) - length < 3


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("taken", [0, 1, 3, 5])
def test_going_on_inside_an_epoch(workers, taken):
    whole = [epoch(loader(), number) for number in range(3)]
    first = loader(workers)
    assert epoch(first, 0) == whole[0]
    batches = iter(first)
    first.sampler.set_epoch(1)
    assert [next(batches).tolist() for _ in range(taken)] == whole[1][:taken]
    state = first.state_dict()  # workers are ahead by now
    assert state == ({"epoch": 1, "batches": taken} if taken else {"epoch": 0, "batches": 5})

    second = loader(workers)
    second.load_state_dict(state)
    assert epoch(second, 1) == whole[1][taken:]
    assert epoch(second, 2) == whole[2]
    assert len(second) == 5


def test_an_epoch_that_was_cut_short_is_not_taken_up_again():
    first = loader()
    batches = iter(first)
    next(batches)  # as with `limit_train_batches=1`: the trainer turns to the next epoch
    second = loader()
    second.load_state_dict(first.state_dict())
    assert epoch(second, 1) == epoch(loader(), 1)
