//! The take rule, one step at a time.

use super::nonce::Nonce;
use super::record::{LeaseRecord, LeaseState, next_epoch};
use super::{LeaseView, Params};
use crate::clock::BootInstant;
use crate::name::Name;

/// Who shall hold the lease, and the signature of the next write.
#[derive(Clone, Debug)]
pub struct ClaimRequest<'a> {
    /// The node that shall hold the lease.
    pub target: &'a Name,
    /// The writer.
    pub by: &'a str,
    /// Why, in words.
    pub why: Option<&'a str>,
    /// The time for people, RFC 3339.
    pub at: &'a str,
    /// Never used before: each attempt at a swap is a new write.
    pub nonce: Nonce,
    /// Whether this machine may grant by waiting: its witness is one that holders ask, or there is no failsafe. Any
    /// other machine may not, since a holder would go on without having learned of the claim.
    pub may_grant_by_waiting: bool,
}

/// A node confirmed that it stopped the service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stopped {
    /// The node.
    pub node: Name,
    /// When the confirmed `stop` was ordered, by the brain's own clock. After its answer, the node
    /// runs nothing on the strength of a read from before the stop. A mere `status` does not promise
    /// that: it could miss an instance that is just starting.
    pub issued: BootInstant,
}

/// What a brain does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakeoverStep {
    /// Replace the latest record with this claim. From then on no node may run the service.
    Claim(LeaseRecord),
    /// Make the claim visible to this node's witness, call [`LeaseView::published`], and ask again. No wait
    /// has begun before, and no stop that was ordered before counts.
    Publish,
    /// Ask again at this time, or as soon as `stop` has confirmed.
    Wait {
        /// When the old holder has certainly stopped.
        until: BootInstant,
        /// The node whose confirmed stop ends the wait early; none if it is not known.
        stop: Option<Name>,
    },
    /// Replace the claim with this grant. From then on the target may start.
    Grant(LeaseRecord),
    /// The wait is over, but this machine may not grant. Leave the claim to a brain.
    LeaveToBrain,
    /// The target holds the lease.
    Settled,
}

/// The take rule: the next step towards a lease that is granted to the request's target.
///
/// Every swap compares with [`LeaseView::version`], its outcome goes into the view, and the rule is
/// asked again. It covers the first claim, a takeover, a planned switchover, and the claim that a
/// brain left behind when it died:
///
/// - The previous holder is re-granted immediately: no other node can be running.
/// - A first claim is always waited out. An empty register looks the same as one that lost its
///   content, and after the wait every node that relied on the lost content has stopped. (An instance
///   from before there was a lease obeys no register; the brain stops it as it does without a lease.)
/// - An unfinished claim for another node is replaced by a claim in the next epoch, which inherits
///   `previous_holder` and the wait so far.
/// - A claim is published before the wait begins, so that the [failsafe](super::failsafe) of the old holder
///   ends before anything is granted.
/// - A confirmed stop counts if it was ordered after the wait began.
pub fn next_step(
    lease_view: &LeaseView,
    stopped: &[Stopped],
    request: &ClaimRequest<'_>,
    now: BootInstant,
    params: &Params,
) -> TakeoverStep {
    let Some(latest) = &lease_view.seen else {
        return TakeoverStep::Claim(request.claim(1, None));
    };
    let record = &latest.found.value;
    if record.holder != *request.target {
        return TakeoverStep::Claim(request.claim(next_epoch(record.epoch), record.last_granted().cloned()));
    }
    if record.state == LeaseState::Granted {
        return TakeoverStep::Settled;
    }
    if record.previous_holder.as_ref() == Some(&record.holder) {
        return TakeoverStep::Grant(request.grant(record));
    }
    let Some(unheld_since) = latest.unheld_since else { return TakeoverStep::Publish };
    let until = unheld_since.plus(params.wait());
    let has_confirmed =
        |node: &Name| stopped.iter().any(|stopped| stopped.node == *node && stopped.issued > unheld_since);
    if record.previous_holder.as_ref().is_some_and(has_confirmed) {
        return TakeoverStep::Grant(request.grant(record));
    }
    match (now >= until, request.may_grant_by_waiting) {
        (false, _) => TakeoverStep::Wait { until, stop: record.previous_holder.clone() },
        (true, true) => TakeoverStep::Grant(request.grant(record)),
        (true, false) => TakeoverStep::LeaveToBrain,
    }
}

/// A claim that takes back a register that went back, as after a restore from a backup: later than both
/// the record in the view and the one that was found. It carries no previous holder, so no confirmed
/// stop ends its wait: after `valid + grace`, every node has stopped, whatever it had read. None if
/// there is nothing to take back.
pub fn repair_claim(
    known: Option<&LeaseRecord>,
    found: Option<&LeaseRecord>,
    by: &str,
    why: &str,
    (at, nonce): (&str, Nonce),
) -> Option<LeaseRecord> {
    let latest = known.into_iter().chain(found).max_by(|one, other| one.order(other))?;
    let request = ClaimRequest { target: &latest.holder, by, why: Some(why), at, nonce, may_grant_by_waiting: false };
    Some(request.claim(next_epoch(latest.epoch), None))
}

impl ClaimRequest<'_> {
    fn claim(&self, epoch: u64, previous_holder: Option<Name>) -> LeaseRecord {
        LeaseRecord {
            holder: self.target.clone(),
            epoch,
            state: LeaseState::Claimed,
            previous_holder,
            nonce: self.nonce,
            by: self.by.to_owned(),
            why: self.why.map(str::to_owned),
            at: self.at.to_owned(),
        }
    }

    fn grant(&self, claim: &LeaseRecord) -> LeaseRecord {
        LeaseRecord { state: LeaseState::Granted, ..self.claim(claim.epoch, claim.previous_holder.clone()) }
    }
}
