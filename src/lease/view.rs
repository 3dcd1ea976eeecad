//! What one machine knows of a register, and the run rule that follows from it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Params;
use crate::boot_instant::BootInstant;
use crate::chain::Name;
use crate::lease::record::{LeaseRecord, LeaseState};
use crate::register::{Observation, Version, VersionedRecord};

/// What one machine knows of a register.
///
/// Only the newest value counts: an older one permits nothing any more, however freshly it was read.
/// It may be kept from one command to the next; [without its times](Self::forget_times) after
/// another boot, and by whoever runs the service: after a stop nothing may start on the strength of
/// a read from before it, so a guard that begins relies on its own reads alone. Without it, a register that was restored from a backup is not told from an honest
/// one, and a wait starts anew; nothing else is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseView {
    /// The newest value; none when the register was never seen to hold one.
    pub seen: Option<Latest>,
}

/// The newest value, and what is known of its time. Plain data, so that a test can make any of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Latest {
    /// The value and its version.
    pub found: VersionedRecord,
    /// When the latest read that returned it began; none when that was before this boot.
    #[serde(alias = "asked")]
    pub last_read_began: Option<BootInstant>,
    /// The earliest moment at which the register was known to hold it.
    #[serde(alias = "known")]
    pub first_seen: BootInstant,
    /// Since when the register has been known to name nobody; none while it names somebody.
    #[serde(alias = "unnamed")]
    pub unheld_since: Option<BootInstant>,
    /// A moment before the value was written: when the latest read of the one before it began. None
    /// when none was read in this boot. No rule of the lease relies on it.
    #[serde(default)]
    pub written_after: Option<BootInstant>,
    /// A moment before its writer last read the register: what it replaced was written after that. None
    /// when there is no telling.
    #[serde(default)]
    pub read_after: Option<BootInstant>,
}

/// A node may run the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Under this epoch, and no other: an instance that was started under another one is stopped.
    pub epoch: u64,
    /// Until this moment, at which it is to be told to stop, unless a further read moves it.
    pub until: BootInstant,
}

/// Why a register is not obeyed: it lost what it once held. Nothing follows from such a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Regression {
    /// It held a value of this epoch, and now holds none.
    Gone(u64),
    /// It went back from one epoch to an earlier one, or from a grant to its claim, as after a
    /// restore from a backup.
    Rewound {
        /// The epoch that was seen before.
        from: u64,
        /// The epoch that it holds now.
        to: u64,
    },
    /// It holds another value than before in the same epoch: two histories.
    Forked(u64),
}

impl fmt::Display for Regression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(epoch) => write!(f, "the register is empty, and has held epoch {epoch}"),
            Self::Rewound { from, to } if from == to => {
                write!(f, "the register went back from the grant of epoch {from} to its claim")
            }
            Self::Rewound { from, to } => write!(f, "the register went back from epoch {from} to {to}"),
            Self::Forked(epoch) => write!(f, "the register holds another value of epoch {epoch} than it held before"),
        }
    }
}

impl std::error::Error for Regression {}

impl LeaseView {
    /// Takes in what a read returned or what an acknowledged swap wrote.
    ///
    /// # Errors
    /// When the register is not to be obeyed. What was known before stands.
    pub fn observe(&mut self, reading: Observation) -> Result<(), Regression> {
        let Observation { began, ended, found } = reading;
        // Asked before the newest value was known, an older answer is merely late.
        let late = |seen: &Latest| began < seen.first_seen;
        let Some(found) = found else {
            return match &self.seen {
                Some(seen) if !late(seen) => Err(Regression::Gone(seen.found.value.epoch)),
                _ => Ok(()),
            };
        };
        let Some(seen) = &mut self.seen else {
            self.seen = Some(Latest::new(found, began, ended));
            return Ok(());
        };
        let (old, new) = (&seen.found.value, &found.value);
        if new == old {
            seen.last_read_began = seen.last_read_began.max(Some(began));
            seen.found.version = found.version;
            if new.state == LeaseState::Claimed {
                seen.unheld_since.get_or_insert(ended);
            }
            return Ok(());
        }
        let (from, to) = (old.epoch, new.epoch);
        let one_history = from != to || (&old.holder, &old.previous_holder) == (&new.holder, &new.previous_holder);
        match new.rank().cmp(&old.rank()) {
            std::cmp::Ordering::Greater if one_history => {
                let (written_after, read_after) = (seen.last_read_began, seen.written_after);
                *seen = Latest { written_after, read_after, ..Latest::new(found, began, ended) };
                Ok(())
            }
            std::cmp::Ordering::Less if late(seen) => Ok(()),
            std::cmp::Ordering::Less => Err(Regression::Rewound { from, to }),
            _ => Err(Regression::Forked(to)),
        }
    }

    /// Takes in one's own swap that was acknowledged, or that was recognised as one's own.
    ///
    /// Unlike a foreign value it is known to follow directly upon the one seen, so a wait that has
    /// begun at an unfinished claim goes on when that is replaced by one's own: the register named
    /// nobody in between.
    ///
    /// # Errors
    /// When the register is not to be obeyed.
    pub fn observe_own_write(&mut self, reading: Observation) -> Result<(), Regression> {
        let (unheld_since, began) = (self.seen.as_ref().and_then(|seen| seen.unheld_since), reading.began);
        self.observe(reading)?;
        let Some(seen) = &mut self.seen else { return Ok(()) };
        seen.written_after = Some(began);
        if let (Some(since), Some(before)) = (&mut seen.unheld_since, unheld_since) {
            *since = before.min(*since);
        }
        Ok(())
    }

    /// The version to compare with when the newest value is to be replaced.
    pub fn version(&self) -> Option<&Version> {
        self.seen.as_ref().map(|seen| &seen.found.version)
    }

    /// The newest value.
    pub fn value(&self) -> Option<&LeaseRecord> {
        self.seen.as_ref().map(|seen| &seen.found.value)
    }

    /// Whether the value seen here comes after the one seen there.
    pub fn is_later_than(&self, other: &Self) -> bool {
        self.value().map(LeaseRecord::rank) > other.value().map(LeaseRecord::rank)
    }

    /// The run rule: whether `node` may run the service at `now`, under which epoch and until when.
    pub fn permit(&self, node: &Name, now: BootInstant, params: &Params) -> Option<Permit> {
        let seen = self.seen.as_ref()?;
        let named = seen.found.value.granted_to() == Some(node);
        let until = seen.last_read_began?.plus(params.valid);
        (named && now < until).then_some(Permit { epoch: seen.found.value.epoch, until })
    }

    /// Whether it tells of a time that is yet to come, as a copy of another machine's state may.
    pub fn is_ahead_of(&self, now: BootInstant) -> bool {
        let times = |seen: &Latest| {
            [seen.last_read_began, Some(seen.first_seen), seen.unheld_since].into_iter().flatten().max()
        };
        self.seen.as_ref().and_then(times) > Some(now)
    }

    /// Keeps what holds beyond this boot.
    pub fn forget_times(&mut self) {
        if let Some(seen) = &mut self.seen {
            (seen.last_read_began, seen.first_seen, seen.unheld_since) = (None, BootInstant::default(), None);
            (seen.written_after, seen.read_after) = (None, None);
        }
    }
}

impl Latest {
    fn new(found: VersionedRecord, began: BootInstant, ended: BootInstant) -> Self {
        let unheld_since = (found.value.state == LeaseState::Claimed).then_some(ended);
        Self {
            found,
            last_read_began: Some(began),
            first_seen: ended,
            unheld_since,
            written_after: None,
            read_after: None,
        }
    }
}
