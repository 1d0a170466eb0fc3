//! Programs that inherit their standard streams and nothing else.
//!
//! The client library of a TPM opens its connection so that children inherit it. A TPM that is started while another is in use
//! would keep the other's connection open for good, and the other, which serves one client at a time, would serve nobody any
//! more. Closing it belongs between fork and exec, where Rust lets only unsafe code run; a shell does it after the exec.

use std::process::Command;

use crate::manufacture::installed;

/// Closes everything but the standard streams, then becomes the program.
const CLOSE_AND_RUN: &str = r#"
for open in /proc/self/fd/*; do
  number=${open##*/}
  if ((number > 2)); then eval "exec $number>&-"; fi
done
exec "$@"
"#;

/// A command that becomes `program`, which must be installed.
pub(crate) fn command(program: &str) -> anyhow::Result<Command> {
    let program = installed(program)?;
    let mut command = Command::new(installed("bash")?);
    command.args(["-c", CLOSE_AND_RUN, "bash"]).arg(program);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_setfd};
    use std::process::Stdio;

    #[test]
    fn nothing_but_the_standard_streams_is_inherited() {
        let leaked: Vec<_> = (0..12).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        leaked.iter().for_each(|file| fcntl_setfd(file, FdFlags::empty()).unwrap());
        let open = |mut command: Command| {
            let output = command.args(["-c", "ls /proc/$$/fd"]).stdin(Stdio::null()).output().unwrap();
            String::from_utf8(output.stdout).unwrap().lines().count()
        };
        assert!(open(Command::new("sh")) > 12, "the control: a child inherits what is not marked");
        assert_eq!(open(command("sh").unwrap()), 3);
    }

    #[test]
    fn what_is_not_installed_is_named() {
        let error = command("no-such-program").unwrap_err().to_string();
        assert!(error.contains("no-such-program is not installed"), "{error}");
    }
}
