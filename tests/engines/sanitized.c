/* A step's kernel with every array in memory of exactly its size: to be run under sanitizers.

   `step.c` is the text of the kernel, `numbers.h` what it would be told at run time, and how long each array is. */

#include <stdio.h>
#include <stdlib.h>

#include "step.c"

#include "numbers.h"

static real *filled(size_t count) {
    real *numbers = calloc(count ? count : 1, sizeof(real));
    for (size_t k = 0; k < count; k++) numbers[k] = (real)((k * 2654435761u) % 1000) / 2000 - (real)0.25;
    return numbers;
}

int main(void) {
    shape s = SHAPE;
    static real origin[1];
    for (int k = 0; k < ARRAYS; k++) {
        real *block = calloc(EXTENTS[k][0] * EXTENTS[k][1] + 1, sizeof(real)); /* 1: none is empty */
        if (EXTENTS[k][0] * EXTENTS[k][1]) block = realloc(block, EXTENTS[k][0] * EXTENTS[k][1] * sizeof(real));
        PLACES[2 * k] = block - origin;
    }
    const int64_t sequences = s.replicas * s.sequences, answers = sequences * s.scored, read = sequences * s.read_count;
    real *parameters = filled(s.replicas * s.row), *x = filled(sequences * s.steps * s.inputs);
    real *outputs = filled(read * s.outputs_width), *gradient = filled(s.replicas * s.row);
    real *numbers = filled(answers), *losses = filled(s.replicas);
    double *norms = calloc(STATES * sequences * s.steps, sizeof(double)), *thresholds = calloc(s.replicas, sizeof(double));
    int64_t *lengths = calloc(sequences, sizeof(int64_t)), *classes = calloc(answers, sizeof(int64_t));
    unsigned char *alive = calloc(s.replicas, 1);
    const masks all_masks = {filled(sequences * s.width), filled(read * s.width)};
    const masks recurrent = {all_masks.recurrent, NULL}; /* a step that sees none does not look at it */
    const void *targets[] = {NULL, numbers, classes}; /* in the order of the losses */
    for (int64_t k = 0; k < sequences; k++) lengths[k] = s.steps - (s.read_count > s.scored ? k % 2 : 0);
    for (int64_t k = 0; k < answers; k++) classes[k] = k % s.outputs;
    for (int64_t k = 0; k < s.replicas; k++) thresholds[k] = 1e-3;
    for (int masked = 0; masked <= MASKED; masked++) {
        const masks *m = masked ? &all_masks : &recurrent;
        for (s.clipping = 0; s.clipping <= CLIPPED; s.clipping++)
            for (s.loss = GIVEN; s.loss <= CROSS_ENTROPY; s.loss++)
                if (!gradients(&s, 0, s.replicas, parameters, x, lengths, m, (real *)origin, targets[s.loss], outputs,
                               thresholds, losses, gradient, norms))
                    puts("refused");
        forward(&s, 0, s.replicas, parameters, x, lengths, m, (real *)origin, outputs, alive);
    }
    puts("sound");
    return 0;
}
