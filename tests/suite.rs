//! All tests that share this process: one binary, so that the library is linked once.
//!
//! A file is a subject. Others have a binary of their own: the breath, whose tests call the library with a
//! changed environment; the lease's model, whose memory would slow down every fork here; and the
//! laboratory, which brings up hosts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod at_work;
mod beat;
mod breathe_over_ssh;
mod chain_check;
mod completions;
mod config;
mod decisions;
mod drain;
mod everywhere;
mod examples;
mod fuzz;
mod gate;
mod generated;
mod hold;
mod lease;
mod mesh_over_ssh;
mod node_list;
mod notify;
mod output;
mod page;
mod pause;
mod picture;
mod probe;
mod promote;
mod readme;
mod register;
mod remote;
mod rollout;
mod schema;
mod state;
mod status;
mod support;
mod view;
mod watch;
mod whois_brain;
