//! Distances between the hosts of a lab: a switch in this process, through which every frame goes.
//!
//! The kernel here may have no `netem`. So the ports of the bridge are isolated from each other and reach one
//! more port alone, a tap device, at which this switch delays each frame by the matrix of the cities and sends it
//! on. Each host knows the others by addresses that say from where to where a frame goes:
//!
//! ```text
//! host 1 ── p1 ──┐ isolated                    ┌ sends it on after half of the round trip, with jitter,
//! host 2 ── p2 ──┤   br0 ── sw0 (tap) ── switch ┤ in order for each pair; late, lost or slow as the set of
//! host 3 ── p3 ──┘ isolated                    └ links has it
//! ```

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::trips::Frame;
use crate::truth;
use crate::wire::NAMESPACES;

/// The tap device at the bridge.
pub(crate) const DEVICE: &str = "sw0";
/// What the addresses begin with by which hosts know each other where there is a switch: then from, then to.
const ROUTED: [u8; 4] = [0x02, 0, 0, 0x5d];
/// How long the switch waits at most before it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
const MAX_FRAME: usize = 65_536;
/// Linux's ioctl that makes a tap device (linux/if_tun.h), and what it is to be.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;

/// Round trips in ms between amsterdam, moscow, almaty, spb, novosibirsk and the origin.
const ROUND_TRIPS: [[f64; 6]; 6] = [
    [0.0, 45.0, 105.0, 38.0, 88.0, 10.0],
    [45.0, 0.0, 65.0, 10.0, 45.0, 40.0],
    [105.0, 65.0, 0.0, 75.0, 60.0, 98.0],
    [38.0, 10.0, 75.0, 0.0, 55.0, 33.0],
    [88.0, 45.0, 60.0, 55.0, 0.0, 85.0],
    [10.0, 40.0, 98.0, 33.0, 85.0, 0.0],
];

/// Which distances a lab has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// Those of one kernel.
    Lan,
    /// Five cities.
    Wan,
    /// Five cities, and bad links.
    WanBad,
}

/// What happens to each frame.
#[derive(Clone, Copy, Debug)]
struct Quality {
    jitter_ms: f64,
    late: f64,
    late_ms: f64,
    lost: f64,
    bytes_a_second: f64,
}

const WAN: Quality = Quality { jitter_ms: 2.0, late: 0.002, late_ms: 80.0, lost: 0.001, bytes_a_second: 12.5e6 };
const WAN_BAD: Quality = Quality { jitter_ms: 20.0, late: 0.02, late_ms: 150.0, lost: 0.01, bytes_a_second: 250e3 };

static CHOSEN: OnceLock<Links> = OnceLock::new();

impl Links {
    /// What follows the name of a system in results.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Lan => "",
            Self::Wan => "@wan",
            Self::WanBad => "@wan-bad",
        }
    }

    /// By its name.
    pub(crate) fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "lan" => Self::Lan,
            "wan" => Self::Wan,
            "wan-bad" => Self::WanBad,
            _ => bail!("{name} is no set of links; there are lan, wan and wan-bad"),
        })
    }

    /// Those of every lab of this process that does not say otherwise.
    pub(crate) fn choose(self) {
        let _ = CHOSEN.set(self);
    }

    /// The chosen ones.
    pub(crate) fn chosen() -> Self {
        CHOSEN.get().copied().unwrap_or(Self::Lan)
    }

    fn quality(self) -> Option<Quality> {
        match self {
            Self::Lan => None,
            Self::Wan => Some(WAN),
            Self::WanBad => Some(WAN_BAD),
        }
    }
}

/// By which hardware address `from` knows `to`.
pub(crate) fn hardware(from: u8, to: u8) -> String {
    format!("02:00:00:5d:{from:02x}:{to:02x}")
}

/// A running switch. It ends when it is dropped.
pub(crate) struct Switch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ends: AtomicBool,
    records: AtomicBool,
    /// By how much the round trips are longer than the matrix has them, in percent; 0 is not at all.
    more_percent: AtomicU32,
    frames: Mutex<Vec<Frame>>,
}

impl Switch {
    /// Opens the tap device in the namespace of the bridge; none where the links are those of one kernel. It
    /// begins once the device is at the bridge.
    pub(crate) fn start(namespace: &str, links: Links) -> Result<Option<Self>> {
        let Some(quality) = links.quality() else { return Ok(None) };
        let tap = open_tap(namespace).context("cannot make a tap device")?;
        let shared = Arc::new(Shared::default());
        let relay = Relay {
            tap,
            quality,
            chance: truth::now() | 1,
            pairs: HashMap::new(),
            waiting: BinaryHeap::new(),
            shared: shared.clone(),
        };
        let thread = std::thread::Builder::new().name("switch".to_owned()).spawn(move || {
            come_first();
            if let Err(error) = relay.run() {
                eprintln!("lab: the switch ended: {error}");
            }
        })?;
        Ok(Some(Self { shared, thread: Some(thread) }))
    }

    /// Makes all round trips as many times as long.
    pub(crate) fn stretch(&self, times: u32) {
        self.shared.more_percent.store((times - 1) * 100, Ordering::Relaxed);
    }

    /// Writes down every frame while `meanwhile` goes on.
    pub(crate) fn record<T>(&self, meanwhile: impl FnOnce() -> Result<T>) -> Result<(T, Vec<Frame>)> {
        self.shared.frames.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.shared.records.store(true, Ordering::Relaxed);
        let done = meanwhile();
        self.shared.records.store(false, Ordering::Relaxed);
        let frames = std::mem::take(&mut *self.shared.frames.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((done?, frames))
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// From one host to another.
struct Pair {
    /// When its last frame arrives: later ones do not overtake it.
    arrives: Instant,
    /// When its last frame has been sent.
    sent: Instant,
}

/// The switch itself.
struct Relay {
    tap: File,
    quality: Quality,
    chance: u64,
    pairs: HashMap<(u8, u8), Pair>,
    waiting: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    shared: Arc<Shared>,
}

impl Relay {
    fn run(mut self) -> io::Result<()> {
        let (mut buffer, mut count) = (vec![0; MAX_FRAME], 0);
        while !self.shared.ends.load(Ordering::Relaxed) {
            let next = self.waiting.peek().map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
            let wait = Timespec::try_from(next.unwrap_or(LOOK).min(LOOK)).ok();
            match poll(&mut [PollFd::new(&self.tap, PollFlags::IN)], wait.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            loop {
                match self.tap.read(&mut buffer) {
                    Ok(length) => {
                        count += 1;
                        self.take(buffer[..length].to_vec(), count);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            while let Some(Reverse((due, ..))) = self.waiting.peek()
                && *due <= Instant::now()
            {
                let Some(Reverse((_, _, frame))) = self.waiting.pop() else { break };
                // One that the bridge cannot take is lost, as on any link.
                let _ = self.tap.write(&frame);
            }
        }
        Ok(())
    }

    /// Puts a frame among those that wait, unless it is lost.
    fn take(&mut self, mut frame: Vec<u8>, count: u64) {
        let [a, b, c, d, from, to] = *frame.first_chunk().unwrap_or(&[0; 6]);
        if [a, b, c, d] != ROUTED {
            return;
        }
        if self.shared.records.load(Ordering::Relaxed) {
            let seen = Frame::of(truth::now(), (from, to), &frame);
            self.shared.frames.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        }
        let quality = self.quality;
        if self.chance() < quality.lost {
            return;
        }
        let more = f64::from(self.shared.more_percent.load(Ordering::Relaxed)) / 100.0 + 1.0;
        let late_ms = if self.chance() < quality.late { quality.late_ms } else { 0.0 };
        let delay_ms = half_round_trip(from, to) * more + self.chance() * quality.jitter_ms + late_ms;
        let now = Instant::now();
        #[allow(clippy::cast_precision_loss, reason = "a frame is short")]
        let sending = Duration::from_secs_f64(frame.len() as f64 / quality.bytes_a_second);
        let pair = self.pairs.entry((from, to)).or_insert(Pair { arrives: now, sent: now });
        pair.sent = pair.sent.max(now) + sending;
        pair.arrives = pair.arrives.max(pair.sent + Duration::from_secs_f64(delay_ms / 1000.0));
        frame[..6].copy_from_slice(&[0x02, 0, 0, 0x4d, 0, to]);
        self.waiting.push(Reverse((pair.arrives, count, frame)));
    }

    /// A number from 0 to 1: xorshift.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn chance(&mut self) -> f64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What else the processors have to do makes no link longer.
fn come_first() {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: a whole parameter, for this thread alone.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) } != 0 {
        eprintln!("lab: links depend on the load: {}", io::Error::last_os_error());
    }
}

/// In ms. Hosts beyond the origin are where it is.
fn half_round_trip(from: u8, to: u8) -> f64 {
    let place = |host: u8| usize::from(host.clamp(1, 6)) - 1;
    ROUND_TRIPS[place(from)][place(to)] / 2.0
}

/// A tap device in a namespace, made by a thread that enters it.
fn open_tap(namespace: &str) -> io::Result<File> {
    let namespace = File::open(format!("{NAMESPACES}/{namespace}"))?;
    let opened = std::thread::spawn(move || {
        // SAFETY: an open namespace; only this thread, which ends here, enters it.
        if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let tap = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
        // struct ifreq: a name of 16 bytes, the flags, and the rest of a union.
        let mut request = [0_u8; 40];
        request[..DEVICE.len()].copy_from_slice(DEVICE.as_bytes());
        request[16..18].copy_from_slice(&(IFF_TAP | IFF_NO_PI).to_ne_bytes());
        // SAFETY: the request is as long as the kernel's struct ifreq, and outlives the call.
        if unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETIFF as _, request.as_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(tap)
    });
    opened.join().unwrap_or_else(|_| Err(io::Error::other("the thread broke off")))
}
