//! A node: its leader, and the clients of the leader.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, getpid, getppid, kill_current_process_group, set_parent_process_death_signal};
use signal_hook::consts::TERM_SIGNALS;

use crate::field::{CLONE, PORT, context};

/// Asks a leader to run a shell command.
pub(crate) const RUN: &str = "run";
/// Asks a leader about its bot, or to start or stop it.
pub(crate) const BOT: &str = "bot";
/// The status of ssh when it cannot reach a host.
const NOT_REACHED: u8 = 255;

/// Ends this process group when the demonstration ends, in whatever way.
fn end_with(parent: &str) -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new(TERM_SIGNALS)?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            let _ = kill_current_process_group(Signal::KILL);
        }
    });
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // It may have ended before the signal was set up.
    if getppid().map(|pid| pid.to_string()).as_deref() != Some(parent) {
        bail!("started by nobody");
    }
    Ok(())
}

/// The git server that all nodes share: a host of its own, which does not fall.
pub(crate) fn hub(parent: &str) -> Result<()> {
    end_with(parent)?;
    let port = format!("--port={}", context(PORT));
    let mut daemon = Command::new("git");
    daemon.args(["daemon", "--listen=127.0.0.1", &port, "--reuseaddr", "--export-all", "--enable=receive-pack"]);
    let ended = daemon.arg("--base-path=.").arg(".").status().context("git daemon")?;
    bail!("git daemon ended: {ended}")
}

/// Leads a node: its watchdog, its listener, its bot.
pub(crate) fn lead(parent: &str) -> Result<()> {
    end_with(parent)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, context(PORT).parse()?)).context("cannot listen")?;
    // In the clone, because the node list is the same for all and names no repository.
    let _watchdog = Command::new("watchdog.sh").current_dir(CLONE).spawn().context("watchdog.sh")?;
    let bot = Arc::new(Mutex::new(None));
    for connection in listener.incoming() {
        let (connection, bot) = (connection?, Arc::clone(&bot));
        std::thread::spawn(move || serve(connection, &bot));
    }
    Ok(())
}

/// Answers one request. A probe sends none: the connection is its answer.
fn serve(mut connection: TcpStream, bot: &Mutex<Option<Child>>) {
    let mut request = String::new();
    if connection.read_to_string(&mut request).is_err() || request.is_empty() {
        return;
    }
    let answered = match request.split_once(' ') {
        Some((RUN, command)) => run(command),
        Some((BOT, verb)) => look_after(bot, verb).map(|status| (status, Vec::new())),
        _ => Err(anyhow::anyhow!("{request:?} is no request")),
    };
    let (status, output) = answered.unwrap_or_else(|error| (NOT_REACHED, format!("{error:#}\n").into_bytes()));
    // The client may be gone by now.
    let _ = connection.write_all(&[&[status], output.as_slice()].concat());
}

fn run(command: &str) -> Result<(u8, Vec<u8>)> {
    let output = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).output()?;
    let status = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(NOT_REACHED);
    Ok((status, [output.stdout, output.stderr].concat()))
}

fn look_after(bot: &Mutex<Option<Child>>, verb: &str) -> Result<u8> {
    let mut bot = bot.lock().ok().context("a request broke off")?;
    let runs = match bot.as_mut() {
        Some(child) => child.try_wait()?.is_none(),
        None => false,
    };
    match (verb, bot.as_mut()) {
        ("status", _) => return Ok(u8::from(!runs)),
        ("start", _) if !runs => {
            let parent = getpid().to_string();
            let started =
                Command::new(std::env::current_exe()?).args(["beat", &parent]).stdin(Stdio::null()).spawn()?;
            *bot = Some(started);
        }
        ("stop", Some(child)) => {
            child.kill()?;
            child.wait()?;
        }
        _ => {}
    }
    Ok(0)
}

/// Sends a request to the leader on `port`, prints the answer and exits with its status.
pub(crate) fn call(port: &str, request: &str) -> ExitCode {
    let ask = || -> Result<Vec<u8>> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port.parse()?))?;
        connection.write_all(request.as_bytes())?;
        connection.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().unwrap_or_default();
    let Some((status, output)) = answer.split_first() else { return NOT_REACHED.into() };
    let _ = std::io::stdout().write_all(output);
    (*status).into()
}
