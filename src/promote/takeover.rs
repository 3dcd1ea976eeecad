//! How a service's lease is read, and how a node gets it.
//!
//! The rules are those of [`lease`]; here they meet the register, the nodes and the time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use super::observed::LeaseFacts;
use super::outcome::{LeaseReport, Step};
use super::request::Goal;
use super::shared::Shared;
use crate::clock::{BootInstant, Deadline};
use crate::config;
use crate::lease::client::{LeaseClient, LeaseError};
use crate::lease::{self, LeaseRecord, LeaseView, Stopped, TakeoverStep, stored, witness};
use crate::name::Name;
use crate::output::millis;
use crate::remote::Remote;
use crate::service::Instance;
use crate::state::{ServiceRecord, StateDir};

mod stops;

use stops::Stops;

/// The divisor of a probe's timeout: a look that takes longer than that waits for a node that does not answer, and
/// the check will not be a quiet one.
const SLOW_LOOK: u32 = 3;
/// Gives up when another brain that is as quick as this one has won so often in a row.
const MAX_ROUNDS: usize = 8;

/// A service's lease in the course of one promotion.
pub(super) struct Takeover<'a> {
    goal: Goal<'a>,
    remote: &'a Remote,
    state_dir: &'a StateDir,
    lease: config::Lease,
    client: LeaseClient<'a>,
    view: LeaseView,
    /// The outcome of this promotion's own read; none until there was one.
    read: Option<Result<(), LeaseError>>,
    account: Account,
}

/// What is reported of it beside the lease itself.
#[derive(Default)]
struct Account {
    before: Option<LeaseRecord>,
    waited: Duration,
    confirmed_by: Option<Name>,
}

/// The node that the lease is acquired for, and where the service must be stopped.
pub(super) struct Acquisition<'n> {
    /// The node that is to hold it.
    pub target: &'n Name,
    /// Why, for the lease's history.
    pub why: &'n str,
    /// Nodes that said that the service runs there.
    pub running: &'n BTreeSet<Name>,
    /// Nodes where it may run, for all that is known, without regard to the lease.
    pub possible: &'n BTreeSet<Name>,
    /// Nodes that are not worth asking.
    pub dead: BTreeSet<Name>,
}

/// Why a lease was not acquired.
pub(super) enum Refusal {
    /// It is not known whether it was, or another brain wants something else.
    Unknown(String),
    /// A living node says that the service runs there still, though it may not.
    Running(Name),
}

/// A lease that may be read just now.
pub(super) struct PendingTakeover<'scope, 'a> {
    /// A read that has not begun when this is dropped does not begin.
    looking: Sender<()>,
    takeover: ScopedJoinHandle<'scope, Takeover<'a>>,
}

impl<'a> PendingTakeover<'_, 'a> {
    /// The look at the nodes is over. A read that is under way is waited for.
    pub(super) fn join(self) -> Option<Takeover<'a>> {
        drop(self.looking);
        self.takeover.join().ok()
    }
}

/// How long a look takes at most that finds everything in place.
fn quiet_look(config: &config::Config) -> Duration {
    let usual = config.nodes.values().map(|node| node.probe.times().map(|times| times.usual));
    let usual: Option<Vec<Duration>> = usual.collect();
    usual.and_then(|usual| usual.into_iter().max()).unwrap_or(config.probe_timeout / SLOW_LOOK)
}

/// Reads the register beside the look at the nodes, where it has to be read. A register that need not be
/// read in a quiet check is read as soon as the look takes so long that the check will not be quiet.
pub(super) fn read_beside<'scope, 'a: 'scope>(
    scope: &'scope Scope<'scope, '_>,
    mut takeover: Takeover<'a>,
    is_due: bool,
) -> PendingTakeover<'scope, 'a> {
    let request = takeover.goal.request();
    let delay = if is_due { Duration::ZERO } else { quiet_look(request.config) };
    let (looking, over) = mpsc::channel::<()>();
    let takeover = scope.spawn(move || {
        if over.recv_timeout(delay) == Err(RecvTimeoutError::Timeout) {
            takeover.read();
        }
        takeover
    });
    PendingTakeover { looking, takeover }
}

impl<'a> Takeover<'a> {
    /// Of a service that is under a lease; nobody is asked yet.
    pub(super) fn new(goal: Goal<'a>, shared: &Shared<'a>) -> Option<Self> {
        let lease = goal.service().lease?;
        let service = (goal.name(), lease);
        let client = LeaseClient::in_store(shared.registers()?, goal.config(), goal.local_node(), service);
        let (remote, state_dir) = (shared.remote(), shared.state_dir());
        let view = stored::load(state_dir, goal.name());
        let account = Account { before: view.value().cloned(), ..Account::default() };
        Some(Self { goal, remote, state_dir, lease, client, view, read: None, account })
    }

    /// Whose lease it is.
    pub(super) fn service(&self) -> &'a Name {
        self.goal.name()
    }

    /// Whether the register has to be read beside the look. A node that is not the brain needs no read, and
    /// mostly knows that soon.
    pub(super) fn is_first_read_due(&self, record: &ServiceRecord) -> bool {
        let is_mine = self.goal.request().check.is_none() || record.running_on.is_some();
        is_mine && self.is_read_due()
    }

    /// Whether the register has to be read even when nothing else has changed. A lease that is
    /// granted changes by a brain alone, so a good read is relied on for as long as the last full check:
    /// nothing is started or stopped on the strength of it.
    pub(super) fn is_read_due(&self) -> bool {
        let last_read = self.view.seen.as_ref().and_then(|seen| seen.last_read_began);
        let sync = self.goal.config().cycle.sync;
        self.read.is_none() && last_read.is_none_or(|read| read.until(BootInstant::now()) >= sync)
    }

    /// Reads the register, unless this promotion has done so.
    pub(super) fn read(&mut self) {
        if self.read.is_none() {
            self.read_anew();
            self.account.before = self.view.value().cloned();
        }
    }

    /// Reads the register whatever was read before.
    pub(super) fn read_anew(&mut self) {
        // Nothing is relied on meanwhile, so it may take as long as the nodes: a check that has to log in
        // anew needs that on a busy machine.
        let deadline = Deadline::after(self.goal.service().timeout);
        let read = self.client.read(deadline).and_then(|observation| Ok(self.view.observe(observation)?));
        match &read {
            Ok(()) => self.publish_view(),
            Err(error) => {
                self.goal.request().output_mode.step(format_args!("{}: lease: {error}", self.goal.name()));
            }
        }
        self.read = Some(read);
    }

    /// Writes what is known to where this node's witness reads it. From then on the wait for a claim may begin.
    fn publish_view(&mut self) {
        if self.goal.options().dry_run {
            return;
        }
        let published = witness::publish(self.state_dir, self.goal.local_node(), self.goal.name(), &mut self.view);
        if !published && !self.lease.failsafe {
            // No holder asks this node's witness.
            self.view.published(BootInstant::now());
        }
    }

    fn error(&self) -> Option<&LeaseError> {
        self.read.as_ref().and_then(|read| read.as_ref().err())
    }

    /// What is known of the lease.
    pub(super) fn facts(&self) -> LeaseFacts {
        LeaseFacts { view: self.view.clone(), error: self.error().cloned() }
    }

    /// Waits until a claim that another brain left could have been granted, and reads anew: what the
    /// lease is now, in words, where it is no longer that claim.
    pub(super) fn wait_for_claim(&mut self) -> Option<String> {
        let claim = self.view.value().cloned();
        // The grant takes its time too.
        self.wait_until(self.wait_ends().plus(self.lease.read_timeout()));
        self.read_anew();
        let now = self.view.value();
        match self.error() {
            Some(error) => Some(error.to_string()),
            None if now == claim.as_ref() => None,
            None => Some(now.map(|record| record.summary(self.goal.name())).unwrap_or_default()),
        }
    }

    fn wait_until(&mut self, end: BootInstant) {
        let begun = BootInstant::now();
        let shown = self.goal.request().waits.begin(self.goal.name(), begun.until(end));
        std::thread::sleep(begun.until(end));
        drop(shown);
        self.account.waited += begun.until(BootInstant::now());
    }

    /// What is reported of it.
    pub(super) fn report(&self) -> LeaseReport {
        let known = self.error().is_none();
        let record = self.view.value().filter(|_| known);
        let before = self.account.before.as_ref().filter(|_| known);
        LeaseReport {
            epoch_before: before.map(|record| record.epoch),
            holder_before: before.and_then(|record| record.last_granted().cloned()),
            epoch: record.map(|record| record.epoch),
            holder: record.and_then(|record| record.granted_to().cloned()),
            waited_ms: millis(self.account.waited),
            confirmed_by: self.account.confirmed_by.clone(),
        }
    }

    /// Gets the lease for a node: claims it, stops the service where it may run, waits where a node
    /// does not say that it stopped, and grants it. The steps are those stops, however it ends.
    pub(super) fn acquire(&mut self, wanted: &Acquisition<'_>) -> (Vec<Step>, Result<(), Refusal>) {
        let mut stops = Stops::default();
        let acquired = self.acquire_by(wanted, &mut stops);
        (stops.into_steps(), acquired)
    }

    fn acquire_by(&mut self, wanted: &Acquisition<'_>, stops: &mut Stops) -> Result<(), Refusal> {
        let entered = BootInstant::now();
        let mut sent = false;
        for _ in 0..MAX_ROUNDS {
            match self.next(wanted, stops)? {
                TakeoverStep::Settled => return Ok(()),
                // The register names no node now: one that is told to stop from here on has stopped for
                // good when it says so.
                TakeoverStep::Wait { .. } | TakeoverStep::Grant(_) if !sent => {
                    sent = true;
                    let instances = self.instances_to_stop(wanted);
                    let begun = self.unheld_since().max(entered);
                    self.stop_and_wait(&instances, wanted, stops)?;
                    self.account.waited += begun.until(BootInstant::now());
                    if let Some(node) = stops.still_running(&instances, Deadline::after(self.goal.service().timeout)) {
                        return Err(Refusal::Running(node));
                    }
                }
                TakeoverStep::Wait { until, .. } => self.wait_until(until),
                TakeoverStep::Claim(record) | TakeoverStep::Grant(record) => self.swap(wanted.target, &record)?,
                TakeoverStep::Publish | TakeoverStep::LeaveToBrain => self.publish_view(),
            }
        }
        Err(Refusal::Unknown(format!("Other brains wrote the lease of {} all the time.", self.goal.name())))
    }

    /// Where the service has to be stopped, and whether it is known to run there. The last holder need
    /// not be in the chain.
    fn instances_to_stop(&self, wanted: &Acquisition<'_>) -> Vec<(Instance<'a>, bool)> {
        let last_holder = self.view.value().and_then(LeaseRecord::last_granted);
        let last_holder = last_holder.filter(|node| *node != wanted.target && !wanted.dead.contains(*node));
        let mut nodes: BTreeMap<&Name, bool> = wanted.possible.iter().chain(last_holder).map(|n| (n, false)).collect();
        nodes.extend(wanted.running.iter().map(|node| (node, true)));
        let instance = |(node, runs)| Some((self.goal.instance(self.remote, node)?, runs));
        nodes.into_iter().filter_map(instance).collect()
    }

    fn next(&mut self, wanted: &Acquisition<'_>, stops: &Stops) -> Result<TakeoverStep, Refusal> {
        let params = lease::Params::from(self.lease);
        let name = self.goal.name();
        let unknown = |error: LeaseError| Refusal::Unknown(format!("The lease of {name} is unknown: {error}."));
        if self.view.value().is_some_and(|record| record.granted_to().is_none()) {
            // The wait counts only as long as other nodes can see the claim.
            self.publish_view();
        }
        let signature = self.client.signature().map_err(unknown)?;
        let claim = signature.request(wanted.target, Some(wanted.why));
        match lease::takeover::next_step(&self.view, stops.confirmed(), &claim, BootInstant::now(), &params) {
            TakeoverStep::Publish => Err(Refusal::Unknown(format!(
                "The claim of {name} cannot be shown to other nodes: {} cannot be written.",
                self.state_dir.directory().display()
            ))),
            TakeoverStep::LeaveToBrain => self.leave_to_brain(wanted.target),
            step => Ok(step),
        }
    }

    /// Gives a brain the time to grant the claim. Holders do not ask this machine's witness, so it must not
    /// grant by waiting.
    fn leave_to_brain(&mut self, target: &Name) -> Result<TakeoverStep, Refusal> {
        let give_up_at = BootInstant::now().plus(self.lease.wait() + self.goal.config().cycle.check);
        while BootInstant::now() < give_up_at {
            self.read_anew();
            match self.view.value() {
                Some(record) if record.granted_to() == Some(target) => return Ok(TakeoverStep::Settled),
                Some(record) if record.granted_to().is_none() && record.holder == *target => {}
                _ => break,
            }
            std::thread::sleep(self.lease.interval());
        }
        Err(Refusal::Unknown(format!(
            "The lease of {} is claimed for {target}. Only a node of the brain chain, with the node's own state, may wait \
             to grant it, so a brain does that at its next check.",
            self.goal.name()
        )))
    }

    /// Since when the register has named no node, as far as is known here.
    fn unheld_since(&self) -> BootInstant {
        self.view.seen.as_ref().and_then(|seen| seen.unheld_since).unwrap_or_else(BootInstant::now)
    }

    /// When the old holder has stopped by itself.
    fn wait_ends(&self) -> BootInstant {
        self.unheld_since().plus(self.lease.wait())
    }

    /// Writes; that another brain has written the same target meanwhile is as good.
    fn swap(&mut self, target: &Name, record: &LeaseRecord) -> Result<(), Refusal> {
        let name = self.goal.name();
        self.goal.request().output_mode.step(format_args!("lease: {}", record.summary(name)));
        let swapped = self.client.swap(&mut self.view, record, self.goal.service().timeout);
        self.publish_view();
        match swapped {
            Ok(true) => Ok(()),
            Ok(false) if self.view.value().is_some_and(|record| record.holder == *target) => Ok(()),
            Ok(false) => {
                let now = self.view.value().map(|record| record.summary(name)).unwrap_or_default();
                Err(Refusal::Unknown(format!("Another brain wrote the lease of {name} meanwhile: {now}.")))
            }
            Err(error) => Err(Refusal::Unknown(format!("The lease of {name} is unknown: {error}."))),
        }
    }

    /// Takes note of the old holder's own word that it stopped.
    fn heard(&mut self, stopped: &Stopped) {
        let record = self.view.value();
        let last_holder = record.and_then(LeaseRecord::last_granted);
        let target = record.map(|record| &record.holder);
        if last_holder == Some(&stopped.node) && target != Some(&stopped.node) {
            self.account.confirmed_by = Some(stopped.node.clone());
        }
    }
}
