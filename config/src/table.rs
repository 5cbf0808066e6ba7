//! Walking the TOML tree: a [`Table`] hands out what is asked for by name, and what nobody asked for is an unknown key.
//!
//! Nothing here stops at the first problem. What could not be read is a [`Slot::Bad`], already reported, so that later
//! checks can tell "left out" from "not known" and do not report the echo of a mistake.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Located, Location};
use crate::document::Document;
use crate::value::{Mistake, Node, quoted};

/// What stands under a key.
pub(crate) enum Slot<T> {
    /// Nothing; the place is where it would stand.
    Absent(Location),
    /// Something wrong, which has been reported.
    Bad(Location),
    Good(Located<T>),
}

impl<T> Slot<T> {
    /// The value, or `default` in its place.
    pub(crate) fn or(self, default: T) -> Located<T> {
        match self {
            Slot::Absent(location) | Slot::Bad(location) => Located::new(default, location),
            Slot::Good(located) => located,
        }
    }

    pub(crate) fn optional(self) -> Option<Located<T>> {
        match self {
            Slot::Good(located) => Some(located),
            Slot::Absent(_) | Slot::Bad(_) => None,
        }
    }

    pub(crate) fn is_bad(&self) -> bool {
        matches!(self, Slot::Bad(_))
    }
}

/// The elements of a list that could be read.
pub(crate) struct List<T> {
    pub(crate) items: Vec<Located<T>>,
    /// Whether these are all: false when something in the list was wrong.
    pub(crate) complete: bool,
    /// Where the list stands, or would.
    pub(crate) location: Location,
    pub(crate) present: bool,
}

/// The tables of a `[[list]]`.
pub(crate) struct Tables<'d> {
    pub(crate) items: Vec<Table<'d>>,
    pub(crate) complete: bool,
}

pub(crate) struct Table<'d> {
    document: &'d Document<'d>,
    /// Its path, empty for the root.
    path: String,
    /// What a message calls it: `[nat]`, `[[port]]`.
    title: String,
    location: Location,
    entries: Option<&'d DeTable<'d>>,
    /// Asked for, hence known; and refused ones, which are not suggested.
    known: Vec<&'static str>,
    refused: Vec<&'static str>,
    /// Required and absent, with what to write.
    missing: Vec<(&'static str, String)>,
}

impl<'d> Table<'d> {
    pub(crate) fn root(document: &'d Document<'d>, tree: &'d Spanned<DeTable<'d>>) -> Self {
        let location = document.location("", 0);
        Table::new(document, String::new(), "the file".to_owned(), location, Some(tree.get_ref()))
    }

    fn new(
        document: &'d Document<'d>,
        path: String,
        title: String,
        location: Location,
        entries: Option<&'d DeTable<'d>>,
    ) -> Self {
        Table { document, path, title, location, entries, known: vec![], refused: vec![], missing: vec![] }
    }

    /// Where the table begins.
    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    /// The path of the key `key` in this table.
    fn path_of(&self, key: &str) -> String {
        let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let key = if bare { key.to_owned() } else { quoted(key) };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    /// The place of a key that is not there.
    pub(crate) fn absent(&self, key: &str) -> Location {
        self.location.with_key(self.path_of(key))
    }

    /// The value of `key`, which is known from now on.
    pub(crate) fn node(&mut self, key: &'static str) -> Option<Node<'d>> {
        self.known.push(key);
        self.peek(key)
    }

    fn peek(&self, key: &str) -> Option<Node<'d>> {
        let value = self.entries?.get(key)?;
        let location = self.document.location(self.path_of(key), value.span().start);
        Some(Node { document: self.document, location, value })
    }

    /// The value of `key` as `read` understands it.
    pub(crate) fn read<T>(&mut self, key: &'static str, read: impl FnOnce(&Node<'d>) -> Result<T, Mistake>) -> Slot<T> {
        match self.node(key) {
            None => Slot::Absent(self.absent(key)),
            Some(node) => match read(&node) {
                Ok(value) => Slot::Good(Located::new(value, node.location)),
                Err(mistake) => {
                    node.report(mistake);
                    Slot::Bad(node.location)
                }
            },
        }
    }

    /// As [`Table::read`]; its absence is an error, with `example` as what to write.
    pub(crate) fn require<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&Node<'d>) -> Result<T, Mistake>,
    ) -> Option<Located<T>> {
        let slot = self.read(key, read);
        if matches!(slot, Slot::Absent(_)) {
            self.missing.push((key, format!("write: {key} = {example}")));
        }
        slot.optional()
    }

    /// The list under `key`, each element as `read` understands it.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        example: &str,
        mut read: impl FnMut(&Node<'d>) -> Result<T, Mistake>,
    ) -> List<T> {
        let Some(node) = self.node(key) else {
            return List { items: vec![], complete: true, location: self.absent(key), present: false };
        };
        let mut list = List { items: vec![], complete: true, location: node.location.clone(), present: true };
        let Some(elements) = node.elements() else {
            list.complete = false;
            node.report(Mistake::wrong_type(&node, "a list", format!("[{example}]")));
            return list;
        };
        for element in elements {
            match read(&element) {
                Ok(value) => list.items.push(Located::new(value, element.location)),
                Err(mistake) => {
                    list.complete = false;
                    element.report(mistake);
                }
            }
        }
        list
    }

    /// Notes that `key` must be there, though it was read in another way.
    pub(crate) fn note_missing(&mut self, key: &'static str, example: &str) {
        self.missing.push((key, format!("write: {key} = {example}")));
    }

    /// The table under `key`; an empty one when there is none.
    pub(crate) fn table(&mut self, key: &'static str) -> Table<'d> {
        let path = self.path_of(key);
        let title = format!("[{path}]");
        let node = self.node(key);
        let location = node.as_ref().map_or_else(|| self.absent(key), |node| node.location.clone());
        let entries = node.and_then(|node| {
            if let DeValue::Table(entries) = node.value.get_ref() {
                return Some(entries);
            }
            node.report(Mistake::wrong_type(&node, "a table", title.clone()));
            None
        });
        Table::new(self.document, path, title, location, entries)
    }

    /// The tables of the list `[[key]]`.
    pub(crate) fn tables(&mut self, key: &'static str) -> Tables<'d> {
        let path = self.path_of(key);
        let title = format!("[[{path}]]");
        let Some(node) = self.node(key) else { return Tables { items: vec![], complete: true } };
        let Some(elements) = node.elements() else {
            node.report(Mistake::wrong_type(&node, "a list of tables", title.clone()));
            return Tables { items: vec![], complete: false };
        };
        let mut tables = Tables { items: Vec::new(), complete: true };
        for element in elements {
            if let DeValue::Table(entries) = element.value.get_ref() {
                let path = element.location.key().to_owned();
                tables.items.push(Table::new(self.document, path, title.clone(), element.location, Some(entries)));
            } else {
                tables.complete = false;
                element.report(Mistake::wrong_type(&element, "a table", title.clone()));
            }
        }
        tables
    }

    /// Refuses `key`, which the design has and this version has not.
    pub(crate) fn refuse(&mut self, key: &'static str, what: &str) {
        self.refused.push(key);
        if let Some(node) = self.peek(key) {
            node.report(Mistake::unsupported(what));
        }
    }

    /// Reports what is missing and what nobody asked for.
    pub(crate) fn finish(self) {
        let mut mistaken = Vec::new();
        for (key, _) in self.entries.into_iter().flatten() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) || self.refused.contains(&name) {
                continue;
            }
            let location = self.document.location(self.path_of(name), key.span().start);
            let nearest = nearest(name, self.known.iter().copied());
            let remedy = match nearest {
                Some(known) => {
                    mistaken.push(known);
                    format!("did you mean `{known}`?")
                }
                None => format!("remove it; {} takes: {}", self.title, self.known.join(", ")),
            };
            self.document.error(&location, format!("unknown key in {}", self.title), remedy);
        }
        // A misspelt key is one mistake, not also a missing one.
        for (key, remedy) in self.missing.iter().filter(|(key, _)| !mistaken.contains(key)) {
            self.document.error(&self.absent(key), format!("{} has no `{key}`", self.title), remedy);
        }
    }
}

/// The word that `found` is most likely a slip for, if any is near enough.
pub(crate) fn nearest<'w>(found: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    if found.len() > 64 {
        return None;
    }
    let (distance, word) =
        words.map(|word| (strsim::osa_distance(&found.to_lowercase(), word), word)).min_by_key(|&(d, _)| d)?;
    let tolerated = (found.chars().count().max(word.len()) / 3).max(1);
    (distance <= tolerated).then_some(word)
}
