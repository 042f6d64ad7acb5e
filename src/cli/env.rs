//! `braidlog env`: the variables that point AWS clients to a server, for `eval "$(braidlog env)"`.

use std::io::Write;

use serde_json::{Map, Value};

use super::{Context, Failure};

/// Where `serve` listens unless told otherwise.
pub(crate) const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:4566";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server
    #[arg(long, value_name = "URL", default_value = DEFAULT_ENDPOINT)]
    endpoint: String,
    /// The region in ARNs, as the server has it
    #[arg(long, value_name = "NAME", default_value = "us-east-1")]
    region: String,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    // Clients want a key even where nobody checks it.
    let variables = [
        ("AWS_ENDPOINT_URL", args.endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", &args.region),
        ("AWS_DEFAULT_REGION", &args.region),
    ];
    if context.json {
        let object: Map<String, Value> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        writeln!(context.out, "{}", Value::Object(object))?;
        return Ok(());
    }
    for (name, value) in variables {
        writeln!(context.out, "export {name}={}", quoted(value))?;
    }
    Ok(())
}

/// As a shell reads it back.
fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:@%+,[]".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        assert_eq!(quoted("http://127.0.0.1:4566"), "http://127.0.0.1:4566");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's $x"), r"'it'\''s $x'");
        assert_eq!(quoted(""), "''");
    }
}
