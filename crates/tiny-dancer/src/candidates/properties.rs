//! What candidates can be filtered by: every value of every property once, exactly, with the rows that have it.
//!
//! Kept up to date row by row: the time a change takes depends on the row's values, not on the set, and a value that no
//! row has any more is given back.

mod number;
mod ordered;
mod rows;

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::candidate::Candidate;
use super::metadata::{Kind, Scalar};
use crate::sort;
pub(super) use number::Number;
use ordered::{ALL, Entry, Ordered};
use rows::Rows;
pub(super) use rows::{each_of, holds};

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
    texts: HashMap<Arc<str>, Places>,
    /// Who has a number, in the order of the numbers; and who a text, by code point.
    by_number: Ordered,
    by_text: Ordered,
}

impl Values {
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
    number: Option<Number>,
    rows: Rows,
}

impl Held {
    /// The order of values of one kind.
    fn order(&self, other: &Self) -> Ordering {
        match (&self.number, &other.number) {
            (Some(number), Some(other)) => number.cmp(other),
            _ => self.text.cmp(&other.text),
        }
    }
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
        sort::many::unstable(&mut places);
        places.dedup();
        let before = std::mem::take(&mut self.rows[row]);
        let after: Box<[u32]> = places.into();
        for &place in after.iter().filter(|place| before.binary_search(place).is_err()) {
            self.change(place, row as u32, true);
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
        if let Some(moved) = self.rows.get_mut(row).map(std::mem::take) {
            for &place in &moved {
                self.change(place, row as u32, true);
                self.change(place, last, false);
            }
            self.rows[row] = moved;
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
        let number = (value.kind == Kind::Number).then(|| Number::new(text.clone()));
        let held = Some(Held { of, kind: value.kind, text, number, rows: Rows::default() });
        match self.held.get_mut(place as usize) {
            Some(slot) => *slot = held,
            None => self.held.push(held),
        }
        place
    }

    /// A row has a value no longer; what nobody has is forgotten.
    fn leave(&mut self, place: u32, row: u32) {
        self.change(place, row, false);
        if self.rows_of(place).is_some_and(Rows::is_empty) {
            self.forget(place);
        }
    }

    /// Adds a row to those of a value or removes it, in the key's order as well.
    fn change(&mut self, place: u32, row: u32, add: bool) {
        let Some(held) = &mut self.held[place as usize] else { return };
        let many = held.rows.is_many();
        if add {
            held.rows.insert(row);
        } else {
            held.rows.remove(row);
        }
        let all = &self.held;
        let Some(held) = &all[place as usize] else { return };
        let values = match &held.of {
            Of::Own(own) => Some(&mut self.own[*own as usize]),
            Of::Property(name) => self.keys.get_mut(name),
        };
        let ordered = match (values, held.kind) {
            (Some(values), Kind::Number) => &mut values.by_number,
            (Some(values), Kind::Text) => &mut values.by_text,
            _ => return,
        };
        let mut put = |row: u32, add: bool| {
            let before = |(other, other_row): Entry| match &all[other as usize] {
                Some(_) if other == place => other_row < row,
                Some(other) => other.order(held).is_lt(),
                None => false,
            };
            if add { ordered.insert((place, row), before) } else { ordered.remove((place, row), before) }
        };
        match (many, held.rows.is_many()) {
            (true, true) => {}
            (false, false) => put(row, add),
            (false, true) => {
                held.rows.each(|other| {
                    if other != row {
                        put(other, false);
                    }
                });
                put(ALL, true);
            }
            (true, false) => {
                put(ALL, false);
                held.rows.each(|other| put(other, true));
            }
        }
    }

    fn forget(&mut self, place: u32) {
        let Some(Held { of, kind, text, .. }) = self.held[place as usize].take() else { return };
        let values = match &of {
            Of::Own(own) => Some(&mut self.own[*own as usize]),
            Of::Property(name) => self.keys.get_mut(name),
        };
        if let Some(values) = values {
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
            let order = |held: &Held| held.number.as_ref().map_or(Ordering::Less, |own| own.order(number));
            self.add_beyond(&values.by_number, side, equal, order, bits);
        }
    }

    /// The same of texts, in the order of code points.
    pub(super) fn texts(&self, key: Key, side: Ordering, text: &str, equal: bool, bits: &mut [u64]) {
        if let Some(values) = self.values(key) {
            self.add_beyond(&values.by_text, side, equal, |held| (*held.text).cmp(text), bits);
        }
    }

    /// Adds the rows on one side of an edge, to which `order` says the order of a value.
    fn add_beyond(
        &self,
        ordered: &Ordered,
        side: Ordering,
        equal: bool,
        order: impl Fn(&Held) -> Ordering,
        bits: &mut [u64],
    ) {
        let edge = ordered.point(|(place, _)| {
            let order = self.held[place as usize].as_ref().map_or(Ordering::Less, &order);
            // What equals the edge lies on the side where it is not looked for.
            order.is_lt() || (order.is_eq() && side.is_gt() != equal)
        });
        let (from, to) = if side.is_gt() { (edge, ordered.end()) } else { ((0, 0), edge) };
        ordered.each(from, to, |entry| self.add_entry(entry, bits));
    }

    fn add_entry(&self, (place, row): Entry, bits: &mut [u64]) {
        if row != ALL {
            bits[row as usize / 64] |= 1 << (row % 64);
        } else if let Some(rows) = self.rows_of(place) {
            rows.add_to(bits);
        }
    }

    /// Adds the rows that have any value, of a property also where it lies deeper.
    pub(super) fn exists(&self, key: Key, bits: &mut [u64]) {
        let mut add = |values: &Values| {
            for ordered in [&values.by_number, &values.by_text] {
                ordered.each((0, 0), ordered.end(), |entry| self.add_entry(entry, bits));
            }
            let booleans = ["false", "true"].into_iter().filter_map(|text| values.texts.get(text));
            let booleans = booleans.map(|places| places[Kind::Boolean as usize]);
            self.add(booleans.filter(|&place| place != NONE), bits);
        };
        if let Some(values) = self.values(key) {
            add(values);
        }
        if let Key::Property(name) = key {
            let (first, end) = (format!("{name}."), format!("{name}/")); // the character after the point
            let deeper = (Bound::Included(&*first), Bound::Excluded(&*end));
            self.keys.range::<str, _>(deeper).for_each(|(_, values)| add(values));
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_that_nobody_has_are_given_back(
            steps in proptest::collection::vec((0usize..3, 0usize..200, 0usize..40), 1..300), wide in 1usize..80
        ) {
            let mut properties = Properties::default();
            let texts: Vec<String> = (0..40).map(|value| (value % wide).to_string()).collect();
            let write = |properties: &mut Properties, row: usize, value: usize| {
                let kind = [Kind::Number, Kind::Text, Kind::Text][value % 3];
                let metadata = [("a", Scalar { kind, text: &texts[value] }), ("b", "x".into()), ("a.c", (&*texts[value]).into())];
                let part = &*texts[value];
                let namespace = ["n", part];
                let group = value.is_multiple_of(2).then_some(part);
                let candidate = Candidate { id: "c", metadata: &metadata[..value % 4], group, namespace: &namespace[..value % 3], ..Candidate::default() };
                properties.write(row, &candidate);
            };
            for (step, at, value) in steps {
                let count = properties.rows.len();
                match step {
                    0 if count > 0 => properties.swap_remove(at % count),
                    1 if count > 0 => write(&mut properties, at % count, value),
                    _ => {
                        properties.push();
                        write(&mut properties, count, value);
                    }
                }
            }
            let places: std::collections::BTreeSet<u32> = properties.rows.iter().flatten().copied().collect();
            let held = properties.held.iter().flatten().count();
            prop_assert_eq!(held, places.len());
            for (row, places) in properties.rows.iter().enumerate() {
                prop_assert!(places.iter().all(|&place| properties.rows_of(place).expect("held").has(row as u32)));
            }
            while !properties.rows.is_empty() {
                properties.swap_remove(properties.rows.len() / 2);
            }
            prop_assert!(properties.held.is_empty() && properties.free.is_empty() && properties.keys.is_empty());
            let unordered = |values: &Values| values.by_number.end() == (0, 0) && values.by_text.end() == (0, 0);
            prop_assert!(properties.own.iter().all(|values| values.texts.is_empty() && unordered(values)));
        }
    }
}
