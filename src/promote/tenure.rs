//! What a promotion knows of its service's lease, and how it gets the lease for a node.
//!
//! The rules are those of [`lease`]; here they meet the register, the nodes and the time.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::act::{self, Stop};
use super::{Order, Step};
use crate::arbiter::{Arbiter, Doubt};
use crate::chain::Name;
use crate::config::{self, Service};
use crate::deadline::Deadline;
use crate::history;
use crate::lease::{self, Next, Sight, Stopped, Value};
use crate::moment::Moment;
use crate::report::millis;
use crate::service::Place;
use crate::state::{Record, Store};

/// The part of a probe's timeout after which a look has found something that it waits for, however
/// far the nodes are.
const PATIENCE: u32 = 3;
/// Another brain that is as quick as we are may win so often in a row before this tick gives up.
const TRIES: usize = 8;

/// What became of a service's lease.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Leased {
    /// The epoch before; null when the lease was never claimed or is unknown.
    pub epoch_before: Option<u64>,
    /// The node to whom it was last granted before; null when it never was or that is unknown.
    pub holder_before: Option<Name>,
    /// The epoch now; null when the lease was never claimed or is unknown.
    pub epoch: Option<u64>,
    /// The node that may run the service now; null when none may, or that is unknown.
    pub holder: Option<Name>,
    /// How long was waited for the old holder to have stopped, in ms: until it confirmed, or until
    /// it had certainly stopped by itself.
    pub waited_ms: f64,
    /// The old holder, when it confirmed its stop; null when it did not, or had not to.
    pub confirmed_by: Option<Name>,
}

/// A service's lease in the course of one promotion.
pub(super) struct Tenure<'a> {
    order: &'a Order<'a>,
    store: &'a Store,
    name: &'a Name,
    lease: config::Lease,
    timeout: Duration,
    arbiter: Option<Arbiter<'a>>,
    sight: Sight,
    /// What became of this promotion's own read; none until there was one.
    read: Option<Result<(), Doubt>>,
    before: Option<Value>,
    waited: Duration,
    confirmed_by: Option<Name>,
}

/// Reads the registers that have to be read, while `look` looks at the nodes. One that need not be
/// read in a quiet tick is read as soon as the look takes so long that it will not be a quiet one.
pub(super) fn read_beside<T>(
    order: &Order<'_>,
    records: &BTreeMap<&Name, Record>,
    tenures: &mut BTreeMap<&Name, Tenure<'_>>,
    look: impl FnOnce() -> T,
) -> T {
    std::thread::scope(|scope| {
        let mut looking = Vec::new();
        for (name, tenure) in tenures {
            let (looked, over) = mpsc::channel::<()>();
            // Who is not the brain has nothing to read it for, and mostly knows that soon.
            let ours = !order.if_brain || records.get(name).is_some_and(|record| record.on.is_some());
            let patience = if ours && tenure.is_due() { Duration::ZERO } else { order.config.probe_timeout / PATIENCE };
            looking.push(looked);
            scope.spawn(move || {
                if over.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                    tenure.read();
                }
            });
        }
        let seen = look();
        drop(looking);
        seen
    })
}

/// Why a lease was not had.
pub(super) enum Refusal {
    /// It is not known whether it was had, or another brain wants something else.
    Unknown(String),
    /// A living node says that the service runs there still, though it may not.
    Running(Name),
}

/// What became of the stops that were sent while the lease was taken over.
#[derive(Default)]
pub(super) struct Ended {
    /// One for each stop, in the order of their end.
    pub(super) steps: Vec<Step>,
}

impl<'a> Tenure<'a> {
    /// Of a service that is under a lease; nobody is asked yet.
    pub(super) fn new(
        order: &'a Order<'a>,
        store: &'a Store,
        (name, service): (&'a Name, &'a Service),
    ) -> Option<Self> {
        let lease = service.lease?;
        let sight = store.sight(name);
        let before = sight.value().cloned();
        Some(Self {
            order,
            store,
            name,
            lease,
            timeout: service.timeout,
            arbiter: None,
            sight,
            read: None,
            before,
            waited: Duration::ZERO,
            confirmed_by: None,
        })
    }

    /// Whether the register has to be read even when nothing else has changed. A lease that is
    /// granted changes by a brain alone, so a good read is relied on for as long as it is relied on
    /// that nobody started a stray: nothing is started or stopped on the strength of it.
    pub(super) fn is_due(&self) -> bool {
        let asked = self.sight.seen.as_ref().and_then(|seen| seen.asked);
        self.read.is_none() && asked.is_none_or(|asked| asked.until(Moment::now()) >= self.order.config.cycle.sync)
    }

    /// Reads the register, unless this promotion has done so.
    pub(super) fn read(&mut self) {
        if self.read.is_none() {
            self.read_anew();
            self.before = self.sight.value().cloned();
        }
    }

    fn read_anew(&mut self) {
        // Nothing is relied on meanwhile, so it may take as long as the nodes: a check that has to log in
        // anew needs that on a busy machine.
        let deadline = Deadline::after(self.timeout);
        let read = self.open().and_then(|arbiter| arbiter.read(deadline));
        let read = read.and_then(|reading| Ok(self.sight.note(reading)?));
        match &read {
            Ok(()) => self.keep(),
            Err(doubt) => self.order.voice.step(format_args!("{}: lease: {doubt}", self.name)),
        }
        self.read = Some(read);
    }

    fn open(&mut self) -> Result<&Arbiter<'a>, Doubt> {
        if self.arbiter.is_none() {
            self.arbiter = Arbiter::open(self.order.config, self.store, self.order.own, self.name)?;
        }
        self.arbiter.as_ref().ok_or_else(|| Doubt::Unreadable("no [lease]".to_owned()))
    }

    fn keep(&self) {
        if !self.order.dry_run {
            history::keep_sight(self.store, self.order.own, self.name, &self.sight);
        }
    }

    /// Why nothing is to be done: the register was not read, or is not obeyed.
    pub(super) fn doubt(&self) -> Option<&Doubt> {
        self.read.as_ref().and_then(|read| read.as_ref().err())
    }

    /// Waits until a claim that another brain left could have been granted, and reads anew; tells
    /// whether it is still there.
    pub(super) fn outwait(&mut self) -> bool {
        let (begun, claim) = (Moment::now(), self.value().cloned());
        // The grant takes its time too.
        let until = self.until().plus(self.lease.read_timeout());
        let shown = self.order.waits.begin(self.name, begun.until(until));
        std::thread::sleep(begun.until(until));
        drop(shown);
        self.waited += begun.until(Moment::now());
        self.read_anew();
        self.doubt().is_none() && self.value() == claim.as_ref()
    }

    /// The newest value that is known, and what is known of its time.
    pub(super) fn seen(&self) -> Option<&lease::Seen> {
        self.sight.seen.as_ref()
    }

    /// The newest value that is known.
    pub(super) fn value(&self) -> Option<&Value> {
        self.sight.value()
    }

    /// The node that may run the service.
    pub(super) fn holder(&self) -> Option<&Name> {
        self.value().and_then(Value::granted_to)
    }

    /// The only node that may be running it.
    pub(super) fn last_holder(&self) -> Option<&Name> {
        self.value().and_then(Value::last_granted)
    }

    /// The claim of a brain that did not come to grant it.
    pub(super) fn unfinished(&self) -> Option<&Value> {
        self.value().filter(|value| value.granted_to().is_none())
    }

    /// What is told of it.
    pub(super) fn told(&self) -> Leased {
        let known = self.doubt().is_none();
        let value = self.value().filter(|_| known);
        let before = self.before.as_ref().filter(|_| known);
        Leased {
            epoch_before: before.map(|value| value.epoch),
            holder_before: before.and_then(|value| value.last_granted().cloned()),
            epoch: value.map(|value| value.epoch),
            holder: value.and_then(|value| value.granted_to().cloned()),
            waited_ms: millis(self.waited),
            confirmed_by: self.confirmed_by.clone(),
        }
    }

    /// What getting it for `target` would mean, for people.
    pub(super) fn plan(&self, target: &Name) -> String {
        let epoch = match self.value() {
            Some(value) if value.granted_to() == Some(target) => return String::new(),
            Some(value) if value.holder == *target => value.epoch,
            Some(value) => value.epoch + 1,
            None => 1,
        };
        let wait = humantime::format_duration(self.lease.valid + self.lease.grace);
        let until = match self.last_holder() {
            Some(was) if was == target => "at once".to_owned(),
            Some(was) => format!("when {was} has confirmed its stop, at the latest {wait} after the claim"),
            None => format!("{wait} after the claim"),
        };
        format!(" Its lease would be granted to {target}, epoch {epoch}, {until}.")
    }

    /// Gets the lease for `target`: claims it, has it stopped where it may run, waits where a node
    /// does not say that it has, and has it granted. The nodes of `running` are those that said that
    /// it runs there; `others` may run it, for all that is known, and `was_at` finds the last holder.
    pub(super) fn acquire<'p>(
        &mut self,
        target: &Name,
        why: Option<&str>,
        running: Vec<Place<'p>>,
        others: Vec<Place<'p>>,
        was_at: impl Fn(&Name) -> Option<Place<'p>>,
        ended: &mut Ended,
    ) -> Result<(), Refusal> {
        let entered = Moment::now();
        let mut stopped: Vec<Stopped> = Vec::new();
        let mut sent = false;
        for _ in 0..TRIES {
            let next = self.next(target, why, &stopped)?;
            match next {
                Next::Settled => return Ok(()),
                // The register names nobody now: whoever is told to stop from here on has stopped for
                // good when it says so.
                Next::Wait { .. } | Next::Grant(_) if !sent => {
                    sent = true;
                    let until = self.until();
                    let was = self.last_holder().filter(|was| *was != target).and_then(&was_at);
                    let mut places: Vec<(Place<'p>, bool)> = running.iter().map(|place| (*place, true)).collect();
                    for place in others.iter().chain(&was) {
                        if !places.iter().any(|(known, _)| known.name == place.name) {
                            places.push((*place, false));
                        }
                    }
                    let begun = self.since().max(entered);
                    self.stop_and_wait(&places, target, why, until, &mut stopped, ended)?;
                    self.waited += begun.until(Moment::now());
                    let silent = |place: &Place<'_>| !stopped.iter().any(|stopped| stopped.node == *place.name);
                    let deadline = Deadline::after(self.timeout);
                    let mut said = places.iter().filter(|(place, said)| *said && silent(place));
                    if let Some((place, _)) = said.find(|(place, _)| act::still_runs(place, deadline)) {
                        return Err(Refusal::Running(place.name.clone()));
                    }
                }
                Next::Wait { until, .. } => {
                    let begun = Moment::now();
                    let _shown = self.order.waits.begin(self.name, begun.until(until));
                    std::thread::sleep(begun.until(until));
                    self.waited += begun.until(Moment::now());
                }
                Next::Claim(value) | Next::Grant(value) => self.swap(target, &value)?,
            }
        }
        Err(Refusal::Unknown(format!("Other brains wrote the lease of {} all the time.", self.name)))
    }

    fn next(&mut self, target: &Name, why: Option<&str>, stopped: &[Stopped]) -> Result<Next, Refusal> {
        let params = lease::Params { valid: self.lease.valid, grace: self.lease.grace };
        let name = self.name;
        let unknown = |doubt: Doubt| Refusal::Unknown(format!("The lease of {name} is unknown: {doubt}."));
        self.open().map_err(unknown)?;
        let Some(arbiter) = &self.arbiter else { return Err(unknown(Doubt::Unreadable("no [lease]".to_owned()))) };
        let signature = arbiter.signature().map_err(unknown)?;
        Ok(lease::next(&self.sight, stopped, &signature.want(target, why), Moment::now(), &params))
    }

    /// Since when the register has named nobody, as far as is known here.
    fn since(&self) -> Moment {
        self.sight.seen.as_ref().and_then(|seen| seen.unnamed).unwrap_or_else(Moment::now)
    }

    /// When whoever ran it has stopped by itself.
    fn until(&self) -> Moment {
        self.since().plus(self.lease.valid + self.lease.grace)
    }

    /// Writes, and goes on where another brain wrote what serves as well.
    fn swap(&mut self, target: &Name, value: &Value) -> Result<(), Refusal> {
        let Some(arbiter) = &self.arbiter else { return Ok(()) };
        let name = self.name;
        self.order.voice.step(format_args!("lease: {}", value.summary(name)));
        let swapped = arbiter.swap(&mut self.sight, value, self.timeout);
        self.keep();
        match swapped {
            Ok(true) => Ok(()),
            Ok(false) if self.value().is_some_and(|value| value.holder == *target) => Ok(()),
            Ok(false) => {
                let now = self.value().map(|value| value.summary(name)).unwrap_or_default();
                Err(Refusal::Unknown(format!("Another brain wrote the lease of {name} meanwhile: {now}.")))
            }
            Err(doubt) => Err(Refusal::Unknown(format!("The lease of {name} is unknown: {doubt}."))),
        }
    }

    /// Stops it on all of these nodes at once, and returns when the lease may be granted and every
    /// node that said that it ran there, has said what became of it. The others have no longer than
    /// the wait lasts.
    fn stop_and_wait(
        &mut self,
        places: &[(Place<'_>, bool)],
        target: &Name,
        why: Option<&str>,
        until: Moment,
        stopped: &mut Vec<Stopped>,
        ended: &mut Ended,
    ) -> Result<(), Refusal> {
        let left = Moment::now().until(until);
        let _shown = self.order.waits.begin(self.name, left);
        let timeout = self.timeout;
        std::thread::scope(|scope| {
            let (sender, stops) = mpsc::channel::<Stop>();
            // Where the wait is over already, nobody has to be asked who may not run it.
            let asked: Vec<_> = places.iter().filter(|(_, said)| *said || !left.is_zero()).collect();
            for (place, said) in &asked {
                let sender = sender.clone();
                let deadline = Deadline::after(if *said { timeout } else { timeout.min(left) });
                scope.spawn(move || sender.send(act::stop(place, deadline)));
            }
            drop(sender);
            let mut under_way = asked.len();
            loop {
                let Next::Wait { until, .. } = self.next(target, why, stopped)? else {
                    if under_way == 0 {
                        return Ok(());
                    }
                    // Granted it could be, but some stop has not ended yet.
                    match stops.recv() {
                        Ok(stop) => self.heard(stop, stopped, ended),
                        Err(_) => return Ok(()),
                    }
                    under_way -= 1;
                    continue;
                };
                match stops.recv_timeout(Moment::now().until(until)) {
                    Ok(stop) => {
                        self.heard(stop, stopped, ended);
                        under_way -= 1;
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Moment::now().until(until)),
                }
            }
        })
    }

    fn heard(&mut self, stop: Stop, stopped: &mut Vec<Stopped>, ended: &mut Ended) {
        let Stop { step, issued, answered } = stop;
        self.order.voice.step(format_args!("{}: {:?}: {:?}", step.node, step.step, step.outcome));
        if answered {
            let target = self.value().map(|value| &value.holder);
            if self.last_holder() == Some(&step.node) && target != Some(&step.node) {
                self.confirmed_by = Some(step.node.clone());
            }
            stopped.push(Stopped { node: step.node.clone(), issued });
        }
        ended.steps.push(step);
    }
}
