//! An answer whole: everything there is to say about it, by name.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Decision, Header, Scratch};

/// A decision with what it was made from; as JSON it is the whole answer, routes by name.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The decision.
    pub decision: Decision,
    /// What was computed for it.
    pub scratch: &'a Scratch,
    /// Of the artifact that decided.
    pub header: &'a Header,
}

impl<'a> Answer<'a> {
    /// Name of a route.
    #[must_use]
    pub fn name(&self, route: usize) -> &'a str {
        &self.header.routes[route].name
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { decision, scratch, header } = self;
        let listed: Vec<(&str, f64)> = scratch
            .top
            .iter()
            .map(|&route| (self.name(route as usize), f64::from(scratch.probabilities[route as usize])))
            .collect();
        let set: Vec<&str> = scratch.set.iter().map(|&route| self.name(route as usize)).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("route", &decision.route.map(|route| self.name(route)))?;
        map.serialize_entry("target", &decision.route.map(|route| &header.routes[route].target))?;
        map.serialize_entry("best", self.name(decision.best))?;
        map.serialize_entry("confidence", &f64::from(decision.confidence))?;
        map.serialize_entry("in_scope_score", &decision.in_scope.map(f64::from))?;
        map.serialize_entry("calibrated", &header.calibrated)?;
        map.serialize_entry("reason", decision.reason.as_str())?;
        map.serialize_entry("top", &listed)?;
        map.serialize_entry("prediction_set", &set)?;
        map.serialize_entry("read_as", &scratch.read_as())?;
        map.serialize_entry("artifact_version", &header.version)?;
        map.end()
    }
}
