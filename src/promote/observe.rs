//! Looks at the nodes, and asks them for the services.
//!
//! One look at the nodes serves all services; then each node is asked once for all services that
//! have a question for it. A service takes up its own answers as they come, and waits for no other's.

mod brain;
mod nodes;
mod second_opinion;
mod services;

pub(super) use nodes::{Look, is_full_check_due, look_at_all, look_at_rest};
pub(super) use second_opinion::ask_second_opinion;
pub(super) use services::{Question, ask_services, probe_health};
