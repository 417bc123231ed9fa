"""Sequential MNIST: handwritten digits of 28 x 28 pixels, shown pixel by pixel, from files that the user has.

Source: Le, Jaitly & Hinton 2015, section 4.2 (arXiv:1504.00941); the data: LeCun, Bottou, Bengio & Haffner 1998,
"Gradient-based learning applied to document recognition".
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from tasks.idx import NotIDX, read_idx
from tasks.images import Images, ImageSequences, Split

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
WHITE = 255.0
HELDOUT_SHARE = 12  # one training image in so many, the last ones, judges while training: 5000 of 60 000


@dataclass(frozen=True)
class MNIST(ImageSequences):
    """Which of ten digits is it? 784 steps of 1 pixel, or 28 steps of a row.

    The last twelfth of the training images (5000 of 60 000) judges while training, the test images give the final
    number. Any other data in files of these names (Fashion-MNIST, say) will do too; what the files hold, not where
    they lie, is part of a run's identity. `ImageSequences` says more.

    variant:
        pixels: 784 steps, row by row.
        permuted: 784 steps in one fixed random order.
        rows: 28 steps of 28 pixels.
    path: folder of the four IDX files, plain or gzipped (train-images-idx3-ubyte or train-images-idx3-ubyte.gz, ...).
    Raises ValueError if one is missing, torn or no IDX file, or if images and labels do not match.
    """

    variants = {
        "pixels": "Le et al. 2015",
        "permuted": "Le et al. 2015",
        "rows": "of no paper",
    }

    path: str = field(metadata={"identity": False})

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.split

    @property
    def split(self) -> Split:
        return _read(self.path)


@functools.cache
def _read(path: str) -> Split:
    """Raises ValueError, in one line, on anything that is wrong with the files."""
    digest = hashlib.blake2b(digest_size=8)
    arrays = []
    for name in FILES:
        found = [file for file in (Path(path, name), Path(path, f"{name}.gz")) if file.is_file()]
        if not found:
            raise ValueError(
                f"path={path}: {name} (or {name}.gz) is not there; "
                f"put the four files {', '.join(FILES)} into one folder and name it with task.path=FOLDER"
            )
        try:
            array = read_idx(found[0])
        except NotIDX as error:
            raise ValueError(f"path={path}: {found[0].name} {error}; put the original file there") from None
        digest.update(array.numpy().tobytes())
        arrays.append(array)
    images, labels, test_images, test_labels = arrays
    for name, pixels, classes in ((FILES[0], images, labels), (FILES[2], test_images, test_labels)):
        if pixels.ndim != 3 or classes.ndim != 1 or len(pixels) != len(classes):
            shapes = f"{tuple(pixels.shape)} images, {tuple(classes.shape)} labels"
            raise ValueError(
                f"path={path}: {name} and its labels do not match ({shapes}); put the original files there"
            )
    trained = len(images) - len(images) // HELDOUT_SHARE
    train, heldout, final = (
        Images(pixels, classes.long(), WHITE)
        for pixels, classes in (
            (images[:trained], labels[:trained]),
            (images[trained:], labels[trained:]),
            (test_images, test_labels),
        )
    )
    return Split(train, heldout, final, digest.hexdigest())
