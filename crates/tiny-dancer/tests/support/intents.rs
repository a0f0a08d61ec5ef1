//! Artifacts of routes with random weights.

use serde_json::{Value, json};
use tiny_dancer::artifact::{FORMAT, TensorData};
use tiny_dancer::kinds;
use tiny_dancer::spelling::{HASH_BYTES, word_hash};

use super::cell::u8_tensor;
use super::{Random, f32_tensor, i8_tensor, u16_tensor};

/// Header and tensors of routes.
#[derive(Clone)]
pub struct RoutesDraft {
    pub header: Value,
    pub tensors: Vec<TensorData>,
}

impl RoutesDraft {
    /// Routes `r0`, `r1`, … by two random prototypes each of `dimension` values, of the encoder `toy`.
    pub fn prototypes(random: &mut Random, routes: usize, dimension: usize) -> Self {
        let rows = 2 * routes;
        let values: Vec<i8> = (0..rows * dimension).map(|_| random.i8()).collect();
        let owners: Vec<u16> = (0..rows).map(|row| (row / 2) as u16).collect();
        let names: Vec<Value> = (0..routes).map(|at| json!({ "name": format!("r{at}") })).collect();
        let header = json!({
            "format": FORMAT, "kind": "routes", "version": "1.0.0", "routes": names, "spec": "3",
            "encoder": {"name": "toy", "dimension": dimension},
            "model": {"kind": "prototypes", "scale": 20.0},
        });
        let tensors = vec![
            i8_tensor("prototypes", &[rows, dimension], &values),
            u16_tensor("prototype_routes", &owners),
        ];
        Self { header, tensors }
    }

    /// The same with a random head over n-grams and the engine's embedding, an output for none, a scope and a
    /// calibration.
    pub fn head(random: &mut Random, routes: usize, checksum: &str) -> Self {
        const DIMENSION: usize = 256;
        let mut draft = Self::prototypes(random, routes, DIMENSION);
        let outputs = routes + 1;
        let mut present = vec![0u8; 1 << 15];
        for byte in &mut present {
            *byte = random.bits() as u8 & random.bits() as u8;
        }
        let known: usize = present.iter().map(|byte| byte.count_ones() as usize).sum();
        let counts: Vec<u16> = (0..known).map(|_| random.below(4) as u16).collect();
        let entries: usize = counts.iter().map(|&count| usize::from(count)).sum();
        let of: Vec<u8> = (0..entries).map(|_| random.below(outputs) as u8).collect();
        let weights: Vec<i8> = (0..entries).map(|_| random.i8()).collect();
        let embedding: Vec<i8> = (0..outputs * DIMENSION).map(|_| random.i8()).collect();
        let bias = random.floats(outputs, 1.0);
        draft.tensors.extend([
            f32_tensor("head.bias", &[outputs], &bias),
            i8_tensor("head.embedding", &[outputs, DIMENSION], &embedding),
            f32_tensor("head.embedding_scale", &[outputs], &vec![0.05; outputs]),
            u8_tensor("head.ngrams", &[1 << 15], present),
            u16_tensor("head.ngram_counts", &counts),
            u8_tensor("head.ngram_outputs", &[entries], of),
            i8_tensor("head.ngram_weights", &[entries], &weights),
            f32_tensor("head.ngram_scale", &[2], &[0.02, 0.02]),
        ]);
        draft.header["encoder"] =
            json!({"name": "tiny-dancer", "dimension": DIMENSION, "checksum": checksum});
        draft.header["model"] = json!({"kind": "head", "prototypes": 2.0, "none": true});
        draft.header["calibrated"] = json!(true);
        draft.header["scope"] = json!({
            "weights": [0.1, 0.2, 0.0, 1.0, 0.5, 0.5, 0.1], "bias": 0.0, "false_alarms": 0.02,
            "thresholds": [[0.01, 0.2], [0.1, 0.6]],
        });
        draft.header["conformal"] = json!({"score": "lac", "alpha": 0.1, "rows": 100, "threshold": 0.8});
        draft
    }

    /// Makes it know words, of these levels.
    pub fn spell(&mut self, words: &[(&str, u8)]) {
        let hashes = words
            .iter()
            .flat_map(|(word, _)| word_hash(word.chars()).to_le_bytes().into_iter().take(HASH_BYTES))
            .collect();
        let levels = words.iter().map(|&(_, level)| level).collect();
        self.header["spelling"] = json!({"letters": "abcdefghijklmnopqrstuvwxyz'"});
        self.tensors.extend([
            u8_tensor("spelling.words", &[words.len(), HASH_BYTES], hashes),
            u8_tensor("spelling.levels", &[words.len()], levels),
        ]);
    }

    pub fn bytes(&self) -> Vec<u8> {
        kinds::write(&self.header.to_string(), self.tensors.clone()).unwrap()
    }
}
