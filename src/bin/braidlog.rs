//! The `braidlog` program: everything is in [`braidlog::cli`].

fn main() -> std::process::ExitCode {
    braidlog::cli::main()
}
