//! Failover for a handful of servers with nothing but ssh, git and a list of nodes.

pub mod chain;
pub mod config;
pub mod deadline;
pub mod decide;
pub mod exec;
pub mod misuse;
pub mod own;
pub mod placeholder;
pub mod probe;
pub mod remote;
pub mod report;
pub mod service;
pub mod state;
pub mod view;
pub mod brain;
pub mod cli;
pub mod cmd;
mod complete;
pub mod promote;
