//! Agents in SQL: the doors of the engine over the table `agent`. What is rows in SQL is JSON here, but for `route`, which
//! is called once a row of a large table.

pub mod asked;
mod declared;
mod ledger;
mod plan;
pub mod registry;
pub mod seen;
mod semantic;

use pgrx::pg_sys::Datum;
use serde_json::{Value, json};
use tiny_dancer::agents::{AgentSet, Choices, Expected, state_after_json};

use self::asked::{Asked, no_agent};
use self::declared::Declared;
use self::registry::Registry;
use crate::artifacts::{self, Object};
use crate::call::{Call, json as as_json, text};
use crate::doors::TASKS;
use crate::failure::Result;
use crate::rows::{Rows, number, row};

crate::functions! {
    checked_agent
    check_agents
    choose_agent
    choose_among
    agent_state_after
    route
    compare_agents
    classify_request
}

fn given(call: &Call, place: usize) -> Result<std::borrow::Cow<'_, str>> {
    Ok(call.text(place)?.unwrap_or_default())
}

/// `checked_agent(declaration json) → json`: all fields of an agent, checked. STRICT.
fn checked_agent(call: &Call) -> Result<Option<Datum>> {
    as_json(&Declared::read(&given(call, 0)?)?.json()?).map(Some)
}

/// `check_agents() → void`: refuses ensembles whose members are not there, or that ask themselves in the end.
fn check_agents(_: &Call) -> Result<Option<Datum>> {
    registry::ask(|Registry { set, .. }| Ok(set.check_members()?)).map(|()| Some(Datum::from(0)))
}

/// `choose_agent(query json) → json`: the door of the engine over the table. STRICT.
fn choose_agent(call: &Call) -> Result<Option<Datum>> {
    let query = given(call, 0)?;
    // Where it does not say when, now.
    let query = match serde_json::from_str(&query) {
        Ok(Value::Object(mut query)) => {
            query.entry("now").or_insert_with(|| registry::now().into());
            Value::Object(query).to_string().into()
        }
        _ => query,
    };
    let ask =
        |Registry { set, choices, .. }: &mut Registry| set.choose_json(&query, choices).map_err(no_agent);
    as_json(&registry::ask(ask)?).map(Some)
}

/// `choose_among(agents text, query text, half_life double precision) → text`: the same among agents that are given, as
/// the engine reads them.
fn choose_among(call: &Call) -> Result<Option<Datum>> {
    let (Some(agents), Some(query)) = (call.text(0)?, call.text(1)?) else { return Ok(None) };
    let mut set = AgentSet::new(call.float(2))?;
    set.put_json(&agents)?;
    Ok(Some(text(&set.choose_json(&query, &mut Choices::default()).map_err(no_agent)?)))
}

/// `agent_state_after(state text, outcome text, half_life double precision) → text`; no state is that of no outcomes.
fn agent_state_after(call: &Call) -> Result<Option<Datum>> {
    let Some(outcome) = call.text(1)? else { return Ok(None) };
    Ok(Some(text(&state_after_json(&given(call, 0)?, &outcome, call.float(2))?)))
}

/// `route(request text, …) → agent_choice`.
fn route(call: &Call) -> Result<Option<Datum>> {
    let Some(request) = call.text(0)? else { return Ok(None) };
    let asked = Asked::read(call)?;
    registry::ask(|Registry { set, choices, .. }| {
        asked.with(set, &request, |query| {
            let choice = set.choose(query, choices).map_err(no_agent)?;
            let next = choice.runner_up.map(|(row, _)| set.name(row));
            let expected = &choice.expected;
            let reason = choice.reason(query.policy, query.weights, next, set.len());
            Ok(Some(row(
                call,
                [
                    Some(text(set.name(choice.agent))),
                    number(choice.confidence),
                    number(expected.cost.mean),
                    number(expected.latency.mean * 1000.0),
                    number(expected.quality),
                    Some(text(&reason)),
                    next.map(text),
                ],
            )))
        })
    })
}

/// `compare_agents(request text, …) → SETOF`: what is expected of each agent, and what removes it, by name.
fn compare_agents(call: &Call) -> Result<Option<Datum>> {
    let mut rows = Rows::of(call);
    let Some(request) = call.text(0)? else { return Ok(None) };
    let asked = Asked::read(call)?;
    registry::ask(|Registry { set, choices, .. }| {
        asked.with(set, &request, |query| {
            set.expect(query, choices).map_err(no_agent)?;
            let mut places: Vec<usize> = (0..set.len()).collect();
            places.sort_unstable_by_key(|&place| set.name(place));
            for place in places {
                let expected = &choices.expected[place];
                let ends = |ends: Option<[f64; 2]>| ends.unwrap_or([f64::NAN; 2]).map(number);
                let [quality_low, quality_high] = ends(expected.quality_interval(query.level));
                let [cost_low, cost_high] = ends(Expected::interval(&expected.cost, query.level));
                rows.add(|| {
                    Ok([
                        Some(text(set.name(place))),
                        number(expected.quality),
                        quality_low,
                        quality_high,
                        number(expected.cost.mean),
                        cost_low,
                        cost_high,
                        number(expected.latency.mean * 1000.0),
                        number(expected.utility),
                        choices.removed[place].map(|by| text(by.as_str())),
                    ])
                })?;
            }
            Ok(None)
        })
    })
}

/// `classify_request(request text, artifact text) → json`: the whole answer of a classifier of tasks, and its categories by
/// name.
fn classify_request(call: &Call) -> Result<Option<Datum>> {
    let Some(request) = call.text(0)? else { return Ok(None) };
    let name = call.text(1)?.unwrap_or(TASKS.into());
    let object = artifacts::named(Some(&name))?;
    let Object::Tasks(tasking) = &*object else { return Err(object.is_not("tasks", &name)) };
    let answer = tasking.classify(&request, |answer| {
        let names = answer.tasks.header().categories.iter();
        let mut classifications: Vec<(&String, f32)> =
            names.zip(answer.scratch.probabilities.iter().copied()).collect();
        classifications.sort_by(|one, other| other.1.total_cmp(&one.1));
        let mut whole: Value = serde_json::from_str(&answer.to_json()).unwrap_or_default();
        whole["classifications"] =
            classifications.into_iter().map(|(name, share)| json!([name, f64::from(share)])).collect();
        whole["top_category"] = whole["category"].clone();
        whole
    })?;
    as_json(&answer.to_string()).map(Some)
}
