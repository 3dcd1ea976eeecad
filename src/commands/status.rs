//! `mirror status`: where everything is, as all nodes have it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};

use super::everywhere::{self, Dead, Question};
use super::{Context, view_of_all};
use crate::cli;
use crate::clock::Deadline;
use crate::output::{self, ExitStatus, Report, ReportFacts, Spinner, Style, warnings};
use crate::remote::question;
use crate::view::View;

mod facts;
mod findings;
pub(super) mod here;
mod html;
mod merge;
mod plugin;
mod text;
mod watch;

pub use facts::{
    BreathSummary, CooldownStatus, DrainStatus, LastCheck, LeaseStatus, NodeStatus, PauseStatus, ServiceState,
    ServiceStatus, StatusFacts, StatusVerdict,
};
pub use here::{Here, HereBeat, HereBreath, HereCheck, HereCondition, HereLease, HereService, LastMove, SeenRunning};

pub(super) use text::to_the_second;

use findings::{Findings, Weight};
use merge::{Said, Told};
use plugin::PluginStatus;

/// What the page tells of the past.
const LAST_DAY: Duration = Duration::from_secs(24 * 3600);

impl ReportFacts for StatusFacts {
    type Verdict = StatusVerdict;
    const SCHEMA: &'static str = "mirror.status/1";

    fn text(&self, style: Style) -> String {
        text::text(self, style)
    }
}

pub(super) fn run(arguments: &cli::Status, context: &Context) -> Result<ExitStatus> {
    let deadline = Deadline::after(everywhere::timeout(context, arguments.within));
    if let Some(every) = arguments.watch {
        return watch::run(context, every, arguments.within);
    }
    let report = if arguments.here { here_alone(context, deadline) } else { look(context, deadline)? };
    if let Some(file) = &arguments.html {
        write_page(file, &report, context, deadline).with_context(|| file.display().to_string())?;
    }
    if arguments.nagios {
        let printed = context.output_mode.print(&plugin::line(&report));
        return Ok(match plugin::status(&report) {
            PluginStatus::Ok => printed,
            PluginStatus::Warning => ExitStatus::No,
            // Its number is what the guidelines call critical.
            PluginStatus::Critical => ExitStatus::UsageError,
            PluginStatus::Unknown => ExitStatus::Unknown,
        });
    }
    Ok(tell(&report, context))
}

/// Writes the page whole, by a rename.
fn write_page(file: &Path, report: &Report<StatusFacts>, context: &Context, deadline: Deadline) -> Result<()> {
    let since = SystemTime::now().checked_sub(LAST_DAY);
    let (events, unasked) = super::history::of_all(context, since, deadline);
    let at = humantime::format_rfc3339_millis(context.begun.at).to_string();
    super::metrics::write(file, &html::page(report, &at, (&events, &unasked)))?;
    Ok(())
}

/// The warnings are a fact of this command, and not said twice.
fn tell(report: &Report<StatusFacts>, context: &Context) -> ExitStatus {
    output::emit(report, &[], context.local_node.as_ref(), context.begun, context.output_mode)
}

/// Asks all nodes, and probes them beside it.
pub(super) fn look(context: &Context, deadline: Deadline) -> Result<Report<StatusFacts>> {
    let spinner = Spinner::start(context.output_mode, "asking the nodes");
    let dead = Dead::default();
    let question = question_of_all(deadline, &dead);
    let (view, answers) = std::thread::scope(|scope| {
        let view = scope.spawn(|| view_of_all(context, &dead));
        let answers = everywhere::ask_all(context, &question, || own(context, deadline), said);
        let broke_off = |_| Err(anyhow::anyhow!("the probe broke off"));
        (view.join().unwrap_or_else(broke_off), answers)
    });
    drop(spinner);
    Ok(report(context, &Told { config: &context.config, view: view?, answers }, false))
}

/// What each node is asked.
fn question_of_all(deadline: Deadline, dead: &Dead) -> Question<'_> {
    let command = question::Question::Status(everywhere::within(deadline)).to_string();
    Question { command, schema: StatusFacts::SCHEMA, deadline, dead: Some(dead) }
}

/// What this node knows, without another.
fn here_alone(context: &Context, deadline: Deadline) -> Report<StatusFacts> {
    let answers = context.local_node.iter().map(|name| (name, Ok(own(context, deadline)))).collect();
    let told = Told { config: &context.config, view: View::default(), answers };
    let mut report = report(context, &told, true);
    let here = told.answers.into_iter().find_map(|(_, said)| said.ok()).map(|said| said.here);
    report.facts.here = Some(here.unwrap_or_else(|| here::look(context, deadline)));
    report
}

/// What this node says of itself.
fn own(context: &Context, deadline: Deadline) -> Said {
    Said { here: here::look(context, deadline), clock_offset_ms: Some(0.0) }
}

fn said(object: everywhere::Object) -> Option<Said> {
    let here = serde_json::from_value(object.value.get("here")?.clone()).ok()?;
    Some(Said { here, clock_offset_ms: object.clock_offset_ms })
}

fn report(context: &Context, told: &Told<'_>, alone: bool) -> Report<StatusFacts> {
    let (nodes, pauses, cooldowns) = (told.nodes(), told.pauses(), told.cooldowns());
    let services = told.services(&pauses, &cooldowns);
    let mut findings = Findings::default();
    if !alone {
        services.iter().for_each(|service| findings.service(service));
        cooldowns.iter().for_each(|down| findings.cooldown(down));
        brain(told, &mut findings);
    }
    let list_is_said = findings.list_here(&nodes, context.local_node.is_some(), &context.config);
    for node in &nodes {
        let said = told.answers.iter().find(|(name, _)| **name == node.node);
        let here = said.and_then(|(_, said)| said.as_ref().ok()).map(|said| &said.here);
        findings.node(node, here, &context.config, list_is_said);
    }
    for warning in warnings::collected() {
        findings.add(Weight::Remark, warning.code, warning.message);
    }
    let verdict = match findings.weight() {
        Weight::Remark => StatusVerdict::Well,
        Weight::Doubt => StatusVerdict::Unknown,
        Weight::Wrong => StatusVerdict::Unwell,
    };
    let (wrong, unknown) = (findings.count(Weight::Wrong), findings.count(Weight::Doubt));
    let facts = StatusFacts {
        breath: told.breath(&nodes),
        services,
        nodes,
        brain: told.brain().cloned(),
        pauses,
        drains: told.drains(),
        cooldowns,
        warnings: findings.into_warnings(),
        digest: context.config.digest.clone(),
        here: None,
    };
    Report { verdict, reason: text::sentence(&facts, wrong, unknown), facts }
}

fn brain(told: &Told<'_>, findings: &mut Findings) {
    if !told.config.chains.contains_key(crate::chain::BRAIN) {
        return;
    }
    let leading = told.leading();
    match (told.brain(), leading.as_slice()) {
        (None, _) => findings.add(Weight::Doubt, "no-brain", "no brain is known".to_owned()),
        (_, [one, other, ..]) => {
            let message = format!("{one} and {other} both take themselves for the brain");
            findings.add(Weight::Wrong, "two-brains", message);
        }
        _ => {}
    }
}
