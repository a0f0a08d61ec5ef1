//! Which of many tools a request needs: a set of tools in any dialect, ranked by words, parts of words and meaning.
//!
//! ```text
//! schema ─▶ name, description, arguments ─▶ terms by field ─▶ inverted lists ─┐
//!                                        └▶ embedding, int8 ─────────────────┤
//! request ─▶ its turns ─▶ terms, embedding, embeddings of its clauses ────────┴▶ five scores a tool ─▶ one ─▶ k tools
//! ```
//!
//! **Fields.** A term of a name counts twice, of a description or an argument's name once, of what is said about an
//! argument half, and of the name and description of its server half (BM25F, Robertson, Zaragoza and Taylor 2004).
//! Names are cut where their words meet (`getUser_byId2`).
//!
//! **Scores.** BM25 of stemmed words, of their pairs and of grams of four characters, each as the share of what the
//! request's terms could weigh; the cosine of request and tool; and the highest cosine of a clause of the request,
//! because a request for three tools is like none of them as a whole. (Clauses are compared with the tools that the other
//! scores leave in question.) Each is standardised over the tools and the
//! five are summed with the weights of [`SIGNALS`], which were chosen on two catalogues: where words tell tools apart
//! their score stands far out and decides, and where they do not, meaning does.
//!
//! **Learned use.** Where an artifact of kind `tools` knows which requests used which tool, what it expects is one more
//! score (see [`Learned`]).
//!
//! A selection depends on the tools and the request alone, never on the order in which tools came or went: sums over
//! tools are of whole numbers, and equal scores are ordered by id.

mod conversation;
mod door;
mod learned;
mod pattern;
mod schema;
mod set;
mod standard;

pub use conversation::{Conversation, Turn, called_tools, chosen_tools};
pub use learned::{Header, Learned, LearnedScratch, SelfCheck};
pub use pattern::{LONGEST_PATTERN, Pattern};
pub use schema::{Definition, LONGEST_NAME, MOST_ARGUMENTS, read_definitions};
pub(crate) use set::cut_name;
pub use set::{MOST_TOOLS, SIGNALS, SelectOptions, Selected, ToolScratch, ToolSet};
