//! A machine as its kernel shows it: `/sys`, `/proc`, `/dev` and DPDK's folder below a root that may be a copy of another
//! machine's. Whatever is not there or cannot be read is `None` or empty: an old kernel, a container, a copy in part.

use std::fs;
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Host {
    root: PathBuf,
}

impl Host {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Where something is; `path` without its leading slash.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    pub(super) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).exists()
    }

    /// A file's text without the blanks around it.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.path(path)).ok().map(|text| text.trim().to_owned())
    }

    /// A file that holds a decimal number.
    pub(super) fn number(&self, path: impl AsRef<Path>) -> Option<i64> {
        self.text(path)?.parse().ok()
    }

    /// A file that holds a number such as `0x8086`.
    pub(super) fn hex(&self, path: impl AsRef<Path>) -> Option<u32> {
        u32::from_str_radix(self.text(path)?.trim_start_matches("0x"), 16).ok()
    }

    /// What a folder holds, in order.
    pub(super) fn names(&self, folder: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// The last part of what a symbolic link leads to.
    pub(super) fn link(&self, path: impl AsRef<Path>) -> Option<String> {
        Some(fs::read_link(self.path(path)).ok()?.file_name()?.to_str()?.to_owned())
    }

    /// A list of numbers such as `0-3,8`.
    pub(super) fn list(&self, path: impl AsRef<Path>) -> Vec<usize> {
        self.text(path).map(|text| list(&text)).unwrap_or_default()
    }

    /// A line of `/proc/self/status`, after its colon.
    pub(super) fn status(&self, key: &str) -> Option<String> {
        field(&self.text("proc/self/status")?, key)
    }

    /// CPUs that this process may use.
    pub(super) fn allowed_cpus(&self) -> Vec<usize> {
        self.status("Cpus_allowed_list").map(|text| list(&text)).unwrap_or_default()
    }

    /// Kilobytes that `/proc/meminfo` has under `key`.
    pub(super) fn memory_kilobytes(&self, key: &str) -> Option<u64> {
        let text = field(&self.text("proc/meminfo")?, key)?;
        text.split_whitespace().next()?.parse().ok()
    }
}

/// What stands after `key:` in a text of such lines.
pub(super) fn field(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })
}

/// The numbers of `0-3,8`. The kernel's lists of CPUs have at most some thousand.
fn list(text: &str) -> Vec<usize> {
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
            numbers.extend((first..=last).take(8192));
        }
    }
    numbers
}

/// The other way round: `0-3,8` for its numbers, which are in order.
pub(super) fn ranges(numbers: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &n in numbers {
        match runs.last_mut() {
            Some((_, last)) if n == *last + 1 => *last = n,
            _ => runs.push((n, n)),
        }
    }
    let runs = runs.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") });
    runs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read_and_written() {
        assert_eq!(list("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(list(""), [0; 0]);
        assert_eq!(list("7"), [7]);
        assert_eq!(ranges(&[0, 1, 2, 3, 8]), "0-3,8");
        assert_eq!(ranges(&[]), "");
    }
}
