/* Sums of products of small matrices, in tiles that stay in the registers of this CPU, and the vectors they consist of.

   For float and, with -DDOUBLE, for double. The order of every sum is given by the shapes alone: neither the size of
   the vectors nor that of the tiles changes it. */

#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef DOUBLE
typedef double real;
typedef int64_t whole;
#else
typedef float real;
typedef int32_t whole;
#endif

/* The vectors of this CPU, how many it has room for, and the most of them in a row of a tile such that four rows fit.
   Vectors wider than the CPU's own would be split by the compiler and spilled: an order of magnitude slower. */
#if defined(__AVX512F__)
enum { BYTES = 64, COLUMNS = 7, REGISTERS = 32 };
#elif defined(__AVX2__)
enum { BYTES = 32, COLUMNS = 3, REGISTERS = 16 };
#elif defined(__ARM_NEON)
enum { BYTES = 16, COLUMNS = 6, REGISTERS = 32 };
#else
enum { BYTES = 16, COLUMNS = 3, REGISTERS = 16 }; /* or whatever there is */
#endif
enum { ROWS = 4, LANES = BYTES / sizeof(real) };

typedef real vector __attribute__((vector_size(BYTES)));
typedef whole mask __attribute__((vector_size(BYTES))); /* of the same lanes: all bits set, or none */
typedef real stored __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias)); /* anywhere in memory */
typedef real half __attribute__((vector_size(BYTES / 2)));
typedef real stored_half __attribute__((vector_size(BYTES / 2), aligned(sizeof(real)), may_alias));

#define INLINE static inline __attribute__((always_inline))

/* A compiler would rather load a value again at each of its uses, and the loads would take longer than the sums. */
#if defined(__x86_64__)
#define IN_REGISTER(x) __asm__("" : "+v"(x))
#elif defined(__ARM_NEON)
#define IN_REGISTER(x) __asm__("" : "+w"(x))
#else
#define IN_REGISTER(x) (void)(x)
#endif

/* To the compiler a pointer to somewhere else, so that it loads again instead of keeping what it has in a register. */
#define NOT_KEPT(pointer) __asm__ volatile("" : "+r"(pointer))

INLINE vector load(const real *from) { return *(const stored *)from; }
INLINE void store(real *to, vector x) { *(stored *)to = x; }
INLINE vector all(real x) { return x - (vector){0}; }
INLINE vector zero_where(mask m, vector x) { return (vector)((mask)x & ~m); }
INLINE vector where(mask m, vector yes, vector no) { return (vector)(((mask)yes & m) | ((mask)no & ~m)); }

/* ---- products ---------------------------------------------------------------------------------------------------

   out[m][n] = start[m][n] + sum over all terms and k of left[m][k] right[k][n]

   A tile of at most ROWS x COLUMNS vectors of `out` lies in registers while k runs. The sum starts from zero and
   `start` is added last: a gradient gathered from many tiles is a sum of sums, which loses less than one long sum. */

typedef struct {
    const real *left;
    ptrdiff_t row, step; /* left[m][k] stands at m row + k step */
    const real *right;
    ptrdiff_t width; /* of a row of `right` */
    ptrdiff_t count; /* of k */
    ptrdiff_t packed; /* how many rows `pack` has laid out at `right`, or 0 if it has not */
} term;

enum { TERMS = 12 }; /* most that a sum has */

typedef struct {
    const real *start;
    ptrdiff_t start_row; /* 0: every row starts alike */
    real *out;
    ptrdiff_t out_row;
    int terms;
    term term[TERMS];
} product;

/* The columns of a product are cut into panels of nearly equal width. */
INLINE ptrdiff_t vectors_of(ptrdiff_t columns) { return (columns + LANES - 1) / LANES; }
INLINE ptrdiff_t panels_of(ptrdiff_t columns) { return (vectors_of(columns) + COLUMNS - 1) / COLUMNS; }
INLINE ptrdiff_t width_of(ptrdiff_t columns, ptrdiff_t panel) {
    return (vectors_of(columns) + panel) / panels_of(columns);
}

#ifdef TILES_ELSEWHERE /* compiled once, in `products.c`, for all that is linked with it */
void multiply_elsewhere(const product *p, ptrdiff_t rows, ptrdiff_t columns);
#define multiply multiply_elsewhere
#else

/* `columns` vectors of a row, of which the last is only half a vector if it is `halved`.

   For every k, vectors of `right` are loaded first, then one number of `left` after the other is spread over a register
   and multiplied with all of them. So a tile takes a register for each sum, each vector, and one more. With the two
   loops the other way round all numbers of a column of `left` would stay in registers, and a sum would have to go: the
   store and the load of a sum at every k halve the speed. What does not fit even so goes through `left` again with the
   next few vectors. */
INLINE void tile(const int rows, const int columns, const int halved, const product *p, ptrdiff_t row,
                 ptrdiff_t column) {
    const int full = columns - halved, unused = REGISTERS - rows * columns - 1;
    const int together = unused < columns ? unused : columns;
    vector sum[ROWS][COLUMNS];
    half rest[ROWS];
#pragma GCC unroll 8
    for (int m = 0; m < rows; m++) {
        rest[m] = (half){0};
#pragma GCC unroll 8
        for (int n = 0; n < full; n++) sum[m][n] = all(0);
    }
    for (int i = 0; i < p->terms; i++) {
        const term *s = &p->term[i];
        const real *left = s->left + row * s->row, *right = s->right + column * (s->packed ? s->packed : 1);
        const ptrdiff_t left_row = s->row, step = s->step, width = s->packed ? columns * LANES : s->width;
        for (ptrdiff_t k = 0; k < s->count; k++, left += step, right += width) {
#pragma GCC unroll 8
            for (int first = 0; first < columns; first += together) {
                const int last = first + together < columns ? first + together : columns;
                const int last_full = last < full ? last : full;
                vector x[COLUMNS];
                half x_rest = (half){0};
                const real *from = left;
                if (together < columns) NOT_KEPT(from);
#pragma GCC unroll 8
                for (int n = first; n < last_full; n++) {
                    x[n] = load(right + n * LANES);
                    IN_REGISTER(x[n]);
                }
                if (last > full) {
                    x_rest = *(const stored_half *)(right + full * LANES);
                    IN_REGISTER(x_rest);
                }
#pragma GCC unroll 8
                for (int m = 0; m < rows; m++) {
                    vector y = all(from[m * left_row]);
                    IN_REGISTER(y);
#pragma GCC unroll 8
                    for (int n = first; n < last_full; n++) sum[m][n] += y * x[n];
                    if (last > full) rest[m] += *(const stored_half *)&y * x_rest;
                }
            }
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < rows; m++) {
        const real *start = p->start + (row + m) * p->start_row + column;
        real *out = p->out + (row + m) * p->out_row + column;
#pragma GCC unroll 8
        for (int n = 0; n < full; n++) store(out + n * LANES, load(start + n * LANES) + sum[m][n]);
        if (halved) *(stored_half *)(out + full * LANES) = *(const stored_half *)(start + full * LANES) + rest[m];
    }
}

typedef void tile_function(const product *, ptrdiff_t row, ptrdiff_t column);

#define TILE(M, N, HALVED) \
    static void tile_##M##_##N##_##HALVED(const product *p, ptrdiff_t row, ptrdiff_t column) { \
        tile(M, N, HALVED, p, row, column); \
    }
#define TILES(N, HALVED) TILE(1, N, HALVED) TILE(2, N, HALVED) TILE(3, N, HALVED) TILE(4, N, HALVED)
#define OF(N, HALVED) {tile_1_##N##_##HALVED, tile_2_##N##_##HALVED, tile_3_##N##_##HALVED, tile_4_##N##_##HALVED}
TILES(1, 0) TILES(2, 0) TILES(3, 0)
#if defined(__AVX512F__)
TILES(4, 0) TILES(5, 0) TILES(6, 0) TILES(7, 0)
TILES(1, 1) TILES(2, 1) TILES(3, 1) TILES(4, 1) TILES(5, 1) TILES(6, 1) TILES(7, 1)
enum { HALVES = 1 };
static tile_function *const TILE_OF[][COLUMNS][ROWS] = {
    {OF(1, 0), OF(2, 0), OF(3, 0), OF(4, 0), OF(5, 0), OF(6, 0), OF(7, 0)},
    {OF(1, 1), OF(2, 1), OF(3, 1), OF(4, 1), OF(5, 1), OF(6, 1), OF(7, 1)}};
#elif defined(__ARM_NEON)
TILES(4, 0) TILES(5, 0) TILES(6, 0)
enum { HALVES = 0 };
static tile_function *const TILE_OF[][COLUMNS][ROWS] = {
    {OF(1, 0), OF(2, 0), OF(3, 0), OF(4, 0), OF(5, 0), OF(6, 0)}};
#else
enum { HALVES = 0 };
static tile_function *const TILE_OF[][COLUMNS][ROWS] = {{OF(1, 0), OF(2, 0), OF(3, 0)}};
#endif

/* `rows` x `columns` numbers; of what lies between `columns` and the next whole vector nothing may be expected. Where
   vectors are long their last half is left out if nothing is there: H = 100 would take 7 vectors of 16, and takes
   6 1/2. */
static void multiply(const product *p, ptrdiff_t rows, ptrdiff_t columns) {
    const ptrdiff_t panels = panels_of(columns);
    const ptrdiff_t halved = HALVES && vectors_of(columns) * LANES - columns >= LANES / 2;
    ptrdiff_t column = 0;
    for (ptrdiff_t panel = 0; panel < panels; panel++) {
        const ptrdiff_t wide = width_of(columns, panel);
        for (ptrdiff_t row = 0; row < rows; row += ROWS) {
            const ptrdiff_t high = rows - row < ROWS ? rows - row : ROWS;
            TILE_OF[halved && panel == panels - 1][wide - 1][high - 1](p, row, column);
        }
        column += wide * LANES;
    }
}

#endif

/* Whether a matrix that is used many times and whose rows are `width` numbers apart is worth packing. The rows of a
   panel, a multiple of 512 bytes apart, lie in an eighth of the cache's sets or less and throw each other out. Vectors
   as long as a line of the cache gain nothing. */
INLINE int worth_packing(ptrdiff_t width) { return BYTES < 64 && width * sizeof(real) % 512 == 0; }

/* Lay out right[k][n] = from[k row + n column] for a term with `packed` rows: one panel after the other. */
static void pack(ptrdiff_t rows, ptrdiff_t columns, const real *from, ptrdiff_t row, ptrdiff_t column, real *to) {
    for (ptrdiff_t panel = 0; panel < panels_of(columns); panel++) {
        const ptrdiff_t wide = width_of(columns, panel) * LANES;
        for (ptrdiff_t n = 0; n < wide; n += LANES, from += LANES * column)
            for (ptrdiff_t k = 0; k < rows; k++)
                if (column == 1)
                    store(to + k * wide + n, load(from + k * row));
                else
                    for (int lane = 0; lane < LANES; lane++) to[k * wide + n + lane] = from[k * row + lane * column];
        to += rows * wide;
    }
}
