//! `mirror lease check`: may this node run the service now?

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use super::Setting;
use super::lease_show::{arbiter, unknown};
use crate::arbiter::{Arbiter, Doubt};
use crate::chain::Name;
use crate::cli;
use crate::deadline::Deadline;
use crate::history;
use crate::lease::{Permit, Sight, State};
use crate::misuse::Misuse;
use crate::moment::Moment;
use crate::report::{self, Finding, Paint, Status};
use crate::state::Store;

/// Whether this node may run the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The lease is granted to this node: it may.
    #[serde(rename = "self")]
    Own,
    /// The lease is granted to another node.
    Other,
    /// A takeover is under way, or was left unfinished: nobody may.
    Claimed,
    /// The lease was never claimed: nobody may.
    Vacant,
    /// The register cannot be read in time, or is not to be obeyed: it may not.
    Unknown,
}

impl report::Verdict for Verdict {
    fn status(self) -> Status {
        match self {
            Self::Own => Status::Yes,
            Self::Other | Self::Claimed | Self::Vacant => Status::No,
            Self::Unknown => Status::Unknown,
        }
    }
}

/// What `mirror lease check` prints.
#[derive(Serialize, JsonSchema)]
pub struct Facts {
    /// The service.
    pub service: Name,
    /// The node that the lease names; null when it names none or is unknown.
    pub holder: Option<Name>,
    /// The epoch; null when the lease was never claimed or is unknown.
    pub epoch: Option<u64>,
    /// How far the takeover has come; null when the lease was never claimed or is unknown.
    pub state: Option<State>,
    /// For how long this node may still rely on the answer, in ms; null when it may not run it.
    pub valid_for_ms: Option<f64>,
}

impl report::Facts for Facts {
    type Verdict = Verdict;
    const SCHEMA: &'static str = "mirror.lease-check/1";

    fn text(&self, _: Paint) -> String {
        String::new()
    }
}

pub(super) fn run(arguments: &cli::LeaseCheck, setting: &Setting) -> Result<Status> {
    let (service, _) = setting.config.service(&arguments.service)?;
    let Some(own) = &setting.own else {
        let file = setting.config.file.display();
        return Err(Misuse::new(format!("{file}: this machine is no node of the list; name the node with --self")));
    };
    let store = Store::open(&setting.config);
    let mut sight = store.sight(service);
    let answer = arbiter(setting, &store, service)?.and_then(|arbiter| ask(&arbiter, &store, &mut sight, own));
    let value = answer.as_ref().ok().and_then(|_| sight.value());
    let permit = answer.as_ref().ok().copied().flatten();
    let (verdict, reason) = match (&answer, value, permit) {
        (Err(doubt), ..) => (Verdict::Unknown, unknown(service, doubt, sight.value())),
        (Ok(_), None, _) => (Verdict::Vacant, format!("The lease of {service} was never claimed.")),
        (Ok(_), Some(_), Some(permit)) => {
            (Verdict::Own, format!("This node may run {service} in epoch {}.", permit.epoch))
        }
        (Ok(_), Some(value), None) => match (value.state, &value.holder) {
            (State::Claimed, holder) => {
                (Verdict::Claimed, format!("The lease of {service} is claimed for {holder}, and granted to nobody."))
            }
            (State::Granted, holder) if holder == own => {
                (Verdict::Unknown, format!("The answer came later than it may be relied on; {service} may not run."))
            }
            (State::Granted, holder) => (Verdict::Other, format!("{holder} holds the lease of {service}.")),
        },
    };
    let facts = Facts {
        service: service.clone(),
        holder: value.and_then(|value| value.granted_to().cloned()),
        epoch: value.map(|value| value.epoch),
        state: value.map(|value| value.state),
        valid_for_ms: permit.map(|permit| report::millis(Moment::now().until(permit.until))),
    };
    Ok(setting.tell(&Finding { verdict, reason, facts }))
}

/// By this read alone: what was read before tells only whether the register is to be obeyed.
fn ask(arbiter: &Arbiter<'_>, store: &Store, sight: &mut Sight, own: &Name) -> Result<Option<Permit>, Doubt> {
    let reading = arbiter.read(Deadline::after(arbiter.lease.check_timeout()))?;
    let mut this_alone = Sight::default();
    this_alone.note(reading.clone())?;
    sight.note(reading)?;
    history::keep_sight(store, Some(own), arbiter.service, sight);
    // Another process of this machine may know of a later value, which ends what this read permits.
    let newest = sight.value() == this_alone.value();
    Ok(this_alone.permit(own, Moment::now(), &arbiter.params()).filter(|_| newest))
}
