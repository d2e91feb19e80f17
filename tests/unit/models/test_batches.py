from itertools import islice

import torch

from harness.models.batches import TokenSequence, collate, data_order

CPU = torch.device("cpu")
LENGTHS = tuple((index * 37) % 101 + 5 for index in range(100))


def test_each_epoch_holds_each_example_once() -> None:
    per_epoch = 13
    batches = data_order(LENGTHS, 8, seed=3)
    epochs = [list(islice(batches, per_epoch)) for _ in range(3)]
    for epoch in epochs:
        assert sorted(index for batch in epoch for index in batch) == list(range(100))
        assert sorted(map(len, epoch)) == [4] + [8] * 12
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_order_follows_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = list(islice(data_order(LENGTHS, 8, seed=3), 40))
    torch.rand(1000)
    assert list(islice(data_order(LENGTHS, 8, seed=3), 40)) == first
    assert list(islice(data_order(LENGTHS, 8, seed=4), 40)) != first


def test_batches_by_length_pad_less_than_batches_at_random() -> None:
    def padding(batches: list[tuple[int, ...]]) -> int:
        return sum(max(LENGTHS[i] for i in b) - LENGTHS[i] for b in batches for i in b)

    by_length = list(islice(data_order(LENGTHS, 8, seed=0), 13))
    unsorted = [tuple(range(start, min(start + 8, 100))) for start in range(0, 100, 8)]
    assert padding(by_length) < padding(unsorted) / 2


def test_no_examples_give_no_batches() -> None:
    assert list(data_order((), 8, seed=0)) == []


def test_rows_predict_the_answer_and_nothing_else() -> None:
    sequences = [TokenSequence((1, 5, 6, 7, 2), 3), TokenSequence((1, 8, 2), 1)]
    batch = collate(sequences, pad=0, device=CPU)
    assert batch.ids.tolist() == [[1, 5, 6, 7, 2], [1, 8, 2, 0, 0]]
    assert batch.rows.tolist() == [
        [False, False, True, True, False],
        [True, True, False, False, False],
    ]
    assert batch.targets.tolist() == [7, 2, 8, 2]
    assert batch.tokens == 8


def test_a_first_token_that_is_answer_is_predicted_by_nothing() -> None:
    batch = collate([TokenSequence((8, 9, 2), 0)], pad=0, device=CPU)
    assert batch.targets.tolist() == [9, 2]
