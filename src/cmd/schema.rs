//! `mirror schema`: the JSON Schema of a command's object, from the types that are serialised.

use anyhow::Result;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use super::{
    chain_check, chain_show, hold, lease_check, lease_history, lease_repair, lease_show, pause, probe, promote, resume,
    whois_brain,
};
use crate::cli;
use crate::complete::OBJECTS;
use crate::misuse::Misuse;
use crate::report::{Facts, Object, Status, Voice};

/// Makes a schema.
type Make = fn() -> serde_json::Value;

/// What makes each command's schema, in the order of [`OBJECTS`].
const MAKERS: [Make; OBJECTS.len()] = [
    of::<probe::Facts>,
    of::<whois_brain::Facts>,
    of::<super::breathe::Facts>,
    of::<promote::Facts>,
    of::<chain_show::Facts>,
    of::<chain_check::Facts>,
    of::<lease_show::Facts>,
    of::<lease_check::Facts>,
    of::<lease_history::Facts>,
    of::<lease_repair::Facts>,
    of::<hold::Facts>,
    of::<pause::Facts>,
    of::<resume::Facts>,
    of::<super::history::Facts>,
];

/// Each command that prints an object, and that object's schema.
pub fn all() -> impl Iterator<Item = (&'static str, serde_json::Value)> {
    OBJECTS.into_iter().zip(MAKERS).map(|(name, make)| (name, make()))
}

fn of<F: Facts + JsonSchema + 'static>() -> serde_json::Value {
    // As it is written, not as it could be read: a key that may be null is there all the same.
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<Object<'static, F>>();
    schema.insert("title".to_owned(), F::SCHEMA.into());
    if let Some(name) = schema.get_mut("properties").and_then(|p| p.get_mut("schema")?.as_object_mut()) {
        name.insert("const".to_owned(), F::SCHEMA.into());
    }
    schema.into()
}

pub(super) fn run(arguments: &cli::Schema, voice: Voice) -> Result<Status> {
    let wanted = arguments.command.join("-");
    let Some(make) = OBJECTS.into_iter().zip(MAKERS).find_map(|(name, make)| (name == wanted).then_some(make)) else {
        let known = OBJECTS.join(", ");
        return Err(Misuse::new(format!("no command named {wanted:?} prints an object; there are {known}")));
    };
    Ok(voice.print(&format!("{:#}\n", make())))
}
