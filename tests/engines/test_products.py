"""The tiles of the C kernel as a compiler translates them: whatever this machine's CPU, for both vector lengths."""

import platform
import re
import subprocess

import pytest

from bench.engines import building, compiled, kernels

pytestmark = [
    pytest.mark.skipif(not compiled.available(), reason="there is no C compiler"),
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the compiler is for another CPU"),
]

USED = '#include "products.h"\nvoid used(const product *p, ptrdiff_t m, ptrdiff_t n) { multiply(p, m, n); }'
# With the vectors in the outer loop, the numbers of `left` all stay in registers, and sums have to go.
SPILLING = """
#include "products.h"
void spilling(const real *left, ptrdiff_t row, const real *right, ptrdiff_t count, real *out) {
    vector sum[ROWS][COLUMNS] = {0};
    for (ptrdiff_t k = 0; k < count; k++, left++, right += COLUMNS * LANES)
#pragma GCC unroll 8
        for (int n = 0; n < COLUMNS; n++) {
            vector x = load(right + n * LANES);
            IN_REGISTER(x);
#pragma GCC unroll 8
            for (int m = 0; m < ROWS; m++) sum[m][n] += left[m * row] * x;
        }
    for (int m = 0; m < ROWS; m++)
        for (int n = 0; n < COLUMNS; n++) store(out + (m * COLUMNS + n) * LANES, sum[m][n]);
}
"""


def assembly(source, march, definition):
    """Functions by name, each a list of its instructions and labels."""
    command = [*building._compiler(), *building.FLAGS, f"-march={march}", f"-D{definition}"]
    options = [f"-I{kernels.HEADERS}", "-S", "-x", "c", "-", "-o", "-"]
    run = subprocess.run([*command, *options], input=source, capture_output=True, text=True, check=False)
    if "march" in run.stderr:
        pytest.skip(f"the compiler does not know {march}")
    assert run.returncode == 0, run.stderr
    functions, lines = {}, []
    for line in map(str.strip, run.stdout.splitlines()):
        if name := re.fullmatch(r"_?([a-z]\w*):.*", line):
            lines = functions.setdefault(name[1], [])
        elif not re.match(r"\.\w+\s|#|$", line):
            lines.append(line)
    return functions


def innermost_loops(lines):
    """Stretches from a label to a jump back to it that hold no other such stretch, and multiply."""
    labels = {line.split(":")[0]: place for place, line in enumerate(lines) if re.match(r"\.?L\w+:", line)}
    jumps = [(place, re.fullmatch(r"j\w+\s+(\S+)", line)) for place, line in enumerate(lines)]
    spans = [(labels[jump[1]], place) for place, jump in jumps if jump and labels.get(jump[1], place) < place]
    inner = [span for span in spans if not any(other != span and within(other, span) for other in spans)]
    loops = [lines[first:last] for first, last in inner]
    return [loop for loop in loops if multiplications(loop)]


def within(one, other):
    return other[0] <= one[0] and one[1] <= other[1]


def multiplications(loop):
    return sum(line.startswith("vfmadd") for line in loop)


def on_the_stack(loop):
    """What a loop stores, be it where it may, and what it loads from the stack. A sum is stored only after its loop."""
    return [line for line in loop if re.search(r"\(%rsp", line) or re.match(r"v?mov.*%[xyz]mm\d+, .*\)", line)]


@pytest.mark.parametrize("definition", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize(("march", "columns"), [("x86-64-v3", 3), ("x86-64-v4", 7)])
def test_no_sum_of_a_tile_leaves_its_register(march, columns, definition):
    functions = assembly(USED, march, definition)
    tiles = {name: re.fullmatch(r"tile_(\d)_(\d)_(\d)", name) for name in functions}
    sizes = {name: (int(found[1]), int(found[2])) for name, found in tiles.items() if found}
    assert set(sizes.values()) == {(m, n) for m in range(1, 5) for n in range(1, columns + 1)}
    for name, (rows, wide) in sizes.items():
        loops = innermost_loops(functions[name])
        assert loops, name
        for loop in loops:
            assert multiplications(loop) % (rows * wide) == 0
            assert on_the_stack(loop) == [], name


@pytest.mark.parametrize(("march", "columns"), [("x86-64-v3", 3), ("x86-64-v4", 7)])
def test_a_sum_that_leaves_its_register_is_seen(march, columns):
    (loop,) = innermost_loops(assembly(SPILLING, march, "FLOAT")["spilling"])
    assert multiplications(loop) == 4 * columns
    assert on_the_stack(loop)
