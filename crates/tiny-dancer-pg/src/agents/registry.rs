//! The agents of the table `agent`, as the present role sees them, ready to be asked.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use pgrx::pg_sys;
use tiny_dancer::agents::{Agent, AgentSet, Choices, State};
use tiny_dancer::{Error, ErrorKind};

use super::declared::Declared;
use super::seen::{Kept, Rows, Table, Version};
use crate::failure::Result;

/// Seconds after which an outcome counts half: every program that uses the table has to say the same.
pub const HALF_LIFE: f64 = 30.0 * 86_400.0;

/// The agents.
#[derive(Debug)]
pub struct Registry {
    /// In columns.
    pub set: AgentSet,
    /// Buffers of this backend; they hold the last choice.
    pub choices: Choices,
    /// What active agents can do.
    pub capabilities: BTreeSet<String>,
    agents: HashMap<Version, Agent>,
}

thread_local! {
    static AGENTS: Table = const {
        Table::new(
            c"agent",
            c"SELECT ctid, xmin FROM tiny_dancer.agent",
            c"SELECT ctid, xmin, declared, state FROM tiny_dancer.agent ORDER BY name",
        )
    };
    static KEPT: RefCell<Option<Kept<Registry>>> = const { RefCell::new(None) };
}

impl Registry {
    /// Of the rows that are there, with what was read of those that were there before.
    fn made(rows: &Rows, before: Option<Self>) -> Result<Self> {
        let mut known = before.map(|before| before.agents).unwrap_or_default();
        let mut made = Self {
            set: AgentSet::new(Some(HALF_LIFE))?,
            choices: Choices::default(),
            capabilities: BTreeSet::new(),
            agents: HashMap::with_capacity(rows.len()),
        };
        for row in 0..rows.len() {
            let version = rows.version(row);
            let agent = match known.remove(&version) {
                Some(agent) => agent,
                None => read(&rows.text(row, 2)?, &rows.text(row, 3)?)?,
            };
            made.set.put(&agent)?;
            if agent.active {
                made.capabilities.extend(agent.capabilities.iter().cloned());
            }
            made.agents.insert(version, agent);
        }
        Ok(made)
    }
}

fn read(declared: &str, state: &str) -> Result<Agent> {
    let declared = Declared::read(declared)?;
    let state = if state.is_empty() {
        State::default()
    } else {
        serde_json::from_str(state).map_err(|error| {
            let field = format!("state of agent '{}'", declared.name);
            Error::new(ErrorKind::CandidateInvalid, field, error, "write what agent_state_after gave")
        })?
    };
    Ok(declared.agent(state))
}

/// Asks the agents that the present role sees.
///
/// # Errors
/// As `ask`, or a row that is no agent.
pub fn ask<T>(ask: impl FnOnce(&mut Registry) -> Result<T>) -> Result<T> {
    // Taken out, as policies may call a function that asks in turn.
    let mut kept = KEPT.take();
    AGENTS.with(|table| table.refresh(&mut kept, Registry::made))?;
    let answer = kept.as_mut().map(|kept| ask(&mut kept.made));
    KEPT.set(kept);
    answer.unwrap_or_else(|| unreachable!("refreshed above"))
}

/// UTC seconds when the present statement began.
#[must_use]
pub fn now() -> f64 {
    /// Of 2000, which the server counts from.
    const EPOCH: f64 = 946_684_800.0;
    // SAFETY: asks for a number.
    EPOCH + unsafe { pg_sys::GetCurrentStatementStartTimestamp() } as f64 / 1e6
}
