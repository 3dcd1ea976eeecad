//! Failover for a handful of servers with nothing but ssh, git and a list of nodes.

pub mod breath;
pub mod deadline;
pub mod exec;
pub mod git;
