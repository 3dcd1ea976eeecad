//! The loop that waits for all tries of all targets at once: sockets, processes and, for what can
//! only block (a name look-up, an HTTP request), threads that report back.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, Timespec, epoll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::Resource;

use super::target::{Answered, Heard, TargetState};
use super::tcp::Socket;
use super::{Answer, Outcome, Target, http, process};
use crate::config::{Address, Method};
use crate::exec::{Exec, Running};

/// The epoll key of the eventfd by which threads report.
const REPORTS: u64 = u64::MAX;
/// Output of a process is cut back this often while nothing else happens.
const TRIM_EVERY: Duration = Duration::from_millis(20);
/// A process that was held up for less is not late.
const PUNCTUAL: Duration = Duration::from_millis(5);
/// Readiness is fetched for so many tries at a time.
const BATCH: usize = 256;

/// A try under way.
enum Work {
    Socket(Socket),
    Process(Box<Running>),
    Thread,
}

struct Try {
    target: usize,
    /// The index of the address that is tried, for a socket.
    address: usize,
    started: Instant,
    work: Work,
}

enum Report {
    Resolved(usize, std::io::Result<Vec<SocketAddr>>),
    Outcome(u64, Outcome),
}

struct Engine<'a, 'b> {
    targets: &'a [Target<'a>],
    courses: Vec<TargetState>,
    tries: Vec<Option<Try>>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Targets that wait for a file descriptor to become free.
    queue: VecDeque<usize>,
    processes: usize,
    unanswered: usize,
    epoll: OwnedFd,
    /// By which threads report. Made before the first socket, lest these leave it no descriptor.
    wake: Arc<OwnedFd>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    on_answer: &'b mut dyn FnMut(usize, Answer) -> ControlFlow<()>,
}

pub(super) fn run(targets: &[Target<'_>], on_answer: &mut dyn FnMut(usize, Answer) -> ControlFlow<()>) -> Result<()> {
    let tries: usize = targets.iter().map(|t| t.probe.attempts as usize).sum();
    raise_descriptor_limit(tries);
    let now = Instant::now();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot wait for answers (epoll_create)")?;
    let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .context("cannot wait for answers (eventfd)")?;
    epoll::add(&epoll, &wake, epoll::EventData::new_u64(REPORTS), epoll::EventFlags::IN)
        .context("cannot wait for answers (epoll_ctl)")?;
    let engine = Engine {
        targets,
        courses: targets.iter().map(|target| TargetState::new(target, now)).collect(),
        tries: Vec::with_capacity(targets.len()),
        timers: BinaryHeap::with_capacity(targets.len()),
        queue: VecDeque::new(),
        processes: 0,
        unanswered: targets.len(),
        epoll,
        wake: Arc::new(wake),
        reports: mpsc::channel(),
        on_answer,
    };
    match engine.run() {
        Ok(()) | Err(Stop::CalledOff) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Why the loop ends before every target has answered.
enum Stop {
    CalledOff,
    Failed(anyhow::Error),
}

impl From<rustix::io::Errno> for Stop {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Failed(anyhow::Error::new(std::io::Error::from(errno)).context("cannot wait for answers"))
    }
}

impl Engine<'_, '_> {
    fn run(mut self) -> Result<(), Stop> {
        let now = Instant::now();
        let mut busy = StallDetector::since(now);
        for (index, target) in self.targets.iter().enumerate() {
            if target.delay.is_zero() {
                self.begin(index)?;
            } else {
                self.timers.push(Reverse((now + target.delay, index)));
            }
        }
        let mut events = Vec::with_capacity(BATCH);
        while self.unanswered > 0 {
            let mut wait =
                self.timers.peek().map_or(TRIM_EVERY, |Reverse((at, _))| at.saturating_duration_since(Instant::now()));
            if self.processes > 0 {
                wait = wait.min(TRIM_EVERY);
            }
            let timeout = Timespec::try_from(wait).ok();
            events.clear();
            let mut held_up = busy.held_up();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let slept = busy.end.elapsed();
            if events.is_empty() && slept > wait + PUNCTUAL {
                held_up += slept - wait;
            }
            busy = StallDetector::since(Instant::now());
            if !held_up.is_zero() {
                self.courses.iter_mut().for_each(|course| course.put_off(held_up));
            }
            for event in &events {
                match event.data.u64() {
                    REPORTS => self.take_reports()?,
                    key => self.ready(key)?,
                }
            }
            self.pass_timers()?;
            self.serve_queue()?;
            if events.is_empty() && self.processes > 0 {
                self.trim();
            }
        }
        Ok(())
    }

    /// Starts a target's first try, or the look-up of its name.
    fn begin(&mut self, index: usize) -> Result<(), Stop> {
        self.courses[index].begun = true;
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
        self.courses[index].resolving = true;
        self.timers.push(Reverse((self.courses[index].deadline, index)));
        let looking = self.in_thread(move |reports| {
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            let _ = reports.send(Report::Resolved(index, found));
        });
        match looking {
            Ok(()) => Ok(()),
            Err(error) => self.over(index, 0, Instant::now(), Outcome::Unable("not-asked", Some(error.to_string()))),
        }
    }

    fn resolved(&mut self, index: usize, addresses: Vec<SocketAddr>) -> Result<(), Stop> {
        let course = &mut self.courses[index];
        course.resolving = false;
        if matches!(self.targets[index].probe.method, Method::Http { .. }) {
            // Asked only to know that the name resolves: the request looks it up for itself.
            return self.start_try(index);
        }
        course.found_at(addresses);
        self.start_try(index)
    }

    /// Starts one try, and sets the timer of the next one or of the end.
    fn start_try(&mut self, index: usize) -> Result<(), Stop> {
        let started = Instant::now();
        let target = &self.targets[index];
        let (work, address) = match &target.probe.method {
            Method::Tcp { .. } | Method::SshBanner { .. } => {
                let wants_greeting = matches!(target.probe.method, Method::SshBanner { .. });
                let Some(address) = self.courses[index].next_address() else { return Ok(()) };
                match Socket::connect(self.courses[index].addresses[address], wants_greeting) {
                    Ok(socket) => (Work::Socket(socket), address),
                    Err(Outcome::Unable("no-file-descriptor", words)) => return self.wait_for_descriptor(index, words),
                    Err(outcome) => {
                        self.courses[index].attempts += 1;
                        return self.over(index, address, started, outcome);
                    }
                }
            }
            Method::Http { .. } => (Work::Thread, 0),
            Method::Ssh | Method::Exec { .. } => {
                let Some(command) = super::command_of(target) else {
                    return self.over(index, 0, started, Outcome::Unable("not-asked", None));
                };
                match Exec::new(command).start() {
                    Ok(running) => (Work::Process(Box::new(running)), 0),
                    Err(error) => {
                        self.courses[index].attempts += 1;
                        return self.over(index, 0, started, process::not_started(&error));
                    }
                }
            }
        };
        let course = &mut self.courses[index];
        let key = self.tries.len();
        course.attempts += 1;
        course.open.push(key);
        if matches!(work, Work::Process(_)) {
            self.processes += 1;
        }
        // A key is never given twice: an event for a try that is over must not meet another.
        self.tries.push(Some(Try { target: index, address, started, work }));
        self.timers.push(Reverse((self.courses[index].next_moment(started), index)));
        self.watch(key)
    }

    fn wait_for_descriptor(&mut self, index: usize, words: Option<String>) -> Result<(), Stop> {
        let course = &mut self.courses[index];
        self.timers.push(Reverse((course.deadline, index)));
        // A further try is a luxury; the one that is under way goes on.
        if course.attempts == 0 {
            course.wait_for_descriptor(words);
            self.queue.push_back(index);
        }
        Ok(())
    }

    fn serve_queue(&mut self) -> Result<(), Stop> {
        for _ in 0..self.queue.len() {
            let Some(index) = self.queue.pop_front() else { break };
            if self.courses[index].answered {
                continue;
            }
            self.courses[index].queued = false;
            self.start_try(index)?;
            if self.courses[index].queued {
                break;
            }
        }
        Ok(())
    }

    /// Has the try reported when something happens to it.
    fn watch(&mut self, key: usize) -> Result<(), Stop> {
        let Some(attempt) = &self.tries[key] else { return Ok(()) };
        let (fd, flags): (BorrowedFd<'_>, _) = match &attempt.work {
            Work::Socket(socket) => (socket.as_fd(), epoll::EventFlags::OUT),
            Work::Process(running) => (running.as_fd(), epoll::EventFlags::IN),
            Work::Thread => {
                let target = &self.targets[attempt.target];
                let Method::Http { url, expect } = &target.probe.method else { return Ok(()) };
                let (url, expect) = (url.clone(), *expect);
                let left = self.courses[attempt.target].deadline.saturating_duration_since(Instant::now());
                let asking = self.in_thread(move |reports| {
                    let _ = reports.send(Report::Outcome(key as u64, http::get(&url, expect, left)));
                });
                return match asking {
                    Ok(()) => Ok(()),
                    Err(error) => self.try_over(key, Outcome::Unable("not-asked", Some(error.to_string()))),
                };
            }
        };
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(key as u64), flags)?;
        Ok(())
    }

    fn in_thread(&mut self, work: impl FnOnce(&mpsc::Sender<Report>) + Send + 'static) -> std::io::Result<()> {
        let wake = Arc::clone(&self.wake);
        let reports = self.reports.0.clone();
        std::thread::Builder::new().spawn(move || {
            work(&reports);
            let _ = rustix::io::write(&wake, &1_u64.to_ne_bytes());
        })?;
        Ok(())
    }

    fn take_reports(&mut self) -> Result<(), Stop> {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        while let Ok(report) = self.reports.1.try_recv() {
            match report {
                Report::Resolved(index, _) if self.courses[index].answered => {}
                Report::Resolved(index, Ok(addresses)) if !addresses.is_empty() => self.resolved(index, addresses)?,
                Report::Resolved(index, found) => {
                    let words = found.err().map(|error| error.to_string());
                    self.over(index, 0, Instant::now(), Outcome::Unable("unresolved", words))?;
                }
                Report::Outcome(key, outcome) => self.try_over(usize::try_from(key).unwrap_or(usize::MAX), outcome)?,
            }
        }
        Ok(())
    }

    /// Something happened to a try.
    fn ready(&mut self, key: u64) -> Result<(), Stop> {
        let key = usize::try_from(key).unwrap_or(usize::MAX);
        let Some(Some(attempt)) = self.tries.get_mut(key) else { return Ok(()) };
        let outcome = match &mut attempt.work {
            Work::Socket(socket) => match socket.ready() {
                Some(outcome) => outcome,
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
        self.try_over(key, outcome)
    }

    /// Takes a try out of the books, and with it its socket or process out of the world.
    fn drop_try(&mut self, key: usize) -> Option<Try> {
        let attempt = self.tries.get_mut(key)?.take()?;
        if matches!(attempt.work, Work::Process(_)) {
            self.processes -= 1;
        }
        self.courses[attempt.target].open.retain(|open| *open != key);
        Some(attempt)
    }

    fn try_over(&mut self, key: usize, outcome: Outcome) -> Result<(), Stop> {
        let Some(Try { target, address, started, .. }) = self.drop_try(key) else { return Ok(()) };
        self.over(target, address, started, outcome)
    }

    /// A try has ended: the target's answer, or reason for another try.
    fn over(&mut self, index: usize, address: usize, started: Instant, outcome: Outcome) -> Result<(), Stop> {
        if self.courses[index].answered {
            return Ok(());
        }
        match self.courses[index].hear(address, outcome, started.elapsed()) {
            Heard::Answer(conclusion) => self.answer(index, conclusion),
            Heard::AskAgain => self.start_try(index),
            Heard::Wait => Ok(()),
        }
    }

    fn answer(&mut self, index: usize, conclusion: Answered) -> Result<(), Stop> {
        let course = &mut self.courses[index];
        course.answered = true;
        self.unanswered -= 1;
        let attempts = course.attempts;
        for key in std::mem::take(&mut course.open) {
            self.drop_try(key);
        }
        let Answered { state, cause, detail, latency } = conclusion;
        match (self.on_answer)(index, Answer { state, cause: cause.map(Cow::Borrowed), detail, latency, attempts }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop::CalledOff),
        }
    }

    fn pass_timers(&mut self) -> Result<(), Stop> {
        while let Some(Reverse((at, index))) = self.timers.peek().copied() {
            let now = Instant::now();
            if at > now {
                break;
            }
            self.timers.pop();
            if self.courses[index].answered {
                continue;
            }
            if !self.courses[index].begun {
                self.begin(index)?;
            } else if now >= self.courses[index].deadline {
                let silence = self.courses[index].silence();
                self.answer(index, silence)?;
            } else if self.courses[index].may_try_again() {
                self.start_try(index)?;
            } else {
                // The deadline was put off after this timer was set.
                self.timers.push(Reverse((self.courses[index].deadline, index)));
            }
        }
        Ok(())
    }

    fn trim(&self) {
        for attempt in self.tries.iter().flatten() {
            if let Work::Process(running) = &attempt.work {
                running.trim();
            }
        }
    }
}

/// A stretch in which this thread had something to do.
struct StallDetector {
    begun: Instant,
    end: Instant,
    ran_before: Duration,
}

impl StallDetector {
    fn since(begun: Instant) -> Self {
        Self { begun, end: begun, ran_before: ran() }
    }

    /// It ends; for how long the thread had something to do and did not run.
    fn held_up(&mut self) -> Duration {
        self.end = Instant::now();
        let idle = (self.end - self.begun).saturating_sub(ran().saturating_sub(self.ran_before));
        if idle > PUNCTUAL { idle } else { Duration::ZERO }
    }
}

/// How long this thread has run.
fn ran() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Raises the soft limit of open files towards the hard one when the tries need more.
fn raise_descriptor_limit(tries: usize) {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = tries as u64 + 64;
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        let _ = rustix::process::setrlimit(Resource::Nofile, limit);
    }
}
