//! Failover for a handful of servers with nothing but ssh, git and a list of nodes.

pub mod chain;
pub mod config;
pub mod deadline;
pub mod decide;
pub mod exec;
pub mod misuse;
pub mod placeholder;
pub mod probe;
pub mod remote;
pub mod service;
