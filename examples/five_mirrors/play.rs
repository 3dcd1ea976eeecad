//! The play: one after another; then the origin for good, and four at once.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use three_mirror::chain::BRAIN;
use three_mirror::name::Name;
use three_mirror::output::columns;

use crate::beats::{self, Beats, Run};
use crate::field::{self, Field, Pace};
use crate::stage::Stage;

const SERVICE: &str = "bot";
/// The longest wait for a recovery, far longer than the promise.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(20);

const OWN_HOSTS: &str = "
To do the same on five hosts of your own:
  1. On each:  cargo install --path . --root /usr/local   (this directory; or copy the binary there)
  2. Copy examples/five-mirrors.toml to /etc/mirror/mirror.toml, put your nodes, your service and
     your repository in it, and copy it to all five, the same everywhere.
  3. Let root log in from each to each with a key, no password: ssh-keygen, ssh-copy-id, one login.
  4. Ask:  mirror chain check --survive 4 --live  and, on each,  mirror promote --dry-run
  5. Put your repository into ReadWritePaths of examples/systemd/mirror-breathe.service. On each:
     cp examples/systemd/mirror-* /etc/systemd/system/ && systemctl daemon-reload &&
     systemctl enable --now mirror-check.timer mirror-breathe.timer
  6. Turn one off, and watch:  journalctl -f -o cat -u mirror-check
";

/// One fall and its recovery.
struct Fall {
    fallen: Vec<String>,
    successor: String,
    without: Duration,
    /// Commits that the fallen nodes had made and breathed out.
    commits: Vec<String>,
    /// How many of them the last node has; none while that is open.
    held: Option<usize>,
}

impl Fall {
    fn held(&self) -> usize {
        self.held.unwrap_or(0)
    }
}

pub(crate) fn play() -> ExitCode {
    let signal = Arc::new(AtomicUsize::new(0));
    for number in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        let value = usize::try_from(number).unwrap_or(0);
        if let Err(error) = signal_hook::flag::register_usize(number, Arc::clone(&signal), value) {
            eprintln!("five_mirrors: {error}");
            return ExitCode::FAILURE;
        }
    }
    let played = Play::begin(&signal).and_then(|mut play| {
        let verdict = play.perform();
        if verdict.is_err() && signal.load(Ordering::Relaxed) == 0 {
            play.tell_errors();
        }
        verdict
    });
    // By now everything that was started has ended.
    match (signal.load(Ordering::Relaxed), played) {
        (0, Ok(true)) => ExitCode::SUCCESS,
        (0, Ok(false)) => ExitCode::FAILURE,
        (0, Err(error)) => {
            eprintln!("five_mirrors: {error:#}");
            ExitCode::FAILURE
        }
        (signal, _) => {
            eprintln!("five_mirrors: ended by signal {signal}; nothing is left behind");
            ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))
        }
    }
}

struct Play<'a> {
    signal: &'a AtomicUsize,
    stage: Stage,
    beats: Beats,
    logs: BTreeMap<String, Log>,
    field: Field,
    pace: Pace,
    promise: Duration,
    /// The chains, the one of the service first.
    hosts: Vec<String>,
    brains: Vec<String>,
    falls: Vec<Fall>,
}

/// The output of a node's watchdog so far.
struct Log {
    file: File,
    unread: String,
    /// How many checks ended.
    checks: usize,
    /// How many breaths ended, in step or alone.
    breaths: usize,
    /// The latest commit that it breathed out.
    exhaled: Option<String>,
}

impl<'a> Play<'a> {
    fn begin(signal: &'a AtomicUsize) -> Result<Self> {
        let config = field::node_list()?;
        let pace = Pace::of_environment(&config)?;
        let stage = Stage::new();
        stage.say(&format!("raising five nodes: a check every {} s, a breath every {} s", pace.check, pace.sync));
        stage.waiting("waiting for five nodes to come up");
        let mut field = Field::lay_out(&config, pace)?;
        field.start_hub()?;
        let mut logs = BTreeMap::new();
        for name in field.names() {
            field.boot(&name)?;
            let file = File::open(field.log(&name))?;
            logs.insert(name, Log { file, unread: String::new(), checks: 0, breaths: 0, exhaled: None });
        }
        let chain = |name| Ok::<_, anyhow::Error>(config.chain(name)?.iter().map(Name::to_string).collect());
        let (hosts, brains): (Vec<String>, Vec<String>) = (chain(SERVICE)?, chain(BRAIN)?);
        let beats = Beats::of(&field.beats())?;
        let (promise, falls) = (config.cycle.recovery, Vec::new());
        Ok(Self { signal, stage, beats, logs, field, pace, promise, hosts, brains, falls })
    }

    /// Whether every promise was kept.
    fn perform(&mut self) -> Result<bool> {
        let head = self.hosts[0].clone();
        self.until(&format!("the bot to run on {head}"), |play| Ok(play.serving() == Some(&head)))?;
        self.stage.say(&format!("{SERVICE} runs on {head}"));
        while self.living().len() > 1 {
            let serving = self.serving().context("nobody serves")?.clone();
            self.fall(vec![serving])?;
        }
        self.count_what_is_held()?;

        // From here on the nodes have each other alone.
        self.field.lose_hub()?;
        self.stage.say("the origin is gone for good, with its disk");
        let fallen: Vec<String> = self.field.names().into_iter().filter(|name| !self.field.runs(name)).collect();
        self.stage.say(&format!("bringing back {}", fallen.join(", ")));
        for name in &fallen {
            self.field.boot(name)?;
        }
        self.breathe(&fallen)?;

        // The node that is left is last in the brain chain; with the original's chains it had no brain.
        let last = self.brains.last().context("no brains")?.clone();
        let four: Vec<String> = self.field.names().into_iter().filter(|name| *name != last).collect();
        self.fall(four)?;
        self.count_what_is_held()?;
        Ok(self.conclude())
    }

    /// Takes nodes away, the serving one among them, and waits until another one serves.
    fn fall(&mut self, fallen: Vec<String>) -> Result<()> {
        let serving = self.serving().context("nobody serves")?.clone();
        let (mut last, before) =
            (self.logs[&serving].exhaled.clone(), self.breathed_out(std::slice::from_ref(&serving))?.len());
        // A breath may carry the commits of others alone.
        self.until(&format!("{serving} to breathe out what it does"), |play| {
            let exhaled = &play.logs[&serving].exhaled;
            if *exhaled == last {
                return Ok(false);
            }
            last.clone_from(exhaled);
            Ok(play.breathed_out(std::slice::from_ref(&serving))?.len() > before)
        })?;
        // The worst moment: the node that must notice has just checked.
        let brain = self.brains.iter().find(|name| self.field.runs(name) && !fallen.contains(name));
        let brain = brain.context("no brain would be left")?.clone();
        let checks = self.logs[&brain].checks;
        self.until(&format!("a check of {brain} to end"), |play| Ok(play.logs[&brain].checks > checks))?;
        self.field.kill(&fallen)?;
        self.stage.say(&format!("SIGKILL to all of {}", fallen.join(", ")));
        self.beats.read()?;
        let count = self.beats.runs.len();
        let before = self.beats.latest().context("no beats")?.clone();
        self.until("another node to serve", |play| Ok(play.beats.runs.len() > count))?;
        let after = self.beats.latest().context("no beats")?.clone();
        let without = beats::gap(&before, &after);
        let successor = after.node;
        let commits = self.breathed_out(&fallen)?;
        self.stage.say(&format!("{SERVICE} beats on {successor}, after {:.2} s", without.as_secs_f64()));
        self.falls.push(Fall { fallen, successor, without, commits, held: None });
        Ok(())
    }

    /// The commits of these nodes that they said to have breathed out.
    fn breathed_out(&self, names: &[String]) -> Result<Vec<String>> {
        let mut commits = Vec::new();
        for (name, commit) in names.iter().filter_map(|name| Some((name, self.logs[name].exhaled.as_ref()?))) {
            commits.extend(self.field.made_by(name, commit)?);
        }
        Ok(commits)
    }

    /// Looks on the last node for the commits of all nodes that have fallen.
    fn count_what_is_held(&mut self) -> Result<()> {
        let survivor = self.living().first().context("nobody is left")?.clone();
        self.breathe(std::slice::from_ref(&survivor))?;
        let held: HashSet<String> = self.field.held(&survivor)?.into_iter().collect();
        for fall in self.falls.iter_mut().filter(|fall| fall.held.is_none()) {
            fall.held = Some(fall.commits.iter().filter(|commit| held.contains(*commit)).count());
        }
        Ok(())
    }

    /// Waits until each of these nodes has breathed once more, from inhale to exhale.
    fn breathe(&mut self, names: &[String]) -> Result<()> {
        // The first breath may have begun before; the second one has not.
        let wanted: Vec<(String, usize)> =
            names.iter().map(|name| (name.clone(), self.logs[name].breaths + 2)).collect();
        self.until(&format!("{} to breathe", names.join(", ")), |play| {
            Ok(wanted.iter().all(|(name, breaths)| play.logs[name].breaths >= *breaths))
        })
    }

    /// Shows what happens until it is `done`.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        self.stage.waiting(&format!("waiting for {what}"));
        let patience = PATIENCE + Duration::from_secs_f64(4.0 * self.pace.sync);
        let begun = Instant::now();
        loop {
            if self.signal.load(Ordering::Relaxed) != 0 {
                bail!("interrupted");
            }
            self.beats.read()?;
            self.listen()?;
            if done(self)? {
                return Ok(());
            }
            if begun.elapsed() > patience {
                bail!("waited {} s in vain for {what}", patience.as_secs());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Reads the output of the watchdogs, and shows the notable events.
    fn listen(&mut self) -> Result<()> {
        for (name, log) in &mut self.logs {
            log.file.read_to_string(&mut log.unread)?;
            while let Some((line, rest)) = log.unread.split_once('\n') {
                let said: Value = serde_json::from_str(line).with_context(|| format!("{name} said {line:?}"))?;
                log.unread = rest.to_owned();
                let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
                match text(&said, "schema").split('/').next() {
                    Some("mirror.promote") => {
                        log.checks += 1;
                        let services = said["services"].as_array().into_iter().flatten();
                        let moved = services.filter(|s| !["in-place", "not-brain"].contains(&&*text(s, "verdict")));
                        for service in moved {
                            self.stage.say(&format!("  the brain, {name}: {}", text(service, "reason")));
                        }
                    }
                    Some("mirror.breathe") => {
                        let verdict = text(&said, "verdict");
                        log.breaths += usize::from(["in-step", "alone"].contains(&&*verdict));
                        if verdict != "in-step" {
                            self.stage.say(&format!("  {name}: {}", text(&said, "reason")));
                        }
                        if let Some(commits @ 1..) = said["exhale"]["commits"].as_u64() {
                            let copies = said["copies"].as_u64().unwrap_or(0);
                            let copies = match copies {
                                0 => "the origin".to_owned(),
                                1 => "1 other node".to_owned(),
                                copies => format!("{copies} other nodes"),
                            };
                            self.stage.say(&format!("  {name} breathed out {} to {copies}", count(commits)));
                            log.exhaled = said["exhale"]["to"].as_str().map(str::to_owned);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The table, and whether every promise was kept.
    fn conclude(&self) -> bool {
        let mut rows =
            vec![["taken away", "took over", "without service", "breathed out", "held"].map(str::to_owned).to_vec()];
        rows.extend(self.falls.iter().map(|fall| {
            let without = format!("{:.2} s", fall.without.as_secs_f64());
            let commits = count(fall.commits.len() as u64);
            vec![fall.fallen.join(", "), fall.successor.clone(), without, commits, fall.held().to_string()]
        }));
        let promise = self.promise.as_secs_f64();
        let slow = self.falls.iter().filter(|fall| fall.without >= self.promise).count();
        let lost: usize = self.falls.iter().map(|fall| fall.commits.len() - fall.held()).sum();
        let at_once = self.beats.at_once().map(|(one, other)| format!("{} and {}", one.node, other.node));
        let says = |good: bool, yes: String, no: String| {
            format!("  {} {}\n", if good { "ok" } else { "NO" }, if good { yes } else { no })
        };
        self.stage.print(&format!(
            "\n{}\n{}{}{}",
            columns(&rows),
            says(
                slow == 0,
                format!("every recovery took under {promise} s"),
                format!("{slow} took {promise} s or longer")
            ),
            says(
                lost == 0,
                "no commit was lost, with the origin and without it".to_owned(),
                format!("{lost} commits were lost")
            ),
            says(
                at_once.is_none(),
                "no two instances ever ran at once".to_owned(),
                format!("{} ran at once", at_once.as_deref().unwrap_or_default())
            ),
        ));
        let kept = slow == 0 && lost == 0 && at_once.is_none();
        if kept {
            self.stage.print(OWN_HOSTS);
        }
        kept
    }

    /// The last lines of every node's log, to find out what went wrong.
    fn tell_errors(&self) {
        for name in self.field.names() {
            for line in fs::read_to_string(self.field.errors(&name)).unwrap_or_default().lines().rev().take(5) {
                eprintln!("{name}: {line}");
            }
        }
    }

    fn serving(&self) -> Option<&String> {
        self.beats.latest().map(|run: &Run| &run.node).filter(|name| self.field.runs(name))
    }

    fn living(&self) -> Vec<String> {
        self.field.names().into_iter().filter(|name| self.field.runs(name)).collect()
    }
}

fn count(commits: u64) -> String {
    format!("{commits} commit{}", if commits == 1 { "" } else { "s" })
}
