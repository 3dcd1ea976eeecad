//! What one machine knows of a register, and the run rule that follows from it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Params;
use crate::chain::Name;
use crate::moment::Moment;
use crate::register::value::{State, Value};
use crate::register::{Found, Reading, Version};

/// What one machine knows of a register.
///
/// Only the newest value counts: an older one permits nothing any more, however freshly it was read.
/// It may be kept from one command to the next; [without its times](Self::forget_times) after
/// another boot, and by whoever runs the service: after a stop nothing may start on the strength of
/// a read from before it, so a guard that begins relies on its own reads alone. Without it, a register that was restored from a backup is not told from an honest
/// one, and a wait starts anew; nothing else is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sight {
    /// The newest value; none when the register was never seen to hold one.
    pub seen: Option<Seen>,
}

/// The newest value, and what is known of its time. Plain data, so that a test can make any of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seen {
    /// The value and its version.
    pub found: Found,
    /// When the latest read that returned it began; none when that was before this boot.
    pub asked: Option<Moment>,
    /// The earliest moment at which the register was known to hold it.
    pub known: Moment,
    /// Since when the register has been known to name nobody; none while it names somebody.
    pub unnamed: Option<Moment>,
    /// A moment before the value was written: when the latest read of the one before it began. None
    /// when none was read in this boot. No rule of the lease relies on it.
    #[serde(default)]
    pub written_after: Option<Moment>,
    /// A moment before its writer last read the register: what it replaced was written after that. None
    /// when there is no telling.
    #[serde(default)]
    pub read_after: Option<Moment>,
}

/// A node may run the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Under this epoch, and no other: an instance that was started under another one is stopped.
    pub epoch: u64,
    /// Until this moment, at which it is to be told to stop, unless a further read moves it.
    pub until: Moment,
}

/// Why a register is not obeyed: it lost what it once held. Nothing follows from such a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
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

impl fmt::Display for Distrust {
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

impl std::error::Error for Distrust {}

impl Sight {
    /// Takes in what a read returned or what an acknowledged swap wrote.
    ///
    /// # Errors
    /// When the register is not to be obeyed. What was known before stands.
    pub fn note(&mut self, reading: Reading) -> Result<(), Distrust> {
        let Reading { began, ended, found } = reading;
        // Asked before the newest value was known, an older answer is merely late.
        let late = |seen: &Seen| began < seen.known;
        let Some(found) = found else {
            return match &self.seen {
                Some(seen) if !late(seen) => Err(Distrust::Gone(seen.found.value.epoch)),
                _ => Ok(()),
            };
        };
        let Some(seen) = &mut self.seen else {
            self.seen = Some(Seen::new(found, began, ended));
            return Ok(());
        };
        let (old, new) = (&seen.found.value, &found.value);
        if new == old {
            seen.asked = seen.asked.max(Some(began));
            seen.found.version = found.version;
            if new.state == State::Claimed {
                seen.unnamed.get_or_insert(ended);
            }
            return Ok(());
        }
        let (from, to) = (old.epoch, new.epoch);
        let one_history = from != to || (&old.holder, &old.was) == (&new.holder, &new.was);
        match new.rank().cmp(&old.rank()) {
            std::cmp::Ordering::Greater if one_history => {
                let (written_after, read_after) = (seen.asked, seen.written_after);
                *seen = Seen { written_after, read_after, ..Seen::new(found, began, ended) };
                Ok(())
            }
            std::cmp::Ordering::Less if late(seen) => Ok(()),
            std::cmp::Ordering::Less => Err(Distrust::Rewound { from, to }),
            _ => Err(Distrust::Forked(to)),
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
    pub fn note_own(&mut self, reading: Reading) -> Result<(), Distrust> {
        let (unnamed, began) = (self.seen.as_ref().and_then(|seen| seen.unnamed), reading.began);
        self.note(reading)?;
        let Some(seen) = &mut self.seen else { return Ok(()) };
        seen.written_after = Some(began);
        if let (Some(since), Some(before)) = (&mut seen.unnamed, unnamed) {
            *since = before.min(*since);
        }
        Ok(())
    }

    /// The version to compare with when the newest value is to be replaced.
    pub fn version(&self) -> Option<&Version> {
        self.seen.as_ref().map(|seen| &seen.found.version)
    }

    /// The newest value.
    pub fn value(&self) -> Option<&Value> {
        self.seen.as_ref().map(|seen| &seen.found.value)
    }

    /// Whether the value seen here comes after the one seen there.
    pub fn is_later_than(&self, other: &Self) -> bool {
        self.value().map(Value::rank) > other.value().map(Value::rank)
    }

    /// The run rule: whether `node` may run the service at `now`, under which epoch and until when.
    pub fn permit(&self, node: &Name, now: Moment, params: &Params) -> Option<Permit> {
        let seen = self.seen.as_ref()?;
        let named = seen.found.value.granted_to() == Some(node);
        let until = seen.asked?.plus(params.valid);
        (named && now < until).then_some(Permit { epoch: seen.found.value.epoch, until })
    }

    /// Whether it tells of a time that is yet to come, as a copy of another machine's state may.
    pub fn is_ahead_of(&self, now: Moment) -> bool {
        let times = |seen: &Seen| [seen.asked, Some(seen.known), seen.unnamed].into_iter().flatten().max();
        self.seen.as_ref().and_then(times) > Some(now)
    }

    /// Keeps what holds beyond this boot.
    pub fn forget_times(&mut self) {
        if let Some(seen) = &mut self.seen {
            (seen.asked, seen.known, seen.unnamed) = (None, Moment::default(), None);
            (seen.written_after, seen.read_after) = (None, None);
        }
    }
}

impl Seen {
    fn new(found: Found, began: Moment, ended: Moment) -> Self {
        let unnamed = (found.value.state == State::Claimed).then_some(ended);
        Self { found, asked: Some(began), known: ended, unnamed, written_after: None, read_after: None }
    }
}
