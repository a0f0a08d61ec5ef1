//! What an instance may hold in the whole module alone: routes, tools, agents, tasks.

use std::sync::Arc;

use tiny_dancer::agents::{AgentSet, Choices, state_after_json};
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
    Tasks(Tasking),
}

impl Other {
    /// The object an operation makes; `None` for one that makes none of these.
    pub(crate) fn made(
        operation: Operation,
        first: &[u8],
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
            Operation::Tasks => Self::Tasks(Tasking::new(first, encoder)?),
            _ => return Ok(None),
        }))
    }

    /// Does an operation of the object.
    ///
    /// # Panics
    /// For one of another.
    pub(crate) fn perform(&mut self, operation: Operation, first: &[u8], second: &[u8]) -> Result<String> {
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
