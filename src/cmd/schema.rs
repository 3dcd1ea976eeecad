//! `mirror schema`: the JSON Schema of a command's object, from the types that are serialised.

use anyhow::Result;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use super::{chain_check, chain_show, probe, promote, whois_brain};
use crate::cli;
use crate::misuse::Misuse;
use crate::report::{Facts, Object, Status, Voice};

/// Makes a schema.
type Make = fn() -> serde_json::Value;

/// The commands that print an object, and its schema.
pub const OBJECTS: [(&str, Make); 6] = [
    ("probe", of::<probe::Facts>),
    ("whois-brain", of::<whois_brain::Facts>),
    ("breathe", of::<super::breathe::Facts>),
    ("promote", of::<promote::Facts>),
    ("chain-show", of::<chain_show::Facts>),
    ("chain-check", of::<chain_check::Facts>),
];

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
    let Some((_, make)) = OBJECTS.iter().find(|(name, _)| *name == wanted) else {
        let known: Vec<&str> = OBJECTS.iter().map(|(name, _)| *name).collect();
        return Err(Misuse::new(format!(
            "no command named {wanted:?} prints an object; there are {}",
            known.join(", ")
        )));
    };
    Ok(voice.print(&format!("{:#}\n", make())))
}
