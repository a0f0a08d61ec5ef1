//! In place of all but the router, where the module holds nothing else.

use std::sync::Arc;

use tiny_dancer::Result;
use tiny_dancer::encoder::Encoder;

use crate::instance::Operation;

/// There is none.
#[derive(Debug)]
pub(crate) enum Other {}

impl Other {
    #[allow(clippy::unnecessary_wraps, clippy::needless_pass_by_value)]
    pub(crate) fn made(_: Operation, _: &[u8], _: &[u8], _: Option<Arc<Encoder>>) -> Result<Option<Self>> {
        Ok(None)
    }

    pub(crate) fn perform(
        &mut self,
        _: Operation,
        _: &[u8],
        _: &[u8],
        _: Option<&Arc<Encoder>>,
    ) -> Result<String> {
        match *self {}
    }
}
