#[path = "mesh/net.rs"]
mod net;
#[path = "mesh/rules.rs"]
mod rules;
#[path = "mesh/simulation.rs"]
mod simulation;
