use super::*;
use proptest::prelude::*;

fn filled(values: &[f32], dimensions: usize, precision: Precision) -> Matrix {
    let mut matrix = Matrix::new(dimensions, precision).expect("dimensions");
    matrix.append(values).expect("whole rows");
    matrix
}

struct Held(Vec<f32>);
impl SharedRows for Held {
    fn values(&self) -> &[f32] {
        &self.0
    }
}

fn textbook(values: &[f32], query: &[f32]) -> Vec<f64> {
    let norm = |v: &[f32]| v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    values
        .chunks(query.len())
        .map(|row| {
            let dot: f64 = row.iter().zip(query).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
            let norms = norm(row) * norm(query);
            if norms == 0.0 { 0.0 } else { dot / norms }
        })
        .collect()
}

proptest! {
    #[test]
    fn cosines_are_the_textbook_ones(
        dimensions in 1usize..80, values in proptest::collection::vec(-2f32..2.0, 80..900)
    ) {
        let (query, rows) = values.split_at(dimensions);
        let rows = &rows[..rows.len() / dimensions * dimensions];
        let expected = textbook(rows, query);
        let (mut scratch, mut out) = (MatrixScratch::default(), Vec::new());
        for (precision, tolerance) in [(Precision::Full, 1e-5), (Precision::Quantised, 0.02)] {
            let matrix = filled(rows, dimensions, precision);
            matrix.cosines(query, &mut scratch, &mut out).expect("sound");
            for (found, expected) in out.iter().zip(&expected) {
                prop_assert!((f64::from(*found) - expected).abs() < tolerance, "{found} {expected}");
            }
        }
        let shared = Matrix::shared(dimensions, Arc::new(Held(rows.to_vec()))).expect("whole rows");
        let mut again = Vec::new();
        shared.cosines(query, &mut scratch, &mut again).expect("sound");
        filled(rows, dimensions, Precision::Full).cosines(query, &mut scratch, &mut out).expect("sound");
        prop_assert_eq!(out, again);
    }

    #[test]
    fn the_filtered_search_finds_what_the_full_one_finds(
        dimensions in 1usize..40, k in 1usize..12, masked in any::<bool>(),
        values in proptest::collection::vec(-1f32..1.0, 40..3000)
    ) {
        let (query, rows) = values.split_at(dimensions);
        let rows = &rows[..rows.len() / dimensions * dimensions];
        let words = (rows.len() / dimensions).div_ceil(64);
        let passing: Vec<u64> = (0..words as u64).map(|word| 0xB6DB_6DB6_DB6D_B6DB >> (word % 3)).collect();
        let passing = masked.then_some(&passing[..]);
        let mut scratch = MatrixScratch::default();
        let full = filled(rows, dimensions, Precision::Full);
        let indexed = filled(rows, dimensions, Precision::Indexed);
        prop_assert_eq!(
            full.nearest(query, k, passing, &mut scratch).expect("sound"),
            indexed.nearest(query, k, passing, &mut scratch).expect("sound")
        );
    }

    #[test]
    fn changes_leave_what_was_asked_for(
        steps in proptest::collection::vec((0u8..3, any::<prop::sample::Index>(), -1f32..1.0), 1..40)
    ) {
        for precision in [Precision::Full, Precision::Quantised, Precision::Indexed] {
            let start: Vec<f32> = (0..30).map(|value| value as f32 / 30.0).collect();
            let mut matrix = filled(&start, 3, precision);
            let mut model: Vec<[f32; 3]> = start.as_chunks::<3>().0.to_vec();
            for (step, index, value) in &steps {
                let row = [*value, 1.0, -*value];
                match (step, model.is_empty()) {
                    (1, false) => {
                        let at = index.index(model.len());
                        matrix.replace(at, &row).expect("as wide");
                        model[at] = row;
                    }
                    (2, false) => {
                        let at = index.index(model.len());
                        matrix.swap_remove(at);
                        model.swap_remove(at);
                    }
                    _ => {
                        matrix.append(&row).expect("as wide");
                        model.push(row);
                    }
                }
            }
            prop_assert_eq!(matrix.len(), model.len());
            for (at, row) in model.iter().enumerate() {
                for (found, expected) in matrix.row(at).iter().zip(row) {
                    prop_assert!((found - expected).abs() < 0.01);
                }
            }
        }
    }
}

#[test]
fn rows_that_are_zero_or_not_finite_never_come_near() {
    let values = [1.0, 0.0, f32::NAN, 0.0, f32::INFINITY, 1.0, f32::MAX, f32::MAX, 0.0, 0.0, 0.5, 0.5];
    for precision in [Precision::Full, Precision::Quantised, Precision::Indexed] {
        let matrix = filled(&values, 2, precision);
        let mut scratch = MatrixScratch::default();
        let found = matrix.nearest(&[1.0, 0.1], 9, None, &mut scratch).expect("sound");
        assert_eq!(found.iter().map(|&(row, _)| row).collect::<Vec<_>>(), [0, 5], "{precision:?}");
        let mut out = Vec::new();
        matrix.cosines(&[1.0, 0.1], &mut scratch, &mut out).expect("sound");
        assert!(out[1].is_nan() && out[2].is_nan() && out[3].is_nan() && out[4] == 0.0, "{out:?}");
    }
}

#[test]
fn a_query_that_fits_not_is_refused() {
    let matrix = filled(&[1.0, 0.0], 2, Precision::Full);
    let mut scratch = MatrixScratch::default();
    for query in [&[1.0][..], &[f32::NAN, 1.0], &[f32::INFINITY, 1.0]] {
        let error = matrix.nearest(query, 1, None, &mut scratch).expect_err("refused");
        assert_eq!((error.kind, &*error.field), (ErrorKind::CandidateInvalid, "query_embedding"));
    }
    let zero = matrix.nearest(&[0.0, 0.0], 1, None, &mut scratch).expect("a zero query is near nothing");
    assert_eq!(zero, [(0, 0.0)]);
}
