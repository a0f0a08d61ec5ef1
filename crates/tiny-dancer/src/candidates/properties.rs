//! What candidates can be filtered by: every value of every property once, exactly, with the rows that have it.
//!
//! Kept up to date row by row: the time a change takes depends on the row's values, not on the set, and a value that no
//! row has any more is given back.

mod number;
mod rows;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::candidate::Candidate;
use super::metadata::{Kind, Scalar};
pub(super) use number::Number;
use rows::Rows;
pub(super) use rows::each_of;

/// No value.
const NONE: u32 = u32::MAX;

/// Whose values: a property of the metadata, or something of the candidate itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    Property(&'a str),
    Own(Own),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Own {
    Group,
    /// The whole namespace.
    Namespace,
    /// Each of its beginnings, itself included.
    Within,
}

/// The places in `Properties::held` of the values of one kind each that are written as one text.
type Places = [u32; 3];

/// The values of one key.
#[derive(Debug, Default)]
struct Values {
    texts: BTreeMap<Arc<str>, Places>,
    /// Those of them that were numbers, in order.
    numbers: BTreeMap<Number, u32>,
}

impl Values {
    fn places(&self) -> impl Iterator<Item = u32> {
        self.texts.values().flatten().copied().filter(|&place| place != NONE)
    }

    /// The places of what is written as one text.
    fn equal(&self, text: &str) -> impl Iterator<Item = u32> {
        self.texts.get(text).into_iter().flatten().copied().filter(|&place| place != NONE)
    }
}

/// Which key a value is of.
#[derive(Debug)]
enum Of {
    Property(Arc<str>),
    Own(Own),
}

/// One value of one key.
#[derive(Debug)]
struct Held {
    of: Of,
    kind: Kind,
    text: Arc<str>,
    rows: Rows,
}

/// The values of all rows.
#[derive(Debug, Default)]
pub(crate) struct Properties {
    keys: BTreeMap<Arc<str>, Values>,
    own: [Values; 3],
    held: Vec<Option<Held>>,
    free: Vec<u32>,
    /// Places in `held` of each row's values, sorted.
    rows: Vec<Box<[u32]>>,
}

/// A path as one text that no other path has, and that begins as its beginnings do.
pub(super) fn path_text<'a>(path: impl IntoIterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for part in path {
        out.push_str(&part.len().to_string());
        out.push(':');
        out.push_str(part);
    }
    out
}

impl Properties {
    pub(super) fn push(&mut self) {
        self.rows.push(Box::default());
    }

    /// Replaces the values of a row by those of `candidate`.
    pub(super) fn write(&mut self, row: usize, candidate: &Candidate) {
        let mut places: Vec<u32> = Vec::with_capacity(candidate.metadata.len());
        for &(key, value) in candidate.metadata {
            places.push(self.place(Key::Property(key), value));
        }
        if let Some(group) = candidate.group {
            places.push(self.place(Key::Own(Own::Group), group.into()));
        }
        if !candidate.namespace.is_empty() {
            let mut path = String::new();
            for part in candidate.namespace {
                path.push_str(&path_text([*part]));
                places.push(self.place(Key::Own(Own::Within), Scalar::from(&*path)));
            }
            places.push(self.place(Key::Own(Own::Namespace), Scalar::from(&*path)));
        }
        places.sort_unstable();
        places.dedup();
        let before = std::mem::take(&mut self.rows[row]);
        let after: Box<[u32]> = places.into();
        for &place in after.iter().filter(|place| before.binary_search(place).is_err()) {
            if let Some(held) = &mut self.held[place as usize] {
                held.rows.insert(row as u32);
            }
        }
        for &place in before.iter().filter(|place| after.binary_search(place).is_err()) {
            self.leave(place, row as u32);
        }
        self.rows[row] = after;
    }

    /// Removes a row; the last one takes its number.
    pub(super) fn swap_remove(&mut self, row: usize) {
        let last = self.rows.len() as u32 - 1;
        let gone = self.rows.swap_remove(row);
        for &place in &gone {
            self.leave(place, row as u32);
        }
        if let Some(moved) = self.rows.get(row) {
            for &place in moved {
                if let Some(held) = &mut self.held[place as usize] {
                    held.rows.remove(last);
                    held.rows.insert(row as u32);
                }
            }
        }
    }

    /// The place of a value, which has no rows yet where it is new.
    fn place(&mut self, key: Key, value: Scalar) -> u32 {
        let (of, values) = match key {
            Key::Own(own) => (Of::Own(own), &mut self.own[own as usize]),
            Key::Property(name) => {
                let name =
                    self.keys.get_key_value(name).map_or_else(|| name.into(), |(name, _)| name.clone());
                (Of::Property(name.clone()), self.keys.entry(name).or_default())
            }
        };
        if let Some(place) = values.texts.get(value.text).map(|places| places[value.kind as usize])
            && place != NONE
        {
            return place;
        }
        let place = self.free.pop().unwrap_or(self.held.len() as u32);
        let known = values.texts.get_key_value(value.text).map(|(text, _)| text.clone());
        let text = known.unwrap_or_else(|| value.text.into());
        values.texts.entry(text.clone()).or_insert([NONE; 3])[value.kind as usize] = place;
        if value.kind == Kind::Number {
            values.numbers.insert(Number::new(&text), place);
        }
        let held = Some(Held { of, kind: value.kind, text, rows: Rows::default() });
        match self.held.get_mut(place as usize) {
            Some(slot) => *slot = held,
            None => self.held.push(held),
        }
        place
    }

    /// A row has a value no longer; what nobody has is forgotten.
    fn leave(&mut self, place: u32, row: u32) {
        let Some(held) = &mut self.held[place as usize] else { return };
        held.rows.remove(row);
        if held.rows.is_empty() {
            self.forget(place);
        }
    }

    fn forget(&mut self, place: u32) {
        let Some(Held { of, kind, text, .. }) = self.held[place as usize].take() else { return };
        let values = match &of {
            Of::Own(own) => Some(&mut self.own[*own as usize]),
            Of::Property(name) => self.keys.get_mut(name),
        };
        if let Some(values) = values {
            if kind == Kind::Number {
                values.numbers.remove(&Number::new(&text));
            }
            if let Some(places) = values.texts.get_mut(&text) {
                places[kind as usize] = NONE;
                if *places == [NONE; 3] {
                    values.texts.remove(&text);
                }
            }
            if let (Of::Property(name), true) = (&of, values.texts.is_empty()) {
                self.keys.remove(name);
            }
        }
        self.free.push(place);
        if self.free.len() == self.held.len() {
            (self.held, self.free) = (Vec::new(), Vec::new());
        }
    }

    fn values(&self, key: Key) -> Option<&Values> {
        match key {
            Key::Own(own) => Some(&self.own[own as usize]),
            Key::Property(name) => self.keys.get(name),
        }
    }

    fn rows_of(&self, place: u32) -> Option<&Rows> {
        Some(&self.held[place as usize].as_ref()?.rows)
    }

    fn add(&self, places: impl Iterator<Item = u32>, bits: &mut [u64]) {
        for rows in places.filter_map(|place| self.rows_of(place)) {
            rows.add_to(bits);
        }
    }

    /// Adds the rows that have one of the values that are written so to `bits`.
    pub(super) fn any_of<'a>(&self, key: Key, texts: impl Iterator<Item = &'a str>, bits: &mut [u64]) {
        if let Some(values) = self.values(key) {
            self.add(texts.flat_map(|text| values.equal(text)), bits);
        }
    }

    /// Adds the rows that have a number less or greater than `number`, or its equal where `equal`.
    pub(super) fn numbers(&self, key: Key, side: Ordering, number: &Number, equal: bool, bits: &mut [u64]) {
        if let Some(values) = self.values(key) {
            let edge = Bound::Included(number.beside(if equal { side.reverse() } else { side }));
            let within = beyond(side, edge);
            self.add(values.numbers.range(within).map(|(_, &place)| place), bits);
        }
    }

    /// The same of texts, in the order of code points.
    pub(super) fn texts(&self, key: Key, side: Ordering, text: &str, equal: bool, bits: &mut [u64]) {
        if let Some(values) = self.values(key) {
            let edge = if equal { Bound::Included(text) } else { Bound::Excluded(text) };
            let places = values.texts.range::<str, _>(beyond(side, edge));
            let places = places.map(|(_, places)| places[Kind::Text as usize]);
            self.add(places.filter(|&place| place != NONE), bits);
        }
    }

    /// Adds the rows that have any value, of a property also where it lies deeper.
    pub(super) fn exists(&self, key: Key, bits: &mut [u64]) {
        if let Some(values) = self.values(key) {
            self.add(values.places(), bits);
        }
        if let Key::Property(name) = key {
            let (first, end) = (format!("{name}."), format!("{name}/")); // the character after the point
            let deeper = (Bound::Included(&*first), Bound::Excluded(&*end));
            for (_, values) in self.keys.range::<str, _>(deeper) {
                self.add(values.places(), bits);
            }
        }
    }

    /// Visits each row that has a value that is written so, once.
    pub(super) fn each_equal(&self, key: &str, text: &str, mut visit: impl FnMut(usize)) {
        let Some(values) = self.keys.get(key) else { return };
        let mut earlier: [Option<&Rows>; 3] = [None; 3];
        for (kind, rows) in values.equal(text).filter_map(|place| self.rows_of(place)).enumerate() {
            rows.each(|row| {
                if !earlier.iter().flatten().any(|rows| rows.has(row)) {
                    visit(row as usize);
                }
            });
            earlier[kind] = Some(rows);
        }
    }
}

/// What lies on one side of an edge.
fn beyond<T>(side: Ordering, edge: Bound<T>) -> (Bound<T>, Bound<T>) {
    if side.is_gt() { (edge, Bound::Unbounded) } else { (Bound::Unbounded, edge) }
}
