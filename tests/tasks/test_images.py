"""Real images: the reader of IDX files, what is trained on and what is judged by, and how a mistake is told."""

import gzip
import shutil
import struct

import numpy as np
import pytest
import torch

from bench.jobs.build import ConfigError
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.pack.streams import Stream
from tasks.idx import NotIDX, read_idx
from tasks.images import permutation
from tasks.mnist import FILES
from tests.conftest import idx_bytes, write_mnist


@pytest.fixture
def array():
    return np.random.default_rng(1).integers(0, 256, (5, 4, 3)).astype(np.uint8)


@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_file_is_read_plain_or_gzipped(tmp_path, array, packed):
    data = idx_bytes(array)
    (tmp_path / "file").write_bytes(gzip.compress(data) if packed else data)
    assert np.array_equal(read_idx(tmp_path / "file").numpy(), array)


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (lambda data: b"PNG" + data, "is no IDX file"),
        (lambda data: b"", "is no IDX file"),
        (lambda data: data[:-7], "holds 53 bytes where 5 x 4 x 3 were announced"),
        (lambda data: data + b"x", "holds 61 bytes where 5 x 4 x 3 were announced"),
        (lambda data: data[:9], "is truncated in its head"),
        (lambda data: data[:2] + b"\x0d" + data[3:], "holds type 0x0d; read are unsigned bytes"),
        (lambda data: gzip.compress(data)[:-12], "is a torn gzip file"),
    ],
)
def test_what_is_no_whole_idx_file_is_told(tmp_path, array, spoilt, message):
    (tmp_path / "file").write_bytes(spoilt(idx_bytes(array)))
    with pytest.raises(NotIDX, match=message):
        read_idx(tmp_path / "file")


def refused(folder):
    with pytest.raises(ConfigError) as error:
        example("task/mnist", path=str(folder))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_file_is_named_with_what_to_put_where(tmp_path):
    message = refused(tmp_path / "nowhere")
    assert message.startswith(f"task.path={tmp_path}/nowhere: {FILES[0]} (or {FILES[0]}.gz) is not there; put the four")
    assert all(name in message for name in FILES)
    write_mnist(tmp_path)
    (tmp_path / FILES[3]).unlink()
    assert f"{FILES[3]} (or" in refused(tmp_path)


def test_a_torn_file_and_unequal_counts_are_told(tmp_path):
    write_mnist(tmp_path)
    whole = (tmp_path / FILES[2]).read_bytes()
    (tmp_path / FILES[2]).write_bytes(whole[:-1])
    assert f"{FILES[2]} holds 119 bytes where 10 x 4 x 3 were announced" in refused(tmp_path)
    (tmp_path / FILES[2]).write_bytes(whole)
    (tmp_path / FILES[1]).write_bytes(idx_bytes(np.zeros(47)))
    assert f"{FILES[0]} and its labels do not match ((48, 4, 3) images, (47,) labels)" in refused(tmp_path)
    (tmp_path / FILES[1]).write_bytes(struct.pack(">BBBBI", 0, 0, 9, 1, 0))
    assert "holds type 0x09" in refused(tmp_path)


def test_gzipped_files_serve_as_well_and_make_the_same_run(tmp_path):
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    for folder in (plain, packed):
        folder.mkdir()
        write_mnist(folder)
    for name in FILES:
        with gzip.open(packed / f"{name}.gz", "wb") as target, (packed / name).open("rb") as source:
            shutil.copyfileobj(source, target)
        (packed / name).unlink()
    ids = [checked_job(composed("task=mnist", f"task.path={folder}")).replica.run_id for folder in (plain, packed)]
    assert ids[0] == ids[1]


def test_other_images_at_the_same_place_are_another_question(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        write_mnist(folder, train=48 if folder == one else 60)
    ids = [checked_job(composed("task=mnist", f"task.path={folder}")).replica.run_id for folder in (one, other)]
    assert ids[0] != ids[1]


def test_mnist_keeps_a_twelfth_to_judge_by_and_the_test_files_for_the_end():
    task = example("task/mnist")
    assert [len(part.labels) for part in task.split[:3]] == [44, 4, 10]
    assert len(task.collection("heldout").targets) == 4
    assert len(task.collection("final").targets) == 10


@pytest.mark.parametrize("name", ["digits", "mnist"])
@pytest.mark.parametrize("variant", ["pixels", "permuted", "rows"])
def test_images_are_shown_row_by_row_or_in_the_one_fixed_order(name, variant):
    task = example(f"task/{name}", variant=variant)
    images, labels = task.split.final.pixels.double() / task.split.final.white, task.split.final.labels
    shown = task.collection("final")
    expected = {
        "pixels": images.flatten(1)[..., None],
        "permuted": images.flatten(1)[:, permutation(images[0].numel())][..., None],
        "rows": images,
    }
    assert torch.equal(shown.inputs, expected[variant])
    assert torch.equal(shown.targets[:, 0], labels)
    assert shown.inputs.max() <= 1
    assert torch.equal(task.as_images(shown.inputs), images)
    assert task.image_shape == images.shape[1:]
    varying = (task.sample(Stream(0, "train"), 2000).inputs.std(0) > 0).any(-1)
    assert task.min_lag == task.mean_lag == task.steps - 1 - int(varying.nonzero()[0])


def test_the_fixed_order_is_a_permutation_and_will_stay_what_it_is():
    order = permutation(64)
    assert sorted(order.tolist()) == list(range(64))
    assert order[:8].tolist() == [60, 16, 46, 0, 48, 35, 14, 51]


def test_digits_are_those_of_scikit_learn_in_their_order():
    task = example("task/digits", variant="rows")
    assert (task.steps, task.inputs, task.outputs) == (8, 8, 10)
    assert [len(part.labels) for part in task.split[:3]] == [1257, 180, 360]
    first = task.split.train
    assert first.labels[:10].tolist() == list(range(10))
    assert first.pixels[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]  # the docstring's zero
    assert task.split.final.labels[-5:].tolist() == [9, 0, 8, 9, 8]


def test_nothing_that_is_judged_by_is_trained_on():
    split = example("task/digits").split
    shown = {image.numpy().tobytes() for image in split.train.pixels}
    for part in (split.heldout, split.final):
        assert not {image.numpy().tobytes() for image in part.pixels} & shown
