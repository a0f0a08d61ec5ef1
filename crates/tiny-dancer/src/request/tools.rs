//! What counts without being read as words: tools, calls and the form of an answer, by their structure.

use super::Around;
use crate::json::{Fault, Kind, Reader};
use crate::number;

/// Bytes of a tools document that were searched for functions and parameters by the first specification.
const LONGEST_TOOLS: usize = 64 << 10;

/// Bytes of a call's name and arguments: `{name, arguments}`, or under `function` or `custom`.
pub(super) fn call(reader: &mut Reader, arguments: &mut String) -> std::result::Result<usize, Fault> {
    let mut bytes = 0;
    if reader.peek()? != Kind::Object {
        reader.skip()?;
        return Ok(0);
    }
    reader.object(|key, reader| {
        match () {
            () if (key.is("function") || key.is("custom")) && reader.peek()? == Kind::Object => {
                bytes += call(reader, arguments)?;
            }
            () if key.is("name") || key.is("arguments") || key.is("input") => {
                bytes += argument_bytes(reader.value()?, arguments)?;
            }
            () => reader.skip()?,
        }
        Ok::<_, Fault>(())
    })?;
    Ok(bytes)
}

/// Bytes of a value in canonical form; a string that holds JSON (OpenAI's arguments) counts as that JSON.
pub(super) fn argument_bytes(value: &str, buffer: &mut String) -> std::result::Result<usize, Fault> {
    let mut reader = Reader::new(value);
    match reader.peek()? {
        Kind::Null => Ok(0),
        Kind::String => {
            let text = reader.string()?;
            buffer.clear();
            text.append_to(buffer);
            let mut inner = Reader::new(buffer);
            let holds = matches!(inner.peek(), Ok(Kind::Object | Kind::Array));
            let found = if holds { measure(&mut inner, &mut 0) } else { Ok(text.len()) };
            Ok(match (found, holds && inner.end().is_err()) {
                (Ok(bytes), false) => bytes,
                _ => text.len(),
            })
        }
        _ => measure(&mut reader, &mut 0),
    }
}

/// Bytes of the value that comes next in canonical form; counts the members of all `properties` in it.
fn measure(reader: &mut Reader, parameters: &mut u32) -> std::result::Result<usize, Fault> {
    Ok(match reader.peek()? {
        Kind::Null => {
            reader.null()?;
            4
        }
        Kind::Boolean => 5 - usize::from(reader.boolean()?),
        Kind::Number => {
            let written = reader.number()?;
            number::canonical(written, str::len).unwrap_or(written.len())
        }
        Kind::String => 2 + reader.string()?.len(),
        Kind::Array => {
            let mut bytes = 1;
            reader.array(|_, reader| {
                bytes += 1 + measure(reader, parameters)?;
                Ok::<_, Fault>(())
            })?;
            bytes.max(2)
        }
        Kind::Object => {
            let mut bytes = 1;
            reader.object(|key, reader| {
                bytes += 4 + key.len();
                bytes += if key.is("properties") && reader.peek()? == Kind::Object {
                    measure_properties(reader, parameters)?
                } else {
                    measure(reader, parameters)?
                };
                Ok::<_, Fault>(())
            })?;
            bytes.max(2)
        }
    })
}

/// As [`measure`], of an object whose members are parameters: one may be called `properties` itself.
fn measure_properties(reader: &mut Reader, parameters: &mut u32) -> std::result::Result<usize, Fault> {
    let mut bytes = 1;
    reader.object(|name, reader| {
        *parameters += 1;
        bytes += 4 + name.len() + measure(reader, parameters)?;
        Ok::<_, Fault>(())
    })?;
    Ok(bytes.max(2))
}

/// Tools by their structure; what is no JSON counts by its bytes alone.
pub(super) fn measure_tools(tools: &str, around: &mut Around) {
    let bare = *around;
    let mut reader = Reader::new(tools);
    if tools.is_empty() || offered(&mut reader, around).and_then(|()| reader.end()).is_ok() {
        return;
    }
    *around = Around { tool_bytes: tools.len(), ..bare };
}

fn offered(reader: &mut Reader, around: &mut Around) -> std::result::Result<(), Fault> {
    match reader.peek()? {
        Kind::Null => reader.null(),
        Kind::Array => tool_list(reader, around),
        Kind::Object => {
            // The answer of MCP's `tools/list`, or one tool alone.
            let mut listed = None;
            let value = reader.value()?;
            Reader::new(value).object(|key, reader| {
                let is_list = key.is("tools") && reader.peek()? == Kind::Array;
                let value = reader.value()?;
                if is_list {
                    listed = Some(value);
                }
                Ok::<_, Fault>(())
            })?;
            match listed {
                Some(list) => tool_list(&mut Reader::new(list), around),
                None => tool(value, around),
            }
        }
        _ => {
            around.tool_bytes = measure(reader, &mut 0)?;
            Ok(())
        }
    }
}

fn tool_list(reader: &mut Reader, around: &mut Around) -> std::result::Result<(), Fault> {
    reader.array(|_, reader| tool(reader.value()?, around))
}

/// Name, description and schema of a tool, under the names of any dialect.
fn tool(value: &str, around: &mut Around) -> std::result::Result<(), Fault> {
    around.tools += 1;
    let mut definition = value;
    if Reader::new(value).peek()? == Kind::Object {
        Reader::new(value).object(|key, reader| {
            let nested = key.is("function") && reader.peek()? == Kind::Object;
            let inner = reader.value()?;
            if nested {
                definition = inner;
            }
            Ok::<_, Fault>(())
        })?;
    }
    let mut reader = Reader::new(definition);
    let (mut found, mut bytes, mut parameters) = (false, 0, 0);
    if reader.peek()? == Kind::Object {
        reader.object(|key, reader| {
            let kind = reader.peek()?;
            if (key.is("name") || key.is("description")) && kind == Kind::String {
                found = true;
                bytes += reader.string()?.len();
            } else if ["parameters", "input_schema", "inputSchema"].iter().any(|word| key.is(word))
                && kind != Kind::Null
            {
                found = true;
                bytes += measure(reader, &mut parameters)?;
            } else {
                reader.skip()?;
            }
            Ok::<_, Fault>(())
        })?;
    }
    if !found {
        bytes = measure(&mut Reader::new(value), &mut parameters)?;
    }
    around.tool_bytes += bytes;
    around.tool_parameters += parameters;
    Ok(())
}

/// Tools as the first specification counted them: by the text they came in.
pub(super) fn count_text(tools: &str, around: &mut Around) {
    around.tool_bytes = tools.len();
    let searched = &tools[..tools.floor_char_boundary(LONGEST_TOOLS)];
    around.tools = searched.matches("\"parameters\"").count() as u32;
    around.tool_parameters = (searched.matches("\"type\"").count() as u32).saturating_sub(around.tools);
}

/// The form of the answer by its schema; what is no JSON counts by its bytes.
pub(super) fn measure_format(format: &str, around: &mut Around) {
    let mut reader = Reader::new(format);
    if !format.is_empty() {
        let bytes = schema_bytes(&mut reader).and_then(|bytes| reader.end().map(|()| bytes));
        around.format_bytes = bytes.unwrap_or(format.len());
    }
}

/// Bytes of the `schema` in a response format, which may stand under `json_schema` or `format`.
fn schema_bytes(reader: &mut Reader) -> std::result::Result<usize, Fault> {
    if reader.peek()? != Kind::Object {
        reader.skip()?;
        return Ok(0);
    }
    let mut bytes = 0;
    reader.object(|key, reader| {
        match () {
            () if key.is("schema") && reader.peek()? == Kind::Object => bytes += measure(reader, &mut 0)?,
            () if key.is("json_schema") || key.is("format") => bytes += schema_bytes(reader)?,
            () => reader.skip()?,
        }
        Ok::<_, Fault>(())
    })?;
    Ok(bytes)
}
