"""No sanitizer complains of compiled steps: address and undefined behaviour, with arrays of exactly their size."""

import subprocess
from pathlib import Path

import pytest
import torch

from bench.engines import building, compiled, kernels
from bench.engines.kernels import Kernel, Pass, Shape, Way
from bench.nets.network import Network
from tests.engines.test_own_cells import cells

FLAGS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O0", "-march=native", "-std=gnu11"]
CASES = ["tanh", "irnn", "lstm", "gru", "lru", "lem", "Crossed", "Moved", "Learnt", "normalised lstm"]

pytestmark = pytest.mark.skipif(not compiled.available(), reason="there is no C compiler")


def row(numbers):
    return "{" + ", ".join(str(number) for number in numbers) + "}"


def numbers_of(through_time, masked, clipped):
    """C for what a pass is told, and the sizes of its arrays."""
    lists = {name: numbers.tolist() for name, numbers in through_time.lists.items()}
    text = [f"static int64_t {name.upper()}[] = {row(lists[name])};" for name in lists if name != "constants"]
    text.append(f"static const double CONSTANTS[] = {row(lists['constants'])};")
    text.append(f"static const int64_t EXTENTS[][2] = {row(map(row, through_time.extents))};")
    text.append(f"enum {{ MASKED = {int(masked)}, CLIPPED = {2 * clipped} }};")
    fields = {name: getattr(through_time.shape, name) for name, _ in Shape._fields_}
    fields |= {name: name.upper() for name in lists}
    return "\n".join([*text, "#define SHAPE {" + ", ".join(f".{name} = {fields[name]}" for name in fields) + "}", ""])


def built(dtype, *arguments):
    """Have the compiler make something, with sanitizers, for numbers of a type."""
    definitions = [f"-D{word}" for word in kernels.DEFINITIONS[dtype]]
    command = [*building._compiler(), *FLAGS, *definitions, f"-I{kernels.HEADERS}", *map(str, arguments)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if "san" in made.stderr and made.returncode:
        pytest.skip(f"no sanitizers here: {made.stderr.splitlines()[0]}")
    assert made.returncode == 0, made.stderr


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=str)
def products(request, tmp_path_factory):
    """A type of numbers with its matrix products, which are the same for every step."""
    path = tmp_path_factory.mktemp("products") / "products.o"
    built(request.param, "-c", kernels.PRODUCTS, "-o", path)
    return request.param, path


@pytest.mark.parametrize(
    ("name", "hidden", "sequences", "steps"),
    [
        *((name, *sizes) for name in CASES for sizes in ((18, 5, 11),)),
        *(
            (name, *sizes)
            for name in ("lstm", "Crossed", "normalised lstm")
            for sizes in ((2, 5, 9), (16, 1, 1), (100, 4, 9))
        ),
    ],
)
def test_no_sanitizer_complains(tmp_path, name, hidden, sequences, steps, products):
    dtype, objects = products
    if dtype == torch.float64 and hidden != 18:
        pytest.skip("one size will do in the other precision")
    masked = clipped = hidden == 18
    kernel = Kernel(Network(cells(hidden)[name], 3, 5, masked), clipped)
    scored = 2 if steps > 1 else 1
    way = Way("given", scored, steps, range(steps - scored - (steps > 1), steps), keep=True)
    (tmp_path / "step.c").write_text(kernel.source.text)
    (tmp_path / "numbers.h").write_text(numbers_of(Pass(kernel, way, 2, sequences, dtype), masked, clipped))
    here = Path(__file__).with_name("sanitized.c")
    built(dtype, f"-I{tmp_path}", here, objects, "-o", tmp_path / "run", "-lm")
    run = subprocess.run(
        [str(tmp_path / "run")], capture_output=True, text=True, check=False, env={"ASAN_OPTIONS": "detect_leaks=0"}
    )
    assert run.stdout == "sound\n", run.stderr
