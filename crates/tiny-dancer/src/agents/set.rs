//! The agents, in columns.

use std::collections::{BTreeMap, HashMap};

use super::agent::{Agent, Kind, State, refused};
use super::belief::{Tally, USUAL_VARIATION, variation_of};
use crate::error::{Error, ErrorKind, Result};
use crate::price::Prices;
use crate::sort;

/// Most agents in one set.
pub const MOST_AGENTS: usize = 65_536;

/// Names that rows hold as bits of words.
#[derive(Debug, Default)]
pub(super) struct Names {
    places: HashMap<Box<str>, u32>,
}

impl Names {
    pub(super) fn get(&self, name: &str) -> Option<u32> {
        self.places.get(name).copied()
    }

    fn place(&mut self, name: &str) -> u32 {
        let next = self.places.len() as u32;
        *self.places.entry(name.into()).or_insert(next)
    }

    /// The known name that needs the fewest changes to become this one.
    pub(super) fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.places.keys().map(AsRef::as_ref))
    }
}

/// The name that needs the fewest insertions, deletions and replacements; of equal ones the first.
pub(super) fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    among.min_by_key(|other| (distance(name, other), *other))
}

fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, left) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (place, right) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(row[place] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

/// A set of small numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn insert(&mut self, place: u32) {
        let word = place as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (place % 64);
    }

    pub(super) fn holds(&self, others: &Self) -> bool {
        let own = self.0.iter().copied().chain(std::iter::repeat(0));
        others.0.iter().zip(own).all(|(wanted, own)| wanted & !own == 0)
    }
}

/// Quality at one task.
#[derive(Clone, Copy, Debug)]
pub(super) struct AtTask {
    pub(super) task: u32,
    pub(super) declared: Option<f64>,
    pub(super) seen: Tally,
}

/// One agent as choices read it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: Box<str>,
    pub(super) kind: Kind,
    pub(super) active: bool,
    pub(super) capabilities: Bits,
    pub(super) tags: Bits,
    pub(super) region: Option<u32>,
    pub(super) prices: Prices,
    pub(super) price_second: f64,
    pub(super) output_tokens: f64,
    pub(super) latency: f64,
    pub(super) latency_variation: f64,
    pub(super) quality: Option<f64>,
    pub(super) success: Option<f64>,
    pub(super) weight: f64,
    pub(super) context: f64,
    members: Vec<Box<str>>,
    /// In order of the task.
    pub(super) tasks: Vec<AtTask>,
    pub(super) declared_tasks: BTreeMap<String, f64>,
    pub(super) state: Sums,
}

/// [`State`] without what columns have elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) at: f64,
    pub(super) quality: Tally,
    pub(super) success: Tally,
    pub(super) cost_ratio: Tally,
    pub(super) cost: Tally,
    pub(super) latency: Tally,
    pub(super) output_tokens: Tally,
}

/// Agents that requests may go to.
#[derive(Debug, Default)]
pub struct AgentSet {
    pub(super) rows: Vec<Row>,
    places: HashMap<Box<str>, u32>,
    /// Capabilities and tasks.
    pub(super) capabilities: Names,
    pub(super) tags: Names,
    pub(super) regions: Names,
    pub(super) half_life: Option<f64>,
}

impl AgentSet {
    /// No agents; what is observed counts half after `half_life` seconds, or always in full.
    ///
    /// # Errors
    /// `OptionInvalid`: a half-life that is not above 0.
    pub fn new(half_life: Option<f64>) -> Result<Self> {
        if half_life.is_some_and(|seconds| !(seconds > 0.0 && seconds.is_finite())) {
            let remedy = "give seconds above 0, or none where nothing fades";
            let value = half_life.unwrap_or_default();
            return Err(Error::new(ErrorKind::OptionInvalid, "half_life", value, remedy));
        }
        Ok(Self { half_life, ..Self::default() })
    }

    /// Number of agents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Name of a row.
    #[must_use]
    pub fn name(&self, row: usize) -> &str {
        &self.rows[row].name
    }

    /// Row of a name.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<usize> {
        self.places.get(name).map(|&row| row as usize)
    }

    /// Row of a name that a caller wrote in `field`.
    ///
    /// # Errors
    /// `OptionInvalid`, with the nearest name.
    pub fn named(&self, field: &str, name: &str) -> Result<usize> {
        self.row(name).ok_or_else(|| {
            let near = nearest(name, self.rows.iter().map(|row| &*row.name));
            unknown(field, name, near, "agents")
        })
    }

    /// Adds an agent or puts it in the place of the one of its name.
    ///
    /// # Errors
    /// `CandidateInvalid`: as [`Agent::check`], or too many agents.
    pub fn put(&mut self, agent: &Agent) -> Result<()> {
        agent.check()?;
        if self.rows.len() >= MOST_AGENTS && self.row(&agent.name).is_none() {
            return Err(refused("agents", MOST_AGENTS, "split them into several registries"));
        }
        let row = self.read(agent);
        if let Some(place) = self.row(&agent.name) {
            self.rows[place] = row;
        } else {
            self.places.insert(agent.name.as_str().into(), self.rows.len() as u32);
            self.rows.push(row);
        }
        Ok(())
    }

    fn read(&mut self, agent: &Agent) -> Row {
        let mut capabilities = Bits::default();
        for name in &agent.capabilities {
            capabilities.insert(self.capabilities.place(name));
        }
        let mut tags = Bits::default();
        for name in &agent.tags {
            tags.insert(self.tags.place(name));
        }
        let region = agent.region.as_ref().map(|region| self.regions.place(region));
        let latency = agent.latency.unwrap_or(f64::NAN);
        let latency_variation = match (agent.latency, agent.latency_p99) {
            (Some(mean), Some(p99)) => variation_of(mean, p99),
            _ => USUAL_VARIATION,
        };
        let mut row = Row {
            name: agent.name.as_str().into(),
            kind: agent.kind,
            active: agent.active,
            capabilities,
            tags,
            region,
            prices: agent.prices.clone(),
            price_second: agent.price_second.unwrap_or(0.0),
            output_tokens: agent.output_tokens.unwrap_or(f64::NAN),
            latency,
            latency_variation,
            quality: agent.quality,
            success: agent.success,
            weight: agent.prior_weight,
            context: agent.context.unwrap_or(f64::INFINITY),
            members: agent.members.iter().map(|name| name.as_str().into()).collect(),
            tasks: Vec::new(),
            declared_tasks: agent.task_quality.clone(),
            state: Sums::default(),
        };
        self.observe(&mut row, &agent.state);
        row
    }

    fn observe(&mut self, row: &mut Row, state: &State) {
        row.state = Sums {
            at: state.at,
            quality: state.quality,
            success: state.success,
            cost_ratio: state.cost_ratio,
            cost: state.cost,
            latency: state.latency,
            output_tokens: state.output_tokens,
        };
        let names = row.declared_tasks.keys().chain(state.tasks.keys());
        let mut tasks: Vec<AtTask> = names
            .map(|task| AtTask {
                task: self.capabilities.place(task),
                declared: row.declared_tasks.get(task).copied(),
                seen: state.tasks.get(task).copied().unwrap_or_default(),
            })
            .collect();
        sort::unstable_by_key(&mut tasks, |each| each.task);
        tasks.dedup_by_key(|each| each.task);
        row.tasks = tasks;
    }

    /// Replaces what was observed of an agent.
    ///
    /// # Errors
    /// `OptionInvalid`: an unknown name.
    pub fn set_state(&mut self, name: &str, state: &State) -> Result<()> {
        let place = self.named("agent", name)?;
        // Taken out so that names may be added meanwhile; it goes back into its place.
        let mut row = self.rows.swap_remove(place);
        self.observe(&mut row, state);
        self.rows.push(row);
        let last = self.rows.len() - 1;
        self.rows.swap(place, last);
        Ok(())
    }

    /// Removes an agent; the last one takes its row.
    ///
    /// # Errors
    /// `OptionInvalid`: an unknown name.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        let place = self.named("agent", name)?;
        self.places.remove(name);
        self.rows.swap_remove(place);
        if let Some(moved) = self.rows.get(place) {
            self.places.insert(moved.name.clone(), place as u32);
        }
        Ok(())
    }

    /// Refuses ensembles with members that are not there, or that ask themselves in the end.
    ///
    /// # Errors
    /// `CandidateInvalid`, naming the circle.
    pub fn check_members(&self) -> Result<()> {
        // 0 not seen, 1 on the path, 2 sound.
        let mut seen = vec![0_u8; self.rows.len()];
        let mut path = Vec::new();
        for row in 0..self.rows.len() {
            self.descend(row, &mut seen, &mut path)?;
        }
        Ok(())
    }

    fn descend(&self, row: usize, seen: &mut [u8], path: &mut Vec<usize>) -> Result<()> {
        if seen[row] == 2 {
            return Ok(());
        }
        path.push(row);
        if seen[row] == 1 {
            let from = path.iter().position(|&each| each == row).unwrap_or(0);
            let names: Vec<&str> = path[from..].iter().map(|&each| self.name(each)).collect();
            return Err(refused("members", names.join(" asks "), "take one of them out of the circle"));
        }
        seen[row] = 1;
        for member in &self.rows[row].members {
            let Some(place) = self.row(member) else {
                let near = nearest(member, self.rows.iter().map(|row| &*row.name));
                let remedy = format!("add it first; the nearest is {}", near.unwrap_or("none"));
                let field = format!("members of agent '{}'", self.name(row));
                return Err(refused(field, format!("'{member}'"), &remedy));
            };
            self.descend(place, seen, path)?;
        }
        seen[row] = 2;
        path.pop();
        Ok(())
    }
}

#[cold]
#[inline(never)]
pub(super) fn unknown(field: &str, name: &str, near: Option<&str>, what: &str) -> Error {
    let remedy = match near {
        Some(near) => format!("the nearest of the {what} is '{near}'"),
        None => format!("there are no {what}"),
    };
    Error::new(ErrorKind::OptionInvalid, field, format!("'{name}'"), remedy)
}
