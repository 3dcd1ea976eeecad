//! The network of a lab: a bridge in a namespace of its own, and a cable from it to each host.
//!
//! Nothing here touches the machine's own network. All names begin with the lab's prefix, which
//! carries the id of the process that made it.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::switch::{self, DEVICE, Links, Switch};

/// Where `ip netns` keeps its namespaces.
pub(crate) const NAMESPACES: &str = "/run/netns";

/// The bridge and the cables.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    prefix: String,
    hosts: u8,
    links: Links,
}

/// What every host filters on the way in: the addresses in `silent`, and what `loss` takes. Nothing is
/// filtered on the way out, where a sender would be told.
const FILTER: &str = "table inet lab {
    set silent { type ipv4_addr; }
    chain loss { }
    chain in {
        type filter hook prerouting priority raw; policy accept;
        iif lo accept
        ip saddr @silent drop
        jump loss
    }
}";

impl Wire {
    /// Makes the bridge; `hosts` hosts, numbered from 1, can be plugged in.
    pub(crate) fn new(prefix: &str, hosts: u8, links: Links) -> Result<Self> {
        let wire = Self { prefix: prefix.to_owned(), hosts, links };
        ip(&["netns", "add", &wire.bridge()], "")?;
        wire.silence_ipv6(&wire.bridge())?;
        batch(
            &wire.bridge(),
            "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set br0 up\n",
        )?;
        Ok(wire)
    }

    /// Puts a switch at the bridge, where the links have distances. What one host sends to another passes it.
    pub(crate) fn switch(&self) -> Result<Option<Switch>> {
        let switch = Switch::start(&self.bridge(), self.links)?;
        if switch.is_some() {
            batch(
                &self.bridge(),
                &format!(
                    "link set {DEVICE} master br0\nlink set {DEVICE} type bridge_slave learning off\nlink set {DEVICE} up\n"
                ),
            )?;
        }
        Ok(switch)
    }

    /// The namespace of a host.
    pub(crate) fn namespace(&self, host: u8) -> String {
        format!("{}{host}", self.prefix)
    }

    fn bridge(&self) -> String {
        format!("{}wire", self.prefix)
    }

    /// The address of a host.
    pub(crate) fn address(host: u8) -> String {
        format!("10.77.0.{host}")
    }

    fn hardware(host: u8) -> String {
        format!("02:00:00:4d:00:{host:02x}")
    }

    /// Makes a host's namespace and connects it.
    pub(crate) fn plug(&self, host: u8) -> Result<()> {
        let namespace = self.namespace(host);
        ip(&["netns", "add", &namespace], "")?;
        self.silence_ipv6(&namespace)?;
        let hardware = Self::hardware(host);
        batch(
            &self.bridge(),
            &format!(
                "link add p{host} type veth peer name eth0 address {hardware} netns {namespace}\n\
                 link set p{host} master br0 up\n"
            ),
        )?;
        if self.links != Links::Lan {
            batch(&self.bridge(), &format!("link set p{host} type bridge_slave isolated on\n"))?;
        }
        let mut words =
            format!("link set lo up\nlink set eth0 up\naddr add {}/24 brd + dev eth0\n", Self::address(host));
        // A dead neighbour is silent for ever, as a routed host is, and not unreachable after 3 s.
        for other in (1..=self.hosts).filter(|other| *other != host) {
            let known = if self.links == Links::Lan { Self::hardware(other) } else { switch::hardware(host, other) };
            let (address, hardware) = (Self::address(other), known);
            words += &format!("neigh replace {address} lladdr {hardware} dev eth0 nud permanent\n");
        }
        batch(&namespace, &words)?;
        self.filter(host, FILTER)
    }

    /// Takes these hosts' packets away, all at once: what they send is lost, nothing reaches them,
    /// and nobody is told.
    pub(crate) fn silence(&self, hosts: &[u8]) -> Result<()> {
        batch(&self.bridge(), &hosts.iter().map(|host| format!("link set p{host} down\n")).collect::<String>())
    }

    /// Removes a silenced host's cable and namespace. What its kernel still held (a socket that
    /// wants to say goodbye) never gets out.
    pub(crate) fn unplug(&self, host: u8) -> Result<()> {
        batch(&self.bridge(), &format!("link del p{host}\n"))?;
        ip(&["netns", "del", &self.namespace(host)], "")
    }

    /// Cuts a host off upstream, or ends that: its link stays up, but nothing passes.
    pub(crate) fn isolate(&self, host: u8, cut: bool) -> Result<()> {
        let (port, state) = (format!("p{host}"), if cut { "0" } else { "3" });
        run("bridge", &["-n", &self.bridge(), "link", "set", "dev", &port, "state", state], "")
    }

    /// Loses whatever `from` sends to `to`.
    pub(crate) fn cut(&self, from: u8, to: u8) -> Result<()> {
        self.filter(to, &format!("add element inet lab silent {{ {} }}", Self::address(from)))
    }

    /// Lets everything that was cut towards `to` through again.
    pub(crate) fn heal(&self, to: u8) -> Result<()> {
        self.filter(to, "flush set inet lab silent")
    }

    /// Loses one packet in so many that reach a host, at random; none when it is 0.
    pub(crate) fn lose_one_in(&self, host: u8, many: u32) -> Result<()> {
        let rule = match many {
            0 => String::new(),
            _ => format!("add rule inet lab loss numgen random mod {many} == 0 drop"),
        };
        self.filter(host, &format!("flush chain inet lab loss\n{rule}"))
    }

    /// Lets a host's link carry no more than this in each direction, as `tc` writes rates, without
    /// losing anything for ten seconds; everything again when there is no rate.
    pub(crate) fn slow(&self, host: u8, rate: Option<&str>) -> Result<()> {
        let port = format!("p{host}");
        for (namespace, device) in [(self.bridge(), port.as_str()), (self.namespace(host), "eth0")] {
            let at = ["-n", &namespace, "qdisc"];
            match rate {
                Some(rate) => {
                    let shape =
                        ["replace", "dev", device, "root", "tbf", "rate", rate, "burst", "1600b", "latency", "10s"];
                    run("tc", &[&at[..], &shape].concat(), "")?;
                }
                // There is none to delete where nothing was slow.
                None => drop(run("tc", &[&at[..], &["del", "dev", device, "root"]].concat(), "")),
            }
        }
        Ok(())
    }

    fn filter(&self, host: u8, rules: &str) -> Result<()> {
        ip(&["netns", "exec", &self.namespace(host), "nft", "-f", "-"], rules)
    }

    fn silence_ipv6(&self, namespace: &str) -> Result<()> {
        let all = "for i in all default; do echo 1 >/proc/sys/net/ipv6/conf/$i/disable_ipv6; done";
        let script = format!("[ ! -d /proc/sys/net/ipv6 ] || {all}");
        ip(&["netns", "exec", namespace, "sh", "-c", &script], "")
    }
}

/// Removes every namespace whose name begins with `prefix`, the bridge first.
pub(crate) fn remove_all(prefix: &str) {
    let Ok(entries) = std::fs::read_dir(NAMESPACES) else { return };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort_by_key(|name| !name.ends_with("-wire"));
    for name in names {
        let _ = ip(&["netns", "del", &name], "");
    }
}

fn batch(namespace: &str, commands: &str) -> Result<()> {
    ip(&["-n", namespace, "-batch", "-"], commands)
}

fn ip(arguments: &[&str], input: &str) -> Result<()> {
    run("ip", arguments, input)
}

fn run(program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}\n{input}", arguments.join(" "), words.trim());
    Ok(())
}
