//! `braidlog completions`: what a shell needs to complete our commands.

use std::io::Write;

use clap_complete::Shell;

use super::{Context, Failure};

/// Arguments of `braidlog completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(context: &mut Context, args: Args, mut command: clap::Command) -> Result<(), Failure> {
    // Into memory first: the generator panics where it can't write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "braidlog", &mut script);
    context.out.write_all(&script)?;
    Ok(())
}
