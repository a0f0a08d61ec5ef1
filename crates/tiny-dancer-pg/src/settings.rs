//! What an administrator sets: `tiny_dancer.artifact`, `tiny_dancer.artifact_path`, `tiny_dancer.encoder_path`.

use std::ffi::{CStr, CString, OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pgrx::pg_sys;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::artifacts::look_again;

static ARTIFACT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"edge"));
static ARTIFACT_PATH: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static ENCODER_PATH: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// A setting with its name, what it is, more about it, and who may change it.
type Described =
    (&'static CStr, &'static CStr, &'static CStr, &'static GucSetting<Option<CString>>, GucContext);

/// Tells the server of the settings.
///
/// # Safety
/// Once, while the library is loaded.
pub unsafe fn define() {
    let all: [Described; 3] = [
        (
            c"tiny_dancer.artifact",
            c"The artifact that decides where a call names none.",
            c"A name in tiny_dancer.artifacts, or of a file in tiny_dancer.artifact_path.",
            &ARTIFACT,
            GucContext::Userset,
        ),
        (
            c"tiny_dancer.artifact_path",
            c"The folder of artifacts that are in no table, each NAME.safetensors.",
            c"Empty is the folder that the extension brings.",
            &ARTIFACT_PATH,
            GucContext::Suset,
        ),
        (
            c"tiny_dancer.encoder_path",
            c"The folder of encoders, which artifacts name by their checksum.",
            c"Empty is the folder that the extension brings.",
            &ENCODER_PATH,
            GucContext::Suset,
        ),
    ];
    for (name, short, long, setting, context) in all {
        // SAFETY: the hook only counts, and does not unwind.
        unsafe {
            GucRegistry::define_string_guc_with_hooks(
                name,
                short,
                long,
                setting,
                context,
                GucFlags::default(),
                None,
                Some(changed),
                None,
            );
        }
    }
    // SAFETY: a name that ends.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"tiny_dancer".as_ptr()) };
}

unsafe extern "C-unwind" fn changed(_value: *const c_char, _extra: *mut c_void) {
    look_again();
}

/// The name of the artifact that decides where a call names none.
#[must_use]
pub fn artifact() -> &'static [u8] {
    // SAFETY: the server keeps the text until the setting changes, which no call of ours outlives.
    unsafe {
        let text = (*ARTIFACT.as_ptr()).cast_const();
        if text.is_null() { b"" } else { CStr::from_ptr(text).to_bytes() }
    }
}

/// The folder of artifacts.
#[must_use]
pub fn artifact_folder() -> PathBuf {
    folder(&ARTIFACT_PATH)
}

/// The folder of encoders.
#[must_use]
pub fn encoder_folder() -> PathBuf {
    folder(&ENCODER_PATH)
}

fn folder(setting: &GucSetting<Option<CString>>) -> PathBuf {
    let given = setting.get().unwrap_or_default();
    if given.is_empty() { brought() } else { PathBuf::from(OsStr::from_bytes(given.to_bytes())) }
}

/// The folder that the extension brings: beside its scripts.
fn brought() -> PathBuf {
    let mut path = [0; pg_sys::MAXPGPATH as usize];
    // SAFETY: the server fills in a text that ends, of at most so many bytes.
    let share = unsafe {
        pg_sys::get_share_path((&raw const pg_sys::my_exec_path).cast(), path.as_mut_ptr());
        CStr::from_ptr(path.as_ptr())
    };
    PathBuf::from(OsStr::from_bytes(share.to_bytes())).join("extension").join("tiny_dancer")
}
