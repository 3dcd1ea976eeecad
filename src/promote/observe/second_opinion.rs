//! Asks other nodes about one that ran the service and seems dead from here.

use std::sync::mpsc;

use crate::chain::Name;
use crate::deadline::Deadline;
use crate::exec::Exec;
use crate::promote::observed::SecondOpinion;
use crate::service::Instance;

/// Asks these nodes, all at once, to probe the node.
///
/// Each answers by its own node list. One that cannot be asked, or has no `mirror`, has no opinion.
pub(in crate::promote) fn ask_second_opinion(of: &Name, others: &[Instance<'_>], deadline: Deadline) -> SecondOpinion {
    let command = format!("mirror --quiet probe {of}");
    let (sender, opinions) = mpsc::channel();
    std::thread::scope(|scope| {
        for other in others {
            let (sender, process) = (sender.clone(), other.remote.command(other.name, other.node, &command));
            scope.spawn(move || {
                let finished = Exec::new(process).run(deadline);
                let _ = sender.send(finished.is_ok_and(|finished| finished.success()).then(|| other.name.clone()));
            });
        }
        drop(sender);
        SecondOpinion { of: of.clone(), alive_for: opinions.iter().flatten().next() }
    })
}
