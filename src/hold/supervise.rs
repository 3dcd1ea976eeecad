//! The supervisor's own process: it starts the command, ends it in time, and ends everything that the
//! command started.
//!
//! It depends only on its orders, its child and its timer. So neither a read that hangs nor a frozen
//! `hold` delays a stop. When `hold` is killed, the link closes, and the supervisor kills at once.
//! When the supervisor itself is killed, the kernel kills the command (`PR_SET_PDEATHSIG`, prctl(2)),
//! and what the command started falls to `hold`. When both are frozen or killed, the
//! [backstop](super::backstop) ends the command.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::backstop::BackstopLink;
use super::cgroup::CommandGroup;
use super::command::{self, HeldCommand};
use super::ipc::{CommandEnd, IpcLink, Received, SupervisorOrder, SupervisorReport};
use super::kill_timer::KillTimer;
use super::run_window::{Phase, RunWindow};
use super::timer::Timer;
use super::{reaper, signals};
use crate::clock::BootInstant;

/// The processes and resources around the supervisor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    /// Its parent.
    pub(super) hold: Pid,
    /// Its connection to the backstop.
    pub(super) backstop: &'a BackstopLink,
    /// Marks the processes of the command.
    pub(super) marker: &'a str,
    /// The command's control group, if it has one.
    pub(super) group: Option<&'a CommandGroup>,
}

/// Waits for the order to start, and supervises the command to its end.
pub(super) fn supervise(held: &HeldCommand<'_>, link: &IpcLink, surroundings: &Surroundings<'_>) -> io::Result<()> {
    // `hold` handles the signals and sends an order. A group of its own keeps the terminal's away.
    let (child_ended, unblocked) = signals::block_all()?;
    let _ = rustix::process::setpgid(None, None);
    reaper::become_subreaper()?;
    let timer = Timer::new()?;
    let Some((epoch, until)) = wait_for_start(link)? else { return Ok(()) };
    let window = RunWindow::new(until, held.grace);
    let kill_timer = KillTimer::new()?;
    kill_timer.set(window.last())?;
    surroundings.backstop.deadline.set(Some(window.backstop()));
    let started = if window.phase(BootInstant::now()) == Phase::Run {
        command::start(held, epoch, unblocked, surroundings)
    } else {
        Err(SupervisorReport::NotStarted { why: "the permit expired before the start".to_owned(), missing: false })
    };
    let leader = match started {
        Ok(leader) => leader,
        Err(report) => {
            surroundings.backstop.deadline.set(None);
            link.send(&report);
            return Ok(());
        }
    };
    link.send(&SupervisorReport::Started { pid: leader.as_raw_nonzero().get() });
    let mut supervision = Supervision { link, surroundings, leader, window, sent_term: false, expired: false };
    let killed = supervision.run(&timer, &kill_timer, &child_ended)?;
    // First the whole group at once, then what left it, one generation after another. The leader is
    // waited for afterwards, so that the number of its group is not reused.
    if let Some(group) = surroundings.group {
        group.kill();
    }
    let _ = rustix::process::kill_process_group(leader, Signal::KILL);
    let status = command::wait_for_status(leader);
    reaper::kill_all();
    surroundings.backstop.deadline.set(None);
    link.send(&SupervisorReport::Ended(CommandEnd { status, expired: supervision.expired, killed }));
    Ok(())
}

struct Supervision<'a> {
    link: &'a IpcLink,
    surroundings: &'a Surroundings<'a>,
    leader: Pid,
    window: RunWindow,
    sent_term: bool,
    /// Whether the permit expired before there was an order to stop.
    expired: bool,
}

impl Supervision<'_> {
    /// Returns when the command has ended or must be killed; whether it must be killed.
    fn run(&mut self, timer: &Timer, kill_timer: &KillTimer, child_ended: &OwnedFd) -> io::Result<bool> {
        loop {
            if !self.take_orders() || rustix::process::getppid() != Some(self.surroundings.hold) {
                return Ok(true);
            }
            if command::has_ended(self.leader) {
                return Ok(false);
            }
            let now = BootInstant::now();
            match self.window.phase(now) {
                Phase::Run => {}
                Phase::Stop => self.tell_to_stop(now),
                Phase::Kill => {
                    self.note_expiry(now);
                    return Ok(true);
                }
            }
            timer.set(self.window.next_change(now))?;
            kill_timer.set(self.window.last())?;
            self.surroundings.backstop.deadline.set(Some(self.window.backstop()));
            let fds = [self.link.as_fd(), timer.as_fd(), child_ended.as_fd()];
            match rustix::event::poll(&mut fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            signals::drain_signals(child_ended);
        }
    }

    /// Takes all orders; false when `hold` is gone.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.link.receive() {
                Received::Message(SupervisorOrder::Extend { until }) => self.window.extend(until),
                Received::Message(SupervisorOrder::Stop) => self.window.stop(BootInstant::now()),
                Received::Message(SupervisorOrder::Start { .. }) => {}
                Received::Nothing => return true,
                Received::Closed => return false,
            }
        }
    }

    fn tell_to_stop(&mut self, now: BootInstant) {
        if self.sent_term {
            return;
        }
        self.note_expiry(now);
        self.sent_term = true;
        let _ = rustix::process::kill_process_group(self.leader, Signal::TERM);
        // A stopped process does not see SIGTERM before it continues.
        let _ = rustix::process::kill_process_group(self.leader, Signal::CONT);
        self.surroundings.backstop.deadline.set(Some(self.window.backstop()));
        self.surroundings.backstop.wake();
    }

    fn note_expiry(&mut self, now: BootInstant) {
        if !self.sent_term {
            self.expired = !self.window.was_stopped_early();
            self.window.stop(now);
        }
    }
}

fn wait_for_start(link: &IpcLink) -> io::Result<Option<(u64, BootInstant)>> {
    loop {
        match link.receive() {
            Received::Message(SupervisorOrder::Start { epoch, until }) => return Ok(Some((epoch, until))),
            Received::Message(SupervisorOrder::Extend { .. }) => {}
            Received::Message(SupervisorOrder::Stop) | Received::Closed => return Ok(None),
            Received::Nothing => {
                let fd = link.as_fd();
                match rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}
