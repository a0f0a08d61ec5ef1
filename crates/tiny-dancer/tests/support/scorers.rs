//! Scorers of candidates: artifacts with random weights, to be loaded or spoilt.

use serde_json::{Value, json};
use tiny_dancer::artifact::{FORMAT, TensorData};
use tiny_dancer::candidates::{CandidateScorer, FEATURES, SPEC};
use tiny_dancer::kinds::write;

use super::cell::{Form, cell};
use super::{Random, f32_tensor};

/// A scorer's header, as JSON, and its tensors.
#[derive(Clone, Debug)]
pub struct ScorerDraft {
    pub header: Value,
    pub tensors: Vec<TensorData>,
}

impl ScorerDraft {
    /// A weight a feature, or the cell where a form is given; nothing calibrated.
    pub fn new(random: &mut Random, form: Option<Form>) -> Self {
        let scale: Vec<f32> = (0..FEATURES).map(|_| random.between(0.2, 2.0) as f32).collect();
        let mut tensors = vec![
            f32_tensor("feature.mean", &[FEATURES], &random.floats(FEATURES, 0.5)),
            f32_tensor("feature.scale", &[FEATURES], &scale),
            f32_tensor("calibration.scores", &[0], &[]),
            f32_tensor("calibration.probabilities", &[0], &[]),
        ];
        let scorer = match form {
            None => {
                tensors.push(f32_tensor("linear.weight", &[FEATURES], &random.floats(FEATURES, 1.0)));
                "linear"
            }
            Some(form) => {
                let hidden = 1 + random.below(20);
                tensors.extend(cell(random, "cell", FEATURES, hidden, form));
                tensors.push(f32_tensor("head.weight", &[1, hidden], &random.floats(hidden, 1.0)));
                tensors.push(f32_tensor("head.bias", &[1], &random.floats(1, 0.5)));
                "fastgrnn"
            }
        };
        let header = json!({
            "format": FORMAT, "kind": "candidates", "version": "0.1.0", "created": "2026-01-01", "features": SPEC,
            "scorer": scorer, "relevance": null, "prediction": null, "self_check": [], "metrics": {"rows": 10},
        });
        Self { header, tensors }
    }

    /// Adds probabilities that rise from `low` to `high` over scores of ±4, p-values and a prediction set.
    pub fn calibrated(mut self, random: &mut Random, probabilities: [f64; 2], size: u64) -> Self {
        let mut rising = |count: usize, low: f64, high: f64| {
            let mut values: Vec<f32> = (0..count).map(|_| random.between(low, high) as f32).collect();
            values.sort_by(f32::total_cmp);
            values.dedup();
            values
        };
        let scores = rising(9, -4.0, 4.0);
        let probabilities = rising(200, probabilities[0], probabilities[1])[..scores.len()].to_vec();
        let (relevant, irrelevant) = (rising(40, -4.0, 1.0), rising(60, -4.0, 1.0));
        let rows = |knots: &[f32]| json!({"rows": knots.len(), "step": 1.0});
        self.header["relevance"] = json!({"relevant": rows(&relevant), "irrelevant": rows(&irrelevant)});
        self.header["prediction"] = json!({"alpha": 0.1, "size": size, "rows": 100});
        for (name, values) in [
            ("calibration.scores", &scores),
            ("calibration.probabilities", &probabilities),
            ("relevance.relevant", &relevant),
            ("relevance.irrelevant", &irrelevant),
        ] {
            self.tensors.retain(|tensor| tensor.name != name);
            self.tensors.push(f32_tensor(name, &[values.len()], values));
        }
        self
    }

    /// Keeps in place of a number of candidates those of a margin, and tests whether candidates are like these, of
    /// which each feature is `mean` on average and at most.
    pub fn for_likes(mut self, margin: f32, mean: f32, threshold: f32) -> Self {
        self.header["prediction"] = json!({"alpha": 0.1, "margin": margin, "rows": 100});
        self.header["likeness"] = json!({"alpha": 0.05, "threshold": threshold, "rows": 100});
        for (name, value) in [("likeness.mean", mean), ("likeness.weight", 1.0)] {
            self.tensors.push(f32_tensor(name, &[2 * FEATURES], &[value; 2 * FEATURES]));
        }
        self
    }

    /// Records features with what score they get.
    pub fn checking(mut self, features: &[f32], score: f32) -> Self {
        self.header["self_check"] = json!([{"features": features, "score": score}]);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        write(&self.header.to_string(), self.tensors.clone()).expect("a valid draft")
    }

    pub fn scorer(&self) -> CandidateScorer {
        CandidateScorer::from_bytes(&self.bytes()).expect("a sound scorer")
    }

    pub fn tensor(&mut self, name: &str) -> &mut TensorData {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("there is such a tensor")
    }

    /// The numbers of an f32 tensor.
    pub fn floats(&self, name: &str) -> Vec<f32> {
        let tensor = self.tensors.iter().find(|tensor| tensor.name == name).expect("there is such a tensor");
        tensor.bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    }
}
