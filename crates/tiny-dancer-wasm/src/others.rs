//! What an instance may hold in the whole module alone: routes, tools, agents, candidates, tasks.

use std::sync::Arc;

use tiny_dancer::agents::{AgentSet, Choices, state_after_json};
use tiny_dancer::candidates::{CandidateDoor, CandidateScorer, Precision};
use tiny_dancer::encoder::Encoder;
use tiny_dancer::routes::Routing;
use tiny_dancer::tasks::Tasking;
use tiny_dancer::tools::{ToolScratch, ToolSet};
use tiny_dancer::{Error, ErrorKind, Result};

use crate::instance::{Operation, text};

// There is one, where it stays.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(crate) enum Other {
    Routes(Routing),
    Tools(ToolSet, ToolScratch),
    Agents { set: AgentSet, choices: Choices, half_life: Option<f64> },
    Candidates(CandidateDoor, CandidateScorer, Precision),
    Tasks(Tasking),
}

impl Other {
    /// The object an operation makes; `None` for one that makes none of these.
    pub(crate) fn made(
        operation: Operation,
        first: &[u8],
        second: &[u8],
        encoder: Option<Arc<Encoder>>,
    ) -> Result<Option<Self>> {
        Ok(Some(match operation {
            Operation::Routes => Self::Routes(Routing::new(first, encoder)?),
            Operation::Tools => {
                let set = if first.is_empty() {
                    ToolSet::new(encoder)
                } else {
                    ToolSet::with_learned(encoder, first)?
                };
                Self::Tools(set, ToolScratch::default())
            }
            Operation::Agents => {
                let half_life = half_life(text(first, "half_life")?)?;
                Self::Agents { set: AgentSet::new(half_life)?, choices: Choices::default(), half_life }
            }
            Operation::Candidates => {
                let scorer = if first.is_empty() {
                    CandidateScorer::default()
                } else {
                    CandidateScorer::from_bytes(first)?
                };
                let precision = precision(second)?;
                Self::Candidates(CandidateDoor::new(precision, encoder), scorer, precision)
            }
            Operation::Tasks => Self::Tasks(Tasking::new(first, encoder)?),
            _ => return Ok(None),
        }))
    }

    /// Does an operation of the object.
    ///
    /// # Panics
    /// For one of another.
    pub(crate) fn perform(
        &mut self,
        operation: Operation,
        first: &[u8],
        second: &[u8],
        encoder: Option<&Arc<Encoder>>,
    ) -> Result<String> {
        let none = |()| String::new();
        match (operation, self) {
            (Operation::Route, Self::Routes(routing)) => {
                routing.decide_json(text(first, "request")?, text(second, "options")?)
            }
            (Operation::AddTools, Self::Tools(set, _)) => {
                let ids = set.add_json(text(first, "tools")?)?;
                Ok(serde_json::Value::from(ids).to_string())
            }
            (Operation::Select, Self::Tools(set, scratch)) => set.select_json(text(first, "query")?, scratch),
            (Operation::PutAgents, Self::Agents { set, .. }) => {
                set.put_json(text(first, "agents")?).map(none)
            }
            (Operation::Choose, Self::Agents { set, choices, .. }) => {
                set.choose_json(text(first, "query")?, choices)
            }
            (Operation::Observe, Self::Agents { half_life, .. }) => {
                state_after_json(text(first, "state")?, text(second, "outcome")?, *half_life)
            }
            (Operation::AddCandidates, Self::Candidates(door, ..)) => {
                let rows = numbers(second, "embeddings")?;
                door.add_with(text(first, "candidates")?, rows.as_deref()).map(none)
            }
            (Operation::Rank, Self::Candidates(door, scorer, _)) => {
                let embedding = numbers(second, "query.embedding")?;
                door.rank_with(scorer, text(first, "query")?, embedding.as_deref(), true)
            }
            (Operation::ClearCandidates, Self::Candidates(door, _, precision)) => {
                *door = CandidateDoor::new(*precision, encoder.cloned());
                Ok(String::new())
            }
            (Operation::Classify, Self::Tasks(tasking)) => tasking.classify_json(text(first, "request")?),
            (operation, _) => panic!("{operation:?} is not for what this instance holds"),
        }
    }
}

fn half_life(json: &str) -> Result<Option<f64>> {
    if json.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(json).map_err(|error| {
        Error::new(ErrorKind::OptionInvalid, "half_life", error, "give seconds as a number, or nothing")
    })
}

/// Little-endian f32; `None` where there is nothing.
fn numbers(bytes: &[u8], field: &str) -> Result<Option<Vec<f32>>> {
    let (chunks, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        let found = format!("{} bytes", bytes.len());
        return Err(Error::new(ErrorKind::CandidateInvalid, field, found, "give four bytes a number"));
    }
    let values = || chunks.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect();
    Ok((!bytes.is_empty()).then(values))
}

fn precision(written: &[u8]) -> Result<Precision> {
    match text(written, "precision")? {
        "" => Ok(Precision::Full),
        "quantised" => Ok(Precision::Quantised),
        other => Err(Error::new(ErrorKind::OptionInvalid, "precision", other, "say quantised, or nothing")),
    }
}
