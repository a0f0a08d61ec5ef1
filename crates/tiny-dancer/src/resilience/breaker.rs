//! A circuit breaker: after repeated failures, stop asking for a while, then ask a few times before trusting again.
//!
//! The same states, thresholds and waits as Python's `CircuitBreaker`; `conformance/vectors/breaker.json` holds the two
//! together. The engine has neither clock nor random numbers: time is an argument, and jitter comes of a seed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::json::typed;
use crate::likeness::drawn;

/// Parts of a window in which successes are counted together.
const SLICES: i64 = 10;
/// The exponent is bounded before it is used: 2 to the 1024th is no double.
const MOST_DOUBLINGS: u32 = 64;

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// What the caller gave: it says nothing about the health of what was called, and never counts.
    BadInput,
    /// The engine itself: it panicked.
    Engine,
    /// The artifact, or the encoder it needs.
    Artifact,
}

impl Category {
    /// The category of an error.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match error.kind {
            ErrorKind::RequestInvalid
            | ErrorKind::OptionInvalid
            | ErrorKind::CandidateInvalid
            | ErrorKind::NoFeasibleModel => Self::BadInput,
            ErrorKind::ArtifactInvalid
            | ErrorKind::ArtifactVersion
            | ErrorKind::ArtifactChecksum
            | ErrorKind::ArtifactSelfCheck
            | ErrorKind::EncoderMissing => Self::Artifact,
        }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadInput => "bad_input",
            Self::Engine => "engine",
            Self::Artifact => "artifact",
        }
    }
}

/// Closed lets every call through, open none, half-open a few probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All is well.
    Closed,
    /// No call passes until the cool-down is over.
    Open,
    /// A few probes may pass.
    HalfOpen,
}

/// When a breaker opens, for how long, and what closes it.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerOptions {
    /// Failures below which it does not open; in a row they are enough, where they are so large a share of the calls.
    pub threshold: u32,
    /// Seconds over which calls and failures are counted.
    pub window: f64,
    /// Share of failures that opens it, in (0, 1].
    pub failure_rate: f64,
    /// Calls that are enough to judge by, in a row or not.
    pub minimum_calls: u32,
    /// Seconds the first opening lasts, before jitter.
    pub cooldown: f64,
    /// Seconds no opening exceeds, before jitter.
    pub longest_cooldown: f64,
    /// Largest share added to a cool-down, in [0, 1]: many processes that failed together do not come back together.
    pub jitter: f64,
    /// Calls let through at a time while half-open, and successes that close it.
    pub probes: u32,
    /// Seconds after which a silent probe is given up.
    pub probe_timeout: f64,
    /// Of the jitter; give each process another.
    pub seed: u64,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            threshold: 5,
            window: 60.0,
            failure_rate: 0.5,
            minimum_calls: 20,
            cooldown: 10.0,
            longest_cooldown: 300.0,
            jitter: 0.2,
            probes: 1,
            probe_timeout: 30.0,
            seed: 0,
        }
    }
}

impl BreakerOptions {
    /// Options as a JSON object; what is not in it, and empty text, is the default.
    ///
    /// # Errors
    /// `OptionInvalid`: no object, an unknown name, a value of another type or outside its range.
    pub fn from_json(json: &str) -> Result<Self> {
        let given = json.trim();
        if given.is_empty() {
            return Ok(Self::default());
        }
        let refuse = |value: &dyn std::fmt::Display| {
            let remedy = "give an object of threshold, window, failure_rate, minimum_calls, cooldown, \
                          longest_cooldown, jitter, probes, probe_timeout and seed, each a number";
            Error::new(ErrorKind::OptionInvalid, "breaker", value, remedy)
        };
        let options: Self = typed(given).map_err(|error| refuse(&error))?;
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<()> {
        let refuse = |field: &str, value: f64, remedy: &str| {
            Err(Error::new(ErrorKind::OptionInvalid, field, value, remedy))
        };
        let whole =
            [("threshold", self.threshold), ("minimum_calls", self.minimum_calls), ("probes", self.probes)];
        for (field, value) in whole {
            if value == 0 {
                return refuse(field, 0.0, "give a whole number ≥ 1");
            }
        }
        let seconds = [
            ("window", self.window),
            ("cooldown", self.cooldown),
            ("longest_cooldown", self.longest_cooldown),
            ("probe_timeout", self.probe_timeout),
        ];
        for (field, value) in seconds {
            if !(value.is_finite() && value > 0.0) {
                return refuse(field, value, "give seconds above 0");
            }
        }
        if self.longest_cooldown < self.cooldown {
            let remedy = format!("give at least cooldown, {}", self.cooldown);
            return refuse("longest_cooldown", self.longest_cooldown, &remedy);
        }
        if !(self.failure_rate > 0.0 && self.failure_rate <= 1.0) {
            return refuse("failure_rate", self.failure_rate, "give a share in (0, 1]");
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return refuse("jitter", self.jitter, "give a share in [0, 1]");
        }
        Ok(())
    }
}

/// A breaker at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakerStatus {
    /// As the next [`Breaker::admit`] would find it: an open breaker whose cool-down is over reads half-open.
    pub state: State,
    /// Within the window, by category; categories without failures are absent.
    pub failures: BTreeMap<Category, u32>,
    /// How often it opened since it was made.
    pub openings: u64,
    /// Seconds until the next probe may pass; 0 unless open.
    pub retry_in: f64,
    /// Probes under way.
    pub probes: u32,
}

/// That a call may be made: handed back once, by [`Breaker::succeed`], [`Breaker::fail`] or [`Breaker::cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Token(u64);

/// Decides whether a call may be made, from how the last ones ended. Share it between threads.
///
/// `now` is seconds of a clock of the caller's that does not go back; where one does, the latest that was seen counts.
///
/// Closed: it opens where at least `threshold` failures, and so many that they are `failure_rate` of the calls made,
/// ended within `window` seconds (to a tenth of it), and either the last `threshold` calls all failed or `minimum_calls`
/// have ended. It also opens where the last `minimum_calls` all failed, however many succeeded before them.
///
/// Open: no call passes until the cool-down is over: `cooldown` · 2^(k − 1) seconds, at most `longest_cooldown`, times
/// 1 + `jitter` · U[0, 1), where k counts openings without a whole window of health between them. Half-open: at most
/// `probes` calls are under way at a time; as many successes close it, one failure opens it again. A probe that has not
/// reported after `probe_timeout` seconds is given up and its place is free.
///
/// A token of an earlier state (a call that began before the breaker opened, a probe that was given up) is ignored,
/// whatever it reports.
#[derive(Debug)]
pub struct Breaker {
    options: BreakerOptions,
    /// The token all calls of one closed period share, and 0 otherwise: while closed, [`Self::admit`] reads this alone.
    closed: AtomicU64,
    history: Mutex<History>,
}

#[derive(Debug)]
struct History {
    /// The latest moment seen.
    now: f64,
    tokens: u64,
    closed_at: f64,
    failures: VecDeque<(f64, Category)>,
    /// Of those, the last ones, with no success since.
    row: u32,
    /// The present one, in tenths of the window.
    slice: i64,
    slice_end: f64,
    successes_now: u64,
    /// Slices and successes.
    successes_before: VecDeque<(i64, u64)>,
    /// `None` unless open.
    retry_at: Option<f64>,
    /// Tokens, and when they were admitted.
    probes: Vec<(u64, f64)>,
    successes: u32,
    openings: u64,
    streak: u32,
}

impl Breaker {
    /// Closed at first.
    ///
    /// # Errors
    /// `OptionInvalid`: a number outside its range.
    pub fn new(options: BreakerOptions, now: f64) -> Result<Self> {
        options.check()?;
        let now = if now.is_finite() { now } else { 0.0 };
        let history = History {
            now,
            tokens: 1,
            closed_at: now,
            failures: VecDeque::new(),
            row: 0,
            slice: 0,
            slice_end: f64::NEG_INFINITY,
            successes_now: 0,
            successes_before: VecDeque::new(),
            retry_at: None,
            probes: Vec::new(),
            successes: 0,
            openings: 0,
            streak: 0,
        };
        Ok(Self { options, closed: AtomicU64::new(1), history: Mutex::new(history) })
    }

    /// A token, or `None` where the call must not be made.
    #[must_use]
    pub fn admit(&self, now: f64) -> Option<Token> {
        let closed = self.closed.load(Ordering::Acquire);
        if closed != 0 {
            return Some(Token(closed));
        }
        let mut history = self.history();
        let closed = self.closed.load(Ordering::Acquire);
        if closed != 0 {
            return Some(Token(closed));
        }
        let now = history.at(now);
        if let Some(retry_at) = history.retry_at {
            if now < retry_at {
                return None;
            }
            (history.retry_at, history.successes) = (None, 0);
        }
        history.give_up_probes(now, &self.options);
        if history.probes.len() >= self.options.probes as usize {
            return None;
        }
        let token = history.token();
        history.probes.push((token, now));
        Some(Token(token))
    }

    /// The call with this token did what it should.
    pub fn succeed(&self, token: Token, now: f64) {
        let mut history = self.history();
        let now = history.at(now);
        if token.0 == self.closed.load(Ordering::Acquire) {
            history.row = 0;
            history.turn(now, &self.options);
            history.successes_now += 1;
            return;
        }
        history.give_up_probes(now, &self.options);
        if !history.end(token) {
            return;
        }
        history.successes += 1;
        if history.successes >= self.options.probes {
            history.closed_at = now;
            history.failures.clear();
            history.probes.clear();
            history.successes_before.clear();
            (history.row, history.successes_now) = (0, 0);
            self.closed.store(history.token(), Ordering::Release);
        }
    }

    /// The call with this token failed; bad input counts as no verdict.
    pub fn fail(&self, token: Token, category: Category, now: f64) {
        if category == Category::BadInput {
            return self.cancel(token);
        }
        let mut history = self.history();
        let now = history.at(now);
        if token.0 == self.closed.load(Ordering::Acquire) {
            history.failures.push_back((now, category));
            history.row = history.row.saturating_add(1);
            history.turn(now, &self.options);
            if history.too_many(&self.options) {
                if now - history.closed_at >= self.options.window {
                    history.streak = 0;
                }
                self.open(&mut history, now);
            }
            return;
        }
        history.give_up_probes(now, &self.options);
        if history.probes.iter().any(|(known, _)| *known == token.0) {
            history.failures.push_back((now, category));
            history.turn(now, &self.options);
            self.open(&mut history, now);
        }
    }

    /// The call with this token ended without telling anything: bad input, or given up by its caller.
    pub fn cancel(&self, token: Token) {
        if token.0 != self.closed.load(Ordering::Acquire) {
            self.history().end(token);
        }
    }

    /// How it stands now; reading changes nothing.
    #[must_use]
    pub fn status(&self, now: f64) -> BreakerStatus {
        let history = self.history();
        let now = if now.is_finite() { now.max(history.now) } else { history.now };
        let mut failures = BTreeMap::new();
        for (_, category) in history.failures.iter().filter(|(at, _)| now - at < self.options.window) {
            *failures.entry(*category).or_insert(0) += 1;
        }
        let probes = history.probes.iter().filter(|(_, at)| now - at < self.options.probe_timeout).count();
        let retry_in = history.retry_at.map_or(0.0, |retry_at| (retry_at - now).max(0.0));
        let state = if self.closed.load(Ordering::Acquire) != 0 {
            State::Closed
        } else if retry_in > 0.0 {
            State::Open
        } else {
            State::HalfOpen
        };
        BreakerStatus { state, failures, openings: history.openings, retry_in, probes: probes as u32 }
    }

    fn open(&self, history: &mut History, now: f64) {
        self.closed.store(0, Ordering::Release);
        history.probes.clear();
        history.openings += 1;
        history.streak = history.streak.saturating_add(1);
        let doublings = (history.streak - 1).min(MOST_DOUBLINGS);
        let doubled = self.options.cooldown * 2_f64.powi(doublings as i32);
        let jitter = 1.0 + self.options.jitter * (1.0 - drawn(self.options.seed, history.openings));
        history.retry_at = Some(now + doubled.min(self.options.longest_cooldown) * jitter);
    }

    /// The history; nothing panics while it is held, so that a poisoned lock holds a sound one.
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    /// The moment, or the latest that was seen, where it lies before that or is none.
    fn at(&mut self, now: f64) -> f64 {
        if now.is_finite() {
            self.now = self.now.max(now);
        }
        self.now
    }

    fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    /// Takes a probe out; false where there is none of this token.
    fn end(&mut self, token: Token) -> bool {
        let before = self.probes.len();
        self.probes.retain(|(known, _)| *known != token.0);
        self.probes.len() < before
    }

    fn too_many(&self, options: &BreakerOptions) -> bool {
        let failures = self.failures.len() as u64;
        if failures < u64::from(options.threshold) {
            return false;
        }
        let row = u64::from(self.row).min(failures);
        if row >= u64::from(options.threshold.max(options.minimum_calls)) {
            return true;
        }
        let before: u64 = self.successes_before.iter().map(|(_, count)| count).sum();
        let calls = failures + self.successes_now + before;
        let enough = row >= u64::from(options.threshold) || calls >= u64::from(options.minimum_calls);
        enough && failures as f64 >= options.failure_rate * calls as f64
    }

    /// Forgets what lies a window back.
    fn turn(&mut self, now: f64, options: &BreakerOptions) {
        while self.failures.front().is_some_and(|(at, _)| now - at >= options.window) {
            self.failures.pop_front();
        }
        if now < self.slice_end {
            return;
        }
        if self.successes_now > 0 {
            self.successes_before.push_back((self.slice, self.successes_now));
            self.successes_now = 0;
        }
        let width = options.window / SLICES as f64;
        self.slice = (now / width).floor() as i64;
        self.slice_end = (self.slice + 1) as f64 * width;
        while self.successes_before.front().is_some_and(|(slice, _)| *slice <= self.slice - SLICES) {
            self.successes_before.pop_front();
        }
    }

    fn give_up_probes(&mut self, now: f64, options: &BreakerOptions) {
        self.probes.retain(|(_, at)| now - at < options.probe_timeout);
    }
}
