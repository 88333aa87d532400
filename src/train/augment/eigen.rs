//! Eigenvalues and eigenvectors of a symmetric 3 x 3 matrix, by Jacobi's rotations (Golub and Van
//! Loan, "Matrix Computations", section 8.5).

/// Eigenvalues in falling order, each with its unit eigenvector.
pub fn eigen(matrix: [[f64; 3]; 3]) -> [(f64, [f64; 3]); 3] {
    let mut a = matrix;
    // The columns become the eigenvectors.
    let mut v = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    // Convergence is quadratic: a handful of sweeps reaches the last digit, more change nothing.
    for _ in 0..12 {
        for (p, q) in [(0, 1), (0, 2), (1, 2)] {
            rotate(&mut a, &mut v, p, q);
        }
    }
    let mut pairs = [0, 1, 2].map(|k| (a[k][k], [v[0][k], v[1][k], v[2][k]]));
    pairs.sort_by(|x, y| y.0.total_cmp(&x.0));
    pairs
}

/// Makes element (p, q) zero by a rotation in that plane.
fn rotate(a: &mut [[f64; 3]; 3], v: &mut [[f64; 3]; 3], p: usize, q: usize) {
    if a[p][q] == 0.0 {
        return;
    }
    let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
    // The smaller of the two roots of t^2 + 2 theta t = 1.
    let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let c = 1.0 / t.hypot(1.0);
    let s = t * c;
    for row in a.iter_mut() {
        (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
    }
    for k in 0..3 {
        (a[p][k], a[q][k]) = (c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]);
        (v[k][p], v[k][q]) = (c * v[k][p] - s * v[k][q], s * v[k][p] + c * v[k][q]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_known_matrix_has_its_known_values() {
        let found = eigen([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 5.0]]);
        let values = found.map(|(value, _)| value);
        assert!(
            values.iter().zip([5.0, 3.0, 1.0]).all(|(f, e)| (f - e).abs() < 1e-14),
            "{values:?}"
        );
        let diagonal = found[1].1;
        assert!((diagonal[0] - diagonal[1]).abs() < 1e-14 && diagonal[2] == 0.0);
    }

    proptest! {
        #[test]
        fn the_pairs_rebuild_the_matrix(m in proptest::array::uniform6(-10.0..10.0_f64)) {
            let matrix = [[m[0], m[1], m[2]], [m[1], m[3], m[4]], [m[2], m[4], m[5]]];
            let pairs = eigen(matrix);
            prop_assert!(pairs[0].0 >= pairs[1].0 && pairs[1].0 >= pairs[2].0);
            for i in 0..3 {
                for j in 0..3 {
                    let rebuilt: f64 = pairs.iter().map(|(value, v)| value * v[i] * v[j]).sum();
                    prop_assert!((rebuilt - matrix[i][j]).abs() < 1e-12);
                    let dot: f64 = (0..3).map(|k| pairs[i].1[k] * pairs[j].1[k]).sum();
                    prop_assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-12);
                }
            }
        }
    }
}
