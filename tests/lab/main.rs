//! Hosts that really die: the short set. `bench.rs` is the long one.
#![allow(clippy::unwrap_used)]

mod inside;
mod lab;
mod system;
mod truth;
mod wire;

use std::time::{Duration, Instant};

fn main() {
    inside::dispatch();
    if let Some(why) = lab::missing() { eprintln!("{why}"); return; }
    let t = Instant::now();
    let lab = lab::Lab::start(system::FAST).unwrap();
    eprintln!("up after {:?}: {:?}", t.elapsed(), lab.serving().unwrap());
    std::thread::sleep(Duration::from_secs(2));
    let c = lab.cpu().unwrap(); let t = Instant::now();
    std::thread::sleep(Duration::from_secs(5));
    eprintln!("cpu {:.3}", (lab.cpu().unwrap() - c).as_secs_f64() / t.elapsed().as_secs_f64());
    let old = lab.serving().unwrap().unwrap();
    let at = lab.kill(&[&old.node]).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    let truth = lab.truth().unwrap();
    let (new, first) = truth.first_other(at, &[old.clone()]).unwrap();
    eprintln!("{new:?} {} ms, double {}", (first - truth.last_of(&old).unwrap()) / 1_000_000, truth.double_ms(at));
    drop(truth);
    eprintln!("{}", lab.last_words());
    if std::env::args().any(|a| a == "stay") { std::thread::sleep(Duration::from_secs(600)); }
}
