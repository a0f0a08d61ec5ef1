//! Artifacts and encoders: found by name in a table or a folder, loaded once a backend.
//!
//! What is loaded is kept by what it is made of: the checksum of its bytes and the changes of its models; a file by what
//! the system says identifies it. Whether a name means what it meant is asked anew under each snapshot, by a look at the
//! row without its bytes, as the role that calls. So transactions, savepoints, isolation levels, row-level security,
//! other backends and parallel workers need no more care: what a query could read is what it decides with.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use pgrx::pg_sys;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tiny_dancer::candidates::CandidateScorer;
use tiny_dancer::encoder::Encoder;
use tiny_dancer::routes::Routing;
use tiny_dancer::tasks::Tasking;
use tiny_dancer::tools::ToolSet;
use tiny_dancer::{Error, ErrorKind, Handle};

use crate::call::{bytes_of, text, utf8};
use crate::failure::{ARGUMENT, FILE, Failure, NO_ARTIFACT, Result};

/// Most artifacts, and most encoders, that a backend keeps loaded: those that were used last.
const KEPT: usize = 16;
/// Longest header of a file that is looked at for its encoder's checksum.
const LONGEST_HEADER: u64 = 1 << 20;
/// Most names whose meaning is remembered under one snapshot.
const MOST_NAMES: usize = 1024;

/// What an artifact is when it is loaded.
#[derive(Debug)]
pub enum Object {
    /// Decides among models.
    Router(Box<Handle>),
    /// Gives a request its route.
    Routes(Box<Routing>),
    /// Tells tasks apart.
    Tasks(Box<Tasking>),
    /// Ranks candidates.
    Scorer(Box<CandidateScorer>),
    /// Selects tools by what was learned of their use: the artifact, and the encoder it names.
    Tools(Vec<u8>, Option<Arc<Encoder>>),
    /// Turns texts into vectors.
    Encoder(Arc<Encoder>),
}

/// What is said of an artifact without its weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// What it is.
    pub kind: String,
    /// The checksum of the encoder it needs; of an encoder its own.
    pub encoder: Option<String>,
}

/// How an artifact is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// By its name.
    Name(String),
    /// By the SHA-256 of its bytes, in hexadecimal.
    Checksum(String),
}

/// What a loaded artifact is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Bytes { checksum: String, models: String },
    File { path: PathBuf, device: u64, inode: u64, length: u64, changed: (i64, i64) },
}

/// Everything that says which rows a query sees, and what was undone since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    undone: u64,
    user: pg_sys::Oid,
    row_security: bool,
    snapshot: (u32, u32, u32, i32, u32, u64),
}

struct Kept {
    content: Content,
    object: Rc<Object>,
}

#[derive(Default)]
struct Backend {
    moment: Option<Moment>,
    /// What names mean at that moment.
    meant: HashMap<Wanted, Rc<Object>>,
    /// The name that was asked for last.
    last: Option<(Vec<u8>, Rc<Object>)>,
    /// What is loaded, used last first.
    kept: Vec<Kept>,
    encoders: Vec<Arc<Encoder>>,
    /// Of files that were asked for by their checksum.
    checksums: Vec<(Content, String)>,
    plans: [Option<pg_sys::SPIPlanPtr>; QUERIES.len()],
}

thread_local! {
    static UNDONE: Cell<u64> = const { Cell::new(0) };
    static BACKEND: RefCell<Backend> = RefCell::default();
}

/// Lets no name mean what it meant: a transaction or a part of it has ended, or a setting changed.
pub fn look_again() {
    UNDONE.set(UNDONE.get() + 1);
}

/// Asks the server to say when transactions and their parts end.
///
/// # Safety
/// Once, while the library is loaded.
pub unsafe fn watch_transactions() {
    unsafe extern "C-unwind" fn ended(_event: pg_sys::XactEvent::Type, _nothing: *mut std::ffi::c_void) {
        look_again();
    }
    unsafe extern "C-unwind" fn part_ended(
        _event: pg_sys::SubXactEvent::Type,
        _part: pg_sys::SubTransactionId,
        _parent: pg_sys::SubTransactionId,
        _nothing: *mut std::ffi::c_void,
    ) {
        look_again();
    }
    // SAFETY: functions that only count.
    unsafe {
        pg_sys::RegisterXactCallback(Some(ended), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(part_ended), std::ptr::null_mut());
    }
}

/// Loads what the extension brings, before the server forks: each backend then has it without reading it.
///
/// What cannot be loaded is left to the backends, which say why.
pub fn preload() {
    let folder = crate::settings::artifact_folder();
    if let Ok(paths) = safetensors(&folder) {
        for path in paths {
            let _ = of_file(&path);
        }
    }
}

impl Moment {
    /// This moment; `None` where there is no snapshot.
    fn now() -> Option<Self> {
        // SAFETY: asks for what the server holds.
        unsafe {
            if !pg_sys::ActiveSnapshotSet() {
                return None;
            }
            let snapshot = &*pg_sys::GetActiveSnapshot();
            Some(Self {
                undone: UNDONE.get(),
                user: pg_sys::GetUserId(),
                row_security: pg_sys::row_security,
                snapshot: (
                    snapshot.xmin.into_inner(),
                    snapshot.xmax.into_inner(),
                    snapshot.xcnt,
                    snapshot.subxcnt,
                    snapshot.curcid,
                    snapshot.snapXactCompletionCount,
                ),
            })
        }
    }
}

/// The artifact of a name; of the one that `tiny_dancer.artifact` names where it is `None`.
///
/// # Errors
/// None of that name, one that cannot be loaded, or no right to read it.
pub fn named(name: Option<&str>) -> Result<Rc<Object>> {
    let asked = name.map_or_else(|| crate::settings::artifact(), str::as_bytes);
    let moment = Moment::now();
    let fast = BACKEND.with_borrow(|backend| {
        let (last, object) = backend.last.as_ref()?;
        (moment.is_some() && backend.moment == moment && last == asked).then(|| Rc::clone(object))
    });
    if let Some(object) = fast {
        return Ok(object);
    }
    let asked = asked.to_vec();
    let name = match name {
        Some(name) => name.to_owned(),
        None => utf8(&asked)?.into_owned(),
    };
    let object = found(&Wanted::Name(name), moment)?;
    BACKEND.with_borrow_mut(|backend| backend.last = Some((asked, Rc::clone(&object))));
    Ok(object)
}

/// The artifact of a name or checksum, at a moment.
///
/// # Errors
/// As [`named`].
pub fn find(wanted: &Wanted) -> Result<Rc<Object>> {
    found(wanted, Moment::now())
}

/// As [`find`], at a moment.
fn found(wanted: &Wanted, moment: Option<Moment>) -> Result<Rc<Object>> {
    let known = BACKEND.with_borrow_mut(|backend| {
        if moment.is_none() || backend.moment != moment || backend.meant.len() >= MOST_NAMES {
            backend.meant.clear();
            backend.last = None;
            backend.moment = moment;
        }
        backend.meant.get(wanted).map(Rc::clone)
    });
    if let Some(object) = known {
        return Ok(object);
    }
    // Without a snapshot there is no table to look at, as in a worker of the server's own.
    let row = if moment.is_some() { of_table(wanted)? } else { None };
    let object = match row {
        Some(object) => object,
        None => of_folder(wanted)?,
    };
    BACKEND.with_borrow_mut(|backend| {
        if moment.is_some() && backend.moment == moment {
            backend.meant.insert(wanted.clone(), Rc::clone(&object));
        }
    });
    Ok(object)
}

/// What is loaded of this content, or is loaded now.
fn kept(content: Content, load: impl FnOnce() -> Result<Object>) -> Result<Rc<Object>> {
    let known = BACKEND.with_borrow_mut(|backend| {
        let place = backend.kept.iter().position(|kept| kept.content == content)?;
        let kept = backend.kept.remove(place);
        let object = Rc::clone(&kept.object);
        backend.kept.insert(0, kept);
        Some(object)
    });
    if let Some(object) = known {
        return Ok(object);
    }
    let object = Rc::new(load()?);
    BACKEND.with_borrow_mut(|backend| {
        // What a file was before is not asked for again.
        if let Content::File { path, .. } = &content {
            backend
                .kept
                .retain(|kept| !matches!(&kept.content, Content::File { path: other, .. } if other == path));
        }
        backend.kept.insert(0, Kept { content, object: Rc::clone(&object) });
        backend.kept.truncate(KEPT);
    });
    Ok(object)
}

const QUERIES: [&CStr; 4] = [
    c"SELECT checksum, models FROM tiny_dancer.artifacts WHERE name OPERATOR(pg_catalog.=) $1",
    c"SELECT bytes FROM tiny_dancer.artifacts WHERE name OPERATOR(pg_catalog.=) $1",
    c"SELECT name FROM tiny_dancer.artifacts WHERE checksum OPERATOR(pg_catalog.=) $1 AND models IS NULL ORDER BY name LIMIT 1",
    c"SELECT bytes FROM tiny_dancer.artifacts WHERE kind OPERATOR(pg_catalog.=) 'encoder'::pg_catalog.text AND encoder OPERATOR(pg_catalog.=) $1 ORDER BY name LIMIT 1",
];

/// The first row of a query of [`QUERIES`] for a text, seen under the active snapshot as the role that calls: its
/// columns, texts or bytes.
fn first_row(query: usize, given: &str) -> Option<Vec<Option<Vec<u8>>>> {
    // SAFETY: the manual's order of calls. What an error leaves open is closed when the transaction ends.
    unsafe {
        pg_sys::SPI_connect();
        let plan = BACKEND.with_borrow(|backend| backend.plans[query]);
        let plan = plan.unwrap_or_else(|| {
            let plan = pg_sys::SPI_prepare(QUERIES[query].as_ptr(), 1, [pg_sys::TEXTOID].as_mut_ptr());
            assert!(!plan.is_null(), "a query of the extension's cannot be prepared");
            pg_sys::SPI_keepplan(plan);
            BACKEND.with_borrow_mut(|backend| backend.plans[query] = Some(plan));
            plan
        });
        let done = pg_sys::SPI_execute_plan(plan, [text(given)].as_mut_ptr(), std::ptr::null(), true, 1);
        assert!(done == pg_sys::SPI_OK_SELECT as i32, "a query of the extension's gave {done}");
        let row = (pg_sys::SPI_processed > 0).then(|| {
            let table = &*pg_sys::SPI_tuptable;
            let column = |column| {
                let mut null = false;
                let value = pg_sys::SPI_getbinval(*table.vals, table.tupdesc, column, &raw mut null);
                (!null).then(|| bytes_of(value).to_vec())
            };
            (1..=(*table.tupdesc).natts).map(column).collect()
        });
        pg_sys::SPI_finish();
        row
    }
}

/// As [`first_row`], its columns as UTF-8.
fn first_texts(query: usize, given: &str) -> Result<Option<Vec<Option<String>>>> {
    let column = |bytes: Option<Vec<u8>>| bytes.map(|bytes| Ok(utf8(&bytes)?.into_owned())).transpose();
    first_row(query, given).map(|row| row.into_iter().map(column).collect()).transpose()
}

/// As [`first_row`], its one column as it is.
fn first_bytes(query: usize, given: &str) -> Option<Vec<u8>> {
    first_row(query, given).and_then(|row| row.into_iter().next().flatten())
}

fn of_table(wanted: &Wanted) -> Result<Option<Rc<Object>>> {
    let name = match wanted {
        Wanted::Name(name) => name.clone(),
        Wanted::Checksum(checksum) => match first_texts(2, checksum)?.and_then(|mut row| row[0].take()) {
            Some(name) => name,
            None => return Ok(None),
        },
    };
    let Some(mut row) = first_texts(0, &name)? else { return Ok(None) };
    let (checksum, models) = (row[0].take().unwrap_or_default(), row[1].take().unwrap_or_default());
    let content = Content::Bytes { checksum, models: models.clone() };
    let read = || load(&first_bytes(1, &name).unwrap_or_default(), &models).map(|(object, _)| object);
    kept(content, read).map(Some)
}

fn of_folder(wanted: &Wanted) -> Result<Rc<Object>> {
    let folder = crate::settings::artifact_folder();
    let none = |field: &str, value: &str| {
        let remedy = format!(
            "load one by tiny_dancer.load_artifact, or use one that there is: select name, checksum from \
             tiny_dancer.artifacts; files are in {}",
            folder.display()
        );
        Err(Failure::new(NO_ARTIFACT, field, value, remedy))
    };
    match wanted {
        Wanted::Name(name) => {
            // Nothing that leads out of the folder.
            let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            let path = folder.join(format!("{name}.safetensors"));
            if name.is_empty() || name.starts_with('.') || !name.bytes().all(safe) || !path.is_file() {
                return none("artifact", name);
            }
            of_file(&path)
        }
        Wanted::Checksum(checksum) => {
            for path in safetensors(&folder).unwrap_or_default() {
                if checksum_of(&path)? == *checksum {
                    return of_file(&path);
                }
            }
            none("checksum", checksum)
        }
    }
}

/// What the system says identifies a file.
fn identity(path: &Path) -> Result<Content> {
    let about = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    Ok(Content::File {
        path: path.to_owned(),
        device: about.dev(),
        inode: about.ino(),
        length: about.len(),
        changed: (about.mtime(), about.mtime_nsec()),
    })
}

/// The file's artifact, loaded anew where the file is another than it was.
fn of_file(path: &Path) -> Result<Rc<Object>> {
    kept(identity(path)?, || load(&read(path)?, "").map(|(object, _)| object))
}

/// The SHA-256 of a file, computed anew where the file is another than it was.
fn checksum_of(path: &Path) -> Result<String> {
    let file = identity(path)?;
    let known = BACKEND.with_borrow(|backend| {
        backend.checksums.iter().find(|(known, _)| *known == file).map(|(_, checksum)| checksum.clone())
    });
    if let Some(checksum) = known {
        return Ok(checksum);
    }
    let checksum = sha256(&read(path)?);
    BACKEND.with_borrow_mut(|backend| {
        backend.checksums.insert(0, (file, checksum.clone()));
        backend.checksums.truncate(MOST_NAMES);
    });
    Ok(checksum)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let remedy = "let the server's account read it; tiny_dancer.artifact_path and tiny_dancer.encoder_path say where files are";
    Failure::new(FILE, path.display().to_string(), error.to_string(), remedy)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| unreadable(path, &error))
}

/// Files of a folder that may be artifacts, in order of their names.
fn safetensors(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "safetensors"));
    paths.sort();
    Ok(paths)
}

fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Bytes as digits.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// Metadata of a safetensors file.
#[derive(Default, Deserialize)]
struct File {
    #[serde(rename = "__metadata__", default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    tiny_dancer: String,
    #[serde(default)]
    sha256: String,
}

/// What every header says, in one way or another.
#[derive(Default, Deserialize)]
struct Header {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    encoder: Option<Named>,
    #[serde(default)]
    features: Features,
}

#[derive(Default, Deserialize)]
struct Features {
    #[serde(default)]
    encoder: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Checksum(String),
    Of { checksum: Option<String> },
}

/// What an artifact's header says. Of bytes that are none, nothing: what is wrong with them, loading says.
fn summary(header: &[u8]) -> Summary {
    let file: File = serde_json::from_slice(header).unwrap_or_default();
    let said: Header = serde_json::from_str(&file.metadata.tiny_dancer).unwrap_or_default();
    let encoder = match said.encoder {
        Some(Named::Checksum(checksum)) => Some(checksum),
        Some(Named::Of { checksum }) => checksum,
        None => said.features.encoder,
    };
    let own = (said.kind == "encoder").then_some(file.metadata.sha256);
    Summary { kind: said.kind, encoder: own.or(encoder) }
}

/// The bytes of a file's header.
fn header(bytes: &[u8]) -> &[u8] {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return b"" };
    rest.get(..u64::from_le_bytes(*length).min(LONGEST_HEADER) as usize).unwrap_or_default()
}

/// Loads an artifact and runs its self-checks; `models` are changes of a router's models, or empty.
///
/// # Errors
/// As the engine's, for what the artifact is.
pub fn load(bytes: &[u8], models: &str) -> Result<(Object, Summary)> {
    let summary = summary(header(bytes));
    if !models.is_empty() && summary.kind != "request-router" {
        let remedy = "only a router has models: leave them out";
        return Err(Failure::new(
            ARGUMENT,
            "models",
            format!("given for an artifact of kind '{}'", summary.kind),
            remedy,
        ));
    }
    if summary.kind == "encoder" {
        return Ok((Object::Encoder(shared(Encoder::from_bytes(bytes)?)), summary));
    }
    let encoder = match &summary.encoder {
        Some(checksum) => encoder(checksum)?,
        None => None,
    };
    let object = match summary.kind.as_str() {
        "routes" => Object::Routes(Box::new(Routing::new(bytes, encoder)?)),
        "tasks" => Object::Tasks(Box::new(Tasking::new(bytes, encoder)?)),
        "candidates" => Object::Scorer(Box::new(CandidateScorer::from_bytes(bytes)?)),
        "tools" => {
            ToolSet::with_learned(encoder.clone(), bytes)?;
            Object::Tools(bytes.to_vec(), encoder)
        }
        // Also what is no artifact: the engine says why.
        _ => Object::Router(Box::new(Handle::new(bytes, encoder, models)?)),
    };
    Ok((object, summary))
}

/// The encoder of a checksum: of `tiny_dancer.encoder_path`, or of the table of artifacts.
fn encoder(checksum: &str) -> Result<Option<Arc<Encoder>>> {
    let known = BACKEND.with_borrow(|backend| {
        backend.encoders.iter().find(|encoder| encoder.checksum() == checksum).cloned()
    });
    if known.is_some() {
        return Ok(known);
    }
    let folder = crate::settings::encoder_folder();
    let mut bytes = None;
    for path in safetensors(&folder).unwrap_or_default() {
        if header_of(&path).is_ok_and(|header| is_encoder(&summary(&header), checksum)) {
            bytes = Some(read(&path)?);
            break;
        }
    }
    if bytes.is_none() && Moment::now().is_some() {
        bytes = first_bytes(3, checksum);
    }
    let Some(bytes) = bytes else { return Ok(None) };
    Ok(Some(shared(Encoder::from_bytes(&bytes)?)))
}

fn is_encoder(summary: &Summary, checksum: &str) -> bool {
    summary.kind == "encoder" && summary.encoder.as_deref() == Some(checksum)
}

/// The encoder as all have it that name it.
fn shared(encoder: Encoder) -> Arc<Encoder> {
    BACKEND.with_borrow_mut(|backend| {
        let known = backend.encoders.iter().find(|known| known.checksum() == encoder.checksum()).cloned();
        known.unwrap_or_else(|| {
            let encoder = Arc::new(encoder);
            backend.encoders.insert(0, Arc::clone(&encoder));
            backend.encoders.truncate(KEPT);
            encoder
        })
    })
}

fn header_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(length).min(LONGEST_HEADER)).read_to_end(&mut header)?;
    Ok(header)
}

/// The encoder of a name: a file NAME.safetensors of `tiny_dancer.encoder_path`, or a row of the table.
///
/// # Errors
/// As [`named`].
pub fn encoder_named(name: &str) -> Result<Arc<Encoder>> {
    match &*find(&Wanted::Name(name.to_owned()))? {
        Object::Encoder(encoder) => Ok(Arc::clone(encoder)),
        other => Err(other.is_not("encoder", name)),
    }
}

impl Object {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Router(_) => "request-router",
            Self::Routes(_) => "routes",
            Self::Tasks(_) => "tasks",
            Self::Scorer(_) => "candidates",
            Self::Tools(..) => "tools",
            Self::Encoder(_) => "encoder",
        }
    }

    /// The error where an artifact of another kind was wanted.
    #[must_use]
    pub fn is_not(&self, wanted: &str, name: &str) -> Failure {
        let value = format!("'{name}' is of kind {}", self.kind());
        Error::new(ErrorKind::ArtifactInvalid, "kind", value, format!("name one of kind {wanted}")).into()
    }
}
