// Batch normalisation over a batch that several ranks hold parts of: what a rank knows of its part, and
// what is made of what all know.
//
// `rows` are those of every lane's batch. `numbers` has two rows of (channels) for every lane: mean and
// sum of squared distances from it, or sums of dy and of (x - mean) dy.

// n = channels
KERNEL moments_tell(
    unsigned n, const float *x, const double *parts, double *numbers, unsigned stride,
    unsigned count_parts, unsigned count, const double *lanes) {
    THREAD(i, n);
    if (!NORMALISED(lanes)) return;
    Moments moments = join_moments(n, i, x, parts, stride, count_parts, count);
    double *own = of_lane(numbers, 2 * n);
    own[i] = moments.mean;
    own[n + i] = moments.spread;
}

// n = channels; a lane without rows keeps what it has
KERNEL moments_keep(
    unsigned n, const double *rows, const double *numbers, float *terms, const float *gamma,
    float *running_mean, float *running_variance, unsigned all, const double *lanes) {
    THREAD(i, n);
    if (!NORMALISED(lanes) || rows[LANE] == 0.0) return;
    const double *own = of_lane(numbers, 2 * n);
    Column kept = column(i, n, terms, gamma, running_mean, running_variance, all);
    keep_moments(kept, own[i], own[n + i], rows[LANE], lanes, LIVES(lanes));
}

// n = channels
KERNEL gradient_tell(
    unsigned n, const double *parts, double *numbers, unsigned count_parts,
    const double *lanes) {
    THREAD(i, n);
    if (!NORMALISED(lanes)) return;
    Gradients sums = join_gradients(n, i, parts, count_parts);
    double *own = of_lane(numbers, 2 * n);
    own[i] = sums.plain;
    own[n + i] = sums.weighted;
}

// n = channels
KERNEL gradient_keep(
    unsigned n, const double *rows, const double *numbers, float *terms, const float *gamma,
    unsigned all, const double *lanes) {
    THREAD(i, n);
    if (!NORMALISED(lanes)) return;
    const double *own = of_lane(numbers, 2 * n);
    double count = rows[LANE] > 0.0 ? rows[LANE] : 1.0;
    float *term = of_lane(terms, n) + i;
    keep_gradient(term, all, of_lane(gamma, n)[i], own[i], own[n + i], count);
}
