//! The two rules of the lease. They are pure: no clock, no register, no file.
//!
//! A register holds one [`LeaseRecord`], which changes by compare-and-swap alone. What one machine knows
//! of it is a [`LeaseView`]; every read and every acknowledged swap goes into it.
//!
//! - The run rule, [`LeaseView::permit`]: a node runs the service only while a read that *began* less
//!   than `valid` ago said that the lease is granted to it.
//! - The take rule, [`next`]: a brain claims; and it grants once the last holder has itself
//!   confirmed a stop that was issued after the claim, or `valid + grace` after the claim.
//!
//! Why that is enough: every read that begins after the claim no longer names the old holder, so its
//! last good one began before; the old holder has stopped by the claim plus `valid` plus the time to
//! stop, and the new one starts later than that. By induction over the epochs, whoever may be
//! running when a claim is made is the one node to whom the lease was last granted, and that is what
//! `was` carries along. No clock is compared with another machine's; only their rates matter, and
//! `grace` covers those. `tests/lease_model.rs` checks all of it.

pub mod client;
pub mod record;
mod takeover;
mod view;

pub use crate::lease::record::{LeaseRecord, LeaseState, Nonce};
pub use takeover::{ClaimRequest, Stopped, TakeoverStep, next};
pub use view::{Latest, LeaseView, Permit, Regression};

use std::time::Duration;

/// How long is relied on what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Params {
    /// How long a read may be relied on, from when it began.
    pub valid: Duration,
    /// The time to stop, plus what two clocks may drift apart in `valid + grace`.
    pub grace: Duration,
}

impl Params {
    /// How long after a claim the old holder has certainly stopped.
    pub const fn wait(&self) -> Duration {
        self.valid.saturating_add(self.grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot_instant::BootInstant;
    use crate::chain::Name;
    use crate::register::{Observation, Version, VersionedRecord};

    const PARAMS: Params = Params { valid: Duration::from_secs(2), grace: Duration::from_secs(1) };

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn at(seconds: f64) -> BootInstant {
        BootInstant::since_boot(Duration::from_secs_f64(seconds))
    }

    fn value(holder: &str, epoch: u64, state: LeaseState, previous_holder: &str) -> LeaseRecord {
        LeaseRecord {
            holder: name(holder),
            epoch,
            state,
            previous_holder: (!previous_holder.is_empty()).then(|| name(previous_holder)),
            nonce: Nonce(u128::from(epoch) * 2 + u128::from(state == LeaseState::Granted)),
            by: "tester".to_owned(),
            why: None,
            at: String::new(),
        }
    }

    fn reading(began: f64, ended: f64, value: Option<&LeaseRecord>) -> Observation {
        let found =
            value.map(|value| VersionedRecord { version: Version(value.nonce.to_string()), value: value.clone() });
        Observation { began: at(began), ended: at(ended), found }
    }

    fn step(lease_view: &LeaseView, stopped: &[Stopped], target: &str, now: f64) -> TakeoverStep {
        let target = name(target);
        let want = ClaimRequest { target: &target, by: "tester", why: None, at: "", nonce: Nonce(99) };
        next(lease_view, stopped, &want, at(now), &PARAMS)
    }

    #[test]
    fn a_node_runs_for_valid_after_its_latest_good_read_began() {
        let mut lease_view = LeaseView::default();
        let until = |lease_view: &LeaseView, node: &str, now| {
            lease_view.permit(&name(node), at(now), &PARAMS).map(|permit| (permit.epoch, permit.until))
        };
        let grant = value("a", 4, LeaseState::Granted, "b");
        lease_view.observe(reading(10.0, 11.0, Some(&grant))).expect("trusted");
        assert_eq!(until(&lease_view, "a", 11.9), Some((4, at(12.0))));
        assert_eq!(until(&lease_view, "a", 12.0), None);
        assert_eq!(until(&lease_view, "b", 11.0), None);
        // An earlier read that is heard later takes nothing away.
        lease_view.observe(reading(11.5, 11.6, Some(&grant))).expect("trusted");
        lease_view.observe(reading(10.5, 11.7, Some(&grant))).expect("trusted");
        assert_eq!(until(&lease_view, "a", 12.0), Some((4, at(13.5))));
        // Claimed for the same node in a later epoch: not under this one.
        lease_view.observe(reading(11.8, 11.9, Some(&value("a", 5, LeaseState::Claimed, "a")))).expect("trusted");
        assert_eq!(until(&lease_view, "a", 12.0), None);
    }

    #[test]
    fn a_register_that_lost_what_it_held_is_not_obeyed() {
        let mut lease_view = LeaseView::default();
        let [older, newer] = [value("a", 4, LeaseState::Granted, ""), value("b", 5, LeaseState::Granted, "a")];
        lease_view.observe(reading(10.0, 11.0, Some(&newer))).expect("trusted");
        // Asked before the newer one was heard of, this is merely late.
        lease_view.observe(reading(10.5, 12.0, Some(&older))).expect("late");
        lease_view.observe(reading(10.5, 12.0, None)).expect("late");
        let rewound = Regression::Rewound { from: 5, to: 4 };
        assert_eq!(lease_view.observe(reading(11.5, 12.0, Some(&older))), Err(rewound.clone()));
        assert_eq!(lease_view.observe(reading(11.5, 12.0, None)), Err(Regression::Gone(5)));
        let other = LeaseRecord { nonce: Nonce(7), ..newer.clone() };
        assert_eq!(lease_view.observe(reading(11.5, 12.0, Some(&other))), Err(Regression::Forked(5)));
        assert_eq!(lease_view.value(), Some(&newer));
        lease_view.forget_times();
        assert_eq!(lease_view.permit(&name("b"), at(10.1), &PARAMS), None);
        assert_eq!(lease_view.observe(reading(1.0, 2.0, Some(&older))), Err(rewound), "after another boot too");
    }

    #[test]
    fn who_replaced_a_value_has_read_it() {
        let mut lease_view = LeaseView::default();
        let moments =
            |lease_view: &LeaseView| lease_view.seen.as_ref().map(|seen| (seen.written_after, seen.read_after));
        lease_view.observe(reading(10.0, 11.0, Some(&value("a", 4, LeaseState::Granted, "")))).expect("trusted");
        assert_eq!(moments(&lease_view), Some((None, None)));
        lease_view.observe(reading(12.0, 13.0, Some(&value("b", 5, LeaseState::Claimed, "a")))).expect("trusted");
        assert_eq!(moments(&lease_view), Some((Some(at(10.0)), None)));
        lease_view.observe(reading(14.0, 15.0, Some(&value("b", 5, LeaseState::Granted, "a")))).expect("trusted");
        assert_eq!(moments(&lease_view), Some((Some(at(12.0)), Some(at(10.0)))));
        // Of one's own write one knows more.
        lease_view
            .observe_own_write(reading(16.0, 17.0, Some(&value("a", 6, LeaseState::Claimed, "b"))))
            .expect("trusted");
        assert_eq!(moments(&lease_view), Some((Some(at(16.0)), Some(at(12.0)))));
        lease_view.observe(reading(18.0, 19.0, Some(&value("b", 7, LeaseState::Claimed, "b")))).expect("trusted");
        assert_eq!(moments(&lease_view), Some((Some(at(16.0)), Some(at(16.0)))));
    }

    #[test]
    fn a_takeover_waits_and_a_switchover_does_not() {
        let mut lease_view = LeaseView::default();
        lease_view.observe(reading(10.0, 11.0, Some(&value("a", 4, LeaseState::Granted, "")))).expect("trusted");
        assert_eq!(step(&lease_view, &[], "a", 11.0), TakeoverStep::Settled);
        let claim = LeaseRecord { nonce: Nonce(99), ..value("b", 5, LeaseState::Claimed, "a") };
        assert_eq!(step(&lease_view, &[], "b", 11.0), TakeoverStep::Claim(claim.clone()));
        lease_view.observe_own_write(reading(11.0, 12.0, Some(&claim))).expect("trusted");
        let wait = TakeoverStep::Wait { until: at(15.0), stop: Some(name("a")) };
        assert_eq!(step(&lease_view, &[], "b", 14.9), wait);
        let grant = TakeoverStep::Grant(LeaseRecord { nonce: Nonce(99), ..value("b", 5, LeaseState::Granted, "a") });
        assert_eq!(step(&lease_view, &[], "b", 15.0), grant);
        let stopped = |node: &str, issued| [Stopped { node: name(node), issued: at(issued) }];
        assert_eq!(step(&lease_view, &stopped("a", 12.1), "b", 12.5), grant);
        assert_eq!(step(&lease_view, &stopped("a", 11.9), "b", 12.5), wait, "ordered before the claim was known");
        assert_eq!(step(&lease_view, &stopped("c", 12.1), "b", 12.5), wait, "another node");
    }

    #[test]
    fn whoever_comes_next_finishes_a_claim() {
        let mut lease_view = LeaseView::default();
        lease_view.observe(reading(20.0, 21.0, Some(&value("b", 5, LeaseState::Claimed, "a")))).expect("trusted");
        assert_eq!(step(&lease_view, &[], "b", 22.0), TakeoverStep::Wait { until: at(24.0), stop: Some(name("a")) });
        assert!(matches!(step(&lease_view, &[], "b", 24.0), TakeoverStep::Grant(_)));
        // For another node it is claimed anew; the wait goes on, and so does `was`.
        let TakeoverStep::Claim(claim) = step(&lease_view, &[], "c", 22.0) else { panic!("no claim") };
        assert_eq!((claim.epoch, claim.previous_holder.clone()), (6, Some(name("a"))));
        let mut local_node = lease_view.clone();
        local_node.observe_own_write(reading(22.0, 23.0, Some(&claim))).expect("trusted");
        assert_eq!(step(&local_node, &[], "c", 23.5), TakeoverStep::Wait { until: at(24.0), stop: Some(name("a")) });
        // Another's claim may have come after a grant that we never saw.
        lease_view.observe(reading(22.0, 23.0, Some(&claim))).expect("trusted");
        assert_eq!(step(&lease_view, &[], "c", 23.5), TakeoverStep::Wait { until: at(26.0), stop: Some(name("a")) });
        // Back to the one who had it: nobody else can be running.
        let mut back = local_node;
        let TakeoverStep::Claim(claim) = step(&back, &[], "a", 23.5) else { panic!("no claim") };
        back.observe_own_write(reading(23.5, 23.6, Some(&claim))).expect("trusted");
        assert!(matches!(step(&back, &[], "a", 23.6), TakeoverStep::Grant(_)));
    }

    #[test]
    fn a_first_claim_is_waited_out() {
        let mut lease_view = LeaseView::default();
        lease_view.observe(reading(1.0, 2.0, None)).expect("trusted");
        let TakeoverStep::Claim(claim) = step(&lease_view, &[], "a", 2.0) else { panic!("no claim") };
        assert_eq!((claim.epoch, claim.previous_holder.clone()), (1, None));
        lease_view.observe_own_write(reading(2.0, 3.0, Some(&claim))).expect("trusted");
        assert_eq!(step(&lease_view, &[], "a", 3.0), TakeoverStep::Wait { until: at(6.0), stop: None });
        assert!(matches!(step(&lease_view, &[], "a", 6.0), TakeoverStep::Grant(_)));
    }
}
