//! Publishes how long the reads of the register take, for `mirror lease show`.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::super::Context;
use super::super::lease::show::ReadFacts;
use crate::clock::BootInstant;
use crate::config::Config;
use crate::hold::read_times::ReadTimes;
use crate::name::Name;
use crate::state::StateDir;

/// How often the file is written, as long as there are reads.
const INTERVAL: Duration = Duration::from_secs(5);

/// A read: when it ended, and what it took if it was answered.
type Read = (BootInstant, Option<Duration>);

/// Writes `hold-SERVICE.reads.json` in a thread of its own: a disk that hangs must not delay the judgement
/// of a read.
pub(super) struct ReadLog {
    config: Config,
    service: Name,
    /// The thread. It begins with the first read, because a process with threads must not fork.
    writer: Option<Sender<Read>>,
}

impl ReadLog {
    pub(super) fn new(context: &Context, service: &Name) -> Self {
        Self { config: context.config.clone(), service: service.clone(), writer: None }
    }

    /// A read has ended just now.
    pub(super) fn add(&mut self, took: Option<Duration>) {
        if self.writer.is_none() {
            let (sender, reads) = channel();
            let (state_dir, file) = (StateDir::open(&self.config), file(&self.service));
            let write = move || write_all(&reads, &state_dir, &file);
            if std::thread::Builder::new().name("read-log".to_owned()).spawn(write).is_ok() {
                self.writer = Some(sender);
            }
        }
        if let Some(writer) = &self.writer {
            let _ = writer.send((BootInstant::now(), took));
        }
    }
}

/// The name of the file. No service has a dot in its name.
fn file(service: &Name) -> String {
    format!("hold-{service}.reads.json")
}

/// What the file of a running hold says.
pub(in crate::commands) fn read(state_dir: &StateDir, service: &Name) -> Option<ReadFacts> {
    state_dir.shown(&file(service))
}

fn write_all(reads: &Receiver<Read>, state_dir: &StateDir, file: &str) {
    let mut read_times = ReadTimes::default();
    let mut due = Instant::now();
    loop {
        match reads.recv_timeout(INTERVAL) {
            Ok((ended, took)) => read_times.add(ended, took),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= due {
            due = Instant::now() + INTERVAL;
            let facts = ReadFacts::from(read_times.summary(BootInstant::now()));
            if let Ok(text) = serde_json::to_string(&facts) {
                state_dir.show(file, &(text + "\n"));
            }
        }
    }
}
