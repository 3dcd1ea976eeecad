//! Failover for a handful of servers with nothing but ssh, git and a list of nodes.
//!
//! Data flows one way: configuration → chain → view → decision → action → report.
//!
//! - [`config`] reads the node list into a [`config::Config`] in which every default is filled in;
//!   [`chain`] knows what its chains survive.
//! - [`view`] asks the nodes through [`probe`], or reads what `mirror probe` printed.
//! - [`leader`] decides who leads, by chain, view and beats, and [`target`] where a service belongs. Both are
//!   pure: no clock, no socket, no file. [`at_work`] asks the nodes for their beats, and leaves this node's.
//! - [`promote`] carries a decision out through [`service`] and [`remote`]; [`sync`] is the other
//!   act, through [`git`].
//! - [`lease`] rules who may run a service where that is not left to chance. It is pure too; its one
//!   value is in a [`register`]: a git ref, an etcd key or a file; [`lease::client`] opens the one that
//!   the configuration names, and [`hold`] runs a service no longer than it is granted.
//! - [`gate`] is the other end of [`remote`]: the forced command of a node's key.
//! - [`notices`] spreads small facts that every node must know: which nodes are drained.
//! - [`pause`] is the switch for maintenance, [`state::history`] what happened on this node.
//! - [`output`] writes one object and tells the exit status.
//!
//! A command is one file in [`commands`], which gathers, calls and reports; `commands/whois_brain.rs` is the
//! one to read first. [`exec`] is the only place that starts a process.

pub mod at_work;
pub mod chain;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod exec;
pub mod fsutil;
pub mod gate;
pub mod git;
mod hex;
pub mod hold;
pub mod http;
pub mod leader;
pub mod lease;
pub mod link;
pub mod links;
pub mod local_node;
pub mod name;
pub mod notices;
pub mod output;
pub mod pause;
pub mod probe;
pub mod promote;
pub mod register;
pub mod remote;
pub mod service;
pub mod state;
pub mod sync;
pub mod target;
pub mod template;
pub mod usage_error;
pub mod view;
