/* What a pass is told of its shape, and where its numbers lie.

   All matrices are row-major. What each sequence has lies in rows, units side by side, padded to whole vectors. Sums run
   over the units alone, so what stands in the padding (0, after an infinite input perhaps NaN) comes to nothing. */

enum { GIVEN, SQUARED_ERROR, CROSS_ENTROPY }; /* losses */
enum { UNCLIPPED, BY_VALUE, BY_NORM };        /* what is done to dL/dh_t on its way back */

/* As `compiled.py` fills it in; sizes are counted in numbers, not in bytes. */
typedef struct {
    int64_t loss, clipping, replicas, sequences, steps, inputs, units, width, outputs, outputs_width;
    int64_t read_first, read_count; /* the steps whose outputs are asked for */
    int64_t scored;                 /* how many of them, up to its own last step, enter a sequence's loss */
    int64_t parameters, row;        /* of a replica, and with what torch made of them */
    int64_t readout, readout_bias;  /* where they start */
    int64_t paddings;               /* how many there are */
    const int64_t *padding;         /* of parameters: where rows start, how many, how much of each is used, how long it is */
    const int64_t *sizes;           /* numbers of units that a step knows, each followed by the width of its rows */
    const int64_t *lengths;         /* of runs of units that a step moves */
    const int64_t *operands;        /* where a weight that a step uses starts in a replica's row, and its strides */
    const int64_t *places;          /* where an array starts in the memory, and how many numbers a step of it has */
    const double *constants;        /* numbers of a step's equation */
} shape;

/* One replica's pass. */
typedef struct {
    const real *parameters; /* its row */
    real *gradient;         /* likewise */
    const real *inputs;     /* [B][T][I] */
    double threshold;       /* of clipping on the way back */
    int traced;             /* whether the norms of dL/d(state) are asked for */
    real *array[ARRAYS];
} pass;

INLINE real *rows(const shape *s, const pass *w, int array, ptrdiff_t step) {
    return w->array[array] + step * s->places[2 * array + 1];
}

INLINE const real *weight(const shape *s, const pass *w, int operand) {
    return w->parameters + s->operands[3 * operand];
}

INLINE real *weight_gradient(const shape *s, const pass *w, int operand) {
    return w->gradient + s->operands[3 * operand];
}

/* to[k][n] = from[k][n] */
static void spread(ptrdiff_t rows, ptrdiff_t columns, const real *from, ptrdiff_t from_row, ptrdiff_t from_step,
                   real *to, ptrdiff_t to_row) {
    if (from_row == 1) /* read along what lies side by side */
        for (ptrdiff_t n = 0; n < columns; n++)
            for (ptrdiff_t k = 0; k < rows; k++) to[k * to_row + n] = from[k + n * from_step];
    else
        for (ptrdiff_t k = 0; k < rows; k++)
            for (ptrdiff_t n = 0; n < columns; n++) to[k * to_row + n] = from[k * from_row + n * from_step];
}

/* Of `count` rows of a matrix, how many are packed for products: all or none. Only rows that are whole vectors are. */
INLINE ptrdiff_t packed(ptrdiff_t count, ptrdiff_t units, ptrdiff_t width) {
    return units == width && worth_packing(width) ? count : 0;
}

/* The rows of a weight for products on the way back: packed, as `pack_weight` has left them, or as they lie. */
INLINE const real *rows_back(const shape *s, const pass *w, int operand, int array, ptrdiff_t units, ptrdiff_t width) {
    return packed(1, units, width) ? w->array[array] : weight(s, w, operand);
}

INLINE void pack_weight(const shape *s, const pass *w, int operand, int array, ptrdiff_t count, ptrdiff_t units,
                        ptrdiff_t width) {
    if (packed(1, units, width)) pack(count, units, weight(s, w, operand), width, 1, w->array[array]);
}

/* A weight of a step, its K rows and N columns copied side by side. */
INLINE void spread_weight(const shape *s, const pass *w, int operand, ptrdiff_t rows, ptrdiff_t columns, real *to,
                          ptrdiff_t to_row) {
    const int64_t *o = s->operands + 3 * operand;
    spread(rows, columns, w->parameters + o[0], o[1], o[2], to, to_row);
}

/* The same, packed if that is worth it. */
INLINE void lay_weight(const shape *s, const pass *w, int operand, ptrdiff_t rows, ptrdiff_t columns, real *to,
                       ptrdiff_t to_row) {
    const int64_t *o = s->operands + 3 * operand;
    if (packed(rows, columns, to_row))
        pack(rows, columns, w->parameters + o[0], o[1], o[2], to);
    else
        spread_weight(s, w, operand, rows, columns, to, to_row);
}

/* to[u] += from[u] */
INLINE void add_row(const real *from, ptrdiff_t units, real *to, ptrdiff_t to_step) {
    for (ptrdiff_t u = 0; u < units; u++) to[u * to_step] += from[u];
}

/* The same, and what was summed up begins at 0 again: a sum of sums loses less than one long sum. */
INLINE void add_sums(real *sums, ptrdiff_t units, real *to) {
    add_row(sums, units, to, 1);
    memset(sums, 0, units * sizeof(real));
}

/* Whether blocks of columns are multiplied as one, for which they lie in the same rows of `right`: where they fill one
   row of tiles. Longer rows would only lie farther apart, and then fall on few lines of the cache. */
INLINE int together(ptrdiff_t blocks, ptrdiff_t units, ptrdiff_t width) {
    return units == width && blocks * width <= COLUMNS * LANES;
}

/* The weights of several blocks of columns, for products of the same lefts: where the rows of a block start, and how far
   apart they lie; rows: of all lefts, and one for the bias. */
INLINE real *block_of(real *weights, ptrdiff_t block, ptrdiff_t blocks, ptrdiff_t rows, ptrdiff_t units, ptrdiff_t width) {
    return weights + block * (together(blocks, units, width) ? width : rows * width);
}

INLINE ptrdiff_t row_of(ptrdiff_t blocks, ptrdiff_t units, ptrdiff_t width) {
    return together(blocks, units, width) ? blocks * width : width;
}

/* The product of all blocks; p is that of the first, and its results lie side by side. */
static void multiply_blocks(product p, ptrdiff_t sequences, ptrdiff_t blocks, ptrdiff_t rows, ptrdiff_t units,
                            ptrdiff_t width) {
    if (together(blocks, units, width)) {
        multiply(&p, sequences, blocks * width);
        return;
    }
    for (ptrdiff_t g = 0; g < blocks; g++) {
        multiply(&p, sequences, units);
        p.start += rows * width, p.out += width;
        for (int i = 0; i < p.terms; i++) p.term[i].right += rows * width;
    }
}

/* dL/d(part of the state) of one sequence, clipped as that of its own loss: B times its share of the mean. */
static void clip(const shape *s, const pass *w, real *row) {
    const double sequences = (double)s->sequences, threshold = w->threshold;
    if (s->clipping == BY_VALUE)
        for (ptrdiff_t u = 0; u < s->units; u++) {
            const double x = row[u] * sequences;
            if (x > threshold || x < -threshold) row[u] = (real)((x > 0 ? threshold : -threshold) / sequences);
        }
    if (s->clipping != BY_NORM) return;
    double largest = 0, squares = 0;
    for (ptrdiff_t u = 0; u < s->units; u++) {
        const double x = fabs((double)row[u]);
        largest = x > largest || x != x ? x : largest;
    }
    const double unit = largest > 0 && largest < INFINITY ? largest : 1;
    for (ptrdiff_t u = 0; u < s->units; u++) squares += (row[u] / unit) * (row[u] / unit);
    const double norm = unit * sqrt(squares) * sequences;
    if (!(norm > threshold)) return;
    const real root = (real)sqrt(threshold / norm); /* of an exploding net the factor itself may underflow */
    for (ptrdiff_t u = 0; u < s->units; u++) row[u] = row[u] * root * root;
}
