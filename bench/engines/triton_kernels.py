"""The kernels of the fused engine beside the time loops, which `step/triton_source.py` writes, and what these call.

A time loop is one program per replica and tile of sequences. It loads its replica's weights once and keeps them on
chip, runs through all time steps, and works ahead: what the next step reads is asked for before this one is computed
(Triton's own pipelining is only for loads that feed a product directly). No atomics, and every sum within one replica
and in a fixed order: its bits do not depend on its pack.

Every kernel takes the `Shape` of a pass (`fused.py`) as a constant. In memory stand rows of weights [R, P], inputs
[R, B, T, I], what is kept of every step [R, B, T, C], outputs of the S steps that are read [R, B, S, O]; O is stored
padded to multiples of 16 (`bench.nets.network`), on chip H, I and O are padded with zeros to the sizes that a product
wants. Offsets that grow with the pack are counted in 64 bits.
"""

# mypy: disable-error-code="no-untyped-def"
# Triton reads the annotations of a kernel: there is one for constants and none for anything else

from __future__ import annotations

import triton
import triton.language as tl

TILE = tl.constexpr(16)  # sequences in a program, the fewest rows that a matrix unit takes
UNITS = tl.constexpr(64)  # rows and columns of a weight's gradient in a program of `outer_products`
ROWS = tl.constexpr(16)  # steps of all sequences that it takes at a time


@triton.jit
def matrix(start, row, column, rows: tl.constexpr, columns: tl.constexpr, pitch: tl.constexpr):
    """The matrix [rows, columns] that lies at `start`, its rows `pitch` numbers apart, with zeros around it."""
    there = (row < rows)[:, None] & (column < columns)[None, :]
    return tl.load(start + row[:, None] * pitch + column[None, :], mask=there, other=0.0)


@triton.jit
def vector(start, column, columns: tl.constexpr):
    """The vector [1, columns] that lies at `start`, with zeros after it."""
    return tl.load(start + column, mask=column < columns, other=0.0)[None, :]


@triton.jit
def places(start, row, column, columns: tl.constexpr):
    """Where the numbers of some rows lie, each of `columns` numbers."""
    return start + (row * columns)[:, None] + column[None, :]


@triton.jit
def product(left, right, total, shape: tl.constexpr):
    """total + left right, in the shape's precision."""
    return tl.dot(left, right, total, input_precision=shape.precision, out_dtype=total.dtype)


@triton.jit
def exact_product(left, right, total):
    """total + left right; outside the loops IEEE arithmetic is as fast as any."""
    return tl.dot(left, right, total, input_precision="ieee", out_dtype=total.dtype)


@triton.jit
def running(there, values, t, length, always: tl.constexpr, shape: tl.constexpr):
    """The values of sequences that have not ended, else 0; 0 too where they are not `there`, if that is asked for."""
    if shape.varying:
        return tl.where(there & (t < length), values, 0.0)
    else:
        return tl.where(there, values, 0.0) if always else values


@triton.jit
def moved(values, unit):
    """For every sequence its numbers at other units, [sequences, units]."""
    return tl.gather(values, tl.broadcast_to(unit[None, :], (values.shape[0], unit.shape[0])), 1)


@triton.jit
def store_square(at, values, there):
    """The squared norm of every row."""
    exact = values.to(tl.float64)
    tl.store(at, tl.sum(exact * exact, 1), mask=there)


@triton.jit
def readout(rows, kept, outputs, sequences, shape: tl.constexpr):
    """y = W_hy h + b_y of the steps that are read, [R, B, S, O]; a program has `UNITS` rows of a replica."""
    number: tl.constexpr = rows.dtype.element_ty
    replica = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    out = tl.arange(0, shape.O)
    there = (row < sequences * shape.read)[:, None]
    own = rows + replica * shape.row
    step = (replica * sequences + row // shape.read) * shape.kept + shape.first - shape.since + row % shape.read
    y = tl.full((UNITS, shape.O), 0.0, number) + vector(own + shape.b_y, out, shape.outputs)
    for start in range(0, shape.H, shape.part):  # all units at once would take too many registers
        unit = start + tl.arange(0, shape.part)
        W_hy = matrix(own + shape.W_hy, out, unit, shape.outputs, shape.width, shape.width)
        h = tl.load(places(kept, step, unit, shape.columns), mask=there & (unit < shape.hidden)[None, :], other=0.0)
        y = exact_product(h, tl.trans(W_hy), y)
    y_at = places(outputs, replica * sequences * shape.read + row, out, shape.outputs)
    tl.store(y_at, y, mask=there & (out < shape.outputs)[None, :])


@triton.jit
def outer_products(left, right, gradient, sums: tl.constexpr, shape: tl.constexpr):
    """What `Sums` says: gradients of weights and of the biases beside them, added to what is there, [parts, R, P].

    A program has `UNITS` rows of the weights, one below the other, at most as many of their columns, and a part of the
    steps: the gradient is the sum over the parts.
    """
    number: tl.constexpr = gradient.dtype.element_ty
    replica = tl.program_id(0).to(tl.int64)
    m = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    part, columns = tl.program_id(2) % sums.parts, tl.program_id(2) // sums.parts
    n = columns * sums.block + tl.arange(0, sums.block)
    block, unit = m // sums.every, m % sums.every
    total = tl.full((UNITS, sums.block), 0.0, number)
    by_row = tl.full((ROWS, UNITS), 0.0, number)
    every: tl.constexpr = -(-sums.rows // (sums.parts * ROWS)) * ROWS  # rows of a part, of the last one fewer
    for start in range(0, every, ROWS):
        row = part * every + start + tl.arange(0, ROWS)
        sequence, step = replica * (sums.rows // sums.span) + row // sums.span, sums.first + row % sums.span
        there = (row < sums.rows)[:, None]
        left_there = there & (m < sums.blocks * sums.every)[None, :]
        right_there = there & (step >= 0)[:, None] & (n < sums.loaded)[None, :]
        left_at = places(left + sums.left, replica * sums.rows + row, m, sums.left_pitch)
        right_at = places(right + sums.right, sequence * shape.steps + step, n, sums.right_pitch)
        a, b = tl.load(left_at, mask=left_there, other=0.0), tl.load(right_at, mask=right_there, other=0.0)
        total = exact_product(tl.trans(a), b, total)
        by_row += a
    own = gradient + (part * tl.num_programs(0).to(tl.int64) + replica) * shape.row
    there = (block < sums.blocks) & (unit < sums.units)
    both = there[:, None] & (n < sums.widths)[None, :]
    at = own + sums.weight + (block * sums.apart + unit * sums.down)[:, None] + (n * sums.across)[None, :]
    tl.store(at, tl.load(at, mask=both, other=0.0) + total, mask=both)
    if sums.bias is not None:  # noqa: SIM102 (decided when it is compiled, the next when it runs)
        if columns == 0:
            bias_at = own + sums.bias + block * sums.biases_apart + unit
            tl.store(bias_at, tl.load(bias_at, mask=there, other=0.0) + tl.sum(by_row, 0), mask=there)
