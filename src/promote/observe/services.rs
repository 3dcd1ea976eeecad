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
use crate::service::{CommandResult, Condition, Instance, ServiceCommand, Verb, run_on_node};

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
        by_node.entry(question.instance.node_name).or_default().push(question);
    }
    for questions in by_node.into_values() {
        scope.spawn(move || ask_node(questions, output_mode));
    }
}

/// Asks one node: a `health` probe first where there is one, and the rest in one trip.
fn ask_node(questions: Vec<Question<'_>>, output_mode: OutputMode) {
    let (probed, plain): (Vec<_>, Vec<_>) = questions.into_iter().partition(|question| question.health.is_some());
    std::thread::scope(|scope| {
        for question in probed {
            scope.spawn(move || question.ask_health(output_mode));
        }
        ask_status(plain, output_mode);
    });
}

/// Asks one node for the status of services, in one trip.
fn ask_status(questions: Vec<Question<'_>>, output_mode: OutputMode) {
    if questions.len() <= 1 {
        // Others may ask the same node just now.
        return questions.into_iter().for_each(|question| question.ask_status(output_mode));
    }
    let Some(Instance { remote, node_name, node, .. }) = questions.first().map(|question| question.instance) else {
        return;
    };
    let mut commands = Vec::new();
    for Question { instance: Instance { service_name, service, .. }, deadline, .. } in &questions {
        commands.push(ServiceCommand { service_name, service, verb: Verb::Status, deadline: *deadline });
    }
    // A service takes up its answers when nobody has a question for it any more.
    let mut open: Vec<_> = questions.into_iter().map(Some).collect();
    run_on_node(remote, (node_name, node), &commands, &mut |index, result| {
        if let Some(question) = open[index].take() {
            question.answer(said(node_name, result.status, output_mode));
        }
    });
}

fn said(node: &Name, status: CommandResult, output_mode: OutputMode) -> InstanceReport {
    let condition = match status.condition {
        Condition::Running => "runs",
        Condition::Stopped => "does not run",
        Condition::Unknown => "unknown",
    };
    let detail = status.detail.as_deref().map(|detail| format!(", {detail}")).unwrap_or_default();
    output_mode.step(format_args!("{node}: status: {condition}{detail}"));
    status.into()
}

impl Question<'_> {
    fn ask_health(self, output_mode: OutputMode) {
        let status = || said(self.instance.node_name, self.instance.status(self.deadline), output_mode);
        let report = match self.health.map(|probe| probe_health(&self.instance, probe)) {
            Some(State::Alive) => InstanceReport::new(ServiceHealth::Healthy),
            Some(State::Dead) => match status() {
                InstanceReport { health: ServiceHealth::Healthy, .. } => InstanceReport::new(ServiceHealth::Unhealthy),
                other => other,
            },
            Some(State::Unknown) | None => status(),
        };
        self.answer(report);
    }

    fn ask_status(self, output_mode: OutputMode) {
        let status = self.instance.status(self.deadline);
        let report = said(self.instance.node_name, status, output_mode);
        self.answer(report);
    }

    /// The service may have been decided without this answer.
    fn answer(self, report: InstanceReport) {
        let _ = self.answer.send((self.instance.node_name.clone(), report));
    }
}

/// The state of a service on a node by its `health` probe.
pub(in crate::promote) fn probe_health(instance: &Instance<'_>, health: &Probe) -> State {
    let login = instance.remote.login(instance.node_name, instance.node);
    let target = Target { address: &instance.node.address, probe: health, login: Some(login), delay: Duration::ZERO };
    let mut state = State::Unknown;
    let asked = probe::ask(&[target], |_, answer| {
        state = answer.state;
        ControlFlow::Continue(())
    });
    asked.map_or(State::Unknown, |()| state)
}
