//! How a lease moves from one store to another, one step at a time. Pure: no clock, no register.
//!
//! ```text
//!  old   granted to a, epoch 7 ────────────────── moved: claim 8 ─────────────────────────────
//!  new   (empty) ──────────── awaited ───────────────────────────────────────── claim 8 ──────
//!                                                 └ a stopped, or valid + grace ┘
//! ```
//!
//! - **Reserve.** A mark in the new register shows that it can be written, and keeps nodes that have the new
//!   list too early from claiming there. Nothing else has changed: the old register is in force.
//! - **Close.** A mark replaces the old lease by compare-and-swap. From then on nothing can be granted by the
//!   old register: a node that reads it finds no lease, and the swap of a brain fails because the version has changed. Only the last holder can be running, until a read that it began before is `valid` old.
//! - **Wait** until that holder has confirmed a stop, or for `valid + grace`, by the take rule. The claim is
//!   published to this node's witness first, which ends the failsafe of the holder.
//! - **Open.** The claim, with the last holder as its previous one, is written into the new register. The
//!   first promotion with the new list grants it.
//!
//! At no moment can one node be granted the lease in the new store while another may hold it by the old one:
//! the new register holds a mark until the old one is closed and waited out. A crash leaves one of the states
//! above; what is found decides the next step, so another run finishes it.

use super::moved::{Mark, Whereabouts};
use super::nonce::Nonce;
use super::record::{LeaseRecord, LeaseState, next_epoch};
use super::{Params, Stopped};
use crate::clock::BootInstant;
use crate::name::Name;

/// What a register holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Empty,
    /// A lease.
    Lease(LeaseRecord),
    /// A mark.
    Mark(Mark),
}

/// What is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MigrationStep {
    /// Replace the new register's content with a mark that awaits the lease. Where the old register is closed
    /// already, the new one has lost its mark: it gets one of the same migration, and only a full wait counts then.
    Reserve(Option<Nonce>),
    /// Replace the old register's content with a mark that holds this claim; `migration` is the one of the
    /// new register's mark.
    Close(Mark),
    /// Wait for this claim, then replace the new register's content with it.
    Open(LeaseRecord),
    /// The new register has it.
    Done(LeaseRecord),
    /// It cannot be moved; why, as half a sentence.
    Refuse(String),
}

/// The next step, by what both registers hold.
///
/// `place` is the new store, in the words of the marks.
pub fn next_step(old: &Content, new: &Content, place: &str) -> MigrationStep {
    match (old, new) {
        (Content::Mark(mark), _) => after_closing(mark, new, place),
        (_, Content::Lease(found)) => MigrationStep::Refuse(format!(
            "the new register holds a lease, {}; delete it if no node list names it",
            found.done()
        )),
        (_, Content::Empty) => MigrationStep::Reserve(None),
        (_, Content::Mark(mark)) => match &mark.state {
            Whereabouts::Awaited { .. } => MigrationStep::Close(mark.clone()),
            // It goes back to where it once was.
            Whereabouts::Moved { claim, .. } if is_later(old, claim) => MigrationStep::Reserve(None),
            Whereabouts::Moved { claim, .. } => MigrationStep::Refuse(format!(
                "the lease left the new register in epoch {}, which the old one has not reached",
                claim.epoch
            )),
        },
    }
}

fn is_later(old: &Content, claim: &LeaseRecord) -> bool {
    matches!(old, Content::Lease(record) if record.order(claim).is_ge())
}

fn after_closing(mark: &Mark, new: &Content, place: &str) -> MigrationStep {
    let (to, claim) = match &mark.state {
        Whereabouts::Moved { to, claim } => (to, claim),
        Whereabouts::Awaited { from } => {
            return MigrationStep::Refuse(format!("the lease has not left {from} yet; migrate it from there"));
        }
    };
    match new {
        Content::Lease(found) if found.is_same_write(claim) || found.order(claim).is_ge() => {
            MigrationStep::Done(found.clone())
        }
        Content::Mark(awaiting)
            if awaiting.migration == mark.migration && matches!(awaiting.state, Whereabouts::Awaited { .. }) =>
        {
            MigrationStep::Open((**claim).clone())
        }
        Content::Empty if to == place => MigrationStep::Reserve(Some(mark.migration)),
        Content::Empty | Content::Lease(_) | Content::Mark(_) => {
            MigrationStep::Refuse(format!("the lease is on its way to {to}, which is not this store"))
        }
    }
}

/// The claim that ends the lease in the old register. It is for `head` if the lease was never claimed; the other fields are the write's own.
pub fn closing_claim(old: Option<&LeaseRecord>, head: &Name, written: LeaseRecord) -> LeaseRecord {
    LeaseRecord {
        holder: old.map_or(head, |record| &record.holder).clone(),
        epoch: old.map_or(1, |record| next_epoch(record.epoch)),
        state: LeaseState::Claimed,
        previous_holder: old.and_then(LeaseRecord::last_granted).cloned(),
        ..written
    }
}

/// The wait for the last holder.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// Since when the old register has been closed, and this node's witness has said so.
    pub since: BootInstant,
    /// The longer limits of both lists.
    pub params: Params,
    /// Whether holders ask this machine's witness, or use no failsafe.
    pub may_grant_by_waiting: bool,
}

/// When the new register may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The last holder has stopped.
    Now,
    /// Then, or as soon as it has confirmed a stop.
    At(BootInstant),
    /// The wait is over, but the holder did not learn of it from this machine.
    LeftToBrain,
}

/// Whether the new register may be opened with this claim.
pub fn opening(claim: &LeaseRecord, stopped: &[Stopped], wait: Wait, now: BootInstant) -> Opening {
    let until = wait.since.plus(wait.params.wait());
    let has_confirmed = |node: &Name| stopped.iter().any(|stop| stop.node == *node && stop.issued > wait.since);
    match claim.previous_holder.as_ref().is_some_and(has_confirmed) {
        true => Opening::Now,
        false if now < until => Opening::At(until),
        false if wait.may_grant_by_waiting => Opening::Now,
        false => Opening::LeftToBrain,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn record(holder: &str, epoch: u64, state: LeaseState, was: Option<&str>) -> LeaseRecord {
        LeaseRecord {
            holder: name(holder),
            epoch,
            state,
            previous_holder: was.map(name),
            nonce: Nonce(u128::from(epoch)),
            by: "tester".to_owned(),
            why: None,
            at: String::new(),
        }
    }

    fn mark(state: Whereabouts, migration: u128) -> Content {
        Content::Mark(Mark::new(&name("bot"), state, Nonce(migration), ("tester", "")))
    }

    fn awaited(migration: u128) -> Content {
        mark(Whereabouts::Awaited { from: "there".to_owned() }, migration)
    }

    fn moved(claim: LeaseRecord, migration: u128) -> Content {
        mark(Whereabouts::Moved { to: "there".to_owned(), claim: Box::new(claim) }, migration)
    }

    fn step(old: &Content, new: &Content) -> MigrationStep {
        next_step(old, new, "here")
    }

    #[test]
    fn the_claim_carries_the_last_holder_into_the_next_epoch() {
        let closed = |old: Option<&LeaseRecord>| {
            let written = record("x", 99, LeaseState::Granted, None);
            let claim = closing_claim(old, &name("head"), written);
            assert_eq!((claim.state, claim.nonce), (LeaseState::Claimed, Nonce(99)));
            (claim.holder.to_string(), claim.epoch, claim.previous_holder.map(|was| was.to_string()))
        };
        let granted = record("a", 7, LeaseState::Granted, Some("b"));
        assert_eq!(closed(Some(&granted)), ("a".to_owned(), 8, Some("a".to_owned())));
        let claimed = record("b", 7, LeaseState::Claimed, Some("a"));
        assert_eq!(closed(Some(&claimed)), ("b".to_owned(), 8, Some("a".to_owned())));
        assert_eq!(closed(None), ("head".to_owned(), 1, None));
    }

    #[test]
    fn every_state_that_a_crash_leaves_has_a_next_step() {
        let lease = Content::Lease(record("a", 7, LeaseState::Granted, None));
        let claim = record("a", 8, LeaseState::Claimed, Some("a"));
        for old in [&lease, &Content::Empty] {
            assert_eq!(step(old, &Content::Empty), MigrationStep::Reserve(None));
            assert!(matches!(step(old, &awaited(5)), MigrationStep::Close(mark) if mark.migration == Nonce(5)));
        }
        assert_eq!(step(&moved(claim.clone(), 5), &awaited(5)), MigrationStep::Open(claim.clone()));
        let opened = Content::Lease(claim.clone());
        assert_eq!(step(&moved(claim.clone(), 5), &opened), MigrationStep::Done(claim.clone()));
        let later = record("b", 9, LeaseState::Granted, Some("a"));
        assert_eq!(step(&moved(claim, 5), &Content::Lease(later.clone())), MigrationStep::Done(later));
    }

    #[test]
    fn it_is_opened_in_no_other_store_and_over_no_other_lease() {
        let lease = Content::Lease(record("a", 7, LeaseState::Granted, None));
        let claim = record("a", 8, LeaseState::Claimed, Some("a"));
        let earlier = Content::Lease(record("c", 3, LeaseState::Granted, None));
        for (old, new) in [
            (&lease, &earlier),
            (&lease, &lease),
            (&moved(claim.clone(), 5), &earlier),
            (&moved(claim.clone(), 5), &awaited(6)),
            (&moved(claim.clone(), 5), &Content::Empty),
            (&moved(claim.clone(), 5), &moved(claim.clone(), 5)),
            (&awaited(5), &Content::Empty),
            (&awaited(5), &lease),
            (&lease, &moved(claim, 5)),
            (&Content::Empty, &moved(record("a", 2, LeaseState::Claimed, None), 5)),
        ] {
            assert!(matches!(step(old, new), MigrationStep::Refuse(_)), "{old:?} {new:?}");
        }
    }

    #[test]
    fn a_mark_that_was_lost_is_written_again() {
        let left = moved(record("a", 8, LeaseState::Claimed, Some("a")), 5);
        assert_eq!(next_step(&left, &Content::Empty, "there"), MigrationStep::Reserve(Some(Nonce(5))));
    }

    #[test]
    fn the_new_register_is_opened_after_a_stop_or_a_wait() {
        let at = |seconds| BootInstant::since_boot(Duration::from_secs(seconds));
        let params = Params { valid: Duration::from_secs(3), grace: Duration::from_secs(1) };
        let claim = record("b", 8, LeaseState::Claimed, Some("a"));
        let opening = |stopped: &[Stopped], may_grant_by_waiting, now| {
            opening(&claim, stopped, Wait { since: at(10), params, may_grant_by_waiting }, at(now))
        };
        let stop = |node: &str, issued| Stopped { node: name(node), issued: at(issued) };
        assert_eq!(opening(&[], true, 13), Opening::At(at(14)));
        assert_eq!(opening(&[], true, 14), Opening::Now);
        assert_eq!(opening(&[], false, 14), Opening::LeftToBrain);
        for may_grant_by_waiting in [true, false] {
            assert_eq!(opening(&[stop("a", 11)], may_grant_by_waiting, 11), Opening::Now);
            // It was ordered before the old register was closed, or by another node.
            assert_ne!(opening(&[stop("a", 10), stop("b", 11)], may_grant_by_waiting, 11), Opening::Now);
        }
    }

    #[test]
    fn it_can_go_back_to_where_it_was() {
        let left = moved(record("a", 8, LeaseState::Claimed, Some("a")), 5);
        for (epoch, state) in [(8, LeaseState::Granted), (9, LeaseState::Claimed)] {
            let now = Content::Lease(record("b", epoch, state, Some("a")));
            assert_eq!(step(&now, &left), MigrationStep::Reserve(None), "{epoch}");
        }
    }
}
