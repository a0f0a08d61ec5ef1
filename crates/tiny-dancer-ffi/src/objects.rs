//! What decides, by JSON: each function hands texts to a door of the engine and its answer back.

use std::ffi::c_char;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use tiny_dancer::agents::{AgentSet, Choices, state_after_json};
use tiny_dancer::encoder::Encoder;
use tiny_dancer::resilience::{Breaker, BreakerOptions, Guarded};
use tiny_dancer::routes::Routing;
use tiny_dancer::tasks::Tasking;
use tiny_dancer::tools::{ToolScratch, ToolSet};
use tiny_dancer::{Handle, Pool, Result};

use crate::border::{
    Held, Outcome, Place, answered, forced, freed, guarded, made, object, object_or_none, opaque, slice,
    td_code, td_text, text,
};

/// For reading; nothing that may panic writes while it holds a lock but what says so.
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A breaker as a caller asks for it; none where `options` is NULL.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn breaker(options: *const c_char, length: usize) -> Outcome<Option<Breaker>> {
    if options.is_null() {
        return Ok(None);
    }
    // SAFETY: what the caller promises.
    let options = BreakerOptions::from_json(unsafe { text(options, length, "breaker") }?)?;
    Ok(Some(Breaker::new(options, 0.0)?))
}

/// An encoder of texts, which objects share.
#[derive(Debug)]
pub struct td_encoder(Held<Arc<Encoder>>);
opaque!(td_encoder, Arc<Encoder>, b"encoder.");

/// Loads an encoder: `encoder.safetensors` for routers and tasks, `sentences.safetensors` for routes and tools.
///
/// # Safety
/// `bytes` has `length` bytes, which are not kept; `encoder` points to room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_encoder_load(
    bytes: *const u8,
    length: usize,
    encoder: *mut *mut td_encoder,
) -> td_code {
    // SAFETY: what the caller promises.
    unsafe { made(encoder, || Ok(Arc::new(Encoder::from_bytes(slice(bytes, length, "bytes")?)?))) }
}

/// Frees an encoder and makes the pointer to it NULL. Objects that were made with it keep what they need.
///
/// # Safety
/// What it points to was made by this library, is in use by no call, and not freed, or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_encoder_free(encoder: *mut *mut td_encoder) {
    // SAFETY: what the caller promises.
    unsafe { freed(encoder) }
}

/// A router: which model answers a request.
#[derive(Debug)]
pub struct td_router(Held<Router>);
opaque!(td_router, Router, b"router..");

#[derive(Debug)]
pub(crate) struct Router {
    serving: Guarded<Handle>,
    /// Whether levels below the learned policy answer where it fails.
    answers_below: bool,
    encoder: Option<Arc<Encoder>>,
    changes: String,
    begun: Instant,
}

impl Router {
    fn load(&self, artifact: &[u8]) -> Result<Handle> {
        Handle::new(artifact, self.encoder.clone(), &self.changes)
    }
}

/// Loads a router from an artifact.
///
/// `encoder`: NULL for artifacts that need none. `changes`: a JSON list of objects, one a model, whose fields (`name`,
/// `price_input`, …) replace the model's; empty changes nothing. `breaker`: NULL, and what goes wrong in the engine is
/// an error; or a JSON object (`threshold`, `window`, `failure_rate`, `minimum_calls`, `cooldown`, `longest_cooldown`,
/// `jitter`, `probes`, `probe_timeout`, `seed`), of which an empty text or `{}` is the defaults: then a circuit breaker
/// stands before what was learned, and stated rules or the default model decide while it fails. Such an answer names its
/// `level` and `level_reason`.
///
/// # Safety
/// Pointers have as many bytes as is said beside them, which are not kept; `router` points to room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_router_load(
    artifact: *const u8,
    artifact_length: usize,
    encoder: *const td_encoder,
    changes: *const c_char,
    changes_length: usize,
    breaker_options: *const c_char,
    breaker_length: usize,
    router: *mut *mut td_router,
) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        made(router, || {
            let encoder = object_or_none(encoder, "encoder")?.cloned();
            let changes = text(changes, changes_length, "models")?.to_owned();
            let breaker = breaker(breaker_options, breaker_length)?;
            let handle =
                Handle::new(slice(artifact, artifact_length, "artifact")?, encoder.clone(), &changes)?;
            let answers_below = breaker.is_some();
            let serving = Guarded::new(handle, breaker);
            Ok(Router { serving, answers_below, encoder, changes, begun: Instant::now() })
        })
    }
}

/// Decides a request.
///
/// `request`: JSON as a client sends it, in any dialect: a string, a list of messages, or the body of a call. `options`:
/// a JSON object of options by name, or empty. `answer`: JSON: `model`, `reason`, `scores`, `costs` and all the rest.
///
/// # Safety
/// As td_router_load; `answer` points to room for a text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_router_decide(
    router: *const td_router,
    request: *const c_char,
    request_length: usize,
    options: *const c_char,
    options_length: usize,
    answer: *mut td_text,
) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        answered(answer, || {
            let router = object(router, "router")?;
            let request = text(request, request_length, "request")?;
            let options = text(options, options_length, "options")?;
            let learned = |handle: &Handle| {
                forced(Place::Learned);
                handle.decide_json(request, options)
            };
            if !router.answers_below {
                return Ok(learned(&router.serving.serving())?);
            }
            let now = router.begun.elapsed().as_secs_f64();
            Ok(router.serving.decide_json_by(request, options, now, learned)?)
        })
    }
}

/// Loads another artifact, with the encoder and changes the router has, and serves it from the next call on. Calls under
/// way finish on the one they began with. Where it cannot be loaded, the one that serves goes on serving.
///
/// # Safety
/// As td_router_load.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_router_reload(
    router: *const td_router,
    artifact: *const u8,
    artifact_length: usize,
) -> td_code {
    guarded(|| {
        // SAFETY: what the caller promises.
        let (router, artifact) =
            unsafe { (object(router, "router")?, slice(artifact, artifact_length, "artifact")?) };
        Ok(router.serving.reload(router.load(artifact))?)
    })
}

/// How a router stands, as JSON: `breaker` (`state`, `failures`, `openings`, `retry_in`, `probes`; null without one),
/// `answered` by level (counted where there is a breaker), `reload_error`.
///
/// # Safety
/// As td_router_decide.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_router_status(router: *const td_router, answer: *mut td_text) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        answered(answer, || {
            let router = object(router, "router")?;
            Ok(router.serving.status_json(router.begun.elapsed().as_secs_f64()))
        })
    }
}

/// Frees a router and makes the pointer to it NULL.
///
/// # Safety
/// As td_encoder_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_router_free(router: *mut *mut td_router) {
    // SAFETY: what the caller promises.
    unsafe { freed(router) }
}

/// Semantic routes: which intent a text has, if any.
#[derive(Debug)]
pub struct td_routes(Held<Routing>);
opaque!(td_routes, Routing, b"routes..");

/// Loads routes from an artifact.
///
/// # Safety
/// As td_router_load.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_routes_load(
    artifact: *const u8,
    artifact_length: usize,
    encoder: *const td_encoder,
    routes: *mut *mut td_routes,
) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        made(routes, || {
            let encoder = object_or_none(encoder, "encoder")?.cloned();
            Ok(Routing::new(slice(artifact, artifact_length, "artifact")?, encoder)?)
        })
    }
}

/// Routes a request: `{"text": …}`, or `{"vector": […], "encoder": …}`; `options` as JSON, or empty.
///
/// # Safety
/// As td_router_decide.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_routes_decide(
    routes: *const td_routes,
    request: *const c_char,
    request_length: usize,
    options: *const c_char,
    options_length: usize,
    answer: *mut td_text,
) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        answered(answer, || {
            let routes = object(routes, "routes")?;
            let request = text(request, request_length, "request")?;
            Ok(routes.decide_json(request, text(options, options_length, "options")?)?)
        })
    }
}

/// Frees routes and makes the pointer to them NULL.
///
/// # Safety
/// As td_encoder_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_routes_free(routes: *mut *mut td_routes) {
    // SAFETY: what the caller promises.
    unsafe { freed(routes) }
}

/// Tools: which of many a request needs.
#[derive(Debug)]
pub struct td_tools(Held<Tools>);
opaque!(td_tools, Tools, b"tools...");

#[derive(Debug)]
pub(crate) struct Tools {
    set: RwLock<ToolSet>,
    scratch: Pool<ToolScratch>,
}

/// Makes an empty set of tools, with what was learned of use, or an empty artifact for none.
///
/// # Safety
/// As td_router_load.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_tools_new(
    artifact: *const u8,
    artifact_length: usize,
    encoder: *const td_encoder,
    tools: *mut *mut td_tools,
) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        made(tools, || {
            let encoder = object_or_none(encoder, "encoder")?.cloned();
            let artifact = slice(artifact, artifact_length, "artifact")?;
            let set = if artifact.is_empty() {
                ToolSet::new(encoder)
            } else {
                ToolSet::with_learned(encoder, artifact)?
            };
            Ok(Tools { set: RwLock::new(set), scratch: Pool::default() })
        })
    }
}

/// Adds tools, in any dialect, as JSON; `answer` is the list of their ids. All are added, or none.
///
/// # Safety
/// As td_router_decide.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_tools_add(
    tools: *const td_tools,
    json: *const c_char,
    length: usize,
    answer: *mut td_text,
) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        answered(answer, || {
            let tools = object(tools, "tools")?;
            let ids = write(&tools.set).add_json(text(json, length, "tools")?)?;
            Ok(serde_json::json!(ids).to_string())
        })
    }
}

/// Selects the tools a request needs: an object of `text` or `messages`, `k`, and other fields of a query.
///
/// # Safety
/// As td_router_decide.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_tools_select(
    tools: *const td_tools,
    query: *const c_char,
    length: usize,
    answer: *mut td_text,
) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        answered(answer, || {
            let tools = object(tools, "tools")?;
            let query = text(query, length, "query")?;
            Ok(tools.scratch.with(|scratch| read(&tools.set).select_json(query, scratch))?)
        })
    }
}

/// Frees tools and makes the pointer to them NULL.
///
/// # Safety
/// As td_encoder_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_tools_free(tools: *mut *mut td_tools) {
    // SAFETY: what the caller promises.
    unsafe { freed(tools) }
}

/// Agents: which of many answers a request.
#[derive(Debug)]
pub struct td_agents(Held<Agents>);
opaque!(td_agents, Agents, b"agents..");

#[derive(Debug)]
pub(crate) struct Agents {
    set: RwLock<AgentSet>,
    choices: Pool<Choices>,
    half_life: Option<f64>,
}

/// Makes an empty set of agents. `half_life`: seconds after which what was observed counts half; NAN: it never ages.
///
/// # Safety
/// `agents` points to room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_agents_new(half_life: f64, agents: *mut *mut td_agents) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        made(agents, || {
            let half_life = (!half_life.is_nan()).then_some(half_life);
            let set = RwLock::new(AgentSet::new(half_life)?);
            Ok(Agents { set, choices: Pool::default(), half_life })
        })
    }
}

/// Puts agents in: one object, or a list of them; one of a name that is there replaces it.
///
/// # Safety
/// As td_router_load.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_agents_put(
    agents: *const td_agents,
    json: *const c_char,
    length: usize,
) -> td_code {
    guarded(|| {
        // SAFETY: what the caller promises.
        let (agents, json) = unsafe { (object(agents, "agents")?, text(json, length, "agents")?) };
        Ok(write(&agents.set).put_json(json)?)
    })
}

/// Chooses an agent for a query.
///
/// # Safety
/// As td_router_decide.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_agents_choose(
    agents: *const td_agents,
    query: *const c_char,
    length: usize,
    answer: *mut td_text,
) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        answered(answer, || {
            let agents = object(agents, "agents")?;
            let query = text(query, length, "query")?;
            Ok(agents.choices.with(|choices| read(&agents.set).choose_json(query, choices))?)
        })
    }
}

/// Counts an outcome: `answer` is the agent's state after it. `state`: the one before, or empty.
///
/// # Safety
/// As td_router_decide.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_agents_observe(
    agents: *const td_agents,
    state: *const c_char,
    state_length: usize,
    outcome: *const c_char,
    outcome_length: usize,
    answer: *mut td_text,
) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        answered(answer, || {
            let agents = object(agents, "agents")?;
            let state = text(state, state_length, "state")?;
            Ok(state_after_json(state, text(outcome, outcome_length, "outcome")?, agents.half_life)?)
        })
    }
}

/// Frees agents and makes the pointer to them NULL.
///
/// # Safety
/// As td_encoder_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_agents_free(agents: *mut *mut td_agents) {
    // SAFETY: what the caller promises.
    unsafe { freed(agents) }
}

/// A classifier of tasks: what a request asks for, and what it takes.
#[derive(Debug)]
pub struct td_tasks(Held<Tasking>);
opaque!(td_tasks, Tasking, b"tasks...");

/// Loads a classifier of tasks from an artifact.
///
/// # Safety
/// As td_router_load.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_tasks_load(
    artifact: *const u8,
    artifact_length: usize,
    encoder: *const td_encoder,
    tasks: *mut *mut td_tasks,
) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        made(tasks, || {
            let encoder = object_or_none(encoder, "encoder")?.cloned();
            Ok(Tasking::new(slice(artifact, artifact_length, "artifact")?, encoder)?)
        })
    }
}

/// Classifies a request: `{"text": …}`.
///
/// # Safety
/// As td_router_decide.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_tasks_classify(
    tasks: *const td_tasks,
    request: *const c_char,
    length: usize,
    answer: *mut td_text,
) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        answered(answer, || {
            let tasks = object(tasks, "tasks")?;
            Ok(tasks.classify_json(text(request, length, "request")?)?)
        })
    }
}

/// Frees a classifier and makes the pointer to it NULL.
///
/// # Safety
/// As td_encoder_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_tasks_free(tasks: *mut *mut td_tasks) {
    // SAFETY: what the caller promises.
    unsafe { freed(tasks) }
}
