//! Polls the lease in threads of its own, so that a read that hangs delays neither a stop nor the other
//! reads.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::clock::Deadline;
use crate::lease::Observation;
use crate::lease::codec::LeaseRegister;
use crate::name::Name;
use crate::register::{Register, StoreError};

/// Opens the register; each thread has its own.
pub type OpenRegister = dyn Fn() -> Result<Box<dyn Register + Send>> + Send + Sync;

/// The number of reads that may be in progress at the same time.
const MAX_READERS: u32 = 4;

/// The result of a read.
#[derive(Debug)]
pub enum PollResult {
    /// An answer.
    Read(Observation),
    /// No answer; why.
    Failed(String),
    /// An answer that is not a lease; why.
    Foreign(String),
}

impl PollResult {
    /// What the read took, if it was answered.
    pub fn took(&self) -> Option<Duration> {
        match self {
            Self::Read(observation) => Some(observation.began.until(observation.ended)),
            Self::Failed(_) | Self::Foreign(_) => None,
        }
    }
}

/// The readers, which end with the process.
#[derive(Debug)]
pub struct Poller {
    /// What they read.
    pub results: Receiver<PollResult>,
    /// Readable when there are results.
    pub wake: UnixStream,
}

impl Poller {
    /// Begins a read of the service's lease every `check`. Each read may take `valid` at most: a later
    /// answer permits nothing.
    ///
    /// # Errors
    /// When a thread or socket cannot be created.
    pub fn start(service: &Name, open: Arc<OpenRegister>, check: Duration, valid: Duration) -> Result<Self> {
        let (sender, results) = channel();
        let (wake, waker) = UnixStream::pair().context("cannot create a socket pair")?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let check = check.max(Duration::from_millis(1));
        let readers = u32::try_from(valid.as_nanos().div_ceil(check.as_nanos())).unwrap_or(MAX_READERS);
        let readers = readers.clamp(1, MAX_READERS);
        let begun = Instant::now();
        for number in 0..readers {
            let reader = Reader {
                service: service.clone(),
                open: Arc::clone(&open),
                next: begun + check * number,
                period: check * readers,
                timeout: valid.min(check * readers),
                sender: sender.clone(),
                waker: waker.try_clone()?,
            };
            std::thread::Builder::new().name("read".to_owned()).spawn(move || reader.run())?;
        }
        Ok(Self { results, wake })
    }
}

/// One thread, which does every n-th read.
struct Reader {
    service: Name,
    open: Arc<OpenRegister>,
    next: Instant,
    period: Duration,
    timeout: Duration,
    sender: Sender<PollResult>,
    waker: UnixStream,
}

impl Reader {
    fn run(mut self) {
        let mut register = None;
        loop {
            std::thread::sleep(self.next.saturating_duration_since(Instant::now()));
            // Reads that were missed, while the machine slept or the register hung, are skipped.
            self.next = (self.next + self.period).max(Instant::now());
            let result = self.read(&mut register);
            if self.sender.send(result).is_err() {
                return;
            }
            let _ = self.waker.write(&[0]);
        }
    }

    fn read(&self, register: &mut Option<Box<dyn Register + Send>>) -> PollResult {
        let register = match register {
            Some(register) => register,
            None => match (self.open)() {
                Ok(opened) => register.insert(opened),
                Err(error) => return PollResult::Failed(format!("{error:#}")),
            },
        };
        let lease_register = LeaseRegister { register: register.as_ref(), service: &self.service };
        match lease_register.read(Deadline::after(self.timeout)) {
            Ok(observation) => PollResult::Read(observation),
            Err(StoreError::Failed(why)) => PollResult::Failed(why),
            Err(StoreError::Foreign(why)) => PollResult::Foreign(why),
        }
    }
}
