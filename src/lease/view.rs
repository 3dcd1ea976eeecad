//! What one machine knows of a lease, and the run rule that follows from it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Params;
use super::record::{LeaseRecord, LeaseState, VersionedRecord};
use crate::clock::BootInstant;
use crate::name::Name;
use crate::register::Version;

/// The answer to a read, or an acknowledged swap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Observation {
    /// When the question was sent; the content was true later than this.
    pub began: BootInstant,
    /// When the answer arrived; the content was true earlier than this.
    pub ended: BootInstant,
    /// The register's content; none when it was empty.
    pub found: Option<VersionedRecord>,
}

/// What one machine knows of a lease.
///
/// Only the latest record counts: an older one permits nothing, however recently it was read. The view
/// may be kept from one command to the next. After a reboot, and when a new `hold` begins, only the
/// record is kept and its [times are dropped](Self::forget_times): after a stop, nothing may start on
/// the strength of an earlier read. If the view is lost, a register that was restored from a backup
/// cannot be recognised, and a wait starts anew; nothing else is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseView {
    /// The latest record; none when the register was never seen to hold one.
    pub seen: Option<Latest>,
}

/// The latest record, and what is known of its times. Plain data, so that a test can construct it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Latest {
    /// The record and its version.
    pub found: VersionedRecord,
    /// When the last read that returned it began; none when that was before this boot.
    #[serde(alias = "asked")]
    pub last_read_began: Option<BootInstant>,
    /// When the register was first known to hold it.
    #[serde(alias = "known")]
    pub first_seen: BootInstant,
    /// When the wait for this claim began: when the register was known to name no holder, and this node's
    /// witness said so. None for a grant, and for a claim that is not published yet.
    #[serde(alias = "unnamed")]
    pub unheld_since: Option<BootInstant>,
    /// A lower bound for when the record was written: when the last read of its predecessor began.
    /// None if there was none in this boot. No rule of the lease relies on it.
    #[serde(default)]
    pub written_after: Option<BootInstant>,
    /// A lower bound for when its writer last read the register: when its predecessor was written. None
    /// if that is not known.
    #[serde(default)]
    pub read_after: Option<BootInstant>,
}

/// A node may run the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Under this epoch, and no other: an instance that was started under another one is stopped.
    pub epoch: u64,
    /// Until when. It is told to stop then, unless another read extends the permit.
    pub until: BootInstant,
}

/// Why a register is not obeyed: it lost content that it once held. Nothing follows from such a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Regression {
    /// It held a record of this epoch, and is now empty.
    Gone(u64),
    /// It went back to an earlier epoch, or from a grant to its claim, as after a restore from a
    /// backup; or it jumped so far ahead that the epoch counts as earlier.
    Rewound {
        /// The epoch that was seen before.
        from: u64,
        /// The epoch that it holds now.
        to: u64,
    },
    /// It holds a different record of the same epoch: two histories.
    Forked(u64),
}

impl fmt::Display for Regression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(epoch) => write!(f, "the register is empty, and has held epoch {epoch}"),
            Self::Rewound { from, to } if from == to => {
                write!(f, "the register went back from the grant of epoch {from} to its claim")
            }
            Self::Rewound { from, to } if from < to => {
                write!(f, "the register jumped from epoch {from} to {to}, which no takeover explains")
            }
            Self::Rewound { from, to } => write!(f, "the register went back from epoch {from} to {to}"),
            Self::Forked(epoch) => write!(f, "the register holds another record of epoch {epoch} than before"),
        }
    }
}

impl std::error::Error for Regression {}

impl LeaseView {
    /// Takes in the answer to a read, or the record that another brain wrote first.
    ///
    /// # Errors
    /// When the register must not be obeyed. The view does not change.
    pub fn observe(&mut self, observation: Observation) -> Result<(), Regression> {
        let Observation { began, ended, found } = observation;
        // An older record is merely late if the read began before the latest one was known.
        let is_late = |latest: &Latest| began < latest.first_seen;
        let Some(found) = found else {
            return match &self.seen {
                Some(latest) if !is_late(latest) => Err(Regression::Gone(latest.found.value.epoch)),
                _ => Ok(()),
            };
        };
        let Some(latest) = &mut self.seen else {
            self.seen = Some(Latest::new(found, began, ended));
            return Ok(());
        };
        let (old, new) = (&latest.found.value, &found.value);
        if new == old {
            latest.last_read_began = latest.last_read_began.max(Some(began));
            latest.found.version = found.version;
            return Ok(());
        }
        let (from, to) = (old.epoch, new.epoch);
        let same_history = from != to || (&old.holder, &old.previous_holder) == (&new.holder, &new.previous_holder);
        match new.order(old) {
            std::cmp::Ordering::Greater if same_history => {
                let (written_after, read_after) = (latest.last_read_began, latest.written_after);
                *latest = Latest { written_after, read_after, ..Latest::new(found, began, ended) };
                Ok(())
            }
            std::cmp::Ordering::Less if is_late(latest) => Ok(()),
            std::cmp::Ordering::Less => Err(Regression::Rewound { from, to }),
            _ => Err(Regression::Forked(to)),
        }
    }

    /// Takes in our own swap, once it is acknowledged or recognised by its nonce.
    ///
    /// Unlike another brain's record, ours directly follows the one seen before. So a wait that began
    /// with an unfinished claim continues when we replace that claim: the register named no holder in
    /// between.
    ///
    /// # Errors
    /// When the register must not be obeyed.
    pub fn observe_own_write(&mut self, observation: Observation) -> Result<(), Regression> {
        let (unheld_since, began) = (self.seen.as_ref().and_then(|latest| latest.unheld_since), observation.began);
        self.observe(observation)?;
        let Some(latest) = &mut self.seen else { return Ok(()) };
        latest.written_after = Some(began);
        if latest.found.value.state == LeaseState::Claimed {
            latest.unheld_since = latest.unheld_since.or(unheld_since);
        }
        Ok(())
    }

    /// The view's claim has been visible to this node's witness since before `now`, so the wait for it may
    /// begin. A wait that has begun goes on.
    pub fn published(&mut self, now: BootInstant) {
        if let Some(latest) = self.seen.as_mut().filter(|latest| latest.found.value.state == LeaseState::Claimed) {
            latest.unheld_since.get_or_insert(now);
        }
    }

    /// Whether this view, as this node's witness has it, has shown a claim for as long as the other view has
    /// been waiting.
    pub fn has_waited_as_long_as(&self, other: &Self) -> bool {
        let since = |view: &Self| view.seen.as_ref().and_then(|latest| latest.unheld_since);
        match (since(self), since(other)) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(shown), Some(waiting)) => shown <= waiting,
        }
    }

    /// Takes over the wait for the same claim that another process of this node has begun.
    pub fn adopt_wait(&mut self, other: &Self) {
        if let (Some(own), Some(other)) = (&mut self.seen, &other.seen)
            && own.found.value == other.found.value
        {
            own.unheld_since = own.unheld_since.or(other.unheld_since);
        }
    }

    /// This node's witness lost the view's claim, so the wait so far does not count.
    pub fn restart_wait(&mut self) {
        if let Some(latest) = &mut self.seen {
            latest.unheld_since = None;
        }
    }

    /// Whether the view has a claim whose wait has not begun.
    pub fn is_unpublished_claim(&self) -> bool {
        self.seen
            .as_ref()
            .is_some_and(|latest| latest.found.value.state == LeaseState::Claimed && latest.unheld_since.is_none())
    }

    /// The version to compare with when the latest record is replaced.
    pub fn version(&self) -> Option<&Version> {
        self.seen.as_ref().map(|latest| &latest.found.version)
    }

    /// The latest record.
    pub fn value(&self) -> Option<&LeaseRecord> {
        self.seen.as_ref().map(|latest| &latest.found.value)
    }

    /// Whether this view's record comes after the other's.
    pub fn is_later_than(&self, other: &Self) -> bool {
        match (self.value(), other.value()) {
            (Some(own), Some(other)) => own.order(other).is_gt(),
            (own, other) => own.is_some() && other.is_none(),
        }
    }

    /// The run rule: whether `node` may run the service at `now`, under which epoch and until when.
    pub fn permit(&self, node: &Name, now: BootInstant, params: &Params) -> Option<Permit> {
        let latest = self.seen.as_ref()?;
        let is_holder = latest.found.value.granted_to() == Some(node);
        let until = latest.last_read_began?.plus(params.valid);
        (is_holder && now < until).then_some(Permit { epoch: latest.found.value.epoch, until })
    }

    /// Whether it contains a time in the future, as a copy of another machine's state can.
    pub fn is_ahead_of(&self, now: BootInstant) -> bool {
        let latest_time = |latest: &Latest| {
            [latest.last_read_began, Some(latest.first_seen), latest.unheld_since].into_iter().flatten().max()
        };
        self.seen.as_ref().and_then(latest_time) > Some(now)
    }

    /// Drops all times, which mean nothing after a reboot.
    pub fn forget_times(&mut self) {
        if let Some(latest) = &mut self.seen {
            (latest.last_read_began, latest.first_seen, latest.unheld_since) = (None, BootInstant::default(), None);
            (latest.written_after, latest.read_after) = (None, None);
        }
    }
}

impl Latest {
    fn new(found: VersionedRecord, began: BootInstant, ended: BootInstant) -> Self {
        Self {
            found,
            last_read_began: Some(began),
            first_seen: ended,
            unheld_since: None,
            written_after: None,
            read_after: None,
        }
    }
}
