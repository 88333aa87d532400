//! The `gridlane` command.

fn main() {}
