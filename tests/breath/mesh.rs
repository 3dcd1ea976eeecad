//! Breaths with other nodes, without an origin.

#![allow(clippy::needless_range_loop, reason = "a node is its number")]

#[path = "mesh/crashes.rs"]
mod crashes;
#[path = "mesh/growth.rs"]
mod growth;
#[path = "mesh/hooks.rs"]
mod hooks;
#[path = "mesh/net.rs"]
mod net;
#[path = "mesh/origin.rs"]
mod origin;
#[path = "mesh/races.rs"]
mod races;
#[path = "mesh/resolutions.rs"]
mod resolutions;
#[path = "mesh/rules.rs"]
mod rules;
#[path = "mesh/simulation.rs"]
mod simulation;
#[path = "mesh/torn.rs"]
mod torn;
#[path = "mesh/versions.rs"]
mod versions;
