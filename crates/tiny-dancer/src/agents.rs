//! Which of many agents (models, tools, services, people) answers a request: expected quality, USD and seconds with
//! intervals, learned from outcomes, and a policy over them in stated units.
//!
//! ```text
//! agents in columns: prices, beliefs ─┐
//!                                     ├▶ constraints ─▶ expected quality, USD, seconds ─▶ utility ─▶ one agent
//! request: tokens, bounds, policy ────┘
//! ```
//!
//! **Beliefs.** A declared quality is a prior worth a stated number of outcomes; outcomes fade with their age (see
//! [`belief`]). A bound is a quantile of what is believed, never of what was declared.
//!
//! **Policies.** Each maximises one number with a unit (see [`Policy`]). Of equal numbers the cheaper agent wins (one of
//! unknown cost last), then the better, then the faster, then the name that sorts first by its bytes: a total order, so
//! that the choice depends on agents and request alone.
//!
//! The clock comes in with the request. After the first choice, choosing allocates nothing.

mod agent;
pub mod assign;
pub mod belief;
mod choose;
mod door;
mod policy;
mod search;
mod set;
mod several;

pub use agent::{Agent, Kind, LARGEST, Outcome, State};
pub use choose::{Choice, Choices, Expected, Query, Removal, WAITING};
pub use door::{Weights, state_after_json};
pub use policy::{Named, Policy};
pub use search::{Card, Cards, Found, SearchScratch, WORDS};
pub use set::{AgentSet, MOST_AGENTS};
pub use several::{Combined, MOST_CAPABILITIES, Plan, Step, Strategy};
