//! Several agents for a request, a batch of requests at once, and a budget given to agents.

use std::collections::BTreeMap;
use std::sync::Arc;

use pgrx::pg_sys::Datum;
use tiny_dancer::agents::assign::{Assigned, Batch, Goal};
use tiny_dancer::agents::{AgentSet, Card, Cards, Choices, Combined, Named, Plan, Query, SearchScratch};
use tiny_dancer::encoder::Encoder;
use tiny_dancer::{Error, ErrorKind};

use super::asked::{Asked, no_agent, policy, texts};
use super::registry::{self, Registry};
use crate::call::{Call, text};
use crate::decide::jsonb;
use crate::doors::SENTENCES;
use crate::failure::{ARGUMENT, Failure, Result};
use crate::rows::{self, Rows, number};

/// Most requests that a budget is given to agents for: each is a row of the engine's assignment.
const MOST_REQUESTS: f64 = 1e6;

crate::functions! {
    route_multi
    batch_route
    allocate_budget
}

fn refused(field: &str, value: impl std::fmt::Display, remedy: &str) -> Failure {
    Error::new(ErrorKind::OptionInvalid, field, value, remedy).into()
}

/// `route_multi(request text, … as route …, num_agents integer, strategy text, combine text) → SETOF`: a row a step.
fn route_multi(call: &Call) -> Result<Option<Datum>> {
    let mut rows = Rows::of(call);
    let Some(request) = call.text(0)? else { return Ok(None) };
    let mut asked = Asked::read(call)?;
    let wanted = call.datum(8).map_or(3, |datum| datum.value() as i32);
    let strategy = call.text(9)?.unwrap_or("pipeline".into());
    let combine = call.text(10)?.unwrap_or("vote".into());
    let combined = match &*combine {
        "vote" => Combined::Vote,
        "judge" => Combined::Judge,
        other => return Err(refused("combine", other, "use vote or judge")),
    };
    if !matches!(&*strategy, "pipeline" | "parallel" | "ensemble") {
        return Err(refused("strategy", strategy, "use pipeline, parallel or ensemble"));
    }
    let most = usize::try_from(wanted)
        .ok()
        .filter(|&wanted| wanted > 0)
        .ok_or_else(|| refused("num_agents", wanted, "give 1 or more; 2 or more for an ensemble"))?;
    let inferred = asked.required.is_empty() && strategy != "ensemble";
    // Loaded before the agents are asked for: loading may read tables.
    let encoder = if inferred { Some(crate::artifacts::encoder_named(SENTENCES)?) } else { None };
    registry::ask(|Registry { set, choices, capabilities, .. }| {
        if let Some(encoder) = &encoder {
            asked.required = about(encoder, capabilities.iter(), &request, most)?;
        }
        asked.with(set, &request, |query| {
            let plan = match &*strategy {
                "pipeline" => set.pipeline(query, most, choices),
                "parallel" => set.parallel(query, most, choices),
                _ => set.ensemble(query, most, combined, &[], choices),
            };
            let plan = plan.map_err(no_agent)?;
            let mut reason = reason(&strategy, combined, &plan, query, set);
            if inferred {
                reason += "; capabilities by likeness to the request";
            }
            for (at, step) in plan.steps.iter().enumerate() {
                let expected = &step.expected;
                rows.add(|| {
                    Ok([
                        Some(Datum::from(at as i32 + 1)),
                        Some(text(set.name(step.agent))),
                        Some(rows::texts(step.covers.iter().map(|&place| query.required[place]))),
                        number(expected.quality),
                        number(expected.cost.mean),
                        number(expected.latency.mean * 1000.0),
                        number(plan.quality),
                        number(plan.cost),
                        number(plan.latency * 1000.0),
                        Some(text(&reason)),
                    ])
                })?;
            }
            Ok(None)
        })
    })
}

/// The capabilities a request is most about, at most so many.
fn about<'a>(
    encoder: &Arc<Encoder>,
    capabilities: impl Iterator<Item = &'a String>,
    request: &str,
    number: usize,
) -> Result<Vec<String>> {
    let card = |name: &String| Card {
        name: name.clone(),
        description: name.replace(['-', '_'], " "),
        capabilities: Vec::new(),
        examples: Vec::new(),
    };
    let cards: Vec<Card> = capabilities.map(card).collect();
    if cards.is_empty() {
        let remedy = "register agents with capabilities, or use the strategy ensemble";
        return Err(refused("required_capabilities", "none, and no agent has any", remedy));
    }
    let cards = Cards::new(Arc::clone(encoder), &cards)?;
    let number = number.min(tiny_dancer::agents::MOST_CAPABILITIES);
    let mut scratch = SearchScratch::default();
    let found = cards.search(request, number, &mut scratch)?;
    Ok(found.iter().map(|each| cards.name(each.card).to_owned()).collect())
}

/// What a plan is, in words.
fn reason(strategy: &str, combined: Combined, plan: &Plan, query: &Query, set: &AgentSet) -> String {
    let names = plan.steps.iter().map(|step| set.name(step.agent));
    let said = if strategy == "ensemble" {
        let who: Vec<&str> = names.collect();
        let how = match combined {
            Combined::Vote => "more than half are right",
            Combined::Judge => "one of them is right",
        };
        format!("ensemble of {}: {how} with probability {:.4}", who.join(", "), plan.quality)
    } else {
        let join = if strategy == "pipeline" { " -> " } else { " | " };
        let parts: Vec<String> = names
            .zip(&plan.steps)
            .map(|(name, step)| {
                let covers: Vec<&str> = step.covers.iter().map(|&place| query.required[place]).collect();
                format!("{name} ({})", covers.join(", "))
            })
            .collect();
        format!("{strategy}: {}; quality {:.4}", parts.join(join), plan.quality)
    };
    let price = if plan.cost.is_nan() { "unknown".to_owned() } else { format!("{:.6} USD", plan.cost) };
    format!("{said}, cost {price}, utility {:.4}", plan.utility)
}

/// What is expected of each agent on each of several requests, [requests, agents].
struct Expectations {
    quality: Vec<f64>,
    /// NaN where something removes the agent.
    cost: Vec<f64>,
    latency: Vec<f64>,
}

impl Expectations {
    fn add(&mut self, set: &AgentSet, query: &Query, choices: &mut Choices) -> Result<()> {
        set.expect(query, choices).map_err(no_agent)?;
        for (by, expected) in choices.removed.iter().zip(&choices.expected) {
            self.quality.push(expected.quality);
            self.cost.push(if by.is_some() { f64::NAN } else { expected.cost.mean });
            self.latency.push(expected.latency.mean);
        }
        Ok(())
    }

    fn with_room(cells: usize) -> Self {
        let room = || Vec::with_capacity(cells);
        Self { quality: room(), cost: room(), latency: room() }
    }
}

/// `batch_route(requests text[], optimize_for text, … as route …, min_mean_quality, capacities jsonb) → SETOF`: a row a
/// request, in their order. `budget_remaining` is of all requests together. With `total_cost`, and with `quality`, the
/// batch is solved as a whole; by other policies request by request, each within the budget.
fn batch_route(call: &Call) -> Result<Option<Datum>> {
    let mut rows = Rows::of(call);
    if call.datum(0).is_none() {
        return Ok(None);
    }
    let requests = texts(call, 0, "requests")?;
    let word = call.text(1)?.unwrap_or("total_cost".into()).into_owned();
    let whole = word == "total_cost" || word == "quality";
    let least = call.float(8);
    let capacities = call.datum(9).map(jsonb).transpose()?;
    if !whole && (least.is_some() || capacities.is_some()) {
        let field = if least.is_some() { "min_mean_quality" } else { "capacities" };
        return Err(refused(field, format!("beside {word}"), "set optimize_for to total_cost or quality"));
    }
    if word == "quality" && least.is_some() {
        return Err(refused("min_mean_quality", "beside quality", "leave it out where quality is maximised"));
    }
    let mut asked = Asked::of(call, if whole { Named::Cost } else { batch_policy(&word)? })?;
    registry::ask(|Registry { set, choices, .. }| {
        let agents = set.len();
        let budget = if whole { std::mem::replace(&mut asked.budget, f64::INFINITY) } else { f64::INFINITY };
        let mut expected = Expectations::with_room(agents * requests.len());
        let mut chosen = Vec::with_capacity(requests.len());
        for request in &requests {
            pgrx::check_for_interrupts!();
            asked.with(set, request, |query| {
                if !whole {
                    chosen.push(set.choose(query, choices).map_err(no_agent)?.agent);
                }
                expected.add(set, query, choices)
            })?;
        }
        if whole {
            let batch = Batch {
                agents,
                quality: &expected.quality,
                cost: &expected.cost,
                capacities: &rooms(set, capacities.as_deref())?,
                budget,
            };
            let goal = if word == "quality" { Goal::Quality } else { Goal::Cost { min_mean_quality: least } };
            chosen = assigned(&batch, goal, requests.len(), "budget_remaining")?
                .agents
                .iter()
                .map(|&agent| agent as usize)
                .collect();
        }
        let places = || chosen.iter().enumerate().map(|(row, agent)| row * agents + agent);
        let cost: f64 = places().map(|at| expected.cost[at]).sum();
        let quality = places().map(|at| expected.quality[at]).sum::<f64>() / requests.len() as f64;
        for (row, at) in places().enumerate() {
            rows.add(|| {
                Ok([
                    Some(Datum::from(row as i32 + 1)),
                    Some(text(&requests[row])),
                    Some(text(set.name(chosen[row]))),
                    number(expected.quality[at]),
                    number(expected.cost[at]),
                    number(expected.latency[at] * 1000.0),
                    number(quality),
                    number(cost),
                ])
            })?;
        }
        Ok(None)
    })
}

fn batch_policy(word: &str) -> Result<Named> {
    policy(word).map_err(|_| {
        let known: Vec<&str> = Named::ALL.iter().map(|policy| policy.as_str()).collect();
        refused("optimize_for", word, &format!("use total_cost, or one of {}", known.join(", ")))
    })
}

/// Solves a batch; `budget` is what the caller calls its budget.
fn assigned(batch: &Batch, goal: Goal, requests: usize, budget: &str) -> Result<Assigned> {
    if requests > 0 && batch.agents == 0 {
        let remedy = "register agents first";
        return Err(Failure::new((b"TD008", "no suitable agent"), "agents", "no agents", remedy));
    }
    if requests == 0 {
        return Ok(Assigned {
            agents: Vec::new(),
            cost: 0.0,
            quality: f64::NAN,
            bound: 0.0,
            gap: 0.0,
            multiplier: 0.0,
            prices: Vec::new(),
        });
    }
    batch.assign(goal).map_err(|mut error| {
        if error.field == "budget" {
            budget.clone_into(&mut error.field);
        }
        no_agent(error)
    })
}

/// Most requests of each agent.
fn rooms(set: &AgentSet, capacities: Option<&str>) -> Result<Vec<Option<usize>>> {
    let mut rooms = vec![None; set.len()];
    if let Some(json) = capacities {
        let given: BTreeMap<String, u32> = serde_json::from_str(json)
            .map_err(|error| refused("capacities", error, "give {\"agent\": most requests}"))?;
        for (name, most) in given {
            rooms[set.named("capacities", &name)?] = Some(most as usize);
        }
    }
    Ok(rooms)
}

/// `allocate_budget(tokens jsonb, monthly_budget, quality_threshold, latency_threshold_ms, requests_a_month double
/// precision) → SETOF`: a row an agent. `tokens` is a list of `[prompt, answer, requests]`: what was asked lately.
///
/// The mean quality is the highest that the budget pays for, by the engine's assignment of all these requests at once.
fn allocate_budget(call: &Call) -> Result<Option<Datum>> {
    let mut rows = Rows::of(call);
    let asked: Vec<(f64, f64, u32)> =
        serde_json::from_str(&call.datum(0).map_or(Ok("[]".to_owned()), jsonb)?).map_err(|error| {
            Failure::new(ARGUMENT, "tokens", error.to_string(), "give [[prompt, answer, requests], …]")
        })?;
    let budget = call.float(1).unwrap_or(f64::INFINITY);
    let (least, slowest) = (call.float(2), call.float(3));
    let month = call.float(4).unwrap_or(0.0);
    if budget.is_nan() || budget < 0.0 {
        return Err(refused("monthly_budget", budget, "give USD, 0 or more"));
    }
    if !(month.is_finite() && month >= 0.0) {
        return Err(refused("requests_a_month", month, "give a finite number, 0 or more"));
    }
    let total: f64 = asked.iter().map(|&(_, _, count)| f64::from(count)).sum();
    if total > MOST_REQUESTS {
        let remedy = "give counts that sum to at most 1,000,000: what is asked in which proportions";
        return Err(refused("tokens", format!("{total} requests"), remedy));
    }
    if total == 0.0 {
        return Ok(None);
    }
    if let Some(share) = least.filter(|share| !(0.0..=1.0).contains(share)) {
        return Err(refused("quality_threshold", share, "give a mean quality from 0 to 1"));
    }
    if let Some(bound) = slowest.filter(|bound| bound.is_nan() || *bound <= 0.0) {
        return Err(refused("latency_threshold_ms", bound, "give a time above 0: nothing takes none"));
    }
    registry::ask(|Registry { set, choices, .. }| {
        let agents = set.len();
        // Of so many requests a month, each of these stands for this many.
        let each = month / total;
        let mut usual = Expectations::with_room(agents);
        usual.add(set, &Query { policy: Named::Cost, now: registry::now(), ..Query::default() }, choices)?;
        // By what it takes on average, however long the answers here are.
        let slow = |seconds: f64| slowest.is_some_and(|most| seconds.is_nan() || seconds * 1000.0 > most);
        let mut expected = Expectations::with_room(agents * asked.len());
        for &(input, output, count) in asked.iter().filter(|&&(_, _, count)| count > 0) {
            pgrx::check_for_interrupts!();
            let query = Query {
                policy: Named::Cost,
                input_tokens: input,
                output_tokens: if output > 0.0 { output } else { f64::NAN },
                now: registry::now(),
                ..Query::default()
            };
            let from = expected.cost.len();
            expected.add(set, &query, choices)?;
            for (cost, latency) in expected.cost[from..].iter_mut().zip(&usual.latency) {
                *cost = if slow(*latency) { f64::NAN } else { *cost * each };
            }
            for _ in 1..count {
                expected.quality.extend_from_within(from..from + agents);
                expected.cost.extend_from_within(from..from + agents);
                expected.latency.extend_from_within(from..from + agents);
            }
        }
        let batch = Batch {
            agents,
            quality: &expected.quality,
            cost: &expected.cost,
            capacities: &vec![None; agents],
            budget,
        };
        let found = assigned(&batch, Goal::Quality, total as usize, "monthly_budget")?;
        let sufficient = least.is_none_or(|least| found.quality >= least - 1e-9);
        let mut shares = vec![Share::default(); agents];
        for (row, &agent) in found.agents.iter().enumerate() {
            let at = row * agents + agent as usize;
            let share = &mut shares[agent as usize];
            share.requests += 1.0;
            share.cost += expected.cost[at];
            share.quality += expected.quality[at];
            share.latency += expected.latency[at];
        }
        let mut order: Vec<usize> = (0..agents).collect();
        order.sort_by(|&one, &other| {
            let count = |agent: usize| shares[agent].requests;
            count(other).total_cmp(&count(one)).then_with(|| set.name(one).cmp(set.name(other)))
        });
        for agent in order {
            let Share { requests, cost, quality, latency } = shares[agent];
            rows.add(|| {
                Ok([
                    Some(text(set.name(agent))),
                    number(requests / total),
                    number(requests * each),
                    number(cost),
                    number(quality / requests),
                    number(latency / requests * 1000.0),
                    number(found.quality),
                    number(found.cost),
                    Some(Datum::from(sufficient)),
                ])
            })?;
        }
        Ok(None)
    })
}

/// What one agent gets.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    requests: f64,
    cost: f64,
    quality: f64,
    latency: f64,
}
