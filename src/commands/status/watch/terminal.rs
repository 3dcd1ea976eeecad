//! The terminal: its other screen, no echo, a key at a time, and all of it as before at the end.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::Event;

/// The other screen, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Where a terminal does not know its size.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Dropped, it is as it was before.
pub(super) struct Terminal {
    /// Where keys come from; none where this process has no terminal for them.
    keys: Option<(Arc<File>, Termios)>,
    is_entered: bool,
}

impl Terminal {
    pub(super) fn enter() -> io::Result<Self> {
        let keys = keyboard().and_then(|file| {
            let before = tcgetattr(&file).ok()?;
            Some((Arc::new(file), before))
        });
        let mut terminal = Self { keys, is_entered: false };
        terminal.enter_again();
        Ok(terminal)
    }

    pub(super) fn enter_again(&mut self) {
        if let Some((file, before)) = &self.keys {
            let mut modes = before.clone();
            // Signals stay: the terminal itself turns Ctrl-C and Ctrl-Z into them.
            modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            let _ = tcsetattr(file, OptionalActions::Drain, &modes);
        }
        self.is_entered = true;
        let _ = self.write(ENTER);
    }

    pub(super) fn leave(&mut self) {
        if !std::mem::take(&mut self.is_entered) {
            return;
        }
        let _ = self.write(LEAVE);
        if let Some((file, before)) = &self.keys {
            // What was typed meanwhile is not for the shell.
            let _ = tcsetattr(file, OptionalActions::Flush, before);
        }
    }

    /// Its columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(io::stdout().as_fd()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or(USUAL_SIZE, |size| (size.ws_col.into(), size.ws_row.into()))
    }

    pub(super) fn write(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Sends what is typed, as long as anybody wants it.
    pub(super) fn send_keys(&self, to: Sender<Event>) {
        let Some((file, _)) = &self.keys else { return };
        let file = Arc::clone(file);
        std::thread::spawn(move || {
            let mut bytes = [0; 64];
            while let Ok(count @ 1..) = (&*file).read(&mut bytes) {
                if to.send(Event::Keys(bytes[..count].to_vec())).is_err() {
                    return;
                }
            }
        });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Whether q is among the keys. A key without a letter, such as an arrow, comes as a sequence that may hold one.
pub(super) fn has_q(keys: &[u8]) -> bool {
    let mut keys = keys.iter();
    while let Some(key) = keys.next() {
        match key {
            b'q' | b'Q' => return true,
            0x1b if matches!(keys.as_slice().first(), Some(b'[' | b'O')) => {
                keys.next();
                keys.by_ref().find(|byte| (0x40..=0x7e).contains(*byte));
            }
            _ => {}
        }
    }
    false
}

fn keyboard() -> Option<File> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return stdin.as_fd().try_clone_to_owned().ok().map(File::from);
    }
    OpenOptions::new().read(true).write(true).open("/dev/tty").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_q_counts_wherever_it_is_typed_and_an_arrow_is_none() {
        for keys in ["q", "Q", "xq", "x\x1b[Aq", "\x1b[15~q", "\x1bq"] {
            assert!(has_q(keys.as_bytes()), "{keys:?}");
        }
        for keys in ["", "x", "\x1b[A", "\x1bOq", "\x1b", "\x1b[", "\r"] {
            assert!(!has_q(keys.as_bytes()), "{keys:?}");
        }
    }
}
