//! The event loop that waits for all tries of all targets at once: sockets, processes, and the
//! threads of what can only block.

use std::borrow::Cow;
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::Resource;

use super::schedule::Schedule;
use super::stall::StallDetector;
use super::target::{NextMove, Phase, TargetAnswer, TargetState};
use super::tcp::Socket;
use super::threads::{Finding, Threads};
use super::tries::{Tries, Try, Work};
use super::{Answer, Cause, Outcome, Target, http, process};
use crate::config::{Address, Method};
use crate::exec::Exec;

/// The epoll key of the threads' eventfd.
const THREADS_KEY: u64 = u64::MAX;
/// The output of processes is cut back this often while nothing else happens.
const TRIM_INTERVAL: Duration = Duration::from_millis(20);
/// How many events one wait fetches at most.
const MAX_EVENTS: usize = 256;
/// File descriptors beside the tries' own: standard streams, epoll, files.
const SPARE_DESCRIPTORS: u64 = 64;

struct Engine<'a, 'b> {
    targets: &'a [Target<'a>],
    states: Vec<TargetState>,
    tries: Tries,
    schedule: Schedule,
    unanswered: usize,
    epoll: OwnedFd,
    threads: Threads,
    on_answer: &'b mut dyn FnMut(usize, Answer) -> ControlFlow<()>,
}

/// Why the loop ends before every target has answered.
enum EarlyEnd {
    CalledOff,
    Failed(anyhow::Error),
}

impl From<rustix::io::Errno> for EarlyEnd {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Failed(anyhow::Error::new(std::io::Error::from(errno)).context("cannot wait for answers"))
    }
}

pub(super) fn run(targets: &[Target<'_>], on_answer: &mut dyn FnMut(usize, Answer) -> ControlFlow<()>) -> Result<()> {
    raise_descriptor_limit(targets.iter().map(|target| u64::from(target.probe.attempts)).sum());
    let now = Instant::now();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot wait for answers (epoll_create)")?;
    let threads = Threads::new().context("cannot wait for answers (eventfd)")?;
    epoll::add(&epoll, &threads, epoll::EventData::new_u64(THREADS_KEY), epoll::EventFlags::IN)
        .context("cannot wait for answers (epoll_ctl)")?;
    let engine = Engine {
        targets,
        states: targets.iter().map(|target| TargetState::new(target, now)).collect(),
        tries: Tries::default(),
        schedule: Schedule::default(),
        unanswered: targets.len(),
        epoll,
        threads,
        on_answer,
    };
    match engine.run(now) {
        Ok(()) | Err(EarlyEnd::CalledOff) => Ok(()),
        Err(EarlyEnd::Failed(error)) => Err(error),
    }
}

impl Engine<'_, '_> {
    fn run(mut self, now: Instant) -> Result<(), EarlyEnd> {
        let mut stall = StallDetector::start();
        for (index, target) in self.targets.iter().enumerate() {
            if target.delay.is_zero() {
                self.begin(index)?;
            } else {
                self.schedule.set(now + target.delay, index);
            }
        }
        let mut events = Vec::with_capacity(MAX_EVENTS);
        while self.unanswered > 0 {
            let mut wait = self.schedule.until_next().unwrap_or(TRIM_INTERVAL);
            if self.tries.processes > 0 {
                wait = wait.min(TRIM_INTERVAL);
            }
            events.clear();
            let mut stalled = stall.before_wait();
            let timeout = Timespec::try_from(wait).ok();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if events.is_empty() {
                stalled += stall.after_idle_wait(wait);
            }
            stall = StallDetector::start();
            if !stalled.is_zero() {
                self.states.iter_mut().for_each(|state| state.extend_deadline(stalled));
            }
            for event in &events {
                match event.data.u64() {
                    THREADS_KEY => self.take_findings()?,
                    key => self.handle_event(key)?,
                }
            }
            self.handle_due_timers()?;
            self.serve_descriptor_queue()?;
            if events.is_empty() && self.tries.processes > 0 {
                self.tries.trim_output();
            }
        }
        Ok(())
    }

    /// Starts a target's first try, or the look-up of its name.
    fn begin(&mut self, index: usize) -> Result<(), EarlyEnd> {
        let target = &self.targets[index];
        let (host, port) = match (&target.probe.method, target.address) {
            (Method::Tcp { port } | Method::SshBanner { port }, Address::Ip(ip)) => {
                return self.resolved(index, vec![SocketAddr::new(*ip, *port)]);
            }
            (Method::Tcp { port } | Method::SshBanner { port }, Address::Host(host)) => (host.clone(), *port),
            (Method::Http { url, .. }, _) => match http::host_name(url) {
                Some(host) => (host, 0),
                None => return self.start_try(index),
            },
            (Method::Ssh | Method::Exec { .. }, _) => return self.start_try(index),
        };
        self.states[index].phase = Phase::Resolving;
        self.schedule.set(self.states[index].deadline, index);
        let resolving = self.threads.spawn(move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            Finding::Resolved(index, found)
        });
        match resolving {
            Ok(()) => Ok(()),
            Err(error) => self.end_without_try(index, Outcome::Unable(Cause::NotAsked, Some(error.to_string()))),
        }
    }

    fn resolved(&mut self, index: usize, addresses: Vec<SocketAddr>) -> Result<(), EarlyEnd> {
        // An HTTP request looks the name up by itself. It was only checked that the name resolves.
        if !matches!(self.targets[index].probe.method, Method::Http { .. }) {
            self.states[index].set_addresses(addresses);
        }
        self.start_try(index)
    }

    /// Starts one try, and sets the timer of the next try or of the deadline.
    fn start_try(&mut self, index: usize) -> Result<(), EarlyEnd> {
        let started = Instant::now();
        let target = &self.targets[index];
        self.states[index].phase = Phase::Trying;
        let (work, address) = match &target.probe.method {
            Method::Tcp { .. } | Method::SshBanner { .. } => {
                let wants_greeting = matches!(target.probe.method, Method::SshBanner { .. });
                let Some((address, to)) = self.states[index].next_address() else { return Ok(()) };
                match Socket::connect(to, wants_greeting) {
                    Ok(socket) => (Work::Socket(socket), address),
                    Err(Outcome::Unable(Cause::NoFileDescriptor, detail)) => {
                        self.wait_for_descriptor(index, detail);
                        return Ok(());
                    }
                    Err(outcome) => {
                        self.states[index].attempts.started += 1;
                        return self.end(index, address, started, outcome);
                    }
                }
            }
            Method::Http { .. } => (Work::Thread, 0),
            Method::Ssh | Method::Exec { .. } => {
                let Some(command) = super::command_of(target) else {
                    return self.end_without_try(index, Outcome::Unable(Cause::NotAsked, None));
                };
                match Exec::new(command).start() {
                    Ok(running) => (Work::Process(Box::new(running)), 0),
                    Err(error) => {
                        self.states[index].attempts.started += 1;
                        return self.end(index, 0, started, process::not_started(&error));
                    }
                }
            }
        };
        let key = self.tries.add(Try { target: index, address, started, work });
        let state = &mut self.states[index];
        state.attempts.started += 1;
        state.attempts.open.push(key);
        self.schedule.set(state.next_wake_up(target.probe, started), index);
        self.watch(key)
    }

    /// Queues the first try of a target. A further try is given up: the one under way goes on.
    fn wait_for_descriptor(&mut self, index: usize, detail: Option<String>) {
        let state = &mut self.states[index];
        self.schedule.set(state.deadline, index);
        if state.attempts.started == 0 {
            state.wait_for_descriptor(detail);
            self.schedule.descriptor_queue.push_back(index);
        }
    }

    fn serve_descriptor_queue(&mut self) -> Result<(), EarlyEnd> {
        for _ in 0..self.schedule.descriptor_queue.len() {
            let Some(index) = self.schedule.descriptor_queue.pop_front() else { break };
            if self.states[index].is_answered() {
                continue;
            }
            self.start_try(index)?;
            if self.states[index].phase == Phase::Queued {
                break;
            }
        }
        Ok(())
    }

    /// Registers a try with epoll, or starts its thread.
    fn watch(&mut self, key: usize) -> Result<(), EarlyEnd> {
        let Some(attempt) = self.tries.get_mut(key) else { return Ok(()) };
        let (fd, flags): (BorrowedFd<'_>, _) = match &attempt.work {
            Work::Socket(socket) => (socket.as_fd(), epoll::EventFlags::OUT),
            Work::Process(running) => (running.as_fd(), epoll::EventFlags::IN),
            Work::Thread => {
                let Method::Http { url, expect } = &self.targets[attempt.target].probe.method else { return Ok(()) };
                let (url, expect) = (url.clone(), *expect);
                let left = self.states[attempt.target].deadline.saturating_duration_since(Instant::now());
                return match self.threads.spawn(move || Finding::Outcome(key, http::get(&url, expect, left))) {
                    Ok(()) => Ok(()),
                    Err(error) => self.end_try(key, Outcome::Unable(Cause::NotAsked, Some(error.to_string()))),
                };
            }
        };
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(key as u64), flags)?;
        Ok(())
    }

    fn take_findings(&mut self) -> Result<(), EarlyEnd> {
        self.threads.acknowledge();
        while let Some(finding) = self.threads.try_next() {
            match finding {
                Finding::Resolved(index, _) if self.states[index].is_answered() => {}
                Finding::Resolved(index, Ok(addresses)) if !addresses.is_empty() => self.resolved(index, addresses)?,
                Finding::Resolved(index, found) => {
                    let detail = found.err().map(|error| error.to_string());
                    self.end_without_try(index, Outcome::Unable(Cause::Unresolved, detail))?;
                }
                Finding::Outcome(key, outcome) => self.end_try(key, outcome)?,
            }
        }
        Ok(())
    }

    fn handle_event(&mut self, key: u64) -> Result<(), EarlyEnd> {
        let key = usize::try_from(key).unwrap_or(usize::MAX);
        let Some(attempt) = self.tries.get_mut(key) else { return Ok(()) };
        let outcome = match &mut attempt.work {
            Work::Socket(socket) => match socket.ready() {
                Some(outcome) => {
                    self.states[attempt.target].round_trip = socket.round_trip();
                    outcome
                }
                None => {
                    let data = epoll::EventData::new_u64(key as u64);
                    epoll::modify(&self.epoll, socket.as_fd(), data, epoll::EventFlags::IN)?;
                    return Ok(());
                }
            },
            Work::Process(running) => match running.finish() {
                Ok(finished) => {
                    let target = &self.targets[attempt.target];
                    process::ended(&target.probe.method, target.login.as_ref(), &finished)
                }
                Err(error) => process::not_started(&error),
            },
            Work::Thread => return Ok(()),
        };
        self.end_try(key, outcome)
    }

    fn end_try(&mut self, key: usize, outcome: Outcome) -> Result<(), EarlyEnd> {
        let Some(Try { target, address, started, .. }) = self.tries.remove(key) else { return Ok(()) };
        self.states[target].attempts.open.retain(|open| *open != key);
        self.end(target, address, started, outcome)
    }

    fn end_without_try(&mut self, index: usize, outcome: Outcome) -> Result<(), EarlyEnd> {
        self.end(index, 0, Instant::now(), outcome)
    }

    /// A try has ended: it gives the target's answer, or a reason for another try.
    fn end(&mut self, index: usize, address: usize, started: Instant, outcome: Outcome) -> Result<(), EarlyEnd> {
        if self.states[index].is_answered() {
            return Ok(());
        }
        self.states[index].note(started);
        match self.states[index].take_outcome(address, outcome, started.elapsed()) {
            NextMove::Answer(answer) => self.answer(index, answer),
            NextMove::TryNextAddress => self.start_try(index),
            NextMove::Wait => Ok(()),
        }
    }

    fn answer(&mut self, index: usize, answer: TargetAnswer) -> Result<(), EarlyEnd> {
        let state = &mut self.states[index];
        state.phase = Phase::Answered;
        self.unanswered -= 1;
        for key in std::mem::take(&mut state.attempts.open) {
            self.tries.remove(key);
        }
        let cause = answer.cause.map(|cause| Cow::Borrowed(cause.slug()));
        let (attempts, TargetAnswer { state, detail, latency, .. }) = (state.attempts.started, answer);
        let timing = self.states[index].timing();
        match (self.on_answer)(index, Answer { state, cause, detail, latency, attempts, timing }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(EarlyEnd::CalledOff),
        }
    }

    fn handle_due_timers(&mut self) -> Result<(), EarlyEnd> {
        while let Some(index) = self.schedule.pop_due() {
            let state = &mut self.states[index];
            if state.is_answered() {
                continue;
            }
            if state.phase == Phase::Waiting {
                self.begin(index)?;
            } else if Instant::now() >= state.deadline {
                let answer = state.no_answer();
                self.answer(index, answer)?;
            } else if state.phase == Phase::Trying && state.attempts.may_start() {
                self.start_try(index)?;
            } else {
                // The deadline was extended after this timer was set.
                self.schedule.set(state.deadline, index);
            }
        }
        Ok(())
    }
}

/// Raises the soft limit of open files towards the hard one when the tries need more.
fn raise_descriptor_limit(tries: u64) {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = tries + SPARE_DESCRIPTORS;
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        let _ = rustix::process::setrlimit(Resource::Nofile, limit);
    }
}
