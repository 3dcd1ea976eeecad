//! The failsafe: how a holder goes on when the register cannot be read.
//!
//! Every grant that the old holder did not confirm follows a wait of `valid + grace` by its granter. So
//! "I am not waiting, and I know of nothing newer than this grant", said by *every* node that may ever
//! grant, is as good as a read of the register that returned the grant.
//!
//! ```text
//!  voter    publishes a claim ─ stamps ──────── waits valid + grace ──────────── grants
//!             yes before │ no from here on                                       │
//!  holder      asks ─────┼─ yes: runs until asked + valid, which is before stamp + valid ─ dead
//! ```
//!
//! - A voter answers yes only if what it knows of the lease is no newer than the grant, and its node list
//!   has the same digest. Knowing nothing is yes. ([`vouches`])
//! - A brain publishes a claim to its own node's witness before it stamps the beginning of its wait
//!   ([`LeaseView::published`]), and before it orders a stop that it will count. So a voter that waits has
//!   answered no since before its wait began.
//! - A unanimous round counts as a read that began before the earliest question was asked ([`Round`]).
//! - A round only extends a run that was not told to stop. It starts nothing, and is not used against what
//!   the register says. ([`LeaseView::renew`])
//! - Only voters grant by waiting.
//!
//! A voter that cannot be asked means no failsafe: the number of voters does not shrink by itself.

use std::collections::BTreeSet;

use super::{LeaseRecord, LeaseState, LeaseView};
use crate::clock::BootInstant;
use crate::name::Name;

/// A grant, as the holder knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The node that holds the lease.
    pub holder: Name,
    /// The epoch in which it was granted.
    pub epoch: u64,
}

/// Whether a voter that knows this record of the lease vouches for the grant: the record must be no
/// newer.
pub fn vouches(known: Option<&LeaseRecord>, grant: &Grant) -> bool {
    let Some(known) = known else { return true };
    match super::record::epoch_order(known.epoch, grant.epoch) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Equal => known.holder == grant.holder,
        std::cmp::Ordering::Greater => false,
    }
}

/// One round of questions to all voters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Round {
    /// Before the earliest question was asked.
    began: BootInstant,
    /// The voters whose yes is missing.
    missing: BTreeSet<Name>,
}

impl Round {
    /// Must be called before the first question is asked.
    pub fn begin<'a>(voters: impl IntoIterator<Item = &'a Name>, now: BootInstant) -> Self {
        Self { began: now, missing: voters.into_iter().cloned().collect() }
    }

    /// A voter said yes.
    pub fn add_yes(&mut self, voter: &Name) {
        self.missing.remove(voter);
    }

    /// When the round began, once all voters have said yes.
    pub fn unanimous_since(&self) -> Option<BootInstant> {
        self.missing.is_empty().then_some(self.began)
    }
}

impl LeaseView {
    /// Takes in a unanimous round for `grant` that began at `began`, as a read that began then. It has no
    /// effect unless the grant is the latest record that this node knows.
    pub fn renew(&mut self, grant: &Grant, began: BootInstant) {
        let Some(latest) = &mut self.seen else { return };
        let record = &latest.found.value;
        let is_current =
            record.state == LeaseState::Granted && (&record.holder, record.epoch) == (&grant.holder, grant.epoch);
        if is_current {
            latest.last_read_began = latest.last_read_began.max(Some(began));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Nonce;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn record(holder: &str, epoch: u64, state: LeaseState) -> LeaseRecord {
        LeaseRecord {
            holder: name(holder),
            epoch,
            state,
            previous_holder: None,
            nonce: Nonce(0),
            by: String::new(),
            why: None,
            at: String::new(),
        }
    }

    #[test]
    fn a_voter_vouches_for_a_grant_if_it_knows_nothing_newer() {
        let grant = Grant { holder: name("a"), epoch: 4 };
        assert!(vouches(None, &grant));
        for (holder, epoch, state, expected) in [
            ("b", 3, LeaseState::Granted, true),
            ("a", 4, LeaseState::Claimed, true),
            ("a", 4, LeaseState::Granted, true),
            ("b", 4, LeaseState::Claimed, false),
            ("a", 5, LeaseState::Claimed, false),
            ("b", 5, LeaseState::Claimed, false),
            ("b", 5, LeaseState::Granted, false),
        ] {
            assert_eq!(vouches(Some(&record(holder, epoch, state)), &grant), expected, "{holder} {epoch} {state:?}");
        }
    }

    #[test]
    fn a_round_counts_from_before_its_first_question_and_needs_every_voter() {
        let at = |seconds| BootInstant::since_boot(std::time::Duration::from_secs(seconds));
        let voters = [name("a"), name("b")];
        let mut round = Round::begin(&voters, at(7));
        assert_eq!(round.unanimous_since(), None);
        round.add_yes(&voters[0]);
        round.add_yes(&voters[0]);
        assert_eq!(round.unanimous_since(), None);
        round.add_yes(&voters[1]);
        assert_eq!(round.unanimous_since(), Some(at(7)));
    }
}
