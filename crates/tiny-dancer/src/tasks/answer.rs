//! An answer whole: everything there is to say about it, by name.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Group, Language, Scratch, Task, Tasks, UNKNOWN};

/// A capability is given from this score on.
const CAPABLE: f32 = 0.5;

/// A task with what it was made from; as JSON it is the whole answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The task.
    pub task: Task,
    /// What was computed for it.
    pub scratch: &'a Scratch,
    /// Which artifact answered.
    pub tasks: &'a Tasks,
}

impl Answer<'_> {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Heuristics of one group by name.
struct Named<'a>(&'a Answer<'a>, Group);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Answer { scratch, tasks, .. } = self.0;
        let own = tasks.header.heuristics.iter().zip(&scratch.heuristics);
        serializer.collect_map(
            own.filter(|(each, _)| each.group == self.1).map(|(each, value)| (&each.name, f64::from(*value))),
        )
    }
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { task, scratch, tasks } = self;
        let header = &tasks.header;
        let heuristics = || header.heuristics.iter().zip(&scratch.heuristics);
        let capabilities: Vec<&str> = heuristics()
            .filter(|(each, value)| each.group == Group::Capability && **value >= CAPABLE)
            .map(|(each, _)| each.name.as_str())
            .collect();
        let structured = heuristics()
            .find(|(each, _)| each.group == Group::StructuredOutput)
            .map(|(_, value)| f64::from(*value));
        let probabilities: Vec<f64> = scratch.probabilities.iter().map(|&each| f64::from(each)).collect();
        let mut heuristic = vec!["capabilities", "complexity", "structured_output", "language"];
        if task.category.is_none_or(|category| !tasks.measured[category]) {
            heuristic.push("weak_quality");
        }
        let language = task.language.map(|language| match language {
            Language::Script(code) => code,
            Language::Words(at) => header.languages.keys().nth(at).map_or("", String::as_str),
        });
        let mut map = serializer.serialize_map(None)?;
        let category = task.category.map_or(UNKNOWN, |at| &header.categories[at]);
        map.serialize_entry("category", category)?;
        map.serialize_entry("best", &header.categories[task.best])?;
        map.serialize_entry("confidence", &f64::from(task.confidence))?;
        map.serialize_entry("probabilities", &probabilities)?;
        map.serialize_entry("capabilities", &capabilities)?;
        map.serialize_entry("capability_scores", &Named(self, Group::Capability))?;
        map.serialize_entry("complexity", &Named(self, Group::Complexity))?;
        map.serialize_entry("structured_output", &structured)?;
        map.serialize_entry("language", &language)?;
        map.serialize_entry("weak_quality", &(1.0 + 4.0 * f64::from(task.weak_expected)))?;
        map.serialize_entry("heuristic", &heuristic)?;
        map.serialize_entry("artifact_version", &header.version)?;
        map.end()
    }
}
