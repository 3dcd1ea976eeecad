//! What keeps the service alive on the nodes: `mirror`, or what people would use instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;
use three_mirror::config::{self, Config};

use crate::furnish::script;
use crate::host::First;
use crate::lab::{Lab, MEMBERS, NODES, ORIGIN, ORIGIN_NUMBER};
use crate::scenario::some_of;
use crate::switch::Links;
use crate::systemd;
use crate::wire::Wire;

/// Where the lease is, on hosts that are none of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseClient {
    /// A bare repository on the origin, over its sshd.
    Git,
    /// An etcd of three members, on a host each.
    Etcd,
}

/// A command of a service that never ends, on any node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hanging {
    Status,
    Start,
    Stop,
}

impl Hanging {
    /// The commands `status`, `start` and `stop`, so that this one is called for: a service that cannot be
    /// asked; one that runs nowhere; one that runs everywhere.
    fn commands(self) -> [&'static str; 3] {
        match self {
            Self::Status => ["sleep 1000", "true", "true"],
            Self::Start => ["false", "sleep 1000", "true"],
            Self::Stop => ["true", "true", "sleep 1000"],
        }
    }
}

/// How the nodes of a list breathe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breathing {
    /// As the example says.
    AsListed,
    /// With each other too.
    Mesh,
    /// The same, and nothing is inhaled before a start.
    MeshWithoutInhale,
}

/// How long a person tries again to move the service.
const MOVE_PATIENCE: Duration = Duration::from_secs(60);
/// What a lease's reads are relied on for, and the time to stop, together.
pub(crate) const WAIT: Duration = Duration::from_secs(3);

/// A system, with what can be set in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum System {
    /// `mirror` with one of the example node lists.
    Mirror {
        /// The node list in examples/.
        example: &'static str,
        /// Another `failback` than the example's.
        failback: Option<&'static str>,
        /// Driven by examples/systemd/ under a systemd, and not by examples/watchdog.sh.
        timers: bool,
        /// Where its lease is, if it has one; the service runs under `mirror hold` then, with timers
        /// as examples/systemd/service-under-lease.service has it.
        lease: Option<LeaseClient>,
        /// How long a read of it is relied on, where that is neither what the example has nor 2 s.
        valid: Option<&'static str>,
        /// What hangs on every node of a second service, if there is one.
        beside: Option<Hanging>,
        /// How they breathe.
        breathing: Breathing,
    },
    /// Hosts that systemd runs, and nothing on them that keeps the service alive.
    Bare,
    /// The same with a root tree of each host's own, into which its Debian package can be installed.
    Packaged,
    /// The protocol's rule as a shell script, one step after another, over ssh.
    Sequential,
    /// Debian's keepalived, unicast, with notify scripts.
    Keepalived {
        /// How often the master speaks, in seconds as keepalived wants them.
        advert: &'static str,
    },
    /// `etcdctl lock` with a TTL of 2 s on an etcd of five members, in a loop.
    Etcd,
}

/// The protocol's own numbers: a check every 5 s, a breath every 12 s.
pub(crate) const PROTOCOL: System = mirror("five-mirrors.toml", false, None);
/// A check every 200 ms or faster.
pub(crate) const FAST: System = mirror("fast.toml", false, None);
/// The protocol's numbers again, kept by systemd's timers.
pub(crate) const TIMERS: System = mirror("five-mirrors.toml", true, None);
/// A check every 200 ms, and a lease.
pub(crate) const LEASE_FAST: System = mirror("fast.toml", false, Some(LeaseClient::Git));
/// The protocol's numbers, and a lease.
pub(crate) const LEASE: System = mirror("five-mirrors.toml", false, Some(LeaseClient::Git));
/// The same by the units in examples/systemd/, the one for a service under a lease among them, which
/// is enabled at boot.
pub(crate) const LEASE_UNITS: System = mirror("five-mirrors.toml", true, Some(LeaseClient::Git));
/// A check every 200 ms, and a lease in an etcd.
pub(crate) const LEASE_ETCD_FAST: System = mirror("fast.toml", false, Some(LeaseClient::Etcd));
/// The protocol's numbers, and a lease in an etcd.
pub(crate) const LEASE_ETCD: System = mirror("five-mirrors.toml", false, Some(LeaseClient::Etcd));
/// The shortest lease that is shipped.
pub(crate) const FAST_LEASE: System = mirror("fast-lease.toml", false, Some(LeaseClient::Git));
/// The same in an etcd.
pub(crate) const FAST_LEASE_ETCD: System = mirror("fast-lease.toml", false, Some(LeaseClient::Etcd));
/// A check every 200 ms, and a breath with the other nodes.
pub(crate) const FAST_MESH: System = mesh(Breathing::Mesh);
/// All that can be measured side by side.
pub(crate) const SYSTEMS: [System; 16] = [
    FAST,
    FAST_MESH,
    mesh(Breathing::MeshWithoutInhale),
    PROTOCOL,
    TIMERS,
    LEASE_FAST,
    LEASE,
    LEASE_UNITS,
    LEASE_ETCD_FAST,
    LEASE_ETCD,
    FAST_LEASE,
    FAST_LEASE_ETCD,
    System::Keepalived { advert: "0.1" },
    System::Keepalived { advert: "1" },
    System::Etcd,
    System::Sequential,
];

const fn mirror(example: &'static str, timers: bool, lease: Option<LeaseClient>) -> System {
    let (failback, valid, beside, breathing) = (None, None, None, Breathing::AsListed);
    System::Mirror { example, failback, timers, lease, valid, beside, breathing }
}

const fn mesh(breathing: Breathing) -> System {
    let (example, failback, timers, lease, valid, beside) = ("fast.toml", None, false, None, None, None);
    System::Mirror { example, failback, timers, lease, valid, beside, breathing }
}

/// The chains, both holding all five, as in the examples.
pub(crate) const BRAINS: [&str; 5] = ["moscow", "almaty", "spb", "novosibirsk", "amsterdam"];
pub(crate) const BOTS: [&str; 5] = ["amsterdam", "almaty", "spb", "novosibirsk", "moscow"];

impl System {
    /// Its name in results, with the links of this process.
    pub(crate) fn name(&self) -> String {
        self.own_name() + Links::chosen().suffix()
    }

    fn own_name(&self) -> String {
        match self {
            Self::Mirror { lease: Some(LeaseClient::Git), timers: true, .. } => "mirror-lease-units".to_owned(),
            Self::Mirror { lease: Some(LeaseClient::Git), example: "fast-lease.toml", .. } => {
                "mirror-fast-lease-git".to_owned()
            }
            Self::Mirror { lease: Some(LeaseClient::Etcd), example: "fast-lease.toml", .. } => {
                "mirror-fast-lease-etcd".to_owned()
            }
            Self::Mirror { lease: Some(LeaseClient::Git), example: "fast.toml", .. } => {
                "mirror-lease-git-fast".to_owned()
            }
            Self::Mirror { lease: Some(LeaseClient::Git), .. } => "mirror-lease-git".to_owned(),
            Self::Mirror { lease: Some(LeaseClient::Etcd), example: "fast.toml", .. } => {
                "mirror-lease-etcd-fast".to_owned()
            }
            Self::Mirror { lease: Some(LeaseClient::Etcd), .. } => "mirror-lease-etcd".to_owned(),
            Self::Mirror { timers: true, .. } => "mirror-timers".to_owned(),
            Self::Mirror { breathing: Breathing::Mesh, .. } => "mirror-fast-mesh".to_owned(),
            Self::Mirror { breathing: Breathing::MeshWithoutInhale, .. } => {
                "mirror-fast-mesh-without-inhale".to_owned()
            }
            Self::Mirror { example: "fast.toml", .. } => "mirror-fast".to_owned(),
            Self::Mirror { .. } => "mirror-protocol".to_owned(),
            Self::Sequential => "sequential-ssh".to_owned(),
            Self::Keepalived { advert } => format!("keepalived-{advert}s"),
            Self::Etcd => "etcdctl-lock".to_owned(),
            Self::Bare => "bare".to_owned(),
            Self::Packaged => "packaged".to_owned(),
        }
    }

    /// What the first process of a node is.
    pub(crate) fn first(&self) -> First {
        match self {
            Self::Mirror { timers: true, .. } | Self::Bare => First::Systemd,
            Self::Packaged => First::SystemdInTree,
            _ => First::Daemons,
        }
    }

    /// Whether systemd has to run the nodes.
    pub(crate) fn needs_systemd(&self) -> bool {
        self.first() != First::Daemons
    }

    /// The programs it needs, and how they are had.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        let there = |program: &str| ["/usr/sbin", "/usr/bin"].iter().any(|bin| Path::new(bin).join(program).exists());
        match self {
            Self::Keepalived { .. } if !there("keepalived") => Some("apt-get install keepalived"),
            Self::Mirror { lease: Some(LeaseClient::Etcd), .. } if !there("etcd") => {
                Some("apt-get install etcd-server")
            }
            Self::Etcd if !(there("etcd") && there("etcdctl")) => Some("apt-get install etcd-server etcd-client"),
            _ if self.needs_systemd() && !Path::new(systemd::PROGRAM).exists() => Some("apt-get install systemd"),
            _ => None,
        }
    }

    /// The same with another time until a service returns to a better node, where that can be set.
    pub(crate) fn failing_back_after(&self, span: &'static str) -> Self {
        let mut system = self.clone();
        if let Self::Mirror { failback, .. } = &mut system {
            *failback = Some(span);
        }
        system
    }

    /// The same with reads of the lease that are relied on for another time.
    pub(crate) fn relying_for(&self, span: &'static str) -> Self {
        let mut system = self.clone();
        if let Self::Mirror { valid, .. } = &mut system {
            *valid = Some(span);
        }
        system
    }

    /// The same with a second service, of which this hangs on every node.
    pub(crate) fn beside(&self, hanging: Hanging) -> Self {
        let mut system = self.clone();
        if let Self::Mirror { beside, .. } = &mut system {
            *beside = Some(hanging);
        }
        system
    }

    /// What a takeover waits under its lease: `valid + grace`.
    pub(crate) fn wait(&self) -> Result<Duration> {
        let config = self.config()?;
        let leases = config.services.values().filter_map(|service| service.lease);
        leases.map(|lease| lease.valid + lease.grace).max().with_context(|| format!("{} has no lease", self.name()))
    }

    /// Whether its nodes breathe with each other.
    pub(crate) fn has_peers(&self) -> bool {
        self.config().is_ok_and(|config| config.breath.peers)
    }

    /// Where its lease is, if it has one.
    pub(crate) fn lease(&self) -> Option<LeaseClient> {
        if let Self::Mirror { lease, .. } = self { *lease } else { None }
    }

    /// Further hosts that it needs.
    pub(crate) fn members(&self) -> &'static [&'static str] {
        if self.lease() == Some(LeaseClient::Etcd) { &MEMBERS } else { &[] }
    }

    /// The hosts of its arbiter.
    pub(crate) fn lease_client(&self) -> &'static [&'static str] {
        match self.lease() {
            Some(LeaseClient::Git) => &[ORIGIN],
            Some(LeaseClient::Etcd) => &MEMBERS,
            None => &[],
        }
    }

    /// Whether it has a brain apart from the node that serves.
    pub(crate) fn has_brain(&self) -> bool {
        matches!(self, Self::Mirror { .. } | Self::Sequential)
    }

    /// Whether it looks at the service itself, and not only at its host.
    pub(crate) fn sees_the_service(&self) -> bool {
        !matches!(self, Self::Keepalived { .. })
    }

    /// Whether the service goes back to the first node of its chain by itself.
    pub(crate) fn prefers_the_first(&self) -> bool {
        matches!(self, Self::Keepalived { .. } | Self::Sequential)
    }

    /// How often it looks.
    pub(crate) fn check(&self) -> Result<Duration> {
        Ok(match self {
            Self::Mirror { .. } => self.config()?.cycle.check,
            Self::Sequential => Duration::from_secs(5),
            Self::Keepalived { advert } => Duration::from_secs_f64(advert.parse()?),
            Self::Packaged => Duration::from_secs(5),
            Self::Etcd | Self::Bare => Duration::from_secs(1),
        })
    }

    /// The size of a host's disk: etcd allocates 64 MB for its log at once, and a package may be large.
    pub(crate) fn disk(&self) -> &'static str {
        let is_large = matches!(self, Self::Etcd | Self::Packaged) || self.lease() == Some(LeaseClient::Etcd);
        if is_large { "size=512m" } else { "size=64m" }
    }

    /// Moves the service to a living node as a person would, where there is a command for it.
    pub(crate) fn move_to(&self, lab: &Lab, node: &str) -> Result<()> {
        if !matches!(self, Self::Mirror { .. }) {
            bail!("{} has no command to move a service", self.name());
        }
        let up = lab.up();
        let brain = BRAINS.into_iter().find(|node| up.contains(node)).context("no node is up")?;
        // The brain may be at work just now, and on a busy machine a node may not answer in time.
        let begun = Instant::now();
        loop {
            let done = lab.run(brain, &format!("mirror promote --to {node} --json"))?;
            match done.status.code() {
                Some(0) => return Ok(()),
                Some(3) if begun.elapsed() < MOVE_PATIENCE => std::thread::sleep(Duration::from_millis(20)),
                _ => bail!(
                    "promote --to {node}: {}{}",
                    String::from_utf8_lossy(&done.stdout),
                    String::from_utf8_lossy(&done.stderr)
                ),
            }
        }
    }

    fn config(&self) -> Result<Config> {
        Ok(config::parse(Path::new("mirror.toml"), &self.node_list()?)?.config)
    }

    /// Puts on a node's disk what the system needs; /root/agent is what the host starts.
    pub(crate) fn furnish(&self, name: &str, number: u8, disk: &Path, bin: &Path) -> Result<()> {
        let root = disk.join("root");
        let agent = match self {
            Self::Bare | Self::Packaged => return Ok(()),
            Self::Mirror { timers: true, .. } => {
                let etc = disk.join("etc/new/mirror");
                fs::create_dir_all(&etc)?;
                fs::write(etc.join("mirror.toml"), self.node_list()?)?;
                return Ok(());
            }
            Self::Mirror { .. } => {
                let home = root.join(".config/mirror");
                fs::create_dir_all(&home)?;
                fs::write(home.join("mirror.toml"), self.node_list()?)?;
                fs::copy(examples().join("watchdog.sh"), bin.join("watchdog.sh"))?;
                let cycle = self.config()?.cycle;
                let intervals = (cycle.check.as_secs_f64(), cycle.sync.as_secs_f64());
                format!("CHECK_INTERVAL={} SYNC_INTERVAL={} exec sh /run/lab/bin/watchdog.sh", intervals.0, intervals.1)
            }
            Self::Sequential => {
                fs::write(bin.join("sequential.sh"), include_str!("sequential.sh"))?;
                let words = |chain: [&str; 5]| chain.map(|node| format!("{node}={}", address(node))).join(" ");
                format!("exec sh /run/lab/bin/sequential.sh {name} '{}' '{}'", words(BRAINS), words(BOTS))
            }
            Self::Keepalived { advert } => {
                fs::write(root.join("keepalived.conf"), keepalived(name, advert))?;
                "exec keepalived --dont-fork --log-console --vrrp -f /root/keepalived.conf".to_owned()
            }
            Self::Etcd => etcd(name, number),
        };
        // Hosts do not boot in step.
        script(&root.join("agent"), &format!("sleep {:.3}\n{agent}\n", some_of(self.check()?).as_secs_f64()))
    }

    /// Puts on the disk of a host that is no node what the system needs there.
    pub(crate) fn furnish_member(&self, name: &str, number: u8, disk: &Path) -> Result<()> {
        if !MEMBERS.contains(&name) {
            return Ok(());
        }
        let cluster: Vec<(&str, String)> =
            MEMBERS.iter().zip(ORIGIN_NUMBER + 1..).map(|(member, number)| (*member, Wire::address(number))).collect();
        script(&disk.join("root/agent"), &("exec ".to_owned() + &member(name, number, &cluster)))
    }

    /// What it is set to, for the record.
    pub(crate) fn profile(&self) -> Result<serde_json::Value> {
        Ok(match self {
            Self::Mirror { example, timers, lease, .. } => {
                let list: toml::Table = self.node_list()?.parse()?;
                let section = |name: &str| list.get(name).cloned().unwrap_or(toml::Value::Boolean(false));
                let driver = if *timers { "systemd timers" } else { "watchdog.sh" };
                let lease = lease.map(|_| section("lease"));
                let mut bot = serde_json::to_value(section("services"))?["bot"].take();
                for command in ["status", "start", "stop"] {
                    bot.as_object_mut().and_then(|bot| bot.remove(command));
                }
                json!({ "node_list": example, "driver": driver, "cycle": section("cycle"), "probe": section("probe"), "service": bot, "lease": lease })
            }
            Self::Sequential => json!({ "connect_timeout_s": 3, "pause_s": 5 }),
            Self::Keepalived { advert } => json!({ "advert_int_s": advert, "vrrp_version": 3, "unicast": true }),
            Self::Etcd => json!({ "members": 5, "ttl_s": 2 }),
            Self::Bare | Self::Packaged => json!({}),
        })
    }

    /// What remains to be done when the nodes are up for the first time: what README says of timers.
    pub(crate) fn begin(&self, lab: &Lab) -> Result<()> {
        let Self::Mirror { timers: true, .. } = self else { return Ok(()) };
        let shipped = fs::read_dir(examples().join("systemd"))?;
        let shipped: Vec<PathBuf> = shipped.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        for node in NODES {
            for unit in &shipped {
                fs::copy(unit, lab.disk(node).join("etc/units").join(unit.file_name().unwrap_or_default()))?;
            }
            if self.lease().is_some() {
                let unit = examples().join("systemd/service-under-lease.service");
                fs::copy(unit, lab.disk(node).join("etc/units/juno.service"))?;
            }
            std::thread::sleep(some_of(Duration::from_secs(1)));
            lab.must(node, "systemctl daemon-reload")?;
            lab.must(node, "systemctl enable --now mirror-check.timer mirror-breathe.timer")?;
            if self.lease().is_some() {
                // The brain may stop it at this very moment, which ends the start.
                lab.must(node, "systemctl enable juno.service && { systemctl start juno.service || :; }")?;
            }
        }
        Ok(())
    }

    /// What it has said on a node so far.
    pub(crate) fn log_of(&self, lab: &Lab, node: &str) -> String {
        match self {
            Self::Mirror { timers: true, .. } | Self::Packaged => {
                systemd::journal(lab, node, "mirror-check").unwrap_or_default()
            }
            _ => fs::read_to_string(lab.disk(node).join("root/log/agent")).unwrap_or_default(),
        }
    }

    /// The example's node list with the lab's addresses in it, and its commands unless systemd is there; all its
    /// numbers are kept.
    fn node_list(&self) -> Result<String> {
        let Self::Mirror { example, failback, timers, lease, valid, beside, breathing } = self else {
            bail!("{} has no node list", self.name())
        };
        let place = examples().join(example);
        let text = fs::read_to_string(&place).with_context(|| place.display().to_string())?;
        let mut list = String::new();
        let mut is_in_lease = false;
        for line in text.lines() {
            // Its store is another one here.
            is_in_lease = if line.starts_with('[') { line == "[lease]" } else { is_in_lease };
            if is_in_lease {
                continue;
            }
            let key = line.split('=').next().unwrap_or("").trim();
            let changed = match (key, failback) {
                (node, _) if NODES.contains(&node) => format!("{node} = \"{}\"", address(node)),
                ("status" | "start" | "stop", _) if !timers => format!("{key} = \"service {key}\""),
                // As the unit for a service under a lease says.
                ("start", _) if lease.is_some() => {
                    "start = \"systemctl start juno && systemctl is-active --quiet juno\"".to_owned()
                }
                ("[breath]", _) if *breathing != Breathing::AsListed => "[breath]\npeers = true".to_owned(),
                ("inhale", _) if *breathing == Breathing::MeshWithoutInhale => "inhale = \"0s\"".to_owned(),
                ("failback", Some(failback)) => format!("failback = \"{failback}\""),
                _ => line.to_owned(),
            };
            list += &changed;
            list.push('\n');
        }
        if let Some([status, start, stop]) = beside.map(Hanging::commands) {
            list += &format!(
                "\n[services.other]\nchain = \"bot\"\nstatus = \"{status}\"\nstart = \"{start}\"\nstop = \"{stop}\"\n\
                 timeout = \"2s\"\n"
            );
        }
        let own = |key: &str| Some(text.parse::<toml::Table>().ok()?.get("lease")?.get(key)?.as_str()?.to_owned());
        let (valid, grace) = (
            valid.map(str::to_owned).or(own("valid")).unwrap_or("2s".to_owned()),
            own("grace").unwrap_or("1s".to_owned()),
        );
        let words = format!("valid = \"{valid}\"\ngrace = \"{grace}\"\n");
        match lease {
            None => {}
            Some(LeaseClient::Git) => {
                let remote = format!("ssh://root@{}/root/lease.git", Wire::address(ORIGIN_NUMBER));
                list += &format!("\n[lease]\nstore = \"git\"\nremote = \"{remote}\"\n{words}");
            }
            Some(LeaseClient::Etcd) => {
                let members = (ORIGIN_NUMBER + 1..).take(MEMBERS.len());
                let endpoints: Vec<String> = members.map(|n| format!("\"http://{}:2379\"", Wire::address(n))).collect();
                list += &format!("\n[lease]\nstore = \"etcd\"\nendpoints = [{}]\n{words}", endpoints.join(", "));
            }
        }
        Ok(list)
    }
}

pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

pub(crate) fn address(node: &str) -> String {
    let number = NODES.iter().zip(1..).find(|(known, _)| **known == node).map_or(0, |(_, number)| number);
    Wire::address(number)
}

fn keepalived(name: &str, advert: &str) -> String {
    let place = BOTS.iter().position(|node| *node == name).unwrap_or(0);
    let peers: String = NODES.iter().filter(|node| **node != name).map(|node| address(node) + "\n").collect();
    format!(
        "global_defs {{
            router_id {name}
            vrrp_version 3
            script_user root
        }}
        vrrp_instance bot {{
            state BACKUP
            interface eth0
            virtual_router_id 77
            priority {priority}
            advert_int {advert}
            unicast_src_ip {local_node}
            unicast_peer {{
                {peers}
            }}
            virtual_ipaddress {{
                10.77.0.200/24
            }}
            notify_master \"/run/lab/bin/service start\"
            notify_backup \"/run/lab/bin/service stop\"
            notify_fault \"/run/lab/bin/service stop\"
        }}\n",
        priority = 250 - 10 * place,
        local_node = address(name),
    )
}

/// The command line of a member of an etcd.
fn member(name: &str, number: u8, cluster: &[(&str, String)]) -> String {
    let local_node = Wire::address(number);
    let peers: Vec<String> = cluster.iter().map(|(member, at)| format!("{member}=http://{at}:2380")).collect();
    format!(
        "etcd --name {name} --data-dir /var/lib/etcd --listen-peer-urls http://{local_node}:2380 \
         --initial-advertise-peer-urls http://{local_node}:2380 --listen-client-urls http://{local_node}:2379 \
         --advertise-client-urls http://{local_node}:2379 --initial-cluster {} --initial-cluster-state new",
        peers.join(","),
    )
}

fn etcd(name: &str, number: u8) -> String {
    let cluster: Vec<(&str, String)> = NODES.iter().map(|node| (*node, address(node))).collect();
    let endpoints: Vec<String> = NODES.iter().map(|node| format!("http://{}:2379", address(node))).collect();
    format!(
        "{member} >/root/log/etcd 2>&1 &
         export ETCDCTL_API=3 ETCDCTL_ENDPOINTS={endpoints}
         while :; do
             etcdctl lock --ttl 2 -- bot /run/lab/bin/lab --lab-beat
             # It leaves behind what it has started when it fails itself.
             service stop
             sleep 0.1
         done",
        member = member(name, number, &cluster),
        endpoints = endpoints.join(","),
    )
}
