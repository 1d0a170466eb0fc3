//! Are all links between documents of the checkout alive?

use std::path::{Path, PathBuf};

use crate::build;
use crate::step::{Failure, say};

/// Directories that hold documents, beside the root itself; it is read without what is below.
const DIRECTORIES: &[&str] = &["docs", "udev"];

/// Fails with every link that leads nowhere. Links to the web are not looked at.
pub(crate) fn check() -> Result<(), Failure> {
    let root = build::root()?;
    let mut documents = Vec::new();
    let cannot = |e: std::io::Error| Failure::new(format!("cannot look for documents: {e}"));
    list(&root, false, &mut documents).map_err(cannot)?;
    for directory in DIRECTORIES {
        list(&root.join(directory), true, &mut documents).map_err(cannot)?;
    }
    let mut dead = Vec::new();
    for document in &documents {
        let text = std::fs::read_to_string(document).map_err(cannot)?;
        let home = document.parent().unwrap_or(&root);
        dead.extend(targets(&text).filter(|target| !home.join(target).exists()).map(|target| {
            format!("{} -> {target}", document.strip_prefix(&root).unwrap_or(document).display())
        }));
    }
    match dead.as_slice() {
        [] => {
            say(format_args!("documents: the links of {} lead somewhere", documents.len()));
            Ok(())
        }
        dead => Err(Failure::new(format!("documents: dead links:\n  {}", dead.join("\n  ")))),
    }
}

fn list(directory: &Path, deep: bool, documents: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if deep && entry.file_type()?.is_dir() {
            list(&path, deep, documents)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            documents.push(path);
        }
    }
    Ok(())
}

/// What the links of a Markdown text point at, without fragments; links within the document and to the web left out.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split_once('#').map_or(target, |(path, _)| path))
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_the_checkout_are_found() {
        let text = "[a](b.md), [c](../d/e.md#part) and [f](#part) or [g](https://example.org/h.md);\n![z](w.svg) [open](";
        assert_eq!(targets(text).collect::<Vec<_>>(), ["b.md", "../d/e.md", "w.svg"]);
    }
}
