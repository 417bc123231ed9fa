/* The losses that the kernel knows, and their derivative by the outputs. */


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
