//! The engine as a command for WASI: `wasmtime run --dir . tiny-dancer.wasm route artifact.safetensors "a request"`.
//!
//! Answers are JSON, on standard output. Exit codes: 0 done, 1 failed (a file that cannot be read), 2 bad usage or bad input.

use std::io::Read;
use std::process::ExitCode;

use tiny_dancer_wasm::{Instance, Operation};

const USAGE: &str = "\
tiny-dancer route ARTIFACT [REQUEST] [--options JSON] [--encoder FILE]
tiny-dancer rank CANDIDATES [QUERY] [--scorer ARTIFACT] [--encoder FILE]
tiny-dancer intent ROUTES [REQUEST] [--options JSON] [--encoder FILE]
tiny-dancer classify TASKS [REQUEST] [--encoder FILE]

Files are what --dir opens. REQUEST is a text or JSON, QUERY is JSON; without it, or as -, it is read from standard input.";

/// Why a command ends: what is said, and its exit code.
struct Failure(String, u8);

type Outcome<T> = Result<T, Failure>;

fn usage(why: impl std::fmt::Display) -> Failure {
    Failure(format!("{why}\n\n{USAGE}"), 2)
}

fn file(path: &str) -> Outcome<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| Failure(format!("{path}: {error}; is it below a folder of --dir?"), 1))
}

/// What stands where, and options by name.
struct Arguments {
    places: Vec<String>,
    options: Vec<(String, String)>,
}

impl Arguments {
    fn read(mut given: impl Iterator<Item = String>, known: &[&str]) -> Outcome<Self> {
        let (mut places, mut options) = (Vec::new(), Vec::new());
        while let Some(each) = given.next() {
            if !each.starts_with("--") {
                places.push(each);
                continue;
            }
            if !known.contains(&each.as_str()) {
                return Err(usage(format!("{each}: no such option")));
            }
            let value = given.next().ok_or_else(|| usage(format!("{each}: a value is due")))?;
            options.push((each, value));
        }
        if places.is_empty() || places.len() > 2 {
            return Err(usage(format!("{} arguments: one or two are due", places.len())));
        }
        Ok(Self { places, options })
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn asked(&self) -> Outcome<String> {
        match self.places.get(1) {
            Some(text) if text != "-" => Ok(text.clone()),
            _ => {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .map_err(|error| Failure(format!("standard input: {error}"), 1))?;
                Ok(text)
            }
        }
    }

    /// A request: JSON as it is, any other text as a string of JSON.
    fn request(&self) -> Outcome<String> {
        let text = self.asked()?;
        let is_json = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        Ok(if is_json { text } else { serde_json::Value::from(text).to_string() })
    }
}

fn ask(instance: &mut Instance, operation: Operation, first: &[u8], second: &[u8]) -> Outcome<String> {
    let room = instance.input(first.len() + second.len());
    room[..first.len()].copy_from_slice(first);
    room[first.len()..][..second.len()].copy_from_slice(second);
    let done = instance.call(operation, first.len(), second.len());
    let answer = instance.answer().to_owned();
    if done { Ok(answer) } else { Err(Failure(answer, 2)) }
}

fn run() -> Outcome<String> {
    let mut given = std::env::args().skip(1);
    let command = given.next().ok_or_else(|| usage("a command is due"))?;
    if matches!(command.as_str(), "help" | "--help" | "-h") {
        return Ok(USAGE.to_owned());
    }
    let known: &[&str] = match command.as_str() {
        "route" | "intent" => &["--options", "--encoder"],
        "rank" => &["--scorer", "--encoder"],
        "classify" => &["--encoder"],
        other => return Err(usage(format!("{other}: no such command"))),
    };
    let arguments = Arguments::read(given, known)?;
    let mut instance = Instance::default();
    if let Some(path) = arguments.option("--encoder") {
        ask(&mut instance, Operation::Encoder, &file(path)?, b"")?;
    }
    let first = file(&arguments.places[0])?;
    let options = arguments.option("--options").unwrap_or_default();
    match command.as_str() {
        "route" => {
            ask(&mut instance, Operation::Router, &first, b"")?;
            ask(&mut instance, Operation::Decide, arguments.request()?.as_bytes(), options.as_bytes())
        }
        "rank" => {
            let scorer = arguments.option("--scorer").map(file).transpose()?.unwrap_or_default();
            ask(&mut instance, Operation::Candidates, &scorer, b"")?;
            ask(&mut instance, Operation::AddCandidates, &first, b"")?;
            ask(&mut instance, Operation::Rank, arguments.asked()?.as_bytes(), b"")
        }
        "intent" => {
            ask(&mut instance, Operation::Routes, &first, b"")?;
            let request = format!(r#"{{"text":{}}}"#, serde_json::Value::from(arguments.asked()?));
            ask(&mut instance, Operation::Route, request.as_bytes(), options.as_bytes())
        }
        _ => {
            ask(&mut instance, Operation::Tasks, &first, b"")?;
            let request = format!(r#"{{"text":{}}}"#, serde_json::Value::from(arguments.asked()?));
            ask(&mut instance, Operation::Classify, request.as_bytes(), b"")
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(Failure(why, code)) => {
            eprintln!("{why}");
            ExitCode::from(code)
        }
    }
}
