/* What a step does to numbers one by one, on vectors; NaN comes through all of it. */

#include <math.h>
#include <string.h>

#include "products.h"

enum { STEPS = 8 }; /* whose deltas are kept, to be summed into the weights' gradients together */

/* exp and its kin: x = n ln 2 + r, |r| <= ln(2)/2; e^r - 1 by a polynomial, scaled by 2^n. Where x is small n is 0 and e^x - 1 is as
   exact as the polynomial, so tanh keeps its relative precision down to the smallest numbers. */

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
static const real FAR = 746; /* e^-746 is 0, e^746 infinite */
static const real SMALLEST = 2.2250738585072014e-308, DENORMAL_SCALE = 0x1p54;
enum { DENORMAL_EXPONENT = 54, ARTANH = 11 }; /* terms of the series after the first; the next is 6e-19 of it */
static const real TURNING = 1e5;
static const real QUARTERS[] = {1.57079632673412561417, 6.07710050630396597660e-11, 2.02226624879595063154e-21};
static const real SINE[] = { /* Taylor: 1/17!, ..., -1/3!; likewise the cosine's */
    2.8114572543455206e-15, -7.6471637318198165e-13, 1.6059043836821613e-10, -2.5052108385441719e-8,
    2.7557319223985893e-6, -1.9841269841269841e-4, 8.3333333333333333e-3, -1.6666666666666667e-1};
static const real COSINE[] = {4.7794773323873853e-14, -1.1470745597729725e-11, 2.0876756987868099e-9,
                              -2.7557319223985888e-7, 2.4801587301587302e-5, -1.3888888888888889e-3,
                              4.1666666666666667e-2, -0.5};
#else
enum { EXPONENT = 23, BIAS = 127 };
static const real ROUND = 0x1.8p23f, LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
static const real SATURATED = 40, LARGEST = 87; /* tanh(20) is 1; e^87 is finite */
static const real SERIES[] = { /* Taylor: 1/8!, ..., 1/2!; the next term is 6e-10 of r */
    2.4801587e-5f, 1.9841270e-4f, 1.3888889e-3f, 8.3333333e-3f, 4.1666667e-2f, 0.16666667f, 0.5f};
static const real FAR = 105; /* e^-105 is 0, e^105 infinite */
static const real SMALLEST = 1.17549435e-38f, DENORMAL_SCALE = 0x1p25f;
enum { DENORMAL_EXPONENT = 25, ARTANH = 5 }; /* terms of the series after the first; the next is 2e-9 of it */
static const real TURNING = 8192;
static const real QUARTERS[] = {1.5703125f, 4.837512969970703125e-4f, 7.54978995489188216e-8f};
static const real SINE[] = {2.7557319e-6f, -1.9841270e-4f, 8.3333333e-3f, -0.16666667f}; /* Taylor: 1/9!, ..., -1/3! */
static const real COSINE[] = {-2.7557319e-7f, 2.4801587e-5f, -1.3888889e-3f, 4.1666667e-2f, -0.5f};
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

INLINE power exponential(vector x) {
    power e;
    exponentials(1, &x, &e);
    return e;
}

INLINE vector hyperbolic_tangent(vector x) {
    hyperbolic_tangents(1, &x);
    return x;
}

INLINE vector sigmoid(vector x) {
    sigmoids(1, &x);
    return x;
}

/* e^x, through denormal numbers down to 0 and up to infinity: 2^n in two factors, for n may be larger than a factor's */
INLINE vector power_of_e(vector x) {
    const vector near = where(x > FAR, all(FAR), where(x < -FAR, all(-FAR), x));
    const vector shifted = near * all((real)1.4426950408889634) + ROUND;
    const mask n = (mask)shifted - (mask)all(ROUND), half_n = n >> 1;
    const vector first = (vector)((half_n + BIAS) << EXPONENT), second = (vector)((n - half_n + BIAS) << EXPONENT);
    return (exponential(near).rest * first + first) * second;
}

/* e^x - 1 */
INLINE vector power_less_one(vector x) {
    const vector near = where(x > LARGEST, all(LARGEST), where(x < -SATURATED, all(-SATURATED), x));
    const power e = exponential(near);
    return where(x > LARGEST, power_of_e(x), e.scale * e.rest + (e.scale - 1));
}

/* ln x = e ln 2 + ln m, m from sqrt(1/2) to sqrt(2), f = m - 1, s = f / (2 + f): ln m = 2 artanh s by its series */
INLINE vector logarithm(vector x) {
    const mask denormal = x < SMALLEST;
    const mask bits = (mask)where(denormal, x * DENORMAL_SCALE, x);
    const mask one = (mask)all(1);
    const vector mantissa = (vector)((bits & (((whole)1 << EXPONENT) - 1)) | one);
    const mask upper = mantissa > (real)1.4142135623730951;
    const mask exponent = ((bits >> EXPONENT) & (2 * BIAS + 1)) - BIAS - (denormal & DENORMAL_EXPONENT) - upper;
    const vector e = __builtin_convertvector(exponent, vector);
    const vector f = where(upper, mantissa * (real)0.5, mantissa) - 1, s = f / (2 + f), z = s * s;
    vector sum = all((real)2 / (2 * ARTANH + 1));
#pragma GCC unroll 16
    for (int k = ARTANH - 1; k > 0; k--) sum = sum * z + (real)2 / (2 * k + 1);
    const vector found = e * LN2_HIGH + ((f - s * (f - sum * z)) + e * LN2_LOW);
    const vector odd = where(x == 0, all(-INFINITY), where(x < 0, all(NAN), x)); /* else infinite or NaN itself */
    return where((x > 0) & (x < INFINITY), found, odd);
}

/* ln(1 + x); what rounding 1 + x = u loses is made up for */
INLINE vector logarithm_of_more(vector x) {
    const vector u = 1 + x, found = logarithm(u);
    return where((u > 0) & (u < INFINITY), found + (x - (u - 1)) / u, found);
}

/* ln(1 + e^x), x itself above 20, as torch has it */
INLINE vector softplus(vector x) {
    return where(x > 20, x, logarithm_of_more(power_of_e(where(x > 20, all(0), x))));
}

INLINE vector square_root(vector x) {
    vector y;
    for (int k = 0; k < LANES; k++) y[k] = (real)sqrt(x[k]);
    return y;
}

INLINE int any_lane(mask m) {
    whole found = 0;
    for (int k = 0; k < LANES; k++) found |= m[k];
    return found != 0;
}

/* sin(x + quarter pi/2), by the series of sine and cosine around the nearest multiple of pi/2. Beyond TURNING, where the
   three parts of pi/2 are not exact enough, by the C library. */
INLINE vector turned(vector x, whole quarter) {
    if (__builtin_expect(any_lane((x > TURNING) | (x < -TURNING)), 0)) {
        vector y;
        for (int k = 0; k < LANES; k++) y[k] = (real)(quarter ? cos(x[k]) : sin(x[k]));
        return y;
    }
    const vector shifted = x * (real)0.63661977236758134 + ROUND, n = shifted - ROUND;
    const mask turn = (mask)shifted - (mask)all(ROUND) + quarter;
    const vector r = ((x - n * QUARTERS[0]) - n * QUARTERS[1]) - n * QUARTERS[2], z = r * r;
    vector sine = all(SINE[0]), cosine = all(COSINE[0]);
#pragma GCC unroll 16
    for (size_t k = 1; k < sizeof SINE / sizeof *SINE; k++) sine = sine * z + SINE[k];
#pragma GCC unroll 16
    for (size_t k = 1; k < sizeof COSINE / sizeof *COSINE; k++) cosine = cosine * z + COSINE[k];
    const vector found = where((turn & 1) != 0, 1 + z * cosine, r + r * (z * sine));
    return where((turn & 2) != 0, -found, found);
}

INLINE vector sine(vector x) { return turned(x, 0); }
INLINE vector cosine(vector x) { return turned(x, 1); }

INLINE vector positive(vector x) { return zero_where(x < 0, x); } /* NaN is not below 0 and stays */
INLINE vector absolute(vector x) { return (vector)((mask)x & ~(mask)all(-0.0f)); }
INLINE vector sign(vector x) { return where(x > 0, all(1), where(x < 0, all(-1), all(0))); } /* 0 of NaN, as torch has it */
INLINE vector greater(vector a, vector b) { return where((a > b) | (a != a), a, b); }
INLINE vector lesser(vector a, vector b) { return where((a < b) | (a != a), a, b); }

/* Lanes that lie outside the units, for a vector of those from u on. */
INLINE mask beyond(ptrdiff_t u, ptrdiff_t units) {
    mask lane;
    for (int k = 0; k < LANES; k++) lane[k] = k;
    return lane >= (whole)(units - u);
}

INLINE real sum_of_lanes(vector x) {
    for (int n = LANES / 2; n; n /= 2)
        for (int k = 0; k < n; k++) x[k] = x[k] + x[k + n];
    return x[0];
}
