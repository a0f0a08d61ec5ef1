//! A whole batch at once: which agent answers which request, so that all together cost least or answer best.
//!
//! The problem is to minimise Σ a over the assignments where Σ b ≤ B and no agent has more requests than its capacity: a
//! is the cost and b = −quality where cost is minimised, the other way round where quality is maximised. Its Lagrangian
//! relaxation has one multiplier λ for the sum and one price ν a capacity; whatever they are,
//! Σ min (a + λ b + ν) − λ B − Σ ν K is no more than the optimum of the linear programme, so that the gap can be stated.
//!
//! λ is found by interpolation between one that is within the limit and one that is not. Without capacities each request
//! takes what is least at λ. With them, the best assignment at each λ is found from a first one by cancelling negative
//! cycles among the agents (Klein 1967). The first one is what requests prefer at the λ and the prices of a quarter of
//! them, spread evenly, with a quarter of all capacities: those are solved in the same way, the smallest lot from prices
//! that are set turn by turn (so many requests prefer the agent as it can take: coordinate ascent on the dual, Bertsekas,
//! Nonlinear Programming, 6.3). The answer is then repaired: requests move where the sum is not yet met, or where it
//! leaves something over. With one sum and many requests the linear programme splits one request only (Dantzig 1957), so
//! the gap is of the size of one request.

use std::cmp::Ordering;

use crate::error::{Error, ErrorKind, Result};
use crate::sort;

/// Turns of the coordinate ascent before the first assignment.
const ROUGH_SWEEPS: usize = 6;
/// Improvements of one assignment, or as many as there are requests.
const MOST_CYCLES: usize = 1000;
/// λ tried; of parts of the requests.
const MOST_STEPS: usize = 40;
const PART_STEPS: usize = 14;
/// Beyond this ratio of two λ, the assignment at one is no help with the other.
const FAR: f64 = 2.0;
/// Lots of no more requests are solved without a smaller one before.
const SMALL_LOT: usize = 600;
/// How near λ of a part of the requests has to be to its best.
const PART_PRECISION: f64 = 0.01;
/// Cost of an agent that must not answer, in the largest cost of all.
const NEVER: f64 = 1e4;
/// The same of all of them.
const PRECISION: f64 = 1e-6;
/// Gap that is good enough.
const ENOUGH: f64 = 4e-4;
/// Up to this many requests, pairs of them are tried in each other's place.
const FEW: usize = 400;

/// What is wanted of the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Least total cost.
    Cost {
        /// Mean quality that must be reached; `None` for any.
        min_mean_quality: Option<f64>,
    },
    /// Highest mean quality.
    Quality,
}

/// Requests and agents.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Number of agents, m.
    pub agents: usize,
    /// Expected quality, \[n, m\].
    pub quality: &'a [f64],
    /// Expected USD, \[n, m\]; NaN where an agent must not answer a request.
    pub cost: &'a [f64],
    /// Most requests of each agent; `None` for any number.
    pub capacities: &'a [Option<usize>],
    /// USD of all; infinity for no bound.
    pub budget: f64,
}

/// Which agent answers which request.
#[derive(Clone, Debug, PartialEq)]
pub struct Assigned {
    /// The agent of each request.
    pub agents: Vec<u32>,
    /// USD of all.
    pub cost: f64,
    /// Mean quality.
    pub quality: f64,
    /// What no assignment can beat: total USD, or mean quality.
    pub bound: f64,
    /// Difference to it as a share of it.
    pub gap: f64,
    /// λ: USD that one more unit of summed quality costs, or quality that one more USD brings.
    pub multiplier: f64,
    /// By agent, what one more request of capacity would save or bring; 0 where its capacity does not bind.
    pub prices: Vec<f64>,
}

#[cold]
#[inline(never)]
fn impossible(field: &str, value: impl Into<String>, remedy: &str) -> Error {
    let (field, remedy) = (field.to_owned(), remedy.to_owned());
    Error { kind: ErrorKind::NoFeasibleModel, field, value: value.into(), remedy }
}

/// The order of moves of requests to agents: by a number, then by request.
fn by_number_and_row(one: &(f64, u32, u32), two: &(f64, u32, u32)) -> Ordering {
    one.0.total_cmp(&two.0).then(one.1.cmp(&two.1))
}

#[cold]
#[inline(never)]
fn invalid(field: &str, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::OptionInvalid, field, value, remedy)
}

impl Batch<'_> {
    fn rows(&self) -> usize {
        self.quality.len().checked_div(self.agents).unwrap_or(0)
    }

    fn check(&self) -> Result<()> {
        let sound = self.agents > 0
            && self.quality.len() == self.cost.len()
            && self.quality.len().is_multiple_of(self.agents)
            && self.capacities.len() == self.agents;
        if !sound {
            return Err(invalid(
                "quality",
                self.quality.len(),
                "give one quality and one cost a request and agent",
            ));
        }
        let allowed = |at: &usize| !self.cost[*at].is_nan();
        let all = || (0..self.cost.len()).filter(allowed);
        if let Some(at) = all().find(|&at| !(0.0..=1e12).contains(&self.cost[at])) {
            return Err(invalid("cost", self.cost[at], "give finite USD, 0 or more"));
        }
        if let Some(at) = all().find(|&at| !(0.0..=1.0).contains(&self.quality[at])) {
            return Err(invalid("quality", self.quality[at], "give numbers from 0 to 1"));
        }
        if self.budget.is_nan() || self.budget < 0.0 {
            return Err(invalid("budget", self.budget, "give USD, 0 or more"));
        }
        let rows = self.rows();
        for row in 0..rows {
            if !(row * self.agents..(row + 1) * self.agents).any(|at| allowed(&at)) {
                let value = format!("request {row}: every agent was removed");
                return Err(impossible("agents", value, "relax its constraints, or leave it out"));
            }
        }
        if self.capacities.iter().all(Option::is_some) {
            let room: usize = self.capacities.iter().flatten().fold(0, |sum, each| sum.saturating_add(*each));
            if room < rows {
                let value = format!("{room} for {rows} requests");
                return Err(impossible("capacities", value, "raise them, or send fewer requests"));
            }
        }
        Ok(())
    }

    /// Solves it.
    ///
    /// # Errors
    /// `OptionInvalid`: numbers that cannot be. `NoFeasibleModel`: no assignment meets quality, budget and capacities;
    /// it says what can be reached.
    pub fn assign(&self, goal: Goal) -> Result<Assigned> {
        self.check()?;
        let rows = self.rows();
        if rows == 0 {
            let (cost, quality, bound) = (0.0, f64::NAN, 0.0);
            let (agents, prices) = (Vec::new(), vec![0.0; self.agents]);
            return Ok(Assigned { agents, cost, quality, bound, gap: 0.0, multiplier: 0.0, prices });
        }
        match goal {
            Goal::Quality => self.best(self.budget),
            Goal::Cost { min_mean_quality } => {
                if let Some(least) = min_mean_quality.filter(|least| !(0.0..=1.0).contains(least)) {
                    return Err(invalid("min_mean_quality", least, "give a number from 0 to 1"));
                }
                let negative: Vec<f64> = self.quality.iter().map(|quality| -quality).collect();
                let limit = min_mean_quality.map_or(f64::INFINITY, |least| -least * rows as f64 + 1e-9);
                let mut solver = Solver::new(self, self.cost, &negative, limit);
                let Some(choice) = solver.solve()? else {
                    let best = self.best(f64::INFINITY)?;
                    let least = min_mean_quality.unwrap_or_default();
                    let value = format!("{least} of at most {:.6} within the capacities", best.quality);
                    return Err(impossible("min_mean_quality", value, "ask for less, or raise capacities"));
                };
                let found = self.answer(choice, &solver, solver.bound);
                if found.cost > self.budget {
                    let value =
                        format!("{} USD, and what was asked for costs {:.6}", self.budget, found.cost);
                    return Err(impossible("budget", value, "raise it, or ask for less quality"));
                }
                Ok(found)
            }
        }
    }

    /// The highest quality within a budget.
    fn best(&self, budget: f64) -> Result<Assigned> {
        let negative: Vec<f64> = self.quality.iter().map(|quality| -quality).collect();
        let mut solver = Solver::new(self, &negative, self.cost, budget);
        let Some(choice) = solver.solve()? else {
            let least = self.assign_cheapest()?;
            let value = format!("{budget} USD, and the cheapest assignment costs {least:.6}");
            return Err(impossible("budget", value, "raise it, or send fewer requests"));
        };
        let bound = -solver.bound / self.rows() as f64;
        Ok(self.answer(choice, &solver, bound))
    }

    fn assign_cheapest(&self) -> Result<f64> {
        let anything = Batch { budget: f64::INFINITY, ..*self };
        anything.assign(Goal::Cost { min_mean_quality: None }).map(|found| found.cost)
    }

    fn answer(&self, agents: Vec<u32>, solver: &Solver, bound: f64) -> Assigned {
        let at = |values: &[f64]| {
            agents
                .iter()
                .enumerate()
                .map(|(row, &agent)| values[row * self.agents + agent as usize])
                .sum::<f64>()
        };
        let (cost, quality) = (at(self.cost), at(self.quality) / self.rows() as f64);
        let (multiplier, prices) = (solver.lambda, solver.prices.clone());
        Assigned { cost, quality, bound, gap: solver.gap, multiplier, prices, agents }
    }
}

/// Numbers of a part of the requests.
#[derive(Default)]
struct Tables {
    a: Vec<f64>,
    b: Vec<f64>,
    forbidden: Vec<f64>,
}

/// min Σ a, Σ b ≤ limit.
struct Solver<'a> {
    rows: usize,
    agents: usize,
    a: &'a [f64],
    b: &'a [f64],
    forbidden: &'a [f64],
    limit: f64,
    capacities: Vec<usize>,
    lambda: f64,
    prices: Vec<f64>,
    /// a + λ b + ν, \[rows, agents\]; infinite where forbidden.
    worth: Vec<f64>,
    /// The least and the next of each row.
    first: Vec<u32>,
    next: Vec<u32>,
    /// The best at the present λ; empty before the first.
    choice: Vec<u32>,
    bound: f64,
    gap: f64,
}

impl<'a> Solver<'a> {
    fn new(batch: &Batch<'a>, a: &'a [f64], b: &'a [f64], limit: f64) -> Self {
        let (rows, agents) = (batch.rows(), batch.agents);
        Self {
            rows,
            agents,
            a,
            b,
            forbidden: batch.cost,
            limit,
            capacities: batch.capacities.iter().map(|most| most.unwrap_or(rows).min(rows)).collect(),
            lambda: 0.0,
            prices: vec![0.0; agents],
            worth: vec![0.0; rows * agents],
            first: vec![0; rows],
            next: vec![0; rows],
            choice: Vec::new(),
            bound: f64::NEG_INFINITY,
            gap: f64::INFINITY,
        }
    }

    fn allowed(&self, row: usize, agent: usize) -> bool {
        !self.forbidden[row * self.agents + agent].is_nan() && self.capacities[agent] > 0
    }

    fn refresh(&mut self) {
        for row in 0..self.rows {
            for agent in 0..self.agents {
                let at = row * self.agents + agent;
                self.worth[at] = if self.allowed(row, agent) {
                    self.a[at] + self.lambda * self.b[at] + self.prices[agent]
                } else {
                    f64::INFINITY
                };
            }
            self.rank(row);
        }
    }

    fn rank(&mut self, row: usize) {
        let worth = &self.worth[row * self.agents..(row + 1) * self.agents];
        let (mut first, mut low) = (0, f64::INFINITY);
        let (mut next, mut second) = (0, f64::INFINITY);
        for (agent, &value) in worth.iter().enumerate() {
            if value < low {
                (next, second) = (first, low);
                (first, low) = (agent, value);
            } else if value < second {
                (next, second) = (agent, value);
            }
        }
        // With one agent left, the next is itself at an infinite price.
        self.first[row] = first as u32;
        self.next[row] = if second.is_finite() { next as u32 } else { u32::MAX };
    }

    fn low(&self, row: usize) -> f64 {
        self.worth[row * self.agents + self.first[row] as usize]
    }

    fn second(&self, row: usize) -> f64 {
        let next = self.next[row];
        if next == u32::MAX { f64::INFINITY } else { self.worth[row * self.agents + next as usize] }
    }

    /// Σ b of what each request prefers at a multiplier.
    fn sum_at(&self, lambda: f64) -> f64 {
        let mut sum = 0.0;
        for row in 0..self.rows {
            let (mut low, mut taken) = (f64::INFINITY, 0.0);
            let from = row * self.agents;
            for agent in 0..self.agents {
                let at = from + agent;
                if self.forbidden[at].is_nan() || self.capacities[agent] == 0 {
                    continue;
                }
                let value = self.a[at] + lambda * self.b[at] + self.prices[agent];
                if value < low {
                    (low, taken) = (value, self.b[at]);
                }
            }
            sum += taken;
        }
        sum
    }

    /// The multiplier that is best given the prices, to a precision; false where none brings the sum within its limit.
    fn find_lambda(&mut self, precision: f64) -> bool {
        if self.limit.is_infinite() || self.sum_at(0.0) <= self.limit {
            self.lambda = 0.0;
            return true;
        }
        let size = |values: &[f64]| {
            let finite = values.iter().filter(|value| value.is_finite());
            let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| {
                (low.min(value), high.max(value))
            });
            (high - low).max(1e-300)
        };
        let usual = size(self.a) / size(self.b);
        let (mut low, mut high) = (0.0, f64::INFINITY);
        let mut at = if self.lambda > 0.0 { self.lambda } else { usual / 16.0 };
        let mut width = if self.lambda > 0.0 { 1.02 } else { 4.0 };
        for _ in 0..200 {
            if self.sum_at(at) <= self.limit {
                high = at;
                if low > 0.0 || at < usual * 1e-12 {
                    break;
                }
                at /= width;
            } else {
                low = at;
                if high.is_finite() {
                    break;
                }
                if at > usual * 1e12 {
                    return false;
                }
                at *= width;
            }
            width *= width;
        }
        while high - low > precision * high {
            let middle = f64::midpoint(low, high);
            if self.sum_at(middle) <= self.limit {
                high = middle;
            } else {
                low = middle;
            }
        }
        self.lambda = high;
        true
    }

    /// Sets an agent's price so that as many requests prefer it as it can take.
    fn find_price(&mut self, agent: usize, room: &mut Vec<f64>) {
        let capacity = self.capacities[agent];
        if capacity == 0 || capacity >= self.rows {
            return;
        }
        room.clear();
        for row in 0..self.rows {
            let own = self.worth[row * self.agents + agent] - self.prices[agent];
            let other = if self.first[row] as usize == agent { self.second(row) } else { self.low(row) };
            // How dear it may be and still be preferred.
            let most = if own.is_infinite() { f64::NEG_INFINITY } else { other - own };
            room.push(most);
        }
        let (above, next, _) = sort::many::select_by(room, capacity, |one, two| two.total_cmp(one));
        let last = above.iter().copied().fold(f64::INFINITY, f64::min);
        let next = *next;
        let price = if next <= 0.0 {
            0.0
        } else if last.is_finite() {
            f64::midpoint(last, next)
        } else {
            next
        };
        if !price.is_finite() {
            return;
        }
        let by = price - self.prices[agent];
        if by.abs() <= 0.0 {
            return;
        }
        self.prices[agent] = price;
        for row in 0..self.rows {
            let at = row * self.agents + agent;
            if self.worth[at].is_infinite() {
                continue;
            }
            self.worth[at] += by;
            let (worth, was_first) = (self.worth[at], self.first[row] as usize == agent);
            let was_next = self.next[row] as usize == agent;
            if was_first {
                if worth > self.second(row) {
                    self.rank(row);
                }
            } else if worth < self.low(row) {
                self.next[row] = self.first[row];
                self.first[row] = agent as u32;
            } else if (was_next && by > 0.0) || (!was_next && worth < self.second(row)) {
                self.rank(row);
            }
        }
    }

    fn dual(&self) -> f64 {
        let least: f64 = (0..self.rows).map(|row| self.low(row)).sum();
        let prices: f64 =
            self.prices.iter().zip(&self.capacities).map(|(price, &room)| price * room as f64).sum();
        let limit = if self.lambda > 0.0 { self.lambda * self.limit } else { 0.0 };
        least - limit - prices
    }

    /// The best assignment within the capacities at the present λ, with its prices; gives Σ b of it.
    fn settle(&mut self, room: &mut Vec<f64>) -> f64 {
        if self.choice.is_empty() {
            self.refresh();
            for agent in 0..self.agents {
                self.find_price(agent, room);
            }
            self.choice = self.round();
        }
        let mut choice = std::mem::take(&mut self.choice);
        self.cancel(&mut choice);
        self.refresh();
        self.bound = self.bound.max(self.dual());
        let sum = self.sum(self.b, &choice);
        self.choice = choice;
        sum
    }

    /// Makes an assignment the best at the present λ, and finds its prices.
    fn cancel(&mut self, choice: &mut [u32]) {
        let mut graph = Graph::new(self, choice);
        for _ in 0..MOST_CYCLES.max(self.rows) {
            let moves = graph.cycle(self);
            if moves.is_empty() {
                break;
            }
            graph.apply(self, &moves, choice);
        }
        let free = graph.distances[self.agents];
        self.prices =
            graph.distances[..self.agents].iter().map(|distance| (free - distance).max(0.0)).collect();
    }

    /// The best assignment that was found; none where none is within the limit.
    ///
    /// # Errors
    /// `NoFeasibleModel` where capacities leave requests without an agent that may answer them.
    fn solve(&mut self) -> Result<Option<Vec<u32>>> {
        let limited = (0..self.agents).any(|agent| self.capacities[agent] < self.rows);
        let mut best: Option<(f64, Vec<u32>)> = None;
        if limited {
            let mut room = Vec::with_capacity(self.rows);
            let start = self.start(&mut room);
            self.search(start, PRECISION, &mut best, &mut room);
            let left = self.choice.iter().enumerate();
            let left = left.filter(|&(row, &agent)| !self.allowed(row, agent as usize)).count();
            if left > 0 {
                let value = format!("{left} of {} requests are left without an agent", self.rows);
                let remedy = "raise those of agents that may answer them, or send fewer requests";
                return Err(impossible("capacities", value, remedy));
            }
        } else if self.find_lambda(1e-7) {
            self.refresh();
            self.bound = self.dual();
            self.keep(self.first.clone(), &mut best);
            if self.rows <= FEW && self.limit.is_finite() {
                self.keep(self.one_by_one(), &mut best);
            }
        }
        let Some((value, choice)) = best else { return Ok(None) };
        let gap = (value - self.bound).max(0.0);
        self.gap = if gap > 0.0 { gap / self.bound.abs().max(1e-300) } else { 0.0 };
        Ok(Some(choice))
    }

    /// The least Σ a within the limit of those assignments that take, of each request, the least a among the agents whose b
    /// is no more than one number for all; where there is none, the least b. What one by one can do is among them, which
    /// one multiplier for few requests may miss.
    fn one_by_one(&self) -> Vec<u32> {
        let at = |row: usize, agent: u32| row * self.agents + agent as usize;
        // The least a of a row among those with b below a number; of equal ones the least b.
        let cheapest = |row: usize, below: f64| {
            let able = (0..self.agents as u32)
                .filter(|&agent| self.allowed(row, agent as usize) && self.b[at(row, agent)] < below);
            able.min_by(|&one, &two| {
                let (one, two) = (at(row, one), at(row, two));
                self.a[one].total_cmp(&self.a[two]).then(self.b[one].total_cmp(&self.b[two]))
            })
        };
        let mut choice: Vec<u32> =
            (0..self.rows).map(|row| cheapest(row, f64::INFINITY).unwrap_or_default()).collect();
        let mut bounds: Vec<(f64, u32)> = (0..self.rows)
            .flat_map(|row| (0..self.agents as u32).map(move |agent| (row, agent)))
            .filter(|&(row, agent)| self.allowed(row, agent as usize))
            .map(|(row, agent)| (self.b[at(row, agent)], row as u32))
            .collect();
        sort::many::unstable_by(&mut bounds, |one, two| two.0.total_cmp(&one.0).then(one.1.cmp(&two.1)));
        let mut best = choice.clone();
        let mut least = f64::INFINITY;
        let mut next = 0;
        loop {
            if self.sum(self.b, &choice) <= self.limit {
                let value = self.sum(self.a, &choice);
                if value < least {
                    least = value;
                    best.clone_from(&choice);
                }
            }
            // Down to the next bound that somebody's choice exceeds.
            let mut changed = false;
            while let Some(&(bound, row)) = bounds.get(next) {
                if changed && bounds[next - 1].0 > bound {
                    break;
                }
                next += 1;
                let row = row as usize;
                if self.b[at(row, choice[row])] >= bound
                    && let Some(agent) = cheapest(row, bound)
                {
                    choice[row] = agent;
                    changed = true;
                }
            }
            if !changed {
                return best;
            }
        }
    }

    /// Sets prices and gives λ, near those sought for: of a quarter of the requests, or turn by turn.
    fn start(&mut self, room: &mut Vec<f64>) -> f64 {
        if self.rows > SMALL_LOT {
            return self.start_by_part(room);
        }
        for _ in 0..ROUGH_SWEEPS {
            if !self.find_lambda(1e-3) {
                break;
            }
            self.refresh();
            for agent in 0..self.agents {
                self.find_price(agent, room);
            }
        }
        // Whether the limit binds at all is cheap to see among so few.
        let near = std::mem::take(&mut self.lambda);
        if self.settle(room) <= self.limit { 0.0 } else { near }
    }

    fn start_by_part(&mut self, room: &mut Vec<f64>) -> f64 {
        let mut held = Tables::default();
        let mut part = self.part(&mut held);
        let start = part.start(room);
        part.search(start, PART_PRECISION, &mut None, room);
        let Solver { prices, lambda, .. } = part;
        self.prices = prices;
        lambda
    }

    /// [`Self::settle`] at a λ that is far from the one before.
    fn settle_anew(&mut self, room: &mut Vec<f64>) -> f64 {
        if self.rows > SMALL_LOT {
            let mut held = Tables::default();
            let mut part = self.part(&mut held);
            part.settle_anew(room);
            let prices = part.prices;
            self.prices = prices;
        }
        self.choice.clear();
        self.settle(room)
    }

    /// A quarter of the requests with a quarter of all capacities.
    fn part<'b>(&self, held: &'b mut Tables) -> Solver<'b> {
        let rows = self.rows / 4;
        // Steps of the golden ratio of all: evenly spread whatever order the requests come in.
        let mut step = (self.rows as f64 * 0.618_033_988_749_895) as usize;
        while common_divisor(step, self.rows) > 1 {
            step += 1;
        }
        let mut at = 0;
        for _ in 0..rows {
            let row = at * self.agents..(at + 1) * self.agents;
            held.a.extend_from_slice(&self.a[row.clone()]);
            held.b.extend_from_slice(&self.b[row.clone()]);
            held.forbidden.extend_from_slice(&self.forbidden[row]);
            at = (at + step) % self.rows;
        }
        Solver {
            rows,
            agents: self.agents,
            a: &held.a,
            b: &held.b,
            forbidden: &held.forbidden,
            limit: self.limit * (rows as f64 / self.rows as f64),
            capacities: self.capacities.iter().map(|most| (most * rows).div_ceil(self.rows)).collect(),
            lambda: self.lambda,
            prices: vec![0.0; self.agents],
            worth: vec![0.0; rows * self.agents],
            first: vec![0; rows],
            next: vec![0; rows],
            choice: Vec::new(),
            bound: f64::NEG_INFINITY,
            gap: f64::INFINITY,
        }
    }

    /// λ between one that is within the limit and one that is not, prices settled at each; all of the requests where
    /// `precision` is that of all, and their assignments kept.
    fn search(
        &mut self,
        start: f64,
        precision: f64,
        best: &mut Option<(f64, Vec<u32>)>,
        room: &mut Vec<f64>,
    ) {
        let usual = (largest(self.a) / largest(self.b).max(1e-300)).max(1e-300);
        let all = precision <= PRECISION;
        let (mut low, mut high) = (None::<(f64, f64)>, None::<(f64, f64)>);
        let mut at = start;
        // It is near: wider and wider steps find both ends.
        let mut step = 1.02;
        for _ in 0..if all { MOST_STEPS } else { PART_STEPS } {
            let far = !(at <= self.lambda * FAR && self.lambda <= at * FAR);
            self.lambda = at;
            let sum = if far { self.settle_anew(room) } else { self.settle(room) };
            if sum <= self.limit {
                high = Some((at, sum));
            } else {
                low = Some((at, sum));
            }
            if all {
                self.keep(self.choice.clone(), best);
                if let Some((value, _)) = best.as_ref()
                    && *value - self.bound <= ENOUGH * self.bound.abs()
                {
                    return;
                }
            }
            at = match (low, high) {
                (_, Some((high, _))) if high <= 0.0 => return,
                (Some((low, above)), Some((high, below))) => {
                    if high - low <= precision * high {
                        return;
                    }
                    // Where a line through both ends meets the limit, kept away from the ends.
                    let share = (above - self.limit) / (above - below);
                    low + (high - low) * share.clamp(0.1, 0.9)
                }
                (Some((low, _)), None) => {
                    if low > 1e9 * usual {
                        return;
                    }
                    step *= step;
                    if low > 0.0 { low * step } else { usual * 1e-3 }
                }
                (None, Some((high, _))) => {
                    step *= step;
                    if step > 1e3 { 0.0 } else { high / step }
                }
                (None, None) => return,
            };
        }
    }

    /// Keeps an assignment where it is, or can be made, the best so far that is within the limit.
    fn keep(&self, mut choice: Vec<u32>, best: &mut Option<(f64, Vec<u32>)>) {
        let allowed = choice.iter().enumerate().all(|(row, &agent)| self.allowed(row, agent as usize));
        if !allowed || !self.repair(&mut choice) {
            return;
        }
        self.improve(&mut choice);
        let value = self.sum(self.a, &choice);
        if best.as_ref().is_none_or(|(least, _)| value < *least) {
            *best = Some((value, choice));
        }
    }

    fn sum(&self, values: &[f64], choice: &[u32]) -> f64 {
        choice.iter().enumerate().map(|(row, &agent)| values[row * self.agents + agent as usize]).sum()
    }

    fn loads(&self, choice: &[u32]) -> Vec<usize> {
        let mut loads = vec![0; self.agents];
        for &agent in choice {
            loads[agent as usize] += 1;
        }
        loads
    }

    /// What requests prefer, within the capacities; where nothing else has room, with an agent that must not answer.
    fn round(&self) -> Vec<u32> {
        let mut choice = self.first.clone();
        let mut loads = self.loads(&choice);
        loop {
            if (0..self.agents).all(|agent| loads[agent] <= self.capacities[agent]) {
                return choice;
            }
            let mut moves: Vec<(f64, u32, u32)> = Vec::new();
            for (row, &agent) in choice.iter().enumerate() {
                let agent = agent as usize;
                if loads[agent] <= self.capacities[agent] {
                    continue;
                }
                let worth = &self.worth[row * self.agents..(row + 1) * self.agents];
                let mut least: Option<(f64, usize)> = None;
                for (other, &value) in worth.iter().enumerate() {
                    let free = other != agent && loads[other] < self.capacities[other];
                    if free && least.is_none_or(|(low, _)| value < low) {
                        least = Some((value, other));
                    }
                }
                if let Some((value, other)) = least {
                    moves.push((value - worth[agent], row as u32, other as u32));
                }
            }
            sort::many::stable_by(&mut moves, by_number_and_row);
            for (_, row, other) in moves {
                let (from, to) = (choice[row as usize] as usize, other as usize);
                if loads[from] > self.capacities[from] && loads[to] < self.capacities[to] {
                    choice[row as usize] = other;
                    loads[from] -= 1;
                    loads[to] += 1;
                }
            }
        }
    }

    /// Moves requests until the sum is within its limit, those first of which a unit of it costs least.
    fn repair(&self, choice: &mut [u32]) -> bool {
        let mut sum = self.sum(self.b, choice);
        let mut loads = self.loads(choice);
        while sum > self.limit {
            let mut moves: Vec<(f64, u32, u32)> = Vec::new();
            for (row, &chosen) in choice.iter().enumerate() {
                let here = row * self.agents + chosen as usize;
                let mut least: Option<(f64, usize)> = None;
                for (agent, &load) in loads.iter().enumerate() {
                    let at = row * self.agents + agent;
                    let less = self.b[here] - self.b[at];
                    if load >= self.capacities[agent] || !self.allowed(row, agent) || less <= 0.0 {
                        continue;
                    }
                    let price = (self.a[at] - self.a[here]) / less;
                    if least.is_none_or(|(low, _)| price < low) {
                        least = Some((price, agent));
                    }
                }
                if let Some((price, agent)) = least {
                    moves.push((price, row as u32, agent as u32));
                }
            }
            sort::many::stable_by(&mut moves, by_number_and_row);
            let before = sum;
            for (_, row, agent) in moves {
                if sum <= self.limit {
                    break;
                }
                let (from, to) = (choice[row as usize] as usize, agent as usize);
                if loads[to] < self.capacities[to] {
                    let at = row as usize * self.agents;
                    sum += self.b[at + to] - self.b[at + from];
                    choice[row as usize] = agent;
                    loads[from] -= 1;
                    loads[to] += 1;
                }
            }
            if sum >= before {
                return false;
            }
        }
        // What was added up bit by bit.
        self.sum(self.b, choice) <= self.limit
    }

    /// Spends what the sum leaves over, while something gets better by it.
    fn improve(&self, choice: &mut [u32]) {
        let mut loads = self.loads(choice);
        for _ in 0..8 {
            let mut left = self.limit - self.sum(self.b, choice);
            let mut moves: Vec<(f64, u32, u32)> = Vec::new();
            for (row, &chosen) in choice.iter().enumerate() {
                let here = row * self.agents + chosen as usize;
                for (agent, &load) in loads.iter().enumerate() {
                    let at = row * self.agents + agent;
                    let (gained, more) = (self.a[here] - self.a[at], self.b[at] - self.b[here]);
                    let possible = load < self.capacities[agent] && self.allowed(row, agent);
                    if possible && gained > 1e-15 && more <= left {
                        // What costs nothing of the sum comes first, then what gains most for a unit of it.
                        let rate = if more > 0.0 { gained / more } else { f64::INFINITY };
                        moves.push((-rate, row as u32, agent as u32));
                    }
                }
            }
            sort::many::stable_by(&mut moves, by_number_and_row);
            let mut any = false;
            let mut done = vec![false; self.rows];
            for (_, row, agent) in moves {
                let (place, to) = (row as usize, agent as usize);
                let from = choice[place] as usize;
                let more = self.b[place * self.agents + to] - self.b[place * self.agents + from];
                if !done[place] && loads[to] < self.capacities[to] && more <= left {
                    left -= more;
                    choice[place] = agent;
                    loads[from] -= 1;
                    loads[to] += 1;
                    done[place] = true;
                    any = true;
                }
            }
            let swapped = self.rows <= FEW && self.swap(choice);
            if !any && !swapped {
                break;
            }
        }
    }

    /// Puts pairs of requests in each other's place, and pairs of them on other agents, where that is better.
    fn swap(&self, choice: &mut [u32]) -> bool {
        let mut left = self.limit - self.sum(self.b, choice);
        let mut moved = false;
        for one in 0..self.rows {
            for two in 0..one {
                let (from, to) = (choice[one] as usize, choice[two] as usize);
                if from == to || !self.allowed(one, to) || !self.allowed(two, from) {
                    continue;
                }
                let change = |values: &[f64]| {
                    let at = |row: usize, agent: usize| values[row * self.agents + agent];
                    at(one, to) + at(two, from) - at(one, from) - at(two, to)
                };
                let more = change(self.b);
                if change(self.a) < -1e-15 && more <= left {
                    left -= more;
                    choice.swap(one, two);
                    moved = true;
                }
            }
        }
        moved
    }
}

/// A request that moves from one agent to another.
type Move = (usize, usize, u32);

/// What moving requests between agents costs.
///
/// Agents are the nodes; the edge from one to another is what moving the request costs that can be moved for least, and
/// one more node, the last, has what capacities leave free. A cycle of negative length is an improvement; where there is
/// none, the assignment is optimal and distances are prices (Klein 1967).
struct Graph {
    /// Of each request and agent.
    costs: Vec<f64>,
    /// Shorter by less than this is not shorter.
    noise: f64,
    /// Requests of each agent, and the place of each request among them.
    rows: Vec<Vec<u32>>,
    places: Vec<u32>,
    /// Length of each edge and the request it moves, \[agents, agents\].
    edges: Vec<(f64, u32)>,
    distances: Vec<f64>,
    before: Vec<usize>,
}

fn common_divisor(mut one: usize, mut other: usize) -> usize {
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one
}

fn largest(values: &[f64]) -> f64 {
    let finite = values.iter().filter(|value| value.is_finite());
    finite.fold(0.0, |most, value| f64::max(most, value.abs()))
}

impl Graph {
    fn new(solver: &Solver, choice: &[u32]) -> Self {
        let agents = solver.agents;
        let scale = largest(solver.a) + solver.lambda * largest(solver.b);
        let never = NEVER * scale;
        let both = solver.a.iter().zip(solver.b).zip(solver.forbidden);
        let costs = both.map(|((a, b), said)| if said.is_nan() { never } else { a + solver.lambda * b });
        let mut graph = Self {
            costs: costs.collect(),
            noise: 1e-13 * scale,
            rows: vec![Vec::new(); agents],
            places: vec![0; choice.len()],
            edges: vec![(f64::INFINITY, u32::MAX); agents * agents],
            distances: vec![0.0; agents + 1],
            before: vec![agents; agents + 1],
        };
        for (row, &agent) in choice.iter().enumerate() {
            graph.enter(solver, row as u32, agent as usize);
        }
        graph
    }

    /// Gives a request to an agent; edges from it may be shorter then.
    fn enter(&mut self, solver: &Solver, row: u32, agent: usize) {
        self.places[row as usize] = self.rows[agent].len() as u32;
        self.rows[agent].push(row);
        self.offer(solver, row, agent, |_| true);
    }

    /// Makes edges from an agent as short as a request of it can.
    fn offer(&mut self, solver: &Solver, row: u32, agent: usize, which: impl Fn(usize) -> bool) {
        let agents = self.rows.len();
        let costs = &self.costs[row as usize * agents..][..agents];
        let edges = &mut self.edges[agent * agents..][..agents];
        for (other, (edge, cost)) in edges.iter_mut().zip(costs).enumerate() {
            let length = cost - costs[agent];
            if length < edge.0 && other != agent && solver.capacities[other] > 0 && which(other) {
                *edge = (length, row);
            }
        }
    }

    /// Takes a request from an agent; edges are left as they are.
    fn leave(&mut self, row: u32, agent: usize) {
        let place = self.places[row as usize];
        self.rows[agent].swap_remove(place as usize);
        if let Some(&moved) = self.rows[agent].get(place as usize) {
            self.places[moved as usize] = place;
        }
    }

    /// Makes a distance shorter where it can be.
    fn relax(&mut self, from: usize, to: usize, length: f64, last: &mut Option<usize>) {
        let distance = self.distances[from] + length;
        if distance < self.distances[to] - self.noise {
            self.distances[to] = distance;
            self.before[to] = from;
            *last = Some(to);
        }
    }

    /// Moves along a cycle of negative length (Bellman and Ford); none where there is no such cycle, and the distances
    /// are final then.
    fn cycle(&mut self, solver: &Solver) -> Vec<Move> {
        let (agents, free) = (solver.agents, solver.agents);
        self.distances.fill(0.0);
        self.before.fill(free);
        let mut last = None;
        for _ in 0..=agents + 1 {
            last = None;
            for from in 0..agents {
                for to in 0..agents {
                    self.relax(from, to, self.edges[from * agents + to].0, &mut last);
                }
                if self.rows[from].len() < solver.capacities[from] {
                    self.relax(from, free, 0.0, &mut last);
                }
            }
            // What is free may be taken from anybody.
            for to in 0..agents {
                self.relax(free, to, 0.0, &mut last);
            }
            if last.is_none() {
                break;
            }
        }
        let Some(mut node) = last else { return Vec::new() };
        // So many steps back, it is on the cycle.
        for _ in 0..=agents {
            node = self.before[node];
        }
        let mut cycle = vec![node];
        let mut at = self.before[node];
        while at != node && cycle.len() <= agents + 1 {
            cycle.push(at);
            at = self.before[at];
        }
        (0..cycle.len())
            .map(|place| (cycle[(place + 1) % cycle.len()], cycle[place]))
            .filter(|&(from, to)| from != free && to != free)
            .map(|(from, to)| (from, to, self.edges[from * agents + to].1))
            .collect()
    }

    fn apply(&mut self, solver: &Solver, moves: &[Move], choice: &mut [u32]) {
        let agents = solver.agents;
        for &(from, to, row) in moves {
            choice[row as usize] = to as u32;
            self.leave(row, from);
        }
        for &(from, _, row) in moves {
            // Edges of the one who has gone are measured anew.
            let gone = |edges: &[(f64, u32)], other: usize| edges[from * agents + other].1 == u32::MAX;
            let mut any = false;
            for edge in &mut self.edges[from * agents..][..agents] {
                if edge.1 == row {
                    *edge = (f64::INFINITY, u32::MAX);
                    any = true;
                }
            }
            if any {
                let lost: Vec<bool> = (0..agents).map(|other| gone(&self.edges, other)).collect();
                let rows = std::mem::take(&mut self.rows[from]);
                for &each in &rows {
                    self.offer(solver, each, from, |other| lost[other]);
                }
                self.rows[from] = rows;
            }
        }
        for &(_, to, row) in moves {
            self.enter(solver, row, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch<'a>(
        quality: &'a [f64],
        cost: &'a [f64],
        agents: usize,
        capacities: &'a [Option<usize>],
    ) -> Batch<'a> {
        Batch { agents, quality, cost, capacities, budget: f64::INFINITY }
    }

    #[test]
    fn the_cheapest_that_reaches_the_quality() {
        let quality = [0.5, 0.9, 0.5, 0.9, 0.8, 0.9];
        let cost = [1.0, 2.0, 1.0, 4.0, 1.0, 9.0];
        let found = batch(&quality, &cost, 2, &[None, None])
            .assign(Goal::Cost { min_mean_quality: Some(0.73) })
            .unwrap();
        assert_eq!(found.agents, [1, 0, 0]);
        assert!((found.cost - 4.0).abs() < 1e-12 && found.bound <= 4.0);
    }

    #[test]
    fn capacities_hold_where_all_requests_are_alike() {
        let quality = [0.9, 0.5, 0.4].repeat(10);
        let cost = [3.0, 2.0, 1.0].repeat(10);
        let capacities = [Some(4), Some(3), Some(3)];
        let found = batch(&quality, &cost, 3, &capacities).assign(Goal::Quality).unwrap();
        let loads: Vec<usize> =
            (0..3).map(|agent| found.agents.iter().filter(|&&each| each == agent).count()).collect();
        assert_eq!(loads, [4, 3, 3]);
        let few = [Some(4), Some(3), Some(2)];
        let error = batch(&quality, &cost, 3, &few).assign(Goal::Quality).unwrap_err();
        assert_eq!((error.kind, error.field.as_str()), (ErrorKind::NoFeasibleModel, "capacities"));
    }

    #[test]
    fn requests_that_only_a_full_agent_may_answer_are_counted() {
        let quality = [0.5; 8];
        let nobody = f64::NAN;
        let cost = [1.0, nobody, 1.0, nobody, 1.0, nobody, 1.0, 1.0];
        let capacities = [Some(1), Some(9)];
        for goal in [Goal::Quality, Goal::Cost { min_mean_quality: None }] {
            let error = batch(&quality, &cost, 2, &capacities).assign(goal).unwrap_err();
            assert_eq!((error.kind, error.field.as_str()), (ErrorKind::NoFeasibleModel, "capacities"));
            assert!(error.value.starts_with("2 of 4"), "{}", error.value);
        }
        let enough = [Some(3), Some(9)];
        let found = batch(&quality, &cost, 2, &enough).assign(Goal::Quality).unwrap();
        assert_eq!(found.agents, [0, 0, 0, 1]);
    }

    #[test]
    fn capacities_that_are_just_enough_leave_nothing_to_the_bound() {
        // Lots of several sizes, so that parts are solved first.
        for rows in [1, 7, 640, 3001] {
            let agents = 4;
            let part = |row: usize, by: usize| (row * by % 1009) as f64 / 1009.0;
            let quality: Vec<f64> = (0..rows * agents)
                .map(|at| (0.4 + 0.12 * (at % agents) as f64 + 0.2 * part(at, 389)).min(1.0))
                .collect();
            let cost: Vec<f64> = (0..rows * agents)
                .map(|at| 0.001 * (1 + at % agents) as f64 * (1.0 + part(at / agents, 211)))
                .collect();
            let capacities = vec![Some(rows.div_ceil(agents)); agents];
            let free = batch(&quality, &cost, agents, &capacities);
            let best = free.assign(Goal::Quality).unwrap();
            let cheapest = free.assign(Goal::Cost { min_mean_quality: None }).unwrap();
            let least = f64::midpoint(best.quality, cheapest.quality);
            let found = free.assign(Goal::Cost { min_mean_quality: Some(least) }).unwrap();
            let loads =
                (0..agents).map(|agent| found.agents.iter().filter(|&&each| each as usize == agent).count());
            assert!(loads.max() <= capacities[0]);
            assert!(found.quality >= least - 1e-9 && found.cost >= found.bound * (1.0 - 1e-12));
            assert!(rows < 500 || found.gap <= 1e-3, "{rows}: {}", found.gap);
        }
    }

    #[test]
    fn few_requests_cost_no_more_than_one_by_one() {
        let mut state = 1_u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / f64::from(1 << 24)
        };
        for turn in 0..2000 {
            let (rows, agents) = (1 + turn % 12, 2 + turn % 5);
            let quality: Vec<f64> = (0..rows * agents).map(|_| draw()).collect();
            let cost: Vec<f64> =
                (0..rows * agents).map(|at| draw() * (1 + 9 * (at % agents)) as f64).collect();
            let least = draw();
            let (mut reached, mut spent) = (0.0, 0.0);
            for row in 0..rows {
                let here = row * agents..(row + 1) * agents;
                let able = here.clone().filter(|&at| quality[at] >= least);
                let chosen = able.min_by(|&one, &two| cost[one].total_cmp(&cost[two]));
                let chosen = chosen
                    .or_else(|| here.max_by(|&one, &two| quality[one].total_cmp(&quality[two])))
                    .expect("agents");
                reached += quality[chosen];
                spent += cost[chosen];
            }
            let capacities = vec![None; agents];
            let found = batch(&quality, &cost, agents, &capacities)
                .assign(Goal::Cost { min_mean_quality: Some(reached / rows as f64) })
                .expect("one by one does");
            assert!(found.cost <= spent * (1.0 + 1e-9), "{turn}: {} beside {spent}", found.cost);
        }
    }

    #[test]
    fn what_cannot_be_is_said() {
        let (quality, cost) = ([0.5, 0.9], [1.0, 2.0]);
        let asked = batch(&quality, &cost, 2, &[None, None]);
        let error = asked.assign(Goal::Cost { min_mean_quality: Some(0.95) }).unwrap_err();
        assert!(error.value.contains("0.900000"), "{}", error.value);
        let poor = Batch { budget: 0.5, ..asked };
        assert!(poor.assign(Goal::Quality).unwrap_err().value.contains("1.000000"));
        assert!(poor.assign(Goal::Cost { min_mean_quality: None }).is_err());
        let nobody = [f64::NAN, f64::NAN];
        assert!(batch(&quality, &nobody, 2, &[None, None]).assign(Goal::Quality).is_err());
    }
}
