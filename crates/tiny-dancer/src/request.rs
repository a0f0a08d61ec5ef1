//! The caller's words → the text to route and what surrounds it.
//!
//! A request is a text, or JSON as clients send it. One reading for every language and every dialect:
//!
//! * **Messages** are a list of objects with `role` and `content`, as in OpenAI's chat completions, Anthropic's
//!   messages and OpenAI's Responses (`input`). `content` is a string, null, or a list of strings and parts, of which
//!   those of type `text`, `input_text` and `output_text` are what is said (images, audio, files and thinking are
//!   not). `system` and `instructions` beside the messages are one message of the system in front of them.
//! * **The text to route** is the user's last turn: the messages of the user's that no answer stands between. A turn
//!   that only says to go on ("yes, do it") stands for what it follows: then the text is the turn before it that says
//!   more, and what was answered last. Where no message is the user's, all that was said and returned is the text. The
//!   other messages, earlier turns of the user's among them, count by their number and length.
//!   A user's message of nothing but what an agent's harness put there (`<system-reminder>…`, "[Request interrupted by
//!   user]") is no turn either, unless there is no other.
//! * **Calls and their results** count as what was said or returned before, wherever a dialect puts them: a call by
//!   the bytes of its name and of its arguments in canonical form, a result by those of its text. A user's message of
//!   nothing but results (Anthropic's form of them) is no turn of the user's. The output of an item may be one part
//!   alone, such as a screenshot.
//! * **Tools** are counted by their structure: how many, how many parameters they have at any depth (members of
//!   `properties`), and the bytes of name, description and schema. OpenAI's, Anthropic's, MCP's and the Responses
//!   shape hold the same three under other names, so neither dialect, white space nor the order of keys changes a
//!   count. A tool that has none of the three counts whole, and so does what is no JSON at all.
//! * **A response format** counts by the bytes of its schema: it is read as a part of the prompt.
//!
//! Canonical form: compact JSON, strings as they are in UTF-8 (no escapes counted), numbers as [`crate::number`]
//! says. A key that is given twice counts twice where bytes are counted; else the last one holds.

mod content;
mod harness;
mod tools;
mod turns;

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::json::{Fault, Kind, Reader};
use content::{Said, Stop, append, append_bounded, gather, walk};
use tools::{count_text, measure_format, measure_tools};
use turns::{Counts, Place, asked, message, prompt_part, set_harness_apart};

/// Version of everything between a request and its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    /// Until 0.1: tools by the text they came in, calls and results not at all. Artifacts trained on it decide as ever.
    One,
    /// Tools, calls and results by their structure. All turns of the user's are the text, as they are written.
    Two,
    /// As this page says, and of the text its plain form (`shape`).
    Three,
}

impl Spec {
    /// What new artifacts are trained on.
    pub const NEWEST: Self = Self::Three;

    /// The version of this number.
    #[must_use]
    pub fn of(number: &str) -> Option<Self> {
        match number {
            "1" => Some(Self::One),
            "2" => Some(Self::Two),
            "3" => Some(Self::Three),
            _ => None,
        }
    }
}

/// What the caller says.
#[derive(Clone, Copy, Debug)]
pub enum Words<'a> {
    /// A text.
    Text(&'a str),
    /// JSON: a string, or a list of messages.
    Json(&'a str),
    /// JSON: the prompt of a completion, a string, or a list of strings and tokens.
    Prompt(&'a str),
}

/// What has to be routed. All but the words is JSON as the caller sent it, or empty.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// A text, or messages.
    pub words: Words<'a>,
    /// Standing instructions beside the messages: a string or blocks.
    pub system: &'a str,
    /// The tools offered.
    pub tools: &'a str,
    /// The form the answer has to have.
    pub format: &'a str,
}

impl Default for Request<'_> {
    fn default() -> Self {
        Self::text("")
    }
}

impl<'a> Request<'a> {
    /// A request that is a text alone.
    #[must_use]
    pub fn text(text: &'a str) -> Self {
        Self { words: Words::Text(text), system: "", tools: "", format: "" }
    }

    /// A request as clients send it: a JSON string, a list of messages, or the body of a call with `messages`,
    /// `input`, `prompt` or `text`, and `system` or `instructions`, `tools` or `functions`, `response_format`,
    /// `output_format` or `text.format`. Other fields are not looked at.
    ///
    /// # Errors
    /// `RequestInvalid`: no JSON, nothing to route, or a text beside messages.
    #[inline(never)]
    pub fn from_json(json: &'a str) -> Result<Self> {
        let mut reader = Reader::new(json);
        let not_json = |fault: Fault| fault.of("request");
        if reader.peek().map_err(not_json)? != Kind::Object {
            let words = Words::Json(reader.value().map_err(not_json)?);
            reader.end().map_err(not_json)?;
            return Ok(Self { words, ..Self::default() });
        }
        let (mut messages, mut input, mut prompt, mut text) = (None, None, None, None);
        let (mut system, mut tools, mut functions, mut format) = ("", "", "", "");
        reader
            .object(|key, reader| {
                let kind = reader.peek()?;
                let value = reader.value()?;
                let given = (kind != Kind::Null).then_some(value);
                match () {
                    () if key.is("messages") => messages = given,
                    () if key.is("input") => input = given,
                    () if key.is("prompt") => prompt = given,
                    () if key.is("text") && kind == Kind::String => text = given,
                    () if key.is("system") || key.is("instructions") => system = given.unwrap_or_default(),
                    () if key.is("tools") => tools = given.unwrap_or_default(),
                    () if key.is("functions") => functions = given.unwrap_or_default(),
                    () if ["response_format", "output_format", "output_config", "text"]
                        .iter()
                        .any(|word| key.is(word)) =>
                    {
                        format = given.unwrap_or_default();
                    }
                    () => {}
                }
                Ok::<_, Fault>(())
            })
            .and_then(|()| reader.end())
            .map_err(not_json)?;
        if messages.is_some() && text.is_some() {
            return Err(refused("text", "given beside messages", "give either text or messages"));
        }
        let said =
            messages.or(input).map(Words::Json).or(prompt.map(Words::Prompt)).or(text.map(Words::Json));
        let Some(words) = said else {
            return Err(refused("request", "no messages", "give messages, input, prompt or text"));
        };
        let tools = if tools.is_empty() { functions } else { tools };
        Ok(Self { words, system, tools, format })
    }
}

#[cold]
#[inline(never)]
fn refused(field: impl Into<String>, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::RequestInvalid, field, value, remedy)
}

/// What surrounds the text that is routed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Around {
    /// Turns of the user's.
    pub turns: u32,
    /// Bytes of standing instructions.
    pub system_bytes: usize,
    /// Bytes said, called and returned before.
    pub assistant_bytes: usize,
    /// Tools offered.
    pub tools: u32,
    /// Parameters of all of them.
    pub tool_parameters: u32,
    /// Bytes of the tools.
    pub tool_bytes: usize,
    /// Bytes of the form the answer has to have.
    pub format_bytes: usize,
}

/// A request as it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading<'a> {
    /// The text to route, of long texts head and tail at least.
    pub text: &'a str,
    /// Bytes it had before anything was left out.
    pub text_bytes: usize,
    pub around: Around,
}

/// Buffers that reading reuses.
#[derive(Debug, Default)]
pub(crate) struct ReadScratch {
    joined: String,
    content: String,
    arguments: String,
    messages: Vec<Place>,
}

/// Reads `request`.
///
/// # Errors
/// `RequestInvalid`, naming the field.
#[inline(never)]
pub(crate) fn read<'a>(
    request: &Request<'a>,
    spec: Spec,
    scratch: &'a mut ReadScratch,
) -> Result<Reading<'a>> {
    let mut around = Around { turns: 1, ..Around::default() };
    match spec {
        Spec::One => count_text(request.tools, &mut around),
        Spec::Two | Spec::Three => {
            measure_tools(request.tools, &mut around);
            measure_format(request.format, &mut around);
        }
    }
    let ReadScratch { joined, content, arguments, messages } = scratch;
    joined.clear();
    let mut system = Said::default();
    if !request.system.is_empty() {
        let mut reader = Reader::new(request.system);
        let read = walk(&mut reader, "system", Spec::One, arguments, &mut system, &mut |_| {});
        read.and_then(|()| Ok(reader.end()?)).map_err(|stop| stop.of("system"))?;
    }
    let json = match request.words {
        Words::Text(text) => {
            around.system_bytes = system.bytes;
            return Ok(Reading { text, text_bytes: text.len(), around });
        }
        Words::Json(json) | Words::Prompt(json) => json,
    };
    let prompt = matches!(request.words, Words::Prompt(_));
    let mut reader = Reader::new(json);
    let whole = |stop: Stop| stop.of("messages");
    let kind = reader.peek().map_err(|fault| fault.of("messages"))?;
    if kind == Kind::String {
        let text = reader.string().and_then(|text| reader.end().map(|()| text));
        let text = text.map_err(|fault| fault.of("text"))?;
        around.system_bytes = system.bytes;
        messages.clear();
        content.clear();
        text.pieces(|piece| append(piece, content));
        return Ok(Reading { text: content, text_bytes: text.len(), around });
    }
    if kind != Kind::Array {
        return Err(refused("messages", kind.as_str(), "give a text or a list of chat messages"));
    }
    messages.clear();
    let mut count = Counts { system: system.bytes, ..Counts::default() };
    reader
        .array(|index, reader| {
            if prompt {
                return prompt_part(reader, index, json, messages, &mut count);
            }
            message(reader, index, json, spec, arguments, messages, &mut count)
        })
        .map_err(whole)?;
    reader.end().map_err(|fault| fault.of("messages"))?;
    if messages.is_empty() && count.items == 0 {
        return Err(refused("messages", "no message", "give at least one chat message, or a text"));
    }
    if spec == Spec::Three && !prompt {
        count.turns -= set_harness_apart(json, messages, count.turns, arguments, content);
    }
    let any_turn = count.turns > 0;
    around.turns = count.turns;
    around.assistant_bytes = count.calls;
    let mut text_bytes = count.user;
    if any_turn {
        around.system_bytes = count.system;
        around.assistant_bytes += count.other + count.results;
    } else {
        // Where no message is the user's, all of them are the text.
        text_bytes += count.system + count.other + count.results;
        if !request.system.is_empty() {
            let mut reader = Reader::new(request.system);
            gather(&mut reader, Spec::One, true, arguments, content);
            append_bounded(content, joined);
        }
    }
    if spec == Spec::Three && any_turn && !prompt {
        let asked = asked(json, messages, arguments, content);
        let is_asked = |index: usize, place: &Place| {
            (place.is_turn() && asked.turns.contains(&index)) || asked.answer == Some(index)
        };
        let (mut text_bytes, mut before) = (0, around.assistant_bytes + count.user);
        for (index, place) in messages.iter().enumerate() {
            if !is_asked(index, place) {
                continue;
            }
            let mut reader = Reader::new(&json[place.start..place.end]);
            gather(&mut reader, spec, false, arguments, content);
            append_bounded(content, joined);
            text_bytes += place.bytes + usize::from(text_bytes > 0);
            before -= place.bytes;
        }
        around.assistant_bytes = before;
        return Ok(Reading { text: joined, text_bytes, around });
    }
    for place in messages.iter().filter(|place| place.is_turn() || !any_turn) {
        let mut reader = Reader::new(&json[place.start..place.end]);
        gather(&mut reader, spec, !any_turn, arguments, content);
        append_bounded(content, joined);
    }
    Ok(Reading { text: joined, text_bytes, around })
}

/// What a conversation turns on: where it began, and what was said last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// What the user said last; the last message where none is the user's.
    pub said: String,
    /// Where that stands in the JSON: all around it is its context.
    pub last: Range<usize>,
    /// Where the first turn of the user's ends: up to here, conversations that began alike are the same.
    pub begun: usize,
}

/// The outline of a conversation given as JSON: messages, or a string.
///
/// # Errors
/// `RequestInvalid`, as for deciding.
pub fn outline(json: &str) -> Result<Outline> {
    let mut scratch = ReadScratch::default();
    let request = Request { words: Words::Json(json), ..Request::default() };
    let text = read(&request, Spec::NEWEST, &mut scratch)?.text.to_owned();
    let turns = || scratch.messages.iter().filter(|place| place.is_turn());
    let Some(last) = turns().next_back().or(scratch.messages.last()).copied() else {
        return Ok(Outline { said: text, last: 0..json.len(), begun: json.len() });
    };
    let mut said = String::new();
    let mut reader = Reader::new(&json[last.start..last.end]);
    gather(&mut reader, Spec::NEWEST, !last.is_turn(), &mut scratch.arguments, &mut said);
    let begun = turns().next().map_or(json.len(), |first| first.end);
    Ok(Outline { said, last: last.start..last.end, begun })
}
