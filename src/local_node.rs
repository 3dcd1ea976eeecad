//! Which of the nodes this machine is.

use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::config::{Address, Config};
use crate::name::Name;
use crate::usage_error::UsageError;

/// The node this machine is: the one that `given` or the file names, else the one whose address
/// the machine bears; none for a machine that is no node.
///
/// Loopback addresses identify nobody. A host name counts when it is this machine's own; nothing
/// is looked up.
///
/// # Errors
/// When an unknown node is named, or the machine bears the addresses of two.
pub fn local_node(config: &Config, given: Option<&str>) -> Result<Option<Name>> {
    if let Some(given) = given {
        return Ok(Some(config.node(given)?.0.clone()));
    }
    if config.local_node.is_some() {
        return Ok(config.local_node.clone());
    }
    let addresses: Vec<IpAddr> = if_addrs::get_if_addrs()
        .context("cannot list the addresses of this machine; name the node with --self")?
        .iter()
        .map(if_addrs::Interface::ip)
        .filter(|ip| !ip.is_loopback())
        .collect();
    let uname = rustix::system::uname();
    let host_name = uname.nodename().to_string_lossy();
    let borne = |address: &Address| match address {
        Address::Ip(ip) => addresses.contains(ip),
        Address::Host(host) => host.eq_ignore_ascii_case(&host_name) && host != "localhost",
    };
    let mut matching = config.nodes.iter().filter(|(_, node)| borne(&node.address)).map(|(name, _)| name);
    match (matching.next(), matching.next()) {
        (Some(first), Some(second)) => Err(UsageError::new(format!(
            "{}: this machine bears the addresses of both {first} and {second}; name the right one with --self",
            config.file.display()
        ))),
        (found, _) => Ok(found.cloned()),
    }
}
