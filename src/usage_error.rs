//! The error that ends in exit status 2: the command line or the configuration is wrong.

use std::fmt;

/// A wrong command line, configuration or input. Its text is one line: what, where, what to do.
///
/// Any other error means that something could not be found out, and ends in exit status 3.
#[derive(Debug)]
pub struct UsageError(String);

impl UsageError {
    /// The misuse that `message` describes, ready to be returned.
    #[expect(clippy::new_ret_no_self, reason = "it is only ever made to be returned as an error")]
    pub fn new(message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self(message.into()))
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}
