/* One replica through time, forward and back, for Elman nets (tanh, ReLU), the LSTM and the GRU.

   Forward    a_t = W_hh h_{t-1} + W_xh x_t + b,   state_t = phi(a_t, state_{t-1}),   y_t = W_hy h_t + b_y
   Backward   dh_t = W_hh^T delta_{t+1} + W_hy^T dy_t  (+ what reaches h_t past the product),   delta_t = dL/da_t
              dW_hh = sum_t delta_t h_{t-1}^T,   dW_xh = sum_t delta_t x_t^T,   db = sum_t delta_t
   Loss       mean over sequences and scored steps of (y - target)^2 or -ln softmax(y)[target], or whose dL/dy is given

   Why a kernel: these products are small (16 x 100 times 100 x 100), so a library spends its time on getting there.
   Here a replica's weights stay in the cache for its whole time loop, and a tile of the result stays in registers for
   a whole sum. A replica goes back through time before the next one goes forward, while all that it kept is near.

   Layout. All matrices are row-major. A state is [B][H], units side by side; H is padded to whole vectors (`width`).
   Sums run over the units alone, so what stands in the padding (0, after an infinite input perhaps NaN) comes to
   nothing. A pre-activation is [B][G][H], G blocks: 1 for Elman, i f g o for the LSTM,
   and r z n_h n_x for the GRU, whose r multiplies n_h = W_hn h + b_hn but not n_x = W_xn x + b_n. The parameters lie
   as `bench/network.py` says. For the way forward they are copied once, transposed, one block after the other, each
   [1 + I + H][width]: its bias, then the columns of W_xh, then those of W_hh. The way back reads W_hh as it is. Where
   it is worth it, W_hh is packed both ways.

   Bits. Every sum has its order by the shapes alone, and a replica's numbers never meet another's: its bits depend
   neither on its pack nor on the number of threads. No compiler flag may loosen that (no -ffast-math, which besides
   would switch off denormals for the whole process and assume that there is no NaN).

   Compiled once for float and, with -DDOUBLE, once for double; `compiled.py` says when and how. */

#include <math.h>
#include <string.h>

#include "products.h"

enum { STEPS = 8 }; /* whose deltas are kept, to be summed into the weights' gradients together */

/* ---- exp and its kin --------------------------------------------------------------------------------------------

   x = n ln 2 + r, |r| <= ln(2)/2; e^r - 1 by a polynomial, scaled by 2^n. Where x is small n is 0 and e^x - 1 is as
   exact as the polynomial, so tanh keeps its relative precision down to the smallest numbers. NaN comes through. */

typedef struct {
    vector scale, rest; /* 2^n and e^r - 1 */
} power;

#ifdef DOUBLE
enum { EXPONENT = 52, BIAS = 1023 };
static const real ROUND = 0x1.8p52, LN2_HIGH = 6.93145751953125e-1, LN2_LOW = 1.42860682030941723212e-6;
static const real SATURATED = 80, LARGEST = 708; /* tanh(40) is 1; e^708 is finite */
static const real SERIES[] = { /* Taylor: 1/13!, ..., 1/2!; the next term is 1e-17 of r */
    1.6059043836821613e-10, 2.0876756987868099e-9, 2.5052108385441719e-8, 2.7557319223985893e-7,
    2.7557319223985891e-6, 2.4801587301587302e-5, 1.9841269841269841e-4, 1.3888888888888889e-3,
    8.3333333333333333e-3, 4.1666666666666667e-2, 1.6666666666666667e-1, 0.5};
#else
enum { EXPONENT = 23, BIAS = 127 };
static const real ROUND = 0x1.8p23f, LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
static const real SATURATED = 40, LARGEST = 87; /* tanh(20) is 1; e^87 is finite */
static const real SERIES[] = { /* Taylor: 1/8!, ..., 1/2!; the next term is 6e-10 of r */
    2.4801587e-5f, 1.9841270e-4f, 1.3888889e-3f, 8.3333333e-3f, 4.1666667e-2f, 0.16666667f, 0.5f};
#endif

/* Several side by side, where there are several: one is a chain of some twenty operations that wait for each other. */
enum { SIDE_BY_SIDE = 4 };
#define EACH(i) _Pragma("GCC unroll 8") for (int i = 0; i < count; i++)

INLINE void exponentials(const int count, const vector *x, power *e) {
    vector shifted[SIDE_BY_SIDE], r[SIDE_BY_SIDE], sum[SIDE_BY_SIDE];
    EACH(i) {
        shifted[i] = x[i] * all((real)1.4426950408889634) + ROUND; /* its last bits are round(x / ln 2) */
        const vector n = shifted[i] - ROUND;
        r[i] = (x[i] - n * LN2_HIGH) - n * LN2_LOW;
        sum[i] = all(SERIES[0]);
    }
#pragma GCC unroll 16
    for (size_t k = 1; k < sizeof SERIES / sizeof *SERIES; k++) {
        EACH(i) {
            sum[i] = sum[i] * r[i] + SERIES[k];
            IN_REGISTER(sum[i]); /* keeps them side by side */
        }
    }
    EACH(i) {
        const mask exponent = (mask)shifted[i] - (mask)all(ROUND) + BIAS;
        e[i] = (power){(vector)(exponent << EXPONENT), r[i] * r[i] * sum[i] + r[i]};
    }
}

/* (e^2|x| - 1) / (e^2|x| + 1), with the sign of x. */
INLINE void hyperbolic_tangents(const int count, vector *x) {
    vector doubled[SIDE_BY_SIDE];
    power e[SIDE_BY_SIDE];
    const mask sign = (mask)all(-0.0f);
    EACH(i) {
        const vector twice = 2 * (vector)((mask)x[i] & ~sign);
        doubled[i] = where(twice > SATURATED, all(SATURATED), twice);
    }
    exponentials(count, doubled, e);
    EACH(i) {
        const vector less_one = e[i].scale * e[i].rest + (e[i].scale - 1);
        x[i] = (vector)((mask)(less_one / (less_one + 2)) | ((mask)x[i] & sign));
    }
}

/* 1 / (1 + e^-x), and 0 where e^-x would overflow */
INLINE void sigmoids(const int count, vector *x) {
    vector negative[SIDE_BY_SIDE];
    power e[SIDE_BY_SIDE];
    EACH(i) negative[i] = -where(x[i] > LARGEST, all(LARGEST), x[i]);
    exponentials(count, negative, e);
    EACH(i) x[i] = zero_where(x[i] < -LARGEST, 1 / (e[i].scale * e[i].rest + (e[i].scale + 1)));
}

/* Of `size` numbers, whole vectors. */
#define OF_ALL(name, function) \
    static void name(ptrdiff_t size, const real *from, real *to) { \
        ptrdiff_t k = 0; \
        const int count = SIDE_BY_SIDE; \
        for (; k + count * LANES <= size; k += count * LANES) { \
            vector x[SIDE_BY_SIDE]; \
            EACH(i) x[i] = load(from + k + i * LANES); \
            function(count, x); \
            EACH(i) store(to + k + i * LANES, x[i]); \
        } \
        for (; k < size; k += LANES) { \
            vector x = load(from + k); \
            function(1, &x); \
            store(to + k, x); \
        } \
    }
OF_ALL(tanh_of, hyperbolic_tangents)
OF_ALL(sigmoid_of, sigmoids)

/* e^x for x <= 0, and 0 where it would be less than the smallest number */
INLINE vector decay(vector x) {
    power e;
    exponentials(1, &x, &e);
    return zero_where(x < -LARGEST, e.scale * e.rest + e.scale);
}

/* ---- shapes -----------------------------------------------------------------------------------------------------*/

enum { TANH, RELU, LSTM, GRU };
enum { GIVEN, SQUARED_ERROR, CROSS_ENTROPY }; /* losses */
enum { I, F, G, O };       /* blocks of the LSTM */
enum { R, Z, N_H, N_X };   /* blocks of the GRU */

/* As `compiled.py` fills it in: everything is counted in numbers, not in bytes. */
typedef struct {
    int64_t cell, loss, replicas, sequences, steps, inputs, units, width, outputs, outputs_width;
    int64_t read_first, read_count; /* the steps whose outputs are asked for */
    int64_t scored;                 /* how many of them, up to its own last step, enter a sequence's loss */
    int64_t parameters;             /* of a replica, and where each starts: */
    int64_t recurrent, input, bias, candidate_bias, readout, readout_bias;
} shape;

static ptrdiff_t blocks(const shape *s) { return s->cell == LSTM || s->cell == GRU ? 4 : 1; }
static ptrdiff_t recurrent_blocks(const shape *s) { return s->cell == GRU ? 3 : blocks(s); }
static ptrdiff_t state(const shape *s) { return s->sequences * s->width; }

/* Part of a call's memory; NULL if it has none or only its size is asked for. */
static real *part(real *memory, ptrdiff_t *end, ptrdiff_t size) {
    real *start = memory && size ? memory + *end : NULL;
    *end += size;
    return start;
}

/* What the way back needs of the way forward, one array after the other. Where not all steps are kept, each takes the
   place of the one before the last. All zeros before the first call, for not all padding is written. */
typedef struct {
    real *h, *c;            /* [T+1][B][H], from h_0 = c_0 = 0 on */
    real *gates, *squashed; /* [T][B][G][H] and tanh(c_t) [T][B][H] */
    ptrdiff_t size;
} history;

static history history_in(const shape *s, real *memory, int keep) {
    const ptrdiff_t steps = keep ? s->steps : 1, size = state(s), lstm = s->cell == LSTM;
    history k = {.size = 0};
    k.h = part(memory, &k.size, (steps + 1) * size);
    k.c = part(memory, &k.size, lstm * (steps + 1) * size);
    k.gates = part(memory, &k.size, (blocks(s) > 1) * steps * blocks(s) * size);
    k.squashed = part(memory, &k.size, lstm * steps * size);
    return k;
}

/* What a call needs for itself, all zeros before the first, for not all padding is written. */
typedef struct {
    real *weights, *readout;         /* [G][1 + I + H][width] and [1 + H][O], for the way forward */
    real *recurrent;                 /* [G][width][width], packed for the way back */
    real *zeros;                     /* [width] */
    real *d_h, *d_c, *past;          /* dL/dh_t, dL/dc_t, what of them reaches t-1 past the product: each [B][H] */
    real *delta;                     /* [STEPS][B][G][H] */
    real *h;                         /* of the same steps, packed */
    real *inputs, *d_inputs;         /* [STEPS][B][1 + I] and [1 + I][G][H]; the first of 1 + I is a 1, for the bias */
    real *outputs;                   /* [S][B][O], and then their gradient */
    ptrdiff_t size;
} workspace;

static workspace workspace_in(const shape *s, real *memory) {
    const ptrdiff_t g = blocks(s), size = state(s), rows = 1 + s->inputs;
    workspace w = {.size = 0};
    w.weights = part(memory, &w.size, g * (rows + s->units) * s->width);
    w.readout = part(memory, &w.size, (1 + s->units) * s->outputs_width);
    w.recurrent = part(memory, &w.size, worth_packing(s->width) * recurrent_blocks(s) * s->width * s->width);
    w.zeros = part(memory, &w.size, s->width);
    w.d_h = part(memory, &w.size, size);
    w.d_c = part(memory, &w.size, size);
    w.past = part(memory, &w.size, size);
    w.delta = part(memory, &w.size, STEPS * g * size);
    w.h = part(memory, &w.size, worth_packing(s->width) * STEPS * size);
    w.d_inputs = part(memory, &w.size, rows * g * s->width);
    w.outputs = part(memory, &w.size, s->read_count * s->sequences * s->outputs_width);
    w.inputs = part(memory, &w.size, STEPS * s->sequences * rows);
    return w;
}

int64_t history_size(const shape *s, int keep) { return history_in(s, NULL, keep).size; }
int64_t workspace_size(const shape *s) { return workspace_in(s, NULL).size; }

/* Which block of W_xh and b goes with a block of the pre-activation: only the GRU's n_h has none. */
static ptrdiff_t input_block(const shape *s, ptrdiff_t block) {
    if (s->cell != GRU || block < N_H) return block;
    return block == N_X ? 2 : -1;
}

static ptrdiff_t bias(const shape *s, ptrdiff_t block) {
    return block == N_H && s->cell == GRU ? s->candidate_bias : s->bias + input_block(s, block) * s->width;
}

/* Of so many rows of a matrix with a column for every unit, how many are packed: all or none. */
static ptrdiff_t packed(const shape *s, ptrdiff_t rows) { return worth_packing(s->width) ? rows : 0; }

static int is_read(const shape *s, ptrdiff_t t) { return t >= s->read_first && t < s->read_first + s->read_count; }

/* to[j][i] = from[i][j] */
static void transpose(ptrdiff_t rows, ptrdiff_t columns, const real *from, ptrdiff_t from_row, real *to,
                      ptrdiff_t to_row) {
    for (ptrdiff_t j = 0; j < columns; j++)
        for (ptrdiff_t i = 0; i < rows; i++) to[j * to_row + i] = from[i * from_row + j];
}

/* ---- forward ----------------------------------------------------------------------------------------------------*/

static void load_weights(const shape *s, const real *parameters, const workspace *w) {
    const ptrdiff_t width = s->width, rows = 1 + s->inputs + s->units;
    for (ptrdiff_t g = 0; g < blocks(s); g++) {
        real *block = w->weights + g * rows * width, *recurrent = block + (1 + s->inputs) * width;
        const ptrdiff_t from_x = input_block(s, g);
        memcpy(block, parameters + bias(s, g), width * sizeof(real));
        if (from_x >= 0)
            transpose(width, s->inputs, parameters + s->input + from_x * width * s->inputs, s->inputs, block + width,
                      width);
        if (g >= recurrent_blocks(s)) continue;
        const real *from_h = parameters + s->recurrent + g * width * width;
        if (packed(s, s->units))
            pack(s->units, s->units, from_h, 1, width, recurrent);
        else
            transpose(width, s->units, from_h, width, recurrent, width);
    }
    memcpy(w->readout, parameters + s->readout_bias, s->outputs_width * sizeof(real));
    transpose(s->outputs_width, s->units, parameters + s->readout, width, w->readout + s->outputs_width,
              s->outputs_width);
}

/* a_t of all sequences, into `out` [B][G][H]. */
static void pre_activation(const shape *s, const workspace *w, const real *x, const real *h, real *out) {
    const ptrdiff_t width = s->width, rows = 1 + s->inputs + s->units;
    for (ptrdiff_t g = 0; g < blocks(s); g++) {
        const real *block = w->weights + g * rows * width;
        product p = {.start = block, .start_row = 0, .out = out + g * width, .out_row = blocks(s) * width, .terms = 0};
        if (input_block(s, g) >= 0)
            p.term[p.terms++] = (term){x, s->steps * s->inputs, 1, block + width, width, s->inputs};
        if (g < recurrent_blocks(s))
            p.term[p.terms++] = (term){h, width, 1, block + (1 + s->inputs) * width, width, s->units,
                                       packed(s, s->units)};
        multiply(&p, s->sequences, s->units);
    }
}

static void relu_step(ptrdiff_t size, real *h) {
    for (ptrdiff_t k = 0; k < size; k += LANES) {
        const vector a = load(h + k);
        store(h + k, zero_where(a < 0, a)); /* NaN is not below 0 and stays */
    }
}

/* i, f, o = sigmoid, g = tanh;  c = f c + i g;  h = o tanh(c). A pass over a row for each: what all of it takes for one
   unit is too long for the CPU to look ahead to the next. */
static void lstm_step(const shape *s, real *gates, const real *c_before, real *c, real *squashed, real *h) {
    const ptrdiff_t width = s->width;
    for (ptrdiff_t b = 0; b < s->sequences; b++) {
        real *i = gates + I * width, *f = gates + F * width, *g = gates + G * width, *o = gates + O * width;
        sigmoid_of(2 * width, i, i), tanh_of(width, g, g), sigmoid_of(width, o, o); /* f lies behind i */
        for (ptrdiff_t u = 0; u < width; u += LANES)
            store(c + u, load(f + u) * load(c_before + u) + load(i + u) * load(g + u));
        tanh_of(width, c, squashed);
        for (ptrdiff_t u = 0; u < width; u += LANES) store(h + u, load(o + u) * load(squashed + u));
        gates += 4 * width, c_before += width, c += width, squashed += width, h += width;
    }
}

/* r, z = sigmoid;  n = tanh(n_x + r n_h);  h = n + z (h - n) */
static void gru_step(const shape *s, real *gates, const real *h_before, real *h) {
    const ptrdiff_t width = s->width;
    for (ptrdiff_t b = 0; b < s->sequences; b++, gates += 4 * width, h_before += width, h += width) {
        real *r = gates + R * width, *z = gates + Z * width, *n_h = gates + N_H * width, *n = gates + N_X * width;
        sigmoid_of(2 * width, r, r); /* z lies behind r */
        for (ptrdiff_t u = 0; u < width; u += LANES) store(n + u, load(n + u) + load(r + u) * load(n_h + u));
        tanh_of(width, n, n);
        for (ptrdiff_t u = 0; u < width; u += LANES)
            store(h + u, load(n + u) + load(z + u) * (load(h_before + u) - load(n + u)));
    }
}

/* A sequence that has ended holds its h; its c goes on where nobody looks. */
static void hold(const shape *s, const int64_t *lengths, ptrdiff_t t, const real *before, real *after) {
    for (ptrdiff_t b = 0; b < s->sequences; b++)
        if (lengths[b] <= t) memcpy(after + b * s->width, before + b * s->width, s->width * sizeof(real));
}

static int any(ptrdiff_t size, const real *h) {
    mask seen = (mask){0};
    for (ptrdiff_t k = 0; k < size; k += LANES) seen |= load(h + k) != 0;
    whole found = 0;
    for (int k = 0; k < LANES; k++) found |= seen[k];
    return found != 0;
}

/* One replica: inputs [B][T][I], lengths [B] or NULL, outputs [S][B][O] of the S steps that are read.
   Returns whether any unit was ever non-zero. */
static int forward_one(const shape *s, const real *parameters, const real *inputs, const int64_t *lengths, int keep,
                       const history *past, const workspace *w, real *outputs) {
    const ptrdiff_t size = state(s), last = keep ? s->steps : 1;
    int alive = 0;
    load_weights(s, parameters, w);
    memset(past->h, 0, size * sizeof(real));
    if (past->c) memset(past->c, 0, size * sizeof(real));
    for (ptrdiff_t t = 0; t < s->steps; t++) {
        const ptrdiff_t at = t % last, before = t % (last + 1), after = (t + 1) % (last + 1);
        const real *h_before = past->h + before * size;
        real *h = past->h + after * size, *a = past->gates ? past->gates + at * 4 * size : h;
        pre_activation(s, w, inputs + t * s->inputs, h_before, a);
        switch (s->cell) {
        case TANH: tanh_of(size, h, h); break;
        case RELU: relu_step(size, h); break;
        case GRU: gru_step(s, a, h_before, h); break;
        case LSTM: {
            const real *c_before = past->c + before * size;
            real *c = past->c + after * size;
            lstm_step(s, a, c_before, c, past->squashed + at * size, h);
        }
        }
        if (lengths) hold(s, lengths, t, h_before, h);
        if (!alive) alive = any(size, h);
        if (is_read(s, t)) {
            const ptrdiff_t wide = s->outputs_width;
            const product p = {.start = w->readout, .start_row = 0,
                               .out = outputs + (t - s->read_first) * s->sequences * wide, .out_row = wide,
                               .terms = 1, .term = {{h, s->width, 1, w->readout + wide, wide, s->units}}};
            multiply(&p, s->sequences, s->outputs);
        }
    }
    return alive;
}

/* ---- loss -------------------------------------------------------------------------------------------------------*/

/* Of one answer y [O], which becomes share dL/dy; what it returns is L. */
static double squared_error(const shape *s, real *y, real target, real share) {
    const real miss = y[0] - target;
    memset(y, 0, s->outputs_width * sizeof(real));
    y[0] = share * (2 * miss);
    return (double)miss * miss;
}

/* L = ln sum_o e^y_o - y_target, dL/dy = softmax(y) less 1 at the target: there what the other classes have, negated. */
static double cross_entropy(const shape *s, real *y, int64_t target, real share) {
    real largest = y[0];
    for (ptrdiff_t o = 1; o < s->outputs; o++) largest = y[o] > largest ? y[o] : largest;
    const double lead = (double)largest - y[target];
    for (ptrdiff_t o = 0; o < s->outputs; o += LANES) store(y + o, decay(load(y + o) - largest));
    double sum = 0;
    for (ptrdiff_t o = 0; o < s->outputs; o++) sum += y[o];
    const double others = sum - y[target], scale = share / sum;
    for (ptrdiff_t o = 0; o < s->outputs; o++) y[o] = (real)(y[o] * scale);
    y[target] = (real)(-others * scale);
    memset(y + s->outputs, 0, (s->outputs_width - s->outputs) * sizeof(real));
    return log(sum) + lead;
}

/* Outputs [S][B][O] of one replica become dL/dy, L the mean over B sequences and A scored steps; targets [B][A], classes
   or numbers. Returns whether all targets are classes and all lengths are of the task; if not, L is not to be used. */
static int loss_one(const shape *s, real *outputs, const void *targets, const int64_t *lengths, real *loss) {
    const ptrdiff_t scored = s->scored, answers = s->sequences * scored;
    const int64_t *classes = targets;
    const real *numbers = targets, share = 1 / (real)answers;
    double sum = 0;
    for (ptrdiff_t k = 0; k < s->read_count; k++)
        for (ptrdiff_t b = 0; b < s->sequences; b++, outputs += s->outputs_width) {
            const ptrdiff_t first = s->read_count - scored - (lengths ? s->steps - lengths[b] : 0);
            const ptrdiff_t answer = b * scored + k - first;
            if (first < 0 || first + scored > s->read_count) return 0;
            if (k < first || k >= first + scored)
                memset(outputs, 0, s->outputs_width * sizeof(real));
            else if (s->loss == SQUARED_ERROR)
                sum += squared_error(s, outputs, numbers[answer], share);
            else if (classes[answer] < 0 || classes[answer] >= s->outputs)
                return 0;
            else
                sum += cross_entropy(s, outputs, classes[answer], share);
        }
    *loss = (real)(sum / (double)answers);
    return 1;
}

/* ---- backward ---------------------------------------------------------------------------------------------------*/

static void tanh_back(ptrdiff_t size, const real *d_h, const real *h, real *delta) {
    for (ptrdiff_t k = 0; k < size; k += LANES) {
        const vector y = load(h + k);
        store(delta + k, load(d_h + k) * (1 - y * y));
    }
}

static void relu_back(ptrdiff_t size, const real *d_h, const real *h, real *delta) {
    for (ptrdiff_t k = 0; k < size; k += LANES) store(delta + k, zero_where(load(h + k) <= 0, load(d_h + k)));
}

INLINE vector sigmoid_slope(vector y) { return y * (1 - y); }
INLINE vector tanh_slope(vector y) { return 1 - y * y; }

/* `past` comes in as f_{t+1} dc_{t+1} and leaves as f_t dc_t, with dc_t = past + dh o (1 - tanh(c)^2),
   which goes into `d_c` if it is given. */
static void lstm_back(const shape *s, const real *gates, const real *c_before, const real *squashed, const real *d_h,
                      real *past, real *d_c, real *delta) {
    for (ptrdiff_t b = 0; b < s->sequences; b++, gates += 4 * s->width, delta += 4 * s->width)
        for (ptrdiff_t u = 0; u < s->width; u += LANES) {
            const ptrdiff_t k = b * s->width + u;
            const real *at = gates + u;
            const vector i = load(at + I * s->width), f = load(at + F * s->width);
            const vector g = load(at + G * s->width), o = load(at + O * s->width);
            const vector shown = load(squashed + k), dh = load(d_h + k);
            const vector dc = load(past + k) + dh * o * tanh_slope(shown);
            if (d_c) store(d_c + k, dc);
            store(past + k, dc * f);
            store(delta + I * s->width + u, dc * g * sigmoid_slope(i));
            store(delta + F * s->width + u, dc * load(c_before + k) * sigmoid_slope(f));
            store(delta + G * s->width + u, dc * i * tanh_slope(g));
            store(delta + O * s->width + u, dh * shown * sigmoid_slope(o));
        }
}

/* `past` leaves as z dh, what reaches h_{t-1} through z h_{t-1}. */
static void gru_back(const shape *s, const real *gates, const real *h_before, const real *d_h, real *past,
                     real *delta) {
    for (ptrdiff_t b = 0; b < s->sequences; b++, gates += 4 * s->width, delta += 4 * s->width)
        for (ptrdiff_t u = 0; u < s->width; u += LANES) {
            const ptrdiff_t k = b * s->width + u;
            const real *at = gates + u;
            const vector r = load(at + R * s->width), z = load(at + Z * s->width);
            const vector n_h = load(at + N_H * s->width), n = load(at + N_X * s->width), dh = load(d_h + k);
            const vector kept = dh * z, d_n = (dh - kept) * tanh_slope(n);
            store(past + k, kept);
            store(delta + R * s->width + u, d_n * n_h * sigmoid_slope(r));
            store(delta + Z * s->width + u, dh * (load(h_before + k) - n) * sigmoid_slope(z));
            store(delta + N_H * s->width + u, d_n * r);
            store(delta + N_X * s->width + u, d_n);
        }
}

/* dL/dh_t of all sequences: through step t + 1, whose deltas are given unless t is the last, and through the outputs
   of step t, whose gradient is given if they are read. */
static void state_gradient(const shape *s, const real *parameters, const workspace *w, const real *delta,
                           const real *d_outputs) {
    const ptrdiff_t width = s->width;
    const real *recurrent = packed(s, s->units) ? w->recurrent : parameters + s->recurrent;
    product p = {.start = w->zeros, .start_row = 0, .out = w->d_h, .out_row = width, .terms = 0};
    if (delta) {
        if (s->cell == GRU) p.start = w->past, p.start_row = width;
        for (ptrdiff_t g = 0; g < recurrent_blocks(s); g++)
            p.term[p.terms++] = (term){delta + g * width, blocks(s) * width, 1, recurrent + g * width * width, width,
                                       s->units, packed(s, s->units)};
    }
    if (d_outputs)
        p.term[p.terms++] = (term){d_outputs, s->outputs_width, 1, parameters + s->readout, width, s->outputs};
    multiply(&p, s->sequences, s->units);
}

/* Add what the deltas of `count` pairs of step and sequence want of the cell's parameters. */
static void gather(const shape *s, const workspace *w, const real *h, ptrdiff_t count, real *gradient) {
    const ptrdiff_t width = s->width, all_blocks = blocks(s) * width, rows = 1 + s->inputs;
    const real *packed_h = packed(s, count) ? w->h : h;
    if (packed(s, count)) pack(count, s->units, h, width, 1, w->h);
    for (ptrdiff_t g = 0; g < recurrent_blocks(s); g++) {
        real *out = gradient + s->recurrent + g * width * width;
        const product p = {.start = out, .start_row = width, .out = out, .out_row = width, .terms = 1,
                           .term = {{w->delta + g * width, 1, all_blocks, packed_h, width, count,
                                     packed(s, count)}}};
        multiply(&p, s->units, s->units);
    }
    const product p = {.start = w->d_inputs, .start_row = all_blocks, .out = w->d_inputs, .out_row = all_blocks,
                       .terms = 1, .term = {{w->inputs, 1, rows, w->delta, all_blocks, count}}};
    multiply(&p, rows, all_blocks);
}

static void store_input_gradients(const shape *s, const workspace *w, real *gradient) {
    const ptrdiff_t width = s->width, all_blocks = blocks(s) * width;
    for (ptrdiff_t g = 0; g < blocks(s); g++) {
        const real *block = w->d_inputs + g * width;
        const ptrdiff_t of_x = input_block(s, g);
        memcpy(gradient + bias(s, g), block, width * sizeof(real));
        if (of_x >= 0)
            transpose(s->inputs, width, block + all_blocks, all_blocks, gradient + s->input + of_x * width * s->inputs,
                      s->inputs);
    }
}

/* Of the steps that are read, like `gather` so many at a time: a sum of sums. h: [S][B][H], d_outputs: [S][B][O] */
static void readout_gradients(const shape *s, const real *h, const real *d_outputs, real *gradient) {
    const ptrdiff_t wide = s->outputs_width, total = s->read_count * s->sequences, at_once = STEPS * s->sequences;
    const real one = 1;
    real *weight = gradient + s->readout, *offset = gradient + s->readout_bias;
    for (ptrdiff_t k = 0; k < total; k += at_once) {
        const ptrdiff_t count = total - k < at_once ? total - k : at_once;
        const product p = {.start = weight, .start_row = s->width, .out = weight, .out_row = s->width, .terms = 1,
                           .term = {{d_outputs + k * wide, 1, wide, h + k * s->width, s->width, count}}};
        multiply(&p, s->outputs, s->units);
        const product q = {.start = offset, .start_row = 0, .out = offset, .out_row = 0, .terms = 1,
                           .term = {{&one, 0, 0, d_outputs + k * wide, wide, count}}};
        multiply(&q, 1, s->outputs);
    }
}

#ifdef DOUBLE
typedef stored narrow;
#else
typedef float narrow __attribute__((vector_size(BYTES / 2), aligned(sizeof(float)), may_alias));
#endif
typedef double precise __attribute__((vector_size(BYTES)));

/* The sum of x^2 in double, where a float's square would underflow or overflow. */
static double precise_squares(const real *x, ptrdiff_t count) {
    enum { HALF = BYTES / sizeof(double) };
    precise sums = (precise){0};
    ptrdiff_t u = 0;
    for (; u + HALF <= count; u += HALF) {
        const precise wide = __builtin_convertvector(*(const narrow *)(x + u), precise);
        sums += wide * wide;
    }
    double total = 0;
    for (int k = 0; k < HALF; k++) total += sums[k];
    for (; u < count; u++) total += (double)x[u] * x[u];
    return total;
}

/* a0 + a1, a2 + a3, ..., b0 + b1, ... */
INLINE vector sums_of_pairs(vector a, vector b) {
#ifdef __clang__
    vector sums;
    for (int k = 0; k < LANES / 2; k++) {
        sums[k] = a[2 * k] + a[2 * k + 1];
        sums[LANES / 2 + k] = b[2 * k] + b[2 * k + 1];
    }
    return sums;
#else
    mask even;
    for (int k = 0; k < LANES; k++) even[k] = 2 * k;
    return __builtin_shuffle(a, b, even) + __builtin_shuffle(a, b, even + 1);
#endif
}

/* ||dL^(b)/d row|| of each sequence's own loss L^(b), of which L is the mean over B. norms: [B][T] */
static void sequence_norms(const shape *s, const real *rows, double *norms) {
    for (ptrdiff_t first = 0; first < s->sequences; first += LANES) { /* as many at once as a vector has lanes */
        const ptrdiff_t left = s->sequences - first, count = left < LANES ? left : LANES;
        vector squares[LANES];
        for (ptrdiff_t b = 0; b < LANES; b++) {
            squares[b] = (vector){0};
            const real *x = rows + (first + b) * s->width;
            for (ptrdiff_t u = 0; b < count && u + LANES <= s->units; u += LANES)
                squares[b] += load(x + u) * load(x + u);
        }
        for (int n = LANES / 2; n; n /= 2)
            for (int k = 0; k < n; k++) squares[k] = sums_of_pairs(squares[2 * k], squares[2 * k + 1]);
        for (ptrdiff_t b = 0; b < count; b++) {
            const real *x = rows + (first + b) * s->width;
            double total = squares[0][b];
            for (ptrdiff_t u = s->units / LANES * LANES; u < s->units; u++) /* no padding: an infinite x makes it NaN */
                total += (double)x[u] * x[u];
            if (!(total > 1e-25 && total < 1e30)) total = precise_squares(x, s->units);
            norms[(first + b) * s->steps] = sqrt(total) * (double)s->sequences;
        }
    }
}

/* One replica; `norms` and `cell_norms`, each [B][T] or NULL, take ||dL/dh_t|| and ||dL/dc_t||. */
static void backward_one(const shape *s, const real *parameters, const real *inputs, const history *past,
                         const workspace *w, const real *d_outputs, real *gradient, double *norms, double *cell_norms) {
    const ptrdiff_t size = state(s), sequences = s->sequences, rows = 1 + s->inputs;
    memset(gradient, 0, s->parameters * sizeof(real));
    memset(w->zeros, 0, s->width * sizeof(real));
    memset(w->past, 0, size * sizeof(real));
    memset(w->d_inputs, 0, rows * blocks(s) * s->width * sizeof(real));
    for (ptrdiff_t g = 0; packed(s, s->units) && g < recurrent_blocks(s); g++)
        pack(s->units, s->units, parameters + s->recurrent + g * s->width * s->width, s->width, 1,
             w->recurrent + g * s->width * s->width);
    for (ptrdiff_t t = s->steps - 1; t >= 0; t--) {
        const ptrdiff_t slot = t % STEPS, read = t - s->read_first;
        const real *h_before = past->h + t * size, *gates = past->gates ? past->gates + t * 4 * size : NULL;
        real *delta = w->delta + slot * blocks(s) * size;
        const real *later = t + 1 < s->steps ? w->delta + (t + 1) % STEPS * blocks(s) * size : NULL;
        state_gradient(s, parameters, w, later,
                       is_read(s, t) ? d_outputs + read * sequences * s->outputs_width : NULL);
        switch (s->cell) {
        case TANH: tanh_back(size, w->d_h, h_before + size, delta); break;
        case RELU: relu_back(size, w->d_h, h_before + size, delta); break;
        case LSTM:
            lstm_back(s, gates, past->c + t * size, past->squashed + t * size, w->d_h, w->past,
                      cell_norms ? w->d_c : NULL, delta);
            break;
        case GRU: gru_back(s, gates, h_before, w->d_h, w->past, delta); break;
        }
        if (norms) sequence_norms(s, w->d_h, norms + t);
        if (cell_norms) sequence_norms(s, w->d_c, cell_norms + t);
        for (ptrdiff_t b = 0; b < sequences; b++) {
            real *row = w->inputs + (slot * sequences + b) * rows;
            row[0] = 1;
            memcpy(row + 1, inputs + (b * s->steps + t) * s->inputs, s->inputs * sizeof(real));
        }
        if (slot == 0) {
            const ptrdiff_t steps = s->steps - t < STEPS ? s->steps - t : STEPS;
            gather(s, w, h_before, steps * sequences, gradient);
        }
    }
    store_input_gradients(s, w, gradient);
    readout_gradients(s, past->h + (s->read_first + 1) * size, d_outputs, gradient);
}

/* ---- a pack, replica by replica; every tensor has its replicas on the first axis --------------------------------*/

/* The replicas from `first` to before `last`, without a way back. alive: [R] */
void forward(const shape *s, int64_t first, int64_t last, const real *parameters, const real *inputs,
             const int64_t *lengths, real *memory, real *working, real *outputs, unsigned char *alive) {
    const workspace w = workspace_in(s, working);
    const history past = history_in(s, memory, 0);
    for (ptrdiff_t r = first; r < last; r++)
        alive[r] = forward_one(s, parameters + r * s->parameters, inputs + r * s->sequences * s->steps * s->inputs,
                               lengths ? lengths + r * s->sequences : NULL, 0, &past, &w,
                               outputs + r * s->read_count * s->sequences * s->outputs_width);
}

/* The same with the way back. targets: [R][B][A], or NULL if the loss is GIVEN by its gradient d_outputs [R][S][B][O].
   losses: [R], set unless GIVEN. norms: [parts of the state][R][B][T] or NULL.
   Returns whether targets and lengths fit the shape; what it has left is else not to be used. */
int gradients(const shape *s, int64_t first, int64_t last, const real *parameters, const real *inputs,
              const int64_t *lengths, real *memory, real *working, const void *targets, const real *d_outputs,
              real *losses, real *gradients, double *norms) {
    const workspace w = workspace_in(s, working);
    const history past = history_in(s, memory, 1);
    const ptrdiff_t trace = s->sequences * s->steps, answers = s->sequences * s->scored;
    const ptrdiff_t answer = s->loss == CROSS_ENTROPY ? sizeof(int64_t) : sizeof(real);
    for (ptrdiff_t r = first; r < last; r++) {
        const real *own = parameters + r * s->parameters, *shown = inputs + r * trace * s->inputs;
        const int64_t *ends = lengths ? lengths + r * s->sequences : NULL;
        double *of_h = norms ? norms + r * trace : NULL;
        double *of_c = norms && s->cell == LSTM ? of_h + s->replicas * trace : NULL;
        forward_one(s, own, shown, ends, 1, &past, &w, w.outputs);
        if (s->loss != GIVEN &&
            !loss_one(s, w.outputs, (const char *)targets + r * answers * answer, ends, losses + r))
            return 0;
        backward_one(s, own, shown, &past, &w,
                     s->loss == GIVEN ? d_outputs + r * s->read_count * s->sequences * s->outputs_width : w.outputs,
                     gradients + r * s->parameters, of_h, of_c);
    }
    return 1;
}
