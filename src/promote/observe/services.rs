//! Asks nodes whether services run there.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc::Sender;
use std::thread::Scope;
use std::time::Duration;

use crate::clock::Deadline;
use crate::config::Probe;
use crate::leader::State;
use crate::name::Name;
use crate::output::OutputMode;
use crate::probe::{self, Target};
use crate::promote::observed::{InstanceReport, ServiceHealth};
use crate::service::{Condition, Instance};

/// A question to one node about one service.
pub(in crate::promote) struct Question<'a> {
    /// The service on the node.
    pub instance: Instance<'a>,
    /// Its `health` probe, where that is to be asked too.
    pub health: Option<&'a Probe>,
    /// By when the answer must have come.
    pub deadline: Deadline,
    /// Where the answer goes.
    pub answer: Sender<(Name, InstanceReport)>,
}

/// Asks each node once for all services that have a question for it; the answers go to their services
/// as they come.
pub(in crate::promote) fn ask_services<'scope, 'a: 'scope>(
    scope: &'scope Scope<'scope, '_>,
    questions: Vec<Question<'a>>,
    output_mode: OutputMode,
) {
    let mut by_node: BTreeMap<&Name, Vec<Question<'a>>> = BTreeMap::new();
    for question in questions {
        by_node.entry(question.instance.name).or_default().push(question);
    }
    for questions in by_node.into_values() {
        scope.spawn(move || ask_node(questions, output_mode));
    }
}

/// Asks one node, with one command for each service.
fn ask_node(mut questions: Vec<Question<'_>>, output_mode: OutputMode) {
    let last = questions.pop();
    std::thread::scope(|scope| {
        for question in questions {
            scope.spawn(move || question.ask(output_mode));
        }
        if let Some(question) = last {
            question.ask(output_mode);
        }
    });
}

impl Question<'_> {
    fn ask(self, output_mode: OutputMode) {
        let report = match self.health.map(|probe| probe_health(&self.instance, probe)) {
            Some(State::Alive) => InstanceReport::new(ServiceHealth::Healthy),
            Some(State::Dead) => match self.ask_status(output_mode) {
                InstanceReport { health: ServiceHealth::Healthy, .. } => InstanceReport::new(ServiceHealth::Unhealthy),
                other => other,
            },
            Some(State::Unknown) | None => self.ask_status(output_mode),
        };
        // The service may have been decided without this answer.
        let _ = self.answer.send((self.instance.name.clone(), report));
    }

    fn ask_status(&self, output_mode: OutputMode) -> InstanceReport {
        let status = self.instance.status(self.deadline);
        let condition = match status.condition {
            Condition::Running => "runs",
            Condition::Stopped => "does not run",
            Condition::Unknown => "unknown",
        };
        let detail = status.detail.as_deref().map(|detail| format!(", {detail}")).unwrap_or_default();
        output_mode.step(format_args!("{}: status: {condition}{detail}", self.instance.name));
        status.into()
    }
}

/// The state of a service on a node by its `health` probe.
pub(in crate::promote) fn probe_health(instance: &Instance<'_>, health: &Probe) -> State {
    let login = instance.remote.login(instance.name, instance.node);
    let target = Target { address: &instance.node.address, probe: health, login: Some(login), delay: Duration::ZERO };
    let mut state = State::Unknown;
    let asked = probe::ask(&[target], |_, answer| {
        state = answer.state;
        ControlFlow::Continue(())
    });
    asked.map_or(State::Unknown, |()| state)
}
