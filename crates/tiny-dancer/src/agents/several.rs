//! Several agents for one request: one after the other, side by side, or together.

use super::belief::normal;
use super::choose::{Choices, Expected, Query};
use super::set::AgentSet;
use crate::error::{Error, ErrorKind, Result};

/// Most capabilities of a pipeline or split: their orders are tried out.
pub const MOST_CAPABILITIES: usize = 12;

/// How several agents answer one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// One after the other, each what it is capable of: the required capabilities in their order, cut into steps.
    Pipeline,
    /// Side by side, each a part.
    Parallel,
    /// The same asked of all, their answers combined.
    Ensemble,
}

/// How the answers of an ensemble become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combined {
    /// By majority; of an even number, half of them is not enough.
    Vote,
    /// By a judge who finds a right answer where there is one.
    Judge,
}

/// One agent's part.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its row.
    pub agent: usize,
    /// Places among the required capabilities that it covers.
    pub covers: Vec<usize>,
    /// What is expected of it.
    pub expected: Expected,
}

/// Who does what, and what is expected of it all.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Step>,
    /// Of the whole answer: of a pipeline the product (a step builds on the one before), of parts the mean weighted by
    /// what they cover, of an ensemble the probability that the combined answer is right.
    pub quality: f64,
    /// USD of all.
    pub cost: f64,
    /// Seconds: of a pipeline the sum, else the longest.
    pub latency: f64,
    /// What the policy makes of these three.
    pub utility: f64,
}

#[cold]
#[inline(never)]
fn invalid(field: &str, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::OptionInvalid, field, value, remedy)
}

impl AgentSet {
    /// A pipeline: the required capabilities, in their order, cut into at most `most` steps, each done by the agent that
    /// the policy chooses for them; of all ways to cut them the one of highest utility, of equal ones that of fewest
    /// steps, then the first.
    ///
    /// # Errors
    /// As [`AgentSet::choose`]; `OptionInvalid` without capabilities, or too many; `NoFeasibleModel` where no cut leaves
    /// an agent for each step.
    pub fn pipeline(&self, query: &Query, most: usize, choices: &mut Choices) -> Result<Plan> {
        let count = checked(query, most)?;
        let policy = query.policy.policy(query.weights);
        let mut found: Vec<Option<Step>> = vec![None; count * (count + 1)];
        let mut failure = None;
        for from in 0..count {
            for to in from + 1..=count {
                let part = Query { required: &query.required[from..to], ..*query };
                match self.choose(&part, choices) {
                    Ok(choice) => {
                        found[from * (count + 1) + to] = Some(Step {
                            agent: choice.agent,
                            covers: (from..to).collect(),
                            expected: choice.expected,
                        });
                    }
                    Err(error) if error.kind == ErrorKind::NoFeasibleModel => {
                        if to == from + 1 {
                            failure = Some(error);
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let mut best: Option<Plan> = None;
        for cuts in 0_u32..1 << (count - 1) {
            if cuts.count_ones() as usize >= most {
                continue;
            }
            let ends = (1..=count).filter(|&at| at == count || cuts >> (at - 1) & 1 == 1);
            let mut from = 0;
            let steps: Option<Vec<Step>> = ends
                .map(|to| {
                    let step = found[from * (count + 1) + to].clone();
                    from = to;
                    step
                })
                .collect();
            let Some(steps) = steps else { continue };
            let quality = steps.iter().map(|step| step.expected.quality).product();
            let cost = steps.iter().map(|step| step.expected.cost.mean).sum();
            let latency = steps.iter().map(|step| step.expected.latency.mean).sum();
            let utility = policy.utility(quality, cost, latency);
            let better = best.as_ref().is_none_or(|other| {
                utility > other.utility || (utility >= other.utility && steps.len() < other.steps.len())
            });
            if better {
                best = Some(Plan { steps, quality, cost, latency, utility });
            }
        }
        best.ok_or_else(|| {
            failure.unwrap_or_else(|| {
                let value = format!("no {most} agents cover {}", query.required.join(", "));
                Error::new(ErrorKind::NoFeasibleModel, "agents", value, "allow more of them")
            })
        })
    }

    /// Parts side by side: each required capability goes to one of at most `most` agents. They are taken one by one, each
    /// the one that raises coverage most, then the sum of the utilities of the capabilities' agents (greedy: at least
    /// 1 − 1 / e of the best sum, Nemhauser, Wolsey and Fisher 1978). An agent that would raise neither is not taken.
    ///
    /// # Errors
    /// As [`AgentSet::pipeline`].
    pub fn parallel(&self, query: &Query, most: usize, choices: &mut Choices) -> Result<Plan> {
        let count = checked(query, most)?;
        let policy = query.policy.policy(query.weights);
        let mut columns: Vec<Vec<Option<Expected>>> = Vec::with_capacity(count);
        for at in 0..count {
            let part = Query { required: &query.required[at..=at], ..*query };
            self.choose(&part, choices)?;
            let column = choices.removed.iter().zip(&choices.expected);
            columns.push(column.map(|(by, expected)| by.is_none().then_some(*expected)).collect());
        }
        let mut taken: Vec<usize> = Vec::new();
        let mut at: Vec<Option<usize>> = vec![None; count];
        // Of one capability, the better of two agents.
        let better = |column: &[Option<Expected>], row: usize, than: Option<usize>| {
            let Some(expected) = column[row] else { return false };
            than.is_none_or(|other| {
                let beaten = column[other].map_or(f64::NEG_INFINITY, |expected| expected.utility);
                expected.utility > beaten
            })
        };
        while taken.len() < most {
            let mut best: Option<(usize, f64, usize)> = None;
            for row in (0..self.len()).filter(|row| !taken.contains(row)) {
                let (mut covered, mut gained) = (0, 0.0);
                for (column, &now) in columns.iter().zip(&at) {
                    if !better(column, row, now) {
                        continue;
                    }
                    let of = |row: usize| column[row].map_or(0.0, |expected| expected.utility);
                    match now {
                        None => {
                            covered += 1;
                            gained += of(row);
                        }
                        Some(other) => gained += of(row) - of(other),
                    }
                }
                let ahead = best.is_none_or(|(most, gain, other)| {
                    covered > most
                        || (covered == most
                            && (gained > gain || (gained >= gain && self.name(row) < self.name(other))))
                });
                if ahead && (covered > 0 || gained > 0.0) {
                    best = Some((covered, gained, row));
                }
            }
            let Some((_, _, row)) = best else { break };
            taken.push(row);
            for (column, now) in columns.iter().zip(&mut at) {
                if better(column, row, *now) {
                    *now = Some(row);
                }
            }
        }
        if let Some(left) = at.iter().position(Option::is_none) {
            let value = format!("no {most} agents cover {} too", query.required[left]);
            return Err(Error::new(ErrorKind::NoFeasibleModel, "agents", value, "allow more of them"));
        }
        let steps: Vec<Step> = taken
            .into_iter()
            .filter_map(|row| {
                let covers: Vec<usize> = (0..count).filter(|&each| at[each] == Some(row)).collect();
                let expected = columns[*covers.first()?][row]?;
                let share = covers.len() as f64;
                let quality = covers
                    .iter()
                    .filter_map(|&each| columns[each][row])
                    .map(|each| each.quality)
                    .sum::<f64>();
                Some(Step { agent: row, covers, expected: Expected { quality: quality / share, ..expected } })
            })
            .collect();
        let quality = steps.iter().map(|step| step.expected.quality * step.covers.len() as f64).sum::<f64>()
            / count as f64;
        let cost = steps.iter().map(|step| step.expected.cost.mean).sum();
        let latency = steps.iter().map(|step| step.expected.latency.mean).fold(0.0, longest);
        let utility = policy.utility(quality, cost, latency);
        Ok(Plan { steps, quality, cost, latency, utility })
    }

    /// Members of an ensemble: the policy's choice, then one by one whoever raises the utility of the combined answer
    /// most, until there are `number`.
    ///
    /// `correlation` is \[agents, agents\], of errors on the same requests; empty where nobody knows, for 0. A vote is
    /// right with the probability that more than half of the members are, normal about the sum of their qualities with
    /// the variance that the correlations give; a judge unless all are wrong, each given the one already there that errs
    /// most as it does.
    ///
    /// # Errors
    /// As [`AgentSet::choose`]; `NoFeasibleModel` where fewer are suitable.
    pub fn ensemble(
        &self,
        query: &Query,
        number: usize,
        combined: Combined,
        correlation: &[f64],
        choices: &mut Choices,
    ) -> Result<Plan> {
        let rows = self.len();
        if number < 2 {
            return Err(invalid("num_agents", number, "ask at least two"));
        }
        if !(correlation.is_empty() || correlation.len() == rows * rows) {
            return Err(invalid("correlation", correlation.len(), "give a row and a column an agent"));
        }
        let first = self.choose(query, choices)?;
        if first.suitable < number {
            let found = format!("{} suitable of {number} asked for", first.suitable);
            let mut error = self.nobody(&choices.removed);
            error.value = format!("{found}; {}", error.value);
            return Err(error);
        }
        let policy = query.policy.policy(query.weights);
        let expected = &choices.expected;
        let together = |members: &[usize]| {
            let quality = match combined {
                Combined::Vote => vote(members, expected, correlation, rows),
                Combined::Judge => judged(members, expected, correlation, rows),
            };
            let cost = members.iter().map(|&row| expected[row].cost.mean).sum();
            let latency = members.iter().map(|&row| expected[row].latency.mean).fold(0.0, longest);
            (quality, cost, latency, policy.utility(quality, cost, latency))
        };
        let mut members = vec![first.agent];
        while members.len() < number {
            let mut best: Option<(usize, f64)> = None;
            for row in (0..rows).filter(|&row| choices.removed[row].is_none()) {
                if members.contains(&row) {
                    continue;
                }
                members.push(row);
                let (_, _, _, utility) = together(&members);
                members.pop();
                let ahead = best.is_none_or(|(other, most)| {
                    utility > most || (utility >= most && self.precedes(row, other, expected))
                });
                if ahead {
                    best = Some((row, utility));
                }
            }
            let Some((row, _)) = best else { break };
            members.push(row);
        }
        let (quality, cost, latency, utility) = together(&members);
        let all: Vec<usize> = (0..query.required.len()).collect();
        let step = |&row: &usize| Step { agent: row, covers: all.clone(), expected: expected[row] };
        Ok(Plan { steps: members.iter().map(step).collect(), quality, cost, latency, utility })
    }
}

fn checked(query: &Query, most: usize) -> Result<usize> {
    let count = query.required.len();
    if most == 0 {
        return Err(invalid("num_agents", most, "allow at least one"));
    }
    if count == 0 || count > MOST_CAPABILITIES {
        let remedy = format!("name 1 to {MOST_CAPABILITIES} capabilities to be shared out");
        return Err(invalid("required_capabilities", count, &remedy));
    }
    Ok(count)
}

/// The longer of two times; unknown where one is.
fn longest(one: f64, other: f64) -> f64 {
    if one.is_nan() || other.is_nan() { f64::NAN } else { one.max(other) }
}

fn between(correlation: &[f64], rows: usize, one: usize, other: usize) -> f64 {
    correlation.get(one * rows + other).copied().unwrap_or(0.0)
}

fn deviation(expected: &Expected) -> f64 {
    libm::sqrt(expected.quality * (1.0 - expected.quality))
}

fn vote(members: &[usize], expected: &[Expected], correlation: &[f64], rows: usize) -> f64 {
    if let [alone] = members {
        return expected[*alone].quality;
    }
    let (mut mean, mut variance) = (0.0, 0.0);
    for (place, &one) in members.iter().enumerate() {
        mean += expected[one].quality;
        variance += expected[one].quality * (1.0 - expected[one].quality);
        for &other in &members[..place] {
            let both = deviation(&expected[one]) * deviation(&expected[other]);
            variance += 2.0 * between(correlation, rows, one, other) * both;
        }
    }
    // Votes are whole: between the last number that is too few and the first that is enough.
    let needed = (members.len() / 2) as f64 + 0.5;
    if variance > 0.0 {
        normal((mean - needed) / libm::sqrt(variance))
    } else {
        f64::from(u8::from(mean > needed))
    }
}

fn judged(members: &[usize], expected: &[Expected], correlation: &[f64], rows: usize) -> f64 {
    let mut all_wrong = 1.0;
    for (place, &one) in members.iter().enumerate() {
        let wrong = 1.0 - expected[one].quality;
        let given = members[..place].iter().map(|&other| {
            let other_wrong = 1.0 - expected[other].quality;
            if other_wrong <= 0.0 {
                return wrong;
            }
            let both = deviation(&expected[one]) * deviation(&expected[other]);
            let joint = wrong * other_wrong + between(correlation, rows, one, other) * both;
            (joint / other_wrong).clamp(0.0, 1.0)
        });
        all_wrong *= given.fold(wrong, f64::max);
    }
    1.0 - all_wrong
}
