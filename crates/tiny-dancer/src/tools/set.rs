//! The tools, in columns, and the selection of k of them.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::conversation::Turn;
use super::learned::{Learned, LearnedScratch};
use super::schema::{Definition, refused};
use super::standard::{Standard, add_shares, cosines};
use crate::candidates::postings::{Count, Family, Saturation, Spread};
use crate::candidates::terms::{Reader, Terms};
use crate::candidates::top::{contenders, first_k};
use crate::encoder::{DIM, Encoder, WordCache, quantise};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{dot_rows_i8, inverse_norm};
use crate::sort;
use crate::spelling::{LONGEST_WORD, SHORTEST, Speller, SpellingScratch, level_of, word_hash};
use crate::text::{TokenKind, bounded};

/// Most tools in one set.
pub const MOST_TOOLS: usize = 65_536;
/// Clauses of a turn that are compared with the tools one by one; what follows counts with the whole.
const MOST_CLAUSES: usize = 6;
/// Words a clause needs to be compared by itself.
const FEWEST_WORDS: usize = 2;
/// Tools whose other scores sum to less are compared with the request as a whole alone: one clause in common does not
/// bring them among the first. A ninth of the tools of Seal-Tools are compared, and no recall is lost.
const CONTENDS: f32 = 3.0;
/// Grams that more tools hold than this and than a sixteenth of all weigh nothing: they take most of the time and tell
/// nothing (a quarter, an eighth and a sixteenth find the same share of Seal-Tools' tools; a sixty-fourth loses some).
const FEW_TOOLS: usize = 64;
/// Up to this many, the first are found without looking at every tool by itself.
const MOST_SCANNED: usize = 64;
/// Bytes kept of a tool's words, for patterns to look through.
const SEARCHED_BYTES: usize = 8192;

/// The five scores in the order of [`SIGNALS`].
const WORDS: usize = 0;
const GRAMS: usize = 1;
const PAIRS: usize = 2;
const WHOLE: usize = 3;
const CLAUSE: usize = 4;

/// Name, weight and usual deviation of each score: words, grams, pairs of words, meaning of the whole and of its best
/// clause. Chosen on Seal-Tools, MetaTool and pairs of MetaTool's requests put together, for recall among the first
/// five of all three; what was level was left at round numbers.
pub const SIGNALS: [(&str, f32, f32); 5] = [
    ("words", 1.0, 0.025),
    ("grams", 1.0, 0.03),
    ("pairs", 0.3, 0.01),
    ("meaning", 1.5, 0.1),
    ("clauses", 1.5, 0.1),
];

/// How often a term counts by the field it stands in, in tenths.
const NAME: u32 = 20;
const DESCRIPTION: u32 = 10;
const ARGUMENT: u32 = 10;
const ABOUT_ARGUMENT: u32 = 5;
const NAMESPACE: u32 = 5;

/// Usual deviation of what is expected of the tools.
const USUAL_EXPECTATION: f32 = 0.05;
/// Usual deviation of cosines with the mean vectors of the tools' requests.
const USUAL_NEARNESS: f32 = 0.1;

const KINDS: usize = 3;

/// What the lists hold of one tool.
#[derive(Debug, Default)]
struct Held {
    of: [Box<[Count]>; KINDS],
    /// In tenths.
    lengths: [u32; KINDS],
    /// Hashes of its words as they are written, each once.
    written: Box<[u64]>,
}

#[derive(Debug)]
struct Tool {
    id: Box<str>,
    name: Box<str>,
    namespace: Box<str>,
    /// The name, then what is said: for patterns.
    words: Box<str>,
    /// Its column in what was learned of use.
    column: Option<u32>,
    held: Held,
}

/// Tools that requests are compared with.
#[derive(Debug)]
pub struct ToolSet {
    encoder: Option<Arc<Encoder>>,
    learned: Option<Learned>,
    tools: Vec<Tool>,
    rows: HashMap<Box<str>, u32>,
    lists: [Family; KINDS],
    /// \[tools, 256\], and 1 / length of each; empty without an encoder.
    meaning: Vec<i8>,
    inverse_norms: Vec<f32>,
    reader: Reader,
    cache: WordCache,
    /// The encoder's words; without one, no word of a request is read as another.
    speller: Option<Speller>,
    /// How many tools have a word, by its hash.
    written: HashMap<u64, u32, BuildHasherDefault<Spread>>,
}

/// What is asked of a selection.
#[derive(Clone, Copy, Debug)]
pub struct SelectOptions<'a> {
    /// Most tools; those of `keep` may be more.
    pub k: usize,
    /// Tools of lower relevance are left out, beyond the first `preserve`.
    pub threshold: f32,
    /// How many of the best stay whatever their relevance.
    pub preserve: usize,
    /// Only tools of these namespaces; empty for all.
    pub namespaces: &'a [&'a str],
    /// Ids or names of tools that are never left out: called already, or named by the caller.
    pub keep: &'a [&'a str],
}

impl Default for SelectOptions<'_> {
    fn default() -> Self {
        Self { k: 10, threshold: 0.0, preserve: 0, namespaces: &[], keep: &[] }
    }
}

impl SelectOptions<'_> {
    fn check(&self) -> Result<()> {
        if self.k == 0 {
            return Err(Error::new(ErrorKind::OptionInvalid, "k", 0, "ask for one tool or more"));
        }
        if !(0.0..=1.0).contains(&self.threshold) {
            let remedy = "give a number from 0 to 1";
            return Err(Error::new(ErrorKind::OptionInvalid, "relevance_threshold", self.threshold, remedy));
        }
        Ok(())
    }
}

/// A tool that was selected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Selected {
    /// Its place in the set; valid until the set changes.
    pub row: u32,
    /// How far it stands out among the tools: comparable within one selection only.
    pub score: f32,
    /// How much of the request it is about, from 0 to 1: the mean of the share of the request's words and of their
    /// parts that it holds, and of the cosine with the clause it is nearest to; or what use says, where that is more.
    /// No probability.
    pub relevance: f32,
    /// Whether it is here because it has to be.
    pub kept: bool,
}

/// Buffers of one thread; after the first requests, selecting allocates nothing. It holds the last selection.
#[derive(Debug, Default)]
pub struct ToolScratch {
    selected: Vec<Selected>,
    scores: Vec<f32>,
    relevance: Vec<f32>,
    order: Vec<u32>,
    kept: Vec<bool>,
    best: Vec<f32>,
    /// What the turn that is read says.
    own: Vec<f32>,
    column: Vec<f32>,
    /// \[clauses, 256\], and 1 / length of each.
    clauses: Vec<i8>,
    clause_norms: Vec<f32>,
    products: Vec<i32>,
    terms: Terms,
    reader: Reader,
    spelling: SpellingScratch,
    /// The turn as it was read, where a word of it was read as another; else empty.
    read_as: String,
    /// A clause as it was read.
    clause: String,
    cache: WordCache,
    learned: LearnedScratch,
}

/// A name with its words apart, and where capitals part it, neighbouring parts joined: `GitHubIssue` is about GitHub.
pub(crate) fn cut_name(name: &str) -> (String, String) {
    let (mut apart, mut joined) = (String::with_capacity(name.len() + 8), String::new());
    let characters: Vec<char> = name.chars().collect();
    // Where the current part and the one before it begin, in characters; a part before is of the same run of letters.
    let (mut before, mut start) = (None::<usize>, 0);
    for (at, &character) in characters.iter().enumerate() {
        let separates = !character.is_alphanumeric();
        let previous = at.checked_sub(1).map(|at| characters[at]);
        let next = characters.get(at + 1);
        let turns = previous.is_some_and(|previous| {
            (character.is_uppercase() && previous.is_lowercase())
                || (character.is_uppercase()
                    && previous.is_uppercase()
                    && next.is_some_and(|next| next.is_lowercase()))
                || (character.is_numeric() && previous.is_alphabetic())
                || (character.is_uppercase() && previous.is_numeric())
        });
        if separates || turns {
            if let Some(before) = before {
                joined.extend(&characters[before..at]);
                joined.push(' ');
            }
            before = turns.then_some(start);
            start = if separates { at + 1 } else { at };
            if separates {
                before = None;
            }
            apart.push(' ');
        }
        if !separates {
            apart.push(character);
        }
    }
    if let Some(before) = before {
        joined.extend(&characters[before..]);
    }
    (apart, joined)
}

/// Words for times. In what is said about an argument they are examples of its values ("opening hours on Saturday"), and
/// would make whatever is wanted on a Saturday look like that tool; in names and descriptions they count.
const TIMES: [&str; 32] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "today",
    "tomorrow",
    "tonight",
    "yesterday",
    "weekend",
    "weekday",
    "week",
    "month",
    "morning",
    "afternoon",
    "evening",
    "night",
    "noon",
    "january",
    "february",
    "march",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "midnight",
];

/// A text without words for times, their plural and their genitive.
fn without_times(text: &str) -> String {
    let separates = |character: char| !character.is_alphanumeric() && character != '\'';
    let says_when = |part: &&str| {
        let word = part.trim_end_matches(|character: char| !character.is_alphanumeric());
        let word = word.strip_suffix("'s").or(word.strip_suffix(['s', 'S'])).unwrap_or(word);
        TIMES.iter().any(|time| word.eq_ignore_ascii_case(time))
    };
    text.split_inclusive(separates).filter(|part| !says_when(part)).collect()
}

/// Counts of one kind of term, collected field by field.
#[derive(Default)]
struct Counts {
    of: [Vec<Count>; KINDS],
    lengths: [u32; KINDS],
    written: Vec<u64>,
}

impl Counts {
    fn add(&mut self, text: &str, tenths: u32, reader: &mut Reader, terms: &mut Terms) {
        reader.read(text, terms);
        let words = reader.tokens().filter(|(word, kind)| {
            *kind == TokenKind::Word && (SHORTEST..=LONGEST_WORD).contains(&word.len())
        });
        self.written.extend(words.map(|(word, _)| word_hash(word.iter().copied())));
        for (kind, found) in [&terms.words, &terms.grams, &terms.pairs].into_iter().enumerate() {
            self.lengths[kind] = self.lengths[kind].saturating_add(tenths * found.len() as u32);
            self.of[kind].extend(found.iter().map(|&term| Count { term, count: tenths }));
        }
    }

    fn held(mut self) -> Held {
        sort::many::unstable(&mut self.written);
        self.written.dedup();
        let of = self.of.map(|mut counts| {
            sort::many::stable_by(&mut counts, Count::by_term);
            counts.dedup_by(|next, sum| {
                let same = next.term == sum.term;
                if same {
                    sum.count += next.count;
                }
                same
            });
            for count in &mut counts {
                count.count = count.count * 2 + 1;
            }
            counts.into_boxed_slice()
        });
        Held { of, lengths: self.lengths, written: self.written.into_boxed_slice() }
    }
}

impl ToolSet {
    /// No tools yet. Without an encoder tools are told apart by their words alone.
    #[must_use]
    pub fn new(encoder: Option<Arc<Encoder>>) -> Self {
        let words = Saturation { k1: 1.5, b: 0.75 };
        let grams = Saturation { k1: 2.5, b: 0.9 };
        Self {
            speller: encoder.as_deref().map(Speller::of_encoder),
            written: HashMap::default(),
            encoder,
            learned: None,
            tools: Vec::new(),
            rows: HashMap::new(),
            lists: [Family::with(words), Family::with(grams), Family::with(words)],
            meaning: Vec::new(),
            inverse_norms: Vec::new(),
            reader: Reader::default(),
            cache: WordCache::default(),
        }
    }

    /// No tools yet, to be ranked with what was learned of their use.
    ///
    /// # Errors
    /// As [`Learned::from_bytes`].
    pub fn with_learned(encoder: Option<Arc<Encoder>>, artifact: &[u8]) -> Result<Self> {
        let learned = Learned::from_bytes(artifact, encoder.as_deref())?;
        Ok(Self { learned: Some(learned), ..Self::new(encoder) })
    }

    /// What was learned of use, if anything.
    #[must_use]
    pub fn learned(&self) -> Option<&Learned> {
        self.learned.as_ref()
    }

    /// Number of tools.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tools.len()
    }

    /// Whether there is no tool.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// The id of the tool in a row.
    ///
    /// # Panics
    /// Where there is no such row.
    #[must_use]
    pub fn id(&self, row: u32) -> &str {
        &self.tools[row as usize].id
    }

    /// Whether a tool of this id is in the set.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        self.rows.contains_key(id)
    }

    /// Adds tools with their ids, all or none.
    ///
    /// # Errors
    /// `CandidateInvalid` for an id that is empty, given twice or known, or too many tools.
    pub fn add(&mut self, tools: &[(String, Definition)]) -> Result<()> {
        if self.tools.len() + tools.len() > MOST_TOOLS {
            let found = self.tools.len() + tools.len();
            return Err(refused("tools", found, "one set holds at most 65,536 tools: make several"));
        }
        let mut seen = HashSet::with_capacity(tools.len());
        for (place, (id, _)) in tools.iter().enumerate() {
            let field = format!("tools[{place}].id");
            if id.trim().is_empty() {
                return Err(refused(&field, "empty", "give every tool a name or an id"));
            }
            if !seen.insert(id) || self.rows.contains_key(&**id) {
                let remedy =
                    "two tools of one name: give each its namespace or an id, or remove the old one first";
                return Err(refused(&field, id, remedy));
            }
        }
        for (id, definition) in tools {
            self.push(id, definition);
        }
        Ok(())
    }

    fn push(&mut self, id: &str, definition: &Definition) {
        let (apart, joined) = cut_name(&definition.name);
        let (server, server_joined) = cut_name(&definition.namespace);
        let names: Vec<String> = definition.arguments.iter().map(|name| cut_name(name).0).collect();
        let (mut counts, mut terms) = (Counts::default(), Terms::default());
        let reader = &mut self.reader;
        counts.add(&apart, NAME, reader, &mut terms);
        counts.add(&joined, DESCRIPTION, reader, &mut terms);
        counts.add(&definition.description, DESCRIPTION, reader, &mut terms);
        for name in &names {
            counts.add(name, ARGUMENT, reader, &mut terms);
        }
        for text in &definition.argument_texts {
            counts.add(&without_times(text), ABOUT_ARGUMENT, reader, &mut terms);
        }
        for text in [&server, &server_joined, &definition.namespace_description] {
            counts.add(text, NAMESPACE, reader, &mut terms);
        }
        let held = counts.held();
        if let Some(encoder) = &self.encoder {
            let text =
                format!("{server} {apart}. {} {}", bounded(&definition.description).0, names.join(" "));
            let mut sums = [0; DIM];
            encoder.encode(bounded(&text).0, &mut self.cache, &mut sums);
            let mut direction = [0; DIM];
            quantise(&sums, &mut direction);
            self.inverse_norms.push(inverse_norm(&direction));
            self.meaning.extend(direction);
        }
        let mut words = format!("{}\n{}", definition.name, definition.description);
        for part in definition.arguments.iter().chain(&definition.argument_texts) {
            if words.len() >= SEARCHED_BYTES {
                break;
            }
            words.push('\n');
            words.push_str(part);
        }
        words.truncate(words.floor_char_boundary(SEARCHED_BYTES));
        let row = self.tools.len() as u32;
        for (kind, list) in self.lists.iter_mut().enumerate() {
            list.resize(row as usize + 1);
            list.replace(row, &[], &held.of[kind], held.lengths[kind]);
        }
        for &word in &held.written {
            *self.written.entry(word).or_default() += 1;
        }
        self.rows.insert(id.into(), row);
        self.tools.push(Tool {
            id: id.into(),
            name: definition.name.as_str().into(),
            namespace: definition.namespace.as_str().into(),
            words: words.into_boxed_str(),
            column: self.learned.as_ref().and_then(|learned| learned.column(id)),
            held,
        });
    }

    /// Removes tools by id, all or none.
    ///
    /// # Errors
    /// `CandidateInvalid` for an id that no tool has, or one given twice.
    pub fn remove(&mut self, ids: &[&str]) -> Result<()> {
        let mut seen = HashSet::with_capacity(ids.len());
        for (place, id) in ids.iter().enumerate() {
            if !self.rows.contains_key(*id) || !seen.insert(id) {
                return Err(refused(
                    &format!("ids[{place}]"),
                    id,
                    "no tool has this id; see the ids of the set",
                ));
            }
        }
        for id in ids {
            self.take(id);
        }
        Ok(())
    }

    /// The last tool takes the place of the one that goes.
    fn take(&mut self, id: &str) {
        let Some(row) = self.rows.remove(id) else { return };
        let last = self.tools.len() as u32 - 1;
        let gone = self.tools.swap_remove(row as usize);
        for word in &gone.held.written {
            if let Some(count) = self.written.get_mut(word) {
                *count -= 1;
                if *count == 0 {
                    self.written.remove(word);
                }
            }
        }
        for (kind, list) in self.lists.iter_mut().enumerate() {
            list.replace(row, &gone.held.of[kind], &[], 0);
            if let Some(moved) = self.tools.get(row as usize) {
                list.replace(last, &moved.held.of[kind], &[], 0);
                list.replace(row, &[], &moved.held.of[kind], moved.held.lengths[kind]);
            }
            list.resize(last as usize);
        }
        if !self.inverse_norms.is_empty() {
            let (from, to) = (last as usize * DIM, row as usize * DIM);
            self.meaning.copy_within(from..from + DIM, to);
            self.meaning.truncate(from);
            self.inverse_norms.swap_remove(row as usize);
        }
        if let Some(moved) = self.tools.get(row as usize) {
            self.rows.insert(moved.id.clone(), row);
        }
    }

    /// The tools a request needs, best first; equal ones by id.
    ///
    /// # Errors
    /// `RequestInvalid` where no turn says anything; `OptionInvalid` for a `k` of 0 or a threshold outside [0, 1].
    pub fn select<'a>(
        &self,
        turns: &[Turn],
        options: &SelectOptions,
        scratch: &'a mut ToolScratch,
    ) -> Result<&'a [Selected]> {
        options.check()?;
        self.score(turns, scratch)?;
        self.choose(options, scratch);
        Ok(&scratch.selected)
    }

    /// The score of every tool, by row.
    ///
    /// # Errors
    /// `RequestInvalid` where no turn says anything.
    pub fn score<'a>(&self, turns: &[Turn], scratch: &'a mut ToolScratch) -> Result<&'a [f32]> {
        if turns.iter().all(|turn| turn.text.trim().is_empty()) {
            let remedy = "give a text that says what is wanted";
            return Err(Error::new(ErrorKind::RequestInvalid, "text", "empty or white space", remedy));
        }
        let rows = self.tools.len();
        for column in [&mut scratch.scores, &mut scratch.relevance] {
            column.clear();
            column.resize(rows, 0.0);
        }
        for turn in turns {
            self.add_turn(turn, scratch);
            self.add_learned(turn, scratch);
        }
        Ok(&scratch.scores)
    }

    /// Adds what one turn says to scores and relevance.
    fn add_turn(&self, turn: &Turn, scratch: &mut ToolScratch) {
        let (sums, known) = self.read_turn(&turn.text, scratch);
        let ToolScratch { scores, relevance, own, column, clauses, clause_norms, products, terms, .. } =
            scratch;
        let rows = self.tools.len();
        for column in [&mut *own, &mut *column] {
            column.clear();
            column.resize(rows, 0.0);
        }
        let mut add_relevance = |column: &[f32]| add_shares(column, turn.weight / 3.0, relevance);
        let most = FEW_TOOLS.max(rows / 16) as u32;
        for (signal, found) in
            [(WORDS, &mut terms.words), (GRAMS, &mut terms.grams), (PAIRS, &mut terms.pairs)]
        {
            sort::many::unstable(found);
            found.dedup();
            if !found.is_empty() {
                self.lists[signal].sum_rarer(found, if signal == GRAMS { most } else { u32::MAX }, column);
                let (_, weight, usual) = SIGNALS[signal];
                Standard::of(column, usual).add(column, weight, own);
                if signal != PAIRS {
                    add_relevance(column);
                }
            }
        }
        if known > 0 && !self.inverse_norms.is_empty() {
            let mut direction = [0; DIM];
            quantise(&sums, &mut direction);
            let inverse = inverse_norm(&direction);
            dot_rows_i8(&self.meaning, &direction, products);
            cosines(products, &self.inverse_norms, inverse, column);
            let (_, weight, usual) = SIGNALS[WHOLE];
            let standard = Standard::of(column, usual);
            standard.add(column, weight, own);
            if clause_norms.len() > 1 {
                for (row, cosine) in column.iter_mut().enumerate() {
                    if own[row] > CONTENDS {
                        dot_rows_i8(clauses, &self.meaning[row * DIM..][..DIM], products);
                        let cosines = products.iter().zip(&*clause_norms);
                        *cosine = cosines.fold(-1.0, |most, (&product, norm)| {
                            f32::max(most, product as f32 * (norm * self.inverse_norms[row]))
                        });
                    }
                }
            }
            standard.add(column, SIGNALS[CLAUSE].1, own);
            add_relevance(column);
        }
        for (score, own) in scores.iter_mut().zip(&*own) {
            *score += own * turn.weight;
        }
    }

    /// Reads terms and clauses of a text into the scratch; gives the sum of its embeddings and of how many pieces.
    fn read_turn(&self, text: &str, scratch: &mut ToolScratch) -> ([i32; DIM], u32) {
        let ToolScratch {
            clauses,
            clause_norms,
            terms,
            reader,
            cache,
            spelling,
            read_as,
            clause: own_clause,
            ..
        } = scratch;
        let known_here = |word: u64| self.written.get(&word).map(|&count| level_of(count, self.tools.len()));
        let (mut sums, mut known) = ([0i32; DIM], 0);
        terms.words.clear();
        terms.grams.clear();
        terms.pairs.clear();
        clauses.clear();
        clause_norms.clear();
        read_as.clear();
        let (head, tail) = bounded(text);
        let mut any = false;
        for part in [head, tail] {
            for_each_clause(part, |clause| {
                let before = terms.words.len();
                let corrected = reader.add_corrected(clause, terms, |characters, tokens| {
                    let Some(speller) = &self.speller else { return false };
                    speller.correct_beside(characters, tokens, spelling, &known_here)
                });
                let clause = if corrected {
                    own_clause.clear();
                    own_clause.extend(reader.characters());
                    own_clause.push(' ');
                    &**own_clause
                } else {
                    clause
                };
                read_as.push_str(clause);
                any |= corrected;
                let Some(encoder) = &self.encoder else { return };
                let mut own = [0; DIM];
                known += encoder.encode(clause, cache, &mut own).known;
                for (sum, own) in sums.iter_mut().zip(own) {
                    *sum += own;
                }
                if clause_norms.len() < MOST_CLAUSES && terms.words.len() - before >= FEWEST_WORDS {
                    let mut direction = [0; DIM];
                    quantise(&own, &mut direction);
                    clause_norms.push(inverse_norm(&direction));
                    clauses.extend(direction);
                }
            });
        }
        if !any {
            read_as.clear();
        }
        (sums, known)
    }

    /// Adds what use says of one turn to scores and relevance. A turn that says nothing has nothing to add.
    fn add_learned(&self, turn: &Turn, scratch: &mut ToolScratch) {
        let (Some(learned), Some(encoder)) = (&self.learned, &self.encoder) else { return };
        let ToolScratch { scores, relevance, column, learned: inner, read_as, .. } = scratch;
        let text = if read_as.is_empty() { &*turn.text } else { &**read_as };
        if learned.expect(text, encoder, inner).is_err() {
            return;
        }
        let header = learned.header();
        for (values, weight, usual) in [
            (&inner.near_means, header.mean_weight, USUAL_NEARNESS),
            (&inner.expected, header.weight, USUAL_EXPECTATION),
        ] {
            if values.is_empty() {
                continue;
            }
            // Over all that the artifact knows, in its order: whatever order the tools came in.
            let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
            let mean = (sum / values.len() as f64) as f32;
            column.clear();
            column.extend(self.tools.iter().map(|tool| tool.column.map_or(mean, |at| values[at as usize])));
            Standard::of(column, usual).add(column, weight * turn.weight, scores);
        }
        if header.weight > 0.0 {
            for ((relevance, expected), tool) in relevance.iter_mut().zip(&*column).zip(&self.tools) {
                if tool.column.is_some() {
                    *relevance = relevance.max(expected.clamp(0.0, 1.0) * turn.weight);
                }
            }
        }
    }

    /// The best of the scores.
    fn choose(&self, options: &SelectOptions, scratch: &mut ToolScratch) {
        let ToolScratch { selected, scores, relevance, order, kept, best, .. } = scratch;
        kept.clear();
        kept.resize(self.tools.len(), false);
        let mut most_kept = 0;
        if !options.keep.is_empty() {
            for (row, tool) in self.tools.iter().enumerate() {
                if options.keep.iter().any(|word| *word == &*tool.id || *word == &*tool.name) {
                    kept[row] = true;
                    most_kept += 1;
                }
            }
        }
        let allowed = |row: usize| {
            options.namespaces.is_empty() || options.namespaces.contains(&&*self.tools[row].namespace)
        };
        let most = options.k.max(most_kept);
        order.clear();
        if most <= MOST_SCANNED {
            // Those that are not below the last one wanted: mostly as many as are wanted.
            contenders(scores, (|_| 0.0, 0.0), (None, allowed), most, best, order);
            let rows = if most_kept > 0 { kept.len() as u32 } else { 0 };
            order.extend((0..rows).filter(|&row| {
                let (row, score) = (row as usize, scores[row as usize]);
                kept[row] && !(allowed(row) && best.last().is_none_or(|&last| score >= last))
            }));
        } else {
            order.extend((0..kept.len() as u32).filter(|&row| kept[row as usize] || allowed(row as usize)));
        }
        let better = |a: u32, b: u32| {
            let (of_a, of_b) = (a as usize, b as usize);
            scores[of_b].total_cmp(&scores[of_a]).then_with(|| self.tools[of_a].id.cmp(&self.tools[of_b].id))
        };
        first_k(order, most, |&a, &b| kept[b as usize].cmp(&kept[a as usize]).then_with(|| better(a, b)));
        sort::many::rows_by(order, &mut |&a, &b| better(a, b));
        selected.clear();
        for &row in &*order {
            let (row_relevance, kept) = (relevance[row as usize].min(1.0), kept[row as usize]);
            if kept || selected.len() < options.preserve || row_relevance >= options.threshold {
                selected.push(Selected { row, score: scores[row as usize], relevance: row_relevance, kept });
            }
        }
    }

    /// Rows whose words `matches`, in order of id; the closure gets a tool's name and all that is said of it.
    pub(super) fn matching(&self, mut matches: impl FnMut(&str, &str) -> Option<u8>) -> Vec<u32> {
        let mut found: Vec<(u8, &str, u32)> = Vec::new();
        for (row, tool) in self.tools.iter().enumerate() {
            if let Some(rank) = matches(&tool.name, &tool.words) {
                found.push((rank, &tool.id, row as u32));
            }
        }
        sort::unstable(&mut found);
        found.into_iter().map(|(_, _, row)| row).collect()
    }
}

const JOINTS: [&str; 4] = ["and", "then", "also", "plus"];

/// Cuts a text behind marks that end a clause and before words that join one on.
fn for_each_clause<'a>(text: &'a str, mut visit: impl FnMut(&'a str)) {
    let bytes = text.as_bytes();
    let (mut start, mut at) = (0, 0);
    while at < bytes.len() {
        let cut = match bytes[at] {
            b'\n' => Some(at + 1),
            b'.' | b'!' | b'?' | b';' | b',' => {
                bytes.get(at + 1).is_some_and(u8::is_ascii_whitespace).then_some(at + 1)
            }
            byte if byte.is_ascii_alphabetic() => {
                let end = at + bytes[at..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
                let alone = end.checked_sub(1).is_some()
                    && (at == 0 || bytes[at - 1] == b' ')
                    && bytes.get(end) == Some(&b' ');
                let joint = alone && JOINTS.iter().any(|joint| text[at..end].eq_ignore_ascii_case(joint));
                let cut = (joint && at > start).then_some(at);
                if let Some(cut) = cut {
                    visit(&text[start..cut]);
                    start = cut;
                }
                at = end;
                continue;
            }
            _ => None,
        };
        if let Some(cut) = cut {
            visit(&text[start..cut]);
            start = cut;
        }
        at += 1;
    }
    if start < text.len() {
        visit(&text[start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clauses(text: &str) -> Vec<&str> {
        let mut out = Vec::new();
        for_each_clause(text, |clause| out.push(clause));
        out
    }

    #[test]
    fn names_are_cut_where_their_words_meet() {
        for (name, apart, joined) in [
            ("get_user-by.id", "get user by id", ""),
            ("getUserById2", "get User By Id 2", "getUser UserBy ById Id2"),
            ("GitHubIssue", "Git Hub Issue", "GitHub HubIssue"),
            ("parseHTMLPage", "parse HTML Page", "parseHTML HTMLPage"),
            ("slack/send", "slack send", ""),
            ("weather", "weather", ""),
        ] {
            let (found, found_joined) = cut_name(name);
            assert_eq!((&*found, found_joined.trim()), (apart, joined), "{name}");
        }
    }

    #[test]
    fn words_for_times_are_left_out_and_no_others() {
        for (text, expected) in [
            ("Opening hours on Saturday, Sundays and Monday's", "Opening hours on  and "),
            ("The WEEK's month (e.g. May)", "The (e.g. May)"),
            ("weekly; Todayish", "weekly; Todayish"),
            ("", ""),
        ] {
            assert_eq!(without_times(text), expected, "{text}");
        }
    }

    #[test]
    fn clauses_are_cut_as_stated() {
        assert_eq!(
            clauses("Book a flight, then tell Ann. Pay 3.50 and android fans!"),
            ["Book a flight,", " ", "then tell Ann.", " Pay 3.50 ", "and android fans!"]
        );
        assert_eq!(clauses("and"), ["and"]);
        assert!(clauses("").is_empty());
    }

    proptest! {
        #[test]
        fn clauses_cover_the_text(text in "\\PC{0,80}") {
            prop_assert_eq!(clauses(&text).concat(), text);
        }

        #[test]
        fn a_name_loses_no_letter(name in "[A-Za-z0-9_./-]{0,40}") {
            let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            prop_assert_eq!(letters(&cut_name(&name).0), letters(&name));
        }
    }
}
