//! Who stands around whom: the rows of each group in their order, kept as rows come, go and move.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::columns::Columns;

/// Weights of the turn before, the one before that, and the turn after.
pub(crate) const BEFORE: f32 = 0.5;
pub(crate) const LONG_BEFORE: f32 = 0.2;
pub(crate) const AFTER: f32 = 0.2;
/// No row, no group.
pub(crate) const NONE: u32 = u32::MAX;

/// The neighbours of every row.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Of each row the one before, the one before that and the one after, as row + 1; 0 where there is none.
    pub around: Vec<[u32; 3]>,
    /// Number of each row's group; `NONE` for none.
    pub group: Vec<u32>,
    groups: Vec<Group>,
    numbers: HashMap<Box<str>, u32>,
    /// Numbers of groups that have no rows any more.
    free: Vec<u32>,
    /// Rows that have one before them.
    linked: usize,
}

#[derive(Debug, Default)]
struct Group {
    name: Box<str>,
    /// Its rows in their order.
    rows: Vec<u32>,
}

/// How two rows of one group follow each other: by position, equal ones by id; then those without one in the order they
/// were added.
fn compare(columns: &Columns, a: u32, b: u32) -> Ordering {
    let (a, b) = (a as usize, b as usize);
    let (left, right) = (columns.position[a], columns.position[b]);
    match (left.is_nan(), right.is_nan()) {
        (false, false) => {
            (left + 0.0).total_cmp(&(right + 0.0)).then_with(|| columns.ids[a].cmp(&columns.ids[b]))
        }
        (true, true) => columns.order[a].cmp(&columns.order[b]),
        (no_left, no_right) => no_left.cmp(&no_right),
    }
}

impl Links {
    /// Whether any row has a neighbour.
    pub(crate) fn any(&self) -> bool {
        self.linked > 0
    }

    /// One more than the largest number of a group.
    pub(crate) fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// The rows of a row's group, itself among them; none where it has no group.
    pub(crate) fn members(&self, row: usize) -> &[u32] {
        self.groups.get(self.group[row] as usize).map_or(&[], |group| &group.rows)
    }

    /// The row before `row`.
    pub(crate) fn before(&self, row: usize) -> Option<usize> {
        (self.around[row][0] as usize).checked_sub(1)
    }

    /// The rows that make up the context of `row`, with their weights, itself first.
    pub(crate) fn context_of(&self, row: u32) -> impl Iterator<Item = (u32, f32)> + Clone {
        let [before, earlier, after] = self.around[row as usize];
        [(row + 1, 1.0), (before, BEFORE), (earlier, LONG_BEFORE), (after, AFTER)]
            .into_iter()
            .filter_map(|(other, weight)| Some((other.checked_sub(1)?, weight)))
    }

    /// The rows whose context `row` is part of, itself first.
    pub(crate) fn readers(&self, row: u32) -> impl Iterator<Item = u32> {
        let [before, _, after] = self.around[row as usize];
        let later = (after as usize).checked_sub(1).map_or(0, |after| self.around[after][2]);
        [row + 1, before, after, later].into_iter().filter_map(|other| other.checked_sub(1))
    }

    /// A new last row, in no group yet.
    pub(crate) fn push(&mut self) {
        self.around.push([0; 3]);
        self.group.push(NONE);
    }

    /// Where `row` belongs among the rows of `group`.
    fn place(&self, columns: &Columns, group: u32, row: u32) -> usize {
        let rows = &self.groups[group as usize].rows;
        // Mostly it is the last.
        if rows.last().is_none_or(|&last| compare(columns, last, row).is_lt()) {
            return rows.len();
        }
        rows.partition_point(|&other| compare(columns, other, row).is_lt())
    }

    /// Puts a row into a group, by its columns. `touch` hears beforehand of every row whose context changes.
    pub(crate) fn link(
        &mut self,
        columns: &Columns,
        row: u32,
        name: &str,
        mut touch: impl FnMut(&Self, u32),
    ) {
        let group = self.number(name);
        let place = self.place(columns, group, row);
        let rows = &self.groups[group as usize].rows;
        for &other in &rows[place.saturating_sub(1)..rows.len().min(place + 2)] {
            touch(self, other);
        }
        self.linked += usize::from(!rows.is_empty());
        self.groups[group as usize].rows.insert(place, row);
        self.group[row as usize] = group;
        self.look_around(group, place);
    }

    /// Takes a row out of its group. Beforehand every row of [`Self::readers`] has to be told of.
    pub(crate) fn unlink(&mut self, columns: &Columns, row: u32) {
        let group = std::mem::replace(&mut self.group[row as usize], NONE);
        if group == NONE {
            return;
        }
        let place = self.place(columns, group, row);
        let found = &mut self.groups[group as usize];
        found.rows.remove(place);
        self.around[row as usize] = [0; 3];
        if found.rows.is_empty() {
            self.numbers.remove(&std::mem::take(&mut found.name));
            self.free.push(group);
        } else {
            self.linked -= 1;
            self.look_around(group, place);
        }
    }

    /// Removes a row that is in no group; the last takes its place. By the columns as they were before.
    pub(crate) fn swap_remove(&mut self, columns: &Columns, row: u32) {
        let last = self.group.len() as u32 - 1;
        let group = self.group[last as usize];
        if row != last && group != NONE {
            let place = self.place(columns, group, last);
            self.groups[group as usize].rows[place] = row;
            self.look_around(group, place);
        }
        self.around.swap_remove(row as usize);
        self.group.swap_remove(row as usize);
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.groups.push(Group::default());
            self.groups.len() as u32 - 1
        });
        self.groups[number as usize].name = name.into();
        self.numbers.insert(name.into(), number);
        number
    }

    /// Writes down again who stands around the rows near `place` of a group.
    fn look_around(&mut self, group: u32, place: usize) {
        let rows = &self.groups[group as usize].rows;
        let at = |place: Option<usize>| place.and_then(|place| rows.get(place)).map_or(0, |&row| row + 1);
        for near in place.saturating_sub(1)..rows.len().min(place + 3) {
            let around = [near.checked_sub(1), near.checked_sub(2), Some(near + 1)];
            self.around[rows[near] as usize] = around.map(at);
        }
    }
}
