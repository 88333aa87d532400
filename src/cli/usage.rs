//! A command line that clap does not understand, and what was meant where that can be told.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::error::CliError;
use crate::spec::Key;

/// What to say of an option that is a key of the sweep file (`--lr=0.1`, as the agents of
/// W&B's sweeps pass it); none where it is anything else. `arguments` is the command line.
pub fn key_as_option(error: &clap::Error, arguments: &[String]) -> Option<CliError> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let option = option.split('=').next().unwrap_or_default();
    let path = option.strip_prefix("--")?.replace('-', "_");
    Key::from_name(path.split('.').next().unwrap_or_default())?;
    let joined = format!("{option}=");
    let value = arguments.iter().enumerate().find_map(|(at, argument)| {
        let next = || arguments.get(at + 1).filter(|next| !next.starts_with('-'));
        let behind = argument.strip_prefix(&joined).map(str::to_owned);
        behind.or_else(|| (argument == option).then(next).flatten().cloned())
    });
    let value = value.unwrap_or_else(|| "VALUE".to_owned());
    Some(CliError::Choice {
        message: format!("there is no option `{option}`"),
        help: format!("keys of the sweep file are written without dashes: `{path}={value}`"),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::Cli;

    fn told(arguments: &[&str]) -> Option<String> {
        let arguments: Vec<String> = ["gridlane", "sweep", "a.toml"]
            .iter()
            .chain(arguments)
            .map(|&x| x.to_owned())
            .collect();
        let error = Cli::try_parse_from(&arguments).err()?;
        let CliError::Choice { message, help } = key_as_option(&error, &arguments)? else {
            return None;
        };
        Some(format!("{message} | {help}"))
    }

    #[test]
    fn a_key_written_as_an_option_is_told_as_one_writes_it() {
        let said = "keys of the sweep file are written without dashes";
        for (arguments, option, change) in [
            (&["--lr=0.1"][..], "--lr", "lr=0.1"),
            (&["--lr", "0.1,0.2"], "--lr", "lr=0.1,0.2"),
            (&["--batch-size=64"], "--batch-size", "batch_size=64"),
            (&["--optimizer.momentum=0.9"], "--optimizer.momentum", "optimizer.momentum=0.9"),
            (&["--epochs"], "--epochs", "epochs=VALUE"),
        ] {
            let expected = format!("there is no option `{option}` | {said}: `{change}`");
            assert_eq!(told(arguments), Some(expected));
        }
        assert_eq!(told(&["--jbos=3"]), None);
        assert_eq!(told(&["--jobs=x"]), None);
        assert_eq!(told(&["--short"]), None);
    }
}
