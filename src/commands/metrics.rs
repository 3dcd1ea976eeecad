//! `mirror metrics`: what this node knows, as OpenMetrics for node_exporter's textfile collector.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Context;
use super::status::{Here, HereCondition, here};
use crate::cli;
use crate::clock::{BootInstant, Deadline};
use crate::leader::State;
use crate::output::ExitStatus;
use crate::state::StateDir;

/// What the status of the services may take.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

type Labels = Vec<(&'static str, String)>;
type Number = Gauge<f64, AtomicU64>;

/// Gauges that are set one by one, by labels. A time of the past is a gauge of seconds since 1970.
#[derive(Default)]
struct Metrics(Registry);

impl Metrics {
    fn family(&mut self, name: &str, help: &str) -> Family<Labels, Number> {
        let family = Family::<Labels, Number>::default();
        self.0.register(format!("mirror_{name}"), help, family.clone());
        family
    }

    /// A metric that has no label but the node itself; left out where it is not known.
    fn one(&mut self, name: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.family(name, help).get_or_create(&Labels::new()).set(value);
        }
    }
}

pub(super) fn run(arguments: &cli::Metrics, context: &Context) -> Result<ExitStatus> {
    let here = here::look(context, Deadline::after(STATUS_TIMEOUT));
    let mut metrics = Metrics::default();
    add_node(&mut metrics, &here, context);
    add_services(&mut metrics, &here);
    add_breath(&mut metrics, &here);
    let mut text = String::new();
    encode(&mut text, &metrics.0).map_err(|error| anyhow!("cannot write the metrics: {error}"))?;
    let Some(file) = &arguments.output else { return Ok(context.output_mode.print(&text)) };
    write(file, &text).with_context(|| format!("{}", file.display()))?;
    Ok(ExitStatus::Yes)
}

/// Written whole, by a rename, and readable by the collector, which is another user.
pub(super) fn write(file: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut name = file.file_name().ok_or(std::io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = file.with_file_name(name);
    let written = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&temporary);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    written.and_then(|()| std::fs::rename(&temporary, file)).inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}

fn seconds(at: &str) -> Option<f64> {
    let at = humantime::parse_rfc3339(at).ok()?;
    at.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs_f64())
}

fn truth(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

fn add_node(metrics: &mut Metrics, here: &Here, context: &Context) {
    let (config, state_dir) = (&context.config, StateDir::open(&context.config));
    let info = metrics.family("info", "The version of mirror and the digest of the node list, as labels");
    info.get_or_create(&vec![("version", here.version.clone()), ("digest", here.digest.clone())]).set(1.0);
    let alive = metrics.family("node_alive", "Whether a node is alive as seen from here, by the last probe of a check");
    let (uptimes, now) = (state_dir.uptimes(), BootInstant::now());
    let living = uptimes.alive_for(now);
    for node in config.nodes.keys() {
        let state =
            if living.contains_key(node) { Some(State::Alive) } else { uptimes.dead_since(node).map(|_| State::Dead) };
        if let Some(state) = state {
            alive.get_or_create(&vec![("node", node.to_string())]).set(truth(state == State::Alive));
        }
    }
    let beat = here.beat.as_ref();
    metrics.one("beat_age_seconds", "How long ago the last check here ended", beat.map(|beat| beat.age_ms / 1000.0));
    metrics.one(
        "at_work",
        "Whether the last check here ended a short while ago",
        Some(truth(beat.is_some_and(|beat| beat.fresh))),
    );
    let is_brain = beat.map(|beat| truth(beat.fresh && beat.brain.is_some() && beat.brain == here.node));
    metrics.one("brain", "Whether this node takes itself for the brain", is_brain);
    let took = state_dir.beat().map(|beat| beat.took.as_secs_f64());
    metrics.one("check_duration_seconds", "How long the last check here took", took);
    if let Some(beat) = beat {
        let verdict = metrics.family("check_verdict", "The verdict of the last check here, as a label");
        verdict.get_or_create(&vec![("verdict", beat.verdict.clone())]).set(1.0);
    }
    metrics.one("paused", "How many pauses this node knows of", Some(here.pauses.len() as f64));
    let drained = metrics.family("node_drained", "A node that is drained, as far as this node knows");
    for drain in &here.drains {
        drained.get_or_create(&vec![("node", drain.node.to_string())]).set(1.0);
    }
}

fn add_services(metrics: &mut Metrics, here: &Here) {
    let running = metrics.family("service_running", "Whether the service runs on this node, by its status");
    let seen =
        metrics.family("service_seen_on", "The node on which this node's checks last saw the service run, as a label");
    let epoch = metrics.family("lease_epoch", "The epoch of the lease as this node last saw it");
    let changed =
        metrics.family("service_last_change_timestamp_seconds", "When this node last started or moved the service");
    let cooling = metrics.family("service_cooldown", "A node that is passed over for the service");
    let outage = metrics.family(
        "service_outage_seconds",
        "The outages of the service that this node ended, as far as its history goes back, together",
    );
    for of in &here.services {
        let labels = || vec![("service", of.service.to_string())];
        match of.condition {
            HereCondition::Running => drop(running.get_or_create(&labels()).set(1.0)),
            HereCondition::Stopped => drop(running.get_or_create(&labels()).set(0.0)),
            HereCondition::Unknown | HereCondition::Unasked => {}
        }
        if let Some(place) = &of.seen {
            seen.get_or_create(&vec![("service", of.service.to_string()), ("node", place.node.to_string())]).set(1.0);
        }
        if let Some(number) = of.lease.as_ref().and_then(|lease| lease.epoch) {
            epoch.get_or_create(&labels()).set(number as f64);
        }
        if let Some(at) = of.last_move.as_ref().and_then(|last| seconds(&last.at)) {
            changed.get_or_create(&labels()).set(at);
        }
        for down in &of.cooldowns {
            let labels = vec![("service", of.service.to_string()), ("node", down.node.to_string())];
            cooling.get_or_create(&labels).set(1.0);
        }
        outage.get_or_create(&labels()).set(of.outage_ms / 1000.0);
    }
}

fn add_breath(metrics: &mut Metrics, here: &Here) {
    let Some(breath) = &here.breath else { return };
    let at = breath.last_in_step.as_deref().and_then(seconds);
    metrics.one("breath_in_step_timestamp_seconds", "When a breath last ended in step", at);
    metrics.one(
        "breath_ahead_commits",
        "Commits that the remote, as last seen, has not",
        breath.ahead.map(|ahead| ahead as f64),
    );
    metrics.one(
        "breath_behind_commits",
        "Commits of the remote, as last seen, that are missing here",
        breath.behind.map(|behind| behind as f64),
    );
    metrics.one(
        "breath_conflict",
        "Whether the last breath ended in a conflict or was refused",
        Some(truth(breath.conflict.is_some())),
    );
}
