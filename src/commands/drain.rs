//! `mirror drain`: moves everything off a node, and nothing to it, until `mirror undrain`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::everywhere::{self, Refusal};
use super::spread::{self, Order, Spread, Untold, Wanted};
use super::{Context, promote};
use crate::at_work::Mode;
use crate::chain::BRAIN;
use crate::cli;
use crate::clock::Deadline;
use crate::config::Service;
use crate::leader::Brain;
use crate::name::{self, Name};
use crate::notices::Subject;
use crate::output::{self, ExitStatus, Report, ReportFacts as _, Spinner, Style};
use crate::promote::{Fencing, PromoteVerdict, ServiceOutcome};
use crate::remote::question::Question;
use crate::state::StateDir;
use crate::usage_error::UsageError;

/// A check that is under way on the brain is waited for: it is asked again so often.
const BUSY_INTERVAL: Duration = Duration::from_millis(100);
/// How often the brain checks when it is not known afterwards whether all has left: a login that was slow once may
/// not be so again.
const MAX_CHECKS: usize = 3;
/// What a check takes beside its services.
const CHECK_OVERHEAD: Duration = Duration::from_secs(10);

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DrainVerdict {
    /// The node is drained, and nothing that is promoted runs there.
    Drained,
    /// The node is drained, and a service stays there.
    NotMoved,
    /// No node knows of it, or it is not known whether everything has left.
    Unknown,
}

impl output::HasStatus for DrainVerdict {
    fn status(self) -> ExitStatus {
        match self {
            Self::Drained => ExitStatus::Yes,
            Self::NotMoved => ExitStatus::No,
            Self::Unknown => ExitStatus::Unknown,
        }
    }
}

/// What `mirror drain` prints.
#[derive(Serialize, JsonSchema)]
pub struct DrainFacts {
    /// The node.
    pub node: Name,
    /// Whether it was drained by this: false when it was drained before, as far as was known here.
    pub changed: bool,
    /// The services that ran there, or stay there.
    pub moved: Vec<MovedService>,
    /// The nodes that know of it.
    pub seen_by: Vec<Name>,
    /// The nodes that could not be told. They learn of it from the brain.
    pub untold: Vec<Untold>,
}

/// What became of a service.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MovedService {
    /// The service.
    pub service: Name,
    /// As of `mirror promote`.
    pub verdict: PromoteVerdict,
    /// The same as a sentence for people.
    pub reason: String,
    /// The node where it belongs now; null when that is not known.
    pub target: Option<Name>,
    /// The node that ran it before; null when none did, or none is known.
    pub previous: Option<Name>,
    /// What makes sure that the old instance is stopped; null when nothing was started.
    pub fencing: Option<Fencing>,
    /// For how long it was not seen to run well, in ms; null where nothing was started.
    pub outage_ms: Option<f64>,
}

/// What another node prints of its check.
#[derive(Deserialize)]
struct Checked {
    services: Vec<MovedService>,
    brain: Option<Name>,
}

impl From<ServiceOutcome> for MovedService {
    fn from(of: ServiceOutcome) -> Self {
        Self {
            service: of.service,
            verdict: of.verdict,
            reason: of.reason,
            target: of.movement.target,
            previous: of.movement.previous,
            fencing: of.movement.fencing,
            outage_ms: of.movement.outage_ms,
        }
    }
}

impl output::ReportFacts for DrainFacts {
    type Verdict = DrainVerdict;
    const SCHEMA: &'static str = "mirror.drain/1";

    fn text(&self, style: Style) -> String {
        let row = |moved: &MovedService| {
            let mark = if moved.verdict.runs() && moved.target.as_ref() != Some(&self.node) {
                style.good("ok")
            } else {
                style.bad("no")
            };
            vec![mark, moved.reason.clone()]
        };
        output::columns(&self.moved.iter().map(row).collect::<Vec<_>>()) + &untold_rows(&self.untold, style)
    }
}

/// The nodes that could not be told, for people.
pub(super) fn untold_rows(untold: &[Untold], style: Style) -> String {
    let row = |untold: &Untold| vec![style.doubtful("??"), untold.node.to_string(), untold.detail.clone()];
    output::columns(&untold.iter().map(row).collect::<Vec<_>>())
}

/// The node that was named, or this one.
pub(super) fn node<'a>(named: Option<&str>, context: &'a Context) -> Result<&'a Name> {
    match (named, &context.local_node) {
        (Some(named), _) => Ok(context.config.node(named)?.0),
        (None, Some(local_node)) => Ok(local_node),
        (None, None) => Err(UsageError::new("this machine is no node of the list; name the node".to_owned())),
    }
}

pub(super) fn run(arguments: &cli::Drain, context: &Context) -> Result<ExitStatus> {
    let node = node(arguments.node.as_deref(), context)?;
    let spinner = Spinner::start(context.output_mode, "telling the nodes, and moving what runs there");
    let wanted = Wanted {
        subjects: vec![Subject::drain(node.clone())],
        holds: true,
        auto_only: false,
        why: arguments.why.as_deref(),
        order: Order::First(node),
    };
    let spread = spread::set(context, &wanted)?;
    let check = Move { context, node, spread: &spread }.carry_out()?;
    drop(spinner);
    let changed = spread.before.drain_of(node).is_none();
    let (verdict, reason, moved) = outcome(node, &spread, check);
    let facts = DrainFacts { node: node.clone(), changed, moved, seen_by: spread.seen_by, untold: spread.untold };
    Ok(context.tell(&Report { verdict, reason, facts }))
}

/// What became of it. The services are those whose chain has the node, or why nobody has checked them.
fn outcome(node: &Name, spread: &Spread, check: BrainsCheck) -> (DrainVerdict, String, Vec<MovedService>) {
    let known = format!(" {} know that it is drained.{}", spread.count(), spread.words());
    if spread.seen_by.is_empty() {
        return (
            DrainVerdict::Unknown,
            format!("No node could be told that {node} is drained.{}", spread.words()),
            vec![],
        );
    }
    let services = match check {
        BrainsCheck::Made(services) => services,
        BrainsCheck::NotMade(why) => {
            let reason = format!(
                "Whether anything still runs on {node} is unknown: {why}. The brain moves it at its next check.{known}"
            );
            return (DrainVerdict::Unknown, reason, vec![]);
        }
    };
    let is_doubtful = |of: &MovedService| {
        use PromoteVerdict::{Blocked, Busy, NotBrain, Unknown};
        matches!(of.verdict, Blocked | Busy | NotBrain | Unknown)
    };
    let stays = |of: &MovedService| {
        let was_there = of.previous.as_ref() == Some(node) || of.target.as_ref() == Some(node);
        was_there && !(of.verdict.runs() && of.target.as_ref() != Some(node))
    };
    let moved: Vec<MovedService> =
        services.into_iter().filter(|of| of.previous.as_ref() == Some(node) || stays(of) || is_doubtful(of)).collect();
    if let Some(doubt) = moved.iter().find(|of| is_doubtful(of)) {
        return (DrainVerdict::Unknown, format!("{}{known}", doubt.reason), moved);
    }
    let staying: Vec<&MovedService> = moved.iter().filter(|of| stays(of)).collect();
    if let [first, ..] = staying.as_slice() {
        let names = name::list(staying.iter().map(|of| &of.service));
        return (DrainVerdict::NotMoved, format!("{names} did not leave {node}: {}{known}", first.reason), moved);
    }
    let left = match moved.as_slice() {
        [] => format!("{node} is drained, and nothing runs there."),
        [only] => format!("{node} is drained, and nothing runs there. {}", only.reason),
        all => {
            let services = name::list(all.iter().map(|of| &of.service));
            format!("{node} is drained, and nothing runs there: {services} have left it.")
        }
    };
    (DrainVerdict::Drained, left + &known, moved)
}

/// The check in which the brain moves what runs on a drained node.
enum BrainsCheck {
    /// What became of the services.
    Made(Vec<MovedService>),
    /// Nobody has made it, and why.
    NotMade(String),
}

/// The way of what runs on a drained node to other nodes.
struct Move<'a> {
    context: &'a Context,
    node: &'a Name,
    spread: &'a Spread,
}

impl Move<'_> {
    /// Has the brain make one check, or makes it here where no chain `brain` says who moves services. What became of
    /// the services whose chain has the node, or why that is not known.
    fn carry_out(&self) -> Result<BrainsCheck> {
        let config = &self.context.config;
        let has_node =
            |service: &Service| config.chains.get(&service.chain).is_some_and(|chain| chain.contains(self.node));
        let services: BTreeSet<&Name> =
            config.services.iter().filter(|(_, service)| has_node(service)).map(|(name, _)| name).collect();
        if services.is_empty() || self.spread.seen_by.is_empty() {
            return Ok(BrainsCheck::Made(Vec::new()));
        }
        let check = if config.chains.contains_key(BRAIN) {
            self.by_brain(&services)?
        } else {
            BrainsCheck::Made(self.here(false)?.services)
        };
        Ok(match check {
            BrainsCheck::Made(all) => {
                BrainsCheck::Made(all.into_iter().filter(|of| services.contains(&of.service)).collect())
            }
            not_made => not_made,
        })
    }

    fn by_brain(&self, services: &BTreeSet<&Name>) -> Result<BrainsCheck> {
        let config = &self.context.config;
        let state_dir = StateDir::open(config);
        let mut view = self.spread.view.clone();
        let mut brain = match self.context.check(&state_dir, Mode::Memory).decide(&mut view, true)? {
            Brain::Known(name) => name,
            other => return Ok(BrainsCheck::NotMade(other.sentence().trim_end_matches('.').to_owned())),
        };
        let deadline = Deadline::after(self.longest());
        let (mut asked, mut checks) = (BTreeSet::new(), 1);
        loop {
            let checked = if self.context.local_node.as_ref() == Some(&brain) {
                self.here(true)?
            } else {
                match self.ask(&brain, deadline) {
                    Ok(checked) => checked,
                    Err(refusal) => {
                        let why = format!("{brain}, the brain, cannot be asked ({})", refusal.why());
                        return Ok(BrainsCheck::NotMade(why));
                    }
                }
            };
            let all = |verdict| checked.services.iter().all(|of| of.verdict == verdict);
            let is_busy = checked.services.iter().any(|of| of.verdict == PromoteVerdict::Busy);
            let is_doubtful = |of: &MovedService| {
                services.contains(&of.service)
                    && matches!(of.verdict, PromoteVerdict::Blocked | PromoteVerdict::Unknown)
            };
            let is_unknown = checked.services.iter().any(is_doubtful);
            match checked.brain {
                // It says that another one is.
                Some(other) if all(PromoteVerdict::NotBrain) && other != brain => {
                    if !asked.insert(brain.clone()) && deadline.has_passed() {
                        return Ok(BrainsCheck::NotMade(format!("{brain} takes {other} for the brain")));
                    }
                    // A brain gives way in a check of its own.
                    if asked.contains(&other) {
                        std::thread::sleep(BUSY_INTERVAL);
                    }
                    brain = other;
                }
                _ if is_busy && !deadline.has_passed() => std::thread::sleep(BUSY_INTERVAL),
                _ if is_unknown && checks < MAX_CHECKS && !deadline.has_passed() => checks += 1,
                _ => return Ok(BrainsCheck::Made(checked.services)),
            }
        }
    }

    fn here(&self, if_brain: bool) -> Result<Checked> {
        let promoted = promote::check(self.context, if_brain)?;
        let brain = if let Some(Brain::Known(name)) = promoted.brain { Some(name) } else { None };
        Ok(Checked { services: promoted.services.into_iter().map(MovedService::from).collect(), brain })
    }

    fn ask(&self, brain: &Name, deadline: Deadline) -> Result<Checked, Refusal> {
        let Some(node) = self.context.config.nodes.get(brain) else {
            return Err(Refusal::Unclear("it is no node of the list".to_owned()));
        };
        let question = everywhere::Question {
            command: Question::Check.to_string(),
            schema: promote::PromoteFacts::SCHEMA,
            deadline,
            dead: None,
        };
        let read = |object: everywhere::Object| serde_json::from_value(object.value).ok();
        everywhere::ask(&self.context.remote(), (brain, node), &question, read)
    }

    /// How long a check takes at most that moves every service.
    fn longest(&self) -> Duration {
        let of = |service: &Service| {
            let wait = service.lease.as_ref().map_or(Duration::ZERO, |lease| lease.wait());
            service.timeout * 4 + service.inhale.unwrap_or_default() + wait
        };
        self.context.config.services.values().map(of).max().unwrap_or_default() + CHECK_OVERHEAD
    }
}
