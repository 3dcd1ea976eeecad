//! One store for all services of one process: what they ask of it at about the same time goes there in one
//! trip.
//!
//! A question joins only a trip that has not begun. A trip begins as soon as every register in use has
//! something to ask, so a single service never waits; otherwise when no more questions come for a moment.
//! While a trip is under way, the next one waits for it a little, and then sets out beside it. So a store or
//! a service that hangs delays the others by no more than that.
//!
//! ```text
//!  a  ask ┐
//!  b  ask ┴ trip ──────────── answers
//!  c         (its stop hangs) ……………………………… ask ─ trip ── answer
//! ```

use std::fmt;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{CasOutcome, NewText, ReadOutcome, Register, RegisterStore, StoreError, Swap};
use super::{Version, VersionedText, no_answer, read_one, swap_one};
use crate::clock::Deadline;

/// A trip begins when no question has come for this long: the threads of many services reach the same
/// point of their work within a few of these.
const QUIET: Duration = Duration::from_millis(10);
/// It waits no longer than this for more questions.
const MAX_GATHERING: Duration = Duration::from_millis(50);
/// While a trip is under way, the next one waits for its end for as long as the last one took, but no less than this:
/// trips beside each other on a busy machine make all of them slow.
const MIN_TRIP_WAIT: Duration = Duration::from_millis(150);
/// And no more than this.
const MAX_TRIP_WAIT: Duration = Duration::from_millis(500);
/// Trips of one kind that may be under way at the same time.
const MAX_TRIPS: usize = 4;
/// A trip that ends at its deadline still has to say so.
const LATE: Duration = Duration::from_millis(250);

/// Opens the store; each trip under way has one of its own.
pub type OpenStore = dyn Fn() -> anyhow::Result<Box<dyn RegisterStore + Send>> + Send + Sync;

/// What is worth a trip together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Reads, and swaps.
    All,
    /// Reads; the store takes each swap by itself.
    Reads,
    /// Neither.
    Nothing,
}

/// One store for all services of one process.
pub struct SharedStore {
    open: Box<OpenStore>,
    joined: Joined,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How many registers are in use.
    registers: usize,
    idle: Vec<Box<dyn RegisterStore + Send>>,
    reads: Lane<Read>,
    swaps: Lane<OwnedSwap>,
}

/// The questions of one kind.
struct Lane<Q> {
    waiting: Vec<Q>,
    is_gathering: bool,
    last_joined: Option<Instant>,
    under_way: usize,
    /// What the last trip took.
    usual: Duration,
}

impl<Q> Default for Lane<Q> {
    fn default() -> Self {
        Self { waiting: Vec::new(), is_gathering: false, last_joined: None, under_way: 0, usual: Duration::ZERO }
    }
}

/// A question that outlives the thread that asks it.
trait Question: Send + Sized + 'static {
    fn lane(state: &mut State) -> &mut Lane<Self>;
    fn ask_all(questions: &[Self], store: &dyn RegisterStore);
    fn is_late(&self) -> bool;
    fn fail(self, error: StoreError);
}

struct Read {
    name: String,
    deadline: Deadline,
    answer: Sender<ReadOutcome>,
}

struct OwnedSwap {
    name: String,
    expected: Option<Version>,
    text: String,
    summary: String,
    deadline: Deadline,
    answer: Sender<CasOutcome>,
}

impl Question for Read {
    fn lane(state: &mut State) -> &mut Lane<Self> {
        &mut state.reads
    }

    fn ask_all(questions: &[Self], store: &dyn RegisterStore) {
        let names: Vec<&str> = questions.iter().map(|read| read.name.as_str()).collect();
        let Some(deadline) = questions.iter().map(|read| read.deadline).max() else { return };
        store.read_each(&names, deadline, &mut |index, found| {
            let _ = questions[index].answer.send(found);
        });
    }

    fn is_late(&self) -> bool {
        self.deadline.has_passed()
    }

    fn fail(self, error: StoreError) {
        let _ = self.answer.send(Err(error));
    }
}

impl Question for OwnedSwap {
    fn lane(state: &mut State) -> &mut Lane<Self> {
        &mut state.swaps
    }

    fn ask_all(questions: &[Self], store: &dyn RegisterStore) {
        let swaps: Vec<Swap<'_>> = questions.iter().map(Self::swap).collect();
        let Some(deadline) = questions.iter().map(|swap| swap.deadline).max() else { return };
        store.swap_each(&swaps, deadline, &mut |index, outcome| {
            let _ = questions[index].answer.send(outcome);
        });
    }

    fn is_late(&self) -> bool {
        self.deadline.has_passed()
    }

    fn fail(self, error: StoreError) {
        let _ = self.answer.send(CasOutcome::Unknown(error));
    }
}

impl OwnedSwap {
    fn swap(&self) -> Swap<'_> {
        let new = NewText { text: &self.text, summary: &self.summary };
        Swap { name: &self.name, expected: self.expected.as_ref(), new }
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStore").field("joined", &self.joined).finish_non_exhaustive()
    }
}

impl SharedStore {
    /// A store that is opened when it is first asked.
    pub fn new(joined: Joined, open: Box<OpenStore>) -> Arc<Self> {
        Arc::new(Self { open, joined, state: Mutex::default(), changed: Condvar::new() })
    }

    /// One of its registers. While it exists, the others' questions wait for its own for a moment.
    pub fn register(self: &Arc<Self>, name: &str) -> SharedRegister {
        self.lock().registers += 1;
        SharedRegister { store: Arc::clone(self), name: name.to_owned() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a store that no other trip uses.
    fn with_store<T>(&self, act: impl FnOnce(&dyn RegisterStore) -> T) -> Result<T, StoreError> {
        let idle = self.lock().idle.pop();
        let store = match idle {
            Some(store) => store,
            None => (self.open)().map_err(|error| StoreError::Failed(format!("{error:#}")))?,
        };
        let done = act(store.as_ref());
        self.lock().idle.push(store);
        Ok(done)
    }

    /// Lets a question join the next trip.
    fn join<Q: Question>(self: &Arc<Self>, question: Q) {
        let mut state = self.lock();
        let lane = Q::lane(&mut state);
        lane.waiting.push(question);
        lane.last_joined = Some(Instant::now());
        let is_first = !std::mem::replace(&mut lane.is_gathering, true);
        drop(state);
        self.changed.notify_all();
        if is_first {
            let this = Arc::clone(self);
            let started = std::thread::Builder::new().name("registers".to_owned()).spawn(move || this.travel::<Q>());
            if let Err(error) = started {
                let mut state = self.lock();
                let lane = Q::lane(&mut state);
                lane.is_gathering = false;
                let waiting = std::mem::take(&mut lane.waiting);
                drop(state);
                let error = StoreError::Failed(format!("no thread: {error}"));
                waiting.into_iter().for_each(|question| question.fail(error.clone()));
            }
        }
    }

    /// Gathers questions, and makes the trip.
    fn travel<Q: Question>(&self) {
        let (late, questions): (Vec<Q>, Vec<Q>) = self.gather::<Q>().into_iter().partition(Question::is_late);
        late.into_iter().for_each(|question| question.fail(no_answer()));
        let begun = Instant::now();
        let asked = self.with_store(|store| Q::ask_all(&questions, store));
        let mut state = self.lock();
        let lane = Q::lane(&mut state);
        (lane.under_way, lane.usual) = (lane.under_way - 1, begun.elapsed());
        drop(state);
        self.changed.notify_all();
        if let Err(error) = asked {
            questions.into_iter().for_each(|question| question.fail(error.clone()));
        }
    }

    fn gather<Q: Question>(&self) -> Vec<Q> {
        let begun = Instant::now();
        let mut state = self.lock();
        loop {
            let registers = state.registers;
            let lane = Q::lane(&mut state);
            let now = Instant::now();
            let quiet_at = lane.last_joined.unwrap_or(begun) + QUIET;
            let due = match lane.under_way {
                // Those whose trip is under way have nothing else to ask.
                _ if lane.waiting.len() >= registers => begun,
                0 => quiet_at.min(begun + MAX_GATHERING),
                _ => quiet_at.max(begun + lane.usual.clamp(MIN_TRIP_WAIT, MAX_TRIP_WAIT)),
            };
            if now >= due && lane.under_way < MAX_TRIPS {
                lane.is_gathering = false;
                lane.under_way += 1;
                return std::mem::take(&mut lane.waiting);
            }
            // The end of a trip is told.
            let wait = if now >= due { MAX_TRIP_WAIT } else { due - now };
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A register of a [`SharedStore`].
#[derive(Debug)]
pub struct SharedRegister {
    store: Arc<SharedStore>,
    name: String,
}

impl Drop for SharedRegister {
    fn drop(&mut self) {
        self.store.lock().registers -= 1;
        self.store.changed.notify_all();
    }
}

/// The answer, for which another process may have a longer deadline.
fn await_answer<T>(answer: &Receiver<T>, deadline: Deadline) -> Option<T> {
    answer.recv_timeout(deadline.left() + LATE).ok()
}

impl Register for SharedRegister {
    fn read(&self, deadline: Deadline) -> ReadOutcome {
        if self.store.joined == Joined::Nothing {
            return self.store.with_store(|store| read_one(store, &self.name, deadline))?;
        }
        let (sender, answer) = mpsc::channel();
        self.store.join(Read { name: self.name.clone(), deadline, answer: sender });
        await_answer(&answer, deadline).unwrap_or_else(|| Err(no_answer()))
    }

    fn compare_and_swap(&self, expected: Option<&Version>, new: &NewText<'_>, deadline: Deadline) -> CasOutcome {
        if self.store.joined != Joined::All {
            let swap = Swap { name: &self.name, expected, new: *new };
            return self.store.with_store(|store| swap_one(store, swap, deadline)).unwrap_or_else(CasOutcome::Unknown);
        }
        let (sender, answer) = mpsc::channel();
        self.store.join(OwnedSwap {
            name: self.name.clone(),
            expected: expected.cloned(),
            text: new.text.to_owned(),
            summary: new.summary.to_owned(),
            deadline,
            answer: sender,
        });
        await_answer(&answer, deadline).unwrap_or_else(|| CasOutcome::Unknown(no_answer()))
    }

    fn history(&self, max: usize, deadline: Deadline) -> Result<Vec<VersionedText>, StoreError> {
        self.store.with_store(|store| store.history_of(&self.name, max, deadline))?
    }
}
