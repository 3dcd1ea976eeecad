//! What the measured distances mean for the values of the node list. Pure.

use schemars::JsonSchema;
use serde::Serialize;

use super::links::MeasuredLink;
use crate::chain::BRAIN;
use crate::config::{self, Config, Places, Problem, Severity};
use crate::name::Name;
use crate::output::millis;

/// Round trips from the brain to a living node in a takeover: a probe, asking, and starting with the confirmation. A
/// session on a shared connection takes three: it is opened, its shell is asked for, the program runs.
const TRIPS_OF_TAKEOVER: f64 = 7.0;
/// A read of the register may take this part of `valid`, and should take no more than half of it.
const PARTS_OF_VALID: f64 = 3.0;
const ROOM: f64 = 2.0;

/// A link between two nodes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LinkFacts {
    /// The node that asked.
    pub from: Name,
    /// What it measured.
    #[serde(flatten)]
    pub measured: MeasuredLink,
}

/// What the values promise on the measured links, from the fall of the first node of the service's chain until
/// the service runs on the next one; without the time that the service itself takes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Promise {
    /// The service.
    pub service: Name,
    /// Half of `cycle.check`, the deadline of the brain's probe, and the trips to the next node, in ms.
    pub typical_ms: f64,
    /// The whole of `cycle.check`, the longest deadline of any probe of that node, the service's `timeout` twice,
    /// its `inhale` and a lease's wait, in ms.
    pub worst_ms: f64,
}

/// The distances between the nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Distances {
    pub(super) links: Vec<LinkFacts>,
    /// The slowest read of the register, and the node that made it.
    pub(super) slowest_read: Option<(Name, f64)>,
}

impl Distances {
    fn link(&self, from: &Name, to: &Name) -> Option<&MeasuredLink> {
        self.links.iter().find(|link| link.from == *from && link.measured.to == *to).map(|link| &link.measured)
    }

    /// What is too short for them.
    pub(super) fn problems(&self, config: &Config, places: &Places) -> Vec<Problem> {
        let deadlines = self.links.iter().filter_map(|link| too_short(link, config)).map(|(node, message)| {
            places.problem(Severity::Error, "deadline-below-link", format!("nodes.{node}"), message)
        });
        let lease = self.read_too_slow(config).map(|(severity, message)| {
            places.problem(severity, "valid-below-arbiter", "lease.valid".to_owned(), message)
        });
        deadlines.chain(lease).collect()
    }

    fn read_too_slow(&self, config: &Config) -> Option<(Severity, String)> {
        let (node, read_ms) = self.slowest_read.as_ref()?;
        let leases = config.services.values().filter_map(|service| service.lease);
        let valid_ms = leases.map(|lease| millis(lease.valid)).min_by(f64::total_cmp)?;
        let may_take = valid_ms / PARTS_OF_VALID;
        let needed = valid_for(*read_ms);
        let severity = match read_ms {
            read if *read >= may_take => Severity::Error,
            read if *read * ROOM > may_take => Severity::Warning,
            _ => return None,
        };
        let message = format!(
            "{node} took {read_ms:.0} ms to read the lease, and valid ({valid_ms:.0} ms) leaves {may_take:.0} ms for it, a third; \
             enlarge it to {needed:.0} ms or more, or bring the arbiter nearer"
        );
        Some((severity, message))
    }

    /// What the values promise for each service.
    pub(super) fn promises(&self, config: &Config) -> Vec<Promise> {
        let brain = config.chains.get(BRAIN).and_then(|chain| chain.first());
        let promise = |(name, service): (&Name, &config::Service)| {
            let chain = config.chains.get(&service.chain)?;
            let (head, next) = (chain.first()?, chain.get(1)?);
            let deciding = brain.filter(|brain| *brain != head).or(config.chains.get(BRAIN)?.get(1))?;
            let probe = self.link(deciding, head)?;
            let trip_ms = if deciding == next { 0.0 } else { self.link(deciding, next)?.median_ms? };
            let deadlines = self.links.iter().filter(|link| link.measured.to == *head);
            let longest = deadlines.map(|link| link.measured.deadline_ms).fold(0.0, f64::max);
            let check_ms = millis(config.cycle.check);
            let lease_ms = service.lease.map_or(0.0, |lease| millis(lease.wait()));
            let inhale_ms = millis(service.inhale.unwrap_or_default());
            Some(Promise {
                service: name.clone(),
                typical_ms: check_ms / 2.0 + probe.deadline_ms + trip_ms * TRIPS_OF_TAKEOVER + lease_ms,
                worst_ms: check_ms + longest + millis(service.timeout) * 2.0 + inhale_ms + lease_ms,
            })
        };
        config.services.iter().filter_map(promise).collect()
    }

    /// The values that would do, as TOML.
    pub(super) fn suggestion(&self, config: &Config) -> String {
        let needed = self.links.iter().filter_map(|link| needed_at_step(&link.measured)).fold(0.0, f64::max);
        let longest = round_up(needed.max(millis(config.probe_timeout)), 50.0);
        let mut text = format!("[probe]\ntimeout = \"auto\"\ntimeout_max = \"{longest:.0}ms\"\n");
        if let Some((_, read_ms)) = &self.slowest_read {
            let leases = config.services.values().filter_map(|service| service.lease);
            let valid_ms = leases.map(|lease| millis(lease.valid)).fold(0.0, f64::max).max(valid_for(*read_ms));
            text += &format!("\n[lease]\nvalid = \"{:.0}ms\"\n", round_up(valid_ms, 100.0));
        }
        text
    }
}

/// Whether one lost packet would make a living node dead: a second try has no room for its answer.
fn too_short(link: &LinkFacts, config: &Config) -> Option<(Name, String)> {
    let LinkFacts { from, measured } = link;
    let (median, slowest) = (measured.median_ms?, measured.slowest_ms?);
    let needed = median + slowest;
    let node = config.nodes.get(&measured.to)?;
    // One that is learned gets longer by itself, up to its maximum.
    let deadline_ms = if node.probe.floor.is_some() { millis(node.probe.timeout) } else { measured.deadline_ms };
    if deadline_ms >= needed {
        return None;
    }
    let remedy = match node.probe.floor {
        Some(_) => format!("enlarge probe.timeout_max to {:.0} ms or more", round_up(needed_at_step(measured)?, 50.0)),
        None => {
            format!("write probe.timeout = \"auto\", or {:.0} ms or more", round_up(needed_at_step(measured)?, 50.0))
        }
    };
    let message = format!(
        "an answer of {} takes {median:.0} ms at {from} (the slowest of {} took {slowest:.0} ms), and {from} takes it for dead after \
         {deadline_ms:.0} ms: one lost packet is enough; {remedy}",
        measured.to, measured.answered
    );
    Some((measured.to.clone(), message))
}

/// The deadline with which the link may become three times slower at once, and lose a packet meanwhile.
fn needed_at_step(measured: &MeasuredLink) -> Option<f64> {
    Some(measured.median_ms? * 3.0 + measured.slowest_ms?)
}

/// The `valid` that has room for such a read.
fn valid_for(read_ms: f64) -> f64 {
    round_up(read_ms * ROOM * PARTS_OF_VALID, 100.0)
}

fn round_up(ms: f64, step: f64) -> f64 {
    (ms / step).ceil() * step
}

/// The matrix for people: what an answer takes, and the deadline behind it.
pub(super) fn table(nodes: &[&Name], links: &[LinkFacts]) -> Vec<Vec<String>> {
    let head = std::iter::once("  from \\ to".to_owned()).chain(nodes.iter().map(ToString::to_string));
    let mut rows = vec![head.collect::<Vec<_>>()];
    for from in nodes {
        let cell = |to: &&Name| {
            let link = links.iter().find(|link| link.from == **from && link.measured.to == **to);
            match link.map(|link| (link.measured.median_ms, link.measured.deadline_ms)) {
                Some((Some(median), deadline)) => format!("{median:.1} ({deadline:.0})"),
                Some((None, deadline)) => format!("none ({deadline:.0})"),
                None => String::new(),
            }
        };
        rows.push(std::iter::once(format!("  {from}")).chain(nodes.iter().map(cell)).collect());
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The links of two cities to a third, `c`.
    fn distances(median_ms: f64) -> Distances {
        let link = |from: &str, to: &str| LinkFacts {
            from: from.parse().expect("a name"),
            measured: MeasuredLink {
                to: to.parse().expect("a name"),
                asked: 10,
                answered: 10,
                median_ms: Some(median_ms),
                slowest_ms: Some(median_ms + 5.0),
                deadline_ms: 120.0,
            },
        };
        let links = vec![link("a", "b"), link("a", "c"), link("b", "c")];
        Distances { links, slowest_read: Some(("a".parse().expect("a name"), median_ms * 4.0)) }
    }

    fn list(probe: &str, valid: &str) -> config::Loaded {
        let text = format!(
            "[nodes]\na = \"192.0.2.1\"\nb = \"192.0.2.2\"\nc = \"192.0.2.3\"\n\
             [chains]\nbrain = [\"a\", \"b\", \"c\"]\nbot = [\"c\", \"b\", \"a\"]\n[cycle]\ncheck = \"200ms\"\n[probe]\n{probe}\n\
             [services.bot]\nstatus = \"true\"\nstart = \"true\"\nstop = \"true\"\ntimeout = \"2s\"\n\
             [lease]\nstore = \"git\"\nremote = \"ssh://git@192.0.2.9/lease\"\nvalid = \"{valid}\"\n"
        );
        config::parse(Path::new("mirror.toml"), &text).expect("a list")
    }

    fn codes(distances: &Distances, loaded: &config::Loaded) -> Vec<(String, &'static str, Severity)> {
        let problems = distances.problems(&loaded.config, &loaded.places);
        problems.into_iter().map(|problem| (problem.at, problem.code, problem.severity)).collect()
    }

    #[test]
    fn a_deadline_must_have_room_for_a_lost_packet() {
        let short = list("timeout = \"120ms\"", "2s");
        assert_eq!(codes(&distances(10.0), &short), []);
        assert_eq!(codes(&distances(57.0), &short), []);
        let found = codes(&distances(65.0), &short);
        let expected = ["b", "c", "c"].map(|to| (format!("nodes.{to}"), "deadline-below-link", Severity::Error));
        assert_eq!(found, expected);
        let message = &distances(65.0).problems(&short.config, &short.places)[1].message;
        assert_eq!(
            message,
            "an answer of c takes 65 ms at a (the slowest of 10 took 70 ms), and a takes it for dead after 120 ms: one \
             lost packet is enough; write probe.timeout = \"auto\", or 300 ms or more"
        );
        // It is learned, and its maximum has the room.
        assert_eq!(codes(&distances(65.0), &list("timeout = \"auto\"", "2s")), []);
        assert_eq!(codes(&distances(65.0), &list("timeout = \"auto\"\ntimeout_max = \"110ms\"", "2s")).len(), 3);
    }

    #[test]
    fn the_lease_must_bear_the_distance_to_its_arbiter() {
        let lease = |valid: &str| codes(&distances(50.0), &list("timeout = \"auto\"", valid));
        let found = |severity| vec![("lease.valid".to_owned(), "valid-below-arbiter", severity)];
        assert_eq!(lease("600ms"), found(Severity::Error));
        assert_eq!(lease("1s"), found(Severity::Warning));
        assert_eq!(lease("1200ms"), []);
    }

    #[test]
    fn the_promise_and_the_suggestion_are_sums() {
        let list = list("timeout = \"auto\"", "600ms");
        let promise = distances(50.0).promises(&list.config).swap_remove(0);
        // Half a check, the deadline, four trips, valid and grace.
        assert!((promise.typical_ms - (100.0 + 120.0 + 350.0 + 1600.0)).abs() < 0.1, "{promise:?}");
        assert!((promise.worst_ms - (200.0 + 120.0 + 4000.0 + 1600.0)).abs() < 0.1, "{promise:?}");
        let suggestion = distances(250.0).suggestion(&list.config);
        assert_eq!(
            suggestion,
            "[probe]\ntimeout = \"auto\"\ntimeout_max = \"1050ms\"\n\n[lease]\nvalid = \"6000ms\"\n"
        );
    }
}
