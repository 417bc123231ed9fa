/* A replica through time, forward and back, around the step that is generated before this file is included. */

static pass pass_in(const shape *s, real *memory) {
    pass w = {.gradient = NULL};
    for (int k = 0; k < ARRAYS; k++) w.array[k] = memory + s->places[2 * k];
    return w;
}

static int is_read(const shape *s, ptrdiff_t t) { return t >= s->read_first && t < s->read_first + s->read_count; }

/* The input of step t in rows that may be read by whole vectors. */
static void show(const shape *s, const pass *w, ptrdiff_t t) {
#ifdef SHOWN
    const ptrdiff_t width = s->places[2 * SHOWN + 1] / s->sequences;
    for (ptrdiff_t b = 0; b < s->sequences; b++)
        memcpy(w->array[SHOWN] + b * width, w->inputs + (b * s->steps + t) * s->inputs, s->inputs * sizeof(real));
#else
    (void)s, (void)w, (void)t;
#endif
}

/* ---- forward ----------------------------------------------------------------------------------------------------*/

/* A sequence that has ended holds its state. */
static void hold(const shape *s, const pass *w, const int64_t *lengths, ptrdiff_t t, ptrdiff_t before, ptrdiff_t after) {
    for (ptrdiff_t b = 0; b < s->sequences; b++)
        if (lengths[b] <= t)
            for (int j = 0; j < STATES; j++)
                memcpy(rows(s, w, STATE_0 + j, after) + b * s->width, rows(s, w, STATE_0 + j, before) + b * s->width,
                       s->width * sizeof(real));
}

static int any(const shape *s, const real *h) {
    mask seen = (mask){0};
    for (ptrdiff_t b = 0; b < s->sequences; b++, h += s->width)
        for (ptrdiff_t u = 0; u < s->width; u += LANES) seen |= (load(h + u) != 0) & ~beyond(u, s->units);
    return any_lane(seen);
}

static void masked(const shape *s, const real *mask, const real *h, real *to) {
    for (ptrdiff_t k = 0; k < s->sequences * s->width; k += LANES) store(to + k, load(h + k) * load(mask + k));
}

/* One replica: lengths [B] or NULL, mask of what the readout sees [S][B][H] or NULL, outputs [S][B][O] of the S steps
   that are read. Returns whether any unit was ever non-zero. */
static int forward_one(const shape *s, const pass *w, const int64_t *lengths, int keep, const real *mask,
                       real *outputs) {
    const ptrdiff_t last = keep ? s->steps : 1, wide = s->outputs_width;
    real *const readout = w->array[READOUT];
    int alive = 0;
    load_weights(s, w);
    memcpy(readout, w->parameters + s->readout_bias, wide * sizeof(real));
    spread(s->units, wide, w->parameters + s->readout, 1, s->width, readout + wide, wide);
    for (int j = 0; j < STATES; j++) memset(rows(s, w, STATE_0 + j, 0), 0, s->places[2 * STATE_0 + 1] * sizeof(real));
    for (ptrdiff_t t = 0; t < s->steps; t++) {
        const ptrdiff_t at = t % last, before = t % (last + 1), after = (t + 1) % (last + 1), read = t - s->read_first;
        const real *h = rows(s, w, STATE_0, after);
        show(s, w, t);
        step_forward(s, w, t, at, before, after);
        if (lengths) hold(s, w, lengths, t, before, after);
        if (!alive) alive = any(s, h);
        if (!is_read(s, t)) continue;
        if (mask) {
            real *const seen = rows(s, w, SEEN, keep ? read : 0);
            masked(s, mask + read * s->sequences * s->width, h, seen);
            h = seen;
        }
        const product p = {.start = readout, .start_row = 0, .out = outputs + read * s->sequences * wide,
                           .out_row = wide, .terms = 1,
                           .term = {{h, s->width, 1, readout + wide, wide, s->units}}};
        multiply(&p, s->sequences, s->outputs);
    }
    return alive;
}

/* ---- backward ---------------------------------------------------------------------------------------------------*/

/* Of the steps that are read, like `gather` so many at a time: a sum of sums. h: [S][B][H], d_outputs: [S][B][O] */
static void readout_gradients(const shape *s, const pass *w, const real *h, const real *d_outputs) {
    const ptrdiff_t wide = s->outputs_width, total = s->read_count * s->sequences, at_once = STEPS * s->sequences;
    const real one = 1;
    real *weight = w->gradient + s->readout, *offset = w->gradient + s->readout_bias;
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

/* dL/dh_t through outputs that saw h_t behind a mask. */
static void masked_outputs_back(const shape *s, const pass *w, const real *mask, const real *d_outputs) {
    real *const d_seen = w->array[D_SEEN], *const d_h = w->array[D_STATE_0];
    const product p = {.start = w->array[ZEROS], .start_row = 0, .out = d_seen, .out_row = s->width, .terms = 1,
                       .term = {{d_outputs, s->outputs_width, 1, w->parameters + s->readout, s->width, s->outputs}}};
    multiply(&p, s->sequences, s->units);
    for (ptrdiff_t k = 0; k < s->sequences * s->width; k += LANES)
        store(d_h + k, load(d_h + k) + load(mask + k) * load(d_seen + k));
}

/* The inputs of step t beside a 1, for the sums over deltas: that of the 1 is the bias's. */
static void note_inputs(const shape *s, const pass *w, ptrdiff_t t) {
    const ptrdiff_t count = 1 + s->inputs;
    real *row = rows(s, w, INPUTS, t % STEPS);
    for (ptrdiff_t b = 0; b < s->sequences; b++, row += count) {
        row[0] = 1;
        memcpy(row + 1, w->inputs + (b * s->steps + t) * s->inputs, s->inputs * sizeof(real));
    }
}

/* What was summed into the padding of parameters comes to nothing. */
static void clear_padding(const shape *s, const pass *w) {
    for (const int64_t *p = s->padding; p < s->padding + 4 * s->paddings; p += 4)
        for (ptrdiff_t k = 0; k < p[1]; k++)
            memset(w->gradient + p[0] + k * p[3] + p[2], 0, (p[3] - p[2]) * sizeof(real));
}

/* One replica; `norms` [parts of the state][R][B][T] or NULL takes what is asked for of ||dL/d(state)||. */
static void backward_one(const shape *s, const pass *w, const real *mask, const real *d_outputs, double *norms) {
    memset(w->gradient, 0, s->row * sizeof(real));
    memset(w->array[ZEROS], 0, s->width * sizeof(real));
    start_back(s, w);
    for (ptrdiff_t t = s->steps - 1; t >= 0; t--) {
        const ptrdiff_t read = t - s->read_first;
        const real *d_read = is_read(s, t) ? d_outputs + read * s->sequences * s->outputs_width : NULL;
        open_back(s, w, t, mask ? NULL : d_read);
        if (mask && d_read) masked_outputs_back(s, w, mask + read * s->sequences * s->width, d_read);
        show(s, w, t);
        step_back(s, w, t);
        for (int j = 0; norms && j < STATES; j++)
            sequence_norms(s, w->array[D_STATE_0 + j], norms + j * s->replicas * s->sequences * s->steps + t);
        note_inputs(s, w, t);
        if (t % STEPS == 0) gather(s, w, t, (s->steps - t < STEPS ? s->steps - t : STEPS) * s->sequences);
    }
    store_gradients(s, w);
    readout_gradients(s, w, mask ? w->array[SEEN] : rows(s, w, STATE_0, s->read_first + 1), d_outputs);
    clear_padding(s, w);
}

/* ---- a pack, replica by replica; every tensor has its replicas on the first axis --------------------------------*/

/* The masks of recurrent dropout [R][B][H] and of the readout's [R][S][B][H], each padded, or NULL. */
typedef struct {
    const real *recurrent, *readout;
} masks;

static void look_through(const shape *s, pass *w, const masks *m, ptrdiff_t r) {
#ifdef MASK
    w->array[MASK] = (real *)m->recurrent + r * s->sequences * s->width;
#else
    (void)s, (void)w, (void)m, (void)r;
#endif
}

/* The replicas from `first` to before `last`, without a way back. alive: [R] */
void forward(const shape *s, int64_t first, int64_t last, const real *parameters, const real *inputs,
             const int64_t *lengths, const masks *m, real *memory, real *outputs, unsigned char *alive) {
    pass w = pass_in(s, memory);
    for (ptrdiff_t r = first; r < last; r++) {
        w.parameters = parameters + r * s->row, w.inputs = inputs + r * s->sequences * s->steps * s->inputs;
        look_through(s, &w, m, r);
        alive[r] = forward_one(s, &w, lengths ? lengths + r * s->sequences : NULL, 0,
                               m->readout ? m->readout + r * s->read_count * s->sequences * s->width : NULL,
                               outputs + r * s->read_count * s->sequences * s->outputs_width);
    }
}

/* The same with the way back. targets: [R][B][A], or NULL if the loss is GIVEN by its gradient d_outputs [R][S][B][O].
   thresholds: [R] of clipping on the way back, or NULL. losses: [R], set unless GIVEN. norms: [parts of the state][R][B][T]
   or NULL. Returns whether targets and lengths fit the shape; what it has left is else not to be used. */
int gradients(const shape *s, int64_t first, int64_t last, const real *parameters, const real *inputs,
              const int64_t *lengths, const masks *m, real *memory, const void *targets, const real *d_outputs,
              const double *thresholds, real *losses, real *gradients, double *norms) {
    pass w = pass_in(s, memory);
    const ptrdiff_t trace = s->sequences * s->steps, answers = s->sequences * s->scored;
    const ptrdiff_t answer = s->loss == CROSS_ENTROPY ? sizeof(int64_t) : sizeof(real);
    const ptrdiff_t read = s->read_count * s->sequences;
    for (ptrdiff_t r = first; r < last; r++) {
        const int64_t *ends = lengths ? lengths + r * s->sequences : NULL;
        const real *mask = m->readout ? m->readout + r * read * s->width : NULL;
        w.parameters = parameters + r * s->row, w.gradient = gradients + r * s->row;
        w.inputs = inputs + r * trace * s->inputs;
        w.threshold = thresholds ? thresholds[r] : INFINITY, w.traced = norms != NULL;
        look_through(s, &w, m, r);
        forward_one(s, &w, ends, 1, mask, w.array[OUTPUTS]);
        if (s->loss != GIVEN &&
            !loss_one(s, w.array[OUTPUTS], (const char *)targets + r * answers * answer, ends, losses + r))
            return 0;
        backward_one(s, &w, mask, s->loss == GIVEN ? d_outputs + r * read * s->outputs_width : w.array[OUTPUTS],
                     norms ? norms + r * trace : NULL);
    }
    return 1;
}
