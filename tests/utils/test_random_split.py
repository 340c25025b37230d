"""random_split beside torch's: the same indices, the same draws."""

from __future__ import annotations

import pytest
from both_sides import SIDES, Numbers, on_both

from npmlp.utils import data as ours


@pytest.mark.parametrize(
    "lengths", [[3, 7], [10], [0, 10], [0.3, 0.3, 0.4], [0.25] * 4, [0.5, 0.5], [1.0], [0.05, 0.95]]
)
@pytest.mark.parametrize("given", [False, True])
def test_random_split_is_torchs(lengths, given):
    def run(data, module):
        options = {"generator": module.Generator().manual_seed(42)} if given else {}
        parts = data.random_split(
            Numbers(23 if isinstance(lengths[0], float) else 10), lengths, **options
        )
        return [(list(part.indices), [part[i] for i in range(len(part))]) for part in parts]

    mine, reference = on_both(run)
    assert mine == reference


@pytest.mark.parametrize("lengths", [[3, 6], [0.5, 0.6], [-1, 11], [0.2, 0.2]])
def test_lengths_that_do_not_add_up_are_refused(lengths):
    with pytest.raises(ValueError, match="random_split"):
        ours.random_split(Numbers(10), lengths)


def test_a_split_without_samples_is_warned_of():
    for data, _ in SIDES:
        with pytest.warns(UserWarning, match="0|no samples"):
            parts = data.random_split(Numbers(1), [0.5, 0.5])
        assert [len(part) for part in parts] == [1, 0]


def test_the_indices_of_a_split_are_plain_integers():
    # so that they go into a JSON file as they are
    part = ours.random_split(Numbers(6), [2, 4])[1]
    assert isinstance(part.indices, list) and all(type(i) is int for i in part.indices)
