//! The output: a line for each event, and a display while nothing happens.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

pub(crate) struct Stage {
    begun: Instant,
    /// Drawn on stderr, and only on a terminal.
    bar: ProgressBar,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::new_spinner().with_style(style);
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { begun: Instant::now(), bar }
    }

    /// A line for an event.
    pub(crate) fn say(&self, what: &str) {
        self.print(&format!("{:7.2} s  {what}\n", self.begun.elapsed().as_secs_f64()));
    }

    /// Prints text unchanged. A closed stdout is no reason to stop.
    pub(crate) fn print(&self, text: &str) {
        self.bar.suspend(|| {
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
        });
    }

    /// What is being waited for.
    pub(crate) fn waiting(&self, what: &str) {
        self.bar.reset_elapsed();
        self.bar.set_message(what.to_owned());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
