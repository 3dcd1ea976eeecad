//! All tests that share this process: one binary, so that the library is linked once.
//!
//! A file is a subject. Two kinds have a binary of their own: the breath, whose tests call the library
//! with a changed environment, and the laboratory, whose hosts need the machine.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod breathe_over_ssh;
mod completions;
mod config;
mod decide;
mod examples;
mod fuzz;
mod generated;
mod hold;
mod lease;
mod lease_model;
mod lease_simulation;
mod node_list;
mod output;
mod pause;
mod probe;
mod promote;
mod readme;
mod register;
mod remote;
mod schema;
mod support;
mod view;
mod whois_brain;
