//! The take rule, one step at a time.

use super::{LeaseView, Params};
use crate::boot_instant::BootInstant;
use crate::chain::Name;
use crate::lease::record::{LeaseRecord, LeaseState, Nonce};

/// What a brain wants, and what it signs its next write with.
#[derive(Clone, Debug)]
pub struct ClaimRequest<'a> {
    /// The node that ought to hold the lease.
    pub target: &'a Name,
    /// Who wants it.
    pub by: &'a str,
    /// Why, in words.
    pub why: Option<&'a str>,
    /// The time for people, RFC 3339.
    pub at: &'a str,
    /// Used for no write before. Another try of a swap is another write.
    pub nonce: Nonce,
}

/// A node said itself that it stopped the service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stopped {
    /// The node.
    pub node: Name,
    /// When the `stop` that it answered was issued, by the brain's own clock. After the answer the
    /// node runs nothing on the strength of a read from before the stop: a mere `status` would not
    /// say that, for it could miss an instance that is just starting.
    pub issued: BootInstant,
}

/// What a brain does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakeoverStep {
    /// Swap the value seen for this claim. From then on nobody is named.
    Claim(LeaseRecord),
    /// Ask again at this moment, or as soon as `stop` has confirmed.
    Wait {
        /// When the old holder has stopped by itself.
        until: BootInstant,
        /// The node to stop, so as not to have to wait; none when there is no telling who it is.
        stop: Option<Name>,
    },
    /// Swap the value seen for this grant. From then on the target may start.
    Grant(LeaseRecord),
    /// The target holds the lease.
    Settled,
}

/// The take rule: what a brain that sees `sight` does next to have its way.
///
/// Every swap is made against [`LeaseView::version`], its result goes into the sight, and the rule is
/// asked again. It serves the first claim, a takeover, a planned switchover and the claim that a
/// brain left behind as it died. What is particular:
///
/// - Whoever is to hold it again after having held it last is granted it at once: nobody else can
///   be running.
/// - A first claim, with nobody to confirm, is waited out: a register that was never written is not
///   told from one that lost what it held, and by then whoever relied on that has stopped. The wait
///   comes once in a service's life. An instance from before there was a lease obeys no register,
///   so no wait would end it: the brain stops it as it does without a lease.
/// - An unfinished claim for another node is replaced by a claim of the next epoch, which inherits
///   `was` and the wait so far.
/// - A confirmation counts when the stop was issued after the register was known to name nobody.
pub fn next(
    lease_view: &LeaseView,
    stopped: &[Stopped],
    want: &ClaimRequest<'_>,
    now: BootInstant,
    params: &Params,
) -> TakeoverStep {
    let Some(seen) = &lease_view.seen else {
        return TakeoverStep::Claim(want.claim(1, None));
    };
    let value = &seen.found.value;
    if value.holder != *want.target {
        return TakeoverStep::Claim(want.claim(value.epoch + 1, value.last_granted().cloned()));
    }
    if value.state == LeaseState::Granted {
        return TakeoverStep::Settled;
    }
    let since = seen.unheld_since.unwrap_or(now);
    let until = since.plus(params.wait());
    let confirmed = |previous_holder: &Name| {
        stopped.iter().any(|stopped| stopped.node == *previous_holder && stopped.issued > since)
    };
    let nobody_else = value
        .previous_holder
        .as_ref()
        .is_some_and(|previous_holder| *previous_holder == value.holder || confirmed(previous_holder));
    if nobody_else || now >= until {
        return TakeoverStep::Grant(want.grant(value));
    }
    TakeoverStep::Wait { until, stop: value.previous_holder.clone() }
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
