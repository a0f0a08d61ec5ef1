//! The cell as textbook loops over the tensors as the file has them: slow, readable, and what the fast forms are
//! compared with.

use crate::artifact::TensorData;

/// Tensors by name.
pub(super) struct Reference<'a>(pub(super) &'a [TensorData]);

/// A matrix as its file says it, zeros written out.
struct Written {
    values: Vec<f32>,
    scale: Option<Vec<f32>>,
    input_scale: Option<f32>,
}

impl Reference<'_> {
    fn find(&self, name: &str) -> Option<&TensorData> {
        self.0.iter().find(|tensor| tensor.name == name)
    }

    fn numbers(&self, name: &str) -> Vec<f32> {
        let tensor = self.find(name).expect("there is such a tensor");
        match tensor.dtype.as_str() {
            "f32" => tensor.bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            "u16" => {
                tensor.bytes.as_chunks().0.iter().map(|&bytes| f32::from(u16::from_le_bytes(bytes))).collect()
            }
            "i8" => tensor.bytes.iter().map(|byte| f32::from(byte.cast_signed())).collect(),
            _ => tensor.bytes.iter().map(|&byte| f32::from(byte)).collect(),
        }
    }

    fn matrix(&self, name: &str, columns: usize) -> Written {
        let part = |part: &str| format!("{name}.{part}");
        let values = if self.find(&part("values")).is_some() {
            let (mut numbers, mut places) =
                (self.numbers(&part("values")).into_iter(), self.numbers(&part("columns")).into_iter());
            let mut values = Vec::new();
            for count in self.numbers(&part("counts")) {
                let mut row = vec![0.0; columns];
                for _ in 0..count as usize {
                    row[places.next().expect("a column a value") as usize] = numbers.next().expect("a value");
                }
                values.extend(row);
            }
            values
        } else if self.find(name).expect("there is such a matrix").dtype == "u8" {
            // Four bits with their sign: 9 to 15 are −7 to −1.
            let signed = |four: u8| f32::from(four) - if four > 8 { 16.0 } else { 0.0 };
            let bytes = &self.find(name).expect("found before").bytes;
            let rows = bytes.chunks(columns.div_ceil(2));
            rows.flat_map(|row| {
                row.iter().flat_map(move |byte| [signed(byte & 15), signed(byte >> 4)]).take(columns)
            })
            .collect()
        } else {
            self.numbers(name)
        };
        let scale = self.find(&part("scale")).map(|_| self.numbers(&part("scale")));
        let input_scale = self.find(&part("input_scale")).map(|_| self.numbers(&part("input_scale"))[0]);
        Written { values, scale, input_scale }
    }

    /// M·x: integers times scales where inputs are rounded, else f32 sums in the order of the columns.
    pub(super) fn product(&self, name: &str, x: &[f32]) -> Vec<f32> {
        let Written { values, scale, input_scale } = self.matrix(name, x.len());
        let rows = values.chunks(x.len()).enumerate();
        let scale = |row: usize| scale.as_ref().map_or(1.0, |scale| scale[row]);
        if let Some(input_scale) = input_scale {
            let rounded = x.iter().map(|x| (x / input_scale).clamp(-127.0, 127.0).round_ties_even() as i64);
            let rounded: Vec<i64> = rounded.collect();
            return rows
                .map(|(row, values)| {
                    let sum: i64 = values.iter().zip(&rounded).map(|(&weight, x)| weight as i64 * x).sum();
                    sum as f32 * (scale(row) * input_scale)
                })
                .collect();
        }
        rows.map(|(row, values)| {
            values.iter().zip(x).fold(0.0, |sum, (weight, x)| sum + x * (scale(row) * weight))
        })
        .collect()
    }

    /// W·x or U·h, whole or as two factors.
    pub(super) fn transform(&self, name: &str, x: &[f32]) -> Vec<f32> {
        if self.find(&format!("{name}.rank")).is_none() {
            return self.product(name, x);
        }
        self.product(&format!("{name}.left"), &self.product(&format!("{name}.right"), x))
    }

    /// The equations of [`super`], all but the products in f64.
    pub(super) fn step(&self, cell: &str, x: &[f32], h: &[f32]) -> Vec<f64> {
        let number = |part: &str, at: usize| f64::from(self.numbers(&format!("{cell}.{part}"))[at]);
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        let piecewise = number("activation", 0) > 0.5;
        let sigma = |x: f64| if piecewise { f64::midpoint(x, 1.0).clamp(0.0, 1.0) } else { logistic(x) };
        let tau = |x: f64| if piecewise { x.clamp(-1.0, 1.0) } else { x.tanh() };
        let input = self.transform(&format!("{cell}.input_weight"), x);
        let recurrent = self.transform(&format!("{cell}.recurrent_weight"), h);
        let (zeta, nu) = (logistic(number("zeta", 0)), logistic(number("nu", 0)));
        (0..h.len())
            .map(|at| {
                let shared = f64::from(input[at]) + f64::from(recurrent[at]);
                let gate = sigma(shared + number("gate_bias", at));
                let candidate = tau(shared + number("update_bias", at));
                (zeta * (1.0 - gate) + nu) * candidate + gate * f64::from(h[at])
            })
            .collect()
    }
}
