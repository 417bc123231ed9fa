/* ||dL/dh_t|| of every sequence, also where squares would leave the range of a float. */

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
