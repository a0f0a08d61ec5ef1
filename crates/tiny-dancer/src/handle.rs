//! An artifact loaded once and asked by many: with its encoder and a pool of buffers, so that a binding converts and
//! forwards.

use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::decision::Answer;
use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::features::Features;
use crate::options::Options;
use crate::request::Request;
use crate::router::{Outlook, Router, Scratch};

/// Attempts at the lock of the pool, which is held for nanoseconds.
const TRIES: usize = 64;

/// A router, its encoder and buffers. Share it between threads.
#[derive(Debug)]
pub struct Handle {
    router: Router,
    encoder: Option<Arc<Encoder>>,
    pool: Pool<Scratch>,
}

impl Handle {
    /// Loads an artifact and runs its self-checks; `changes` as [`Router::change_models`] takes them, or empty.
    ///
    /// # Errors
    /// As [`Router::from_bytes`] and [`Router::change_models`].
    pub fn new(artifact: &[u8], encoder: Option<Arc<Encoder>>, changes: &str) -> Result<Self> {
        let mut router = Router::from_bytes(artifact, encoder.as_deref())?;
        if !changes.is_empty() {
            router.change_models(changes)?;
        }
        Ok(Self { router, encoder, pool: Pool::default() })
    }

    /// The router.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Decides a request and hands the answer to `read`.
    ///
    /// # Errors
    /// As [`Router::decide`].
    pub fn decide<T>(
        &self,
        request: &Request,
        options: &Options,
        read: impl FnOnce(&Answer) -> T,
    ) -> Result<T> {
        self.pool.with(|scratch| {
            let decision = self.router.decide(request, self.encoder.as_deref(), options, scratch)?;
            Ok(read(&Answer { decision, expect: &scratch.expect, header: self.router.header() }))
        })
    }

    /// Decides a request given as JSON ([`Request::from_json`]) with options as JSON ([`Options::from_json`]); the
    /// answer as JSON.
    ///
    /// # Errors
    /// As [`Router::decide`].
    pub fn decide_json(&self, request: &str, options: &str) -> Result<String> {
        let options = Options::from_json(options)?;
        let read = |answer: &Answer<'_>| answer.to_json();
        self.decide(&Request::from_json(request)?, &options, read)
    }

    /// Decides rows `0..rows` on all processors; `decide` decides one row in the buffers it is given, and `push` adds
    /// the answer to its part of the result. Parts come in order of their rows.
    ///
    /// # Errors
    /// That of the first row that has one, its field naming the row.
    pub fn decide_rows<T: Default + Send>(
        &self,
        rows: usize,
        options: &Options,
        decide: impl Fn(usize, &Self, &Options, &mut Scratch) -> Result<crate::decision::Decision> + Sync,
        push: impl Fn(&mut T, &Answer) + Sync,
    ) -> Result<Vec<T>> {
        in_chunks(rows, |range| {
            self.pool.with(|scratch| {
                let mut part = T::default();
                for row in range {
                    let decision = decide(row, self, options, scratch).map_err(|error| in_row(error, row))?;
                    let header = self.router.header();
                    push(&mut part, &Answer { decision, expect: &scratch.expect, header });
                }
                Ok(part)
            })
        })
    }

    /// Decides a request in the buffers given: for [`Self::decide_rows`].
    ///
    /// # Errors
    /// As [`Router::decide`].
    pub fn decide_in(
        &self,
        request: &Request,
        options: &Options,
        scratch: &mut Scratch,
    ) -> Result<crate::decision::Decision> {
        self.router.decide(request, self.encoder.as_deref(), options, scratch)
    }

    /// Reads a request as the router does, without deciding, and hands its features to `read`.
    pub(crate) fn featurised<T>(&self, request: &Request, read: impl FnOnce(&Features) -> T) -> Result<T> {
        self.pool.with(|scratch| {
            self.router.featurise(request, self.encoder.as_deref(), scratch)?;
            Ok(read(&scratch.features))
        })
    }

    /// What constraints leave where nothing can be expected of quality; see [`Router::outlook`].
    ///
    /// # Errors
    /// As [`Router::outlook`].
    pub fn outlook(&self, tokens: Option<u32>, at_most: u32, options: &Options) -> Result<Outlook> {
        self.router.outlook(tokens, at_most, options)
    }
}

/// Buffers that calls take and give back, so that they are warm.
#[derive(Debug, Default)]
pub struct Pool<S>(Mutex<Vec<S>>);

impl<S: Default> Pool<S> {
    /// Runs `work` with a buffer of the pool, or a new one where there is none.
    pub fn with<T>(&self, work: impl FnOnce(&mut S) -> T) -> T {
        let mut scratch = self.held().and_then(|mut held| held.pop()).unwrap_or_default();
        let result = work(&mut scratch);
        if let Some(mut held) = self.held() {
            held.push(scratch);
        }
        result
    }

    /// What is held, or `None` where it stays locked: its lock may belong to a thread that a fork left behind, and
    /// buffers are not worth waiting for.
    fn held(&self) -> Option<MutexGuard<'_, Vec<S>>> {
        for _ in 0..TRIES {
            match self.0.try_lock() {
                Ok(pool) => return Some(pool),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
        None
    }
}

/// The same error, naming the row of a batch it is about.
#[must_use]
pub fn in_row(mut error: Error, row: usize) -> Error {
    error.field = format!("requests[{row}].{}", error.field);
    error
}

/// Runs `work` over `0..rows` cut into one range a processor, and gives its results in order.
///
/// # Errors
/// The first of the earliest range.
///
/// # Panics
/// Where `work` does.
pub fn in_chunks<T: Send>(rows: usize, work: impl Fn(Range<usize>) -> Result<T> + Sync) -> Result<Vec<T>> {
    const SMALLEST: usize = 32;
    /// Asked once: the answer reads files, which takes longer than a small batch.
    static PROCESSORS: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    let chunk = rows.div_ceil(*PROCESSORS).max(SMALLEST);
    let ranges: Vec<Range<usize>> =
        (0..rows).step_by(chunk).map(|start| start..(start + chunk).min(rows)).collect();
    if ranges.len() <= 1 {
        return ranges.into_iter().map(work).collect();
    }
    let parts: Vec<Mutex<Option<Result<T>>>> = ranges.iter().map(|_| Mutex::new(None)).collect();
    let place = |part: usize| parts[part].lock().unwrap_or_else(PoisonError::into_inner);
    on_threads(ranges.len(), &|part| {
        let found = work(ranges[part].clone());
        *place(part) = Some(found);
    });
    (0..ranges.len()).filter_map(|part| place(part).take()).collect()
}

/// Does each part on a thread of its own. What is done is behind a pointer, as all this is much code to have once a caller.
fn on_threads(parts: usize, work: &(dyn Fn(usize) + Sync)) {
    std::thread::scope(|scope| {
        let start = |part: usize| {
            let thread = std::thread::Builder::new().spawn_scoped(scope, move || work(part));
            // Where the system gives no more threads, the caller's own does the work.
            thread.map_err(|_| work(part)).ok()
        };
        let threads: Vec<_> = (0..parts).map(start).collect();
        for thread in threads.into_iter().flatten() {
            thread.join().expect("the engine does not panic");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::Pool;

    #[test]
    fn a_lock_that_is_never_given_back_stops_nothing() {
        let pool = Pool::<Vec<u8>>::default();
        pool.with(|scratch| scratch.push(1));
        assert_eq!(pool.with(|scratch| scratch.len()), 1, "what was given back is taken again");
        let _held = pool.0.lock().unwrap();
        assert_eq!(pool.with(|scratch| scratch.len()), 0);
    }
}
