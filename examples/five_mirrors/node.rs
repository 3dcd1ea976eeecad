//! A node: its leader, and the clients of the leader.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, getpid, getppid, kill_current_process_group, set_parent_process_death_signal};
use signal_hook::consts::TERM_SIGNALS;

use crate::field::{CLONE, FIELD, HOME, PORT, context};

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

/// The origin: a git server on a host of its own.
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
///
/// A request ends with a zero byte. Its answer is pieces of output, each after its length, then a length of
/// zero and the status.
fn serve(mut connection: TcpStream, bot: &Mutex<Option<Child>>) {
    let _ = connection.set_nodelay(true);
    let mut request = Vec::new();
    let mut byte = [0];
    while matches!(connection.read(&mut byte), Ok(1)) && byte != [0] {
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    if request.is_empty() {
        return;
    }
    let answered = match request.split_once(' ') {
        Some((RUN, command)) => run(command, &mut connection),
        Some((BOT, verb)) => look_after(bot, verb),
        _ => Err(anyhow::anyhow!("{request:?} is no request")),
    };
    let status = answered.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        NOT_REACHED
    });
    // The client may be gone by now.
    let _ = connection.write_all(&[0, 0, 0, 0, status]);
}

/// Runs a shell command, whose input is what the client sends.
fn run(command: &str, connection: &mut TcpStream) -> Result<u8> {
    let mut child = Command::new("sh")
        .args(["-c", &at_home(command)])
        .stdin(OwnedFd::from(connection.try_clone()?))
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = child.stdout.take().context("no output")?;
    let mut piece = [0; 16 * 1024];
    loop {
        let length = output.read(&mut piece)?;
        if length == 0 {
            break;
        }
        let sent = connection.write_all(&u32::try_from(length)?.to_be_bytes());
        if sent.and_then(|()| connection.write_all(&piece[..length])).is_err() {
            break;
        }
    }
    drop(output);
    Ok(child.wait()?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(NOT_REACHED))
}

/// On hosts of their own, all clones have the same path. Here a peer names its own, and means this node's.
fn at_home(command: &str) -> String {
    let (field, home) = (format!("{}/", context(FIELD)), context(HOME));
    let mut parts = command.split(&field);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('/').filter(|(_, rest)| rest.starts_with(CLONE)) {
            Some((_, rest)) => text += &format!("{home}/{rest}"),
            None => text += &format!("{field}{part}"),
        }
    }
    text
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

/// Sends a request to the leader on `port`, passes its input and the answer on, and exits with its status.
pub(crate) fn call(port: &str, request: &str) -> ExitCode {
    let ask = || -> Result<u8> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port.parse()?))?;
        connection.set_nodelay(true)?;
        connection.write_all(&[request.as_bytes(), &[0]].concat())?;
        let mut input = connection.try_clone()?;
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut input);
            let _ = input.shutdown(Shutdown::Write);
        });
        let mut output = std::io::stdout();
        loop {
            let mut length = [0; 4];
            connection.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length);
            if length == 0 {
                break;
            }
            std::io::copy(&mut (&connection).take(length.into()), &mut output)?;
            output.flush()?;
        }
        let mut status = [0];
        connection.read_exact(&mut status)?;
        Ok(status[0])
    };
    ask().unwrap_or(NOT_REACHED).into()
}
