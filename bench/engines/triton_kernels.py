"""The time loops of the fused engine in Triton: one program per replica and tile of sequences.

A program loads its replica's weights once and keeps them on chip, runs through all time steps, and works ahead: what
the next step reads is asked for before this one is computed (Triton's own pipelining is only for loads that feed a
product directly). No atomics, and every sum within one replica and in a fixed order: its bits do not depend on its
pack.

Every kernel takes the `Shape` of a pass (`fused.py`) as a constant. In memory stand flat [R, P], inputs [R, B, T, I],
states [R, B, T, H], gates [R, B, T, 4 H], outputs of the S steps that are read [R, B, S, O]; H and O are stored padded
to multiples of 16 (`bench.nets.network`), on chip H, I and O are padded with zeros to the sizes that a product wants.
Offsets that grow with the pack are counted in 64 bits.
"""

# mypy: disable-error-code="no-untyped-def"
# Triton reads the annotations of a kernel: there is one for constants and none for anything else

from __future__ import annotations

import triton
import triton.language as tl

TILE = tl.constexpr(16)  # sequences in a program, the fewest rows that a matrix unit takes
UNITS = tl.constexpr(64)  # rows and columns of a weight's gradient in a program of `outer_products`
ROWS = tl.constexpr(32)  # steps that it takes at a time


@triton.jit
def tanh(x):
    """To a few units in the last place everywhere, near 0 too; NaN stays NaN.

    x + x^3 p(x^2) for |x| < .625, else 1 - 2 / (e^2x + 1).
    Source: Moshier's Cephes, tanhf.
    """
    size, square = tl.abs(x), x * x
    p = (((-5.70498872745e-3 * square + 2.06390887954e-2) * square - 5.37397155531e-2) * square) + 1.33314422036e-1
    small = x + x * square * (p * square - 3.33332819422e-1)
    large = 1.0 - 2.0 / (tl.exp(2.0 * size) + 1.0)
    return tl.where(size < 0.625, small, tl.where(x < 0, -large, large))


@triton.jit
def sigmoid(x):
    """1 / (1 + e^-x); NaN stays NaN."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def matrix(start, row, column, rows: tl.constexpr, columns: tl.constexpr):
    """The matrix [rows, columns] that lies at `start`, with zeros around it."""
    there = (row < rows)[:, None] & (column < columns)[None, :]
    return tl.load(start + row[:, None] * columns + column[None, :], mask=there, other=0.0)


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
    return tl.dot(left, right, total, input_precision=shape.precision)


@triton.jit
def store_square(at, values, there):
    """The squared norm of every row."""
    exact = values.to(tl.float64)
    tl.store(at, tl.sum(exact * exact, 1), mask=there)


@triton.jit
def elman_forward(flat, inputs, lengths, states, alive, sequences, shape: tl.constexpr):
    """h_t = phi(W_hh h_{t-1} + W_xh x_t + b).

    states: of all steps, or of those that are read if none is kept for a way back. alive: whether any unit of a tile
    was ever non-zero, [R, tiles].
    """
    replica = tl.program_id(0).to(tl.int64)
    sequence = tl.program_id(1) * TILE + tl.arange(0, TILE)
    unit, channel = tl.arange(0, shape.H), tl.arange(0, shape.I)
    there = (sequence < sequences)[:, None]
    sees, keeps = there & (channel < shape.inputs)[None, :], there & (unit < shape.width)[None, :]

    own = flat + replica * shape.parameters
    W_hh = tl.trans(matrix(own + shape.W_hh, unit, unit, shape.width, shape.width))
    W_xh = tl.trans(matrix(own + shape.W_xh, unit, channel, shape.width, shape.inputs))
    b = vector(own + shape.b, unit, shape.width)
    h = tl.full((TILE, shape.H), 0.0, tl.float32)
    bias, awake = h + b, h

    row = replica * sequences + sequence
    x_at = places(inputs, row * shape.steps, channel, shape.inputs)
    h_at = places(states, row * shape.kept, unit, shape.width)
    length = tl.load(lengths + row, mask=sequence < sequences, other=0)[:, None] if shape.varying else shape.steps
    x = tl.load(x_at, mask=sees, other=0.0)
    for t in range(shape.steps):
        x_next = tl.load(x_at + (t + 1) * shape.inputs, mask=sees & (t + 1 < shape.steps), other=0.0)
        a = product(h, W_hh, product(x, W_xh, bias, shape), shape)
        after = tl.where(a < 0, 0.0, a) if shape.relu else tanh(a)
        h = tl.where(t < length, after, h) if shape.varying else after
        awake = tl.where(h != 0, 1.0, awake)
        tl.store(h_at + (t - shape.since) * shape.width, h, mask=keeps & (t >= shape.since))
        x = x_next
    tl.store(alive + replica * tl.num_programs(1) + tl.program_id(1), tl.max(tl.where(there, awake, 0.0)) > 0)


@triton.jit
def elman_backward(flat, states, d_outputs, deltas, squares, sequences, shape: tl.constexpr):
    """From dL/dy_t to deltas, the derivatives by the pre-activations of all steps, [R, B, T, H].

    squares: ||dL/dh_t||^2, float64 [1, R, B, T]; in float32 they would underflow long before the derivatives do.
    """
    replica = tl.program_id(0).to(tl.int64)
    sequence = tl.program_id(1) * TILE + tl.arange(0, TILE)
    unit, out = tl.arange(0, shape.H), tl.arange(0, shape.O)
    there = (sequence < sequences)[:, None]
    keeps, says = there & (unit < shape.width)[None, :], there & (out < shape.outputs)[None, :]

    own = flat + replica * shape.parameters
    W_hh = matrix(own + shape.W_hh, unit, unit, shape.width, shape.width)
    W_hy = matrix(own + shape.W_hy, out, unit, shape.outputs, shape.width)
    dh = tl.full((TILE, shape.H), 0.0, tl.float32)
    nothing = dh

    row = replica * sequences + sequence
    h_at = places(states, row * shape.steps, unit, shape.width)
    dy_at = places(d_outputs, row * shape.read - shape.first, out, shape.outputs)
    delta_at = places(deltas, row * shape.steps, unit, shape.width)
    t = shape.steps - 1
    h = tl.load(h_at + t * shape.width, mask=keeps, other=0.0)
    dy = tl.load(dy_at + t * shape.outputs, mask=says & (t < shape.first + shape.read), other=0.0)
    for back in range(shape.steps):
        t = shape.steps - 1 - back
        h_before = tl.load(h_at + (t - 1) * shape.width, mask=keeps & (t > 0), other=0.0)
        is_read = (t > shape.first) & (t <= shape.first + shape.read)
        dy_before = tl.load(dy_at + (t - 1) * shape.outputs, mask=says & is_read, other=0.0)
        if t >= shape.first and t < shape.first + shape.read:
            dh = product(dy, W_hy, dh, shape)
        delta = tl.where(h <= 0, 0.0, dh) if shape.relu else dh * (1.0 - h * h)
        if shape.trace:
            store_square(squares + row * shape.steps + t, dh, sequence < sequences)
        tl.store(delta_at + t * shape.width, delta, mask=keeps)
        dh = product(delta, W_hh, nothing, shape)
        h, dy = h_before, dy_before


@triton.jit
def gate_matrices(start, row, column, rows: tl.constexpr, columns: tl.constexpr):
    """The matrices of the gates i, f, g, o, which lie one after another."""
    size: tl.constexpr = rows * columns
    i, f = matrix(start, row, column, rows, columns), matrix(start + size, row, column, rows, columns)
    g, o = matrix(start + 2 * size, row, column, rows, columns), matrix(start + 3 * size, row, column, rows, columns)
    return i, f, g, o


@triton.jit
def load_gates(at, there, shape: tl.constexpr):
    """i, f, g, o of one step; they lie side by side."""
    i, f = tl.load(at, mask=there, other=0.0), tl.load(at + shape.width, mask=there, other=0.0)
    g, o = tl.load(at + 2 * shape.width, mask=there, other=0.0), tl.load(at + 3 * shape.width, mask=there, other=0.0)
    return i, f, g, o


@triton.jit
def store_gates(at, i, f, g, o, there, shape: tl.constexpr):
    """What `load_gates` reads."""
    tl.store(at, i, mask=there)
    tl.store(at + shape.width, f, mask=there)
    tl.store(at + 2 * shape.width, g, mask=there)
    tl.store(at + 3 * shape.width, o, mask=there)


@triton.jit
def lstm_forward(flat, inputs, lengths, states, gates, cells, alive, sequences, shape: tl.constexpr):
    """i, f, o = sigmoid(...), g = tanh(W_hg h_{t-1} + W_xg x_t + b_g), c_t = f c_{t-1} + i g, h_t = o tanh(c_t).

    states and alive as in `elman_forward`; for a way back also gates i, f, g, o [R, B, T, 4 H] and cells [R, B, T, H].
    """
    replica = tl.program_id(0).to(tl.int64)
    sequence = tl.program_id(1) * TILE + tl.arange(0, TILE)
    unit, channel = tl.arange(0, shape.H), tl.arange(0, shape.I)
    there = (sequence < sequences)[:, None]
    sees, keeps = there & (channel < shape.inputs)[None, :], there & (unit < shape.width)[None, :]

    own = flat + replica * shape.parameters
    W_hi, W_hf, W_hg, W_ho = gate_matrices(own + shape.W_hh, unit, unit, shape.width, shape.width)
    W_xi, W_xf, W_xg, W_xo = gate_matrices(own + shape.W_xh, unit, channel, shape.width, shape.inputs)
    h = tl.full((TILE, shape.H), 0.0, tl.float32)
    c, awake = h, h
    b_i = h + vector(own + shape.b, unit, shape.width)
    b_f = h + vector(own + shape.b + shape.width, unit, shape.width)
    b_g = h + vector(own + shape.b + 2 * shape.width, unit, shape.width)
    b_o = h + vector(own + shape.b + 3 * shape.width, unit, shape.width)

    row = replica * sequences + sequence
    x_at = places(inputs, row * shape.steps, channel, shape.inputs)
    h_at = places(states, row * shape.kept, unit, shape.width)
    c_at = places(cells, row * shape.steps, unit, shape.width)
    gate_at = places(gates, row * shape.steps, unit, 4 * shape.width)
    length = tl.load(lengths + row, mask=sequence < sequences, other=0)[:, None] if shape.varying else shape.steps
    x = tl.load(x_at, mask=sees, other=0.0)
    for t in range(shape.steps):
        x_next = tl.load(x_at + (t + 1) * shape.inputs, mask=sees & (t + 1 < shape.steps), other=0.0)
        i = sigmoid(product(h, tl.trans(W_hi), product(x, tl.trans(W_xi), b_i, shape), shape))
        f = sigmoid(product(h, tl.trans(W_hf), product(x, tl.trans(W_xf), b_f, shape), shape))
        g = tanh(product(h, tl.trans(W_hg), product(x, tl.trans(W_xg), b_g, shape), shape))
        o = sigmoid(product(h, tl.trans(W_ho), product(x, tl.trans(W_xo), b_o, shape), shape))
        c_after = f * c + i * g
        h_after = o * tanh(c_after)
        c = tl.where(t < length, c_after, c) if shape.varying else c_after
        h = tl.where(t < length, h_after, h) if shape.varying else h_after
        awake = tl.where(h != 0, 1.0, awake)
        tl.store(h_at + (t - shape.since) * shape.width, h, mask=keeps & (t >= shape.since))
        if shape.keep:
            tl.store(c_at + t * shape.width, c, mask=keeps)
            store_gates(gate_at + 4 * t * shape.width, i, f, g, o, keeps, shape)
        x = x_next
    tl.store(alive + replica * tl.num_programs(1) + tl.program_id(1), tl.max(tl.where(there, awake, 0.0)) > 0)


@triton.jit
def lstm_backward(flat, cells, d_outputs, gates, squares, sequences, shape: tl.constexpr):
    """As `elman_backward`; deltas [R, B, T, 4 H] take the place of the gates.

    squares: ||dL/dh_t||^2 and ||dL/dc_t||^2, total derivatives, float64 [2, R, B, T].
    """
    replica = tl.program_id(0).to(tl.int64)
    sequence = tl.program_id(1) * TILE + tl.arange(0, TILE)
    unit, out = tl.arange(0, shape.H), tl.arange(0, shape.O)
    there = (sequence < sequences)[:, None]
    keeps, says = there & (unit < shape.width)[None, :], there & (out < shape.outputs)[None, :]

    own = flat + replica * shape.parameters
    W_hi, W_hf, W_hg, W_ho = gate_matrices(own + shape.W_hh, unit, unit, shape.width, shape.width)
    W_hy = matrix(own + shape.W_hy, out, unit, shape.outputs, shape.width)
    dh = tl.full((TILE, shape.H), 0.0, tl.float32)
    nothing, dc = dh, dh

    row = replica * sequences + sequence
    c_at = places(cells, row * shape.steps, unit, shape.width)
    gate_at = places(gates, row * shape.steps, unit, 4 * shape.width)
    dy_at = places(d_outputs, row * shape.read - shape.first, out, shape.outputs)
    t = shape.steps - 1
    c = tl.load(c_at + t * shape.width, mask=keeps, other=0.0)
    i, f, g, o = load_gates(gate_at + 4 * t * shape.width, keeps, shape)
    dy = tl.load(dy_at + t * shape.outputs, mask=says & (t < shape.first + shape.read), other=0.0)
    for back in range(shape.steps):
        t = shape.steps - 1 - back
        c_before = tl.load(c_at + (t - 1) * shape.width, mask=keeps & (t > 0), other=0.0)
        i_before, f_before, g_before, o_before = load_gates(gate_at + 4 * (t - 1) * shape.width, keeps & (t > 0), shape)
        is_read = (t > shape.first) & (t <= shape.first + shape.read)
        dy_before = tl.load(dy_at + (t - 1) * shape.outputs, mask=says & is_read, other=0.0)
        if t >= shape.first and t < shape.first + shape.read:
            dh = product(dy, W_hy, dh, shape)
        squashed = tanh(c)
        dc += dh * o * (1.0 - squashed * squashed)
        if shape.trace:
            store_square(squares + row * shape.steps + t, dh, sequence < sequences)
            cells_after = tl.num_programs(0).to(tl.int64) * sequences * shape.steps
            store_square(squares + cells_after + row * shape.steps + t, dc, sequence < sequences)
        d_i, d_f = dc * g * i * (1.0 - i), dc * c_before * f * (1.0 - f)
        d_g, d_o = dc * i * (1.0 - g * g), dh * squashed * o * (1.0 - o)
        store_gates(gate_at + 4 * t * shape.width, d_i, d_f, d_g, d_o, keeps, shape)
        dh = product(d_f, W_hf, product(d_i, W_hi, nothing, shape), shape)
        dh = product(d_o, W_ho, product(d_g, W_hg, dh, shape), shape)
        dc = dc * f
        c, dy, i, f, g, o = c_before, dy_before, i_before, f_before, g_before, o_before


@triton.jit
def readout(flat, states, outputs, sequences, shape: tl.constexpr):
    """y = W_hy h + b_y of the steps that are read, [R, B, S, O]; a program has `UNITS` rows of a replica."""
    replica = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    unit, out = tl.arange(0, shape.H), tl.arange(0, shape.O)
    there = (row < sequences * shape.read)[:, None]
    own = flat + replica * shape.parameters
    W_hy = tl.trans(matrix(own + shape.W_hy, out, unit, shape.outputs, shape.width))
    b_y = vector(own + shape.b_y, out, shape.outputs)
    kept = (replica * sequences + row // shape.read) * shape.kept + shape.first - shape.since + row % shape.read
    h = tl.load(places(states, kept, unit, shape.width), mask=there & (unit < shape.width)[None, :], other=0.0)
    y = product(h, W_hy, tl.full((UNITS, shape.O), 0.0, tl.float32) + b_y, shape)
    y_at = places(outputs, replica * sequences * shape.read + row, out, shape.outputs)
    tl.store(y_at, y, mask=there & (out < shape.outputs)[None, :])


@triton.jit
def outer_products(left, right, gradient, sums: tl.constexpr, shape: tl.constexpr):
    """What `Sums` says: the gradients of a weight and of the bias beside it, from the derivatives `left` by their sum.

    A program has `UNITS` rows of the weight and at most as many of its columns.
    """
    replica = tl.program_id(0).to(tl.int64)
    m = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    n = tl.program_id(2) * sums.block + tl.arange(0, sums.block)
    total = tl.full((UNITS, sums.block), 0.0, tl.float32)
    by_row = tl.full((ROWS, UNITS), 0.0, tl.float32)
    for start in range(0, sums.rows, ROWS):
        row = start + tl.arange(0, ROWS)
        sequence, step = replica * (sums.rows // sums.span) + row // sums.span, sums.first + row % sums.span
        there = (row < sums.rows)[:, None]
        left_there = there & (m < sums.heights)[None, :]
        right_there = there & (step >= 0)[:, None] & (n < sums.widths)[None, :]
        a = tl.load(places(left, replica * sums.rows + row, m, sums.heights), mask=left_there, other=0.0)
        b = tl.load(places(right, sequence * shape.steps + step, n, sums.widths), mask=right_there, other=0.0)
        total = product(tl.trans(a), b, total, shape)
        by_row += a
    own = gradient + replica * shape.parameters
    there = (m < sums.heights)[:, None] & (n < sums.widths)[None, :]
    tl.store(places(own + sums.weight, m, n, sums.widths), total, mask=there)
    if sums.bias is not None:  # noqa: SIM102 (decided when it is compiled, the next when it runs)
        if tl.program_id(2) == 0:
            tl.store(own + sums.bias + m, tl.sum(by_row, 0), mask=m < sums.heights)
