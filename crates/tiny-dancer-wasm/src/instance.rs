//! One thing that decides, asked by number and text.

use std::sync::Arc;

use tiny_dancer::encoder::Encoder;
use tiny_dancer::{Error, ErrorKind, Handle, Result};

use crate::others::Other;

/// Input above this many bytes is given back after its call: artifacts come once, requests again and again.
const KEPT: usize = 1 << 16;

macro_rules! operations {
    ($($(#[$explain:meta])* $name:ident = $written:literal,)*) => {
        /// What an instance is asked to do, with two arguments; those that take fewer leave the rest unread.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Operation {
            $($(#[$explain])* $name,)*
        }

        impl Operation {
            /// All, in order of their numbers, with their names in `js/instance.js`.
            pub const ALL: &[(Self, &str)] = &[$((Self::$name, $written),)*];
        }
    };
}

operations! {
    /// Loads an encoder (bytes), for what is loaded after it.
    Encoder = "encoder",
    /// Loads a router (artifact; changes of its models as JSON, or empty).
    Router = "router",
    /// Decides (request, options).
    Decide = "decide",
    /// Loads routes (artifact).
    Routes = "routes",
    /// Routes (request, options).
    Route = "route",
    /// Makes an empty set of tools (artifact of what was learned of use, or empty).
    Tools = "tools",
    /// Adds tools (JSON); answers with their ids.
    AddTools = "addTools",
    /// Selects tools (query).
    Select = "select",
    /// Makes an empty set of agents (half-life of what is observed in seconds, as JSON, or empty).
    Agents = "agents",
    /// Puts agents in (JSON).
    PutAgents = "putAgents",
    /// Chooses an agent (query).
    Choose = "choose",
    /// Counts an outcome (state, or empty; outcome); answers with the state after it.
    Observe = "observe",
    /// Makes an empty set of candidates (artifact of a scorer, or empty; `quantised` to keep embeddings as int8, or
    /// empty).
    Candidates = "candidates",
    /// Adds candidates (JSON; their embeddings as little-endian f32, row after row, or empty).
    AddCandidates = "addCandidates",
    /// Ranks candidates (query; its embedding as little-endian f32, or empty).
    Rank = "rank",
    /// Loads a classifier of tasks (artifact).
    Tasks = "tasks",
    /// Classifies (request).
    Classify = "classify",
    /// Forgets the candidates and keeps the scorer.
    ClearCandidates = "clearCandidates",
}

impl Operation {
    /// The operation of a number.
    ///
    /// # Panics
    /// Where there is none: the caller is of another version.
    #[must_use]
    pub fn of(number: u32) -> Self {
        Self::ALL.get(number as usize).unwrap_or_else(|| panic!("there is no operation {number}")).0
    }
}

impl Operation {
    /// The error of an operation that is not in this build of the module, as JSON.
    fn absent(self) -> Option<String> {
        let here = matches!(self, Self::Router | Self::Decide);
        let name = Self::ALL[self as usize].1;
        (cfg!(not(feature = "whole")) && !here).then(|| {
            format!(
                "{{\"code\":\"NotInModule\",\"field\":\"operation\",\"value\":\"{name}\",\"remedy\":\"load \
                 tiny-dancer.wasm: this module only routes requests, without an encoder\"}}"
            )
        })
    }
}

// There is one, where it stays.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
enum Object {
    Router(Handle),
    Other(Other),
}

/// What decides, with its encoder, its input and its last answer.
#[derive(Debug, Default)]
pub struct Instance {
    object: Option<Object>,
    encoder: Option<Arc<Encoder>>,
    input: Vec<u8>,
    answer: String,
}

pub(crate) fn text<'a>(bytes: &'a [u8], field: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes)
        .map_err(|error| Error::new(ErrorKind::RequestInvalid, field, error, "give UTF-8"))
}

impl Instance {
    /// Room for arguments of together `length` bytes.
    pub fn input(&mut self, length: usize) -> &mut [u8] {
        if self.input.len() < length {
            self.input.resize(length, 0);
        }
        &mut self.input
    }

    /// The answer to the last call: JSON, or empty; after an error, an object of its `code`, `field`, `value`, `remedy`.
    #[must_use]
    pub fn answer(&self) -> &str {
        &self.answer
    }

    /// Does an operation with the first `first` bytes of the input and the `second` after them; false on an error.
    ///
    /// # Panics
    /// Where the lengths are not within the input, or the operation is not one of what the instance holds.
    pub fn call(&mut self, operation: Operation, first: usize, second: usize) -> bool {
        let input = std::mem::take(&mut self.input);
        let (first, rest) = input.split_at(first);
        let answer = match operation.absent() {
            Some(error) => Err(error),
            None => {
                self.perform(operation, first, &rest[..second]).map_err(|error| error.to_value().to_string())
            }
        };
        let done = answer.is_ok();
        self.answer = answer.unwrap_or_else(|error| error);
        if input.len() <= KEPT {
            self.input = input;
        }
        done
    }

    fn perform(&mut self, operation: Operation, first: &[u8], second: &[u8]) -> Result<String> {
        if let Some(object) = self.made(operation, first, second) {
            // Also where it failed: what was there before is not what was asked for.
            self.object = None;
            self.object = Some(object?);
            return Ok(String::new());
        }
        match (operation, &mut self.object) {
            #[cfg(feature = "whole")]
            (Operation::Encoder, _) => {
                self.encoder = Some(Arc::new(Encoder::from_bytes(first)?));
                Ok(String::new())
            }
            (Operation::Decide, Some(Object::Router(handle))) => {
                handle.decide_json(text(first, "request")?, text(second, "options")?)
            }
            (operation, Some(Object::Other(other))) => {
                other.perform(operation, first, second, self.encoder.as_ref())
            }
            (operation, _) => panic!("{operation:?} is not for what this instance holds"),
        }
    }

    /// The object an operation makes; `None` for one that makes none.
    fn made(&self, operation: Operation, first: &[u8], second: &[u8]) -> Option<Result<Object>> {
        let encoder = self.encoder.clone();
        let make = || {
            Ok(Some(match operation {
                Operation::Router => Object::Router(Handle::new(first, encoder, text(second, "models")?)?),
                _ => return Ok(Other::made(operation, first, second, encoder)?.map(Object::Other)),
            }))
        };
        make().transpose()
    }
}
