//! Breaths in real repositories, with the git that is found first in `PATH`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "breath/changed.rs"]
mod changed;
#[path = "breath/clones.rs"]
mod clones;
#[path = "breath/inhale.rs"]
mod inhale;
#[path = "breath/kills.rs"]
mod kills;
#[path = "breath/left_out.rs"]
mod left_out;
#[path = "breath/leftovers.rs"]
mod leftovers;
#[path = "breath/mesh.rs"]
mod mesh;
#[path = "breath/parked.rs"]
mod parked;
#[path = "breath/private.rs"]
mod private;
#[path = "breath/refusals.rs"]
mod refusals;
#[path = "breath/remotes.rs"]
mod remotes;
#[path = "breath/replays.rs"]
mod replays;
#[path = "breath/submodules.rs"]
mod submodules;
#[path = "breath/transfers.rs"]
mod transfers;
#[path = "breath/trouble.rs"]
mod trouble;
#[path = "breath/uncommitted.rs"]
mod uncommitted;
#[path = "breath/world.rs"]
mod world;
