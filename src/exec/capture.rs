//! What a process reads and writes, in anonymous files in memory.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, OFlags, SealFlags};

/// One output stream of a process, of which the beginning is kept.
#[derive(Debug)]
pub(crate) struct Capture {
    file: File,
    max: u64,
    cut: Cell<bool>,
}

impl Capture {
    pub(crate) fn new(max: u64) -> io::Result<Self> {
        let fd = rustix::fs::memfd_create("mirror-output", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        // Appending: a writer whose file was cut back continues at the cut.
        rustix::fs::fcntl_setfl(&fd, OFlags::APPEND)?;
        Ok(Self { file: File::from(fd), max, cut: Cell::new(false) })
    }

    /// For the process to write to.
    pub(crate) fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Cuts it back to its bound.
    pub(crate) fn trim(&self) {
        if self.file.metadata().is_ok_and(|m| m.len() > self.max) {
            self.cut.set(true);
            let _ = self.file.set_len(self.max);
        }
    }

    /// Its content, and whether there was more.
    pub(super) fn take(&self) -> io::Result<(Vec<u8>, bool)> {
        // A process that is left behind and still writes now gets an error, not a signal.
        let _ = rustix::fs::fcntl_add_seals(&self.file, SealFlags::GROW);
        self.trim();
        Ok((self.so_far()?, self.cut.get()))
    }

    /// Its content so far, up to its bound.
    fn so_far(&self) -> io::Result<Vec<u8>> {
        let length = self.file.metadata()?.len().min(self.max);
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// The same as text; nothing where it cannot be read.
    pub(crate) fn text_so_far(&self) -> String {
        self.so_far().map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A file to be read from its beginning.
pub(super) fn file_holding(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("mirror-input", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}
