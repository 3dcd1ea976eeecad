//! What a promotion knows of its service's lease, and how it gets the lease for a node.
//!
//! The rules are those of [`lease`]; here they meet the register, the nodes and the time.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::act::{self, Stop};
use super::{Request, Step};
use crate::boot_instant::BootInstant;
use crate::chain::Name;
use crate::config::{self, Service};
use crate::deadline::Deadline;
use crate::lease::client::{LeaseClient, LeaseError};
use crate::lease::{self, LeaseRecord, LeaseView, Stopped, TakeoverStep, witness};
use crate::output::millis;
use crate::service::Instance;
use crate::state::{ServiceRecord, StateDir};

/// The part of a probe's timeout after which a look has found something that it waits for, however
/// far the nodes are.
const PATIENCE: u32 = 3;
/// Another brain that is as quick as we are may win so often in a row before this tick gives up.
const TRIES: usize = 8;

/// What became of a service's lease.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct LeaseReport {
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
pub(super) struct Takeover<'a> {
    request: &'a Request<'a>,
    store: &'a StateDir,
    name: &'a Name,
    lease: config::Lease,
    timeout: Duration,
    lease_client: Option<LeaseClient<'a>>,
    lease_view: LeaseView,
    /// What became of this promotion's own read; none until there was one.
    read: Option<Result<(), LeaseError>>,
    before: Option<LeaseRecord>,
    waited: Duration,
    confirmed_by: Option<Name>,
}

/// Reads the registers that have to be read, while `look` looks at the nodes. One that need not be
/// read in a quiet tick is read as soon as the look takes so long that it will not be a quiet one.
pub(super) fn read_beside<T>(
    request: &Request<'_>,
    records: &BTreeMap<&Name, ServiceRecord>,
    takeovers: &mut BTreeMap<&Name, Takeover<'_>>,
    look: impl FnOnce() -> T,
) -> T {
    std::thread::scope(|scope| {
        let mut looking = Vec::new();
        for (name, takeover) in takeovers {
            let (looked, over) = mpsc::channel::<()>();
            // Who is not the brain has nothing to read it for, and mostly knows that soon.
            let ours = !request.if_brain || records.get(name).is_some_and(|record| record.on.is_some());
            let patience =
                if ours && takeover.is_due() { Duration::ZERO } else { request.config.probe_timeout / PATIENCE };
            looking.push(looked);
            scope.spawn(move || {
                if over.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                    takeover.read();
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

impl<'a> Takeover<'a> {
    /// Of a service that is under a lease; nobody is asked yet.
    pub(super) fn new(
        request: &'a Request<'a>,
        store: &'a StateDir,
        (name, service): (&'a Name, &'a Service),
    ) -> Option<Self> {
        let lease = service.lease?;
        let lease_view = store.lease_view(name);
        let before = lease_view.value().cloned();
        Some(Self {
            request,
            store,
            name,
            lease,
            timeout: service.timeout,
            lease_client: None,
            lease_view,
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
        let asked = self.lease_view.seen.as_ref().and_then(|seen| seen.last_read_began);
        self.read.is_none()
            && asked.is_none_or(|asked| asked.until(BootInstant::now()) >= self.request.config.cycle.sync)
    }

    /// Reads the register, unless this promotion has done so.
    pub(super) fn read(&mut self) {
        if self.read.is_none() {
            self.read_anew();
            self.before = self.lease_view.value().cloned();
        }
    }

    fn read_anew(&mut self) {
        // Nothing is relied on meanwhile, so it may take as long as the nodes: a check that has to log in
        // anew needs that on a busy machine.
        let deadline = Deadline::after(self.timeout);
        let read = self.open().and_then(|lease_client| lease_client.read(deadline));
        let read = read.and_then(|reading| Ok(self.lease_view.observe(reading)?));
        match &read {
            Ok(()) => self.keep(),
            Err(doubt) => self.request.output_mode.step(format_args!("{}: lease: {doubt}", self.name)),
        }
        self.read = Some(read);
    }

    fn open(&mut self) -> Result<&LeaseClient<'a>, LeaseError> {
        if self.lease_client.is_none() {
            self.lease_client = LeaseClient::open(self.request.config, self.store, self.request.local_node, self.name)?;
        }
        self.lease_client.as_ref().ok_or_else(|| LeaseError::Unreadable("no [lease]".to_owned()))
    }

    /// Keeps what is known, and lets the wait for a claim begin.
    fn keep(&mut self) {
        if self.request.dry_run {
            return;
        }
        let published = witness::publish(self.store, self.request.local_node, self.name, &mut self.lease_view);
        if !published && !self.lease.failsafe {
            // No holder asks this node's witness.
            self.lease_view.published(BootInstant::now());
        }
    }

    /// Why nothing is to be done: the register was not read, or is not obeyed.
    pub(super) fn doubt(&self) -> Option<&LeaseError> {
        self.read.as_ref().and_then(|read| read.as_ref().err())
    }

    /// Waits until a claim that another brain left could have been granted, and reads anew; tells
    /// whether it is still there.
    pub(super) fn wait_for_claim(&mut self) -> bool {
        let (begun, claim) = (BootInstant::now(), self.value().cloned());
        // The grant takes its time too.
        let until = self.until().plus(self.lease.read_timeout());
        let shown = self.request.waits.begin(self.name, begun.until(until));
        std::thread::sleep(begun.until(until));
        drop(shown);
        self.waited += begun.until(BootInstant::now());
        self.read_anew();
        self.doubt().is_none() && self.value() == claim.as_ref()
    }

    /// The newest value that is known, and what is known of its time.
    pub(super) fn seen(&self) -> Option<&lease::Latest> {
        self.lease_view.seen.as_ref()
    }

    /// The newest value that is known.
    pub(super) fn value(&self) -> Option<&LeaseRecord> {
        self.lease_view.value()
    }

    /// The node that may run the service.
    pub(super) fn holder(&self) -> Option<&Name> {
        self.value().and_then(LeaseRecord::granted_to)
    }

    /// The only node that may be running it.
    pub(super) fn last_holder(&self) -> Option<&Name> {
        self.value().and_then(LeaseRecord::last_granted)
    }

    /// The claim of a brain that did not come to grant it.
    pub(super) fn unfinished(&self) -> Option<&LeaseRecord> {
        self.value().filter(|value| value.granted_to().is_none())
    }

    /// What is told of it.
    pub(super) fn told(&self) -> LeaseReport {
        let known = self.doubt().is_none();
        let value = self.value().filter(|_| known);
        let before = self.before.as_ref().filter(|_| known);
        LeaseReport {
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
        running: Vec<Instance<'p>>,
        others: Vec<Instance<'p>>,
        was_at: impl Fn(&Name) -> Option<Instance<'p>>,
        ended: &mut Ended,
    ) -> Result<(), Refusal> {
        let entered = BootInstant::now();
        let mut stopped: Vec<Stopped> = Vec::new();
        let mut sent = false;
        for _ in 0..TRIES {
            let next = self.next(target, why, &stopped)?;
            match next {
                TakeoverStep::Settled => return Ok(()),
                // The register names nobody now: whoever is told to stop from here on has stopped for
                // good when it says so.
                TakeoverStep::Wait { .. } | TakeoverStep::Grant(_) if !sent => {
                    sent = true;
                    let until = self.until();
                    let was = self.last_holder().filter(|was| *was != target).and_then(&was_at);
                    let mut places: Vec<(Instance<'p>, bool)> = running.iter().map(|place| (*place, true)).collect();
                    for place in others.iter().chain(&was) {
                        if !places.iter().any(|(known, _)| known.name == place.name) {
                            places.push((*place, false));
                        }
                    }
                    let begun = self.since().max(entered);
                    self.stop_and_wait(&places, target, why, until, &mut stopped, ended)?;
                    self.waited += begun.until(BootInstant::now());
                    let silent = |place: &Instance<'_>| !stopped.iter().any(|stopped| stopped.node == *place.name);
                    let deadline = Deadline::after(self.timeout);
                    let mut said = places.iter().filter(|(place, said)| *said && silent(place));
                    if let Some((place, _)) = said.find(|(place, _)| act::still_runs(place, deadline)) {
                        return Err(Refusal::Running(place.name.clone()));
                    }
                }
                TakeoverStep::Wait { until, .. } => {
                    let begun = BootInstant::now();
                    let _shown = self.request.waits.begin(self.name, begun.until(until));
                    std::thread::sleep(begun.until(until));
                    self.waited += begun.until(BootInstant::now());
                }
                TakeoverStep::Claim(value) | TakeoverStep::Grant(value) => self.swap(target, &value)?,
                TakeoverStep::Publish | TakeoverStep::LeaveToBrain => self.keep(),
            }
        }
        Err(Refusal::Unknown(format!("Other brains wrote the lease of {} all the time.", self.name)))
    }

    fn next(&mut self, target: &Name, why: Option<&str>, stopped: &[Stopped]) -> Result<TakeoverStep, Refusal> {
        let params = lease::Params::from(self.lease);
        let name = self.name;
        let unknown = |doubt: LeaseError| Refusal::Unknown(format!("The lease of {name} is unknown: {doubt}."));
        if self.unfinished().is_some() {
            // The wait counts only as long as other nodes can see the claim.
            self.keep();
        }
        self.open().map_err(unknown)?;
        let Some(lease_client) = &self.lease_client else {
            return Err(unknown(LeaseError::Unreadable("no [lease]".to_owned())));
        };
        let signature = lease_client.signature().map_err(unknown)?;
        let request = signature.request(target, why);
        let step = lease::takeover::next_step(&self.lease_view, stopped, &request, BootInstant::now(), &params);
        match step {
            TakeoverStep::Publish => Err(Refusal::Unknown(format!(
                "The claim of {name} cannot be shown to other nodes: {} cannot be written.",
                self.store.directory().display()
            ))),
            TakeoverStep::LeaveToBrain => self.leave_to_brain(target),
            step => Ok(step),
        }
    }

    /// Holders do not ask this machine's witness, so it must not grant by waiting. Gives a brain the time to
    /// grant the claim.
    fn leave_to_brain(&mut self, target: &Name) -> Result<TakeoverStep, Refusal> {
        let give_up_at = BootInstant::now().plus(self.lease.valid + self.lease.grace + self.request.config.cycle.check);
        while BootInstant::now() < give_up_at {
            self.read_anew();
            if self.holder() == Some(target) {
                return Ok(TakeoverStep::Settled);
            }
            if self.unfinished().is_none_or(|claim| claim.holder != *target) {
                break;
            }
            std::thread::sleep(self.lease.interval());
        }
        Err(Refusal::Unknown(format!(
            "The lease of {} is claimed for {target}. Only a node of the brain chain, with the node's own state, may wait \
             to grant it, so a brain does that at its next check.",
            self.name
        )))
    }

    /// Since when the register has named nobody, as far as is known here.
    fn since(&self) -> BootInstant {
        self.lease_view.seen.as_ref().and_then(|seen| seen.unheld_since).unwrap_or_else(BootInstant::now)
    }

    /// When whoever ran it has stopped by itself.
    fn until(&self) -> BootInstant {
        self.since().plus(self.lease.valid + self.lease.grace)
    }

    /// Writes, and goes on where another brain wrote what serves as well.
    fn swap(&mut self, target: &Name, value: &LeaseRecord) -> Result<(), Refusal> {
        let Some(lease_client) = &self.lease_client else { return Ok(()) };
        let name = self.name;
        self.request.output_mode.step(format_args!("lease: {}", value.summary(name)));
        let swapped = lease_client.swap(&mut self.lease_view, value, self.timeout);
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
        places: &[(Instance<'_>, bool)],
        target: &Name,
        why: Option<&str>,
        until: BootInstant,
        stopped: &mut Vec<Stopped>,
        ended: &mut Ended,
    ) -> Result<(), Refusal> {
        let left = BootInstant::now().until(until);
        let _shown = self.request.waits.begin(self.name, left);
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
                let TakeoverStep::Wait { until, .. } = self.next(target, why, stopped)? else {
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
                match stops.recv_timeout(BootInstant::now().until(until)) {
                    Ok(stop) => {
                        self.heard(stop, stopped, ended);
                        under_way -= 1;
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(BootInstant::now().until(until)),
                }
            }
        })
    }

    fn heard(&mut self, stop: Stop, stopped: &mut Vec<Stopped>, ended: &mut Ended) {
        let Stop { step, issued, answered } = stop;
        self.request.output_mode.step(format_args!("{}: {:?}: {:?}", step.node, step.step, step.outcome));
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
