//! `mirror promote`: makes services run on their targets and nowhere else.

use std::collections::BTreeMap;
use std::time::SystemTime;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, changes};
use crate::at_work::Mode;
use crate::cli;
use crate::config::Service;
use crate::leader::Brain;
use crate::name::Name;
use crate::output::warnings::Warning;
use crate::output::{
    self, ExitStatus, HasStatus as _, PendingWaits, Priority, Report, ReportFacts as _, Spinner, Style,
};
use crate::promote::{self, Options, PromoteVerdict, Promoted, Request, ServiceOutcome};
use crate::service::Cause;
use crate::state::StateDir;
use crate::state::history;
use crate::usage_error::UsageError;
use crate::view::{self, LoadedView, View};

/// What `mirror promote` prints.
#[derive(Serialize, JsonSchema)]
pub struct PromoteFacts {
    /// The services that were asked for, in that order.
    pub services: Vec<ServiceOutcome>,
    /// With `--if-brain`, the brain; null without it, or when none is known.
    pub brain: Option<Name>,
    /// What was given by `--why`.
    pub why: Option<String>,
}

impl output::ReportFacts for PromoteFacts {
    type Verdict = PromoteVerdict;
    const SCHEMA: &'static str = "mirror.promote/1";

    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for service in &self.services {
            let mark = match service.verdict.status() {
                ExitStatus::Yes => style.good("ok"),
                ExitStatus::No => style.bad("no"),
                ExitStatus::UsageError | ExitStatus::Unknown => style.doubtful("??"),
            };
            let fencing =
                service.movement.fencing.map_or_else(String::new, |f| format!(" (fencing: {f:?})").to_lowercase());
            text += &format!("  {mark} {}{}\n", service.reason, style.faint(&fencing));
            let rows = service.steps.iter().map(|step| {
                let why: Vec<&str> =
                    [step.cause.map(Cause::slug), step.detail.as_deref()].into_iter().flatten().collect();
                let act = format!("{:?}", step.step).to_lowercase();
                let outcome = format!("{:?}", step.outcome).to_lowercase();
                let took = format!("{:.0} ms", step.elapsed_ms);
                vec!["  ".to_owned(), act, step.node.to_string(), outcome, took, style.faint(&why.join(": "))]
            });
            text += &output::columns(&rows.collect::<Vec<_>>());
        }
        text
    }

    fn priority(&self, _: PromoteVerdict) -> Priority {
        self.services.iter().map(|service| service.verdict.priority()).max().unwrap_or(Priority::Failed)
    }
}

impl PromoteFacts {
    /// What counts for --changes-only. A node that cannot be asked is the same trouble, however long it takes.
    fn state(&self) -> impl std::fmt::Debug {
        let steps = |service: &ServiceOutcome| {
            let step = |step: &promote::Step| (step.node.clone(), step.step, step.outcome, step.cause);
            service.steps.iter().map(step).collect::<Vec<_>>()
        };
        let services = self.services.iter();
        let services = services.map(|one| (one.service.clone(), one.verdict, one.movement.target.clone(), steps(one)));
        (self.brain.clone(), services.collect::<Vec<_>>())
    }
}

pub(super) fn run(arguments: &cli::Promote, context: &Context) -> Result<ExitStatus> {
    let config = &context.config;
    let services: Vec<(&Name, &Service)> = match &arguments.service {
        Some(name) => vec![config.service(name)?],
        None => config.services.iter().collect(),
    };
    if services.is_empty() {
        return Err(UsageError::new(format!(
            "{}: it has no service to promote; add [services.NAME]",
            config.file.display()
        )));
    }
    if arguments.if_brain {
        context.must_be_a_node()?;
    }
    let to = arguments.to.as_deref().map(|to| target(to, &services, context)).transpose()?;
    let view = match &arguments.view {
        None => None,
        Some(path) => match view::read(path, config, SystemTime::now())? {
            LoadedView::Trusted(view) => Some(view),
            LoadedView::Distrusted(why) => return Ok(context.tell(&distrusted(&services, &why, arguments))),
        },
    };
    let state_dir = StateDir::open(config);
    let mode = if arguments.dry_run { Mode::Memory } else { Mode::Check };
    let check = arguments.if_brain.then(|| context.check(&state_dir, mode));
    let request = Request { check: check.as_ref(), ..request(arguments, context, services, to, view) };
    let doing = if arguments.dry_run { "asking the nodes" } else { "asking the nodes, and moving what has to move" };
    let spinner = Spinner::with_waits(context.output_mode, doing, request.waits.clone());
    let promoted = promote::promote(&request, &state_dir)?;
    drop(spinner);
    let running = promoted.running();
    let brain = promoted.brain.and_then(|brain| if let Brain::Known(name) = brain { Some(name) } else { None });
    let report = report(promoted.services, brain, arguments.why.clone());
    let is_new = |warnings: &[Warning]| {
        let codes: Vec<_> = warnings.iter().map(|warning| warning.code).collect();
        !arguments.pace.changes_only
            || report.facts.priority(report.verdict) == Priority::Moved
            || changes::are_new(&state_dir, "promote", &(codes, report.facts.state()))
    };
    let Some(check) = &check else { return Ok(context.tell_if(is_new(&[]), &report, &[])) };
    // A check that found another one at work here shows nothing: that one may hang.
    if report.facts.services.iter().all(|service| service.verdict != PromoteVerdict::Busy) {
        check.leave_beat(history::slug(report.verdict).as_deref().unwrap_or_default(), Some(running));
    }
    let warnings = check.warnings();
    let status = context.tell_if(is_new(&warnings), &report, &warnings);
    check.look_around();
    Ok(status)
}

/// One check of all services, or by hand where it is not `if_brain`; its object is the caller's.
pub(super) fn check(context: &Context, if_brain: bool) -> Result<Promoted> {
    let state_dir = StateDir::open(&context.config);
    let check = if_brain.then(|| context.check(&state_dir, Mode::Check));
    let request = Request {
        config: &context.config,
        local_node: context.local_node.as_ref(),
        services: context.config.services.iter().collect(),
        options: Options::default(),
        check: check.as_ref(),
        view: None,
        output_mode: context.output_mode,
        waits: PendingWaits::default(),
    };
    let promoted = promote::promote(&request, &state_dir)?;
    let is_busy = promoted.services.iter().any(|service| service.verdict == PromoteVerdict::Busy);
    if let Some(check) = check.filter(|_| !is_busy) {
        let worst = worst(&promoted.services).and_then(|worst| history::slug(worst.verdict));
        check.leave_beat(worst.as_deref().unwrap_or_default(), Some(promoted.running()));
    }
    Ok(promoted)
}

fn request<'a>(
    arguments: &'a cli::Promote,
    context: &'a Context,
    services: Vec<(&'a Name, &'a Service)>,
    to: Option<&'a Name>,
    view: Option<View>,
) -> Request<'a> {
    let options = Options {
        to,
        dry_run: arguments.dry_run,
        why: arguments.why.as_deref(),
        forget: arguments.forget.as_deref(),
        pace: arguments.pace.pace,
    };
    Request {
        config: &context.config,
        local_node: context.local_node.as_ref(),
        services,
        options,
        check: None,
        view,
        output_mode: context.output_mode,
        waits: PendingWaits::default(),
    }
}

/// The node that `--to` names; it must be in the chain of every service that is promoted.
fn target<'a>(to: &str, services: &[(&Name, &Service)], context: &'a Context) -> Result<&'a Name> {
    let (node, _) = context.config.node(to)?;
    for (name, service) in services {
        if !context.config.chain(service.chain.as_str())?.contains(node) {
            return Err(UsageError::new(format!(
                "--to {node}: it is not in the chain {} of the service {name}; name a node of that chain",
                service.chain
            )));
        }
    }
    Ok(node)
}

fn distrusted(services: &[(&Name, &Service)], why: &str, arguments: &cli::Promote) -> Report<PromoteFacts> {
    let unknown =
        |name: &Name| ServiceOutcome::without_steps(name, PromoteVerdict::Unknown, format!("Nothing was done: {why}."));
    report(services.iter().map(|(name, _)| unknown(name)).collect(), None, arguments.why.clone())
}

fn worst(services: &[ServiceOutcome]) -> Option<&ServiceOutcome> {
    services.iter().rev().max_by_key(|service| (service.verdict.status(), service.verdict as u8))
}

/// The worst verdict of all stands for all; unknown is worse than no.
fn report(services: Vec<ServiceOutcome>, brain: Option<Name>, why: Option<String>) -> Report<PromoteFacts> {
    let verdict = worst(&services).map_or(PromoteVerdict::Unknown, |worst| worst.verdict);
    let reason = match services.as_slice() {
        [only] => only.reason.clone(),
        all => headline(all),
    };
    Report { verdict, reason, facts: PromoteFacts { services, brain, why } }
}

/// How many services run where they belong, and what became of the others.
fn headline(services: &[ServiceOutcome]) -> String {
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    let mut good = 0;
    for service in services {
        if service.verdict.runs() {
            good += 1;
        } else {
            *others.entry(history::slug(service.verdict).unwrap_or_default()).or_default() += 1;
        }
    }
    let good = match good {
        0 => format!("None of {} services runs where it belongs", services.len()),
        1 => format!("1 of {} services runs where it belongs", services.len()),
        all => format!("{all} of {} services run where they belong", services.len()),
    };
    let others: Vec<String> = others.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    if others.is_empty() { format!("{good}.") } else { format!("{good}: {}.", others.join(", ")) }
}
