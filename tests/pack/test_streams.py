"""The random numbers: right by the published vectors, and the same whoever else draws."""

import pytest
import torch
from scipy import stats

from bench.pack.streams import Stream, mixed, philox


# Salmon et al. 2011, known-answer file `kat_vectors` of Random123, philox4x32 with 10 rounds
@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_words(counter, key, answer):
    counter, key = ([torch.tensor([word]) for word in words] for words in (counter, key))
    assert tuple(map(int, philox(counter, key))) == answer
    assert tuple(map(int, mixed(*counter, *key))) == answer  # in torch's operators, as on a GPU


def test_numbers_do_not_depend_on_neighbours_or_on_updates_drawn_together():
    together = Stream([3, 5, 7], "train", updates=[10, 11]).uniform(4, 6)
    alone = Stream([5], "train", updates=[11]).uniform(4, 6)
    assert torch.equal(together[1, 1], alone[0, 0])
    assert torch.equal(Stream([5, 9], "init").uniform(6)[1], Stream(9, "init").uniform(6))


def test_seed_purpose_update_and_position_each_change_the_numbers():
    first = Stream(0, "train", updates=[0])
    others = [Stream(1, "train", [0]), Stream(0, "heldout", [0]), Stream(0, "train", [1])]
    number = first.uniform(8)
    assert all(not torch.equal(number, other.uniform(8)) for other in others)
    assert not torch.equal(number, first.uniform(8))


def test_both_precisions_get_the_same_numbers():
    single, double = (Stream(0, "train", dtype=dtype).uniform(1000) for dtype in (torch.float32, torch.float64))
    assert torch.equal(single.double(), double)


def test_distributions():
    uniform = Stream(0, "a").uniform(20000).numpy()
    assert stats.kstest(uniform, "uniform").pvalue > 0.01
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert stats.kstest(Stream(0, "b").normal(20000).numpy(), "norm").pvalue > 0.01
    counts = Stream(0, "c").integers(7, 20000).bincount(minlength=7).numpy()
    assert stats.chisquare(counts).pvalue > 0.01
