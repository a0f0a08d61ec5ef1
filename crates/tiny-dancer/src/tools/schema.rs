//! Tools as their authors write them → name, description and arguments.
//!
//! One reading for every dialect: OpenAI's chat completions (`function` around the definition) and Responses (flat, and
//! `namespace` around several), Anthropic's (`input_schema`), MCP's (`inputSchema`, and the answer of `tools/list`), and
//! OpenAPI documents, of which every operation is a tool. A tool of the vendor's own, which has a `type` and no name, goes
//! by its type. Arguments are the members of `properties` at any depth, with their descriptions and listed values; a
//! list of objects with a `name`, as OpenAPI has them, is read, too. What a schema says beyond that is not looked at, so
//! a schema that no validator would take is still searched by its words.

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::json::{Fault, Kind, Reader};

/// Most arguments read of one tool.
pub const MOST_ARGUMENTS: usize = 512;
/// Longest name, in bytes.
pub const LONGEST_NAME: usize = 512;
/// Longest text read as tools, in bytes.
const MOST_BYTES: usize = 1 << 28;
/// Most listed values read of one argument.
const MOST_VALUES: usize = 32;

/// One tool, by its words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// What it is called by.
    pub name: String,
    /// The server or namespace it stands in; empty for none.
    pub namespace: String,
    /// What is said about that.
    pub namespace_description: String,
    /// What it does.
    pub description: String,
    /// Names of its arguments, in alphabetical order at each depth.
    pub arguments: Vec<String>,
    /// What is said about them, and values they may have.
    pub argument_texts: Vec<String>,
    /// Its JSON, as it was given; an operation of an OpenAPI document with its `path` and `method`.
    pub source: String,
}

impl Definition {
    /// What it goes by where the caller gives no id: its name, behind its namespace and a slash if it has one.
    #[must_use]
    pub fn id(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

#[cold]
#[inline(never)]
pub(super) fn refused(field: &str, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::CandidateInvalid, field, value, remedy)
}

#[cold]
#[inline(never)]
fn broken(fault: Fault, field: &str) -> Error {
    Error { kind: ErrorKind::CandidateInvalid, ..fault.of(field) }
}

/// Reads one tool, a list of them, a namespace, the answer of MCP's `tools/list` or an OpenAPI document; errors call it
/// `field`. A tool without a name gets `name`, if there is one.
///
/// # Errors
/// `CandidateInvalid`: no JSON, no tool, or a part of one that cannot be what it should.
pub fn read_definitions(json: &str, field: &str, name: Option<&str>) -> Result<Vec<Definition>> {
    if json.len() > MOST_BYTES {
        return Err(refused(field, format!("{} bytes", json.len()), "give at most 256 MiB"));
    }
    let mut out = Vec::new();
    let mut reader = Reader::new(json);
    read_value(&mut reader, field, name, &Namespace::default(), &mut out)?;
    reader.end().map_err(|fault| broken(fault, field))?;
    Ok(out)
}

#[derive(Default)]
struct Namespace {
    name: String,
    description: String,
}

fn read_value(
    reader: &mut Reader,
    field: &str,
    name: Option<&str>,
    namespace: &Namespace,
    out: &mut Vec<Definition>,
) -> Result<()> {
    let fault = |fault| broken(fault, field);
    match reader.peek().map_err(fault)? {
        Kind::Array => read_list(reader, field, namespace, out),
        Kind::Object => {
            let source = reader.value().map_err(fault)?;
            let Value::Object(object) = parsed(source, field)? else { return Ok(()) };
            if object.contains_key("paths")
                && (object.contains_key("openapi") || object.contains_key("swagger"))
            {
                return read_operations(&object, field, namespace, out);
            }
            let Some(Value::Array(_)) = object.get("tools") else {
                out.push(definition(&object, source, field, name, namespace)?);
                return Ok(());
            };
            let inner = Namespace {
                name: text(&object, "name", field)?.map_or_else(|| namespace.name.clone(), str::to_owned),
                description: text(&object, "description", field)?
                    .map_or_else(|| namespace.description.clone(), str::to_owned),
            };
            // Once more, so that each tool keeps the text it came in.
            let mut again = Reader::new(source);
            let mut found = Ok(());
            let read = again.object(|key, reader| {
                if key.is("tools") {
                    let before = out.len();
                    found = read_list(reader, &format!("{field}.tools"), &inner, out);
                    if found.is_err() {
                        out.truncate(before);
                    }
                    return found.is_ok().then_some(()).ok_or(None);
                }
                reader.skip().map_err(Some)
            });
            found?;
            read.map_err(|fault: Option<Fault>| {
                fault.map_or_else(|| refused(field, "no tools", "give a list"), |fault| broken(fault, field))
            })
        }
        other => {
            let remedy = "give a tool's JSON object, a list of them, or an OpenAPI document";
            Err(refused(field, other.as_str(), remedy))
        }
    }
}

fn read_list(
    reader: &mut Reader,
    field: &str,
    namespace: &Namespace,
    out: &mut Vec<Definition>,
) -> Result<()> {
    let mut values = Vec::new();
    reader
        .array(|_, reader| {
            values.push(reader.value()?);
            Ok::<_, Fault>(())
        })
        .map_err(|fault| broken(fault, field))?;
    for (place, value) in values.into_iter().enumerate() {
        let field = format!("{field}[{place}]");
        let mut reader = Reader::new(value);
        if reader.peek().map_err(|fault| broken(fault, &field))? != Kind::Object {
            return Err(refused(&field, "no object", "a tool is a JSON object"));
        }
        read_value(&mut reader, &field, None, namespace, out)?;
    }
    Ok(())
}

fn parsed(source: &str, field: &str) -> Result<Value> {
    crate::json::typed(source)
        .map_err(|error| refused(field, error, "give valid JSON, nested at most 256 deep"))
}

/// A text member; null is absent.
fn text<'a>(object: &'a Map<String, Value>, key: &str, field: &str) -> Result<Option<&'a str>> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(refused(&format!("{field}.{key}"), shown(other), "give a text, or leave it out")),
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    text[..text.floor_char_boundary(60)].to_owned()
}

fn definition(
    object: &Map<String, Value>,
    source: &str,
    field: &str,
    name: Option<&str>,
    namespace: &Namespace,
) -> Result<Definition> {
    let inner = match object.get("function").or_else(|| object.get("custom")) {
        Some(Value::Object(inner)) => inner,
        _ => object,
    };
    let given = match text(inner, "name", field)? {
        Some(name) if !name.trim().is_empty() => Some(name),
        _ => name,
    };
    let Some(name) = given.or(text(object, "type", field)?) else {
        return Err(refused(&format!("{field}.name"), "absent", "give the tool a name"));
    };
    if name.len() > LONGEST_NAME {
        let remedy = "a name has at most 512 bytes";
        return Err(refused(&format!("{field}.name"), format!("{} bytes", name.len()), remedy));
    }
    let description = text(inner, "description", field)?.or(text(inner, "title", field)?).unwrap_or_default();
    let mut definition = Definition {
        name: name.to_owned(),
        namespace: namespace.name.clone(),
        namespace_description: namespace.description.clone(),
        description: description.to_owned(),
        source: source.to_owned(),
        ..Definition::default()
    };
    for key in ["parameters", "input_schema", "inputSchema"] {
        match inner.get(key) {
            None | Some(Value::Null | Value::Bool(_)) => {}
            Some(schema @ Value::Object(_)) => read_schema(schema, &mut definition),
            Some(Value::Array(listed)) => read_parameters(listed, &mut definition),
            Some(other) => {
                let remedy = "give a JSON schema: an object with properties";
                return Err(refused(&format!("{field}.{key}"), shown(other), remedy));
            }
        }
    }
    Ok(definition)
}

fn push_text(text: &str, definition: &mut Definition) {
    if !text.is_empty() && definition.argument_texts.len() < 4 * MOST_ARGUMENTS {
        definition.argument_texts.push(text.to_owned());
    }
}

/// An argument's own description and listed values.
fn describe(schema: &Map<String, Value>, definition: &mut Definition) {
    for key in ["description", "title"] {
        if let Some(Value::String(text)) = schema.get(key) {
            push_text(text, definition);
        }
    }
    if let Some(Value::Array(values)) = schema.get("enum") {
        for value in values.iter().take(MOST_VALUES) {
            if let Value::String(text) = value {
                push_text(text, definition);
            }
        }
    }
}

/// Arguments of a schema at any depth: how deep is bounded by what JSON was read.
fn read_schema(schema: &Value, definition: &mut Definition) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match (key.as_str(), value) {
                    ("properties", Value::Object(properties)) => {
                        for (name, property) in properties {
                            argument(name, property, definition);
                        }
                    }
                    ("items" | "additionalProperties" | "schema", inner) => read_schema(inner, definition),
                    ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(parts)) => {
                        for part in parts {
                            read_schema(part, definition);
                        }
                    }
                    ("$defs" | "definitions", Value::Object(parts)) => {
                        for part in parts.values() {
                            read_schema(part, definition);
                        }
                    }
                    _ => {}
                }
            }
        }
        Value::Array(parts) => {
            for part in parts {
                read_schema(part, definition);
            }
        }
        _ => {}
    }
}

fn argument(name: &str, property: &Value, definition: &mut Definition) {
    if definition.arguments.len() == MOST_ARGUMENTS {
        return;
    }
    definition.arguments.push(name.to_owned());
    match property {
        Value::Object(schema) => {
            describe(schema, definition);
            read_schema(property, definition);
        }
        // No schema, but words about the argument.
        Value::String(text) => push_text(text, definition),
        _ => {}
    }
}

/// OpenAPI's `parameters`: a list of objects with a name.
fn read_parameters(listed: &[Value], definition: &mut Definition) {
    for parameter in listed {
        let Value::Object(parameter) = parameter else { continue };
        let Some(Value::String(name)) = parameter.get("name") else { continue };
        if definition.arguments.len() == MOST_ARGUMENTS {
            return;
        }
        definition.arguments.push(name.clone());
        describe(parameter, definition);
        if let Some(Value::Object(schema)) = parameter.get("schema") {
            describe(schema, definition);
            read_schema(&parameter["schema"], definition);
        }
    }
}

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// What a `$ref` within the document stands for.
fn resolved<'a>(document: &'a Map<String, Value>, value: &'a Value) -> &'a Value {
    let Some(Value::String(reference)) = value.get("$ref") else { return value };
    let Some(path) = reference.strip_prefix("#/") else { return value };
    let mut parts = path.split('/');
    let Some(mut found) = parts.next().and_then(|part| document.get(part)) else { return value };
    for part in parts {
        let Some(next) = found.get(part.replace("~1", "/").replace("~0", "~")) else { return value };
        found = next;
    }
    found
}

fn read_operations(
    document: &Map<String, Value>,
    field: &str,
    namespace: &Namespace,
    out: &mut Vec<Definition>,
) -> Result<()> {
    let Some(Value::Object(paths)) = document.get("paths") else {
        return Err(refused(&format!("{field}.paths"), "no object", "an OpenAPI document has paths"));
    };
    let empty = Map::new();
    let info = document.get("info").and_then(Value::as_object).unwrap_or(&empty);
    let described = text(info, "description", field)?.unwrap_or_default();
    let namespace = if namespace.name.is_empty() {
        let name = text(info, "title", field)?.unwrap_or_default().to_owned();
        &Namespace { name, description: described.to_owned() }
    } else {
        namespace
    };
    for (path, item) in paths {
        let Some(item) = item.as_object() else { continue };
        for method in METHODS {
            let Some(Value::Object(operation)) = item.get(method) else { continue };
            let field = format!("{field}.paths[{path}].{method}");
            let name = match text(operation, "operationId", &field)? {
                Some(name) if !name.is_empty() => name.to_owned(),
                _ => format!("{method} {path}"),
            };
            if name.len() > LONGEST_NAME {
                let remedy = "give the operation an operationId of at most 512 bytes";
                return Err(refused(&field, format!("{} bytes", name.len()), remedy));
            }
            let words = [text(operation, "summary", &field)?, text(operation, "description", &field)?];
            let mut source = operation.clone();
            source.insert("path".to_owned(), Value::String(path.clone()));
            source.insert("method".to_owned(), Value::String(method.to_owned()));
            let mut definition = Definition {
                name,
                namespace: namespace.name.clone(),
                namespace_description: namespace.description.clone(),
                description: words.into_iter().flatten().collect::<Vec<_>>().join("\n"),
                source: Value::Object(source).to_string(),
                ..Definition::default()
            };
            for parameters in [item.get("parameters"), operation.get("parameters")].into_iter().flatten() {
                let listed: Vec<Value> = parameters
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|parameter| resolved(document, parameter).clone())
                    .collect();
                read_parameters(&listed, &mut definition);
            }
            let body = operation.get("requestBody").map(|body| resolved(document, body));
            let contents = body.and_then(|body| body.get("content")).and_then(Value::as_object);
            // All kinds of content say the same in other forms: one is enough.
            if let Some(schema) =
                contents.and_then(|kinds| kinds.values().next()).and_then(|kind| kind.get("schema"))
            {
                read_schema(resolved(document, schema), &mut definition);
            }
            out.push(definition);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Vec<Definition> {
        read_definitions(json, "tools", None).unwrap()
    }

    const SCHEMA: &str = r#"{"type":"object","properties":{"city":{"type":"string","description":"Where"},"unit":{"enum":["c","f"]}}}"#;

    #[test]
    fn every_dialect_is_read_the_same() {
        let chat = format!(
            r#"{{"type":"function","function":{{"name":"weather","description":"Forecast","parameters":{SCHEMA}}}}}"#
        );
        let responses = format!(
            r#"{{"type":"function","name":"weather","description":"Forecast","parameters":{SCHEMA}}}"#
        );
        let anthropic = format!(r#"{{"name":"weather","description":"Forecast","input_schema":{SCHEMA}}}"#);
        let mcp =
            format!(r#"{{"tools":[{{"name":"weather","description":"Forecast","inputSchema":{SCHEMA}}}]}}"#);
        for json in [&chat, &responses, &anthropic, &mcp, &format!("[{chat}]")] {
            let found = read(json);
            assert_eq!(found.len(), 1, "{json}");
            assert_eq!((&*found[0].name, &*found[0].description), ("weather", "Forecast"));
            assert_eq!(found[0].arguments, ["city", "unit"]);
            assert_eq!(found[0].argument_texts, ["Where", "c", "f"]);
        }
        assert_eq!(read(&chat)[0].source, chat, "the text it came in");
    }

    #[test]
    fn operations_and_namespaces_are_tools() {
        let document = r##"{"openapi":"3.1.0","info":{"title":"Shop","description":"Orders of a shop"},
            "components":{"parameters":{"Id":{"name":"order_id","in":"path","description":"Which order"}},
              "schemas":{"Order":{"type":"object","properties":{"sku":{"type":"string"}}}}},
            "paths":{"/orders/{id}":{"parameters":[{"$ref":"#/components/parameters/Id"}],
               "get":{"operationId":"getOrder","summary":"One order"},
               "put":{"description":"Change it","requestBody":{"content":{"application/json":
                 {"schema":{"$ref":"#/components/schemas/Order"}}}}}}}}"##;
        let found = read(document);
        let ids: Vec<String> = found.iter().map(Definition::id).collect();
        assert_eq!(ids, ["Shop/getOrder", "Shop/put /orders/{id}"]);
        assert_eq!(found[1].arguments, ["order_id", "sku"]);
        assert!(found[0].source.contains("\"path\":\"/orders/{id}\""));

        let namespace = r#"[{"type":"namespace","name":"crm","description":"Customers","tools":[{"name":"find"}]},
            {"type":"web_search"}]"#;
        let ids: Vec<String> = read(namespace).iter().map(Definition::id).collect();
        assert_eq!(ids, ["crm/find", "web_search"]);
        assert_eq!(read(namespace)[0].namespace_description, "Customers");
    }

    #[test]
    fn what_is_no_tool_is_refused_by_place() {
        for (json, field) in [
            ("[1]", "tools[0]"),
            ("3", "tools"),
            ("{", "tools"),
            ("{}", "tools.name"),
            (r#"[{"name":"a"},{"name":7}]"#, "tools[1].name"),
            (r#"{"name":"a","description":[]}"#, "tools.description"),
            (r#"{"name":"a","parameters":"none"}"#, "tools.parameters"),
            (r#"{"tools":[{"name":"a"},{"description":"b"}]}"#, "tools.tools[1].name"),
        ] {
            let error = read_definitions(json, "tools", None).unwrap_err();
            assert_eq!((error.kind, &*error.field), (ErrorKind::CandidateInvalid, field), "{json}");
        }
    }

    #[test]
    fn a_loose_schema_is_read_by_its_words() {
        let found = read(
            r#"{"name":"a","parameters":{"properties":{"x":"the width","y":3,"z":{"items":{"properties":{"deep":{}}}}}}}"#,
        );
        assert_eq!(found[0].arguments, ["x", "y", "z", "deep"]);
        assert_eq!(found[0].argument_texts, ["the width"]);
        assert_eq!(read(r#"{"name":"a","parameters":[{"name":"b","description":"c"}]}"#)[0].arguments, ["b"]);
    }
}
