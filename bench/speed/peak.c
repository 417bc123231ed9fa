/* The most floating point operations of a core: multiplications with additions, in registers alone. */

#include <stdint.h>

#if defined(__AVX512F__)
enum { BYTES = 64 };
#elif defined(__AVX2__)
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
enum { SUMS = 12, LANES = BYTES / sizeof(float) }; /* a core works on 8 to 10 at once; 12 and two factors fit anywhere */

typedef float vector __attribute__((vector_size(BYTES)));

/* 24 operations per round and lane; the numbers stay near `add` / (1 - `factor`). */
float multiply_and_add(int64_t rounds, float factor, float add) {
    vector sum[SUMS], x = factor - (vector){0}, y = add - (vector){0}, total = {0};
    for (int n = 0; n < SUMS; n++) sum[n] = (float)n - (vector){0};
    for (int64_t k = 0; k < rounds; k++)
#pragma GCC unroll 16
        for (int n = 0; n < SUMS; n++) sum[n] = sum[n] * x + y;
    for (int n = 0; n < SUMS; n++) total += sum[n];
    return total[0];
}

int64_t operations(int64_t rounds) { return rounds * 2 * SUMS * LANES; }
