//! Reads the register again and again, in threads of its own: a read that hangs delays no stop, and
//! no other read either.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::chain::Name;
use crate::deadline::Deadline;
use crate::register::{self, Observation, Register};

/// Opens the register that is read; each thread has its own.
pub type Open = dyn Fn() -> Result<Box<dyn Register + Send>> + Send + Sync;

/// More threads than this do not make up for a register that hangs.
const MOST_LANES: u32 = 4;

/// What a read brought.
#[derive(Debug)]
pub enum PollResult {
    /// An answer.
    Read(Observation),
    /// None; why, in words.
    StoreError(String),
}

/// The readers. They end with the process.
#[derive(Debug)]
pub struct Poller {
    /// What was read.
    pub news: Receiver<PollResult>,
    /// Readable when there is some.
    pub wake: UnixStream,
}

impl Poller {
    /// Reads the register of `service` every `check`, each time until `valid` has passed at most:
    /// what takes longer permits nothing.
    ///
    /// # Errors
    /// When there is no thread or socket to be had.
    pub fn begin(service: &Name, open: Arc<Open>, check: Duration, valid: Duration) -> Result<Self> {
        let (sender, news) = channel();
        let (wake, waker) = UnixStream::pair().context("no sockets to be had")?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let check = check.max(Duration::from_millis(1));
        let lanes = u32::try_from(valid.as_nanos().div_ceil(check.as_nanos())).unwrap_or(MOST_LANES);
        let lanes = lanes.clamp(1, MOST_LANES);
        let begun = Instant::now();
        for lane in 0..lanes {
            let lane = Reader {
                service: service.clone(),
                open: Arc::clone(&open),
                next: begun + check * lane,
                period: check * lanes,
                patience: valid.min(check * lanes),
                sender: sender.clone(),
                waker: waker.try_clone()?,
            };
            std::thread::Builder::new().name("read".to_owned()).spawn(move || lane.run())?;
        }
        Ok(Self { news, wake })
    }
}

/// One thread, which reads every few checks.
struct Reader {
    service: Name,
    open: Arc<Open>,
    next: Instant,
    period: Duration,
    patience: Duration,
    sender: Sender<PollResult>,
    waker: UnixStream,
}

impl Reader {
    fn run(mut self) {
        let mut register = None;
        loop {
            std::thread::sleep(self.next.saturating_duration_since(Instant::now()));
            // What was missed, while the machine slept or the register hung, is not made up for.
            self.next = (self.next + self.period).max(Instant::now());
            let news = self.read(&mut register);
            if self.sender.send(news).is_err() {
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
                Err(error) => return PollResult::StoreError(format!("{error:#}")),
            },
        };
        match register::look(register.as_ref(), &self.service, Deadline::after(self.patience)) {
            Ok(reading) => PollResult::Read(reading),
            Err(fault) => PollResult::StoreError(fault.to_string()),
        }
    }
}
