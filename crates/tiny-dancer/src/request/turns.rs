//! Messages: whose each is, and which of them are the turn that asks.

use std::ops::Range;

use super::content::{Field, Said, Stop, gather, walk, walk_output};
use super::harness::{is_harness, without_harness};
use super::tools::{argument_bytes, call};
use super::{Spec, refused};
use crate::json::{Fault, Kind, Reader};
use crate::shape::is_follow_up;

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
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Bytes that are said in it.
    pub(super) bytes: usize,
    pub(super) by: By,
}

/// Whose a message is, as far as the text to route goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The user's, and something of the user's own.
    Turn,
    /// The assistant's.
    Assistant,
    System,
    /// Results, of whatever role.
    Results,
    /// The user's by its role, but of a harness alone.
    Harness,
}

impl Place {
    /// Of a value that was read out of `json`.
    fn of(value: &str, json: &str, bytes: usize, by: By) -> Self {
        let start = value.as_ptr() as usize - json.as_ptr() as usize;
        Self { start, end: start + value.len(), bytes, by }
    }

    pub(super) fn is_turn(&self) -> bool {
        self.by == By::Turn
    }
}

/// Bytes by who said them.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) items: usize,
    pub(super) turns: u32,
    pub(super) system: usize,
    pub(super) user: usize,
    pub(super) other: usize,
    pub(super) results: usize,
    pub(super) calls: usize,
}

/// Reads one part of a prompt: a text, or tokens, which cannot be read. All of them are one turn.
pub(super) fn prompt_part<'a>(
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
pub(super) fn message<'a>(
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

/// What the last turn asks, as places among the messages.
pub(super) struct Asked {
    /// Those of the user's in here.
    pub(super) turns: Range<usize>,
    /// What was answered last, where the last turn only says to go on.
    pub(super) answer: Option<usize>,
}

/// The last turn of the user's; where it only says to go on, the one before it that says more, and the answer between.
pub(super) fn asked(json: &str, messages: &[Place], arguments: &mut String, content: &mut String) -> Asked {
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
            is_follow_up(without_harness(content))
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

/// Turns of the user's that are of a harness alone are no turns, where any other is. How many there are.
pub(super) fn set_harness_apart(
    json: &str,
    messages: &mut [Place],
    turns: u32,
    arguments: &mut String,
    content: &mut String,
) -> u32 {
    let mut is_apart = |place: &Place| {
        // All that a harness says begins with a bracket; of parts, any may be the first that says something.
        let value = json[place.start..place.end].trim_start();
        let text = value.strip_prefix('"').unwrap_or("<");
        let text = text.trim_start_matches([' ', '\\', 'n', 'r', 't']);
        if place.bytes == 0 || !(text.starts_with('<') || text.starts_with('[')) {
            return false;
        }
        gather(&mut Reader::new(value), Spec::NEWEST, false, arguments, content);
        is_harness(content)
    };
    let mut apart = 0;
    for place in messages.iter_mut().filter(|place| place.is_turn()) {
        if is_apart(place) {
            place.by = By::Harness;
            apart += 1;
        }
    }
    if apart < turns {
        return apart;
    }
    for place in messages.iter_mut().filter(|place| place.by == By::Harness) {
        place.by = By::Turn;
    }
    0
}
