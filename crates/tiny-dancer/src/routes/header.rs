//! The header of an artifact that knows routes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::conditions::Condition;
use crate::artifact::{Kind, LARGEST_NUMBER, MOST_SELF_CHECKS, invalid};
use crate::conformal::{Calibration, ScoreKind};
use crate::encoder::DIM;
use crate::error::Result;
use crate::request::Spec;
use crate::sort;
use crate::spelling::Spelling;

/// Most routes one artifact may tell apart.
pub const MOST_ROUTES: usize = 65_536;
/// Most values of a vector.
pub const MOST_DIMENSIONS: usize = 8192;
/// Numbers that say whether a request is in scope; see [`super::MEASURES`].
pub const MEASURES: usize = 7;
/// Most points of the curve of false alarms.
const MOST_POINTS: usize = 256;

/// A route: what it is called, where it leads, when it may be given.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// Its name.
    pub name: String,
    /// Where it leads: a model, an agent, a function, an answer. The engine hands it on.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub target: serde_json::Value,
    /// Of two routes that overlap, the one of higher priority is chosen.
    #[serde(default)]
    pub priority: i64,
    /// Least confidence at which it is given; absent: the artifact's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// When it may be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Condition>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What the caller keeps with it.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub metadata: serde_json::Value,
}

/// Which encoder makes the vectors that the artifact compares.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct EncoderSpec {
    /// Its name, with which a caller's vectors have to come.
    pub name: String,
    /// Values of a vector.
    pub dimension: usize,
    /// Checksum, where it is the engine's own: then the engine encodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// What scores the routes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Model {
    /// The head `head`, see [`crate::heads`], plus `prototypes` × likeness.
    Head {
        /// Scores per unit of likeness to the prototypes; 0 where they only help to tell the scope.
        #[serde(default)]
        prototypes: f32,
        /// The head has one output more than there are routes, which stands for none of them.
        #[serde(default)]
        none: bool,
    },
    /// `scale` × likeness. The likeness to a route is half its highest and half its mean cosine with its prototypes.
    Prototypes {
        /// Scores per unit of likeness.
        scale: f32,
    },
}

/// When a request is none of the routes'.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// The in-scope score is sigmoid(bias + Σ weights · measures), see [`super::MEASURES`].
    pub weights: [f32; MEASURES],
    /// See `weights`.
    pub bias: f32,
    /// Share of in-scope requests that may be called out of scope, unless the caller says otherwise.
    pub false_alarms: f32,
    /// (share, score): where requests scored lower are out of scope, that share of held-out in-scope rows is. Both
    /// rise.
    pub thresholds: Vec<[f32; 2]>,
}

/// A request with the answer it must lead to.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct SelfCheck {
    /// The text, empty where there is none.
    #[serde(default)]
    pub text: String,
    /// The vector, where the engine does not encode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vec<f32>>,
    /// The most probable route.
    pub best: String,
    /// Its probability.
    pub confidence: f32,
    /// The in-scope score, where there is one.
    #[serde(default)]
    pub in_scope: Option<f32>,
}

/// Everything about the artifact that is not a weight.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Header {
    /// Format version, see [`crate::artifact::FORMAT`].
    pub format: String,
    /// See [`Kind::KIND`].
    pub kind: String,
    /// Version of this artifact (semver).
    pub version: String,
    /// Date of making, as the caller gave it.
    #[serde(default)]
    pub created: String,
    /// The routes, in the order of scores.
    pub routes: Vec<RouteSpec>,
    /// Version of the featuriser, [`Spec`].
    pub spec: String,
    /// What encodes.
    pub encoder: EncoderSpec,
    /// What scores.
    pub model: Model,
    /// Probabilities are softmax(scores ÷ temperature).
    #[serde(default = "one")]
    pub temperature: f32,
    /// Least confidence at which a route is given.
    #[serde(default)]
    pub threshold: f32,
    /// Whether temperature and thresholds were fitted on rows that the scores had not seen, and still hold.
    #[serde(default)]
    pub calibrated: bool,
    /// When a request is none of the routes'; absent: never.
    #[serde(default)]
    pub scope: Option<Scope>,
    /// Calibration of prediction sets, where there is one.
    #[serde(default)]
    pub conformal: Option<Calibration>,
    /// How unknown words are read as known ones, see [`crate::spelling`]; absent: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spelling: Option<Spelling>,
    /// Requests with their answers.
    #[serde(default)]
    pub self_check: Vec<SelfCheck>,
    /// What the engine does not read: training data digest, metrics, settings.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

fn one() -> f32 {
    1.0
}

impl Scope {
    fn check(&self) -> Result<()> {
        let remedy = "train the artifact again";
        let sound = |number: f32| f64::from(number.abs()) <= LARGEST_NUMBER;
        if !self.weights.iter().chain([&self.bias]).all(|&weight| sound(weight)) {
            return Err(invalid("scope.weights", "not finite or beyond ±1e9", remedy));
        }
        let points = &self.thresholds;
        let rising = points.windows(2).all(|pair| pair[0][0] < pair[1][0] && pair[0][1] <= pair[1][1]);
        let within = points.iter().flatten().all(|value| (0.0..=1.0).contains(value));
        if points.is_empty() || points.len() > MOST_POINTS || !rising || !within {
            return Err(invalid("scope.thresholds", format!("{} points", points.len()), remedy));
        }
        if !(0.0..=1.0).contains(&self.false_alarms) {
            return Err(invalid("scope.false_alarms", self.false_alarms, "a share lies between 0 and 1"));
        }
        Ok(())
    }

    /// The score below which a request is out of scope, for a share of false alarms. Between two shares of the curve
    /// in a straight line; below the first the first, beyond the last the last.
    pub(super) fn threshold(&self, false_alarms: f32) -> f32 {
        if false_alarms == 0.0 {
            return 0.0;
        }
        let above = self.thresholds.partition_point(|point| point[0] <= false_alarms);
        match (above.checked_sub(1).map(|below| self.thresholds[below]), self.thresholds.get(above)) {
            (None, Some(first)) => first[1],
            (Some([_, score]), None) => score,
            (Some([share, score]), Some(next)) => {
                score + (false_alarms - share) / (next[0] - share) * (next[1] - score)
            }
            (None, None) => 0.0,
        }
    }
}

impl Kind for Header {
    const KIND: &'static str = "routes";

    fn check(&self) -> Result<()> {
        let bad = |field: &str, value: String| Err(invalid(field, value, "train the artifact again"));
        if self.routes.is_empty() || self.routes.len() > MOST_ROUTES {
            return Err(invalid(
                "routes",
                format!("{} routes", self.routes.len()),
                "give 1 to 65,536 routes",
            ));
        }
        let mut names: Vec<&String> = self.routes.iter().map(|route| &route.name).collect();
        sort::many::unstable(&mut names);
        if names[0].is_empty() {
            return Err(invalid("routes[].name", "empty", "give every route a name"));
        }
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(invalid(
                "routes[].name",
                pair[0],
                "this name is given twice; give every route its own",
            ));
        }
        for route in &self.routes {
            if let Some(threshold) = route.threshold.filter(|value| !(0.0..=1.0).contains(value)) {
                let field = format!("routes[{}].threshold", route.name);
                return Err(invalid(field, threshold, "a threshold is a probability, between 0 and 1"));
            }
            if let Some(condition) = &route.conditions {
                condition.check(&format!("routes[{}].conditions", route.name), 0)?;
            }
        }
        if Spec::of(&self.spec).is_none() {
            return bad("spec", self.spec.clone());
        }
        let dimension = self.encoder.dimension;
        if !(1..=MOST_DIMENSIONS).contains(&dimension) || self.encoder.name.is_empty() {
            return bad("encoder", format!("{:?} of {dimension} values", self.encoder.name));
        }
        if self.encoder.checksum.is_some() && dimension != DIM {
            return bad("encoder.dimension", dimension.to_string());
        }
        if self.spelling.is_some() && self.encoder.checksum.is_none() {
            return bad("spelling", "with another encoder's vectors".to_owned());
        }
        let usable = |number: f32| number > 0.0 && f64::from(number) <= LARGEST_NUMBER && number.is_normal();
        if let Model::Prototypes { scale } = self.model
            && !usable(scale)
        {
            return bad("model.scale", scale.to_string());
        }
        if let Model::Head { prototypes, .. } = self.model
            && !(0.0..=LARGEST_NUMBER as f32).contains(&prototypes)
        {
            return bad("model.prototypes", prototypes.to_string());
        }
        if !usable(self.temperature) {
            return bad("temperature", self.temperature.to_string());
        }
        if !(0.0..=1.0).contains(&self.threshold) {
            return bad("threshold", self.threshold.to_string());
        }
        if let Some(scope) = &self.scope {
            scope.check()?;
        }
        if let Some(calibration) = &self.conformal {
            calibration.check()?;
            if !matches!(calibration.score, ScoreKind::Lac | ScoreKind::Aps) {
                return bad("conformal.score", calibration.score.name().to_owned());
            }
        }
        if self.self_check.len() > MOST_SELF_CHECKS {
            return bad("self_check", format!("{} requests", self.self_check.len()));
        }
        Ok(())
    }
}
