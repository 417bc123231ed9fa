/* The kernel on shapes of every kind, in memory of exactly the size it asks for: to be run under sanitizers. */

#include <stdio.h>
#include <stdlib.h>

#include "recurrence.c"

static real *filled(size_t count) {
    real *numbers = calloc(count ? count : 1, sizeof(real));
    for (size_t k = 0; k < count; k++) numbers[k] = (real)((k * 2654435761u) % 1000) / 2000 - (real)0.25;
    return numbers;
}

static ptrdiff_t padded(ptrdiff_t size) { return (size + 15) / 16 * 16; }

static void run(int64_t cell, int64_t units, int64_t sequences, int64_t steps, int64_t inputs, int64_t outputs) {
    const int64_t replicas = 2, read = steps < 3 ? steps : 3, w = padded(units), wide = padded(outputs);
    shape s = {.cell = cell, .replicas = replicas, .sequences = sequences, .steps = steps, .inputs = inputs,
               .units = units, .width = w, .outputs = outputs, .outputs_width = wide, .read_first = steps - read,
               .read_count = read, .scored = read > 1 ? read - 1 : 1};
    const int64_t gates = cell == GRU ? 3 : blocks(&s);
    s.input = gates * w * w;
    s.bias = s.input + gates * w * inputs;
    s.candidate_bias = s.bias + gates * w;
    s.readout = s.candidate_bias + w;
    s.readout_bias = s.readout + wide * w;
    s.parameters = s.readout_bias + wide;

    real *parameters = filled(replicas * s.parameters), *x = filled(replicas * sequences * steps * inputs);
    real *outputs_of = filled(replicas * read * sequences * wide);
    real *gradients_of = calloc(replicas * s.parameters, sizeof(real));
    real *working = calloc(workspace_size(&s), sizeof(real)), losses[2];
    double *norms = calloc(2 * replicas * sequences * steps, sizeof(double));
    int64_t *lengths = calloc(replicas * sequences, sizeof(int64_t));
    int64_t *classes = calloc(replicas * sequences * s.scored, sizeof(int64_t));
    real *numbers = filled(replicas * sequences * s.scored);
    const void *targets[] = {NULL, numbers, classes}; /* in the order of the losses */
    unsigned char alive[2];
    for (int64_t k = 0; k < replicas * sequences; k++) lengths[k] = steps - (read > 1 ? k % 2 : 0);
    for (int64_t k = 0; k < replicas * sequences * s.scored; k++) classes[k] = k % outputs;
    real *memory = calloc(history_size(&s, 0), sizeof(real));
    forward(&s, 0, replicas, parameters, x, NULL, memory, working, outputs_of, alive);
    free(memory);
    memory = calloc(history_size(&s, 1), sizeof(real));
    for (s.loss = GIVEN; s.loss <= CROSS_ENTROPY; s.loss++)
        if (!gradients(&s, 0, replicas, parameters, x, lengths, memory, working, targets[s.loss], outputs_of, losses,
                       gradients_of, norms))
            puts("refused");
    free(memory), free(classes), free(numbers);
    free(parameters), free(x), free(outputs_of), free(gradients_of), free(working), free(norms), free(lengths);
}

int main(void) {
    const int64_t units[] = {1, 3, 16, 17, 64, 100, 128};
    for (int64_t cell = TANH; cell <= GRU; cell++)
        for (size_t k = 0; k < sizeof units / sizeof *units; k++) {
            run(cell, units[k], 5, 9, 2, 1);
            run(cell, units[k], 1, 1, 11, 19);
        }
    puts("sound");
    return 0;
}
