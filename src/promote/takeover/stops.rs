//! The stops that a takeover sends once the register names no node any more.

use std::sync::mpsc::{self, RecvTimeoutError};

use super::{Acquisition, Refusal, Takeover};
use crate::clock::{BootInstant, Deadline};
use crate::lease::{Stopped, TakeoverStep};
use crate::name::Name;
use crate::promote::outcome::Step;
use crate::promote::steps::{StopResult, still_runs, stop};
use crate::service::Instance;

/// What became of the stops so far.
#[derive(Default)]
pub(super) struct Stops {
    confirmed: Vec<Stopped>,
    steps: Vec<Step>,
}

impl Stops {
    /// Those that count for the take rule.
    pub(super) fn confirmed(&self) -> &[Stopped] {
        &self.confirmed
    }

    /// In the order of their end.
    pub(super) fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    /// A node that said that the service runs there, did not confirm its stop, and says so still.
    pub(super) fn still_running(&self, instances: &[(Instance<'_>, bool)], deadline: Deadline) -> Option<Name> {
        let confirmed = |node: &Name| self.confirmed.iter().any(|stopped| stopped.node == *node);
        let mut silent = instances.iter().filter(|(instance, runs)| *runs && !confirmed(instance.node_name));
        silent.find(|(instance, _)| still_runs(instance, deadline)).map(|(instance, _)| instance.node_name.clone())
    }
}

impl Takeover<'_> {
    /// Stops the service on all of these nodes at once, and returns when the lease may be granted and
    /// every node that said that it ran there has said what became of it. The others have no longer
    /// than the wait lasts.
    pub(super) fn stop_and_wait(
        &mut self,
        instances: &[(Instance<'_>, bool)],
        wanted: &Acquisition<'_>,
        stops: &mut Stops,
    ) -> Result<(), Refusal> {
        let left = BootInstant::now().until(self.wait_ends());
        let _shown = self.goal.request().waits.begin(self.goal.name(), left);
        let timeout = self.goal.service().timeout;
        std::thread::scope(|scope| {
            let (sender, results) = mpsc::channel::<StopResult>();
            // Where the wait is over already, a node that may not run it need not be asked.
            let asked: Vec<_> = instances.iter().filter(|(_, runs)| *runs || !left.is_zero()).collect();
            for (instance, runs) in &asked {
                let sender = sender.clone();
                let deadline = Deadline::after(if *runs { timeout } else { timeout.min(left) });
                scope.spawn(move || sender.send(stop(instance, deadline)));
            }
            drop(sender);
            let mut under_way = asked.len();
            loop {
                let TakeoverStep::Wait { until, .. } = self.next(wanted, stops)? else {
                    if under_way == 0 {
                        return Ok(());
                    }
                    // The lease could be granted, but a stop is still under way.
                    match results.recv() {
                        Ok(result) => self.add_stop(result, stops),
                        Err(_) => return Ok(()),
                    }
                    under_way -= 1;
                    continue;
                };
                match results.recv_timeout(BootInstant::now().until(until)) {
                    Ok(result) => {
                        self.add_stop(result, stops);
                        under_way -= 1;
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(BootInstant::now().until(until)),
                }
            }
        })
    }

    fn add_stop(&mut self, result: StopResult, stops: &mut Stops) {
        let StopResult { step, issued, answered } = result;
        self.goal.request().output_mode.step(format_args!("{}: {:?}: {:?}", step.node, step.step, step.outcome));
        if answered {
            let stopped = Stopped { node: step.node.clone(), issued };
            self.heard(&stopped);
            stops.confirmed.push(stopped);
        }
        stops.steps.push(step);
    }
}
