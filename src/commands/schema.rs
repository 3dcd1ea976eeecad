//! `mirror schema`: the JSON Schema of a command's object, from the types that are serialised.

use anyhow::Result;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use super::{chain_check, chain_show, hold, lease, pause, probe, promote, resume, whois_brain};
use crate::cli;
use crate::cli::completion::NODE_LIST;
use crate::config;
use crate::output::{Envelope, ExitStatus, OutputMode, ReportFacts};
use crate::usage_error::UsageError;

/// Makes a schema.
type Make = fn() -> serde_json::Value;

/// The commands that print an object, a command of two words by both, and what makes its schema.
const OBJECTS: [(&str, Make); 22] = [
    ("probe", of::<probe::ProbeFacts>),
    ("whois-brain", of::<whois_brain::WhoisBrainFacts>),
    ("beat", of::<super::beat::BeatFacts>),
    ("breathe", of::<super::breathe::BreatheFacts>),
    ("promote", of::<promote::PromoteFacts>),
    ("chain-show", of::<chain_show::ChainShowFacts>),
    ("chain-check", of::<chain_check::ChainCheckFacts>),
    ("lease-show", of::<lease::show::LeaseShowFacts>),
    ("lease-check", of::<lease::check::LeaseCheckFacts>),
    ("lease-history", of::<lease::history::LeaseHistoryFacts>),
    ("lease-repair", of::<lease::repair::LeaseRepairFacts>),
    ("lease-migrate", of::<lease::migrate::LeaseMigrateFacts>),
    ("lease-witness", of::<lease::witness::LeaseWitnessFacts>),
    ("hold", of::<hold::HoldFacts>),
    ("drain", of::<super::drain::DrainFacts>),
    ("undrain", of::<super::undrain::UndrainFacts>),
    ("pause", of::<pause::PauseFacts>),
    ("resume", of::<resume::ResumeFacts>),
    ("status", of::<super::status::StatusFacts>),
    ("history", of::<super::history::HistoryFacts>),
    ("rollout", of::<super::rollout::RolloutFacts>),
    ("notify", of::<super::notify::NotifyFacts>),
];

/// Objects that are no command's own.
const OTHERS: [(&str, Make); 1] = [("event", event)];

fn event() -> serde_json::Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<super::history::TimedEvent>();
    schema.insert("title".to_owned(), super::history::EVENT_SCHEMA.into());
    schema.into()
}

/// Each command that prints an object, and that object's schema.
pub fn all() -> impl Iterator<Item = (&'static str, serde_json::Value)> {
    OBJECTS.into_iter().map(|(name, make)| (name, make()))
}

fn of<F: ReportFacts + JsonSchema + 'static>() -> serde_json::Value {
    // As it is written, not as it could be read: a key that may be null is there all the same.
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<Envelope<'static, F>>();
    schema.insert("title".to_owned(), F::SCHEMA.into());
    if let Some(name) = schema.get_mut("properties").and_then(|p| p.get_mut("schema")?.as_object_mut()) {
        name.insert("const".to_owned(), F::SCHEMA.into());
    }
    schema.into()
}

pub(super) fn run(arguments: &cli::Schema, output_mode: OutputMode) -> Result<ExitStatus> {
    let wanted = arguments.command.join("-");
    if wanted == NODE_LIST {
        return Ok(output_mode.print(&format!("{:#}\n", config::schema())));
    }
    let mut all = OBJECTS.into_iter().chain(OTHERS);
    let Some(make) = all.find_map(|(name, make)| (name == wanted).then_some(make)) else {
        let known = OBJECTS.iter().chain(&OTHERS).map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        return Err(UsageError::new(format!(
            "no command named {wanted:?} prints an object; there are {known} and {NODE_LIST}"
        )));
    };
    Ok(output_mode.print(&format!("{:#}\n", make())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_prints_an_object_has_a_schema() {
        let known: Vec<&str> = OBJECTS.iter().map(|(name, _)| *name).collect();
        assert_eq!(crate::cli::links::objects(), known);
    }
}
