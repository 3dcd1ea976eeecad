//! Errands to one node that come at about the same time go there in one trip.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Destination, Errand, Remote, Report, Task, trip};
use crate::clock::Deadline;
use crate::config::Node;
use crate::name::Name;

/// For how long errands are gathered: a fraction of what a trip takes.
const GATHERED_FOR: Duration = Duration::from_millis(2);

/// The errands that are waiting for company, by node.
#[derive(Debug, Default)]
pub(super) struct Gather {
    waiting: Mutex<BTreeMap<Name, Vec<Waiting>>>,
}

/// An errand that outlives the one who has it, whose thread need not be the one that makes the trip.
#[derive(Debug)]
struct Waiting {
    service: Option<Name>,
    task: OwnedTask,
    deadline: Deadline,
    act_deadline: Option<Deadline>,
    answer: Sender<Report>,
}

#[derive(Debug)]
enum OwnedTask {
    Ask(String),
    Await { status: String, running: bool },
    Prepare { status: String, before: String },
    Start { status: String, start: String, before: Option<String> },
    Stop { status: String, stop: String },
}

impl Remote {
    /// Carries out an errand, in one trip with others to the same node where they are gathered. `has_died`
    /// tells whether the node has fallen.
    pub(crate) fn carry_out(
        &self,
        (name, node): (&Name, &Node),
        errand: &Errand<'_>,
        has_died: fn(&Self, &Name, &Node) -> bool,
    ) -> Report {
        let mut answer = Report::default();
        let Some(gather) = &self.gather else {
            let has_died = || has_died(self, name, node);
            let to = Destination { name, node, has_died: &has_died };
            trip::run(self, &to, &[*errand], &mut |_, report| answer = report);
            return answer;
        };
        let (sender, report) = mpsc::channel();
        if gather.add(name, Waiting::new(errand, sender)) {
            std::thread::sleep(GATHERED_FOR);
            let (errands, remote, place) = (gather.take(name), self.clone(), (name.clone(), node.clone()));
            // One that hangs delays the others no longer than it takes to start a thread.
            let left = std::thread::Builder::new().spawn(move || make_trip(&remote, &place, &errands, has_died));
            drop(left);
        }
        // Without a thread there is no answer, and nothing shows that anything ran.
        report.recv().unwrap_or_default()
    }
}

fn make_trip(
    remote: &Remote,
    (name, node): &(Name, Node),
    waiting: &[Waiting],
    has_died: fn(&Remote, &Name, &Node) -> bool,
) {
    let errands: Vec<Errand<'_>> = waiting.iter().map(Waiting::errand).collect();
    let has_died = || has_died(remote, name, node);
    trip::run(remote, &Destination { name, node, has_died: &has_died }, &errands, &mut |index, report| {
        let _ = waiting[index].answer.send(report);
    });
}

impl Gather {
    /// Whether it is the first one for its node, with which the others go.
    fn add(&self, node: &Name, errand: Waiting) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let errands = waiting.entry(node.clone()).or_default();
        errands.push(errand);
        errands.len() == 1
    }

    fn take(&self, node: &Name) -> Vec<Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(node).unwrap_or_default()
    }
}

impl Waiting {
    fn new(errand: &Errand<'_>, answer: Sender<Report>) -> Self {
        let task = match errand.task {
            Task::Ask(status) => OwnedTask::Ask(status.to_owned()),
            Task::Await { status, running } => OwnedTask::Await { status: status.to_owned(), running },
            Task::Prepare { status, before } => {
                OwnedTask::Prepare { status: status.to_owned(), before: before.to_owned() }
            }
            Task::Start { status, start, before } => OwnedTask::Start {
                status: status.to_owned(),
                start: start.to_owned(),
                before: before.map(str::to_owned),
            },
            Task::Stop { status, stop } => OwnedTask::Stop { status: status.to_owned(), stop: stop.to_owned() },
        };
        let Errand { service, deadline, act_deadline, .. } = *errand;
        Self { service: service.cloned(), task, deadline, act_deadline, answer }
    }

    fn errand(&self) -> Errand<'_> {
        let task = match &self.task {
            OwnedTask::Ask(status) => Task::Ask(status),
            OwnedTask::Await { status, running } => Task::Await { status, running: *running },
            OwnedTask::Prepare { status, before } => Task::Prepare { status, before },
            OwnedTask::Start { status, start, before } => Task::Start { status, start, before: before.as_deref() },
            OwnedTask::Stop { status, stop } => Task::Stop { status, stop },
        };
        let Self { service, deadline, act_deadline, .. } = self;
        Errand { service: service.as_ref(), task, deadline: *deadline, act_deadline: *act_deadline }
    }
}
