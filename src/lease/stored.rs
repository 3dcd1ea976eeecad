//! What this machine knows of a lease from one command to the next: the view, in the state directory.

use super::LeaseView;
use crate::clock::BootInstant;
use crate::fsutil::Durability;
use crate::name::Name;
use crate::state::StateDir;
use crate::state::history::{self, Entry, Event};

/// The view that is kept. It outlives a reboot, though its times do not: without it, a register that was restored from
/// a backup looks like an honest one.
pub fn load(state_dir: &StateDir, service: &Name) -> LeaseView {
    stored(state_dir, service).unwrap_or_default()
}

fn stored(state_dir: &StateDir, service: &Name) -> Option<LeaseView> {
    let (mut lease_view, is_of_this_boot): (LeaseView, bool) = state_dir.read_lasting(&file(service))?;
    if !is_of_this_boot || lease_view.is_ahead_of(BootInstant::now()) {
        lease_view.forget_times();
    }
    Some(lease_view)
}

/// Keeps what is known of a lease, and writes down what is new about it.
pub fn keep(state_dir: &StateDir, local_node: Option<&Name>, service: &Name, lease_view: &LeaseView) {
    if is_news(state_dir, service, lease_view)
        && let Some(value) = lease_view.value()
    {
        let reason = format!("The lease of {service} is {}.", value.done());
        let entry = Entry {
            service: Some(service.clone()),
            node: Some(value.holder.clone()),
            verdict: history::slug(value.state),
            epoch: Some(value.epoch),
            why: value.why.clone(),
            ..Entry::new(local_node, Event::Lease, reason)
        };
        history::record(state_dir, &entry);
    }
}

/// Keeps it, unless another process has seen a later value meanwhile; tells whether its value is news.
fn is_news(state_dir: &StateDir, service: &Name, lease_view: &LeaseView) -> bool {
    // Without a lock it is kept all the same: the worst is that the older of two values stays.
    let Some(_lock) = state_dir.lock_soon(&format!("{}.lock", file(service))) else { return false };
    let stored = stored(state_dir, service);
    if stored.as_ref().is_some_and(|stored| stored.is_later_than(lease_view)) {
        return false;
    }
    let is_news = stored.as_ref().and_then(LeaseView::value) != lease_view.value();
    let durability = if is_news { Durability::Durable } else { Durability::Cached };
    let mut lease_view = lease_view.clone();
    // Another process of this node may be waiting for the same claim.
    lease_view.adopt_wait(&stored.unwrap_or_default());
    state_dir.put(&file(service), &lease_view, durability);
    is_news
}

fn file(service: &Name) -> String {
    format!("lease-{service}.json")
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_frozen_process_with_the_lock_of_a_lease_view_delays_nobody() {
        let directory = tempfile::tempdir().expect("a directory");
        let text = format!(
            "state = \"{}\"\nnodes = {{ a = \"192.0.2.1\" }}\nchains = {{ brain = [\"a\"] }}",
            directory.path().display()
        );
        let state_dir =
            StateDir::open(&crate::config::parse(&directory.path().join("list"), &text).expect("parses").config);
        let lock = File::create(directory.path().join("lease-a.json.lock")).expect("a file");
        lock.lock().expect("a lock");
        let (done, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            keep(&state_dir, None, &"a".parse().expect("a name"), &LeaseView::default());
            done.send(())
        });
        end.recv_timeout(Duration::from_secs(60)).expect("it goes on");
    }
}
