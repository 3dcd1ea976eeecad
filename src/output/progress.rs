//! The spinner of a command that takes long, and what it waits for.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::OutputMode;
use crate::name::Name;

/// A command that ends sooner shows no spinner.
const SPINNER_DELAY: Duration = Duration::from_millis(300);
const SPINNER_INTERVAL: Duration = Duration::from_millis(100);

/// What is being waited for; the spinner shows it.
#[derive(Clone, Debug, Default)]
pub struct PendingWaits(Arc<Mutex<Vec<Wait>>>);

#[derive(Clone, Debug, PartialEq)]
struct Wait {
    what: String,
    begun: Instant,
    length: Duration,
}

impl Wait {
    fn words(&self) -> String {
        let left = self.length.saturating_sub(self.begun.elapsed());
        format!("{}, {:.1} s at most", self.what, left.as_secs_f64())
    }
}

/// A wait; it ends when it is dropped.
pub struct Waiting<'a>(&'a PendingWaits, Wait);

impl PendingWaits {
    /// A wait for the lease of `service` begins, and takes this long at most.
    pub fn begin(&self, service: &Name, length: Duration) -> Waiting<'_> {
        let what = format!("{service}: until no other node can run it");
        let wait = Wait { what, begun: Instant::now(), length };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(wait.clone());
        Waiting(self, wait)
    }

    /// The one that lasts longest.
    fn longest(&self) -> Option<Wait> {
        let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.iter().max_by_key(|wait| wait.begun + wait.length).cloned()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|wait| *wait != self.1);
    }
}

/// A spinner on stderr for what takes long; it ends when it is dropped.
pub struct Spinner(Option<mpsc::Sender<()>>, Option<JoinHandle<()>>);

impl Spinner {
    /// Shows `doing` once it has taken long enough for somebody to wonder; on a terminal only.
    pub fn start(output_mode: OutputMode, doing: &'static str) -> Self {
        Self::with_waits(output_mode, doing, PendingWaits::default())
    }

    /// The same; while something is waited for, it shows that.
    pub fn with_waits(output_mode: OutputMode, doing: &'static str, waits: PendingWaits) -> Self {
        use std::io::IsTerminal as _;
        if output_mode.quiet || output_mode.verbose || !std::io::stderr().is_terminal() {
            return Self(None, None);
        }
        let (done, ended) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut pause = SPINNER_DELAY;
            let mut spinner = None;
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                pause = SPINNER_INTERVAL;
                let spinner = spinner.get_or_insert_with(ProgressBar::new_spinner);
                spinner.set_message(waits.longest().map_or_else(|| doing.to_owned(), |wait| wait.words()));
                spinner.tick();
            }
            if let Some(spinner) = spinner {
                spinner.finish_and_clear();
            }
        });
        Self(Some(done), Some(thread))
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        drop(self.0.take());
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}
