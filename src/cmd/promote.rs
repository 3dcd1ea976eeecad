//! `mirror promote`: makes services run on their targets and nowhere else.

use std::time::SystemTime;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Setting;
use crate::brain::Brain;
use crate::chain::Name;
use crate::cli;
use crate::config::Service;
use crate::history::{self, Entry, Event};
use crate::misuse::Misuse;
use crate::promote::{self, Order, Outcome, Promoted, Promotion, Verdict};
use crate::report::{self, Finding, Paint, Spinner, Status, Verdict as _, Waits};
use crate::state::Store;
use crate::view::{self, Reading, View};

/// What `mirror promote` prints.
#[derive(Serialize, JsonSchema)]
pub struct Facts {
    /// The services that were asked for, in that order.
    pub services: Vec<Promotion>,
    /// With `--if-brain`, the brain; null without it, or when none is known.
    pub brain: Option<Name>,
    /// What was given by `--why`.
    pub why: Option<String>,
}

impl report::Facts for Facts {
    type Verdict = Verdict;
    const SCHEMA: &'static str = "mirror.promote/1";

    fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        for service in &self.services {
            let mark = match service.verdict.status() {
                Status::Yes => paint.good("ok"),
                Status::No => paint.bad("no"),
                Status::Misuse | Status::Unknown => paint.doubtful("??"),
            };
            let fencing = service.fencing.map_or_else(String::new, |f| format!(" (fencing: {f:?})").to_lowercase());
            text += &format!("  {mark} {}{}\n", service.reason, paint.faint(&fencing));
            let rows = service.steps.iter().map(|step| {
                let why: Vec<&str> = [&step.cause, &step.detail].into_iter().flatten().map(String::as_str).collect();
                let act = format!("{:?}", step.step).to_lowercase();
                let outcome = format!("{:?}", step.outcome).to_lowercase();
                let took = format!("{:.0} ms", step.elapsed_ms);
                vec!["  ".to_owned(), act, step.node.to_string(), outcome, took, paint.faint(&why.join(": "))]
            });
            text += &report::columns(&rows.collect::<Vec<_>>());
        }
        text
    }
}

pub(super) fn run(arguments: &cli::Promote, setting: &Setting) -> Result<Status> {
    let config = &setting.config;
    let services: Vec<(&Name, &Service)> = match &arguments.service {
        Some(name) => vec![config.service(name)?],
        None => config.services.iter().collect(),
    };
    if services.is_empty() {
        return Err(Misuse::new(format!(
            "{}: it has no service to promote; add [services.NAME]",
            config.file.display()
        )));
    }
    let to = arguments.to.as_deref().map(|to| target(to, &services, setting)).transpose()?;
    let view = match &arguments.view {
        None => None,
        Some(path) => match view::read(path, config, SystemTime::now())? {
            Reading::Trusted(view) => Some(view),
            Reading::Distrusted(why) => return Ok(setting.tell(&distrusted(&services, &why, arguments))),
        },
    };
    let order = order(arguments, setting, services, to, view);
    let doing = if arguments.dry_run { "asking the nodes" } else { "asking the nodes, and moving what has to move" };
    let spinner = Spinner::with_waits(setting.voice, doing, order.waits.clone());
    let store = Store::open(&setting.config);
    let promoted = promote::promote(&order, &store)?;
    write_down(&promoted, arguments, setting, &store);
    drop(spinner);
    let brain = promoted.brain.and_then(|brain| if let Brain::Known(name) = brain { Some(name) } else { None });
    Ok(setting.tell(&finding(promoted.services, brain, arguments.why.clone())))
}

fn write_down(promoted: &Promoted, arguments: &cli::Promote, setting: &Setting, store: &Store) {
    let own = setting.own.as_ref();
    if let Some(Brain::Known(brain)) = &promoted.brain {
        history::saw_brain(store, own, brain);
    }
    record_promotions(store, own, &promoted.services, arguments.why.as_deref());
}

/// Writes down which of these promotions did something. A try that fails again and again as the last
/// one did is written once.
fn record_promotions(store: &Store, own: Option<&Name>, promotions: &[Promotion], why: Option<&str>) {
    let did_something = |promotion: &&Promotion| promotion.steps.iter().any(|step| step.outcome != Outcome::Planned);
    for promotion in promotions.iter().filter(did_something) {
        let entry = Entry {
            service: Some(promotion.service.clone()),
            node: promotion.target.clone(),
            verdict: history::slug(promotion.verdict),
            epoch: promotion.lease.as_ref().and_then(|lease| lease.epoch),
            why: why.map(str::to_owned),
            ..Entry::new(own, Event::Promote, promotion.reason.clone())
        };
        let again = || {
            let before = history::read(store).into_iter().rev().find(|before| before.service == entry.service);
            before.is_some_and(|before| {
                (before.event, &before.verdict, &before.node, &before.reason)
                    == (entry.event, &entry.verdict, &entry.node, &entry.reason)
            })
        };
        if promotion.verdict.status() == Status::Yes || !again() {
            history::record(store, &entry);
        }
    }
}

fn order<'a>(
    arguments: &'a cli::Promote,
    setting: &'a Setting,
    services: Vec<(&'a Name, &'a Service)>,
    to: Option<&'a Name>,
    view: Option<View>,
) -> Order<'a> {
    Order {
        config: &setting.config,
        own: setting.own.as_ref(),
        services,
        to,
        if_brain: arguments.if_brain,
        dry_run: arguments.dry_run,
        view,
        why: arguments.why.as_deref(),
        voice: setting.voice,
        waits: Waits::default(),
    }
}

/// The node that `--to` names, which has to be in the chain of every service that is promoted.
fn target<'a>(to: &str, services: &[(&Name, &Service)], setting: &'a Setting) -> Result<&'a Name> {
    let (node, _) = setting.config.node(to)?;
    for (name, service) in services {
        if !setting.config.chain(service.chain.as_str())?.contains(node) {
            return Err(Misuse::new(format!(
                "--to {node}: it is not in the chain {} of the service {name}; name a node of that chain",
                service.chain
            )));
        }
    }
    Ok(node)
}

fn distrusted(services: &[(&Name, &Service)], why: &str, arguments: &cli::Promote) -> Finding<Facts> {
    let unknown = |name: &Name| Promotion::without_act(name, Verdict::Unknown, format!("Nothing was done: {why}."));
    finding(services.iter().map(|(name, _)| unknown(name)).collect(), None, arguments.why.clone())
}

/// The worst verdict of all stands for all; unknown is worse than no.
fn finding(services: Vec<Promotion>, brain: Option<Name>, why: Option<String>) -> Finding<Facts> {
    let worst = services.iter().rev().max_by_key(|service| (service.verdict.status(), service.verdict as u8));
    let verdict = worst.map_or(Verdict::Unknown, |worst| worst.verdict);
    let reason = match services.as_slice() {
        [only] => only.reason.clone(),
        all => {
            let good = all.iter().filter(|service| service.verdict.status() == Status::Yes).count();
            format!("{good} of {} services run where they belong.", all.len())
        }
    };
    Finding { verdict, reason, facts: Facts { services, brain, why } }
}
