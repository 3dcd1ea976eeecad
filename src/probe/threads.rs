//! Threads for what can only block: a name look-up, an HTTP request. They report through a channel
//! and wake the event loop through an eventfd.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use rustix::event::EventfdFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use super::Outcome;

/// What a thread found out.
pub(super) enum Finding {
    /// The addresses of the target with this index.
    Resolved(usize, std::io::Result<Vec<SocketAddr>>),
    /// The outcome of the try with this key.
    Outcome(usize, Outcome),
}

/// The receiving end of all threads.
pub(super) struct Threads {
    wake: Arc<OwnedFd>,
    sender: mpsc::Sender<Finding>,
    receiver: mpsc::Receiver<Finding>,
}

impl Threads {
    /// Makes the eventfd. This comes before the first socket, because the sockets of many targets can
    /// use up every file descriptor.
    pub(super) fn new() -> rustix::io::Result<Self> {
        let wake = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (sender, receiver) = mpsc::channel();
        Ok(Self { wake, sender, receiver })
    }

    /// Runs `work` in a thread of its own.
    pub(super) fn spawn(&self, work: impl FnOnce() -> Finding + Send + 'static) -> std::io::Result<()> {
        let (wake, sender) = (Arc::clone(&self.wake), self.sender.clone());
        std::thread::Builder::new().spawn(move || {
            // A receiver that is gone needs no finding.
            let _ = sender.send(work());
            let _ = rustix::io::write(&wake, &1_u64.to_ne_bytes());
        })?;
        Ok(())
    }

    /// The next finding that is there already.
    pub(super) fn try_next(&self) -> Option<Finding> {
        self.receiver.try_recv().ok()
    }

    /// Clears the wake-up; to be called before [`Self::try_next`], so that none is missed.
    pub(super) fn acknowledge(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }
}

impl AsFd for Threads {
    /// Readable when a thread has reported.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
