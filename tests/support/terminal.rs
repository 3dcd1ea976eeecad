//! A terminal of the kernel's, with somebody who looks at its screen.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use super::wait_for;

/// A terminal, and what it has been sent.
pub struct Terminal {
    keyboard: File,
    /// Kept open, so that the terminal outlives a program on it.
    line: OwnedFd,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    screen: vt100::Parser,
    bytes: Vec<u8>,
}

/// A program that has the terminal for its own. Dropped, it is killed.
pub struct OnTerminal(Child);

impl Terminal {
    /// With these columns and rows.
    pub fn new(columns: u16, rows: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let keyboard = openpt(flags).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let line = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let keyboard = File::from(keyboard);
        let seen = Seen { screen: vt100::Parser::new(rows, columns, 0), bytes: Vec::new() };
        let terminal = Self { keyboard, line, seen: Arc::new(Mutex::new(seen)) };
        terminal.resize(columns, rows);
        let (mut output, seen) = (terminal.keyboard.try_clone().unwrap(), Arc::clone(&terminal.seen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let mut seen = seen.lock().unwrap();
                seen.screen.process(&bytes[..count]);
                seen.bytes.extend(&bytes[..count]);
            }
        });
        terminal
    }

    /// As when a person changes the size of a window.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.seen.lock().unwrap().screen.screen_mut().set_size(rows, columns);
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.keyboard, size).unwrap();
    }

    /// Starts a program on it, as the shell of a person would.
    pub fn start(&self, mut command: Command) -> OnTerminal {
        let stream = || std::process::Stdio::from(self.line.try_clone().unwrap());
        command.stdin(stream()).stdout(stream()).stderr(stream());
        let line = self.line.as_raw_fd();
        // SAFETY: between fork and exec, the closure makes system calls only; the descriptor is open in the parent.
        unsafe {
            command.pre_exec(move || {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(std::os::fd::BorrowedFd::borrow_raw(line))?;
                Ok(())
            });
        }
        OnTerminal(command.spawn().unwrap())
    }

    /// Presses keys.
    pub fn press(&self, keys: &str) {
        (&self.keyboard).write_all(keys.as_bytes()).unwrap();
    }

    /// Looks at the screen.
    pub fn look<T>(&self, at: impl FnOnce(&vt100::Screen) -> T) -> T {
        at(self.seen.lock().unwrap().screen.screen())
    }

    /// The lines of the screen.
    pub fn lines(&self) -> Vec<String> {
        self.look(|screen| screen.contents().lines().map(str::to_owned).collect())
    }

    /// Waits until the screen shows these words.
    pub fn wait_until(&self, words: &str) -> Vec<String> {
        wait_for(&format!("the screen shows {words:?}"), || {
            let lines = self.lines();
            lines.iter().any(|line| line.contains(words)).then_some(lines)
        })
    }

    /// All that it was sent.
    pub fn sent(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap().bytes).into_owned()
    }

    /// Its modes, such as whether it echoes.
    pub fn modes(&self) -> String {
        let modes = tcgetattr(&self.line).unwrap();
        format!("{:?} {:?} {:?}", modes.input_modes, modes.output_modes, modes.local_modes)
    }
}

impl OnTerminal {
    /// Its process number.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    /// Waits for its end: the exit status, or 128 and the signal.
    pub fn end(mut self) -> i32 {
        let status = wait_for("the program on the terminal ends", || self.0.try_wait().unwrap());
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
