//! Are state and keys the daemon's own, and closed to others?

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Finding;
use crate::control::Peer;

const NAME: &str = "permissions";
const OWN: &str = "Give the daemon a directory of its own ([state] directory in the configuration).";

/// Looks at the state directory and, where we may, at the keys in it.
pub(super) fn check(dir: &Path, daemon: Option<Peer>) -> Finding {
    let mut looked = Looked { owner: daemon.map(|peer| peer.uid), wrong: Vec::new(), closed: false };
    let shown = dir.display();
    match std::fs::symlink_metadata(dir) {
        // A shared directory must not be closed to those who share it.
        Ok(meta) if meta.is_dir() && meta.mode() & 0o002 != 0 => {
            return Finding::fail(NAME, format!("everybody may write into {shown}"), OWN);
        }
        Ok(meta) if meta.is_dir() => looked.judge(dir, &meta, 0o027),
        Ok(_) => return Finding::fail(NAME, format!("{shown} is no directory"), OWN),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Finding::fail(
                NAME,
                format!("there is no {shown}"),
                "Start the service once; it makes the directory.",
            );
        }
        Err(error) => return Finding::skip(NAME, format!("{shown} cannot be looked at: {error}")),
    }
    looked.keys(&dir.join("keys"));

    match (looked.wrong.is_empty(), looked.closed) {
        (false, _) => {
            let owner = looked.owner.map_or_else(|| "biotrust".to_owned(), |uid| uid.to_string());
            let next = format!("As root: chown -R {owner}: {shown} && chmod -R u=rwX,go= {shown}");
            Finding::fail(NAME, looked.wrong.join("; "), next)
        }
        (true, false) => Finding::ok(NAME, format!("{shown} is closed to others")),
        (true, true) => {
            Finding::ok(NAME, format!("{shown} is closed to others (its keys can be checked as root only)"))
        }
    }
}

struct Looked {
    /// Who runs the daemon.
    owner: Option<u32>,
    wrong: Vec<String>,
    /// We may not look inside.
    closed: bool,
}

impl Looked {
    fn judge(&mut self, path: &Path, meta: &std::fs::Metadata, forbidden: u32) {
        let mode = meta.mode() & 0o7777;
        if mode & forbidden != 0 {
            self.wrong.push(format!("{} has mode {mode:04o}, which lets others in", path.display()));
        }
        match self.owner {
            Some(owner) if owner != meta.uid() => self.wrong.push(format!(
                "{} belongs to user {}, but the daemon runs as user {owner}",
                path.display(),
                meta.uid()
            )),
            _ => {}
        }
    }

    /// Key files and their directory are the owner's alone. There are none where no L0 device was enrolled.
    fn keys(&mut self, dir: &Path) {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => {
                self.closed = error.kind() == ErrorKind::PermissionDenied;
                return;
            }
        };
        if let Ok(meta) = std::fs::symlink_metadata(dir) {
            self.judge(dir, &meta, 0o077);
        }
        for entry in entries.flatten() {
            if let Ok(meta) = entry.metadata() {
                self.judge(&entry.path(), &meta, 0o077);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn open_doors_are_found() {
        let temp = tempfile::tempdir().unwrap();
        let me = temp.path().metadata().unwrap().uid();
        let daemon = |uid| Some(Peer { pid: 1, uid });
        let state = temp.path().join("state");
        let keys = state.join("keys");
        fs::create_dir_all(&keys).unwrap();
        let key = keys.join("SN.pk8");
        fs::write(&key, "not a key").unwrap();
        set(&state, 0o750);
        set(&keys, 0o700);
        set(&key, 0o600);
        assert_eq!(check(&state, daemon(me)).verdict, Verdict::Ok);

        set(&key, 0o640);
        let finding = check(&state, daemon(me));
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(finding.text.contains("SN.pk8 has mode 0640"), "{}", finding.text);
        assert!(!finding.text.contains("not a key"));
        set(&key, 0o600);

        for (path, open, closed) in
            [(&keys, 0o750, 0o700), (&state, 0o755, 0o750), (&state, 0o770, 0o700), (&state, 0o1777, 0o700)]
        {
            set(path, open);
            assert_eq!(check(&state, daemon(me)).verdict, Verdict::Fail, "{} {open:o}", path.display());
            set(path, closed);
        }

        let finding = check(&state, daemon(me + 1));
        assert!(finding.text.contains("the daemon runs as user"), "{}", finding.text);
        assert_eq!(check(&key, daemon(me)).verdict, Verdict::Fail, "no directory");
        assert_eq!(check(&temp.path().join("absent"), None).verdict, Verdict::Fail);
    }
}
