//! What keeps the service alive on the nodes: `mirror`, or what people would use instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use three_mirror::config::{self, Config};

use crate::lab::{Lab, NODES, script};
use crate::truth;
use crate::wire::Wire;

/// A system, with what can be set in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum System {
    /// `mirror` with one of the example node lists, driven by examples/watchdog.sh.
    Mirror {
        /// The node list in examples/.
        example: &'static str,
        /// Another `failback` than the example's.
        failback: Option<&'static str>,
    },
}

/// The protocol's own numbers: a check every 5 s, a breath every 12 s.
pub(crate) const PROTOCOL: System = System::Mirror { example: "five-mirrors.toml", failback: None };
/// A check every 200 ms or faster.
pub(crate) const FAST: System = System::Mirror { example: "fast.toml", failback: None };

impl System {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Mirror { example: "fast.toml", .. } => "mirror fast".to_owned(),
            Self::Mirror { .. } => "mirror protocol".to_owned(),
        }
    }

    /// The same with another time until a service returns to a better node.
    pub(crate) fn failing_back_after(&self, failback: &'static str) -> Self {
        let mut changed = self.clone();
        let Self::Mirror { failback: place, .. } = &mut changed;
        *place = Some(failback);
        changed
    }

    /// How often it looks.
    pub(crate) fn check(&self) -> Result<Duration> {
        Ok(self.config()?.cycle.check)
    }

    /// Moves the service as a person would, to a living node.
    pub(crate) fn move_to(&self, lab: &Lab, node: &str) -> Result<()> {
        // The brain may be at work just now.
        for _ in 0..100 {
            let done = lab.run(brain(lab)?, &format!("mirror promote --to {node} --json"))?;
            let said = String::from_utf8_lossy(&done.stdout).into_owned();
            match done.status.code() {
                Some(0) => return Ok(()),
                Some(3) if said.contains("\"busy\"") => std::thread::sleep(Duration::from_millis(20)),
                _ => bail!("promote --to {node}: {said}{}", String::from_utf8_lossy(&done.stderr)),
            }
        }
        bail!("promote --to {node}: busy");
    }

    fn config(&self) -> Result<Config> {
        let Self::Mirror { example, failback } = self;
        Ok(config::parse(Path::new("mirror.toml"), &node_list(example, *failback)?)?.config)
    }

    /// Puts on a node's disk what the system needs; /root/agent is what the host starts.
    pub(crate) fn furnish(&self, _name: &str, _number: u8, root: &Path, bin: &Path) -> Result<()> {
        let Self::Mirror { example, failback } = self;
        let home = root.join(".config/mirror");
        fs::create_dir_all(&home)?;
        fs::write(home.join("mirror.toml"), node_list(example, *failback)?)?;
        fs::copy(examples().join("watchdog.sh"), bin.join("watchdog.sh"))?;
        let cycle = self.config()?.cycle;
        // Hosts do not boot in step.
        #[allow(clippy::cast_precision_loss, reason = "a fraction")]
        let offset = cycle.check.as_secs_f64() * ((truth::now() / 7919 % 1000) as f64 / 1000.0);
        let agent = format!(
            "sleep {offset:.3}\nCHECK_INTERVAL={} SYNC_INTERVAL={} exec sh /run/lab/bin/watchdog.sh\n",
            cycle.check.as_secs_f64(),
            cycle.sync.as_secs_f64(),
        );
        script(&root.join("agent"), &agent)
    }
}

/// The first living node of the brain chain.
fn brain(lab: &Lab) -> Result<&'static str> {
    let up = lab.up();
    let chain = ["moscow", "almaty", "spb", "novosibirsk", "amsterdam"];
    chain.into_iter().find(|node| up.contains(node)).context("no node is up")
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// An example's node list with the lab's addresses and commands in it; all its numbers are kept.
fn node_list(example: &str, failback: Option<&str>) -> Result<String> {
    let place = examples().join(example);
    let text = fs::read_to_string(&place).with_context(|| place.display().to_string())?;
    let mut list = String::new();
    for line in text.lines() {
        let key = line.split('=').next().unwrap_or("").trim();
        let node = NODES.iter().zip(1..).find(|(node, _)| **node == key);
        let changed = match (node, key, failback) {
            (Some((node, number)), ..) => format!("{node} = \"{}\"", Wire::address(number)),
            (None, "status" | "start" | "stop", _) => format!("{key} = \"service {key}\""),
            (None, "failback", Some(failback)) => format!("failback = \"{failback}\""),
            _ => line.to_owned(),
        };
        list += &changed;
        list.push('\n');
    }
    Ok(list)
}
