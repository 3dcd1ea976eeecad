//! The demonstration: five nodes on this machine, taken away one by one and four at once.
//!
//! ```sh
//! cargo run --release --example five_mirrors
//! ```
//!
//! It needs git, no root, no network but loopback and no configuration. Each node is a process group of its
//! own: a leader that listens on its port, runs the commands it receives there (as sshd does) and supervises
//! the bot (as systemd does), and `examples/watchdog.sh`, unchanged, with the protocol's intervals. A node is
//! taken away by SIGKILL to all of it. All measurements come from the bot alone, which writes a beat every
//! 10 ms.
//!
//! This one program plays all parts: as `mirror` it is mirror, as `call` it replaces ssh, as `bot` it
//! replaces systemctl. `CHECK_INTERVAL` and `SYNC_INTERVAL` change the pace.

use std::process::ExitCode;

#[path = "five_mirrors/beats.rs"]
mod beats;
#[path = "five_mirrors/bot.rs"]
mod bot;
#[path = "five_mirrors/field.rs"]
mod field;
#[path = "five_mirrors/node.rs"]
mod node;
#[path = "five_mirrors/play.rs"]
mod play;
#[path = "five_mirrors/stage.rs"]
mod stage;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some((program, arguments)) = words.split_first() else { return ExitCode::FAILURE };
    let done = match (program.rsplit('/').next().unwrap_or(program), arguments) {
        ("mirror", _) => return three_mirror::commands::main(),
        ("call", [port, command]) => return node::call(port, &format!("{} {command}", node::RUN)),
        ("bot", [verb]) => return node::call(&field::context(field::PORT), &format!("{} {verb}", node::BOT)),
        (_, ["node", parent]) => node::lead(parent),
        (_, ["hub", parent]) => node::hub(parent),
        (_, ["beat", parent]) => bot::beat(parent),
        (_, []) => return play::play(),
        _ => {
            eprintln!("five_mirrors takes no arguments");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("five_mirrors: {error:#}");
            ExitCode::FAILURE
        }
    }
}
