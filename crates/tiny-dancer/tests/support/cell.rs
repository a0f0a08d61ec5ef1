//! Random FastGRNN cells in every form, and classifiers around them.

use serde_json::{Value, json};
use tiny_dancer::artifact::{FORMAT, TensorData};
use tiny_dancer::encoder::DIM;
use tiny_dancer::features::CUES;
use tiny_dancer::kinds::write;

use super::{Random, f32_tensor, i8_tensor, u16_tensor};

/// How the numbers of a matrix are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    F32,
    Int8,
    Int4,
    SparseF32,
    SparseInt8,
}

pub const NUMBERS: [Numbers; 5] =
    [Numbers::F32, Numbers::Int8, Numbers::Int4, Numbers::SparseF32, Numbers::SparseInt8];

/// How a cell is kept.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub numbers: Numbers,
    /// Whether inputs are rounded too.
    pub integer_inputs: bool,
    /// Rank of W and of U.
    pub ranks: [Option<usize>; 2],
    pub piecewise: bool,
    /// Largest weight.
    pub largest: f64,
}

impl Form {
    pub fn plain(numbers: Numbers) -> Self {
        Self { numbers, integer_inputs: true, ranks: [None; 2], piecewise: false, largest: 0.4 }
    }

    pub fn any(random: &mut Random) -> Self {
        let rank = |random: &mut Random| random.chance(0.4).then(|| 1 + random.below(9));
        Self {
            numbers: NUMBERS[random.below(NUMBERS.len())],
            integer_inputs: random.chance(0.7),
            ranks: [rank(random), rank(random)],
            piecewise: random.chance(0.3),
            largest: 0.4,
        }
    }
}

pub fn u8_tensor(name: impl Into<String>, shape: &[usize], bytes: Vec<u8>) -> TensorData {
    TensorData { name: name.into(), dtype: "u8".to_owned(), shape: shape.to_vec(), bytes }
}

/// One matrix of random numbers.
pub fn matrix(random: &mut Random, name: &str, rows: usize, columns: usize, form: Form) -> Vec<TensorData> {
    let integer =
        |random: &mut Random, largest: usize| (random.below(2 * largest + 1) as i16 - largest as i16) as i8;
    let sparse = matches!(form.numbers, Numbers::SparseF32 | Numbers::SparseInt8);
    let density = if sparse { random.between(0.0, 0.5) } else { 1.0 };
    let kept: Vec<bool> = (0..rows * columns).map(|_| random.chance(density)).collect();
    let nonzero = kept.iter().filter(|kept| **kept).count();
    let mut tensors = Vec::new();
    if sparse {
        let places = kept.iter().enumerate().filter(|(_, kept)| **kept).map(|(at, _)| (at % columns) as u16);
        tensors.push(u16_tensor(format!("{name}.columns"), &places.collect::<Vec<_>>()));
        let counts = kept.chunks(columns).map(|row| row.iter().filter(|kept| **kept).count() as u16);
        tensors.push(u16_tensor(format!("{name}.counts"), &counts.collect::<Vec<_>>()));
    }
    let largest = match form.numbers {
        Numbers::F32 => {
            tensors.push(f32_tensor(name, &[rows, columns], &random.floats(rows * columns, form.largest)));
            return tensors;
        }
        Numbers::SparseF32 => {
            let values = random.floats(nonzero, form.largest);
            tensors.push(f32_tensor(format!("{name}.values"), &[nonzero], &values));
            return tensors;
        }
        Numbers::Int4 => {
            let mut bytes = Vec::new();
            for _ in 0..rows {
                let row: Vec<i8> = (0..columns).map(|_| integer(random, 7)).collect();
                let high = |pair: &[i8]| pair.get(1).copied().unwrap_or(0);
                bytes.extend(row.chunks(2).map(|pair| (pair[0] & 15 | (high(pair) << 4)).cast_unsigned()));
            }
            tensors.push(u8_tensor(name, &[rows, columns.div_ceil(2)], bytes));
            7.0
        }
        Numbers::Int8 => {
            let values: Vec<i8> = (0..rows * columns).map(|_| integer(random, 127)).collect();
            tensors.push(i8_tensor(name, &[rows, columns], &values));
            127.0
        }
        Numbers::SparseInt8 => {
            let values: Vec<i8> = (0..nonzero).map(|_| integer(random, 127)).collect();
            tensors.push(i8_tensor(format!("{name}.values"), &[nonzero], &values));
            127.0
        }
    };
    let scale: Vec<f32> = (0..rows).map(|_| random.between(0.0, form.largest / largest) as f32).collect();
    tensors.push(f32_tensor(format!("{name}.scale"), &[rows], &scale));
    if form.integer_inputs {
        let scale = random.between(0.002, 0.03) as f32;
        tensors.push(f32_tensor(format!("{name}.input_scale"), &[1], &[scale]));
    }
    tensors
}

/// A cell of `hidden` values on inputs of `inputs`.
pub fn cell(random: &mut Random, name: &str, inputs: usize, hidden: usize, form: Form) -> Vec<TensorData> {
    let mut tensors = vec![
        f32_tensor(format!("{name}.zeta"), &[1], &random.floats(1, 3.0)),
        f32_tensor(format!("{name}.nu"), &[1], &random.floats(1, 5.0)),
        f32_tensor(format!("{name}.gate_bias"), &[hidden], &random.floats(hidden, 1.0)),
        f32_tensor(format!("{name}.update_bias"), &[hidden], &random.floats(hidden, 1.0)),
        u8_tensor(format!("{name}.activation"), &[1], vec![u8::from(form.piecewise)]),
    ];
    for ((part, columns), rank) in [("input", inputs), ("recurrent", hidden)].into_iter().zip(form.ranks) {
        let name = format!("{name}.{part}_weight");
        if let Some(rank) = rank {
            tensors.push(u16_tensor(format!("{name}.rank"), &[rank as u16]));
            tensors.extend(matrix(random, &format!("{name}.left"), hidden, rank, form));
            tensors.extend(matrix(random, &format!("{name}.right"), rank, columns, form));
        } else {
            tensors.extend(matrix(random, &name, hidden, columns, form));
        }
    }
    tensors
}

/// A request router's backend, in a form of which no tensor can be left out.
pub fn backend(random: &mut Random, name: &str, components: usize) -> Vec<TensorData> {
    let numbers = [Numbers::F32, Numbers::Int8, Numbers::Int4][random.below(3)];
    let form = Form { integer_inputs: false, piecewise: random.chance(0.3), ..Form::plain(numbers) };
    let hidden = 1 + random.below(20);
    let mut tensors = cell(random, name, CUES + DIM, hidden, form);
    tensors.push(f32_tensor(format!("{name}.cue_mean"), &[CUES], &random.floats(CUES, 1.0)));
    tensors.push(f32_tensor(format!("{name}.cue_scale"), &[CUES], &random.floats(CUES, 0.5)));
    tensors.extend(matrix(random, &format!("{name}.head.weight"), components, hidden, form));
    tensors.push(f32_tensor(format!("{name}.head.bias"), &[components], &random.floats(components, 0.2)));
    tensors
}

/// A classifier's header, as JSON, and its tensors.
#[derive(Clone, Debug)]
pub struct ClassifierDraft {
    pub header: Value,
    pub tensors: Vec<TensorData>,
}

impl ClassifierDraft {
    /// Of vectors of `inputs` values; `form` is of the cell, or None for a bag.
    pub fn of_vectors(random: &mut Random, inputs: usize, labels: usize, form: Option<Form>) -> Self {
        Self::new(random, &json!({"kind": "vectors", "dimensions": inputs}), inputs, labels, form)
    }

    /// Of texts, for the encoder with this checksum.
    pub fn of_texts(random: &mut Random, encoder: &str, labels: usize, form: Option<Form>) -> Self {
        let input = json!({"kind": "tokens", "encoder": encoder, "most_steps": 16, "scale": 1.0 / 128.0});
        Self::new(random, &input, DIM, labels, form)
    }

    fn new(random: &mut Random, input: &Value, inputs: usize, labels: usize, form: Option<Form>) -> Self {
        let hidden = 1 + random.below(20);
        let (kind, mut tensors, width) = match form {
            Some(form) => ("fastgrnn", cell(random, "cell", inputs, hidden, form), hidden),
            None => ("bag", Vec::new(), inputs),
        };
        let head = Form { integer_inputs: false, largest: 3.0, ..form.unwrap_or(Form::plain(Numbers::F32)) };
        tensors.extend(matrix(random, "head.weight", labels, width, head));
        tensors.push(f32_tensor("head.bias", &[labels], &random.floats(labels, 0.5)));
        let names: Vec<String> = (0..labels).map(|label| format!("label {label}")).collect();
        let header = json!({
            "format": FORMAT, "kind": "classifier", "version": "0.1.0", "created": "2026-01-01", "labels": names,
            "input": input, "model": {"kind": kind}, "temperature": 0.5 + random.between(0.0, 2.0) as f32,
            "conformal": null, "self_check": [], "metrics": {"rows": 10},
        });
        Self { header, tensors }
    }

    pub fn bytes(&self) -> Vec<u8> {
        write(&self.header.to_string(), self.tensors.clone()).expect("a valid draft")
    }

    pub fn tensor(&mut self, name: &str) -> &mut TensorData {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("there is such a tensor")
    }
}
