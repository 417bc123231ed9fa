from zipfile import ZipFile

import numpy as np
import pytest
from numpy.lib.format import write_array

from bench.runs.arrays import arrays

STORED = {
    "row": np.arange(5),
    "numbers": np.array([[1.5, np.nan], [np.inf, -0.0]], dtype=np.float32),
    "by_columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "words": np.array(["W_hh", "ü"]),
    "flags": np.array([True, False]),
    "none": np.empty((0, 3), dtype=np.int16),
    "one": np.array(3 + 4j),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_numpy_reads(tmp_path, save):
    save(tmp_path / "a.npz", **STORED)
    found = arrays(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as theirs:
        assert list(found) == theirs.files
        for name, values in found.items():
            assert values.dtype == theirs[name].dtype
            np.testing.assert_array_equal(values, theirs[name])
            assert values.flags.writeable
    assert list(arrays(tmp_path / "a.npz", ("words", "row", "absent"))) == ["row", "words"]


def test_of_another_version_too(tmp_path):
    with ZipFile(tmp_path / "a.npz", "w") as archive, archive.open("numbers.npy", "w") as file:
        write_array(file, STORED["numbers"], version=(2, 0))
    np.testing.assert_array_equal(arrays(tmp_path / "a.npz")["numbers"], STORED["numbers"])


@pytest.mark.parametrize("values", [np.array([{}], dtype=object), np.array([["a", {}]], dtype=object)])
def test_objects_are_not_read(tmp_path, values):
    np.savez(tmp_path / "a.npz", values=values)
    with pytest.raises(ValueError):  # noqa: PT011
        arrays(tmp_path / "a.npz")
