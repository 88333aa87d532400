//! The `gridlane` command: all it does is in the library's `cli`.

fn main() -> std::process::ExitCode {
    gridlane::cli::run()
}
