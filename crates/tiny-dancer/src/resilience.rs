//! An answer for every request, for bindings: reload without a gap, a circuit breaker, and levels below what was learned.
//!
//! The semantics are those of Python's `tiny_dancer.resilience`, and levels are numbered as there; level 1, decisions of
//! similar requests, is only there.

mod breaker;
mod outage;
mod rules;

use std::any::Any;
use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Serialize, Serializer};

use crate::error::{Error, Result};

pub use breaker::{Breaker, BreakerOptions, BreakerStatus, Category, State, Token};

/// Characters of a failure that a reason repeats.
const SAID: usize = 120;

/// Who answered: the learned policy, or what was asked because it could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What was learned.
    Learned = 0,
    /// Stated rules, which need no weights.
    Heuristic = 2,
    /// What is best for all requests.
    Default = 3,
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

/// What decides, behind a breaker, and replaced whole by a reload. Share it between threads.
#[derive(Debug)]
pub struct Guarded<T> {
    serving: Mutex<Arc<T>>,
    breaker: Option<Breaker>,
    /// Calls answered, by level: learned, heuristic, default.
    answered: [AtomicU64; 3],
    reload_error: Mutex<Option<Error>>,
}

/// A [`Guarded`] at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct GuardedStatus {
    /// `None` where it has none.
    pub breaker: Option<BreakerStatus>,
    /// Calls answered so far, by level.
    pub answered: Answered,
    /// Why the last reload failed; `None` where it did not.
    #[serde(serialize_with = "told")]
    pub reload_error: Option<Error>,
}

/// Calls answered, by level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// By what was learned.
    pub learned: u64,
    /// By stated rules.
    pub heuristic: u64,
    /// By what is best for all requests.
    pub default: u64,
}

impl<T> Guarded<T> {
    /// Serves `first`. Without a breaker what was learned is asked each time, and answered for where it fails.
    #[must_use]
    pub fn new(first: T, breaker: Option<Breaker>) -> Self {
        Self {
            serving: Mutex::new(Arc::new(first)),
            breaker,
            answered: Default::default(),
            reload_error: Mutex::new(None),
        }
    }

    /// What serves now. A call keeps its own to its end, whatever a reload does meanwhile.
    #[must_use]
    pub fn serving(&self) -> Arc<T> {
        Arc::clone(&lock(&self.serving))
    }

    /// Serves what was made, from the next call on. An error leaves serving what did, is noted, and given back.
    ///
    /// # Errors
    /// The one that is given.
    pub fn reload(&self, made: Result<T>) -> Result<()> {
        match made {
            Ok(made) => {
                // What served is freed after its lock, by the last call that holds it.
                let before = std::mem::replace(&mut *lock(&self.serving), Arc::new(made));
                drop(before);
                *lock(&self.reload_error) = None;
                Ok(())
            }
            Err(error) => {
                *lock(&self.reload_error) = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Asks what was learned, where the breaker lets it, and else `below`, which is told why.
    ///
    /// A panic of `learned` is caught and counts as a failure; so does any error that is not the caller's.
    ///
    /// # Errors
    /// The caller's ([`Category::BadInput`]), which count for nothing; and those of `below`.
    pub fn ask<R>(
        &self,
        now: f64,
        learned: impl FnOnce(&T) -> Result<R>,
        below: impl FnOnce(&T, String) -> Result<(Level, R)>,
    ) -> Result<R> {
        let serving = self.serving();
        let token = match &self.breaker {
            Some(breaker) => match breaker.admit(now) {
                Some(token) => Some((breaker, token)),
                None => return self.answered_below(below(&serving, "circuit open".to_owned())),
            },
            None => None,
        };
        let (category, said) = match attempt(AssertUnwindSafe(|| learned(&serving))) {
            Ok(Ok(answer)) => {
                if let Some((breaker, token)) = token {
                    breaker.succeed(token, now);
                }
                self.count(Level::Learned);
                return Ok(answer);
            }
            Ok(Err(error)) => {
                let category = Category::of(&error);
                if category == Category::BadInput {
                    if let Some((breaker, token)) = token {
                        breaker.cancel(token);
                    }
                    return Err(error);
                }
                (category, shortened(&error.to_string()))
            }
            Err(said) => (Category::Engine, said),
        };
        if let Some((breaker, token)) = token {
            breaker.fail(token, category, now);
        }
        self.answered_below(below(&serving, format!("{} failure ({said})", category.as_str())))
    }

    /// How it stands now; reading changes nothing.
    #[must_use]
    pub fn status(&self, now: f64) -> GuardedStatus {
        let [learned, heuristic, default] =
            [0, 1, 2].map(|place: usize| self.answered[place].load(Ordering::Relaxed));
        GuardedStatus {
            breaker: self.breaker.as_ref().map(|breaker| breaker.status(now)),
            answered: Answered { learned, heuristic, default },
            reload_error: lock(&self.reload_error).clone(),
        }
    }

    /// The same as JSON: `breaker` (`state`, `failures` by category, `openings`, `retry_in`, `probes`; null where there
    /// is none), `answered` by level, and `reload_error` (`code`, `field`, `value`, `remedy`, or null).
    #[must_use]
    pub fn status_json(&self, now: f64) -> String {
        serde_json::to_string(&self.status(now)).unwrap_or_default()
    }

    fn answered_below<R>(&self, answer: Result<(Level, R)>) -> Result<R> {
        let (level, answer) = answer?;
        self.count(level);
        Ok(answer)
    }

    fn count(&self, level: Level) {
        let place = match level {
            Level::Learned => 0,
            Level::Heuristic => 1,
            Level::Default => 2,
        };
        self.answered[place].fetch_add(1, Ordering::Relaxed);
    }
}

/// Does it, or says what its panic said.
pub(crate) fn attempt<R>(work: impl FnOnce() -> R + UnwindSafe) -> std::result::Result<R, String> {
    catch_unwind(work).map_err(|panic| shortened(&format!("it panicked: {}", panic_text(panic.as_ref()))))
}

/// What a panic said, from what `catch_unwind` gives.
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn shortened(said: &str) -> String {
    if said.chars().count() <= SAID {
        return said.to_owned();
    }
    said.chars().take(SAID - 3).chain("...".chars()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(clippy::ref_option)] // serde hands it over so
fn told<S: Serializer>(error: &Option<Error>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    error.as_ref().map(Error::to_value).serialize(serializer)
}
