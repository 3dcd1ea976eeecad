//! Round trips between hosts, counted from the frames that a switch has seen.

use std::collections::BTreeMap;

/// A frame that a switch has seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// When it was sent.
    pub(crate) at: u64,
    /// The numbers of the hosts.
    pub(crate) from: u8,
    pub(crate) to: u8,
    /// What TCP says in it, if it is of TCP.
    pub(crate) segment: Option<Segment>,
}

/// A segment of TCP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) ports: (u16, u16),
    /// It opens a connection, or agrees to.
    pub(crate) opens: bool,
    /// The bytes that it carries.
    pub(crate) carries: usize,
}

/// The way of one connection to a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Way {
    /// Whether it was opened meanwhile.
    pub(crate) opened: bool,
    /// How often its direction turned from the one who opened it to the other: the round trips.
    pub(crate) trips: usize,
}

impl Frame {
    /// An Ethernet frame that was sent at this time.
    pub(crate) fn of(at: u64, (from, to): (u8, u8), frame: &[u8]) -> Self {
        Self { at, from, to, segment: segment(frame) }
    }
}

/// None for what is no segment of TCP over IPv4.
fn segment(frame: &[u8]) -> Option<Segment> {
    let packet = frame.strip_prefix(frame.get(..12)?)?.strip_prefix(&[0x08, 0x00])?;
    let number = |bytes: &[u8]| Some(usize::from(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?)));
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let (length, protocol) = (number(packet.get(2..)?)?, *packet.get(9)?);
    let tcp = packet.get(header..length)?;
    let (offset, flags) = (usize::from(tcp.get(12)? >> 4) * 4, *tcp.get(13)?);
    let port = |at: usize| Some(u16::from_be_bytes(tcp.get(at..at + 2)?.try_into().ok()?));
    (protocol == 6).then_some(Segment {
        ports: (port(0)?, port(2)?),
        opens: flags & 0x02 != 0,
        carries: tcp.len().checked_sub(offset)?,
    })
}

/// The connections to port 22 on which something was said, by who opened them, to whom and from which port.
pub(crate) fn ways(frames: &[Frame]) -> BTreeMap<(u8, u8, u16), Way> {
    let mut ways: BTreeMap<(u8, u8, u16), (Way, bool)> = BTreeMap::new();
    for Frame { from, to, segment, .. } in frames {
        let Some(Segment { ports, opens, carries }) = *segment else { continue };
        let (key, goes) = match ports {
            (port, 22) => ((*from, *to, port), true),
            (22, port) => ((*to, *from, port), false),
            _ => continue,
        };
        if !opens && carries == 0 {
            continue;
        }
        let (way, went) = ways.entry(key).or_default();
        way.opened |= opens;
        way.trips += usize::from(*went && !goes);
        *went = goes;
    }
    ways.into_iter().map(|(key, (way, _))| (key, way)).collect()
}

/// What was said between two hosts: connections that were opened, and round trips on all of them. A probe opens
/// a connection and says nothing on it: one trip.
pub(crate) fn between(frames: &[Frame], from: u8, to: u8) -> (usize, usize) {
    let ways = ways(frames);
    let mine = ways.iter().filter(|((opener, other, _), _)| (*opener, *other) == (from, to));
    mine.fold((0, 0), |(opened, trips), (_, way)| (opened + usize::from(way.opened), trips + way.trips))
}
