//! Features → score, and what a score is worth: confidence and p-values from calibration.

mod header;

use super::columns::known;
use super::features::{CandidateScratch, FEATURES, FeatureSet, column};
use super::likeness::LikenessTest;
use super::untrained::{self, Combination};
use crate::artifact::{Tensors, invalid};
use crate::conformal::{Relevance, Scores};
use crate::error::{Error, ErrorKind, Result};
use crate::fastgrnn::{Cell, CellScratch};
use crate::kernels::{dot_f32, exp_nonpositive, interpolate};

pub use header::{
    CalibratedOn, KeptSet, KnotRows, Likeness, RelevanceSpec, ScoreCheck, ScorerHeader, ScorerKind,
};

/// Most calibration knots of one kind.
const MOST_KNOTS: usize = 4096;

#[derive(Debug)]
enum Weights {
    Untrained(Combination),
    Linear { weight: [f32; FEATURES] },
    Cell { cell: Box<Cell>, head: Vec<f32>, bias: f32 },
}

/// What turns a candidate's features into a score.
#[derive(Debug)]
pub struct CandidateScorer {
    weights: Weights,
    mean: [f32; FEATURES],
    inverse_scale: [f32; FEATURES],
    /// Score → probability of relevance; empty where it was not calibrated.
    knots: Vec<f32>,
    probabilities: Vec<f32>,
    relevance: Option<Relevance>,
    likeness: Option<LikenessTest>,
    header: Option<ScorerHeader>,
}

/// Buffers scores are computed in.
#[derive(Debug, Default)]
pub struct ScorerScratch {
    inputs: Vec<f32>,
    hidden: Vec<f32>,
    cell: CellScratch,
}

impl Default for CandidateScorer {
    fn default() -> Self {
        Self::untrained(Combination::default())
    }
}

impl CandidateScorer {
    /// The combination that needs no training; nothing in it is calibrated.
    #[must_use]
    pub fn untrained(combination: Combination) -> Self {
        Self {
            weights: Weights::Untrained(combination),
            mean: [0.0; FEATURES],
            inverse_scale: [1.0; FEATURES],
            knots: Vec::new(),
            probabilities: Vec::new(),
            relevance: None,
            likeness: None,
            header: None,
        }
    }
}

fn array(tensors: &Tensors, name: &str) -> Result<[f32; FEATURES]> {
    let values = tensors.f32(name, &[FEATURES])?;
    let mut array = [0.0; FEATURES];
    array.copy_from_slice(&values);
    Ok(array)
}

impl CandidateScorer {
    /// Reads an artifact and checks that it scores as it did when it was made.
    ///
    /// # Errors
    /// `ArtifactInvalid`, `ArtifactVersion`, `ArtifactChecksum` or `ArtifactSelfCheck`, each naming what is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (header, tensors) = Tensors::open::<ScorerHeader>(bytes)?;
        let scale = array(&tensors, "feature.scale")?;
        if let Some(place) = scale.iter().position(|&scale| scale < 1e-6) {
            let remedy = "scales are positive; train again";
            return Err(invalid(format!("feature.scale[{place}]"), scale[place], remedy));
        }
        let weights = match header.scorer {
            ScorerKind::Linear => Weights::Linear { weight: array(&tensors, "linear.weight")? },
            ScorerKind::Fastgrnn => {
                let cell = Cell::load("cell", &tensors, FEATURES)?;
                let head = tensors.f32("head.weight", &[1, cell.hidden_dimensions()])?;
                let bias = tensors.f32("head.bias", &[1])?[0];
                Weights::Cell { cell: Box::new(cell), head, bias }
            }
        };
        let knots = tensors.f32_vector("calibration.scores")?;
        let probabilities = tensors.f32("calibration.probabilities", &[knots.len()])?;
        if knots.len() > MOST_KNOTS
            || knots.windows(2).any(|pair| pair[0] >= pair[1])
            || !probabilities.is_sorted()
        {
            let remedy = "scores and probabilities rise; train again";
            return Err(invalid("calibration.scores", format!("{} knots", knots.len()), remedy));
        }
        if probabilities.iter().any(|probability| !(0.0..=1.0).contains(probability)) {
            return Err(invalid("calibration.probabilities", "outside [0, 1]", "train the artifact again"));
        }
        let relevance = header.relevance.map(|spec| read_relevance(&tensors, &spec)).transpose()?;
        let likeness = header.likeness.map(|spec| LikenessTest::read(&tensors, &spec)).transpose()?;
        let scorer = Self {
            weights,
            mean: array(&tensors, "feature.mean")?,
            inverse_scale: scale.map(|scale| 1.0 / scale),
            knots,
            probabilities,
            relevance,
            likeness,
            header: Some(header),
        };
        scorer.check_self()?;
        Ok(scorer)
    }

    fn check_self(&self) -> Result<()> {
        let Some(header) = &self.header else { return Ok(()) };
        let mut scratch = ScorerScratch::default();
        for (place, check) in header.self_check.iter().enumerate() {
            let mut score = Vec::new();
            let columns = std::array::from_fn(|feature| &check.features[feature..=feature]);
            self.learned(&columns, 1, &mut scratch, &mut score);
            let within = 1e-4 * check.score.abs().max(1.0);
            if !score.first().is_some_and(|score| (score - check.score).abs() <= within) {
                return Err(Error::new(
                    ErrorKind::ArtifactSelfCheck,
                    format!("self_check[{place}]"),
                    format!("score {:?}", score.first()),
                    format!("it was {} when made; train again or update tiny-dancer", check.score),
                ));
            }
        }
        Ok(())
    }

    /// What the artifact says of itself; `None` for the combination without training.
    #[must_use]
    pub fn header(&self) -> Option<&ScorerHeader> {
        self.header.as_ref()
    }

    /// The features that scores depend on.
    pub(super) fn weighed(&self) -> FeatureSet {
        match &self.weights {
            Weights::Untrained(combination) => combination.weighed(),
            Weights::Linear { weight } if self.likeness.is_none() => {
                FeatureSet::of((0..FEATURES).filter(|&feature| weight[feature] != 0.0))
            }
            _ => FeatureSet::ALL,
        }
    }

    /// How much a score changes at most with each of the cosines (of a candidate, its context, the one before), for a
    /// query with an embedding; `None` where that is not known, or where the scores of all matter.
    pub(super) fn slopes(&self, has_words: bool) -> Option<[f32; 3]> {
        match &self.weights {
            Weights::Untrained(_) => Some([0.0, untrained::slope(has_words), 0.0]),
            Weights::Linear { weight }
                if !self.is_relative() && self.likeness.is_none() && self.prediction().is_none() =>
            {
                let slope = |feature: usize| (weight[feature] * self.inverse_scale[feature]).abs();
                Some([column::COSINE, column::COSINE_CONTEXT, column::COSINE_BEFORE].map(slope))
            }
            _ => None,
        }
    }

    /// Scores of all candidates from their features; NaN for a candidate whose embedding is not finite.
    ///
    /// Gives whether the candidates are like those the scorer was made with. If not, scores are those of the measured
    /// combination without training, and nothing that was calibrated is about them.
    pub(super) fn score(
        &self,
        features: &CandidateScratch,
        scratch: &mut ScorerScratch,
        out: &mut Vec<f32>,
    ) -> bool {
        let alike = self.likeness.as_ref().is_none_or(|likeness| likeness.is_like(features));
        match &self.weights {
            Weights::Untrained(combination) => combination.score(features, out),
            _ if !alike => Combination::Measured.score(features, out),
            _ => self.learned(&features.all_columns(), features.rows(), scratch, out),
        }
        for (score, &known) in out.iter_mut().zip(&features.known) {
            // A query without an embedding does not show which candidates are not finite. And no negative zero, which
            // would sort below zero.
            *score = if known & known::UNSOUND == 0 { *score + 0.0 } else { f32::NAN };
        }
        alike
    }

    fn learned(
        &self,
        columns: &[&[f32]; FEATURES],
        rows: usize,
        scratch: &mut ScorerScratch,
        out: &mut Vec<f32>,
    ) {
        out.clear();
        out.resize(rows, 0.0);
        if rows == 0 {
            return;
        }
        match &self.weights {
            Weights::Untrained(_) => {}
            Weights::Linear { weight } => {
                for (feature, values) in columns.iter().enumerate() {
                    let (weight, mean) = (weight[feature] * self.inverse_scale[feature], self.mean[feature]);
                    for (score, value) in out.iter_mut().zip(*values) {
                        *score += weight * (value - mean);
                    }
                }
            }
            Weights::Cell { cell, head, bias } => {
                let ScorerScratch { inputs, hidden, cell: cell_scratch } = scratch;
                inputs.clear();
                inputs.resize(rows * FEATURES, 0.0);
                standardise(columns, &self.mean, &self.inverse_scale, inputs);
                hidden.clear();
                hidden.resize(rows * cell.hidden_dimensions(), 0.0);
                cell.batch(inputs, hidden, cell_scratch);
                for (score, hidden) in out.iter_mut().zip(hidden.chunks_exact(head.len())) {
                    *score = dot_f32(hidden, head) + bias;
                }
            }
        }
    }

    /// Whether what is said of a candidate depends on the scores of the others.
    pub(super) fn is_relative(&self) -> bool {
        self.header.as_ref().is_some_and(|header| header.calibrated_on != CalibratedOn::Score)
    }

    /// What to take off these scores of one question's candidates before asking for confidence and uncertainty. NaN
    /// takes no part.
    #[must_use]
    pub fn shift(&self, scores: &[f32]) -> f32 {
        if !self.is_relative() {
            return 0.0;
        }
        let highest = scores.iter().fold(f32::NEG_INFINITY, |highest, &score| highest.max(score));
        if highest == f32::NEG_INFINITY {
            return 0.0;
        }
        let share = |score: &f32| if score.is_nan() { 0.0 } else { exp_nonpositive(score - highest) };
        highest + libm::logf(scores.iter().map(share).sum())
    }

    /// Probability that a candidate of this score, less the [`Self::shift`], is relevant; the score itself where nothing
    /// was calibrated.
    #[must_use]
    pub fn confidence(&self, score: f32) -> f32 {
        if self.knots.is_empty() { score } else { interpolate(&self.knots, &self.probabilities, score) }
    }

    /// The smallest α at which "relevant" or "irrelevant" alone is the prediction set of a candidate with this score,
    /// less the [`Self::shift`]; 1 where nothing was calibrated.
    #[must_use]
    pub fn uncertainty(&self, score: f32) -> f32 {
        self.relevance
            .as_ref()
            .map_or(1.0, |relevance| relevance.p_values(f64::from(score)).uncertainty() as f32)
    }

    /// The calibrated prediction set.
    #[must_use]
    pub fn prediction(&self) -> Option<KeptSet> {
        self.header.as_ref().and_then(|header| header.prediction)
    }

    /// Whether confidence is a calibrated probability.
    #[must_use]
    pub fn is_calibrated(&self) -> bool {
        !self.knots.is_empty() && self.relevance.is_some()
    }
}

/// Columns of features → standardised rows of `out`, which has as many values.
fn standardise(
    columns: &[&[f32]; FEATURES],
    mean: &[f32; FEATURES],
    inverse_scale: &[f32; FEATURES],
    out: &mut [f32],
) {
    let (blocks, rest) = out.as_chunks_mut::<{ 8 * FEATURES }>();
    for (block, out) in blocks.iter_mut().enumerate() {
        for feature in 0..FEATURES {
            // Eight rows at a time are read as one vector.
            let Some(values) = columns[feature][8 * block..].first_chunk::<8>() else { break };
            for (lane, value) in values.iter().enumerate() {
                out[lane * FEATURES + feature] = (value - mean[feature]) * inverse_scale[feature];
            }
        }
    }
    let done = 8 * blocks.len();
    for (place, row) in rest.chunks_exact_mut(FEATURES).enumerate() {
        for (feature, out) in row.iter_mut().enumerate() {
            *out = (columns[feature][done + place] - mean[feature]) * inverse_scale[feature];
        }
    }
}

fn read_relevance(tensors: &Tensors, spec: &RelevanceSpec) -> Result<Relevance> {
    let scores = |name: &str, of: KnotRows| {
        let knots = tensors.f32_vector(name)?;
        if knots.len() > MOST_KNOTS {
            return Err(invalid(name, format!("{} knots", knots.len()), "at most 4,096; train again"));
        }
        Scores::from_parts(of.rows, of.step, knots)
            .map_err(|error| invalid(format!("{name}: {}", error.field), error.value, &error.remedy))
    };
    Ok(Relevance::from_parts(
        scores("relevance.relevant", spec.relevant)?,
        scores("relevance.irrelevant", spec.irrelevant)?,
    ))
}
