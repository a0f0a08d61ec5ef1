//! Requests to tools and to agents.

use std::sync::Mutex;

use napi::bindgen_prelude::Uint8ArraySlice;
use napi_derive::napi;
use tiny_dancer::agents::{AgentSet, Choices, state_after_json};
use tiny_dancer::tools::{ToolScratch, ToolSet};

use crate::border::{guard, held};
use crate::router::{Encoder, shared};

/// Tools, and what was learned of their use.
#[napi]
pub struct Tools(Mutex<(ToolSet, ToolScratch)>);

#[napi]
impl Tools {
    /// No tools yet; `learned` is an artifact of use.
    ///
    /// # Errors
    /// As [`ToolSet::with_learned`].
    #[napi(constructor)]
    pub fn new(learned: Option<Uint8ArraySlice>, encoder: Option<&Encoder>) -> napi::Result<Self> {
        guard(|| {
            let set = match learned {
                Some(bytes) => ToolSet::with_learned(shared(encoder), &bytes)?,
                None => ToolSet::new(shared(encoder)),
            };
            Ok(Self(Mutex::new((set, ToolScratch::default()))))
        })
    }

    /// Adds tools in any dialect; gives their ids.
    ///
    /// # Errors
    /// As [`ToolSet::add_json`].
    #[napi]
    pub fn add(&self, tools: String) -> napi::Result<Vec<String>> {
        guard(|| held(&self.0).0.add_json(&tools))
    }

    /// Selects tools for a query.
    ///
    /// # Errors
    /// As [`ToolSet::select_json`].
    #[napi]
    pub fn select(&self, query: String) -> napi::Result<String> {
        guard(|| {
            let (set, scratch) = &mut *held(&self.0);
            set.select_json(&query, scratch)
        })
    }
}

/// Agents.
#[napi]
pub struct Agents {
    half_life: Option<f64>,
    held: Mutex<(AgentSet, Choices)>,
}

#[napi]
impl Agents {
    /// No agents yet; `half_life` of what is observed, in seconds.
    ///
    /// # Errors
    /// As [`AgentSet::new`].
    #[napi(constructor)]
    pub fn new(half_life: Option<f64>) -> napi::Result<Self> {
        guard(|| {
            let held = Mutex::new((AgentSet::new(half_life)?, Choices::default()));
            Ok(Self { half_life, held })
        })
    }

    /// Puts agents in, all or none.
    ///
    /// # Errors
    /// As [`AgentSet::put_json`].
    #[napi]
    pub fn put(&self, agents: String) -> napi::Result<()> {
        guard(|| held(&self.held).0.put_json(&agents))
    }

    /// Chooses an agent.
    ///
    /// # Errors
    /// As [`AgentSet::choose_json`].
    #[napi]
    pub fn choose(&self, query: String) -> napi::Result<String> {
        guard(|| {
            let (set, choices) = &mut *held(&self.held);
            set.choose_json(&query, choices)
        })
    }

    /// The state after an outcome; an empty one is a new agent's.
    ///
    /// # Errors
    /// As [`state_after_json`].
    #[napi]
    pub fn observe(&self, state: String, outcome: String) -> napi::Result<String> {
        guard(|| state_after_json(&state, &outcome, self.half_life))
    }
}
