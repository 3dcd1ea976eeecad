//! One round of checks: all services at once, none waiting for another.
//!
//! A service that takes long does not hold up the others: they are checked again in rounds of their
//! own, at the pace of the checks, until it has ended too.
//!
//! ```text
//! slow   look ── status hangs ………………………………………………………… ended
//! other  look ── in place   look ── in place   look ── moved   (every `cycle.check`)
//! ```

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::Scope;
use std::time::Instant;

use anyhow::Result;

use super::Promoted;
use super::events;
use super::execute::Execution;
use super::observe::{self, Look};
use super::observed::Observed;
use super::outcome::{PromoteVerdict, ServiceOutcome};
use super::records::Records;
use super::request::{Goal, Request};
use super::shared::{Means, Shared};
use super::takeover::{self, PendingTakeover, Takeover};
use crate::at_work::Check;
use crate::clock::BootInstant;
use crate::leader::Brain;
use crate::links;
use crate::name::Name;
use crate::notices::{self, Kind};
use crate::state::{Lock, ServiceRecord, history};

/// What became of the services so far, by name.
type Outcomes = BTreeMap<Name, ServiceOutcome>;

/// Promotes all services of the request, and those that have ended again as long as others have not.
///
/// # Errors
/// When this process cannot ask anybody, the brain is asked for and there is no brain chain, or the node
/// to forget is unknown.
pub(super) fn promote_all(request: &Request<'_>, means: &Means<'_>) -> Result<Promoted> {
    let mut records = Records::open(request, means.state_dir)?;
    let refused = records.take_refused();
    let locks = request.services.iter().map(|(name, _)| records.take_lock(name)).collect();
    let shared = Shared::new(request, means);
    let round = Round { shared: &shared, records: &records };
    let (brain, mut outcomes) = std::thread::scope(|scope| round.run(scope, locks))?;
    outcomes.extend(refused.into_iter().map(|outcome| (outcome.service.clone(), outcome)));
    let broken_off = |name: &Name| {
        ServiceOutcome::without_steps(name, PromoteVerdict::Unknown, format!("The promotion of {name} broke off."))
    };
    let outcome = |(name, _): &(&Name, _)| outcomes.remove(*name).unwrap_or_else(|| broken_off(name));
    Ok(Promoted { brain, services: request.services.iter().map(outcome).collect() })
}

struct Round<'a> {
    shared: &'a Shared<'a>,
    records: &'a Records<'a>,
}

impl<'a> Round<'a> {
    fn run<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        locks: Vec<Option<Lock>>,
    ) -> Result<(Option<Brain>, Outcomes)>
    where
        'a: 'scope,
    {
        let request = self.shared.request();
        let takeovers = self.read_leases(scope);
        let began = BootInstant::now();
        // From here on the locks are held: what is drained later is heeded by the next check.
        if let Some(check) = request.check {
            check.read_drains_anew();
        }
        let (view, brain) = Look::new(request, self.shared.remote(), self.records.all()).take()?;
        // A view that was given was learned from by the probe that took it.
        if !request.options.dry_run && request.view.is_none() {
            links::learn(request.config, self.shared.state_dir(), &view);
        }
        if let Some(Brain::Known(brain)) = &brain {
            let why = request.check.and_then(Check::why);
            history::saw_brain(self.shared.state_dir(), request.local_node, brain, why);
        }
        if let Some(other) = brain.as_ref().filter(|brain| !is_me(brain, request.local_node)) {
            self.shared.uptime().forget_deaths();
            self.records.forget_checks(request, self.shared.state_dir());
            return Ok((brain.clone(), not_brain(request, other)));
        }
        let uptimes = self.shared.uptime().add(&view.seen(), began);
        let read = || notices::read(self.shared.state_dir(), Kind::Drain);
        let drains = request.check.map_or_else(read, Check::drains);
        let not_at_work = request.check.map(Check::not_at_work).unwrap_or_default();
        let observe = |record: &ServiceRecord| {
            let observed = Observed::new(view.seen(), record.clone(), uptimes.clone());
            observed.with_drains(drains.clone()).with_not_at_work(not_at_work.clone())
        };
        let ended = self.start(scope, (locks, takeovers), observe);
        Ok(self.collect(&ended, brain))
    }

    fn goal(&self, service: &(&'a Name, &'a crate::config::Service)) -> Goal<'a> {
        Goal::new(self.shared.request(), service.0, service.1).with_former(self.records.former(service.0))
    }

    fn read_leases<'scope>(&self, scope: &'scope Scope<'scope, '_>) -> BTreeMap<&'a Name, PendingTakeover<'scope, 'a>>
    where
        'a: 'scope,
    {
        let takeover = |service: &(&'a Name, _)| {
            let record = self.records.all().get(service.0)?;
            Some((Takeover::new(self.goal(service), self.shared)?, record))
        };
        let takeovers: Vec<_> = self.shared.request().services.iter().filter_map(takeover).collect();
        // One trip reads all of them: where one is due, the others are read with it.
        let is_due = takeovers.iter().any(|(takeover, record)| takeover.is_first_read_due(record));
        let pending =
            |(takeover, _): (Takeover<'a>, _)| (takeover.service(), takeover::read_beside(scope, takeover, is_due));
        takeovers.into_iter().map(pending).collect()
    }

    /// Asks each node once for all services, and starts each service on its own thread.
    fn start<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        (locks, mut takeovers): (Vec<Option<Lock>>, BTreeMap<&'a Name, PendingTakeover<'scope, 'a>>),
        observe: impl Fn(&ServiceRecord) -> Observed,
    ) -> Receiver<ServiceOutcome>
    where
        'a: 'scope,
    {
        let (sender, ended) = mpsc::channel();
        let mut questions = Vec::new();
        for (service, lock) in self.shared.request().services.iter().zip(locks) {
            let Some(record) = self.records.all().get(service.0) else { continue };
            let execution = Execution::new(self.goal(service), self.shared, observe(record));
            let (first, answers) = execution.first_questions();
            questions.extend(first);
            let (shared, sender, takeover) = (self.shared, sender.clone(), takeovers.remove(service.0));
            scope.spawn(move || finish(shared, || execution.run(answers, takeover), lock, &sender));
        }
        observe::ask_services(scope, questions, self.shared.request().output_mode);
        ended
    }

    /// Collects the outcomes, and checks the services that have ended again while others have not.
    fn collect(&self, ended: &Receiver<ServiceOutcome>, mut brain: Option<Brain>) -> (Option<Brain>, Outcomes) {
        let mut outcomes = Outcomes::new();
        let pause = self.shared.request().repeats_after();
        let mut next = pause.map(|pause| Instant::now() + pause);
        loop {
            let outcome = match next {
                Some(next) => ended.recv_timeout(next.saturating_duration_since(Instant::now())),
                None => ended.recv().map_err(RecvTimeoutError::from),
            };
            match outcome {
                Ok(outcome) => keep(&mut outcomes, outcome),
                Err(RecvTimeoutError::Disconnected) => return (brain, outcomes),
                Err(RecvTimeoutError::Timeout) => {
                    next = pause.map(|pause| Instant::now() + pause);
                    // What cannot be asked now is asked at the next check.
                    if let Some(Ok(again)) = self.check_again(&outcomes) {
                        if let Some(check) = self.shared.request().check {
                            check.renew_beat(again.running());
                        }
                        brain = again.brain.or(brain);
                        again.services.into_iter().for_each(|outcome| keep(&mut outcomes, outcome));
                    }
                }
            }
        }
    }

    fn check_again(&self, ended: &Outcomes) -> Option<Result<Promoted>> {
        let request = self.shared.request();
        let services = request.services.iter().filter(|(name, _)| ended.contains_key(*name)).copied().collect();
        let request = request.for_services(services);
        if request.services.is_empty() {
            return None;
        }
        Some(promote_all(&request, self.shared.means()))
    }
}

/// Runs a service to its end, remembers what is to be remembered, and gives its lock back.
fn finish(
    shared: &Shared<'_>,
    run: impl FnOnce() -> (ServiceOutcome, crate::state::ServiceRecord),
    lock: Option<Lock>,
    ended: &Sender<ServiceOutcome>,
) {
    let (outcome, mut record) = run();
    if !shared.request().options.dry_run {
        events::record(&outcome, &mut record, shared.request(), shared.state_dir());
        shared.state_dir().keep_record(&outcome.service, &record);
    }
    drop(lock);
    let _ = ended.send(outcome);
}

/// Keeps the latest outcome, but for one that only says that all is as the one before left it.
fn keep(outcomes: &mut Outcomes, outcome: ServiceOutcome) {
    let is_quiet = matches!(outcome.verdict, PromoteVerdict::InPlace | PromoteVerdict::NotBrain);
    let left_it_so = |before: &ServiceOutcome| {
        matches!(before.verdict, PromoteVerdict::Started | PromoteVerdict::Moved | PromoteVerdict::StoppedElsewhere)
    };
    if !(is_quiet && outcomes.get(&outcome.service).is_some_and(left_it_so)) {
        outcomes.insert(outcome.service.clone(), outcome);
    }
}

fn is_me(brain: &Brain, local_node: Option<&Name>) -> bool {
    matches!(brain, Brain::Known(name) if Some(name) == local_node)
}

fn not_brain(request: &Request<'_>, brain: &Brain) -> Outcomes {
    let verdict = match brain {
        Brain::Known(_) | Brain::Nobody => PromoteVerdict::NotBrain,
        Brain::Isolated | Brain::Unknown(_) | Brain::Open => PromoteVerdict::Unknown,
    };
    let mut reason = brain.sentence_to(request.local_node);
    if let Some(why) = request.check.and_then(Check::why) {
        reason += &format!(" {why}.");
    }
    let outcome =
        |(name, _): &(&Name, _)| ((*name).clone(), ServiceOutcome::without_steps(name, verdict, reason.clone()));
    request.services.iter().map(outcome).collect()
}
