//! Beats on while a check takes long.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::BootInstant;
use crate::leader::at_work::Beat;
use crate::state::StateDir;

/// Not more often, however short the checks are.
const LEAST: Duration = Duration::from_millis(500);

/// A thread that leaves a beat now and then; it ends when this is dropped.
pub(super) struct UnderWay(Option<mpsc::Sender<()>>, Option<JoinHandle<()>>);

impl UnderWay {
    /// Leaves this beat once in `check`, for `longest` at most: then the check hangs.
    pub(super) fn start(state_dir: StateDir, mut beat: Beat, check: Duration, longest: Duration) -> Self {
        let (done, waiting) = mpsc::channel::<()>();
        let (pause, begun) = (check.max(LEAST), Instant::now());
        let thread = std::thread::Builder::new().spawn(move || {
            while waiting.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) && begun.elapsed() < longest {
                beat.left = BootInstant::now();
                state_dir.leave_beat(&beat);
            }
        });
        Self(Some(done), thread.ok())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        drop(self.0.take());
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}
