//! What a content says, returns and calls: a string, or parts of many kinds.

use super::tools::argument_bytes;
use super::{Spec, refused};
use crate::error::Error;
use crate::json::{Fault, Kind, Reader, Text};
use crate::text::{LONGEST, bounded};

/// A fault of the text, or an error that names what is wrong with its meaning.
pub(super) enum Stop {
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
    pub(super) fn of(self, field: &str) -> Error {
        match self {
            Self::Fault(fault) => fault.of(field),
            Self::Error(error) => error,
        }
    }
}

/// What one content holds.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Bytes of what is said, parts joined by line feeds.
    pub(super) bytes: usize,
    pub(super) parts: usize,
    /// The same of results.
    pub(super) result_bytes: usize,
    pub(super) results: usize,
    pub(super) call_bytes: usize,
    /// Parts that are neither text nor result nor call: images, files, thinking.
    pub(super) others: usize,
}

/// The field an error names.
#[derive(Clone, Copy)]
pub(super) enum Field {
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
pub(super) enum Piece<'a> {
    Said(Text<'a>),
    Result(Text<'a>),
}

/// Walks a content: measures it and hands its texts to `emit`.
pub(super) fn walk<'a>(
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
pub(super) fn walk_output<'a>(
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
pub(super) fn gather(
    reader: &mut Reader,
    spec: Spec,
    all: bool,
    arguments: &mut String,
    content: &mut String,
) {
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
pub(super) fn append(piece: &str, content: &mut String) {
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
pub(super) fn append_bounded(content: &str, joined: &mut String) {
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
