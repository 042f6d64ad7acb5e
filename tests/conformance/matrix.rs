//! The conformance matrix: every operation, member and error of the service's model, with the scenario that met it.

use std::fmt::Write;

use serde_json::Value;

use crate::client::Seen;

/// Errors that stand for what the engine has not got, so nothing can meet them.
const NOT_HERE: &[(&str, &str)] = &[
    ("AccessDeniedException", "policies are kept and not enforced yet"),
    ("KMS", "nothing is encrypted yet"),
    ("InternalFailureException", "the store is at fault then: a disk that fails"),
];

pub fn render(model: &Value, seen: &Seen) -> String {
    let mut out = String::new();
    let version = model["version"].as_str().unwrap();
    let operations = model["operations"].as_object().unwrap();
    let _ = writeln!(
        out,
        "# Conformance\n\n\
         What of the service's model ({version}) is served, and which scenario of `tests/conformance.rs` shows it: a request had\n\
         the member, an answer had it, an error was met. Written by `BRAIDLOG_CONFORMANCE_WRITE=1 cargo test --test conformance`;\n\
         the test fails if it is not up to date. \"not yet\" is what nothing has shown.\n"
    );
    let served = |op: &Value| op["served"].as_bool().unwrap();
    let names = |operation: &str, part: &'static str, of: &Value| -> (Vec<String>, usize) {
        let all = of.as_array().unwrap();
        let rows = all.iter().map(|path| {
            let path = path.as_str().unwrap();
            let by = seen.get(&(operation.to_owned(), part, path.to_owned()));
            (path, by.copied())
        });
        let rows: Vec<_> = rows.collect();
        let met = rows.iter().filter(|(_, by)| by.is_some()).count();
        let lines = rows.iter().map(|(path, by)| format!("| {part} | `{path}` | {} |", by.map_or("not yet", |by| by)));
        (lines.collect(), met)
    };
    let mut body = String::new();
    let mut summary = String::new();
    for (operation, about) in operations {
        if !served(about) {
            continue;
        }
        let _ = writeln!(body, "\n## {operation}\n\n| part | name | shown by |\n|---|---|---|");
        let mut counts = Vec::new();
        for (part, of) in [("input", &about["input"]), ("output", &about["output"])] {
            let (lines, met) = names(operation, part, of);
            counts.push(format!("{met} of {}", lines.len()));
            for line in lines {
                let _ = writeln!(body, "{line}");
            }
        }
        let errors = about["errors"].as_array().unwrap();
        let mut met = 0;
        for error in errors {
            let code = error.as_str().unwrap();
            let by = seen.get(&(operation.clone(), "error", code.to_owned())).copied();
            met += usize::from(by.is_some());
            let why = NOT_HERE.iter().find(|(prefix, _)| code.starts_with(prefix));
            let shown = match (by, why) {
                (Some(by), _) => by.to_owned(),
                (None, Some((_, why))) => format!("not yet: {why}"),
                (None, None) => "not yet".to_owned(),
            };
            let _ = writeln!(body, "| error | `{code}` | {shown} |");
        }
        let _ = writeln!(
            summary,
            "| [{operation}](#{}) | {} | {} | {met} of {} |",
            operation.to_lowercase(),
            counts[0],
            counts[1],
            errors.len()
        );
    }
    let _ = writeln!(out, "| operation | input members | output members | errors |\n|---|---|---|---|\n{summary}");
    let missing: Vec<String> =
        operations.iter().filter(|(_, about)| !served(about)).map(|(name, _)| format!("`{name}`")).collect();
    let _ = writeln!(
        out,
        "Not served yet, and answered with `InvalidArgumentException` that says so: {}.",
        missing.join(", ")
    );
    out + &body
}
