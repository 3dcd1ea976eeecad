//! How long the held command may run, and how it ends. Pure: no clock, no process.
//!
//! Another node starts no sooner than `valid + grace` after its claim, and every read that permitted
//! this command began before that claim. So the command is told to stop when its latest permit
//! expires, and is dead before `grace` has passed since then:
//!
//! ```text
//!  read began        permit expires                         another node may start
//!  ├───── valid ─────┤───────────────── grace ─────────────────────────┤
//!        run         │  told to stop    │     │     │     │
//!                    stops              kills overdue … last
//! ```
//!
//! At `kills` the supervisor kills the command. If the supervisor is frozen, `hold` kills both at
//! `overdue`. If `hold` is frozen too, the backstop kills the command at `backstop`, and if that is
//! frozen as well, the kernel kills the supervisor at `last`.

use std::time::Duration;

use crate::clock::BootInstant;

/// What may happen to the command at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It may run.
    Run,
    /// It is told to stop.
    Stop,
    /// It is killed.
    Kill,
}

/// For how long the command may run, and how long it has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunWindow {
    until: BootInstant,
    ordered_to_stop: Option<BootInstant>,
    grace: Duration,
}

impl RunWindow {
    /// Under a permit until this time.
    pub fn new(until: BootInstant, grace: Duration) -> Self {
        Self { until, ordered_to_stop: None, grace }
    }

    /// Another read permits it until this time. That does not take back an order to stop.
    pub fn extend(&mut self, until: BootInstant) {
        if self.ordered_to_stop.is_none() {
            self.until = self.until.max(until);
        }
    }

    /// It is told to stop, at `now` or when its permit expires, whichever is sooner.
    pub fn stop(&mut self, now: BootInstant) {
        self.ordered_to_stop.get_or_insert(now);
    }

    /// Whether it was told to stop before its permit expired.
    pub fn was_stopped_early(&self) -> bool {
        self.ordered_to_stop.is_some_and(|ordered| ordered < self.until)
    }

    /// When it is told to stop, unless another read extends the permit.
    pub fn stops(&self) -> BootInstant {
        self.ordered_to_stop.map_or(self.until, |ordered| ordered.min(self.until))
    }

    /// When the supervisor kills it. The rest of `grace` covers the drift of clocks and the time that
    /// the kill takes.
    pub fn kills(&self) -> BootInstant {
        self.before_end_of_grace(10)
    }

    /// When `hold` kills it together with a supervisor that did not.
    pub fn overdue(&self) -> BootInstant {
        self.before_end_of_grace(20)
    }

    /// When the backstop kills the command, if neither of them did.
    pub fn backstop(&self) -> BootInstant {
        self.before_end_of_grace(30)
    }

    /// When the kernel kills the supervisor.
    pub fn last(&self) -> BootInstant {
        self.before_end_of_grace(40)
    }

    /// The end of `grace`, less this fraction of it.
    fn before_end_of_grace(&self, fraction: u32) -> BootInstant {
        self.stops().plus(self.grace.saturating_sub(self.grace / fraction))
    }

    /// What happens at `now`. After a freeze it may be too late to tell the command to stop.
    pub fn phase(&self, now: BootInstant) -> Phase {
        if now >= self.kills() {
            Phase::Kill
        } else if now >= self.stops() {
            Phase::Stop
        } else {
            Phase::Run
        }
    }

    /// When the phase changes next; none in the last one.
    pub fn next_change(&self, now: BootInstant) -> Option<BootInstant> {
        match self.phase(now) {
            Phase::Run => Some(self.stops()),
            Phase::Stop => Some(self.kills()),
            Phase::Kill => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(1);

    fn at(seconds: f64) -> BootInstant {
        BootInstant::since_boot(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn it_is_told_to_stop_when_the_permit_expires_and_is_dead_before_another_starts() {
        let mut window = RunWindow::new(at(13.0), GRACE);
        let phases = |window: &RunWindow| [12.9, 13.0, 13.8, 13.9, 99.0].map(|now| window.phase(at(now)));
        assert_eq!(phases(&window), [Phase::Run, Phase::Stop, Phase::Stop, Phase::Kill, Phase::Kill]);
        window.extend(at(12.0));
        assert_eq!(
            phases(&window),
            [Phase::Run, Phase::Stop, Phase::Stop, Phase::Kill, Phase::Kill],
            "a permit is never shortened"
        );
        window.extend(at(13.5));
        assert_eq!(phases(&window), [Phase::Run, Phase::Run, Phase::Stop, Phase::Stop, Phase::Kill]);
        assert_eq!(
            (window.next_change(at(1.0)), window.next_change(at(13.6)), window.next_change(at(99.0))),
            (Some(at(13.5)), Some(at(14.4)), None)
        );
        // Told earlier, it has the same grace from then; told later, it gains no time.
        let mut early = window;
        early.stop(at(12.5));
        early.extend(at(20.0));
        assert_eq!(
            [12.4, 12.5, 13.3, 13.4].map(|now| early.phase(at(now))),
            [Phase::Run, Phase::Stop, Phase::Stop, Phase::Kill]
        );
        window.stop(at(14.0));
        window.extend(at(20.0));
        assert_eq!((window.stops(), window.kills()), (at(13.5), at(14.4)));
    }

    #[test]
    fn without_grace_it_is_killed_at_once() {
        let window = RunWindow::new(at(13.0), Duration::ZERO);
        assert_eq!((window.phase(at(12.9)), window.phase(at(13.0))), (Phase::Run, Phase::Kill));
    }
}
