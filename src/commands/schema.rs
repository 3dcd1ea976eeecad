//! `mirror schema`: the JSON Schema of a command's object, from the types that are serialised.

use anyhow::Result;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use super::{chain_check, chain_show, hold, lease, pause, probe, promote, resume, whois_brain};
use crate::cli;
use crate::cli::completion::{NODE_LIST, OBJECTS};
use crate::config;
use crate::output::{Envelope, ExitStatus, OutputMode, ReportFacts};
use crate::usage_error::UsageError;

/// Makes a schema.
type Make = fn() -> serde_json::Value;

/// What makes each command's schema, in the order of [`OBJECTS`].
const MAKERS: [Make; OBJECTS.len()] = [
    of::<probe::ProbeFacts>,
    of::<whois_brain::WhoisBrainFacts>,
    of::<super::beat::BeatFacts>,
    of::<super::breathe::BreatheFacts>,
    of::<promote::PromoteFacts>,
    of::<chain_show::ChainShowFacts>,
    of::<chain_check::ChainCheckFacts>,
    of::<lease::show::LeaseShowFacts>,
    of::<lease::check::LeaseCheckFacts>,
    of::<lease::history::LeaseHistoryFacts>,
    of::<lease::repair::LeaseRepairFacts>,
    of::<lease::witness::LeaseWitnessFacts>,
    of::<hold::HoldFacts>,
    of::<pause::PauseFacts>,
    of::<resume::ResumeFacts>,
    of::<super::history::HistoryFacts>,
];

/// Each command that prints an object, and that object's schema.
pub fn all() -> impl Iterator<Item = (&'static str, serde_json::Value)> {
    OBJECTS.into_iter().zip(MAKERS).map(|(name, make)| (name, make()))
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
    let Some(make) = OBJECTS.into_iter().zip(MAKERS).find_map(|(name, make)| (name == wanted).then_some(make)) else {
        let known = OBJECTS.join(", ");
        return Err(UsageError::new(format!(
            "no command named {wanted:?} prints an object; there are {known} and {NODE_LIST}"
        )));
    };
    Ok(output_mode.print(&format!("{:#}\n", make())))
}
