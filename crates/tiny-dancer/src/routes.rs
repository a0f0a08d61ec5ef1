//! Text → route, or none: which of many intents a request has, how sure that is, and whether it has any of them.
//!
//! ```text
//! text ─▶ n-grams, embedding ─▶ head, or likeness to prototypes ─▶ softmax ─▶ best, confidence, conformal set
//!                            └─▶ measures ─▶ in-scope score ─▶ below the threshold: none
//! ```
//!
//! Where the artifact knows words, a word that is unknown is read as the known one next to it (`spelling.rs`).
//!
//! **The choice.** Routes may be given whose conditions hold, which the caller allows, and whose confidence reaches
//! their threshold. Of these a route overlaps with the most probable one where it is at least half as probable. Among
//! routes that overlap the order is total: higher priority, then higher probability, then declared earlier. The first
//! is chosen, unless the request is out of scope.

mod answer;
mod conditions;
mod handle;
mod header;
mod prototypes;

use serde::Deserialize;

use crate::artifact::{Tensors, invalid};
use crate::conformal::LabelScratch;
use crate::encoder::Encoder;
use crate::error::{Error, ErrorKind, Result};
use crate::features::{FeatureScratch, Features, featurise_corrected};
use crate::heads::{Head, HeadScratch, Input, direction};
use crate::kernels::{exp_nonpositive, exponentials, inverse_norm, visit_above};
use crate::request::{Request, Spec};
use crate::sort;
use crate::spelling::Speller;
use conditions::Asked;
use prototypes::Prototypes;

pub use answer::Answer;
pub use conditions::{Condition, Context, Hours, Period, Rate, Tokens};
pub use handle::Routing;
pub use header::{
    EncoderSpec, Header, MEASURES as MEASURE_COUNT, MOST_ROUTES, Model, RouteSpec, Scope, SelfCheck,
};

/// What the in-scope score is made of: ln Σ exp(score), the highest score, its lead over the second, the highest
/// cosine with a prototype (0 without any), the shares of word and character n-grams that the head knows, and the lead of
/// the highest score over that of none (0 where the head has no such output).
pub const MEASURES: [&str; MEASURE_COUNT] =
    ["energy", "highest", "lead", "nearest", "known_words", "known_characters", "lead_over_none"];
/// A route overlaps with the best one from this share of its probability on.
const OVERLAP: f32 = 0.5;
/// Largest difference between a self-check's recorded number and the one computed on loading.
const SELF_CHECK_TOLERANCE: f32 = 1e-4;
/// Values of a caller's vector beyond this are refused.
const LARGEST_VALUE: f32 = 1e9;

/// Loaded routes. Immutable: share them between threads, with one [`Scratch`] each.
#[derive(Debug)]
pub struct Routes {
    header: Header,
    spec: Spec,
    head: Option<Head>,
    prototypes: Option<Prototypes>,
    speller: Option<Speller>,
    /// Routes by name.
    by_name: Vec<u32>,
    /// Whether any route has conditions.
    conditional: bool,
}

/// A vector of another encoder.
#[derive(Clone, Copy, Debug)]
pub struct Vector<'a> {
    /// Its values, of any length.
    pub values: &'a [f32],
    /// The encoder that made it.
    pub encoder: &'a str,
}

/// What a caller asks beyond the request. The default asks nothing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How many routes to list.
    pub limit: usize,
    /// Only these routes; empty means all.
    pub allowed: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// Share of in-scope requests that may be called out of scope, 0 for none; absent: the artifact's.
    pub false_alarms: Option<f32>,
    /// Least confidence at which any route is given, where its own threshold is lower.
    pub least_confidence: f32,
    /// Whether to give the prediction set.
    pub prediction_set: bool,
    /// What surrounds the request.
    pub context: Context,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limit: 3,
            allowed: Vec::new(),
            exclude: Vec::new(),
            false_alarms: None,
            least_confidence: 0.0,
            prediction_set: false,
            context: Context::default(),
        }
    }
}

/// Why a route was chosen, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is the most probable of those that may be given.
    MostProbable,
    /// It overlaps with a more probable one and goes before it by priority.
    Priority,
    /// None: the request is like none of the routes'.
    OutOfScope,
    /// None: no route that may be given is probable enough.
    BelowThreshold,
    /// None: no route may be given.
    NoneAllowed,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::MostProbable, Self::Priority, Self::OutOfScope, Self::BelowThreshold, Self::NoneAllowed];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MostProbable => "most_probable",
            Self::Priority => "priority",
            Self::OutOfScope => "out_of_scope",
            Self::BelowThreshold => "below_threshold",
            Self::NoneAllowed => "none_allowed",
        }
    }
}

/// An answer, by the routes' positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// The route chosen, or none.
    pub route: Option<usize>,
    /// The most probable of all routes, whatever may be given.
    pub best: usize,
    /// Probability that the route chosen is right, of `best` where none is; given that the request is in scope.
    pub confidence: f32,
    /// How likely the request is one of the routes'; `None` where the artifact cannot say.
    pub in_scope: Option<f32>,
    /// Why.
    pub reason: Reason,
}

/// Buffers of one thread; after the first requests, deciding allocates nothing. It holds the last answer.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Scores of the last request, before the temperature.
    pub scores: Vec<f32>,
    /// Probabilities of the last request: one a route, in sum 1.
    pub probabilities: Vec<f32>,
    /// See [`MEASURES`].
    pub measures: [f32; MEASURE_COUNT],
    /// The most probable routes, best first.
    pub top: Vec<u32>,
    /// The prediction set, most probable first, where it was asked for and there is a calibration.
    pub set: Vec<u32>,
    features: Features,
    featuriser: FeatureScratch,
    head: HeadScratch,
    vector: Vec<i8>,
    products: Vec<i32>,
    cosines: Vec<f32>,
    open: Vec<bool>,
    labels: LabelScratch,
}

impl Scratch {
    /// The last text as it was read, in normal form, where words of it were read as others; see [`crate::spelling`].
    #[must_use]
    pub fn read_as(&self) -> Option<String> {
        self.featuriser.read_as()
    }
}

#[cold]
#[inline(never)]
fn refused(field: impl Into<String>, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::RequestInvalid, field, value, remedy)
}

impl Routes {
    /// Reads routes, checks them, and runs their self-checks.
    ///
    /// # Errors
    /// `ArtifactInvalid`, `ArtifactVersion`, `ArtifactChecksum`, `ArtifactSelfCheck`, or `EncoderMissing` where the
    /// engine has to encode and `encoder` is none or another than they were fitted with.
    pub fn from_bytes(bytes: &[u8], encoder: Option<&Encoder>) -> Result<Self> {
        let (header, tensors) = Tensors::open::<Header>(bytes)?;
        let (routes, dimension) = (header.routes.len(), header.encoder.dimension);
        let head = match header.model {
            Model::Head { none, .. } => {
                Some(Head::load("head", &tensors, routes + usize::from(none), dimension)?)
            }
            Model::Prototypes { .. } => None,
        };
        let prototypes = match header.model {
            Model::Head { prototypes: 0.0, .. } if !tensors.has("prototypes") => None,
            _ => Some(Prototypes::load(&tensors, routes, dimension)?),
        };
        if let Some(route) = prototypes.as_ref().and_then(Prototypes::without) {
            let field = format!("routes[{}].utterances", header.routes[route].name);
            return Err(invalid(field, "none", "give every route at least one utterance"));
        }
        let mut by_name: Vec<u32> = (0..routes as u32).collect();
        let name = |route: u32| &header.routes[route as usize].name;
        sort::many::rows_by(&mut by_name, &mut |&one, &two| name(one).cmp(name(two)));
        let spec = Spec::of(&header.spec).unwrap_or(Spec::NEWEST);
        let conditional = header.routes.iter().any(|route| route.conditions.is_some());
        let mut routes = Self { header, spec, head, prototypes, speller: None, by_name, conditional };
        if routes.header.encoder.checksum.is_some() {
            let encoder = routes.encoder(encoder)?;
            let pairs = routes.head.as_ref().map_or(&[][..], Head::known_words);
            if let Some(header) = &routes.header.spelling {
                routes.speller = Some(Speller::load(header, &tensors, Some(encoder), pairs)?);
            }
        }
        routes.self_check(encoder)?;
        Ok(routes)
    }

    /// Everything about the artifact that is not a weight.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The position of the route of this name.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        let found = self
            .by_name
            .binary_search_by(|&route| self.header.routes[route as usize].name.as_str().cmp(name));
        found.ok().map(|at| self.by_name[at] as usize)
    }

    /// Decides where a text belongs. Where another encoder makes the vectors, `vector` is the text's, and the text may
    /// be empty unless the head reads n-grams.
    ///
    /// # Errors
    /// `RequestInvalid`: nothing to route; a vector that is missing, superfluous, of another encoder or length, or not
    /// finite; a time that conditions need. `OptionInvalid`: an unknown route or a number out of range.
    /// `EncoderMissing`.
    pub fn decide(
        &self,
        text: &str,
        vector: Option<Vector>,
        encoder: Option<&Encoder>,
        options: &Options,
        scratch: &mut Scratch,
    ) -> Result<Decision> {
        self.score(text, vector, encoder, scratch)?;
        self.choose(text, options, scratch)
    }

    /// Scores, probabilities and measures of a request, into `scratch`.
    fn score(
        &self,
        text: &str,
        vector: Option<Vector>,
        encoder: Option<&Encoder>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let own = self.header.encoder.checksum.is_some();
        let wants_text = own || self.head.as_ref().is_some_and(Head::reads_ngrams);
        let Scratch { features, featuriser, .. } = scratch;
        let has_text = !text.trim().is_empty();
        if wants_text || has_text {
            let encoder = if own { Some(self.encoder(encoder)?) } else { None };
            let speller = self.speller.as_ref();
            featurise_corrected(&Request::text(text), self.spec, encoder, speller, featuriser, features)?;
        } else {
            *features = Features::default();
        }
        let Scratch { features, head, vector: rounded, products, cosines, scores, .. } = scratch;
        let inverse = match vector {
            None if own => features.inverse_norm,
            None => {
                return Err(refused(
                    "vector",
                    "absent",
                    "give the text's vector by the encoder of these routes",
                ));
            }
            Some(vector) => {
                self.check_vector(vector)?;
                direction(vector.values, rounded);
                inverse_norm(rounded)
            }
        };
        let embedding: &[i8] = if own { &features.embedding } else { rounded };
        let (mut known, mut none) = ([0.0; 2], None);
        if let Some(layer) = &self.head {
            let input = Input {
                words: features.word_ngrams(),
                characters: features.character_ngrams(),
                embedding,
                inverse_norm: inverse,
            };
            known = layer.scores(&input, head, scores);
            if layer.outputs() > self.header.routes.len() {
                none = scores.pop();
            }
        }
        let mut nearest = 0.0;
        if let Some(prototypes) = &self.prototypes {
            nearest = prototypes.compare(embedding, inverse, products, cosines);
            match self.header.model {
                Model::Prototypes { scale } => {
                    scores.clear();
                    scores.resize(self.header.routes.len(), 0.0);
                    prototypes.add_scores(cosines, scale, scores);
                }
                Model::Head { prototypes: scale, .. } if scale > 0.0 => {
                    prototypes.add_scores(cosines, scale, scores);
                }
                Model::Head { .. } => {}
            }
        }
        let (mut highest, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        visit_above(scores, f32::NEG_INFINITY, |_, score| {
            if score > highest {
                (highest, second) = (score, highest);
            } else {
                second = score;
            }
            second
        });
        let Scratch { scores, probabilities, .. } = scratch;
        let mut sum = exponentials(scores, highest, 1.0, probabilities);
        let lead = if second.is_finite() { highest - second } else { 0.0 };
        let over_none = none.map_or(0.0, |none| highest - none);
        let energy = highest + libm::logf(sum);
        scratch.measures = [energy, highest, lead, nearest, known[0], known[1], over_none];
        if self.header.temperature.to_bits() != 1f32.to_bits() {
            sum = exponentials(scores, highest, 1.0 / self.header.temperature, probabilities);
        }
        for probability in probabilities.iter_mut() {
            *probability /= sum;
        }
        Ok(())
    }

    fn check_vector(&self, vector: Vector) -> Result<()> {
        let spec = &self.header.encoder;
        if spec.checksum.is_some() {
            return Err(refused(
                "vector",
                "given",
                "the engine encodes for these routes: give the text alone",
            ));
        }
        if vector.encoder != spec.name {
            let remedy =
                format!("these routes compare vectors of {}: encode with that, or fit again", spec.name);
            return Err(refused("encoder", vector.encoder, &remedy));
        }
        if vector.values.len() != spec.dimension {
            let remedy = format!("give {} values", spec.dimension);
            return Err(refused("vector", format!("{} values", vector.values.len()), &remedy));
        }
        if let Some(at) = vector.values.iter().position(|value| value.is_nan() || value.abs() > LARGEST_VALUE)
        {
            let remedy = "values must be finite and within ±1e9";
            return Err(refused(format!("vector[{at}]"), vector.values[at], remedy));
        }
        Ok(())
    }

    /// The choice among what was scored.
    fn choose(&self, text: &str, options: &Options, scratch: &mut Scratch) -> Result<Decision> {
        let Scratch { probabilities, measures, top, set, features, open, labels, .. } = scratch;
        let share = |field: &str, value: f32| {
            if (0.0..=1.0).contains(&value) {
                return Ok(value);
            }
            Err(Error::new(ErrorKind::OptionInvalid, field, value, "give a share between 0 and 1"))
        };
        let least = share("least_confidence", options.least_confidence)?;
        let alarms = options.false_alarms.map(|alarms| share("false_alarms", alarms)).transpose()?;
        self.mark_open(text, features.tokens, options, open)?;

        let mut best = 0;
        visit_above(probabilities, f32::NEG_INFINITY, |route, probability| {
            best = route;
            probability
        });
        list_top(probabilities, options.limit, top);
        set.clear();
        if let Some(calibration) = self.header.conformal.as_ref().filter(|_| options.prediction_set) {
            set.extend_from_slice(calibration.label_set(probabilities, None, 0.0, labels)?);
        }
        let in_scope = self.in_scope(measures);
        let decided = |route: Option<usize>, reason| Decision {
            route,
            best,
            confidence: probabilities[route.unwrap_or(best)],
            in_scope,
            reason,
        };
        if !open.contains(&true) {
            return Ok(decided(None, Reason::NoneAllowed));
        }
        if let (Some(scope), Some(score)) = (&self.header.scope, in_scope)
            && score < scope.threshold(alarms.unwrap_or(scope.false_alarms))
        {
            return Ok(decided(None, Reason::OutOfScope));
        }
        let reaches = |route: usize| {
            let threshold = self.header.routes[route].threshold.unwrap_or(self.header.threshold);
            open[route] && probabilities[route] >= threshold.max(least)
        };
        let (mut likeliest, mut highest) = (None, f32::NEG_INFINITY);
        visit_above(probabilities, highest, |route, probability| {
            if reaches(route) {
                (likeliest, highest) = (Some(route), probability);
            }
            highest
        });
        let Some(likeliest) = likeliest else { return Ok(decided(None, Reason::BelowThreshold)) };
        let mut chosen = likeliest;
        // Most are far below: what is known of them is not looked at.
        let below = (probabilities[likeliest] * OVERLAP).next_down();
        visit_above(probabilities, below, |route, probability| {
            let (own, other) = (self.header.routes[route].priority, self.header.routes[chosen].priority);
            if (own > other || own == other && probability > probabilities[chosen]) && reaches(route) {
                chosen = route;
            }
            below
        });
        let reason = if chosen == likeliest { Reason::MostProbable } else { Reason::Priority };
        Ok(decided(Some(chosen), reason))
    }

    /// How likely a request of these measures is one of the routes'.
    fn in_scope(&self, measures: &[f32; MEASURE_COUNT]) -> Option<f32> {
        self.header.scope.as_ref().map(|scope| {
            let terms = scope.weights.iter().zip(measures);
            sigmoid(terms.fold(scope.bias, |sum, (weight, measure)| sum + weight * measure))
        })
    }

    /// Which routes may be given.
    fn mark_open(&self, text: &str, tokens: u32, options: &Options, open: &mut Vec<bool>) -> Result<()> {
        open.clear();
        open.resize(self.header.routes.len(), options.allowed.is_empty());
        let named = [("allowed", &options.allowed, true), ("exclude", &options.exclude, false)];
        for (field, names, value) in named {
            for name in names {
                let Some(route) = self.position(name) else {
                    let known = self.header.routes.len();
                    let remedy =
                        format!("name one of the {known} routes, such as {}", self.header.routes[0].name);
                    return Err(Error::new(ErrorKind::OptionInvalid, field, name, remedy));
                };
                open[route] = value;
            }
        }
        if self.conditional {
            for (route, open) in self.header.routes.iter().zip(open.iter_mut()) {
                if let (true, Some(condition)) = (*open, &route.conditions) {
                    let asked = Asked { route: &route.name, text, tokens, context: &options.context };
                    *open = condition.holds(asked)?;
                }
            }
        }
        Ok(())
    }

    fn encoder<'a>(&self, encoder: Option<&'a Encoder>) -> Result<&'a Encoder> {
        let wanted = self.header.encoder.checksum.as_deref().unwrap_or_default();
        Encoder::wanted(encoder, wanted, "these routes were fitted")
    }

    fn self_check(&self, encoder: Option<&Encoder>) -> Result<()> {
        let mut scratch = Scratch::default();
        for (number, check) in self.header.self_check.iter().enumerate() {
            let failed = |value: String, remedy: &str| {
                Error::new(ErrorKind::ArtifactSelfCheck, format!("self_check[{number}]"), value, remedy)
            };
            let name = &self.header.encoder.name;
            let vector = check.vector.as_deref().map(|values| Vector { values, encoder: name });
            // Scores are checked, not what conditions make of them.
            self.score(&check.text, vector, encoder, &mut scratch).map_err(|error| {
                failed(error.to_string(), "the artifact cannot route its own request; train again")
            })?;
            let close = |a: f32, b: f32| (a - b).abs() <= SELF_CHECK_TOLERANCE;
            let highest = scratch.probabilities.iter().fold(0f32, |highest, &value| highest.max(value));
            let in_scope = self.in_scope(&scratch.measures);
            // Of two routes that are level, either may have been recorded.
            let same =
                self.position(&check.best).is_some_and(|best| close(scratch.probabilities[best], highest))
                    && close(check.confidence, highest)
                    && match (check.in_scope, in_scope) {
                        (Some(recorded), Some(found)) => close(recorded, found),
                        (None, _) => true,
                        (Some(_), None) => false,
                    };
            if !same {
                return Err(failed(
                    format!("confidence {highest}, in scope {in_scope:?}; recorded {check:?}"),
                    "the artifact answers otherwise here than where it was made; train again and report it",
                ));
            }
        }
        Ok(())
    }
}

fn sigmoid(x: f32) -> f32 {
    let below = exp_nonpositive(-x.abs());
    if x >= 0.0 { 1.0 / (1.0 + below) } else { below / (1.0 + below) }
}

/// The `limit` most probable routes, best first, equal ones in their order.
fn list_top(probabilities: &[f32], limit: usize, top: &mut Vec<u32>) {
    let limit = limit.min(probabilities.len());
    top.clear();
    if limit == 0 {
        return;
    }
    visit_above(probabilities, f32::NEG_INFINITY, |route, probability| {
        let place = top.partition_point(|&other| probabilities[other as usize] >= probability);
        if top.len() == limit {
            top.pop();
        }
        top.insert(place, route as u32);
        if top.len() == limit { probabilities[top[limit - 1] as usize] } else { f32::NEG_INFINITY }
    });
}
