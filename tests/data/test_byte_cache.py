import torch

from zoo.data.cache import ByteCache


def block(size: int) -> torch.Tensor:
    return torch.zeros(size, dtype=torch.uint8)


def test_the_budget_holds_and_the_oldest_go_first():
    cache = ByteCache(100)
    for number in range(10):
        cache.put(number, block(30))
        assert cache.held <= 100
    assert [number for number in range(10) if cache.get(number) is not None] == [7, 8, 9]
    cache.get(7)
    cache.put("new", block(30))
    assert cache.get(7) is not None
    assert cache.get(8) is None


def test_larger_than_the_budget_is_not_kept():
    cache = ByteCache(100)
    cache.put("small", block(40))
    cache.put("large", block(101))
    assert cache.get("large") is None
    assert cache.get("small") is not None
    assert cache.held == 40


def test_the_same_key_counts_once():
    cache = ByteCache(100)
    for _ in range(5):
        cache.put("same", block(60))
    assert cache.held == 60
