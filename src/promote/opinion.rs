//! The second opinion: whether another node reaches the one that seems to be dead.

use std::sync::mpsc;

use crate::chain::Name;
use crate::deadline::Deadline;
use crate::exec::Exec;
use crate::service::Place;

/// Asks these nodes, all at once, to probe `suspect`; tells the first that finds it alive.
///
/// Each answers by its own node list. One that cannot be asked, or has no `mirror`, has no opinion.
pub(super) fn alive_for<'a>(others: &[Place<'a>], suspect: &Name, deadline: Deadline) -> Option<&'a Name> {
    let command = format!("mirror --quiet probe {suspect}");
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for place in others {
            let (tell, process) = (tell.clone(), place.remote.command(place.name, place.node, &command));
            scope.spawn(move || {
                let finished = Exec::new(process).run(deadline);
                let _ = tell.send(finished.is_ok_and(|finished| finished.success()).then_some(place.name));
            });
        }
        drop(tell);
        told.iter().flatten().next()
    })
}
