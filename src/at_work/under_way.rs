//! Beats on while a check takes long.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Check, warnings};
use crate::clock::BootInstant;
use crate::config::Service;
use crate::leader::beat::Beat;
use crate::name::Name;
use crate::state::StateDir;

/// Not more often, however short the checks are.
const MIN_PAUSE: Duration = Duration::from_millis(500);

/// A thread that leaves a beat now and then; it ends when this is dropped.
pub(super) struct UnderWay(Option<mpsc::Sender<()>>, Option<JoinHandle<()>>);

impl UnderWay {
    /// Leaves this beat once in `check`, for `longest` at most: then the check hangs.
    pub(super) fn start(state_dir: StateDir, mut beat: Beat, check: Duration, longest: Duration) -> Self {
        let (done, waiting) = mpsc::channel::<()>();
        let (pause, begun) = (check.max(MIN_PAUSE), Instant::now());
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

impl Check<'_> {
    /// Beats on while the check takes long, so that nobody takes the place of a brain in the middle of
    /// a takeover. It ends with the check, and at the latest when that must have ended.
    pub(super) fn beat_on(&self, beat: Beat) -> UnderWay {
        let most = |service: &Service| {
            let chain = self.config.chains.get(&service.chain).map_or(1, Vec::len);
            let waits = service.lease.as_ref().map_or(Duration::ZERO, |lease| lease.wait());
            let moves = u32::try_from(chain + 1).unwrap_or(u32::MAX);
            let inhales = service.inhale.unwrap_or_default() + self.limits.answer();
            (service.timeout + inhales).saturating_mul(moves.saturating_mul(2)).saturating_add(waits)
        };
        let longest = self.config.services.values().map(most).max().unwrap_or_default();
        let longest = longest.saturating_add(self.limits.answer() * 4);
        UnderWay::start(StateDir::open(self.config), beat, self.limits.check, longest)
    }

    /// Leaves a beat between two rounds of a check in which a service takes long: the node is at work.
    /// `running` says where the services run that were checked in the last round.
    pub fn renew_beat(&self, running: BTreeMap<Name, Name>) {
        let mut inner = self.inner();
        if inner.under_way.take().is_none() {
            return;
        }
        let Some(mut beat) = self.beat(&inner, "under-way") else { return };
        beat.assessment.running.extend(running);
        let kept = self.state_dir.leave_beat(&beat);
        inner.troubles.extend(warnings::not_left(&kept));
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Some(beat.clone());
        inner.under_way = Some(self.beat_on(beat));
    }
}
