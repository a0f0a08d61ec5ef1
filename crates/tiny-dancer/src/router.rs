//! Ties the rooms together: request → features → components → quality → choice.

use crate::artifact::{BackendSpec, CostUnit, Header, Kind, ModelSpec, Policy, Tensors};
use crate::backends::{self, Backend, BackendScratch};
use crate::encoder::Encoder;
use crate::error::{Error, ErrorKind, Result};
use crate::features::{CUES, FeatureScratch, Features, Request, SPEC, featurise};
use crate::kernels::{dot_f32, interpolate};
use crate::select::{Choice, Expectations, Options, select};

/// Largest difference between a self-check's recorded quality and the one computed on loading.
const SELF_CHECK_TOLERANCE: f32 = 1e-5;

/// A loaded artifact.
#[derive(Debug)]
pub struct Router {
    header: Header,
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

/// The model chosen and how sure the router is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// The choice.
    pub choice: Choice,
    /// Calibrated probability that no other model would have been better.
    pub confidence: f32,
}

impl Router {
    /// Reads an artifact, checks it, and runs its self-checks.
    ///
    /// # Errors
    /// `ArtifactInvalid`, `ArtifactVersion`, `ArtifactChecksum`, `ArtifactSelfCheck`, or `EncoderMissing` where
    /// the artifact was trained with a static encoder and `encoder` is none or another.
    pub fn from_bytes(bytes: &[u8], encoder: Option<&Encoder>) -> Result<Self> {
        let (header, tensors) = Tensors::open::<Header>(bytes)?;
        if header.features.spec != SPEC {
            return Err(Error::new(
                ErrorKind::ArtifactVersion,
                "features.spec",
                &header.features.spec,
                format!(
                    "this engine computes features {SPEC}; install a matching tiny-dancer or train again"
                ),
            ));
        }
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
            backends: loaded,
            calibration_knots,
            calibration_values,
            knots,
            confidence_knots,
            confidence_values,
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

    /// Renames models and sets their prices, windows and expected output: `changes` is a JSON list of objects with
    /// the fields of [`crate::artifact::ModelSpec`], one a model in order; absent fields stay. A certificate does
    /// not cover changed models, so it is taken out.
    ///
    /// # Errors
    /// `OptionInvalid` for a change that leaves no usable header.
    pub fn change_models(&mut self, changes: &str) -> Result<()> {
        let invalid = |value: String| {
            let remedy = "give names that are not empty and differ, and prices that are finite and ≥ 0";
            Error::new(ErrorKind::OptionInvalid, "models, prices", value, remedy)
        };
        let changes: Vec<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_str(changes).map_err(|error| invalid(error.to_string()))?;
        if changes.len() != self.header.models.len() {
            let found = format!("{} changes for {} models", changes.len(), self.header.models.len());
            return Err(invalid(found));
        }
        let mut header = self.header.clone();
        for (model, change) in header.models.iter_mut().zip(changes) {
            let mut fields = serde_json::to_value(&*model).map_err(|error| invalid(error.to_string()))?;
            if let Some(fields) = fields.as_object_mut() {
                fields.extend(change);
            }
            *model = serde_json::from_value(fields).map_err(|error| invalid(error.to_string()))?;
        }
        header.check().map_err(|error| invalid(error.value))?;
        if header.models != self.header.models {
            header.guarantee = None;
        }
        self.header = header;
        Ok(())
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
        let encoder = if self.header.features.encoder.is_some() { encoder } else { None };
        featurise(request, encoder, &mut scratch.featuriser, &mut scratch.features)?;
        self.decide_features(options, scratch)
    }

    /// Decides the request whose features are in `scratch.features`.
    ///
    /// # Errors
    /// `OptionInvalid` or `NoFeasibleModel`.
    pub fn decide_features(&self, options: &Options, scratch: &mut Scratch) -> Result<Decision> {
        self.expect(options, scratch);
        let tokens = scratch.features.tokens;
        let choice = select(&self.header, options, tokens, &mut scratch.expect)?;
        Ok(Decision { choice, confidence: self.confidence(choice.model, &scratch.expect) })
    }

    /// Fills `scratch.expect` from `scratch.features`.
    fn expect(&self, options: &Options, scratch: &mut Scratch) {
        let Scratch { features, expect, backend, components, .. } = scratch;
        let rank = self.header.components;
        components.clear();
        components.resize(rank, 0.0);
        for (scorer, weight) in self.backends.iter().zip(self.stack.chunks_exact(rank.max(1))) {
            scorer.add_scores(features, weight, backend, components);
        }
        expect.quality.clear();
        expect.cost.clear();
        expect.latency.clear();
        expect.output_tokens.clear();
        let verbosity =
            (dot_f32(&self.verbosity[..CUES], &features.cues) + self.verbosity[CUES]).clamp(-20.0, 20.0);
        let tokens = f64::from(features.tokens);
        for (index, model) in self.header.models.iter().enumerate() {
            let raw = self.mean[index] + dot_f32(&self.basis[index * rank..][..rank], components);
            let row = index * self.knots;
            let quality = interpolate(
                &self.calibration_knots[row..][..self.knots],
                &self.calibration_values[row..][..self.knots],
                raw,
            );
            expect.quality.push(quality);
            let output = options.expected_output_tokens.or(model.expected_output_tokens);
            expect.output_tokens.push(output.unwrap_or(f64::NAN));
            expect.cost.push(expected_cost(model, tokens, output, f64::from(verbosity)));
            let latency = model.latency.map(|[constant, per_token]| (constant + per_token * tokens).max(0.0));
            expect.latency.push(latency.unwrap_or(f64::NAN));
        }
        let highest = expect.quality.iter().copied().fold(f32::MIN, f32::max);
        expect.prediction_set.clear();
        let width = self.header.set_width as f32;
        expect.prediction_set.extend(expect.quality.iter().map(|&quality| highest - quality <= width));
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
            let request = Request { text: &check.text, ..Request::default() };
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

    /// Whether the policy weighs USD, so that every model needs a price.
    #[must_use]
    pub fn needs_prices(&self) -> bool {
        matches!(self.header.policy, Policy::CostWeight { cost_weight, unit: CostUnit::Usd } if cost_weight > 0.0)
    }
}

/// USD: by prices where any is known, else as measured, else NaN. A price on output needs an expected output.
fn expected_cost(model: &ModelSpec, tokens: f64, output: Option<f64>, verbosity: f64) -> f64 {
    let prices = [model.price_input, model.price_output, model.price_request];
    if prices.iter().any(Option::is_some) {
        let written = match model.price_output {
            None | Some(0.0) => 0.0,
            Some(price) => price * output.unwrap_or(f64::NAN),
        };
        return model.price_request.unwrap_or(0.0) + model.price_input.unwrap_or(0.0) * tokens + written;
    }
    model.cost.map_or(f64::NAN, |[constant, per_token, per_verbosity]| {
        (constant + per_token * tokens + per_verbosity * verbosity).max(0.0)
    })
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
