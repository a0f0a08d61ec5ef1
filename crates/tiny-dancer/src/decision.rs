//! A decision whole: everything there is to say about it, by name.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::artifact::{Guarantee, Header};
use crate::select::{Choice, Expectations, Uncovered};

/// The model chosen and how sure the router is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// The choice.
    pub choice: Choice,
    /// Calibrated probability that no other model would have been better.
    pub confidence: f32,
    /// p-value of "the request is like those the artifact was calibrated on", in (0, 1]; `None` where it cannot say.
    pub likeness: Option<f32>,
    /// Tokens of the prompt.
    pub tokens: u32,
}

/// A decision with what it was made from; as JSON it is the whole answer, models by name.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The choice.
    pub decision: Decision,
    /// What was expected of every model.
    pub expect: &'a Expectations,
    /// Of the artifact that decided.
    pub header: &'a Header,
}

impl<'a> Answer<'a> {
    /// Name of the model chosen.
    #[must_use]
    pub fn model(&self) -> &'a str {
        &self.header.models[self.decision.choice.model].name
    }

    /// The certificate the decision stands under.
    #[must_use]
    pub fn guarantee(&self) -> Option<&'a Guarantee> {
        self.header.guarantee.as_ref().filter(|_| self.decision.choice.uncovered.is_none())
    }

    /// Names of the models that may be the best one.
    pub fn prediction_set(&self) -> impl Iterator<Item = &'a str> {
        let models = self.header.models.iter().zip(&self.expect.prediction_set);
        models.filter(|(_, member)| **member).map(|(model, _)| model.name.as_str())
    }

    /// What removed which model.
    pub fn removed(&self) -> impl Iterator<Item = (&'a str, &'static str)> {
        let models = self.header.models.iter().zip(&self.expect.removed);
        models.filter_map(|(model, removed)| removed.map(|by| (model.name.as_str(), by.as_str())))
    }

    /// As JSON.
    #[must_use]
    #[inline(never)]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A number for each model, by name; null where it is unknown.
struct Named<'a, T>(&'a Header, &'a [T]);

impl<T: Copy + Into<f64>> Serialize for Named<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.1.len()))?;
        for (model, &value) in self.0.models.iter().zip(self.1) {
            let value: f64 = value.into();
            map.serialize_entry(&model.name, &value.is_finite().then_some(value))?;
        }
        map.end()
    }
}

struct Pairs<'a>(&'a Answer<'a>);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.removed())
    }
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { decision, expect, header } = self;
        let choice = decision.choice;
        let known = |value: f64| value.is_finite().then_some(value);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", self.model())?;
        map.serialize_entry("scores", &Named(header, &expect.quality))?;
        map.serialize_entry("costs", &Named(header, &expect.cost))?;
        map.serialize_entry("latencies", &Named(header, &expect.latency))?;
        map.serialize_entry("tokens", &decision.tokens)?;
        map.serialize_entry("output_tokens", &Named(header, &expect.output_tokens))?;
        map.serialize_entry("removed", &Pairs(self))?;
        map.serialize_entry("quality", &f64::from(expect.quality[choice.model]))?;
        map.serialize_entry("cost", &known(expect.cost[choice.model]))?;
        map.serialize_entry("confidence", &f64::from(decision.confidence))?;
        map.serialize_entry("likeness", &decision.likeness.map(f64::from))?;
        map.serialize_entry("prediction_set", &self.prediction_set().collect::<Vec<_>>())?;
        map.serialize_entry("reason", choice.reason.as_str())?;
        map.serialize_entry("routed_by", choice.routed_by.as_str())?;
        map.serialize_entry("guarantee", &self.guarantee())?;
        map.serialize_entry("guarantee_note", choice.uncovered.map_or("", Uncovered::as_str))?;
        map.serialize_entry("artifact_version", &header.version)?;
        map.end()
    }
}
