"""FashionMNIST beside torchvision's: samples, batches, reprs, and where it looks."""

from __future__ import annotations

import made_data
import numpy as np
import pytest
import torch
from PIL import Image

import npmlp
from npmlp.errors import DataError, OutsideSubsetError
from npmlp.utils.data import Batch, DataLoader, Subset
from npmlp.vision import transforms as T
from npmlp.vision.datasets import FashionMNIST
from npmlp.vision.images import load_image_data
from reference_torch.torchvision_cpu import import_torchvision

torchvision = import_torchvision()
TT = torchvision.transforms


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A torchvision root with a small made-up data set, which verify=False lets in."""
    folder = tmp_path_factory.mktemp("root")
    made_data.write(folder / "FashionMNIST" / "raw", made_data.contents(n_train=150, n_test=40))
    return folder


def both(root, make_transform=None, target_transform=None, train=True):
    """The data set in npmlp and in torchvision, each with transforms of its own module."""
    options = {"train": train, "target_transform": target_transform}
    mine = FashionMNIST(root, verify=False, **options)
    reference = torchvision.datasets.FashionMNIST(root, **options)
    if make_transform:
        mine.transform, reference.transform = make_transform(T), make_transform(TT)
    return mine, reference


def seed(value):
    npmlp.manual_seed(value)
    torch.manual_seed(value)


def standard(module):
    return module.Compose([module.ToTensor(), module.Normalize((0.2860,), (0.3530,))])


def augmented(module):
    return module.Compose(
        [
            module.RandomHorizontalFlip(),
            module.RandomAffine(0, (0.1, 0.1), (0.9, 1.1)),
            module.ToTensor(),
            module.Normalize((0.2860,), (0.3530,)),
        ]
    )


def with_lambda(module):
    return module.Compose([module.RandomHorizontalFlip(), module.ToTensor(), module.Lambda(twice)])


def twice(x):
    return x * 2


@pytest.mark.parametrize("train", [True, False])
def test_attributes_and_samples_are_torchvisions(root, train):
    mine, reference = both(root, train=train)
    assert len(mine) == len(reference) == (150 if train else 40)
    assert mine.classes == reference.classes and mine.class_to_idx == reference.class_to_idx
    for a, b in ((mine.data, reference.data), (mine.targets, reference.targets)):
        assert str(a.dtype) == str(b.dtype) and a.shape == tuple(b.shape)
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    for i in (0, 17, -1):
        (image, target), (their_image, their_target) = mine[i], reference[i]
        assert isinstance(image, Image.Image) and image.mode == "L"
        assert image.tobytes() == their_image.tobytes()
        assert type(target) is int and target == their_target
    with pytest.raises(IndexError):
        mine[len(mine)]


@pytest.mark.parametrize("make", [None, standard, augmented, lambda m: m.ToTensor()])
@pytest.mark.parametrize("target_transform", [None, twice])
def test_reprs_are_torchvisions(root, make, target_transform):
    options = {"train": False, "target_transform": target_transform}
    mine = FashionMNIST(str(root), verify=False, transform=make and make(T), **options)
    reference = torchvision.datasets.FashionMNIST(str(root), transform=make and make(TT), **options)
    assert repr(mine) == repr(reference)


@pytest.mark.parametrize("make", [standard, augmented, with_lambda, lambda m: m.ToTensor()])
@pytest.mark.parametrize("target_transform", [None, twice])
@pytest.mark.parametrize("batch_size", [32, 1, 150])
def test_epochs_through_the_loader_have_torchs_bits(root, make, target_transform, batch_size):
    mine, reference = both(root, make, target_transform)
    seed(12)
    options = {"batch_size": batch_size, "shuffle": True}
    loader, their_loader = (
        DataLoader(mine, **options),
        torch.utils.data.DataLoader(reference, **options),
    )
    for _ in range(2):
        for (x, y), (their_x, their_y) in zip(loader, their_loader, strict=True):
            for a, b in ((x, their_x), (y, their_y)):
                assert str(a.dtype) == str(b.dtype) and a.shape == tuple(b.shape)
                np.testing.assert_array_equal(a.numpy(), b.numpy())
    np.testing.assert_array_equal(npmlp.get_rng_state().numpy(), torch.get_rng_state().numpy())


def test_known_transforms_are_applied_to_whole_batches(root):
    mine, _ = both(root, augmented)
    assert isinstance(mine.__getitems__([3, 1, 2]), Batch)
    mine.transform = with_lambda(T)
    assert isinstance(mine.__getitems__([3, 1, 2]), list)


@pytest.mark.parametrize("make", [standard, augmented, with_lambda])
@pytest.mark.parametrize("target_transform", [None, twice])
def test_getitems_gives_the_samples_that_getitem_gives(root, make, target_transform):
    mine, _ = both(root, make, target_transform)
    npmlp.manual_seed(6)
    one_by_one = [mine[i] for i in [5, 0, -2, 5]]
    npmlp.manual_seed(6)
    at_once = list(mine.__getitems__([5, 0, -2, 5]))
    assert len(at_once) == 4
    for (x, y), (a, b) in zip(at_once, one_by_one, strict=True):
        np.testing.assert_array_equal(x.numpy(), a.numpy())
        assert x.shape == a.shape and type(y) is type(b) is int and y == b


def test_a_custom_collate_fn_gets_the_list_of_samples(root):
    mine, reference = both(root, augmented)

    def collate(samples):
        assert isinstance(samples, list)
        return [(x.shape, type(y), y) for x, y in samples]

    seed(1)
    loader = DataLoader(mine, batch_size=20, shuffle=True, collate_fn=collate)
    theirs = torch.utils.data.DataLoader(reference, batch_size=20, shuffle=True, collate_fn=collate)
    assert list(loader) == list(theirs)


def test_a_subset_of_it_is_gathered_at_once_too(root):
    mine, reference = both(root, augmented)
    indices = [9, 3, 77, 12, 149, 3]
    subset, their_subset = Subset(mine, indices), torch.utils.data.Subset(reference, indices)
    assert isinstance(subset.__getitems__([0, 5]), Batch)
    seed(9)
    loader, theirs = DataLoader(subset, 4), torch.utils.data.DataLoader(their_subset, 4)
    for (x, y), (a, b) in zip(loader, theirs, strict=True):
        np.testing.assert_array_equal(x.numpy(), a.numpy())
        np.testing.assert_array_equal(y.numpy(), b.numpy())


def test_a_subclass_with_its_own_getitem_is_asked_for_single_samples(root):
    class Inverted(FashionMNIST):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return 1 - x, 9 - y

    mine = Inverted(root, transform=T.ToTensor(), verify=False)
    x, y = next(iter(DataLoader(mine, batch_size=8)))
    np.testing.assert_array_equal(x.numpy()[:, 0], 1 - mine.data.numpy()[:8] / np.float32(255))
    np.testing.assert_array_equal(y.numpy(), 9 - mine.targets.numpy()[:8])


def test_data_that_the_user_replaced_is_what_is_served(root):
    mine, _ = both(root, standard)
    mine.data, mine.targets = mine.data[:7], mine.targets[:7]
    assert len(mine) == 7 and sum(len(y) for _, y in DataLoader(mine, batch_size=4)) == 7


def test_a_batch_is_a_copy_of_the_data(root):
    mine, _ = both(root, lambda m: m.ToTensor())
    before = mine.targets.numpy().copy()
    x, y = next(iter(DataLoader(mine, batch_size=150)))
    y.numpy()[:] = 0
    x.numpy()[:] = 0
    np.testing.assert_array_equal(mine.targets.numpy(), before)
    assert mine.data.numpy().any()


@pytest.mark.parametrize("transform", [None, T.RandomHorizontalFlip()])
def test_images_without_to_tensor_say_what_is_missing(root, transform):
    mine, _ = both(root)
    mine.transform = transform
    with pytest.raises(TypeError, match=r"put ToTensor\(\) into the transform"):
        next(iter(DataLoader(mine, batch_size=8)))


def test_a_made_up_set_is_refused_unless_verify_is_false(root):
    with pytest.raises(DataError, match="is not Fashion-MNIST's"):
        FashionMNIST(root)
    with pytest.raises(DataError, match="is not Fashion-MNIST's"):
        FashionMNIST(root, download=True)  # damaged files are not silently replaced
    assert FashionMNIST(root, train=False, verify=False).data.shape == (40, 28, 28)


def test_a_root_without_data_is_refused_without_download(tmp_path):
    with pytest.raises(DataError, match=r"root: there is no folder .*; .*download=True"):
        FashionMNIST(tmp_path / "none")


def test_a_root_without_data_takes_what_the_machine_has(tmp_path):
    load_image_data()  # fetched where this machine has none
    mine = FashionMNIST(tmp_path / "none", train=False, download=True)
    assert len(mine) == 10000 and not (tmp_path / "none").exists()


def test_the_real_test_images_have_torchs_bits_in_every_batch():
    mine = FashionMNIST(None, train=False, transform=standard(T))
    reference = torch.from_numpy(mine.data.numpy()).float().div(255).sub(0.2860).div(0.3530)
    batches = list(DataLoader(mine, batch_size=1000))
    np.testing.assert_array_equal(
        np.concatenate([x.numpy()[:, 0] for x, _ in batches]), reference.numpy()
    )
    np.testing.assert_array_equal(
        np.concatenate([y.numpy() for _, y in batches]), mine.targets.numpy()
    )


def test_what_torchvision_has_and_npmlp_has_not_is_named():
    with pytest.raises(
        OutsideSubsetError, match=r"datasets\.CIFAR10: npmlp does not have it.*FashionMNIST"
    ):
        npmlp.vision.datasets.CIFAR10()
    with pytest.raises(
        OutsideSubsetError, match=r"transforms\.ColorJitter: npmlp does not have it"
    ):
        T.ColorJitter()
    with pytest.raises(AttributeError, match="no attribute 'functional'"):
        T.functional  # noqa: B018
