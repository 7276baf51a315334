//! `env`: what commands of the session get on top of the caller's environment.

use belljar_model::ExitCode;

use crate::app::App;
use crate::error::Result;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar env | grep DB_URL")]
pub(crate) struct Args {}

pub(crate) async fn run(app: &App, _: &Args) -> Result<ExitCode> {
    let view = app.find()?.client.env().await?;
    if app.printer.json {
        app.printer.document(&view)?;
        return Ok(ExitCode::OK);
    }
    let mut text = String::new();
    // PATH is put in front of the caller's own inside a session; as a variable to copy it would mislead.
    for (name, value) in view.env.iter().filter(|(name, _)| *name != "PATH") {
        text.push_str(name);
        text.push('=');
        text.push_str(&quoted(value));
        text.push('\n');
    }
    app.printer.out(&text)?;
    Ok(ExitCode::OK)
}

/// As a shell reads it back.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_a_shell() {
        assert_eq!(quoted("postgres://db:5432/pods"), "postgres://db:5432/pods");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
