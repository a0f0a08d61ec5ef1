//! Agents, choices among them and assignments of batches, as Python sees them.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::sync::RwLockExt;
use pyo3::types::{PyBytes, PyDict};
use tiny_dancer::agents::assign::{Assigned, Batch, Goal};
use tiny_dancer::agents::{
    AgentSet as Engine, Cards, Choice, Choices, Combined, Expected, Kind, Named, Plan, Query, Removal,
    SearchScratch, State, state_after_json,
};
use tiny_dancer::{Error, ErrorKind, Pool, Result};

use crate::Encoder;
use crate::convert::{text, to_exception};

/// Adds this room's names to the compiled module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<AgentSet>()?;
    module.add_class::<AgentQuery>()?;
    module.add_class::<AgentChoice>()?;
    module.add_class::<AgentCards>()?;
    module.add("AGENT_POLICIES", Named::ALL.map(Named::as_str).to_vec())?;
    module.add("AGENT_TYPES", Kind::ALL.map(Kind::as_str).to_vec())?;
    module.add("AGENT_REMOVALS", Removal::ALL.map(Removal::as_str).to_vec())?;
    module.add_function(wrap_pyfunction!(agent_state_after, module)?)?;
    module.add_function(wrap_pyfunction!(assign_batch, module)?)
}

/// The names of all rows, as they were when a choice was made.
type Names = Arc<[Box<str>]>;

#[derive(Default)]
struct Held {
    set: Engine,
    names: Names,
}

/// The engine's set of agents, shared between threads; each call takes a scratch from the pool.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
struct AgentSet {
    held: RwLock<Held>,
    pool: Pool<Choices>,
}

/// What is asked of a choice, without what changes from request to request.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
struct AgentQuery {
    policy: Named,
    weights: [f64; 3],
    required: Vec<String>,
    task: Option<String>,
    kinds: Vec<Kind>,
    excluded: Vec<String>,
    tags: Vec<String>,
    region: Option<String>,
    bounds: [f64; 3],
    min_quality: Option<f64>,
    level: f64,
    explore: Option<f64>,
}

#[pymethods]
impl AgentQuery {
    #[new]
    fn new(
        py: Python<'_>,
        policy: &str,
        weights: (f64, f64, f64),
        required: Vec<String>,
        task: Option<String>,
        types: Vec<PyBackedStr>,
        excluded: Vec<String>,
        tags: Vec<String>,
        region: Option<String>,
        bounds: (Option<f64>, Option<f64>, Option<f64>),
        min_quality: Option<f64>,
        level: f64,
        explore: Option<f64>,
    ) -> PyResult<Self> {
        let refused = |field: &str, value: &str, words: &[&str]| {
            let remedy = format!("use one of {}", words.join(", "));
            to_exception(py, Error::new(ErrorKind::OptionInvalid, field, format!("'{value}'"), remedy))
        };
        let named = Named::of_word(policy)
            .ok_or_else(|| refused("optimize_for", policy, &Named::ALL.map(Named::as_str)))?;
        let kind = |word: &PyBackedStr| {
            Kind::ALL
                .into_iter()
                .find(|kind| kind.as_str() == &**word)
                .ok_or_else(|| refused("types", word, &Kind::ALL.map(Kind::as_str)))
        };
        let kinds = types.iter().map(kind).collect::<PyResult<_>>()?;
        let bounds = [bounds.0, bounds.1, bounds.2].map(|bound| bound.unwrap_or(f64::INFINITY));
        let weights = [weights.0, weights.1, weights.2];
        Ok(Self {
            policy: named,
            weights,
            required,
            task,
            kinds,
            excluded,
            tags,
            region,
            bounds,
            min_quality,
            level,
            explore,
        })
    }
}

/// What changes from request to request.
struct Asked<'a> {
    input: f64,
    cached: f64,
    output: Option<f64>,
    now: f64,
    qualities: &'a [f64],
}

impl AgentQuery {
    /// Hands the engine's query to `work`.
    fn with<T>(&self, asked: &Asked, work: impl FnOnce(&Query) -> T) -> T {
        let (required, excluded, tags) =
            (borrowed(&self.required), borrowed(&self.excluded), borrowed(&self.tags));
        let [max_cost, budget, max_latency] = self.bounds;
        work(&Query {
            policy: self.policy,
            weights: self.weights,
            input_tokens: asked.input,
            cached_tokens: asked.cached,
            output_tokens: asked.output.unwrap_or(f64::NAN),
            required: &required,
            task: self.task.as_deref(),
            kinds: &self.kinds,
            excluded: &excluded,
            tags: &tags,
            region: self.region.as_deref(),
            max_cost,
            budget,
            max_latency,
            min_quality: self.min_quality,
            level: self.level,
            explore: self.explore,
            now: asked.now,
            qualities: asked.qualities,
        })
    }
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// The agent that was chosen, and why.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
struct AgentChoice {
    choice: Choice,
    names: Names,
    removed: Vec<Option<Removal>>,
    front: Option<Vec<usize>>,
    policy: Named,
    weights: [f64; 3],
    level: f64,
}

fn known(value: f64) -> Option<f64> {
    (!value.is_nan()).then_some(value)
}

#[pymethods]
impl AgentChoice {
    #[getter]
    fn agent(&self) -> &str {
        &self.names[self.choice.agent]
    }

    #[getter]
    fn quality(&self) -> f64 {
        self.choice.expected.quality
    }

    #[getter]
    fn quality_interval(&self) -> Option<(f64, f64)> {
        self.choice.expected.quality_interval(self.level).map(Into::into)
    }

    #[getter]
    fn estimated_cost(&self) -> Option<f64> {
        known(self.choice.expected.cost.mean)
    }

    #[getter]
    fn cost_interval(&self) -> Option<(f64, f64)> {
        Expected::interval(&self.choice.expected.cost, self.level).map(Into::into)
    }

    #[getter]
    fn estimated_latency_ms(&self) -> Option<f64> {
        known(self.choice.expected.latency.mean * 1000.0)
    }

    #[getter]
    fn latency_interval_ms(&self) -> Option<(f64, f64)> {
        Expected::interval(&self.choice.expected.latency, self.level)
            .map(|[low, high]| (low * 1000.0, high * 1000.0))
    }

    #[getter]
    fn utility(&self) -> f64 {
        self.choice.expected.utility
    }

    #[getter]
    fn confidence(&self) -> f64 {
        self.choice.confidence
    }

    #[getter]
    fn runner_up(&self) -> Option<&str> {
        self.choice.runner_up.map(|(row, _)| &*self.names[row])
    }

    #[getter]
    fn suitable(&self) -> usize {
        self.choice.suitable
    }

    #[getter]
    fn policy(&self) -> &'static str {
        self.policy.as_str()
    }

    #[getter]
    fn reason(&self) -> String {
        self.choice.reason(self.policy, self.weights, self.runner_up(), self.names.len())
    }

    #[getter]
    fn removed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        removals(py, &self.names, &self.removed)
    }

    #[getter]
    fn front(&self) -> Option<Vec<&str>> {
        let names = |rows: &Vec<usize>| rows.iter().map(|&row| &*self.names[row]).collect();
        self.front.as_ref().map(names)
    }

    fn __repr__(&self) -> String {
        format!("AgentChoice(agent='{}', reason='{}')", self.agent(), self.reason())
    }
}

fn removals<'py>(
    py: Python<'py>,
    names: &[Box<str>],
    removed: &[Option<Removal>],
) -> PyResult<Bound<'py, PyDict>> {
    let found = PyDict::new(py);
    for (name, by) in names.iter().zip(removed) {
        if let Some(by) = by {
            found.set_item(&**name, by.as_str())?;
        }
    }
    Ok(found)
}

fn doubles(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect()
}

fn bytes_of(py: Python<'_>, values: impl Iterator<Item = f64>) -> Bound<'_, PyBytes> {
    PyBytes::new(py, &values.flat_map(f64::to_le_bytes).collect::<Vec<_>>())
}

/// (Steps as (agent, places of the capabilities, quality, USD, seconds), quality, USD, seconds, utility); NaN is unknown.
type PlanTuple = (Vec<(String, Vec<usize>, f64, f64, f64)>, f64, f64, f64, f64);

impl AgentSet {
    // Whoever waits for the set lets the interpreter go meanwhile: its holder may be waiting for that.
    fn read(&self, py: Python<'_>) -> RwLockReadGuard<'_, Held> {
        self.held.read_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, py: Python<'_>, work: impl FnOnce(&mut Engine) -> Result<T> + Send) -> PyResult<T>
    where
        T: Send,
    {
        let changed = || {
            let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
            let result = work(&mut held.set);
            let set = &held.set;
            held.names = (0..set.len()).map(|row| set.name(row).into()).collect();
            result
        };
        py.detach(changed).map_err(|error| to_exception(py, error))
    }
}

#[pymethods]
impl AgentSet {
    #[new]
    #[pyo3(signature = (half_life=None))]
    fn new(py: Python<'_>, half_life: Option<f64>) -> PyResult<Self> {
        let set = Engine::new(half_life).map_err(|error| to_exception(py, error))?;
        Ok(Self { held: RwLock::new(Held { set, names: Names::default() }), pool: Pool::default() })
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.read(py).set.len()
    }

    /// Names of all agents, by row.
    fn names(&self, py: Python<'_>) -> Vec<String> {
        self.read(py).names.iter().map(ToString::to_string).collect()
    }

    /// Puts in what a JSON list of agents defines.
    fn put(&self, py: Python<'_>, agents: &str) -> PyResult<()> {
        self.change(py, |set| set.put_json(agents))
    }

    fn remove(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.change(py, |set| set.remove(name))
    }

    fn check_members(&self, py: Python<'_>) -> PyResult<()> {
        self.read(py).set.check_members().map_err(|error| to_exception(py, error))
    }

    /// Replaces what was observed of an agent, JSON.
    fn set_state(&self, py: Python<'_>, name: &str, state: &str) -> PyResult<()> {
        let read = || -> Result<()> {
            let state: State = serde_json::from_str(state).map_err(|error| {
                Error::new(ErrorKind::CandidateInvalid, "state", error, "give its fields by their names")
            })?;
            let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
            held.set.set_state(name, &state)
        };
        py.detach(read).map_err(|error| to_exception(py, error))
    }

    /// Answers a query, JSON to JSON.
    fn choose_json(&self, py: Python<'_>, query: &str) -> PyResult<String> {
        let held = self.read(py);
        self.pool
            .with(|choices| held.set.choose_json(query, choices))
            .map_err(|error| to_exception(py, error))
    }

    /// Chooses an agent; `qualities` by row, f64 as bytes with NaN for unknown ones.
    #[pyo3(signature = (query, input_tokens, now, output_tokens=None, cached_tokens=0.0, qualities=None, front=false))]
    fn choose(
        &self,
        py: Python<'_>,
        query: &AgentQuery,
        input_tokens: f64,
        now: f64,
        output_tokens: Option<f64>,
        cached_tokens: f64,
        qualities: Option<Vec<(PyBackedStr, f64)>>,
        front: bool,
    ) -> PyResult<AgentChoice> {
        let held = self.read(py);
        let qualities = qualities.map(|given| {
            let mut row = vec![f64::NAN; held.set.len()];
            for (name, quality) in given {
                // Those of agents that are not here have no say.
                if let Some(place) = held.set.row(&name) {
                    row[place] = quality;
                }
            }
            row
        });
        let asked = Asked {
            input: input_tokens,
            cached: cached_tokens,
            output: output_tokens,
            now,
            qualities: qualities.as_deref().unwrap_or_default(),
        };
        let found = query.with(&asked, |query| {
            self.pool.with(|choices| {
                let choice = held.set.choose(query, choices)?;
                let front = front.then(|| held.set.front(choices));
                Ok((choice, choices.removed.clone(), front))
            })
        });
        let (choice, removed, front) = found.map_err(|error| to_exception(py, error))?;
        Ok(AgentChoice {
            choice,
            names: Arc::clone(&held.names),
            removed,
            front,
            policy: query.policy,
            weights: query.weights,
            level: query.level,
        })
    }

    /// What removes which agent, by name; also where nothing is left.
    #[pyo3(signature = (query, input_tokens, now, output_tokens=None, cached_tokens=0.0))]
    fn removed<'py>(
        &self,
        py: Python<'py>,
        query: &AgentQuery,
        input_tokens: f64,
        now: f64,
        output_tokens: Option<f64>,
        cached_tokens: f64,
    ) -> PyResult<Bound<'py, PyDict>> {
        let held = self.read(py);
        let asked =
            Asked { input: input_tokens, cached: cached_tokens, output: output_tokens, now, qualities: &[] };
        let found = query.with(&asked, |query| {
            self.pool.with(|choices| held.set.expect(query, choices).map(|()| choices.removed.clone()))
        });
        let removed = found.map_err(|error| to_exception(py, error))?;
        removals(py, &held.names, &removed)
    }

    /// What is expected of every agent on each of n requests: quality, USD (NaN where removed, or unknown) and seconds,
    /// f64 [n, agents] as bytes; of tokens of prompts, f64 [n] as bytes, and answers, the same or None. `qualities`,
    /// f64 [n, agents] as bytes with NaN for unknown ones, are of these very requests.
    #[pyo3(signature = (query, input_tokens, now, output_tokens=None, qualities=None))]
    fn expect<'py>(
        &self,
        py: Python<'py>,
        query: &AgentQuery,
        input_tokens: &[u8],
        now: f64,
        output_tokens: Option<&[u8]>,
        qualities: Option<&[u8]>,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let held = self.read(py);
        let (inputs, outputs) = (doubles(input_tokens), output_tokens.map(doubles));
        let said = qualities.map(doubles).unwrap_or_default();
        let agents = held.set.len();
        let (mut quality, mut cost, mut latency) = (Vec::new(), Vec::new(), Vec::new());
        for (row, &input) in inputs.iter().enumerate() {
            let output = outputs.as_ref().and_then(|outputs| outputs.get(row).copied());
            let qualities = said.get(row * agents..(row + 1) * agents).unwrap_or_default();
            let asked = Asked { input, cached: 0.0, output, now, qualities };
            let found = query.with(&asked, |query| {
                self.pool.with(|choices| {
                    held.set.expect(query, choices)?;
                    for (by, expected) in choices.removed.iter().zip(&choices.expected) {
                        quality.push(expected.quality);
                        cost.push(if by.is_some() { f64::NAN } else { expected.cost.mean });
                        latency.push(expected.latency.mean);
                    }
                    Ok(())
                })
            });
            found.map_err(|error: Error| to_exception(py, error))?;
        }
        let bytes = |values: Vec<f64>| bytes_of(py, values.into_iter());
        Ok((bytes(quality), bytes(cost), bytes(latency)))
    }

    /// Several agents for one request: `strategy` is pipeline, parallel, vote or judge; `correlation`, f64
    /// [agents, agents] as bytes, is of the latter two.
    #[pyo3(signature = (query, strategy, number, input_tokens, now, output_tokens=None, correlation=None))]
    fn several(
        &self,
        py: Python<'_>,
        query: &AgentQuery,
        strategy: &str,
        number: usize,
        input_tokens: f64,
        now: f64,
        output_tokens: Option<f64>,
        correlation: Option<&[u8]>,
    ) -> PyResult<PlanTuple> {
        let held = self.read(py);
        let correlation = correlation.map(doubles).unwrap_or_default();
        let asked = Asked { input: input_tokens, cached: 0.0, output: output_tokens, now, qualities: &[] };
        let found = query.with(&asked, |query| {
            self.pool.with(|choices| {
                let set = &held.set;
                match strategy {
                    "pipeline" => set.pipeline(query, number, choices),
                    "parallel" => set.parallel(query, number, choices),
                    "vote" => set.ensemble(query, number, Combined::Vote, &correlation, choices),
                    _ => set.ensemble(query, number, Combined::Judge, &correlation, choices),
                }
            })
        });
        let Plan { steps, quality, cost, latency, utility } =
            found.map_err(|error| to_exception(py, error))?;
        let steps = steps.into_iter().map(|step| {
            let (expected, name) = (step.expected, held.names[step.agent].to_string());
            (name, step.covers, expected.quality, expected.cost.mean, expected.latency.mean)
        });
        Ok((steps.collect(), quality, cost, latency, utility))
    }
}

/// The state after an outcome, both as JSON; an empty state is that of a new agent.
#[pyfunction]
#[pyo3(signature = (state, outcome, half_life=None))]
fn agent_state_after(py: Python<'_>, state: &str, outcome: &str, half_life: Option<f64>) -> PyResult<String> {
    state_after_json(state, outcome, half_life).map_err(|error| to_exception(py, error))
}

/// (Agents of the requests as bytes, USD, mean quality, bound, gap, multiplier, prices).
type AssignedTuple<'py> = (Bound<'py, PyBytes>, f64, f64, f64, f64, f64, Vec<f64>);

/// The agents of n requests, u32 [n] as bytes; then total USD, mean quality, bound, gap, multiplier, prices. `quality` and
/// `cost` are f64 [n, agents] as bytes, NaN in `cost` where an agent must not answer.
#[pyfunction]
#[pyo3(signature = (agents, quality, cost, capacities, minimise_cost, min_mean_quality=None, budget=None))]
fn assign_batch<'py>(
    py: Python<'py>,
    agents: usize,
    quality: &[u8],
    cost: &[u8],
    capacities: Vec<Option<usize>>,
    minimise_cost: bool,
    min_mean_quality: Option<f64>,
    budget: Option<f64>,
) -> PyResult<AssignedTuple<'py>> {
    let (quality, cost) = (doubles(quality), doubles(cost));
    let goal = if minimise_cost { Goal::Cost { min_mean_quality } } else { Goal::Quality };
    let solve = || {
        let budget = budget.unwrap_or(f64::INFINITY);
        Batch { agents, quality: &quality, cost: &cost, capacities: &capacities, budget }.assign(goal)
    };
    let Assigned { agents, cost, quality, bound, gap, multiplier, prices } =
        py.detach(solve).map_err(|error| to_exception(py, error))?;
    let bytes: Vec<u8> = agents.into_iter().flat_map(u32::to_le_bytes).collect();
    Ok((PyBytes::new(py, &bytes), cost, quality, bound, gap, multiplier, prices))
}

/// Cards of agents, to search.
#[pyclass(frozen, module = "tiny_dancer._core._native")]
struct AgentCards {
    cards: Cards,
    pool: Pool<SearchScratch>,
}

#[pymethods]
impl AgentCards {
    /// `cards` is a JSON list.
    #[new]
    fn new(py: Python<'_>, encoder: &Encoder, cards: &str) -> PyResult<Self> {
        let read = || Cards::from_json(Arc::clone(&encoder.inner), cards);
        let cards = py.detach(read).map_err(|error| to_exception(py, error))?;
        Ok(Self { cards, pool: Pool::default() })
    }

    fn __len__(&self) -> usize {
        self.cards.len()
    }

    /// (Name, score, relevance) of the k cards a text is about, best first.
    fn search(&self, py: Python<'_>, request: Bound<'_, PyAny>, k: usize) -> PyResult<Vec<(&str, f32, f32)>> {
        let request = text(&request, "text")?;
        let found = self.pool.with(|scratch| {
            let found = self.cards.search(&request, k, scratch)?;
            Ok(found.iter().map(|each| (self.cards.name(each.card), each.score, each.relevance)).collect())
        });
        found.map_err(|error: Error| to_exception(py, error))
    }
}
