//! Ties the rooms together: request → features → components → quality → choice.

use crate::artifact::{BackendSpec, Header, Kind, ModelSpec, Tensors};
use crate::backends::{self, Backend, BackendScratch};
use crate::decision::Decision;
use crate::encoder::Encoder;
use crate::error::{Error, ErrorKind, Result};
use crate::features::{CUES, FeatureScratch, Features, SPEC, featurise};
use crate::kernels::{dot_f32, interpolate};
use crate::likeness::{Drift, LikenessTest, Martingale, UsualDecisions};
use crate::options::Options;
use crate::policy::Policy;
use crate::price::{Tokens, expected_cost};
use crate::request::{Request, Spec};
use crate::select::{Expectations, Prompt, Removal, Uncovered, remove, select};

/// Largest difference between a self-check's recorded quality and the one computed on loading.
const SELF_CHECK_TOLERANCE: f32 = 1e-5;

/// A loaded artifact.
#[derive(Debug)]
pub struct Router {
    header: Header,
    spec: Spec,
    /// Why no decision stands under a certificate, whatever it is; `None` where the artifact has one.
    uncertified: Option<Uncovered>,
    backends: Vec<Box<dyn Backend>>,
    /// [backends, components]: how the backends' components are weighed.
    stack: Vec<f32>,
    /// [models]
    mean: Vec<f32>,
    /// [models, components]
    basis: Vec<f32>,
    /// [models, knots], both: calibration of each model's quality.
    calibration_knots: Vec<f32>,
    calibration_values: Vec<f32>,
    knots: usize,
    /// Margin over the runner-up → probability that the choice is no worse.
    confidence_knots: Vec<f32>,
    confidence_values: Vec<f32>,
    /// Verbosity score of the cost head: cues, then intercept.
    verbosity: Vec<f32>,
    /// What tells requests from those the artifact was calibrated on.
    likeness: Option<LikenessTest>,
    /// What is usual of decisions on the rows it was calibrated on.
    usual: Option<UsualDecisions>,
}

/// Buffers of one thread; after the first requests, deciding allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    featuriser: FeatureScratch,
    /// Features of the last request.
    pub features: Features,
    /// What was expected of every model for it.
    pub expect: Expectations,
    backend: BackendScratch,
    components: Vec<f32>,
}

/// What constraints leave of the models where nothing can be expected of quality.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// What removed each model.
    pub removed: Vec<Option<Removal>>,
    /// USD; NaN where unknown.
    pub cost: Vec<f64>,
}

impl Router {
    /// Reads an artifact, checks it, and runs its self-checks.
    ///
    /// # Errors
    /// `ArtifactInvalid`, `ArtifactVersion`, `ArtifactChecksum`, `ArtifactSelfCheck`, or `EncoderMissing` where
    /// the artifact was trained with a static encoder and `encoder` is none or another.
    pub fn from_bytes(bytes: &[u8], encoder: Option<&Encoder>) -> Result<Self> {
        let (header, tensors) = Tensors::open::<Header>(bytes)?;
        let Some(spec) = Spec::of(&header.features.spec) else {
            return Err(Error::new(
                ErrorKind::ArtifactVersion,
                "features.spec",
                &header.features.spec,
                format!(
                    "this engine computes features up to {SPEC}; install a matching tiny-dancer or train again"
                ),
            ));
        };
        check_encoder(&header, encoder)?;
        let (models, components) = (header.models.len(), header.components);
        let load = |spec: &BackendSpec| backends::load(spec, &tensors, components);
        let loaded = header.backends.iter().map(load).collect::<Result<Vec<_>>>()?;
        let (calibration_knots, knots) = tensors.f32_columns("calibration_knots", models)?;
        let calibration_values = tensors.f32("calibration_values", &[models, knots])?;
        for row in 0..models {
            check_map(
                "calibration",
                &calibration_knots[row * knots..][..knots],
                &calibration_values[row * knots..][..knots],
            )?;
        }
        let confidence_knots = tensors.f32_vector("confidence_knots")?;
        let confidence_values = tensors.f32("confidence_values", &[confidence_knots.len()])?;
        check_map("confidence", &confidence_knots, &confidence_values)?;
        let router = Self {
            stack: tensors.f32("stack", &[loaded.len(), components])?,
            mean: tensors.f32("mean", &[models])?,
            basis: tensors.f32("basis", &[models, components])?,
            verbosity: tensors.f32("verbosity", &[CUES + 1])?,
            likeness: header.likeness.as_ref().map(|spec| LikenessTest::read(&tensors, spec)).transpose()?,
            usual: header.drift.as_ref().map(|_| UsualDecisions::read(&tensors)).transpose()?,
            backends: loaded,
            calibration_knots,
            calibration_values,
            knots,
            confidence_knots,
            confidence_values,
            uncertified: header
                .guarantee
                .is_none()
                .then(|| header.certificate_ended.unwrap_or(Uncovered::Uncertified)),
            spec,
            header,
        };
        router.self_check(encoder)?;
        Ok(router)
    }

    /// Everything about the artifact that is not a weight.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Why no decision stands under a certificate, whatever it is; `None` where the artifact has one.
    #[must_use]
    pub fn uncertified(&self) -> Option<Uncovered> {
        self.uncertified
    }

    /// Renames models and sets their prices, windows and expected output: `changes` is a JSON list of objects with
    /// the fields of [`crate::artifact::ModelSpec`], one a model in order; absent fields stay. A certificate is taken
    /// out where it does not cover what has changed: another model, or what its policy takes costs from.
    ///
    /// # Errors
    /// `OptionInvalid` for a change that leaves no usable header.
    pub fn change_models(&mut self, changes: &str) -> Result<()> {
        let invalid = |value: String| {
            let remedy = "give names that are not empty and differ, and prices that are finite and ≥ 0";
            Error::new(ErrorKind::OptionInvalid, "models, prices", value, remedy)
        };
        let changes: Vec<serde_json::Map<String, serde_json::Value>> =
            crate::json::typed(changes).map_err(|error| invalid(error.to_string()))?;
        if changes.len() != self.header.models.len() {
            let found = format!("{} changes for {} models", changes.len(), self.header.models.len());
            return Err(invalid(found));
        }
        let mut header = self.header.clone();
        for (model, change) in header.models.iter_mut().zip(changes) {
            let reprices = change.keys().any(|field| field.starts_with("price_"));
            let mut fields = serde_json::to_value(&*model).map_err(|error| invalid(error.to_string()))?;
            if let Some(fields) = fields.as_object_mut() {
                fields.extend(change);
            }
            *model = crate::json::typed(&fields.to_string()).map_err(|error| invalid(error.to_string()))?;
            if reprices && let Some((given, missing)) = model.prices.incomplete() {
                let remedy = format!(
                    "give {missing} as well, 0 where it is free: what is not named would not be counted"
                );
                let field = format!("{missing} of {}", model.name);
                return Err(Error::new(ErrorKind::OptionInvalid, field, format!("{given} alone"), remedy));
            }
        }
        header.check().map_err(|error| invalid(error.value))?;
        if header.guarantee.is_some()
            && let Some(why) = beyond(&self.header, &header)
        {
            header.guarantee = None;
            self.uncertified = Some(why);
        }
        self.header = header;
        Ok(())
    }

    /// The martingale that watches a stream of this artifact's decisions, before the first of them; `None` where the
    /// artifact cannot say what requests are like.
    #[must_use]
    pub fn martingale(&self) -> Option<Martingale> {
        let (test, spec) = self.likeness.as_ref().zip(self.header.likeness.as_ref())?;
        Some(test.martingale(spec.rows))
    }

    /// The watch over a stream of this artifact's decisions, before the first of them: see [`Drift`].
    #[must_use]
    pub fn drift(&self, threshold: f64, seed: u64) -> Drift {
        Drift::new(&self.header, self.martingale(), self.usual.as_ref(), threshold, seed)
    }

    /// Knots, rising, and how many rows had a number up to the first, up to the second, …, beyond the last: of
    /// `likeness`, `quality`, `gain` or `confidence`, where the artifact says.
    #[must_use]
    pub fn usual(&self, name: &str) -> Option<(Vec<f32>, Vec<f64>)> {
        if name != "likeness" {
            return self.usual.as_ref()?.of(name).map(|found| (found.knots.clone(), found.counts.clone()));
        }
        let (p_values, counts) = self.martingale()?.counted();
        Some((p_values.into_iter().skip(1).rev().collect(), counts.into_iter().rev().collect()))
    }

    /// Decides one request.
    ///
    /// # Errors
    /// `RequestInvalid`, `OptionInvalid` or `NoFeasibleModel`; `EncoderMissing` where `encoder` is not the one the
    /// artifact was trained with.
    pub fn decide(
        &self,
        request: &Request,
        encoder: Option<&Encoder>,
        options: &Options,
        scratch: &mut Scratch,
    ) -> Result<Decision> {
        check_encoder(&self.header, encoder)?;
        options.check(&self.header)?;
        self.featurise(request, encoder, scratch)?;
        self.choose(options, scratch)
    }

    /// Leaves the features of a request in `scratch`.
    pub(crate) fn featurise(
        &self,
        request: &Request,
        encoder: Option<&Encoder>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let encoder = if self.header.features.encoder.is_some() { encoder } else { None };
        featurise(request, self.spec, encoder, &mut scratch.featuriser, &mut scratch.features)
    }

    /// Decides the request whose features are in `scratch.features`.
    ///
    /// # Errors
    /// `OptionInvalid` or `NoFeasibleModel`.
    pub fn decide_features(&self, options: &Options, scratch: &mut Scratch) -> Result<Decision> {
        options.check(&self.header)?;
        self.choose(options, scratch)
    }

    #[inline(never)]
    fn choose(&self, options: &Options, scratch: &mut Scratch) -> Result<Decision> {
        self.expect(options, scratch);
        let tokens = scratch.features.tokens;
        let mut choice = select(&self.header, options, tokens, &mut scratch.expect)?;
        let likeness = self.likeness.as_ref().map(|test| test.p_value(&scratch.features));
        let unlike = self.likeness.as_ref().zip(likeness).is_some_and(|(test, p)| test.is_unlike(p));
        choice.uncovered = self.uncertified.or(choice.uncovered).or(unlike.then_some(Uncovered::Unlike));
        let confidence = self.confidence(choice.model, &scratch.expect);
        // A set holds a best model, of which there may be several: others as good are left out, the chosen one is not.
        if f64::from(confidence) > 1.0 - self.header.set_coverage {
            scratch.expect.prediction_set[choice.model] = true;
        }
        Ok(Decision { choice, confidence, likeness, tokens })
    }

    /// What the constraints leave while the learned policy cannot be asked: costs and latencies as ever, but without
    /// what is expected of the answer's length; `min_quality` removes nothing.
    ///
    /// Where `tokens` of the prompt are unknown, limits are held to `at_most` (its characters, say), so that a limit on
    /// cost is kept rather than used up; context windows are not judged then.
    ///
    /// # Errors
    /// `OptionInvalid` and `NoFeasibleModel`, as [`Self::decide`].
    pub fn outlook(&self, tokens: Option<u32>, at_most: u32, options: &Options) -> Result<Outlook> {
        options.check(&self.header)?;
        let mut expect = Expectations::default();
        expect.quality.resize(self.header.models.len(), f32::NAN);
        self.expect_cost(options, tokens.unwrap_or(at_most), 0.0, &mut expect);
        remove(&self.header, options, tokens.map_or(Prompt::Unknown, Prompt::Counted), &mut expect)?;
        Ok(Outlook { removed: expect.removed, cost: expect.cost })
    }

    /// What the backends make of the features in `scratch`, one number a component: a model's quality before
    /// calibration is its mean plus its row of the basis times these.
    pub fn components<'a>(&self, scratch: &'a mut Scratch) -> &'a [f32] {
        let Scratch { features, backend, components, .. } = scratch;
        let rank = self.header.components;
        components.clear();
        components.resize(rank, 0.0);
        for (scorer, weight) in self.backends.iter().zip(self.stack.chunks_exact(rank.max(1))) {
            scorer.add_scores(features, weight, backend, components);
        }
        components
    }

    /// Fills `scratch.expect` from `scratch.features`.
    #[inline(never)]
    fn expect(&self, options: &Options, scratch: &mut Scratch) {
        self.components(scratch);
        let Scratch { features, expect, components, .. } = scratch;
        let rank = self.header.components;
        expect.quality.clear();
        for index in 0..self.header.models.len() {
            let raw = self.mean[index] + dot_f32(&self.basis[index * rank..][..rank], components);
            let row = index * self.knots;
            let quality = interpolate(
                &self.calibration_knots[row..][..self.knots],
                &self.calibration_values[row..][..self.knots],
                raw,
            );
            expect.quality.push(quality);
        }
        let verbosity =
            (dot_f32(&self.verbosity[..CUES], &features.cues) + self.verbosity[CUES]).clamp(-20.0, 20.0);
        self.expect_cost(options, features.tokens, f64::from(verbosity), expect);
        let highest = expect.quality.iter().copied().fold(f32::MIN, f32::max);
        expect.prediction_set.clear();
        let width = self.header.set_width as f32;
        expect.prediction_set.extend(expect.quality.iter().map(|&quality| highest - quality <= width));
    }

    /// Fills in what is expected of cost, latency and length.
    fn expect_cost(&self, options: &Options, tokens: u32, verbosity: f64, expect: &mut Expectations) {
        expect.cost.clear();
        expect.latency.clear();
        expect.output_tokens.clear();
        let input = f64::from(tokens);
        for model in &self.header.models {
            let output = options.expected_output_tokens.or(model.expected_output_tokens).unwrap_or(f64::NAN);
            let tokens = Tokens { input, output, ..Tokens::default() };
            expect.output_tokens.push(output);
            expect.cost.push(expected_cost(
                &model.prices,
                model.cost,
                model.cost_seen.as_ref(),
                &tokens,
                verbosity,
            ));
            let latency = model.latency.map(|[constant, per_token]| (constant + per_token * input).max(0.0));
            expect.latency.push(latency.unwrap_or(f64::NAN));
        }
    }

    /// Calibrated probability that the best other model scores no better than `chosen`.
    fn confidence(&self, chosen: usize, expect: &Expectations) -> f32 {
        let others = expect.quality.iter().enumerate().filter(|&(model, _)| model != chosen);
        match others.map(|(_, &quality)| quality).reduce(f32::max) {
            Some(other) => {
                interpolate(&self.confidence_knots, &self.confidence_values, expect.quality[chosen] - other)
            }
            None => 1.0,
        }
    }

    fn self_check(&self, encoder: Option<&Encoder>) -> Result<()> {
        let mut scratch = Scratch::default();
        let options = Options::default();
        for (number, check) in self.header.self_check.iter().enumerate() {
            let request = Request::text(&check.text);
            let decision = self.decide(&request, encoder, &options, &mut scratch).map_err(|error| {
                Error::new(
                    ErrorKind::ArtifactSelfCheck,
                    format!("self_check[{number}]"),
                    error,
                    "the artifact cannot decide its own request; train again",
                )
            })?;
            let quality = &scratch.expect.quality;
            let close = quality.len() == check.quality.len()
                && quality.iter().zip(&check.quality).all(|(a, b)| (a - b).abs() <= SELF_CHECK_TOLERANCE);
            if decision.choice.model != check.choice || !close {
                return Err(Error::new(
                    ErrorKind::ArtifactSelfCheck,
                    format!("self_check[{number}]"),
                    format!(
                        "chose {} with {quality:?}, recorded {} with {:?}",
                        decision.choice.model, check.choice, check.quality
                    ),
                    "the artifact decides otherwise here than where it was made; train again and report it",
                ));
            }
        }
        Ok(())
    }
}

/// Why a certificate of `before` does not cover `after`, whose models may be others; `None` where every decision under
/// the policy stays as it is. What constraints make of a price or a context window is said decision by decision.
fn beyond(before: &Header, after: &Header) -> Option<Uncovered> {
    let mut pairs = before.models.iter().zip(&after.models);
    if pairs.clone().any(|(a, b)| a.name != b.name || a.cleared != b.cleared) {
        return Some(Uncovered::OtherModels);
    }
    // Whatever it is weighed in: of equally good models the cheaper one is chosen.
    let weighs = matches!(before.policy, Policy::CostWeight { .. });
    let bounds_costs = before.guarantee.as_ref().is_some_and(|guarantee| guarantee.risk == "cost");
    let others =
        |(a, b)| (weighs && !ModelSpec::costs_the_same(a, b)) || (bounds_costs && !a.charges_the_same(b));
    pairs.any(others).then_some(Uncovered::OtherPrices)
}

fn check_encoder(header: &Header, encoder: Option<&Encoder>) -> Result<()> {
    match (&header.features.encoder, encoder) {
        (Some(wanted), Some(encoder)) if wanted != encoder.checksum() => Err(Error::new(
            ErrorKind::EncoderMissing,
            "encoder",
            encoder.checksum(),
            format!("the artifact was trained with encoder {wanted}; install the matching tiny-dancer"),
        )),
        (Some(wanted), None) => Err(Error::new(
            ErrorKind::EncoderMissing,
            "encoder",
            "none",
            format!("the artifact needs the static encoder {wanted}"),
        )),
        _ => Ok(()),
    }
}

/// Knots strictly increase, values do not decrease and lie in [0, 1].
fn check_map(name: &str, knots: &[f32], values: &[f32]) -> Result<()> {
    let sound = !knots.is_empty()
        && knots.windows(2).all(|pair| pair[0] < pair[1])
        && values.windows(2).all(|pair| pair[0] <= pair[1])
        && values.iter().all(|value| (0.0..=1.0).contains(value));
    if sound {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ArtifactInvalid,
        format!("{name}_knots, {name}_values"),
        format!("{knots:?} → {values:?}"),
        "a calibration map must rise through [0, 1]; train again",
    ))
}
