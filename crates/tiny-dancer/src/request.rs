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

mod tools;

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::json::{Fault, Kind, Reader, Text};
use crate::shape::is_follow_up;
use crate::text::{LONGEST, bounded};
use tools::{argument_bytes, call, count_text, measure_format, measure_tools};

/// Version of everything between a request and its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    /// Until 0.1: tools by the text they came in, calls and results not at all. Artifacts trained on it decide as ever.
    One,
    /// Tools, calls and results by their structure. All turns of the user's are the text, as they are written.
    Two,
    /// As this page says, and of the text its plain form ([`crate::shape`]).
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    System,
    User,
    /// The assistant's.
    Other,
    /// What a call returned.
    Returned,
}

/// Roles by the words clients use.
const ROLES: [(&str, Role); 6] = [
    ("system", Role::System),
    ("developer", Role::System),
    ("user", Role::User),
    ("assistant", Role::Other),
    ("tool", Role::Returned),
    ("function", Role::Returned),
];

/// Where a message's content stands in the JSON of the messages.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
    /// Bytes that are said in it.
    bytes: usize,
    by: By,
}

/// Whose a message is, as far as the text to route goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The user's, and something of the user's own.
    Turn,
    /// The assistant's.
    Assistant,
    System,
    /// Results, of whatever role.
    Results,
}

impl Place {
    /// Of a value that was read out of `json`.
    fn of(value: &str, json: &str, bytes: usize, by: By) -> Self {
        let start = value.as_ptr() as usize - json.as_ptr() as usize;
        Self { start, end: start + value.len(), bytes, by }
    }

    fn is_turn(&self) -> bool {
        self.by == By::Turn
    }
}

/// A fault of the text, or an error that names what is wrong with its meaning.
enum Stop {
    Fault(Fault),
    Error(Error),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Stop {
    fn of(self, field: &str) -> Error {
        match self {
            Self::Fault(fault) => fault.of(field),
            Self::Error(error) => error,
        }
    }
}

/// Reads `request`.
///
/// # Errors
/// `RequestInvalid`, naming the field.
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

/// What the last turn asks, as places among the messages.
struct Asked {
    /// Those of the user's in here.
    turns: Range<usize>,
    /// What was answered last, where the last turn only says to go on.
    answer: Option<usize>,
}

/// The last turn of the user's; where it only says to go on, the one before it that says more, and the answer between.
fn asked(json: &str, messages: &[Place], arguments: &mut String, content: &mut String) -> Asked {
    // A turn: messages of the user's with nothing of the assistant's or returned between them.
    let turn_before = |end: usize| {
        let last = messages[..end].iter().rposition(Place::is_turn)?;
        let between = |place: &Place| matches!(place.by, By::Assistant | By::Results);
        let before = messages[..last].iter().rposition(between).map_or(0, |index| index + 1);
        let first = messages[before..=last].iter().position(Place::is_turn)?;
        Some(before + first..last + 1)
    };
    let mut follows = |turn: &Range<usize>| {
        messages[turn.clone()].iter().filter(|place| place.is_turn()).all(|place| {
            let mut reader = Reader::new(&json[place.start..place.end]);
            gather(&mut reader, Spec::NEWEST, false, arguments, content);
            is_follow_up(content)
        })
    };
    let Some(last) = turn_before(messages.len()) else {
        return Asked { turns: 0..messages.len(), answer: None };
    };
    let answer = messages[..last.start].iter().rposition(|place| place.by == By::Assistant);
    if !follows(&last) {
        return Asked { turns: last, answer: None };
    }
    let mut turn = last.clone();
    while let Some(earlier) = turn_before(turn.start) {
        turn = earlier;
        if !follows(&turn) {
            break;
        }
    }
    Asked { turns: turn, answer }
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

/// Bytes by who said them.
#[derive(Debug, Default)]
struct Counts {
    items: usize,
    turns: u32,
    system: usize,
    user: usize,
    other: usize,
    results: usize,
    calls: usize,
}

/// What one content holds.
#[derive(Debug, Default)]
struct Said {
    /// Bytes of what is said, parts joined by line feeds.
    bytes: usize,
    parts: usize,
    /// The same of results.
    result_bytes: usize,
    results: usize,
    call_bytes: usize,
    /// Parts that are neither text nor result nor call: images, files, thinking.
    others: usize,
}

/// Reads one part of a prompt: a text, or tokens, which cannot be read. All of them are one turn.
fn prompt_part<'a>(
    reader: &mut Reader<'a>,
    index: usize,
    json: &'a str,
    messages: &mut Vec<Place>,
    count: &mut Counts,
) -> std::result::Result<(), Stop> {
    count.items += 1;
    match reader.peek()? {
        Kind::String => {
            let value = reader.value()?;
            count.turns = 1;
            let bytes = Reader::new(value).string()?.len();
            count.user += bytes + usize::from(!messages.is_empty());
            messages.push(Place::of(value, json, bytes, By::Turn));
            Ok(())
        }
        Kind::Number | Kind::Array => Ok(reader.skip()?),
        other => {
            Err(refused(format!("prompt[{index}]"), other.as_str(), "give texts, or lists of tokens").into())
        }
    }
}

/// Reads one message, in whatever order its fields come.
fn message<'a>(
    reader: &mut Reader<'a>,
    index: usize,
    json: &'a str,
    spec: Spec,
    arguments: &mut String,
    messages: &mut Vec<Place>,
    count: &mut Counts,
) -> std::result::Result<(), Stop> {
    count.items += 1;
    let found = reader.peek()?;
    if found != Kind::Object {
        let field = format!("messages[{index}]");
        return Err(refused(field, found.as_str(), r#"give {"role": …, "content": …}"#).into());
    }
    // Without a type it is one, too.
    let mut is_message = true;
    let (mut role, mut content) = (None, None);
    let (mut name, mut given, mut output, mut calls) = (None, None, None, 0);
    reader.object(|key, reader| {
        let is = reader.peek()?;
        match () {
            () if key.is("role") => role = Some((is, reader.value()?)),
            () if key.is("content") => content = Some(reader.value()?),
            () if key.is("type") => {
                is_message = is == Kind::String && reader.clone().string()?.is("message");
                reader.skip()?;
            }
            () if spec == Spec::One => reader.skip()?,
            () if key.is("name") => name = Some(reader.value()?),
            () if key.is("arguments") || key.is("input") => given = Some(reader.value()?),
            () if key.is("output") => output = Some(reader.value()?),
            () if key.is("tool_calls") && is == Kind::Array => {
                reader.array(|_, reader| {
                    calls += call(reader, arguments)?;
                    Ok::<_, Fault>(())
                })?;
            }
            () if key.is("function_call") && is == Kind::Object => calls += call(reader, arguments)?,
            () => reader.skip()?,
        }
        Ok::<_, Stop>(())
    })?;
    let Some((is, word)) = role.filter(|(is, _)| *is != Kind::Null) else {
        if is_message {
            return Err(no_role(index, "null"));
        }
        // An item of the Responses API: a call or its output.
        count.calls += calls;
        for part in [name, given].into_iter().flatten() {
            count.calls += argument_bytes(part, arguments)?;
        }
        if let Some(output) = output {
            let mut said = Said::default();
            let field = Field::Of(index, "output");
            walk_output(&mut Reader::new(output), field, spec, arguments, &mut said, &mut |_| {})?;
            count.calls += said.call_bytes;
            count.results += said.bytes + said.result_bytes;
            messages.push(Place::of(output, json, 0, By::Results));
        }
        return Ok(());
    };
    let known = (is == Kind::String).then(|| Reader::new(word).string()).transpose()?;
    let found = known.and_then(|text| ROLES.iter().find(|(role, _)| text.is(role)));
    let Some(&(_, role)) = found else { return Err(no_role(index, word)) };
    count.calls += calls;
    let Some(content) = content else {
        if role == Role::User {
            count.turns += 1;
        }
        let by = match role {
            Role::User => By::Turn,
            Role::System => By::System,
            Role::Other | Role::Returned => By::Results,
        };
        messages.push(Place { start: 0, end: 0, bytes: 0, by });
        return Ok(());
    };
    let mut said = Said::default();
    let field = Field::Of(index, "content");
    walk(&mut Reader::new(content), field, spec, arguments, &mut said, &mut |_| {})?;
    count.calls += said.call_bytes;
    count.results += said.result_bytes;
    let turn = role == Role::User && !(said.results > 0 && said.parts == 0 && said.others == 0);
    count.turns += u32::from(turn);
    match role {
        Role::System => count.system += said.bytes,
        Role::User => count.user += said.bytes,
        Role::Other | Role::Returned => count.other += said.bytes,
    }
    let by = match role {
        Role::User if turn => By::Turn,
        Role::Other if said.bytes > 0 => By::Assistant,
        Role::System => By::System,
        _ => By::Results,
    };
    messages.push(Place::of(content, json, said.bytes, by));
    Ok(())
}

fn no_role(index: usize, found: &str) -> Stop {
    let roles = ROLES.map(|(word, _)| word).join(", ");
    refused(format!("messages[{index}].role"), found, &format!("use one of {roles}")).into()
}

/// The field an error names.
#[derive(Clone, Copy)]
enum Field {
    Of(usize, &'static str),
    Word(&'static str),
}

impl From<&'static str> for Field {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl Field {
    fn error(self, part: &str, found: &str, remedy: &str) -> Stop {
        let field = match self {
            Self::Of(index, name) => format!("messages[{index}].{name}{part}"),
            Self::Word(word) => format!("{word}{part}"),
        };
        refused(field, found, remedy).into()
    }
}

/// A piece of a content, in order.
#[derive(Clone, Copy)]
enum Piece<'a> {
    Said(Text<'a>),
    Result(Text<'a>),
}

/// Walks a content: measures it and hands its texts to `emit`.
fn walk<'a>(
    reader: &mut Reader<'a>,
    field: impl Into<Field>,
    spec: Spec,
    arguments: &mut String,
    said: &mut Said,
    emit: &mut impl FnMut(Piece<'a>),
) -> std::result::Result<(), Stop> {
    let field = field.into();
    match reader.peek()? {
        Kind::Null => Ok(reader.null()?),
        Kind::String => {
            say(reader.string()?, said, emit);
            Ok(())
        }
        Kind::Array => reader.array(|_, reader| match reader.peek()? {
            Kind::String => {
                say(reader.string()?, said, emit);
                Ok(())
            }
            Kind::Object => part(reader, field, spec, arguments, said, emit),
            other => Err(field.error("", other.as_str(), "parts are objects with a type")),
        }),
        other => Err(field.error("", other.as_str(), "content is a string, a list of parts or null")),
    }
}

/// As [`walk`], of what a call gave back, which may be one part alone, such as a screenshot.
fn walk_output<'a>(
    reader: &mut Reader<'a>,
    field: Field,
    spec: Spec,
    arguments: &mut String,
    said: &mut Said,
    emit: &mut impl FnMut(Piece<'a>),
) -> std::result::Result<(), Stop> {
    if reader.peek()? == Kind::Object {
        return part(reader, field, spec, arguments, said, emit);
    }
    walk(reader, field, spec, arguments, said, emit)
}

fn say<'a>(text: Text<'a>, said: &mut Said, emit: &mut impl FnMut(Piece<'a>)) {
    said.bytes += text.len() + usize::from(said.parts > 0);
    said.parts += 1;
    emit(Piece::Said(text));
}

fn part<'a>(
    reader: &mut Reader<'a>,
    field: Field,
    spec: Spec,
    arguments: &mut String,
    said: &mut Said,
    emit: &mut impl FnMut(Piece<'a>),
) -> std::result::Result<(), Stop> {
    let (mut kind, mut text, mut refusal) = (None, None, None);
    let (mut name, mut input, mut content) = (None, None, None);
    reader.object(|key, reader| {
        match () {
            () if key.is("type") && reader.peek()? == Kind::String => kind = Some(reader.string()?),
            () if key.is("text") => text = Some(reader.value()?),
            () if key.is("refusal") => refusal = Some(reader.value()?),
            () if key.is("name") => name = Some(reader.value()?),
            () if key.is("input") => input = Some(reader.value()?),
            () if key.is("content") => content = Some(reader.value()?),
            () => reader.skip()?,
        }
        Ok::<_, Fault>(())
    })?;
    let is = |word: &str| kind.is_some_and(|kind| kind.is(word));
    let is_refusal = spec != Spec::One && is("refusal");
    if is("text") || is("input_text") || is("output_text") || is_refusal {
        // A part of text may have a word about refusals beside it, which is not what is said.
        let Some(text) = (if is_refusal { refusal } else { text }) else { return Ok(()) };
        let mut reader = Reader::new(text);
        let found = reader.peek()?;
        if found != Kind::String {
            return Err(field.error(".text", found.as_str(), "a part's text is a string"));
        }
        say(reader.string()?, said, emit);
    } else if spec != Spec::One && is("tool_use") {
        for part in [name, input].into_iter().flatten() {
            said.call_bytes += argument_bytes(part, arguments)?;
        }
    } else if spec != Spec::One && is("tool_result") {
        said.results += 1;
        if let Some(content) = content {
            let mut inner = Said::default();
            // A result has texts and pictures, and nothing else that could be read.
            walk_result(&mut Reader::new(content), field, &mut inner, emit)?;
            said.result_bytes += inner.bytes;
        }
    } else {
        said.others += 1;
    }
    Ok(())
}

fn walk_result<'a>(
    reader: &mut Reader<'a>,
    field: Field,
    inner: &mut Said,
    emit: &mut impl FnMut(Piece<'a>),
) -> std::result::Result<(), Stop> {
    let mut returned = |text: Text<'a>, inner: &mut Said| {
        inner.bytes += text.len() + usize::from(inner.parts > 0);
        inner.parts += 1;
        emit(Piece::Result(text));
    };
    match reader.peek()? {
        Kind::String => returned(reader.string()?, inner),
        Kind::Array => reader.array(|_, reader| {
            if reader.peek()? != Kind::Object {
                return Ok(reader.skip()?);
            }
            let (mut is_text, mut text) = (false, None);
            reader.object(|key, reader| {
                match () {
                    () if key.is("type") && reader.peek()? == Kind::String => {
                        is_text = reader.string()?.is("text");
                    }
                    () if key.is("text") && reader.peek()? == Kind::String => text = Some(reader.string()?),
                    () => reader.skip()?,
                }
                Ok::<_, Fault>(())
            })?;
            if let Some(text) = text.filter(|_| is_text) {
                returned(text, inner);
            }
            Ok::<_, Stop>(())
        })?,
        Kind::Null => reader.null()?,
        other => return Err(field.error("", other.as_str(), "a result is a string or a list of parts")),
    }
    Ok(())
}

/// The texts of a content that was walked before, joined by line feeds; results among them where `all`.
fn gather(reader: &mut Reader, spec: Spec, all: bool, arguments: &mut String, content: &mut String) {
    content.clear();
    let mut first = true;
    let mut said = Said::default();
    let mut emit = |piece: Piece| {
        let text = match piece {
            Piece::Said(text) => text,
            Piece::Result(text) if all => text,
            Piece::Result(_) => return,
        };
        if !first {
            content.push('\n');
        }
        first = false;
        text.pieces(|piece| append(piece, content));
    };
    // It was sound when it was walked; a message without content has nothing here.
    let _ = walk_output(reader, "content".into(), spec, arguments, &mut said, &mut emit);
}

/// Appends a piece of a content. Of what grows long only front and back are kept: more than [`bounded`] reads. The
/// buffer takes all the memory it may ever need when it is first used.
fn append(piece: &str, content: &mut String) {
    content.reserve((4 * LONGEST).saturating_sub(content.len()));
    if content.len() + piece.len() <= 4 * LONGEST {
        content.push_str(piece);
        return;
    }
    drop_middle(content, 2 * LONGEST);
    if piece.len() <= 2 * LONGEST {
        content.push_str(piece);
    } else {
        content.push_str(&piece[..piece.floor_char_boundary(LONGEST)]);
        content.push_str(&piece[piece.ceil_char_boundary(piece.len() - LONGEST)..]);
    }
}

/// Appends a message's bounded text on a line of its own, dropping the middle of what grew too long.
fn append_bounded(content: &str, joined: &mut String) {
    let (head, tail) = bounded(content);
    for part in [head, tail] {
        if !joined.is_empty() {
            joined.push('\n');
        }
        joined.push_str(part);
    }
    drop_middle(joined, 4 * LONGEST);
}

/// Of a text longer than `most`, its first and last [`LONGEST`] bytes.
fn drop_middle(text: &mut String, most: usize) {
    if text.len() > most {
        let cut = text.floor_char_boundary(LONGEST);
        let keep = text.ceil_char_boundary(text.len() - LONGEST);
        text.drain(cut..keep);
    }
}
