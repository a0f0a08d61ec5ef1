//! Candidates: by JSON, or by numbers alone.

use std::ffi::{CStr, c_char};
use std::sync::RwLock;
use std::time::Instant;

use tiny_dancer::candidates::{
    Candidate, CandidateDoor, CandidateScorer, CandidateSet, Precision, Query, RankOptions, RankScratch,
};
use tiny_dancer::resilience::{Guarded, Level};
use tiny_dancer::{Pool, Result};

use crate::border::{
    Held, Outcome, Place, answered, forced, freed, guarded, made, object, object_or_none, opaque, refused,
    slice, td_code, td_text, text,
};
use crate::objects::{breaker, read, td_encoder, write};

/// Candidates, and what ranks them: which memories, tools or documents are worth passing on.
#[derive(Debug)]
pub struct td_candidates(Held<Candidates>);
opaque!(td_candidates, Candidates, b"candidat");

#[derive(Debug)]
pub(crate) struct Candidates {
    door: RwLock<CandidateDoor>,
    scorer: Guarded<CandidateScorer>,
    answers_below: bool,
    scratch: Pool<RankScratch>,
    begun: Instant,
}

impl Candidates {
    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}

/// How candidates are to be ranked by numbers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct td_rank_options {
    /// From 0, by score alone, to 1, unlike what is already taken.
    pub diversity: f32,
    /// Least confidence for a light model.
    pub confidence_threshold: f32,
    /// Largest uncertainty for a light model.
    pub max_uncertainty: f32,
}

/// One candidate of an answer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct td_ranked {
    /// Its row: how many were added before it.
    pub row: u32,
    /// What it is ranked by.
    pub score: f32,
    /// That it is relevant, in [0, 1]; calibrated where the ranking is.
    pub confidence: f32,
    /// In [0, 1].
    pub uncertainty: f32,
    /// Whether a light model may do with it.
    pub use_lightweight: bool,
    /// Whether it is of those among which a relevant one is, at the artifact's coverage.
    pub in_prediction_set: bool,
}

/// What there is to say about an answer beside its candidates.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct td_ranking {
    /// Candidates given.
    pub count: usize,
    /// Candidates that took no part, since their embeddings hold NaN or infinity.
    pub unsound: usize,
    /// Candidates among which a relevant one is, where it is calibrated; else 0.
    pub prediction_set_size: usize,
    /// Whether confidence and uncertainty come from calibration.
    pub calibrated: bool,
    /// Who answered: 0 the scorer, 2 the combination without training, 3 nobody: as they were added.
    pub level: u8,
}

/// Makes an empty set of candidates, ranked by the scorer of an artifact, or, where that is empty, by the combination
/// without training. With an encoder, candidates without embeddings are compared by those of their texts. `breaker` as
/// in td_router_load.
///
/// # Safety
/// As td_router_load.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_candidates_new(
    artifact: *const u8,
    artifact_length: usize,
    encoder: *const td_encoder,
    breaker_options: *const c_char,
    breaker_length: usize,
    candidates: *mut *mut td_candidates,
) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        made(candidates, || {
            let encoder = object_or_none(encoder, "encoder")?.cloned();
            let breaker = breaker(breaker_options, breaker_length)?;
            let answers_below = breaker.is_some();
            let scorer = scorer(slice(artifact, artifact_length, "artifact")?)?;
            Ok(Candidates {
                door: RwLock::new(CandidateDoor::new(Precision::Full, encoder)),
                scorer: Guarded::new(scorer, breaker),
                answers_below,
                scratch: Pool::default(),
                begun: Instant::now(),
            })
        })
    }
}

fn scorer(artifact: &[u8]) -> Result<CandidateScorer> {
    if artifact.is_empty() { Ok(CandidateScorer::default()) } else { CandidateScorer::from_bytes(artifact) }
}

/// Adds candidates, a JSON list of objects; all, or none.
///
/// `embeddings`: NULL, or as many rows of as many numbers as there are candidates, one after the other, `numbers` in all.
///
/// # Safety
/// As td_router_load.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_candidates_add(
    candidates: *const td_candidates,
    json: *const c_char,
    length: usize,
    embeddings: *const f32,
    numbers: usize,
) -> td_code {
    guarded(|| {
        // SAFETY: what the caller promises.
        let (candidates, json, rows) = unsafe {
            let rows =
                if embeddings.is_null() { None } else { Some(slice(embeddings, numbers, "embeddings")?) };
            (object(candidates, "candidates")?, text(json, length, "candidates")?, rows)
        };
        Ok(write(&candidates.door).add_with(json, rows)?)
    })
}

/// Ranks the candidates for a query, a JSON object; see docs/guides/embed.md. `embedding`: the query's, or NULL.
///
/// # Safety
/// As td_router_decide.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_candidates_rank(
    candidates: *const td_candidates,
    query: *const c_char,
    length: usize,
    embedding: *const f32,
    dimensions: usize,
    answer: *mut td_text,
) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        answered(answer, || {
            let candidates = object(candidates, "candidates")?;
            let query = text(query, length, "query")?;
            let embedding =
                if embedding.is_null() { None } else { Some(slice(embedding, dimensions, "embedding")?) };
            let learned = |door: &mut CandidateDoor, scorer: &CandidateScorer| {
                forced(Place::Learned);
                door.rank_with(scorer, query, embedding, true)
            };
            let door = &mut *write(&candidates.door);
            if !candidates.answers_below {
                return Ok(learned(door, &candidates.scorer.serving())?);
            }
            let (scorer, now) = (&candidates.scorer, candidates.now());
            Ok(door.rank_guarded_by(scorer, query, embedding, true, now, learned)?)
        })
    }
}

/// Adds `count` candidates by their embeddings alone: rows of `dimensions` numbers, one after the other; all, or none.
///
/// `ids`: as many texts that end with a zero, or NULL, and their ids are their rows, of ten digits. Equal scores come in
/// the order of ids.
///
/// # Safety
/// Pointers have as many values as is said; ids end with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_candidates_add_vectors(
    candidates: *const td_candidates,
    ids: *const *const c_char,
    embeddings: *const f32,
    count: usize,
    dimensions: usize,
) -> td_code {
    guarded(|| {
        // SAFETY: what the caller promises.
        let (candidates, rows) = unsafe {
            (object(candidates, "candidates")?, matrix(embeddings, count, dimensions, "embeddings")?)
        };
        let mut door = write(&candidates.door);
        let first = door.set().map_or(0, CandidateSet::len);
        // SAFETY: what the caller promises.
        let ids = unsafe { names(ids, count, first) }?;
        let given: Vec<Candidate> = ids.iter().map(|id| Candidate { id, ..Candidate::default() }).collect();
        Ok(door.append(&given, rows, dimensions)?)
    })
}

/// Ranks the candidates by the query's embedding alone. At most `room` are given, best first, to `found`.
///
/// `options`: NULL for the usual ones. `ranking`: what else there is to say; or NULL.
///
/// # Safety
/// Pointers have as many values, or room for as many, as is said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_candidates_rank_vector(
    candidates: *const td_candidates,
    query: *const f32,
    dimensions: usize,
    options: *const td_rank_options,
    found: *mut td_ranked,
    room: usize,
    ranking: *mut td_ranking,
) -> td_code {
    guarded(|| {
        // SAFETY: what the caller promises.
        let (candidates, query) =
            unsafe { (object(candidates, "candidates")?, slice(query, dimensions, "query")?) };
        // Looked at again after each refreshing: another thread may have added before it is read.
        let door = loop {
            let door = read(&candidates.door);
            if !door.set().is_some_and(CandidateSet::is_stale) {
                break door;
            }
            drop(door);
            write(&candidates.door).refresh();
        };
        let Some(set) = door.set() else {
            // SAFETY: what the caller promises.
            return unsafe { put(&[], found, td_ranking::default(), ranking) };
        };
        // SAFETY: what the caller promises.
        unsafe { ranked(candidates, set, query, options, found, room, ranking) }
    })
}

/// The same of candidates that are not kept: `count` rows of `dimensions` numbers, by the scorer of `candidates`.
///
/// # Safety
/// As td_candidates_rank_vector.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_candidates_rank_these(
    candidates: *const td_candidates,
    query: *const f32,
    embeddings: *const f32,
    count: usize,
    dimensions: usize,
    options: *const td_rank_options,
    found: *mut td_ranked,
    room: usize,
    ranking: *mut td_ranking,
) -> td_code {
    guarded(|| {
        // SAFETY: what the caller promises.
        let (candidates, query, rows) = unsafe {
            (
                object(candidates, "candidates")?,
                slice(query, dimensions, "query")?,
                matrix(embeddings, count, dimensions, "embeddings")?,
            )
        };
        // SAFETY: NULL stands for no names.
        let ids = unsafe { names(std::ptr::null(), count, 0) }?;
        let given: Vec<Candidate> = ids.iter().map(|id| Candidate { id, ..Candidate::default() }).collect();
        let mut set = CandidateSet::new((count > 0).then_some(dimensions), Precision::Full)?;
        set.append(&given, rows)?;
        set.refresh();
        // SAFETY: what the caller promises.
        unsafe { ranked(candidates, &set, query, options, found, room, ranking) }
    })
}

/// Loads another scorer, and ranks with it from the next call on; as td_router_reload.
///
/// # Safety
/// As td_router_load.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_candidates_reload(
    candidates: *const td_candidates,
    artifact: *const u8,
    artifact_length: usize,
) -> td_code {
    guarded(|| {
        // SAFETY: what the caller promises.
        let (candidates, artifact) =
            unsafe { (object(candidates, "candidates")?, slice(artifact, artifact_length, "artifact")?) };
        Ok(candidates.scorer.reload(scorer(artifact))?)
    })
}

/// How the scorer stands; as td_router_status.
///
/// # Safety
/// As td_router_status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_candidates_status(
    candidates: *const td_candidates,
    answer: *mut td_text,
) -> td_code {
    // SAFETY: what the caller promises.
    unsafe {
        answered(answer, || {
            let candidates = object(candidates, "candidates")?;
            Ok(candidates.scorer.status_json(candidates.now()))
        })
    }
}

/// Frees candidates and makes the pointer to them NULL.
///
/// # Safety
/// As td_encoder_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn td_candidates_free(candidates: *mut *mut td_candidates) {
    // SAFETY: what the caller promises.
    unsafe { freed(candidates) }
}

/// `count` rows of `dimensions` numbers.
///
/// # Safety
/// As [`slice`].
unsafe fn matrix<'a>(data: *const f32, count: usize, dimensions: usize, field: &str) -> Outcome<&'a [f32]> {
    if count > 0 && dimensions == 0 {
        return Err(refused("dimensions", "0", "give as many numbers a row as an embedding has"));
    }
    let Some(numbers) = count.checked_mul(dimensions) else {
        return Err(refused(field, "beyond memory", "give count and dimensions of what is there"));
    };
    // SAFETY: what the caller promises.
    unsafe { slice(data, numbers, field) }
}

/// Ids as they were given, or the numbers of rows from `first` on.
///
/// # Safety
/// `ids` is NULL, or has `count` texts that end with a zero.
unsafe fn names(ids: *const *const c_char, count: usize, first: usize) -> Outcome<Vec<String>> {
    if ids.is_null() {
        return Ok((first..first + count).map(|row| format!("{row:010}")).collect());
    }
    // SAFETY: what the caller promises.
    let ids = unsafe { slice(ids, count, "ids") }?;
    let name = |(place, &id): (usize, &*const c_char)| {
        if id.is_null() {
            return Err(refused(&format!("ids[{place}]"), "NULL", "give a text that ends with a zero"));
        }
        // SAFETY: what the caller promises.
        let id = unsafe { CStr::from_ptr(id) };
        // SAFETY: as long as it is.
        unsafe { text(id.as_ptr(), id.count_bytes(), &format!("ids[{place}]")) }.map(str::to_owned)
    };
    ids.iter().enumerate().map(name).collect()
}

/// Ranks a set that needs no refreshing.
///
/// # Safety
/// As td_candidates_rank_vector.
unsafe fn ranked(
    candidates: &Candidates,
    set: &CandidateSet,
    embedding: &[f32],
    options: *const td_rank_options,
    found: *mut td_ranked,
    room: usize,
    ranking: *mut td_ranking,
) -> Outcome<()> {
    if set.is_empty() {
        // SAFETY: what the caller promises.
        return unsafe { put(&[], found, td_ranking::default(), ranking) };
    }
    if !options.is_null() && !options.is_aligned() {
        return Err(refused("options", "misaligned", "give a pointer aligned as its type is"));
    }
    let usual = RankOptions::default();
    // SAFETY: what the caller promises.
    let options = unsafe { options.as_ref() }.map_or(usual, |asked| RankOptions {
        diversity: asked.diversity,
        confidence_threshold: asked.confidence_threshold,
        max_uncertainty: asked.max_uncertainty,
        ..usual
    });
    let options = RankOptions { k: room, ..options };
    let query = Query { embedding: Some(embedding), ..Query::default() };
    candidates.scratch.with(|scratch| {
        let by = |scorer: &CandidateScorer, scratch: &mut RankScratch| {
            scorer.rank(set, &query, &options, scratch)?;
            Ok(scorer.is_calibrated() && scratch.alike)
        };
        let scratch = std::cell::RefCell::new(scratch);
        let learned = |scorer: &CandidateScorer| {
            forced(Place::Learned);
            Ok((Level::Learned, by(scorer, &mut scratch.borrow_mut())?))
        };
        let below = |scorer: &CandidateScorer, _: String| {
            if scorer.header().is_some() {
                by(&CandidateScorer::default(), &mut scratch.borrow_mut())?;
                return Ok((Level::Heuristic, (Level::Heuristic, false)));
            }
            Ok((Level::Default, (Level::Default, false)))
        };
        let (level, calibrated) = if candidates.answers_below {
            candidates.scorer.ask(candidates.now(), learned, below)?
        } else {
            learned(&candidates.scorer.serving())?
        };
        let scratch = scratch.into_inner();
        let unscored = |row: usize| td_ranked {
            row: row as u32,
            score: 0.0,
            confidence: 0.0,
            uncertainty: 1.0,
            use_lightweight: false,
            in_prediction_set: false,
        };
        let rows: Vec<td_ranked> = if level == Level::Default {
            (0..set.len().min(room)).map(unscored).collect()
        } else {
            scratch.ranked.iter().map(td_ranked::of).collect()
        };
        let of = td_ranking {
            count: rows.len(),
            unsound: if level == Level::Default { 0 } else { scratch.unsound.len() },
            prediction_set_size: if calibrated { scratch.prediction_set.unwrap_or(0) } else { 0 },
            calibrated,
            level: level as u8,
        };
        // SAFETY: what the caller promises.
        unsafe { put(&rows, found, of, ranking) }
    })
}

impl td_ranked {
    fn of(ranked: &tiny_dancer::candidates::Ranked) -> Self {
        Self {
            row: ranked.row,
            score: ranked.score,
            confidence: ranked.confidence,
            uncertainty: ranked.uncertainty,
            use_lightweight: ranked.use_lightweight,
            in_prediction_set: ranked.in_prediction_set,
        }
    }
}

/// Hands rows over; there are no more than there is room for.
///
/// # Safety
/// There is room for as many at `found`, and for one at `ranking`, unless that is NULL.
unsafe fn put(
    rows: &[td_ranked],
    found: *mut td_ranked,
    of: td_ranking,
    ranking: *mut td_ranking,
) -> Outcome<()> {
    if !rows.is_empty() && (found.is_null() || !found.is_aligned()) {
        return Err(refused("found", "NULL or misaligned", "give room for what is found"));
    }
    if !ranking.is_null() && !ranking.is_aligned() {
        return Err(refused("ranking", "misaligned", "give a pointer aligned as its type is"));
    }
    // SAFETY: there is room.
    unsafe {
        std::ptr::copy_nonoverlapping(rows.as_ptr(), found, rows.len());
        if !ranking.is_null() {
            ranking.write(of);
        }
    }
    Ok(())
}
