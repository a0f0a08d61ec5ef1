//! Deciding a request while the learned policy cannot: by rules, prices and constraints, which need no weights.

use std::panic::AssertUnwindSafe;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::rules::hint;
use super::{Guarded, Level, attempt};
use crate::artifact::Header;
use crate::error::Result;
use crate::handle::Handle;
use crate::options::Options;
use crate::policy::{Policy, Scale};
use crate::request::Request;
use crate::router::Outlook;

impl Guarded<Handle> {
    /// Decides a request given as JSON with options as JSON; `now` is seconds of a clock that does not go back.
    ///
    /// The learned policy's answer is, byte for byte, what [`Handle::decide_json`] gives. Where that fails, or the
    /// breaker is open, rules on the request's structure decide, else the model that is best for all requests. Such an
    /// answer has the same keys, null where only the learned policy knows (scores, quality, confidence, cost), no
    /// guarantee, and two more: `level` (2 rules, 3 that model) and `level_reason`.
    ///
    /// `allowed`, `exclude`, `pin`, `max_cost`, `max_latency` and context windows hold on every level. What only the
    /// learned policy can judge (`min_quality`, `threshold`, `cost_weight`, `policy`) makes the choice the best model
    /// for all requests, and `level_reason` says so.
    ///
    /// # Errors
    /// The caller's, on every level: `RequestInvalid`, `OptionInvalid`, `NoFeasibleModel`.
    pub fn decide_json(&self, request: &str, options: &str, now: f64) -> Result<String> {
        self.decide_json_by(request, options, now, |handle| handle.decide_json(request, options))
    }

    /// The same, where the binding itself asks the handle (and fails with it).
    ///
    /// # Errors
    /// As [`Self::decide_json`].
    pub fn decide_json_by(
        &self,
        request: &str,
        options: &str,
        now: f64,
        learned: impl FnOnce(&Handle) -> Result<String>,
    ) -> Result<String> {
        self.ask(now, learned, |handle, why| below(handle, request, options, why))
    }
}

/// What rules and constraints make of a request.
fn below(handle: &Handle, json: &str, options: &str, why: String) -> Result<(Level, String)> {
    let options = Options::from_json(options)?;
    let request = Request::from_json(json)?;
    let header = handle.router().header();
    options.check(header)?;
    let mut reason = why;
    let read = attempt(AssertUnwindSafe(|| {
        handle.featurised(&request, |features| (features.tokens, hint(&features.cues)))
    }));
    let read = match read {
        Ok(read) => Some(read?),
        Err(said) => {
            reason = format!("{reason}; heuristic level failed ({said})");
            None
        }
    };
    // Where nobody can count tokens, every character counts as one: a limit on cost is kept rather than used up.
    let at_most = u32::try_from(json.chars().count()).unwrap_or(u32::MAX);
    let tokens = read.map(|(tokens, _)| tokens);
    let left = handle.outlook(tokens, at_most, &options)?;
    let choice = choose(header, &left, &options, read.map(|(_, hint)| hint));
    let answer = Answer { header, left: &left, tokens, choice: &choice, reason: &reason };
    Ok((choice.level, serde_json::to_string(&answer).unwrap_or_default()))
}

struct Choice {
    level: Level,
    model: usize,
    reason: &'static str,
    routed_by: &'static str,
    why: String,
}

fn choose(header: &Header, left: &Outlook, options: &Options, hint: Option<(bool, &str)>) -> Choice {
    let is_left = |model: usize| left.removed[model].is_none();
    // What has no price counts as the cheapest, so that what is priced counts as dearer.
    let price = |model: usize| if left.cost[model].is_nan() { f64::NEG_INFINITY } else { left.cost[model] };
    let models = || (0..header.models.len()).filter(|&model| is_left(model));
    if let Some(pinned) = &options.pin {
        // The constraints have removed every other.
        let model =
            models().find(|&model| header.models[model].name == *pinned).unwrap_or(header.best_constant);
        let why = "pinned by the caller".to_owned();
        return Choice { level: Level::Default, model, reason: "pinned", routed_by: "override", why };
    }
    let strong = || {
        let dearest = |a: usize, b: usize| if price(b) > price(a) { b } else { a };
        if is_left(header.best_constant) {
            header.best_constant
        } else {
            models().reduce(dearest).unwrap_or(header.best_constant)
        }
    };
    let unseen = unseen(options);
    if let (Some((deserves, rule)), true) = (hint, unseen.is_empty())
        && let Some(light) = light(header, left)
    {
        let model = if deserves { strong() } else { light };
        let why = format!("rule: {rule}");
        return Choice {
            level: Level::Heuristic,
            model,
            reason: "heuristic_rule",
            routed_by: "heuristic",
            why,
        };
    }
    let model = strong();
    let mut why =
        format!("{} default model", if model == header.best_constant { "the" } else { "in place of the" });
    if !unseen.is_empty() {
        why = format!("{why}; {} cannot be judged here", unseen.join(" and "));
    }
    Choice { level: Level::Default, model, reason: "default_model", routed_by: "default", why }
}

/// The weak model of a pair, or the cheapest that is cleared for routing; `None` where none is known.
fn light(header: &Header, left: &Outlook) -> Option<usize> {
    if let Policy::Threshold { weak, .. } = header.policy {
        return left.removed[weak].is_none().then_some(weak);
    }
    let priced = (0..header.models.len()).filter(|&model| {
        left.removed[model].is_none() && header.models[model].cleared && !left.cost[model].is_nan()
    });
    priced.reduce(|a, b| if left.cost[b] < left.cost[a] { b } else { a })
}

/// Options that only the learned policy can keep to. A balanced policy is what the artifact has anyway.
fn unseen(options: &Options) -> Vec<&'static str> {
    let asked = [
        ("min_quality", options.min_quality.is_some()),
        ("threshold", options.threshold.is_some()),
        ("cost_weight", options.cost_weight.is_some()),
        ("policy", options.policy.is_some_and(|policy| policy != Scale::Balanced)),
    ];
    asked.into_iter().filter_map(|(name, asked)| asked.then_some(name)).collect()
}

struct Answer<'a> {
    header: &'a Header,
    left: &'a Outlook,
    tokens: Option<u32>,
    choice: &'a Choice,
    reason: &'a str,
}

/// Null for every model: nobody can expect anything.
struct Unknown<'a>(&'a Header);

impl Serialize for Unknown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.models.iter().map(|model| (&model.name, None::<f64>)))
    }
}

struct Removed<'a>(&'a Header, &'a Outlook);

impl Serialize for Removed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let models = self.0.models.iter().zip(&self.1.removed);
        serializer.collect_map(models.filter_map(|(model, by)| by.map(|by| (&model.name, by.as_str()))))
    }
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Self { header, left, tokens, choice, reason } = self;
        let (unknown, nobody) = (Unknown(header), None::<f64>);
        let names: Vec<&str> = header.models.iter().map(|model| model.name.as_str()).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", names[choice.model])?;
        map.serialize_entry("scores", &unknown)?;
        map.serialize_entry("costs", &unknown)?;
        map.serialize_entry("latencies", &unknown)?;
        map.serialize_entry("tokens", tokens)?;
        map.serialize_entry("output_tokens", &unknown)?;
        map.serialize_entry("removed", &Removed(header, left))?;
        for name in ["quality", "cost", "confidence", "likeness"] {
            map.serialize_entry(name, &nobody)?;
        }
        map.serialize_entry("prediction_set", &names)?;
        map.serialize_entry("reason", choice.reason)?;
        map.serialize_entry("routed_by", choice.routed_by)?;
        map.serialize_entry("guarantee", &nobody)?;
        map.serialize_entry("guarantee_note", "decided by a fallback level")?;
        map.serialize_entry("artifact_version", &header.version)?;
        map.serialize_entry("level", &choice.level)?;
        map.serialize_entry("level_reason", &format!("{reason}; {}", choice.why))?;
        map.end()
    }
}
